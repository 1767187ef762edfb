/* meta_build.c - rows of builds: made, told of while they run, ended.
 * Touches  builds, audit.
 * Never    decides which one is next: meta_build_claim.c. */
#include "storage/meta_builds.h"
#include "storage/meta_news.h"

#include <assert.h>
#include <stdlib.h>

/* --- pieces --- */

void meta_ids_add(struct meta_ids *ids, int64_t id)
{
    ids->items = meta_grow(ids->items, ids->count, &ids->capacity, sizeof(*ids->items));
    ids->items[ids->count++] = id;
}

int meta_ids_fill(struct meta_ids *ids, struct db_query *query, struct error *err)
{
    int row;

    ids->count = 0;
    while ((row = db_step(query, err)) == 1)
        meta_ids_add(ids, db_column_i64(query, 0));
    return row;
}

/* The event of a build whose id was not known when it was asked for: target "build/<id>". NULL:
 * nothing. */
static int tell_of(struct db_tx *tx, const struct audit_event *event, int64_t id, struct error *err)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;

    if (event == NULL)
        return 0;
    struct audit_event told = *event;
    buffer_append_text(&target, "build/");
    buffer_append_u64(&target, (uint64_t)id);
    told.target = buffer_slice(&target);
    return meta_audit_add(tx, &told, err);
}

/* --- a new one --- */

static const char SQL_BUILD_ADD[] =
    "INSERT INTO builds(repository, state, policy, source, triggered_by, actor, account_id, url,"
    "                   ref, commit_id, builder, builder_digest, spec, tags, retry_of, created_at,"
    "                   expires_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    "  RETURNING id";
static const char SQL_BUILDS_WAITING[] = "SELECT count(*)"
                                         "  FROM builds"
                                         " WHERE state <= 1";
static const char SQL_OLDER_WAITING[] = "SELECT id"
                                        "  FROM builds"
                                        " WHERE state < 3 AND state = 1"
                                        "   AND repository = $1 AND id < $2"
                                        " ORDER BY id";
static const char SQL_BUILD_SUPERSEDE[] =
    "UPDATE builds"
    "   SET state = 6, reason = 'Superseded', message = $1, finished_at = $2"
    " WHERE id = $3";

static int supersede_one(struct db_tx *tx, int64_t id, int64_t by, struct error *err)
{
    OWNED(buffer_drop) struct buffer message = BUFFER_NONE;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_SUPERSEDE);

    if (meta_messages_note(tx, id, BUILD_CANCELLED, err) < 0)
        return -1;
    buffer_print(&message, "build %lld is newer", (long long)by);
    db_bind_text(&query, buffer_slice(&message));
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, id);
    return db_finish(&query, err) < 0 ? -1 : meta_news_build(tx, id, err);
}

/* Spec: s2i 13.42. */
static int supersede(struct db_tx *tx, struct slice repository, int64_t by, struct meta_ids *out,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_OLDER_WAITING);

    db_bind_text(&query, repository);
    db_bind_i64(&query, by);
    if (meta_ids_fill(out, &query, err) < 0)
        return -1;
    for (size_t i = 0; i < out->count; i++)
        if (supersede_one(tx, out->items[i], by, err) < 0)
            return -1;
    return 0;
}

struct add {
    const struct build_new *build;
    int64_t id;
    struct meta_ids superseded;
};

static int row_add(struct db_tx *tx, const struct build_new *build, int64_t *id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_ADD);
    int64_t now = clock_now_us();

    db_bind_text(&query, build->repository);
    db_bind_i64(&query, build->state);
    db_bind_i64(&query, build->policy);
    db_bind_i64(&query, build->source);
    db_bind_text(&query, meta_or_empty(build->trigger));
    db_bind_text(&query, meta_or_empty(build->actor));
    meta_bind_time(&query, build->account);
    db_bind_text(&query, meta_or_empty(build->url));
    db_bind_text(&query, meta_or_empty(build->ref));
    db_bind_text(&query, meta_or_empty(build->commit));
    db_bind_text(&query, meta_or_empty(build->builder));
    db_bind_text(&query, meta_or_empty(build->builder_digest));
    db_bind_text(&query, build->spec.at == NULL ? SLICE("{}") : build->spec);
    db_bind_text(&query, build->tags.at == NULL ? SLICE("[]") : build->tags);
    meta_bind_time(&query, build->retry_of);
    db_bind_i64(&query, now);
    meta_bind_time(&query, build->wait_us == 0 ? 0 : now + build->wait_us);
    return meta_number(&query, id, err);
}

