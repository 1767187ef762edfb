/* test_rebases.c - which tags stand on a base; tags of many repositories that move at once, and
 * back; and that what they stood for is kept. Spec: s2i 15.1 */
#include "tests/support/collect.h"
#include "tests/support/plans.h"

#include "storage/builds.h"
#include "storage/content.h"
#include "storage/rebases.h"

#define BASE "builders/python:3"
#define ONE SLICE("team/one")
#define TWO SLICE("team/two")

static const struct actor ana = {.account = 7, .name = {"ana", 3}};

/* `text` in the repository under a tag, standing on what `on` is the digest of. */
static void image(struct fixture *fixture, struct slice repository, const char *text,
                  const char *tag, const char *name, const char *on)
{
    struct push push = push_of(text, tag);

    push.put.base_name = slice_of(name);
    push.put.base_digest = digest_text_of(on);
    OK(push_run(fixture, repository, &push));
    missing_drop(&push.missing);
}

static void two_repositories(struct fixture *fixture)
{
    image(fixture, ONE, "a", "latest", BASE, "base-1");
    image(fixture, ONE, "a", "v1", BASE, "base-1");
    image(fixture, ONE, "b", "v0", BASE, "base-0");
    image(fixture, TWO, "a", "latest", BASE, "base-1");
    image(fixture, TWO, "c", "other", "builders/node:20", "base-9");
    image(fixture, TWO, "d", NULL, BASE, "base-1");
}

/* "repository:tag ..." of a query, a page of `limit` at a time. */
static char *listed(struct fixture *fixture, struct rebase_query query)
{
    struct buffer out = BUFFER_NONE;
    char tag[64] = "";
    bool more = true;

    while (more) {
        OWNED(rebase_candidates_drop) struct rebase_candidates page = {.items = NULL};
        OK(rebase_candidate_list(fixture->store, &query, &page, &fixture->err));
        for (size_t i = 0; i < page.count; i++) {
            const struct rebase_candidate *item = &page.items[i];
            buffer_print(&out, "%s:%s%s ", item->repository, item->tag, item->immutable ? "!" : "");
            query.after_repository = item->repository_id;
            query.after_manifest = item->manifest_id;
            snprintf(tag, sizeof(tag), "%s", item->tag);
        }
        query.after_tag = slice_of(tag);
        more = page.more;
        assert_true(!more || page.count == query.limit);
    }
    buffer_append(&out, "", 1);
    return out.at;
}

static void lists(struct fixture *fixture, struct rebase_query query, const char *expected)
{
    for (query.limit = 1; query.limit < 8; query.limit += 2) {
        OWNED(memory_drop) char *found = listed(fixture, query);
        assert_string_equal(found, expected);
    }
}

