/* test_queue.c - rows become running builds: each once, in turn, as many at a time as there is
 * room; cancelled, superseded, cut off, pruned, and their ends told once. What a build does is
 * handed in.
 */
#include "registry/core/fd.h"
#include "s2i/queue.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/content.h"
#include "tests/support/hello.h"
#include "tests/support/store.h"

enum { STARTS_MAX = 512, WAIT_MS = 60 * 1000 };

/* What the builds of a test do, and did. */
struct stage {
    struct fixture *fixture;
    struct config config;
    struct builds builds;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold;                /* builds wait until this is false, or they are stopped, */
    size_t let_go;            /* but as many as this began first */
    enum build_state becomes; /* of those that were not stopped */
    bool imageless;           /* what completes has none, and so no tag that moves */
    unsigned room;
    size_t running, most, started, ended;
    int64_t starts[STARTS_MAX];
    char names[STARTS_MAX][16]; /* their repositories */
    size_t ends[STARTS_MAX];    /* by id: how often its end was told */
    bool together;              /* two of one serial repository ran at a time */
};

static bool wait_wake(const struct build_task *task, int timeout_ms)
{
    struct pollfd wake = {.fd = task->wake, .events = POLLIN};

    return poll(&wake, 1, timeout_ms) > 0;
}

/* The how manieth it is. */
static size_t note_start(struct stage *stage, const struct build_record *record)
{
    pthread_mutex_lock(&stage->lock);
    for (size_t i = 0; i < stage->started; i++)
        if (stage->ends[stage->starts[i]] == SIZE_MAX &&
            strcmp(stage->names[i], record->repository) == 0)
            stage->together = true;
    stage->ends[record->id] = SIZE_MAX; /* runs */
    snprintf(stage->names[stage->started], sizeof(stage->names[0]), "%s", record->repository);
    stage->starts[stage->started++] = record->id;
    size_t number = stage->started;
    stage->running++;
    stage->most = stage->running > stage->most ? stage->running : stage->most;
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
    return number;
}

static bool held(struct stage *stage, size_t number)
{
    pthread_mutex_lock(&stage->lock);
    bool hold = stage->hold && number > stage->let_go;
    pthread_mutex_unlock(&stage->lock);
    return hold;
}

/* As session_run words its ends. */
static void run(struct build_task *task, struct build_outcome *out)
{
    struct stage *stage = task->builds->arg;
    char reason[64], by[256];

    *out = (struct build_outcome){.state = stage->becomes, .exit_code = -1};
    size_t number = note_start(stage, &task->record);
    build_log_print(task->log, "build %lld", (long long)task->record.id);
    do
        wait_wake(task, 1);
    while (held(stage, number) && !build_task_stopped(task, reason, by));
    if (build_task_stopped(task, reason, by)) {
        out->state = reason[0] == 0 ? BUILD_ERROR : BUILD_CANCELLED;
        snprintf(out->reason, sizeof(out->reason), "%s", reason);
        snprintf(out->message, sizeof(out->message), "cancelled by %s", by);
    } else if (stage->becomes == BUILD_COMPLETE && !stage->imageless) {
        out->result = digest_text_of("image");
        out->layer_size = 7;
    }
    buffer_append_text(&out->stages, "[\"s\"]");
    buffer_append_text(&out->facts, "{}");
    pthread_mutex_lock(&stage->lock);
    stage->running--;
    stage->ends[task->record.id] = 0;
    pthread_mutex_unlock(&stage->lock);
}

static unsigned room(struct builds *builds)
{
    struct stage *stage = builds->arg;

    pthread_mutex_lock(&stage->lock);
    unsigned slots = stage->room;
    pthread_mutex_unlock(&stage->lock);
    return slots;
}

static void ended(struct builds *builds, int64_t id)
{
    struct stage *stage = builds->arg;

    waiters_tell(builds->waiters, id);
    pthread_mutex_lock(&stage->lock);
    stage->ends[id]++;
    stage->ended++;
    pthread_cond_broadcast(&stage->changed);
    pthread_mutex_unlock(&stage->lock);
}

/* --- the room around it --- */

static char *below(struct stage *stage, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", stage->fixture->root, name);
    mkdir(path.at, 0700);
    return memory_text(buffer_slice(&path));
}

