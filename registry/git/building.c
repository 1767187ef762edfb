/* building.c - the refs of a push, built one after another; then the report.
 * Touches  builds, by way of s2i.h; the session.
 * Never    moves a ref or a tag. Spec: s2i 13.7, 13.23 to 13.26, 13.43 */
#include <stdlib.h>
#include <string.h>

#include "registry/config.h"
#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/git/git_internal.h"
#include "registry/git/packet.h"
#include "s2i/log.h"

enum { LOOK_FIRST_MS = 5, LOOK_MAX_MS = 250, MOVE_MS = 10 * 60 * 1000 };

static struct pushed_ref *current(struct session *session)
{
    return session->at < session->push.count ? &session->refs[session->at] : NULL;
}

/* --- the end of a build --- */

/* Told on a thread of builds', also long after the session has gone. */
struct waiter {
    pthread_mutex_t lock;
    struct session *session; /* under lock; NULL: it has gone */
    int holders;             /* under lock */
};

static void waiter_release(struct waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    bool last = --waiter->holders == 0;
    pthread_mutex_unlock(&waiter->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&waiter->lock);
    free(waiter);
}

static void build_ended(void *arg, const struct build_record *record)
{
    struct waiter *waiter = arg;

    pthread_mutex_lock(&waiter->lock);
    struct session *session = waiter->session;
    if (session != NULL) {
        pthread_mutex_lock(&session->git->lock);
        session->built.state = record->state;
        session->built.ran = record->started_at != 0;
        snprintf(session->built.reason, sizeof(session->built.reason), "%s", record->reason);
        snprintf(session->built.message, sizeof(session->built.message), "%s", record->message);
        session_post(session, EVENT_BUILT);
        pthread_mutex_unlock(&session->git->lock);
    }
    pthread_mutex_unlock(&waiter->lock);
    waiter_release(waiter);
}

static void forget(struct session *session)
{
    struct waiter *waiter = TAKE(session->waiter);

    if (waiter == NULL)
        return;
    pthread_mutex_lock(&waiter->lock);
    waiter->session = NULL;
    pthread_mutex_unlock(&waiter->lock);
    waiter_release(waiter);
}

static int wait_for(struct session *session, int64_t id, struct error *err) ON(worker_thread)
{
    struct waiter *waiter = memory_new(sizeof(*waiter));

    pthread_mutex_init(&waiter->lock, NULL);
    waiter->session = session;
    waiter->holders = 2;
    session->waiter = waiter;
    if (builds_when_ended(session->git->options.builds, id, build_ended, waiter, err) == 0)
        return 0;
    waiter_release(waiter); /* nobody will tell */
    forget(session);
    return -1;
}

/* --- its log --- */

static void look_later(struct session *session)
{
    struct git *git = session->git;
    uint64_t pause = session->look_pause_ms;

    session->look_pause_ms = pause * 2 > LOOK_MAX_MS ? LOOK_MAX_MS : pause * 2;
    pthread_mutex_lock(&git->lock);
    session->look_ms = clock_monotonic_ms() + pause;
    pthread_mutex_unlock(&git->lock);
    room_wake(git);
}

static bool log_follow(struct session *session, int64_t id)
{
    const struct log_follow wish = {.id = id, .offset = 0, .form = LOG_TEXT, .follow = true};
    OWNED(fd_drop) int fd = -1;
    struct error err = {0};

    if (build_log_follow(builds_logs(session->git->options.builds), &wish, &fd, &err) < 0)
        return false;
    session->following = true;
    session_send(session, HOOK_FOLLOW, SLICE_NONE, fd, false);
    return true;
}

/* Spec: 13.43 */
static void say_ahead(struct session *session, int64_t id) ON(worker_thread)
{
    struct error err = {0};
    uint64_t ahead;

    if (build_ahead(session->git->options.storage, id, &ahead, &err) < 0 || ahead == session->ahead)
        return;
    session->ahead = ahead;
    if (ahead > 0)
        session_say(session, "waiting for build %lld (%llu ahead)", (long long)id,
                    (unsigned long long)ahead);
    else
        session_say(session, "waiting for build %lld: it is the next", (long long)id);
}

void building_look(struct session *session)
{
    const struct pushed_ref *ref = current(session);

    if (ref == NULL || session->following || session->waiter == NULL ||
        log_follow(session, ref->id))
        return;
    if (session->look_pause_ms >= LOOK_MAX_MS)
        say_ahead(session, ref->id);
    look_later(session);
}

/* --- one ref --- */

/* One of a push that is to be whole failed: none of the others moves. Spec: 13.24 */
static void atomic_settle(struct session *session)
{
    bool refused = false;

    for (size_t i = 0; i < session->push.count; i++)
        refused |= session->refs[i].state == REF_REFUSED;
    for (size_t i = 0; session->push.atomic && refused && i < session->push.count; i++)
        if (session->refs[i].state != REF_REFUSED)
            ref_refuse(&session->refs[i], "atomic push: another ref was refused");
}

