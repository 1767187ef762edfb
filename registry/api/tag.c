/* tag.c - tags of a repository, their history, and those that were deleted.
 * Touches  storage: content.h.
 * Never    what tags stand for: manifests are image.c's.
 *
 * A tag's ETag is the digest it stands for. */
#include <stdio.h>
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/core/oci.h"
#include "storage/content.h"

enum { EVENT_TAGS_MAX = 20 };

/* --- words --- */

const char *api_cause_name(enum tag_cause cause)
{
    switch (cause) {
    case TAG_PUSHED:
        return "push";
    case TAG_SET:
        return "set";
    case TAG_DELETED:
        return "delete";
    case TAG_MANIFEST_DELETED:
        return "manifest_delete";
    case TAG_RETIRED:
        return "retention";
    case TAG_RESTORED:
        return "restore";
    case TAG_IMPORTED:
        return "import";
    case TAG_REBASED:
        return "rebase";
    }
    return "push";
}

bool api_sees_actors(const struct request *request)
{
    return request->caller->role == ACCOUNT_ROLE_AUDITOR ||
           auth_may(request->services->auth, request->caller, request->name, RIGHT_PUSH);
}

void api_digest_write(struct buffer *out, const char *name, const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];

    if (digest_is_set(digest))
        write_text(out, name, slice_of(digest_text(digest, text)));
    else
        write_null(out, name);
}

int api_digest_read(struct slice text, const char *field, struct digest *out, struct error *err)
{
    struct error unread = {0};

    if (digest_parse(text, out, &unread) == 0)
        return 0;
    return error_set_field(err, field, "%s must be a digest such as sha256:...", field);
}

struct content_change api_change(const struct request *request, struct actor *actor,
                                 const struct audit_event *event)
{
    *actor = auth_actor(request->caller);
    return (struct content_change){.actor = actor, .event = event};
}

/* The tag in the path. NOT_FOUND  it is none. */
static int tag_at(const struct request *request, struct error *err)
{
    return oci_tag_valid(request->reference) ? 0 : answer_missing(err);
}

/* --- looking --- */

static void tag_write(struct buffer *out, const struct content_tag *tag)
{
    write_open(out, NULL, '{');
    write_text(out, "name", slice_of(tag->name));
    api_digest_write(out, "digest", &tag->digest);
    write_text(out, "media_type", slice_of(tag->media_type));
    write_text_or_null(out, "artifact_type", tag->artifact_type);
    write_i64(out, "size", (int64_t)tag->size);
    write_time(out, "pushed_at", tag->pushed_at);
    write_time(out, "updated_at", tag->updated_at);
    write_time(out, "pulled_at", tag->pulled_at);
    write_flag(out, "immutable", (tag->protection & TAG_IMMUTABLE) != 0);
    write_flag(out, "protected", (tag->protection & TAG_PROTECTED) != 0);
    write_open(out, "own", '{');
    write_flag(out, "immutable", (tag->own & TAG_IMMUTABLE) != 0);
    write_flag(out, "protected", (tag->own & TAG_PROTECTED) != 0);
    write_close(out, '}');
    write_i64(out, "pins", (int64_t)tag->pins);
    write_close(out, '}');
}

static int answer_tag(const struct request *request, struct reply *reply, bool created,
                      struct error *err) ON(worker_thread)
{
    OWNED(content_tag_drop) struct content_tag tag = {0};
    bool reads = (request->method & (METHOD_GET | METHOD_HEAD)) != 0;
    struct buffer body = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];

    if (content_tag_find(request->services->storage, request->name, request->reference, &tag, err) <
        0)
        return -1;
    reply_header(reply, "ETag", "\"%s\"", digest_text(&tag.digest, text));
    if (reads && answer_not_modified(request, slice_of(text))) {
        reply->status = 304;
        return 0;
    }
    tag_write(&body, &tag);
    answer_json(reply, &body);
    if (created)
        reply->status = 201;
    return 0;
}

int api_tag_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return tag_at(request, err) < 0 ? -1 : answer_tag(request, reply, false, err);
}

