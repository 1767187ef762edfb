/* control.c - rules, descriptors and paths of the preloaded library.
 * Touches  the control file.
 * Never    allocates: it runs inside malloc. */
#include "tests/crash/interpose.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS 16384

struct control *control;
static struct tracked table[DESCRIPTORS];
static char root[PATH_MAX];
static size_t root_length;

__attribute__((constructor)) static void control_open(void)
{
    const char *file = getenv("CRASH_CONTROL"), *folder = getenv("CRASH_ROOT");
    if (file == NULL || folder == NULL || realpath(folder, root) == NULL)
        return;
    root_length = strlen(root);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map != MAP_FAILED)
        control = map;
}

/* Lexically: folds "//", "." and "..". out starts as an absolute path without a last slash. */
static bool path_append(char *out, size_t out_size, const char *path)
{
    size_t length = strlen(out);
    while (*path != '\0') {
        size_t part = strcspn(path, "/");
        if (part == 2 && memcmp(path, "..", 2) == 0) {
            while (length > 0 && out[--length] != '/')
                ;
        } else if (part > 0 && !(part == 1 && path[0] == '.')) {
            if (length + part + 2 > out_size)
                return false;
            out[length++] = '/';
            memcpy(out + length, path, part);
            length += part;
        }
        out[length] = '\0';
        path += part + (path[part] == '/');
    }
    return true;
}

/* The folder a relative path starts from. */
static bool path_base(int folder, char *out, size_t out_size)
{
    if (folder == AT_FDCWD)
        return getcwd(out, out_size) != NULL;
    char link[64];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, out, out_size - 1);
    if (n < 0)
        return false;
    out[n] = '\0';
    return true;
}

bool path_below_root(int folder, const char *path, char *out, size_t out_size)
{
    char full[PATH_MAX] = "";
    if (control == NULL || path == NULL)
        return false;
    if (path[0] == '/' && strncmp(path, "/proc/", 6) == 0)
        return false;
    if (path[0] != '/' && !path_base(folder, full, sizeof full))
        return false;
    if (strcmp(full, "/") == 0)
        full[0] = '\0';
    if (!path_append(full, sizeof full, path) || strncmp(full, root, root_length) != 0)
        return false;
    const char *rest = full + root_length;
    if (rest[0] != '\0' && rest[0] != '/')
        return false;
    rest = rest[0] == '\0' ? "." : rest + 1;
    if (strlen(rest) + 1 > out_size) {
        __atomic_add_fetch(&control->misuse, 1, __ATOMIC_RELAXED);
        return false;
    }
    memcpy(out, rest, strlen(rest) + 1);
    return true;
}

struct tracked *tracked_find(int fd)
{
    if (control == NULL || fd < 0 || fd >= DESCRIPTORS || table[fd].handle == 0)
        return NULL;
    return &table[fd];
}

void tracked_open(int fd, const char *path)
{
    if (fd < 0)
        return;
    if (fd >= DESCRIPTORS) {
        __atomic_add_fetch(&control->misuse, 1, __ATOMIC_RELAXED);
        return;
    }
    memcpy(table[fd].path, path, strlen(path) + 1);
    table[fd].handle = __atomic_add_fetch(&control->handles, 1, __ATOMIC_RELAXED);
}

void tracked_copy(int from, int to)
{
    if (to < 0 || to >= DESCRIPTORS || from == to)
        return;
    tracked_close(to);
    if (tracked_find(from) != NULL)
        table[to] = table[from];
}

void tracked_close(int fd)
{
    if (fd >= 0 && fd < DESCRIPTORS)
        table[fd].handle = 0;
}

void die(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

static void sleep_ms(long ms)
{
    struct timespec pause_for = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&pause_for, NULL);
}

static void hold(struct rule *rule)
{
    __atomic_add_fetch(&rule->held, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&rule->calls, __ATOMIC_ACQUIRE) != 0)
        sleep_ms(1);
    __atomic_sub_fetch(&rule->held, 1, __ATOMIC_SEQ_CST);
}

/* False: it was disarmed meanwhile. The driver disarms and then reads `struck`: what it finds there
 * will happen, or is taken back, and nothing comes after. */
static bool strike(struct rule *rule, enum call call)
{
    __atomic_add_fetch(&rule->struck, 1, __ATOMIC_SEQ_CST);
    if ((__atomic_load_n(&rule->calls, __ATOMIC_SEQ_CST) & call) != 0)
        return true;
    __atomic_sub_fetch(&rule->struck, 1, __ATOMIC_SEQ_CST);
    return false;
}

struct verdict rules_ask(enum call call, const char *path)
{
    for (int i = 0; control != NULL && i < RULE_COUNT; i++) {
        struct rule *rule = &control->rules[i];
        if ((__atomic_load_n(&rule->calls, __ATOMIC_ACQUIRE) & call) == 0 ||
            (rule->pattern[0] != '\0' && fnmatch(rule->pattern, path, FNM_PATHNAME) != 0))
            continue;
        uint32_t hit = __atomic_add_fetch(&rule->hits, 1, __ATOMIC_RELAXED);
        if (hit < rule->from || (rule->times > 0 && hit - rule->from >= rule->times))
            continue;
        if (rule->action == DELAY)
            sleep_ms(rule->error);
        if (rule->action == HOLD)
            hold(rule);
        if (rule->action == DELAY || rule->action == HOLD || !strike(rule, call))
            continue;
        return (struct verdict){(enum action)rule->action, rule->error};
    }
    return (struct verdict){0, 0};
}
