/* test_config.c - where settings come from, which mistakes are told, and how. */
#include "registry/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/config_internal.h"
#include "tests/support/unit.h"

/* A folder with config.yml, removed at the end. */
struct place_on_disk {
    char folder[64], file[96], part[112];
};

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static struct place_on_disk disk_new(const char *yaml)
{
    struct place_on_disk disk = {.folder = "/tmp/slipway-config-XXXXXX"};

    assert_non_null(mkdtemp(disk.folder));
    snprintf(disk.file, sizeof(disk.file), "%s/config.yml", disk.folder);
    write_text(disk.file, yaml);
    return disk;
}

static void disk_add_part(struct place_on_disk *disk, const char *name, const char *yaml)
{
    snprintf(disk->part, sizeof(disk->part), "%s/conf.d", disk->folder);
    mkdir(disk->part, 0700);
    snprintf(disk->part, sizeof(disk->part), "%s/conf.d/%s", disk->folder, name);
    write_text(disk->part, yaml);
}

static void disk_drop(struct place_on_disk *disk)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", disk->folder);
    assert_int_equal(system(command), 0);
}

struct loaded {
    struct config config;
    struct config_report report;
    bool fine;
};

static void loaded_drop(struct loaded *loaded)
{
    config_drop(&loaded->config);
    config_report_drop(&loaded->report);
}

static struct loaded load(const char *file, const char *assignment, char *variable)
{
    char *environment[] = {variable, NULL};
    const char *assignments[] = {assignment};
    const struct config_inputs inputs = {.file = file,
                                         .assignments = assignments,
                                         .assignment_count = assignment != NULL,
                                         .environment = environment};
    struct loaded loaded = {.fine = false};

    loaded.fine = config_load(&loaded.config, &inputs, &loaded.report);
    buffer_append(&loaded.report.errors, "", 1);
    buffer_append(&loaded.report.warnings, "", 1);
    return loaded;
}

static struct loaded load_text(const char *yaml)
{
    struct place_on_disk disk = disk_new(yaml);
    struct loaded loaded = load(disk.file, NULL, NULL);
    size_t folder = strlen(disk.folder) + 1;

    disk_drop(&disk);
    /* The folder's name is random: leave it out of the messages. */
    for (char *at; (at = strstr(loaded.report.errors.at, disk.folder)) != NULL;)
        memmove(at, at + folder, strlen(at + folder) + 1);
    return loaded;
}

