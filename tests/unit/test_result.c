/* test_result.c - config and manifest of results, field by field against files; keys of inputs. */
#include <string.h>

#include "registry/core/document.h"
#include "registry/core/oci.h"
#include "s2i/contract/contract.h"
#include "tests/support/golden.h"

enum { LABEL_MAX = 10240 };

static void make(const struct golden *golden, struct contract_result *out)
{
    struct error err = {0};

    if (contract_result_make(&golden->spec, &golden->result, &golden->tags, LABEL_MAX, out, &err) <
        0)
        fail_msg("%s", err.message);
}

/* Spec: s2i 7.1 to 7.8, 17.10; acceptance 20.4 */
static void test_result_golden(void **state)
{
    OWNED(golden_drop) struct golden golden;
    OWNED(contract_result_drop) struct contract_result made;
    struct document document;
    struct error err = {0};

    (void)state;
    golden_read(&golden, NULL);
    make(&golden, &made);
    golden_compare(buffer_slice(&made.config), "config.json");
    golden_compare(buffer_slice(&made.manifest), "manifest.json");
    if (document_parse(buffer_slice(&made.manifest), SLICE_NONE, 50, &document, &err) < 0)
        fail_msg("%s", err.message);
    assert_true(digest_equal(&document.blobs[0].digest, &made.config_digest));
    document_drop(&document);
}

/* Spec: s2i 7.5 */
static void test_result_stores_no_secret(void **state)
{
    static const char *const secrets[] = {"hush", "TOKEN", "ONLY", "me:"};
    OWNED(golden_drop) struct golden golden;
    OWNED(contract_result_drop) struct contract_result made;

    (void)state;
    golden_read(&golden, NULL);
    make(&golden, &made);
    for (size_t i = 0; i < LENGTH(secrets); i++) {
        size_t size = strlen(secrets[i]);
        assert_null(memmem(made.config.at, made.config.size, secrets[i], size));
        assert_null(memmem(made.manifest.at, made.manifest.size, secrets[i], size));
    }
}

/* What does not decide the result does not change a byte of it. */
static void test_result_is_the_same(void **state)
{
    OWNED(golden_drop) struct golden golden, other;
    OWNED(contract_result_drop) struct contract_result made, again;

    (void)state;
    golden_read(&golden, NULL);
    golden_read(&other,
                "{\"spec\":{\"build\":42,\"target\":\"shop/web:other\",\"options\":{"
                "\"timeout_ms\":5000,\"log_level\":\"steps\"},\"limits\":{\"disk\":9}},"
                "\"result\":{\"files_in\":7,\"warnings\":[\"w\"],\"assemble_user\":\"1\"}}");
    make(&golden, &made);
    make(&other, &again);
    assert_true(digest_equal(&made.manifest_digest, &again.manifest_digest));
}

/* --- configs, member by member --- */

static json_t *config_of(const char *change)
{
    OWNED(golden_drop) struct golden golden;
    OWNED(contract_result_drop) struct contract_result made;

    golden_read(&golden, change);
    make(&golden, &made);
    json_t *config = json_loadb(made.config.at, made.config.size, 0, NULL);
    assert_non_null(config);
    return config;
}

#define BASE(config) "{\"spec\":{\"builder\":{\"layers\":[],\"config\":\"" config "\"}}}"

/* Spec: s2i 7.2 */
static void test_result_of_bare_builder(void **state)
{
    OWNED(json_decrefp) json_t *document = config_of(BASE("{}"));
    const json_t *config = json_object_get(document, "config");

    (void)state;
    assert_null(json_object_get(config, "Entrypoint"));
    assert_null(json_object_get(config, "User"));
    assert_int_equal(json_array_size(json_object_get(document, "history")), 1);
    assert_int_equal(
        json_array_size(json_object_get(json_object_get(document, "rootfs"), "diff_ids")), 1);
}

static void test_result_entrypoint_null(void **state)
{
    OWNED(json_decrefp)
    json_t *document = config_of(BASE("{\\\"config\\\":{\\\"Entrypoint\\\":null}}"));

    (void)state;
    assert_null(json_object_get(json_object_get(document, "config"), "Entrypoint"));
}

static size_t entries(const json_t *document, bool empty)
{
    const json_t *entry, *history = json_object_get(document, "history");
    size_t count = 0, i;

    json_array_foreach((json_t *)(uintptr_t)history, i, entry)
        count += json_is_true(json_object_get(entry, "empty_layer")) == empty;
    return count;
}

