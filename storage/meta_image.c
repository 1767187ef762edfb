/* meta_image.c - manifests as people look at them: lists, one with its family, its end.
 * Touches  what P7 touches, audit.
 * Never    reads a payload. */
#include "storage/meta_content.h"

#include <stdlib.h>

enum { SCAN_MAX = 5000 }; /* rows looked at for one page of those that nothing refers to */

void content_manifest_drop(struct content_manifest *manifest)
{
    free(manifest->media_type);
    free(manifest->artifact_type);
    *manifest = (struct content_manifest){.id = 0};
}

void content_manifest_page_drop(struct content_manifest_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        content_manifest_drop(&page->items[i]);
    free(page->items);
    *page = (struct content_manifest_page){.items = NULL};
}

void content_family_drop(struct content_family *family)
{
    page_drop(&family->tags);
    free(family->parents);
    for (size_t i = 0; i < family->child_count; i++)
        free(family->children[i].platform);
    free(family->children);
    *family = (struct content_family){.parents = NULL};
}

/* --- rows --- */

#define MANIFEST_SELECT                                                                            \
    "SELECT m.id, m.digest, m.subject, m.media_type, m.artifact_type, m.size, m.total_size,"       \
    "       m.created_at, m.pulled_at, m.deleted_at,"                                              \
    "       (SELECT count(*) FROM tags t"                                                          \
    "         WHERE t.repo_id = m.repo_id AND t.manifest_id = m.id),"                              \
    "       (SELECT count(*) FROM manifest_refs u"                                                 \
    "          JOIN manifests p ON p.id = u.parent_id"                                             \
    "         WHERE u.repo_id = m.repo_id AND u.child_id = m.id AND p.deleted_at IS NULL),"        \
    "       (SELECT count(*) FROM manifest_refs d"                                                 \
    "         WHERE d.repo_id = m.repo_id AND d.parent_id = m.id),"                                \
    "       (SELECT count(*) FROM manifests r"                                                     \
    "         WHERE r.repo_id = m.repo_id AND r.subject = m.digest AND r.deleted_at IS NULL),"     \
    "       (SELECT count(*) FROM pins n"                                                          \
    "         WHERE n.repo_id = m.repo_id AND n.manifest_id = m.id AND n.until > $1)"              \
    "  FROM manifests m"

static const char SQL_DETAIL[] = MANIFEST_SELECT " WHERE m.repo_id = $2 AND m.digest = $3"
                                                 "   AND (m.deleted_at IS NULL"
                                                 "        OR m.deleted_at > $4)";
static const char SQL_HERE[] = MANIFEST_SELECT " WHERE m.repo_id = $2 AND m.id < $3"
                                               "   AND m.deleted_at IS NULL"
                                               " ORDER BY m.id DESC"
                                               " LIMIT $4";
static const char SQL_DELETED[] = MANIFEST_SELECT " WHERE m.repo_id = $2 AND m.id < $3"
                                                  "   AND m.deleted_at IS NOT NULL"
                                                  "   AND m.deleted_at > $4"
                                                  " ORDER BY m.id DESC"
                                                  " LIMIT $5";

static int manifest_row(const struct db_query *query, int64_t undo_us, struct content_manifest *out,
                        struct error *err)
{
    *out = (struct content_manifest){
        .id = db_column_i64(query, 0),
        .size = (uint64_t)db_column_i64(query, 5),
        .total_size = (uint64_t)db_column_i64(query, 6),
        .pushed_at = db_column_i64(query, 7),
        .pulled_at = db_column_i64(query, 8),
        .deleted_at = db_column_i64(query, 9),
        .tags = (uint64_t)db_column_i64(query, 10),
        .parents = (uint64_t)db_column_i64(query, 11),
        .children = (uint64_t)db_column_i64(query, 12),
        .referrers = (uint64_t)db_column_i64(query, 13),
        .pins = (uint64_t)db_column_i64(query, 14),
    };
    if (meta_digest(query, 1, &out->digest, err) < 0 ||
        (!db_column_is_null(query, 2) && meta_digest(query, 2, &out->subject, err) < 0))
        return -1;
    out->until = out->deleted_at == 0 ? 0 : out->deleted_at + undo_us;
    out->media_type = meta_text(query, 3);
    out->artifact_type = meta_text_or_null(query, 4);
    return 0;
}