/* Each file is wrong in one place; the message names line, column and key. */
static const struct {
    const char *yaml, *message;
} broken[] = {
    {"storage:\n  rot: /x\n",
     "config.yml:2:3: storage.rot: unknown key, did you mean storage.root?\n"},
    {"storge:\n  root: /x\n", "config.yml:1:1: storge: unknown key, did you mean storage?\n"},
    {"server:\n  limits:\n    manifest: 4MB\n", "config.yml:3:15: server.limits.manifest: expected "
                                                "a size such as 4MiB or 10GiB, found \"4MB\"\n"},
    {"gc: {grace: 5 days}\n",
     "config.yml:1:13: gc.grace: expected a duration such as 90s, 24h or 7d, found \"5 days\"\n"},
    {"delete:\n  tags: yes\n",
     "config.yml:2:9: delete.tags: expected true or false, found \"yes\"\n"},
    {"log: {level: loud}\n",
     "config.yml:1:14: log.level: expected debug|info|warning|error, found \"loud\"\n"},
    {"log:\n  level: info\n  level: debug\n", "config.yml:3:3: level: the key stands here twice\n"},
    {"log: &a\n  level: info\n", "config.yml:1:6: anchors are not accepted\n"},
    {"log:\n  level: !!str info\n", "config.yml:2:10: tags are not accepted\n"},
    {"log: *a\n", "config.yml:1:6: aliases are not accepted\n"},
    {"---\n{}\n---\n{}\n", "config.yml:3:1: a second document is not accepted\n"},
    {"log:\n  level: [info\n",
     "config.yml:3:1: not valid YAML: did not find expected ',' or ']'\n"},
    {"log:\n\tlevel: info\n",
     "config.yml:2:1: not valid YAML: found character that cannot start any token\n"},
    {"storage: /x\n", "config.yml:1:10: storage: expected a section, found a value\n"},
    {"storage:\n  root:\n    deeper: 1\n",
     "config.yml:3:5: storage.root: expected a value, found a section\n"},
    {"storage:\n  root: [a, b]\n",
     "config.yml:2:9: storage.root: expected one value, found a list\n"},
    {"server:\n  listen: []\n",
     "config.yml:2:11: server.listen: expected 1 to 64 entries, found 0\n"},
    {"server:\n  listen: [{}]\n",
     "config.yml:2:12: server.listen: expected a list of plain values\n"},
    {"storage.root: /x\n",
     "config.yml:1:1: storage.root: write the parts of a key as nested sections\n"},
    {"version: 2\n",
     "config.yml:1:10: version: this program reads version 1 of the settings only\n"},
    {"- a\n", "config.yml:1:1: expected sections and settings\n"},
    {"[a]: b\n", "config.yml:1:1: a key must be a plain word\n"},
    {"server: {limits: {uploads: 0}}\n",
     "config.yml:1:28: server.limits.uploads: must be at least 1\n"},
    {"server: {limits: {manifest: 1MiB}}\n",
     "config.yml:1:29: server.limits.manifest: must be at least 4MiB\n"},
    {"storage: {min_free: 100%}\n",
     "config.yml:1:21: storage.min_free: expected 0% to 99%, found \"100%\"\n"},
    {"storage: {root: ''}\n", "config.yml:1: storage.root: names no folder\n"},
    {"server: {tls: {key: /k}}\n",
     "config.yml:1: server.tls.key: needs server.tls.certificate as well\n"},
    {"server:\n  listen: [\"0.0.0.0:5000\"]\n",
     "config.yml:2: server.listen: 0.0.0.0:5000 would take passwords over plain HTTP from other "
     "machines; set server.tls.certificate, or server.insecure_http to true if that is meant\n"},
    {"server: {tls: {client_ca: /c}}\n",
     "config.yml:1: server.tls.client_ca: needs server.tls.certificate as well\n"},
    {"auth: {token: {trusted_issuers: [a]}}\n",
     "config.yml:1: auth.token.trusted_issuers: needs auth.token.trusted_keys_file as well\n"},
    {"auth: {token: {trusted_keys_file: /k}}\n",
     "config.yml:1: auth.token.trusted_keys_file: needs auth.token.trusted_issuers as well\n"},
    {"auth: {login_rate: {account: 10}}\n",
     "config.yml:1:30: auth.login_rate.account: expected a rate such as 10/1m, over 1s to 30d, "
     "found \"10\"\n"},
    {"auth: {mode: none}\nserver:\n  listen: [\"0.0.0.0:5000\"]\n",
     "config.yml:3: server.listen: 0.0.0.0:5000 is open to other machines while auth.mode is none; "
     "set auth.insecure_open to true if that is meant\n"},
    {"server: {listen: [\"127.0.0.1\"]}\n",
     "config.yml:1: server.listen: \"127.0.0.1\" has no port from 0 to 65535\n"},
    {"server: {listen: [\"https://127.0.0.1:1\"]}\n",
     "config.yml:1: server.listen: https://127.0.0.1:1 needs server.tls.certificate\n"},
    {"log: {level: \"a\\nb\"}\n",
     "config.yml:1:14: log.level: expected debug|info|warning|error, found \"a\\u000ab\"\n"},
    {"\"a\\nb\": 1\n", "config.yml:1:1: a?b: unknown key\n"},
};

static void test_config_names_place_and_key_of_a_mistake(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(broken); i++) {
        OWNED(loaded_drop) struct loaded loaded = load_text(broken[i].yaml);
        assert_string_equal(loaded.report.errors.at, broken[i].message);
        assert_false(loaded.fine);
    }
}

static void test_config_lists_all_mistakes_at_once(void **state)
{
    (void)state;
    OWNED(loaded_drop)
    struct loaded loaded =
        load_text("a: 1\nlog: {level: x, format: y}\ngc:\n  grace: 1\n  undo: -1s\n");
    const char *lines = loaded.report.errors.at;
    size_t count = 0;

    for (; (lines = strchr(lines, '\n')) != NULL; lines++)
        count++;
    assert_int_equal(count, 5);
}

