/* storage.c - opens and closes a root; blobs; what memory answers.
 * Touches  the root folder, its lock, the blob store, the database.
 * Never    HTTP, JSON.
 *
 * (1) One process owns a root while its lock file is locked; the kernel unlocks it with the
 *     process, however it ends.
 * (2) Memory is told of a change after COMMIT and before the caller (cache (1)). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/backup.h"
#include "storage/meta.h"
#include "storage/meta_news.h"
#include "storage/notes.h"
#include "storage/pulls.h"
#include "storage/quota.h"
#include "storage/storage_internal.h"

enum { ROOT_MODE = 0700, LOCK_MODE = 0600, BOOT_ID_MAX = 64, NOTES_FLUSH_MS = 2000 };

static const char BOOT_ID_PATH[] = "/proc/sys/kernel/random/boot_id";

/* --- open and close --- */

/* A folder that was there may be one whose maker was killed before its name was synced; but above
 * the root there are others' that we may not open, and file systems that know no syncs. */
static bool parent_may_stay(int failed)
{
    return failed == EACCES || failed == EINVAL || failed == EROFS;
}

static int parent_sync(const char *path, bool made, struct error *err)
{
    OWNED(memory_drop) char *parent = memory_text(slice_of(path));
    char *slash = strrchr(parent, '/');

    if (slash != NULL)
        slash[slash == parent ? 1 : 0] = 0;
    int fd = open(slash == NULL ? "." : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    if (failed == 0 || (!made && parent_may_stay(failed)))
        return 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, failed, "folder %s cannot be synced", parent);
}

int folder_make(const char *path, struct error *err)
{
    bool made = mkdir(path, ROOT_MODE) == 0;

    if (!made && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be made", path);
    return parent_sync(path, made, err);
}

/* The folder and those above it. */
int root_make(const char *root, struct error *err)
{
    OWNED(memory_drop) char *path = memory_text(slice_of(root));
    size_t size = strlen(path);

    while (size > 1 && path[size - 1] == '/')
        path[--size] = 0;
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        int status = folder_make(path, err);
        *slash = '/';
        if (status < 0)
            return -1;
    }
    return folder_make(path, err);
}

int root_lock(const char *root, int *fd, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/lock", root);
    *fd = open(path.at, O_RDWR | O_CREAT | O_CLOEXEC, LOCK_MODE);
    if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return error_set(err, ERROR_UNAVAILABLE, "another process owns the storage root %s", root);
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "storage root %s cannot be locked", root);
}

/* backup (5) */
static int root_check(const char *root, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/" BACKUP_RESTORING, root);
    if (access(path.at, F_OK) < 0 && errno == ENOENT)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE,
                     "a restore into %s was cut off: run slipway restore again, or empty it", root);
}

/* "" when it cannot be read: then every boot counts as another one. */
static void boot_id_read(const char *path, char out[BOOT_ID_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, BOOT_ID_MAX - 1);

    out[got < 0 ? 0 : got] = 0;
    out[strcspn(out, "\n")] = 0;
    if (fd >= 0)
        close(fd);
}

/* After another boot, bytes that were not synced are in doubt: upload (2). */
static int recover(struct storage *store, struct error *err) ON(worker_thread)
{
    const char *path = store->options.boot_id_path;
    char now[BOOT_ID_MAX], then[BOOT_ID_MAX];
    bool found = false;

    boot_id_read(path == NULL ? BOOT_ID_PATH : path, now);
    if (meta_state_get(store->meta, STATE_BOOT, then, sizeof(then), &found, err) < 0)
        return -1;
    if (found && now[0] != 0 && strcmp(now, then) == 0)
        return 0;
    if (upload_recover(store, err) < 0 ||
        meta_state_put(store->meta, STATE_ORPHANS, STATE_ORPHANS_DUE, err) < 0)
        return -1;
    return meta_state_put(store->meta, STATE_BOOT, now, err);
}

