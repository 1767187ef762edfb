/* test_referrer.c - provenance, SBOM and log of a build: texts against files, manifests as the
 * registry reads them. Spec: s2i 7.12, 15.5 */
#include <string.h>

#include "registry/core/document.h"
#include "registry/core/dsse.h"
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

static void test_sbom(void **state)
{
    const struct referrer_subject image = subject();
    OWNED(golden_drop) struct golden golden;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    golden_read(&golden, "{\"result\":{\"packages\":[\"deb bash 1:5.2-2+b7\",\"apk musl 1.2.3\","
                         "\"deb/ubuntu libc6 2.39\",\"npm @scope/name 1.0.0\",\"odd thing 1\","
                         "\"broken\"]}}");
    const struct sbom about = {&golden.spec, &golden.result, &image, "https://registry.example/",
                               "1.2.3"};
    sbom_make(&about, &text);
    golden_compare(buffer_slice(&text), "sbom.json");
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
        cmocka_unit_test(test_sbom),
        cmocka_unit_test(test_referrer_manifests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
