/* s2i_internal.h - shared by the files of s2i/: queue.c (rows become running builds), session.c
 * (one build from its source to its tags), link.c (the builders), publish.c (blobs, manifest,
 * tags).
 * Touches  nothing.
 * Never    included from outside s2i/. */
#ifndef SLIPWAY_S2I_INTERNAL_H
#define SLIPWAY_S2I_INTERNAL_H

#include <pthread.h>

#include "registry/config.h"
#include "registry/core/document.h"
#include "s2i/log.h"
#include "s2i/s2i.h"
#include "s2i/source/source.h"
#include "s2i/spec.h"
#include "storage/storage.h"

struct build_link; /* link.c */
struct attester;   /* attester.c */
struct keeper;     /* keeper.c; with queue, waiters: queue.h */
struct outbox;     /* outbox.c: outbox.h */
struct queue;      /* queue.c */
struct waiters;    /* waiters.c */

struct builds {
    struct storage *storage;
    const struct config *config;
    bool (*may_pull)(void *arg, const struct actor *who, struct slice repository);
    bool (*may_push)(void *arg, const struct actor *who, struct slice repository);
    int (*sign)(void *arg, struct slice bytes, struct dsse_signature *out, struct error *err);
    void *arg;
    struct build_logs *logs;
    struct build_link *link; /* NULL: builds are off */
    struct queue *queue;
    struct waiters *waiters;
    struct outbox *outbox;
    struct keeper *keeper;
    struct attester *attester;
    char *folder;           /* <root>/builds, and below it: */
    char *repositories;     /* repos: bare repositories of pushes, <name>.git */
    char *archives;         /* archives: sources that were uploaded, by the build's id */
    char *log_folder;       /* logs */
    pthread_mutex_t moving; /* of sources to `deleted` and back: one at a time */
    char *deleted;          /* deleted: repositories of sources that may come back, by id */
    char *scratch;          /* scratch: fetched repositories; emptied at start */
};

/* What this registry is called where no request tells: by its public URL (names.c). */
struct s2i_hosts builds_hosts(const struct builds *builds);

/* --- what stands beside an image --- */

/* Publishes, on a thread of its own, what ends of builds left to be published: rows, so it goes on
 * after a restart. attester.c */
int attester_open(struct builds *builds, struct error *err) MUST_CHECK; /* as builds->attester */
void attester_close(struct attester *attester);                         /* accepts NULL */
void attester_look(struct attester *attester); /* there may be more; accepts NULL */
bool attester_closing(struct attester *attester);
/* One of them, whole: again gives the same. INVALID  it can never be. attest_publish.c. Spec:
 * s2i 7.12, 15.5 */
int attest_publish(struct builds *builds, const struct build_attestation *attestation,
                   struct error *err) MUST_CHECK ON(worker_thread);

/* --- images whose files a build gets (inputs.c; 13.52) --- */

struct build_inputs {
    struct s2i_image *items; /* each name of copy_from once */
    size_t count;
};
void build_inputs_drop(struct build_inputs *inputs);
/* Those that are there now and that who may pull. */
void build_inputs_resolve(const struct builds *builds, const struct actor *who,
                          const struct s2i_options *options, struct build_inputs *out)
    ON(worker_thread);
json_t *build_inputs_write(const struct build_inputs *inputs); /* the caller's */
/* What the name stood for when the build was asked for; NULL: nothing. The caller's. */
char *build_input_digest(const struct build_record *record, const char *name);
void build_inputs_unpin(const struct builds *builds, const struct build_record *record)
    ON(worker_thread);

/* --- one build (session.c, session_plan.c, running.c, submit.c) --- */

/* What queue.c hands over: a claimed row. */
struct build_task {
    struct builds *builds;
    struct build_record record;
    struct s2i_options options; /* of record.spec */
    bool hold_tags;             /* of record.spec */
    struct build_log *log;      /* begun; queue.c ends it. NULL: a plan */
    int archive;                /* of a plan; -1: by the record's id */
    int wake;                   /* eventfd: readable when the build is to stop */
};
/* Why it is to stop, under the queue's lock; false when it is not. "": the server closes. */
bool build_task_stopped(const struct build_task *task, char reason[64], char by[256]);

struct build_outcome {
    enum build_state state;
    char reason[64], message[300];
    int exit_code; /* -1 */
    struct digest result;
    int64_t layer_size;
    struct buffer stages, facts; /* JSON texts */
    struct buffer attestations;  /* JSON: what is to stand beside the image; empty: nothing */
};
void build_outcome_drop(struct build_outcome *outcome);
/* Runs the build to its end; always fills out. Records progress by build_progress_put. */
void session_run(struct build_task *task, struct build_outcome *out) ON(worker_thread);
/* The same for builds_plan: the answer as JSON. */
void session_plan(struct build_task *task, enum build_question question, struct buffer *out)
    ON(worker_thread);

/* Whether the build is only to show that another one, retry_of, comes out the same (15.2): no tag
 * moves by it, and nothing is built upon it. */
#define BUILD_VERIFY "verify" /* its trigger */
static inline bool build_verifies(const struct build_record *record)
{
    return slice_equal_text(SLICE(BUILD_VERIFY), record->trigger);
}

/* The words of record.spec: {"options": {...}, "hold_tags": bool, "reach": scopes, "inputs": {name:
 * digest}}. inputs may be NULL. The caller's. */
char *build_spec_write(const struct s2i_options *options, bool hold_tags, const char *reach,
                       const struct build_inputs *inputs);
int build_spec_read(const char *text, struct s2i_options *options, bool *hold_tags,
                    struct error *err) MUST_CHECK;
/* Who asked for it, with what his token was narrowed to; *reach is the caller's, and is borrowed.
 */
