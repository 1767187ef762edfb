/* config_file.c - reads one YAML file and hands its values to the table.
 * Touches  the file.
 * Never    knows a setting by name, save `version`.
 *
 * A small part of YAML: mappings, lists and scalars whose type the table decides. Anchors, aliases,
 * tags, a second document and duplicate keys are errors: they make a file mean what it does not
 * seem to say. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "registry/config_internal.h"
#include "registry/core/fd.h"

enum { FILE_MAX = 1 << 20 };

struct walk {
    struct config *config;
    struct config_report *report;
    const char *path;
    yaml_document_t *document;
};

/* "file:line:column" and "file:line" of a mark; freed by spot_drop. */
struct spot {
    struct buffer place, origin;
};

static void spot_drop(struct spot *spot)
{
    buffer_drop(&spot->place);
    buffer_drop(&spot->origin);
}

static struct spot spot_of(const struct walk *walk, yaml_mark_t mark)
{
    struct spot spot = {BUFFER_NONE, BUFFER_NONE};

    buffer_print(&spot.place, "%s:%zu:%zu", walk->path, mark.line + 1, mark.column + 1);
    buffer_print(&spot.origin, "%s:%zu", walk->path, mark.line + 1);
    return spot;
}

static struct place place_of(const struct spot *spot)
{
    return (struct place){spot->place.at, spot->origin.at};
}

/* "file:line:column: sentence" */
static void refuse_at(const struct walk *walk, yaml_mark_t mark, const char *sentence)
{
    buffer_print(&walk->report->errors, "%s:%zu:%zu: %s\n", walk->path, mark.line + 1,
                 mark.column + 1, sentence);
}

static void refuse_key(const struct walk *walk, yaml_mark_t mark, struct slice key,
                       const char *sentence)
{
    OWNED(spot_drop) struct spot spot = spot_of(walk, mark);
    const struct place at = place_of(&spot);

    config_error(walk->report, &at, key, "%s", sentence);
}

/* --- what the document does not show any more --- */

/* The sentence for an event we do not accept, or NULL. */
static const char *event_refusal(const yaml_event_t *event, int documents)
{
    static const char anchored[] = "anchors are not accepted", tagged[] = "tags are not accepted";

    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "aliases are not accepted";
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL ? anchored
               : event->data.scalar.tag != NULL  ? tagged
                                                 : NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL ? anchored
               : event->data.sequence_start.tag != NULL  ? tagged
                                                         : NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL ? anchored
               : event->data.mapping_start.tag != NULL  ? tagged
                                                        : NULL;
    case YAML_DOCUMENT_START_EVENT:
        return documents > 1 ? "a second document is not accepted" : NULL;
    default:
        return NULL;
    }
}

static void refuse_syntax(const struct walk *walk, const yaml_parser_t *parser)
{
    OWNED(buffer_drop) struct buffer sentence = BUFFER_NONE;

    buffer_print(&sentence, "not valid YAML: %s",
                 parser->problem == NULL ? "out of memory" : parser->problem);
    buffer_append(&sentence, "", 1);
    refuse_at(walk, parser->problem_mark, sentence.at);
}

/* True when the document may be loaded: its syntax is right and nothing in it is refused. */
static bool scan(const struct walk *walk, struct slice text)
{
    yaml_parser_t parser;
    bool fine = true, ended = false;
    int documents = 0;

    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.at, text.size);
    while (!ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            refuse_syntax(walk, &parser);
            fine = false;
            break;
        }
        documents += event.type == YAML_DOCUMENT_START_EVENT;
        const char *refusal = event_refusal(&event, documents);
        if (refusal != NULL)
            refuse_at(walk, event.start_mark, refusal);
        fine = fine && refusal == NULL;
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return fine;
}

/* --- the document --- */

static struct slice scalar_of(const yaml_node_t *node)
{
    return (struct slice){(const char *)node->data.scalar.value, node->data.scalar.length};
}

static void assign_list(const struct walk *walk, const struct setting *setting,
                        const yaml_node_t *node, const struct place *at)
{
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    OWNED(memory_drop) struct slice *texts = memory_new(count * sizeof(*texts));

    for (size_t i = 0; i < count; i++) {
        const yaml_node_t *item =
            yaml_document_get_node(walk->document, node->data.sequence.items.start[i]);
        if (item->type != YAML_SCALAR_NODE) {
            refuse_key(walk, item->start_mark, slice_of(setting->key),
                       "expected a list of plain values");
            return;
        }
        texts[i] = scalar_of(item);
    }
    config_assign(walk->config, setting, texts, count, at, walk->report);
}

