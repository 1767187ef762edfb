/* test_address.c - which addresses are the Internet's, and which ones settings let in. */
#include "s2i/source/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "s2i/source/resolve.h"
#include "tests/support/unit.h"

static const struct sockaddr *address_of(const char *text, struct sockaddr_storage *out)
{
    if (!source_address_parse(slice_of(text), out))
        fail_msg("%s is no address", text);
    return (const struct sockaddr *)out;
}

static void test_address_refusal(void **state)
{
    static const struct {
        const char *address, *refusal;
    } cases[] = {
        {"8.8.8.8", NULL},
        {"1.1.1.1", NULL},
        {"9.255.255.255", NULL},
        {"11.0.0.0", NULL},
        {"100.63.255.255", NULL},
        {"100.128.0.0", NULL},
        {"126.255.255.255", NULL},
        {"128.0.0.0", NULL},
        {"168.63.129.15", NULL},
        {"169.253.255.255", NULL},
        {"169.255.0.0", NULL},
        {"172.15.255.255", NULL},
        {"172.32.0.0", NULL},
        {"192.0.1.0", NULL},
        {"192.167.255.255", NULL},
        {"192.169.0.0", NULL},
        {"198.17.255.255", NULL},
        {"198.20.0.0", NULL},
        {"223.255.255.255", NULL},
        {"0.0.0.0", "an address of this network"},
        {"0.255.255.255", "an address of this network"},
        {"10.0.0.0", "a private address"},
        {"10.255.255.255", "a private address"},
        {"100.64.0.0", "a shared address"},
        {"100.100.100.200", "a shared address"},
        {"100.127.255.255", "a shared address"},
        {"127.0.0.1", "a loopback address"},
        {"127.255.255.255", "a loopback address"},
        {"168.63.129.16", "a metadata address"},
        {"169.254.0.0", "a link-local address"},
        {"169.254.169.254", "a link-local address"},
        {"172.16.0.0", "a private address"},
        {"172.31.255.255", "a private address"},
        {"192.0.0.192", "a reserved address"},
        {"192.0.2.1", "a documentation address"},
        {"192.88.99.1", "a reserved address"},
        {"192.168.0.0", "a private address"},
        {"192.168.255.255", "a private address"},
        {"198.18.0.1", "a benchmark address"},
        {"198.19.255.255", "a benchmark address"},
        {"198.51.100.7", "a documentation address"},
        {"203.0.113.7", "a documentation address"},
        {"224.0.0.1", "a multicast address"},
        {"239.255.255.255", "a multicast address"},
        {"240.0.0.1", "a reserved address"},
        {"255.255.255.255", "a reserved address"},
        {"2606:4700:4700::1111", NULL},
        {"2000::", NULL},
        {"3ffe::1", NULL},
        {"::", "a reserved address"},
        {"::1", "a loopback address"},
        {"::2", "a reserved address"},
        {"::127.0.0.1", "a reserved address"},
        {"::ffff:8.8.8.8", NULL},
        {"::ffff:127.0.0.1", "a loopback address"},
        {"::ffff:10.1.2.3", "a private address"},
        {"::ffff:169.254.169.254", "a link-local address"},
        {"64:ff9b::8.8.8.8", NULL},
        {"64:ff9b::127.0.0.1", "a loopback address"},
        {"64:ff9b::a9fe:a9fe", "a link-local address"},
        {"64:ff9b:1::1", "a reserved address"},
        {"100::1", "a reserved address"},
        {"2001::1", "a reserved address"},
        {"2001:10::1", "a reserved address"},
        {"2001:db8::1", "a documentation address"},
        {"2001:200::1", NULL},
        {"2002:7f00:1::", "a 6to4 address"},
        {"3fff::1", "a documentation address"},
        {"4000::", "a reserved address"},
        {"5f00::1", "a reserved address"},
        {"fc00::1", "a private address"},
        {"fd00:ec2::254", "a private address"},
        {"fe80::1", "a link-local address"},
        {"fec0::1", "a private address"},
        {"ff02::1", "a multicast address"},
    };
    struct sockaddr_storage address;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        const char *refusal = source_address_refusal(address_of(cases[i].address, &address));
        if (cases[i].refusal == NULL ? refusal != NULL
                                     : refusal == NULL || strcmp(refusal, cases[i].refusal) != 0)
            fail_msg("%s: %s", cases[i].address, refusal == NULL ? "allowed" : refusal);
    }
    address.ss_family = AF_UNIX;
    assert_non_null(source_address_refusal((const struct sockaddr *)&address));
}

