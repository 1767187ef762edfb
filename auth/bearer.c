/* bearer.c - a JWT becomes a caller: verified, met with what its account may now, remembered.
 * Touches  signing and trusted keys, storage, memory of callers.
 * Never    uses anything of a token before its signature was checked; counts as guessing.
 *
 * Spec: TOK-37 to TOK-43, TOK-55. */
#include <stdlib.h>

#include "auth/auth_internal.h"

static int invalid(struct auth_answer *answer, struct error *err)
{
    char cause[sizeof(err->cause)];

    memcpy(cause, err->cause[0] != 0 ? err->cause : err->message, sizeof(cause));
    error_clear(err);
    answer->fault = "invalid_token";
    error_set(err, ERROR_UNAUTHORIZED, "the token is not valid");
    return error_set_cause(err, "%s", cause);
}

static int invalid_because(struct auth_answer *answer, struct error *err, const char *why)
{
    error_clear(err);
    error_set_cause(err, "%s", why);
    return invalid(answer, err);
}

/* Ours by our keys alone, others' by the trusted ones alone: no issuer can speak as another. */
static int verify(struct auth *auth, struct slice token, struct jwt_claims *out, bool *foreign,
                  struct error *err)
{
    struct jwt_checks checks = {.audience = slice_of(auth->service),
                                .now_s = clock_now_us() / US_PER_S};
    const char *const ours[] = {auth->issuer};

    *foreign = !key_ring_knows(auth->keys, token);
    if (*foreign) {
        checks.issuers = (const char *const *)auth->issuers;
        checks.issuer_count = auth->issuer_count;
        return trusted_verify(auth->trusted, token, checks, out, err);
    }
    checks.issuers = ours;
    checks.issuer_count = 1;
    return key_ring_verify(auth->keys, token, checks, out, err);
}

static bool is_refusal(const struct error *err)
{
    return err->code == ERROR_UNAUTHORIZED || err->code == ERROR_NOT_FOUND;
}

/* The personal token a JWT was got by must still stand. */
static int token_load(struct auth *auth, const struct jwt_claims *claims, struct token *out,
                      struct error *err) ON(worker_thread)
{
    if (token_find_id(auth->storage, claims->token, out, err) < 0)
        return -1;
    if (out->account_id == claims->account && token_stands(out, TOKEN_PERSONAL))
        return 0;
    return error_set(err, ERROR_UNAUTHORIZED, "its personal token has ended");
}

static int caller_load(struct auth *auth, const struct caller_origin *origin, bool foreign,
                       struct caller **out, struct error *err) ON(worker_thread)
{
    OWNED(token_drop) struct token token = {0};
    struct caller_origin own = *origin;

    if (foreign)
        return caller_of_claims(auth, origin, true, out, err);
    if (origin->claims->account == 0) {
        if (origin->claims->subject.size > 0)
            return error_set(err, ERROR_UNAUTHORIZED, "a subject without an account");
        return caller_of_claims(auth, origin, false, out, err);
    }
    if (origin->claims->token != 0) {
        if (token_load(auth, origin->claims, &token, err) < 0)
            return -1;
        own.token = &token;
    }
    own.account = origin->claims->account;
    return caller_of_account(auth, &own, out, err);
}

/* --- expired in the middle of a push --- */

static void draft_drop(struct caller **draft)
{
    const struct caller *caller = *draft;
    caller_drop(&caller);
}

/* The session's creator, with a token that could push when it began. The account and its grant
 * stand: the caller was built from what is true now. Spec: TOK-55. */
static bool may_finish(struct auth *auth, const struct auth_request *request,
                       const struct jwt_claims *claims, const struct caller *caller,
                       struct error *err) ON(worker_thread)
{
    int64_t now_s = clock_now_us() / US_PER_S;
    struct upload_owner owner = {0};
    char own[UPLOAD_OWNER_MAX + 1];

    caller_owner(caller, own);
    if (own[0] == 0 || request->action != ACTION_PUSH || request->upload.at == NULL ||
        now_s - claims->expires_at > UPLOAD_GRACE_S ||
        (rights_on(caller, request->repository, false) & RIGHT_PUSH) == 0 ||
        upload_owner_find(auth->storage, request->repository, request->upload, &owner, err) < 0)
        return false;
    return strcmp(own, owner.owner) == 0 &&
           (claims->expires_at + JWT_LEEWAY_S) * US_PER_S > owner.started_at;
}

static int expired(struct auth *auth, const struct auth_request *request,
                   struct caller_origin *origin, bool foreign, const struct caller **out,
                   struct auth_answer *answer, struct error *err) ON(worker_thread)
{
    OWNED(draft_drop) struct caller *caller = NULL;

    origin->good_until = 0; /* for this request alone */
    if (request->action != ACTION_PUSH || request->upload.at == NULL)
        return invalid_because(answer, err, "the token has expired");
    if (caller_load(auth, origin, foreign, &caller, err) < 0)
        return is_refusal(err) ? invalid(answer, err) : -1;
    if (!may_finish(auth, request, origin->claims, caller, err))
        return invalid_because(answer, err, "the token has expired");
    *out = TAKE(caller);
    return 0;
}

/* --- the whole --- */

int bearer_check(struct auth *auth, const struct auth_request *request, struct slice secret,
                 const struct caller **out, struct auth_answer *answer, struct error *err)
{
    OWNED(jwt_claims_drop) struct jwt_claims claims = {0};
    OWNED(draft_drop) struct caller *caller = NULL;
    struct caller_origin origin = {.credential = CREDENTIAL_JWT,
                                   .bearer = true,
                                   .claims = &claims,
                                   .header = request->authorization,
                                   .generation = auth_generation(auth)};
    bool foreign;

    if (verify(auth, secret, &claims, &foreign, err) < 0)
        return invalid(answer, err);
    if (claims.expired)
        return expired(auth, request, &origin, foreign, out, answer, err);
    origin.good_until = (claims.expires_at + JWT_LEEWAY_S) * US_PER_S;
    if (caller_load(auth, &origin, foreign, &caller, err) < 0)
        return is_refusal(err) ? invalid(answer, err) : -1;
    remember_key(auth->remember, 'A', request->authorization, caller->key);
    remember_put(auth->remember, caller);
    *out = TAKE(caller);
    return 0;
}
