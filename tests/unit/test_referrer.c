/* test_referrer.c - provenance, SBOM and log of a build: texts against files, manifests as the
 * registry reads them. Spec: s2i 7.12, 15.5 */
#include <string.h>

#include "registry/core/document.h"
#include "registry/core/dsse.h"
#include "registry/core/json.h"
#include "registry/core/oci.h"
#include "s2i/contract/referrer.h"
#include "tests/support/golden.h"

#define SUBJECT "sha256:5b00000000000000000000000000000000000000000000000000000000000000"
#define LOG "sha256:1060000000000000000000000000000000000000000000000000000000000000"

static struct digest digest(const char *text)
{
    struct digest parsed;
    struct error err = {0};

    if (digest_parse(slice_of(text), &parsed, &err) < 0)
        fail_msg("%s", err.message);
    return parsed;
}

static struct referrer_subject subject(void)
{
    return (struct referrer_subject){OCI_TYPE_MANIFEST, digest(SUBJECT), 1234};
}

static void test_provenance(void **state)
{
    const struct referrer_subject image = subject();
    const struct digest log = digest(LOG);
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"result\":{\"scripts\":[{\"name\":\"assemble\",\"from\":\"source\","
                         "\"path\":\"/tmp/scripts/assemble\"},{\"name\":\"usage\"}]}}");
    const struct provenance about = {
        .spec = &golden.spec,
        .result = &golden.result,
        .subject = &image,
        .server = "https://registry.example",
        .version = "1.2.3",
        .actor = "ana",
        .trigger = "push",
        .started_us = 1700000000000000,
        .finished_us = 1700000001500000,
        .log = &log,
    };
    provenance_make(&about, &text);
    golden_compare(buffer_slice(&text), "provenance.json");
    assert_null(memmem(text.at, text.size, "hush", 4));
}

/* Of an archive, by a server that has no name, without a log. */
static void test_provenance_bare(void **state)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"spec\":{\"source\":{\"url\":\"\",\"commit\":\"\",\"tree\":\"\"},"
                         "\"inputs\":[{\"name\":\"base/tools:1\",\"digest\":\"" LOG "\"}]}}");
    const struct provenance about = {.spec = &golden.spec,
                                     .result = &golden.result,
                                     .subject = &image,
                                     .server = "",
                                     .version = "1"};
    provenance_make(&about, &text);
    assert_null(memmem(text.at, text.size, "git", 3));
    assert_null(memmem(text.at, text.size, "byproducts", 10));
    assert_null(memmem(text.at, text.size, "startedOn", 9));
    assert_non_null(memmem(text.at, text.size, "\"urn:slipway:builder\"", 21));
    assert_non_null(memmem(text.at, text.size, "\"name\":\"input\"", 14));
    assert_non_null(memmem(text.at, text.size, "\"oci:base/tools:1\"", 18));
    assert_non_null(memmem(text.at, text.size, "\"invocationId\":\"builds/41\"", 26));
}

/* s2i 15.1: what it was, what it stood on, what it stands on. */
static void test_provenance_of_rebases(void **state)
{
    const struct referrer_subject image = subject();
    const struct digest before = digest(LOG);
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{}");
    struct s2i_image old = golden.spec.builder;
    old.name = (char[]){"builders/python@" LOG};
    old.digest = before;
    const struct provenance_rebase about = {.repository = SLICE("team/app"),
                                            .before = &before,
                                            .old_base = &old,
                                            .new_base = &golden.spec.builder,
                                            .subject = &image,
                                            .server = "https://registry.example",
                                            .version = "1.2.3",
                                            .actor = SLICE("ana"),
                                            .started_us = 1700000000000000,
                                            .finished_us = 1700000001500000};
    provenance_of_rebase(&about, &text);
    golden_compare(buffer_slice(&text), "provenance_rebase.json");
}

