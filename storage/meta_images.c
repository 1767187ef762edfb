/* meta_images.c - what a repository holds as one snapshot, what would be freed, and the end of what
 * rules chose.
 * Touches  what P7 touches; reads manifests, tags, pins, protections, links to blobs.
 * Never    decides what goes.
 *
 * Reading follows the indexes of one repository; nothing is asked once a manifest but by key. */
#include "storage/meta_internal.h"
#include "storage/meta_retention.h"

#include <stdlib.h>
#include <string.h>

void images_drop(struct images *images)
{
    for (size_t i = 0; i < images->count; i++) {
        free(images->items[i].media_type);
        free(images->items[i].artifact_type);
    }
    for (size_t i = 0; i < images->tag_count; i++)
        free(images->tags[i].name);
    free(images->items);
    free(images->tags);
    free(images->links);
    free(images->aside);
    *images = (struct images){.items = NULL};
}

/* --- the snapshot --- */

static const char SQL_IMAGES[] = "SELECT id, digest, media_type, artifact_type, size, total_size,"
                                 "       created_at, pulled_at, touched_at, deleted_at"
                                 "  FROM manifests"
                                 " WHERE repo_id = $1"
                                 " ORDER BY id";
static const char SQL_IMAGE_TAGS[] = "SELECT manifest_id, name, updated_at, protection"
                                     "  FROM tags"
                                     " WHERE repo_id = $1"
                                     " ORDER BY manifest_id, name";
static const char SQL_IMAGE_PINS[] = "SELECT manifest_id"
                                     "  FROM pins"
                                     " WHERE repo_id = $1 AND until > $2";
static const char SQL_IMAGE_LINKS[] = "SELECT r.parent_id, r.child_id, p.deleted_at"
                                      "  FROM manifest_refs r"
                                      "  JOIN manifests p ON p.id = r.parent_id"
                                      " WHERE r.repo_id = $1 AND r.child_id IS NOT NULL"
                                      " ORDER BY r.parent_id";
static const char SQL_IMAGE_SUBJECTS[] =
    "SELECT m.id, s.id, s.deleted_at"
    "  FROM manifests m"
    "  LEFT JOIN manifests s ON s.repo_id = m.repo_id AND s.digest = m.subject"
    " WHERE m.repo_id = $1 AND m.subject IS NOT NULL AND m.deleted_at IS NULL";

struct load {
    struct slice name;
    struct images *images;
};

static struct image item_row(const struct db_query *query, const struct digest *digest)
{
    return (struct image){
        .id = db_column_i64(query, 0),
        .digest = *digest,
        .media_type = meta_text(query, 2),
        .artifact_type = meta_text_or_null(query, 3),
        .size = (uint64_t)db_column_i64(query, 4),
        .total_size = (uint64_t)db_column_i64(query, 5),
        .pushed_at = db_column_i64(query, 6),
        .pulled_at = db_column_is_null(query, 7) ? 0 : db_column_i64(query, 7),
        .touched_at = db_column_i64(query, 8),
    };
}

static int items_read(struct db_tx *tx, struct images *images, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGES);
    size_t items = 0, aside = 0;
    struct digest digest;
    int row;

    db_bind_i64(&query, images->repository);
    while ((row = db_step(&query, err)) == 1) {
        if (meta_digest(&query, 1, &digest, err) < 0)
            return -1;
        if (!db_column_is_null(&query, 9)) {
            images->aside =
                meta_grow(images->aside, images->aside_count, &aside, sizeof(*images->aside));
            images->aside[images->aside_count++] = digest;
            continue;
        }
        images->items = meta_grow(images->items, images->count, &items, sizeof(*images->items));
        images->items[images->count++] = item_row(&query, &digest);
    }
    return row;
}

/* By id; NULL: it is not among them. */
static struct image *item_of(const struct images *images, int64_t id)
{
    size_t low = 0, high = images->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (images->items[middle].id == id)
            return &images->items[middle];
        if (images->items[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static int tags_read(struct db_tx *tx, struct images *images, const struct meta_rules *rules,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_TAGS);
    size_t capacity = 0, next = 0;
    int row;

    db_bind_i64(&query, images->repository);
    while ((row = db_step(&query, err)) == 1) {
        struct image *item = item_of(images, db_column_i64(&query, 0));
        if (item == NULL)
            continue;
        unsigned bits =
            (unsigned)db_column_i64(&query, 3) | meta_rules_bits(rules, db_column_slice(&query, 1));
        images->tags = meta_grow(images->tags, images->tag_count, &capacity, sizeof(*images->tags));
        images->tags[images->tag_count++] = (struct image_tag){
            .name = meta_text(&query, 1),
            .updated_at = db_column_i64(&query, 2),
            .protected = (bits & TAG_PROTECTED) != 0,
        };
        item->tag_count++;
    }
    /* The array no longer moves, and has them in the order of the manifests. */
    for (size_t i = 0; i < images->count; i++) {
        images->items[i].tags = images->tags == NULL ? NULL : images->tags + next;
        next += images->items[i].tag_count;
    }
    return row;
}

static int pins_read(struct db_tx *tx, struct images *images, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_PINS);
    int row;

    db_bind_i64(&query, images->repository);
    db_bind_i64(&query, images->now);
    while ((row = db_step(&query, err)) == 1) {
        struct image *item = item_of(images, db_column_i64(&query, 0));
        if (item != NULL)
            item->pinned = true;
    }
    return row;
}

static int links_read(struct db_tx *tx, struct images *images, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_LINKS);
    size_t capacity = 0;
    int row;

