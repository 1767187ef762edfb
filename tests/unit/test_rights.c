/* test_rights.c - what each credential, role, right and scope reaches (pure). */
#include "auth/auth_internal.h"
#include "tests/support/unit.h"

/* What a credential of each kind looks like to the table, by role. */
static struct caller caller(enum credential credential, enum account_role role)
{
    struct caller made = {.public_pull = true};

    made.identity.kind = credential == CREDENTIAL_NONE     ? IDENTITY_ANONYMOUS
                         : credential == CREDENTIAL_SOCKET ? IDENTITY_LOCAL
                                                           : IDENTITY_ACCOUNT;
    made.identity.credential = credential;
    made.identity.role = role;
    return made;
}

static enum verdict verdict(const struct caller *caller, enum action action, unsigned rights)
{
    const struct auth_request request = {.action = action, .repository = SLICE("a/b")};

    return rights_verdict(caller, &request, rights, false);
}

/* --- which credential counts where: by hand --- */

/* granted, nobody is signed in, refused; by what is shown: nothing, password, personal token as
 * password and as Bearer, JWT, cookie, socket */
static const struct {
    enum action action;
    const char *expected;
} CREDENTIALS[] = {
    {ACTION_NONE, "ggggggg"},         {ACTION_TOKEN, "gggrrrr"},
    {ACTION_BASE, "nggrgrr"},         {ACTION_CATALOG, "nggrgrr"},
    {ACTION_PULL, "nggrgrr"},         {ACTION_PUSH, "nggrgrr"},
    {ACTION_DELETE, "nggrgrr"},       {ACTION_API_PUBLIC, "ggggrgg"},
    {ACTION_GIT_PULL, "nggrrrr"},     {ACTION_GIT_PUSH, "nggrrrr"},
    {ACTION_HOOK, "ggggggg"},         {ACTION_API_SIGNED_IN, "ngggrgg"},
    {ACTION_API_READ, "ngggrgg"},     {ACTION_API_PUSH, "ngggrgg"},
    {ACTION_API_DELETE, "ngggrgg"},   {ACTION_API_MANAGE, "ngggrgg"},
    {ACTION_API_ACCOUNTS, "ngggrgg"}, {ACTION_API_AUDIT, "ngggrgg"},
    {ACTION_API_SYSTEM, "ngggrgg"},
};

static char letter(enum verdict verdict)
{
    return verdict == VERDICT_GRANTED   ? 'g'
           : verdict == VERDICT_NOBODY  ? 'n'
           : verdict == VERDICT_REFUSED ? 'r'
                                        : '?';
}

/* Spec: AUTHZ-01. */
static void test_rights_count_credentials(void **state)
{
    static const enum credential shown[] = {
        CREDENTIAL_NONE, CREDENTIAL_PASSWORD, CREDENTIAL_TOKEN, CREDENTIAL_TOKEN,
        CREDENTIAL_JWT,  CREDENTIAL_COOKIE,   CREDENTIAL_SOCKET};

    (void)state;
    assert_int_equal(LENGTH(CREDENTIALS), ACTION_COUNT);
    for (size_t i = 0; i < LENGTH(CREDENTIALS); i++) {
        for (size_t k = 0; k < LENGTH(shown); k++) {
            struct caller who = caller(shown[k], ACCOUNT_ROLE_ADMIN);

            who.bearer = k == 3;
            who.catalog_named = true;
            if (letter(verdict(&who, CREDENTIALS[i].action, LEVEL_ADMIN)) !=
                CREDENTIALS[i].expected[k])
                fail_msg("action %zu, credential %zu", i, k);
        }
        assert_int_equal(
            verdict(caller_lasting(IDENTITY_OPEN, true), CREDENTIALS[i].action, LEVEL_ADMIN),
            VERDICT_GRANTED);
    }
}

/* --- rights and roles --- */

