/* rebases.h - images on newer bases: which stand on one, tags of many repositories that move at
 * once, and back.
 * Touches  the tables manifests, tags, tag_history, manifest_bases, rebases, rebase_moves,
 *          build_attestations, audit; the cache.
 * Never    decides who may; makes an image.
 *
 * (1) All tags of a rebase move in one transaction with all that belongs to it: manifests, history,
 *     the row it can be taken back by, what is to stand beside the images, the audit. What does not
 * stand where it stood, or may not move, is left out of it, and told. (2) What the tags stood for
 * is kept for gc.undo; until then they can be taken back, in one transaction as well, those that
 * still stand where the rebase put them.
 *
 * Spec: s2i 15.1. */
#ifndef SLIPWAY_STORAGE_REBASES_H
#define SLIPWAY_STORAGE_REBASES_H

#include "storage/accounts.h"
#include "storage/storage.h"

enum { REBASE_TAGS_MAX = 1000 }; /* of one rebase */

/* --- what stands on a base --- */

struct rebase_candidate {
    int64_t repository_id, manifest_id;
    char *repository, *tag;
    struct digest digest;
    char *base_name, *base_digest; /* as its annotations have them; name: "" for none */
    bool immutable;                /* the tag, or a rule: it does not move */
};
struct rebase_candidates {
    struct rebase_candidate *items;
    size_t count;
    bool more;
};
void rebase_candidates_drop(struct rebase_candidates *candidates);

/* Exactly one of repository, base_name, base_digest says which. Tags of one manifest follow each
 * other. */
struct rebase_query {
    struct slice repository;  /* all in it that name a base */
    struct slice base_name;   /* all that say so; */
    struct slice base_alias;  /* or that say this, which is another name of it; SLICE_NONE */
    struct slice base_digest; /* all that say so, as text */
    /* Strictly after these; 0: from the start. manifest INT64_MAX: the rest of a repository is
     * passed over. */
    int64_t after_repository, after_manifest;
    struct slice after_tag;
    size_t limit;
};
int rebase_candidate_list(struct storage *store, const struct rebase_query *query,
                          struct rebase_candidates *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* One tag; base_name and base_digest are "" when it names no base. NOT_FOUND */
int rebase_candidate_find(struct storage *store, struct slice repository, struct slice tag,
                          struct rebase_candidate *out, struct error *err) MUST_CHECK
    ON(worker_thread);
void rebase_candidate_drop(struct rebase_candidate *candidate);

/* --- moving --- */

enum rebase_move_outcome {
    REBASE_MOVE_DONE,
    REBASE_MOVE_ELSEWHERE, /* it stands for something else, or is gone */
    REBASE_MOVE_KEPT,      /* it is immutable */
    REBASE_MOVE_LOST,      /* of an undo: what it stood for is gone */
};
struct rebase_tag {
    struct slice name;
    enum rebase_move_outcome outcome;
    char why[200]; /* of what was not done */
};
/* An image that is to be: its blobs are in the repository, its manifest is put with the tags that
 * move. */
struct rebase_image {
    struct slice repository;
    struct digest before;           /* what its tags stand for */
    const struct manifest_put *put; /* its tags are not looked at */
    struct rebase_tag *tags;
    size_t tag_count;
    struct slice attestations; /* written when one moves; SLICE_NONE: nothing is to be published */
};
struct rebase_new {
    struct slice base;               /* for people */
    const struct actor *actor;       /* NULL: the server itself */
    const struct audit_event *event; /* its target becomes "rebase/<id>"; NULL: none */
    bool dry_run;                    /* all is asked, nothing is changed */
};
/* *id, *until: 0 when no tag moved, or deletions are at once (gc.undo 0). When it fails nothing
 * moved. MANIFEST_BLOB_UNKNOWN  a blob is gone */
int rebase_apply(struct storage *store, const struct rebase_new *rebase,
                 struct rebase_image *images, size_t count, int64_t *id, int64_t *until,
                 struct error *err) MUST_CHECK ON(worker_thread);

/* --- what was done, and back --- */

struct rebase_move {
    int64_t repository_id, manifest_id; /* manifest_id: of before */
    char *repository, *tag;
    struct digest before, after;      /* before: what it stood for until the rebase */
    int64_t undone_at;                /* 0: it was not taken back */
    enum rebase_move_outcome outcome; /* of an undo */
    char why[200];
};
struct rebase_record {
    int64_t id, created_at, until;
    char *base, *actor;
    struct rebase_move *moves; /* in repositories that are there; by repository and tag */
    size_t count;
};
void rebase_record_drop(struct rebase_record *record);
/* NOT_FOUND */
int rebase_find(struct storage *store, int64_t id, struct rebase_record *out,
                struct error *err) MUST_CHECK ON(worker_thread);
struct rebase_ids {
    int64_t *items;
    size_t count;
    bool more;
};
/* Newest first, before before_id (0: from the newest); items are freed by the caller. */
int rebase_list(struct storage *store, int64_t before_id, size_t limit, struct rebase_ids *out,
                struct error *err) MUST_CHECK ON(worker_thread);
/* Takes back what can be, of the moves in these repositories; out: those, each with its outcome.
 * What was taken back before is DONE and left alone.
 * NOT_FOUND.  CONFLICT  it was too long ago */
struct rebase_undo {
    const struct actor *actor;
    const struct audit_event *event; /* written when a tag moved; NULL: none */
    const struct slice *repositories;
    size_t repository_count;
    bool dry_run;
};
int rebase_take_back(struct storage *store, int64_t id, const struct rebase_undo *undo,
                     struct rebase_record *out, struct error *err) MUST_CHECK ON(worker_thread);

#endif