int api_tags_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_tag_page_drop) struct content_tag_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (slice_equal_text(request_parameter(request, "deleted"), "true"))
        return api_deleted_tags_get(request, reply, err);
    if (list_query_by_name(request, &query, err) < 0 ||
        content_tag_list(request->services->storage, request->name, query.after, query.search,
                         query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        tag_write(&body, &page.items[i]);
    list_answer(
        request, reply, &body,
        page.more && page.count > 0 ? slice_of(page.items[page.count - 1].name) : SLICE_NONE, -1);
    return 0;
}

/* --- setting --- */

/* If-Match and If-None-Match, as a push by tag has them. PRECONDITION  no digest of ours */
static int set_conditions(const struct request *request, struct content_tag_set *out,
                          struct error *err)
{
    struct slice match = slice_trim(request_header(request, "if-match"));
    struct error unread = {0};

    out->if_absent = slice_equal_text(request_header(request, "if-none-match"), "*");
    if (match.at == NULL)
        return 0;
    if (match.size >= 2 && match.at[0] == '"' && match.at[match.size - 1] == '"')
        match = (struct slice){match.at + 1, match.size - 2};
    if (digest_parse(match, &out->if_digest, &unread) == 0)
        return 0;
    return error_set(err, ERROR_PRECONDITION, "the tag stands for something else");
}

enum { PUT_DIGEST, PUT_COUNT };
static const struct json_member put_members[] = {
    [PUT_DIGEST] = {"digest", JSON_TEXT, .required = true, .most = DIGEST_TEXT_MAX},
};

int api_tag_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct content_tag_set set = {.tag = request->reference};
    struct json_value values[PUT_COUNT];
    struct actor actor;
    bool created;

    assert_worker_thread();
    if (tag_at(request, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(put_members), values, err) < 0 ||
        api_digest_read(values[PUT_DIGEST].text, "digest", &set.digest, err) < 0 ||
        set_conditions(request, &set, err) < 0)
        return -1;
    event_new(&event, request, "tag.set", "repository", request->name);
    write_text(&event.detail, "tag", request->reference);
    api_digest_write(&event.detail, "digest", &set.digest);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_tag_set(request->services->storage, request->name, &set, &change, &created, err) <
        0)
        return -1;
    return answer_tag(request, reply, created, err);
}

enum { PATCH_IMMUTABLE, PATCH_PROTECTED, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_IMMUTABLE] = {.name = "immutable", .kind = JSON_FLAG},
    [PATCH_PROTECTED] = {.name = "protected", .kind = JSON_FLAG},
};

int api_tag_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    unsigned mask = 0, bits = 0;
    struct actor actor;

    assert_worker_thread();
    if (tag_at(request, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0)
        return -1;
    event_new(&event, request, "tag.protect", "repository", request->name);
    write_text(&event.detail, "tag", request->reference);
    for (size_t i = 0; i < PATCH_COUNT; i++) {
        unsigned bit = i == PATCH_IMMUTABLE ? TAG_IMMUTABLE : TAG_PROTECTED;
        if (!values[i].given)
            continue;
        mask |= bit;
        bits |= values[i].flag ? bit : 0;
        write_flag(&event.detail, patch_members[i].name, values[i].flag);
    }
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (mask != 0 && content_tag_protect(request->services->storage, request->name,
                                         request->reference, mask, bits, &change, err) < 0)
        return -1;
    return answer_tag(request, reply, false, err);
}

/* --- deleting --- */

int api_tag_delete(struct request *request, struct reply *reply, struct error *err)
{
    const struct content_tags_delete what = {.tags = &request->reference, .count = 1, .expect = -1};
    OWNED(event_drop) struct event event = {0};
    struct actor actor;
    uint64_t deleted;
    bool dry_run;

    assert_worker_thread();
    if (tag_at(request, err) < 0 || answer_dry_run(request, &dry_run, err) < 0)
        return -1;
    event_new(&event, request, "tag.delete", "repository", request->name);
    write_text(&event.detail, "tag", request->reference);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.dry_run = dry_run;
    if (content_tags_delete(request->services->storage, request->name, &what, &change, &deleted,
                            err) < 0)
        return -1;
    if (deleted == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no tag %.*s",
                         SLICE_ARG(request->reference));
    if (dry_run)
        answer_would_delete(reply, "tags", 1);
    else
        answer_done(reply);
    return 0;
}

enum { DELETE_TAGS, DELETE_FILTER, DELETE_EXPECT, DELETE_COUNT };
static const struct json_member delete_members[] = {
    [DELETE_TAGS] = {"tags", JSON_LIST, .least = 1, .most = CONTENT_TAGS_MAX},
    [DELETE_FILTER] = {"filter", JSON_TEXT, .least = 1, .most = OCI_TAG_MAX},
    [DELETE_EXPECT] = {"expect", JSON_NUMBER, .most = CONTENT_TAGS_MAX},
};

/* Tags that are named twice are named once. */
static int tags_read(struct json_list list, struct slice *out, size_t *count, struct error *err)
{
    const void *item;
    struct slice tag;

    while (json_next(&list, &item)) {
        size_t i = 0;
        if (json_read_word(item, "tags", &tag, err) < 0)
            return -1;
        if (!oci_tag_valid(tag))
            return error_set_field(err, "tags", "tags must be names of tags");
        while (i < *count && !slice_equal(out[i], tag))
            i++;
        if (i == *count)
            out[(*count)++] = tag;
    }
    return 0;
}

/* Who deletes says how many; who looks what would go need not. */
static int delete_read(const struct json_value *values, bool dry_run, struct slice *tags,
                       struct content_tags_delete *out, struct error *err)
{
    if (!values[DELETE_EXPECT].given && !dry_run)
        return error_set_field(err, "expect", "expect must be given: how many tags go");
    if (values[DELETE_TAGS].given == values[DELETE_FILTER].given)
        return error_set_field(err, "tags", "one of tags and filter must be given");
    *out = (struct content_tags_delete){.tags = tags, .expect = -1};
    if (values[DELETE_EXPECT].given)
        out->expect = values[DELETE_EXPECT].number;
    if (values[DELETE_FILTER].given) {
        out->glob = values[DELETE_FILTER].text;
        return 0;
    }
    return tags_read(values[DELETE_TAGS].list, tags, &out->count, err);
}

