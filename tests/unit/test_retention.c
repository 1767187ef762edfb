/* test_retention.c - rules of retention: their grammar, versions in order, and what they decide of
 * images that stand in tables. ECR's published examples are among them, by their headings. */
#include <stdlib.h>
#include <string.h>

#include "registry/retention/decide.h"
#include "registry/retention/version.h"
#include "tests/support/unit.h"

/* --- the grammar --- */

#define EXPIRE "\"action\":{\"type\":\"expire\"}"
#define KEEP "\"action\":{\"type\":\"keep\"}"
#define OLD "\"countType\":\"sinceImagePushed\",\"countUnit\":\"days\",\"countNumber\":14"
#define MANY "\"countType\":\"imageCountMoreThan\",\"countNumber\":1"
#define RULE(priority, selection)                                                                  \
    "{\"rulePriority\":" #priority ",\"selection\":{" selection "}," EXPIRE "}"
#define KEEP_RULE(priority, selection)                                                             \
    "{\"rulePriority\":" #priority ",\"selection\":{" selection "}," KEEP "}"
#define TAGGED(list) "\"tagStatus\":\"tagged\",\"tagPatternList\":[" list "],"
#define PREFIXED(list) "\"tagStatus\":\"tagged\",\"tagPrefixList\":[" list "],"
#define ANY "\"tagStatus\":\"any\","
#define UNTAGGED "\"tagStatus\":\"untagged\","

