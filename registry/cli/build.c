/* build.c - build: images are built from sources, their logs followed, their ends told.
 * Touches  the server by way of client.h, standard output; folders and archives by build_source.h.
 * Never    builds here.
 *
 * A log is followed by its offset: when the connection breaks, it goes on where it stood. How a
 * build ended is the exit status; of those of s2i's own command that cannot be taken for another
 * one of ours, its numbers count (s2i 12.2). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "registry/cli/build_source.h"
#include "registry/cli/build_wait.h"
#include "registry/cli/verb.h"
#include "registry/core/fd.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"REPOSITORY", "repository"},
    {"STATE", "state"},
    {"TRIGGER", "trigger"},
    {"REF", "ref"},
    {"COMMIT", "commit"},
    {"REASON", "reason"},
    {"ASKED", "created_at"},
    {"ENDED", "finished_at"},
    {0},
};

static const struct show_column details[] = {
    {"id", "id"},
    {"repository", "repository"},
    {"state", "state"},
    {"reason", "reason"},
    {"message", "message"},
    {"ahead of it", "ahead"},
    {"trigger", "trigger"},
    {"asked by", "actor"},
    {"source", "source"},
    {"url", "url"},
    {"ref", "ref"},
    {"commit", "commit"},
    {"builder", "builder"},
    {"its digest", "builder_digest"},
    {"tags", "tags"},
    {"image", "result_digest"},
    {"new layer", SHOW_SIZE "layer_size"},
    {"log", SHOW_SIZE "log_size"},
    {"exit code", "exit_code"},
    {"kept until", "facts/kept_until"},
    {"again of", "retry_of"},
    {"asked", "created_at"},
    {"began", "started_at"},
    {"ended", "finished_at"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (call->word_count > 0)
        verb_content_path(call, &path, "/builds", 1);
    else
        buffer_append_text(&path, "/builds");
    verb_path_parameter(&path, "state", cli_value(call, "--state"));
    verb_path_parameter(&path, "ref", cli_value(call, "--ref"));
    verb_path_parameter(&path, "commit", cli_value(call, "--commit"));
    verb_path_parameter(&path, "trigger", cli_value(call, "--trigger"));
    return verb_list(call, &path, columns);
}

static const struct verb_things builds = {"/builds", false, columns, details, "build"};

static const struct show_column told[] = {
    {"TOLD", "kind"},       {"HOST", "host"},
    {"OF", "of"},           {"STATE", "state"},
    {"TRIES", "tries"},     {"STATUS", "status"},
    {"LAST", "tried_at"},   {"NEXT", "next_at"},
    {"PROBLEM", "problem"}, {0},
};

/* Who else is told of it stands below, as a table. */
static int show(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *build = NULL, *messages = json_object();
    uint64_t id;
    int status = verb_number(call, call->words[0], "build", &id);

    verb_things_path(call, &builds, &path);
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = client_send(client, "GET", path.at, NULL, &build);
    if (status == CLI_DONE)
        status = show_one(call, build, details);
    json_t *items = json_object_get(build, "messages");
    if (status != CLI_DONE || cli_flag(call, "--json") || json_array_size(items) == 0)
        return status;
    json_object_set(messages, "items", items);
    putchar('\n');
    return show_list(call, messages, told);
}

static int cancel(const struct cli_call *call)
{
    return verb_things_post(call, &builds, ":cancel", "it will stop");
}

/* --- what is started --- */

/* --detach: the build as it is now; else its log, and its end. */
static int started(const struct cli_call *call, struct client *client, const json_t *build)
{
    int64_t id = json_integer_value(json_object_get(build, "id"));
    OWNED(json_drop) json_t *end = NULL;

    if (cli_flag(call, "--detach")) {
        if (cli_flag(call, "--json"))
            return show_json(build);
        printf("%" PRId64 "\n", id);
        return CLI_DONE;
    }
    fprintf(stderr, "build %" PRId64 "; it goes on when this command ends\n", id);
    int status = build_wait(call, client, id, !cli_flag(call, "--json"), 0, &end);
    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        show_json(end);
    return build_ended(call, end);
}

static int retry(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *build = NULL;
    uint64_t id;
    int status = verb_number(call, call->words[0], "build", &id);

    verb_things_path(call, &builds, &path);
    buffer_append_text(&path, ":retry");
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = client_send(client, "POST", path.at, NULL, &build);
    return status == CLI_DONE ? started(call, client, build) : status;
}

