/* config_check.c - settings that are wrong by their form, or only together; addresses to listen on.
 * Touches  memory.
 * Never    reads a file, or looks whether one is there, save that of a time zone. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "registry/config_internal.h"
#include "registry/core/cron.h"

/* --- addresses to listen on --- */

/* 127.0.0.0/8, [::1] or localhost; a name that merely begins like one is not. */
static bool host_is_local(struct slice host)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;

    if (slice_equal_text(host, "[::1]") || slice_equal_text(host, "localhost"))
        return true;
    return slice_to_text(host, text, sizeof(text)) && inet_pton(AF_INET, text, &address) == 1 &&
           ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET;
}

/* "host:port", "[v6]:port" */
static int address_check(struct slice address, bool *local, struct error *err)
{
    uint64_t port;
    size_t colon = address.size;

    while (colon > 0 && address.at[colon - 1] != ':')
        colon--;
    if (colon == 0 || !slice_to_u64(slice_from(address, colon), &port) || port > 65535)
        return error_set(err, ERROR_BAD_REQUEST, "\"%.*s\" has no port from 0 to 65535",
                         SLICE_ARG(address));
    struct slice host = {address.at, colon - 1};
    bool bracketed = slice_starts(host, "[") && slice_ends(host, "]");
    if (host.size == 0)
        return error_set(err, ERROR_BAD_REQUEST,
                         "\"%.*s\" has no host; 0.0.0.0 and [::] mean every address",
                         SLICE_ARG(address));
    if (!bracketed && memchr(host.at, ':', host.size) != NULL)
        return error_set(err, ERROR_BAD_REQUEST, "write the address of \"%.*s\" in brackets",
                         SLICE_ARG(address));
    *local = host_is_local(host);
    return 0;
}

int config_listener_parse(const struct config *config, const char *entry,
                          struct config_listener *out, struct error *err)
{
    struct slice address = slice_of(entry);
    bool plain = slice_starts(address, "http://"), tls = slice_starts(address, "https://");

    *out = (struct config_listener){.local = true};
    out->tls = tls || (!plain && config->server_tls_certificate[0] != 0);
    if (tls && config->server_tls_certificate[0] == 0)
        return error_set(err, ERROR_BAD_REQUEST, "%s needs server.tls.certificate", entry);
    if (plain || tls)
        address = slice_from(address, plain ? strlen("http://") : strlen("https://"));
    if (slice_starts(address, "unix:")) {
        out->tls = false; /* whoever may open the file may speak */
        if (plain || tls || address.size < sizeof("unix:/") || address.at[5] != '/')
            return error_set(err, ERROR_BAD_REQUEST, "\"%s\" is not unix:/path", entry);
    } else if (address_check(address, &out->local, err) < 0) {
        return -1;
    }
    if (!slice_to_text(address, out->address, sizeof(out->address)))
        return error_set(err, ERROR_BAD_REQUEST, "an address is longer than %zu bytes",
                         sizeof(out->address) - 1);
    return 0;
}

bool config_admin_address(const struct config *config, struct buffer *out)
{
    const char *path = config->server_admin_socket;

    if (strcmp(path, "off") == 0)
        return false;
    buffer_append_text(out, "unix:");
    if (path[0] == 0)
        buffer_print(out, "%s/admin.sock", config->storage_root);
    else
        buffer_append_text(out, path);
    return true;
}

/* --- messages --- */

/* A setting in question; messages carry its origin. */
struct question {
    const struct config *config;
    struct config_report *report;
};

static void refuse(const struct question *question, const char *key, const char *format, ...)
    PRINTF_LIKE(3, 4);

static void refuse(const struct question *question, const char *key, const char *format, ...)
{
    const struct setting *setting = config_find(slice_of(key));
    const char *origin = question->config->sources[setting - config_settings].origin;
    const struct place at = {origin, origin};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    config_error(question->report, &at, slice_of(key), "%.*s", SLICE_ARG(buffer_slice(&text)));
}

