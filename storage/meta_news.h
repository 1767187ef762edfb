/* meta_news.h - what transactions of meta*.c tell of, news.h.
 * Touches  nothing by itself.
 * Never    included outside of storage/ and its tests.
 *
 * Called within the transaction, when the rows are as they will be; told only when it is committed.
 * Where nobody listens each costs nothing. */
#ifndef SLIPWAY_STORAGE_META_NEWS_H
#define SLIPWAY_STORAGE_META_NEWS_H

#include "storage/meta_internal.h"
#include "storage/news.h"

/* The manifest came: under the tag, or (SLICE_NONE) by itself. from: what the tag stood for before;
 * NULL. */
struct meta_arrival {
    int64_t manifest;
    struct slice tag;
    const struct digest *from;
    const struct actor *actor; /* NULL: the server itself */
    enum tag_cause cause;
};
int meta_news_arrival(struct db_tx *tx, const struct meta_arrival *arrival, struct error *err);
/* The tag, or with SLICE_NONE the manifest, went. digest may be NULL. */
struct meta_departure {
    int64_t repository;
    struct slice tag;
    const struct digest *digest;
    const struct actor *actor; /* NULL: the server itself */
    int cause;                 /* as in struct news */
};
int meta_news_departure(struct db_tx *tx, const struct meta_departure *departure,
                        struct error *err);
/* Before they go: all tags of a manifest. */
int meta_news_tags_departure(struct db_tx *tx, int64_t manifest,
                             const struct meta_departure *departure, struct error *err);
/* Before the collector removes it; nothing when it was told when it was deleted. */
int meta_news_collected(struct db_tx *tx, int64_t manifest, const struct digest *digest,
                        struct error *err);
/* A whole repository went (TAG_DELETED), or is back (TAG_RESTORED). */
void meta_news_repository(struct db_tx *tx, struct slice name, const struct actor *actor,
                          enum tag_cause cause);
/* As its row has it now; nothing where there is none. */
int meta_news_build(struct db_tx *tx, int64_t id, struct error *err);
struct job_record;
void meta_news_job(struct db_tx *tx, const struct job_record *job);

/* As the told of db_options; arg: the store. */
void meta_news_told(void *store, struct db_bulletin *bulletin);

#endif
