/* meta_settings.c - settings of a repository: who sees it, what it is.
 * Touches  repositories, audit.
 * Never    makes the catalogue show what had no manifest. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"

/* --- visibility --- */

static const char SQL_PUBLIC_FIND[] = "SELECT public"
                                      "  FROM repositories"
                                      " WHERE name = $1";

struct visibility {
    struct slice name;
    bool *public;
};

static int visibility(struct db_tx *tx, void *arg, struct error *err)
{
    const struct visibility *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PUBLIC_FIND);

    db_bind_text(&query, with->name);
    int row = db_step(&query, err);
    *with->public = row == 1 && db_column_i64(&query, 0) != 0;
    return row < 0 ? -1 : 0;
}

int meta_settings_public(struct meta *meta, struct slice name, bool *public, struct error *err)
{
    struct visibility with = {name, public};

    *public = false;
    return db_read(meta->db, visibility, &with, err);
}

/* --- creating --- */

static const char SQL_SETTINGS_ADD[] =
    "INSERT INTO repositories(name, created_at, public, description)"
    "     VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (name)"
    "   DO NOTHING";

struct create {
    struct meta_told told;
    struct slice name;
    bool public;
    struct slice description;
    const struct audit_event *event;
};

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    struct create *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SETTINGS_ADD);

    db_bind_text(&query, with->name);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, with->public);
    db_bind_text(&query, meta_or_empty(with->description));
    if (db_finish(&query, err) < 0)
        return -1;
    if (db_changes(&query) == 0)
        return error_set(err, ERROR_CONFLICT, "the repository exists already");
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_settings_create(struct meta *meta, struct slice name, bool public,
                         struct slice description, const struct audit_event *event,
                         const struct meta_after *after, struct error *err)
{
    struct create with = {{after, false}, name, public, description, event};

    return meta_write_told(meta, create, &with.told, err);
}

/* --- changing --- */

static const char SQL_SETTINGS_VERSION[] = "SELECT id, version"
                                           "  FROM repositories"
                                           " WHERE name = $1";
static const char SQL_PUBLIC_PUT[] = "UPDATE repositories"
                                     "   SET public = $1"
                                     " WHERE id = $2";
static const char SQL_DESCRIPTION_PUT[] = "UPDATE repositories"
                                          "   SET description = $1"
                                          " WHERE id = $2";
static const char SQL_SETTINGS_CHANGED[] = "UPDATE repositories"
                                           "   SET version = version + 1"
                                           " WHERE id = $1";

struct update {
    struct meta_told told;
    struct slice name;
    const struct repository_change *change;
    const struct audit_event *event;
};

static int version_find(struct db_tx *tx, struct slice name, int64_t *id, int64_t *version,
                        struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SETTINGS_VERSION);

    db_bind_text(&query, name);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "repository unknown");
    *id = db_column_i64(&query, 0);
    *version = db_column_i64(&query, 1);
    return 0;
}

static int public_put(struct db_tx *tx, int64_t id, bool public, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PUBLIC_PUT);

    db_bind_i64(&query, public);
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int description_put(struct db_tx *tx, int64_t id, struct slice description,
                           struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DESCRIPTION_PUT);

    db_bind_text(&query, meta_or_empty(description));
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int update(struct db_tx *tx, void *arg, struct error *err)
{
    struct update *with = arg;
    const struct repository_change *change = with->change;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SETTINGS_CHANGED);
    int64_t id = 0, version = 0;

    if (version_find(tx, with->name, &id, &version, err) < 0 ||
        meta_version_check(version, change->if_version, err) < 0)
        return -1;
    if (change->public != NULL && public_put(tx, id, *change->public, err) < 0)
        return -1;
    if (change->description != NULL && description_put(tx, id, *change->description, err) < 0)
        return -1;
    db_bind_i64(&query, id);
    if (db_finish(&query, err) < 0)
        return -1;
    with->told.changed = change->public != NULL;
    return meta_audit_add(tx, with->event, err);
}

int meta_settings_update(struct meta *meta, struct slice name,
                         const struct repository_change *change, const struct audit_event *event,
                         const struct meta_after *after, struct error *err)
{
    struct update with = {{after, false}, name, change, event};

    return meta_write_told(meta, update, &with.told, err);
}
