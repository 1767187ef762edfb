/* meta_build_claim.c - which build is next; what an earlier process left.
 * Touches  builds, build_turns.
 * Never    runs one.
 *
 * Turns are counted, not timed: a clock that was wrong once starves nobody. A claim looks at one
 * row of each repository that waits. */
#include "storage/meta_builds.h"
#include "storage/meta_news.h"

#include <stdlib.h>

static const char SQL_NEXT_REPOSITORY[] = "SELECT repository, id, policy"
                                          "  FROM builds"
                                          " WHERE state < 3 AND state = 1 AND repository > $1"
                                          "   AND (expires_at IS NULL OR expires_at > $2)"
                                          " ORDER BY repository, id"
                                          " LIMIT 1";
static const char SQL_RUNNING_IN[] = "SELECT policy"
                                     "  FROM builds"
                                     " WHERE state < 3 AND state = 2 AND repository = $1";
static const char SQL_TURN_OF[] = "SELECT turn"
                                  "  FROM build_turns"
                                  " WHERE repository = $1";
static const char SQL_TURN_PUT[] =
    "INSERT INTO build_turns(repository, turn, first_build)"
    "     VALUES ($1, (SELECT coalesce(max(turn), 0) + 1 FROM build_turns), $2)"
    " ON CONFLICT (repository)"
    "   DO UPDATE SET turn = excluded.turn";
static const char SQL_FIRST_OF[] = "SELECT first_build"
                                   "  FROM build_turns"
                                   " WHERE repository = $1";
static const char SQL_BUILD_BEGIN[] = "UPDATE builds"
                                      "   SET state = 2, epoch = epoch + 1, started_at = $1"
                                      " WHERE id = $2";

/* The oldest that waits in one repository. */
struct candidate {
    struct buffer repository;
    int64_t id, turn;
    enum build_policy policy;
};

static void candidate_drop(struct candidate *candidate)
{
    buffer_drop(&candidate->repository);
}

/* That of the repository which follows; 1, 0: there is none, -1. */
static int candidate_next(struct db_tx *tx, struct candidate *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NEXT_REPOSITORY);

    db_bind_text(&query, meta_or_empty(buffer_slice(&out->repository)));
    db_bind_i64(&query, clock_now_us());
    int row = db_step(&query, err);
    if (row != 1)
        return row;
    out->repository.size = 0; /* what is bound: there is no further step */
    buffer_append_slice(&out->repository, db_column_slice(&query, 0));
    out->id = db_column_i64(&query, 1);
    out->policy = (enum build_policy)db_column_i64(&query, 2);
    return 1;
}

/* Where a serial one runs, or this one is serial, nothing else may run; and `each` at most. */
static int may_run(struct db_tx *tx, const struct candidate *candidate, uint64_t each, bool *out,
                   struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RUNNING_IN);
    bool parallel = candidate->policy == BUILD_PARALLEL;
    uint64_t running = 0;
    int row;

    db_bind_text(&query, buffer_slice(&candidate->repository));
    while ((row = db_step(&query, err)) == 1) {
        running++;
        parallel = parallel && db_column_i64(&query, 0) == BUILD_PARALLEL;
    }
    *out = running == 0 || (parallel && (each == 0 || running < each));
    return row;
}

/* 0: it never had one. */
static int turn_of(struct db_tx *tx, struct slice repository, int64_t *turn, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TURN_OF);

    db_bind_text(&query, repository);
    int row = db_step(&query, err);
    *turn = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

static bool comes_before(const struct candidate *a, const struct candidate *b)
{
    return a->turn != b->turn ? a->turn < b->turn : a->id < b->id;
}

/* best->id is 0 when none may run. */
static int choose(struct db_tx *tx, uint64_t each, struct candidate *best, struct error *err)
{
    OWNED(candidate_drop) struct candidate at = {.id = 0};
    bool may = false;
    int row;

    best->id = 0;
    while ((row = candidate_next(tx, &at, err)) == 1) {
        if (may_run(tx, &at, each, &may, err) < 0 ||
            turn_of(tx, buffer_slice(&at.repository), &at.turn, err) < 0)
            return -1;
        if (!may || (best->id != 0 && !comes_before(&at, best)))
            continue;
        best->repository.size = 0;
        buffer_append_slice(&best->repository, buffer_slice(&at.repository));
        best->id = at.id;
        best->turn = at.turn;
    }
    return row;
}

static int turn_put(struct db_tx *tx, const struct candidate *candidate, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TURN_PUT);

    db_bind_text(&query, buffer_slice(&candidate->repository));
    db_bind_i64(&query, candidate->id);
    return db_finish(&query, err);
}

