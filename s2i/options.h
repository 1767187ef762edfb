/* options.h - what a build may be told: one table of fields, read from JSON of requests, stored
 * configurations, push options and .s2i/s2i.conf, and written back.
 * Touches  memory only (pure).
 * Never    fetches or resolves anything.
 *
 * Spec: s2i 11 (fields have the names of upstream's options, with '_'). */
#ifndef SLIPWAY_S2I_OPTIONS_H
#define SLIPWAY_S2I_OPTIONS_H

#include <jansson.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

/* Texts of a list; items may be NULL when count is 0. */
struct s2i_list {
    char **items;
    size_t count;
};
void s2i_list_add(struct s2i_list *list, struct slice text);
void s2i_list_drop(struct s2i_list *list);
void s2i_list_wipe(struct s2i_list *list); /* of secrets: overwrites, then drops */
/* Sets "NAME=VALUE" in a list of such texts: replaces in place, else appends. Spec: 5.3 */
void s2i_list_set(struct s2i_list *list, struct slice assignment);
/* The value of NAME; NULL: none. */
const char *s2i_list_value(const struct s2i_list *list, struct slice name);

/* A text of JSON, the caller's; bytes that are no UTF-8 become U+FFFD. */
json_t *s2i_json_text(struct slice text);

/* What a source's own .s2i/s2i.conf may set is marked (source). Texts NULL: not said. */
struct s2i_options {
    /* source */
    char *url, *ref, *context_dir /* (source) */, *exclude;
    bool ignore_submodules;
    /* images: references into this registry, "repository[:tag][@digest]" */
    char *builder /* (source) */, *runtime_image /* (source) */, *incremental_from;
    bool incremental;
    struct s2i_list runtime_artifact; /* "<source>[:<destination>]", 9.2 */
    struct s2i_list copy_from;        /* "<image>=<source>[:<destination>]", 13.52 */
    /* contract */
    char *scripts_url, *destination, *assemble_user, *assemble_runtime_user, *allowed_uids;
    struct s2i_list env /* (source) */, build_env, secret_env; /* "NAME=VALUE" */
    struct s2i_list inject;                                    /* "<secret>:<path>", 10.21 */
    struct s2i_list cache /* (source) */;                      /* absolute paths, 8.7 */
    struct s2i_list slices /* (source) */;                     /* "name=pattern", 15.6 */
    struct s2i_list detect /* (source) */;                     /* "pattern=builder", 15.7 */
    struct s2i_list post_commit;                               /* words of a command, 13.50 */
    /* result */
    char *application_name, *description, *label_prefix;
    struct s2i_list labels; /* "NAME=VALUE" */
    struct s2i_list tags;   /* of this build; empty: by the table of refs */
    char *compression;      /* "gzip", "zstd" */
    bool oci;               /* media types of OCI also over a Docker builder, 7.9 */
    bool clamp_all;         /* 17.3 */
    /* running */
    char *network;         /* "none", "proxy", "host" */
    struct s2i_list allow; /* "host:port" patterns for the proxy, within the server's */
    uint64_t timeout_ms, silence_ms, memory, disk, processes; /* 0: the server's; never above it */
    uint64_t keep_failed_ms;   /* what a failed build wrote stays on its builder so long; 0: not */
    char *log_level;           /* "output", "steps", "detail" */
    uint64_t queue_timeout_ms; /* how long it may wait, from its creation on; 13.49 */
    char *callback_url;
    char *status_kind; /* "github", "gitlab", "gitea": its commit gets a status there, 13.48 */
    char *status_url;  /* of that API; NULL: as the source's URL tells */
    /* queue, for stored configurations */
    char *run_policy;         /* "Serial", "SerialLatestOnly", "Parallel" */
    char *push_mode;          /* "wait", "accept", 13.23 */
    char *on_disconnect;      /* "continue", "cancel" (also when not said), 13.25 */
    struct s2i_list branches; /* "pattern=tag{,tag}": which refs are built, as what, 13.21 */
    char *default_branch;     /* NULL: the one the repository's HEAD names */
    struct s2i_list protected_branches; /* 13.12 */
    bool allow_push_env;                /* -o env=K=V, 13.23 */
    bool allow_webhook_env;             /* 14.7 */
    char *image_trigger; /* what a new builder starts: "build" (also true), "rebase", 13.51 */
    bool rebuild;        /* also when the inputs were built before, 13.27 */
};
void s2i_options_drop(struct s2i_options *options);

enum s2i_origin {
    S2I_FROM_CONFIG,  /* an administrator of the repository: every field */
    S2I_FROM_REQUEST, /* who may push: all but those of the queue, and allowed_uids */
    S2I_FROM_SOURCE,  /* .s2i/s2i.conf: what is marked (source) */
};
/* Sets the fields that the object names; others stay, null empties one. Every size, count and text
 * meets its limit. Variables and labels of a request are set one by one, other lists are replaced.
 * What the source says counts only where nobody else said anything, its variables name by name. An
 * item "NAME=***" of secret_env keeps the value that options has for NAME.
 * INVALID  with the field; what came before it may be set */
int s2i_options_read(struct s2i_options *options, const json_t *object, enum s2i_origin origin,
                     struct error *err) MUST_CHECK;
/* What this registry is called: its public URL's host, and the one that a request came by. */
struct s2i_hosts {
    struct slice items[2]; /* or SLICE_NONE */
};
/* public_url: "https://host[:port]" or ""; called: "host[:port]" or SLICE_NONE. Borrows both. */
struct s2i_hosts s2i_hosts_of(const char *public_url, struct slice called);
/* The name without a host of ours before it; borrowed from it. */
struct slice s2i_name_own(struct slice name, const struct s2i_hosts *hosts);
/* s2i_options_read of what somebody wrote: names of images may begin with a host of ours, which is
 * left out. What is stored is read without. */
int s2i_options_hear(struct s2i_options *options, const json_t *object, enum s2i_origin origin,
                     const struct s2i_hosts *hosts, struct error *err) MUST_CHECK;
/* Fields that differ from "not said", in the order of the table; the caller's. secrets: values of
 * secret_env stand in it, else "NAME=***". */
json_t *s2i_options_write(const struct s2i_options *options, bool secrets);
/* The lines "key: value" of .s2i/s2i.conf as such an object; a key of a list may come again; '#'
 * starts a comment line. INVALID  with the line */
int s2i_conf_parse(struct slice text, json_t **out, struct error *err) MUST_CHECK;

/* --- what others judge by the same rules --- */

/* An allowed-uids list "n,n-m,n-,-m" (12.4): false when malformed; *holds: uid is in it. */
bool s2i_uids_parse(struct slice list, uint64_t uid, bool *holds);
/* "builders/python[:tag][@digest]" in parts, SLICE_NONE where absent. False when malformed. */
bool s2i_reference_parse(struct slice text, struct slice *repository, struct slice *tag,
                         struct slice *digest);
/* Parts of an item of copy_from: the image's reference, an absolute path in it, a folder below the
 * source ("": the source itself). False when malformed. */
bool s2i_copy_parse(struct slice text, struct slice *image, struct slice *source,
                    struct slice *destination);
/* Whether ".." is a part of the path. */
bool s2i_path_climbs(struct slice path);
/* An URL without its user information, also of "user:secret@host:path" (7.5). */
void s2i_url_clean(struct slice url, struct buffer *out);

#endif
