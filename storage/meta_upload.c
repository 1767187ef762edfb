/* meta_upload.c - rows of upload sessions, from P1 to P3 or trash.
 * Touches  uploads, finished_uploads, blobs, repository_blobs, trash, gc_queue.
 * Never    bytes: the caller has synced what it says is synced.
 *
 * Whoever ends a session deletes its row first and goes on only with what that returned: of two
 * that end it, one sees no row. */
#include "storage/accounts.h"
#include "storage/meta_internal.h"

#include <string.h>

static const int64_t FINISHED_US = 3600ll * 1000000; /* UPL-23 */

static int unknown(struct error *err)
{
    return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "upload session unknown to this repository");
}

/* --- P1 --- */

static const char SQL_UPLOAD_ADD[] =
    "INSERT INTO uploads(id, repo_id, locator, algorithm, started_at, expires_at, owner,"
    "                    account_id)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

struct start {
    const struct meta *meta;
    struct slice repository;
    const char *id;
    const char *locator;
    enum digest_algorithm algorithm;
    const struct actor *actor;
};

static int start(struct db_tx *tx, void *arg, struct error *err)
{
    const struct start *start = arg;
    int64_t now = clock_now_us();
    int64_t repository = 0;

    if (meta_repository_create(tx, start->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_ADD);
    db_bind_text(&query, slice_of(start->id));
    db_bind_i64(&query, repository);
    db_bind_text(&query, slice_of(start->locator));
    db_bind_i64(&query, start->algorithm);
    db_bind_i64(&query, now);
    db_bind_i64(&query, now + start->meta->upload_ttl_us);
    db_bind_text(&query, start->actor == NULL ? SLICE_NONE : start->actor->owner);
    meta_bind_time(&query, start->actor == NULL ? 0 : start->actor->account);
    return db_finish(&query, err);
}

int meta_upload_start(struct meta *meta, struct slice repository, const char *id,
                      const char *locator, enum digest_algorithm algorithm,
                      const struct actor *actor, struct error *err)
{
    struct start with = {meta, repository, id, locator, algorithm, actor};

    assert(actor == NULL || actor->owner.size <= UPLOAD_OWNER_MAX);
    return meta_write_loosely(meta, start, &with, DB_FOREGROUND, err);
}

/* --- finding --- */

#define UPLOAD_COLUMNS                                                                             \
    "u.id, u.locator, u.algorithm, u.received, u.synced, u.expires_at, u.hash_state,"              \
    " coalesce(u.account_id, 0)"

static const char SQL_UPLOAD_FIND[] = "SELECT " UPLOAD_COLUMNS "  FROM uploads u"
                                      "  JOIN repositories r ON r.id = u.repo_id"
                                      " WHERE u.id = $1 AND r.name = $2";
static const char SQL_UPLOAD_NEXT[] = "SELECT " UPLOAD_COLUMNS "  FROM uploads u"
                                      " WHERE u.id > $1"
                                      " ORDER BY u.id"
                                      " LIMIT 1";
static const char SQL_FINISHED_FIND[] = "SELECT f.digest"
                                        "  FROM finished_uploads f"
                                        "  JOIN repositories r ON r.id = f.repo_id"
                                        " WHERE f.id = $1 AND r.name = $2 AND f.forget_at > $3";

struct find {
    struct slice repository;
    struct slice id;
    bool found;
    struct meta_upload *upload;
    struct digest *digest;
};

static int upload_row(const struct db_query *query, struct meta_upload *out, struct error *err)
{
    struct slice state = db_column_slice(query, 6);

    memset(out, 0, sizeof(*out));
    if (!slice_to_text(db_column_slice(query, 0), out->id, sizeof(out->id)) ||
        !slice_to_text(db_column_slice(query, 1), out->locator, sizeof(out->locator)) ||
        state.size > sizeof(out->hash_state))
        return error_set(err, ERROR_INTERNAL, "internal error");
    out->algorithm = (enum digest_algorithm)db_column_i64(query, 2);
    out->received = (uint64_t)db_column_i64(query, 3);
    out->synced = (uint64_t)db_column_i64(query, 4);
    out->expires_at = db_column_i64(query, 5);
    out->hash_size = state.size;
    out->account = db_column_i64(query, 7);
    if (state.size > 0)
        memcpy(out->hash_state, state.at, state.size);
    return 0;
}

static int find_upload(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_FIND);

    db_bind_text(&query, find->id);
    db_bind_text(&query, find->repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    return upload_row(&query, find->upload, err);
}

int meta_upload_find(struct meta *meta, struct slice repository, struct slice id,
                     struct meta_upload *out, struct error *err)
{
    struct find find = {.repository = repository, .id = id, .upload = out};

    return db_read(meta->db, find_upload, &find, err);
}

/* --- who opened it --- */

static const char SQL_UPLOAD_OWNER[] = "SELECT coalesce(u.owner, ''), u.started_at"
                                       "  FROM uploads u"
                                       "  JOIN repositories r ON r.id = u.repo_id"
                                       " WHERE u.id = $1 AND r.name = $2";

struct owner {
    struct slice repository;
    struct slice id;
    struct upload_owner *out;
};

static int find_owner(struct db_tx *tx, void *arg, struct error *err)
{
    const struct owner *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_OWNER);

    db_bind_text(&query, with->id);
    db_bind_text(&query, with->repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    if (!slice_to_text(db_column_slice(&query, 0), with->out->owner, sizeof(with->out->owner)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    with->out->started_at = db_column_i64(&query, 1);
    return 0;
}

int meta_upload_owner(struct meta *meta, struct slice repository, struct slice id,
                      struct upload_owner *out, struct error *err)
{
    struct owner with = {repository, id, out};

    return db_read(meta->db, find_owner, &with, err);
}

static const char SQL_UPLOAD_OF[] = "SELECT u.id, r.name"
                                    "  FROM uploads u"
                                    "  JOIN repositories r ON r.id = u.repo_id"
                                    " WHERE u.expires_at > 0 AND u.owner = $1"
                                    " LIMIT 1";

struct of_owner {
    struct slice owner;
    bool found;
    char *id;
    struct buffer *repository;
};

static int find_of(struct db_tx *tx, void *arg, struct error *err)
{
    struct of_owner *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_OF);

    db_bind_text(&query, with->owner);
    int row = db_step(&query, err);
    with->found = row == 1;
    if (row != 1)
        return row;
    with->repository->size = 0;
    buffer_append_slice(with->repository, db_column_slice(&query, 1));
    if (!slice_to_text(db_column_slice(&query, 0), with->id, OCI_UPLOAD_ID_SIZE + 1))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return 0;
}

int meta_upload_of(struct meta *meta, struct slice owner, bool *found,
                   char id[OCI_UPLOAD_ID_SIZE + 1], struct buffer *repository, struct error *err)
{
    struct of_owner with = {owner, false, id, repository};

    int result = db_read(meta->db, find_of, &with, err);
    *found = with.found;
    return result;
}

/* --- walking --- */

static int find_next(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_NEXT);

    db_bind_text(&query, find->id);
    int row = db_step(&query, err);
    find->found = row == 1;
    return row == 1 ? upload_row(&query, find->upload, err) : row;
}

int meta_upload_next(struct meta *meta, const char *after, bool *found, struct meta_upload *out,
                     struct error *err)
{
    /* out may hold `after` */
    char id[OCI_UPLOAD_ID_SIZE + 1] = "";
    struct find find = {.upload = out};

    if (!slice_to_text(slice_of(after), id, sizeof(id)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    find.id = slice_of(id);
    int result = db_read(meta->db, find_next, &find, err);
    *found = find.found;
    return result;
}

static int find_finished(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FINISHED_FIND);

    db_bind_text(&query, find->id);
    db_bind_text(&query, find->repository);
    db_bind_i64(&query, clock_now_us());
    int row = db_step(&query, err);
    find->found = row == 1;
    return row == 1 ? meta_digest(&query, 0, find->digest, err) : row;
}

int meta_upload_finished(struct meta *meta, struct slice repository, struct slice id, bool *found,
                         struct digest *digest, struct error *err)
{
    struct find find = {.repository = repository, .id = id, .digest = digest};

    int result = db_read(meta->db, find_finished, &find, err);
    *found = find.found;
    return result;
}

/* --- P2 --- */

static const char SQL_UPLOAD_CHECKPOINT[] =
    "UPDATE uploads"
    "   SET received = $1, synced = $2, hash_state = $3, expires_at = $4"
    " WHERE id = $5";
static const char SQL_UPLOAD_TOUCH[] = "UPDATE uploads"
                                       "   SET expires_at = $1"
                                       " WHERE id = $2";

struct checkpoint {
    const struct meta *meta;
    const struct meta_upload *upload;
    const char *id;
};

static int checkpoint(struct db_tx *tx, void *arg, struct error *err)
{
    const struct checkpoint *with = arg;
    const struct meta_upload *upload = with->upload;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_CHECKPOINT);

    db_bind_i64(&query, (int64_t)upload->received);
    db_bind_i64(&query, (int64_t)upload->synced);
    db_bind_bytes(&query, upload->hash_size == 0 ? SLICE_NONE
                                                 : (struct slice){(const char *)upload->hash_state,
                                                                  upload->hash_size});
    db_bind_i64(&query, clock_now_us() + with->meta->upload_ttl_us);
    db_bind_text(&query, slice_of(upload->id));
    if (db_finish(&query, err) < 0)
        return -1;
    return db_changes(&query) == 1 ? 0 : unknown(err);
}

int meta_upload_checkpoint(struct meta *meta, const struct meta_upload *upload, struct error *err)
{
    struct checkpoint with = {.meta = meta, .upload = upload};

    return meta_write_loosely(meta, checkpoint, &with, DB_FOREGROUND, err);
}

static int touch(struct db_tx *tx, void *arg, struct error *err)
{
    const struct checkpoint *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_TOUCH);

    db_bind_i64(&query, clock_now_us() + with->meta->upload_ttl_us);
    db_bind_text(&query, slice_of(with->id));
    if (db_finish(&query, err) < 0)
        return -1;
    return db_changes(&query) == 1 ? 0 : unknown(err);
}

