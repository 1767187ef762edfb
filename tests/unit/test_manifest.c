/* test_manifest.c - manifests, tags, referrers and lists through storage.h, over the real database;
 * and the plan of every statement that ran on the way. */
#include "registry/core/oci.h"
#include "tests/support/plans.h"

/* --- helpers --- */

static struct manifest_reference by_tag(const char *tag)
{
    return (struct manifest_reference){.tag = slice_of(tag)};
}

static struct manifest_reference by_digest(const char *text)
{
    return (struct manifest_reference){.digest = digest_text_of(text)};
}

static int get(struct fixture *fixture, struct slice repository,
               struct manifest_reference reference, bool may_push, const struct manifest **out)
{
    fixture->err = (struct error){0};
    return storage_manifest_get(fixture->store, repository, &reference, may_push, out,
                                &fixture->err);
}

static void expect(struct fixture *fixture, struct manifest_reference reference, const char *text,
                   struct slice type)
{
    const struct manifest *manifest = NULL;
    const struct manifest *remembered = NULL;

    OK(get(fixture, REPOSITORY, reference, false, &manifest));
    assert_true(slice_equal_text(manifest->payload, text));
    assert_true(slice_equal(manifest->media_type, type));
    if (storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &remembered)) {
        assert_true(slice_equal_text(remembered->payload, text));
        assert_true(slice_equal(remembered->media_type, type));
        storage_manifest_release(remembered);
    }
    storage_manifest_release(manifest);
}

static void expect_unknown(struct fixture *fixture, struct manifest_reference reference)
{
    const struct manifest *manifest = NULL;

    assert_false(storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &manifest));
    FAILS(get(fixture, REPOSITORY, reference, false, &manifest), ERROR_MANIFEST_UNKNOWN);
}

static int delete (struct fixture *fixture, struct manifest_reference reference)
{
    fixture->err = (struct error){0};
    return storage_manifest_delete(fixture->store, REPOSITORY, &reference, NULL, &fixture->err);
}

/* --- put and get --- */

/* MGET-01, MGET-02, MGET-05, ROUTE-06 */
static void test_manifest_is_served_as_pushed_and_only_there(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;

    FAILS(get(fixture, REPOSITORY, by_tag("v1"), false, &manifest), ERROR_MANIFEST_UNKNOWN);
    push_text(fixture, "{\"a\": 1}\n", "v1");
    expect(fixture, by_tag("v1"), "{\"a\": 1}\n", OCI_MANIFEST);
    expect(fixture, by_digest("{\"a\": 1}\n"), "{\"a\": 1}\n", OCI_MANIFEST);
    /* CONC-06: the collector looks at it after the grace time */
    assert_int_equal(number(fixture, "SELECT due - touched_at FROM gc_queue, manifests"),
                     fixture->store->meta->grace_us);
    expect_unknown(fixture, by_tag("v2"));
    expect_unknown(fixture, by_digest("other"));
    FAILS(get(fixture, SLICE("team/other"), by_digest("{\"a\": 1}\n"), false, &manifest),
          ERROR_MANIFEST_UNKNOWN);
    fixture_reopen(fixture);
    expect(fixture, by_tag("v1"), "{\"a\": 1}\n", OCI_MANIFEST);
}

/* MPUT-24 */
static void test_manifest_put_moves_the_tag(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "one", "v1");
    expect(fixture, by_tag("v1"), "one", OCI_MANIFEST);
    push_text(fixture, "two", "v1");
    expect(fixture, by_tag("v1"), "two", OCI_MANIFEST);
    expect(fixture, by_digest("one"), "one", OCI_MANIFEST);
    push_text(fixture, "two", "v1");
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history"
                                     " WHERE old_digest IS NOT NULL AND new_digest IS NOT NULL"),
                     1);
    /* the one that was left is looked at by the collector */
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 1"), 2);
}

