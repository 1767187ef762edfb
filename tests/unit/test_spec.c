/* test_spec.c - what server and builder tell each other comes back as it was, and a hostile other
 * side is refused. */
#include "registry/core/json.h"
#include "s2i/spec.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"

static const char spec_text[] =
    "{\"build\":41,\"builder\":{\"config\":\"{}\",\"digest\":\"" D1
    "\",\"layers\":[{\"diff_id\":\"" D2 "\",\"digest\":\"" D1
    "\",\"media_type\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"size\":7}],"
    "\"media_type\":\"application/vnd.oci.image.manifest.v1+json\",\"name\":\"builders/python\","
    "\"repository\":\"builders/python\"},\"fresh\":true,"
    "\"inputs\":[{\"config\":\"\",\"digest\":\"" D2 "\",\"layers\":[],\"media_type\":\"x\","
    "\"name\":\"base/tools:1\",\"repository\":\"base/tools\"}],"
    "\"limits\":{\"cpu_percent\":50,\"disk\":4,\"files_max\":7,\"layer_bytes_max\":8,\"log\":5,"
    "\"memory\":3,\"processes\":6,\"silence_ms\":2,\"timeout_ms\":1},\"mode\":\"plan\","
    "\"options\":{\"secret_env\":[\"A=b\"]},\"proxy_environment\":\"HTTP_PROXY=x\","
    "\"script_hosts\":[\"h\"],\"script_ports\":[\"443\"],\"script_schemes\":[\"https\"],"
    "\"scripts_by_http\":true,\"secrets\":[\"npmrc=eA==\"],"
    "\"source\":{\"author\":\"A <a@b>\",\"author_date\":\"d\",\"bytes\":10,\"commit\":\"c\","
    "\"conf\":\"{}\",\"content\":\"" D2 "\",\"context_dir\":\"sub\",\"detected\":[\"Makefile\"],"
    "\"files\":9,\"lfs_pointers\":1,\"ref\":\"main\",\"subject\":\"s\",\"submodules_empty\":2,"
    "\"time\":-5,\"tree\":\"t\",\"url\":\"u\"},\"target\":\"app:latest\"}";

static void test_spec_comes_back(void **state)
{
    OWNED(json_drop) json_t *object = json_loads(spec_text, 0, NULL);
    OWNED(s2i_spec_drop) struct s2i_spec spec = {.build = 0};
    struct error err = {0};

    (void)state;
    assert_non_null(object);
    if (s2i_spec_read(&spec, object, &err) < 0)
        fail_msg("%s %s", err.field, err.message);
    assert_int_equal(spec.mode, S2I_PLAN);
    assert_null(spec.previous.name);
    assert_int_equal(spec.builder.layer_count, 1);
    assert_int_equal(spec.source.time, -5);
    assert_ptr_equal(s2i_spec_input(&spec, SLICE("base/tools:1")), &spec.inputs[0]);
    assert_null(s2i_spec_input(&spec, SLICE("base/tools")));
    OWNED(json_drop) json_t *again = s2i_spec_write(&spec);
    char *text = json_dumps(again, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, spec_text);
    free(text);
}

/* Texts that are absent are empty, so that nobody has to ask. */
static void test_spec_small(void **state)
{
    OWNED(json_drop)
    json_t *object =
        json_loads("{\"mode\":\"usage\",\"source\":{},\"limits\":{},\"options\":{}}", 0, NULL);
    OWNED(s2i_spec_drop) struct s2i_spec spec = {.build = 0};
    struct error err = {0};

    (void)state;
    assert_int_equal(s2i_spec_read(&spec, object, &err), 0);
    assert_string_equal(spec.target, "");
    assert_string_equal(spec.source.url, "");
    assert_null(spec.builder.name);
}

static const char result_text[] =
    "{\"assemble_user\":\"1001:0\",\"done\":true,\"env\":[\"A=1\"],\"exit_code\":-1,"
    "\"files_ignored\":2,\"files_in\":3,\"kept_until\":4,\"labels\":[\"a=b\"],"
    "\"layers\":[{\"diff_id\":\"" D2 "\",\"digest\":\"" D1
    "\",\"media_type\":\"x/y\",\"name\":\"deps\",\"size\":7}],\"message\":\"m\",\"output\":\"o\","
    "\"packages\":[\"deb bash 5\"],\"reason\":\"AssembleFailed\",\"run\":\"/run\","
    "\"scripts\":[{\"from\":\"source\",\"name\":\"assemble\",\"path\":\"/a\"},"
    "{\"name\":\"usage\"}],\"warnings\":[\"w\"]}";

static void test_result_comes_back(void **state)
{
    OWNED(json_drop) json_t *object = json_loads(result_text, 0, NULL);
    OWNED(s2i_result_drop) struct s2i_result result = {.exit_code = 0};
    struct error err = {0};

    (void)state;
    assert_non_null(object);
    if (s2i_result_read(&result, object, &err) < 0)
        fail_msg("%s %s", err.field, err.message);
    assert_null(result.scripts[1].from);
    OWNED(json_drop) json_t *again = s2i_result_write(&result);
    char *text = json_dumps(again, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, result_text);
    free(text);
}

