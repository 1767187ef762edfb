/* backup.c - backup, restore: a registry in another folder, and back.
 * Touches  the server by way of work.h when a backup is made; else folders of backups, and the root
 *          that is restored.
 * Never    a root that holds something. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/cli/prompt.h"
#include "registry/cli/work.h"
#include "registry/core/clock.h"
#include "registry/core/timestamp.h"
#include "registry/jobs/backup.h"

/* --- what all share --- */

static int fail_error(const struct cli_call *call, const struct error *err)
{
    enum cli_exit status = err->code == ERROR_NOT_FOUND  ? CLI_NOT_FOUND
                           : err->code == ERROR_CONFLICT ? CLI_CONFLICT
                                                         : CLI_FAILED;

    return cli_fail(call, status, "%s%s%s", err->message, err->cause[0] != 0 ? ": " : "",
                    err->cause);
}

static int get_rate(const struct cli_call *call, uint64_t *rate)
{
    const char *text = cli_value(call, "--rate");

    *rate = 0;
    if (text == NULL || config_size_parse(slice_of(text), rate))
        return CLI_DONE;
    return cli_usage(call, "--rate is bytes a second, such as 50MiB");
}

/* --- progress, on a terminal only --- */

struct screen {
    bool terminal;
    const char *phase;
    uint64_t blobs, bytes, drawn_ms;
};

static void draw(struct screen *screen)
{
    uint64_t now = clock_monotonic_ms();

    if (!screen->terminal || now < screen->drawn_ms + 100)
        return;
    screen->drawn_ms = now;
    fprintf(stderr, "\r\033[K%s  blobs %llu  MiB %llu", screen->phase,
            (unsigned long long)screen->blobs, (unsigned long long)(screen->bytes >> 20));
    fflush(stderr);
}

static void set_phase(void *arg, const char *name)
{
    struct screen *screen = arg;

    screen->phase = name;
    draw(screen);
}

static void add(void *arg, const char *counter, uint64_t amount)
{
    struct screen *screen = arg;

    if (strcmp(counter, "blobs_done") == 0 || strcmp(counter, "blobs_removed") == 0)
        screen->blobs += amount;
    else if (strcmp(counter, "bytes_done") == 0)
        screen->bytes += amount;
    draw(screen);
}

static void erase(const struct screen *screen)
{
    if (screen->drawn_ms != 0)
        fputs("\r\033[K", stderr);
}

static struct screen screen_new(void)
{
    return (struct screen){.terminal = isatty(STDERR_FILENO) == 1, .phase = ""};
}

static struct progress progress_on(struct screen *screen)
{
    return (struct progress){.phase = set_phase, .add = add, .arg = screen};
}

/* --- what was done --- */

static const struct show_column made_columns[] = {
    {"snapshot", "snapshot"},
    {"repositories", "repositories"},
    {"manifests", "manifests"},
    {"blobs", "blobs"},
    {"bytes", SHOW_SIZE "bytes"},
    {"blobs copied", "copied"},
    {"bytes copied", SHOW_SIZE "copied_bytes"},
    {"blobs damaged", "damaged"},
    {0},
};

static const struct show_column verified_columns[] = {
    {"snapshot", "snapshot"},
    {"repositories", "repositories"},
    {"manifests", "manifests"},
    {"blobs", "blobs"},
    {"bytes", SHOW_SIZE "bytes"},
    {"blobs damaged", "damaged"},
    {0},
};

/* 1 when something is damaged, whatever else was done. */
static int show_done(const struct cli_call *call, const json_t *result,
                     const struct show_column *columns)
{
    json_int_t damaged = json_integer_value(json_object_get(result, "damaged"));
    const json_t *damages = json_object_get(result, "damages"), *item;
    size_t i;

    json_array_foreach(damages, i, item) {
        const char *digest = json_string_value(json_object_get(item, "digest"));
        const char *what = json_string_value(json_object_get(item, "what"));
        if (digest != NULL && what != NULL)
            fprintf(stderr, "%s is %s\n", digest, what);
    }
    show_one(call, result, columns);
    if (damaged == 0)
        return CLI_DONE;
    return cli_fail(call, CLI_FAILED, "%lld blobs are damaged; pushed again, they heal",
                    (long long)damaged);
}

