/* test_confine.c - confined children: real programs, and this test itself as a child that tries
 * what it must not. */
#include "s2i/confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "s2i/confine_rules.h"
#include "tests/support/unit.h"

enum { OUTPUT_MAX = 65536, LONG_MS = 120000, OUTLIVE_S = 120 };

static const char *const no_environment[] = {"LC_ALL=C", NULL};

/* --- the child's side: `test_confine probe WHAT [ARGUMENT]` prints how it went --- */

static void say(const char *what, long result)
{
    printf("%s %s\n", what, result >= 0 ? "done" : strerrorname_np(errno));
    fflush(stdout);
}

static void probe_connect(const char *port)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    say("socket", fd);
    say("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    say("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    if (fd >= 0)
        say("connect", connect(fd, (struct sockaddr *)&to, sizeof(to)));
}

static void probe_calls(void)
{
    say("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
    say("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
    say("unshare", unshare(CLONE_NEWUSER));
    say("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    say("setsid", setsid());
    say("setpgid", setpgid(0, 0));
    say("clone", syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL));
    say("clone3", syscall(435, NULL, 0));
    say("io_uring", syscall(425, 1, NULL));
}

static void probe_state(void)
{
    struct rlimit files, core;
    sigset_t mask;
    int blocked = 0;

    sigprocmask(SIG_BLOCK, NULL, &mask);
    for (int number = 1; number < 32; number++)
        blocked += sigismember(&mask, number) == 1;
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_CORE, &core);
    printf("blocked %d\npipe %s\nfiles %lu core %lu\nsession %s\nfolder %s\n", blocked,
           signal(SIGPIPE, SIG_DFL) == SIG_IGN ? "ignored" : "default",
           (unsigned long)files.rlim_cur, (unsigned long)core.rlim_cur,
           getsid(0) == getpid() ? "own" : "another", getcwd((char[4096]){0}, 4096));
    for (int fd = 0; fd < 200; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("open %d\n", fd);
    for (char **at = environ; *at != NULL; at++)
        printf("variable %s\n", *at);
    fflush(stdout);
}

static void probe_signal(const char *pid)
{
    say("kill", kill((pid_t)strtol(pid, NULL, 10), 0));
}

/* Leaves a grandchild behind that holds standard output. */
static void probe_outlive(void)
{
    if (fork() == 0) {
        signal(SIGHUP, SIG_IGN);
        sleep(OUTLIVE_S);
    }
}

static void probe_memory(void)
{
    say("memory", malloc((size_t)256 << 20) == NULL ? -1 : 0);
}

static void probe_grow(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    char bytes[8192] = {0};

    for (int i = 0; i < 100; i++)
        if (write(fd, bytes, sizeof(bytes)) < 0)
            say("grow", -1);
}

/* A server that dies: it starts a child whose own child waits too, tells their pids, and is gone.
 */
static void probe_server(const char *self)
{
    const char *words[] = {self, "probe", "family", NULL};
    struct confinement with = {.words = words,
                               .environment = no_environment,
                               .input = -1,
                               .output = STDOUT_FILENO,
                               .errors = -1,
                               .readable = (const char *[]){self, NULL}};
    struct error err = {0};
    pid_t pid;

    if (confine_start(&with, &pid, NULL, &err) < 0)
        printf("failed %s\n", err.cause);
    fflush(stdout);
    pause();
}

static void probe_family(void)
{
    pid_t child = fork();

    if (child > 0) {
        printf("%d %d\n", (int)getpid(), (int)child);
        fflush(stdout);
    }
    for (;;)
        pause();
}

static int probe(const char *self, const char *what, const char *argument)
{
    if (strcmp(what, "open") == 0)
        say("open", open(argument, O_RDONLY));
    else if (strcmp(what, "write") == 0)
        say("write", open(argument, O_WRONLY | O_CREAT, 0600));
    else if (strcmp(what, "connect") == 0)
        probe_connect(argument);
    else if (strcmp(what, "calls") == 0)
        probe_calls();
    else if (strcmp(what, "state") == 0)
        probe_state();
    else if (strcmp(what, "signal") == 0)
        probe_signal(argument);
    else if (strcmp(what, "outlive") == 0)
        probe_outlive();
    else if (strcmp(what, "memory") == 0)
        probe_memory();
    else if (strcmp(what, "grow") == 0)
        probe_grow(argument);
    else if (strcmp(what, "server") == 0)
        probe_server(self);
    else if (strcmp(what, "family") == 0)
        probe_family();
    return 0;
}

/* --- the parent's side --- */

struct outcome {
    char output[OUTPUT_MAX];
    int status;
};

/* Runs it to its end with standard output in a pipe; everything it holds must be closed then. */
static void run(struct confinement *with, struct outcome *out)
{
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    struct error err = {0};
    int ends[2], pidfd;
    pid_t pid;

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    with->output = ends[1];
    if (with->environment == NULL)
        with->environment = no_environment;
    if (confine_start(with, &pid, &pidfd, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    close(ends[1]);
    assert_int_equal(confine_wait(pid, pidfd, LONG_MS, &out->status, &err), 0);
    close(pidfd);
    assert_int_equal(fd_read(ends[0], OUTPUT_MAX - 1, &said), 0);
    close(ends[0]);
    assert_true(slice_to_text(buffer_slice(&said), out->output, OUTPUT_MAX));
}

static void run_probe(const char *what, const char *argument, struct confinement *with,
                      struct outcome *out)
{
    const char *words[] = {confine_self(), "probe", what, argument, NULL};

    with->words = words;
    with->input = with->errors = -1;
    run(with, out);
    assert_int_equal(out->status, 0);
}

static bool has(const struct outcome *out, const char *line)
{
    const char *at = out->output;

    while ((at = strstr(at, line)) != NULL) {
        if ((at == out->output || at[-1] == '\n') && at[strlen(line)] == '\n')
            return true;
        at++;
    }
    return false;
}

static void test_confine_runs_programs_with_their_input(void **state)
{
    struct outcome out;
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(write(ends[1], "hello\n", 6), 6);
    close(ends[1]);
    struct confinement cat = {
        .words = (const char *[]){"/bin/cat", NULL}, .input = ends[0], .errors = -1};
    run(&cat, &out);
    close(ends[0]);
    assert_string_equal(out.output, "hello\n");
    assert_int_equal(out.status, 0);

    struct confinement git = {.words = (const char *[]){confine_program("git"), "--version", NULL},
                              .input = -1,
                              .errors = -1};
    run(&git, &out);
    assert_int_equal(strncmp(out.output, "git version ", 12), 0);
    assert_null(confine_program("no-such-program"));
}

static void test_confine_gives_its_status(void **state)
{
    static struct outcome out;
    struct confinement with = {
        .words = (const char *[]){"/bin/sh", "-c", "exit 7", NULL}, .input = -1, .errors = -1};

    (void)state;
    run(&with, &out);
    assert_true(WIFEXITED(out.status));
    assert_int_equal(WEXITSTATUS(out.status), 7);
}

static void test_confine_says_what_cannot_be_started(void **state)
{
    struct confinement with = {.words = (const char *[]){"/usr/bin/none-of-it", NULL},
                               .environment = no_environment,
                               .input = -1,
                               .output = -1,
                               .errors = -1};
    struct error err = {0};
    pid_t pid;

    (void)state;
    assert_int_equal(confine_start(&with, &pid, NULL, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.cause, "/usr/bin/none-of-it"));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void test_confine_shows_only_its_folders(void **state)
{
    static struct outcome out;
    char folder[] = "/tmp/slipway-confine-XXXXXX", inside[64],
         outside[] = "/tmp/slipway-out-XXXXXX";
    struct confinement with = {0};

    (void)state;
    if (confine_landlock_version() == 0)
        skip();
    assert_non_null(mkdtemp(folder));
    int fd = mkstemp(outside);
    assert_true(fd >= 0);
    snprintf(inside, sizeof(inside), "%s/file", folder);

    run_probe("open", "/etc/shadow", &with, &out);
    assert_true(has(&out, "open EACCES"));
    run_probe("open", outside, &with, &out);
    assert_true(has(&out, "open EACCES"));
    run_probe("write", inside, &with, &out);
    assert_true(has(&out, "write EACCES"));
    run_probe("open", "/proc/1/environ", &with, &out);
    assert_true(has(&out, "open EACCES"));

    with = (struct confinement){.writable = (const char *[]){folder, NULL}};
    run_probe("write", inside, &with, &out);
    assert_true(has(&out, "write done"));
    run_probe("write", outside, &with, &out);
    assert_true(has(&out, "write EACCES"));
    with = (struct confinement){.readable = (const char *[]){folder, "/no/such/folder", NULL}};
    run_probe("open", inside, &with, &out);
    assert_true(has(&out, "open done"));
    run_probe("write", inside, &with, &out);
    assert_true(has(&out, "write EACCES"));

    close(fd);
    unlink(outside);
    unlink(inside);
    rmdir(folder);
}

static int listen_somewhere(uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

static void test_confine_has_no_network_unless_asked(void **state)
{
    static struct outcome out;
    struct confinement with = {0};
    uint16_t port;
    int listener = listen_somewhere(&port);
    char text[16];

    (void)state;
    snprintf(text, sizeof(text), "%u", port);
    run_probe("connect", text, &with, &out);
    assert_string_equal(out.output,
                        "socket EAFNOSUPPORT\nunix EAFNOSUPPORT\nnetlink EAFNOSUPPORT\n");
    with = (struct confinement){.network = true};
    run_probe("connect", text, &with, &out);
    assert_string_equal(out.output,
                        "socket done\nunix EAFNOSUPPORT\nnetlink EAFNOSUPPORT\nconnect done\n");
    if (confine_landlock_version() >= 4) {
        with = (struct confinement){.network = true, .port = port};
        run_probe("connect", text, &with, &out);
        assert_true(has(&out, "connect done"));
        with = (struct confinement){.network = true, .port = (uint16_t)(port ^ 1)};
        run_probe("connect", text, &with, &out);
        assert_true(has(&out, "connect EACCES"));
    }
    close(listener);
}

static void test_confine_refuses_calls(void **state)
{
    static struct outcome out;
    struct confinement with = {0};

    (void)state;
    run_probe("calls", NULL, &with, &out);
    assert_string_equal(out.output,
                        "ptrace EPERM\nmount EPERM\nunshare EPERM\nbpf EPERM\nkeyctl EPERM\n"
                        "setsid EPERM\nsetpgid EPERM\nclone EPERM\nclone3 ENOSYS\n"
                        "io_uring EPERM\n");
}

static void test_confine_gives_a_clean_state(void **state)
{
    static struct outcome out;
    int kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 90), other = fcntl(STDERR_FILENO, F_DUPFD, 91);
    struct confinement with = {.kept = &kept,
                               .kept_count = 1,
                               .folder = "/usr",
                               .environment = (const char *[]){"ONLY=this", NULL}};
    sigset_t block, before;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &block, &before);
    run_probe("state", NULL, &with, &out);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_true(has(&out, "blocked 0"));
    assert_true(has(&out, "pipe default"));
    assert_true(has(&out, "files 1024 core 0"));
    assert_true(has(&out, "session own"));
    assert_true(has(&out, "folder /usr"));
    assert_true(has(&out, "variable ONLY=this"));
    assert_null(strstr(strstr(out.output, "variable") + 1, "variable"));
    int open_count = 0;
    for (const char *at = out.output; (at = strstr(at, "open ")) != NULL; at++)
        open_count++;
    assert_int_equal(open_count, 5); /* three, the kept one, the lifeline */
    assert_true(has(&out, "open 90"));
    assert_false(has(&out, "open 91"));
    close(kept);
    close(other);
}

static void test_confine_cannot_signal_the_server(void **state)
{
    static struct outcome out;
    struct confinement with = {0};
    char pid[16];

    (void)state;
    if (confine_landlock_version() < 6)
        skip();
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    run_probe("signal", pid, &with, &out);
    assert_true(has(&out, "kill EPERM"));
}

/* run() reads to the end of standard output, which the grandchild holds too. */
static void test_confine_leaves_no_grandchild(void **state)
{
    static struct outcome out;
    struct confinement with = {0};
    uint64_t begun_ms = clock_monotonic_ms();

    (void)state;
    run_probe("outlive", NULL, &with, &out);
    assert_string_equal(out.output, "");
    assert_true(clock_monotonic_ms() - begun_ms < OUTLIVE_S / 2 * 1000);
}

static void test_confine_limits_memory_and_files(void **state)
{
    static struct outcome out;
    char path[] = "/tmp/slipway-grow-XXXXXX";
    struct stat about;

    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    struct confinement small = {.memory = 64 << 20};
    run_probe("memory", NULL, &small, &out);
    assert_true(has(&out, "memory ENOMEM"));
    struct confinement large = {.memory = (uint64_t)1 << 30};
    run_probe("memory", NULL, &large, &out);
    assert_true(has(&out, "memory done"));
#endif
    close(mkstemp(path));
    struct confinement with = {.words =
                                   (const char *[]){confine_self(), "probe", "grow", path, NULL},
                               .writable = (const char *[]){path, NULL},
                               .file_size = 16384,
                               .input = -1,
                               .errors = -1};
    run(&with, &out);
    assert_true(WIFSIGNALED(out.status));
    assert_int_equal(WTERMSIG(out.status), SIGXFSZ);
    assert_int_equal(stat(path, &about), 0);
    assert_int_equal(about.st_size, 16384);
    unlink(path);
}

static void test_confine_ends_what_takes_too_long(void **state)
{
    struct confinement with = {.words = (const char *[]){"/bin/sleep", "1000", NULL},
                               .environment = no_environment,
                               .input = -1,
                               .output = -1,
                               .errors = -1};
    struct error err = {0};
    int status;
    pid_t pid;

    (void)state;
    assert_int_equal(confine_start(&with, &pid, NULL, &err), 0);
    assert_int_equal(confine_wait(pid, -1, 50, &status, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);

    assert_int_equal(confine_start(&with, &pid, NULL, &err), 0);
    confine_kill(pid);
    assert_int_equal(kill(pid, 0), -1);
}

static void *start_and_leave(void *arg)
{
    const struct confinement with = {.words = (const char *[]){"/bin/cat", NULL},
                                     .environment = no_environment,
                                     .input = *(int *)arg,
                                     .output = -1,
                                     .errors = -1};
    static pid_t pid;
    struct error err = {0};

    assert_int_equal(confine_start(&with, &pid, NULL, &err), 0);
    return &pid;
}

/* The life of a child is the process's, not that of the thread that happened to start it. */
static void test_confine_outlives_the_thread_that_started_it(void **state)
{
    pthread_t thread;
    void *pid;
    int ends[2], status;
    struct error err = {0};

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&thread, NULL, start_and_leave, &ends[0]), 0);
    pthread_join(thread, &pid);
    close(ends[0]);
    assert_int_equal(write(ends[1], "x", 1), 1);
    usleep(20000);
    close(ends[1]);
    assert_int_equal(confine_wait(*(pid_t *)pid, -1, LONG_MS, &status, &err), 0);
    assert_int_equal(status, 0);
}

static bool gone(pid_t pid)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return true;
    if (fgets(line, sizeof(line), file) == NULL)
        line[0] = '\0';
    fclose(file);
    const char *state = strrchr(line, ')');
    return state == NULL || state[2] == 'Z';
}

static void test_confine_ends_with_the_server(void **state)
{
    char line[64] = "";
    int ends[2], child, grandchild;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t server = fork();
    if (server == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execl(confine_self(), confine_self(), "probe", "server", NULL);
        _exit(127);
    }
    close(ends[1]);
    assert_true(read(ends[0], line, sizeof(line) - 1) > 0);
    assert_int_equal(sscanf(line, "%d %d", &child, &grandchild), 2);
    assert_false(gone(child) || gone(grandchild));
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    close(ends[0]);
    for (int i = 0; i < 60000 && !(gone(child) && gone(grandchild)); i++)
        usleep(1000);
    bool ended = gone(child) && gone(grandchild);
    kill(child, SIGKILL);
    kill(grandchild, SIGKILL);
    assert_true(ended);
}

static void *start_many(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct outcome *out = memory_new(sizeof(*out));
        struct confinement with = {
            .words = (const char *[]){"/bin/echo", "x", NULL}, .input = -1, .errors = -1};
        run(&with, out);
        assert_string_equal(out->output, "x\n");
        free(out);
    }
    return NULL;
}

static void test_confine_starts_from_many_threads(void **state)
{
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_many, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_confine_runs_programs_with_their_input),
        cmocka_unit_test(test_confine_gives_its_status),
        cmocka_unit_test(test_confine_says_what_cannot_be_started),
        cmocka_unit_test(test_confine_shows_only_its_folders),
        cmocka_unit_test(test_confine_has_no_network_unless_asked),
        cmocka_unit_test(test_confine_refuses_calls),
        cmocka_unit_test(test_confine_gives_a_clean_state),
        cmocka_unit_test(test_confine_cannot_signal_the_server),
        cmocka_unit_test(test_confine_leaves_no_grandchild),
        cmocka_unit_test(test_confine_limits_memory_and_files),
        cmocka_unit_test(test_confine_ends_what_takes_too_long),
        cmocka_unit_test(test_confine_outlives_the_thread_that_started_it),
        cmocka_unit_test(test_confine_ends_with_the_server),
        cmocka_unit_test(test_confine_starts_from_many_threads),
    };

    if (argc >= 3 && strcmp(argv[1], "probe") == 0)
        return probe(argv[0], argv[2], argc > 3 ? argv[3] : NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
