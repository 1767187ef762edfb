/* meta_preview.c - what a run of the collector would remove now, what that sets free included.
 * Touches  nothing: it reads, in short snapshots one after the other.
 * Never    holds up a writer; visits what is not due and loses no reference.
 *
 * The same reviews as the collector's, which are told what would be gone by then: that is kept in
 * memory, so a preview costs memory for what it finds. Manifests free manifests, so they come until
 * none is left; then each link is reviewed once, then each blob: what holds it is settled by then.
 * Pushes beside it make it inexact: it is what a run would have done while it looked. */
#include "storage/meta_collect.h"

#include <stdlib.h>

enum { CHUNK = 256, TABLE_FIRST = 1024 };

/* --- sets of objects --- */

struct set {
    struct meta_task *items; /* kind 0: free */
    size_t count;
    size_t capacity; /* a power of two */
};

static size_t place_of(const struct set *set, const struct meta_task *object)
{
    const int64_t key[] = {object->kind, object->repository, object->ref};
    size_t place = bytes_hash(0, (const char *)key, sizeof(key)) & (set->capacity - 1);

    while (set->items[place].kind != 0 &&
           (set->items[place].kind != object->kind || set->items[place].ref != object->ref ||
            set->items[place].repository != object->repository))
        place = (place + 1) & (set->capacity - 1);
    return place;
}

static bool set_has(const struct set *set, const struct meta_task *object)
{
    return set->count > 0 && set->items[place_of(set, object)].kind != 0;
}

static void set_grow(struct set *set)
{
    struct set old = *set;

    set->capacity = old.capacity == 0 ? TABLE_FIRST : 2 * old.capacity;
    set->items = memory_new(set->capacity * sizeof(*set->items));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.items[i].kind != 0)
            set->items[place_of(set, &old.items[i])] = old.items[i];
    free(old.items);
}

/* False when it was there. */
static bool set_add(struct set *set, const struct meta_task *object)
{
    if (2 * (set->count + 1) > set->capacity)
        set_grow(set);
    size_t place = place_of(set, object);
    if (set->items[place].kind != 0)
        return false;
    set->items[place] = *object;
    set->count++;
    return true;
}

/* --- lists of objects that wait for their review --- */

struct list {
    struct meta_task *items;
    size_t count, capacity;
};

static void list_add(struct list *list, const struct meta_task *object)
{
    list->items = meta_grow(list->items, list->count, &list->capacity, sizeof(*list->items));
    list->items[list->count++] = *object;
}

struct preview {
    struct meta *meta;
    const struct progress *progress;
    struct collect_report *report;
    int64_t now;
    struct set removed, listed; /* listed: links and blobs that wait, or have been reviewed */
    struct list repositories, manifests, links, blobs;
    struct list *work;       /* the list under review */
    struct meta_task cursor; /* of pages: ref, or a task with its due in `attempts` */
    bool more;
};

static void preview_drop(struct preview *preview)
{
    free(preview->removed.items);
    free(preview->listed.items);
    free(preview->repositories.items);
    free(preview->manifests.items);
    free(preview->links.items);
    free(preview->blobs.items);
}

static bool contains(const void *arg, enum meta_queue_kind kind, int64_t repository, int64_t ref)
{
    const struct preview *preview = arg;
    const struct meta_task object = {.kind = kind, .repository = repository, .ref = ref};

    return set_has(&preview->removed, &object);
}

static void enlist(struct preview *preview, const struct meta_task *object)
{
    switch (object->kind) {
    case META_QUEUE_MANIFEST:
        list_add(&preview->manifests, object);
        break;
    case META_QUEUE_LINK:
    case META_QUEUE_BLOB:
        if (set_add(&preview->listed, object))
            list_add(object->kind == META_QUEUE_LINK ? &preview->links : &preview->blobs, object);
        break;
    case META_QUEUE_REPOSITORY:
        list_add(&preview->repositories, object);
        break;
    }
}

/* --- what is due --- */

static const char SQL_TASKS[] =
    "SELECT due, kind, repo_id, ref_id, follows"
    "  FROM gc_queue"
    " WHERE due <= $1 AND (due, kind, repo_id, ref_id) > ($2, $3, $4, $5)"
    " ORDER BY due, kind, repo_id, ref_id"
    " LIMIT $6";
static const char SQL_ENDED_TAGS[] = "SELECT 0, 1, repo_id, manifest_id, 0"
                                     "  FROM deleted_tags"
                                     " WHERE until <= $1";
static const char SQL_ENDED_PINS[] = "SELECT 0, 1, repo_id, manifest_id, 0"
                                     "  FROM pins"
                                     " WHERE until <= $1";
