/* quota.c - quota and usage: limits in bytes, and what is held.
 * Touches  the server by way of client.h.
 * Never    counts by itself. */
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"KIND", "kind"},
    {"SUBJECT", "subject"},
    {"BYTES", SHOW_SIZE "bytes"},
    {"USED", SHOW_SIZE "used"},
    {"RESERVED", SHOW_SIZE "reserved"},
    {0},
};
static const struct show_column totals[] = {
    {"repositories", "repositories"},
    {"manifests", "manifests"},
    {"tags", "tags"},
    {"blobs", "blobs"},
    {"bytes", SHOW_SIZE "bytes"},
    {"if nothing were shared", SHOW_SIZE "linked_bytes"},
    {"disk", SHOW_SIZE "disk_size"},
    {"disk free", SHOW_SIZE "disk_free"},
    {"counted", "counted_at"},
    {0},
};
static const struct show_column details[] = {
    {"manifests", "manifests"},
    {"tags", "tags"},
    {"blobs", "blobs"},
    {"bytes", SHOW_SIZE "bytes"},
    {"not shared with others", SHOW_SIZE "own_bytes"},
    {"waiting for undo", SHOW_SIZE "set_aside_bytes"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/quotas");
    return verb_list(call, &path, columns);
}

static int set_bytes(const struct cli_call *call, json_t *body, const char *text)
{
    uint64_t bytes;

    if (!config_size_parse(slice_of(text), &bytes))
        return cli_usage(call, "SIZE is a number with a unit: 500MiB, 10GiB");
    json_object_set_new(body, "bytes", json_integer((json_int_t)bytes));
    return CLI_DONE;
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    bool account = cli_flag(call, "--account");

    json_object_set_new(body, "kind", json_string(account ? "account" : "repositories"));
    json_object_set_new(body, "subject", json_string(call->words[0]));
    int status = set_bytes(call, body, call->words[1]);
    if (status != CLI_DONE)
        return status;
    buffer_append_text(&path, "/quotas");
    return verb_send(call, "POST", &path, TAKE(body), "set", columns);
}

static void path_of(const struct cli_call *call, struct buffer *path)
{
    buffer_append_text(path, "/quotas/");
    verb_path_word(path, call->words[0], false);
}

static int change(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();

    int status = set_bytes(call, body, call->words[1]);
    if (status != CLI_DONE)
        return status;
    path_of(call, &path);
    return verb_send(call, "PATCH", &path, TAKE(body), "changed", columns);
}

static int delete (const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "take the quota %s away?", call->words[0]))
        return CLI_USAGE;
    path_of(call, &path);
    return verb_send(call, "DELETE", &path, NULL, "taken away", NULL);
}

static int usage(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (call->word_count == 0) {
        buffer_append_text(&path, "/usage");
        return verb_show(call, &path, totals);
    }
    buffer_append_text(&path, "/repos/");
    verb_path_word(&path, call->words[0], true);
    buffer_append_text(&path, "/-/usage");
    return verb_show(call, &path, details);
}

static const struct show_column each[] = {
    {"NAME", "name"},   {"TAGS", "tags"},     {"BLOBS", "blobs"},
    {"BYTES", "bytes"}, {"OWN", "own_bytes"}, {0},
};

static int usage_list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/usage/repos");
    verb_path_parameter(&path, "q", cli_value(call, "--search"));
    return verb_list(call, &path, each);
}

static const struct cli_option usage_options[] = {VERB_SEARCH, {0}};
static const struct cli_option create_options[] = {
    {"--account", NULL, "SUBJECT is an account: what it linked first", 0},
    {0},
};

const struct cli_command cli_quota_commands[] = {
    {"quota ls", NULL, "lists quotas, and what is used of them", list, {cli_remote, cli_settings}},
    {"quota create",
     "SUBJECT SIZE",
     "limits repositories (app, team/*, *) or an account to SIZE",
     create,
     {create_options, cli_remote, cli_settings}},
    {"quota set", "ID SIZE", "changes a limit", change, {cli_remote, cli_settings}},
    {"quota rm", "ID", "takes a limit away", delete, {cli_yes, cli_remote, cli_settings}},
    {"usage ls",
     NULL,
     "what each repository holds",
     usage_list,
     {usage_options, cli_remote, cli_settings}},
    {"usage",
     "[REPOSITORY]",
     "what the registry, or a repository, holds",
     usage,
     {cli_remote, cli_settings}},
    {0},
};
