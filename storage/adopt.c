/* adopt.c - takes files and tags of other registries into the store; see adopt.h.
 * Touches  blob bytes under fresh locators, uploads, blobs, links; reads the files it is given.
 * Never    writes to such a file; a blob already committed.
 *
 *   look -> P1: rows of sessions -> link, clone or copy, and hash, two at a time
 *        -> P2: files and their one folder synced -> P3: blobs and links, one transaction
 *
 * (1) A batch shares one shelf, so one folder is synced for all of it, by each thread that syncs;
 *     its locators stay random.
 * (2) What does not match its digest goes to trash before the batch ends. */
#include "storage/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "storage/meta_adopt.h"
#include "storage/storage_internal.h"

enum {
    BATCH_COUNT = 64,
    BATCH_BYTES = 256 << 20, /* what waits for one sync, unless a single file is larger */
    HASH_THREADS = 2,
    SYNC_THREADS = 8, /* they only wait */
    PIECE_SIZE = 1 << 18,
    TOUCH_MS = 60000,
};

struct batch {
    struct storage *store; /* immutable, as all up to the lock */
    struct slice repository;
    const struct adopt_options *options;
    struct adopt_blob *blobs; /* each is one thread's at a time, as items and writers */
    struct meta_adopt items[BATCH_COUNT];
    struct blob_writer *writers[BATCH_COUNT];
    size_t count;
    pthread_mutex_t lock; /* guards what follows, and calls of options->progress */
    size_t next;
    uint64_t touched_ms;
    bool stopped;
};

static void batch_drop(struct batch **owned)
{
    struct batch *batch = *owned;

    for (size_t i = 0; i < batch->count; i++)
        batch->store->blobs.driver->writer_close(batch->writers[i]);
    pthread_mutex_destroy(&batch->lock);
    free(batch);
}

/* --- bytes, on the threads that hash --- */

/* Now and then: whether to stop; and rows of sessions must not expire while a large file comes. */
static bool goes_on(struct batch *batch) ON(worker_thread)
{
    uint64_t now = clock_monotonic_ms(), ttl_ms = batch->store->options.upload_ttl_ms;
    struct error ignored = {0}; /* without the row P3 fails */

    pthread_mutex_lock(&batch->lock);
    batch->stopped = batch->stopped || progress_cancelled(batch->options->progress);
    bool stopped = batch->stopped;
    bool touch = now - batch->touched_ms > (ttl_ms / 4 < TOUCH_MS ? ttl_ms / 4 : TOUCH_MS);
    if (touch)
        batch->touched_ms = now;
    pthread_mutex_unlock(&batch->lock);
    if (touch && !stopped &&
        meta_adopt_touch(batch->store->meta, batch->items, batch->count, &ignored) < 0)
        error_clear(&ignored);
    return !stopped;
}

static int stopped(struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "stopped before it was read");
}

static int check_digest(const struct hasher *hasher, const struct digest *wanted, struct error *err)
{
    struct digest found;

    hasher_digest(hasher, &found);
    if (digest_equal(&found, wanted))
        return 0;
    return error_set(err, ERROR_DIGEST_INVALID, "the file does not match its digest");
}

/* What a link or a clone holds. */
static int verify(struct batch *batch, size_t at, struct error *err) ON(worker_thread)
{
    const struct blob_driver *driver = batch->store->blobs.driver;
    const struct descriptor *blob = &batch->items[at].blob;
    OWNED(memory_drop) void *piece = memory_new(PIECE_SIZE);
    struct hasher hasher;

    hasher_start(&hasher, blob->digest.algorithm);
    for (uint64_t offset = 0; offset < blob->size;) {
        uint64_t left = blob->size - offset;
        size_t size = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;
        if (!goes_on(batch))
            return stopped(err);
        if (driver->writer_read(batch->writers[at], offset, piece, size, err) < 0)
            return -1;
        hasher_update(&hasher, piece, size);
        offset += size;
    }
    return check_digest(&hasher, &blob->digest, err);
}