int meta_upload_touch(struct meta *meta, const char *id, struct error *err)
{
    struct checkpoint with = {.meta = meta, .id = id};

    return meta_write_loosely(meta, touch, &with, DB_FOREGROUND, err);
}

/* --- P3 --- */

static const char SQL_UPLOAD_CLAIM[] = "DELETE FROM uploads"
                                       "      WHERE id = $1 AND repo_id = $2"
                                       "  RETURNING locator, coalesce(account_id, 0)";
static const char SQL_BLOB_PUT[] = "INSERT INTO blobs(digest, size, locator, created_at)"
                                   "     VALUES ($1, $2, $3, $4)"
                                   " ON CONFLICT (digest)"
                                   "   DO UPDATE SET size = excluded.size"
                                   "  RETURNING id, locator, damaged";
static const char SQL_BLOB_HEAL[] = "UPDATE blobs"
                                    "   SET locator = $1, damaged = 0, verified_at = NULL"
                                    " WHERE id = $2";
static const char SQL_FINISHED_ADD[] =
    "INSERT INTO finished_uploads(id, repo_id, digest, forget_at)"
    "     VALUES ($1, $2, $3, $4)";

struct finish {
    struct meta *meta;
    struct slice repository;
    struct slice id;
    const struct descriptor *blob;
    const struct meta_after *after;
};

