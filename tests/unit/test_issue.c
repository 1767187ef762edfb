/* test_issue.c - tokens over a real storage: what is granted, what is believed, refresh,
 * challenges. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/auth.h"
#include "tests/support/jose.h"

/* --- what is granted --- */

static const struct {
    const char *name, *scope;
    const char *access; /* as it stands in the token */
    const char *granted;
} GRANTED[] = {
    {"ana", "", "[]", ""},
    {"ana", "repository:team/a:pull",
     "[{\"type\":\"repository\",\"name\":\"team/a\",\"actions\":[\"pull\"]}]",
     "repository:team/a:pull"},
    {"ana", "repository:team/a:push,pull,delete",
     "[{\"type\":\"repository\",\"name\":\"team/a\",\"actions\":[\"pull\",\"push\"]}]",
     "repository:team/a:pull,push"},
    {"ana", "repository:team/a:*",
     "[{\"type\":\"repository\",\"name\":\"team/a\",\"actions\":[\"pull\",\"push\"]}]",
     "repository:team/a:pull,push"},
    {"ana", "repository:own:*",
     "[{\"type\":\"repository\",\"name\":\"own\",\"actions\":[\"pull\",\"push\",\"delete\",\"*\"]}"
     "]",
     "repository:own:pull,push,delete,*"},
    {"ana", "repository:other:pull repository:pub:pull,push",
     "[{\"type\":\"repository\",\"name\":\"pub\",\"actions\":[\"pull\"]},"
     "{\"type\":\"repository\",\"name\":\"other\",\"actions\":[]}]",
     "repository:pub:pull"},
    {"ana", "registry:catalog:*", "[{\"type\":\"registry\",\"name\":\"catalog\",\"actions\":[]}]",
     ""},
    {"root", "registry:catalog:*",
     "[{\"type\":\"registry\",\"name\":\"catalog\",\"actions\":[\"*\"]}]", "registry:catalog:*"},
    {"ana", "nonsense repository:*:pull repository:team/a:fly", NULL, ""},
};

/* Spec: TOK-12, TOK-16 to TOK-18, TOK-33, TOK-72. */
static void test_issue_grants_what_the_caller_may(void **state)
{
    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    user_make("root", ACCOUNT_ROLE_ADMIN);
    grant_make("ana", "team/*", LEVEL_WRITE);
    grant_make("ana", "own", LEVEL_ADMIN);
    repository_public("pub");
    for (size_t i = 0; i < LENGTH(GRANTED); i++) {
        OWNED(buffer_drop)
        struct buffer header = BUFFER_NONE, payload = BUFFER_NONE, expected = BUFFER_NONE;
        OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
        const struct token_wish wish = {.scope = slice_of(GRANTED[i].scope)};

        assert_int_equal(ask_for(ACTION_TOKEN, NULL, basic(GRANTED[i].name, PASSWORD, &header)),
                         ERROR_NONE);
        DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
        payload_of(buffer_slice(&given.token), &payload);
        if (GRANTED[i].access != NULL) {
            buffer_print(&expected, "\"access\":%s", GRANTED[i].access);
            buffer_append(&expected, "", 1);
            if (strstr(payload.at, expected.at) == NULL)
                fail_msg("%s: %s", GRANTED[i].scope, payload.at);
        }
        struct slice granted = given.scope.size == 0 ? SLICE("") : buffer_slice(&given.scope);
        assert_true(slice_equal_text(granted, GRANTED[i].granted));
    }
}

/* Spec: TOK-21, TOK-22, TOK-56. */
static void test_issue_claims(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, payload = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    OWNED(jwt_claims_drop) struct jwt_claims claims = {.document = NULL};
    const char *const issuers[] = {"registry.test"};
    const struct jwt_checks checks = {.audience = SLICE("registry.test"),
                                      .issuers = issuers,
                                      .issuer_count = 1,
                                      .now_s = now_s()};
    const struct token_wish wish = {.scope = SLICE("")};

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_USER);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, basic("ana", PASSWORD, &header)), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    DONE(
        key_ring_verify(world.auth->keys, buffer_slice(&given.token), checks, &claims, &world.err));
    assert_true(slice_equal_text(claims.subject, "ana"));
    assert_int_equal(claims.account, ana);
    assert_int_equal(claims.token, 0);
    assert_int_equal(claims.id.size, 32);
    assert_int_equal(claims.expires_at, given.issued_at + 900);
    assert_int_equal(claims.not_before, claims.issued_at);
    assert_in_range(given.issued_at - claims.not_before, 0, 30);
    assert_int_equal(given.expires_in, 900);
    assert_in_range(given.issued_at, now_s() - 5, now_s());
    assert_int_equal(given.refresh.size, 0);
    payload_of(buffer_slice(&given.token), &payload);
    assert_non_null(strstr(payload.at, "\"aud\":\"registry.test\""));
}