static const char SQL_UPLOADS[] = "SELECT count(*)"
                                  "  FROM uploads"
                                  " WHERE expires_at < $1";

static int tasks_take(struct preview *preview, struct db_query *query, struct error *err)
{
    int row, taken = 0;

    while ((row = db_step(query, err)) == 1) {
        const struct meta_task task = {
            .attempts = db_column_i64(query, 0), /* its due, for the next page */
            .kind = (enum meta_queue_kind)db_column_i64(query, 1),
            .repository = db_column_i64(query, 2),
            .ref = db_column_i64(query, 3),
            .follows = db_column_i64(query, 4) != 0,
        };
        enlist(preview, &task);
        preview->cursor = task;
        taken++;
    }
    preview->more = taken == CHUNK;
    return row;
}

static int tasks_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct preview *preview = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TASKS);

    db_bind_i64(&query, preview->now);
    db_bind_i64(&query, preview->cursor.attempts);
    db_bind_i64(&query, preview->cursor.kind);
    db_bind_i64(&query, preview->cursor.repository);
    db_bind_i64(&query, preview->cursor.ref);
    db_bind_i64(&query, CHUNK);
    return tasks_take(preview, &query, err);
}

/* There are few: the sweep ends them all the time. */
static int holds_ended(struct db_tx *tx, struct preview *preview, const char *sql,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, preview->now);
    return tasks_take(preview, &query, err);
}

static int others_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct preview *preview = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOADS);

    db_bind_i64(&query, preview->now);
    if (holds_ended(tx, preview, SQL_ENDED_TAGS, err) < 0 ||
        holds_ended(tx, preview, SQL_ENDED_PINS, err) < 0)
        return -1;
    return meta_total(&query, &preview->report->uploads, err);
}

/* --- what would go, and what that frees --- */

static const char SQL_BLOBS_OF[] = "SELECT 2, repo_id, blob_id"
                                   "  FROM manifest_blobs"
                                   " WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_CHILDREN_OF[] = "SELECT 1, repo_id, child_id"
                                      "  FROM manifest_refs"
                                      " WHERE repo_id = $1 AND parent_id = $2"
                                      "   AND coalesce(child_id, 0) > 0";
static const char SQL_REFERRERS_OF[] = "SELECT 1, repo_id, id"
                                       "  FROM manifests"
                                       " WHERE repo_id = $1 AND subject = $2"
                                       "   AND deleted_at IS NULL";

static int freed_take(struct preview *preview, struct db_query *query, struct error *err)
{
    int row;

    while ((row = db_step(query, err)) == 1) {
        const struct meta_task freed = {.kind = (enum meta_queue_kind)db_column_i64(query, 0),
                                        .repository = db_column_i64(query, 1),
                                        .ref = db_column_i64(query, 2),
                                        .follows = true};
        if (!set_has(&preview->removed, &freed))
            enlist(preview, &freed);
    }
    return row;
}

static int freed_by(struct db_tx *tx, struct preview *preview, const char *sql,
                    const struct meta_task *manifest, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, manifest->repository);
    db_bind_i64(&query, manifest->ref);
    return freed_take(preview, &query, err);
}

