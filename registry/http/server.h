/* server.h - listeners, loop threads, time-outs, shutdown: the one thing main starts.
 * Touches  sockets, threads.
 * Never    storage, what a route means.
 *
 * The server copies nothing of its options: they must outlive it. */
#ifndef SLIPWAY_HTTP_SERVER_H
#define SLIPWAY_HTTP_SERVER_H

#include "registry/http/route.h"

struct auth;

struct server_listener {
    const char *address; /* "127.0.0.1:5000", "[::1]:5000", "unix:/path"; port 0 picks one */
    bool tls;            /* from tls_certificate and tls_key below */
    bool admin; /* the admin socket, "unix:/path": the management API, for root, ourselves and
                   members of the group slipway-admin */
};

struct server_options {
    const struct server_listener *listeners;
    size_t listener_count;
    const char *tls_certificate; /* PEM files; NULL: no TLS listener */
    const char *tls_key;
    const char *tls_min_version; /* "1.2" or "1.3" */
    const char *tls_client_ca;   /* PEM: clients must show a certificate of it; NULL: need not */
    int loop_threads;            /* 0: one, two from eight cores on */
    int hash_threads;            /* 0: as many as cores */
    int wait_threads;            /* 0: 32 */
    int login_threads;           /* 0: 2; they hash passwords and stand back behind all others */
    uint64_t header_size_max;    /* bytes of a request head: 431, or 414 when the target is it */
    uint64_t header_timeout_ms;  /* from the first byte of a head to its end: 408 */
    uint64_t idle_timeout_ms;    /* of a kept connection between requests */
    uint64_t body_idle_timeout_ms;
    uint64_t write_idle_timeout_ms;
    uint64_t connections_max; /* 0: from the descriptor limit; above: 503 with Retry-After */
    uint64_t uploads_max; /* places of bodies under way (admit.c); above: 503 with Retry-After */
    uint64_t
        requests_per_second; /* per client address, 0 = no limit; above: 429 with Retry-After */
    bool access_log;         /* an event "http.request" per answer */
    /* Whose X-Forwarded-For, -Proto, -Host and X-Request-Id count: addresses, "10.0.0.0/8", "unix"
     * for all unix sockets; from others these headers are ignored. `Forwarded` (RFC 7239) is not
     * read from anybody. */
    const char *const *trusted_proxies;
    size_t trusted_proxy_count;
    const struct route_table *routes;
    const struct services *services;
    struct auth *auth;
};

struct server;

/* Binds every listener and starts the threads; serving begins at once.
 * UNAVAILABLE  an address cannot be bound, a certificate cannot be read, a trusted proxy is no
 * address: the message says which */
int server_open(struct server **out, const struct server_options *options,
                struct error *err) MUST_CHECK;
/* The bound address of a listener, for port 0 and for what main prints. Owned by the server. */
const char *server_address(const struct server *server, size_t listener);
/* Reads certificate, key and client authority again, for connections made from now on; those that
 * are open keep what they have. What cannot be used leaves the old in place. 0 without TLS. Any
 * thread but a loop. UNAVAILABLE  the message says which file */
int server_reload_tls(struct server *server, struct error *err) MUST_CHECK;
/* When the certificate in use expires, in seconds since 1970; 0 without TLS. Any thread. */
int64_t server_tls_expires(struct server *server);
/* Stops accepting, closes idle connections, answers the rest with Connection: close and waits for
 * them, at most timeout_ms. Safe to call from any thread but a loop or worker. */
void server_drain(struct server *server, uint64_t timeout_ms);
/* Closes what is left and frees. Accepts NULL. */
void server_close(struct server *server);

#endif