/* Entries that made a layer are as many as layers, whatever the builder's say. Spec: s2i 7.8 */
static void test_result_history_counts(void **state)
{
    static const struct {
        const char *change;
        size_t made, empty;
    } cases[] = {
        {NULL, 3, 1},
        {"{\"result\":{\"layers\":[]}}", 2, 2},
        {BASE("{\\\"history\\\":[{},{\\\"empty_layer\\\":true}]}"), 1, 0},
        {BASE("{\\\"history\\\":{}}"), 1, 0},
        {BASE("{\\\"history\\\":[{\\\"empty_layer\\\":true}]}"), 1, 1},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_decrefp) json_t *document = config_of(cases[i].change);
        if (entries(document, false) != cases[i].made || entries(document, true) != cases[i].empty)
            fail_msg("%s: %zu and %zu", cases[i].change, entries(document, false),
                     entries(document, true));
    }
}

static const char *label(const json_t *document, const char *name)
{
    const json_t *config = json_object_get(document, "config");

    return json_string_value(json_object_get(json_object_get(config, "Labels"), name));
}

/* Spec: s2i 7.3, 7.4 */
static void test_result_labels(void **state)
{
    OWNED(json_decrefp)
    json_t *document = config_of(
        "{\"spec\":{\"source\":{\"ref\":\"refs/heads/release/1\",\"commit\":\"\"},"
        "\"options\":{\"application_name\":\"Shop\",\"label_prefix\":\"x.\",\"description\":null,"
        "\"labels\":[\"io.k8s.display-name=Asked\",\"empty=\"]}},"
        "\"result\":{\"labels\":[\"x.image=Said\"]}}");

    (void)state;
    assert_string_equal(label(document, "io.k8s.display-name"), "Asked");
    assert_string_equal(label(document, "io.k8s.description"), "Platform");
    assert_string_equal(label(document, "x.image"), "Said");
    assert_string_equal(label(document, "x.commit.ref"), "release/1");
    assert_null(label(document, "x.commit.id"));
    assert_string_equal(label(document, "empty"), "");
    assert_string_equal(label(document, "team"), "builders");
}

/* Spec: s2i 7.6 */
static void test_result_label_limit(void **state)
{
    OWNED(golden_drop) struct golden golden;
    struct contract_result made;
    struct error err = {0};

    (void)state;
    golden_read(&golden, NULL);
    assert_int_equal(
        contract_result_make(&golden.spec, &golden.result, &golden.tags, 100, &made, &err), -1);
    assert_non_null(strstr(err.message, "exceeds the maximum limit '100'"));
    assert_null(made.config.at);
    assert_int_equal(
        contract_result_make(&golden.spec, &golden.result, &golden.tags, 0, &made, &err), 0);
    contract_result_drop(&made);
}

/* --- manifests --- */

#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar"
#define DOCKER_LAYER "application/vnd.docker.image.rootfs.diff.tar"
#define LAYER(type) "{\"digest\":\"" D "\",\"diff_id\":\"" D "\",\"media_type\":\"" type "\"}"
#define D "sha256:1d00000000000000000000000000000000000000000000000000000000000000"
#define TWO_IDS "{\\\"rootfs\\\":{\\\"diff_ids\\\":[\\\"" D "\\\"]}}"
#define MIX(manifest, base, ours, options)                                                         \
    "{\"spec\":{\"builder\":{\"media_type\":\"" manifest "\",\"config\":\"" TWO_IDS                \
    "\",\"layers\":[" LAYER(base) "]},\"options\":" options                                        \
                                  "},\"result\":{\"layers\":[" LAYER(ours) "]}}"