static void assign_node(const struct walk *walk, const struct setting *setting,
                        const yaml_node_t *node)
{
    OWNED(spot_drop) struct spot spot = spot_of(walk, node->start_mark);
    const struct place at = place_of(&spot);

    if (node->type == YAML_SEQUENCE_NODE) {
        assign_list(walk, setting, node, &at);
    } else if (node->type == YAML_SCALAR_NODE) {
        struct slice text = scalar_of(node);
        config_assign(walk->config, setting, &text, 1, &at, walk->report);
    } else {
        refuse_key(walk, node->start_mark, slice_of(setting->key),
                   "expected a value, found a section");
    }
}

static void walk_mapping(const struct walk *walk, const yaml_node_t *mapping, struct slice prefix);

static void walk_section(const struct walk *walk, const yaml_node_t *node, struct slice key)
{
    bool empty = node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0;

    if (node->type == YAML_MAPPING_NODE)
        walk_mapping(walk, node, key);
    else if (!empty) /* a section with every line commented out is fine */
        refuse_key(walk, node->start_mark, key, "expected a section, found a value");
}

static void check_version(const struct walk *walk, const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || !slice_equal_text(scalar_of(node), "1"))
        refuse_key(walk, node->start_mark, SLICE("version"),
                   "this program reads version 1 of the settings only");
}

static void walk_pair(const struct walk *walk, const yaml_node_t *name, const yaml_node_t *node,
                      struct slice prefix)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (prefix.size > 0)
        buffer_print(&path, "%.*s.", SLICE_ARG(prefix));
    buffer_append_slice(&path, scalar_of(name));
    struct slice key = buffer_slice(&path);
    const struct setting *setting = config_find(key);

    if (memchr(scalar_of(name).at, '.', scalar_of(name).size) != NULL) {
        refuse_key(walk, name->start_mark, key, "write the parts of a key as nested sections");
    } else if (slice_equal_text(key, "version")) {
        check_version(walk, node);
    } else if (setting != NULL) {
        assign_node(walk, setting, node);
    } else if (config_is_section(key)) {
        walk_section(walk, node, key);
    } else {
        OWNED(spot_drop) struct spot spot = spot_of(walk, name->start_mark);
        const struct place at = place_of(&spot);
        config_unknown(walk->report, &at, key);
    }
}

/* Was the name of pair used before it in the mapping? */
static bool is_duplicate(const struct walk *walk, const yaml_node_t *mapping,
                         const yaml_node_pair_t *pair)
{
    const struct slice name = scalar_of(yaml_document_get_node(walk->document, pair->key));

    for (const yaml_node_pair_t *at = mapping->data.mapping.pairs.start; at < pair; at++) {
        const yaml_node_t *earlier = yaml_document_get_node(walk->document, at->key);
        if (earlier->type == YAML_SCALAR_NODE && slice_equal(scalar_of(earlier), name))
            return true;
    }
    return false;
}

static void walk_mapping(const struct walk *walk, const yaml_node_t *mapping, struct slice prefix)
{
    const yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;

    for (; pair < mapping->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(walk->document, pair->key);
        const yaml_node_t *node = yaml_document_get_node(walk->document, pair->value);
        if (name->type != YAML_SCALAR_NODE || name->data.scalar.length == 0)
            refuse_at(walk, name->start_mark, "a key must be a plain word");
        else if (is_duplicate(walk, mapping, pair))
            refuse_key(walk, name->start_mark, scalar_of(name), "the key stands here twice");
        else
            walk_pair(walk, name, node, prefix);
    }
}

static void walk_document(const struct walk *outer, struct slice text)
{
    yaml_parser_t parser;
    yaml_document_t document;
    struct walk walk = *outer;

    yaml_parser_initialize(&parser);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.at, text.size);
    if (yaml_parser_load(&parser, &document)) {
        const yaml_node_t *root = yaml_document_get_root_node(&document);
        walk.document = &document;
        if (root != NULL && root->type == YAML_MAPPING_NODE)
            walk_mapping(&walk, root, SLICE_NONE);
        else if (root != NULL && (root->type != YAML_SCALAR_NODE || scalar_of(root).size > 0))
            refuse_at(&walk, root->start_mark, "expected sections and settings");
        yaml_document_delete(&document);
    } else {
        refuse_syntax(&walk, &parser);
    }
    yaml_parser_delete(&parser);
}

/* --- the file --- */

/* False with errno set. */
static bool read_whole(const char *path, struct buffer *out)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd >= 0 && fd_read(fd, FILE_MAX, out) == 0;
}

void config_file_read(struct config *config, const char *path, struct config_report *report)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct walk walk = {.config = config, .report = report, .path = path};

    if (!read_whole(path, &text))
        buffer_print(&report->errors, "%s: cannot be read: %s\n", path, strerror(errno));
    else if (scan(&walk, buffer_slice(&text)))
        walk_document(&walk, buffer_slice(&text));
}
