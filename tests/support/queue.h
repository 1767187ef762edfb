/* queue.h - for tests of running builds: a queue over a real storage, and builds that do what the
 * test says. */
#ifndef SLIPWAY_TESTS_SUPPORT_QUEUE_H
#define SLIPWAY_TESTS_SUPPORT_QUEUE_H

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "s2i/queue.h"
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

static inline bool wait_wake(const struct build_task *task, int timeout_ms)
{
    struct pollfd wake = {.fd = task->wake, .events = POLLIN};

    return poll(&wake, 1, timeout_ms) > 0;
}

/* The how manieth it is. */
static inline size_t note_start(struct stage *stage, const struct build_record *record)
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

static inline bool held(struct stage *stage, size_t number)
{
    pthread_mutex_lock(&stage->lock);
    bool hold = stage->hold && number > stage->let_go;
    pthread_mutex_unlock(&stage->lock);
    return hold;
}

/* As session_run words its ends. */
static inline void run(struct build_task *task, struct build_outcome *out)
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

static inline unsigned room(struct builds *builds)
{
    struct stage *stage = builds->arg;

    pthread_mutex_lock(&stage->lock);
    unsigned slots = stage->room;
    pthread_mutex_unlock(&stage->lock);
    return slots;
}

static inline void ended(struct builds *builds, int64_t id)
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

static inline char *below(struct stage *stage, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", stage->fixture->root, name);
    mkdir(path.at, 0700);
    return memory_text(buffer_slice(&path));
}

static inline void queue_begin(struct stage *stage, unsigned threads)
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

static inline void queue_end(struct stage *stage)
{
    queue_stop(stage->builds.queue);
    waiters_close(stage->builds.waiters);
    queue_close(stage->builds.queue);
    stage->builds.queue = NULL;
    stage->builds.waiters = NULL;
}

static char *schemes[] = {(char *)(uintptr_t) "https"};
static char *ports[] = {(char *)(uintptr_t) "443"};

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline int64_t add_new(struct stage *stage, const struct build_new *build)
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

static inline int64_t add_with(struct stage *stage, const char *repository,
                               enum build_policy policy, const char *spec)
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

static inline int64_t add(struct stage *stage, const char *repository)
{
    return add_with(stage, repository, BUILD_SERIAL, "{\"options\":{}}");
}

static inline struct build_record find(struct stage *stage, int64_t id)
{
    struct fixture *fixture = stage->fixture;
    struct build_record record;

    OK(build_find(stage->builds.storage, id, &record, &fixture->err));
    return record;
}

static inline enum build_state state_of(struct stage *stage, int64_t id)
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

static inline void set_hold(struct stage *stage, bool hold)
{
    pthread_mutex_lock(&stage->lock);
    stage->hold = hold;
    pthread_mutex_unlock(&stage->lock);
}

static inline bool has_file(const char *folder, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", folder, name);
    return access(path.at, F_OK) == 0;
}

static inline void make_file(const char *folder, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", folder, name);
    FILE *file = fopen(path.at, "w");
    assert_non_null(file);
    fputs("source", file);
    fclose(file);
}

#endif