static void queue_begin(struct stage *stage, unsigned threads)
{
    struct fixture *fixture = stage->fixture;
    const struct queue_options options = {.builds = &stage->builds,
                                          .threads = threads,
                                          .each = 2,
                                          .log_max = 1 << 20,
                                          .run = run,
                                          .room = room,
                                          .ended = ended};

    OK(waiters_open(&stage->builds.waiters, stage->builds.storage, &fixture->err));
    OK(queue_open(&stage->builds.queue, &options, &fixture->err));
}

static void queue_end(struct stage *stage)
{
    queue_stop(stage->builds.queue);
    waiters_close(stage->builds.waiters);
    queue_close(stage->builds.queue);
    stage->builds.queue = NULL;
    stage->builds.waiters = NULL;
}

static char *schemes[] = {(char *)(uintptr_t) "https"};
static char *ports[] = {(char *)(uintptr_t) "443"};

static int set_up(void **state)
{
    struct stage *stage = memory_new(sizeof(*stage));
    struct fixture *fixture;

    fixture_set_up((void **)&fixture);
    *stage = (struct stage){.fixture = fixture, .room = 4, .becomes = BUILD_COMPLETE};
    pthread_mutex_init(&stage->lock, NULL);
    clock_condition_init(&stage->changed);
    stage->config.builds_http_proxy = memory_text(SLICE("http://u:proxy-word@host:1"));
    stage->config.builds_queue_max = 200;
    stage->config.builds_sources_schemes = (struct config_list){schemes, 1};
    stage->config.builds_sources_ports = (struct config_list){ports, 1};
    stage->config.builds_keep_complete = 2;
    stage->config.builds_keep_failed = 1;
    stage->config.builds_keep_for = UINT64_MAX;
    stage->config.builds_keep_archives = UINT64_MAX;
    stage->builds = (struct builds){.storage = fixture->store,
                                    .config = &stage->config,
                                    .arg = stage,
                                    .archives = below(stage, "archives"),
                                    .log_folder = below(stage, "logs")};
    OK(build_logs_open(&stage->builds.logs, stage->builds.log_folder, &fixture->err));
    *state = stage;
    return 0;
}

static int tear_down(void **state)
{
    struct stage *stage = *state;

    queue_end(stage);
    link_close(stage->builds.link);
    build_logs_close(stage->builds.logs);
    free(stage->builds.archives);
    free(stage->builds.log_folder);
    free(stage->config.builds_http_proxy);
    free(stage->config.builds_builder);
    free(stage->config.builds_socket);
    fixture_tear_down((void **)&stage->fixture);
    free(stage);
    return 0;
}

#define QUEUE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static int64_t add_new(struct stage *stage, const struct build_new *build)
{
    struct fixture *fixture = stage->fixture;
    int64_t id = 0, *superseded = NULL;
    size_t count = 0;

    OK(build_add(stage->builds.storage, build, &id, &superseded, &count, &fixture->err));
    free(superseded);
    if (stage->builds.queue != NULL)
        queue_look(stage->builds.queue);
    return id;
}

static int64_t add_with(struct stage *stage, const char *repository, enum build_policy policy,
                        const char *spec)
{
    const struct build_new build = {.repository = slice_of(repository),
                                    .trigger = SLICE("api"),
                                    .actor = SLICE("ana"),
                                    .spec = slice_of(spec),
                                    .state = BUILD_PENDING,
                                    .policy = policy,
                                    .source = BUILD_FROM_URL};

    return add_new(stage, &build);
}

static int64_t add(struct stage *stage, const char *repository)
{
    return add_with(stage, repository, BUILD_SERIAL, "{\"options\":{}}");
}

static struct build_record find(struct stage *stage, int64_t id)
{
    struct fixture *fixture = stage->fixture;
    struct build_record record;

    OK(build_find(stage->builds.storage, id, &record, &fixture->err));
    return record;
}

static enum build_state state_of(struct stage *stage, int64_t id)
{
    OWNED(build_record_drop) struct build_record record = find(stage, id);

    return record.state;
}

