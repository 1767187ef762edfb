/* issue.c - access tokens: what was asked for and what the caller may become a signed JWT.
 * Touches  signing keys; storage, for what is public.
 * Never    grants more than the caller may; fails for a wish that is too wide.
 *
 * Spec: TOK-10 to TOK-24, TOK-33, TOK-56. */
#include <inttypes.h>
#include <stdlib.h>

#include "auth/auth_internal.h"

enum { BACKDATED_S = 10, TTL_MIN_S = 60, ID_SIZE = 16 };

void token_given_drop(struct token_given *given)
{
    if (given->token.at != NULL)
        secret_wipe(given->token.at, given->token.size);
    if (given->refresh.at != NULL)
        secret_wipe(given->refresh.at, given->refresh.size);
    buffer_drop(&given->token);
    buffer_drop(&given->scope);
    buffer_drop(&given->refresh);
}

int auth_off(struct error *err)
{
    return error_set(err, ERROR_UNSUPPORTED, "this registry asks nobody to sign in");
}

/* --- what is granted --- */

/* "*" asks for all the caller may; it is written itself only where nothing is missing (TOK-33). */
static unsigned repository_granted(struct auth *auth, const struct caller *caller,
                                   const struct scope *wanted) ON(worker_thread)
{
    unsigned rights = auth_rights(auth, &caller->identity, wanted->name);
    unsigned granted = wanted->actions & rights & LEVEL_MAINTAIN;

    if ((wanted->actions & SCOPE_ALL) != 0) {
        granted |= rights & LEVEL_MAINTAIN;
        if (rights == LEVEL_ADMIN)
            granted |= SCOPE_ALL;
    }
    return granted;
}

static unsigned catalog_granted(const struct caller *caller, const struct scope *wanted)
{
    bool may = rights_see_all(caller) && !caller->narrowed;
    return may ? wanted->actions & SCOPE_ALL : 0;
}

static void actions_write(unsigned actions, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, name;

    scope_actions_print(actions, &text);
    rest = text.size == 0 ? SLICE_NONE : buffer_slice(&text);
    for (const char *between = ""; rest.at != NULL; between = ",") {
        slice_split(rest, ',', &name, &rest);
        buffer_append_text(out, between);
        buffer_append_json(out, name);
    }
}

static void entry_write(const struct scope *scope, unsigned actions, struct buffer *out)
{
    buffer_append_text(out, scope->type == SCOPE_CATALOG ? "{\"type\":\"registry\",\"name\":"
                                                         : "{\"type\":\"repository\",\"name\":");
    buffer_append_json(out, scope->name);
    buffer_append_text(out, ",\"actions\":[");
    actions_write(actions, out);
    buffer_append_text(out, "]}");
}

static void scope_write(const struct scope *scope, unsigned actions, struct buffer *out)
{
    if (out->size > 0)
        buffer_append_text(out, " ");
    buffer_print(out, "%s:%.*s:", scope->type == SCOPE_CATALOG ? "registry" : "repository",
                 SLICE_ARG(scope->name));
    scope_actions_print(actions, out);
}

/* One entry more, unless the token becomes too long (TOK-23). */
static void entry_add(const struct scope *scope, unsigned actions, struct buffer *entries)
{
    size_t before = entries->size;

    if (entries->size > 0)
        buffer_append_text(entries, ",");
    entry_write(scope, actions, entries);
    if (entries->size > TOKEN_PAYLOAD_MAX)
        entries->size = before;
}

/* Granted ones first; what was denied stays named while there is room (TOK-18). */
static void access_write(struct auth *auth, const struct caller *caller, struct slice wish,
                         struct buffer *entries, struct buffer *granted) ON(worker_thread)
{
    OWNED(scopes_drop) struct scopes scopes = {0};
    unsigned actions[SCOPES_ANSWERED_MAX];

