/* channel.c - a worker's words with its server: log, stages, what it wants, what it made.
 * Touches  the build's channel.
 * Never    goes on for a server that is gone: then every container is ended. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/builder/builder_internal.h"

enum { LOOK_MS = 100 };

/* --- log --- */

static void tell(struct work *work, enum wire_kind kind, struct slice payload)
{
    struct error ignored = {0};

    if (!work->gone && wire_send(work->channel, kind, payload, -1, &ignored) < 0)
        work->gone = true;
}

void work_log(struct work *work, enum log_stream stream, struct slice bytes)
{
    char piece[WIRE_PIECE_MAX];

    while (bytes.size > 0) {
        size_t size = bytes.size < sizeof(piece) - 1 ? bytes.size : sizeof(piece) - 1;
        piece[0] = (char)stream;
        memcpy(piece + 1, bytes.at, size);
        tell(work, WIRE_LOG, (struct slice){piece, size + 1});
        bytes = slice_from(bytes, size);
    }
}

static bool level_is(const struct work *work, const char *level)
{
    const char *given = work->spec.options.log_level;

    return given != NULL && strcmp(given, level) == 0;
}

static void print(struct work *work, const char *start, const char *format, va_list list)
    PRINTF_LIKE(3, 0);

static void print(struct work *work, const char *start, const char *format, va_list list)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    buffer_append_text(&line, start);
    buffer_print_list(&line, format, list);
    buffer_append_text(&line, "\n");
    work_log(work, LOG_STEP, buffer_slice(&line));
}

void work_step(struct work *work, const char *format, ...)
{
    va_list list;

    if (level_is(work, "output"))
        return;
    va_start(list, format);
    print(work, "-----> ", format, list);
    va_end(list);
}

void work_detail(struct work *work, const char *format, ...)
{
    va_list list;

    if (!level_is(work, "detail"))
        return;
    va_start(list, format);
    print(work, "       ", format, list);
    va_end(list);
}

void work_warn(struct work *work, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&line, format, list);
    va_end(list);
    s2i_list_add(&work->result.warnings, buffer_slice(&line));
    buffer_append_text(&line, "\n");
    work_log(work, LOG_STEP, SLICE("warning: "));
    work_log(work, LOG_STEP, buffer_slice(&line));
}

void work_notes(struct work *work, const struct s2i_list *notes)
{
    for (size_t i = 0; i < notes->count; i++)
        work_warn(work, "%s", notes->items[i]);
}

/* --- stages (12.3) --- */

static void tell_stage(struct work *work, json_t *stage)
{
    OWNED(memory_drop) char *text = json_dumps(stage, JSON_COMPACT);

    json_decref(stage);
    tell(work, WIRE_STAGE, slice_of(text));
}

void work_stage(struct work *work, const char *name)
{
    uint64_t now = clock_monotonic_ms();

    if (work->stage != NULL)
        tell_stage(work, json_pack("{s:s, s:I}", "name", work->stage, "ms",
                                   (json_int_t)(now - work->stage_ms)));
    work->stage = name;
    work->stage_ms = now;
    if (name != NULL)
        tell_stage(work, json_pack("{s:s}", "name", name));
}

/* --- packets that come --- */

static void note_cancel(struct work *work, struct slice reason)
{
    if (work->cancel[0] == 0 &&
        (reason.size == 0 || !slice_to_text(reason, work->cancel, sizeof(work->cancel))))
        snprintf(work->cancel, sizeof(work->cancel), "CancelledBuild");
}

/* A packet that is no answer to anything: -1 when the server is gone. */
static int receive(struct work *work, char *buffer, struct wire_packet *packet, struct error *err)
{
    int got = wire_receive(work->channel, buffer, WIRE_PIECE_MAX + 1, packet, err);

    if (got <= 0) {
        work->gone = true;
        return error_set(err, ERROR_UNAVAILABLE, "the server is gone");
    }
    if (packet->kind == WIRE_CANCEL)
        note_cancel(work, packet->payload);
    return 0;
}

void work_listen(struct work *work)
{
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);
    struct wire_packet packet;
    struct error ignored = {0};

    if (receive(work, buffer, &packet, &ignored) == 0 && packet.fd >= 0)
        close(packet.fd);
}

