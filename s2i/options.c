/* options.c - the table of what a build may be told, and reading and writing by it.
 * Touches  memory only.
 * Never    resolves a name; lets a source say what its row does not allow. */
#include "s2i/options.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/options_check.h"
#include "s2i/record.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Who may say it: the configuration; who may push, too; the source, too. */
enum {
    KEPT = 1 << S2I_FROM_CONFIG,
    ASKED = KEPT | 1 << S2I_FROM_REQUEST,
    FREE = ASKED | 1 << S2I_FROM_SOURCE,
};

struct option {
    struct record_field field;
    option_check *check; /* of a text, or of each of a list; NULL: a flag or a number */
    const char *words;   /* what check is told */
    uint64_t least;      /* of a number that is not 0 */
    unsigned origins;
    bool by_name; /* "NAME=VALUE": set one by one */
};

#define FIELD(name, kind, max, items)                                                              \
    {                                                                                              \
#name, kind, offsetof(struct s2i_options, name), max, items                                \
    }
#define TEXT(name, who, max, how, told)                                                            \
    {                                                                                              \
        FIELD(name, RECORD_NAME, max, 0), how, told, 0, who, false                                 \
    }
#define LIST(name, who, max, items, how)                                                           \
    {                                                                                              \
        FIELD(name, RECORD_LIST, max, items), how, NULL, 0, who, false                             \
    }
#define NAMED(name, who, max, items, how)                                                          \
    {                                                                                              \
        FIELD(name, RECORD_LIST, max, items), how, NULL, 0, who, true                              \
    }
#define FLAG(name, who)                                                                            \
    {                                                                                              \
        FIELD(name, RECORD_FLAG, 0, 0), NULL, NULL, 0, who, false                                  \
    }
#define NUMBER(name, who, min, max)                                                                \
    {                                                                                              \
        FIELD(name, RECORD_NUMBER, max, 0), NULL, NULL, min, who, false                            \
    }

#define MIB (1024ULL * 1024)
#define SECOND 1000ULL
#define DAY (24 * 60 * 60 * SECOND)

static const struct option table[] = {
    TEXT(url, ASKED, 2048, check_url, NULL),
    TEXT(ref, ASKED, 255, check_word, NULL),
    TEXT(context_dir, FREE, 1024, check_inside, NULL),
    TEXT(exclude, ASKED, 1024, check_plain, NULL),
    FLAG(ignore_submodules, ASKED),
    TEXT(builder, FREE, 512, check_reference, NULL),
    TEXT(runtime_image, FREE, 512, check_reference, NULL),
    TEXT(incremental_from, ASKED, 512, check_reference, NULL),
    FLAG(incremental, ASKED),
    LIST(runtime_artifact, ASKED, 2048, 64, check_plain),
    LIST(copy_from, ASKED, 2048, 32, check_copy),
    TEXT(scripts_url, ASKED, 2048, check_scripts_url, NULL),
    TEXT(destination, ASKED, 1024, check_path, NULL),
    TEXT(assemble_user, ASKED, 128, check_word, NULL),
    TEXT(assemble_runtime_user, ASKED, 128, check_word, NULL),
    TEXT(allowed_uids, KEPT, 256, check_uids, NULL),
    NAMED(env, FREE, 16384, 256, check_variable),
    NAMED(build_env, ASKED, 16384, 256, check_variable),
    NAMED(secret_env, ASKED, 16384, 64, check_variable),
    LIST(inject, ASKED, 1024, 32, check_injection),
    LIST(cache, FREE, 512, 16, check_folder),
    LIST(slices, FREE, 512, 32, check_slice),
    LIST(detect, FREE, 512, 64, check_detect),
    LIST(post_commit, ASKED, 16384, 64, check_plain),
    TEXT(application_name, ASKED, 255, check_plain, NULL),
    TEXT(description, ASKED, 1024, check_lines, NULL),
    TEXT(label_prefix, ASKED, 128, check_word, NULL),
    NAMED(labels, ASKED, 4096, 128, check_label),
    LIST(tags, ASKED, 128, 32, check_tag),
    TEXT(compression, ASKED, 8, check_choice, "gzip|zstd"),
    FLAG(oci, ASKED),
    FLAG(clamp_all, ASKED),
    TEXT(network, ASKED, 8, check_choice, "none|proxy|host"),
    LIST(allow, ASKED, 255, 64, check_host_port),
    NUMBER(timeout_ms, ASKED, SECOND, 30 * DAY),
    NUMBER(silence_ms, ASKED, SECOND, 30 * DAY),
    NUMBER(memory, ASKED, 16 * MIB, INT64_MAX),
    NUMBER(disk, ASKED, 16 * MIB, INT64_MAX),
    NUMBER(processes, ASKED, 8, 1000000),
    NUMBER(keep_failed_ms, ASKED, SECOND, 30 * DAY),
    TEXT(log_level, ASKED, 8, check_choice, "output|steps|detail"),
    NUMBER(queue_timeout_ms, ASKED, SECOND, 30 * DAY),
    TEXT(callback_url, ASKED, 2048, check_http_url, NULL),
    TEXT(status_kind, KEPT, 8, check_choice, "github|gitlab|gitea"),
    TEXT(status_url, KEPT, 1024, check_http_url, NULL),
    TEXT(run_policy, KEPT, 16, check_choice, "Serial|SerialLatestOnly|Parallel"),
    TEXT(push_mode, KEPT, 8, check_choice, "wait|accept"),
    TEXT(on_disconnect, KEPT, 8, check_choice, "continue|cancel"),
    LIST(branches, KEPT, 512, 64, check_branch),
    TEXT(default_branch, KEPT, 255, check_word, NULL),
    LIST(protected_branches, KEPT, 255, 64, check_word),
    FLAG(allow_push_env, KEPT),
    FLAG(allow_webhook_env, KEPT),
    TEXT(image_trigger, KEPT, 8, check_choice, "build|rebase"),
    FLAG(rebuild, ASKED),
};

