/* hook_yaml.c - see hook_yaml.h. Events are read one by one: what is refused is refused before what
 * follows it is looked at, so neither depth nor aliases cost anything. */
#include "registry/api/hook_yaml.h"

#include <stdlib.h>
#include <string.h>

#include <yaml.h>

struct level {
    json_t *value; /* object or array; borrowed by the one below, the root is owned by walk */
    char *key;     /* of an object: that of the value to come; NULL: a key comes */
};
struct walk {
    json_t *root;
    struct level levels[HOOK_YAML_DEPTH_MAX];
    size_t depth, nodes;
    bool documents;
};

static void walk_drop(struct walk *walk)
{
    for (size_t i = 0; i < walk->depth; i++)
        free(walk->levels[i].key);
    json_decref(walk->root);
}

static int refuse(const char *what, struct error *err)
{
    return error_set(err, ERROR_BAD_REQUEST, "the payload is not YAML as it is taken here: %s",
                     what);
}

/* --- values --- */

/* Takes the value over. */
static int value_add(struct walk *walk, json_t *value, struct error *err)
{
    if (walk->depth == 0) {
        walk->root = value;
        return 0;
    }
    struct level *level = &walk->levels[walk->depth - 1];
    if (json_is_array(level->value)) {
        json_array_append_new(level->value, value);
        return 0;
    }
    int status =
        json_object_get(level->value, level->key) == NULL ? 0 : refuse("a key is there twice", err);
    if (status == 0)
        json_object_set_new(level->value, level->key, value);
    else
        json_decref(value);
    free(level->key);
    level->key = NULL;
    return status;
}

static bool wants_key(const struct walk *walk)
{
    const struct level *level = walk->depth == 0 ? NULL : &walk->levels[walk->depth - 1];

    return level != NULL && json_is_object(level->value) && level->key == NULL;
}

static bool is_null(struct slice text)
{
    return text.size == 0 || slice_equal(text, SLICE("~")) || slice_equal_ignore_case(text, "null");
}

static int scalar(struct walk *walk, const yaml_event_t *event, struct error *err)
{
    struct slice text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;

    if (memchr(text.at, 0, text.size) != NULL)
        return refuse("a text holds a NUL", err);
    if (wants_key(walk)) {
        walk->levels[walk->depth - 1].key = memory_text(text);
        return 0;
    }
    json_t *value = plain && is_null(text) ? json_null() : json_stringn(text.at, text.size);
    return value == NULL ? refuse("a text is not UTF-8", err) : value_add(walk, value, err);
}

/* Takes the collection over. */
static int collection(struct walk *walk, json_t *value, struct error *err)
{
    const char *wrong = wants_key(walk)                      ? "a key is no text"
                        : walk->depth == HOOK_YAML_DEPTH_MAX ? "it is too deep"
                                                             : NULL;

    if (wrong != NULL) {
        json_decref(value);
        return refuse(wrong, err);
    }
    if (value_add(walk, value, err) < 0)
        return -1;
    walk->levels[walk->depth++] = (struct level){value, NULL};
    return 0;
}

/* --- events --- */

/* Names for others to refer to, and types by name. */
static bool has_marks(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

static int take(struct walk *walk, const yaml_event_t *event, struct error *err)
{
    if (has_marks(event))
        return refuse("it has anchors, aliases or tags", err);
    if (++walk->nodes > HOOK_YAML_NODES_MAX)
        return refuse("it is too large", err);
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (walk->documents)
            return refuse("it is more than one document", err);
        walk->documents = true;
        return 0;
    case YAML_SCALAR_EVENT:
        return scalar(walk, event, err);
    case YAML_SEQUENCE_START_EVENT:
        return collection(walk, json_array(), err);
    case YAML_MAPPING_START_EVENT:
        return collection(walk, json_object(), err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        walk->depth--;
        return 0;
    default:
        return 0;
    }
}

static int read_events(struct walk *walk, yaml_parser_t *parser, struct error *err)
{
    bool ended = false;
    int status = 0;

    while (status == 0 && !ended) {
        yaml_event_t event;
        if (yaml_parser_parse(parser, &event) == 0)
            return refuse("it cannot be read", err);
        ended = event.type == YAML_STREAM_END_EVENT;
        status = take(walk, &event, err);
        yaml_event_delete(&event);
    }
    return status;
}

/* What YAML takes for the end of a line; the mark before the first one, too. */
static bool begins_line(struct slice before)
{
    static const char *const ends[] = {"\n",           "\r",           "\xc2\x85",
                                       "\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf"};
    bool found = before.size == 0;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        found |= slice_ends(before, ends[i]);
    return found;
}

/* libyaml holds each directive against all before it, and gives no event until all are read. */
static bool has_directives(struct slice text)
{
    const char *at = text.at, *end = text.at + text.size;

    while (at < end && (at = memchr(at, '%', (size_t)(end - at))) != NULL) {
        if (begins_line((struct slice){text.at, (size_t)(at - text.at)}))
            return true;
        at++;
    }
    return false;
}

int hook_yaml_read(struct slice text, json_t **out, struct error *err)
{
    OWNED(walk_drop) struct walk walk = {.root = NULL};
    yaml_parser_t parser;

    if (has_directives(text))
        return refuse("a line begins with %", err);
    if (yaml_parser_initialize(&parser) == 0)
        return refuse("it cannot be read", err);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING); /* as it was looked at */
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.at, text.size);
    int status = read_events(&walk, &parser, err);
    yaml_parser_delete(&parser);
    if (status < 0)
        return -1;
    if (walk.root == NULL || json_is_null(walk.root))
        *out = json_object();
    else if (json_is_object(walk.root))
        *out = json_incref(walk.root);
    else
        return refuse("it is no mapping", err);
    return 0;
}
