/* token.c - token: secrets that stand for an account instead of its password.
 * Touches  the server by way of client.h.
 * Never    stores the token it shows. */
#include <string.h>

#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"ACCOUNT", "account"},
    {"LABEL", "label"},
    {"TOKEN", "hint"},
    {"SCOPES", "scopes"},
    {"EXPIRES", "expires_at"},
    {"LAST USED", "last_used_at"},
    {"FROM", "last_used_from"},
    {"DISABLED", "disabled"},
    {0},
};

/* Whoever signed in by --url has tokens; root at the admin socket looks after everybody's. */
static bool is_me(const struct cli_call *call)
{
    return cli_value(call, "--url") != NULL && !cli_flag(call, "--all");
}

static void path_of(const struct cli_call *call, struct buffer *path)
{
    buffer_append_text(path, is_me(call) ? "/me/tokens/" : "/tokens/");
    verb_path_word(path, call->words[0], false);
}

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    const char *user = cli_value(call, "--of-user"), *robot = cli_value(call, "--of-robot");

    if (user != NULL && robot != NULL)
        return cli_usage(call, "--of-user and --of-robot exclude each other");
    if (user != NULL || robot != NULL) {
        buffer_append_text(&path, user != NULL ? "/users/" : "/robots/");
        verb_path_word(&path, user != NULL ? user : robot, false);
    } else if (is_me(call)) {
        buffer_append_text(&path, "/me");
    }
    buffer_append_text(&path, "/tokens");
    return verb_list(call, &path, columns);
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    const char *robot = cli_value(call, "--robot");
    int status = verb_set_expiry(call, body, "--expires", "expires_at");

    if (status != CLI_DONE)
        return status;
    if (robot == NULL && cli_value(call, "--url") == NULL)
        return cli_usage(call,
                         "a token of your own needs --url and --user; one of a robot --robot");
    json_object_set_new(body, "label", json_string(call->words[0]));
    verb_set_text(call, body, "--scopes", "scopes");
    buffer_append_text(&path, robot == NULL ? "/me" : "/robots/");
    if (robot != NULL)
        verb_path_word(&path, robot, false);
    buffer_append_text(&path, "/tokens");
    return verb_send_secret(call, "POST", &path, TAKE(body));
}

static int rotate(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    int status = verb_set_overlap(call, body);

    if (status != CLI_DONE)
        return status;
    path_of(call, &path);
    buffer_append_text(&path, ":rotate");
    return verb_send_secret(call, "POST", &path, TAKE(body));
}

static int disable(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/tokens/");
    verb_path_word(&path, call->words[0], false);
    buffer_append_text(&path, ":disable");
    return verb_send(call, "POST", &path, NULL, "disabled", NULL);
}

static int delete (const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "delete the token %s?", call->words[0]))
        return CLI_USAGE;
    path_of(call, &path);
    return verb_send(call, "DELETE", &path, NULL, "deleted", NULL);
}

static const struct cli_option list_options[] = {
    {"--all", NULL, "everybody's, not only your own", 0},
    {"--of-user", "NAME", "those of a user", 0},
    {"--of-robot", "NAME", "those of a robot", 0},
    {0},
};
static const struct cli_option create_options[] = {
    {"--robot", "NAME", "a token of this robot, not of your own", 0},
    {"--scopes", "SCOPES", "'repository:team/app:pull api'; without it all the account may", 0},
    {"--expires", "WHEN", "12h, never, 2027-01-31T00:00:00Z; without it after 90d", 0},
    {0},
};
static const struct cli_option rotate_options[] = {
    {"--all", NULL, "of anybody, not only your own", 0}, VERB_OVERLAP, {0}};
static const struct cli_option rm_options[] = {
    {"--all", NULL, "of anybody, not only your own", 0},
    {"--yes", NULL, "does it without asking", 'y'},
    {0},
};

const struct cli_command cli_token_commands[] = {
    {"token ls", NULL, "lists tokens", list, {list_options, cli_remote, cli_settings}},
    {"token create",
     "LABEL",
     "prints a new token, once",
     create,
     {create_options, cli_remote, cli_settings}},
    {"token rotate",
     "ID",
     "prints a successor, once; the old one ends, or goes on for --overlap",
     rotate,
     {rotate_options, cli_remote, cli_settings}},
    {"token disable", "ID", "switches a token off", disable, {cli_remote, cli_settings}},
    {"token rm", "ID", "deletes a token", delete, {rm_options, cli_remote, cli_settings}},
    {0},
};
