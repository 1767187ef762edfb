/* cron.c - times that come again. */
#include "registry/core/cron.h"

#include <string.h>
#include <time.h>

enum {
    DAY_MINUTES = 24 * 60,
    DAY_SECONDS = 86400,
    FIELDS = 5,
    SEARCH_DAYS = 366 * 41, /* between two 29ths of February of one weekday lie up to 40 years */
    WORD_SHOWN_MAX = 40,
};

struct field {
    const char *what;
    unsigned least, most;
    const char *const *names; /* of least and up; NULL: none */
    size_t name_count;
};

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
                                     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

enum { MINUTE, HOUR, DAY, MONTH, WEEKDAY };
static const struct field fields[FIELDS] = {
    [MINUTE] = {"minute", 0, 59, NULL, 0},
    [HOUR] = {"hour", 0, 23, NULL, 0},
    [DAY] = {"day", 1, 31, NULL, 0},
    [MONTH] = {"month", 1, 12, months, 12},
    [WEEKDAY] = {"weekday", 0, 7, weekdays, 7},
};

/* --- reading --- */

static int refuse(const struct field *field, struct slice word, struct error *err)
{
    if (word.size > WORD_SHOWN_MAX)
        word.size = WORD_SHOWN_MAX;
    return error_set(err, ERROR_INVALID, "\"%.*s\" is no %s from %u to %u, nor a range of them",
                     SLICE_ARG(word), field->what, field->least, field->most);
}

static bool read_value(const struct field *field, struct slice text, unsigned *out)
{
    uint64_t value;

    for (size_t i = 0; i < field->name_count; i++)
        if (slice_equal_ignore_case(text, field->names[i])) {
            *out = field->least + (unsigned)i;
            return true;
        }
    if (!slice_to_u64(text, &value) || value < field->least || value > field->most)
        return false;
    *out = (unsigned)value;
    return true;
}

/* "*", "5", "1-5"; a week may end with its Sunday. */
static bool read_range(const struct field *field, struct slice text, unsigned *from, unsigned *to)
{
    struct slice low, high;

    *from = field->least;
    *to = field->most;
    if (slice_equal_text(text, "*"))
        return true;
    bool range = slice_split(text, '-', &low, &high);
    if (!read_value(field, low, from) || (range && !read_value(field, high, to)))
        return false;
    if (!range)
        *to = *from;
    else if (field == &fields[WEEKDAY] && *to == 0)
        *to = 7;
    return *from <= *to;
}

static int read_item(const struct field *field, struct slice item, uint64_t *bits,
                     struct error *err)
{
    struct slice range, step_text;
    uint64_t step = 1;
    unsigned from, to;

    bool stepped = slice_split(item, '/', &range, &step_text);
    if (!read_range(field, range, &from, &to))
        return refuse(field, item, err);
    if (stepped && (!slice_to_u64(step_text, &step) || step == 0 || step > field->most ||
                    (from == to && !slice_starts(range, "*"))))
        return refuse(field, item, err);
    for (unsigned at = from; at <= to; at += (unsigned)step)
        *bits |= UINT64_C(1) << at;
    return 0;
}

static int read_field(const struct field *field, struct slice text, uint64_t *bits,
                      struct error *err)
{
    struct slice item;
    bool more = true;

    *bits = 0;
    while (more) {
        more = slice_split(text, ',', &item, &text);
        if (read_item(field, item, bits, err) < 0)
            return -1;
    }
    return 0;
}

/* Cuts the next word off. */
static struct slice next_word(struct slice *text)
{
    size_t size = 0;

    *text = slice_trim(*text);
    while (size < text->size && text->at[size] != ' ' && text->at[size] != '\t')
        size++;
    struct slice word = {text->at, size};
    *text = slice_trim(slice_from(*text, size));
    return word;
}

static struct slice without_nickname(struct slice text)
{
    static const struct {
        const char *name, *fields;
    } known[] = {
        {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},   {"@midnight", "0 0 * * *"},
        {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"},
        {"@annually", "0 0 1 1 *"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (slice_equal_text(text, known[i].name))
            return slice_of(known[i].fields);
    return text;
}

static int read_fields(struct slice text, struct cron *out, struct error *err)
{
    struct slice words[FIELDS];
    uint64_t bits[FIELDS];

    for (size_t i = 0; i < FIELDS; i++)
        words[i] = next_word(&text);
    if (words[FIELDS - 1].size == 0 || text.size > 0)
        return error_set(err, ERROR_INVALID,
                         "a schedule has five fields (minute hour day month weekday), as in "
                         "30 3 * * *, or is @daily and the like");
    for (size_t i = 0; i < FIELDS; i++)
        if (read_field(&fields[i], words[i], &bits[i], err) < 0)
            return -1;
    *out = (struct cron){.minutes = bits[MINUTE],
                         .hours = (uint32_t)bits[HOUR],
                         .days = (uint32_t)bits[DAY],
                         .months = (uint32_t)bits[MONTH],
                         .weekdays = (uint32_t)(bits[WEEKDAY] | bits[WEEKDAY] >> 7),
                         .any_day = slice_starts(words[DAY], "*"),
                         .any_weekday = slice_starts(words[WEEKDAY], "*")};
    return 0;
}

int cron_parse(struct slice text, struct cron *out, struct error *err)
{
    if (text.size > CRON_TEXT_MAX)
        return error_set(err, ERROR_INVALID, "a schedule has at most %d bytes", CRON_TEXT_MAX);
    if (read_fields(without_nickname(slice_trim(text)), out, err) < 0)
        return -1;
    if (cron_next(out, NULL, 0) < 0)
        return error_set(err, ERROR_INVALID, "there is no such day in any of its months");
    return 0;
}

/* --- the next time --- */

static bool has(uint64_t bits, int number)
{
    return (bits >> number & 1) != 0;
}

static bool day_fits(const struct cron *cron, int64_t day)
{
    time_t at = (time_t)(day * DAY_SECONDS);
    struct tm date;

    if (gmtime_r(&at, &date) == NULL || !has(cron->months, date.tm_mon + 1))
        return false;
    bool by_day = has(cron->days, date.tm_mday), by_weekday = has(cron->weekdays, date.tm_wday);
    return cron->any_day || cron->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* From this minute of a day on; -1: none is left. */
static int next_minute(const struct cron *cron, int minute)
{
    for (; minute < DAY_MINUTES; minute++)
        if (has(cron->hours, minute / 60) && has(cron->minutes, minute % 60))
            return minute;
    return -1;
}

static int64_t floor_divide(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after)
{
    int64_t minute = floor_divide(after + zone_offset(zone, after), 60) + 1; /* on the wall */
    int64_t day = floor_divide(minute, DAY_MINUTES);
    int from = (int)(minute - day * DAY_MINUTES);

    for (int64_t last = day + SEARCH_DAYS; day < last; day++, from = 0) {
        if (!day_fits(cron, day))
            continue;
        for (int at = next_minute(cron, from); at >= 0; at = next_minute(cron, at + 1)) {
            int64_t moment = zone_moment(zone, (day * DAY_MINUTES + at) * 60);
            if (moment > after)
                return moment;
        }
    }
    return -1;
}
