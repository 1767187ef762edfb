/* version.h - tags that are versions, in the order people mean.
 * Touches  nothing (pure).
 * Never    a number's size: digits are compared as they stand. */
#ifndef SLIPWAY_RETENTION_VERSION_H
#define SLIPWAY_RETENTION_VERSION_H

#include "registry/core/bytes.h"

/* "1.2.3", "v2", "1.4.0-rc.1": numbers with dots between them, a v before them, and after a dash or
 * an underscore whatever comes. */
bool version_valid(struct slice tag);
/* Of two versions. Numbers first, a missing one is 0; then one with something after its dash comes
 * before one without: 1.4.0-rc.1 < 1.4.0. Parts after the dash, between dots: numbers by value and
 * before words, words by their bytes, fewer parts first. */
int version_compare(struct slice a, struct slice b);

#endif
