/* zone.c - time zones.
 *
 * A file lists the moments at which the offset changed, and ends in a rule (a TZ text of POSIX) for
 * all that comes after the last of them. */
#include "registry/core/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/fd.h"

#define ZONE_FOLDER "/usr/share/zoneinfo/"
#define ZONE_MACHINE "/etc/localtime"

enum {
    HEADER_SIZE = 44,
    CHANGES_MAX = 8192,
    TYPES_MAX = 256,
    TYPE_SIZE = 6,
    FILE_MAX = 256 * 1024,
    OFFSET_MAX = 26 * 3600, /* of the RFC: -24:59:59 to 25:59:59 */
    DAY = 86400,
};

/* A day of each year, and a time of it. */
struct rule_day {
    enum { BY_WEEK, BY_DAY, BY_DAY_WITHOUT_29 } form;
    int month, week, weekday; /* BY_WEEK: 1-12; 1-5, 5 is the last; 0 is Sunday */
    int day;                  /* from 0 with the 29th of February; from 1 without */
    int32_t time;             /* seconds */
};

struct rule {
    bool given, has_summer;
    int32_t standard, summer; /* offsets */
    struct rule_day begin, end;
};

struct zone {
    int64_t *changes;
    uint8_t *types; /* of each change */
    size_t count;
    int32_t offsets[TYPES_MAX]; /* of each type; the first is that of before all changes */
    size_t type_count;
    struct rule rule;
};

/* --- the rule --- */

static bool take(struct slice *text, char c)
{
    if (text->size == 0 || text->at[0] != c)
        return false;
    *text = slice_from(*text, 1);
    return true;
}

static bool take_number(struct slice *text, int most, int *out)
{
    size_t size = 0;

    *out = 0;
    while (size < text->size && size < 4 && text->at[size] >= '0' && text->at[size] <= '9')
        *out = *out * 10 + (text->at[size++] - '0');
    *text = slice_from(*text, size);
    return size > 0 && *out <= most;
}

/* "CET", "<+03>"; only its end matters. */
static bool take_name(struct slice *text)
{
    size_t size = 0;

    if (take(text, '<')) {
        while (size < text->size && text->at[size] != '>')
            size++;
        *text = slice_from(*text, size);
        return take(text, '>');
    }
    while (size < text->size && ((text->at[size] | 0x20) >= 'a' && (text->at[size] | 0x20) <= 'z'))
        size++;
    *text = slice_from(*text, size);
    return size >= 3;
}

/* "[+-]hh[:mm[:ss]]", at most so many hours. */
static bool take_time(struct slice *text, int hours_max, int32_t *out)
{
    bool negative = take(text, '-');
    int hours, minutes = 0, seconds = 0;

    if (!negative)
        take(text, '+');
    if (!take_number(text, hours_max, &hours))
        return false;
    if (take(text, ':') && !take_number(text, 59, &minutes))
        return false;
    if (take(text, ':') && !take_number(text, 59, &seconds))
        return false;
    *out = (hours * 60 + minutes) * 60 + seconds;
    *out = negative ? -*out : *out;
    return true;
}

enum { RULE_HOURS_MAX = 24, RULE_DAY_HOURS_MAX = 167, RULE_TIME = 2 * 3600 };

/* "M3.5.0/2", "J60", "59/-1" */
static bool take_day(struct slice *text, struct rule_day *out)
{
    bool read;

    *out = (struct rule_day){.form = BY_DAY, .time = RULE_TIME};
    if (take(text, 'M')) {
        out->form = BY_WEEK;
        read = take_number(text, 12, &out->month) && out->month > 0 && take(text, '.') &&
               take_number(text, 5, &out->week) && out->week > 0 && take(text, '.') &&
               take_number(text, 6, &out->weekday);
    } else if (take(text, 'J')) {
        out->form = BY_DAY_WITHOUT_29;
        read = take_number(text, 365, &out->day) && out->day > 0;
    } else {
        read = take_number(text, 365, &out->day);
    }
    return read && (!take(text, '/') || take_time(text, RULE_DAY_HOURS_MAX, &out->time));
}

