/* config_table.c - every setting: key, kind, default, bounds, meaning.
 * Touches  nothing.
 * Never    a setting that does nothing.
 *
 * Sections stand together: show prints them in this order, and conf/slipway.yml is its output. */
#include <stddef.h>

#include "registry/config_internal.h"

#define AT(field) offsetof(struct config, field)
#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define SECOND UINT64_C(1000)
#define HOUR (UINT64_C(3600) * SECOND)
#define DAY (24 * HOUR)
#define ANY INT64_MAX
#define RATE_MAX 1000000
#define TEXT(key, field, initial, text)                                                            \
    {                                                                                              \
        key, SETTING_TEXT, AT(field), initial, 0, 0, NULL, text                                    \
    }
#define CHOICE(key, field, initial, choices, text)                                                 \
    {                                                                                              \
        key, SETTING_CHOICE, AT(field), initial, 0, 0, choices, text                               \
    }
#define BOOL(key, field, initial, text)                                                            \
    {                                                                                              \
        key, SETTING_BOOL, AT(field), initial, 0, 0, NULL, text                                    \
    }
#define NUMBER(kind, key, field, initial, least, most, text)                                       \
    {                                                                                              \
        key, SETTING_##kind, AT(field), initial, least, most, NULL, text                           \
    }
#define LIST(key, field, text)                                                                     \
    {                                                                                              \
        key, SETTING_LIST, AT(field), "", 0, 64, NULL, text                                        \
    }
#define RATE(key, field, initial, text)                                                            \
    {                                                                                              \
        key, SETTING_RATE, AT(field), initial, 0, RATE_MAX, NULL, text                             \
    }

