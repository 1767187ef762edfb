/* meta_check.c - pages of rows for the check, with what is wrong among them.
 * Touches  nothing: it reads.
 * Never    manifests' own rows: meta_check_manifest.c. */
#include "storage/meta_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/glob.h"
#include "storage/meta_internal.h"

enum { PAGE_ROWS = 500 };

/* --- pages --- */

void check_page_drop(struct check_page *page)
{
    free(page->faults);
    page->faults = NULL;
    page->count = page->capacity = 0;
}

bool check_page_covers(const struct check_page *page, struct slice repository)
{
    return page->glob.at == NULL || glob_matches(page->glob, repository);
}

void check_text(char *out, size_t capacity, struct slice text)
{
    size_t size = text.size < capacity ? text.size : capacity - 1;

    memcpy(out, text.at == NULL ? "" : text.at, size);
    out[size] = 0;
}

struct check_fault *check_fault_add(struct check_page *page, enum check_kind kind,
                                    const char *format, ...)
{
    struct check_fault *fault;
    va_list list;

    page->faults = meta_grow(page->faults, page->count, &page->capacity, sizeof(*page->faults));
    fault = &page->faults[page->count++];
    memset(fault, 0, sizeof(*fault));
    fault->finding.kind = kind;
    va_start(list, format);
    vsnprintf(fault->finding.sentence, sizeof(fault->finding.sentence), format, list);
    va_end(list);
    return fault;
}

static void set_repository(struct check_fault *fault, int64_t id, struct slice name)
{
    fault->repository = id;
    check_text(fault->finding.repository, sizeof(fault->finding.repository), name);
}

/* The text of a digest column; what is none stays "". */
static void set_digest(struct check_fault *fault, struct slice key)
{
    if (key.at != NULL && digest_from_key(key, &fault->digest))
        digest_text(&fault->digest, fault->finding.digest);
}

static void set_object(struct check_fault *fault, struct slice object)
{
    check_text(fault->finding.object, sizeof(fault->finding.object), object);
}

/* Runs a page in one snapshot. */
struct page_run {
    struct check_page *page;
    const char *sql;
    void (*bind)(struct db_query *query, const struct check_page *page);
    void (*row)(const struct db_query *query, struct check_page *page);
    struct check_page from; /* as it was before: the run may be repeated */
};

static int page_rows(struct db_tx *tx, void *arg, struct error *err)
{
    const struct page_run *run = arg;
    struct check_page *page = run->page;
    OWNED(db_query_end) struct db_query query = db_query(tx, run->sql);
    int row;

    page->count = 0;
    page->rows = 0;
    run->bind(&query, &run->from);
    db_bind_i64(&query, PAGE_ROWS);
    while ((row = db_step(&query, err)) == 1) {
        run->row(&query, page);
        page->rows++;
    }
    page->done = page->rows < PAGE_ROWS;
    return row;
}

static int page_read(struct meta *meta, struct page_run *run, struct error *err)
{
    run->from = *run->page;
    return db_read(meta->db, page_rows, run, err);
}

static void bind_text(struct db_query *query, const struct check_page *page)
{
    db_bind_text(query, slice_of(page->after_text));
}

static void bind_id(struct db_query *query, const struct check_page *page)
{
    db_bind_i64(query, page->after[0]);
}

static void bind_pair(struct db_query *query, const struct check_page *page)
{
    db_bind_i64(query, page->after[0]);
    db_bind_i64(query, page->after[1]);
}

static void bind_id_and_text(struct db_query *query, const struct check_page *page)
{
    db_bind_i64(query, page->after[0]);
    db_bind_text(query, slice_of(page->after_text));
}

/* --- the database itself --- */

struct verify {
    struct check_page *page;
    bool deep;
};

/* Those that the pages find and name themselves. */
static bool told_elsewhere(struct slice table, struct slice parent)
{
    return slice_equal_text(parent, "manifests") &&
           (slice_equal_text(table, "tags") || slice_equal_text(table, "manifest_refs"));
}

static void verify_fault(void *arg, struct slice table, struct slice parent, struct slice sentence)
{
    const struct verify *verify = arg;
    struct check_fault *fault;

    if (told_elsewhere(table, parent))
        return;
    if (parent.at == NULL)
        fault = check_fault_add(verify->page, CHECK_DATABASE, "the database is damaged: %.*s",
                                SLICE_ARG(sentence));
    else
        fault = check_fault_add(verify->page, CHECK_FOREIGN_KEY,
                                "rows of %.*s point to rows of %.*s that are not there",
                                SLICE_ARG(table), SLICE_ARG(parent));
    set_object(fault, table);
}

