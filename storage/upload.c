/* upload.c - upload sessions: takes a blob in pieces and makes it durable.
 * Touches  bytes under the session's locator, the table uploads.
 * Never    HTTP, another session, a blob already committed.
 *
 *   OPEN --append--> OPEN --finish--> COMMITTED      OPEN --cancel, expire, mismatch--> GONE
 *
 * (1) A blob can be read only once its bytes and its folder's entry are synced: the row that makes
 *     it one is written after both.
 * (2) After a crash a session stands at an offset its client may have been told, or is gone: after
 *     the death of the process at the end of its file, after a power cut at its last checkpoint.
 * (3) One writer at a time: a call of a writer that lost its claim changes nothing.
 * (4) After a failed sync the session is gone; that sync is never tried again. */
#include "registry/core/clock.h"
#include "storage/quota.h"
#include "storage/session.h"

#include <stdlib.h>
#include <string.h>

enum {
    TAKEOVER_MS = 1500,       /* a writer that stood still for so long gives way (UPL-15) */
    SYNC_WAIT_MS = 1500,      /* before looking again */
    READ_BACK_SIZE = 1 << 18, /* bytes at a time */
    STATUS_RANGE = 416,
    STATUS_TOO_LARGE = 413,
};

/* A claim. Immutable; used by one thread at a time. */
struct upload {
    struct upload_table *table;
    struct session *session; /* one reference */
};

static int unknown(struct error *err)
{
    return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "upload session is unknown");
}

static int lost(struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "upload session was lost: its data cannot be synced");
}

int storage_upload_start(struct storage *store, struct slice repository,
                         enum digest_algorithm algorithm, const struct actor *actor, char *id,
                         struct error *err)
{
    char locator[LOCATOR_SIZE + 1];

    oci_upload_id_new(id);
    locator_new(locator);
    return meta_upload_start(store->meta, repository, id, locator, algorithm, actor, err);
}

/* --- what a session's file and row say --- */

/* The row, and how many bytes the file holds. BLOB_UPLOAD_UNKNOWN also when the file holds less
 * than the row says: such a session is discarded. */
static int session_read(struct storage *store, struct slice repository, struct slice id,
                        struct meta_upload *row, uint64_t *size, struct error *err)
    ON(worker_thread)
{
    if (!oci_upload_id_valid(id))
        return unknown(err);
    if (meta_upload_find(store->meta, repository, id, row, err) < 0 ||
        store->blobs.driver->size(store->blobs.self, row->locator, size, err) < 0)
        return -1;
    if (*size >= row->synced)
        return 0;
    if (meta_upload_cancel(store->meta, repository, id, err) < 0)
        return -1;
    return unknown(err);
}

/* Hashes what the writer holds from one offset to another. */
static int hash_written(const struct blob_driver *driver, struct blob_writer *writer,
                        struct hasher *hasher, uint64_t from, uint64_t to, struct error *err)
{
    OWNED(memory_drop) void *piece = memory_new(READ_BACK_SIZE);

    while (from < to) {
        size_t size = to - from < READ_BACK_SIZE ? (size_t)(to - from) : READ_BACK_SIZE;
        if (driver->writer_read(writer, from, piece, size, err) < 0)
            return -1;
        hasher_update(hasher, piece, size);
        from += size;
    }
    return 0;
}

static int writer_ready(struct session *session, uint64_t offset, struct error *err)
{
    const struct blob_store *blobs = &session->table->store->blobs;

    if (session->writer != NULL)
        return 0;
    return blobs->driver->writer_open(blobs->self, session->locator, offset, &session->writer, err);
}

/* Brings a session into memory: the calling thread is busy with it. The hash goes on from the
 * checkpoint, through what the file holds beyond it. */
static int session_load(struct session *session, struct meta_upload *row, uint64_t *offset,
                        struct error *err) ON(worker_thread)
{
    struct storage *store = session->table->store;