static void test_config_defaults(void **state)
{
    (void)state;
    OWNED(loaded_drop) struct loaded loaded = load("/dev/null", NULL, NULL);
    const struct config *config = &loaded.config;

    assert_true(loaded.fine);
    assert_int_equal(config->server_listen.count, 1);
    assert_string_equal(config->server_listen.items[0], "127.0.0.1:5000");
    assert_string_equal(config->storage_root, "/var/lib/slipway");
    assert_int_equal(config->server_limits_manifest, 4194304);
    assert_int_equal(config->storage_upload_ttl, 7 * 24 * 3600 * 1000);
    assert_int_equal(config->storage_min_free.percent, 5);
    assert_string_equal(config->auth_mode, "token");
    assert_int_equal(config->auth_token_ttl, 15 * 60 * 1000);
    assert_int_equal(config->auth_login_rate_account.count, 10);
    assert_int_equal(config->auth_login_rate_account.per_ms, 60 * 1000);
    assert_int_equal(config->auth_pull_rate_account.count, 0);
    assert_int_equal(config->server_trusted_proxies.count, 0);
    assert_int_equal(config->auth_token_trusted_issuers.count, 0);
    assert_true(config->delete_blobs);
    assert_false(config->auth_insecure_open);
}

static void test_config_later_source_wins(void **state)
{
    struct place_on_disk disk = disk_new("version: 1\nstorage:\n  root: /file\nlog:\n");
    static char variable[] = "SLIPWAY_STORAGE_ROOT=/environment";

    (void)state;
    {
        OWNED(loaded_drop) struct loaded loaded = load(disk.file, NULL, NULL);
        assert_string_equal(loaded.config.storage_root, "/file");
    }
    disk_add_part(&disk, "20-b.yml", "storage: {root: /twenty}\n");
    disk_add_part(&disk, "10-a.yml", "storage: {root: /ten, cache: 1MiB}\n");
    disk_add_part(&disk, "99-c.txt", "storage: {root: /ignored}\n");
    {
        OWNED(loaded_drop) struct loaded loaded = load(disk.file, NULL, NULL);
        assert_string_equal(loaded.config.storage_root, "/twenty");
        assert_int_equal(loaded.config.storage_cache, 1 << 20);
    }
    {
        OWNED(loaded_drop) struct loaded loaded = load(disk.file, NULL, variable);
        assert_string_equal(loaded.config.storage_root, "/environment");
    }
    {
        OWNED(loaded_drop) struct loaded loaded = load(disk.file, "storage.root=/set", variable);
        assert_string_equal(loaded.config.storage_root, "/set");
        assert_true(loaded.fine);
    }
    disk_drop(&disk);
}

static void test_config_reports_missing_file(void **state)
{
    (void)state;
    OWNED(loaded_drop) struct loaded loaded = load("/nonexistent/config.yml", NULL, NULL);
    assert_string_equal(loaded.report.errors.at,
                        "/nonexistent/config.yml: cannot be read: No such file or directory\n");
}

static const struct {
    const char *assignment, *message;
} assignments[] = {
    {"server.listen=127.0.0.1:1, unix:/run/s ,[::1]:0", ""},
    {"storage.min_free=10GiB", ""},
    {"server.shutdown_delay=0", ""},
    {"server.limits.manifest=64MiB", ""},
    {"server.limits.manifest=65MiB", "--set: server.limits.manifest: must be at most 64MiB\n"},
    {"storage.rot=/x", "--set: storage.rot: unknown key, did you mean storage.root?\n"},
    {"storage=/x", "--set: storage: unknown key, did you mean storage?\n"},
    {"log.level", "--set: log.level: expected key=value\n"},
    {"server.listen=a:1,,b:2", "--set: server.listen: entry 2 is empty or holds a zero byte\n"},
    {"gc.grace=9223372036854775807d", "--set: gc.grace: expected a duration such as 90s, 24h or "
                                      "7d, found \"9223372036854775807d\"\n"},
    {"server.listen=", "--set: server.listen: expected 1 to 64 entries, found 0\n"},
    {"server.trusted_proxies=", ""},
    {"auth.token.ttl=59s", "--set: auth.token.ttl: must be at least 1m\n"},
    {"auth.token.ttl=25h", "--set: auth.token.ttl: must be at most 1d\n"},
    {"server.threads.login=17", "--set: server.threads.login: must be at most 16\n"},
    {"server.limits.requests=10x",
     "--set: server.limits.requests: expected a number, found \"10x\"\n"},
};