struct actor build_asker(const struct build_record *record, char **reach);

/* --- what may be fetched (session_source.c; 16.10) --- */

/* Views of the settings; not to be copied. */
struct builds_rules {
    struct s2i_list schemes, ports, hosts;
    struct source_rules rules; /* of them */
};
void builds_rules_fill(struct builds_rules *out, const struct config *config, uint64_t bytes_max);

/* --- sources that were uploaded (archives.c) --- */

/* "<archives>/<id>"; freed by the caller. */
char *builds_archive_path(const struct builds *builds, int64_t id);
/* What `from` holds, linked where that can be, else copied; synced. */
int builds_archive_keep(const struct builds *builds, int64_t id, int from,
                        struct error *err) MUST_CHECK;
/* For reading. CONFLICT  it is not kept any more */
int builds_archive_open(const struct builds *builds, int64_t id, struct error *err) MUST_CHECK;
void builds_archive_remove(const struct builds *builds, int64_t id);
/* Down to builds.keep_archives. */
void builds_archives_trim(const struct builds *builds) ON(worker_thread);

/* --- images of this registry (image.c) --- */

/* "repository[:tag][@digest]" as a build names it; an index is followed to this machine's platform.
 * *found is false when there is no such image, or `who` may not pull it. INVALID  it is none
 * that a build can use */
int image_resolve(const struct builds *builds, const struct actor *who, struct slice name,
                  struct s2i_image *out, bool *found, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The bytes of its layer. */
int image_layer_open(const struct builds *builds, const struct s2i_image *image, size_t layer,
                     int *fd, struct error *err) MUST_CHECK ON(worker_thread);
/* Held by name until then (us), however tags move; (2) of s2i.h. */
int image_pin(const struct builds *builds, const struct s2i_image *image, int64_t build,
              int64_t until, struct error *err) MUST_CHECK ON(worker_thread);
/* The builder of a row that ended, if it was resolved when the row was made. */
void image_unpin_row(const struct builds *builds, int64_t build) ON(worker_thread);
void image_unpin(const struct builds *builds, const struct s2i_image *image, int64_t build)
    ON(worker_thread);
/* The same for who pinned it a moment ago: only when the build has ended since. */
void image_unpin_late(const struct builds *builds, int64_t build) ON(worker_thread);
/* What builds held that have ended, or are not there: of processes that died. */
void images_sweep_pins(const struct builds *builds) ON(worker_thread);

/* --- what a build gives back (publish.c) --- */

/* Whose repository, in whose name. */
struct publisher {
    struct builds *builds;
    struct slice repository;
    struct actor actor;
};
#define BUILD_UPLOADS SLICE("build") /* who owns its sessions: no client is called so */
struct publisher publisher_of(const struct build_task *task);

/* A blob that arrives, from a builder or from us. */
struct arrival {
    struct upload *upload; /* NULL: none has begun */
    char id[64];           /* of its session */
};
int arrival_write(const struct publisher *publisher, struct arrival *arrival, struct slice bytes,
                  struct error *err) MUST_CHECK ON(worker_thread);
int arrival_finish(const struct publisher *publisher, struct arrival *arrival,
                   const struct digest *digest, struct error *err) MUST_CHECK ON(worker_thread);
void arrival_drop(const struct publisher *publisher, struct arrival *arrival) ON(worker_thread);
int publish_blob(const struct publisher *publisher, struct slice bytes, const struct digest *digest,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* The base's layers are linked into the publisher's repository, no byte is copied. */
int publish_layers(const struct publisher *publisher, const struct s2i_image *base,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* What storage makes a manifest of, without tags; borrows the payload. */
struct publish_put {
    struct document document;
    struct manifest_link *blobs;
    struct manifest_put put;
};
void publish_put_drop(struct publish_put *put);
/* media_type: SLICE_NONE when the payload says it. */
int publish_put_read(struct slice payload, struct slice media_type, struct publish_put *out,
                     struct error *err) MUST_CHECK;
/* A manifest that is there. */
struct published {
    char media_type[128];
    struct digest digest;
    uint64_t size;
};
/* A manifest whose blobs are there: with these tags, in one transaction. out may be NULL. */
int publish_manifest(const struct publisher *publisher, struct slice payload,
                     struct slice media_type, const struct s2i_list *tags, struct published *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* Config and manifest. Its tags move with the build's end, or with the ref of a push. (3) of s2i.h
 */
int publish_result(const struct build_task *task, const struct s2i_spec *spec,
                   const struct s2i_result *result, struct published *out,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* What moves with the end of this build, which has made or found that image; none when a ref is
 * waited for. tags borrows of the others, of the task and of itself: it stays where it is. */
struct publish_tags {
    struct s2i_list list;
    struct slice *names;
    struct actor actor;
    struct build_tagging tags;
};
void publish_tags_drop(struct publish_tags *tags);
int publish_tags_read(const struct build_task *task, const struct digest *image,
                      struct publish_tags *out, struct error *err) MUST_CHECK;
/* The tags of a row. */
int publish_tag_list(const struct build_record *record, struct s2i_list *out,
                     struct error *err) MUST_CHECK;

/* --- the builders (link.c, slots.c) --- */

int link_open(struct build_link **out, const struct config *config, struct error *err) MUST_CHECK;
void link_close(struct build_link *link); /* ends the builder that was started; accepts NULL */
void link_health(struct build_link *link, struct builds_health *out);
/* Waits for a free slot; *channel: of a build that a worker is about to begin. UNAVAILABLE  wake
 * became readable. */
int link_take(struct build_link *link, int64_t build, int wake, int *channel,
              struct error *err) MUST_CHECK;
/* Closes the channel: its worker ends whatever it does. */
void link_give_back(struct build_link *link, int channel);

#endif
