/* meta.c - opening the database, what all of meta*.c share, and what the server remembers.
 * Touches  repositories, repository_blobs, manifest_blobs, missing_refs, gc_queue, trash,
 *          server_state.
 * Never    decides who may do what. */
#include "storage/meta_internal.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TOUCH_US = 60 * US_PER_S };

struct meta_key meta_key(const struct digest *digest)
{
    struct meta_key key;

    key.size = digest_key(digest, key.bytes);
    return key;
}

struct slice meta_key_slice(const struct meta_key *key)
{
    return (struct slice){(const char *)key->bytes, key->size};
}

int meta_digest(const struct db_query *query, int column, struct digest *out, struct error *err)
{
    if (digest_from_key(db_column_slice(query, column), out))
        return 0;
    error_set(err, ERROR_INTERNAL, "internal error");
    return error_set_cause(err, "column %d holds no digest", column);
}

/* --- opening --- */

/* Durations come from people: what does not fit is forever. */
static int64_t duration_us(uint64_t ms)
{
    const uint64_t forever = (uint64_t)INT64_MAX / 4 / 1000;

    return (int64_t)(ms < forever ? ms : forever) * 1000;
}

int meta_open(struct meta **out, const struct storage_options *options, struct meta_after recovered,
              void (*told)(void *arg, struct db_bulletin *bulletin), struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct meta *meta = memory_new(sizeof(*meta));

    *meta = (struct meta){
        .grace_us = duration_us(options->gc_grace_ms),
        .undo_us = duration_us(options->gc_undo_ms),
        .late_us = duration_us(options->gc_late_ms),
        .upload_ttl_us = duration_us(options->upload_ttl_ms),
        .untagged_us = duration_us(options->untagged_ms),
        .accept_missing = options->accept_missing,
        .protect_referenced = options->protect_referenced,
    };
    buffer_print(&path, "%s/meta.db", options->root);
    const struct db_options with = {.path = path.at,
                                    .readers = options->readers,
                                    .recovered = recovered.run,
                                    .recovered_arg = recovered.arg,
                                    .told = told,
                                    .told_arg = recovered.arg};
    if (db_open(&meta->db, &db_driver_sqlite, &with, err) < 0 || meta_migrate(meta->db, err) < 0) {
        meta_close(meta);
        return -1;
    }
    *out = meta;
    return 0;
}

void meta_close(struct meta *meta)
{
    if (meta == NULL)
        return;
    db_close(meta->db);
    free(meta);
}

int meta_snapshot(struct meta *meta, const char *path, const struct progress *progress,
                  struct error *err)
{
    return db_snapshot(meta->db, path, progress, err);
}

/* --- forms of db_write --- */

int meta_write(struct meta *meta, db_run *run, void *arg, struct error *err)
{
    const struct db_work work = {.run = run, .arg = arg};

    return db_write(meta->db, &work, err);
}

int meta_write_after(struct meta *meta, db_run *run, void *arg, void (*after_commit)(void *arg),
                     struct error *err)
{
    const struct db_work work = {.run = run, .arg = arg, .after_commit = after_commit};

    return db_write(meta->db, &work, err);
}

int meta_write_loosely(struct meta *meta, db_run *run, void *arg, enum db_priority priority,
                       struct error *err)
{
    const struct db_work work = {.run = run, .arg = arg, .priority = priority, .may_be_lost = true};

    return db_write(meta->db, &work, err);
}

void meta_tell(void *arg)
{
    const struct meta_told *told = arg;

    if (told->changed && told->after != NULL)
        told->after->run(told->after->arg);
}

int meta_write_told(struct meta *meta, db_run *run, struct meta_told *told, struct error *err)
{
    return meta_write_after(meta, run, told, meta_tell, err);
}

/* --- values --- */

void meta_bind_time(struct db_query *query, int64_t time)
{
    if (time == 0)
        db_bind_null(query);
    else
        db_bind_i64(query, time);
}

struct slice meta_or_empty(struct slice text)
{
    return text.at == NULL ? SLICE("") : text;
}

