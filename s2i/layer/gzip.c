/* gzip.c - blocks go round in a ring: filled by the owner, deflated by whoever is free, given away
 * in order.
 * Touches  memory, threads of its own.
 * Never    starts a thread for what fits into one block.
 *
 *   owner fills -> begun -> a thread (or the waiting owner) takes and deflates -> done -> given
 *
 * (1) given <= taken <= begun <= given + RING. A block belongs to the owner before it is begun and
 * after it is done, and to who took it in between; the counters are under the lock. */
#include "s2i/layer/gzip.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

/* Another size or level is another S2I_PACKING (s2i/spec.h). */
enum {
    BLOCK = 256 * 1024,
    WINDOW = 32 * 1024,
    OUT = BLOCK + BLOCK / 8 + 1024, /* more than what does not compress becomes */
    LEVEL = 5,
    MEMORY = 9,
    THREADS_MAX = 4,
    RING = 2 * THREADS_MAX,
};

struct block {
    char *in, *out; /* BLOCK and OUT bytes */
    size_t in_size, out_size;
    char window[WINDOW]; /* the end of the block before */
    size_t window_size;
    uint32_t crc;
    bool last, done;
};

struct gzip {
    layer_sink *give;
    void *arg;
    struct block ring[RING];
    uint64_t begun, taken, given;
    uint32_t crc;
    uint32_t size; /* modulo 2^32, as the trailer wants it */
    z_stream own;  /* of the owner, when he helps */
    bool headed, stop;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    pthread_t threads[THREADS_MAX];
    size_t thread_count;
};

static void deflate_start(z_stream *stream)
{
    memset(stream, 0, sizeof(*stream));
    int status = deflateInit2(stream, LEVEL, Z_DEFLATED, -15, MEMORY, Z_DEFAULT_STRATEGY);
    assert(status == Z_OK);
}

struct gzip *gzip_open(layer_sink *give, void *arg)
{
    struct gzip *gzip = memory_new(sizeof(*gzip));

    gzip->give = give;
    gzip->arg = arg;
    gzip->crc = (uint32_t)crc32(0, NULL, 0);
    deflate_start(&gzip->own);
    pthread_mutex_init(&gzip->lock, NULL);
    pthread_cond_init(&gzip->work, NULL);
    pthread_cond_init(&gzip->done, NULL);
    return gzip;
}

void gzip_drop(struct gzip **owned)
{
    struct gzip *gzip = TAKE(*owned);

    if (gzip == NULL)
        return;
    pthread_mutex_lock(&gzip->lock);
    gzip->stop = true;
    pthread_cond_broadcast(&gzip->work);
    pthread_mutex_unlock(&gzip->lock);
    for (size_t i = 0; i < gzip->thread_count; i++)
        pthread_join(gzip->threads[i], NULL);
    for (size_t i = 0; i < RING; i++) {
        free(gzip->ring[i].in);
        free(gzip->ring[i].out);
    }
    deflateEnd(&gzip->own);
    pthread_cond_destroy(&gzip->done);
    pthread_cond_destroy(&gzip->work);
    pthread_mutex_destroy(&gzip->lock);
    free(gzip);
}

/* --- one block --- */

static void deflate_block(z_stream *stream, struct block *block)
{
    deflateReset(stream);
    if (block->window_size > 0)
        deflateSetDictionary(stream, (const Bytef *)block->window, (uInt)block->window_size);
    stream->next_in = (Bytef *)block->in;
    stream->avail_in = (uInt)block->in_size;
    stream->next_out = (Bytef *)block->out;
    stream->avail_out = OUT;
    int status = deflate(stream, block->last ? Z_FINISH : Z_SYNC_FLUSH);
    assert(status == (block->last ? Z_STREAM_END : Z_OK) && stream->avail_out > 0);
    block->out_size = OUT - stream->avail_out;
    block->crc = (uint32_t)crc32(0, (const Bytef *)block->in, (uInt)block->in_size);
}

/* Takes the next block, deflates it without the lock. */
static void take_one(struct gzip *gzip, z_stream *stream)
{
    struct block *block = &gzip->ring[gzip->taken++ % RING];

    pthread_mutex_unlock(&gzip->lock);
    deflate_block(stream, block);
    pthread_mutex_lock(&gzip->lock);
    block->done = true;
    pthread_cond_signal(&gzip->done);
}

