/* auth.c - opens and closes what auth consists of, reads its files again; small questions.
 * Touches  key and password files, by way of their own modules.
 * Never    decides: decide.c does. */
#include "auth/auth.h"

#include <stdlib.h>

#include "auth/auth_internal.h"
#include "registry/core/digest.h"

enum { KEY_LEAD_S = 900 }; /* longer than verifiers keep a key set */

static const char NAME_DEFAULT[] = "slipway";

/* Opening and reading again happens on threads that serve no connection. */
static void assert_may_block(void) ASSERTS_ROLE_(worker_thread)
{
    assert(thread_role_current != ROLE_LOOP);
}

/* --- opening --- */

static char *text_of(const char *text, const char *otherwise)
{
    return memory_text(slice_of(text == NULL || text[0] == 0 ? otherwise : text));
}

static void options_keep(struct auth *auth, const struct auth_options *options)
{
    auth->mode = options->mode;
    auth->challenge_basic = options->challenge_basic;
    auth->anonymous_pull = options->anonymous_pull;
    auth->public_url = text_of(options->public_url, "");
    for (size_t end = strlen(auth->public_url); end > 0 && auth->public_url[end - 1] == '/'; end--)
        auth->public_url[end - 1] = 0;
    auth->realm = text_of(options->realm, "");
    auth->service = text_of(options->service, NAME_DEFAULT);
    auth->issuer = text_of(options->issuer, NAME_DEFAULT);
    auth->issuer_count = options->issuer_count;
    auth->issuers = memory_new((options->issuer_count + 1) * sizeof(*auth->issuers));
    for (size_t i = 0; i < options->issuer_count; i++)
        auth->issuers[i] = memory_text(slice_of(options->issuers[i]));
    auth->token_ttl_s = options->token_ttl_s;
    auth->refresh_ttl_s = options->refresh_ttl_s;
    auth->session_idle_s = options->session_idle_s;
    auth->session_max_s = options->session_max_s;
    auth->pulls_anonymous = options->pulls_anonymous;
    auth->pulls_account = options->pulls_account;
    auth->storage = options->storage;
}

/* A key outlives what it signed by the time TOK-55 still looks at it. */
static int keys_open(struct auth *auth, const struct auth_options *options, struct error *err)
{
    const struct key_ring_options keys = {
        .folder = options->key_folder,
        .file = options->key_file == NULL ? "" : options->key_file,
        .lead_s = KEY_LEAD_S,
        .keep_s = options->token_ttl_s + UPLOAD_GRACE_S + JWT_LEEWAY_S,
        .rotation_s = options->key_rotation_s,
    };
    return key_ring_open(&auth->keys, &keys, err);
}

static int setup_check(struct auth *auth, struct error *err) ON(worker_thread)
{
    bool exists = false;

    if (account_admin_exists(auth->storage, &exists, err) < 0)
        return -1;
    if (exists)
        atomic_store(&auth->setup_open, false);
    return 0;
}

static int parts_open(struct auth *auth, const struct auth_options *options, struct error *err)
    ON(worker_thread)
{
    const char *passwords = options->htpasswd_file;

    auth->guard = guard_open(
        &(struct guard_options){options->account_rate.count, options->account_rate.per_ms,
                                options->address_rate.count, options->address_rate.per_ms});
    auth->remember = remember_open();
    secret_new(SECRET_SETUP, auth->setup);
    atomic_store(&auth->setup_open, true);
    if (keys_open(auth, options, err) < 0 ||
        trusted_open(&auth->trusted, options->trusted_keys, err) < 0)
        return -1;
    if (passwords != NULL && passwords[0] != 0 &&
        htpasswd_open(&auth->htpasswd, passwords, err) < 0)
        return -1;
    return setup_check(auth, err);
}

static void auth_drop(struct auth **auth)
{
    auth_close(*auth);
}

int auth_open(struct auth **out, const struct auth_options *options, struct error *err)
{
    OWNED(auth_drop) struct auth *auth = memory_new(sizeof(*auth));

    assert_may_block();
    options_keep(auth, options);
    auth->quota = quota_open();
    if (seals_open(&auth->seals, options->seal_folder, options->key_rotation_s, err) < 0 ||
        (auth->mode != AUTH_MODE_NONE && parts_open(auth, options, err) < 0))
        return -1;
    *out = TAKE(auth);
    return 0;
}

