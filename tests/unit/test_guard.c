/* test_guard.c - budgets for guessing, in simulated time: ten are free, then pauses; owners are not
 * shut out; one address does not guess at many accounts; memory is bounded. */
#include "auth/guard.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { ACCOUNT_COUNT = 10, ADDRESS_COUNT = 40, MINUTE_MS = 60000 };

struct network {
    uint8_t bytes[GUARD_NETWORK_SIZE];
};

static struct network network_of(unsigned number)
{
    struct network network = {{10}};

    memcpy(network.bytes + 1, &number, sizeof(number));
    return network;
}

/* What is tried at the time that `now` says. */
struct world {
    struct guard *guard;
    uint64_t now;
};

static struct world world_open(void)
{
    const struct guard_options options = {ACCOUNT_COUNT, MINUTE_MS, ADDRESS_COUNT, MINUTE_MS};

    return (struct world){guard_open(&options), 1000000};
}

static uint64_t begin(struct world *world, const char *name, unsigned address)
{
    return guard_begin(world->guard, slice_of(name), network_of(address).bytes, world->now);
}

static void pass(struct world *world, const char *name, unsigned address)
{
    guard_passed(world->guard, slice_of(name), network_of(address).bytes, world->now);
}

static void cancel(struct world *world, const char *name, unsigned address)
{
    guard_cancel(world->guard, slice_of(name), network_of(address).bytes, world->now);
}

/* Failures that are let through at once. */
static int failures(struct world *world, const char *name, unsigned address, int tries)
{
    int count = 0;

    for (int i = 0; i < tries; i++)
        count += begin(world, name, address) == 0;
    return count;
}

static void sign_in(struct world *world, const char *name, unsigned address)
{
    assert_int_equal(begin(world, name, address), 0);
    pass(world, name, address);
}

/* Guesses as soon as it may, each from another address; the pause after each must be as told. */
static void assert_pauses(struct world *world, const char *name, const unsigned *seconds,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(begin(world, name, 1000 + (unsigned)i), 0);
        assert_int_equal(begin(world, name, 2000), seconds[i] * 1000);
        world->now += seconds[i] * 1000;
    }
}

static const unsigned DOUBLING[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};

/* Spec: TOK-20. */
static void test_guard_ten_are_free_then_pauses_double(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(failures(&world, "a", 1, 10), 10);
    assert_pauses(&world, "a", DOUBLING, LENGTH(DOUBLING));
    guard_close(world.guard);
    guard_close(NULL);
}

/* guard (5): however often it is asked meanwhile, and to the millisecond. */
static void test_guard_refused_attempts_do_not_lengthen_a_pause(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(failures(&world, "a", 1, 100), 11);
    for (uint64_t waited = 0; waited < 1000; waited++) {
        assert_int_equal(begin(&world, "a", 1), 1000 - waited);
        world.now++;
    }
    assert_int_equal(begin(&world, "a", 1), 0);
    assert_int_equal(begin(&world, "a", 1), 2000);
    guard_close(world.guard);
}

static bool paused(struct world *world, const char *name, unsigned address)
{
    return guard_paused(world->guard, slice_of(name), network_of(address).bytes, world->now);
}

/* By the same budgets, and without counting. */
static void test_guard_tells_of_a_pause(void **state)
{
    struct world world = world_open();

    (void)state;
    for (int i = 0; i < 100; i++)
        assert_false(paused(&world, "a", 1));
    sign_in(&world, "a", 5);
    assert_int_equal(failures(&world, "a", 1, 20), 11);
    assert_true(paused(&world, "a", 1) && paused(&world, "a", 2));
    assert_false(paused(&world, "b", 1) || paused(&world, "a", 5)); /* guard (2) */
    world.now += 1000;
    assert_false(paused(&world, "a", 1));
    for (int i = 0; i < 40; i++)
        assert_int_equal(failures(&world, (const char[]){(char)('c' + i), 0}, 5, 1), 1);
    assert_int_equal(failures(&world, "z", 5, 2), 1);
    assert_true(paused(&world, "a", 5) && paused(&world, "b", 5)); /* its address counts */
    guard_close(world.guard);
}

static void test_guard_recovers_with_rest(void **state)
{
    static const struct {
        uint64_t rest_ms; /* after the pause */
        int let_through;  /* with the one that begins the next pause */
        uint64_t pause_ms;
    } cases[] = {
        {0, 1, 4000},      {5999, 1, 4000},   {6000, 2, 4000},    {30000, 6, 4000},
        {59999, 10, 4000}, {60000, 11, 1000}, {600000, 11, 1000},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct world world = world_open();
        assert_int_equal(failures(&world, "a", 1, 10), 10);
        assert_pauses(&world, "a", DOUBLING, 2);
        world.now += cases[i].rest_ms;
        assert_int_equal(failures(&world, "a", 2, 20), cases[i].let_through);
        assert_int_equal(begin(&world, "a", 2), cases[i].pause_ms);
        guard_close(world.guard);
    }
}

