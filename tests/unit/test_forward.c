/* test_forward.c - whom a proxy speaks for: addresses, the list of proxies, their headers. */
#include "registry/http/forward.h"

#include <string.h>

#include "tests/support/unit.h"

static void test_address_parse_accepts_addresses_and_ports_alone(void **state)
{
    static const struct {
        const char *text, *expected; /* NULL: refused */
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1:80", "192.0.2.1"},
        {"192.0.2.1:65535", "192.0.2.1"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:DB8:0::1", "2001:db8::1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"[2001:db8::1]:80", "2001:db8::1"},
        {"::ffff:192.0.2.1", "192.0.2.1"}, /* one client, one address */
        {"[::ffff:192.0.2.1]:80", "192.0.2.1"},
        {"", NULL},
        {"unknown", NULL},
        {"_hidden", NULL},
        {"slipway.test", NULL},
        {"192.0.2", NULL},
        {"192.0.2.1.1", NULL},
        {"192.0.2.256", NULL},
        {"192.0.2.1:", NULL},
        {"192.0.2.1:x", NULL},
        {"192.0.2.1:65536", NULL},
        {"192.0.2.1:000080", NULL},
        {"[192.0.2.1]", NULL},
        {"[2001:db8::1", NULL},
        {"[2001:db8::1]80", NULL},
        {"2001:db8::1%eth0", NULL},
        {"\"192.0.2.1\"", NULL},
        {"192.0.2.1 ", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct address address;
        char text[ADDRESS_TEXT_MAX];
        bool parsed = address_parse(slice_of(cases[i].text), &address);
        if (parsed != (cases[i].expected != NULL))
            fail_msg("%s", cases[i].text);
        if (!parsed)
            continue;
        address_text(&address, text);
        assert_string_equal(text, cases[i].expected);
    }
    struct address address;
    assert_false(address_parse(SLICE("192.0.2.1\0"), &address));
}

static void test_address_network_is_an_ipv4_address_or_a_64(void **state)
{
    uint8_t one[ADDRESS_NETWORK_SIZE], other[ADDRESS_NETWORK_SIZE];
    struct address address;

    (void)state;
    assert_true(address_parse(SLICE("192.0.2.1"), &address));
    address_network(&address, one);
    assert_memory_equal(one, "\xc0\x00\x02\x01\0\0\0\0", sizeof(one));
    assert_true(address_parse(SLICE("2001:db8:1:2::1"), &address));
    address_network(&address, one);
    assert_true(address_parse(SLICE("2001:db8:1:2:ffff::9"), &address));
    address_network(&address, other);
    assert_memory_equal(one, other, sizeof(one));
    assert_true(address_parse(SLICE("2001:db8:1:3::1"), &address));
    address_network(&address, other);
    assert_memory_not_equal(one, other, sizeof(one));
}

static void test_proxies_trust_what_is_listed(void **state)
{
    static const char *const entries[] = {"10.0.0.0/8", "192.0.2.1", "2001:db8:a000::/35",
                                          "::1/128"};
    static const struct {
        const char *address;
        bool trusted;
    } cases[] = {
        {"10.255.0.1", true},
        {"11.0.0.1", false},
        {"192.0.2.1", true},
        {"192.0.2.2", false},
        {"::ffff:10.1.2.3", true},
        {"::1", true},
        {"::2", false},
        {"2001:db8:bfff::1", true},
        {"2001:db8:c000::1", false},
        {"a00::", false}, /* the bytes of 10.0.0.0 */
        {"2001:db8:9fff:1::", false},
    };
    struct proxies *proxies;
    struct error err = {0};

    (void)state;
    assert_int_equal(proxies_open(&proxies, entries, LENGTH(entries), &err), 0);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct address address;
        assert_true(address_parse(slice_of(cases[i].address), &address));
        if (proxies_trust(proxies, &address) != cases[i].trusted)
            fail_msg("%s", cases[i].address);
    }
    assert_false(proxies_trust(proxies, &(struct address){.family = ADDRESS_UNIX}));
    proxies_close(proxies);

    static const char *const local[] = {"unix", "0.0.0.0/0"};
    struct address any;
    assert_int_equal(proxies_open(&proxies, local, LENGTH(local), &err), 0);
    assert_true(proxies_trust(proxies, &(struct address){.family = ADDRESS_UNIX}));
    assert_true(address_parse(SLICE("203.0.113.9"), &any) && proxies_trust(proxies, &any));
    assert_true(address_parse(SLICE("::1"), &any) && !proxies_trust(proxies, &any));
    proxies_close(proxies);
    assert_int_equal(proxies_open(&proxies, NULL, 0, &err), 0);
    assert_false(proxies_trust(proxies, &any));
    proxies_close(proxies);
    proxies_close(NULL);
}

