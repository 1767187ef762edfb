/* rebase.c - images of a repository move onto newer bases, without building.
 * Touches  storage: manifests, configs, tags; layers are read to see what the base changed.
 * Never    runs anything; moves a tag that moved on meanwhile; moves one when files of the image
 *          would bring an older base's version back.
 *
 * The manifest and its tag are one transaction for each tag; the tag's history leads back. Spec:
 * s2i 15.1 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/rebase.h"
#include "s2i/layer/layer.h"
#include "s2i/s2i_internal.h"
#include "storage/content.h"
#include "storage/storage.h"

enum { CONFLICTS_MAX = 100, RATIO_MAX = 1100, PAGE = 100 };

#define BASE_NAME "org.opencontainers.image.base.name"

void build_rebased_drop(struct build_rebased *rebased)
{
    for (size_t i = 0; i < rebased->count; i++) {
        free(rebased->items[i].tag);
        s2i_list_drop(&rebased->items[i].conflicts);
    }
    free(rebased->items);
    *rebased = (struct build_rebased){.items = NULL};
}

/* The work on all images; bases that were read stay for the next one. */
struct rebasing {
    struct builds *builds;
    const struct build_rebase *wish;
    struct build_rebased *out;
    struct digest old_digest, new_digest; /* of the trees */
    struct rebase_tree *old_tree, *new_tree;
};

static void rebasing_drop(struct rebasing *work)
{
    rebase_tree_drop(&work->old_tree);
    rebase_tree_drop(&work->new_tree);
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

static int put(void *arg, const struct tar_entry *entry, const struct digest *content,
               struct error *err)
{
    OWNED(buffer_drop) struct buffer xattrs = BUFFER_NONE;

    (void)err;
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
    rebase_tree_put(arg, &item);
    return 0;
}

/* From this layer on, bottom to top. */
static int tree_read(const struct rebasing *work, const struct s2i_image *image, size_t from,
                     bool own, struct rebase_tree **out, struct error *err) ON(worker_thread)
{
    const struct config *config = work->builds->config;
    const struct layer_limits limits = {config->builds_disk * 4,
                                        config->builds_sources_max_files * 10, RATIO_MAX};
    OWNED(rebase_tree_drop) struct rebase_tree *tree = rebase_tree_new(own);

    for (size_t i = from; i < image->layer_count; i++) {
        struct blob blob;
        if (storage_blob_open(work->builds->storage, slice_of(image->repository),
                              &image->layers[i].digest, false, &blob, err) < 0)
            return -1;
        int status = layer_list(blob.fd, &image->layers[i], &limits, put, tree, err);
        storage_blob_close(&blob);
        if (status < 0)
            return -1;
        rebase_tree_layer_end(tree);
    }
    *out = TAKE(tree);
    return 0;
}

static int base_read(const struct rebasing *work, const struct s2i_image *base,
                     struct rebase_tree **tree, struct digest *digest, struct error *err)
    ON(worker_thread)
{
    if (*tree != NULL && digest_equal(digest, &base->digest))
        return 0;
    rebase_tree_drop(tree);
    *digest = base->digest;
    return tree_read(work, base, 0, false, tree, err);
}

/* --- one image --- */

struct subject {
    struct s2i_image image, old_base, new_base;
    const struct manifest *manifest;
    struct contract_result made;
};

static void subject_drop(struct subject *subject)
{
    s2i_image_drop(&subject->image);
    s2i_image_drop(&subject->old_base);
    s2i_image_drop(&subject->new_base);
    if (subject->manifest != NULL)
        storage_manifest_release(subject->manifest);
    contract_result_drop(&subject->made);
}

/* Missing is CONFLICT here: what is asked for is there, what it needs is not. */
static int image_need(const struct rebasing *work, struct slice name, const char *what,
                      struct s2i_image *out, struct error *err) ON(worker_thread)
{
    bool found;

    if (image_resolve(work->builds, work->wish->actor, name, out, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    return error_set(err, ERROR_CONFLICT, "%s %.*s is not here, or may not be pulled", what,
                     SLICE_ARG(name));
}

/* As its manifest says. */
static char *base_name(const struct manifest *manifest)
{
    json_t *json = json_loadb(manifest->payload.at, manifest->payload.size, 0, NULL);
    const json_t *annotations = json_object_get(json, "annotations");
    const char *name = json_string_value(json_object_get(annotations, BASE_NAME));
    char *text = memory_text(slice_of(name == NULL ? "" : name));

    json_decref(json);
    return text;
}

static int bases_need(const struct rebasing *work, struct subject *subject, struct error *err)
    ON(worker_thread)
{
    OWNED(memory_drop) char *name = base_name(subject->manifest);
    OWNED(buffer_drop) struct buffer old = BUFFER_NONE;
    struct slice repository, tag, named, wished = work->wish->base;
    struct digest digest;
    char text[DIGEST_TEXT_MAX];

    if (!rebase_base_digest(subject->manifest->payload, &digest) ||
        !s2i_reference_parse(slice_of(name), &repository, &tag, &named))
        return error_set(err, ERROR_CONFLICT, "the image does not say what it stands on");
    buffer_print(&old, "%.*s@%s", SLICE_ARG(repository), digest_text(&digest, text));
    if (image_need(work, wished.size > 0 ? wished : slice_of(name), "the new base",
                   &subject->new_base, err) < 0)
        return -1;
    if (digest_equal(&digest, &subject->new_base.digest))
        return 0;
    return image_need(work, buffer_slice(&old), "the old base", &subject->old_base, err);
}

static int subject_read(const struct rebasing *work, const struct digest *digest,
                        struct subject *out, struct error *err) ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = *digest};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];

    buffer_print(&name, "%.*s@%s", SLICE_ARG(work->wish->repository), digest_text(digest, text));
    if (storage_manifest_get(work->builds->storage, work->wish->repository, &reference, false,
                             &out->manifest, err) < 0 ||
        bases_need(work, out, err) < 0)
        return -1;
    return image_need(work, buffer_slice(&name), "the image", &out->image, err);
}