static void test_issue_lives_a_minute_at_least(void **state)
{
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    const struct token_wish wish = {.scope = SLICE("")};

    (void)state;
    world.options.token_ttl_s = 1;
    world_reopen();
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, SLICE_NONE), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    assert_int_equal(given.expires_in, 60);
}

/* Spec: TOK-23. */
static void test_issue_stays_short(void **state)
{
    OWNED(buffer_drop) struct buffer scope = BUFFER_NONE, header = BUFFER_NONE;
    char last[] = "repository:own/last:pull";

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "own/*", LEVEL_ADMIN);
    for (int i = 0; i < 120; i++)
        buffer_print(&scope, "repository:denied/%0100d:pull ", i);
    buffer_append_text(&scope, last);
    buffer_append(&scope, "", 1);
    user_token("ana", scope.at, &header);
    assert_in_range(header.size, 4000, 8192);
    assert_int_equal(ask_for(ACTION_PULL, "own/last", buffer_slice(&header)), ERROR_NONE);
}

/* --- JWTs --- */

/* Spec: TOK-06, TOK-34, TOK-50, AUTHZ-02. */
static void test_bearer_needs_what_the_request_needs(void **state)
{
    OWNED(buffer_drop) struct buffer pull = BUFFER_NONE, push = BUFFER_NONE, none = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    user_token("ana", "repository:a:pull", &pull);
    user_token("ana", "repository:a:push", &push);
    user_token("ana", "", &none);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&none)), ERROR_NONE); /* PING-03 */
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&none)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    assert_int_equal(world.peeked, AUTH_REFUSED); /* verified once, then known */
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&pull)), ERROR_NONE);
    assert_false(world.answer.may_push);
    assert_int_equal(ask_for(ACTION_PULL, "b", buffer_slice(&pull)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&pull)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&push)), ERROR_NONE);
    assert_true(world.answer.may_push);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&push)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_DELETE, "a", buffer_slice(&push)), ERROR_UNAUTHORIZED);
    struct auth_request head = wants(ACTION_PULL, "a", buffer_slice(&push));
    head.head = true;
    assert_int_equal(ask(&head), ERROR_NONE);
    head.repository = SLICE("b");
    assert_int_equal(ask(&head), ERROR_UNAUTHORIZED);
}

/* auth (3). */
static void test_bearer_loses_what_the_account_loses(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    int64_t grant = grant_make("ana", "a", LEVEL_WRITE);
    repository_public("pub");
    user_token("ana", "repository:a:pull,push repository:pub:pull", &header);
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED);
    DONE(grant_delete(world.fixture->store, grant, 0, &TEST_EVENT, &world.err));
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    assert_int_equal(world.peeked, AUTH_ASK);
    const bool public = false;
    const struct repository_change change = {.public = &public};
    DONE(repository_update(world.fixture->store, SLICE("pub"), &change, &TEST_EVENT, &world.err));
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    user_delete("ana");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    user_make("ana", ACCOUNT_ROLE_ADMIN); /* another one of the same name */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
}

static struct slice signed_for(const char *issuer, const char *audience, const char *subject,
                               int64_t account, int64_t token, struct buffer *out)
{
    char payload[400];

    snprintf(payload, sizeof(payload),
             "{\"iss\":\"%s\",\"aud\":\"%s\",\"sub\":\"%s\",\"exp\":%lld,"
             "\"slipway\":{\"account\":%lld,\"token\":%lld}}",
             issuer, audience, subject, (long long)now_s() + 60, (long long)account,
             (long long)token);
    return forged(payload, out);
}

