/* build_rebase.c - tagged images move onto a newer base, of one repository or of all; and back.
 * Touches  storage, by way of s2i/s2i.h; rows of rebases.
 * Never    reads a layer here; names a repository to who may not push to it.
 *
 * What is refused of one image is told of it, and the others go on. The answer comes when all is
 * done: its status is sent before that, so what fails then stands in the body as "error".
 * Spec: s2i 15.1 */
#include <stdlib.h>
#include <string.h>

#include "registry/api/build.h"
#include "registry/config.h"
#include "registry/core/oci.h"
#include "storage/rebases.h"

enum { REFERENCE_MAX = 512, AFTER_MAX = 200, LIST_MOVES_MAX = 5000 };

/* --- the answer --- */

static const char *outcome_name(const struct build_rebased_image *image)
{
    switch (image->outcome) {
    case REBASE_DONE:
        return "rebased";
    case REBASE_CURRENT:
        return "current";
    case REBASE_MOVED:
        return "moved";
    default:
        return "refused";
    }
}

static void image_write(struct buffer *out, const struct build_rebased_image *image)
{
    write_open(out, NULL, '{');
    write_text(out, "repository", slice_of(image->repository));
    write_text(out, "tag", slice_of(image->tag));
    write_text(out, "outcome", slice_of(outcome_name(image)));
    api_digest_write(out, "before", &image->before);
    api_digest_write(out, "after", &image->after);
    write_text_or_null(out, "message", image->message[0] == 0 ? NULL : image->message);
    write_open(out, "conflicts", '[');
    for (size_t i = 0; i < image->conflicts.count; i++)
        write_text(out, NULL, slice_of(image->conflicts.items[i]));
    write_close(out, ']');
    write_close(out, '}');
}

static void id_write(struct buffer *out, int64_t id)
{
    if (id == 0)
        write_null(out, "id");
    else
        write_i64(out, "id", id);
}

static void error_write(struct buffer *out, const struct error *failed)
{
    write_open(out, "error", '{');
    write_text(out, "reason", slice_of(error_code_name(failed->code)));
    write_text(out, "message", slice_of(failed->message));
    write_close(out, '}');
}

static void render(const struct build_rebased *rebased, const struct error *failed,
                   struct buffer *out)
{
    write_open(out, NULL, '{');
    if (failed != NULL) {
        error_write(out, failed);
        write_close(out, '}');
        return;
    }
    id_write(out, rebased->id);
    write_time(out, "undo_until", rebased->until);
    write_flag(out, "dry_run", rebased->dry_run);
    write_open(out, "items", '[');
    for (size_t i = 0; i < rebased->count; i++)
        image_write(out, &rebased->items[i]);
    write_close(out, ']');
    write_text_or_null(out, "next", rebased->next);
    write_close(out, '}');
}

/* --- asking --- */

enum { REBASE_TAG, REBASE_BASE, REBASE_ONTO, REBASE_AFTER, REBASE_LIMIT, REBASE_COUNT };
static const struct json_member members[] = {
    [REBASE_TAG] = {"tag", JSON_TEXT, .least = 1, .most = OCI_TAG_MAX},
    [REBASE_BASE] = {"base", JSON_TEXT, .least = 1, .most = REFERENCE_MAX},
    [REBASE_ONTO] = {"onto", JSON_TEXT, .least = 1, .most = REFERENCE_MAX},
    [REBASE_AFTER] = {"after", JSON_TEXT, .least = 1, .most = AFTER_MAX},
    [REBASE_LIMIT] = {"limit", JSON_NUMBER, .least = 1, .most = BUILD_REBASE_MAX},
};

/* An image's name that was given, without a host of ours. */
static struct slice name_given(const struct request *request, const struct json_value *value)
{
    const struct s2i_hosts hosts =
        s2i_hosts_of(request->services->config->server_public_url, request->host);

    return value->given ? s2i_name_own(value->text, &hosts) : SLICE_NONE;
}

