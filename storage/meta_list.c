/* meta_list.c - pages of tags and referrers; pages of names.
 * Touches  nothing: it reads.
 * Never    counts or skips rows: a page is one range of an index, whatever comes before or after.
 */
#include "storage/meta_internal.h"

#include <stdlib.h>

void page_drop(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->names[i]);
    free(page->names);
    *page = (struct page){.names = NULL};
}

void referrers_drop(struct referrers *referrers)
{
    for (size_t i = 0; i < referrers->count; i++) {
        free(referrers->items[i].media_type);
        free(referrers->items[i].artifact_type);
        free(referrers->items[i].annotations);
    }
    free(referrers->items);
    *referrers = (struct referrers){.items = NULL};
}

/* --- names --- */

static const char SQL_TAG_LIST[] = "SELECT name"
                                   "  FROM tags"
                                   " WHERE repo_id = $1 AND name > $2"
                                   " ORDER BY name"
                                   " LIMIT $3";

static const char SQL_BLOB_SOURCES[] =
    "SELECT r.name"
    "  FROM blobs b"
    "  JOIN repository_blobs l ON l.blob_id = b.id"
    "  JOIN repositories r ON r.id = l.repo_id"
    " WHERE b.digest = $1 AND b.damaged = 0 AND l.deleted_at IS NULL"
    "   AND r.deleted_at IS NULL"
    " LIMIT $2";

struct list {
    const struct digest *digest;
    struct slice repository;
    struct slice last;
    size_t limit;
    struct page *page;
};

void meta_page_add(struct page *page, size_t *capacity, struct slice name)
{
    if (page->count == *capacity) {
        *capacity = *capacity == 0 ? 64 : *capacity * 2;
        page->names = memory_resize(page->names, *capacity * sizeof(*page->names));
    }
    page->names[page->count++] = memory_text(name);
}

/* The rows of the query; one above the limit only says that there are more. */
static int page_fill(struct db_query *query, struct list *list, struct error *err)
{
    size_t capacity = 0;
    int row;

    page_drop(list->page);
    while ((row = db_step(query, err)) == 1) {
        if (list->page->count == list->limit) {
            list->page->more = true;
            return 0;
        }
        meta_page_add(list->page, &capacity, db_column_slice(query, 0));
    }
    return row;
}

static int tag_list(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *list = arg;
    int64_t repository = 0;

    if (meta_repository_find(tx, list->repository, &repository, err) < 0)
        return -1;
    if (repository == 0)
        return error_set(err, ERROR_NAME_UNKNOWN, "repository unknown");
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_LIST);
    db_bind_i64(&query, repository);
    db_bind_text(&query, meta_or_empty(list->last));
    db_bind_i64(&query, meta_one_more(list->limit));
    return page_fill(&query, list, err);
}

static int blob_sources(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *list = arg;
    const struct meta_key key = meta_key(list->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_SOURCES);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, meta_one_more(list->limit));
    return page_fill(&query, list, err);
}

static int list_run(struct meta *meta, db_run *run, struct list *list, struct error *err)
{
    *list->page = (struct page){.names = NULL};
    if (db_read(meta->db, run, list, err) == 0)
        return 0;
    page_drop(list->page);
    return -1;
}

int meta_blob_sources(struct meta *meta, const struct digest *digest, size_t limit,
                      struct page *out, struct error *err)
{
    struct list list = {.digest = digest, .limit = limit, .page = out};

    return list_run(meta, blob_sources, &list, err);
}

int meta_tag_list(struct meta *meta, struct slice repository, struct slice last, size_t limit,
                  struct page *out, struct error *err)
{
    struct list list = {.repository = repository, .last = last, .limit = limit, .page = out};

    return list_run(meta, tag_list, &list, err);
}

/* --- referrers: oldest push first; a repeated push keeps the id, so it does not move (REF-07) ---
 */

#define REFERRER_COLUMNS "id, digest, size, media_type, artifact_type, annotations"

static const char SQL_REFERRER_LIST[] =
    "SELECT " REFERRER_COLUMNS "  FROM manifests"
    " WHERE repo_id = $1 AND subject = $2 AND id > $3 AND deleted_at IS NULL"
    " ORDER BY id";
static const char SQL_REFERRER_LIST_OF_TYPE[] =
    "SELECT " REFERRER_COLUMNS "  FROM manifests"
    " WHERE repo_id = $1 AND subject = $2 AND id > $3 AND deleted_at IS NULL"
    "   AND artifact_type = $4"
    " ORDER BY id";

struct referrer_list {
    struct slice repository;
    const struct digest *subject;
    struct slice artifact_type;
    uint64_t cursor;
    uint64_t size_max;
    struct referrers *out;
};

static char *text_or_null(struct slice text)
{
    return text.at == NULL ? NULL : memory_text(text);
}

static int referrer_add(struct referrers *out, size_t *capacity, const struct db_query *query,
                        struct error *err)
{
    struct digest digest;

    if (meta_digest(query, 1, &digest, err) < 0)
        return -1;
    if (out->count == *capacity) {
        *capacity = *capacity == 0 ? 16 : *capacity * 2;
        out->items = memory_resize(out->items, *capacity * sizeof(*out->items));
    }
    out->items[out->count++] =
        (struct referrer){.digest = digest,
                          .size = (uint64_t)db_column_i64(query, 2),
                          .media_type = memory_text(db_column_slice(query, 3)),
                          .artifact_type = text_or_null(db_column_slice(query, 4)),
                          .annotations = text_or_null(db_column_slice(query, 5))};
    return 0;
}

static uint64_t referrer_cost(const struct db_query *query)
{
    return STORAGE_REFERRER_OVERHEAD + db_column_slice(query, 3).size +
           db_column_slice(query, 4).size + db_column_slice(query, 5).size;
}

/* Until the page is full; the cursor of the next one is the last id of this one. */
static int referrers_fill(struct db_query *query, struct referrer_list *list, struct error *err)
{
    struct referrers *out = list->out;
    size_t capacity = 0;
    uint64_t used = 0;
    uint64_t last = 0;
    int row;

    referrers_drop(out);
    while ((row = db_step(query, err)) == 1) {
        used += referrer_cost(query);
        if (used > list->size_max && out->count > 0) {
            out->next = last;
            return 0;
        }
        if (referrer_add(out, &capacity, query, err) < 0)
            return -1;
        last = (uint64_t)db_column_i64(query, 0);
    }
    return row;
}

static int referrer_list(struct db_tx *tx, void *arg, struct error *err)
{
    struct referrer_list *list = arg;
    const struct meta_key subject = meta_key(list->subject);
    bool filtered = list->artifact_type.size > 0;
    int64_t repository = 0;

    if (meta_repository_find(tx, list->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, filtered ? SQL_REFERRER_LIST_OF_TYPE : SQL_REFERRER_LIST);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&subject));
    db_bind_i64(&query, (int64_t)list->cursor);
    if (filtered)
        db_bind_text(&query, list->artifact_type);
    return referrers_fill(&query, list, err);
}

int meta_referrer_list(struct meta *meta, struct slice repository, const struct digest *subject,
                       struct slice artifact_type, uint64_t cursor, uint64_t size_max,
                       struct referrers *out, struct error *err)
{
    struct referrer_list list = {repository, subject, artifact_type, cursor, size_max, out};

    *out = (struct referrers){.items = NULL};
    if (db_read(meta->db, referrer_list, &list, err) == 0)
        return 0;
    referrers_drop(out);
    return -1;
}
