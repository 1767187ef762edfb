/* narrow.c - the scopes of personal tokens: what a token is narrowed to (pure).
 * Touches  memory only.
 * Never    what the account may: the two are met elsewhere.
 *
 *   scopes = item *( " " item )     item = "api" | "repository:" PATTERN ":" action *( "," action )
 *   action = "pull" | "push" | "delete" | "*"
 *
 * Spec: TOK-65. */
#include <stdlib.h>

#include "auth/auth_internal.h"

enum { SCOPES_SIZE_MAX = 4096, RULES_MAX = 64 };

static void narrowing_drop(struct narrowing *narrowing)
{
    free(narrowing->rules);
    *narrowing = (struct narrowing){0};
}

static const struct {
    const char *name;
    unsigned rights;
} actions[] = {
    {"pull", RIGHT_PULL},
    {"push", RIGHT_PUSH},
    {"delete", RIGHT_DELETE},
    {"*", LEVEL_ADMIN},
};
enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

static unsigned action_parse(struct slice name)
{
    for (size_t i = 0; i < ACTIONS; i++)
        if (slice_equal_text(name, actions[i].name))
            return actions[i].rights;
    return 0;
}

/* 0: empty, or one of them is unknown. */
static unsigned actions_parse(struct slice text)
{
    unsigned rights = 0;

    while (text.at != NULL) {
        struct slice name;
        unsigned one;

        slice_split(text, ',', &name, &text);
        one = action_parse(name);
        if (one == 0)
            return 0;
        rights |= one;
    }
    return rights;
}

static void rule_add(struct narrowing *narrowing, struct slice pattern, unsigned rights)
{
    for (size_t i = 0; i < narrowing->count; i++)
        if (slice_equal(narrowing->rules[i].pattern, pattern)) {
            narrowing->rules[i].rights |= rights;
            return;
        }
    narrowing->rules[narrowing->count++] = (struct rule){pattern, rights};
}

static int item_parse(struct slice item, struct narrowing *out, struct error *err)
{
    struct slice rest, pattern, names;
    unsigned rights;

    if (slice_equal_text(item, "api")) {
        out->api = true;
        return 0;
    }
    if (!slice_starts(item, "repository:"))
        return error_set(err, ERROR_INVALID, "a scope is api or repository:PATTERN:ACTIONS");
    rest = slice_from(item, strlen("repository:"));
    slice_split(rest, ':', &pattern, &names);
    if (!pattern_valid(pattern))
        return error_set(err, ERROR_INVALID, "a scope's pattern is *, a repository or PREFIX/*");
    rights = actions_parse(names);
    if (rights == 0)
        return error_set(err, ERROR_INVALID, "a scope's actions are pull, push, delete or *");
    if (out->count == RULES_MAX)
        return error_set(err, ERROR_INVALID, "more than %d scopes", RULES_MAX);
    rule_add(out, pattern, rights);
    return 0;
}

int narrowing_parse(struct slice text, struct narrowing *out, struct error *err)
{
    OWNED(narrowing_drop) struct narrowing parsed = {0};

    if (text.size > SCOPES_SIZE_MAX)
        return error_set(err, ERROR_INVALID, "scopes exceed %d bytes", SCOPES_SIZE_MAX);
    parsed.rules = memory_new(RULES_MAX * sizeof(*parsed.rules));
    while (text.at != NULL) {
        struct slice item;

        slice_split(text, ' ', &item, &text);
        if (item.size > 0 && item_parse(item, &parsed, err) < 0)
            return -1;
    }
    *out = parsed;
    parsed.rules = NULL;
    return 0;
}

static void actions_print(unsigned rights, struct buffer *out)
{
    const char *between = "";

    if ((rights & RIGHT_ADMIN) != 0) {
        buffer_append_text(out, "*");
        return;
    }
    for (size_t i = 0; i < ACTIONS; i++)
        if ((rights & actions[i].rights) == actions[i].rights) {
            buffer_print(out, "%s%s", between, actions[i].name);
            between = ",";
        }
}

static int rule_compare(const void *a, const void *b)
{
    return slice_compare(((const struct rule *)a)->pattern, ((const struct rule *)b)->pattern);
}

int auth_token_scopes_check(struct slice scopes, struct buffer *out, struct error *err)
{
    OWNED(narrowing_drop) struct narrowing narrowing = {0};
    const char *between = "";

    if (narrowing_parse(scopes, &narrowing, err) < 0)
        return -1;
    qsort(narrowing.rules, narrowing.count, sizeof(*narrowing.rules), rule_compare);
    if (narrowing.api) {
        buffer_append_text(out, "api");
        between = " ";
    }
    for (size_t i = 0; i < narrowing.count; i++) {
        buffer_print(out, "%srepository:%.*s:", between, SLICE_ARG(narrowing.rules[i].pattern));
        actions_print(narrowing.rules[i].rights, out);
        between = " ";
    }
    return 0;
}

static unsigned rights_around(const struct caller *caller, struct slice pattern)
{
    unsigned rights = 0;

    for (size_t i = 0; i < caller->scope_count; i++)
        if (pattern_within(pattern, caller->scopes[i].pattern))
            rights |= caller->scopes[i].rights;
    return rights;
}

bool auth_token_scopes_within(const struct identity *identity, struct slice scopes)
{
    OWNED(narrowing_drop) struct narrowing wanted = {0};
    const struct caller *caller = caller_of(identity);
    struct error err = {0};

    if (!caller->narrowed)
        return true;
    if (narrowing_parse(scopes, &wanted, &err) < 0 || (wanted.count == 0 && !wanted.api))
        return false; /* "" is everything */
    if (wanted.api && !caller->api)
        return false;
    for (size_t i = 0; i < wanted.count; i++)
        if ((wanted.rules[i].rights & ~rights_around(caller, wanted.rules[i].pattern)) != 0)
            return false;
    return true;
}
