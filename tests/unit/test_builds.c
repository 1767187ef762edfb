/* test_builds.c - rows of builds: states only grow, an earlier epoch changes nothing, claims are
 * fair, and what a deleted repository leaves is nobody's. Configurations are test_build_configs.c.
 */
#include "tests/support/plans.h"

#include "storage/builds.h"
#include "storage/content.h"
#include "storage/meta_collect.h"

static const struct audit_event event = {
    .actor = {"ana", 3}, .action = {"build.cancel", 12}, .outcome = {"done", 4}};

static struct build_new wish(const char *repository, enum build_policy policy)
{
    return (struct build_new){.repository = slice_of(repository),
                              .trigger = SLICE("api"),
                              .actor = SLICE("ana"),
                              .spec = SLICE("{}"),
                              .state = BUILD_PENDING,
                              .policy = policy,
                              .source = BUILD_FROM_URL};
}

/* How many it superseded; -1 failed. */
static int try_add(struct fixture *fixture, const struct build_new *build, int64_t *id)
{
    int64_t *superseded = NULL;
    size_t count = 0;

    fixture->err = (struct error){0};
    if (build_add(fixture->store, build, id, &superseded, &count, &fixture->err) < 0)
        return -1;
    free(superseded);
    return (int)count;
}

static int64_t add(struct fixture *fixture, const char *repository, enum build_policy policy)
{
    const struct build_new build = wish(repository, policy);
    int64_t id = 0;

    assert_int_not_equal(try_add(fixture, &build, &id), -1);
    return id;
}

/* The id of what it got, 0 for none; *epoch may be NULL. */
static int64_t claim(struct fixture *fixture, uint64_t each, int64_t *epoch)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    bool found = false;

    OK(build_claim(fixture->store, each, &record, &found, &fixture->err));
    assert_true(found || record.id == 0);
    assert_true(!found || (record.state == BUILD_RUNNING && record.started_at > 0));
    if (epoch != NULL)
        *epoch = record.epoch;
    return record.id;
}

static int end(struct fixture *fixture, int64_t id, int64_t epoch, enum build_state state)
{
    const struct build_end with = {.id = id, .epoch = epoch, .state = state, .exit_code = -1};

    fixture->err = (struct error){0};
    return build_finish(fixture->store, &with, &fixture->err);
}

static struct build_record find(struct fixture *fixture, int64_t id)
{
    struct build_record record;

    OK(build_find(fixture->store, id, &record, &fixture->err));
    return record;
}

static enum build_state state_of(struct fixture *fixture, int64_t id)
{
    OWNED(build_record_drop) struct build_record record = find(fixture, id);

    return record.state;
}

static void test_builds_row_says_what_was_asked(void **state)
{
    struct fixture *fixture = *state;
    const struct build_new build = {.repository = REPOSITORY,
                                    .trigger = SLICE("push"),
                                    .actor = SLICE("ana"),
                                    .url = SLICE("https://x/y"),
                                    .ref = SLICE("refs/heads/main"),
                                    .commit = SLICE("c0ffee"),
                                    .builder = SLICE("builders/c:latest"),
                                    .builder_digest = SLICE("sha256:1"),
                                    .spec = SLICE("{\"a\":1}"),
                                    .tags = SLICE("[\"latest\"]"),
                                    .state = BUILD_NEW,
                                    .source = BUILD_FROM_PUSH,
                                    .account = 7,
                                    .retry_of = 3,
                                    .event = &event};
    int64_t id = 0;

    assert_int_equal(try_add(fixture, &build, &id), 0);
    OWNED(build_record_drop) struct build_record record = find(fixture, id);
    assert_string_equal(record.repository, "team/app");
    assert_string_equal(record.trigger, "push");
    assert_string_equal(record.actor, "ana");
    assert_string_equal(record.url, "https://x/y");
    assert_string_equal(record.ref, "refs/heads/main");
    assert_string_equal(record.commit, "c0ffee");
    assert_string_equal(record.builder, "builders/c:latest");
    assert_string_equal(record.builder_digest, "sha256:1");
    assert_string_equal(record.spec, "{\"a\":1}");
    assert_string_equal(record.tags, "[\"latest\"]");
    assert_string_equal(record.stages, "[]");
    assert_string_equal(record.result_digest, "");
    assert_int_equal(record.account, 7);
    assert_int_equal(record.retry_of, 3);
    assert_int_equal(record.exit_code, -1);
    assert_int_equal(record.state, BUILD_NEW);
    assert_int_equal(record.source, BUILD_FROM_PUSH);
    assert_true(record.created_at > 0 && record.started_at == 0 && record.finished_at == 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE target = 'build/1'"), 1);
}

static void test_builds_states_have_names(void **state)
{
    (void)state;
    for (enum build_state at = BUILD_NEW; at <= BUILD_CANCELLED; at++) {
        enum build_state read;
        assert_true(build_state_parse(slice_of(build_state_name(at)), &read));
        assert_int_equal(read, at);
        assert_int_equal(build_state_ended(at), at >= BUILD_COMPLETE);
    }
    enum build_state read;
    assert_false(build_state_parse(SLICE("Done"), &read));
    assert_false(build_state_parse(SLICE(""), &read));
    assert_string_equal(build_source_name(BUILD_FROM_ARCHIVE), "archive");
}

/* --- builds (2) --- */

static void test_builds_only_the_epoch_that_runs_writes(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture, "team/app", BUILD_SERIAL), epoch = 0;
    size_t count = 0;

    struct build_progress progress = {.id = id, .epoch = 1, .commit = SLICE("1"), .log_size = -1};
    FAILS(build_progress_put(fixture->store, &progress, &fixture->err), ERROR_CONFLICT);
    assert_int_equal(claim(fixture, 0, &epoch), id);
    assert_int_equal(epoch, 1);
    OK(build_progress_put(fixture->store, &progress, &fixture->err));
    OK(build_interrupt(fixture->store, true, &count, &fixture->err));
    assert_int_equal(count, 1);
    assert_int_equal(claim(fixture, 0, &epoch), id);
    assert_int_equal(epoch, 2);
    progress.commit = SLICE("2");
    FAILS(build_progress_put(fixture->store, &progress, &fixture->err), ERROR_CONFLICT);
    assert_int_equal(end(fixture, id, 1, BUILD_COMPLETE), -1);
    assert_int_equal(state_of(fixture, id), BUILD_RUNNING);
    assert_int_equal(end(fixture, id, 0, BUILD_ERROR), -1); /* it is not waiting */
    OWNED(build_record_drop) struct build_record record = find(fixture, id);
    assert_string_equal(record.commit, "1");
}

