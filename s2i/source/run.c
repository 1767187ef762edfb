/* run.c - see run.h.
 * Touches  child processes.
 * Never    leaves one behind. */
#include "s2i/source/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/fd.h"

enum { PIECE_SIZE = 4096 };

int64_t source_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What is there now; false when no more will come. */
static bool hear(int from, size_t most, struct buffer *said)
{
    char piece[PIECE_SIZE];

    for (;;) {
        ssize_t got = read(from, piece, sizeof(piece));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        size_t room = most > said->size ? most - said->size : 0;
        buffer_append(said, piece, (size_t)got < room ? (size_t)got : room);
    }
}

static int left_ms(const struct patience *patience)
{
    int64_t left = patience->until_ms - source_now_ms();

    return left <= 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* Until the child has ended: 0; -1 when it must be ended. */
static int attend(int pidfd, int from, size_t most, const struct patience *patience,
                  struct buffer *said, struct error *err)
{
    struct pollfd all[3] = {{.fd = pidfd, .events = POLLIN},
                            {.fd = from, .events = POLLIN},
                            {.fd = patience->cancel, .events = POLLIN}};

    for (;;) {
        int ready = poll(all, 3, left_ms(patience));
        if (ready < 0 && errno != EINTR)
            return error_set_errno(err, ERROR_INTERNAL, errno, "a program cannot be waited for");
        if (ready > 0 && all[2].revents != 0)
            return error_set(err, ERROR_UNAVAILABLE, "the build was stopped");
        if (ready > 0 && all[1].revents != 0 && !hear(from, most, said))
            all[1].fd = -1;
        if (ready > 0 && all[0].revents != 0)
            break;
        if (source_now_ms() >= patience->until_ms)
            return error_set(err, ERROR_INVALID, "it takes longer than sources may take");
    }
    hear(from, most, said);
    return 0;
}

int source_run(struct confinement *with, bool errors, size_t most, const struct patience *patience,
               struct buffer *said, int *status, struct error *err)
{
    OWNED(fd_drop) int pidfd = -1;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a program cannot be started");
    OWNED(fd_drop) int from = ends[0];
    fcntl(from, F_SETFL, O_NONBLOCK);
    *(errors ? &with->errors : &with->output) = ends[1];
    int started = confine_start(with, &pid, &pidfd, err);
    close(ends[1]);
    if (started < 0)
        return -1;
    if (attend(pidfd, from, most, patience, said, err) < 0) {
        confine_kill(pid);
        return -1;
    }
    return confine_wait(pid, pidfd, -1, status, err);
}
