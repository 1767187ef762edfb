/* scope.h - the scope grammar of token requests and challenges (pure).
 * Touches  memory only.
 * Never    decides what is granted.
 *
 * Spec: TOK-11, TOK-17, TOK-30 to TOK-36, TOK-72; NAME-01. */
#ifndef SLIPWAY_AUTH_SCOPE_H
#define SLIPWAY_AUTH_SCOPE_H

#include "registry/core/bytes.h"

enum scope_action {
    SCOPE_PULL = 1,   /* = RIGHT_PULL */
    SCOPE_PUSH = 2,   /* = RIGHT_PUSH */
    SCOPE_DELETE = 4, /* = RIGHT_DELETE */
    SCOPE_ALL = 256,  /* "*" */
};
enum scope_type { SCOPE_REPOSITORY, SCOPE_CATALOG };

struct scope {
    enum scope_type type;
    /* borrowed from the text: valid by NAME-01, perhaps behind "host:port/", which no repository of
     * ours has; "catalog" for SCOPE_CATALOG */
    struct slice name;
    unsigned actions;
};

enum { SCOPES_MAX = 1000 };
/* Freed with scopes_drop. Same resources are folded, unknown types, names and actions dropped; more
 * than SCOPES_MAX are cut off. */
struct scopes {
    struct scope *items;
    size_t count;
};
void scopes_parse(struct slice text, struct scopes *out);
void scopes_drop(struct scopes *scopes);
/* "pull,push" in this order; "*" last. */
void scope_actions_print(unsigned actions, struct buffer *out);
unsigned scope_actions_parse(struct slice text); /* unknown ones are dropped */
unsigned scope_action_parse(struct slice name);  /* one; 0: unknown */

#endif
