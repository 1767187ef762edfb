/* check_job.h - the job that checks the store: {"deep","repair","repository","rate"}.
 * Touches  nothing by itself.
 * Never    knows what is wrong: storage/check.h. */
#ifndef SLIPWAY_JOBS_CHECK_JOB_H
#define SLIPWAY_JOBS_CHECK_JOB_H

#include "registry/jobs/jobs.h"

extern const struct job_kind check_job;

#endif
