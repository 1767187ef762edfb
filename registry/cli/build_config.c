/* build_config.c - build config, build secret, build hook: how repositories are built.
 * Touches  the server by way of client.h, files with secrets.
 * Never    takes a secret from the command line, which other users of the machine can read. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/build_source.h"
#include "registry/cli/verb.h"

static const struct show_column columns[] = {
    {"REPOSITORY", "repository"},
    {"PAUSED", "paused"},
    {"CHANGED", "updated_at"},
    {0},
};
static const struct show_column deliveries[] = {
    {"SENDER", "sender"}, {"EVENT", "event"},     {"CAME", "created_at"},
    {"BUILD", "build"},   {"VERDICT", "verdict"}, {0},
};

static int list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/build-configs");
    return verb_list(call, &path, columns);
}

/* --- configurations --- */

static int get(const struct cli_call *call, struct client *client, json_t **config)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/build-config", 1);
    buffer_append(&path, "", 1);
    return client_send(client, "GET", path.at, NULL, config);
}

static int show(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *config = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = get(call, client, &config);
    if (status != CLI_DONE)
        return status;
    return show_json(cli_flag(call, "--json") ? config : json_object_get(config, "options"));
}

/* Changes what there is, or makes it. */
static int send_options(const struct cli_call *call, struct client *client, const json_t *options,
                        json_t **answer)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *body = json_object(), *page = NULL;
    const char *method = cli_flag(call, "--replace") ? "PUT" : "PATCH";
    int status = client_list(client, "/build-configs", &page);
    bool exists = false;
    size_t i;
    json_t *item;

    json_array_foreach(json_object_get(page, "items"), i, item) {
        const char *name = json_string_value(json_object_get(item, "repository"));
        exists |= name != NULL && strcmp(name, call->words[0]) == 0;
    }
    if (status != CLI_DONE)
        return status;
    json_object_set(body, "options", (json_t *)(uintptr_t)options);
    verb_content_path(call, &path, "/build-config", 1);
    buffer_append(&path, "", 1);
    return client_send(client, exists ? method : "PUT", path.at, body, answer);
}

static int set(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *options = json_object(), *answer = NULL;
    int status = build_options_read(call, options);

    if (status == CLI_DONE && json_object_size(options) == 0 && !cli_flag(call, "--replace"))
        return cli_usage(call, "nothing to change was given");
    if (status == CLI_DONE)
        status = client_open(&client, call);
    if (status == CLI_DONE)
        status = send_options(call, client, options, &answer);
    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(answer);
    fputs("configured\n", stderr);
    return CLI_DONE;
}

static int erase(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (!prompt_agreed(call, "forget how %s is built, with its secrets and webhooks?",
                       call->words[0]))
        return CLI_USAGE;
    verb_content_path(call, &path, "/build-config", 1);
    return verb_send(call, "DELETE", &path, NULL, "deleted", NULL);
}

static int pausing(const struct cli_call *call, bool paused)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    json_t *body = json_object();

    json_object_set_new(body, "paused", json_boolean(paused));
    verb_content_path(call, &path, "/build-config", 1);
    return verb_send(call, "PATCH", &path, body, paused ? "paused" : "goes on", NULL);
}

static int pause_it(const struct cli_call *call)
{
    return pausing(call, true);
}

static int resume(const struct cli_call *call)
{
    return pausing(call, false);
}

/* --- secrets --- */

static int secret_list(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *answer = NULL;
    int status = client_open(&client, call);
    const char *kind;
    json_t *items, *item;
    size_t i;

    verb_content_path(call, &path, "/build-config/secrets", 1);
    buffer_append(&path, "", 1);
    if (status == CLI_DONE)
        status = client_send(client, "GET", path.at, NULL, &answer);
    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(answer);
    json_object_foreach(answer, kind, items) {
        json_array_foreach(items, i, item) {
            printf("%s %s\n", kind, json_string_value(json_object_get(item, "name")));
        }
    }
    return CLI_DONE;
}

static int secret_path(const struct cli_call *call, struct buffer *path)
{
    static const char *const kinds[] = {"hook", "source", "file", "callback", "status"};

    buffer_append_text(path, "/repos/");
    verb_path_word(path, call->words[0], true);
    buffer_append_text(path, "/-/build-config/secrets/");
    buffer_append_text(path, call->words[1]);
    buffer_append_text(path, "/");
    verb_path_word(path, call->words[2], false);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(call->words[1], kinds[i]) == 0)
            return CLI_DONE;
    return cli_usage(call, "the kind of a secret is hook, source, file, callback or status");
}

