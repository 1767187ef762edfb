/* events.c - events: what happens in the registry, a line each, for as long as it is wanted.
 * Touches  the server by way of client.h, standard output and error.
 * Never    gives up once it was connected: it comes again, and says when something was missed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "registry/cli/sse.h"
#include "registry/cli/verb.h"

enum { PAUSE_MIN_MS = 200, PAUSE_MAX_MS = 5000 };

static const struct show_column content[] = {
    {"AT", "at"},
    {"EVENT", "event"},
    {"REPOSITORY", "repository"},
    {"TAG", "tag"},
    {"DIGEST", "digest"},
    {"CAUSE", "cause"},
    {"BY", "actor"},
    {0},
};
static const struct show_column build[] = {
    {"AT", "at"},       {"EVENT", "event"}, {"REPOSITORY", "repository"}, {"BUILD", "build"},
    {"STATE", "state"}, {"STAGE", "stage"}, {"REASON", "reason"},         {0},
};
static const struct show_column job[] = {
    {"AT", "at"},       {"EVENT", "event"}, {"KIND", "kind"},       {"JOB", "job"},
    {"STATE", "state"}, {"PHASE", "phase"}, {"SO FAR", "progress"}, {0},
};

static const struct show_column *columns_of(const char *name)
{
    if (strcmp(name, "build") == 0)
        return build;
    return strcmp(name, "job") == 0 ? job : content;
}

struct output {
    const struct cli_call *call;
    uint64_t pause_ms; /* until it is tried again */
};

static void print(const struct cli_call *call, const json_t *event, const char *name)
{
    if (cli_flag(call, "--json")) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
    } else if (strcmp(name, "gap") != 0) {
        show_line(event, columns_of(name));
    }
    if (strcmp(name, "gap") == 0)
        fputs("some events were missed\n", stderr);
    if (fflush(stdout) != 0) /* nobody reads any more */
        exit(CLI_FAILED);
}

static void take(void *arg, struct slice name, struct slice data)
{
    struct output *output = arg;
    OWNED(json_drop) json_t *event = json_loadb(data.at, data.size, 0, NULL);
    OWNED(memory_drop) char *kind = memory_text(name);

    output->pause_ms = PAUSE_MIN_MS;
    if (!json_is_object(event))
        return;
    json_object_set_new(event, "event", json_string(kind));
    print(output->call, event, kind);
}

static void feed(void *sse, struct slice bytes)
{
    sse_feed(sse, bytes);
}

static void path_print(const struct cli_call *call, const struct sse *sse, struct buffer *path)
{
    OWNED(memory_drop) char *last = memory_text(buffer_slice(&sse->last));

    buffer_append_text(path, "/events");
    verb_path_parameter(path, "kind", cli_value(call, "--kind"));
    verb_path_parameter(path, "repository", cli_value(call, "--repository"));
    verb_path_parameter(path, "recent", cli_flag(call, "--recent") ? "true" : NULL);
    verb_path_parameter(path, "once", cli_flag(call, "--once") ? "true" : NULL);
    verb_path_parameter(path, "last_event_id", last[0] == 0 ? NULL : last);
    buffer_append(path, "", 1);
}

static void pause_for(uint64_t *ms)
{
    const struct timespec wait = {.tv_sec = (time_t)(*ms / 1000),
                                  .tv_nsec = (long)(*ms % 1000) * 1000000};

    nanosleep(&wait, NULL);
    *ms = *ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : *ms * 2;
}

/* One connection. False: it was the last one, for *status. */
static bool follow(struct client *client, const struct cli_call *call, struct sse *sse, int *status)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    bool broken = false, again = sse->last.size > 0;

    path_print(call, sse, &path);
    sse_restart(sse);
    client_quiet(client, again);
    *status = client_follow(client, path.at, feed, sse, &broken);
    if (broken && sse->last.size == 0)
        *status = cli_fail(call, CLI_UNREACHABLE, "the server does not answer");
    if (again && *status == CLI_UNREACHABLE)
        return true;
    return *status == CLI_DONE && (broken || !cli_flag(call, "--once"));
}

static int events(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    struct output output = {call, PAUSE_MIN_MS};
    OWNED(sse_drop) struct sse sse = {.take = take, .arg = &output};
    int status = client_open(&client, call);

    while (status == CLI_DONE && follow(client, call, &sse, &status)) {
        status = CLI_DONE;
        pause_for(&output.pause_ms);
    }
    return status;
}

static const struct cli_option options[] = {
    {"--kind", "KIND", "only these, with commas between them: push, delete, build, job", 0},
    {"--repository", "PATTERN", "only of repositories of this name, as in team/app or 'team/*'", 0},
    {"--recent", NULL, "begins with what the server still knows", 0},
    {"--once", NULL, "ends with what has happened until now", 0},
    {0},
};

const struct cli_command cli_events_commands[] = {
    {"events",
     NULL,
     "what happens, a line each, until it is interrupted; with --json a line of JSON",
     events,
     {options, cli_remote, cli_settings}},
    {0},
};
