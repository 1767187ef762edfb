/* rebuild.c - the options that built an image, of its labels.
 * Touches  storage, reads only.
 * Never    trusts a label: they meet the rules for a request. Spec: s2i 10.5 */
#include "s2i/contract/dockerfile.h"
#include "s2i/s2i_internal.h"

int builds_rebuild_options(struct builds *builds, const struct actor *who, struct slice repository,
                           struct slice tag, const struct s2i_hosts *hosts, struct s2i_options *out,
                           struct error *err)
{
    OWNED(s2i_image_drop) struct s2i_image image = {.name = NULL};
    OWNED(image_config_drop) struct image_config config = {.document = NULL};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    bool found;

    buffer_print(&name, "%.*s:%.*s", SLICE_ARG(repository), SLICE_ARG(tag));
    if (image_resolve(builds, who, buffer_slice(&name), &image, &found, err) < 0)
        return -1;
    if (!found)
        return error_set_field(err, "rebuild", "rebuild must be a tag whose image you may pull");
    if (image_config_read(&config, slice_of(image.config), err) < 0 ||
        rebuild_options(&config, out->label_prefix, hosts, out, err) < 0)
        return -1;
    s2i_list_drop(&out->tags);
    s2i_list_add(&out->tags, tag);
    return 0;
}