/* "CET-1CEST,M3.5.0,M10.5.0/3"; offsets count westwards there. */
static bool rule_parse(struct slice text, struct rule *out)
{
    int32_t west;

    *out = (struct rule){.given = text.size > 0};
    if (text.size == 0)
        return true;
    if (!take_name(&text) || !take_time(&text, RULE_HOURS_MAX, &west))
        return false;
    out->standard = -west;
    if (text.size == 0)
        return true;
    out->has_summer = true;
    out->summer = out->standard + 3600;
    if (!take_name(&text))
        return false;
    if (text.size > 0 && text.at[0] != ',') {
        if (!take_time(&text, RULE_HOURS_MAX, &west))
            return false;
        out->summer = -west;
    }
    return take(&text, ',') && take_day(&text, &out->begin) && take(&text, ',') &&
           take_day(&text, &out->end) && text.size == 0;
}

/* --- days of years --- */

static int64_t day_of(int year, int month, int day)
{
    struct tm at = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};

    return (int64_t)timegm(&at) / DAY;
}

static int weekday_of(int64_t day)
{
    return (int)(((day + 4) % 7 + 7) % 7); /* 1970 began with a Thursday */
}

/* As shown on the wall. */
static int64_t rule_moment(const struct rule_day *rule, int year)
{
    bool leaps = day_of(year, 3, 1) - day_of(year, 2, 28) == 2;
    int64_t day = day_of(year, 1, 1);

    if (rule->form == BY_WEEK) {
        day = day_of(year, rule->month, 1);
        day += (rule->weekday - weekday_of(day) + 7) % 7 + 7 * (rule->week - 1);
        if (day >= day_of(year, rule->month + 1, 1))
            day -= 7;
    } else if (rule->form == BY_DAY_WITHOUT_29) {
        day += rule->day - 1 + (leaps && rule->day >= 60);
    } else {
        day += rule->day;
    }
    return day * DAY + rule->time;
}

static int32_t rule_offset(const struct rule *rule, int64_t at)
{
    time_t local = (time_t)(at + rule->standard);
    struct tm date;

    if (!rule->has_summer || gmtime_r(&local, &date) == NULL)
        return rule->standard;
    int year = date.tm_year + 1900;
    int64_t begin = rule_moment(&rule->begin, year) - rule->standard;
    int64_t end = rule_moment(&rule->end, year) - rule->summer;
    bool summer = begin < end ? at >= begin && at < end : at >= begin || at < end;
    return summer ? rule->summer : rule->standard;
}

/* --- the file --- */

static int64_t big_endian(const char *at, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | (uint8_t)at[i];
    return size == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

/* Counts of a header, in its order. */
struct header {
    uint64_t indicators_utc, indicators_standard, leaps, changes, types, name_bytes;
};

static bool header_read(struct slice file, struct header *out)
{
    uint64_t *const counts[] = {&out->indicators_utc, &out->indicators_standard,
                                &out->leaps,          &out->changes,
                                &out->types,          &out->name_bytes};

    if (file.size < HEADER_SIZE || !slice_starts(file, "TZif") || file.at[4] < '2')
        return false;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        int64_t count = big_endian(file.at + 20 + 4 * i, 4);
        if (count < 0 || count > FILE_MAX)
            return false;
        *counts[i] = (uint64_t)count;
    }
    return true;
}

/* Bytes of the block after a header whose times have so many. */
static size_t block_size(const struct header *header, size_t time_size)
{
    return (size_t)(header->changes * (time_size + 1) + header->types * TYPE_SIZE +
                    header->name_bytes + header->leaps * (time_size + 4) +
                    header->indicators_standard + header->indicators_utc);
}

static bool types_read(struct zone *zone, struct slice block)
{
    for (size_t i = 0; i < zone->type_count; i++) {
        int64_t offset = big_endian(block.at + i * TYPE_SIZE, 4);
        if (offset <= -OFFSET_MAX || offset >= OFFSET_MAX)
            return false;
        zone->offsets[i] = (int32_t)offset;
    }
    return true;
}

