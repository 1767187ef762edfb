/* repo.c - repo: repositories and their settings.
 * Touches  the server by way of client.h.
 * Never    what is in them: clients of the distribution API push and pull. */
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"NAME", "name"},          {"VISIBILITY", "visibility"},   {"TAGS", "tags"},
    {"CREATED", "created_at"}, {"DESCRIPTION", "description"}, {0},
};

static const struct show_column details[] = {
    {"name", "name"},
    {"visibility", "visibility"},
    {"description", "description"},
    {"tags", "tags"},
    {"created", "created_at"},
    {"you may", "can"},
    {0},
};

static const struct verb_things repos = {"/repos", true, columns, details};

static int list(const struct cli_call *call)
{
    return verb_things_list(call, &repos);
}

static int show(const struct cli_call *call)
{
    return verb_things_show(call, &repos);
}

static int create(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    json_object_set_new(body, "name", json_string(call->words[0]));
    verb_set_text(call, body, "--visibility", "visibility");
    verb_set_text(call, body, "--description", "description");
    buffer_append_text(&path, "/repos");
    return verb_send(call, "POST", &path, body, "created", NULL);
}

static int change(const struct cli_call *call)
{
    OWNED(json_drop) json_t *body = json_object();

    verb_set_text(call, body, "--visibility", "visibility");
    verb_set_text(call, body, "--description", "description");
    return verb_things_change(call, &repos, TAKE(body), "changed");
}

static const struct cli_option list_options[] = {VERB_SEARCH, {0}};
static const struct cli_option settings[] = {
    {"--visibility", "WHO",
     "private, or public: pull for all who sign in; for all, with "
     "auth.anonymous: pull",
     0},
    VERB_DESCRIPTION,
    {0},
};

const struct cli_command cli_repo_commands[] = {
    {"repo ls", NULL, "lists repositories", list, {list_options, cli_remote, cli_settings}},
    {"repo show", "NAME", "shows a repository", show, {cli_remote, cli_settings}},
    {"repo create",
     "NAME",
     "makes an empty repository; a push makes one too",
     create,
     {settings, cli_remote, cli_settings}},
    {"repo set",
     "NAME",
     "changes who sees a repository, or its description",
     change,
     {settings, cli_remote, cli_settings}},
    {0},
};
