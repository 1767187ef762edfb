/* test_content.c - what people do with tags, manifests, pins, rules and repositories: what it
 * changes, what it refuses, and that a refusal changes nothing. */
#include "tests/support/plans.h"

#include "storage/content.h"

static const struct actor ana = {.account = 7, .name = {"ana", 3}};
static const struct content_change by_ana = {.actor = &ana};
static const struct content_change dry = {.actor = &ana, .dry_run = true};

static int set(struct fixture *fixture, const char *tag, const char *text)
{
    const struct content_tag_set wanted = {.tag = slice_of(tag), .digest = digest_text_of(text)};
    bool created;

    fixture->err = (struct error){0};
    return content_tag_set(fixture->store, REPOSITORY, &wanted, &by_ana, &created, &fixture->err);
}

static int untag(struct fixture *fixture, const char *tag)
{
    struct slice name = slice_of(tag);
    const struct content_tags_delete what = {.tags = &name, .count = 1, .expect = 1};
    uint64_t deleted;

    fixture->err = (struct error){0};
    return content_tags_delete(fixture->store, REPOSITORY, &what, &by_ana, &deleted, &fixture->err);
}

static int retag(struct fixture *fixture, const char *tag)
{
    const struct digest any = {0};

    fixture->err = (struct error){0};
    return content_tag_restore(fixture->store, REPOSITORY, slice_of(tag), &any, false, &by_ana,
                               &fixture->err);
}

static int mark(struct fixture *fixture, const char *tag, unsigned bits)
{
    fixture->err = (struct error){0};
    return content_tag_protect(fixture->store, REPOSITORY, slice_of(tag),
                               TAG_IMMUTABLE | TAG_PROTECTED, bits, &by_ana, &fixture->err);
}

static int delete (struct fixture *fixture, const char *text)
{
    const struct digest digest = digest_text_of(text);
    uint64_t tags;

    fixture->err = (struct error){0};
    return content_manifest_delete(fixture->store, REPOSITORY, &digest, &by_ana, &tags,
                                   &fixture->err);
}

static int restore(struct fixture *fixture, const char *text)
{
    const struct digest digest = digest_text_of(text);

    fixture->err = (struct error){0};
    return content_manifest_restore(fixture->store, REPOSITORY, &digest, true, &by_ana,
                                    &fixture->err);
}

static int pin(struct fixture *fixture, const char *name, const char *text, int64_t until)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};
    bool created;

    fixture->err = (struct error){0};
    return content_pin_put(fixture->store, REPOSITORY, slice_of(name), &reference, until, &by_ana,
                           &created, &fixture->err);
}

static int rule(struct fixture *fixture, const char *pattern, const char *tags, unsigned bits)
{
    OWNED(content_rule_drop) struct content_rule made = {.id = 0};

    fixture->err = (struct error){0};
    return content_rule_add(fixture->store, slice_of(pattern), slice_of(tags), bits, &by_ana, &made,
                            &fixture->err);
}

static bool is_here(struct fixture *fixture, const char *text)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};
    const struct manifest *found = NULL;
    struct error err = {0};

    if (storage_manifest_get(fixture->store, REPOSITORY, &reference, false, &found, &err) < 0)
        return false;
    storage_manifest_release(found);
    return true;
}

/* An index "top" of one manifest "child", which uses the blob "layer"; tag "multi". */
static void push_family(struct fixture *fixture)
{
    const struct manifest_link layer = {.digest = blob_row(fixture, REPOSITORY, "layer")};
    const struct manifest_link link = {.digest = digest_text_of("child")};
    struct push child = push_of("child", NULL), top = push_of("top", "multi");

    child.put.blobs = &layer;
    child.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &child));
    top.put.children = &link;
    top.put.child_count = 1;
    OK(push_run(fixture, REPOSITORY, &top));
}

static int delete_layer(struct fixture *fixture)
{
    const struct digest digest = digest_text_of("layer");

    fixture->err = (struct error){0};
    return storage_blob_delete(fixture->store, REPOSITORY, &digest, &fixture->err);
}

/* --- tags --- */

