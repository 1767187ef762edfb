/* rebuild.c - the labels of a result become the options that built it.
 * Touches  memory only.
 * Never    trusts a label: anybody can push an image with any. Spec: s2i 10.5
 *
 * The scripts URL is the builder's own label, which the build finds again; as an option it would
 * come before the source's scripts. */
#include <string.h>

#include "s2i/contract/compose.h"
#include "s2i/contract/dockerfile.h"

static const char *fact(const struct image_config *image, const char *prefix, const char *name)
{
    char label[256];
    const char *value = NULL;

    if (snprintf(label, sizeof(label), "%s%s", prefix, name) < (int)sizeof(label))
        value = image_label(image, label);
    return value == NULL || value[0] == 0 ? NULL : value;
}

/* Ours, else OpenShift's. */
static const char *prefix_of(const struct image_config *image)
{
    if (fact(image, LABEL_PREFIX_DEFAULT, "image") == NULL &&
        fact(image, "io.openshift.build.", "image") != NULL)
        return "io.openshift.build.";
    return LABEL_PREFIX_DEFAULT;
}

int rebuild_options(const struct image_config *image, const char *prefix,
                    const struct s2i_hosts *hosts, struct s2i_options *out, struct error *err)
{
    static const struct {
        const char *label, *option;
        bool required;
    } facts[] = {
        {"image", "builder", true},
        {"source-location", "url", true},
        {"commit.ref", "ref", false},
        {"source-context-dir", "context_dir", false},
    };
    OWNED(json_decrefp) json_t *options = json_object();

    if (prefix == NULL)
        prefix = prefix_of(image);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        const char *value = fact(image, prefix, facts[i].label);
        if (value == NULL && facts[i].required)
            return error_set(err, ERROR_INVALID, "required label %.100s%s not found in image",
                             prefix, facts[i].label);
        compose_set(options, facts[i].option, slice_of(value));
    }
    compose_set(options, "application_name", slice_of(image_label(image, "io.k8s.display-name")));
    if (strcmp(prefix, LABEL_PREFIX_DEFAULT) != 0)
        compose_set(options, "label_prefix", slice_of(prefix));
    return s2i_options_hear(out, options, S2I_FROM_REQUEST, hosts, err);
}
