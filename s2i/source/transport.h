/* transport.h - what git is told for one fetch: where it goes, and as whom.
 * Touches  the fetch's folder.
 * Never    runs git.
 *
 * Spec: s2i 16.10 to 16.12. */
#ifndef SLIPWAY_SOURCE_TRANSPORT_H
#define SLIPWAY_SOURCE_TRANSPORT_H

#include "s2i/source/credentials.h"
#include "s2i/source/fetch.h"
#include "s2i/source/resolve.h"

/* One fetch with what it needs while it runs. */
struct fetch_job {
    const struct fetch *fetch;
    struct resolved resolved;
    struct credentials credentials;
    char *repository;
    struct s2i_list environment;
    int secret; /* descriptor of user and password; -1 */
    unsigned settings;
};
void fetch_job_drop(struct fetch_job *job);
/* Makes the repository, and the environment git gets; credentials and addresses are there. *url:
 * what git is given as the URL. INVALID, UNAVAILABLE */
int fetch_job_prepare(struct fetch_job *job, struct buffer *url, struct error *err) MUST_CHECK;

#endif
