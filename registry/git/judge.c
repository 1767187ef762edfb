/* judge.c - what a push may, and what is to be built of it, before anything is.
 * Touches  the session; storage: the repository's configuration.
 * Never    builds. Spec: s2i 13.12, 13.21 to 13.24 */
#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/git/git_internal.h"
#include "storage/content.h"

enum { BUILDS_OF_PUSH_MAX = 50, PRESENT_MAX = 10000 };

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
        session->left |= session_send(session, HOOK_REPORT, SLICE_NONE, -1, true) < 0;
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

static void judge_ref(struct session *session, struct pushed_ref *ref)
{
    const struct push_command *command = ref->command;
    const char *objection = ref_objection(command->ref);
    char now[GIT_OID_SIZE + 1];

    if (objection != NULL) {
        ref_refuse(ref, "%s", objection);
        return;
    }
    if (!repository_ref(session->path, command->ref, now))
        memset(now, '0', GIT_OID_SIZE), now[GIT_OID_SIZE] = 0;
    if (strcmp(now, command->old) != 0)
        ref_refuse(ref, "fetch first: it moved meanwhile");
    else if (!brings(ref) && ref_protected(&session->options, command->ref))
        ref_refuse(ref, "protected: it may not be deleted");
}

static void json_drop(json_t **owned)
{
    json_decref(*owned);
}

static int wishes_apply(struct session *session, struct error *err)
{
    struct push_wishes *wishes = &session->wishes;
    struct s2i_options *options = &session->options;

    if (wishes->env.count > 0 && !options->allow_push_env)
        return error_set(err, ERROR_DENIED, "the push option env is not allowed here");
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
    return s2i_options_read(options, object, S2I_FROM_REQUEST, err);
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

    if (options_load(session, &err) < 0) {
        session_say(session, "%s", err.message);
        refuse_all(session, err.message);
    }
    for (size_t i = 0; i < session->push.count; i++)
        if (session->refs[i].state != REF_REFUSED)
            judge_ref(session, &session->refs[i]);
    questions(session, &asked);
    if (asked.size == 0)
        judge_known(session, SLICE_NONE);
    else if (session_send(session, HOOK_ASK, buffer_slice(&asked), -1, true) < 0)
        session->left = true;
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

/* --- what is built --- */

/* Why nothing is built of any ref; NULL: builds are made. */
static const char *no_builds(const struct session *session)
{
    if (session->wishes.no_build)
        return "not built, as asked";
    if (session->git->options.builds == NULL)
        return "not built: this server does not build";
    return session->paused ? "not built: builds of this repository are paused" : NULL;
}

static void add_tags(struct s2i_list *out, const struct s2i_list *tags)
{
    for (size_t i = 0; i < tags->count; i++)
        s2i_list_add(out, slice_of(tags->items[i]));
}

/* Tags that were asked for take the place of the table's. */
static bool map_ref(const struct session *session, struct pushed_ref *ref)
{
    const struct s2i_list *asked = &session->wishes.tags, *usual = &session->options.tags;
    const char *default_ref = session->default_ref[0] == 0 ? NULL : session->default_ref;
    OWNED(s2i_list_drop) struct s2i_list mapped = {0};
    OWNED(buffer_drop) struct buffer own = BUFFER_NONE;
    bool built = refs_map(&session->options, default_ref, ref->command->ref, ref->commit, &mapped);

    if (asked->count == 0 && (!built || usual->count == 0)) {
        ref->tags = mapped;
        mapped = (struct s2i_list){0};
        return built;
    }
    add_tags(&ref->tags, asked->count > 0 ? asked : usual);
    buffer_print(&own, "git-%.12s", ref->commit);
    s2i_list_add(&ref->tags, buffer_slice(&own));
    return true;
}

static void say_not_built(struct session *session, const struct pushed_ref *ref)
{
    struct slice name = ref_short(ref->command->ref);
    const char *reason = no_builds(session);

    if (reason != NULL)
        session_say(session, "%.*s: %s", SLICE_ARG(name), reason);
    else if (session->default_ref[0] != 0 && ref_is_branch(ref->command->ref))
        session_say(session, "%.*s: accepted, not built; push to %.*s, or with -o tag=NAME",
                    SLICE_ARG(name), SLICE_ARG(ref_short(session->default_ref)));
    else
        session_say(session, "%.*s: accepted, not built; push with -o tag=NAME to build it",
                    SLICE_ARG(name));
}

static bool is_commit_tag(const char *tag)
{
    return strncmp(tag, "git-", 4) == 0 && strlen(tag) == 4 + 12;
}

static void list_remove_at(struct s2i_list *list, size_t index)
{
    free(list->items[index]);
    list->count--;
    memmove(list->items + index, list->items + index + 1,
            (list->count - index) * sizeof(*list->items));
}

static bool has_tag(const struct s2i_list *list, const char *tag)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], tag) == 0)
            return true;
    return false;
}

