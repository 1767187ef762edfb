/* sbom_files.c - the files of an image's own layers go into its SBOM as they are read.
 * Touches  memory only.
 * Never    keeps a file's name: what was written is given away at once.
 *
 * A package with files has a verification code: SHA-1 over the sorted SHA-1s of all its files. One
 * whose files are not listed says so, and why. Spec: s2i 15.5; SPDX 2.3, 7.8, 7.9, 8 */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/compose.h"
#include "s2i/contract/referrer.h"

enum { PIECE = 64 * 1024, NAMES_MAX = 32 * 1024 * 1024, LAYERS_MAX = 1000 };

struct sbom_writer {
    json_t *document; /* without what is written already */
    sbom_sink *sink;
    void *arg;
    struct buffer text;  /* on its way */
    struct buffer sums;  /* SHA-1s of the files of this layer */
    size_t layer, files; /* the one at hand; files so far */
    size_t *ends;        /* of each layer before: the files up to there */
    uint64_t names;      /* bytes */
};

void sbom_writer_drop(struct sbom_writer **owned)
{
    struct sbom_writer *writer = TAKE(*owned);

    if (writer == NULL)
        return;
    json_decref(writer->document);
    buffer_drop(&writer->text);
    buffer_drop(&writer->sums);
    free(writer->ends);
    free(writer);
}

static int give(struct sbom_writer *writer, size_t most, struct error *err)
{
    if (writer->text.size <= most)
        return 0;
    int outcome = writer->sink(writer->arg, buffer_slice(&writer->text), err);
    writer->text.size = 0;
    return outcome;
}

static json_t *layer_package(const struct sbom_writer *writer, size_t layer)
{
    char id[48];
    json_t *package;
    size_t i;

    snprintf(id, sizeof(id), SBOM_LAYER "%zu", layer + 1);
    json_array_foreach(json_object_get(writer->document, "packages"), i, package) {
        const char *has = json_string_value(json_object_get(package, "SPDXID"));
        if (has != NULL && strcmp(has, id) == 0)
            return package;
    }
    return NULL;
}

static size_t layer_count(const struct sbom_writer *writer)
{
    size_t count = 0;

    while (count < LAYERS_MAX && layer_package(writer, count) != NULL)
        count++;
    return count;
}

/* --- the document around the files --- */

/* Canonical, as all our texts: "files" stands between what sorts before it and the rest. */
static const char *const members[] = {
    "SPDXID", "creationInfo", "dataLicense",   "documentNamespace",
    "name",   "packages",     "relationships", "spdxVersion"};
enum { BEFORE_FILES = 4, MEMBERS = sizeof(members) / sizeof(members[0]) };

static void append_member(struct sbom_writer *writer, size_t i)
{
    const json_t *value = json_object_get(writer->document, members[i]);
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

    buffer_print(&writer->text, "%s\"%s\":", i == 0 ? "{" : ",", members[i]);
    buffer_append_text(&writer->text, text);
    free(text);
}

static bool is_whole(const json_t *document)
{
    for (size_t i = 0; i < MEMBERS; i++)
        if (json_object_get(document, members[i]) == NULL)
            return false;
    return json_array_size(json_object_get(document, "relationships")) > 0;
}

int sbom_writer_open(struct sbom_writer **out, struct slice text, const char *without,
                     sbom_sink *sink, void *arg, struct error *err)
{
    OWNED(sbom_writer_drop) struct sbom_writer *writer = memory_new(sizeof(*writer));
    json_t *package;

    writer->sink = sink;
    writer->arg = arg;
    writer->document = json_loadb(text.at, text.size, 0, NULL);
    if (!is_whole(writer->document))
        return error_set(err, ERROR_INVALID, "the list of parts is malformed");
    for (size_t i = 0; without != NULL && (package = layer_package(writer, i)) != NULL; i++)
        json_object_set_new(package, "comment", json_string(without));
    writer->ends = memory_new((LAYERS_MAX + 1) * sizeof(*writer->ends));
    for (size_t i = 0; i < BEFORE_FILES; i++)
        append_member(writer, i);
    buffer_append_text(&writer->text, ",\"files\":[");
    *out = TAKE(writer);
    return 0;
}

/* --- files --- */

static int compare_sums(const void *a, const void *b)
{
    return memcmp(a, b, SHA1_SIZE);
}

