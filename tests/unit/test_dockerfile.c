/* test_dockerfile.c - builds as Dockerfiles, and options read back from labels. */
#include <string.h>

#include "s2i/contract/dockerfile.h"
#include "tests/support/golden.h"

#define PREVIOUS                                                                                   \
    "\"previous\":{\"name\":\"shop/web:latest\",\"digest\":\"sha256:"                              \
    "aa00000000000000000000000000000000000000000000000000000000000000\"}"

static void read_file(const char *path, struct buffer *out)
{
    FILE *file = fopen(path, "r");
    char piece[4096];
    size_t got;

    assert_non_null(file);
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, got);
    fclose(file);
}

/* Spec: s2i 10.3 */
static void test_dockerfile_golden(void **state)
{
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer wanted = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    golden_read(&golden, "{\"spec\":{" PREVIOUS ",\"options\":{\"incremental\":true,"
                         "\"inject\":[\"npmrc:/root/.npmrc\"],"
                         "\"description\":\"The \\\"shop\\\", for $5 \\\\ less.\"}},"
                         "\"result\":{\"scripts\":["
                         "{\"name\":\"assemble\",\"from\":\"image:///usr/libexec/s2i\","
                         "\"path\":\"/usr/libexec/s2i/assemble\"},"
                         "{\"name\":\"run\",\"from\":\"source\",\"path\":\"/tmp/scripts/run\"},"
                         "{\"name\":\"save-artifacts\",\"from\":\"source\","
                         "\"path\":\"/tmp/scripts/save-artifacts\"}]}}");
    const struct dockerfile about = {&golden.spec, &golden.result, "registry.example:5000"};
    if (dockerfile_make(&about, &text, &err) < 0)
        fail_msg("%s", err.message);
    read_file("tests/unit/golden/Dockerfile", &wanted);
    if (!slice_equal(buffer_slice(&text), buffer_slice(&wanted)))
        fail_msg("%.*s", SLICE_ARG(buffer_slice(&text)));
    assert_null(memmem(text.at, text.size, "hush", 4));
}

/* Upstream's usual places, when nobody looked. */
static void test_dockerfile_defaults(void **state)
{
    static const char *const lines[] = {
        "WORKDIR /opt/app-root/src\n",
        "COPY --chown=1001:0 upload/src /tmp/src\n",
        "USER 1001\n",
        "RUN --mount=type=secret,id=TOKEN,env=TOKEN [\"/usr/libexec/s2i/assemble\"]\n",
        "CMD [\"/usr/libexec/s2i/run\"]\n",
        "ENV LANG=\"C.UTF-8\"\n",
    };
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    golden_read(&golden, "{\"spec\":{\"builder\":{\"config\":\"{}\"}}}");
    const struct dockerfile about = {&golden.spec, NULL, ""};
    assert_int_equal(dockerfile_make(&about, &text, &err), 0);
    assert_true(slice_starts(buffer_slice(&text), "FROM builders/python:3@sha256:"));
    for (size_t i = 0; i < LENGTH(lines); i++)
        if (memmem(text.at, text.size, lines[i], strlen(lines[i])) == NULL)
            fail_msg("no %sin\n%.*s", lines[i], SLICE_ARG(buffer_slice(&text)));
    assert_null(memmem(text.at, text.size, "upload/scripts", 14));
    assert_null(memmem(text.at, text.size, "cached", 6));
}

/* The builder's user comes back after assemble. */
static void test_dockerfile_users(void **state)
{
    static const char wanted[] = "[\"/usr/libexec/s2i/assemble\"]\nUSER 1001\nCMD";
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    golden_read(&golden, "{\"spec\":{\"options\":{\"assemble_user\":\"0\"}}}");
    const struct dockerfile about = {&golden.spec, NULL, ""};
    assert_int_equal(dockerfile_make(&about, &text, &err), 0);
    assert_non_null(memmem(text.at, text.size, wanted, strlen(wanted)));
    assert_non_null(memmem(text.at, text.size, "--chown=0:0", 11));
}

