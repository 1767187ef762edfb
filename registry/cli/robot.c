/* robot.c - robot: accounts of machines.
 * Touches  the server by way of client.h.
 * Never    stores the token it shows. */
#include <string.h>

#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"NAME", "name"},          {"DISABLED", "disabled"},       {"LAST LOGIN", "last_login_at"},
    {"EXPIRES", "expires_at"}, {"DESCRIPTION", "description"}, {0},
};

static const struct show_column details[] = {
    {"name", "name"},
    {"description", "description"},
    {"disabled", "disabled"},
    {"created", "created_at"},
    {"expires", "expires_at"},
    {"last login", "last_login_at"},
    {0},
};

static const struct verb_things robots = {"/robots", false, columns, details, NULL};

static int list(const struct cli_call *call)
{
    return verb_things_list(call, &robots);
}

static int show(const struct cli_call *call)
{
    return verb_things_show(call, &robots);
}

/* "team/app=pull,push" */
static int set_grants(const struct cli_call *call, json_t *body)
{
    OWNED(memory_drop) const char **given = NULL;
    size_t count = cli_values(call, "--grant", &given);
    json_t *grants = json_array();

    json_object_set_new(body, "grants", grants);
    for (size_t i = 0; i < count; i++) {
        struct slice pattern, rights;
        if (!slice_split(slice_of(given[i]), '=', &pattern, &rights))
            return cli_usage(call, "--grant is PATTERN=RIGHTS, as in 'team/app=pull,push'");
        json_t *grant = json_object();
        json_object_set_new(grant, "pattern", json_stringn(pattern.at, pattern.size));
        verb_set_rights(grant, rights.at);
        json_array_append_new(grants, grant);
    }
    return CLI_DONE;
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();

    json_object_set_new(body, "name", json_string(call->words[0]));
    verb_set_text(call, body, "--description", "description");
    int status = verb_set_expiry(call, body, "--expires", "expires_at");
    if (status == CLI_DONE)
        status = verb_set_expiry(call, body, "--token-expires", "token_expires_at");
    if (status == CLI_DONE)
        status = set_grants(call, body);
    if (status != CLI_DONE)
        return status;
    buffer_append_text(&path, "/robots");
    return verb_send_secret(call, "POST", &path, TAKE(body));
}

static int change(const struct cli_call *call)
{
    OWNED(json_drop) json_t *body = json_object();

    verb_set_text(call, body, "--description", "description");
    int status = verb_set_expiry(call, body, "--expires", "expires_at");
    if (status != CLI_DONE)
        return status;
    return verb_things_change(call, &robots, TAKE(body), "changed");
}

static int rotate(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    int status = verb_set_overlap(call, body);

    if (status != CLI_DONE)
        return status;
    verb_things_path(call, &robots, &path);
    buffer_append_text(&path, ":rotate");
    return verb_send_secret(call, "POST", &path, TAKE(body));
}

static int disable(const struct cli_call *call)
{
    return verb_things_post(call, &robots, ":disable", "disabled");
}

static int enable(const struct cli_call *call)
{
    return verb_things_post(call, &robots, ":enable", "enabled");
}

static int delete (const struct cli_call *call)
{
    if (!prompt_agreed(call, "delete the robot %s, with its tokens and grants?", call->words[0]))
        return CLI_USAGE;
    return verb_things_delete(call, &robots);
}

static const struct cli_option list_options[] = {VERB_SEARCH, {0}};
static const struct cli_option create_options[] = {
    {"--grant", "PATTERN=RIGHTS...", "'team/app=pull,push', 'team/*=read'", 0},
    {"--token-expires", "WHEN", "when its token ends; without it after 90d", 0},
    VERB_EXPIRES,
    VERB_DESCRIPTION,
    {0},
};
static const struct cli_option change_options[] = {VERB_EXPIRES, VERB_DESCRIPTION, {0}};
static const struct cli_option rotate_options[] = {VERB_OVERLAP, {0}};

const struct cli_command cli_robot_commands[] = {
    {"robot ls", NULL, "lists robots", list, {list_options, cli_remote, cli_settings}},
    {"robot show", "NAME", "shows a robot", show, {cli_remote, cli_settings}},
    {"robot create",
     "NAME",
     "makes a robot and prints its token, once",
     create,
     {create_options, cli_remote, cli_settings}},
    {"robot set", "NAME", "changes a robot", change, {change_options, cli_remote, cli_settings}},
    {"robot rotate",
     "NAME",
     "prints a new token, once; the old one ends, or goes on for --overlap",
     rotate,
     {rotate_options, cli_remote, cli_settings}},
    {"robot disable", "NAME", "shuts a robot out", disable, {cli_remote, cli_settings}},
    {"robot enable", "NAME", "lets a disabled robot in again", enable, {cli_remote, cli_settings}},
    {"robot rm", "NAME", "deletes a robot", delete, {cli_yes, cli_remote, cli_settings}},
    {0},
};