/* Until the condition holds, which is looked at under the lock; fails after WAIT_MS. */
#define AWAIT(stage, condition)                                                                    \
    do {                                                                                           \
        const struct timespec until_ = clock_monotonic_after(WAIT_MS);                             \
        int waited_ = 0;                                                                           \
        pthread_mutex_lock(&(stage)->lock);                                                        \
        while (!(condition) && waited_ == 0)                                                       \
            waited_ = pthread_cond_timedwait(&(stage)->changed, &(stage)->lock, &until_);          \
        bool holds_ = (condition);                                                                 \
        pthread_mutex_unlock(&(stage)->lock);                                                      \
        if (!holds_)                                                                               \
            fail_msg("never: %s", #condition);                                                     \
    } while (0)

static void set_hold(struct stage *stage, bool hold)
{
    pthread_mutex_lock(&stage->lock);
    stage->hold = hold;
    pthread_mutex_unlock(&stage->lock);
}

static bool has_file(const char *folder, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", folder, name);
    return access(path.at, F_OK) == 0;
}

static void make_file(const char *folder, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", folder, name);
    FILE *file = fopen(path.at, "w");
    assert_non_null(file);
    fputs("source", file);
    fclose(file);
}

/* --- running --- */

static void test_queue_runs_what_waits_and_records_its_end(void **state)
{
    struct stage *stage = *state;
    int64_t before = add(stage, "early"); /* by an earlier process */

    queue_begin(stage, 2);
    AWAIT(stage, stage->ends[before] == 1);
    int64_t id = add(stage, "late");
    AWAIT(stage, stage->ends[id] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, id);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_string_equal(record.stages, "[\"s\"]");
    assert_memory_equal(record.result_digest, "sha256:", 7);
    assert_int_equal(record.layer_size, 7);
    assert_true(record.log_size > 0);
    assert_true(has_file(stage->builds.log_folder, "2.log"));
}

static void test_queue_what_cannot_be_read_fails(void **state)
{
    struct stage *stage = *state;
    int64_t id;

    queue_begin(stage, 1);
    id = add_with(stage, "a", BUILD_SERIAL, "nonsense");
    AWAIT(stage, stage->ends[id] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, id);
    assert_int_equal(record.state, BUILD_ERROR);
    assert_string_equal(record.reason, "GenericS2IBuildFailed");
    assert_int_equal(stage->started, 0);
}

/* A row that says Complete has its tags: the end of others is told, not tried for ever. */
static void test_queue_what_cannot_be_tagged_fails(void **state)
{
    struct stage *stage = *state;
    const char *tags[] = {"[\"latest\"]", "[\"latest\",\"v\\\"1\"]", "[1]"};

    queue_begin(stage, 1);
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        const struct build_new build = {.repository = REPOSITORY,
                                        .trigger = SLICE("api"),
                                        .actor = SLICE("ana"),
                                        .spec = SLICE("{\"options\":{}}"),
                                        .tags = slice_of(tags[i]),
                                        .state = BUILD_PENDING,
                                        .policy = BUILD_SERIAL,
                                        .source = BUILD_FROM_URL};
        int64_t id = add_new(stage, &build); /* of an image that is not here */
        AWAIT(stage, stage->ends[id] == 1);
        OWNED(build_record_drop) struct build_record record = find(stage, id);
        assert_int_equal(record.state, BUILD_FAILED);
        assert_string_equal(record.reason, "PushImageToRegistryFailed");
        assert_string_equal(record.result_digest, "");
    }
}

enum { FLOOD = 50, SMALL = 10, BUILDS = 100 };

/* Repositories of which something is to be built, up to four: first the flood's, then ten times one
 * of each of the others. Under the lock. */
static size_t at_a_time(const struct stage *stage)
{
    bool open[1 + SMALL] = {false};
    size_t count = 0;

    for (size_t id = 1; id <= BUILDS; id++)
        open[id <= FLOOD ? 0 : 1 + (id - 1) % SMALL] |= stage->ends[id] != 1;
    for (size_t i = 0; i < LENGTH(open); i++)
        count += open[i];
    return count < 4 ? count : 4;
}

/* Spec: s2i 20.11. All that run at a time end before more are let go, however slow some are. */
static void test_queue_hundred_builds_share_four_slots(void **state)
{
    struct stage *stage = *state;
    size_t last_of_small = 0, flood_before = 0;
    char name[] = "r?";

    set_hold(stage, true);
    for (int i = 0; i < FLOOD; i++)
        add(stage, "flood");
    for (int i = FLOOD; i < BUILDS; i++) {
        name[1] = (char)('0' + i % SMALL);
        add(stage, name);
    }
    queue_begin(stage, 4);
    while (stage->let_go < BUILDS) {
        AWAIT(stage, stage->ended == stage->let_go && stage->running == at_a_time(stage));
        pthread_mutex_lock(&stage->lock);
        stage->let_go = stage->started;
        pthread_mutex_unlock(&stage->lock);
    }
    AWAIT(stage, stage->ended == BUILDS);
    assert_int_equal(stage->started, BUILDS);
    assert_int_equal(stage->most, 4);
    assert_false(stage->together);
    for (size_t i = 0; i < BUILDS; i++)
        if (strcmp(stage->names[i], "flood") != 0)
            last_of_small = i;
    for (size_t i = 0; i < last_of_small; i++)
        flood_before += strcmp(stage->names[i], "flood") == 0 ? 1 : 0;
    assert_in_range(flood_before, 1, 10); /* a turn like everybody's: five, give or take */
}

