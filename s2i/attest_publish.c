/* attest_publish.c - what is to stand beside an image is published: its referrers.
 * Touches  storage, as a push of the asker does; the log's file.
 * Never    makes another document than the one that was written with the build's end, or the
 * rebase, save a signature that could not be made then.
 *
 * Spec: s2i 7.12, 15.5, 15.10. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/json.h"
#include "s2i/attest.h"
#include "s2i/contract/referrer.h"

enum { PIECE = 64 * 1024 };

/* What a document says. */
struct plan {
    const struct publisher *publisher;
    const json_t *document;
    struct referrer_subject subject;
    int64_t seconds;
};

static struct slice text_of(const json_t *document, const char *name)
{
    const json_t *text = json_object_get(document, name);

    return json_is_string(text) ? (struct slice){json_string_value(text), json_string_length(text)}
                                : SLICE_NONE;
}

static int plan_read(const struct publisher *publisher, const json_t *document, struct plan *out,
                     struct error *err)
{
    const json_t *image = json_object_get(document, "image");

    *out = (struct plan){publisher,
                         document,
                         {.media_type = text_of(image, "media_type").at,
                          .size = (uint64_t)json_integer_value(json_object_get(image, "size"))},
                         json_integer_value(json_object_get(document, "seconds"))};
    if (out->subject.media_type == NULL ||
        digest_parse(text_of(image, "digest"), &out->subject.digest, err) < 0)
        return error_set(err, ERROR_INVALID, "what is to be published is malformed");
    return 0;
}

/* The manifest of a text that is stored. */
static int publish(const struct plan *plan, enum referrer_kind kind, const struct digest *text,
                   uint64_t size, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer manifest = BUFFER_NONE;
    const struct s2i_list no_tags = {0};
    struct digest digest, config;

    digest_of(DIGEST_SHA256, SLICE(REFERRER_CONFIG), &config);
    referrer_make(kind, &plan->subject, text, size, plan->seconds, &manifest, &digest);
    if (publish_blob(plan->publisher, SLICE(REFERRER_CONFIG), &config, err) < 0)
        return -1;
    return publish_manifest(plan->publisher, buffer_slice(&manifest), SLICE_NONE, &no_tags, NULL,
                            err);
}

static int publish_text(const struct plan *plan, enum referrer_kind kind, struct slice text,
                        struct error *err) ON(worker_thread)
{
    struct digest digest;

    digest_of(DIGEST_SHA256, text, &digest);
    if (publish_blob(plan->publisher, text, &digest, err) < 0)
        return -1;
    return publish(plan, kind, &digest, text.size, err);
}

static int publish_provenance(const struct plan *plan, struct error *err) ON(worker_thread)
{
    struct builds *builds = plan->publisher->builds;
    struct slice statement = text_of(plan->document, "statement"),
                 envelope = text_of(plan->document, "envelope");
    OWNED(buffer_drop) struct buffer late = BUFFER_NONE;

    if (statement.at == NULL)
        return 0;
    if (builds->sign == NULL)
        return publish_text(plan, REFERRER_STATEMENT, statement, err);
    if (envelope.at == NULL) { /* it could not be signed when the build ended */
        if (attest_sign(builds, statement, &late, err) < 0)
            return -1;
        envelope = buffer_slice(&late);
    }
    return publish_text(plan, REFERRER_PROVENANCE, envelope, err);
}

static int publish_sbom(const struct plan *plan, struct error *err) ON(worker_thread)
{
    struct digest digest;
    uint64_t size;

    if (text_of(plan->document, "sbom").at == NULL)
        return 0;
    if (attest_sbom(plan->publisher, plan->document, &digest, &size, err) < 0)
        return -1;
    return publish(plan, REFERRER_SBOM, &digest, size, err);
}

/* --- the log --- */

/* Piece by piece: it may be long. */
static int send_log(const struct publisher *publisher, int fd, struct arrival *arrival,
                    struct digest *digest, uint64_t *size, struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) char *piece = memory_new(PIECE);
    struct hasher hasher;
    ssize_t got;

    hasher_start(&hasher, DIGEST_SHA256);
    while ((got = read(fd, piece, PIECE)) > 0) {
        const struct slice bytes = {piece, (size_t)got};
        hasher_update(&hasher, bytes.at, bytes.size);
        *size += bytes.size;
        if (arrival_write(publisher, arrival, bytes, err) < 0)
            return -1;
    }
    if (got < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "the log cannot be read");
    hasher_digest(&hasher, digest);
    return arrival_finish(publisher, arrival, digest, err);
}

static int publish_log(const struct plan *plan, int64_t build, struct error *err) ON(worker_thread)
{
    const struct publisher *publisher = plan->publisher;
    OWNED(fd_drop) int fd = -1;
    struct arrival arrival = {0};
    struct digest digest;
    uint64_t size = 0;

    if (!json_is_true(json_object_get(plan->document, "log")))
        return 0;
    if (build_log_file(publisher->builds->logs, build, &fd, err) < 0)
        return -1;
    int outcome = send_log(publisher, fd, &arrival, &digest, &size, err);
    arrival_drop(publisher, &arrival);
    return outcome < 0 ? -1 : publish(plan, REFERRER_LOG, &digest, size, err);
}

/* --- all of it --- */

int attest_publish(struct builds *builds, const struct build_attestation *attestation,
                   struct error *err)
{
    OWNED(json_drop) json_t *document = json_loads(attestation->document, 0, NULL);
    struct plan plan;

    const struct publisher publisher = {
        .builds = builds,
        .repository = slice_of(attestation->repository),
        .actor = {.account = attestation->account, .name = slice_of(attestation->actor)}};
    if (plan_read(&publisher, document, &plan, err) < 0 || publish_provenance(&plan, err) < 0 ||
        publish_sbom(&plan, err) < 0)
        return -1;
    return publish_log(&plan, attestation->build, err);
}
