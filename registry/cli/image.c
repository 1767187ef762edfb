/* image.c - image and pin: manifests of a repository, and who uses them.
 * Touches  the server by way of client.h.
 * Never    pushes or pulls. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"DIGEST", "digest"},    {"SIZE", SHOW_SIZE "total_size"}, {"PUSHED", "pushed_at"},
    {"PULLED", "pulled_at"}, {"MEDIA TYPE", "media_type"},     {0},
};
static const struct show_column deleted[] = {
    {"DIGEST", "digest"}, {"SIZE", SHOW_SIZE "total_size"}, {"DELETED", "deleted_at"},
    {"UNTIL", "until"},   {"MEDIA TYPE", "media_type"},     {0},
};
static const struct show_column details[] = {
    {"digest", "digest"},
    {"media type", "media_type"},
    {"artifact type", "artifact_type"},
    {"refers to", "subject"},
    {"size", SHOW_SIZE "size"},
    {"with all it names", SHOW_SIZE "total_size"},
    {"pushed", "pushed_at"},
    {"pulled", "pulled_at"},
    {"deleted", "deleted_at"},
    {"can come back until", "until"},
    {"tags", "tags"},
    {"part of", "parents"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    bool gone = cli_flag(call, "--deleted");

    verb_content_path(call, &path, "/manifests", 1);
    verb_path_parameter(&path, "deleted", gone ? "true" : NULL);
    verb_path_parameter(&path, "untagged", cli_flag(call, "--untagged") ? "true" : NULL);
    return verb_list(call, &path, gone ? deleted : columns);
}

/* A tag in its place would be looked for among digests, and "image rm" is no way to remove one. */
static int need_digest(const struct cli_call *call)
{
    if (strchr(call->words[1], ':') != NULL)
        return CLI_DONE;
    return cli_usage(call, "%s is no digest; slipway tag show %s %s tells that of a tag",
                     call->words[1], call->words[0], call->words[1]);
}

static int show(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (need_digest(call) != CLI_DONE)
        return CLI_USAGE;
    verb_content_path(call, &path, "/manifests", 2);
    return verb_show(call, &path, details);
}

static int delete (const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (need_digest(call) != CLI_DONE)
        return CLI_USAGE;
    if (!prompt_agreed(call, "delete %s of %s, with all its tags?", call->words[1], call->words[0]))
        return CLI_USAGE;
    verb_content_path(call, &path, "/manifests", 2);
    return verb_send(call, "DELETE", &path, NULL, "deleted", NULL);
}

static int restore(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (need_digest(call) != CLI_DONE)
        return CLI_USAGE;
    verb_content_path(call, &path, "/manifests", 2);
    buffer_append_text(&path, ":restore");
    verb_path_parameter(&path, "tags", cli_flag(call, "--tags") ? "true" : NULL);
    return verb_send(call, "POST", &path, NULL, "restored", NULL);
}

static const struct cli_option list_options[] = {
    {"--untagged", NULL, "those without a tag that no index has and that refer to nothing", 0},
    {"--deleted", NULL, "those that can be brought back", 0},
    {0},
};
static const struct cli_option restore_options[] = {
    {"--tags", NULL, "also the tags it lost when it was deleted", 0}, {0}};

const struct cli_command cli_image_commands[] = {
    {"image ls",
     "REPOSITORY",
     "lists images, newest push first",
     list,
     {list_options, cli_remote, cli_settings}},
    {"image show", "REPOSITORY DIGEST", "shows an image", show, {cli_remote, cli_settings}},
    {"image rm",
     "REPOSITORY DIGEST",
     "deletes an image and all its tags",
     delete,
     {cli_yes, cli_remote, cli_settings}},
    {"image restore",
     "REPOSITORY DIGEST",
     "brings a deleted image back",
     restore,
     {restore_options, cli_remote, cli_settings}},
    {0},
};

/* --- pins --- */

static const struct show_column pin_columns[] = {
    {"PIN", "name"}, {"DIGEST", "digest"}, {"UNTIL", "until"}, {"WHO", "actor"}, {0},
};

static int pin_list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/pins", 1);
    return verb_list(call, &path, pin_columns);
}

static int pin_add(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();

    if (cli_value(call, "--until") == NULL)
        return cli_usage(call, "--until is missing: 30d, or a time");
    json_object_set_new(body, "reference", json_string(call->words[2]));
    int status = verb_set_expiry(call, body, "--until", "until");
    if (status != CLI_DONE)
        return status;
    if (json_is_null(json_object_get(body, "until")))
        return cli_usage(call, "a pin ends: 400d at most");
    verb_content_path(call, &path, "/pins", 2);
    return verb_send(call, "PUT", &path, TAKE(body), "pinned", NULL);
}

static int pin_delete(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "end the pin %s of %s?", call->words[1], call->words[0]))
        return CLI_USAGE;
    verb_content_path(call, &path, "/pins", 2);
    return verb_send(call, "DELETE", &path, NULL, "deleted", NULL);
}

static const struct cli_option pin_options[] = {
    {"--until", "WHEN", "when it ends: 90d, 12h, 2027-01-31T00:00:00Z", 0}, {0}};

const struct cli_command cli_pin_commands[] = {
    {"pin ls", "REPOSITORY", "lists pins", pin_list, {cli_remote, cli_settings}},
    {"pin add",
     "REPOSITORY PIN TAG|DIGEST",
     "keeps an image that is in use, until a time",
     pin_add,
     {pin_options, cli_remote, cli_settings}},
    {"pin rm", "REPOSITORY PIN", "ends a pin", pin_delete, {cli_yes, cli_remote, cli_settings}},
    {0},
};
