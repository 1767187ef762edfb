/* decide.c - the decision: a caller and what it wants become a grant or a refusal; further
 * questions of handlers about a caller.
 * Touches  storage, for whether a repository is public.
 * Never    judges a credential: credentials.c does. */
#include "auth/auth_internal.h"

/* --- refusals --- */

/* Who gets here may know that the repository is there. */
static int lacking(const struct auth_request *request, struct error *err)
{
    const char *right = rights_name(request->action);

    if (right == NULL || request->repository.at == NULL)
        return error_set(err, ERROR_DENIED, "you may not do this");
    return error_set(err, ERROR_DENIED, "you lack the right %s on %.*s", right,
                     SLICE_ARG(request->repository));
}

static int refused(const struct auth_request *request, const struct caller *caller,
                   enum verdict verdict, struct auth_answer *answer, struct error *err)
{
    bool jwt = caller->identity.credential == CREDENTIAL_JWT;

    answer->refused = identity_hold(&caller->identity);
    switch (verdict) {
    case VERDICT_UNNAMED:
        answer->fault = "insufficient_scope";
        return error_set(err, ERROR_UNAUTHORIZED, "the token does not name the source");
    case VERDICT_HIDDEN:
        return error_set(err, ERROR_NOT_FOUND, "no such repository");
    case VERDICT_LACKING:
        if (!jwt || action_is_api(request->action))
            return lacking(request, err);
        answer->fault = "insufficient_scope"; /* TOK-50: not 403 */
        return error_set(err, ERROR_UNAUTHORIZED, "the token does not cover this");
    case VERDICT_REFUSED: /* of a kind that does not count here, known or not: TOK-06 */
        if (caller->bearer)
            answer->fault = "invalid_token";
        break;
    case VERDICT_NOBODY:
    case VERDICT_GRANTED:
        break;
    }
    return error_set(err, ERROR_UNAUTHORIZED, "authentication required");
}

static void grant(const struct caller *caller, unsigned rights, struct auth_answer *answer)
{
    answer->identity = identity_hold(&caller->identity);
    answer->may_push = (rights & RIGHT_PUSH) != 0;
}

/* With Basic alone there is no anonymous token: whoever shows nothing is judged at once. */
static bool nobody_pulls(const struct auth *auth, const struct auth_request *request)
{
    return auth->anonymous_pull && (auth->challenge_basic || action_is_api(request->action));
}

/* What is decided if the repository is public, or if it is not. */
struct outcome {
    enum verdict verdict;
    unsigned rights;
};
static struct outcome judge(const struct auth *auth, const struct auth_request *request,
                            const struct caller *caller, bool public)
{
    struct outcome outcome = {VERDICT_REFUSED, 0};

    if (request->repository.at != NULL)
        outcome.rights = rights_on(caller, request->repository, public);
    outcome.verdict = rights_verdict(caller, request, outcome.rights, nobody_pulls(auth, request));
    return outcome;
}

/* Whether the answer hangs on the repository being public: what is granted without stays granted.
 */
static bool is_open(const struct auth *auth, const struct auth_request *request,
                    const struct caller *caller, const struct outcome *private)
{
    return private->verdict != VERDICT_GRANTED &&
           judge(auth, request, caller, true).verdict != private->verdict;
}

/* --- requests --- */

enum auth_peeked auth_peek(struct auth *auth, const struct auth_request *request,
                           struct auth_answer *answer, struct error *err)
{
    OWNED(caller_drop) const struct caller *caller = NULL;

    *answer = (struct auth_answer){0};
    enum auth_peeked peeked = credentials_peek(auth, request, &caller, answer, err);
    if (peeked != AUTH_GRANTED)
        return peeked;
    if (browser_check(auth, request, caller, err) < 0)
        return AUTH_REFUSED;
    struct outcome outcome = judge(auth, request, caller, false);
    if (is_open(auth, request, caller, &outcome))
        return AUTH_ASK;
    if (outcome.verdict != VERDICT_GRANTED) {
        refused(request, caller, outcome.verdict, answer, err);
        return AUTH_REFUSED;
    }
    grant(caller, outcome.rights, answer);
    return AUTH_GRANTED;
}

int auth_authorise(struct auth *auth, const struct auth_request *request,
                   struct auth_answer *answer, struct error *err)
{
    OWNED(caller_drop) const struct caller *caller = NULL;
    bool public = false;

    *answer = (struct auth_answer){0};
    if (credentials_check(auth, request, &caller, answer, err) < 0 ||
        browser_check(auth, request, caller, err) < 0)
        return -1;
    struct outcome outcome = judge(auth, request, caller, false);
    if (is_open(auth, request, caller, &outcome)) {
        if (repository_is_public(auth->storage, request->repository, &public, err) < 0)
            return -1;
        outcome = judge(auth, request, caller, public);
    }
    if (outcome.verdict != VERDICT_GRANTED)
        return refused(request, caller, outcome.verdict, answer, err);
    grant(caller, outcome.rights, answer);
    return 0;
}

/* --- further questions --- */

bool auth_allows(const struct identity *identity, enum action action)
{
    const struct auth_request request = {.action = action};

    return rights_verdict(caller_of(identity), &request, 0, false) == VERDICT_GRANTED;
}

unsigned auth_rights_when(const struct identity *identity, struct slice repository, bool public)
{
    return rights_on(caller_of(identity), repository, public);
}

unsigned auth_rights(struct auth *auth, const struct identity *identity, struct slice repository)
{
    const struct caller *caller = caller_of(identity);
    struct error err = {0};
    bool public = false;
    unsigned rights = rights_on(caller, repository, false);

    if (rights == rights_on(caller, repository, true))
        return rights;
    if (repository_is_public(auth->storage, repository, &public, &err) < 0)
        return rights; /* what is not known is not allowed */
    return rights_on(caller, repository, public);
}

bool auth_may_pattern(struct auth *auth, const struct identity *identity, struct slice pattern,
                      unsigned rights)
{
    (void)auth;
    return (rights & ~rights_below(caller_of(identity), pattern)) == 0;
}

bool auth_may(struct auth *auth, const struct identity *identity, struct slice repository,
              unsigned rights)
{
    if (repository.at == NULL)
        return auth_may_pattern(auth, identity, SLICE("*"), rights);
    if ((rights & ~rights_on(caller_of(identity), repository, false)) == 0)
        return true;
    return (rights & ~auth_rights(auth, identity, repository)) == 0;
}

void auth_list_filter(struct auth *auth, const struct identity *identity,
                      struct repository_filter *out)
{
    const struct caller *caller = caller_of(identity);

    (void)auth;
    *out = (struct repository_filter){.public = caller->list_public,
                                      .patterns = caller->patterns,
                                      .pattern_count = caller->pattern_count};
    out->all = identity->kind == IDENTITY_LOCAL || identity->kind == IDENTITY_OPEN ||
               caller->catalog_all ||
               (caller->pattern_count == 1 && slice_equal_text(caller->patterns[0], "*"));
}

void auth_upload_owner(const struct identity *identity, char out[UPLOAD_OWNER_MAX + 1])
{
    caller_owner(caller_of(identity), out);
}

int auth_require_fresh(const struct auth *auth, const struct identity *identity, struct error *err)
{
    (void)auth;
    if (identity->credential != CREDENTIAL_COOKIE ||
        clock_now_us() - identity->password_at <= (int64_t)PASSWORD_FRESH_S * US_PER_S)
        return 0;
    return error_set(err, ERROR_PASSWORD_STALE, "give your password again");
}
