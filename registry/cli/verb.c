/* verb.c - what commands on the server's things have in common. */
#include "registry/cli/verb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/timestamp.h"
#include "registry/http/message.h"

/* --- paths --- */

void verb_path_word(struct buffer *path, const char *word, bool keep_slashes)
{
    struct slice rest = slice_of(word), part;
    bool more = keep_slashes;

    if (!keep_slashes)
        percent_encode(path, rest);
    while (more) {
        more = slice_split(rest, '/', &part, &rest);
        percent_encode(path, part);
        buffer_append_text(path, more ? "/" : "");
    }
}

void verb_path_parameter(struct buffer *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buffer_append_text(path, memchr(path->at, '?', path->size) == NULL ? "?" : "&");
    buffer_append_text(path, name);
    buffer_append_text(path, "=");
    percent_encode(path, slice_of(value));
}

void verb_content_path(const struct cli_call *call, struct buffer *path, const char *part,
                       size_t words)
{
    buffer_append_text(path, "/repos/");
    verb_path_word(path, call->words[0], true);
    buffer_append_text(path, "/-");
    buffer_append_text(path, part);
    if (words < 2)
        return;
    buffer_append_text(path, "/");
    verb_path_word(path, call->words[1], false);
}

/* --- requests --- */

int verb_list(const struct cli_call *call, struct buffer *path, const struct show_column *columns)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(json_drop) json_t *list = NULL;
    int status = client_open(&client, call);

    buffer_append(path, "", 1);
    if (status == CLI_DONE)
        status = client_list(client, path->at, &list);
    return status == CLI_DONE ? show_list(call, list, columns) : status;
}

int verb_show(const struct cli_call *call, struct buffer *path, const struct show_column *columns)
{
    return verb_send(call, "GET", path, NULL, NULL, columns);
}

static int verb_answer(const struct cli_call *call, const char *method, struct buffer *path,
                       json_t *body, json_t **answer)
{
    OWNED(json_drop) json_t *owned = body;
    OWNED(client_close) struct client *client = NULL;
    int status = client_open(&client, call);

    buffer_append(path, "", 1);
    return status == CLI_DONE ? client_send(client, method, path->at, owned, answer) : status;
}

int verb_send(const struct cli_call *call, const char *method, struct buffer *path, json_t *body,
              const char *done, const struct show_column *columns)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = verb_answer(call, method, path, body, &answer);

    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return json_is_null(answer) ? CLI_DONE : show_json(answer);
    if (done != NULL)
        fprintf(stderr, "%s\n", done);
    return columns != NULL ? show_one(call, answer, columns) : CLI_DONE;
}

int verb_send_secret(const struct cli_call *call, const char *method, struct buffer *path,
                     json_t *body)
{
    OWNED(json_drop) json_t *answer = NULL;
    int status = verb_answer(call, method, path, body, &answer);

    if (status != CLI_DONE)
        return status;
    if (cli_flag(call, "--json"))
        return show_json(answer);
    const json_t *token = json_object_get(answer, "token");
    if (!json_is_object(token))
        token = answer;
    const char *secret = json_string_value(json_object_get(token, "secret"));
    const char *end = json_string_value(json_object_get(token, "expires_at"));
    if (secret == NULL)
        return cli_fail(call, CLI_FAILED, "the server gave no secret");
    fprintf(stderr, "shown only now, good %s%.19s%s:\n", end == NULL ? "for ever" : "until ",
            end == NULL ? "" : end, end == NULL ? "" : "Z"); /* to the second */
    puts(secret);
    return CLI_DONE;
}

/* --- things with names or numbers --- */

int verb_number(const struct cli_call *call, const char *word, const char *thing, uint64_t *out)
{
    return slice_to_u64(slice_of(word), out)
               ? CLI_DONE
               : cli_usage(call, "%s is not the number of a %s", word, thing);
}

static int word_check(const struct cli_call *call, const struct verb_things *things)
{
    uint64_t number;

    return things->numbered == NULL ? CLI_DONE
                                    : verb_number(call, call->words[0], things->numbered, &number);
}

void verb_things_path(const struct cli_call *call, const struct verb_things *things,
                      struct buffer *path)
{
    buffer_append_text(path, things->path);
    buffer_append_text(path, "/");
    verb_path_word(path, call->words[0], things->keep_slashes);
}

int verb_things_list(const struct cli_call *call, const struct verb_things *things)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, things->path);
    verb_path_parameter(&path, "q", cli_value(call, "--search"));
    return verb_list(call, &path, things->columns);
}

int verb_things_show(const struct cli_call *call, const struct verb_things *things)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int status = word_check(call, things);

    if (status != CLI_DONE)
        return status;
    verb_things_path(call, things, &path);
    return verb_show(call, &path, things->details);
}

