/* wiring.c - settings become the options of storage, auth and server.
 * Touches  the file system's size, the number of cores.
 * Never    threads, signals: serve.c. */
#include "registry/cli/wiring.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "registry/api/api.h"
#include "registry/git/git.h"
#include "registry/jobs/backup.h"
#include "registry/jobs/check_job.h"
#include "registry/jobs/gc.h"
#include "registry/retention/retention.h"
#include "registry/transfer/transfer.h"
#include "registry/v2/v2.h"

enum { PULL_FLUSH_MS = 10 * 1000 };

void wiring_events_drop(struct events **events)
{
    events_close(*events);
}

void wiring_events_stop(struct events **events)
{
    events_stop(*events);
}

void wiring_storage_drop(struct storage **store)
{
    storage_close(*store);
}

void wiring_auth_drop(struct auth **auth)
{
    auth_close(*auth);
}

void wiring_jobs_drop(struct jobs **jobs)
{
    jobs_close(*jobs);
}

void wiring_schedule_drop(struct schedule **schedule)
{
    schedule_close(*schedule);
}

void wiring_builds_drop(struct builds **builds)
{
    builds_close(*builds);
}

void wiring_git_drop(struct git **git)
{
    git_close(*git);
}

void wiring_server_drop(struct server **server)
{
    server_close(*server);
}

void wiring_drop(struct wiring *wiring)
{
    free(wiring->routes);
    free(wiring->admin_address);
    config_drop(&wiring->config);
}

/* --- storage --- */

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

static struct storage_options storage_options_of(const struct config *config)
{
    return (struct storage_options){
        .root = config->storage_root,
        .upload_ttl_ms = config->storage_upload_ttl,
        .gc_grace_ms = config->gc_grace,
        .gc_undo_ms = config->gc_undo,
        .gc_late_ms = config->gc_late,
        .cache_size_bytes = config->storage_cache,
        .min_free_bytes = min_free_bytes(config),
        .blob_size_max = config->server_limits_blob,
        .sweep_interval_ms = config->gc_interval,
        .pull_flush_ms = PULL_FLUSH_MS,
        .session_idle_s = config->auth_session_idle / 1000,
        .session_max_s = config->auth_session_max / 1000,
        .audit_retention_s = config->audit_retention / 1000,
        .collectors = (int)config->gc_workers,
        .collect_rate = config->gc_rate,
        .untagged_ms = config->gc_untagged,
        .scrub_rate = config->scrub_rate,
        .scrub_interval_ms = config->scrub_interval,
        .accept_missing = config->manifests_accept_missing,
        .protect_referenced = config->delete_protect_referenced,
    };
}

int wiring_open_storage(const struct config *config, struct events *events, struct storage **out,
                        struct error *err)
{
    struct storage_options options = storage_options_of(config);

    options.told = events_told;
    options.told_arg = events;
    return storage_open(out, &options, err);
}

int wiring_open_root(const struct config *config, struct storage **out, struct error *err)
{
    struct storage_options options = storage_options_of(config);

    options.resting = true;
    return storage_open(out, &options, err);
}

/* --- events --- */

int wiring_start_events(const struct config *config, struct events *events, struct storage *storage,
                        struct auth *auth, struct events **out, struct error *err)
{
    const struct events_options options = {.auth = auth,
                                           .storage = storage,
                                           .followers_max = config->events_followers,
                                           .followers_each = config->events_followers_each,
                                           .write = api_event_write};

    if (events_start(events, &options, err) < 0)
        return -1;
    *out = events;
    return 0;
}

/* --- jobs --- */

/* A line a kind. */
static const struct job_kind *const kinds[] = {
    &backup_job, &check_job, &gc_job, &transfer_import, &retention_job, &transfer_export, NULL,
};

int wiring_open_jobs(const struct config *config, struct storage *storage, struct jobs **out,
                     struct error *err)
{
    const struct jobs_options options = {.storage = storage, .config = config, .kinds = kinds};

    return jobs_open(out, &options, err);
}

