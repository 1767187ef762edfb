/* test_build_room.c - the room of builds: what a start finds and mends, what it says of itself;
 * builders that move; ends that are posted. */
#include "s2i/outbox.h"
#include "s2i/queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/content.h"
#include "storage/storage.h"
#include "tests/support/hello.h"
#include "tests/support/store.h"

/* --- a server that does not build --- */

struct room {
    struct fixture *fixture;
    struct config config;
    struct builds *builds;
};

static void open_room(struct room *room)
{
    struct fixture *fixture = room->fixture;
    const struct builds_options options = {.storage = fixture->store, .config = &room->config};

    OK(builds_open(&room->builds, &options, &fixture->err));
}

static char *https_only[] = {(char *)(uintptr_t) "https"};
static char *usual_ports[] = {(char *)(uintptr_t) "443"};

static int set_up(void **state)
{
    struct room *room = memory_new(sizeof(*room));

    fixture_set_up((void **)&room->fixture);
    room->config = (struct config){.storage_root = room->fixture->root,
                                   .builds_http_proxy = (char[]){""},
                                   .builds_sources_schemes = {https_only, 1},
                                   .builds_sources_ports = {usual_ports, 1},
                                   .builds_keep_complete = 9,
                                   .builds_keep_failed = 9,
                                   .builds_keep_for = UINT64_MAX};
    *state = room;
    return 0;
}

static int tear_down(void **state)
{
    struct room *room = *state;

    builds_close(room->builds);
    fixture_tear_down((void **)&room->fixture);
    free(room);
    return 0;
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int64_t add(struct fixture *fixture, enum build_state state, enum build_source source,
                   const char *spec)
{
    const struct build_new build = {.repository = REPOSITORY,
                                    .actor = SLICE("ana"),
                                    .ref = SLICE("main"),
                                    .commit = SLICE("c0ffee"),
                                    .builder = SLICE("builders/c:latest"),
                                    .tags = SLICE("[\"latest\"]"),
                                    .url = SLICE("https://host/x.git"),
                                    .spec = slice_of(spec),
                                    .state = state,
                                    .source = source};
    int64_t id = 0, *superseded = NULL;
    size_t count = 0;

    OK(build_add(fixture->store, &build, &id, &superseded, &count, &fixture->err));
    free(superseded);
    return id;
}

static void expect(struct fixture *fixture, int64_t id, enum build_state state, const char *reason)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    OK(build_find(fixture->store, id, &record, &fixture->err));
    assert_int_equal(record.state, state);
    assert_string_equal(record.reason, reason);
}

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

/* --- callbacks (11.1) --- */

static void test_build_room_callbacks_are_signed(void **state)
{
    char text[CALLBACK_SIGNATURE_MAX];

    (void)state;
    callback_sign(SLICE("Jefe"), SLICE("what do ya want for nothing?"), text); /* RFC 4231, 2 */
    assert_string_equal(text,
                        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_build_room_callbacks_say_how_it_ended(void **state)
{
    const struct {
        enum build_state state;
        const char *reason, *digest, *config, *body;
    } cases[] = {
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":{\"a\":\"b\"}}}",
         "{\"success\":true,\"labels\":{\"a\":\"b\"},\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":{}}}",
         "{\"success\":true,\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":7}}",
         "{\"success\":true,\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_FAILED, "AssembleFailed", "", NULL,
         "{\"success\":false,\"build\":5,\"reason\":\"AssembleFailed\"}"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(memory_drop) char *reason = memory_text(slice_of(cases[i].reason));
        OWNED(memory_drop) char *digest = memory_text(slice_of(cases[i].digest));
        const struct build_record record = {
            .id = 5, .state = cases[i].state, .reason = reason, .result_digest = digest};
        OWNED(memory_drop) char *body = callback_body(&record, cases[i].config);
        assert_string_equal(body, cases[i].body);
    }
}

/* What times out is interrupted when the process was stopped for a while. */
static int accept_patiently(int socket)
{
    int connection;

    do
        connection = accept(socket, NULL, NULL);
    while (connection < 0 && errno == EINTR);
    return connection;
}

/* A receiver: closes the first connection without a word, answers the second. */
struct receiver {
    int socket;
    pthread_t thread;
    atomic_uint heard;
    char said[2][4096];
};

