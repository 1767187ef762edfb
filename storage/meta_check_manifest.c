/* meta_check_manifest.c - manifests for the check: text against digest, sizes, and what the
 * document names against the rows that hold it.
 * Touches  nothing: it reads.
 * Never    repairs: meta_check_repair.c. */
#include "storage/meta_check.h"

#include <string.h>

#include "registry/core/document.h"
#include "storage/meta_internal.h"

enum {
    PAGE_ROWS = 200,
    PAGE_US = 100 * 1000,
    DESCRIPTORS_MAX = 1 << 20,
    RECOUNT_MANIFESTS = 2000,
    RECOUNT_DEPTH = 8
};

/* Column 7: set aside, and no review is due, meta (6); a tag that dangles is a finding of its own.
 * Column 8: half gone, meta_manifest_erase: its rows go before it. */
static const char SQL_MANIFESTS_PAGE[] =
    "SELECT m.id, m.repo_id, r.name, m.digest, m.media_type, m.size, m.total_size,"
    "       CASE WHEN m.deleted_at IS NULL OR r.deleted_at IS NOT NULL"
    "              OR EXISTS(SELECT 1 FROM gc_queue q"
    "                         WHERE q.kind = 1 AND q.repo_id = m.repo_id AND q.ref_id = m.id)"
    "              OR EXISTS(SELECT 1 FROM tags t"
    "                         WHERE t.repo_id = m.repo_id AND t.manifest_id = m.id)"
    "            THEN 0"
    "            ELSE 1"
    "        END,"
    "       CASE WHEN m.deleted_at = 1 THEN 1 ELSE 0 END, m.payload"
    "  FROM manifests m"
    "  LEFT JOIN repositories r ON r.id = m.repo_id"
    " WHERE m.id > $1"
    " ORDER BY m.id"
    " LIMIT $2";

/* One manifest under examination. */
struct manifest_row {
    struct check_page *page;
    struct db_tx *tx;
    int64_t id, repository, total_size;
    struct slice name, payload;
    struct digest digest;
    int64_t total; /* as it would be computed now */
    int64_t least; /* as it could have been computed when it was pushed */
    bool complete; /* all it names is here */
};

static struct check_fault *fault_of(const struct manifest_row *row, enum check_kind kind,
                                    const char *sentence)
{
    struct check_fault *fault = check_fault_add(row->page, kind, "%s", sentence);

    fault->repository = row->repository;
    fault->id = row->id;
    check_text(fault->finding.repository, sizeof(fault->finding.repository), row->name);
    digest_text(&row->digest, fault->finding.digest);
    return fault;
}

/* The same about something the manifest names: that is the object. */
static struct check_fault *fault_about(const struct manifest_row *row, enum check_kind kind,
                                       const struct document_link *link, const char *sentence)
{
    struct check_fault *fault = fault_of(row, kind, sentence);

    fault->digest = link->digest;
    digest_text(&link->digest, fault->finding.object);
    check_text(fault->platform, sizeof(fault->platform), slice_of(link->platform));
    return fault;
}

/* --- what it names --- */

static const char SQL_NAMED_BLOB[] =
    "SELECT b.id, b.size,"
    "       CASE WHEN EXISTS(SELECT 1 FROM manifest_blobs u"
    "                         WHERE u.repo_id = $1 AND u.manifest_id = $2 AND u.blob_id = b.id)"
    "            THEN 1"
    "            ELSE 0"
    "        END,"
    "       CASE WHEN b.damaged = 0"
    "             AND EXISTS(SELECT 1 FROM repository_blobs l"
    "                         WHERE l.repo_id = $1 AND l.blob_id = b.id"
    "                           AND l.deleted_at IS NULL)"
    "            THEN 1"
    "            ELSE 0"
    "        END"
    "  FROM blobs b"
    " WHERE b.digest = $3";
static const char SQL_NAMED_MISSING[] = "SELECT 1"
                                        "  FROM missing_refs"
                                        " WHERE repo_id = $1 AND digest = $2 AND manifest_id = $3";
