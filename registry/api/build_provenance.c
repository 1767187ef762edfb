/* build_provenance.c - who built an image: signed provenance beside it, and the keys that sign.
 * Touches  builds, storage.
 * Never    verifies: who asks does, by keys that he trusts. */
#include "registry/api/api_internal.h"
#include "registry/core/digest.h"
#include "s2i/s2i.h"

int api_provenance_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(buffer_drop) struct buffer items = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;
    struct error unread = {0};
    struct list_query query;
    struct digest digest;
    uint64_t next;

    assert_worker_thread();
    if (digest_parse(request->reference, &digest, &unread) < 0)
        return answer_missing(err);
    if (list_query_by_id(request, &query, err) < 0 ||
        builds_provenance(request->services->builds, request->name, &digest,
                          (uint64_t)query.after_id, &items, &next, err) < 0)
        return -1;
    list_open(&body);
    buffer_append_slice(&body, buffer_slice(&items));
    list_answer_id(request, reply, &body, (int64_t)next, -1);
    return 0;
}

int api_keys_get(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (builds_keys(request->services->builds, &body, err) < 0) {
        buffer_drop(&body);
        return -1;
    }
    answer_json(reply, &body);
    return 0;
}