static const struct {
    const char *text;
    const char *message; /* a part of it */
} refused[] = {
    {"", "not JSON"},
    {"{", "not JSON"},
    {"[]", "1 to 100"},
    {"{\"rules\":[]}", "1 to 100"},
    {"{\"rules\":{}}", "1 to 100"},
    {"{}", "member"},
    {"7", "not JSON"},
    {"{\"rules\":[" RULE(1, ANY MANY) "],\"more\":1}", "member"},
    {"[7]", "rule at place 1: it must be an object"},
    {"[{}]", "rule at place 1: rulePriority"},
    {"[" RULE(0, ANY MANY) "]", "rule at place 1: rulePriority"},
    {"[" RULE(1000000, ANY MANY) "]", "rulePriority"},
    {"[" RULE("1", ANY MANY) "]", "rulePriority"},
    {"[" RULE(1.5, ANY MANY) "]", "rulePriority"},
    {"[" RULE(7, ANY MANY) "," RULE(7, UNTAGGED MANY) "]", "rule 7: rulePriority is there twice"},
    {"[{\"rulePriority\":1,\"rulePriority\":2}]", "not JSON"},
    {"[{\"rulePriority\":1,\"selection\":{" ANY MANY "}}]", "rule 1: action must be an object"},
    {"[{\"rulePriority\":1," EXPIRE "}]", "rule 1: selection must be an object"},
    {"[{\"rulePriority\":1," EXPIRE ",\"description\":7,\"selection\":{" ANY MANY "}}]",
     "description"},
    {"[{\"rulePriority\":1," EXPIRE ",\"owner\":7,\"selection\":{" ANY MANY "}}]",
     "it has a member that is not known"},
    {"[" RULE(1, ANY MANY ",\"tagStati\":1") "]", "selection has a member that is not known"},
    {"[{\"rulePriority\":1,\"action\":{\"type\":\"expire\",\"at\":1},\"selection\":{" ANY MANY
     "}}]",
     "action has a member"},
    {"[{\"rulePriority\":1,\"action\":{\"type\":\"delete\"},\"selection\":{" ANY MANY "}}]",
     "action must be"},
    {"[{\"rulePriority\":1,\"action\":{\"type\":\"transition\",\"targetStorageClass\":\"archive\"},"
     "\"selection\":{" ANY MANY "}}]",
     "transition is not possible"},
    {"[" RULE(1, ANY MANY ",\"storageClass\":\"archive\"") "]", "storageClass must be standard"},
    {"[" RULE(1, ANY "\"countType\":\"sinceImageTransitioned\",\"countUnit\":\"days\","
                     "\"countNumber\":1") "]",
     "nothing is ever transitioned"},
    {"[" RULE(1, MANY) "]", "rule 1: tagStatus must be"},
    {"[" RULE(1, "\"tagStatus\":\"some\"," MANY) "]", "tagStatus must be"},
    {"[" RULE(1, "\"tagStatus\":\"tagged\"," MANY) "]",
     "tagStatus tagged needs tagPatternList or tagPrefixList"},
    {"[" RULE(1, TAGGED("\"a\"") "\"tagPrefixList\":[\"a\"]," MANY) "]", "exclude each other"},
    {"[" RULE(1, ANY "\"tagPatternList\":[\"a\"]," MANY) "]", "need tagStatus tagged"},
    {"[" RULE(1, UNTAGGED "\"tagPrefixList\":[\"a\"]," MANY) "]", "need tagStatus tagged"},
    {"[" RULE(1, TAGGED("") MANY) "]", "tagPatternList must be a list of 1 to 50"},
    {"[" RULE(1, TAGGED("\"\"") MANY) "]", "texts of 1 to 128"},
    {"[" RULE(1, TAGGED("7") MANY) "]", "texts of 1 to 128"},
    {"[" RULE(1, TAGGED("\"a b\"") MANY) "]", "characters that no tag has"},
    {"[" RULE(1, PREFIXED("\"a*\"") MANY) "]", "tagPrefixList has characters"},
    {"[" RULE(1, TAGGED("\"test*1*2*3*4*5*6\"") MANY) "]", "at most 4 wildcards"},
    {"[" RULE(1, ANY "\"countNumber\":1") "]", "countType must be"},
    {"[" RULE(1, ANY "\"countType\":\"imageCountNewest\",\"countNumber\":1") "]",
     "countType must be"},
    {"[" RULE(1, ANY "\"countType\":\"imageCountMoreThan\"") "]", "countNumber must be"},
    {"[" RULE(1, ANY "\"countType\":\"imageCountMoreThan\",\"countNumber\":0") "]",
     "countNumber must be"},
    {"[" RULE(1, ANY "\"countType\":\"imageCountMoreThan\",\"countNumber\":1000001") "]",
     "countNumber must be"},
    {"[" RULE(1, ANY MANY ",\"countUnit\":\"days\"") "]", "countUnit goes with sinceImage"},
    {"[" RULE(1, ANY "\"countType\":\"sinceImagePulled\",\"countNumber\":1") "]",
     "countUnit must be"},
    {"[" RULE(1, ANY "\"countType\":\"sinceImagePulled\",\"countUnit\":\"weeks\","
                     "\"countNumber\":1") "]",
     "countUnit must be"},
    {"[" RULE(1, ANY MANY ",\"countBy\":\"pushed\"") "]", "countBy goes with"},
    {"[" RULE(1, ANY MANY ",\"inUse\":true") "]", "inUse is true"},
    {"[" RULE(1, ANY MANY) "," RULE(2, UNTAGGED MANY) "]",
     "rule 1: tagStatus any must have the highest"},
    {"[" RULE(2, UNTAGGED MANY) "," RULE(1, ANY MANY) "]",
     "rule 1: tagStatus any must have the highest"},
    {"[" RULE(1, UNTAGGED MANY) "," RULE(2, UNTAGGED OLD) "]",
     "rule 2: rule 1 selects the same images already"},
    {"[" RULE(1, TAGGED("\"a*\",\"b*\"") MANY) "," RULE(2, TAGGED("\"b*\",\"a*\"") OLD) "]",
     "rule 2: rule 1 selects the same images already"},
    {"[" KEEP_RULE(1, "") "]", "selects nothing"},
    {"[" KEEP_RULE(1, "\"inUse\":false") "]", "inUse is true"},
    {"[" KEEP_RULE(1, ANY MANY) "]", "must be imageCountNewest"},
    {"[" KEEP_RULE(1, ANY "\"countNumber\":3") "]", "need countType"},
    {"[" KEEP_RULE(1, ANY
                   "\"countType\":\"imageCountNewest\",\"countNumber\":3,\"countBy\":\"size\"") "]",
     "countBy must be"},
    {"[" KEEP_RULE(1, "\"inUse\":true,\"countType\":\"imageCountNewest\",\"countNumber\":3") "]",
     "inUse is true"},
};

static void test_retention_refuses_what_it_does_not_understand(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(refused); i++) {
        struct rules rules;
        struct error err = {0};
        if (rules_parse(slice_of(refused[i].text), &rules, &err) == 0)
            fail_msg("accepted: %s", refused[i].text);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_string_equal(err.field, "rules");
        if (strstr(err.message, refused[i].message) == NULL)
            fail_msg("%s\ntold: %s\nwanted: %s", refused[i].text, err.message, refused[i].message);
        assert_null(rules.items);
    }
}