static const char SQL_NAMED_CHILD[] =
    "SELECT c.child_id, m.digest"
    "  FROM manifest_refs c"
    "  LEFT JOIN manifests m ON m.repo_id = c.repo_id AND m.id = c.child_id"
    " WHERE c.repo_id = $1 AND c.parent_id = $2 AND c.digest = $3";
static const char SQL_NAMED_MANIFEST[] = "SELECT id, total_size,"
                                         "       CASE WHEN deleted_at IS NULL THEN 1 ELSE 0 END"
                                         "  FROM manifests"
                                         " WHERE repo_id = $1 AND digest = $2";

struct named_blob {
    int64_t id; /* 0: no such blob anywhere */
    int64_t size;
    bool held; /* by a row of manifest_blobs */
    bool here; /* linked in this repository, and whole */
};

static int named_blob(const struct manifest_row *row, const struct digest *digest,
                      struct named_blob *out, struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(row->tx, SQL_NAMED_BLOB);

    *out = (struct named_blob){.id = 0};
    db_bind_i64(&query, row->repository);
    db_bind_i64(&query, row->id);
    db_bind_bytes(&query, meta_key_slice(&key));
    int found = db_step(&query, err);
    if (found == 1)
        *out = (struct named_blob){db_column_i64(&query, 0), db_column_i64(&query, 1),
                                   db_column_i64(&query, 2) != 0, db_column_i64(&query, 3) != 0};
    return found < 0 ? -1 : 0;
}

static int named_missing(const struct manifest_row *row, const struct digest *digest,
                         struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(row->tx, SQL_NAMED_MISSING);

    db_bind_i64(&query, row->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, row->id);
    return db_step(&query, err);
}

static void count_size(struct manifest_row *row, int64_t now, uint64_t said)
{
    int64_t least = (int64_t)said < now ? (int64_t)said : now;

    if (__builtin_add_overflow(row->total, now, &row->total))
        row->total = INT64_MAX;
    if (__builtin_add_overflow(row->least, least, &row->least))
        row->least = INT64_MAX;
}

/* A layer or config is held by a row of manifest_blobs, or waits in missing_refs; what waits and is
 * here could be collected. */
static int check_blob(struct manifest_row *row, const struct document_link *link, struct error *err)
{
    struct named_blob blob;

    if (named_blob(row, &link->digest, &blob, err) < 0)
        return -1;
    row->complete = row->complete && blob.held;
    count_size(row, blob.size, link->size);
    if (blob.held)
        return 0;
    int waits = named_missing(row, &link->digest, err);
    if (waits < 0)
        return -1;
    if (blob.here || waits == 0)
        fault_about(row, CHECK_MANIFEST_REFERENCE, link,
                    "the manifest names a blob that no row holds for it");
    return 0;
}

struct named_child {
    bool rowed;     /* there is a row of manifest_refs */
    int64_t linked; /* its child_id */
    bool wrong;     /* that one has another digest */
    int64_t id;     /* the manifest of that digest; 0: none */
    int64_t size;
    bool visible;
};

static int named_row(const struct manifest_row *row, const struct document_link *link,
                     struct named_child *out, struct error *err)
{
    const struct meta_key key = meta_key(&link->digest);
    OWNED(db_query_end) struct db_query query = db_query(row->tx, SQL_NAMED_CHILD);

    db_bind_i64(&query, row->repository);
    db_bind_i64(&query, row->id);
    db_bind_bytes(&query, meta_key_slice(&key));
    int found = db_step(&query, err);
    if (found <= 0)
        return found;
    out->rowed = true;
    out->linked = db_column_is_null(&query, 0) ? 0 : db_column_i64(&query, 0);
    out->wrong = out->linked != 0 && !slice_equal(db_column_slice(&query, 1), meta_key_slice(&key));
    return 0;
}

static int named_manifest(const struct manifest_row *row, const struct document_link *link,
                          struct named_child *out, struct error *err)
{
    const struct meta_key key = meta_key(&link->digest);
    OWNED(db_query_end) struct db_query query = db_query(row->tx, SQL_NAMED_MANIFEST);

