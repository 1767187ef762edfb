/* s2i.h - source to image in the server: submit, follow, cancel; all that other folders may include
 * of it, beside options.h and log.h.
 * Touches  storage, the folder <root>/builds, threads of its own, the link to builders.
 * Never    HTTP; runs nothing of a build in this process: sources are read by confined children,
 *          assemble runs under a builder (architecture 7).
 *
 *   NEW --ready--> PENDING --claimed--> RUNNING --> COMPLETE | FAILED | ERROR | CANCELLED
 *
 * (1) A build is a durable row before anything is done for it; its source is durable before it
 *     waits.
 * (2) Images a build names are pinned from its start to its end.
 * (3) The result's blobs come first, then its manifest; all its tags and the end of the build are
 *     one transaction (the tags of a push move with its ref instead). No tag moves when any step
 *     failed.
 * (4) A build that is cancelled, or whose builder or server is gone, leaves nothing but its row and
 *     log. */
#ifndef SLIPWAY_S2I_S2I_H
#define SLIPWAY_S2I_S2I_H

#include "registry/core/dsse.h"
#include "s2i/options.h"
#include "storage/builds.h"

/* Lines of ours in logs and pushes: under 80 columns behind git's "remote: ". Spec: 13.26 */
enum {
    SAID_COLUMNS = 71,
    SAID_INDENT = 7, /* "-----> " */
};

struct build_logs; /* log.h */
struct builds;
struct config;
struct storage;

struct builds_options {
    struct storage *storage;
    const struct config *config;
    /* Whether who asked for a build may pull the images it names; asked when it runs. Of who: the
     * account, and what its token is narrowed to. */
    bool (*may_pull)(void *arg, const struct actor *who, struct slice repository);
    /* The same of pushing. */
    bool (*may_push)(void *arg, const struct actor *who, struct slice repository);
    /* Signs the provenance of images; NULL: it is not signed. Spec: 15.10 */
    int (*sign)(void *arg, struct slice bytes, struct dsse_signature *out, struct error *err);
    void *arg;
};
/* Reads what an earlier process left, starts threads and, when the settings say so, a builder. */
int builds_open(struct builds **out, const struct builds_options *options,
                struct error *err) MUST_CHECK;
/* Cancels nothing: what runs is begun anew, or is an error, at the next start. Accepts NULL. */
void builds_close(struct builds *builds);

struct build_logs *builds_logs(struct builds *builds);

/* Whether builds can run now, and why not: for health and refusals (16.4). */
struct builds_health {
    bool enabled, able;
    unsigned builders, slots;
    uint64_t running, waiting;
    char level[8];        /* "root", "user", "": of the builder */
    char problem[200];    /* one sentence, "" when able */
    const char *weakness; /* the same, of what builds run without: confine_weakness */
};
void builds_health(struct builds *builds, struct builds_health *out) ON(worker_thread);

/* What is asked for. Everything is borrowed for the call. */
struct build_request {
    struct slice repository; /* validated; of the result */
    enum build_source source;
    struct slice trigger; /* "push", "api", "webhook", "retry", "image" */
    const struct actor *actor;
    struct slice actor_name;           /* as the row and the audit call him */
    const struct s2i_options *options; /* of the stored configuration and the request, settled */
    struct slice url, ref, commit;     /* BUILD_FROM_PUSH: ref and commit of our own repository */
    const struct slice *tags;          /* of the result */
    size_t tag_count;
    bool hold_tags; /* BUILD_FROM_PUSH: the tags wait for builds_move_tags */
    int archive;    /* BUILD_FROM_ARCHIVE: a file that nobody changes any more; else -1 */
    int64_t retry_of;
    const struct build_delivery_new *delivery; /* that starts it, of a webhook; else NULL */
    const struct audit_event *event;
};
/* TOOMANYREQUESTS  QueueFull, with retry_after_s.  UNAVAILABLE  builds are off, or no builder is
 * able (16.4): nothing was made.  CONFLICT  the delivery started *id before. */
