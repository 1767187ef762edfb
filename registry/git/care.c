/* care.c - repositories of sources between pushes: what an interrupted push left, objects that
 * nothing needs, sizes.
 * Touches  repositories that no push uses; a thread of its own.
 * Never    makes a push wait for more than a moment: care stops when one comes.
 *
 * Objects of rejected pushes are of no ref, and git drops them only when told to. A push that is
 * under way may count on such an object, so care and pushes exclude each other; a child of care can
 * be ended at any time. Spec: s2i 13.11, 13.15 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/config.h"
#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "registry/git/git_internal.h"
#include "s2i/confine.h"

enum {
    PACKS_MAX = 20,
    LOOSE_MAX = 3000,
    DEPTH_MAX = 130,
    CHILD_MS = 30 * 60 * 1000,
    TIPS_MAX = 16 * 1024 * 1024,
    SLACK = 16 * 1024 * 1024, /* bytes of packs that may be of no use */
};

struct care {
    pthread_t thread;
    pthread_cond_t work;
    bool ending; /* under git->lock */
};

/* --- places: with git->lock --- */

static struct place *place_find(struct git *git, struct slice name)
{
    struct place *place = git->places;

    while (place != NULL && !slice_equal_text(name, place->name))
        place = place->next;
    if (place != NULL)
        return place;
    place = memory_new(sizeof(*place));
    place->name = memory_text(name);
    place->last = &place->first;
    place->carer = -1;
    place->next = git->places;
    git->places = place;
    return place;
}

static void place_forget(struct git *git, struct place *place)
{
    struct place **at = &git->places;

    while (*at != place)
        at = &(*at)->next;
    *at = place->next;
    free(place->name);
    free(place);
}

static bool is_idle(const struct place *place)
{
    return place->pushes == 0 && place->looks == 0 && !place->used && !place->dirty &&
           !place->caring;
}

static void stop_care(struct place *place)
{
    place->yields = true;
    if (place->carer >= 0)
        syscall(SYS_pidfd_send_signal, place->carer, SIGTERM, NULL, 0);
}

/* Not with the lock: a repository of many refs has many folders. Other pushes to it wait, as for
 * care. */
static void sweep_once(struct git *git, struct place *place)
{
    OWNED(memory_drop) char *path = repository_path(git, slice_of(place->name));

    place->caring = true;
    pthread_mutex_unlock(&git->lock);
    repository_sweep(path);
    pthread_mutex_lock(&git->lock);
    place->caring = place->yields = false;
    place->swept = true;
    pthread_cond_broadcast(&git->place_changed);
}

struct place *place_enter(struct git *git, struct slice name)
{
    pthread_mutex_lock(&git->lock);
    struct place *place = place_find(git, name);
    bool first = place->pushes++ == 0; /* from now on no care begins */
    while (place->caring) {
        stop_care(place);
        pthread_cond_wait(&git->place_changed, &git->lock);
    }
    if (first && !place->swept)
        sweep_once(git, place);
    pthread_mutex_unlock(&git->lock);
    return place;
}

void place_leave(struct git *git, struct place *place, bool dirty)
{
    pthread_mutex_lock(&git->lock);
    place->pushes--;
    place->used = true;
    place->dirty |= dirty;
    place->swept &= !dirty;
    if (git->care != NULL)
        pthread_cond_signal(&git->care->work);
    pthread_mutex_unlock(&git->lock);
}

/* Refs change in pushes only, and none is under way where care removes something: whoever sees a
 * ref after he is counted reads what stays. */
const char *place_look(struct git *git, struct slice name, const char *path, struct place **looked)
{
    *looked = NULL;
    if (!repository_has_refs(path))
        return git->nothing;
    pthread_mutex_lock(&git->lock);
    struct place *place = place_find(git, name);
    place->looks++;
    pthread_mutex_unlock(&git->lock);
    if (repository_has_refs(path)) {
        *looked = place;
        return path;
    }
    pthread_mutex_lock(&git->lock);
    place_looked(git, place);
    pthread_mutex_unlock(&git->lock);
    return git->nothing;
}

