/* test_link.c - the builders' socket on a machine that is out of descriptors. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>

#include "registry/config.h"
#include "registry/core/clock.h"
#include "tests/support/hello.h"

enum { REST_MS = 900 }; /* less than the link's */

static atomic_int refusals; /* still to come */
static atomic_uint_fast64_t refused_ms, least_rest_ms;

/* In the place of the library's. */
int accept4(int fd, __SOCKADDR_ARG address, socklen_t *size, int flags)
{
    __typeof__(&accept4) real;
    uint64_t now = clock_monotonic_ms();

    *(void **)&real = dlsym(RTLD_NEXT, "accept4");
    if (refused_ms != 0 && now - refused_ms < least_rest_ms)
        least_rest_ms = now - refused_ms;
    refused_ms = refusals > 0 ? now : 0;
    if (refusals > 0) {
        refusals--;
        errno = EMFILE;
        return -1;
    }
    return real(fd, address, size, flags);
}

/* Whoever could not be taken is there at once again: his link asks for him now and then. */
static void test_link_rests_without_descriptors(void **state)
{
    struct fixture *fixture = *state;
    struct config config = {.builds_enabled = true};
    struct build_link *link = NULL;

    refusals = 1;
    least_rest_ms = UINT64_MAX;
    int builder = builder_connect(fixture, &config, &link);
    assert_int_equal(refusals, 0);
    assert_in_range(least_rest_ms, REST_MS,
                    UINT64_MAX - 1); /* it was asked again, and not at once */
    close(builder);
    link_close(link);
    free(config.builds_builder);
    free(config.builds_socket);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_link_rests_without_descriptors, fixture_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
