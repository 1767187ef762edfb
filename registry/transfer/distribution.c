/* distribution.c - the folders of docker-registry, 2.x and 3.x: repositories, manifests, tags.
 * Touches  the folder, to read; storage by way of intake.c.
 * Never    writes below the folder, reads uploads that were under way.
 *
 *   docker/registry/v2/blobs/<algorithm>/<2 digits>/<digits>/data
 *   docker/registry/v2/repositories/<name>/_manifests/revisions/<algorithm>/<digits>/link
 *                                          _manifests/tags/<tag>/current/link
 *                                          _manifests/tags/<tag>/index/<algorithm>/<digits>/link
 *
 * A link is a file that holds a digest. A name may lie below another one: a/_manifests, a/b/... */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "registry/core/glob.h"
#include "registry/core/oci.h"
#include "registry/transfer/names.h"
#include "registry/transfer/transfer_internal.h"

enum { LINK_MAX_SIZE = 256, LEVELS_MAX = 128 };

static const char BELOW_ROOT[] = "/docker/registry/v2";

struct distribution {
    struct files files;
    struct transfer *transfer;
    char *base; /* .../docker/registry/v2 */
    struct slice glob;
};

static void distribution_drop(struct distribution *with)
{
    free(with->base);
}

static void blob_path(const struct files *files, const struct digest *digest, struct buffer *out)
{
    char text[DIGEST_TEXT_MAX];
    struct slice algorithm;
    const char *hex = digest_hex(digest, text, &algorithm);

    buffer_print(out, "%s/blobs/%.*s/%.2s/%s/data", files->root, SLICE_ARG(algorithm), hex, hex);
}

/* When the repository got it: its link, and not the bytes, which it may share. */
static int revision_read(struct source *source, struct slice repository, struct image *image,
                         size_t limit, struct error *err)
{
    const struct files *files = (const struct files *)source;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];
    struct slice algorithm;
    struct stat link;

    if (files_manifest(source, repository, image, limit, err) < 0)
        return -1;
    const char *hex = digest_hex(&image->digest, text, &algorithm);
    buffer_print(&path, "%s/repositories/%.*s/_manifests/revisions/%.*s/%s/link", files->root,
                 SLICE_ARG(repository), SLICE_ARG(algorithm), hex);
    if (stat(path.at, &link) == 0)
        image->created_at = file_time(&link);
    return 0;
}

/* --- folders --- */

