/* pattern.c - patterns of grants: a repository's name, a name and a final slash-star for all below
 * it, or a star for all.
 *
 * Bytes of a name are above 0x2c, and '0' follows '/': so the names below "a" are the range from
 * "a/" to before "a0", and a name by itself is the range up to before the name and a blank. */
#include "storage/pattern.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"

static bool is_all(struct slice pattern)
{
    return slice_equal_text(pattern, "*");
}

/* True with "a/" for what covers all below "a". */
static bool below(struct slice pattern, struct slice *prefix)
{
    *prefix = (struct slice){pattern.at, pattern.size == 0 ? 0 : pattern.size - 1};
    return slice_ends(pattern, "/*");
}

static bool starts_with(struct slice s, struct slice prefix)
{
    return s.size > prefix.size && memcmp(s.at, prefix.at, prefix.size) == 0;
}

bool pattern_valid(struct slice pattern)
{
    struct slice prefix;

    if (is_all(pattern))
        return true;
    if (!below(pattern, &prefix))
        return oci_name_valid(pattern);
    prefix.size--;
    return oci_name_valid(prefix);
}

bool pattern_covers(struct slice pattern, struct slice repository)
{
    struct slice prefix;

    if (is_all(pattern))
        return true;
    return below(pattern, &prefix) ? starts_with(repository, prefix)
                                   : slice_equal(pattern, repository);
}

/* The pattern "a/" star begins like a name below "a" does. */
bool pattern_within(struct slice inner, struct slice outer)
{
    return pattern_covers(outer, inner);
}

static int compare(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* A star is below every byte of a name, so a pattern comes before all that lie within it, and
 * nothing else comes between. */
size_t pattern_fold(struct slice *patterns, size_t count)
{
    size_t kept = 0;

    if (count > 0)
        qsort(patterns, count, sizeof(*patterns), compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || !pattern_within(patterns[i], patterns[kept - 1]))
            patterns[kept++] = patterns[i];
    return kept;
}

void pattern_range(struct slice pattern, struct buffer *from, struct buffer *to)
{
    struct slice prefix;

    if (is_all(pattern)) {
        buffer_append_text(to, "~");
    } else if (below(pattern, &prefix)) {
        buffer_append_slice(from, prefix);
        buffer_append(to, prefix.at, prefix.size - 1);
        buffer_append_text(to, "0");
    } else {
        buffer_append_slice(from, pattern);
        buffer_append_slice(to, pattern);
        buffer_append_text(to, " ");
    }
}

size_t pattern_covering(struct slice repository, struct buffer *texts, struct slice *out)
{
    size_t count = 0;

    buffer_reserve(texts, PATTERNS_COVERING_MAX * (repository.size + 2)); /* so it does not move */
    out[count++] = SLICE("*");
    for (size_t i = 0; i < repository.size && count < PATTERNS_COVERING_MAX - 1; i++)
        if (repository.at[i] == '/') {
            size_t start = texts->size;
            buffer_append(texts, repository.at, i + 1);
            buffer_append_text(texts, "*");
            out[count++] = (struct slice){texts->at + start, texts->size - start};
        }
    out[count++] = repository;
    return count;
}
