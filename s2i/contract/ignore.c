/* ignore.c - .s2iignore: which paths of a source do not go up.
 * Touches  memory only.
 * Never    matches against anything but names below the source root (4.24): rules are split into
 *          parts like paths, and a rule that leads outside selects nothing.
 *
 * A rule's part is matched against the path's part at the same depth: '*' any text, '?' one
 * character, [a-z] and [^a] one of a class, a backslash quotes. Spec: s2i 4.20 to 4.25. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

enum { RULES_MAX = 1000, TEXT_MAX = 64 * 1024 };

struct rule {
    bool takes_back; /* "!rule" */
    char *text;      /* parts, joined by '/' */
    size_t depth;    /* parts */
};
struct ignore {
    struct rule *rules;
    size_t count;
};

void ignore_drop(struct ignore **ignore)
{
    if (*ignore == NULL)
        return;
    for (size_t i = 0; i < (*ignore)->count; i++)
        free((*ignore)->rules[i].text);
    free((*ignore)->rules);
    free(*ignore);
    *ignore = NULL;
}

/* --- one part against one name --- */

/* The next character; a byte that is no UTF-8 counts as one. */
static struct slice next_character(struct slice *s)
{
    size_t size = utf8_size(*s);
    struct slice character = {s->at, size > 0 ? size : 1};

    *s = slice_from(*s, character.size);
    return character;
}

/* A character of a class, perhaps quoted. False when malformed. */
static bool class_character(struct slice *pattern, struct slice *out)
{
    if (pattern->size == 0 || pattern->at[0] == '-' || pattern->at[0] == ']')
        return false;
    if (pattern->at[0] == '\\')
        *pattern = slice_from(*pattern, 1);
    if (pattern->size == 0 || utf8_size(*pattern) == 0)
        return false;
    *out = next_character(pattern);
    return pattern->size > 0; /* at least ']' is still to come */
}

/* After '[': whether the character is in the class; the pattern goes behind ']'. False in *valid
 * when malformed. UTF-8 in bytewise order is the order of characters. */
static bool class_matches(struct slice *pattern, struct slice character, bool *valid)
{
    bool negated = slice_starts(*pattern, "^"), in = false;

    *pattern = slice_from(*pattern, negated ? 1 : 0);
    for (size_t ranges = 0;; ranges++) {
        struct slice low, high;
        if (ranges > 0 && slice_starts(*pattern, "]"))
            break;
        *valid = class_character(pattern, &low);
        if (!*valid)
            return false;
        high = low;
        if (slice_starts(*pattern, "-")) {
            *pattern = slice_from(*pattern, 1);
            *valid = class_character(pattern, &high);
            if (!*valid)
                return false;
        }
        in = in || (character.size > 0 && slice_compare(low, character) <= 0 &&
                    slice_compare(character, high) <= 0);
    }
    *pattern = slice_from(*pattern, 1);
    return in != negated;
}

/* One step of the pattern that is no star, against the next character of the name. */
static bool step_matches(struct slice *pattern, struct slice *name, bool *valid)
{
    char c = pattern->at[0];

    *valid = true;
    *pattern = slice_from(*pattern, 1);
    if (c == '[' || c == '?') {
        struct slice character = name->size > 0 ? next_character(name) : SLICE_NONE;
        bool in = c == '?' || class_matches(pattern, character, valid);
        return in && character.size > 0;
    }
    if (c == '\\') {
        *valid = pattern->size > 0;
        if (!*valid)
            return false;
        c = pattern->at[0];
        *pattern = slice_from(*pattern, 1);
    }
    bool same = name->size > 0 && name->at[0] == c;
    *name = slice_from(*name, 1);
    return same;
}

static bool part_valid(struct slice pattern)
{
    struct slice none = SLICE_NONE;
    bool valid = true;

    while (valid && pattern.size > 0) {
        if (pattern.at[0] == '*')
            pattern = slice_from(pattern, 1);
        else
            (void)step_matches(&pattern, &none, &valid);
    }
    return valid;
}

