/* check.c - check: whether the store holds what it says; scrub: the same of its bytes, slowly.
 * Touches  the server by way of client.h, or the root folder where none runs (work.h).
 * Never    knows what is wrong: the job does.
 *
 * Exit status of check: 0 all is right, 1 what was wrong is repaired, 4 errors are left. */
#include <inttypes.h>
#include <stdio.h>

#include "registry/cli/verb.h"
#include "registry/cli/work.h"
#include "registry/jobs/check_job.h"

enum { CHECK_REPAIRED = 1, CHECK_LEFT = 4 };

static const struct show_column finding_columns[] = {
    {"SEVERITY", "severity"},     {"KIND", "kind"},    {"REPAIRED", "repaired"},
    {"REPOSITORY", "repository"}, {"TAG", "tag"},      {"DIGEST", "digest"},
    {"OBJECT", "object"},         {"WHAT", "message"}, {0},
};

static int spec_of(const struct cli_call *call, json_t *spec)
{
    const char *rate = cli_value(call, "--rate");
    uint64_t bytes;

    if (cli_flag(call, "--deep"))
        json_object_set_new(spec, "deep", json_true());
    if (cli_flag(call, "--repair"))
        json_object_set_new(spec, "repair", json_true());
    verb_set_text(call, spec, "--repo", "repository");
    if (rate == NULL)
        return CLI_DONE;
    if (!config_size_parse(slice_of(rate), &bytes))
        return cli_usage(call, "--rate is bytes a second with a unit: 50MiB");
    json_object_set_new(spec, "rate", json_integer((json_int_t)bytes));
    return CLI_DONE;
}

static int64_t count_of(const json_t *result, const char *name)
{
    return json_integer_value(json_object_get(result, name));
}

/* Findings go to standard output, what they come to, to standard error. */
static void show(const struct cli_call *call, const json_t *result)
{
    const json_t *findings = json_object_get(result, "findings");
    int64_t left_out = count_of(result, "findings_left_out");
    size_t i;
    json_t *finding;

    json_array_foreach(findings, i, finding) {
        show_line(finding, finding_columns);
    }
    fflush(stdout);
    if (left_out > 0)
        fprintf(stderr, "%" PRId64 " more are not shown\n", left_out);
    fprintf(stderr,
            "%" PRId64 " blobs, %" PRId64 " manifests, %" PRId64 " tags checked: %" PRId64
            " found, %" PRId64 " repaired, %" PRId64 " errors left\n",
            count_of(result, "blobs"), count_of(result, "manifests"), count_of(result, "tags"),
            count_of(result, "found"), count_of(result, "repaired"), count_of(result, "left"));
    if (count_of(result, "left") > 0 && !cli_flag(call, "--repair"))
        fprintf(stderr, "--repair makes right what can be\n");
}

static int check(const struct cli_call *call)
{
    OWNED(json_drop) json_t *spec = json_object();
    OWNED(json_drop) json_t *result = NULL;
    int status = spec_of(call, spec);

    if (status == CLI_DONE)
        status = work_run(call, &check_job, TAKE(spec), &result);
    if (json_is_object(result) && cli_flag(call, "--json"))
        show_json(result);
    else if (json_is_object(result))
        show(call, result);
    if (status != CLI_DONE)
        return status;
    return count_of(result, "left") > 0       ? CHECK_LEFT
           : count_of(result, "repaired") > 0 ? CHECK_REPAIRED
                                              : CLI_DONE;
}

/* --- the scrub --- */

static const struct show_column scrub_columns[] = {
    {"state", "state"},
    {"bytes a second, at most", SHOW_SIZE "rate"},
    {"bytes a second, lately", SHOW_SIZE "bytes_per_second"},
    {"position", "position"},
    {"last blob", "last"},
    {"damaged blobs", "damaged"},
    {"pass began", "started_at"},
    {"last full pass", "finished_at"},
    {"next pass", "next_at"},
    {"blobs read", "blobs"},
    {"bytes read", SHOW_SIZE "bytes"},
    {"found", "found"},
    {0},
};

static int scrub_status(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/scrub");
    return verb_show(call, &path, scrub_columns);
}

static int scrub_run(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/scrub:run");
    return verb_send(call, "POST", &path, NULL, "a pass begins", NULL);
}

static const struct cli_option check_options[] = {
    {"--deep", NULL, "reads and hashes every blob", 0},
    {"--repair", NULL, "makes right what can be; wrong files go into the folder quarantine", 0},
    {"--repo", "GLOB", "only these repositories: team/app, team/*", 0},
    {"--rate", "SIZE", "bytes of blobs read a second: 50MiB; without it no limit", 0},
    {0},
};

const struct cli_command cli_check_commands[] = {
    {"check",
     NULL,
     "looks whether the store holds what it says it holds",
     check,
     {check_options, cli_remote, cli_settings}},
    {"scrub status",
     NULL,
     "shows where the scrub stands, which reads every blob again all the time",
     scrub_status,
     {cli_remote, cli_settings}},
    {"scrub run", NULL, "begins a pass of the scrub now", scrub_run, {cli_remote, cli_settings}},
    {0},
};
