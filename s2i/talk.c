/* talk.c - the words with a builder about one build: its spec goes over, log, layers and the result
 * come back.
 * Touches  the build's channel; storage for layers that are asked for and blobs that arrive.
 * Never    trusts what a builder says: packets, digests and counts are checked.
 *
 *   TAKEN --spec--> AT WORK --result--> DONE      AT WORK --stop--> CANCELLED --result, time-->
 * DONE */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/json.h"
#include "s2i/session.h"
#include "s2i/wire.h"

enum {
    LAYERS_SPARE = 64 << 20, /* bytes */
    LAYERS_MAX = 64,         /* that one build may give back */
    STOP_MS = 20 * 1000,     /* a builder ends a script within ten seconds (13.44) */
    LATE_MS = 60 * 1000,     /* beyond its own time limit it is the builder that hangs */
};

struct talk {
    struct session *session;
    struct buffer result; /* as it comes */
    uint64_t deadline_ms; /* monotonic */
    size_t layers;
    uint64_t bytes; /* of blobs that came */
    bool stopping, done;
};

/* --- what the builder asks for --- */

static const struct s2i_image *image_of(const struct s2i_spec *spec, const char *name)
{
    struct slice kind, number;
    uint64_t input;

    if (name == NULL)
        return NULL;
    if (slice_split(slice_of(name), '/', &kind, &number))
        return slice_equal(kind, SLICE("input")) && slice_to_u64(number, &input) &&
                       input < spec->input_count
                   ? &spec->inputs[input]
                   : NULL;
    return strcmp(name, "builder") == 0    ? &spec->builder
           : strcmp(name, "previous") == 0 ? &spec->previous
           : strcmp(name, "runtime") == 0  ? &spec->runtime
                                           : NULL;
}

static int give_layer(struct talk *talk, struct slice json, struct error *err) ON(worker_thread)
{
    struct session *session = talk->session;
    json_t *wish = json_loadb(json.at, json.size, 0, NULL);
    const struct s2i_image *image =
        image_of(&session->spec, json_string_value(json_object_get(wish, "image")));
    json_int_t layer = json_integer_value(json_object_get(wish, "layer"));
    struct error failure = {0};
    int fd = -1;

    json_decref(wish);
    if (image == NULL || layer < 0)
        error_set(&failure, ERROR_INVALID, "there is no such layer");
    else if (image_layer_open(session->task->builds, image, (size_t)layer, &fd, &failure) < 0)
        fd = -1;
    int sent =
        wire_send(session->channel, WIRE_FILE, slice_of(fd < 0 ? failure.message : ""), fd, err);
    if (fd >= 0)
        close(fd);
    return sent;
}

/* --- what it gives --- */

static int take_blob_end(struct talk *talk, struct slice json, struct error *err) ON(worker_thread)
{
    struct session *session = talk->session;
    json_t *told = json_loadb(json.at, json.size, 0, NULL);
    const char *text = json_string_value(json_object_get(told, "digest"));
    struct digest digest;
    int outcome = -1;

    if (text == NULL || digest_parse(slice_of(text), &digest, err) < 0)
        error_set(err, ERROR_INTERNAL, "the builder names no digest");
    else if (++talk->layers > LAYERS_MAX)
        error_set(err, ERROR_INVALID, "the build makes more than %d layers", LAYERS_MAX);
    else
        outcome = arrival_finish(&session->publisher, &session->arrival, &digest, err);
    json_decref(told);
    return outcome;
}

static int take_result(struct talk *talk, const struct wire_packet *packet, struct error *err)
{
    int whole = wire_gather(&talk->result, packet, err);

    if (whole <= 0)
        return whole;
    if (json_is_crowded(buffer_slice(&talk->result)))
        return error_set(err, ERROR_INVALID, "the builder's result has more than %d values",
                         JSON_VALUES_MAX);
    json_t *object = json_loadb(talk->result.at, talk->result.size, 0, NULL);
    int outcome = s2i_result_read(&talk->session->result, object, err);
    json_decref(object);
    talk->done = outcome == 0;
    return outcome;
}

/* Headers of a tar may take more room than empty files do. */
static uint64_t blob_bytes_max(const struct s2i_limits *limits)
{
    return 2 * limits->disk + LAYERS_SPARE;
}

