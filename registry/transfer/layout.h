/* layout.h - the texts of an OCI image layout, and names of images as people write them (pure).
 * Touches  memory; jansson.
 * Never    files. */
#ifndef SLIPWAY_TRANSFER_LAYOUT_H
#define SLIPWAY_TRANSFER_LAYOUT_H

#include "registry/core/digest.h"

#define LAYOUT_FILE "oci-layout"
#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}\n"
#define LAYOUT_INDEX "index.json"

struct layout_entry {
    struct digest digest; /* sha256 or sha512 */
    uint64_t size;
    char *media_type;
    char *artifact_type; /* or NULL */
    char *name;          /* org.opencontainers.image.ref.name, or NULL */
};
/* What index.json lists. Zero-initialised is empty. Freed with layout_drop. */
struct layout {
    struct layout_entry *entries;
    size_t count, capacity;
};
void layout_drop(struct layout *layout);
/* INVALID  with what is wrong; on failure out is dropped */
int layout_parse(struct slice text, size_t entries_max, struct layout *out,
                 struct error *err) MUST_CHECK;
/* Texts are copied. An entry of the same name (or, without one, of the same digest) goes. */
void layout_add(struct layout *layout, const struct layout_entry *entry);
bool layout_names(const struct layout *layout, const struct digest *digest);
void layout_print(const struct layout *layout, struct buffer *out);
/* The text of oci-layout. INVALID  it is none, or of another version */
int layout_check(struct slice text, struct error *err) MUST_CHECK;
/* The tag that a name stands for: "1.0" of "1.0" and of "docker.io/team/app:1.0". SLICE_NONE when
 * it cannot be one. */
struct slice layout_tag(struct slice name);

/* "NAME", "NAME:TAG", "NAME@DIGEST"; borrows. */
struct image_name {
    struct slice repository;
    struct slice tag;     /* SLICE_NONE: none */
    struct digest digest; /* or not set */
};
/* INVALID */
int image_name_parse(struct slice text, struct image_name *out, struct error *err) MUST_CHECK;

#endif
