/* settle.c - what a build may: its options with those of its source, limits, network, secrets.
 * Touches  the repository's stored secrets.
 * Never    opens more than the server's settings do.
 *
 * Spec: s2i 11, 16.6, 16.9, 10.21. */
#include <string.h>

#include "s2i/session.h"

/* What the source says of itself counts where nobody else said something. */
static int source_options(struct session *session, struct error *err)
{
    const char *text = session->spec.source.conf;

    if (text == NULL || text[0] == 0)
        return 0;
    json_t *own = json_loads(text, 0, NULL);
    const struct s2i_hosts hosts = builds_hosts(session->task->builds);
    int outcome = s2i_options_hear(&session->spec.options, own, S2I_FROM_SOURCE, &hosts, err);
    json_decref(own);
    return outcome;
}

static uint64_t least(uint64_t wished, uint64_t allowed)
{
    return wished == 0 || wished > allowed ? allowed : wished;
}

static void limits_settle(struct session *session)
{
    const struct config *config = session->task->builds->config;
    const struct s2i_options *options = &session->spec.options;

    session->spec.limits = (struct s2i_limits){
        .timeout_ms = least(options->timeout_ms, config->builds_timeout),
        .silence_ms = least(options->silence_ms, config->builds_silence),
        .memory = least(options->memory, config->builds_memory),
        .disk = least(options->disk, config->builds_disk),
        .log = config->builds_log_max,
        .processes = least(options->processes, config->builds_processes),
        .cpu_percent = config->builds_cpu,
        .files_max = config->builds_sources_max_files * 10,
        .layer_bytes_max = config->builds_disk * 4,
    };
}

/* Off where nobody asks. */
static void kept_settle(struct session *session)
{
    uint64_t *wished_ms = &session->spec.options.keep_failed_ms;
    uint64_t most_ms = session->task->builds->config->builds_keep_failed_layer;

    if (*wished_ms > most_ms)
        *wished_ms = most_ms;
}

static int network_rank(const char *mode)
{
    return mode == NULL ? -1 : strcmp(mode, "host") == 0 ? 2 : strcmp(mode, "proxy") == 0 ? 1 : 0;
}

static bool allowed_by(const struct config_list *list, const char *wished)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], wished) == 0)
            return true;
    return false;
}

/* No more than the server's settings open (16.9). */
static int network_settle(struct session *session, struct error *err)
{
    const struct config *config = session->task->builds->config;
    struct s2i_options *options = &session->spec.options;

    if (network_rank(options->network) > network_rank(config->builds_network))
        return error_set(err, ERROR_INVALID, "network \"%s\" is more than builds.network allows",
                         options->network);
    if (options->network == NULL)
        options->network = memory_text(slice_of(config->builds_network));
    for (size_t i = 0; i < options->allow.count; i++)
        if (!allowed_by(&config->builds_proxy_allow, options->allow.items[i]))
            return error_set(err, ERROR_INVALID, "%s is not in builds.proxy_allow",
                             options->allow.items[i]);
    if (options->allow.count == 0)
        for (size_t i = 0; i < config->builds_proxy_allow.count; i++)
            s2i_list_add(&options->allow, slice_of(config->builds_proxy_allow.items[i]));
    return 0;
}

/* Values of the secrets that are to be injected (10.21). */
static int secrets_read(struct session *session, struct error *err) ON(worker_thread)
{
    struct storage *storage = session->task->builds->storage;
    OWNED(build_config_drop) struct build_config config = {0};
    OWNED(build_secrets_drop) struct build_secrets secrets = {0};

    if (session->spec.options.inject.count == 0)
        return 0;
    if (build_config_find(storage, slice_of(session->task->record.repository), &config, err) < 0 ||
        build_secret_list(storage, config.id, BUILD_SECRET_FILE, true, &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++) {
        OWNED(buffer_drop) struct buffer item = BUFFER_NONE;
        buffer_print(&item, "%s=%s", secrets.items[i].name, secrets.items[i].value);
        s2i_list_add(&session->spec.secrets, buffer_slice(&item));
        explicit_bzero(item.at, item.size);
    }
    return 0;
}

static void list_copy(const struct config_list *from, struct s2i_list *to)
{
    for (size_t i = 0; i < from->count; i++)
        s2i_list_add(to, slice_of(from->items[i]));
}

/* Scripts by URL come from where sources may come from (2.8). */
static void scripts_settle(struct s2i_spec *spec, const struct config *config)
{
    spec->scripts_by_http = config->builds_scripts_by_http;
    if (!spec->scripts_by_http)
        return;
    list_copy(&config->builds_sources_schemes, &spec->script_schemes);
    list_copy(&config->builds_sources_ports, &spec->script_ports);
    list_copy(&config->builds_sources_allow, &spec->script_hosts);
}

int session_settle(struct session *session)
{
    const struct config *config = session->task->builds->config;
    struct error err = {0};

    limits_settle(session);
    kept_settle(session);
    session->spec.fresh = build_verifies(&session->task->record);
    scripts_settle(&session->spec, config);
    session->spec.proxy_environment = memory_text(slice_of(config->builds_http_proxy));
    if (source_options(session, &err) < 0)
        return session_fail_by(session, "InvalidSource", &err);
    if (network_settle(session, &err) < 0 || secrets_read(session, &err) < 0)
        return session_fail_by(session, "GenericS2IBuildFailed", &err);
    return 0;
}
