/* plan.c - which refs of a push are built, and as which image tags.
 * Touches  the session; storage: tags that may not move.
 * Never    builds. Spec: s2i 13.21, 13.22 */
#include <stdlib.h>
#include <string.h>

#include "registry/git/git_internal.h"
#include "storage/content.h"

enum { BUILDS_OF_PUSH_MAX = 50 };

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

static void check_again(const struct session *session, struct pushed_ref *ref) ON(worker_thread)
{
    struct storage *storage = session->git->options.storage;
    OWNED(build_record_drop) struct build_record record = {0};
    struct error none = {0};
    char text[DIGEST_TEXT_MAX];

    if (build_find(storage, ref->id, &record, &none) < 0)
        return;
    for (size_t i = 0; i < ref->tags.count && ref->state == REF_ACCEPTED; i++) {
        OWNED(content_tag_drop) struct content_tag tag = {0};
        if (content_tag_find(storage, slice_of(session->repository), slice_of(ref->tags.items[i]),
                             &tag, &none) == 0 &&
            (tag.protection & TAG_IMMUTABLE) != 0 &&
            strcmp(digest_text(&tag.digest, text), record.result_digest) != 0)
            ref_refuse(ref, "the image tag %.60s may not move", ref->tags.items[i]);
    }
}

void plan_again(struct session *session)
{
    bool stands = session_repository_stands(session);

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        if (ref->state == REF_ACCEPTED && !stands)
            ref_refuse(ref, "the repository was deleted meanwhile");
        else if (ref->state == REF_ACCEPTED && ref->held)
            check_again(session, ref);
    }
}

static void plan_refs(struct session *session) ON(worker_thread)
{
    size_t builds = 0;

    for (size_t i = 0; i < session->push.count; i++) {
        struct pushed_ref *ref = &session->refs[i];
        if (ref->state == REF_REFUSED || oid_is_none(ref->command->new))
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

void plan_builds(struct session *session)
{
    find_default(session);
    plan_refs(session);
    refuse_present(session);
    refuse_doubles(session);
}
