/* meta_collect.h - transactions of the collector: reviews (G0 to G3), what ends by the clock, and
 * what a run would remove.
 * Touches  the database only.
 * Never    blob bytes, the cache: callers forget what a batch says is gone. */
#ifndef SLIPWAY_STORAGE_META_COLLECT_H
#define SLIPWAY_STORAGE_META_COLLECT_H

#include "storage/collect.h"
#include "storage/meta_internal.h"

/* A row of gc_queue. */
struct meta_task {
    enum meta_queue_kind kind;
    int64_t repository; /* kind 3: 0; kind 4: not looked at */
    int64_t ref;
    int64_t attempts;
    bool follows;
};

/* --- G1 and G2: meta_review.c --- */

enum meta_verdict {
    META_GONE,  /* there is nothing to review any more */
    META_HELD,  /* referenced, or it stays by default: a task comes anew when that ends */
    META_LATER, /* leased, or within its undo window, until `until` */
    META_REMOVE
};

/* What a dry run takes for removed already. */
struct meta_removed {
    bool (*contains)(const void *arg, enum meta_queue_kind kind, int64_t repository, int64_t ref);
    const void *arg;
};

struct meta_review {
    const struct meta *meta;
    struct meta_task task;
    int64_t now;
    const struct meta_removed *removed; /* NULL: only what the database says */
    /* set by meta_review */
    enum meta_verdict verdict;
    int64_t until;
    struct digest digest;           /* of a manifest or blob */
    uint64_t size;                  /* of a blob */
    char locator[LOCATOR_SIZE + 1]; /* of a blob */
};

/* Each look is a statement of its own, in the order lock, then look: collect (1). */
int meta_review(struct db_tx *tx, struct meta_review *review, struct error *err);

/* --- G0 and G3: meta_collect.c --- */

/* What memory may still have of an object that went. */
struct meta_forget {
    enum meta_queue_kind kind; /* manifest or link */
    struct digest digest;
    char *repository; /* its name */
};

enum { META_BATCH_MAX = 128 };

/* One transaction of some reviews: at most `limit`, and about 2 ms. */
struct meta_batch {
    struct meta *meta;
    uint64_t limit; /* at most META_BATCH_MAX */
    /* After COMMIT, with `forget`; may be NULL. */
    void (*after)(void *arg, const struct meta_forget *forget, size_t count);
    void *arg;
    /* set by meta_collect */
    struct collect_report report;
    int64_t next_due; /* of the first task that waits; INT64_MAX: none does */
    struct meta_forget forget[META_BATCH_MAX];
    size_t forget_count;
    struct meta_task failed; /* under review when the batch failed; kind 0: none was */
};

/* Nothing due: nothing is written, and report is zero. What was allocated is freed before it
 * returns. Background. */
int meta_collect(struct meta_batch *batch, struct error *err) MUST_CHECK;
/* A task whose review failed waits, longer each time, so that others are not kept. */
int meta_collect_postpone(struct meta *meta, const struct meta_task *task,
                          struct error *err) MUST_CHECK;

/* P7 for good: what it names is queued, children and referrers with `follows`; an index that names
 * it keeps the name. At most `limit` of its references a call: then *done is false, and it is set
 * aside with its undo window over until a later call. */
int meta_manifest_erase(struct db_tx *tx, int64_t repository, int64_t manifest,
                        const struct digest *digest, int64_t limit, bool *done, struct error *err);
/* Takes some rows of a repository that was deleted, its own row last. meta_collect_repository.c */
int meta_repository_remove(struct db_tx *tx, const struct meta *meta, int64_t repository,
                           struct collect_report *report, bool *done, struct error *err);

/* What a run would remove now, what that sets free included; all of *out but what the sweep does.
 * Ends early when it is cancelled. meta_preview.c */
int meta_collect_preview(struct meta *meta, const struct progress *progress,
                         struct collect_report *out, struct error *err) MUST_CHECK;

struct meta_queue_counts {
    uint64_t tasks, due;
    int64_t oldest_due_at; /* 0: none */
    uint64_t trash, trash_due;
    int64_t oldest_trash_at; /* 0: none is due */
};
int meta_collect_count(struct meta *meta, struct meta_queue_counts *out,
                       struct error *err) MUST_CHECK;

/* --- what ends by the clock: meta_expire.c --- */

/* Rows of deleted_tags and pins that have ended go, some at a time; their manifests are queued.
 * *more: it found some. Background. */
int meta_holds_expire(struct meta *meta, bool *more, struct error *err) MUST_CHECK;
/* Once gc.untagged is set, manifests that stayed before are queued, some at a time. Background. */
int meta_untagged_queue(struct meta *meta, bool *more, struct error *err) MUST_CHECK;
/* Rows of pull_counts and tag_history that are kept no longer, some at a time. *cursor: where to
 * go on, 0 to begin and when there is no more. Background. */
int meta_records_expire(struct meta *meta, int64_t *cursor, bool *more,
                        struct error *err) MUST_CHECK;

#endif