static void test_queue_starts_no_more_than_builders_have_room_for(void **state)
{
    struct stage *stage = *state;
    int64_t ids[3];

    set_hold(stage, true);
    stage->room = 0;
    queue_begin(stage, 3);
    for (size_t i = 0; i < 3; i++)
        ids[i] = add(stage, i == 0 ? "a" : i == 1 ? "b" : "c");
    usleep(50 * 1000);
    assert_int_equal(state_of(stage, ids[0]), BUILD_PENDING);
    pthread_mutex_lock(&stage->lock);
    stage->room = 2;
    pthread_mutex_unlock(&stage->lock);
    AWAIT(stage, stage->running == 2);
    usleep(150 * 1000);
    assert_int_equal(state_of(stage, ids[2]), BUILD_PENDING);
    set_hold(stage, false);
    AWAIT(stage, stage->ends[ids[2]] == 1);
    assert_int_equal(stage->most, 2);
}

/* --- stopping --- */

static int cancel(struct stage *stage, int64_t id)
{
    stage->fixture->err = (struct error){0};
    return queue_cancel(stage->builds.queue, id, SLICE("eva"), SLICE("it rains"), NULL,
                        &stage->fixture->err);
}

/* Spec: s2i 13.44. */
static void test_queue_cancels_in_each_state(void **state)
{
    struct stage *stage = *state;
    int64_t running, waiting;

    set_hold(stage, true);
    queue_begin(stage, 1);
    running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    waiting = add(stage, "a");
    assert_int_equal(cancel(stage, waiting), 0);
    assert_int_equal(state_of(stage, waiting), BUILD_CANCELLED);
    AWAIT(stage, stage->ends[waiting] == 1);
    assert_int_equal(cancel(stage, waiting), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    assert_int_equal(cancel(stage, running), 0);
    if (cancel(stage, running) < 0) /* the same again, or it has ended by now */
        assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    AWAIT(stage, stage->ends[running] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, running);
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "CancelledBuild");
    assert_string_equal(record.ended_by, "eva");
    assert_string_equal(record.message, "cancelled by eva: it rains");
    assert_int_equal(cancel(stage, 99), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_NOT_FOUND);
    assert_int_equal(stage->started, 1);
}

/* Whether it waits, is being claimed, or runs when somebody cancels it: it ends once. */
static void test_queue_cancel_finds_a_build_at_any_moment(void **state)
{
    struct stage *stage = *state;

    set_hold(stage, true);
    queue_begin(stage, 2);
    for (int i = 0; i < 60; i++) {
        int64_t id = add(stage, i % 2 == 0 ? "a" : "b");
        usleep((unsigned)(i % 6) * 200);
        assert_int_equal(cancel(stage, id), 0);
        AWAIT(stage, stage->ends[id] == 1);
        assert_int_equal(state_of(stage, id), BUILD_CANCELLED);
    }
}

static void test_queue_close_leaves_what_ran_to_the_next_start(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    int64_t running, waiting;
    size_t count = 0;

    set_hold(stage, true);
    queue_begin(stage, 1);
    running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    waiting = add(stage, "a");
    queue_end(stage);
    assert_int_equal(state_of(stage, running), BUILD_RUNNING);
    assert_int_equal(state_of(stage, waiting), BUILD_PENDING);
    assert_int_equal(stage->ends[running], 0);
    OK(build_interrupt(stage->builds.storage, true, &count, &fixture->err));
    set_hold(stage, false);
    queue_begin(stage, 1);
    AWAIT(stage, stage->ends[running] == 1 && stage->ends[waiting] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, running);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_int_equal(record.epoch, 2);
}

static void test_queue_stops_builds_of_a_deleted_repository(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const struct content_change change = {.actor = NULL};
    struct content_repository_size size;

    push_text(fixture, "{}", "v1");
    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t id = add(stage, "team/app");
    AWAIT(stage, stage->running == 1);
    queue_watch(stage->builds.queue);
    assert_int_equal(stage->running, 1);
    OK(content_repository_delete(stage->builds.storage, REPOSITORY, &change, &size, &fixture->err));
    queue_watch(stage->builds.queue);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(state_of(stage, id), BUILD_CANCELLED);
}

