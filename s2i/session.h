/* session.h - shared by session.c (one build), session_source.c and session_images.c (what it is
 * made of), session_plan.c (builds that are only asked about), settle.c (what it may), attest.c
 * (what stands beside it), verify.c (which images it had before), talk.c (the words with its
 * builder) and told.c (what is recorded and said of it).
 * Touches  nothing.
 * Never    included from outside s2i/. */
#ifndef SLIPWAY_S2I_SESSION_H
#define SLIPWAY_S2I_SESSION_H

#include <jansson.h>

#include "s2i/s2i_internal.h"
#include "storage/storage.h"

struct session {
    struct build_task *task;
    struct build_outcome *out;
    struct s2i_spec spec;
    struct s2i_result result;
    int source;  /* the tar; -1: none */
    int channel; /* -1: none */
    struct publisher publisher;
    struct arrival arrival;
    json_t *stages;    /* array; the last one may be open */
    json_t *facts;     /* object */
    uint64_t stage_ms; /* when the open stage began */
    uint64_t told_ms;  /* when the row was written last */
    bool untold;       /* something was too soon after that */
    uint64_t begun_ms;
    char input_key[65];
    struct build_record verified; /* verify.c: the build that is made again; id 0: none is */
    bool failed;                  /* out says why */
    bool reused;
};

#define SAY(session, ...)                                                                          \
    do {                                                                                           \
        if ((session)->task->log != NULL)                                                          \
            build_log_print((session)->task->log, __VA_ARGS__);                                    \
    } while (0)

/* --- session.c --- */

void session_start(struct session *session, struct build_task *task, struct build_outcome *out,
                   enum s2i_mode mode);
/* From the source to the image that is published; plans end before that. */
int session_steps(struct session *session) MUST_CHECK ON(worker_thread);
/* Fills the outcome's texts; what the session holds is given back. */
void session_finish(struct session *session) ON(worker_thread);
/* Appends a value, which it takes. */
void session_text_keep(struct buffer *out, json_t *value);
/* "sha256:" and the first digits, for people. */
void session_say_digest(const struct digest *digest, char out[DIGEST_TEXT_MAX]);

/* --- session_source.c --- */

int session_fetch(struct session *session) MUST_CHECK ON(worker_thread);
/* The builder that the table of patterns gives for this source; NULL: none. Spec: 15.7 */
const char *session_detected(const struct session *session);

/* --- session_images.c --- */

/* Builder, runtime and previous image, by digest and pinned. (2) of s2i.h */
int session_images_take(struct session *session) MUST_CHECK ON(worker_thread);
/* The builder's stays for who builds next with it, until it runs out. */
void session_images_release(struct session *session) ON(worker_thread);

/* --- told.c --- */

/* The first failure counts. Returns -1. */
int session_fail(struct session *session, enum build_state state, const char *reason,
                 const char *format, ...) PRINTF_LIKE(4, 5);
/* With the message of an error: ERROR for what is ours, FAILED for what is the source's. */
int session_fail_by(struct session *session, const char *reason, const struct error *err);
/* Whether the build is to stop; then it has failed. */
bool session_stopped(struct session *session);
void session_stage_begin(struct session *session, const char *name) ON(worker_thread);
void session_stage_end(struct session *session);
/* A stage as the builder tells it. */
void session_stage_told(struct session *session, struct slice json) ON(worker_thread);
/* Writes what is known into the row; force: even when that was done a moment ago. */
void session_tell(struct session *session, bool force) ON(worker_thread);
/* In how many ms something that was too soon is to be told; -1: there is nothing. */
int session_untold_ms(const struct session *session);
void session_facts_of_source(struct session *session);
/* Its commit is known: who waits for that to show a status of it is told. */
void session_commit_known(struct session *session) ON(worker_thread);
/* By which digests it stands on images that no column names. */
void session_facts_of_images(struct session *session);
void session_facts_of_result(struct session *session);

/* --- settle.c --- */

/* Once the source is known: options, limits, network, secrets. */
int session_settle(struct session *session) MUST_CHECK ON(worker_thread);

/* --- verify.c --- */

/* What a verification is about is read; any other build passes. */
int session_verify_begin(struct session *session) MUST_CHECK ON(worker_thread);
/* "builder", "runtime", "previous" or "inputs", of which there are several, by name: the digest
 * that the build had it by, when this one is to have the same: "" when it had none, NULL when this
 * is no verification. The caller's. */
char *session_verify_image(const struct session *session, const char *which, const char *name);

/* --- attest.c --- */

/* The image is there: what is to stand beside it is written and signed, to be published later. */
void session_attest(struct session *session, const struct published *image) ON(worker_thread);

/* --- talk.c --- */

/* Takes a slot, gives the spec over, and does what the builder asks until its result is here. */
int session_talk(struct session *session) MUST_CHECK ON(worker_thread);

#endif
