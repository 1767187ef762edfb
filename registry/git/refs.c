/* refs.c - see refs.h.
 * Touches  memory only (pure).
 * Never    looks into a repository. */
#include "registry/git/refs.h"

#include <string.h>

#include "registry/core/glob.h"
#include "registry/core/oci.h"

static const char HEADS[] = "refs/heads/", TAGS[] = "refs/tags/";
enum { COMMIT_SHORT = 12, COMPONENT_MAX = 250, COMPONENTS_MAX = 60 };

bool ref_is_branch(const char *ref)
{
    return strncmp(ref, HEADS, sizeof(HEADS) - 1) == 0;
}

static bool is_tag(const char *ref)
{
    return strncmp(ref, TAGS, sizeof(TAGS) - 1) == 0;
}

struct slice ref_short(const char *ref)
{
    size_t cut = ref_is_branch(ref) ? sizeof(HEADS) - 1 : is_tag(ref) ? sizeof(TAGS) - 1 : 0;

    return slice_of(ref + cut);
}

/* --- what may be pushed --- */

/* As git check-ref-format has it, so that our files of refs are never anything else; and short
 * enough for a file's name with git's ".lock" behind it. */
static bool component_sane(struct slice part)
{
    return part.size > 0 && part.size <= COMPONENT_MAX && part.at[0] != '.' &&
           part.at[part.size - 1] != '.' && !slice_ends(part, ".lock");
}

/* It stands in JSON and is shown to people: no control characters of Unicode's either. */
static bool is_shown(struct slice name)
{
    while (name.size > 0) {
        size_t size = utf8_size(name);
        bool control = size == 2 && name.at[0] == '\xc2' && (unsigned char)name.at[1] < 0xa0;
        if (size == 0 || control)
            return false;
        name = slice_from(name, size);
    }
    return true;
}

static bool name_sane(struct slice name)
{
    struct slice part, rest = name;
    size_t parts = 0;

    for (size_t i = 0; i < name.size; i++) {
        unsigned char c = (unsigned char)name.at[i];
        if (c <= ' ' || c == 0x7f || strchr("~^:?*[\\", c) != NULL)
            return false;
    }
    if (!is_shown(name) || name.size == 0 || name.at[name.size - 1] == '/' ||
        slice_starts(name, "-") || memmem(name.at, name.size, "..", 2) != NULL ||
        memmem(name.at, name.size, "@{", 2) != NULL)
        return false;
    while (rest.size > 0) {
        slice_split(rest, '/', &part, &rest);
        if (!component_sane(part) || ++parts > COMPONENTS_MAX)
            return false;
    }
    return true;
}

const char *ref_objection(const char *ref)
{
    struct slice name = ref_short(ref);

    if (!ref_is_branch(ref) && !is_tag(ref))
        return "only branches and tags can be pushed";
    if (!name_sane(name) || slice_equal_text(name, "HEAD"))
        return "this is no name for a branch or tag";
    return NULL;
}

/* A pattern of short names, or of full ones. */
static bool pattern_takes(struct slice pattern, const char *ref)
{
    if (slice_starts(pattern, "refs/"))
        return glob_matches(pattern, slice_of(ref));
    return ref_is_branch(ref) && glob_matches(pattern, ref_short(ref));
}

bool ref_protected(const struct s2i_options *options, const char *ref)
{
    for (size_t i = 0; i < options->protected_branches.count; i++)
        if (pattern_takes(slice_of(options->protected_branches.items[i]), ref))
            return true;
    return false;
}

/* --- the default branch --- */

/* One that is refused for its name is none: nobody may look for it. */
static const char *pushed_branch(const struct push_request *push, struct slice name)
{
    for (size_t i = 0; i < push->count; i++) {
        const struct push_command *command = &push->commands[i];
        if (ref_is_branch(command->ref) && ref_objection(command->ref) == NULL &&
            !oid_is_none(command->new) &&
            (name.at == NULL || slice_equal(ref_short(command->ref), name)))
            return command->ref;
    }
    return NULL;
}

