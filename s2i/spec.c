/* spec.c - the messages between server and builder as JSON: tables of their fields.
 * Touches  memory only.
 * Never    believes a size or a count of the other side. */
#include "s2i/spec.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/record.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum {
    WORD_MAX = 4096,        /* names, references, reasons */
    LINE_MAX = 64 * 1024,   /* messages, variables */
    TEXT_MAX = 4096 * 1024, /* configs of images, output of usage */
    LIST_MAX = 10000,       /* variables, labels, warnings */
    PACKAGES_MAX = 200000,
    LAYERS_MAX = 512,
    INPUTS_MAX = 32,
    SCRIPTS_MAX = 16,
    WARNINGS_KEPT = 100, /* a page of builds shows them of a thousand */
    WARNINGS_BYTES = 16 * 1024,
    PACKAGES_KEPT = 20000,
    PACKAGES_BYTES = 4 * 1024 * 1024,
};

#define NAME(type, name, most)                                                                     \
    {                                                                                              \
#name, RECORD_NAME, offsetof(type, name), most, 0                                          \
    }
#define TEXT(type, name, most)                                                                     \
    {                                                                                              \
#name, RECORD_TEXT, offsetof(type, name), most, 0                                          \
    }
#define LIST(type, name, most, items)                                                              \
    {                                                                                              \
#name, RECORD_LIST, offsetof(type, name), most, items                                      \
    }
#define NUMBER(type, name)                                                                         \
    {                                                                                              \
#name, RECORD_NUMBER, offsetof(type, name), INT64_MAX, 0                                   \
    }
#define FIELD(type, name, kind)                                                                    \
    {                                                                                              \
#name, kind, offsetof(type, name), 256, 0                                                  \
    }

static const struct record_field layer_fields[] = {
    FIELD(struct s2i_layer, digest, RECORD_DIGEST),
    FIELD(struct s2i_layer, diff_id, RECORD_DIGEST),
    NUMBER(struct s2i_layer, size),
    TEXT(struct s2i_layer, media_type, 256),
};
static const struct record_field image_fields[] = {
    NAME(struct s2i_image, name, WORD_MAX),         TEXT(struct s2i_image, repository, WORD_MAX),
    FIELD(struct s2i_image, digest, RECORD_DIGEST), TEXT(struct s2i_image, media_type, 256),
    TEXT(struct s2i_image, config, TEXT_MAX),
};
static const struct record_field source_fields[] = {
    TEXT(struct s2i_source_facts, url, WORD_MAX),
    TEXT(struct s2i_source_facts, ref, WORD_MAX),
    TEXT(struct s2i_source_facts, commit, WORD_MAX),
    TEXT(struct s2i_source_facts, author, WORD_MAX),
    TEXT(struct s2i_source_facts, author_date, WORD_MAX),
    TEXT(struct s2i_source_facts, subject, LINE_MAX),
    TEXT(struct s2i_source_facts, context_dir, WORD_MAX),
    TEXT(struct s2i_source_facts, tree, WORD_MAX),
    TEXT(struct s2i_source_facts, conf, 1024 * 1024),
    FIELD(struct s2i_source_facts, content, RECORD_DIGEST),
    FIELD(struct s2i_source_facts, time, RECORD_SIGNED),
    NUMBER(struct s2i_source_facts, files),
    NUMBER(struct s2i_source_facts, bytes),
    NUMBER(struct s2i_source_facts, lfs_pointers),
    NUMBER(struct s2i_source_facts, submodules_empty),
    LIST(struct s2i_source_facts, detected, WORD_MAX, LIST_MAX),
};
static const struct record_field limit_fields[] = {
    NUMBER(struct s2i_limits, timeout_ms),
    NUMBER(struct s2i_limits, silence_ms),
    NUMBER(struct s2i_limits, memory),
    NUMBER(struct s2i_limits, disk),
    NUMBER(struct s2i_limits, log),
    NUMBER(struct s2i_limits, processes),
    NUMBER(struct s2i_limits, cpu_percent),
    NUMBER(struct s2i_limits, files_max),
    NUMBER(struct s2i_limits, layer_bytes_max),
};
static const struct record_field spec_fields[] = {
    FIELD(struct s2i_spec, build, RECORD_SIGNED),
    TEXT(struct s2i_spec, target, WORD_MAX),
    FIELD(struct s2i_spec, first_build, RECORD_SIGNED),
    TEXT(struct s2i_spec, proxy_environment, LINE_MAX),
    LIST(struct s2i_spec, secrets, 128 * 1024, 256),
    FIELD(struct s2i_spec, scripts_by_http, RECORD_FLAG),
    LIST(struct s2i_spec, script_schemes, WORD_MAX, LIST_MAX),
    LIST(struct s2i_spec, script_ports, WORD_MAX, LIST_MAX),
    LIST(struct s2i_spec, script_hosts, WORD_MAX, LIST_MAX),
    FIELD(struct s2i_spec, fresh, RECORD_FLAG),
};
static const struct record_field script_fields[] = {
    TEXT(struct s2i_script, name, 256),
    NAME(struct s2i_script, from, WORD_MAX),
    NAME(struct s2i_script, path, WORD_MAX),
};
static const struct record_field made_fields[] = {
    TEXT(struct s2i_made_layer, name, WORD_MAX),
};
static const struct record_field result_fields[] = {
    FIELD(struct s2i_result, done, RECORD_FLAG),
    NAME(struct s2i_result, reason, 256),
    NAME(struct s2i_result, message, LINE_MAX),
    FIELD(struct s2i_result, exit_code, RECORD_INT),
    FIELD(struct s2i_result, kept_until, RECORD_SIGNED),
    NAME(struct s2i_result, run, WORD_MAX),
    LIST(struct s2i_result, env, LINE_MAX, LIST_MAX),
    LIST(struct s2i_result, labels, LINE_MAX, LIST_MAX),
    NAME(struct s2i_result, assemble_user, 256),
    NUMBER(struct s2i_result, files_in),
    NUMBER(struct s2i_result, files_ignored),
    LIST(struct s2i_result, packages, WORD_MAX, PACKAGES_MAX),
    LIST(struct s2i_result, warnings, LINE_MAX, LIST_MAX),
    NAME(struct s2i_result, output, TEXT_MAX),
};