/* Spec: s2i 7.9 */
static void test_result_media_types(void **state)
{
    static const struct {
        const char *change, *manifest, *config, *base, *ours;
    } cases[] = {
        {MIX(OCI_TYPE_MANIFEST, OCI_LAYER "+gzip", OCI_LAYER "+zstd", "{}"), OCI_TYPE_MANIFEST,
         "application/vnd.oci.image.config.v1+json", OCI_LAYER "+gzip", OCI_LAYER "+zstd"},
        {MIX(DOCKER_TYPE_MANIFEST, DOCKER_LAYER ".gzip", OCI_LAYER "+gzip", "{}"),
         DOCKER_TYPE_MANIFEST, "application/vnd.docker.container.image.v1+json",
         DOCKER_LAYER ".gzip", DOCKER_LAYER ".gzip"},
        {MIX(DOCKER_TYPE_MANIFEST, DOCKER_LAYER ".gzip", OCI_LAYER "+gzip", "{\"oci\":true}"),
         OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", OCI_LAYER "+gzip",
         OCI_LAYER "+gzip"},
        {MIX(DOCKER_TYPE_MANIFEST, DOCKER_LAYER ".gzip", OCI_LAYER "+zstd", "{}"),
         OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", OCI_LAYER "+gzip",
         OCI_LAYER "+zstd"},
        {MIX(DOCKER_TYPE_MANIFEST, OCI_LAYER, OCI_LAYER "+gzip", "{}"), DOCKER_TYPE_MANIFEST,
         "application/vnd.docker.container.image.v1+json", DOCKER_LAYER, DOCKER_LAYER ".gzip"},
        {MIX(OCI_TYPE_MANIFEST, DOCKER_LAYER ".gzip", OCI_LAYER "+gzip", "{}"), OCI_TYPE_MANIFEST,
         "application/vnd.oci.image.config.v1+json", OCI_LAYER "+gzip", OCI_LAYER "+gzip"},
        {MIX(DOCKER_TYPE_MANIFEST, "x/other", OCI_LAYER "+gzip", "{}"), OCI_TYPE_MANIFEST,
         "application/vnd.oci.image.config.v1+json", "x/other", OCI_LAYER "+gzip"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(golden_drop) struct golden golden;
        OWNED(contract_result_drop) struct contract_result made;
        golden_read(&golden, cases[i].change);
        make(&golden, &made);
        OWNED(json_decrefp)
        json_t *manifest = json_loadb(made.manifest.at, made.manifest.size, 0, NULL);
        const json_t *layers = json_object_get(manifest, "layers");
        const json_t *config = json_object_get(manifest, "config");
        const char *found[] = {
            json_string_value(json_object_get(manifest, "mediaType")),
            json_string_value(json_object_get(config, "mediaType")),
            json_string_value(json_object_get(json_array_get(layers, 0), "mediaType")),
            json_string_value(json_object_get(json_array_get(layers, 1), "mediaType"))};
        if (strcmp(found[0], cases[i].manifest) != 0 || strcmp(found[1], cases[i].config) != 0 ||
            strcmp(found[2], cases[i].base) != 0 || strcmp(found[3], cases[i].ours) != 0)
            fail_msg("case %zu: %s %s %s %s", i, found[0], found[1], found[2], found[3]);
    }
}

/* A runtime image is the base; the builder is named where the build is told of. Spec: s2i 9.6 */
static void test_result_on_runtime_image(void **state)
{
    OWNED(golden_drop) struct golden golden;
    OWNED(contract_result_drop) struct contract_result made;

    (void)state;
    golden_read(&golden,
                "{\"spec\":{\"runtime\":{\"name\":\"base/run:1@sha256:x\","
                "\"digest\":\"" D "\",\"media_type\":\"" OCI_TYPE_MANIFEST "\",\"layers\":[],"
                "\"config\":\"{\\\"config\\\":{\\\"User\\\":\\\"7\\\"}}\"}}}");
    make(&golden, &made);
    OWNED(json_decrefp) json_t *config = json_loadb(made.config.at, made.config.size, 0, NULL);
    OWNED(json_decrefp)
    json_t *manifest = json_loadb(made.manifest.at, made.manifest.size, 0, NULL);
    const json_t *annotations = json_object_get(manifest, "annotations");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(config, "config"), "User")), "7");
    assert_string_equal(label(config, "io.openshift.s2i.build.image"), "builders/python:3");
    assert_string_equal(
        json_string_value(json_object_get(annotations, "org.opencontainers.image.base.name")),
        "base/run:1");
    assert_string_equal(
        json_string_value(json_object_get(annotations, "org.opencontainers.image.base.digest")), D);
    assert_int_equal(json_array_size(json_object_get(manifest, "layers")), 1);
}

static void test_result_refuses(void **state)
{
    static const char *const cases[] = {
        "{\"result\":{\"run\":null}}",
        "{\"result\":{\"run\":\"scripts/run\"}}",
        "{\"spec\":{\"builder\":{\"config\":\"{}\"}}}",
        "{\"spec\":{\"builder\":{\"config\":\"[]\"}}}",
        "{\"spec\":{\"builder\":{\"layers\":[]}}}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(golden_drop) struct golden golden;
        struct contract_result made;
        struct error err = {0};
        golden_read(&golden, cases[i]);
        if (contract_result_make(&golden.spec, &golden.result, &golden.tags, 0, &made, &err) == 0)
            fail_msg("%s was taken", cases[i]);
        assert_int_equal(err.code, ERROR_INVALID);
    }
}

/* Times out of any calendar are shown as the nearest that is in it. */
static void test_result_of_any_time(void **state)
{
    OWNED(json_decrefp)
    json_t *late = config_of("{\"spec\":{\"source\":{\"time\":9223372036854775807}}}");
    OWNED(json_decrefp)
    json_t *early = config_of("{\"spec\":{\"source\":{\"time\":-9223372036854775808}}}");

    (void)state;
    assert_string_equal(json_string_value(json_object_get(late, "created")),
                        "9999-12-31T23:59:59Z");
    assert_string_equal(json_string_value(json_object_get(early, "created")),
                        "1970-01-01T00:00:00Z");
}

/* --- keys (15.3) --- */

