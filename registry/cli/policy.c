/* policy.c - policy: rules of retention, what they would do, runs.
 * Touches  the server by way of client.h, files with rules; the root folder when no server runs.
 * Never    judges a rule. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/verb.h"
#include "registry/cli/work.h"
#include "registry/retention/retention.h"

static const struct show_column columns[] = {
    {"ID", "id"}, {"PATTERN", "pattern"}, {"MODE", "mode"}, {"CHANGED", "updated_at"}, {0},
};
static const struct show_column decisions[] = {
    {"DIGEST", "short"},        {"TAGS", "tags"},
    {"PUSHED", "pushed_at"},    {"PULLED", "pulled_at"},
    {"SIZE", SHOW_SIZE "size"}, {"VERDICT", "verdict"},
    {"REASON", "reason"},       {0},
};
static const struct show_column runs[] = {
    {"repositories", "repositories"},
    {"expired", "expired"},
    {"would expire", "would_expire"},
    {"changed meanwhile", "skipped"},
    {"follow later", "follows"},
    {"blobs freed then", "blobs"},
    {"bytes freed then", SHOW_SIZE "bytes"},
    {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/policies");
    return verb_list(call, &path, columns);
}

/* --- one policy, by its pattern --- */

/* *policy is the caller's; NULL: there is none. */
static int find(const struct cli_call *call, struct client *client, json_t **policy)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *found = NULL;

    buffer_append_text(&path, "/policies");
    verb_path_parameter(&path, "pattern", call->words[0]);
    buffer_append(&path, "", 1);
    int status = client_send(client, "GET", path.at, NULL, &found);
    *policy = json_incref(json_array_get(json_object_get(found, "items"), 0));
    return status;
}

static int must_find(const struct cli_call *call, struct client *client, json_t **policy)
{
    int status = find(call, client, policy);

    if (status == CLI_DONE && *policy == NULL)
        return cli_fail(call, CLI_NOT_FOUND, "there is no policy for %s", call->words[0]);
    return status;
}

static void path_of(const json_t *policy, struct buffer *path)
{
    buffer_print(path, "/policies/%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(policy, "id")));
    buffer_append(path, "", 1);
}

/* The rules as they were understood: what `policy set` takes. */
static int show(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *policy = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = must_find(call, client, &policy);
    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(policy);
    OWNED(json_drop) json_t *rules = json_object();
    json_object_set(rules, "rules", json_object_get(policy, "rules"));
    fprintf(stderr, "%s: %s\n", json_string_value(json_object_get(policy, "pattern")),
            json_string_value(json_object_get(policy, "mode")));
    return show_json(rules);
}

/* What a file holds: a list, or an object with the member rules. *rules is the caller's. */
static int read_rules(const struct cli_call *call, const char *file, json_t **rules)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    json_error_t fault;
    int status = verb_read_file(call, file, &text);

    if (status != CLI_DONE)
        return status;
    OWNED(json_drop)
    json_t *document =
        json_loadb(text.at == NULL ? "" : text.at, text.size, JSON_REJECT_DUPLICATES, &fault);
    if (document == NULL)
        return cli_fail(call, CLI_FAILED, "%s is not JSON: line %d: %s", file, fault.line,
                        fault.text);
    *rules = json_incref(json_is_object(document) ? json_object_get(document, "rules") : document);
    if (!json_is_array(*rules))
        return cli_fail(call, CLI_FAILED, "%s has no list of rules", file);
    return CLI_DONE;
}

static int put(const struct cli_call *call, struct client *client, json_t *body)
{
    OWNED(json_drop) json_t *policy = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    const char *mode = cli_value(call, "--mode");
    int status = find(call, client, &policy);

    if (status != CLI_DONE)
        return status;
    if (policy != NULL) {
        path_of(policy, &path);
        if (mode != NULL)
            json_object_set_new(body, "mode", json_string(mode));
        return client_send(client, "PATCH", path.at, body, NULL);
    }
    json_object_set_new(body, "pattern", json_string(call->words[0]));
    json_object_set_new(body, "mode", json_string(mode == NULL ? "report" : mode));
    return client_send(client, "POST", "/policies", body, NULL);
}

static int set(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *body = json_object();
    json_t *rules = NULL;

    if (call->word_count < 2 && cli_value(call, "--mode") == NULL)
        return cli_usage(call, "a FILE with rules, or --mode, must be given");
    int status = call->word_count < 2 ? CLI_DONE : read_rules(call, call->words[1], &rules);
    if (rules != NULL)
        json_object_set_new(body, "rules", rules);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = put(call, client, body);
    if (status == CLI_DONE)
        fprintf(stderr, "set\n");
    return status;
}

static int delete (const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *policy = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "delete the policy for %s?", call->words[0]))
        return CLI_USAGE;
    int status = client_open(&client, call);
    if (status == CLI_DONE)
        status = must_find(call, client, &policy);
    if (status != CLI_DONE)
        return status;
    path_of(policy, &path);
    status = client_send(client, "DELETE", path.at, NULL, NULL);
    if (status == CLI_DONE)
        fprintf(stderr, "deleted\n");
    return status;
}

/* --- what would happen --- */

