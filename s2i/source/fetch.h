/* fetch.h - brings one commit of a remote repository here, by a confined `git fetch`.
 * Touches  the network, within the rules; a folder it is given.
 * Never    follows a redirect; asks a name's address twice; asks a person.
 *
 * Spec: s2i 4.3, 16.10, 16.12. */
#ifndef SLIPWAY_SOURCE_FETCH_H
#define SLIPWAY_SOURCE_FETCH_H

#include "s2i/source/run.h"
#include "s2i/source/url.h"

/* The fetched commit, where it is not named by its id. */
#define FETCHED_REF "refs/s2i/source"

struct fetch {
    const struct source_url *url;
    const char *commit; /* 40 digits, or NULL */
    const char *ref;    /* branch, tag, whole name; NULL: HEAD, or all when a commit is named */
    const struct s2i_list *credentials;
    const struct source_rules *rules;
    const struct patience *patience;
    const char *folder;    /* there already, empty: becomes a folder with "repository" in it */
    struct build_log *log; /* NULL: none */
};
/* INVALID  not found, not permitted, too large, too late, with a sentence. UNAVAILABLE */
int source_fetch(const struct fetch *fetch, struct error *err) MUST_CHECK;
/* "<folder>/repository", the caller's. */
char *source_fetch_path(const char *folder);

#endif
