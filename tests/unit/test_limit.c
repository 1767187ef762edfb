/* test_limit.c - the request rate of an address: a burst, then the rate, and nobody else's share.
 */
#include "registry/http/limit.h"

#include "tests/support/unit.h"

static int admitted(struct limiter *limiter, const char *address, uint64_t now_ms, int tries)
{
    int count = 0;

    for (int i = 0; i < tries; i++)
        count += limiter_admit(limiter, slice_of(address), now_ms);
    return count;
}

/* Spec: LIM-06. */
static void test_limiter_admits_a_burst_then_the_rate(void **state)
{
    struct limiter *limiter = limiter_open(10);

    (void)state;
    int burst = admitted(limiter, "a", 1000000, 1000);
    assert_in_range(burst, 20, 21);
    assert_int_equal(admitted(limiter, "a", 1000000, 100), 0);
    assert_int_equal(admitted(limiter, "a", 1001000, 100), 10);
    assert_in_range(admitted(limiter, "a", 2000000, 1000), 20, 21);
    limiter_close(limiter);
}

static void test_limiter_counts_addresses_apart(void **state)
{
    struct limiter *limiter = limiter_open(10);

    (void)state;
    assert_true(admitted(limiter, "a", 1000000, 1000) < 1000);
    assert_int_equal(admitted(limiter, "b", 1000000, 10), 10);
    assert_int_equal(admitted(limiter, "a", 1000000, 10), 0);
    limiter_close(limiter);
    limiter_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limiter_admits_a_burst_then_the_rate),
        cmocka_unit_test(test_limiter_counts_addresses_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
