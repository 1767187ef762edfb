/* builds.h - rows of builds, of build configurations, their secrets and deliveries, and of what is
 * still to be told of builds.
 * Touches  the tables builds, build_turns, build_attestations, build_keys, build_configs,
 *          build_secrets, build_deliveries, build_messages, build_moves, audit; tags of a push.
 * Never    runs a build; reads the JSON it is given.
 *
 * (1) A row is made, durably, before the first step of its build; how it ended is one transaction.
 * (2) The state only grows. Whoever runs a build names its epoch in every change: a change of an
 *     earlier epoch, or of a build that has ended, is CONFLICT and changes nothing.
 * (3) One that was cancelled while it runs does not begin anew, whenever the process dies.
 *
 * Spec: s2i 13.40 to 13.47. */
#ifndef SLIPWAY_STORAGE_BUILDS_H
#define SLIPWAY_STORAGE_BUILDS_H

#include "registry/core/bytes.h"
#include "registry/core/digest.h"
#include "registry/core/error.h"
#include "storage/accounts.h"

/* As the columns have them. */
enum build_state {
    BUILD_NEW, /* its source is still being received */
    BUILD_PENDING,
    BUILD_RUNNING,
    BUILD_COMPLETE,
    BUILD_FAILED, /* the source's or the builder's fault */
    BUILD_ERROR,  /* ours */
    BUILD_CANCELLED,
};
static inline bool build_state_ended(enum build_state state)
{
    return state >= BUILD_COMPLETE;
}
const char *build_state_name(enum build_state state); /* "New", "Pending", ... Spec: 13.41 */
bool build_state_parse(struct slice name, enum build_state *out);
enum build_policy { BUILD_SERIAL, BUILD_SERIAL_LATEST, BUILD_PARALLEL }; /* 13.42 */
enum build_source { BUILD_FROM_PUSH = 1, BUILD_FROM_URL, BUILD_FROM_ARCHIVE, BUILD_FROM_NOTHING };
const char *build_source_name(enum build_source source); /* "push", "url", "archive", "none" */

/* Texts are never NULL; freed with build_record_drop. Times in us since 1970, 0: not yet. */
struct build_record {
    int64_t id, account, created_at, started_at, finished_at, epoch, retry_of;
    int64_t first; /* of one that was claimed: the first build into its repository, whose name may
                      have been another's before */
    enum build_state state;
    enum build_policy policy;
    enum build_source source;
    int exit_code; /* -1: assemble did not end by itself */
    char *repository, *trigger, *actor, *url, *ref, *commit;
    char *builder, *builder_digest;     /* as asked; what it was resolved to, "" until then */
    char *spec, *tags, *stages, *facts; /* JSON texts */
    char *reason, *message, *input_key, *result_digest, *ended_by;
    char *left_by;                /* who pushed and did not wait for its end, "" nobody */
    int64_t layer_size, log_size; /* bytes */
};
void build_record_drop(struct build_record *record);
struct build_page {
    struct build_record *items;
    size_t count;
    bool more;
};
void build_page_drop(struct build_page *page);

/* What came to a webhook. */
struct build_delivery_new {
    int64_t config;
    struct slice sender, id, event;
    struct slice content; /* what no sender sends twice, whatever the id says; or SLICE_NONE */
    struct slice note;    /* further words of its verdict */
};
struct build_new {
    struct slice repository, trigger, actor, url, ref, commit, builder, builder_digest, spec, tags;
    enum build_state state; /* NEW or PENDING */
    enum build_policy policy;
    enum build_source source;
    struct slice callback, status; /* hosts that are told how it ended, how it stands; or none */
    int64_t account, retry_of;
    int64_t wait_us;    /* it is cancelled when it waits longer, from now on; 0: it may */
    uint64_t queue_max; /* builds that wait at a time; QUEUE_FULL above. 0: no limit */
    const struct build_delivery_new *delivery; /* that started it; NULL: none did */
    const struct audit_event *event;           /* NULL: none */
};
/* A PENDING one that is SERIAL_LATEST takes the place of the older ones of its repository that
 * wait: they are cancelled in the same transaction, reason Superseded; out_superseded (freed by the
 * caller) tells which.
 * TOOMANYREQUESTS  the queue is full, NEW ones included
 * CONFLICT  its delivery started *id before */
int build_add(struct storage *store, const struct build_new *build, int64_t *id,
              int64_t **out_superseded, size_t *superseded_count, struct error *err) MUST_CHECK
    ON(worker_thread);
/* From NEW to PENDING, as above: its source is here. CONFLICT  it was cancelled. NOT_FOUND */
int build_ready(struct storage *store, int64_t id, int64_t **out_superseded,
                size_t *superseded_count, struct error *err) MUST_CHECK ON(worker_thread);