static void *run(void *arg)
{
    struct gzip *gzip = arg;
    z_stream stream;

    deflate_start(&stream);
    pthread_mutex_lock(&gzip->lock);
    while (!gzip->stop) {
        if (gzip->taken < gzip->begun)
            take_one(gzip, &stream);
        else
            pthread_cond_wait(&gzip->work, &gzip->lock);
    }
    pthread_mutex_unlock(&gzip->lock);
    deflateEnd(&stream);
    return NULL;
}

/* Where none can be started the owner does it all. */
static void start_threads(struct gzip *gzip)
{
    sigset_t all, before;
    cpu_set_t processors;
    int wanted =
        sched_getaffinity(0, sizeof(processors), &processors) == 0 ? CPU_COUNT(&processors) : 1;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for others */
    while (gzip->thread_count < THREADS_MAX && (int)gzip->thread_count < wanted &&
           pthread_create(&gzip->threads[gzip->thread_count], NULL, run, gzip) == 0)
        gzip->thread_count++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* --- the owner --- */

static int give_header(struct gzip *gzip, struct error *err)
{
    /* deflate, no name, no time, no extra flags, unknown system */
    static const char header[] = "\x1f\x8b\x08\0\0\0\0\0\0\xff";

    if (gzip->headed)
        return 0;
    gzip->headed = true;
    return gzip->give(gzip->arg, (struct slice){header, sizeof(header) - 1}, err);
}

/* Gives the oldest block away once it is done; helps while it is not. */
static int give_one(struct gzip *gzip, struct error *err)
{
    struct block *block = &gzip->ring[gzip->given % RING];

    pthread_mutex_lock(&gzip->lock);
    while (!block->done) {
        if (gzip->taken < gzip->begun)
            take_one(gzip, &gzip->own);
        else
            pthread_cond_wait(&gzip->done, &gzip->lock);
    }
    block->done = false;
    gzip->given++;
    pthread_mutex_unlock(&gzip->lock);
    gzip->crc = (uint32_t)crc32_combine(gzip->crc, block->crc, (z_off_t)block->in_size);
    gzip->size += (uint32_t)block->in_size;
    if (give_header(gzip, err) < 0)
        return -1;
    return gzip->give(gzip->arg, (struct slice){block->out, block->out_size}, err);
}

/* The block that is being filled. Its slot is free: (1). */
static struct block *filling(struct gzip *gzip)
{
    struct block *block = &gzip->ring[gzip->begun % RING];

    if (block->in == NULL) {
        block->in = memory_new(BLOCK);
        block->out = memory_new(OUT);
    }
    return block;
}

/* The block is full, or the last. */
static int begin(struct gzip *gzip, struct block *block, bool last, struct error *err)
{
    struct block *next = &gzip->ring[(gzip->begun + 1) % RING];

    block->last = last;
    if (!last && gzip->thread_count == 0)
        start_threads(gzip);
    if (gzip->begun + 1 - gzip->given == RING && give_one(gzip, err) < 0)
        return -1;
    if (!last) {
        memcpy(next->window, block->in + block->in_size - WINDOW, WINDOW);
        next->window_size = WINDOW;
        next->in_size = 0;
    }
    pthread_mutex_lock(&gzip->lock);
    gzip->begun++;
    pthread_cond_signal(&gzip->work);
    pthread_mutex_unlock(&gzip->lock);
    return 0;
}

int gzip_write(struct gzip *gzip, struct slice bytes, struct error *err)
{
    while (bytes.size > 0) {
        struct block *block = filling(gzip);
        size_t space = BLOCK - block->in_size, size = bytes.size < space ? bytes.size : space;
        memcpy(block->in + block->in_size, bytes.at, size);
        block->in_size += size;
        bytes = slice_from(bytes, size);
        if (block->in_size == BLOCK && begin(gzip, block, false, err) < 0)
            return -1;
    }
    return 0;
}

int gzip_finish(struct gzip *gzip, struct error *err)
{
    unsigned char trailer[8];

    if (begin(gzip, filling(gzip), true, err) < 0)
        return -1;
    while (gzip->given < gzip->begun)
        if (give_one(gzip, err) < 0)
            return -1;
    for (size_t i = 0; i < 4; i++) {
        trailer[i] = (unsigned char)(gzip->crc >> (8 * i));
        trailer[4 + i] = (unsigned char)(gzip->size >> (8 * i));
    }
    return gzip->give(gzip->arg, (struct slice){(const char *)trailer, sizeof(trailer)}, err);
}
