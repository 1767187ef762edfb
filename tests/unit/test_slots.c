/* test_slots.c - the table of fixed size: finds what it took, forgets what rested longest. */
#include "auth/slots.h"

#include <stdio.h>

#include "tests/support/unit.h"

static uint64_t *find(struct slots *slots, const char *key, uint64_t now_ms)
{
    return slots_find(slots, slice_of(key), SLICE_NONE, now_ms);
}

static uint64_t *take(struct slots *slots, const char *key, uint64_t now_ms)
{
    return slots_take(slots, slice_of(key), SLICE_NONE, now_ms);
}

static void test_slots_find_what_was_taken(void **state)
{
    struct slots *slots = slots_open(64, 16);

    (void)state;
    assert_null(find(slots, "a", 1));
    uint64_t *value = take(slots, "a", 1);
    assert_true(value[0] == 0 && value[1] == 0);
    value[1] = 7;
    assert_ptr_equal(find(slots, "a", 2), value);
    assert_ptr_equal(take(slots, "a", 2), value);
    assert_int_equal(value[1], 7);
    assert_null(slots_find(slots, SLICE("a"), SLICE("b"), 2));
    assert_ptr_not_equal(slots_take(slots, SLICE("a"), SLICE("b"), 2), value);
    slots_close(slots);
    slots_close(NULL);
}

/* Eight places: the ninth key takes that of the one not looked at for the longest time. */
static void test_slots_forget_what_rested_longest(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct slots *slots = slots_open(8, 8);

    (void)state;
    for (size_t i = 0; i < LENGTH(keys); i++)
        *take(slots, keys[i], 10 + i) = 100 + i;
    assert_non_null(find(slots, "a", 50)); /* looking is use: b is the oldest */
    assert_int_equal(*take(slots, "new", 51), 0);
    assert_null(find(slots, "b", 52));
    assert_int_equal(*find(slots, "a", 52), 100);
    for (size_t i = 2; i < LENGTH(keys); i++)
        assert_int_equal(*find(slots, keys[i], 52), 100 + i);
    slots_close(slots);
}

/* Where keys stand differs from table to table, so nobody can prepare keys that crowd one place. */
static void test_slots_places_are_seeded(void **state)
{
    enum { TABLES = 20, KEYS = 16 };
    unsigned same = 0;
    unsigned first_kept = 0;
    char key[20];

    (void)state;
    for (unsigned table = 0; table < TABLES; table++) {
        struct slots *slots = slots_open(16, 8);
        unsigned kept = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            (void)snprintf(key, sizeof(key), "key%u", i);
            *take(slots, key, i) = 1;
        }
        for (unsigned i = 0; i < KEYS; i++) {
            (void)snprintf(key, sizeof(key), "key%u", i);
            kept |= (unsigned)(find(slots, key, KEYS) != NULL) << i;
        }
        slots_close(slots);
        first_kept = table == 0 ? kept : first_kept;
        same += kept == first_kept;
    }
    assert_true(same < TABLES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots_find_what_was_taken),
        cmocka_unit_test(test_slots_forget_what_rested_longest),
        cmocka_unit_test(test_slots_places_are_seeded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