static const char *const modes[] = {
    [S2I_BUILD] = "build", [S2I_PLAN] = "plan", [S2I_USAGE] = "usage"};

/* --- what all of them need --- */

static json_t *write_record(const void *record, const struct record_field *fields, size_t count)
{
    json_t *object = json_object();

    record_write(record, fields, count, object);
    return object;
}

/* A member that must be an object. */
static int member_object(const json_t *object, const char *name, const json_t **out,
                         struct error *err)
{
    *out = json_object_get(object, name);
    return json_is_object(*out) ? 0 : error_set_field(err, name, "must be an object");
}

/* A member that is an array of objects, or absent: *count of them. */
static int member_array(const json_t *object, const char *name, size_t most, const json_t **out,
                        size_t *count, struct error *err)
{
    *out = json_object_get(object, name);
    *count = json_array_size(*out);
    if (*out != NULL && !json_is_array(*out))
        return error_set_field(err, name, "must be a list");
    if (*count > most)
        return error_set_field(err, name, "has %zu items, more than %zu", *count, most);
    for (size_t i = 0; i < *count; i++)
        if (!json_is_object(json_array_get(*out, i)))
            return error_set_field(err, name, "must be a list of objects");
    return 0;
}

/* --- images --- */

void s2i_image_drop(struct s2i_image *image)
{
    for (size_t i = 0; i < image->layer_count; i++)
        record_drop(&image->layers[i], layer_fields, LENGTH(layer_fields));
    free(image->layers);
    record_drop(image, image_fields, LENGTH(image_fields));
    *image = (struct s2i_image){.name = NULL};
}

static json_t *image_write(const struct s2i_image *image)
{
    json_t *object = write_record(image, image_fields, LENGTH(image_fields));
    json_t *layers = json_array();

    for (size_t i = 0; i < image->layer_count; i++)
        json_array_append_new(layers,
                              write_record(&image->layers[i], layer_fields, LENGTH(layer_fields)));
    json_object_set_new(object, "layers", layers);
    return object;
}

static int image_read(struct s2i_image *image, const json_t *object, const char *name,
                      struct error *err)
{
    const json_t *layers;
    size_t count;

    if (record_read(image, image_fields, LENGTH(image_fields), object, err) < 0 ||
        member_array(object, "layers", LAYERS_MAX, &layers, &count, err) < 0)
        return -1;
    image->layers = memory_new((count + 1) * sizeof(*image->layers));
    image->layer_count = count;
    for (size_t i = 0; i < count; i++)
        if (record_read(&image->layers[i], layer_fields, LENGTH(layer_fields),
                        json_array_get(layers, i), err) < 0)
            return -1;
    if (image->name == NULL)
        return error_set_field(err, name, "must have a name");
    return 0;
}

/* An absent image has no name. */
static int image_member(struct s2i_image *image, const json_t *spec, const char *name,
                        struct error *err)
{
    const json_t *object;

    if (json_object_get(spec, name) == NULL)
        return 0;
    return member_object(spec, name, &object, err) < 0 ? -1 : image_read(image, object, name, err);
}

