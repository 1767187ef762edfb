/* test_retention_run.c - rules of retention on a real store: what a run removes, what it leaves
 * because it changed, and, on repositories made at random, that previews, runs and a reference
 * written in another way agree.
 *
 * SLIPWAY_RETENTION_CASES=n and SLIPWAY_RETENTION_SEED=n choose how many of these and which. */
#include "registry/core/json.h"
#include "registry/retention/retention.h"
#include "tests/support/plans.h"

#define DAY_US INT64_C(86400000000)

/* --- making manifests without pushing them --- */

static void run_sql(struct fixture *fixture, struct buffer *sql)
{
    buffer_append(sql, "", 1);
    script(fixture, sql->at);
    buffer_drop(sql);
}

static struct digest digest_number(int64_t number)
{
    char text[32];

    snprintf(text, sizeof(text), "manifest %lld", (long long)number);
    return digest_text_of(text);
}

static void add_repository(struct buffer *sql, int64_t id, const char *name)
{
    buffer_print(sql,
                 "INSERT INTO repositories(id, name, created_at, first_manifest_at)"
                 " VALUES (%lld, '%s', 1, 1);",
                 (long long)id, name);
}

static void add_digest(struct buffer *sql, const struct digest *digest)
{
    const struct meta_key key = meta_key(digest);

    buffer_append_text(sql, "X'");
    for (size_t i = 0; i < key.size; i++)
        buffer_print(sql, "%02x", key.bytes[i]);
    buffer_append_text(sql, "'");
}

/* Of the repository with the same id, or the one given; times are microseconds ago. */
static void add_manifest(struct buffer *sql, int64_t repository, int64_t id, int64_t pushed,
                         int64_t touched)
{
    const struct digest digest = digest_number(id);
    int64_t now = clock_now_us();

    buffer_print(sql,
                 "INSERT INTO manifests(id, repo_id, media_type, size, total_size, created_at,"
                 " touched_at, payload, digest) VALUES (%lld, %lld, '" OCI_TYPE_MANIFEST
                 "', 2, 2, %lld, %lld, X'7b7d', ",
                 (long long)id, (long long)repository, (long long)(now - pushed),
                 (long long)(now - touched));
    add_digest(sql, &digest);
    buffer_append_text(sql, ");");
}

static void add_tag(struct buffer *sql, int64_t repository, int64_t manifest, const char *name)
{
    buffer_print(sql,
                 "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
                 " VALUES (%lld, '%s', %lld, 5);",
                 (long long)repository, name, (long long)manifest);
}

static void add_child(struct buffer *sql, int64_t repository, int64_t parent, int64_t child)
{
    const struct digest digest = digest_number(child);

    buffer_print(sql,
                 "INSERT INTO manifest_refs(repo_id, parent_id, child_id, digest)"
                 " VALUES (%lld, %lld, %lld, ",
                 (long long)repository, (long long)parent, (long long)child);
    add_digest(sql, &digest);
    buffer_append_text(sql, ");");
}

static void policy(struct fixture *fixture, const char *pattern, enum policy_mode mode,
                   const char *rules)
{
    OWNED(buffer_drop) struct buffer canonical = BUFFER_NONE;
    OWNED(policy_drop) struct policy made = {.id = 0};
    bool created;

    OK(retention_check(slice_of(rules), &canonical, &fixture->err));
    const struct policy_put put = {
        .pattern = slice_of(pattern), .mode = mode, .rules = buffer_slice(&canonical)};
    OK(policy_put(fixture->store, &put, NULL, &made, &created, &fixture->err));
}

