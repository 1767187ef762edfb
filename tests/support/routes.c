/* routes.c - prints the table of routes as the server serves it, as JSON: what the matrix of rights
 * asks every caller for.
 * Touches  standard output.
 * Never    opens a storage, an auth, a listener.
 *
 *   routes      [{"pattern": "/v2/", "methods": ["GET", "HEAD"], "endpoint": "end-1",
 *                 "action": "base", "login": false}, ...] */
#include <stdio.h>

#include "registry/cli/wiring.h"

static const struct {
    enum method bit;
    const char *name;
} methods[] = {
    {METHOD_GET, "GET"}, {METHOD_HEAD, "HEAD"},   {METHOD_POST, "POST"},
    {METHOD_PUT, "PUT"}, {METHOD_PATCH, "PATCH"}, {METHOD_DELETE, "DELETE"},
};
enum { METHODS = sizeof(methods) / sizeof(methods[0]) };

static const char *const actions[] = {
    [ACTION_NONE] = "none",
    [ACTION_TOKEN] = "token",
    [ACTION_BASE] = "base",
    [ACTION_CATALOG] = "catalog",
    [ACTION_PULL] = "pull",
    [ACTION_PUSH] = "push",
    [ACTION_DELETE] = "delete",
    [ACTION_GIT_PULL] = "git_pull",
    [ACTION_GIT_PUSH] = "git_push",
    [ACTION_HOOK] = "hook",
    [ACTION_API_PUBLIC] = "api_public",
    [ACTION_API_SIGNED_IN] = "api_signed_in",
    [ACTION_API_READ] = "api_read",
    [ACTION_API_MANAGE] = "api_manage",
    [ACTION_API_PUSH] = "api_push",
    [ACTION_API_DELETE] = "api_delete",
    [ACTION_API_ACCOUNTS] = "api_accounts",
    [ACTION_API_AUDIT] = "api_audit",
    [ACTION_API_SYSTEM] = "api_system",
};
_Static_assert(sizeof(actions) / sizeof(actions[0]) == ACTION_COUNT, "every action has a name");

static void member(struct buffer *out, const char *name, const char *value)
{
    buffer_append_json(out, slice_of(name));
    buffer_append_text(out, ": ");
    buffer_append_json(out, slice_of(value));
    buffer_append_text(out, ", ");
}

static void route_print(const struct route *route, struct buffer *out)
{
    const char *between = "";

    buffer_append_text(out, "{");
    member(out, "pattern", route->pattern);
    member(out, "endpoint", route->endpoint);
    member(out, "action", actions[route->action]);
    buffer_print(out, "\"login\": %s, \"methods\": [", route->login ? "true" : "false");
    for (size_t i = 0; i < METHODS; i++) {
        if ((route->methods & (int)methods[i].bit) == 0)
            continue;
        buffer_print(out, "%s\"%s\"", between, methods[i].name);
        between = ", ";
    }
    buffer_append_text(out, "]}");
}

int main(void)
{
    OWNED(wiring_drop) struct wiring wiring = {.routes = NULL};
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;

    wiring_add_routes(&wiring);
    for (size_t i = 0; i < wiring.table.count; i++) {
        buffer_append_text(&out, i == 0 ? "[" : ",\n ");
        route_print(&wiring.table.routes[i], &out);
    }
    buffer_append_text(&out, "]\n");
    return fwrite(out.at, out.size, 1, stdout) == 1 ? 0 : 1;
}