static void test_config_set_on_the_command_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(assignments); i++) {
        OWNED(loaded_drop)
        struct loaded loaded = load("/dev/null", assignments[i].assignment, NULL);
        assert_string_equal(loaded.report.errors.at, assignments[i].message);
    }
    OWNED(loaded_drop) struct loaded loaded = load("/dev/null", assignments[0].assignment, NULL);
    assert_int_equal(loaded.config.server_listen.count, 3);
    assert_string_equal(loaded.config.server_listen.items[1], "unix:/run/s");
}

/* per_ms 0: not a rate. */
static const struct {
    const char *text;
    uint64_t count, per_ms;
} rates[] = {
    {"10/1m", 10, 60000}, {"0/1m", 0, 60000},   {"1000000/30d", 1000000, UINT64_C(2592000000)},
    {"7/1s", 7, 1000},    {"1000001/1m", 0, 0}, {"10", 0, 0},
    {"10/", 0, 0},        {"/1m", 0, 0},        {"10/0", 0, 0},
    {"10/999ms", 0, 0},   {"10/31d", 0, 0},     {"-1/1m", 0, 0},
    {"10/1m/1m", 0, 0},   {"10 / 1m", 0, 0},
};

static void test_config_rate(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(rates); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        buffer_print(&text, "auth.pull_rate.account=%s", rates[i].text);
        buffer_append(&text, "", 1);
        OWNED(loaded_drop) struct loaded loaded = load("/dev/null", text.at, NULL);
        bool good = rates[i].per_ms > 0;
        if (loaded.fine != good)
            fail_msg("%s: %s", rates[i].text, loaded.report.errors.at);
        assert_int_equal(loaded.config.auth_pull_rate_account.count, good ? rates[i].count : 0);
        assert_int_equal(loaded.config.auth_pull_rate_account.per_ms,
                         good ? rates[i].per_ms : 6 * 3600 * 1000);
    }
}

/* What may stand in a challenge, and whom we believe. Spec: TOK-04, TOK-05. */
static const struct {
    const char *assignment;
    bool good;
} forms[] = {
    {"server.public_url=https://registry.example", true},
    {"server.public_url=http://registry.example:5000", true},
    {"server.public_url=https://[2001:db8::1]:443", true},
    {"server.public_url=https://[2001:db8::1]", true},
    {"server.public_url=", true},
    {"server.public_url=registry.example", false},
    {"server.public_url=ftp://registry.example", false},
    {"server.public_url=https://", false},
    {"server.public_url=https://:443", false},
    {"server.public_url=https://registry.example/", false},
    {"server.public_url=https://registry.example/path", false},
    {"server.public_url=https://registry.example:", false},
    {"server.public_url=https://registry.example:0", false},
    {"server.public_url=https://registry.example:65536", false},
    {"server.public_url=https://a:b:1", false},
    {"server.public_url=https://[::g]", false},
    {"server.public_url=https://[::1]x", false},
    {"server.public_url=https://user@registry.example", false},
    {"server.public_url=https://basic.example", false},
    {"auth.token.service=my-registry", true},
    {"auth.token.service=https://registry.example/", true},
    {"auth.token.service=", false},
    {"auth.token.service=two words", false},
    {"auth.token.service=a\"b", false},
    {"auth.token.service=a,b", false},
    {"auth.token.service=Bearer", false},
    {"auth.token.service=caf\xc3\xa9", false},
    {"auth.token.issuer=", false},
    {"auth.token.issuer=BASIC-1", false},
    {"auth.token.realm=https://tokens.example/auth/token", true},
    {"auth.token.realm=tokens.example", false},
    {"auth.token.realm=https://tokens.example/a b", false},
    {"server.trusted_proxies=192.0.2.1, 10.0.0.0/8, 2001:db8::/32,unix", true},
    {"server.trusted_proxies=0.0.0.0/0,::/0,::1/128", true},
    {"server.trusted_proxies=10.0.0.0/33", false},
    {"server.trusted_proxies=::/129", false},
    {"server.trusted_proxies=10.0.0.0/", false},
    {"server.trusted_proxies=10.0.0/8", false},
    {"server.trusted_proxies=proxy.example", false},
    {"server.trusted_proxies=[::1]", false},
};