static void test_builds_say_who_left(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture, "team/app", BUILD_SERIAL);

    FAILS(build_left(fixture->store, id + 1, SLICE("ana"), &fixture->err), ERROR_NOT_FOUND);
    OWNED(build_record_drop) struct build_record before = find(fixture, id);
    assert_string_equal(before.left_by, "");
    OK(build_left(fixture->store, id, SLICE("ana"), &fixture->err));
    OWNED(build_record_drop) struct build_record after = find(fixture, id);
    assert_string_equal(after.left_by, "ana");
    assert_int_equal(after.state, BUILD_PENDING);
}

static void test_builds_progress_changes_what_it_names(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture, "team/app", BUILD_SERIAL);

    assert_int_equal(claim(fixture, 0, NULL), id);
    struct build_progress progress = {.id = id,
                                      .epoch = 1,
                                      .builder_digest = SLICE("sha256:2"),
                                      .stages = SLICE("[1]"),
                                      .facts = SLICE("{\"f\":1}"),
                                      .tags = SLICE("[\"t\"]"),
                                      .input_key = SLICE("key"),
                                      .log_size = 17};
    OK(build_progress_put(fixture->store, &progress, &fixture->err));
    progress = (struct build_progress){.id = id, .epoch = 1, .builder = SLICE("b"), .log_size = -1};
    OK(build_progress_put(fixture->store, &progress, &fixture->err));
    OWNED(build_record_drop) struct build_record record = find(fixture, id);
    assert_string_equal(record.builder, "b");
    assert_string_equal(record.builder_digest, "sha256:2");
    assert_string_equal(record.stages, "[1]");
    assert_string_equal(record.facts, "{\"f\":1}");
    assert_string_equal(record.tags, "[\"t\"]");
    assert_string_equal(record.input_key, "key");
    assert_int_equal(record.log_size, 17);
}

static void test_builds_an_end_is_final(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture, "team/app", BUILD_SERIAL);
    const struct build_end with = {.id = id,
                                   .epoch = 1,
                                   .state = BUILD_COMPLETE,
                                   .reason = SLICE("R"),
                                   .message = SLICE("m"),
                                   .stages = SLICE("[2]"),
                                   .facts = SLICE("{\"g\":1}"),
                                   .result_digest = SLICE("sha256:3"),
                                   .ended_by = SLICE("eva"),
                                   .exit_code = 4,
                                   .layer_size = 5,
                                   .log_size = 6,
                                   .event = &event};
    bool running;

    assert_int_equal(claim(fixture, 0, NULL), id);
    OK(build_finish(fixture->store, &with, &fixture->err));
    OWNED(build_record_drop) struct build_record record = find(fixture, id);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_string_equal(record.reason, "R");
    assert_string_equal(record.message, "m");
    assert_string_equal(record.stages, "[2]");
    assert_string_equal(record.facts, "{\"g\":1}");
    assert_string_equal(record.result_digest, "sha256:3");
    assert_string_equal(record.ended_by, "eva");
    assert_int_equal(record.exit_code, 4);
    assert_int_equal(record.layer_size, 5);
    assert_int_equal(record.log_size, 6);
    assert_true(record.finished_at >= record.started_at);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE target = 'build/1'"), 1);
    for (enum build_state at = BUILD_COMPLETE; at <= BUILD_CANCELLED; at++)
        assert_int_equal(end(fixture, id, 1, at), -1);
    assert_int_equal(end(fixture, id, 0, BUILD_ERROR), -1);
    FAILS(build_cancel(fixture->store, id, SLICE("ana"), SLICE_NONE, NULL, &running, &fixture->err),
          ERROR_CONFLICT);
    assert_int_equal(state_of(fixture, id), BUILD_COMPLETE);
}