/* Ten a minute, spread out, for an hour. */
static void test_guard_lets_the_free_rate_go_on(void **state)
{
    struct world world = world_open();

    (void)state;
    for (int i = 0; i < 600; i++) {
        assert_int_equal(begin(&world, "a", (unsigned)i), 0);
        world.now += 6000;
    }
    guard_close(world.guard);
}

/* guard (2) */
static void test_guard_owner_is_not_shut_out_from_elsewhere(void **state)
{
    struct world world = world_open();
    int guesses = 0;

    (void)state;
    sign_in(&world, "owner", 1);
    for (unsigned address = 2; address < 10002; address++)
        guesses += failures(&world, "owner", address, 1);
    assert_int_equal(guesses, 11);
    assert_true(begin(&world, "owner", 2) > 0);
    assert_int_equal(failures(&world, "owner", 1, 3), 3); /* mistyped */
    sign_in(&world, "owner", 1);
    assert_int_equal(failures(&world, "owner", 1, 20), 11);
    assert_int_equal(begin(&world, "other", 1), 0);
    guard_close(world.guard);
}

/* Else a robot that signs in all the time would renew the budget of who guesses its password. */
static void test_guard_known_success_does_not_forgive_guesses_from_elsewhere(void **state)
{
    struct world world = world_open();

    (void)state;
    sign_in(&world, "robot", 1);
    assert_int_equal(failures(&world, "robot", 2, 20), 11);
    for (int i = 0; i < 100; i++)
        sign_in(&world, "robot", 1);
    assert_int_equal(failures(&world, "robot", 3, 20), 0);
    guard_close(world.guard);
}

static void test_guard_an_address_is_known_for_a_week(void **state)
{
    struct world world = world_open();
    const uint64_t week_ms = 7ull * 24 * 60 * MINUTE_MS;

    (void)state;
    sign_in(&world, "a", 1);
    world.now += week_ms;
    assert_int_equal(failures(&world, "a", 2, 20), 11);
    assert_int_equal(begin(&world, "a", 1), 0);
    world.now += 1;
    assert_true(begin(&world, "a", 1) > 0);
    guard_close(world.guard);
}

static void test_guard_success_forgives_the_account(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(failures(&world, "a", 1, 9), 9);
    sign_in(&world, "a", 1);
    assert_int_equal(failures(&world, "a", 2, 20), 11);
    guard_close(world.guard);
}

static void test_guard_success_takes_back_its_own_of_the_address(void **state)
{
    struct world world = world_open();
    char name[20];

    (void)state;
    for (int i = 0; i < ADDRESS_COUNT - 1; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(begin(&world, name, 1), 0);
    }
    for (int i = 0; i < 100; i++)
        sign_in(&world, "a", 1);
    assert_int_equal(failures(&world, "b", 1, 10), 2); /* the fortieth; one that begins a pause */
    assert_int_equal(begin(&world, "a", 1), 1000);
    guard_close(world.guard);
}

/* Spec: TOK-20. */
static void test_guard_an_address_does_not_guess_at_many_accounts(void **state)
{
    struct world world = world_open();
    char name[20];
    int count = 0;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof(name), "n%d", i);
        count += failures(&world, name, 1, 1);
    }
    assert_int_equal(count, ADDRESS_COUNT + 1);
    assert_int_equal(begin(&world, "n999", 2), 0);
    for (int i = 0; i < 3600; i++) { /* an hour: at most its rate and one a minute */
        world.now += 1000;
        (void)snprintf(name, sizeof(name), "m%d", i);
        count += failures(&world, name, 1, 1);
    }
    assert_true(count < 61 * (ADDRESS_COUNT + 1));
    guard_close(world.guard);
}

static void test_guard_attempts_under_way_share_one_budget(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(failures(&world, "a", 1, 100), 11);
    pass(&world, "a", 1);
    assert_int_equal(begin(&world, "a", 1), 0);
    guard_close(world.guard);
}

static void test_guard_cancel_takes_the_count_back(void **state)
{
    struct world world = world_open();

    (void)state;
    for (int failed = 0; failed <= 10; failed++) {
        for (int i = 0; i < 100; i++) {
            assert_int_equal(begin(&world, "a", 1), 0);
            cancel(&world, "a", 1);
        }
        assert_int_equal(begin(&world, "a", 1), 0);
    }
    assert_int_equal(begin(&world, "a", 1), 1000);
    world.now += 1000;
    assert_int_equal(begin(&world, "a", 1), 0); /* two seconds; taken back */
    cancel(&world, "a", 1);
    assert_int_equal(begin(&world, "a", 1), 0);
    assert_int_equal(begin(&world, "a", 1), 2000);
    guard_close(world.guard);
}

