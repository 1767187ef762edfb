/* cron.h - times that come again, as crontabs write them: five fields.
 * Touches  nothing (pure).
 * Never    seconds, years.
 *
 *   minute 0-59   hour 0-23   day 1-31   month 1-12 or JAN-DEC   weekday 0-7 or SUN-SAT
 *
 * Each is a list of numbers, ranges and *, the last two with a step: 0,30  MON-FRI  8-18/2.
 * 0 and 7 are Sunday. When day and weekday both begin without *, either will do. Also @hourly,
 * @daily, @midnight, @weekly, @monthly, @yearly, @annually. */
#ifndef SLIPWAY_CORE_CRON_H
#define SLIPWAY_CORE_CRON_H

#include "registry/core/error.h"
#include "registry/core/zone.h"

enum { CRON_TEXT_MAX = 200 };

/* A bit for each number that will do. */
struct cron {
    uint64_t minutes;
    uint32_t hours, days, months, weekdays;
    bool any_day, any_weekday; /* the field begins with * */
};

/* INVALID  with a sentence; also when its time never comes */
int cron_parse(struct slice text, struct cron *out, struct error *err) MUST_CHECK;
/* The first moment after another, in seconds since 1970. What clocks leap over comes when they
 * leap; what they show twice comes the first time. zone NULL: UTC. */
int64_t cron_next(const struct cron *cron, const struct zone *zone, int64_t after);

#endif
