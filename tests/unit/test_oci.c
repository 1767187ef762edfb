/* test_oci.c - the grammars of names, tags, media types and upload ids. */
#include "registry/core/oci.h"

#include <string.h>

#include "tests/support/unit.h"

struct verdict {
    const char *text;
    bool valid;
};

static void check(const struct verdict *cases, size_t count, bool (*question)(struct slice))
{
    for (size_t i = 0; i < count; i++)
        if (question(slice_of(cases[i].text)) != cases[i].valid)
            fail_msg("'%s' must %sbe valid", cases[i].text, cases[i].valid ? "" : "not ");
}

/* Spec: NAME-01, NAME-11, NAME-14. */
static void test_oci_name_separators(void **state)
{
    static const struct verdict cases[] = {
        {"a", true},     {"a/b", true},       {"a/b/c/d", true},    {"0", true},
        {"a.b", true},   {"a_b", true},       {"a__b", true},       {"a-b", true},
        {"a--b", true},  {"a---b", true},     {"blobs", true},      {"a/manifests", true},
        {"v2/v2", true}, {"tags/list", true}, {"a-b_c.d__e", true}, {"", false},
        {"a..b", false}, {"a___b", false},    {"a._b", false},      {"a-_b", false},
        {"a.-b", false}, {"-a", false},       {"a-", false},        {"_a", false},
        {"a_", false},   {".a", false},       {"a.", false},        {"/a", false},
        {"a/", false},   {"a//b", false},     {"A", false},         {"a/B", false},
        {"a b", false},  {"a:b", false},      {"\xc3\xa4", false},  {"a/-", false},
        {"a\n", false},  {"a/../b", false},
    };

    (void)state;
    check(cases, LENGTH(cases), oci_name_valid);
}

/* Spec: NAME-10. */
static void test_oci_name_length(void **state)
{
    char name[OCI_NAME_MAX + 1];

    (void)state;
    memset(name, 'a', sizeof(name));
    assert_true(oci_name_valid((struct slice){name, OCI_NAME_MAX}));
    assert_false(oci_name_valid((struct slice){name, OCI_NAME_MAX + 1}));
}

/* Spec: NAME-02. */
static void test_oci_tag(void **state)
{
    static const struct verdict cases[] = {
        {"a", true},    {"_", true},    {"A.b-c_9", true},   {"1.0", true},  {"a..b", true},
        {"", false},    {".a", false},  {"-a", false},       {"a b", false}, {"a:b", false},
        {"a/b", false}, {"a+b", false}, {"\xc3\xa4", false}, {"a\n", false},
    };
    char tag[OCI_TAG_MAX + 1];

    (void)state;
    check(cases, LENGTH(cases), oci_tag_valid);
    memset(tag, 'a', sizeof(tag));
    assert_true(oci_tag_valid((struct slice){tag, OCI_TAG_MAX}));
    assert_false(oci_tag_valid((struct slice){tag, OCI_TAG_MAX + 1}));
    assert_false(oci_tag_valid((struct slice){"a\0b", 3}));
}

/* Spec: NAME-06. */
static void test_oci_media_type(void **state)
{
    static const struct verdict cases[] = {
        {OCI_TYPE_MANIFEST, true},
        {"application/vnd.x+json", true},
        {"a/b", true},
        {"text/x!#$&^_.-9", true},
        {"", false},
        {"a", false},
        {"a/", false},
        {"/b", false},
        {"a/b/c", false},
        {"a/b; c=d", false},
        {"a /b", false},
        {"a/+b", false},
        {"a/b\xc3\xa4", false},
    };
    char type[2 * 128 + 1];

    (void)state;
    check(cases, LENGTH(cases), oci_media_type_valid);
    memset(type, 'a', sizeof(type));
    type[127] = '/';
    assert_true(oci_media_type_valid((struct slice){type, 255}));
    assert_false(oci_media_type_valid((struct slice){type, 256}));
    assert_false(oci_media_type_valid((struct slice){"a/b\0", 4}));
}

/* Spec: NAME-08. */
static void test_oci_upload_id(void **state)
{
    static const struct verdict cases[] = {
        {"00000000-0000-4000-8000-000000000000", true},
        {"01234567-89ab-cdef-0123-456789abcdef", true},
        {"01234567-89AB-cdef-0123-456789abcdef", false},
        {"0123456789ab-cdef-0123-456789abcdef", false},
        {"01234567-89ab-cdef-0123-456789abcdef0", false},
        {"01234567-89ab-cdef-0123-456789abcdeg", false},
        {"01234567_89ab_cdef_0123_456789abcdef", false},
        {"", false},
    };
    char one[OCI_UPLOAD_ID_SIZE + 1], other[OCI_UPLOAD_ID_SIZE + 1];

    (void)state;
    check(cases, LENGTH(cases), oci_upload_id_valid);
    oci_upload_id_new(one);
    oci_upload_id_new(other);
    assert_true(oci_upload_id_valid(slice_of(one)));
    assert_int_equal(one[14], '4');
    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oci_name_separators),
        cmocka_unit_test(test_oci_name_length),
        cmocka_unit_test(test_oci_tag),
        cmocka_unit_test(test_oci_media_type),
        cmocka_unit_test(test_oci_upload_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