void auth_close(struct auth *auth)
{
    if (auth == NULL)
        return;
    remember_close(auth->remember);
    quota_close(auth->quota);
    guard_close(auth->guard);
    htpasswd_close(auth->htpasswd);
    trusted_close(auth->trusted);
    key_ring_close(auth->keys);
    seals_close(auth->seals);
    for (size_t i = 0; i < auth->issuer_count; i++)
        free(auth->issuers[i]);
    free(auth->issuers);
    free(auth->public_url);
    free(auth->realm);
    free(auth->service);
    free(auth->issuer);
    secret_wipe(auth->setup, sizeof(auth->setup));
    free(auth);
}

/* --- reading again --- */

/* Each on its own, so that one broken file does not keep the others old. */
int auth_reload(struct auth *auth, bool force, struct error *err)
{
    bool keys = false, trusted = false, passwords = false;
    struct error later = {0};
    int outcome = 0;

    assert_may_block();
    if (auth->seals != NULL)
        outcome = seals_advance(auth->seals, clock_now_us() / US_PER_S, err);
    if (auth->mode == AUTH_MODE_NONE)
        return outcome;
    if (key_ring_advance(auth->keys, clock_now_us() / US_PER_S, &keys, outcome < 0 ? &later : err) <
        0)
        outcome = -1;
    if (trusted_reload(auth->trusted, force, &trusted, outcome < 0 ? &later : err) < 0)
        outcome = -1;
    if (auth->htpasswd != NULL &&
        htpasswd_reload(auth->htpasswd, force, &passwords, outcome < 0 ? &later : err) < 0)
        outcome = -1;
    if (keys || trusted || passwords)
        atomic_fetch_add_explicit(&auth->epoch, 1, memory_order_acq_rel);
    if (atomic_load(&auth->setup_open) && setup_check(auth, outcome < 0 ? &later : err) < 0)
        outcome = -1;
    return outcome;
}

/* --- keys --- */

void auth_key_set(const struct auth *auth, struct buffer *out, char etag[17])
{
    struct digest digest;

    etag[0] = 0;
    if (auth->mode == AUTH_MODE_NONE)
        return;
    key_ring_set(auth->keys, out);
    digest_of(DIGEST_SHA256, buffer_slice(out), &digest);
    hex_encode(digest.bytes, 8, etag);
    etag[16] = 0;
}

int auth_key_rotate(struct auth *auth, enum auth_keys which, struct error *err)
{
    if (which == AUTH_KEYS_PROVENANCE)
        return auth->seals == NULL
                   ? error_set(err, ERROR_CONFLICT, "there is no key for provenance")
                   : seals_rotate(auth->seals, clock_now_us() / US_PER_S, err);
    if (auth->mode == AUTH_MODE_NONE)
        return auth_off(err);
    return key_ring_rotate(auth->keys, clock_now_us() / US_PER_S, err);
}

/* --- pulls --- */

/* Anonymous callers by address, accounts by their own. Spec: TOK-66. */
bool auth_pull_admit(struct auth *auth, const struct identity *identity, struct slice remote,
                     const uint8_t *network, bool count, struct pull_quota *out)
{
    bool signed_in = identity->kind == IDENTITY_ACCOUNT || identity->kind == IDENTITY_FOREIGN;
    const struct auth_rate *rate = signed_in ? &auth->pulls_account : &auth->pulls_anonymous;
    char caller[UPLOAD_OWNER_MAX + 1] = "";
    uint64_t wait_ms = 0;

    *out = (struct pull_quota){0};
    if (rate->count == 0 || identity->kind == IDENTITY_LOCAL)
        return true;
    if (signed_in)
        caller_owner(caller_of(identity), caller);
    *out =
        (struct pull_quota){.limited = true, .limit = rate->count, .window_s = rate->per_ms / 1000};
    struct slice key = caller[0] != 0 ? slice_of(caller)
                                      : (struct slice){(const char *)network, GUARD_NETWORK_SIZE};
    struct slice source = signed_in ? slice_of(identity->name) : remote;
    if (source.size >= sizeof(out->source))
        source.size = sizeof(out->source) - 1;
    if (source.size > 0)
        memcpy(out->source, source.at, source.size);
    bool admitted = quota_use(auth->quota, key, rate->count, rate->per_ms, count,
                              clock_monotonic_ms(), &out->remaining, &wait_ms);
    if (out->remaining == 0)
        out->retry_after_s = (wait_ms + 999) / 1000;
    return admitted;
}

/* --- texts --- */

void text_append_printable(struct buffer *out, struct slice text, size_t most)
{
    for (size_t i = 0; i < text.size && i < most; i++)
        buffer_append(out, text.at[i] >= ' ' && text.at[i] < 0x7f ? &text.at[i] : "?", 1);
}
