/* test_document.c - which manifests are accepted, and what is read from them. */
#include "registry/core/document.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "registry/core/oci.h"
#include "tests/support/unit.h"

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define DESCRIPTOR(type, digest, size)                                                             \
    "{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":" size "}"
#define CONFIG                                                                                     \
    "\"config\":" DESCRIPTOR("application/vnd.oci.image.config.v1+json", "sha256:" A64, "2")
#define LAYER DESCRIPTOR("application/vnd.oci.image.layer.v1.tar+gzip", "sha256:" B64, "3")
#define V2 "\"schemaVersion\":2"

static int parse(const char *body, const char *type, struct document *out, struct error *err)
{
    return document_parse(slice_of(body), slice_of(type), 100, out, err);
}

/* Every line is refused with MANIFEST_INVALID; the sentence holds the words. */
static const struct {
    const char *spec, *type, *body, *words;
} refused[] = {
    {"MPUT-03 empty", OCI_TYPE_MANIFEST, "", "empty"},
    {"MPUT-03 array", OCI_TYPE_MANIFEST, "[]", "not a JSON object"},
    {"MPUT-03 text", OCI_TYPE_MANIFEST, "\"x\"", "JSON"},
    {"MPUT-03 cut off", OCI_TYPE_MANIFEST, "{" V2, "syntax error at line 1"},
    {"MPUT-03 after", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG "} x", "after the object"},
    {"MPUT-03 two", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG "}{}", "after the object"},
    {"MPUT-03 UTF-8", OCI_TYPE_MANIFEST, "{\"a\":\"\xff\"," V2 "," CONFIG "}", "not UTF-8"},
    {"MPUT-03 overlong", OCI_TYPE_MANIFEST, "{\"a\":\"\xc0\x80\"," V2 "," CONFIG "}", "not UTF-8"},
    {"MPUT-03 BOM", OCI_TYPE_MANIFEST, "\xef\xbb\xbf{" V2 "," CONFIG "}", "syntax error"},
    {"MPUT-03 duplicate", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG "," V2 "}", "duplicate key"},
    {"MPUT-03 duplicate in descriptor", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":{\"mediaType\":\"a/b\",\"size\":1,\"digest\":\"sha256:" A64
     "\",\"digest\":\"sha256:" B64 "\"}}",
     "duplicate key"},
    {"MPUT-05", OCI_TYPE_MANIFEST, "{" V2 ",\"mediaType\":\"" DOCKER_TYPE_MANIFEST "\"," CONFIG "}",
     "differs from the Content-Type"},
    {"MPUT-05 number", OCI_TYPE_MANIFEST, "{" V2 ",\"mediaType\":2," CONFIG "}",
     "mediaType is not"},
    {"MPUT-05 null", OCI_TYPE_MANIFEST, "{" V2 ",\"mediaType\":null," CONFIG "}",
     "mediaType is not"},
    {"MPUT-06 nothing to go by", NULL, "{" V2 "}", "what the manifest is"},
    {"MPUT-06 both", NULL, "{" V2 "," CONFIG ",\"manifests\":[]}", "what the manifest is"},
    {"MPUT-06 unknown own type", "application/json", "{" V2 ",\"mediaType\":\"a/b\"," CONFIG "}",
     "media type a/b"},
    {"unknown type", "application/vnd.unknown+json", "{" V2 "," CONFIG "}",
     "media type application/vnd.unknown+json"},
    {"no type at all", "nonsense", "{" V2 "," CONFIG "}", "Content-Type is not a media type"},
    {"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws",
     "{\"schemaVersion\":1}", "schema 1"},
    {"schema 1 unsigned", "application/vnd.docker.distribution.manifest.v1+json",
     "{\"schemaVersion\":1}", "schema 1"},
    {"withdrawn artifact", "application/vnd.oci.artifact.manifest.v1+json", "{}", "withdrawn"},
    {"MPUT-08 absent", OCI_TYPE_MANIFEST, "{" CONFIG "}", "schemaVersion"},
    {"MPUT-08 one", OCI_TYPE_MANIFEST, "{\"schemaVersion\":1," CONFIG "}", "schemaVersion"},
    {"MPUT-08 text", OCI_TYPE_MANIFEST, "{\"schemaVersion\":\"2\"," CONFIG "}", "schemaVersion"},
    {"MPUT-08 real", OCI_TYPE_MANIFEST, "{\"schemaVersion\":2.0," CONFIG "}", "schemaVersion"},
    {"MPUT-09 image", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"manifests\":[]}",
     "member manifests"},
    {"MPUT-09 null", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"manifests\":null}",
     "member manifests"},
    {"MPUT-09 index config", OCI_TYPE_INDEX, "{" V2 "," CONFIG ",\"manifests\":[]}",
     "member config"},
    {"MPUT-09 index layers", DOCKER_TYPE_LIST, "{" V2 ",\"layers\":[]}", "member layers"},
    {"MPUT-10 no config", OCI_TYPE_MANIFEST, "{" V2 ",\"layers\":[]}", "config is missing"},
    {"MPUT-10 null config", OCI_TYPE_MANIFEST, "{" V2 ",\"config\":null}", "config is missing"},
    {"MPUT-10 config text", OCI_TYPE_MANIFEST, "{" V2 ",\"config\":\"x\"}",
     "config is not a descriptor"},
    {"MPUT-10 layers", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"layers\":{}}",
     "layers is not an array"},
    {"MPUT-11 manifests", OCI_TYPE_INDEX, "{" V2 ",\"manifests\":\"x\"}",
     "manifests is not an array"},
    {"MPUT-11 element", OCI_TYPE_INDEX, "{" V2 ",\"manifests\":[null]}",
     "manifests[0] is not a descriptor"},
    {"MPUT-13 media type", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[" DESCRIPTOR("ab", "sha256:" A64, "1") "]}", "manifests[0].mediaType"},
    {"MPUT-13 parameters", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[" DESCRIPTOR("a/b; c=d", "sha256:" A64, "1") "]}",
     "manifests[0].mediaType"},
    {"MPUT-13 no digest", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[{\"mediaType\":\"a/b\",\"size\":1}]}", "manifests[0].digest"},
    {"MPUT-13 digest", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[" DESCRIPTOR("a/b", "sha256:abc", "1") "]}", "manifests[0].digest"},
    {"MPUT-13 upper case", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[" DESCRIPTOR("a/b", "sha256:AA", "1") "]}", "manifests[0].digest"},
    {"MPUT-13 no size", OCI_TYPE_MANIFEST,
     "{" V2 "," CONFIG ",\"layers\":[" LAYER ",{\"mediaType\":\"a/b\",\"digest\":\"sha256:" A64
     "\"}]}",
     "layers[1].size"},
    {"MPUT-13 negative", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":" DESCRIPTOR("a/b", "sha256:" A64, "-1") "}", "config.size"},
    {"MPUT-13 real", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":" DESCRIPTOR("a/b", "sha256:" A64, "1.5") "}", "config.size"},
    {"MPUT-13 text", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":" DESCRIPTOR("a/b", "sha256:" A64, "\"1\"") "}", "config.size"},
    {"MPUT-13 2^63", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":" DESCRIPTOR("a/b", "sha256:" A64, "9223372036854775808") "}", "JSON"},
    {"MPUT-18 text", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"subject\":\"x\"}",
     "subject is not a descriptor"},
    {"MPUT-18 digest", OCI_TYPE_MANIFEST,
     "{" V2 "," CONFIG ",\"subject\":" DESCRIPTOR("a/b", "x", "1") "}", "subject.digest"},
    {"artifactType", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"artifactType\":1}", "artifactType"},
    {"artifactType NUL", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"artifactType\":\"a\\u0000b\"}",
     "artifactType"},
    {"annotations", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"annotations\":[]}",
     "annotations is not an object"},
    {"annotation", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"annotations\":{\"a\":1}}",
     "annotation is not a string"},
};

static void test_document_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(refused); i++) {
        struct document document;
        struct error err = {0};
        if (parse(refused[i].body, refused[i].type, &document, &err) == 0)
            fail_msg("%s: accepted", refused[i].spec);
        assert_int_equal(err.code, ERROR_MANIFEST_INVALID);
        if (strstr(err.message, refused[i].words) == NULL)
            fail_msg("%s: \"%s\" does not say \"%s\"", refused[i].spec, err.message,
                     refused[i].words);
        assert_null(document.blobs);
        assert_null(document.media_type);
    }
}

