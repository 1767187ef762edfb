/* identity.c - builds identities: what an account, a session or a token may, read once and kept.
 * Touches  the account's rights in storage; memory.
 * Never    looks at a password; changes an identity that was handed out.
 *
 * (1) An identity is true for the generation it was built under, and until good_until.
 * (2) A JWT's entries are met with what its account may now: a token never gives more. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth_internal.h"

/* --- counted --- */

const struct caller *caller_hold(const struct caller *caller)
{
    if (caller != NULL && !caller->lasting)
        atomic_fetch_add_explicit(&((struct caller *)(uintptr_t)caller)->holders, 1,
                                  memory_order_relaxed);
    return caller;
}

static void caller_free(struct caller *caller)
{
    if (caller->text != NULL)
        secret_wipe(caller->text, caller->text_size); /* the header is in it */
    free(caller->text);
    free(caller->grants);
    free(caller->scopes);
    free(caller->access);
    free(caller->patterns);
    free(caller);
}

void caller_drop(const struct caller **owned)
{
    struct caller *caller = (struct caller *)(uintptr_t)*owned;

    *owned = NULL;
    if (caller != NULL && !caller->lasting &&
        atomic_fetch_sub_explicit(&caller->holders, 1, memory_order_acq_rel) == 1)
        caller_free(caller);
}

const struct identity *identity_hold(const struct identity *identity)
{
    caller_hold(caller_of(identity));
    return identity;
}

void identity_drop(const struct identity **identity)
{
    const struct caller *caller = caller_of(*identity);

    *identity = NULL;
    caller_drop(&caller);
}

size_t caller_cost(const struct caller *caller)
{
    return sizeof(*caller) + caller->text_size +
           (caller->grant_count + caller->scope_count) * sizeof(struct rule) +
           caller->access_count * sizeof(struct access) +
           caller->pattern_count * sizeof(struct slice);
}

/* --- the parts --- */

static void draft_drop(struct caller **caller)
{
    if (*caller != NULL)
        caller_free(*caller);
}

static struct slice text_keep(struct caller *caller, struct slice s)
{
    char *at = caller->text + caller->text_used;

    assert(caller->text_used + s.size < caller->text_size);
    if (s.size > 0)
        memcpy(at, s.at, s.size);
    at[s.size] = 0;
    caller->text_used += s.size + 1;
    return (struct slice){at, s.size};
}

static struct caller *draft_new(const struct caller_origin *origin, struct slice name,
                                size_t text_size)
{
    struct caller *caller = memory_new(sizeof(*caller));

    if (origin->claims != NULL)
        for (size_t i = 0; i < origin->claims->access_count; i++)
            text_size += origin->claims->access[i].name.size + 1;
    caller->text_size = text_size + origin->header.size + name.size + 2 + 1;
    caller->text = memory_new(caller->text_size);
    atomic_init(&caller->holders, 1);
    caller->bearer = origin->bearer;
    caller->generation = origin->generation;
    caller->good_until = origin->good_until;
    caller->header = text_keep(caller, origin->header);
    if (origin->proof != NULL)
        memcpy(caller->proof, origin->proof, PROOF_SIZE);
    caller->identity = (struct identity){.credential = origin->credential,
                                         .password_at = origin->password_at,
                                         .name = text_keep(caller, name).at};
    if (origin->token != NULL && origin->token->kind == TOKEN_PERSONAL)
        caller->identity.token = origin->token->id;
    if (origin->session != NULL)
        caller->identity.session = origin->session->id;
    return caller;
}

static void grants_keep(struct caller *caller, const struct account_rights *rights)
{
    caller->grants = memory_new((rights->grant_count + 1) * sizeof(*caller->grants));
    caller->grant_count = rights->grant_count;
    for (size_t i = 0; i < rights->grant_count; i++)
        caller->grants[i] = (struct rule){text_keep(caller, slice_of(rights->grants[i].pattern)),
                                          rights->grants[i].rights};
}

