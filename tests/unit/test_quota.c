/* test_quota.c - pulls in a window: counted by caller, renewed when it ends, bounded. */
#include "auth/quota.h"

#include <pthread.h>
#include <stdio.h>

#include "tests/support/unit.h"

enum { WINDOW_MS = 60000 };

struct seen {
    bool admitted;
    uint64_t remaining, wait_ms;
};

static struct seen use(struct quota *quota, const char *caller, bool count, uint64_t now_ms)
{
    struct seen seen;

    seen.admitted = quota_use(quota, slice_of(caller), 3, WINDOW_MS, count, now_ms, &seen.remaining,
                              &seen.wait_ms);
    return seen;
}

static void assert_seen(struct seen seen, bool admitted, uint64_t remaining, uint64_t wait_ms)
{
    assert_int_equal(seen.admitted, admitted);
    assert_int_equal(seen.remaining, remaining);
    assert_int_equal(seen.wait_ms, wait_ms);
}

/* Spec: TOK-66. */
static void test_quota_counts_in_a_window(void **state)
{
    struct quota *quota = quota_open();

    (void)state;
    assert_seen(use(quota, "a", false, 1000), true, 3, 0);
    assert_seen(use(quota, "a", true, 2000), true, 2, WINDOW_MS);
    assert_seen(use(quota, "a", false, 3000), true, 2, WINDOW_MS - 1000);
    assert_seen(use(quota, "a", true, 3000), true, 1, WINDOW_MS - 1000);
    assert_seen(use(quota, "a", true, 4000), true, 0, WINDOW_MS - 2000);
    assert_seen(use(quota, "a", false, 5000), false, 0, WINDOW_MS - 3000);
    assert_seen(use(quota, "a", true, 5000), false, 0, WINDOW_MS - 3000);
    assert_seen(use(quota, "b", true, 5000), true, 2, WINDOW_MS);
    assert_seen(use(quota, "a", true, 2000 + WINDOW_MS - 1), false, 0, 1);
    assert_seen(use(quota, "a", false, 2000 + WINDOW_MS), true, 3, 0);
    assert_seen(use(quota, "a", true, 2000 + WINDOW_MS), true, 2, WINDOW_MS);
    quota_close(quota);
    quota_close(NULL);
}

/* Another thread read its clock before and came later: that begins no new window. */
static void test_quota_takes_time_that_steps_back(void **state)
{
    struct quota *quota = quota_open();

    (void)state;
    assert_seen(use(quota, "a", true, 2000), true, 2, WINDOW_MS);
    assert_seen(use(quota, "a", true, 1999), true, 1, WINDOW_MS);
    quota_close(quota);
}

static void test_quota_follows_another_limit(void **state)
{
    struct quota *quota = quota_open();
    uint64_t remaining, wait_ms;

    (void)state;
    for (int i = 0; i < 3; i++)
        (void)use(quota, "a", true, 1000);
    assert_true(quota_use(quota, SLICE("a"), 5, WINDOW_MS, true, 1000, &remaining, &wait_ms));
    assert_int_equal(remaining, 1);
    assert_false(quota_use(quota, SLICE("a"), 2, WINDOW_MS, true, 1000, &remaining, &wait_ms));
    assert_int_equal(remaining, 0);
    quota_close(quota);
}

/* Half a million callers: the last of them are still known, the first are forgotten. */
static void test_quota_is_bounded(void **state)
{
    struct quota *quota = quota_open();
    char caller[20];

    (void)state;
    for (unsigned i = 0; i < 500000; i++) {
        (void)snprintf(caller, sizeof(caller), "%u", i);
        assert_true(use(quota, caller, true, 1000 + i / 1000).admitted);
    }
    assert_int_equal(use(quota, "499999", false, 2000).remaining, 2);
    assert_int_equal(use(quota, "0", false, 2000).remaining, 3);
    quota_close(quota);
}

static void *thousand_uses(void *quota)
{
    uint64_t remaining, wait_ms;

    for (int i = 0; i < 1000; i++)
        (void)quota_use(quota, SLICE("a"), 4000, WINDOW_MS, true, 1000, &remaining, &wait_ms);
    return NULL;
}

static void test_quota_counts_each_of_many_threads(void **state)
{
    struct quota *quota = quota_open();
    pthread_t threads[3];
    uint64_t remaining, wait_ms;

    (void)state;
    for (size_t i = 0; i < LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thousand_uses, quota), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
    (void)quota_use(quota, SLICE("a"), 4000, WINDOW_MS, false, 1000, &remaining, &wait_ms);
    assert_int_equal(remaining, 1000);
    quota_close(quota);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota_counts_in_a_window),
        cmocka_unit_test(test_quota_takes_time_that_steps_back),
        cmocka_unit_test(test_quota_follows_another_limit),
        cmocka_unit_test(test_quota_is_bounded),
        cmocka_unit_test(test_quota_counts_each_of_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
