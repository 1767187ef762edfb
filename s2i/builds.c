/* builds.c - the room of builds: opened, closed, asked how it is.
 * Touches  <root>/builds and all below it; starts every thread of s2i/.
 * Never    runs a build. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "s2i/confine.h"
#include "s2i/outbox.h"
#include "s2i/queue.h"

enum { PAGE = 100 };

/* --- folders --- */

static int folder_make(const char *path, struct error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a folder of builds cannot be made");
}

/* What is synced below them is found again after a power failure. */
static int folders_sync(const struct builds *builds, const char *root, struct error *err)
{
    if (folder_sync(builds->folder) == 0 && folder_sync(root) == 0)
        return 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a folder of builds cannot be kept");
}

static int folders_open(struct builds *builds, struct error *err)
{
    /* children that read it run in folders of their own */
    OWNED(memory_drop) char *real = realpath(builds->config->storage_root, NULL);
    const char *root = real == NULL ? builds->config->storage_root : real;

    builds->folder = folder_path(root, "builds");
    builds->repositories = folder_path(builds->folder, "repos");
    builds->archives = folder_path(builds->folder, "archives");
    builds->log_folder = folder_path(builds->folder, "logs");
    builds->scratch = folder_path(builds->folder, "scratch");
    builds->deleted = folder_path(builds->folder, "deleted");
    if (folder_make(builds->folder, err) < 0 || folder_make(builds->repositories, err) < 0 ||
        folder_make(builds->archives, err) < 0 || folder_make(builds->log_folder, err) < 0 ||
        folder_make(builds->scratch, err) < 0 || folder_make(builds->deleted, err) < 0)
        return -1;
    folder_empty(builds->scratch);
    return folders_sync(builds, root, err);
}

/* --- what an earlier process left (13.41) --- */

/* Whoever pushed it waited for it, and is gone: its commit too. */
static int end_held(struct builds *builds, const struct build_record *record, struct error *err)
    ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    const struct build_end end = {.id = record->id,
                                  .state = BUILD_ERROR,
                                  .reason = SLICE("ServerRestarted"),
                                  .message = SLICE("server restarted: push again"),
                                  .exit_code = -1};
    struct error unread = {0};
    bool held = false;

    if (record->source != BUILD_FROM_PUSH || build_verifies(record) ||
        (build_spec_read(record->spec, &options, &held, &unread) == 0 && !held))
        return 0;
    return build_finish(builds->storage, &end, err);
}