void place_looked(struct git *git, struct place *place)
{
    if (--place->looks == 0 && place->lingers) {
        place->lingers = false;
        place->dirty = true;
        if (git->care != NULL)
            pthread_cond_signal(&git->care->work);
    } else if (is_idle(place) && place->clean_size == 0) { /* nothing is known of it */
        place_forget(git, place);
    }
}

static struct place *place_next(struct git *git)
{
    struct place *place = git->places;

    while (place != NULL && (!(place->used || place->dirty) || place->pushes > 0))
        place = place->next;
    return place;
}

/* --- children --- */

struct pass {
    struct git *git;
    struct place *place;
    const char *path;
};

/* A repository without a ref goes, unless somebody still reads what was there. */
static void remove_empty(const struct pass *pass)
{
    bool empty = !repository_has_refs(pass->path);

    pthread_mutex_lock(&pass->git->lock);
    pass->place->lingers = empty && pass->place->looks > 0;
    bool goes = empty && !pass->place->lingers;
    pthread_mutex_unlock(&pass->git->lock);
    if (goes)
        repository_remove_empty(pass->path);
}

static bool yields(const struct pass *pass)
{
    pthread_mutex_lock(&pass->git->lock);
    bool yes = pass->place->yields;
    pthread_mutex_unlock(&pass->git->lock);
    return yes;
}

static void carer_set(const struct pass *pass, int pidfd)
{
    pthread_mutex_lock(&pass->git->lock);
    pass->place->carer = pidfd;
    if (pidfd >= 0 && pass->place->yields)
        stop_care(pass->place);
    pthread_mutex_unlock(&pass->git->lock);
}

/* git with these words, in the repository; output may be -1. True: it did what it was told. */
static bool run_git(const struct pass *pass, const char *const *words, int output)
{
    OWNED(environment_drop) struct environment environment = {.count = 0};
    const char *const writable[] = {pass->path, NULL};
    OWNED(fd_drop) int pidfd = -1;
    struct error err = {0};
    int status = -1;
    pid_t pid;

    if (yields(pass))
        return false;
    environment_fill(pass->git, "/dev/null", &environment);
    const struct confinement with = {
        .words = words,
        .environment = (const char *const *)environment.items,
        .folder = pass->path,
        .writable = writable,
        .input = -1,
        .output = output,
        .errors = -1,
        .memory = pass->git->options.config->builds_git_memory,
        .cpu_s = CHILD_CPU_S,
    };
    if (confine_start(&with, &pid, &pidfd, &err) == 0) {
        carer_set(pass, pidfd);
        if (confine_wait(pid, pidfd, CHILD_MS, &status, &err) < 0)
            status = -1;
        carer_set(pass, -1);
    }
    if (status != 0 && !yields(pass))
        log_event(LOG_WARNING, "git.care", F_TEXT("repository", pass->place->name),
                  F_TEXT("command", words[1]), F_I64("status", status),
                  F_TEXT("cause", err.message));
    return status == 0;
}

static bool prune(const struct pass *pass)
{
    const char *const words[] = {pass->git->program, "prune", "--expire=now", NULL};

    return run_git(pass, words, -1);
}

static bool repack(const struct pass *pass)
{
    const char *const words[] = {pass->git->program, "repack", "-a", "-d", "-q", NULL};
    /* without --all: what pins commits for builds stays where it is dropped */
    const char *const refs[] = {pass->git->program, "pack-refs", NULL};

    return run_git(pass, words, -1) && run_git(pass, refs, -1);
}

/* --- sizes --- */

struct sizes {
    uint64_t bytes;
    size_t packs, loose;
};