/* A last line feed is the editor's, save in files. */
static int secret_set(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(buffer_wipe) struct buffer value = BUFFER_NONE;
    const char *file = cli_value(call, "--file");
    int status = secret_path(call, &path);

    if (status == CLI_DONE && strcmp(call->words[1], "source") == 0 &&
        (cli_value(call, "--for") == NULL || cli_value(call, "--kind") == NULL))
        return cli_usage(call, "the secret of a source takes --for and --kind");
    if (status == CLI_DONE)
        status = verb_read_file(call, file == NULL ? "-" : file, &value);
    if (status != CLI_DONE)
        return status;
    if (strcmp(call->words[1], "file") != 0 && value.size > 0 && value.at[value.size - 1] == '\n')
        value.size--;
    json_t *body = json_object(), *text = json_stringn(value.at, value.size);
    if (text == NULL) {
        json_decref(body);
        return cli_fail(call, CLI_FAILED, "the secret is not text");
    }
    json_object_set_new(body, "value", text);
    verb_set_text(call, body, "--for", "url");
    verb_set_text(call, body, "--kind", "kind");
    return verb_send(call, "PUT", &path, body, "set", NULL);
}

static int secret_delete(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int status = secret_path(call, &path);

    return status == CLI_DONE ? verb_send(call, "DELETE", &path, NULL, "deleted", NULL) : status;
}

/* --- webhooks --- */

/* Where senders send to, below the server's own URL. */
static int hook_show(const struct cli_call *call)
{
    static const char *const senders[] = {"github", "gitlab", "gitea", "bitbucket", "generic"};
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *config = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE)
        status = get(call, client, &config);
    if (status != CLI_DONE)
        return status;
    for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++)
        printf("/api/v1/hooks/%s/%s\n", json_string_value(json_object_get(config, "hook")),
               senders[i]);
    return CLI_DONE;
}

static int hook_list(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/build-config/deliveries", 1);
    return verb_list(call, &path, deliveries);
}

static const struct show_column delivered[] = {{"build", "build"}, {"verdict", "message"}, {0}};

static int hook_test(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    verb_content_path(call, &path, "/build-config/deliveries:test", 1);
    return verb_send(call, "POST", &path, NULL, NULL, delivered);
}

/* --- tables --- */

static const struct cli_option set_options[] = {
    {"--replace", NULL, "forgets what is not given here", 0}, {0}};
static const struct cli_option yes[] = {{"--yes", NULL, "does it without asking", 'y'}, {0}};
static const struct cli_option secret_options[] = {
    {"--file", "FILE", "where the secret is; without it standard input", 0},
    {"--for", "URL", "of a source: the beginning of URLs it opens", 0},
    {"--kind", "KIND", "of a source: password (user:password), token, ssh-key, known-hosts, ca", 0},
    {0},
};

const struct cli_command cli_build_config_commands[] = {
    {"build config ls", NULL, "lists how repositories are built", list, {cli_remote, cli_settings}},
    {"build config show",
     "REPOSITORY",
     "shows how a repository is built",
     show,
     {cli_remote, cli_settings}},
    {"build config set",
     "REPOSITORY",
     "changes how a repository is built",
     set,
     {set_options, build_options, cli_remote, cli_settings}},
    {"build config rm",
     "REPOSITORY",
     "forgets how a repository is built",
     erase,
     {yes, cli_remote, cli_settings}},
    {"build config pause",
     "REPOSITORY",
     "webhooks and new builders start nothing",
     pause_it,
     {cli_remote, cli_settings}},
    {"build config resume",
     "REPOSITORY",
     "they start builds again",
     resume,
     {cli_remote, cli_settings}},
    {"build secret ls",
     "REPOSITORY",
     "lists the names of its secrets",
     secret_list,
     {cli_remote, cli_settings}},
    {"build secret set",
     "REPOSITORY KIND NAME",
     "keeps a secret: hook, source, file, callback or status",
     secret_set,
     {secret_options, cli_remote, cli_settings}},
    {"build secret rm",
     "REPOSITORY KIND NAME",
     "forgets a secret",
     secret_delete,
     {cli_remote, cli_settings}},
    {"build hook show",
     "REPOSITORY",
     "shows where its webhooks go to, below the server's URL",
     hook_show,
     {cli_remote, cli_settings}},
    {"build hook ls",
     "REPOSITORY",
     "lists the last deliveries",
     hook_list,
     {cli_remote, cli_settings}},
    {"build hook test",
     "REPOSITORY",
     "starts what a delivery would",
     hook_test,
     {cli_remote, cli_settings}},
    {0},
};
