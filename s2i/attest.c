/* attest.c - what is to stand beside an image that was made, written down with the end of its build
 * (here) or with its rebase (rebase_attest.c): provenance, signed, and the list of its parts.
 * Touches  rows of public keys.
 * Never    publishes: attest_publish.c does, when nobody waits any more; gives a signature away
 *          before its public key is durable.
 *
 *   {"image": {"media_type", "digest", "size"}, "seconds": of the source, "log": wanted,
 *    "statement": text, "envelope": text, "sbom": text, "layers": our own}
 *
 * Spec: s2i 7.12, 15.5, 15.10. */
#include "s2i/attest.h"

#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/json.h"
#include "registry/core/log.h"
#include "registry/core/version.h"
#include "s2i/session.h"

bool attest_wanted(const struct config *config, const char *kind)
{
    for (size_t i = 0; i < config->builds_attest.count; i++)
        if (strcmp(config->builds_attest.items[i], kind) == 0)
            return true;
    return false;
}

/* --- signing --- */

int attest_sign(struct builds *builds, struct slice statement, struct buffer *envelope,
                struct error *err)
{
    OWNED(dsse_signature_drop) struct dsse_signature signature = {.key = BUFFER_NONE};
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;

    dsse_signed_bytes(SLICE(DSSE_PAYLOAD_STATEMENT), statement, &bytes);
    if (builds->sign(builds->arg, buffer_slice(&bytes), &signature, err) < 0 ||
        build_key_note(builds->storage, buffer_slice(&signature.key_id),
                       buffer_slice(&signature.key), err) < 0)
        return -1;
    dsse_write(SLICE(DSSE_PAYLOAD_STATEMENT), statement, &signature, envelope);
    return 0;
}

/* --- the document --- */

static void set_text(json_t *document, const char *name, const struct buffer *text)
{
    if (text->size > 0)
        json_object_set_new(document, name, json_stringn(text->at, text->size));
}

json_t *attest_document(const struct referrer_subject *subject, int64_t seconds, bool log)
{
    char digest[DIGEST_TEXT_MAX];

    return json_pack("{s:{s:s, s:s, s:I}, s:I, s:b}", "image", "media_type", subject->media_type,
                     "digest", digest_text(&subject->digest, digest), "size",
                     (json_int_t)subject->size, "seconds", (json_int_t)seconds, "log", log ? 1 : 0);
}

void attest_add_provenance(struct builds *builds, struct slice statement, json_t *document)
{
    OWNED(buffer_drop) struct buffer envelope = BUFFER_NONE;
    struct error err = {0};

    json_object_set_new(document, "statement", json_stringn(statement.at, statement.size));
    if (builds->sign == NULL)
        return;
    if (attest_sign(builds, statement, &envelope, &err) == 0) {
        set_text(document, "envelope", &envelope);
        return;
    }
    const json_t *image = json_object_get(document, "image");
    log_event(LOG_WARNING, "build.unsigned",
              F_TEXT("image", json_string_value(json_object_get(image, "digest"))),
              F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
}

static json_t *layers_of(const struct sbom *about)
{
    json_t *layers = json_array();
    char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < about->layer_count; i++) {
        const struct s2i_layer *layer = &about->layers[i].layer;
        json_array_append_new(
            layers, json_pack("{s:s, s:s, s:s, s:I}", "digest", digest_text(&layer->digest, digest),
                              "diff_id", digest_text(&layer->diff_id, diff_id), "media_type",
                              layer->media_type, "size", (json_int_t)layer->size));
    }
    return layers;
}

void attest_add_parts(const struct builds *builds, struct sbom *about, json_t *document)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    about->server = builds->config->server_public_url;
    about->version = SLIPWAY_VERSION;
    sbom_make(about, &text);
    set_text(document, "sbom", &text);
    json_object_set_new(document, "layers", layers_of(about));
}

/* --- of a build --- */

static void add_provenance(const struct session *session, const struct referrer_subject *subject,
                           json_t *document) ON(worker_thread)
{
    const struct build_task *task = session->task;
    OWNED(buffer_drop) struct buffer statement = BUFFER_NONE;
    const struct provenance about = {.spec = &session->spec,
                                     .result = &session->result,
                                     .subject = subject,
                                     .server = task->builds->config->server_public_url,
                                     .version = SLIPWAY_VERSION,
                                     .actor = task->record.actor,
                                     .trigger = task->record.trigger,
                                     .started_us = task->record.started_at,
                                     .finished_us = clock_now_us()};

    provenance_make(&about, &statement);
    attest_add_provenance(task->builds, buffer_slice(&statement), document);
}

void session_attest(struct session *session, const struct published *image)
{
    const struct builds *builds = session->task->builds;
    const struct config *config = builds->config;
    const struct referrer_subject subject = {image->media_type, image->digest, image->size};

    if (config->builds_attest.count == 0)
        return;
    OWNED(json_drop)
    json_t *document =
        attest_document(&subject, session->spec.source.time, attest_wanted(config, "log"));
    if (attest_wanted(config, "provenance"))
        add_provenance(session, &subject, document);
    if (attest_wanted(config, "sbom")) {
        struct sbom parts = sbom_of_build(&session->spec, &session->result, &subject);
        attest_add_parts(builds, &parts, document);
    }
    char *text = json_dumps(document, JSON_COMPACT);
    buffer_append_text(&session->out->attestations, text);
    memory_drop(&text);
}
