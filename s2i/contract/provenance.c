/* provenance.c - where an image is from, built or rebased: an in-toto statement with a SLSA v1
 * predicate.
 * Touches  memory only.
 * Never    a secret's value; user information of an URL. Spec: s2i 7.12 */
#include <string.h>

#include "registry/core/timestamp.h"
#include "s2i/contract/compose.h"
#include "s2i/contract/referrer.h"

#define BUILD_TYPE "urn:slipway:s2i-build:v1"
#define REBASE_TYPE "urn:slipway:s2i-rebase:v1"
#define BUILDER "urn:slipway:builder"

/* {"sha256": "<hex>"} */
static json_t *digest_set(const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];
    struct slice algorithm, hex;
    json_t *set = json_object();

    slice_split(slice_of(digest_text(digest, text)), ':', &algorithm, &hex);
    compose_set(set, digest->algorithm == DIGEST_SHA512 ? "sha512" : "sha256", hex);
    return set;
}

static void add_image(json_t *list, const char *role, const struct s2i_image *image)
{
    struct buffer uri = BUFFER_NONE;

    if (image->name == NULL)
        return;
    json_t *dependency = json_object();
    buffer_append_text(&uri, "oci:");
    buffer_append_slice(&uri, compose_reference_name(image->name));
    json_object_set_new(dependency, "name", json_string(role));
    compose_set(dependency, "uri", buffer_slice(&uri));
    json_object_set_new(dependency, "digest", digest_set(&image->digest));
    json_array_append_new(list, dependency);
    buffer_drop(&uri);
}

/* "git+<url>@<ref>", or nothing when the source has no URL. */
static void set_source_uri(json_t *object, const struct s2i_source_facts *source)
{
    struct buffer uri = BUFFER_NONE;

    if (source->url[0] != 0) {
        buffer_append_text(&uri, source->commit[0] != 0 ? "git+" : "");
        s2i_url_clean(slice_of(source->url), &uri);
        if (source->ref[0] != 0)
            buffer_print(&uri, "@%s", source->ref);
    }
    compose_set(object, "uri", buffer_slice(&uri));
    buffer_drop(&uri);
}

static void add_source(json_t *list, const struct s2i_source_facts *source)
{
    json_t *dependency = json_object(), *digests = json_object();

    json_object_set_new(dependency, "name", json_string("source"));
    set_source_uri(dependency, source);
    if (digest_is_set(&source->content)) {
        json_decref(digests);
        digests = digest_set(&source->content);
    }
    compose_set(digests, "gitCommit", slice_of(source->commit));
    compose_set(digests, "gitTree", slice_of(source->tree));
    json_object_set_new(dependency, "digest", digests);
    json_array_append_new(list, dependency);
}

/* Of each "NAME=VALUE" the name: values may be known to who builds only. */
static void names_only(json_t *options, const char *list)
{
    json_t *assignments = json_object_get(options, list), *item;
    json_t *names = json_array();
    size_t i;

    json_array_foreach(assignments, i, item) {
        struct slice name, value;
        slice_split(slice_of(json_string_value(item)), '=', &name, &value);
        json_array_append_new(names, s2i_json_text(name));
    }
    if (assignments == NULL)
        json_decref(names);
    else
        json_object_set_new(options, list, names);
}

/* The options that decide what is built, as anybody may see them. */
static json_t *options_shown(const struct s2i_options *options)
{
    static const char *const variables[] = {"env", "build_env", "secret_env"};
    json_t *all = compose_options(options, false);
    struct buffer url = BUFFER_NONE;

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        names_only(all, variables[i]);
    if (options->scripts_url != NULL) {
        s2i_url_clean(slice_of(options->scripts_url), &url);
        compose_set(all, "scripts_url", buffer_slice(&url));
    }
    buffer_drop(&url);
    return all;
}

static json_t *parameters(const struct s2i_spec *spec)
{
    json_t *all = json_object(), *source = json_object();

    set_source_uri(source, &spec->source);
    compose_set(source, "commit", slice_of(spec->source.commit));
    compose_set(source, "contextDir", slice_of(spec->source.context_dir));
    json_object_set_new(all, "source", source);
    compose_set(all, "builder", slice_of(spec->builder.name));
    compose_set(all, "runtimeImage", slice_of(spec->runtime.name));
    compose_set(all, "target", slice_of(spec->target));
    json_object_set_new(all, "options", options_shown(&spec->options));
    return all;
}

/* Which script was taken from where; an URL that was followed may hold a password. */
static json_t *scripts_of(const struct s2i_result *result)
{
    json_t *scripts = json_object();

    for (size_t i = 0; i < result->script_count; i++) {
        struct buffer from = BUFFER_NONE;
        if (result->scripts[i].from != NULL)
            s2i_url_clean(slice_of(result->scripts[i].from), &from);
        compose_set(scripts, result->scripts[i].name, buffer_slice(&from));
        buffer_drop(&from);
    }
    return scripts;
}