static const struct {
    const char *issuer, *audience, *subject;
    bool account;
    int64_t token;
    bool good;
} SIGNED[] = {
    {"registry.test", "registry.test", "ana", true, 0, true},
    {"registry.test", "registry.test", "", false, 0, true},
    {"registry.test", "registry.test", "eve", true, 0, false},  /* not the account's name */
    {"registry.test", "registry.test", "ana", false, 0, false}, /* a name without an account */
    {"registry.test", "other.test", "ana", true, 0, false},
    {"other.test", "registry.test", "ana", true, 0, false},
    {"registry.test", "registry.test", "ana", true, 77, false}, /* no such personal token */
};

/* What must not be believed although our own key signed it. */
static void test_bearer_believes_what_is_consistent(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_ADMIN);
    for (size_t i = 0; i < LENGTH(SIGNED); i++) {
        signed_for(SIGNED[i].issuer, SIGNED[i].audience, SIGNED[i].subject,
                   SIGNED[i].account ? ana : 0, SIGNED[i].token, &header);
        enum error_code code = ask_for(ACTION_BASE, NULL, buffer_slice(&header));
        if (code != (SIGNED[i].good ? ERROR_NONE : ERROR_UNAUTHORIZED))
            fail_msg("row %zu", i);
        if (!SIGNED[i].good)
            FAULT("invalid_token");
    }
}

/* A personal token of somebody else does not help either. */
static void test_bearer_personal_token_is_of_the_account(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_ADMIN);
    int64_t bob = user_make("bob", ACCOUNT_ROLE_USER);
    int64_t anas = token_make(ana, "", secret);
    signed_for("registry.test", "registry.test", "bob", bob, anas, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    signed_for("registry.test", "registry.test", "ana", ana, anas, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
}

static void test_bearer_is_not_for_basic_mode(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    user_token("ana", "", &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
    world.options.challenge_basic = true;
    world_reopen();
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_null(world.answer.fault);
}

/* Spec: TOK-15, TOK-08. */
static void test_bearer_anonymous(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct repository_filter filter;

    (void)state;
    repository_public("pub");
    world.options.anonymous_pull = true;
    world_reopen();
    token_get(SLICE_NONE, "repository:pub:pull,push repository:secret:pull registry:catalog:*",
              &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PUSH, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PULL, "secret", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PULL, "pub", SLICE_NONE), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, buffer_slice(&header)), ERROR_NONE);
    auth_list_filter(world.auth, world.answer.identity, &filter);
    assert_false(filter.all);
    assert_true(filter.public);
    assert_int_equal(filter.pattern_count, 0);
    world.options.anonymous_pull = false; /* the token is of before */
    world_reopen();
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    token_get(SLICE_NONE, "repository:pub:pull", &header);
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
}

/* Signed by us, and yet nobody may do more than pull. */
static void test_bearer_anonymous_pushes_nothing(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char payload[300];

    (void)state;
    repository_public("pub");
    world.options.anonymous_pull = true;
    world_reopen();
    snprintf(payload, sizeof(payload),
             "{\"iss\":\"registry.test\",\"aud\":\"registry.test\",\"sub\":\"\",\"exp\":%lld,"
             "\"access\":[{\"type\":\"repository\",\"name\":\"pub\",\"actions\":[\"*\"]}]}",
             (long long)now_s() + 60);
    forged(payload, &header);
    assert_int_equal(ask_for(ACTION_PULL, "pub", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PUSH, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_DELETE, "pub", buffer_slice(&header)), ERROR_UNAUTHORIZED);
}

/* Spec: CAT-02. */
static void test_bearer_catalog(void **state)
{
    OWNED(buffer_drop) struct buffer named = BUFFER_NONE, other = BUFFER_NONE;
    struct repository_filter filter;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_AUDITOR);
    user_make("bob", ACCOUNT_ROLE_USER);
    grant_make("bob", "team/*", LEVEL_READ);
    user_token("ana", "registry:catalog:*", &named);
    user_token("ana", "repository:a:pull", &other);
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, buffer_slice(&other)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, buffer_slice(&named)), ERROR_NONE);
    auth_list_filter(world.auth, world.answer.identity, &filter);
    assert_true(filter.all);
    user_token("bob", "registry:catalog:*", &named);
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, buffer_slice(&named)), ERROR_NONE);
    auth_list_filter(world.auth, world.answer.identity, &filter);
    assert_false(filter.all);
    assert_true(filter.public);
    assert_int_equal(filter.pattern_count, 1);
}

