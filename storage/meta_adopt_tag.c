/* meta_adopt_tag.c - tags that were elsewhere, with where they stood before.
 * Touches  tags, tag_history, gc_queue; reads manifests.
 * Never    moves or brings back what somebody set or deleted here: adopt.h (3). */
#include <stdlib.h>

#include "storage/meta_adopt.h"
#include "storage/meta_news.h"

static const char SQL_LAST_CAUSE[] = "SELECT cause"
                                     "  FROM tag_history"
                                     " WHERE repo_id = $1 AND name = $2"
                                     " ORDER BY id DESC"
                                     " LIMIT 1";
static const char SQL_MANIFEST_HERE[] = "SELECT id"
                                        "  FROM manifests"
                                        " WHERE repo_id = $1 AND digest = $2"
                                        "   AND deleted_at IS NULL";
static const char SQL_TAG_ADOPT[] =
    "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
    "     VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (repo_id, name)"
    "   DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at";

struct adoption {
    const struct meta *meta;
    struct slice name;
    struct adopt_tag *tags;
    size_t count;
    bool overwrite;
    const struct actor *actor;
    const struct meta_after *after;
    int64_t now;
    int64_t repository;
};

/* A tag as the database has it. */
struct standing {
    int64_t manifest; /* 0: there is no such tag */
    struct digest digest;
    int64_t target; /* the manifest it is to name; 0: it is not here */
};

/* Whether nobody but an import ever changed the tag last. */
static int is_ours(struct db_tx *tx, int64_t repository, struct slice tag, bool *out,
                   struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LAST_CAUSE);

    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    int row = db_step(&query, err);
    *out = row == 0 || (row == 1 && db_column_i64(&query, 0) == TAG_IMPORTED);
    return row < 0 ? -1 : 0;
}

static int manifest_here(struct db_tx *tx, int64_t repository, const struct digest *digest,
                         int64_t *out, struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST_HERE);

    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    *out = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

/* What other clocks say may be to come. */
static int64_t time_of(const struct adoption *with, const struct adopt_past *past)
{
    return past->at > 0 && past->at < with->now ? past->at : with->now;
}

/* The moves that its history lacks: all, or those after where it stands now. */
static int history_write(struct db_tx *tx, const struct adoption *with, const struct adopt_tag *tag,
                         const struct standing *standing, struct error *err)
{
    const struct digest *old = standing->manifest == 0 ? NULL : &standing->digest;
    size_t from = tag->past_count > ADOPT_PAST_MAX ? tag->past_count - ADOPT_PAST_MAX : 0;

    if (old != NULL) {
        size_t next = tag->past_count - 1;
        for (size_t i = from; i < tag->past_count; i++)
            if (digest_equal(&tag->past[i].digest, old))
                next = i + 1;
        from = next;
    }
    for (size_t i = from; i < tag->past_count; i++) {
        const struct adopt_past *past = &tag->past[i];
        const struct meta_move move = {with->repository, tag->name,   old,
                                       &past->digest,    with->actor, TAG_IMPORTED};
        if (meta_history_at(tx, &move, time_of(with, past), err) < 0)
            return -1;
        old = &tag->past[i].digest;
    }
    return 0;
}

static int tag_write(struct db_tx *tx, const struct adoption *with, const struct adopt_tag *tag,
                     int64_t manifest, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_ADOPT);

    db_bind_i64(&query, with->repository);
    db_bind_text(&query, tag->name);
    db_bind_i64(&query, manifest);
    db_bind_i64(&query, time_of(with, &tag->past[tag->past_count - 1]));
    return db_finish(&query, err);
}

/* Nothing was written when it fails with a code of adopt.h. */
static int move(struct db_tx *tx, const struct adoption *with, struct adopt_tag *tag,
                const struct standing *standing, struct error *err)
{
    bool ours = true;

    if (is_ours(tx, with->repository, tag->name, &ours, err) < 0)
        return -1;
    if (!ours && !with->overwrite) {
        tag->outcome = ADOPT_TAG_KEPT;
        return 0;
    }
    if (standing->target == 0)
        return error_set(err, ERROR_MANIFEST_UNKNOWN, "its manifest is not here");
    if (standing->manifest != 0 &&
        meta_guard_tag(tx, with->repository, tag->name, TAG_IMMUTABLE, err) < 0)
        return -1;
    const struct meta_arrival arrival = {standing->target, tag->name,
                                         standing->manifest == 0 ? NULL : &standing->digest,
                                         with->actor, TAG_IMPORTED};
    if (history_write(tx, with, tag, standing, err) < 0 ||
        tag_write(tx, with, tag, standing->target, err) < 0 ||
        meta_news_arrival(tx, &arrival, err) < 0)
        return -1;
    tag->outcome = ADOPT_TAG_SET;
    return standing->manifest == 0 ? 0
                                   : meta_queue_left(tx, with->repository, standing->manifest,
                                                     with->now + with->meta->grace_us, err);
}

static int adopt(struct db_tx *tx, const struct adoption *with, struct adopt_tag *tag,
                 struct error *err)
{
    const struct digest *wanted = &tag->past[tag->past_count - 1].digest;
    struct standing standing = {0};

    if (meta_tag_find(tx, with->repository, tag->name, &standing.manifest, &standing.digest, err) <
            0 ||
        manifest_here(tx, with->repository, wanted, &standing.target, err) < 0)
        return -1;
    if (standing.manifest != 0 && standing.manifest == standing.target) {
        tag->outcome = ADOPT_TAG_PRESENT;
        return 0;
    }
    return move(tx, with, tag, &standing, err);
}

static int adopt_all(struct db_tx *tx, void *arg, struct error *err)
{
    struct adoption *with = arg;

    with->now = clock_now_us();
    if (meta_repository_find(tx, with->name, &with->repository, err) < 0)
        return -1;
    for (size_t i = 0; i < with->count; i++) {
        struct adopt_tag *tag = &with->tags[i];
        error_clear(&tag->why);
        tag->outcome = ADOPT_TAG_FAILED;
        if (adopt(tx, with, tag, &tag->why) == 0)
            continue;
        if (tag->why.code != ERROR_MANIFEST_UNKNOWN && tag->why.code != ERROR_PROTECTED) {
            *err = tag->why;
            return -1;
        }
    }
    return 0;
}

static void adopt_after(void *arg)
{
    const struct adoption *with = arg;

    with->after->run(with->after->arg);
}

int meta_adopt_tags(struct meta *meta, struct slice repository, struct adopt_tag *tags,
                    size_t count, bool overwrite, const struct actor *actor,
                    const struct meta_after *after, struct error *err)
{
    struct adoption with = {.meta = meta,
                            .name = repository,
                            .tags = tags,
                            .count = count,
                            .overwrite = overwrite,
                            .actor = actor,
                            .after = after};
    const struct db_work work = {
        .run = adopt_all, .arg = &with, .after_commit = adopt_after, .priority = DB_HEAVY};

    return db_write(meta->db, &work, err);
}
