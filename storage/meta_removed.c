/* meta_removed.c - repositories that are deleted, and come back.
 * Touches  repositories, uploads, trash, gc_queue, builds, build_configs, audit.
 * Never    what is in the repository: it is moved aside under a name nobody can ask for, and the
 *          collector removes it when gc.undo has passed.
 *
 * Every read finds a repository by its name, so all that is in it is out of sight with one row. */
#include "storage/meta_builds.h"
#include "storage/meta_content.h"
#include "storage/meta_news.h"

#include <stdlib.h>

/* --- deleting --- */

static const char SQL_SIZE[] =
    "SELECT (SELECT count(*) FROM tags WHERE repo_id = $1),"
    "       (SELECT count(*) FROM manifests WHERE repo_id = $1 AND deleted_at IS NULL),"
    "       (SELECT coalesce(sum(size), 0) FROM manifests WHERE repo_id = $1)"
    "     + (SELECT coalesce(sum(b.size), 0)"
    "          FROM repository_blobs l"
    "          JOIN blobs b ON b.id = l.blob_id"
    "         WHERE l.repo_id = $1)";
static const char SQL_VERSION[] = "SELECT version"
                                  "  FROM repositories"
                                  " WHERE id = $1";
static const char SQL_UPLOADS[] = "SELECT locator"
                                  "  FROM uploads"
                                  " WHERE repo_id = $1";
static const char SQL_UPLOADS_TRASH[] = "INSERT INTO trash(locator, not_before)"
                                        "     SELECT locator, $1"
                                        "       FROM uploads"
                                        "      WHERE repo_id = $2";
static const char SQL_UPLOADS_END[] = "DELETE FROM uploads"
                                      "      WHERE repo_id = $1";
static const char SQL_SET_ASIDE[] = "UPDATE repositories"
                                    "   SET deleted_at = $1, deleted_name = name, name = '~' || id,"
                                    "       first_manifest_at = NULL, version = version + 1"
                                    " WHERE id = $2";

struct removal {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    const struct content_change *change;
    struct content_repository_size *out;
    struct page *uploads;
};

static int size_read(struct db_tx *tx, int64_t repository, struct content_repository_size *out,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SIZE);

    db_bind_i64(&query, repository);
    if (db_step(&query, err) != 1)
        return -1;
    out->tags = (uint64_t)db_column_i64(&query, 0);
    out->manifests = (uint64_t)db_column_i64(&query, 1);
    out->bytes = (uint64_t)db_column_i64(&query, 2);
    return 0;
}

static int version_check(struct db_tx *tx, const struct removal *with, int64_t repository,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_VERSION);
    int64_t version = 0;

    db_bind_i64(&query, repository);
    if (meta_number(&query, &version, err) < 0)
        return -1;
    return meta_version_check(version, with->change->if_version, err);
}

static int uploads_find(struct db_tx *tx, int64_t repository, struct page *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOADS);
    size_t capacity = 0;
    int row;

    page_drop(out);
    db_bind_i64(&query, repository);
    while ((row = db_step(&query, err)) == 1)
        meta_page_add(out, &capacity, db_column_slice(&query, 0));
    return row;
}

/* A writer may be about to make the file of a session: its bytes go when it has had time to learn
 * of this. */
static int set_aside(struct db_tx *tx, const struct removal *with, int64_t repository, int64_t now,
                     struct error *err)
{
    if (uploads_find(tx, repository, with->uploads, err) < 0 ||
        META_CHANGE(tx, SQL_UPLOADS_TRASH, err, now + with->meta->late_us, repository) < 0 ||
        META_CHANGE(tx, SQL_UPLOADS_END, err, repository) < 0 ||
        META_CHANGE(tx, SQL_SET_ASIDE, err, now, repository) < 0 ||
        meta_builds_aside(tx, repository, with->repository, err) < 0)
        return -1;
    return meta_queue(tx, META_QUEUE_REPOSITORY, repository, repository, now + with->meta->undo_us,
                      err);
}

static int delete (struct db_tx *tx, void *arg, struct error *err)
{
    struct removal *with = arg;
    int64_t repository = 0, now = clock_now_us();

    with->told.changed = false;
    if (meta_repository_at(tx, with->repository, &repository, err) < 0 ||
        version_check(tx, with, repository, err) < 0 ||
        meta_guard_repository(tx, repository, now, err) < 0)
        return -1;
    if (with->change->dry_run)
        return size_read(tx, repository, with->out, err);
    if (set_aside(tx, with, repository, now, err) < 0)
        return -1;
    meta_news_repository(tx, with->repository, with->change->actor, TAG_DELETED);
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

/* How much it is takes a look at all of it: not on the writer. */
int meta_repository_delete(struct meta *meta, struct slice repository,
                           const struct content_change *with, struct content_repository_size *out,
                           struct page *uploads, const struct meta_after *after, struct error *err)
{
    struct removal removal = {{after, false}, meta, repository, with, out, uploads};

    *out = (struct content_repository_size){0};
    if (with->dry_run)
        return db_read(meta->db, delete, &removal, err);
    return meta_write_told(meta, delete, &removal.told, err);
}

/* --- lists --- */

void content_deleted_repository_page_drop(struct content_deleted_repository_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->items[i].name);
    free(page->items);
    *page = (struct content_deleted_repository_page){.items = NULL};
}