static const struct option *row_of(struct slice name)
{
    for (size_t i = 0; i < LENGTH(table); i++)
        if (slice_equal_text(name, table[i].field.name))
            return &table[i];
    return NULL;
}

static struct s2i_list *list_of(struct s2i_options *options, const struct option *row)
{
    return (struct s2i_list *)(void *)((char *)options + row->field.at);
}

void s2i_options_drop(struct s2i_options *options)
{
    s2i_list_wipe(&options->secret_env);
    for (size_t i = 0; i < LENGTH(table); i++)
        record_drop(options, &table[i].field, 1);
    *options = (struct s2i_options){.url = NULL};
}

/* --- assignments --- */

static struct slice name_of(struct slice assignment)
{
    struct slice name, value;

    slice_split(assignment, '=', &name, &value);
    return name;
}

static char **find_assignment(const struct s2i_list *list, struct slice name)
{
    for (size_t i = 0; i < list->count; i++)
        if (slice_equal(name_of(slice_of(list->items[i])), name))
            return &list->items[i];
    return NULL;
}

void s2i_list_set(struct s2i_list *list, struct slice assignment)
{
    char **found = find_assignment(list, name_of(assignment));

    if (found == NULL) {
        s2i_list_add(list, assignment);
        return;
    }
    char *text = memory_text(assignment);
    explicit_bzero(*found, strlen(*found));
    free(*found);
    *found = text;
}

const char *s2i_list_value(const struct s2i_list *list, struct slice name)
{
    char **found = find_assignment(list, name);
    const char *equals = found == NULL ? NULL : strchr(*found, '=');

    return equals == NULL ? NULL : equals + 1;
}

/* --- reading --- */

static int check_value(const struct option *row, const struct s2i_options *fresh, struct error *err)
{
    const struct s2i_list *list = (const void *)((const char *)fresh + row->field.at);

    switch (row->field.kind) {
    case RECORD_NAME:
        return row->check(row->field.name, row->words, slice_of(*(char *const *)(const void *)list),
                          err);
    case RECORD_LIST:
        for (size_t i = 0; i < list->count; i++)
            if (row->check(row->field.name, row->words, slice_of(list->items[i]), err) < 0)
                return -1;
        return 0;
    case RECORD_NUMBER: {
        uint64_t number = *(const uint64_t *)(const void *)list;
        if (number == 0 || number >= row->least)
            return 0;
        return error_set_field(err, row->field.name, "must be 0 or from %llu to %llu",
                               (unsigned long long)row->least, (unsigned long long)row->field.most);
    }
    default:
        return 0;
    }
}

