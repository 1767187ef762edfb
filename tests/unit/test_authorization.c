/* test_authorization.c - the Authorization header and cookies, as tables. */
#include "auth/authorization.h"

#include <string.h>

#include "tests/support/unit.h"

/* Spec: TOK-58, TOK-60, TOK-71. */
static const struct {
    const char *header;
    enum authorization_kind kind;
    const char *name, *password, *token;
} HEADERS[] = {
    {NULL, AUTHORIZATION_NONE, NULL, NULL, NULL},
    {"Basic bWU6cHc=", AUTHORIZATION_BASIC, "me", "pw", NULL},
    {"basic bWU6cHc=", AUTHORIZATION_BASIC, "me", "pw", NULL},
    {"BASIC   bWU6cHc=", AUTHORIZATION_BASIC, "me", "pw", NULL},
    {"Basic bTpwOnE6", AUTHORIZATION_BASIC, "m", "p:q:", NULL},
    {"Basic bWU6", AUTHORIZATION_BASIC, "me", "", NULL},
    {"Basic OnB3", AUTHORIZATION_BASIC, "", "pw", NULL},
    {"Basic Og==", AUTHORIZATION_NONE, "", "", NULL},
    {"Basic asO8OsOk", AUTHORIZATION_BASIC, "j\xc3\xbc", "\xc3\xa4", NULL},
    {"Basic avw65A==", AUTHORIZATION_BASIC, "j\xfc", "\xe4", NULL},
    {"Basic Pj8/On4/", AUTHORIZATION_BASIC, ">??", "~?", NULL},
    {"Basic Ojo=", AUTHORIZATION_BASIC, "", ":", NULL},
    {"Basic", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic ", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic\tbWU6cHc=", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic bWU6cHc", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},   /* no padding */
    {"Basic bWU6cHd=", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},  /* spare bits */
    {"Basic Oh==", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},      /* spare bits */
    {"Basic bWU6cHc= ", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* more after it */
    {"Basic bWU6 cHc=", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic bWU6cHc=bWU6", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic bWU6cHc=, Basic", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic Pj8_On4_", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* of base64url */
    {"Basic bWVwdw==", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* no colon */
    {"Basic O===", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic ====", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Basic bWU6cABw", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* NUL */
    {"Basic bWU6cApw", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* line feed */
    {"Basic bWV/OnB3", AUTHORIZATION_MALFORMED, NULL, NULL, NULL}, /* delete */
    {"Bearer abc", AUTHORIZATION_BEARER, NULL, NULL, "abc"},
    {"bEARER  aZ0-._~+/==", AUTHORIZATION_BEARER, NULL, NULL, "aZ0-._~+/=="},
    {"Bearer", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer ", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer ==", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer a=b", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer a b", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer \"abc\"", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer a,b", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearer j\xc3\xbc", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Bearerabc", AUTHORIZATION_OTHER, NULL, NULL, NULL},
    {"Digest username=\"me\", realm=\"x\"", AUTHORIZATION_OTHER, NULL, NULL, NULL},
    {"Negotiate", AUTHORIZATION_OTHER, NULL, NULL, NULL},
    {"", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {" Basic bWU6cHc=", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
    {"Ba:sic bWU6cHc=", AUTHORIZATION_MALFORMED, NULL, NULL, NULL},
};

static void assert_slice(struct slice s, const char *expected)
{
    if (expected == NULL)
        assert_null(s.at);
    else
        assert_true(s.at != NULL && slice_equal_text(s, expected));
}

static void test_authorization_parse(void **state)
{
    struct authorization parsed;

    (void)state;
    for (size_t i = 0; i < LENGTH(HEADERS); i++) {
        memset(&parsed, 0xff, sizeof(parsed));
        authorization_parse(slice_of(HEADERS[i].header), &parsed);
        if (parsed.kind != HEADERS[i].kind)
            fail_msg("%s: %d", HEADERS[i].header, parsed.kind);
        assert_slice(parsed.name, HEADERS[i].name);
        assert_slice(parsed.password, HEADERS[i].password);
        assert_slice(parsed.token, HEADERS[i].token);
    }
}

/* Basic of `size` bytes, the second a colon. */
static enum authorization_kind kind_of_basic(size_t size, struct authorization *parsed)
{
    struct buffer header = BUFFER_NONE;

    assert_int_equal(size % 3, 0);
    buffer_append_text(&header, "Basic eDp4"); /* "x:x" */
    for (size_t i = 3; i < size; i += 3)
        buffer_append_text(&header, "eHh4"); /* "xxx" */
    authorization_parse(buffer_slice(&header), parsed);
    buffer_drop(&header);
    return parsed->kind;
}

static enum authorization_kind kind_of_bearer(size_t size)
{
    struct buffer header = BUFFER_NONE;
    struct authorization parsed;

    buffer_append_text(&header, "Bearer ");
    for (size_t i = 0; i < size; i++)
        buffer_append_text(&header, "x");
    authorization_parse(buffer_slice(&header), &parsed);
    buffer_drop(&header);
    return parsed.kind;
}

static void test_authorization_parse_keeps_to_its_limits(void **state)
{
    struct authorization parsed;

    (void)state;
    assert_int_equal(kind_of_basic(BASIC_MAX / 3 * 3, &parsed), AUTHORIZATION_BASIC);
    assert_int_equal(parsed.password.size, BASIC_MAX / 3 * 3 - 2);
    assert_int_equal(kind_of_basic(BASIC_MAX / 3 * 3 + 3, &parsed), AUTHORIZATION_MALFORMED);
    assert_int_equal(kind_of_bearer(BEARER_MAX), AUTHORIZATION_BEARER);
    assert_int_equal(kind_of_bearer(BEARER_MAX + 1), AUTHORIZATION_MALFORMED);
}

static void test_authorization_keeps_no_secret_behind(void **state)
{
    static const char zeros[BASIC_MAX];
    struct authorization parsed;

    (void)state;
    authorization_parse(SLICE("Basic bWU6cHc="), &parsed);
    authorization_wipe(&parsed);
    assert_memory_equal(parsed.basic, zeros, BASIC_MAX);
    assert_null(parsed.password.at);
    authorization_parse(SLICE("Basic bWU6cHc=bWU6"), &parsed); /* malformed after the secret */
    assert_memory_equal(parsed.basic, zeros, BASIC_MAX);
}

static void test_cookie_find(void **state)
{
    static const struct {
        const char *header, *value;
    } cases[] = {
        {"s=abc", "abc"},
        {"s=abc; t=x", "abc"},
        {"t=x; s=abc", "abc"},
        {"t=x; s=abc; u=y", "abc"},
        {"t=x;s=abc;", "abc"},
        {"  s=abc  ", "abc"},
        {"s=", ""},
        {"s=a=b=", "a=b="},
        {"s", NULL},
        {"", NULL},
        {NULL, NULL},
        {"ss=abc", NULL},
        {"S=abc", NULL},
        {"xs=abc; sx=abc", NULL},
        {"s =abc", NULL},
        {"t=s=abc", NULL},
        {"s=abc; s=abc", NULL},
        {"s=abc; t=x; s=def", NULL},
        {"s=; s=abc", NULL},
        {"s=\"abc\"", NULL},
        {"s=a b", NULL},
        {"s=a,b", NULL},
        {"s=a\\b", NULL},
        {"s=\xc3\xbc", NULL},
        {"s=a\tb", NULL},
        {"t=\"x; s=abc\"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_slice(cookie_find(slice_of(cases[i].header), "s"), cases[i].value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authorization_parse),
        cmocka_unit_test(test_authorization_parse_keeps_to_its_limits),
        cmocka_unit_test(test_authorization_keeps_no_secret_behind),
        cmocka_unit_test(test_cookie_find),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