static void test_builds_cancel_ends_what_waits_only(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = wish("team/app", BUILD_SERIAL);
    int64_t running_id = add(fixture, "team/app", BUILD_SERIAL), id, *superseded;
    size_t count;
    bool running = true;

    assert_int_equal(claim(fixture, 0, NULL), running_id);
    for (int i = 0; i < 2; i++) {
        build.state = i == 0 ? BUILD_NEW : BUILD_PENDING;
        assert_int_equal(try_add(fixture, &build, &id), 0);
        OK(build_cancel(fixture->store, id, SLICE("eva"), SLICE("it rains"), &event, &running,
                        &fixture->err));
        assert_false(running);
        OWNED(build_record_drop) struct build_record record = find(fixture, id);
        assert_int_equal(record.state, BUILD_CANCELLED);
        assert_string_equal(record.reason, "CancelledBuild");
        assert_string_equal(record.message, "it rains");
        assert_string_equal(record.ended_by, "eva");
        assert_true(record.finished_at > 0);
        FAILS(build_ready(fixture->store, id, &superseded, &count, &fixture->err), ERROR_CONFLICT);
    }
    OK(build_cancel(fixture->store, running_id, SLICE("eva"), SLICE_NONE, &event, &running,
                    &fixture->err));
    assert_true(running);
    assert_int_equal(state_of(fixture, running_id), BUILD_RUNNING);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'build.cancel'"),
                     3);
    FAILS(
        build_cancel(fixture->store, 999, SLICE("eva"), SLICE("x"), NULL, &running, &fixture->err),
        ERROR_NOT_FOUND);
}

static void test_builds_wait_once_their_source_is_here(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = wish("team/app", BUILD_SERIAL);
    int64_t id, *superseded = NULL;
    size_t count = 0;

    build.state = BUILD_NEW;
    assert_int_equal(try_add(fixture, &build, &id), 0);
    assert_int_equal(claim(fixture, 0, NULL), 0);
    OK(build_ready(fixture->store, id, &superseded, &count, &fixture->err));
    free(superseded);
    FAILS(build_ready(fixture->store, id, &superseded, &count, &fixture->err), ERROR_CONFLICT);
    FAILS(build_ready(fixture->store, 999, &superseded, &count, &fixture->err), ERROR_NOT_FOUND);
    assert_int_equal(claim(fixture, 0, NULL), id);
    FAILS(build_ready(fixture->store, id, &superseded, &count, &fixture->err), ERROR_CONFLICT);
}

static void test_builds_interrupted_are_errors_or_wait_anew(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = wish("new", BUILD_SERIAL);
    int64_t running = add(fixture, "a", BUILD_SERIAL), fresh, waiting;
    size_t count = 0;

    assert_int_equal(claim(fixture, 0, NULL), running);
    waiting = add(fixture, "b", BUILD_SERIAL);
    build.state = BUILD_NEW;
    assert_int_equal(try_add(fixture, &build, &fresh), 0);
    OK(build_interrupt(fixture->store, true, &count, &fixture->err));
    assert_int_equal(count, 2);
    assert_int_equal(state_of(fixture, running), BUILD_PENDING);
    assert_int_equal(state_of(fixture, fresh), BUILD_ERROR);
    assert_int_equal(state_of(fixture, waiting), BUILD_PENDING);
    assert_int_equal(claim(fixture, 0, NULL), waiting); /* its repository never had a turn */
    OK(build_interrupt(fixture->store, false, &count, &fixture->err));
    assert_int_equal(count, 1);
    OWNED(build_record_drop) struct build_record record = find(fixture, waiting);
    assert_int_equal(record.state, BUILD_ERROR);
    assert_string_equal(record.reason, "ServerRestarted");
    assert_string_equal(record.message, "server restarted");
    assert_int_equal(claim(fixture, 0, NULL), running);
}

/* builds (3) */
static void test_builds_cancelled_while_they_ran_do_not_begin_anew(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 4; i++) {
        const bool again = i % 2 == 0, named = i < 2;
        int64_t id = add(fixture, "team/app", BUILD_SERIAL);
        bool running = false;
        size_t count = 0;
        assert_int_equal(claim(fixture, 0, NULL), id);
        OK(build_cancel(fixture->store, id, named ? SLICE("eva") : SLICE(""), SLICE_NONE, NULL,
                        &running, &fixture->err));
        assert_true(running);
        OK(build_cancel(fixture->store, id, SLICE("ana"), SLICE_NONE, NULL, &running,
                        &fixture->err));
        OK(build_interrupt(fixture->store, again, &count, &fixture->err));
        assert_int_equal(count, 1);
        OWNED(build_record_drop) struct build_record record = find(fixture, id);
        assert_int_equal(record.state, BUILD_CANCELLED);
        assert_string_equal(record.reason, "CancelledBuild");
        assert_string_equal(record.message, named ? "cancelled by eva" : "cancelled by ");
        assert_string_equal(record.ended_by, named ? "eva" : "");
        assert_true(record.finished_at > 0);
    }
}

