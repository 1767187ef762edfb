/* backup.h - the job that makes a backup, and what it says of one.
 * Touches  a folder of this machine, so it is local: jobs (3).
 * Never    verifies, removes or restores: that needs no server. */
#ifndef SLIPWAY_JOBS_BACKUP_H
#define SLIPWAY_JOBS_BACKUP_H

#include "registry/jobs/jobs.h"
#include "storage/backup.h"

/* spec: {"directory": "/...", "link": false, "rate": 0}. result: backup_json, and "damages". */
extern const struct job_kind backup_job;

/* A new object. */
json_t *backup_json(const struct backup_report *report);

/* Adds each damage to an array, up to a bound: told.arg is the array. */
struct backup_told backup_json_told(json_t *damages);

#endif