static int take(struct talk *talk, const struct wire_packet *packet, struct error *err)
    ON(worker_thread)
{
    struct session *session = talk->session;
    struct slice payload = packet->payload;

    switch (packet->kind) {
    case WIRE_LOG:
        if (payload.size > 0 && session->task->log != NULL)
            build_log_write(session->task->log,
                            payload.at[0] == LOG_ERR   ? LOG_ERR
                            : payload.at[0] == LOG_OUT ? LOG_OUT
                                                       : LOG_STEP,
                            slice_from(payload, 1));
        return 0;
    case WIRE_STAGE:
        session_stage_told(session, payload);
        return 0;
    case WIRE_WANT:
        return give_layer(talk, payload, err);
    case WIRE_BLOB:
        talk->bytes += payload.size;
        if (talk->bytes > blob_bytes_max(&session->spec.limits))
            return error_set(err, ERROR_INVALID, "the build gives back more than it may write");
        return arrival_write(&session->publisher, &session->arrival, payload, err);
    case WIRE_BLOB_END:
        return take_blob_end(talk, payload, err);
    case WIRE_RESULT:
        return take_result(talk, packet, err);
    default:
        return error_set(err, ERROR_INTERNAL, "the builder said something unknown");
    }
}

/* --- the loop --- */

static void stop(struct talk *talk)
{
    struct session *session = talk->session;
    struct error ignored = {0};

    if (talk->stopping || !session_stopped(session))
        return;
    talk->stopping = true;
    talk->deadline_ms = clock_monotonic_ms() + STOP_MS;
    if (wire_send(session->channel, WIRE_CANCEL, slice_of(session->out->reason), -1, &ignored) < 0)
        talk->done = true;
}

static int receive(struct talk *talk, char *buffer, struct error *err) ON(worker_thread)
{
    struct session *session = talk->session;
    struct wire_packet packet;
    int got = wire_receive(session->channel, buffer, WIRE_PIECE_MAX + 1, &packet, err);

    if (got == 0)
        return error_set(err, ERROR_INTERNAL, "the builder ended in the middle of the build");
    if (got < 0)
        return -1;
    if (packet.fd >= 0)
        close(packet.fd);
    return take(talk, &packet, err);
}

static int converse(struct talk *talk, struct error *err) ON(worker_thread)
{
    struct session *session = talk->session;
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);

    while (!talk->done) {
        uint64_t now = clock_monotonic_ms();
        if (now >= talk->deadline_ms)
            return error_set(err, ERROR_INTERNAL, "the builder does not answer");
        uint64_t left = talk->deadline_ms - now; /* of a month, poll takes less */
        int untold = session_untold_ms(session); /* a stage may be silent for long */
        if (untold == 0)
            session_tell(session, false);
        if (untold > 0 && (uint64_t)untold < left)
            left = (uint64_t)untold;
        int ready = wire_wait(session->channel, talk->stopping ? -1 : session->task->wake,
                              left < INT_MAX ? (int)left : INT_MAX);
        if (ready == 2)
            stop(talk);
        if (ready == 2 && !talk->stopping) /* it was woken for nothing */
            ready = wire_wait(session->channel, -1, 0);
        if (ready == 1 && receive(talk, buffer, err) < 0)
            return -1;
    }
    return 0;
}

static int give_spec(struct session *session, struct error *err)
{
    json_t *object = s2i_spec_write(&session->spec);
    OWNED(memory_drop) char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    if (text == NULL)
        return error_set(err, ERROR_INVALID, "the build's words are not UTF-8");
    int outcome = wire_send_text(session->channel, WIRE_SPEC, slice_of(text), session->source, err);
    explicit_bzero(text, strlen(text)); /* secrets are in it */
    return outcome;
}

int session_talk(struct session *session)
{
    struct build_task *task = session->task;
    struct talk talk = {.session = session};
    struct error err = {0};

    if (link_take(task->builds->link, task->record.id, task->wake, &session->channel, &err) < 0) {
        if (!session_stopped(session))
            session_fail(session, BUILD_ERROR, "ExecutorUnavailable", "%s", err.message);
        return -1;
    }
    talk.deadline_ms = clock_monotonic_ms() + session->spec.limits.timeout_ms + LATE_MS;
    int outcome = give_spec(session, &err) < 0 ? -1 : converse(&talk, &err);
    arrival_drop(&session->publisher, &session->arrival);
    buffer_drop(&talk.result);
    link_give_back(task->builds->link, session->channel);
    session->channel = -1;
    if (outcome < 0)
        session_fail_by(
            session,
            err.code == ERROR_QUOTA ? "PushImageToRegistryFailed" : "GenericS2IBuildFailed", &err);
    return session->failed ? -1 : 0;
}
