/* grant.c - grant: who may do what with which repositories.
 * Touches  the server by way of client.h.
 * Never    decides it. */
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"ACCOUNT", "account"},
    {"KIND", "kind"},
    {"PATTERN", "pattern"},
    {"ACTIONS", "actions"},
    {"LEVEL", "level"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/grants");
    verb_path_parameter(&path, "account", cli_value(call, "--account"));
    verb_path_parameter(&path, "repository", cli_value(call, "--repository"));
    verb_path_parameter(&path, "within", cli_value(call, "--within"));
    return verb_list(call, &path, columns);
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    json_object_set_new(body, "account", json_string(call->words[0]));
    json_object_set_new(body, "pattern", json_string(call->words[1]));
    verb_set_rights(body, call->words[2]);
    buffer_append_text(&path, "/grants");
    return verb_send(call, "POST", &path, body, "granted", columns);
}

static int delete (const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    uint64_t id;
    int status = verb_number(call, call->words[0], "grant", &id);

    if (status != CLI_DONE)
        return status;
    if (!prompt_agreed(call, "take the grant %s away?", call->words[0]))
        return CLI_USAGE;
    buffer_append_text(&path, "/grants/");
    verb_path_word(&path, call->words[0], false);
    return verb_send(call, "DELETE", &path, NULL, "taken away", NULL);
}

static const struct cli_option list_options[] = {
    {"--account", "NAME", "only of this account", 0},
    {"--repository", "NAME", "only those that reach this repository", 0},
    {"--within", "PATTERN", "only those no wider than this", 0},
    {0},
};

const struct cli_command cli_grant_commands[] = {
    {"grant ls", NULL, "lists grants", list, {list_options, cli_remote, cli_settings}},
    {"grant create",
     "ACCOUNT PATTERN RIGHTS",
     "lets an account read, write, maintain or admin a PATTERN (app, team/*, *); or "
     "pull,push,delete",
     create,
     {cli_remote, cli_settings}},
    {"grant rm", "ID", "takes a grant away", delete, {cli_yes, cli_remote, cli_settings}},
    {0},
};