int verb_things_change(const struct cli_call *call, const struct verb_things *things, json_t *body,
                       const char *done)
{
    OWNED(json_drop) json_t *owned = body;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (json_object_size(owned) == 0)
        return cli_usage(call, "nothing to change was given");
    verb_things_path(call, things, &path);
    return verb_send(call, "PATCH", &path, TAKE(owned), done, NULL);
}

int verb_things_post(const struct cli_call *call, const struct verb_things *things,
                     const char *action, const char *done)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int status = word_check(call, things);

    if (status != CLI_DONE)
        return status;
    verb_things_path(call, things, &path);
    buffer_append_text(&path, action);
    return verb_send(call, "POST", &path, NULL, done, NULL);
}

int verb_things_delete(const struct cli_call *call, const struct verb_things *things)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int status = word_check(call, things);

    if (status != CLI_DONE)
        return status;
    verb_things_path(call, things, &path);
    return verb_send(call, "DELETE", &path, NULL, "deleted", NULL);
}

/* --- bodies --- */

enum { FILE_BYTES_MAX = 1 << 20 };

int verb_read_file(const struct cli_call *call, const char *file, struct buffer *out)
{
    bool input = strcmp(file, "-") == 0;
    int fd = input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    char piece[4096];
    ssize_t got = -1;

    while (fd >= 0 && out->size <= FILE_BYTES_MAX && (got = read(fd, piece, sizeof(piece))) > 0)
        buffer_append(out, piece, (size_t)got);
    int problem = errno;
    if (fd >= 0 && !input)
        close(fd);
    if (out->size > FILE_BYTES_MAX)
        return cli_fail(call, CLI_FAILED, "%s is longer than %d bytes", file, FILE_BYTES_MAX);
    if (got < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", file, strerror(problem));
    return CLI_DONE;
}

void verb_set_text(const struct cli_call *call, json_t *body, const char *option,
                   const char *member)
{
    const char *value = cli_value(call, option);

    if (value != NULL)
        json_object_set_new(body, member, json_string(value));
}

/* "90d" */
static bool duration(struct slice text, uint64_t *seconds)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    uint64_t count, unit = 0;

    for (size_t i = 0; text.size > 1 && i < sizeof(units) / sizeof(units[0]); i++)
        if (text.at[text.size - 1] == units[i].unit)
            unit = units[i].seconds;
    if (unit == 0 || !slice_to_u64((struct slice){text.at, text.size - 1}, &count) ||
        count > 100 * UINT64_C(365) * 86400 / unit)
        return false;
    *seconds = count * unit;
    return true;
}

/* So long from now, as RFC 3339. */
static json_t *time_in(uint64_t seconds)
{
    char text[TIMESTAMP_MAX];

    return json_string(timestamp_print((time(NULL) + (int64_t)seconds) * 1000000, text));
}

int verb_set_expiry(const struct cli_call *call, json_t *body, const char *option,
                    const char *member)
{
    const char *text = cli_value(call, option);
    uint64_t seconds;

    if (text == NULL)
        return CLI_DONE;
    if (strcmp(text, "never") == 0)
        json_object_set_new(body, member, json_null());
    else if (duration(slice_of(text), &seconds))
        json_object_set_new(body, member, time_in(seconds));
    else if (strchr(text, 'T') != NULL)
        json_object_set_new(body, member, json_string(text)); /* the server judges it */
    else
        return cli_usage(call, "%s is 90d, 12h, never, or a time such as 2027-01-31T00:00:00Z",
                         option);
    return CLI_DONE;
}

int verb_set_overlap(const struct cli_call *call, json_t *body)
{
    const char *text = cli_value(call, "--overlap");
    uint64_t seconds;

    if (text == NULL)
        return CLI_DONE;
    if (!duration(slice_of(text), &seconds))
        return cli_usage(call, "--overlap is a time such as 1h or 7d");
    json_object_set_new(body, "overlap_s", json_integer((json_int_t)seconds));
    return CLI_DONE;
}

void verb_set_rights(json_t *body, const char *text)
{
    static const char *const levels[] = {"read", "write", "maintain", "admin"};
    struct slice rest = slice_of(text), word;
    json_t *actions;
    bool more = true;

    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
        if (strcmp(text, levels[i]) == 0) {
            json_object_set_new(body, "level", json_string(text));
            return;
        }
    actions = json_array();
    while (more) {
        more = slice_split(rest, ',', &word, &rest);
        json_array_append_new(actions, json_stringn(word.at == NULL ? "" : word.at, word.size));
    }
    json_object_set_new(body, "actions", actions);
}