static void test_retention_bounds_what_it_reads(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct rules rules;
    struct error err = {0};

    (void)state;
    buffer_append_text(&text, "[");
    for (int i = 1; i <= RULES_MAX + 1; i++)
        buffer_print(&text,
                     "%s{\"rulePriority\":%d,\"selection\":{" PREFIXED("\"p%d\"") MANY "}," EXPIRE
                                                                                       "}",
                     i == 1 ? "" : ",", i, i);
    buffer_append_text(&text, "]");
    assert_int_equal(rules_parse(buffer_slice(&text), &rules, &err), -1);
    error_clear(&err);
    text.size = 0;
    buffer_append_text(&text, "[" RULE(1, ANY MANY));
    while (text.size < RULES_TEXT_MAX)
        buffer_append_text(&text, " ");
    buffer_append_text(&text, "]");
    assert_int_equal(rules_parse(buffer_slice(&text), &rules, &err), -1);
    assert_non_null(strstr(err.message, "bytes"));
}

/* Whatever is accepted is printed, in the order of priorities, and read again it is the same. */
static const struct {
    const char *text, *printed;
} accepted[] = {
    /* "Filtering on image age", as it is published */
    {"{\"rules\": [{\"rulePriority\": 1, \"description\": \"Expire images older than 14 days\","
     " \"selection\": {\"tagStatus\": \"tagged\", \"tagPatternList\": [\"prod*\"],"
     " \"countType\": \"sinceImagePushed\", \"countUnit\": \"days\", \"countNumber\": 14},"
     " \"action\": {\"type\": \"expire\"}}]}",
     "[{\"rulePriority\":1,\"description\":\"Expire images older than 14 days\","
     "\"selection\":{\"tagStatus\":\"tagged\",\"tagPatternList\":[\"prod*\"],"
     "\"countType\":\"sinceImagePushed\",\"countUnit\":\"days\",\"countNumber\":14},"
     "\"action\":{\"type\":\"expire\"}}]"},
    {"[" RULE(1, ANY MANY ",\"storageClass\":\"standard\"") "]", "[" RULE(1, ANY MANY) "]"},
    {"[" RULE(9, ANY MANY) "," RULE(2, UNTAGGED OLD) "," KEEP_RULE(30, ANY "\"inUse\":true") "]",
     "[" RULE(2, UNTAGGED OLD) "," RULE(9, ANY MANY) "," KEEP_RULE(30, ANY "\"inUse\":true") "]"},
    {"[" RULE(1, TAGGED("\"*test*1*2*3\",\"test*1*2*3*\"") MANY) "]",
     "[" RULE(1, TAGGED("\"*test*1*2*3\",\"test*1*2*3*\"") MANY) "]"},
    {"[" RULE(1, TAGGED("\"a\"") MANY) "," RULE(2, PREFIXED("\"a\"") MANY) "]",
     "[" RULE(1, TAGGED("\"a\"") MANY) "," RULE(2, PREFIXED("\"a\"") MANY) "]"},
    {"[" KEEP_RULE(1, "\"tagPatternList\":[\"v?.*\"]") "]",
     "[" KEEP_RULE(1, "\"tagStatus\":\"tagged\",\"tagPatternList\":[\"v?.*\"]") "]"},
    {"[" KEEP_RULE(1, "\"tagStatus\":\"any\"") "]", "[" KEEP_RULE(1, "\"tagStatus\":\"any\"") "]"},
    {"[" KEEP_RULE(1, "\"countType\":\"imageCountNewest\",\"countNumber\":3") "]",
     "[" KEEP_RULE(1, ANY "\"countType\":\"imageCountNewest\",\"countNumber\":3,"
                          "\"countBy\":\"pushed\"") "]"},
    {"[" RULE(1, ANY "\"countType\":\"sinceImagePulled\",\"countUnit\":\"seconds\","
                     "\"countNumber\":1000000") "]",
     "[" RULE(1, ANY "\"countType\":\"sinceImagePulled\",\"countUnit\":\"seconds\","
                     "\"countNumber\":1000000") "]"},
};

