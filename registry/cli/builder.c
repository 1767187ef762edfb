/* builder.c - the builder, which runs the scripts of builds beside the server.
 * Touches  what s2i/builder does.
 * Never    the server's settings: a builder may run as another user, elsewhere on the machine. */
#include <stdio.h>
#include <stdlib.h>

#include "registry/cli/cli.h"
#include "s2i/builder/builder.h"

static const struct cli_option builder_options[] = {
    {"--socket", "FILE", "where the server listens for builders: its builds.socket", 0},
    {"--connection", "NUMBER", "a connected descriptor instead, from the server that started us",
     0},
    {"--folder", "FOLDER", "where unpacked layers are kept", 0},
    {"--runtime", "FILE", "the OCI runtime; without it runc, then crun", 0},
    {"--slots", "NUMBER", "builds at a time; without it 2", 0},
    {"--cache-max", "BYTES", "unpacked layers that are kept; without it 20 GiB", 0},
    {"--id-base", "NUMBER", "first of the 65536 ids that containers get; without it 1000000000", 0},
    {"--scratch", "auto|disk|memory", "where builds write; without it auto", 0},
    {0},
};

/* False with a line on standard error. */
static bool read_number(const struct cli_call *call, const char *option, uint64_t most,
                        uint64_t *out)
{
    const char *text = cli_value(call, option);

    if (text == NULL || (slice_to_u64(slice_of(text), out) && *out <= most))
        return true;
    cli_usage(call, "%s takes a number up to %llu", option, (unsigned long long)most);
    return false;
}

static bool read_scratch(const struct cli_call *call, const char **out)
{
    static const char *const known[] = {"auto", "disk", "memory"};
    const char *text = cli_value(call, "--scratch");

    *out = "auto";
    for (size_t i = 0; text != NULL && i < 3; i++)
        if (slice_equal_text(slice_of(text), known[i])) {
            *out = known[i];
            return true;
        }
    if (text != NULL)
        cli_usage(call, "--scratch takes auto, disk or memory");
    return text == NULL;
}

static int run(const struct cli_call *call)
{
    uint64_t slots = 2, cache_max = 20ULL << 30, id_base = 0, connection = 0;
    struct builder_options options = {.socket = cli_value(call, "--socket"),
                                      .folder = cli_value(call, "--folder"),
                                      .runtime = cli_value(call, "--runtime")};
    struct error err = {0};

    if (!read_number(call, "--slots", 256, &slots) ||
        !read_number(call, "--cache-max", INT64_MAX, &cache_max) ||
        !read_number(call, "--id-base", 4000000000, &id_base) ||
        !read_number(call, "--connection", 1024, &connection) ||
        !read_scratch(call, &options.scratch))
        return CLI_USAGE;
    options.connection = cli_value(call, "--connection") == NULL ? -1 : (int)connection;
    if (options.folder == NULL || slots == 0 ||
        (options.socket == NULL) == (options.connection < 0))
        return cli_usage(call, "takes --folder, and one of --socket and --connection");
    options.slots = (unsigned)slots;
    options.cache_max = cache_max;
    options.id_base = (unsigned)id_base;
    if (builder_run(&options, &err) < 0)
        return cli_fail(call, CLI_FAILED, "%s%s%s", err.message, err.cause[0] != 0 ? ": " : "",
                        err.cause);
    return CLI_DONE;
}

static const struct cli_option shell_options[] = {
    {"--folder", "FOLDER",
     "of the builder; without it /var/lib/slipway/builder, as servers have it", 0},
    {0},
};

static int shell(const struct cli_call *call)
{
    struct shell_options options = {.folder = cli_value(call, "--folder"),
                                    .words = call->words + 1};
    struct error err = {0};
    uint64_t build;
    int status;

    if (!slice_to_u64(slice_of(call->words[0]), &build))
        return cli_usage(call, "takes the number of a build");
    options.build = build;
    if (options.folder == NULL)
        options.folder = "/var/lib/slipway/builder";
    if (builder_shell(&options, &status, &err) == 0)
        return status;
    return cli_fail(call,
                    err.code == ERROR_NOT_FOUND  ? CLI_NOT_FOUND
                    : err.code == ERROR_DENIED   ? CLI_FORBIDDEN
                    : err.code == ERROR_CONFLICT ? CLI_CONFLICT
                                                 : CLI_FAILED,
                    "%s%s%s", err.message, err.cause[0] != 0 ? ": " : "", err.cause);
}

const struct cli_command cli_builder_commands[] = {
    {"builder shell",
     "BUILD [COMMAND...]",
     "looks at what a failed build wrote, where it was kept (keep_failed_ms)",
     shell,
     {shell_options}},
    {"builder",
     NULL,
     "runs the scripts of builds, for a server that is told of by --socket",
     run,
     {builder_options}},
    {0},
};
