/* meta_audit.c - rows of the audit: what was changed by whom, and who was refused.
 * Touches  audit.
 * Never    changes a row but its repeats. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"

#include <stdlib.h>

static const char SQL_AUDIT_ADD[] =
    "INSERT INTO audit(at, actor, actor_id, action, target, outcome, remote, request_id, detail,"
    "                  repeats)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    "  RETURNING id";
static const char SQL_AUDIT_REPEAT[] = "UPDATE audit"
                                       "   SET repeats = repeats + $1"
                                       " WHERE id = $2";

static int event_add(struct db_tx *tx, const struct audit_event *event, int64_t at,
                     uint64_t repeats, int64_t *id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_AUDIT_ADD);

    db_bind_i64(&query, at);
    db_bind_text(&query, meta_or_empty(event->actor));
    meta_bind_time(&query, event->actor_id);
    db_bind_text(&query, meta_or_empty(event->action));
    db_bind_text(&query, meta_or_empty(event->target));
    db_bind_text(&query, meta_or_empty(event->outcome));
    db_bind_text(&query, meta_or_empty(event->remote));
    db_bind_text(&query, meta_or_empty(event->request_id));
    db_bind_text(&query, meta_or_empty(event->detail));
    db_bind_i64(&query, (int64_t)repeats);
    return meta_number(&query, id, err);
}

int meta_audit_add(struct db_tx *tx, const struct audit_event *event, struct error *err)
{
    int64_t id = 0;

    return event == NULL ? 0 : event_add(tx, event, clock_now_us(), 1, &id, err);
}

struct events {
    const struct audit_event *items;
    size_t count;
};

static int events_add(struct db_tx *tx, void *arg, struct error *err)
{
    const struct events *events = arg;

    for (size_t i = 0; i < events->count; i++)
        if (meta_audit_add(tx, &events->items[i], err) < 0)
            return -1;
    return 0;
}

int meta_audit_put(struct meta *meta, const struct audit_event *events, size_t count,
                   struct error *err)
{
    struct events with = {events, count};

    return count == 0 ? 0 : meta_write(meta, events_add, &with, err);
}

/* --- notes --- */

struct notes {
    struct meta_note *items;
    size_t count;
    int64_t *rows; /* those given now; taken over when the commit is */
};

static int repeat(struct db_tx *tx, const struct meta_note *note, bool *gone, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_AUDIT_REPEAT);

    db_bind_i64(&query, (int64_t)note->repeats);
    db_bind_i64(&query, note->row);
    if (db_finish(&query, err) < 0)
        return -1;
    *gone = db_changes(&query) == 0;
    return 0;
}

static int notes_add(struct db_tx *tx, void *arg, struct error *err)
{
    const struct notes *notes = arg;

    for (size_t i = 0; i < notes->count; i++) {
        const struct meta_note *note = &notes->items[i];
        bool gone = note->row == 0;
        notes->rows[i] = note->row;
        if (!gone && repeat(tx, note, &gone, err) < 0)
            return -1;
        if (gone && event_add(tx, &note->event, note->at, note->repeats, &notes->rows[i], err) < 0)
            return -1;
    }
    return 0;
}

