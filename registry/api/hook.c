/* hook.c - payloads of the five senders become changes of refs. */
#include "registry/api/hook.h"

#include <stdlib.h>
#include <string.h>

#include "registry/api/hook_yaml.h"
#include "registry/core/json.h"

static const char *const names[HOOK_SENDERS] = {
    [HOOK_GITHUB] = "github",       [HOOK_GITLAB] = "gitlab",   [HOOK_GITEA] = "gitea",
    [HOOK_BITBUCKET] = "bitbucket", [HOOK_GENERIC] = "generic",
};

const char *hook_sender_name(enum hook_sender sender)
{
    return names[sender];
}

/* --- events --- */

static const struct {
    const char *event;
    enum hook_sender sender;
    enum hook_kind kind;
} events[] = {
    {"push", HOOK_GITHUB, HOOK_PUSH},
    {"ping", HOOK_GITHUB, HOOK_PING},
    {"Push Hook", HOOK_GITLAB, HOOK_PUSH},
    {"Tag Push Hook", HOOK_GITLAB, HOOK_PUSH},
    {"push", HOOK_GITEA, HOOK_PUSH},
    {"ping", HOOK_GITEA, HOOK_PING},
    {"repo:push", HOOK_BITBUCKET, HOOK_PUSH},
    {"repo:refs_changed", HOOK_BITBUCKET, HOOK_PUSH},
    {"diagnostics:ping", HOOK_BITBUCKET, HOOK_PING},
};

enum hook_kind hook_event(enum hook_sender sender, struct slice event)
{
    if (sender == HOOK_GENERIC)
        return HOOK_PUSH;
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++)
        if (events[i].sender == sender && slice_equal_text(event, events[i].event))
            return events[i].kind;
    return HOOK_OTHER;
}

/* --- refs and commits --- */

static bool ref_byte(unsigned char c)
{
    return c > ' ' && c != 0x7f && strchr("~^:?*[\\", c) == NULL;
}

/* What git takes for a ref, near enough: it is given to git whole, never as an expression. */
static bool ref_valid(struct slice ref)
{
    if (ref.size == 0 || ref.size > HOOK_REF_MAX || ref.at[0] == '/' || ref.at[0] == '-' ||
        ref.at[ref.size - 1] == '/' || slice_ends(ref, ".lock"))
        return false;
    for (size_t i = 0; i < ref.size; i++) {
        struct slice rest = slice_from(ref, i);
        if (!ref_byte((unsigned char)ref.at[i]) || slice_starts(rest, "..") ||
            slice_starts(rest, "//") || slice_starts(rest, "@{") || slice_starts(rest, "/."))
            return false;
    }
    return true;
}

/* "main" means refs/heads/main. */
static char *ref_whole(struct slice ref, const char *folder)
{
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;

    if (!slice_starts(ref, "refs/"))
        buffer_append_text(&whole, folder);
    buffer_append_slice(&whole, ref);
    return memory_text(buffer_slice(&whole));
}

static bool commit_valid(struct slice commit)
{
    for (size_t i = 0; i < commit.size; i++)
        if (hex_value(commit.at[i]) < 0 || (commit.at[i] >= 'A' && commit.at[i] <= 'F'))
            return false;
    return commit.size == 40 || commit.size == 64;
}

static bool is_zero(struct slice commit)
{
    for (size_t i = 0; i < commit.size; i++)
        if (commit.at[i] != '0')
            return false;
    return commit.size > 0;
}

/* --- JSON --- */

static struct slice text_at(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return (struct slice){json_string_value(value), json_string_length(value)};
}

static int malformed(enum hook_sender sender, const char *what, struct error *err)
{
    return error_set(err, ERROR_BAD_REQUEST, "this is no push as %s sends it: %s", names[sender],
                     what);
}

/* A commit of zeros is the end of the ref (14.9). ref, commit: SLICE_NONE when not said. */
static int add(struct hook_push *push, enum hook_sender sender, struct slice ref,
               const char *folder, struct slice commit, bool deleted, struct error *err)
{
    bool ended = deleted || is_zero(commit);

    if (ref.at != NULL && !ref_valid(ref))
        return malformed(sender, "its ref is malformed", err);
    if (!ended && commit.at != NULL && !commit_valid(commit))
        return malformed(sender, "its commit is malformed", err);
    if (push->count == HOOK_CHANGES_MAX)
        return malformed(sender, "it has too many changes", err);
    push->changes = memory_resize(push->changes, (push->count + 1) * sizeof(*push->changes));
    push->changes[push->count++] = (struct hook_change){
        .ref = ref.at == NULL ? NULL : ref_whole(ref, folder),
        .commit = ended || commit.at == NULL ? NULL : memory_text(commit),
        .deleted = ended,
    };
    return 0;
}

