/* moving.c - the refs of a push move, and the tags of its images with them.
 * Touches  builds' tags, HEAD, the audit.
 * Never    lets a ref move that was not judged, or leaves a tag that moved without its ref.
 *
 * Git asks before each transaction ("prepared": the refs are locked and where they should be), and
 * tells how it ended. Whatever kills git between the two, the end looks at the refs themselves;
 * what kills the server, its next start (settle.c). Spec: s2i 13.a, 7.10 */
#include <stdlib.h>
#include <string.h>

#include "registry/core/log.h"
#include "registry/git/git_internal.h"

static struct pushed_ref *ref_named(struct session *session, struct slice name)
{
    for (size_t i = 0; session->refs != NULL && i < session->push.count; i++)
        if (slice_equal_text(name, session->refs[i].command->ref))
            return &session->refs[i];
    return NULL;
}

/* "<old> <new> <ref>" */
static bool line_read(struct slice *text, struct slice *new, struct slice *ref)
{
    struct slice line, old;

    slice_split(*text, '\n', &line, text);
    slice_split(line, ' ', &old, &line);
    return slice_split(line, ' ', new, ref);
}

/* Its tags stay with a ref that moved, and go back without it. What fails here is done at the next
 * start: settle.c */
static void tags_settle(struct session *session, struct pushed_ref *ref) ON(worker_thread)
{
    const struct actor actor = session_actor(session);
    struct error err = {0};

    if (!ref->tags_moved)
        return;
    ref->tags_moved = false;
    if (build_move_end(session->git->options.storage, ref->id, ref->moved, &actor, &err) < 0)
        log_event(LOG_ERROR, "git.tags_kept", F_TEXT("repository", session->repository),
                  F_I64("build", ref->id), F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
}

/* A repository's first branch becomes what a clone checks out, as soon as it is there: who pushed
 * it may ask before git has ended. What fails here is done then: settle_head. */
static void first_head(const struct session *session)
{
    char now[PUSH_REF_SIZE_MAX], ignored[GIT_OID_SIZE + 1];
    struct error err = {0};

    if (repository_head(session->path, now) && strcmp(now, session->default_ref) != 0 &&
        !repository_ref(session->path, now, ignored) &&
        repository_head_put(session->path, session->default_ref, &err) < 0)
        error_clear(&err);
}

static int prepare(struct session *session, struct slice new, struct slice name, struct error *err)
    ON(worker_thread)
{
    const struct actor actor = session_actor(session);
    struct pushed_ref *ref = ref_named(session, name);

    if (slice_equal_text(name, "HEAD"))
        return 0; /* goes with its branch */
    if (ref == NULL || ref->state != REF_ACCEPTED || !slice_equal_text(new, ref->command->new))
        return error_set(err, ERROR_DENIED, "a ref is to move that was not judged");
    if (slice_equal_text(name, session->default_ref))
        first_head(session);
    if (!ref->held || ref->tags_moved)
        return 0;
    if (builds_move_tags(session->git->options.builds, ref->id, name, new, &actor, err) < 0)
        return -1;
    ref->tags_moved = true;
    return 0;
}

static void aborted(struct session *session, struct slice text) ON(worker_thread)
{
    struct slice new, name;

    while (text.size > 0)
        if (line_read(&text, &new, &name)) {
            struct pushed_ref *ref = ref_named(session, name);
            if (ref != NULL && !ref->moved)
                tags_settle(session, ref);
        }
}

static void note_refusal(struct session *session, const struct error *err)
{
    pthread_mutex_lock(&session->git->lock);
    memcpy(session->refusal, err->message, sizeof(session->refusal));
    pthread_mutex_unlock(&session->git->lock);
}

static void prepared(struct session *session, struct slice text) ON(worker_thread)
{
    struct slice rest = text, new, name;
    struct error err = {0};
    int outcome = 0;

    if (!session_repository_stands(session))
        outcome = error_set(&err, ERROR_DENIED, "the repository was deleted meanwhile");
    while (outcome == 0 && rest.size > 0)
        if (line_read(&rest, &new, &name))
            outcome = prepare(session, new, name, &err);
    if (outcome < 0) {
        log_event(LOG_WARNING, "git.refused", F_TEXT("request_id", session->request_id),
                  F_TEXT("repository", session->repository), F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
        note_refusal(session, &err);
        aborted(session, text);
    }
    session_send(session, HOOK_VERDICT, slice_of(outcome < 0 ? err.message : ""), -1, false);
}

static void committed(struct session *session, struct slice text)
{
    struct slice new, name;

    while (text.size > 0)
        if (line_read(&text, &new, &name)) {
            struct pushed_ref *ref = ref_named(session, name);
            if (ref != NULL && slice_equal_text(new, ref->command->new))
                ref->moved = true;
        }
}

void moving_told(struct session *session, struct slice text)
{
    struct slice state;

    slice_split(text, '\n', &state, &text);
    if (slice_equal_text(state, "prepared"))
        prepared(session, text);
    else if (slice_equal_text(state, "committed"))
        committed(session, text);
    else if (slice_equal_text(state, "aborted"))
        aborted(session, text);
}

/* --- the end --- */

static struct audit_event event_of(const struct session *session, const struct pushed_ref *ref,
                                   struct slice target, struct buffer *detail)
{
    const struct push_command *command = ref->command;
    const struct actor actor = session_actor(session);

    buffer_append_text(detail, "{\"ref\":");
    buffer_append_json(detail, slice_of(command->ref));
    buffer_print(detail, ",\"old\":\"%s\",\"new\":\"%s\",\"build\":%lld}", command->old,
                 command->new, (long long)ref->id);
    return (struct audit_event){
        .actor = actor.name.at == NULL ? SLICE("") : actor.name,
        .actor_id = actor.account,
        .action = SLICE("git.push"),
        .target = target,
        .outcome = ref->moved ? SLICE("done") : SLICE("refused"),
        .remote = slice_of(session->remote),
        .request_id = slice_of(session->request_id),
        .detail = buffer_slice(detail),
    };
}

/* Refs that moved are written down before the push ends; refusals, and what cannot be written now,
 * soon. */
static void write_down(const struct session *session) ON(worker_thread)
{
    struct storage *store = session->git->options.storage;
    const size_t count = session->refs == NULL ? 0 : session->push.count;
    OWNED(memory_drop) struct audit_event *done = memory_new((count + 1) * sizeof(*done));
    OWNED(memory_drop) struct buffer *details = memory_new((count + 1) * sizeof(*details));
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    size_t moved = 0;
    struct error err = {0};

    buffer_print(&target, "repository/%s", session->repository);
    for (size_t i = 0; i < count; i++) {
        const struct pushed_ref *ref = &session->refs[i];
        const struct audit_event event = event_of(session, ref, buffer_slice(&target), &details[i]);
        if (ref->moved)
            done[moved++] = event;
        else
            audit_note(store, &event);
    }
    if (audit_put(store, done, moved, &err) < 0) {
        log_event(LOG_ERROR, "git.audit", F_TEXT("repository", session->repository),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
        for (size_t i = 0; i < moved; i++)
            audit_note(store, &done[i]);
    }
    for (size_t i = 0; i < count; i++)
        buffer_drop(&details[i]);
}

/* A build that nobody waited for, of a ref that did not move after all. */
static void undo_async(struct session *session, struct pushed_ref *ref) ON(worker_thread)
{
    const struct actor actor = session_actor(session);
    struct error err = {0};

    if (ref->id == 0 || ref->held || ref->moved)
        return;
    if (builds_cancel(session->git->options.builds, ref->id, actor.name,
                      SLICE("the push was refused"), NULL, &err) < 0)
        log_event(LOG_WARNING, "git.cancel", F_I64("build", ref->id),
                  F_TEXT("reason", err.message));
}

/* Whatever was told: git may have been killed before, or be somebody else's by now. Nobody moved
 * them since, for the turn is ours. */
static void find_moved(struct session *session)
{
    OWNED(memory_drop)
    struct held_ref *held = memory_new(session->push.count * sizeof(*held));
    OWNED(memory_drop) char **stand = memory_new(session->push.count * sizeof(*stand));
    size_t count = 0, at = 0, standing = 0;

    for (size_t i = 0; i < session->push.count; i++)
        if (session->refs[i].state == REF_ACCEPTED)
            held[count++].ref = session->refs[i].command->ref;
    repository_refs_find(session->path, held, count);
    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        int is = ref->state == REF_ACCEPTED ? held_ref_is(&held[at++], ref->command->new) : 0;
        if (is > 0)
            stand[standing++] = ref->command->ref;
        ref->moved = is > 0 || (is < 0 && ref->moved); /* git told, where it cannot be read */
    }
    repository_refs_sync(session->path, stand, standing);
}

static bool settle_refs(struct session *session) ON(worker_thread)
{
    bool dirty = session->refs == NULL;

    if (session->refs != NULL)
        find_moved(session);
    for (size_t i = 0; session->refs != NULL && i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        tags_settle(session, ref);
        undo_async(session, ref);
        dirty |= !ref->moved || oid_is_none(ref->command->new);
    }
    write_down(session);
    return dirty;
}

/* What a clone checks out: the configuration may name another branch, that is there by now. */
static void settle_head(const struct session *session)
{
    char now[PUSH_REF_SIZE_MAX], ignored[GIT_OID_SIZE + 1];
    struct error err = {0};

    if (session->default_ref[0] == 0 ||
        (repository_head(session->path, now) && strcmp(now, session->default_ref) == 0))
        return;
    if (repository_ref(session->path, session->default_ref, ignored) &&
        repository_head_put(session->path, session->default_ref, &err) < 0)
        log_event(LOG_WARNING, "git.head", F_TEXT("repository", session->repository),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
}

static void give_turn(struct session *session)
{
    struct place *place = session->place;
    struct git *git = session->git;

    pthread_mutex_lock(&git->lock);
    for (struct session **at = &place->first; *at != NULL; at = &(*at)->waiting_next)
        if (*at == session) {
            if ((*at = session->waiting_next) == NULL)
                place->last = at;
            break;
        }
    if (place->turn == session) {
        place->turn = place->first;
        if (place->turn != NULL) {
            if ((place->first = place->turn->waiting_next) == NULL)
                place->last = &place->first;
            session_post(place->turn, EVENT_TURN);
        }
    }
    pthread_mutex_unlock(&git->lock);
}

void moving_over(struct session *session)
{
    building_cancel(session, "the push ended");
    bool dirty = settle_refs(session);
    if (session->asked)
        settle_head(session);
    give_turn(session);
    place_leave(session->git, session->place, dirty);
    session->place = NULL;
}
