/* image.c - what a builder image says about itself: its config, labels, variables.
 * Touches  memory only.
 * Never    believes the shape of what others made: members of another type count as malformed. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

/* Each is looked for among all before it, by the server as well: nobody needs so many. */
enum { ENV_MAX = 4096 };

/* --- reading --- */

/* A text that may be absent or null: "" then. */
static int read_text(const json_t *object, const char *name, char **out, struct error *err)
{
    const json_t *value = json_object_get(object, name);

    if (value != NULL && !json_is_null(value) && !json_is_string(value))
        return error_set(err, ERROR_INVALID, "the image's config: %s is not a text", name);
    *out = memory_text(slice_of(json_string_value(value)));
    return 0;
}

static int read_env(const json_t *list, struct s2i_list *out, struct error *err)
{
    if (list == NULL || json_is_null(list))
        return 0;
    if (!json_is_array(list))
        return error_set(err, ERROR_INVALID, "the image's config: Env is not a list");
    if (json_array_size(list) > ENV_MAX)
        return error_set(err, ERROR_INVALID, "the image's config: Env has more than %d variables",
                         ENV_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        if (item == NULL || strchr(item, '=') == NULL)
            return error_set(err, ERROR_INVALID, "the image's config: Env[%zu] is not NAME=VALUE",
                             i);
        s2i_list_set(out, slice_of(item));
    }
    return 0;
}

static int read_labels(const json_t *labels, const json_t **out, struct error *err)
{
    const char *name;
    json_t *value;

    if (labels == NULL || json_is_null(labels))
        return 0;
    if (!json_is_object(labels))
        return error_set(err, ERROR_INVALID, "the image's config: Labels is not an object");
    json_object_foreach((json_t *)(uintptr_t)labels, name, value) {
        if (!json_is_string(value))
            return error_set(err, ERROR_INVALID, "the image's config: a label is not a text");
    }
    *out = labels;
    return 0;
}

static int read_config(struct image_config *out, const json_t *config, struct error *err)
{
    if (config != NULL && !json_is_null(config) && !json_is_object(config))
        return error_set(err, ERROR_INVALID, "the image's config: config is not an object");
    if (read_text(config, "User", &out->user, err) < 0 ||
        read_text(config, "WorkingDir", &out->working_dir, err) < 0 ||
        read_env(json_object_get(config, "Env"), &out->env, err) < 0 ||
        read_labels(json_object_get(config, "Labels"), &out->labels, err) < 0)
        return -1;
    out->onbuild = json_array_size(json_object_get(config, "OnBuild")) > 0;
    return 0;
}

static int read_document(struct image_config *out, struct slice text, struct error *err)
{
    json_error_t where;

    out->document = json_loadb(text.at == NULL ? "" : text.at, text.size, 0, &where);
    if (!json_is_object(out->document))
        return error_set(err, ERROR_INVALID, "the image's config is not a JSON object");
    if (read_text(out->document, "architecture", &out->architecture, err) < 0 ||
        read_text(out->document, "os", &out->os, err) < 0 ||
        read_text(out->document, "variant", &out->variant, err) < 0)
        return -1;
    return read_config(out, json_object_get(out->document, "config"), err);
}

int image_config_read(struct image_config *out, struct slice text, struct error *err)
{
    *out = (struct image_config){.document = NULL};
    if (read_document(out, text, err) == 0)
        return 0;
    image_config_drop(out);
    return -1;
}

void image_config_drop(struct image_config *config)
{
    json_decref(config->document);
    s2i_list_drop(&config->env);
    free(config->user);
    free(config->working_dir);
    free(config->architecture);
    free(config->os);
    free(config->variant);
    *config = (struct image_config){.document = NULL};
}

const char *image_label(const struct image_config *config, const char *name)
{
    return json_string_value(json_object_get(config->labels, name));
}

const char *image_env(const struct image_config *config, const char *name)
{
    return s2i_list_value(&config->env, slice_of(name));
}

/* --- what builders say of the contract --- */

/* Empty is as good as absent. */
static const char *said(const char *text)
{
    return text == NULL || text[0] == 0 ? NULL : text;
}

/* Spec: s2i 2.1 */
const char *contract_scripts_url(const struct image_config *image, const char **deprecated)
{
    const char *found = said(image_label(image, "io.openshift.s2i.scripts-url"));

    *deprecated = NULL;
    if (found != NULL)
        return found;
    found = said(image_label(image, "io.s2i.scripts-url"));
    if (found != NULL) {
        *deprecated = "label io.s2i.scripts-url";
        return found;
    }
    found = said(image_env(image, "STI_SCRIPTS_URL"));
    if (found != NULL)
        *deprecated = "environment variable STI_SCRIPTS_URL";
    return found;
}

/* A folder of the container that can be one: absolute, and nowhere up again. */
static bool is_folder(const char *path)
{
    return said(path) != NULL && path[0] == '/' && !s2i_path_climbs(slice_of(path));
}

/* Spec: s2i 2.2 */
const char *contract_destination(const struct s2i_options *options,
                                 const struct image_config *image)
{
    const char *const said_so[] = {
        options->destination, image_label(image, "io.openshift.s2i.destination"),
        image_label(image, "io.s2i.destination"), image_env(image, "STI_LOCATION")};

    for (size_t i = 0; i < sizeof(said_so) / sizeof(said_so[0]); i++)
        if (is_folder(said_so[i]))
            return said_so[i];
    return "/tmp";
}

/* Spec: s2i 2.3 */
const char *contract_assemble_user(const struct s2i_options *options,
                                   const struct image_config *image)
{
    const char *user = said(options->assemble_user);

    if (user == NULL)
        user = said(image_label(image, "io.openshift.s2i.assemble-user"));
    return user != NULL ? user : image->user;
}

/* Spec: s2i 9.6 */
const char *contract_runtime_user(const struct s2i_options *options,
                                  const struct image_config *image)
{
    const char *user = said(options->assemble_runtime_user);

    if (user == NULL)
        user = said(image_label(image, "io.openshift.s2i.assemble-runtime-user"));
    return user != NULL ? user : image->user;
}
