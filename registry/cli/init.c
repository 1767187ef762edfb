/* init.c - init: the root folder, its signing keys, the first administrator.
 * Touches  the root folder, which no server may be using meanwhile.
 * Never    an administrator that is there already: then nothing is changed. */
#include <stdio.h>
#include <string.h>

#include "registry/cli/cli.h"
#include "registry/cli/prompt.h"
#include "registry/cli/wiring.h"
#include "registry/cli/work.h"

static const char *name_of(const struct cli_call *call)
{
    const char *name = cli_value(call, "--admin");

    return name == NULL ? "admin" : name;
}

/* --- the password: never from the command line --- */

static int check_password(const struct cli_call *call)
{
    bool file = cli_value(call, "--password-file") != NULL;
    bool made = cli_flag(call, "--generate-password");

    if (file && made)
        return cli_usage(call, "--password-file and --generate-password exclude each other");
    if (!file && !made && !prompt_possible())
        return cli_usage(call, "without a terminal a password needs --password-file or "
                               "--generate-password");
    return CLI_DONE;
}

static int get_password(const struct cli_call *call, char out[PROMPT_SECRET_MAX + 1])
{
    OWNED(buffer_drop) struct buffer question = BUFFER_NONE;

    if (cli_flag(call, "--generate-password")) {
        prompt_generate(out);
        return CLI_DONE;
    }
    buffer_print(&question, "password of %s", name_of(call));
    return prompt_password(call, "--password-file", question.at, true, out);
}

/* --- the root --- */

static int fail_error(const struct cli_call *call, const struct error *err)
{
    return cli_fail(call, err->code == ERROR_CONFLICT ? CLI_CONFLICT : CLI_FAILED, "%s%s%s",
                    err->message, err->cause[0] != 0 ? ": " : "", err->cause);
}

static int open_root(const struct cli_call *call, const struct config *config,
                     struct storage **storage) ON(worker_thread)
{
    struct error err = {0};
    bool exists = false;

    if (wiring_open_root(config, storage, &err) < 0) {
        fail_error(call, &err);
        return cli_fail(call, CLI_FAILED,
                        "if a server is running, stop it first; or use the setup token that "
                        "stands in its log");
    }
    if (account_admin_exists(*storage, &exists, &err) < 0)
        return fail_error(call, &err);
    if (exists)
        return cli_fail(call, CLI_CONFLICT,
                        "there is an administrator already; nothing was changed");
    return CLI_DONE;
}

static int create_admin(struct storage *storage, struct auth *auth, struct slice name,
                        struct slice password, struct error *err) ON(worker_thread)
{
    char hash[AUTH_PASSWORD_HASH_MAX];
    OWNED(memory_drop) char *text = memory_text(name);
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;

    buffer_print(&target, "user/%s", text);
    struct account account = {.name = text,
                              .kind = ACCOUNT_USER,
                              .role = ACCOUNT_ROLE_ADMIN,
                              .description = (char[]){"made by slipway init"},
                              .password_hash = hash};
    const struct audit_event event = {.actor = SLICE("local"),
                                      .action = SLICE("user.create"),
                                      .target = buffer_slice(&target),
                                      .outcome = SLICE("done"),
                                      .detail = SLICE("{\"role\":\"admin\",\"first\":true}")};
    if (auth_password_hash(auth, name, password, hash, err) < 0)
        return -1;
    return account_create(storage, &account, true, &event, err);
}

/* Where clients find us, for the next steps. */
static const char *address_of(const struct config *config)
{
    const char *url = config->server_public_url[0] != 0 ? config->server_public_url
                                                        : config->server_listen.items[0];
    const char *host = strstr(url, "://");

    return host == NULL ? url : host + strlen("://");
}

static void tell_next(const struct cli_call *call, const struct config *config,
                      const char *password)
{
    fprintf(stderr, "%s is ready; its administrator is %s.\n", config->storage_root, name_of(call));
    if (cli_flag(call, "--generate-password")) {
        fputs("The password is shown only now:\n", stderr);
        fflush(stderr);
        puts(password);
        fflush(stdout);
    }
    fprintf(stderr, "Next:\n  slipway serve\n  docker login %s -u %s\n", address_of(config),
            name_of(call));
    if (strcmp(config->auth_mode, "none") == 0)
        fputs("auth.mode is none: until that changes, everybody may do everything.\n", stderr);
}

static int init(const struct cli_call *call, const struct config *config) ON(worker_thread)
{
    OWNED(wiring_storage_drop) struct storage *storage = NULL;
    OWNED(wiring_auth_drop) struct auth *auth = NULL;
    OWNED(prompt_wipe) char password[PROMPT_SECRET_MAX + 1] = "";
    struct error err = {0};

    int status = open_root(call, config, &storage);
    if (status != CLI_DONE)
        return status;
    if (wiring_open_auth(config, AUTH_MODE_TOKEN, storage, &auth, &err) < 0)
        return fail_error(call, &err);
    status = get_password(call, password);
    if (status != CLI_DONE)
        return status;
    if (create_admin(storage, auth, slice_of(name_of(call)), slice_of(password), &err) < 0)
        return fail_error(call, &err);
    tell_next(call, config, password);
    return CLI_DONE;
}

static int run(const struct cli_call *call)
{
    OWNED(config_drop) struct config config = {0};
    int status = check_password(call);

    if (status != CLI_DONE)
        return status;
    if (!auth_account_name_valid(slice_of(name_of(call))))
        return cli_usage(call, "\"%s\" cannot be the name of an account", name_of(call));
    if (!cli_config_load(call, &config))
        return CLI_FAILED;
    status = work_owner_check(call, &config);
    if (status != CLI_DONE)
        return status;
    thread_role_current = ROLE_WORKER; /* nothing else is to be done here */
    assert_worker_thread();
    return init(call, &config);
}

static const struct cli_option init_options[] = {
    {"--admin", "NAME", "the administrator's name; without it admin", 0},
    {"--password-file", "FILE", "the password is the first line of FILE; - is standard input", 0},
    {"--generate-password", NULL, "makes a password and prints it, this once", 0},
    {0},
};

const struct cli_command cli_init_commands[] = {
    {"init",
     NULL,
     "makes the root folder, its keys and the first administrator",
     run,
     {init_options, cli_settings}},
    {0},
};
