/* challenge.c - reads WWW-Authenticate and Link; see challenge.h.
 * Touches  memory.
 * Never    fails: what is malformed says nothing. */
#include "registry/transfer/challenge.h"

#include <stdlib.h>
#include <string.h>

void challenge_drop(struct challenge *challenge)
{
    free(challenge->realm);
    free(challenge->service);
    free(challenge->scope);
    *challenge = (struct challenge){.basic = false};
}

static bool is_word(char c)
{
    return c != 0 && strchr(" \t,;=\"<>", c) == NULL;
}

static struct slice skip(struct slice s, const char *characters)
{
    size_t at = 0;

    while (at < s.size && s.at[at] != 0 && strchr(characters, s.at[at]) != NULL)
        at++;
    return slice_from(s, at);
}

static struct slice take_word(struct slice *rest)
{
    size_t size = 0;

    while (size < rest->size && is_word(rest->at[size]))
        size++;
    struct slice word = {rest->at, size};
    *rest = slice_from(*rest, size);
    return word;
}

/* After "=": a word, or a text in quotes, whose escapes are undone. */
static void take_value(struct slice *rest, struct buffer *out)
{
    if (rest->size == 0 || rest->at[0] != '"') {
        buffer_append_slice(out, take_word(rest));
        return;
    }
    size_t at = 1;
    while (at < rest->size && rest->at[at] != '"') {
        if (rest->at[at] == '\\' && at + 1 < rest->size)
            at++;
        buffer_append(out, rest->at + at++, 1);
    }
    *rest = slice_from(*rest, at + 1);
}

static void keep(char **out, const struct buffer *value)
{
    if (*out != NULL || memchr(value->at == NULL ? "" : value->at, 0, value->size) != NULL)
        return;
    *out = memory_text(value->size == 0 ? SLICE("") : buffer_slice(value));
}

static void parameter(struct challenge *out, struct slice name, const struct buffer *value)
{
    if (slice_equal_ignore_case(name, "realm"))
        keep(&out->realm, value);
    else if (slice_equal_ignore_case(name, "service"))
        keep(&out->service, value);
    else if (slice_equal_ignore_case(name, "scope"))
        keep(&out->scope, value);
}

void challenge_parse(struct slice header, struct challenge *out)
{
    struct slice rest = skip(header, " \t,");
    bool bearer = false;

    *out = (struct challenge){.basic = false};
    while (rest.size > 0) {
        struct slice word = take_word(&rest);
        struct slice after = skip(rest, " \t");
        if (word.size == 0) { /* a character that belongs to nothing */
            rest = slice_from(rest, 1);
        } else if (after.size > 0 && after.at[0] == '=') {
            OWNED(buffer_drop) struct buffer value = BUFFER_NONE;
            rest = skip(slice_from(after, 1), " \t");
            take_value(&rest, &value);
            if (bearer)
                parameter(out, word, &value);
        } else {
            bearer = slice_equal_ignore_case(word, "bearer") && !out->bearer;
            out->bearer = out->bearer || bearer;
            out->basic = out->basic || slice_equal_ignore_case(word, "basic");
        }
        rest = skip(rest, " \t,");
    }
}

/* Whether the parameters before the next comma say rel="next"; *rest stands behind them. */
static bool says_next(struct slice *rest)
{
    bool next = false;

    while (rest->size > 0 && rest->at[0] != ',') {
        struct slice name = take_word(rest);
        OWNED(buffer_drop) struct buffer value = BUFFER_NONE;
        *rest = skip(*rest, " \t");
        if (name.size > 0 && rest->size > 0 && rest->at[0] == '=') {
            *rest = skip(slice_from(*rest, 1), " \t");
            take_value(rest, &value);
            next = next || (slice_equal_ignore_case(name, "rel") &&
                            slice_equal_ignore_case(buffer_slice(&value), "next"));
        } else if (name.size == 0 && rest->size > 0 && rest->at[0] != ',') {
            *rest = slice_from(*rest, 1);
        }
        *rest = skip(*rest, " \t;");
    }
    return next;
}

struct slice link_next(struct slice header)
{
    struct slice rest = skip(header, " \t,"), target;

    while (rest.size > 0 && rest.at[0] == '<') {
        if (!slice_split(slice_from(rest, 1), '>', &target, &rest))
            return SLICE_NONE;
        rest = skip(rest, " \t;");
        if (says_next(&rest))
            return target;
        rest = skip(rest, " \t,");
    }
    return SLICE_NONE;
}