/* --- names and addresses that stand in challenges --- */

/* Simple clients search the challenge by regular expression. Spec: TOK-05. */
static const char *word_fault(const char *text)
{
    for (const char *at = text; *at != 0; at++)
        if (*at <= ' ' || *at > '~' || strchr("\"',\\", *at) != NULL)
            return "must hold no blank, quote, comma or backslash, only ASCII";
    if (strcasestr(text, "basic") != NULL || strcasestr(text, "bearer") != NULL)
        return "must not hold the words basic and bearer: clients look for them in the challenge";
    return NULL;
}

/* What follows the scheme of a web address; NULL when it has another. */
static const char *after_scheme(const char *address)
{
    static const char *const schemes[] = {"https://", "http://"};

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncmp(address, schemes[i], strlen(schemes[i])) == 0)
            return address + strlen(schemes[i]);
    return NULL;
}

#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"

/* "name", "1.2.3.4", "[v6]" and perhaps ":port" */
static bool is_authority(const char *whole)
{
    struct slice text = slice_of(whole);
    char v6[INET6_ADDRSTRLEN];
    uint8_t bytes[sizeof(struct in6_addr)];
    struct slice host, port = SLICE_NONE;
    uint64_t number = 1;

    if (slice_starts(text, "[")) {
        if (!slice_split(slice_from(text, 1), ']', &host, &text) ||
            !slice_to_text(host, v6, sizeof(v6)) || inet_pton(AF_INET6, v6, bytes) != 1 ||
            (text.size > 0 && text.at[0] != ':'))
            return false;
        port = text.size > 0 ? slice_from(text, 1) : SLICE_NONE;
    } else {
        slice_split(text, ':', &host, &port);
        if (strspn(host.at, HOST_CHARACTERS) < host.size)
            return false;
    }
    return host.size > 0 &&
           (port.at == NULL || (slice_to_u64(port, &number) && number >= 1 && number <= 65535));
}

static void check_names(const struct question *question)
{
    const struct config *config = question->config;
    const struct {
        const char *key, *text;
        bool needed, address;
    } names[] = {
        {"server.public_url", config->server_public_url, false, true},
        {"auth.token.service", config->auth_token_service, true, false},
        {"auth.token.issuer", config->auth_token_issuer, true, false},
        {"auth.token.realm", config->auth_token_realm, false, true},
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *fault = word_fault(names[i].text);
        if (fault != NULL)
            refuse(question, names[i].key, "%s", fault);
        else if (names[i].needed && names[i].text[0] == 0)
            refuse(question, names[i].key, "must not be empty");
        else if (names[i].address && names[i].text[0] != 0 && after_scheme(names[i].text) == NULL)
            refuse(question, names[i].key, "must begin with https:// or http://");
    }
    const char *authority = after_scheme(config->server_public_url);
    if (authority != NULL && !is_authority(authority))
        refuse(question, "server.public_url",
               "must be https://HOST or https://HOST:PORT, without a path or a slash at its end");
}

/* --- schedules --- */

static void check_schedule(const struct question *question)
{
    const struct config *config = question->config;
    OWNED(zone_drop) struct zone *zone = NULL;
    struct error err = {0};
    struct cron cron;

    if (config->gc_schedule[0] != 0 && cron_parse(slice_of(config->gc_schedule), &cron, &err) < 0)
        refuse(question, "gc.schedule", "%s", err.message);
    error_clear(&err);
    if (zone_open(&zone, slice_of(config->gc_time_zone), &err) < 0)
        refuse(question, "gc.time_zone", "%s", err.message);
}

/* --- listeners --- */