static void *receive(void *arg)
{
    struct receiver *receiver = arg;
    static const char answer[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

    for (int i = 0; i < 2; i++) {
        int connection = accept_patiently(receiver->socket);
        size_t size = 0;
        while (size + 1 < sizeof(receiver->said[i]) && strchr(receiver->said[i], '}') == NULL) {
            ssize_t got =
                read(connection, receiver->said[i] + size, sizeof(receiver->said[i]) - 1 - size);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                break;
            size += (size_t)got;
        }
        if (i == 1 && write(connection, answer, sizeof(answer) - 1) < 0)
            size = 0;
        atomic_fetch_add(&receiver->heard, size > 0 ? 1 : 0);
        close(connection);
    }
    return NULL;
}

enum { SPEC_SIZE = 200 };
static const char LAST_TRY[] =
    "INSERT INTO build_messages(build_id, kind, destination, state, tries, due_at)"
    "     VALUES (1, 1, 'http://127.0.0.1', 6, 2, 1)";
static char receiver_port[16], *receiver_ports[] = {receiver_port};
static char *http_only[] = {(char *)(uintptr_t) "http"};
static char *loopback[] = {(char *)(uintptr_t) "127.0.0.1"};

/* Builds may call the receiver, which listens from now on; spec: of one that does. */
static void allow(struct room *room, struct receiver *receiver, char spec[SPEC_SIZE])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    receiver->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(receiver->socket, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(receiver->socket, 4), 0);
    assert_int_equal(getsockname(receiver->socket, (struct sockaddr *)&address, &size), 0);
    snprintf(receiver_port, sizeof(receiver_port), "%u", ntohs(address.sin_port));
    room->config.builds_sources_schemes = (struct config_list){http_only, 1};
    room->config.builds_sources_ports = (struct config_list){receiver_ports, 1};
    room->config.builds_sources_allow = (struct config_list){loopback, 1};
    snprintf(spec, SPEC_SIZE, "{\"options\":{\"callback_url\":\"http://127.0.0.1:%s/x\"}}",
             receiver_port);
}

static void answer(struct receiver *receiver)
{
    const struct timeval patience = {.tv_sec = 120}; /* for one that never comes */

    setsockopt(receiver->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(pthread_create(&receiver->thread, NULL, receive, receiver), 0);
}

/* outbox (1): also the last one. One that is over before, on a machine that stood still, has
 * another problem. */
static void test_build_room_callbacks_that_a_close_cuts_short(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    OWNED(build_told_drop) struct build_told_list told = {.count = 0};
    char spec[SPEC_SIZE];

    allow(room, &receiver, spec);
    int64_t id = add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, LAST_TRY);
    open_room(room);
    struct pollfd called = {.fd = receiver.socket, .events = POLLIN};
    assert_int_equal(poll(&called, 1, 120 * 1000), 1);
    builds_close(room->builds);
    room->builds = NULL;
    close(receiver.socket);
    OK(build_told_list(fixture->store, id, &told, &fixture->err));
    assert_int_equal(told.count, 1);
    assert_null(strstr(told.items[0].problem, "stopped"));
}

/* What is told comes too late to be written, and the receiver is not told again for it. */
static void test_build_room_callbacks_that_cannot_be_settled(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    char spec[SPEC_SIZE];

    allow(room, &receiver, spec);
    answer(&receiver);
    add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, LAST_TRY);
    script(fixture, "CREATE TRIGGER full BEFORE UPDATE ON build_messages"
                    " BEGIN SELECT RAISE(ABORT, 'full'); END");
    open_room(room);
    for (int i = 0; i < 6000 && atomic_load(&receiver.heard) == 0; i++)
        poll(NULL, 0, 10);
    poll(NULL, 0, 300);
    shutdown(receiver.socket, SHUT_RDWR); /* ends the wait for a second one */
    pthread_join(receiver.thread, NULL);
    close(receiver.socket);
    assert_int_equal(atomic_load(&receiver.heard), 1);
}

/* Upstream's second try may send nothing; ours says it all again, and is signed. */
static void test_build_room_callbacks_are_tried_again(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    char spec[SPEC_SIZE], signature[CALLBACK_SIGNATURE_MAX];
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    struct build_config_change change = {.repository = REPOSITORY};
    bool created;

    allow(room, &receiver, spec);
    answer(&receiver);
    change.spec = (struct slice){spec + 11, strlen(spec) - 12}; /* the options alone */
    open_room(room);
    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_CALLBACK, SLICE("old"),
                        SLICE("one"), NULL, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_CALLBACK, SLICE("new"),
                        SLICE("two"), NULL, &fixture->err));
    int64_t id = add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, "INSERT INTO build_messages(build_id, kind, destination, state)"
                    " VALUES (1, 1, 'http://127.0.0.1', 1)");
    OK(builds_cancel(room->builds, id, SLICE("ana"), SLICE_NONE, NULL, &fixture->err));
    pthread_join(receiver.thread, NULL);
    close(receiver.socket);
    static const char body[] = "{\"success\":false,\"build\":1,\"reason\":\"CancelledBuild\"}";
    callback_sign(SLICE("two"), slice_of(body), signature);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(receiver.said[i], "POST /x HTTP/1.1"));
        assert_non_null(strstr(receiver.said[i], body));
        assert_non_null(strstr(receiver.said[i], "application/json"));
        assert_non_null(strstr(receiver.said[i], signature));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_build_room_starts_with_nothing_half_done),
        ROOM_TEST(test_build_room_says_that_builds_are_off),
        ROOM_TEST(test_build_room_knows_stored_options),
        ROOM_TEST(test_build_room_sources_go_with_their_repository),
        ROOM_TEST(test_build_room_sources_of_one_that_stayed),
        ROOM_TEST(test_build_room_a_new_builder_starts_builds),
        cmocka_unit_test(test_build_room_callbacks_are_signed),
        cmocka_unit_test(test_build_room_callbacks_say_how_it_ended),
        ROOM_TEST(test_build_room_callbacks_that_a_close_cuts_short),
        ROOM_TEST(test_build_room_callbacks_that_cannot_be_settled),
        ROOM_TEST(test_build_room_callbacks_are_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
