/* meta_pin.c - pins: who uses a manifest, and until when.
 * Touches  pins, gc_queue, audit.
 * Never    refuses anything: meta_protect.c does. */
#include "storage/meta_content.h"

#include <stdlib.h>
#include <string.h>

void content_pin_drop(struct content_pin *pin)
{
    free(pin->name);
    free(pin->actor);
    *pin = (struct content_pin){.name = NULL};
}

void content_pin_page_drop(struct content_pin_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        content_pin_drop(&page->items[i]);
    free(page->items);
    *page = (struct content_pin_page){.items = NULL};
}

void content_pins_drop(struct content_pins *pins)
{
    for (size_t i = 0; i < pins->count; i++) {
        content_pin_drop(&pins->items[i]);
        free(pins->repositories[i]);
    }
    free(pins->items);
    free(pins->repositories);
    *pins = (struct content_pins){.items = NULL};
}

static int unknown(struct slice name, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no pin %.*s", SLICE_ARG(name));
}

/* --- looking --- */

#define PIN_SELECT                                                                                 \
    "SELECT p.name, m.digest, p.until, p.created_at, p.actor"                                      \
    "  FROM pins p"                                                                                \
    "  JOIN manifests m ON m.id = p.manifest_id"

static const char SQL_PIN[] = PIN_SELECT " WHERE p.repo_id = $1 AND p.name = $2 AND p.until > $3";
static const char SQL_PINS[] = PIN_SELECT " WHERE p.repo_id = $1 AND p.name > $2 AND p.until > $3"
                                          " ORDER BY p.name"
                                          " LIMIT $4";

static const char SQL_PINS_OWN[] = "SELECT p.name, m.digest, p.until, p.created_at, p.actor, r.name"
                                   "  FROM pins p"
                                   "  JOIN manifests m ON m.id = p.manifest_id"
                                   "  JOIN repositories r ON r.id = p.repo_id"
                                   " WHERE p.until > $1 AND p.actor = ''";

static int pin_row(const struct db_query *query, struct content_pin *out, struct error *err)
{
    if (meta_digest(query, 1, &out->digest, err) < 0)
        return -1;
    out->name = meta_text(query, 0);
    out->until = db_column_i64(query, 2);
    out->created_at = db_column_i64(query, 3);
    out->actor = meta_text(query, 4);
    return 0;
}

struct find {
    struct slice repository, name;
    struct content_pin *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;
    int64_t repository = 0;

    content_pin_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN);
    db_bind_i64(&query, repository);
    db_bind_text(&query, with->name);
    db_bind_i64(&query, clock_now_us());
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(with->name, err);
    return pin_row(&query, with->out, err);
}

int meta_pin_find(struct meta *meta, struct slice repository, struct slice name,
                  struct content_pin *out, struct error *err)
{
    struct find with = {repository, name, out};

    *out = (struct content_pin){.name = NULL};
    return db_read(meta->db, find, &with, err);
}

struct list {
    struct slice repository, after;
    size_t limit;
    struct content_pin_page *out;
};

static int list_fill(struct db_query *query, const struct list *with, struct error *err)
{
    struct content_pin_page *out = with->out;
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count] = (struct content_pin){.name = NULL};
        if (pin_row(query, &out->items[out->count++], err) < 0)
            return -1;
    }
    return row;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    int64_t repository = 0;

    content_pin_page_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PINS);
    db_bind_i64(&query, repository);
    db_bind_text(&query, meta_or_empty(with->after));
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, meta_one_more(with->limit));
    return list_fill(&query, with, err);
}

int meta_pin_list(struct meta *meta, struct slice repository, struct slice after, size_t limit,
                  struct content_pin_page *out, struct error *err)
{
    struct list with = {repository, after, limit, out};

    *out = (struct content_pin_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    content_pin_page_drop(out);
    return -1;
}

/* --- the server's own --- */

struct own {
    struct slice prefix;
    struct content_pins *out;
};

static int own(struct db_tx *tx, void *arg, struct error *err)
{
    const struct own *with = arg;
    struct content_pins *out = with->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PINS_OWN);
    size_t capacity = 0, repositories = 0;
    int row;

    content_pins_drop(out);
    db_bind_i64(&query, clock_now_us());
    while ((row = db_step(&query, err)) == 1) {
        struct slice name = db_column_slice(&query, 0);
        if (name.size < with->prefix.size ||
            memcmp(name.at, with->prefix.at, with->prefix.size) != 0)
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->repositories =
            meta_grow(out->repositories, out->count, &repositories, sizeof(*out->repositories));
        if (pin_row(&query, &out->items[out->count], err) < 0)
            return -1;
        out->repositories[out->count++] = meta_text(&query, 5);
    }
    return row;
}

int meta_pins_own(struct meta *meta, struct slice prefix, struct content_pins *out,
                  struct error *err)
{
    struct own with = {prefix, out};

    *out = (struct content_pins){.items = NULL};
    if (db_read(meta->db, own, &with, err) == 0)
        return 0;
    content_pins_drop(out);
    return -1;
}