int wiring_open_schedule(const struct config *config, struct storage *storage, struct jobs *jobs,
                         struct schedule **out, struct error *err)
{
    const struct schedule_options options = {.jobs = jobs,
                                             .storage = storage,
                                             .kind = gc_job.name,
                                             .cron = config->gc_schedule,
                                             .time_zone = config->gc_time_zone,
                                             .jitter_ms = config->gc_jitter};

    return schedule_open(out, &options, err);
}

/* --- builds --- */

static bool may_pull(void *arg, const struct actor *who, struct slice repository)
{
    assert_worker_thread();
    return auth_account_may(arg, who->account, who->reach, repository, RIGHT_PULL);
}

static int sign(void *arg, struct slice bytes, struct dsse_signature *out, struct error *err)
{
    return auth_sign(arg, bytes, out, err);
}

static bool may_push(void *arg, const struct actor *who, struct slice repository)
{
    assert_worker_thread();
    return auth_account_may(arg, who->account, who->reach, repository, RIGHT_PUSH);
}

int wiring_open_builds(const struct config *config, struct storage *storage, struct auth *auth,
                       struct builds **out, struct error *err)
{
    const struct builds_options options = {.storage = storage,
                                           .config = config,
                                           .may_pull = may_pull,
                                           .may_push = may_push,
                                           .sign = sign,
                                           .arg = auth};

    return builds_open(out, &options, err);
}

/* --- sources --- */

int wiring_open_git(const struct wiring *wiring, struct storage *storage, struct builds *builds,
                    struct git **out, struct error *err)
{
    const struct git_options options = {.storage = storage,
                                        .config = &wiring->config,
                                        .builds = builds,
                                        .draining = &wiring->probes.draining};

    return git_open(out, &options, err);
}

/* --- auth --- */

enum auth_mode wiring_auth_mode(const struct config *config)
{
    return strcmp(config->auth_mode, "none") == 0 ? AUTH_MODE_NONE : AUTH_MODE_TOKEN;
}

static struct auth_rate rate_of(struct config_rate rate)
{
    return (struct auth_rate){rate.count, rate.per_ms};
}

int wiring_open_auth(const struct config *config, enum auth_mode mode, struct storage *storage,
                     struct auth **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer keys = BUFFER_NONE, seals = BUFFER_NONE;

    buffer_print(&keys, "%s/keys", config->storage_root);
    buffer_print(&seals, "%s/provenance-keys", config->storage_root);
    const struct auth_options options = {
        .mode = mode,
        .challenge_basic = strcmp(config->auth_challenge, "basic") == 0,
        .anonymous_pull = strcmp(config->auth_anonymous, "pull") == 0,
        .public_url = config->server_public_url,
        .realm = config->auth_token_realm,
        .service = config->auth_token_service,
        .issuer = config->auth_token_issuer,
        .token_ttl_s = config->auth_token_ttl / 1000,
        .refresh_ttl_s = config->auth_token_refresh_ttl / 1000,
        .key_folder = keys.at,
        .key_file = config->auth_token_key_file,
        .key_rotation_s = config->auth_token_key_rotation / 1000,
        .seal_folder = config->builds_enabled ? seals.at : "",
        .trusted_keys = config->auth_token_trusted_keys_file,
        .issuers = (const char *const *)config->auth_token_trusted_issuers.items,
        .issuer_count = config->auth_token_trusted_issuers.count,
        .htpasswd_file = config->auth_htpasswd_file,
        .account_rate = rate_of(config->auth_login_rate_account),
        .address_rate = rate_of(config->auth_login_rate_address),
        .pulls_anonymous = rate_of(config->auth_pull_rate_anonymous),
        .pulls_account = rate_of(config->auth_pull_rate_account),
        .session_idle_s = config->auth_session_idle / 1000,
        .session_max_s = config->auth_session_max / 1000,
        .storage = storage,
    };

    return auth_open(out, &options, err);
}

/* --- server --- */

enum { LOGIN_THREADS_MAX = 2 };

