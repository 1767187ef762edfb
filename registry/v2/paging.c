/* paging.c - the parameters n and last, and the Link to the next page. */
#include "registry/v2/paging.h"

static bool is_number(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
    return s.size > 0;
}

int paging_parse(const struct request *request, size_t limit_default, size_t limit_max,
                 struct paging *out, struct error *err)
{
    struct slice n = request_parameter(request, "n");
    uint64_t wanted;

    out->last = request_parameter(request, "last");
    out->limit = limit_default;
    out->counted = n.at != NULL;
    if (!out->counted)
        return 0;
    if (!is_number(n)) {
        error_set(err, ERROR_UNSUPPORTED, "n must be a non-negative integer");
        return error_set_status(err, 400);
    }
    if (!slice_to_u64(n, &wanted) || wanted > limit_max)
        wanted = limit_max;
    out->limit = (size_t)wanted;
    return 0;
}

void paging_link(struct reply *reply, struct slice path, const struct paging *paging,
                 struct slice last)
{
    buffer_append_text(&reply->head, "Link: <");
    buffer_append_slice(&reply->head, path);
    buffer_append_text(&reply->head, "?");
    if (paging->counted) {
        buffer_append_text(&reply->head, "n=");
        buffer_append_u64(&reply->head, paging->limit);
        buffer_append_text(&reply->head, "&");
    }
    buffer_append_text(&reply->head, "last=");
    percent_encode(&reply->head, last);
    buffer_append_text(&reply->head, ">; rel=\"next\"\r\n");
}