static int end_all_held(struct builds *builds, struct error *err) ON(worker_thread)
{
    struct build_filter filter = {.state = BUILD_PENDING, .limit = PAGE};
    bool more = true;

    while (more) {
        OWNED(build_page_drop) struct build_page page = {.items = NULL};
        if (build_list(builds->storage, &filter, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.count; i++)
            if (end_held(builds, &page.items[i], err) < 0)
                return -1;
        more = page.more;
        if (page.count > 0)
            filter.before_id = page.items[page.count - 1].id;
    }
    return 0;
}

/* Bytes that were on their way into an image. Nobody goes on with them. */
static void end_uploads(struct builds *builds) ON(worker_thread)
{
    struct error err = {0};

    if (storage_uploads_end(builds->storage, BUILD_UPLOADS, &err) < 0) /* in storage.upload_ttl */
        log_event(LOG_WARNING, "build.uploads", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
}

static int recover(struct builds *builds, struct error *err) ON(worker_thread)
{
    size_t count = 0;

    end_uploads(builds);
    if (build_interrupt(builds->storage, builds->config->builds_retry_on_restart, &count, err) < 0)
        return -1;
    if (count > 0)
        log_event(LOG_WARNING, "build.interrupted", F_U64("count", count));
    return end_all_held(builds, err);
}

/* --- open and close --- */

static unsigned room(struct builds *builds)
{
    struct builds_health health = {.enabled = false};

    link_health(builds->link, &health);
    return health.slots;
}

static void tell_ended(struct builds *builds, int64_t id)
{
    assert_worker_thread();
    waiters_tell(builds->waiters, id);
    outbox_look(builds->outbox);
    image_unpin_row(builds, id);
    keeper_ended(builds->keeper);
}

static int threads_open(struct builds *builds, struct error *err)
{
    const struct config *config = builds->config;
    const struct queue_options options = {
        .builds = builds,
        .threads = config->builds_enabled ? (unsigned)config->builds_concurrency : 0,
        .each = config->builds_per_repository,
        .log_max = config->builds_log_max,
        .run = session_run,
        .room = room,
        .ended = tell_ended,
    };

    builds->keeper = keeper_open(builds);
    if (waiters_open(&builds->waiters, builds->storage, err) < 0 ||
        outbox_open(&builds->outbox, builds, err) < 0 ||
        (config->builds_enabled && link_open(&builds->link, config, err) < 0))
        return -1;
    return queue_open(&builds->queue, &options, err);
}

static void builds_drop(struct builds **builds)
{
    builds_close(*builds);
}

int builds_open(struct builds **out, const struct builds_options *options, struct error *err)
{
    enum thread_role_kind role = become_worker_thread();
    OWNED(builds_drop) struct builds *builds = memory_new(sizeof(*builds));

    builds->storage = options->storage;
    builds->config = options->config;
    builds->may_pull = options->may_pull;
    builds->sign = options->sign;
    pthread_mutex_init(&builds->moving, NULL);
    builds->may_push = options->may_push;
    builds->arg = options->arg;
    int status = folders_open(builds, err);
    if (status == 0)
        status = build_logs_open(&builds->logs, builds->log_folder, err);
    if (status == 0)
        status = recover(builds, err);
    if (status == 0)
        status = sources_settle(builds, err);
    if (status == 0)
        status = attester_open(builds, err);
    if (status == 0)
        status = threads_open(builds, err);
    if (status == 0)
        status = keeper_start(builds->keeper, err);
    if (status == 0)
        *out = TAKE(builds);
    thread_role_current = role;
    return status;
}

void builds_close(struct builds *builds)
{
    if (builds == NULL)
        return;
    enum thread_role_kind role = become_worker_thread();
    queue_stop(builds->queue); /* its threads tell the rest of ends */
    keeper_close(builds->keeper);
    waiters_close(builds->waiters);
    outbox_close(builds->outbox);
    attester_close(builds->attester);
    queue_close(builds->queue);
    link_close(builds->link);
    build_logs_close(builds->logs);
    free(builds->folder);
    free(builds->repositories);
    free(builds->archives);
    free(builds->log_folder);
    free(builds->scratch);
    free(builds->deleted);
    pthread_mutex_destroy(&builds->moving);
    free(builds);
    thread_role_current = role;
}

/* --- questions --- */

struct build_logs *builds_logs(struct builds *builds)
{
    return builds->logs;
}

const char *builds_repositories(const struct builds *builds)
{
    return builds->repositories;
}

void builds_health(struct builds *builds, struct builds_health *out)
{
    struct build_counts counts = {0};
    struct error err = {0};

    *out = (struct builds_health){.enabled = builds->link != NULL, .weakness = confine_weakness()};
    if (out->enabled)
        link_health(builds->link, out);
    else
        snprintf(out->problem, sizeof(out->problem), "builds are off: builds.enabled is false");
    if (build_count(builds->storage, &counts, &err) < 0)
        error_clear(&err);
    out->running = counts.running;
    out->waiting = counts.waiting;
}

int builds_when_ended(struct builds *builds, int64_t id,
                      void (*ended)(void *arg, const struct build_record *record), void *arg,
                      struct error *err)
{
    return waiters_add(builds->waiters, id, ended, arg, err);
}

struct s2i_hosts builds_hosts(const struct builds *builds)
{
    return s2i_hosts_of(builds->config->server_public_url, SLICE_NONE);
}

int builds_options_of(struct builds *builds, struct slice repository, struct s2i_options *out,
                      struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};

    *out = (struct s2i_options){.url = NULL};
    if (build_config_find(builds->storage, repository, &config, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    json_t *said = json_loads(config.spec, 0, NULL);
    int status = s2i_options_read(out, said, S2I_FROM_CONFIG, err);
    json_decref(said);
    if (status < 0)
        s2i_options_drop(out);
    return status;
}