static int check_sources(const struct cli_call *call)
{
    int count = (cli_value(call, "--source") != NULL) + (cli_value(call, "--archive") != NULL) +
                (cli_value(call, "--git") != NULL) + (cli_value(call, "--rebuild") != NULL) +
                cli_flag(call, "--none");

    if (count > 1)
        return cli_usage(call, "give one of --source, --archive, --git, --rebuild and --none");
    return CLI_DONE;
}

/* Options go with an archive in the URL, which logs show. */
static int send_archive(const struct cli_call *call, struct client *client, struct buffer *path,
                        const json_t *options, json_t **answer)
{
    const char *folder = cli_value(call, "--source"), *type = "application/x-tar";
    OWNED(memory_drop) char *text = json_dumps(options, JSON_COMPACT);
    OWNED(fd_drop) int fd = -1;
    uint64_t size = 0;

    if (json_object_get(options, "secret_env") != NULL)
        return cli_usage(call, "secret variables go with an archive only when they are configured: "
                               "slipway build config set");
    int status = folder != NULL
                     ? build_folder_pack(call, folder, &fd, &size)
                     : build_archive_open(call, cli_value(call, "--archive"), &fd, &size, &type);
    if (status != CLI_DONE)
        return status;
    verb_path_parameter(path, "options", text);
    buffer_append(path, "", 1);
    return client_upload(client, path->at, type, fd, size, answer);
}

/* What was asked for, with this parameter beside. */
static int ask(const struct cli_call *call, struct client *client, const char *parameter,
               json_t **answer)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object(), *options = json_object();
    int status = check_sources(call);

    if (status == CLI_DONE)
        status = build_options_read(call, options);
    if (status != CLI_DONE)
        return status;
    verb_content_path(call, &path, "/builds", 1);
    verb_path_parameter(&path, parameter, parameter == NULL ? NULL : "true");
    if (cli_value(call, "--source") != NULL || cli_value(call, "--archive") != NULL)
        return send_archive(call, client, &path, options, answer);
    json_object_set(body, "options", options);
    verb_set_text(call, body, "--commit", "commit");
    verb_set_text(call, body, "--rebuild", "rebuild");
    if (cli_flag(call, "--none"))
        json_object_set_new(body, "source", json_string("none"));
    buffer_append(&path, "", 1);
    return client_send(client, "POST", path.at, body, answer);
}

static int run(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *build = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = ask(call, client, NULL, &build);
    return status == CLI_DONE ? started(call, client, build) : status;
}

/* --- what would be done --- */

/* The answer of a plan is 200 even when there is none: its error says why. */
static int planned(const struct cli_call *call, const char *parameter, json_t **answer)
{
    OWNED(client_close) struct client *client = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = ask(call, client, parameter, answer);
    const json_t *fault = json_object_get(*answer, "error");
    if (status != CLI_DONE || fault == NULL)
        return status;
    return cli_fail(call, CLI_FAILED, "%s: %s", json_string_value(json_object_get(fault, "reason")),
                    json_string_value(json_object_get(fault, "message")));
}

static int plan(const struct cli_call *call)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = planned(call, "plan", &answer);

    return status == CLI_DONE ? show_json(answer) : status;
}

static int usage(const struct cli_call *call)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = planned(call, "usage", &answer);

    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(answer);
    build_log_show(json_string_value(json_object_get(answer, "usage")));
    return CLI_DONE;
}

static int dockerfile(const struct cli_call *call)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = planned(call, "dockerfile", &answer);

    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(answer);
    build_log_show(json_string_value(json_object_get(answer, "dockerfile")));
    return CLI_DONE;
}

/* The one line of a plan that says which builder. */
static int detect(const struct cli_call *call)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = planned(call, "plan", &answer);

    if (status != CLI_DONE)
        return status;
    const json_t *builder = json_object_get(answer, "builder");
    if (cli_flag(call, "--json"))
        return show_json(builder);
    const char *name = json_is_object(builder) ? json_string_value(json_object_get(builder, "name"))
                                               : json_string_value(builder);
    puts(name == NULL ? "" : name);
    return CLI_DONE;
}

/* --- the same again? (15.2) --- */

static int differences(const struct cli_call *call, struct client *client, uint64_t one,
                       int64_t other)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *answer = NULL;
    size_t i;
    json_t *line;

    buffer_print(&path, "/builds/%" PRIu64 "/differences?with=%" PRId64, one, other);
    buffer_append(&path, "", 1);
    int status = client_send(client, "GET", path.at, NULL, &answer);
    if (status != CLI_DONE)
        return status;
    bool same = json_is_true(json_object_get(answer, "same"));
    if (cli_flag(call, "--json"))
        show_json(answer);
    json_array_foreach(json_object_get(answer, "differences"), i, line) {
        if (!cli_flag(call, "--json"))
            build_log_show(json_string_value(line));
    }
    fputs(same ? "the same image came out again\n" : "another image came out\n", stderr);
    return same ? CLI_DONE : CLI_FAILED;
}

