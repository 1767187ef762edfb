/* meta_build_secret.c - what configurations hold that nobody reads back; deliveries of webhooks.
 * Touches  build_secrets, build_deliveries, audit.
 * Never    puts a value into an error or the audit. */
#include "storage/meta_builds.h"

#include <stdlib.h>

enum { DELIVERIES_MAX = 500 }; /* kept of one configuration */

static const char SQL_CONFIG_EXISTS[] = "SELECT id"
                                        "  FROM build_configs"
                                        " WHERE id = $1";

static int config_check(struct db_tx *tx, int64_t config, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CONFIG_EXISTS);

    db_bind_i64(&query, config);
    int row = db_step(&query, err);
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such build configuration");
    return row < 0 ? -1 : 0;
}

/* --- secrets --- */

static const char SQL_SECRET_PUT[] =
    "INSERT INTO build_secrets(config_id, kind, name, value, created_at)"
    "     VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (config_id, kind, name)"
    "   DO UPDATE SET value = excluded.value, created_at = excluded.created_at";
static const char SQL_SECRET_COUNT[] = "SELECT count(*)"
                                       "  FROM build_secrets"
                                       " WHERE config_id = $1 AND kind = $2";
static const char SQL_SECRET_DELETE[] = "DELETE FROM build_secrets"
                                        "      WHERE config_id = $1 AND kind = $2 AND name = $3";
static const char SQL_SECRETS[] = "SELECT name, created_at, value"
                                  "  FROM build_secrets"
                                  " WHERE config_id = $1 AND kind = $2"
                                  " ORDER BY name";
static const char SQL_SECRET_NAMES[] = "SELECT name, created_at, NULL"
                                       "  FROM build_secrets"
                                       " WHERE config_id = $1 AND kind = $2"
                                       " ORDER BY name";

struct secret {
    int64_t config;
    enum build_secret_kind kind;
    struct slice name, value;
    const struct audit_event *event;
};

/* The new one is counted already. */
static int room_check(struct db_tx *tx, const struct secret *secret, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SECRET_COUNT);
    uint64_t count = 0;

    db_bind_i64(&query, secret->config);
    db_bind_i64(&query, secret->kind);
    if (meta_total(&query, &count, err) < 0)
        return -1;
    if (count <= BUILD_SECRETS_MAX)
        return 0;
    return error_set(err, ERROR_CONFLICT, "there are %d secrets of this kind already",
                     BUILD_SECRETS_MAX);
}

static int secret_write(struct db_tx *tx, const struct secret *secret, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SECRET_PUT);

    db_bind_i64(&query, secret->config);
    db_bind_i64(&query, secret->kind);
    db_bind_text(&query, secret->name);
    db_bind_text(&query, secret->value);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

static int secret_put(struct db_tx *tx, void *arg, struct error *err)
{
    const struct secret *with = arg;

    if (config_check(tx, with->config, err) < 0 || secret_write(tx, with, err) < 0 ||
        room_check(tx, with, err) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int build_secret_put(struct storage *store, int64_t config, enum build_secret_kind kind,
                     struct slice name, struct slice value, const struct audit_event *event,
                     struct error *err)
{
    struct secret with = {config, kind, name, value, event};

    if (value.size > BUILD_SECRET_SIZE_MAX)
        return error_set_field(err, "value", "a secret has at most %d bytes",
                               BUILD_SECRET_SIZE_MAX);
    return meta_write(store->meta, secret_put, &with, err);
}

static int secret_delete(struct db_tx *tx, void *arg, struct error *err)
{
    const struct secret *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SECRET_DELETE);

    db_bind_i64(&query, with->config);
    db_bind_i64(&query, with->kind);
    db_bind_text(&query, with->name);
    if (db_finish(&query, err) < 0)
        return -1;
    if (db_changes(&query) == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such secret");
    return meta_audit_add(tx, with->event, err);
}

int build_secret_delete(struct storage *store, int64_t config, enum build_secret_kind kind,
                        struct slice name, const struct audit_event *event, struct error *err)
{
    struct secret with = {config, kind, name, SLICE_NONE, event};

    return meta_write(store->meta, secret_delete, &with, err);
}

struct secret_list {
    int64_t config;
    enum build_secret_kind kind;
    bool with_values;
    struct build_secrets *out;
};

static int secret_list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct secret_list *with = arg;
    struct build_secrets *out = with->out;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, with->with_values ? SQL_SECRETS : SQL_SECRET_NAMES);
    int row;

    build_secrets_drop(out);
    out->items = memory_new(BUILD_SECRETS_MAX * sizeof(*out->items));
    db_bind_i64(&query, with->config);
    db_bind_i64(&query, with->kind);
    while ((row = db_step(&query, err)) == 1 && out->count < BUILD_SECRETS_MAX)
        out->items[out->count++] = (struct build_secret){
            .created_at = db_column_i64(&query, 1),
            .name = meta_text(&query, 0),
            .value = meta_text_or_null(&query, 2),
        };
    return row < 0 ? -1 : 0;
}