static void test_builds_that_end_in_spite_of_a_cancel_say_nothing_of_it(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture, "team/app", BUILD_SERIAL);
    bool running = false;

    assert_int_equal(claim(fixture, 0, NULL), id);
    OK(build_cancel(fixture->store, id, SLICE("eva"), SLICE_NONE, NULL, &running, &fixture->err));
    assert_int_equal(end(fixture, id, 1, BUILD_COMPLETE), 0);
    OWNED(build_record_drop) struct build_record record = find(fixture, id);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_string_equal(record.ended_by, "");
}

/* --- the queue --- */

static void test_builds_queue_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = wish("team/app", BUILD_SERIAL);
    int64_t id;

    build.queue_max = 3;
    assert_int_equal(try_add(fixture, &build, &id), 0);
    assert_int_equal(claim(fixture, 0, NULL), id); /* runs: it waits no more */
    for (int i = 0; i < 3; i++) {
        build.state = i == 0 ? BUILD_NEW : BUILD_PENDING;
        assert_int_equal(try_add(fixture, &build, &id), 0);
    }
    assert_int_equal(try_add(fixture, &build, &id), -1);
    assert_int_equal(fixture->err.code, ERROR_TOOMANYREQUESTS);
    assert_non_null(strstr(fixture->err.message, "QueueFull"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM builds"), 4);
    build.policy = BUILD_SERIAL_LATEST; /* takes the place of two */
    assert_int_equal(try_add(fixture, &build, &id), 2);
    build.queue_max = 0;
    build.policy = BUILD_SERIAL;
    for (int i = 0; i < 10; i++)
        assert_int_equal(try_add(fixture, &build, &id), 0);
}

static void test_builds_the_latest_takes_the_place_of_those_that_wait(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = wish("team/app", BUILD_SERIAL_LATEST);
    int64_t running = add(fixture, "team/app", BUILD_SERIAL_LATEST), other, old, fresh, id;
    int64_t *superseded = NULL;
    size_t count = 0;

    assert_int_equal(claim(fixture, 0, NULL), running);
    other = add(fixture, "team/other", BUILD_SERIAL_LATEST);
    old = add(fixture, "team/app", BUILD_SERIAL_LATEST);
    build.state = BUILD_NEW;
    assert_int_equal(try_add(fixture, &build, &fresh), 0); /* may fail yet */
    assert_int_equal(state_of(fixture, old), BUILD_PENDING);
    OK(build_ready(fixture->store, fresh, &superseded, &count, &fixture->err));
    assert_int_equal(count, 1);
    assert_int_equal(superseded[0], old);
    free(superseded);
    build.state = BUILD_PENDING;
    assert_int_equal(try_add(fixture, &build, &id), 1);
    OWNED(build_record_drop) struct build_record record = find(fixture, fresh);
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "Superseded");
    assert_int_equal(state_of(fixture, running), BUILD_RUNNING);
    assert_int_equal(state_of(fixture, other), BUILD_PENDING);
    assert_int_equal(state_of(fixture, id), BUILD_PENDING);
}

static void test_builds_ahead_counts_those_that_came_before(void **state)
{
    struct fixture *fixture = *state;
    int64_t first = add(fixture, "a", BUILD_SERIAL), second = add(fixture, "b", BUILD_SERIAL);
    int64_t third = add(fixture, "a", BUILD_SERIAL);
    uint64_t ahead = 99;

    OK(build_ahead(fixture->store, third, &ahead, &fixture->err));
    assert_int_equal(ahead, 2);
    assert_int_equal(claim(fixture, 0, NULL), first);
    OK(build_ahead(fixture->store, third, &ahead, &fixture->err));
    assert_int_equal(ahead, 1);
    OK(build_ahead(fixture->store, second, &ahead, &fixture->err));
    assert_int_equal(ahead, 0);
}

static void test_builds_run_beside_each_other_where_all_are_parallel(void **state)
{
    struct fixture *fixture = *state;
    int64_t ids[5];

    for (size_t i = 0; i < 3; i++)
        ids[i] = add(fixture, "p", BUILD_PARALLEL);
    ids[3] = add(fixture, "p", BUILD_SERIAL);
    ids[4] = add(fixture, "p", BUILD_PARALLEL);
    assert_int_equal(claim(fixture, 2, NULL), ids[0]);
    assert_int_equal(claim(fixture, 2, NULL), ids[1]);
    assert_int_equal(claim(fixture, 2, NULL), 0); /* `each` */
    assert_int_equal(claim(fixture, 0, NULL), ids[2]);
    assert_int_equal(claim(fixture, 0, NULL), 0); /* a serial one is next */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(end(fixture, ids[i], 1, BUILD_COMPLETE), 0);
    assert_int_equal(claim(fixture, 0, NULL), ids[3]);
    assert_int_equal(claim(fixture, 0, NULL), 0); /* beside a serial one */
    assert_int_equal(end(fixture, ids[3], 1, BUILD_FAILED), 0);
    assert_int_equal(claim(fixture, 0, NULL), ids[4]);
}

/* --- claims against a plain model --- */

