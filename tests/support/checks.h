/* checks.h - for tests of the check: a store with some of everything, short ways to edit it behind
 * storage's back, and what a check tells. Define nothing else of the names of plans.h. */
#ifndef SLIPWAY_TESTS_SUPPORT_CHECKS_H
#define SLIPWAY_TESTS_SUPPORT_CHECKS_H

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/check.h"
#include "tests/support/plans.h"

/* --- editing behind storage's back, without foreign keys --- */

static inline void edit(struct fixture *fixture, const char *sql)
{
    char path[FOLDER_MAX + 16];
    sqlite3 *handle = NULL;
    char *why = NULL;

    snprintf(path, sizeof(path), "%s/meta.db", fixture->root);
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    if (sqlite3_exec(handle, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(handle);
}

/* The first column of the first row, as text. */
static inline void text_of(struct fixture *fixture, const char *sql, char out[CHECK_NAME_MAX])
{
    char path[FOLDER_MAX + 16];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;

    snprintf(path, sizeof(path), "%s/meta.db", fixture->root);
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(handle, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(out, CHECK_NAME_MAX, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(handle);
}

/* --- a store with some of everything --- */

#define OTHER SLICE("team/other")
#define LAYER "a layer of some bytes, and a few more of them"
#define CONFIG "{\"architecture\":\"amd64\"}"
#define LOOSE "a blob that no manifest names"
#define ELSEWHERE "bytes that are somewhere else"

/* In SQL: the row of a blob by its size, which differs for each. */
#define BLOB(size) "(SELECT id FROM blobs WHERE size = " size ")"
#define LAYER_SIZE "45"
#define CONFIG_SIZE "24"
#define LOOSE_SIZE "29"
#define FAR "9000000000000000"

static inline void push_blob(struct fixture *fixture, struct slice repository, const char *text)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    const struct digest digest = digest_text_of(text);
    struct upload *upload = NULL;
    struct descriptor out;

    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, slice_of(text), &fixture->err));
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
}

static inline void open_session(struct fixture *fixture)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload *upload = NULL;

    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, REPOSITORY, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, SLICE("some bytes of an upload"), &fixture->err));
    storage_upload_release(upload);
    while (upload_table_checkpoint(fixture->store->uploads, 0))
        continue;
}

static inline void descriptor(struct buffer *out, const char *type, const char *text)
{
    char digest[DIGEST_TEXT_MAX];
    const struct digest value = digest_text_of(text);

    buffer_print(out, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", type,
                 digest_text(&value, digest), strlen(text));
}

#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"
#define FOREIGN_TYPE "application/vnd.oci.image.layer.nondistributable.v1.tar"

/* An image of CONFIG and these layers; note makes it another one. free() */
static inline char *image_text(const char *note, const char *layer, const char *foreign)
{
    struct buffer out = BUFFER_NONE;

    buffer_append_text(&out, "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_MANIFEST "\","
                             "\"config\":");
    descriptor(&out, "application/vnd.oci.image.config.v1+json", CONFIG);
    buffer_append_text(&out, ",\"layers\":[");
    descriptor(&out, LAYER_TYPE, layer);
    if (foreign != NULL) {
        buffer_append_text(&out, ",");
        descriptor(&out, FOREIGN_TYPE, foreign);
    }
    buffer_print(&out, "],\"annotations\":{\"note\":\"%s\"}}", note);
    buffer_append(&out, "", 1);
    return out.at;
}

static inline void push_image(struct fixture *fixture, struct slice repository, const char *text,
                              const char *layer, const char *foreign, const char *tag)
{
    const struct manifest_link links[] = {
        {.digest = digest_text_of(CONFIG), .size = strlen(CONFIG)},
        {.digest = digest_text_of(layer), .size = strlen(layer)},
        {.digest = digest_text_of(foreign == NULL ? "" : foreign),
         .size = foreign == NULL ? 0 : strlen(foreign),
         .may_be_missing = true},
    };
    struct push push = push_of(text, tag);

    push.put.blobs = links;
    push.put.blob_count = foreign == NULL ? 2 : 3;
    OK(push_run(fixture, repository, &push));
    missing_drop(&push.missing);
}

static inline void push_index(struct fixture *fixture, const char *image, const char *tag)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct manifest_link child = {.digest = digest_text_of(image), .size = strlen(image)};

    buffer_append_text(&text, "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_INDEX "\","
                              "\"manifests\":[");
    descriptor(&text, OCI_TYPE_MANIFEST, image);
    buffer_append_text(&text, "]}");
    buffer_append(&text, "", 1);
    struct push push = push_of(text.at, tag);
    push.put.media_type = SLICE(OCI_TYPE_INDEX);
    push.put.children = &child;
    push.put.child_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    missing_drop(&push.missing);
}

