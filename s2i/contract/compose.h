/* compose.h - the parts that manifests and configs of ours are made of; shared by the files of
 * s2i/contract/.
 * Touches  memory only (pure).
 * Never    anything random, no clock, no name of a host: the same inputs give the same bytes
 * (17.10).
 */
#ifndef SLIPWAY_S2I_COMPOSE_H
#define SLIPWAY_S2I_COMPOSE_H

#include <jansson.h>

#include "s2i/spec.h"

#define OCI_TYPE_CONFIG "application/vnd.oci.image.config.v1+json"
#define DOCKER_TYPE_CONFIG "application/vnd.docker.container.image.v1+json"
#define OCI_TYPE_EMPTY "application/vnd.oci.empty.v1+json"

#define SBOM_LAYER "SPDXRef-Layer-" /* and its number, from 1 */

#define LABEL_PREFIX_DEFAULT "io.openshift.s2i.build."

/* Canonical JSON: keys in bytewise order, no spaces. */
void compose_text(const json_t *json, struct buffer *out, struct digest *digest);
json_t *compose_descriptor(const char *media_type, const struct digest *digest, uint64_t size);
/* A member that is an object, made when it is none; borrowed. */
json_t *compose_object(json_t *parent, const char *name);
/* Not when the value is empty. */
void compose_set(json_t *object, const char *name, struct slice value);
/* "2026-03-01T08:15:30Z" of the source's time. */
void compose_set_time(json_t *object, const char *name, int64_t seconds);

/* "builders/python:3" of "builders/python:3@sha256:...". */
struct slice compose_reference_name(const char *reference);
/* "main" of "refs/heads/main". */
struct slice compose_ref_name(const char *ref);

/* A layer's media type in a Docker manifest or in OCI's; NULL: Docker has none for it. */
const char *compose_layer_type(const char *media_type, bool docker);

/* Takes away what is true of a base only: how a daemon committed it, its triggers (10.2). */
void compose_forget_commit(json_t *document);
/* Labels of our making (7.4) that a base has of its own. */
void compose_forget_facts(json_t *labels, const char *prefix);
/* The history of a base's config, borrowed: its own entries when as many made a layer as it has
 * layers, else one for each. */
json_t *compose_history(json_t *document, const struct s2i_image *base);

/* All labels of the result in their order (7.3): inherited may be NULL. label_max: bytes of names
 * and values together; 0: no limit. INVALID */
int compose_labels(const struct s2i_spec *spec, const struct s2i_list *said,
                   const json_t *inherited, uint64_t label_max, json_t **out,
                   struct error *err) MUST_CHECK;

/* The options that decide what is built: all but a short list, so that a new one cannot be
 * forgotten. secrets: as s2i_options_write. */
json_t *compose_options(const struct s2i_options *options, bool secrets);

#endif