enum { MODEL_REPOSITORIES = 6, MODEL_BUILDS = 400, MODEL_STEPS = 900 };

struct model {
    struct {
        int64_t id;
        int repository;
        enum build_policy policy;
        enum build_state state;
    } builds[MODEL_BUILDS];
    size_t count;
    int turns[MODEL_REPOSITORIES], last_turn;
    uint64_t each;
};

/* By the words of the contract, without an index or a loop over repositories. */
static int model_next(const struct model *model)
{
    int best = -1;

    for (size_t i = 0; i < model->count; i++) {
        int repository = model->builds[i].repository;
        uint64_t running = 0;
        bool parallel = model->builds[i].policy == BUILD_PARALLEL, oldest = true;
        for (size_t j = 0; j < model->count; j++) {
            if (model->builds[j].repository != repository)
                continue;
            if (model->builds[j].state == BUILD_RUNNING) {
                running++;
                parallel = parallel && model->builds[j].policy == BUILD_PARALLEL;
            }
            oldest = oldest && !(j < i && model->builds[j].state == BUILD_PENDING);
        }
        if (model->builds[i].state != BUILD_PENDING || !oldest ||
            (running > 0 && (!parallel || running >= model->each)))
            continue;
        if (best < 0 || model->turns[repository] < model->turns[model->builds[best].repository])
            best = (int)i;
    }
    return best;
}

static void model_claim(struct fixture *fixture, struct model *model)
{
    int64_t id = claim(fixture, model->each, NULL);
    int expected = model_next(model);

    assert_int_equal(id, expected < 0 ? 0 : model->builds[expected].id);
    if (expected < 0)
        return;
    model->builds[expected].state = BUILD_RUNNING;
    model->turns[model->builds[expected].repository] = ++model->last_turn;
}

static void model_add(struct fixture *fixture, struct model *model)
{
    char name[] = "r?";
    int repository = rand() % MODEL_REPOSITORIES;
    enum build_policy policy = (enum build_policy)(rand() % 3);

    if (model->count == MODEL_BUILDS)
        return;
    name[1] = (char)('a' + repository);
    int64_t id = add(fixture, name, policy);
    for (size_t i = 0; policy == BUILD_SERIAL_LATEST && i < model->count; i++)
        if (model->builds[i].repository == repository && model->builds[i].state == BUILD_PENDING)
            model->builds[i].state = BUILD_CANCELLED;
    model->builds[model->count].id = id;
    model->builds[model->count].repository = repository;
    model->builds[model->count].policy = policy;
    model->builds[model->count++].state = BUILD_PENDING;
}

static void model_end(struct fixture *fixture, struct model *model)
{
    size_t start = (size_t)rand() % (model->count + 1);

    for (size_t i = start; i < model->count; i++)
        if (model->builds[i].state == BUILD_RUNNING) {
            model->builds[i].state = BUILD_COMPLETE;
            assert_int_equal(end(fixture, model->builds[i].id, 1, BUILD_COMPLETE), 0);
            return;
        }
}

static void test_builds_claim_is_as_fair_as_its_model(void **state)
{
    struct fixture *fixture = *state;
    OWNED(memory_drop) struct model *model = memory_new(sizeof(*model));

    srand(20);
    model->each = 2;
    for (int i = 0; i < MODEL_STEPS; i++) {
        int what = rand() % 10;
        if (what < 4)
            model_add(fixture, model);
        else if (what < 7)
            model_claim(fixture, model);
        else
            model_end(fixture, model);
    }
    for (size_t i = 0; i < model->count; i++)
        assert_int_equal(state_of(fixture, model->builds[i].id), model->builds[i].state);
}

static void test_builds_one_that_floods_delays_nobody(void **state)
{
    struct fixture *fixture = *state;
    int64_t other = 0;

    for (int i = 0; i < 20; i++)
        add(fixture, "flood", BUILD_PARALLEL);
    other = add(fixture, "other", BUILD_SERIAL);
    claim(fixture, 0, NULL);
    assert_int_equal(claim(fixture, 0, NULL), other);
}

/* --- reading --- */

static void test_builds_same_inputs_are_found(void **state)
{
    struct fixture *fixture = *state;
    int64_t first = 0, second = 0;
    bool found = true;

    for (int i = 0; i < 3; i++) {
        int64_t id = add(fixture, i == 2 ? "other" : "a", BUILD_SERIAL);
        const struct build_progress progress = {
            .id = id, .epoch = 1, .input_key = SLICE("key"), .log_size = -1};
        assert_int_equal(claim(fixture, 0, NULL), id);
        OK(build_progress_put(fixture->store, &progress, &fixture->err));
        OWNED(build_record_drop) struct build_record record = {.id = 0};
        OK(build_by_key(fixture->store, SLICE("a"), SLICE("key"), &record, &found, &fixture->err));
        assert_int_equal(found, i > 0);
        assert_int_equal(record.id, i == 1 ? first : i == 2 ? second : 0);
        assert_int_equal(end(fixture, id, 1, BUILD_COMPLETE), 0);
        *(i == 0 ? &first : &second) = i == 2 ? second : id;
    }
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    OK(build_by_key(fixture->store, SLICE("a"), SLICE("no"), &record, &found, &fixture->err));
    assert_false(found);
}

