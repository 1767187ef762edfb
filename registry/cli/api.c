/* api.c - api: one raw request to the management API.
 * Touches  the server by way of client.h; the file of --data.
 * Never    interprets the answer. */
#include <ctype.h>

#include "registry/cli/verb.h"

static int raw(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    const char *method = call->words[0], *path = call->words[1], *file = cli_value(call, "--data");

    for (const char *at = method; *at != 0; at++)
        if (!isupper((unsigned char)*at))
            return cli_usage(call, "%s is no method such as GET or PATCH", method);
    if (path[0] != '/')
        return cli_usage(call, "the path begins with a slash, as in /users");
    int status = file == NULL ? CLI_DONE : verb_read_file(call, file, &body);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    return status == CLI_DONE ? client_raw(client, method, path, buffer_slice(&body)) : status;
}

static const struct cli_option options[] = {
    {"--data", "FILE", "the body, JSON; - for standard input", 'd'}, {0}};

const struct cli_command cli_api_commands[] = {
    {"api",
     "METHOD PATH",
     "one request below /api/v1; prints whatever is answered",
     raw,
     {options, cli_remote, cli_settings}},
    {0},
};