/* Spec: TOK-51. */
static void test_bearer_mounts(void **state)
{
    OWNED(buffer_drop)
    struct buffer both = BUFFER_NONE, one = BUFFER_NONE, header = BUFFER_NONE, detail = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "a", LEVEL_WRITE);
    user_token("ana", "repository:a:pull,push repository:b:pull", &both);
    user_token("ana", "repository:a:pull,push", &one);
    struct auth_request mount = wants(ACTION_PUSH, "a", buffer_slice(&both));
    mount.mount_from = SLICE("b");
    assert_int_equal(ask(&mount), ERROR_NONE); /* named, though denied */
    assert_false(auth_may(world.auth, world.answer.identity, SLICE("b"), RIGHT_PULL));
    assert_false(auth_may(world.auth, world.answer.identity, SLICE_NONE, RIGHT_PULL));
    mount.authorization = buffer_slice(&one);
    assert_int_equal(ask(&mount), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    auth_challenge(world.auth, &mount, &world.answer, &header, &detail);
    assert_true(slice_ends(buffer_slice(&header),
                           ",scope=\"repository:a:pull,push repository:b:pull\""
                           ",error=\"insufficient_scope\""));
    mount.mount_from = SLICE("a");
    assert_int_equal(ask(&mount), ERROR_NONE);
}

/* --- expired in the middle of a push --- */

/* A JWT of ana for "a" that expired `ago_s` ago. */
static struct slice old_token(int64_t account, const char *actions, int64_t ago_s,
                              struct buffer *out)
{
    char payload[400];

    snprintf(payload, sizeof(payload),
             "{\"iss\":\"registry.test\",\"aud\":\"registry.test\",\"sub\":\"ana\",\"exp\":%lld,"
             "\"slipway\":{\"account\":%lld,\"token\":0},\"access\":[{\"type\":\"repository\","
             "\"name\":\"a\",\"actions\":[%s]}]}",
             (long long)(now_s() - ago_s), (long long)account, actions);
    return forged(payload, out);
}

/* A session of `owner` that opened `ago_s` ago. */
static void upload_start(const char *owner, int64_t ago_s, char id[OCI_UPLOAD_ID_SIZE + 1])
{
    char sql[200];

    const struct actor actor = {.owner = slice_of(owner)};

    DONE(storage_upload_start(world.fixture->store, SLICE("a"), DIGEST_SHA256, &actor, id,
                              &world.err));
    snprintf(sql, sizeof(sql), "UPDATE uploads SET started_at = started_at - %lld",
             (long long)ago_s * US_PER_S);
    script(world.fixture, sql);
}

static enum error_code upload_ask(struct slice header, const char *id)
{
    struct auth_request request = wants(ACTION_PUSH, "a", header);

    request.upload = slice_of(id);
    return ask(&request);
}

/* Spec: TOK-55. */
static void test_bearer_finishes_the_upload_it_began(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, fresh = BUFFER_NONE;
    char id[OCI_UPLOAD_ID_SIZE + 1], owner[UPLOAD_OWNER_MAX + 1];

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_USER);
    int64_t grant = grant_make("ana", "a", LEVEL_WRITE);
    user_token("ana", "repository:a:push", &fresh);
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&fresh)), ERROR_NONE);
    auth_upload_owner(world.answer.identity, owner);
    upload_start(owner, 7200, id);
    old_token(ana, "\"push\"", 3600, &header);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_NONE);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_NONE); /* each time anew */
    assert_int_equal(world.peeked, AUTH_ASK);
    OWNED(identity_drop) const struct identity *known = identity_hold(world.answer.identity);
    struct auth_request other = wants(ACTION_PUSH, "a", buffer_slice(&header));
    other.known = known; /* the connection may remember it: it was for that upload alone */
    assert_int_equal(ask(&other), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    old_token(ana, "\"pull\"", 3600, &header); /* could not push */
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    old_token(ana, "\"push\"", 7300, &header); /* expired before the session opened */
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    upload_start(owner, 14 * 3600, id);
    old_token(ana, "\"push\"", 12 * 3600 + 60, &header);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    old_token(ana, "\"push\"", 12 * 3600 - 60, &header);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_NONE);
    DONE(grant_delete(world.fixture->store, grant, 0, &TEST_EVENT, &world.err));
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
}