static void test_what_stands_on_a_base(void **state)
{
    struct fixture *fixture = *state;
    char on[DIGEST_TEXT_MAX];
    const struct digest digest = digest_text_of("base-1");
    const struct content_change change = {.actor = &ana};

    two_repositories(fixture);
    digest_text(&digest, on);
    lists(fixture, (struct rebase_query){.base_name = SLICE(BASE)},
          "team/one:latest team/one:v1 team/one:v0 team/two:latest ");
    lists(fixture, (struct rebase_query){.base_digest = slice_of(on)},
          "team/one:latest team/one:v1 team/two:latest ");
    lists(fixture, (struct rebase_query){.repository = TWO}, "team/two:latest team/two:other ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("builders/python")}, "");
    OK(content_tag_protect(fixture->store, ONE, SLICE("v1"), TAG_IMMUTABLE, TAG_IMMUTABLE, &change,
                           &fixture->err));
    lists(fixture, (struct rebase_query){.repository = ONE},
          "team/one:latest team/one:v1! team/one:v0 ");
    FAILS(rebase_candidate_list(fixture->store,
                                &(struct rebase_query){.repository = SLICE("no/such"), .limit = 1},
                                &(struct rebase_candidates){.items = NULL}, &fixture->err),
          ERROR_NOT_FOUND);
}

/* Who built it may have said which registry the base is of. */
static void test_another_name_of_the_base(void **state)
{
    struct fixture *fixture = *state;

    two_repositories(fixture);
    script(fixture, "UPDATE manifest_bases SET base_name = 'us.example:5000/' || base_name"
                    " WHERE repo_id = (SELECT id FROM repositories WHERE name = 'team/one')"
                    "   AND manifest_id = (SELECT min(manifest_id) FROM manifest_bases)");
    lists(fixture, (struct rebase_query){.base_name = SLICE(BASE)}, "team/one:v0 team/two:latest ");
    lists(fixture,
          (struct rebase_query){.base_name = SLICE(BASE),
                                .base_alias = SLICE("us.example:5000/" BASE)},
          "team/one:latest team/one:v1 team/one:v0 team/two:latest ");
    lists(fixture,
          (struct rebase_query){.base_name = SLICE(BASE),
                                .base_alias = SLICE("other.example:5000/" BASE)},
          "team/one:v0 team/two:latest ");
}

/* A repository that is passed over costs one page. */
static void test_a_repository_is_passed_over(void **state)
{
    struct fixture *fixture = *state;
    struct rebase_query query = {.base_name = SLICE(BASE), .limit = 10};
    OWNED(rebase_candidates_drop) struct rebase_candidates page = {.items = NULL};

    two_repositories(fixture);
    query.after_repository = number(fixture, "SELECT id FROM repositories WHERE name = 'team/one'");
    query.after_manifest = INT64_MAX;
    OK(rebase_candidate_list(fixture->store, &query, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    assert_string_equal(page.items[0].repository, "team/two");
}

/* --- moving --- */

/* What becomes of "a": "A" in both repositories; and of "b". */
struct moving {
    struct push puts[3];
    struct rebase_tag tags[4];
    struct rebase_image images[3];
    int64_t id, until;
};

static void moving_of(struct moving *moving)
{
    *moving = (struct moving){.tags = {{.name = SLICE("latest")},
                                       {.name = SLICE("v1")},
                                       {.name = SLICE("v0")},
                                       {.name = SLICE("latest")}}};
    const char *const texts[] = {"A", "B", "A"};
    for (size_t i = 0; i < 3; i++) {
        moving->puts[i] = push_of(texts[i], NULL);
        moving->puts[i].put.base_name = SLICE(BASE);
        moving->puts[i].put.base_digest = digest_text_of("base-2");
    }
    moving->images[0] = (struct rebase_image){
        ONE, digest_text_of("a"), &moving->puts[0].put, &moving->tags[0], 2, SLICE("{\"a\":1}")};
    moving->images[1] = (struct rebase_image){
        ONE, digest_text_of("b"), &moving->puts[1].put, &moving->tags[2], 1, SLICE("{}")};
    moving->images[2] = (struct rebase_image){
        TWO, digest_text_of("a"), &moving->puts[2].put, &moving->tags[3], 1, SLICE("{}")};
}

static int64_t attestations(struct fixture *fixture)
{
    return number(fixture, "SELECT count(*) FROM build_attestations");
}

static int apply(struct fixture *fixture, struct moving *moving, bool dry_run)
{
    const struct audit_event event = {.actor = SLICE("ana"),
                                      .action = SLICE("image.rebase"),
                                      .outcome = SLICE("done"),
                                      .detail = SLICE("{}")};
    const struct rebase_new rebase = {SLICE(BASE), &ana, &event, dry_run};

    fixture->err = (struct error){0};
    return rebase_apply(fixture->store, &rebase, moving->images, 3, &moving->id, &moving->until,
                        &fixture->err);
}

static bool stands(struct fixture *fixture, struct slice repository, const char *tag,
                   const char *text)
{
    const struct manifest_reference reference = {.tag = slice_of(tag)};
    const struct digest expected = digest_text_of(text);
    const struct manifest *found = NULL;

    OK(storage_manifest_get(fixture->store, repository, &reference, false, &found, &fixture->err));
    bool yes = digest_equal(&found->digest, &expected);
    storage_manifest_release(found);
    return yes;
}

static void test_all_move_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    assert_true(stands(fixture, TWO, "latest", "a")); /* memory has it */
    OK(apply(fixture, &moving, false));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(moving.tags[i].outcome, REBASE_MOVE_DONE);
    assert_true(stands(fixture, ONE, "latest", "A") && stands(fixture, ONE, "v1", "A") &&
                stands(fixture, ONE, "v0", "B") && stands(fixture, TWO, "latest", "A"));
    assert_true(moving.id > 0 && moving.until > clock_now_us());
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history WHERE cause = 7"
                                     " AND actor = 'ana'"),
                     4);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'image.rebase'"
                                     " AND target LIKE 'rebase/%'"),
                     1);
    lists(fixture, (struct rebase_query){.base_name = SLICE(BASE)},
          "team/one:latest team/one:v1 team/one:v0 team/two:latest ");
}