/* MPUT-28: also under tags that this push did not name */
static void test_manifest_last_push_decides_the_media_type(void **state)
{
    struct fixture *fixture = *state;
    struct push push = push_of("same", NULL);

    push_text(fixture, "same", "v1");
    expect(fixture, by_tag("v1"), "same", OCI_MANIFEST);
    push.put.media_type = SLICE(DOCKER_TYPE_MANIFEST);
    OK(push_run(fixture, REPOSITORY, &push));
    expect(fixture, by_tag("v1"), "same", SLICE(DOCKER_TYPE_MANIFEST));
    expect(fixture, by_digest("same"), "same", SLICE(DOCKER_TYPE_MANIFEST));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), 1);
}

/* What it no longer names under its new type may have lost its last reference. */
static void test_manifest_retyped_queues_what_it_held(void **state)
{
    struct fixture *fixture = *state;
    struct push push = push_of("same", NULL);
    const struct manifest_link blob = {.digest = blob_row(fixture, REPOSITORY, "layer")};
    const struct manifest_link child = {.digest = digest_text_of("child")};

    push_text(fixture, "child", "child");
    push.put.blobs = &blob;
    push.put.blob_count = 1;
    push.put.children = &child;
    push.put.child_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    script(fixture, "DELETE FROM gc_queue"); /* the collector has looked at both */
    OK(push_run(fixture, REPOSITORY, &push));
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue"), 1);
    push.put.media_type = SLICE(DOCKER_TYPE_MANIFEST);
    push.put.blob_count = push.put.child_count = 0;
    OK(push_run(fixture, REPOSITORY, &push));
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 1"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 2"), 1);
}

/* HDR-02, MPUT-26, MGET-04 */
static void test_manifest_under_two_algorithms_is_two(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;
    struct push push = push_of("same", "long");
    struct manifest_reference reference = {.tag = SLICE_NONE};

    push_text(fixture, "same", "short");
    digest_of(DIGEST_SHA512, push.put.payload, &push.put.digest);
    OK(push_run(fixture, REPOSITORY, &push));
    OK(get(fixture, REPOSITORY, by_tag("long"), false, &manifest));
    assert_int_equal(manifest->digest.algorithm, DIGEST_SHA512);
    storage_manifest_release(manifest);
    OK(get(fixture, REPOSITORY, by_tag("short"), false, &manifest));
    assert_int_equal(manifest->digest.algorithm, DIGEST_SHA256);
    storage_manifest_release(manifest);
    reference.digest = push.put.digest;
    OK(delete (fixture, reference));
    expect_unknown(fixture, by_tag("long"));
    expect(fixture, by_tag("short"), "same", OCI_MANIFEST);
}

/* MPUT-25 */
static void test_manifest_put_sets_all_tags(void **state)
{
    struct fixture *fixture = *state;
    const struct slice tags[] = {SLICE("a"), SLICE("b"), SLICE("c")};
    struct push push = push_of("one", NULL);

    push.put.tags = tags;
    push.put.tag_count = LENGTH(tags);
    OK(push_run(fixture, REPOSITORY, &push));
    expect(fixture, by_tag("a"), "one", OCI_MANIFEST);
    expect(fixture, by_tag("b"), "one", OCI_MANIFEST);
    expect(fixture, by_tag("c"), "one", OCI_MANIFEST);
}

/* CACHE-03 */
static void test_manifest_put_keeps_to_preconditions(void **state)
{
    struct fixture *fixture = *state;
    struct push absent = push_of("one", "v1");
    struct push match = push_of("two", "v1");

    match.put.if_digest = digest_text_of("one");
    FAILS(push_run(fixture, REPOSITORY, &match), ERROR_PRECONDITION);
    absent.put.if_absent = true;
    OK(push_run(fixture, REPOSITORY, &absent));
    FAILS(push_run(fixture, REPOSITORY, &absent), ERROR_PRECONDITION);
    OK(push_run(fixture, REPOSITORY, &match));
    FAILS(push_run(fixture, REPOSITORY, &match), ERROR_PRECONDITION);
    expect(fixture, by_tag("v1"), "two", OCI_MANIFEST);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), 2);
}

/* --- what a manifest names --- */