static int show_report(const struct cli_call *call, const struct backup_report *report,
                       json_t *damages, const struct show_column *columns)
{
    OWNED(json_drop) json_t *result = backup_json(report);

    json_object_set(result, "damages", damages);
    return show_done(call, result, columns);
}

/* --- create --- */

static int create(const struct cli_call *call)
{
    OWNED(memory_drop) char *directory = work_path(call, call->words[0]);
    OWNED(json_drop) json_t *result = NULL;
    uint64_t rate;
    int status = get_rate(call, &rate);

    if (directory == NULL)
        return CLI_FAILED;
    if (status != CLI_DONE)
        return status;
    json_t *spec = json_pack("{s:s, s:b, s:I}", "directory", directory, "link",
                             cli_flag(call, "--link"), "rate", (json_int_t)rate);
    if (spec == NULL)
        return cli_usage(call, "the name of the folder is not UTF-8");
    status = work_run(call, &backup_job, spec, &result);
    if (status != CLI_DONE)
        return status;
    return show_done(call, result, made_columns);
}

/* --- ls, verify, rm, prune --- */

static const struct show_column list_columns[] = {
    {"SNAPSHOT", "snapshot"},
    {"COMPLETE", "complete"},
    {"BLOBS", "blobs"},
    {"BYTES", SHOW_SIZE "bytes"},
    {"NEW", SHOW_SIZE "copied_bytes"},
    {"MANIFESTS", "manifests"},
    {"DAMAGED", "damaged"},
    {0},
};

static json_t *snapshot_json(const struct backup_snapshot *snapshot)
{
    char time[TIMESTAMP_MAX];

    if (!snapshot->complete)
        return json_pack("{s:s, s:b}", "snapshot", snapshot->name, "complete", false);
    return json_pack("{s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "snapshot", snapshot->name,
                     "complete", true, "created_at", timestamp_print(snapshot->created_at, time),
                     "repositories", (json_int_t)snapshot->repositories, "manifests",
                     (json_int_t)snapshot->manifests, "blobs", (json_int_t)snapshot->blobs, "bytes",
                     (json_int_t)snapshot->bytes, "copied_bytes",
                     (json_int_t)snapshot->copied_bytes, "damaged", (json_int_t)snapshot->damaged);
}

static int list(const struct cli_call *call)
{
    OWNED(backup_list_drop) struct backup_list found = {NULL, 0};
    OWNED(json_drop) json_t *shown = json_object();
    json_t *items = json_array();
    struct error err = {0};

    json_object_set_new(shown, "items", items);
    if (backup_list(call->words[0], &found, &err) < 0)
        return fail_error(call, &err);
    for (size_t i = 0; i < found.count; i++)
        json_array_append_new(items, snapshot_json(&found.items[i]));
    return show_list(call, shown, list_columns);
}

static void be_worker(void) ASSERTS_ROLE_(worker_thread)
{
    thread_role_current = ROLE_WORKER; /* nothing else is to be done here */
    assert_worker_thread();
}

static int verify(const struct cli_call *call)
{
    OWNED(json_drop) json_t *damages = json_array();
    struct screen screen = screen_new();
    const struct progress progress = progress_on(&screen);
    struct backup_options options = {.directory = call->words[0],
                                     .told = backup_json_told(damages)};
    struct backup_report report;
    struct error err = {0};
    int status = get_rate(call, &options.rate);

    if (status != CLI_DONE)
        return status;
    be_worker();
    int result = backup_verify(call->words[1], &options, &progress, &report, &err);
    erase(&screen);
    return result < 0 ? fail_error(call, &err)
                      : show_report(call, &report, damages, verified_columns);
}

static const struct show_column removed_columns[] = {
    {"snapshots", "snapshots"}, {"blobs", "blobs"}, {"bytes", SHOW_SIZE "bytes"}, {0}};

