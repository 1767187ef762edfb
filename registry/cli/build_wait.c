/* build_wait.c - a build's log as it grows, and its end. */
#include "registry/cli/build_wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 2000, TRIES = 30 };

/* --- the log --- */

struct output {
    uint64_t offset; /* bytes that were shown */
};

static void show(void *arg, struct slice bytes)
{
    struct output *output = arg;

    fwrite(bytes.at, 1, bytes.size, stdout);
    fflush(stdout);
    output->offset += bytes.size;
}

static void log_path(struct buffer *path, int64_t id, const char *query)
{
    buffer_print(path, "/builds/%" PRId64 "/log%s", id, query);
    buffer_append(path, "", 1);
}

int build_log_print_now(const struct cli_call *call, struct client *client, int64_t id, bool timed)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct output output = {0};
    bool broken;

    log_path(&path, id, timed ? "?timestamps=true" : "");
    int status = client_follow(client, path.at, show, &output, &broken);
    if (status == CLI_DONE && broken)
        return cli_fail(call, CLI_UNREACHABLE, "the connection broke");
    return status;
}

/* The server has seen to it in logs; what a builder says of itself comes as it is. */
void build_log_show(const char *text)
{
    for (const char *at = text; at != NULL && *at != 0; at++) {
        unsigned char c = (unsigned char)*at;
        putchar(c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f) ? c : '?');
    }
    if (text != NULL && *text != 0 && text[strlen(text) - 1] != '\n')
        putchar('\n');
}

/* --- waiting --- */

static void pause_for(uint64_t *ms)
{
    const struct timespec wait = {.tv_sec = (time_t)(*ms / 1000),
                                  .tv_nsec = (long)(*ms % 1000) * 1000000};

    nanosleep(&wait, NULL);
    *ms = *ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : *ms * 2;
}

static const char *state_of(const json_t *build)
{
    const char *state = json_string_value(json_object_get(build, "state"));

    return state == NULL ? "" : state;
}

static bool waits(const char *state)
{
    return strcmp(state, "New") == 0 || strcmp(state, "Pending") == 0;
}

static bool has_ended(const char *state)
{
    return !waits(state) && strcmp(state, "Running") != 0;
}

/* Spec: s2i 13.43 */
static void tell_ahead(const json_t *build, json_int_t *told)
{
    const json_t *ahead = json_object_get(build, "ahead");

    if (!json_is_integer(ahead) || json_integer_value(ahead) == *told)
        return;
    *told = json_integer_value(ahead);
    if (*told > 0)
        fprintf(stderr, "waiting (%" JSON_INTEGER_FORMAT " ahead)\n", *told);
}

/* From where it stands to its end, or as far as the connection holds. 404: nothing was written. */
static int follow(struct client *client, int64_t id, struct output *output, bool *broken)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer query = BUFFER_NONE;

    buffer_print(&query, "?follow=true&offset=%" PRIu64, output->offset);
    buffer_append(&query, "", 1);
    log_path(&path, id, query.at);
    return client_follow(client, path.at, show, output, broken);
}

/* One look at it, and its log as far as there is more. True when *end is set; *status of a failure
 * that asking again does not mend. */
static bool look(struct client *client, int64_t id, bool shown, struct output *output,
                 json_int_t *told, int *status, json_t **end)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *build = NULL;
    bool broken = false;

    buffer_print(&path, "/builds/%" PRId64, id);
    buffer_append(&path, "", 1);
    *status = client_send(client, "GET", path.at, NULL, &build);
    if (*status != CLI_DONE)
        return false;
    const char *state = state_of(build);
    bool over = has_ended(state);
    bool logged = json_integer_value(json_object_get(build, "log_size")) > 0;
    tell_ahead(build, told);
    if (shown && !waits(state) && (!over || logged))
        *status = follow(client, id, output, &broken);
    if (*status != CLI_DONE || !over || broken)
        return false;
    *end = TAKE(build);
    return true;
}

int build_wait(const struct cli_call *call, struct client *client, int64_t id, bool shown,
               uint64_t offset, json_t **end)
{
    struct output output = {offset};
    uint64_t pause_ms = PAUSE_MIN_MS;
    json_int_t told = 0;
    int tries = 0, status = CLI_DONE;
    bool over = false;

    client_quiet(client, true);
    while (!over && tries < TRIES) {
        uint64_t before = output.offset;
        over = look(client, id, shown, &output, &told, &status, end);
        if (status != CLI_DONE && status != CLI_UNREACHABLE)
            break;
        tries = status == CLI_DONE ? 0 : tries + 1;
        if (output.offset > before)
            pause_ms = PAUSE_MIN_MS;
        if (!over)
            pause_for(&pause_ms);
    }
    client_quiet(client, false);
    if (tries == TRIES)
        return cli_fail(call, CLI_UNREACHABLE, "build %" PRId64 " was lost sight of", id);
    return status;
}

/* --- the end --- */

/* Numbers of s2i's command beyond ours; a failing assemble is 1 there too. */
static int exit_of(const char *reason)
{
    static const struct {
        const char *reason;
        int status;
    } known[] = {
        {"FetchScriptsFailed", 8},       {"InstallScriptsFailed", 11},  {"InvalidSource", 14},
        {"InvalidContextDirectory", 14}, {"AssembleUserForbidden", 15},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(reason, known[i].reason) == 0)
            return known[i].status;
    return CLI_FAILED;
}

int build_ended(const struct cli_call *call, const json_t *end)
{
    const char *state = state_of(end);
    const char *reason = json_string_value(json_object_get(end, "reason"));
    const char *message = json_string_value(json_object_get(end, "message"));
    const char *digest = json_string_value(json_object_get(end, "result_digest"));

    if (strcmp(state, "Complete") == 0) {
        fprintf(stderr, "built %s@%s\n", json_string_value(json_object_get(end, "repository")),
                digest == NULL ? "" : digest);
        return CLI_DONE;
    }
    cli_fail(call, CLI_FAILED, "build %" JSON_INTEGER_FORMAT ": %s%s%s%s%s",
             json_integer_value(json_object_get(end, "id")), state, reason == NULL ? "" : ", ",
             reason == NULL ? "" : reason, message == NULL ? "" : ": ",
             message == NULL ? "" : message);
    return exit_of(reason == NULL ? "" : reason);
}
