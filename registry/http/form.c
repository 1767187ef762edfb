/* form.c - the fields of a form that came as a body.
 * Touches  memory only.
 * Never    keeps a decoded field after form_drop: they may be passwords.
 *
 * Spec: token-auth section 4; RFC 6749 appendix B. */
#include <stdlib.h>
#include <string.h>

#include "registry/http/parse.h"

/* The media type, with no other parameter than the one charset there is. */
static bool is_form(struct slice type)
{
    struct slice media, parameter, name, value;

    slice_split(type, ';', &media, &parameter);
    if (!slice_equal_ignore_case(slice_trim(media), "application/x-www-form-urlencoded"))
        return false;
    if (slice_trim(parameter).size == 0)
        return true;
    slice_split(slice_trim(parameter), '=', &name, &value);
    return slice_equal_ignore_case(name, "charset") &&
           (slice_equal_ignore_case(value, "utf-8") || slice_equal_ignore_case(value, "\"utf-8\""));
}

int form_parse(const struct request *request, struct form *out, struct error *err)
{
    *out = (struct form){.count = 0};
    if (!is_form(request_header(request, "content-type")))
        return error_set(err, ERROR_BAD_REQUEST,
                         "the body must be application/x-www-form-urlencoded");
    out->size = request->body.size;
    out->decoded = memory_new(out->size + 1);
    if (query_parse(request->body, out->decoded, out->fields, &out->count))
        return 0;
    form_drop(out);
    return error_set(err, ERROR_BAD_REQUEST, "the form is malformed");
}

void form_drop(struct form *form)
{
    if (form->decoded != NULL)
        explicit_bzero(form->decoded, form->size);
    free(form->decoded);
    *form = (struct form){.count = 0};
}
