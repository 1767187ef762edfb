/* glob.h - patterns of tags and names: "*" stands for any text, "?" for one character.
 * Touches  nothing.
 * Never    backtracks more than to the last star: its time is at most the product of the sizes. */
#ifndef SLIPWAY_CORE_GLOB_H
#define SLIPWAY_CORE_GLOB_H

#include <stdbool.h>

#include "registry/core/bytes.h"

bool glob_matches(struct slice pattern, struct slice text);

#endif
