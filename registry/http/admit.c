/* admit.c - who may make the server hold memory, and who gives way when it holds too much.
 * Touches  the server's counts, connections of this loop.
 * Never    waits, allocates.
 *
 * Bodies under way are counted in places of PLACE_SIZE each, replies that a client does not take in
 * bytes. When either is full, somebody who only sits there gives way instead of the newcomer:
 *
 * (1) A body gives way when its address has more places than the newcomer's would have, or when it
 *     stood still for STILL_MS: what came of it is kept, its client is told 408; a piped one, whose
 *     reply is under way, breaks off.
 * (2) A reply held in memory gives way when it stood still for longest. It breaks off.
 *
 * So neither many stalled clients nor one address with many lock others out. libh2o keeps the
 * entries of a timeout in the order in which they were linked, and a timer is linked anew when
 * bytes move: the first stood still for longest. */
#include "registry/http/http_internal.h"

enum {
    PLACE_SIZE = 3 << 19, /* memory of a place, as the setting's text says */
    STILL_MS = 5000,
    UNSENT_MAX = 256 << 20,  /* bytes of all replies in memory that wait for their clients */
    UNSENT_SMALL = 64 << 10, /* up to here a reply is not worth counting */
};

static uint64_t places_of(const struct exchange *exchange, uint64_t limit)
{
    uint64_t size = exchange->body.chunked ? limit : exchange->body.left;

    enum body_kind kind = exchange->request.route->body;

    return kind == BODY_STREAM || kind == BODY_PIPE ? 1 : size / PLACE_SIZE + 1;
}

static bool gives_way(const struct conn *conn, uint64_t registered_ms, uint64_t newcomer_places)
    ON(loop_thread)
{
    bool under_way = conn->state == CONN_BODY || conn->state == CONN_CONTINUE ||
                     (conn->state == CONN_LIVE && !conn->exchange->body.done);

    return under_way && conn->exchange->places > 0 &&
           (atomic_load(&conn->loop->server->lane_places[conn->exchange->job.lane]) >
                newcomer_places ||
            h2o_now(conn->loop->evloop) - registered_ms >= STILL_MS);
}

static struct conn *conn_of_body(h2o_timeout_entry_t *entry)
{
    return H2O_STRUCT_FROM_MEMBER(struct conn, timer, entry);
}

static struct conn *conn_of_pipe(h2o_timeout_entry_t *entry)
{
    return H2O_STRUCT_FROM_MEMBER(struct live, timer, entry)->conn;
}

static bool one_gives_way(h2o_timeout_t *timeout, struct conn *(*conn_of)(h2o_timeout_entry_t *),
                          uint64_t newcomer_places) ON(loop_thread)
{
    h2o_linklist_t *entries = &timeout->_entries;

    for (h2o_linklist_t *link = entries->next; link != entries; link = link->next) {
        h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, link);
        struct conn *conn = conn_of(entry);
        if (gives_way(conn, entry->registered_at, newcomer_places)) {
            body_timed_out(conn);
            return true;
        }
    }
    return false;
}

/* (1) True when somebody made room: it is free once a worker has put that body away. */
static bool body_give_way(struct conn *newcomer, uint64_t places) ON(loop_thread)
{
    struct loop *loop = newcomer->loop;
    uint64_t own = atomic_load(&loop->server->lane_places[newcomer->exchange->job.lane]) + places;

    return one_gives_way(&loop->timeouts.body, conn_of_body, own) ||
           one_gives_way(&loop->timeouts.pipe, conn_of_pipe, own);
}

int admit_body(struct exchange *exchange, uint64_t limit)
{
    struct server *server = exchange->loop->server;
    struct conn *conn = exchange->conn;
    uint64_t places = places_of(exchange, limit);

    if (atomic_load(&server->places) + places > server->options.uploads_max &&
        !body_give_way(conn, places))
        return error_set(&exchange->err, ERROR_UNAVAILABLE, "too many uploads at a time");
    exchange->places = places;
    exchange->lane_places = &server->lane_places[exchange->job.lane];
    atomic_fetch_add(&server->places, places);
    atomic_fetch_add(exchange->lane_places, places);
    return 0;
}

void admit_body_ended(struct exchange *exchange)
{
    if (exchange->places == 0)
        return;
    atomic_fetch_sub(&exchange->loop->server->places, exchange->places);
    atomic_fetch_sub(exchange->lane_places, exchange->places);
    exchange->places = 0;
}

/* (2) */
static bool reply_give_way(struct conn *newcomer) ON(loop_thread)
{
    h2o_linklist_t *entries = &newcomer->loop->timeouts.write._entries;

    for (h2o_linklist_t *link = entries->next; link != entries; link = link->next) {
        h2o_timeout_entry_t *entry = H2O_STRUCT_FROM_MEMBER(h2o_timeout_entry_t, _link, link);
        struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, timer, entry);
        if (conn == newcomer || conn->state != CONN_SEND || conn->exchange->unsent == 0)
            continue;
        conn->broken = true;
        conn_close(conn);
        return true;
    }
    return false;
}

void admit_reply(struct conn *conn)
{
    struct exchange *exchange = conn->exchange;
    struct server *server = conn->loop->server;

    if (exchange->reply.length <= UNSENT_SMALL || reply_has_file(&exchange->reply))
        return;
    exchange->unsent = exchange->reply.length;
    atomic_fetch_add(&server->unsent, exchange->unsent);
    while (atomic_load(&server->unsent) > UNSENT_MAX && reply_give_way(conn))
        ;
}

void admit_reply_ended(struct exchange *exchange)
{
    atomic_fetch_sub(&exchange->loop->server->unsent, exchange->unsent);
    exchange->unsent = 0;
}
