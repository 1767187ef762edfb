/* login.c - sessions of browsers: of oneself, of one user, of everybody.
 * Touches  storage: sessions.
 * Never    sees a cookie. */
#include "registry/api/api_internal.h"

enum { BATCH = 100 };

static void write_session(struct buffer *out, const struct login_session *session, int64_t current)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", session->id);
    write_text(out, "account", slice_of(session->account));
    write_time(out, "created_at", session->created_at);
    write_time(out, "used_at", session->used_at);
    write_time(out, "password_at", session->password_at);
    write_text(out, "remote", slice_of(session->remote));
    write_text(out, "agent", slice_of(session->agent));
    write_flag(out, "current", session->id == current);
    write_close(out, '}');
}

/* account 0: of all. */
static int answer_list(const struct request *request, struct reply *reply, int64_t account,
                       struct error *err) ON(worker_thread)
{
    OWNED(login_page_drop) struct login_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    if (list_query_by_id(request, &query, err) < 0 ||
        login_session_list(request->services->storage, account, query.after_id, query.limit, &page,
                           err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        write_session(&body, &page.items[i], request->caller->session);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0,
                   (int64_t)page.total);
    return 0;
}

int api_sessions_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_list(request, reply, 0, err);
}

int api_account_sessions_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_at(request, &account, err) < 0)
        return -1;
    return answer_list(request, reply, account.id, err);
}

int api_me_sessions_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_own(request, &account, err) < 0)
        return -1;
    return answer_list(request, reply, account.id, err);
}

/* --- ending --- */

static int end_one(const struct request *request, int64_t id, int64_t account, struct error *err)
    ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};

    event_new_id(&event, request, "session.delete", "session", id);
    return login_session_delete(request->services->storage, id, account, event_done(&event), err);
}

/* Sessions are found by their place in the list: the one that follows the id before. */
static int is_there(const struct request *request, int64_t id, int64_t account, struct error *err)
    ON(worker_thread)
{
    OWNED(login_page_drop) struct login_page page = {0};

    if (login_session_list(request->services->storage, account, id - 1, 1, &page, err) < 0)
        return -1;
    return page.count == 1 && page.items[0].id == id ? 0 : answer_missing(err);
}

static int end_by_path(const struct request *request, struct reply *reply, int64_t account,
                       struct error *err) ON(worker_thread)
{
    bool dry_run;
    int64_t id;

    if (answer_id(request, &id, err) < 0 || answer_dry_run(request, &dry_run, err) < 0)
        return -1;
    if (dry_run) {
        if (is_there(request, id, account, err) < 0)
            return -1;
        answer_would_delete(reply, "sessions", 1);
        return 0;
    }
    if (end_one(request, id, account, err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

int api_sessions_id_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return end_by_path(request, reply, 0, err);
}

int api_me_session_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    if (request->caller->account == 0)
        return answer_missing(err);
    return end_by_path(request, reply, request->caller->account, err);
}

/* One that ended meanwhile by itself is no failure. */
static int end_page(const struct request *request, const struct login_page *page, struct error *err)
    ON(worker_thread)
{
    for (size_t i = 0; i < page->count; i++) {
        if (end_one(request, page->items[i].id, page->items[i].account_id, err) == 0)
            continue;
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    return 0;
}

int api_account_sessions_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};
    bool dry_run, more = true;
    int64_t after = 0;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || api_account_at(request, &account, err) < 0)
        return -1;
    while (more) {
        OWNED(login_page_drop) struct login_page page = {0};
        if (login_session_list(request->services->storage, account.id, after, BATCH, &page, err) <
            0)
            return -1;
        if (dry_run) {
            answer_would_delete(reply, "sessions", (int64_t)page.total);
            return 0;
        }
        if (end_page(request, &page, err) < 0)
            return -1;
        more = page.more && page.count > 0;
        after = page.count > 0 ? page.items[page.count - 1].id : 0;
    }
    answer_done(reply);
    return 0;
}
