/* job.c - a run over repositories as a job.
 * Touches  the job it is given.
 * Never    decides: run.c does. */
#include "registry/jobs/jobs.h"
#include "registry/retention/retention.h"
#include "storage/accounts.h"

static struct slice spec_pattern(const json_t *spec)
{
    const json_t *value = json_object_get(spec, "pattern");

    return slice_of(json_string_value(value));
}

static int check(const json_t *spec, struct error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)spec, name, value) {
        if (slice_equal_text(SLICE("dry_run"), name) && json_is_boolean(value))
            continue;
        if (!slice_equal_text(SLICE("pattern"), name) || !json_is_string(value) ||
            !pattern_valid(slice_of(json_string_value(value))))
            return error_set_field(err, "spec", "spec takes pattern (of repositories) and dry_run");
    }
    return 0;
}

static int run(struct job *job, struct error *err)
{
    const json_t *spec = job_spec(job);

    assert_worker_thread();
    return retention_run_all(job_storage(job), spec_pattern(spec),
                             json_is_true(json_object_get(spec, "dry_run")), job_progress(job),
                             job_result(job), err);
}

const struct job_kind retention_job = {.name = "policy", .run = run, .check = check};
