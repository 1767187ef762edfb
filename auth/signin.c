/* signin.c - sessions of browsers, the first administrator, and passwords that are set.
 * Touches  storage, guard, memory of callers.
 * Never    keeps a session's secret: storage has its hash, the browser the rest. */
#include <stdlib.h>

#include "auth/auth_internal.h"
#include "auth/password.h"
#include "registry/core/oci.h"

enum { SESSION_SECRET_SIZE = 32, AGENT_TOLD = 200 };

/* --- sessions --- */

static void draft_drop(struct caller **draft)
{
    const struct caller *caller = *draft;
    caller_drop(&caller);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Until when it stands if nobody uses it any more. */
static int64_t session_end(const struct auth *auth, const struct login_session *session)
{
    return earlier(session->used_at + (int64_t)auth->session_idle_s * US_PER_S,
                   session->created_at + (int64_t)auth->session_max_s * US_PER_S);
}

/* By its secret, or (SLICE_NONE) by its id. */
static int session_load(struct auth *auth, struct slice secret, int64_t id,
                        struct login_session *out, struct error *err) ON(worker_thread)
{
    uint8_t hash[SECRET_HASH_SIZE];

    if (secret.at != NULL)
        secret_hash(secret, hash);
    int found = secret.at != NULL ? login_session_find(auth->storage, hash, out, err)
                                  : login_session_find_id(auth->storage, id, out, err);
    if (found < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return error_set(err, ERROR_UNAUTHORIZED, "the session has ended");
    }
    if (session_end(auth, out) <= clock_now_us())
        return error_set(err, ERROR_UNAUTHORIZED, "the session has ended");
    return 0;
}

static void session_touch(struct auth *auth, struct login_session *session) ON(worker_thread)
{
    struct error lost = {0};
    int64_t now_us = clock_now_us();

    if (now_us - session->used_at < (int64_t)SESSION_TOUCH_S * US_PER_S)
        return;
    if (login_session_touch(auth->storage, session->id, &lost) < 0)
        error_clear(&lost);
    session->used_at = now_us;
}

static int caller_of_session(struct auth *auth, const struct login_session *session,
                             uint64_t generation, struct caller **out, struct error *err)
    ON(worker_thread)
{
    const struct caller_origin origin = {
        .account = session->account_id,
        .credential = CREDENTIAL_COOKIE,
        .session = session,
        .password_at = session->password_at,
        .generation = generation,
        .good_until = earlier(session_end(auth, session),
                              clock_now_us() + (int64_t)SESSION_TOUCH_S * US_PER_S)};

    return caller_of_account(auth, &origin, out, err);
}

int session_renew(struct auth *auth, const struct caller *old, struct caller **out,
                  struct error *err)
{
    OWNED(login_session_drop) struct login_session session = {0};
    uint64_t generation = auth_generation(auth);

    if (session_load(auth, SLICE_NONE, old->identity.session, &session, err) < 0)
        return -1;
    return caller_of_session(auth, &session, generation, out, err);
}

/* Remembered for a minute, so that its use is noted once a minute. */
int session_check(struct auth *auth, struct slice secret, const struct caller **out,
                  struct error *err)
{
    OWNED(login_session_drop) struct login_session session = {0};
    OWNED(draft_drop) struct caller *caller = NULL;
    uint64_t generation = auth_generation(auth);

    if (session_load(auth, secret, 0, &session, err) < 0)
        return -1;
    session_touch(auth, &session);
    if (caller_of_session(auth, &session, generation, &caller, err) < 0)
        return -1;
    remember_key(auth->remember, 'C', secret, caller->key);
    remember_put(auth->remember, caller);
    *out = TAKE(caller);
    return 0;
}

int auth_session_open(struct auth *auth, const struct identity *identity, struct slice remote,
                      struct slice agent, struct slice request_id, bool secure,
                      struct buffer *set_cookie, struct error *err)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer told = BUFFER_NONE;
    uint8_t random[SESSION_SECRET_SIZE], hash[SECRET_HASH_SIZE];
    char secret[2 * SESSION_SECRET_SIZE + 1] = "";
    int64_t id;

    if (identity->kind != IDENTITY_ACCOUNT || identity->credential != CREDENTIAL_PASSWORD)
        return error_set(err, ERROR_DENIED, "sessions begin with a password");
    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), secret);
    secret_hash(slice_of(secret), hash);
    buffer_print(&target, "user/%s", identity->name);
    text_append_printable(&told, agent, AGENT_TOLD);
    const struct audit_event event = {.actor = slice_of(identity->name),
                                      .actor_id = identity->account,
                                      .action = SLICE("session.create"),
                                      .target = buffer_slice(&target),
                                      .outcome = SLICE("done"),
                                      .remote = remote,
                                      .request_id = request_id,
                                      .detail = SLICE("")};
    int outcome =
        login_session_create(auth->storage, identity->account, hash, remote,
                             told.size == 0 ? SLICE("") : buffer_slice(&told), &event, &id, err);
    if (outcome == 0)
        session_cookie_print(secure, secret, auth->session_max_s, set_cookie);
    secret_wipe(secret, sizeof(secret));
    secret_wipe(random, sizeof(random));
    return outcome;
}

