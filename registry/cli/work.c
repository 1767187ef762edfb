/* work.c - long work, as a job of the server or done here.
 *
 * (1) A server runs when its admin socket takes a connection. Without that the root's lock decides:
 *     who holds it is a server whose socket we do not know.
 * (2) The signals are held back before the first thread starts, and looked for between two steps:
 *     the first asks the job to stop, the next one ends the command. While a server is asked, which
 *     may not answer, they come in: the first is noted, the next one ends the command. */
#include "registry/cli/work.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "registry/cli/wiring.h"

enum { POLL_FIRST_MS = 20, POLL_MAX_MS = 500, LINE_MAX_SHOWN = 100 };

/* --- progress: one line that is written over --- */

struct screen {
    bool terminal;
    bool drawn;
};

static void draw(struct screen *screen, const char *phase, const json_t *counters)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
    const char *name;
    json_t *value;

    if (!screen->terminal)
        return;
    buffer_append_text(&line, phase);
    json_object_foreach((json_t *)(uintptr_t)counters, name, value) {
        buffer_print(&line, "  %s %" JSON_INTEGER_FORMAT, name, json_integer_value(value));
    }
    for (size_t i = 0; i < line.size; i++)
        if (line.at[i] == '_' || line.at[i] < ' ')
            line.at[i] = ' ';
    if (line.size > LINE_MAX_SHOWN)
        line.size = LINE_MAX_SHOWN;
    fprintf(stderr, "\r\033[K%.*s", SLICE_ARG(buffer_slice(&line)));
    fflush(stderr);
    screen->drawn = true;
}

static void erase(struct screen *screen)
{
    if (screen->drawn)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    screen->drawn = false;
}

static struct screen screen_new(void)
{
    return (struct screen){.terminal = isatty(STDERR_FILENO) == 1};
}

/* --- signals (2) --- */

static void stop_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGTERM);
}

static volatile sig_atomic_t stop_noted;

static void note_stop(int number)
{
    (void)number;
    stop_noted = 1;
}