/* --- who waits for an end --- */

struct waiting {
    struct stage *stage;
    size_t calls;
    enum build_state state;
};

static void told(void *arg, const struct build_record *record)
{
    struct waiting *waiting = arg;

    pthread_mutex_lock(&waiting->stage->lock);
    waiting->calls++;
    waiting->state = record->state;
    pthread_cond_broadcast(&waiting->stage->changed);
    pthread_mutex_unlock(&waiting->stage->lock);
}

static void wait_for(struct stage *stage, int64_t id, struct waiting *waiting)
{
    struct fixture *fixture = stage->fixture;

    waiting->stage = stage;
    OK(waiters_add(stage->builds.waiters, id, told, waiting, &fixture->err));
}

static void test_queue_tells_each_waiter_once(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct waiting waiting[5] = {{.calls = 0}};

    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t id = add(stage, "a"), other = add(stage, "a");
    for (size_t i = 0; i < 3; i++)
        wait_for(stage, id, &waiting[i]);
    wait_for(stage, other, &waiting[3]);
    waiters_look(stage->builds.waiters); /* none has ended */
    FAILS(waiters_add(stage->builds.waiters, 99, told, &waiting[0], &fixture->err),
          ERROR_NOT_FOUND);
    set_hold(stage, false);
    AWAIT(stage, waiting[0].calls + waiting[1].calls + waiting[2].calls + waiting[3].calls == 4);
    wait_for(stage, id, &waiting[4]); /* it has ended */
    AWAIT(stage, waiting[4].calls == 1);
    waiters_look(stage->builds.waiters);
    waiters_tell(stage->builds.waiters, id);
    queue_end(stage);
    for (size_t i = 0; i < LENGTH(waiting); i++) {
        assert_int_equal(waiting[i].calls, 1);
        assert_int_equal(waiting[i].state, BUILD_COMPLETE);
    }
}

static void test_queue_tells_waiters_that_it_closes(void **state)
{
    struct stage *stage = *state;
    struct waiting waiting[2] = {{.calls = 0}};

    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    wait_for(stage, running, &waiting[0]);
    wait_for(stage, add(stage, "a"), &waiting[1]);
    queue_end(stage);
    assert_int_equal(waiting[0].calls, 1);
    assert_int_equal(waiting[0].state, BUILD_RUNNING);
    assert_int_equal(waiting[1].calls, 1);
    assert_int_equal(waiting[1].state, BUILD_PENDING);
}

static void test_queue_waiters_notice_ends_nobody_told(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct waiting waiting = {.calls = 0};
    bool running;

    stage->room = 0;
    queue_begin(stage, 1);
    int64_t id = add(stage, "a");
    wait_for(stage, id, &waiting);
    OK(build_cancel(stage->builds.storage, id, SLICE("eva"), SLICE_NONE, NULL, &running,
                    &fixture->err));
    waiters_look(stage->builds.waiters);
    AWAIT(stage, waiting.calls == 1);
    assert_int_equal(waiting.state, BUILD_CANCELLED);
}

/* --- what is kept --- */

static void test_queue_keeper_prunes_rows_with_their_files(void **state)
{
    struct stage *stage = *state;
    char name[32];

    queue_begin(stage, 1);
    for (int i = 0; i < 4; i++) {
        int64_t id = add(stage, "a");
        snprintf(name, sizeof(name), "%lld", (long long)id);
        make_file(stage->builds.archives, name);
        AWAIT(stage, stage->ends[id] == 1);
    }
    keeper_prune(&stage->builds);
    for (int i = 1; i <= 4; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(has_file(stage->builds.archives, name), i > 2);
        snprintf(name, sizeof(name), "%d.log", i);
        assert_int_equal(has_file(stage->builds.log_folder, name), i > 2);
    }
    assert_int_equal(number(stage->fixture, "SELECT count(*) FROM builds"), 2);
}