static void test_dockerfile_refuses(void **state)
{
    static const char *const cases[] = {
        "{\"spec\":{\"options\":{\"runtime_image\":\"base\"}}}",
        "{\"spec\":{\"options\":{\"description\":\"a\\nUSER root\"}}}",
        "{\"spec\":{\"source\":{\"author\":\"a\\nUSER root\"}}}",
        "{\"spec\":{\"options\":{\"env\":[\"A=b\\nUSER root\"]}}}",
        "{\"spec\":{\"options\":{\"env\":[\"A/B=b\"]}}}",
        "{\"spec\":{\"options\":{\"secret_env\":[\"A,env=B=b\"]}}}",
        "{\"spec\":{\"options\":{\"assemble_user\":\"1;id\"}}}",
        "{\"spec\":{\"options\":{\"destination\":\"/a b\"}}}",
        "{\"spec\":{\"options\":{\"inject\":[\"a:/b c\"]}}}",
        "{\"spec\":{\"builder\":{\"config\":\"[]\"}}}",
        "{\"spec\":{\"builder\":{\"config\":\"{\\\"config\\\":{\\\"User\\\":\\\"a\\\\nb\\\"}}\"}}}",
        "{\"spec\":{\"builder\":{\"name\":\"a\\nUSER root\"}}}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(golden_drop) struct golden golden;
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct error err = {0};
        golden_read(&golden, cases[i]);
        const struct dockerfile about = {&golden.spec, NULL, ""};
        if (dockerfile_make(&about, &text, &err) == 0)
            fail_msg("%s was taken:\n%.*s", cases[i], SLICE_ARG(buffer_slice(&text)));
        assert_int_equal(err.code, ERROR_INVALID);
        assert_int_equal(text.size, 0);
    }
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};
    golden_read(&golden, NULL);
    const struct dockerfile planned = {&golden.spec, &golden.result, ""}; /* no scripts */
    assert_int_equal(dockerfile_make(&planned, &text, &err), -1);
}

/* Spec: s2i 10.5 */
static void test_rebuild(void **state)
{
#define S2I "\"io.openshift.s2i.build."
#define OCP "\"io.openshift.build."
    static const struct {
        const char *labels, *prefix, *wanted; /* options, or the error after '!' */
    } cases[] = {
        {S2I "image\":\"builders/c:1\"," S2I "source-location\":\"https://h/x\"," S2I
             "commit.ref\":\"main\"," S2I "source-context-dir\":\"sub\"",
         NULL,
         "{\"url\":\"https://h/x\",\"ref\":\"main\",\"context_dir\":\"sub\","
         "\"builder\":\"builders/c:1\"}"},
        {OCP "image\":\"c\"," OCP "source-location\":\"https://h/x\",\"io.k8s.display-name\":\"N\"",
         NULL,
         "{\"url\":\"https://h/x\",\"builder\":\"c\",\"application_name\":\"N\","
         "\"label_prefix\":\"io.openshift.build.\"}"},
        {OCP "image\":\"r.example:5000/c:1\"," OCP "source-location\":\"https://h/x\"", NULL,
         "{\"url\":\"https://h/x\",\"builder\":\"c:1\","
         "\"label_prefix\":\"io.openshift.build.\"}"},
        {OCP "image\":\"other.example:5000/c:1\"," OCP "source-location\":\"https://h/x\"", NULL,
         "!of this registry"},
        {"\"x.image\":\"c\",\"x.source-location\":\"https://h/x\"", "x.",
         "{\"url\":\"https://h/x\",\"builder\":\"c\",\"label_prefix\":\"x.\"}"},
        {S2I "source-location\":\"https://h/x\"", NULL,
         "!required label io.openshift.s2i.build.image not found in image"},
        {S2I "image\":\"\"," S2I "source-location\":\"https://h/x\"", NULL,
         "!required label io.openshift.s2i.build.image not found in image"},
        {S2I "image\":\"c\"", NULL,
         "!required label io.openshift.s2i.build.source-location not found in image"},
        {S2I "image\":\"c\"," S2I "source-location\":\"https://u:p@h/x\"", NULL,
         "!must not hold credentials"},
        {S2I "image\":\"c\"," S2I "source-location\":\"https://h/x\"," S2I
             "commit.ref\":\"--upload-pack=x\"",
         NULL, "!must be a word"},
    };

    const struct s2i_hosts hosts = s2i_hosts_of("https://r.example:5000", SLICE_NONE);

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(image_config_drop) struct image_config image;
        OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
        char config[1000];
        struct error err = {0};
        snprintf(config, sizeof(config), "{\"config\":{\"Labels\":{%s}}}", cases[i].labels);
        assert_int_equal(image_config_read(&image, slice_of(config), &err), 0);
        int outcome = rebuild_options(&image, cases[i].prefix, &hosts, &options, &err);
        if (cases[i].wanted[0] == '!') {
            if (outcome == 0 || strstr(err.message, cases[i].wanted + 1) == NULL)
                fail_msg("%s: %s", cases[i].labels, err.message);
            continue;
        }
        if (outcome < 0)
            fail_msg("%s: %s", cases[i].labels, err.message);
        OWNED(json_decrefp) json_t *written = s2i_options_write(&options, true);
        char *text = json_dumps(written, JSON_COMPACT);
        assert_string_equal(text, cases[i].wanted);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dockerfile_golden), cmocka_unit_test(test_dockerfile_defaults),
        cmocka_unit_test(test_dockerfile_users),  cmocka_unit_test(test_dockerfile_refuses),
        cmocka_unit_test(test_rebuild),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