static bool is_mask(struct slice assignment)
{
    return slice_ends(assignment, "=***") && name_of(assignment).size + 4 == assignment.size;
}

/* Masked values of secret_env are those that were there. */
static int unmask(const struct s2i_options *options, struct s2i_list *secrets, struct error *err)
{
    for (size_t i = 0; i < secrets->count; i++) {
        struct slice item = slice_of(secrets->items[i]);
        char **kept = is_mask(item) ? find_assignment(&options->secret_env, name_of(item)) : NULL;
        if (is_mask(item) && kept == NULL)
            return error_set_field(err, "secret_env", "'***' keeps a value, and there is none");
        if (kept == NULL)
            continue;
        free(secrets->items[i]);
        secrets->items[i] = memory_text(slice_of(*kept));
    }
    return 0;
}

/* Names one by one; the source's only where they are not set yet. */
static int merge_names(struct s2i_list *into, const struct s2i_list *fresh,
                       const struct option *row, enum s2i_origin origin, struct error *err)
{
    for (size_t i = 0; i < fresh->count; i++) {
        struct slice item = slice_of(fresh->items[i]);
        if (origin != S2I_FROM_SOURCE || find_assignment(into, name_of(item)) == NULL)
            s2i_list_set(into, item);
    }
    if (into->count > row->field.items_most)
        return error_set_field(err, row->field.name, "has %zu items, more than %zu", into->count,
                               row->field.items_most);
    return 0;
}

/* The fields of a row change places. */
static void swap_field(struct s2i_options *a, struct s2i_options *b, const struct option *row)
{
    static const size_t sizes[] = {
        [RECORD_NAME] = sizeof(char *),
        [RECORD_LIST] = sizeof(struct s2i_list),
        [RECORD_FLAG] = sizeof(bool),
        [RECORD_NUMBER] = sizeof(uint64_t),
    };
    char kept[sizeof(struct s2i_list)];
    size_t size = sizes[row->field.kind];

    memcpy(kept, (char *)a + row->field.at, size);
    memcpy((char *)a + row->field.at, (char *)b + row->field.at, size);
    memcpy((char *)b + row->field.at, kept, size);
}

static int read_member(struct s2i_options *options, const struct option *row, const json_t *value,
                       enum s2i_origin origin, struct error *err)
{
    OWNED(s2i_options_drop) struct s2i_options fresh = {.url = NULL};

    if (!json_is_null(value) && (record_read_field(&fresh, &row->field, value, err) < 0 ||
                                 check_value(row, &fresh, err) < 0))
        return -1;
    if (unmask(options, &fresh.secret_env, err) < 0)
        return -1;
    if (row->by_name && !json_is_null(value) && origin != S2I_FROM_CONFIG)
        return merge_names(list_of(options, row), list_of(&fresh, row), row, origin, err);
    if (origin != S2I_FROM_SOURCE || !record_said(options, &row->field))
        swap_field(options, &fresh, row);
    return 0;
}

/* As it was when only builds could be started. */
static const json_t *plain_value(const struct option *row, const json_t *value, json_t **made)
{
    if (row->field.at != offsetof(struct s2i_options, image_trigger) || !json_is_boolean(value))
        return value;
    *made = json_is_true(value) ? json_string("build") : json_null();
    return *made;
}

/* Names of members are a stranger's words: shown only when they look like one of ours. */
static int unknown(struct slice name, struct error *err)
{
    bool plain = name.size > 0 && name.size <= 40;

    for (size_t i = 0; i < name.size; i++)
        plain = plain && ((name.at[i] >= 'a' && name.at[i] <= 'z') || name.at[i] == '_');
    if (!plain)
        return error_set_field(err, "options", "has a member that is not known");
    return error_set_field(err, "options",
                           "'%.*s' is not known: OPERATING.md lists all, as does BuildOptions of "
                           "/api/v1/openapi.json",
                           SLICE_ARG(name));
}

