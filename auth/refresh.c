/* refresh.c - refresh tokens: given out with a log-in, used, rotated, and ended when one comes back
 * that was rotated.
 * Touches  storage, guard.
 * Never    takes one for an access token, or gives one to whoever showed none but a token.
 *
 * Spec: TOK-22, TOK-24, TOK-27 to TOK-29, TOK-59, TOK-70. */
#include <stdlib.h>

#include "auth/auth_internal.h"

enum {
    CLIENT_TOLD = 64, /* bytes of client_id that are kept */
    PASSWORD_MARK_BYTES = 16,
    PASSWORD_MARK_SIZE = 9 + 2 * PASSWORD_MARK_BYTES + 1, /* "password:" and hex */
};

/* --- giving out --- */

struct refresh_secret {
    char text[SECRET_TEXT_SIZE + 1];
    uint8_t hash[SECRET_HASH_SIZE];
    char hint[32];
    struct buffer label;
};

static void refresh_secret_drop(struct refresh_secret *secret)
{
    buffer_drop(&secret->label);
    secret_wipe(secret, sizeof(*secret));
}

static void refresh_secret_new(struct refresh_secret *out, struct slice client)
{
    secret_new(SECRET_REFRESH, out->text);
    secret_hash(slice_of(out->text), out->hash);
    secret_hint(slice_of(out->text), out->hint);
    text_append_printable(&out->label, client, CLIENT_TOLD);
}

static struct token_new token_of(const struct auth *auth, int64_t account,
                                 const struct refresh_secret *secret)
{
    return (struct token_new){
        .account_id = account,
        .kind = TOKEN_REFRESH,
        .secret_hash = secret->hash,
        .hint = slice_of(secret->hint),
        .label = secret->label.size == 0 ? SLICE("") : buffer_slice(&secret->label),
        .scopes = SLICE(""),
        .service = slice_of(auth->service),
        .expires_at = clock_now_us() + (int64_t)auth->refresh_ttl_s * US_PER_S,
    };
}

/* Storage ends the tokens of an account whose password changed. What changes in the password file
 * storage cannot see: there the token says which password it came by. Spec: TOK-28. */
static bool file_password_print(struct auth *auth, const char *name, const uint8_t *proof,
                                char out[PASSWORD_MARK_SIZE])
{
    char hash[PASSWORD_HASH_MAX];
    uint8_t now[PROOF_SIZE];

    out[0] = 0;
    if (auth->htpasswd == NULL || !htpasswd_find(auth->htpasswd, slice_of(name), hash))
        return false;
    secret_hash(slice_of(hash), now);
    if (proof != NULL && memcmp(now, proof, PROOF_SIZE) != 0)
        return false; /* it was another one that was right */
    memcpy(out, "password:", 9);
    hex_encode(now, PASSWORD_MARK_BYTES, out + 9);
    out[PASSWORD_MARK_SIZE - 1] = 0;
    return true;
}

static bool password_stands(struct auth *auth, const struct token *token)
{
    char now[PASSWORD_MARK_SIZE];

    return token->scopes[0] == 0 || (file_password_print(auth, token->account, NULL, now) &&
                                     strcmp(now, token->scopes) == 0);
}

int refresh_give(struct auth *auth, const struct caller *caller, struct slice client,
                 struct buffer *out, struct error *err)
{
    OWNED(refresh_secret_drop) struct refresh_secret secret = {.label = BUFFER_NONE};
    OWNED(token_drop) struct token created = {0};
    uint8_t family[TOKEN_FAMILY_SIZE];
    char mark[PASSWORD_MARK_SIZE];
    struct token_new token;

    refresh_secret_new(&secret, client);
    random_bytes(family, sizeof(family));
    token = token_of(auth, caller->identity.account, &secret);
    token.family = family;
    file_password_print(auth, caller->identity.name, caller->proof, mark);
    token.scopes = slice_of(mark);
    if (token_create(auth->storage, &token, NULL, &created, err) < 0)
        return -1;
    buffer_append_text(out, secret.text);
    return 0;
}

/* --- using --- */

static struct audit_event reuse_event(const struct login_attempt *attempt,
                                      const struct token *token, const struct buffer *target)
{
    return (struct audit_event){.actor = slice_of(token->account),
                                .actor_id = token->account_id,
                                .action = SLICE("token.reused"),
                                .target = buffer_slice(target),
                                .outcome = SLICE("refused"),
                                .remote = attempt->remote,
                                .request_id = attempt->request_id,
                                .detail = SLICE("")};
}

int refresh_check(struct auth *auth, const struct login_attempt *attempt, struct token *token,
                  const struct caller **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    struct caller_origin origin = {.credential = CREDENTIAL_TOKEN,
                                   .generation = auth_generation(auth)};
    struct caller *caller = NULL;
    bool reused = false;

    if (login_token_find(auth, attempt, token, err) < 0)
        return -1;
    if (!token_stands(token, TOKEN_REFRESH) || !login_name_fits(attempt, token) ||
        !password_stands(auth, token) || !slice_equal_text(slice_of(token->service), auth->service))
        return login_refused(auth, attempt, err);
    buffer_print(&target, "user/%s", token->account);
    const struct audit_event event = reuse_event(attempt, token, &target);
    if (token_refresh_use(auth->storage, token->id, (int64_t)REFRESH_REUSE_S * US_PER_S, &reused,
                          &event, err) < 0 ||
        reused)
        return login_refused(auth, attempt, err);
    origin.account = token->account_id; /* good_until 0: for this request alone */
    if (caller_of_account(auth, &origin, &caller, err) < 0)
        return login_refused(auth, attempt, err);
    *out = caller;
    return 0;
}

/* Spec: TOK-29: only clients that asked get another. */
static int rotate(struct auth *auth, const struct login_attempt *attempt, const struct token *token,
                  struct slice client, struct buffer *out, struct error *err) ON(worker_thread)
{
    OWNED(refresh_secret_drop) struct refresh_secret secret = {.label = BUFFER_NONE};
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    struct token_new successor;
    bool reused = false;

    refresh_secret_new(&secret, client);
    successor = token_of(auth, token->account_id, &secret);
    buffer_print(&target, "user/%s", token->account);
    const struct audit_event event = reuse_event(attempt, token, &target);
    if (token_refresh_rotate(auth->storage, token->id, &successor,
                             (int64_t)REFRESH_REUSE_S * US_PER_S, &reused, &event, err) < 0 ||
        reused)
        return login_refused(auth, attempt, err);
    buffer_append_text(out, secret.text);
    return 0;
}

int auth_token_refresh(struct auth *auth, const struct auth_login *login,
                       const struct token_wish *wish, struct token_given *out, struct error *err)
{
    const struct login_attempt attempt = {.name = login->name,
                                          .secret = login->password,
                                          .unnamed = login->name.size == 0,
                                          .remote = login->remote,
                                          .request_id = login->request_id,
                                          .network = login->network};
    OWNED(token_drop) struct token token = {0};
    OWNED(caller_drop) const struct caller *caller = NULL;
    struct token_wish access = *wish;

    if (auth->mode == AUTH_MODE_NONE)
        return auth_off(err);
    access.offline = false;
    if (refresh_check(auth, &attempt, &token, &caller, err) < 0)
        return -1;
    if (wish->offline && rotate(auth, &attempt, &token, wish->client, &out->refresh, err) < 0)
        return -1;
    return auth_token_issue(auth, &caller->identity, &access, out, err);
}
