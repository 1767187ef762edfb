/* schedule.h - the job that starts by itself, at the times of a crontab.
 * Touches  the runner, its own texts in server_state, a thread of its own.
 * Never    runs twice for what was missed: a machine that slept through many times starts one job.
 *
 * (1) The settings say when, unless somebody said otherwise at run time; that is remembered.
 * (2) A time is settled, and that is durable, before its job starts.
 * (3) While the collector is paused, times pass without a job. */
#ifndef SLIPWAY_JOBS_SCHEDULE_H
#define SLIPWAY_JOBS_SCHEDULE_H

#include "registry/core/cron.h"
#include "registry/core/zone.h"

struct jobs;
struct schedule;
struct storage;

struct schedule_options {
    struct jobs *jobs;
    struct storage *storage;
    const char *kind;      /* "gc"; it is given an empty spec */
    const char *cron;      /* of the settings; "" or "off": never */
    const char *time_zone; /* of the settings; "": the machine's */
    uint64_t jitter_ms;    /* a job starts up to so much later */
    bool resting;          /* no thread: somebody calls schedule_look */
    int64_t (*now)(void);  /* us since 1970; NULL: the clock */
};

/* INVALID  cron or time_zone */
int schedule_open(struct schedule **out, const struct schedule_options *options,
                  struct error *err) MUST_CHECK;
/* Before the runner is closed. Accepts NULL. */
void schedule_close(struct schedule *schedule);

struct schedule_view {
    char cron[CRON_TEXT_MAX + 1]; /* "off": never */
    char time_zone[ZONE_NAME_MAX + 1];
    bool from_settings; /* both of them */
    int64_t next_at;    /* us; 0: never */
};
void schedule_view(struct schedule *schedule, struct schedule_view *out);
/* From now on; NULL: as it is; "": as the settings say; cron "off": never. INVALID with the field
 */
int schedule_set(struct schedule *schedule, const struct slice *cron, const struct slice *time_zone,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* Starts the job when its time has come. */
void schedule_look(struct schedule *schedule) ON(worker_thread);

#endif
