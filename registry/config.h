/* config.h - the settings: one table gives defaults, files, environment, --set, checks and show.
 * Touches  configuration files, the environment it is given.
 * Never    applies a setting.
 *
 * Order, later wins: defaults, the file, conf.d/ beside it in bytewise order, SLIPWAY_<KEY>, --set.
 */
#ifndef SLIPWAY_CONFIG_H
#define SLIPWAY_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

/* A list of texts. */
struct config_list {
    char **items;
    size_t count;
};

/* A size, or a part of something whose size only its user knows. */
struct config_share {
    uint64_t bytes;
    uint64_t percent; /* counts when it is not 0 */
};

/* So many in so long. */
struct config_rate {
    uint64_t count; /* 0: no limit */
    uint64_t per_ms;
};

/* What the text of a setting was, for show; one per row of the table. */
struct config_source {
    char *shown;  /* as YAML */
    char *origin; /* "default", "FILE:LINE", "SLIPWAY_...", "--set" */
};

/* Durations in milliseconds, sizes in bytes. Texts are never NULL. */
struct config {
    struct config_list server_listen; /* see config_listener_parse */
    char *server_public_url;          /* "https://host"; "": as the client calls us */
    bool server_insecure_http;
    struct config_list server_trusted_proxies; /* addresses, CIDR blocks, "unix" */
    char *server_admin_socket;                 /* a path, "" for the default, "off" */
    char *server_tls_certificate;
    char *server_tls_key;
    char *server_tls_min_version;
    char *server_tls_client_ca;
    uint64_t server_shutdown_delay;
    uint64_t server_drain_timeout;
    uint64_t server_threads_loop; /* 0 = by the machine */
    uint64_t server_threads_hash;
    uint64_t server_threads_wait;
    uint64_t server_threads_login;
    uint64_t server_limits_manifest;    /* bytes */
    uint64_t server_limits_blob;        /* bytes, 0 = none */
    uint64_t server_limits_descriptors; /* per manifest */
    uint64_t server_limits_tags_page;   /* per page, with n */
    uint64_t server_limits_header_size;
    uint64_t server_limits_header_timeout;
    uint64_t server_limits_idle_timeout;
    uint64_t server_limits_body_idle_timeout;
    uint64_t server_limits_write_idle_timeout;
    uint64_t server_limits_connections;
    uint64_t server_limits_uploads;
    uint64_t server_limits_requests; /* a second and address, 0 = none */
    char *storage_root;
    uint64_t storage_cache; /* bytes */
    struct config_share storage_min_free;
    uint64_t storage_upload_ttl;
    uint64_t gc_grace;
    uint64_t gc_undo;
    uint64_t gc_late;
    uint64_t gc_interval;
    uint64_t gc_untagged; /* 0 = kept */
    uint64_t gc_workers;
    uint64_t gc_rate; /* reviews a second, 0 = no limit */
    char *gc_schedule;
    char *gc_time_zone;
    uint64_t gc_jitter;
    uint64_t scrub_rate; /* bytes a second, 0 = off */
    uint64_t scrub_interval;
    struct config_list retention_exclude_callers;
    bool builds_enabled;
    char *builds_builder;
    char *builds_socket;
    char *builds_folder;
    char *builds_runtime;
    char *builds_scratch;
    uint64_t builds_id_base;
    uint64_t builds_concurrency;
    uint64_t builds_per_repository;
    uint64_t builds_queue_max;
    bool builds_retry_on_restart;
    uint64_t builds_timeout;
    uint64_t builds_queue_timeout;
    uint64_t builds_silence;
    uint64_t builds_memory;
    uint64_t builds_disk;
    uint64_t builds_processes;
    uint64_t builds_cpu;
    uint64_t builds_log_max;
    uint64_t builds_cache_max;
    char *builds_network;
    struct config_list builds_attest;
    struct config_list builds_proxy_allow;
    char *builds_http_proxy;
    struct config_list builds_sources_schemes;
    struct config_list builds_sources_ports;
    struct config_list builds_sources_allow;
    uint64_t builds_sources_max_size;
    uint64_t builds_sources_max_files;
    uint64_t builds_sources_timeout;
    bool builds_scripts_by_http;
    uint64_t builds_git_requests;
    uint64_t builds_git_fetches;
    uint64_t builds_git_timeout;
    uint64_t builds_git_memory;
    bool builds_create_on_push;
    struct config_list builds_detect;
    uint64_t builds_repository_max;
    uint64_t builds_keep_complete;
    uint64_t builds_keep_failed;
    uint64_t builds_keep_failed_layer; /* ms */
    uint64_t builds_keep_for;
    uint64_t builds_keep_archives;
    uint64_t builds_trigger_interval;
    uint64_t builds_trigger_rest;
    bool manifests_accept_missing;
    bool delete_tags;
    bool delete_manifests;
    bool delete_blobs;
    bool delete_protect_referenced;
    char *auth_mode;      /* "token", "none" */
    char *auth_challenge; /* "bearer", "basic" */
    char *auth_anonymous; /* "none", "pull" */
    bool auth_insecure_open;
    uint64_t auth_token_ttl;
    uint64_t auth_token_refresh_ttl;
    char *auth_token_service;
    char *auth_token_issuer;
    char *auth_token_realm;
    char *auth_token_key_file;
    uint64_t auth_token_key_rotation; /* 0 = never */
    char *auth_token_trusted_keys_file;
    struct config_list auth_token_trusted_issuers;
    uint64_t auth_session_idle;
    uint64_t auth_session_max;
    struct config_rate auth_login_rate_account;
    struct config_rate auth_login_rate_address;
    char *auth_htpasswd_file;
    struct config_rate auth_pull_rate_anonymous;
    struct config_rate auth_pull_rate_account;
    uint64_t events_followers;
    uint64_t events_followers_each;
    uint64_t audit_retention;
    char *log_level;
    char *log_format;
    bool log_access;
    struct config_source *sources;
};

