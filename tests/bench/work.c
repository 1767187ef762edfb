/* work.c - what the load asks of a registry: scripts of requests, one operation each.
 * Touches  the requests of the clients it is given.
 * Never    sockets, clocks, hashing of blobs. */
#include "tests/bench/work.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

static const struct content *item_of(const struct work *work, const struct operation *operation)
{
    return &work->items[operation->index % work->item_count];
}

static void __attribute__((format(printf, 4, 5)))
request(struct operation *operation, struct client *client, int expected, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    client->head_length =
        (size_t)vsnprintf(operation->head, sizeof operation->head, format, arguments);
    va_end(arguments);
    assert(client->head_length < sizeof operation->head);
    client->head = operation->head;
    client->text = NULL;
    client->content = NULL;
    client->body_length = 0;
    client->pace_bytes_s = 0;
    client->no_body = operation->script == SCRIPT_HEAD;
    operation->expected = expected;
}

static void send_content(const struct work *work, const struct operation *operation,
                         struct client *client)
{
    client->content = item_of(work, operation);
    client->body_length = client->content->size_bytes;
    client->pace_bytes_s = work->pace_bytes_s;
}

static const char *value_of(const struct values *values, uint64_t index)
{
    return values->count > 0 ? values->items[index % values->count] : NULL;
}

static void fixed(const struct work *work, struct operation *operation, struct client *client)
{
    const char *given = value_of(&work->authorizations, operation->index);
    const char *path = value_of(&work->paths, operation->index);

    request(operation, client, work->status,
            "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: %s\r\n%s%s%s%s\r\n",
            operation->script == SCRIPT_HEAD ? "HEAD" : "GET", path, work->host, MANIFEST_TYPE,
            given != NULL ? "Authorization: " : "", given != NULL ? given : "",
            given != NULL ? "\r\n" : "", work->fresh ? "Connection: close\r\n" : "");
}

/* The fixed request is written once; afterwards only its answer counts. */
static bool next_fixed(const struct work *work, struct operation *operation, struct client *client)
{
    if (operation->step > 0)
        return false;
    if (client->head != operation->head || work->authorizations.count > 1 || work->paths.count > 1)
        fixed(work, operation, client);
    return true;
}

static void upload_open(const struct work *work, struct operation *operation, struct client *client)
{
    request(operation, client, 202,
            "POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n",
            work->repository, work->host);
}

static void upload_patch(const struct work *work, struct operation *operation,
                         struct client *client)
{
    request(operation, client, 202,
            "PATCH %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\n"
            "Content-Length: %llu\r\n\r\n",
            client->location, work->host, (unsigned long long)item_of(work, operation)->size_bytes);
    send_content(work, operation, client);
}

/* PUT, with the bytes or without them. */
static void upload_finish(const struct work *work, struct operation *operation,
                          struct client *client, bool with_bytes)
{
    const struct content *item = item_of(work, operation);

    request(operation, client, 201,
            "PUT %s%cdigest=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/octet-stream\r\n"
            "Content-Length: %llu\r\n\r\n",
            client->location, strchr(client->location, '?') == NULL ? '?' : '&', item->digest,
            work->host, with_bytes ? (unsigned long long)item->size_bytes : 0ULL);
    if (with_bytes)
        send_content(work, operation, client);
}

static void manifest_put(const struct work *work, struct operation *operation,
                         struct client *client)
{
    const struct content *item = item_of(work, operation);
    unsigned long long index = operation->index;
    int length = snprintf(
        operation->manifest, sizeof operation->manifest,
        "{\"schemaVersion\":2,\"mediaType\":\"" MANIFEST_TYPE "\",\"config\":{\"mediaType\":"
        "\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%llu},"
        "\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\","
        "\"size\":%llu}],\"annotations\":{\"bench.item\":\"%llx-%llu\"}}",
        work->config.digest, (unsigned long long)work->config.size_bytes, item->digest,
        (unsigned long long)item->size_bytes, (unsigned long long)work->seed,
        work->same_manifest ? 0ULL : index);

    request(operation, client, 201,
            "PUT /v2/%s/manifests/%s-%llu HTTP/1.1\r\nHost: %s\r\nContent-Type: " MANIFEST_TYPE
            "\r\nContent-Length: %d\r\n\r\n",
            work->repository, work->tag, index, work->host, length);
    client->text = operation->manifest;
    client->body_length = (uint64_t)length;
}

static bool next_upload(const struct work *work, struct operation *operation, struct client *client)
{
    bool in_pieces = operation->script != SCRIPT_PUT;

    if (operation->step == 0)
        upload_open(work, operation, client);
    else if (operation->step == 1 && in_pieces)
        upload_patch(work, operation, client);
    else if (operation->step == (in_pieces ? 2 : 1))
        upload_finish(work, operation, client, !in_pieces);
    else if (operation->step == 3 && operation->script == SCRIPT_IMAGE)
        manifest_put(work, operation, client);
    else
        return false;
    return true;
}

static bool next_tag(const struct work *work, struct operation *operation, struct client *client)
{
    if (operation->step > 0)
        return false;
    manifest_put(work, operation, client);
    return true;
}

static bool next_pull(const struct work *work, struct operation *operation, struct client *client)
{
    if (operation->step == 0)
        request(operation, client, 200,
                "GET /v2/%s/manifests/%s-%llu HTTP/1.1\r\nHost: %s\r\nAccept: " MANIFEST_TYPE
                "\r\n\r\n",
                work->repository, work->tag, (unsigned long long)operation->index, work->host);
    else if (operation->step == 1)
        request(operation, client, 200, "GET /v2/%s/blobs/%s HTTP/1.1\r\nHost: %s\r\n\r\n",
                work->repository, item_of(work, operation)->digest, work->host);
    else
        return false;
    return true;
}

static const struct {
    const char *name;
    bool (*next)(const struct work *work, struct operation *operation, struct client *client);
} SCRIPTS[] = {
    [SCRIPT_GET] = {"get", next_fixed},      [SCRIPT_HEAD] = {"head", next_fixed},
    [SCRIPT_PATCH] = {"patch", next_upload}, [SCRIPT_PUT] = {"put", next_upload},
    [SCRIPT_TAG] = {"tag", next_tag},        [SCRIPT_IMAGE] = {"image", next_upload},
    [SCRIPT_PULL] = {"pull", next_pull},
};

bool work_next(const struct work *work, struct operation *operation, struct client *client)
{
    bool more = SCRIPTS[operation->script].next(work, operation, client);

    operation->step++;
    return more;
}

int work_script(const char *name)
{
    for (int i = 0; i < (int)(sizeof SCRIPTS / sizeof SCRIPTS[0]); i++)
        if (strcmp(SCRIPTS[i].name, name) == 0)
            return i;
    return -1;
}
