/* test_thread.c - what threads ask of the kernel's scheduler.
 * Touches  threads of its own.
 * Never    judges how the kernel then shares: tests/bench measures that. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/http/thread.h"
#include "tests/support/unit.h"

struct attributes { /* struct sched_attr of the kernel */
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

static struct attributes attributes_now(void)
{
    struct attributes attributes = {0};

    assert_int_equal(syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0), 0);
    return attributes;
}

/* What a thread was made with, and what it has after it asked. */
struct seen {
    int nice;
    struct attributes before, after;
};

static void *prompt(void *arg)
{
    struct seen *seen = arg;

    if (seen->nice != 0)
        thread_stand_back(seen->nice);
    seen->before = attributes_now();
    thread_prompt();
    seen->after = attributes_now();
    return NULL;
}

static struct seen prompted(int nice)
{
    struct seen seen = {.nice = nice};
    pthread_t id;

    assert_int_equal(pthread_create(&id, NULL, prompt, &seen), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    return seen;
}

/* Nicer than `own`; there is an end to it. */
static int nicer(int own)
{
    enum { NICEST = 19 };

    return own + 3 < NICEST ? own + 3 : NICEST;
}

static void test_thread_prompt_asks_for_short_turns(void **state)
{
    struct seen seen = prompted(0);

    (void)state;
    if (seen.before.runtime_ns == 0)
        skip(); /* Linux before 6.12 */
    assert_int_equal(seen.after.runtime_ns, 100 * 1000);
    assert_int_equal(attributes_now().runtime_ns, seen.before.runtime_ns); /* of it alone */
}

static void test_thread_prompt_keeps_the_rest(void **state)
{
    struct seen seen = prompted(0);

    (void)state;
    assert_int_equal(seen.after.policy, seen.before.policy);
    assert_int_equal(seen.after.nice, seen.before.nice);
    assert_int_equal(seen.after.flags, seen.before.flags);
    seen = prompted(nicer(getpriority(PRIO_PROCESS, 0)));
    assert_int_equal(seen.after.nice, seen.before.nice);
}

static void test_thread_stands_back_alone(void **state)
{
    int own = getpriority(PRIO_PROCESS, 0);
    struct seen seen = prompted(nicer(own));

    (void)state;
    assert_int_equal(seen.before.nice, nicer(own));
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thread_prompt_asks_for_short_turns),
        cmocka_unit_test(test_thread_prompt_keeps_the_rest),
        cmocka_unit_test(test_thread_stands_back_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
