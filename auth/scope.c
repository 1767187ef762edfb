/* scope.c - the scope grammar of token requests and challenges (pure).
 *
 *   scope  = resource *( " " resource )
 *   resource = type [ "(" class ")" ] ":" name ":" [ action *( "," action ) ]
 *   name   = [ host ":" port "/" ] component *( "/" component ) */
#include "auth/scope.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *name;
    unsigned bit;
} actions[] = {
    {"pull", SCOPE_PULL}, {"push", SCOPE_PUSH}, {"delete", SCOPE_DELETE}, {"*", SCOPE_ALL}};

unsigned scope_action_parse(struct slice name)
{
    for (size_t i = 0; i < LENGTH(actions); i++)
        if (slice_equal_text(name, actions[i].name))
            return actions[i].bit;
    return 0;
}

unsigned scope_actions_parse(struct slice text)
{
    struct slice name, rest = text;
    unsigned bits = 0;

    do {
        slice_split(rest, ',', &name, &rest);
        bits |= scope_action_parse(name);
    } while (rest.at != NULL);
    return bits;
}

void scope_actions_print(unsigned bits, struct buffer *out)
{
    const char *before = "";

    for (size_t i = 0; i < LENGTH(actions); i++) {
        if ((bits & actions[i].bit) == 0)
            continue;
        buffer_print(out, "%s%s", before, actions[i].name);
        before = ",";
    }
}

/* A port makes the first part of a name a host, which is none of ours but well-formed. */
static bool name_valid(struct slice name)
{
    struct slice host, port, path;
    uint64_t number;

    if (!slice_split(name, ':', &host, &port))
        return oci_name_valid(name);
    return name.size <= OCI_NAME_MAX && slice_split(port, '/', &port, &path) &&
           slice_to_u64(port, &number) && number >= 1 && number <= 65535 && oci_name_valid(host) &&
           memchr(host.at, '/', host.size) == NULL && oci_name_valid(path);
}

/* TOK-31: "repository(plugin)" is "repository". */
static bool type_parse(struct slice text, enum scope_type *out)
{
    struct slice type, class;

    if (slice_split(text, '(', &type, &class)) {
        if (class.size < 2 || !slice_ends(class, ")"))
            return false;
        for (size_t i = 0; i + 1 < class.size; i++)
            if (!((class.at[i] >= 'a' && class.at[i] <= 'z') ||
                  (class.at[i] >= '0' && class.at[i] <= '9')))
                return false;
    }
    *out = slice_equal_text(type, "registry") ? SCOPE_CATALOG : SCOPE_REPOSITORY;
    return *out == SCOPE_CATALOG || slice_equal_text(type, "repository");
}

/* TOK-30: the first colon ends the type, the last one begins the actions. */
static bool resource_parse(struct slice text, struct scope *out)
{
    struct slice type, rest;

    if (!slice_split(text, ':', &type, &rest) || !type_parse(type, &out->type))
        return false;
    const char *last = memrchr(rest.at, ':', rest.size);
    if (last == NULL)
        return false;
    out->name = (struct slice){rest.at, (size_t)(last - rest.at)};
    out->actions = scope_actions_parse(slice_from(rest, out->name.size + 1));
    return out->type == SCOPE_CATALOG ? slice_equal_text(out->name, "catalog")
                                      : name_valid(out->name);
}

/* Into the same resource's entry, or a new one; false when there is no room. */
static bool fold(struct scopes *scopes, const struct scope *one)
{
    for (size_t i = 0; i < scopes->count; i++) {
        struct scope *same = &scopes->items[i];
        if (same->type == one->type && slice_equal(same->name, one->name)) {
            same->actions |= one->actions;
            return true;
        }
    }
    if (scopes->count == SCOPES_MAX)
        return false;
    if ((scopes->count & (scopes->count - 1)) == 0) /* a power of two, or none: it is full */
        scopes->items = memory_resize(scopes->items, (2 * scopes->count + 1) * sizeof(*one));
    scopes->items[scopes->count++] = *one;
    return true;
}

void scopes_parse(struct slice text, struct scopes *out)
{
    struct slice word, rest = text;

    *out = (struct scopes){NULL, 0};
    do {
        struct scope one = {0};
        slice_split(rest, ' ', &word, &rest);
        if (resource_parse(word, &one) && !fold(out, &one))
            return;
    } while (rest.at != NULL);
}

void scopes_drop(struct scopes *scopes)
{
    free(scopes->items);
    *scopes = (struct scopes){NULL, 0};
}
