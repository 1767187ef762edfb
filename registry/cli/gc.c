/* gc.c - gc: collecting now, what runs did, when it is done by itself.
 * Touches  the server by way of client.h and work.h; without one the root folder, for gc run.
 * Never    decides what may go. */
#include "registry/jobs/gc.h"
#include "registry/cli/verb.h"
#include "registry/cli/work.h"

static const struct show_column report[] = {
    {"dry run", "dry_run"},
    {"images expired", "retention.expired"},
    {"reviewed", "reviewed"},
    {"kept", "kept"},
    {"postponed", "postponed"},
    {"repositories removed", "removed.repositories"},
    {"manifests removed", "removed.manifests"},
    {"links removed", "removed.links"},
    {"blobs removed", "removed.blobs"},
    {"uploads removed", "removed.uploads"},
    {"bytes freed", "bytes_freed"},
    {"files deleted", "trash.files"},
    {"bytes deleted", "trash.bytes"},
    {"free before", "file_system.free_before"},
    {"free after", "file_system.free_after"},
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

static const struct show_column columns[] = {
    {"ID", "id"},
    {"STATE", "state"},
    {"ASKED BY", "actor"},
    {"BEGAN", "started_at"},
    {"ENDED", "finished_at"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/gc/runs");
    return verb_list(call, &path, columns);
}

static const struct cli_option run_options[] = {
    {"--dry-run", NULL, "changes nothing; tells what would go now", 0}, {0}};

const struct cli_command cli_gc_commands[] = {
    {"gc run",
     NULL,
     "collects now, and waits; also without a server",
     run,
     {run_options, cli_remote, cli_settings}},
    {"gc ls", NULL, "lists the runs of the collector", list, {cli_remote, cli_settings}},
    {0},
};
