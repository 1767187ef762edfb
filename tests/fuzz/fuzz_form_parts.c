/* fuzz_form_parts.c - any bytes as a form: the first says in pieces of which size they come, then a
 * boundary up to a line feed. Whatever the pieces, the same parts; nothing beyond the limits.
 */
#include <string.h>

#include "registry/api/form_parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct buffer text;
    size_t parts;
};

static int part(void *arg, struct slice name, struct error *err)
{
    struct seen *seen = arg;

    (void)err;
    assert(name.size > 0 && name.size <= FORM_PART_HEAD_MAX && ++seen->parts <= FORM_PARTS_MAX);
    buffer_append_text(&seen->text, "|");
    buffer_append_slice(&seen->text, name);
    buffer_append_text(&seen->text, "|");
    return 0;
}

static int bytes(void *arg, struct slice text, struct error *err)
{
    struct seen *seen = arg;

    (void)err;
    buffer_append_slice(&seen->text, text);
    return 0;
}

static int read_by(struct slice type, struct slice body, size_t step, struct seen *seen)
{
    OWNED(form_parts_drop) struct form_parts form;
    const struct form_parts_taker taker = {part, bytes, seen};
    struct error err = {0};

    if (form_parts_open(&form, type, &err) < 0)
        return -1;
    while (body.size > 0) {
        size_t piece = step < body.size ? step : body.size;
        if (form_parts_write(&form, (struct slice){body.at, piece}, &taker, &err) < 0) {
            assert(err.code == ERROR_BAD_REQUEST);
            return -1;
        }
        assert(form.pending.size <= FORM_PART_HEAD_MAX + piece);
        body = slice_from(body, piece);
    }
    return form_parts_end(&form, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(buffer_drop) struct buffer type = BUFFER_NONE;
    struct seen whole = {.parts = 0}, pieces = {.parts = 0};
    struct slice boundary, body;

    if (size == 0)
        return 0;
    slice_split((struct slice){(const char *)data + 1, size - 1}, '\n', &boundary, &body);
    buffer_append_text(&type, "multipart/form-data; boundary=");
    buffer_append_slice(&type, boundary);
    int status = read_by(buffer_slice(&type), body, SIZE_MAX, &whole);
    int again = read_by(buffer_slice(&type), body, (size_t)data[0] + 1, &pieces);
    assert(status == again);
    if (status == 0)
        assert(slice_equal(buffer_slice(&whole.text), buffer_slice(&pieces.text)));
    buffer_drop(&whole.text);
    buffer_drop(&pieces.text);
    return 0;
}
