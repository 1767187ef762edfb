/* url.h - addresses of sources: what they may look like (pure).
 * Touches  memory.
 * Never    the network, a file.
 *
 * Spec: s2i 4.2, 4.3, 7.5. */
#ifndef SLIPWAY_SOURCE_URL_H
#define SLIPWAY_SOURCE_URL_H

#include "s2i/source/source.h"

struct source_url {
    char *scheme;   /* "https", "http", "ssh", "git"; in lower case */
    char *user;     /* "" when none was named */
    char *host;     /* in lower case; IPv6 without brackets */
    char *path;     /* with its first '/'; of "user@host:path" without one */
    char *ref;      /* after '#'; "" */
    uint16_t port;  /* the scheme's own when none was named */
    bool by_colon;  /* "user@host:path": the path begins in the user's home */
    bool is_number; /* the host is an address */
};
void source_url_drop(struct source_url *url);
/* INVALID  whatever a server does not fetch: local paths, remote helpers, odd characters */
int source_url_read(struct slice text, struct source_url *out, struct error *err) MUST_CHECK;
/* Scheme and port are among those of the settings. INVALID */
int source_url_permitted(const struct source_url *url, const struct source_rules *rules,
                         struct error *err) MUST_CHECK;
/* As Git is given it: without user (but for ssh) and ref. */
void source_url_print(const struct source_url *url, struct buffer *out);
/* Whether it begins as "https://host[:port][/path]" says, up to a whole component of the path. */
bool source_url_begins(const struct source_url *url, struct slice prefix);
/* What a relative URL of .gitmodules means beside its parent's. INVALID */
int source_url_join(const struct source_url *parent, struct slice relative, struct buffer *out,
                    struct error *err) MUST_CHECK;

/* "main", "refs/pull/7/head", a commit's id: no option, no pattern, no pair. */
bool source_ref_valid(struct slice ref);
/* 40 lower- or upper-case hex digits. */
bool source_is_commit(struct slice text);

#endif
