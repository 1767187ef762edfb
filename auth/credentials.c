/* credentials.c - what a request shows becomes a caller: which of its credentials counts, and
 * whether memory knows it.
 * Touches  memory of callers; storage by way of login.c, bearer.c and signin.c.
 * Never    decides what the caller may. */
#include "auth/auth_internal.h"

enum shown {
    SHOWN_NOTHING,
    SHOWN_OPEN, /* nobody is asked */
    SHOWN_HEADER,
    SHOWN_COOKIE,
    SHOWN_SOCKET,
};

/* A header is meant; a cookie is sent by itself, and the socket is only where it came from. */
static enum shown shown_of(const struct auth *auth, const struct auth_request *request)
{
    bool api = action_is_api(request->action);

    if (request->action == ACTION_NONE || request->action == ACTION_HOOK)
        return SHOWN_NOTHING;
    if (auth->mode == AUTH_MODE_NONE)
        return request->local && api ? SHOWN_SOCKET : SHOWN_OPEN;
    if (request->authorization.at != NULL)
        return SHOWN_HEADER;
    if (api && request->local)
        return SHOWN_SOCKET;
    return api && session_cookie(request).at != NULL ? SHOWN_COOKIE : SHOWN_NOTHING;
}

static const struct caller *caller_shown(const struct auth *auth, enum shown shown)
{
    if (shown == SHOWN_OPEN)
        return caller_lasting(IDENTITY_OPEN, true);
    if (shown == SHOWN_SOCKET)
        return caller_lasting(IDENTITY_LOCAL, true);
    return caller_lasting(IDENTITY_ANONYMOUS, auth->anonymous_pull);
}

/* Of a scheme we do not take, or what no client of ours would write; a Bearer that is no token is a
 * token refused (TOK-06). */
static int unknown_scheme(const struct auth_request *request, struct auth_answer *answer,
                          struct error *err)
{
    struct slice scheme, token;

    slice_split(request->authorization, ' ', &scheme, &token);
    if (token.size > 0 && slice_equal_ignore_case(scheme, "bearer"))
        answer->fault = "invalid_token";
    return error_set(err, ERROR_UNAUTHORIZED, "authentication required");
}

/* --- from memory --- */

/* A password that is remembered is no way around a pause: whoever guesses would be told the right
 * one by being let in. Nor is a connection, which a proxy may share among its clients. Spec:
 * TOK-20. */
static bool is_paused(const struct auth *auth, const struct auth_request *request,
                      const struct caller *caller)
{
    return caller->identity.credential == CREDENTIAL_PASSWORD &&
           guard_paused(auth->guard, slice_of(caller->identity.name), request->network,
                        clock_monotonic_ms());
}

static const struct caller *recall(struct auth *auth, const struct auth_request *request,
                                   const uint8_t key[SECRET_HASH_SIZE])
{
    OWNED(caller_drop)
    const struct caller *found = remember_find(auth->remember, key, clock_now_us());

    return found == NULL || is_paused(auth, request, found) ? NULL : TAKE(found);
}

static bool is_known(const struct auth *auth, const struct auth_request *request)
{
    const struct caller *known = caller_of(request->known);

    return known != NULL && known->header.size > 0 &&
           slice_equal(known->header, request->authorization) && caller_current(auth, known) &&
           !is_paused(auth, request, known);
}

static enum auth_peeked found(const struct auth *auth, const struct caller **caller,
                              const struct caller **out)
{
    if (!caller_current(auth, *caller))
        return AUTH_ASK; /* whether it still stands is no matter of hashing */
    *out = TAKE(*caller);
    return AUTH_GRANTED;
}

/* What Basic may carry. Spec: TOK-59: a refresh token is a password of the token endpoint only
 * (TOK-70). */
static unsigned kinds_of(const struct auth_request *request)
{
    unsigned kinds = LOGIN_PASSWORD | LOGIN_PERSONAL;

    return request->action == ACTION_TOKEN ? kinds | LOGIN_REFRESH : kinds;
}

/* What memory does not know, by its form. */
static enum auth_peeked header_ask(const struct auth *auth, const struct auth_request *request,
                                   const struct caller **out, struct auth_answer *answer,
                                   struct error *err)
{
    OWNED(authorization_wipe) struct authorization given;

    authorization_parse(request->authorization, &given);
    switch (given.kind) {
    case AUTHORIZATION_NONE:
        *out = caller_shown(auth, SHOWN_NOTHING);
        return AUTH_GRANTED;
    case AUTHORIZATION_BASIC:
        return login_hashes(kinds_of(request), given.password) ? AUTH_ASK_SLOWLY : AUTH_ASK;
    case AUTHORIZATION_BEARER:
        return AUTH_ASK;
    case AUTHORIZATION_OTHER:
    case AUTHORIZATION_MALFORMED:
        break;
    }
    unknown_scheme(request, answer, err);
    return AUTH_REFUSED;
}

