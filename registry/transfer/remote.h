/* remote.h - one import of another registry: shared by remote.c and remote_source.c.
 * Touches  nothing by itself.
 * Never    included elsewhere. */
#ifndef SLIPWAY_TRANSFER_REMOTE_H
#define SLIPWAY_TRANSFER_REMOTE_H

#include "registry/core/oci.h"
#include "registry/transfer/remote_http.h"
#include "registry/transfer/transfer_internal.h"

#define PULL_ACCEPT                                                                                \
    OCI_TYPE_MANIFEST ", " OCI_TYPE_INDEX ", " DOCKER_TYPE_MANIFEST ", " DOCKER_TYPE_LIST

struct pull {
    struct source source;
    struct transfer *transfer;
    struct remote *http;
    const struct import_remote *what;
    char scope[OCI_NAME_MAX + 32]; /* of the repository at hand */
    bool no_referrers;             /* it does not know that API */
};

/* Makes pull->source fetch. remote_source.c */
void pull_source(struct pull *pull);
/* "/v2/<repository>/<what>/<reference>" */
void pull_path(struct buffer *path, struct slice repository, const char *what,
               const char *reference);
/* What an answer that is not 200 means. MANIFEST_UNKNOWN, DENIED, UNAVAILABLE */
int pull_unexpected(const struct remote_answer *answer, struct error *err);

#endif
