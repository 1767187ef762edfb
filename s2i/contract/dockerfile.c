/* dockerfile.c - the same build for those who build with a Dockerfile.
 * Touches  memory only.
 * Never    a value unquoted: labels and variables are strangers' words. */
#include "s2i/contract/dockerfile.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/contract/compose.h"

#define USER_DEFAULT "1001"
#define WORKDIR_DEFAULT "/opt/app-root/src"
#define SCRIPTS_DEFAULT "/usr/libexec/s2i"

struct writer {
    const struct dockerfile *about;
    struct image_config image;
    const char *destination, *user;
    struct buffer *out;
    struct error *err;
};

/* --- words --- */

/* "text" with what a Dockerfile would expand or end at quoted. */
static int append_quoted(struct writer *writer, struct slice text)
{
    buffer_append_text(writer->out, "\"");
    for (size_t i = 0; i < text.size; i++) {
        if ((unsigned char)text.at[i] < 0x20)
            return error_set(writer->err, ERROR_INVALID,
                             "a label or a variable holds control characters, which no "
                             "Dockerfile can");
        if (strchr("\"\\$", text.at[i]) != NULL)
            buffer_append_text(writer->out, "\\");
        buffer_append(writer->out, text.at + i, 1);
    }
    buffer_append_text(writer->out, "\"");
    return 0;
}

/* INSTRUCTION "name"="value" */
static int append_pair(struct writer *writer, const char *instruction, struct slice name,
                       struct slice value, bool quoted)
{
    buffer_print(writer->out, "%s ", instruction);
    if (quoted && append_quoted(writer, name) < 0)
        return -1;
    if (!quoted)
        buffer_append_slice(writer->out, name);
    buffer_append_text(writer->out, "=");
    if (append_quoted(writer, value) < 0)
        return -1;
    buffer_append_text(writer->out, "\n");
    return 0;
}

/* Names that stand unquoted. */
static bool is_variable(struct slice name)
{
    for (size_t i = 0; i < name.size; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || !((c >= '0' && c <= '9') || c == '.' || c == '-')))
            return false;
    }
    return name.size > 0;
}

static int append_variables(struct writer *writer, const char *instruction,
                            const struct s2i_list *list)
{
    struct slice name, value;

    for (size_t i = 0; i < list->count; i++) {
        slice_split(slice_of(list->items[i]), '=', &name, &value);
        if (!is_variable(name))
            return error_set(writer->err, ERROR_INVALID,
                             "the name of a variable is none for a Dockerfile");
        if (append_pair(writer, instruction, name, value, false) < 0)
            return -1;
    }
    return 0;
}

/* A path, a user or an image as a word of an instruction. */
static int check_word(const struct writer *writer, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-:@+";

    if (word[0] != 0 && strspn(word, plain) == strlen(word))
        return 0;
    return error_set(writer->err, ERROR_INVALID,
                     "a path, a user or an image has characters that this does not write into a "
                     "Dockerfile");
}

/* --- parts --- */

static void append_image(const struct writer *writer, const struct s2i_image *image)
{
    char digest[DIGEST_TEXT_MAX];
    const char *registry = writer->about->registry;

    buffer_print(writer->out, "%s%s%.*s@%s", registry, registry[0] != 0 ? "/" : "",
                 SLICE_ARG(compose_reference_name(image->name)),
                 digest_text(&image->digest, digest));
}

static void append_from(const struct writer *writer, const struct s2i_image *image, const char *as)
{
    buffer_append_text(writer->out, "FROM ");
    append_image(writer, image);
    buffer_print(writer->out, "%s\n", as);
}

static int append_labels(struct writer *writer)
{
    const struct s2i_list none = {.items = NULL};
    json_t *labels = NULL, *value;
    const char *name;
    int outcome = 0;

    if (compose_labels(writer->about->spec, &none, NULL, 0, &labels, writer->err) < 0)
        return -1;
    /* in a fixed order */
    char *text = json_dumps(labels, JSON_SORT_KEYS);
    json_decref(labels);
    labels = json_loads(text, 0, NULL);
    free(text);
    json_object_foreach(labels, name, value) {
        if (outcome == 0)
            outcome = append_pair(writer, "LABEL", slice_of(name),
                                  slice_of(json_string_value(value)), true);
    }
    json_decref(labels);
    return outcome;
}