static void test_a_dry_run_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    int64_t manifests = number(fixture, "SELECT count(*) FROM manifests");
    int64_t moves = number(fixture, "SELECT count(*) FROM tag_history");
    OK(apply(fixture, &moving, true));
    assert_int_equal(moving.tags[3].outcome, REBASE_MOVE_DONE);
    assert_int_equal(moving.id, 0);
    assert_true(stands(fixture, ONE, "latest", "a") && stands(fixture, TWO, "latest", "a"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests"), manifests);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history"), moves);
    assert_int_equal(number(fixture, "SELECT count(*) FROM rebases"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 0);
    assert_int_equal(attestations(fixture), 0);
}

/* Who stays is told, and the others move. */
static void test_what_stays(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = &ana};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    OK(content_tag_protect(fixture->store, ONE, SLICE("v1"), TAG_IMMUTABLE, TAG_IMMUTABLE, &change,
                           &fixture->err));
    image(fixture, TWO, "e", "latest", BASE, "base-1");
    const struct manifest_reference v0 = {.tag = SLICE("v0")};
    OK(storage_manifest_delete(fixture->store, ONE, &v0, &ana, &fixture->err));
    OK(apply(fixture, &moving, false));
    assert_int_equal(moving.tags[0].outcome, REBASE_MOVE_DONE);
    assert_int_equal(moving.tags[1].outcome, REBASE_MOVE_KEPT);
    assert_int_equal(moving.tags[2].outcome, REBASE_MOVE_ELSEWHERE);
    assert_int_equal(moving.tags[3].outcome, REBASE_MOVE_ELSEWHERE);
    assert_true(stands(fixture, ONE, "latest", "A") && stands(fixture, ONE, "v1", "a") &&
                stands(fixture, TWO, "latest", "e"));
    assert_string_equal(moving.tags[3].why, "the tag moved meanwhile");
    assert_int_equal(number(fixture, "SELECT count(*) FROM rebase_moves"), 1);
    assert_int_equal(attestations(fixture), 1);
}

