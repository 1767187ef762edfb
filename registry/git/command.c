/* command.c - git as a child: what it is told by its environment, and runs of it that are waited
 * for.
 * Touches  child processes.
 * Never    lets a setting of the machine, of a user or of a repository decide anything. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/config.h"
#include "registry/core/fd.h"
#include "registry/git/git_internal.h"
#include "s2i/confine.h"

void environment_drop(struct environment *environment)
{
    for (size_t i = 0; i < environment->count; i++)
        free(environment->items[i]);
}

void environment_add(struct environment *environment, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    assert(environment->count + 1 < ENVIRONMENT_MAX);
    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    environment->items[environment->count++] = memory_text(buffer_slice(&text));
}

static void setting_add(struct environment *environment, const char *key, const char *value)
{
    environment_add(environment, "GIT_CONFIG_KEY_%zu=%s", environment->settings, key);
    environment_add(environment, "GIT_CONFIG_VALUE_%zu=%s", environment->settings, value);
    environment->settings++;
}

/* Histories that well-known projects have, whatever git thinks of them today. */
static void fsck_settings(struct environment *environment)
{
    static const char *const forgiven[] = {"zeroPaddedFilemode", "missingSpaceBeforeDate",
                                           "badTimezone"};

    setting_add(environment, "receive.fsckObjects", "true");
    for (size_t i = 0; i < sizeof(forgiven) / sizeof(forgiven[0]); i++) {
        char key[64];
        snprintf(key, sizeof(key), "receive.fsck.%s", forgiven[i]);
        setting_add(environment, key, "ignore");
    }
}

static void settings_fill(const struct git *git, struct environment *environment)
{
    static const struct {
        const char *key, *value;
    } fixed[] = {
        {"safe.directory", "*"},
        {"gc.auto", "0"},
        {"maintenance.auto", "false"},
        {"core.logAllRefUpdates", "false"},
        {"core.fsync", "committed,reference"},
        {"core.fsyncMethod", "batch"},
        {"core.bigFileThreshold", "32m"},
        {"pack.threads", "1"},
        {"receive.autogc", "false"},
        {"receive.advertisePushOptions", "true"},
        {"receive.advertiseAtomic", "true"},
        {"receive.procReceiveRefs", "refs"},
        {"receive.shallowUpdate", "true"},
        {"receive.denyDeleteCurrent", "ignore"},
        {"receive.denyCurrentBranch", "ignore"},
        {"transfer.hideRefs", "refs/builds"},
        {"uploadpack.allowFilter", "true"},
    };
    char number[32];

    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        setting_add(environment, fixed[i].key, fixed[i].value);
    fsck_settings(environment);
    snprintf(number, sizeof(number), "%llu",
             (unsigned long long)git->options.config->builds_sources_max_size);
    setting_add(environment, "receive.maxInputSize", number);
}

void environment_fill(const struct git *git, const char *hooks, struct environment *environment)
{
    static const char *const fixed[] = {
        "PATH=/usr/bin:/bin:/usr/local/bin",
        "HOME=/nonexistent",
        "LANG=C.UTF-8",
        "GIT_CONFIG_NOSYSTEM=1",
        "GIT_TERMINAL_PROMPT=0",
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_ATTR_NOSYSTEM=1",
    };

    *environment = (struct environment){0};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
        environment_add(environment, "%s", fixed[i]);
    settings_fill(git, environment);
    setting_add(environment, "core.hooksPath", hooks);
    environment_add(environment, "GIT_CONFIG_COUNT=%zu", environment->settings);
}

/* --- which git it is --- */

enum { VERSION_MS = 10000, VERSION_MAX = 4096 };

static bool version_read(const struct git *git, struct buffer *out)
{
    const char *const words[] = {git->program, "version", NULL};
    const char *const environment[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};
    OWNED(fd_drop) int reading = -1, writing = -1, pidfd = -1;
    struct error err = {0};
    int both[2], status;
    pid_t pid;

    if (pipe2(both, O_CLOEXEC) < 0)
        return false;
    reading = both[0];
    writing = both[1];
    const struct confinement with = {
        .words = words, .environment = environment, .input = -1, .output = writing, .errors = -1};
    if (confine_start(&with, &pid, &pidfd, &err) < 0)
        return false;
    fd_drop(&writing);
    bool read = fd_read(reading, VERSION_MAX, out) == 0;
    return confine_wait(pid, pidfd, VERSION_MS, &status, &err) == 0 && read && status == 0;
}

bool command_is_new(const struct git *git)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice words, number, major, minor;
    uint64_t first, second;

    if (!version_read(git, &text)) /* "git version 2.39.5" */
        return false;
    slice_split(buffer_slice(&text), '\n', &words, &number);
    if (!slice_starts(words, "git version "))
        return false;
    slice_split(slice_from(words, 12), '.', &major, &number);
    slice_split(number, '.', &minor, &number);
    return slice_to_u64(major, &first) && slice_to_u64(minor, &second) &&
           (first > GIT_MAJOR || (first == GIT_MAJOR && second >= GIT_MINOR));
}