    db_bind_i64(&query, images->repository);
    while ((row = db_step(&query, err)) == 1) {
        struct image *parent = item_of(images, db_column_i64(&query, 0));
        struct image *child = item_of(images, db_column_i64(&query, 1));
        if (child == NULL)
            continue;
        child->child = true;
        child->child_aside = child->child_aside || !db_column_is_null(&query, 2);
        if (parent == NULL)
            continue;
        images->links =
            meta_grow(images->links, images->link_count, &capacity, sizeof(*images->links));
        images->links[images->link_count++] =
            (struct image_link){(size_t)(parent - images->items), (size_t)(child - images->items)};
    }
    return row;
}

static int subjects_read(struct db_tx *tx, struct images *images, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_SUBJECTS);
    int row;

    db_bind_i64(&query, images->repository);
    while ((row = db_step(&query, err)) == 1) {
        struct image *item = item_of(images, db_column_i64(&query, 0));
        const struct image *subject = item_of(images, db_column_i64(&query, 1));
        if (item == NULL)
            continue;
        item->subject_is = subject != NULL                 ? SUBJECT_HERE
                           : !db_column_is_null(&query, 2) ? SUBJECT_ASIDE
                                                           : SUBJECT_ABSENT;
        item->subject = subject == NULL ? 0 : (size_t)(subject - images->items);
    }
    return row;
}

/* What pulls by tag through an index is pulled from the index, too. Indexes of indexes are rare:
 * each round settles one more level. */
static void pulls_lift(struct images *images)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < images->link_count; i++) {
            struct image *parent = &images->items[images->links[i].parent];
            int64_t pulled_at = images->items[images->links[i].child].pulled_at;
            if (parent->pulled_at >= pulled_at)
                continue;
            parent->pulled_at = pulled_at;
            changed = true;
        }
    }
}

static int load(struct db_tx *tx, void *arg, struct error *err)
{
    const struct load *load = arg;
    struct images *images = load->images;
    OWNED(meta_rules_drop) struct meta_rules rules = {.items = NULL};
    int64_t grace_us = images->grace_us, repository = 0;

    images_drop(images);
    if (meta_repository_find(tx, load->name, &repository, err) < 0)
        return -1;
    if (repository == 0)
        return error_set(err, ERROR_NAME_UNKNOWN, "repository unknown");
    *images =
        (struct images){.repository = repository, .now = clock_now_us(), .grace_us = grace_us};
    if (meta_rules_read(tx, repository, &rules, err) < 0 || items_read(tx, images, err) < 0 ||
        tags_read(tx, images, &rules, err) < 0 || pins_read(tx, images, err) < 0 ||
        links_read(tx, images, err) < 0 || subjects_read(tx, images, err) < 0)
        return -1;
    pulls_lift(images);
    return 0;
}

int meta_images_load(struct meta *meta, struct slice repository, struct images *out,
                     struct error *err)
{
    struct load with = {repository, out};

    *out = (struct images){.grace_us = meta->grace_us};
    if (db_read(meta->db, load, &with, err) == 0)
        return 0;
    images_drop(out);
    return -1;
}

/* --- what would be freed --- */

static const char SQL_BLOBS_OF[] = "SELECT blob_id"
                                   "  FROM manifest_blobs"
                                   " WHERE repo_id = $1 AND manifest_id = $2";
/* Not counted further than to know: a base layer may be used by very many. */
static const char SQL_BLOB_ALONE[] = "SELECT b.size,"
                                     "       (SELECT count(*)"
                                     "          FROM (SELECT 1"
                                     "                  FROM manifest_blobs"
                                     "                 WHERE repo_id = $1 AND blob_id = $2"
                                     "                 LIMIT $3) AS uses),"
                                     "       EXISTS (SELECT 1"
                                     "                 FROM repository_blobs"
                                     "                WHERE blob_id = $2 AND repo_id <> $1)"
                                     "  FROM blobs b"
                                     " WHERE b.id = $2";

enum { FREED_BATCH = 1000 }; /* manifests, then blobs, of one read */

