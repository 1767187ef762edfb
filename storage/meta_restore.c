/* meta_restore.c - what was deleted comes back: tags and manifests, with all that hangs on them.
 * Touches  tags, deleted_tags, manifests, repository_blobs, tag_history, gc_queue, audit.
 * Never    brings back what is not whole: a blob that was found damaged refuses it.
 *
 * A manifest that is set aside keeps its rows of blobs and children, and those keep what they name:
 * so until it is removed for good, clearing deleted_at from it downwards is all there is to do. */
#include <stdlib.h>

#include "storage/meta_content.h"
#include "storage/meta_news.h"

/* --- a manifest and what hangs on it --- */

static const char SQL_ASIDE[] = "SELECT digest, deleted_at"
                                "  FROM manifests"
                                " WHERE id = $1";
static const char SQL_BACK[] = "UPDATE manifests"
                               "   SET deleted_at = NULL, touched_at = $1"
                               " WHERE id = $2";
static const char SQL_CHILDREN[] =
    "SELECT child_id"
    "  FROM manifest_refs"
    " WHERE repo_id = $1 AND parent_id = $2 AND coalesce(child_id, 0) > 0";
static const char SQL_REFERRERS_ASIDE[] =
    "SELECT id"
    "  FROM manifests"
    " WHERE repo_id = $1 AND deleted_at IS NOT NULL AND deleted_at >= $2 AND subject = $3";
static const char SQL_BLOB_DAMAGED[] =
    "SELECT b.digest"
    "  FROM manifest_blobs l"
    "  JOIN blobs b ON b.id = l.blob_id"
    " WHERE l.repo_id = $1 AND l.manifest_id = $2 AND b.damaged > 0"
    " LIMIT 1";
static const char SQL_LINKS_BACK[] = "UPDATE repository_blobs"
                                     "   SET deleted_at = NULL, touched_at = $1"
                                     " WHERE repo_id = $2 AND deleted_at IS NOT NULL"
                                     "   AND blob_id IN (SELECT blob_id"
                                     "                     FROM manifest_blobs"
                                     "                    WHERE repo_id = $2 AND manifest_id = $3)";

/* Manifests to look at, each once. */
struct revival {
    const struct meta *meta;
    int64_t repository, now;
    int64_t *ids;
    size_t count, capacity;
};

static void revival_drop(struct revival *revival)
{
    free(revival->ids);
}

static void revival_add(struct revival *revival, int64_t id)
{
    for (size_t i = 0; i < revival->count; i++)
        if (revival->ids[i] == id)
            return;
    revival->ids =
        meta_grow(revival->ids, revival->count, &revival->capacity, sizeof(*revival->ids));
    revival->ids[revival->count++] = id;
}

static int revival_gather(struct revival *revival, struct db_query *query, struct error *err)
{
    int row;

    while ((row = db_step(query, err)) == 1)
        revival_add(revival, db_column_i64(query, 0));
    return row;
}

static int children_add(struct db_tx *tx, struct revival *revival, int64_t manifest,
                        struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHILDREN);

    db_bind_i64(&query, revival->repository);
    db_bind_i64(&query, manifest);
    return revival_gather(revival, &query, err);
}

static int referrers_add(struct db_tx *tx, struct revival *revival, int64_t since,
                         struct slice subject, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REFERRERS_ASIDE);

    db_bind_i64(&query, revival->repository);
    db_bind_i64(&query, since);
    db_bind_bytes(&query, subject);
    return revival_gather(revival, &query, err);
}

static int bytes_check(struct db_tx *tx, const struct revival *revival, int64_t manifest,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_DAMAGED);
    char text[DIGEST_TEXT_MAX];
    struct digest digest;

    db_bind_i64(&query, revival->repository);
    db_bind_i64(&query, manifest);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    if (meta_digest(&query, 0, &digest, err) < 0)
        return -1;
    return error_set(err, ERROR_CONFLICT, "blob %s is damaged: push it again first",
                     digest_text(&digest, text));
}