static const struct {
    enum action action;
    unsigned rights;
    enum account_role role;
    enum verdict expected;
} NEEDS[] = {
    {ACTION_BASE, 0, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_CATALOG, 0, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_PULL, RIGHT_PULL, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_PULL, LEVEL_ADMIN & ~RIGHT_PULL, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_PUSH, RIGHT_PUSH, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_PUSH, LEVEL_ADMIN & ~RIGHT_PUSH, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_DELETE, RIGHT_DELETE, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_DELETE, LEVEL_ADMIN & ~RIGHT_DELETE, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_SIGNED_IN, 0, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_API_READ, RIGHT_PULL, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_API_READ, RIGHT_PUSH, ACCOUNT_ROLE_USER, VERDICT_HIDDEN},
    {ACTION_API_PUSH, LEVEL_WRITE, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_API_PUSH, LEVEL_READ, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_PUSH, RIGHT_DELETE, ACCOUNT_ROLE_USER, VERDICT_HIDDEN},
    {ACTION_API_DELETE, LEVEL_MAINTAIN, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_API_DELETE, LEVEL_WRITE, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_DELETE, RIGHT_PUSH, ACCOUNT_ROLE_USER, VERDICT_HIDDEN},
    {ACTION_API_MANAGE, RIGHT_ADMIN, ACCOUNT_ROLE_USER, VERDICT_GRANTED},
    {ACTION_API_MANAGE, LEVEL_MAINTAIN, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_MANAGE, RIGHT_PUSH, ACCOUNT_ROLE_USER, VERDICT_HIDDEN},
    {ACTION_API_ACCOUNTS, LEVEL_ADMIN, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_ACCOUNTS, LEVEL_ADMIN, ACCOUNT_ROLE_OPERATOR, VERDICT_LACKING},
    {ACTION_API_ACCOUNTS, LEVEL_ADMIN, ACCOUNT_ROLE_AUDITOR, VERDICT_LACKING},
    {ACTION_API_ACCOUNTS, 0, ACCOUNT_ROLE_ADMIN, VERDICT_GRANTED},
    {ACTION_API_AUDIT, LEVEL_ADMIN, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_AUDIT, LEVEL_ADMIN, ACCOUNT_ROLE_OPERATOR, VERDICT_LACKING},
    {ACTION_API_AUDIT, 0, ACCOUNT_ROLE_AUDITOR, VERDICT_GRANTED},
    {ACTION_API_AUDIT, 0, ACCOUNT_ROLE_ADMIN, VERDICT_GRANTED},
    {ACTION_API_SYSTEM, LEVEL_ADMIN, ACCOUNT_ROLE_USER, VERDICT_LACKING},
    {ACTION_API_SYSTEM, LEVEL_ADMIN, ACCOUNT_ROLE_AUDITOR, VERDICT_LACKING},
    {ACTION_API_SYSTEM, 0, ACCOUNT_ROLE_OPERATOR, VERDICT_GRANTED},
    {ACTION_API_SYSTEM, 0, ACCOUNT_ROLE_ADMIN, VERDICT_GRANTED},
};

static void test_rights_need_exactly_one_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(NEEDS); i++) {
        const struct caller who = caller(CREDENTIAL_PASSWORD, NEEDS[i].role);

        if (verdict(&who, NEEDS[i].action, NEEDS[i].rights) != NEEDS[i].expected)
            fail_msg("row %zu", i);
    }
}

/* Spec: AUTHZ-02. */
static void test_rights_push_may_look_with_head(void **state)
{
    const struct caller who = caller(CREDENTIAL_JWT, ACCOUNT_ROLE_USER);
    struct auth_request request = {.action = ACTION_PULL, .repository = SLICE("a/b")};

    (void)state;
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_LACKING);
    request.head = true;
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_GRANTED);
    assert_int_equal(rights_verdict(&who, &request, RIGHT_DELETE, false), VERDICT_LACKING);
    request.action = ACTION_DELETE;
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_LACKING);
}

static void test_rights_nobody_pulls_only_where_it_is_meant(void **state)
{
    const struct caller nobody = caller(CREDENTIAL_NONE, ACCOUNT_ROLE_USER);

    (void)state;
    for (enum action action = ACTION_BASE; action < ACTION_COUNT; action++) {
        const struct auth_request request = {.action = action, .repository = SLICE("a/b")};
        bool may = action == ACTION_PULL || action == ACTION_API_READ || action == ACTION_GIT_PULL;

        if (action == ACTION_API_PUBLIC || action == ACTION_HOOK)
            continue;
        assert_int_equal(rights_verdict(&nobody, &request, RIGHT_PULL, true),
                         may ? VERDICT_GRANTED : VERDICT_NOBODY);
        assert_int_equal(rights_verdict(&nobody, &request, RIGHT_PULL, false), VERDICT_NOBODY);
        assert_int_equal(rights_verdict(&nobody, &request, 0, true), VERDICT_NOBODY);
    }
}

