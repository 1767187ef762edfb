/* config_values.c - texts become values: numbers with units, choices, lists; bounds; the texts
 * kept for show.
 * Touches  one setting of struct config.
 * Never    where a text came from, save to say so in a message. */
#include <stdlib.h>
#include <string.h>

#include "registry/config_internal.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"", 1},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ms", 1},
    {"s", 1000},
    {"m", UINT64_C(60) * 1000},
    {"h", UINT64_C(3600) * 1000},
    {"d", UINT64_C(24) * 3600 * 1000},
    {NULL, 0},
};

static const struct unit count_units[] = {{"", 1}, {NULL, 0}};
static const struct unit percent_units[] = {{"%", 1}, {NULL, 0}};

/* Digits and a unit; 0 needs none. False when malformed or above 2^63-1. */
static bool number_parse(struct slice text, const struct unit *units, uint64_t *out)
{
    size_t digits = 0;

    while (digits < text.size && text.at[digits] >= '0' && text.at[digits] <= '9')
        digits++;
    if (!slice_to_u64((struct slice){text.at, digits}, out))
        return false;
    struct slice unit = slice_from(text, digits);
    if (unit.size == 0 && *out == 0)
        return true;
    for (; units->name != NULL; units++) {
        if (!slice_equal_text(unit, units->name))
            continue;
        if (*out > (uint64_t)INT64_MAX / units->factor)
            return false;
        *out *= units->factor;
        return true;
    }
    return false;
}

bool config_size_parse(struct slice text, uint64_t *out)
{
    return number_parse(text, size_units, out);
}

static const struct {
    const struct unit *units;
    const char *expected;
} kinds[] = {
    [SETTING_COUNT] = {count_units, "a number"},
    [SETTING_SIZE] = {size_units, "a size such as 4MiB or 10GiB"},
    [SETTING_SHARE] = {size_units, "a size such as 10GiB or a part such as 5%"},
    [SETTING_DURATION] = {duration_units, "a duration such as 90s, 24h or 7d"},
    [SETTING_RATE] = {count_units, "a rate such as 10/1m, over 1s to 30d"},
};

/* The largest unit that divides the value. */
static void number_print(struct buffer *out, const struct unit *units, uint64_t value)
{
    const struct unit *best = units;

    for (; units->name != NULL; units++)
        if (value != 0 && value % units->factor == 0)
            best = units;
    buffer_print(out, "%llu%s", (unsigned long long)(value / best->factor), best->name);
}

static bool is_choice(struct slice text, struct slice choices)
{
    struct slice word = SLICE_NONE;
    bool more = true;

    while (more) {
        more = slice_split(choices, '|', &word, &choices);
        if (slice_equal(word, text))
            return true;
    }
    return false;
}

/* One text on its way into one setting; what is wrong with it goes to the report. */
struct assignment {
    const struct setting *setting;
    const struct place *at;
    struct config_report *report;
};

#define REFUSE(to, ...)                                                                            \
    (config_error((to)->report, (to)->at, slice_of((to)->setting->key), __VA_ARGS__), false)

enum { QUOTED_MAX = 60 };

static bool refuse_text(const struct assignment *to, const char *expected, struct slice found)
{
    OWNED(buffer_drop) struct buffer quoted = BUFFER_NONE;

    if (found.size > QUOTED_MAX)
        found.size = QUOTED_MAX;
    buffer_append_json(&quoted, found);
    return REFUSE(to, "expected %s, found %.*s", expected, SLICE_ARG(buffer_slice(&quoted)));
}

static bool refuse_bound(const struct assignment *to, const char *bound, uint64_t value)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    number_print(&text, kinds[to->setting->kind].units, value);
    return REFUSE(to, "must be at %s %.*s", bound, SLICE_ARG(buffer_slice(&text)));
}

static bool number_read(const struct assignment *to, struct slice text, uint64_t *out)
{
    const struct setting *setting = to->setting;
    uint64_t value;

    if (!number_parse(text, kinds[setting->kind].units, &value))
        return refuse_text(to, kinds[setting->kind].expected, text);
    if (value < setting->least)
        return refuse_bound(to, "least", setting->least);
    if (value > setting->most)
        return refuse_bound(to, "most", setting->most);
    *out = value;
    return true;
}

static bool share_read(const struct assignment *to, struct slice text, struct config_share *out)
{
    struct config_share share = {0, 0};

    if (slice_ends(text, "%")) {
        if (!number_parse(text, percent_units, &share.percent) || share.percent > 99)
            return refuse_text(to, "0% to 99%", text);
    } else if (!number_read(to, text, &share.bytes)) {
        return false;
    }
    *out = share;
    return true;
}

