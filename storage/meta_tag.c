/* meta_tag.c - tags: what they stand for, how they move; each in detail.
 * Touches  tags, tag_history, gc_queue, manifests (touched_at), audit.
 * Never    a manifest that is set aside: to tags it is not there. */
#include "storage/meta_content.h"
#include "storage/meta_news.h"

#include <stdlib.h>

int meta_tag_unknown(struct slice tag, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no tag %.*s", SLICE_ARG(tag));
}

int meta_repository_at(struct db_tx *tx, struct slice name, int64_t *id, struct error *err)
{
    if (meta_repository_find(tx, name, id, err) < 0)
        return -1;
    return *id != 0 ? 0 : error_set(err, ERROR_NOT_FOUND, "repository unknown");
}

static const char SQL_TARGET_FIND[] = "SELECT id"
                                      "  FROM manifests"
                                      " WHERE repo_id = $1 AND digest = $2 AND deleted_at IS NULL";

int meta_manifest_at(struct db_tx *tx, int64_t repository, const struct digest *digest, int64_t *id,
                     struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TARGET_FIND);

    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such manifest in the repository");
    *id = db_column_i64(&query, 0);
    return 0;
}

/* --- moving, for pushes too --- */

static const char SQL_TAG_FIND[] = "SELECT m.id, m.digest"
                                   "  FROM tags t"
                                   "  JOIN manifests m ON m.id = t.manifest_id"
                                   " WHERE t.repo_id = $1 AND t.name = $2";
static const char SQL_TAG_PUT[] =
    "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
    "     VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (repo_id, name)"
    "   DO UPDATE SET manifest_id = excluded.manifest_id, updated_at = excluded.updated_at";

int meta_tag_find(struct db_tx *tx, int64_t repository, struct slice tag, int64_t *id,
                  struct digest *digest, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_FIND);

    *id = 0;
    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    *id = db_column_i64(&query, 0);
    return meta_digest(&query, 1, digest, err);
}

static int tag_write(struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_PUT);

    db_bind_i64(&query, point->repository);
    db_bind_text(&query, point->tag);
    db_bind_i64(&query, point->manifest);
    db_bind_i64(&query, point->now);
    return db_finish(&query, err);
}

/* The manifest the tag leaves may have lost its last reference. */
int meta_tag_point(struct db_tx *tx, const struct meta_point *point, struct error *err)
{
    struct digest old;
    int64_t old_id = 0;

    if (meta_tag_find(tx, point->repository, point->tag, &old_id, &old, err) < 0)
        return -1;
    struct meta_arrival arrival = {point->manifest, point->tag, NULL, point->actor, point->cause};
    if (old_id == point->manifest)
        return point->cause == TAG_PUSHED ? meta_news_arrival(tx, &arrival, err) : 0;
    if (old_id != 0 && !point->takes_back &&
        meta_guard_tag(tx, point->repository, point->tag, TAG_IMMUTABLE, err) < 0)
        return -1;
    const struct meta_move move = {point->repository, point->tag,   old_id == 0 ? NULL : &old,
                                   point->digest,     point->actor, point->cause};
    arrival.from = move.old;
    if (tag_write(tx, point, err) < 0 || meta_history(tx, &move, err) < 0 ||
        meta_news_arrival(tx, &arrival, err) < 0)
        return -1;
    return old_id == 0 ? 0
                       : meta_queue_left(tx, point->repository, old_id,
                                         point->now + point->meta->grace_us, err);
}

/* --- in detail --- */

void content_tag_drop(struct content_tag *tag)
{
    free(tag->name);
    free(tag->media_type);
    free(tag->artifact_type);
    *tag = (struct content_tag){.name = NULL};
}

void content_tag_page_drop(struct content_tag_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        content_tag_drop(&page->items[i]);
    free(page->items);
    *page = (struct content_tag_page){.items = NULL};
}

#define TAG_SELECT                                                                                 \
    "SELECT t.name, m.digest, m.media_type, m.artifact_type, m.total_size, m.created_at,"          \
    "       t.updated_at, m.pulled_at, t.protection,"                                              \
    "       (SELECT count(*) FROM pins p"                                                          \
    "         WHERE p.repo_id = t.repo_id AND p.manifest_id = t.manifest_id AND p.until > $1)"     \
    "  FROM tags t"                                                                                \
    "  JOIN manifests m ON m.id = t.manifest_id"

static const char SQL_TAG_DETAIL[] = TAG_SELECT " WHERE t.repo_id = $2 AND t.name = $3";
static const char SQL_TAG_DETAILS[] = TAG_SELECT " WHERE t.repo_id = $2 AND t.name > $3"
                                                 "   AND t.name LIKE $4 ESCAPE '!'"
                                                 " ORDER BY t.name"
                                                 " LIMIT $5";

static int tag_row(const struct db_query *query, const struct meta_rules *rules,
                   struct content_tag *out, struct error *err)
{
    struct slice name = db_column_slice(query, 0);

    if (meta_digest(query, 1, &out->digest, err) < 0)
        return -1;
    out->name = memory_text(name);
    out->media_type = meta_text(query, 2);
    out->artifact_type = meta_text_or_null(query, 3);
    out->size = (uint64_t)db_column_i64(query, 4);
    out->pushed_at = db_column_i64(query, 5);
    out->updated_at = db_column_i64(query, 6);
    out->pulled_at = db_column_i64(query, 7);
    out->own = (unsigned)db_column_i64(query, 8);
    out->protection = out->own | meta_rules_bits(rules, name);
    out->pins = (uint64_t)db_column_i64(query, 9);
    return 0;
}

