/* rights.c - what an identity may, and what each action needs (pure).
 * Touches  the identity.
 * Never    storage, the clock; a default that allows.
 *
 * (1) An action without a row in the table is refused, and so is a credential its row does not
 * count. (2) Roles, grants and what is public add up; the scopes of a token only take away. */
#include "auth/auth_internal.h"

/* --- rights on repositories --- */

static unsigned rights_of_role(const struct caller *caller)
{
    switch (caller->identity.role) {
    case ACCOUNT_ROLE_ADMIN:
        return LEVEL_ADMIN;
    case ACCOUNT_ROLE_AUDITOR:
        return LEVEL_READ;
    case ACCOUNT_ROLE_USER:
    case ACCOUNT_ROLE_OPERATOR:
        break;
    }
    return 0;
}

bool rights_see_all(const struct caller *caller)
{
    return (rights_of_role(caller) & RIGHT_PULL) != 0;
}

static unsigned rules_covering(const struct rule *rules, size_t count, struct slice repository)
{
    unsigned rights = 0;

    for (size_t i = 0; i < count; i++)
        if (pattern_covers(rules[i].pattern, repository))
            rights |= rules[i].rights;
    return rights;
}

static unsigned rules_around(const struct rule *rules, size_t count, struct slice pattern)
{
    unsigned rights = 0;

    for (size_t i = 0; i < count; i++)
        if (pattern_within(pattern, rules[i].pattern))
            rights |= rules[i].rights;
    return rights;
}

/* Invariant (2). */
unsigned rights_of_account(const struct caller *caller, struct slice repository, bool public)
{
    unsigned rights =
        rights_of_role(caller) | rules_covering(caller->grants, caller->grant_count, repository);

    if (public && caller->public_pull)
        rights |= RIGHT_PULL;
    if (caller->narrowed)
        rights &= rules_covering(caller->scopes, caller->scope_count, repository);
    return rights;
}

