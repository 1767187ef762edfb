/* transfer.h - moving in and out: folders of other registries, OCI layouts, registries over HTTP.
 * Touches  storage; folders and files of this machine; other registries.
 * Never    changes or removes what it reads.
 *
 * Kinds of jobs. What is here already is skipped, so both may be run again after any end. Specs:
 *
 *   import  {"from": "distribution", "path": ROOT, "repository": GLOB}
 *           {"from": "oci-layout", "path": DIR, "repository": NAME, "tag": TAG}
 *           {"from": "remote", "url": URL, "repositories": [NAME or GLOB], "tags": GLOB,
 *            "user": NAME, "password_file": PATH, "ca_file": PATH, "plain_http": false}
 *
 *           of each: "dry_run", "overwrite"; of folders: "mode" (auto, link, reflink, copy),
 *           "trusting"
 *
 *   export  {"path": DIR, "images": ["NAME:TAG"], "mode": MODE, "referrers": false}
 *
 * Paths are absolute. Results: counters, and "problems": what could not be brought, and why. */
#ifndef SLIPWAY_TRANSFER_TRANSFER_H
#define SLIPWAY_TRANSFER_TRANSFER_H

#include "registry/jobs/jobs.h"

extern const struct job_kind transfer_import;
extern const struct job_kind transfer_export;

#endif
