/* config.c - the settings: their order of precedence, show.
 * Touches  the environment it is given, the folder conf.d.
 * Never    YAML (config_file.c); applies a setting. */
#include "registry/config.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/config_internal.h"

void config_report_drop(struct config_report *report)
{
    buffer_drop(&report->errors);
    buffer_drop(&report->warnings);
}

void config_error(struct config_report *report, const struct place *at, struct slice key,
                  const char *format, ...)
{
    size_t start = report->errors.size;
    va_list list;

    buffer_print(&report->errors, "%s: %.*s: ", at->place, SLICE_ARG(key));
    va_start(list, format);
    buffer_print_list(&report->errors, format, list);
    va_end(list);
    for (size_t i = start; i < report->errors.size; i++) /* one mistake is one line */
        if ((unsigned char)report->errors.at[i] < ' ')
            report->errors.at[i] = '?';
    buffer_append_text(&report->errors, "\n");
}

/* --- keys --- */

const struct setting *config_find(struct slice key)
{
    for (size_t i = 0; i < config_setting_count; i++)
        if (slice_equal_text(key, config_settings[i].key))
            return &config_settings[i];
    return NULL;
}

bool config_is_section(struct slice key)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        struct slice whole = slice_of(config_settings[i].key);
        if (whole.size > key.size && memcmp(whole.at, key.at, key.size) == 0 &&
            whole.at[key.size] == '.')
            return true;
    }
    return false;
}

enum { COMPARED_MAX = 64 }; /* longer keys resemble nothing */

