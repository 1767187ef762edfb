/* attest_sbom.c - the list of an image's parts as a blob: what is known of its packages, and the
 * files of its own layers, read from the layers themselves.
 * Touches  storage: reads layers, as they are stored; writes a blob.
 * Never    believes a builder: names and sums are of the bytes that clients get; holds more of a
 *          layer than a piece.
 *
 * Spec: s2i 15.5, 19.5 */
#include "s2i/attest.h"
#include "s2i/contract/referrer.h"
#include "s2i/layer/layer.h"
#include "storage/storage.h"

enum { RATIO_MAX = 1100 };

/* A blob on its way. */
struct sending {
    const struct publisher *publisher;
    struct arrival arrival;
    struct hasher hasher;
    uint64_t size;
    struct sbom_writer *writer;
    size_t layer;
    struct sha1 sha1; /* of the file that is read */
};

static void sending_drop(struct sending *sending)
{
    assert_worker_thread();
    sbom_writer_drop(&sending->writer);
    arrival_drop(sending->publisher, &sending->arrival);
}

static int send(void *arg, struct slice bytes, struct error *err)
{
    struct sending *sending = arg;

    assert_worker_thread();
    hasher_update(&sending->hasher, bytes.at, bytes.size);
    sending->size += bytes.size;
    return arrival_write(sending->publisher, &sending->arrival, bytes, err);
}

static int begin(struct sending *sending, const struct publisher *publisher, const json_t *document,
                 const char *without, struct error *err)
{
    const json_t *text = json_object_get(document, "sbom");

    *sending = (struct sending){.publisher = publisher};
    hasher_start(&sending->hasher, DIGEST_SHA256);
    sha1_start(&sending->sha1);
    return sbom_writer_open(&sending->writer,
                            (struct slice){json_string_value(text), json_string_length(text)},
                            without, send, sending, err);
}

static int finish(struct sending *sending, struct digest *digest, uint64_t *size, struct error *err)
    ON(worker_thread)
{
    if (sbom_writer_end(sending->writer, err) < 0)
        return -1;
    hasher_digest(&sending->hasher, digest);
    *size = sending->size;
    return arrival_finish(sending->publisher, &sending->arrival, digest, err);
}

/* --- files --- */

static void on_content(void *arg, struct slice bytes)
{
    struct sending *sending = arg;

    sha1_update(&sending->sha1, bytes.at, bytes.size);
}

/* ".wh.x" takes away what a layer below has: it is no file. */
static bool is_whiteout(struct slice path)
{
    struct slice name, rest;

    while (slice_split(path, '/', &name, &rest))
        path = rest;
    return slice_starts(path, ".wh.");
}

static int on_file(void *arg, const struct tar_entry *entry, const struct digest *content,
                   struct error *err)
{
    struct sending *sending = arg;
    uint8_t sum[SHA1_SIZE];

    if (attester_closing(sending->publisher->builds->attester))
        return error_set(err, ERROR_UNAVAILABLE, "the server ends");
    if (entry->type != '0')
        return 0;
    sha1_finish(&sending->sha1, sum);
    sha1_start(&sending->sha1);
    if (is_whiteout(entry->path))
        return 0;
    return sbom_writer_file(sending->writer, sending->layer, entry->path, content, sum, err);
}

static int layer_of(const json_t *item, struct s2i_layer *out, struct error *err)
{
    const char *media_type = json_string_value(json_object_get(item, "media_type"));

    *out = (struct s2i_layer){.media_type = memory_text(slice_of(media_type)),
                              .size = (uint64_t)json_integer_value(json_object_get(item, "size"))};
    if (digest_parse(slice_of(json_string_value(json_object_get(item, "digest"))), &out->digest,
                     err) == 0 &&
        digest_parse(slice_of(json_string_value(json_object_get(item, "diff_id"))), &out->diff_id,
                     err) == 0)
        return 0;
    memory_drop(&out->media_type);
    return -1;
}

static int list_layer(struct sending *sending, const json_t *item, struct error *err)
    ON(worker_thread)
{
    const struct builds *builds = sending->publisher->builds;
    const struct layer_limits limits = {builds->config->builds_disk * 4,
                                        builds->config->builds_sources_max_files * 10, RATIO_MAX};
    struct s2i_layer layer;
    struct blob blob;

    if (layer_of(item, &layer, err) < 0)
        return -1;
    int outcome = storage_blob_open(builds->storage, sending->publisher->repository, &layer.digest,
                                    false, &blob, err);
    if (outcome == 0) {
        outcome = layer_read(blob.fd, &layer, &limits, on_content, on_file, sending, err);
        storage_blob_close(&blob);
    }
    memory_drop(&layer.media_type);
    return outcome;
}

static int with_files(const struct publisher *publisher, const json_t *document,
                      struct digest *digest, uint64_t *size, struct error *err) ON(worker_thread)
{
    OWNED(sending_drop) struct sending sending;
    const json_t *layers = json_object_get(document, "layers");

    if (begin(&sending, publisher, document, NULL, err) < 0)
        return -1;
    for (; sending.layer < json_array_size(layers); sending.layer++)
        if (list_layer(&sending, json_array_get(layers, sending.layer), err) < 0)
            return -1;
    return finish(&sending, digest, size, err);
}

static int without_files(const struct publisher *publisher, const json_t *document, const char *why,
                         struct digest *digest, uint64_t *size, struct error *err) ON(worker_thread)
{
    OWNED(sending_drop) struct sending sending;
    OWNED(buffer_drop) struct buffer words = BUFFER_NONE;

    buffer_print(&words, "its files are not listed: %s", why);
    buffer_append(&words, "", 1);
    return begin(&sending, publisher, document, words.at, err) < 0
               ? -1
               : finish(&sending, digest, size, err);
}

/* What cannot be listed (too many files, an archive that makes no sense) is said in the document;
 * what could not be read now is tried again. */
int attest_sbom(const struct publisher *publisher, const json_t *document, struct digest *digest,
                uint64_t *size, struct error *err)
{
    if (with_files(publisher, document, digest, size, err) == 0)
        return 0;
    if (err->code != ERROR_INVALID)
        return -1;
    const struct error why = *err;
    error_clear(err);
    return without_files(publisher, document, why.message, digest, size, err);
}
