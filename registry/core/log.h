/* log.h - events with typed fields, one a line, written by a thread of their own.
 * Touches  standard error (or what log_open was given).
 * Never    blocks the caller on I/O: a full queue drops the line and counts it; secrets and bodies.
 *
 * Formats: text (terminals), logfmt, json. core, storage and auth return errors and do not log,
 * save storage's background threads, which have nobody to return to. */
#ifndef SLIPWAY_CORE_LOG_H
#define SLIPWAY_CORE_LOG_H

#include "registry/core/bytes.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };

enum log_field_kind {
    LOG_FIELD_END,
    LOG_FIELD_NONE, /* left out */
    LOG_FIELD_TEXT,
    LOG_FIELD_SLICE,
    LOG_FIELD_U64,
    LOG_FIELD_I64
};

struct log_field {
    enum log_field_kind kind;
    const char *name;
    union {
        const char *text;
        struct slice slice;
        uint64_t u64;
        int64_t i64;
    } value;
};

#define F_TEXT(name_, value_)                                                                      \
    ((struct log_field){.kind = LOG_FIELD_TEXT, .name = (name_), .value.text = (value_)})
#define F_SLICE(name_, value_)                                                                     \
    ((struct log_field){.kind = LOG_FIELD_SLICE, .name = (name_), .value.slice = (value_)})
#define F_U64(name_, value_)                                                                       \
    ((struct log_field){.kind = LOG_FIELD_U64, .name = (name_), .value.u64 = (value_)})
#define F_I64(name_, value_)                                                                       \
    ((struct log_field){.kind = LOG_FIELD_I64, .name = (name_), .value.i64 = (value_)})

/* One event. Fields with empty text are left out. Any thread. */
#define log_event(level, name, ...)                                                                \
    log_write((level), (name),                                                                     \
              (const struct log_field[]){                                                          \
                  {.kind = LOG_FIELD_NONE}, ##__VA_ARGS__, {.kind = LOG_FIELD_END}})

void log_write(enum log_level level, const char *event, const struct log_field *fields);

/* Starts the writing thread. fd is borrowed. Before log_open events go straight to standard error.
 */
void log_open(int fd, enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
/* Writes what is queued and ends the thread. */
void log_close(void);

#endif
