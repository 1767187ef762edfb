/* link_spawn.c - the builder that the server starts itself.
 * Touches  a process of our own program, as it runs.
 * Never    gives it a descriptor but its connection, or an environment of ours. */
#include "s2i/link.h"

#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "s2i/confine.h"

enum { CONNECTION_FD = 3 }; /* where the started builder finds its connection */

static char *number(uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    size_t size = u64_digits(value, digits);

    return memory_text((struct slice){digits, size});
}

/* The other end of the pair becomes descriptor 3 of the program. */
int link_spawn(const struct build_link *link, int theirs, pid_t *pid, struct error *err)
{
    const struct config *config = link->config;
    OWNED(memory_drop) char *slots = number(config->builds_concurrency);
    OWNED(memory_drop) char *cache = number(config->builds_cache_max);
    OWNED(memory_drop) char *base = number(config->builds_id_base);
    char *const words[] = {(char *)(uintptr_t)confine_self(),
                           (char *)(uintptr_t) "builder",
                           (char *)(uintptr_t) "--connection",
                           (char *)(uintptr_t) "3",
                           (char *)(uintptr_t) "--folder",
                           link->folder,
                           (char *)(uintptr_t) "--slots",
                           slots,
                           (char *)(uintptr_t) "--cache-max",
                           cache,
                           (char *)(uintptr_t) "--id-base",
                           base,
                           (char *)(uintptr_t) "--scratch",
                           config->builds_scratch,
                           (char *)(uintptr_t) "--runtime",
                           config->builds_runtime,
                           NULL};
    char *const environment[] = {
        (char *)(uintptr_t) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)(uintptr_t) "LC_ALL=C.UTF-8", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, theirs, CONNECTION_FD);
    posix_spawn_file_actions_addclosefrom_np(&files, CONNECTION_FD + 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    /* Ourselves as we run: another version may stand at our path by now, with other words. */
    int failed = posix_spawn(pid, "/proc/self/exe", &files, &attributes, words, environment);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (failed == 0)
        return 0;
    *pid = 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, failed, "the builder cannot be started");
}