int meta_audit_notes(struct meta *meta, struct meta_note *notes, size_t count, struct error *err)
{
    OWNED(memory_drop) int64_t *rows = memory_new((count + 1) * sizeof(*rows));
    struct notes with = {notes, count, rows};
    const struct db_work work = {.run = notes_add, .arg = &with, .priority = DB_BACKGROUND};

    if (db_write(meta->db, &work, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        notes[i].row = rows[i];
    return 0;
}

/* --- lists --- */

#define AUDIT_COLUMNS                                                                              \
    "id, at, actor_id, repeats, actor, action, target, outcome, remote, request_id, detail"
/* The newest first by id, so of the conditions only those on id and actor find their rows by an
 * index; `at` is kept from trying (+ 0). "" is any, of exact values and of prefixes. */
#define AUDIT_WHERE                                                                                \
    "   AND at + 0 >= $3 AND at + 0 < $4"                                                          \
    "   AND ($5 = '' OR action = $5) AND substr(action, 1, length($6)) = $6"                       \
    "   AND ($7 = '' OR target = $7) AND substr(target, 1, length($8)) = $8"

static const char SQL_AUDIT_LIST[] = "SELECT " AUDIT_COLUMNS "  FROM audit"
                                     " WHERE id < $1 AND id > $2" AUDIT_WHERE " ORDER BY id DESC"
                                     " LIMIT $9";
static const char SQL_AUDIT_LIST_OF_ACTOR[] =
    "SELECT " AUDIT_COLUMNS "  FROM audit"
    " WHERE id < $1 AND id > $2" AUDIT_WHERE "   AND actor = $9"
    " ORDER BY id DESC"
    " LIMIT $10";

struct list {
    const struct audit_query *query;
    struct audit_page *out;
};

static void record_drop(struct audit_record *record)
{
    free(record->actor);
    free(record->action);
    free(record->target);
    free(record->outcome);
    free(record->remote);
    free(record->request_id);
    free(record->detail);
}

void audit_page_drop(struct audit_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        record_drop(&page->items[i]);
    free(page->items);
    *page = (struct audit_page){.items = NULL};
}

static struct audit_record record_row(const struct db_query *query)
{
    return (struct audit_record){
        .id = db_column_i64(query, 0),
        .at = db_column_i64(query, 1),
        .actor_id = db_column_i64(query, 2),
        .repeats = (uint64_t)db_column_i64(query, 3),
        .actor = meta_text(query, 4),
        .action = meta_text(query, 5),
        .target = meta_text(query, 6),
        .outcome = meta_text(query, 7),
        .remote = meta_text(query, 8),
        .request_id = meta_text(query, 9),
        .detail = meta_text(query, 10),
    };
}

/* "prefix*" or an exact value, as the two places of the statement. */
static void bind_match(struct db_query *query, struct slice match)
{
    bool prefix = slice_ends(match, "*");
    struct slice text = {match.at, match.size - (prefix ? 1 : 0)};

    db_bind_text(query, prefix ? SLICE("") : meta_or_empty(match));
    db_bind_text(query, prefix ? meta_or_empty(text) : SLICE(""));
}

static void bind_list(struct db_query *query, const struct audit_query *wanted)
{
    db_bind_i64(query, wanted->before_id == 0 ? INT64_MAX : wanted->before_id);
    db_bind_i64(query, wanted->after_id);
    db_bind_i64(query, wanted->since);
    db_bind_i64(query, wanted->until == 0 ? INT64_MAX : wanted->until);
    bind_match(query, wanted->action);
    bind_match(query, wanted->target);
    if (wanted->actor.at != NULL)
        db_bind_text(query, wanted->actor);
    db_bind_i64(query, meta_one_more(wanted->limit));
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct audit_page *out = list->out;
    bool of_actor = list->query->actor.at != NULL;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, of_actor ? SQL_AUDIT_LIST_OF_ACTOR : SQL_AUDIT_LIST);
    size_t capacity = 0;
    int row;

    audit_page_drop(out);
    bind_list(&query, list->query);
    while ((row = db_step(&query, err)) == 1 && out->count < list->query->limit) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = record_row(&query);
    }
    out->more = row == 1;
    return row < 0 ? -1 : 0;
}

int meta_audit_list(struct meta *meta, const struct audit_query *query, struct audit_page *out,
                    struct error *err)
{
    struct list with = {query, out};

    *out = (struct audit_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    audit_page_drop(out);
    return -1;
}

/* --- expiry --- */

static const char SQL_AUDIT_DUE[] = "SELECT count(*)"
                                    "  FROM (SELECT 1"
                                    "          FROM audit"
                                    "         WHERE at < $1"
                                    "         LIMIT 1) a";
static const char SQL_AUDIT_EXPIRE[] = "DELETE FROM audit"
                                       "      WHERE id IN (SELECT id"
                                       "                     FROM audit"
                                       "                    WHERE at < $1"
                                       "                    ORDER BY at"
                                       "                    LIMIT 500)";

struct expire {
    int64_t before;
    int64_t due;
};

static int expire_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_AUDIT_DUE);

    db_bind_i64(&query, with->before);
    return meta_number(&query, &with->due, err);
}

static int expire(struct db_tx *tx, void *arg, struct error *err)
{
    const struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_AUDIT_EXPIRE);

    db_bind_i64(&query, with->before);
    return db_finish(&query, err);
}

int meta_audit_expire(struct meta *meta, int64_t before, bool *more, struct error *err)
{
    struct expire with = {before, 0};
    const struct db_work work = {.run = expire, .arg = &with, .priority = DB_BACKGROUND};

    *more = false;
    if (db_read(meta->db, expire_due, &with, err) < 0)
        return -1;
    if (with.due == 0)
        return 0;
    if (db_write(meta->db, &work, err) < 0)
        return -1;
    *more = true;
    return 0;
}