static void key_of(const char *change, char out[65])
{
    OWNED(golden_drop) struct golden golden;

    golden_read(&golden, change);
    contract_input_key(&golden.spec, out);
}

static void test_key(void **state)
{
    static const struct {
        const char *change;
        bool other; /* the key differs */
    } cases[] = {
        {"{\"spec\":{\"build\":42}}", false},
        {"{\"spec\":{\"source\":{\"ref\":\"main\"}}}", false},
        {"{\"spec\":{\"target\":\"shop/web:main\"}}", false},
        {"{\"spec\":{\"limits\":{\"memory\":7}}}", false},
        {"{\"spec\":{\"options\":{\"tags\":[\"x\"]}}}", false},
        {"{\"spec\":{\"options\":{\"timeout_ms\":5000}}}", false},
        {"{\"spec\":{\"options\":{\"keep_failed_ms\":5000}}}", false},
        {"{\"spec\":{\"options\":{\"rebuild\":true}}}", false},
        {"{\"spec\":{\"options\":{\"run_policy\":\"Parallel\"}}}", false},
        {"{\"spec\":{\"scripts_by_http\":true}}", false},
        {"{\"result\":{\"run\":\"/other\"}}", false},
        {"{\"spec\":{\"target\":\"shop/app:latest\"}}", true},
        {"{\"spec\":{\"builder\":{\"digest\":\"" D "\"}}}", true},
        {"{\"spec\":{\"builder\":{\"name\":\"builders/python:4\"}}}", true},
        {"{\"spec\":{\"previous\":{\"name\":\"a\",\"digest\":\"" D "\"}}}", true},
        {"{\"spec\":{\"runtime\":{\"name\":\"a\",\"digest\":\"" D "\"}}}", true},
        {"{\"spec\":{\"inputs\":[{\"name\":\"a\",\"digest\":\"" D "\"}]}}", true},
        {"{\"spec\":{\"options\":{\"copy_from\":[\"a=/b\"]}}}", true},
        {"{\"spec\":{\"source\":{\"content\":\"" D "\"}}}", true},
        {"{\"spec\":{\"source\":{\"commit\":\"f\"}}}", true},
        {"{\"spec\":{\"source\":{\"author\":\"f\"}}}", true},
        {"{\"spec\":{\"source\":{\"time\":1}}}", true},
        {"{\"spec\":{\"source\":{\"context_dir\":\"f\"}}}", true},
        {"{\"spec\":{\"options\":{\"env\":[\"LANG=C\"]}}}", true},
        {"{\"spec\":{\"options\":{\"build_env\":[\"ONLY=other\"]}}}", true},
        {"{\"spec\":{\"options\":{\"secret_env\":[\"TOKEN=other\"]}}}", true},
        {"{\"spec\":{\"options\":{\"labels\":[\"a=b\"]}}}", true},
        {"{\"spec\":{\"options\":{\"compression\":\"zstd\"}}}", true},
        {"{\"spec\":{\"options\":{\"scripts_url\":\"image:///x\"}}}", true},
        {"{\"spec\":{\"options\":{\"slices\":[\"a=b\"]}}}", true},
        {"{\"spec\":{\"options\":{\"clamp_all\":true}}}", true},
        {"{\"spec\":{\"secrets\":[\"a=b\"]}}", true},
    };
    char key[65], other[65];

    (void)state;
    key_of(NULL, key);
    assert_int_equal(strlen(key), 64);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        key_of(cases[i].change, other);
        if ((strcmp(key, other) != 0) != cases[i].other)
            fail_msg("%s: the key %s", cases[i].change, cases[i].other ? "stays" : "differs");
    }
}

/* Scripts that are fetched may be others the next time. */
static void test_key_of_fetched_scripts(void **state)
{
    char key[65], other[65];

    (void)state;
    key_of("{\"spec\":{\"scripts_by_http\":true,\"options\":{\"scripts_url\":\"https://x\"}}}",
           key);
    key_of("{\"spec\":{\"scripts_by_http\":true,\"options\":{\"scripts_url\":\"https://x\"},"
           "\"build\":42}}",
           other);
    assert_string_not_equal(key, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_result_golden),
        cmocka_unit_test(test_result_stores_no_secret),
        cmocka_unit_test(test_result_is_the_same),
        cmocka_unit_test(test_result_of_bare_builder),
        cmocka_unit_test(test_result_entrypoint_null),
        cmocka_unit_test(test_result_history_counts),
        cmocka_unit_test(test_result_labels),
        cmocka_unit_test(test_result_label_limit),
        cmocka_unit_test(test_result_media_types),
        cmocka_unit_test(test_result_on_runtime_image),
        cmocka_unit_test(test_result_refuses),
        cmocka_unit_test(test_result_of_any_time),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_key_of_fetched_scripts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
