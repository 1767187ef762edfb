/* route.c - finds the row of a method and a path.
 * Touches  nothing (pure).
 * Never    calls a handler.
 *
 * Patterns are matched segment by segment from the right end, so that a repository may be called
 * "blobs" or "a/manifests" (ROUTE-01, NAME-14). */
#include "registry/http/route.h"

#include <string.h>

/* Cuts the last "/segment" off; false when there is no slash left. */
static bool cut_last(struct slice *text, struct slice *segment)
{
    const char *slash = text->size == 0 ? NULL : memrchr(text->at, '/', text->size);

    if (slash == NULL)
        return false;
    size_t before = (size_t)(slash - text->at);
    *segment = (struct slice){slash + 1, text->size - before - 1};
    text->size = before;
    return true;
}

/* "<id>" takes any segment, "<id>:rotate" one that goes on before that ending. */
static bool fits_variable(struct slice wanted, struct slice found, struct slice *out)
{
    struct slice variable, ending;

    slice_split(wanted, '>', &variable, &ending);
    if (found.size <= ending.size)
        return false;
    *out = (struct slice){found.at, found.size - ending.size};
    return slice_equal(slice_from(found, out->size), ending);
}

/* What is left of the path must be the pattern's beginning, a slash and a name, which may have an
 * ending too. */
static bool fits_name(struct slice pattern, struct slice wanted, struct slice path,
                      struct slice *name)
{
    if (path.size < pattern.size + 2 || memcmp(path.at, pattern.at, pattern.size) != 0 ||
        path.at[pattern.size] != '/')
        return false;
    return fits_variable(wanted, slice_from(path, pattern.size + 1), name);
}

static bool fits(struct slice pattern, struct slice path, struct slice *name,
                 struct slice *reference)
{
    struct slice wanted, found;

    *name = *reference = SLICE_NONE;
    while (cut_last(&pattern, &wanted)) {
        if (slice_starts(wanted, "<name>"))
            return fits_name(pattern, wanted, path, name);
        if (!cut_last(&path, &found))
            return false;
        if (wanted.size > 0 && wanted.at[0] == '<') {
            if (!fits_variable(wanted, found, reference))
                return false;
        } else if (!slice_equal(wanted, found)) {
            return false;
        }
    }
    return path.size == 0;
}

/* "?service=git-upload-pack" at the end of a pattern. */
static bool has_parameter(const struct request *request, struct slice wanted)
{
    struct slice name, value;

    if (wanted.at == NULL)
        return true;
    slice_split(wanted, '=', &name, &value);
    for (size_t i = 0; i < request->parameter_count; i++)
        if (slice_equal(request->parameters[i].name, name))
            return slice_equal(request->parameters[i].value, value);
    return false;
}

static struct slice first_segment(struct slice path)
{
    struct slice segment, rest;

    slice_split(slice_from(path, 1), '/', &segment, &rest);
    return segment;
}

/* Names that stand at the root of all paths must leave ours alone. Spec: s2i 13.20 */
static bool is_ours(const struct route_table *table, struct slice path)
{
    static const char *const to_come[] = {"ui", "login", "static"};
    struct slice first = first_segment(path);

    for (size_t i = 0; i < sizeof(to_come) / sizeof(to_come[0]); i++)
        if (slice_equal_text(first, to_come[i]))
            return true;
    for (size_t i = 0; i < table->count; i++)
        if (slice_equal(first, first_segment(slice_of(table->routes[i].pattern))))
            return true;
    return false;
}

static bool takes(const struct route_table *table, const struct route *route,
                  const struct request *request, struct slice *name, struct slice *reference)
{
    struct slice pattern, parameter;

    slice_split(slice_of(route->pattern), '?', &pattern, &parameter);
    return fits(pattern, request->path, name, reference) && has_parameter(request, parameter) &&
           !(slice_starts(pattern, "/<name>") && is_ours(table, request->path));
}

enum route_outcome route_find(const struct route_table *table, struct request *request,
                              int *allowed)
{
    const char *known = NULL; /* the pattern that fits; its rows differ by method only */

    *allowed = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct route *route = &table->routes[i];
        struct slice name, reference;
        if (known != NULL ? strcmp(route->pattern, known) != 0
                          : !takes(table, route, request, &name, &reference))
            continue;
        if (known == NULL) {
            known = route->pattern;
            request->name = name;
            request->reference = reference;
        }
        request->route = route;
        if ((route->methods & (int)request->method) != 0)
            return ROUTE_FOUND;
        *allowed |= route->methods;
    }
    return known == NULL ? ROUTE_UNKNOWN : ROUTE_METHOD;
}
