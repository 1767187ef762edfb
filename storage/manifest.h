/* manifest.h - manifests in memory: one block with a reference count.
 * Touches  memory.
 * Never    the database, the cache. */
#ifndef SLIPWAY_STORAGE_MANIFEST_H
#define SLIPWAY_STORAGE_MANIFEST_H

#include "storage/storage.h"

/* A copy of the parts, counted once. Release with storage_manifest_release. */
const struct manifest *manifest_new(const struct digest *digest, struct slice media_type,
                                    struct slice payload);
/* Counts once more; gives its argument back. Any thread. */
const struct manifest *manifest_retain(const struct manifest *manifest);
/* Bytes of memory it takes, for the cache's budget. */
size_t manifest_footprint(const struct manifest *manifest);

#endif