/* Referrers come back with a subject that was set aside; one that stayed lost none. What was set
 * aside before gc.undo is on its way out, perhaps half gone: it stays away. */
static int revive(struct db_tx *tx, struct revival *revival, int64_t manifest, bool *back,
                  struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ASIDE);
    int64_t now = revival->now;

    *back = false;
    db_bind_i64(&query, manifest);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    bool aside = !db_column_is_null(&query, 1);
    int64_t since = db_column_i64(&query, 1);
    if (aside && since + revival->meta->undo_us <= now)
        return 0;
    if (aside && referrers_add(tx, revival, since, db_column_slice(&query, 0), err) < 0)
        return -1;
    if (children_add(tx, revival, manifest, err) < 0 ||
        bytes_check(tx, revival, manifest, err) < 0 ||
        META_CHANGE(tx, SQL_LINKS_BACK, err, now, revival->repository, manifest) < 0 ||
        META_CHANGE(tx, SQL_BACK, err, now, manifest) < 0)
        return -1;
    *back = true;
    return meta_queue_own(tx, revival->repository, manifest, now + revival->meta->grace_us, err);
}

int meta_manifest_revive(struct db_tx *tx, const struct meta *meta, int64_t repository,
                         int64_t manifest, int64_t now, struct error *err)
{
    OWNED(revival_drop)
    struct revival revival = {.meta = meta, .repository = repository, .now = now};
    bool back = false;

    revival_add(&revival, manifest);
    for (size_t i = 0; i < revival.count; i++) {
        if (revive(tx, &revival, revival.ids[i], &back, err) < 0)
            return -1;
        if (i == 0 && !back)
            return error_set(err, ERROR_NOT_FOUND,
                             "the manifest was deleted too long ago to be brought back");
    }
    return 0;
}

/* --- deleted tags --- */

void content_deleted_tag_page_drop(struct content_deleted_tag_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->items[i].name);
    free(page->items);
    *page = (struct content_deleted_tag_page){.items = NULL};
}

static const char SQL_DELETED_TAGS[] =
    "SELECT d.name, m.digest, d.manifest_id, d.deleted_at, d.until"
    "  FROM deleted_tags d"
    "  JOIN manifests m ON m.id = d.manifest_id"
    " WHERE d.repo_id = $1 AND (d.name, d.manifest_id) > ($2, $3) AND d.until > $4"
    " ORDER BY d.name, d.manifest_id"
    " LIMIT $5";

struct list {
    struct slice repository, after;
    int64_t after_id;
    size_t limit;
    struct content_deleted_tag_page *out;
};

static int list_fill(struct db_query *query, const struct list *with, struct error *err)
{
    struct content_deleted_tag_page *out = with->out;
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        struct content_deleted_tag tag = {.id = db_column_i64(query, 2),
                                          .deleted_at = db_column_i64(query, 3),
                                          .until = db_column_i64(query, 4)};
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        if (meta_digest(query, 1, &tag.digest, err) < 0)
            return -1;
        tag.name = meta_text(query, 0);
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = tag;
    }
    return row;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    int64_t repository = 0;

    content_deleted_tag_page_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELETED_TAGS);
    db_bind_i64(&query, repository);
    db_bind_text(&query, meta_or_empty(with->after));
    db_bind_i64(&query, with->after_id);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, meta_one_more(with->limit));
    return list_fill(&query, with, err);
}

int meta_deleted_tags(struct meta *meta, struct slice repository, struct slice after,
                      int64_t after_id, size_t limit, struct content_deleted_tag_page *out,
                      struct error *err)
{
    struct list with = {repository, after, after_id, limit, out};