/* --- passwords and secrets that are set --- */

int auth_password_hash(struct auth *auth, struct slice name, struct slice password,
                       char out[AUTH_PASSWORD_HASH_MAX], struct error *err)
{
    (void)auth;
    if (slice_equal(name, password))
        return error_set_field(err, "password", "the password is the name");
    return password_hash(password, out, err);
}

_Static_assert((int)AUTH_PASSWORD_HASH_MAX >= (int)PASSWORD_HASH_MAX, "room for a hash");
_Static_assert((int)AUTH_SECRET_MAX > (int)SECRET_TEXT_SIZE, "room for a secret");

void auth_secret_new(struct auth_secret *out)
{
    secret_new(SECRET_PERSONAL, out->text);
    secret_hash(slice_of(out->text), out->hash);
    secret_hint(slice_of(out->text), out->hint);
}

enum { ACCOUNT_NAME_MAX = 64 };

bool auth_account_name_valid(struct slice name)
{
    return name.size <= ACCOUNT_NAME_MAX && oci_name_valid(name) &&
           memchr(name.at, '/', name.size) == NULL && !slice_equal_text(name, "local");
}

/* --- the first administrator --- */

void auth_setup_token(const struct auth *auth, char *out)
{
    out[0] = 0;
    if (atomic_load(&auth->setup_open))
        memcpy(out, auth->setup, sizeof(auth->setup));
}

static int setup_create(struct auth *auth, struct slice name, const char *hash,
                        const struct auth_login *from, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    OWNED(account_drop)
    struct account account = {.name = memory_text(name),
                              .kind = ACCOUNT_USER,
                              .role = ACCOUNT_ROLE_ADMIN,
                              .description = memory_text(SLICE("")),
                              .password_hash = memory_text(slice_of(hash))};

    buffer_print(&target, "user/%s", account.name);
    const struct audit_event event = {.actor = slice_of(account.name),
                                      .action = SLICE("setup"),
                                      .target = buffer_slice(&target),
                                      .outcome = SLICE("done"),
                                      .remote = from->remote,
                                      .request_id = from->request_id,
                                      .detail = SLICE("")};
    return account_create(auth->storage, &account, true, &event, err);
}

int auth_setup(struct auth *auth, struct slice setup_token, struct slice name,
               struct slice password, const struct auth_login *from, struct error *err)
{
    const struct login_attempt attempt = {.unnamed = true,
                                          .remote = from->remote,
                                          .request_id = from->request_id,
                                          .network = from->network};
    char hash[PASSWORD_HASH_MAX];

    if (auth->mode == AUTH_MODE_NONE)
        return auth_off(err);
    if (login_admit(auth, &attempt, SLICE_NONE, err) < 0)
        return -1;
    if (!secret_equal(setup_token, slice_of(auth->setup)))
        return login_refused(auth, &attempt, err);
    guard_passed(auth->guard, SLICE_NONE, from->network, clock_monotonic_ms());
    if (!atomic_load(&auth->setup_open))
        return error_set(err, ERROR_CONFLICT, "there is an administrator");
    if (!auth_account_name_valid(name))
        return error_set_field(err, "name", "not a name of an account");
    if (auth_password_hash(auth, name, password, hash, err) < 0 ||
        setup_create(auth, name, hash, from, err) < 0)
        return -1;
    atomic_store(&auth->setup_open, false);
    return 0;
}
