/* audit.c - audit: who changed what, and who was refused.
 * Touches  the server by way of client.h.
 * Never    changes anything. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "registry/cli/verb.h"

enum { SHOWN = 50, PAUSE_S = 1 };

static const struct show_column columns[] = {
    {"AT", "at"},           {"ACTOR", "actor"}, {"ACTION", "action"},   {"TARGET", "target"},
    {"OUTCOME", "outcome"}, {"FROM", "remote"}, {"REPEATS", "repeats"}, {0},
};

static void path_of(const struct cli_call *call, struct buffer *path)
{
    buffer_append_text(path, "/audit");
    verb_path_parameter(path, "actor", cli_value(call, "--actor"));
    verb_path_parameter(path, "action", cli_value(call, "--action"));
    verb_path_parameter(path, "target", cli_value(call, "--target"));
}

/* The newest ones, newest first; --all: every one there is. */
static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *events = NULL;
    int status = client_open(&client, call);

    if (status != CLI_DONE)
        return status;
    path_of(call, &path);
    verb_path_parameter(&path, "since", cli_value(call, "--since"));
    verb_path_parameter(&path, "until", cli_value(call, "--until"));
    if (!cli_flag(call, "--all"))
        buffer_print(&path, "%slimit=%d", memchr(path.at, '?', path.size) == NULL ? "?" : "&",
                     SHOWN);
    buffer_append(&path, "", 1);
    status = cli_flag(call, "--all") ? client_list(client, path.at, &events)
                                     : client_send(client, "GET", path.at, NULL, &events);
    return status == CLI_DONE ? show_list(call, events, columns) : status;
}

/* Oldest first, a line each; *last becomes the newest id. */
static void print_events(const struct cli_call *call, const json_t *events, json_int_t *last)
{
    const json_t *items = json_object_get(events, "items");

    for (size_t i = json_array_size(items); i-- > 0;) {
        const json_t *event = json_array_get(items, i);
        json_int_t id = json_integer_value(json_object_get(event, "id"));
        *last = id > *last ? id : *last;
        if (cli_flag(call, "--json")) {
            json_dumpf(event, stdout, JSON_COMPACT);
            putchar('\n');
        } else {
            show_line(event, columns);
        }
    }
    fflush(stdout);
}

static int tail(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    json_int_t last = 0;
    int status = client_open(&client, call);

    for (bool first = true; status == CLI_DONE; first = false) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        OWNED(json_drop) json_t *events = NULL;
        path_of(call, &path);
        buffer_append_text(&path, memchr(path.at, '?', path.size) == NULL ? "?" : "&");
        if (first)
            buffer_print(&path, "limit=%d", SHOWN);
        else
            buffer_print(&path, "after=%" JSON_INTEGER_FORMAT, last);
        buffer_append(&path, "", 1);
        status = first ? client_send(client, "GET", path.at, NULL, &events)
                       : client_list(client, path.at, &events);
        if (status != CLI_DONE)
            break;
        print_events(call, events, &last);
        if (!cli_flag(call, "--follow"))
            break;
        nanosleep(&(struct timespec){.tv_sec = PAUSE_S}, NULL);
    }
    return status;
}

static const struct cli_option list_options[] = {
    {"--actor", "NAME", "only what this account did", 0},
    {"--action", "ACTION", "only this, as in user.create or 'user.*'", 0},
    {"--target", "TARGET", "only what was done to this, as in user/ana", 0},
    {"--since", "TIME", "not older, as in 2027-01-31T00:00:00Z", 0},
    {"--until", "TIME", "not younger", 0},
    {"--all", NULL, "all there are, not only the newest", 0},
    {0},
};
static const struct cli_option tail_options[] = {
    {"--actor", "NAME", "only what this account did", 0},
    {"--action", "ACTION", "only this, as in user.create or 'user.*'", 0},
    {"--target", "TARGET", "only what was done to this, as in user/ana", 0},
    {"--follow", NULL, "goes on with what happens from now on", 'f'},
    {0},
};

const struct cli_command cli_audit_commands[] = {
    {"audit ls",
     NULL,
     "lists what was changed or refused, newest first",
     list,
     {list_options, cli_remote, cli_settings}},
    {"audit tail",
     NULL,
     "the newest last; -f goes on; with --json a line of JSON each",
     tail,
     {tail_options, cli_remote, cli_settings}},
    {0},
};