static void listed(struct fixture *fixture, struct build_filter filter, const char *ids, bool more)
{
    OWNED(build_page_drop) struct build_page page = {.items = NULL};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (filter.limit == 0)
        filter.limit = 100;
    OK(build_list(fixture->store, &filter, &page, &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&text, "%lld ", (long long)page.items[i].id);
    buffer_append(&text, "", 1);
    assert_string_equal(text.at, ids);
    assert_int_equal(page.more, more);
}

static void test_builds_lists_are_filtered(void **state)
{
    struct fixture *fixture = *state;
    const struct slice patterns[] = {SLICE("b"), SLICE("c/*")};
    const struct repository_filter mine = {.patterns = patterns, .pattern_count = 2};
    const struct repository_filter public = {.public = true};
    const struct repository_filter none = {.all = false};
    struct build_new build = wish("a", BUILD_SERIAL);
    int64_t id;

    for (int i = 0; i < 6; i++) { /* 1 a, 2 b, 3 c/d, 4 a, ... */
        build.repository = i % 3 == 0 ? SLICE("a") : i % 3 == 1 ? SLICE("b") : SLICE("c/d");
        build.ref = i < 3 ? SLICE("main") : SLICE("dev");
        build.commit = i == 4 ? SLICE("c4") : SLICE("c");
        build.trigger = i == 5 ? SLICE("webhook") : SLICE("api");
        assert_int_equal(try_add(fixture, &build, &id), 0);
    }
    assert_int_equal(claim(fixture, 0, NULL), 1);
    OK(repository_create(fixture->store, SLICE("a"), true, SLICE(""), NULL, &fixture->err));
    listed(fixture, (struct build_filter){.state = -1}, "6 5 4 3 2 1 ", false);
    listed(fixture, (struct build_filter){.state = -1, .limit = 2}, "6 5 ", true);
    listed(fixture, (struct build_filter){.state = -1, .limit = 6}, "6 5 4 3 2 1 ", false);
    listed(fixture, (struct build_filter){.state = -1, .before_id = 3}, "2 1 ", false);
    listed(fixture, (struct build_filter){.state = -1, .repository = SLICE("a")}, "4 1 ", false);
    listed(fixture, (struct build_filter){.state = BUILD_RUNNING}, "1 ", false);
    listed(fixture, (struct build_filter){.state = BUILD_PENDING, .repository = SLICE("a")}, "4 ",
           false);
    listed(fixture, (struct build_filter){.state = BUILD_NEW}, "", false);
    listed(fixture, (struct build_filter){.state = -1, .ref = SLICE("dev")}, "6 5 4 ", false);
    listed(fixture, (struct build_filter){.state = -1, .commit = SLICE("c4")}, "5 ", false);
    listed(fixture, (struct build_filter){.state = -1, .trigger = SLICE("webhook")}, "6 ", false);
    listed(fixture, (struct build_filter){.state = -1, .visible = &mine}, "6 5 3 2 ", false);
    listed(fixture, (struct build_filter){.state = -1, .visible = &public}, "4 1 ", false);
    listed(fixture, (struct build_filter){.state = -1, .visible = &none}, "", false);
}

static size_t prune(struct fixture *fixture, uint64_t good, uint64_t bad, int64_t before,
                    size_t limit)
{
    int64_t *ids = NULL;
    size_t count = 0;

    OK(build_prune(fixture->store, good, bad, before, limit, &ids, &count, &fixture->err));
    for (size_t i = 0; i < count; i++)
        FAILS(build_find(fixture->store, ids[i], &(struct build_record){.id = 0}, &fixture->err),
              ERROR_NOT_FOUND);
    free(ids);
    return count;
}

/* Spec: s2i 13.47. */
static void test_builds_old_ones_go(void **state)
{
    struct fixture *fixture = *state;
    int64_t id;

    for (int i = 0; i < 12; i++) { /* a: 1 good, 2 bad, 3 good, ...; then the same in b */
        id = add(fixture, i < 6 ? "a" : "b", BUILD_SERIAL);
        assert_int_equal(claim(fixture, 0, NULL), id);
        assert_int_equal(end(fixture, id, 1, i % 2 == 0 ? BUILD_COMPLETE : BUILD_CANCELLED), 0);
    }
    id = add(fixture, "a", BUILD_SERIAL);
    assert_int_equal(claim(fixture, 0, NULL), id);
    add(fixture, "a", BUILD_SERIAL);
    assert_int_equal(prune(fixture, 3, 3, 0, 100), 0);
    assert_int_equal(prune(fixture, 2, 1, 0, 4), 4);
    assert_int_equal(prune(fixture, 2, 1, 0, 4), 2);
    listed(fixture, (struct build_filter){.state = -1}, "14 13 12 11 9 6 5 3 ", false);
    script(fixture, "UPDATE builds SET finished_at = 7 WHERE id IN (3, 12)");
    assert_int_equal(prune(fixture, 2, 1, 8, 100), 2);
    assert_int_equal(prune(fixture, 0, 0, 0, 100), 4);
    listed(fixture, (struct build_filter){.state = -1}, "14 13 ", false); /* these have not ended */
}

/* --- repositories that go --- */

static struct build_config configure(struct fixture *fixture, const char *repository)
{
    const struct build_config_change change = {.repository = slice_of(repository),
                                               .spec = SLICE("{}")};
    struct build_config config;
    bool created;

    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    assert_true(created);
    return config;
}

static void repository_delete(struct fixture *fixture)
{
    const struct content_change change = {.actor = NULL};
    struct content_repository_size size;

    OK(content_repository_delete(fixture->store, REPOSITORY, &change, &size, &fixture->err));
}

static void test_builds_of_a_deleted_repository_are_nobodys(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};
    OWNED(build_config_drop) struct build_config config = configure(fixture, "team/app");
    struct build_config read;

    push_text(fixture, "{}", "v1");
    int64_t running = add(fixture, "team/app", BUILD_SERIAL);
    assert_int_equal(claim(fixture, 0, NULL), running);
    int64_t waiting = add(fixture, "team/app", BUILD_SERIAL);
    repository_delete(fixture);
    assert_int_equal(state_of(fixture, running), BUILD_CANCELLED);
    assert_int_equal(state_of(fixture, waiting), BUILD_CANCELLED);
    assert_int_equal(end(fixture, running, 1, BUILD_COMPLETE), -1);
    listed(fixture, (struct build_filter){.state = -1, .repository = REPOSITORY}, "", false);
    FAILS(build_config_find(fixture->store, REPOSITORY, &read, &fixture->err), ERROR_NOT_FOUND);
    FAILS(build_config_by_hook(fixture->store, slice_of(config.hook), &read, &fixture->err),
          ERROR_NOT_FOUND);
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &change, &fixture->err));
    listed(fixture, (struct build_filter){.state = -1, .repository = REPOSITORY}, "2 1 ", false);
    OK(build_config_by_hook(fixture->store, slice_of(config.hook), &read, &fixture->err));
    assert_string_equal(read.repository, "team/app");
    build_config_drop(&read);
}

