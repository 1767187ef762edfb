/* remote_url.h - addresses of another registry: what may be asked, and where replies lead (pure).
 * Touches  memory; libcurl's reader of URLs.
 * Never    the network. */
#ifndef SLIPWAY_TRANSFER_REMOTE_URL_H
#define SLIPWAY_TRANSFER_REMOTE_URL_H

#include <stdbool.h>

#include "registry/core/error.h"

/* Of "https://host[:port]", or of it without scheme: "scheme://host:port" in lower case, the
 * caller's. http is for this machine, unless it was asked for. INVALID */
int remote_url_read(const char *text, bool plain_http, char **origin, struct error *err) MUST_CHECK;
/* Where a reply of `base` leads, with its origin; both the caller's. From https never to http.
 * UNAVAILABLE */
int remote_url_resolve(const char *base, const char *target, char **url, char **origin,
                       struct error *err) MUST_CHECK;

#endif