/* A token that is narrowed to repositories reads of the API what it may pull, and nothing else. */
static void test_rights_narrowed_tokens_need_the_api(void **state)
{
    (void)state;
    for (enum action action = ACTION_API_SIGNED_IN; action < ACTION_COUNT; action++) {
        struct caller who = caller(CREDENTIAL_TOKEN, ACCOUNT_ROLE_ADMIN);

        who.narrowed = true;
        assert_int_equal(verdict(&who, action, LEVEL_ADMIN),
                         action == ACTION_API_READ ? VERDICT_GRANTED : VERDICT_LACKING);
        who.api = true;
        assert_int_equal(verdict(&who, action, LEVEL_ADMIN), VERDICT_GRANTED);
    }
}

/* Spec: TOK-51. */
static void test_rights_mounts_name_their_source(void **state)
{
    struct access access[] = {{SLICE("a/b"), RIGHT_PUSH}, {SLICE("c/d"), 0}};
    struct caller who = caller(CREDENTIAL_JWT, ACCOUNT_ROLE_USER);
    struct auth_request request = {
        .action = ACTION_PUSH, .repository = SLICE("a/b"), .mount_from = SLICE("c/d")};

    (void)state;
    who.access = access;
    who.access_count = 2;
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_GRANTED);
    request.mount_from = SLICE("e/f");
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_UNNAMED);
    assert_int_equal(rights_verdict(&who, &request, 0, false), VERDICT_LACKING);
    who.identity.credential = CREDENTIAL_PASSWORD;
    assert_int_equal(rights_verdict(&who, &request, RIGHT_PUSH, false), VERDICT_GRANTED);
}

static void test_rights_catalog_is_named_by_jwts(void **state)
{
    struct caller who = caller(CREDENTIAL_JWT, ACCOUNT_ROLE_USER);

    (void)state;
    assert_int_equal(verdict(&who, ACTION_CATALOG, 0), VERDICT_LACKING);
    who.catalog_named = true;
    assert_int_equal(verdict(&who, ACTION_CATALOG, 0), VERDICT_GRANTED);
}

/* --- rights on repositories --- */

static struct rule GRANTS[] = {
    {{"team/*", 6}, RIGHT_PULL | RIGHT_PUSH}, {{"team/app", 8}, RIGHT_DELETE}, {{"x", 1}, 8}};
static struct rule SCOPES[] = {{{"team/*", 6}, RIGHT_PULL}, {{"y", 1}, LEVEL_ADMIN}};

static const struct {
    enum account_role role;
    bool narrowed;
    const char *repository;
    bool public;
    unsigned expected;
} ON[] = {
    {ACCOUNT_ROLE_USER, false, "other", false, 0},
    {ACCOUNT_ROLE_USER, false, "other", true, RIGHT_PULL},
    {ACCOUNT_ROLE_USER, false, "team/web", false, RIGHT_PULL | RIGHT_PUSH},
    {ACCOUNT_ROLE_USER, false, "team/app", false, LEVEL_MAINTAIN},
    {ACCOUNT_ROLE_USER, false, "team", false, 0},
    {ACCOUNT_ROLE_USER, false, "teams/app", false, 0},
    {ACCOUNT_ROLE_USER, false, "x", false, RIGHT_ADMIN},
    {ACCOUNT_ROLE_USER, true, "team/app", false, RIGHT_PULL},
    {ACCOUNT_ROLE_USER, true, "x", true, 0},
    {ACCOUNT_ROLE_USER, true, "y", false, 0},
    {ACCOUNT_ROLE_USER, true, "y", true, RIGHT_PULL},
    {ACCOUNT_ROLE_OPERATOR, false, "other", false, 0},
    {ACCOUNT_ROLE_OPERATOR, false, "team/web", false, RIGHT_PULL | RIGHT_PUSH},
    {ACCOUNT_ROLE_AUDITOR, false, "other", false, RIGHT_PULL},
    {ACCOUNT_ROLE_AUDITOR, true, "other", false, 0},
    {ACCOUNT_ROLE_ADMIN, false, "other", false, LEVEL_ADMIN},
    {ACCOUNT_ROLE_ADMIN, true, "other", true, 0},
    {ACCOUNT_ROLE_ADMIN, true, "team/web", false, RIGHT_PULL},
    {ACCOUNT_ROLE_ADMIN, true, "y", false, LEVEL_ADMIN},
};

