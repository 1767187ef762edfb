/* collect.h - for tests of the collector: time that passes, images with real blobs, what is left.
 */
#ifndef SLIPWAY_TESTS_SUPPORT_COLLECT_H
#define SLIPWAY_TESTS_SUPPORT_COLLECT_H

#include <sys/stat.h>
#include <unistd.h>

#include "storage/meta_collect.h"
#include "tests/support/store.h"

#define OTHER SLICE("team/other")

/* --- the clock: everything that waits is made older --- */

#define HOUR_US "3600000000"

/* As if so many hours had passed: leases, undo windows, tasks. */
static inline void hours_pass(struct fixture *fixture, int hours)
{
    static const char *const SQL[] = {
        "UPDATE gc_queue SET due = due - " HOUR_US,
        "UPDATE repository_blobs SET touched_at = touched_at - " HOUR_US
        ", deleted_at = deleted_at - " HOUR_US,
        "UPDATE manifests SET touched_at = touched_at - " HOUR_US
        ", deleted_at = deleted_at - " HOUR_US,
        "UPDATE deleted_tags SET until = until - " HOUR_US,
        "UPDATE pins SET until = until - " HOUR_US,
        "UPDATE repositories SET deleted_at = deleted_at - " HOUR_US,
        "UPDATE uploads SET expires_at = expires_at - " HOUR_US,
        "UPDATE trash SET not_before = not_before - " HOUR_US,
    };

    for (; hours > 0; hours--)
        for (size_t i = 0; i < LENGTH(SQL); i++)
            script(fixture, SQL[i]);
    cache_invalidate_all(fixture->store->cache); /* its leases have a clock of their own */
}

static inline struct collect_report collect(struct fixture *fixture)
{
    struct collect_report report;

    OK(storage_collect(fixture->store, false, NULL, &report, &fixture->err));
    return report;
}

static inline struct collect_report collect_later(struct fixture *fixture)
{
    hours_pass(fixture, 2);
    return collect(fixture);
}

#define ROWS(table) number(fixture, "SELECT count(*) FROM " table)

static int files_seen;

static inline int file_count_one(const char *path, const struct stat *file, int kind,
                                 struct FTW *place)
{
    (void)path;
    (void)place;
    files_seen += kind == FTW_F && S_ISREG(file->st_mode);
    return 0;
}

/* How many objects lie in the store. */
static inline int files(struct fixture *fixture)
{
    char path[FOLDER_MAX + 8];

    files_seen = 0;
    snprintf(path, sizeof(path), "%s/blobs", fixture->root);
    assert_int_equal(nftw(path, file_count_one, 16, FTW_PHYS), 0);
    return files_seen;
}

/* --- filling: blobs with bytes --- */

static inline struct digest blob(struct fixture *fixture, struct slice repository, const char *text)
{
    struct digest digest = digest_text_of(text);
    struct descriptor out;
    struct upload *upload = NULL;
    char id[OCI_UPLOAD_ID_SIZE + 1];

    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, slice_of(text), &fixture->err));
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
    return digest;
}

static inline bool has_blob(struct fixture *fixture, struct slice repository, const char *text)
{
    struct digest digest = digest_text_of(text);
    struct blob found;

    if (storage_blob_open(fixture->store, repository, &digest, false, &found, &fixture->err) < 0)
        return false;
    storage_blob_close(&found);
    return true;
}

/* --- filling: manifests --- */

enum { LINKS_MAX = 8 };

/* What a manifest of a test names; texts end at NULL. */
struct image {
    const char *text; /* its payload */
    const char *tag;  /* NULL: none */
    const char *blobs[LINKS_MAX];
    const char *children[LINKS_MAX];
    const char *subject; /* NULL: none */
};

static inline size_t links_of(const char *const *texts, struct manifest_link *out)
{
    size_t count = 0;

    for (; count < LINKS_MAX && texts[count] != NULL; count++)
        out[count] = (struct manifest_link){.digest = digest_text_of(texts[count]),
                                            .size = strlen(texts[count])};
    return count;
}

static inline int image_push(struct fixture *fixture, struct slice repository,
                             const struct image *image)
{
    struct manifest_link blobs[LINKS_MAX], children[LINKS_MAX];
    struct push push = push_of(image->text, image->tag);

    push.put.blobs = blobs;
    push.put.blob_count = links_of(image->blobs, blobs);
    push.put.children = children;
    push.put.child_count = links_of(image->children, children);
    if (image->subject != NULL)
        push.put.subject = digest_text_of(image->subject);
    int result = push_run(fixture, repository, &push);
    missing_drop(&push.missing);
    return result;
}

#define IMAGE(text_, tag_, ...)                                                                    \
    (&(const struct image){.text = (text_), .tag = (tag_), ##__VA_ARGS__})
#define PUSH(...) OK(image_push(fixture, REPOSITORY, IMAGE(__VA_ARGS__)))

static inline bool has_manifest(struct fixture *fixture, const char *text)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};
    const struct manifest *found = NULL;

    if (storage_manifest_get(fixture->store, REPOSITORY, &reference, false, &found, &fixture->err) <
        0)
        return false;
    storage_manifest_release(found);
    return true;
}

static inline void delete_manifest(struct fixture *fixture, const char *text)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};

    OK(storage_manifest_delete(fixture->store, REPOSITORY, &reference, NULL, &fixture->err));
}

static inline void delete_tag(struct fixture *fixture, const char *tag)
{
    const struct manifest_reference reference = {.tag = slice_of(tag)};

    OK(storage_manifest_delete(fixture->store, REPOSITORY, &reference, NULL, &fixture->err));
}

/* Reviews one task that is due: what the collector does between two transactions of others. */
static inline struct collect_report review_one(struct fixture *fixture)
{
    struct meta_batch batch = {.meta = fixture->meta, .limit = 1};

    OK(meta_collect(&batch, &fixture->err));
    return batch.report;
}

/* As HEAD by somebody who may push. */
static inline int head(struct fixture *fixture, struct slice repository, const char *text)
{
    struct digest digest = digest_text_of(text);
    struct blob found;

    return storage_blob_stat(fixture->store, repository, &digest, true, &found, &fixture->err);
}

#endif
