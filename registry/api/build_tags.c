/* build_tags.c - which tags a build makes that nobody pushed (pure).
 * Touches  memory only.
 * Never    asks what is in the source: its commit may not be known yet. */
#include <stdlib.h>

#include "registry/api/build.h"
#include "registry/git/refs.h"

enum { COMMIT_SHORT = 12 };

/* "main" means refs/heads/main; NULL: none. */
static char *whole(struct slice ref)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (ref.size == 0)
        return NULL;
    if (!slice_starts(ref, "refs/"))
        buffer_append_text(&text, "refs/heads/");
    buffer_append_slice(&text, ref);
    return memory_text(buffer_slice(&text));
}

static bool is_commit(struct slice ref)
{
    uint8_t bytes[32];

    return (ref.size == 40 || ref.size == 64) && hex_decode(ref, bytes, ref.size / 2);
}

static void add_commit(struct slice commit, struct s2i_list *out)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (commit.size < COMMIT_SHORT)
        return;
    buffer_print(&text, "git-%.*s", COMMIT_SHORT, commit.at);
    s2i_list_add(out, buffer_slice(&text));
}

static void of_ref(const struct s2i_options *options, struct slice configured, struct slice ref,
                   struct slice commit, struct s2i_list *out)
{
    OWNED(memory_drop) char *full = whole(ref), *wanted = whole(configured);
    OWNED(memory_drop) char *id = memory_text(commit.at == NULL ? SLICE("") : commit);
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;

    if (refs_map(options, wanted, full, id, out))
        return;
    refs_tag_name(ref_short(full), &name);
    s2i_list_add(out, buffer_slice(&name));
    add_commit(commit, out);
}

static void choose(const struct s2i_options *options, struct slice configured, struct slice ref,
                   struct slice commit, struct s2i_list *out)
{
    for (size_t i = 0; i < options->tags.count; i++)
        s2i_list_add(out, slice_of(options->tags.items[i]));
    if (out->count > 0)
        return;
    if (is_commit(ref)) {
        add_commit(ref, out);
    } else if (ref.size > 0) {
        of_ref(options, configured, ref, commit, out);
    } else {
        s2i_list_add(out, SLICE("latest"));
        add_commit(commit, out);
    }
}

void api_build_tags(const struct s2i_options *options, const char *configured, struct slice ref,
                    struct slice commit, struct build_tags *out)
{
    *out = (struct build_tags){.slices = NULL};
    choose(options, slice_of(configured), ref, commit, &out->texts);
    out->slices = memory_new((out->texts.count + 1) * sizeof(*out->slices));
    for (size_t i = 0; i < out->texts.count; i++)
        out->slices[i] = slice_of(out->texts.items[i]);
}

void build_tags_drop(struct build_tags *tags)
{
    s2i_list_drop(&tags->texts);
    free(tags->slices);
    tags->slices = NULL;
}
