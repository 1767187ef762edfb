/* scrub.c - the scrub: where it stands, and a pass at once.
 * Touches  storage: the scrub.
 * Never    reads a blob. */
#include "registry/api/api_internal.h"
#include "storage/check.h"

int api_scrub_get(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer body = BUFFER_NONE;
    struct scrub_status status;

    assert_worker_thread();
    if (storage_scrub_status(request->services->storage, &status, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    write_text(&body, "state",
               status.rate == 0 ? SLICE("off")
               : status.running ? SLICE("running")
                                : SLICE("idle"));
    write_i64(&body, "rate", (int64_t)status.rate);
    write_i64(&body, "position", (int64_t)status.position);
    write_i64(&body, "last", (int64_t)status.total);
    write_i64(&body, "damaged", (int64_t)status.damaged);
    write_time(&body, "started_at", status.started_at);
    write_time(&body, "finished_at", status.finished_at);
    write_time(&body, "next_at", status.running ? 0 : status.next_at);
    write_i64(&body, "bytes_per_second", (int64_t)status.bytes_per_second);
    write_i64(&body, "blobs", (int64_t)status.blobs);
    write_i64(&body, "bytes", (int64_t)status.bytes);
    write_i64(&body, "found", (int64_t)status.found);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_scrub_run(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};

    assert_worker_thread();
    if (storage_scrub_run(request->services->storage, err) < 0)
        return -1;
    event_new(&event, request, "scrub.run", "system", SLICE("scrub"));
    audit_note(request->services->storage, event_done(&event));
    answer_done(reply);
    return 0;
}
