/* log_masks.c - the secrets that a log is not to show, in an order in which a text is held against
 * all of them at once (pure).
 * Touches  memory only.
 * Never    costs more for many secrets than for few: whoever builds chooses how many there are.
 *
 * (1) What begins with a text stands right behind it: whether more of a secret may come is one
 * look. (2) Each knows the longest other one that it begins with. The longest that a text begins
 * with is the one that stands before it, or is reached from there. */
#include "s2i/log_filter.h"

#include <stdlib.h>
#include <string.h>

/* A longer line is many secrets: how far a text has to be looked at has an end. */
enum { PIECE = 512 };

struct log_mask {
    struct buffer text;
    size_t shorter; /* (2): its place from 1 on; 0: there is none */
};

/* --- gathering --- */

static void mask_add(struct log_masks *masks, struct slice text)
{
    if (masks->count == masks->capacity) {
        masks->capacity = masks->capacity == 0 ? 8 : masks->capacity * 2;
        masks->items = memory_resize(masks->items, masks->capacity * sizeof(*masks->items));
    }
    struct log_mask *mask = &masks->items[masks->count++];
    *mask = (struct log_mask){.text = BUFFER_NONE};
    buffer_append_slice(&mask->text, text);
    masks->first[(unsigned char)text.at[0]] = true;
}

/* Characters stay whole, or what is left of one would be shown. */
static size_t piece_size(struct slice line)
{
    size_t size = line.size < 2 * PIECE ? line.size : PIECE;

    while (size < line.size && ((unsigned char)line.at[size] & 0xc0) == 0x80)
        size++;
    return size;
}

static void line_add(struct log_masks *masks, struct slice line, size_t least)
{
    if (line.size < least)
        return;
    while (line.size > 0) {
        size_t size = piece_size(line);
        mask_add(masks, (struct slice){line.at, size});
        line = slice_from(line, size);
    }
}

static void line_keep(void *arg, struct slice line)
{
    buffer_append_slice(arg, line);
    buffer_append(arg, "\n", 1);
}

/* As it would come out of a log. */
static void clean_write(struct slice secret, struct buffer *out)
{
    struct log_filter filter = {.masks = NULL, .line = line_keep, .arg = out};

    log_filter_write(&filter, secret);
    log_filter_flush(&filter);
    log_filter_drop(&filter);
    while (out->size > 0 && out->at[out->size - 1] == '\n')
        out->size--; /* a file's last line's end is seldom printed with it */
}

static void secret_add(struct log_masks *masks, struct slice secret)
{
    OWNED(buffer_wipe) struct buffer clean = BUFFER_NONE;
    struct slice line, rest;

    buffer_reserve(&clean, 3 * secret.size + 1); /* a byte that is no UTF-8 comes out as three */
    clean_write(secret, &clean);
    rest = buffer_slice(&clean);
    if (rest.size == 0 || memchr(rest.at, '\n', rest.size) == NULL) {
        line_add(masks, rest, MASK_MIN);
        return;
    }
    if (rest.size >= MASK_MIN)
        mask_add(masks, rest);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        line_add(masks, slice_trim(line), MASK_LINE_MIN);
    }
}

/* --- the order --- */

static struct slice text_of(const struct log_mask *mask)
{
    return buffer_slice(&mask->text);
}

static int compare(const void *a, const void *b)
{
    return slice_compare(text_of(a), text_of(b));
}

static bool begins_with(struct slice s, struct slice start)
{
    return s.size >= start.size && memcmp(s.at, start.at, start.size) == 0;
}

static void drop_doubles(struct log_masks *masks)
{
    size_t kept = 0;

    for (size_t i = 0; i < masks->count; i++)
        if (kept > 0 && compare(&masks->items[kept - 1], &masks->items[i]) == 0)
            buffer_wipe(&masks->items[i].text);
        else
            masks->items[kept++] = masks->items[i];
    masks->count = kept;
}

/* (2) */
static void find_shorter(struct log_masks *masks)
{
    for (size_t i = 1; i < masks->count; i++) {
        size_t at = i;
        while (at > 0 && !begins_with(text_of(&masks->items[i]), text_of(&masks->items[at - 1])))
            at = masks->items[at - 1].shorter;
        masks->items[i].shorter = at;
    }
}

struct log_masks *log_masks_new(const struct slice *secrets, size_t count)
{
    struct log_masks *masks = memory_new(sizeof(*masks));

    for (size_t i = 0; i < count; i++)
        secret_add(masks, secrets[i]);
    if (masks->count > 0)
        qsort(masks->items, masks->count, sizeof(*masks->items), compare);
    drop_doubles(masks);
    find_shorter(masks);
    return masks;
}

void log_masks_free(struct log_masks *masks)
{
    if (masks == NULL)
        return;
    for (size_t i = 0; i < masks->count; i++)
        buffer_wipe(&masks->items[i].text);
    free(masks->items);
    free(masks);
}

/* --- looking --- */

size_t log_masks_match(const struct log_masks *masks, struct slice s, bool *open)
{
    size_t low = 0, high;

    if (masks == NULL || s.size == 0 || !masks->first[(unsigned char)s.at[0]])
        return 0;
    for (high = masks->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(text_of(&masks->items[middle]), s) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < masks->count && begins_with(text_of(&masks->items[low]), s)) /* (1) */
        *open = true;
    while (low > 0 && !begins_with(s, text_of(&masks->items[low - 1])))
        low = masks->items[low - 1].shorter;
    return low == 0 ? 0 : masks->items[low - 1].text.size;
}