struct freed {
    const struct images *images;
    const size_t *chosen;
    size_t from, to; /* of chosen, then of ids */
    int64_t *ids;    /* of blobs, once for each use */
    size_t count, capacity;
    size_t mark; /* what of ids was there when the read began */
    struct images_freed *out, sum;
};

static int blobs_of(struct db_tx *tx, struct freed *freed, int64_t manifest, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOBS_OF);
    int row;

    db_bind_i64(&query, freed->images->repository);
    db_bind_i64(&query, manifest);
    while ((row = db_step(&query, err)) == 1) {
        freed->ids = meta_grow(freed->ids, freed->count, &freed->capacity, sizeof(*freed->ids));
        freed->ids[freed->count++] = db_column_i64(&query, 0);
    }
    return row;
}

static int blobs_gather(struct db_tx *tx, void *arg, struct error *err)
{
    struct freed *freed = arg;

    freed->count = freed->mark;
    for (size_t i = freed->from; i < freed->to; i++)
        if (blobs_of(tx, freed, freed->images->items[freed->chosen[i]].id, err) < 0)
            return -1;
    return 0;
}

static int blob_judge(struct db_tx *tx, struct freed *freed, int64_t blob, size_t uses,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_ALONE);

    db_bind_i64(&query, freed->images->repository);
    db_bind_i64(&query, blob);
    db_bind_i64(&query, (int64_t)uses + 1);
    int row = db_step(&query, err);
    if (row == 1 && (size_t)db_column_i64(&query, 1) <= uses && db_column_i64(&query, 2) == 0) {
        freed->sum.blobs++;
        freed->sum.bytes += (uint64_t)db_column_i64(&query, 0);
    }
    return row < 0 ? -1 : 0;
}

/* From a place where the uses of one blob begin. */
static int blobs_judge(struct db_tx *tx, void *arg, struct error *err)
{
    struct freed *freed = arg;
    size_t i = freed->from;

    freed->sum = (struct images_freed){0};
    while (i < freed->count && i - freed->from < FREED_BATCH) {
        size_t uses = 1;
        while (i + uses < freed->count && freed->ids[i + uses] == freed->ids[i])
            uses++;
        if (blob_judge(tx, freed, freed->ids[i], uses, err) < 0)
            return -1;
        i += uses;
    }
    freed->to = i;
    return 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int freed_read(struct meta *meta, struct freed *freed, size_t count, struct error *err)
{
    for (freed->from = 0; freed->from < count; freed->from = freed->to) {
        freed->to = freed->from + FREED_BATCH < count ? freed->from + FREED_BATCH : count;
        freed->mark = freed->count;
        if (db_read(meta->db, blobs_gather, freed, err) < 0)
            return -1;
    }
    if (freed->count > 0)
        qsort(freed->ids, freed->count, sizeof(*freed->ids), compare);
    for (freed->from = 0; freed->from < freed->count; freed->from = freed->to) {
        if (db_read(meta->db, blobs_judge, freed, err) < 0)
            return -1;
        freed->out->blobs += freed->sum.blobs;
        freed->out->bytes += freed->sum.bytes;
    }
    return 0;
}

int meta_images_freed(struct meta *meta, const struct images *images, const size_t *chosen,
                      size_t count, struct images_freed *out, struct error *err)
{
    struct freed freed = {.images = images, .chosen = chosen, .out = out};

    *out = (struct images_freed){0};
    int result = freed_read(meta, &freed, count, err);
    free(freed.ids);
    return result;
}

/* --- the end of what was chosen --- */

static const char SQL_IMAGE_NOW[] = "SELECT m.touched_at,"
                                    "       EXISTS (SELECT 1"
                                    "                 FROM manifest_refs r"
                                    "                WHERE r.repo_id = m.repo_id"
                                    "                  AND r.child_id = m.id)"
                                    "  FROM manifests m"
                                    " WHERE m.repo_id = $1 AND m.id = $2"
                                    "   AND m.deleted_at IS NULL";
/* With what it lists, as pulls_lift does. CROSS: in this order, from the image downwards. */
static const char SQL_IMAGE_PULLED[] = "WITH RECURSIVE listed(id) AS ("
                                       "     SELECT CAST($1 AS BIGINT)"
                                       "      UNION"
                                       "     SELECT r.child_id"
                                       "       FROM listed l"
                                       "      CROSS JOIN manifest_refs r"
                                       "      CROSS JOIN manifests c"
                                       "      WHERE r.repo_id = $2 AND r.parent_id = l.id"
                                       "        AND c.id = r.child_id AND c.deleted_at IS NULL)"
                                       "SELECT coalesce(max(m.pulled_at), 0)"
                                       "  FROM listed l"
                                       "  JOIN manifests m ON m.id = l.id";
static const char SQL_IMAGE_TAGS_NOW[] = "SELECT name, updated_at"
                                         "  FROM tags"
                                         " WHERE repo_id = $1 AND manifest_id = $2";

struct retire {
    struct meta_told told;
    const struct meta *meta;
    struct slice name;
    const struct images *images;
    const size_t *chosen;
    size_t count;
    const struct actor *actor;
    const struct audit_event *event;
    bool *retired;
};

/* 1 as it was, 0 changed, -1 failed. */
static int same_row(struct db_tx *tx, const struct retire *retire, const struct image *image,
                    struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_NOW);

    db_bind_i64(&query, retire->images->repository);
    db_bind_i64(&query, image->id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    return db_column_i64(&query, 0) == image->touched_at && db_column_i64(&query, 1) == 0 ? 1 : 0;
}

static int same_pulls(struct db_tx *tx, const struct retire *retire, const struct image *image,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_PULLED);
    int64_t pulled_at = 0;

    db_bind_i64(&query, image->id);
    db_bind_i64(&query, retire->images->repository);
    if (meta_number(&query, &pulled_at, err) < 0)
        return -1;
    return pulled_at == image->pulled_at ? 1 : 0;
}