int build_secret_list(struct storage *store, int64_t config, enum build_secret_kind kind,
                      bool with_values, struct build_secrets *out, struct error *err)
{
    struct secret_list with = {config, kind, with_values, out};

    *out = (struct build_secrets){.items = NULL};
    if (db_read(store->meta->db, secret_list, &with, err) == 0)
        return 0;
    build_secrets_drop(out);
    return -1;
}

/* --- deliveries --- */

static const char SQL_DELIVERY_ADD[] =
    "INSERT INTO build_deliveries(config_id, sender, delivery, event, verdict, created_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (config_id, sender, delivery)"
    "   DO NOTHING";
static const char SQL_DELIVERY_FIND[] = "SELECT build_id"
                                        "  FROM build_deliveries"
                                        " WHERE config_id = $1 AND sender = $2 AND delivery = $3";
static const char SQL_DELIVERY_TRIM[] = "DELETE FROM build_deliveries"
                                        "      WHERE config_id = $1"
                                        "        AND id <= (SELECT id"
                                        "                     FROM build_deliveries"
                                        "                    WHERE config_id = $1"
                                        "                    ORDER BY id DESC"
                                        "                    LIMIT 1 OFFSET $2)";
static const char SQL_DELIVERY_SETTLE[] = "UPDATE build_deliveries"
                                          "   SET verdict = $1, build_id = $2"
                                          " WHERE config_id = $3 AND sender = $4 AND delivery = $5";
static const char SQL_DELIVERIES[] = "SELECT created_at, build_id, sender, delivery, event, verdict"
                                     "  FROM build_deliveries"
                                     " WHERE config_id = $1"
                                     " ORDER BY id DESC"
                                     " LIMIT $2";

struct note {
    int64_t config;
    const struct build_delivery *delivery;
    bool again;
    int64_t build;
};

static int delivery_add(struct db_tx *tx, struct note *with, struct error *err)
{
    const struct build_delivery *delivery = with->delivery;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_ADD);

    db_bind_i64(&query, with->config);
    db_bind_text(&query, slice_of(delivery->sender));
    db_bind_text(&query, slice_of(delivery->delivery));
    db_bind_text(&query, meta_or_empty(slice_of(delivery->event)));
    db_bind_text(&query, meta_or_empty(slice_of(delivery->verdict)));
    db_bind_i64(&query, clock_now_us());
    if (db_finish(&query, err) < 0)
        return -1;
    with->again = db_changes(&query) == 0;
    return 0;
}

static int delivery_find(struct db_tx *tx, struct note *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_FIND);

    db_bind_i64(&query, with->config);
    db_bind_text(&query, slice_of(with->delivery->sender));
    db_bind_text(&query, slice_of(with->delivery->delivery));
    return meta_number(&query, &with->build, err);
}

/* Spec: s2i 14.10. */
static int note(struct db_tx *tx, void *arg, struct error *err)
{
    struct note *with = arg;

    with->build = 0;
    if (config_check(tx, with->config, err) < 0 || delivery_add(tx, with, err) < 0)
        return -1;
    if (with->again)
        return delivery_find(tx, with, err);
    return META_CHANGE(tx, SQL_DELIVERY_TRIM, err, with->config, DELIVERIES_MAX);
}

int build_delivery_note(struct storage *store, int64_t config,
                        const struct build_delivery *delivery, bool *again, int64_t *build,
                        struct error *err)
{
    struct note with = {config, delivery, false, 0};

    if (meta_write(store->meta, note, &with, err) < 0)
        return -1;
    *again = with.again;
    *build = with.build;
    return 0;
}

struct settle {
    int64_t config;
    struct slice sender, delivery, verdict;
    int64_t build;
};

static int settle(struct db_tx *tx, void *arg, struct error *err)
{
    const struct settle *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DELIVERY_SETTLE);

    db_bind_text(&query, meta_or_empty(with->verdict));
    meta_bind_time(&query, with->build);
    db_bind_i64(&query, with->config);
    db_bind_text(&query, with->sender);
    db_bind_text(&query, with->delivery);
    return db_finish(&query, err);
}

int build_delivery_settle(struct storage *store, int64_t config, struct slice sender,
                          struct slice delivery, struct slice verdict, int64_t build,
                          struct error *err)
{
    struct settle with = {config, sender, delivery, verdict, build};

    return meta_write(store->meta, settle, &with, err);
}

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
