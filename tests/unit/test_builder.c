/* test_builder.c - a builder's parts that need no container: paths inside a root, the proxy's
 * rules, packages, the setup of workers. Containers: tests/s2i/test_builder.py. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "registry/core/json.h"
#include "s2i/builder/proxy.h"
#include "s2i/builder/steps.h"
#include "tests/support/unit.h"

/* --- a root, with a world around it --- */

static char world[] = "/tmp/test_builder_XXXXXX";
static int root, outside;

static void put(int folder, const char *name, const char *text)
{
    OWNED(fd_drop) int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

    assert_true(fd >= 0 && fd_write(fd, slice_of(text)) == 0);
}

static int make_world(void **state)
{
    (void)state;
    if (mkdtemp(world) == NULL)
        return -1;
    outside = open(world, O_RDONLY | O_DIRECTORY);
    if (mkdirat(outside, "root", 0755) < 0 || mkdirat(outside, "root/etc", 0755) < 0)
        return -1;
    root = openat(outside, "root", O_RDONLY | O_DIRECTORY);
    put(outside, "secret", "secret");
    put(root, "etc/file", "content");
    return symlinkat("../../secret", root, "etc/up") < 0 ||
                   symlinkat(world, root, "absolute") < 0 ||
                   symlinkat("/etc/file", root, "inside") < 0 ||
                   symlinkat("/proc/self/root", root, "magic") < 0 ||
                   mkfifoat(root, "fifo", 0644) < 0
               ? -1
               : 0;
}

static int end_world(void **state)
{
    (void)state;
    int done = folder_erase(outside, "root");
    unlinkat(outside, "secret", 0);
    close(root);
    close(outside);
    return done < 0 ? done : rmdir(world);
}

static void test_tree_read_stays_inside(void **state)
{
    static const struct {
        const char *path;
        int found;
    } cases[] = {{"/etc/file", 1},    {"etc/file", 1},       {"inside", 1},
                 {"/../etc/file", 1}, {"etc/up", 0},         {"absolute/secret", 0},
                 {"/absolute", 0},    {"../secret", 0},      {"magic/etc/hostname", 0},
                 {"none", 0},         {"etc/file/below", 0}, {"fifo", -1},
                 {"etc", -1}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        int found = tree_read(root, cases[i].path, 100, &text);
        if (found != cases[i].found)
            fail_msg("%s: %d", cases[i].path, found);
        if (found == 1)
            assert_true(slice_equal_text(buffer_slice(&text), "content"));
        assert_int_equal(tree_has(root, cases[i].path), found == 1);
    }
}

static void test_tree_read_has_a_limit(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    assert_int_equal(tree_read(root, "etc/file", 6, &text), -1);
}

static void test_tree_folder_makes_inside(void **state)
{
    const struct tree_owner owner = {getuid(), getgid()};
    struct stat about;

    (void)state;
    OWNED(fd_drop) int made = tree_folder(root, "/a//b/./c/", &owner);
    assert_true(made >= 0);
    assert_int_equal(fstatat(root, "a/b/c", &about, 0), 0);
    assert_int_equal(about.st_mode & 07777, 0755);
    /* a way that leads out is made inside, or not at all */
    OWNED(fd_drop) int out = tree_folder(root, "absolute/x", &owner);
    assert_true(out >= -1);
    assert_int_equal(faccessat(outside, "x", F_OK, 0), -1);
    assert_int_equal(tree_folder(root, "a/../../x", &owner), -1);
    assert_int_equal(tree_folder(root, "etc/file/x", &owner), -1);
}

static void test_tree_write_replaces_links(void **state)
{
    const struct tree_owner owner = {getuid(), getgid()};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop) int etc = openat(root, "etc", O_RDONLY | O_DIRECTORY);

    (void)state;
    assert_int_equal(symlinkat("../../secret", etc, "target"), 0);
    assert_int_equal(tree_write(etc, "target", SLICE("new"), 0755, &owner), 0);
    assert_int_equal(tree_read(root, "etc/target", 10, &text), 1);
    assert_true(slice_equal_text(buffer_slice(&text), "new"));
    text.size = 0;
    assert_int_equal(tree_read(outside, "secret", 10, &text), 1);
    assert_true(slice_equal_text(buffer_slice(&text), "secret"));
}