/* --- changing --- */

static const char SQL_PIN_HELD[] = "SELECT manifest_id, until"
                                   "  FROM pins"
                                   " WHERE repo_id = $1 AND name = $2";
static const char SQL_PIN_COUNT[] = "SELECT count(*)"
                                    "  FROM pins"
                                    " WHERE repo_id = $1 AND until > $2";
static const char SQL_PIN_PUT[] =
    "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
    "     VALUES ($1, $2, $3, $4, $5, $6)"
    " ON CONFLICT (repo_id, name)"
    "   DO UPDATE SET manifest_id = excluded.manifest_id, until = excluded.until,"
    "                 actor = excluded.actor";
static const char SQL_PIN_DELETE[] = "DELETE FROM pins"
                                     "      WHERE repo_id = $1 AND name = $2";

struct put {
    const struct meta *meta;
    struct slice repository, name;
    const struct manifest_reference *reference;
    int64_t until;
    const struct content_change *change;
    bool created;
};

/* manifest 0: the name pins nothing. */
static int held_find(struct db_tx *tx, int64_t repository, struct slice name, int64_t *manifest,
                     int64_t *until, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN_HELD);

    db_bind_i64(&query, repository);
    db_bind_text(&query, name);
    int row = db_step(&query, err);
    *manifest = row == 1 ? db_column_i64(&query, 0) : 0;
    *until = row == 1 ? db_column_i64(&query, 1) : 0;
    return row < 0 ? -1 : 0;
}

static int room_check(struct db_tx *tx, int64_t repository, int64_t now, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN_COUNT);
    int64_t count = 0;

    db_bind_i64(&query, repository);
    db_bind_i64(&query, now);
    if (meta_number(&query, &count, err) < 0)
        return -1;
    if (count < CONTENT_PINS_MAX)
        return 0;
    return error_set(err, ERROR_CONFLICT, "the repository has %d pins already", CONTENT_PINS_MAX);
}

static int target_find(struct db_tx *tx, const struct put *with, int64_t repository,
                       int64_t *manifest, struct error *err)
{
    struct digest digest;

    if (with->reference->tag.at == NULL)
        return meta_manifest_at(tx, repository, &with->reference->digest, manifest, err);
    if (meta_tag_find(tx, repository, with->reference->tag, manifest, &digest, err) < 0)
        return -1;
    return *manifest != 0 ? 0 : meta_tag_unknown(with->reference->tag, err);
}

static int pin_write(struct db_tx *tx, const struct put *with, int64_t repository, int64_t manifest,
                     int64_t now, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN_PUT);
    const struct actor *actor = with->change->actor;

    db_bind_i64(&query, repository);
    db_bind_text(&query, with->name);
    db_bind_i64(&query, manifest);
    db_bind_i64(&query, with->until);
    db_bind_i64(&query, now);
    db_bind_text(&query, actor == NULL ? SLICE("") : meta_or_empty(actor->name));
    return db_finish(&query, err);
}

/* What the name held before loses a reference, meta (6). */
static int put(struct db_tx *tx, void *arg, struct error *err)
{
    struct put *with = arg;
    int64_t repository = 0, manifest = 0, old = 0, ended = 0, now = clock_now_us();

    if (meta_repository_at(tx, with->repository, &repository, err) < 0 ||
        target_find(tx, with, repository, &manifest, err) < 0 ||
        held_find(tx, repository, with->name, &old, &ended, err) < 0)
        return -1;
    with->created = old == 0 || ended <= now;
    if ((with->created && room_check(tx, repository, now, err) < 0) ||
        pin_write(tx, with, repository, manifest, now, err) < 0)
        return -1;
    if (old != 0 && old != manifest &&
        meta_queue(tx, META_QUEUE_MANIFEST, repository, old, now, err) < 0)
        return -1;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_pin_put(struct meta *meta, struct slice repository, struct slice name,
                 const struct manifest_reference *reference, int64_t until,
                 const struct content_change *change, bool *created, struct error *err)
{
    struct put with = {meta, repository, name, reference, until, change, false};

    int result = meta_write(meta, put, &with, err);
    *created = with.created;
    return result;
}

struct erase {
    struct slice repository, name;
    const struct content_change *change;
};

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    const struct erase *with = arg;
    int64_t repository = 0, manifest = 0, until = 0, now = clock_now_us();

    if (meta_repository_at(tx, with->repository, &repository, err) < 0 ||
        held_find(tx, repository, with->name, &manifest, &until, err) < 0)
        return -1;
    if (manifest == 0 || until <= now)
        return unknown(with->name, err);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN_DELETE);
    db_bind_i64(&query, repository);
    db_bind_text(&query, with->name);
    if (db_finish(&query, err) < 0 ||
        meta_queue(tx, META_QUEUE_MANIFEST, repository, manifest, now, err) < 0)
        return -1;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_pin_delete(struct meta *meta, struct slice repository, struct slice name,
                    const struct content_change *change, struct error *err)
{
    struct erase with = {repository, name, change};

    return meta_write(meta, erase, &with, err);
}
