/* inflate.c - stored bytes of a layer become a tar: gzip of several members, zstd, or plain.
 * Touches  the descriptor it is given.
 * Never    gives out more than the limits allow; seeks.
 *
 * A bomb is seen while it unpacks: by all bytes, and beyond RATIO_FROM by how many times more come
 * out than went in. Spec: s2i 19.5 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "s2i/layer/layer_internal.h"

enum { READ_SIZE = 128 * 1024, WINDOW_LOG_MAX = 27 };
static const uint64_t RATIO_FROM = UINT64_C(64) << 20;

struct inflater {
    int fd;
    enum packing packing;
    struct layer_limits limits;
    uint64_t quiet_ms;
    char *bytes; /* as stored: from at, so many */
    size_t at, have;
    bool ended;  /* fd is */
    bool within; /* a member or frame has begun and not ended */
    bool done;   /* all came out */
    uint64_t in, out;
    struct hasher hasher;
    z_stream gzip;
    ZSTD_DStream *zstd;
};

struct inflater *inflater_open(int fd, enum packing packing, const struct layer_limits *limits,
                               uint64_t quiet_ms)
{
    struct inflater *inflater = memory_new(sizeof(*inflater));

    inflater->fd = fd;
    inflater->packing = packing;
    inflater->limits = *limits;
    inflater->quiet_ms = quiet_ms;
    inflater->bytes = memory_new(READ_SIZE);
    hasher_start(&inflater->hasher, DIGEST_SHA256);
    if (packing == PACKED_GZIP) {
        int status = inflateInit2(&inflater->gzip, 15 + 16); /* with gzip's header, and only so */
        assert(status == Z_OK);
    } else if (packing == PACKED_ZSTD) {
        inflater->zstd = ZSTD_createDStream();
        assert(inflater->zstd != NULL);
        ZSTD_DCtx_setParameter(inflater->zstd, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
    }
    return inflater;
}

static void inflater_close(struct inflater *inflater)
{
    if (inflater == NULL)
        return;
    if (inflater->packing == PACKED_GZIP)
        inflateEnd(&inflater->gzip);
    ZSTD_freeDStream(inflater->zstd);
    free(inflater->bytes);
    free(inflater);
}

void inflater_drop(struct inflater **inflater)
{
    inflater_close(TAKE(*inflater));
}

/* --- bytes in --- */

static int wait_readable(const struct inflater *inflater, struct error *err)
{
    struct pollfd wait = {.fd = inflater->fd, .events = POLLIN};
    int timeout =
        inflater->quiet_ms == 0 || inflater->quiet_ms > INT32_MAX ? -1 : (int)inflater->quiet_ms;
    int status;

    do
        status = poll(&wait, 1, timeout);
    while (status < 0 && errno == EINTR);
    if (status == 0)
        return error_set(err, ERROR_INVALID, "timeout waiting for tar stream");
    return status < 0 ? error_set_errno(err, ERROR_INTERNAL, errno, "cannot wait for the archive")
                      : 0;
}

static int read_some(struct inflater *inflater, char *out, size_t capacity, size_t *got,
                     struct error *err)
{
    ssize_t size;

    for (;;) {
        if (inflater->quiet_ms > 0 && wait_readable(inflater, err) < 0)
            return -1;
        size = read(inflater->fd, out, capacity);
        if (size >= 0)
            break;
        if (errno == EAGAIN && wait_readable(inflater, err) < 0)
            return -1;
        if (errno != EINTR && errno != EAGAIN)
            return error_set_errno(err, ERROR_INTERNAL, errno, "cannot read the archive");
    }
    inflater->in += (uint64_t)size;
    *got = (size_t)size;
    return 0;
}

/* Makes sure that there are stored bytes, unless they have ended. */
static int refill(struct inflater *inflater, struct error *err)
{
    if (inflater->have > 0 || inflater->ended)
        return 0;
    inflater->at = 0;
    if (read_some(inflater, inflater->bytes, READ_SIZE, &inflater->have, err) < 0)
        return -1;
    inflater->ended = inflater->have == 0;
    return 0;
}

/* --- bytes out --- */

/* One step: some of the stored bytes into out. A new member follows the last one's end. */
static int step_gzip(struct inflater *inflater, char *out, size_t capacity, size_t *got,
                     struct error *err)
{
    z_stream *gzip = &inflater->gzip;

    gzip->next_in = (Bytef *)inflater->bytes + inflater->at;
    gzip->avail_in = (uInt)inflater->have;
    gzip->next_out = (Bytef *)out;
    gzip->avail_out = (uInt)capacity;
    int status = inflate(gzip, Z_NO_FLUSH);
    inflater->at += inflater->have - gzip->avail_in;
    inflater->have = gzip->avail_in;
    *got = capacity - gzip->avail_out;
    inflater->within = status != Z_STREAM_END;
    if (status == Z_STREAM_END)
        inflateReset(gzip);
    else if (status != Z_OK && status != Z_BUF_ERROR)
        return error_set(err, ERROR_INVALID, "the layer is no valid gzip: %s",
                         gzip->msg == NULL ? "it is damaged" : gzip->msg);
    return 0;
}

static int step_zstd(struct inflater *inflater, char *out, size_t capacity, size_t *got,
                     struct error *err)
{
    ZSTD_inBuffer input = {inflater->bytes + inflater->at, inflater->have, 0};
    ZSTD_outBuffer output = {out, capacity, 0};
    size_t status = ZSTD_decompressStream(inflater->zstd, &output, &input);

    if (ZSTD_isError(status))
        return error_set(err, ERROR_INVALID, "the layer is no valid zstd: %s",
                         ZSTD_getErrorName(status));
    inflater->at += input.pos;
    inflater->have -= input.pos;
    *got = output.pos;
    inflater->within = status != 0;
    return 0;
}

static int unpack_some(struct inflater *inflater, char *out, size_t capacity, size_t *got,
                       struct error *err)
{
    if (inflater->packing == PACKED_NOT)
        return read_some(inflater, out, capacity, got, err);
    while (*got == 0) {
        if (refill(inflater, err) < 0)
            return -1;
        if (inflater->ended && !inflater->within)
            return 0;
        int status = inflater->packing == PACKED_GZIP
                         ? step_gzip(inflater, out, capacity, got, err)
                         : step_zstd(inflater, out, capacity, got, err);
        if (status < 0)
            return -1;
        if (*got == 0 && inflater->ended && inflater->within)
            return error_set(err, ERROR_INVALID, "the layer ends too early");
    }
    return 0;
}

static int check_limits(const struct inflater *inflater, struct error *err)
{
    const struct layer_limits *limits = &inflater->limits;

    if (limits->bytes_max > 0 && inflater->out > limits->bytes_max)
        return error_set(err, ERROR_INVALID, "the archive unpacks to more than %llu bytes",
                         (unsigned long long)limits->bytes_max);
    if (limits->ratio_max > 0 && inflater->out > RATIO_FROM &&
        inflater->out / limits->ratio_max > inflater->in)
        return error_set(err, ERROR_INVALID, "the archive unpacks to more than %llu times its size",
                         (unsigned long long)limits->ratio_max);
    return 0;
}

int inflater_feed(void *arg, char *out, size_t capacity, size_t *got, struct error *err)
{
    struct inflater *inflater = arg;

    *got = 0;
    if (inflater->done)
        return 0;
    if (capacity > LAYER_BUFFER)
        capacity = LAYER_BUFFER;
    if (unpack_some(inflater, out, capacity, got, err) < 0)
        return -1;
    inflater->done = *got == 0;
    inflater->out += *got;
    hasher_update(&inflater->hasher, out, *got);
    return check_limits(inflater, err);
}

int inflater_finish(struct inflater *inflater, struct digest *out, struct error *err)
{
    OWNED(memory_drop) char *buffer = memory_new(READ_SIZE);
    size_t got = 0;

    do
        if (inflater_feed(inflater, buffer, READ_SIZE, &got, err) < 0)
            return -1;
    while (got > 0);
    hasher_digest(&inflater->hasher, out);
    return 0;
}