static int verify_run(struct db_tx *tx, void *arg, struct error *err)
{
    const struct verify *verify = arg;

    verify->page->count = 0;
    return db_verify(tx, verify->deep, verify_fault, arg, err);
}

int meta_check_database(struct meta *meta, bool deep, struct check_page *page, struct error *err)
{
    struct verify verify = {page, deep};

    page->done = true;
    if (db_read(meta->db, verify_run, &verify, err) == 0)
        return 0;
    if (err->code != ERROR_INTERNAL) /* what cannot be read at all is damaged too */
        return -1;
    check_fault_add(page, CHECK_DATABASE, "the database is damaged: %s", err->cause);
    error_clear(err);
    return 0;
}

/* --- locators that are in two tables: meta (1) --- */

static const char SQL_UPLOADS_TWICE[] =
    "SELECT u.id, u.locator, r.name,"
    "       CASE WHEN EXISTS(SELECT 1 FROM blobs b WHERE b.locator = u.locator) THEN 1"
    "            WHEN EXISTS(SELECT 1 FROM trash t WHERE t.locator = u.locator) THEN 2"
    "            ELSE 0"
    "        END"
    "  FROM uploads u"
    "  LEFT JOIN repositories r ON r.id = u.repo_id"
    " WHERE u.id > $1"
    " ORDER BY u.id"
    " LIMIT $2";
static const char SQL_TRASH_TWICE[] =
    "SELECT t.locator,"
    "       CASE WHEN EXISTS(SELECT 1 FROM blobs b WHERE b.locator = t.locator) THEN 1"
    "            ELSE 0"
    "        END"
    "  FROM trash t"
    " WHERE t.locator > $1"
    " ORDER BY t.locator"
    " LIMIT $2";

static void upload_row(const struct db_query *query, struct check_page *page)
{
    int64_t twice = db_column_i64(query, 3);

    check_text(page->after_text, sizeof(page->after_text), db_column_slice(query, 0));
    if (twice == 0)
        return;
    struct check_fault *fault = check_fault_add(
        page, CHECK_LOCATOR_TWICE, "the same bytes are an upload session's and %s", /* meta (1) */
        twice == 1 ? "a blob's" : "wait for removal");
    fault->other = 1; /* the session's row is the one that goes */
    set_object(fault, db_column_slice(query, 1));
    set_repository(fault, 0, db_column_slice(query, 2));
}

int meta_check_locators_of_uploads(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {
        .page = page, .sql = SQL_UPLOADS_TWICE, .bind = bind_text, .row = upload_row};

    return page_read(meta, &run, err);
}

static void trash_row(const struct db_query *query, struct check_page *page)
{
    check_text(page->after_text, sizeof(page->after_text), db_column_slice(query, 0));
    if (db_column_i64(query, 1) == 0)
        return;
    struct check_fault *fault =
        check_fault_add(page, CHECK_LOCATOR_TWICE, "a blob's bytes wait for removal");
    set_object(fault, db_column_slice(query, 0));
}

int meta_check_locators_of_trash(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {
        .page = page, .sql = SQL_TRASH_TWICE, .bind = bind_text, .row = trash_row};

    return page_read(meta, &run, err);
}

/* --- leaks: meta (6) --- */

/* In a repository that is being removed, its own task finds everything. */
static const char SQL_LINKS_PAGE[] =
    "SELECT l.repo_id, l.blob_id, r.name, b.digest,"
    "       CASE WHEN r.deleted_at IS NOT NULL"
    "              OR EXISTS(SELECT 1 FROM manifest_blobs u"
    "                         WHERE u.repo_id = l.repo_id AND u.blob_id = l.blob_id)"
    "              OR EXISTS(SELECT 1 FROM gc_queue q"
    "                         WHERE q.kind = 2 AND q.repo_id = l.repo_id"
    "                           AND q.ref_id = l.blob_id)"
    "            THEN 1"
    "            ELSE 0"
    "        END"
    "  FROM repository_blobs l"
    "  LEFT JOIN repositories r ON r.id = l.repo_id"
    "  LEFT JOIN blobs b ON b.id = l.blob_id"
    " WHERE (l.repo_id, l.blob_id) > ($1, $2)"
    " ORDER BY l.repo_id, l.blob_id"
    " LIMIT $3";
static const char SQL_BLOBS_LEAKED[] =
    "SELECT b.id, b.digest, b.locator,"
    "       CASE WHEN EXISTS(SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id)"
    "              OR EXISTS(SELECT 1 FROM gc_queue q"
    "                         WHERE q.kind = 3 AND q.repo_id = 0 AND q.ref_id = b.id)"
    "            THEN 1"
    "            ELSE 0"
    "        END"
    "  FROM blobs b"
    " WHERE b.id > $1"
    " ORDER BY b.id"
    " LIMIT $2";
