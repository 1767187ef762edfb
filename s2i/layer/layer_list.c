/* layer_list.c - what stands in a stored layer, without unpacking it: for comparing images
 * and for lists of their parts.
 * Touches  the descriptor it is given.
 * Never    writes a file; keeps the content of one.
 *
 * Spec: s2i 15.1, 15.2, 19.5 */
#include "s2i/layer/layer_internal.h"

struct listing {
    struct tar_reader *reader;
    const struct layer_limits *limits;
    layer_content *read; /* NULL: nobody wants it */
    layer_take *take;
    void *arg;
    char *buffer;
    uint64_t entries;
};

static void listing_drop(struct listing *listing)
{
    tar_reader_close(listing->reader);
    memory_drop(&listing->buffer);
}

/* The entry is borrowed from the reader until tar_next, so its content can be read first. */
static int list_entry(struct listing *listing, const struct tar_entry *entry, struct error *err)
{
    struct digest content = {0};
    struct hasher hasher;
    size_t got;

    if (listing->limits->entries_max > 0 && ++listing->entries > listing->limits->entries_max)
        return error_set(err, ERROR_INVALID, "the archive has more than %llu entries",
                         (unsigned long long)listing->limits->entries_max);
    if (entry->type != '0')
        return listing->take(listing->arg, entry, &content, err);
    hasher_start(&hasher, DIGEST_SHA256);
    do {
        if (tar_read(listing->reader, listing->buffer, LAYER_BUFFER, &got, err) < 0)
            return -1;
        hasher_update(&hasher, listing->buffer, got);
        if (listing->read != NULL && got > 0)
            listing->read(listing->arg, (struct slice){listing->buffer, got});
    } while (got > 0);
    hasher_digest(&hasher, &content);
    return listing->take(listing->arg, entry, &content, err);
}

static int list_all(struct listing *listing, struct error *err)
{
    struct tar_entry entry;
    int more;

    while ((more = tar_next(listing->reader, &entry, err)) > 0)
        if (list_entry(listing, &entry, err) < 0)
            return -1;
    return more;
}

int layer_read(int fd, const struct s2i_layer *layer, const struct layer_limits *limits,
               layer_content *read, layer_take *take, void *arg, struct error *err)
{
    OWNED(inflater_drop)
    struct inflater *inflater = inflater_open(fd, packing_of(layer->media_type), limits, 0);
    OWNED(listing_drop)
    struct listing listing = {.limits = limits,
                              .read = read,
                              .take = take,
                              .arg = arg,
                              .buffer = memory_new(LAYER_BUFFER)};
    struct digest diff_id;

    listing.reader = tar_reader_open(inflater_feed, inflater);
    if (list_all(&listing, err) < 0 || inflater_finish(inflater, &diff_id, err) < 0)
        return -1;
    if (!digest_equal(&diff_id, &layer->diff_id))
        return error_set(err, ERROR_INVALID,
                         "the layer unpacks to other bytes than its diff id says");
    return 0;
}

int layer_list(int fd, const struct s2i_layer *layer, const struct layer_limits *limits,
               layer_take *take, void *arg, struct error *err)
{
    return layer_read(fd, layer, limits, NULL, take, arg, err);
}