struct detail {
    struct slice repository, tag;
    struct content_tag *out;
};

static int detail(struct db_tx *tx, void *arg, struct error *err)
{
    const struct detail *with = arg;
    OWNED(meta_rules_drop) struct meta_rules rules = {.count = 0};
    int64_t repository = 0;

    content_tag_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0 ||
        meta_rules_read(tx, repository, &rules, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_DETAIL);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, repository);
    db_bind_text(&query, with->tag);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : meta_tag_unknown(with->tag, err);
    return tag_row(&query, &rules, with->out, err);
}

int meta_tag_detail(struct meta *meta, struct slice repository, struct slice tag,
                    struct content_tag *out, struct error *err)
{
    struct detail with = {repository, tag, out};

    *out = (struct content_tag){.name = NULL};
    return db_read(meta->db, detail, &with, err);
}

struct details {
    struct slice repository, after, search;
    size_t limit;
    struct content_tag_page *out;
};

static int details_fill(struct db_query *query, const struct details *with,
                        const struct meta_rules *rules, struct error *err)
{
    struct content_tag_page *out = with->out;
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count] = (struct content_tag){.name = NULL};
        if (tag_row(query, rules, &out->items[out->count++], err) < 0)
            return -1;
    }
    return row;
}

static int details(struct db_tx *tx, void *arg, struct error *err)
{
    const struct details *with = arg;
    OWNED(meta_rules_drop) struct meta_rules rules = {.count = 0};
    int64_t repository = 0;

    content_tag_page_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0 ||
        meta_rules_read(tx, repository, &rules, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_DETAILS);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, repository);
    db_bind_text(&query, meta_or_empty(with->after));
    db_bind_text(&query, with->search);
    db_bind_i64(&query, meta_one_more(with->limit));
    return details_fill(&query, with, &rules, err);
}

int meta_tag_details(struct meta *meta, struct slice repository, struct slice after,
                     struct slice search, size_t limit, struct content_tag_page *out,
                     struct error *err)
{
    OWNED(buffer_drop) struct buffer pattern = BUFFER_NONE;

    meta_search(&pattern, search);
    struct details with = {repository, after, buffer_slice(&pattern), limit, out};
    *out = (struct content_tag_page){.items = NULL};
    if (db_read(meta->db, details, &with, err) == 0)
        return 0;
    content_tag_page_drop(out);
    return -1;
}

/* --- set by hand --- */

static const char SQL_TARGET_TOUCH[] = "UPDATE manifests"
                                       "   SET touched_at = $1"
                                       " WHERE id = $2";

struct set {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    const struct content_tag_set *set;
    const struct content_change *change;
    bool created;
};

static int set_condition(struct db_tx *tx, struct set *with, int64_t repository, struct error *err)
{
    const struct content_tag_set *set = with->set;
    struct digest now;
    int64_t id = 0;

    if (meta_tag_find(tx, repository, set->tag, &id, &now, err) < 0)
        return -1;
    with->created = id == 0;
    if (set->if_absent && id != 0)
        return error_set(err, ERROR_PRECONDITION, "the tag exists");
    if (digest_is_set(&set->if_digest) && (id == 0 || !digest_equal(&now, &set->if_digest)))
        return error_set(err, ERROR_PRECONDITION, "the tag stands for something else");
    return 0;
}

/* P6's tag part: the manifest is looked up where the tag is written. */
static int set(struct db_tx *tx, void *arg, struct error *err)
{
    struct set *with = arg;
    struct meta_point point = {.meta = with->meta,
                               .tag = with->set->tag,
                               .digest = &with->set->digest,
                               .actor = with->change->actor,
                               .cause = TAG_SET,
                               .now = clock_now_us()};

    if (meta_repository_at(tx, with->repository, &point.repository, err) < 0 ||
        meta_manifest_at(tx, point.repository, &with->set->digest, &point.manifest, err) < 0 ||
        set_condition(tx, with, point.repository, err) < 0 ||
        META_CHANGE(tx, SQL_TARGET_TOUCH, err, point.now, point.manifest) < 0 ||
        meta_tag_point(tx, &point, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_tag_set(struct meta *meta, struct slice repository, const struct content_tag_set *wanted,
                 const struct content_change *change, bool *created, const struct meta_after *after,
                 struct error *err)
{
    struct set with = {{after, false}, meta, repository, wanted, change, false};

    int result = meta_write_told(meta, set, &with.told, err);
    *created = with.created;
    return result;
}

/* --- its own marks --- */

static const char SQL_TAG_MARK[] = "UPDATE tags"
                                   "   SET protection = (protection & ~$1) | $2"
                                   " WHERE repo_id = $3 AND name = $4";

struct mark {
    struct slice repository, tag;
    unsigned mask, bits;
    const struct content_change *change;
};

static int mark(struct db_tx *tx, void *arg, struct error *err)
{
    const struct mark *with = arg;
    int64_t repository = 0;

    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_MARK);
    db_bind_i64(&query, with->mask);
    db_bind_i64(&query, with->bits & with->mask);
    db_bind_i64(&query, repository);
    db_bind_text(&query, with->tag);
    if (db_finish(&query, err) < 0)
        return -1;
    if (db_changes(&query) == 0)
        return meta_tag_unknown(with->tag, err);
    return meta_audit_add(tx, with->change->event, err);
}

int meta_tag_protect(struct meta *meta, struct slice repository, struct slice tag, unsigned mask,
                     unsigned bits, const struct content_change *change, struct error *err)
{
    struct mark with = {repository, tag, mask, bits, change};

    return meta_write(meta, mark, &with, err);
}
