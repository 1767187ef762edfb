/* rebase_attest.c - what is to stand beside an image that was put on a newer base, written down
 * with the rebase: its provenance, signed, and the list of its parts. Touches  rows of public keys.
 * Never    publishes; says what is in the layers of a base: that is the base's to say.
 *
 * Spec: s2i 7.12, 15.1, 15.5, 15.10. */
#include <stdlib.h>

#include "registry/core/clock.h"
#include "registry/core/json.h"
#include "registry/core/timestamp.h"
#include "registry/core/version.h"
#include "s2i/attest.h"
#include "s2i/rebase.h"

static void add_provenance(const struct rebase_bases *bases, const struct rebase_made *made,
                           struct slice repository, const struct referrer_subject *subject,
                           json_t *document) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer statement = BUFFER_NONE;
    const struct provenance_rebase about = {.repository = repository,
                                            .before = &made->before.digest,
                                            .old_base = &bases->old_base,
                                            .new_base = &bases->new_base,
                                            .subject = subject,
                                            .server = bases->builds->config->server_public_url,
                                            .version = SLIPWAY_VERSION,
                                            .actor = bases->actor->name,
                                            .started_us = bases->began_at,
                                            .finished_us = clock_now_us()};

    provenance_of_rebase(&about, &statement);
    attest_add_provenance(bases->builds, buffer_slice(&statement), document);
}

/* The image's own layers, which it had before. */
static void add_parts(const struct rebase_bases *bases, const struct rebase_made *made,
                      struct slice repository, int64_t seconds,
                      const struct referrer_subject *subject, json_t *document)
{
    size_t count = made->before.layer_count - made->below;
    OWNED(memory_drop) struct s2i_made_layer *layers = memory_new((count + 1) * sizeof(*layers));

    for (size_t i = 0; i < count; i++)
        layers[i].layer = made->before.layers[made->below + i]; /* borrowed */
    struct sbom about = {.repository = repository,
                         .seconds = seconds,
                         .base = &bases->new_base,
                         .layers = layers,
                         .layer_count = count,
                         .subject = subject};
    attest_add_parts(bases->builds, &about, document);
}

/* When its source was made, as its config says: the same of the image before. */
static int64_t seconds_of(const struct rebase_made *made)
{
    OWNED(json_drop) json_t *config = json_loads(made->before.config, 0, NULL);
    const char *created = json_string_value(json_object_get(config, "created"));
    int64_t us = 0;

    return created != NULL && timestamp_parse(slice_of(created), &us) ? us / US_PER_S : 0;
}

void rebase_attest(const struct rebase_bases *bases, const struct rebase_made *made,
                   struct slice repository, const char *media_type, struct buffer *out)
{
    const struct config *config = bases->builds->config;
    const struct referrer_subject subject = {media_type, made->result.manifest_digest,
                                             made->result.manifest.size};
    int64_t seconds = seconds_of(made);
    bool provenance = attest_wanted(config, "provenance"), parts = attest_wanted(config, "sbom");

    if (!provenance && !parts)
        return;
    OWNED(json_drop) json_t *document = attest_document(&subject, seconds, false);
    if (provenance)
        add_provenance(bases, made, repository, &subject, document);
    if (parts)
        add_parts(bases, made, repository, seconds, &subject, document);
    OWNED(memory_drop) char *text = json_dumps(document, JSON_COMPACT);
    buffer_append_text(out, text);
}
