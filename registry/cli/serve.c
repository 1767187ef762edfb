/* serve.c - the command that serves: opens every room, waits for signals, closes them again.
 * Touches  signals, the log's start and end.
 * Never    decides anything a room could decide.
 *
 *   SERVING --SIGTERM, SIGINT--> NOT READY --shutdown_delay--> DRAINING --drain_timeout--> exit 0
 *   SERVING --SIGHUP, every 10 s--> files are read again (reload.c) --> SERVING
 *
 * A second signal ends the process at once, in whatever state: what was acknowledged is durable. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "registry/cli/cli.h"
#include "registry/cli/reload.h"
#include "registry/cli/wiring.h"
#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/notify.h"

/* --- signals --- */

/* As asked, so with status 0; what is lost are pull counts of some seconds. */
static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static void our_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGHUP);
}

/* Before the first thread, so that every thread leaves the signals to wait_for_stop. */
static void hold_signals(void)
{
    sigset_t signals;

    our_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

enum { POLL_MS = 10 * 1000 };

/* The signal that came by then; 0: none. A process that is stopped for a moment waits no longer for
 * it, which would be for ever where that happens again and again. */
static int signal_until(const sigset_t *signals, uint64_t end_ms)
{
    uint64_t now = clock_monotonic_ms();
    int got = -1;

    errno = EINTR;
    for (; now < end_ms && got < 0 && errno == EINTR; now = clock_monotonic_ms()) {
        const struct timespec left = {.tv_sec = (time_t)((end_ms - now) / 1000),
                                      .tv_nsec = (long)((end_ms - now) % 1000) * NS_PER_MS};
        got = sigtimedwait(signals, NULL, &left);
    }
    return got < 0 ? 0 : got;
}

/* Returns with the first TERM or INT; from then on the next one ends the process. */
static const char *wait_for_stop(struct reload *reload)
{
    const struct sigaction at_once = {.sa_handler = end_at_once};
    sigset_t signals;
    int got = 0;

    our_signals(&signals);
    while (got != SIGTERM && got != SIGINT) {
        got = signal_until(&signals, clock_monotonic_ms() + POLL_MS);
        if (got == SIGHUP)
            reload_all(reload);
        else if (got == 0)
            reload_poll(reload);
    }
    sigaction(SIGTERM, &at_once, NULL);
    sigaction(SIGINT, &at_once, NULL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    return got == SIGTERM ? "SIGTERM" : "SIGINT";
}

static void pause_ms(uint64_t duration_ms)
{
    struct timespec left = {.tv_sec = (time_t)(duration_ms / 1000),
                            .tv_nsec = (long)(duration_ms % 1000) * 1000000};

    while (nanosleep(&left, &left) < 0)
        ;
}

/* --- the log --- */

static enum log_level log_level_of(const char *name)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    int level = LOG_ERROR;

    while (level > LOG_DEBUG && strcmp(names[level], name) != 0)
        level--;
    return (enum log_level)level;
}

static enum log_format log_format_of(const char *name)
{
    static const char *const names[] = {"auto", "text", "logfmt", "json"};
    int format = LOG_FORMAT_JSON;

    while (format > LOG_FORMAT_AUTO && strcmp(names[format], name) != 0)
        format--;
    return (enum log_format)format;
}

/* --- serving --- */

static void tell_listeners(const struct server *server, const struct wiring *wiring)
{
    for (size_t i = 0; i < wiring->options.listener_count; i++) {
        const struct server_listener *listener = &wiring->listeners[i];
        log_event(LOG_INFO, "server.listening", F_TEXT("address", server_address(server, i)),
                  F_TEXT("scheme", listener->admin ? "admin"
                                   : listener->tls ? "https"
                                                   : "http"));
    }
}

/* A registry without an administrator is of no use: this is how it gets the first one. */
static void tell_setup_token(const struct auth *auth)
{
    char token[AUTH_SECRET_MAX];

    auth_setup_token(auth, token);
    if (token[0] != 0)
        log_event(LOG_WARNING, "auth.setup", F_TEXT("setup_token", token),
                  F_TEXT("reason", "there is no administrator yet: stop the server and run "
                                   "slipway init, or send this token with a name and a password "
                                   "to /api/v1/setup; it works once, and until the server ends"));
    explicit_bzero(token, sizeof(token));
}

static void serve_until_stopped(struct server *server, struct wiring *wiring, struct reload *reload)
{
    const struct config *config = &wiring->config;

    tell_setup_token(wiring->services.auth);
    tell_listeners(server, wiring); /* last: who waits for it finds all that a start tells */
    notify_manager("READY=1");
    const char *signal_name = wait_for_stop(reload);
    notify_manager("STOPPING=1");
    log_event(LOG_INFO, "server.stopping", F_TEXT("signal", signal_name));
    atomic_store(&wiring->probes.draining, true);
    pause_ms(config->server_shutdown_delay);
    server_drain(server, config->server_drain_timeout);
}

static int serve(const struct cli_call *call, struct wiring *wiring, struct error *err)
{
    OWNED(wiring_events_drop) struct events *events = events_open();
    OWNED(wiring_storage_drop) struct storage *storage = NULL;
    OWNED(wiring_auth_drop) struct auth *auth = NULL;
    OWNED(wiring_events_stop) struct events *followed = NULL;
    OWNED(wiring_jobs_drop) struct jobs *jobs = NULL;
    OWNED(wiring_schedule_drop) struct schedule *schedule = NULL;
    OWNED(wiring_builds_drop) struct builds *builds = NULL;
    OWNED(wiring_git_drop) struct git *git = NULL;
    OWNED(wiring_server_drop) struct server *server = NULL; /* closed first: it uses all of them */
    const struct config *config = &wiring->config;
    OWNED(reload_drop) struct reload reload;

    reload_begin(&reload, call, config);
    if (wiring_open_storage(config, events, &storage, err) < 0 ||
        wiring_open_auth(config, wiring_auth_mode(config), storage, &auth, err) < 0 ||
        wiring_start_events(config, events, storage, auth, &followed, err) < 0 ||
        wiring_open_jobs(config, storage, &jobs, err) < 0 ||
        wiring_open_schedule(config, storage, jobs, &schedule, err) < 0 ||
        wiring_open_builds(config, storage, auth, &builds, err) < 0 ||
        wiring_open_git(wiring, storage, builds, &git, err) < 0)
        return -1;
    const struct services rooms = {.storage = storage,
                                   .auth = auth,
                                   .jobs = jobs,
                                   .schedule = schedule,
                                   .builds = builds,
                                   .git = git,
                                   .events = events};
    if (wiring_open_server(wiring, &rooms, &server, err) < 0)
        return -1;
    reload.auth = auth;
    reload.server = server;
    serve_until_stopped(server, wiring, &reload);
    return 0;
}

static int run(const struct cli_call *call)
{
    OWNED(wiring_drop) struct wiring wiring = {.probes.draining = false};
    struct error err = {0};

    if (!cli_config_load(call, &wiring.config))
        return CLI_FAILED;
    if (cli_flag(call, "--check")) {
        puts("the settings are right");
        return CLI_DONE;
    }
    hold_signals();
    log_open(STDERR_FILENO, log_level_of(wiring.config.log_level),
             log_format_of(wiring.config.log_format));
    log_event(LOG_INFO, "server.starting", F_TEXT("version", SLIPWAY_VERSION),
              F_TEXT("root", wiring.config.storage_root), F_I64("pid", getpid()));
    int outcome = serve(call, &wiring, &err);
    if (outcome < 0)
        log_event(LOG_ERROR, "server.failed", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
    else
        log_event(LOG_INFO, "server.stopped");
    log_close();
    return outcome < 0 ? CLI_FAILED : CLI_DONE;
}

static const struct cli_option serve_options[] = {
    {"--check", NULL, "checks the settings only", 't'},
    {0},
};

const struct cli_command cli_serve_commands[] = {
    {"serve", NULL, "serves until it gets SIGTERM", run, {serve_options, cli_settings}},
    {0},
};