/* What one of them lacks, none of them gets. */
static void test_all_or_nothing(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_link gone = {.digest = digest_text_of("gone")};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    moving.puts[2].put.blobs = &gone;
    moving.puts[2].put.blob_count = 1;
    assert_int_equal(apply(fixture, &moving, false), -1);
    assert_int_equal(fixture->err.code, ERROR_MANIFEST_BLOB_UNKNOWN);
    assert_true(stands(fixture, ONE, "latest", "a") && stands(fixture, ONE, "v0", "b"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM rebases"), 0);
    assert_int_equal(attestations(fixture), 0);
}

/* s2i 7.12: what is to stand beside an image waits, under who asked; and goes with the image. */
static void test_attestations_come_with_it(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_attestation_drop) struct build_attestation one = {.id = 0};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    moving.images[2].attestations = SLICE_NONE;
    OK(apply(fixture, &moving, false));
    assert_int_equal(attestations(fixture), 2);
    OK(build_attestation_next(fixture->store, &one, &fixture->err));
    assert_true(one.id != 0 && one.build == 0 && one.account == 7);
    assert_string_equal(one.repository, "team/one");
    assert_string_equal(one.actor, "ana");
    assert_string_equal(one.document, "{\"a\":1}");
    OK(build_attestation_done(fixture->store, one.id, &fixture->err));
    assert_int_equal(attestations(fixture), 1);
    script(fixture, "DELETE FROM tags; DELETE FROM manifest_blobs; DELETE FROM manifests");
    assert_int_equal(attestations(fixture), 0);
}

/* --- back --- */

static int back(struct fixture *fixture, int64_t id, bool dry_run, struct rebase_record *out)
{
    const struct slice both[] = {ONE, TWO};
    const struct rebase_undo undo = {
        .actor = &ana, .repositories = both, .repository_count = 2, .dry_run = dry_run};

    rebase_record_drop(out);
    fixture->err = (struct error){0};
    return rebase_take_back(fixture->store, id, &undo, out, &fixture->err);
}

static void test_back(void **state)
{
    struct fixture *fixture = *state;
    OWNED(rebase_record_drop) struct rebase_record record = {.id = 0};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    OK(apply(fixture, &moving, false));
    OK(back(fixture, moving.id, true, &record));
    assert_int_equal(record.count, 4);
    assert_true(stands(fixture, ONE, "latest", "A"));
    image(fixture, TWO, "e", "latest", BASE, "base-1");
    OK(back(fixture, moving.id, false, &record));
    assert_true(stands(fixture, ONE, "latest", "a") && stands(fixture, ONE, "v1", "a") &&
                stands(fixture, ONE, "v0", "b") && stands(fixture, TWO, "latest", "e"));
    assert_int_equal(record.moves[3].outcome, REBASE_MOVE_ELSEWHERE);
    /* once more is no harm, also when somebody did the same by hand meanwhile */
    const struct content_tag_set set = {.tag = SLICE("v1"), .digest = digest_text_of("A")};
    const struct content_change change = {.actor = &ana};
    bool created;
    OK(content_tag_set(fixture->store, ONE, &set, &change, &created, &fixture->err));
    OK(back(fixture, moving.id, false, &record));
    assert_true(stands(fixture, ONE, "v1", "A"));
    FAILS(back(fixture, moving.id + 1, false, &record), ERROR_NOT_FOUND);
}

/* Only what is asked for; and what was deleted meanwhile comes back. */
static void test_back_in_part(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_reference old = {.digest = digest_text_of("a")};
    const struct slice one[] = {ONE};
    const struct rebase_undo undo = {.actor = &ana, .repositories = one, .repository_count = 1};
    OWNED(rebase_record_drop) struct rebase_record record = {.id = 0};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    OK(apply(fixture, &moving, false));
    OK(storage_manifest_delete(fixture->store, ONE, &old, &ana, &fixture->err));
    OK(rebase_take_back(fixture->store, moving.id, &undo, &record, &fixture->err));
    assert_int_equal(record.count, 3);
    assert_true(stands(fixture, ONE, "v1", "a") && stands(fixture, TWO, "latest", "A"));
    script(fixture, "UPDATE rebases SET until = 1");
    FAILS(back(fixture, moving.id, false, &record), ERROR_CONFLICT);
}

/* However short the rest is, what a tag stood for stays until it cannot be taken back any more. */
static void test_the_collector_waits(void **state)
{
    struct fixture *fixture = *state;
    OWNED(rebase_record_drop) struct rebase_record record = {.id = 0};
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    OK(apply(fixture, &moving, false));
    fixture->meta->untagged_us = 1;
    script(fixture, "UPDATE manifests SET touched_at = 1; UPDATE gc_queue SET due = 0");
    collect(fixture);
    OK(back(fixture, moving.id, false, &record));
    assert_true(stands(fixture, ONE, "v0", "b") && stands(fixture, TWO, "latest", "a"));
    script(fixture, "UPDATE rebase_moves SET until = 1; UPDATE manifests SET touched_at = 1;"
                    "UPDATE gc_queue SET due = 0");
    collect(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests m WHERE NOT EXISTS"
                                     " (SELECT 1 FROM tags t WHERE t.manifest_id = m.id)"),
                     0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_bases"),
                     number(fixture, "SELECT count(*) FROM manifests"));
}

