/* check.c - the check: its phases in order, and what kinds of findings there are.
 * Touches  what the phases touch.
 * Never    decides what is wrong: meta_check*.c for rows, check_files.c and check_blobs.c for
 * files.
 */
#include "storage/check.h"

#include <stdio.h>
#include <string.h>

#include "storage/check_internal.h"

static const struct {
    const char *name;
    enum check_severity severity;
} kinds[CHECK_KINDS] = {
    [CHECK_DATABASE] = {"database", CHECK_ERROR},
    [CHECK_FOREIGN_KEY] = {"foreign-key", CHECK_ERROR},
    [CHECK_LOCATOR_TWICE] = {"locator-twice", CHECK_ERROR},
    [CHECK_TRASH_WITHOUT_FILE] = {"trash-without-file", CHECK_INFO},
    [CHECK_UPLOAD_WITHOUT_FILE] = {"upload-without-file", CHECK_ERROR},
    [CHECK_FILE_EXTRA] = {"file-extra", CHECK_ERROR},
    [CHECK_FILE_MISNAMED] = {"file-misnamed", CHECK_ERROR},
    [CHECK_BLOB_MISSING] = {"blob-missing", CHECK_ERROR},
    [CHECK_BLOB_TRUNCATED] = {"blob-truncated", CHECK_ERROR},
    [CHECK_BLOB_GROWN] = {"blob-grown", CHECK_ERROR},
    [CHECK_BLOB_ALTERED] = {"blob-altered", CHECK_ERROR},
    [CHECK_BLOB_UNREADABLE] = {"blob-unreadable", CHECK_ERROR},
    [CHECK_BLOB_AWAITED] = {"blob-awaited", CHECK_WARNING},
    [CHECK_BLOB_FLAGGED] = {"blob-flagged", CHECK_ERROR},
    [CHECK_BLOB_MARK] = {"blob-mark", CHECK_ERROR},
    [CHECK_BLOB_LEAKED] = {"blob-leaked", CHECK_ERROR},
    [CHECK_LINK_LEAKED] = {"link-leaked", CHECK_ERROR},
    [CHECK_MANIFEST_ALTERED] = {"manifest-altered", CHECK_ERROR},
    [CHECK_MANIFEST_UNREADABLE] = {"manifest-unreadable", CHECK_ERROR},
    [CHECK_MANIFEST_SIZE] = {"manifest-size", CHECK_ERROR},
    [CHECK_MANIFEST_TOTAL] = {"manifest-total", CHECK_ERROR},
    [CHECK_MANIFEST_REFERENCE] = {"manifest-reference", CHECK_ERROR},
    [CHECK_CHILD_WRONG] = {"child-wrong", CHECK_ERROR},
    [CHECK_CHILD_UNLINKED] = {"child-unlinked", CHECK_ERROR},
    [CHECK_MANIFEST_FORGOTTEN] = {"manifest-forgotten", CHECK_ERROR},
    [CHECK_REPOSITORY_FORGOTTEN] = {"repository-forgotten", CHECK_ERROR},
    [CHECK_TAG_DANGLING] = {"tag-dangling", CHECK_ERROR},
    [CHECK_QUOTA] = {"quota", CHECK_ERROR},
};

const char *check_kind_name(enum check_kind kind)
{
    return kinds[kind].name;
}

enum check_severity check_kind_severity(enum check_kind kind)
{
    return kinds[kind].severity;
}

const char *check_severity_name(enum check_severity severity)
{
    static const char *const names[] = {"info", "warning", "error"};

    return names[severity];
}

/* --- shared by the phases --- */

bool check_stopped(void *arg)
{
    const struct check *check = arg;

    if (progress_cancelled(check->progress))
        check->report->cancelled = true;
    return check->report->cancelled;
}

void check_found(struct check *check, const struct check_finding *finding)
{
    struct check_report *report = check->report;
    enum check_severity severity = kinds[finding->kind].severity;

    report->kinds[finding->kind]++;
    report->found += severity != CHECK_INFO;
    report->repaired += finding->repaired;
    report->left += severity == CHECK_ERROR && !finding->repaired;
    progress_add(check->progress, "findings", severity != CHECK_INFO);
    if (check->tell != NULL)
        check->tell(check->arg, finding);
}

struct check_finding check_finding_of(enum check_kind kind, const char *object,
                                      const char *sentence)
{
    struct check_finding finding = {.kind = kind};

    check_text(finding.object, sizeof(finding.object), slice_of(object));
    check_text(finding.sentence, sizeof(finding.sentence), slice_of(sentence));
    return finding;
}

