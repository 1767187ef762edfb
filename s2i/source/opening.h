/* opening.h - shared by open.c, answer.c and modules.c: one source on its way from a wish to a tar.
 * Touches  nothing.
 * Never    included by the child's side. */
#ifndef SLIPWAY_SOURCE_OPENING_H
#define SLIPWAY_SOURCE_OPENING_H

#include "s2i/source/fetch.h"
#include "s2i/source/reading.h"

struct opening {
    const struct source_wish *wish;
    const struct source_rules *rules;
    struct patience patience;
    struct source_url url; /* BUILD_FROM_URL */
    struct reading_orders orders;
    char *folder; /* of its own; NULL until it is needed */
    unsigned fetches;
    int tar;
    const char *reason;
};

/* What an opening's reason is, when it fails. */
#define REASON_FETCH "FetchSourceFailed"
#define REASON_CONTEXT "InvalidContextDirectory"
#define REASON_SOURCE "InvalidSource"

/* Has the child read what the orders say, and fetches the submodules it asks for: the tar is
 * written, and facts are read. INVALID, STORAGE_FULL, UNAVAILABLE */
int opening_read(struct opening *opening, struct s2i_source_facts *facts,
                 struct error *err) MUST_CHECK;
/* Fetches into a folder of the opening's own. *repository: where it is now, the caller's. */
int opening_fetch(struct opening *opening, struct fetch *fetch, char **repository,
                  struct error *err) MUST_CHECK;
/* A text of the child's answer; "" when there is none. */
const char *opening_member(const json_t *object, const char *name);

/* The URL of a gitlink: of .gitmodules, beside its parent's. */
struct module_url {
    char *path;
    struct source_url url;
};
struct module_urls {
    struct module_url *items;
    size_t count;
};
void module_urls_drop(struct module_urls *urls);
/* Fetches what the child found to be missing, and adds it to the orders. A submodule of a pushed
 * commit that cannot be had leaves an empty folder. INVALID, UNAVAILABLE */
int opening_fetch_modules(struct opening *opening, struct module_urls *urls, const json_t *gitlinks,
                          struct error *err) MUST_CHECK;

#endif