/* --- lists --- */

struct list {
    const struct meta *meta;
    struct slice repository;
    enum content_manifests which;
    int64_t before;
    size_t limit;
    struct content_manifest_page *out;
    size_t capacity;
};

static bool is_wanted(const struct list *list, const struct content_manifest *manifest)
{
    return list->which != MANIFESTS_UNTAGGED ||
           (manifest->tags == 0 && manifest->parents == 0 && !digest_is_set(&manifest->subject));
}

static int list_fill(struct db_query *query, struct list *with, struct error *err)
{
    struct content_manifest_page *out = with->out;
    size_t looked = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        struct content_manifest manifest;
        if (out->count == with->limit || looked++ == SCAN_MAX) {
            out->more = true;
            return 0;
        }
        if (manifest_row(query, with->meta->undo_us, &manifest, err) < 0)
            return -1;
        out->next = manifest.id;
        if (is_wanted(with, &manifest)) {
            out->items = meta_grow(out->items, out->count, &with->capacity, sizeof(*out->items));
            out->items[out->count++] = manifest;
        } else {
            content_manifest_drop(&manifest);
        }
    }
    return row;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *with = arg;
    bool deleted = with->which == MANIFESTS_DELETED;
    int64_t repository = 0, now = clock_now_us();

    content_manifest_page_drop(with->out);
    with->capacity = 0;
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, deleted ? SQL_DELETED : SQL_HERE);
    db_bind_i64(&query, now);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, with->before == 0 ? INT64_MAX : with->before);
    if (deleted)
        db_bind_i64(&query, now - with->meta->undo_us);
    db_bind_i64(&query,
                with->which == MANIFESTS_UNTAGGED ? SCAN_MAX + 1 : meta_one_more(with->limit));
    return list_fill(&query, with, err);
}

int meta_manifest_list(struct meta *meta, struct slice repository, enum content_manifests which,
                       int64_t before, size_t limit, struct content_manifest_page *out,
                       struct error *err)
{
    struct list with = {meta, repository, which, before, limit, out, 0};

    *out = (struct content_manifest_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    content_manifest_page_drop(out);
    return -1;
}

/* --- one, with its family --- */

static const char SQL_TAGS_OF[] = "SELECT name"
                                  "  FROM tags"
                                  " WHERE repo_id = $1 AND manifest_id = $2"
                                  " ORDER BY name"
                                  " LIMIT $3";
static const char SQL_PARENTS_OF[] =
    "SELECT p.digest"
    "  FROM manifest_refs u"
    "  JOIN manifests p ON p.id = u.parent_id"
    " WHERE u.repo_id = $1 AND u.child_id = $2 AND p.deleted_at IS NULL"
    " LIMIT $3";
static const char SQL_CHILDREN_OF[] =
    "SELECT d.digest, d.platform, m.id IS NOT NULL AND m.deleted_at IS NULL"
    "  FROM manifest_refs d"
    "  LEFT JOIN manifests m ON m.id = d.child_id"
    " WHERE d.repo_id = $1 AND d.parent_id = $2"
    " LIMIT $3";

struct detail {
    const struct meta *meta;
    struct slice repository;
    const struct digest *digest;
    struct content_manifest *out;
    struct content_family *family;
};

static struct db_query family_query(struct db_tx *tx, const char *sql, int64_t repository,
                                    int64_t manifest)
{
    struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, manifest);
    db_bind_i64(&query, CONTENT_NAMES_MAX);
    return query;
}

static int tags_read(struct db_tx *tx, int64_t repository, int64_t manifest, struct page *out,
                     struct error *err)
{
    OWNED(db_query_end)
    struct db_query query = family_query(tx, SQL_TAGS_OF, repository, manifest);
    size_t capacity = 0;
    int row;

    while ((row = db_step(&query, err)) == 1)
        meta_page_add(out, &capacity, db_column_slice(&query, 0));
    return row;
}

