/* build_secret.c - what a build configuration needs and nobody may read back: secrets of webhooks
 * and callbacks, credentials of sources, files for assemble, tokens for statuses. Touches  storage:
 * secrets of builds. Never    shows a value, or tells whether two are the same.
 *
 * Credentials of sources are stored as source.h reads them: "NAME\tPREFIX\tKIND\tVALUE", tokens
 * for statuses with the API that they are for. Spec: s2i 10.21, 14.1, 16.12 */
#include <string.h>

#include "registry/api/build.h"

enum { KEY_MIN = 16, VALUE_MAX = 48 * 1024, URL_TEXT_MAX = 1000 };

/* --- names --- */

static const struct {
    const char *name;
    enum build_secret_kind kind;
} kinds[] = {
    {"hook", BUILD_SECRET_HOOK},     {"source", BUILD_SECRET_SOURCE},
    {"file", BUILD_SECRET_FILE},     {"callback", BUILD_SECRET_CALLBACK},
    {"status", BUILD_SECRET_STATUS},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static int list_kind(const struct request *request, int64_t config, size_t kind, struct buffer *out,
                     struct error *err) ON(worker_thread)
{
    OWNED(build_secrets_drop) struct build_secrets secrets = {.items = NULL};

    if (build_secret_list(request->services->storage, config, kinds[kind].kind, false, &secrets,
                          err) < 0)
        return -1;
    write_open(out, kinds[kind].name, '[');
    for (size_t i = 0; i < secrets.count; i++) {
        write_open(out, NULL, '{');
        write_text(out, "name", slice_of(secrets.items[i].name));
        write_time(out, "created_at", secrets.items[i].created_at);
        write_close(out, '}');
    }
    write_close(out, ']');
    return 0;
}

int api_build_secrets_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (api_build_config_at(request, &config, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    for (size_t i = 0; i < KINDS; i++)
        if (list_kind(request, config.id, i, &body, err) < 0)
            return -1;
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

static int name_check(struct slice name, struct error *err)
{
    bool valid = name.size > 0 && name.size <= WORD_MAX && name.at[0] != '.' && name.at[0] != '-';

    for (size_t i = 0; valid && i < name.size; i++) {
        char c = name.at[i];
        valid = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '.' || c == '_' || c == '-';
    }
    if (valid)
        return 0;
    return error_set_field(err, "name",
                           "the name of a secret has 1 to %d letters, digits, '.', '_' and '-'",
                           WORD_MAX);
}

/* --- values --- */

enum { VALUE, VALUE_URL, VALUE_KIND, VALUE_COUNT };
static const struct json_member plain_members[] = {
    [VALUE] = {"value", JSON_SECRET, .required = true, .least = 1, .most = VALUE_MAX},
};
static const struct json_member source_members[] = {
    [VALUE] = {"value", JSON_SECRET, .required = true, .least = 1, .most = VALUE_MAX},
    [VALUE_URL] = {"url", JSON_TEXT, .required = true, .least = 1, .most = URL_TEXT_MAX},
    [VALUE_KIND] = {"kind", JSON_TEXT, .required = true, .least = 1, .most = WORD_MAX},
};

/* 16.12: a name with a password, a token alone, a key for ssh and the hosts it may meet, an
 * authority. */
static const char *const credentials[] = {"password", "token", "ssh-key", "known-hosts", "ca"};

static int credential_check(const struct json_value *values, struct error *err)
{
    struct slice kind = values[VALUE_KIND].text, url = values[VALUE_URL].text;
    bool known = false;

    for (size_t i = 0; i < sizeof(credentials) / sizeof(credentials[0]); i++)
        known |= slice_equal_text(kind, credentials[i]);
    if (!known)
        return error_set_field(err, "kind",
                               "kind must be password, token, ssh-key, known-hosts or ca");
    if (memchr(url.at, '\t', url.size) != NULL || memchr(url.at, '\n', url.size) != NULL ||
        memchr(url.at, '@', url.size) != NULL)
        return error_set_field(err, "url", "url is the beginning of URLs, without a user");
    if (slice_equal_text(kind, "password") &&
        memchr(values[VALUE].text.at, ':', values[VALUE].text.size) == NULL)
        return error_set_field(err, "value", "value must be user:password");
    return 0;
}

static int put(const struct request *request, struct reply *reply, enum build_secret_kind kind,
               struct slice value, struct error *err) ON(worker_thread)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(event_drop) struct event event = {0};

    if (name_check(request->reference, err) < 0 || api_build_config_at(request, &config, err) < 0)
        return -1;
    event_new(&event, request, "build_secret.put", "repository", request->name);
    write_text(&event.detail, "kind", slice_of(kinds[kind - 1].name));
    write_text(&event.detail, "name", request->reference);
    if (build_secret_put(request->services->storage, config.id, kind, request->reference, value,
                         event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

/* What signs, or is shown: not to be guessed. */
static int put_key(const struct request *request, struct reply *reply, enum build_secret_kind kind,
                   struct error *err) ON(worker_thread)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[VALUE_COUNT];

    if (json_read(&body, request, JSON_MEMBERS(plain_members), values, err) < 0)
        return -1;
    if (values[VALUE].text.size < KEY_MIN)
        return error_set_field(err, "value", "the secret of a %s has at least %d bytes",
                               kind == BUILD_SECRET_HOOK ? "webhook" : "callback", KEY_MIN);
    return put(request, reply, kind, values[VALUE].text, err);
}

int api_build_secret_hook_put(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return put_key(request, reply, BUILD_SECRET_HOOK, err);
}

int api_build_secret_callback_put(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return put_key(request, reply, BUILD_SECRET_CALLBACK, err);
}

/* It becomes a header: bytes that end one, or a word in it, are none of a token's. */
static int token_check(struct slice token, struct error *err)
{
    for (size_t i = 0; i < token.size; i++)
        if (token.at[i] <= ' ' || token.at[i] > '~')
            return error_set_field(err, "value", "a token has no blanks and no control characters");
    return 0;
}

/* Where statuses go by now. Whoever may change that later cannot read the token, and it is not to
 * be sent to him. */
static int api_read(const struct request *request, struct buffer *out, struct error *err)
    ON(worker_thread)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(s2i_options_drop) struct s2i_options options = {0};

    if (api_build_config_at(request, &config, err) < 0 ||
        api_build_options_read(config.spec, &options, err) < 0)
        return -1;
    if (options.status_kind != NULL && builds_status_api(&options, out, err) == 0)
        return 0;
    error_clear(err);
    return error_set(err, ERROR_CONFLICT,
                     "the configuration does not say yet where statuses go: set status_kind, and "
                     "url or status_url, first");
}

int api_build_secret_status_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(buffer_wipe) struct buffer text = BUFFER_NONE;
    struct json_value values[VALUE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(plain_members), values, err) < 0 ||
        token_check(values[VALUE].text, err) < 0 || api_read(request, &text, err) < 0)
        return -1;
    buffer_reserve(&text, values[VALUE].text.size + 1);
    buffer_append(&text, "\t", 1);
    buffer_append_slice(&text, values[VALUE].text);
    return put(request, reply, BUILD_SECRET_STATUS, buffer_slice(&text), err);
}

int api_build_secret_file_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[VALUE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(plain_members), values, err) < 0)
        return -1;
    return put(request, reply, BUILD_SECRET_FILE, values[VALUE].text, err);
}