/* Scopes that cannot be read allow nothing. */
static void scopes_keep(struct caller *caller, const char *scopes)
{
    struct narrowing narrowing = {0};
    struct error err = {0};

    if (scopes == NULL || scopes[0] == 0)
        return;
    caller->narrowed = true;
    caller->reach = text_keep(caller, slice_of(scopes)).at;
    if (narrowing_parse(slice_of(caller->reach), &narrowing, &err) < 0)
        return;
    caller->api = narrowing.api;
    caller->scopes = TAKE(narrowing.rules);
    caller->scope_count = narrowing.count;
}

/* --- what lists show --- */

static void pattern_add(struct caller *caller, struct slice pattern)
{
    for (size_t i = 0; i < caller->pattern_count; i++)
        if (pattern_within(pattern, caller->patterns[i]))
            return;
    caller->patterns[caller->pattern_count++] = pattern;
}

/* Of two patterns one lies within the other, or they have nothing in common. */
static void pattern_add_narrowed(struct caller *caller, struct slice pattern)
{
    if (!caller->narrowed) {
        pattern_add(caller, pattern);
        return;
    }
    for (size_t i = 0; i < caller->scope_count; i++) {
        const struct rule *scope = &caller->scopes[i];

        if ((scope->rights & RIGHT_PULL) == 0)
            continue;
        if (pattern_within(pattern, scope->pattern))
            pattern_add(caller, pattern);
        else if (pattern_within(scope->pattern, pattern))
            pattern_add(caller, scope->pattern);
    }
}

static const struct slice EVERYTHING = {"*", 1};

static void patterns_keep(struct caller *caller)
{
    size_t most = (caller->grant_count + 1) * (caller->scope_count + 1);

    caller->patterns = memory_new(most * sizeof(*caller->patterns));
    if (rights_see_all(caller))
        pattern_add_narrowed(caller, EVERYTHING);
    for (size_t i = 0; i < caller->grant_count; i++)
        if ((caller->grants[i].rights & RIGHT_PULL) != 0)
            pattern_add_narrowed(caller, caller->grants[i].pattern);
    caller->list_public = !caller->narrowed;
    for (size_t i = 0; i < caller->scope_count; i++)
        if (slice_equal(caller->scopes[i].pattern, EVERYTHING) &&
            (caller->scopes[i].rights & RIGHT_PULL) != 0)
            caller->list_public = true;
    caller->patterns =
        memory_resize(caller->patterns, (caller->pattern_count + 1) * sizeof(*caller->patterns));
}

/* --- what a JWT says --- */

static unsigned rights_of_actions(unsigned actions)
{
    return (actions & SCOPE_ALL) != 0 ? LEVEL_ADMIN : actions & LEVEL_MAINTAIN;
}

static int access_compare(const void *a, const void *b)
{
    return slice_compare(((const struct access *)a)->name, ((const struct access *)b)->name);
}

/* Sorted, each name once. Spec: TOK-40. */
static void access_fold(struct caller *caller)
{
    size_t kept = 0;

    qsort(caller->access, caller->access_count, sizeof(*caller->access), access_compare);
    for (size_t i = 0; i < caller->access_count; i++)
        if (kept > 0 && slice_equal(caller->access[kept - 1].name, caller->access[i].name))
            caller->access[kept - 1].rights |= caller->access[i].rights;
        else
            caller->access[kept++] = caller->access[i];
    caller->access_count = kept;
}

static void access_keep(struct caller *caller, const struct jwt_claims *claims)
{
    caller->access = memory_new((claims->access_count + 1) * sizeof(*caller->access));
    for (size_t i = 0; i < claims->access_count; i++) {
        const struct jwt_access *entry = &claims->access[i];

        if (slice_equal_text(entry->type, "repository")) {
            caller->access[caller->access_count++] =
                (struct access){text_keep(caller, entry->name), rights_of_actions(entry->actions)};
        } else if (slice_equal_text(entry->type, "registry") &&
                   slice_equal_text(entry->name, "catalog")) {
            caller->catalog_named = true;
            caller->catalog_all |= (entry->actions & SCOPE_ALL) != 0;
        }
    }
    access_fold(caller);
}