static void test_guard_secrets_without_an_account_count_by_address(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(failures(&world, NULL, 1, 100), ADDRESS_COUNT + 1);
    assert_int_equal(failures(&world, NULL, 2, 1), 1);
    pass(&world, NULL, 2);
    assert_int_equal(begin(&world, "a", 1), 1000);
    guard_close(world.guard);
}

static void test_guard_zero_is_no_limit(void **state)
{
    static const struct {
        struct guard_options options;
        int let_through;
    } cases[] = {
        {{0, 0, 0, 0}, 1000},
        {{0, 0, 40, MINUTE_MS}, 41},
        {{10, MINUTE_MS, 0, 0}, 11},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct world world = {guard_open(&cases[i].options), 1000000};
        assert_int_equal(failures(&world, "a", 1, 1000), cases[i].let_through);
        pass(&world, "a", 1);
        cancel(&world, "a", 1);
        guard_close(world.guard);
    }
}

/* Absurd settings do not overflow into none. */
static void test_guard_takes_any_rate(void **state)
{
    const struct guard_options options = {1, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct world world = {guard_open(&options), 1000000};

    (void)state;
    assert_int_equal(failures(&world, "a", 1, 10), 2);
    assert_int_equal(failures(&world, NULL, 2, 1000), 1000);
    guard_close(world.guard);
}

/* Another thread read its clock before and came later: nobody is refused for that. */
static void test_guard_takes_time_that_steps_back(void **state)
{
    struct world world = world_open();

    (void)state;
    assert_int_equal(begin(&world, "a", 1), 0);
    world.now -= 5;
    assert_int_equal(begin(&world, "a", 1), 0);
    guard_close(world.guard);
}

/* guard (4) */
static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static void test_guard_memory_is_bounded(void **state)
{
    struct world world = world_open();
    char name[20];

    (void)state;
    size_t before = memory_in_use();
    sign_in(&world, "owner", 1);
    for (unsigned i = 0; i < 300000; i++) {
        (void)snprintf(name, sizeof(name), "n%u", i);
        assert_int_equal(begin(&world, name, i + 10), 0);
        if (i % 1000 == 0) /* somebody is guessing at this one all the time */
            (void)begin(&world, "victim", i + 10);
        world.now++;
    }
    assert_int_equal(memory_in_use(), before);
    assert_int_equal(failures(&world, "n299999", 5, 20), 10);
    assert_true(begin(&world, "victim", 6) > 0);
    assert_true(begin(&world, "victim", 7) > 0);
    assert_int_equal(failures(&world, "victim", 8, 20), 0);
    guard_close(world.guard);
}

struct thread {
    struct world world;
    pthread_t id;
    int let_through;
};

static void *hundred_failures(void *context)
{
    struct thread *thread = context;

    for (unsigned address = 0; address < 100; address++)
        thread->let_through += begin(&thread->world, "a", address) == 0;
    return NULL;
}

static void test_guard_threads_share_one_budget(void **state)
{
    struct world world = world_open();
    struct thread threads[4];
    int sum = 0;

    (void)state;
    for (size_t i = 0; i < LENGTH(threads); i++) {
        threads[i] = (struct thread){.world = world};
        assert_int_equal(pthread_create(&threads[i].id, NULL, hundred_failures, &threads[i]), 0);
    }
    for (size_t i = 0; i < LENGTH(threads); i++) {
        pthread_join(threads[i].id, NULL);
        sum += threads[i].let_through;
    }
    assert_int_equal(sum, 11);
    guard_close(world.guard);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_guard_ten_are_free_then_pauses_double),
        cmocka_unit_test(test_guard_refused_attempts_do_not_lengthen_a_pause),
        cmocka_unit_test(test_guard_tells_of_a_pause),
        cmocka_unit_test(test_guard_recovers_with_rest),
        cmocka_unit_test(test_guard_lets_the_free_rate_go_on),
        cmocka_unit_test(test_guard_owner_is_not_shut_out_from_elsewhere),
        cmocka_unit_test(test_guard_known_success_does_not_forgive_guesses_from_elsewhere),
        cmocka_unit_test(test_guard_an_address_is_known_for_a_week),
        cmocka_unit_test(test_guard_success_forgives_the_account),
        cmocka_unit_test(test_guard_success_takes_back_its_own_of_the_address),
        cmocka_unit_test(test_guard_an_address_does_not_guess_at_many_accounts),
        cmocka_unit_test(test_guard_attempts_under_way_share_one_budget),
        cmocka_unit_test(test_guard_cancel_takes_the_count_back),
        cmocka_unit_test(test_guard_secrets_without_an_account_count_by_address),
        cmocka_unit_test(test_guard_zero_is_no_limit),
        cmocka_unit_test(test_guard_takes_any_rate),
        cmocka_unit_test(test_guard_takes_time_that_steps_back),
        cmocka_unit_test(test_guard_memory_is_bounded),
        cmocka_unit_test(test_guard_threads_share_one_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
