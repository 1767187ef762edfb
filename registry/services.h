/* services.h - what a handler works with: built by main, borrowed by everybody, immutable. */
#ifndef SLIPWAY_SERVICES_H
#define SLIPWAY_SERVICES_H

struct auth;
struct config;
struct storage;

struct services {
    struct storage *storage;
    const struct config *config;
    const struct auth *auth;
};

#endif
