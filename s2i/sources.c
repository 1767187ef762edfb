/* sources.c - bare repositories of what was pushed, when their repository is deleted or comes back.
 * Touches  <root>/builds/repos, deleted, scratch.
 * Never    reads one.
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

static void path_live(const struct builds *builds, struct slice repository, struct buffer *out)
{
    buffer_print(out, "%s/%.*s.git", builds->repositories, SLICE_ARG(repository));
}

static void path_aside(const struct builds *builds, int64_t id, struct buffer *out)
{
    buffer_print(out, "%s/%lld.git", builds->deleted, (long long)id);
}

/* Never over what is there; nothing to move is success. */
static void move(const struct buffer *from, const struct buffer *to, struct slice repository)
{
    if (renameat2(AT_FDCWD, from->at, AT_FDCWD, to->at, RENAME_NOREPLACE) < 0 && errno != ENOENT)
        log_event(LOG_WARNING, "build.sources", F_SLICE("repository", repository),
                  F_TEXT("cause", strerror(errno)));
}

void builds_sources_aside(struct builds *builds, struct slice repository, int64_t id)
{
    OWNED(buffer_drop) struct buffer live = BUFFER_NONE, aside = BUFFER_NONE;

    path_live(builds, repository, &live);
    path_aside(builds, id, &aside);
    move(&live, &aside, repository);
}

void builds_sources_back(struct builds *builds, struct slice repository, int64_t id)
{
    OWNED(buffer_drop) struct buffer live = BUFFER_NONE, aside = BUFFER_NONE;

    path_live(builds, repository, &live);
    path_aside(builds, id, &aside);
    move(&aside, &live, repository);
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

/* By way of scratch: what a crash leaves there goes at the next start. */
static void remove_aside(const struct builds *builds, const char *path, const char *name)
{
    OWNED(buffer_drop) struct buffer scratch = BUFFER_NONE;

    buffer_print(&scratch, "%s/deleted-%s", builds->scratch, name);
    if (rename(path, scratch.at) == 0)
        folder_erase(AT_FDCWD, scratch.at);
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
            remove_aside(builds, path.at, entry->d_name);
    }
}