/* The history has them all. */
static void delete_event(struct event *event, const struct request *request,
                         const struct content_tags_delete *what)
{
    event_new(event, request, "tag.delete", "repository", request->name);
    write_i64(&event->detail, "count", what->expect);
    if (what->glob.at != NULL) {
        write_text(&event->detail, "filter", what->glob);
        return;
    }
    if (what->count > EVENT_TAGS_MAX)
        return;
    write_open(&event->detail, "tags", '[');
    for (size_t i = 0; i < what->count; i++)
        write_text(&event->detail, NULL, what->tags[i]);
    write_close(&event->detail, ']');
}

static void answer_deleted(struct reply *reply, uint64_t deleted)
{
    struct buffer body = BUFFER_NONE;

    write_open(&body, NULL, '{');
    write_i64(&body, "deleted", (int64_t)deleted);
    write_close(&body, '}');
    answer_json(reply, &body);
}

int api_tags_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    OWNED(memory_drop) struct slice *tags = memory_new(CONTENT_TAGS_MAX * sizeof(*tags));
    struct json_value values[DELETE_COUNT];
    struct content_tags_delete what;
    struct actor actor;
    uint64_t deleted;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(delete_members), values, err) < 0 ||
        delete_read(values, dry_run, tags, &what, err) < 0)
        return -1;
    delete_event(&event, request, &what);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.dry_run = dry_run;
    if (content_tags_delete(request->services->storage, request->name, &what, &change, &deleted,
                            err) < 0)
        return -1;
    if (dry_run)
        answer_would_delete(reply, "tags", (int64_t)deleted);
    else
        answer_deleted(reply, deleted);
    return 0;
}

/* --- what was deleted --- */

static void deleted_write(struct buffer *out, const struct content_deleted_tag *tag)
{
    write_open(out, NULL, '{');
    write_text(out, "name", slice_of(tag->name));
    api_digest_write(out, "digest", &tag->digest);
    write_time(out, "deleted_at", tag->deleted_at);
    write_time(out, "until", tag->until);
    write_close(out, '}');
}

int api_deleted_tags_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_deleted_tag_page_drop) struct content_deleted_tag_page page = {0};
    OWNED(buffer_drop) struct buffer next = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;
    struct list_query query;
    struct slice after;
    int64_t after_id;

    assert_worker_thread();
    if (list_query_by_name(request, &query, err) < 0 ||
        list_place_read(&query, &after_id, &after, err) < 0 ||
        content_deleted_tag_list(request->services->storage, request->name, after, after_id,
                                 query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        deleted_write(&body, &page.items[i]);
    if (page.more && page.count > 0)
        list_place_print(&next, page.items[page.count - 1].id, page.items[page.count - 1].name);
    list_answer(request, reply, &body, buffer_slice(&next), -1);
    return 0;
}

enum { RESTORE_DIGEST, RESTORE_FORCE, RESTORE_COUNT };
static const struct json_member restore_members[] = {
    [RESTORE_DIGEST] = {"digest", JSON_TEXT, .most = DIGEST_TEXT_MAX},
    [RESTORE_FORCE] = {.name = "force", .kind = JSON_FLAG},
};

int api_tag_restore(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[RESTORE_COUNT];
    struct digest digest = {0};
    struct actor actor;

    assert_worker_thread();
    if (tag_at(request, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(restore_members), values, err) < 0 ||
        (values[RESTORE_DIGEST].given &&
         api_digest_read(values[RESTORE_DIGEST].text, "digest", &digest, err) < 0))
        return -1;
    event_new(&event, request, "tag.restore", "repository", request->name);
    write_text(&event.detail, "tag", request->reference);
    if (digest_is_set(&digest))
        api_digest_write(&event.detail, "digest", &digest);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_tag_restore(request->services->storage, request->name, request->reference, &digest,
                            values[RESTORE_FORCE].flag, &change, err) < 0)
        return -1;
    return answer_tag(request, reply, false, err);
}

/* --- history --- */

static void move_write(struct buffer *out, const struct content_move *move, bool actors)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", move->id);
    write_time(out, "at", move->at);
    write_text(out, "tag", slice_of(move->tag));
    write_text_or_null(out, "actor", actors ? move->actor : NULL);
    api_digest_write(out, "from", &move->from);
    api_digest_write(out, "to", &move->to);
    write_text(out, "cause", slice_of(api_cause_name(move->cause)));
    write_close(out, '}');
}

int api_history_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_history_drop) struct content_history page = {0};
    struct slice tag = request_parameter(request, "tag");
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (tag.at != NULL && !oci_tag_valid(tag))
        return error_set_field(err, "tag", "tag must be the name of a tag");
    if (list_query_by_id(request, &query, err) < 0 ||
        content_history_list(request->services->storage, request->name, tag, query.after_id,
                             query.limit, &page, err) < 0)
        return -1;
    bool actors = api_sees_actors(request);
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        move_write(&body, &page.items[i], actors);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0, -1);
    return 0;
}
