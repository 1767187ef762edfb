/* log_filter.h - what a script prints becomes lines that everybody may see (pure).
 * Touches  memory only.
 * Never    files, time.
 *
 *   bytes --only colours, no other control character, UTF-8--> text --secrets are "***"--> lines
 *
 * Each stream has a filter of its own: bytes may be split anywhere, in the middle of an escape
 * sequence, of a character, of a secret, of a secret of many lines. Spec: s2i 5.4, 13.13, 13.45 */
#ifndef SLIPWAY_S2I_LOG_FILTER_H
#define SLIPWAY_S2I_LOG_FILTER_H

#include "registry/core/bytes.h"

/* What is not to be seen: texts of MASK_MIN bytes and more; of a text with many lines each line of
 * MASK_LINE_MIN and more as well, for tools that print them one by one. Immutable. */
enum { MASK_MIN = 4, MASK_LINE_MIN = 8 };
struct log_masks {          /* log_masks.c */
    bool first[256];        /* bytes that one begins with */
    struct log_mask *items; /* in the order of their bytes */
    size_t count, capacity;
};
struct log_masks *log_masks_new(const struct slice *secrets, size_t count);
void log_masks_free(struct log_masks *masks); /* wipes; accepts NULL */
/* How one can begin at s: its size when all of it is there, the longest of many, or 0; *open is set
 * when there may be more of one than is there. masks may be NULL. */
size_t log_masks_match(const struct log_masks *masks, struct slice s, bool *open);

/* Zero-initialised but for the first three is a filter at the start of a line. */
struct log_filter {
    const struct log_masks *masks; /* outlive it */
    void (*line)(void *arg, struct slice line);
    void *arg;
    enum { FILTER_TEXT, FILTER_ESCAPE, FILTER_CSI, FILTER_STRING, FILTER_STRING_END } state;
    bool returned; /* a '\r' was last */
    uint8_t parameter_size, utf8_size, utf8_wanted;
    char parameters[24]; /* of the escape sequence so far */
    char utf8[4];        /* of the character so far */
    struct buffer clean; /* of the line so far */
    struct buffer held;  /* may be the start of a secret */
    struct buffer text;  /* masked, of a line */
};

/* Calls line for each that is complete, without its end. What is longer than LOG_LINE_MAX becomes
 * many. A '\r' in a line goes back to its start, as on a terminal. */
void log_filter_write(struct log_filter *filter, struct slice bytes);
/* The same for what is held, as if a line ended here. */
void log_filter_flush(struct log_filter *filter);
void log_filter_drop(struct log_filter *filter);

#endif
