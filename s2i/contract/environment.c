/* environment.c - variables: of the source's file, of the result, of what runs in a build.
 * Touches  memory only.
 * Never    expands or unquotes anything (5.1). */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

enum { FILE_MAX = 256 * 1024, LINE_MAX = 32 * 1024, VARIABLES_MAX = 1000 };

#define PATH_DEFAULT "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

void environment_set(struct s2i_list *environment, struct slice assignment)
{
    s2i_list_set(environment, assignment);
}

/* --- .s2i/environment --- */

static void note(struct s2i_list *notes, size_t line, const char *why)
{
    char text[120];

    snprintf(text, sizeof(text), ".s2i/environment line %zu %s", line, why);
    s2i_list_add(notes, slice_of(text));
}

/* What the config of an image cannot hold. */
static bool is_text(struct slice s)
{
    if (s.size > 0 && memchr(s.at, 0, s.size) != NULL)
        return false;
    while (s.size > 0) {
        size_t size = utf8_size(s);
        if (size == 0)
            return false;
        s = slice_from(s, size);
    }
    return true;
}

static void parse_line(struct slice line, size_t number, struct s2i_list *out,
                       struct s2i_list *notes)
{
    struct buffer assignment = BUFFER_NONE;
    struct slice name, value;
    bool equals = slice_split(line, '=', &name, &value);

    name = slice_trim(name);
    if (!equals || name.size == 0)
        note(notes, number, "is not NAME=VALUE, and is skipped");
    else if (line.size > LINE_MAX)
        note(notes, number, "is longer than 32768 bytes, and is skipped");
    else if (!is_text(line))
        note(notes, number, "is not UTF-8, and is skipped");
    else {
        buffer_append_slice(&assignment, name);
        buffer_append_text(&assignment, "=");
        buffer_append_slice(&assignment, slice_trim(value));
        environment_set(out, buffer_slice(&assignment));
    }
    buffer_drop(&assignment);
}

void environment_parse(struct slice text, struct s2i_list *out, struct s2i_list *notes)
{
    struct slice line;

    if (text.size > FILE_MAX) {
        note(notes, 1, "and what follows is not read: the file has more than 262144 bytes");
        return;
    }
    for (size_t number = 1; text.size > 0; number++) {
        slice_split(text, '\n', &line, &text);
        if (slice_ends(line, "\r"))
            line.size--;
        if (slice_starts(line, "#") || slice_trim(line).size == 0)
            continue;
        if (out->count >= VARIABLES_MAX) {
            note(notes, number, "and what follows is not read: there are more than 1000");
            return;
        }
        parse_line(line, number, out, notes);
    }
}

static void set_all(struct s2i_list *out, const struct s2i_list *from)
{
    for (size_t i = 0; from != NULL && i < from->count; i++)
        environment_set(out, slice_of(from->items[i]));
}

void environment_stored(const struct s2i_list *file, const struct s2i_options *options,
                        struct s2i_list *out)
{
    set_all(out, file);
    set_all(out, &options->env);
}

/* --- what runs in a build sees --- */

/* Not when the value is empty. */
static void provide(struct s2i_list *out, const char *name, struct slice value)
{
    struct buffer assignment = BUFFER_NONE;

    if (value.size > 0) {
        buffer_append_text(&assignment, name);
        buffer_append_text(&assignment, "=");
        buffer_append_slice(&assignment, value);
        environment_set(out, buffer_slice(&assignment));
    }
    buffer_drop(&assignment);
}

static void provide_number(struct s2i_list *out, const char *name, int64_t value)
{
    char digits[U64_DIGITS_MAX];

    provide(out, name, (struct slice){digits, u64_digits(value < 0 ? 0 : (uint64_t)value, digits)});
}

/* For the build only, never stored. Spec: s2i 5.6 to 5.8 */
static void provide_facts(const struct s2i_spec *spec, struct s2i_list *out)
{
    struct slice line, lines = slice_of(spec->proxy_environment), target, tag;
    struct buffer name = BUFFER_NONE;

    slice_split(slice_of(spec->target), ':', &target, &tag);
    buffer_print(&name, "build-%lld", (long long)spec->build);
    provide_number(out, "SOURCE_DATE_EPOCH", spec->source.time);
    provide(out, "CI", SLICE("true"));
    provide_number(out, "S2I_BUILD_ID", spec->build);
    provide(out, "OPENSHIFT_BUILD_NAME", buffer_slice(&name));
    provide(out, "OPENSHIFT_BUILD_NAMESPACE", target);
    provide(out, "OPENSHIFT_BUILD_SOURCE", slice_of(spec->source.url));
    provide(out, "OPENSHIFT_BUILD_REFERENCE", slice_of(spec->source.ref));
    provide(out, "OPENSHIFT_BUILD_COMMIT", slice_of(spec->source.commit));
    buffer_drop(&name);
    while (lines.size > 0) {
        slice_split(lines, '\n', &line, &lines);
        if (line.size > 0)
            environment_set(out, line);
    }
}

void environment_of_build(const struct s2i_spec *spec, const struct image_config *image,
                          const struct s2i_list *stored, const char *home, struct s2i_list *out)
{
    set_all(out, &image->env);
    if (s2i_list_value(out, SLICE("PATH")) == NULL)
        environment_set(out, SLICE(PATH_DEFAULT));
    provide_facts(spec, out);
    if (stored != NULL) {
        set_all(out, stored);
        set_all(out, &spec->options.build_env);
        set_all(out, &spec->options.secret_env);
    }
    if (s2i_list_value(out, SLICE("HOME")) == NULL)
        provide(out, "HOME", slice_of(home != NULL && home[0] != 0 ? home : "/"));
}
