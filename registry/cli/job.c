/* job.c - job: long work of the server: collection, checks, backups, imports.
 * Touches  the server by way of client.h and work.h.
 * Never    knows what a kind does. */
#include "registry/cli/verb.h"
#include "registry/cli/work.h"

static const struct show_column columns[] = {
    {"ID", "id"},          {"KIND", "kind"},        {"STATE", "state"},       {"PHASE", "phase"},
    {"ASKED BY", "actor"}, {"BEGAN", "started_at"}, {"ENDED", "finished_at"}, {0},
};

static const struct show_column details[] = {
    {"id", "id"},
    {"kind", "kind"},
    {"state", "state"},
    {"phase", "phase"},
    {"so far", "progress"},
    {"error", "error"},
    {"asked by", "actor"},
    {"asked", "created_at"},
    {"began", "started_at"},
    {"ended", "finished_at"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/jobs");
    verb_path_parameter(&path, "kind", cli_value(call, "--kind"));
    return verb_list(call, &path, columns);
}

static const struct verb_things jobs = {"/jobs", false, columns, details, "job"};

static int show(const struct cli_call *call)
{
    return verb_things_show(call, &jobs);
}

static int cancel(const struct cli_call *call)
{
    return verb_things_post(call, &jobs, ":cancel", "it will stop");
}

/* A signal ends the waiting, not the job. */
static int wait_for(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *result = NULL;
    uint64_t id;
    int status = verb_number(call, call->words[0], "job", &id);

    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = work_wait(client, call, (int64_t)id, false, &result);
    if (json_is_object(result) && cli_flag(call, "--json"))
        show_json(result);
    return status;
}

static const struct cli_option list_options[] = {
    {"--kind", "KIND", "only of this kind: gc, check, backup and so on", 0}, {0}};

const struct cli_command cli_job_commands[] = {
    {"job ls",
     NULL,
     "lists long work, the newest first",
     list,
     {list_options, cli_remote, cli_settings}},
    {"job show", "ID", "shows how far a job is, or how it ended", show, {cli_remote, cli_settings}},
    {"job cancel", "ID", "asks a job to stop", cancel, {cli_remote, cli_settings}},
    {"job wait",
     "ID",
     "waits until a job has ended; fails unless it is done",
     wait_for,
     {cli_remote, cli_settings}},
    {0},
};