/* Of an image that nobody built here. */
static void test_sbom_without_packages(void **state)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"result\":{\"packages\":[\"deb bash 1:5.2-2+b7\"]}}");
    struct sbom about = sbom_of_build(&golden.spec, &golden.result, &image);
    about.server = about.version = "";
    about.packages = NULL;
    sbom_make(&about, &text);
    assert_null(memmem(text.at, text.size, "bash", 4));
    assert_non_null(memmem(text.at, text.size, "packages were not looked for", 28));
}

static void test_sbom(void **state)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"result\":{\"packages\":[\"deb bash 1:5.2-2+b7\",\"apk musl 1.2.3\","
                         "\"deb/ubuntu libc6 2.39\",\"npm @scope/name 1.0.0\",\"odd thing 1\","
                         "\"broken\"]}}");
    struct sbom about = sbom_of_build(&golden.spec, &golden.result, &image);
    about.server = "https://registry.example/";
    about.version = "1.2.3";
    sbom_make(&about, &text);
    golden_compare(buffer_slice(&text), "sbom.json");
}

/* --- the files of layers --- */

static int keep(void *arg, struct slice bytes, struct error *err)
{
    (void)err;
    buffer_append_slice(arg, bytes);
    return 0;
}

static int refuse(void *arg, struct slice bytes, struct error *err)
{
    (void)arg, (void)bytes;
    return error_set(err, ERROR_STORAGE_FULL, "full");
}

static void parts_of(const char *change, struct buffer *out)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;

    golden_read(&golden, change);
    struct sbom about = sbom_of_build(&golden.spec, &golden.result, &image);
    about.server = "https://registry.example/";
    about.version = "1.2.3";
    sbom_make(&about, out);
}

static int add_file(struct sbom_writer *writer, size_t layer, const char *path, const char *text,
                    struct error *err)
{
    struct digest sha256;
    uint8_t sum[SHA1_SIZE];
    struct sha1 sha1;

    digest_of(DIGEST_SHA256, slice_of(text), &sha256);
    sha1_start(&sha1);
    sha1_update(&sha1, text, strlen(text));
    sha1_finish(&sha1, sum);
    return sbom_writer_file(writer, layer, slice_of(path), &sha256, sum, err);
}

#define TWO_LAYERS                                                                                 \
    "{\"result\":{\"layers\":[{\"digest\":\"" LOG "\",\"diff_id\":\"" LOG                          \
    "\",\"size\":1,\"media_type\":\"t\",\"name\":\"deps\"},{\"digest\":\"" LOG                     \
    "\",\"diff_id\":\"" LOG "\",\"size\":1,\"media_type\":\"t\",\"name\":\"\"}]}}"

static json_t *written(const char *change, const char *without, const char *const *names,
                       const size_t *layers, size_t count)
{
    OWNED(buffer_drop) struct buffer parts = BUFFER_NONE, out = BUFFER_NONE;
    OWNED(sbom_writer_drop) struct sbom_writer *writer = NULL;
    struct error err = {0};

    parts_of(change, &parts);
    if (sbom_writer_open(&writer, buffer_slice(&parts), without, keep, &out, &err) < 0)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < count; i++)
        if (add_file(writer, layers[i], names[i], names[i], &err) < 0)
            fail_msg("%s", err.message);
    if (sbom_writer_end(writer, &err) < 0)
        fail_msg("%s", err.message);
    json_t *document = json_loadb(out.at, out.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(document);
    char *again = json_dumps(document, JSON_COMPACT | JSON_SORT_KEYS);
    assert_int_equal(strlen(again), out.size);
    assert_memory_equal(again, out.at, out.size); /* canonical */
    free(again);
    return document;
}

static const json_t *package_of(const json_t *document, const char *id)
{
    const json_t *package;
    size_t i;

    json_array_foreach(json_object_get(document, "packages"), i, package) {
        if (strcmp(json_string_value(json_object_get(package, "SPDXID")), id) == 0)
            return package;
    }
    fail_msg("there is no %s", id);
    return NULL;
}

