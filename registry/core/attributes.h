/* attributes.h - for the compiler: ownership, results that must be looked at, thread roles.
 * Touches  nothing.
 * Never    depends on anything of ours.
 *
 * Thread roles: a loop thread moves bytes and never waits; a worker thread may block. A function
 * marked ON(role) runs on threads of that role only; no mark means any thread. Clang checks the
 * marks (-Wthread-safety); calls through a table escape it, so those functions start with
 * assert_role(). */
#ifndef SLIPWAY_CORE_ATTRIBUTES_H
#define SLIPWAY_CORE_ATTRIBUTES_H

#include <assert.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* A local that `drop(&local)` releases at the end of its scope. */
#define OWNED(drop) __attribute__((cleanup(drop)))

/* Gives an owned pointer away: the local becomes NULL, so its drop does nothing. */
#define TAKE(pointer)                                                                              \
    __extension__({                                                                                \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })

#if defined(__clang__)
#define CAPABILITY_(name) __attribute__((capability(name)))
#define ON(role) __attribute__((requires_capability(role)))
#define ASSERTS_ROLE_(role) __attribute__((assert_capability(role)))
#else
#define CAPABILITY_(name)
#define ON(role)
#define ASSERTS_ROLE_(role)
#endif

enum thread_role_kind { ROLE_NONE, ROLE_LOOP, ROLE_WORKER };

struct CAPABILITY_("role") thread_role {
    enum thread_role_kind kind;
};

extern const struct thread_role loop_thread;
extern const struct thread_role worker_thread;

/* The role of the calling thread, set once when the thread starts. */
extern _Thread_local enum thread_role_kind thread_role_current;

static inline void assert_loop_thread(void) ASSERTS_ROLE_(loop_thread)
{
    assert(thread_role_current == ROLE_LOOP);
}

static inline void assert_worker_thread(void) ASSERTS_ROLE_(worker_thread)
{
    assert(thread_role_current == ROLE_WORKER);
}

/* For what main opens and closes itself: it blocks as workers do. Returns the role to go back to.
 */
static inline enum thread_role_kind become_worker_thread(void) ASSERTS_ROLE_(worker_thread)
{
    enum thread_role_kind before = thread_role_current;

    thread_role_current = ROLE_WORKER;
    return before;
}

#endif
