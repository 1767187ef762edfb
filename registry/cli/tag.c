/* tag.c - tag: what the tags of a repository stand for, and what they stood for.
 * Touches  the server by way of client.h.
 * Never    pushes or pulls. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"TAG", "name"},
    {"DIGEST", "digest"},
    {"SIZE", SHOW_SIZE "size"},
    {"UPDATED", "updated_at"},
    {"PULLED", "pulled_at"},
    {"IMMUTABLE", "immutable"},
    {"PROTECTED", "protected"},
    {"PINS", "pins"},
    {0},
};
static const struct show_column deleted[] = {
    {"TAG", "name"}, {"DIGEST", "digest"}, {"DELETED", "deleted_at"}, {"UNTIL", "until"}, {0},
};
static const struct show_column details[] = {
    {"tag", "name"},
    {"digest", "digest"},
    {"media type", "media_type"},
    {"artifact type", "artifact_type"},
    {"size", SHOW_SIZE "size"},
    {"pushed", "pushed_at"},
    {"updated", "updated_at"},
    {"pulled", "pulled_at"},
    {"immutable", "immutable"},
    {"protected", "protected"},
    {"pins", "pins"},
    {0},
};
static const struct show_column moves[] = {
    {"AT", "at"},
    {"TAG", "tag"},
    {"WHO", "actor"},
    {"WHY", "cause"},
    {"FROM", "from"},
    {"TO", "to"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    bool gone = cli_flag(call, "--deleted");

    verb_content_path(call, &path, "/tags", 1);
    verb_path_parameter(&path, "deleted", gone ? "true" : NULL);
    verb_path_parameter(&path, "q", cli_value(call, "--search"));
    return verb_list(call, &path, gone ? deleted : columns);
}

static int show(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/tags", 2);
    return verb_show(call, &path, details);
}

static int set(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    json_object_set_new(body, "digest", json_string(call->words[2]));
    verb_content_path(call, &path, "/tags", 2);
    return verb_send(call, "PUT", &path, body, "set", NULL);
}

static int restore(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    verb_set_text(call, body, "--digest", "digest");
    if (cli_flag(call, "--force"))
        json_object_set_new(body, "force", json_true());
    verb_content_path(call, &path, "/tags", 2);
    buffer_append_text(&path, ":restore");
    return verb_send(call, "POST", &path, body, "restored", NULL);
}

static int history(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/history", 1);
    verb_path_parameter(&path, "tag", call->words[1]);
    return verb_list(call, &path, moves);
}

/* --- protecting --- */

/* "yes" or "no" to a member; CLI_USAGE for another word. */
static int set_mark(const struct cli_call *call, json_t *body, const char *option,
                    const char *member)
{
    const char *value = cli_value(call, option);

    if (value == NULL)
        return CLI_DONE;
    if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
        return cli_usage(call, "%s is yes or no", option);
    json_object_set_new(body, member, json_boolean(strcmp(value, "yes") == 0));
    return CLI_DONE;
}

static int protect(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();

    if (set_mark(call, body, "--immutable", "immutable") != CLI_DONE ||
        set_mark(call, body, "--protected", "protected") != CLI_DONE)
        return CLI_USAGE;
    if (json_object_size(body) == 0)
        return cli_usage(call, "nothing to change was given");
    verb_content_path(call, &path, "/tags", 2);
    return verb_send(call, "PATCH", &path, TAKE(body), "changed", NULL);
}

/* --- deleting: first counted, then asked about, then done if they are still so many --- */

static json_t *chosen(const struct cli_call *call)
{
    const char *filter = cli_value(call, "--filter");
    json_t *body = json_object(), *tags;

    if (filter != NULL) {
        json_object_set_new(body, "filter", json_string(filter));
        return body;
    }
    tags = json_array();
    for (size_t i = 1; i < call->word_count; i++)
        json_array_append_new(tags, json_string(call->words[i]));
    json_object_set_new(body, "tags", tags);
    return body;
}

