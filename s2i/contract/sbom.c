/* sbom.c - what is in an image, as SPDX 2.3: the image, what it stands on, its packages.
 * Touches  memory only.
 * Never    a clock or a random number: the same image gives the same text. Spec: s2i 15.5 */
#include <string.h>

#include "s2i/contract/compose.h"
#include "s2i/contract/referrer.h"

#define UNLISTED "put on a newer base, not built: its packages were not looked for"

/* "pkg:<type>/[<vendor>/]": how tools name packages of a kind; a kind "deb/ubuntu" brings its own
 * vendor. */
static const struct {
    const char *kind, *type, *vendor;
} kinds[] = {
    {"deb", "deb", "debian"}, {"apk", "apk", "alpine"}, {"rpm", "rpm", "redhat"},
    {"npm", "npm", NULL},     {"pypi", "pypi", NULL},   {"gem", "gem", NULL},
    {"go", "golang", NULL},   {"cargo", "cargo", NULL}, {"maven", "maven", NULL},
};

static json_t *reference(const char *category, const char *type, struct slice locator)
{
    json_t *one = json_object();

    json_object_set_new(one, "referenceCategory", json_string(category));
    json_object_set_new(one, "referenceType", json_string(type));
    compose_set(one, "referenceLocator", locator);
    return one;
}

static json_t *package(const char *id, struct slice name, struct slice version)
{
    json_t *one = json_object();

    json_object_set_new(one, "SPDXID", json_string(id));
    compose_set(one, "name", name);
    compose_set(one, "versionInfo", version);
    json_object_set_new(one, "downloadLocation", json_string("NOASSERTION"));
    json_object_set_new(one, "filesAnalyzed", json_false());
    return one;
}

static json_t *image_package(const char *id, struct slice name, const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];
    struct slice algorithm, hex;

    slice_split(slice_of(digest_text(digest, text)), ':', &algorithm, &hex);
    json_t *one = package(id, name, slice_of(text));
    json_t *checksum = json_object();
    json_object_set_new(checksum, "algorithm",
                        json_string(digest->algorithm == DIGEST_SHA512 ? "SHA512" : "SHA256"));
    compose_set(checksum, "checksumValue", hex);
    json_object_set_new(one, "checksums", json_pack("[o]", checksum));
    json_object_set_new(one, "primaryPackagePurpose", json_string("CONTAINER"));
    return one;
}

static void relate(json_t *relations, const char *from, const char *how, const char *to)
{
    json_array_append_new(relations, json_pack("{s:s, s:s, s:s}", "spdxElementId", from,
                                               "relationshipType", how, "relatedSpdxElement", to));
}

/* --- layers --- */

/* What the build added; its files come later (sbom_files.c). */
static void add_layers(const struct sbom *about, json_t *packages, json_t *relations)
{
    char id[48];

    for (size_t i = 0; i < about->layer_count; i++) {
        const struct s2i_made_layer *layer = &about->layers[i];
        snprintf(id, sizeof(id), SBOM_LAYER "%zu", i + 1);
        const char *name = layer->name == NULL || layer->name[0] == 0 ? "layer" : layer->name;
        json_t *one = image_package(id, slice_of(name), &layer->layer.digest);
        json_object_set_new(one, "primaryPackagePurpose", json_string("ARCHIVE"));
        json_array_append_new(packages, one);
        relate(relations, "SPDXRef-Image", "CONTAINS", id);
    }
}

/* --- packages --- */

static void append_encoded(struct buffer *out, struct slice text, const char *plain)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (word || (c != 0 && strchr(plain, c) != NULL))
            buffer_append(out, &c, 1);
        else
            buffer_print(out, "%%%02X", (unsigned)(unsigned char)c);
    }
}

/* NULL: no tool has a name for it. */
static json_t *purl_references(struct slice kind, struct slice name, struct slice version)
{
    struct buffer purl = BUFFER_NONE;
    struct slice plain, vendor;
    json_t *list = NULL;

    slice_split(kind, '/', &plain, &vendor);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && list == NULL; i++) {
        if (!slice_equal_text(plain, kinds[i].kind))
            continue;
        buffer_print(&purl, "pkg:%s/", kinds[i].type);
        append_encoded(&purl, vendor.size > 0 ? vendor : slice_of(kinds[i].vendor), ".-_~");
        buffer_append_text(&purl, vendor.size > 0 || kinds[i].vendor != NULL ? "/" : "");
        append_encoded(&purl, name, ".-_~/");
        buffer_append_text(&purl, "@");
        append_encoded(&purl, version, ".-_~:");
        list = json_pack("[o]", reference("PACKAGE-MANAGER", "purl", buffer_slice(&purl)));
    }
    buffer_drop(&purl);
    return list;
}

