/* schedule.c - the job that starts by itself. */
#include "registry/jobs/schedule.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/jobs/jobs.h"
#include "storage/collect.h"
#include "storage/job.h"

enum { LOOK_MS = 30 * 1000, NUMBER_MAX = 24 }; /* clocks are set, machines sleep: never for long */

static const char OFF[] = "off";
/* What was said at run time, "cron|zone", in one row: it changes as one. */
static const char STATE_SAID[] = "gc_schedule", STATE_SETTLED[] = "gc_settled_at";
enum { SAID_MAX = CRON_TEXT_MAX + 1 + ZONE_NAME_MAX + 1 };

/* When. */
struct plan {
    char cron_text[CRON_TEXT_MAX + 1], zone_name[ZONE_NAME_MAX + 1];
    bool never;
    struct cron cron;
    struct zone *zone;
};

struct schedule {
    struct schedule_options options; /* immutable; texts are copies */
    pthread_mutex_t setting;         /* one schedule_set or schedule_look at a time */
    pthread_mutex_t lock;            /* of what follows */
    pthread_cond_t wake;
    bool ending;
    char own_cron[CRON_TEXT_MAX + 1], own_zone[ZONE_NAME_MAX + 1]; /* (1); "": the settings' */
    struct plan plan;
    int64_t settled_at; /* us: what came until then is done with */
    int64_t due_at;     /* us; 0: never */
    bool has_thread;
    pthread_t thread;
};

static void plan_drop(struct plan *plan)
{
    zone_drop(&plan->zone);
    plan->zone = NULL;
}

/* --- when --- */

static bool is_never(struct slice cron)
{
    return cron.size == 0 || slice_equal_text(cron, OFF);
}

/* Names the member at fault. */
static int at_fault(struct error *err, const char *field)
{
    err->field = field;
    return -1;
}

/* own, unless it is "": then the setting. */
static int plan_read(const struct schedule *schedule, const char *own_cron, const char *own_zone,
                     struct plan *out, struct error *err)
{
    const char *cron = own_cron[0] != 0 ? own_cron : schedule->options.cron;
    const char *zone = own_zone[0] != 0 ? own_zone : schedule->options.time_zone;

    *out = (struct plan){.never = is_never(slice_of(cron))};
    if (!out->never && cron_parse(slice_of(cron), &out->cron, err) < 0)
        return at_fault(err, "schedule");
    if (zone_open(&out->zone, slice_of(zone), err) < 0)
        return at_fault(err, "time_zone");
    snprintf(out->cron_text, sizeof(out->cron_text), "%s", out->never ? OFF : cron);
    snprintf(out->zone_name, sizeof(out->zone_name), "%s", zone);
    return 0;
}

static int64_t now_us(const struct schedule *schedule)
{
    return schedule->options.now == NULL ? clock_now_us() : schedule->options.now();
}

static int64_t jitter_us(const struct schedule *schedule)
{
    uint64_t random;

    random_bytes(&random, sizeof(random));
    return (int64_t)(random % (schedule->options.jitter_ms + 1)) * 1000;
}

/* The next time that is not settled; one that has passed counts from now. Under the lock. */
static void plan_next(struct schedule *schedule, int64_t now)
{
    const struct plan *plan = &schedule->plan;

    schedule->due_at = 0;
    if (plan->never)
        return;
    int64_t next = cron_next(&plan->cron, plan->zone, schedule->settled_at / US_PER_S);
    if (next < 0)
        return;
    next *= US_PER_S;
    schedule->due_at = (next < now ? now : next) + jitter_us(schedule);
}

/* --- looking --- */

static int settle(struct schedule *schedule, int64_t now, struct error *err) ON(worker_thread)
{
    char text[NUMBER_MAX];

    snprintf(text, sizeof(text), "%" PRId64, now);
    return job_state_put(schedule->options.storage, STATE_SETTLED, text, err);
}