static void test_builds_a_newer_configuration_outlives_the_old_one(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};
    OWNED(build_config_drop) struct build_config old = configure(fixture, "team/app");

    push_text(fixture, "{}", "v1");
    repository_delete(fixture);
    OWNED(build_config_drop) struct build_config new = configure(fixture, "team/app");
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &change, &fixture->err));
    OWNED(build_config_drop) struct build_config read = {.id = 0};
    OK(build_config_find(fixture->store, REPOSITORY, &read, &fixture->err));
    assert_int_equal(read.id, new.id);
    assert_int_not_equal(read.id, old.id);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_configs"), 1);
}

static int remove_all(struct db_tx *tx, void *arg, struct error *err)
{
    const struct fixture *fixture = arg;
    struct collect_report report = {0};
    bool done = false;

    while (!done)
        if (meta_repository_remove(tx, fixture->meta, 1, &report, &done, err) < 0)
            return -1;
    return 0;
}

static void test_builds_go_with_their_repository(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_config_drop) struct build_config old = configure(fixture, "team/app");

    assert_true(old.id > 0);
    push_text(fixture, "{}", "v1");
    assert_int_equal(number(fixture, "SELECT id FROM repositories"), 1);
    add(fixture, "team/app", BUILD_SERIAL);
    repository_delete(fixture);
    int64_t kept = add(fixture, "team/app", BUILD_SERIAL);
    OWNED(build_config_drop) struct build_config new = configure(fixture, "team/app");
    OK(meta_write(fixture->meta, remove_all, fixture, &fixture->err));
    listed(fixture, (struct build_filter){.state = -1}, "2 ", false);
    assert_int_equal(kept, 2);
    assert_int_equal(number(fixture, "SELECT id FROM build_configs"), new.id);
}

/* --- what is to stand beside images --- */

static struct build_attestation next_attestation(struct fixture *fixture)
{
    struct build_attestation next;

    OK(build_attestation_next(fixture->store, &next, &fixture->err));
    return next;
}

static int64_t ended_with(struct fixture *fixture, const char *document)
{
    int64_t epoch, id = add(fixture, "team/app", BUILD_PARALLEL);

    assert_int_equal(claim(fixture, 0, &epoch), id);
    const struct build_end with = {.id = id,
                                   .epoch = epoch,
                                   .state = BUILD_COMPLETE,
                                   .exit_code = -1,
                                   .attestations = slice_of(document)};
    OK(build_finish(fixture->store, &with, &fixture->err));
    return id;
}

