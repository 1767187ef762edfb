/* build_provenance.c - build provenance: who built an image, of what, and whether that is signed.
 * Touches  the server by way of client.h, a file of keys, standard output.
 * Never    believes the server that an envelope is right: signatures are checked here. With a file
 *          of keys its word is not needed for the keys either. Spec: s2i 15.10 */
#include <stdio.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/cli/verb.h"
#include "registry/core/base64.h"
#include "registry/core/digest.h"
#include "registry/core/dsse.h"

#define STATEMENT "https://in-toto.io/Statement/v1"
#define PREDICATE "https://slsa.dev/provenance/v1"

static const struct show_column columns[] = {
    {"image", "image"},
    {"as", "as"},
    {"built by", "built_by"},
    {"its version", "version"},
    {"build", "build"},
    {"asked by", "asked_by"},
    {"trigger", "trigger"},
    {"source", "source"},
    {"commit", "commit"},
    {"content", "content"},
    {"builder", "builder"},
    {"its digest", "builder_digest"},
    {"runtime", "runtime"},
    {"previous", "previous"},
    {"base", "base"},
    {"its digest", "base_digest"},
    {"stood on", "previousBase"},
    {"began", "began"},
    {"ended", "ended"},
    {"signed by key", "key"},
    {0},
};

/* --- one envelope --- */

static struct slice text_of(const json_t *object, const char *name)
{
    const json_t *text = json_object_get(object, name);

    return json_is_string(text) ? (struct slice){json_string_value(text), json_string_length(text)}
                                : SLICE_NONE;
}

static const json_t *key_find(const json_t *keys, struct slice id)
{
    const json_t *key;
    size_t i;

    json_array_foreach(json_object_get(keys, "keys"), i, key) {
        if (slice_equal(text_of(key, "kid"), id))
            return key;
    }
    return NULL;
}

/* Whether one of its signatures is by one of the keys; then *key_id is whose. */
static bool is_signed(const json_t *envelope, const json_t *keys, struct slice payload,
                      struct slice *key_id)
{
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;
    const json_t *item;
    size_t i;

    dsse_signed_bytes(text_of(envelope, "payloadType"), payload, &bytes);
    json_array_foreach(json_object_get(envelope, "signatures"), i, item) {
        OWNED(buffer_drop) struct buffer signature = BUFFER_NONE;
        *key_id = text_of(item, "keyid");
        const json_t *key = key_find(keys, *key_id);
        if (key == NULL || !base64_decode(BASE64_ANY, text_of(item, "sig"), &signature))
            continue;
        OWNED(memory_drop) char *text = json_dumps(key, JSON_COMPACT);
        if (auth_signature_right(slice_of(text), *key_id, buffer_slice(&bytes),
                                 buffer_slice(&signature)))
            return true;
    }
    return false;
}

/* "sha256:<hex>" among its subjects. */
static bool is_about(const json_t *statement, const char *image)
{
    struct slice algorithm, hex;
    const json_t *subject;
    size_t i;

    if (!slice_split(slice_of(image), ':', &algorithm, &hex) || hex.size == 0)
        return false;
    OWNED(memory_drop) char *name = memory_text(algorithm);
    json_array_foreach(json_object_get(statement, "subject"), i, subject) {
        if (slice_equal(text_of(json_object_get(subject, "digest"), name), hex))
            return true;
    }
    return false;
}

/* What is wrong with it; NULL: nothing. */
static const char *problem_of(const json_t *envelope, const json_t *keys, const char *image,
                              struct slice *key_id, json_t **statement)
{
    OWNED(buffer_drop) struct buffer payload = BUFFER_NONE;

