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

static const struct verb_things repos = {"/repos", true, columns, details, NULL};

static const struct show_column deleted[] = {
    {"NAME", "name"},          {"ID", "id"},       {"TAGS", "tags"},
    {"DELETED", "deleted_at"}, {"UNTIL", "until"}, {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!cli_flag(call, "--deleted"))
        return verb_things_list(call, &repos);
    buffer_append_text(&path, "/repos?deleted=true");
    return verb_list(call, &path, deleted);
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

/* What would go is counted by the server. */
static const struct show_column counts[] = {
    {"tags", "tags"},
    {"manifests", "manifests"},
    {"bytes", SHOW_SIZE "bytes"},
    {0},
};

static int show_size(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *answer = NULL;
    int status = client_open(&client, call);

    verb_things_path(call, &repos, &path);
    verb_path_parameter(&path, "dry_run", "true");
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_send(client, "DELETE", path.at, NULL, &answer);
    return status == CLI_DONE ? show_one(call, json_object_get(answer, "deletes"), counts) : status;
}

static int delete (const struct cli_call *call)
{
    if (cli_flag(call, "--dry-run"))
        return show_size(call);
    if (!prompt_agreed(call, "delete the repository %s, with all that is in it?", call->words[0]))
        return CLI_USAGE;
    return verb_things_delete(call, &repos);
}

static int restore(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();
    const char *id = cli_value(call, "--id");
    uint64_t number = 0;

    if (id != NULL && !slice_to_u64(slice_of(id), &number)) {
        json_decref(body);
        return cli_usage(call, "--id is a number of: repo ls --deleted");
    }
    if (id != NULL)
        json_object_set_new(body, "id", json_integer((json_int_t)number));
    verb_things_path(call, &repos, &path);
    buffer_append_text(&path, ":restore");
    return verb_send(call, "POST", &path, body, "restored", NULL);
}

static const struct cli_option list_options[] = {
    VERB_SEARCH, {"--deleted", NULL, "those that can be brought back", 0}, {0}};
static const struct cli_option delete_options[] = {
    {"--dry-run", NULL, "only tells what would go", 0},
    {"--yes", NULL, "does it without asking", 'y'},
    {0},
};
static const struct cli_option restore_options[] = {
    {"--id", "ID", "which, when several of that name were deleted; without it the last", 0}, {0}};
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
    {"repo rm",
     "NAME",
     "deletes a repository, with all that is in it",
     delete,
     {delete_options, cli_remote, cli_settings}},
    {"repo restore",
     "NAME",
     "brings a deleted repository back",
     restore,
     {restore_options, cli_remote, cli_settings}},
    {0},
};
