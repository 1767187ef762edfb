/* driver.h - where blob bytes live: what a file system and an object store must be able to do.
 * Touches  nothing by itself.
 * Never    digests (save as a mark on the object), repositories, the database.
 *
 * An object is named by its locator, 32 lower-case hex digits, chosen at random and never used
 * twice. It comes into being through one writer that appends, and is immutable once committed.
 * A row of the database names the locator before the first byte is written, so an object without
 * a row is an accident (a power cut may take the row of a session): the sweep removes it.
 *
 * Every function blocks: worker threads and storage's own background threads only. A writer belongs
 * to one thread at a time, save that sync may run beside append and rewind. */
#ifndef SLIPWAY_STORAGE_DRIVER_H
#define SLIPWAY_STORAGE_DRIVER_H

#include "registry/core/digest.h"

enum {
    LOCATOR_SIZE = 32,    /* without the terminator */
    LOCATOR_SHELVES = 256 /* by the first two digits */
};

struct blob_writer; /* each driver's own */

/* What the store itself can tell of an object. */
struct blob_object {
    bool found;
    uint64_t size;
    bool marked;        /* the mark of writer_commit could be read, and is a digest */
    struct digest mark; /* then this one */
};

struct blob_driver {
    const char *name;

    /* A writer standing at offset. 0 creates the object when there is none. What lies behind
     * offset is cut off, so never on a committed object.
     * BLOB_UPLOAD_UNKNOWN  it holds fewer bytes */
    int (*writer_open)(void *self, const char *locator, uint64_t offset, struct blob_writer **out,
                       struct error *err);
    /* All or nothing: after a failure the writer stands where it stood. STORAGE_FULL */
    int (*writer_append)(struct blob_writer *writer, struct slice bytes, struct error *err);
    /* Back to an offset it has passed. */
    int (*writer_rewind)(struct blob_writer *writer, uint64_t offset, struct error *err);
    /* Reads back what was appended: exactly size bytes at offset. */
    int (*writer_read)(struct blob_writer *writer, uint64_t offset, void *out, size_t size,
                       struct error *err);
    /* What was appended before the call, and the object's name, survive a power cut. After a
     * failure nothing appended since the last sync can be trusted: rewind to there, or give up. */
    int (*writer_sync)(struct blob_writer *writer, struct error *err);
    /* The last sync: the object is complete. Marks it with its digest where it can. Close the
     * writer afterwards. */
    int (*writer_commit)(struct blob_writer *writer, const struct digest *digest,
                         struct error *err);
    /* The same for objects of one shelf, whose folder is synced once. */
    int (*writers_commit)(struct blob_writer *const *writers, const struct digest *const *digests,
                          size_t count, struct error *err);
    /* Frees it; the object stays as it is. Accepts NULL. */
    void (*writer_close)(struct blob_writer *writer);

    /* Makes an open file an object as it is, without a copy: as a second name of the same file
     * (link), or as a clone that shares its blocks until one of both is written to. out is a writer
     * at its end, for reading back and commit. UNSUPPORTED  not with this file: it lies elsewhere,
     * is another's, ... */
    int (*adopt)(void *self, const char *locator, int source, bool link, struct blob_writer **out,
                 struct error *err);

    /* How many bytes an uncommitted object holds now; 0 when there is none. */
    int (*size)(void *self, const char *locator, uint64_t *out, struct error *err);
    /* Opens a committed object for reading.
     * BLOB_UNKNOWN  there is none, or it has another size: its bytes are damaged */
    int (*open)(void *self, const char *locator, uint64_t size, int *fd, struct error *err);
    /* Removes them for good: no power cut brings them back. Success where there is none. *bytes:
     * what those held that were there, also when it failed. */
    int (*remove)(void *self, const char (*locators)[LOCATOR_SIZE + 1], size_t count,
                  uint64_t *bytes, struct error *err);
    /* Names every object of a shelf, committed or not; what is no locator is left out. */
    int (*list)(void *self, unsigned shelf, void (*found)(void *arg, const char *locator),
                void *arg, struct error *err);
    /* What can still be written; UINT64_MAX when nothing bounds it. */
    int (*space)(void *self, uint64_t *free_bytes, struct error *err);
    /* Names what list leaves out: shelf LOCATOR_SHELVES is the store's own folder. */
    int (*list_strange)(void *self, unsigned shelf, void (*found)(void *arg, const char *name),
                        void *arg, struct error *err);
    int (*look)(void *self, const char *locator, struct blob_object *out, struct error *err);
    /* Marks a committed object with its digest anew. */
    int (*mark)(void *self, const char *locator, const struct digest *digest, struct error *err);
    /* Moves a locator, or what list_strange named, out of the store for people to look at: no open
     * or list sees it any more, no power cut brings it back, no byte is lost. *moved is false where
     * there is none. */
    int (*quarantine)(void *self, const char *name, bool *moved, struct error *err);
    /* UNAVAILABLE  it cannot be written to
     * STORAGE_FULL  less than min_free_bytes are left */
    int (*ready)(void *self, uint64_t min_free_bytes, struct error *err);
    void (*close)(void *self);
};

/* A driver with its self. */
struct blob_store {
    const struct blob_driver *driver;
    void *self;
};

/* Objects as files <root>/blobs/<first two digits>/<locator>. root is copied. */
int blob_store_open_fs(struct blob_store *out, const char *root, struct error *err) MUST_CHECK;
/* Accepts a zeroed one. */
void blob_store_close(struct blob_store *store);

/* A fresh locator, terminated; out holds LOCATOR_SIZE + 1. */
void locator_new(char *out);
/* The same on the shelf of another one: what is committed together has one folder to sync. */
void locator_new_beside(const char *other, char *out);
/* 32 lower-case hex digits: what came from the database is a name and not a path. */
bool locator_valid(const char *locator);

#endif