static void test_retention_prints_what_it_understood(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(accepted); i++) {
        OWNED(rules_drop) struct rules rules = {.items = NULL};
        OWNED(rules_drop) struct rules again = {.items = NULL};
        OWNED(buffer_drop) struct buffer first = BUFFER_NONE;
        OWNED(buffer_drop) struct buffer second = BUFFER_NONE;
        struct error err = {0};
        if (rules_parse(slice_of(accepted[i].text), &rules, &err) < 0)
            fail_msg("%s: %s", accepted[i].text, err.message);
        rules_print(&rules, &first);
        if (!slice_equal_text(buffer_slice(&first), accepted[i].printed))
            fail_msg("printed: %.*s", SLICE_ARG(buffer_slice(&first)));
        assert_int_equal(rules_parse(buffer_slice(&first), &again, &err), 0);
        rules_print(&again, &second);
        assert_true(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    }
}

/* --- versions --- */

static void test_retention_orders_versions(void **state)
{
    static const char *const ascending[] = {
        "0.9",        "1.0.0-alpha",  "1.0.0-alpha.1", "1.0.0-alpha.beta",
        "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "v1.0.0-rc.1",
        "1.0.0",      "1.0.1",        "v1.2",          "1.10.0",
        "2",          "10.0",         "10.0.0.1",      "99999999999999999999999999.1"};

    (void)state;
    for (size_t i = 0; i < LENGTH(ascending); i++) {
        assert_true(version_valid(slice_of(ascending[i])));
        for (size_t k = 0; k < LENGTH(ascending); k++) {
            int order = version_compare(slice_of(ascending[i]), slice_of(ascending[k]));
            if ((order < 0) != (i < k) || (order > 0) != (i > k))
                fail_msg("%s against %s: %d", ascending[i], ascending[k], order);
        }
    }
}

static void test_retention_tells_versions_from_words(void **state)
{
    static const char *const words[] = {"latest", "v",  "",    "1.", ".1",      "1..2",
                                        "va.1",   "x1", "1.x", "1-", "main-1.2"};
    static const char *const same[][2] = {{"1", "v1.0.0"}, {"1.2", "1.02.0"}, {"V3-a", "3-a"}};

    (void)state;
    for (size_t i = 0; i < LENGTH(words); i++)
        if (version_valid(slice_of(words[i])))
            fail_msg("%s is no version", words[i]);
    for (size_t i = 0; i < LENGTH(same); i++)
        assert_int_equal(version_compare(slice_of(same[i][0]), slice_of(same[i][1])), 0);
}

/* --- what they decide --- */

enum { ASIDE = 1, PINNED = 2, GUARDED = 4, SUBJECT_GONE = 8, SUBJECT_SET_ASIDE = 16 };

/* A manifest. Numbers are days ago; parent and subject are letters of others, 0 for none. */
struct seed {
    const char *tags; /* "a,b"; NULL ends the list */
    int pushed, pulled;
    char parent, subject;
    unsigned flags;
    char second; /* parent */
};
#define M(names, days, ...)                                                                        \
    {                                                                                              \
        .tags = (names), .pushed = (days), ##__VA_ARGS__                                           \
    }

