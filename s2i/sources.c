/* sources.c - bare repositories of what was pushed, when their repository is deleted or comes back.
 * Touches  <root>/builds/repos, deleted, scratch; rows of repositories that go and come back.
 * Never    reads one.
 *
 * (1) They go aside before the row does, durably: whenever the server dies, the next owner of the
 *     name finds none. Those of a repository that did not go after all go back, at the next start
 *     if need be. One repository goes or comes at a time.
 *
 *   repos/<name>.git --aside--> deleted/<id>.git --back--> repos/<name>.git
 *                                    |--gc.undo has passed--> scratch --> gone */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "s2i/queue.h"
#include "storage/content.h"

static void path_live(const struct builds *builds, struct slice repository, struct buffer *out)
{
    buffer_print(out, "%s/%.*s.git", builds->repositories, SLICE_ARG(repository));
}

static void path_aside(const struct builds *builds, int64_t id, struct buffer *out)
{
    buffer_print(out, "%s/%lld.git", builds->deleted, (long long)id);
}

/* The folder that holds it. */
static int sync_above(const struct buffer *path)
{
    const char *end = strrchr(path->at, '/');
    OWNED(memory_drop)
    char *above = memory_text((struct slice){path->at, (size_t)(end - path->at)});

    return folder_sync(above);
}

/* Never over what is there; nothing to move is success. -1 with errno. */
static int move(const struct buffer *from, const struct buffer *to)
{
    if (renameat2(AT_FDCWD, from->at, AT_FDCWD, to->at, RENAME_NOREPLACE) < 0)
        return errno == ENOENT ? 0 : -1;
    return sync_above(from) < 0 ? -1 : sync_above(to);
}

/* By way of scratch: what a crash leaves there goes at the next start. */
static int discard(const struct builds *builds, const char *path, int64_t id)
{
    OWNED(buffer_drop) struct buffer scratch = BUFFER_NONE;

    buffer_print(&scratch, "%s/deleted-%lld.git", builds->scratch, (long long)id);
    folder_erase(AT_FDCWD, scratch.at);
    if (rename(path, scratch.at) < 0)
        return errno == ENOENT ? 0 : -1;
    folder_erase(AT_FDCWD, scratch.at);
    return 0;
}

/* What lies there was left by one that came back and found newer ones: those are kept. */
static int aside(const struct builds *builds, struct slice repository, int64_t id)
{
    OWNED(buffer_drop) struct buffer live = BUFFER_NONE, away = BUFFER_NONE;

    path_live(builds, repository, &live);
    path_aside(builds, id, &away);
    if (access(live.at, F_OK) < 0)
        return errno == ENOENT ? 0 : -1;
    if (move(&live, &away) == 0)
        return 0;
    return errno != EEXIST || discard(builds, away.at, id) < 0 ? -1 : move(&live, &away);
}

static void back(const struct builds *builds, struct slice repository, int64_t id)
{
    OWNED(buffer_drop) struct buffer live = BUFFER_NONE, away = BUFFER_NONE;

    path_live(builds, repository, &live);
    path_aside(builds, id, &away);
    if (move(&away, &live) < 0)
        log_event(LOG_WARNING, "build.sources", F_SLICE("repository", repository),
                  F_TEXT("cause", strerror(errno)));
}

/* --- repositories that go, and come back --- */

/* Whatever stands under the name after all was pushed while the row went. */
static void discard_live(const struct builds *builds, struct slice repository, int64_t id)
{
    OWNED(buffer_drop) struct buffer live = BUFFER_NONE;

    path_live(builds, repository, &live);
    if (discard(builds, live.at, id) < 0)
        log_event(LOG_WARNING, "build.sources", F_SLICE("repository", repository),
                  F_TEXT("cause", strerror(errno)));
}

static int delete_locked(struct builds *builds, struct slice name,
                         const struct content_change *change, struct error *err) ON(worker_thread)
{
    OWNED(repository_drop) struct repository found = {.id = 0};
    OWNED(memory_drop) char *still = NULL;
    struct content_repository_size size;
    struct error ignored = {0};

    if (repository_find(builds->storage, name, &found, err) < 0)
        return -1;
    if (aside(builds, name, found.id) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "its sources cannot be moved");
    if (content_repository_delete(builds->storage, name, change, &size, err) == 0) {
        discard_live(builds, name, found.id);
        return 0;
    }
    if (content_repository_name(builds->storage, found.id, &still, &ignored) == 0)
        back(builds, slice_of(still), found.id);
    return -1;
}

int builds_repository_delete(struct builds *builds, struct slice name,
                             const struct content_change *change, struct error *err)
{
    pthread_mutex_lock(&builds->moving);
    int outcome = delete_locked(builds, name, change, err);
    pthread_mutex_unlock(&builds->moving);
    return outcome;
}

static int restore_locked(struct builds *builds, struct slice name, int64_t id,
                          const struct content_change *change, struct error *err) ON(worker_thread)
{
    OWNED(repository_drop) struct repository found = {.id = 0};

    if (content_repository_restore(builds->storage, name, id, change, err) < 0 ||
        repository_find(builds->storage, name, &found, err) < 0)
        return -1;
    back(builds, name, found.id);
    return 0;
}

int builds_repository_restore(struct builds *builds, struct slice name, int64_t id,
                              const struct content_change *change, struct error *err)
{
    pthread_mutex_lock(&builds->moving);
    int outcome = restore_locked(builds, name, id, change, err);
    pthread_mutex_unlock(&builds->moving);
    return outcome;
}

/* The id of "<id>.git"; 0: it is none. */
static int64_t id_of(const char *name)
{
    struct slice digits = slice_of(name);
    uint64_t id;

    if (!slice_ends(digits, ".git"))
        return 0;
    digits.size -= 4;
    return slice_to_u64(digits, &id) && id <= INT64_MAX ? (int64_t)id : 0;
}

int sources_settle(struct builds *builds, struct error *err)
{
    OWNED(folder_drop) DIR *folder = opendir(builds->deleted);
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL) {
        OWNED(memory_drop) char *name = NULL;
        int64_t id = id_of(entry->d_name);
        if (id == 0)
            continue;
        if (content_repository_name(builds->storage, id, &name, err) == 0) {
            back(builds, slice_of(name), id);
            continue;
        }
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    return 0;
}

/* --- the end --- */

/* Moving it changed its ctime. */
static bool is_due(const struct builds *builds, const char *path)
{
    uint64_t now_ms = (uint64_t)clock_now_us() / 1000;
    struct stat status;

    if (lstat(path, &status) < 0)
        return false;
    uint64_t moved_ms = (uint64_t)status.st_ctim.tv_sec * 1000;
    return moved_ms <= now_ms && now_ms - moved_ms >= builds->config->gc_undo;
}

void sources_sweep(struct builds *builds)
{
    OWNED(folder_drop) DIR *folder = opendir(builds->deleted);
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        if (entry->d_name[0] == '.')
            continue;
        buffer_print(&path, "%s/%s", builds->deleted, entry->d_name);
        if (is_due(builds, path.at))
            (void)discard(builds, path.at, id_of(entry->d_name));
    }
}
