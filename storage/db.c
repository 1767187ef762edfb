/* db.c - what every database shares: forwarding, and queries that bind in order.
 * Touches  nothing of its own.
 * Never    an engine's header. */
#include "storage/db.h"

#include <stdlib.h>

struct db {
    const struct db_driver *driver;
    void *self;
};

int db_open(struct db **out, const struct db_driver *driver, const struct db_options *options,
            struct error *err)
{
    void *self = NULL;

    if (driver->open(&self, options, err) < 0)
        return -1;
    struct db *db = memory_new(sizeof(*db));
    *db = (struct db){driver, self};
    *out = db;
    return 0;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    db->driver->close(db->self);
    free(db);
}

const struct db_dialect *db_dialect(const struct db *db)
{
    return &db->driver->dialect;
}

int db_read(struct db *db, db_run *run, void *arg, struct error *err)
{
    return db->driver->read(db->self, run, arg, err);
}

int db_write(struct db *db, const struct db_work *work, struct error *err)
{
    return db->driver->write(db->self, work, err);
}

int db_snapshot(struct db *db, const char *path, const struct progress *progress, struct error *err)
{
    return db->driver->snapshot(db->self, path, progress, err);
}

int db_execute(struct db_tx *tx, const char *script, struct error *err)
{
    return tx->driver->execute(tx, script, err);
}

int db_verify(struct db_tx *tx, bool deep, db_fault *fault, void *arg, struct error *err)
{
    return tx->driver->verify(tx, deep, fault, arg, err);
}

void db_bulletin_drop(struct db_bulletin *bulletin)
{
    for (struct db_news *news = bulletin->first, *next; news != NULL; news = next) {
        next = news->next;
        free(news);
    }
    *bulletin = (struct db_bulletin){.first = NULL};
}

void db_tell(struct db_tx *tx, struct db_news *news)
{
    struct db_bulletin *bulletin = tx->bulletin;

    if (bulletin->count == DB_NEWS_MAX) {
        bulletin->lost++;
        free(news);
        return;
    }
    news->next = NULL;
    if (bulletin->last == NULL)
        bulletin->first = news;
    else
        bulletin->last->next = news;
    bulletin->last = news;
    bulletin->count++;
}

struct db_query db_query(struct db_tx *tx, const char *sql)
{
    struct db_query query = {.tx = tx};

    query.failed = tx->driver->prepare(tx, sql, &query.statement, &query.error);
    return query;
}

void db_query_end(struct db_query *query)
{
    if (query->statement != NULL)
        query->tx->driver->reset(query->statement);
    query->statement = NULL;
}

static void bound(struct db_query *query, int result)
{
    if (result != 0 && query->failed == 0)
        query->failed = error_set(&query->error, ERROR_INTERNAL, "internal error");
}

void db_bind_i64(struct db_query *query, int64_t value)
{
    if (query->failed == 0)
        bound(query, query->tx->driver->bind_i64(query->statement, ++query->bound, value));
}

void db_bind_text(struct db_query *query, struct slice value)
{
    if (value.at == NULL)
        db_bind_null(query);
    else if (query->failed == 0)
        bound(query, query->tx->driver->bind_text(query->statement, ++query->bound, value));
}

void db_bind_bytes(struct db_query *query, struct slice value)
{
    if (value.at == NULL)
        db_bind_null(query);
    else if (query->failed == 0)
        bound(query, query->tx->driver->bind_bytes(query->statement, ++query->bound, value));
}

void db_bind_null(struct db_query *query)
{
    if (query->failed == 0)
        bound(query, query->tx->driver->bind_null(query->statement, ++query->bound));
}

int db_step(struct db_query *query, struct error *err)
{
    if (query->failed != 0) {
        if (err->code == ERROR_NONE)
            *err = query->error;
        return -1;
    }
    return query->tx->driver->step(query->tx, query->statement, err);
}

int db_finish(struct db_query *query, struct error *err)
{
    int row;

    do
        row = db_step(query, err);
    while (row == 1);
    return row;
}

int64_t db_changes(const struct db_query *query)
{
    return query->tx->driver->changes(query->tx);
}

int64_t db_column_i64(const struct db_query *query, int column)
{
    return query->tx->driver->column_i64(query->statement, column);
}

struct slice db_column_slice(const struct db_query *query, int column)
{
    return query->tx->driver->column_slice(query->statement, column);
}

bool db_column_is_null(const struct db_query *query, int column)
{
    return query->tx->driver->column_is_null(query->statement, column);
}
