/* test_account.c - the account parameter against the credentials it came with. */
#include "auth/auth.h"
#include "tests/support/unit.h"

/* Spec: TOK-13, TOK-58, TOK-64. */
static void test_account_must_be_who_the_credentials_are_of(void **state)
{
    static const struct identity nobody = {.kind = IDENTITY_ANONYMOUS, .name = ""},
                                 ana = {.kind = IDENTITY_ACCOUNT,
                                        .credential = CREDENTIAL_PASSWORD,
                                        .name = "ana"};
    static const struct {
        const struct identity *identity;
        const char *authorization, *account;
        bool fits;
    } cases[] = {
        {&ana, "Basic YW5hOng=", "ana", true},
        {&ana, "Basic YW5hOng=", "", true},
        {&ana, "Basic YW5hOng=", NULL, true},
        {&ana, "Basic YW5hOng=", "bob", false},
        {&ana, "Basic YW5hOng=", "an", false},
        {&ana, "Basic YW5hOng=", "Ana", false},
        {&ana, "Basic QVdTOng=", "AWS", true}, /* a token under a fixed name */
        {&ana, "Basic QVdTOng=", "ana", true},
        {&ana, "Bearer ana", "bob", false},
        {&ana, NULL, "bob", false},
        {&nobody, NULL, "bob", true}, /* a hint that gives nothing */
        {&nobody, "Basic Og==", "bob", true},
        {NULL, NULL, "bob", true},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_int_equal(auth_account_fits(cases[i].identity, slice_of(cases[i].authorization),
                                           slice_of(cases[i].account)),
                         cases[i].fits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_account_must_be_who_the_credentials_are_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