/* Invariant (2). */
static int access_meet(struct auth *auth, struct caller *caller, struct error *err)
    ON(worker_thread)
{
    for (size_t i = 0; i < caller->access_count; i++) {
        struct access *entry = &caller->access[i];
        unsigned rights = rights_of_account(caller, entry->name, false);
        bool public = false;

        if ((entry->rights & RIGHT_PULL & ~rights) != 0) {
            if (repository_is_public(auth->storage, entry->name, &public, err) < 0)
                return -1;
            rights = rights_of_account(caller, entry->name, public);
        }
        entry->rights &= rights;
    }
    caller->catalog_all &= rights_see_all(caller) && !caller->narrowed;
    return 0;
}

/* --- accounts --- */

static int not_standing(struct error *err, const char *why)
{
    error_set(err, ERROR_UNAUTHORIZED, "authentication required");
    return error_set_cause(err, "%s", why);
}

static int standing_check(const struct auth *auth, const struct account *account,
                          const struct caller_origin *origin, struct error *err)
{
    char hash[PASSWORD_HASH_MAX];
    struct slice name = slice_of(account->name);

    if (account->disabled)
        return not_standing(err, "the account is disabled");
    if (account->expires_at != 0 && account->expires_at <= clock_now_us())
        return not_standing(err, "the account has expired");
    if (account->external && (auth->htpasswd == NULL || !htpasswd_find(auth->htpasswd, name, hash)))
        return not_standing(err, "the account is no longer in the password file");
    if (origin->claims != NULL && !slice_equal(origin->claims->subject, name))
        return not_standing(err, "the account has another name than the token");
    return 0;
}

static size_t rights_text_size(const struct account_rights *rights, const struct token *token)
{
    size_t size = token == NULL || token->scopes == NULL ? 0 : strlen(token->scopes) + 1;

    for (size_t i = 0; i < rights->grant_count; i++)
        size += strlen(rights->grants[i].pattern) + 1;
    return size;
}

static void ends_at(struct caller *caller, int64_t at)
{
    if (at != 0 && at < caller->good_until)
        caller->good_until = at;
}

int caller_of_account(struct auth *auth, const struct caller_origin *origin, struct caller **out,
                      struct error *err)
{
    OWNED(account_rights_drop) struct account_rights rights = {0};
    OWNED(draft_drop) struct caller *caller = NULL;

    if (account_rights_load(auth->storage, origin->account, &rights, err) < 0)
        return err->code == ERROR_NOT_FOUND
                   ? (error_clear(err), not_standing(err, "the account is gone"))
                   : -1;
    if (standing_check(auth, &rights.account, origin, err) < 0)
        return -1;
    caller =
        draft_new(origin, slice_of(rights.account.name), rights_text_size(&rights, origin->token));
    caller->identity.kind = IDENTITY_ACCOUNT;
    caller->identity.account = rights.account.id;
    caller->identity.account_kind = rights.account.kind;
    caller->identity.role = rights.account.role;
    caller->public_pull = true;
    grants_keep(caller, &rights);
    if (origin->token != NULL) {
        scopes_keep(caller, origin->token->scopes);
        ends_at(caller, origin->token->expires_at);
    }
    ends_at(caller, rights.account.expires_at);
    patterns_keep(caller);
    if (origin->claims != NULL) {
        access_keep(caller, origin->claims);
        if (access_meet(auth, caller, err) < 0)
            return -1;
    }
    *out = TAKE(caller);
    return 0;
}

/* --- without an account --- */