static const struct s2i_script *find_script(const struct writer *writer, const char *name)
{
    const struct s2i_result *plan = writer->about->plan;

    for (size_t i = 0; plan != NULL && i < plan->script_count; i++)
        if (strcmp(plan->scripts[i].name, name) == 0 && plan->scripts[i].from != NULL)
            return &plan->scripts[i];
    return NULL;
}

/* Where the script is in the container; false: there is none. */
static bool script_path(const struct writer *writer, const char *name, char *out, size_t size)
{
    const struct s2i_script *script = find_script(writer, name);

    if (script == NULL && writer->about->plan != NULL)
        return false;
    snprintf(out, size, "%s%s%s", script != NULL ? script->path : SCRIPTS_DEFAULT,
             script != NULL ? "" : "/", script != NULL ? "" : name);
    return true;
}

static bool has_source_scripts(const struct writer *writer)
{
    const struct s2i_result *plan = writer->about->plan;

    for (size_t i = 0; plan != NULL && i < plan->script_count; i++)
        if (plan->scripts[i].from != NULL && strncmp(plan->scripts[i].from, "image://", 8) != 0)
            return true;
    return false;
}

/* What the last image gives, as a first stage. */
static int append_cached(struct writer *writer)
{
    const struct s2i_spec *spec = writer->about->spec;
    char path[4200];

    if (!spec->options.incremental || spec->previous.name == NULL ||
        !script_path(writer, "save-artifacts", path, sizeof(path)))
        return 0;
    if (check_word(writer, path) < 0 || check_word(writer, spec->previous.name) < 0)
        return -1;
    append_from(writer, &spec->previous, " AS cached");
    buffer_print(writer->out,
                 "USER %s\n"
                 "RUN if [ -x %s ]; then %s > /tmp/artifacts.tar; else touch /tmp/artifacts.tar; "
                 "fi\n\n",
                 writer->user, path, path);
    return 1;
}

/* Files of other images (13.52). COPY takes what is in a folder, as we do. */
static int append_inputs(const struct writer *writer)
{
    const struct s2i_list *items = &writer->about->spec->options.copy_from;

    for (size_t i = 0; i < items->count; i++) {
        struct slice name, source, destination;
        if (!s2i_copy_parse(slice_of(items->items[i]), &name, &source, &destination))
            return error_set(writer->err, ERROR_INVALID, "copy_from cannot be read");
        const struct s2i_image *image = s2i_spec_input(writer->about->spec, name);
        OWNED(memory_drop) char *from = memory_text(source);
        OWNED(memory_drop) char *to = memory_text(destination);
        if (image == NULL)
            return error_set(writer->err, ERROR_INVALID, "an image of copy_from is not there");
        if (check_word(writer, image->name) < 0 || check_word(writer, from) < 0 ||
            (to[0] != 0 && check_word(writer, to) < 0))
            return -1;
        buffer_append_text(writer->out, "COPY --from=");
        append_image(writer, image);
        buffer_print(writer->out, " --chown=%s:0 %s %s/src/%s%s\n", writer->user, from,
                     writer->destination, to, to[0] != 0 ? "/" : "");
    }
    return 0;
}

static int append_copies(struct writer *writer, bool cached)
{
    const char *destination = writer->destination, *user = writer->user;

    if (has_source_scripts(writer))
        buffer_print(writer->out, "COPY --chown=%s:0 upload/scripts %s/scripts\n", user,
                     destination);
    buffer_print(writer->out, "COPY --chown=%s:0 upload/src %s/src\n", user, destination);
    if (cached)
        buffer_print(writer->out,
                     "COPY --from=cached --chown=%s:0 /tmp/artifacts.tar /tmp/artifacts.tar\n",
                     user);
    if (append_inputs(writer) < 0)
        return -1;
    buffer_print(writer->out, "USER %s\n", user);
    if (cached)
        buffer_print(writer->out,
                     "RUN if [ -s /tmp/artifacts.tar ]; then mkdir -p %s/artifacts && tar -xf "
                     "/tmp/artifacts.tar -C %s/artifacts; fi && rm /tmp/artifacts.tar\n",
                     destination, destination);
    return 0;
}