    if (session_read(store, slice_of(session->repository), slice_of(session->id), row, offset,
                     err) < 0)
        return -1;
    memcpy(session->locator, row->locator, sizeof(session->locator));
    session->algorithm = row->algorithm;
    session->account = row->account;
    struct slice saved = {(const char *)row->hash_state, row->hash_size};
    uint64_t hashed = row->synced;
    if (!hasher_restore(&session->hasher, saved)) {
        hasher_start(&session->hasher, row->algorithm);
        hashed = 0;
    }
    if (hashed == *offset)
        return 0;
    if (writer_ready(session, *offset, err) < 0)
        return -1;
    return hash_written(store->blobs.driver, session->writer, &session->hasher, hashed, *offset,
                        err);
}

/* --- claims --- */

/* Lock held. */
static void session_take(struct session *session, struct upload *upload)
{
    if (session->owner == NULL)
        session->table->idle--;
    session->owner = upload;
    session->start = session->offset;
    session->start_hasher = session->hasher;
    session->moved_ms = clock_monotonic_ms();
    session_wake(session);
}

/* The first claim in this process. Lock held on entry, not on return. */
static int claim_load(struct session *session, struct upload *upload, struct error *err)
    ON(worker_thread)
{
    struct upload_table *table = session->table;
    struct meta_upload row = {.expires_at = 0};
    uint64_t offset = 0;

    session->references++;
    session->owner = upload;
    session->busy = session->loading = true;
    pthread_mutex_unlock(&table->lock);
    int status = session_load(session, &row, &offset, err);
    pthread_mutex_lock(&table->lock);
    session->busy = session->loading = false;
    if (status == 0 && session->state == SESSION_LIVE) {
        session->offset = offset;
        session->synced = row.synced;
        session->expires_at = row.expires_at;
        session_take(session, upload);
    } else if (status == 0) {
        status = unknown(err);
    }
    if (status < 0)
        session_end(session, SESSION_LEFT);
    pthread_mutex_unlock(&table->lock);
    if (status < 0)
        session_release(session);
    return status;
}

/* Nobody writes, or who does stands still. Lock held. */
static bool may_take(const struct session *session)
{
    return session->owner == NULL ||
           (!session->busy && clock_monotonic_ms() - session->moved_ms >= TAKEOVER_MS);
}

/* Never waits for the other writer: who does is a client, and clients may not hold workers. */
static int claim(struct upload_table *table, struct slice repository, struct slice id,
                 struct upload *upload, struct error *err) ON(worker_thread)
{
    pthread_mutex_lock(&table->lock);
    struct session *session = session_find(table, repository, id);
    if (session == NULL) {
        session = session_insert(table, repository, id);
        upload->session = session;
        return claim_load(session, upload, err);
    }
    bool ours = may_take(session);
    if (ours) {
        session->references++;
        session_take(session, upload);
        upload->session = session;
    }
    pthread_mutex_unlock(&table->lock);
    if (ours)
        return 0;
    error_set(err, ERROR_BLOB_UPLOAD_INVALID, "another request writes to this upload session");
    return error_set_status(err, STATUS_RANGE);
}

int storage_upload_claim(struct storage *store, struct slice repository, struct slice id,
                         struct upload **out, struct error *err)
{
    OWNED(memory_drop) struct upload *upload = memory_new(sizeof(*upload));

    if (!oci_upload_id_valid(id))
        return unknown(err);
    upload->table = store->uploads;
    if (claim(store->uploads, repository, id, upload, err) < 0)
        return -1;
    *out = TAKE(upload);
    return 0;
}

static int taken_over(struct error *err)
{
    error_set(err, ERROR_BLOB_UPLOAD_INVALID, "another request took the upload over");
    return error_set_status(err, STATUS_RANGE);
}