static void test_proxies_open_names_the_entry_it_cannot_read(void **state)
{
    static const char *const wrong[] = {"",
                                        "localhost",
                                        "10.0.0.0/33",
                                        "10.0.0.0/",
                                        "10.0.0/8",
                                        "::/129",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/8/8",
                                        "unix:/run",
                                        "10.0.0.1:80",
                                        "[2001:db8::]",
                                        "10.0.0.0/0008",
                                        "::ffff:10.0.0.0/104"};

    (void)state;
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        const char *const entries[] = {"127.0.0.1", wrong[i]};
        struct proxies *proxies = NULL;
        struct error err = {0};
        if (proxies_open(&proxies, entries, 2, &err) == 0)
            fail_msg("%s", wrong[i]);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        assert_non_null(strstr(err.message, wrong[i]));
        assert_null(proxies);
    }
}

/* --- headers --- */

enum { LINES_MAX = 8 };

/* "name: value\n..." of a peer at 10.0.0.1; proxies are 10.0.0.0/8 and 2001:db8::/32. */
static const char *read_text(const char *text, struct forwarded *out, char client[ADDRESS_TEXT_MAX])
{
    static const char *const entries[] = {"10.0.0.0/8", "2001:db8::/32"};
    struct header headers[LINES_MAX];
    struct slice rest = slice_of(text), line;
    struct proxies *proxies;
    struct address peer;
    struct error err = {0};
    size_t count = 0;

    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        slice_split(line, ':', &headers[count].name, &headers[count].value);
        headers[count].value = slice_trim(headers[count].value);
        count++;
    }
    assert_int_equal(proxies_open(&proxies, entries, LENGTH(entries), &err), 0);
    assert_true(address_parse(SLICE("10.0.0.1"), &peer));
    const char *complaint = forward_read(proxies, &peer, headers, count, out);
    address_text(&out->client, client);
    proxies_close(proxies);
    return complaint;
}