static inline void fill(struct fixture *fixture)
{
    OWNED(memory_drop) char *image = image_text("first", LAYER, NULL);
    OWNED(memory_drop) char *sparse = image_text("sparse", LAYER, ELSEWHERE);
    OWNED(memory_drop) char *deleted = image_text("deleted", LAYER, NULL);
    const struct manifest_reference gone = {.digest = digest_text_of(deleted)};
    bool mounted = false;

    push_blob(fixture, REPOSITORY, LAYER);
    push_blob(fixture, REPOSITORY, CONFIG);
    push_blob(fixture, REPOSITORY, LOOSE);
    push_image(fixture, REPOSITORY, image, LAYER, NULL, "v1");
    push_image(fixture, REPOSITORY, sparse, LAYER, ELSEWHERE, "sparse");
    push_image(fixture, REPOSITORY, deleted, LAYER, NULL, "deleted");
    push_index(fixture, image, "index");
    OK(storage_manifest_delete(fixture->store, REPOSITORY, &gone, NULL, &fixture->err));
    const struct digest config = digest_text_of(CONFIG), layer = digest_text_of(LAYER);
    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &config, NULL, &mounted,
                          &fixture->err));
    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &layer, NULL, &mounted,
                          &fixture->err));
    push_image(fixture, OTHER, image, LAYER, NULL, "v1");
    open_session(fixture);
}

/* --- what a check tells --- */

enum { FINDINGS_KEPT = 16 };

struct told {
    struct check_finding items[FINDINGS_KEPT];
    size_t count;
    struct check_report report;
};

static inline void keep(void *arg, const struct check_finding *finding)
{
    struct told *told = arg;

    if (told->count < FINDINGS_KEPT)
        told->items[told->count] = *finding;
    told->count++;
}

static inline struct told check_with(struct fixture *fixture, struct check_options options)
{
    struct told told = {.count = 0};

    OK(storage_check(fixture->store, &options, NULL, keep, &told, &told.report, &fixture->err));
    return told;
}

static inline void print_told(const struct told *told)
{
    for (size_t i = 0; i < told->count && i < FINDINGS_KEPT; i++)
        print_message("    %s: %s | %s | %s | %s: %s\n", check_kind_name(told->items[i].kind),
                      told->items[i].repository, told->items[i].tag, told->items[i].digest,
                      told->items[i].object, told->items[i].sentence);
}

static inline void path_of(struct fixture *fixture, const char *locator_sql,
                           char out[FOLDER_MAX + 64])
{
    char locator[CHECK_NAME_MAX];

    text_of(fixture, locator_sql, locator);
    snprintf(out, FOLDER_MAX + 64, "%s/blobs/%.2s/%.32s", fixture->root, locator, locator);
}

#define LAYER_LOCATOR "SELECT locator FROM blobs WHERE size = " LAYER_SIZE
#define LAYER_DIGEST "SELECT 'sha256:' || lower(substr(hex(digest), 3)) FROM blobs WHERE size = 45"
#define MANIFEST_DIGEST(tag)                                                                       \
    "SELECT 'sha256:' || lower(substr(hex(m.digest), 3)) FROM manifests m"                         \
    "  JOIN tags t ON t.manifest_id = m.id AND t.repo_id = 1 WHERE t.name = '" tag "'"
#define MANIFEST_OF(tag) "(SELECT manifest_id FROM tags WHERE repo_id = 1 AND name = '" tag "')"
#define DELETED "(SELECT id FROM manifests WHERE deleted_at IS NOT NULL)"

static inline void write_at(struct fixture *fixture, off_t offset, const char *bytes)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), offset), (ssize_t)strlen(bytes));
    close(fd);
}

static inline void blob_truncated(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    assert_int_equal(truncate(path, 10), 0);
}

static inline void blob_altered(struct fixture *fixture)
{
    write_at(fixture, 7, "X");
}

static inline void blob_flagged(struct fixture *fixture)
{
    edit(fixture, "UPDATE blobs SET damaged = 1 WHERE size = 45");
}

static inline void new_file(struct fixture *fixture, const char *name)
{
    char path[FOLDER_MAX + 128];

    snprintf(path, sizeof(path), "%s/blobs/0f", fixture->root);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/blobs/%s", fixture->root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

#define EXTRA "0f112233445566778899aabbccddeeff"

static inline void file_extra(struct fixture *fixture)
{
    new_file(fixture, "0f/" EXTRA);
}

static inline void file_misnamed(struct fixture *fixture)
{
    new_file(fixture, "0f/notes.txt");
}

static inline void manifest_altered(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests"
                  "   SET payload = CAST(replace(CAST(payload AS TEXT), 'first', 'fifth') AS BLOB)"
                  " WHERE id = " MANIFEST_OF("v1"));
}

static inline void manifest_size(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests SET size = size + 1 WHERE id = " MANIFEST_OF("v1"));
}

static inline void tag_of_deleted(struct fixture *fixture)
{
    edit(fixture, "UPDATE tags SET manifest_id = " DELETED " WHERE name = 'sparse'");
}

#endif
