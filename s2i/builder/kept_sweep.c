/* kept_sweep.c - what is kept of failed builds goes: by time, by number, by size.
 * Touches  the folder kept of the builder (kept.c says what stands in it).
 * Never    removes what somebody looks at. */
#include "s2i/builder/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"

enum { NAME_SIZE = 48, KEPT_MAX = 16, SHARE = 4, AGAIN_S = 60, BUSY_S = 1 };

struct entry {
    char name[NAME_SIZE];
    int64_t until;
    uint64_t bytes;
};

static bool look(int all, const char *name, struct entry *out)
{
    OWNED(fd_drop) int folder = openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    struct stat about;

    if (folder < 0 || fstatat(folder, "lock", &about, 0) < 0 ||
        snprintf(out->name, sizeof(out->name), "%s", name) >= (int)sizeof(out->name))
        return false;
    out->until = about.st_mtim.tv_sec;
    out->bytes = tree_bytes(folder);
    return true;
}

/* Of two in one second the earlier build: names are numbers. */
static int by_end(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    size_t size = strlen(one->name), size_other = strlen(other->name);

    if (one->until != other->until)
        return one->until < other->until ? -1 : 1;
    return size != size_other ? (size < size_other ? -1 : 1) : strcmp(one->name, other->name);
}

/* Somebody who looks keeps it. It is renamed first, so that nobody takes a half for the whole. */
static bool evict(int all, const char *name)
{
    char path[NAME_SIZE + 8], gone[NAME_SIZE + 8];

    snprintf(path, sizeof(path), "%s/lock", name);
    snprintf(gone, sizeof(gone), "%s.gone", name);
    OWNED(fd_drop) int lock = openat(all, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0 || renameat(all, name, all, gone) < 0)
        return false;
    if (folder_erase(all, gone) < 0)
        errno = 0; /* the next start */
    return true;
}

static size_t gather(int all, bool halves, struct entry **out, uint64_t *bytes)
{
    OWNED(folder_drop) DIR *open = folder_open(all, ".");
    size_t count = 0;

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        if (strchr(entry->d_name, '.') != NULL) {
            if (halves && folder_erase(all, entry->d_name) < 0)
                errno = 0;
            continue;
        }
        *out = memory_resize(*out, (count + 1) * sizeof(**out));
        if (look(all, entry->d_name, &(*out)[count]))
            *bytes += (*out)[count++].bytes;
    }
    return count;
}

/* One process at a time: two that count the same would remove one more than is too many. */
static int64_t sweep(int all, unsigned long long cache_max, bool halves)
{
    OWNED(memory_drop) struct entry *entries = NULL;
    int64_t now = clock_now_us() / US_PER_S, next = 0;
    uint64_t bytes = 0;
    size_t count = gather(all, halves, &entries, &bytes), left = count;

    if (count == 0)
        return 0;
    qsort(entries, count, sizeof(*entries), by_end);
    for (size_t i = 0; i < count; i++) {
        bool due = entries[i].until <= now || left > KEPT_MAX || bytes > cache_max / SHARE;
        if (due && evict(all, entries[i].name)) {
            left--;
            bytes -= entries[i].bytes;
        } else if (next == 0) /* who looks keeps it for a while */
            next = due ? now + AGAIN_S : entries[i].until;
    }
    return next;
}

/* Who sweeps may have counted already: who does not wait comes again. */
int64_t kept_sweep(int all, unsigned long long cache_max, bool halves, bool wait)
{
    int failed;

    while ((failed = flock(all, LOCK_EX | (wait ? 0 : LOCK_NB))) < 0 && errno == EINTR)
        continue;
    if (failed < 0)
        return clock_now_us() / US_PER_S + BUSY_S;
    int64_t next = sweep(all, cache_max, halves);
    flock(all, LOCK_UN);
    return next;
}

bool kept_uses(int all, const char *layer)
{
    OWNED(folder_drop) DIR *open = folder_open(all, ".");
    char path[LAYER_NAME_MAX + 300];

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        snprintf(path, sizeof(path), "%s/layers/%s", entry->d_name, layer);
        if (faccessat(all, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return true;
    }
    return false;
}