static void start(struct schedule *schedule) ON(worker_thread)
{
    const struct schedule_options *options = &schedule->options;
    const struct job_asker nobody = {.actor = SLICE("")};
    struct collect_state state = {0};
    struct error err = {0};
    int64_t id;

    if (storage_collect_state(options->storage, &state, &err) == 0 && state.paused)
        log_event(LOG_INFO, "schedule.skipped", F_TEXT("kind", options->kind),
                  F_TEXT("reason", "collection is paused"));
    else if (err.code != ERROR_NONE ||
             jobs_start(options->jobs, slice_of(options->kind), NULL, &nobody, &id, &err) < 0)
        log_event(LOG_WARNING, "schedule.skipped", F_TEXT("kind", options->kind),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
}

/* True when the time has come; then it is settled in memory. */
static bool is_due(struct schedule *schedule, int64_t now)
{
    pthread_mutex_lock(&schedule->lock);
    if (now < schedule->settled_at) { /* the clock was set back */
        schedule->settled_at = now;
        plan_next(schedule, now);
    }
    bool due = schedule->due_at != 0 && schedule->due_at <= now;
    if (due) {
        schedule->settled_at = now;
        plan_next(schedule, now);
    }
    pthread_mutex_unlock(&schedule->lock);
    return due;
}

void schedule_look(struct schedule *schedule)
{
    int64_t now = now_us(schedule);
    struct error err = {0};

    pthread_mutex_lock(&schedule->setting);
    bool due = is_due(schedule, now);
    if (due && settle(schedule, now, &err) < 0) /* (2) */
        log_event(LOG_WARNING, "schedule.skipped", F_TEXT("kind", schedule->options.kind),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
    else if (due)
        start(schedule);
    pthread_mutex_unlock(&schedule->setting);
}

/* False when schedule_close wants the end. */
static bool rest(struct schedule *schedule)
{
    int64_t now = now_us(schedule);

    pthread_mutex_lock(&schedule->lock);
    int64_t left_us = schedule->due_at == 0 ? INT64_MAX : schedule->due_at - now;
    uint64_t ms = left_us <= 0 ? 1 : left_us / 1000 >= LOOK_MS ? LOOK_MS : (uint64_t)left_us / 1000;
    const struct timespec until = clock_monotonic_after(ms + 1);
    if (!schedule->ending)
        pthread_cond_timedwait(&schedule->wake, &schedule->lock, &until);
    bool goes_on = !schedule->ending;
    pthread_mutex_unlock(&schedule->lock);
    return goes_on;
}

static void *run(void *arg)
{
    struct schedule *schedule = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "schedule");
    while (rest(schedule))
        schedule_look(schedule);
    return NULL;
}

/* --- saying otherwise --- */

void schedule_view(struct schedule *schedule, struct schedule_view *out)
{
    pthread_mutex_lock(&schedule->lock);
    memcpy(out->cron, schedule->plan.cron_text, sizeof(out->cron));
    memcpy(out->time_zone, schedule->plan.zone_name, sizeof(out->time_zone));
    out->from_settings = schedule->own_cron[0] == 0 && schedule->own_zone[0] == 0;
    out->next_at = schedule->due_at;
    pthread_mutex_unlock(&schedule->lock);
}

/* What a request gives, or what there is. */
static int choose(const struct slice *given, const char *field, const char *own, char *out,
                  size_t capacity, struct error *err)
{
    snprintf(out, capacity, "%s", own);
    if (given == NULL || slice_to_text(*given, out, capacity))
        return 0;
    return error_set_field(err, field, "%s is too long", field);
}

static int remember(const struct schedule *schedule, const char *cron, const char *zone,
                    struct error *err) ON(worker_thread)
{
    char said[SAID_MAX];

    snprintf(said, sizeof(said), "%s|%s", cron, zone);
    return job_state_put(schedule->options.storage, STATE_SAID, said, err);
}

/* Times that passed under the old plan are none of the new one's. */
static void apply(struct schedule *schedule, const char *cron, const char *zone, struct plan *plan)
{
    int64_t now = now_us(schedule);

    pthread_mutex_lock(&schedule->lock);
    plan_drop(&schedule->plan);
    schedule->plan = *plan;
    *plan = (struct plan){.zone = NULL};
    snprintf(schedule->own_cron, sizeof(schedule->own_cron), "%s", cron);
    snprintf(schedule->own_zone, sizeof(schedule->own_zone), "%s", zone);
    schedule->settled_at = now;
    plan_next(schedule, now);
    pthread_cond_signal(&schedule->wake);
    pthread_mutex_unlock(&schedule->lock);
}

static int set(struct schedule *schedule, const struct slice *cron, const struct slice *zone,
               struct error *err) ON(worker_thread)
{
    OWNED(plan_drop) struct plan plan = {.zone = NULL};
    char own_cron[CRON_TEXT_MAX + 1], own_zone[ZONE_NAME_MAX + 1];

    if (choose(cron, "schedule", schedule->own_cron, own_cron, sizeof(own_cron), err) < 0 ||
        choose(zone, "time_zone", schedule->own_zone, own_zone, sizeof(own_zone), err) < 0 ||
        plan_read(schedule, own_cron, own_zone, &plan, err) < 0 ||
        remember(schedule, own_cron, own_zone, err) < 0 ||
        settle(schedule, now_us(schedule), err) < 0)
        return -1;
    apply(schedule, own_cron, own_zone, &plan);
    return 0;
}

int schedule_set(struct schedule *schedule, const struct slice *cron, const struct slice *time_zone,
                 struct error *err)
{
    pthread_mutex_lock(&schedule->setting);
    int status = set(schedule, cron, time_zone, err);
    pthread_mutex_unlock(&schedule->setting);
    return status;
}

/* --- open and close --- */

/* When nothing was ever settled, what is to come begins now, and a restart knows it. */
static int recall_settled(struct schedule *schedule, struct error *err) ON(worker_thread)
{
    char text[NUMBER_MAX];
    uint64_t settled;
    bool found;

    if (job_state_get(schedule->options.storage, STATE_SETTLED, text, sizeof(text), &found, err) <
        0)
        return -1;
    if (found && slice_to_u64(slice_of(text), &settled)) {
        schedule->settled_at = (int64_t)settled;
        return 0;
    }
    schedule->settled_at = now_us(schedule);
    return settle(schedule, schedule->settled_at, err);
}

static int recall_said(struct schedule *schedule, struct error *err) ON(worker_thread)
{
    char said[SAID_MAX];
    struct slice cron, zone;
    bool found;

    if (job_state_get(schedule->options.storage, STATE_SAID, said, sizeof(said), &found, err) < 0)
        return -1;
    slice_split(slice_of(said), '|', &cron, &zone);
    if (slice_to_text(cron, schedule->own_cron, sizeof(schedule->own_cron)) &&
        slice_to_text(zone, schedule->own_zone, sizeof(schedule->own_zone)))
        return 0;
    schedule->own_cron[0] = schedule->own_zone[0] = 0;
    return 0;
}

/* What somebody said once may be no schedule any more: a zone that the machine has lost. */
static int recall_plan(struct schedule *schedule, struct error *err) ON(worker_thread)
{
    struct error lost = {0};

    if (recall_said(schedule, err) < 0)
        return -1;
    if (plan_read(schedule, schedule->own_cron, schedule->own_zone, &schedule->plan, &lost) == 0)
        return 0;
    log_event(LOG_WARNING, "schedule.lost", F_TEXT("schedule", schedule->own_cron),
              F_TEXT("time_zone", schedule->own_zone), F_TEXT("reason", lost.message));
    schedule->own_cron[0] = schedule->own_zone[0] = 0;
    plan_drop(&schedule->plan);
    return plan_read(schedule, "", "", &schedule->plan, err);
}

static int build(struct schedule *schedule, struct error *err) ON(worker_thread)
{
    if (recall_plan(schedule, err) < 0 || recall_settled(schedule, err) < 0)
        return -1;
    plan_next(schedule, now_us(schedule));
    if (schedule->options.resting)
        return 0;
    if (pthread_create(&schedule->thread, NULL, run, schedule) != 0)
        abort();
    schedule->has_thread = true;
    return 0;
}

int schedule_open(struct schedule **out, const struct schedule_options *options, struct error *err)
{
    enum thread_role_kind role = become_worker_thread();
    struct schedule *schedule = memory_new(sizeof(*schedule));

    schedule->options = *options;
    schedule->options.cron = memory_text(slice_of(options->cron));
    schedule->options.time_zone = memory_text(slice_of(options->time_zone));
    pthread_mutex_init(&schedule->setting, NULL);
    pthread_mutex_init(&schedule->lock, NULL);
    clock_condition_init(&schedule->wake);
    int status = build(schedule, err);
    if (status == 0)
        *out = schedule;
    else
        schedule_close(schedule);
    thread_role_current = role;
    return status;
}

void schedule_close(struct schedule *schedule)
{
    if (schedule == NULL)
        return;
    pthread_mutex_lock(&schedule->lock);
    schedule->ending = true;
    pthread_cond_signal(&schedule->wake);
    pthread_mutex_unlock(&schedule->lock);
    if (schedule->has_thread)
        pthread_join(schedule->thread, NULL);
    plan_drop(&schedule->plan);
    pthread_cond_destroy(&schedule->wake);
    pthread_mutex_destroy(&schedule->lock);
    pthread_mutex_destroy(&schedule->setting);
    free((void *)(uintptr_t)schedule->options.cron);
    free((void *)(uintptr_t)schedule->options.time_zone);
    free(schedule);
}