int work_over(struct work *work, struct error *err)
{
    uint64_t timeout_ms = work->spec.limits.timeout_ms;

    if (work->cancel[0] != 0 || (work->gone && !work->probing))
        return work_fail(work, work->cancel[0] != 0 ? work->cancel : "CancelledBuild", err,
                         "the build was cancelled");
    if (timeout_ms > 0 && clock_monotonic_ms() - work->started_ms >= timeout_ms)
        return work_fail(work, "BuildTimeout", err, "the build took longer than %llu s",
                         (unsigned long long)(timeout_ms / 1000));
    return 0;
}

int work_go_on(void *arg, struct error *err)
{
    struct work *work = arg;
    struct pollfd channel = {.fd = work->channel, .events = POLLIN};
    uint64_t now = clock_monotonic_ms();

    if (now - work->looked_ms >= LOOK_MS) {
        work->looked_ms = now;
        while (!work->gone && poll(&channel, 1, 0) > 0)
            work_listen(work);
    }
    return work_over(work, err);
}

static int gather_spec(struct work *work, struct buffer *text, struct error *err)
{
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);
    struct wire_packet packet;

    for (int whole = 0; whole == 0;) {
        if (receive(work, buffer, &packet, err) < 0)
            return -1;
        if (packet.kind == WIRE_SPEC)
            whole = wire_gather(text, &packet, err);
        if (whole == 1)
            work->source = packet.fd;
        else if (packet.fd >= 0)
            close(packet.fd);
        if (whole < 0)
            return -1;
    }
    explicit_bzero(buffer, WIRE_PIECE_MAX + 1); /* secrets were in it */
    return 0;
}

int work_receive_spec(struct work *work, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (gather_spec(work, &text, err) < 0)
        return -1;
    json_t *object = json_loadb(text.at, text.size, 0, NULL);
    if (text.at != NULL)
        explicit_bzero(text.at, text.size);
    int outcome = s2i_spec_read(&work->spec, object, err);
    json_decref(object);
    return outcome;
}

int work_want(struct work *work, json_t *request, int *fd, struct error *err)
{
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);
    OWNED(memory_drop) char *text = json_dumps(request, JSON_COMPACT);
    struct wire_packet packet = {.fd = -1};

    json_decref(request);
    if (wire_send(work->channel, WIRE_WANT, slice_of(text), -1, err) < 0)
        return -1;
    do {
        if (packet.fd >= 0)
            close(packet.fd);
        if (receive(work, buffer, &packet, err) < 0)
            return -1;
        if (work->cancel[0] != 0 && packet.kind != WIRE_FILE)
            return error_set(err, ERROR_INVALID, "the build was cancelled");
    } while (packet.kind != WIRE_FILE);
    if (packet.fd < 0)
        return error_set(err, ERROR_UNAVAILABLE, "%.*s", SLICE_ARG(packet.payload));
    *fd = packet.fd;
    return 0;
}

/* --- what was made --- */

int work_blob(void *arg, struct slice bytes, struct error *err)
{
    struct work *work = arg;

    while (bytes.size > 0) {
        size_t size = bytes.size < WIRE_PIECE_MAX ? bytes.size : WIRE_PIECE_MAX;
        if (work_go_on(work, err) < 0)
            return -1;
        if (wire_send(work->channel, WIRE_BLOB, (struct slice){bytes.at, size}, -1, err) < 0)
            return -1;
        bytes = slice_from(bytes, size);
    }
    return 0;
}

int work_blob_end(struct work *work, const char *kind, const struct s2i_layer *layer,
                  const char *name, struct error *err)
{
    char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];
    json_t *object = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "kind", kind, "digest",
                               digest_text(&layer->digest, digest), "size", (json_int_t)layer->size,
                               "diff_id", digest_text(&layer->diff_id, diff_id), "media_type",
                               layer->media_type, "name", name);
    OWNED(memory_drop) char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    if (text == NULL)
        return error_set(err, ERROR_INTERNAL, "a layer's name is not UTF-8");
    return wire_send(work->channel, WIRE_BLOB_END, slice_of(text), -1, err);
}

int work_send_result(struct work *work, struct error *err)
{
    json_t *object = s2i_result_write(&work->result);
    OWNED(memory_drop) char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    if (text == NULL)
        return error_set(err, ERROR_INVALID, "the result is not UTF-8");
    return wire_send_text(work->channel, WIRE_RESULT, slice_of(text), -1, err);
}