static void default_branch(struct hook_push *push, struct slice name)
{
    if (name.size > 0 && ref_valid(name) && push->default_branch == NULL)
        push->default_branch = memory_text(name);
}

/* --- the senders --- */

/* GitHub, Gitea. Of an annotated tag, after is the tag's own id; head_commit is what it names. */
static int parse_github(enum hook_sender sender, const json_t *root, struct hook_push *out,
                        struct error *err)
{
    struct slice ref = text_at(root, "ref"), after = text_at(root, "after");
    struct slice head = text_at(json_object_get(root, "head_commit"), "id");
    bool deleted = json_is_true(json_object_get(root, "deleted"));

    if (ref.at == NULL || after.at == NULL)
        return malformed(sender, "it needs ref and after", err);
    if (slice_starts(ref, "refs/tags/") && head.size > 0 && !is_zero(after))
        after = head;
    default_branch(out, text_at(json_object_get(root, "repository"), "default_branch"));
    return add(out, sender, ref, "refs/heads/", after, deleted, err);
}

/* Of a branch that was deleted, commits is empty and checkout_sha null. */
static int parse_gitlab(enum hook_sender sender, const json_t *root, struct hook_push *out,
                        struct error *err)
{
    struct slice ref = text_at(root, "ref"), after = text_at(root, "after");
    struct slice commit = text_at(root, "checkout_sha");

    if (ref.at == NULL || after.at == NULL)
        return malformed(sender, "it needs ref and after", err);
    if (slice_starts(ref, "refs/tags/") && commit.size > 0 && !is_zero(after))
        after = commit;
    default_branch(out, text_at(json_object_get(root, "project"), "default_branch"));
    return add(out, sender, ref, "refs/heads/", after, false, err);
}

/* An item of push.changes: new is null when the ref is gone. */
static int bitbucket_change(const json_t *item, struct hook_push *out, struct error *err)
{
    const json_t *now = json_object_get(item, "new");
    bool deleted = !json_is_object(now);
    const json_t *side = deleted ? json_object_get(item, "old") : now;
    struct slice commit = text_at(json_object_get(side, "target"), "hash");
    bool tag = slice_equal_text(text_at(side, "type"), "tag");

    if (text_at(side, "name").at == NULL || (!deleted && commit.at == NULL))
        return malformed(HOOK_BITBUCKET, "a change needs a name and a hash", err);
    return add(out, HOOK_BITBUCKET, text_at(side, "name"), tag ? "refs/tags/" : "refs/heads/",
               commit, deleted, err);
}

/* An item of changes, as a server of one's own sends it. */
static int bitbucket_server_change(const json_t *item, struct hook_push *out, struct error *err)
{
    struct slice ref = text_at(json_object_get(item, "ref"), "id");
    bool deleted = slice_equal_text(text_at(item, "type"), "DELETE");

    if (ref.at == NULL || text_at(item, "toHash").at == NULL)
        return malformed(HOOK_BITBUCKET, "a change needs ref.id and toHash", err);
    return add(out, HOOK_BITBUCKET, ref, "refs/heads/", text_at(item, "toHash"), deleted, err);
}

static int parse_bitbucket(const json_t *root, struct hook_push *out, struct error *err)
{
    const json_t *cloud = json_object_get(json_object_get(root, "push"), "changes");
    const json_t *server = json_object_get(root, "changes");
    const json_t *changes = cloud != NULL ? cloud : server;
    size_t i;
    json_t *item;

    if (!json_is_array(changes))
        return malformed(HOOK_BITBUCKET, "it needs push.changes or changes", err);
    json_array_foreach((json_t *)(uintptr_t)changes, i, item) {
        if ((cloud != NULL ? bitbucket_change : bitbucket_server_change)(item, out, err) < 0)
            return -1;
    }
    default_branch(
        out, text_at(json_object_get(json_object_get(root, "repository"), "mainbranch"), "name"));
    return 0;
}

/* --- the generic one (14.7) --- */

static bool env_name_valid(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.at[i];
        bool digit = c >= '0' && c <= '9';
        if (!(c == '_' || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (digit && i > 0)))
            return false;
    }
    return name.size > 0;
}

static int generic_env(const json_t *list, struct hook_push *out, struct error *err)
{
    size_t i;
    json_t *item;

    if (list == NULL)
        return 0;
    if (!json_is_array(list) || json_array_size(list) > HOOK_ENV_MAX)
        return malformed(HOOK_GENERIC, "env is a list of names and values", err);
    out->env = json_array();
    json_array_foreach((json_t *)(uintptr_t)list, i, item) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct slice name = text_at(item, "name"), value = text_at(item, "value");
        if (!env_name_valid(name) || value.at == NULL)
            return malformed(HOOK_GENERIC, "env is a list of names and values", err);
        buffer_append_slice(&text, name);
        buffer_append_text(&text, "=");
        buffer_append_slice(&text, value);
        json_array_append_new(out->env, json_stringn(text.at, text.size));
    }
    return 0;
}

