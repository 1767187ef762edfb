/* test_build_options.c - options of builds: every row, who may say what, limits, what wins. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/options.h"
#include "tests/support/unit.h"

static int read_as(struct s2i_options *options, const char *text, enum s2i_origin origin,
                   struct error *err)
{
    OWNED(json_drop) json_t *object = json_loads(text, 0, NULL);

    if (object == NULL)
        fail_msg("the test's JSON: %s", text);
    *err = (struct error){0};
    return s2i_options_read(options, object, origin, err);
}

static void must_read(struct s2i_options *options, const char *text, enum s2i_origin origin)
{
    struct error err;

    if (read_as(options, text, origin, &err) < 0)
        fail_msg("%s: %s %s", text, err.field, err.message);
}

static void expect(const struct s2i_options *options, bool secrets, const char *wanted)
{
    OWNED(json_drop) json_t *object = s2i_options_write(options, secrets);
    char *text = json_dumps(object, JSON_COMPACT);

    assert_string_equal(text, wanted);
    free(text);
}

/* Every field there is, in the order of the table; read and written back the same. Spec: s2i 11 */
static const char everything[] =
    "{\"url\":\"https://git.example/app.git\",\"ref\":\"main\",\"context_dir\":\"services/a\","
    "\"exclude\":\"\",\"ignore_submodules\":true,\"builder\":\"builders/python:3\","
    "\"runtime_image\":\"base/run\",\"incremental_from\":\"app:latest\",\"incremental\":true,"
    "\"runtime_artifact\":[\"/opt/app:bin\"],\"copy_from\":[\"base/tools:1=/opt:bin\"],"
    "\"scripts_url\":\"image:///usr/libexec/s2i\","
    "\"destination\":\"/tmp\",\"assemble_user\":\"1001:0\",\"assemble_runtime_user\":\"1001\","
    "\"allowed_uids\":\"1-\",\"env\":[\"A=1\",\"B=x=y\\nz\"],\"build_env\":[\"C=\"],"
    "\"secret_env\":[\"TOKEN=hush\"],\"inject\":[\"npmrc:/root/.npmrc\"],\"cache\":[\"/root/.m2\"],"
    "\"slices\":[\"deps=node_modules/*\"],\"detect\":[\"package.json=builders/node\"],"
    "\"post_commit\":[\"./run\",\"tests\"],\"application_name\":\"shop\",\"description\":\"The "
    "shop.\\nSells.\",\"label_prefix\":\"io.openshift.build.\",\"labels\":[\"team=blue\"],"
    "\"tags\":[\"v1\"],\"compression\":\"zstd\",\"oci\":true,\"clamp_all\":true,"
    "\"network\":\"proxy\",\"allow\":[\"*.example:443\"],\"timeout_ms\":1000,"
    "\"silence_ms\":60000,\"memory\":16777216,\"disk\":16777216,\"processes\":8,\"keep_failed_ms\":"
    "1000,"
    "\"log_level\":\"steps\",\"callback_url\":\"https://ci.example/done\","
    "\"run_policy\":\"SerialLatestOnly\",\"push_mode\":\"accept\",\"on_disconnect\":\"cancel\","
    "\"branches\":[\"release/*=rel-*,stable\",\"wip/*=-\"],\"default_branch\":\"main\","
    "\"protected_branches\":[\"main\"],\"allow_push_env\":true,\"allow_webhook_env\":true,"
    "\"image_trigger\":\"rebase\",\"rebuild\":true}";

static void test_options_come_back(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    OWNED(s2i_options_drop) struct s2i_options none = {.url = NULL};

    (void)state;
    must_read(&options, everything, S2I_FROM_CONFIG);
    expect(&options, true, everything);
    expect(&none, true, "{}");
    assert_string_equal(options.exclude, "");
    assert_null(none.exclude);
    assert_int_equal(options.timeout_ms, 1000);
}

static void test_options_hide_secrets(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    struct error err;

    (void)state;
    must_read(&options, "{\"secret_env\":[\"A=one\",\"B=two\"]}", S2I_FROM_CONFIG);
    expect(&options, false, "{\"secret_env\":[\"A=***\",\"B=***\"]}");
    must_read(&options, "{\"secret_env\":[\"B=***\",\"C=three\"]}", S2I_FROM_CONFIG);
    expect(&options, true, "{\"secret_env\":[\"B=two\",\"C=three\"]}");
    assert_int_equal(read_as(&options, "{\"secret_env\":[\"D=***\"]}", S2I_FROM_CONFIG, &err), -1);
    assert_string_equal(err.field, "secret_env");
}

