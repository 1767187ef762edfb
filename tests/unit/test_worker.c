/* test_worker.c - every job runs once, on a worker, side by side, before the pool is closed. */
#include "registry/http/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tests/support/unit.h"

static atomic_int runs;

static void count_run(struct worker_job *job)
{
    (void)job;
    assert_worker_thread();
    atomic_fetch_add(&runs, 1);
}

static void test_worker_pool_close_waits_for_queued_jobs(void **state)
{
    struct worker_job jobs[1000];
    struct worker_pool *pool = worker_pool_open("test", 3, 0);

    (void)state;
    atomic_store(&runs, 0);
    for (size_t i = 0; i < LENGTH(jobs); i++) {
        jobs[i] = (struct worker_job){.run = count_run};
        worker_pool_submit(pool, &jobs[i]);
    }
    worker_pool_close(pool);
    assert_int_equal(atomic_load(&runs), LENGTH(jobs));
    worker_pool_close(NULL);
}

static pthread_barrier_t together;

static void wait_run(struct worker_job *job)
{
    (void)job;
    pthread_barrier_wait(&together);
}

/* Would hang if fewer than all threads were woken. */
static void test_worker_pool_uses_all_its_threads(void **state)
{
    enum { THREADS = 4 };
    struct worker_job jobs[THREADS];
    struct worker_pool *pool = worker_pool_open("test", THREADS, 0);

    (void)state;
    pthread_barrier_init(&together, NULL, THREADS);
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < THREADS - 1; i++) {
            jobs[i] = (struct worker_job){.run = wait_run};
            worker_pool_submit(pool, &jobs[i]);
        }
        pthread_barrier_wait(&together);
    }
    worker_pool_close(pool);
    pthread_barrier_destroy(&together);
}

static void gate_run(struct worker_job *job)
{
    wait_run(job); /* it has begun */
    wait_run(job); /* it may end */
}

static char order[16];

static void note_run(struct worker_job *job)
{
    order[atomic_fetch_add(&runs, 1)] = (char)('a' + job->lane);
}

/* A crowd in one lane delays another lane's job by one turn, not by the crowd. */
static void test_worker_pool_lanes_take_turns(void **state)
{
    static const unsigned lanes[] = {0, 0, 0, 0, 0, 1, 1, 2};
    struct worker_job jobs[LENGTH(lanes)], gate = {.run = gate_run};
    struct worker_pool *pool = worker_pool_open("test", 1, 0);

    (void)state;
    atomic_store(&runs, 0);
    pthread_barrier_init(&together, NULL, 2);
    worker_pool_submit(pool, &gate); /* holds the one thread until all have come */
    pthread_barrier_wait(&together);
    for (size_t i = 0; i < LENGTH(lanes); i++) {
        jobs[i] = (struct worker_job){.run = note_run, .lane = lanes[i]};
        worker_pool_submit(pool, &jobs[i]);
    }
    pthread_barrier_wait(&together);
    worker_pool_close(pool);
    assert_string_equal(order, "abcabaaa");
    pthread_barrier_destroy(&together);
}

/* What waits is bounded, and each lane may fill a quarter. */
static void test_worker_pool_offer_is_bounded(void **state)
{
    enum { MOST = 8 };
    struct worker_job jobs[32], gate = {.run = gate_run};
    struct worker_pool *pool = worker_pool_open("test", 1, 0);
    int taken[8] = {0}, total = 0;

    (void)state;
    atomic_store(&runs, 0);
    pthread_barrier_init(&together, NULL, 2);
    assert_true(worker_pool_offer(pool, &gate, MOST));
    pthread_barrier_wait(&together);
    for (size_t i = 0; i < LENGTH(jobs); i++) {
        unsigned lane = (unsigned)i / 4; /* four for each of eight lanes */
        jobs[i] = (struct worker_job){.run = count_run, .lane = lane};
        taken[lane] += worker_pool_offer(pool, &jobs[i], MOST);
    }
    for (size_t i = 0; i < LENGTH(taken); i++) {
        assert_int_equal(taken[i], i < 4 ? MOST / 4 : 0);
        total += taken[i];
    }
    struct worker_job pressing = {.run = count_run};
    worker_pool_submit(pool, &pressing); /* never refused */
    pthread_barrier_wait(&together);
    worker_pool_close(pool);
    assert_int_equal(atomic_load(&runs), total + 1);
    pthread_barrier_destroy(&together);
}

static atomic_int met;

/* Waits a while for the others; counts itself when all have come. */
static void meet_run(struct worker_job *job)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    (void)job;
    atomic_fetch_add(&runs, 1);
    for (int waited = 0; waited < 60000 && atomic_load(&runs) < 4; waited++)
        nanosleep(&pause, NULL);
    if (atomic_load(&runs) == 4)
        atomic_fetch_add(&met, 1);
}

/* A thread that is woken and finds its job taken by another waits again. */
static void test_worker_pool_keeps_its_threads(void **state)
{
    enum { THREADS = 4, ROUNDS = 20000 };
    static struct worker_job jobs[ROUNDS];
    struct worker_pool *pool = worker_pool_open("test", THREADS, 0);
    const struct timespec pause = {.tv_nsec = 1000};

    (void)state;
    atomic_store(&runs, 0);
    for (size_t i = 0; i < ROUNDS; i++) {
        jobs[i].run = count_run;
        worker_pool_submit(pool, &jobs[i]);
        if (i % 8 == 0)
            nanosleep(&pause, NULL); /* some threads go to rest */
    }
    for (int waited = 0; waited < 1000000 && atomic_load(&runs) < ROUNDS; waited++)
        nanosleep(&pause, NULL);
    assert_int_equal(atomic_load(&runs), ROUNDS);
    atomic_store(&runs, 0);
    for (size_t i = 0; i < THREADS; i++) {
        jobs[i].run = meet_run;
        worker_pool_submit(pool, &jobs[i]);
    }
    worker_pool_close(pool);
    assert_int_equal(atomic_load(&met), THREADS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worker_pool_close_waits_for_queued_jobs),
        cmocka_unit_test(test_worker_pool_uses_all_its_threads),
        cmocka_unit_test(test_worker_pool_lanes_take_turns),
        cmocka_unit_test(test_worker_pool_offer_is_bounded),
        cmocka_unit_test(test_worker_pool_keeps_its_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
