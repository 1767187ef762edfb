/* meta_build_secret.c - what configurations hold that nobody reads back.
 * Touches  build_secrets, audit.
 * Never    puts a value into an error or the audit. */
#include "storage/meta_builds.h"

#include <stdlib.h>

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

    if (meta_build_config_check(tx, with->config, err) < 0 || secret_write(tx, with, err) < 0 ||
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
