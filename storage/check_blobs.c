/* check_blobs.c - the check's phase that goes from blobs' rows to their bytes.
 * Touches  blobs (damaged, verified_at), digest marks of files; wrong bytes are moved into
 *          quarantine once their row is marked.
 * Never    believes a first look: a row that has changed meanwhile is looked at anew. */
#include <stdio.h>
#include <string.h>

#include "registry/core/clock.h"
#include "storage/check_internal.h"

enum { LOOKS_MAX = 4 };

/* A blob's row, what was seen of its bytes, and what follows. */
struct look {
    struct check_row row;
    struct blob_object object;
    enum blob_state state;
    enum check_kind kind; /* CHECK_KINDS: nothing is wrong */
};

/* --- looking --- */

static int hash(struct check *check, struct look *look, struct error *err) ON(worker_thread)
{
    uint64_t before = check->report->bytes;

    int result = blob_read_twice(&check->store->blobs, &look->row, &check->pace, &look->state,
                                 &check->report->bytes, err);
    progress_add(check->progress, "bytes_read", check->report->bytes - before);
    return result;
}

static enum check_kind kind_of_bytes(const struct look *look)
{
    switch (look->state) {
    case BLOB_GONE:
        return CHECK_BLOB_MISSING;
    case BLOB_WRONG:
        return CHECK_BLOB_ALTERED;
    case BLOB_UNREADABLE:
        return CHECK_BLOB_UNREADABLE;
    case BLOB_RESIZED:
        return look->object.size < look->row.size ? CHECK_BLOB_TRUNCATED : CHECK_BLOB_GROWN;
    default:
        return CHECK_KINDS;
    }
}

static bool mark_is_wrong(const struct look *look)
{
    return look->object.marked && !digest_equal(&look->object.mark, &look->row.digest);
}

/* A mark of another digest may mean other bytes, so those are hashed as well. */
static int examine(struct check *check, struct look *look, struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;

    if (blobs->driver->look(blobs->self, look->row.locator, &look->object, err) < 0)
        return -1;
    look->state = !look->object.found                   ? BLOB_GONE
                  : look->object.size != look->row.size ? BLOB_RESIZED
                                                        : BLOB_RIGHT;
    if (look->state == BLOB_RIGHT && (check->options->deep || mark_is_wrong(look)) &&
        hash(check, look, err) < 0)
        return -1;
    look->kind = kind_of_bytes(look);
    if (look->row.damaged)
        look->kind = check->options->deep && look->state == BLOB_RIGHT ? CHECK_BLOB_FLAGGED
                                                                       : CHECK_BLOB_AWAITED;
    else if (look->state == BLOB_RIGHT && mark_is_wrong(look))
        look->kind = CHECK_BLOB_MARK;
    return 0;
}

/* True with the row as it was examined; false when it has changed: then look->row is the new one,
 * and id 0 when it is gone. */
static int confirm(struct check *check, struct look *look, bool *stands, struct error *err)
    ON(worker_thread)
{
    struct check_row now;
    bool found;

    if (meta_check_blob_again(check->store->meta, look->row.id, &now, &found, err) < 0)
        return -1;
    *stands = found && strcmp(now.locator, look->row.locator) == 0 &&
              now.damaged == look->row.damaged && now.size == look->row.size;
    if (!found)
        now.id = 0;
    look->row = now;
    return 0;
}

/* --- telling and repairing --- */

static void sentence(const struct look *look, struct buffer *out)
{
    static const char *const sentences[CHECK_KINDS] = {
        [CHECK_BLOB_MISSING] = "the file is missing",
        [CHECK_BLOB_ALTERED] = "the bytes do not match the digest",
        [CHECK_BLOB_UNREADABLE] = "the bytes cannot be read",
        [CHECK_BLOB_AWAITED] = "known to be damaged: it answers 404 until it is pushed again",
        [CHECK_BLOB_FLAGGED] = "marked damaged, but the bytes match the digest",
        [CHECK_BLOB_MARK] = "the file is marked with another digest than its bytes have",
    };

    if (look->kind == CHECK_BLOB_TRUNCATED || look->kind == CHECK_BLOB_GROWN)
        buffer_print(out, "the file has %llu bytes, the blob %llu",
                     (unsigned long long)look->object.size, (unsigned long long)look->row.size);
    else
        buffer_append_text(out, sentences[look->kind]);
}