/* Anonymous tokens reach what is public, while everybody may. Spec: TOK-15. */
static int access_meet_public(struct auth *auth, struct caller *caller, struct error *err)
    ON(worker_thread)
{
    for (size_t i = 0; i < caller->access_count; i++) {
        struct access *entry = &caller->access[i];
        bool public = false;

        if (auth->anonymous_pull && (entry->rights & RIGHT_PULL) != 0 &&
            repository_is_public(auth->storage, entry->name, &public, err) < 0)
            return -1;
        entry->rights = public ? RIGHT_PULL : 0;
    }
    caller->catalog_all = false;
    caller->list_public = auth->anonymous_pull;
    return 0;
}

static void access_patterns(struct caller *caller)
{
    caller->patterns = memory_new((caller->access_count + 1) * sizeof(*caller->patterns));
    for (size_t i = 0; i < caller->access_count; i++)
        if ((caller->access[i].rights & RIGHT_PULL) != 0)
            pattern_add(caller, caller->access[i].name);
}

int caller_of_claims(struct auth *auth, const struct caller_origin *origin, bool foreign,
                     struct caller **out, struct error *err)
{
    OWNED(draft_drop)
    struct caller *caller =
        draft_new(origin, origin->claims->subject, origin->claims->issuer.size + 1);

    caller->identity.kind = foreign ? IDENTITY_FOREIGN : IDENTITY_ANONYMOUS;
    caller->issuer = text_keep(caller, origin->claims->issuer).at;
    access_keep(caller, origin->claims);
    if (foreign)
        access_patterns(caller);
    else if (access_meet_public(auth, caller, err) < 0)
        return -1;
    *out = TAKE(caller);
    return 0;
}

/* --- as the owner of uploads --- */

/* Nobody rather than a name that is cut off. Spec: TOK-55. */
void caller_owner(const struct caller *caller, char out[UPLOAD_OWNER_MAX + 1])
{
    int size = 0;

    out[0] = 0;
    if (caller->identity.kind == IDENTITY_ACCOUNT)
        size = snprintf(out, UPLOAD_OWNER_MAX + 1, "account:%" PRId64, caller->identity.account);
    else if (caller->identity.kind == IDENTITY_FOREIGN && caller->identity.name[0] != 0)
        size = snprintf(out, UPLOAD_OWNER_MAX + 1, "foreign:%s %s", caller->issuer,
                        caller->identity.name);
    if (size > UPLOAD_OWNER_MAX)
        out[0] = 0;
}

/* --- the same for all --- */

static const struct caller LOCAL = {
    .identity = {.kind = IDENTITY_LOCAL,
                 .credential = CREDENTIAL_SOCKET,
                 .role = ACCOUNT_ROLE_ADMIN,
                 .name = "local"},
    .lasting = true,
};
static const struct caller OPEN = {
    .identity = {.kind = IDENTITY_OPEN, .role = ACCOUNT_ROLE_ADMIN, .name = ""},
    .lasting = true,
};
static const struct caller NOBODY = {.identity = {.kind = IDENTITY_ANONYMOUS, .name = ""},
                                     .lasting = true};
static const struct caller NOBODY_PULLING = {
    .identity = {.kind = IDENTITY_ANONYMOUS, .name = ""},
    .lasting = true,
    .public_pull = true,
    .list_public = true,
};

const struct caller *caller_lasting(enum identity_kind kind, bool public_pull)
{
    if (kind == IDENTITY_LOCAL)
        return &LOCAL;
    if (kind == IDENTITY_OPEN)
        return &OPEN;
    return public_pull ? &NOBODY_PULLING : &NOBODY;
}

struct actor auth_actor(const struct identity *identity)
{
    bool somebody = identity->kind != IDENTITY_ANONYMOUS && identity->kind != IDENTITY_OPEN;

    return (struct actor){.account = identity->account,
                          .name = somebody ? slice_of(identity->name) : SLICE_NONE,
                          .reach = caller_of(identity)->reach};
}