static int inputs_read(struct s2i_spec *out, const json_t *spec, struct error *err)
{
    const json_t *images;
    size_t count;

    if (member_array(spec, "inputs", INPUTS_MAX, &images, &count, err) < 0)
        return -1;
    out->inputs = memory_new((count + 1) * sizeof(*out->inputs));
    for (; out->input_count < count; out->input_count++)
        if (image_read(&out->inputs[out->input_count], json_array_get(images, out->input_count),
                       "inputs", err) < 0) {
            out->input_count++; /* what it has of it is dropped with the others */
            return -1;
        }
    return 0;
}

const struct s2i_image *s2i_spec_input(const struct s2i_spec *spec, struct slice name)
{
    for (size_t i = 0; i < spec->input_count; i++)
        if (slice_equal_text(name, spec->inputs[i].name))
            return &spec->inputs[i];
    return NULL;
}

/* --- the source --- */

void s2i_source_facts_drop(struct s2i_source_facts *facts)
{
    record_drop(facts, source_fields, LENGTH(source_fields));
    *facts = (struct s2i_source_facts){.url = NULL};
}

json_t *s2i_source_facts_write(const struct s2i_source_facts *facts)
{
    return write_record(facts, source_fields, LENGTH(source_fields));
}

int s2i_source_facts_read(struct s2i_source_facts *out, const json_t *object, struct error *err)
{
    if (!json_is_object(object))
        return error_set_field(err, "source", "must be an object");
    if (record_read(out, source_fields, LENGTH(source_fields), object, err) == 0)
        return 0;
    s2i_source_facts_drop(out);
    return -1;
}

/* --- the spec --- */

void s2i_spec_drop(struct s2i_spec *spec)
{
    s2i_image_drop(&spec->builder);
    s2i_image_drop(&spec->previous);
    s2i_image_drop(&spec->runtime);
    for (size_t i = 0; i < spec->input_count; i++)
        s2i_image_drop(&spec->inputs[i]);
    free(spec->inputs);
    s2i_source_facts_drop(&spec->source);
    s2i_options_drop(&spec->options);
    s2i_list_wipe(&spec->secrets);
    record_drop(spec, spec_fields, LENGTH(spec_fields));
    *spec = (struct s2i_spec){.build = 0};
}

static json_t *inputs_write(const struct s2i_spec *spec)
{
    json_t *inputs = json_array();

    for (size_t i = 0; i < spec->input_count; i++)
        json_array_append_new(inputs, image_write(&spec->inputs[i]));
    return inputs;
}

json_t *s2i_spec_write(const struct s2i_spec *spec)
{
    const struct {
        const char *name;
        const struct s2i_image *image;
    } images[] = {
        {"builder", &spec->builder}, {"previous", &spec->previous}, {"runtime", &spec->runtime}};
    json_t *object = write_record(spec, spec_fields, LENGTH(spec_fields));

    json_object_set_new(object, "mode", json_string(modes[spec->mode]));
    for (size_t i = 0; i < LENGTH(images); i++)
        if (images[i].image->name != NULL)
            json_object_set_new(object, images[i].name, image_write(images[i].image));
    if (spec->input_count > 0)
        json_object_set_new(object, "inputs", inputs_write(spec));
    json_object_set_new(object, "source", s2i_source_facts_write(&spec->source));
    json_object_set_new(object, "options", s2i_options_write(&spec->options, true));
    json_object_set_new(object, "limits",
                        write_record(&spec->limits, limit_fields, LENGTH(limit_fields)));
    return object;
}

static int mode_read(enum s2i_mode *out, const json_t *value, struct error *err)
{
    for (size_t i = 0; i < LENGTH(modes); i++)
        if (json_is_string(value) && strcmp(json_string_value(value), modes[i]) == 0) {
            *out = (enum s2i_mode)i;
            return 0;
        }
    return error_set_field(err, "mode", "is not known");
}

static int spec_read(struct s2i_spec *out, const json_t *object, struct error *err)
{
    const json_t *source, *limits;

    if (!json_is_object(object))
        return error_set_field(err, "spec", "must be an object");
    if (record_read(out, spec_fields, LENGTH(spec_fields), object, err) < 0 ||
        mode_read(&out->mode, json_object_get(object, "mode"), err) < 0 ||
        image_member(&out->builder, object, "builder", err) < 0 ||
        image_member(&out->previous, object, "previous", err) < 0 ||
        image_member(&out->runtime, object, "runtime", err) < 0 ||
        inputs_read(out, object, err) < 0)
        return -1;
    if (member_object(object, "source", &source, err) < 0 ||
        s2i_source_facts_read(&out->source, source, err) < 0 ||
        member_object(object, "limits", &limits, err) < 0 ||
        record_read(&out->limits, limit_fields, LENGTH(limit_fields), limits, err) < 0)
        return -1;
    return s2i_options_read(&out->options, json_object_get(object, "options"), S2I_FROM_CONFIG,
                            err);
}

