/* fs_internal.h - shared by fs.c (writing, reading, removing) and fs_look.c (what is there).
 * Touches  nothing by itself.
 * Never    included by others. */
#ifndef SLIPWAY_STORAGE_FS_INTERNAL_H
#define SLIPWAY_STORAGE_FS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/driver.h"

#define FS_DIGEST_ATTRIBUTE "user.slipway.digest"

struct fs {
    char *blobs;      /* the folder's path; immutable, as is the next */
    char *quarantine; /* made when it is needed */
    pthread_mutex_t lock;
    atomic_bool settled[LOCATOR_SHELVES]; /* exists, and its name is synced; set under the lock */
};

/* fs.c */
unsigned fs_shelf(const char *locator);
char *fs_file_path(const struct fs *fs, const char *locator); /* free() */
int fs_folder_sync(const char *path, struct error *err);

/* fs_look.c; as in driver.h */
int fs_list(void *self, unsigned shelf, void (*found)(void *arg, const char *locator), void *arg,
            struct error *err);
int fs_list_strange(void *self, unsigned shelf, void (*found)(void *arg, const char *name),
                    void *arg, struct error *err);
int fs_look(void *self, const char *locator, struct blob_object *out, struct error *err);
int fs_mark(void *self, const char *locator, const struct digest *digest, struct error *err);
int fs_quarantine(void *self, const char *name, bool *moved, struct error *err);

#endif