static const struct {
    const char *what;
    const char *rules;
    const char *expires, *follows; /* letters */
    struct seed seeds[8];
} cases[] = {
    /* --- the published examples --- */
    {"Filtering on image age",
     "[" RULE(1, TAGGED("\"prod*\"") OLD) "]",
     "A",
     "",
     {M("prod-1", 15), M("dev-1", 20), M("prod-2", 14), M("", 30)}},
    {"Filtering on image count",
     "[" RULE(1, UNTAGGED MANY) "]",
     "AB",
     "",
     {M("", 9), M("", 8), M("a", 7), M("", 6)}},
    {"Filtering on multiple rules, A",
     "[" RULE(1, TAGGED("\"prod*\"") MANY) "," RULE(2, TAGGED("\"beta*\"") MANY) "]",
     "A",
     "",
     {M("beta-1,prod-1", 10), M("beta-2,prod-2", 9), M("beta-3", 8)}},
    {"Filtering on multiple rules, B",
     "[" RULE(1, TAGGED("\"beta*\"") MANY) "," RULE(2, TAGGED("\"prod*\"") MANY) "]",
     "AB",
     "",
     {M("beta-1,prod-1", 10), M("beta-2,prod-2", 9), M("beta-3", 8)}},
    {"Filtering on multiple tags in a single rule, A",
     "[" RULE(1, TAGGED("\"alpha*\",\"beta*\"") "\"countType\":\"sinceImagePushed\","
                                                "\"countNumber\":5,\"countUnit\":\"days\"") "]",
     "C",
     "",
     {M("alpha-1", 12), M("beta-1", 11), M("alpha-2,beta-2", 10), M("alpha-3", 4), M("beta-3", 3),
      M("alpha-4,beta-4", 2)}},
    {"Filtering on multiple tags in a single rule, B",
     "[" RULE(1, PREFIXED("\"alpha\",\"beta\"") MANY) "]",
     "AB",
     "",
     {M("alpha-1,beta-1,gamma-1", 10), M("alpha-2,beta-2", 9), M("alpha-3,beta-3,gamma-2", 8)}},
    {"Filtering on all images, A",
     "[" RULE(1, ANY MANY) "]",
     "ABC",
     "",
     {M("alpha-1", 4), M("beta-1", 3), M("", 2), M("alpha-2", 1)}},
    {"Filtering on all images, B",
     "[" RULE(1, TAGGED("\"alpha*\"") MANY) "," RULE(
         2, UNTAGGED "\"countType\":\"sinceImagePushed\",\"countUnit\":\"days\","
                     "\"countNumber\":1") "," RULE(3, ANY MANY) "]",
     "ABD",
     "",
     {M("alpha-1,beta-1", 4), M("", 3), M("alpha-2", 2), M("git-hash", 1), M("", 1)}},

    /* --- traps --- */
    {"a rule that is about an image and does not expire it shields it from later ones",
     "[" RULE(1, TAGGED("\"prod*\"") OLD) "," RULE(2, ANY MANY) "]",
     "B",
     "",
     {M("prod-1", 10), M("x", 9), M("prod-2", 8), M("y", 1)}},
    {"what another rule expires still counts",
     "[" RULE(1, TAGGED("\"old*\"") "\"countType\":\"sinceImagePushed\",\"countUnit\":\"hours\","
                                    "\"countNumber\":1") "," RULE(2, ANY MANY) "]",
     "AB",
     "",
     {M("x", 9), M("old-1", 1)}},
    {"counts go by the push, the later row first among equals",
     "[" RULE(1, ANY MANY) "]",
     "AC",
     "",
     {M("a", 3), M("b", 1), M("c", 2)}},
    {"one tag may fit every entry of a list",
     "[" RULE(1, TAGGED("\"a*\",\"*z\"") MANY) "]",
     "A",
     "",
     {M("a-z", 3), M("a", 2), M("a,z", 1)}},
    {"a prefix is no pattern, a pattern is no prefix",
     "[" RULE(1, TAGGED("\"a\"") OLD) "," RULE(2, PREFIXED("\"b\"") OLD) "]",
     "AD",
     "",
     {M("a", 20), M("aa", 20), M("xb", 20), M("bb", 20)}},
    {"an image of an index is none: it goes with it",
     "[" RULE(1, UNTAGGED MANY) "," RULE(2, TAGGED("\"v*\"") MANY) "]",
     "C",
     "AB",
     {M("", 9, .parent = 'C'), M("", 9, .parent = 'C'), M("v1", 9), M("", 8, .parent = 'E'),
      M("v2", 8)}},
    {"a child stays with its index",
     "[" RULE(1, TAGGED("\"v*\"") MANY) "]",
     "B",
     "",
     {M("", 9, .parent = 'C'), M("v1", 9), M("v2", 8)}},
    {"a child of two indexes goes with the last of them",
     "[" RULE(1, TAGGED("\"v*\"") MANY) "]",
     "CD",
     "B",
     {M("", 9, .parent = 'C', .second = 'E'), M("", 9, .parent = 'C', .second = 'D'), M("v1", 9),
      M("v2", 8), M("v3", 7)}},
    {"a child with a tag stays while an index lists it",
     "[" RULE(1, TAGGED("\"v*\"") OLD) "]",
     "B",
     "",
     {M("v1-amd64", 20, .parent = 'B'), M("v1", 20)}},
    {"an index that can be restored still holds its child",
     "[" RULE(1, ANY OLD) "]",
     "",
     "",
     {M("v1-amd64", 20, .flags = ASIDE), M("", 20, .flags = ASIDE)}},
    {"what refers to a subject never counts, and follows it",
     "[" RULE(1, ANY MANY) "]",
     "A",
     "B",
     {M("a", 9), M("", 8, .subject = 'A'), M("c", 7), M("", 6, .subject = 'C'),
      M("", 5, .subject = 'C')}},
    {"a referrer of a child goes with the index of it",
     "[" RULE(1, ANY MANY) "]",
     "B",
     "ACD",
     {M("", 9, .parent = 'B'), M("x", 9), M("", 8, .subject = 'A'), M("", 8, .subject = 'C'),
      M("y", 1)}},
    {"a referrer with a tag is removed with its subject, and never before",
     "[" RULE(1, ANY MANY) "]",
     "AB",
     "",
     {M("a", 9), M("sbom-a", 8, .subject = 'A'), M("c", 7), M("sbom-c", 1, .subject = 'C')}},
    {"a referrer without its subject stays: the subject may still come, or be restored",
     "[" RULE(1, ANY OLD) "]",
     "",
     "",
     {M("", 20, .flags = SUBJECT_GONE), M("t", 20, .flags = SUBJECT_SET_ASIDE)}},
    {"a signature by its tag follows what the tag names",
     "[" RULE(1, ANY MANY) "]",
     "AB",
     "",
     {M("a", 9), M("@A.sig", 1), M("c", 7), M("@C.sig,@C.att", 6)}},
    {"such a tag on an image that is not here is a tag like others",
     "[" RULE(1, ANY MANY) "]",
     "A",
     "",
     {M("@Z.sig", 9), M("c", 7)}},
    {"and an image with another tag beside it is an image",
     "[" RULE(1, ANY MANY) "]",
     "AB",
     "",
     {M("a", 9), M("@A.sig,v1", 8), M("c", 7)}},
    {"never pulled counts from the push",
     "[" RULE(1, ANY "\"countType\":\"sinceImagePulled\",\"countUnit\":\"days\","
                     "\"countNumber\":5") "]",
     "AD",
     "",
     {M("a", 9), M("b", 9, .pulled = 2), M("c", 2), M("d", 9, .pulled = 6)}},
    {"the exact age is not older",
     "[" RULE(1, ANY OLD) "]",
     "A",
     "",
     {M("a", 15), M("b", 14), M("c", 13)}},

    /* --- keep --- */
    {"a keep rule wins over a rule of higher priority",
     "[" RULE(1, ANY OLD) "," KEEP_RULE(9, "\"tagPatternList\":[\"v*\"]") "]",
     "B",
     "",
     {M("v1", 20), M("x", 20)}},
    {"what is kept counts",
     "[" KEEP_RULE(1, "\"tagPatternList\":[\"v*\"]") "," RULE(2, ANY MANY) "]",
     "B",
     "",
     {M("v1", 9), M("x", 8), M("y", 7)}},
    {"the newest by push",
     "[" KEEP_RULE(1, "\"countType\":\"imageCountNewest\",\"countNumber\":2") "," RULE(2,
                                                                                       ANY OLD) "]",
     "AB",
     "",
     {M("a", 50), M("b", 40), M("c", 30), M("d", 20)}},
    {"the newest by version, of those that are versions",
     "[" KEEP_RULE(1, "\"tagPatternList\":[\"v*\"],\"countType\":\"imageCountNewest\","
                      "\"countNumber\":2,\"countBy\":\"version\"") "," RULE(2, ANY OLD) "]",
     "BCDE",
     "",
     {M("v1.10", 50), M("v1.9", 40), M("v1.10-rc1", 30), M("vnext", 20), M("3.0", 19),
      M("v1.11,x", 18)}},
    {"by version an image is as new as its highest tag",
     "[" KEEP_RULE(1, "\"countType\":\"imageCountNewest\",\"countNumber\":1,"
                      "\"countBy\":\"version\"") "," RULE(2, ANY OLD) "]",
     "B",
     "",
     {M("1,1.9,latest", 50), M("1.8", 40)}},
    {"in use",
     "[" KEEP_RULE(1, "\"tagPatternList\":[\"v*\"],\"inUse\":true") "," RULE(2, ANY OLD) "]",
     "BC",
     "",
     {M("v1", 20, .flags = PINNED), M("v2", 20), M("x", 20)}},
    {"a referrer may be kept for itself",
     "[" KEEP_RULE(1, "\"tagPatternList\":[\"sbom-*\"]") "," RULE(2, ANY MANY) "]",
     "A",
     "",
     {M("a", 9), M("sbom-a", 8, .subject = 'A'), M("c", 7)}},

    /* --- stays whatever rules say --- */
    {"pins and protected tags",
     "[" RULE(1, ANY OLD) "]",
     "C",
     "",
     {M("a", 20, .flags = PINNED), M("b", 20, .flags = GUARDED), M("c", 20)}},
    {"a pinned child stays when its index goes",
     "[" RULE(1, TAGGED("\"v*\"") OLD) "]",
     "C",
     "B",
     {M("", 20, .parent = 'C', .flags = PINNED), M("", 20, .parent = 'C'), M("v1", 20)}},
};

