/* backup.c - the job that makes a backup. */
#include "registry/jobs/backup.h"

enum { DAMAGES_MAX = 1000 }; /* told one by one; all are counted */

json_t *backup_json(const struct backup_report *report)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "snapshot", report->name,
                     "repositories", (json_int_t)report->repositories, "manifests",
                     (json_int_t)report->manifests, "blobs", (json_int_t)report->blobs, "bytes",
                     (json_int_t)report->bytes, "copied", (json_int_t)report->copied,
                     "copied_bytes", (json_int_t)report->copied_bytes, "damaged",
                     (json_int_t)report->damaged);
}

static void add_damage(void *arg, const struct backup_damage *damage)
{
    char digest[DIGEST_TEXT_MAX];
    json_t *damages = arg;

    if (json_array_size(damages) < DAMAGES_MAX)
        json_array_append_new(damages, json_pack("{s:s, s:s}", "digest",
                                                 digest_text(&damage->digest, digest), "what",
                                                 damage->what));
}

struct backup_told backup_json_told(json_t *damages)
{
    return (struct backup_told){add_damage, damages};
}

static bool boolean_or_absent(const json_t *spec, const char *name)
{
    const json_t *value = json_object_get(spec, name);

    return value == NULL || json_is_boolean(value);
}

static int check(const json_t *spec, struct error *err)
{
    const char *directory = json_string_value(json_object_get(spec, "directory"));
    const json_t *rate = json_object_get(spec, "rate");

    if (directory == NULL || directory[0] != '/')
        return error_set_field(err, "spec.directory", "it is an absolute path");
    if (!boolean_or_absent(spec, "link"))
        return error_set_field(err, "spec.link", "it is true or false");
    if (rate != NULL && (!json_is_integer(rate) || json_integer_value(rate) < 0))
        return error_set_field(err, "spec.rate", "it is a number of bytes a second");
    return 0;
}

/* A backup that was cancelled is none: there is nothing to tell. */
static int run(struct job *job, struct error *err)
{
    const json_t *spec = job_spec(job);
    json_t *damages = json_array();
    struct backup_report report;

    assert_worker_thread();
    json_object_set_new(job_result(job), "damages", damages);
    const struct backup_options options = {
        .directory = json_string_value(json_object_get(spec, "directory")),
        .link = json_is_true(json_object_get(spec, "link")),
        .rate = (uint64_t)json_integer_value(json_object_get(spec, "rate")),
        .told = backup_json_told(damages),
    };
    if (storage_backup(job_storage(job), &options, job_progress(job), &report, err) < 0) {
        if (!progress_cancelled(job_progress(job)))
            return -1;
        error_clear(err);
        return 0;
    }
    json_t *result = backup_json(&report);
    json_object_update(job_result(job), result);
    json_decref(result);
    return 0;
}

const struct job_kind backup_job = {.name = "backup", .run = run, .check = check, .local = true};