static int verify(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *build = NULL, *end = NULL;
    uint64_t id;
    int status = verb_number(call, call->words[0], "build", &id);

    verb_things_path(call, &builds, &path);
    buffer_append_text(&path, ":verify");
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = client_send(client, "POST", path.at, NULL, &build);
    if (status != CLI_DONE)
        return status;
    int64_t other = json_integer_value(json_object_get(build, "id"));
    fprintf(stderr, "build %" PRId64 " makes it again\n", other);
    status = build_wait(call, client, other, false, 0, &end);
    if (status == CLI_DONE)
        status = build_ended(call, end);
    return status == CLI_DONE ? differences(call, client, id, other) : status;
}

/* --- logs --- */

static int logs(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *end = NULL;
    uint64_t id;
    int status = verb_number(call, call->words[0], "build", &id);

    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status != CLI_DONE)
        return status;
    if (!cli_flag(call, "--follow"))
        return build_log_print_now(call, client, (int64_t)id, cli_flag(call, "--timestamps"));
    if (cli_flag(call, "--timestamps"))
        return cli_usage(call, "--timestamps does not go with --follow");
    return build_wait(call, client, (int64_t)id, true, 0, &end);
}

/* --- the builder --- */

static const struct show_column health[] = {
    {"builds are on", "enabled"}, {"can build", "able"},
    {"problem", "problem"},       {"weakness", "weakness"},
    {"builders", "builders"},     {"rights", "level"},
    {"slots", "slots"},           {"running", "running"},
    {"waiting", "waiting"},       {0},
};

static int status(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/system/builds");
    return verb_show(call, &path, health);
}

/* --- tables --- */

static const struct cli_option list_options[] = {
    {"--state", "STATE", "New, Pending, Running, Complete, Failed, Error or Cancelled", 0},
    {"--ref", "REF", "only of this ref", 0},
    {"--commit", "COMMIT", "only of this commit", 0},
    {"--trigger", "WORD", "only started by push, api, webhook, retry, verify or image", 0},
    {0},
};
static const struct cli_option sources[] = {
    {"--source", "DIR", "sends this folder, without .git", 's'},
    {"--archive", "FILE", "sends this tar, tar.gz or zip", 0},
    {"--none", NULL, "there is no source: the scripts alone", 0},
    {"--commit", "ID", "exactly this commit of --git", 0},
    {"--rebuild", "TAG", "what the labels of this tag's image say", 0},
    {0},
};
static const struct cli_option detach[] = {
    {"--detach", NULL, "does not wait: prints the id of the new build", 'd'}, {0}};
static const struct cli_option log_options[] = {
    {"--follow", NULL, "goes on until the build ends", 'f'},
    {"--timestamps", NULL, "each line after its time and stream", 0},
    {0},
};
const struct cli_command cli_build_commands[] = {
    {"build run",
     "REPOSITORY",
     "builds an image, and shows the log; exit status 0: it was built",
     run,
     {detach, sources, build_options, cli_remote, cli_settings}},
    {"build plan",
     "REPOSITORY",
     "shows what a build would do",
     plan,
     {sources, build_options, cli_remote, cli_settings}},
    {"build dockerfile",
     "REPOSITORY",
     "prints a Dockerfile that builds the same elsewhere",
     dockerfile,
     {sources, build_options, cli_remote, cli_settings}},
    {"build detect",
     "REPOSITORY",
     "shows which builder a source would be built with",
     detect,
     {sources, build_options, cli_remote, cli_settings}},
    {"build usage",
     "REPOSITORY",
     "shows what its builder says of itself",
     usage,
     {sources, build_options, cli_remote, cli_settings}},
    {"build ls",
     "[REPOSITORY]",
     "lists builds, the newest first",
     list,
     {list_options, cli_remote, cli_settings}},
    {"build show", "ID", "shows a build", show, {cli_remote, cli_settings}},
    {"build logs",
     "ID",
     "prints the log of a build",
     logs,
     {log_options, cli_remote, cli_settings}},
    {"build status",
     NULL,
     "shows whether images can be built here now, and why not",
     status,
     {cli_remote, cli_settings}},
    {"build cancel", "ID", "asks a build to stop", cancel, {cli_remote, cli_settings}},
    {"build retry",
     "ID",
     "builds the same again, and shows the log",
     retry,
     {detach, cli_remote, cli_settings}},
    {"build verify",
     "ID",
     "builds the same again beside it, and shows what differs",
     verify,
     {cli_remote, cli_settings}},
    {0},
};
