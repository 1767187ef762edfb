/* record.h - structs whose fields stand in a table, as members of JSON objects and back.
 * Touches  memory only.
 * Never    trusts what it reads: every text, count and number meets the limit of its row. */
#ifndef SLIPWAY_S2I_RECORD_H
#define SLIPWAY_S2I_RECORD_H

#include <jansson.h>

#include "registry/core/error.h"
#include "s2i/options.h"

enum record_kind {
    RECORD_NAME,   /* char *, NULL when absent */
    RECORD_TEXT,   /* char *, "" when absent */
    RECORD_LIST,   /* struct s2i_list */
    RECORD_FLAG,   /* bool */
    RECORD_NUMBER, /* uint64_t, up to INT64_MAX */
    RECORD_SIGNED, /* int64_t */
    RECORD_INT,    /* int; also written when it is 0 */
    RECORD_DIGEST, /* struct digest */
};
struct record_field {
    const char *name;
    enum record_kind kind;
    size_t at;         /* offset in the struct */
    uint64_t most;     /* bytes of a text, of each text of a list; value of a number */
    size_t items_most; /* of a list */
};

/* The member of the object that a field is; none when nothing is said. Bytes that are no UTF-8
 * become U+FFFD. */
void record_write(const void *record, const struct record_field *fields, size_t count,
                  json_t *object);
/* One field, which must be empty, from its member. INVALID  with the field */
int record_read_field(void *record, const struct record_field *field, const json_t *value,
                      struct error *err) MUST_CHECK;
/* All fields of an object that may have other members too. INVALID */
int record_read(void *record, const struct record_field *fields, size_t count, const json_t *object,
                struct error *err) MUST_CHECK;
/* Frees and empties. */
void record_drop(void *record, const struct record_field *fields, size_t count);
bool record_said(const void *record, const struct record_field *field);

#endif
