/* audit.c - who did what from where: pages of it, and an export of JSON lines.
 * Touches  storage: reads the audit.
 * Never    changes it. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/core/timestamp.h"

static void record_write(struct buffer *out, const struct audit_record *record)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", record->id);
    write_time(out, "at", record->at);
    write_text(out, "actor", slice_of(record->actor));
    write_text(out, "action", slice_of(record->action));
    write_text(out, "target", slice_of(record->target));
    write_text(out, "outcome", slice_of(record->outcome));
    write_text(out, "remote", slice_of(record->remote));
    write_text(out, "request_id", slice_of(record->request_id));
    if (record->detail != NULL && record->detail[0] == '{')
        write_raw(out, "detail", slice_of(record->detail));
    else
        write_null(out, "detail");
    write_i64(out, "repeats", (int64_t)record->repeats);
    write_close(out, '}');
}

/* A record a line, for programs that read as they go. */
static bool wants_lines(const struct request *request)
{
    struct slice format = request_parameter(request, "format");

    if (format.at != NULL)
        return slice_equal_text(format, "jsonl");
    return slice_equal_text(request_header(request, "accept"), "application/jsonl");
}

static int time_parameter(const struct request *request, const char *name, int64_t *out,
                          struct error *err)
{
    struct slice text = request_parameter(request, name);

    *out = 0;
    if (text.at == NULL || timestamp_parse(text, out))
        return 0;
    return error_set_field(err, name, "%s must be a time like 2026-03-01T08:15:30Z", name);
}

static int query_read(const struct request *request, struct audit_query *out, struct error *err)
{
    struct list_query list;
    struct slice after = request_parameter(request, "after");
    struct slice format = request_parameter(request, "format");
    uint64_t after_id = 0;

    if (list_query_by_id(request, &list, err) < 0)
        return -1;
    *out = (struct audit_query){
        .before_id = list.after_id,
        .actor = request_parameter(request, "actor"),
        .action = request_parameter(request, "action"),
        .target = request_parameter(request, "target"),
        .limit = list.limit,
    };
    if (after.at != NULL && !slice_to_u64(after, &after_id))
        return error_set_field(err, "after", "after must be the id of a record");
    if (format.at != NULL && !slice_equal_text(format, "jsonl") &&
        !slice_equal_text(format, "json"))
        return error_set_field(err, "format", "format must be json or jsonl");
    out->after_id = (int64_t)after_id;
    if (time_parameter(request, "since", &out->since, err) < 0 ||
        time_parameter(request, "until", &out->until, err) < 0)
        return -1;
    return 0;
}

static void answer_lines(const struct request *request, struct reply *reply,
                         const struct audit_page *page, int64_t next)
{
    struct buffer text = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer key = BUFFER_NONE;

    for (size_t i = 0; i < page->count; i++) {
        record_write(&text, &page->items[i]);
        buffer_append_text(&text, "\n");
    }
    buffer_append_u64(&key, (uint64_t)next);
    list_link(request, reply, next == 0 ? SLICE_NONE : buffer_slice(&key));
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("application/jsonl"));
    reply_text(reply, &text);
}

int api_audit_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(audit_page_drop) struct audit_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct audit_query query;

    assert_worker_thread();
    if (query_read(request, &query, err) < 0 ||
        audit_list(request->services->storage, &query, &page, err) < 0)
        return -1;
    int64_t next = page.more && page.count > 0 ? page.items[page.count - 1].id : 0;
    reply_header_slice(reply, "Vary", SLICE("Accept"));
    if (wants_lines(request)) {
        answer_lines(request, reply, &page, next);
        return 0;
    }
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        record_write(&body, &page.items[i]);
    list_answer_id(request, reply, &body, next, -1);
    return 0;
}
