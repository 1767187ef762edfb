/* json.h - a JSON value that a scope owns; texts that would become too much of it.
 * Touches  jansson.
 * Never    reads or writes one. */
#ifndef SLIPWAY_CORE_JSON_H
#define SLIPWAY_CORE_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "registry/core/bytes.h"

/* Values that a text of somebody else may have: three bytes of it become 200 in memory. */
enum { JSON_VALUES_MAX = 250000 };

/* Looks at the text alone; of one that is no JSON it says anything. */
bool json_is_crowded(struct slice text);
/* Whatever another program says, by jansson's flags. NULL when it is no JSON, or crowded. Owned by
 * the caller. */
json_t *json_of_others(struct slice text, size_t flags) MUST_CHECK;

/* For OWNED. Accepts NULL, and becomes it. */
static inline void json_drop(json_t **json)
{
    json_decref(*json);
    *json = NULL;
}

#endif