/* Spec: s2i 16.14. */
static void test_queue_keeper_sweeps_what_has_no_row(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const char *const archives[] = {"1", "1.new", "2", "2.new", "3", "77", "77.new", "note"};
    const bool kept[] = {true, false, true, false, true, false, false, true};

    add(stage, "a"); /* complete */
    add(stage, "b"); /* failed */
    add(stage, "c"); /* waits */
    script(fixture, "UPDATE builds SET state = 3 WHERE id = 1");
    script(fixture, "UPDATE builds SET state = 4 WHERE id = 2");
    for (size_t i = 0; i < LENGTH(archives); i++)
        make_file(stage->builds.archives, archives[i]);
    make_file(stage->builds.log_folder, "2.log");
    make_file(stage->builds.log_folder, "77.log");
    keeper_sweep_archives(&stage->builds);
    keeper_sweep_logs(&stage->builds);
    for (size_t i = 0; i < LENGTH(archives); i++)
        if (has_file(stage->builds.archives, archives[i]) != kept[i])
            fail_msg("%s", archives[i]);
    assert_true(has_file(stage->builds.log_folder, "2.log"));
    assert_false(has_file(stage->builds.log_folder, "77.log"));
}

static void pin_named(struct fixture *fixture, const char *name, const struct digest *digest,
                      const char *actor)
{
    const struct manifest_reference reference = {.digest = *digest};
    const struct actor who = {.name = slice_of(actor)};
    const struct content_change change = {.actor = actor == NULL ? NULL : &who};
    bool created;

    OK(content_pin_put(fixture->store, REPOSITORY, slice_of(name), &reference,
                       clock_now_us() + INT64_C(3600) * US_PER_S, &change, &created,
                       &fixture->err));
}

/* s2i (2), (4): what a process that died held for its builds. Names that people chose are theirs.
 */
static void test_queue_keeper_lets_go_of_what_ended_builds_held(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const struct digest digest = digest_text_of("{}");
    struct s2i_image image = {.name = (char *)(uintptr_t) "team/app",
                              .repository = (char *)(uintptr_t) "team/app",
                              .digest = digest};
    int64_t until = clock_now_us() + INT64_C(3600) * US_PER_S;
    char hex[DIGEST_TEXT_MAX], name[64];

    push_text(fixture, "{}", "v1");
    add(stage, "a"); /* complete */
    add(stage, "b"); /* waits */
    script(fixture, "UPDATE builds SET state = 3 WHERE id = 1");
    for (int64_t id = 1; id <= 2; id++)
        OK(image_pin(&stage->builds, &image, id, until, &fixture->err));
    OK(image_pin(&stage->builds, &image, 77, until, &fixture->err));
    hex_encode(digest.bytes, digest.size, hex);
    snprintf(name, sizeof(name), "build-78-%.16s", hex);
    pin_named(fixture, name, &digest, "ana");
    pin_named(fixture, "build-1-0123456789abcdef", &digest, NULL);
    pin_named(fixture, "build-1", &digest, NULL);
    pin_named(fixture, "build", &digest, NULL);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 7);
    images_sweep_pins(&stage->builds);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 5);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins WHERE name LIKE 'build-2-%'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins WHERE name LIKE 'build-78-%'"), 1);
}

/* Of who asked for a build, and held its builder when it had ended already. */
static void test_queue_what_is_held_too_late_is_let_go_of(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct s2i_image image = {.name = (char *)(uintptr_t) "team/app",
                              .repository = (char *)(uintptr_t) "team/app",
                              .digest = digest_text_of("{}")};
    char text[DIGEST_TEXT_MAX];
    OWNED(buffer_drop) struct buffer sql = BUFFER_NONE;

    push_text(fixture, "{}", "v1");
    add(stage, "a");
    buffer_print(&sql, "UPDATE builds SET builder = 'team/app', builder_digest = '%s'",
                 digest_text(&image.digest, text));
    script(fixture, sql.at);
    OK(image_pin(&stage->builds, &image, 1, clock_now_us() + INT64_C(3600) * US_PER_S,
                 &fixture->err));
    image_unpin_late(&stage->builds, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 1);
    script(fixture, "UPDATE builds SET state = 3");
    image_unpin_late(&stage->builds, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 0);
}

static void put_archive(struct stage *stage, int64_t id, size_t size)
{
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, id);
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

/* The oldest go, but not those that are waited for; what a retry shares counts once. */
static void test_queue_archives_take_no_more_than_they_may(void **state)
{
    struct stage *stage = *state;
    const bool kept[] = {false, false, true, false, false, true};
    OWNED(memory_drop) char *first = builds_archive_path(&stage->builds, 4);
    OWNED(memory_drop) char *second = builds_archive_path(&stage->builds, 5);
    char name[32];

    for (int64_t id = 1; id <= 6; id++) {
        add(stage, "a");
        if (id != 5)
            put_archive(stage, id, 100);
    }
    assert_int_equal(link(first, second), 0);
    script(stage->fixture, "UPDATE builds SET state = 3 WHERE id <> 3");
    stage->config.builds_keep_archives = 500;
    builds_archives_trim(&stage->builds);
    assert_true(has_file(stage->builds.archives, "1"));
    stage->config.builds_keep_archives = 320;
    builds_archives_trim(&stage->builds);
    assert_false(has_file(stage->builds.archives, "2"));
    assert_true(has_file(stage->builds.archives, "4"));
    stage->config.builds_keep_archives = 250;
    builds_archives_trim(&stage->builds);
    for (int i = 1; i <= 6; i++) {
        snprintf(name, sizeof(name), "%d", i);
        if (has_file(stage->builds.archives, name) != kept[i - 1])
            fail_msg("%s", name);
    }
}