static int parents_read(struct db_tx *tx, int64_t repository, int64_t manifest,
                        struct content_family *out, struct error *err)
{
    OWNED(db_query_end)
    struct db_query query = family_query(tx, SQL_PARENTS_OF, repository, manifest);
    size_t capacity = 0;
    int row;

    while ((row = db_step(&query, err)) == 1) {
        out->parents = meta_grow(out->parents, out->parent_count, &capacity, sizeof(*out->parents));
        if (meta_digest(&query, 0, &out->parents[out->parent_count++], err) < 0)
            return -1;
    }
    return row;
}

static int children_read(struct db_tx *tx, int64_t repository, int64_t manifest,
                         struct content_family *out, struct error *err)
{
    OWNED(db_query_end)
    struct db_query query = family_query(tx, SQL_CHILDREN_OF, repository, manifest);
    size_t capacity = 0;
    int row;

    while ((row = db_step(&query, err)) == 1) {
        struct content_child child = {.here = db_column_i64(&query, 2) != 0};
        if (meta_digest(&query, 0, &child.digest, err) < 0)
            return -1;
        child.platform = meta_text_or_null(&query, 1);
        out->children =
            meta_grow(out->children, out->child_count, &capacity, sizeof(*out->children));
        out->children[out->child_count++] = child;
    }
    return row;
}

static int detail(struct db_tx *tx, void *arg, struct error *err)
{
    const struct detail *with = arg;
    const struct meta_key key = meta_key(with->digest);
    int64_t repository = 0, now = clock_now_us();

    content_manifest_drop(with->out);
    content_family_drop(with->family);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DETAIL);
    db_bind_i64(&query, now);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, now - with->meta->undo_us);
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such manifest in the repository");
    if (manifest_row(&query, with->meta->undo_us, with->out, err) < 0 ||
        tags_read(tx, repository, with->out->id, &with->family->tags, err) < 0 ||
        parents_read(tx, repository, with->out->id, with->family, err) < 0)
        return -1;
    return children_read(tx, repository, with->out->id, with->family, err);
}

int meta_manifest_detail(struct meta *meta, struct slice repository, const struct digest *digest,
                         struct content_manifest *out, struct content_family *family,
                         struct error *err)
{
    struct detail with = {meta, repository, digest, out, family};

    *out = (struct content_manifest){.id = 0};
    *family = (struct content_family){.parents = NULL};
    if (db_read(meta->db, detail, &with, err) == 0)
        return 0;
    content_manifest_drop(out);
    content_family_drop(family);
    return -1;
}

/* --- its end --- */

static const char SQL_TAG_COUNT[] = "SELECT count(*)"
                                    "  FROM tags"
                                    " WHERE repo_id = $1 AND manifest_id = $2";

struct end {
    struct meta_told told;
    const struct meta *meta;
    struct slice repository;
    const struct digest *digest;
    const struct content_change *change;
    uint64_t *tags;
};

static int tags_count(struct db_tx *tx, int64_t repository, int64_t manifest, uint64_t *out,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_COUNT);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, manifest);
    return meta_total(&query, out, err);
}

static int end(struct db_tx *tx, void *arg, struct error *err)
{
    struct end *with = arg;
    struct meta_removal removal = {.meta = with->meta,
                                   .digest = with->digest,
                                   .actor = with->change->actor,
                                   .cause = TAG_MANIFEST_DELETED};

    with->told.changed = false;
    if (meta_repository_at(tx, with->repository, &removal.repository, err) < 0 ||
        meta_manifest_at(tx, removal.repository, with->digest, &removal.manifest, err) < 0 ||
        tags_count(tx, removal.repository, removal.manifest, with->tags, err) < 0)
        return -1;
    if (with->change->dry_run)
        return meta_guard_manifest(tx, removal.repository, removal.manifest, clock_now_us(), err);
    if (meta_manifest_remove(tx, &removal, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_manifest_end(struct meta *meta, struct slice repository, const struct digest *digest,
                      const struct content_change *change, uint64_t *tags,
                      const struct meta_after *after, struct error *err)
{
    struct end with = {{after, false}, meta, repository, digest, change, tags};

    *tags = 0;
    return change->dry_run ? db_read(meta->db, end, &with, err)
                           : meta_write_told(meta, end, &with.told, err);
}
