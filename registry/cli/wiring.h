/* wiring.h - from settings to open rooms: storage, auth, server, with all that they borrow.
 * Touches  memory.
 * Never    threads, signals: serve.c. */
#ifndef SLIPWAY_CLI_WIRING_H
#define SLIPWAY_CLI_WIRING_H

#include "auth/auth.h"
#include "registry/config.h"
#include "registry/events/events.h"
#include "registry/http/server.h"
#include "registry/jobs/jobs.h"
#include "registry/jobs/schedule.h"
#include "registry/probes.h"
#include "registry/services.h"
#include "s2i/s2i.h"
#include "storage/storage.h"

enum { WIRING_LISTENERS_MAX = 64 };

/* Everything the server borrows while it runs; config is loaded by the caller, the rest is filled
 * by the functions below. */
struct wiring {
    struct config config;
    struct config_listener parsed[WIRING_LISTENERS_MAX];
    struct server_listener listeners[WIRING_LISTENERS_MAX + 1]; /* the last: the admin socket */
    char *admin_address;
    struct server_options options;
    struct probes probes;
    atomic_uint long_reads, hook_bytes;
    struct services services;
    struct route *routes;
    struct route_table table;
};
void wiring_drop(struct wiring *wiring);

/* Each consumes nothing; what is opened is closed by the caller. Failures as of storage_open,
 * auth_open and server_open. */
int wiring_open_storage(const struct config *config, struct events *events, struct storage **out,
                        struct error *err) MUST_CHECK;
int wiring_open_auth(const struct config *config, enum auth_mode mode, struct storage *storage,
                     struct auth **out, struct error *err) MUST_CHECK;
/* *out is what wiring_events_stop stops. */
int wiring_start_events(const struct config *config, struct events *events, struct storage *storage,
                        struct auth *auth, struct events **out, struct error *err) MUST_CHECK;
int wiring_open_jobs(const struct config *config, struct storage *storage, struct jobs **out,
                     struct error *err) MUST_CHECK;
int wiring_open_schedule(const struct config *config, struct storage *storage, struct jobs *jobs,
                         struct schedule **out, struct error *err) MUST_CHECK;
/* auth answers which images a build may stand on. */
int wiring_open_builds(const struct config *config, struct storage *storage, struct auth *auth,
                       struct builds **out, struct error *err) MUST_CHECK;
/* *out is NULL where builds are off or there is no git program; builds may be NULL. */
int wiring_open_git(const struct wiring *wiring, struct storage *storage, struct builds *builds,
                    struct git **out, struct error *err) MUST_CHECK;
/* rooms: all that services names, but config and probes. */
int wiring_open_server(struct wiring *wiring, const struct services *rooms, struct server **out,
                       struct error *err) MUST_CHECK;
/* A storage without threads of its own, for commands that work while no server runs. */
int wiring_open_root(const struct config *config, struct storage **out,
                     struct error *err) MUST_CHECK;
/* Fills the table of everything that is served. */
void wiring_add_routes(struct wiring *wiring);
enum auth_mode wiring_auth_mode(const struct config *config);

/* For OWNED. */
void wiring_events_drop(struct events **events);
void wiring_events_stop(struct events **events);
void wiring_storage_drop(struct storage **store);
void wiring_auth_drop(struct auth **auth);
void wiring_jobs_drop(struct jobs **jobs);
void wiring_schedule_drop(struct schedule **schedule);
void wiring_builds_drop(struct builds **builds);
void wiring_git_drop(struct git **git);
void wiring_server_drop(struct server **server);

#endif