enum auth_peeked credentials_peek(struct auth *auth, const struct auth_request *request,
                                  const struct caller **out, struct auth_answer *answer,
                                  struct error *err)
{
    OWNED(caller_drop) const struct caller *remembered = NULL;
    enum shown shown = shown_of(auth, request);
    uint8_t key[SECRET_HASH_SIZE];

    if (shown == SHOWN_HEADER) {
        if (is_known(auth, request)) {
            *out = caller_hold(caller_of(request->known));
            return AUTH_GRANTED;
        }
        remember_key(auth->remember, 'A', request->authorization, key);
    } else if (shown == SHOWN_COOKIE) {
        remember_key(auth->remember, 'C', session_cookie(request), key);
    } else {
        *out = caller_shown(auth, shown);
        return AUTH_GRANTED;
    }
    remembered = recall(auth, request, key);
    if (remembered != NULL)
        return found(auth, &remembered, out);
    return shown == SHOWN_COOKIE ? AUTH_ASK : header_ask(auth, request, out, answer, err);
}

/* --- by asking --- */

static struct login_attempt attempt_of(const struct auth_request *request)
{
    return (struct login_attempt){.kinds = kinds_of(request),
                                  .header = request->authorization,
                                  .remote = request->remote,
                                  .request_id = request->request_id,
                                  .network = request->network};
}

static int basic_check(struct auth *auth, const struct auth_request *request,
                       const struct authorization *given, const struct caller *old,
                       const struct caller **out, struct error *err) ON(worker_thread)
{
    struct login_attempt attempt = attempt_of(request);

    attempt.name = given->name;
    attempt.secret = given->password;
    if (old != NULL && login_renew(auth, &attempt, old, out, err) == 0)
        return 0;
    error_clear(err);
    return login_check(auth, &attempt, out, err);
}

/* A personal token as Bearer is for the management API, a JWT for the distribution API. */
static int bearer_given(struct auth *auth, const struct auth_request *request, struct slice secret,
                        const struct caller **out, struct auth_answer *answer, struct error *err)
    ON(worker_thread)
{
    struct login_attempt attempt = attempt_of(request);

    if (action_is_api(request->action)) {
        answer->fault = "invalid_token";
        attempt.secret = secret;
        attempt.kinds = LOGIN_PERSONAL;
        attempt.unnamed = attempt.bearer = true;
        if (login_check(auth, &attempt, out, err) < 0)
            return -1;
        answer->fault = NULL;
        return 0;
    }
    if (auth->challenge_basic ||
        action_is_basic(request->action)) /* of a kind we do not take here */
        return error_set(err, ERROR_UNAUTHORIZED, "authentication required");
    return bearer_check(auth, request, secret, out, answer, err);
}

static int header_check(struct auth *auth, const struct auth_request *request,
                        const struct caller *old, const struct caller **out,
                        struct auth_answer *answer, struct error *err) ON(worker_thread)
{
    OWNED(authorization_wipe) struct authorization given;

    authorization_parse(request->authorization, &given);
    switch (given.kind) {
    case AUTHORIZATION_NONE: /* TOK-58 */
        *out = caller_shown(auth, SHOWN_NOTHING);
        return 0;
    case AUTHORIZATION_BASIC:
        return basic_check(auth, request, &given, old, out, err);
    case AUTHORIZATION_BEARER:
        return bearer_given(auth, request, given.token, out, answer, err);
    case AUTHORIZATION_OTHER:
    case AUTHORIZATION_MALFORMED:
        break;
    }
    return unknown_scheme(request, answer, err);
}

/* A cookie that ended is no obstacle to signing in. */
static int cookie_check(struct auth *auth, const struct auth_request *request,
                        const struct caller **out, struct error *err) ON(worker_thread)
{
    if (session_check(auth, session_cookie(request), out, err) == 0)
        return 0;
    if (request->action != ACTION_API_PUBLIC || err->code != ERROR_UNAUTHORIZED)
        return -1;
    error_clear(err);
    *out = caller_shown(auth, SHOWN_NOTHING);
    return 0;
}

int credentials_check(struct auth *auth, const struct auth_request *request,
                      const struct caller **out, struct auth_answer *answer, struct error *err)
{
    OWNED(caller_drop) const struct caller *old = NULL;
    enum shown shown = shown_of(auth, request);
    uint8_t key[SECRET_HASH_SIZE];

    if (shown == SHOWN_COOKIE)
        return cookie_check(auth, request, out, err);
    if (shown != SHOWN_HEADER) {
        *out = caller_shown(auth, shown);
        return 0;
    }
    remember_key(auth->remember, 'A', request->authorization, key);
    old = recall(auth, request, key);
    if (old != NULL && caller_current(auth, old)) { /* somebody was faster */
        *out = TAKE(old);
        return 0;
    }
    return header_check(auth, request, old, out, answer, err);
}