static ssize_t read_piece(int fd, void *out)
{
    ssize_t got;

    do
        got = read(fd, out, PIECE_SIZE);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Hashed on the way, which costs less than reading it again. */
static int copy(struct batch *batch, size_t at, int source, struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &batch->store->blobs;
    struct descriptor *blob = &batch->items[at].blob;
    OWNED(memory_drop) char *piece = memory_new(PIECE_SIZE);
    struct hasher hasher;
    ssize_t got;

    hasher_start(&hasher, blob->digest.algorithm);
    if (blobs->driver->writer_open(blobs->self, batch->items[at].locator, 0, &batch->writers[at],
                                   err) < 0)
        return -1;
    blob->size = 0;
    while ((got = read_piece(source, piece)) > 0) {
        if (!goes_on(batch))
            return stopped(err);
        if (blobs->driver->writer_append(batch->writers[at], (struct slice){piece, (size_t)got},
                                         err) < 0)
            return -1;
        if (!batch->options->trusting)
            hasher_update(&hasher, piece, (size_t)got);
        blob->size += (uint64_t)got;
    }
    if (got < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the file cannot be read");
    return batch->options->trusting ? 0 : check_digest(&hasher, &blob->digest, err);
}

/* False when the file cannot be had that way: err says why. */
static bool adopt_as(struct batch *batch, size_t at, int source, bool link, struct error *err)
{
    const struct blob_store *blobs = &batch->store->blobs;

    return blobs->driver->adopt(blobs->self, batch->items[at].locator, source, link,
                                &batch->writers[at], err) == 0;
}

/* What is linked stays in the old owner's hands too: not unless asked for. */
static bool try_modes(struct batch *batch, size_t at, int source, struct error *err)
{
    enum adopt_mode mode = batch->options->mode;
    bool done = false;

    if (mode == ADOPT_AUTO || mode == ADOPT_REFLINK) {
        done = adopt_as(batch, at, source, false, err);
        batch->blobs[at].outcome = ADOPT_CLONED;
    }
    if (mode == ADOPT_LINK) {
        done = adopt_as(batch, at, source, true, err);
        batch->blobs[at].outcome = ADOPT_LINKED;
    }
    return done;
}

static int bring_from(struct batch *batch, size_t at, int source, struct error *err)
    ON(worker_thread)
{
    struct adopt_blob *blob = &batch->blobs[at];
    struct stat file;

    if (fstat(source, &file) < 0 || !S_ISREG(file.st_mode))
        return error_set(err, ERROR_BLOB_UNKNOWN, "it is not a file");
    if (blob->size_known && blob->size != (uint64_t)file.st_size)
        return error_set(err, ERROR_SIZE_INVALID, "the file has %llu bytes instead of %llu",
                         (unsigned long long)file.st_size, (unsigned long long)blob->size);
    batch->items[at].blob.size = (uint64_t)file.st_size;
    if (try_modes(batch, at, source, err))
        return batch->options->trusting ? 0 : verify(batch, at, err);
    if (batch->options->mode != ADOPT_AUTO && batch->options->mode != ADOPT_COPY)
        return -1;
    if (err->code != ERROR_NONE && err->code != ERROR_UNSUPPORTED)
        return -1; /* the disk is full, or worse */
    error_clear(err);
    blob->outcome = ADOPT_COPIED;
    return copy(batch, at, source, err);
}

/* A pipe must not make us wait. What is not hashed must lie where it is said to: a link could lead
 * to any file that we may read. */
static int open_source(const char *path, bool trusting, int *out, struct error *err)
{
    *out = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (trusting ? O_NOFOLLOW : 0));
    if (*out >= 0)
        return 0;
    if (errno == ENOENT || errno == ENOTDIR)
        return error_set(err, ERROR_BLOB_UNKNOWN, "there is no file of it");
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the file cannot be opened");
}

static void bring(struct batch *batch, size_t at) ON(worker_thread)
{
    struct adopt_blob *blob = &batch->blobs[at];
    OWNED(fd_drop) int source = -1;

    if (open_source(blob->path, batch->options->trusting, &source, &blob->why) < 0 ||
        bring_from(batch, at, source, &blob->why) < 0)
        blob->outcome = ADOPT_FAILED;
}

/* The next one that has a session; count at the end. */
static size_t take_next(struct batch *batch)
{
    pthread_mutex_lock(&batch->lock);
    while (batch->next < batch->count && batch->items[batch->next].id[0] == 0)
        batch->next++;
    size_t at = batch->next < batch->count ? batch->next++ : batch->count;
    pthread_mutex_unlock(&batch->lock);
    return at;
}

static void *bring_all(void *arg)
{
    struct batch *batch = arg;
    size_t at;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    while ((at = take_next(batch)) < batch->count)
        bring(batch, at);
    return NULL;
}

/* A thread that cannot be had is done without. */
static void bring_bytes(struct batch *batch)
{
    pthread_t threads[HASH_THREADS - 1];
    size_t started = 0;

    while (started < HASH_THREADS - 1 && batch->count > 1 &&
           pthread_create(&threads[started], NULL, bring_all, batch) == 0)
        started++;
    bring_all(batch);
    while (started > 0)
        pthread_join(threads[--started], NULL);
}

/* --- the batch --- */

/* The bytes the store has: there, and as many. What is not is marked, and comes anew. */
static int check_here(struct batch *batch, struct meta_adopt *item, struct error *err)
    ON(worker_thread)
{
    const struct blob_store *blobs = &batch->store->blobs;
    OWNED(fd_drop) int fd = -1;

    if (blobs->driver->open(blobs->self, item->locator, item->blob.size, &fd, err) == 0)
        return 0;
    if (err->code != ERROR_BLOB_UNKNOWN)
        return -1;
    error_clear(err);
    struct blob damaged = {.digest = item->blob.digest};
    memcpy(damaged.locator, item->locator, sizeof(damaged.locator));
    storage_blob_damaged(batch->store, &damaged);
    item->state = META_ADOPT_ABSENT;
    return 0;
}

static int look(struct batch *batch, struct error *err) ON(worker_thread)
{
    if (meta_adopt_look(batch->store->meta, batch->repository, batch->items, batch->count, err) < 0)
        return -1;
    for (size_t i = 0; i < batch->count; i++) {
        struct meta_adopt *item = &batch->items[i];
        if (item->state != META_ADOPT_ABSENT && check_here(batch, item, err) < 0)
            return -1;
        batch->blobs[i].outcome = item->linked ? ADOPT_PRESENT : ADOPT_MOUNTED;
        error_clear(&batch->blobs[i].why);
    }
    return 0;
}

/* P1 of what is absent. (1) */
static int start(struct batch *batch, struct error *err) ON(worker_thread)
{
    char shelf[LOCATOR_SIZE + 1];
    bool any = false;

    locator_new(shelf);
    for (size_t i = 0; i < batch->count; i++) {
        struct meta_adopt *item = &batch->items[i];
        if (item->state != META_ADOPT_ABSENT)
            continue;
        oci_upload_id_new(item->id);
        locator_new_beside(shelf, item->locator);
        any = true;
    }
    batch->touched_ms = clock_monotonic_ms();
    return any ? meta_adopt_start(batch->store->meta, batch->repository, batch->items, batch->count,
                                  batch->options->actor, err)
               : 0;
}

/* (2) */
static int discard(struct batch *batch, size_t at, struct error *err) ON(worker_thread)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];

    memcpy(id, batch->items[at].id, sizeof(id));
    batch->items[at].id[0] = 0;
    batch->items[at].state = META_ADOPT_HERE; /* nothing more is to be done about it */
    return id[0] == 0 ? 0 : meta_upload_discard(batch->store->meta, id, err);
}