char *meta_text(const struct db_query *query, int column)
{
    return memory_text(db_column_slice(query, column));
}

char *meta_text_or_null(const struct db_query *query, int column)
{
    return db_column_is_null(query, column) ? NULL : meta_text(query, column);
}

int64_t meta_one_more(size_t limit)
{
    return limit >= INT64_MAX ? INT64_MAX : (int64_t)limit + 1;
}

/* Names are lower case, and whether LIKE looks at the case depends on the database. */
void meta_search(struct buffer *out, struct slice search)
{
    buffer_append_text(out, "%");
    for (size_t i = 0; i < search.size; i++) {
        char c = search.at[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c == '%' || c == '_' || c == '!')
            buffer_append_text(out, "!");
        buffer_append(out, &c, 1);
    }
    if (search.size > 0)
        buffer_append_text(out, "%");
}

int meta_number(struct db_query *query, int64_t *out, struct error *err)
{
    if (db_step(query, err) != 1)
        return -1;
    *out = db_column_i64(query, 0);
    return db_finish(query, err);
}

int meta_total(struct db_query *query, uint64_t *out, struct error *err)
{
    int64_t count = 0;

    if (meta_number(query, &count, err) < 0)
        return -1;
    *out = (uint64_t)count;
    return 0;
}

void *meta_grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    return memory_resize(items, *capacity * item_size);
}

bool meta_touched_lately(int64_t at)
{
    int64_t now = clock_now_us();

    return at <= now && at > now - TOUCH_US;
}

int meta_change(struct db_tx *tx, const char *sql, const int64_t *values, size_t count,
                int64_t *changed, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    for (size_t i = 0; i < count; i++)
        db_bind_i64(&query, values[i]);
    if (db_finish(&query, err) < 0)
        return -1;
    if (changed != NULL)
        *changed = db_changes(&query);
    return 0;
}

int meta_version_check(int64_t version, int64_t wanted, struct error *err)
{
    if (wanted == 0 || wanted == version)
        return 0;
    return error_set(err, ERROR_PRECONDITION, "it was changed meanwhile");
}

/* --- repositories --- */

static const char SQL_REPOSITORY_FIND[] = "SELECT id"
                                          "  FROM repositories"
                                          " WHERE name = $1";
static const char SQL_REPOSITORY_ADD[] = "INSERT INTO repositories(name, created_at)"
                                         "     VALUES ($1, $2)"
                                         " ON CONFLICT (name)"
                                         "   DO UPDATE SET name = excluded.name"
                                         "  RETURNING id";

int meta_repository_find(struct db_tx *tx, struct slice name, int64_t *id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REPOSITORY_FIND);

    db_bind_text(&query, name);
    int row = db_step(&query, err);
    *id = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

int meta_repository_create(struct db_tx *tx, struct slice name, int64_t *id, struct error *err)
{
    if (meta_repository_find(tx, name, id, err) < 0)
        return -1;
    if (*id != 0)
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REPOSITORY_ADD);
    db_bind_text(&query, name);
    db_bind_i64(&query, clock_now_us());
    if (db_step(&query, err) != 1)
        return -1;
    *id = db_column_i64(&query, 0);
    return db_finish(&query, err);
}

/* --- the collector's queue, trash --- */

static const char SQL_QUEUE_PUT[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                    "     VALUES ($1, $2, $3, $4)"
                                    " ON CONFLICT (kind, repo_id, ref_id)"
                                    "   DO UPDATE SET due = excluded.due, attempts = 0";
static const char SQL_QUEUE_OWN[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                    "     VALUES ($1, $2, $3, $4)"
                                    " ON CONFLICT (kind, repo_id, ref_id)"
                                    "   DO UPDATE SET due = excluded.due, attempts = 0,"
                                    "                 follows = 0";

static int queue_put(struct db_tx *tx, const char *sql, enum meta_queue_kind kind,
                     int64_t repository, int64_t ref, int64_t due, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, kind);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, ref);
    db_bind_i64(&query, due);
    return db_finish(&query, err);
}

