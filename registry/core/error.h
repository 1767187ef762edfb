/* error.h - one error value, set where the failure is known and passed up untouched.
 * Touches  the caller's struct error.
 * Never    allocates, logs, answers a request. */
#ifndef SLIPWAY_CORE_ERROR_H
#define SLIPWAY_CORE_ERROR_H

#include "registry/core/attributes.h"

/* The fourteen codes of the distribution specification, then ours. Spec: ERR-02. */
enum error_code {
    ERROR_NONE,
    ERROR_BLOB_UNKNOWN,
    ERROR_BLOB_UPLOAD_INVALID,
    ERROR_BLOB_UPLOAD_UNKNOWN,
    ERROR_DIGEST_INVALID,
    ERROR_MANIFEST_BLOB_UNKNOWN,
    ERROR_MANIFEST_INVALID,
    ERROR_MANIFEST_UNKNOWN,
    ERROR_NAME_INVALID,
    ERROR_NAME_UNKNOWN,
    ERROR_SIZE_INVALID,
    ERROR_UNAUTHORIZED,
    ERROR_DENIED,
    ERROR_UNSUPPORTED,
    ERROR_TOOMANYREQUESTS,
    ERROR_INTERNAL,      /* our fault: 500 UNKNOWN */
    ERROR_UNAVAILABLE,   /* try again: 503 UNAVAILABLE */
    ERROR_STORAGE_FULL,  /* 507 UNAVAILABLE */
    ERROR_BAD_REQUEST,   /* HTTP itself is malformed: 400 UNSUPPORTED */
    ERROR_ROUTE_UNKNOWN, /* 404 UNSUPPORTED */
    ERROR_PRECONDITION,  /* 412 DENIED */
    ERROR_PROTECTED,     /* 403 DENIED: an immutable or protected tag, a pin */
    ERROR_QUOTA,         /* 403 DENIED: the message has the numbers */
    /* the management API's (problem+json); their names stand in error_code_problem */
    ERROR_NOT_FOUND,      /* 404 */
    ERROR_CONFLICT,       /* 409 */
    ERROR_INVALID,        /* 422, with the member at fault */
    ERROR_CSRF,           /* 403: a browser sent it from another page */
    ERROR_PASSWORD_STALE, /* 403: the password must be given again */
    ERROR_CODE_COUNT,
};

struct error {
    enum error_code code;
    int status;             /* HTTP status, from the table unless a caller knows better */
    unsigned retry_after_s; /* 429, 503: when to come again; 0: a second */
    const char *field;      /* ERROR_INVALID: the member of the body, a constant; or NULL */
    char message[200];      /* for the client: UTF-8, one line, no path, no SQL, no secret */
    char cause[200];        /* for the log: what errno, the database or the peer said */
};

/* Sets the error; the first one stays when called twice. Returns -1, so failing is one line. */
int error_set(struct error *err, enum error_code code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The same with a cause for the log; `number` is an errno, 0 for none. ENOSPC and EDQUOT make it
 * STORAGE_FULL whatever code was given. */
int error_set_errno(struct error *err, enum error_code code, int number, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* Adds what is for the log only. Returns -1. */
int error_set_cause(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);
/* Another status than the table's, for callers who know better. Returns -1. */
int error_set_status(struct error *err, int status);
/* INVALID about one member of the body. Returns -1. */
int error_set_field(struct error *err, const char *field, const char *format, ...)
    PRINTF_LIKE(3, 4);
void error_clear(struct error *err);

const char *error_code_name(enum error_code code); /* as it stands on the wire */
/* The management API's word for it: "not_found", "conflict", "unauthenticated". */
const char *error_code_problem(enum error_code code);
int error_code_status(enum error_code code);

/* The analyser reads one file at a time: so that it knows what failing returns. */
#ifdef __clang_analyzer__
#define error_set(...) (error_set(__VA_ARGS__), -1)
#define error_set_errno(...) (error_set_errno(__VA_ARGS__), -1)
#define error_set_cause(...) (error_set_cause(__VA_ARGS__), -1)
#define error_set_field(...) (error_set_field(__VA_ARGS__), -1)
#define error_set_status(...) (error_set_status(__VA_ARGS__), -1)
#endif

#endif