static void folder_size(const char *path, const char *name, bool loose, struct sizes *out)
{
    OWNED(folder_drop) DIR *folder = repository_folder(path, name);
    const struct dirent *entry;
    struct stat info;

    while ((entry = folder_next(folder)) != NULL) {
        if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(info.st_mode))
            continue;
        out->bytes += (uint64_t)info.st_size;
        out->loose += loose;
        out->packs += !loose && slice_ends(slice_of(entry->d_name), ".pack");
    }
}

static struct sizes sizes_of(const char *path)
{
    struct sizes sizes = {0};
    char name[32];

    folder_size(path, "objects/pack", false, &sizes);
    for (unsigned i = 0; i < 256; i++) {
        snprintf(name, sizeof(name), "objects/%02x", i);
        folder_size(path, name, true, &sizes);
    }
    return sizes;
}

/* --- builds that have ended need their commits no more --- */

static bool build_needs(const struct git *git, struct slice name) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {0};
    struct error err = {0};
    uint64_t id;

    if (!slice_to_u64(name, &id))
        return true;
    if (build_find(git->options.storage, (int64_t)id, &record, &err) < 0)
        return err.code != ERROR_NOT_FOUND;
    return !build_state_ended(record.state);
}

static void drop_pins(const struct pass *pass) ON(worker_thread)
{
    OWNED(folder_drop) DIR *folder = repository_folder(pass->path, "refs/builds");
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL)
        if (entry->d_name[0] != '.' && !build_needs(pass->git, slice_of(entry->d_name)))
            unlinkat(dirfd(folder), entry->d_name, 0);
}

/* --- too large: only the newest commit of each ref is kept --- */

static bool tips_write(const struct pass *pass)
{
    const char *const words[] = {pass->git->program, "rev-list", "--no-walk", "--all", NULL};
    OWNED(buffer_drop) struct buffer tips = BUFFER_NONE;
    OWNED(fd_drop) int file = memfd_create("tips", MFD_CLOEXEC);
    struct error err = {0};

    return file >= 0 && run_git(pass, words, file) && lseek(file, 0, SEEK_SET) == 0 &&
           fd_read(file, TIPS_MAX, &tips) == 0 && tips.size > 0 &&
           repository_write(pass->path, "shallow", buffer_slice(&tips), &err) == 0;
}

static void shrink(const struct pass *pass, uint64_t size)
{
    log_event(LOG_WARNING, "git.shrink", F_TEXT("repository", pass->place->name),
              F_U64("size_bytes", size),
              F_TEXT("reason", "larger than builds.repository_max: its history is cut"));
    if (tips_write(pass) && repack(pass))
        prune(pass);
}

/* --- a pass --- */

/* Much that is small, or may be of no use. */
static bool repack_wanted(const struct place *place, struct sizes sizes, uint64_t limit)
{
    uint64_t clean = place->clean_size;

    return sizes.packs > PACKS_MAX || sizes.loose > LOOSE_MAX || sizes.bytes > limit ||
           (clean != 0 && sizes.bytes > clean + clean / 4 + SLACK);
}

/* dirty: there are objects of no ref. */
static void take_care(const struct pass *pass, bool dirty) ON(worker_thread)
{
    uint64_t limit = pass->git->options.config->builds_repository_max;
    struct place *place = pass->place;

    repository_sweep(pass->path);
    drop_pins(pass);
    if (dirty)
        remove_empty(pass);
    if (!repository_exists(pass->path))
        return;
    bool packed = repack_wanted(place, sizes_of(pass->path), limit);
    if ((packed && !repack(pass)) || ((packed || dirty) && !prune(pass)))
        return;
    struct sizes sizes = sizes_of(pass->path);
    if (sizes.bytes > limit)
        shrink(pass, sizes.bytes);
    if (packed || dirty || place->clean_size == 0)
        place->clean_size = sizes_of(pass->path).bytes;
}