/* "10GiB" in bytes, as settings spell sizes; false when it is none. */
bool config_size_parse(struct slice text, uint64_t *out);

#define CONFIG_DEFAULT_FILE "/etc/slipway/config.yml"

struct config_inputs {
    const char *file;               /* NULL: CONFIG_DEFAULT_FILE when there is one */
    const char *const *assignments; /* "key=value" of --set */
    size_t assignment_count;
    char *const *environment; /* ends in NULL; itself NULL: none */
};

/* What was found wrong, one line each: "file:line:column: key: sentence". */
struct config_report {
    struct buffer errors;
    struct buffer warnings;
};
void config_report_drop(struct config_report *report);

/* Reads everything and lists every mistake, not only the first. True when there is no error; out
 * is filled either way (a setting in error keeps its earlier value) and freed by config_drop. */
bool config_load(struct config *out, const struct config_inputs *inputs,
                 struct config_report *report) MUST_CHECK;
void config_drop(struct config *config);

enum config_notes {
    CONFIG_NOTES_NONE,
    CONFIG_NOTES_ORIGIN, /* where each value comes from */
    CONFIG_NOTES_TEXT,   /* what each setting means */
};
/* The settings as a YAML file that config_load accepts. */
void config_show(const struct config *config, enum config_notes notes, struct buffer *out);

/* Keys of the settings that are not the same in both, with commas between them. */
void config_differences(const struct config *a, const struct config *b, struct buffer *out);

/* "unix:/path" of the admin socket; false when there is none. */
bool config_admin_address(const struct config *config, struct buffer *out);

/* An entry of server.listen. */
struct config_listener {
    char address[200]; /* "host:port", "[v6]:port", "unix:/path" */
    bool tls;
    bool local; /* only this machine reaches it: loopback or a socket file */
};

/* host:port, http://host:port, https://host:port, unix:/path; entries without a scheme are TLS
 * when there is a certificate. BAD_REQUEST  with a sentence */
int config_listener_parse(const struct config *config, const char *entry,
                          struct config_listener *out, struct error *err) MUST_CHECK;

#endif
