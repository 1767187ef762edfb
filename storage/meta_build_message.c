/* meta_build_message.c - what others are told of builds, and what came of it: the outbox.
 * Touches  build_messages.
 * Never    says anything to anybody; knows what the words are. */
#include "storage/meta_builds.h"

#include <stdlib.h>

/* --- what changes with a build --- */

static const char SQL_MESSAGE_ADD[] =
    "INSERT INTO build_messages(build_id, kind, destination, state, due_at)"
    "     VALUES ($1, $2, $3, $4, $5)";
/* An end is told once. */
static const char SQL_MESSAGES_NOTE[] =
    "UPDATE build_messages"
    "   SET state = $1, due_at = $2, outcome = 0, tries = 0, answer = 0, problem = ''"
    " WHERE build_id = $3 AND kind >= $4 AND state < 3";
static const char SQL_MESSAGE_STIR[] =
    "UPDATE build_messages"
    "   SET due_at = $1, outcome = 0, tries = 0, answer = 0, problem = ''"
    " WHERE build_id = $2 AND kind = 2 AND state < 3 AND due_at IS NULL";

static int message_add(struct db_tx *tx, int64_t build, enum build_message_kind kind,
                       struct slice destination, bool due, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MESSAGE_ADD);

    if (destination.size == 0)
        return 0;
    db_bind_i64(&query, build);
    db_bind_i64(&query, kind);
    db_bind_text(&query, destination);
    db_bind_i64(&query, BUILD_PENDING);
    meta_bind_time(&query, due ? clock_now_us() : 0);
    return db_finish(&query, err);
}

int meta_messages_add(struct db_tx *tx, const struct build_new *build, int64_t id,
                      struct error *err)
{
    if (message_add(tx, id, BUILD_CALLBACK, build->callback, false, err) < 0)
        return -1;
    return message_add(tx, id, BUILD_STATUS, build->status, build->commit.size > 0, err);
}

/* A callback tells of ends only. */
static enum build_message_kind first_told(enum build_state state)
{
    return build_state_ended(state) ? BUILD_CALLBACK : BUILD_STATUS;
}

int meta_messages_note(struct db_tx *tx, int64_t build, enum build_state state, struct error *err)
{
    return META_CHANGE(tx, SQL_MESSAGES_NOTE, err, state, clock_now_us(), build, first_told(state));
}

int meta_messages_note_all(struct db_tx *tx, const struct meta_ids *builds, enum build_state state,
                           struct error *err)
{
    for (size_t i = 0; i < builds->count; i++)
        if (meta_messages_note(tx, builds->items[i], state, err) < 0)
            return -1;
    return 0;
}

static int stir(struct db_tx *tx, void *arg, struct error *err)
{
    const int64_t *build = arg;

    return META_CHANGE(tx, SQL_MESSAGE_STIR, err, clock_now_us(), *build);
}

int build_message_stir(struct storage *store, int64_t build, struct error *err)
{
    return meta_write_loosely(store->meta, stir, &build, DB_FOREGROUND, err);
}

/* --- what is next --- */

static const char SQL_MESSAGES_DUE[] =
    "SELECT m.id, m.build_id, m.kind, m.state, m.tries, m.destination, b.repository,"
    "       coalesce(r.deleted_name, b.repository)"
    "  FROM build_messages m"
    "  JOIN builds b ON b.id = m.build_id"
    "  LEFT JOIN repositories r ON r.name = b.repository"
    " WHERE m.due_at IS NOT NULL AND m.due_at <= $1"
    " ORDER BY m.due_at, m.id";
static const char SQL_MESSAGE_LATER[] = "SELECT min(due_at)"
                                        "  FROM build_messages"
                                        " WHERE due_at IS NOT NULL AND due_at > $1";
static const char SQL_MESSAGES_WAITING[] = "SELECT count(*)"
                                           "  FROM build_messages"
                                           " WHERE due_at IS NOT NULL";

void build_message_drop(struct build_message *message)
{
    free(message->destination);
    free(message->repository);
    free(message->called);
    *message = (struct build_message){.id = 0};
}

struct next {
    const struct build_message_query *query;
    struct build_message *out;
    struct build_message_queue *queue;
};

static struct build_message message_row(const struct db_query *query)
{
    return (struct build_message){
        .id = db_column_i64(query, 0),
        .build = db_column_i64(query, 1),
        .kind = (enum build_message_kind)db_column_i64(query, 2),
        .state = (enum build_state)db_column_i64(query, 3),
        .tries = (unsigned)db_column_i64(query, 4),
        .destination = meta_text(query, 5),
        .repository = meta_text(query, 6),
        .called = meta_text(query, 7),
    };
}

static int first_free(struct db_tx *tx, const struct next *with, struct error *err)
{
    const struct build_message_query *asked = with->query;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MESSAGES_DUE);
    int row;

    db_bind_i64(&query, asked->now);
    while ((row = db_step(&query, err)) == 1)
        if (!asked->busy(asked->arg, db_column_slice(&query, 5), db_column_slice(&query, 6))) {
            *with->out = message_row(&query);
            return 0;
        }
    return row;
}