static bool contains(const json_t *document, const char *from, const char *to)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(document, "relationships"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "spdxElementId")), from) == 0 &&
            strcmp(json_string_value(json_object_get(one, "relatedSpdxElement")), to) == 0)
            return strcmp(json_string_value(json_object_get(one, "relationshipType")),
                          "CONTAINS") == 0;
    }
    return false;
}

static void test_sbom_files(void **state)
{
    static const char *const names[] = {"b", "a", "\"\\\xff\xc3\xa4"};
    static const size_t layers[] = {0, 0, 1};

    (void)state;
    OWNED(json_drop) json_t *document = written(TWO_LAYERS, NULL, names, layers, 3);
    const json_t *files = json_object_get(document, "files"),
                 *deps = package_of(document, "SPDXRef-Layer-1");
    assert_int_equal(json_array_size(files), 3);
    assert_string_equal(json_string_value(json_object_get(deps, "name")), "deps");
    /* SHA-1 over those of "a" (86f7e4...) and "b" (e9d71f...) in their order */
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(deps, "packageVerificationCode"),
                                          "packageVerificationCodeValue")),
        "5463504435e4dbf2b93a3a8a00ca78e36ea40e24");
    assert_true(json_is_true(json_object_get(deps, "filesAnalyzed")));
    assert_true(contains(document, "SPDXRef-Layer-1", "SPDXRef-File-1"));
    assert_true(contains(document, "SPDXRef-Layer-1", "SPDXRef-File-2"));
    assert_true(contains(document, "SPDXRef-Layer-2", "SPDXRef-File-3"));
    assert_string_equal(json_string_value(json_object_get(json_array_get(files, 2), "fileName")),
                        "./\"\\%FF\xc3\xa4");
    assert_non_null(json_object_get(json_array_get(files, 2), "comment"));
    assert_null(json_object_get(json_array_get(files, 1), "comment"));
}

/* A layer before that has none; and none at all, because somebody said so. */
static void test_sbom_layers_without_files(void **state)
{
    static const char *const names[] = {"x"};
    static const size_t layers[] = {1};

    (void)state;
    OWNED(json_drop)
    json_t *document = written(TWO_LAYERS, NULL, names, layers, 1),
           *bare = written(TWO_LAYERS, "too many", NULL, NULL, 0);
    assert_true(
        json_is_false(json_object_get(package_of(document, "SPDXRef-Layer-1"), "filesAnalyzed")));
    assert_true(
        json_is_true(json_object_get(package_of(document, "SPDXRef-Layer-2"), "filesAnalyzed")));
    assert_true(contains(document, "SPDXRef-Layer-2", "SPDXRef-File-1"));
    assert_int_equal(json_array_size(json_object_get(bare, "files")), 0);
    const json_t *layer = package_of(bare, "SPDXRef-Layer-2");
    assert_string_equal(json_string_value(json_object_get(layer, "comment")), "too many");
    assert_null(json_object_get(layer, "packageVerificationCode"));
}

static void test_sbom_is_bounded(void **state)
{
    OWNED(buffer_drop) struct buffer parts = BUFFER_NONE, out = BUFFER_NONE;
    OWNED(sbom_writer_drop) struct sbom_writer *writer = NULL, *full = NULL, *odd = NULL;
    struct error err = {0};
    int status = 0;

    (void)state;
    parts_of(NULL, &parts);
    assert_int_equal(sbom_writer_open(&writer, buffer_slice(&parts), NULL, keep, &out, &err), 0);
    for (int i = 0; i < SBOM_FILES_MAX; i++) {
        status += add_file(writer, 0, "x", "", &err);
        out.size = 0;
    }
    assert_int_equal(status, 0);
    assert_int_equal(add_file(writer, 0, "x", "", &err), -1);
    assert_int_equal(err.code, ERROR_INVALID);
    err = (struct error){0};
    assert_int_equal(sbom_writer_open(&full, buffer_slice(&parts), NULL, refuse, NULL, &err), 0);
    assert_int_equal(sbom_writer_end(full, &err), -1);
    assert_int_equal(err.code, ERROR_STORAGE_FULL);
    assert_int_equal(sbom_writer_open(&odd, SLICE("{\"packages\":[]}"), NULL, keep, &out, &err),
                     -1);
}