/* The next build to run: RUNNING from now on, with a new epoch. Fair: of the repositories that
 * wait, the one whose last start is longest ago, or that never had one (of these the one with the
 * oldest build); in it the oldest. Where one runs the next waits, unless all of them are PARALLEL;
 * at most `each` run at a time in one repository (0: no limit). *found is false when there is none.
 */
int build_claim(struct storage *store, uint64_t each, struct build_record *out, bool *found,
                struct error *err) MUST_CHECK ON(worker_thread);
/* What is known meanwhile; SLICE_NONE leaves a column as it is. (2) */
struct build_progress {
    int64_t id, epoch;
    struct slice commit, builder, builder_digest, stages, facts, tags, input_key;
    int64_t log_size; /* -1: as it is */
};
int build_progress_put(struct storage *store, const struct build_progress *progress,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* All of these tags stand for an image that is here. */
struct build_tagging {
    struct slice repository;
    struct digest image;
    const struct slice *names;
    size_t count;
    const struct actor *actor;
};
/* Whether they could move now. PROTECTED  one of them may not */
int build_tags_check(struct storage *store, const struct build_tagging *tags,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* With tags (NULL: none move) the end and all of them are one transaction; PROTECTED  one of them
 * may not move, or the image is gone: nothing was written. CONFLICT, NOT_FOUND: (2) */
struct build_end {
    int64_t id, epoch; /* epoch 0: it was not running */
    enum build_state state;
    struct slice reason, message, stages, facts, result_digest, ended_by;
    int exit_code;
    int64_t layer_size, log_size;
    struct slice attestations; /* SLICE_NONE: nothing is to be published */
    const struct build_tagging *tags;
    const struct audit_event *event;
};
int build_finish(struct storage *store, const struct build_end *end, struct error *err) MUST_CHECK
    ON(worker_thread);
/* A build that waits: CANCELLED, reason CancelledBuild; why: a sentence for its message, or
 * SLICE_NONE. *running: it runs; who cancelled it is written (3), and the event. CONFLICT  has
 * ended. NOT_FOUND */
int build_cancel(struct storage *store, int64_t id, struct slice actor, struct slice why,
                 const struct audit_event *event, bool *running, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Builds that wait longer than they may are CANCELLED, reason QueueTimeout; at most `limit` at a
 * time. out (freed by the caller): which. Spec: 13.49 */
int build_expire(struct storage *store, size_t limit, int64_t **out, size_t *count,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* Who pushed it left while it went on, or waited. NOT_FOUND. Spec: 13.25 */
int build_left(struct storage *store, int64_t id, struct slice actor, struct error *err) MUST_CHECK
    ON(worker_thread);
/* At start: what an earlier process left NEW or RUNNING. Those that somebody had cancelled are
 * CANCELLED (3). again: the others that ran wait anew, the one step back there is; else, and NEW
 * ones, they are ERROR, reason ServerRestarted. Spec: 13.41 */
int build_interrupt(struct storage *store, bool again, size_t *count, struct error *err) MUST_CHECK
    ON(worker_thread);
/* NOT_FOUND */
int build_find(struct storage *store, int64_t id, struct build_record *out,
               struct error *err) MUST_CHECK ON(worker_thread);
struct build_counts {
    uint64_t waiting, running; /* waiting: NEW ones included */
};
int build_count(struct storage *store, struct build_counts *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* How many wait that came before it. Spec: 13.43 */
int build_ahead(struct storage *store, int64_t id, uint64_t *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The newest complete build of these inputs into the repository; *found. Spec: 13.27, 15.3 */
int build_by_key(struct storage *store, struct slice repository, struct slice input_key,
                 struct build_record *out, bool *found, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Newest first, before before_id (0: from the newest). Absent: SLICE_NONE, state -1, filter NULL.
 */
struct build_filter {
    struct slice repository, ref, commit, trigger;
    int state;
    const struct repository_filter *visible;
    int64_t before_id;
    size_t limit;
};
int build_list(struct storage *store, const struct build_filter *filter, struct build_page *out,
               struct error *err) MUST_CHECK ON(worker_thread);
/* Builds that ended and are to go: of each repository all but the newest keep_good complete and
 * keep_bad others, and what ended before `before` (us); at most `limit`, none when nothing is left
 * to do. Their rows go; out (freed by the caller): their ids, whose files are to be removed.
 * Spec: 13.47 */
int build_prune(struct storage *store, uint64_t keep_good, uint64_t keep_bad, int64_t before,
                size_t limit, int64_t **out, size_t *count, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- tags of a push: they move just before its ref does. Spec: s2i 7.10, 13.a --- */

/* All tags stand for the image, or none; where each stood is kept in the same transaction, until
 * build_move_end. So whatever ends the process, the ref tells what to do with them.
 * NOT_FOUND  the repository or the image is gone.  PROTECTED.  CONFLICT  they have moved already */
struct build_move {
    int64_t build;
    struct slice repository, ref, ref_id; /* the push happened when the ref holds ref_id */
    struct digest image;
    const struct slice *tags;
    size_t tag_count;
    const struct actor *actor;
};
int build_move_begin(struct storage *store, const struct build_move *move,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* The ref moved: what was kept is forgotten. Or it did not: tags that still stand where they were
 * moved to go back, whatever protects them by now. Nothing is kept: nothing is done. actor NULL:
 * the server itself. */
int build_move_end(struct storage *store, int64_t build, bool moved, const struct actor *actor,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* What is kept, of builds after `after`, at most `limit`. */
struct build_moves {
    struct build_moved {
        int64_t build;
        char *repository, *ref, *ref_id;
    } * items;
    size_t count;
};
void build_moves_drop(struct build_moves *moves);
int build_move_list(struct storage *store, int64_t after, size_t limit, struct build_moves *out,
                    struct error *err) MUST_CHECK ON(worker_thread);

/* --- what is to stand beside images --- */

struct build_attestation { /* id 0: there is none */
    int64_t id, due_at;    /* us since 1970 */
    int64_t build;         /* 0: of a rebase */
    int64_t account;       /* who asked for the image */
    uint64_t tries;        /* that failed */
    char *repository, *actor;
    char *document; /* as build_end or rebase_image had it */
};
void build_attestation_drop(struct build_attestation *attestation);
/* The one that is due first, whenever that is. */
int build_attestation_next(struct storage *store, struct build_attestation *out,
                           struct error *err) MUST_CHECK ON(worker_thread);
/* It failed, and is due then. */
int build_attestation_later(struct storage *store, int64_t id, int64_t due_at,
                            struct error *err) MUST_CHECK ON(worker_thread);
/* It is published, or given up. */
int build_attestation_done(struct storage *store, int64_t id, struct error *err) MUST_CHECK
    ON(worker_thread);

/* A key that signs provenance: known for ever. Again is nothing. */
int build_key_note(struct storage *store, struct slice kid, struct slice jwk,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* Their JWKs with commas between them, the newest first. */
int build_key_list(struct storage *store, struct buffer *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- configurations --- */

struct build_config {
    int64_t id, created_at, updated_at, version;
    int64_t account; /* who set it last: what starts by itself has his rights; 0: none */
    char *reach;     /* within these scopes, as in struct actor; NULL: all of them */
    char *repository, *spec, *hook;
    bool paused;
};
void build_config_drop(struct build_config *config);
struct build_config_page {
    struct build_config *items;
    size_t count;
    bool more;
};
void build_config_page_drop(struct build_config_page *page);
struct build_config_change {
    struct slice repository, spec;
    const char
        *reach; /* of who changes it, whom the event names; NULL: his token is not narrowed */
    bool paused;
    int64_t if_version;              /* 0 any; -1 it must not exist */
    const struct audit_event *event; /* NULL: none, and nobody */
};
/* PRECONDITION, NOT_FOUND (if_version > 0 and there is none). *created tells which it was. The
 * hook's id is made here, once. */
int build_config_put(struct storage *store, const struct build_config_change *change,
                     struct build_config *out, bool *created, struct error *err) MUST_CHECK
    ON(worker_thread);
/* NOT_FOUND, as the next ones. */
int build_config_find(struct storage *store, struct slice repository, struct build_config *out,
                      struct error *err) MUST_CHECK ON(worker_thread);
int build_config_by_hook(struct storage *store, struct slice hook, struct build_config *out,
                         struct error *err) MUST_CHECK ON(worker_thread);
int build_config_delete(struct storage *store, struct slice repository, int64_t if_version,
                        const struct audit_event *event, struct error *err) MUST_CHECK
    ON(worker_thread);
int build_config_list(struct storage *store, struct slice last,
                      const struct repository_filter *visible, size_t limit,
                      struct build_config_page *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- secrets: written, used, never read back by people --- */

enum build_secret_kind {
    BUILD_SECRET_HOOK = 1, /* what senders of webhooks show, or sign with */
    BUILD_SECRET_SOURCE,
    BUILD_SECRET_FILE,
    BUILD_SECRET_CALLBACK, /* what callbacks are signed with */
    BUILD_SECRET_STATUS,   /* token of the forge whose commits get statuses */
};
struct build_secret {
    int64_t created_at;
    char *name, *value; /* value: wiped when dropped; NULL where only names are listed */
};
struct build_secrets {
    struct build_secret *items;
    size_t count;
};
void build_secrets_drop(struct build_secrets *secrets);
/* At most BUILD_SECRETS_MAX of a kind: CONFLICT above. */
enum { BUILD_SECRETS_MAX = 32, BUILD_SECRET_SIZE_MAX = 64 * 1024 };
int build_secret_put(struct storage *store, int64_t config, enum build_secret_kind kind,
                     struct slice name, struct slice value, const struct audit_event *event,
                     struct error *err) MUST_CHECK ON(worker_thread);
int build_secret_delete(struct storage *store, int64_t config, enum build_secret_kind kind,
                        struct slice name, const struct audit_event *event,
                        struct error *err) MUST_CHECK ON(worker_thread);
int build_secret_list(struct storage *store, int64_t config, enum build_secret_kind kind,
                      bool with_values, struct build_secrets *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- deliveries of webhooks --- */

struct build_delivery {
    int64_t created_at, build;
    char *sender, *delivery, *event, *verdict;
};
struct build_deliveries {
    struct build_delivery *items;
    size_t count;
};
void build_deliveries_drop(struct build_deliveries *deliveries);
/* The build that it started when it came before; 0: none. */
int build_delivery_find(struct storage *store, const struct build_delivery_new *delivery,
                        int64_t *build, struct error *err) MUST_CHECK ON(worker_thread);
/* It started nothing, and why. What build_add noted stays. NOT_FOUND  the configuration */
int build_delivery_put(struct storage *store, const struct build_delivery_new *delivery,
                       struct slice verdict, struct error *err) MUST_CHECK ON(worker_thread);
/* Newest first. */
int build_delivery_list(struct storage *store, int64_t config, size_t limit,
                        struct build_deliveries *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- what others are still to be told --- */

/* Rows are made with their build and change with its state, in the same transactions: an end that
 * is durable will be told, whatever the process comes to. Spec: 11.1, 13.48 */
enum build_message_kind {
    BUILD_CALLBACK = 1, /* of its end */
    BUILD_STATUS,       /* of every state, the newest alone */
};
struct build_message {
    int64_t id, build;
    enum build_message_kind kind;
    enum build_state state; /* what is to be told */
    unsigned tries;         /* that failed */
    char *destination, *repository;
    char *called; /* the repository's name, also while it is deleted */
};
void build_message_drop(struct build_message *message);
/* A build that goes on has it wait again. */
enum build_message_outcome {
    BUILD_MESSAGE_WAITING,
    BUILD_MESSAGE_DELIVERED,
    BUILD_MESSAGE_GIVEN_UP,
    BUILD_MESSAGE_NEEDLESS, /* there was nothing to tell */
};
struct build_message_query {
    int64_t now;
    bool (*busy)(void *arg, struct slice destination, struct slice repository);
    void *arg;
};
struct build_message_queue {
    uint64_t waiting; /* now or later */
    int64_t next_due; /* of the first that is due later (us); 0: none is */
};
/* The one that is due longest, of those that busy does not hold back; id 0: none is. */
int build_message_next(struct storage *store, const struct build_message_query *query,
                       struct build_message *out, struct build_message_queue *queue,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* What came of a try. Should its build have gone on meanwhile, it stays due. */
struct build_message_try {
    enum build_message_outcome outcome;
    int64_t again_at;     /* of one that waits (us) */
    int answer;           /* a status of HTTP; 0: none came */
    struct slice problem; /* or SLICE_NONE */
};
int build_message_settle(struct storage *store, const struct build_message *message,
                         const struct build_message_try *came, struct error *err) MUST_CHECK
    ON(worker_thread);
/* A status that could not be told so far, for its commit was not known, is due. */
int build_message_stir(struct storage *store, int64_t build, struct error *err) MUST_CHECK
    ON(worker_thread);
/* All but the newest `most` are given up; how many were. */
int build_message_trim(struct storage *store, uint64_t most, uint64_t *count,
                       struct error *err) MUST_CHECK ON(worker_thread);

/* How a message of a build stands. */
struct build_told {
    enum build_message_kind kind;
    enum build_state state;
    enum build_message_outcome outcome;
    unsigned tries;
    int answer;
    int64_t tried_at, due_at; /* 0: not yet; nobody knows */
    char *destination, *problem;
};
struct build_told_list {
    struct build_told items[BUILD_STATUS]; /* one a kind */
    size_t count;
};
void build_told_drop(struct build_told_list *told);
int build_told_list(struct storage *store, int64_t build, struct build_told_list *out,
                    struct error *err) MUST_CHECK ON(worker_thread);

#endif