/* Without gc.undo there is nothing to come back to. */
static void test_without_undo(void **state)
{
    struct fixture *fixture = *state;
    struct moving moving;

    two_repositories(fixture);
    moving_of(&moving);
    fixture->meta->undo_us = 0;
    OK(apply(fixture, &moving, false));
    assert_true(moving.id == 0 && moving.until == 0);
    assert_true(stands(fixture, TWO, "latest", "A"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM rebases"), 0);
}

static void test_list(void **state)
{
    struct fixture *fixture = *state;
    struct moving moving;
    struct rebase_ids ids;

    two_repositories(fixture);
    moving_of(&moving);
    OK(apply(fixture, &moving, false));
    OK(rebase_list(fixture->store, 0, 10, &ids, &fixture->err));
    assert_int_equal(ids.count, 1);
    assert_int_equal(ids.items[0], moving.id);
    free(ids.items);
    OK(rebase_list(fixture->store, moving.id, 10, &ids, &fixture->err));
    assert_int_equal(ids.count, 0);
    free(ids.items);
}

/* --- images that were there before --- */

extern const char schema_0004[];

/* The one statement of the schema that fills the table, as this database reads it. */
static char *filling(const char *words)
{
    const char *from = strstr(schema_0004, "INSERT INTO manifest_bases");
    const char *end = strchr(from, ';'), *word;
    struct buffer out = BUFFER_NONE;

    for (; (word = strstr(from, "@JSON(")) != NULL && word < end; from = word + 6) {
        buffer_append(&out, from, (size_t)(word - from));
        buffer_append_text(&out, words);
    }
    buffer_append(&out, from, (size_t)(end - from));
    buffer_append(&out, "", 1);
    return out.at;
}

static void annotated(struct fixture *fixture, const char *text, struct slice type,
                      const char *annotations)
{
    struct push push = push_of(text, text);

    push.put.annotations = slice_of(annotations);
    push.put.media_type = type;
    OK(push_run(fixture, REPOSITORY, &push));
    missing_drop(&push.missing);
}

#define SAYS(name, digest)                                                                         \
    "{\"a\\u0000\":\"\\u00e9\"," name "\"org.opencontainers.image.base.digest\":\"" digest "\"}"
#define NAMED(name) "\"org.opencontainers.image.base.name\":\"" name "\","

static void test_images_of_before(void **state)
{
    struct fixture *fixture = *state;
    OWNED(memory_drop) char *sql = filling(db_dialect(fixture->meta->db)->json);

    annotated(fixture, "named", OCI_MANIFEST, SAYS(NAMED("b/one:3"), "sha256:1"));
    annotated(fixture, "plain", OCI_MANIFEST, SAYS(NAMED("b/one"), "sha256:2"));
    annotated(fixture, "exact", OCI_MANIFEST, SAYS(NAMED("b/one@sha256:9"), "sha256:3"));
    annotated(fixture, "ported", OCI_MANIFEST, SAYS(NAMED("host:5000/b/one"), "sha256:6"));
    annotated(fixture, "tagged", OCI_MANIFEST, SAYS(NAMED("host:5000/one:3"), "sha256:7"));
    annotated(fixture, "short", OCI_MANIFEST, SAYS(NAMED("one"), "sha256:8"));
    annotated(fixture, "none", OCI_MANIFEST, SAYS("", "sha256:4"));
    annotated(fixture, "other", OCI_MANIFEST, "{\"a\":\"b\"}");
    annotated(fixture, "wrong", OCI_MANIFEST, SAYS(NAMED("b/one"), "no digest"));
    annotated(fixture, "index", SLICE(OCI_TYPE_INDEX), SAYS(NAMED("b/one"), "sha256:5"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_bases"), 0);
    script(fixture, sql);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_bases"), 7);
    lists(fixture, (struct rebase_query){.base_name = SLICE("b/one:3")}, "team/app:named ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("b/one:latest")}, "team/app:plain ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("b/one@sha256:9")}, "team/app:exact ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("host:5000/b/one:latest")},
          "team/app:ported ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("host:5000/one:3")},
          "team/app:tagged ");
    lists(fixture, (struct rebase_query){.base_name = SLICE("one:latest")}, "team/app:short ");
    lists(fixture, (struct rebase_query){.base_digest = SLICE("sha256:4")}, "team/app:none ");
}

static void test_plans(void **state)
{
    struct fixture *fixture = *state;

    assert_true(plans_check(fixture, "WITH RECURSIVE") > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_what_stands_on_a_base),
        FIXTURE_TEST(test_another_name_of_the_base),
        FIXTURE_TEST(test_a_repository_is_passed_over),
        FIXTURE_TEST(test_all_move_at_once),
        FIXTURE_TEST(test_a_dry_run_changes_nothing),
        FIXTURE_TEST(test_what_stays),
        FIXTURE_TEST(test_all_or_nothing),
        FIXTURE_TEST(test_attestations_come_with_it),
        FIXTURE_TEST(test_back),
        FIXTURE_TEST(test_back_in_part),
        FIXTURE_TEST(test_the_collector_waits),
        FIXTURE_TEST(test_without_undo),
        FIXTURE_TEST(test_list),
        FIXTURE_TEST(test_images_of_before),
        FIXTURE_TEST(test_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
