/* config.h - the settings: one table gives defaults, files, environment, --set, checks and show.
 * Touches  configuration files, the environment.
 * Never    applies a setting.
 *
 * Order, later wins: defaults, the file, conf.d beside it in bytewise order, SLIPWAY_<KEY>, --set.
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

/* Durations in milliseconds, sizes in bytes. Texts are never NULL. */
struct config {
    struct config_list
        server_listen; /* host:port, http://host:port, https://host:port, unix:/path */
    char *server_public_url;
    char *server_tls_certificate;
    char *server_tls_key;
    char *server_tls_min_version;
    uint64_t server_shutdown_delay;
    uint64_t server_drain_timeout;
    uint64_t server_threads_loop; /* 0 = by the machine */
    uint64_t server_threads_hash;
    uint64_t server_threads_wait;
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
    uint64_t storage_min_free;
    uint64_t storage_upload_ttl;
    uint64_t gc_grace;
    uint64_t gc_undo;
    uint64_t gc_late;
    bool manifests_accept_missing;
    bool delete_tags;
    bool delete_manifests;
    bool delete_blobs;
    bool delete_protect_referenced;
    char *auth_mode; /* "none" */
    bool auth_insecure_open;
    char *log_level;
    char *log_format;
    bool log_access;
};

#endif