/* With the lock, which it gives up meanwhile. Whether the repository is there afterwards. */
static bool care_of(struct git *git, struct place *place) ON(worker_thread)
{
    OWNED(memory_drop) char *path = repository_path(git, slice_of(place->name));
    const struct pass pass = {git, place, path};

    bool dirty = place->dirty;

    place->caring = true;
    place->used = place->dirty = place->yields = false;
    pthread_mutex_unlock(&git->lock);
    if (repository_exists(path))
        take_care(&pass, dirty);
    bool exists = repository_exists(path);
    pthread_mutex_lock(&git->lock);
    place->caring = false;
    if (place->yields) { /* it was cut short */
        place->used = true;
        place->dirty |= dirty;
    }
    place->swept = true;
    pthread_cond_broadcast(&git->place_changed);
    return exists;
}

/* Of a repository that nothing was pushed to since the server began: nothing is remembered. */
static void care_at_start(struct git *git, struct slice name) ON(worker_thread)
{
    pthread_mutex_lock(&git->lock);
    struct place *place = place_find(git, name);
    if (place->pushes > 0)
        place->used = true; /* soon */
    else if (!place->caring && !git->care->ending)
        care_of(git, place);
    if (is_idle(place))
        place_forget(git, place);
    pthread_mutex_unlock(&git->lock);
}

static bool is_ending(struct git *git)
{
    pthread_mutex_lock(&git->lock);
    bool ending = git->care->ending;
    pthread_mutex_unlock(&git->lock);
    return ending;
}

/* All there are, when the server begins: crashes leave things behind (13.11). root: bytes of the
 * path that are not the name. */
static void care_for_all(struct git *git, const char *path, size_t root, int depth)
    ON(worker_thread)
{
    OWNED(folder_drop) DIR *folder = opendir(path);
    const struct dirent *entry;

    while (!is_ending(git) && (entry = folder_next(folder)) != NULL) {
        OWNED(buffer_drop) struct buffer below = BUFFER_NONE;
        if (entry->d_name[0] == '.' || entry->d_type != DT_DIR || depth >= DEPTH_MAX)
            continue;
        buffer_print(&below, "%s/%s", path, entry->d_name);
        if (slice_ends(buffer_slice(&below), ".git"))
            care_at_start(git, (struct slice){below.at + root, below.size - root - 4});
        else
            care_for_all(git, below.at, root, depth + 1);
    }
}

static void *care_main(void *arg)
{
    struct git *git = arg;
    struct care *care = git->care;

    become_worker_thread();
    care_for_all(git, git->repositories, strlen(git->repositories) + 1, 0);
    pthread_mutex_lock(&git->lock);
    while (!care->ending) {
        struct place *place = place_next(git);
        if (place == NULL)
            pthread_cond_wait(&care->work, &git->lock);
        else if (!care_of(git, place) && is_idle(place))
            place_forget(git, place); /* its repository is gone */
    }
    pthread_mutex_unlock(&git->lock);
    return NULL;
}

int care_open(struct git *git, struct error *err)
{
    struct care *care = memory_new(sizeof(*care));

    pthread_cond_init(&care->work, NULL);
    git->care = care;
    int number = pthread_create(&care->thread, NULL, care_main, git);
    if (number == 0)
        return 0;
    pthread_cond_destroy(&care->work);
    memory_drop(&git->care);
    return error_set_errno(err, ERROR_UNAVAILABLE, number, "threads cannot be started");
}

void care_close(struct git *git)
{
    struct care *care = git->care;

    if (care == NULL)
        return;
    pthread_mutex_lock(&git->lock);
    care->ending = true;
    for (struct place *place = git->places; place != NULL; place = place->next)
        if (place->caring)
            stop_care(place);
    pthread_cond_signal(&care->work);
    pthread_mutex_unlock(&git->lock);
    pthread_join(care->thread, NULL);
    pthread_mutex_lock(&git->lock);
    git->care = NULL; /* pushes that end still look for it */
    pthread_mutex_unlock(&git->lock);
    pthread_cond_destroy(&care->work);
    free(care);
}
