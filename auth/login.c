/* login.c - names with passwords, and personal tokens: judged under the guard.
 * Touches  storage, the password file, guard, memory of callers.
 * Never    tells which part was wrong; lets a name that does not exist cost less (auth (5)).
 *
 * Spec: TOK-16, TOK-20, TOK-58 to TOK-61, TOK-64, TOK-65. */
#include <stdlib.h>

#include "auth/auth_internal.h"

/* --- refusals --- */

enum { NAME_TOLD = 64 }; /* bytes of a name that was typed */

static void target_print(const struct login_attempt *attempt, struct buffer *out)
{
    buffer_append_text(out, attempt->unnamed ? "token" : "user/");
    if (!attempt->unnamed)
        text_append_printable(out, attempt->name, NAME_TOLD);
}

/* Under the name nobody proved to have; the secret is nowhere. */
static void refusal_note(struct auth *auth, const struct login_attempt *attempt,
                         struct slice detail)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;

    target_print(attempt, &target);
    audit_note(auth->storage, &(struct audit_event){.actor = SLICE(""),
                                                    .action = SLICE("login.refused"),
                                                    .target = buffer_slice(&target),
                                                    .outcome = SLICE("refused"),
                                                    .remote = attempt->remote,
                                                    .request_id = attempt->request_id,
                                                    .detail = detail});
}

int login_refused(struct auth *auth, const struct login_attempt *attempt, struct error *err)
{
    char cause[sizeof(err->cause)];

    if (err->code != ERROR_NONE && err->code != ERROR_UNAUTHORIZED && err->code != ERROR_NOT_FOUND)
        return -1; /* storage failed: nothing was judged */
    memcpy(cause, err->cause, sizeof(cause));
    error_clear(err);
    refusal_note(auth, attempt, SLICE(""));
    error_set(err, ERROR_UNAUTHORIZED, "wrong name or password");
    return cause[0] == 0 ? -1 : error_set_cause(err, "%s", cause);
}

int login_admit(struct auth *auth, const struct login_attempt *attempt, struct slice guarded,
                struct error *err)
{
    uint64_t wait_ms = guard_begin(auth->guard, guarded, attempt->network, clock_monotonic_ms());

    if (wait_ms == 0)
        return 0;
    refusal_note(auth, attempt, SLICE("{\"paused\":true}"));
    error_set(err, ERROR_TOOMANYREQUESTS, "too many failed log-ins: wait before the next");
    err->retry_after_s = (unsigned)((wait_ms + 999) / 1000);
    return -1;
}

static void cancelled(struct auth *auth, const struct login_attempt *attempt, struct slice guarded)
{
    guard_cancel(auth->guard, guarded, attempt->network, clock_monotonic_ms());
}

static void passed(struct auth *auth, const struct login_attempt *attempt, struct slice guarded)
{
    guard_passed(auth->guard, guarded, attempt->network, clock_monotonic_ms());
}

static bool storage_failed(const struct error *err)
{
    return err->code != ERROR_UNAUTHORIZED && err->code != ERROR_NOT_FOUND;
}

/* --- callers of a log-in --- */

static void draft_drop(struct caller **draft)
{
    const struct caller *caller = *draft;
    caller_drop(&caller);
}

static void draft_publish(struct auth *auth, struct caller **draft, const struct caller **out)
{
    struct caller *caller = TAKE(*draft);

    if (caller->header.size > 0) {
        remember_key(auth->remember, 'A', caller->header, caller->key);
        remember_put(auth->remember, caller);
    }
    *out = caller;
}

static struct caller_origin origin_of(const struct auth *auth, const struct login_attempt *attempt,
                                      enum credential credential)
{
    return (struct caller_origin){.credential = credential,
                                  .bearer = attempt->bearer,
                                  .header = attempt->header,
                                  .generation = auth_generation(auth),
                                  .good_until = clock_now_us() + (int64_t)REMEMBER_S * US_PER_S};
}

