/* api.c - api: one raw request to the management API.
 * Touches  the server by way of client.h; the file of --data.
 * Never    interprets the answer. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "registry/cli/client.h"

enum { BODY_MAX = 1 << 20 };

static int read_body(const struct cli_call *call, const char *file, struct buffer *out)
{
    bool input = strcmp(file, "-") == 0;
    int fd = input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t got = -1;

    while (fd >= 0 && out->size <= BODY_MAX && (got = read(fd, piece, sizeof(piece))) > 0)
        buffer_append(out, piece, (size_t)got);
    int problem = errno;
    if (fd >= 0 && !input)
        close(fd);
    if (out->size > BODY_MAX)
        return cli_fail(call, CLI_FAILED, "%s is longer than %d bytes", file, BODY_MAX);
    if (got < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", file, strerror(problem));
    return CLI_DONE;
}

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
    int status = file == NULL ? CLI_DONE : read_body(call, file, &body);
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