/* Some of the writers of a batch, for one thread that waits for the disk. */
struct share {
    const struct blob_driver *driver;
    struct blob_writer *writers[BATCH_COUNT];
    const struct digest *digests[BATCH_COUNT];
    size_t count;
    pthread_t thread;
    bool started;
    int status;
    struct error err;
};

static void *share_commit(void *arg)
{
    struct share *share = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    if (share->count > 0)
        share->status = share->driver->writers_commit(share->writers, share->digests, share->count,
                                                      &share->err);
    return NULL;
}

/* Syncs that wait beside each other are one journal's commit, and one flush of the disk. */
static int shares_commit(struct share *shares, struct error *err)
{
    int status = 0;

    for (size_t i = 1; i < SYNC_THREADS; i++)
        shares[i].started = shares[i].count > 0 &&
                            pthread_create(&shares[i].thread, NULL, share_commit, &shares[i]) == 0;
    for (size_t i = 0; i < SYNC_THREADS; i++)
        if (!shares[i].started)
            share_commit(&shares[i]);
    for (size_t i = 0; i < SYNC_THREADS; i++) {
        if (shares[i].started)
            pthread_join(shares[i].thread, NULL);
        if (shares[i].status < 0 && status == 0) {
            *err = shares[i].err;
            status = -1;
        }
    }
    return status;
}

/* P2's end. */
static int settle(struct batch *batch, struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) struct share *shares = memory_new(SYNC_THREADS * sizeof(*shares));
    size_t next = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].id[0] == 0)
            continue;
        if (batch->blobs[i].outcome == ADOPT_FAILED) {
            if (discard(batch, i, err) < 0)
                return -1;
            continue;
        }
        struct share *share = &shares[next++ % SYNC_THREADS];
        share->driver = batch->store->blobs.driver;
        share->writers[share->count] = batch->writers[i];
        share->digests[share->count++] = &batch->items[i].blob.digest;
    }
    return shares_commit(shares, err);
}