static int first_read(struct db_tx *tx, struct slice repository, int64_t *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FIRST_OF);

    db_bind_text(&query, repository);
    int row = db_step(&query, err);
    *out = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

struct claim {
    uint64_t each;
    struct build_record *out;
    bool found;
};

static int claim(struct db_tx *tx, void *arg, struct error *err)
{
    struct claim *with = arg;
    OWNED(candidate_drop) struct candidate best = {.id = 0};

    with->found = false;
    if (choose(tx, with->each, &best, err) < 0)
        return -1;
    if (best.id == 0)
        return 0;
    with->found = true;
    if (META_CHANGE(tx, SQL_BUILD_BEGIN, err, clock_now_us(), best.id) < 0 ||
        turn_put(tx, &best, err) < 0 || meta_news_build(tx, best.id, err) < 0 ||
        meta_messages_note(tx, best.id, BUILD_RUNNING, err) < 0 ||
        meta_build_read(tx, best.id, with->out, err) < 0)
        return -1;
    return first_read(tx, buffer_slice(&best.repository), &with->out->first, err);
}

int build_claim(struct storage *store, uint64_t each, struct build_record *out, bool *found,
                struct error *err)
{
    struct claim with = {each, out, false};

    *out = (struct build_record){.id = 0};
    *found = false;
    if (meta_write(store->meta, claim, &with, err) < 0) {
        build_record_drop(out);
        return -1;
    }
    *found = with.found;
    return 0;
}

/* --- after the end of a process --- */

static const char SQL_CALLED_OFF[] = "SELECT id"
                                     "  FROM builds"
                                     " WHERE state < 3 AND state = 2 AND ended_by IS NOT NULL";
static const char SQL_CANCEL[] =
    "UPDATE builds"
    "   SET state = 6, reason = 'CancelledBuild', message = 'cancelled by ' || ended_by,"
    "       finished_at = $1"
    " WHERE state < 3 AND state = 2 AND ended_by IS NOT NULL";
static const char SQL_CUT_OFF[] = "SELECT id"
                                  "  FROM builds"
                                  " WHERE state < 3 AND (state = 2 OR state = $1)";
/* It was begun in time, and has as much again. */
static const char SQL_AGAIN[] = "UPDATE builds"
                                "   SET state = 1, stages = '[]', started_at = NULL,"
                                "       expires_at = $1 + (expires_at - created_at)"
                                " WHERE state < 3 AND state = 2";
static const char SQL_INTERRUPT[] =
    "UPDATE builds"
    "   SET state = 5, reason = 'ServerRestarted', message = 'server restarted', finished_at = $1"
    " WHERE state < 3 AND state IN (0, 2)";

struct interrupt {
    bool again;
    int64_t count;
    struct meta_ids ids;
};

/* Those that ran and, when `and` is NEW, those whose source was still to come. */
static int note_cut_off(struct db_tx *tx, struct interrupt *with, enum build_state and,
                        enum build_state state, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CUT_OFF);

    db_bind_i64(&query, and);
    if (meta_ids_fill(&with->ids, &query, err) < 0)
        return -1;
    return meta_messages_note_all(tx, &with->ids, state, err);
}

/* builds (3) */
static int end_called_off(struct db_tx *tx, struct interrupt *with, int64_t *count,
                          struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CALLED_OFF);

    if (meta_ids_fill(&with->ids, &query, err) < 0 ||
        meta_messages_note_all(tx, &with->ids, BUILD_CANCELLED, err) < 0)
        return -1;
    return META_CHANGED(tx, SQL_CANCEL, count, err, clock_now_us());
}

static int interrupt(struct db_tx *tx, void *arg, struct error *err)
{
    struct interrupt *with = arg;
    int64_t cancelled = 0, again = 0, ended = 0;

    if (end_called_off(tx, with, &cancelled, err) < 0)
        return -1;
    if (with->again && (note_cut_off(tx, with, BUILD_RUNNING, BUILD_PENDING, err) < 0 ||
                        META_CHANGED(tx, SQL_AGAIN, &again, err, clock_now_us()) < 0))
        return -1;
    if (note_cut_off(tx, with, BUILD_NEW, BUILD_ERROR, err) < 0)
        return -1;
    if (META_CHANGED(tx, SQL_INTERRUPT, &ended, err, clock_now_us()) < 0)
        return -1;
    with->count = cancelled + again + ended;
    return 0;
}

int build_interrupt(struct storage *store, bool again, size_t *count, struct error *err)
{
    struct interrupt with = {.again = again};

    int status = meta_write(store->meta, interrupt, &with, err);
    free(with.ids.items);
    if (status < 0)
        return -1;
    *count = (size_t)with.count;
    return 0;
}