/* The new one is counted already. */
static int room_check(struct db_tx *tx, uint64_t queue_max, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILDS_WAITING);
    uint64_t waiting = 0;

    if (queue_max == 0)
        return 0;
    if (meta_total(&query, &waiting, err) < 0)
        return -1;
    if (waiting <= queue_max)
        return 0;
    return error_set(err, ERROR_TOOMANYREQUESTS, "QueueFull: %llu builds wait already",
                     (unsigned long long)(waiting - 1));
}

/* One delivery, one build, however many of it come at once. *id: what it started before. */
static int delivery_check(struct db_tx *tx, const struct build_delivery_new *delivery, int64_t *id,
                          struct error *err)
{
    if (delivery == NULL)
        return 0;
    if (meta_delivery_find(tx, delivery, id, err) < 0)
        return -1;
    return *id == 0 ? 0 : error_set(err, ERROR_CONFLICT, "this delivery was seen before");
}

static int add(struct db_tx *tx, void *arg, struct error *err)
{
    struct add *with = arg;
    const struct build_new *build = with->build;
    bool latest = build->state == BUILD_PENDING && build->policy == BUILD_SERIAL_LATEST;

    with->superseded.count = 0;
    if (delivery_check(tx, build->delivery, &with->id, err) < 0 ||
        row_add(tx, build, &with->id, err) < 0 ||
        (latest && supersede(tx, build->repository, with->id, &with->superseded, err) < 0) ||
        room_check(tx, build->queue_max, err) < 0 || meta_news_build(tx, with->id, err) < 0 ||
        meta_messages_add(tx, build, with->id, err) < 0 ||
        (build->delivery != NULL && meta_delivery_started(tx, build->delivery, with->id, err) < 0))
        return -1;
    return tell_of(tx, build->event, with->id, err);
}

static int give_superseded(struct meta_ids *ids, int result, int64_t **out, size_t *count)
{
    if (result == 0) {
        *out = ids->items;
        *count = ids->count;
        return 0;
    }
    free(ids->items);
    return -1;
}

int build_add(struct storage *store, const struct build_new *build, int64_t *id,
              int64_t **out_superseded, size_t *superseded_count, struct error *err)
{
    struct add with = {.build = build};

    int result = meta_write(store->meta, add, &with, err);
    *id = with.id;
    return give_superseded(&with.superseded, result, out_superseded, superseded_count);
}

/* --- its source is here --- */

static const char SQL_BUILD_READY[] = "UPDATE builds"
                                      "   SET state = 1"
                                      " WHERE id = $1 AND state = 0";

struct ready {
    int64_t id;
    struct meta_ids superseded;
};

static int ended(const struct build_record *record, struct error *err)
{
    return error_set(err, ERROR_CONFLICT, "build %lld has ended: %s", (long long)record->id,
                     build_state_name(record->state));
}

static int ready(struct db_tx *tx, void *arg, struct error *err)
{
    struct ready *with = arg;
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    with->superseded.count = 0;
    if (meta_build_read(tx, with->id, &record, err) < 0)
        return -1;
    if (build_state_ended(record.state))
        return ended(&record, err);
    if (record.state != BUILD_NEW)
        return error_set(err, ERROR_CONFLICT, "build %lld is ready already", (long long)with->id);
    if (META_CHANGE(tx, SQL_BUILD_READY, err, with->id) < 0 ||
        meta_news_build(tx, with->id, err) < 0)
        return -1;
    if (record.policy != BUILD_SERIAL_LATEST)
        return 0;
    return supersede(tx, slice_of(record.repository), with->id, &with->superseded, err);
}

int build_ready(struct storage *store, int64_t id, int64_t **out_superseded,
                size_t *superseded_count, struct error *err)
{
    struct ready with = {.id = id};

    int result = meta_write(store->meta, ready, &with, err);
    return give_superseded(&with.superseded, result, out_superseded, superseded_count);
}

/* --- what is known meanwhile --- */

static const char SQL_BUILD_PROGRESS[] =
    "UPDATE builds"
    "   SET commit_id = coalesce($1, commit_id), builder = coalesce($2, builder),"
    "       builder_digest = coalesce($3, builder_digest), stages = coalesce($4, stages),"
    "       facts = coalesce($5, facts), tags = coalesce($6, tags),"
    "       input_key = coalesce($7, input_key), log_size = coalesce($8, log_size)"
    " WHERE id = $9 AND state = 2 AND epoch = $10";

