/* backup_internal.h - shared by backup.c (making one), backup_verify.c, backup_remove.c, restore.c
 * and what they stand on: backup_folder.c (layout, names, locks), backup_copy.c (bytes),
 * backup_summary.c (what a snapshot says of itself), meta_backup.c (rows).
 * Touches  nothing by itself.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_BACKUP_INTERNAL_H
#define SLIPWAY_STORAGE_BACKUP_INTERNAL_H

#include <sys/types.h>

#include "registry/core/fd.h"
#include "storage/backup.h"
#include "storage/meta_internal.h"

/* --- a snapshot's description: backup_summary.c (pure) --- */

#define BACKUP_META "meta.db"
#define BACKUP_KEYS "keys"
#define BACKUP_SUMMARY "summary"

enum { SUMMARY_NAME_MAX = 128, SUMMARY_FILES_MAX = 1000 };

/* One of its files: "meta.db" or "keys/NAME". */
struct summary_file {
    char name[SUMMARY_NAME_MAX];
    struct digest digest;
    uint64_t size;
};
struct summary {
    int64_t created_at;
    uint64_t repositories, manifests, blobs, bytes, copied_bytes, damaged;
    struct summary_file *files; /* meta.db is the first */
    size_t file_count;
};
void summary_drop(struct summary *summary);
void summary_add(struct summary *summary, const struct summary_file *file);
void summary_print(const struct summary *summary, struct buffer *out);
/* False when it is not whole, or says what no summary of ours says. To be dropped either way. */
bool summary_parse(struct slice text, struct summary *out);
/* A name that may stand behind "keys/". */
bool summary_key_valid(const char *name);

/* --- who owns what is made: backup_folder.c --- */

struct owner {
    bool given; /* by root, to somebody else */
    uid_t user;
    gid_t group;
};
struct owner owner_of(int folder);
void owner_give(const struct owner *owner, int fd);

/* --- the folder: backup_folder.c --- */

enum backup_use {
    BACKUP_MAKE,   /* made when there is none; alone among those that change it */
    BACKUP_CHANGE, /* alone among all: files go */
    BACKUP_READ,
    BACKUP_LOOK /* at names only: no lock */
};

struct backup_folder {
    char *path;
    int fd, snapshots;
    int lock, reading; /* -1: not held */
    struct owner owner;
};
/* NOT_FOUND  there is none.  CONFLICT  in use.  UNAVAILABLE */
int backup_folder_open(struct backup_folder *out, const char *path, enum backup_use use,
                       struct error *err) MUST_CHECK;
void backup_folder_close(struct backup_folder *folder); /* for OWNED; accepts a zeroed one */

/* Names of whole snapshots, oldest first; unfinished ones too on demand. Freed with page_drop. */
int backup_names(const struct backup_folder *folder, bool unfinished, struct page *out,
                 struct error *err) MUST_CHECK;
/* The snapshot as asked for (NULL: the newest) into name, with its summary. NOT_FOUND */
int backup_find(const struct backup_folder *folder, const char *asked, char *name,
                struct summary *summary, struct error *err) MUST_CHECK;
int backup_summary_read(const struct backup_folder *folder, const char *name,
                        struct summary *summary, struct error *err) MUST_CHECK;
/* "DIR/snapshots/NAME/FILE" */
void backup_path(const struct backup_folder *folder, const char *name, const char *file,
                 struct buffer *out);
/* What commands before us were cut off in: (1). */
int backup_tidy(const struct backup_folder *folder, struct error *err) MUST_CHECK;
/* Renames and syncs; names of folders below snapshots. */
int backup_rename(const struct backup_folder *folder, const char *from, const char *to,
                  struct error *err) MUST_CHECK;
/* A folder below `at` with all that is in it. Absent is success. */
int tree_remove(int at, const char *name, struct error *err) MUST_CHECK;
/* Opens one, made when there is none, with its name synced. -1 failed */
int folder_below(int at, const char *name, mode_t mode, const struct owner *owner,
                 struct error *err) MUST_CHECK;
int fd_sync(int fd, struct error *err) MUST_CHECK;

#define BACKUP_NEW ".new-"
#define BACKUP_GONE ".gone-"

