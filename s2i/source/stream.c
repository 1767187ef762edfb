/* stream.c - runs git inside the confinement of the child that reads, for what libgit2 cannot do:
 * contents in pieces (4.11), and reading .gitmodules as Git does.
 * Touches  child processes, which end with this one's group.
 * Never    a shell; configuration but the repository's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/confine.h"
#include "s2i/source/reading.h"

enum { PIECE_SIZE = 64 * 1024, WORDS_MAX = 16 };

static const char *const environment[] = {"PATH=/usr/bin:/bin",          "LC_ALL=C",
                                          "HOME=/nonexistent",           "GIT_CONFIG_NOSYSTEM=1",
                                          "GIT_CONFIG_GLOBAL=/dev/null", "GIT_NO_LAZY_FETCH=1",
                                          "GIT_NO_REPLACE_OBJECTS=1",    NULL};

static int start(const char *repository, const char *const *words, int output, pid_t *pid)
{
    const char *all[WORDS_MAX] = {confine_program("git"), "--git-dir", repository, "-c",
                                  "core.bigFileThreshold=1m"};
    posix_spawn_file_actions_t actions;
    size_t count = 5;

    if (all[0] == NULL)
        return ENOENT;
    for (; *words != NULL; words++) {
        assert(count + 1 < WORDS_MAX);
        all[count++] = *words;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, 1);
    int number = posix_spawn(pid, all[0], &actions, NULL, (char *const *)(uintptr_t)all,
                             (char *const *)(uintptr_t)environment);
    posix_spawn_file_actions_destroy(&actions);
    return number;
}

static int drain(int fd, uint64_t most, reading_sink *sink, void *arg, struct error *err)
{
    OWNED(memory_drop) char *piece = memory_new(PIECE_SIZE);
    uint64_t all = 0;

    for (;;) {
        ssize_t got = read(fd, piece, PIECE_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set_errno(err, ERROR_INTERNAL, errno, "git's output cannot be read");
        if (got == 0)
            return 0;
        all += (uint64_t)got;
        if (all > most)
            return error_set(err, ERROR_INVALID, "git gives more than %llu bytes",
                             (unsigned long long)most);
        if (sink(arg, (struct slice){piece, (size_t)got}, err) < 0)
            return -1;
    }
}

static int reap(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

int source_git(const char *repository, const char *const *words, uint64_t most, reading_sink *sink,
               void *arg, struct error *err)
{
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "git cannot be started");
    OWNED(fd_drop) int from = ends[0];
    int number = start(repository, words, ends[1], &pid);
    close(ends[1]);
    if (number != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, number, "git cannot be started");
    int outcome = drain(from, most, sink, arg, err);
    fd_drop(&from);
    if (outcome < 0)
        kill(pid, SIGKILL);
    int status = reap(pid);
    if (outcome == 0 && status != 0)
        return error_set(err, ERROR_INVALID, "the repository cannot be read: git %s fails",
                         words[0]);
    return outcome;
}