static void test_tree_path_clean(void **state)
{
    static const struct {
        const char *given, *clean; /* NULL: refused */
    } cases[] = {{"", ""},
                 {"/", ""},
                 {"/a", "a"},
                 {"a/b", "a/b"},
                 {"//a//b//", "a/b"},
                 {"./a/.", "a"},
                 {"..", NULL},
                 {"a/../b", NULL},
                 {"a/..", NULL},
                 {"...", "..."},
                 {"a..b", "a..b"},
                 {"/12345678901234", NULL},
                 {"/1234567/90123", "1234567/90123"}};
    char out[15];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        bool clean = tree_path_clean(cases[i].given, out, sizeof(out));
        if (clean != (cases[i].clean != NULL) || (clean && strcmp(out, cases[i].clean) != 0))
            fail_msg("'%s': %s", cases[i].given, clean ? out : "refused");
    }
}

/* --- the proxy --- */

static void test_proxy_parse(void **state)
{
    static const struct {
        const char *head;
        int status;
        const char *host, *port;
    } cases[] = {
        {"CONNECT example.org:443 HTTP/1.1\r\n\r\n", 200, "example.org", "443"},
        {"CONNECT EXAMPLE.org:0443 HTTP/1.0\r\nHost: x\r\n\r\n", 200, "example.org", "443"},
        {"CONNECT [2001:DB8::1]:8443 HTTP/1.1\r\n\r\n", 200, "2001:db8::1", "8443"},
        {"CONNECT 2001:db8::1:443 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT :443 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org:0 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org:65536 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org:https HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT exa*mple.org:443 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT user@example.org:443 HTTP/1.1\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org:443\r\n\r\n", 400, NULL, NULL},
        {"CONNECT example.org:443 HTTP/2\r\n\r\n", 400, NULL, NULL},
        {"GET http://example.org/ HTTP/1.1\r\n\r\n", 405, NULL, NULL},
        {"\r\n\r\n", 400, NULL, NULL},
        {"", 400, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct proxy_target target;
        int status = proxy_parse(slice_of(cases[i].head), &target);
        if (status != cases[i].status)
            fail_msg("%s: %d", cases[i].head, status);
        if (status != 200)
            continue;
        assert_string_equal(target.host, cases[i].host);
        assert_string_equal(target.port, cases[i].port);
    }
}

static void test_proxy_allows(void **state)
{
    static const struct {
        const char *pattern, *host, *port;
        bool allowed, exact;
    } cases[] = {
        {"example.org:443", "example.org", "443", true, true},
        {"example.org:443", "example.org", "80", false, false},
        {"*.example.org:443", "a.example.org", "443", true, false},
        {"*.example.org:443", "example.org", "443", false, false},
        {"*.example.org:443", "a.example.org.evil.net", "443", false, false},
        {"*:443", "anything", "443", true, false},
        {"10.0.0.1:5000", "10.0.0.1", "5000", true, true},
        {"10.0.0.*:5000", "10.0.0.1", "5000", true, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_list_drop) struct s2i_list patterns = {0};
        struct proxy_target target = {0};
        bool exact;
        s2i_list_add(&patterns, SLICE("other.net:1"));
        s2i_list_add(&patterns, slice_of(cases[i].pattern));
        snprintf(target.host, sizeof(target.host), "%s", cases[i].host);
        snprintf(target.port, sizeof(target.port), "%s", cases[i].port);
        bool allowed = proxy_allows(&patterns, &target, &exact);
        if (allowed != cases[i].allowed || exact != cases[i].exact)
            fail_msg("%s, %s:%s", cases[i].pattern, cases[i].host, cases[i].port);
    }
}

/* --- packages --- */

static void test_packages_read(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list packages = {0};

    (void)state;
    assert_true(mkdirat(root, "var", 0755) == 0 && mkdirat(root, "var/lib", 0755) == 0 &&
                mkdirat(root, "var/lib/dpkg", 0755) == 0);
    put(root, "var/lib/dpkg/status",
        "Package: one\nStatus: install ok installed\nVersion: 1.0-1\n\n"
        "Package: left\nStatus: deinstall ok config-files\nVersion: 2\n\n"
        "Package: odd name\nVersion: 3\n\nVersion: 4\n\n"
        "Package: last\nVersion: 5");
    packages_read(root, "/app", &packages);
    assert_int_equal(packages.count, 2);
    assert_string_equal(packages.items[0], "deb one 1.0-1");
    assert_string_equal(packages.items[1], "deb last 5");
}

/* Whose distribution it is, and what its application locks, where that is there. */
static void test_packages_of_vendors_and_locks(void **state)
{
    static const char *const wanted[] = {"deb/ubuntu one 1", "npm a 1.0", "npm @b/c 2.0",
                                         "pypi flask 3.0.1", "pypi uvicorn 0.1"};
    OWNED(s2i_list_drop) struct s2i_list packages = {0};

    (void)state;
    mkdirat(root, "var", 0755);
    mkdirat(root, "var/lib", 0755);
    mkdirat(root, "var/lib/dpkg", 0755);
    put(root, "var/lib/dpkg/status", "Package: one\nVersion: 1\n");
    assert_true(mkdirat(root, "usr", 0755) == 0 || errno == EEXIST);
    assert_true(mkdirat(root, "usr/lib", 0755) == 0 || errno == EEXIST);
    put(root, "usr/lib/os-release", "NAME=x\nVERSION_ID=1\nID=\"ubuntu\"\nID_LIKE=debian\n");
    assert_true(mkdirat(root, "app", 0755) == 0 && mkdirat(root, "app/node_modules", 0755) == 0 &&
                mkdirat(root, "app/node_modules/a", 0755) == 0 &&
                mkdirat(root, "app/node_modules/a/node_modules", 0755) == 0 &&
                mkdirat(root, "app/node_modules/a/node_modules/@b", 0755) == 0 &&
                mkdirat(root, "app/node_modules/a/node_modules/@b/c", 0755) == 0);
    put(root, "app/node_modules/a/package.json", "{}");
    put(root, "app/node_modules/a/node_modules/@b/c/package.json", "{}");
    put(root, "app/package-lock.json",
        "{\"packages\":{\"\":{\"version\":\"9\"},\"node_modules/a\":{\"version\":\"1.0\"},"
        "\"node_modules/a/node_modules/@b/c\":{\"version\":\"2.0\"},"
        "\"node_modules/gone\":{\"version\":\"3.0\",\"dev\":true},\"node_modules/d\":7}}");
    put(root, "app/requirements.txt",
        "# flask==0\nflask==3.0.1 ; python_version > '3'\nuvicorn[standard]==0.1 \\\n"
        "  --hash=sha256:00\nopen>=1\nany==1.*\n-r other.txt\na b==1\n");
    packages_read(root, "/app", &packages);
    assert_int_equal(packages.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(packages.items[i], wanted[i]);
}

/* A lock that would take the worker's memory is not read. */
static void test_packages_of_a_crowded_lock(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list packages = {0};
    OWNED(buffer_drop) struct buffer lock = BUFFER_NONE;

    (void)state;
    assert_true(mkdirat(root, "crowd", 0755) == 0 &&
                mkdirat(root, "crowd/node_modules", 0755) == 0 &&
                mkdirat(root, "crowd/node_modules/a", 0755) == 0);
    put(root, "crowd/node_modules/a/package.json", "{}");
    buffer_append_text(&lock, "{\"packages\":{\"node_modules/a\":{\"version\":\"1.0\"}},\"x\":[1");
    for (size_t i = 0; i < JSON_VALUES_MAX; i++)
        buffer_append_text(&lock, ",1");
    buffer_append(&lock, "]}", 3);
    put(root, "crowd/package-lock.json", lock.at);
    packages_read(root, "/crowd", &packages);
    for (size_t i = 0; i < packages.count; i++)
        assert_false(slice_starts(slice_of(packages.items[i]), "npm "));
}

/* --- what workers are told, what containers may not call --- */

static void test_worker_setup_round_trip(void **state)
{
    struct worker_setup setup = {.folder = (char *)(uintptr_t) "/a b/\"c\"",
                                 .runtime = (char *)(uintptr_t) "/usr/sbin/runc",
                                 .scratch = (char *)(uintptr_t) "disk",
                                 .cgroup = (char *)(uintptr_t) "slipway-1-2-3",
                                 .root = true,
                                 .keeps = true,
                                 .id_base = 3000000000U,
                                 .cache_max = 1ULL << 40,
                                 .groups = {.v2 = true, .pids = true, .root = "/a"}};
    OWNED(worker_setup_drop) struct worker_setup again = {0};
    OWNED(memory_drop) char *text = worker_setup_write(&setup);
    struct error err = {0};

    (void)state;
    assert_int_equal(worker_setup_read(&again, text, &err), 0);
    assert_string_equal(again.folder, setup.folder);
    assert_string_equal(again.scratch, setup.scratch);
    assert_true(again.root && again.keeps && again.id_base == setup.id_base &&
                again.cache_max == setup.cache_max);
    assert_true(again.groups.v2 && again.groups.pids && !again.groups.memory);
    assert_string_equal(again.groups.root, "/a");
    struct worker_setup none = {0};
    assert_int_equal(worker_setup_read(&none, NULL, &err), -1);
    assert_int_equal(worker_setup_read(&none, "{}", &err), -1);
}

static bool is_for(const json_t *call, const char *name)
{
    const json_t *first = json_array_get(json_object_get(call, "names"), 0);

    return strcmp(json_string_value(first), name) == 0;
}

/* Each way into a new namespace is refused by itself. */
static void test_seccomp_profile_refuses_namespaces(void **state)
{
    json_t *profile = seccomp_profile(), *call;
    uint64_t flags = 0;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(profile, "syscalls"), i, call) {
        const json_t *first = json_array_get(json_object_get(call, "args"), 0);
        assert_string_equal(json_string_value(json_object_get(call, "action")), "SCMP_ACT_ERRNO");
        if (is_for(call, "clone"))
            flags |= (uint64_t)json_integer_value(json_object_get(first, "value"));
    }
    json_decref(profile);
    assert_int_equal(flags, 0x7e020080);
}

/* Four families are left: unix, inet, netlink, inet6. */
static void test_seccomp_profile_refuses_families(void **state)
{
    json_t *profile = seccomp_profile(), *call;
    json_int_t above = 0;
    uint64_t refused = 0;
    size_t i;

    (void)state;
    json_array_foreach(json_object_get(profile, "syscalls"), i, call) {
        const json_t *first = json_array_get(json_object_get(call, "args"), 0);
        const char *op = json_string_value(json_object_get(first, "op"));
        if (!is_for(call, "socket"))
            continue;
        if (strcmp(op, "SCMP_CMP_GT") == 0)
            above = json_integer_value(json_object_get(first, "value"));
        else
            refused |= 1U << json_integer_value(json_object_get(first, "valueTwo"));
    }
    json_decref(profile);
    assert_int_equal(refused, 0xfbf9);
    assert_int_equal(above, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_read_stays_inside),
        cmocka_unit_test(test_tree_read_has_a_limit),
        cmocka_unit_test(test_tree_folder_makes_inside),
        cmocka_unit_test(test_tree_write_replaces_links),
        cmocka_unit_test(test_tree_path_clean),
        cmocka_unit_test(test_proxy_parse),
        cmocka_unit_test(test_proxy_allows),
        cmocka_unit_test(test_packages_read),
        cmocka_unit_test(test_packages_of_vendors_and_locks),
        cmocka_unit_test(test_packages_of_a_crowded_lock),
        cmocka_unit_test(test_worker_setup_round_trip),
        cmocka_unit_test(test_seccomp_profile_refuses_namespaces),
        cmocka_unit_test(test_seccomp_profile_refuses_families),
    };

    return cmocka_run_group_tests(tests, make_world, end_world);
}
