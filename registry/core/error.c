/* error.c - one error value, set where the failure is known and passed up untouched. */
#include "registry/core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/bytes.h"

#undef error_set
#undef error_set_errno
#undef error_set_cause
#undef error_set_status
#undef error_set_field

static const struct {
    const char *name;
    int status;
    const char *problem;
} codes[ERROR_CODE_COUNT] = {
    [ERROR_NONE] = {"", 200, ""},
    [ERROR_BLOB_UNKNOWN] = {"BLOB_UNKNOWN", 404, "not_found"},
    [ERROR_BLOB_UPLOAD_INVALID] = {"BLOB_UPLOAD_INVALID", 400, "invalid"},
    [ERROR_BLOB_UPLOAD_UNKNOWN] = {"BLOB_UPLOAD_UNKNOWN", 404, "not_found"},
    [ERROR_DIGEST_INVALID] = {"DIGEST_INVALID", 400, "invalid"},
    [ERROR_MANIFEST_BLOB_UNKNOWN] = {"MANIFEST_BLOB_UNKNOWN", 400, "invalid"},
    [ERROR_MANIFEST_INVALID] = {"MANIFEST_INVALID", 400, "invalid"},
    [ERROR_MANIFEST_UNKNOWN] = {"MANIFEST_UNKNOWN", 404, "not_found"},
    [ERROR_NAME_INVALID] = {"NAME_INVALID", 400, "invalid"},
    [ERROR_NAME_UNKNOWN] = {"NAME_UNKNOWN", 404, "not_found"},
    [ERROR_SIZE_INVALID] = {"SIZE_INVALID", 400, "too_large"},
    [ERROR_UNAUTHORIZED] = {"UNAUTHORIZED", 401, "unauthenticated"},
    [ERROR_DENIED] = {"DENIED", 403, "forbidden"},
    [ERROR_UNSUPPORTED] = {"UNSUPPORTED", 405, "method_not_allowed"},
    [ERROR_TOOMANYREQUESTS] = {"TOOMANYREQUESTS", 429, "too_many_requests"},
    [ERROR_INTERNAL] = {"UNKNOWN", 500, "internal"},
    [ERROR_UNAVAILABLE] = {"UNAVAILABLE", 503, "unavailable"},
    [ERROR_STORAGE_FULL] = {"UNAVAILABLE", 507, "storage_full"},
    [ERROR_BAD_REQUEST] = {"UNSUPPORTED", 400, "bad_request"},
    [ERROR_ROUTE_UNKNOWN] = {"UNSUPPORTED", 404, "not_found"},
    [ERROR_PRECONDITION] = {"DENIED", 412, "precondition_failed"},
    [ERROR_PROTECTED] = {"DENIED", 403, "protected"},
    [ERROR_QUOTA] = {"DENIED", 403, "quota_exceeded"},
    [ERROR_NOT_FOUND] = {"UNSUPPORTED", 404, "not_found"},
    [ERROR_CONFLICT] = {"DENIED", 409, "conflict"},
    [ERROR_INVALID] = {"UNSUPPORTED", 422, "invalid"},
    [ERROR_CSRF] = {"DENIED", 403, "csrf"},
    [ERROR_PASSWORD_STALE] = {"DENIED", 403, "password_stale"},
};

static void PRINTF_LIKE(3, 0)
    set_list(struct error *err, enum error_code code, const char *format, va_list list)
{
    if (err->code != ERROR_NONE)
        return;
    err->code = code;
    err->status = codes[code].status;
    vsnprintf(err->message, sizeof(err->message), format, list);
    utf8_mend(err->message);
}

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    set_list(err, code, format, list);
    va_end(list);
    return -1;
}

int error_set_field(struct error *err, const char *field, const char *format, ...)
{
    va_list list;

    if (err->code == ERROR_NONE)
        err->field = field;
    va_start(list, format);
    set_list(err, ERROR_INVALID, format, list);
    va_end(list);
    return -1;
}

int error_set_errno(struct error *err, enum error_code code, int number, const char *format, ...)
{
    va_list list;
    char text[100];

    if (err->code != ERROR_NONE)
        return -1;
    if (number == ENOSPC || number == EDQUOT)
        code = ERROR_STORAGE_FULL;
    va_start(list, format);
    set_list(err, code, format, list);
    va_end(list);
    if (number != 0)
        return error_set_cause(err, "%s", strerror_r(number, text, sizeof(text)));
    return -1;
}

int error_set_cause(struct error *err, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(err->cause, sizeof(err->cause), format, list);
    va_end(list);
    return -1;
}

int error_set_status(struct error *err, int status)
{
    err->status = status;
    return -1;
}

void error_clear(struct error *err)
{
    memset(err, 0, sizeof(*err));
}

const char *error_code_name(enum error_code code)
{
    return codes[code].name;
}

int error_code_status(enum error_code code)
{
    return codes[code].status;
}

const char *error_code_problem(enum error_code code)
{
    return codes[code].problem;
}
