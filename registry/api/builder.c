/* builder.c - whether images can be built here now, and why not.
 * Touches  builds, by way of s2i/s2i.h.
 * Never    starts a builder. Spec: s2i 16.3, 16.4. */
#include "registry/api/api_internal.h"
#include "registry/api/build.h"
#include "s2i/s2i.h"

int api_builder_get(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer body = BUFFER_NONE;
    struct builds_health health;

    assert_worker_thread();
    if (api_builds_needed(request, err) < 0)
        return -1;
    builds_health(request->services->builds, &health);
    write_open(&body, NULL, '{');
    write_flag(&body, "enabled", health.enabled);
    write_flag(&body, "able", health.able);
    write_text(&body, "problem", slice_of(health.problem));
    write_i64(&body, "builders", health.builders);
    write_text(&body, "level", slice_of(health.level));
    write_i64(&body, "slots", health.slots);
    write_i64(&body, "running", (int64_t)health.running);
    write_i64(&body, "waiting", (int64_t)health.waiting);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}