static void on_signals(void (*handler)(int), unsigned flags)
{
    const struct sigaction action = {.sa_handler = handler, .sa_flags = (int)flags};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static void hold_signals(void)
{
    sigset_t signals;

    stop_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* Between the two a first signal is noted, and the next one ends us. */
static void let_signals_in(void)
{
    sigset_t signals;

    on_signals(note_stop, SA_RESETHAND);
    stop_signals(&signals);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

/* From now on the next one ends us. */
static void end_by_signals(void)
{
    sigset_t signals;

    on_signals(SIG_DFL, 0);
    stop_signals(&signals);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

/* One came before, or within so long. */
static bool stop_came(uint64_t wait_ms)
{
    const struct timespec wait = {.tv_sec = (time_t)(wait_ms / 1000),
                                  .tv_nsec = (long)(wait_ms % 1000) * 1000000};
    sigset_t signals;

    stop_signals(&signals);
    if (stop_noted == 0 && sigtimedwait(&signals, NULL, &wait) < 0)
        return false;
    stop_noted = 0;
    end_by_signals();
    return true;
}

/* --- a job of the server --- */

static void job_path(struct buffer *path, int64_t id, const char *action)
{
    buffer_print(path, "/jobs/%" PRId64 "%s", id, action);
    buffer_append(path, "", 1);
}

static int cancel(struct client *client, int64_t id)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    job_path(&path, id, ":cancel");
    return client_send(client, "POST", path.at, NULL, NULL);
}

/* How a job ended, as an exit status. */
static int ended(const struct cli_call *call, const json_t *job, const char *state)
{
    const char *why = json_string_value(json_object_get(job, "error"));

    if (strcmp(state, "done") == 0)
        return CLI_DONE;
    if (why != NULL)
        return cli_fail(call, CLI_FAILED, "%s", why);
    return cli_fail(call, CLI_FAILED, "job %" JSON_INTEGER_FORMAT " was %s",
                    json_integer_value(json_object_get(job, "id")), state);
}

/* stopping: the next signal ends us already. */
static int ask(struct client *client, const char *path, bool stopping, json_t **job)
{
    if (!stopping)
        let_signals_in();
    int status = client_send(client, "GET", path, NULL, job);
    if (!stopping)
        hold_signals();
    return status;
}

/* NULL: it goes on. */
static const char *end_state(const json_t *job)
{
    const char *state = json_string_value(json_object_get(job, "state"));
    bool goes_on = state == NULL || strcmp(state, "waiting") == 0 || strcmp(state, "running") == 0;

    return goes_on ? NULL : state;
}

static int wait_on(struct client *client, const struct cli_call *call, int64_t id, bool cancels,
                   json_t **out)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct screen screen = screen_new();
    uint64_t pause_ms = POLL_FIRST_MS;
    bool stopping = false;
    int status = CLI_DONE;

    job_path(&path, id, "");
    while (status == CLI_DONE) {
        OWNED(json_drop) json_t *job = NULL;
        status = ask(client, path.at, stopping, &job);
        if (status == CLI_DONE && end_state(job) != NULL) {
            erase(&screen);
            *out = TAKE(job);
            return CLI_DONE;
        }
        draw(&screen, json_string_value(json_object_get(job, "phase")),
             json_object_get(job, "progress"));
        bool stop = status == CLI_DONE && stop_came(pause_ms);
        stopping |= stop;
        if (stop && !cancels)
            status = cli_fail(call, CLI_FAILED, "job %" PRId64 " goes on", id);
        else if (stop)
            status = cancel(client, id);
        pause_ms = 2 * pause_ms > POLL_MAX_MS ? POLL_MAX_MS : 2 * pause_ms;
    }
    erase(&screen);
    return status;
}

int work_wait(struct client *client, const struct cli_call *call, int64_t id, bool cancels,
              json_t **result)
{
    OWNED(json_drop) json_t *job = NULL;

    hold_signals();
    int status = wait_on(client, call, id, cancels, &job);
    if (status != CLI_DONE)
        return status;
    *result = json_incref(json_object_get(job, "result"));
    return ended(call, job, end_state(job));
}

static int run_there(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
                     json_t **result)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *body = json_object();
    OWNED(json_drop) json_t *job = NULL;

    json_object_set_new(body, "kind", json_string(kind->name));
    json_object_set(body, "spec", spec);
    int status = client_open(&client, call);
    if (status != CLI_DONE)
        return status;
    let_signals_in(); /* who asks for the end meanwhile means the job */
    status = client_send(client, "POST", "/jobs", body, &job);
    hold_signals();
    if (status != CLI_DONE)
        return status;
    return work_wait(client, call, json_integer_value(json_object_get(job, "id")), true, result);
}

/* --- without a server --- */

int work_owner_check(const struct cli_call *call, const struct config *config)
{
    struct stat root;

    if (geteuid() != 0 || stat(config->storage_root, &root) < 0 || root.st_uid == 0)
        return CLI_DONE;
    return cli_fail(call, CLI_FAILED,
                    "%s belongs to the user with number %u: run this as that user, as in "
                    "sudo -u '#%u' slipway %s",
                    config->storage_root, root.st_uid, root.st_uid, call->command->name);
}

/* Opening makes what is not there, which is not what somebody who collects or checks wants. */
static int check_root(const struct cli_call *call, const struct config *config)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/meta.db", config->storage_root);
    buffer_append(&path, "", 1);
    if (access(path.at, F_OK) == 0)
        return work_owner_check(call, config);
    if (errno != ENOENT && errno != ENOTDIR)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", config->storage_root,
                        strerror(errno));
    return cli_fail(call, CLI_NOT_FOUND, "there is no registry in %s; slipway init makes one",
                    config->storage_root);
}

static int fail_error(const struct cli_call *call, const struct error *err)
{
    enum cli_exit status = err->code == ERROR_INVALID       ? CLI_USAGE
                           : err->code == ERROR_UNAVAILABLE ? CLI_UNREACHABLE
                                                            : CLI_FAILED;

    return cli_fail(call, status, "%s%s%s", err->message, err->cause[0] != 0 ? ": " : "",
                    err->cause);
}

struct alone {
    struct screen screen;
    _Atomic bool stopped;
};

static void tell(void *arg, const char *phase, const json_t *progress)
{
    struct alone *alone = arg;

    draw(&alone->screen, phase, progress);
}

static bool stopped(void *arg)
{
    struct alone *alone = arg;

    if (!atomic_load(&alone->stopped) && stop_came(0))
        atomic_store(&alone->stopped, true);
    return atomic_load(&alone->stopped);
}