static void forget_reads(void *cache)
{
    cache_invalidate_all(cache);
}

/* What was read may be undone, and what failed may turn out to have happened. */
static void recovered(void *arg)
{
    struct storage *store = arg;

    cache_invalidate_all(store->cache);
    accounts_changed(store);
}

static int storage_build(struct storage *store, struct error *err) ON(worker_thread)
{
    const struct storage_options *options = &store->options;

    if (root_make(options->root, err) < 0 || root_lock(options->root, &store->lock_fd, err) < 0 ||
        root_check(options->root, err) < 0 ||
        blob_store_open_fs(&store->blobs, options->root, err) < 0)
        return -1;
    store->cache = cache_open(options->cache_size_bytes);
    if (meta_open(&store->meta, options, (struct meta_after){recovered, store},
                  options->told == NULL ? NULL : meta_news_told, err) < 0)
        return -1;
    store->usage = usage_cache_open();
    store->quotas = quota_table_open(store->meta);
    store->meta->quotas = store->quotas;
    store->uploads = upload_table_open(store);
    if (recover(store, err) < 0)
        return -1;
    store->pulls = pulls_open(store->meta, options->pull_flush_ms);
    store->notes = notes_open(store->meta, NOTES_FLUSH_MS);
    store->trash = trash_open();
    if (collect_open(store, &store->collect, err) < 0)
        return -1;
    if (!options->resting) {
        collect_start(store->collect);
        store->sweep = sweep_open(store);
        store->scrub = scrub_open(store);
    }
    return 0;
}

int storage_open(struct storage **out, const struct storage_options *options, struct error *err)
{
    enum thread_role_kind role = become_worker_thread();
    struct storage *store = memory_new(sizeof(*store));

    store->lock_fd = -1;
    store->options = *options;
    store->options.root = memory_text(slice_of(options->root));
    if (options->boot_id_path != NULL)
        store->options.boot_id_path = memory_text(slice_of(options->boot_id_path));
    int status = storage_build(store, err);
    if (status == 0)
        *out = store;
    else
        storage_close(store);
    thread_role_current = role;
    return status;
}

void storage_close(struct storage *store)
{
    enum thread_role_kind role = become_worker_thread();

    if (store != NULL) {
        scrub_close(store->scrub);
        sweep_close(store->sweep);
        collect_close(store->collect);
        trash_close(store->trash);
        upload_table_close(store->uploads);
        quota_table_close(store->quotas);
        usage_cache_close(store->usage);
        pulls_close(store->pulls);
        notes_close(store->notes);
        meta_close(store->meta);
        cache_close(store->cache);
        blob_store_close(&store->blobs);
        if (store->lock_fd >= 0)
            close(store->lock_fd);
        free((void *)(uintptr_t)store->options.root);
        free((void *)(uintptr_t)store->options.boot_id_path);
        free(store);
    }
    thread_role_current = role;
}

int storage_ready(struct storage *store, struct error *err)
{
    if (store->blobs.driver->ready(store->blobs.self, store->options.min_free_bytes, err) < 0)
        return -1;
    return meta_ready(store->meta, err);
}

/* --- blobs --- */

/* What a writer tells memory after COMMIT. */
struct forget {
    struct cache *cache;
    struct cache_key key;
};

static void forget_key(void *arg)
{
    const struct forget *forget = arg;

    cache_invalidate(forget->cache, &forget->key);
}

/* The row, which memory keeps. */
static int blob_find(struct storage *store, struct slice repository, const struct digest *digest,
                     bool may_push, struct meta_blob *row, struct error *err) ON(worker_thread)
{
    struct cache_key key = cache_key_blob(repository, digest);
    struct cache_stamp stamp = cache_stamp(store->cache, &key);

    if (meta_blob_find(store->meta, repository, digest, may_push, row, err) < 0)
        return -1;
    cache_fill_blob(store->cache, &key, stamp, row->size, (uint64_t)row->lease_until);
    return 0;
}

