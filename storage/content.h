/* content.h - what repositories hold, as people manage it: tags, manifests, their history, their
 * protection, pins; and what was deleted, as long as it can be brought back.
 * Touches  the database, the cache, upload sessions of a repository that goes.
 * Never    decides who may; reads a manifest's bytes.
 *
 * Every function blocks and runs on a worker. Names and patterns are validated by the caller. Times
 * are microseconds since 1970; 0 stands for "never" or "none".
 *
 * (1) What changes something is decided, done and told (history, audit) in one transaction: what
 *     protects a tag or a manifest is asked there, never before.
 * (2) What is deleted is seen by nobody from then on, and is kept for gc.undo: until then it can
 *     come back as it was. Whole or not at all: when bytes have been lost meanwhile it is refused,
 *     by their digest.
 *
 * NOT_FOUND, also when there is no such repository, goes without saying. */
#ifndef SLIPWAY_STORAGE_CONTENT_H
#define SLIPWAY_STORAGE_CONTENT_H

#include "storage/accounts.h"
#include "storage/storage.h"

/* Who changes something. */
struct content_change {
    const struct actor *actor;       /* NULL: the server itself */
    const struct audit_event *event; /* NULL: none */
    bool dry_run;                    /* where it is offered: all is asked, nothing is changed */
    int64_t if_version;              /* of what has one, else PRECONDITION; 0: whatever it is */
};

/* --- tags --- */

struct content_tag {
    char *name;
    struct digest digest;
    char *media_type, *artifact_type; /* artifact_type: NULL when there is none */
    uint64_t size;                    /* bytes of the manifest and all that it names */
    int64_t pushed_at;                /* the manifest */
    int64_t updated_at;               /* the tag */
    int64_t pulled_at;
    unsigned own;        /* bits of enum tag_protection that are set on the tag */
    unsigned protection; /* these, and those of rules */
    uint64_t pins;       /* of its manifest, that have not ended */
};
struct content_tag_page {
    struct content_tag *items;
    size_t count;
    bool more;
};
void content_tag_drop(struct content_tag *tag);
void content_tag_page_drop(struct content_tag_page *page);