enum { SHORT_DIGEST = 19 }; /* "sha256:" and 12 digits */

static void shorten(json_t *items)
{
    size_t i;
    json_t *item;

    json_array_foreach(items, i, item) {
        const char *digest = json_string_value(json_object_get(item, "digest"));
        size_t size = digest == NULL ? 0 : strlen(digest);
        json_object_set_new(
            item, "short",
            json_stringn(digest == NULL ? "" : digest, size < SHORT_DIGEST ? size : SHORT_DIGEST));
    }
}

static int page(const struct cli_call *call, struct client *client, const json_t *body,
                const char *cursor, json_t **answer)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/repos/");
    verb_path_word(&path, call->words[0], true);
    buffer_append_text(&path, "/-/policy:preview");
    verb_path_parameter(&path, "limit", "1000");
    verb_path_parameter(&path, "going", cli_flag(call, "--all") ? NULL : "true");
    verb_path_parameter(&path, "cursor", cursor);
    buffer_append(&path, "", 1);
    return client_send(client, "POST", path.at, body, answer);
}

/* All pages, as one answer. */
static int pages(const struct cli_call *call, struct client *client, const json_t *body,
                 json_t **answer)
{
    int status = page(call, client, body, NULL, answer);
    OWNED(memory_drop) char *cursor = NULL;

    while (status == CLI_DONE && json_is_string(json_object_get(*answer, "next"))) {
        OWNED(json_drop) json_t *more = NULL;
        memory_drop(&cursor);
        cursor = memory_text(slice_of(json_string_value(json_object_get(*answer, "next"))));
        status = page(call, client, body, cursor, &more);
        if (status != CLI_DONE)
            return status;
        json_array_extend(json_object_get(*answer, "items"), json_object_get(more, "items"));
        json_object_set(*answer, "next", json_object_get(more, "next"));
    }
    return status;
}

static long long member(const json_t *answer, const char *name)
{
    return (long long)json_integer_value(json_object_get(answer, name));
}

static int show_preview(const struct cli_call *call, json_t *answer)
{
    const char *deciding = json_string_value(json_object_get(answer, "deciding"));

    if (cli_flag(call, "--json"))
        return show_json(answer);
    shorten(json_object_get(answer, "items"));
    show_list(call, answer, decisions);
    if (deciding == NULL)
        fprintf(stderr, "no rule expires anything here\n");
    else
        fprintf(stderr,
                "%s (%s): %lld of %lld manifests expire, tags %lld, following %lld; "
                "freed then: blobs %lld, bytes %lld\n",
                deciding, json_string_value(json_object_get(answer, "mode")),
                member(answer, "expires"), member(answer, "manifests"), member(answer, "tags"),
                member(answer, "follows"), member(answer, "blobs"), member(answer, "bytes"));
    if (deciding != NULL && !cli_flag(call, "--all") &&
        member(answer, "expires") < member(answer, "manifests"))
        fprintf(stderr, "--all tells why the others stay\n");
    return CLI_DONE;
}

static int preview(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *body = json_object();
    OWNED(json_drop) json_t *answer = NULL;
    const char *file = cli_value(call, "--file");
    json_t *rules = NULL;
    int status = file == NULL ? CLI_DONE : read_rules(call, file, &rules);

    if (rules != NULL)
        json_object_set_new(body, "rules", rules);
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = pages(call, client, body, &answer);
    return status == CLI_DONE ? show_preview(call, answer) : status;
}

static int run(const struct cli_call *call)
{
    json_t *spec = json_object();

    if (call->word_count > 0)
        json_object_set_new(spec, "pattern", json_string(call->words[0]));
    if (cli_flag(call, "--dry-run"))
        json_object_set_new(spec, "dry_run", json_true());
    return work_show(call, &retention_job, spec, runs);
}

static const struct cli_option set_options[] = {
    {"--mode", "MODE", "off, report or enforce; a new policy without it only reports", 0},
    {0},
};
static const struct cli_option preview_options[] = {
    {"--file", "FILE", "rules to try in the place of the repository's own; - for standard input",
     'f'},
    {"--all", NULL, "what stays as well", 0},
    {0},
};
static const struct cli_option run_options[] = {
    {"--dry-run", NULL, "only counts what would go", 0},
    {0},
};

const struct cli_command cli_policy_commands[] = {
    {"policy ls", NULL, "lists rules of retention", list, {cli_remote, cli_settings}},
    {"policy show", "PATTERN", "shows the rules of a pattern", show, {cli_remote, cli_settings}},
    {"policy set",
     "PATTERN [FILE]",
     "sets the rules of a PATTERN (app, team/*, *) from a file, ECR's JSON or more; - for "
     "standard input",
     set,
     {set_options, cli_remote, cli_settings}},
    {"policy rm",
     "PATTERN",
     "deletes the rules of a pattern",
     delete,
     {cli_yes, cli_remote, cli_settings}},
    {"policy preview",
     "NAME",
     "what rules would remove from a repository now, and why; changes nothing",
     preview,
     {preview_options, cli_remote, cli_settings}},
    {"policy run",
     "[PATTERN]",
     "removes what rules choose, where their mode is enforce",
     run,
     {run_options, cli_remote, cli_settings}},
    {0},
};
