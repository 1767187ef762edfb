/* test_build_room.c - the room of builds: what a start finds and mends, what it says of itself;
 * builders that move. */
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/content.h"
#include "storage/storage.h"
#include "tests/support/room.h"

/* Spec: s2i 13.41. */
static void test_build_room_starts_with_nothing_half_done(void **state)
{
    static const char held[] = "{\"options\":{},\"hold_tags\":true}";
    static const char free_tags[] = "{\"options\":{},\"hold_tags\":false}";
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    bool found;

    int64_t ran = add(fixture, BUILD_PENDING, BUILD_FROM_URL, free_tags);
    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    int64_t fresh = add(fixture, BUILD_NEW, BUILD_FROM_ARCHIVE, free_tags);
    int64_t waits = add(fixture, BUILD_PENDING, BUILD_FROM_PUSH, free_tags);
    int64_t pushed = add(fixture, BUILD_PENDING, BUILD_FROM_PUSH, held);
    open_room(room);
    expect(fixture, ran, BUILD_ERROR, "ServerRestarted");
    expect(fixture, fresh, BUILD_ERROR, "ServerRestarted");
    expect(fixture, waits, BUILD_PENDING, "");
    expect(fixture, pushed, BUILD_ERROR, "ServerRestarted"); /* nobody would move its ref */
    buffer_print(&path, "%s/builds/scratch/x", fixture->root);
    assert_int_equal(mkdir(path.at, 0700), 0);
    buffer_append_text(&path, "/deep");
    buffer_append(&path, "", 1);
    assert_int_equal(mkdir(path.at, 0700), 0);
    builds_close(room->builds);
    room->builds = NULL;
    room->config.builds_retry_on_restart = true;
    build_record_drop(&record);
    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    assert_int_equal(record.id, waits);
    open_room(room);
    expect(fixture, waits, BUILD_PENDING, "");
    assert_int_equal(access(path.at, F_OK), -1);
}

/* s2i (4): what clients began stays. */
static void test_build_room_ends_uploads_of_builds(void **state)
{
    static const char *const owners[] = {"build", "account:7", "", "build", "builder"};
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    char id[OCI_UPLOAD_ID_SIZE + 1];

    for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
        const struct actor actor = {.owner = slice_of(owners[i])};
        OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, &actor, id,
                                &fixture->err));
    }
    open_room(room);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 3);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads WHERE owner = 'build'"), 0);
}

