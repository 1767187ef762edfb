/* check_job.c - the job that checks the store.
 *
 * Its result: counts of what was looked at and found, by kind, and the first findings themselves;
 * a job's row is no place for a million of them, so what is left out is counted. */
#include "registry/jobs/check_job.h"

#include <string.h>

#include "storage/check.h"

enum { FINDINGS_MAX = 1000, GLOB_MAX = 255 };

/* --- what is asked --- */

static int read_flag(const json_t *spec, const char *name, bool *out, struct error *err)
{
    const json_t *value = json_object_get(spec, name);

    if (value != NULL && !json_is_boolean(value))
        return error_set_field(err, name, "%s must be true or false", name);
    *out = json_is_true(value);
    return 0;
}

static int read_rate(const json_t *spec, uint64_t *out, struct error *err)
{
    const json_t *value = json_object_get(spec, "rate");

    if (value != NULL && (!json_is_integer(value) || json_integer_value(value) < 0))
        return error_set_field(err, "rate", "rate must be a number of bytes a second");
    *out = (uint64_t)json_integer_value(value);
    return 0;
}

static int read_repositories(const json_t *spec, struct slice *out, struct error *err)
{
    const json_t *value = json_object_get(spec, "repository");
    size_t size = json_string_length(value);

    *out = SLICE_NONE;
    if (value == NULL)
        return 0;
    if (!json_is_string(value) || size == 0 || size > GLOB_MAX)
        return error_set_field(err, "repository", "repository must be a name or a glob");
    *out = (struct slice){json_string_value(value), size};
    return 0;
}

static int read_members(const json_t *spec, struct error *err)
{
    static const char *const known[] = {"deep", "repair", "repository", "rate"};
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)spec, name, value) {
        bool found = false;
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            found = found || strcmp(name, known[i]) == 0;
        if (!found)
            return error_set_field(err, "spec", "a check has no member %.40s", name);
    }
    return 0;
}

static int read_spec(const json_t *spec, struct check_options *out, struct error *err)
{
    *out = (struct check_options){.deep = false};
    if (read_members(spec, err) < 0 || read_flag(spec, "deep", &out->deep, err) < 0 ||
        read_flag(spec, "repair", &out->repair, err) < 0 || read_rate(spec, &out->rate, err) < 0)
        return -1;
    return read_repositories(spec, &out->repositories, err);
}

static int check_spec(const json_t *spec, struct error *err)
{
    struct check_options options;

    return read_spec(spec, &options, err);
}

/* --- what was found --- */

static void set_text(json_t *object, const char *name, const char *text)
{
    json_t *value = text[0] == 0 ? NULL : json_string(text);

    /* A file's name may be any bytes. */
    if (text[0] != 0 && value == NULL)
        value = json_string("(not UTF-8)");
    if (value != NULL)
        json_object_set_new(object, name, value);
}

static void add_finding(void *arg, const struct check_finding *finding)
{
    json_t *findings = arg;
    json_t *item;

    if (json_array_size(findings) >= FINDINGS_MAX)
        return;
    item = json_object();
    set_text(item, "kind", check_kind_name(finding->kind));
    set_text(item, "severity", check_severity_name(check_kind_severity(finding->kind)));
    json_object_set_new(item, "repaired", json_boolean(finding->repaired));
    set_text(item, "repository", finding->repository);
    set_text(item, "tag", finding->tag);
    set_text(item, "digest", finding->digest);
    set_text(item, "object", finding->object);
    set_text(item, "message", finding->sentence);
    json_array_append_new(findings, item);
}

static void set_count(json_t *object, const char *name, uint64_t count)
{
    json_object_set_new(object, name, json_integer((json_int_t)count));
}

static json_t *kinds_of(const struct check_report *report, uint64_t *total)
{
    json_t *kinds = json_object();

    for (int kind = 0; kind < CHECK_KINDS; kind++) {
        if (report->kinds[kind] > 0)
            set_count(kinds, check_kind_name((enum check_kind)kind), report->kinds[kind]);
        *total += report->kinds[kind];
    }
    return kinds;
}

static void report_write(json_t *result, const struct check_report *report, json_t *findings)
{
    uint64_t total = 0;

    set_count(result, "found", report->found);
    set_count(result, "repaired", report->repaired);
    set_count(result, "left", report->left);
    set_count(result, "files", report->files);
    set_count(result, "blobs", report->blobs);
    set_count(result, "bytes_read", report->bytes);
    set_count(result, "links", report->links);
    set_count(result, "manifests", report->manifests);
    set_count(result, "tags", report->tags);
    set_count(result, "uploads", report->uploads);
    set_count(result, "trash", report->trash);
    json_object_set_new(result, "complete", json_boolean(!report->cancelled));
    json_object_set_new(result, "kinds", kinds_of(report, &total));
    set_count(result, "findings_left_out", total - json_array_size(findings));
    json_object_set(result, "findings", findings);
}

static int run(struct job *job, struct error *err)
{
    json_t *findings = json_array();
    struct check_options options;
    struct check_report report;

    assert_worker_thread();
    int result = read_spec(job_spec(job), &options, err);
    if (result == 0) {
        result = storage_check(job_storage(job), &options, job_progress(job), add_finding, findings,
                               &report, err);
        report.cancelled |= result < 0;
        report_write(job_result(job), &report, findings);
    }
    json_decref(findings);
    return result;
}

const struct job_kind check_job = {.name = "check", .run = run, .check = check_spec};