    db_bind_i64(&query, row->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int found = db_step(&query, err);
    if (found <= 0)
        return found;
    out->id = db_column_i64(&query, 0);
    out->size = db_column_i64(&query, 1);
    out->visible = db_column_i64(&query, 2) != 0;
    return 0;
}

/* MPUT-16: a child is a manifest, or a blob, which then has a row of manifest_blobs as well. */
static int check_child(struct manifest_row *row, const struct document_link *link,
                       struct error *err)
{
    struct named_child child = {.rowed = false};
    struct named_blob blob = {.id = 0};

    if (named_row(row, link, &child, err) < 0 || named_manifest(row, link, &child, err) < 0)
        return -1;
    if (child.id == 0 && named_blob(row, &link->digest, &blob, err) < 0)
        return -1;
    row->complete = row->complete && (child.id != 0 || blob.held);
    count_size(row, child.id != 0 ? child.size : blob.size, link->size);
    if (!child.rowed)
        fault_about(row, CHECK_MANIFEST_REFERENCE, link,
                    "the index names a child that no row holds for it")
            ->number = 1;
    else if (child.wrong)
        fault_about(row, CHECK_CHILD_WRONG, link, "the index's child is linked to another manifest")
            ->other = child.linked;
    else if (child.linked == 0 && child.visible)
        fault_about(row, CHECK_CHILD_UNLINKED, link, "the index's child is here, but not linked");
    else if (child.id == 0 && blob.here && !blob.held)
        fault_about(row, CHECK_MANIFEST_REFERENCE, link,
                    "the index names a blob that no row holds for it")
            ->number = 1;
    return 0;
}

/* --- the size of an image with all that it names --- */

static const char SQL_NAMED_PAYLOAD[] = "SELECT id, media_type, payload"
                                        "  FROM manifests"
                                        " WHERE repo_id = $1 AND digest = $2";

/* Counted from the documents, since a child's own record may be the one that is wrong. */
struct recount {
    const struct manifest_row *row;
    int budget; /* manifests that may still be read: indexes of indexes of indexes grow fast */
    int64_t total;
};

static int recount_document(struct recount *recount, const struct document *document, int depth,
                            struct error *err);

static void recount_add(struct recount *recount, int64_t size)
{
    if (__builtin_add_overflow(recount->total, size, &recount->total))
        recount->total = INT64_MAX;
}

/* *found is false when it is none, or none that can be read. */
static int recount_read(struct recount *recount, const struct digest *digest,
                        struct document *document, bool *found, struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(recount->row->tx, SQL_NAMED_PAYLOAD);
    struct error ignored = {0};

    *found = false;
    db_bind_i64(&query, recount->row->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    struct slice payload = db_column_slice(&query, 2);
    *found = document_parse(payload, db_column_slice(&query, 1), DESCRIPTORS_MAX, document,
                            &ignored) == 0;
    recount_add(recount, (int64_t)payload.size);
    return 0;
}

static int recount_blob(struct recount *recount, const struct digest *digest, struct error *err)
{
    struct named_blob blob;

    if (named_blob(recount->row, digest, &blob, err) < 0)
        return -1;
    recount_add(recount, blob.size);
    return 0;
}

static int recount_child(struct recount *recount, const struct digest *digest, int depth,
                         struct error *err)
{
    OWNED(document_drop) struct document document = {.media_type = NULL};
    bool found = false;

    if (depth == 0 || recount->budget-- <= 0) {
        recount->budget = -1;
        return 0;
    }
    int64_t before = recount->total;
    if (recount_read(recount, digest, &document, &found, err) < 0)
        return -1;
    if (found)
        return recount_document(recount, &document, depth - 1, err);
    return recount->total == before ? recount_blob(recount, digest, err) : 0;
}

static int recount_document(struct recount *recount, const struct document *document, int depth,
                            struct error *err)
{
    for (size_t i = 0; i < document->blob_count; i++)
        if (recount_blob(recount, &document->blobs[i].digest, err) < 0)
            return -1;
    for (size_t i = 0; i < document->child_count; i++)
        if (recount_child(recount, &document->children[i].digest, depth, err) < 0)
            return -1;
    return 0;
}

static bool total_fits(const struct manifest_row *row, int64_t most)
{
    return row->total_size >= row->least && row->total_size <= most;
}

/* What came after the push may have been counted by what its descriptor said. */
static int check_total(const struct manifest_row *row, const struct document *document,
                       struct error *err)
{
    struct recount recount = {row, RECOUNT_MANIFESTS, (int64_t)row->payload.size};

    if (!row->complete || total_fits(row, row->total))
        return 0;
    if (recount_document(&recount, document, RECOUNT_DEPTH, err) < 0)
        return -1;
    if (recount.budget >= 0 && !total_fits(row, recount.total))
        fault_of(row, CHECK_MANIFEST_TOTAL, "the size of the image is recorded wrong")->number =
            recount.total;
    return 0;
}

static int check_named(struct manifest_row *row, struct slice media_type, struct error *err)
{
    OWNED(document_drop) struct document document = {.media_type = NULL};
    struct error why = {0};

    if (document_parse(row->payload, media_type, DESCRIPTORS_MAX, &document, &why) < 0) {
        struct check_fault *fault = fault_of(row, CHECK_MANIFEST_UNREADABLE, why.message);
        check_text(fault->finding.object, sizeof(fault->finding.object), media_type);
        return 0;
    }
    row->total = row->least = (int64_t)row->payload.size;
    row->complete = true;
    for (size_t i = 0; i < document.blob_count; i++)
        if (check_blob(row, &document.blobs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < document.child_count; i++)
        if (check_child(row, &document.children[i], err) < 0)
            return -1;
    return check_total(row, &document, err);
}

static int check_manifest(struct manifest_row *row, const struct db_query *query, struct error *err)
{
    struct digest actual;

    if (db_column_i64(query, 7) != 0)
        fault_of(row, CHECK_MANIFEST_FORGOTTEN, "the manifest was deleted, and no review is due");
    digest_of(row->digest.algorithm, row->payload, &actual);
    if (!digest_equal(&actual, &row->digest)) {
        fault_of(row, CHECK_MANIFEST_ALTERED,
                 "the manifest does not match its digest; push it again");
        return 0; /* what it says counts for nothing */
    }
    if (db_column_i64(query, 5) != (int64_t)row->payload.size)
        fault_of(row, CHECK_MANIFEST_SIZE, "the size of the manifest is recorded wrong")->number =
            (int64_t)row->payload.size;
    return db_column_i64(query, 8) != 0 ? 0 : check_named(row, db_column_slice(query, 4), err);
}

static int manifests_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct check_page *page = arg;
    uint64_t until = clock_monotonic_us() + PAGE_US;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFESTS_PAGE);
    int64_t after = page->after[0];
    int found = 1;

    page->count = 0;
    page->rows = 0;
    db_bind_i64(&query, after);
    db_bind_i64(&query, PAGE_ROWS);
    while ((page->rows == 0 || clock_monotonic_us() < until) &&
           (found = db_step(&query, err)) == 1) {
        struct manifest_row row = {.page = page,
                                   .tx = tx,
                                   .id = db_column_i64(&query, 0),
                                   .repository = db_column_i64(&query, 1),
                                   .name = db_column_slice(&query, 2),
                                   .total_size = db_column_i64(&query, 6),
                                   .payload = db_column_slice(&query, 9)};
        page->rows++;
        after = row.id;
        if (check_page_covers(page, row.name) &&
            (meta_digest(&query, 3, &row.digest, err) < 0 || check_manifest(&row, &query, err) < 0))
            return -1;
    }
    page->done = found == 0 && page->rows < PAGE_ROWS;
    if (found >= 0)
        page->after[0] = after; /* last: the run may be repeated */
    return found < 0 ? -1 : 0;
}

int meta_check_manifests(struct meta *meta, struct check_page *page, struct error *err)
{
    return db_read(meta->db, manifests_run, page, err);
}