/* What is in a folder, in bytewise order; one that is not there is empty. */
static int names_read(const char *path, struct names *out, struct error *err)
{
    OWNED(folder_drop) DIR *folder = opendir(path);
    const struct dirent *entry;

    if (folder == NULL && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (folder == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be opened", path);
    while ((entry = folder_next(folder)) != NULL)
        if (entry->d_name[0] != '.')
            names_add(out, entry->d_name);
    if (errno != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be read", path);
    names_sort(out);
    return 0;
}

static bool is_folder(const char *path)
{
    struct stat found;

    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

/* --- links --- */

/* The digest that a link holds. False when there is none, or it is none: told unless it is gone. */
static bool link_read(const struct distribution *with, struct slice repository, const char *path,
                      struct digest *out, int64_t *at)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};

    if (file_read(path, LINK_MAX_SIZE, &text, at, &err) == 0) {
        struct slice digest = buffer_slice(&text);
        while (digest.size > 0 && digest.at[digest.size - 1] == '\n')
            digest.size--;
        if (digest_parse(digest, out, &err) == 0)
            return true;
    }
    if (err.code != ERROR_MANIFEST_UNKNOWN)
        transfer_problem(with->transfer, repository, path + strlen(with->base), "%s", err.message);
    return false;
}

static void past_add(struct adopt_past **past, size_t *count, const struct digest *digest,
                     int64_t at)
{
    *past = memory_resize(*past, (*count + 1) * sizeof(**past));
    (*past)[(*count)++] = (struct adopt_past){*digest, at};
}

/* All of <folder>/<algorithm>/<digits>/link. */
static int links_read(const struct distribution *with, struct slice repository, const char *folder,
                      struct adopt_past **out, size_t *count, struct error *err)
{
    OWNED(names_drop) struct names algorithms = {.items = NULL};

    if (names_read(folder, &algorithms, err) < 0)
        return -1;
    for (size_t i = 0; i < algorithms.count; i++) {
        OWNED(names_drop) struct names digits = {.items = NULL};
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s/%s", folder, algorithms.items[i]);
        if (names_read(path.at, &digits, err) < 0)
            return -1;
        size_t size = path.size;
        for (size_t k = 0; k < digits.count; k++) {
            struct digest digest;
            int64_t at = 0;
            path.size = size;
            buffer_print(&path, "/%s/link", digits.items[k]);
            if (link_read(with, repository, path.at, &digest, &at))
                past_add(out, count, &digest, at);
        }
    }
    return 0;
}

/* --- tags --- */

enum { TAGS_CHUNK = 256 };

struct tags {
    struct adopt_tag items[TAGS_CHUNK];
    struct adopt_past *pasts[TAGS_CHUNK];
    size_t count;
};

static void tags_drop(struct tags **owned)
{
    struct tags *tags = *owned;

    for (size_t i = 0; i < tags->count; i++)
        free(tags->pasts[i]);
    free(tags);
}

static int past_compare(const void *a, const void *b)
{
    const struct adopt_past *left = a, *right = b;

    if (left->at != right->at)
        return left->at < right->at ? -1 : 1;
    return memcmp(left->digest.bytes, right->digest.bytes, sizeof(left->digest.bytes));
}

/* By when each was set; where it stands comes last, whatever the clock said. */
static void past_order(struct adopt_past *past, size_t *count, const struct digest *current,
                       int64_t at)
{
    size_t kept = 0;

    for (size_t i = 0; i < *count; i++)
        if (!digest_equal(&past[i].digest, current))
            past[kept++] = past[i];
    if (kept > 1)
        qsort(past, kept, sizeof(*past), past_compare);
    past[kept++] = (struct adopt_past){*current, at};
    *count = kept;
}

/* False: it was deleted, or is told as a problem. */
static int tag_read(const struct distribution *with, struct slice repository, const char *folder,
                    const char *name, struct tags *tags, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(memory_drop) struct adopt_past *past = NULL;
    struct digest current;
    size_t count = 0;
    int64_t at = 0;

    if (!oci_tag_valid(slice_of(name))) {
        transfer_problem(with->transfer, repository, name, "it cannot be the name of a tag");
        return 0;
    }
    buffer_print(&path, "%s/%s/current/link", folder, name);
    if (!link_read(with, repository, path.at, &current, &at))
        return 0;
    path.size = 0;
    buffer_print(&path, "%s/%s/index", folder, name);
    if (links_read(with, repository, path.at, &past, &count, err) < 0)
        return -1;
    past_add(&past, &count, &current, at);
    past_order(past, &count, &current, at);
    size_t used = tags->count++;
    tags->pasts[used] = TAKE(past);
    tags->items[used] =
        (struct adopt_tag){.name = slice_of(name), .past = tags->pasts[used], .past_count = count};
    return 0;
}

static int tags_import(const struct distribution *with, struct intake *intake,
                       const char *manifests, struct error *err) ON(worker_thread)
{
    OWNED(names_drop) struct names names = {.items = NULL};
    OWNED(buffer_drop) struct buffer folder = BUFFER_NONE;

    buffer_print(&folder, "%s/tags", manifests);
    if (names_read(folder.at, &names, err) < 0)
        return -1;
    for (size_t at = 0; at < names.count && !transfer_stopped(with->transfer); at += TAGS_CHUNK) {
        OWNED(tags_drop) struct tags *tags = memory_new(sizeof(*tags));
        for (size_t i = at; i < names.count && i < at + TAGS_CHUNK; i++)
            if (tag_read(with, intake->repository, folder.at, names.items[i], tags, err) < 0)
                return -1;
        if (intake_tags(intake, tags->items, tags->count, err) < 0)
            return -1;
    }
    return 0;
}

/* --- repositories --- */

static int revisions_import(const struct distribution *with, struct intake *intake,
                            const char *manifests, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer folder = BUFFER_NONE;
    OWNED(memory_drop) struct adopt_past *revisions = NULL;
    OWNED(digest_list_drop) struct digest_list digests = {.items = NULL};
    size_t count = 0;

    buffer_print(&folder, "%s/revisions", manifests);
    if (links_read(with, intake->repository, folder.at, &revisions, &count, err) < 0)
        return -1;
    /* the oldest first: then lists of referrers keep their order */
    if (count > 1)
        qsort(revisions, count, sizeof(*revisions), past_compare);
    for (size_t i = 0; i < count; i++)
        digest_list_add(&digests, &revisions[i].digest);
    return intake_manifests(intake, digests.items, digests.count, err);
}

static int repository_import(struct distribution *with, struct slice name, const char *path,
                             struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer manifests = BUFFER_NONE;
    OWNED(intake_drop)
    struct intake intake = {
        .transfer = with->transfer, .source = &with->files.source, .repository = name};

    buffer_print(&manifests, "%s/_manifests", path);
    if (!is_folder(manifests.at) || (with->glob.size > 0 && !glob_matches(with->glob, name)))
        return 0;
    if (!oci_name_valid(name)) {
        transfer_problem(with->transfer, name, "", "it cannot be the name of a repository");
        return 0;
    }
    if (revisions_import(with, &intake, manifests.at, err) < 0 ||
        tags_import(with, &intake, manifests.at, err) < 0)
        return -1;
    transfer_count(with->transfer, "repositories", 1);
    return 0;
}

/* path is below repositories/, which ends at base_size; it is put back as it was. */
static int walk(struct distribution *with, struct buffer *path, size_t base_size, int level,
                struct error *err) ON(worker_thread)
{
    OWNED(names_drop) struct names names = {.items = NULL};
    size_t size = path->size;

    if (size > base_size &&
        repository_import(with, slice_from(buffer_slice(path), base_size + 1), path->at, err) < 0)
        return -1;
    if (level == LEVELS_MAX)
        return 0; /* deeper than any name goes */
    if (names_read(path->at, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count && !transfer_stopped(with->transfer); i++) {
        if (names.items[i][0] == '_')
            continue;
        buffer_print(path, "/%s", names.items[i]);
        int status = is_folder(path->at) ? walk(with, path, base_size, level + 1, err) : 0;
        path->size = size;
        path->at[size] = 0;
        if (status < 0)
            return -1;
    }
    return 0;
}

/* The folder that docker-registry's configuration names, or the one that holds blobs/. */
static int find_base(const char *root, struct buffer *out, struct error *err)
{
    static const char *const tails[] = {BELOW_ROOT, ""};

    for (size_t i = 0; i < 2; i++) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s%s/repositories", root, tails[i]);
        if (!is_folder(path.at))
            continue;
        buffer_print(out, "%s%s", root, tails[i]);
        return 0;
    }
    return error_set(
        err, ERROR_NOT_FOUND,
        "%s is no folder of docker-registry: it has no docker/registry/v2/repositories", root);
}

int import_distribution(struct transfer *transfer, const char *root, struct slice glob,
                        struct error *err)
{
    OWNED(buffer_drop) struct buffer base = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(distribution_drop) struct distribution with = {.transfer = transfer, .glob = glob};

    if (find_base(root, &base, err) < 0)
        return -1;
    with.base = TAKE(base.at);
    files_open(&with.files);
    with.files.path = blob_path;
    with.files.root = with.base;
    with.files.source.manifest = revision_read;
    buffer_print(&path, "%s/repositories", with.base);
    progress_phase(transfer->progress, "import");
    return walk(&with, &path, path.size, 0, err);
}