    if (!slice_equal(text_of(envelope, "payloadType"), SLICE(DSSE_PAYLOAD_STATEMENT)) ||
        !base64_decode(BASE64_ANY, text_of(envelope, "payload"), &payload))
        return "it holds no statement of in-toto";
    if (!is_signed(envelope, keys, buffer_slice(&payload), key_id))
        return "no key that is known signed it, or it was changed";
    *statement = json_loadb(payload.at, payload.size, JSON_REJECT_DUPLICATES, NULL);
    if (!slice_equal_text(text_of(*statement, "_type"), STATEMENT) ||
        !slice_equal_text(text_of(*statement, "predicateType"), PREDICATE))
        return "it is no statement of provenance";
    return is_about(*statement, image) ? NULL : "it is about another image";
}

/* --- as people read it --- */

static void set(json_t *row, const char *name, const json_t *value)
{
    if (value != NULL)
        json_object_set(row, name, (json_t *)(uintptr_t)value);
}

static void add_dependencies(json_t *row, const json_t *definition)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(definition, "resolvedDependencies"), i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *digests = json_object_get(item, "digest");
        if (name == NULL)
            continue;
        if (strcmp(name, "source") == 0) {
            set(row, "commit", json_object_get(digests, "gitCommit"));
            set(row, "content", json_object_get(digests, "sha256"));
        }
        if (strcmp(name, "builder") == 0)
            set(row, "builder_digest", json_object_get(digests, "sha256"));
        if (strcmp(name, "base") == 0)
            set(row, "base_digest", json_object_get(digests, "sha256"));
        set(row, name, json_object_get(item, "uri"));
    }
}

static json_t *row_of(const json_t *statement, const char *image, struct slice key_id)
{
    const json_t *predicate = json_object_get(statement, "predicate");
    const json_t *definition = json_object_get(predicate, "buildDefinition"),
                 *run = json_object_get(predicate, "runDetails");
    const json_t *builder = json_object_get(run, "builder"), *at = json_object_get(run, "metadata"),
                 *internal = json_object_get(definition, "internalParameters");
    json_t *row = json_object();

    json_object_set_new(row, "image", json_string(image));
    set(row, "as", json_object_get(json_object_get(definition, "externalParameters"), "target"));
    set(row, "built_by", json_object_get(builder, "id"));
    set(row, "version", json_object_get(json_object_get(builder, "version"), "slipway"));
    set(row, "build", json_object_get(at, "invocationId"));
    set(row, "asked_by", json_object_get(internal, "requestedBy"));
    set(row, "trigger", json_object_get(internal, "trigger"));
    add_dependencies(row, definition);
    set(row, "began", json_object_get(at, "startedOn"));
    set(row, "ended", json_object_get(at, "finishedOn"));
    json_object_set_new(row, "key", json_stringn(key_id.at, key_id.size));
    return row;
}

/* --- all of them --- */

/* Each item gets "problem" and, when there is none, "statement" and "key"; how many are right. */
static size_t judge(const json_t *list, const json_t *keys, const char *image)
{
    size_t right = 0, i;
    json_t *item;

    json_array_foreach(json_object_get(list, "items"), i, item) {
        OWNED(json_drop) json_t *statement = NULL;
        struct slice key_id = SLICE_NONE;
        const char *problem =
            problem_of(json_object_get(item, "envelope"), keys, image, &key_id, &statement);
        json_object_set_new(item, "problem", problem == NULL ? json_null() : json_string(problem));
        if (problem != NULL)
            continue;
        json_object_set(item, "statement", statement);
        json_object_set_new(item, "key", json_stringn(key_id.at, key_id.size));
        right++;
    }
    return right;
}

static void show_all(const struct cli_call *call, const json_t *list, const char *image)
{
    bool first = true;
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(list, "items"), i, item) {
        const json_t *statement = json_object_get(item, "statement");
        if (statement == NULL)
            continue;
        OWNED(json_drop) json_t *row = row_of(statement, image, text_of(item, "key"));
        if (!first)
            putchar('\n');
        show_one(call, row, columns);
        first = false;
    }
}

static void tell_problems(const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(list, "items"), i, item) {
        const char *problem = json_string_value(json_object_get(item, "problem"));
        if (problem != NULL)
            fprintf(stderr, "%s does not count: %s\n",
                    json_string_value(json_object_get(item, "digest")), problem);
    }
}