static void test_bearer_finishes_nobody_elses_upload(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char id[OCI_UPLOAD_ID_SIZE + 1];

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_ADMIN);
    user_make("root", ACCOUNT_ROLE_ADMIN);
    old_token(ana, "\"push\"", 3600, &header);
    upload_start("account:999", 7200, id);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    upload_start("", 7200, id);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    oci_upload_id_new(id);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    char owner[UPLOAD_OWNER_MAX + 1];
    snprintf(owner, sizeof(owner), "account:%lld", (long long)ana);
    upload_start(owner, 7200, id);
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_NONE);
    user_disable("ana");
    assert_int_equal(upload_ask(buffer_slice(&header), id), ERROR_UNAUTHORIZED);
}

/* --- other issuers --- */

static const char FOREIGN[] =
    "{\"iss\":\"https://issuer.test\",\"aud\":[\"x\",\"registry.test\"],\"sub\":\"eve\","
    "\"exp\":%lld,\"slipway\":{\"account\":1,\"token\":0},\"access\":[{\"type\":\"repository\","
    "\"name\":\"a\",\"actions\":[\"pull\"]},{\"type\":\"repository\",\"name\":\"b\","
    "\"actions\":[\"*\"]}]}";

static struct slice foreign_token(EVP_PKEY *pkey, const char *kid, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char payload[500], head[100];

    snprintf(payload, sizeof(payload), FOREIGN, (long long)now_s() + 60);
    snprintf(head, sizeof(head), "{\"alg\":\"ES256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", kid);
    jose_sign(JWT_ES256, pkey, slice_of(head), slice_of(payload), &token);
    buffer_append(&token, "", 1);
    return bearer(token.at, out);
}

static void trusted_write(EVP_PKEY *pkey, const char *kid)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;

    buffer_append_text(&set, "{\"keys\":[");
    jose_jwk(JWT_ES256, pkey, &set);
    buffer_print(&set, ",\"kid\":\"%s\"}]}", kid);
    file_write(world.trusted, buffer_slice(&set));
}