    *out = (struct content_deleted_tag_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    content_deleted_tag_page_drop(out);
    return -1;
}

/* --- a tag --- */

static const char SQL_DELETED_TAG[] = "SELECT d.manifest_id, m.digest, d.until, d.protection"
                                      "  FROM deleted_tags d"
                                      "  JOIN manifests m ON m.id = d.manifest_id"
                                      " WHERE d.repo_id = $1 AND d.name = $2 AND d.until > $3";
static const char SQL_DELETED_FORGET[] =
    "DELETE FROM deleted_tags"
    "      WHERE repo_id = $1 AND name = $2 AND manifest_id = $3";
static const char SQL_MARKS_BACK[] = "UPDATE tags"
                                     "   SET protection = $1"
                                     " WHERE repo_id = $2 AND name = $3";

struct restore {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository, tag;
    const struct digest *digest; /* wanted; not set: the last */
    bool force;
    const struct content_change *change;
};

/* What it was deleted from. */
struct deleted {
    int64_t manifest, until, protection;
    struct digest digest;
};

static int deleted_find(struct db_tx *tx, const struct restore *with, int64_t repository,
                        int64_t now, struct deleted *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELETED_TAG);
    int row;

    db_bind_i64(&query, repository);
    db_bind_text(&query, with->tag);
    db_bind_i64(&query, now);
    while ((row = db_step(&query, err)) == 1) {
        struct deleted found = {
            db_column_i64(&query, 0), db_column_i64(&query, 2), db_column_i64(&query, 3), {0}};
        if (meta_digest(&query, 1, &found.digest, err) < 0)
            return -1;
        bool wanted = !digest_is_set(with->digest) || digest_equal(with->digest, &found.digest);
        if (wanted && found.until > out->until)
            *out = found;
    }
    if (row < 0 || out->manifest != 0)
        return row;
    return error_set(
        err, ERROR_NOT_FOUND, "tag %.*s was not deleted%s, or too long ago to be brought back",
        SLICE_ARG(with->tag), digest_is_set(with->digest) ? " from this manifest" : "");
}

static int deleted_forget(struct db_tx *tx, int64_t repository, struct slice tag, int64_t manifest,
                          struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELETED_FORGET);

    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    db_bind_i64(&query, manifest);
    return db_finish(&query, err);
}

static int marks_back(struct db_tx *tx, int64_t repository, struct slice tag, int64_t protection,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MARKS_BACK);

    db_bind_i64(&query, protection);
    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    return db_finish(&query, err);
}

/* The tag stands where it stood. One that exists keeps the marks it has. */
static int tag_back(struct db_tx *tx, const struct meta_point *point, const struct deleted *deleted,
                    bool exists, struct error *err)
{
    if (meta_tag_point(tx, point, err) < 0)
        return -1;
    if (!exists && deleted->protection != 0 &&
        marks_back(tx, point->repository, point->tag, deleted->protection, err) < 0)
        return -1;
    return deleted_forget(tx, point->repository, point->tag, deleted->manifest, err);
}

