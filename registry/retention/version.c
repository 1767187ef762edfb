/* version.c - tags that are versions, in the order people mean. */
#include "registry/retention/version.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Cuts s at the first of `ends`; what follows it goes to rest, SLICE_NONE when there is none. */
static struct slice cut(struct slice s, const char *ends, struct slice *rest)
{
    size_t size = 0;

    while (size < s.size && strchr(ends, s.at[size]) == NULL)
        size++;
    *rest = size < s.size ? slice_from(s, size + 1) : SLICE_NONE;
    return (struct slice){s.at, size};
}

static bool all_digits(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (!is_digit(s.at[i]))
            return false;
    return s.size > 0;
}

/* "v1.2-rc" to "1.2" and "rc". */
static struct slice numbers(struct slice tag, struct slice *rest)
{
    if (tag.size > 0 && (tag.at[0] == 'v' || tag.at[0] == 'V'))
        tag = slice_from(tag, 1);
    return cut(tag, "-_", rest);
}

bool version_valid(struct slice tag)
{
    struct slice extra, rest = numbers(tag, &extra);

    do {
        struct slice part = cut(rest, ".", &rest);
        if (!all_digits(part))
            return false;
    } while (rest.at != NULL);
    return extra.at == NULL || extra.size > 0;
}

/* By value: without zeros before them the longer one is the greater. */
static int compare_digits(struct slice a, struct slice b)
{
    while (a.size > 0 && a.at[0] == '0')
        a = slice_from(a, 1);
    while (b.size > 0 && b.at[0] == '0')
        b = slice_from(b, 1);
    if (a.size != b.size)
        return a.size < b.size ? -1 : 1;
    return slice_compare(a, b);
}

static int compare_part(struct slice a, struct slice b)
{
    bool a_number = all_digits(a), b_number = all_digits(b);

    if (a_number && b_number)
        return compare_digits(a, b);
    if (a_number != b_number)
        return a_number ? -1 : 1;
    return slice_compare(a, b);
}

static int compare_numbers(struct slice a, struct slice b)
{
    int order = 0;

    while (order == 0 && (a.at != NULL || b.at != NULL)) {
        struct slice x = a.at == NULL ? SLICE("0") : cut(a, ".", &a);
        struct slice y = b.at == NULL ? SLICE("0") : cut(b, ".", &b);
        order = compare_digits(x, y);
    }
    return order;
}

static int compare_extra(struct slice a, struct slice b)
{
    int order = 0;

    if (a.at == NULL || b.at == NULL)
        return (a.at == NULL) - (b.at == NULL);
    while (order == 0 && a.at != NULL && b.at != NULL) {
        struct slice x = cut(a, ".", &a), y = cut(b, ".", &b);
        order = compare_part(x, y);
    }
    return order != 0 ? order : (a.at != NULL) - (b.at != NULL);
}

int version_compare(struct slice a, struct slice b)
{
    struct slice a_extra, b_extra;
    struct slice x = numbers(a, &a_extra), y = numbers(b, &b_extra);
    int order = compare_numbers(x, y);

    return order != 0 ? order : compare_extra(a_extra, b_extra);
}