static void test_rights_add_up_and_tokens_take_away(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(ON); i++) {
        struct caller who = caller(CREDENTIAL_PASSWORD, ON[i].role);

        who.grants = GRANTS;
        who.grant_count = LENGTH(GRANTS);
        who.narrowed = ON[i].narrowed;
        who.scopes = SCOPES;
        who.scope_count = LENGTH(SCOPES);
        if (rights_on(&who, slice_of(ON[i].repository), ON[i].public) != ON[i].expected)
            fail_msg("row %zu: %u", i, rights_on(&who, slice_of(ON[i].repository), ON[i].public));
    }
}

static void test_rights_of_jwts_are_what_stands_in_them(void **state)
{
    struct access access[] = {
        {SLICE("a"), RIGHT_PULL}, {SLICE("a/b"), RIGHT_PUSH}, {SLICE("b"), 0}};
    struct caller who = caller(CREDENTIAL_JWT, ACCOUNT_ROLE_ADMIN);

    (void)state;
    who.access = access;
    who.access_count = LENGTH(access);
    assert_int_equal(rights_on(&who, SLICE("a"), true), RIGHT_PULL);
    assert_int_equal(rights_on(&who, SLICE("a/b"), true), RIGHT_PUSH);
    assert_int_equal(rights_on(&who, SLICE("b"), true), 0);
    assert_int_equal(rights_on(&who, SLICE("c"), true), 0);
    assert_int_equal(rights_below(&who, SLICE("*")), 0);
    assert_non_null(rights_access(&who, SLICE("b")));
    assert_null(rights_access(&who, SLICE("c")));
}

static void test_rights_below_a_pattern_are_those_on_all_of_it(void **state)
{
    struct caller who = caller(CREDENTIAL_PASSWORD, ACCOUNT_ROLE_USER);

    (void)state;
    who.grants = GRANTS;
    who.grant_count = LENGTH(GRANTS);
    assert_int_equal(rights_below(&who, SLICE("team/*")), LEVEL_WRITE);
    assert_int_equal(rights_below(&who, SLICE("team/a/*")), LEVEL_WRITE);
    assert_int_equal(rights_below(&who, SLICE("*")), 0);
    who.identity.role = ACCOUNT_ROLE_AUDITOR;
    assert_int_equal(rights_below(&who, SLICE("*")), RIGHT_PULL);
    who.narrowed = true;
    who.scopes = SCOPES;
    who.scope_count = LENGTH(SCOPES);
    assert_int_equal(rights_below(&who, SLICE("*")), 0);
    assert_int_equal(rights_below(&who, SLICE("team/a")), RIGHT_PULL);
}

/* --- scopes of personal tokens --- */

static const struct {
    const char *text, *canonical; /* NULL: refused */
} SCOPE_TEXTS[] = {
    {"", ""},
    {"api", "api"},
    {"repository:a/b:pull", "repository:a/b:pull"},
    {" repository:b:push,pull  api repository:a/*:pull",
     "api repository:a/*:pull repository:b:pull,push"},
    {"repository:a:pull repository:a:delete", "repository:a:pull,delete"},
    {"repository:*:*", "repository:*:*"},
    {"repository:a:*,pull", "repository:a:*"},
    {"repository:a:", NULL},
    {"repository:a", NULL},
    {"repository::pull", NULL},
    {"repository:A:pull", NULL},
    {"repository:a/*/b:pull", NULL},
    {"repository:a:pull,", NULL},
    {"repository:a:admin", NULL},
    {"repository:a:pull:push", NULL},
    {"registry:catalog:*", NULL},
    {"API", NULL},
    {"api\trepository:a:pull", NULL},
};