static int next(struct db_tx *tx, void *arg, struct error *err)
{
    const struct next *with = arg;
    OWNED(db_query_end) struct db_query waiting = db_query(tx, SQL_MESSAGES_WAITING);
    OWNED(db_query_end) struct db_query later = db_query(tx, SQL_MESSAGE_LATER);

    build_message_drop(with->out);
    db_bind_i64(&later, with->query->now);
    if (meta_total(&waiting, &with->queue->waiting, err) < 0 ||
        meta_number(&later, &with->queue->next_due, err) < 0)
        return -1;
    return with->queue->waiting == 0 ? 0 : first_free(tx, with, err);
}

int build_message_next(struct storage *store, const struct build_message_query *query,
                       struct build_message *out, struct build_message_queue *queue,
                       struct error *err)
{
    struct next with = {query, out, queue};

    *out = (struct build_message){.id = 0};
    *queue = (struct build_message_queue){.waiting = 0};
    if (db_read(store->meta->db, next, &with, err) == 0)
        return 0;
    build_message_drop(out);
    return -1;
}

/* --- what came of it --- */

/* One that was changed while it was told has other words by now: it stays due. */
static const char SQL_MESSAGE_SETTLE[] =
    "UPDATE build_messages"
    "   SET outcome = $1, due_at = $2, answer = $3, problem = $4, tried_at = $5,"
    "       tries = tries + $6"
    " WHERE id = $7 AND state = $8";
static const char SQL_MESSAGES_TRIM[] =
    "UPDATE build_messages"
    "   SET due_at = NULL, outcome = 2, problem = 'too many others waited'"
    " WHERE due_at IS NOT NULL"
    "   AND due_at <= (SELECT due_at"
    "                    FROM build_messages"
    "                   WHERE due_at IS NOT NULL"
    "                   ORDER BY due_at DESC"
    "                   LIMIT 1 OFFSET $1)";

struct settled {
    const struct build_message *message;
    const struct build_message_try *came;
};

static int settle(struct db_tx *tx, void *arg, struct error *err)
{
    const struct settled *with = arg;
    const struct build_message_try *came = with->came;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MESSAGE_SETTLE);

    db_bind_i64(&query, came->outcome);
    meta_bind_time(&query, came->outcome == BUILD_MESSAGE_WAITING ? came->again_at : 0);
    db_bind_i64(&query, came->answer);
    db_bind_text(&query, meta_or_empty(came->problem));
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, came->outcome == BUILD_MESSAGE_NEEDLESS ? 0 : 1);
    db_bind_i64(&query, with->message->id);
    db_bind_i64(&query, with->message->state);
    return db_finish(&query, err);
}

int build_message_settle(struct storage *store, const struct build_message *message,
                         const struct build_message_try *came, struct error *err)
{
    struct settled with = {message, came};

    return meta_write(store->meta, settle, &with, err);
}

struct trim {
    uint64_t most;
    int64_t count;
};

static int trim(struct db_tx *tx, void *arg, struct error *err)
{
    struct trim *with = arg;

    return META_CHANGED(tx, SQL_MESSAGES_TRIM, &with->count, err, (int64_t)with->most);
}

int build_message_trim(struct storage *store, uint64_t most, uint64_t *count, struct error *err)
{
    struct trim with = {most, 0};

    if (meta_write(store->meta, trim, &with, err) < 0)
        return -1;
    *count = (uint64_t)with.count;
    return 0;
}

/* --- how they stand --- */

static const char SQL_TOLD[] =
    "SELECT kind, state, outcome, tries, answer, coalesce(tried_at, 0), coalesce(due_at, 0),"
    "       destination, problem"
    "  FROM build_messages"
    " WHERE build_id = $1"
    " ORDER BY kind";

void build_told_drop(struct build_told_list *told)
{
    for (size_t i = 0; i < told->count; i++) {
        free(told->items[i].destination);
        free(told->items[i].problem);
    }
    told->count = 0;
}

struct wanted {
    int64_t build;
    struct build_told_list *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct wanted *with = arg;
    struct build_told_list *out = with->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOLD);
    int row = 0;

    build_told_drop(out);
    db_bind_i64(&query, with->build);
    while (out->count < BUILD_STATUS && (row = db_step(&query, err)) == 1)
        out->items[out->count++] = (struct build_told){
            .kind = (enum build_message_kind)db_column_i64(&query, 0),
            .state = (enum build_state)db_column_i64(&query, 1),
            .outcome = (enum build_message_outcome)db_column_i64(&query, 2),
            .tries = (unsigned)db_column_i64(&query, 3),
            .answer = (int)db_column_i64(&query, 4),
            .tried_at = db_column_i64(&query, 5),
            .due_at = db_column_i64(&query, 6),
            .destination = meta_text(&query, 7),
            .problem = meta_text(&query, 8),
        };
    return row < 0 ? -1 : 0;
}

int build_told_list(struct storage *store, int64_t build, struct build_told_list *out,
                    struct error *err)
{
    struct wanted with = {build, out};

    out->count = 0;
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    build_told_drop(out);
    return -1;
}
