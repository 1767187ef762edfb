/* protection.c - protection: rules on tags, by patterns of repositories and globs.
 * Touches  the server by way of client.h.
 * Never    the marks of one tag: `tag protect` sets them. */
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"ID", "id"},
    {"REPOSITORIES", "pattern"},
    {"TAGS", "tags"},
    {"IMMUTABLE", "immutable"},
    {"PROTECTED", "protected"},
    {0},
};

static const struct verb_things rules = {"/protected", false, columns, columns, NULL};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/protected");
    return verb_list(call, &path, columns);
}

static int add(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    bool immutable = cli_flag(call, "--immutable"), protected = cli_flag(call, "--protected");

    if (!immutable && !protected)
        return cli_usage(call, "--immutable, --protected or both must be given");
    json_object_set_new(body, "pattern", json_string(call->words[0]));
    if (call->words[1] != NULL)
        json_object_set_new(body, "tags", json_string(call->words[1]));
    json_object_set_new(body, "immutable", json_boolean(immutable));
    json_object_set_new(body, "protected", json_boolean(protected));
    buffer_append_text(&path, "/protected");
    return verb_send(call, "POST", &path, TAKE(body), "made", NULL);
}

static int delete (const struct cli_call *call)
{
    if (!prompt_agreed(call, "delete the rule %s?", call->words[0]))
        return CLI_USAGE;
    return verb_things_delete(call, &rules);
}

static const struct cli_option add_options[] = {
    {"--immutable", NULL, "the tags do not move to another manifest", 0},
    {"--protected", NULL, "they are not deleted, and their manifests neither", 0},
    {0},
};

const struct cli_command cli_protection_commands[] = {
    {"protection ls", NULL, "lists rules that protect tags", list, {cli_remote, cli_settings}},
    {"protection add",
     "PATTERN [GLOB]",
     "protects tags of repositories; without GLOB all of them",
     add,
     {add_options, cli_remote, cli_settings}},
    {"protection rm", "ID", "deletes a rule", delete, {cli_yes, cli_remote, cli_settings}},
    {0},
};