/* MPUT-14, MPUT-23: all that is missing, and nothing is stored */
static void test_manifest_put_tells_all_that_is_missing(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link blobs[] = {{.digest = digest_text_of("c")},
                                    {.digest = blob_row(fixture, REPOSITORY, "here")},
                                    {.digest = digest_text_of("a")},
                                    {.digest = digest_text_of("c")}};
    struct manifest_link child = {.digest = digest_text_of("child")};
    struct push push = push_of("one", "v1");

    blob_row(fixture, SLICE("team/other"), "a"); /* elsewhere is not here */
    push.put.blobs = blobs;
    push.put.blob_count = LENGTH(blobs);
    push.put.children = &child;
    push.put.child_count = 1;
    FAILS(push_run(fixture, REPOSITORY, &push), ERROR_MANIFEST_BLOB_UNKNOWN);
    assert_int_equal(push.missing.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_false(digest_equal(&push.missing.digests[i], &blobs[1].digest));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), 0);
    expect_unknown(fixture, by_tag("v1"));
    missing_drop(&push.missing);
}

/* MPUT-15: an exempt layer that comes later is counted like any other */
static void test_manifest_missing_layer_becomes_a_reference(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link layer = {
        .digest = digest_text_of("foreign"), .size = 7, .may_be_missing = true};
    struct push push = push_of("one", "v1");

    push.put.blobs = &layer;
    push.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    assert_int_equal(number(fixture, "SELECT total_size FROM manifests"), 10);
    assert_int_equal(number(fixture, "SELECT count(*) FROM missing_refs"), 1);
    blob_row(fixture, SLICE("team/other"), "foreign");
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 0);

    bool mounted = false;
    OK(storage_blob_mount(fixture->store, REPOSITORY, SLICE("team/other"), &layer.digest, NULL,
                          &mounted, &fixture->err));
    assert_true(mounted);
    assert_int_equal(number(fixture, "SELECT count(*) FROM missing_refs"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 1);
}

/* MPUT-16 */
static void test_manifest_child_may_be_manifest_or_blob(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link children[] = {
        {.digest = digest_text_of("child"), .platform = SLICE("l/a")},
        {.digest = blob_row(fixture, REPOSITORY, "cache")}};
    struct push push = push_of("index", "v1");

    push_text(fixture, "child", NULL);
    push.put.children = children;
    push.put.child_count = LENGTH(children);
    OK(push_run(fixture, REPOSITORY, &push));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_refs"), 2);
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM manifest_refs WHERE child_id IS NOT NULL"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 1);
}

/* MPUT-17 */
static void test_manifest_sparse_index_gets_its_children_later(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link children[] = {{.digest = digest_text_of("child")},
                                       {.digest = digest_text_of("cache")}};
    struct push push = push_of("index", "v1");

    fixture->options.accept_missing = true;
    fixture_reopen(fixture);
    push.put.children = children;
    push.put.child_count = LENGTH(children);
    OK(push_run(fixture, REPOSITORY, &push));
    push_text(fixture, "child", NULL);
    blob_row(fixture, REPOSITORY, "cache");
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM manifest_refs WHERE child_id IS NOT NULL"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 1);

    /* set aside, named again, and back: the reference comes back with it */
    OK(delete (fixture, by_digest("child")));
    OK(push_run(fixture, REPOSITORY, &push));
    push_text(fixture, "child", NULL);
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM manifest_refs WHERE child_id IS NOT NULL"), 1);
    missing_drop(&push.missing);
}

/* DEL-06: deleting a blob in use works; the next push that names it is told */
static void test_manifest_put_misses_what_was_deleted(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link blob = {.digest = blob_row(fixture, REPOSITORY, "layer")};
    struct push push = push_of("one", "v1");

    push.put.blobs = &blob;
    push.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    OK(storage_blob_delete(fixture->store, REPOSITORY, &blob.digest, &fixture->err));
    expect(fixture, by_tag("v1"), "one", OCI_MANIFEST);
    FAILS(push_run(fixture, REPOSITORY, &push), ERROR_MANIFEST_BLOB_UNKNOWN);
    missing_drop(&push.missing);
    blob_row(fixture, REPOSITORY, "layer");
    OK(push_run(fixture, REPOSITORY, &push));
}