static int compare_tags(const void *name, const void *tag)
{
    return slice_compare(*(const struct slice *)name,
                         slice_of(((const struct image_tag *)tag)->name));
}

static const struct image_tag *tag_of(const struct image *image, struct slice name)
{
    return bsearch(&name, image->tags, image->tag_count, sizeof(*image->tags), compare_tags);
}

/* Names are unique: as many, each of which was there, are the same. */
static int same_tags(struct db_tx *tx, const struct retire *retire, const struct image *image,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_IMAGE_TAGS_NOW);
    size_t seen = 0;
    int row;

    db_bind_i64(&query, retire->images->repository);
    db_bind_i64(&query, image->id);
    while ((row = db_step(&query, err)) == 1) {
        const struct image_tag *tag =
            image->tag_count == 0 ? NULL : tag_of(image, db_column_slice(&query, 0));
        if (tag == NULL || tag->updated_at != db_column_i64(&query, 1))
            return 0;
        seen++;
    }
    return row < 0 ? -1 : seen == image->tag_count;
}

/* Pins and protection are asked where the manifest is removed. */
static int retire_one(struct db_tx *tx, const struct retire *retire, const struct image *image,
                      bool *retired, struct error *err)
{
    const struct meta_removal removal = {retire->meta,  retire->images->repository,
                                         image->id,     &image->digest,
                                         retire->actor, TAG_RETIRED};
    int same = same_row(tx, retire, image, err);

    if (same == 1)
        same = same_pulls(tx, retire, image, err);
    if (same == 1)
        same = same_tags(tx, retire, image, err);
    if (same <= 0)
        return same;
    if (meta_manifest_remove(tx, &removal, err) == 0) {
        *retired = true;
        return 0;
    }
    if (err->code != ERROR_PROTECTED)
        return -1;
    error_clear(err);
    return 0;
}

static int tell(struct db_tx *tx, const struct retire *retire, uint64_t count, struct error *err)
{
    OWNED(buffer_drop) struct buffer detail = BUFFER_NONE;

    if (count == 0 || retire->event == NULL)
        return 0;
    struct audit_event event = *retire->event;
    buffer_append_text(&detail, "{\"expired\":");
    buffer_append_u64(&detail, count);
    buffer_append_text(&detail, "}");
    event.detail = buffer_slice(&detail);
    return meta_audit_add(tx, &event, err);
}

static int retire(struct db_tx *tx, void *arg, struct error *err)
{
    struct retire *retire = arg;
    int64_t repository = 0;
    uint64_t count = 0;

    memset(retire->retired, 0, retire->count * sizeof(*retire->retired));
    retire->told.changed = false;
    if (meta_repository_find(tx, retire->name, &repository, err) < 0)
        return -1;
    for (size_t i = 0; i < retire->count && repository == retire->images->repository; i++) {
        const struct image *image = &retire->images->items[retire->chosen[i]];
        if (retire_one(tx, retire, image, &retire->retired[i], err) < 0)
            return -1;
        count += retire->retired[i];
    }
    retire->told.changed = count > 0;
    return tell(tx, retire, count, err);
}

int meta_images_retire(struct meta *meta, struct slice repository, const struct images *images,
                       const size_t *chosen, size_t count, const struct actor *actor,
                       const struct audit_event *event, const struct meta_after *after,
                       bool *retired, struct error *err)
{
    struct retire with = {{after, false}, meta,  repository, images, chosen,
                          count,          actor, event,      retired};
    const struct db_work work = {
        .run = retire, .after_commit = meta_tell, .arg = &with, .priority = DB_BACKGROUND};

    assert(count <= IMAGES_RETIRE_MAX);
    return db_write(meta->db, &work, err);
}