enum { RATE_PER_MIN_MS = 1000 };
static const uint64_t RATE_PER_MAX_MS = UINT64_C(30) * 24 * 3600 * 1000;

/* "10/1m" */
static bool rate_read(const struct assignment *to, struct slice text, struct config_rate *out)
{
    struct config_rate rate;
    struct slice count, per;

    if (!slice_split(text, '/', &count, &per) || !number_parse(count, count_units, &rate.count) ||
        !number_parse(per, duration_units, &rate.per_ms) || rate.per_ms < RATE_PER_MIN_MS ||
        rate.per_ms > RATE_PER_MAX_MS)
        return refuse_text(to, kinds[SETTING_RATE].expected, text);
    if (rate.count > to->setting->most)
        return refuse_bound(to, "most", to->setting->most);
    *out = rate;
    return true;
}

static bool bool_read(const struct assignment *to, struct slice text, bool *out)
{
    bool yes = slice_equal_text(text, "true");

    if (!yes && !slice_equal_text(text, "false"))
        return refuse_text(to, "true or false", text);
    *out = yes;
    return true;
}

static bool text_read(const struct assignment *to, struct slice text, char **out)
{
    const struct setting *setting = to->setting;

    if (setting->kind == SETTING_CHOICE && !is_choice(text, slice_of(setting->choices)))
        return refuse_text(to, setting->choices, text);
    if (memchr(text.at, 0, text.size) != NULL)
        return REFUSE(to, "the value holds a zero byte");
    free(*out);
    *out = memory_text(text);
    return true;
}

void config_list_drop(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){NULL, 0};
}

static bool list_read(const struct assignment *to, const struct slice *texts, size_t count,
                      struct config_list *out)
{
    if (count < to->setting->least || count > to->setting->most)
        return REFUSE(to, "expected %llu to %llu entries, found %zu",
                      (unsigned long long)to->setting->least, (unsigned long long)to->setting->most,
                      count);
    for (size_t i = 0; i < count; i++)
        if (texts[i].size == 0 || memchr(texts[i].at, 0, texts[i].size) != NULL)
            return REFUSE(to, "entry %zu is empty or holds a zero byte", i + 1);
    config_list_drop(out);
    out->items = memory_new(count * sizeof(*out->items));
    for (size_t i = 0; i < count; i++)
        out->items[out->count++] = memory_text(texts[i]);
    return true;
}

static bool value_read(struct config *config, const struct assignment *to,
                       const struct slice *texts, size_t count)
{
    void *field = (char *)config + to->setting->offset;

    if (to->setting->kind == SETTING_LIST)
        return list_read(to, texts, count, field);
    if (count != 1)
        return REFUSE(to, "expected one value, found a list");
    switch (to->setting->kind) {
    case SETTING_BOOL:
        return bool_read(to, texts[0], field);
    case SETTING_SHARE:
        return share_read(to, texts[0], field);
    case SETTING_RATE:
        return rate_read(to, texts[0], field);
    case SETTING_TEXT:
    case SETTING_CHOICE:
        return text_read(to, texts[0], field);
    default:
        return number_read(to, texts[0], field);
    }
}

/* The value as it stands in a YAML file. */
static void value_show(const struct setting *setting, const struct slice *texts, size_t count,
                       struct buffer *out)
{
    bool quoted = setting->kind == SETTING_TEXT || setting->kind == SETTING_CHOICE;

    if (setting->kind == SETTING_LIST)
        buffer_append_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(out, i > 0 ? ", " : "");
        if (quoted || setting->kind == SETTING_LIST)
            buffer_append_json(out, texts[i]);
        else
            buffer_append_slice(out, texts[i]);
    }
    if (setting->kind == SETTING_LIST)
        buffer_append_text(out, "]");
}

void config_assign(struct config *config, const struct setting *setting, const struct slice *texts,
                   size_t count, const struct place *at, struct config_report *report)
{
    const struct assignment to = {setting, at, report};
    struct config_source *source = &config->sources[setting - config_settings];
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;

    if (!value_read(config, &to, texts, count))
        return;
    value_show(setting, texts, count, &shown);
    free(source->shown);
    free(source->origin);
    source->shown = memory_text(buffer_slice(&shown));
    source->origin = memory_text(slice_of(at->origin));
}