static void test_config_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(forms); i++) {
        OWNED(loaded_drop) struct loaded loaded = load("/dev/null", forms[i].assignment, NULL);
        if (loaded.fine != forms[i].good)
            fail_msg("%s: \"%s\"", forms[i].assignment, loaded.report.errors.at);
    }
}

/* Which listeners other machines may reach, and how. */
static const struct {
    const char *yaml;
    bool good;
} listening[] = {
    {"server: {listen: [\"0.0.0.0:1\"]}", false},
    {"server: {listen: [\"0.0.0.0:1\"], insecure_http: true}", true},
    {"server: {listen: [\"https://0.0.0.0:1\"], tls: {certificate: /c, key: /k}}", true},
    {"server: {listen: [\"http://0.0.0.0:1\"], tls: {certificate: /c, key: /k}}", false},
    {"server: {listen: [\"127.0.0.1:1\", \"unix:/s\", \"[::1]:1\"]}", true},
    {"server: {listen: [\"127.0.0.1:1\", \"[::]:1\"]}", false},
    {"auth: {mode: none}\nserver: {listen: [\"0.0.0.0:1\"]}", false},
    {"auth: {mode: none}\nserver: {listen: [\"0.0.0.0:1\"], insecure_http: true}", false},
    {"auth: {mode: none, insecure_open: true}\nserver: {listen: [\"0.0.0.0:1\"]}", true},
    {"auth: {insecure_open: true}\nserver: {listen: [\"0.0.0.0:1\"]}", false},
};

static void test_config_other_machines_only_when_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(listening); i++) {
        OWNED(loaded_drop) struct loaded loaded = load_text(listening[i].yaml);
        if (loaded.fine != listening[i].good)
            fail_msg("%s: \"%s\"", listening[i].yaml, loaded.report.errors.at);
    }
}

static const struct {
    const char *variable, *errors, *warnings;
} variables[] = {
    {"SLIPWAY_DELETE_TAGS=false", "", ""},
    {"SLIPWAY_DELETE_TAGS=no",
     "SLIPWAY_DELETE_TAGS: delete.tags: expected true or false, found \"no\"\n", ""},
    {"SLIPWAY_STORAGE_ROT=/x", "",
     "SLIPWAY_STORAGE_ROT: no such setting, did you mean SLIPWAY_STORAGE_ROOT?\n"},
    {"SLIPWAY_SOMETHING_ELSE=1", "", "SLIPWAY_SOMETHING_ELSE: no such setting\n"},
    {"SLIPWAY_SERVICE_HOST=10.0.0.1", "", ""},
    {"SLIPWAY_SERVICE_PORT=5000", "", ""},
    {"SLIPWAY_SERVICE_PORT_HTTP=5000", "", ""},
    {"SLIPWAY_PORT=tcp://10.0.0.1:5000", "", ""},
    {"SLIPWAY_PORT_5000_TCP_ADDR=10.0.0.1", "", ""},
    {"SLIPWAY_WEB_PORT_80_TCP=tcp://10.0.0.1:80", "", ""},
    {"OTHER_DELETE_TAGS=x", "", ""},
};

static void test_config_environment(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(variables); i++) {
        OWNED(memory_drop) char *variable = memory_text(slice_of(variables[i].variable));
        OWNED(loaded_drop) struct loaded loaded = load("/dev/null", NULL, variable);
        assert_string_equal(loaded.report.errors.at, variables[i].errors);
        assert_string_equal(loaded.report.warnings.at, variables[i].warnings);
        assert_int_equal(loaded.config.delete_tags, i != 0);
    }
}

