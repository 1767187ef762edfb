/* names.c - names of images as people write them: with a host of this registry, or without.
 * Touches  memory only.
 * Never    takes a host for ours that is not: what begins with another stays as it is, and is no
 *          image of this registry.
 *
 * Names are stored, compared and shown without the host: it is left out where they come in. What is
 * a host is told as everywhere in the field: the first part of a name, when it has a dot or a
 * colon, or is "localhost". Spec: s2i 2.10 */
#include <string.h>
#include <strings.h>

#include "registry/core/json.h"
#include "s2i/options.h"

static bool is_host(struct slice text)
{
    return text.size > 0 &&
           (memchr(text.at, '.', text.size) != NULL || memchr(text.at, ':', text.size) != NULL ||
            slice_equal_ignore_case(text, "localhost"));
}

struct s2i_hosts s2i_hosts_of(const char *public_url, struct slice called)
{
    const char *slashes = strstr(public_url, "://");
    struct slice named = slice_of(slashes == NULL ? public_url : slashes + 3);

    return (struct s2i_hosts){
        {is_host(named) ? named : SLICE_NONE, is_host(called) ? called : SLICE_NONE}};
}

struct slice s2i_name_own(struct slice name, const struct s2i_hosts *hosts)
{
    struct slice first, rest;

    if (!slice_split(name, '/', &first, &rest) || first.size == 0 || rest.size == 0)
        return name;
    for (size_t i = 0; i < sizeof(hosts->items) / sizeof(hosts->items[0]); i++)
        if (hosts->items[i].size == first.size &&
            strncasecmp(hosts->items[i].at, first.at, first.size) == 0)
            return rest;
    return name;
}

/* --- in options --- */

/* Where in the option's text a name begins. */
static size_t name_at(const char *option, struct slice text)
{
    struct slice pattern, name;

    if (strcmp(option, "detect") != 0 || !slice_split(text, '=', &pattern, &name))
        return 0;
    return pattern.size + 1;
}

/* NULL: it stays as it is. */
static json_t *text_own(const char *option, const json_t *value, const struct s2i_hosts *hosts)
{
    struct slice text = {json_string_value(value), json_string_length(value)};
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;

    if (text.at == NULL)
        return NULL;
    size_t before = name_at(option, text);
    struct slice name = slice_from(text, before), own = s2i_name_own(name, hosts);
    if (own.size == name.size)
        return NULL;
    buffer_append(&out, text.at, before);
    buffer_append_slice(&out, own);
    return json_stringn(out.at, out.size);
}

/* Of a text, or of each one of a list. The caller's. */
static json_t *value_own(const char *option, json_t *value, const struct s2i_hosts *hosts)
{
    json_t *own = text_own(option, value, hosts), *item;
    size_t i;

    if (own != NULL)
        return own;
    if (!json_is_array(value))
        return json_incref(value);
    own = json_copy(value);
    json_array_foreach(value, i, item) {
        json_t *text = text_own(option, item, hosts);
        if (text != NULL)
            json_array_set_new(own, i, text);
    }
    return own;
}

int s2i_options_hear(struct s2i_options *options, const json_t *object, enum s2i_origin origin,
                     const struct s2i_hosts *hosts, struct error *err)
{
    static const char *const names[] = {"builder", "runtime_image", "incremental_from", "copy_from",
                                        "detect"};
    OWNED(json_drop) json_t *own = json_copy((json_t *)(uintptr_t)object);

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *value = json_object_get(own, names[i]);
        if (value != NULL)
            json_object_set_new(own, names[i], value_own(names[i], value, hosts));
    }
    return s2i_options_read(options, own, origin, err);
}