static bool is_async(const struct session *session)
{
    const char *mode = session->options.push_mode;

    if (session->wishes.async || session->wishes.wait)
        return session->wishes.async;
    return mode != NULL && strcmp(mode, "accept") == 0;
}

static int submit(struct session *session, struct pushed_ref *ref, struct error *err)
    ON(worker_thread)
{
    const struct actor actor = session_actor(session);
    OWNED(memory_drop) struct slice *tags = memory_new(ref->tags.count * sizeof(*tags));
    const struct build_request request = {
        .repository = slice_of(session->repository),
        .source = BUILD_FROM_PUSH,
        .trigger = SLICE("push"),
        .actor = &actor,
        .actor_name = actor.name,
        .options = &session->options,
        .url = SLICE(""),
        .ref = slice_of(ref->command->ref),
        .commit = slice_of(ref->commit),
        .tags = tags,
        .tag_count = ref->tags.count,
        .hold_tags = !is_async(session),
        .archive = -1,
    };

    for (size_t i = 0; i < ref->tags.count; i++)
        tags[i] = slice_of(ref->tags.items[i]);
    if (builds_submit(session->git->options.builds, &request, &ref->id, err) < 0)
        return -1;
    ref->held = request.hold_tags;
    return repository_pin(session->path, ref->id, ref->commit, err);
}

/* --- its first line. Spec: 13.26 --- */

enum { NAMES = 3 };

/* What is too long keeps its end, of the longest first. */
static void names_cut(struct slice names[NAMES], size_t room)
{
    size_t sum = names[0].size + names[1].size + names[2].size;

    for (; sum > room; sum--) {
        size_t longest = 0;
        for (size_t i = 1; i < NAMES; i++)
            if (names[i].size > names[longest].size)
                longest = i;
        names[longest] = slice_from(names[longest], 1);
    }
}

/* "build 7: main to team/app:latest, builders/x@sha256:0123456789ab"; the builder is left out where
 * the source has to say which: the log tells. */
static void say_begun(struct session *session, const struct pushed_ref *ref,
                      const struct build_record *record)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    struct slice digest = slice_of(record->builder_digest);
    bool known = digest.size > 0 && record->builder[0] != 0;
    int number = snprintf(NULL, 0, "build %lld:  to ", (long long)ref->id);

    if (digest.size > sizeof("sha256:") - 1 + 12)
        digest.size = sizeof("sha256:") - 1 + 12;
    buffer_print(&target, "%s:%s", session->repository,
                 ref->tags.count == 0 ? "" : ref->tags.items[0]);
    struct slice names[NAMES] = {ref_short(ref->command->ref), buffer_slice(&target),
                                 known ? slice_of(record->builder) : SLICE("")};
    names_cut(names, SAID_COLUMNS - (size_t)number - (known ? digest.size + sizeof(", @") - 1 : 0));
    session_say(session, "build %lld: %.*s to %.*s%s%.*s%s%.*s", (long long)ref->id,
                SLICE_ARG(names[0]), SLICE_ARG(names[1]), known ? ", " : "", SLICE_ARG(names[2]),
                known ? "@" : "", SLICE_ARG(digest));
}

static void say_record(struct session *session, const struct pushed_ref *ref) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {0};
    struct error err = {0};

    if (build_find(session->git->options.storage, ref->id, &record, &err) == 0)
        say_begun(session, ref, &record);
    else
        session_say(session, "build %lld", (long long)ref->id);
}

static void say_async(struct session *session, const struct pushed_ref *ref) ON(worker_thread)
{
    say_record(session, ref);
    session_say(session, "build %lld goes on without this push:", (long long)ref->id);
    session_say(session, "%s/api/v1/builds/%lld", session->address, (long long)ref->id);
}

