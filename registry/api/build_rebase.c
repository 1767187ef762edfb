/* build_rebase.c - tagged images of a repository move onto a newer base.
 * Touches  storage, by way of s2i/s2i.h.
 * Never    reads a layer here.
 *
 * What is refused of one image is told of it, and the others go on. Spec: s2i 15.1 */
#include "registry/api/build.h"
#include "registry/core/oci.h"

enum { REBASE_TAG, REBASE_BASE, REBASE_COUNT };
static const struct json_member members[] = {
    [REBASE_TAG] = {"tag", JSON_TEXT, .least = 1, .most = OCI_TAG_MAX},
    [REBASE_BASE] = {"base", JSON_TEXT, .least = 1, .most = 512},
};

static const char *outcome_name(const struct build_rebased_image *image)
{
    switch (image->outcome) {
    case REBASE_DONE:
        return "rebased";
    case REBASE_CURRENT:
        return "current";
    default:
        return "refused";
    }
}

static void image_write(struct buffer *out, const struct build_rebased_image *image)
{
    write_open(out, NULL, '{');
    write_text(out, "tag", slice_of(image->tag));
    write_text(out, "outcome", slice_of(outcome_name(image)));
    api_digest_write(out, "before", &image->before);
    api_digest_write(out, "after", &image->after);
    write_text_or_null(out, "message", image->message[0] == 0 ? NULL : image->message);
    write_open(out, "conflicts", '[');
    for (size_t i = 0; i < image->conflicts.count; i++)
        write_text(out, NULL, slice_of(image->conflicts.items[i]));
    write_close(out, ']');
    write_close(out, '}');
}

static int wish_read(const struct json_value *values, struct build_rebase *wish, struct error *err)
{
    struct slice repository, tag, digest;

    if (values[REBASE_TAG].given) {
        wish->tag = values[REBASE_TAG].text;
        if (!oci_tag_valid(wish->tag))
            return error_set_field(err, "tag", "tag must be one");
    }
    if (values[REBASE_BASE].given) {
        wish->base = values[REBASE_BASE].text;
        if (!s2i_reference_parse(wish->base, &repository, &tag, &digest))
            return error_set_field(err, "base", "base must name an image of this registry");
    }
    return 0;
}

int api_tags_rebase(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(build_rebased_drop) struct build_rebased rebased = {.items = NULL};
    OWNED(api_long_read_end) atomic_uint *reads = NULL;
    struct json_value values[REBASE_COUNT];
    struct actor actor = auth_actor(request->caller);
    struct build_rebase wish = {.repository = request->name, .actor = &actor};
    struct buffer answer = BUFFER_NONE;

    assert_worker_thread();
    if (api_builds_needed(request, err) < 0 || answer_dry_run(request, &wish.dry_run, err) < 0 ||
        json_read(&body, request, JSON_MEMBERS(members), values, err) < 0 ||
        wish_read(values, &wish, err) < 0 || api_long_read_begin(request, &reads, err) < 0 ||
        builds_rebase(request->services->builds, &wish, &rebased, err) < 0)
        return -1;
    write_open(&answer, NULL, '{');
    write_flag(&answer, "dry_run", wish.dry_run);
    write_open(&answer, "items", '[');
    for (size_t i = 0; i < rebased.count; i++)
        image_write(&answer, &rebased.items[i]);
    write_close(&answer, ']');
    write_close(&answer, '}');
    answer_json(reply, &answer);
    return 0;
}
