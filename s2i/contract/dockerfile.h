/* dockerfile.h - a build told in other words: as a Dockerfile, or read back from an image's labels.
 * Touches  memory only (pure).
 * Never    a secret's value; a line that a label or a variable could end early. */
#ifndef SLIPWAY_S2I_DOCKERFILE_H
#define SLIPWAY_S2I_DOCKERFILE_H

#include "s2i/contract/contract.h"

struct dockerfile {
    const struct s2i_spec *spec;
    const struct s2i_result *plan; /* of S2I_PLAN: scripts as they were found, env; NULL: upstream's
                                      usual ones, image:///usr/libexec/s2i */
    const char *registry;          /* "registry.example:5000", for FROM; "" */
};
/* Spec: s2i 10.3. Its context has the source in upload/src, and scripts that stand in the source in
 * upload/scripts. Variables of the build only are ARG, secrets are mounts of BuildKit's:
 * id=<NAME>. INVALID  with a runtime image; a value that no Dockerfile can hold */
int dockerfile_make(const struct dockerfile *about, struct buffer *out,
                    struct error *err) MUST_CHECK;

/* Spec: s2i 10.5: options that build the same again. The image may be anybody's: its labels meet
 * the rules for a request. prefix: of its labels, NULL for ours or OpenShift's. INVALID  "required
 * label X not found in image", or the field */
int rebuild_options(const struct image_config *image, const char *prefix,
                    const struct s2i_hosts *hosts, struct s2i_options *out,
                    struct error *err) MUST_CHECK;

#endif