/* --- the command --- */

/* "REPOSITORY[:TAG][@DIGEST]"; *digest is NULL when only a tag says which. The caller's. */
static char *repository_of(const char *word, char **tag, char **digest)
{
    struct slice rest, name, named, exact;

    *digest = slice_split(slice_of(word), '@', &rest, &exact) ? memory_text(exact) : NULL;
    *tag = memory_text(slice_split(rest, ':', &name, &named) ? named : SLICE("latest"));
    return memory_text(name);
}

static int digest_find(struct client *client, const char *repository, const char *tag,
                       char **digest)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(json_drop) json_t *answer = NULL;

    buffer_append_text(&path, "/repos/");
    verb_path_word(&path, repository, true);
    buffer_append_text(&path, "/-/tags/");
    verb_path_word(&path, tag, false);
    buffer_append(&path, "", 1);
    int status = client_send(client, "GET", path.at, NULL, &answer);
    if (status == CLI_DONE)
        *digest = memory_text(text_of(answer, "digest"));
    return status;
}

static int keys_read(const struct cli_call *call, struct client *client, json_t **keys)
{
    const char *file = cli_value(call, "--keys");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (file == NULL)
        return client_send(client, "GET", "/keys", NULL, keys);
    int status = verb_read_file(call, file, &text);
    if (status != CLI_DONE)
        return status;
    *keys = json_loadb(text.at, text.size, 0, NULL);
    if (!json_is_array(json_object_get(*keys, "keys")))
        return cli_fail(call, CLI_FAILED, "%s is no set of keys (JWK set)", file);
    return CLI_DONE;
}

static int envelopes_read(struct client *client, const char *repository, const char *image,
                          json_t **list)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_append_text(&path, "/repos/");
    verb_path_word(&path, repository, true);
    buffer_append_text(&path, "/-/manifests/");
    verb_path_word(&path, image, false);
    buffer_append_text(&path, "/provenance");
    buffer_append(&path, "", 1);
    return client_list(client, path.at, list);
}

static int told(const struct cli_call *call, json_t *list, const json_t *keys, const char *image)
{
    size_t right = judge(list, keys, image);
    size_t count = json_array_size(json_object_get(list, "items"));

    json_object_set_new(list, "image", json_string(image));
    json_object_set_new(list, "verified", json_boolean(right > 0));
    if (cli_flag(call, "--json"))
        show_json(list);
    else if (!cli_flag(call, "--verify"))
        show_all(call, list, image);
    tell_problems(list);
    if (right == 0)
        return cli_fail(call, CLI_FAILED, "%s has no provenance that counts: %zu signed, 0 right",
                        image, count);
    if (cli_flag(call, "--verify"))
        printf("%s: provenance verified\n", image);
    return CLI_DONE;
}

static int provenance(const struct cli_call *call)
{
    OWNED(client_close) struct client *client = NULL;
    OWNED(memory_drop) char *tag = NULL, *image = NULL;
    OWNED(memory_drop) char *repository = repository_of(call->words[0], &tag, &image);
    OWNED(json_drop) json_t *list = NULL, *keys = NULL;
    int status = client_open(&client, call);

    if (status == CLI_DONE && image == NULL)
        status = digest_find(client, repository, tag, &image);
    if (status == CLI_DONE)
        status = keys_read(call, client, &keys);
    if (status == CLI_DONE)
        status = envelopes_read(client, repository, image, &list);
    return status == CLI_DONE ? told(call, list, keys, image) : status;
}

static const struct cli_option options[] = {
    {"--verify", NULL, "says only whether it is right: exit status 0, or 1", 0},
    {"--keys", "FILE", "trusts only the keys of this JWK set, not what the server says", 0},
    {0},
};
const struct cli_command cli_provenance_commands[] = {
    {"build provenance",
     "REPOSITORY[:TAG][@DIGEST]",
     "shows who built an image of what, after checking who signed that",
     provenance,
     {options, cli_remote, cli_settings}},
    {0},
};