/* Spec: TOK-65. */
static void test_narrow_scopes(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(SCOPE_TEXTS); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        struct error err = {0};
        int outcome = auth_token_scopes_check(slice_of(SCOPE_TEXTS[i].text), &out, &err);

        if (SCOPE_TEXTS[i].canonical == NULL) {
            assert_int_equal(outcome, -1);
            assert_int_equal(err.code, ERROR_INVALID);
            continue;
        }
        assert_int_equal(outcome, 0);
        if (!slice_equal_text(buffer_slice(&out), SCOPE_TEXTS[i].canonical))
            fail_msg("%s: %.*s", SCOPE_TEXTS[i].text, SLICE_ARG(buffer_slice(&out)));
    }
}

static void test_narrow_scopes_are_bounded(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, out = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    for (int i = 0; i < 64; i++)
        buffer_print(&text, "repository:a%d:pull ", i);
    assert_int_equal(auth_token_scopes_check(buffer_slice(&text), &out, &err), 0);
    buffer_append_text(&text, "repository:b:pull");
    assert_int_equal(auth_token_scopes_check(buffer_slice(&text), &out, &err), -1);
}

static const struct {
    const char *scopes;
    bool within;
} WITHIN[] = {
    {"", false},
    {"api", false},
    {"repository:team/*:pull", true},
    {"repository:team/a:pull", true},
    {"repository:team/a:pull,push", false},
    {"repository:*:pull", false},
    {"repository:y:*", true},
    {"repository:y:* repository:z:pull", false},
    {"nonsense", false},
};

static void test_narrow_tokens_make_no_wider_ones(void **state)
{
    struct caller who = caller(CREDENTIAL_TOKEN, ACCOUNT_ROLE_ADMIN);

    (void)state;
    assert_true(auth_token_scopes_within(&who.identity, SLICE("")));
    who.narrowed = true;
    who.scopes = SCOPES;
    who.scope_count = LENGTH(SCOPES);
    for (size_t i = 0; i < LENGTH(WITHIN); i++)
        if (auth_token_scopes_within(&who.identity, slice_of(WITHIN[i].scopes)) != WITHIN[i].within)
            fail_msg("%s", WITHIN[i].scopes);
    who.api = true;
    assert_true(auth_token_scopes_within(&who.identity, SLICE("api")));
    assert_false(auth_token_scopes_within(&who.identity, SLICE("")));
}

static const struct {
    const char *name;
    bool valid;
} NAMES[] = {
    {"a", true},     {"ana", true},    {"ci-robot", true}, {"a.b", true},      {"a__b", true},
    {"a---b", true}, {"0", true},      {"", false},        {"local", false},   {"Ana", false},
    {"a..b", false}, {"a___b", false}, {"-a", false},      {"a-", false},      {"a b", false},
    {"a/b", false},  {"a:b", false},   {"a._b", false},    {"<token>", false},
};

static void test_account_names(void **state)
{
    char longest[66];

    (void)state;
    for (size_t i = 0; i < LENGTH(NAMES); i++)
        if (auth_account_name_valid(slice_of(NAMES[i].name)) != NAMES[i].valid)
            fail_msg("%s", NAMES[i].name);
    memset(longest, 'a', sizeof(longest));
    assert_true(auth_account_name_valid((struct slice){longest, 64}));
    assert_false(auth_account_name_valid((struct slice){longest, 65}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights_count_credentials),
        cmocka_unit_test(test_rights_need_exactly_one_right),
        cmocka_unit_test(test_rights_push_may_look_with_head),
        cmocka_unit_test(test_rights_nobody_pulls_only_where_it_is_meant),
        cmocka_unit_test(test_rights_narrowed_tokens_need_the_api),
        cmocka_unit_test(test_rights_mounts_name_their_source),
        cmocka_unit_test(test_rights_catalog_is_named_by_jwts),
        cmocka_unit_test(test_rights_add_up_and_tokens_take_away),
        cmocka_unit_test(test_rights_of_jwts_are_what_stands_in_them),
        cmocka_unit_test(test_rights_below_a_pattern_are_those_on_all_of_it),
        cmocka_unit_test(test_narrow_scopes),
        cmocka_unit_test(test_narrow_scopes_are_bounded),
        cmocka_unit_test(test_narrow_tokens_make_no_wider_ones),
        cmocka_unit_test(test_account_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