static void test_forward_read_finds_the_client_from_the_right(void **state)
{
    static const struct {
        const char *headers, *client;
    } cases[] = {
        {"", "10.0.0.1"},
        {"x-forwarded-for: 203.0.113.9", "203.0.113.9"},
        {"x-forwarded-for: 203.0.113.9:4711", "203.0.113.9"},
        {"x-forwarded-for: 198.51.100.1, 203.0.113.9", "203.0.113.9"}, /* the left is hearsay */
        {"x-forwarded-for: 203.0.113.9,10.0.0.2", "203.0.113.9"},
        {"x-forwarded-for: 198.51.100.1, 203.0.113.9, 2001:db8::2, 10.0.0.3", "203.0.113.9"},
        {"x-forwarded-for: 10.0.0.9, 10.0.0.2", "10.0.0.9"}, /* a client of our own network */
        {"x-forwarded-for: 198.51.100.1\nx-forwarded-for: 203.0.113.9", "203.0.113.9"},
        {"x-forwarded-for: 203.0.113.9\nx-forwarded-for: 10.0.0.2", "203.0.113.9"},
        /* what is no address ends the walk at the proxy that wrote it */
        {"x-forwarded-for: unknown", "10.0.0.1"},
        {"x-forwarded-for: 203.0.113.9, unknown", "10.0.0.1"},
        {"x-forwarded-for: 203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"},
        {"x-forwarded-for: 203.0.113.9\nx-forwarded-for: unknown", "10.0.0.1"},
        {"x-forwarded-for:", "10.0.0.1"},
        {"x-forwarded-for: 203.0.113.9,", "10.0.0.1"},
        {"x-forwarded-for: unknown, 203.0.113.9", "203.0.113.9"},
        /* not read */
        {"forwarded: for=203.0.113.9", "10.0.0.1"},
        {"x-real-ip: 203.0.113.9", "10.0.0.1"},
        {"x-forwarded-fo: 203.0.113.9", "10.0.0.1"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct forwarded forwarded;
        char client[ADDRESS_TEXT_MAX];
        assert_null(read_text(cases[i].headers, &forwarded, client));
        if (strcmp(client, cases[i].client) != 0)
            fail_msg("%s: %s", cases[i].headers, client);
        assert_int_equal(forwarded.scheme, FORWARDED_UNSAID);
        assert_null(forwarded.host.at);
        assert_null(forwarded.request_id.at);
    }
}

static void test_forward_read_stops_after_many_hops(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char client[ADDRESS_TEXT_MAX];
    struct forwarded forwarded;

    (void)state;
    buffer_append_text(&text, "x-forwarded-for: 203.0.113.9");
    for (int i = 0; i < 31; i++)
        buffer_append_text(&text, ",10.0.0.2");
    buffer_append(&text, "", 1);
    assert_null(read_text(text.at, &forwarded, client));
    assert_string_equal(client, "203.0.113.9");
    text.size--;
    buffer_append(&text, ",10.0.0.3", sizeof(",10.0.0.3"));
    assert_null(read_text(text.at, &forwarded, client));
    assert_string_equal(client, "10.0.0.2");
}

static void test_forward_read_refuses_a_doubtful_scheme_or_host(void **state)
{
    static const struct {
        const char *headers;
        const char *complaint; /* NULL: accepted */
        enum forwarded_scheme scheme;
        const char *host;
    } cases[] = {
        {"x-forwarded-proto: https", NULL, FORWARDED_HTTPS, NULL},
        {"x-forwarded-proto: HTTP", NULL, FORWARDED_HTTP, NULL},
        {"x-forwarded-proto: https\nx-forwarded-proto: https", "Proto", 0, NULL},
        {"x-forwarded-proto: https\nx-forwarded-proto: http", "Proto", 0, NULL},
        {"x-forwarded-proto: https, http", "Proto", 0, NULL},
        {"x-forwarded-proto:", "Proto", 0, NULL},
        {"x-forwarded-proto: wss", "Proto", 0, NULL},
        {"x-forwarded-host: slipway.test", NULL, 0, "slipway.test"},
        {"x-forwarded-host: slipway.test:8443", NULL, 0, "slipway.test:8443"},
        {"x-forwarded-host: [2001:db8::1]:8443", NULL, 0, "[2001:db8::1]:8443"},
        {"x-forwarded-host: a.test\nx-forwarded-host: b.test", "Host", 0, NULL},
        {"x-forwarded-host: a.test, b.test", "Host", 0, NULL},
        {"x-forwarded-host: a.test/path", "Host", 0, NULL},
        {"x-forwarded-host: a\",b=\"c", "Host", 0, NULL},
        {"x-forwarded-host: user@a.test", "Host", 0, NULL},
        {"x-forwarded-host: a.test:99999", "Host", 0, NULL},
        {"x-forwarded-host: a.test:", "Host", 0, NULL},
        {"x-forwarded-host: [a.test]", "Host", 0, NULL},
        {"x-forwarded-host:", "Host", 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct forwarded forwarded;
        char client[ADDRESS_TEXT_MAX];
        const char *complaint = read_text(cases[i].headers, &forwarded, client);
        if ((complaint == NULL) != (cases[i].complaint == NULL))
            fail_msg("%s: %s", cases[i].headers, complaint);
        if (complaint != NULL) {
            assert_non_null(strstr(complaint, cases[i].complaint));
            continue;
        }
        assert_int_equal(forwarded.scheme, cases[i].scheme);
        assert_true(slice_equal(forwarded.host, slice_of(cases[i].host)));
    }
}

static void test_forward_read_takes_a_request_id_fit_for_a_log(void **state)
{
    static const struct {
        const char *headers, *id;
    } cases[] = {
        {"x-request-id: 0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"},
        {"x-request-id: Root=1-67891233-abcdef", "Root=1-67891233-abcdef"},
        {"x-request-id: 1234567890123456789012345678901234567890123456789012345678901234",
         "1234567890123456789012345678901234567890123456789012345678901234"},
        {"x-request-id: 12345678901234567890123456789012345678901234567890123456789012345", NULL},
        {"x-request-id: a b", NULL},
        {"x-request-id: a\"b", NULL},
        {"x-request-id: a\x1b[31m", NULL},
        {"x-request-id:", NULL},
        {"x-request-id: a\nx-request-id: b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct forwarded forwarded;
        char client[ADDRESS_TEXT_MAX];
        assert_null(read_text(cases[i].headers, &forwarded, client));
        if (!slice_equal(forwarded.request_id, slice_of(cases[i].id)))
            fail_msg("%s", cases[i].headers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_parse_accepts_addresses_and_ports_alone),
        cmocka_unit_test(test_address_network_is_an_ipv4_address_or_a_64),
        cmocka_unit_test(test_proxies_trust_what_is_listed),
        cmocka_unit_test(test_proxies_open_names_the_entry_it_cannot_read),
        cmocka_unit_test(test_forward_read_finds_the_client_from_the_right),
        cmocka_unit_test(test_forward_read_stops_after_many_hops),
        cmocka_unit_test(test_forward_read_refuses_a_doubtful_scheme_or_host),
        cmocka_unit_test(test_forward_read_takes_a_request_id_fit_for_a_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
