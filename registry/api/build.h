/* build.h - what the files on builds lend to each other.
 * Touches  nothing.
 * Never    included from outside registry/api. */
#ifndef SLIPWAY_API_BUILD_H
#define SLIPWAY_API_BUILD_H

#include "registry/api/api_internal.h"
#include "registry/api/hook.h"
#include "registry/core/json.h"
#include "s2i/s2i.h"

/* Builds are off: UNAVAILABLE. */
int api_builds_needed(const struct request *request, struct error *err) MUST_CHECK;
/* The build in the path, for who may pull or push what it makes; for others there is none.
 * *rights: the caller's on its repository. NOT_FOUND */
int api_build_at(const struct request *request, struct build_record *out, unsigned *rights,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* DENIED  the caller may not push into its repository. */
int api_build_push_needed(unsigned rights, struct error *err) MUST_CHECK;
/* 201 at the build. */
int api_build_answer(const struct request *request, struct reply *reply, int64_t id,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* 201 at the build at once; the body is what it is once it has ended, as far as the caller may see
 * it then: else it is an "error". */
int api_build_answer_end(const struct request *request, struct reply *reply, int64_t id,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* Options as a stored text has them. */
int api_build_options_read(const char *text, struct s2i_options *out, struct error *err) MUST_CHECK;
/* A member with the options, values of secret variables hidden. */
void api_build_options_write(struct buffer *out, const char *name,
                             const struct s2i_options *options);
/* Members with what others are told of a build, and how that went. */
int api_build_told_write(const struct request *request, struct buffer *out, int64_t build,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* The configuration of the repository in the path. NOT_FOUND */
int api_build_config_at(const struct request *request, struct build_config *out,
                        struct error *err) MUST_CHECK ON(worker_thread);

/* Tags of a build: those of its options; else what the table of refs says, where the configured ref
 * is the default branch; else latest (no ref) or the ref's own name. ref, commit: SLICE_NONE when
 * not known. Borrowed from tags by the slices, which are freed by the caller. Spec: 13.21 */
struct build_tags {
    struct s2i_list texts;
    struct slice *slices;
};
void api_build_tags(const struct s2i_options *options, const char *configured, struct slice ref,
                    struct slice commit, struct build_tags *out);
void build_tags_drop(struct build_tags *tags);

/* A delivery whose sender was believed. Everything is borrowed. */
struct hook_delivery {
    struct slice sender;    /* "github" */
    struct slice id, event; /* as the sender calls them */
    struct slice content;   /* a hash of a body that comes once; or SLICE_NONE */
    const struct hook_push *push;
};
/* Starts a build, or says why not; the same delivery again starts none. Answers 202 or 200. */
int api_hook_deliver(const struct request *request, const struct build_config *config,
                     const struct hook_delivery *delivery, struct reply *reply,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* {"message", "build"}; build 0: none. */
void api_hook_answer(struct reply *reply, int status, struct slice message, int64_t build);

#endif
