/* rebase_image.c - one image on a newer base: what its layers hold, and whether it may be.
 * Touches  storage: manifests, configs; layers are read to see what the base changed.
 * Never    publishes; runs anything.
 *
 * Bases are read once for all images that stand on them. Spec: s2i 15.1 */
#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer.h"
#include "s2i/rebase.h"
#include "storage/storage.h"

enum { CONFLICTS_MAX = 100, RATIO_MAX = 1100 };
/* Names stay in memory, of all layers of an image; a file is at least so many bytes beside its. */
enum { TREE_MAX = 128 << 20, FILE_COST = 128 };

void rebase_bases_drop(struct rebase_bases *bases)
{
    rebase_tree_drop(&bases->old_tree);
    rebase_tree_drop(&bases->new_tree);
    s2i_image_drop(&bases->old_base);
    s2i_image_drop(&bases->new_base);
    free(bases->old_name);
    free(bases->new_name);
}

void rebase_made_drop(struct rebase_made *made)
{
    contract_result_drop(&made->result);
    s2i_list_drop(&made->conflicts);
    s2i_image_drop(&made->before);
}

/* --- what is in layers --- */

static void xattrs_write(const struct tar_entry *entry, struct buffer *out)
{
    for (size_t i = 0; i < entry->xattr_count; i++) {
        buffer_print(out, "%zu %zu ", entry->xattrs[i].name.size, entry->xattrs[i].value.size);
        buffer_append_slice(out, entry->xattrs[i].name);
        buffer_append_slice(out, entry->xattrs[i].value);
    }
}

struct reading {
    struct rebase_tree *tree;
    uint64_t bytes; /* that it holds */
};

static int put(void *arg, const struct tar_entry *entry, const struct digest *content,
               struct error *err)
{
    OWNED(buffer_drop) struct buffer xattrs = BUFFER_NONE;
    struct reading *reading = arg;

    reading->bytes += entry->path.size + entry->link.size + FILE_COST;
    if (reading->bytes > TREE_MAX)
        return error_set(err, ERROR_INVALID,
                         "the names of the files of an image are too long, or too many");
    xattrs_write(entry, &xattrs);
    const struct rebase_entry item = {.path = entry->path,
                                      .type = entry->type,
                                      .mode = entry->mode,
                                      .uid = entry->uid,
                                      .gid = entry->gid,
                                      .size = entry->size,
                                      .link = entry->link,
                                      .content = *content,
                                      .xattrs = buffer_slice(&xattrs)};
    rebase_tree_put(reading->tree, &item);
    return 0;
}

/* From this layer on, bottom to top. */
static int tree_read(const struct builds *builds, const struct s2i_image *image, size_t from,
                     bool own, struct rebase_tree **out, struct error *err) ON(worker_thread)
{
    const struct config *config = builds->config;
    const struct layer_limits limits = {config->builds_disk * 4,
                                        config->builds_sources_max_files * 10, RATIO_MAX};
    OWNED(rebase_tree_drop) struct rebase_tree *tree = rebase_tree_new(own);
    struct reading reading = {.tree = tree};

    for (size_t i = from; i < image->layer_count; i++) {
        struct blob blob;
        if (storage_blob_open(builds->storage, slice_of(image->repository),
                              &image->layers[i].digest, false, &blob, err) < 0)
            return -1;
        int status = layer_list(blob.fd, &image->layers[i], &limits, put, &reading, err);
        storage_blob_close(&blob);
        if (status < 0)
            return -1;
        rebase_tree_layer_end(tree);
    }
    *out = TAKE(tree);
    return 0;
}

static int base_read(const struct builds *builds, const struct s2i_image *base,
                     struct rebase_tree **tree, struct digest *digest, struct error *err)
    ON(worker_thread)
{
    if (*tree != NULL && digest_equal(digest, &base->digest))
        return 0;
    rebase_tree_drop(tree);
    *digest = base->digest;
    return tree_read(builds, base, 0, false, tree, err);
}

