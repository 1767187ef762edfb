/* auth_clock.h - for tests of decisions that time has to do with: it goes on by what they say. */
#ifndef SLIPWAY_TESTS_SUPPORT_AUTH_CLOCK_H
#define SLIPWAY_TESTS_SUPPORT_AUTH_CLOCK_H

#include "tests/support/auth.h"
#include "tests/support/still_clock.h"

static inline int clock_tear_down(void **state)
{
    clock_go_on();
    return auth_tear_down(state);
}

#define CLOCK_TEST(name) cmocka_unit_test_setup_teardown(name, auth_set_up, clock_tear_down)

#endif