/* --- passwords --- */

/* The hash the name's password must have; false: it has none. An account with a password of its
 * own is never found in the file. */
static bool hash_of(struct auth *auth, struct slice name, const struct account *account,
                    char out[PASSWORD_HASH_MAX])
{
    if (account->id != 0 && !account->external)
        return account->password_hash != NULL &&
               slice_to_text(slice_of(account->password_hash), out, PASSWORD_HASH_MAX);
    return auth->htpasswd != NULL && auth_account_name_valid(name) &&
           htpasswd_find(auth->htpasswd, name, out);
}

/* The account of a right password; made for a user of the password file who comes first. */
static int password_judge(struct auth *auth, const struct login_attempt *attempt,
                          struct account *account, uint8_t proof[PROOF_SIZE], struct error *err)
    ON(worker_thread)
{
    char hash[PASSWORD_HASH_MAX] = "";

    if (account_find(auth->storage, attempt->name, account, err) < 0) {
        if (storage_failed(err))
            return -1;
        error_clear(err);
    }
    bool has_one = hash_of(auth, attempt->name, account, hash);
    unsigned cost = auth->htpasswd == NULL ? 0 : htpasswd_cost(auth->htpasswd);
    if (!password_verify(attempt->secret, has_one ? hash : NULL, cost))
        return error_set(err, ERROR_UNAUTHORIZED, "wrong name or password");
    secret_hash(slice_of(hash), proof);
    if (account->id != 0)
        return 0;
    if (account_ensure_external(auth->storage, attempt->name, account, err) < 0)
        return err->code == ERROR_CONFLICT ? (error_clear(err), -1) : -1;
    return 0;
}

static int password_check(struct auth *auth, const struct login_attempt *attempt,
                          const struct caller **out, struct error *err) ON(worker_thread)
{
    OWNED(account_drop) struct account account = {0};
    OWNED(draft_drop) struct caller *caller = NULL;
    struct caller_origin origin = origin_of(auth, attempt, CREDENTIAL_PASSWORD);
    uint8_t proof[PROOF_SIZE];

    if (login_admit(auth, attempt, attempt->name, err) < 0)
        return -1;
    origin.password_at = clock_now_us();
    origin.proof = proof;
    if (password_judge(auth, attempt, &account, proof, err) < 0 ||
        (origin.account = account.id, caller_of_account(auth, &origin, &caller, err) < 0)) {
        if (err->code != ERROR_NONE && storage_failed(err))
            cancelled(auth, attempt, attempt->name);
        return login_refused(auth, attempt, err);
    }
    passed(auth, attempt, attempt->name);
    if (account_touch(auth->storage, account.id, err) < 0)
        error_clear(err); /* may be lost */
    draft_publish(auth, &caller, out);
    return 0;
}

/* By the password it was; -1 also when that was changed, then without an error. */
static int password_again(struct auth *auth, const struct caller *old, struct slice name,
                          struct caller_origin origin, struct caller **out, struct error *err)
    ON(worker_thread)
{
    OWNED(account_drop) struct account account = {0};
    char hash[PASSWORD_HASH_MAX] = "";
    uint8_t proof[PROOF_SIZE];

    if (old->identity.credential != CREDENTIAL_PASSWORD ||
        account_find_id(auth->storage, old->identity.account, &account, err) < 0 ||
        !hash_of(auth, name, &account, hash))
        return -1;
    secret_hash(slice_of(hash), proof);
    if (memcmp(proof, old->proof, PROOF_SIZE) != 0)
        return -1;
    origin.account = account.id;
    origin.password_at = old->identity.password_at;
    origin.proof = proof;
    return caller_of_account(auth, &origin, out, err);
}

