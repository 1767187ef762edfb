/* build_rebase.c - build rebase: images get a newer base, without building.
 * Touches  the server by way of client.h, standard output.
 * Never    asks: each tag's history leads back. Spec: s2i 15.1 */
#include <stdio.h>
#include <string.h>

#include "registry/cli/build_wait.h"
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"TAG", "tag"}, {"OUTCOME", "outcome"}, {"IMAGE", "after"}, {"WHY NOT", "message"}, {0}};

/* Of "REPOSITORY[:TAG]"; the tag goes into the body. Freed by the caller. */
static char *repository_read(const char *word, json_t *body)
{
    struct slice repository, tag;

    if (slice_split(slice_of(word), ':', &repository, &tag))
        json_object_set_new(body, "tag", json_stringn(tag.at, tag.size));
    return memory_text(repository);
}

static bool refused(const json_t *item)
{
    const char *outcome = json_string_value(json_object_get(item, "outcome"));

    return outcome == NULL || strcmp(outcome, "refused") == 0;
}

/* Paths below the table, tag by tag. */
static void conflicts_show(const json_t *item)
{
    const json_t *path;
    size_t i;

    json_array_foreach(json_object_get(item, "conflicts"), i, path) {
        OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
        buffer_print(&line, "%s: %s", json_string_value(json_object_get(item, "tag")),
                     json_string_value(path));
        buffer_append(&line, "", 1);
        build_log_show(line.at);
    }
}

static int told(const struct cli_call *call, const json_t *answer)
{
    int status = CLI_DONE;
    const json_t *item;
    size_t i;

    show_list(call, answer, columns);
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        if (refused(item))
            status = CLI_FAILED;
        if (!cli_flag(call, "--json"))
            conflicts_show(item);
    }
    return status;
}

static int rebase(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object(), *answer = NULL;
    OWNED(memory_drop) char *repository = repository_read(call->words[0], body);
    int status = client_open(&client, call);

    if (status != CLI_DONE)
        return status;
    verb_set_text(call, body, "--base", "base");
    buffer_append_text(&path, "/repos/");
    verb_path_word(&path, repository, true);
    buffer_append_text(&path, "/-/tags:rebase");
    verb_path_parameter(&path, "dry_run", cli_flag(call, "--dry-run") ? "true" : NULL);
    buffer_append(&path, "", 1);
    status = client_send(client, "POST", path.at, body, &answer);
    return status == CLI_DONE ? told(call, answer) : status;
}

static const struct cli_option options[] = {
    {"--base", "IMAGE", "the new base; without it, what the name of each one's base is now", 0},
    {"--dry-run", NULL, "only tells what would be done", 0},
    {0},
};
const struct cli_command cli_build_image_commands[] = {
    {"build rebase",
     "REPOSITORY[:TAG]",
     "puts images on a newer base without building; exit status 0: none was refused",
     rebase,
     {options, cli_remote, cli_settings}},
    {0},
};