/* Spec: TOK-33, TOK-44. */
static void test_bearer_foreign(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    static const char *const issuers[] = {"https://issuer.test"};
    EVP_PKEY *first = jose_new(JWT_ES256), *second = jose_new(JWT_ES256);
    char owner[UPLOAD_OWNER_MAX + 1];

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN); /* account 1: it may not become her */
    trusted_write(first, "one");
    world.options.trusted_keys = world.trusted;
    world.options.issuers = issuers;
    world.options.issuer_count = 1;
    world_reopen();
    foreign_token(first, "one", &header);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_FOREIGN);
    assert_int_equal(world.answer.identity->account, 0);
    assert_string_equal(world.answer.identity->name, "eve");
    auth_upload_owner(world.answer.identity, owner);
    assert_string_equal(owner, "foreign:https://issuer.test eve");
    assert_int_equal(ask_for(ACTION_DELETE, "b", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PUSH, "a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    foreign_token(second, "one", &header);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    trusted_write(second, "two"); /* an unknown id has the file looked at */
    foreign_token(second, "two", &header);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    world.options.issuer_count = 0;
    world_reopen();
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
}

static void test_bearer_foreign_keys_that_went(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    static const char *const issuers[] = {"https://issuer.test"};
    EVP_PKEY *first = jose_new(JWT_ES256), *second = jose_new(JWT_ES256);

    (void)state;
    trusted_write(first, "one");
    world.options.trusted_keys = world.trusted;
    world.options.issuers = issuers;
    world.options.issuer_count = 1;
    world_reopen();
    foreign_token(first, "one", &header);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    file_write(world.trusted, SLICE("no json"));
    REFUSED(auth_reload(world.auth, true, &world.err), ERROR_UNAVAILABLE);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(unlink(world.trusted), 0);
    assert_int_equal(mkfifo(world.trusted, 0600), 0); /* nobody writes: it is not waited for */
    REFUSED(auth_reload(world.auth, true, &world.err), ERROR_UNAVAILABLE);
    assert_int_equal(unlink(world.trusted), 0);
    trusted_write(second, "two");
    DONE(auth_reload(world.auth, true, &world.err));
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token"); /* although it was remembered */
    EVP_PKEY_free(first);
    EVP_PKEY_free(second);
}

/* --- refresh tokens --- */

static struct auth_login refresh_with(struct slice secret)
{
    return (struct auth_login){.password = secret,
                               .remote = SLICE("192.0.2.1"),
                               .network = world.network,
                               .request_id = SLICE("id")};
}

/* A refresh token of ana, zero-terminated. */
static void refresh_get(struct buffer *out)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    const struct token_wish wish = {.scope = SLICE(""), .client = SLICE("docker"), .offline = true};

    assert_int_equal(ask_for(ACTION_TOKEN, NULL, basic("ana", PASSWORD, &header)), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    assert_int_equal(given.refresh.size, SECRET_TEXT_SIZE);
    out->size = 0;
    buffer_append_slice(out, buffer_slice(&given.refresh));
    buffer_append(out, "", 1);
    out->size--;
}

static int refresh(struct slice secret, bool offline, struct token_given *given)
{
    const struct auth_login login = refresh_with(secret);
    const struct token_wish wish = {.scope = SLICE("repository:a:pull"), .offline = offline};

    return auth_token_refresh(world.auth, &login, &wish, given, &world.err);
}

/* Spec: TOK-22, TOK-27, TOK-29, TOK-59, TOK-70. */
static void test_refresh(void **state)
{
    OWNED(buffer_drop) struct buffer secret = BUFFER_NONE, header = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    refresh_get(&secret);
    DONE(refresh(buffer_slice(&secret), false, &given));
    assert_int_equal(given.refresh.size, 0);
    buffer_append_text(&header, "Bearer ");
    buffer_append_slice(&header, buffer_slice(&given.token));
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    basic("<token>", secret.at, &header); /* a password of the token endpoint only */
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&header)), ERROR_NONE);
    assert_string_equal(world.answer.identity->name, "ana");
    assert_int_equal(world.answer.identity->token, 0);
    basic("ana", secret.at, &header);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    basic("bob", secret.at, &header);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_API_SIGNED_IN, NULL, bearer(secret.at, &header)),
                     ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_BASE, NULL, bearer(secret.at, &header)), ERROR_UNAUTHORIZED);
}

static void test_refresh_is_given_for_passwords_only(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    const struct token_wish wish = {.scope = SLICE(""), .offline = true};
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    token_make(user_make("ana", ACCOUNT_ROLE_USER), "repository:a:pull", secret);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, basic("ana", secret, &header)), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    assert_int_equal(given.refresh.size, 0);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, SLICE_NONE), ERROR_NONE);
    DONE(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err));
    assert_int_equal(given.refresh.size, 0);
}

static void test_refresh_rotates_and_notices_reuse(void **state)
{
    OWNED(buffer_drop) struct buffer secret = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given first = {.issued_at = 0}, again = {.issued_at = 0};

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    refresh_get(&secret);
    DONE(refresh(buffer_slice(&secret), true, &first));
    assert_int_equal(first.refresh.size, SECRET_TEXT_SIZE);
    DONE(refresh(buffer_slice(&secret), false, &again)); /* the answer may have been lost */
    script(world.fixture, "UPDATE tokens SET rotated_at = rotated_at - 61000000"
                          " WHERE rotated_at IS NOT NULL");
    REFUSED(refresh(buffer_slice(&secret), false, &again), ERROR_UNAUTHORIZED);
    REFUSED(refresh(buffer_slice(&first.refresh), false, &again), ERROR_UNAUTHORIZED);
    assert_int_equal(number(world.fixture, "SELECT COUNT(*) FROM tokens"), 0);
    assert_int_equal(
        number(world.fixture, "SELECT COUNT(*) FROM audit WHERE action = 'token.reused'"), 1);
}

