/* handler.h - one request of a unit test: given to a handler without a server around it. */
#ifndef SLIPWAY_TESTS_SUPPORT_HANDLER_H
#define SLIPWAY_TESTS_SUPPORT_HANDLER_H

#include <string.h>

#include "registry/config.h"
#include "registry/http/message.h"
#include "registry/services.h"

struct exchange {
    struct header headers[2];
    struct parameter parameters[128];
    struct services services;
    struct request request;
    struct reply reply;
    struct error err;
};

static inline void exchange_init(struct exchange *exchange, const struct config *config,
                                 enum method method, const char *reference)
{
    memset(exchange, 0, sizeof(*exchange));
    exchange->services.config = config;
    exchange->request.method = method;
    exchange->request.services = &exchange->services;
    exchange->request.headers = exchange->headers;
    exchange->request.parameters = exchange->parameters;
    exchange->request.name = SLICE("a/b");
    exchange->request.reference = slice_of(reference);
    reply_init(&exchange->reply);
}

static inline void with_header(struct exchange *exchange, const char *name, const char *value)
{
    exchange->headers[exchange->request.header_count++] =
        (struct header){slice_of(name), slice_of(value)};
}

/* NULL for a parameter that is not given. */
static inline void with_parameter(struct exchange *exchange, const char *name, const char *value)
{
    if (value != NULL)
        exchange->parameters[exchange->request.parameter_count++] =
            (struct parameter){slice_of(name), slice_of(value)};
}

/* The status the client would see. */
static inline int run(struct exchange *exchange,
                      int (*handle)(struct request *, struct reply *, struct error *))
{
    if (handle(&exchange->request, &exchange->reply, &exchange->err) < 0)
        return exchange->err.status;
    return exchange->reply.status;
}

static inline bool head_has(const struct exchange *exchange, const char *text)
{
    return exchange->reply.head.size > 0 &&
           memmem(exchange->reply.head.at, exchange->reply.head.size, text, strlen(text)) != NULL;
}

#endif