int meta_queue(struct db_tx *tx, enum meta_queue_kind kind, int64_t repository, int64_t ref,
               int64_t due, struct error *err)
{
    return queue_put(tx, SQL_QUEUE_PUT, kind, repository, ref, due, err);
}

int meta_queue_own(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                   struct error *err)
{
    return queue_put(tx, SQL_QUEUE_OWN, META_QUEUE_MANIFEST, repository, manifest, due, err);
}

static const char SQL_MANIFEST_LEFT[] = "UPDATE manifests"
                                        "   SET touched_at = $1"
                                        " WHERE id = $2";

int meta_queue_left(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                    struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST_LEFT);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, manifest);
    if (db_finish(&query, err) < 0)
        return -1;
    return meta_queue_own(tx, repository, manifest, due, err);
}

/* --- leases --- */

static void bind_keys(struct db_query *query, const struct meta_lease *lease)
{
    for (size_t i = 0; i < lease->key_count; i++)
        db_bind_i64(query, lease->keys[i]);
}

static int lease_read(struct db_tx *tx, const struct meta_lease *lease, int64_t *touched_at,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, lease->sql_read);

    bind_keys(&query, lease);
    int row = db_step(&query, err);
    if (row > 0)
        *touched_at = db_column_i64(&query, 0);
    return row;
}

int meta_lease_renew(struct db_tx *tx, const struct meta *meta, const struct meta_lease *lease,
                     int64_t *touched_at, struct error *err)
{
    int64_t now = clock_now_us();

    int row = lease_read(tx, lease, touched_at, err);
    if (row <= 0 || *touched_at > now - meta->grace_us / 2)
        return row; /* another request has just renewed it */
    OWNED(db_query_end) struct db_query query = db_query(tx, lease->sql_renew);
    db_bind_i64(&query, now);
    bind_keys(&query, lease);
    *touched_at = now;
    return db_finish(&query, err) < 0 ? -1 : 1;
}

/* --- links --- */

static const char SQL_LINK_RENEW[] = "UPDATE repository_blobs"
                                     "   SET touched_at = $1, deleted_at = NULL"
                                     " WHERE repo_id = $2 AND blob_id = $3";
static const char SQL_LINK_PUT[] =
    "INSERT INTO repository_blobs(repo_id, blob_id, touched_at, account_id)"
    "     VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (repo_id, blob_id)"
    "   DO UPDATE SET touched_at = excluded.touched_at, deleted_at = NULL";
static const char SQL_MISSING_ARRIVED[] =
    "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
    "     SELECT repo_id, manifest_id, $1"
    "       FROM missing_refs"
    "      WHERE repo_id = $2 AND digest = $3"
    " ON CONFLICT DO NOTHING";
static const char SQL_MISSING_FORGET[] = "DELETE FROM missing_refs"
                                         "      WHERE repo_id = $1 AND digest = $2";
static const char SQL_CHILD_ARRIVED[] = "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                                        "     SELECT repo_id, parent_id, $1"
                                        "       FROM manifest_refs"
                                        "      WHERE repo_id = $2 AND digest = $3"
                                        "        AND child_id IS NULL"
                                        " ON CONFLICT DO NOTHING";

static int link_renew(struct db_tx *tx, int64_t repository, int64_t blob, int64_t now, bool *found,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_RENEW);

    db_bind_i64(&query, now);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, blob);
    if (db_finish(&query, err) < 0)
        return -1;
    *found = db_changes(&query) > 0;
    return 0;
}

static int link_put(struct db_tx *tx, int64_t repository, int64_t blob, int64_t now,
                    int64_t account, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_PUT);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, blob);
    db_bind_i64(&query, now);
    meta_bind_time(&query, account);
    return db_finish(&query, err);
}

/* References that waited: of layers and configs, and of index children that turn out to be blobs
 * (MPUT-16). */
static int references_arrived(struct db_tx *tx, const char *sql, int64_t repository, int64_t blob,
                              const struct meta_key *key, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, blob);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(key));
    return db_finish(&query, err);
}