int builds_submit(struct builds *builds, const struct build_request *request, int64_t *id,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* Its reason will be CancelledBuild; why: a sentence for its message, or SLICE_NONE. Idempotent
 * while it runs. CONFLICT  has ended.  NOT_FOUND. Spec: 13.44 */
int builds_cancel(struct builds *builds, int64_t id, struct slice actor, struct slice why,
                  const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);
/* The same source and options again. CONFLICT  not ended yet, or its source is gone. */
int builds_retry(struct builds *builds, int64_t id, const struct actor *actor,
                 struct slice actor_name, const struct audit_event *event, int64_t *out,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* The same beside the first, to see whether it comes out the same: nothing built before is taken,
 * and no tag moves. Errors as above. Spec: 15.2 */
int builds_verify(struct builds *builds, int64_t id, const struct actor *actor,
                  struct slice actor_name, const struct audit_event *event, int64_t *out,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* What the images of two builds into one repository differ in, a line each; none: they are the
 * same. Reads their layers. CONFLICT  one of them made none.  NOT_FOUND  its image is gone. */
int builds_differences(struct builds *builds, const struct build_record *one,
                       const struct build_record *other, struct s2i_list *out,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* Tagged images move onto a newer base, without building: their own layers stay. Allowed when the
 * new base has the label s2i.rebasable=true and changed nothing below the image's files: layers are
 * read to know. All tags that can move do so in one transaction; each may be taken back for
 * gc.undo. Spec: 15.1 */
struct build_rebase {
    struct slice repository; /* SLICE_NONE: all that he who asks may push to */
    struct slice tag;        /* of the repository; SLICE_NONE: all that name a base */
    /* With a repository: the new base; SLICE_NONE: what the name of each one's base stands for.
     * Without: what images stand on, repository[:tag] or repository@digest. */
    struct slice base;
    struct slice onto;   /* without a repository: the new base; SLICE_NONE: what base stands for */
    struct slice digest; /* only images of this digest, as text; SLICE_NONE */
    struct slice after;  /* `next` of the page before; SLICE_NONE */
    size_t limit;        /* tags of a page, at most BUILD_REBASE_MAX */
    const struct actor *actor;       /* in whose name */
    const struct audit_event *event; /* of the tags that move; its target becomes "rebase/<id>" */
    bool dry_run;                    /* the same answer, nothing is written; quotas are not asked */
    /* Looked at between images: true ends it, and nothing has moved. NULL: never */
    bool (*stopped)(void *arg);
    void *arg;
};
enum { BUILD_REBASE_MAX = 1000 };
struct build_rebased_image {
    char *repository, *tag;
    struct digest before, after; /* after: not set unless REBASE_DONE */
    enum {
        REBASE_DONE,
        REBASE_CURRENT,
        REBASE_REFUSED, /* the image cannot be put on that base */
        REBASE_KEPT,    /* the tag is immutable */
        REBASE_MOVED,   /* it moved meanwhile, and was left alone */
    } outcome;
    char message[200];         /* why not */
    struct s2i_list conflicts; /* paths, at most a hundred */
};
struct build_rebased {
    struct build_rebased_image *items;
    size_t count;
    int64_t id, until; /* to take it back by, and until when; 0: there is nothing to */
    char *next;        /* NULL: there are no more */
    bool dry_run;
};
void build_rebased_drop(struct build_rebased *rebased);
/* NOT_FOUND  the tag, the repository.  CONFLICT  the base is not here, or may not be pulled.
 * INVALID  base, onto or after.  UNAVAILABLE  it was stopped */
int builds_rebase(struct builds *builds, const struct build_rebase *wish, struct build_rebased *out,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* The same on a thread of its own; *fd, the caller's: to read what `render` wrote from, once it is
 * done. Who closes it before ends it. failed (NULL: it did not): why there is nothing; render runs
 * on that thread. TOOMANYREQUESTS  so many are under way; and the errors that are found at once */
typedef void build_rebase_render(const struct build_rebased *rebased, const struct error *failed,
                                 struct buffer *out);
int builds_rebase_live(struct builds *builds, const struct build_rebase *wish,
                       build_rebase_render *render, int *fd, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Envelopes of signed provenance that stand beside an image, after the cursor (0: from the start),
 * a page: {"digest", "envelope"} of each, with commas between them; appended. What is no envelope
 * is left out. They are what somebody pushed: no signature was checked. Spec: 15.10 */
int builds_provenance(struct builds *builds, struct slice repository, const struct digest *image,
                      uint64_t after, struct buffer *out, uint64_t *next,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* The JWK set of all keys that ever signed provenance here, the newest first; appended. */
int builds_keys(struct builds *builds, struct buffer *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Options that build an image of here again, by its labels, as its tag: over what out has. INVALID
 * there is none, or "required label X not found in image". Spec: 10.5 */
int builds_rebuild_options(struct builds *builds, const struct actor *who, struct slice repository,
                           struct slice tag, const struct s2i_hosts *hosts, struct s2i_options *out,
                           struct error *err) MUST_CHECK ON(worker_thread);
enum build_question {
    BUILD_PLAN,       /* what would be done: 15.9 */
    BUILD_USAGE,      /* what the builder's usage says: 10.4 */
    BUILD_DOCKERFILE, /* the same build as a Dockerfile: {"dockerfile": ...}, 10.3 */
};
/* What a build would do, or what else is asked of it; nothing is recorded, nothing
 * is published. *fd, the caller's: to read a JSON text from when it is known, which takes as long
 * as a slot, a fetch and a look take: for reply_live. {"error": {"reason", "message"}} when it
 * fails. */
int builds_plan(struct builds *builds, const struct build_request *request,
                enum build_question question, int *fd, struct error *err) MUST_CHECK
    ON(worker_thread);

/* Calls ended once, on a thread of builds' own, when the build has ended; at once when it has. When
 * builds close before that it is called too, by builds_close, and the record says RUNNING or
 * PENDING: what arg points to must live until then. The record is borrowed for the call. NOT_FOUND
 */
int builds_when_ended(struct builds *builds, int64_t id,
                      void (*ended)(void *arg, const struct build_record *record), void *arg,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* The tags a push held back move, all in one transaction, just before `ref` does, which will hold
 * ref_id. Where they stood is kept until build_move_end (storage/builds.h). Spec: 7.10, 13.a */
int builds_move_tags(struct builds *builds, int64_t id, struct slice ref, struct slice ref_id,
                     const struct actor *actor, struct error *err) MUST_CHECK ON(worker_thread);

/* Settled options of a repository: the server's defaults, then its stored configuration. */
int builds_options_of(struct builds *builds, struct slice repository, struct s2i_options *out,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* Where the API of the forge is that shows statuses of commits, by these options:
 * "https://api.github.com" of https://github.com/team/app.git. A token that sets statuses is stored
 * as "API\tTOKEN", and goes to no other. INVALID  it cannot be told: status_url must say */
int builds_status_api(const struct s2i_options *configured, struct buffer *out,
                      struct error *err) MUST_CHECK;
struct content_change; /* storage/content.h */
/* A repository is deleted, or comes back: content.h, no dry run. What was pushed to it goes out of
 * sight with it: the next one of its name has nothing of it, whenever the server dies; and comes
 * back with it, within gc.undo. */
int builds_repository_delete(struct builds *builds, struct slice name,
                             const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);
int builds_repository_restore(struct builds *builds, struct slice name, int64_t id,
                              const struct content_change *change, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Folder of the bare repositories, "<root>/builds/repos". */
const char *builds_repositories(const struct builds *builds);

#endif