/* s2i 16.12: whoever asked may have written a password into an URL. */
static void test_provenance_of_urls(void **state)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"spec\":{\"source\":{\"url\":\"https://ana:hush@git.example/x.git\"},"
                         "\"options\":{\"scripts_url\":\"https://s.example/s\","
                         "\"env\":[\"A=hush=x\"],\"build_env\":[\"B=hush\"]}},"
                         "\"result\":{\"scripts\":[{\"name\":\"run\","
                         "\"from\":\"https://ana:hush@s.example/s/run\",\"path\":\"/x\"}]}}");
    const struct provenance about = {.spec = &golden.spec,
                                     .result = &golden.result,
                                     .subject = &image,
                                     .server = "",
                                     .version = "1"};
    provenance_make(&about, &text);
    assert_null(memmem(text.at, text.size, "hush", 4));
    assert_non_null(memmem(text.at, text.size, "https://s.example/s/run", 23));
    assert_non_null(memmem(text.at, text.size, "\"env\":[\"A\"]", 11));
}

static void test_referrer_manifests(void **state)
{
    static const struct {
        enum referrer_kind kind;
        const char *artifact_type, *layer_type, *annotation;
    } cases[] = {
        {REFERRER_STATEMENT, "application/vnd.in-toto+json", "application/vnd.in-toto+json",
         "https://slsa.dev/provenance/v1"},
        {REFERRER_PROVENANCE, DSSE_TYPE, DSSE_TYPE, PROVENANCE_PREDICATE},
        {REFERRER_SBOM, "application/spdx+json", "application/spdx+json", "2023-11-14T22:13:20Z"},
        {REFERRER_LOG, "application/vnd.slipway.build-log.v1", "text/plain",
         "2023-11-14T22:13:20Z"},
    };
    const struct referrer_subject image = subject();
    const struct digest text = digest(LOG), wanted = digest(SUBJECT);

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer manifest = BUFFER_NONE;
        struct document document;
        struct digest made, again, empty;
        struct error err = {0};
        referrer_make(cases[i].kind, &image, &text, 77, 1700000000, &manifest, &made);
        digest_of(DIGEST_SHA256, buffer_slice(&manifest), &again);
        assert_true(digest_equal(&made, &again));
        if (document_parse(buffer_slice(&manifest), SLICE_NONE, 10, &document, &err) < 0)
            fail_msg("%s", err.message);
        digest_of(DIGEST_SHA256, SLICE(REFERRER_CONFIG), &empty);
        assert_true(digest_equal(&document.subject, &wanted));
        assert_string_equal(document.artifact_type, cases[i].artifact_type);
        assert_int_equal(document.blob_count, 2);
        assert_true(digest_equal(&document.blobs[0].digest, &empty));
        assert_int_equal(document.blobs[0].size, 2);
        assert_true(digest_equal(&document.blobs[1].digest, &text));
        assert_int_equal(document.blobs[1].size, 77);
        assert_string_equal(document.blobs[1].media_type, cases[i].layer_type);
        assert_non_null(strstr(document.annotations, cases[i].annotation));
        document_drop(&document);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_provenance),
        cmocka_unit_test(test_provenance_bare),
        cmocka_unit_test(test_provenance_of_rebases),
        cmocka_unit_test(test_sbom),
        cmocka_unit_test(test_sbom_without_packages),
        cmocka_unit_test(test_sbom_files),
        cmocka_unit_test(test_sbom_layers_without_files),
        cmocka_unit_test(test_sbom_is_bounded),
        cmocka_unit_test(test_provenance_of_urls),
        cmocka_unit_test(test_referrer_manifests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
