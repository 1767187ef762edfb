/* push.c - see push.h.
 * Touches  memory only (pure).
 * Never    judges a ref. */
#include "registry/git/push.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/git/packet.h"

void push_request_drop(struct push_request *request)
{
    for (size_t i = 0; i < request->count; i++)
        free(request->commands[i].ref);
    for (size_t i = 0; i < request->option_count; i++)
        free(request->options[i]);
    free(request->commands);
    free(request->options);
    *request = (struct push_request){0};
}

bool oid_is_none(const char *oid)
{
    return oid[strspn(oid, "0")] == 0;
}

bool oid_valid(struct slice text)
{
    uint8_t bytes[GIT_OID_SIZE / 2];

    return text.size == GIT_OID_SIZE && hex_decode(text, bytes, sizeof(bytes));
}

/* --- sections --- */

static int malformed(struct error *err)
{
    return error_set(err, ERROR_BAD_REQUEST, "git told its hook something malformed");
}

static bool promises(struct slice line, const char *word)
{
    struct slice version, rest, one;

    if (!slice_split(line, 0, &version, &rest))
        return false;
    while (rest.size > 0) {
        slice_split(rest, ' ', &one, &rest);
        if (slice_equal_text(one, word))
            return true;
    }
    return false;
}

/* The rest of a section, whose lines nobody looks at. 1: it was whole, 0, -1. */
static int skip_section(struct slice *text)
{
    struct slice line;
    enum packet_outcome outcome;

    while ((outcome = packet_next(text, &line)) == PACKET_DATA)
        ;
    return outcome == PACKET_FLUSH ? 1 : outcome == PACKET_SHORT ? 0 : -1;
}

static int take_capabilities(struct slice *text, bool *options, bool *atomic)
{
    struct slice line;
    enum packet_outcome outcome = packet_next(text, &line);

    *options = *atomic = false;
    if (outcome == PACKET_SHORT)
        return 0;
    if (outcome != PACKET_DATA || !slice_starts(line, "version=1"))
        return -1;
    *options = promises(line, "push-options");
    *atomic = promises(line, "atomic");
    return skip_section(text);
}

int push_capabilities(struct slice text, bool *options, bool *atomic)
{
    return take_capabilities(&text, options, atomic);
}

int push_request_complete(struct slice text)
{
    bool options, atomic;
    int outcome = take_capabilities(&text, &options, &atomic);

    if (outcome > 0)
        outcome = skip_section(&text);
    return outcome > 0 && options ? skip_section(&text) : outcome;
}

/* "<old> <new> <ref>" */
static int add_command(struct push_request *out, struct slice line, struct error *err)
{
    struct slice old, new, ref;

    if (!slice_split(line, ' ', &old, &line) || !slice_split(line, ' ', &new, &ref) ||
        !oid_valid(old) || !oid_valid(new) || ref.size == 0 || memchr(ref.at, 0, ref.size) != NULL)
        return malformed(err);
    if (out->count == PUSH_COMMANDS_MAX || ref.size > PUSH_REF_SIZE_MAX)
        return error_set(err, ERROR_BAD_REQUEST,
                         "a push may have %d refs of %d bytes: send it in parts", PUSH_COMMANDS_MAX,
                         PUSH_REF_SIZE_MAX);
    if (out->commands == NULL)
        out->commands = memory_new(PUSH_COMMANDS_MAX * sizeof(*out->commands));
    struct push_command *command = &out->commands[out->count++];
    memcpy(command->old, old.at, GIT_OID_SIZE);
    memcpy(command->new, new.at, GIT_OID_SIZE);
    command->ref = memory_text(ref);
    return 0;
}

static int add_option(struct push_request *out, struct slice line, struct error *err)
{
    if (out->option_count == PUSH_OPTIONS_MAX || line.size > PUSH_OPTION_SIZE_MAX ||
        (line.size > 0 && memchr(line.at, 0, line.size) != NULL))
        return error_set(err, ERROR_BAD_REQUEST, "a push may have %d options of %d bytes",
                         PUSH_OPTIONS_MAX, PUSH_OPTION_SIZE_MAX);
    out->options = memory_resize(out->options, (out->option_count + 1) * sizeof(*out->options));
    out->options[out->option_count++] = memory_text(line);
    return 0;
}