static void test_build_room_says_that_builds_are_off(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    const struct s2i_options options = {.url = NULL};
    const struct build_request request = {
        .repository = REPOSITORY, .source = BUILD_FROM_URL, .options = &options};
    struct builds_health health;
    int64_t id = 0;
    int fd = -1;

    add(fixture, BUILD_PENDING, BUILD_FROM_URL, "{}");
    open_room(room);
    builds_health(room->builds, &health);
    assert_false(health.enabled);
    assert_false(health.able);
    assert_int_equal(health.waiting, 1);
    assert_non_null(strstr(health.problem, "off"));
    FAILS(builds_submit(room->builds, &request, &id, &fixture->err), ERROR_UNAVAILABLE);
    FAILS(builds_plan(room->builds, &request, BUILD_PLAN, &fd, &fixture->err), ERROR_UNAVAILABLE);
    OK(builds_cancel(room->builds, 1, SLICE("ana"), SLICE_NONE, NULL, &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM builds"), 1);
}

static void test_build_room_knows_stored_options(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    const struct build_config_change change = {.repository = REPOSITORY,
                                               .spec = SLICE("{\"builder\":\"builders/c\"}")};
    bool created;

    open_room(room);
    OK(builds_options_of(room->builds, REPOSITORY, &options, &fixture->err));
    assert_null(options.builder);
    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    OK(builds_options_of(room->builds, REPOSITORY, &options, &fixture->err));
    assert_string_equal(options.builder, "builders/c");
}

/* --- sources of deleted repositories --- */

static bool below(const struct room *room, const char *name, bool make)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/builds/%s", room->fixture->root, name);
    if (make)
        assert_int_equal(mkdir(path.at, 0700), 0);
    return access(path.at, F_OK) == 0;
}

/* "deleted/<id>.git/<file>" */
static bool aside(const struct room *room, int64_t id, const char *file)
{
    char name[64];

    snprintf(name, sizeof(name), "deleted/%lld.git%s", (long long)id, file);
    return below(room, name, false);
}

static int64_t repository_new(struct room *room)
{
    struct fixture *fixture = room->fixture;
    OWNED(repository_drop) struct repository found = {.id = 0};

    push_text(fixture, "{}", "v1");
    OK(repository_find(fixture->store, REPOSITORY, &found, &fixture->err));
    return found.id;
}

static void test_build_room_sources_go_with_their_repository(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct error *err = &fixture->err;
    const struct content_change change = {.actor = NULL}, stale = {.if_version = 99};
    const char live[] = "repos/team/app.git", old[] = "repos/team/app.git/old";

    room->config.gc_undo = 3600000;
    open_room(room);
    int64_t id = repository_new(room);
    below(room, "repos/team", true);
    below(room, live, true);
    below(room, old, true);
    assert_int_equal(builds_repository_delete(room->builds, REPOSITORY, &stale, err), -1);
    error_clear(err);
    assert_true(below(room, old, false)); /* it stayed */
    OK(builds_repository_delete(room->builds, REPOSITORY, &change, err));
    assert_true(!below(room, live, false) && aside(room, id, "/old"));
    OK(sources_settle(room->builds, err));
    assert_true(aside(room, id, "/old")); /* it is deleted */
    int64_t next = repository_new(room);
    below(room, live, true); /* somebody else's */
    OK(builds_repository_delete(room->builds, REPOSITORY, &change, err));
    assert_true(aside(room, next, "") && !aside(room, next, "/old"));
    OK(builds_repository_restore(room->builds, REPOSITORY, id, &change, err));
    assert_true(below(room, old, false) && !aside(room, id, ""));
    sources_sweep(room->builds);
    assert_true(aside(room, next, ""));
    builds_close(room->builds);
    room->config.gc_undo = 0;
    open_room(room);
    for (int i = 0; aside(room, next, "") && i < 6000; i++)
        usleep(10000); /* the keeper looks when it starts */
    assert_false(aside(room, next, ""));
}

/* What a death left in between: the row is here, its sources are aside. */
static void test_build_room_sources_of_one_that_stayed(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    char name[64];

    room->config.gc_undo = 3600000;
    open_room(room);
    snprintf(name, sizeof(name), "deleted/%lld.git", (long long)repository_new(room));
    below(room, "repos/team", true);
    below(room, name, true);
    below(room, "deleted/99.git", true);
    OK(sources_settle(room->builds, &fixture->err));
    assert_true(below(room, "repos/team/app.git", false) && !below(room, name, false));
    assert_true(below(room, "deleted/99.git", false));
}

/* --- builders that move (13.51) --- */

static struct digest put_blob(struct fixture *fixture, struct slice repository, struct slice bytes)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload *upload = NULL;
    struct descriptor stored;
    struct digest digest;

    digest_of(DIGEST_SHA256, bytes, &digest);
    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, bytes, &fixture->err));
    OK(storage_upload_finish(upload, &digest, &stored, &fixture->err));
    return digest;
}

/* An image of one layer that is not here, under builders/c:latest. */
static struct digest put_builder(struct fixture *fixture, const char *label)
{
    const struct slice repository = SLICE("builders/c"), tag = SLICE("latest");
    const struct digest layer = digest_text_of("layer");
    OWNED(buffer_drop) struct buffer config = BUFFER_NONE, text = BUFFER_NONE;
    char layer_text[DIGEST_TEXT_MAX], config_text[DIGEST_TEXT_MAX];
    struct missing missing = {NULL, 0};

    digest_text(&layer, layer_text);
    buffer_print(&config,
                 "{\"config\":{\"Labels\":{\"v\":\"%s\"}},\"rootfs\":{\"diff_ids\":[\"%s\"]}}",
                 label, layer_text);
    const struct digest config_digest = put_blob(fixture, repository, buffer_slice(&config));
    buffer_print(&text,
                 "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_MANIFEST
                 "\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
                 "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
                 "\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":5}]}",
                 digest_text(&config_digest, config_text), config.size, layer_text);
    const struct manifest_link links[] = {{config_digest, config.size, false, SLICE_NONE},
                                          {layer, 5, true, SLICE_NONE}};
    struct manifest_put put = {.payload = buffer_slice(&text),
                               .media_type = OCI_MANIFEST,
                               .blobs = links,
                               .blob_count = 2,
                               .tags = &tag,
                               .tag_count = 1};
    digest_of(DIGEST_SHA256, put.payload, &put.digest);
    OK(storage_manifest_put(fixture->store, repository, &put, &missing, &fixture->err));
    missing_drop(&missing);
    return put.digest;
}

static bool may_pull(void *arg, const struct actor *who, struct slice repository)
{
    (void)arg;
    return (who->account == 0 || who->account == 5) && slice_equal_text(repository, "builders/c");
}

static void run_never(struct build_task *task, struct build_outcome *out)
{
    (void)task;
    (void)out;
    fail();
}

static unsigned no_room(struct builds *builds)
{
    (void)builds;
    return 0;
}

static void told_nobody(struct builds *builds, int64_t id)
{
    (void)builds;
    (void)id;
}

