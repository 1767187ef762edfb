/* meta_build_repository.c - builds and configuration of a repository that goes, or comes back.
 * Touches  builds, build_turns, build_configs, build_moves, build_messages.
 * Never    decides that it goes: meta_removed.c. */
#include "storage/meta_builds.h"
#include "storage/meta_news.h"

#include <stdlib.h>

static const char SQL_LIVE[] = "SELECT id"
                               "  FROM builds"
                               " WHERE state < 3 AND repository = $1"
                               " ORDER BY id";
static const char SQL_END[] =
    "UPDATE builds"
    "   SET state = 6, reason = 'CancelledBuild', message = 'its repository was deleted',"
    "       finished_at = $1"
    " WHERE state < 3 AND repository = $2";
static const char SQL_BUILDS_ASIDE[] = "UPDATE builds"
                                       "   SET repository = '~' || $1"
                                       " WHERE repository = $2";
static const char SQL_CONFIG_ASIDE[] = "UPDATE build_configs"
                                       "   SET repository = '~' || $1"
                                       " WHERE repository = $2";
static const char SQL_TURN_END[] = "DELETE FROM build_turns"
                                   "      WHERE repository = $1";
static const char SQL_MOVES_END[] = "DELETE FROM build_moves"
                                    "      WHERE repo_id = $1";
static const char SQL_BUILDS_BACK[] = "UPDATE builds"
                                      "   SET repository = $1"
                                      " WHERE repository = '~' || $2";
static const char SQL_CONFIG_BACK[] =
    "UPDATE build_configs"
    "   SET repository = $1"
    " WHERE repository = '~' || $2"
    "   AND NOT EXISTS (SELECT 1 FROM build_configs WHERE repository = $1)";
static const char SQL_CONFIG_LEFT[] = "DELETE FROM build_configs"
                                      "      WHERE repository = '~' || $1";

/* $1 a number, $2 the name. */
static int change(struct db_tx *tx, const char *sql, int64_t value, struct slice name,
                  struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, value);
    db_bind_text(&query, name);
    return db_finish(&query, err);
}

/* $1 the name, $2 the id. */
static int change_back(struct db_tx *tx, const char *sql, struct slice name, int64_t repository,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_text(&query, name);
    db_bind_i64(&query, repository);
    return db_finish(&query, err);
}

static int turn_end(struct db_tx *tx, struct slice name, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TURN_END);

    db_bind_text(&query, name);
    return db_finish(&query, err);
}

/* Those that have not ended. */
static int live_find(struct db_tx *tx, struct slice name, struct meta_ids *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LIVE);

    db_bind_text(&query, name);
    return meta_ids_fill(out, &query, err);
}

static int end_live(struct db_tx *tx, struct slice name, struct meta_ids *live, struct error *err)
{
    if (live_find(tx, name, live, err) < 0 || change(tx, SQL_END, clock_now_us(), name, err) < 0)
        return -1;
    for (size_t i = 0; i < live->count; i++)
        if (meta_news_build(tx, live->items[i], err) < 0)
            return -1;
    return meta_messages_note_all(tx, live, BUILD_CANCELLED, err);
}

static void ids_drop(struct meta_ids *ids)
{
    free(ids->items);
}

int meta_builds_aside(struct db_tx *tx, int64_t repository, struct slice name, struct error *err)
{
    OWNED(ids_drop) struct meta_ids live = {.count = 0};

    if (end_live(tx, name, &live, err) < 0 ||
        change(tx, SQL_BUILDS_ASIDE, repository, name, err) < 0 ||
        change(tx, SQL_CONFIG_ASIDE, repository, name, err) < 0 ||
        META_CHANGE(tx, SQL_MOVES_END, err, repository) < 0)
        return -1;
    return turn_end(tx, name, err);
}

int meta_builds_back(struct db_tx *tx, int64_t repository, struct slice name, struct error *err)
{
    if (change_back(tx, SQL_BUILDS_BACK, name, repository, err) < 0 ||
        change_back(tx, SQL_CONFIG_BACK, name, repository, err) < 0)
        return -1;
    return META_CHANGE(tx, SQL_CONFIG_LEFT, err, repository);
}