int api_build_secret_source_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(buffer_wipe) struct buffer text = BUFFER_NONE;
    struct json_value values[VALUE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(source_members), values, err) < 0 ||
        credential_check(values, err) < 0)
        return -1;
    const struct slice parts[] = {request->reference, values[VALUE_URL].text,
                                  values[VALUE_KIND].text, values[VALUE].text};
    buffer_reserve(&text, parts[0].size + parts[1].size + parts[2].size + parts[3].size + 3);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buffer_append(&text, "\t", i == 0 ? 0 : 1);
        buffer_append_slice(&text, parts[i]);
    }
    return put(request, reply, BUILD_SECRET_SOURCE, buffer_slice(&text), err);
}

static int erase(const struct request *request, struct reply *reply, enum build_secret_kind kind,
                 struct error *err) ON(worker_thread)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(event_drop) struct event event = {0};

    if (name_check(request->reference, err) < 0 || api_build_config_at(request, &config, err) < 0)
        return -1;
    event_new(&event, request, "build_secret.delete", "repository", request->name);
    write_text(&event.detail, "kind", slice_of(kinds[kind - 1].name));
    write_text(&event.detail, "name", request->reference);
    if (build_secret_delete(request->services->storage, config.id, kind, request->reference,
                            event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

int api_build_secret_hook_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return erase(request, reply, BUILD_SECRET_HOOK, err);
}

int api_build_secret_source_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return erase(request, reply, BUILD_SECRET_SOURCE, err);
}

int api_build_secret_file_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return erase(request, reply, BUILD_SECRET_FILE, err);
}

int api_build_secret_callback_delete(struct request *request, struct reply *reply,
                                     struct error *err)
{
    assert_worker_thread();
    return erase(request, reply, BUILD_SECRET_CALLBACK, err);
}

int api_build_secret_status_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return erase(request, reply, BUILD_SECRET_STATUS, err);
}