static const char SQL_DELETED[] =
    "SELECT r.id, r.deleted_name, r.deleted_at,"
    "       (SELECT count(*) FROM tags t WHERE t.repo_id = r.id)"
    "  FROM repositories r"
    " WHERE r.deleted_name IS NOT NULL AND (r.deleted_name, r.id) > ($1, $2)"
    "   AND r.deleted_at > $3"
    " ORDER BY r.deleted_name, r.id"
    " LIMIT $4";

struct list {
    const struct meta *meta;
    struct slice after;
    int64_t after_id;
    size_t limit;
    struct content_deleted_repository_page *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    struct content_deleted_repository_page *out = with->out;
    int64_t undo_us = with->meta->undo_us;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELETED);
    size_t capacity = 0;
    int row;

    content_deleted_repository_page_drop(out);
    db_bind_text(&query, meta_or_empty(with->after));
    db_bind_i64(&query, with->after_id);
    db_bind_i64(&query, clock_now_us() - undo_us);
    db_bind_i64(&query, meta_one_more(with->limit));
    while ((row = db_step(&query, err)) == 1) {
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = (struct content_deleted_repository){
            .id = db_column_i64(&query, 0),
            .name = meta_text(&query, 1),
            .deleted_at = db_column_i64(&query, 2),
            .until = db_column_i64(&query, 2) + undo_us,
            .tags = (uint64_t)db_column_i64(&query, 3),
        };
    }
    return row;
}

int meta_deleted_repositories(struct meta *meta, struct slice after, int64_t after_id, size_t limit,
                              struct content_deleted_repository_page *out, struct error *err)
{
    struct list with = {meta, after, after_id, limit, out};

    *out = (struct content_deleted_repository_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    content_deleted_repository_page_drop(out);
    return -1;
}

/* --- coming back --- */

static const char SQL_DELETED_FIND[] = "SELECT id, deleted_at"
                                       "  FROM repositories"
                                       " WHERE deleted_name = $1 AND deleted_at > $2";
/* The catalogue lists it as before (CAT-03): when it had a manifest or a tag. */
static const char SQL_RESTORE[] =
    "UPDATE repositories"
    "   SET name = deleted_name, deleted_name = NULL, deleted_at = NULL, version = version + 1,"
    "       first_manifest_at = coalesce("
    "           (SELECT created_at FROM manifests WHERE repo_id = $1 ORDER BY id LIMIT 1),"
    "           (SELECT at FROM tag_history WHERE repo_id = $1 ORDER BY id LIMIT 1))"
    " WHERE id = $1";
static const char SQL_TASK_DROP[] = "DELETE FROM gc_queue"
                                    "      WHERE kind = 4 AND repo_id = $1 AND ref_id = $1";

struct restore {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    int64_t id; /* wanted; 0: the last */
    const struct content_change *change;
};

static int deleted_find(struct db_tx *tx, const struct restore *with, int64_t *id,
                        struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELETED_FIND);
    int64_t last = 0;
    int row;

    *id = 0;
    db_bind_text(&query, with->repository);
    db_bind_i64(&query, clock_now_us() - with->meta->undo_us);
    while ((row = db_step(&query, err)) == 1) {
        if ((with->id != 0 && db_column_i64(&query, 0) != with->id) ||
            db_column_i64(&query, 1) <= last)
            continue;
        *id = db_column_i64(&query, 0);
        last = db_column_i64(&query, 1);
    }
    if (row < 0 || *id != 0)
        return row;
    return error_set(err, ERROR_NOT_FOUND,
                     "the repository was not deleted, or too long ago to be brought back");
}

static int restore(struct db_tx *tx, void *arg, struct error *err)
{
    struct restore *with = arg;
    int64_t present = 0, id = 0;

    with->told.changed = false;
    if (meta_repository_find(tx, with->repository, &present, err) < 0)
        return -1;
    if (present != 0)
        return error_set(err, ERROR_CONFLICT, "there is a repository of this name");
    if (deleted_find(tx, with, &id, err) < 0)
        return -1;
    if (META_CHANGE(tx, SQL_RESTORE, err, id) < 0 || META_CHANGE(tx, SQL_TASK_DROP, err, id) < 0 ||
        meta_builds_back(tx, id, with->repository, err) < 0)
        return -1;
    meta_news_repository(tx, with->repository, with->change->actor, TAG_RESTORED);
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_repository_restore(struct meta *meta, struct slice repository, int64_t id,
                            const struct content_change *with, const struct meta_after *after,
                            struct error *err)
{
    struct restore restoring = {{after, false}, meta, repository, id, with};

    return meta_write_told(meta, restore, &restoring.told, err);
}

/* --- by its id --- */

static const char SQL_NAME[] = "SELECT name"
                               "  FROM repositories"
                               " WHERE id = $1 AND deleted_at IS NULL";

struct name {
    int64_t id;
    char **out;
};

static int name_find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct name *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NAME);

    db_bind_i64(&query, with->id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "there is no such repository");
    free(*with->out);
    *with->out = meta_text(&query, 0);
    return 0;
}

int content_repository_name(struct storage *store, int64_t id, char **name, struct error *err)
{
    struct name with = {id, name};

    *name = NULL;
    return db_read(store->meta->db, name_find, &with, err);
}