struct blob_row {
    int64_t id;
    char locator[LOCATOR_SIZE + 1];
    bool damaged;
};

/* Deletes the session's row. BLOB_UPLOAD_UNKNOWN when somebody else did. */
static int claim(struct db_tx *tx, struct slice id, int64_t repository, char *locator,
                 int64_t *account, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_CLAIM);

    db_bind_text(&query, id);
    db_bind_i64(&query, repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    if (!slice_to_text(db_column_slice(&query, 0), locator, LOCATOR_SIZE + 1))
        return error_set(err, ERROR_INTERNAL, "internal error");
    *account = db_column_i64(&query, 1);
    return db_finish(&query, err);
}

static int claim_by_name(struct db_tx *tx, struct slice name, struct slice id, int64_t *repository,
                         char *locator, int64_t *account, struct error *err)
{
    if (meta_repository_find(tx, name, repository, err) < 0)
        return -1;
    return claim(tx, id, *repository, locator, account, err);
}

static int blob_put(struct db_tx *tx, const struct descriptor *blob, const char *locator,
                    struct blob_row *out, struct error *err)
{
    const struct meta_key key = meta_key(&blob->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_PUT);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, (int64_t)blob->size);
    db_bind_text(&query, slice_of(locator));
    db_bind_i64(&query, clock_now_us());
    if (db_step(&query, err) != 1)
        return -1;
    out->id = db_column_i64(&query, 0);
    if (!slice_to_text(db_column_slice(&query, 1), out->locator, sizeof(out->locator)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    out->damaged = db_column_i64(&query, 2) != 0;
    return db_finish(&query, err);
}

static int blob_heal(struct db_tx *tx, const struct meta *meta, const struct blob_row *blob,
                     const char *locator, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_HEAL);

    db_bind_text(&query, slice_of(locator));
    db_bind_i64(&query, blob->id);
    if (db_finish(&query, err) < 0)
        return -1;
    return meta_trash(tx, slice_of(blob->locator), clock_now_us() + meta->late_us, err);
}

