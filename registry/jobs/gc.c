/* gc.c - the job that collects. */
#include "registry/jobs/gc.h"

#include <string.h>

#include "registry/core/clock.h"
#include "registry/retention/retention.h"
#include "storage/collect.h"

static bool is_dry(const json_t *spec)
{
    return json_is_true(json_object_get(spec, "dry_run"));
}

static int check(const json_t *spec, struct error *err)
{
    const json_t *dry_run = json_object_get(spec, "dry_run");

    if (json_object_size(spec) > (dry_run == NULL ? 0U : 1U))
        return error_set_field(err, "spec", "the spec of gc knows dry_run only");
    if (dry_run != NULL && !json_is_boolean(dry_run))
        return error_set_field(err, "dry_run", "dry_run must be true or false");
    return 0;
}

/* --- the report --- */

struct number {
    const char *name;
    uint64_t value;
};

static void set_numbers(json_t *object, const struct number *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_object_set_new(object, numbers[i].name, json_integer((json_int_t)numbers[i].value));
}

#define SET_NUMBERS(object, numbers)                                                               \
    set_numbers((object), (numbers), sizeof(numbers) / sizeof((numbers)[0]))

static json_t *group(json_t *report, const char *name)
{
    json_t *made = json_object();

    json_object_set_new(report, name, made);
    return made;
}

static void report_write(const struct collect_report *from, uint64_t duration_ms, json_t *out)
{
    const struct number reviewed[] = {{"reviewed", from->reviewed},
                                      {"kept", from->kept},
                                      {"postponed", from->postponed},
                                      {"bytes_freed", from->bytes},
                                      {"duration_ms", duration_ms}};
    const struct number removed[] = {{"repositories", from->repositories},
                                     {"manifests", from->manifests},
                                     {"links", from->links},
                                     {"blobs", from->blobs},
                                     {"uploads", from->uploads}};
    const struct number trash[] = {{"files", from->trash_removed}, {"bytes", from->trash_bytes}};
    const struct number system[] = {{"free_before", from->free_before},
                                    {"free_after", from->free_after}};

    SET_NUMBERS(out, reviewed);
    SET_NUMBERS(group(out, "removed"), removed);
    SET_NUMBERS(group(out, "trash"), trash);
    SET_NUMBERS(group(out, "file_system"), system);
}

static int run(struct job *job, struct error *err)
{
    bool dry_run = is_dry(job_spec(job));
    uint64_t begun_ms = clock_monotonic_ms();
    struct collect_report report = {0};
    struct error collecting = {0};

    assert_worker_thread();
    json_object_set_new(job_result(job), "dry_run", json_boolean(dry_run));
    int rules = retention_run_all(job_storage(job), SLICE_NONE, dry_run, job_progress(job),
                                  group(job_result(job), "retention"), err);
    /* what is garbage goes also when a rule cannot be applied */
    int status =
        storage_collect(job_storage(job), dry_run, job_progress(job), &report, &collecting);
    report_write(&report, clock_monotonic_ms() - begun_ms, job_result(job));
    if (rules == 0 && status < 0)
        *err = collecting;
    return rules < 0 || status < 0 ? -1 : 0;
}

const struct job_kind gc_job = {.name = "gc", .run = run, .check = check};
