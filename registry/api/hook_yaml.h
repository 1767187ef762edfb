/* hook_yaml.h - a payload in YAML becomes the same values as JSON (pure).
 * Touches  memory only.
 * Never    follows an alias, believes a tag, guesses the type of a word. */
#ifndef SLIPWAY_API_HOOK_YAML_H
#define SLIPWAY_API_HOOK_YAML_H

#include <jansson.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { HOOK_YAML_DEPTH_MAX = 32, HOOK_YAML_NODES_MAX = 10000 };

/* One document that is a mapping; none is an empty one. Scalars are texts, also 1 and true; a plain
 * null, ~ or nothing is null. BAD_REQUEST  anything else: anchors, aliases, tags, directives (any
 * line that begins with %), a key twice, a second document, more than the limits; other than UTF-8.
 * Spec: s2i 14.7 */
int hook_yaml_read(struct slice text, json_t **out, struct error *err) MUST_CHECK;

#endif
