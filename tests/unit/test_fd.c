/* test_fd.c - descriptors: owned, read and written to the end. */
#include "registry/core/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/unit.h"

enum { LONG = 300000 }; /* more than a pipe holds: it takes several writes and reads */

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_fd_drop_closes_what_was_not_taken(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    int kept = ends[0], gone = ends[1];
    {
        OWNED(fd_drop) int dropped = ends[1];
        OWNED(fd_drop) int taken = ends[0];
        OWNED(fd_drop) int none = -1;
        assert_int_equal(fd_take(&taken), kept);
        assert_int_equal(taken, -1);
        assert_true(dropped >= 0 && none < 0);
    }
    assert_true(is_open(kept));
    assert_false(is_open(gone));
    fd_drop(&kept);
    assert_int_equal(kept, -1);
    assert_false(is_open(ends[0]));
}

static void *write_long(void *arg)
{
    int *fd = arg;
    OWNED(memory_drop) char *bytes = memory_new(LONG);

    memset(bytes, 'x', LONG);
    assert_int_equal(fd_write(*fd, (struct slice){bytes, LONG}), 0);
    fd_drop(fd);
    return NULL;
}

static void test_fd_write_and_read_go_to_the_end(void **state)
{
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    pthread_t writer;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_long, &ends[1]), 0);
    assert_int_equal(fd_read(ends[0], LONG, &got), 0);
    assert_int_equal(pthread_join(writer, NULL), 0);
    assert_int_equal(got.size, LONG);
    assert_true(got.at[0] == 'x' && memcmp(got.at, got.at + 1, LONG - 1) == 0);
    fd_drop(&ends[0]);
}

static void test_fd_read_holds_its_limit(void **state)
{
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fd_write(ends[1], SLICE("four")), 0);
    fd_drop(&ends[1]);
    errno = 0;
    assert_int_equal(fd_read(ends[0], 3, &got), -1);
    assert_int_equal(errno, EFBIG);
    fd_drop(&ends[0]);
}

static void test_fd_failures_leave_errno(void **state)
{
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;

    (void)state;
    errno = 0;
    assert_int_equal(fd_write(-1, SLICE("x")), -1);
    assert_int_equal(errno, EBADF);
    errno = 0;
    assert_int_equal(fd_read(-1, 1, &got), -1);
    assert_int_equal(errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fd_drop_closes_what_was_not_taken),
        cmocka_unit_test(test_fd_write_and_read_go_to_the_end),
        cmocka_unit_test(test_fd_read_holds_its_limit),
        cmocka_unit_test(test_fd_failures_leave_errno),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
