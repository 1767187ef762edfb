/* scan.c - looks for secrets in bytes that come in pieces.
 * Touches  memory only (pure).
 * Never    keeps more than the end of the last piece, and wipes that.
 *
 * Spec: s2i 10.22 */
#include "s2i/layer/scan.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer_internal.h"

enum { SECRET_MIN = 8 };

struct scan {
    const struct s2i_list *secrets;
    size_t longest;
    char *seam;       /* the end of the last piece, then the start of this one: 2 * longest bytes */
    size_t seam_size; /* of the last piece */
};

struct scan *scan_open(const struct s2i_list *secrets)
{
    size_t longest = 0;

    for (size_t i = 0; secrets != NULL && i < secrets->count; i++) {
        size_t size = strlen(secrets->items[i]);
        longest = size > longest ? size : longest;
    }
    if (longest < SECRET_MIN)
        return NULL;
    struct scan *scan = memory_new(sizeof(*scan));
    scan->secrets = secrets;
    scan->longest = longest;
    scan->seam = memory_new(2 * longest);
    return scan;
}

void scan_drop(struct scan **owned)
{
    struct scan *scan = TAKE(*owned);

    if (scan == NULL)
        return;
    explicit_bzero(scan->seam, 2 * scan->longest);
    free(scan->seam);
    free(scan);
}

static bool holds(const struct scan *scan, struct slice bytes)
{
    for (size_t i = 0; i < scan->secrets->count; i++) {
        struct slice secret = slice_of(scan->secrets->items[i]);
        if (secret.size >= SECRET_MIN && secret.size <= bytes.size &&
            memmem(bytes.at, bytes.size, secret.at, secret.size) != NULL)
            return true;
    }
    return false;
}

void scan_begin(struct scan *scan)
{
    if (scan != NULL)
        scan->seam_size = 0;
}

bool scan_bytes(struct scan *scan, struct slice bytes)
{
    if (scan == NULL || bytes.size == 0)
        return false;
    size_t keep = scan->longest - 1, head = bytes.size < keep ? bytes.size : keep;
    memcpy(scan->seam + scan->seam_size, bytes.at, head);
    size_t size = scan->seam_size + head;
    if (holds(scan, (struct slice){scan->seam, size}) || holds(scan, bytes))
        return true;
    if (bytes.size >= keep) {
        memcpy(scan->seam, bytes.at + bytes.size - keep, keep);
        scan->seam_size = keep;
    } else {
        size_t rest = size < keep ? size : keep;
        memmove(scan->seam, scan->seam + size - rest, rest);
        scan->seam_size = rest;
    }
    return false;
}

bool scan_names(struct scan *scan, const struct tar_entry *entry)
{
    if (scan == NULL)
        return false;
    if (holds(scan, entry->path) || holds(scan, entry->link))
        return true;
    for (size_t i = 0; i < entry->xattr_count; i++)
        if (holds(scan, entry->xattrs[i].value))
            return true;
    return false;
}

int scan_refuse(struct slice path, struct error *err)
{
    char shown[SHOWN_MAX];

    error_set(err, ERROR_INVALID, "'%s' holds a secret of the build", path_shown(path, shown));
    return error_set_cause(err, "SecretInLayer");
}