/* "@A.sig": the digest of A as clients without referrers name it. */
static char *tag_of(struct slice word, const struct digest *digests)
{
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;

    if (word.at[0] != '@')
        return memory_text(word);
    char text[DIGEST_TEXT_MAX];
    digest_text(&digests[word.at[1] - 'A'], text);
    buffer_append_text(&out, text);
    *strchr(out.at, ':') = '-';
    buffer_append_slice(&out, slice_from(word, 2));
    return memory_text(buffer_slice(&out));
}

struct world {
    struct images images;
    struct digest digests[26];
};

static void tags_add(struct world *world, struct image *image, const struct seed *seed)
{
    struct slice rest = slice_of(seed->tags), word;
    struct image_tag *tags = world->images.tags + world->images.tag_count;

    while (rest.size > 0) {
        slice_split(rest, ',', &word, &rest);
        tags[image->tag_count++] = (struct image_tag){.name = tag_of(word, world->digests),
                                                      .protected = (seed->flags & GUARDED) != 0};
    }
    image->tags = tags;
    world->images.tag_count += image->tag_count;
}

static const int64_t DAY = 86400000000;

static struct image image_of(const struct seed *seed, int64_t now)
{
    return (struct image){
        .pushed_at = now - seed->pushed * DAY,
        .pulled_at = seed->pulled == 0 ? 0 : now - seed->pulled * DAY,
        .touched_at = now - seed->pushed * DAY,
        .pinned = (seed->flags & PINNED) != 0,
        .child = seed->parent != 0 || (seed->flags & ASIDE) != 0,
        .child_aside = (seed->flags & ASIDE) != 0,
        .subject_is = seed->subject != 0                       ? SUBJECT_HERE
                      : (seed->flags & SUBJECT_SET_ASIDE) != 0 ? SUBJECT_ASIDE
                      : (seed->flags & SUBJECT_GONE) != 0      ? SUBJECT_ABSENT
                                                               : SUBJECT_NONE,
        .subject = seed->subject != 0 ? (size_t)(seed->subject - 'A') : 0,
    };
}