int s2i_options_read(struct s2i_options *options, const json_t *object, enum s2i_origin origin,
                     struct error *err)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return error_set_field(err, "options", "must be an object");
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        OWNED(json_drop) json_t *made = NULL;
        const struct option *row = row_of(slice_of(name));
        if (row == NULL)
            return unknown(slice_of(name), err);
        if ((row->origins & 1U << origin) == 0)
            return error_set_field(err, row->field.name, "%s",
                                   origin == S2I_FROM_SOURCE
                                       ? "may not be set by the source"
                                       : "may be set in the build configuration only");
        if (read_member(options, row, plain_value(row, value, &made), origin, err) < 0)
            return -1;
    }
    return 0;
}

/* --- writing --- */

static json_t *write_masked(const struct s2i_list *secrets)
{
    json_t *array = json_array();

    for (size_t i = 0; i < secrets->count; i++) {
        struct slice name = name_of(slice_of(secrets->items[i]));
        json_array_append_new(array, json_sprintf("%.*s=***", SLICE_ARG(name)));
    }
    return array;
}

json_t *s2i_options_write(const struct s2i_options *options, bool secrets)
{
    json_t *object = json_object();

    for (size_t i = 0; i < LENGTH(table); i++)
        record_write(options, &table[i].field, 1, object);
    if (!secrets && options->secret_env.count > 0)
        json_object_set_new(object, "secret_env", write_masked(&options->secret_env));
    return object;
}

/* --- .s2i/s2i.conf --- */

enum { CONF_MAX = 64 * 1024 };

/* The value as the row's kind has it; NULL when it is none. */
static json_t *conf_value(const struct option *row, struct slice value)
{
    uint64_t number;

    if (row->field.kind == RECORD_FLAG)
        return slice_equal_text(value, "true")    ? json_true()
               : slice_equal_text(value, "false") ? json_false()
                                                  : NULL;
    if (row->field.kind == RECORD_NUMBER)
        return slice_to_u64(value, &number) ? json_integer((json_int_t)number) : NULL;
    return json_stringn(value.at, value.size);
}

static int conf_line(struct slice line, size_t number, json_t *object, struct error *err)
{
    struct slice key, rest;
    bool colon = slice_split(line, ':', &key, &rest);
    const struct option *row = row_of(slice_trim(key));

    if (!colon)
        return error_set(err, ERROR_INVALID, "line %zu of .s2i/s2i.conf is not 'key: value'",
                         number);
    if (row == NULL || (row->origins & 1U << S2I_FROM_SOURCE) == 0)
        return error_set(err, ERROR_INVALID,
                         "line %zu of .s2i/s2i.conf: the source may not set this key", number);
    json_t *value = conf_value(row, slice_trim(rest));
    json_t *before = json_object_get(object, row->field.name);
    if (value == NULL)
        return error_set(err, ERROR_INVALID, "line %zu of .s2i/s2i.conf: not a value of %s", number,
                         row->field.name);
    if (before != NULL && row->field.kind == RECORD_LIST) {
        json_array_append_new(before, value);
        return 0;
    }
    if (before != NULL) {
        json_decref(value);
        return error_set(err, ERROR_INVALID, "line %zu of .s2i/s2i.conf: %s is there twice", number,
                         row->field.name);
    }
    json_object_set_new(object, row->field.name,
                        row->field.kind == RECORD_LIST ? json_pack("[o]", value) : value);
    return 0;
}

int s2i_conf_parse(struct slice text, json_t **out, struct error *err)
{
    OWNED(json_drop) json_t *object = json_object();
    struct slice line;

    if (text.size > CONF_MAX)
        return error_set(err, ERROR_INVALID, ".s2i/s2i.conf has %zu bytes, more than %d", text.size,
                         CONF_MAX);
    for (size_t number = 1; text.size > 0; number++) {
        slice_split(text, '\n', &line, &text);
        if (slice_ends(line, "\r"))
            line.size--;
        line = slice_trim(line);
        if (line.size > 0 && line.at[0] != '#' && conf_line(line, number, object, err) < 0)
            return -1;
    }
    *out = TAKE(object);
    return 0;
}