const char *refs_default(const struct s2i_options *options, const char *head, bool head_exists,
                         const struct push_request *push)
{
    static const char *const usual[] = {"main", "master", NULL};
    const char *found;

    if (options->default_branch != NULL)
        return pushed_branch(push, ref_short(options->default_branch));
    if (head_exists)
        return head;
    for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
        if ((found = pushed_branch(push, slice_of(usual[i]))) != NULL)
            return found;
    return NULL;
}

/* --- image tags --- */

void refs_tag_name(struct slice name, struct buffer *out)
{
    size_t size = name.size > OCI_TAG_MAX ? OCI_TAG_MAX : name.size;

    for (size_t i = 0; i < size; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '.' || c == '-';
        if (!letter)
            c = '-';
        if (i == 0 && (c == '-' || c == '.'))
            c = '_';
        buffer_append(out, &c, 1);
    }
}

static void add_once(struct s2i_list *out, struct slice tag)
{
    for (size_t i = 0; i < out->count; i++)
        if (slice_equal_text(tag, out->items[i]))
            return;
    s2i_list_add(out, tag);
}

/* form, with "*" replaced. */
static void add_filled(struct slice form, struct slice star, struct s2i_list *out)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, tag = BUFFER_NONE;

    for (size_t i = 0; i < form.size; i++) {
        if (form.at[i] == '*')
            buffer_append_slice(&text, star);
        else
            buffer_append(&text, form.at + i, 1);
    }
    refs_tag_name(buffer_slice(&text), &tag);
    if (tag.size > 0)
        add_once(out, buffer_slice(&tag));
}

/* What the stars of the pattern stand for, from the first to the last; without one, all of it. */
static struct slice star_of(struct slice pattern, const char *ref)
{
    struct slice name = slice_starts(pattern, "refs/") ? slice_of(ref) : ref_short(ref);
    const char *first = memchr(pattern.at, '*', pattern.size),
               *last = memrchr(pattern.at, '*', pattern.size);

    if (first == NULL)
        return ref_short(ref);
    size_t before = (size_t)(first - pattern.at);
    size_t after = pattern.size - (size_t)(last - pattern.at) - 1;
    return (struct slice){name.at + before, name.size - before - after};
}

struct row {
    struct slice tags, star;
};

/* The first row that takes the ref. False: there is none. */
static bool find_row(const struct s2i_options *options, const char *ref, struct row *out)
{
    struct slice pattern;

    for (size_t i = 0; i < options->branches.count; i++) {
        slice_split(slice_of(options->branches.items[i]), '=', &pattern, &out->tags);
        if (pattern.size == 0 || !pattern_takes(pattern, ref))
            continue;
        out->star = star_of(pattern, ref);
        return true;
    }
    return false;
}

/* "v1", "v2.0-rc": a version. */
static bool names_version(struct slice name)
{
    return name.size > 1 && name.at[0] == 'v' && name.at[1] >= '0' && name.at[1] <= '9';
}

static bool default_row(const char *default_ref, const char *ref, struct row *out)
{
    bool branch = ref_is_branch(ref);

    *out = (struct row){branch ? SLICE("latest,*") : SLICE("*"), ref_short(ref)};
    return branch ? default_ref != NULL && strcmp(ref, default_ref) == 0
                  : names_version(ref_short(ref));
}

/* own: only what has a star. False: it is not built. */
static bool map(const struct s2i_options *options, const char *default_ref, const char *ref,
                bool own, struct s2i_list *out)
{
    struct row row;
    struct slice one;

    if ((!find_row(options, ref, &row) && !default_row(default_ref, ref, &row)) ||
        slice_equal(row.tags, SLICE("-")))
        return false;
    while (row.tags.size > 0) {
        slice_split(row.tags, ',', &one, &row.tags);
        if (!own || memchr(one.at, '*', one.size) != NULL)
            add_filled(one, row.star, out);
    }
    return true;
}

void refs_map_own(const struct s2i_options *options, const char *default_ref, const char *ref,
                  struct s2i_list *out)
{
    if (!map(options, default_ref, ref, true, out))
        s2i_list_drop(out);
}

bool refs_map(const struct s2i_options *options, const char *default_ref, const char *ref,
              const char *commit, struct s2i_list *out)
{
    if (!map(options, default_ref, ref, false, out))
        return false;
    if (commit[0] != 0)
        add_filled(SLICE("git-*"), (struct slice){commit, COMMIT_SHORT}, out);
    return true;
}