static int compare_links(const void *a, const void *b)
{
    size_t x = ((const struct image_link *)a)->parent, y = ((const struct image_link *)b)->parent;

    return x < y ? -1 : x > y;
}

static void world_new(struct world *world, const struct seed *seeds, size_t count)
{
    struct images *images = &world->images;

    *world = (struct world){
        .images = {.now = 1000 * DAY,
                   .items = memory_new((count + 1) * sizeof(struct image)),
                   .tags = memory_new(64 * sizeof(struct image_tag)),
                   .links = memory_new(2 * (count + 1) * sizeof(struct image_link))}};
    for (char letter = 'A'; letter <= 'Z'; letter++)
        digest_of(DIGEST_SHA256, (struct slice){&letter, 1}, &world->digests[letter - 'A']);
    for (size_t i = 0; i < count; i++) {
        struct image *image = &images->items[images->count++];
        *image = image_of(&seeds[i], images->now);
        image->id = (int64_t)i + 1;
        image->digest = world->digests[i];
        tags_add(world, image, &seeds[i]);
        if (seeds[i].parent != 0)
            images->links[images->link_count++] =
                (struct image_link){(size_t)(seeds[i].parent - 'A'), i};
        if (seeds[i].second != 0)
            images->links[images->link_count++] =
                (struct image_link){(size_t)(seeds[i].second - 'A'), i};
    }
    qsort(images->links, images->link_count, sizeof(*images->links), compare_links);
}