static int finish_from(struct batch *batch, size_t at, size_t count, struct error *err)
    ON(worker_thread)
{
    return meta_adopt_finish(batch->store->meta, batch->repository, &batch->items[at], count,
                             batch->options->actor, err);
}

/* P3. What a quota has no room for is found one by one. */
static int finish(struct batch *batch, struct error *err) ON(worker_thread)
{
    int status = finish_from(batch, 0, batch->count, err);

    if (status == 0 || err->code != ERROR_QUOTA)
        return status;
    error_clear(err);
    for (size_t i = 0; i < batch->count; i++) {
        struct adopt_blob *blob = &batch->blobs[i];
        if (finish_from(batch, i, 1, &blob->why) == 0)
            continue;
        if (blob->why.code != ERROR_QUOTA) {
            *err = blob->why;
            return -1;
        }
        blob->outcome = ADOPT_FAILED;
        if (discard(batch, i, err) < 0)
            return -1;
    }
    return 0;
}

static void tell(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct adopt_blob *blob = &batch->blobs[i];
        if (batch->items[i].state == META_ADOPT_ABSENT && batch->items[i].id[0] == 0 &&
            blob->outcome != ADOPT_FAILED) {
            /* it was elsewhere, and was collected in the very moment */
            blob->outcome = ADOPT_FAILED;
            error_set(&blob->why, ERROR_UNAVAILABLE, "it was removed meanwhile; try again");
        }
        if (blob->outcome != ADOPT_FAILED)
            blob->size = batch->items[i].blob.size;
    }
}

static int run_batch(struct batch *batch, struct error *err) ON(worker_thread)
{
    if (look(batch, err) < 0 || start(batch, err) < 0)
        return -1;
    bring_bytes(batch);
    if (settle(batch, err) < 0 || finish(batch, err) < 0)
        return -1;
    tell(batch);
    return 0;
}

static uint64_t source_size(const char *path)
{
    struct stat file;

    return stat(path, &file) == 0 && file.st_size > 0 ? (uint64_t)file.st_size : 0;
}

/* How many of the first blobs make a batch. */
static size_t batch_size(const struct adopt_blob *blobs, size_t count)
{
    uint64_t bytes = 0;
    size_t taken = 0;

    while (taken < count && taken < BATCH_COUNT) {
        bytes += source_size(blobs[taken].path);
        if (taken > 0 && bytes > BATCH_BYTES)
            break;
        taken++;
    }
    return taken;
}

static int adopt_batch(struct storage *store, struct slice repository, struct adopt_blob *blobs,
                       size_t count, const struct adopt_options *options, struct error *err)
    ON(worker_thread)
{
    OWNED(batch_drop) struct batch *batch = memory_new(sizeof(*batch));

    *batch = (struct batch){.store = store,
                            .repository = repository,
                            .options = options,
                            .blobs = blobs,
                            .count = count};
    pthread_mutex_init(&batch->lock, NULL);
    for (size_t i = 0; i < count; i++)
        batch->items[i].blob.digest = blobs[i].digest;
    return run_batch(batch, err);
}

int storage_adopt_blobs(struct storage *store, struct slice repository, struct adopt_blob *blobs,
                        size_t count, const struct adopt_options *options, struct error *err)
{
    assert_worker_thread();
    for (size_t at = 0; at < count;) {
        size_t taken = batch_size(blobs + at, count - at);
        if (adopt_batch(store, repository, blobs + at, taken, options, err) < 0)
            return -1;
        at += taken;
    }
    return 0;
}

int storage_adopt_look(struct storage *store, struct slice repository, struct adopt_blob *blobs,
                       size_t count, struct error *err)
{
    OWNED(memory_drop) struct meta_adopt *items = memory_new((count + 1) * sizeof(*items));

    assert_worker_thread();
    for (size_t i = 0; i < count; i++)
        items[i].blob.digest = blobs[i].digest;
    if (meta_adopt_look(store->meta, repository, items, count, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        bool absent = items[i].state == META_ADOPT_ABSENT;
        blobs[i].outcome = absent ? ADOPT_FAILED : items[i].linked ? ADOPT_PRESENT : ADOPT_MOUNTED;
        if (!absent)
            blobs[i].size = items[i].blob.size;
    }
    return 0;
}