static void test_address_parse_takes_no_other_form(void **state)
{
    static const char *const cases[] = {
        "",      "127.1",      "2130706433", "0x7f000001", "0177.0.0.1.", "127.0.0.1 ",
        "[::1]", "fe80::1%lo", "1.2.3.4.5",  "256.0.0.1",  "::ffff:1",    "localhost"};
    struct sockaddr_storage out;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_int_equal(source_address_parse(slice_of(cases[i]), &out),
                         strcmp(cases[i], "::ffff:1") == 0);
}

static void test_address_listed(void **state)
{
    static const struct {
        const char *address, *host, *item;
        bool listed;
    } cases[] = {
        {"10.1.2.3", "git.example.org", "git.example.org", true},
        {"10.1.2.3", "GIT.example.org", "git.Example.org", true},
        {"10.1.2.3", "agit.example.org", "git.example.org", false},
        {"10.1.2.3", "git.example.org", "*.example.org", true},
        {"10.1.2.3", "a.b.example.org", "*.example.org", true},
        {"10.1.2.3", "example.org", "*.example.org", false},
        {"10.1.2.3", "evilexample.org", "*.example.org", false},
        {"10.1.2.3", "x", "10.1.2.3", true},
        {"10.1.2.3", "x", "10.1.2.4", false},
        {"10.1.2.3", "x", "10.1.0.0/16", true},
        {"10.2.2.3", "x", "10.1.0.0/16", false},
        {"10.1.2.3", "x", "10.1.2.2/31", true},
        {"10.1.2.4", "x", "10.1.2.2/31", false},
        {"10.1.2.3", "x", "0.0.0.0/0", true},
        {"10.1.2.3", "x", "10.1.0.0/33", false},
        {"10.1.2.3", "x", "10.1.0.0/", false},
        {"::ffff:10.1.2.3", "x", "10.1.0.0/16", true},
        {"fd00::1", "x", "fd00::/8", true},
        {"fd00::1", "x", "0.0.0.0/0", false},
        {"::1", "x", "::1", true},
        {"127.0.0.1", "x", "::1", false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct sockaddr_storage address;
        struct s2i_list list = {0};
        s2i_list_add(&list, slice_of(cases[i].item));
        if (source_address_listed(address_of(cases[i].address, &address), slice_of(cases[i].host),
                                  &list) != cases[i].listed)
            fail_msg("%s of %s in %s", cases[i].address, cases[i].host, cases[i].item);
        s2i_list_drop(&list);
    }
}

/* One lookup; what it gave is what is pinned and what may be connected to. */
static void test_resolve_keeps_permitted_addresses(void **state)
{
    const struct patience patience = {source_now_ms() + 1000, -1};
    struct s2i_list allowed = {0};
    struct sockaddr_storage other;
    struct resolved resolved;
    struct error err = {0};
    OWNED(buffer_drop) struct buffer pin = BUFFER_NONE;

    (void)state;
    assert_int_equal(source_resolve_host("127.0.0.1", 443, &allowed, &patience, &resolved, &err),
                     -1);
    assert_int_equal(err.code, ERROR_INVALID);
    assert_non_null(strstr(err.message, "a loopback address"));
    error_clear(&err);
    assert_int_equal(source_resolve_host("::1", 443, NULL, &patience, &resolved, &err), -1);
    error_clear(&err);

    s2i_list_add(&allowed, SLICE("127.0.0.0/8"));
    assert_int_equal(source_resolve_host("127.0.0.1", 8443, &allowed, &patience, &resolved, &err),
                     0);
    assert_int_equal(resolved.count, 1);
    source_resolve_pin("git.example.org", 8443, &resolved, &pin);
    assert_true(slice_equal(buffer_slice(&pin), SLICE("git.example.org:8443:127.0.0.1")));
    assert_true(source_resolved_has(&resolved, (const struct sockaddr *)&resolved.addresses[0]));
    address_of("127.0.0.2", &other);
    ((struct sockaddr_in *)&other)->sin_port = htons(8443);
    assert_false(source_resolved_has(&resolved, (const struct sockaddr *)&other));
    s2i_list_drop(&allowed);

    pin.size = 0;
    assert_int_equal(
        source_resolve_host("2606:4700:4700::1111", 443, NULL, &patience, &resolved, &err), 0);
    source_resolve_pin("[2606:4700:4700::1111]", 443, &resolved, &pin);
    assert_true(slice_ends(buffer_slice(&pin), ":443:[2606:4700:4700::1111]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_refusal),
        cmocka_unit_test(test_address_parse_takes_no_other_form),
        cmocka_unit_test(test_address_listed),
        cmocka_unit_test(test_resolve_keeps_permitted_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