static int64_t member(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

static json_t *run(struct fixture *fixture, const char *pattern, bool dry_run)
{
    json_t *result = json_object();

    OK(retention_run_all(fixture->store, slice_of(pattern), dry_run, NULL, result, &fixture->err));
    return result;
}

#define RULES_OLD                                                                                  \
    "[{\"rulePriority\":1,\"selection\":{\"tagStatus\":\"any\",\"countType\":"                     \
    "\"sinceImagePulled\","                                                                        \
    "\"countUnit\":\"days\",\"countNumber\":7},\"action\":{\"type\":\"expire\"}}]"
#define RULES_KEEP_V                                                                               \
    "[{\"rulePriority\":1,\"selection\":{\"tagPatternList\":[\"v*\"]},"                            \
    "\"action\":{\"type\":\"keep\"}}]"

/* --- one image that changes between the look and the act --- */

static const struct {
    const char *what, *sql;
    bool goes;
} changes[] = {
    {"nothing", "SELECT 1", true},
    {"another manifest's tag", "UPDATE tags SET updated_at = 9 WHERE name = 'other'", true},
    {"a rule for other tags",
     "INSERT INTO protections(pattern, tags, bits, created_at) VALUES ('*', 'ot*', 2, 1)", true},
    {"an immutable tag still goes", "UPDATE tags SET protection = 1 WHERE name = 'old'", true},
    {"a pin that has ended",
     "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
     " VALUES (1, 'p', 1, 5, 1, '')",
     true},
    {"another tag",
     "INSERT INTO tags(repo_id, name, manifest_id, updated_at) VALUES (1, 'n', 1, 5)", false},
    {"one tag less", "DELETE FROM tags WHERE name = 'old2'", false},
    {"a tag that moved", "UPDATE tags SET manifest_id = 2 WHERE name = 'old2'", false},
    {"a tag that moved and came back", "UPDATE tags SET updated_at = 6 WHERE name = 'old2'", false},
    {"a renamed tag", "UPDATE tags SET name = 'old3' WHERE name = 'old2'", false},
    {"a pull", "UPDATE manifests SET pulled_at = 77 WHERE id = 1", false},
    {"a pull of what it lists", "UPDATE manifests SET pulled_at = 77 WHERE id = 3", false},
    {"a lease", "UPDATE manifests SET touched_at = touched_at + 1 WHERE id = 1", false},
    {"a pin",
     "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
     " VALUES (1, 'p', 1, 9000000000000000, 1, '')",
     false},
    {"a protected tag", "UPDATE tags SET protection = 2 WHERE name = 'old'", false},
    {"a rule that protects",
     "INSERT INTO protections(pattern, tags, bits, created_at) VALUES ('a', 'old*', 2, 1)", false},
    {"an index that lists it",
     "INSERT INTO manifest_refs(repo_id, parent_id, digest, child_id) VALUES (1, 2, X'01', 1)",
     false},
    {"deleted meanwhile", "UPDATE manifests SET deleted_at = 5 WHERE id = 1", false},
    {"another repository of that name", "UPDATE repositories SET name = 'b' WHERE id = 1", false},
};

static void fill_one(struct fixture *fixture)
{
    struct buffer sql = BUFFER_NONE;

    add_repository(&sql, 1, "a");
    add_manifest(&sql, 1, 1, 20 * DAY_US, 20 * DAY_US);
    add_manifest(&sql, 1, 2, DAY_US, DAY_US);
    add_manifest(&sql, 1, 3, 20 * DAY_US, 20 * DAY_US);
    add_tag(&sql, 1, 1, "old");
    add_tag(&sql, 1, 1, "old2");
    add_tag(&sql, 1, 2, "other");
    add_child(&sql, 1, 1, 3);
    run_sql(fixture, &sql);
}

static void test_retention_leaves_what_changed(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < LENGTH(changes); i++) {
        OWNED(images_drop) struct images images = {.items = NULL};
        const struct actor actor = {.name = SLICE("policy/a")};
        const size_t first = 0;
        bool retired = false;
        script(fixture, "DELETE FROM manifest_refs; DELETE FROM pins; DELETE FROM protections;"
                        "DELETE FROM deleted_tags; DELETE FROM tags; DELETE FROM manifests;"
                        "DELETE FROM repositories");
        fill_one(fixture);
        OK(images_load(fixture->store, SLICE("a"), &images, &fixture->err));
        script(fixture, changes[i].sql);
        OK(images_retire(fixture->store, SLICE("a"), &images, &first, 1, &actor, NULL, &retired,
                         &fixture->err));
        if (retired != changes[i].goes)
            fail_msg("%s: %s", changes[i].what, retired ? "it went" : "it stayed");
        if (strncmp(changes[i].what, "deleted", 7) != 0)
            assert_int_equal(number(fixture, "SELECT deleted_at IS NOT NULL FROM manifests"
                                             " WHERE id = 1"),
                             retired);
    }
}

static void test_retention_removes_as_a_deletion_does(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_reference tag = {.tag = SLICE("old")};
    const struct manifest *manifest = NULL;

    fill_one(fixture);
    OK(storage_manifest_get(fixture->store, SLICE("a"), &tag, false, &manifest, &fixture->err));
    storage_manifest_release(manifest);
    policy(fixture, "*", POLICY_ENFORCE, RULES_OLD);
    OWNED(json_drop) json_t *result = run(fixture, NULL, false);
    assert_int_equal(member(result, "expired"), 1);
    assert_int_equal(member(result, "follows"), 1);
    assert_int_equal(member(result, "repositories"), 1);
    assert_false(storage_peek_manifest(fixture->store, SLICE("a"), &tag, false, &manifest));
    FAILS(storage_manifest_get(fixture->store, SLICE("a"), &tag, false, &manifest, &fixture->err),
          ERROR_MANIFEST_UNKNOWN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history WHERE cause = 4"
                                     " AND actor = 'policy/*' AND new_digest IS NULL"),
                     2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'policy.enforce'"
                                     " AND actor = 'policy/*' AND target = 'repository/a'"
                                     " AND detail = '{\"expired\":1}'"),
                     1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 1 AND ref_id = 1"),
                     1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests WHERE deleted_at IS NULL"), 2);
}

static void test_retention_counts_pulls_of_this_moment(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_reference child = {.digest = digest_number(3)};
    const struct manifest *manifest = NULL;

    fill_one(fixture);
    policy(fixture, "*", POLICY_ENFORCE, RULES_OLD);
    OK(storage_manifest_get(fixture->store, SLICE("a"), &child, false, &manifest, &fixture->err));
    storage_pull_count(fixture->store, SLICE("a"), &child, manifest, PULL_EXCLUDED);
    OWNED(retention_drop) struct retention *retention = NULL;
    OK(retention_open(&retention, fixture->store, SLICE("a"), SLICE_NONE, &fixture->err));
    assert_int_equal(retention_sums(retention)->expires, 1);
    storage_pull_count(fixture->store, SLICE("a"), &child, manifest, PULL_USER);
    storage_manifest_release(manifest);
    OWNED(json_drop) json_t *result = run(fixture, NULL, false);
    assert_int_equal(member(result, "expired"), 0);
    assert_int_equal(member(result, "skipped"), 0); /* seen when it was decided, not only later */
}

/* --- which policies count --- */