/* Its block has all that the header counts. */
static bool block_read(struct zone *zone, const struct header *header, struct slice block)
{
    if (header->leaps > 0 || header->changes > CHANGES_MAX || header->types == 0 ||
        header->types > TYPES_MAX)
        return false;
    zone->count = header->changes;
    zone->type_count = header->types;
    zone->changes = memory_new((zone->count + 1) * sizeof(*zone->changes));
    zone->types = memory_new(zone->count + 1);
    for (size_t i = 0; i < zone->count; i++) {
        zone->changes[i] = big_endian(block.at + 8 * i, 8);
        zone->types[i] = (uint8_t)block.at[8 * zone->count + i];
        if (zone->types[i] >= zone->type_count ||
            (i > 0 && zone->changes[i] <= zone->changes[i - 1]))
            return false;
    }
    return types_read(zone, slice_from(block, 9 * zone->count));
}

/* The first block is for programs that know 32 bits only. */
static bool zone_read(struct zone *zone, struct slice file)
{
    struct header header;
    struct slice rule, rest;

    if (!header_read(file, &header))
        return false;
    file = slice_from(file, HEADER_SIZE + block_size(&header, 4));
    if (!header_read(file, &header))
        return false;
    file = slice_from(file, HEADER_SIZE);
    size_t size = block_size(&header, 8);
    if (file.size < size || !block_read(zone, &header, (struct slice){file.at, size}))
        return false;
    file = slice_from(file, size);
    return take(&file, '\n') && slice_split(file, '\n', &rule, &rest) &&
           rule_parse(rule, &zone->rule);
}

struct zone *zone_parse(struct slice file)
{
    OWNED(zone_drop) struct zone *zone = memory_new(sizeof(*zone));

    return zone_read(zone, file) ? TAKE(zone) : NULL;
}

void zone_drop(struct zone **owned)
{
    struct zone *zone = *owned;

    if (zone == NULL)
        return;
    free(zone->changes);
    free(zone->types);
    free(zone);
}

/* --- asking --- */

/* How many changes are not after the moment. */
static size_t changes_until(const struct zone *zone, int64_t at)
{
    size_t low = 0, high = zone->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (zone->changes[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int32_t zone_offset(const struct zone *zone, int64_t at)
{
    if (zone == NULL)
        return 0;
    size_t passed = changes_until(zone, at);
    if (passed == zone->count && zone->rule.given)
        return rule_offset(&zone->rule, at);
    return zone->offsets[passed == 0 ? 0 : zone->types[passed - 1]];
}

int64_t zone_moment(const struct zone *zone, int64_t local)
{
    int32_t before = zone_offset(zone, local - DAY), after = zone_offset(zone, local + DAY);
    int64_t early = local - after, late = local - before;

    if (zone_offset(zone, late) == before)
        return late;
    if (zone_offset(zone, early) == after)
        return early;
    while (late - early > 1) { /* the change lies after early, and not after late */
        int64_t middle = early + (late - early) / 2;
        if (zone_offset(zone, middle) == before)
            early = middle;
        else
            late = middle;
    }
    return late;
}

/* --- opening --- */

static bool name_valid(struct slice name)
{
    static const char more[] = "+-_/0123456789";

    if (name.size > ZONE_NAME_MAX || name.at[0] == '/')
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char letter = (char)(name.at[i] | 0x20);
        if ((letter < 'a' || letter > 'z') && (name.at[i] == 0 || strchr(more, name.at[i]) == NULL))
            return false;
    }
    return true;
}

static bool file_read(const char *path, struct buffer *out)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    return fd >= 0 && fd_read(fd, FILE_MAX, out) == 0;
}

int zone_open(struct zone **out, struct slice name, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer file = BUFFER_NONE;

    *out = NULL;
    if (slice_equal_text(name, "UTC") || (name.size == 0 && access(ZONE_MACHINE, F_OK) < 0))
        return 0;
    if (name.size > 0 && !name_valid(name))
        return error_set(err, ERROR_INVALID, "a time zone has a name such as Europe/Berlin");
    buffer_print(&path, "%s%.*s", name.size == 0 ? ZONE_MACHINE : ZONE_FOLDER, SLICE_ARG(name));
    buffer_append(&path, "", 1);
    if (file_read(path.at, &file))
        *out = zone_parse(buffer_slice(&file));
    if (*out != NULL)
        return 0;
    return error_set(err, ERROR_INVALID,
                     "there is no time zone %.*s on this machine; is tzdata installed?",
                     SLICE_ARG(name.size == 0 ? SLICE(ZONE_MACHINE) : name));
}
