/* session.c - session: browsers that are signed in.
 * Touches  the server by way of client.h.
 * Never    sees a cookie. */
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"ACCOUNT", "account"},
    {"SINCE", "created_at"},
    {"USED", "used_at"},
    {"FROM", "remote"},
    {"BROWSER", "agent"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    const char *user = cli_value(call, "--of-user");

    if (user != NULL && cli_flag(call, "--me"))
        return cli_usage(call, "--of-user and --me exclude each other");
    buffer_append_text(&path, cli_flag(call, "--me") ? "/me" : "");
    if (user != NULL) {
        buffer_append_text(&path, "/users/");
        verb_path_word(&path, user, false);
    }
    buffer_append_text(&path, "/sessions");
    return verb_list(call, &path, columns);
}

static int delete (const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "end the session %s?", call->words[0]))
        return CLI_USAGE;
    buffer_append_text(&path, cli_flag(call, "--me") ? "/me/sessions/" : "/sessions/");
    verb_path_word(&path, call->words[0], false);
    return verb_send(call, "DELETE", &path, NULL, "ended", NULL);
}

static const struct cli_option list_options[] = {
    {"--of-user", "NAME", "those of a user", 0}, {"--me", NULL, "only your own", 0}, {0}};
static const struct cli_option rm_options[] = {
    {"--me", NULL, "one of your own", 0}, {"--yes", NULL, "does it without asking", 'y'}, {0}};

const struct cli_command cli_session_commands[] = {
    {"session ls",
     NULL,
     "lists browsers that are signed in",
     list,
     {list_options, cli_remote, cli_settings}},
    {"session rm", "ID", "signs a browser out", delete, {rm_options, cli_remote, cli_settings}},
    {0},
};