/* --- deletion --- */

/* DEL-01, DEL-04 */
static void test_manifest_delete_by_tag_takes_the_tag_only(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "one", "v1");
    push_text(fixture, "one", "v2");
    expect(fixture, by_tag("v1"), "one", OCI_MANIFEST);
    OK(delete (fixture, by_tag("v1")));
    expect_unknown(fixture, by_tag("v1"));
    expect(fixture, by_tag("v2"), "one", OCI_MANIFEST);
    expect(fixture, by_digest("one"), "one", OCI_MANIFEST);
    FAILS(delete (fixture, by_tag("v1")), ERROR_MANIFEST_UNKNOWN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags WHERE name = 'v1'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history WHERE new_digest IS NULL"),
                     1);
}

/* DEL-02, DEL-04, DEL-07 */
static void test_manifest_delete_by_digest_takes_all_tags(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "one", "v1");
    push_text(fixture, "one", "v2");
    push_text(fixture, "two", "v3");
    expect(fixture, by_tag("v1"), "one", OCI_MANIFEST);
    expect(fixture, by_digest("one"), "one", OCI_MANIFEST);
    OK(delete (fixture, by_digest("one")));
    expect_unknown(fixture, by_tag("v1"));
    expect_unknown(fixture, by_tag("v2"));
    expect_unknown(fixture, by_digest("one"));
    expect(fixture, by_tag("v3"), "two", OCI_MANIFEST);
    FAILS(delete (fixture, by_digest("one")), ERROR_MANIFEST_UNKNOWN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 2);

    push_text(fixture, "one", "v1");
    expect(fixture, by_tag("v1"), "one", OCI_MANIFEST);
    expect_unknown(fixture, by_tag("v2"));
}

