/* gc.h - the job that collects: rules of retention, then what nothing refers to any more.
 * Touches  storage by way of retention.h and collect.h.
 * Never    removes what these say must stay.
 *
 * spec: {"dry_run": bool}. result: what the run did, the same members for both; see gc.c. */
#ifndef SLIPWAY_JOBS_GC_H
#define SLIPWAY_JOBS_GC_H

#include "registry/jobs/jobs.h"

extern const struct job_kind gc_job;

#endif