static int count(const struct cli_call *call, struct client *client, const char *path,
                 json_int_t *out)
{
    OWNED(buffer_drop) struct buffer dry = BUFFER_NONE;
    OWNED(json_drop) json_t *answer = NULL;
    OWNED(json_drop) json_t *body = chosen(call);

    buffer_print(&dry, "%s?dry_run=true", path);
    int status = client_send(client, "POST", dry.at, body, &answer);
    if (status == CLI_DONE)
        *out = json_integer_value(json_object_get(json_object_get(answer, "deletes"), "tags"));
    return status;
}

static int delete_counted(const struct cli_call *call, struct client *client, const char *path,
                          json_int_t tags)
{
    OWNED(json_drop) json_t *answer = NULL;
    OWNED(json_drop) json_t *body = chosen(call);

    json_object_set_new(body, "expect", json_integer(tags));
    int status = client_send(client, "POST", path, body, &answer);
    if (status != CLI_DONE)
        return status;
    fprintf(stderr, "deleted %" JSON_INTEGER_FORMAT "\n", tags);
    return cli_flag(call, "--json") ? show_json(answer) : CLI_DONE;
}

static int delete (const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_int_t tags = 0;

    if ((call->word_count > 1) == (cli_value(call, "--filter") != NULL))
        return cli_usage(call, "name tags, or give --filter");
    verb_content_path(call, &path, "/tags:delete", 1);
    buffer_append(&path, "", 1);
    int status = client_open(&client, call);
    if (status == CLI_DONE)
        status = count(call, client, path.at, &tags);
    if (status != CLI_DONE)
        return status;
    if (tags == 0)
        return cli_fail(call, CLI_NOT_FOUND, "there are no such tags");
    if (cli_flag(call, "--dry-run")) {
        printf("%" JSON_INTEGER_FORMAT "\n", tags);
        return CLI_DONE;
    }
    if (!prompt_agreed(call, "delete %" JSON_INTEGER_FORMAT " tags of %s?", tags, call->words[0]))
        return CLI_USAGE;
    return delete_counted(call, client, path.at, tags);
}

static const struct cli_option list_options[] = {
    VERB_SEARCH, {"--deleted", NULL, "those that can be brought back", 0}, {0}};
static const struct cli_option restore_options[] = {
    {"--digest", "DIGEST", "what it stood for; without it, what it stood for last", 0},
    {"--force", NULL, "also when the tag exists: it moves", 0},
    {0},
};
static const struct cli_option protect_options[] = {
    {"--immutable", "yes|no", "it does not move to another manifest", 0},
    {"--protected", "yes|no", "it is not deleted, and its manifest neither", 0},
    {0},
};
static const struct cli_option delete_options[] = {
    {"--filter", "GLOB", "all that match: * stands for any text, ? for one character", 0},
    {"--dry-run", NULL, "only tells how many", 0},
    {"--yes", NULL, "does not ask", 'y'},
    {0},
};

const struct cli_command cli_tag_commands[] = {
    {"tag ls", "REPOSITORY", "lists tags", list, {list_options, cli_remote, cli_settings}},
    {"tag show", "REPOSITORY TAG", "shows a tag", show, {cli_remote, cli_settings}},
    {"tag set",
     "REPOSITORY TAG DIGEST",
     "lets a tag stand for a manifest of the repository",
     set,
     {cli_remote, cli_settings}},
    {"tag rm",
     "REPOSITORY [TAG]...",
     "deletes tags; their manifests stay",
     delete,
     {delete_options, cli_remote, cli_settings}},
    {"tag restore",
     "REPOSITORY TAG",
     "brings a deleted tag back, with its image",
     restore,
     {restore_options, cli_remote, cli_settings}},
    {"tag protect",
     "REPOSITORY TAG",
     "says what may not happen to a tag",
     protect,
     {protect_options, cli_remote, cli_settings}},
    {"tag history",
     "REPOSITORY [TAG]",
     "lists what tags stood for, newest first",
     history,
     {cli_remote, cli_settings}},
    {0},
};
