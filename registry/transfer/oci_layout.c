/* oci_layout.c - images of an OCI image layout come in: index.json, blobs/<algorithm>/<digits>.
 * Touches  the folder, to read; storage by way of intake.c.
 * Never    reads what index.json does not lead to (docker's manifest.json, repositories). */
#include <stdlib.h>
#include <string.h>

#include "registry/transfer/transfer_internal.h"

enum { INDEX_SIZE_MAX = 16 << 20, ENTRIES_MAX = 100000 };

void layout_path(const struct files *files, const struct digest *digest, struct buffer *out)
{
    char text[DIGEST_TEXT_MAX];
    struct slice algorithm;
    const char *hex = digest_hex(digest, text, &algorithm);

    buffer_print(out, "%s/blobs/%.*s/%s", files->root, SLICE_ARG(algorithm), hex);
}

int layout_read(const char *root, struct layout *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer version = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer index = BUFFER_NONE;
    struct error why = {0};

    buffer_print(&path, "%s/" LAYOUT_FILE, root);
    if (file_read(path.at, INDEX_SIZE_MAX, &version, NULL, &why) < 0)
        return error_set_errno(err, ERROR_NOT_FOUND, 0, "%s is no image layout: %s: %s", root,
                               LAYOUT_FILE, why.message);
    path.size = 0;
    buffer_print(&path, "%s/" LAYOUT_INDEX, root);
    if (layout_check(buffer_slice(&version), err) < 0)
        return -1;
    if (file_read(path.at, INDEX_SIZE_MAX, &index, NULL, &why) < 0)
        return error_set(err, ERROR_NOT_FOUND, "%s cannot be read: %s", path.at, why.message);
    return layout_parse(buffer_slice(&index), ENTRIES_MAX, out, err);
}

/* --- which tag an entry gets --- */

/* The one entry that a tag is asked for; count when it cannot be told. */
static size_t chosen(const struct layout *layout, struct slice tag)
{
    for (size_t i = 0; i < layout->count; i++)
        if (layout->entries[i].name != NULL &&
            slice_equal(layout_tag(slice_of(layout->entries[i].name)), tag))
            return i;
    return layout->count == 1 ? 0 : layout->count;
}

/* Manifests and tags of what is to come in. Freed with plan_drop. */
struct plan {
    struct digest_list digests;
    struct adopt_tag *tags;
    struct adopt_past *pasts;
    size_t tag_count;
};

static void plan_drop(struct plan *plan)
{
    digest_list_drop(&plan->digests);
    free(plan->tags);
    free(plan->pasts);
}

static void plan_add(struct plan *plan, const struct layout_entry *entry, struct slice tag)
{
    digest_list_add(&plan->digests, &entry->digest);
    if (tag.size == 0)
        return;
    size_t at = plan->tag_count++;
    plan->pasts[at] = (struct adopt_past){.digest = entry->digest};
    plan->tags[at] = (struct adopt_tag){.name = tag, .past = &plan->pasts[at], .past_count = 1};
}

static int plan_fill(struct plan *plan, struct transfer *transfer, const struct layout *layout,
                     struct slice repository, struct slice tag, struct error *err)
{
    plan->tags = memory_new((layout->count + 1) * sizeof(*plan->tags));
    plan->pasts = memory_new((layout->count + 1) * sizeof(*plan->pasts));
    if (tag.size > 0) {
        size_t one = chosen(layout, tag);
        if (one == layout->count)
            return error_set(err, ERROR_NOT_FOUND,
                             "the layout has %zu images, none of them is called %.*s",
                             layout->count, SLICE_ARG(tag));
        plan_add(plan, &layout->entries[one], tag);
        return 0;
    }
    for (size_t i = 0; i < layout->count; i++) {
        const char *name = layout->entries[i].name;
        struct slice own = name == NULL ? SLICE_NONE : layout_tag(slice_of(name));
        if (name != NULL && own.size == 0)
            transfer_problem(transfer, repository, name, "it cannot be the name of a tag");
        plan_add(plan, &layout->entries[i], own);
    }
    return 0;
}

int import_oci_layout(struct transfer *transfer, const char *root, struct slice repository,
                      struct slice tag, struct error *err)
{
    OWNED(layout_drop) struct layout layout = {.entries = NULL};
    OWNED(plan_drop) struct plan plan = {.tags = NULL};
    struct files files = {.path = layout_path, .root = root};

    files_open(&files);
    OWNED(intake_drop)
    struct intake intake = {
        .transfer = transfer, .source = &files.source, .repository = repository};
    progress_phase(transfer->progress, "import");
    if (layout_read(root, &layout, err) < 0 ||
        plan_fill(&plan, transfer, &layout, repository, tag, err) < 0 ||
        intake_manifests(&intake, plan.digests.items, plan.digests.count, err) < 0 ||
        intake_tags(&intake, plan.tags, plan.tag_count, err) < 0)
        return -1;
    transfer_count(transfer, "repositories", 1);
    return 0;
}