/* Begins a call of the owner: its thread may use what session.h marks (owner). */
static int session_enter(const struct upload *upload, struct error *err)
{
    struct session *session = upload->session;
    int status = 0;

    pthread_mutex_lock(&upload->table->lock);
    if (session->state == SESSION_GONE || session->state == SESSION_TRASHED)
        status = unknown(err);
    else if (session->state == SESSION_LOST || session->failed)
        status = lost(err);
    else if (session->owner != upload || session->state != SESSION_LIVE)
        status = taken_over(err);
    else
        session->busy = true;
    pthread_mutex_unlock(&upload->table->lock);
    return status;
}

/* Ends the call: the session stands at offset. Returns status, or -1 when a sync in the background
 * failed meanwhile. */
static int session_leave(struct session *session, uint64_t offset, int status, struct error *err)
    ON(worker_thread)
{
    pthread_mutex_lock(&session->table->lock);
    bool failed = session->failed;
    if (offset != session->offset)
        session->moved_ms = clock_monotonic_ms();
    session->offset = offset;
    session->busy = failed;
    session->closing = false;
    session_wake(session);
    pthread_mutex_unlock(&session->table->lock);
    if (!failed)
        return status;
    session_lose(session);
    return lost(err);
}

/* Gives the claim back. Consumes upload. */
static void upload_end(struct upload *upload) ON(worker_thread)
{
    struct session *session = upload->session;
    struct upload_table *table = upload->table;

    pthread_mutex_lock(&table->lock);
    if (session->state == SESSION_LIVE && session->owner == upload) {
        session->owner = NULL;
        session->idle_since_ms = clock_monotonic_ms();
        table->idle++;
        session_wake(session);
    }
    pthread_mutex_unlock(&table->lock);
    session_release(session);
    free(upload);
}

void storage_upload_release(struct upload *upload)
{
    if (upload == NULL)
        return;
    struct upload_table *table = upload->table;
    upload_end(upload);
    session_trim(table);
}

uint64_t storage_upload_offset(const struct upload *upload)
{
    pthread_mutex_lock(&upload->table->lock);
    uint64_t offset = upload->session->offset;
    pthread_mutex_unlock(&upload->table->lock);
    return offset;
}

/* --- receiving --- */

static int reserve(struct session *session, uint64_t bytes, struct error *err) ON(worker_thread)
{
    return quota_reserve(session->table->store->quotas, slice_of(session->repository),
                         session->account, bytes, &session->hold, err);
}

static int append(struct session *session, struct slice bytes, struct error *err) ON(worker_thread)
{
    const struct storage *store = session->table->store;
    uint64_t size_max = store->options.blob_size_max;
    uint64_t offset = session->offset;

    if (size_max == 0)
        size_max = INT64_MAX;
    if (offset > size_max || bytes.size > size_max - offset) {
        error_set(err, ERROR_SIZE_INVALID, "blob exceeds the limit of %llu bytes",
                  (unsigned long long)size_max);
        return error_set_status(err, STATUS_TOO_LARGE);
    }
    if (reserve(session, offset + bytes.size, err) < 0 || writer_ready(session, offset, err) < 0 ||
        store->blobs.driver->writer_append(session->writer, bytes, err) < 0)
        return -1;
    hasher_update(&session->hasher, bytes.at, bytes.size);
    return 0;
}

int storage_upload_append(struct upload *upload, struct slice bytes, struct error *err)
{
    struct session *session = upload->session;

    if (session_enter(upload, err) < 0)
        return -1;
    uint64_t offset = session->offset;
    int status = bytes.size == 0 ? 0 : append(session, bytes, err);
    return session_leave(session, status == 0 ? offset + bytes.size : offset, status, err);
}

int storage_upload_expect(struct upload *upload, uint64_t more, struct error *err)
{
    struct session *session = upload->session;
    uint64_t bytes;

    if (session_enter(upload, err) < 0)
        return -1;
    if (__builtin_add_overflow(session->offset, more, &bytes))
        bytes = UINT64_MAX;
    int status = reserve(session, bytes, err);
    return session_leave(session, session->offset, status, err);
}

