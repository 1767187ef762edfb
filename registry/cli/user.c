/* user.c - user: the people of a server.
 * Touches  the server by way of client.h.
 * Never    a password on the command line. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"NAME", "name"},
    {"ROLE", "role"},
    {"DISABLED", "disabled"},
    {"LAST LOGIN", "last_login_at"},
    {"EXPIRES", "expires_at"},
    {"DESCRIPTION", "description"},
    {0},
};

static const struct show_column details[] = {
    {"name", "name"},
    {"role", "role"},
    {"description", "description"},
    {"disabled", "disabled"},
    {"password file", "external"},
    {"created", "created_at"},
    {"expires", "expires_at"},
    {"last login", "last_login_at"},
    {"password changed", "password_changed_at"},
    {0},
};

static const struct verb_things users = {"/users", false, columns, details, NULL};

static int list(const struct cli_call *call)
{
    return verb_things_list(call, &users);
}

static int show(const struct cli_call *call)
{
    return verb_things_show(call, &users);
}

/* Of the account, not of who signs in: that one is --password-file. */
static int set_password(const struct cli_call *call, json_t *body, const char *member)
{
    OWNED(prompt_wipe) char password[PROMPT_SECRET_MAX + 1];
    int status = prompt_password(call, "--new-password-file", "new password", true, password);

    if (status == CLI_DONE)
        json_object_set_new(body, member, json_string(password));
    return status;
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    bool none = cli_flag(call, "--no-password");

    if (none && cli_value(call, "--new-password-file") != NULL)
        return cli_usage(call, "--no-password and --new-password-file exclude each other");
    json_object_set_new(body, "name", json_string(call->words[0]));
    verb_set_text(call, body, "--role", "role");
    verb_set_text(call, body, "--description", "description");
    int status = verb_set_expiry(call, body, "--expires", "expires_at");
    if (status == CLI_DONE && !none)
        status = set_password(call, body, "password");
    if (status != CLI_DONE)
        return status;
    buffer_append_text(&path, "/users");
    return verb_send(call, "POST", &path, TAKE(body), "created", NULL);
}

static int change(const struct cli_call *call)
{
    OWNED(json_drop) json_t *body = json_object();

    verb_set_text(call, body, "--role", "role");
    verb_set_text(call, body, "--description", "description");
    int status = verb_set_expiry(call, body, "--expires", "expires_at");
    if (status != CLI_DONE)
        return status;
    return verb_things_change(call, &users, TAKE(body), "changed");
}

/* Whoever signs in says the present one again: a browser that was left open is not enough. */
static int own_password(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *body = json_object();
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = set_password(call, body, "new");
    if (status != CLI_DONE)
        return status;
    json_object_set_new(body, "current", json_string(client_password(client)));
    status = client_send(client, "PUT", "/me/password", body, NULL);
    if (status == CLI_DONE)
        fputs("changed\n", stderr);
    return status;
}

static int password(const struct cli_call *call)
{
    OWNED(json_drop) json_t *body = json_object();
    const char *name = call->words[0], *self = cli_value(call, "--user");

    if (name == NULL && self == NULL)
        return cli_usage(call, "your own password needs --url and --user; another's a NAME");
    if (name == NULL || (self != NULL && strcmp(name, self) == 0))
        return own_password(call);
    int status = set_password(call, body, "password");
    if (status != CLI_DONE)
        return status;
    return verb_things_change(call, &users, TAKE(body),
                              "changed; sessions and refresh tokens have ended");
}

static int disable(const struct cli_call *call)
{
    return verb_things_post(call, &users, ":disable", "disabled");
}

static int enable(const struct cli_call *call)
{
    return verb_things_post(call, &users, ":enable", "enabled");
}

static int delete (const struct cli_call *call)
{
    if (!prompt_agreed(call, "delete the user %s, with all tokens, sessions and grants?",
                       call->words[0]))
        return CLI_USAGE;
    return verb_things_delete(call, &users);
}

static const struct cli_option list_options[] = {VERB_SEARCH, {0}};
static const struct cli_option create_options[] = {
    {"--role", "ROLE", "user (without it), admin, operator or auditor", 0},
    {"--new-password-file", "FILE", "the user's password; - for standard input; without it asks",
     0},
    {"--no-password", NULL, "none: signs in by the password file, or not yet", 0},
    VERB_EXPIRES,
    VERB_DESCRIPTION,
    {0},
};
static const struct cli_option change_options[] = {
    {"--role", "ROLE", "user, admin, operator or auditor", 0}, VERB_EXPIRES, VERB_DESCRIPTION, {0}};
static const struct cli_option password_options[] = {
    {"--new-password-file", "FILE", "the new one; - for standard input; without it asks", 0}, {0}};

const struct cli_command cli_user_commands[] = {
    {"user ls", NULL, "lists users", list, {list_options, cli_remote, cli_settings}},
    {"user show", "NAME", "shows a user", show, {cli_remote, cli_settings}},
    {"user create", "NAME", "makes a user", create, {create_options, cli_remote, cli_settings}},
    {"user set", "NAME", "changes a user", change, {change_options, cli_remote, cli_settings}},
    {"user password",
     "[NAME]",
     "sets a user's password; without NAME that of --user",
     password,
     {password_options, cli_remote, cli_settings}},
    {"user disable",
     "NAME",
     "shuts a user out, and keeps what is theirs",
     disable,
     {cli_remote, cli_settings}},
    {"user enable", "NAME", "lets a disabled user in again", enable, {cli_remote, cli_settings}},
    {"user rm", "NAME", "deletes a user", delete, {cli_yes, cli_remote, cli_settings}},
    {0},
};
