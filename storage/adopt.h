/* adopt.h - files and tags that were elsewhere become the store's, without a client.
 * Touches  the root folder, the database; the files it is given, which it reads or links.
 * Never    changes or removes such a file; looks inside a manifest.
 *
 * (1) P1 to P3 as for a push: a row names the locator before its file exists, file and folder are
 *     synced before the row becomes a blob. Whatever ends the process leaves no more than rows of
 *     uploads that expire.
 * (2) What the store has already is linked and not read again, unless its bytes are damaged.
 * (3) A tag that somebody set or deleted here is left alone: only what an import set moves on. */
#ifndef SLIPWAY_STORAGE_ADOPT_H
#define SLIPWAY_STORAGE_ADOPT_H

#include "registry/core/digest.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"

struct storage;
struct actor;

enum adopt_mode {
    ADOPT_AUTO,    /* a clone where the file system can, else a copy */
    ADOPT_LINK,    /* a second name of the same file: whoever writes to the one writes to both */
    ADOPT_REFLINK, /* a clone: shares its blocks until one of both is written to */
    ADOPT_COPY
};

enum adopt_outcome {
    ADOPT_FAILED,  /* `why` says it; nothing of it is here */
    ADOPT_PRESENT, /* the repository had it */
    ADOPT_MOUNTED, /* another repository had it: now this one has it too */
    ADOPT_LINKED,
    ADOPT_CLONED,
    ADOPT_COPIED
};

struct adopt_blob {
    struct digest digest; /* sha256 or sha512 */
    const char *path;     /* borrowed; need not be there for what the store has */
    bool size_known;      /* `size` is what it must have */
    uint64_t size;        /* bytes; set on success */
    enum adopt_outcome outcome;
    struct error why;
};

struct adopt_options {
    enum adopt_mode mode;
    bool trusting; /* does not hash what is linked, cloned or copied */
    const struct actor *actor;
    const struct progress *progress; /* asked whether to stop, never from two threads at once */
};

/* Brings the blobs into the repository, which is created when there is none. Each gets its outcome;
 * BLOB_UNKNOWN  there is no such file.  DIGEST_INVALID, SIZE_INVALID  it is another one
 * UNSUPPORTED  the mode cannot be had with this file.  UNAVAILABLE  it cannot be read, or stopped
 * -1 when the store itself failed: then outcomes say nothing. */
int storage_adopt_blobs(struct storage *store, struct slice repository, struct adopt_blob *blobs,
                        size_t count, const struct adopt_options *options,
                        struct error *err) MUST_CHECK ON(worker_thread);
/* Whether the repository has them now, by rows alone: PRESENT, MOUNTED (another one has it), or
 * FAILED. Changes nothing. */
int storage_adopt_look(struct storage *store, struct slice repository, struct adopt_blob *blobs,
                       size_t count, struct error *err) MUST_CHECK ON(worker_thread);

struct adopt_past {
    struct digest digest;
    int64_t at; /* microseconds since 1970; 0: not known */
};

enum adopt_tag_outcome { ADOPT_TAG_FAILED, ADOPT_TAG_PRESENT, ADOPT_TAG_SET, ADOPT_TAG_KEPT };

struct adopt_tag {
    struct slice name;
    const struct adopt_past *past;  /* where it stood, oldest first; the last is where it stands */
    size_t past_count;              /* at least one */
    enum adopt_tag_outcome outcome; /* KEPT: see (3) */
    struct error why;
};

enum { ADOPT_PAST_MAX = 1000 }; /* older ones are left out */

/* Sets the tags, their pasts become their histories (TAG_IMPORTED). overwrite: also against (3).
 * Of each: MANIFEST_UNKNOWN  the repository does not have it.  PROTECTED */
int storage_adopt_tags(struct storage *store, struct slice repository, struct adopt_tag *tags,
                       size_t count, bool overwrite, const struct actor *actor,
                       struct error *err) MUST_CHECK ON(worker_thread);

#endif
