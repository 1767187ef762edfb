/* test_user.c - users of containers by the image's files. Spec: s2i 6.3, 12.4 */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"
#include "tests/support/unit.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "\n"
                             "broken\n"
                             "half:x:7\n"
                             "wrong:x:a:1::/w:\n"
                             "default:x:1001:0:App:/opt/app-root/src:/sbin/nologin\n"
                             "1002:x:0:0:trap:/root:/bin/sh\n"
                             "nohome:x:1003:1003::relative:\n"
                             "default:x:0:0:second:/root:/bin/sh\n"
                             "web:x:33:33:www:/var/www";
static const char group[] = "root:x:0:\n"
                            "wheel:x:10:root,default\n"
                            "web:x:33:\n"
                            "staff:x:50:web, default,other\n"
                            "bad:x:x:default\n"
                            "1004:x:0:\n";

static void test_user_find(void **state)
{
    static const struct {
        const char *wanted, *found; /* "uid:gid groups home"; NULL: refused */
    } cases[] = {
        {"", "0:0 10 /root"},
        {"0", "0:0 10 /root"},
        {"root", "0:0 10 /root"},
        {"default", "1001:0 10 50 /opt/app-root/src"},
        {"1001", "1001:0 10 50 /opt/app-root/src"},
        {"default:web", "1001:33 /opt/app-root/src"},
        {"default:1234", "1001:1234 /opt/app-root/src"},
        {"1001:0", "1001:0 /opt/app-root/src"},
        {"4711", "4711:0 -"},
        {"4711:staff", "4711:50 -"},
        {"4711:8", "4711:8 -"},
        {"1002", "1002:0 -"}, /* not the user of that name */
        {"33:1004", "33:1004 /var/www"},
        {"nohome", "1003:1003 -"},
        {"web", "33:33 50 /var/www"},
        {"web:", "33:33 50 /var/www"},
        {":web", "0:33 /root"},
        {"nobody", NULL},
        {"half", NULL},
        {"wrong", NULL},
        {"default:nogroup", NULL},
        {"default:bad", NULL},
        {"4294967296", NULL},
        {"2147483648", NULL},
        {"-1", NULL},
        {"0x1", NULL},
        {"1001 ", NULL},
        {"1:99999999999", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(container_user_drop) struct container_user user;
        struct buffer text = BUFFER_NONE;
        struct error err = {0};
        if (container_user_find(cases[i].wanted, slice_of(passwd), slice_of(group), &user, &err) <
            0) {
            if (cases[i].found != NULL)
                fail_msg("'%s': %s", cases[i].wanted, err.message);
            assert_int_equal(err.code, ERROR_INVALID);
            continue;
        }
        buffer_print(&text, "%u:%u", user.uid, user.gid);
        for (size_t g = 0; g < user.group_count; g++)
            buffer_print(&text, " %u", user.groups[g]);
        buffer_print(&text, " %s%c", user.home == NULL ? "-" : user.home, 0);
        if (cases[i].found == NULL || strcmp(text.at, cases[i].found) != 0)
            fail_msg("'%s' is %s", cases[i].wanted, text.at);
        buffer_drop(&text);
    }
}

static void test_user_without_files(void **state)
{
    struct container_user user;
    struct error err = {0};

    (void)state;
    assert_int_equal(container_user_find("1001", SLICE_NONE, SLICE_NONE, &user, &err), 0);
    assert_int_equal(user.uid, 1001);
    assert_int_equal(user.gid, 0);
    assert_null(user.home);
    assert_int_equal(container_user_find("app\n", SLICE_NONE, SLICE_NONE, &user, &err), -1);
    assert_null(strchr(err.message, '\n'));
}

static void test_user_of_many_groups(void **state)
{
    struct buffer text = BUFFER_NONE;
    struct container_user user;
    struct error err = {0};

    (void)state;
    for (int i = 0; i < 64; i++)
        buffer_print(&text, "g%d:x:%d:root\n", i, i + 100);
    assert_int_equal(
        container_user_find("root", SLICE("root:x:0:0::/:"), buffer_slice(&text), &user, &err), 0);
    assert_int_equal(user.group_count, 64);
    container_user_drop(&user);
    buffer_append_text(&text, "more:x:99:root");
    assert_int_equal(
        container_user_find("root", SLICE("root:x:0:0::/:"), buffer_slice(&text), &user, &err), -1);
    buffer_drop(&text);
}

/* Spec: s2i 12.4 */
static void test_user_allowed(void **state)
{
    static const struct {
        const char *allowed, *wanted;
        bool label, fine;
    } cases[] = {
        {NULL, "root", false, true},     {"", "root", false, true},
        {"1-", "1001", false, true},     {"1-", "1001:0", true, true},
        {"1-", "0", false, false},       {"1-", "", false, false},
        {"1-", "default", false, false}, {"1-", "root", true, false},
        {"1-", "0:1001", true, false},   {"1001", "1001", false, true},
        {"1001", "1002", true, false},   {"1-", "4294967297", false, false},
        {"rubbish", "5", false, false},  {"1-", "-5", false, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error err = {0};
        int outcome = container_user_allowed(cases[i].allowed, cases[i].wanted, cases[i].label,
                                             "builders/c", &err);
        if ((outcome == 0) != cases[i].fine)
            fail_msg("%s in %s: %d", cases[i].wanted, cases[i].allowed, outcome);
        if (outcome == 0)
            continue;
        assert_int_equal(err.code, ERROR_DENIED);
        assert_string_equal(
            err.message,
            cases[i].label
                ? "image builders/c includes the io.openshift.s2i.assemble-user label whose value "
                  "is not within the allowed range"
                : "image builders/c must specify a user that is numeric and within the range of "
                  "allowed users");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_user_find),
        cmocka_unit_test(test_user_without_files),
        cmocka_unit_test(test_user_of_many_groups),
        cmocka_unit_test(test_user_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