int login_renew(struct auth *auth, const struct login_attempt *attempt, const struct caller *old,
                const struct caller **out, struct error *err)
{
    OWNED(draft_drop) struct caller *caller = NULL;
    struct caller_origin origin = origin_of(auth, attempt, CREDENTIAL_PASSWORD);

    origin.good_until = old->good_until;
    if (password_again(auth, old, attempt->name, origin, &caller, err) < 0)
        return -1;
    draft_publish(auth, &caller, out);
    return 0;
}

/* --- personal tokens --- */

/* A token that was replaced without overlap ended with that, by the order of the two times in its
 * row: a clock that is set back does not bring it back. */
bool token_stands(const struct token *token, enum token_kind kind)
{
    bool replaced =
        token->rotated_at != 0 && token->expires_at != 0 && token->expires_at <= token->rotated_at;

    return token->kind == kind && !token->disabled && !replaced &&
           (token->expires_at == 0 || token->expires_at > clock_now_us());
}

/* What helpers of clouds, build services and git hosts call everybody who shows a token. Spec:
 * TOK-64. */
static const char *const fixed_names[] = {"AWS",
                                          "oauth2accesstoken",
                                          "x-access-token",
                                          "_json_key",
                                          "_json_key_base64",
                                          "gitlab-ci-token",
                                          "00000000-0000-0000-0000-000000000000",
                                          "<token>"};

bool login_name_fits(const struct login_attempt *attempt, const struct token *token)
{
    if (attempt->unnamed || attempt->name.size == 0 ||
        slice_equal_text(attempt->name, token->account))
        return true;
    for (size_t i = 0; i < sizeof(fixed_names) / sizeof(fixed_names[0]); i++)
        if (slice_equal_text(attempt->name, fixed_names[i]))
            return true;
    return false;
}

int login_token_find(struct auth *auth, const struct login_attempt *attempt, struct token *out,
                     struct error *err)
{
    uint8_t hash[SECRET_HASH_SIZE];

    secret_hash(attempt->secret, hash);
    if (token_find(auth->storage, hash, out, err) == 0)
        return 0; /* nobody guesses one; whether it stands is another matter */
    if (storage_failed(err))
        return login_refused(auth, attempt, err);
    error_clear(err);
    if (login_admit(auth, attempt, SLICE_NONE, err) < 0)
        return -1;
    return login_refused(auth, attempt, err);
}

static void token_used(struct auth *auth, const struct login_attempt *attempt,
                       const struct token *token) ON(worker_thread)
{
    struct error lost = {0};

    if (token_touch(auth->storage, token->id, attempt->remote, &lost) < 0 ||
        account_touch(auth->storage, token->account_id, &lost) < 0)
        error_clear(&lost);
}

static int personal_check(struct auth *auth, const struct login_attempt *attempt,
                          const struct caller **out, struct error *err) ON(worker_thread)
{
    OWNED(token_drop) struct token token = {0};
    OWNED(draft_drop) struct caller *caller = NULL;
    struct caller_origin origin = origin_of(auth, attempt, CREDENTIAL_TOKEN);

    if (login_token_find(auth, attempt, &token, err) < 0)
        return -1;
    origin.account = token.account_id;
    origin.token = &token;
    if (!token_stands(&token, TOKEN_PERSONAL) || !login_name_fits(attempt, &token) ||
        caller_of_account(auth, &origin, &caller, err) < 0)
        return login_refused(auth, attempt, err);
    token_used(auth, attempt, &token);
    draft_publish(auth, &caller, out);
    return 0;
}

/* --- who is here for long --- */

static int personal_renew(struct auth *auth, const struct caller *old, struct caller_origin origin,
                          struct caller **out, struct error *err) ON(worker_thread)
{
    OWNED(token_drop) struct token token = {0};

    if (token_find_id(auth->storage, old->identity.token, &token, err) < 0)
        return -1;
    if (!token_stands(&token, TOKEN_PERSONAL))
        return error_set(err, ERROR_UNAUTHORIZED, "the token has ended");
    origin.account = token.account_id;
    origin.token = &token;
    return caller_of_account(auth, &origin, out, err);
}