    scopes_parse(wish.at == NULL ? SLICE("") : wish, &scopes);
    size_t count = scopes.count < SCOPES_ANSWERED_MAX ? scopes.count : SCOPES_ANSWERED_MAX;
    for (size_t i = 0; i < count; i++) {
        actions[i] = scopes.items[i].type == SCOPE_CATALOG
                         ? catalog_granted(caller, &scopes.items[i])
                         : repository_granted(auth, caller, &scopes.items[i]);
        if (actions[i] == 0)
            continue;
        size_t before = entries->size;
        entry_add(&scopes.items[i], actions[i], entries);
        if (entries->size > before)
            scope_write(&scopes.items[i], actions[i], granted);
    }
    for (size_t i = 0; i < count; i++)
        if (actions[i] == 0)
            entry_add(&scopes.items[i], 0, entries);
}

/* --- the token --- */

static void claim_text(struct buffer *out, const char *name, const char *value)
{
    buffer_print(out, "\"%s\":", name);
    buffer_append_json(out, slice_of(value));
    buffer_append_text(out, ",");
}

static void payload_write(const struct auth *auth, const struct caller *caller, int64_t now_s,
                          uint64_t ttl_s, const struct buffer *entries, struct buffer *out)
{
    uint8_t random[ID_SIZE];
    char id[2 * ID_SIZE + 1] = "";

    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), id);
    buffer_append_text(out, "{");
    claim_text(out, "iss", auth->issuer);
    claim_text(out, "sub", caller->identity.name);
    claim_text(out, "aud", auth->service);
    claim_text(out, "jti", id);
    buffer_print(out, "\"exp\":%" PRId64 ",\"nbf\":%" PRId64 ",\"iat\":%" PRId64 ",",
                 now_s + (int64_t)ttl_s, now_s - BACKDATED_S, now_s - BACKDATED_S); /* TOK-56 */
    if (caller->identity.kind == IDENTITY_ACCOUNT)
        buffer_print(out, "\"slipway\":{\"account\":%" PRId64 ",\"token\":%" PRId64 "},",
                     caller->identity.account, caller->identity.token);
    buffer_append_text(out, "\"access\":[");
    if (entries->size > 0)
        buffer_append_slice(out, buffer_slice(entries));
    buffer_append_text(out, "]}");
}

/* Spec: TOK-22: only to whoever gave a password: a personal token is long-lived itself, and what it
 * is narrowed to would be lost. */
static bool refresh_due(const struct auth *auth, const struct identity *identity,
                        const struct token_wish *wish)
{
    return wish->offline && auth->refresh_ttl_s > 0 && identity->kind == IDENTITY_ACCOUNT &&
           identity->credential == CREDENTIAL_PASSWORD;
}

int auth_token_issue(struct auth *auth, const struct identity *identity,
                     const struct token_wish *wish, struct token_given *out, struct error *err)
{
    const struct caller *caller = caller_of(identity);
    OWNED(buffer_drop) struct buffer entries = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer payload = BUFFER_NONE;
    uint64_t ttl_s = auth->token_ttl_s > TTL_MIN_S ? auth->token_ttl_s : TTL_MIN_S; /* TOK-21 */

    if (auth->mode == AUTH_MODE_NONE)
        return auth_off(err);
    if (identity->kind != IDENTITY_ANONYMOUS && identity->kind != IDENTITY_ACCOUNT)
        return error_set(err, ERROR_DENIED, "tokens are for accounts");
    if (refresh_due(auth, identity, wish) &&
        refresh_give(auth, caller, wish->client, &out->refresh, err) < 0)
        return -1;
    out->issued_at = clock_now_us() / US_PER_S;
    out->expires_in = ttl_s;
    access_write(auth, caller, wish->scope, &entries, &out->scope);
    payload_write(auth, caller, out->issued_at, ttl_s, &entries, &payload);
    key_ring_sign(auth->keys, buffer_slice(&payload), &out->token);
    return 0;
}
