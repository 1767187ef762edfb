/* hook.h - what a delivery of a webhook says: which refs moved to which commits (pure).
 * Touches  memory only.
 * Never    believes where a source is: that the configuration says (14.10). Checks no signature.
 *
 * Spec: s2i 14.2 to 14.9. */
#ifndef SLIPWAY_API_HOOK_H
#define SLIPWAY_API_HOOK_H

#include <jansson.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum hook_sender {
    HOOK_GITHUB,
    HOOK_GITLAB,
    HOOK_GITEA, /* Forgejo and Gogs too */
    HOOK_BITBUCKET,
    HOOK_GENERIC,
    HOOK_SENDERS
};
const char *hook_sender_name(enum hook_sender sender); /* "github" */

enum hook_kind {
    HOOK_OTHER, /* nothing to build: 202 */
    HOOK_PING,
    HOOK_PUSH,
};
/* By the header that names the event; a generic delivery is a push. */
enum hook_kind hook_event(enum hook_sender sender, struct slice event);

enum { HOOK_CHANGES_MAX = 1000, HOOK_REF_MAX = 250, HOOK_ENV_MAX = 100 };
struct hook_change {
    char *ref;    /* whole, "refs/heads/main"; NULL: the configured one */
    char *commit; /* hexadecimal; NULL: whatever the ref is */
    bool deleted;
};
struct hook_push {
    struct hook_change *changes; /* at least one, save of pushes that changed no ref */
    size_t count;
    char *default_branch; /* as the sender says; NULL: it does not */
    json_t *env;          /* "NAME=VALUE" texts; NULL: none */
};
void hook_push_drop(struct hook_push *push);
/* BAD_REQUEST  not JSON, or not in the sender's shape */
int hook_parse(enum hook_sender sender, struct slice body, struct hook_push *out,
               struct error *err) MUST_CHECK;

/* The same of a generic payload in YAML; 14.7. */
int hook_parse_yaml(struct slice body, struct hook_push *out, struct error *err) MUST_CHECK;

/* The change to build: of the configured ref ("main" or "refs/heads/main"; SLICE_NONE: of the
 * default branch). NULL: none of them. Spec: 14.8 */
const struct hook_change *hook_choose(const struct hook_push *push, struct slice configured);

#endif