/* Bytes of an environment file need not be UTF-8; the message still has the others. */
static void test_result_mends_text(void **state)
{
    OWNED(s2i_result_drop) struct s2i_result result = {.exit_code = 3};

    (void)state;
    s2i_list_add(&result.warnings, SLICE("a\xff\xc3\xa4"));
    OWNED(json_drop) json_t *object = s2i_result_write(&result);
    assert_string_equal(json_string_value(json_array_get(json_object_get(object, "warnings"), 0)),
                        "a\xef\xbf\xbd\xc3\xa4");
}

static void test_specs_refused(void **state)
{
    static const char *const cases[] = {
        "[]",
        "{\"mode\":\"x\",\"source\":{},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"source\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"source\":{},\"limits\":{}}",
        "{\"mode\":\"plan\",\"source\":{\"url\":7},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"source\":{\"content\":\"x\"},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"source\":{},\"limits\":{\"disk\":-1},\"options\":{}}",
        "{\"mode\":\"plan\",\"builder\":[],\"source\":{},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"builder\":{},\"source\":{},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"builder\":{\"layers\":[7]},\"source\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"inputs\":{},\"source\":{},\"limits\":{},\"options\":{}}",
        "{\"mode\":\"plan\",\"inputs\":[7],\"source\":{},\"limits\":{},\"options\":{}}",
        ("{\"mode\":\"plan\",\"inputs\":[{\"digest\":\"" D1
         "\"}],\"source\":{},\"limits\":{},\"options\":{}}"),
        ("{\"mode\":\"plan\",\"inputs\":[{\"name\":\"a\"},{\"name\":7}],\"source\":{},"
         "\"limits\":{},\"options\":{}}"),
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_drop) json_t *object = json_loads(cases[i], 0, NULL);
        OWNED(s2i_spec_drop) struct s2i_spec spec = {.build = 0};
        struct error err = {0};
        if (s2i_spec_read(&spec, object, &err) == 0)
            fail_msg("%s was taken", cases[i]);
        assert_int_equal(err.code, ERROR_INVALID);
    }
}

static void test_results_refused(void **state)
{
    static const char *const cases[] = {
        "[]",
        "{\"exit_code\":4294967296}",
        "{\"layers\":{}}",
        "{\"layers\":[{}]}",
        "{\"layers\":[{\"digest\":\"" D1 "\"}]}",
        "{\"scripts\":[1]}",
        "{\"run\":7}",
        "{\"done\":1}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_drop) json_t *object = json_loads(cases[i], 0, NULL);
        OWNED(s2i_result_drop) struct s2i_result result = {.exit_code = 0};
        struct error err = {0};
        if (s2i_result_read(&result, object, &err) == 0)
            fail_msg("%s was taken", cases[i]);
        assert_int_equal(err.code, ERROR_INVALID);
    }
}

static void test_result_limits(void **state)
{
    OWNED(json_drop) json_t *object = json_object();
    OWNED(s2i_result_drop) struct s2i_result result = {.exit_code = 0};
    json_t *scripts = json_array();
    struct error err = {0};

    (void)state;
    for (int i = 0; i < 17; i++)
        json_array_append_new(scripts, json_object());
    json_object_set_new(object, "scripts", scripts);
    assert_int_equal(s2i_result_read(&result, object, &err), -1);
    assert_string_equal(err.field, "scripts");
}

/* What a script has its builder say is cut where it becomes too much for who looks at builds. */
static void test_result_is_cut(void **state)
{
    static const struct {
        const char *list;
        size_t count, size, kept;
        const char *last;
    } cases[] = {
        {"warnings", 100, 100, 100, NULL},
        {"warnings", 300, 100, 100, "and 200 more, which the log has"},
        {"warnings", 9, 6000, 2, "and 7 more, which the log has"},
        {"warnings", 1, 20000, 0, "and 1 more, which the log has"},
        {"packages", 20000, 10, 20000, NULL},
        {"packages", 20003, 10, 20000,
         "3 packages are not in the list of parts: there are too many"},
        {"packages", 2000, 4000, 1048,
         "952 packages are not in the list of parts: there are too many"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_drop) json_t *object = json_object();
        OWNED(s2i_result_drop) struct s2i_result result = {.exit_code = 0};
        OWNED(memory_drop) char *text = memory_new(cases[i].size + 1);
        json_t *list = json_array();
        struct error err = {0};
        memset(text, 'w', cases[i].size);
        for (size_t count = 0; count < cases[i].count; count++)
            json_array_append_new(list, json_string(text));
        json_object_set_new(object, cases[i].list, list);
        assert_int_equal(s2i_result_read(&result, object, &err), 0);
        bool warnings = strcmp(cases[i].list, "warnings") == 0;
        size_t said = result.warnings.count;
        assert_int_equal(warnings ? said : result.packages.count,
                         cases[i].kept + (warnings && cases[i].last != NULL ? 1 : 0));
        if (cases[i].last != NULL)
            assert_string_equal(result.warnings.items[said - 1], cases[i].last);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_comes_back),   cmocka_unit_test(test_spec_small),
        cmocka_unit_test(test_result_comes_back), cmocka_unit_test(test_result_mends_text),
        cmocka_unit_test(test_specs_refused),     cmocka_unit_test(test_results_refused),
        cmocka_unit_test(test_result_limits),     cmocka_unit_test(test_result_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
