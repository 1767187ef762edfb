/* compress.c - a tar becomes stored bytes: hashed, compressed, hashed again, given to a sink.
 * Touches  memory only.
 * Never    writes a time, a name or the number of processors into what comes out.
 *
 * Level and window are fixed: one version of this program gives equal bytes for equal tars. The
 * hash of the tar is what is promised beyond that. Spec: s2i 17.9, 17.11 */
#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "s2i/layer/gzip.h"
#include "s2i/layer/layer_internal.h"

enum { ZSTD_LEVEL = 3 }; /* another one is another S2I_PACKING (s2i/spec.h) */

struct packer {
    layer_sink *sink;
    void *arg;
    struct gzip *gzip; /* or: */
    ZSTD_CStream *zstd;
    char *out; /* LAYER_BUFFER bytes, for zstd */
    uint64_t size;
    struct hasher diff_id, digest;
};

bool packer_knows(const char *compression)
{
    return strcmp(compression, "gzip") == 0 || strcmp(compression, "zstd") == 0;
}

/* What is stored: hashed and given away. */
static int give(void *arg, struct slice bytes, struct error *err)
{
    struct packer *packer = arg;

    if (bytes.size == 0)
        return 0;
    hasher_update(&packer->digest, bytes.at, bytes.size);
    packer->size += bytes.size;
    return packer->sink(packer->arg, bytes, err);
}

struct packer *packer_open(const char *compression, layer_sink *sink, void *arg)
{
    struct packer *packer = memory_new(sizeof(*packer));

    packer->sink = sink;
    packer->arg = arg;
    hasher_start(&packer->diff_id, DIGEST_SHA256);
    hasher_start(&packer->digest, DIGEST_SHA256);
    if (strcmp(compression, "zstd") != 0) {
        packer->gzip = gzip_open(give, packer);
        return packer;
    }
    packer->zstd = ZSTD_createCStream();
    assert(packer->zstd != NULL);
    ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    ZSTD_CCtx_setParameter(packer->zstd, ZSTD_c_checksumFlag, 1);
    packer->out = memory_new(LAYER_BUFFER);
    return packer;
}

void packer_drop(struct packer **owned)
{
    struct packer *packer = TAKE(*owned);

    if (packer == NULL)
        return;
    gzip_drop(&packer->gzip);
    ZSTD_freeCStream(packer->zstd);
    free(packer->out);
    free(packer);
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
        if (give(packer, (struct slice){packer->out, output.pos}, err) < 0)
            return -1;
    } while (last ? left > 0 : input.pos < input.size);
    return 0;
}

int packer_write(struct packer *packer, struct slice bytes, struct error *err)
{
    hasher_update(&packer->diff_id, bytes.at, bytes.size);
    return packer->gzip != NULL ? gzip_write(packer->gzip, bytes, err)
                                : pack_zstd(packer, bytes, false, err);
}

int packer_finish(struct packer *packer, struct s2i_layer *out, struct error *err)
{
    bool gzip = packer->gzip != NULL;

    if ((gzip ? gzip_finish(packer->gzip, err) : pack_zstd(packer, SLICE(""), true, err)) < 0)
        return -1;
    hasher_digest(&packer->diff_id, &out->diff_id);
    hasher_digest(&packer->digest, &out->digest);
    out->size = packer->size;
    out->media_type = memory_text(gzip ? SLICE("application/vnd.oci.image.layer.v1.tar+gzip")
                                       : SLICE("application/vnd.oci.image.layer.v1.tar+zstd"));
    return 0;
}