static int restore(struct db_tx *tx, void *arg, struct error *err)
{
    struct restore *with = arg;
    struct deleted deleted = {.until = 0};
    struct meta_point point = {.meta = with->meta,
                               .tag = with->tag,
                               .digest = &deleted.digest,
                               .actor = with->change->actor,
                               .cause = TAG_RESTORED,
                               .now = clock_now_us()};
    struct digest present;
    int64_t exists = 0;

    if (meta_repository_at(tx, with->repository, &point.repository, err) < 0 ||
        meta_tag_find(tx, point.repository, with->tag, &exists, &present, err) < 0)
        return -1;
    if (exists != 0 && !with->force)
        return error_set(err, ERROR_CONFLICT, "tag %.*s exists", SLICE_ARG(with->tag));
    if (deleted_find(tx, with, point.repository, point.now, &deleted, err) < 0)
        return -1;
    point.manifest = deleted.manifest;
    if (meta_manifest_revive(tx, with->meta, point.repository, point.manifest, point.now, err) <
            0 ||
        tag_back(tx, &point, &deleted, exists != 0, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

/* As much work as there are children. */
static int restore_write(struct meta *meta, db_run *run, struct meta_told *told, struct error *err)
{
    const struct db_work work = {
        .run = run, .arg = told, .after_commit = meta_tell, .priority = DB_HEAVY};

    return db_write(meta->db, &work, err);
}

int meta_tag_restore(struct meta *meta, struct slice repository, struct slice tag,
                     const struct digest *digest, bool force, const struct content_change *change,
                     const struct meta_after *after, struct error *err)
{
    struct restore with = {{after, false}, meta, repository, tag, digest, force, change};

    return restore_write(meta, restore, &with.told, err);
}

/* --- a manifest --- */

static const char SQL_MANIFEST_ASIDE[] = "SELECT id, deleted_at"
                                         "  FROM manifests"
                                         " WHERE repo_id = $1 AND digest = $2";
static const char SQL_TAGS_LOST[] =
    "SELECT name, protection"
    "  FROM deleted_tags"
    " WHERE repo_id = $1 AND manifest_id = $2 AND deleted_at = $3 AND until > $4";

struct undo {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    const struct digest *digest;
    bool tags;
    const struct content_change *change;
    int64_t deleted_at;
};

static int aside_find(struct db_tx *tx, struct undo *with, struct meta_point *point,
                      struct error *err)
{
    const struct meta_key key = meta_key(with->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST_ASIDE);

    db_bind_i64(&query, point->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such manifest in the repository");
    if (db_column_is_null(&query, 1))
        return error_set(err, ERROR_CONFLICT, "the manifest is not deleted");
    point->manifest = db_column_i64(&query, 0);
    with->deleted_at = db_column_i64(&query, 1);
    return 0;
}

/* Names and marks of the tags that went with it. */
static int lost_find(struct db_tx *tx, const struct undo *with, const struct meta_point *point,
                     struct page *names, int64_t **marks, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAGS_LOST);
    size_t capacity = 0, room = 0;
    int row;

    db_bind_i64(&query, point->repository);
    db_bind_i64(&query, point->manifest);
    db_bind_i64(&query, with->deleted_at);
    db_bind_i64(&query, point->now);
    while ((row = db_step(&query, err)) == 1) {
        *marks = meta_grow(*marks, names->count, &room, sizeof(**marks));
        (*marks)[names->count] = db_column_i64(&query, 1);
        meta_page_add(names, &capacity, db_column_slice(&query, 0));
    }
    return row;
}

static int tags_back(struct db_tx *tx, const struct undo *with, struct meta_point *point,
                     struct error *err)
{
    OWNED(page_drop) struct page names = {.names = NULL};
    OWNED(memory_drop) int64_t *marks = NULL;

    if (lost_find(tx, with, point, &names, &marks, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        const struct deleted deleted = {.manifest = point->manifest, .protection = marks[i]};
        struct digest present;
        int64_t exists = 0;
        point->tag = slice_of(names.names[i]);
        if (meta_tag_find(tx, point->repository, point->tag, &exists, &present, err) < 0 ||
            (exists == 0 && tag_back(tx, point, &deleted, false, err) < 0))
            return -1;
    }
    return 0;
}

static int tell_back(struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    const struct meta_arrival arrival = {
        .manifest = point->manifest, .actor = point->actor, .cause = TAG_RESTORED};

    return meta_news_arrival(tx, &arrival, err);
}

static int undo(struct db_tx *tx, void *arg, struct error *err)
{
    struct undo *with = arg;
    struct meta_point point = {.meta = with->meta,
                               .digest = with->digest,
                               .actor = with->change->actor,
                               .cause = TAG_RESTORED,
                               .now = clock_now_us()};

    with->told.changed = false;
    if (meta_repository_at(tx, with->repository, &point.repository, err) < 0 ||
        aside_find(tx, with, &point, err) < 0 ||
        meta_manifest_revive(tx, with->meta, point.repository, point.manifest, point.now, err) <
            0 ||
        tell_back(tx, &point, err) < 0 || (with->tags && tags_back(tx, with, &point, err) < 0))
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_manifest_restore(struct meta *meta, struct slice repository, const struct digest *digest,
                          bool tags, const struct content_change *change,
                          const struct meta_after *after, struct error *err)
{
    struct undo with = {{after, false}, meta, repository, digest, tags, change, 0};

    return restore_write(meta, undo, &with.told, err);
}
