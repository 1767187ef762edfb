/* form_parts.c - see form_parts.h.
 *
 *   PREAMBLE --delimiter--> BETWEEN --CR LF--> HEAD --empty line--> PART --delimiter--> BETWEEN
 *                           BETWEEN --"--"--> EPILOGUE: what comes then is nobody's
 *
 * A body begins as if a line had ended: the first delimiter is one like the others. */
#include "registry/api/form_parts.h"

#include <string.h>

static int refuse(const char *what, struct error *err)
{
    return error_set(err, ERROR_BAD_REQUEST, "the form cannot be read: %s", what);
}

/* --- parameters of headers --- */

/* The value of ;name=value or ;name="value"; SLICE_NONE: it is not there, or there twice. */
static struct slice parameter_of(struct slice header, const char *wanted)
{
    struct slice found = SLICE_NONE, part, name, value;

    slice_split(header, ';', &part, &header);
    while (header.size > 0) {
        header = slice_trim(header);
        if (!slice_split(header, '=', &name, &value))
            return found;
        if (value.size > 0 && value.at[0] == '"')
            slice_split(slice_from(value, 1), '"', &part, &header);
        else
            slice_split(value, ';', &part, &header);
        if (value.size > 0 && value.at[0] == '"')
            slice_split(header, ';', &value, &header);
        if (!slice_equal_ignore_case(slice_trim(name), wanted))
            continue;
        if (found.at != NULL)
            return SLICE_NONE;
        found = part;
    }
    return found;
}

static bool boundary_valid(struct slice boundary)
{
    static const char others[] = "'()+_,-./:=? ";

    for (size_t i = 0; i < boundary.size; i++) {
        char c = boundary.at[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && (c == 0 || strchr(others, c) == NULL))
            return false;
    }
    return boundary.size > 0 && boundary.size <= FORM_BOUNDARY_MAX &&
           boundary.at[boundary.size - 1] != ' ';
}

int form_parts_open(struct form_parts *form, struct slice type, struct error *err)
{
    struct slice boundary = parameter_of(type, "boundary");

    *form = (struct form_parts){.place = FORM_PREAMBLE};
    if (!boundary_valid(boundary))
        return refuse("its type names no boundary", err);
    memcpy(form->delimiter, "\r\n--", 4);
    memcpy(form->delimiter + 4, boundary.at, boundary.size);
    form->delimiter_size = boundary.size + 4;
    buffer_append(&form->pending, "\r\n", 2);
    return 0;
}

void form_parts_drop(struct form_parts *form)
{
    if (form->pending.at != NULL)
        explicit_bzero(form->pending.at, form->pending.size); /* secret_env */
    buffer_drop(&form->pending);
}

/* --- heads --- */

/* The next line of a head, without its end. */
static bool line_next(struct slice *head, struct slice *line)
{
    const char *end = head->size == 0 ? NULL : memmem(head->at, head->size, "\r\n", 2);

    if (end == NULL)
        return false;
    *line = (struct slice){head->at, (size_t)(end - head->at)};
    *head = slice_from(*head, line->size + 2);
    return true;
}

static bool as_it_is(struct slice encoding)
{
    return slice_equal_ignore_case(encoding, "binary") ||
           slice_equal_ignore_case(encoding, "8bit") || slice_equal_ignore_case(encoding, "7bit");
}

static int head_read(struct slice head, struct slice *name, struct error *err)
{
    struct slice line, field, value;

    *name = SLICE_NONE;
    while (line_next(&head, &line) && line.size > 0) {
        if (!slice_split(line, ':', &field, &value))
            return refuse("a part's head is malformed", err);
        value = slice_trim(value);
        if (slice_equal_ignore_case(field, "content-transfer-encoding") && !as_it_is(value))
            return refuse("a part is encoded", err);
        if (!slice_equal_ignore_case(field, "content-disposition"))
            continue;
        if (name->at != NULL)
            return refuse("a part has two names", err);
        *name = parameter_of(value, "name");
    }
    return name->size > 0 ? 0 : refuse("a part has no name", err);
}

