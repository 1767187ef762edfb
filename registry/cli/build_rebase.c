/* build_rebase.c - build rebase: images get a newer base, without building; and back.
 * Touches  the server by way of client.h, standard output.
 * Never    asks: what moved can be taken back. Spec: s2i 15.1 */
#include <stdio.h>
#include <string.h>

#include "registry/cli/build_wait.h"
#include "registry/cli/verb.h"

static const struct show_column columns[] = {{"REPOSITORY", "repository"}, {"TAG", "tag"},
                                             {"OUTCOME", "outcome"},       {"IMAGE", "after"},
                                             {"WHY NOT", "message"},       {0}};
static const struct show_column undone_columns[] = {
    {"REPOSITORY", "repository"}, {"TAG", "tag"},         {"OUTCOME", "outcome"},
    {"IMAGE", "before"},          {"WHY NOT", "message"}, {0}};
static const struct show_column rebases_columns[] = {{"ID", "id"},
                                                     {"BASE", "base"},
                                                     {"TAGS", "tags"},
                                                     {"BY", "actor"},
                                                     {"AT", "created_at"},
                                                     {"UNDO UNTIL", "undo_until"},
                                                     {0}};

/* --- what came of it --- */

static bool is_one_of(const json_t *item, const char *one, const char *other)
{
    const char *outcome = json_string_value(json_object_get(item, "outcome"));

    return outcome != NULL && (strcmp(outcome, one) == 0 || strcmp(outcome, other) == 0);
}

/* Paths below the table, tag by tag. */
static void conflicts_show(const json_t *item)
{
    const json_t *path;
    size_t i;

    json_array_foreach(json_object_get(item, "conflicts"), i, path) {
        OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
        buffer_print(&line, "%s:%s: %s", json_string_value(json_object_get(item, "repository")),
                     json_string_value(json_object_get(item, "tag")), json_string_value(path));
        buffer_append(&line, "", 1);
        build_log_show(line.at);
    }
}

/* The status of the answer came before all was done: what failed then stands in it. */
static int told(const struct cli_call *call, const json_t *answer)
{
    const json_t *fault = json_object_get(answer, "error"), *id = json_object_get(answer, "id");
    int status = CLI_DONE;
    const json_t *item;
    size_t i;

    if (fault != NULL)
        return cli_fail(call, CLI_FAILED, "%s",
                        json_string_value(json_object_get(fault, "message")));
    show_list(call, answer, columns);
    json_array_foreach(json_object_get(answer, "items"), i, item) {
        if (!is_one_of(item, "rebased", "current"))
            status = CLI_FAILED;
        if (!cli_flag(call, "--json"))
            conflicts_show(item);
    }
    if (json_is_integer(id) && !cli_flag(call, "--json"))
        fprintf(stderr, "taken back by: slipway build rebase --undo %lld\n",
                (long long)json_integer_value(id));
    return status;
}

/* --- asking --- */

/* Of "REPOSITORY[:TAG]"; the tag goes into the body. Freed by the caller. */
static char *repository_read(const char *word, json_t *body)
{
    struct slice repository, tag;

    if (slice_split(slice_of(word), ':', &repository, &tag))
        json_object_set_new(body, "tag", json_stringn(tag.at, tag.size));
    return memory_text(repository);
}

static void path_of(const struct cli_call *call, json_t *body, struct buffer *path)
{
    OWNED(memory_drop) char *repository = NULL;

    if (call->words[0] == NULL) {
        buffer_append_text(path, "/rebases");
    } else {
        repository = repository_read(call->words[0], body);
        buffer_append_text(path, "/repos/");
        verb_path_word(path, repository, true);
        buffer_append_text(path, "/-/tags:rebase");
    }
    verb_path_parameter(path, "dry_run", cli_flag(call, "--dry-run") ? "true" : NULL);
    buffer_append(path, "", 1);
}

/* A page is a rebase of its own. */
static int pages(const struct cli_call *call, struct client *client, const char *path, json_t *body)
{
    int status = CLI_DONE;
    bool more = true;

    while (more) {
        OWNED(json_drop) json_t *answer = NULL;
        int sent = client_send(client, "POST", path, body, &answer);
        if (sent != CLI_DONE)
            return sent;
        int outcome = told(call, answer);
        json_t *next = json_object_get(answer, "next");
        status = outcome != CLI_DONE ? outcome : status;
        more = json_is_string(next);
        if (more)
            json_object_set(body, "after", next);
    }
    return status;
}

static int undo(const struct cli_call *call, const char *id)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *answer = NULL;
    const json_t *item;
    uint64_t number;
    size_t i;
    int status = verb_number(call, id, "rebase", &number);

    buffer_append_text(&path, "/rebases/");
    verb_path_word(&path, id, false);
    buffer_append_text(&path, ":undo");
    verb_path_parameter(&path, "dry_run", cli_flag(call, "--dry-run") ? "true" : NULL);
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = client_send(client, "POST", path.at, NULL, &answer);
    if (status != CLI_DONE)
        return status;
    show_list(call, answer, undone_columns);
    json_array_foreach(json_object_get(answer, "items"), i, item)
        if (!is_one_of(item, "restored", "restored"))
            status = CLI_FAILED;
    return status;
}

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/rebases");
    return verb_list(call, &path, rebases_columns);
}

static int rebase(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object();
    const char *base = cli_value(call, "--base"), *id = cli_value(call, "--undo");
    bool all = cli_flag(call, "--all"), one = call->words[0] != NULL;

    if ((id != NULL) + all + one != 1)
        return cli_usage(call, "one of REPOSITORY, --all and --undo is needed");
    if (id != NULL)
        return undo(call, id);
    if (all && base == NULL)
        return cli_fail(call, CLI_USAGE, "--all needs --base: what the images stand on");
    if (one && cli_value(call, "--onto") != NULL)
        return cli_fail(call, CLI_USAGE, "--onto goes with --all; of a repository, --base is it");
    verb_set_text(call, body, "--base", "base");
    verb_set_text(call, body, "--onto", "onto");
    path_of(call, body, &path);
    int status = client_open(&client, call);
    if (status != CLI_DONE)
        return status;
    client_wait_long(client); /* layers are read */
    return pages(call, client, path.at, body);
}

static const struct cli_option options[] = {
    {"--all", NULL, "all images that stand on --base, in every repository one may push to", 0},
    {"--base", "IMAGE",
     "with --all what they stand on; else the new base, or without it what the name of each one's "
     "base is now",
     0},
    {"--onto", "IMAGE", "with --all: the new base; without it what the name of --base is now", 0},
    {"--undo", "ID", "takes a rebase back, all tags that have not moved on", 0},
    {"--dry-run", NULL, "only tells what would be done", 0},
    {0},
};
const struct cli_command cli_build_image_commands[] = {
    {"build rebases", NULL, "rebases that can be taken back", list, {cli_remote, cli_settings}},
    {"build rebase",
     "[REPOSITORY[:TAG]]",
     "puts images on a newer base without building; exit status 0: none was refused",
     rebase,
     {options, cli_remote, cli_settings}},
    {0},
};
