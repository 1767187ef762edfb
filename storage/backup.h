/* backup.h - a whole registry in another folder, and back.
 * Touches  the folder of the backup; on restore, an empty root.
 * Never    stops the server: a backup is made while it serves.
 *
 *     DIR/format                     says that this is ours
 *     DIR/lock                       one command at a time changes DIR
 *     DIR/blobs/4f/4f1c...           bytes of every blob that a snapshot names, each once
 *     DIR/snapshots/<UTC time>/      meta.db, keys/, summary
 *
 * Files of blobs never change, here and there, so a further backup copies what is new.
 *
 * (1) A snapshot has its name once all that it names is here and synced. What was cut off before is
 *     not seen, and goes with the next command.
 * (2) A file has its name once its bytes are synced; what has its name is not copied again.
 * (3) A snapshot is of one moment, and has whatever was acknowledged before it: meanwhile deletions
 *     of bytes are held back (storage_bytes_hold).
 * (4) Every byte that is copied is hashed: damage is told, and not carried on.
 * (5) A root that a restore has not finished is opened by nobody but restore.
 * (6) What we make belongs to the owner of the folder it is made in. */
#ifndef SLIPWAY_STORAGE_BACKUP_H
#define SLIPWAY_STORAGE_BACKUP_H

#include "registry/core/digest.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"

struct storage;

enum { BACKUP_NAME_MAX = 32 }; /* "20261121T142615.123Z" */

/* Bytes that a snapshot names and that are not there as they should be. */
struct backup_damage {
    struct digest digest;
    const char *what; /* "missing", "of another size", "changed", "unreadable" */
};

/* Who is told of each one. */
struct backup_told {
    void (*damaged)(void *arg, const struct backup_damage *damage);
    void *arg;
};

struct backup_options {
    const char *directory;
    bool link;     /* hard links where the file system can: then one file serves both */
    uint64_t rate; /* bytes a second; 0: no limit */
    struct backup_told told;
};

struct backup_report {
    char name[BACKUP_NAME_MAX];
    uint64_t repositories, manifests;
    uint64_t blobs, bytes;         /* that the snapshot names */
    uint64_t copied, copied_bytes; /* of them, by this call */
    uint64_t damaged;              /* of them, not there as they should be */
};

/* Makes a snapshot. Counters: blobs_done, bytes_done, damaged.
 * UNAVAILABLE  the folder is not ours, in use, cannot be written to; cancelled.  STORAGE_FULL */
int storage_backup(struct storage *store, const struct backup_options *options,
                   const struct progress *progress, struct backup_report *out,
                   struct error *err) MUST_CHECK ON(worker_thread);

/* --- folders of backups; no root is needed --- */

struct backup_snapshot {
    char name[BACKUP_NAME_MAX];
    bool complete; /* what follows is 0 when not */
    int64_t created_at;
    uint64_t repositories, manifests, blobs, bytes, copied_bytes, damaged;
};
struct backup_list {
    struct backup_snapshot *items; /* oldest first */
    size_t count;
};
void backup_list_drop(struct backup_list *list);
/* NOT_FOUND  there is no backup */
int backup_list(const char *directory, struct backup_list *out, struct error *err) MUST_CHECK;

/* Reads all that the snapshot (NULL: the newest) names: bytes of blobs, manifests, keys, every page
 * of the metadata. Changes nothing. NOT_FOUND; INTERNAL when the metadata is damaged */
int backup_verify(const char *snapshot, const struct backup_options *options,
                  const struct progress *progress, struct backup_report *out,
                  struct error *err) MUST_CHECK ON(worker_thread);

struct backup_removed {
    uint64_t snapshots, blobs, bytes;
};
/* One snapshot (NULL: none), and all but the newest `keep` (0: those stay), then every file of a
 * blob that none names any more. NOT_FOUND */
int backup_remove(const char *directory, const char *snapshot, size_t keep,
                  const struct progress *progress, struct backup_removed *out,
                  struct error *err) MUST_CHECK ON(worker_thread);

struct restore_options {
    struct backup_options from; /* link: hard links into the root */
    const char *snapshot;       /* NULL: the newest */
    const char *root;           /* absent or empty, or what a restore of the same has left */
    uint64_t grace_ms;          /* nothing restored is collected sooner */
    bool dry_run;               /* only looks whether it would work, at presence and sizes */
};
/* Open uploads and what waited for its removal are not restored; a blob whose bytes the backup
 * lacks answers 404 until it is pushed again. Cut off, it goes on when called again. CONFLICT  the
 * root is not empty.  NOT_FOUND.  UNAVAILABLE.  STORAGE_FULL */
int backup_restore(const struct restore_options *options, const struct progress *progress,
                   struct backup_report *out, struct error *err) MUST_CHECK ON(worker_thread);

/* In a root that is being restored; storage_open refuses it. */
#define BACKUP_RESTORING "restoring"

#endif
