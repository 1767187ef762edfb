/* serve.c - the command that serves: opens every room, waits for a signal, closes them again.
 * Touches  signals, the log's start and end.
 * Never    decides anything a room could decide.
 *
 *   SERVING --SIGTERM, SIGINT--> NOT READY --shutdown_delay--> DRAINING --drain_timeout--> exit 0
 *
 * A second signal ends the process at once, in whatever state: what was acknowledged is durable. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "auth/auth.h"
#include "registry/cli/cli.h"
#include "registry/core/log.h"
#include "registry/http/server.h"
#include "registry/notify.h"
#include "registry/probes.h"
#include "registry/services.h"
#include "registry/v2/v2.h"
#include "storage/storage.h"

enum { PULL_FLUSH_MS = 10 * 1000, LISTENERS_MAX = 64 };

static void storage_drop(struct storage **store)
{
    storage_close(*store);
}

static void auth_drop(struct auth **auth)
{
    auth_close(*auth);
}

static void server_drop(struct server **server)
{
    server_close(*server);
}

/* --- signals --- */

/* As asked, so with status 0; what is lost are pull counts of some seconds. */
static void end_at_once(int signal_number)
{
    (void)signal_number;
    _exit(0);
}

static void stop_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGTERM);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGHUP);
}

/* Before the first thread, so that every thread leaves the signals to wait_for_stop. */
static void hold_stop_signals(void)
{
    sigset_t signals;

    stop_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* Returns with the first TERM or INT; from then on the next one ends the process. A HUP, with which
 * other servers read their settings again, must not end this one. */
static const char *wait_for_stop(void)
{
    const struct sigaction at_once = {.sa_handler = end_at_once};
    sigset_t signals;
    int got = 0;

    stop_signals(&signals);
    while (sigwait(&signals, &got) != 0 || got == SIGHUP)
        if (got == SIGHUP)
            log_event(LOG_WARNING, "server.reload_ignored",
                      F_TEXT("reason", "settings are read at the start: restart to apply them"));
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

/* --- settings become the rooms' options --- */

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

/* The root may not be there yet: then its nearest folder above tells the file system's size. */
static uint64_t file_system_size(const char *path)
{
    OWNED(memory_drop) char *at = memory_text(slice_of(path));
    struct statvfs system;

    while (statvfs(at, &system) < 0) {
        char *slash = strrchr(at, '/');
        if (slash == NULL || slash == at)
            return statvfs(slash == NULL ? "." : "/", &system) < 0
                       ? 0
                       : (uint64_t)system.f_blocks * system.f_frsize;
        *slash = 0;
    }
    return (uint64_t)system.f_blocks * system.f_frsize;
}

static uint64_t min_free_bytes(const struct config *config)
{
    const struct config_share *share = &config->storage_min_free;

    if (share->percent == 0)
        return share->bytes;
    return file_system_size(config->storage_root) / 100 * share->percent;
}

static int open_storage(struct storage **out, const struct config *config, struct error *err)
{
    const struct storage_options options = {
        .root = config->storage_root,
        .upload_ttl_s = config->storage_upload_ttl / 1000,
        .gc_grace_s = config->gc_grace / 1000,
        .gc_undo_s = config->gc_undo / 1000,
        .gc_late_s = config->gc_late / 1000,
        .cache_size_bytes = config->storage_cache,
        .min_free_bytes = min_free_bytes(config),
        .blob_size_max = config->server_limits_blob,
        .sweep_interval_ms = config->gc_interval,
        .pull_flush_ms = PULL_FLUSH_MS,
        .accept_missing = config->manifests_accept_missing,
        .protect_referenced = config->delete_protect_referenced,
    };

    return storage_open(out, &options, err);
}

static struct server_options server_options_of(const struct config *config)
{
    bool tls = config->server_tls_certificate[0] != 0;

    return (struct server_options){
        .tls_certificate = tls ? config->server_tls_certificate : NULL,
        .tls_key = tls ? config->server_tls_key : NULL,
        .tls_min_version = config->server_tls_min_version,
        .loop_threads = (int)config->server_threads_loop,
        .hash_threads = (int)config->server_threads_hash,
        .wait_threads = (int)config->server_threads_wait,
        .header_size_max = config->server_limits_header_size,
        .header_timeout_ms = config->server_limits_header_timeout,
        .idle_timeout_ms = config->server_limits_idle_timeout,
        .body_idle_timeout_ms = config->server_limits_body_idle_timeout,
        .write_idle_timeout_ms = config->server_limits_write_idle_timeout,
        .connections_max = config->server_limits_connections,
        .uploads_max = config->server_limits_uploads,
        .requests_per_second = config->server_limits_requests,
        .access_log = config->log_access,
    };
}

/* --- serving --- */

/* Everything the server borrows while it runs. */
struct wiring {
    struct config config;
    struct config_listener parsed[LISTENERS_MAX];
    struct server_listener listeners[LISTENERS_MAX];
    struct server_options options;
    struct probes probes;
    struct services services;
    struct route *routes;
    struct route_table table;
};

static void wiring_drop(struct wiring *wiring)
{
    free(wiring->routes);
    config_drop(&wiring->config);
}

static void add_routes(struct wiring *wiring, const struct route_table *table)
{
    size_t count = wiring->table.count + table->count;

    wiring->routes = memory_resize(wiring->routes, count * sizeof(*wiring->routes));
    memcpy(wiring->routes + wiring->table.count, table->routes,
           table->count * sizeof(*table->routes));
    wiring->table = (struct route_table){wiring->routes, count};
}

static int open_server(struct server **out, struct wiring *wiring, struct error *err)
{
    struct server_options *options = &wiring->options;

    for (size_t i = 0; i < wiring->config.server_listen.count; i++) {
        const char *entry = wiring->config.server_listen.items[i];
        if (config_listener_parse(&wiring->config, entry, &wiring->parsed[i], err) < 0)
            return -1;
        wiring->listeners[i] = (struct server_listener){.address = wiring->parsed[i].address,
                                                        .tls = wiring->parsed[i].tls};
    }
    add_routes(wiring, &v2_routes);
    add_routes(wiring, &probe_routes);
    *options = server_options_of(&wiring->config);
    options->listeners = wiring->listeners;
    options->listener_count = wiring->config.server_listen.count;
    options->routes = &wiring->table;
    options->services = &wiring->services;
    options->auth = wiring->services.auth;
    return server_open(out, options, err);
}

static void serve_until_stopped(struct server *server, struct wiring *wiring)
{
    const struct config *config = &wiring->config;

    for (size_t i = 0; i < config->server_listen.count; i++)
        log_event(LOG_INFO, "server.listening", F_TEXT("address", server_address(server, i)),
                  F_TEXT("scheme", wiring->listeners[i].tls ? "https" : "http"));
    notify_manager("READY=1");
    const char *signal_name = wait_for_stop();
    notify_manager("STOPPING=1");
    log_event(LOG_INFO, "server.stopping", F_TEXT("signal", signal_name));
    atomic_store(&wiring->probes.draining, true);
    pause_ms(config->server_shutdown_delay);
    server_drain(server, config->server_drain_timeout);
}

static int serve(struct wiring *wiring, struct error *err)
{
    OWNED(storage_drop) struct storage *storage = NULL;
    OWNED(auth_drop) struct auth *auth = NULL;
    OWNED(server_drop) struct server *server = NULL; /* closed first: it uses both */

    if (open_storage(&storage, &wiring->config, err) < 0 ||
        auth_open(&auth, &(struct auth_options){.mode = AUTH_MODE_NONE}, err) < 0)
        return -1;
    wiring->services = (struct services){storage, &wiring->config, auth, &wiring->probes};
    if (open_server(&server, wiring, err) < 0)
        return -1;
    serve_until_stopped(server, wiring);
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
    hold_stop_signals();
    log_open(STDERR_FILENO, log_level_of(wiring.config.log_level),
             log_format_of(wiring.config.log_format));
    log_event(LOG_INFO, "server.starting", F_TEXT("version", SLIPWAY_VERSION),
              F_TEXT("root", wiring.config.storage_root), F_I64("pid", getpid()));
    int outcome = serve(&wiring, &err);
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