/* One locator becomes the blob's, the other one trash: nobody ever saw the bytes of a loser. */
static int settle(struct db_tx *tx, const struct meta *meta, const struct blob_row *blob,
                  const char *locator, struct error *err)
{
    if (strcmp(blob->locator, locator) == 0)
        return 0;
    if (blob->damaged)
        return blob_heal(tx, meta, blob, locator, err);
    return meta_trash(tx, slice_of(locator), clock_now_us(), err);
}

static int finished_add(struct db_tx *tx, const struct finish *finish, int64_t repository,
                        struct error *err)
{
    const struct meta_key key = meta_key(&finish->blob->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FINISHED_ADD);

    db_bind_text(&query, finish->id);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, clock_now_us() + FINISHED_US);
    return db_finish(&query, err);
}

int meta_upload_take(struct db_tx *tx, const struct meta *meta, int64_t repository, struct slice id,
                     const struct descriptor *blob, struct quota_table *reserved, struct error *err)
{
    char locator[LOCATOR_SIZE + 1];
    struct blob_row row;
    int64_t account = 0;

    if (claim(tx, id, repository, locator, &account, err) < 0 ||
        blob_put(tx, blob, locator, &row, err) < 0 || settle(tx, meta, &row, locator, err) < 0)
        return -1;
    return meta_link(tx, meta, repository, row.id, &blob->digest, account, reserved, err);
}

static int finish(struct db_tx *tx, void *arg, struct error *err)
{
    const struct finish *with = arg;
    int64_t repository = 0;

    if (meta_repository_find(tx, with->repository, &repository, err) < 0 ||
        meta_upload_take(tx, with->meta, repository, with->id, with->blob, NULL, err) < 0)
        return -1;
    return finished_add(tx, with, repository, err);
}

static void finish_after(void *arg)
{
    const struct finish *with = arg;

    if (with->after != NULL)
        with->after->run(with->after->arg);
}

int meta_upload_finish(struct meta *meta, struct slice repository, struct slice id,
                       const struct descriptor *blob, const struct meta_after *after,
                       struct error *err)
{
    struct finish with = {meta, repository, id, blob, after};

    return meta_write_after(meta, finish, &with, finish_after, err);
}

/* --- cancel --- */

static int cancel(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;
    char locator[LOCATOR_SIZE + 1];
    int64_t repository = 0, account = 0;

    if (claim_by_name(tx, find->repository, find->id, &repository, locator, &account, err) < 0)
        return -1;
    return meta_trash(tx, slice_of(locator), clock_now_us(), err);
}

int meta_upload_cancel(struct meta *meta, struct slice repository, struct slice id,
                       struct error *err)
{
    struct find find = {.repository = repository, .id = id};

    return meta_write(meta, cancel, &find, err);
}