int storage_blob_stat(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err)
{
    struct meta_blob row;

    if (blob_find(store, repository, digest, may_push, &row, err) < 0)
        return -1;
    *out = (struct blob){.digest = *digest, .size = row.size, .fd = -1};
    return 0;
}

int storage_blob_damage(struct storage *store, const struct digest *digest, const char *locator,
                        struct error *err)
{
    struct meta_after after = {forget_reads, store->cache};

    return meta_blob_damage(store->meta, digest, locator, &after, err);
}

int storage_blob_open(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err)
{
    const struct blob_store *blobs = &store->blobs;
    char tried[LOCATOR_SIZE + 1] = "";
    struct meta_blob row;
    int fd = -1;

    while (true) {
        if (blob_find(store, repository, digest, may_push, &row, err) < 0)
            return -1;
        if (strcmp(tried, row.locator) == 0)
            break; /* the same bytes again: they are damaged */
        memcpy(tried, row.locator, sizeof(tried));
        if (blobs->driver->open(blobs->self, row.locator, row.size, &fd, err) == 0) {
            *out = (struct blob){.digest = *digest, .size = row.size, .fd = fd};
            memcpy(out->locator, row.locator, sizeof(out->locator));
            return 0;
        }
        if (err->code != ERROR_BLOB_UNKNOWN)
            return -1;
        error_clear(err); /* perhaps a push healed it between the row and the file: look again */
    }
    if (storage_blob_damage(store, digest, row.locator, err) < 0)
        return -1;
    return error_set(err, ERROR_BLOB_UNKNOWN, "blob data is damaged or missing; push it again");
}

void storage_blob_close(struct blob *blob)
{
    if (blob->fd >= 0)
        close(blob->fd);
    blob->fd = -1;
}

void storage_blob_damaged(struct storage *store, const struct blob *blob)
{
    struct error ignored = {0}; /* the reader has gone; the next one meets the damage again */

    _Static_assert(sizeof(blob->locator) == LOCATOR_SIZE + 1, "a locator fits");
    if (storage_blob_damage(store, &blob->digest, blob->locator, &ignored) < 0)
        error_clear(&ignored);
}

bool storage_peek_blob(struct storage *store, struct slice repository, const struct digest *digest,
                       bool may_push, uint64_t *size)
{
    struct cache_key key = cache_key_blob(repository, digest);

    return cache_get_blob(store->cache, &key, may_push ? (uint64_t)clock_now_us() : 0, size);
}

int storage_blob_delete(struct storage *store, struct slice repository, const struct digest *digest,
                        struct error *err)
{
    struct forget forget = {store->cache, cache_key_blob(repository, digest)};
    struct meta_after after = {forget_key, &forget};

    return meta_blob_delete(store->meta, repository, digest, &after, err);
}

int storage_blob_mount(struct storage *store, struct slice repository, struct slice from,
                       const struct digest *digest, const struct actor *actor, bool *mounted,
                       struct error *err)
{
    if (meta_blob_mount(store->meta, repository, from, digest, actor, mounted, NULL, err) == 0)
        return 0;
    if (err->code != ERROR_QUOTA)
        return -1;
    error_clear(err); /* an upload that settles may count twice for a moment: its own will tell */
    *mounted = false;
    return 0;
}

int storage_blob_sources(struct storage *store, const struct digest *digest, size_t limit,
                         struct page *out, struct error *err)
{
    return meta_blob_sources(store->meta, digest, limit, out, err);
}

/* --- manifests in memory --- */

bool storage_peek_manifest(struct storage *store, struct slice repository,
                           const struct manifest_reference *reference, bool may_push,
                           const struct manifest **out)
{
    struct cache_key key = reference->tag.at != NULL
                               ? cache_key_tag(repository, reference->tag)
                               : cache_key_manifest(repository, &reference->digest);

    return cache_get_manifest(store->cache, &key, may_push ? (uint64_t)clock_now_us() : 0, out);
}