/* Cheap reasons to refuse come before layers are read. */
static int make(struct rebasing *work, struct subject *subject, struct s2i_list *conflicts,
                struct error *err) ON(worker_thread)
{
    OWNED(rebase_tree_drop) struct rebase_tree *own = NULL;
    const struct rebase about = {.manifest = subject->manifest->payload,
                                 .config = slice_of(subject->image.config),
                                 .old_base = &subject->old_base,
                                 .new_base = &subject->new_base,
                                 .conflicts = conflicts};

    if (rebase_make(&about, &subject->made, err) < 0 ||
        base_read(work, &subject->old_base, &work->old_tree, &work->old_digest, err) < 0 ||
        base_read(work, &subject->new_base, &work->new_tree, &work->new_digest, err) < 0 ||
        tree_read(work, &subject->image, subject->old_base.layer_count, true, &own, err) < 0)
        return -1;
    rebase_conflicts(own, work->old_tree, work->new_tree, CONFLICTS_MAX, conflicts);
    if (conflicts->count == 0)
        return 0;
    contract_result_drop(&subject->made);
    return rebase_make(&about, &subject->made, err);
}

static int publish(const struct rebasing *work, const struct subject *subject,
                   const struct build_rebased_image *item, struct error *err) ON(worker_thread)
{
    const struct publisher publisher = {.builds = work->builds,
                                        .repository = work->wish->repository,
                                        .actor = *work->wish->actor,
                                        .if_digest = item->before};
    char *names[] = {item->tag};
    const struct s2i_list tags = {names, 1};

    if (publish_layers(&publisher, &subject->new_base, err) < 0 ||
        publish_blob(&publisher, buffer_slice(&subject->made.config), &subject->made.config_digest,
                     err) < 0)
        return -1;
    return publish_manifest(&publisher, buffer_slice(&subject->made.manifest), SLICE_NONE, &tags,
                            NULL, err);
}

static int rebase_one(struct rebasing *work, struct build_rebased_image *item, struct error *err)
    ON(worker_thread)
{
    OWNED(subject_drop) struct subject subject = {.manifest = NULL};

    if (subject_read(work, &item->before, &subject, err) < 0)
        return -1;
    item->outcome = REBASE_CURRENT;
    if (subject.old_base.name == NULL)
        return 0;
    if (make(work, &subject, &item->conflicts, err) < 0 ||
        (!work->wish->dry_run && publish(work, &subject, item, err) < 0))
        return -1;
    item->outcome = REBASE_DONE;
    item->after = subject.made.manifest_digest;
    return 0;
}

/* --- all of them --- */

/* What stands in the image's way is told of it; what is ours ends all. */
static int rebase_tag(struct rebasing *work, struct slice tag, const struct digest *digest,
                      struct error *err) ON(worker_thread)
{
    struct build_rebased *out = work->out;

    out->items = memory_resize(out->items, (out->count + 1) * sizeof(*out->items));
    struct build_rebased_image *item = &out->items[out->count++];
    *item = (struct build_rebased_image){.tag = memory_text(tag), .before = *digest};
    if (rebase_one(work, item, err) == 0)
        return 0;
    if (error_code_status(err->code) >= 500)
        return -1;
    item->outcome = REBASE_REFUSED;
    snprintf(item->message, sizeof(item->message), "%s", err->message);
    error_clear(err);
    return 0;
}

static bool stands_on_a_base(const struct rebasing *work, const struct digest *digest)
    ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = *digest};
    const struct manifest *manifest = NULL;
    struct error ignored = {0};
    struct digest base;

    if (storage_manifest_get(work->builds->storage, work->wish->repository, &reference, false,
                             &manifest, &ignored) < 0)
        return false;
    bool yes = rebase_base_digest(manifest->payload, &base);
    storage_manifest_release(manifest);
    return yes;
}

static int rebase_all(struct rebasing *work, struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) char *last = memory_text(SLICE(""));
    bool more = true;

    while (more) {
        OWNED(content_tag_page_drop) struct content_tag_page page = {.items = NULL};
        if (content_tag_list(work->builds->storage, work->wish->repository, slice_of(last),
                             SLICE_NONE, PAGE, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.count; i++)
            if (stands_on_a_base(work, &page.items[i].digest) &&
                rebase_tag(work, slice_of(page.items[i].name), &page.items[i].digest, err) < 0)
                return -1;
        more = page.more && page.count > 0;
        if (more) {
            free(last);
            last = memory_text(slice_of(page.items[page.count - 1].name));
        }
    }
    return 0;
}

int builds_rebase(struct builds *builds, const struct build_rebase *wish, struct build_rebased *out,
                  struct error *err)
{
    OWNED(rebasing_drop) struct rebasing work = {.builds = builds, .wish = wish, .out = out};
    OWNED(content_tag_drop) struct content_tag tag = {.name = NULL};

    if (wish->tag.size == 0)
        return rebase_all(&work, err);
    if (content_tag_find(builds->storage, wish->repository, wish->tag, &tag, err) < 0)
        return -1;
    return rebase_tag(&work, wish->tag, &tag.digest, err);
}