static int read_section(struct slice *text, struct push_request *out,
                        int (*add)(struct push_request *, struct slice, struct error *),
                        struct error *err)
{
    struct slice line;

    for (;;) {
        enum packet_outcome outcome = packet_next(text, &line);
        if (outcome == PACKET_FLUSH)
            return 0;
        if (outcome != PACKET_DATA)
            return malformed(err);
        if (add(out, line, err) < 0)
            return -1;
    }
}

int push_request_parse(struct slice text, struct push_request *out, struct error *err)
{
    bool options;

    *out = (struct push_request){0};
    if (take_capabilities(&text, &options, &out->atomic) <= 0)
        return malformed(err);
    if (read_section(&text, out, add_command, err) < 0 ||
        (options && read_section(&text, out, add_option, err) < 0)) {
        push_request_drop(out);
        return -1;
    }
    return 0;
}

/* --- wishes --- */

void push_wishes_drop(struct push_wishes *wishes)
{
    s2i_list_drop(&wishes->tags);
    s2i_list_drop(&wishes->env);
    free(wishes->builder);
    *wishes = (struct push_wishes){0};
}

static bool switch_read(struct slice option, struct push_wishes *out)
{
    const struct {
        const char *word;
        bool *flag;
    } switches[] = {
        {"async", &out->async},       {"wait", &out->wait},       {"no-build", &out->no_build},
        {"no-cache", &out->no_cache}, {"rebuild", &out->rebuild},
    };

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (slice_equal_text(option, switches[i].word)) {
            *switches[i].flag = true;
            return true;
        }
    return false;
}

static int wish_read(struct slice option, struct push_wishes *out, struct error *err)
{
    struct slice name, value, rest;

    if (switch_read(option, out))
        return 0;
    slice_split(option, '=', &name, &value);
    if (slice_equal_text(name, "tag") && oci_tag_valid(value)) {
        s2i_list_add(&out->tags, value);
        return 0;
    }
    if (slice_equal_text(name, "env") && slice_split(value, '=', &name, &rest) && name.size > 0) {
        s2i_list_add(&out->env, value);
        return 0;
    }
    if (slice_equal_text(name, "builder") && value.size > 0) {
        if (out->builder != NULL)
            return error_set(err, ERROR_INVALID, "the push option builder stands here twice");
        out->builder = memory_text(value);
        return 0;
    }
    return error_set(err, ERROR_INVALID,
                     "there is no push option %.*s: there are async, wait, no-build, no-cache, "
                     "rebuild, tag=TAG, env=NAME=VALUE, builder=IMAGE",
                     option.size > 40 ? 40 : (int)option.size, option.at);
}

int push_wishes_parse(const struct push_request *request, struct push_wishes *out,
                      struct error *err)
{
    *out = (struct push_wishes){0};
    for (size_t i = 0; i < request->option_count; i++)
        if (wish_read(slice_of(request->options[i]), out, err) < 0) {
            push_wishes_drop(out);
            return -1;
        }
    if (!out->async || !out->wait)
        return 0;
    push_wishes_drop(out);
    return error_set(err, ERROR_INVALID, "the push options async and wait exclude each other");
}

/* --- verdicts --- */

static void line_append(struct buffer *out, const char *format, ...) PRINTF_LIKE(2, 3);
static void line_append(struct buffer *out, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&line, format, list);
    va_end(list);
    packet_append(out, buffer_slice(&line));
}

void push_verdict_append(struct buffer *out, const char *ref, const char *reason_or_null)
{
    if (reason_or_null != NULL) {
        line_append(out, "ng %s %s", ref, reason_or_null);
        return;
    }
    line_append(out, "ok %s", ref);
    packet_append(out, SLICE("option fall-through"));
}
