/* json.h - a JSON value that a scope owns.
 * Touches  jansson.
 * Never    reads or writes one. */
#ifndef SLIPWAY_CORE_JSON_H
#define SLIPWAY_CORE_JSON_H

#include <jansson.h>

/* For OWNED. Accepts NULL, and becomes it. */
static inline void json_drop(json_t **json)
{
    json_decref(*json);
    *json = NULL;
}

#endif
