/* client.c - where a request comes from: the peer, whom a trusted proxy speaks for, the admin
 * socket; and the id by which logs call it.
 * Touches  a request's remote, network, host, tls, id; credentials of a unix socket's peer.
 * Never    believes a header of somebody who is no trusted proxy. */
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/http/http_internal.h"

static const char ADMIN_GROUP[] = "slipway-admin";

/* --- the id --- */

static uint64_t id_word(uint64_t *state)
{
    uint64_t word = *state += 0x9e3779b97f4a7c15u;

    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

/* Unique, and not to be guessed by chance: two seeded streams. Spec: HTTP-25. */
void client_id(struct exchange *exchange)
{
    struct loop *loop = exchange->loop;
    char *out = exchange->request.id;
    uint64_t words[2] = {id_word(&loop->id_state[0]), id_word(&loop->id_state[1])};

    hex_encode((const uint8_t *)words, sizeof(words), out);
    out[2 * sizeof(words)] = 0;
}

/* --- addresses --- */

static unsigned lane_of(const uint8_t network[ADDRESS_NETWORK_SIZE])
{
    return bytes_hash(0, network, ADDRESS_NETWORK_SIZE) % WORKER_LANES;
}

void client_of_conn(struct conn *conn, const struct sockaddr *peer)
{
    address_of_peer(peer, &conn->peer);
    address_text(&conn->peer, conn->remote);
    address_network(&conn->peer, conn->network);
    conn->lane = lane_of(conn->network);
    conn->trusted =
        conn->standing == PEER_CLIENT && proxies_trust(conn->loop->server->proxies, &conn->peer);
}

static int forwarded_fill(struct exchange *exchange) ON(loop_thread)
{
    struct request *request = &exchange->request;
    struct conn *conn = exchange->conn;
    struct forwarded forwarded;
    const char *complaint = forward_read(conn->loop->server->proxies, &conn->peer, request->headers,
                                         request->header_count, &forwarded);

    address_text(&forwarded.client, request->remote);
    address_network(&forwarded.client, request->network);
    exchange->job.lane = exchange->stream.job.lane = lane_of(request->network);
    if (forwarded.request_id.at == NULL ||
        !slice_to_text(forwarded.request_id, request->id, sizeof(request->id)))
        client_id(exchange);
    if (complaint != NULL)
        return error_set(&exchange->err, ERROR_BAD_REQUEST, "%s", complaint);
    if (forwarded.scheme != FORWARDED_UNSAID)
        request->tls = forwarded.scheme == FORWARDED_HTTPS;
    if (forwarded.host.at != NULL)
        request->host = forwarded.host;
    return 0;
}

int client_fill(struct exchange *exchange, const struct head *head)
{
    struct request *request = &exchange->request;
    const struct conn *conn = exchange->conn;

    memcpy(request->remote, conn->remote, sizeof(request->remote));
    memcpy(request->network, conn->network, sizeof(request->network));
    request->tls = conn->tls != NULL;
    request->host = host_valid(head->authority) ? head->authority : SLICE_NONE;
    if (conn->trusted)
        return forwarded_fill(exchange);
    client_id(exchange);
    return 0;
}

/* --- the admin socket --- */

bool admin_group_find(gid_t *out)
{
    enum { TEXT_MAX = 64 * 1024 };
    OWNED(memory_drop) char *text = memory_new(TEXT_MAX);
    struct group group, *found = NULL;

    if (getgrnam_r(ADMIN_GROUP, &group, text, TEXT_MAX, &found) != 0 || found == NULL)
        return false;
    *out = group.gr_gid;
    return true;
}

static bool groups_have(int fd, gid_t wanted)
{
    socklen_t size = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
        return false; /* none */
    OWNED(memory_drop) gid_t *groups = memory_new(size);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
        return false;
    for (size_t i = 0; i < size / sizeof(groups[0]); i++) {
        if (groups[i] == wanted)
            return true;
    }
    return false;
}

enum peer_standing admin_judge_peer(const struct server *server, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return PEER_STRANGER;
    if (peer.uid == 0 || peer.uid == geteuid())
        return PEER_ADMIN;
    if (server->has_admin_group &&
        (peer.gid == server->admin_group || groups_have(fd, server->admin_group)))
        return PEER_ADMIN;
    return PEER_STRANGER;
}

int admin_judge_request(struct exchange *exchange)
{
    struct request *request = &exchange->request;

    if (exchange->conn->standing == PEER_STRANGER)
        return error_set(&exchange->err, ERROR_DENIED,
                         "this socket is for root and members of the group %s", ADMIN_GROUP);
    if (exchange->conn->standing == PEER_CLIENT || request->route == NULL)
        return 0;
    request->local = action_is_api(request->route->action);
    if (request->local || request->route->action == ACTION_NONE)
        return 0;
    return error_set(&exchange->err, ERROR_ROUTE_UNKNOWN,
                     "this socket serves the management API alone");
}
