/* meta_untag.c - tags that go: one, or many at once.
 * Touches  tags, deleted_tags, tag_history, gc_queue, audit.
 * Never    a manifest: it stays, and the collector looks at it. */
#include "registry/core/glob.h"
#include "storage/meta_content.h"
#include "storage/meta_news.h"

#include <stdlib.h>

/* --- one --- */

static const char SQL_TAG_SET_ASIDE[] =
    "INSERT INTO deleted_tags(repo_id, name, manifest_id, until, deleted_at, protection)"
    "     SELECT repo_id, name, manifest_id, $1, $2, protection"
    "       FROM tags"
    "      WHERE repo_id = $3 AND name = $4"
    " ON CONFLICT (repo_id, name, manifest_id)"
    "   DO UPDATE SET until = excluded.until, deleted_at = excluded.deleted_at,"
    "                 protection = excluded.protection";
static const char SQL_TAG_DELETE[] = "DELETE FROM tags"
                                     "      WHERE repo_id = $1 AND name = $2";

static int set_aside(struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_SET_ASIDE);

    db_bind_i64(&query, point->now + point->meta->undo_us);
    db_bind_i64(&query, point->now);
    db_bind_i64(&query, point->repository);
    db_bind_text(&query, point->tag);
    return db_finish(&query, err);
}

static int delete (struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_DELETE);

    db_bind_i64(&query, point->repository);
    db_bind_text(&query, point->tag);
    return db_finish(&query, err);
}

int meta_tag_end(struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    const struct meta_move move = {point->repository, point->tag,  point->digest, NULL,
                                   point->actor,      point->cause};

    const struct meta_departure departure = {point->repository, point->tag, point->digest,
                                             point->actor, (int)point->cause};

    if ((point->meta->undo_us > 0 && set_aside(tx, point, err) < 0) ||
        delete (tx, point, err) < 0 || meta_history(tx, &move, err) < 0 ||
        meta_news_departure(tx, &departure, err) < 0)
        return -1;
    return meta_queue_left(tx, point->repository, point->manifest,
                           point->now + point->meta->undo_us, err);
}

/* --- many --- */

static const char SQL_TAGS[] = "SELECT name"
                               "  FROM tags"
                               " WHERE repo_id = $1";
static const char SQL_TAG_TARGET[] = "SELECT m.id, m.digest, t.protection"
                                     "  FROM tags t"
                                     "  JOIN manifests m ON m.id = t.manifest_id"
                                     " WHERE t.repo_id = $1 AND t.name = $2";

struct untag {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    const struct content_tags_delete *what;
    const struct content_change *change;
    struct page found; /* what the glob matches */
    uint64_t deleted;
};

static int too_many(struct error *err)
{
    return error_set(err, ERROR_CONFLICT, "more than %d tags match: narrow it down",
                     CONTENT_TAGS_MAX);
}

/* A read of its own, so that the writer never waits for a repository of a million tags. Tags that
 * come later are not meant; those that went are missed when they are counted. */
static int matches_find(struct db_tx *tx, void *arg, struct error *err)
{
    struct untag *with = arg;
    int64_t repository = 0;
    size_t capacity = 0;
    int row;

    page_drop(&with->found);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAGS);
    db_bind_i64(&query, repository);
    while ((row = db_step(&query, err)) == 1) {
        if (!glob_matches(with->what->glob, db_column_slice(&query, 0)))
            continue;
        if (with->found.count == CONTENT_TAGS_MAX)
            return too_many(err);
        meta_page_add(&with->found, &capacity, db_column_slice(&query, 0));
    }
    return row;
}

/* One of them: guarded, and unless it is a dry run gone. A name that is no tag is passed over. */
static int untag_one(struct db_tx *tx, struct untag *with, struct meta_point point,
                     const struct meta_rules *rules, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_TARGET);
    struct digest digest;

    db_bind_i64(&query, point.repository);
    db_bind_text(&query, point.tag);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    unsigned bits = (unsigned)db_column_i64(&query, 2) | meta_rules_bits(rules, point.tag);
    if ((bits & TAG_PROTECTED) != 0)
        return error_set(err, ERROR_PROTECTED, "tag %.*s is protected", SLICE_ARG(point.tag));
    if (meta_digest(&query, 1, &digest, err) < 0)
        return -1;
    point.manifest = db_column_i64(&query, 0);
    point.digest = &digest;
    with->deleted++;
    return with->change->dry_run ? 0 : meta_tag_end(tx, &point, err);
}

static int untag_all(struct db_tx *tx, struct untag *with, struct meta_point *point,
                     struct error *err)
{
    OWNED(meta_rules_drop) struct meta_rules rules = {.count = 0};
    bool listed = with->what->glob.at == NULL;
    size_t count = listed ? with->what->count : with->found.count;

    with->deleted = 0;
    if (meta_rules_read(tx, point->repository, &rules, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        point->tag = listed ? with->what->tags[i] : slice_of(with->found.names[i]);
        if (untag_one(tx, with, *point, &rules, err) < 0)
            return -1;
    }
    return 0;
}

static int untag(struct db_tx *tx, void *arg, struct error *err)
{
    struct untag *with = arg;
    struct meta_point point = {.meta = with->meta,
                               .actor = with->change->actor,
                               .cause = TAG_DELETED,
                               .now = clock_now_us()};

    with->told.changed = false;
    if (meta_repository_at(tx, with->repository, &point.repository, err) < 0 ||
        untag_all(tx, with, &point, err) < 0)
        return -1;
    if (with->what->expect >= 0 && with->deleted != (uint64_t)with->what->expect)
        return error_set(err, ERROR_CONFLICT, "%llu tags would go, not %lld",
                         (unsigned long long)with->deleted, (long long)with->what->expect);
    if (with->change->dry_run || with->deleted == 0)
        return 0;
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

static int untag_write(struct meta *meta, struct untag *with, struct error *err)
{
    const struct db_work work = {.run = untag,
                                 .arg = with,
                                 .after_commit = meta_tell,
                                 .priority = with->what->count == 1 ? DB_FOREGROUND : DB_HEAVY};

    return with->change->dry_run ? db_read(meta->db, untag, with, err)
                                 : db_write(meta->db, &work, err);
}

int meta_tags_delete(struct meta *meta, struct slice repository,
                     const struct content_tags_delete *what, const struct content_change *change,
                     uint64_t *deleted, const struct meta_after *after, struct error *err)
{
    struct untag with = {{after, false}, meta, repository, what, change, {NULL, 0, false}, 0};

    *deleted = 0;
    int result = what->glob.at == NULL && what->count > CONTENT_TAGS_MAX ? too_many(err) : 0;
    if (result == 0 && what->glob.at != NULL)
        result = db_read(meta->db, matches_find, &with, err);
    if (result == 0)
        result = untag_write(meta, &with, err);
    page_drop(&with.found);
    *deleted = with.deleted;
    return result;
}
