/* gc.c - the collector: when it runs by itself, what waits for it, what it did; a pause.
 * Touches  the schedule, storage by way of storage/collect.h.
 * Never    collects: runs are jobs (job.c). */
#include "registry/api/api_internal.h"
#include "registry/config.h"
#include "registry/jobs/jobs.h"
#include "registry/jobs/schedule.h"
#include "storage/collect.h"

static void totals_write(struct buffer *out, const struct collect_report *totals)
{
    write_open(out, "totals", '{');
    write_i64(out, "reviewed", (int64_t)totals->reviewed);
    write_i64(out, "kept", (int64_t)totals->kept);
    write_i64(out, "postponed", (int64_t)totals->postponed);
    write_open(out, "removed", '{');
    write_i64(out, "repositories", (int64_t)totals->repositories);
    write_i64(out, "manifests", (int64_t)totals->manifests);
    write_i64(out, "links", (int64_t)totals->links);
    write_i64(out, "blobs", (int64_t)totals->blobs);
    write_i64(out, "uploads", (int64_t)totals->uploads);
    write_close(out, '}');
    write_i64(out, "bytes_freed", (int64_t)totals->bytes);
    write_open(out, "trash", '{');
    write_i64(out, "files", (int64_t)totals->trash_removed);
    write_i64(out, "bytes", (int64_t)totals->trash_bytes);
    write_close(out, '}');
    write_close(out, '}');
}

static void state_write(struct buffer *out, const struct collect_state *state)
{
    write_flag(out, "paused", state->paused);
    write_flag(out, "held", state->held);
    write_open(out, "candidates", '{');
    write_i64(out, "waiting", (int64_t)state->candidates);
    write_i64(out, "due", (int64_t)state->due);
    write_i64(out, "leased", (int64_t)state->leases);
    write_time(out, "oldest_due_at", state->oldest_due_at);
    write_close(out, '}');
    write_open(out, "trash", '{');
    write_i64(out, "files", (int64_t)state->trash);
    write_i64(out, "due", (int64_t)state->trash_due);
    write_time(out, "oldest_due_at", state->oldest_trash_at);
    write_close(out, '}');
    totals_write(out, &state->totals);
}

static void schedule_write(const struct request *request, struct buffer *out)
{
    struct schedule_view view;

    schedule_view(request->services->schedule, &view);
    write_text(out, "schedule", slice_of(view.cron));
    write_text(out, "time_zone", slice_of(view.time_zone));
    write_flag(out, "from_settings", view.from_settings);
    write_i64(out, "jitter_s", (int64_t)(request->services->config->gc_jitter / 1000));
    write_time(out, "next_run_at", view.next_at);
}

static int answer_gc(const struct request *request, struct reply *reply, struct error *err)
    ON(worker_thread)
{
    const struct services *services = request->services;
    OWNED(job_page_drop) struct job_page last = {.items = NULL};
    struct collect_state state = {0};
    struct buffer body = BUFFER_NONE;

    if (storage_collect_state(services->storage, &state, err) < 0 ||
        jobs_list(services->jobs, SLICE("gc"), 0, 1, &last, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    schedule_write(request, &body);
    state_write(&body, &state);
    if (last.count > 0)
        api_job_write(&body, "last_run", &last.items[0]);
    else
        write_null(&body, "last_run");
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_gc_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_gc(request, reply, err);
}

/* --- changing it --- */

enum { PUT_SCHEDULE, PUT_TIME_ZONE, PUT_PAUSED, PUT_COUNT };
static const struct json_member put_members[] = {
    [PUT_SCHEDULE] = {"schedule", JSON_TEXT, .nullable = true, .most = CRON_TEXT_MAX},
    [PUT_TIME_ZONE] = {"time_zone", JSON_TEXT, .nullable = true, .most = ZONE_NAME_MAX},
    [PUT_PAUSED] = {.name = "paused", .kind = JSON_FLAG},
};

/* Null is the setting's, like "". */
static const struct slice *given(struct json_value *value)
{
    if (value->null)
        value->text = SLICE("");
    return value->given ? &value->text : NULL;
}

static void tell(const struct request *request, const struct schedule_view *before,
                 const struct json_value *values)
{
    OWNED(event_drop) struct event event = {0};
    struct schedule_view now;

    schedule_view(request->services->schedule, &now);
    event_new(&event, request, "gc.update", "system", SLICE("gc"));
    event_changed(&event, "schedule", slice_of(before->cron), slice_of(now.cron));
    event_changed(&event, "time_zone", slice_of(before->time_zone), slice_of(now.time_zone));
    if (values[PUT_PAUSED].given)
        write_flag(&event.detail, "paused", values[PUT_PAUSED].flag);
    audit_note(request->services->storage, event_done(&event));
}

int api_gc_put(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[PUT_COUNT];
    struct schedule_view before;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(put_members), values, err) < 0)
        return -1;
    const struct slice *cron = given(&values[PUT_SCHEDULE]), *zone = given(&values[PUT_TIME_ZONE]);
    schedule_view(services->schedule, &before);
    if ((cron != NULL || zone != NULL) && schedule_set(services->schedule, cron, zone, err) < 0)
        return -1;
    if (values[PUT_PAUSED].given &&
        storage_collect_pause(services->storage, values[PUT_PAUSED].flag, err) < 0)
        return -1;
    tell(request, &before, values);
    return answer_gc(request, reply, err);
}