static int rewind_to(struct session *session, uint64_t offset, struct error *err)
{
    const struct blob_driver *driver = session->table->store->blobs.driver;
    struct hasher hasher = session->start_hasher;

    if (offset < session->start || offset > session->offset)
        return error_set(err, ERROR_BLOB_UPLOAD_INVALID, "upload session cannot go back that far");
    if (offset == session->offset)
        return 0;
    if (hash_written(driver, session->writer, &hasher, session->start, offset, err) < 0 ||
        driver->writer_rewind(session->writer, offset, err) < 0)
        return -1;
    session->hasher = hasher;
    return 0;
}

int storage_upload_rewind(struct upload *upload, uint64_t offset, struct error *err)
{
    struct session *session = upload->session;

    if (session_enter(upload, err) < 0)
        return -1;
    int status = rewind_to(session, offset, err);
    return session_leave(session, status == 0 ? offset : session->offset, status, err);
}

/* --- the ends --- */

/* What the received bytes hash to under the algorithm of `claimed`. Spec: UPL-21. */
static int received_digest(struct session *session, const struct digest *claimed,
                           struct digest *out, struct error *err)
{
    struct hasher other;

    if (session->hasher.algorithm == claimed->algorithm) {
        hasher_digest(&session->hasher, out);
        return 0;
    }
    hasher_start(&other, claimed->algorithm);
    if (hash_written(session->table->store->blobs.driver, session->writer, &other, 0,
                     session->offset, err) < 0)
        return -1;
    hasher_digest(&other, out);
    return 0;
}

static void session_finish(struct session *session, enum session_state state)
{
    pthread_mutex_lock(&session->table->lock);
    session_end(session, state);
    session->busy = false;
    pthread_mutex_unlock(&session->table->lock);
}

/* Waits until the background has done with the writer; false when it failed there. */
static bool writer_ours(struct session *session)
{
    pthread_mutex_lock(&session->table->lock);
    session->closing = true;
    while (session->syncing)
        session_wait(session, clock_monotonic_ms() + SYNC_WAIT_MS);
    bool sound = !session->failed;
    pthread_mutex_unlock(&session->table->lock);
    return sound;
}

/* UPL-20: the session is gone. */
static int finish_mismatch(struct session *session, struct error *err) ON(worker_thread)
{
    struct error failure = {0};
    int cancelled = meta_upload_cancel(session->table->store->meta, slice_of(session->repository),
                                       slice_of(session->id), &failure);

    session_finish(session, cancelled == 0 ? SESSION_TRASHED : SESSION_LEFT);
    if (cancelled < 0 && failure.code != ERROR_BLOB_UPLOAD_UNKNOWN) {
        *err = failure; /* it is still there: its end may not be told */
        return -1;
    }
    return error_set(err, ERROR_DIGEST_INVALID, "content does not match its digest");
}

/* The calling thread is busy with the session, and no longer afterwards. */
static int finish(struct session *session, const struct digest *claimed, struct descriptor *out,
                  struct error *err) ON(worker_thread)
{
    struct storage *store = session->table->store;
    struct descriptor blob = {.size = session->offset};

    if (!writer_ours(session)) {
        session_lose(session);
        return lost(err);
    }
    if (writer_ready(session, session->offset, err) < 0 ||
        received_digest(session, claimed, &blob.digest, err) < 0) {
        return session_leave(session, session->offset, -1, err); /* nothing happened: try again */
    }
    if (!digest_equal(&blob.digest, claimed))
        return finish_mismatch(session, err);
    if (store->blobs.driver->writer_commit(session->writer, claimed, err) < 0) {
        session_lose(session);
        return -1;
    }
    quota_settle_begin(session->hold);
    int status = meta_upload_finish(store->meta, slice_of(session->repository),
                                    slice_of(session->id), &blob, NULL, err);
    quota_settle_end(session->hold);
    /* After a failure its row decides, read anew by the next claim: the commit may have happened,
     * so nothing is removed here. */
    session_finish(session, SESSION_LEFT);
    if (status == 0)
        *out = blob;
    return status;
}

