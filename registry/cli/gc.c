/* gc.c - gc: collecting now, what runs did, when it is done by itself.
 * Touches  the server by way of client.h and work.h; without one the root folder, for gc run.
 * Never    decides what may go. */
#include <string.h>

#include "registry/cli/verb.h"
#include "registry/cli/work.h"
#include "registry/jobs/gc.h"

static const struct show_column report[] = {
    {"dry run", "dry_run"},
    {"images expired", "retention.expired"},
    {"would expire", "retention.would_expire"},
    {"reviewed", "reviewed"},
    {"kept", "kept"},
    {"postponed", "postponed"},
    {"repositories removed", "removed.repositories"},
    {"manifests removed", "removed.manifests"},
    {"links removed", "removed.links"},
    {"blobs removed", "removed.blobs"},
    {"uploads removed", "removed.uploads"},
    {"bytes freed", SHOW_SIZE "bytes_freed"},
    {"files deleted", "trash.files"},
    {"bytes deleted", SHOW_SIZE "trash.bytes"},
    {"free before", SHOW_SIZE "file_system.free_before"},
    {"free after", SHOW_SIZE "file_system.free_after"},
    {"milliseconds", "duration_ms"},
    {0},
};

static int run(const struct cli_call *call)
{
    json_t *spec = json_object();

    if (cli_flag(call, "--dry-run"))
        json_object_set_new(spec, "dry_run", json_true());
    return work_show(call, &gc_job, spec, report);
}

/* --- runs --- */

static const struct show_column columns[] = {
    {"ID", "id"},
    {"STATE", "state"},
    {"ASKED BY", "actor"},
    {"BEGAN", "started_at"},
    {"ENDED", "finished_at"},
    {0},
};

static const struct show_column details[] = {
    {"id", "id"},
    {"state", "state"},
    {"asked by", "actor"},
    {"phase", "phase"},
    {"error", "error"},
    {"began", "started_at"},
    {"ended", "finished_at"},
    {"dry run", "spec.dry_run"},
    {"images expired", "result.retention.expired"},
    {"would expire", "result.retention.would_expire"},
    {"reviewed", "result.reviewed"},
    {"kept", "result.kept"},
    {"postponed", "result.postponed"},
    {"repositories removed", "result.removed.repositories"},
    {"manifests removed", "result.removed.manifests"},
    {"links removed", "result.removed.links"},
    {"blobs removed", "result.removed.blobs"},
    {"uploads removed", "result.removed.uploads"},
    {"bytes freed", SHOW_SIZE "result.bytes_freed"},
    {"files deleted", "result.trash.files"},
    {"bytes deleted", SHOW_SIZE "result.trash.bytes"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/gc/runs");
    return verb_list(call, &path, columns);
}

static int show(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/gc/runs/");
    verb_path_word(&path, call->words[0], false);
    return work_answer(call, "GET", &path, NULL, details);
}

static int cancel(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *runs = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = client_send(client, "GET", "/gc/runs?limit=1", NULL, &runs);
    if (status != CLI_DONE)
        return status;
    const json_t *last = json_array_get(json_object_get(runs, "items"), 0);
    const char *state = json_string_value(json_object_get(last, "state"));
    if (state == NULL || strcmp(state, "running") != 0)
        return cli_fail(call, CLI_NOT_FOUND, "nothing is being collected by a run");
    buffer_print(&path, "/jobs/%" JSON_INTEGER_FORMAT ":cancel",
                 json_integer_value(json_object_get(last, "id")));
    return verb_send(call, "POST", &path, NULL, "it will stop", NULL);
}

/* --- when, and how it is --- */

static const struct show_column schedule_columns[] = {
    {"schedule", "schedule"},
    {"time zone", "time_zone"},
    {"as the settings say", "from_settings"},
    {"next run", "next_run_at"},
    {"paused", "paused"},
    {0},
};

static const struct show_column state_columns[] = {
    {"schedule", "schedule"},
    {"time zone", "time_zone"},
    {"next run", "next_run_at"},
    {"paused", "paused"},
    {"held by a backup", "held"},
    {"to review", "candidates.waiting"},
    {"to review, due", "candidates.due"},
    {"to review, oldest", "candidates.oldest_due_at"},
    {"leased or undoable", "candidates.leased"},
    {"files to delete", "trash.files"},
    {"files to delete, due", "trash.due"},
    {"to delete, oldest", "trash.oldest_due_at"},
    {"blobs removed", "totals.removed.blobs"},
    {"bytes freed", SHOW_SIZE "totals.bytes_freed"},
    {"last run", "last_run.id"},
    {"last run, state", "last_run.state"},
    {"last run, began", "last_run.started_at"},
    {0},
};

static int show_status(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/gc");
    return work_answer(call, "GET", &path, NULL, state_columns);
}

static int schedule(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();

    if (call->word_count > 0)
        json_object_set_new(body, "schedule", json_string(call->words[0]));
    if (call->word_count > 0 && call->words[0][0] == 0)
        json_object_set_new(body, "time_zone", json_null()); /* with the zone it was meant in */
    verb_set_text(call, body, "--time-zone", "time_zone");
    bool changes = json_object_size(body) > 0;
    buffer_append_text(&path, "/gc");
    return work_answer(call, changes ? "PUT" : "GET", &path, changes ? TAKE(body) : NULL,
                       schedule_columns);
}

static int set_paused(const struct cli_call *call, bool paused)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    json_object_set_new(body, "paused", json_boolean(paused));
    buffer_append_text(&path, "/gc");
    return verb_send(call, "PUT", &path, body, paused ? "paused" : "resumed", NULL);
}

static int pause_it(const struct cli_call *call)
{
    return set_paused(call, true);
}

static int resume_it(const struct cli_call *call)
{
    return set_paused(call, false);
}

/* --- the table --- */

static const struct cli_option run_options[] = {
    {"--dry-run", NULL, "changes nothing; tells what would go now", 0}, {0}};
static const struct cli_option schedule_options[] = {
    {"--time-zone", "NAME", "of the schedule, such as Europe/Berlin; empty: as the settings say",
     0},
    {0},
};

const struct cli_command cli_gc_commands[] = {
    {"gc run",
     NULL,
     "collects now, and waits; also without a server",
     run,
     {run_options, cli_remote, cli_settings}},
    {"gc ls", NULL, "lists the runs of the collector", list, {cli_remote, cli_settings}},
    {"gc show", "ID", "shows what a run did", show, {cli_remote, cli_settings}},
    {"gc cancel", NULL, "stops the run", cancel, {cli_remote, cli_settings}},
    {"gc status",
     NULL,
     "shows what waits for the collector",
     show_status,
     {cli_remote, cli_settings}},
    {"gc schedule",
     "[CRON]",
     "shows or sets when it runs by itself: \"30 3 * * *\", off, \"\" as the settings say",
     schedule,
     {schedule_options, cli_remote, cli_settings}},
    {"gc pause",
     NULL,
     "lets the collector rest; runs still run",
     pause_it,
     {cli_remote, cli_settings}},
    {"gc resume", NULL, "ends the pause", resume_it, {cli_remote, cli_settings}},
    {0},
};
