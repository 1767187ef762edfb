/* meta_builds.h - shared by the files meta_build*.c, and by those that move a whole repository.
 * Touches  nothing by itself.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_META_BUILDS_H
#define SLIPWAY_STORAGE_META_BUILDS_H

#include "storage/builds.h"
#include "storage/meta_internal.h"
#include "storage/storage_internal.h"

/* In the order of meta_build_row. The table is called b. */
#define BUILD_COLUMNS                                                                              \
    "b.id, b.account_id, b.created_at, b.started_at, b.finished_at, b.epoch, b.retry_of, b.state," \
    "       b.policy, b.source, b.exit_code, b.layer_size, b.log_size, b.repository,"              \
    "       b.triggered_by, b.actor, b.url, b.ref, b.commit_id, b.builder, b.builder_digest,"      \
    "       b.spec, b.tags, b.stages, b.facts, b.reason, b.message, b.input_key,"                  \
    "       b.result_digest, b.ended_by, b.left_by"
enum { BUILD_COLUMN_COUNT = 31 };
struct build_record meta_build_row(const struct db_query *query);
/* What *out held is freed. NOT_FOUND. meta_build_list.c */
int meta_build_read(struct db_tx *tx, int64_t id, struct build_record *out, struct error *err);

/* NOT_FOUND. meta_build_config.c */
int meta_build_config_check(struct db_tx *tx, int64_t config, struct error *err);

/* Ids that a transaction tells of; made anew when it runs again. */
struct meta_ids {
    int64_t *items;
    size_t count, capacity;
};
void meta_ids_add(struct meta_ids *ids, int64_t id);
/* The ids of rows, in the only column. */
int meta_ids_fill(struct meta_ids *ids, struct db_query *query, struct error *err);

/* With the end of its build, which is not told as done when they cannot move: PROTECTED. Who calls
 * forgets them after COMMIT. meta_build_move.c */
int meta_build_tags(struct db_tx *tx, const struct meta *meta, const struct build_tagging *tags,
                    struct error *err);
void meta_build_tags_forget(struct cache *cache, struct slice repository, const struct slice *names,
                            size_t count);
/* With the end of its build. meta_build_attest.c */
int meta_build_attestation_add(struct db_tx *tx, int64_t build, struct slice document,
                               struct error *err);
/* With the rebase that made the image, which is there; actor NULL: the server itself. */
int meta_rebase_attestation_add(struct db_tx *tx, int64_t repository, const struct digest *image,
                                const struct actor *actor, struct slice document,
                                struct error *err);
/* What others are told: with a new build; of its state from now on, in the transaction that changes
 * it. meta_build_message.c */
int meta_messages_add(struct db_tx *tx, const struct build_new *build, int64_t id,
                      struct error *err);
int meta_messages_note(struct db_tx *tx, int64_t build, enum build_state state, struct error *err);
int meta_messages_note_all(struct db_tx *tx, const struct meta_ids *builds, enum build_state state,
                           struct error *err);
/* The build that the delivery started before, or 0; that it started this one. meta_delivery.c */
int meta_delivery_find(struct db_tx *tx, const struct build_delivery_new *delivery, int64_t *build,
                       struct error *err);
int meta_delivery_started(struct db_tx *tx, const struct build_delivery_new *delivery,
                          int64_t build, struct error *err);

/* A repository is set aside: its builds that have not ended are cancelled; all of them, and its
 * configuration, go out of sight with it, so that the next one of this name inherits nothing.
 * meta_build_repository.c */
int meta_builds_aside(struct db_tx *tx, int64_t repository, struct slice name, struct error *err);
/* It comes back. Should there be a configuration of this name by now, that one stays. */
int meta_builds_back(struct db_tx *tx, int64_t repository, struct slice name, struct error *err);

#endif