static void refuse_double(struct pushed_ref *ref, const char *tag, const char *first,
                          const char *second)
{
    struct slice a = ref_short(first), b = ref_short(second);

    ref_refuse(ref, "%.30s would be %.*s and %.*s", tag, a.size > 24 ? 24 : (int)a.size, a.at,
               b.size > 24 ? 24 : (int)b.size, b.at);
}

/* Two refs of a push that mean one tag are both refused; the tag of the commit is the first's. */
static void compare_tags(struct pushed_ref *a, struct pushed_ref *b)
{
    for (size_t i = 0; i < a->tags.count; i++)
        for (size_t j = 0; j < b->tags.count; j++) {
            const char *tag = a->tags.items[i];
            if (strcmp(tag, b->tags.items[j]) != 0)
                continue;
            if (is_commit_tag(tag)) {
                list_remove_at(&b->tags, j);
                break;
            }
            refuse_double(a, tag, a->command->ref, b->command->ref);
            ref_refuse(b, "%s", a->reason);
            return;
        }
}

static bool is_pushed(const struct session *session, const char *ref)
{
    for (size_t i = 0; i < session->push.count; i++)
        if (strcmp(session->push.commands[i].ref, ref) == 0)
            return true;
    return false;
}

/* A tag that is made of the name of a ref which is there already is that one's. mine: of the refs
 * of the push, by their order. */
static void compare_present(struct session *session, const char *present,
                            const struct s2i_list *mine)
{
    const char *default_ref = session->default_ref[0] == 0 ? NULL : session->default_ref;
    OWNED(s2i_list_drop) struct s2i_list theirs = {0};

    if (!is_pushed(session, present))
        refs_map_own(&session->options, default_ref, present, &theirs);
    for (size_t i = 0; theirs.count > 0 && i < session->push.count; i++)
        for (size_t j = 0; j < mine[i].count; j++)
            if (has_tag(&theirs, mine[i].items[j]))
                refuse_double(&session->refs[i], mine[i].items[j], session->refs[i].command->ref,
                              present);
}

/* Tags of the push's own wish are looked at no further. */
static void refuse_present(struct session *session)
{
    const char *default_ref = session->default_ref[0] == 0 ? NULL : session->default_ref;
    OWNED(s2i_list_drop) struct s2i_list present = {0};
    OWNED(memory_drop)
    struct s2i_list *mine = memory_new(session->push.count * sizeof(*mine));

    if (session->wishes.tags.count > 0 || session->options.tags.count > 0)
        return;
    for (size_t i = 0; i < session->push.count; i++)
        if (session->refs[i].build)
            refs_map_own(&session->options, default_ref, session->refs[i].command->ref, &mine[i]);
    repository_refs(session->path, PRESENT_MAX, &present);
    for (size_t i = 0; i < present.count; i++)
        compare_present(session, present.items[i], mine);
    for (size_t i = 0; i < session->push.count; i++)
        s2i_list_drop(&mine[i]);
}

static void refuse_doubles(struct session *session)
{
    for (size_t i = 0; i < session->push.count; i++)
        for (size_t j = i + 1; j < session->push.count; j++)
            if (session->refs[i].build && session->refs[j].build)
                compare_tags(&session->refs[i], &session->refs[j]);
}

/* Told before anything is built. A tag of the commit that may not move stands for it already. */
static void check_protection(const struct session *session, struct pushed_ref *ref)
    ON(worker_thread)
{
    for (size_t i = 0; i < ref->tags.count;) {
        OWNED(content_tag_drop) struct content_tag tag = {0};
        struct error none = {0};
        const char *name = ref->tags.items[i];
        bool fixed = content_tag_find(session->git->options.storage, slice_of(session->repository),
                                      slice_of(name), &tag, &none) == 0 &&
                     (tag.protection & TAG_IMMUTABLE) != 0;
        if (fixed && is_commit_tag(name)) {
            list_remove_at(&ref->tags, i);
            continue;
        }
        if (fixed)
            ref_refuse(ref, "the image tag %.60s may not move", name);
        i++;
    }
}

static void plan_builds(struct session *session) ON(worker_thread)
{
    size_t builds = 0;

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        if (ref->state == REF_REFUSED || !brings(ref))
            continue;
        ref->build = ref->commit[0] != 0 && no_builds(session) == NULL && map_ref(session, ref);
        if (!ref->build)
            say_not_built(session, ref);
        else if (++builds > BUILDS_OF_PUSH_MAX)
            ref_refuse(ref, "more than %d builds in one push: send it in parts",
                       BUILDS_OF_PUSH_MAX);
        else
            check_protection(session, ref);
    }
    refuse_present(session);
    refuse_doubles(session);
}

static void find_default(struct session *session)
{
    char ignored[GIT_OID_SIZE + 1];
    bool known = repository_head(session->path, session->head);
    bool exists = known && repository_ref(session->path, session->head, ignored);
    const char *found = refs_default(&session->options, session->head, exists, &session->push);

    if (found != NULL)
        memcpy(session->default_ref, found, strlen(found) + 1);
}

void judge_known(struct session *session, struct slice text)
{
    if (session->refs == NULL || session->asked)
        return;
    session->asked = true;
    hear(session, text);
    find_default(session);
    plan_builds(session);
    building_next(session);
}