/* --- the body --- */

static void forget(struct form_parts *form, size_t size)
{
    form->pending.size -= size;
    memmove(form->pending.at, form->pending.at + size, form->pending.size);
}

/* Gives on what is not part of a delimiter; 1: one was found, and is behind. */
static int to_delimiter(struct form_parts *form, const struct form_parts_taker *taker,
                        struct error *err)
{
    const char *at = form->pending.at;
    const char *found = form->pending.size < form->delimiter_size
                            ? NULL
                            : memmem(at, form->pending.size, form->delimiter, form->delimiter_size);
    size_t kept = form->delimiter_size - 1;
    size_t size = found != NULL               ? (size_t)(found - at)
                  : form->pending.size > kept ? form->pending.size - kept
                                              : 0;

    if (form->place == FORM_PREAMBLE)
        form->skipped += size;
    if (form->skipped > FORM_PREAMBLE_MAX)
        return refuse("its boundary does not come", err);
    if (form->place == FORM_PART && size > 0 &&
        taker->bytes(taker->arg, (struct slice){at, size}, err) < 0)
        return -1;
    forget(form, size + (found == NULL ? 0 : form->delimiter_size));
    if (found != NULL)
        form->place = FORM_BETWEEN;
    return found != NULL ? 1 : 0;
}

/* Blanks behind a boundary are padding. */
static int between(struct form_parts *form, struct error *err)
{
    struct slice rest = buffer_slice(&form->pending);

    while (rest.size > 0 && (rest.at[0] == ' ' || rest.at[0] == '\t'))
        rest = slice_from(rest, 1);
    if (form->pending.size - rest.size > FORM_BOUNDARY_MAX)
        return refuse("a boundary does not end", err);
    if (rest.size < 2)
        return 0;
    bool last = slice_starts(buffer_slice(&form->pending), "--");
    if (!last && !slice_starts(rest, "\r\n"))
        return refuse("a boundary does not end", err);
    if (!last && ++form->parts > FORM_PARTS_MAX)
        return refuse("it has too many parts", err);
    forget(form, form->pending.size - rest.size + 2);
    form->place = last ? FORM_EPILOGUE : FORM_HEAD;
    return 1;
}

static int head(struct form_parts *form, const struct form_parts_taker *taker, struct error *err)
{
    struct slice pending = buffer_slice(&form->pending), name;
    const char *end = pending.size == 0 ? NULL : memmem(pending.at, pending.size, "\r\n\r\n", 4);
    size_t size = end == NULL ? pending.size : (size_t)(end - pending.at) + 4;

    if (size > FORM_PART_HEAD_MAX)
        return refuse("a part's head is too long", err);
    if (end == NULL)
        return 0;
    if (head_read((struct slice){pending.at, size}, &name, err) < 0 ||
        taker->part(taker->arg, name, err) < 0)
        return -1;
    forget(form, size);
    form->place = FORM_PART;
    return 1;
}

/* 1: go on with what is pending; 0: more has to come. */
static int step(struct form_parts *form, const struct form_parts_taker *taker, struct error *err)
{
    switch (form->place) {
    case FORM_PREAMBLE:
    case FORM_PART:
        return to_delimiter(form, taker, err);
    case FORM_BETWEEN:
        return between(form, err);
    case FORM_HEAD:
        return head(form, taker, err);
    case FORM_EPILOGUE:
        break;
    }
    form->pending.size = 0;
    return 0;
}

int form_parts_write(struct form_parts *form, struct slice bytes,
                     const struct form_parts_taker *taker, struct error *err)
{
    int status = 1;

    buffer_append_slice(&form->pending, bytes);
    while (status == 1)
        status = step(form, taker, err);
    return status;
}

int form_parts_end(const struct form_parts *form, struct error *err)
{
    return form->place == FORM_EPILOGUE ? 0 : refuse("its end does not come", err);
}