const struct access *rights_access(const struct caller *caller, struct slice repository)
{
    size_t low = 0;
    size_t high = caller->access_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = slice_compare(repository, caller->access[middle].name);

        if (order == 0)
            return &caller->access[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

unsigned rights_on(const struct caller *caller, struct slice repository, bool public)
{
    if (caller->identity.credential == CREDENTIAL_JWT) {
        const struct access *access = rights_access(caller, repository);
        return access == NULL ? 0 : access->rights;
    }
    switch (caller->identity.kind) {
    case IDENTITY_LOCAL:
    case IDENTITY_OPEN:
        return LEVEL_ADMIN;
    case IDENTITY_ANONYMOUS:
        return public && caller->public_pull ? RIGHT_PULL : 0;
    case IDENTITY_ACCOUNT:
        return rights_of_account(caller, repository, public);
    case IDENTITY_FOREIGN:
        break;
    }
    return 0;
}

unsigned rights_below(const struct caller *caller, struct slice pattern)
{
    unsigned rights;

    if (caller->identity.kind == IDENTITY_LOCAL || caller->identity.kind == IDENTITY_OPEN)
        return LEVEL_ADMIN;
    if (caller->identity.kind != IDENTITY_ACCOUNT || caller->identity.credential == CREDENTIAL_JWT)
        return 0;
    rights = rights_of_role(caller) | rules_around(caller->grants, caller->grant_count, pattern);
    if (caller->narrowed)
        rights &= rules_around(caller->scopes, caller->scope_count, pattern);
    return rights;
}

/* --- actions --- */

enum means { /* what a request shows; bits */
             BY_NOTHING = 1,
             BY_PASSWORD = 2,
             BY_TOKEN = 4,        /* personal, as a password */
             BY_TOKEN_BEARER = 8, /* personal, as Bearer */
             BY_JWT = 16,
             BY_COOKIE = 32,
             BY_SOCKET = 64,
             BY_OPEN = 128, /* auth.mode none asks nobody */
             BY_BASIC = BY_PASSWORD | BY_TOKEN,
             BY_CLIENT = BY_BASIC | BY_JWT | BY_OPEN,
             BY_MANAGER = BY_BASIC | BY_TOKEN_BEARER | BY_COOKIE | BY_SOCKET | BY_OPEN,
};

#define ROLE(role) (1U << (role))

struct need {
    unsigned means;   /* that count; 0: none does, invariant (1) */
    unsigned rights;  /* on the repository */
    unsigned roles;   /* one of these; 0: any */
    bool whole_token; /* a narrowed token must open the API */
    bool public_too;  /* who shows nothing may where everybody may pull */
};
static const struct need needs[ACTION_COUNT] = {
    [ACTION_NONE] = {BY_NOTHING | BY_CLIENT | BY_MANAGER, 0, 0, false, false},
    [ACTION_TOKEN] = {BY_NOTHING | BY_BASIC | BY_OPEN, 0, 0, false, false},
    [ACTION_BASE] = {BY_CLIENT, 0, 0, false, false},
    [ACTION_CATALOG] = {BY_CLIENT, 0, 0, false, false},
    [ACTION_PULL] = {BY_CLIENT, RIGHT_PULL, 0, false, true},
    [ACTION_PUSH] = {BY_CLIENT, RIGHT_PUSH, 0, false, false},
    [ACTION_DELETE] = {BY_CLIENT, RIGHT_DELETE, 0, false, false},
    [ACTION_GIT_PULL] = {BY_BASIC | BY_OPEN, RIGHT_PULL, 0, false, true},
    [ACTION_GIT_PUSH] = {BY_BASIC | BY_OPEN, RIGHT_PUSH, 0, false, false},
    [ACTION_HOOK] = {BY_NOTHING | BY_CLIENT | BY_MANAGER, 0, 0, false, false},
    [ACTION_API_PUBLIC] = {BY_NOTHING | BY_MANAGER, 0, 0, false, false},
    [ACTION_API_SIGNED_IN] = {BY_MANAGER, 0, 0, true, false},
    [ACTION_API_READ] = {BY_MANAGER, RIGHT_PULL, 0, false, true},
    [ACTION_API_MANAGE] = {BY_MANAGER, RIGHT_ADMIN, 0, true, false},
    [ACTION_API_PUSH] = {BY_MANAGER, RIGHT_PUSH, 0, true, false},
    [ACTION_API_DELETE] = {BY_MANAGER, RIGHT_DELETE, 0, true, false},
    [ACTION_API_ACCOUNTS] = {BY_MANAGER, 0, ROLE(ACCOUNT_ROLE_ADMIN), true, false},
    [ACTION_API_AUDIT] = {BY_MANAGER, 0, ROLE(ACCOUNT_ROLE_ADMIN) | ROLE(ACCOUNT_ROLE_AUDITOR),
                          true, false},
    [ACTION_API_SYSTEM] = {BY_MANAGER, 0, ROLE(ACCOUNT_ROLE_ADMIN) | ROLE(ACCOUNT_ROLE_OPERATOR),
                           true, false},
};

const char *rights_name(enum action action)
{
    static const struct {
        unsigned right;
        const char *name;
    } names[] = {{RIGHT_PULL, "pull"},
                 {RIGHT_PUSH, "push"},
                 {RIGHT_DELETE, "delete"},
                 {RIGHT_ADMIN, "admin"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (needs[action].rights == names[i].right)
            return names[i].name;
    return NULL;
}

static unsigned means_of(const struct caller *caller)
{
    if (caller->identity.kind == IDENTITY_OPEN)
        return BY_OPEN;
    switch (caller->identity.credential) {
    case CREDENTIAL_PASSWORD:
        return BY_PASSWORD;
    case CREDENTIAL_TOKEN:
        return caller->bearer ? BY_TOKEN_BEARER : BY_TOKEN;
    case CREDENTIAL_JWT:
        return BY_JWT;
    case CREDENTIAL_COOKIE:
        return BY_COOKIE;
    case CREDENTIAL_SOCKET:
        return BY_SOCKET;
    case CREDENTIAL_NONE:
        break;
    }
    return BY_NOTHING;
}

/* A push may look whether what it brings is there. Spec: AUTHZ-02. */
static bool rights_suffice(const struct auth_request *request, unsigned needed, unsigned rights)
{
    return (needed & ~rights) == 0 ||
           (request->action == ACTION_PULL && request->head && (rights & RIGHT_PUSH) != 0);
}

/* Spec: TOK-51. */
static bool source_unnamed(const struct caller *caller, const struct auth_request *request)
{
    return request->action == ACTION_PUSH && request->mount_from.at != NULL &&
           caller->identity.credential == CREDENTIAL_JWT &&
           rights_access(caller, request->mount_from) == NULL;
}

static enum verdict api_lacking(const struct auth_request *request, unsigned rights)
{
    bool seen = (rights & RIGHT_PULL) != 0;

    if (request->action == ACTION_API_READ)
        return VERDICT_HIDDEN;
    return !seen ? VERDICT_HIDDEN : VERDICT_LACKING;
}

enum verdict rights_verdict(const struct caller *caller, const struct auth_request *request,
                            unsigned rights, bool anonymous)
{
    const struct need *need = &needs[request->action];
    unsigned means = means_of(caller);
    bool nobody = means == BY_NOTHING;

    if (nobody && (need->means & BY_NOTHING) == 0)
        return need->public_too && anonymous && rights_suffice(request, need->rights, rights)
                   ? VERDICT_GRANTED
                   : VERDICT_NOBODY;
    if ((need->means & means) == 0)
        return VERDICT_REFUSED;
    if (need->roles != 0 && (need->roles & ROLE(caller->identity.role)) == 0)
        return VERDICT_LACKING;
    if (need->whole_token && caller->narrowed && !caller->api)
        return VERDICT_LACKING;
    if (request->action == ACTION_CATALOG && means == BY_JWT && !caller->catalog_named)
        return VERDICT_LACKING;
    if (!rights_suffice(request, need->rights, rights))
        return action_is_api(request->action) ? api_lacking(request, rights) : VERDICT_LACKING;
    return source_unnamed(caller, request) ? VERDICT_UNNAMED : VERDICT_GRANTED;
}
