/* judge.c - what a push may, and what is to be built of it, before anything is.
 * Touches  the session; storage: the repository's configuration.
 * Never    builds. Spec: s2i 13.12, 13.21 to 13.24 */
#include <stdlib.h>
#include <string.h>

#include "registry/config.h"
#include "registry/core/json.h"
#include "registry/git/git_internal.h"

static bool brings(const struct pushed_ref *ref)
{
    return !oid_is_none(ref->command->new);
}

/* The whole push is refused: with words, and every ref with a reason. */
static void refuse_all(struct session *session, const char *reason)
{
    for (size_t i = 0; i < session->push.count; i++)
        if (session->refs[i].state != REF_REFUSED)
            ref_refuse(&session->refs[i], "%s", reason);
}

/* --- the beginning --- */

/* True when it is this push's turn; else it is told when it is. */
static bool turn_take(struct session *session)
{
    struct git *git = session->git;
    struct place *place = session->place;

    pthread_mutex_lock(&git->lock);
    bool ours = place->turn == NULL;
    if (ours) {
        place->turn = session;
    } else {
        session->waiting_next = NULL;
        *place->last = session;
        place->last = &session->waiting_next;
    }
    pthread_mutex_unlock(&git->lock);
    return ours;
}

void judge_begin(struct session *session, struct slice text)
{
    struct error err = {0};

    if (session->refs != NULL)
        return; /* one hook asks once */
    if (push_request_parse(text, &session->push, &err) < 0) {
        session_say(session, "%s", err.message);
        session_send(session, HOOK_REPORT, SLICE_NONE, -1, true);
        return;
    }
    session->refs = memory_new((session->push.count + 1) * sizeof(*session->refs));
    for (size_t i = 0; i < session->push.count; i++)
        session->refs[i].command = &session->push.commands[i];
    if (turn_take(session))
        judge_turn(session);
    else
        session_say(session, "waiting for another push to %s", session->repository);
}

/* --- by name, options, and where the refs stand --- */

static void judge_ref(const struct session *session, struct pushed_ref *ref,
                      const struct held_ref *held)
{
    const struct push_command *command = ref->command;

    if (held_ref_is(held, command->old) <= 0)
        ref_refuse(ref, held->state < 0 ? "it cannot be read" : "fetch first: it moved meanwhile");
    else if (!brings(ref) && ref_protected(&session->options, command->ref))
        ref_refuse(ref, "protected: it may not be deleted");
}

static void judge_refs(struct session *session)
{
    size_t count = 0;
    OWNED(memory_drop)
    struct held_ref *held = memory_new(session->push.count * sizeof(*held));

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        const char *objection = ref_objection(ref->command->ref);
        if (ref->state != REF_REFUSED && objection != NULL)
            ref_refuse(ref, "%s", objection);
        if (ref->state != REF_REFUSED)
            held[count++].ref = ref->command->ref;
    }
    repository_refs_find(session->path, held, count);
    for (size_t i = 0, at = 0; at < count; i++)
        if (session->refs[i].state != REF_REFUSED)
            judge_ref(session, &session->refs[i], &held[at++]);
}

/* "refs/heads/a" and "refs/heads/a/b": the one is a file, the other lies in a folder of its name.
 */
static bool nests(const char *outer, const char *inner)
{
    size_t size = strlen(outer);

    return strncmp(inner, outer, size) == 0 && inner[size] == '/';
}

static bool collides(const struct pushed_ref *ref, const char *other)
{
    return nests(ref->command->ref, other) || nests(other, ref->command->ref);
}

static void refuse_beside(struct pushed_ref *ref, const char *other)
{
    ref_refuse(ref, "it cannot be beside %.60s", other);
}

static bool goes(const struct session *session, const char *name)
{
    for (size_t i = 0; i < session->push.count; i++)
        if (!brings(&session->refs[i]) && strcmp(session->refs[i].command->ref, name) == 0)
            return true;
    return false;
}

/* Git would say so only when it locks them, after they were built. */
static void judge_names(struct session *session)
{
    OWNED(s2i_list_drop) struct s2i_list present = {0};

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        if (!brings(ref) || !oid_is_none(ref->command->old))
            continue;
        if (present.count == 0)
            repository_refs(session->path, PRESENT_MAX, &present);
        for (size_t j = 0; j < present.count && ref->state != REF_REFUSED; j++)
            if (collides(ref, present.items[j]) && !goes(session, present.items[j]))
                refuse_beside(ref, present.items[j]);
        for (size_t j = 0; j < i && ref->state != REF_REFUSED; j++)
            if (brings(&session->refs[j]) && collides(ref, session->refs[j].command->ref))
                refuse_beside(ref, session->refs[j].command->ref);
    }
}