/* P6's tag part, meta (6) */
static void test_content_set_touches_and_queues(void **state)
{
    struct fixture *fixture = *state;
    const struct content_tag_set absent = {
        .tag = SLICE("v1"), .digest = digest_text_of("two"), .if_absent = true};
    bool created;

    push_text(fixture, "one", "v1");
    push_text(fixture, "two", "v2");
    script(fixture, "UPDATE manifests SET touched_at = 1; DELETE FROM gc_queue");
    OK(set(fixture, "v1", "two"));
    assert_true(number(fixture, "SELECT touched_at FROM manifests WHERE id = 2") > 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 1"), 1);
    assert_int_equal(number(fixture, "SELECT cause FROM tag_history ORDER BY id DESC"), TAG_SET);
    assert_int_equal(number(fixture, "SELECT actor = 'ana' FROM tag_history ORDER BY id DESC"), 1);
    FAILS(content_tag_set(fixture->store, REPOSITORY, &absent, &by_ana, &created, &fixture->err),
          ERROR_PRECONDITION);
    FAILS(set(fixture, "v1", "never"), ERROR_NOT_FOUND);
    OK(delete (fixture, "one"));
    FAILS(set(fixture, "v1", "one"), ERROR_NOT_FOUND); /* what is set aside is not there */
}

static void test_content_tags_have_own_marks_and_those_of_rules(void **state)
{
    static const struct {
        const char *pattern, *tags;
        unsigned own, bits, all;
    } cases[] = {
        {"team/app", "v*", 0, TAG_IMMUTABLE, TAG_IMMUTABLE},
        {"team/*", "?1", TAG_PROTECTED, TAG_IMMUTABLE, TAG_PROTECTED | TAG_IMMUTABLE},
        {"*", "*", 0, TAG_PROTECTED, TAG_PROTECTED},
        {"team/ap", "v1", 0, TAG_PROTECTED, 0},
        {"team/app", "v", 0, TAG_PROTECTED, 0},
        {"other/*", "v1", TAG_IMMUTABLE, TAG_PROTECTED, TAG_IMMUTABLE},
    };
    struct fixture *fixture = *state;

    push_text(fixture, "one", "v1");
    push_text(fixture, "two", "w1");
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(content_tag_drop) struct content_tag tag = {0};
        script(fixture, "DELETE FROM protections");
        OK(mark(fixture, "v1", cases[i].own));
        OK(rule(fixture, cases[i].pattern, cases[i].tags, cases[i].bits));
        OK(content_tag_find(fixture->store, REPOSITORY, SLICE("v1"), &tag, &fixture->err));
        assert_int_equal(tag.own, cases[i].own);
        assert_int_equal(tag.protection, cases[i].all);
        if ((cases[i].all & TAG_IMMUTABLE) != 0)
            FAILS(set(fixture, "v1", "two"), ERROR_PROTECTED);
        if ((cases[i].all & TAG_PROTECTED) != 0)
            FAILS(untag(fixture, "v1"), ERROR_PROTECTED);
        OK(set(fixture, "v1", "one")); /* where it stands already */
    }
}

static void test_content_bulk_is_all_or_nothing(void **state)
{
    const struct content_tags_delete all = {.glob = SLICE("v*"), .expect = 3};
    const struct content_tags_delete wrong = {.glob = SLICE("v*"), .expect = 2};
    struct fixture *fixture = *state;
    uint64_t deleted = 0;

    push_text(fixture, "one", "v1");
    push_text(fixture, "two", "v2");
    push_text(fixture, "three", "v3");
    FAILS(content_tags_delete(fixture->store, REPOSITORY, &wrong, &by_ana, &deleted, &fixture->err),
          ERROR_CONFLICT);
    OK(mark(fixture, "v3", TAG_PROTECTED));
    FAILS(content_tags_delete(fixture->store, REPOSITORY, &all, &by_ana, &deleted, &fixture->err),
          ERROR_PROTECTED);
    OK(mark(fixture, "v3", 0));
    OK(content_tags_delete(fixture->store, REPOSITORY, &all, &dry, &deleted, &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags"), 3);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 0);
    OK(content_tags_delete(fixture->store, REPOSITORY, &all, &by_ana, &deleted, &fixture->err));
    assert_int_equal(deleted, 3);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 3);
}

static void test_content_bulk_has_a_bound(void **state)
{
    const struct content_tags_delete all = {.glob = SLICE("t*"), .expect = -1};
    struct fixture *fixture = *state;
    uint64_t deleted = 0;

    push_text(fixture, "one", "v1");
    script(fixture,
           "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
           " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)"
           " SELECT 1, 't' || i, 1, 1 FROM n");
    FAILS(content_tags_delete(fixture->store, REPOSITORY, &all, &by_ana, &deleted, &fixture->err),
          ERROR_CONFLICT);
    script(fixture, "DELETE FROM tags WHERE name = 't1'");
    OK(content_tags_delete(fixture->store, REPOSITORY, &all, &by_ana, &deleted, &fixture->err));
    assert_int_equal(deleted, CONTENT_TAGS_MAX);
}

/* --- coming back --- */

static void test_content_tag_comes_back_until_its_time(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "one", "v1");
    OK(mark(fixture, "v1", TAG_IMMUTABLE));
    FAILS(retag(fixture, "v1"), ERROR_CONFLICT); /* it exists */
    OK(untag(fixture, "v1"));
    OK(retag(fixture, "v1"));
    assert_int_equal(number(fixture, "SELECT protection FROM tags"), TAG_IMMUTABLE);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 0);
    assert_int_equal(number(fixture, "SELECT cause FROM tag_history ORDER BY id DESC"),
                     TAG_RESTORED);
    OK(untag(fixture, "v1"));
    script(fixture, "UPDATE deleted_tags SET until = 1");
    FAILS(retag(fixture, "v1"), ERROR_NOT_FOUND);
}