/* --- masks --- */

static void test_queue_masks_are_all_that_is_secret(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const char *const wanted[] = {"env-word", "proxy-word",     "line one",
                                  "line two", "user:pass-word", "pass-word"};
    char *pairs[] = {memory_text(SLICE("A=env-word")), memory_text(SLICE("B=abc"))};
    struct build_task task = {.builds = &stage->builds,
                              .record = {.repository = memory_text(REPOSITORY)},
                              .options = {.secret_env = {pairs, 2}}};
    OWNED(s2i_list_wipe) struct s2i_list masks = {0};
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    const struct build_config_change change = {.repository = REPOSITORY, .spec = SLICE("{}")};
    bool created;

    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_FILE, SLICE("f"),
                        SLICE("line one\r\nline two\n\n"), NULL, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_SOURCE, SLICE("s"),
                        SLICE("s\thttps://h/\tbasic\tuser:pass-word"), NULL, &fixture->err));
    OK(masks_read(&task, &masks, &fixture->err));
    assert_int_equal(masks.count, LENGTH(wanted));
    for (size_t i = 0; i < LENGTH(wanted); i++)
        assert_string_equal(masks.items[i], wanted[i]);
    free(task.record.repository);
    free(pairs[0]);
    free(pairs[1]);
}

/* --- asking for builds, with a builder that says hello --- */

static int try_submit(struct stage *stage, enum build_source source, int archive, int64_t *id)
{
    const struct slice tags[] = {SLICE("latest"), SLICE("v\"1")};
    char policy[] = "SerialLatestOnly";
    const struct s2i_options options = {.run_policy = policy};
    const struct actor actor = {.account = 7, .name = SLICE("ana")};
    const struct build_request request = {.repository = REPOSITORY,
                                          .source = source,
                                          .trigger = SLICE("api"),
                                          .actor = &actor,
                                          .actor_name = SLICE("ana"),
                                          .options = &options,
                                          .url = SLICE("https://ana@host/x.git"),
                                          .ref = SLICE("main"),
                                          .tags = tags,
                                          .tag_count = 2,
                                          .archive = archive};

    stage->fixture->err = (struct error){0};
    return builds_submit(&stage->builds, &request, id, &stage->fixture->err);
}

static void test_queue_submit_makes_a_row_and_supersedes(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    int64_t first = 0, second = 0, third = 0;

    set_hold(stage, true);
    queue_begin(stage, 1);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &first), -1);
    assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE); /* builds are off */
    assert_int_equal(number(fixture, "SELECT count(*) FROM builds"), 0);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &first), 0);
    AWAIT(stage, stage->running == 1);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &second), 0);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &third), 0);
    AWAIT(stage, stage->ends[second] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, second);
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "Superseded");
    assert_string_equal(record.url, "https://host/x.git"); /* s2i 7.5 */
    assert_string_equal(record.tags, "[\"latest\",\"v\\\"1\"]");
    assert_int_equal(record.account, 7);
    stage->config.builds_queue_max = 1;
    script(fixture, "UPDATE builds SET policy = 0, repository = 'b' WHERE id = 3");
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &third), -1);
    assert_int_equal(fixture->err.code, ERROR_TOOMANYREQUESTS);
    assert_true(fixture->err.retry_after_s > 0);
    close(builder);
}

static void read_archive(struct stage *stage, int64_t id, const char *expected)
{
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, id);
    char bytes[64] = "";
    FILE *file = fopen(path, "r");

    if (expected == NULL) {
        assert_null(file);
        return;
    }
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof(bytes) - 1, file), strlen(expected));
    assert_string_equal(bytes, expected);
    fclose(file);
}

static int retry(struct stage *stage, int64_t id, int64_t *out)
{
    const struct actor actor = {.account = 8};

    stage->fixture->err = (struct error){0};
    return builds_retry(&stage->builds, id, &actor, SLICE("eva"), NULL, out, &stage->fixture->err);
}