const struct setting config_settings[] = {
    {"server.listen", SETTING_LIST, AT(server_listen), "127.0.0.1:5000", 1, 64, NULL,
     "addresses: host:port, http://host:port, https://host:port, unix:/path; port 0 picks one"},
    TEXT("server.public_url", server_public_url, "",
         "how clients reach us, https://HOST[:PORT]; empty: as each request names us"),
    BOOL("server.insecure_http", server_insecure_http, "false",
         "allow passwords over plain HTTP on addresses that other machines reach"),
    LIST("server.trusted_proxies", server_trusted_proxies,
         "proxies whose X-Forwarded-* headers count: addresses, CIDR blocks, unix"),
    TEXT("server.admin_socket", server_admin_socket, "",
         "socket of the local administrator; empty: admin.sock in storage.root; off: none"),
    TEXT("server.tls.certificate", server_tls_certificate, "",
         "PEM file, leaf first; with it, addresses without a scheme speak TLS"),
    TEXT("server.tls.key", server_tls_key, "", "PEM file of the certificate's private key"),
    CHOICE("server.tls.min_version", server_tls_min_version, "1.2", "1.2|1.3",
           "oldest TLS version accepted: 1.2 or 1.3"),
    TEXT("server.tls.client_ca", server_tls_client_ca, "",
         "PEM file; clients must show a certificate that one of these signed"),
    NUMBER(DURATION, "server.shutdown_delay", server_shutdown_delay, "0s", 0, HOUR,
           "on SIGTERM: how long to be not ready and still serve, for load balancers"),
    NUMBER(DURATION, "server.drain_timeout", server_drain_timeout, "60s", 0, 24 * HOUR,
           "on SIGTERM: how long requests under way may take to finish"),
    NUMBER(COUNT, "server.threads.loop", server_threads_loop, "0", 0, 64,
           "threads that move bytes; 0: one, two from eight cores on"),
    NUMBER(COUNT, "server.threads.hash", server_threads_hash, "0", 0, 256,
           "threads that hash and write uploads; 0: as many as cores"),
    NUMBER(COUNT, "server.threads.wait", server_threads_wait, "0", 0, 1024,
           "threads that wait for disk and database; 0: 32"),
    NUMBER(COUNT, "server.threads.login", server_threads_login, "0", 0, 16,
           "threads that hash passwords; 0: half the cores, one to two"),
    NUMBER(SIZE, "server.limits.manifest", server_limits_manifest, "4MiB", 4 * MIB, 64 * MIB,
           "largest manifest; clients refuse to pull more than 4MiB"),
    NUMBER(SIZE, "server.limits.blob", server_limits_blob, "0", 0, ANY,
           "largest blob; 0: no limit"),
    NUMBER(COUNT, "server.limits.descriptors", server_limits_descriptors, "10000", 100, 1000000,
           "objects one manifest may name"),
    NUMBER(COUNT, "server.limits.tags_page", server_limits_tags_page, "1000", 1, 1000000,
           "tags or repositories in one page, when the client asks for pages"),
    NUMBER(SIZE, "server.limits.header_size", server_limits_header_size, "32KiB", 4 * KIB, MIB,
           "largest request line and headers together"),
    NUMBER(DURATION, "server.limits.header_timeout", server_limits_header_timeout, "10s", 100, HOUR,
           "time for a request line and headers to arrive"),
    NUMBER(DURATION, "server.limits.idle_timeout", server_limits_idle_timeout, "75s", 100, HOUR,
           "how long a connection is kept between two requests"),
    NUMBER(DURATION, "server.limits.body_idle_timeout", server_limits_body_idle_timeout, "60s", 100,
           HOUR, "how long an upload may stand still; its total time has no limit"),
    NUMBER(DURATION, "server.limits.write_idle_timeout", server_limits_write_idle_timeout, "60s",
           100, HOUR, "how long a download may stand still; its total time has no limit"),
    NUMBER(COUNT, "server.limits.connections", server_limits_connections, "0", 0, 10000000,
           "connections at a time; 0: as many as open files allow"),
    NUMBER(COUNT, "server.limits.uploads", server_limits_uploads, "256", 1, 100000,
           "uploads received at a time, about 1.5MiB of memory each; the stillest gives way to a "
           "new one"),
    NUMBER(COUNT, "server.limits.requests", server_limits_requests, "0", 0, 1000000,
           "requests a second from one address; 0: no limit"),
    TEXT("storage.root", storage_root, "/var/lib/slipway",
         "folder of everything stored; one process owns it"),
    NUMBER(SIZE, "storage.cache", storage_cache, "64MiB", 0, ANY,
           "memory for manifests and for which blobs are present"),
    NUMBER(SHARE, "storage.min_free", storage_min_free, "5%", 0, ANY,
           "free space below which the server is not ready: a size or a part of the file system"),
    NUMBER(DURATION, "storage.upload_ttl", storage_upload_ttl, "7d", 10, ANY,
           "idle upload sessions older than this are removed"),
    NUMBER(DURATION, "gc.grace", gc_grace, "24h", 1, ANY,
           "how long an object a client was told about stays without a manifest naming it"),
    NUMBER(DURATION, "gc.undo", gc_undo, "24h", 0, ANY, "how long a deletion can be taken back"),
    NUMBER(DURATION, "gc.late", gc_late, "1h", 0, ANY,
           "from the end of a removed object's metadata to the end of its bytes"),
    NUMBER(DURATION, "gc.interval", gc_interval, "1m", 10, HOUR,
           "how often idle uploads and bytes due for removal are looked for"),
    NUMBER(DURATION, "gc.untagged", gc_untagged, "0s", 0, ANY,
           "age at which a manifest goes that no tag, index or subject holds; 0s: it stays"),
    NUMBER(COUNT, "gc.workers", gc_workers, "2", 1, 16, "threads that collect"),
    NUMBER(COUNT, "gc.rate", gc_rate, "0", 0, 1000000,
           "objects reviewed a second by each thread; 0: no limit"),
    TEXT("gc.schedule", gc_schedule, "30 3 * * *",
         "when rules of retention run and a whole collection after them: five fields of cron; "
         "empty: never by itself"),
    TEXT("gc.time_zone", gc_time_zone, "", "of the schedule: Europe/Berlin; empty: the machine's"),
    NUMBER(DURATION, "gc.jitter", gc_jitter, "10m", 0, 24 * HOUR,
           "a run starts up to so much later, so that servers do not run all at once"),
    NUMBER(SIZE, "scrub.rate", scrub_rate, "10MiB", 0, ANY,
           "bytes read a second to find damage before somebody pulls it; 0: off"),
    NUMBER(DURATION, "scrub.interval", scrub_interval, "30d", HOUR, ANY,
           "how long until a blob is read again"),
    LIST("retention.exclude_callers", retention_exclude_callers,
         "accounts whose pulls do not count as use: names and globs, such as scan-*"),
    BOOL("builds.enabled", builds_enabled, "true", "build images from sources"),
    CHOICE("builds.builder", builds_builder, "auto", "auto|external",
           "auto: a builder is started with the server; external: only those that connect to "
           "builds.socket"),
    TEXT("builds.socket", builds_socket, "",
         "where builders connect; empty: builder.sock in storage.root"),
    TEXT("builds.folder", builds_folder, "",
         "the started builder's folder; empty: builder in storage.root"),
    TEXT("builds.runtime", builds_runtime, "",
         "the OCI runtime that runs scripts; empty: runc, then crun"),
    CHOICE("builds.scratch", builds_scratch, "auto", "auto|disk|memory",
           "where builds write: an image file with its own file system, or memory"),
    NUMBER(COUNT, "builds.id_base", builds_id_base, "1000000000", 65536, 4000000000,
           "first of the 65536 user ids that containers of builds get"),
    NUMBER(COUNT, "builds.concurrency", builds_concurrency, "2", 1, 64, "builds at a time"),
    NUMBER(COUNT, "builds.per_repository", builds_per_repository, "4", 1, 64,
           "builds at a time into one repository, where its run policy is Parallel"),
    NUMBER(COUNT, "builds.queue_max", builds_queue_max, "1000", 1, 100000,
           "builds that may wait; more are refused"),
    BOOL("builds.retry_on_restart", builds_retry_on_restart, "false",
         "builds that the end of the server cut off begin anew"),
    NUMBER(DURATION, "builds.timeout", builds_timeout, "30m", SECOND, 30 * DAY,
           "longest time of one build"),
    NUMBER(DURATION, "builds.silence", builds_silence, "10m", SECOND, 30 * DAY,
           "a script that says nothing for so long is ended"),
    NUMBER(SIZE, "builds.memory", builds_memory, "2GiB", 16 * MIB, ANY, "memory of one build"),
    NUMBER(SIZE, "builds.disk", builds_disk, "10GiB", 16 * MIB, ANY, "what one build may write"),
    NUMBER(COUNT, "builds.processes", builds_processes, "1024", 8, 1000000,
           "processes of one build"),
    NUMBER(COUNT, "builds.cpu", builds_cpu, "0", 0, 102400,
           "processor time of one build, in percent of a core; 0: no limit but a low priority"),
    NUMBER(SIZE, "builds.log_max", builds_log_max, "64MiB", 64 * KIB, 4096 * MIB,
           "longest log of one build; more is left out"),
    NUMBER(SIZE, "builds.cache_max", builds_cache_max, "20GiB", 0, ANY,
           "unpacked layers of builder images that are kept for the next build"),
    CHOICE("builds.network", builds_network, "none", "none|proxy|host",
           "what builds reach, and the most they may ask for: nothing, builds.proxy_allow, all"),
    {"builds.attest", SETTING_LIST, AT(builds_attest), "provenance,sbom", 0, 3, NULL,
     "what stands beside each image as its referrers: provenance, sbom, log"},
    LIST("builds.proxy_allow", builds_proxy_allow,
         "what the proxy lets builds reach: host:port patterns, such as *.debian.org:443"),
    TEXT("builds.http_proxy", builds_http_proxy, "",
         "proxy that builds with the host's network are told of"),
    {"builds.sources.schemes", SETTING_LIST, AT(builds_sources_schemes), "https", 1, 8, NULL,
     "how sources may be fetched: https, http, ssh, git"},
    {"builds.sources.ports", SETTING_LIST, AT(builds_sources_ports), "443,22", 1, 64, NULL,
     "ports that sources may be fetched from"},
    LIST("builds.sources.allow", builds_sources_allow,
         "hosts whose addresses may be private: names, addresses, CIDR blocks"),
    NUMBER(SIZE, "builds.sources.max_size", builds_sources_max_size, "1GiB", MIB, ANY,
           "largest source: a push, a fetch, an archive, and its files together"),
    NUMBER(COUNT, "builds.sources.max_files", builds_sources_max_files, "200000", 1, 10000000,
           "files of a source"),
    NUMBER(DURATION, "builds.sources.timeout", builds_sources_timeout, "5m", SECOND, DAY,
           "longest time of a fetch"),
    BOOL("builds.scripts_by_http", builds_scripts_by_http, "false",
         "scripts of builds may be fetched from URLs"),
    BOOL("builds.create_on_push", builds_create_on_push, "true",
         "a git push to a new name makes the repository"),
    {"builds.detect", SETTING_LIST, AT(builds_detect),
     "package.json=builders/node,requirements.txt=builders/python,setup.py=builders/python,"
     "pyproject.toml=builders/python,Makefile=builders/c,index.html=builders/static",
     0, 64, NULL,
     "which builder takes a source that names none: pattern=repository[:tag], the first that "
     "matches"},
    NUMBER(SIZE, "builds.repository_max", builds_repository_max, "4GiB", MIB, ANY,
           "a source repository that is larger keeps only the newest commit of each branch"),
    NUMBER(COUNT, "builds.keep_complete", builds_keep_complete, "20", 1, 100000,
           "successful builds kept for each repository"),
    NUMBER(COUNT, "builds.keep_failed", builds_keep_failed, "10", 1, 100000,
           "other builds kept for each repository"),
    NUMBER(DURATION, "builds.keep_for", builds_keep_for, "90d", HOUR, ANY,
           "how long a build is kept"),
    NUMBER(SIZE, "builds.keep_archives", builds_keep_archives, "4GiB", 0, ANY,
           "uploaded archives kept with their builds, to retry and verify them; the oldest go "
           "first"),
    BOOL("manifests.accept_missing", manifests_accept_missing, "false",
         "accept manifests that name objects which are not here (mirrors, partial copies)"),
    BOOL("delete.tags", delete_tags, "true", "clients may delete tags"),
    BOOL("delete.manifests", delete_manifests, "true", "clients may delete manifests"),
    BOOL("delete.blobs", delete_blobs, "true", "clients may delete blobs"),
    BOOL("delete.protect_referenced", delete_protect_referenced, "false",
         "refuse to delete a blob that a manifest names"),
    CHOICE("auth.mode", auth_mode, "token", "token|none",
           "token: accounts and tokens; none: everybody may do everything"),
    CHOICE("auth.challenge", auth_challenge, "bearer", "bearer|basic",
           "how clients are asked to sign in; basic cannot serve anonymous docker clients"),
    CHOICE("auth.anonymous", auth_anonymous, "none", "none|pull",
           "pull: public repositories can be read without signing in"),
    BOOL("auth.insecure_open", auth_insecure_open, "false",
         "allow mode none on addresses that other machines reach"),
    NUMBER(DURATION, "auth.token.ttl", auth_token_ttl, "15m", 60 * SECOND, DAY,
           "life of an access token"),
    NUMBER(DURATION, "auth.token.refresh_ttl", auth_token_refresh_ttl, "90d", HOUR, 3650 * DAY,
           "life of a refresh token"),
    TEXT("auth.token.service", auth_token_service, "slipway",
         "our name in tokens: the audience they are made for"),
    TEXT("auth.token.issuer", auth_token_issuer, "slipway", "who signs our tokens"),
    TEXT("auth.token.realm", auth_token_realm, "",
         "address of another token server; empty: our own, /token"),
    TEXT("auth.token.key_file", auth_token_key_file, "",
         "PEM file of the signing key; empty: keys of our own in storage.root"),
    NUMBER(DURATION, "auth.token.key_rotation", auth_token_key_rotation, "90d", 0, 3650 * DAY,
           "age at which a signing key of our own gets a successor; 0: never"),
    TEXT("auth.token.trusted_keys_file", auth_token_trusted_keys_file, "",
         "JWK set of other issuers whose tokens count"),
    LIST("auth.token.trusted_issuers", auth_token_trusted_issuers,
         "names of these issuers, as their tokens spell them"),
    NUMBER(DURATION, "auth.session.idle", auth_session_idle, "12h", 60 * SECOND, 30 * DAY,
           "a browser's session ends when it was not used for so long"),
    NUMBER(DURATION, "auth.session.max", auth_session_max, "7d", 60 * SECOND, 365 * DAY,
           "a browser's session ends at this age"),
    RATE("auth.login_rate.account", auth_login_rate_account, "10/1m",
         "failed log-ins of one account before it must wait; 0/1m: no limit"),
    RATE("auth.login_rate.address", auth_login_rate_address, "40/1m",
         "failed log-ins from one address before it must wait; 0/1m: no limit"),
    TEXT("auth.htpasswd_file", auth_htpasswd_file, "",
         "password file with bcrypt hashes, for users who have no password here"),
    RATE("auth.pull_rate.anonymous", auth_pull_rate_anonymous, "0/6h",
         "pulls of one address without signing in; 0/6h: no limit"),
    RATE("auth.pull_rate.account", auth_pull_rate_account, "0/6h",
         "pulls of one account; 0/6h: no limit"),
    NUMBER(DURATION, "audit.retention", audit_retention, "365d", DAY, ANY,
           "how long the audit is kept"),
    CHOICE("log.level", log_level, "info", "debug|info|warning|error",
           "debug, info, warning or error"),
    CHOICE("log.format", log_format, "auto", "auto|text|logfmt|json",
           "text, logfmt, json; auto: text on a terminal, else logfmt"),
    BOOL("log.access", log_access, "true", "one line for each request"),
};

const size_t config_setting_count = sizeof(config_settings) / sizeof(config_settings[0]);