int s2i_spec_read(struct s2i_spec *out, const json_t *object, struct error *err)
{
    *out = (struct s2i_spec){.build = 0};
    if (spec_read(out, object, err) == 0)
        return 0;
    s2i_spec_drop(out);
    return -1;
}

/* --- the result --- */

void s2i_result_drop(struct s2i_result *result)
{
    for (size_t i = 0; i < result->script_count; i++)
        record_drop(&result->scripts[i], script_fields, LENGTH(script_fields));
    for (size_t i = 0; i < result->layer_count; i++) {
        record_drop(&result->layers[i].layer, layer_fields, LENGTH(layer_fields));
        record_drop(&result->layers[i], made_fields, LENGTH(made_fields));
    }
    free(result->scripts);
    free(result->layers);
    record_drop(result, result_fields, LENGTH(result_fields));
    *result = (struct s2i_result){.exit_code = -1};
}

json_t *s2i_result_write(const struct s2i_result *result)
{
    json_t *object = write_record(result, result_fields, LENGTH(result_fields));
    json_t *scripts = json_array(), *layers = json_array();

    for (size_t i = 0; i < result->script_count; i++)
        json_array_append_new(
            scripts, write_record(&result->scripts[i], script_fields, LENGTH(script_fields)));
    for (size_t i = 0; i < result->layer_count; i++) {
        json_t *layer = write_record(&result->layers[i].layer, layer_fields, LENGTH(layer_fields));
        record_write(&result->layers[i], made_fields, LENGTH(made_fields), layer);
        json_array_append_new(layers, layer);
    }
    json_object_set_new(object, "scripts", scripts);
    json_object_set_new(object, "layers", layers);
    return object;
}

static int scripts_read(struct s2i_result *out, const json_t *object, struct error *err)
{
    const json_t *scripts;
    size_t count;

    if (member_array(object, "scripts", SCRIPTS_MAX, &scripts, &count, err) < 0)
        return -1;
    out->scripts = memory_new((count + 1) * sizeof(*out->scripts));
    out->script_count = count;
    for (size_t i = 0; i < count; i++)
        if (record_read(&out->scripts[i], script_fields, LENGTH(script_fields),
                        json_array_get(scripts, i), err) < 0)
            return -1;
    return 0;
}

static int made_layers_read(struct s2i_result *out, const json_t *object, struct error *err)
{
    const json_t *layers;
    size_t count;

    if (member_array(object, "layers", LAYERS_MAX, &layers, &count, err) < 0)
        return -1;
    out->layers = memory_new((count + 1) * sizeof(*out->layers));
    out->layer_count = count;
    for (size_t i = 0; i < count; i++) {
        const json_t *layer = json_array_get(layers, i);
        if (record_read(&out->layers[i].layer, layer_fields, LENGTH(layer_fields), layer, err) <
                0 ||
            record_read(&out->layers[i], made_fields, LENGTH(made_fields), layer, err) < 0)
            return -1;
        if (!digest_is_set(&out->layers[i].layer.digest) ||
            !digest_is_set(&out->layers[i].layer.diff_id))
            return error_set_field(err, "layers", "must have digests");
    }
    return 0;
}

/* How many of the list were too many, and are gone. */
static size_t cut(struct s2i_list *list, size_t most, size_t bytes)
{
    size_t kept = 0, before = list->count;

    while (kept < before && kept < most && strlen(list->items[kept]) <= bytes)
        bytes -= strlen(list->items[kept++]);
    for (size_t i = kept; i < before; i++)
        free(list->items[i]);
    list->count = kept;
    return before - kept;
}

/* A builder says what a script has it say; who looks at builds later is spared of too much. */
static void cut_result(struct s2i_result *result)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    size_t packages = cut(&result->packages, PACKAGES_KEPT, PACKAGES_BYTES);
    size_t warnings = cut(&result->warnings, WARNINGS_KEPT, WARNINGS_BYTES);

    if (warnings > 0) {
        buffer_print(&text, "and %zu more, which the log has", warnings);
        s2i_list_add(&result->warnings, buffer_slice(&text));
    }
    text.size = 0;
    if (packages > 0) {
        buffer_print(&text, "%zu packages are not in the list of parts: there are too many",
                     packages);
        s2i_list_add(&result->warnings, buffer_slice(&text));
    }
}

int s2i_result_read(struct s2i_result *out, const json_t *object, struct error *err)
{
    *out = (struct s2i_result){.exit_code = -1};
    if (!json_is_object(object))
        return error_set_field(err, "result", "must be an object");
    if (record_read(out, result_fields, LENGTH(result_fields), object, err) == 0 &&
        scripts_read(out, object, err) == 0 && made_layers_read(out, object, err) == 0) {
        cut_result(out);
        return 0;
    }
    s2i_result_drop(out);
    return -1;
}