/* How the build came to be: nothing of it is the source's to say. */
static json_t *internal(const struct provenance *about)
{
    json_t *all = json_pack("{s:o}", "scripts", scripts_of(about->result));

    compose_set(all, "requestedBy", slice_of(about->actor));
    compose_set(all, "trigger", slice_of(about->trigger));
    return all;
}

static json_t *definition(const struct provenance *about)
{
    json_t *all = json_object(), *dependencies = json_array();

    add_source(dependencies, &about->spec->source);
    add_image(dependencies, "builder", &about->spec->builder);
    add_image(dependencies, "runtime", &about->spec->runtime);
    add_image(dependencies, "previous", &about->spec->previous);
    for (size_t i = 0; i < about->spec->input_count; i++)
        add_image(dependencies, "input", &about->spec->inputs[i]);
    json_object_set_new(all, "buildType", json_string(BUILD_TYPE));
    json_object_set_new(all, "externalParameters", parameters(about->spec));
    json_object_set_new(all, "internalParameters", internal(about));
    json_object_set_new(all, "resolvedDependencies", dependencies);
    return all;
}

static void set_time(json_t *object, const char *name, int64_t us)
{
    char text[TIMESTAMP_MAX];

    if (us > 0)
        json_object_set_new(object, name, json_string(timestamp_print(us, text)));
}

/* Who made it, and when. */
static json_t *made_by(const char *server, const char *version, int64_t started_us,
                       int64_t finished_us)
{
    json_t *metadata = json_object();

    set_time(metadata, "startedOn", started_us);
    set_time(metadata, "finishedOn", finished_us);
    return json_pack("{s:{s:s, s:{s:s}}, s:o}", "builder", "id", server[0] != 0 ? server : BUILDER,
                     "version", "slipway", version, "metadata", metadata);
}

static json_t *run_details(const struct provenance *about)
{
    json_t *all = made_by(about->server, about->version, about->started_us, about->finished_us);
    struct buffer invocation = BUFFER_NONE;

    buffer_print(&invocation, "%s%sbuilds/%lld", about->server,
                 about->server[0] == 0 || slice_ends(slice_of(about->server), "/") ? "" : "/",
                 (long long)about->spec->build);
    compose_set(compose_object(all, "metadata"), "invocationId", buffer_slice(&invocation));
    if (about->log != NULL)
        json_object_set_new(
            all, "byproducts",
            json_pack("[{s:s, s:o}]", "name", "log", "digest", digest_set(about->log)));
    buffer_drop(&invocation);
    return all;
}

/* Takes the definition and the details. */
static void statement_write(struct slice repository, const struct digest *image, json_t *definition,
                            json_t *details, struct buffer *out)
{
    OWNED(json_decrefp) json_t *statement = json_object();
    json_t *subject = json_object(), *predicate = json_object();
    struct digest ignored;

    compose_set(subject, "name", repository);
    json_object_set_new(subject, "digest", digest_set(image));
    json_object_set_new(predicate, "buildDefinition", definition);
    json_object_set_new(predicate, "runDetails", details);
    json_object_set_new(statement, "_type", json_string("https://in-toto.io/Statement/v1"));
    json_object_set_new(statement, "subject", json_pack("[o]", subject));
    json_object_set_new(statement, "predicateType", json_string(PROVENANCE_PREDICATE));
    json_object_set_new(statement, "predicate", predicate);
    compose_text(statement, out, &ignored);
}

void provenance_make(const struct provenance *about, struct buffer *out)
{
    struct slice target, tag;

    slice_split(slice_of(about->spec->target), ':', &target, &tag);
    statement_write(target, &about->subject->digest, definition(about), run_details(about), out);
}

/* --- rebases --- */

static json_t *rebase_definition(const struct provenance_rebase *about)
{
    OWNED(memory_drop) char *name = memory_text(about->repository);
    const struct s2i_image previous = {.name = name, .digest = *about->before};
    json_t *external = json_object(), *internal = json_object(), *dependencies = json_array();

    compose_set(external, "target", about->repository);
    compose_set(external, "base", compose_reference_name(about->new_base->name));
    compose_set(internal, "requestedBy", about->actor);
    add_image(dependencies, "previous", &previous);
    add_image(dependencies, "previousBase", about->old_base);
    add_image(dependencies, "base", about->new_base);
    return json_pack("{s:s, s:o, s:o, s:o}", "buildType", REBASE_TYPE, "externalParameters",
                     external, "internalParameters", internal, "resolvedDependencies",
                     dependencies);
}

void provenance_of_rebase(const struct provenance_rebase *about, struct buffer *out)
{
    statement_write(about->repository, &about->subject->digest, rebase_definition(about),
                    made_by(about->server, about->version, about->started_us, about->finished_us),
                    out);
}