/* A crowd that signs in may take half of the machine, and not more than two cores. */
static int login_threads(const struct config *config)
{
    long half = sysconf(_SC_NPROCESSORS_ONLN) / 2;

    if (config->server_threads_login > 0)
        return (int)config->server_threads_login;
    return half < 1 ? 1 : half > LOGIN_THREADS_MAX ? LOGIN_THREADS_MAX : (int)half;
}

static const char *file_or_none(const char *path)
{
    return path[0] == 0 ? NULL : path;
}

static struct server_options server_options_of(const struct config *config)
{
    return (struct server_options){
        .tls_certificate = file_or_none(config->server_tls_certificate),
        .tls_key = file_or_none(config->server_tls_key),
        .tls_min_version = config->server_tls_min_version,
        .tls_client_ca = file_or_none(config->server_tls_client_ca),
        .loop_threads = (int)config->server_threads_loop,
        .hash_threads = (int)config->server_threads_hash,
        .wait_threads = (int)config->server_threads_wait,
        .login_threads = login_threads(config),
        .header_size_max = config->server_limits_header_size,
        .header_timeout_ms = config->server_limits_header_timeout,
        .idle_timeout_ms = config->server_limits_idle_timeout,
        .body_idle_timeout_ms = config->server_limits_body_idle_timeout,
        .write_idle_timeout_ms = config->server_limits_write_idle_timeout,
        .connections_max = config->server_limits_connections,
        .uploads_max = config->server_limits_uploads,
        .requests_per_second = config->server_limits_requests,
        .access_log = config->log_access,
        .trusted_proxies = (const char *const *)config->server_trusted_proxies.items,
        .trusted_proxy_count = config->server_trusted_proxies.count,
    };
}

static void add_routes(struct wiring *wiring, const struct route_table *table)
{
    size_t count = wiring->table.count + table->count;

    wiring->routes = memory_resize(wiring->routes, count * sizeof(*wiring->routes));
    memcpy(wiring->routes + wiring->table.count, table->routes,
           table->count * sizeof(*table->routes));
    wiring->table = (struct route_table){wiring->routes, count};
}

void wiring_add_routes(struct wiring *wiring)
{
    add_routes(wiring, &v2_routes);
    add_routes(wiring, &api_routes);
    add_routes(wiring, &api_builds_routes); /* before repos/<name>, which takes any path below it */
    add_routes(wiring, &api_repos_routes);
    add_routes(wiring, &api_care_routes);
    add_routes(wiring, &probe_routes);
    add_routes(wiring, &git_routes);
}

/* server.listen, then the admin socket. */
static int add_listeners(struct wiring *wiring, struct error *err)
{
    const struct config *config = &wiring->config;
    OWNED(buffer_drop) struct buffer address = BUFFER_NONE;
    size_t count = config->server_listen.count;

    for (size_t i = 0; i < count; i++) {
        struct config_listener *parsed = &wiring->parsed[i];
        if (config_listener_parse(config, config->server_listen.items[i], parsed, err) < 0)
            return -1;
        wiring->listeners[i] = (struct server_listener){parsed->address, parsed->tls, false};
    }
    if (config_admin_address(config, &address)) {
        wiring->admin_address = memory_text(buffer_slice(&address));
        wiring->listeners[count++] = (struct server_listener){wiring->admin_address, false, true};
    }
    wiring->options.listeners = wiring->listeners;
    wiring->options.listener_count = count;
    return 0;
}

int wiring_open_server(struct wiring *wiring, const struct services *rooms, struct server **out,
                       struct error *err)
{
    struct server_options *options = &wiring->options;

    wiring->services = *rooms;
    wiring->services.config = &wiring->config;
    wiring->services.probes = &wiring->probes;
    wiring->services.long_reads = &wiring->long_reads;
    wiring->services.hook_bytes = &wiring->hook_bytes;
    wiring_add_routes(wiring);
    *options = server_options_of(&wiring->config);
    options->routes = &wiring->table;
    options->services = &wiring->services;
    options->auth = rooms->auth;
    if (add_listeners(wiring, err) < 0)
        return -1;
    return server_open(out, options, err);
}