static void test_refresh_ends(void **state)
{
    static const char *const ends[] = {
        "UPDATE tokens SET expires_at = 1",
        "UPDATE tokens SET disabled = 1",
        "UPDATE tokens SET service = 'other'",
        "UPDATE accounts SET disabled = 1",
    };

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    for (size_t i = 0; i < LENGTH(ends); i++) {
        OWNED(buffer_drop) struct buffer secret = BUFFER_NONE;
        OWNED(token_given_drop) struct token_given given = {.issued_at = 0};

        refresh_get(&secret);
        script(world.fixture, ends[i]);
        REFUSED(refresh(buffer_slice(&secret), false, &given), ERROR_UNAUTHORIZED);
        assert_int_equal(given.token.size, 0);
    }
}

/* Storage does not know the password file. Spec: TOK-28. */
static void test_refresh_ends_with_a_password_of_the_file(void **state)
{
    OWNED(buffer_drop) struct buffer secret = BUFFER_NONE, line = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};

    (void)state;
    buffer_print(&line, "ana:%s\n", PASSWORD_HASH);
    file_write(world.htpasswd, buffer_slice(&line));
    world.options.htpasswd_file = world.htpasswd;
    world_reopen();
    refresh_get(&secret);
    DONE(refresh(buffer_slice(&secret), false, &given));
    line.at[line.size - 2] ^= 1; /* another hash */
    file_write(world.htpasswd, buffer_slice(&line));
    DONE(auth_reload(world.auth, true, &world.err));
    REFUSED(refresh(buffer_slice(&secret), false, &given), ERROR_UNAUTHORIZED);
}

/* --- challenges --- */

static const struct {
    enum action action;
    const char *repository, *from, *fault;
    const char *header, *detail;
} CHALLENGES[] = {
    {ACTION_BASE, NULL, NULL, NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\"", ""},
    {ACTION_BASE, NULL, NULL, "invalid_token",
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "error=\"invalid_token\"",
     ""},
    {ACTION_PULL, "a/b", NULL, NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"repository:a/b:pull\"",
     "[{\"Type\":\"repository\",\"Class\":\"\",\"Name\":\"a/b\",\"Action\":\"pull\"}]"},
    {ACTION_PUSH, "a", NULL, NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"repository:a:pull,push\"",
     "[{\"Type\":\"repository\",\"Class\":\"\",\"Name\":\"a\",\"Action\":\"pull\"},"
     "{\"Type\":\"repository\",\"Class\":\"\",\"Name\":\"a\",\"Action\":\"push\"}]"},
    {ACTION_PUSH, "a", "b\",evil=\"", NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"repository:a:pull,push\"",
     NULL},
    {ACTION_PUSH, "a", "b", NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"repository:a:pull,push repository:b:pull\"",
     NULL},
    {ACTION_DELETE, "a", NULL, "insufficient_scope",
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"repository:a:delete\",error=\"insufficient_scope\"",
     NULL},
    {ACTION_CATALOG, NULL, NULL, NULL,
     "Bearer realm=\"http://registry.test:5000/token\",service=\"registry.test\","
     "scope=\"registry:catalog:*\"",
     "[{\"Type\":\"registry\",\"Class\":\"\",\"Name\":\"catalog\",\"Action\":\"*\"}]"},
    {ACTION_TOKEN, NULL, NULL, NULL, "Basic realm=\"slipway\"", ""},
    {ACTION_API_READ, "a", NULL, NULL, "Bearer realm=\"slipway\"", ""},
    {ACTION_API_READ, "a", NULL, "invalid_token",
     "Bearer realm=\"slipway\",error=\"invalid_token\"", ""},
};

static void challenge_check(const struct auth_request *request, const char *fault,
                            const char *header, const char *detail)
{
    OWNED(buffer_drop) struct buffer head = BUFFER_NONE, body = BUFFER_NONE;
    const struct auth_answer answer = {.fault = fault};

    auth_challenge(world.auth, request, &answer, &head, &body);
    if (!slice_equal_text(buffer_slice(&head), header))
        fail_msg("%.*s", SLICE_ARG(buffer_slice(&head)));
    if (detail != NULL && body.size != strlen(detail))
        fail_msg("%.*s", SLICE_ARG(buffer_slice(&body)));
    if (detail != NULL && detail[0] != 0)
        assert_true(slice_equal_text(buffer_slice(&body), detail));
}

