/* fuzz_log_filter.c - any bytes as what a script prints: however they are cut into pieces the same
 * lines come out, without a secret and without controls but colours. */
#include <stdlib.h>
#include <string.h>

#include "s2i/log.h"
#include "s2i/log_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end of an escape sequence that may be kept, or NULL. */
static const char *colour_end(struct slice s)
{
    size_t at = 2;

    if (s.size < 3 || s.at[1] != '[')
        return NULL;
    while (at < s.size && strchr("0123456789:;", s.at[at]) != NULL)
        at++;
    return at < s.size && s.at[at] == 'm' ? s.at + at + 1 : NULL;
}

static void line_check(void *arg, struct slice line)
{
    struct buffer *out = arg;

    assert(line.size <= LOG_LINE_MAX);
    buffer_append_slice(out, line);
    buffer_append(out, "\n", 1);
    while (line.size > 0) {
        const char *end = line.at[0] == 0x1b ? colour_end(line) : NULL;
        size_t unit = end != NULL ? (size_t)(end - line.at) : utf8_size(line);
        unsigned char c = (unsigned char)line.at[0];
        assert(unit > 0 && (end != NULL || (c != 0x7f && (c >= 0x20 || c == '\t'))));
        assert(unit != 2 || c != 0xc2 || (unsigned char)line.at[1] >= 0xa0);
        line = slice_from(line, unit);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct slice secrets[] = {{"secret", 6}, {"rete\nlla", 8}, {"\xc3\xa4rger", 6}};
    struct log_masks *masks = log_masks_new(secrets, 3);
    OWNED(buffer_drop) struct buffer once = BUFFER_NONE, pieces = BUFFER_NONE;
    struct log_filter all = {.masks = masks, .line = line_check, .arg = &once};
    struct log_filter cut = {.masks = masks, .line = line_check, .arg = &pieces};
    struct slice bytes = {(const char *)data, size};

    log_filter_write(&all, bytes);
    log_filter_flush(&all);
    for (size_t at = 0, step; at < size; at += step) {
        step = 1 + data[at] % 7;
        step = step < size - at ? step : size - at;
        log_filter_write(&cut, (struct slice){bytes.at + at, step});
    }
    log_filter_flush(&cut);
    assert(slice_equal(buffer_slice(&once), buffer_slice(&pieces)));
    for (size_t i = 0; i < 3; i++)
        assert(once.size == 0 ||
               memmem(once.at, once.size, secrets[i].at, secrets[i].size) == NULL);
    log_filter_drop(&all);
    log_filter_drop(&cut);
    log_masks_free(masks);
    return 0;
}