/* Goes back to the last star only: time is at most the product of the sizes. */
static bool part_matches(struct slice pattern, struct slice name)
{
    struct slice star_pattern = SLICE_NONE, star_name = SLICE_NONE;
    bool valid;

    for (;;) {
        if (pattern.size > 0 && pattern.at[0] == '*') {
            pattern = slice_from(pattern, 1);
            star_pattern = pattern;
            star_name = name;
            continue;
        }
        if (pattern.size == 0 && name.size == 0)
            return true;
        if (pattern.size > 0 && step_matches(&pattern, &name, &valid))
            continue;
        if (star_pattern.at == NULL || star_name.size == 0)
            return false;
        (void)next_character(&star_name);
        pattern = star_pattern;
        name = star_name;
    }
}

/* --- rules --- */

/* Adds the parts without empty ones and "."; ".." takes one away. False: it leads outside, names
 * the root itself, or a part is malformed. */
static bool rule_parts(struct slice text, struct rule *rule)
{
    struct buffer parts = BUFFER_NONE;
    struct slice part;
    bool valid = true;

    while (valid && text.size > 0) {
        slice_split(text, '/', &part, &text);
        if (part.size == 0 || slice_equal(part, SLICE(".")))
            continue;
        if (slice_equal(part, SLICE(".."))) {
            const char *slash = parts.size == 0 ? NULL : memrchr(parts.at, '/', parts.size);
            valid = rule->depth > 0;
            rule->depth -= valid;
            parts.size = slash == NULL ? 0 : (size_t)(slash - parts.at);
            continue;
        }
        valid = part_valid(part);
        buffer_print(&parts, "%s%.*s", rule->depth > 0 ? "/" : "", SLICE_ARG(part));
        rule->depth++;
    }
    rule->text = memory_text(buffer_slice(&parts));
    buffer_drop(&parts);
    return valid && rule->depth > 0;
}

static void note(struct s2i_list *notes, size_t line, const char *why)
{
    char text[160];

    snprintf(text, sizeof(text), ".s2iignore line %zu %s", line, why);
    s2i_list_add(notes, slice_of(text));
}

static struct slice trim_spaces(struct slice s)
{
    while (slice_starts(s, " "))
        s = slice_from(s, 1);
    while (slice_ends(s, " "))
        s.size--;
    return s;
}

static void parse_line(struct ignore *ignore, struct slice line, size_t number,
                       struct s2i_list *notes)
{
    struct rule rule = {.takes_back = slice_starts(line, "!")};

    if (memchr(line.at, 0, line.size) != NULL ||
        !rule_parts(slice_from(line, rule.takes_back ? 1 : 0), &rule)) {
        note(notes, number, "is malformed or leads outside, and selects nothing");
        free(rule.text);
        return;
    }
    ignore->rules = memory_resize(ignore->rules, (ignore->count + 1) * sizeof(rule));
    ignore->rules[ignore->count++] = rule;
}

struct ignore *ignore_parse(struct slice text, struct s2i_list *notes)
{
    struct ignore *ignore = memory_new(sizeof(*ignore));
    struct slice line;

    if (text.size > TEXT_MAX) {
        note(notes, 1, "and what follows is not read: the file has more than 65536 bytes");
        text.size = 0;
    }
    for (size_t number = 1; text.size > 0; number++) {
        slice_split(text, '\n', &line, &text);
        if (slice_ends(line, "\r"))
            line.size--;
        line = trim_spaces(line);
        if (line.size == 0 || line.at[0] == '#')
            continue;
        if (ignore->count == RULES_MAX) {
            note(notes, number, "and what follows is not read: there are more than 1000 rules");
            break;
        }
        parse_line(ignore, line, number, notes);
    }
    return ignore;
}

static size_t depth_of(struct slice path)
{
    size_t depth = path.size > 0;

    for (size_t i = 0; i < path.size; i++)
        depth += path.at[i] == '/';
    return depth;
}

static bool rule_matches(const struct rule *rule, struct slice path)
{
    struct slice rest = slice_of(rule->text), pattern, name;

    while (rest.size > 0) {
        slice_split(rest, '/', &pattern, &rest);
        slice_split(path, '/', &name, &path);
        if (!part_matches(pattern, name))
            return false;
    }
    return true;
}

/* The last rule that matches decides. */
bool ignore_selects(const struct ignore *ignore, struct slice path)
{
    size_t depth = depth_of(path);

    for (size_t i = ignore == NULL ? 0 : ignore->count; i > 0; i--) {
        const struct rule *rule = &ignore->rules[i - 1];
        if (rule->depth == depth && rule_matches(rule, path))
            return !rule->takes_back;
    }
    return false;
}
