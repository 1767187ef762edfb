/* key.c - the key of a build's inputs: equal keys, equal images (15.3, 13.27).
 * Touches  memory only.
 * Never    the ref, the build's number, who asked: they do not decide what is built. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/compose.h"
#include "s2i/contract/contract.h"

static void set_digest(json_t *key, const char *name, const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];

    if (digest_is_set(digest))
        json_object_set_new(key, name, json_string(digest_text(digest, text)));
}

static json_t *facts_of(const struct s2i_source_facts *source)
{
    json_t *facts = json_object();
    struct buffer url = BUFFER_NONE;

    s2i_url_clean(slice_of(source->url), &url);
    set_digest(facts, "content", &source->content);
    json_object_set_new(facts, "time", json_integer(source->time));
    compose_set(facts, "url", buffer_slice(&url));
    compose_set(facts, "commit", slice_of(source->commit));
    compose_set(facts, "author", slice_of(source->author));
    compose_set(facts, "author_date", slice_of(source->author_date));
    compose_set(facts, "subject", slice_of(source->subject));
    compose_set(facts, "context_dir", slice_of(source->context_dir));
    buffer_drop(&url);
    return facts;
}

static json_t *list_of(const struct s2i_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, s2i_json_text(slice_of(list->items[i])));
    return array;
}

/* In the order of their names' first use; which paths are copied stands in the options. */
static json_t *inputs_of(const struct s2i_spec *spec)
{
    json_t *inputs = json_array();
    char text[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < spec->input_count; i++)
        json_array_append_new(inputs, json_string(digest_text(&spec->inputs[i].digest, text)));
    return inputs;
}

/* Scripts that are fetched are not known before the build: its key is its own. */
static bool scripts_unknown(const struct s2i_spec *spec)
{
    OWNED(image_config_drop) struct image_config image = {.document = NULL};
    const char *deprecated, *url = spec->options.scripts_url;
    struct error ignored = {0};

    if (!spec->scripts_by_http)
        return false;
    if (url != NULL && strncmp(url, "http", 4) == 0)
        return true;
    if (spec->builder.config == NULL ||
        image_config_read(&image, slice_of(spec->builder.config), &ignored) < 0)
        return false;
    url = contract_scripts_url(&image, &deprecated);
    return url != NULL && strncmp(url, "http", 4) == 0;
}

void contract_input_key(const struct s2i_spec *spec, char out[65])
{
    OWNED(json_decrefp) json_t *key = json_object();
    struct buffer text = BUFFER_NONE;
    struct slice target, tag;
    struct digest digest;

    slice_split(slice_of(spec->target), ':', &target, &tag);
    json_object_set_new(key, "version", json_string(CONTRACT_VERSION));
    json_object_set_new(key, "packing", json_string(S2I_PACKING));
    compose_set(key, "target", target);
    compose_set(key, "builder_name", slice_of(spec->builder.name));
    set_digest(key, "builder", &spec->builder.digest);
    compose_set(key, "runtime_name", slice_of(spec->runtime.name));
    set_digest(key, "runtime", &spec->runtime.digest);
    if (spec->previous.name != NULL)
        set_digest(key, "previous", &spec->previous.digest);
    if (spec->input_count > 0)
        json_object_set_new(key, "inputs", inputs_of(spec));
    compose_set(key, "proxy", slice_of(spec->proxy_environment));
    json_object_set_new(key, "source", facts_of(&spec->source));
    json_object_set_new(key, "options", compose_options(&spec->options, true));
    json_object_set_new(key, "secrets", list_of(&spec->secrets));
    if (scripts_unknown(spec))
        json_object_set_new(key, "build", json_integer(spec->build));
    compose_text(key, &text, &digest);
    hex_encode(digest.bytes, digest.size, out);
    out[64] = 0;
    explicit_bzero(text.at, text.size);
    buffer_drop(&text);
}