int storage_upload_finish(struct upload *upload, const struct digest *claimed,
                          struct descriptor *out, struct error *err)
{
    int status = session_enter(upload, err);

    if (status == 0)
        status = finish(upload->session, claimed, out, err);
    upload_end(upload);
    return status;
}

int storage_upload_cancel(struct storage *store, struct slice repository, struct slice id,
                          struct error *err)
{
    struct upload_table *table = store->uploads;

    if (!oci_upload_id_valid(id))
        return unknown(err);
    if (meta_upload_cancel(store->meta, repository, id, err) < 0)
        return -1;
    pthread_mutex_lock(&table->lock);
    struct session *session = session_find(table, repository, id);
    if (session != NULL) {
        session->references++;
        session_end(session, SESSION_TRASHED);
    }
    pthread_mutex_unlock(&table->lock);
    if (session != NULL)
        session_release(session);
    return 0;
}

int storage_uploads_end(struct storage *store, struct slice owner, struct error *err)
{
    OWNED(buffer_drop) struct buffer repository = BUFFER_NONE;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    bool found = true;

    while (found) {
        if (meta_upload_of(store->meta, owner, &found, id, &repository, err) < 0)
            return -1;
        if (found && storage_upload_cancel(store, buffer_slice(&repository), slice_of(id), err) < 0)
            return -1;
    }
    return 0;
}

int storage_upload_status(struct storage *store, struct slice repository, struct slice id,
                          struct upload_status *out, struct error *err)
{
    struct upload_table *table = store->uploads;
    struct upload_status status = {.offset = 0};
    struct meta_upload row;
    bool found = false;

    pthread_mutex_lock(&table->lock);
    const struct session *session = session_find(table, repository, id);
    if (session != NULL && !session->loading) {
        status.offset = session->offset;
        found = true;
    }
    pthread_mutex_unlock(&table->lock);
    if (!found && session_read(store, repository, id, &row, &status.offset, err) < 0) {
        if (err->code != ERROR_BLOB_UPLOAD_UNKNOWN || !oci_upload_id_valid(id))
            return -1;
        struct error unread = {0};
        if (meta_upload_finished(store->meta, repository, id, &status.committed, &status.digest,
                                 &unread) < 0 ||
            !status.committed)
            return -1;
        error_clear(err);
    }
    *out = status;
    return 0;
}

/* --- after a power cut --- */

/* upload (2): cuts the file back to what the checkpoint backs. */
static int recover_session(struct storage *store, const struct meta_upload *row, struct error *err)
    ON(worker_thread)
{
    const struct blob_store *blobs = &store->blobs;
    struct blob_writer *writer = NULL;
    uint64_t size = 0;

    if (blobs->driver->size(blobs->self, row->locator, &size, err) < 0)
        return -1;
    if (size < row->synced)
        return meta_upload_discard(store->meta, row->id, err);
    if (size == row->synced)
        return 0;
    if (blobs->driver->writer_open(blobs->self, row->locator, row->synced, &writer, err) < 0)
        return -1;
    blobs->driver->writer_close(writer);
    return 0;
}

int upload_recover(struct storage *store, struct error *err)
{
    struct meta_upload row = {.id = ""};
    bool found = true;

    while (found) {
        char after[OCI_UPLOAD_ID_SIZE + 1];
        memcpy(after, row.id, sizeof(after));
        if (meta_upload_next(store->meta, after, &found, &row, err) < 0)
            return -1;
        if (found && recover_session(store, &row, err) < 0)
            return -1;
    }
    return 0;
}