static void test_content_last_deleted_one_comes_back(void **state)
{
    struct fixture *fixture = *state;
    const struct digest first = digest_text_of("one");

    push_text(fixture, "one", "v1");
    OK(untag(fixture, "v1"));
    push_text(fixture, "two", "v1");
    OK(untag(fixture, "v1"));
    OK(retag(fixture, "v1"));
    assert_int_equal(number(fixture, "SELECT manifest_id FROM tags"), 2);
    FAILS(content_tag_restore(fixture->store, REPOSITORY, SLICE("v1"), &first, false, &by_ana,
                              &fixture->err),
          ERROR_CONFLICT);
    OK(content_tag_restore(fixture->store, REPOSITORY, SLICE("v1"), &first, true, &by_ana,
                           &fixture->err));
    assert_int_equal(number(fixture, "SELECT manifest_id FROM tags"), 1);
}

static void test_content_all_that_hangs_on_it_comes_back(void **state)
{
    struct fixture *fixture = *state;

    push_family(fixture);
    OK(delete (fixture, "top"));
    OK(delete (fixture, "child"));
    OK(delete_layer(fixture));
    FAILS(restore(fixture, "never"), ERROR_NOT_FOUND);
    OK(restore(fixture, "top"));
    assert_true(is_here(fixture, "top") && is_here(fixture, "child"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags"), 1);
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM repository_blobs WHERE deleted_at IS NOT NULL"), 0);
    FAILS(restore(fixture, "top"), ERROR_CONFLICT);
}

/* What went before gc.undo may be half gone already: it must not look whole again. */
static void test_content_what_is_on_its_way_out_stays_away(void **state)
{
    struct fixture *fixture = *state;

    push_family(fixture);
    OK(delete (fixture, "top"));
    OK(delete (fixture, "child"));
    script(fixture, "UPDATE manifests SET deleted_at = 1 WHERE id = 1"); /* child */
    OK(restore(fixture, "top"));
    assert_true(is_here(fixture, "top") && !is_here(fixture, "child"));
    OK(delete (fixture, "top"));
    script(fixture, "UPDATE manifests SET deleted_at = 1");
    FAILS(restore(fixture, "top"), ERROR_NOT_FOUND);
    FAILS(retag(fixture, "multi"), ERROR_NOT_FOUND);
    assert_false(is_here(fixture, "top"));
}

static void test_content_damaged_bytes_refuse(void **state)
{
    struct fixture *fixture = *state;

    push_family(fixture);
    OK(delete (fixture, "top"));
    OK(delete (fixture, "child"));
    script(fixture, "UPDATE blobs SET damaged = 1");
    FAILS(restore(fixture, "top"), ERROR_CONFLICT);
    FAILS(retag(fixture, "multi"), ERROR_CONFLICT);
    assert_false(is_here(fixture, "top"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 1);
}

static void test_content_without_undo_nothing_stays(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.gc_undo_ms = 0;
    fixture_reopen(fixture);
    push_text(fixture, "one", "v1");
    OK(pin(fixture, "ended", "one", clock_now_us() + (int64_t)3600 * US_PER_S));
    script(fixture, "UPDATE pins SET until = 1");
    OK(untag(fixture, "v1"));
    FAILS(retag(fixture, "v1"), ERROR_NOT_FOUND);
    OK(delete (fixture, "one"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), 0);
}

/* --- what holds --- */

static void test_content_guards_look_upwards(void **state)
{
    static const struct {
        const char *held; /* by this script */
        bool top, child, layer, repository;
    } cases[] = {
        {"UPDATE tags SET protection = 2", true, true, true, true},
        {"UPDATE tags SET protection = 1", false, false, false, false},
        {"INSERT INTO protections(pattern, tags, bits, created_at) VALUES ('team/*', 'm*', 2, 1)",
         true, true, true, true},
        {"INSERT INTO protections(pattern, tags, bits, created_at) VALUES ('team/*', 'x*', 2, 1)",
         false, false, false, false},
        {"INSERT INTO pins VALUES (1, 'p', 2, 9000000000000000, 1, '')", true, true, true, true},
        {"INSERT INTO pins VALUES (1, 'p', 2, 1, 1, '')", false, false, false, false},
        {"INSERT INTO pins VALUES (1, 'p', 2, 1, 1, ''), (1, 'q', 3, 9000000000000000, 1, '')",
         false, false, false, true},
        {"INSERT INTO pins VALUES (1, 'p', 1, 9000000000000000, 1, '')", false, true, true, true},
        {"UPDATE tags SET protection = 2; UPDATE manifests SET deleted_at = 1 WHERE id = 2", true,
         false, false, true},
    };
    struct fixture *fixture = *state;
    const struct digest top = digest_text_of("top"), child = digest_text_of("child");

    push_family(fixture);
    push_text(fixture, "another", NULL);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct content_repository_size size;
        struct error err = {0};
        uint64_t tags = 0;
        script(fixture, "UPDATE tags SET protection = 0; DELETE FROM protections;"
                        "DELETE FROM pins; UPDATE manifests SET deleted_at = NULL;"
                        "UPDATE repository_blobs SET deleted_at = NULL");
        script(fixture, cases[i].held);
        bool top_held =
            content_manifest_delete(fixture->store, REPOSITORY, &top, &dry, &tags, &err) < 0;
        err = (struct error){0};
        bool child_held =
            content_manifest_delete(fixture->store, REPOSITORY, &child, &dry, &tags, &err) < 0;
        err = (struct error){0};
        bool all_held =
            content_repository_delete(fixture->store, REPOSITORY, &dry, &size, &err) < 0;
        assert_int_equal(top_held, cases[i].top);
        assert_int_equal(child_held, cases[i].child);
        assert_int_equal(all_held, cases[i].repository);
        assert_int_equal(delete_layer(fixture) < 0, cases[i].layer);
    }
}

static void test_content_pins_and_rules_have_bounds(void **state)
{
    struct fixture *fixture = *state;
    int64_t until = clock_now_us() + (int64_t)3600 * US_PER_S;

    push_text(fixture, "one", "v1");
    push_text(fixture, "two", "v2");
    script(fixture, "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
                    " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
                    " SELECT 1, 'p' || i, 1, 9000000000000000, 1, '' FROM n");
    OK(pin(fixture, "last", "one", until));
    FAILS(pin(fixture, "more", "one", until), ERROR_CONFLICT);
    script(fixture, "DELETE FROM gc_queue");
    OK(pin(fixture, "last", "two", until + 1));
    assert_int_equal(number(fixture, "SELECT ref_id FROM gc_queue"), 1); /* lost a reference */
    script(fixture, "UPDATE pins SET until = 1 WHERE name = 'p1'");
    OK(pin(fixture, "more", "one", until)); /* those that ended do not count */
    OK(delete (fixture, "two") < 0 ? 0 : -1);
    FAILS(pin(fixture, "last", "never", until), ERROR_NOT_FOUND);

    script(fixture, "INSERT INTO protections(pattern, tags, bits, created_at)"
                    " WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 199)"
                    " SELECT 'x/' || i, '*', 1, 1 FROM n");
    OK(rule(fixture, "team/*", "*", TAG_IMMUTABLE));
    FAILS(rule(fixture, "team/*", "v*", TAG_IMMUTABLE), ERROR_CONFLICT);
}

/* --- repositories --- */

/* By its tag, by memory, after it was asked for once. */
static bool is_known(struct fixture *fixture, const char *tag)
{
    const struct manifest_reference reference = {.tag = slice_of(tag)};
    const struct manifest *found = NULL;
    struct error err = {0};

    if (storage_manifest_get(fixture->store, REPOSITORY, &reference, false, &found, &err) == 0)
        storage_manifest_release(found);
    if (!storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &found))
        return false;
    storage_manifest_release(found);
    return true;
}

/* The only repository there was is in no list, and no source of mounts. */
static void assert_lists_hide(struct fixture *fixture)
{
    OWNED(repository_page_drop) struct repository_page settings = {0};
    OWNED(page_drop) struct page sources = {0};
    OWNED(page_drop) struct page catalogue = {0};
    const struct digest layer = digest_text_of("layer");
    const struct repository_filter public = {.public = true};

    script(fixture, "UPDATE repositories SET public = 1");
    OK(repository_settings_list(fixture->store, SLICE_NONE, SLICE_NONE, NULL, 5, &settings,
                                &fixture->err));
    assert_int_equal(settings.count, 0);
    OK(repository_settings_list(fixture->store, SLICE_NONE, SLICE_NONE, &public, 5, &settings,
                                &fixture->err));
    assert_int_equal(settings.count, 0);
    OK(storage_repository_list(fixture->store, SLICE_NONE, NULL, 5, &catalogue, &fixture->err));
    assert_int_equal(catalogue.count, 0);
    OK(storage_blob_sources(fixture->store, &layer, 5, &sources, &fixture->err));
    assert_int_equal(sources.count, 0);
}

static void test_content_repository_is_moved_aside(void **state)
{
    struct fixture *fixture = *state;
    struct content_repository_size size = {0};
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload_status status;

    push_family(fixture);
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    uint64_t generation = accounts_generation(fixture->store);
    assert_true(is_known(fixture, "multi"));
    OK(content_repository_delete(fixture->store, REPOSITORY, &dry, &size, &fixture->err));
    assert_int_equal(size.tags, 1);
    assert_int_equal(size.manifests, 2);
    assert_int_equal(size.bytes, strlen("layer") + strlen("child") + strlen("top"));
    assert_true(is_here(fixture, "top"));
    OK(content_repository_delete(fixture->store, REPOSITORY, &by_ana, &size, &fixture->err));
    assert_true(accounts_generation(fixture->store) > generation);
    assert_false(is_here(fixture, "top") || is_known(fixture, "multi"));
    assert_lists_hide(fixture);
    FAILS(storage_upload_status(fixture->store, REPOSITORY, slice_of(id), &status, &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 1);
    assert_int_equal(number(fixture,
                            "SELECT due - deleted_at FROM gc_queue"
                            "  JOIN repositories ON id = ref_id AND id = repo_id WHERE kind = 4"),
                     fixture->meta->undo_us);
    assert_int_equal(number(fixture, "SELECT name = '~1' AND deleted_name = 'team/app'"
                                     "   AND first_manifest_at IS NULL FROM repositories"),
                     1);
    FAILS(content_repository_delete(fixture->store, REPOSITORY, &by_ana, &size, &fixture->err),
          ERROR_NOT_FOUND);
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &by_ana, &fixture->err));
    assert_true(is_here(fixture, "top"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 4"), 0);
    assert_int_equal(number(fixture, "SELECT first_manifest_at > 0 AND deleted_at IS NULL"
                                     "  FROM repositories"),
                     1);
}

static void test_content_repository_comes_back_until_its_time(void **state)
{
    struct fixture *fixture = *state;
    OWNED(content_deleted_repository_page_drop) struct content_deleted_repository_page page = {0};
    struct content_repository_size size;

    push_text(fixture, "one", "v1");
    OK(content_repository_delete(fixture->store, REPOSITORY, &by_ana, &size, &fixture->err));
    push_text(fixture, "two", "v1");
    FAILS(content_repository_restore(fixture->store, REPOSITORY, 0, &by_ana, &fixture->err),
          ERROR_CONFLICT);
    OK(content_repository_delete(fixture->store, REPOSITORY, &by_ana, &size, &fixture->err));
    OK(content_deleted_repository_list(fixture->store, REPOSITORY, 1, 10, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    assert_int_equal(page.items[0].id, 2);
    script(fixture, "UPDATE repositories SET deleted_at = 1 WHERE id = 2");
    FAILS(content_repository_restore(fixture->store, REPOSITORY, 2, &by_ana, &fixture->err),
          ERROR_NOT_FOUND);
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &by_ana, &fixture->err));
    assert_true(is_here(fixture, "one") && !is_here(fixture, "two"));
}

/* --- looking, and the plans of all of it --- */

static void test_content_lists(void **state)
{
    struct fixture *fixture = *state;
    OWNED(content_manifest_page_drop) struct content_manifest_page manifests = {0};
    OWNED(content_tag_page_drop) struct content_tag_page tags = {0};
    OWNED(content_deleted_tag_page_drop) struct content_deleted_tag_page gone = {0};
    OWNED(content_pin_page_drop) struct content_pin_page pins = {0};
    OWNED(content_history_drop) struct content_history history = {0};
    OWNED(content_manifest_drop) struct content_manifest manifest = {0};
    OWNED(content_family_drop) struct content_family family = {0};
    const struct digest top = digest_text_of("top");

    push_family(fixture);
    OK(pin(fixture, "shop", "top", clock_now_us() + (int64_t)3600 * US_PER_S));
    OK(content_tag_list(fixture->store, REPOSITORY, SLICE("a"), SLICE("UL"), 1, &tags,
                        &fixture->err));
    assert_int_equal(tags.count, 1);
    assert_int_equal(tags.items[0].pins, 1);
    OK(content_pin_list(fixture->store, REPOSITORY, SLICE_NONE, 5, &pins, &fixture->err));
    assert_string_equal(pins.items[0].actor, "ana");
    OWNED(content_pins_drop) struct content_pins own = {.items = NULL};
    OK(content_pins_own(fixture->store, SLICE("sho"), &own, &fixture->err));
    assert_int_equal(own.count, 0); /* it is ana's */
    script(fixture, "UPDATE pins SET actor = ''");
    OK(content_pins_own(fixture->store, SLICE("shop-"), &own, &fixture->err));
    assert_int_equal(own.count, 0);
    OK(content_pins_own(fixture->store, SLICE("sho"), &own, &fixture->err));
    assert_int_equal(own.count, 1);
    assert_string_equal(own.items[0].name, "shop");
    assert_string_equal(own.repositories[0], "team/app");
    OK(content_manifest_find(fixture->store, REPOSITORY, &top, &manifest, &family, &fixture->err));
    assert_int_equal(family.child_count, 1);
    assert_true(family.children[0].here);
    OK(untag(fixture, "multi"));
    OK(content_deleted_tag_list(fixture->store, REPOSITORY, SLICE("multi"), 1, 5, &gone,
                                &fixture->err));
    assert_int_equal(gone.count, 1);
    OK(content_manifest_list(fixture->store, REPOSITORY, MANIFESTS_UNTAGGED, 0, 5, &manifests,
                             &fixture->err));
    assert_int_equal(manifests.count, 1);
    assert_int_equal(manifests.items[0].id, 2);
    OK(content_history_list(fixture->store, REPOSITORY, SLICE_NONE, 0, 1, &history, &fixture->err));
    assert_true(history.more && history.items[0].cause == TAG_DELETED);
}

/* Runs last: statements of the tests above. */
static void test_content_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, "WITH RECURSIVE") >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_content_set_touches_and_queues),
        FIXTURE_TEST(test_content_tags_have_own_marks_and_those_of_rules),
        FIXTURE_TEST(test_content_bulk_is_all_or_nothing),
        FIXTURE_TEST(test_content_bulk_has_a_bound),
        FIXTURE_TEST(test_content_tag_comes_back_until_its_time),
        FIXTURE_TEST(test_content_last_deleted_one_comes_back),
        FIXTURE_TEST(test_content_all_that_hangs_on_it_comes_back),
        FIXTURE_TEST(test_content_what_is_on_its_way_out_stays_away),
        FIXTURE_TEST(test_content_damaged_bytes_refuse),
        FIXTURE_TEST(test_content_without_undo_nothing_stays),
        FIXTURE_TEST(test_content_guards_look_upwards),
        FIXTURE_TEST(test_content_pins_and_rules_have_bounds),
        FIXTURE_TEST(test_content_repository_is_moved_aside),
        FIXTURE_TEST(test_content_repository_comes_back_until_its_time),
        FIXTURE_TEST(test_content_lists),
        FIXTURE_TEST(test_content_no_statement_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