/* How many letters must be put in, left out or replaced to make b of a. */
static size_t distance(struct slice a, struct slice b)
{
    size_t row[COMPARED_MAX + 1];

    for (size_t j = 0; j <= b.size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t best = diagonal + (a.at[i - 1] != b.at[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[b.size];
}

static size_t count_dots(struct slice key)
{
    size_t dots = 0;

    for (size_t i = 0; i < key.size; i++)
        dots += key.at[i] == '.';
    return dots;
}

/* The first components of a setting's key, dots + 1 of them, or all. */
static struct slice key_head(const char *key, size_t dots)
{
    const char *at = key;

    while (*at != 0 && (*at != '.' || dots-- > 0))
        at++;
    return (struct slice){key, (size_t)(at - key)};
}

bool config_nearest(struct slice key, struct buffer *out)
{
    size_t best = key.size / 4 < 2 ? 3 : key.size / 4 + 1;
    struct slice found = SLICE_NONE;

    if (key.size > COMPARED_MAX)
        return false;
    for (size_t i = 0; i < config_setting_count; i++) {
        struct slice head = key_head(config_settings[i].key, count_dots(key));
        size_t apart = head.size > COMPARED_MAX ? COMPARED_MAX : distance(key, head);
        if (apart < best) {
            best = apart;
            found = head;
        }
    }
    buffer_append_slice(out, found);
    return found.size > 0;
}

void config_unknown(struct config_report *report, const struct place *at, struct slice key)
{
    OWNED(buffer_drop) struct buffer nearest = BUFFER_NONE;

    if (config_nearest(key, &nearest))
        config_error(report, at, key, "unknown key, did you mean %.*s?",
                     SLICE_ARG(buffer_slice(&nearest)));
    else
        config_error(report, at, key, "unknown key");
}

/* One text as it comes from defaults, the environment and --set: lists are comma-separated. */
static void assign_text(struct config *config, const struct setting *setting, struct slice text,
                        const struct place *at, struct config_report *report)
{
    struct slice items[64];
    size_t count = 0;
    bool more = text.size > 0; /* nothing is a list of none */

    if (setting->kind != SETTING_LIST) {
        config_assign(config, setting, &text, 1, at, report);
        return;
    }
    while (more && count < sizeof(items) / sizeof(items[0])) {
        more = slice_split(text, ',', &items[count], &text);
        items[count] = slice_trim(items[count]);
        count++;
    }
    if (more)
        config_error(report, at, slice_of(setting->key), "the list has more than 64 entries");
    else
        config_assign(config, setting, items, count, at, report);
}

/* --- sources, in order --- */

static void read_defaults(struct config *config, struct config_report *report)
{
    const struct place at = {"default", "default"};

    for (size_t i = 0; i < config_setting_count; i++)
        assign_text(config, &config_settings[i], slice_of(config_settings[i].initial), &at, report);
}

static int is_yaml(const struct dirent *entry)
{
    return fnmatch("*.yml", entry->d_name, FNM_PERIOD) == 0;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* conf.d/ *.yml beside the file. */
static void read_folder(struct config *config, const char *file, struct config_report *report)
{
    OWNED(buffer_drop) struct buffer folder = BUFFER_NONE;
    const char *slash = strrchr(file, '/');
    struct dirent **entries;

    buffer_append(&folder, file, slash == NULL ? 0 : (size_t)(slash - file) + 1);
    buffer_append(&folder, "conf.d", sizeof("conf.d"));
    int count = scandir(folder.at, &entries, is_yaml, compare_names);
    if (count < 0 && errno != ENOENT)
        buffer_print(&report->errors, "%s: cannot be read: %s\n", folder.at, strerror(errno));
    for (int i = 0; i < count; i++) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s/%s", folder.at, entries[i]->d_name);
        config_file_read(config, path.at, report);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

static void read_files(struct config *config, const char *file, struct config_report *report)
{
    if (file == NULL && access(CONFIG_DEFAULT_FILE, F_OK) < 0)
        return;
    if (file == NULL)
        file = CONFIG_DEFAULT_FILE;
    config_file_read(config, file, report);
    read_folder(config, file, report);
}

/* "SLIPWAY_STORAGE_ROOT" of "storage.root". */
static void environment_name(struct slice key, struct buffer *out)
{
    buffer_append_text(out, "SLIPWAY_");
    for (size_t i = 0; i < key.size; i++) {
        char c = key.at[i];
        c = c == '.' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        buffer_append(out, &c, 1);
    }
}

static const struct setting *find_environment(struct slice name)
{
    for (size_t i = 0; i < config_setting_count; i++) {
        OWNED(buffer_drop) struct buffer own = BUFFER_NONE;
        environment_name(slice_of(config_settings[i].key), &own);
        if (slice_equal(name, buffer_slice(&own)))
            return &config_settings[i];
    }
    return NULL;
}

/* What Kubernetes sets in every container for services whose names begin like ours. */
static bool is_injected(const char *name)
{
    static const char *const patterns[] = {"*_SERVICE_HOST", "*_SERVICE_PORT*", "*_PORT",
                                           "*_PORT_[0-9]*_*"};

    for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
        if (fnmatch(patterns[i], name, 0) == 0)
            return true;
    return false;
}

static void warn_environment(struct slice name, struct config_report *report)
{
    OWNED(memory_drop) char *text = memory_text(name);
    OWNED(buffer_drop) struct buffer nearest = BUFFER_NONE;
    size_t best = 4;

    if (is_injected(text))
        return;
    for (size_t i = 0; i < config_setting_count; i++) {
        OWNED(buffer_drop) struct buffer own = BUFFER_NONE;
        environment_name(slice_of(config_settings[i].key), &own);
        size_t apart = name.size > COMPARED_MAX || own.size > COMPARED_MAX
                           ? best
                           : distance(name, buffer_slice(&own));
        if (apart < best) {
            best = apart;
            nearest.size = 0;
            buffer_append_slice(&nearest, buffer_slice(&own));
        }
    }
    buffer_print(&report->warnings, "%s: no such setting", text);
    if (nearest.size > 0)
        buffer_print(&report->warnings, ", did you mean %.*s?", SLICE_ARG(buffer_slice(&nearest)));
    buffer_append_text(&report->warnings, "\n");
}

static void read_environment(struct config *config, char *const *environment,
                             struct config_report *report)
{
    struct slice name, value;

    for (; environment != NULL && *environment != NULL; environment++) {
        if (!slice_split(slice_of(*environment), '=', &name, &value) ||
            !slice_starts(name, "SLIPWAY_"))
            continue;
        const struct setting *setting = find_environment(name);
        OWNED(memory_drop) char *place = memory_text(name);
        const struct place at = {place, place};
        if (setting == NULL)
            warn_environment(name, report);
        else
            assign_text(config, setting, value, &at, report);
    }
}

static void read_assignments(struct config *config, const struct config_inputs *inputs,
                             struct config_report *report)
{
    const struct place at = {"--set", "--set"};
    struct slice key, value;

    for (size_t i = 0; i < inputs->assignment_count; i++) {
        bool complete = slice_split(slice_of(inputs->assignments[i]), '=', &key, &value);
        const struct setting *setting = config_find(key);
        if (!complete)
            config_error(report, &at, key, "expected key=value");
        else if (setting == NULL)
            config_unknown(report, &at, key);
        else
            assign_text(config, setting, value, &at, report);
    }
}

/* --- the whole --- */

bool config_load(struct config *out, const struct config_inputs *inputs,
                 struct config_report *report)
{
    *out = (struct config){0};
    out->sources = memory_new(config_setting_count * sizeof(*out->sources));
    read_defaults(out, report);
    assert(report->errors.size == 0);
    read_files(out, inputs->file, report);
    read_environment(out, inputs->environment, report);
    read_assignments(out, inputs, report);
    config_check(out, report);
    return report->errors.size == 0;
}

void config_drop(struct config *config)
{
    if (config == NULL || config->sources == NULL)
        return;
    for (size_t i = 0; i < config_setting_count; i++) {
        void *field = (char *)config + config_settings[i].offset;
        enum setting_kind kind = config_settings[i].kind;
        if (kind == SETTING_LIST)
            config_list_drop(field);
        else if (kind == SETTING_TEXT || kind == SETTING_CHOICE)
            memory_drop(field);
        free(config->sources[i].shown);
        free(config->sources[i].origin);
    }
    free(config->sources);
    *config = (struct config){0};
}

void config_differences(const struct config *a, const struct config *b, struct buffer *out)
{
    for (size_t i = 0; i < config_setting_count; i++)
        if (strcmp(a->sources[i].shown, b->sources[i].shown) != 0)
            buffer_print(out, "%s%s", out->size > 0 ? "," : "", config_settings[i].key);
}

/* --- show --- */

/* Opens the sections of key that the one before it was not in. */
static void show_sections(const char *before, const char *key, struct buffer *out)
{
    bool same = true;
    int depth = 0;

    for (const char *dot = strchr(key, '.'); dot != NULL; dot = strchr(dot + 1, '.'), depth++) {
        size_t size = (size_t)(dot - key) + 1;
        const char *name = dot;
        same = same && strncmp(before, key, size) == 0;
        if (same)
            continue;
        while (name > key && name[-1] != '.')
            name--;
        buffer_print(out, "%s%*s%.*s:\n", depth == 0 ? "\n" : "", 2 * depth, "", (int)(dot - name),
                     name);
    }
}

void config_show(const struct config *config, enum config_notes notes, struct buffer *out)
{
    const char *before = "";

    buffer_append_text(out, "version: 1\n");
    for (size_t i = 0; i < config_setting_count; i++) {
        const struct setting *setting = &config_settings[i];
        const struct config_source *source = &config->sources[i];
        int indent = 2 * (int)count_dots(slice_of(setting->key));
        show_sections(before, setting->key, out);
        if (notes == CONFIG_NOTES_TEXT)
            buffer_print(out, "%*s# %s\n", indent, "", setting->text);
        buffer_print(out, "%*s%s: %s", indent, "", strrchr(setting->key, '.') + 1, source->shown);
        if (notes == CONFIG_NOTES_ORIGIN)
            buffer_print(out, " # %s", source->origin);
        buffer_append_text(out, "\n");
        before = setting->key;
    }
}
