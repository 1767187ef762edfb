/* removed.c - whole repositories that go, and come back.
 * Touches  storage: content.h; what was pushed to them, by way of s2i/s2i.h.
 * Never    settings: repo.c has them. */
#include "registry/api/api_internal.h"
#include "s2i/s2i.h"
#include "storage/content.h"

enum { SCAN_SIZE = 200, SCANS_MAX = 20 }; /* looked at for one page of what one may see */

int api_repo_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(repository_drop) struct repository repository = {0};
    OWNED(event_drop) struct event event = {0};
    struct content_repository_size size;
    struct buffer body = BUFFER_NONE;
    struct actor actor;
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 ||
        repository_find(request->services->storage, request->name, &repository, err) < 0 ||
        answer_condition(request, repository.version, &if_version, err) < 0)
        return -1;
    event_new(&event, request, "repository.delete", "repository", request->name);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.dry_run = dry_run;
    change.if_version = if_version;
    struct builds *builds = request->services->builds;
    if (builds != NULL && !dry_run
            ? builds_repository_delete(builds, request->name, &change, err) < 0
            : content_repository_delete(request->services->storage, request->name, &change, &size,
                                        err) < 0)
        return -1;
    if (!dry_run) {
        answer_done(reply);
        return 0;
    }
    write_open(&body, NULL, '{');
    write_flag(&body, "dry_run", true);
    write_open(&body, "deletes", '{');
    write_i64(&body, "tags", (int64_t)size.tags);
    write_i64(&body, "manifests", (int64_t)size.manifests);
    write_i64(&body, "bytes", (int64_t)size.bytes);
    write_close(&body, '}');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

/* --- those that can be brought back --- */

static void deleted_write(struct buffer *out, const struct content_deleted_repository *repository)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", repository->id);
    write_text(out, "name", slice_of(repository->name));
    write_i64(out, "tags", (int64_t)repository->tags);
    write_time(out, "deleted_at", repository->deleted_at);
    write_time(out, "until", repository->until);
    write_close(out, '}');
}

/* Where a page of the answer stands. */
struct scan {
    struct buffer body;
    struct buffer place; /* of the last one looked at */
    size_t shown, limit;
    bool more;
};

static void scan_drop(struct scan *scan)
{
    buffer_drop(&scan->body);
    buffer_drop(&scan->place);
}

/* Adds what the caller may bring back of one page; true when the answer is full. */
static bool scan_page(const struct request *request,
                      const struct content_deleted_repository_page *page, struct scan *scan)
    ON(worker_thread)
{
    for (size_t i = 0; i < page->count; i++) {
        const struct content_deleted_repository *item = &page->items[i];
        if (scan->shown == scan->limit)
            return true;
        scan->place.size = 0;
        list_place_print(&scan->place, item->id, item->name);
        if (!auth_may(request->services->auth, request->caller, slice_of(item->name), RIGHT_ADMIN))
            continue;
        deleted_write(&scan->body, item);
        scan->shown++;
    }
    return false;
}

static int scan_all(const struct request *request, const struct list_query *query,
                    struct scan *scan, struct error *err) ON(worker_thread)
{
    struct list_query at = *query;
    struct slice name;
    bool full = false;
    int64_t id;

    scan->more = true;
    for (int i = 0; i < SCANS_MAX && scan->more && !full; i++) {
        OWNED(content_deleted_repository_page_drop)
        struct content_deleted_repository_page page = {0};
        if (list_place_read(&at, &id, &name, err) < 0 ||
            content_deleted_repository_list(request->services->storage, name, id, SCAN_SIZE, &page,
                                            err) < 0)
            return -1;
        full = scan_page(request, &page, scan);
        scan->more = full || (page.more && page.count > 0);
        at.after = buffer_slice(&scan->place);
    }
    return 0;
}

int api_deleted_repos_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(scan_drop) struct scan scan = {.limit = 0};
    struct list_query query;

    assert_worker_thread();
    if (list_query_by_name(request, &query, err) < 0)
        return -1;
    scan.limit = query.limit;
    list_open(&scan.body);
    if (scan_all(request, &query, &scan, err) < 0)
        return -1;
    list_answer(request, reply, &scan.body, scan.more ? buffer_slice(&scan.place) : SLICE_NONE, -1);
    return 0;
}

enum { RESTORE_ID, RESTORE_COUNT };
static const struct json_member restore_members[] = {
    [RESTORE_ID] = {"id", JSON_NUMBER, .least = 1, .most = INT64_MAX},
};

int api_repo_restore(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[RESTORE_COUNT];
    struct builds *builds = request->services->builds;
    struct actor actor;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(restore_members), values, err) < 0)
        return -1;
    event_new(&event, request, "repository.restore", "repository", request->name);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    int64_t id = values[RESTORE_ID].given ? values[RESTORE_ID].number : 0;
    if (builds != NULL ? builds_repository_restore(builds, request->name, id, &change, err) < 0
                       : content_repository_restore(request->services->storage, request->name, id,
                                                    &change, err) < 0)
        return -1;
    return api_repo_get(request, reply, err);
}