/* --- bytes: backup_copy.c --- */

enum { COPY_BATCH = 64, COPY_PIECE = 1 << 18 };

/* Brings bytes below <to>/blobs, or only reads them. One thread's. Set what stands before the blank
 * line, leave the rest 0. */
struct copier {
    int to; /* a folder; borrowed */
    mode_t folder_mode, file_mode;
    bool link;
    bool same_owner; /* links only to files of the owner: another's he may be unable to read */
    uint64_t rate;
    struct owner owner;
    /* Called before each piece; -1 ends the work. NULL: nothing. */
    int (*tick)(void *arg, struct error *err);
    void *tick_arg;
    const struct progress *progress; /* bytes_done */

    char *piece; /* COPY_PIECE bytes */
    uint64_t copied, copied_bytes;
    uint64_t started_us, paced; /* bytes since then */
    bool made[LOCATOR_SHELVES], changed[LOCATOR_SHELVES];
    struct {
        char locator[LOCATOR_SIZE + 1];
        int fd;
    } waiting[COPY_BATCH]; /* written, not yet synced and named */
    size_t waiting_count;
    uint64_t waiting_bytes;
};
void copier_drop(struct copier *copier); /* for OWNED */

struct meta_backup_blob;
/* (2) */
bool copier_has(struct copier *copier, const struct meta_backup_blob *blob);
/* Reads `from`; the bytes are the blob's, or *damage says why not and nothing was kept. */
int copier_take(struct copier *copier, const struct meta_backup_blob *blob, int from,
                const char **damage, struct error *err) MUST_CHECK;
int copier_read(struct copier *copier, const struct meta_backup_blob *blob, int from,
                const char **damage, struct error *err) MUST_CHECK;
/* All that was taken has its name, and that is synced. */
int copier_finish(struct copier *copier, struct error *err) MUST_CHECK;
/* Reads a file to its end into `to` (-1: nowhere). */
int copier_stream(struct copier *copier, int from, int to, struct summary_file *out,
                  struct error *err) MUST_CHECK;
/* A file of the snapshot is as its summary says. INTERNAL */
int backup_file_check(const struct backup_folder *folder, struct copier *copier, const char *name,
                      const struct summary_file *wanted, struct error *err) MUST_CHECK;
/* One more is damaged. */
void backup_tell(const struct backup_told *told, const struct progress *progress,
                 const struct meta_backup_blob *blob, const char *what);
/* <at>/blobs/4f/4f1c..., of the right size. -1 with *damage set when it is not that. */
int blob_file_open(int at, const struct meta_backup_blob *blob, const char **damage);

/* --- rows: meta_backup.c --- */

void meta_drop(struct meta **meta); /* for OWNED */
/* A sealed snapshot. UNAVAILABLE  it cannot be opened, or a newer program wrote it */
int meta_open_sealed(struct meta **out, const char *path, struct error *err) MUST_CHECK;

struct meta_backup_blob {
    int64_t id;
    struct digest digest;
    uint64_t size;
    char locator[LOCATOR_SIZE + 1];
    bool damaged;
};
/* Calls `each` outside of any transaction; -1 from it ends the walk. */
int meta_backup_blobs(struct meta *meta,
                      int (*each)(void *arg, const struct meta_backup_blob *blob,
                                  struct error *err),
                      void *arg, struct error *err) MUST_CHECK;
/* Fills repositories, manifests, blobs and bytes. */
int meta_backup_count(struct meta *meta, struct summary *out, struct error *err) MUST_CHECK;
/* Some blob has this locator. */
int meta_backup_names(struct meta *meta, const char *locator, bool *named,
                      struct error *err) MUST_CHECK;
/* Every page, every key, every manifest's bytes. INTERNAL  damaged */
int meta_backup_examine(struct meta *meta, const struct progress *progress,
                        struct error *err) MUST_CHECK;
/* One transaction that makes a copy of a snapshot a database to serve from. changes: blobs whose
 * `damaged` is now what they say. */
int meta_backup_restored(struct meta *meta, const struct meta_backup_blob *changes, size_t count,
                         struct error *err) MUST_CHECK;

#endif