/* Marked first: from then on nobody reads these bytes, and a push brings others. */
static int give_up(struct check *check, const struct look *look, struct check_finding *finding,
                   struct error *err) ON(worker_thread)
{
    if (look->row.nowhere) /* no mark would fit its row, and no push could put it right */
        return 0;
    if (storage_blob_damage(check->store, &look->row.digest, look->row.locator, err) < 0)
        return -1;
    finding->repaired = check->options->repair;
    if (look->object.found)
        check_quarantine(check, look->row.locator, finding);
    return 0;
}

/* What an earlier repair was cut off from: the row is marked, and wrong bytes are still there. */
static void quarantine_rest(struct check *check, const struct look *look) ON(worker_thread)
{
    struct check_finding ignored = {.repaired = false};

    if (look->object.found && look->state != BLOB_RIGHT && look->state != BLOB_STOPPED)
        check_quarantine(check, look->row.locator, &ignored);
}

static int repair(struct check *check, const struct look *look, struct check_finding *finding,
                  struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &check->store->blobs;
    struct error failed = {0};

    switch (look->kind) {
    case CHECK_BLOB_AWAITED:
        quarantine_rest(check, look);
        return 0;
    case CHECK_BLOB_FLAGGED:
        finding->repaired = true;
        return meta_check_blob_unflag(check->store->meta, look->row.id, look->row.locator, err);
    case CHECK_BLOB_MARK:
        finding->repaired =
            blobs->driver->mark(blobs->self, look->row.locator, &look->row.digest, &failed) == 0;
        return 0;
    default:
        return give_up(check, look, finding, err);
    }
}

static int tell(struct check *check, const struct look *look, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    sentence(look, &text);
    buffer_append(&text, "", 1);
    struct check_finding finding = check_finding_of(look->kind, look->row.locator, text.at);
    digest_text(&look->row.digest, finding.digest);
    if (meta_check_blob_repository(check->store->meta, look->row.id, check->options->repositories,
                                   finding.repository, err) < 0 ||
        (check->marks && repair(check, look, &finding, err) < 0))
        return -1;
    check_found(check, &finding);
    return 0;
}

/* --- the walk --- */

int check_blob(struct check *check, const struct check_row *row, bool *right, struct error *err)
{
    struct look look = {.row = *row};
    bool stands = false;

    for (int i = 0; i < LOOKS_MAX && !stands && look.row.id != 0; i++) {
        if (examine(check, &look, err) < 0)
            return -1;
        *right = look.kind == CHECK_KINDS && look.state == BLOB_RIGHT;
        if (look.kind == CHECK_KINDS)
            return 0;
        if (confirm(check, &look, &stands, err) < 0)
            return -1;
    }
    return stands ? tell(check, &look, err) : 0;
}

static int covered(struct check *check, const struct check_row *row, bool *out, struct error *err)
{
    char repository[CHECK_TEXT_MAX];

    *out = true;
    if (check->options->repositories.at == NULL)
        return 0;
    int result = meta_check_blob_repository(check->store->meta, row->id,
                                            check->options->repositories, repository, err);
    *out = repository[0] != 0;
    return result;
}

/* A page; those that were hashed and right are noted for the scrub. */
static int check_rows(struct check *check, const struct check_row *rows, size_t count,
                      struct error *err) ON(worker_thread)
{
    struct meta_verified verified[CHECK_ROWS];
    size_t hashed = 0;

    for (size_t i = 0; i < count && !check_stopped(check); i++) {
        bool covers, right = false;
        if (covered(check, &rows[i], &covers, err) < 0)
            return -1;
        if (!covers)
            continue;
        if (check_blob(check, &rows[i], &right, err) < 0)
            return -1;
        check->report->blobs++;
        progress_add(check->progress, "blobs_checked", 1);
        if (right && check->options->deep)
            verified[hashed++] = (struct meta_verified){rows[i].id, clock_now_us()};
    }
    return hashed == 0 ? 0 : meta_verified(check->store->meta, verified, hashed, NULL, NULL, err);
}

int check_blobs(struct check *check, struct error *err)
{
    OWNED(memory_drop) struct check_row *rows = memory_new(CHECK_ROWS * sizeof(*rows));
    size_t count = CHECK_ROWS;
    int64_t after = 0;

    while (count == CHECK_ROWS && !check_stopped(check)) {
        if (meta_check_blobs(check->store->meta, after, rows, &count, err) < 0 ||
            check_rows(check, rows, count, err) < 0)
            return -1;
        after = count > 0 ? rows[count - 1].id : after;
    }
    return 0;
}