/* A repository has a tag, a base has an onto. */
static int wish_read(const struct request *request, const struct json_value *values, bool one,
                     struct build_rebase *wish, struct error *err)
{
    if (values[one ? REBASE_ONTO : REBASE_TAG].given)
        return error_set_field(err, one ? "onto" : "tag", "there is no such member here");
    if (!one && !values[REBASE_BASE].given)
        return error_set_field(err, "base", "base must name what images stand on");
    if (values[REBASE_TAG].given && !oci_tag_valid(values[REBASE_TAG].text))
        return error_set_field(err, "tag", "tag must be one");
    wish->tag = values[REBASE_TAG].given ? values[REBASE_TAG].text : SLICE_NONE;
    wish->base = name_given(request, &values[REBASE_BASE]);
    wish->onto = name_given(request, &values[REBASE_ONTO]);
    wish->after = values[REBASE_AFTER].given ? values[REBASE_AFTER].text : SLICE_NONE;
    wish->limit =
        values[REBASE_LIMIT].given ? (size_t)values[REBASE_LIMIT].number : BUILD_REBASE_MAX;
    return 0;
}

static void event_write(struct event *event, const struct request *request,
                        const struct build_rebase *wish)
{
    event_new(event, request, "image.rebase", "rebase", SLICE(""));
    if (wish->repository.at != NULL)
        write_text(&event->detail, "repository", wish->repository);
    if (wish->base.at != NULL)
        write_text(&event->detail, "base", wish->base);
    if (wish->onto.at != NULL)
        write_text(&event->detail, "onto", wish->onto);
}

static int rebase(const struct request *request, struct reply *reply, bool one, struct error *err)
    ON(worker_thread)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[REBASE_COUNT];
    const struct actor actor = auth_actor(request->caller);
    struct build_rebase wish = {.repository = one ? request->name : SLICE_NONE, .actor = &actor};
    int fd;

    if (api_builds_needed(request, err) < 0 || answer_dry_run(request, &wish.dry_run, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(members), values, err) < 0 ||
        wish_read(request, values, one, &wish, err) < 0)
        return -1;
    event_write(&event, request, &wish);
    wish.event = event_done(&event);
    if (builds_rebase_live(request->services->builds, &wish, render, &fd, err) < 0)
        return -1;
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("application/json"));
    reply_live(reply, fd, NULL, NULL);
    return 0;
}

int api_tags_rebase(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return rebase(request, reply, true, err);
}

int api_rebases_post(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return rebase(request, reply, false, err);
}

/* --- rebases that were done --- */

static bool may_push(const struct request *request, const char *repository) ON(worker_thread)
{
    return auth_may(request->services->auth, request->caller, slice_of(repository), RIGHT_PUSH);
}

/* Repositories of the record, each once, that the caller may push to; borrowed from it. */
static struct slice *repositories_of(const struct request *request,
                                     const struct rebase_record *record, size_t *count)
    ON(worker_thread)
{
    struct slice *out = memory_new((record->count + 1) * sizeof(*out));
    const char *last = "";

    *count = 0;
    for (size_t i = 0; i < record->count; i++) {
        const char *name = record->moves[i].repository;
        if (strcmp(name, last) != 0 && may_push(request, name))
            out[(*count)++] = slice_of(name);
        last = name;
    }
    return out;
}

/* As the caller sees it: one without a repository of his is not there. */
struct sight {
    struct rebase_record record;
    struct slice *repositories;
    size_t count;
};

static void sight_drop(struct sight *sight)
{
    rebase_record_drop(&sight->record);
    free(sight->repositories);
}

/* The same for who may not see it. */
static int missing(int64_t id, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no rebase %lld that you may see",
                     (long long)id);
}

