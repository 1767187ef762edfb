/* answer.c - what the nouns of the management API share: answers, conditions, audit events. */
#include "registry/api/answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "auth/auth.h"

/* --- one resource --- */

enum { VERSION_TEXT_MAX = 24 };

static struct slice version_text(int64_t version, char out[VERSION_TEXT_MAX])
{
    snprintf(out, VERSION_TEXT_MAX, "%" PRId64, version);
    return slice_of(out);
}

static bool header_names(const struct request *request, const char *header, struct slice etag)
{
    OWNED(buffer_drop) struct buffer value = BUFFER_NONE;

    request_header_joined(request, header, &value);
    return value.size > 0 && etag_matches(buffer_slice(&value), etag);
}

bool answer_not_modified(const struct request *request, struct slice etag_unquoted)
{
    return header_names(request, "if-none-match", etag_unquoted);
}

void answer_json(struct reply *reply, struct buffer *body)
{
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("application/json"));
    reply_text(reply, body);
}

void answer_item(const struct request *request, struct reply *reply, int64_t version,
                 struct buffer *body)
{
    bool reads = (request->method & (METHOD_GET | METHOD_HEAD)) != 0;
    char text[VERSION_TEXT_MAX];

    reply_header(reply, "ETag", "\"%" PRId64 "\"", version);
    if (!reads || !answer_not_modified(request, version_text(version, text))) {
        answer_json(reply, body);
        return;
    }
    buffer_drop(body);
    reply->status = 304;
}

void answer_created(struct reply *reply, struct slice location, int64_t version,
                    struct buffer *body)
{
    if (version > 0)
        reply_header(reply, "ETag", "\"%" PRId64 "\"", version);
    reply_header_slice(reply, "Location", location);
    answer_json(reply, body);
    reply->status = 201;
}

void answer_done(struct reply *reply)
{
    reply->status = 204;
}

int answer_condition(const struct request *request, int64_t version, int64_t *if_version,
                     struct error *err)
{
    struct slice header = request_header(request, "if-match");
    char text[VERSION_TEXT_MAX];

    *if_version = 0;
    if (header.at == NULL)
        return 0;
    if (!header_names(request, "if-match", version_text(version, text)))
        return error_set(err, ERROR_PRECONDITION, "it was changed since: read it again");
    if (!slice_equal_text(header, "*"))
        *if_version = version;
    return 0;
}

int answer_flag(const struct request *request, const char *name, bool *out, struct error *err)
{
    struct slice value = request_parameter(request, name);

    *out = slice_equal_text(value, "true");
    if (value.at != NULL && !*out && !slice_equal_text(value, "false"))
        return error_set_field(err, name, "%s must be true or false", name);
    return 0;
}

int answer_dry_run(const struct request *request, bool *dry_run, struct error *err)
{
    return answer_flag(request, "dry_run", dry_run, err);
}

void answer_would_delete(struct reply *reply, const char *what, int64_t count)
{
    struct buffer body = BUFFER_NONE;

    write_open(&body, NULL, '{');
    write_flag(&body, "dry_run", true);
    write_open(&body, "deletes", '{');
    write_i64(&body, what, count);
    write_close(&body, '}');
    write_close(&body, '}');
    answer_json(reply, &body);
}

int answer_missing(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no such resource");
}

int answer_id(const struct request *request, int64_t *id, struct error *err)
{
    uint64_t value;

    if (!slice_to_u64(request->reference, &value) || value == 0)
        return answer_missing(err);
    *id = (int64_t)value;
    return 0;
}

/* --- audit --- */

static void event_start(struct event *event, const struct request *request, const char *action,
                        const char *kind)
{
    const struct identity *caller = request->caller;

    *event = (struct event){
        .audit = {.actor = slice_of(caller == NULL ? "" : caller->name),
                  .actor_id = caller == NULL ? 0 : caller->account,
                  .action = slice_of(action),
                  .outcome = SLICE("done"),
                  .remote = slice_of(request->remote),
                  .request_id = slice_of(request->id)},
    };
    buffer_append_text(&event->target, kind);
    buffer_append_text(&event->target, "/");
    buffer_append_text(&event->detail, "{");
}

void event_new(struct event *event, const struct request *request, const char *action,
               const char *kind, struct slice target)
{
    event_start(event, request, action, kind);
    buffer_append_slice(&event->target, target);
}

void event_new_id(struct event *event, const struct request *request, const char *action,
                  const char *kind, int64_t id)
{
    event_start(event, request, action, kind);
    buffer_append_u64(&event->target, (uint64_t)id);
}

void event_changed(struct event *event, const char *name, struct slice old, struct slice now)
{
    if (slice_equal(old, now))
        return;
    write_open(&event->detail, name, '{');
    write_text(&event->detail, "old", old);
    write_text(&event->detail, "new", now);
    write_close(&event->detail, '}');
}

const struct audit_event *event_done(struct event *event)
{
    event->audit.target = buffer_slice(&event->target);
    if (event->detail.size > 1) {
        write_close(&event->detail, '}');
        event->audit.detail = buffer_slice(&event->detail);
    }
    return &event->audit;
}

void event_drop(struct event *event)
{
    buffer_drop(&event->target);
    buffer_drop(&event->detail);
}