/* A field and a value that does not fit it. */
static void test_options_refuse(void **state)
{
    static const struct {
        const char *text, *field;
    } cases[] = {
        {"[]", "options"},
        {"{\"colour\":1}", "options"},
        {"{\"\\u0007\":1}", "options"},
        {"{\"url\":1}", "url"},
        {"{\"url\":\"\"}", "url"},
        {"{\"url\":\"https://me:hush@git.example/x\"}", "url"},
        {"{\"url\":\"https://token@git.example/x\"}", "url"},
        {"{\"url\":\"me:hush@git.example:x\"}", "url"},
        {"{\"ref\":\"--upload-pack=x\"}", "ref"},
        {"{\"ref\":\"a b\"}", "ref"},
        {"{\"context_dir\":\"/etc\"}", "context_dir"},
        {"{\"context_dir\":\"a/../../b\"}", "context_dir"},
        {"{\"context_dir\":\"a\\nb\"}", "context_dir"},
        {"{\"ignore_submodules\":\"yes\"}", "ignore_submodules"},
        {"{\"builder\":\"Upper\"}", "builder"},
        {"{\"builder\":\"a:-\"}", "builder"},
        {"{\"builder\":\"a@sha256:12\"}", "builder"},
        {"{\"scripts_url\":\"file:///etc\"}", "scripts_url"},
        {"{\"scripts_url\":\"image://relative\"}", "scripts_url"},
        {"{\"scripts_url\":\"image:///a/../b\"}", "scripts_url"},
        {"{\"scripts_url\":\"https://u:p@h/x\"}", "scripts_url"},
        {"{\"destination\":\"tmp\"}", "destination"},
        {"{\"allowed_uids\":\"\"}", "allowed_uids"},
        {"{\"allowed_uids\":\"5-1\"}", "allowed_uids"},
        {"{\"allowed_uids\":\"root\"}", "allowed_uids"},
        {"{\"allowed_uids\":\"1,,2\"}", "allowed_uids"},
        {"{\"env\":\"A=1\"}", "env"},
        {"{\"env\":[\"A\"]}", "env"},
        {"{\"env\":[\"=1\"]}", "env"},
        {"{\"env\":[\"A B=1\"]}", "env"},
        {"{\"env\":[1]}", "env"},
        {"{\"labels\":[\"a=\\u0001\"]}", "labels"},
        {"{\"inject\":[\"x\"]}", "inject"},
        {"{\"copy_from\":[\"base/tools\"]}", "copy_from"},
        {"{\"copy_from\":[\"=/a\"]}", "copy_from"},
        {"{\"copy_from\":[\"Base=/a\"]}", "copy_from"},
        {"{\"copy_from\":[\"base=a\"]}", "copy_from"},
        {"{\"copy_from\":[\"base=/a/../b\"]}", "copy_from"},
        {"{\"copy_from\":[\"base=/a:/b\"]}", "copy_from"},
        {"{\"copy_from\":[\"base=/a:b/..\"]}", "copy_from"},
        {"{\"copy_from\":[\"base=/a\\n\"]}", "copy_from"},
        {"{\"inject\":[\"x:../y\"]}", "inject"},
        {"{\"cache\":[\"/\"]}", "cache"},
        {"{\"cache\":[\"/..\"]}", "cache"},
        {"{\"cache\":[\"a\"]}", "cache"},
        {"{\"slices\":[\"=x\"]}", "slices"},
        {"{\"detect\":[\"x=Upper\"]}", "detect"},
        {"{\"tags\":[\"a/b\"]}", "tags"},
        {"{\"compression\":\"xz\"}", "compression"},
        {"{\"compression\":\"\"}", "compression"},
        {"{\"network\":\"gzip\"}", "network"},
        {"{\"allow\":[\"example\"]}", "allow"},
        {"{\"allow\":[\":443\"]}", "allow"},
        {"{\"allow\":[\"example:0\"]}", "allow"},
        {"{\"timeout_ms\":-1}", "timeout_ms"},
        {"{\"timeout_ms\":999}", "timeout_ms"},
        {"{\"timeout_ms\":1.5}", "timeout_ms"},
        {"{\"timeout_ms\":2592000001}", "timeout_ms"},
        {"{\"memory\":1}", "memory"},
        {"{\"callback_url\":\"gopher://x\"}", "callback_url"},
        {"{\"run_policy\":\"serial\"}", "run_policy"},
        {"{\"branches\":[\"main\"]}", "branches"},
        {"{\"branches\":[\"main=a b\"]}", "branches"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
        struct error err;
        if (read_as(&options, cases[i].text, S2I_FROM_CONFIG, &err) == 0)
            fail_msg("%s was taken", cases[i].text);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_string_equal(err.field, cases[i].field);
        assert_null(strstr(err.message, "hush"));
    }
}

static void test_options_limit_lists(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    struct buffer text = BUFFER_NONE;
    struct error err;

    (void)state;
    buffer_append_text(&text, "{\"inject\":[\"a:b\"");
    for (int i = 1; i < 32; i++)
        buffer_append_text(&text, ",\"a:b\"");
    size_t size = text.size;
    buffer_print(&text, "]}%c", 0);
    must_read(&options, text.at, S2I_FROM_CONFIG);
    text.size = size;
    buffer_print(&text, ",\"a:b\"]}%c", 0);
    assert_int_equal(read_as(&options, text.at, S2I_FROM_CONFIG, &err), -1);
    assert_string_equal(err.field, "inject");
    buffer_drop(&text);
}

/* Names that are merged meet the limit too. */
static void test_options_limit_merged_names(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    char text[64];
    struct error err;

    (void)state;
    for (int i = 0; i < 256; i++) {
        snprintf(text, sizeof(text), "{\"env\":[\"N%d=1\"]}", i);
        must_read(&options, text, S2I_FROM_REQUEST);
    }
    must_read(&options, "{\"env\":[\"N7=2\"]}", S2I_FROM_REQUEST);
    assert_int_equal(read_as(&options, "{\"env\":[\"N=1\"]}", S2I_FROM_REQUEST, &err), -1);
}

static void test_options_by_origin(void **state)
{
    static const struct {
        const char *text;
        bool request, source;
    } cases[] = {
        {"{\"builder\":\"a\"}", true, true},
        {"{\"context_dir\":\"a\"}", true, true},
        {"{\"env\":[\"A=1\"]}", true, true},
        {"{\"cache\":[\"/a\"]}", true, true},
        {"{\"runtime_image\":\"a\"}", true, true},
        {"{\"detect\":[\"a=b\"]}", true, true},
        {"{\"slices\":[\"a=b\"]}", true, true},
        {"{\"secret_env\":[\"A=1\"]}", true, false},
        {"{\"network\":\"host\"}", true, false},
        {"{\"inject\":[\"a:b\"]}", true, false},
        {"{\"copy_from\":[\"a=/b\"]}", true, false},
        {"{\"scripts_url\":\"image:///a\"}", true, false},
        {"{\"memory\":16777216}", true, false},
        {"{\"allowed_uids\":\"0-\"}", false, false},
        {"{\"run_policy\":\"Parallel\"}", false, false},
        {"{\"branches\":[\"a=b\"]}", false, false},
        {"{\"protected_branches\":[]}", false, false},
        {"{\"allow_push_env\":true}", false, false},
        {"{\"allow_webhook_env\":true}", false, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
        struct error err;
        must_read(&options, cases[i].text, S2I_FROM_CONFIG);
        int asked = read_as(&options, cases[i].text, S2I_FROM_REQUEST, &err);
        int said = read_as(&options, cases[i].text, S2I_FROM_SOURCE, &err);
        if ((asked == 0) != cases[i].request || (said == 0) != cases[i].source)
            fail_msg("%s: request %d, source %d", cases[i].text, asked, said);
    }
}

/* The request changes the configuration; the source fills what nobody said. */
static void test_options_win(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};

    (void)state;
    must_read(&options,
              "{\"builder\":\"a\",\"env\":[\"A=1\",\"B=1\"],\"tags\":[\"x\"],\"oci\":true}",
              S2I_FROM_CONFIG);
    must_read(&options, "{\"env\":[\"B=2\",\"C=2\"],\"tags\":[\"y\"],\"oci\":null}",
              S2I_FROM_REQUEST);
    must_read(&options, "{\"builder\":\"b\",\"env\":[\"C=3\",\"D=3\"],\"context_dir\":\"sub\"}",
              S2I_FROM_SOURCE);
    expect(&options, true,
           "{\"context_dir\":\"sub\",\"builder\":\"a\","
           "\"env\":[\"A=1\",\"B=2\",\"C=2\",\"D=3\"],\"tags\":[\"y\"]}");
    must_read(&options, "{\"env\":[\"Z=1\"],\"builder\":null}", S2I_FROM_CONFIG);
    expect(&options, true, "{\"context_dir\":\"sub\",\"env\":[\"Z=1\"],\"tags\":[\"y\"]}");
}

static void test_conf(void **state)
{
    static const struct {
        const char *text, *wanted; /* what the error says, after a '!' */
    } cases[] = {
        {"", "{}"},
        {"# nothing\n\n \t\n", "{}"},
        {"builder: builders/python:3\r\n", "{\"builder\":\"builders/python:3\"}"},
        {"env: A=1\nenv:B=a: b \n  cache : /x",
         "{\"cache\":[\"/x\"],\"env\":[\"A=1\",\"B=a: b\"]}"},
        {"builder: a\nbuilder: b", "!line 2"},
        {"\nbuilder", "!line 2"},
        {"memory: 5", "!line 1"},
        {"colour: red", "!line 1"},
        {"builder: \xff", "!line 1"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_drop) json_t *object = NULL;
        struct error err = {0};
        int result = s2i_conf_parse(slice_of(cases[i].text), &object, &err);
        if (cases[i].wanted[0] == '!') {
            assert_int_equal(result, -1);
            assert_non_null(strstr(err.message, cases[i].wanted + 1));
            continue;
        }
        if (result < 0)
            fail_msg("%s: %s", cases[i].text, err.message);
        char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(text, cases[i].wanted);
        free(text);
    }
}

/* Spec: s2i 12.4 */
static void test_uids(void **state)
{
    static const struct {
        const char *list;
        uint64_t uid;
        bool valid, holds;
    } cases[] = {
        {"1001", 1001, true, true},     {"1001", 1002, true, false}, {"1-", 0, true, false},
        {"1-", 4294967295, true, true}, {"-5", 0, true, true},       {"-5", 6, true, false},
        {"1,7-9", 8, true, true},       {"1, 7-9", 8, true, true},   {"1,7-9", 6, true, false},
        {"", 0, false, false},          {"-", 0, false, false},      {"1,", 1, false, false},
        {"9-7", 8, false, false},       {"a", 0, false, false},      {"1--3", 2, false, false},
        {"0x1", 1, false, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        bool holds;
        bool valid = s2i_uids_parse(slice_of(cases[i].list), cases[i].uid, &holds);
        if (valid != cases[i].valid || holds != cases[i].holds)
            fail_msg("%s with %d: %d %d", cases[i].list, (int)cases[i].uid, valid, holds);
    }
}

/* Spec: s2i 7.5 */
static void test_url_clean(void **state)
{
    static const struct {
        const char *url, *wanted;
    } cases[] = {
        {"https://git.example/app.git", "https://git.example/app.git"},
        {"https://me:hush@git.example/app.git", "https://git.example/app.git"},
        {"https://me@you:hush@git.example/a@b", "https://git.example/a@b"},
        {"https://git.example/a@b", "https://git.example/a@b"},
        {"https://git.example?x=a@b", "https://git.example?x=a@b"},
        {"ssh://git@git.example/app.git", "ssh://git.example/app.git"},
        {"git@git.example:app.git", "git.example:app.git"},
        {"me:hush@git.example:app.git", "git.example:app.git"},
        {"@", ""},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct buffer out = BUFFER_NONE;
        s2i_url_clean(slice_of(cases[i].url), &out);
        if (!slice_equal_text(buffer_slice(&out), cases[i].wanted))
            fail_msg("%s gave %.*s", cases[i].url, SLICE_ARG(buffer_slice(&out)));
        buffer_drop(&out);
    }
}

static void test_list_set(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list list = {.items = NULL};

    (void)state;
    s2i_list_set(&list, SLICE("A=1"));
    s2i_list_set(&list, SLICE("AB=2"));
    s2i_list_set(&list, SLICE("A=3=4"));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0], "A=3=4");
    assert_string_equal(s2i_list_value(&list, SLICE("A")), "3=4");
    assert_null(s2i_list_value(&list, SLICE("B")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_come_back),
        cmocka_unit_test(test_options_hide_secrets),
        cmocka_unit_test(test_options_refuse),
        cmocka_unit_test(test_options_limit_lists),
        cmocka_unit_test(test_options_limit_merged_names),
        cmocka_unit_test(test_options_by_origin),
        cmocka_unit_test(test_options_win),
        cmocka_unit_test(test_conf),
        cmocka_unit_test(test_uids),
        cmocka_unit_test(test_url_clean),
        cmocka_unit_test(test_list_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
