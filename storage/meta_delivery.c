/* meta_delivery.c - deliveries of webhooks: each starts one build at most.
 * Touches  build_deliveries.
 * Never    starts one: build_add does, and notes it in its transaction.
 *
 * Ids of deliveries stand in headers, which no sender signs: whoever saw a signed body could send
 * it again under another id. Where bodies are never the same twice, they are compared too; of other
 * senders the id is all there is. Spec: s2i 14.2, 14.10 */
#include "storage/meta_builds.h"

#include <stdlib.h>

enum { DELIVERIES_MAX = 10000 }; /* kept of one configuration */

/* --- whether it was there --- */

static const char SQL_DELIVERY_FIND[] = "SELECT build_id"
                                        "  FROM build_deliveries"
                                        " WHERE config_id = $1 AND sender = $2 AND delivery = $3";
static const char SQL_DELIVERY_BY_CONTENT[] = "SELECT max(build_id)"
                                              "  FROM build_deliveries"
                                              " WHERE config_id = $1 AND content = $2";

static int by_content(struct db_tx *tx, const struct build_delivery_new *delivery, int64_t *build,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_BY_CONTENT);

    db_bind_i64(&query, delivery->config);
    db_bind_text(&query, delivery->content);
    return meta_number(&query, build, err);
}

int meta_delivery_find(struct db_tx *tx, const struct build_delivery_new *delivery, int64_t *build,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_FIND);

    db_bind_i64(&query, delivery->config);
    db_bind_text(&query, delivery->sender);
    db_bind_text(&query, delivery->id);
    int row = db_step(&query, err);
    *build = row == 1 ? db_column_i64(&query, 0) : 0; /* NULL is 0 */
    if (row < 0 || *build != 0 || delivery->content.at == NULL)
        return row < 0 ? -1 : 0;
    return by_content(tx, delivery, build, err);
}

struct find {
    const struct build_delivery_new *delivery;
    int64_t *build;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;

    return meta_delivery_find(tx, with->delivery, with->build, err);
}

int build_delivery_find(struct storage *store, const struct build_delivery_new *delivery,
                        int64_t *build, struct error *err)
{
    struct find with = {delivery, build};

    return db_read(store->meta->db, find, &with, err);
}

/* --- what came of it --- */

static const char SQL_DELIVERY_PUT[] =
    "INSERT INTO build_deliveries(config_id, sender, delivery, content, event, verdict, build_id,"
    "                             created_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    " ON CONFLICT (config_id, sender, delivery)"
    "   DO UPDATE SET content = excluded.content, verdict = excluded.verdict,"
    "                 build_id = excluded.build_id"
    "           WHERE build_deliveries.build_id IS NULL";
static const char SQL_DELIVERY_TRIM[] = "DELETE FROM build_deliveries"
                                        "      WHERE config_id = $1"
                                        "        AND id <= (SELECT id"
                                        "                     FROM build_deliveries"
                                        "                    WHERE config_id = $1"
                                        "                    ORDER BY id DESC"
                                        "                    LIMIT 1 OFFSET $2)";

/* build 0: it started none. */
static int row_put(struct db_tx *tx, const struct build_delivery_new *delivery,
                   struct slice verdict, int64_t build, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_PUT);

    db_bind_i64(&query, delivery->config);
    db_bind_text(&query, delivery->sender);
    db_bind_text(&query, delivery->id);
    db_bind_text(&query, delivery->content);
    db_bind_text(&query, meta_or_empty(delivery->event));
    db_bind_text(&query, meta_or_empty(verdict));
    meta_bind_time(&query, build);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

static int note(struct db_tx *tx, const struct build_delivery_new *delivery, struct slice verdict,
                int64_t build, struct error *err)
{
    if (meta_build_config_check(tx, delivery->config, err) < 0 ||
        row_put(tx, delivery, verdict, build, err) < 0)
        return -1;
    return META_CHANGE(tx, SQL_DELIVERY_TRIM, err, delivery->config, DELIVERIES_MAX);
}

int meta_delivery_started(struct db_tx *tx, const struct build_delivery_new *delivery,
                          int64_t build, struct error *err)
{
    OWNED(buffer_drop) struct buffer verdict = BUFFER_NONE;

    buffer_print(&verdict, "build %lld was started", (long long)build);
    buffer_append_slice(&verdict, delivery->note);
    return note(tx, delivery, buffer_slice(&verdict), build, err);
}

struct put {
    const struct build_delivery_new *delivery;
    struct slice verdict;
};

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    const struct put *with = arg;

    return note(tx, with->delivery, with->verdict, 0, err);
}

int build_delivery_put(struct storage *store, const struct build_delivery_new *delivery,
                       struct slice verdict, struct error *err)
{
    struct put with = {delivery, verdict};

    return meta_write(store->meta, put, &with, err);
}

/* --- the last ones --- */

static const char SQL_DELIVERIES[] = "SELECT created_at, build_id, sender, delivery, event, verdict"
                                     "  FROM build_deliveries"
                                     " WHERE config_id = $1"
                                     " ORDER BY id DESC"
                                     " LIMIT $2";

struct delivery_list {
    int64_t config;
    size_t limit;
    struct build_deliveries *out;
};

static int delivery_list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct delivery_list *with = arg;
    struct build_deliveries *out = with->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERIES);
    size_t capacity = 0;
    int row;

    build_deliveries_drop(out);
    db_bind_i64(&query, with->config);
    db_bind_i64(&query, (int64_t)with->limit);
    while ((row = db_step(&query, err)) == 1) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = (struct build_delivery){
            .created_at = db_column_i64(&query, 0),
            .build = db_column_i64(&query, 1), /* NULL is 0 */
            .sender = meta_text(&query, 2),
            .delivery = meta_text(&query, 3),
            .event = meta_text(&query, 4),
            .verdict = meta_text(&query, 5),
        };
    }
    return row;
}

int build_delivery_list(struct storage *store, int64_t config, size_t limit,
                        struct build_deliveries *out, struct error *err)
{
    struct delivery_list with = {config, limit, out};

    *out = (struct build_deliveries){.items = NULL};
    if (db_read(store->meta->db, delivery_list, &with, err) == 0)
        return 0;
    build_deliveries_drop(out);
    return -1;
}