static int run_in(const struct cli_call *call, const struct config *config,
                  const struct job_kind *kind, const json_t *spec, json_t **result)
    ON(worker_thread)
{
    OWNED(wiring_storage_drop) struct storage *storage = NULL;
    struct alone alone = {.screen = screen_new()};
    struct error err = {0};

    hold_signals();
    if (wiring_open_root(config, &storage, &err) < 0) {
        fail_error(call, &err);
        return cli_fail(
            call, CLI_UNREACHABLE,
            "if a server runs there, give its --url, or the server.admin_socket it has");
    }
    const struct job_alone with = {.storage = storage,
                                   .config = config,
                                   .kind = kind,
                                   .spec = spec,
                                   .tell = tell,
                                   .cancelled = stopped,
                                   .arg = &alone};
    int status = job_run_alone(&with, result, &err);
    erase(&alone.screen);
    if (status < 0)
        return fail_error(call, &err);
    return atomic_load(&alone.stopped) ? cli_fail(call, CLI_FAILED, "it was cancelled") : CLI_DONE;
}

static int run_here(const struct cli_call *call, const struct job_kind *kind, const json_t *spec,
                    json_t **result)
{
    OWNED(config_drop) struct config config = {0};

    if (!cli_config_load(call, &config))
        return CLI_FAILED;
    int status = check_root(call, &config);
    if (status != CLI_DONE)
        return status;
    thread_role_current = ROLE_WORKER; /* nothing else is to be done here */
    assert_worker_thread();
    return run_in(call, &config, kind, spec, result);
}

char *work_path(const struct cli_call *call, const char *path)
{
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    OWNED(memory_drop) char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);

    if (path[0] == '/')
        return memory_text(slice_of(path));
    if (here == NULL) {
        cli_fail(call, CLI_FAILED, "the current folder cannot be told");
        return NULL;
    }
    buffer_print(&whole, "%s/%s", here, path);
    return memory_text(buffer_slice(&whole));
}

/* --- which of the two --- */

static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!slice_to_text(slice_of(path), address.sun_path, sizeof(address.sun_path)))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool up = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
              errno == EACCES || errno == EPERM || errno == EAGAIN;
    close(fd);
    return up;
}

/* (1) */
static bool server_runs(const struct cli_call *call)
{
    OWNED(config_drop) struct config config = {0};
    OWNED(config_report_drop) struct config_report report = {0};
    OWNED(buffer_drop) struct buffer address = BUFFER_NONE;

    if (cli_value(call, "--url") != NULL)
        return true;
    if (!cli_config_read(call, &config, &report) || !config_admin_address(&config, &address))
        return false; /* mistakes are told by who loads the settings next */
    buffer_append(&address, "", 1);
    return answers(address.at + strlen("unix:"));
}

int work_run(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
             json_t **result)
{
    OWNED(json_drop) json_t *owned = spec == NULL ? json_object() : spec;

    *result = NULL;
    return server_runs(call) ? run_there(call, kind, owned, result)
                             : run_here(call, kind, owned, result);
}

/* --- showing --- */

json_t *work_flat(const json_t *document, const struct show_column *columns)
{
    json_t *flat = json_object();

    for (; columns->title != NULL; columns++) {
        struct slice rest = slice_of(show_member(columns)), name;
        const json_t *value = document;
        bool more = true;
        while (more) {
            char text[64];
            more = slice_split(rest, '.', &name, &rest);
            value = slice_to_text(name, text, sizeof(text)) ? json_object_get(value, text) : NULL;
        }
        if (value != NULL)
            json_object_set(flat, show_member(columns), (json_t *)(uintptr_t)value);
    }
    return flat;
}

static void show(const struct cli_call *call, const json_t *document,
                 const struct show_column *columns)
{
    OWNED(json_drop) json_t *flat = work_flat(document, columns);

    show_one(call, cli_flag(call, "--json") ? document : flat, columns);
}

int work_show(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
              const struct show_column *columns)
{
    OWNED(json_drop) json_t *result = NULL;
    int status = work_run(call, kind, spec, &result);

    if (json_is_object(result))
        show(call, result, columns);
    return status;
}

int work_answer(const struct cli_call *call, const char *method, struct buffer *path, json_t *body,
                const struct show_column *columns)
{
    OWNED(json_drop) json_t *owned = body;
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *answer = NULL;
    int status = client_open(&client, call);

    buffer_append(path, "", 1);
    if (status == CLI_DONE)
        status = client_send(client, method, path->at, owned, &answer);
    if (status == CLI_DONE)
        show(call, answer, columns);
    return status;
}
