/* challenge.c - what a refusal asks for: the value of WWW-Authenticate and the detail of its body.
 * Touches  memory only.
 * Never    depends on whether a repository exists (TOK-09), or names two schemes (TOK-03).
 *
 * Spec: TOK-01 to TOK-07, TOK-61. */
#include "auth/auth_internal.h"
#include "registry/core/oci.h"

void auth_origin(const struct auth *auth, const struct auth_request *request, struct buffer *out)
{
    if (auth->public_url[0] != 0) {
        buffer_append_text(out, auth->public_url);
        return;
    }
    buffer_append_text(out, request->tls ? "https://" : "http://");
    buffer_append_slice(out, request->host.at == NULL ? SLICE("localhost") : request->host);
}

/* --- what the request needs --- */

struct wanted {
    const char *type;
    struct slice name;
    const char *actions; /* as a scope lists them */
};
enum { WANTED_MAX = 2 };

/* Spec: TOK-02. */
static size_t wanted_of(const struct auth_request *request, struct wanted out[WANTED_MAX])
{
    struct slice from = request->mount_from;

    switch (request->action) {
    case ACTION_CATALOG:
        out[0] = (struct wanted){"registry", SLICE("catalog"), "*"};
        return 1;
    case ACTION_PULL:
        out[0] = (struct wanted){"repository", request->repository, "pull"};
        return 1;
    case ACTION_DELETE:
        out[0] = (struct wanted){"repository", request->repository, "delete"};
        return 1;
    case ACTION_PUSH:
        out[0] = (struct wanted){"repository", request->repository, "pull,push"};
        if (from.at == NULL || slice_equal(from, request->repository) || !oci_name_valid(from))
            return 1;
        out[1] = (struct wanted){"repository", from, "pull"};
        return 2;
    default:
        return 0;
    }
}

/* --- writing --- */

/* A value that cannot leave its quotes. */
static void quoted(struct buffer *out, const char *name, struct slice value)
{
    buffer_print(out, "%s=\"", name);
    for (size_t i = 0; i < value.size; i++)
        if (value.at[i] >= ' ' && value.at[i] < 0x7f && value.at[i] != '"' && value.at[i] != '\\')
            buffer_append(out, &value.at[i], 1);
    buffer_append_text(out, "\"");
}

static void scope_write(const struct wanted *wanted, size_t count, struct buffer *out)
{
    buffer_append_text(out, ",scope=\"");
    for (size_t i = 0; i < count; i++)
        buffer_print(out, "%s%s:%.*s:%s", i == 0 ? "" : " ", wanted[i].type,
                     SLICE_ARG(wanted[i].name), wanted[i].actions);
    buffer_append_text(out, "\"");
}

static void bearer_write(const struct auth *auth, const struct auth_request *request,
                         const struct wanted *wanted, size_t count, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer realm = BUFFER_NONE;

    if (auth->realm[0] != 0) {
        buffer_append_text(&realm, auth->realm);
    } else {
        auth_origin(auth, request, &realm);
        buffer_append_text(&realm, "/token");
    }
    buffer_append_text(out, "Bearer ");
    quoted(out, "realm", buffer_slice(&realm));
    buffer_append_text(out, ",");
    quoted(out, "service", slice_of(auth->service));
    if (count > 0)
        scope_write(wanted, count, out);
}

/* Spec: TOK-07: one object for each action. */
static void detail_write(const struct wanted *wanted, size_t count, struct buffer *out)
{
    const char *between = "";

    buffer_append_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        struct slice action, rest = slice_of(wanted[i].actions);

        for (; rest.at != NULL; between = ",") {
            slice_split(rest, ',', &action, &rest);
            buffer_print(out, "%s{\"Type\":\"%s\",\"Class\":\"\",\"Name\":", between,
                         wanted[i].type);
            buffer_append_json(out, wanted[i].name);
            buffer_append_text(out, ",\"Action\":");
            buffer_append_json(out, action);
            buffer_append_text(out, "}");
        }
    }
    buffer_append_text(out, "]");
}

void auth_challenge(const struct auth *auth, const struct auth_request *request,
                    const struct auth_answer *answer, struct buffer *header, struct buffer *detail)
{
    struct wanted wanted[WANTED_MAX];
    size_t count = wanted_of(request, wanted);

    if (count > 0)
        detail_write(wanted, count, detail);
    if (action_is_api(request->action)) /* no dialog of a browser */
        buffer_append_text(header, "Bearer realm=\"slipway\"");
    else if (auth->challenge_basic || action_is_basic(request->action))
        buffer_append_text(header, "Basic realm=\"slipway\""); /* TOK-16, TOK-61 */
    else
        bearer_write(auth, request, wanted, count, header);
    if (answer->fault != NULL && slice_starts(buffer_slice(header), "Bearer"))
        buffer_print(header, ",error=\"%s\"", answer->fault); /* TOK-06 */
}