/* builds (2) */
static int one_changed(const struct db_query *query, int64_t id, struct error *err)
{
    if (db_changes(query) > 0)
        return 0;
    return error_set(err, ERROR_CONFLICT, "build %lld has ended, or runs anew", (long long)id);
}

static int progress(struct db_tx *tx, void *arg, struct error *err)
{
    const struct build_progress *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_PROGRESS);

    db_bind_text(&query, with->commit);
    db_bind_text(&query, with->builder);
    db_bind_text(&query, with->builder_digest);
    db_bind_text(&query, with->stages);
    db_bind_text(&query, with->facts);
    db_bind_text(&query, with->tags);
    db_bind_text(&query, with->input_key);
    if (with->log_size < 0)
        db_bind_null(&query);
    else
        db_bind_i64(&query, with->log_size);
    db_bind_i64(&query, with->id);
    db_bind_i64(&query, with->epoch);
    if (db_finish(&query, err) < 0 || one_changed(&query, with->id, err) < 0)
        return -1;
    return with->stages.at == NULL ? 0 : meta_news_build(tx, with->id, err);
}

int build_progress_put(struct storage *store, const struct build_progress *what, struct error *err)
{
    struct build_progress with = *what;

    return meta_write_loosely(store->meta, progress, &with, DB_FOREGROUND, err);
}

/* --- its end --- */

static const char SQL_BUILD_FINISH[] =
    "UPDATE builds"
    "   SET state = $1, reason = $2, message = $3, stages = coalesce($4, stages),"
    "       facts = coalesce($5, facts), result_digest = $6, ended_by = $7, exit_code = $8,"
    "       layer_size = $9, log_size = $10, finished_at = $11"
    " WHERE id = $12 AND state = 2 AND epoch = $13";
static const char SQL_BUILD_FINISH_WAITING[] =
    "UPDATE builds"
    "   SET state = $1, reason = $2, message = $3, ended_by = $4, finished_at = $5"
    " WHERE id = $6 AND state < 2";

static struct slice none_if_empty(struct slice text)
{
    return text.size == 0 ? SLICE_NONE : text;
}

static int finish_running(struct db_tx *tx, const struct build_end *end, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_FINISH);

    db_bind_i64(&query, end->state);
    db_bind_text(&query, meta_or_empty(end->reason));
    db_bind_text(&query, meta_or_empty(end->message));
    db_bind_text(&query, end->stages);
    db_bind_text(&query, end->facts);
    db_bind_text(&query, none_if_empty(end->result_digest));
    db_bind_text(&query, none_if_empty(end->ended_by));
    if (end->exit_code < 0)
        db_bind_null(&query);
    else
        db_bind_i64(&query, end->exit_code);
    db_bind_i64(&query, end->layer_size);
    db_bind_i64(&query, end->log_size);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, end->id);
    db_bind_i64(&query, end->epoch);
    return db_finish(&query, err) < 0 ? -1 : one_changed(&query, end->id, err);
}

static int finish_waiting(struct db_tx *tx, const struct build_end *end, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_FINISH_WAITING);

    db_bind_i64(&query, end->state);
    db_bind_text(&query, meta_or_empty(end->reason));
    db_bind_text(&query, meta_or_empty(end->message));
    db_bind_text(&query, none_if_empty(end->ended_by));
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, end->id);
    return db_finish(&query, err) < 0 ? -1 : one_changed(&query, end->id, err);
}

static int finish_row(struct db_tx *tx, const struct build_end *end, struct error *err)
{
    if ((end->epoch == 0 ? finish_waiting : finish_running)(tx, end, err) < 0 ||
        meta_news_build(tx, end->id, err) < 0 ||
        meta_messages_note(tx, end->id, end->state, err) < 0)
        return -1;
    if (end->attestations.size > 0 &&
        meta_build_attestation_add(tx, end->id, end->attestations, err) < 0)
        return -1;
    return tell_of(tx, end->event, end->id, err);
}

struct finish {
    struct meta_told told;
    struct storage *store;
    const struct build_end *end;
};

static int finish(struct db_tx *tx, void *arg, struct error *err)
{
    struct finish *with = arg;
    const struct build_tagging *tags = with->end->tags;

    with->told.changed = tags != NULL;
    if (tags != NULL && meta_build_tags(tx, with->store->meta, tags, err) < 0)
        return -1;
    return finish_row(tx, with->end, err);
}

static void finished(void *arg)
{
    const struct finish *with = arg;
    const struct build_tagging *tags = with->end->tags;

    meta_build_tags_forget(with->store->cache, tags->repository, tags->names, tags->count);
}