/* By name, after `after`; search: a part of the name, SLICE_NONE for all. */
int content_tag_list(struct storage *store, struct slice repository, struct slice after,
                     struct slice search, size_t limit, struct content_tag_page *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
int content_tag_find(struct storage *store, struct slice repository, struct slice tag,
                     struct content_tag *out, struct error *err) MUST_CHECK ON(worker_thread);

/* P6's tag part: the tag stands for a manifest that is here. PRECONDITION, PROTECTED */
struct content_tag_set {
    struct slice tag;
    struct digest digest;
    bool if_absent;          /* the tag must not exist */
    struct digest if_digest; /* it must stand for this one; or not set */
};
int content_tag_set(struct storage *store, struct slice repository,
                    const struct content_tag_set *set, const struct content_change *change,
                    bool *created, struct error *err) MUST_CHECK ON(worker_thread);
/* The marks of the tag itself: bits of enum tag_protection in `mask` become those in `bits`. */
int content_tag_protect(struct storage *store, struct slice repository, struct slice tag,
                        unsigned mask, unsigned bits, const struct content_change *change,
                        struct error *err) MUST_CHECK ON(worker_thread);

/* Tags that go; the manifests stay. One transaction: all of them or none. */
enum { CONTENT_TAGS_MAX = 1000 };
struct content_tags_delete {
    const struct slice *tags; /* those that are not there are passed over */
    size_t count;
    struct slice glob; /* instead of them: all that match; SLICE_NONE */
    int64_t expect;    /* how many must go; below zero: whatever it is */
};
/* CONFLICT  another number, or more than CONTENT_TAGS_MAX match.  PROTECTED  one of them */
int content_tags_delete(struct storage *store, struct slice repository,
                        const struct content_tags_delete *what, const struct content_change *change,
                        uint64_t *deleted, struct error *err) MUST_CHECK ON(worker_thread);

/* --- tags that were deleted --- */

struct content_deleted_tag {
    char *name;
    struct digest digest;
    int64_t id;                /* of the manifest: with the name, where the next page begins */
    int64_t deleted_at, until; /* it can be brought back before `until` */
};
struct content_deleted_tag_page {
    struct content_deleted_tag *items;
    size_t count;
    bool more;
};
void content_deleted_tag_page_drop(struct content_deleted_tag_page *page);
int content_deleted_tag_list(struct storage *store, struct slice repository, struct slice after,
                             int64_t after_id, size_t limit, struct content_deleted_tag_page *out,
                             struct error *err) MUST_CHECK ON(worker_thread);
/* Its manifest comes back with it when that was deleted as well.
 *   digest  what it stood for; not set: where it was deleted from last
 * CONFLICT  the tag exists (without force), or what it needs is damaged.
 * PROTECTED  with force: it would move */
int content_tag_restore(struct storage *store, struct slice repository, struct slice tag,
                        const struct digest *digest, bool force,
                        const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- history --- */

struct content_move {
    int64_t id, at;
    char *tag;
    char *actor;            /* NULL: nobody was asked, or the server itself */
    struct digest from, to; /* not set: there was, or is, no such tag */
    enum tag_cause cause;
};
struct content_history {
    struct content_move *items;
    size_t count;
    bool more;
};
void content_history_drop(struct content_history *history);
/* Newest first. tag SLICE_NONE: of all; before 0: from the newest. */
int content_history_list(struct storage *store, struct slice repository, struct slice tag,
                         int64_t before, size_t limit, struct content_history *out,
                         struct error *err) MUST_CHECK ON(worker_thread);

/* --- manifests --- */

struct content_manifest {
    int64_t id;                       /* grows with first pushes */
    struct digest digest, subject;    /* subject: not set when there is none */
    char *media_type, *artifact_type; /* artifact_type: NULL when there is none */
    uint64_t size, total_size;        /* bytes: of the manifest; with all that it names */
    int64_t pushed_at, pulled_at;
    int64_t deleted_at, until; /* 0: it is here; else it can be brought back before `until` */
    uint64_t tags, parents, children, referrers, pins; /* how many; parents: indexes that have it */
};
struct content_manifest_page {
    struct content_manifest *items;
    size_t count;
    bool more;
    int64_t next; /* `before` of the next page, which may be there though this one is not full */
};
void content_manifest_drop(struct content_manifest *manifest);
void content_manifest_page_drop(struct content_manifest_page *page);

enum content_manifests {
    MANIFESTS_HERE,
    MANIFESTS_UNTAGGED, /* no tag, no index has it, and it refers to no subject */
    MANIFESTS_DELETED,  /* and can be brought back */
};
/* Newest push first; before 0: from the newest. */
int content_manifest_list(struct storage *store, struct slice repository,
                          enum content_manifests which, int64_t before, size_t limit,
                          struct content_manifest_page *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* One, and what it hangs together with: at most CONTENT_NAMES_MAX of each. */
enum { CONTENT_NAMES_MAX = 1000 };
struct content_child {
    struct digest digest;
    char *platform; /* NULL: not told */
    bool here;      /* as a manifest */
};
struct content_family {
    struct page tags;
    struct digest *parents;
    size_t parent_count;
    struct content_child *children;
    size_t child_count;
};
void content_family_drop(struct content_family *family);
/* Also one that is deleted. */
int content_manifest_find(struct storage *store, struct slice repository,
                          const struct digest *digest, struct content_manifest *out,
                          struct content_family *family, struct error *err) MUST_CHECK
    ON(worker_thread);
/* P7, with all its tags; how many these were. PROTECTED */
int content_manifest_delete(struct storage *store, struct slice repository,
                            const struct digest *digest, const struct content_change *change,
                            uint64_t *tags, struct error *err) MUST_CHECK ON(worker_thread);
/* With its children and blobs, and referrers that were deleted with it or later.
 *   tags  also the tags it lost when it was deleted, but those that exist again
 * CONFLICT  it is not deleted, or what it needs is damaged */
int content_manifest_restore(struct storage *store, struct slice repository,
                             const struct digest *digest, bool tags,
                             const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- pins: "in use by name until then" --- */

enum { CONTENT_PINS_MAX = 1000 }; /* of one repository, that have not ended */

struct content_pin {
    char *name, *actor;
    struct digest digest;
    int64_t until, created_at;
};
struct content_pin_page {
    struct content_pin *items;
    size_t count;
    bool more;
};
struct content_pins {
    struct content_pin *items;
    char **repositories; /* of each */
    size_t count;
};
void content_pin_drop(struct content_pin *pin);
void content_pins_drop(struct content_pins *pins);
void content_pin_page_drop(struct content_pin_page *page);
/* By name; those that have ended are not there. */
int content_pin_list(struct storage *store, struct slice repository, struct slice after,
                     size_t limit, struct content_pin_page *out, struct error *err) MUST_CHECK
    ON(worker_thread);
int content_pin_find(struct storage *store, struct slice repository, struct slice name,
                     struct content_pin *out, struct error *err) MUST_CHECK ON(worker_thread);
/* Those that the server made itself, of all repositories, whose names begin so. */
int content_pins_own(struct storage *store, struct slice prefix, struct content_pins *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* What the reference stands for now does not go before `until`; in the place of what the name
 * pinned before. CONFLICT  the repository has CONTENT_PINS_MAX */
int content_pin_put(struct storage *store, struct slice repository, struct slice name,
                    const struct manifest_reference *reference, int64_t until,
                    const struct content_change *change, bool *created,
                    struct error *err) MUST_CHECK ON(worker_thread);
int content_pin_delete(struct storage *store, struct slice repository, struct slice name,
                       const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- rules of protection, by patterns of repositories and globs of tags --- */

enum { CONTENT_RULES_MAX = 200 }; /* all of them are looked at whenever a tag moves or goes */

struct content_rule {
    int64_t id, created_at, version;
    char *pattern, *tags;
    unsigned bits; /* of enum tag_protection */
};
struct content_rules {
    struct content_rule *items;
    size_t count;
};
void content_rule_drop(struct content_rule *rule);
void content_rules_drop(struct content_rules *rules);
/* All, by id. */
int content_rule_list(struct storage *store, struct content_rules *out,
                      struct error *err) MUST_CHECK ON(worker_thread);
int content_rule_find(struct storage *store, int64_t id, struct content_rule *out,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* CONFLICT  there is one of this pattern and glob, or CONTENT_RULES_MAX */
int content_rule_add(struct storage *store, struct slice pattern, struct slice tags, unsigned bits,
                     const struct content_change *change, struct content_rule *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* PRECONDITION, for both */
int content_rule_update(struct storage *store, int64_t id, unsigned bits,
                        const struct content_change *change, struct content_rule *out,
                        struct error *err) MUST_CHECK ON(worker_thread);
int content_rule_delete(struct storage *store, int64_t id, const struct content_change *change,
                        struct error *err) MUST_CHECK ON(worker_thread);

/* --- repositories that go and come back --- */

struct content_repository_size {
    uint64_t tags, manifests;
    uint64_t bytes; /* of the blobs it links, and of manifests */
};
/* With all that is in it; its name is free at once, and uploads under way end.
 * PROTECTED  a protected tag or a pin is in it */
int content_repository_delete(struct storage *store, struct slice repository,
                              const struct content_change *change,
                              struct content_repository_size *out, struct error *err) MUST_CHECK
    ON(worker_thread);

struct content_deleted_repository {
    int64_t id;
    char *name;
    int64_t deleted_at, until;
    uint64_t tags;
};
struct content_deleted_repository_page {
    struct content_deleted_repository *items;
    size_t count;
    bool more;
};
void content_deleted_repository_page_drop(struct content_deleted_repository_page *page);
/* Those that can be brought back, by name and id. */
int content_deleted_repository_list(struct storage *store, struct slice after, int64_t after_id,
                                    size_t limit, struct content_deleted_repository_page *out,
                                    struct error *err) MUST_CHECK ON(worker_thread);
/* id 0: the one of that name that was deleted last. CONFLICT  the name is taken */
int content_repository_restore(struct storage *store, struct slice repository, int64_t id,
                               const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The name of one that is not deleted; free(). NOT_FOUND */
int content_repository_name(struct storage *store, int64_t id, char **name,
                            struct error *err) MUST_CHECK ON(worker_thread);

#endif
