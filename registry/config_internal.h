/* config_internal.h - shared by config.c (sources, show), config_table.c (the settings),
 * config_values.c (texts into values), config_check.c (what must fit together) and config_file.c
 * (YAML).
 * Touches  memory.
 * Never    included by others. */
#ifndef SLIPWAY_CONFIG_INTERNAL_H
#define SLIPWAY_CONFIG_INTERNAL_H

#include "registry/config.h"

enum setting_kind {
    SETTING_TEXT,
    SETTING_CHOICE, /* one of the words in `choices` */
    SETTING_LIST,
    SETTING_BOOL,
    SETTING_COUNT,
    SETTING_SIZE,
    SETTING_SHARE,
    SETTING_DURATION,
    SETTING_RATE,
};

struct setting {
    const char *key; /* "server.listen" */
    enum setting_kind kind;
    size_t offset;       /* in struct config */
    const char *initial; /* the default, as it would stand in the environment */
    uint64_t least;      /* of numbers, after the unit; of lists and rates, the count */
    uint64_t most;
    const char *choices; /* "a|b" */
    const char *text;    /* what it means, one line */
};

extern const struct setting config_settings[];
extern const size_t config_setting_count;

/* Where a value was found: `place` opens messages, `origin` is what show tells. */
struct place {
    const char *place;
    const char *origin;
};

const struct setting *config_find(struct slice key);
/* Sets one setting from texts; a mistake is added to the report and changes nothing. */
void config_assign(struct config *config, const struct setting *setting, const struct slice *texts,
                   size_t count, const struct place *at, struct config_report *report);
void config_list_drop(struct config_list *list);
/* "place: key: sentence" */
void config_error(struct config_report *report, const struct place *at, struct slice key,
                  const char *format, ...) PRINTF_LIKE(4, 5);
/* The same for a key nobody knows, with the key that was perhaps meant. */
void config_unknown(struct config_report *report, const struct place *at, struct slice key);
/* The setting, or section when `key` is as short as one, closest to key; false when none is. */
bool config_nearest(struct slice key, struct buffer *out);
/* Is this the start of settings' keys ("server.limits")? */
bool config_is_section(struct slice key);

/* Values that are wrong by their form or only together. */
void config_check(const struct config *config, struct config_report *report);

/* Reads one YAML file into config. */
void config_file_read(struct config *config, const char *path, struct config_report *report);

#endif