/* Who does not wait for the end stands in the build's record. Spec: 13.25 */
static void note_left(const struct session *session, int64_t id) ON(worker_thread)
{
    struct error err = {0};

    if (build_left(session->git->options.storage, id, session_actor(session).name, &err) < 0)
        log_event(LOG_WARNING, "git.left", F_I64("build", id), F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
}

/* Nobody would wait for it, and no tag is to move by it. */
static void give_up(struct session *session, const struct pushed_ref *ref) ON(worker_thread)
{
    const struct actor actor = session_actor(session);
    struct error ignored = {0}; /* it has ended, then */

    if (ref->id != 0 && builds_cancel(session->git->options.builds, ref->id, actor.name,
                                      SLICE("the push was refused"), NULL, &ignored) < 0)
        error_clear(&ignored);
}

/* True when it has to be waited for. */
static bool build_begin(struct session *session, struct pushed_ref *ref) ON(worker_thread)
{
    struct error err = {0};

    if (submit(session, ref, &err) < 0) {
        give_up(session, ref);
        session_say(session, "-----> %.*s cannot be built: %s",
                    SLICE_ARG(ref_short(ref->command->ref)), err.message);
        ref_refuse(ref, "%s", err.message);
        return false;
    }
    if (!ref->held) {
        say_async(session, ref);
        ref->state = REF_ACCEPTED;
        return false;
    }
    say_record(session, ref);
    if (session->deserted)
        note_left(session, ref->id);
    session->following = false;
    session->look_pause_ms = LOOK_FIRST_MS;
    session->ahead = UINT64_MAX;
    if (wait_for(session, ref->id, &err) < 0) {
        give_up(session, ref);
        ref_refuse(ref, "build %lld: %s", (long long)ref->id, err.message);
        return false;
    }
    building_look(session);
    return true;
}

static const char *said(enum build_state state)
{
    return state == BUILD_CANCELLED ? "was cancelled" : "failed";
}

/* The log of a build that began ends with its reason. */
static void say_failure(struct session *session, const struct pushed_ref *ref)
{
    session_say(session, "-----> Build %lld %s: %.*s stays as it was", (long long)ref->id,
                said(session->built.state), SLICE_ARG(ref_short(ref->command->ref)));
    if (!session->built.ran)
        session_say(session, "       %s: %s", session->built.reason, session->built.message);
}

void building_ended(struct session *session)
{
    struct pushed_ref *ref = current(session);

    if (ref == NULL || ref->state != REF_ASKED || session->waiter == NULL)
        return;
    forget(session);
    if (!session->following)
        log_follow(session, ref->id);
    if (session->built.state == BUILD_COMPLETE) {
        ref->state = REF_ACCEPTED;
    } else {
        ref_refuse(ref, "build %lld %s%s%s", (long long)ref->id, said(session->built.state),
                   session->built.reason[0] == 0 ? "" : ": ", session->built.reason);
        say_failure(session, ref);
    }
    session->at++;
    building_next(session);
}

/* --- all of them --- */

static void report(struct session *session)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    for (size_t i = 0; i < session->push.count; i++) {
        const struct pushed_ref *ref = &session->refs[i];
        push_verdict_append(&text, ref->command->ref,
                            ref->state == REF_ACCEPTED ? NULL : ref->reason);
    }
    packet_append_flush(&text);
    session->reported = true;
    pthread_mutex_lock(&session->git->lock); /* what is left takes moments */
    session->service->deadline_ms = clock_monotonic_ms() + MOVE_MS;
    pthread_mutex_unlock(&session->git->lock);
    session_send(session, HOOK_REPORT, buffer_slice(&text), -1, true);
}

void building_next(struct session *session)
{
    if (session->called_off)
        return;
    atomic_settle(session);
    for (; session->at < session->push.count; session->at++) {
        struct pushed_ref *ref = &session->refs[session->at];
        if (ref->state != REF_ASKED)
            continue;
        if (!ref->build)
            ref->state = REF_ACCEPTED;
        else if (build_begin(session, ref))
            return;
        else
            atomic_settle(session);
    }
    plan_again(session);
    atomic_settle(session);
    report(session);
}

/* --- the pusher went --- */

void building_cancel(struct session *session, const char *reason)
{
    struct builds *builds = session->git->options.builds;
    const struct actor actor = session_actor(session);
    struct pushed_ref *ref = session->refs == NULL ? NULL : current(session);
    struct error err = {0};

    if (ref == NULL || ref->id == 0 || session->waiter == NULL)
        return;
    forget(session);
    if (builds_cancel(builds, ref->id, actor.name, slice_of(reason), NULL, &err) < 0)
        log_event(LOG_DEBUG, "git.cancel", F_I64("build", ref->id), F_TEXT("reason", err.message));
}

/* Unless the configuration says that a push goes on, it is as if it had never been: no ref moves.
 * What was reported already is through, but for milliseconds. Spec: 13.25 */
void building_gone(struct session *session)
{
    const struct pushed_ref *ref = session->refs == NULL ? NULL : current(session);
    const char *policy = session->options.on_disconnect;
    bool goes_on = policy != NULL && strcmp(policy, "continue") == 0;

    log_event(LOG_INFO, "git.left", F_TEXT("request_id", session->request_id),
              F_TEXT("repository", session->repository),
              F_SLICE("actor", session_actor(session).name),
              F_TEXT("policy", goes_on ? "continue" : "cancel"));
    if (session->reported)
        return;
    bool stopped = atomic_load(session->git->options.draining);
    session->deserted = !stopped;
    if (session->deserted && ref != NULL && ref->id != 0 && session->waiter != NULL)
        note_left(session, ref->id);
    if (goes_on)
        return;
    session->called_off = true;
    pthread_mutex_lock(&session->git->lock);
    service_end(session->service);
    pthread_mutex_unlock(&session->git->lock);
    building_cancel(session, stopped ? "the server was stopped" : "the pusher left");
    room_wake(session->git);
}