void check_quarantine(struct check *check, const char *name, struct check_finding *finding)
{
    const struct blob_store *blobs = &check->store->blobs;
    struct error err = {0};
    bool moved = false;

    if (!check->options->repair)
        return;
    finding->repaired = blobs->driver->quarantine(blobs->self, name, &moved, &err) == 0;
    if (!finding->repaired) {
        size_t size = strlen(finding->sentence);
        snprintf(finding->sentence + size, sizeof(finding->sentence) - size, "; %s: %s",
                 err.message, err.cause);
    }
}

/* --- phases of rows --- */

static void forget_reads(void *cache)
{
    cache_invalidate_all(cache);
}

static int tell_faults(struct check *check, const struct check_page *page, struct error *err)
    ON(worker_thread)
{
    const struct meta_after after = {forget_reads, check->store->cache};

    for (size_t i = 0; i < page->count; i++) {
        struct check_fault *fault = &page->faults[i];
        if (check->options->repair &&
            meta_check_repair(check->store->meta, fault, &after, &fault->finding.repaired, err) < 0)
            return -1;
        check_found(check, &fault->finding);
    }
    return 0;
}

static int walk(struct check *check, meta_check_page *next, uint64_t *counter, struct error *err)
    ON(worker_thread)
{
    OWNED(check_page_drop) struct check_page page = {.glob = check->options->repositories};

    while (!page.done && !check_stopped(check)) {
        if (next(check->store->meta, &page, err) < 0 || tell_faults(check, &page, err) < 0)
            return -1;
        *counter += page.rows;
        progress_add(check->progress, "rows_checked", page.rows);
    }
    return 0;
}

static int check_database(struct check *check, struct error *err) ON(worker_thread)
{
    OWNED(check_page_drop) struct check_page page = {.done = false};

    if (meta_check_database(check->store->meta, check->options->deep, &page, err) < 0)
        return -1;
    return tell_faults(check, &page, err);
}

/* Of rows that no repository has alone. */
static int check_store(struct check *check, struct error *err) ON(worker_thread)
{
    uint64_t ignored = 0;

    if (check_database(check, err) < 0 ||
        walk(check, meta_check_locators_of_uploads, &ignored, err) < 0 ||
        walk(check, meta_check_locators_of_trash, &ignored, err) < 0 ||
        walk(check, meta_check_blobs_leaked, &ignored, err) < 0 ||
        walk(check, meta_check_quotas, &ignored, err) < 0)
        return -1;
    return 0;
}

static int check_repositories(struct check *check, struct error *err) ON(worker_thread)
{
    uint64_t ignored = 0;

    return walk(check, meta_check_repositories, &ignored, err);
}

static int check_links(struct check *check, struct error *err) ON(worker_thread)
{
    return walk(check, meta_check_links, &check->report->links, err);
}

static int check_manifests(struct check *check, struct error *err) ON(worker_thread)
{
    return walk(check, meta_check_manifests, &check->report->manifests, err);
}

static int check_tags(struct check *check, struct error *err) ON(worker_thread)
{
    return walk(check, meta_check_tags, &check->report->tags, err);
}

/* --- the whole --- */

/* Rows first, so that what a repair requeues or marks is seen right by what follows. */
static const struct {
    const char *name;
    int (*run)(struct check *check, struct error *err);
    bool whole; /* not when only some repositories are asked for */
} phases[] = {
    {"metadata", check_store, true}, {"repositories", check_repositories, false},
    {"tags", check_tags, false},     {"manifests", check_manifests, false},
    {"links", check_links, false},   {"uploads", check_uploads, true},
    {"trash", check_trash, true},    {"files", check_files, true},
    {"blobs", check_blobs, false},
};

int storage_check(struct storage *store, const struct check_options *options,
                  const struct progress *progress, check_tell *tell, void *arg,
                  struct check_report *report, struct error *err)
{
    struct check check = {.store = store,
                          .options = options,
                          .progress = progress,
                          .tell = tell,
                          .arg = arg,
                          .report = report,
                          .marks = options->repair};

    *report = (struct check_report){.files = 0};
    check.pace = (struct pace){.rate = options->rate, .stopped = check_stopped, .arg = &check};
    for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]) && !check_stopped(&check); i++) {
        if (phases[i].whole && options->repositories.at != NULL)
            continue;
        progress_phase(progress, phases[i].name);
        if (phases[i].run(&check, err) < 0)
            return -1;
    }
    return 0;
}