static int wishes_apply(struct session *session, struct error *err)
{
    struct push_wishes *wishes = &session->wishes;
    struct s2i_options *options = &session->options;
    const struct s2i_hosts hosts =
        s2i_hosts_of(session->git->options.config->server_public_url, slice_of(session->called));

    if (wishes->env.count > 0 && !options->allow_push_env)
        return error_set(err, ERROR_DENIED,
                         "the push option env is not allowed here: "
                         "the option allow_push_env opens it");
    OWNED(json_drop) json_t *object = json_object();
    if (wishes->builder != NULL)
        json_object_set_new(object, "builder", json_string(wishes->builder));
    if (wishes->env.count > 0) {
        json_t *list = json_array();
        for (size_t i = 0; i < wishes->env.count; i++)
            json_array_append_new(list, json_string(wishes->env.items[i]));
        json_object_set_new(object, "env", list);
    }
    options->rebuild |= wishes->rebuild || wishes->no_cache;
    if (wishes->no_cache)
        options->incremental = false;
    return s2i_options_hear(options, object, S2I_FROM_REQUEST, &hosts, err);
}

static int options_load(struct session *session, struct error *err) ON(worker_thread)
{
    const struct git_options *rooms = &session->git->options;
    struct slice name = slice_of(session->repository);
    OWNED(build_config_drop) struct build_config config = {0};
    struct error none = {0};

    if (push_wishes_parse(&session->push, &session->wishes, err) < 0)
        return -1;
    if (rooms->builds == NULL)
        return 0;
    if (builds_options_of(rooms->builds, name, &session->options, err) < 0)
        return -1;
    if (build_config_find(rooms->storage, name, &config, &none) == 0)
        session->paused = config.paused;
    return wishes_apply(session, err);
}

/* What only git knows: which commit an object leads to, whether a branch goes on from where it is.
 */
static void questions(const struct session *session, struct buffer *out)
{
    for (size_t i = 0; i < session->push.count; i++) {
        const struct pushed_ref *ref = &session->refs[i];
        const struct push_command *command = ref->command;
        if (ref->state == REF_REFUSED || !brings(ref))
            continue;
        buffer_print(out, "commit %s\n", command->new);
        if (!oid_is_none(command->old) && ref_protected(&session->options, command->ref))
            buffer_print(out, "within %s %s\n", command->old, command->new);
    }
}

void judge_turn(struct session *session)
{
    OWNED(buffer_drop) struct buffer asked = BUFFER_NONE;
    struct error err = {0};

    if (session->called_off)
        return;
    if (!session_repository_stands(session))
        refuse_all(session, "the repository was deleted meanwhile");
    else if (options_load(session, &err) < 0) {
        session_say(session, "%s", err.message);
        refuse_all(session, err.message);
    }
    judge_refs(session);
    judge_names(session);
    questions(session, &asked);
    if (asked.size == 0)
        judge_known(session, SLICE_NONE);
    else
        session_send(session, HOOK_ASK, buffer_slice(&asked), -1, true);
}

/* --- by what git knows --- */

static void hear_commit(struct pushed_ref *ref, struct slice line)
{
    if (oid_valid(line))
        memcpy(ref->commit, line.at, GIT_OID_SIZE);
    else if (ref_is_branch(ref->command->ref))
        ref_refuse(ref, "a branch must name a commit");
}

/* Answers come in the order of questions. */
static void hear(struct session *session, struct slice text)
{
    struct slice line;

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        const struct push_command *command = ref->command;
        if (ref->state == REF_REFUSED || !brings(ref))
            continue;
        slice_split(text, '\n', &line, &text);
        hear_commit(ref, line);
        if (oid_is_none(command->old) || !ref_protected(&session->options, command->ref))
            continue;
        slice_split(text, '\n', &line, &text);
        if (!slice_equal_text(line, "yes"))
            ref_refuse(ref, "protected: it may not be forced");
    }
}

void judge_known(struct session *session, struct slice text)
{
    if (session->refs == NULL || session->asked)
        return;
    session->asked = true;
    hear(session, text);
    plan_builds(session);
    building_next(session);
}