/* Secrets of the build are mounts, by the names they have here. */
static int append_mounts(struct writer *writer)
{
    const struct s2i_options *options = &writer->about->spec->options;
    struct slice name, rest;

    for (size_t i = 0; i < options->secret_env.count; i++) {
        slice_split(slice_of(options->secret_env.items[i]), '=', &name, &rest);
        if (!is_variable(name))
            return error_set(writer->err, ERROR_INVALID,
                             "the name of a variable is none for a Dockerfile");
        buffer_print(writer->out, "--mount=type=secret,id=%.*s,env=%.*s ", SLICE_ARG(name),
                     SLICE_ARG(name));
    }
    for (size_t i = 0; i < options->inject.count; i++) {
        if (check_word(writer, options->inject.items[i]) < 0)
            return -1;
        slice_split(slice_of(options->inject.items[i]), ':', &name, &rest);
        buffer_print(writer->out, "--mount=type=secret,id=%.*s,target=%.*s ", SLICE_ARG(name),
                     SLICE_ARG(rest));
    }
    return 0;
}

/* RUN and CMD in the form that needs no shell. */
static int append_run(struct writer *writer)
{
    char path[4200];

    if (!script_path(writer, "assemble", path, sizeof(path)))
        return error_set(writer->err, ERROR_INVALID, "there is no assemble script");
    buffer_append_text(writer->out, "RUN ");
    if (append_mounts(writer) < 0)
        return -1;
    buffer_append_text(writer->out, "[");
    buffer_append_json(writer->out, slice_of(path));
    buffer_append_text(writer->out, "]\n");
    if (strcmp(writer->user, writer->image.user) != 0 && writer->image.user[0] != 0) {
        if (check_word(writer, writer->image.user) < 0)
            return -1;
        buffer_print(writer->out, "USER %s\n", writer->image.user);
    }
    if (!script_path(writer, "run", path, sizeof(path)))
        return error_set(writer->err, ERROR_INVALID, "there is no run script");
    buffer_append_text(writer->out, "CMD [");
    buffer_append_json(writer->out, slice_of(path));
    buffer_append_text(writer->out, "]\n");
    return 0;
}

static int write_all(struct writer *writer)
{
    const struct dockerfile *about = writer->about;
    const struct s2i_list *env =
        about->plan != NULL ? &about->plan->env : &about->spec->options.env;

    if (about->spec->builder.name == NULL || check_word(writer, about->spec->builder.name) < 0 ||
        check_word(writer, writer->destination) < 0 || check_word(writer, writer->user) < 0)
        return -1;
    int cached = append_cached(writer);
    if (cached < 0)
        return -1;
    append_from(writer, &about->spec->builder, "");
    if (append_labels(writer) < 0 || append_variables(writer, "ENV", env) < 0 ||
        append_variables(writer, "ARG", &about->spec->options.build_env) < 0)
        return -1;
    if (writer->image.working_dir[0] == 0)
        buffer_append_text(writer->out, "WORKDIR " WORKDIR_DEFAULT "\n");
    return append_copies(writer, cached > 0) < 0 ? -1 : append_run(writer);
}

int dockerfile_make(const struct dockerfile *about, struct buffer *out, struct error *err)
{
    const struct s2i_options *options = &about->spec->options;
    struct writer writer = {.about = about, .out = out, .err = err};

    if (options->runtime_image != NULL)
        return error_set(err, ERROR_INVALID, "a Dockerfile cannot have a runtime image");
    if (image_config_read(&writer.image, slice_of(about->spec->builder.config), err) < 0)
        return -1;
    writer.destination = contract_destination(options, &writer.image);
    writer.user = contract_assemble_user(options, &writer.image);
    if (writer.user[0] == 0)
        writer.user = USER_DEFAULT;
    int outcome = write_all(&writer);
    image_config_drop(&writer.image);
    if (outcome < 0)
        buffer_drop(out);
    return outcome;
}