static const struct {
    const char *what;
    struct {
        const char *pattern;
        enum policy_mode mode;
        const char *rules;
    } policies[3];
    const char *deciding; /* of team/app; NULL: none */
    int removed;          /* by a run */
} layers[] = {
    {"none", {{NULL, 0, NULL}}, NULL, 0},
    {"the only one", {{"*", POLICY_ENFORCE, RULES_OLD}}, "*", 2},
    {"one of others", {{"team/lib", POLICY_ENFORCE, RULES_OLD}}, NULL, 0},
    {"off", {{"*", POLICY_OFF, RULES_OLD}}, NULL, 0},
    {"report", {{"*", POLICY_REPORT, RULES_OLD}}, "*", 0},
    {"the most specific",
     {{"*", POLICY_ENFORCE, RULES_OLD}, {"team/*", POLICY_REPORT, RULES_OLD}},
     "team/*",
     0},
    {"a repository's own",
     {{"team/*", POLICY_REPORT, RULES_OLD}, {"team/app", POLICY_ENFORCE, RULES_OLD}},
     "team/app",
     2},
    {"keep rules of the wider one count",
     {{"*", POLICY_ENFORCE, RULES_KEEP_V}, {"team/app", POLICY_ENFORCE, RULES_OLD}},
     "team/app",
     1},
    {"keep rules of the narrower one leave the others in force",
     {{"*", POLICY_ENFORCE, RULES_OLD}, {"team/app", POLICY_ENFORCE, RULES_KEEP_V}},
     "*",
     1},
    {"keep rules of one that is off do not count",
     {{"*", POLICY_OFF, RULES_KEEP_V}, {"team/app", POLICY_ENFORCE, RULES_OLD}},
     "team/app",
     2},
};

static void test_retention_finds_the_policies_that_count(void **state)
{
    struct fixture *fixture = *state;

    for (size_t i = 0; i < LENGTH(layers); i++) {
        struct buffer sql = BUFFER_NONE;
        OWNED(policies_drop) struct policies effective = {.items = NULL};
        OWNED(json_drop) json_t *result = NULL;
        size_t deciding;
        buffer_append_text(&sql, "DELETE FROM policies; DELETE FROM deleted_tags; DELETE FROM tags;"
                                 "DELETE FROM manifests; DELETE FROM repositories;");
        add_repository(&sql, 1, "team/app");
        add_manifest(&sql, 1, 1, 20 * DAY_US, 20 * DAY_US);
        add_manifest(&sql, 1, 2, 20 * DAY_US, 20 * DAY_US);
        add_tag(&sql, 1, 1, "v1");
        add_tag(&sql, 1, 2, "dev");
        run_sql(fixture, &sql);
        for (size_t p = 0; p < 3 && layers[i].policies[p].pattern != NULL; p++)
            policy(fixture, layers[i].policies[p].pattern, layers[i].policies[p].mode,
                   layers[i].policies[p].rules);
        OK(retention_effective(fixture->store, SLICE("team/app"), &effective, &deciding,
                               &fixture->err));
        const char *pattern = deciding == SIZE_MAX ? "-" : effective.items[deciding].pattern;
        if (strcmp(pattern, layers[i].deciding == NULL ? "-" : layers[i].deciding) != 0)
            fail_msg("%s: %s decides", layers[i].what, pattern);
        result = run(fixture, NULL, false);
        if (member(result, "expired") != layers[i].removed)
            fail_msg("%s: %lld went", layers[i].what, (long long)member(result, "expired"));
    }
}

static void test_retention_tries_rules_in_the_place_of_the_own(void **state)
{
    struct fixture *fixture = *state;
    OWNED(retention_drop) struct retention *retention = NULL;
    OWNED(buffer_drop) struct buffer reason = BUFFER_NONE;

    fill_one(fixture);
    policy(fixture, "a", POLICY_ENFORCE, RULES_KEEP_V);
    policy(fixture, "*", POLICY_ENFORCE, RULES_KEEP_V);
    OK(retention_open(&retention, fixture->store, SLICE("a"), SLICE(RULES_OLD), &fixture->err));
    assert_int_equal(retention_policies(retention)->count, 2);
    assert_int_equal(retention_deciding(retention)->id, 0);
    assert_int_equal(retention_sums(retention)->expires, 1);
    assert_int_equal(retention_sums(retention)->tags, 2);
    retention_reason(retention, 0, &reason);
    assert_true(slice_equal_text(buffer_slice(&reason),
                                 "rule 1 of the rules tried on a: its last pull, or its push, is "
                                 "longer ago than 7 days"));
    retention_drop(&retention);
    FAILS(retention_open(&retention, fixture->store, SLICE("a"), SLICE("[7]"), &fixture->err),
          ERROR_INVALID);
    FAILS(retention_open(&retention, fixture->store, SLICE("none"), SLICE_NONE, &fixture->err),
          ERROR_NAME_UNKNOWN);
}

static bool cancelled(void *arg)
{
    int *left = arg;

    return (*left)-- <= 0;
}

static void test_retention_stops_when_it_is_asked_to(void **state)
{
    struct fixture *fixture = *state;
    struct buffer sql = BUFFER_NONE;
    OWNED(json_drop) json_t *result = json_object();
    int left = 45;
    const struct progress progress = {.cancelled = cancelled, .arg = &left};

    add_repository(&sql, 1, "a");
    for (int i = 1; i <= 100; i++)
        add_manifest(&sql, 1, i, 20 * DAY_US, 20 * DAY_US);
    run_sql(fixture, &sql);
    policy(fixture, "*", POLICY_ENFORCE, RULES_OLD);
    OK(retention_run_all(fixture->store, SLICE_NONE, false, &progress, result, &fixture->err));
    int64_t removed = number(fixture, "SELECT count(*) FROM manifests WHERE deleted_at > 0");
    assert_int_equal(member(result, "expired"), removed);
    assert_in_range(removed, 1, 99);
}

