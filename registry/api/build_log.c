/* build_log.c - logs of builds: the file, in ranges; or followed while it grows.
 * Touches  logs, by way of s2i/log.h.
 * Never    holds a worker while a log goes on: the loop sends what the pipe brings.
 *
 *   without follow: the bytes there are now; Range counts
 *   ?follow=true: goes on until the log ends, from ?offset=
 *   Accept: text/event-stream: the same as events, from Last-Event-ID, a byte offset
 *   ?timestamps=true: each line after its time and stream
 *
 * A byte offset names the same byte for everybody. Spec: s2i 13.45 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "registry/api/build.h"
#include "s2i/log.h"

struct log_wish {
    struct log_follow follow;
    bool plain; /* the file, with ranges */
};

/* A number of the query, or of Last-Event-ID; a browser that begins sends none. */
static int offset_read(const struct request *request, bool events, uint64_t *out, struct error *err)
{
    struct slice given = request_parameter(request, "offset");
    struct slice last = request_header(request, "last-event-id");

    *out = 0;
    if (events && last.size > 0)
        given = last;
    if (given.at == NULL || slice_to_u64(given, out))
        return 0;
    return error_set_field(err, "offset", "offset must be a number of bytes");
}

static bool wants_events(const struct request *request)
{
    OWNED(buffer_drop) struct buffer accept = BUFFER_NONE;

    request_header_joined(request, "accept", &accept);
    return accept.size > 0 && memmem(accept.at, accept.size, "text/event-stream",
                                     sizeof("text/event-stream") - 1) != NULL;
}

static int wish_read(const struct request *request, int64_t id, struct log_wish *out,
                     struct error *err)
{
    bool events = wants_events(request), follow, timed;

    *out = (struct log_wish){.follow = {.id = id}};
    if (answer_flag(request, "follow", &follow, err) < 0 ||
        answer_flag(request, "timestamps", &timed, err) < 0 ||
        offset_read(request, events, &out->follow.offset, err) < 0)
        return -1;
    out->follow.follow = follow || events;
    out->follow.form = events ? LOG_SSE : timed ? LOG_TIMED : LOG_TEXT;
    out->plain = !out->follow.follow && out->follow.form == LOG_TEXT && out->follow.offset == 0;
    return 0;
}

/* --- the file --- */

static void file_close(void *released, bool failed)
{
    int *fd = released;

    (void)failed;
    close(*fd);
    memory_drop(&released);
}

static void file_send(struct reply *reply, int fd, uint64_t first, uint64_t size)
{
    int *owned = memory_new(sizeof(*owned));

    *owned = fd;
    reply_file(reply, fd, first, size, file_close, owned);
}

/* What was written until now; more than one range is answered with all of it. */
static int answer_file(const struct request *request, struct reply *reply, int64_t id,
                       struct error *err) ON(worker_thread)
{
    struct build_logs *logs = builds_logs(request->services->builds);
    struct range ranges[RANGES_MAX];
    uint64_t size;
    size_t count = 0;
    bool live;
    int fd = -1;

    if (build_log_stat(logs, id, &size, &live, err) < 0)
        return -1;
    enum range_outcome outcome =
        size == 0 ? RANGE_NONE
                  : range_parse(request_header(request, "range"), size, ranges, &count);
    reply_header_slice(reply, "Content-Type", SLICE("text/plain; charset=utf-8"));
    reply_header_slice(reply, "Accept-Ranges", SLICE("bytes"));
    if (outcome == RANGE_UNSATISFIABLE) {
        reply_header(reply, "Content-Range", "bytes */%" PRIu64, size);
        reply->status = 416;
        return 0;
    }
    if (build_log_file(logs, id, &fd, err) < 0)
        return -1;
    bool partial = outcome == RANGE_PARTIAL && count == 1;
    reply->status = partial ? 206 : 200;
    if (partial)
        reply_header(reply, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                     ranges[0].first, ranges[0].last, size);
    file_send(reply, fd, partial ? ranges[0].first : 0,
              partial ? ranges[0].last - ranges[0].first + 1 : size);
    return 0;
}

/* --- followed --- */

static void head_write(struct reply *reply, const struct log_follow *wish)
{
    bool events = wish->form == LOG_SSE;

    reply->status = 200;
    reply_header_slice(reply, "Content-Type",
                       events ? SLICE("text/event-stream") : SLICE("text/plain; charset=utf-8"));
    reply_header_slice(reply, "X-Accel-Buffering", SLICE("no"));
}

/* A build that waits has no log yet: events tell when to come again, text is empty. */
static void answer_nothing_yet(struct reply *reply, const struct log_follow *wish)
{
    head_write(reply, wish);
    reply_header_slice(reply, "Retry-After", SLICE("1"));
    if (wish->form == LOG_SSE)
        reply_bytes(reply, SLICE("retry: 1000\n\n"), NULL, NULL);
}

static int answer_live(const struct request *request, struct reply *reply,
                       const struct log_follow *wish, struct error *err) ON(worker_thread)
{
    int fd;

    if (build_log_follow(builds_logs(request->services->builds), wish, &fd, err) < 0)
        return -1;
    head_write(reply, wish);
    reply_live(reply, fd, NULL, NULL);
    reply_live_follower(reply);
    return 0;
}

int api_build_log_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_record_drop) struct build_record build = {.id = 0};
    struct log_wish wish;
    unsigned rights = 0;

    assert_worker_thread();
    if (api_build_at(request, &build, &rights, err) < 0 || api_builds_needed(request, err) < 0 ||
        wish_read(request, build.id, &wish, err) < 0)
        return -1;
    bool whole = wish.plain || request->method == METHOD_HEAD;
    int outcome = whole ? answer_file(request, reply, build.id, err)
                        : answer_live(request, reply, &wish.follow, err);
    if (outcome == 0 || whole || err->code != ERROR_NOT_FOUND || build_state_ended(build.state))
        return outcome;
    error_clear(err);
    answer_nothing_yet(reply, &wish.follow);
    return 0;
}