int build_finish(struct storage *store, const struct build_end *end, struct error *err)
{
    struct finish with = {.store = store, .end = end};
    const struct meta_after after = {finished, &with};

    assert(build_state_ended(end->state));
    with.told.after = &after;
    return meta_write_told(store->meta, finish, &with.told, err);
}

/* --- taken back --- */

/* builds (3): the first who calls it off; its end writes over it. */
static const char SQL_BUILD_CALL_OFF[] = "UPDATE builds"
                                         "   SET ended_by = coalesce(ended_by, $1)"
                                         " WHERE id = $2";

struct cancel {
    int64_t id;
    struct slice actor, why;
    const struct audit_event *event;
    bool running;
};

static int call_off(struct db_tx *tx, const struct cancel *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_CALL_OFF);

    db_bind_text(&query, meta_or_empty(with->actor));
    db_bind_i64(&query, with->id);
    return db_finish(&query, err) < 0 ? -1 : tell_of(tx, with->event, with->id, err);
}

static int cancel(struct db_tx *tx, void *arg, struct error *err)
{
    struct cancel *with = arg;
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    if (meta_build_read(tx, with->id, &record, err) < 0)
        return -1;
    if (build_state_ended(record.state))
        return ended(&record, err);
    with->running = record.state == BUILD_RUNNING;
    if (with->running)
        return call_off(tx, with, err);
    const struct build_end end = {
        .id = with->id,
        .state = BUILD_CANCELLED,
        .reason = SLICE("CancelledBuild"),
        .message = with->why.size == 0 ? SLICE("it was cancelled while it waited") : with->why,
        .ended_by = with->actor,
        .event = with->event};
    return finish_row(tx, &end, err);
}

int build_cancel(struct storage *store, int64_t id, struct slice actor, struct slice why,
                 const struct audit_event *event, bool *running, struct error *err)
{
    struct cancel with = {id, actor, why, event, false};

    if (meta_write(store->meta, cancel, &with, err) < 0)
        return -1;
    *running = with.running;
    return 0;
}

/* --- waited too long --- */

static const char SQL_EXPIRED[] = "SELECT id"
                                  "  FROM builds"
                                  " WHERE state = 1 AND expires_at <= $1"
                                  " ORDER BY expires_at"
                                  " LIMIT $2";
static const char SQL_BUILD_EXPIRE[] =
    "UPDATE builds"
    "   SET state = 6, reason = 'QueueTimeout',"
    "       message = 'it waited longer than its queue_timeout allows', finished_at = $1"
    " WHERE id = $2";

struct expire {
    size_t limit;
    struct meta_ids ids;
};

static int find_expired(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_EXPIRED);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, (int64_t)with->limit);
    return meta_ids_fill(&with->ids, &query, err);
}

static int expire(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;

    if (find_expired(tx, with, err) < 0) /* some began since */
        return -1;
    for (size_t i = 0; i < with->ids.count; i++)
        if (META_CHANGE(tx, SQL_BUILD_EXPIRE, err, clock_now_us(), with->ids.items[i]) < 0 ||
            meta_news_build(tx, with->ids.items[i], err) < 0)
            return -1;
    return meta_messages_note_all(tx, &with->ids, BUILD_CANCELLED, err);
}

/* Most looks find none: then nothing is written. */
int build_expire(struct storage *store, size_t limit, int64_t **out, size_t *count,
                 struct error *err)
{
    struct expire with = {limit, {NULL, 0, 0}};

    if (db_read(store->meta->db, find_expired, &with, err) < 0 ||
        (with.ids.count > 0 && meta_write(store->meta, expire, &with, err) < 0)) {
        free(with.ids.items);
        return -1;
    }
    *out = with.ids.items;
    *count = with.ids.count;
    return 0;
}

/* --- left by who waited --- */

static const char SQL_BUILD_LEFT[] = "UPDATE builds"
                                     "   SET left_by = $1"
                                     " WHERE id = $2";

struct leave {
    int64_t id;
    struct slice actor;
};

static int leave(struct db_tx *tx, void *arg, struct error *err)
{
    const struct leave *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_LEFT);

    db_bind_text(&query, with->actor);
    db_bind_i64(&query, with->id);
    if (db_finish(&query, err) < 0)
        return -1;
    return db_changes(&query) > 0 ? 0 : error_set(err, ERROR_NOT_FOUND, "there is no such build");
}

int build_left(struct storage *store, int64_t id, struct slice actor, struct error *err)
{
    struct leave with = {id, actor};

    return meta_write(store->meta, leave, &with, err);
}
