/* auth.h - an opened auth over a storage in a temporary folder, and short ways to ask it. */
#ifndef SLIPWAY_TESTS_SUPPORT_AUTH_H
#define SLIPWAY_TESTS_SUPPORT_AUTH_H

#include <sys/stat.h>

#include "auth/auth_internal.h"
#include "auth/jwt_internal.h"
#include "registry/core/base64.h"
#include "tests/support/store.h"

/* What one test works with; reset by auth_set_up. */
struct world {
    struct fixture *fixture;
    struct auth *auth;
    struct auth_options options;
    char keys[FOLDER_MAX + 16], htpasswd[FOLDER_MAX + 16], trusted[FOLDER_MAX + 16];
    uint8_t network[8];
    struct auth_answer answer; /* of the last ask */
    enum auth_peeked peeked;   /* what memory said to it */
    struct error err;
};
static struct world world;

#define DONE(call)                                                                                 \
    do {                                                                                           \
        world.err = (struct error){0};                                                             \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s: %s", #call, world.err.message, world.err.cause);                     \
    } while (0)

#define REFUSED(call, expected)                                                                    \
    do {                                                                                           \
        world.err = (struct error){0};                                                             \
        assert_int_equal((call), -1);                                                              \
        assert_string_equal(error_code_name(world.err.code), error_code_name(expected));           \
        assert_int_equal(world.err.code, expected);                                                \
    } while (0)

static inline void world_open(void)
{
    DONE(auth_open(&world.auth, &world.options, &world.err));
}

static inline void world_reopen(void)
{
    auth_close(world.auth);
    world.auth = NULL;
    world_open();
}

static inline int auth_set_up(void **state)
{
    fixture_set_up(state);
    memset(&world, 0, sizeof(world));
    world.fixture = *state;
    snprintf(world.keys, sizeof(world.keys), "%s/keys", world.fixture->root);
    snprintf(world.htpasswd, sizeof(world.htpasswd), "%s/htpasswd", world.fixture->root);
    snprintf(world.trusted, sizeof(world.trusted), "%s/trusted.json", world.fixture->root);
    world.options = (struct auth_options){.mode = AUTH_MODE_TOKEN,
                                          .service = "registry.test",
                                          .issuer = "registry.test",
                                          .token_ttl_s = 900,
                                          .refresh_ttl_s = 3600,
                                          .key_folder = world.keys,
                                          .session_idle_s = 3600,
                                          .session_max_s = 24 * 3600,
                                          .storage = world.fixture->store};
    world_open();
    return 0;
}

static inline int auth_tear_down(void **state)
{
    identity_drop(&world.answer.identity);
    identity_drop(&world.answer.refused);
    auth_close(world.auth);
    return fixture_tear_down(state);
}

#define AUTH_TEST(name) cmocka_unit_test_setup_teardown(name, auth_set_up, auth_tear_down)

/* --- accounts --- */

/* Hashing takes long and is not what these tests are about: the cheapest bcrypt of "right pass". */
static const char PASSWORD[] = "right pass";
static const char PASSWORD_HASH[] = "$2b$04$abcdefghijklmnopqrstuuUp24FNoY/4mS91EX4tTKrpuIwLG0zP.";

static inline int64_t user_make(const char *name, enum account_role role)
{
    struct account account = {.name = memory_text(slice_of(name)),
                              .kind = ACCOUNT_USER,
                              .role = role,
                              .description = memory_text(SLICE("")),
                              .password_hash = memory_text(slice_of(PASSWORD_HASH))};
    const struct audit_event event = {.actor = SLICE("test"),
                                      .action = SLICE("user.create"),
                                      .target = SLICE("user"),
                                      .outcome = SLICE("done"),
                                      .remote = SLICE(""),
                                      .request_id = SLICE(""),
                                      .detail = SLICE("")};

    DONE(account_create(world.fixture->store, &account, false, &event, &world.err));
    int64_t id = account.id;
    account_drop(&account);
    return id;
}

static const struct audit_event TEST_EVENT = {.actor = {"test", 4},
                                              .action = {"test", 4},
                                              .target = {"test", 4},
                                              .outcome = {"done", 4},
                                              .remote = {"", 0},
                                              .request_id = {"", 0},
                                              .detail = {"", 0}};

static inline int64_t grant_make(const char *name, const char *pattern, unsigned rights)
{
    struct grant grant = {0};
    bool created;

    DONE(grant_put(world.fixture->store, slice_of(name), slice_of(pattern), rights, 0, &TEST_EVENT,
                   &grant, &created, &world.err));
    int64_t id = grant.id;
    grant_drop(&grant);
    return id;
}

static inline void user_delete(const char *name)
{
    DONE(account_delete(world.fixture->store, ACCOUNT_USER, slice_of(name), 0, &TEST_EVENT,
                        &world.err));
}

static inline void user_disable(const char *name)
{
    const bool disabled = true;
    const struct account_change change = {.disabled = &disabled};

    DONE(account_update(world.fixture->store, ACCOUNT_USER, slice_of(name), &change, &TEST_EVENT,
                        &world.err));
}

static inline void repository_public(const char *name)
{
    DONE(repository_create(world.fixture->store, slice_of(name), true, SLICE(""), &TEST_EVENT,
                           &world.err));
}

/* A personal token; text holds SECRET_TEXT_SIZE + 1. Returns its id. */
static inline int64_t token_make(int64_t account, const char *scopes, char *text)
{
    struct auth_secret secret;
    struct token token = {0};

    auth_secret_new(&secret);
    memcpy(text, secret.text, SECRET_TEXT_SIZE + 1);
    const struct token_new made = {.account_id = account,
                                   .kind = TOKEN_PERSONAL,
                                   .secret_hash = secret.hash,
                                   .hint = slice_of(secret.hint),
                                   .label = SLICE("test"),
                                   .scopes = slice_of(scopes),
                                   .service = SLICE("")};
    DONE(token_create(world.fixture->store, &made, &TEST_EVENT, &token, &world.err));
    int64_t id = token.id;
    token_drop(&token);
    return id;
}

/* --- headers --- */

static inline struct slice basic(const char *name, const char *password, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer pair = BUFFER_NONE;

    buffer_print(&pair, "%s:%s", name, password);
    out->size = 0;
    buffer_append_text(out, "Basic ");
    base64_encode(BASE64, pair.at, pair.size, out);
    return buffer_slice(out);
}

static inline struct slice bearer(const char *token, struct buffer *out)
{
    out->size = 0;
    buffer_print(out, "Bearer %s", token);
    return buffer_slice(out);
}

/* --- asking --- */

static inline struct auth_request wants(enum action action, const char *repository,
                                        struct slice authorization)
{
    return (struct auth_request){.action = action,
                                 .repository = slice_of(repository),
                                 .authorization = authorization,
                                 .remote = SLICE("192.0.2.1"),
                                 .network = world.network,
                                 .host = SLICE("registry.test:5000"),
                                 .request_id = SLICE("id"),
                                 .json = true};
}

/* As http/ asks: memory, then a worker. ERROR_NONE: granted. */
static inline enum error_code ask(const struct auth_request *request)
{
    identity_drop(&world.answer.identity);
    identity_drop(&world.answer.refused);
    world.err = (struct error){0};
    world.peeked = auth_peek(world.auth, request, &world.answer, &world.err);
    if (world.peeked == AUTH_ASK || world.peeked == AUTH_ASK_SLOWLY) {
        assert_null(world.answer.identity);
        assert_int_equal(world.err.code, ERROR_NONE);
        if (auth_authorise(world.auth, request, &world.answer, &world.err) < 0)
            assert_null(world.answer.identity);
    }
    assert_true((world.answer.identity != NULL) == (world.err.code == ERROR_NONE));
    return world.err.code;
}

static inline enum error_code ask_for(enum action action, const char *repository,
                                      struct slice authorization)
{
    const struct auth_request request = wants(action, repository, authorization);

    return ask(&request);
}

#define FAULT(expected)                                                                            \
    do {                                                                                           \
        if (world.answer.fault == NULL)                                                            \
            fail_msg("no fault");                                                                  \
        assert_string_equal(world.answer.fault, expected);                                         \
    } while (0)

/* --- tokens --- */

/* The JWT of these credentials, as a header. */
static inline struct slice token_get(struct slice authorization, const char *scope,
                                     struct buffer *out)
{
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    const struct token_wish wish = {.scope = slice_of(scope)};

    assert_int_equal(ask_for(ACTION_TOKEN, NULL, authorization), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    out->size = 0;
    buffer_append_text(out, "Bearer ");
    buffer_append_slice(out, buffer_slice(&given.token));
    return buffer_slice(out);
}

static inline struct slice user_token(const char *name, const char *scope, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    return token_get(basic(name, PASSWORD, &header), scope, out);
}

/* The JSON between the dots; zero-terminated. */
static inline void payload_of(struct slice token, struct buffer *out)
{
    struct slice head, rest, payload;

    slice_split(token, '.', &head, &rest);
    slice_split(rest, '.', &payload, &rest);
    out->size = 0;
    assert_true(base64_decode(BASE64_URL, payload, out));
    buffer_append(out, "", 1);
}

/* A JWT with this payload, signed by our own key. */
static inline struct slice forged(const char *payload, struct buffer *out)
{
    out->size = 0;
    buffer_append_text(out, "Bearer ");
    key_ring_sign(world.auth->keys, slice_of(payload), out);
    return buffer_slice(out);
}

static inline int64_t now_s(void)
{
    return clock_now_us() / US_PER_S;
}

static inline void file_write(const char *path, struct slice content)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(content.at, 1, content.size, file), content.size);
    assert_int_equal(fclose(file), 0);
}

#endif