static void configure(struct fixture *fixture, const char *spec, bool paused)
{
    const struct build_config_change change = {.repository = REPOSITORY,
                                               .spec = slice_of(spec),
                                               .paused = paused,
                                               .reach = "repository:team/*:pull"};
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    bool created;

    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
}

/* A complete build, an hour old, on this builder. */
static int64_t built_on(struct fixture *fixture, const struct digest *builder)
{
    int64_t id = add(fixture, BUILD_PENDING, BUILD_FROM_URL, "{\"options\":{}}");
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    char text[DIGEST_TEXT_MAX];
    bool found;

    digest_text(builder, text);
    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    assert_int_equal(record.id, id);
    const struct build_progress progress = {
        .id = id, .epoch = 1, .builder_digest = slice_of(text), .log_size = -1};
    OK(build_progress_put(fixture->store, &progress, &fixture->err));
    const struct build_end end = {.id = id, .epoch = 1, .state = BUILD_COMPLETE, .exit_code = -1};
    OK(build_finish(fixture->store, &end, &fixture->err));
    script(fixture, "UPDATE builds SET created_at = created_at - 3600000000");
    return id;
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

static void test_build_room_a_new_builder_starts_builds(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct builds builds = {.storage = fixture->store,
                            .config = &room->config,
                            .may_pull = may_pull,
                            .may_push = may_pull};
    const struct queue_options options = {
        .builds = &builds, .run = run_never, .room = no_room, .ended = told_nobody};
    const char *count = "SELECT count(*) FROM builds WHERE triggered_by = 'image'";
    static const char *const unseen[] = {
        "UPDATE builds SET account_id = 6",
        ("UPDATE builds SET account_id = 5, spec = "
         "'{\"options\":{\"incremental_from\":\"private/a\"}}'"),
        "UPDATE builds SET spec = '{\"options\":{\"runtime_image\":\"private/a:1\"}}'",
        "UPDATE builds SET spec = '{\"options\":{\"copy_from\":[\"private/a=/etc\"]}}'",
    };

    room->config.builds_trigger_rest = 300000;
    OK(queue_open(&builds.queue, &options, &fixture->err));
    int builder = builder_connect(fixture, &room->config, &builds.link);
    const struct digest old = put_builder(fixture, "1");
    int64_t id = built_on(fixture, &old);
    configure(fixture, "{\"image_trigger\":true}", false);
    trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 0); /* it is the same builder */
    const struct digest new = put_builder(fixture, "2");
    configure(fixture, "{\"image_trigger\":true}", true);
    trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 0); /* paused */
    configure(fixture, "{\"application_name\":\"image_trigger\"}", false);
    trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 0); /* not asked for */
    configure(fixture, "{\"image_trigger\":true}", false);
    script(fixture, "UPDATE builds SET created_at = created_at + 3600000000");
    trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 0); /* built a moment ago */
    script(fixture, "UPDATE builds SET created_at = created_at - 3600000000, account_id = 5");
    for (size_t i = 0; i < LENGTH(unseen); i++) { /* what who asked may not pull */
        script(fixture, unseen[i]);
        trigger_images(&builds, NULL, NULL);
        assert_int_equal(number(fixture, count), 0);
    }
    script(fixture, "UPDATE builds SET account_id = 5, spec = '{\"options\":{}}'");
    trigger_images(&builds, at_once, NULL);
    assert_int_equal(number(fixture, count), 0); /* the server ends */
    for (int i = 0; i < 3; i++)                  /* once */
        trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 1);
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    OK(build_find(fixture->store, id + 1, &record, &fixture->err));
    assert_int_equal(record.state, BUILD_PENDING);
    assert_string_equal(record.commit, "c0ffee");
    assert_string_equal(record.tags, "[\"latest\"]");
    assert_int_equal(record.retry_of, id);
    assert_string_equal(record.actor, "image-trigger");
    OWNED(memory_drop) char *reach = NULL;
    build_asker(&record, &reach); /* as narrow as who set the configuration */
    assert_string_equal(reach, "repository:team/*:pull");
    script(fixture, "DELETE FROM builds WHERE state = 1");
    built_on(fixture, &new);
    trigger_images(&builds, NULL, NULL);
    assert_int_equal(number(fixture, count), 0); /* of each ref the newest counts */
    close(builder);
    queue_stop(builds.queue);
    queue_close(builds.queue);
    link_close(builds.link);
    free(room->config.builds_builder);
    free(room->config.builds_socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_build_room_starts_with_nothing_half_done),
        ROOM_TEST(test_build_room_ends_uploads_of_builds),
        ROOM_TEST(test_build_room_says_that_builds_are_off),
        ROOM_TEST(test_build_room_knows_stored_options),
        ROOM_TEST(test_build_room_sources_go_with_their_repository),
        ROOM_TEST(test_build_room_sources_of_one_that_stayed),
        ROOM_TEST(test_build_room_a_new_builder_starts_builds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