static void letters(const struct decision *decisions, size_t count, bool expires, char *out)
{
    for (size_t i = 0; i < count; i++)
        if (expires ? decisions[i].expires : decisions[i].goes && !decisions[i].expires)
            *out++ = (char)('A' + i);
    *out = 0;
}

static void test_retention_decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(rules_drop) struct rules rules = {.items = NULL};
        struct decision decisions[LENGTH(cases[0].seeds)];
        struct error err = {0};
        struct world world;
        char expires[16], follows[16];
        size_t count = 0;
        while (count < LENGTH(cases[i].seeds) && cases[i].seeds[count].tags != NULL)
            count++;
        if (rules_parse(slice_of(cases[i].rules), &rules, &err) < 0)
            fail_msg("%s: %s", cases[i].what, err.message);
        world_new(&world, cases[i].seeds, count);
        const struct decide_policy policy = {&rules, true};
        decide(&world.images, &policy, 1, decisions);
        letters(decisions, count, true, expires);
        letters(decisions, count, false, follows);
        if (strcmp(expires, cases[i].expires) != 0 || strcmp(follows, cases[i].follows) != 0)
            fail_msg("%s: %s expire and %s follow, not %s and %s", cases[i].what, expires, follows,
                     cases[i].expires, cases[i].follows);
        images_drop(&world.images);
    }
}

static void test_retention_leaves_what_was_touched_lately(void **state)
{
    static const struct seed seeds[] = {M("a", 20), M("b", 20), M("c", 20)};
    OWNED(rules_drop) struct rules rules = {.items = NULL};
    struct decision decisions[3];
    struct error err = {0};
    struct world world;

    (void)state;
    assert_int_equal(rules_parse(SLICE("[" RULE(1, ANY OLD) "]"), &rules, &err), 0);
    world_new(&world, seeds, LENGTH(seeds));
    world.images.grace_us = DAY;
    world.images.items[0].touched_at = world.images.now - DAY + 1;
    world.images.items[1].touched_at = world.images.now - DAY;
    const struct decide_policy policy = {&rules, true};
    decide(&world.images, &policy, 1, decisions);
    assert_false(decisions[0].expires);
    assert_int_equal(decisions[0].decided, DECIDED_RECENT);
    assert_true(decisions[1].expires);
    assert_true(decisions[2].expires);
    images_drop(&world.images);
}

/* Keep rules of every policy count, rules that expire of one. */
static void test_retention_joins_policies(void **state)
{
    static const struct seed seeds[] = {M("v1", 20), M("dev", 20), M("x", 20)};
    OWNED(rules_drop) struct rules narrow = {.items = NULL};
    OWNED(rules_drop) struct rules wide = {.items = NULL};
    struct decision decisions[3];
    struct error err = {0};
    struct world world;

    (void)state;
    assert_int_equal(rules_parse(SLICE("[" RULE(1, TAGGED("\"*v*\"") OLD) "]"), &narrow, &err), 0);
    assert_int_equal(
        rules_parse(SLICE("[" KEEP_RULE(1, "\"tagPatternList\":[\"v*\"]") "," RULE(2, ANY OLD) "]"),
                    &wide, &err),
        0);
    world_new(&world, seeds, LENGTH(seeds));
    const struct decide_policy policies[] = {{&narrow, true}, {&wide, false}};
    decide(&world.images, policies, 2, decisions);
    assert_int_equal(decisions[0].decided, DECIDED_KEPT);
    assert_int_equal(decisions[0].policy, 1);
    assert_int_equal(decisions[1].decided, DECIDED_EXPIRES);
    assert_int_equal(decisions[1].policy, 0);
    assert_int_equal(decisions[2].decided, DECIDED_UNMATCHED);
    assert_null(decisions[2].rule);
    images_drop(&world.images);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retention_refuses_what_it_does_not_understand),
        cmocka_unit_test(test_retention_bounds_what_it_reads),
        cmocka_unit_test(test_retention_prints_what_it_understood),
        cmocka_unit_test(test_retention_orders_versions),
        cmocka_unit_test(test_retention_tells_versions_from_words),
        cmocka_unit_test(test_retention_decides),
        cmocka_unit_test(test_retention_leaves_what_was_touched_lately),
        cmocka_unit_test(test_retention_joins_policies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
