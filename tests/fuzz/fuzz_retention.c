/* fuzz_retention.c - any bytes as rules of retention: refused, or understood, printed, and read
 * again as the same; what they decide of a few images is bounded and the same each time. */
#include <string.h>

#include "registry/retention/decide.h"
#include "registry/retention/version.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IMAGES = 4 };

static struct images few_images(struct image *items, struct image_tag *tags)
{
    static const char *const names[IMAGES] = {"v1.2.3", "latest", "dev-1", "v1.10"};
    struct images images = {.now = INT64_C(1000000000000), .items = items, .count = IMAGES};

    for (size_t i = 0; i < IMAGES; i++) {
        tags[i] = (struct image_tag){.name = (char *)(uintptr_t)names[i]};
        items[i] = (struct image){.id = (int64_t)i + 1,
                                  .pushed_at = (int64_t)i * 1000000,
                                  .tags = &tags[i],
                                  .tag_count = i != 2};
    }
    return images;
}

static void check_decisions(const struct rules *rules)
{
    struct image items[IMAGES];
    struct image_tag tags[IMAGES];
    struct decision first[IMAGES], second[IMAGES];
    const struct images images = few_images(items, tags);
    const struct decide_policy policy = {rules, true};

    decide(&images, &policy, 1, first);
    decide(&images, &policy, 1, second);
    for (size_t i = 0; i < IMAGES; i++) {
        assert(first[i].expires == second[i].expires && first[i].decided == second[i].decided);
        assert(!first[i].expires || first[i].rule->action == RULE_EXPIRE);
    }
}

static void check_version(struct slice text)
{
    if (version_valid(text))
        assert(version_compare(text, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(rules_drop) struct rules rules = {.items = NULL};
    OWNED(rules_drop) struct rules again = {.items = NULL};
    OWNED(buffer_drop) struct buffer printed = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer second = BUFFER_NONE;
    const struct slice text = {(const char *)data, size};
    struct error err = {0};

    check_version(text);
    if (rules_parse(text, &rules, &err) < 0) {
        assert(err.code == ERROR_INVALID && err.field != NULL && rules.items == NULL);
        return 0;
    }
    rules_print(&rules, &printed);
    if (printed.size > RULES_TEXT_MAX)
        return 0; /* members that were left out stand in it */
    assert(rules_parse(buffer_slice(&printed), &again, &err) == 0);
    rules_print(&again, &second);
    assert(slice_equal(buffer_slice(&printed), buffer_slice(&second)));
    check_decisions(&rules);
    return 0;
}