struct meddler {
    struct fixture *fixture;
    int left; /* looks until it acts */
};

/* Moves a tag while the run is under way: after the third look the repository was read. */
static bool meddle(void *arg)
{
    struct meddler *meddler = arg;

    if (meddler->left-- == 0)
        script(meddler->fixture, "UPDATE tags SET updated_at = 9 WHERE name = 'old'");
    return false;
}

static void test_retention_leaves_what_follows_what_stayed(void **state)
{
    struct fixture *fixture = *state;
    struct meddler meddler = {fixture, 2};
    const struct progress progress = {.cancelled = meddle, .arg = &meddler};
    OWNED(json_drop) json_t *result = json_object();
    struct buffer sql = BUFFER_NONE;
    const struct digest subject = digest_number(1);

    fill_one(fixture);
    add_manifest(&sql, 1, 4, 20 * DAY_US, 20 * DAY_US);
    add_tag(&sql, 1, 4, "sbom");
    buffer_append_text(&sql, "UPDATE manifests SET subject = ");
    add_digest(&sql, &subject);
    buffer_append_text(&sql, " WHERE id = 4;");
    run_sql(fixture, &sql);
    policy(fixture, "*", POLICY_ENFORCE, RULES_OLD);
    OK(retention_run_all(fixture->store, SLICE_NONE, false, &progress, result, &fixture->err));
    assert_true(meddler.left < 0);
    assert_int_equal(member(result, "expired"), 0);
    assert_int_equal(member(result, "skipped"), 2);
    OWNED(json_drop) json_t *second = run(fixture, NULL, false);
    assert_int_equal(member(second, "expired"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifests WHERE deleted_at > 0"), 2);
}

/* --- what it costs --- */

/* Of one image beside so many others, each with a tag and listed by an index. */
static uint64_t steps_to_retire(struct fixture *fixture, int others)
{
    OWNED(images_drop) struct images images = {.items = NULL};
    const struct actor actor = {.name = SLICE("policy/a")};
    const size_t first = 0;
    bool retired = false;
    struct buffer sql = BUFFER_NONE;

    script(fixture, "DELETE FROM manifest_refs; DELETE FROM deleted_tags; DELETE FROM tags;"
                    "DELETE FROM manifests; DELETE FROM repositories");
    fill_one(fixture);
    for (int i = 10; i < 10 + others; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        add_manifest(&sql, 1, i, 20 * DAY_US, 20 * DAY_US);
        add_tag(&sql, 1, i, name);
        add_child(&sql, 1, 2, i);
    }
    run_sql(fixture, &sql);
    OK(images_load(fixture->store, SLICE("a"), &images, &fixture->err));
    uint64_t before = atomic_load(&machine_steps);
    OK(images_retire(fixture->store, SLICE("a"), &images, &first, 1, &actor, NULL, &retired,
                     &fixture->err));
    assert_true(retired);
    return atomic_load(&machine_steps) - before;
}

static void test_retention_costs_what_it_removes(void **state)
{
    struct fixture *fixture = *state;
    uint64_t few = steps_to_retire(fixture, 5), many = steps_to_retire(fixture, 2000);

    assert_in_range(many, 1, few + few / 2);
}

/* --- rows of policies --- */

static int put_row(struct fixture *fixture, const struct policy_put *put, struct policy *out)
{
    bool created;

    fixture->err = (struct error){0};
    return policy_put(fixture->store, put, NULL, out, &created, &fixture->err);
}

static void test_retention_policies_have_versions(void **state)
{
    struct fixture *fixture = *state;
    OWNED(policy_drop) struct policy first = {.id = 0};
    OWNED(policy_drop) struct policy second = {.id = 0};
    struct policy_put put = {.pattern = SLICE("a/*"), .rules = SLICE("[]"), .must_be_new = true};

    assert_int_equal(put_row(fixture, &put, &first), 0);
    assert_int_equal(first.version, 1);
    FAILS(put_row(fixture, &put, &second), ERROR_CONFLICT);
    put.must_be_new = false;
    put.if_version = 1;
    put.mode = POLICY_ENFORCE;
    assert_int_equal(put_row(fixture, &put, &second), 0);
    assert_true(second.version == 2 && second.mode == POLICY_ENFORCE && second.id == first.id);
    policy_drop(&second);
    FAILS(put_row(fixture, &put, &second), ERROR_PRECONDITION);
    FAILS(policy_delete(fixture->store, first.id, 1, NULL, &fixture->err), ERROR_PRECONDITION);
    OK(policy_delete(fixture->store, first.id, 2, NULL, &fixture->err));
    FAILS(policy_delete(fixture->store, first.id, 0, NULL, &fixture->err), ERROR_NOT_FOUND);
    FAILS(policy_find(fixture->store, first.id, &second, &fixture->err), ERROR_NOT_FOUND);
}

static void test_retention_policies_are_no_more_than_can_be_read(void **state)
{
    struct fixture *fixture = *state;
    struct buffer sql = BUFFER_NONE;
    OWNED(policies_drop) struct policies page = {.items = NULL};
    OWNED(policy_drop) struct policy made = {.id = 0};
    struct policy_put put = {.pattern = SLICE("one-more"), .rules = SLICE("[]")};

    for (int i = 0; i < POLICIES_MAX; i++)
        buffer_print(&sql,
                     "INSERT INTO policies(pattern, mode, rules, created_at, updated_at)"
                     " VALUES ('p%d', 0, '[]', 1, 1);",
                     i);
    run_sql(fixture, &sql);
    FAILS(put_row(fixture, &put, &made), ERROR_CONFLICT);
    put.pattern = SLICE("p7");
    assert_int_equal(put_row(fixture, &put, &made), 0);
    OK(policy_list(fixture->store, 0, POLICIES_MAX - 1, &page, &fixture->err));
    assert_true(page.more && page.count == POLICIES_MAX - 1);
}

/* --- repositories made at random --- */

enum { THINGS_MAX = 14, RULES_OF_CASE = 4, BLOBS = 6 };

struct thing {
    int pushed, pulled, touched; /* seconds ago; pulled 0: never */
    int tag_count;
    char tags[2][100];
    int version; /* of its tags, 100 * major + minor, and 1 more unless it is a candidate; 0: none
                  */
    int parents[2], parent_count;
    int subject; /* -1: none, -2: absent */
    bool by_tag; /* that subject stands in its tag only */
    bool aside, pinned, guarded;
    unsigned blobs;
};

struct made_rule {
    bool keep, version, in_use;
    int status;          /* 0 any, 1 tagged, 2 untagged */
    const char *pattern; /* a prefix, or NULL */
    enum { ALL, MORE, PUSHED, PULLED, NEWEST } count;
    int number;
};

struct model {
    uint64_t random;
    int64_t repository;
    struct thing things[THINGS_MAX];
    int count;
    struct made_rule rules[RULES_OF_CASE];
    int rule_count;
    unsigned elsewhere; /* blobs that another repository has */
};

static int dice(struct model *model, int sides)
{
    model->random ^= model->random << 13;
    model->random ^= model->random >> 7;
    model->random ^= model->random << 17;
    return (int)(model->random % (unsigned)sides);
}

static int64_t id_of(const struct model *model, int thing)
{
    return model->repository * 100 + thing;
}

/* As clients without referrers would tag what refers to it. */
static void name_digest(const struct model *model, int thing, int by, char out[100])
{
    const struct digest digest = digest_number(id_of(model, thing));
    char text[DIGEST_TEXT_MAX];

    digest_text(&digest, text);
    snprintf(out, 100, "sha256-%.64s.sig%d", strchr(text, ':') + 1, by);
}

static void make_tags(struct model *model, struct thing *thing, int i)
{
    static const char *const words[] = {"dev-", "prod-", "x", "main"};

    thing->tag_count = dice(model, 3);
    for (int t = 0; t < thing->tag_count; t++) {
        int minor = 2 * i + t, final = dice(model, 2);
        if (dice(model, 2) == 0) {
            snprintf(thing->tags[t], 100, "v%d.%d%s", minor % 3, minor, final ? "" : "-rc");
            int version = 1000 * (minor % 3) + 2 * minor + final + 1;
            thing->version = version > thing->version ? version : thing->version;
        } else {
            snprintf(thing->tags[t], 100, "%s%d", words[dice(model, 4)], minor);
        }
    }
}

static void make_thing(struct model *model, int i)
{
    struct thing *thing = &model->things[i];

    *thing = (struct thing){.pushed = 1000 * dice(model, 100),
                            .pulled = dice(model, 2) * 1000 * dice(model, 100),
                            .touched = dice(model, 5) == 0 ? 1 : 5000,
                            .subject = -1,
                            .aside = dice(model, 8) == 0,
                            .pinned = dice(model, 8) == 0,
                            .blobs = (unsigned)dice(model, 1 << BLOBS)};
    if (thing->aside)
        return; /* its tags went with it */
    make_tags(model, thing, i);
    thing->guarded = thing->tag_count > 0 && dice(model, 10) == 0;
    int kind = dice(model, 5);
    if (kind == 0)
        thing->subject = dice(model, 6) == 0 || i == 0 ? -2 : dice(model, i);
    if (kind == 1 && i > 0) {
        thing->subject = dice(model, i);
        thing->by_tag = true;
        thing->tag_count = 1;
        thing->version = 0;
        name_digest(model, thing->subject, i, thing->tags[0]);
    }
}

/* Only what follows nothing lists others, and what comes later lists what came before: no rings. */
static void make_parents(struct model *model)
{
    for (int i = 0; i < model->count; i++)
        for (int p = 0; p < 2 && dice(model, 2) == 0; p++) {
            struct thing *thing = &model->things[i];
            int parent = i + 1 + dice(model, 4);
            if (parent < model->count && model->things[parent].subject == -1 &&
                (thing->parent_count == 0 || thing->parents[0] != parent))
                thing->parents[thing->parent_count++] = parent;
        }
}

static void make_rule(struct model *model, struct made_rule *rule, bool last)
{
    static const char *const prefixes[] = {"v", "dev-", "prod-", "x", "v1"};

    *rule = (struct made_rule){.keep = dice(model, 3) == 0 && !last,
                               .status = last ? 0 : 1 + dice(model, 2),
                               .number = 1 + dice(model, 4)};
    if (rule->keep) {
        rule->status = dice(model, 3);
        rule->count = dice(model, 2) == 0 ? ALL : NEWEST;
        rule->version = rule->count == NEWEST && dice(model, 2) == 0;
        rule->in_use = rule->count == ALL && (rule->status != 1 || dice(model, 3) == 0);
    } else {
        rule->count = (const int[]){MORE, PUSHED, PULLED}[dice(model, 3)];
        if (rule->count != MORE)
            rule->number = 1000 * dice(model, 100) + 500; /* no test is that slow */
    }
    if (rule->status == 1)
        rule->pattern = prefixes[dice(model, LENGTH(prefixes))];
}

static void make(struct model *model, uint64_t seed, int64_t repository)
{
    *model =
        (struct model){.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, .repository = repository};
    for (int i = 0; i < 8; i++)
        dice(model, 2);
    model->count = 1 + dice(model, THINGS_MAX);
    model->elsewhere = (unsigned)(dice(model, 1 << BLOBS) & dice(model, 1 << BLOBS));
    for (int i = 0; i < model->count; i++)
        make_thing(model, i);
    make_parents(model);
    model->rule_count = 1 + dice(model, RULES_OF_CASE);
    for (int i = 0; i < model->rule_count; i++)
        make_rule(model, &model->rules[i], i == model->rule_count - 1 && dice(model, 2) == 0);
}

/* --- the reference: one question at a time, each answered from the model alone --- */

static bool parent_row(const struct thing *thing)
{
    return thing->parent_count > 0;
}

static bool follower(const struct thing *thing)
{
    return thing->subject != -1;
}

static bool image(const struct thing *thing)
{
    return !thing->aside && !follower(thing) && (thing->tag_count > 0 || !parent_row(thing));
}

static bool fits(const struct made_rule *rule, const struct thing *thing)
{
    if (rule->in_use && !thing->pinned)
        return false;
    if (rule->status == 2)
        return thing->tag_count == 0;
    if (rule->status == 0)
        return true;
    for (int t = 0; t < thing->tag_count; t++)
        if (strncmp(thing->tags[t], rule->pattern, strlen(rule->pattern)) == 0)
            return true;
    return false;
}

static bool newer(const struct model *model, int a, int b)
{
    int x = model->things[a].pushed, y = model->things[b].pushed;

    return x < y || (x == y && a > b);
}

/* A version of the tags that the rule names. */
static int version_for(const struct made_rule *rule, const struct thing *thing)
{
    int best = 0;

    for (int t = 0; t < thing->tag_count; t++) {
        int major, minor;
        if (rule->pattern != NULL &&
            strncmp(thing->tags[t], rule->pattern, strlen(rule->pattern)) != 0)
            continue;
        if (sscanf(thing->tags[t], "v%d.%d", &major, &minor) != 2)
            continue;
        int version = 1000 * major + 2 * minor + (strstr(thing->tags[t], "-rc") == NULL) + 1;
        best = version > best ? version : best;
    }
    return best;
}

/* How many come before it in the order of the rule. */
static int before(const struct model *model, const struct made_rule *rule, int thing)
{
    int count = 0;

    for (int i = 0; i < model->count; i++) {
        const struct thing *other = &model->things[i];
        if (i == thing || !image(other) || !fits(rule, other))
            continue;
        if (!rule->version) {
            count += newer(model, i, thing);
            continue;
        }
        int mine = version_for(rule, &model->things[thing]), theirs = version_for(rule, other);
        count += theirs > mine || (theirs > 0 && theirs == mine && newer(model, i, thing));
    }
    return count;
}

static bool wants(const struct model *model, int thing)
{
    const struct thing *it = &model->things[thing];

    for (int r = 0; r < model->rule_count; r++) {
        const struct made_rule *rule = &model->rules[r];
        if (rule->keep || !fits(rule, it))
            continue;
        if (rule->count == MORE)
            return before(model, rule, thing) >= rule->number;
        int age = rule->count == PULLED && it->pulled > 0 && it->pulled < it->pushed ? it->pulled
                                                                                     : it->pushed;
        return age > rule->number;
    }
    return false;
}

static bool keeps(const struct model *model, int thing)
{
    const struct thing *it = &model->things[thing];

    for (int r = 0; r < model->rule_count; r++) {
        const struct made_rule *rule = &model->rules[r];
        if (!rule->keep || !fits(rule, it))
            continue;
        if (rule->count == ALL && (image(it) || follower(it)))
            return true;
        if (rule->count == NEWEST && image(it) && before(model, rule, thing) < rule->number &&
            (!rule->version || version_for(rule, it) > 0))
            return true;
    }
    return false;
}

static bool held(const struct thing *thing)
{
    return thing->pinned || thing->guarded || parent_row(thing) || thing->touched < 60;
}

static bool goes(const struct model *model, int thing);

static bool with_others(const struct model *model, int thing)
{
    const struct thing *it = &model->things[thing];
    bool cause = it->subject >= 0 && !model->things[it->subject].aside;

    if (keeps(model, thing))
        return false;
    if (it->subject >= 0 && (model->things[it->subject].aside || !goes(model, it->subject)))
        return false;
    if (it->tag_count > 0)
        return cause && !held(it);
    for (int p = 0; p < it->parent_count; p++) {
        if (model->things[it->parents[p]].aside || !goes(model, it->parents[p]))
            return false;
        cause = true;
    }
    return cause && !it->pinned;
}

static bool goes(const struct model *model, int thing)
{
    const struct thing *it = &model->things[thing];

    if (it->aside)
        return false;
    if (!image(it))
        return with_others(model, thing);
    return wants(model, thing) && !keeps(model, thing) && !held(it);
}

/* A pull of what an index lists is one of the index. */
static void lift(struct model *model)
{
    for (int i = 0; i < model->count; i++)
        for (int p = 0; p < model->things[i].parent_count; p++) {
            struct thing *parent = &model->things[model->things[i].parents[p]];
            int pulled = model->things[i].pulled;
            if (pulled > 0 && !model->things[i].aside &&
                (parent->pulled == 0 || pulled < parent->pulled))
                parent->pulled = pulled;
        }
}

static uint64_t freed(const struct model *model)
{
    unsigned used = model->elsewhere, going = 0;
    uint64_t bytes = 0;

    for (int i = 0; i < model->count; i++)
        if (goes(model, i))
            going |= model->things[i].blobs;
        else
            used |= model->things[i].blobs;
    for (int b = 0; b < BLOBS; b++)
        bytes += (going & ~used & (1U << b)) != 0 ? UINT64_C(1) << (8 * b) : 0;
    return bytes;
}

/* --- into the store --- */

static void store_things(const struct model *model, struct buffer *sql)
{
    int64_t now = clock_now_us();

    for (int i = 0; i < model->count; i++) {
        const struct thing *thing = &model->things[i];
        long long id = (long long)id_of(model, i);
        add_manifest(sql, model->repository, id, thing->pushed * INT64_C(1000000),
                     thing->touched * INT64_C(1000000));
        if (thing->pulled > 0)
            buffer_print(sql, "UPDATE manifests SET pulled_at = %lld WHERE id = %lld;",
                         (long long)(now - thing->pulled * INT64_C(1000000)), id);
        if (thing->aside)
            buffer_print(sql, "UPDATE manifests SET deleted_at = 7 WHERE id = %lld;", id);
        if (thing->pinned)
            buffer_print(sql,
                         "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
                         " VALUES (%lld, 'p%d', %lld, 9000000000000000, 1, '');",
                         (long long)model->repository, i, id);
        for (int t = 0; t < thing->tag_count; t++)
            add_tag(sql, model->repository, id, thing->tags[t]);
        if (thing->guarded)
            buffer_print(sql, "UPDATE tags SET protection = 2 WHERE manifest_id = %lld;", id);
    }
}

static void store_relations(const struct model *model, struct buffer *sql)
{
    for (int i = 0; i < model->count; i++) {
        const struct thing *thing = &model->things[i];
        for (int p = 0; p < thing->parent_count; p++)
            add_child(sql, model->repository, id_of(model, thing->parents[p]), id_of(model, i));
        if (thing->subject == -1 || thing->by_tag)
            continue;
        const struct digest digest =
            digest_number(thing->subject == -2 ? -1 : id_of(model, thing->subject));
        buffer_append_text(sql, "UPDATE manifests SET subject = ");
        add_digest(sql, &digest);
        buffer_print(sql, " WHERE id = %lld;", (long long)id_of(model, i));
    }
}

/* Blob b is 256 to the b bytes large, so that a sum tells which. */
static void store_blobs(const struct model *model, struct buffer *sql)
{
    long long repository = (long long)model->repository;

    for (int b = 0; b < BLOBS; b++) {
        buffer_print(sql,
                     "INSERT INTO blobs(id, digest, size, locator, created_at)"
                     " VALUES (%lld, X'01%012llx%02x', %lld, 'l%lld-%d', 1);"
                     "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                     " VALUES (%lld, %lld, 1);",
                     repository * 10 + b, (unsigned long long)repository, b, 1LL << (8 * b),
                     repository, b, repository, repository * 10 + b);
        if ((model->elsewhere & (1U << b)) != 0)
            buffer_print(sql,
                         "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                         " VALUES (1, %lld, 1);",
                         repository * 10 + b);
        for (int i = 0; i < model->count; i++)
            if ((model->things[i].blobs & (1U << b)) != 0)
                buffer_print(sql,
                             "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                             " VALUES (%lld, %lld, %lld);",
                             repository, (long long)id_of(model, i), repository * 10 + b);
    }
}

static void print_rule(const struct made_rule *rule, int priority, struct buffer *out)
{
    static const char *const statuses[] = {"any", "tagged", "untagged"};
    static const char *const counts[] = {"", "imageCountMoreThan", "sinceImagePushed",
                                         "sinceImagePulled", "imageCountNewest"};

    buffer_print(out, "{\"rulePriority\":%d,\"action\":{\"type\":\"%s\"},\"selection\":{", priority,
                 rule->keep ? "keep" : "expire");
    buffer_print(out, "\"tagStatus\":\"%s\"", statuses[rule->status]);
    if (rule->pattern != NULL)
        buffer_print(out, ",\"tagPatternList\":[\"%s*\"]", rule->pattern);
    if (rule->in_use)
        buffer_append_text(out, ",\"inUse\":true");
    if (rule->count != ALL)
        buffer_print(out, ",\"countType\":\"%s\",\"countNumber\":%d", counts[rule->count],
                     rule->number);
    if (rule->count == PUSHED || rule->count == PULLED)
        buffer_append_text(out, ",\"countUnit\":\"seconds\"");
    if (rule->count == NEWEST)
        buffer_print(out, ",\"countBy\":\"%s\"", rule->version ? "version" : "pushed");
    buffer_append_text(out, "}}");
}

/* False: these rules are none that a policy may have. */
static bool store_rules(struct fixture *fixture, const struct model *model)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer canonical = BUFFER_NONE;
    struct error err = {0};

    buffer_append_text(&text, "[");
    for (int i = 0; i < model->rule_count; i++) {
        buffer_append_text(&text, i == 0 ? "" : ",");
        print_rule(&model->rules[i], i + 1, &text);
    }
    buffer_append(&text, "]", 2);
    if (retention_check(slice_of(text.at), &canonical, &err) < 0)
        return false;
    policy(fixture, "*", POLICY_ENFORCE, text.at);
    return true;
}

/* --- they agree --- */

static int count_aside(struct fixture *fixture, const struct model *model, uint64_t *set)
{
    struct images images;
    char name[32];
    int gone = 0;

    snprintf(name, sizeof(name), "p/%lld", (long long)model->repository);
    OK(images_load(fixture->store, slice_of(name), &images, &fixture->err));
    *set = (UINT64_C(1) << model->count) - 1;
    for (size_t i = 0; i < images.count; i++)
        *set &= ~(UINT64_C(1) << (images.items[i].id % 100));
    for (int i = 0; i < model->count; i++)
        gone += (int)(*set >> i & 1);
    images_drop(&images);
    return gone;
}

static uint64_t compare_preview(struct fixture *fixture, const struct model *model, uint64_t seed,
                                const char *name)
{
    OWNED(retention_drop) struct retention *retention = NULL;
    uint64_t expires = 0;

    OK(retention_open(&retention, fixture->store, slice_of(name), SLICE_NONE, &fixture->err));
    for (size_t i = 0; i < retention_count(retention); i++) {
        const struct retention_item item = retention_at(retention, i);
        int thing = (int)(item.image->id % 100);
        OWNED(buffer_drop) struct buffer reason = BUFFER_NONE;
        retention_reason(retention, i, &reason);
        bool going = goes(model, thing), tagged = model->things[thing].tag_count > 0;
        if (item.expires != (going && (image(&model->things[thing]) || tagged)) ||
            item.follows != (going && !item.expires))
            fail_msg("seed %llu, manifest %d: expires %d, follows %d, reference %d: %.*s",
                     (unsigned long long)seed, thing, item.expires, item.follows, going,
                     SLICE_ARG(buffer_slice(&reason)));
        expires |= item.expires ? UINT64_C(1) << thing : 0;
    }
    if (retention_sums(retention)->bytes != freed(model))
        fail_msg("seed %llu: %llx freed, reference %llx", (unsigned long long)seed,
                 (unsigned long long)retention_sums(retention)->bytes,
                 (unsigned long long)freed(model));
    return expires;
}

static void compare_runs(struct fixture *fixture, const struct model *model, uint64_t seed,
                         const char *name, uint64_t expires)
{
    uint64_t set, now;
    int gone = count_aside(fixture, model, &set);
    OWNED(json_drop) json_t *dry = run(fixture, name, true);
    assert_int_equal(count_aside(fixture, model, &now), gone);
    OWNED(json_drop) json_t *first = run(fixture, name, false);
    count_aside(fixture, model, &now);
    if (now != (set | expires) || (set & expires) != 0)
        fail_msg("seed %llu: preview %llx, run %llx", (unsigned long long)seed,
                 (unsigned long long)expires, (unsigned long long)(now & ~set));
    assert_int_equal(member(dry, "would_expire"), __builtin_popcountll(expires));
    assert_int_equal(member(first, "expired"), __builtin_popcountll(expires));
    OWNED(json_drop) json_t *second = run(fixture, name, false);
    if (member(second, "expired") != 0)
        fail_msg("seed %llu: a second run removes %lld more", (unsigned long long)seed,
                 (long long)member(second, "expired"));
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void test_retention_preview_run_and_reference_agree(void **state)
{
    struct fixture *fixture = *state;
    uint64_t first = setting("SLIPWAY_RETENTION_SEED", 1);
    uint64_t last = first + setting("SLIPWAY_RETENTION_CASES", 300), removed = 0, tried = 0;
    struct buffer other = BUFFER_NONE;

    add_repository(&other, 1, "other");
    run_sql(fixture, &other);
    for (uint64_t seed = first; seed < last; seed++) {
        struct buffer sql = BUFFER_NONE;
        struct model model;
        char name[32];
        make(&model, seed, (int64_t)(seed - first) + 2);
        if (!store_rules(fixture, &model))
            continue;
        snprintf(name, sizeof(name), "p/%lld", (long long)model.repository);
        add_repository(&sql, model.repository, name);
        store_things(&model, &sql);
        store_relations(&model, &sql);
        store_blobs(&model, &sql);
        run_sql(fixture, &sql);
        lift(&model);
        uint64_t expires = compare_preview(fixture, &model, seed, name);
        compare_runs(fixture, &model, seed, name, expires);
        removed += (uint64_t)__builtin_popcountll(expires);
        tried++;
    }
    assert_true(tried > (last - first) / 2);
    assert_true(removed > tried / 4); /* the cases are about something */
}

static int set_up(void **state)
{
    int result = fixture_set_up(state);
    struct fixture *fixture = *state;

    fixture->options.gc_grace_ms = 60000;
    fixture_reopen(fixture);
    return result;
}

#define RUN_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RUN_TEST(test_retention_leaves_what_changed),
        RUN_TEST(test_retention_removes_as_a_deletion_does),
        RUN_TEST(test_retention_counts_pulls_of_this_moment),
        RUN_TEST(test_retention_finds_the_policies_that_count),
        RUN_TEST(test_retention_tries_rules_in_the_place_of_the_own),
        RUN_TEST(test_retention_stops_when_it_is_asked_to),
        RUN_TEST(test_retention_leaves_what_follows_what_stayed),
        RUN_TEST(test_retention_costs_what_it_removes),
        RUN_TEST(test_retention_policies_have_versions),
        RUN_TEST(test_retention_policies_are_no_more_than_can_be_read),
        RUN_TEST(test_retention_preview_run_and_reference_agree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
