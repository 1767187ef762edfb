/* json.c - how many values a JSON text has, counted before any of them takes room.
 * Touches  memory only (pure).
 * Never    parses what is crowded: each value but the first comes behind a bracket or a comma. */
#include "registry/core/json.h"

bool json_is_crowded(struct slice text)
{
    size_t values = 1;
    bool in_text = false;

    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (!in_text && (c == '{' || c == '[' || c == ','))
            values++;
    }
    return values > JSON_VALUES_MAX;
}

json_t *json_of_others(struct slice text, size_t flags)
{
    return text.at == NULL || json_is_crowded(text) ? NULL
                                                    : json_loadb(text.at, text.size, flags, NULL);
}