static const struct {
    const char *entry, *address;
    bool tls, local;
} listeners[] = {
    {"127.0.0.1:5000", "127.0.0.1:5000", true, true},
    {"http://127.1.2.3:80", "127.1.2.3:80", false, true},
    {"https://[::1]:0", "[::1]:0", true, true},
    {"localhost:65535", "localhost:65535", true, true},
    {"http://registry.example:80", "registry.example:80", false, false},
    {"[::]:5000", "[::]:5000", true, false},
    {"unix:/run/slipway.sock", "unix:/run/slipway.sock", false, true},
    {"127.0.0.1:65536", NULL, false, false},
    {":5000", NULL, false, false},
    {"::1:5000", NULL, false, false},
    {"localhost", NULL, false, false},
    {"unix:relative", NULL, false, false},
    {"http://unix:/x", NULL, false, false},
    {"ftp://127.0.0.1:1", NULL, false, false},
    {"127.evil.example:80", "127.evil.example:80", true, false},
};

static void test_config_listener_parse(void **state)
{
    struct config config = {.server_tls_certificate = (char[]){"/c"}};

    (void)state;
    for (size_t i = 0; i < LENGTH(listeners); i++) {
        struct config_listener listener;
        struct error err = {0};
        int got = config_listener_parse(&config, listeners[i].entry, &listener, &err);
        if (got != (listeners[i].address == NULL ? -1 : 0))
            fail_msg("%s: %d %s", listeners[i].entry, got, err.message);
        if (got < 0)
            continue;
        assert_string_equal(listener.address, listeners[i].address);
        if (listener.tls != listeners[i].tls || listener.local != listeners[i].local)
            fail_msg("%s: tls %d local %d", listeners[i].entry, listener.tls, listener.local);
    }
}

/* What show prints is read back to the same text, and carries origins. */
static void test_config_show_round_trip(void **state)
{
    OWNED(loaded_drop)
    struct loaded loaded = load("/dev/null", "server.listen=127.0.0.1:1,unix:/a \"b\"", NULL);
    OWNED(buffer_drop) struct buffer first = BUFFER_NONE, second = BUFFER_NONE;

    (void)state;
    config_show(&loaded.config, CONFIG_NOTES_NONE, &first);
    buffer_append(&first, "", 1);
    OWNED(loaded_drop) struct loaded again = load_text(first.at);
    assert_string_equal(again.report.errors.at, "");
    config_show(&again.config, CONFIG_NOTES_NONE, &second);
    buffer_append(&second, "", 1);
    assert_string_equal(first.at, second.at);
    second.size = 0;
    config_show(&loaded.config, CONFIG_NOTES_ORIGIN, &second);
    buffer_append(&second, "", 1);
    assert_non_null(
        strstr(second.at, "  listen: [\"127.0.0.1:1\", \"unix:/a \\\"b\\\"\"] # --set\n"));
    assert_non_null(strstr(second.at, "  root: \"/var/lib/slipway\" # default\n"));
}

/* conf/slipway.yml is what the table says: `slipway config show --defaults` writes it. */
static void test_config_file_in_conf_is_the_table(void **state)
{
    OWNED(loaded_drop) struct loaded loaded = load("/dev/null", NULL, NULL);
    OWNED(buffer_drop) struct buffer expected = BUFFER_NONE, found = BUFFER_NONE;
    FILE *file = fopen("conf/slipway.yml", "r");

    (void)state;
    assert_non_null(file);
    config_show(&loaded.config, CONFIG_NOTES_TEXT, &expected);
    buffer_reserve(&found, 65536);
    found.size = fread(found.at, 1, 65535, file);
    fclose(file);
    found.at[found.size] = 0;
    buffer_append(&expected, "", 1);
    assert_string_equal(found.at, expected.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config_names_place_and_key_of_a_mistake),
        cmocka_unit_test(test_config_lists_all_mistakes_at_once),
        cmocka_unit_test(test_config_defaults),
        cmocka_unit_test(test_config_later_source_wins),
        cmocka_unit_test(test_config_reports_missing_file),
        cmocka_unit_test(test_config_set_on_the_command_line),
        cmocka_unit_test(test_config_rate),
        cmocka_unit_test(test_config_forms),
        cmocka_unit_test(test_config_other_machines_only_when_told),
        cmocka_unit_test(test_config_environment),
        cmocka_unit_test(test_config_listener_parse),
        cmocka_unit_test(test_config_show_round_trip),
        cmocka_unit_test(test_config_file_in_conf_is_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