static const char SQL_REPOSITORIES_PAGE[] =
    "SELECT r.id, r.deleted_name,"
    "       CASE WHEN r.deleted_at IS NULL"
    "              OR EXISTS(SELECT 1 FROM gc_queue q"
    "                         WHERE q.kind = 4 AND q.repo_id = r.id AND q.ref_id = r.id)"
    "            THEN 1"
    "            ELSE 0"
    "        END"
    "  FROM repositories r"
    " WHERE r.id > $1"
    " ORDER BY r.id"
    " LIMIT $2";

static void link_row(const struct db_query *query, struct check_page *page)
{
    struct slice repository = db_column_slice(query, 2);

    page->after[0] = db_column_i64(query, 0);
    page->after[1] = db_column_i64(query, 1);
    if (db_column_i64(query, 4) != 0 || !check_page_covers(page, repository))
        return;
    struct check_fault *fault = check_fault_add(
        page, CHECK_LINK_LEAKED, "no manifest uses this blob here, and no review is due");
    fault->id = page->after[1];
    set_repository(fault, page->after[0], repository);
    set_digest(fault, db_column_slice(query, 3));
}

int meta_check_links(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {.page = page, .sql = SQL_LINKS_PAGE, .bind = bind_pair, .row = link_row};

    return page_read(meta, &run, err);
}

static void leaked_row(const struct db_query *query, struct check_page *page)
{
    page->after[0] = db_column_i64(query, 0);
    if (db_column_i64(query, 3) != 0)
        return;
    struct check_fault *fault = check_fault_add(
        page, CHECK_BLOB_LEAKED, "no repository has this blob, and no review is due");
    fault->id = page->after[0];
    set_digest(fault, db_column_slice(query, 1));
    set_object(fault, db_column_slice(query, 2));
}

int meta_check_blobs_leaked(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {
        .page = page, .sql = SQL_BLOBS_LEAKED, .bind = bind_id, .row = leaked_row};

    return page_read(meta, &run, err);
}

static void repository_row(const struct db_query *query, struct check_page *page)
{
    page->after[0] = db_column_i64(query, 0);
    if (db_column_i64(query, 2) != 0 || !check_page_covers(page, db_column_slice(query, 1)))
        return;
    struct check_fault *fault = check_fault_add(page, CHECK_REPOSITORY_FORGOTTEN,
                                                "the repository was deleted, and no review is due");
    set_repository(fault, page->after[0], db_column_slice(query, 1));
}

int meta_check_repositories(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {
        .page = page, .sql = SQL_REPOSITORIES_PAGE, .bind = bind_id, .row = repository_row};

    return page_read(meta, &run, err);
}

/* --- tags --- */

static const char SQL_TAGS_PAGE[] = "SELECT t.repo_id, t.name, r.name, t.manifest_id, m.digest,"
                                    "       CASE WHEN m.id IS NULL THEN 1"
                                    "            WHEN m.repo_id != t.repo_id THEN 2"
                                    "            WHEN m.deleted_at IS NOT NULL THEN 3"
                                    "            ELSE 0"
                                    "        END"
                                    "  FROM tags t"
                                    "  LEFT JOIN repositories r ON r.id = t.repo_id"
                                    "  LEFT JOIN manifests m ON m.id = t.manifest_id"
                                    " WHERE (t.repo_id, t.name) > ($1, $2)"
                                    " ORDER BY t.repo_id, t.name"
                                    " LIMIT $3";

static void tag_row(const struct db_query *query, struct check_page *page)
{
    static const char *const wrong[] = {NULL, "that is not there", "of another repository",
                                        "that was deleted"};
    int64_t why = db_column_i64(query, 5);
    struct slice repository = db_column_slice(query, 2);

    page->after[0] = db_column_i64(query, 0);
    check_text(page->after_text, sizeof(page->after_text), db_column_slice(query, 1));
    if (why == 0 || !check_page_covers(page, repository))
        return;
    struct check_fault *fault =
        check_fault_add(page, CHECK_TAG_DANGLING, "the tag points to a manifest %s", wrong[why]);
    fault->id = db_column_i64(query, 3);
    fault->number = why;
    set_repository(fault, page->after[0], repository);
    set_digest(fault, db_column_slice(query, 4));
    memcpy(fault->finding.tag, page->after_text, sizeof(fault->finding.tag));
}

int meta_check_tags(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {
        .page = page, .sql = SQL_TAGS_PAGE, .bind = bind_id_and_text, .row = tag_row};

    return page_read(meta, &run, err);
}
