/* credentials.h - what opens a source: chosen by its URL, given to the fetching child alone.
 * Touches  memory; a nameless file for a password, files of its own folder for what ssh reads.
 * Never    argv, environment, URLs, logs, errors.
 *
 * Spec: s2i 16.12. */
#ifndef SLIPWAY_SOURCE_CREDENTIALS_H
#define SLIPWAY_SOURCE_CREDENTIALS_H

#include "s2i/source/url.h"

/* Texts NULL: none for this URL. Of several of a kind the one with the longest prefix counts. */
struct credentials {
    char *user, *password;
    char *key, *known_hosts, *ca;
};
void source_credentials_choose(const struct s2i_list *list, const struct source_url *url,
                               struct credentials *out);
void source_credentials_drop(struct credentials *credentials); /* wipes */
/* *fd: what source_askpass reads, the caller's. */
int source_credentials_file(const struct credentials *credentials, int *fd,
                            struct error *err) MUST_CHECK;

#endif
