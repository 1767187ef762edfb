/* paging.h - the parameters n and last, and the Link to the next page.
 * Touches  nothing (pure).
 * Never    storage.
 *
 * Spec: TAG-03 to TAG-07, CAT-01, HTTP-16. */
#ifndef SLIPWAY_V2_PAGING_H
#define SLIPWAY_V2_PAGING_H

#include "registry/http/message.h"

struct paging {
    struct slice
        last;     /* strictly after it; SLICE_NONE: from the start. Borrowed from the request */
    size_t limit; /* names at most */
    bool counted; /* the request named n */
};

/* Without n: limit_default names; a larger n than limit_max is clamped.
 * UNSUPPORTED  (400) n is not a non-negative integer */
int paging_parse(const struct request *request, size_t limit_default, size_t limit_max,
                 struct paging *out, struct error *err) MUST_CHECK;
/* Adds the header that leads to what follows `last` in the list at path. */
void paging_link(struct reply *reply, struct slice path, const struct paging *paging,
                 struct slice last);

#endif