/* --- images by name --- */

/* Missing is CONFLICT here: what is asked for is there, what it needs is not. */
static int image_need(const struct rebase_bases *bases, struct slice name, const char *what,
                      struct s2i_image *out, struct error *err) ON(worker_thread)
{
    bool found;

    if (image_resolve(bases->builds, bases->actor, name, out, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    return error_set(err, ERROR_CONFLICT, "%s %.*s is not here, or may not be pulled", what,
                     SLICE_ARG(name));
}

/* The one that is known stays as it is: a tag that moves meanwhile is for the next rebase. */
static int base_need(const struct rebase_bases *bases, struct slice name, const char *what,
                     char **known, struct s2i_image *image, struct error *err) ON(worker_thread)
{
    if (*known != NULL && slice_equal_text(name, *known))
        return 0;
    free(*known);
    *known = NULL;
    s2i_image_drop(image);
    if (image_need(bases, name, what, image, err) < 0)
        return -1;
    *known = memory_text(name);
    return 0;
}

int rebase_onto(struct rebase_bases *bases, struct slice name, struct error *err)
{
    return base_need(bases, name, "the new base", &bases->new_name, &bases->new_base, err);
}

/* --- one image --- */

struct subject {
    struct s2i_image image;
    const struct manifest *manifest;
};

static void subject_drop(struct subject *subject)
{
    s2i_image_drop(&subject->image);
    if (subject->manifest != NULL)
        storage_manifest_release(subject->manifest);
}

static int subject_read(const struct rebase_bases *bases, struct slice repository,
                        const struct digest *digest, struct subject *out, struct error *err)
    ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = *digest};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];

    buffer_print(&name, "%.*s@%s", SLICE_ARG(repository), digest_text(digest, text));
    if (storage_manifest_get(bases->builds->storage, repository, &reference, false, &out->manifest,
                             err) < 0)
        return -1;
    return image_need(bases, buffer_slice(&name), "the image", &out->image, err);
}

/* Cheap reasons to refuse come before layers are read. */
static int make(struct rebase_bases *bases, const struct subject *subject, struct rebase_made *out,
                struct error *err) ON(worker_thread)
{
    const struct builds *builds = bases->builds;
    OWNED(rebase_tree_drop) struct rebase_tree *own = NULL;
    const struct rebase about = {.manifest = subject->manifest->payload,
                                 .config = slice_of(subject->image.config),
                                 .old_base = &bases->old_base,
                                 .new_base = &bases->new_base,
                                 .conflicts = &out->conflicts};

    if (rebase_make(&about, &out->result, err) < 0 ||
        base_read(builds, &bases->old_base, &bases->old_tree, &bases->old_digest, err) < 0 ||
        base_read(builds, &bases->new_base, &bases->new_tree, &bases->new_digest, err) < 0 ||
        tree_read(builds, &subject->image, bases->old_base.layer_count, true, &own, err) < 0)
        return -1;
    rebase_conflicts(own, bases->old_tree, bases->new_tree, CONFLICTS_MAX, &out->conflicts);
    if (out->conflicts.count == 0)
        return 0;
    contract_result_drop(&out->result);
    return rebase_make(&about, &out->result, err);
}

int rebase_image_make(struct rebase_bases *bases, struct slice repository,
                      const struct digest *digest, struct slice base, struct rebase_made *out,
                      struct error *err)
{
    OWNED(subject_drop) struct subject subject = {.manifest = NULL};

    if (digest_equal(digest, &bases->new_base.digest))
        return error_set(err, ERROR_CONFLICT, "the image is that base itself");
    if (subject_read(bases, repository, digest, &subject, err) < 0 ||
        base_need(bases, base, "the old base", &bases->old_name, &bases->old_base, err) < 0)
        return -1;
    if (make(bases, &subject, out, err) < 0)
        return -1;
    out->before = subject.image;
    out->below = bases->old_base.layer_count;
    subject.image = (struct s2i_image){.name = NULL};
    return 0;
}