/* One of git itself, or of git.refs. */
static int generic_change(const json_t *git, struct hook_push *out, struct error *err)
{
    const json_t *ref = json_object_get(git, "ref"), *commit = json_object_get(git, "commit");
    struct slice to = text_at(git, "ref"), id = text_at(git, "commit");

    if ((ref != NULL && !json_is_string(ref)) || (commit != NULL && !json_is_string(commit)))
        return malformed(HOOK_GENERIC, "ref and commit are texts", err);
    return add(out, HOOK_GENERIC, to.size == 0 ? SLICE_NONE : to, "refs/heads/",
               id.size == 0 ? SLICE_NONE : id, false, err);
}

static int parse_generic(const json_t *root, struct hook_push *out, struct error *err)
{
    const json_t *git = json_object_get(root, "git");
    const json_t *refs = json_object_get(git, "refs");
    size_t i;
    json_t *item;

    if (generic_env(json_object_get(root, "env"), out, err) < 0)
        return -1;
    if (git != NULL && !json_is_object(git))
        return malformed(HOOK_GENERIC, "git is an object", err);
    if (refs != NULL && !json_is_array(refs))
        return malformed(HOOK_GENERIC, "git.refs is a list", err);
    json_array_foreach((json_t *)(uintptr_t)refs, i, item) {
        if (!json_is_object(item))
            return malformed(HOOK_GENERIC, "git.refs is a list of objects", err);
        if (generic_change(item, out, err) < 0)
            return -1;
    }
    bool alone = json_object_get(git, "ref") != NULL || json_object_get(git, "commit") != NULL;
    return alone || out->count == 0 ? generic_change(git, out, err) : 0;
}

/* --- the public side --- */

void hook_push_drop(struct hook_push *push)
{
    for (size_t i = 0; i < push->count; i++) {
        free(push->changes[i].ref);
        free(push->changes[i].commit);
    }
    free(push->changes);
    free(push->default_branch);
    json_decref(push->env);
    *push = (struct hook_push){.count = 0};
}

static int parse(enum hook_sender sender, const json_t *root, struct hook_push *out,
                 struct error *err)
{
    switch (sender) {
    case HOOK_GITHUB:
    case HOOK_GITEA:
        return parse_github(sender, root, out, err);
    case HOOK_GITLAB:
        return parse_gitlab(sender, root, out, err);
    case HOOK_BITBUCKET:
        return parse_bitbucket(root, out, err);
    case HOOK_GENERIC:
    case HOOK_SENDERS:
        break;
    }
    return parse_generic(root, out, err);
}

static int parse_whole(enum hook_sender sender, const json_t *root, struct hook_push *out,
                       struct error *err)
{
    *out = (struct hook_push){.count = 0};
    if (parse(sender, root, out, err) == 0)
        return 0;
    hook_push_drop(out);
    return -1;
}

int hook_parse(enum hook_sender sender, struct slice body, struct hook_push *out, struct error *err)
{
    bool nothing = sender == HOOK_GENERIC && slice_trim(body).size == 0;

    *out = (struct hook_push){.count = 0};
    if (json_is_crowded(body))
        return error_set(err, ERROR_BAD_REQUEST, "the payload has more than %d values",
                         JSON_VALUES_MAX);
    OWNED(json_drop)
    json_t *root = nothing ? json_object() : json_loadb(body.at, body.size, 0, NULL);

    if (!json_is_object(root))
        return error_set(err, ERROR_BAD_REQUEST, "the payload is not a JSON object");
    return parse_whole(sender, root, out, err);
}

int hook_parse_yaml(struct slice body, struct hook_push *out, struct error *err)
{
    OWNED(json_drop) json_t *root = NULL;

    *out = (struct hook_push){.count = 0};
    return hook_yaml_read(body, &root, err) < 0 ? -1 : parse_whole(HOOK_GENERIC, root, out, err);
}

static const struct hook_change *change_of(const struct hook_push *push, struct slice ref)
{
    OWNED(memory_drop) char *whole = ref_whole(ref, "refs/heads/");

    for (size_t i = 0; i < push->count; i++)
        if (push->changes[i].ref == NULL || strcmp(push->changes[i].ref, whole) == 0)
            return &push->changes[i];
    return NULL;
}

const struct hook_change *hook_choose(const struct hook_push *push, struct slice configured)
{
    if (configured.size > 0)
        return change_of(push, configured);
    if (push->default_branch != NULL)
        return change_of(push, slice_of(push->default_branch));
    const struct hook_change *change = change_of(push, SLICE("main"));
    return change != NULL ? change : change_of(push, SLICE("master"));
}