/* s2i 7.12: with the end of its build, until it is published. */
static void test_builds_attestations_wait_until_they_are_published(void **state)
{
    struct fixture *fixture = *state;
    int64_t first = ended_with(fixture, "{\"a\":1}"), second = ended_with(fixture, "{}");

    ended_with(fixture, NULL);
    OWNED(build_attestation_drop) struct build_attestation one = next_attestation(fixture);
    assert_int_equal(one.build, first);
    assert_string_equal(one.repository, "team/app");
    assert_string_equal(one.document, "{\"a\":1}");
    assert_int_equal(one.tries, 0);
    OK(build_attestation_later(fixture->store, one.id, one.due_at + 1000000, &fixture->err));
    OWNED(build_attestation_drop) struct build_attestation two = next_attestation(fixture);
    assert_int_equal(two.build, second);
    OK(build_attestation_done(fixture->store, two.id, &fixture->err));
    OWNED(build_attestation_drop) struct build_attestation again = next_attestation(fixture);
    assert_int_equal(again.build, first);
    assert_int_equal(again.tries, 1);
    assert_int_equal(again.due_at, one.due_at + 1000000);
    OK(build_attestation_done(fixture->store, one.id, &fixture->err));
    OK(build_attestation_done(fixture->store, one.id, &fixture->err));
    assert_int_equal(next_attestation(fixture).id, 0);
}

/* Nothing is published into a repository that is set aside; it is when that is back. */
static void test_builds_attestations_wait_for_their_repository(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};

    push_text(fixture, "{}", "v1");
    int64_t id = ended_with(fixture, "{}");
    repository_delete(fixture);
    assert_int_equal(next_attestation(fixture).id, 0);
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &change, &fixture->err));
    OWNED(build_attestation_drop) struct build_attestation back = next_attestation(fixture);
    assert_int_equal(back.build, id);
}

/* An end that does not count leaves nothing to publish; a build that goes takes it along. */
static void test_builds_attestations_are_of_ends(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = ended_with(fixture, "{}"), *gone = NULL;
    const struct build_end late = {.id = id,
                                   .epoch = 1,
                                   .state = BUILD_COMPLETE,
                                   .exit_code = -1,
                                   .attestations = SLICE("{\"late\":1}")};
    size_t count;

    FAILS(build_finish(fixture->store, &late, &fixture->err), ERROR_CONFLICT);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_attestations"), 1);
    OK(build_prune(fixture->store, 0, 0, 0, 10, &gone, &count, &fixture->err));
    free(gone);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_attestations"), 0);
}

static void test_builds_keys_are_kept(void **state)
{
    struct fixture *fixture = *state;
    OWNED(buffer_drop) struct buffer keys = BUFFER_NONE;

    OK(build_key_list(fixture->store, &keys, &fixture->err));
    assert_int_equal(keys.size, 0);
    OK(build_key_note(fixture->store, SLICE("one"), SLICE("{\"kid\":\"one\"}"), &fixture->err));
    script(fixture, "UPDATE build_keys SET created_at = 1");
    OK(build_key_note(fixture->store, SLICE("two"), SLICE("{\"kid\":\"two\"}"), &fixture->err));
    OK(build_key_note(fixture->store, SLICE("one"), SLICE("{\"kid\":\"other\"}"), &fixture->err));
    OK(build_key_list(fixture->store, &keys, &fixture->err));
    assert_true(slice_equal_text(buffer_slice(&keys), "{\"kid\":\"two\"},{\"kid\":\"one\"}"));
}

/* Runs last: statements of the tests above. */
static void test_builds_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_builds_row_says_what_was_asked),
        FIXTURE_TEST(test_builds_states_have_names),
        FIXTURE_TEST(test_builds_only_the_epoch_that_runs_writes),
        FIXTURE_TEST(test_builds_say_who_left),
        FIXTURE_TEST(test_builds_progress_changes_what_it_names),
        FIXTURE_TEST(test_builds_an_end_is_final),
        FIXTURE_TEST(test_builds_cancel_ends_what_waits_only),
        FIXTURE_TEST(test_builds_wait_once_their_source_is_here),
        FIXTURE_TEST(test_builds_interrupted_are_errors_or_wait_anew),
        FIXTURE_TEST(test_builds_cancelled_while_they_ran_do_not_begin_anew),
        FIXTURE_TEST(test_builds_that_end_in_spite_of_a_cancel_say_nothing_of_it),
        FIXTURE_TEST(test_builds_queue_is_bounded),
        FIXTURE_TEST(test_builds_the_latest_takes_the_place_of_those_that_wait),
        FIXTURE_TEST(test_builds_ahead_counts_those_that_came_before),
        FIXTURE_TEST(test_builds_run_beside_each_other_where_all_are_parallel),
        FIXTURE_TEST(test_builds_claim_is_as_fair_as_its_model),
        FIXTURE_TEST(test_builds_one_that_floods_delays_nobody),
        FIXTURE_TEST(test_builds_same_inputs_are_found),
        FIXTURE_TEST(test_builds_lists_are_filtered),
        FIXTURE_TEST(test_builds_old_ones_go),
        FIXTURE_TEST(test_builds_of_a_deleted_repository_are_nobodys),
        FIXTURE_TEST(test_builds_a_newer_configuration_outlives_the_old_one),
        FIXTURE_TEST(test_builds_go_with_their_repository),
        FIXTURE_TEST(test_builds_attestations_wait_until_they_are_published),
        FIXTURE_TEST(test_builds_attestations_wait_for_their_repository),
        FIXTURE_TEST(test_builds_attestations_are_of_ends),
        FIXTURE_TEST(test_builds_keys_are_kept),
        FIXTURE_TEST(test_builds_no_statement_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