static void verification_code(struct buffer *sums, char out[2 * SHA1_SIZE + 1])
{
    uint8_t code[SHA1_SIZE];
    char hex[2 * SHA1_SIZE];
    struct sha1 sha1;

    qsort(sums->at, sums->size / SHA1_SIZE, SHA1_SIZE, compare_sums);
    sha1_start(&sha1);
    for (size_t i = 0; i < sums->size; i += SHA1_SIZE) {
        hex_encode((const uint8_t *)sums->at + i, SHA1_SIZE, hex);
        sha1_update(&sha1, hex, sizeof(hex));
    }
    sha1_finish(&sha1, code);
    hex_encode(code, SHA1_SIZE, out);
    out[2 * SHA1_SIZE] = 0;
}

/* All files of the layer at hand are there. */
static void layer_end(struct sbom_writer *writer)
{
    json_t *package = layer_package(writer, writer->layer);
    char code[2 * SHA1_SIZE + 1];

    if (writer->sums.size > 0 && package != NULL) {
        verification_code(&writer->sums, code);
        json_object_set_new(package, "filesAnalyzed", json_true());
        json_object_set_new(package, "packageVerificationCode",
                            json_pack("{s:s}", "packageVerificationCodeValue", code));
    }
    writer->sums.size = 0;
    writer->ends[writer->layer++] = writer->files;
}

static void append_sum(struct buffer *out, const char *algorithm, const uint8_t *sum, size_t size)
{
    char hex[2 * 64];

    hex_encode(sum, size, hex);
    buffer_print(out, "{\"algorithm\":\"%s\",\"checksumValue\":\"%.*s\"}", algorithm, (int)size * 2,
                 hex);
}

/* "./path"; bytes that are no UTF-8 as "%FF", which then is said. */
static void append_name(struct buffer *out, struct slice path)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    bool odd = false;

    buffer_append_text(&name, "./");
    while (path.size > 0) {
        size_t size = utf8_size(path);
        if (size > 0)
            buffer_append(&name, path.at, size);
        else
            buffer_print(&name, "%%%02X", (unsigned)(unsigned char)path.at[0]);
        odd |= size == 0;
        path = slice_from(path, size > 0 ? size : 1);
    }
    if (odd)
        buffer_append_text(out, "\"comment\":\"the name is not UTF-8: %FF stands for a byte\",");
    buffer_append_text(out, "\"fileName\":");
    buffer_append_json(out, buffer_slice(&name));
}

int sbom_writer_file(struct sbom_writer *writer, size_t layer, struct slice path,
                     const struct digest *sha256, const uint8_t sha1[SHA1_SIZE], struct error *err)
{
    struct buffer *out = &writer->text;

    assert(layer >= writer->layer && layer < LAYERS_MAX);
    while (writer->layer < layer)
        layer_end(writer);
    writer->names += path.size;
    if (writer->files == SBOM_FILES_MAX || writer->names > NAMES_MAX)
        return error_set(err, ERROR_INVALID, "there are more than %d, or their names are too long",
                         SBOM_FILES_MAX);
    buffer_append(&writer->sums, sha1, SHA1_SIZE);
    buffer_print(out, "%s{\"SPDXID\":\"SPDXRef-File-%zu\",\"checksums\":[",
                 writer->files == 0 ? "" : ",", writer->files + 1);
    append_sum(out, "SHA1", sha1, SHA1_SIZE);
    buffer_append_text(out, ",");
    append_sum(out, "SHA256", sha256->bytes, sha256->size);
    buffer_append_text(out, "],");
    append_name(out, path);
    buffer_append_text(out, "}");
    writer->files++;
    return give(writer, PIECE, err);
}

/* --- the end --- */

/* Which layer a file is in follows from its number. */
static int append_relations(struct sbom_writer *writer, struct error *err)
{
    size_t layer = 0;

    for (size_t i = 0; i < writer->files; i++) {
        while (i >= writer->ends[layer])
            layer++;
        buffer_print(&writer->text,
                     ",{\"relatedSpdxElement\":\"SPDXRef-File-%zu\",\"relationshipType\":"
                     "\"CONTAINS\",\"spdxElementId\":\"" SBOM_LAYER "%zu\"}",
                     i + 1, layer + 1);
        if (give(writer, PIECE, err) < 0)
            return -1;
    }
    return 0;
}

int sbom_writer_end(struct sbom_writer *writer, struct error *err)
{
    size_t layers = layer_count(writer);

    while (writer->layer < layers)
        layer_end(writer);
    buffer_append_text(&writer->text, "]");
    for (size_t i = BEFORE_FILES; i < MEMBERS - 1; i++)
        append_member(writer, i);
    writer->text.size--; /* the relationships go on: there is one at least */
    if (append_relations(writer, err) < 0)
        return -1;
    buffer_append_text(&writer->text, "]");
    append_member(writer, MEMBERS - 1);
    buffer_append_text(&writer->text, "}");
    return give(writer, 0, err);
}
