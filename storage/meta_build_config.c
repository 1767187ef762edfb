/* meta_build_config.c - how repositories are built.
 * Touches  build_configs, audit.
 * Never    reads the options. */
#include "storage/meta_builds.h"

#include <stdlib.h>

enum { HOOK_BYTES = 16 };

/* --- reading --- */

#define CONFIG_SELECT                                                                              \
    "SELECT id, created_at, updated_at, version, repository, spec, hook, paused, account_id, "     \
    "reach"                                                                                        \
    "  FROM build_configs"

static const char SQL_CONFIG_FIND[] = CONFIG_SELECT " WHERE repository = $1";
static const char SQL_CONFIG_BY_HOOK[] = CONFIG_SELECT " WHERE hook = $1";
static const char SQL_CONFIGS[] = CONFIG_SELECT " WHERE repository > $1 AND repository < $2"
                                                " ORDER BY repository";
static const char SQL_PUBLIC[] = "SELECT public"
                                 "  FROM repositories"
                                 " WHERE name = $1";

static struct build_config config_row(const struct db_query *query)
{
    return (struct build_config){
        .id = db_column_i64(query, 0),
        .created_at = db_column_i64(query, 1),
        .updated_at = db_column_i64(query, 2),
        .version = db_column_i64(query, 3),
        .repository = meta_text(query, 4),
        .spec = meta_text(query, 5),
        .hook = meta_text(query, 6),
        .paused = db_column_i64(query, 7) != 0,
        .account = db_column_i64(query, 8),
        .reach = meta_text_or_null(query, 9),
    };
}

/* 1 found, 0 not, -1 failed. out is empty before. */
static int config_read(struct db_tx *tx, const char *sql, struct slice key,
                       struct build_config *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_text(&query, key);
    int row = db_step(&query, err);
    if (row == 1)
        *out = config_row(&query);
    return row;
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no such build configuration");
}

struct find {
    const char *sql;
    struct slice key;
    struct build_config *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;

    int row = config_read(tx, with->sql, with->key, with->out, err);
    return row == 0 ? unknown(err) : row < 0 ? -1 : 0;
}

int build_config_find(struct storage *store, struct slice repository, struct build_config *out,
                      struct error *err)
{
    struct find with = {SQL_CONFIG_FIND, repository, out};

    *out = (struct build_config){.id = 0};
    return db_read(store->meta->db, find, &with, err);
}

/* Of one that is set aside, the repository's name begins with '~': its webhook is gone with it. */
int build_config_by_hook(struct storage *store, struct slice hook, struct build_config *out,
                         struct error *err)
{
    struct find with = {SQL_CONFIG_BY_HOOK, hook, out};

    *out = (struct build_config){.id = 0};
    if (db_read(store->meta->db, find, &with, err) < 0)
        return -1;
    if (out->repository[0] != '~')
        return 0;
    build_config_drop(out);
    return unknown(err);
}

/* --- whether it is there --- */

static const char SQL_CONFIG_EXISTS[] = "SELECT id"
                                        "  FROM build_configs"
                                        " WHERE id = $1";

int meta_build_config_check(struct db_tx *tx, int64_t config, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CONFIG_EXISTS);

    db_bind_i64(&query, config);
    int row = db_step(&query, err);
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such build configuration");
    return row < 0 ? -1 : 0;
}

/* --- pages --- */

struct list {
    struct slice last;
    const struct repository_filter *visible;
    size_t limit;
    struct build_config_page *out;
};

static int is_public(struct db_tx *tx, struct slice repository, bool *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PUBLIC);

    db_bind_text(&query, repository);
    int row = db_step(&query, err);
    *out = row == 1 && db_column_i64(&query, 0) != 0;
    return row < 0 ? -1 : 0;
}

static int visible(struct db_tx *tx, const struct repository_filter *filter,
                   struct slice repository, bool *out, struct error *err)
{
    *out = filter == NULL || filter->all;
    for (size_t i = 0; !*out && i < filter->pattern_count; i++)
        *out = pattern_covers(filter->patterns[i], repository);
    if (*out || !filter->public)
        return 0;
    return is_public(tx, repository, out, err);
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    struct build_config_page *out = with->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CONFIGS);
    size_t capacity = 0;
    bool shown = false;
    int row;

    build_config_page_drop(out);
    db_bind_text(&query, meta_or_empty(with->last));
    db_bind_text(&query, SLICE("~"));
    while ((row = db_step(&query, err)) == 1 && !out->more) {
        if (visible(tx, with->visible, db_column_slice(&query, 4), &shown, err) < 0)
            return -1;
        out->more = shown && out->count == with->limit;
        if (!shown || out->more)
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = config_row(&query);
    }
    return row < 0 ? -1 : 0;
}

