/* test_kept_sweep.c - what is kept of failed builds: who sweep at once remove what one would.
 * Touches  a temporary folder, child processes.
 * Never    a builder. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/kept.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

enum { MORE = 4, KEPT = 16, SWEEPERS = 6, ROUNDS = 30, HOUR = 3600 };

static void keep(int all, int build)
{
    char name[16], path[32];
    const struct timespec end = {.tv_sec = time(NULL) + HOUR};
    const struct timespec times[2] = {end, end};

    snprintf(name, sizeof(name), "%d", build);
    snprintf(path, sizeof(path), "%d/lock", build);
    assert_int_equal(mkdirat(all, name, 0700), 0);
    OWNED(fd_drop) int lock = openat(all, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(lock >= 0);
    assert_int_equal(futimens(lock, times), 0);
}

static void be_sweeper(const char *path, const int go[2], bool wait)
{
    char byte;

    close(go[1]);
    OWNED(fd_drop) int all = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (all < 0 || read(go[0], &byte, 1) != 0) /* its end: all begin together */
        _exit(1);
    _exit(kept_sweep(all, UINT64_MAX, false, wait) > 0 ? 0 : 1);
}

static void sweep_at_once(const char *path)
{
    pid_t pids[SWEEPERS];
    int go[2], status = -1;

    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    for (size_t i = 0; i < SWEEPERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            be_sweeper(path, go, i > 0);
    }
    close(go[0]);
    close(go[1]);
    for (size_t i = 0; i < SWEEPERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

static size_t count(int all)
{
    OWNED(folder_drop) DIR *open = folder_open(all, ".");
    size_t found = 0;

    while (folder_next(open) != NULL)
        found++;
    return found;
}

/* Workers and their builder do, when the one before it has just ended. */
static void sweeps_at_once_remove_what_is_too_many(void **state)
{
    char path[FOLDER_MAX];

    (void)state;
    folder_new(path);
    OWNED(fd_drop) int all = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(all >= 0);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < MORE; i++)
            keep(all, 1 + round * MORE + i);
        if (round * MORE < KEPT)
            continue;
        sweep_at_once(path);
        assert_int_equal(count(all), KEPT);
    }
    folder_remove(path);
}

/* As the builder, which hands out builds. */
static pid_t sweep_without_waiting(const char *path, int64_t *before)
{
    pid_t pid;

    *before = time(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    OWNED(fd_drop) int all = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int64_t next = kept_sweep(all, UINT64_MAX, false, false);
    _exit(next > *before && next < *before + HOUR / 2 ? 0 : 1);
}

/* Whether the kernel has the process wait for a lock. */
static bool is_held_up(pid_t pid)
{
    FILE *locks = fopen("/proc/locks", "re");
    char line[256], waiter[32];
    bool found = false;

    snprintf(waiter, sizeof(waiter), " %d ", (int)pid);
    while (locks != NULL && !found && fgets(line, sizeof(line), locks) != NULL)
        found = strstr(line, "-> FLOCK") != NULL && strstr(line, waiter) != NULL;
    if (locks != NULL)
        fclose(locks);
    return found;
}

/* Its status; no time is too long, but for a lock that we hold. */
static int end_of(pid_t pid)
{
    int status = -1;
    pid_t ended;

    while ((ended = waitpid(pid, &status, WNOHANG)) == 0) {
        if (is_held_up(pid))
            kill(pid, SIGKILL);
        poll(NULL, 0, 10);
    }
    assert_int_equal(ended, pid);
    return status;
}

static void a_sweep_of_another_is_not_waited_for(void **state)
{
    char path[FOLDER_MAX];
    int64_t before;

    (void)state;
    folder_new(path);
    OWNED(fd_drop) int all = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED(fd_drop) int other = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < KEPT + MORE; i++)
        keep(all, 1 + i);
    assert_int_equal(flock(other, LOCK_EX), 0);
    assert_int_equal(end_of(sweep_without_waiting(path, &before)), 0);
    assert_int_equal(count(all), KEPT + MORE);
    assert_int_equal(flock(other, LOCK_UN), 0);
    assert_true(kept_sweep(all, UINT64_MAX, false, false) > before + HOUR / 2); /* the end of one */
    assert_int_equal(count(all), KEPT);
    folder_remove(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sweeps_at_once_remove_what_is_too_many),
        cmocka_unit_test(a_sweep_of_another_is_not_waited_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
