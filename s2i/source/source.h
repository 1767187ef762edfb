/* source.h - sources of builds become one tar, whatever they were.
 * Touches  confined children, bare repositories, a nameless file.
 * Never    reads a stranger's bytes in this process beside the facts' JSON.
 *
 * The tar holds the context folder's content: names checked (4.10), modes of Git (4.8), the
 * commit's time on every entry, owner 0:0, in bytewise order, never .git, exclude applied (4.7),
 * submodules in their places (4.5). The same tree and time give the same bytes, from push, URL and
 * archive.
 *
 * A child `slipway source` reads repositories and archives (libgit2, libarchive); `git fetch` runs
 * as a child too, and so does who asks the resolver. */
#ifndef SLIPWAY_S2I_SOURCE_H
#define SLIPWAY_S2I_SOURCE_H

#include "s2i/log.h"
#include "s2i/spec.h"
#include "storage/builds.h"

struct source_wish {
    enum build_source kind;
    const char *repository_folder; /* BUILD_FROM_PUSH: the bare repository */
    struct slice commit, ref;
    struct slice url;         /* BUILD_FROM_URL */
    int archive;              /* BUILD_FROM_ARCHIVE: tar, tar.gz, zip, as it is: a folder that holds
                                 all the rest is context_dir's to name; else -1 */
    struct slice context_dir; /* checked here: 4.4 */
    struct slice exclude;     /* POSIX extended; SLICE_NONE: the default; "": nothing. 4.7 */
    bool ignore_submodules;
    const struct s2i_list *detect; /* "pattern=builder"; NULL: none */
    /* "NAME\tPREFIX\tKIND\tVALUE" of credentials (16.12); wiped by the caller */
    const struct s2i_list *credentials;
    uint64_t files_max, bytes_max, blob_max; /* 4.11 */
    uint64_t timeout_ms;
    const char *scratch;   /* a folder for what is fetched, in one of its own that goes again */
    struct build_log *log; /* what a fetch says */
    int cancel;            /* readable: stop (UNAVAILABLE); -1 */
};
/* What may be fetched from where: settings (16.10). */
struct source_rules {
    const struct s2i_list *schemes, *ports, *allowed_hosts; /* allowed: private addresses too */
    uint64_t bytes_max;
};
/* *fd: the tar, at its start, the caller's. err's code INVALID with *reason: "FetchSourceFailed",
 * "InvalidContextDirectory", "InvalidSource" (a constant); others are ours. */
int source_open(const struct source_wish *wish, const struct source_rules *rules, int *fd,
                struct s2i_source_facts *facts, const char **reason, struct error *err) MUST_CHECK;

/* 4.2. INVALID */
int source_url_check(struct slice url, const struct source_rules *rules,
                     struct error *err) MUST_CHECK;

/* GET of a small file through the same filter: scripts by URL (2.7); callbacks and statuses post a
 * body (11.1, 13.48). *status: HTTP's. */
struct source_request {
    const char *url;
    struct slice body, content_type; /* a POST when body.at != NULL */
    const struct s2i_list *headers;  /* of a POST: "Name: value", wiped after; NULL: no others */
    size_t size_max;
    uint64_t timeout_ms;
    const int *cancel; /* readable: stop (UNAVAILABLE); NULL: nobody stops it */
};
/* INVALID  it may not be asked, or answers more than that.  UNAVAILABLE  no answer */
int source_http(const struct source_request *request, const struct source_rules *rules,
                struct buffer *out, int *status, struct error *err) MUST_CHECK;

/* The child: `slipway source`. Reads its orders as JSON from standard input. */
int source_child(void);
/* The child that asks the resolver: `slipway resolve HOST`. Prints an address a line; its exit
 * status is 0, or what getaddrinfo said, negated. */
int source_resolve_child(const char *host);
/* This program under the name "askpass", as git calls it: prints the user or the password that was
 * handed over. */
int source_askpass(const char *prompt);
#define SOURCE_ASKPASS_VARIABLE "SLIPWAY_ASKPASS_DESCRIPTOR"

#endif
