/* attest.c - what stands beside an image that was built: provenance, the list of its parts, its
 * log. Touches  storage, as a push of the asker does; the log's file. Never    holds up a build:
 * what cannot be published is an event of the server's log.
 *
 * Spec: s2i 7.12, 15.5. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/core/version.h"
#include "s2i/contract/referrer.h"
#include "s2i/session.h"

enum { PIECE = 64 * 1024 };

void attestations_drop(struct attestations *attestations)
{
    free(attestations->repository);
    free(attestations->actor);
    buffer_drop(&attestations->provenance);
    buffer_drop(&attestations->sbom);
    *attestations = (struct attestations){.build = 0};
}

/* --- texts --- */

static bool wanted(const struct config *config, const char *kind)
{
    for (size_t i = 0; i < config->builds_attest.count; i++)
        if (strcmp(config->builds_attest.items[i], kind) == 0)
            return true;
    return false;
}

static struct referrer_subject subject_of(const struct attestations *attestations)
{
    return (struct referrer_subject){attestations->media_type, attestations->digest,
                                     attestations->size};
}

void session_attest(struct session *session)
{
    const struct build_task *task = session->task;
    const struct config *config = task->builds->config;
    struct attestations *out = &session->out->attestations;
    const struct referrer_subject subject = subject_of(out);

    out->build = task->record.id;
    out->account = task->record.account;
    out->repository = memory_text(slice_of(task->record.repository));
    out->actor = memory_text(slice_of(task->record.actor));
    out->seconds = session->spec.source.time;
    out->log = wanted(config, "log");
    const struct provenance provenance = {.spec = &session->spec,
                                          .result = &session->result,
                                          .subject = &subject,
                                          .server = config->server_public_url,
                                          .version = SLIPWAY_VERSION,
                                          .started_us = task->record.started_at,
                                          .finished_us = clock_now_us()};
    const struct sbom sbom = {&session->spec, &session->result, &subject, config->server_public_url,
                              SLIPWAY_VERSION};
    if (wanted(config, "provenance"))
        provenance_make(&provenance, &out->provenance);
    if (wanted(config, "sbom"))
        sbom_make(&sbom, &out->sbom);
}

/* --- publishing --- */

static int publish(const struct publisher *publisher, const struct attestations *attestations,
                   enum referrer_kind kind, const struct digest *text, uint64_t size,
                   struct error *err) ON(worker_thread)
{
    const struct referrer_subject subject = subject_of(attestations);
    OWNED(buffer_drop) struct buffer manifest = BUFFER_NONE;
    const struct s2i_list no_tags = {0};
    struct digest digest, config;

    digest_of(DIGEST_SHA256, SLICE(REFERRER_CONFIG), &config);
    referrer_make(kind, &subject, text, size, attestations->seconds, &manifest, &digest);
    if (publish_blob(publisher, SLICE(REFERRER_CONFIG), &config, err) < 0)
        return -1;
    return publish_manifest(publisher, buffer_slice(&manifest), SLICE_NONE, &no_tags, NULL, err);
}

static int publish_text(const struct publisher *publisher, const struct attestations *attestations,
                        enum referrer_kind kind, struct slice text, struct error *err)
    ON(worker_thread)
{
    struct digest digest;

    if (text.size == 0)
        return 0;
    digest_of(DIGEST_SHA256, text, &digest);
    if (publish_blob(publisher, text, &digest, err) < 0)
        return -1;
    return publish(publisher, attestations, kind, &digest, text.size, err);
}

/* The log's file piece by piece: it may be long. */
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
    hasher_digest(&hasher, digest);
    return arrival_finish(publisher, arrival, digest, err);
}

static int publish_log(const struct publisher *publisher, const struct attestations *attestations,
                       struct error *err) ON(worker_thread)
{
    OWNED(fd_drop) int fd = -1;
    struct arrival arrival = {0};
    struct digest digest;
    uint64_t size = 0;

    if (!attestations->log)
        return 0;
    if (build_log_file(publisher->builds->logs, attestations->build, &fd, err) < 0)
        return -1;
    int outcome = send_log(publisher, fd, &arrival, &digest, &size, err);
    arrival_drop(publisher, &arrival);
    return outcome < 0 ? -1 : publish(publisher, attestations, REFERRER_LOG, &digest, size, err);
}

void attest_publish(struct builds *builds, const struct attestations *attestations)
{
    const struct publisher publisher = {
        .builds = builds,
        .repository = slice_of(attestations->repository),
        .actor = {.account = attestations->account, .name = slice_of(attestations->actor)}};
    struct error err = {0};

    if (attestations->build == 0)
        return;
    if (publish_text(&publisher, attestations, REFERRER_PROVENANCE,
                     buffer_slice(&attestations->provenance), &err) < 0 ||
        publish_text(&publisher, attestations, REFERRER_SBOM, buffer_slice(&attestations->sbom),
                     &err) < 0 ||
        publish_log(&publisher, attestations, &err) < 0)
        log_event(LOG_WARNING, "build.unattested", F_I64("id", attestations->build),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
}
