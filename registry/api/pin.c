/* pin.c - pins: "in use by name until then"; rules of protection are in protection.c.
 * Touches  storage: content.h.
 * Never    ends a pin before its time, unless asked to. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/core/clock.h"
#include "registry/core/oci.h"
#include "storage/content.h"

enum { AHEAD_DAYS_MAX = 400 };

static int name_at(const struct request *request, struct error *err)
{
    return oci_tag_valid(request->reference) ? 0 : answer_missing(err);
}

static void pin_write(struct buffer *out, const struct content_pin *pin, bool actors)
{
    write_open(out, NULL, '{');
    write_text(out, "name", slice_of(pin->name));
    api_digest_write(out, "digest", &pin->digest);
    write_time(out, "until", pin->until);
    write_time(out, "created_at", pin->created_at);
    write_text_or_null(out, "actor", actors && pin->actor[0] != 0 ? pin->actor : NULL);
    write_close(out, '}');
}

int api_pins_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_pin_page_drop) struct content_pin_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (list_query_by_name(request, &query, err) < 0 ||
        content_pin_list(request->services->storage, request->name, query.after, query.limit, &page,
                         err) < 0)
        return -1;
    bool actors = api_sees_actors(request);
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        pin_write(&body, &page.items[i], actors);
    list_answer(
        request, reply, &body,
        page.more && page.count > 0 ? slice_of(page.items[page.count - 1].name) : SLICE_NONE, -1);
    return 0;
}

static int answer_pin(const struct request *request, struct reply *reply, bool created,
                      struct error *err) ON(worker_thread)
{
    OWNED(content_pin_drop) struct content_pin pin = {0};
    struct buffer body = BUFFER_NONE;

    if (content_pin_find(request->services->storage, request->name, request->reference, &pin, err) <
        0)
        return -1;
    pin_write(&body, &pin, api_sees_actors(request));
    answer_json(reply, &body);
    if (created)
        reply->status = 201;
    return 0;
}

int api_pin_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return name_at(request, err) < 0 ? -1 : answer_pin(request, reply, false, err);
}

enum { PUT_REFERENCE, PUT_UNTIL, PUT_COUNT };
static const struct json_member put_members[] = {
    [PUT_REFERENCE] = {"reference", JSON_TEXT, .required = true, .most = DIGEST_TEXT_MAX},
    [PUT_UNTIL] = {"until", JSON_TIME, .required = true},
};

static int reference_read(struct slice text, struct manifest_reference *out, struct error *err)
{
    struct error unread = {0};

    *out = (struct manifest_reference){.tag = SLICE_NONE};
    if (oci_tag_valid(text))
        out->tag = text;
    else if (digest_parse(text, &out->digest, &unread) < 0)
        return error_set_field(err, "reference", "reference must be a tag or a digest");
    return 0;
}

static int until_check(int64_t until, struct error *err)
{
    int64_t now = clock_now_us();

    if (until <= now)
        return error_set_field(err, "until", "until must be in the future");
    if (until > now + (int64_t)AHEAD_DAYS_MAX * 86400 * US_PER_S)
        return error_set_field(err, "until", "until must be at most %d days ahead", AHEAD_DAYS_MAX);
    return 0;
}

/* A pin is its maker's: others who may push cannot shorten it or take it away, only those who
 * manage the repository. */
static int may_change(const struct request *request, struct error *err) ON(worker_thread)
{
    const struct services *services = request->services;
    OWNED(content_pin_drop) struct content_pin pin = {0};
    struct error absent = {0};

    if (content_pin_find(services->storage, request->name, request->reference, &pin, &absent) < 0 ||
        slice_equal_text(auth_actor(request->caller).name, pin.actor) ||
        auth_may(services->auth, request->caller, request->name, RIGHT_ADMIN))
        return 0;
    return error_set(err, ERROR_DENIED, "the pin is somebody else's");
}

int api_pin_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PUT_COUNT];
    struct manifest_reference reference;
    struct actor actor;
    bool created;

    assert_worker_thread();
    if (name_at(request, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(put_members), values, err) < 0 ||
        reference_read(values[PUT_REFERENCE].text, &reference, err) < 0 ||
        until_check(values[PUT_UNTIL].number, err) < 0 || may_change(request, err) < 0)
        return -1;
    event_new(&event, request, "pin.put", "repository", request->name);
    write_text(&event.detail, "pin", request->reference);
    write_text(&event.detail, "reference", values[PUT_REFERENCE].text);
    write_time(&event.detail, "until", values[PUT_UNTIL].number);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_pin_put(request->services->storage, request->name, request->reference, &reference,
                        values[PUT_UNTIL].number, &change, &created, err) < 0)
        return -1;
    return answer_pin(request, reply, created, err);
}

static int answer_would_end(const struct request *request, struct reply *reply, struct error *err)
    ON(worker_thread)
{
    OWNED(content_pin_drop) struct content_pin pin = {0};

    if (content_pin_find(request->services->storage, request->name, request->reference, &pin, err) <
        0)
        return -1;
    answer_would_delete(reply, "pins", 1);
    return 0;
}

int api_pin_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};
    struct actor actor;
    bool dry_run;

    assert_worker_thread();
    if (name_at(request, err) < 0 || answer_dry_run(request, &dry_run, err) < 0 ||
        may_change(request, err) < 0)
        return -1;
    if (dry_run)
        return answer_would_end(request, reply, err);
    event_new(&event, request, "pin.delete", "repository", request->name);
    write_text(&event.detail, "pin", request->reference);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_pin_delete(request->services->storage, request->name, request->reference, &change,
                           err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}
