/* test_contract.c - what builder images say, where scripts are found, what assemble says. */
#include <string.h>

#include "s2i/contract/contract.h"
#include "tests/support/unit.h"

static char *literal(const char *text)
{
    return (char *)(uintptr_t)text;
}

static struct image_config config_of(const char *text)
{
    struct image_config image;
    struct error err = {0};

    if (image_config_read(&image, slice_of(text), &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return image;
}

/* --- configs --- */

static void test_image_config(void **state)
{
    OWNED(image_config_drop)
    struct image_config image =
        config_of("{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\","
                  "\"config\":{\"User\":\"1001\",\"WorkingDir\":\"/opt\",\"Env\":[\"A=b=c\"],"
                  "\"Labels\":{\"a\":\"b\"},\"OnBuild\":[\"RUN x\"]}}");
    OWNED(image_config_drop)
    struct image_config bare =
        config_of("{\"config\":{\"User\":null,\"Env\":null,\"Labels\":null,\"OnBuild\":null}}");
    OWNED(image_config_drop) struct image_config none = config_of("{\"config\":null}");

    (void)state;
    assert_string_equal(image.architecture, "arm64");
    assert_string_equal(image.variant, "v8");
    assert_string_equal(image.user, "1001");
    assert_string_equal(image.working_dir, "/opt");
    assert_string_equal(image_env(&image, "A"), "b=c");
    assert_null(image_env(&image, "B"));
    assert_string_equal(image_label(&image, "a"), "b");
    assert_true(image.onbuild);
    assert_string_equal(bare.user, "");
    assert_null(image_label(&bare, "a"));
    assert_false(bare.onbuild);
    assert_string_equal(none.os, "");
}

static void test_image_config_refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{",
        "{\"os\":1}",
        "{\"config\":[]}",
        "{\"config\":{\"User\":0}}",
        "{\"config\":{\"Env\":{}}}",
        "{\"config\":{\"Env\":[\"A\"]}}",
        "{\"config\":{\"Env\":[1]}}",
        "{\"config\":{\"Labels\":[]}}",
        "{\"config\":{\"Labels\":{\"a\":1}}}",
        "{\"config\":{\"User\":\"a\\u0000b\"}}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct image_config image;
        struct error err = {0};
        if (image_config_read(&image, slice_of(cases[i]), &err) == 0)
            fail_msg("%s was taken", cases[i]);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_null(image.document);
    }
}

/* A few megabytes of them kept a thread of the server busy for an hour. */
static void test_a_config_of_many_variables(void **state)
{
    enum { MOST = 4096 };
    struct buffer text = BUFFER_NONE;
    struct image_config image;
    struct error err = {0};

    (void)state;
    buffer_append_text(&text, "{\"config\":{\"Env\":[\"A=\"");
    for (int i = 1; i < MOST; i++)
        buffer_print(&text, ",\"A%d=\"", i);
    size_t size = text.size;
    buffer_append_text(&text, "]}}");
    assert_int_equal(image_config_read(&image, buffer_slice(&text), &err), 0);
    assert_int_equal(image.env.count, MOST);
    image_config_drop(&image);
    text.size = size;
    buffer_append_text(&text, ",\"B=\"]}}");
    assert_int_equal(image_config_read(&image, buffer_slice(&text), &err), -1);
    assert_int_equal(err.code, ERROR_INVALID);
    buffer_drop(&text);
}

#define LABELS(text) "{\"config\":{\"Labels\":{" text "}}}"
#define ENV(text) "{\"config\":{\"Env\":[" text "]}}"

/* Spec: s2i 2.1 */
static void test_scripts_url(void **state)
{
    static const struct {
        const char *config, *url, *deprecated;
    } cases[] = {
        {LABELS("\"io.openshift.s2i.scripts-url\":\"image:///a\",\"io.s2i.scripts-url\":\"b\""),
         "image:///a", NULL},
        {LABELS("\"io.openshift.s2i.scripts-url\":\"\",\"io.s2i.scripts-url\":\"image:///b\""),
         "image:///b", "label io.s2i.scripts-url"},
        {ENV("\"STI_SCRIPTS_URL=image:///c\""), "image:///c",
         "environment variable STI_SCRIPTS_URL"},
        {"{}", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(image_config_drop) struct image_config image = config_of(cases[i].config);
        const char *deprecated;
        const char *url = contract_scripts_url(&image, &deprecated);
        assert_true(url == cases[i].url || strcmp(url, cases[i].url) == 0);
        assert_true(deprecated == cases[i].deprecated ||
                    strcmp(deprecated, cases[i].deprecated) == 0);
    }
}

/* Spec: s2i 2.2 */
static void test_destination(void **state)
{
    static const struct {
        const char *option, *config, *wanted;
    } cases[] = {
        {"/o", LABELS("\"io.openshift.s2i.destination\":\"/a\""), "/o"},
        {NULL, LABELS("\"io.openshift.s2i.destination\":\"/a\",\"io.s2i.destination\":\"/b\""),
         "/a"},
        {NULL, LABELS("\"io.s2i.destination\":\"/b\""), "/b"},
        {NULL, ENV("\"STI_LOCATION=/c\""), "/c"},
        {NULL, "{}", "/tmp"},
        {NULL, LABELS("\"io.openshift.s2i.destination\":\"../a\""), "/tmp"},
        {NULL, LABELS("\"io.openshift.s2i.destination\":\"/a/../../b\""), "/tmp"},
        {NULL, LABELS("\"io.openshift.s2i.destination\":\"\""), "/tmp"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(image_config_drop) struct image_config image = config_of(cases[i].config);
        const struct s2i_options options = {.destination = literal(cases[i].option)};
        assert_string_equal(contract_destination(&options, &image), cases[i].wanted);
    }
}

/* Spec: s2i 2.3, 9.6 */
static void test_users(void **state)
{
    OWNED(image_config_drop)
    struct image_config labelled = config_of("{\"config\":{\"User\":\"5\",\"Labels\":{"
                                             "\"io.openshift.s2i.assemble-user\":\"6\","
                                             "\"io.openshift.s2i.assemble-runtime-user\":\"7\"}}}");
    OWNED(image_config_drop)
    struct image_config plain = config_of("{\"config\":{\"User\":\"5\"}}");
    const struct s2i_options asked = {.assemble_user = literal("8"),
                                      .assemble_runtime_user = literal("9")};
    const struct s2i_options none = {.url = NULL};

    (void)state;
    assert_string_equal(contract_assemble_user(&asked, &labelled), "8");
    assert_string_equal(contract_assemble_user(&none, &labelled), "6");
    assert_string_equal(contract_assemble_user(&none, &plain), "5");
    assert_string_equal(contract_runtime_user(&asked, &labelled), "9");
    assert_string_equal(contract_runtime_user(&none, &labelled), "7");
    assert_string_equal(contract_runtime_user(&none, &plain), "5");
}

/* --- scripts --- */

/* Files as words between blanks. */
struct files {
    const char *image, *source, *web;
};

static bool holds(const char *words, const char *word)
{
    struct slice rest = slice_of(words), one;

    while (rest.size > 0) {
        slice_split(rest, ' ', &one, &rest);
        if (slice_equal_text(one, word))
            return true;
    }
    return false;
}

static bool in_image(void *arg, const char *path)
{
    return holds(((const struct files *)arg)->image, path);
}

static bool in_source(void *arg, const char *path)
{
    return holds(((const struct files *)arg)->source, path);
}

static int fetch(void *arg, const char *url, const char *script, struct error *err)
{
    struct buffer text = BUFFER_NONE;

    if (strstr(url, "broken") != NULL)
        return error_set(err, ERROR_UNAVAILABLE, "no answer");
    buffer_print(&text, "%s/%s%c", url, script, 0);
    int outcome = holds(((const struct files *)arg)->web, text.at) ? 0 : 1;
    buffer_drop(&text);
    return outcome;
}

struct script_case {
    struct files files;
    const char *option; /* scripts URL */
    const char *config;
    bool http, runtime, with_runtime, incremental;
    const char *wanted; /* "name=from>path ..."; or "!reason text" */
    const char *note;   /* part of a note; NULL: not looked at */
};

static void check_found(const struct script_case *test, const struct contract_scripts *scripts)
{
    struct buffer text = BUFFER_NONE;
    bool noted = test->note == NULL;

    for (size_t i = 0; i < scripts->count; i++)
        if (scripts->items[i].from != NULL)
            buffer_print(&text, "%s%s=%s>%s", text.size > 0 ? " " : "", scripts->items[i].name,
                         scripts->items[i].from, scripts->items[i].path);
    if (!slice_equal_text(buffer_slice(&text), test->wanted))
        fail_msg("%.*s, not %s", SLICE_ARG(buffer_slice(&text)), test->wanted);
    for (size_t i = 0; i < scripts->notes.count; i++)
        noted = noted || strstr(scripts->notes.items[i], test->note) != NULL;
    if (!noted)
        fail_msg("%s is not noted", test->note);
    buffer_drop(&text);
}

static void check_scripts(const struct script_case *test)
{
    OWNED(image_config_drop) struct image_config image = config_of(test->config);
    OWNED(contract_scripts_drop) struct contract_scripts scripts;
    struct files files = test->files;
    const struct s2i_options options = {.scripts_url = literal(test->option),
                                        .incremental = test->incremental,
                                        .runtime_image =
                                            literal(test->with_runtime ? "run" : NULL)};
    const struct contract_tree tree = {in_image, in_source, test->http ? fetch : NULL, &files};
    const char *reason;
    struct error err = {0};

    int outcome =
        contract_scripts_find(&options, &image, &tree, test->runtime, &scripts, &reason, &err);
    if (outcome == 0 && test->wanted[0] != '!') {
        assert_null(reason);
        check_found(test, &scripts);
        return;
    }
    if (outcome == 0 || test->wanted[0] != '!')
        fail_msg("%s: %d %s", test->wanted, outcome, err.message);
    struct slice wanted_reason, text;
    slice_split(slice_of(test->wanted + 1), ' ', &wanted_reason, &text);
    assert_true(slice_equal_text(wanted_reason, reason));
    if (strstr(err.message, text.at) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, text.at);
}

#define S2I_LABEL LABELS("\"io.openshift.s2i.scripts-url\":\"image:///s2i/\"")
#define BOTH "/s2i/assemble /s2i/run"

/* Spec: s2i 2.7 to 2.9, 3.1 to 3.7, 9.5; acceptance 20.1 */
static void test_scripts_find(void **state)
{
    static const struct script_case cases[] = {
        /* of the image; optional ones too */
        {{BOTH " /s2i/save-artifacts /s2i/usage", "", ""},
         NULL,
         S2I_LABEL,
         .wanted =
             "assemble=image:///s2i/>/s2i/assemble run=image:///s2i/>/s2i/run "
             "save-artifacts=image:///s2i/>/s2i/save-artifacts usage=image:///s2i/>/s2i/usage"},
        {{BOTH, "", ""},
         NULL,
         S2I_LABEL,
         .incremental = true,
         .wanted = "assemble=image:///s2i/>/s2i/assemble run=image:///s2i/>/s2i/run",
         .note = "no save-artifacts"},
        /* each by itself from the source */
        {{BOTH, ".s2i/bin/run", ""},
         NULL,
         S2I_LABEL,
         .wanted = "assemble=image:///s2i/>/s2i/assemble run=source>/tmp/scripts/run"},
        {{"", ".s2i/bin/run .sti/bin/assemble", ""},
         NULL,
         "{}",
         .wanted = "assemble=source>/tmp/scripts/assemble run=source>/tmp/scripts/run",
         .note = "DEPRECATED: Use .s2i/bin instead of .sti/bin"},
        {{"", ".s2i/bin/run .s2i/bin/assemble", ""},
         NULL,
         LABELS("\"io.openshift.s2i.destination\":\"/opt/\""),
         .wanted = "assemble=source>/opt/scripts/assemble run=source>/opt/scripts/run",
         .note = "does not contain a value for the io.openshift.s2i.scripts-url label"},
        /* the option first */
        {{BOTH " /own/assemble", ".s2i/bin/assemble .s2i/bin/run", ""},
         "image:///own",
         S2I_LABEL,
         .wanted = "assemble=image:///own>/own/assemble run=source>/tmp/scripts/run"},
        {{BOTH, ".s2i/bin/run", "https://x/assemble"},
         "https://x",
         S2I_LABEL,
         .http = true,
         .wanted = "assemble=https://x>/tmp/scripts/assemble run=source>/tmp/scripts/run"},
        {{BOTH, "", "https://x/assemble"},
         NULL,
         LABELS("\"io.openshift.s2i.scripts-url\":\"https://x\""),
         .http = true,
         .wanted = "!InstallScriptsFailed failed to install [run]"},
        /* nothing came from the option */
        {{BOTH, ".s2i/bin/run .s2i/bin/assemble", ""},
         "image:///own",
         S2I_LABEL,
         .wanted = "!FetchScriptsFailed could not download any scripts from URL image:///own"},
        {{BOTH, "", "https://x/assemble"},
         "https://x",
         S2I_LABEL,
         .wanted = "!FetchScriptsFailed could not download any scripts from URL https://x"},
        {{BOTH, "", ""},
         "https://broken",
         S2I_LABEL,
         .http = true,
         .wanted = "!FetchScriptsFailed no answer"},
        {{BOTH, "", ""},
         "file:///s2i",
         S2I_LABEL,
         .wanted = "!FetchScriptsFailed could not download any scripts"},
        /* required ones are missing */
        {{"", "", ""},
         NULL,
         "{}",
         .wanted =
             "!InstallScriptsFailed failed to install [assemble run]: set the scripts URL or the "
             "label io.openshift.s2i.scripts-url"},
        {{"/s2i/assemble", "", ""},
         NULL,
         S2I_LABEL,
         .wanted = "!InstallScriptsFailed failed to install [run]: neither in .s2i/bin nor in "
                   "image:///s2i/"},
        {{BOTH, "", ""},
         NULL,
         LABELS("\"io.openshift.s2i.scripts-url\":\"file:///s2i\""),
         .wanted = "!InstallScriptsFailed failed to install [assemble run]"},
        {{"s2i/assemble s2i/run", "", ""},
         NULL,
         LABELS("\"io.openshift.s2i.scripts-url\":\"image://s2i\""),
         .wanted = "!InstallScriptsFailed failed to install [assemble run]"},
        {{BOTH, "", ""},
         NULL,
         ENV("\"STI_SCRIPTS_URL=image:///s2i\""),
         .wanted = "assemble=image:///s2i>/s2i/assemble run=image:///s2i>/s2i/run",
         .note = "uses deprecated environment variable STI_SCRIPTS_URL"},
        /* a runtime image */
        {{"/s2i/assemble", "", ""},
         NULL,
         S2I_LABEL,
         .with_runtime = true,
         .wanted = "assemble=image:///s2i/>/s2i/assemble"},
        {{"/s2i/assemble-runtime /s2i/run", "", ""},
         NULL,
         S2I_LABEL,
         .runtime = true,
         .wanted =
             "assemble-runtime=image:///s2i/>/s2i/assemble-runtime run=image:///s2i/>/s2i/run"},
        {{"", ".s2i/bin/run .s2i/bin/assemble-runtime", ""},
         NULL,
         "{\"config\":{\"WorkingDir\":\"/app/\"}}",
         .runtime = true,
         .wanted =
             "assemble-runtime=source>/app/scripts/assemble-runtime run=source>/app/scripts/run"},
        {{"", ".s2i/bin/run .s2i/bin/assemble-runtime", ""},
         NULL,
         "{}",
         .runtime = true,
         .wanted = "assemble-runtime=source>/scripts/assemble-runtime run=source>/scripts/run"},
        {{"", ".s2i/bin/run", ""},
         NULL,
         "{}",
         .runtime = true,
         .wanted = "!InstallScriptsFailed could not determine scripts URL for image"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        check_scripts(&cases[i]);
}

/* --- image_metadata.json --- */

/* Spec: s2i 6.7 */
static void test_metadata(void **state)
{
    static const struct {
        const char *text, *wanted; /* labels, or what the error says after '!' */
    } cases[] = {
        {"{\"labels\":[{\"a\":\"1\"},{\"b\":\"x=y\",\"c\":\"\"}]}", "a=1|b=x=y|c="},
        {"{\"labels\":[{\"a\":\"1\"},{\"a\":\"2\"}],\"more\":1}", "a=2"},
        {"{\"labels\":[]}", ""},
        {"{\"labels\":[{}]}", ""},
        {"{}", "!labels is not a list"},
        {"[]", "!labels is not a list"},
        {"{\"labels\":{\"a\":\"1\"}}", "!labels is not a list"},
        {"{\"labels\":[{\"a\":\"1\"},\"b\"]}", "!labels[1] is not an object"},
        {"{\"labels\":[{\"a\":1}]}", "!labels[0] has a value"},
        {"{\"labels\":[{\"a\":null}]}", "!labels[0] has a value"},
        {"{\"labels\":[{\"\":\"1\"}]}", "!labels[0] has a name"},
        {"{\"labels\":[{\"a=b\":\"1\"}]}", "!labels[0] has a name"},
        {"{\"labels\":\n[}", "!line 2, column 2"},
        {"", "!line 1"},
        {"{\"labels\":[{\"a\":\"\\u0000\"}]}", "!not JSON"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_list_drop) struct s2i_list labels = {.items = NULL};
        struct buffer text = BUFFER_NONE;
        struct error err = {0};
        int outcome = image_metadata_read(slice_of(cases[i].text), &labels, &err);
        if (cases[i].wanted[0] == '!') {
            if (outcome == 0 || strstr(err.message, cases[i].wanted + 1) == NULL)
                fail_msg("%s: %s", cases[i].text, err.message);
            continue;
        }
        assert_int_equal(outcome, 0);
        for (size_t l = 0; l < labels.count; l++)
            buffer_print(&text, "%s%s", l > 0 ? "|" : "", labels.items[l]);
        if (!slice_equal_text(buffer_slice(&text), cases[i].wanted))
            fail_msg("%s gave %.*s", cases[i].text, SLICE_ARG(buffer_slice(&text)));
        buffer_drop(&text);
    }
}

static void test_metadata_limits(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list labels = {.items = NULL};
    struct buffer text = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    buffer_append_text(&text, "{\"labels\":[{\"n\":\"\"");
    for (int i = 0; i < 1000; i++)
        buffer_print(&text, ",\"n%d\":\"\"", i);
    buffer_append_text(&text, "}]}");
    assert_int_equal(image_metadata_read(buffer_slice(&text), &labels, &err), -1);
    assert_non_null(strstr(err.message, "more than 1000"));
    err = (struct error){0};
    while (text.size <= 1024 * 1024)
        buffer_append_text(&text, "                                ");
    assert_int_equal(image_metadata_read(buffer_slice(&text), &labels, &err), -1);
    assert_non_null(strstr(err.message, "more than 1048576"));
    buffer_drop(&text);
}

/* --- runtime artifacts --- */

/* Spec: s2i 9.3 */
static void test_artifact_mapping(void **state)
{
    static const struct {
        const char *text, *source, *destination, *fault;
    } cases[] = {
        {"/opt/app:bin", "/opt/app", "bin", NULL},
        {"/opt/app", "/opt/app", ".", NULL},
        {"/opt/app:", "/opt/app", ".", NULL},
        {" /opt/my app : a/b ", "/opt/my app", "a/b", NULL},
        {"", NULL, NULL, "source must be an absolute path"},
        {"opt/app:bin", NULL, NULL, "source must be an absolute path"},
        {"/opt/app:/bin", NULL, NULL, "destination must be a relative path"},
        {"/opt/app:../bin", NULL, NULL, "destination cannot start with '..'"},
        {"/opt/app:a/../../bin", NULL, NULL, "'..' cannot be part"},
        {"/opt/../etc:a", NULL, NULL, "'..' cannot be part"},
        {"/opt/a:b:c", NULL, NULL, "more than one ':'"},
        {"/opt/*.jar", NULL, NULL, "names cannot have any of"},
        {"/opt/a`b", NULL, NULL, "names cannot have any of"},
        {"/opt/a\nb", NULL, NULL, "names cannot have any of"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(artifact_mapping_drop) struct artifact_mapping mapping;
        struct error err = {0};
        int outcome = artifact_mapping_parse(slice_of(cases[i].text), &mapping, &err);
        if (cases[i].fault != NULL) {
            if (outcome == 0 || strstr(err.message, cases[i].fault) == NULL ||
                strncmp(err.message, "invalid runtime artifacts mapping: ", 35) != 0)
                fail_msg("%s: %s", cases[i].text, err.message);
            continue;
        }
        if (outcome < 0)
            fail_msg("%s: %s", cases[i].text, err.message);
        assert_string_equal(mapping.source, cases[i].source);
        assert_string_equal(mapping.destination, cases[i].destination);
    }
}

/* Spec: s2i 9.2 */
static void test_artifact_mappings_find(void **state)
{
    OWNED(image_config_drop)
    struct image_config image =
        config_of(LABELS("\"io.openshift.s2i.assemble-input-files\":\"/a:x;/b;\""));
    OWNED(image_config_drop) struct image_config plain = config_of("{}");
    struct s2i_options asked = {.url = NULL};
    const struct s2i_options none = {.url = NULL};
    struct artifact_mappings found;
    struct error err = {0};

    (void)state;
    s2i_list_add(&asked.runtime_artifact, SLICE("/c"));
    s2i_list_add(&asked.runtime_artifact, SLICE("/d;/e:y"));
    assert_int_equal(artifact_mappings_find(&asked, &image, &found, &err), 0);
    assert_int_equal(found.count, 3);
    assert_string_equal(found.items[2].destination, "y");
    artifact_mappings_drop(&found);
    assert_int_equal(artifact_mappings_find(&none, &image, &found, &err), 0);
    assert_int_equal(found.count, 2);
    assert_string_equal(found.items[0].source, "/a");
    artifact_mappings_drop(&found);
    assert_int_equal(artifact_mappings_find(&none, &plain, &found, &err), -1);
    assert_string_equal(err.message, "no runtime artifacts to copy were specified");
    err = (struct error){0};
    s2i_list_add(&asked.runtime_artifact, SLICE("f"));
    assert_int_equal(artifact_mappings_find(&asked, &image, &found, &err), -1);
    assert_null(found.items);
    s2i_options_drop(&asked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_config),
        cmocka_unit_test(test_image_config_refuses),
        cmocka_unit_test(test_a_config_of_many_variables),
        cmocka_unit_test(test_scripts_url),
        cmocka_unit_test(test_destination),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_scripts_find),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_limits),
        cmocka_unit_test(test_artifact_mapping),
        cmocka_unit_test(test_artifact_mappings_find),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
