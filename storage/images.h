/* images.h - what a repository holds, as rules of retention look at it, and the end of what they
 * chose.
 * Touches  manifests, tags and what hangs on them, through the transactions of meta_images.c.
 * Never    knows a rule; removes bytes: that is the collector's, once gc.undo is over.
 *
 * (1) images_load sees one snapshot; pulls that were counted before it are in it.
 * (2) images_retire removes a manifest only if it still is what the snapshot said, which it asks in
 *     the transaction that removes: the same tags, not pulled or touched since, no index that has
 *     it, no pin, no protected tag. What changed stays. */
#ifndef SLIPWAY_STORAGE_IMAGES_H
#define SLIPWAY_STORAGE_IMAGES_H

#include "registry/core/digest.h"
#include "registry/core/error.h"

struct storage;
struct actor;
struct audit_event;

struct image_tag {
    char *name;
    int64_t updated_at;
    bool protected; /* by its own mark or by a rule of protection */
};

enum image_subject {
    SUBJECT_NONE,
    SUBJECT_HERE,   /* items[subject] */
    SUBJECT_ASIDE,  /* deleted, and can be restored */
    SUBJECT_ABSENT, /* never came, or is gone */
};

/* A manifest that is not deleted. Times in microseconds since 1970. */
struct image {
    int64_t id;
    struct digest digest;
    char *media_type, *artifact_type; /* artifact_type: NULL when there is none */
    uint64_t size, total_size;        /* of the manifest; with all that it names */
    int64_t pushed_at, touched_at;
    int64_t pulled_at;            /* it, or what it lists; 0: never */
    const struct image_tag *tags; /* by name */
    size_t tag_count;
    bool pinned;
    enum image_subject subject_is;
    size_t subject;
    bool child;       /* an index that is here, or can be restored, lists it */
    bool child_aside; /* such an index is deleted, and can be restored */
};

struct image_link {
    size_t parent, child; /* of items; both are here */
};

struct images {
    int64_t repository;
    int64_t now;         /* when it was read */
    int64_t grace_us;    /* what was touched later than that before now stays */
    struct image *items; /* oldest first */
    size_t count;
    struct image_tag *tags;
    size_t tag_count;
    struct image_link *links; /* by parent */
    size_t link_count;
    struct digest *aside; /* manifests that are deleted and can be restored */
    size_t aside_count;
};
void images_drop(struct images *images);

/* NAME_UNKNOWN */
int images_load(struct storage *store, struct slice repository, struct images *out,
                struct error *err) MUST_CHECK ON(worker_thread);
/* What goes with the chosen ones (count of them; places in images). */
struct images_freed {
    uint64_t blobs, bytes; /* that nothing else uses, here or in another repository */
};
int images_freed(struct storage *store, const struct images *images, const size_t *chosen,
                 size_t count, struct images_freed *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* (2), in one transaction, of at most IMAGES_RETIRE_MAX. retired has an element for each: set aside
 * with its tags, or false: it had changed. event: told when any went, how many is added. */
enum { IMAGES_RETIRE_MAX = 16 };
int images_retire(struct storage *store, struct slice repository, const struct images *images,
                  const size_t *chosen, size_t count, const struct actor *actor,
                  const struct audit_event *event, bool *retired, struct error *err) MUST_CHECK
    ON(worker_thread);

#endif
