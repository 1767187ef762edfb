/* check_files.c - the check's phases that begin with files, or with rows of sessions and trash.
 * Touches  the blob store: what belongs to nothing is moved into quarantine.
 * Never    looks into a file.
 *
 * A file is extra only if it was seen, then no row was found, then it was seen again: its row comes
 * before it and goes after it. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "storage/check_internal.h"

/* --- names of a shelf --- */

struct names {
    char **items;
    size_t count, capacity;
};

static void names_drop(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

static void names_add(void *arg, const char *name)
{
    struct names *names = arg;

    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 64 : 2 * names->capacity;
        names->items = memory_resize(names->items, names->capacity * sizeof(*names->items));
    }
    names->items[names->count++] = memory_text(slice_of(name));
}

static void found_file(struct check *check, enum check_kind kind, const char *name,
                       const char *sentence) ON(worker_thread)
{
    struct check_finding finding = check_finding_of(kind, name, sentence);

    check_quarantine(check, name, &finding);
    check_found(check, &finding);
}

static int check_file(struct check *check, const char *locator, struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;
    struct blob_object object;
    bool known = false;

    if (meta_check_locator(check->store->meta, locator, &known, err) < 0)
        return -1;
    if (known)
        return 0;
    if (blobs->driver->look(blobs->self, locator, &object, err) < 0)
        return -1;
    if (object.found)
        found_file(check, CHECK_FILE_EXTRA, locator, "no row of the metadata names this file");
    return 0;
}

static int check_shelf(struct check *check, unsigned shelf, struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;
    OWNED(names_drop) struct names strange = {NULL, 0, 0};
    OWNED(names_drop) struct names objects = {NULL, 0, 0};

    if (blobs->driver->list_strange(blobs->self, shelf, names_add, &strange, err) < 0)
        return -1;
    for (size_t i = 0; i < strange.count; i++)
        found_file(check, CHECK_FILE_MISNAMED, strange.items[i],
                   "the name belongs to no blob here");
    if (shelf == LOCATOR_SHELVES)
        return 0;
    if (blobs->driver->list(blobs->self, shelf, names_add, &objects, err) < 0)
        return -1;
    for (size_t i = 0; i < objects.count && !check_stopped(check); i++) {
        check->report->files++;
        if (check_file(check, objects.items[i], err) < 0)
            return -1;
    }
    progress_add(check->progress, "files_checked", objects.count);
    return 0;
}

int check_files(struct check *check, struct error *err)
{
    for (unsigned shelf = 0; shelf <= LOCATOR_SHELVES && !check_stopped(check); shelf++)
        if (check_shelf(check, shelf, err) < 0)
            return -1;
    return 0;
}

/* --- upload sessions --- */

static int found_upload(struct check *check, const struct check_row *row, struct error *err)
    ON(worker_thread)
{
    struct check_finding finding = check_finding_of(CHECK_UPLOAD_WITHOUT_FILE, row->upload,
                                                    "the bytes of an open upload session are gone");

    if (check->options->repair) {
        if (meta_upload_discard(check->store->meta, row->upload, err) < 0)
            return -1;
        upload_table_forget(check->store->uploads, row->locator);
        finding.repaired = true; /* its client begins anew: CONC-02 */
    }
    check_found(check, &finding);
    return 0;
}

static int check_upload(struct check *check, const struct check_row *row, struct error *err)
    ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;
    struct blob_object object;
    bool there = false;

    if (blobs->driver->look(blobs->self, row->locator, &object, err) < 0)
        return -1;
    if (object.found || row->size == 0)
        return 0;
    if (meta_check_upload_again(check->store->meta, row->upload, &there, err) < 0)
        return -1;
    return there ? found_upload(check, row, err) : 0;
}

int check_uploads(struct check *check, struct error *err)
{
    OWNED(memory_drop) struct check_row *rows = memory_new(CHECK_ROWS * sizeof(*rows));
    char after[sizeof(rows->upload)] = "";
    size_t count = CHECK_ROWS;

    while (count == CHECK_ROWS && !check_stopped(check)) {
        if (meta_check_uploads(check->store->meta, after, rows, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            if (check_upload(check, &rows[i], err) < 0)
                return -1;
        if (count > 0)
            memcpy(after, rows[count - 1].upload, sizeof(after));
        check->report->uploads += count;
    }
    return 0;
}

/* --- trash --- */

/* What is due may be on its way out at this moment. */
static int check_waste(struct check *check, const struct check_row *row, struct error *err)
    ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;
    struct blob_object object;

    if (row->time <= clock_now_us())
        return 0;
    if (blobs->driver->look(blobs->self, row->locator, &object, err) < 0)
        return -1;
    if (!object.found) {
        const struct check_finding finding = check_finding_of(
            CHECK_TRASH_WITHOUT_FILE, row->locator, "bytes that wait for removal are gone already");
        check_found(check, &finding);
    }
    return 0;
}

int check_trash(struct check *check, struct error *err)
{
    OWNED(memory_drop) struct check_row *rows = memory_new(CHECK_ROWS * sizeof(*rows));
    char after[sizeof(rows->locator)] = "";
    size_t count = CHECK_ROWS;

    while (count == CHECK_ROWS && !check_stopped(check)) {
        if (meta_check_trash(check->store->meta, after, rows, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++)
            if (check_waste(check, &rows[i], err) < 0)
                return -1;
        if (count > 0)
            memcpy(after, rows[count - 1].locator, sizeof(after));
        check->report->trash += count;
    }
    return 0;
}