/* gc.undo 0: at once, also a child of an index */
static void test_manifest_delete_without_undo_leaves_no_row(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link child = {.digest = digest_text_of("child")};
    struct manifest_link blob = {.digest = blob_row(fixture, REPOSITORY, "layer")};
    struct push index = push_of("index", "v1");
    struct push image = push_of("child", "v2");

    fixture->options.gc_undo_ms = 0;
    fixture_reopen(fixture);
    image.put.blobs = &blob;
    image.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &image));
    index.put.children = &child;
    index.put.child_count = 1;
    OK(push_run(fixture, REPOSITORY, &index));
    OK(delete (fixture, by_digest("child")));
    expect_unknown(fixture, by_tag("v2"));
    expect(fixture, by_tag("v1"), "index", OCI_MANIFEST);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_refs WHERE child_id IS NULL"),
                     1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 2"), 1);
    OK(storage_blob_delete(fixture->store, REPOSITORY, &blob.digest, &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM repository_blobs"), 0);
}

/* --- leases and memory --- */

static void test_manifest_lease_is_renewed_for_pushers_once(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;
    struct manifest_reference reference = by_tag("v1");

    push_text(fixture, "one", "v1");
    script(fixture, "UPDATE manifests SET touched_at = 5");
    OK(get(fixture, REPOSITORY, reference, false, &manifest));
    storage_manifest_release(manifest);
    assert_int_equal(number(fixture, "SELECT touched_at FROM manifests"), 5);
    assert_false(storage_peek_manifest(fixture->store, REPOSITORY, &reference, true, &manifest));
    OK(get(fixture, REPOSITORY, reference, true, &manifest));
    storage_manifest_release(manifest);
    int64_t touched = number(fixture, "SELECT touched_at FROM manifests");
    assert_true(touched > 5);
    OK(get(fixture, REPOSITORY, reference, true, &manifest));
    storage_manifest_release(manifest);
    assert_int_equal(number(fixture, "SELECT touched_at FROM manifests"), touched);
    assert_true(storage_peek_manifest(fixture->store, REPOSITORY, &reference, true, &manifest));
    storage_manifest_release(manifest);
    /* what was confirmed has half the grace left at least */
    script(fixture, "UPDATE manifests"
                    "   SET touched_at = touched_at - (SELECT (due - created_at) * 3 / 4"
                    "                                    FROM gc_queue WHERE kind = 1)");
    OK(get(fixture, REPOSITORY, reference, true, &manifest));
    storage_manifest_release(manifest);
    assert_true(number(fixture, "SELECT touched_at FROM manifests") >= touched);
}

static void test_manifest_memory_forgets_what_changed(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;
    struct manifest_reference tag = by_tag("v1");

    push_text(fixture, "one", "v1");
    expect(fixture, tag, "one", OCI_MANIFEST);
    assert_true(storage_peek_manifest(fixture->store, REPOSITORY, &tag, false, &manifest));
    storage_manifest_release(manifest);
    push_text(fixture, "two", "v1");
    assert_false(storage_peek_manifest(fixture->store, REPOSITORY, &tag, false, &manifest));
}

struct racer {
    struct fixture *fixture;
    int number;
    pthread_t thread;
};

static void *race(void *arg)
{
    const struct racer *racer = arg;
    char text[32];

    thread_role_current = ROLE_WORKER;
    snprintf(text, sizeof(text), "manifest %d", racer->number);
    for (int i = 0; i < 20; i++) {
        struct push push = push_of(text, "v1");
        struct error err = {0};
        const struct manifest *manifest = NULL;
        struct manifest_reference reference = by_tag("v1");
        push.put.tags = &push.tag;
        assert_int_equal(
            storage_manifest_put(racer->fixture->store, REPOSITORY, &push.put, &push.missing, &err),
            0);
        assert_int_equal(storage_manifest_get(racer->fixture->store, REPOSITORY, &reference, true,
                                              &manifest, &err),
                         0);
        struct digest digest;
        digest_of(DIGEST_SHA256, manifest->payload, &digest);
        assert_true(digest_equal(&digest, &manifest->digest));
        storage_manifest_release(manifest);
    }
    return NULL;
}

/* CONC-01 */
static void test_manifest_same_tag_by_many_is_one_of_them(void **state)
{
    struct fixture *fixture = *state;
    struct racer racers[8];
    const struct manifest *stored = NULL, *remembered = NULL;
    struct manifest_reference reference = by_tag("v1");

    for (int i = 0; i < 8; i++) {
        racers[i] = (struct racer){.fixture = fixture, .number = i};
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        pthread_join(racers[i].thread, NULL);
    bool hit = storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &remembered);
    OK(get(fixture, REPOSITORY, reference, false, &stored));
    if (hit) {
        assert_true(digest_equal(&remembered->digest, &stored->digest));
        storage_manifest_release(remembered);
    }
    storage_manifest_release(stored);
}

/* --- lists --- */

static void expect_tags(struct fixture *fixture, const char *last, size_t limit,
                        const char *expected, bool more)
{
    OWNED(buffer_drop) struct buffer names = BUFFER_NONE;
    OWNED(page_drop) struct page page = {.names = NULL};

    OK(storage_tag_list(fixture->store, REPOSITORY, slice_of(last), limit, &page, &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&names, "%s ", page.names[i]);
    buffer_append(&names, "", 1);
    assert_string_equal(names.at, expected);
    assert_int_equal(page.more, more);
}

/* TAG-02 to TAG-05, TAG-08, TAG-10; the vectors of section 23 */
static void test_manifest_tags_are_paged_by_name(void **state)
{
    struct fixture *fixture = *state;
    const char *tags[] = {"b", "a_b", "A", "a", "B", "a.b"};
    struct page page = {.names = NULL};

    FAILS(storage_tag_list(fixture->store, REPOSITORY, SLICE_NONE, 9, &page, &fixture->err),
          ERROR_NAME_UNKNOWN);
    blob_row(fixture, REPOSITORY, "blob");
    expect_tags(fixture, NULL, 9, "", false);
    for (size_t i = 0; i < LENGTH(tags); i++)
        push_text(fixture, "one", tags[i]);
    expect_tags(fixture, NULL, 9, "A B a a.b a_b b ", false);
    expect_tags(fixture, NULL, 6, "A B a a.b a_b b ", false);
    expect_tags(fixture, NULL, 2, "A B ", true);
    expect_tags(fixture, "a_b", 2, "b ", false);
    expect_tags(fixture, "aa", 2, "b ", false);
    expect_tags(fixture, "b", 2, "", false);
    expect_tags(fixture, NULL, SIZE_MAX, "A B a a.b a_b b ", false);
    OK(delete (fixture, by_digest("one")));
    expect_tags(fixture, NULL, 9, "", false);
}

/* CAT-01, CAT-03 */
static void test_manifest_catalogue_lists_what_had_a_manifest(void **state)
{
    struct fixture *fixture = *state;
    struct push push = push_of("one", "v1");
    OWNED(page_drop) struct page page = {.names = NULL};

    blob_row(fixture, SLICE("only/blobs"), "blob");
    OK(push_run(fixture, SLICE("b"), &push));
    OK(push_run(fixture, SLICE("a/b"), &push));
    OK(push_run(fixture, REPOSITORY, &push));
    OK(delete (fixture, by_digest("one")));
    OK(storage_repository_list(fixture->store, SLICE_NONE, NULL, 2, &page, &fixture->err));
    assert_int_equal(page.count, 2);
    assert_string_equal(page.names[0], "a/b");
    assert_string_equal(page.names[1], "b");
    assert_true(page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE("b"), NULL, 2, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    assert_string_equal(page.names[0], "team/app");
    assert_false(page.more);
}

static void push_referrer(struct fixture *fixture, const char *text, const char *type)
{
    struct push push = push_of(text, NULL);

    push.put.subject = digest_text_of("subject");
    push.put.artifact_type = slice_of(type);
    push.put.annotations = SLICE("{\"k\":\"v\"}");
    OK(push_run(fixture, REPOSITORY, &push));
}

static void expect_referrers(struct fixture *fixture, const char *type, const char *const *texts,
                             size_t count)
{
    struct digest subject = digest_text_of("subject");
    OWNED(referrers_drop) struct referrers list = {.items = NULL};

    OK(storage_referrer_list(fixture->store, REPOSITORY, &subject, slice_of(type), 0, 1 << 20,
                             &list, &fixture->err));
    assert_int_equal(list.count, count);
    assert_int_equal(list.next, 0);
    for (size_t i = 0; i < count; i++) {
        struct digest expected = digest_text_of(texts[i]);
        assert_true(digest_equal(&list.items[i].digest, &expected));
        assert_int_equal(list.items[i].size, strlen(texts[i]));
        assert_string_equal(list.items[i].media_type, OCI_TYPE_MANIFEST);
        assert_string_equal(list.items[i].annotations, "{\"k\":\"v\"}");
    }
}

/* REF-02 to REF-05, REF-07, REF-08 */
static void test_manifest_referrers_oldest_first(void **state)
{
    struct fixture *fixture = *state;
    const char *all[] = {"one", "two", "three"};
    const char *without[] = {"one", "three"};

    expect_referrers(fixture, NULL, NULL, 0);
    push_referrer(fixture, "one", "t/a");
    push_referrer(fixture, "two", "t/b");
    push_text(fixture, "subject", "v1"); /* the subject may come later */
    push_referrer(fixture, "three", "t/a");
    push_referrer(fixture, "one", "t/a"); /* a repeated push does not move it */
    expect_referrers(fixture, NULL, all, 3);
    expect_referrers(fixture, "t/a", without, 2);
    expect_referrers(fixture, "t/c", NULL, 0);
    OK(delete (fixture, by_digest("two")));
    expect_referrers(fixture, NULL, without, 2);
    OK(delete (fixture, by_digest("subject")));
    expect_referrers(fixture, NULL, without, 2);
}

/* REF-06 */
static void test_manifest_referrers_are_split_by_size(void **state)
{
    struct fixture *fixture = *state;
    struct digest subject = digest_text_of("subject");
    uint64_t cursor = 0;
    size_t count = 0, pages = 0;
    char text[32];

    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof(text), "referrer %d", i);
        push_referrer(fixture, text, NULL);
    }
    do {
        OWNED(referrers_drop) struct referrers list = {.items = NULL};
        OK(storage_referrer_list(fixture->store, REPOSITORY, &subject, SLICE_NONE, cursor,
                                 4 * STORAGE_REFERRER_OVERHEAD, &list, &fixture->err));
        assert_in_range(list.count, 1, 4);
        assert_null(list.items[0].artifact_type);
        snprintf(text, sizeof(text), "referrer %zu", count);
        struct digest first = digest_text_of(text);
        assert_true(digest_equal(&list.items[0].digest, &first));
        count += list.count;
        cursor = list.next;
        pages++;
    } while (cursor != 0);
    assert_int_equal(count, 10);
    assert_int_equal(pages, 4);
}

/* --- pull counters --- */

static void test_manifest_pulls_are_counted_and_written(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;
    struct manifest_reference tag = by_tag("v1"), digest = by_digest("one");

    push_text(fixture, "one", "v1");
    OK(get(fixture, REPOSITORY, tag, false, &manifest));
    for (int i = 0; i < 3; i++)
        storage_pull_count(fixture->store, REPOSITORY, &tag, manifest, PULL_USER);
    storage_pull_count(fixture->store, REPOSITORY, &digest, manifest, PULL_USER);
    storage_pull_count(fixture->store, SLICE("gone"), &tag, manifest, PULL_USER);
    OK(pulls_flush(fixture->store->pulls, &fixture->err));
    assert_int_equal(number(fixture, "SELECT sum(pulls) FROM pull_counts WHERE reference = 'v1'"),
                     3);
    assert_int_equal(number(fixture, "SELECT count(DISTINCT reference) FROM pull_counts"), 2);
    assert_true(number(fixture, "SELECT pulled_at FROM manifests") > 0);
    storage_pull_count(fixture->store, REPOSITORY, &tag, manifest, PULL_USER);
    storage_manifest_release(manifest);
    fixture_reopen(fixture); /* closing writes what is left */
    assert_int_equal(number(fixture, "SELECT sum(pulls) FROM pull_counts WHERE reference = 'v1'"),
                     4);
}

static void test_manifest_pulls_of_some_are_no_use(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest *manifest = NULL;
    struct manifest_reference tag = by_tag("v1");

    push_text(fixture, "one", "v1");
    OK(get(fixture, REPOSITORY, tag, false, &manifest));
    storage_pull_count(fixture->store, REPOSITORY, &tag, manifest, PULL_EXCLUDED);
    storage_pull_count(fixture->store, REPOSITORY, &tag, manifest, PULL_EXCLUDED);
    OK(pulls_flush(fixture->store->pulls, &fixture->err));
    assert_int_equal(number(fixture, "SELECT sum(pulls) FROM pull_counts WHERE kind = 3"), 2);
    assert_int_equal(number(fixture, "SELECT count(pulled_at) FROM manifests"), 0);
    storage_pull_count(fixture->store, REPOSITORY, &tag, manifest, PULL_ROBOT);
    storage_manifest_release(manifest);
    OK(pulls_flush(fixture->store->pulls, &fixture->err));
    assert_int_equal(number(fixture, "SELECT sum(pulls) FROM pull_counts WHERE kind = 2"), 1);
    assert_int_equal(number(fixture, "SELECT count(pulled_at) FROM manifests"), 1);
}

/* --- plans --- */

/* The work of the database's machine for a page of 100 from the middle. */
static uint64_t page_steps(struct fixture *fixture, struct slice repository)
{
    OWNED(page_drop) struct page page = {.names = NULL};
    uint64_t before = atomic_load(&machine_steps);

    OK(storage_tag_list(fixture->store, repository, SLICE("t0"), 100, &page, &fixture->err));
    assert_int_equal(page.count, 100);
    assert_true(page.more);
    return atomic_load(&machine_steps) - before;
}

/* Every page of the repository: each tag once, in order (TAG-02, TAG-05, TAG-10). */
static size_t tags_walk(struct fixture *fixture, struct slice repository, size_t limit)
{
    char last[OCI_TAG_MAX + 1] = "";
    size_t count = 0;
    bool more = true;

    while (more) {
        OWNED(page_drop) struct page page = {.names = NULL};
        OK(storage_tag_list(fixture->store, repository, slice_of(last), limit, &page,
                            &fixture->err));
        for (size_t i = 0; i < page.count; i++) {
            assert_true(strcmp(last, page.names[i]) < 0);
            assert_true(slice_to_text(slice_of(page.names[i]), last, sizeof(last)));
        }
        count += page.count;
        more = page.more;
    }
    return count;
}

/* A repository of a million tags: a page costs what it costs in one of 200, and pages join. */
static void test_manifest_page_costs_the_same_among_a_million_tags(void **state)
{
    struct fixture *fixture = *state;
    struct push push = push_of("one", "t");

    OK(push_run(fixture, SLICE("small"), &push));
    OK(push_run(fixture, SLICE("large"), &push));
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
                    "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
                    " SELECT repo_id, printf('t%07d', i), id, 0 FROM manifests, n"
                    " WHERE repo_id = (SELECT id FROM repositories WHERE name = 'small')");
    script(fixture,
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000)"
           "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
           " SELECT repo_id, printf('t%07d', i), id, 0 FROM manifests, n"
           " WHERE repo_id = (SELECT id FROM repositories WHERE name = 'large')");
    uint64_t small = page_steps(fixture, SLICE("small"));
    uint64_t large = page_steps(fixture, SLICE("large"));
    assert_true(small > 100); /* it is counted */
    assert_int_equal(small, large);
    assert_int_equal(tags_walk(fixture, SLICE("large"), 10000), 1000001);
}