/* Spec: TOK-01 to TOK-07, PING-04. */
static void test_challenge(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(CHALLENGES); i++) {
        struct auth_request request =
            wants(CHALLENGES[i].action, CHALLENGES[i].repository, SLICE_NONE);

        request.mount_from = slice_of(CHALLENGES[i].from);
        challenge_check(&request, CHALLENGES[i].fault, CHALLENGES[i].header, CHALLENGES[i].detail);
    }
}

static void test_challenge_by_settings(void **state)
{
    struct auth_request request = wants(ACTION_BASE, NULL, SLICE_NONE);

    (void)state;
    request.tls = true;
    challenge_check(&request, NULL,
                    "Bearer realm=\"https://registry.test:5000/token\",service=\"registry.test\"",
                    "");
    world.options.public_url = "https://public.test/";
    world_reopen();
    challenge_check(&request, NULL,
                    "Bearer realm=\"https://public.test/token\",service=\"registry.test\"", "");
    world.options.realm = "https://issuer.test/auth";
    world_reopen();
    challenge_check(&request, NULL,
                    "Bearer realm=\"https://issuer.test/auth\",service=\"registry.test\"", "");
    world.options.challenge_basic = true;
    world_reopen();
    challenge_check(&request, "invalid_token", "Basic realm=\"slipway\"", "");
}

/* --- keys --- */

/* Spec: TOK-49. */
static void test_keys_are_published(void **state)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE, other = BUFFER_NONE, header = BUFFER_NONE;
    char etag[17], changed[17];

    (void)state;
    auth_key_set(world.auth, &set, etag);
    assert_true(slice_starts(buffer_slice(&set), "{\"keys\":[{"));
    assert_int_equal(strlen(etag), 16);
    token_get(SLICE_NONE, "", &header);
    DONE(auth_key_rotate(world.auth, AUTH_KEYS_TOKENS, &world.err));
    auth_key_set(world.auth, &other, changed);
    assert_string_not_equal(etag, changed);
    world_reopen();
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
}

static void test_open_mode_has_no_tokens(void **state)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    const struct token_wish wish = {.scope = SLICE("")};
    char etag[17];

    (void)state;
    world.options.mode = AUTH_MODE_NONE;
    world_reopen();
    auth_key_set(world.auth, &set, etag);
    assert_int_equal(set.size, 0);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, SLICE_NONE), ERROR_NONE);
    REFUSED(auth_token_issue(world.auth, world.answer.identity, &wish, &given, &world.err),
            ERROR_UNSUPPORTED);
    REFUSED(refresh(SLICE("x"), false, &given), ERROR_UNSUPPORTED);
    DONE(auth_reload(world.auth, true, &world.err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_issue_grants_what_the_caller_may),
        AUTH_TEST(test_issue_claims),
        AUTH_TEST(test_issue_lives_a_minute_at_least),
        AUTH_TEST(test_issue_stays_short),
        AUTH_TEST(test_bearer_needs_what_the_request_needs),
        AUTH_TEST(test_bearer_loses_what_the_account_loses),
        AUTH_TEST(test_bearer_believes_what_is_consistent),
        AUTH_TEST(test_bearer_personal_token_is_of_the_account),
        AUTH_TEST(test_bearer_is_not_for_basic_mode),
        AUTH_TEST(test_bearer_anonymous),
        AUTH_TEST(test_bearer_anonymous_pushes_nothing),
        AUTH_TEST(test_bearer_catalog),
        AUTH_TEST(test_bearer_mounts),
        AUTH_TEST(test_bearer_finishes_the_upload_it_began),
        AUTH_TEST(test_bearer_finishes_nobody_elses_upload),
        AUTH_TEST(test_bearer_foreign),
        AUTH_TEST(test_bearer_foreign_keys_that_went),
        AUTH_TEST(test_refresh),
        AUTH_TEST(test_refresh_is_given_for_passwords_only),
        AUTH_TEST(test_refresh_rotates_and_notices_reuse),
        AUTH_TEST(test_refresh_ends),
        AUTH_TEST(test_refresh_ends_with_a_password_of_the_file),
        AUTH_TEST(test_challenge),
        AUTH_TEST(test_challenge_by_settings),
        AUTH_TEST(test_keys_are_published),
        AUTH_TEST(test_open_mode_has_no_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