static int sight_read(const struct request *request, int64_t id, struct sight *out,
                      struct error *err) ON(worker_thread)
{
    if (rebase_find(request->services->storage, id, &out->record, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return missing(id, err);
    }
    out->repositories = repositories_of(request, &out->record, &out->count);
    return out->count > 0 ? 0 : missing(id, err);
}

static bool is_seen(const struct sight *sight, const struct rebase_move *move)
{
    for (size_t i = 0; i < sight->count; i++)
        if (slice_equal_text(sight->repositories[i], move->repository))
            return true;
    return false;
}

static void move_write(struct buffer *out, const struct rebase_move *move)
{
    static const char *const failed[] = {[REBASE_MOVE_DONE] = "rebased",
                                         [REBASE_MOVE_ELSEWHERE] = "moved",
                                         [REBASE_MOVE_KEPT] = "refused",
                                         [REBASE_MOVE_LOST] = "gone"};

    write_open(out, NULL, '{');
    write_text(out, "repository", slice_of(move->repository));
    write_text(out, "tag", slice_of(move->tag));
    write_text(out, "outcome", slice_of(move->undone_at != 0 ? "restored" : failed[move->outcome]));
    api_digest_write(out, "before", &move->before);
    api_digest_write(out, "after", &move->after);
    write_text_or_null(out, "message", move->why[0] == 0 ? NULL : move->why);
    write_time(out, "undone_at", move->undone_at);
    write_close(out, '}');
}

static void head_write(struct buffer *out, const struct rebase_record *record)
{
    write_i64(out, "id", record->id);
    write_text_or_null(out, "base", record->base[0] == 0 ? NULL : record->base);
    write_text_or_null(out, "actor", record->actor[0] == 0 ? NULL : record->actor);
    write_time(out, "created_at", record->created_at);
    write_time(out, "undo_until", record->until);
}

static void record_answer(struct reply *reply, const struct sight *sight,
                          const struct rebase_record *record)
{
    struct buffer body = BUFFER_NONE;

    write_open(&body, NULL, '{');
    head_write(&body, record);
    write_open(&body, "items", '[');
    for (size_t i = 0; i < record->count; i++)
        if (is_seen(sight, &record->moves[i]))
            move_write(&body, &record->moves[i]);
    write_close(&body, ']');
    write_close(&body, '}');
    answer_json(reply, &body);
}

int api_rebase_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(sight_drop) struct sight sight = {.count = 0};
    int64_t id;

    assert_worker_thread();
    if (answer_id(request, &id, err) < 0 || sight_read(request, id, &sight, err) < 0)
        return -1;
    record_answer(reply, &sight, &sight.record);
    return 0;
}

/* What he may not see is passed over. *read: moves that were read for it. */
static int list_one(const struct request *request, int64_t id, struct buffer *body, size_t *read,
                    struct error *err) ON(worker_thread)
{
    OWNED(sight_drop) struct sight sight = {.count = 0};
    int64_t tags = 0;

    if (sight_read(request, id, &sight, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        *read += sight.record.count;
        error_clear(err);
        return 0;
    }
    *read += sight.record.count;
    for (size_t i = 0; i < sight.record.count; i++)
        tags += is_seen(&sight, &sight.record.moves[i]) ? 1 : 0;
    write_open(body, NULL, '{');
    head_write(body, &sight.record);
    write_i64(body, "tags", tags);
    write_close(body, '}');
    return 0;
}

/* A page ends early when it was much to read: a rebase may have a thousand tags. */
int api_rebases_get(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer body = BUFFER_NONE;
    struct list_query query;
    struct rebase_ids page = {.items = NULL};
    size_t read = 0, i = 0;

    assert_worker_thread();
    if (list_query_by_id(request, &query, err) < 0 ||
        rebase_list(request->services->storage, query.after_id, query.limit, &page, err) < 0)
        return -1;
    OWNED(memory_drop) int64_t *ids = page.items;
    list_open(&body);
    for (; i < page.count && read < LIST_MOVES_MAX; i++)
        if (list_one(request, ids[i], &body, &read, err) < 0) {
            buffer_drop(&body);
            return -1;
        }
    bool more = i < page.count || (page.more && page.count > 0);
    list_answer_id(request, reply, &body, more ? ids[i - 1] : 0, -1);
    return 0;
}

int api_rebase_undo(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(sight_drop) struct sight sight = {.count = 0};
    OWNED(rebase_record_drop) struct rebase_record undone = {.id = 0};
    OWNED(event_drop) struct event event = {0};
    const struct actor actor = auth_actor(request->caller);
    struct rebase_undo undo = {.actor = &actor};
    int64_t id;

    assert_worker_thread();
    if (answer_id(request, &id, err) < 0 || answer_dry_run(request, &undo.dry_run, err) < 0 ||
        sight_read(request, id, &sight, err) < 0)
        return -1;
    event_new_id(&event, request, "image.rebase.undo", "rebase", id);
    undo.event = event_done(&event);
    undo.repositories = sight.repositories;
    undo.repository_count = sight.count;
    if (rebase_take_back(request->services->storage, id, &undo, &undone, err) < 0)
        return -1;
    record_answer(reply, &sight, &undone);
    return 0;
}