/* Runs last: every statement that the tests above, and storage's own threads, have run. */
static void test_manifest_no_statement_scans_or_sorts(void **state)
{
    struct fixture *fixture = *state;

    assert_true(plans_check(fixture, NULL) >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_manifest_is_served_as_pushed_and_only_there),
        FIXTURE_TEST(test_manifest_put_moves_the_tag),
        FIXTURE_TEST(test_manifest_last_push_decides_the_media_type),
        FIXTURE_TEST(test_manifest_retyped_queues_what_it_held),
        FIXTURE_TEST(test_manifest_under_two_algorithms_is_two),
        FIXTURE_TEST(test_manifest_put_sets_all_tags),
        FIXTURE_TEST(test_manifest_put_keeps_to_preconditions),
        FIXTURE_TEST(test_manifest_put_tells_all_that_is_missing),
        FIXTURE_TEST(test_manifest_missing_layer_becomes_a_reference),
        FIXTURE_TEST(test_manifest_child_may_be_manifest_or_blob),
        FIXTURE_TEST(test_manifest_sparse_index_gets_its_children_later),
        FIXTURE_TEST(test_manifest_put_misses_what_was_deleted),
        FIXTURE_TEST(test_manifest_delete_by_tag_takes_the_tag_only),
        FIXTURE_TEST(test_manifest_delete_by_digest_takes_all_tags),
        FIXTURE_TEST(test_manifest_delete_without_undo_leaves_no_row),
        FIXTURE_TEST(test_manifest_lease_is_renewed_for_pushers_once),
        FIXTURE_TEST(test_manifest_memory_forgets_what_changed),
        FIXTURE_TEST(test_manifest_same_tag_by_many_is_one_of_them),
        FIXTURE_TEST(test_manifest_tags_are_paged_by_name),
        FIXTURE_TEST(test_manifest_catalogue_lists_what_had_a_manifest),
        FIXTURE_TEST(test_manifest_referrers_oldest_first),
        FIXTURE_TEST(test_manifest_referrers_are_split_by_size),
        FIXTURE_TEST(test_manifest_pulls_are_counted_and_written),
        FIXTURE_TEST(test_manifest_pulls_of_some_are_no_use),
        FIXTURE_TEST(test_manifest_page_costs_the_same_among_a_million_tags),
        FIXTURE_TEST(test_manifest_no_statement_scans_or_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