/* Every line is accepted; what was read is compared. */
static const struct {
    const char *spec, *type, *body;
    const char *stored_type, *artifact_type, *annotations;
    size_t blobs, children;
} accepted[] = {
    {"image", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"layers\":[" LAYER "]}", OCI_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 2, 0},
    {"docker image", DOCKER_TYPE_MANIFEST,
     "{" V2 ",\"mediaType\":\"" DOCKER_TYPE_MANIFEST "\"," CONFIG "}", DOCKER_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"docker list", DOCKER_TYPE_LIST, "{" V2 ",\"manifests\":[" LAYER "]}", DOCKER_TYPE_LIST, NULL,
     NULL, 0, 1},
    {"MPUT-04 parameters and case", "Application/VND.oci.image.manifest.v1+JSON ; charset=utf-8",
     "{" V2 ",\"mediaType\":\"" OCI_TYPE_MANIFEST "\"," CONFIG "}", OCI_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-06 absent, own type", NULL, "{" V2 ",\"mediaType\":\"" DOCKER_TYPE_LIST "\"}",
     DOCKER_TYPE_LIST, NULL, NULL, 0, 0},
    {"MPUT-06 json, config", "application/json", "{" V2 "," CONFIG "}", OCI_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-06 octets, index", "application/octet-stream", "{" V2 ",\"manifests\":null}",
     OCI_TYPE_INDEX, NULL, NULL, 0, 0},
    {"MPUT-06 text, docker image", "text/plain; charset=utf-8",
     "{" V2 ",\"mediaType\":\"" DOCKER_TYPE_MANIFEST "\"," CONFIG "}", DOCKER_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-09 unknown members", OCI_TYPE_MANIFEST,
     "{" V2 "," CONFIG ",\"x\":{\"manifests\":[1,null,{\"config\":2}]},\"history\":[]}",
     OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-10 null layers", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"layers\":null}",
     OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-10 no layers", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"layers\":[]}", OCI_TYPE_MANIFEST,
     "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"MPUT-11 empty", OCI_TYPE_INDEX, "{" V2 ",\"manifests\":[]}", OCI_TYPE_INDEX, NULL, NULL, 0,
     0},
    {"MPUT-11 absent", OCI_TYPE_INDEX, "{" V2 "}", OCI_TYPE_INDEX, NULL, NULL, 0, 0},
    {"MPUT-12 unknown types", OCI_TYPE_MANIFEST,
     "{" V2 ",\"config\":" DESCRIPTOR("x/y", "sha256:" A64, "0") ",\"layers\":[" DESCRIPTOR(
         "p/q", "sha256:" B64, "9223372036854775807") "]}",
     OCI_TYPE_MANIFEST, "x/y", NULL, 2, 0},
    {"MPUT-13 other algorithm", OCI_TYPE_INDEX,
     "{" V2 ",\"manifests\":[" DESCRIPTOR("a/b", "blake3:Zz09=_-", "1") "]}", OCI_TYPE_INDEX, NULL,
     NULL, 0, 1},
    {"once each", OCI_TYPE_MANIFEST,
     "{" V2 "," CONFIG ",\"layers\":[" LAYER "," LAYER
     "," DESCRIPTOR("c/d", "sha256:" A64, "2") "]}",
     OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", NULL, 2, 0},
    {"once each child", OCI_TYPE_INDEX, "{" V2 ",\"manifests\":[" LAYER "," LAYER "]}",
     OCI_TYPE_INDEX, NULL, NULL, 0, 1},
    {"MPUT-18 null subject", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"subject\":null}",
     OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"REF-04 own", OCI_TYPE_MANIFEST,
     "{" V2 "," CONFIG ",\"artifactType\":\"application/vnd.sbom\"}", OCI_TYPE_MANIFEST,
     "application/vnd.sbom", NULL, 1, 0},
    {"REF-04 empty is absent", OCI_TYPE_MANIFEST, "{" V2 "," CONFIG ",\"artifactType\":\"\"}",
     OCI_TYPE_MANIFEST, "application/vnd.oci.image.config.v1+json", NULL, 1, 0},
    {"REF-04 index", OCI_TYPE_INDEX, "{" V2 ",\"artifactType\":\"a/b\"}", OCI_TYPE_INDEX, "a/b",
     NULL, 0, 0},
    {"REF-04 annotations", OCI_TYPE_INDEX,
     "{" V2 ",\"annotations\":{ \"z\" : \"1\", \"a\":\"\\u00e9\\u0000\" }}", OCI_TYPE_INDEX, NULL,
     "{\"z\":\"1\",\"a\":\"\xc3\xa9\\u0000\"}", 0, 0},
    {"REF-04 no annotations", OCI_TYPE_INDEX, "{" V2 ",\"annotations\":{}}", OCI_TYPE_INDEX, NULL,
     NULL, 0, 0},
};

static bool text_equal(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void test_document_accepts(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(accepted); i++) {
        struct document document;
        struct error err = {0};
        if (parse(accepted[i].body, accepted[i].type, &document, &err) < 0)
            fail_msg("%s: %s", accepted[i].spec, err.message);
        if (!text_equal(document.media_type, accepted[i].stored_type) ||
            !text_equal(document.artifact_type, accepted[i].artifact_type) ||
            !text_equal(document.annotations, accepted[i].annotations) ||
            document.blob_count != accepted[i].blobs ||
            document.child_count != accepted[i].children)
            fail_msg("%s: read %s, %s, %s, %zu blobs, %zu children", accepted[i].spec,
                     document.media_type, document.artifact_type, document.annotations,
                     document.blob_count, document.child_count);
        document_drop(&document);
    }
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define BASED(name, digest)                                                                        \
    "{" V2 "," CONFIG ",\"annotations\":{" name                                                    \
    "\"org.opencontainers.image.base.digest\":\"" digest "\"}}"
#define BASE(name) "\"org.opencontainers.image.base.name\":\"" name "\","

/* s2i 15.1: only what has its form is known. */
static void test_document_reads_what_an_image_stands_on(void **state)
{
    static const struct {
        const char *body, *type, *name;
        bool based;
    } cases[] = {
        {BASED(BASE("b/x:3"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "b/x:3", true},
        {BASED(BASE("b/x"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "b/x:latest", true},
        {BASED(BASE("host:5000/x"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "host:5000/x:latest",
         true},
        {BASED(BASE("host:5000/x:3"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "host:5000/x:3", true},
        {BASED(BASE("registry.example:5000/team/x"), "sha256:" ZEROS), OCI_TYPE_MANIFEST,
         "registry.example:5000/team/x:latest", true},
        {BASED(BASE("x"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "x:latest", true},
        {BASED(BASE("b/x@sha256:1"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, "b/x@sha256:1", true},
        {BASED("", "sha256:" ZEROS), OCI_TYPE_MANIFEST, NULL, true},
        {BASED(BASE("b\\u0000x"), "sha256:" ZEROS), OCI_TYPE_MANIFEST, NULL, true},
        {BASED(BASE("b/x:3"), "sha256:0"), OCI_TYPE_MANIFEST, NULL, false},
        {"{" V2 "," CONFIG "}", OCI_TYPE_MANIFEST, NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct document document;
        struct error err = {0};
        if (parse(cases[i].body, cases[i].type, &document, &err) < 0)
            fail_msg("%s: %s", cases[i].body, err.message);
        if (!text_equal(document.base_name, cases[i].name) ||
            digest_is_set(&document.base_digest) != cases[i].based)
            fail_msg("%s: read %s", cases[i].body, document.base_name);
        document_drop(&document);
    }
}

static void test_document_reads_descriptors_in_order(void **state)
{
    struct document document;
    struct error err = {0};
    struct digest subject;
    char text[DIGEST_TEXT_MAX];

    (void)state;
    assert_int_equal(parse("{" V2 "," CONFIG ",\"layers\":[" LAYER
                           "],\"subject\":" DESCRIPTOR("s/t", "x+y:Zz", "5") "}",
                           NULL, &document, &err),
                     0);
    assert_string_equal(digest_text(&document.blobs[0].digest, text), "sha256:" A64);
    assert_int_equal(document.blobs[0].size, 2);
    assert_string_equal(document.blobs[1].media_type,
                        "application/vnd.oci.image.layer.v1.tar+gzip");
    assert_string_equal(digest_text(&document.blobs[1].digest, text), "sha256:" B64);
    assert_int_equal(digest_parse_any(SLICE("x+y:Zz"), &subject, &err), 0);
    assert_true(digest_equal(&document.subject, &subject));
    document_drop(&document);
}

/* MPUT-15 */
static void test_document_knows_nondistributable_layers(void **state)
{
    static const struct {
        const char *type;
        bool expected;
    } cases[] = {
        {"application/vnd.oci.image.layer.nondistributable.v1.tar", true},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", true},
        {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar", true},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true},
        {"application/vnd.docker.image.rootfs.foreign.diff.tar.zstd", false},
        {"application/vnd.oci.image.layer.v1.tar", false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
        struct document document;
        struct error err = {0};
        buffer_print(&body,
                     "{" V2 "," CONFIG
                     ",\"layers\":[{\"mediaType\":\"%s\",\"size\":1,\"digest\":\"sha256:" B64
                     "\"}]}",
                     cases[i].type);
        assert_int_equal(document_parse(buffer_slice(&body), SLICE_NONE, 100, &document, &err), 0);
        assert_int_equal(document.blobs[1].nondistributable, cases[i].expected);
        document_drop(&document);
    }
    struct document both, config;
    struct error err = {0};
    assert_int_equal(parse("{" V2 ",\"config\":" DESCRIPTOR(
                               "application/vnd.oci.image.layer.nondistributable.v1.tar",
                               "sha256:" A64, "2") "}",
                           NULL, &config, &err),
                     0);
    assert_false(config.blobs[0].nondistributable);
    document_drop(&config);
    assert_int_equal(parse("{" V2 "," CONFIG ",\"layers\":[" DESCRIPTOR(
                               "application/vnd.oci.image.layer.nondistributable.v1.tar",
                               "sha256:" B64, "3") "," LAYER "]}",
                           NULL, &both, &err),
                     0);
    assert_int_equal(both.blob_count, 2);
    assert_false(both.blobs[1].nondistributable);
    document_drop(&both);
}

static void test_document_reads_platforms(void **state)
{
    static const struct {
        const char *platform, *expected;
    } cases[] = {
        {"{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\"}", "linux/arm64/v8"},
        {"{\"os\":\"linux\",\"architecture\":\"amd64\"}", "linux/amd64"},
        {"{\"os\":\"unknown\",\"architecture\":\"unknown\",\"variant\":\"\"}", "unknown/unknown"},
        {"{\"os\":\"linux\"}", NULL},
        {"null", NULL},
        {"[]", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
        struct document document;
        struct error err = {0};
        buffer_print(&body,
                     "{" V2
                     ",\"manifests\":[{\"mediaType\":\"a/b\",\"size\":1,\"digest\":\"sha256:" A64
                     "\",\"platform\":%s}]}",
                     cases[i].platform);
        assert_int_equal(document_parse(buffer_slice(&body), SLICE_NONE, 100, &document, &err), 0);
        assert_true(text_equal(document.children[0].platform, cases[i].expected));
        document_drop(&document);
    }
}

static struct buffer nested(size_t depth)
{
    struct buffer body = BUFFER_NONE;

    buffer_append_text(&body, "{" V2 ",\"a\":\"[[{\\\"[\",\"x\":");
    for (size_t i = 1; i < depth; i++)
        buffer_append_text(&body, "[");
    for (size_t i = 1; i < depth; i++)
        buffer_append_text(&body, "]");
    buffer_append_text(&body, "}");
    return body;
}

/* MPUT-03: 64 levels are read, one more is not, a million cost nothing. */
static void test_document_bounds_nesting(void **state)
{
    static const size_t depths[] = {64, 65, 1000000};

    (void)state;
    for (size_t i = 0; i < LENGTH(depths); i++) {
        OWNED(buffer_drop) struct buffer body = nested(depths[i]);
        struct document document;
        struct error err = {0};
        int got = document_parse(buffer_slice(&body), SLICE(OCI_TYPE_INDEX), 100, &document, &err);
        assert_int_equal(got, depths[i] <= 64 ? 0 : -1);
        if (got < 0)
            assert_non_null(strstr(err.message, "64 levels"));
        document_drop(&document);
    }
}

/* MPUT-29: at the limit and above it; config and layers count together. */
static void test_document_bounds_descriptors(void **state)
{
    (void)state;
    for (size_t layers = 9999; layers <= 10000; layers++) {
        OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
        struct document document;
        struct error err = {0};
        buffer_append_text(&body, "{" V2 "," CONFIG ",\"layers\":[");
        for (size_t i = 0; i < layers; i++)
            buffer_print(&body, "%s{\"mediaType\":\"a/b\",\"size\":1,\"digest\":\"sha256:%064zx\"}",
                         i > 0 ? "," : "", i);
        buffer_append_text(&body, "]}");
        int got = document_parse(buffer_slice(&body), SLICE_NONE, 10000, &document, &err);
        assert_int_equal(got, layers == 9999 ? 0 : -1);
        if (got == 0)
            assert_int_equal(document.blob_count, 10000);
        else
            assert_non_null(strstr(err.message, "limit of 10000"));
        document_drop(&document);
    }
}

/* Three bytes of a text are two hundred in memory; in its strings they are three. */
static void test_document_bounds_values(void **state)
{
    static const char *const items[] = {"{},", "[1],", ",,,", "\\\",["};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
        struct document document;
        struct error err = {0};
        bool text = i > 1;
        buffer_append_text(&body, "{" V2 "," CONFIG ",\"x\":");
        buffer_append_text(&body, text ? "\"" : "[");
        for (size_t count = 0; count < JSON_VALUES_MAX; count++)
            buffer_append_text(&body, items[i]);
        buffer_append_text(&body, text ? "\"}" : "1]}");
        int got =
            document_parse(buffer_slice(&body), slice_of(OCI_TYPE_MANIFEST), 100, &document, &err);
        assert_int_equal(got, text ? 0 : -1);
        if (got < 0)
            assert_non_null(strstr(err.message, "250000 values"));
        document_drop(&document);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document_refuses),
        cmocka_unit_test(test_document_accepts),
        cmocka_unit_test(test_document_reads_descriptors_in_order),
        cmocka_unit_test(test_document_reads_what_an_image_stands_on),
        cmocka_unit_test(test_document_knows_nondistributable_layers),
        cmocka_unit_test(test_document_reads_platforms),
        cmocka_unit_test(test_document_bounds_nesting),
        cmocka_unit_test(test_document_bounds_descriptors),
        cmocka_unit_test(test_document_bounds_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