static int remove_from(const struct cli_call *call, const char *snapshot, size_t keep)
{
    struct screen screen = screen_new();
    const struct progress progress = progress_on(&screen);
    struct backup_removed removed;
    struct error err = {0};

    be_worker();
    int result = backup_remove(call->words[0], snapshot, keep, &progress, &removed, &err);
    erase(&screen);
    if (result < 0)
        return fail_error(call, &err);
    OWNED(json_drop)
    json_t *shown =
        json_pack("{s:I, s:I, s:I}", "snapshots", (json_int_t)removed.snapshots, "blobs",
                  (json_int_t)removed.blobs, "bytes", (json_int_t)removed.bytes);
    return show_one(call, shown, removed_columns);
}

static int rm(const struct cli_call *call)
{
    if (!prompt_agreed(call, "remove snapshot %s", call->words[1]))
        return CLI_USAGE;
    return remove_from(call, call->words[1], 0);
}

static int prune(const struct cli_call *call)
{
    const char *text = cli_value(call, "--keep");
    uint64_t keep = 0;

    if (text == NULL || !slice_to_u64(slice_of(text), &keep) || keep == 0)
        return cli_usage(call, "--keep is how many snapshots stay, 1 at least");
    if (!prompt_agreed(call, "remove all but the newest %llu snapshots", (unsigned long long)keep))
        return CLI_USAGE;
    return remove_from(call, NULL, keep);
}

/* --- restore --- */

static int restore_into(const struct cli_call *call, struct restore_options *options)
{
    OWNED(json_drop) json_t *damages = json_array();
    struct screen screen = screen_new();
    const struct progress progress = progress_on(&screen);
    struct backup_report report;
    struct error err = {0};

    options->from.told = backup_json_told(damages);
    be_worker();
    int result = backup_restore(options, &progress, &report, &err);
    erase(&screen);
    return result < 0 ? fail_error(call, &err) : show_report(call, &report, damages, made_columns);
}

static int restore(const struct cli_call *call)
{
    OWNED(config_drop) struct config config = {0};
    struct restore_options options = {
        .from = {.directory = call->words[0], .link = cli_flag(call, "--link")},
        .snapshot = call->words[1],
        .dry_run = cli_flag(call, "--dry-run"),
    };
    int status = get_rate(call, &options.from.rate);

    if (status != CLI_DONE)
        return status;
    if (!cli_config_load(call, &config))
        return CLI_FAILED;
    options.root = config.storage_root;
    options.grace_ms = config.gc_grace;
    return restore_into(call, &options);
}

/* --- the tables --- */

#define RATE                                                                                       \
    {                                                                                              \
        "--rate", "SIZE", "bytes a second at most, such as 50MiB", 0                               \
    }
#define LINK                                                                                       \
    {                                                                                              \
        "--link", NULL, "hard links where the file system can: one file serves both", 0            \
    }
#define JSON                                                                                       \
    {                                                                                              \
        "--json", NULL, "one JSON document on standard output", 0                                  \
    }

static const struct cli_option create_options[] = {LINK, RATE, {0}};
static const struct cli_option list_options[] = {JSON, {0}};
static const struct cli_option verify_options[] = {RATE, JSON, {0}};
static const struct cli_option prune_options[] = {
    {"--keep", "COUNT", "so many snapshots stay, the newest", 0}, JSON, {0}};
static const struct cli_option restore_options[] = {
    {"--dry-run", NULL, "only looks whether it would work", 0}, LINK, RATE, JSON, {0}};

const struct cli_command cli_backup_commands[] = {
    {"backup create",
     "DIR",
     "copies what is new into DIR, as a snapshot, while the server serves",
     create,
     {create_options, cli_remote, cli_settings}},
    {"backup ls", "DIR", "lists the snapshots in DIR", list, {list_options}},
    {"backup verify",
     "DIR [SNAPSHOT]",
     "reads all that a snapshot names, the newest without SNAPSHOT",
     verify,
     {verify_options}},
    {"backup rm",
     "DIR SNAPSHOT",
     "removes a snapshot, and the bytes that no other one names",
     rm,
     {list_options, cli_yes}},
    {"backup prune",
     "DIR",
     "removes all but the newest snapshots",
     prune,
     {prune_options, cli_yes}},
    {"restore",
     "DIR [SNAPSHOT]",
     "makes an empty storage.root what it was, of the newest snapshot without SNAPSHOT",
     restore,
     {restore_options, cli_settings}},
    {0},
};