/* The bytes of one upload are stored once: a file without a name gets one. */
static void test_queue_archives_are_not_copied_without_need(void **state)
{
    struct stage *stage = *state;
    int source = open(stage->fixture->root, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat first, second;
    int64_t id = 0, again = 0;

    assert_int_equal(write(source, "a tar", 5), 5);
    stage->becomes = BUILD_FAILED;
    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, source, &id), 0);
    assert_int_equal(fstat(source, &first), 0);
    close(source);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(retry(stage, id, &again), 0);
    AWAIT(stage, stage->ends[again] == 1);
    read_archive(stage, again, "a tar");
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, again);
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    unlink(path);
    read_archive(stage, id, "a tar");
    close(builder);
}

static void test_queue_archives_live_as_long_as_they_are_needed(void **state)
{
    struct stage *stage = *state;
    FILE *source = tmpfile();
    int64_t id = 0, again = 0, third = 0;

    fputs("a tar", source);
    fflush(source);
    set_hold(stage, true);
    stage->becomes = BUILD_FAILED;
    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, fileno(source), &id), 0);
    read_archive(stage, id, "a tar");
    AWAIT(stage, stage->running == 1);
    assert_int_equal(retry(stage, id, &again), -1); /* it runs */
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    set_hold(stage, false);
    AWAIT(stage, stage->ends[id] == 1);
    read_archive(stage, id, "a tar"); /* for a retry */
    stage->becomes = BUILD_COMPLETE;
    stage->imageless = true;
    assert_int_equal(retry(stage, id, &again), 0);
    AWAIT(stage, stage->ends[again] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, again);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_int_equal(record.retry_of, id);
    assert_string_equal(record.trigger, "retry");
    assert_string_equal(record.tags, "[\"latest\",\"v\\\"1\"]");
    assert_int_equal(record.policy, BUILD_SERIAL_LATEST);
    read_archive(stage, again, "a tar"); /* for a verification */
    stage->config.builds_keep_archives = 0;
    builds_archives_trim(&stage->builds);
    read_archive(stage, again, NULL);
    assert_int_equal(retry(stage, again, &third), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    assert_non_null(strstr(stage->fixture->err.message, "not kept"));
    fclose(source);
    close(builder);
}

static void test_queue_a_source_that_cannot_be_kept_ends_its_build(void **state)
{
    struct stage *stage = *state;
    int64_t id = 0;

    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, 9999, &id), -1);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(state_of(stage, id), BUILD_ERROR);
    read_archive(stage, id, NULL);
    assert_int_equal(stage->started, 0);
    close(builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(test_queue_runs_what_waits_and_records_its_end),
        QUEUE_TEST(test_queue_what_cannot_be_read_fails),
        QUEUE_TEST(test_queue_what_cannot_be_tagged_fails),
        QUEUE_TEST(test_queue_hundred_builds_share_four_slots),
        QUEUE_TEST(test_queue_starts_no_more_than_builders_have_room_for),
        QUEUE_TEST(test_queue_cancels_in_each_state),
        QUEUE_TEST(test_queue_cancel_finds_a_build_at_any_moment),
        QUEUE_TEST(test_queue_close_leaves_what_ran_to_the_next_start),
        QUEUE_TEST(test_queue_stops_builds_of_a_deleted_repository),
        QUEUE_TEST(test_queue_tells_each_waiter_once),
        QUEUE_TEST(test_queue_tells_waiters_that_it_closes),
        QUEUE_TEST(test_queue_waiters_notice_ends_nobody_told),
        QUEUE_TEST(test_queue_keeper_prunes_rows_with_their_files),
        QUEUE_TEST(test_queue_keeper_sweeps_what_has_no_row),
        QUEUE_TEST(test_queue_keeper_lets_go_of_what_ended_builds_held),
        QUEUE_TEST(test_queue_what_is_held_too_late_is_let_go_of),
        QUEUE_TEST(test_queue_masks_are_all_that_is_secret),
        QUEUE_TEST(test_queue_submit_makes_a_row_and_supersedes),
        QUEUE_TEST(test_queue_archives_live_as_long_as_they_are_needed),
        QUEUE_TEST(test_queue_archives_take_no_more_than_they_may),
        QUEUE_TEST(test_queue_archives_are_not_copied_without_need),
        QUEUE_TEST(test_queue_a_source_that_cannot_be_kept_ends_its_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