static int manifest_goes(struct db_tx *tx, struct preview *preview,
                         const struct meta_review *review, struct error *err)
{
    const struct meta_key key = meta_key(&review->digest);

    preview->report->manifests++;
    if (freed_by(tx, preview, SQL_BLOBS_OF, &review->task, err) < 0 ||
        freed_by(tx, preview, SQL_CHILDREN_OF, &review->task, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REFERRERS_OF);
    db_bind_i64(&query, review->task.repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    return freed_take(preview, &query, err);
}

static void link_goes(struct preview *preview, const struct meta_task *link)
{
    const struct meta_task blob = {.kind = META_QUEUE_BLOB, .ref = link->ref};

    preview->report->links++;
    enlist(preview, &blob);
}

static int object_goes(struct db_tx *tx, struct preview *preview, const struct meta_review *review,
                       struct error *err)
{
    if (!set_add(&preview->removed, &review->task))
        return 0;
    if (review->task.kind == META_QUEUE_MANIFEST)
        return manifest_goes(tx, preview, review, err);
    if (review->task.kind == META_QUEUE_LINK)
        link_goes(preview, &review->task);
    preview->report->blobs += review->task.kind == META_QUEUE_BLOB ? 1 : 0;
    preview->report->bytes += review->task.kind == META_QUEUE_BLOB ? review->size : 0;
    return 0;
}

static int object_review(struct db_tx *tx, struct preview *preview, const struct meta_task *task,
                         struct error *err)
{
    const struct meta_removed removed = {contains, preview};
    struct meta_review review = {
        .meta = preview->meta, .task = *task, .now = preview->now, .removed = &removed};

    if (meta_review(tx, &review, err) < 0)
        return -1;
    preview->report->reviewed++;
    preview->report->kept += review.verdict == META_HELD ? 1 : 0;
    preview->report->postponed += review.verdict == META_LATER ? 1 : 0;
    return review.verdict == META_REMOVE ? object_goes(tx, preview, &review, err) : 0;
}

static int chunk_review(struct db_tx *tx, void *arg, struct error *err)
{
    struct preview *preview = arg;

    for (int i = 0; i < CHUNK && preview->work->count > 0; i++) {
        struct meta_task task = preview->work->items[--preview->work->count];
        if (!set_has(&preview->removed, &task) && object_review(tx, preview, &task, err) < 0)
            return -1;
    }
    return 0;
}

static int list_review(struct preview *preview, struct list *list, struct error *err)
{
    preview->work = list;
    while (list->count > 0 && !progress_cancelled(preview->progress))
        if (db_read(preview->meta->db, chunk_review, preview, err) < 0)
            return -1;
    return 0;
}

/* --- repositories: all that is theirs goes, whatever holds it --- */

static const char SQL_ITS_MANIFESTS[] = "SELECT 1, repo_id, id"
                                        "  FROM manifests"
                                        " WHERE repo_id = $1 AND id > $2"
                                        " ORDER BY id"
                                        " LIMIT $3";
static const char SQL_ITS_LINKS[] = "SELECT 2, repo_id, blob_id"
                                    "  FROM repository_blobs"
                                    " WHERE repo_id = $1 AND blob_id > $2"
                                    " ORDER BY blob_id"
                                    " LIMIT $3";

static void its_object_goes(struct preview *preview, const struct meta_task *object)
{
    if (!set_add(&preview->removed, object))
        return;
    if (object->kind == META_QUEUE_LINK)
        link_goes(preview, object);
    else
        preview->report->manifests++;
}

static int its_objects(struct db_tx *tx, struct preview *preview, const char *sql,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);
    int row, taken = 0;

    db_bind_i64(&query, preview->cursor.repository);
    db_bind_i64(&query, preview->cursor.ref);
    db_bind_i64(&query, CHUNK);
    while ((row = db_step(&query, err)) == 1) {
        const struct meta_task object = {.kind = (enum meta_queue_kind)db_column_i64(&query, 0),
                                         .repository = db_column_i64(&query, 1),
                                         .ref = db_column_i64(&query, 2)};
        its_object_goes(preview, &object);
        preview->cursor.ref = object.ref;
        taken++;
    }
    preview->more = taken == CHUNK;
    return row;
}

static int its_manifests(struct db_tx *tx, void *arg, struct error *err)
{
    return its_objects(tx, arg, SQL_ITS_MANIFESTS, err);
}

static int its_links(struct db_tx *tx, void *arg, struct error *err)
{
    return its_objects(tx, arg, SQL_ITS_LINKS, err);
}

/* Pages of one kind; the cursor stands before the first. */
static int pages(struct preview *preview, db_run *run, struct error *err)
{
    preview->more = true;
    while (preview->more && !progress_cancelled(preview->progress))
        if (db_read(preview->meta->db, run, preview, err) < 0)
            return -1;
    return 0;
}

static int repositories_go(struct preview *preview, struct error *err)
{
    for (size_t i = 0; i < preview->removed.capacity; i++)
        if (preview->removed.items[i].kind == META_QUEUE_REPOSITORY)
            list_add(&preview->repositories, &preview->removed.items[i]);
    for (size_t i = 0; i < preview->repositories.count; i++) {
        preview->report->repositories++;
        preview->cursor = (struct meta_task){.repository = preview->repositories.items[i].ref};
        if (pages(preview, its_manifests, err) < 0)
            return -1;
        preview->cursor.ref = 0;
        if (pages(preview, its_links, err) < 0)
            return -1;
    }
    return 0;
}

int meta_collect_preview(struct meta *meta, const struct progress *progress,
                         struct collect_report *out, struct error *err)
{
    OWNED(preview_drop)
    struct preview preview = {
        .meta = meta, .progress = progress, .report = out, .now = clock_now_us()};

    preview.cursor.attempts = INT64_MIN;
    if (pages(&preview, tasks_due, err) < 0 || db_read(meta->db, others_due, &preview, err) < 0 ||
        list_review(&preview, &preview.repositories, err) < 0 ||
        repositories_go(&preview, err) < 0 || list_review(&preview, &preview.manifests, err) < 0 ||
        list_review(&preview, &preview.links, err) < 0)
        return -1;
    return list_review(&preview, &preview.blobs, err);
}