/* Each "kind name version". */
static void add_packages(const struct s2i_list *found, json_t *packages, json_t *relations)
{
    struct slice kind, rest, name, version;
    char id[48];

    for (size_t i = 0; i < found->count; i++) {
        if (!slice_split(slice_of(found->items[i]), ' ', &kind, &rest))
            continue;
        slice_split(rest, ' ', &name, &version);
        if (name.size == 0)
            continue;
        snprintf(id, sizeof(id), "SPDXRef-Package-%zu", i + 1);
        json_t *one = package(id, name, version);
        json_t *references = purl_references(kind, name, version);
        if (references != NULL)
            json_object_set_new(one, "externalRefs", references);
        json_array_append_new(packages, one);
        relate(relations, "SPDXRef-Image", "CONTAINS", id);
    }
}

/* --- the document --- */

struct sbom sbom_of_build(const struct s2i_spec *spec, const struct s2i_result *result,
                          const struct referrer_subject *subject)
{
    struct slice target, tag;

    slice_split(slice_of(spec->target), ':', &target, &tag);
    return (struct sbom){.repository = target,
                         .seconds = spec->source.time,
                         .base = spec->runtime.name != NULL ? &spec->runtime : &spec->builder,
                         .layers = result->layers,
                         .layer_count = result->layer_count,
                         .packages = &result->packages,
                         .subject = subject};
}

static json_t *creation(const struct sbom *about)
{
    json_t *info = json_object();
    struct buffer tool = BUFFER_NONE;

    buffer_print(&tool, "Tool: slipway-%s%c", about->version, 0);
    compose_set_time(info, "created", about->seconds);
    json_object_set_new(info, "creators", json_pack("[s]", tool.at));
    buffer_drop(&tool);
    return info;
}

/* A name for the document that no other image's has. */
static void set_names(json_t *document, const struct sbom *about)
{
    struct slice target = about->repository;
    struct buffer text = BUFFER_NONE;
    char digest[DIGEST_TEXT_MAX];
    bool slash = slice_ends(slice_of(about->server), "/");

    digest_text(&about->subject->digest, digest);
    buffer_append_slice(&text, target);
    buffer_print(&text, "@%s", digest);
    compose_set(document, "name", buffer_slice(&text));
    text.size = 0;
    buffer_print(&text, "%s%s", about->server[0] != 0 ? about->server : "urn:slipway:",
                 about->server[0] == 0 || slash ? "" : "/");
    buffer_print(&text, "spdx/%.*s/%s", SLICE_ARG(target), digest);
    compose_set(document, "documentNamespace", buffer_slice(&text));
    buffer_drop(&text);
}

void sbom_make(const struct sbom *about, struct buffer *out)
{
    const struct s2i_image *base = about->base;
    OWNED(json_decrefp) json_t *document = json_object();
    json_t *packages = json_array(), *relations = json_array();
    json_t *image = image_package("SPDXRef-Image", about->repository, &about->subject->digest);
    struct digest ignored;

    json_object_set_new(document, "spdxVersion", json_string("SPDX-2.3"));
    json_object_set_new(document, "dataLicense", json_string("CC0-1.0"));
    json_object_set_new(document, "SPDXID", json_string("SPDXRef-DOCUMENT"));
    json_object_set_new(document, "creationInfo", creation(about));
    set_names(document, about);
    if (about->packages == NULL)
        json_object_set_new(image, "comment", json_string(UNLISTED));
    json_array_append_new(packages, image);
    relate(relations, "SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image");
    json_array_append_new(
        packages, image_package("SPDXRef-Base", compose_reference_name(base->name), &base->digest));
    relate(relations, "SPDXRef-Image", "DESCENDANT_OF", "SPDXRef-Base");
    add_layers(about, packages, relations);
    if (about->packages != NULL)
        add_packages(about->packages, packages, relations);
    json_object_set_new(document, "packages", packages);
    json_object_set_new(document, "relationships", relations);
    compose_text(document, out, &ignored);
}