static void check_listener(const struct question *question, const char *entry,
                           const struct config_listener *listener)
{
    const struct config *config = question->config;
    bool open = strcmp(config->auth_mode, "none") == 0;

    if (listener->local)
        return;
    if (open && !config->auth_insecure_open)
        refuse(question, "server.listen",
               "%s is open to other machines while auth.mode is none; set "
               "auth.insecure_open to true if that is meant",
               entry);
    if (!open && !listener->tls && !config->server_insecure_http)
        refuse(question, "server.listen",
               "%s would take passwords over plain HTTP from other machines; set "
               "server.tls.certificate, or server.insecure_http to true if that is meant",
               entry);
}

static void check_listeners(const struct question *question)
{
    const struct config_list *entries = &question->config->server_listen;

    for (size_t i = 0; i < entries->count; i++) {
        struct config_listener listener;
        struct error err = {0};
        if (config_listener_parse(question->config, entries->items[i], &listener, &err) < 0)
            refuse(question, "server.listen", "%s", err.message);
        else
            check_listener(question, entries->items[i], &listener);
    }
}

/* "192.0.2.1", "2001:db8::/32", "unix" */
static bool is_proxy(struct slice text)
{
    char host[INET6_ADDRSTRLEN];
    uint8_t bytes[sizeof(struct in6_addr)];
    struct slice address, prefix;
    uint64_t bits = 0;

    if (slice_equal_text(text, "unix"))
        return true;
    bool block = slice_split(text, '/', &address, &prefix);
    if (!slice_to_text(address, host, sizeof(host)) || (block && !slice_to_u64(prefix, &bits)))
        return false;
    return (inet_pton(AF_INET, host, bytes) == 1 && bits <= 32) ||
           (inet_pton(AF_INET6, host, bytes) == 1 && bits <= 128);
}

static void check_proxies(const struct question *question)
{
    const struct config_list *entries = &question->config->server_trusted_proxies;

    for (size_t i = 0; i < entries->count; i++)
        if (!is_proxy(slice_of(entries->items[i])))
            refuse(question, "server.trusted_proxies",
                   "\"%s\" is no address, no block such as 10.0.0.0/8, and not the word unix",
                   entries->items[i]);
}

static void check_admin_socket(const struct question *question)
{
    OWNED(buffer_drop) struct buffer address = BUFFER_NONE;
    const char *path = question->config->server_admin_socket;
    const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

    if (path[0] != 0 && path[0] != '/' && strcmp(path, "off") != 0)
        refuse(question, "server.admin_socket", "must be a path from the root, empty, or off");
    else if (config_admin_address(question->config, &address) &&
             address.size - strlen("unix:") > most)
        refuse(question, "server.admin_socket",
               "the path %.*s is longer than %zu bytes; name a shorter one, or off",
               SLICE_ARG(slice_from(buffer_slice(&address), strlen("unix:"))), most);
}

/* --- the whole --- */

/* One makes no sense without the other. */
static void check_pair(const struct question *question, bool given, const char *key, bool other,
                       const char *other_key)
{
    if (given && !other)
        refuse(question, key, "needs %s as well", other_key);
}

void config_check(const struct config *config, struct config_report *report)
{
    const struct question question = {config, report};
    bool certificate = config->server_tls_certificate[0] != 0;
    bool key = config->server_tls_key[0] != 0;
    bool issuers = config->auth_token_trusted_issuers.count > 0;
    bool keys = config->auth_token_trusted_keys_file[0] != 0;

    check_pair(&question, certificate, "server.tls.certificate", key, "server.tls.key");
    check_pair(&question, key, "server.tls.key", certificate, "server.tls.certificate");
    check_pair(&question, config->server_tls_client_ca[0] != 0, "server.tls.client_ca", certificate,
               "server.tls.certificate");
    check_pair(&question, issuers, "auth.token.trusted_issuers", keys,
               "auth.token.trusted_keys_file");
    check_pair(&question, keys, "auth.token.trusted_keys_file", issuers,
               "auth.token.trusted_issuers");
    if (config->storage_root[0] == 0)
        refuse(&question, "storage.root", "names no folder");
    check_names(&question);
    check_proxies(&question);
    check_listeners(&question);
    check_admin_socket(&question);
    check_schedule(&question);
}
