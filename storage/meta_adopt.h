/* meta_adopt.h - rows of files that are taken in many at a time; see adopt.h.
 * Touches  the database only.
 * Never    bytes: the caller has synced what it says is synced. */
#ifndef SLIPWAY_STORAGE_META_ADOPT_H
#define SLIPWAY_STORAGE_META_ADOPT_H

#include "storage/adopt.h"
#include "storage/meta.h"

enum meta_adopt_state {
    META_ADOPT_ABSENT,    /* nowhere, or damaged */
    META_ADOPT_ELSEWHERE, /* the store has it, this repository lacks it or its lease is short */
    META_ADOPT_HERE
};

struct meta_adopt {
    struct descriptor blob; /* size: of the row, unless it is absent */
    enum meta_adopt_state state;
    bool linked;                     /* the repository had it, whatever its lease */
    char locator[LOCATOR_SIZE + 1];  /* of the bytes in the store; a fresh one for what is absent */
    char id[OCI_UPLOAD_ID_SIZE + 1]; /* of the session of what is absent; "" for none */
};

/* Fills size, state, linked and locator by digest. */
int meta_adopt_look(struct meta *meta, struct slice repository, struct meta_adopt *items,
                    size_t count, struct error *err) MUST_CHECK;
/* P1 for every item with an id. Such a session cannot be resumed, by nobody: its file may be one
 * that others own too, so it is never cut back. */
int meta_adopt_start(struct meta *meta, struct slice repository, const struct meta_adopt *items,
                     size_t count, const struct actor *actor, struct error *err) MUST_CHECK;
/* Their lives begin anew. */
int meta_adopt_touch(struct meta *meta, const struct meta_adopt *items, size_t count,
                     struct error *err) MUST_CHECK;
/* P3 for every item with an id, a link for those that are ELSEWHERE: one transaction. What was
 * elsewhere and is not any more becomes ABSENT. */
int meta_adopt_finish(struct meta *meta, struct slice repository, struct meta_adopt *items,
                      size_t count, const struct actor *actor, struct error *err) MUST_CHECK;
/* One transaction; outcomes as in adopt.h. */
int meta_adopt_tags(struct meta *meta, struct slice repository, struct adopt_tag *tags,
                    size_t count, bool overwrite, const struct actor *actor,
                    const struct meta_after *after, struct error *err) MUST_CHECK;

#endif
