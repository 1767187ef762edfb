/* push.h - what a push asks for: the commands and options that receive-pack tells its proc-receive
 * hook, read; the verdicts, written.
 * Touches  memory only (pure).
 * Never    trusts a name: refs are whatever a client sent, until refs.h has judged them. */
#ifndef SLIPWAY_GIT_PUSH_H
#define SLIPWAY_GIT_PUSH_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "s2i/options.h"

enum {
    GIT_OID_SIZE = 40, /* hex digits of SHA-1, which is what our repositories use */
    PUSH_COMMANDS_MAX = 1000,
    PUSH_OPTIONS_MAX = 64,
    PUSH_OPTION_SIZE_MAX = 4096,
    PUSH_REF_SIZE_MAX = 1024,
};

struct push_command {
    char old[GIT_OID_SIZE + 1], new[GIT_OID_SIZE + 1];
    char *ref;
};
struct push_request {
    struct push_command *commands;
    size_t count;
    char **options;
    size_t option_count;
    bool atomic;
};
void push_request_drop(struct push_request *request);

/* All zeros: the ref is not there, or is to go. */
bool oid_is_none(const char *oid);
bool oid_valid(struct slice text);

/* The first section: "version=1" and what git knows beside. 1: it is whole, 0, -1: malformed. */
int push_capabilities(struct slice text, bool *options, bool *atomic);
/* Whether text, which the hook reads from receive-pack, is whole. 1, 0; -1: it is malformed. */
int push_request_complete(struct slice text);
/* "version=1" and capabilities, flush; commands, flush; options and flush when there are such.
 * BAD_REQUEST  malformed, or more than the limits above */
int push_request_parse(struct slice text, struct push_request *out, struct error *err) MUST_CHECK;

/* What the options of a push say, in words of ours. Spec: s2i 13.23 */
struct push_wishes {
    bool async, wait, no_build, no_cache, rebuild;
    struct s2i_list tags, env;
    char *builder;
};
void push_wishes_drop(struct push_wishes *wishes);
/* INVALID  an option that is not known, or malformed */
int push_wishes_parse(const struct push_request *request, struct push_wishes *out,
                      struct error *err) MUST_CHECK;

/* "ok REF" and "option fall-through", or "ng REF REASON". */
void push_verdict_append(struct buffer *out, const char *ref, const char *reason_or_null);

#endif