static int missing_forget(struct db_tx *tx, int64_t repository, const struct meta_key *key,
                          struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MISSING_FORGET);

    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(key));
    return db_finish(&query, err);
}

/* The first account of a link stays: the quota of that one pays for it. */
static int link_ensure(struct db_tx *tx, int64_t repository, int64_t blob, int64_t now,
                       int64_t account, struct quota_table *reserved, struct error *err)
{
    bool found = false;

    if (link_renew(tx, repository, blob, now, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    if (link_put(tx, repository, blob, now, account, err) < 0)
        return -1;
    return meta_quota_count(tx, repository, blob, account, reserved, err);
}

int meta_link(struct db_tx *tx, const struct meta *meta, int64_t repository, int64_t blob,
              const struct digest *digest, int64_t account, struct quota_table *reserved,
              struct error *err)
{
    const struct meta_key key = meta_key(digest);
    int64_t now = clock_now_us();

    if (link_ensure(tx, repository, blob, now, account, reserved, err) < 0 ||
        meta_queue(tx, META_QUEUE_LINK, repository, blob, now + meta->grace_us, err) < 0 ||
        references_arrived(tx, SQL_MISSING_ARRIVED, repository, blob, &key, err) < 0 ||
        references_arrived(tx, SQL_CHILD_ARRIVED, repository, blob, &key, err) < 0)
        return -1;
    return missing_forget(tx, repository, &key, err);
}

/* --- what the server remembers, counts --- */

static const char SQL_STATE_FIND[] = "SELECT value"
                                     "  FROM server_state"
                                     " WHERE name = $1";
static const char SQL_STATE_PUT[] = "INSERT INTO server_state(name, value)"
                                    "     VALUES ($1, $2)"
                                    " ON CONFLICT (name)"
                                    "   DO UPDATE SET value = excluded.value";
static const char SQL_COUNT[] = "SELECT (SELECT count(*) FROM uploads),"
                                "       (SELECT count(*) FROM trash)";

struct state {
    const char *name;
    const char *value; /* to put */
    char *out;         /* to get */
    size_t capacity;
    bool found;
};

static int state_find(struct db_tx *tx, void *arg, struct error *err)
{
    struct state *state = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_STATE_FIND);

    state->out[0] = 0;
    db_bind_text(&query, slice_of(state->name));
    int row = db_step(&query, err);
    state->found = row == 1;
    if (row == 1 && !slice_to_text(db_column_slice(&query, 0), state->out, state->capacity))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return row < 0 ? -1 : 0;
}

int meta_state_get(struct meta *meta, const char *name, char *out, size_t capacity, bool *found,
                   struct error *err)
{
    struct state state = {.name = name, .out = out, .capacity = capacity};

    int result = db_read(meta->db, state_find, &state, err);
    *found = state.found;
    return result;
}

static int state_put(struct db_tx *tx, void *arg, struct error *err)
{
    const struct state *state = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_STATE_PUT);

    db_bind_text(&query, slice_of(state->name));
    db_bind_text(&query, slice_of(state->value));
    return db_finish(&query, err);
}

int meta_state_put(struct meta *meta, const char *name, const char *value, struct error *err)
{
    struct state state = {.name = name, .value = value};

    return meta_write(meta, state_put, &state, err);
}

static int count(struct db_tx *tx, void *arg, struct error *err)
{
    struct meta_counts *counts = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COUNT);

    if (db_step(&query, err) != 1)
        return -1;
    counts->uploads = (uint64_t)db_column_i64(&query, 0);
    counts->trash = (uint64_t)db_column_i64(&query, 1);
    return 0;
}

int meta_count(struct meta *meta, struct meta_counts *out, struct error *err)
{
    return db_read(meta->db, count, out, err);
}

int meta_ready(struct meta *meta, struct error *err)
{
    struct state state = {.name = "", .out = (char[1]){0}, .capacity = 1};

    return db_read(meta->db, state_find, &state, err);
}