static int renew(struct auth *auth, const struct caller *old, struct caller **out,
                 struct error *err) ON(worker_thread)
{
    const struct login_attempt attempt = {.bearer = old->bearer, .header = SLICE_NONE};
    const struct caller_origin origin = origin_of(auth, &attempt, old->identity.credential);

    switch (old->identity.credential) {
    case CREDENTIAL_PASSWORD:
        return password_again(auth, old, slice_of(old->identity.name), origin, out, err);
    case CREDENTIAL_TOKEN:
        return personal_renew(auth, old, origin, out, err);
    case CREDENTIAL_COOKIE:
        return session_renew(auth, old, out, err);
    case CREDENTIAL_NONE:
    case CREDENTIAL_JWT:
    case CREDENTIAL_SOCKET:
        break;
    }
    return -1;
}

int auth_renew(struct auth *auth, const struct identity **identity, struct error *err)
{
    struct caller *caller = NULL;

    if (caller_current(auth, caller_of(*identity)))
        return 0;
    if (renew(auth, caller_of(*identity), &caller, err) < 0) {
        if (err->code == ERROR_NONE || err->code == ERROR_NOT_FOUND) {
            error_clear(err);
            error_set(err, ERROR_UNAUTHORIZED, "what was shown stands no longer");
        }
        return -1;
    }
    identity_drop(identity);
    *identity = &caller->identity;
    return 0;
}

/* --- the whole --- */

static int refresh_as_password(struct auth *auth, const struct login_attempt *attempt,
                               const struct caller **out, struct error *err) ON(worker_thread)
{
    OWNED(token_drop) struct token token = {0};

    return refresh_check(auth, attempt, &token, out, err);
}

/* What is not taken as a token here is a password, and a wrong one. */
static enum login_kind taken_as(unsigned kinds, struct slice secret)
{
    enum secret_kind kind = secret_kind_of(secret);

    if (kind == SECRET_PERSONAL && (kinds & LOGIN_PERSONAL) != 0)
        return LOGIN_PERSONAL;
    return kind == SECRET_REFRESH && (kinds & LOGIN_REFRESH) != 0 ? LOGIN_REFRESH : LOGIN_PASSWORD;
}

bool login_hashes(unsigned kinds, struct slice secret)
{
    return (kinds & LOGIN_PASSWORD) != 0 && taken_as(kinds, secret) == LOGIN_PASSWORD;
}

int login_check(struct auth *auth, const struct login_attempt *attempt, const struct caller **out,
                struct error *err)
{
    enum login_kind kind = taken_as(attempt->kinds, attempt->secret);

    if (kind == LOGIN_PERSONAL)
        return personal_check(auth, attempt, out, err);
    if (kind == LOGIN_REFRESH)
        return refresh_as_password(auth, attempt, out, err);
    if ((attempt->kinds & LOGIN_PASSWORD) != 0)
        return password_check(auth, attempt, out, err);
    if (login_admit(auth, attempt, SLICE_NONE, err) < 0)
        return -1;
    return login_refused(auth, attempt, err);
}

static unsigned kinds_of(const struct auth_login *login)
{
    return login->password_only ? LOGIN_PASSWORD : LOGIN_PASSWORD | LOGIN_PERSONAL | LOGIN_REFRESH;
}

bool auth_login_hashes(const struct auth_login *login)
{
    return login_hashes(kinds_of(login), login->password);
}

int auth_login(struct auth *auth, const struct auth_login *login, const struct identity **out,
               struct error *err)
{
    const struct login_attempt attempt = {
        .name = login->name,
        .secret = login->password,
        .kinds = kinds_of(login),
        .remote = login->remote,
        .request_id = login->request_id,
        .network = login->network,
    };
    const struct caller *caller = NULL;

    if (auth->mode == AUTH_MODE_NONE)
        return auth_off(err);
    if (login_check(auth, &attempt, &caller, err) < 0)
        return -1;
    *out = &caller->identity;
    return 0;
}
