/* compress.c - a tar becomes stored bytes: hashed, compressed, hashed again, given to a sink.
 * Touches  memory only.
 * Never    writes a time, a name or the number of processors into what comes out.
 *
 * Level and window are fixed: one version of this program gives equal bytes for equal tars. The
 * hash of the tar is what is promised beyond that. Spec: s2i 17.9, 17.11 */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "s2i/layer/layer_internal.h"

enum { GZIP_LEVEL = 6, ZSTD_LEVEL = 3, WINDOW_BITS = 15 + 16, MEMORY_LEVEL = 9 };

struct packer {
    layer_sink *sink;
    void *arg;
    bool zstd_wanted;
    z_stream gzip;
    gz_header header;
    ZSTD_CStream *zstd;
    char *out; /* LAYER_BUFFER bytes */
    uint64_t size;
    struct hasher diff_id, digest;
};

bool packer_knows(const char *compression)
{
    return strcmp(compression, "gzip") == 0 || strcmp(compression, "zstd") == 0;
}

struct packer *packer_open(const char *compression, layer_sink *sink, void *arg)
{
    struct packer *packer = memory_new(sizeof(*packer));

    packer->sink = sink;
    packer->arg = arg;
    packer->zstd_wanted = strcmp(compression, "zstd") == 0;
    packer->out = memory_new(LAYER_BUFFER);
    hasher_start(&packer->diff_id, DIGEST_SHA256);
    hasher_start(&packer->digest, DIGEST_SHA256);
    if (packer->zstd_wanted) {
        packer->zstd = ZSTD_createCStream();
        assert(packer->zstd != NULL);
        ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
        ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_checksumFlag, 1);
        return packer;
    }
    int status = deflateInit2(&packer->gzip, GZIP_LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
                              Z_DEFAULT_STRATEGY);
    assert(status == Z_OK);
    packer->header.os = 255; /* unknown; no time and no name */
    deflateSetHeader(&packer->gzip, &packer->header);
    return packer;
}

void packer_drop(struct packer **owned)
{
    struct packer *packer = TAKE(*owned);

    if (packer == NULL)
        return;
    if (!packer->zstd_wanted)
        deflateEnd(&packer->gzip);
    ZSTD_freeCStream(packer->zstd);
    free(packer->out);
    free(packer);
}

static int give(struct packer *packer, size_t size, struct error *err)
{
    struct slice bytes = {packer->out, size};

    if (size == 0)
        return 0;
    hasher_update(&packer->digest, bytes.at, bytes.size);
    packer->size += size;
    return packer->sink(packer->arg, bytes, err);
}

static int pack_gzip(struct packer *packer, struct slice bytes, bool last, struct error *err)
{
    z_stream *gzip = &packer->gzip;
    int status;

    gzip->next_in = (Bytef *)(uintptr_t)bytes.at;
    gzip->avail_in = (uInt)bytes.size;
    do {
        gzip->next_out = (Bytef *)packer->out;
        gzip->avail_out = LAYER_BUFFER;
        status = deflate(gzip, last ? Z_FINISH : Z_NO_FLUSH);
        assert(status != Z_STREAM_ERROR);
        if (give(packer, LAYER_BUFFER - gzip->avail_out, err) < 0)
            return -1;
    } while (gzip->avail_out == 0 || (last && status != Z_STREAM_END));
    return 0;
}

static int pack_zstd(struct packer *packer, struct slice bytes, bool last, struct error *err)
{
    ZSTD_inBuffer input = {bytes.at, bytes.size, 0};
    size_t left;

    do {
        ZSTD_outBuffer output = {packer->out, LAYER_BUFFER, 0};
        left = ZSTD_compressStream2(packer->zstd, &output, &input,
                                    last ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return error_set(err, ERROR_INTERNAL, "cannot compress: %s", ZSTD_getErrorName(left));
        if (give(packer, output.pos, err) < 0)
            return -1;
    } while (last ? left > 0 : input.pos < input.size);
    return 0;
}

static int pack(struct packer *packer, struct slice bytes, bool last, struct error *err)
{
    return packer->zstd_wanted ? pack_zstd(packer, bytes, last, err)
                               : pack_gzip(packer, bytes, last, err);
}

int packer_write(struct packer *packer, struct slice bytes, struct error *err)
{
    hasher_update(&packer->diff_id, bytes.at, bytes.size);
    return pack(packer, bytes, false, err);
}

int packer_finish(struct packer *packer, struct s2i_layer *out, struct error *err)
{
    if (pack(packer, SLICE(""), true, err) < 0)
        return -1;
    hasher_digest(&packer->diff_id, &out->diff_id);
    hasher_digest(&packer->digest, &out->digest);
    out->size = packer->size;
    out->media_type =
        memory_text(packer->zstd_wanted ? SLICE("application/vnd.oci.image.layer.v1.tar+zstd")
                                        : SLICE("application/vnd.oci.image.layer.v1.tar+gzip"));
    return 0;
}