int build_config_list(struct storage *store, struct slice last,
                      const struct repository_filter *filter, size_t limit,
                      struct build_config_page *out, struct error *err)
{
    struct list with = {last, filter, limit, out};

    *out = (struct build_config_page){.items = NULL};
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    build_config_page_drop(out);
    return -1;
}

/* --- changing --- */

static const char SQL_CONFIG_ADD[] =
    "INSERT INTO build_configs(repository, spec, hook, paused, account_id, reach, created_at,"
    "                          updated_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $7)";
static const char SQL_CONFIG_UPDATE[] =
    "UPDATE build_configs"
    "   SET spec = $1, paused = $2, account_id = $3, reach = $4, updated_at = $5,"
    "       version = version + 1"
    " WHERE id = $6";
static const char SQL_CONFIG_DELETE[] = "DELETE FROM build_configs"
                                        "      WHERE id = $1";

struct put {
    const struct build_config_change *change;
    struct build_config *out;
    bool created;
    char hook[2 * HOOK_BYTES];
};

/* Who sets it, and what his token was narrowed to. */
static void bind_setter(struct db_query *query, const struct build_config_change *change)
{
    db_bind_i64(query, change->event == NULL ? 0 : change->event->actor_id);
    db_bind_text(query, slice_of(change->reach));
}

static int config_add(struct db_tx *tx, const struct put *put, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CONFIG_ADD);

    db_bind_text(&query, put->change->repository);
    db_bind_text(&query, put->change->spec);
    db_bind_text(&query, (struct slice){put->hook, sizeof(put->hook)});
    db_bind_i64(&query, put->change->paused);
    bind_setter(&query, put->change);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

static int config_update(struct db_tx *tx, int64_t id, const struct build_config_change *change,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CONFIG_UPDATE);

    db_bind_text(&query, change->spec);
    db_bind_i64(&query, change->paused);
    bind_setter(&query, change);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int put_check(int64_t if_version, const struct build_config *old, struct error *err)
{
    if (old->id == 0)
        return if_version > 0 ? unknown(err) : 0;
    if (if_version < 0)
        return error_set(err, ERROR_PRECONDITION, "it has a build configuration already");
    return meta_version_check(old->version, if_version, err);
}

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    struct put *with = arg;
    const struct build_config_change *change = with->change;
    OWNED(build_config_drop) struct build_config old = {.id = 0};

    build_config_drop(with->out);
    if (config_read(tx, SQL_CONFIG_FIND, change->repository, &old, err) < 0 ||
        put_check(change->if_version, &old, err) < 0)
        return -1;
    with->created = old.id == 0;
    int result = with->created ? config_add(tx, with, err) : config_update(tx, old.id, change, err);
    if (result < 0 || config_read(tx, SQL_CONFIG_FIND, change->repository, with->out, err) < 0)
        return -1;
    return meta_audit_add(tx, change->event, err);
}

int build_config_put(struct storage *store, const struct build_config_change *change,
                     struct build_config *out, bool *created, struct error *err)
{
    struct put with = {change, out, false, {0}};
    uint8_t random[HOOK_BYTES];

    *out = (struct build_config){.id = 0};
    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), with.hook);
    if (meta_write(store->meta, put, &with, err) < 0) {
        build_config_drop(out);
        return -1;
    }
    *created = with.created;
    return 0;
}

struct erase {
    struct slice repository;
    int64_t if_version;
    const struct audit_event *event;
};

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    const struct erase *with = arg;
    OWNED(build_config_drop) struct build_config config = {.id = 0};

    int row = config_read(tx, SQL_CONFIG_FIND, with->repository, &config, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    if (meta_version_check(config.version, with->if_version, err) < 0 ||
        META_CHANGE(tx, SQL_CONFIG_DELETE, err, config.id) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int build_config_delete(struct storage *store, struct slice repository, int64_t if_version,
                        const struct audit_event *event, struct error *err)
{
    struct erase with = {repository, if_version, event};

    return meta_write(store->meta, erase, &with, err);
}
