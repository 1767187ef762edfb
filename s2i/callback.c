/* callback.c - the words of a callback: how a build ended.
 * Touches  the repository's configuration and secrets, the result's config.
 * Never    sends them: outbox.c does; signs what the configuration does not ask for.
 *
 * Spec: s2i 11.1. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/outbox.h"

enum { SHA256_SIZE = 32 };

void callback_sign(struct slice secret, struct slice body, char out[CALLBACK_SIGNATURE_MAX])
{
    static const char prefix[] = "sha256=";
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    if (HMAC(EVP_sha256(), secret.at, (int)secret.size, (const unsigned char *)body.at, body.size,
             mac, &size) == NULL)
        abort();
    assert(size == SHA256_SIZE);
    memcpy(out, prefix, sizeof(prefix));
    hex_encode(mac, size, out + sizeof(prefix) - 1);
    out[sizeof(prefix) - 1 + (size_t)(2 * SHA256_SIZE)] = 0;
}

/* Labels of an image's config; none is NULL. The caller's. */
static json_t *labels_of(const char *config)
{
    json_t *object = json_loads(config, 0, NULL);
    json_t *labels = json_object_get(json_object_get(object, "config"), "Labels");

    labels = json_is_object(labels) && json_object_size(labels) > 0 ? json_incref(labels) : NULL;
    json_decref(object);
    return labels;
}

char *callback_body(const struct build_record *record, const char *image_config)
{
    json_t *body = json_pack("{s:b}", "success", record->state == BUILD_COMPLETE ? 1 : 0);
    json_t *labels = image_config == NULL ? NULL : labels_of(image_config);

    if (labels != NULL)
        json_object_set_new(body, "labels", labels);
    json_object_set_new(body, "build", json_integer(record->id));
    if (record->result_digest[0] != 0)
        json_object_set_new(body, "digest", json_string(record->result_digest));
    if (record->reason[0] != 0)
        json_object_set_new(body, "reason", json_string(record->reason));
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    return text;
}

/* The image of the build, when it has one that may still be seen. */
static void image_of(struct builds *builds, const struct build_record *record,
                     struct s2i_image *image) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    OWNED(memory_drop) char *reach = NULL;
    const struct actor who = build_asker(record, &reach);
    struct error ignored = {0}; /* then without labels */
    bool found = false;

    if (record->state != BUILD_COMPLETE)
        return;
    buffer_print(&name, "%s@%s", record->repository, record->result_digest);
    if (image_resolve(builds, &who, buffer_slice(&name), image, &found, &ignored) < 0)
        error_clear(&ignored);
}

static int sign(struct builds *builds, const struct build_record *record, struct letter *letter,
                struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) char *secret = NULL;
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char signature[CALLBACK_SIGNATURE_MAX];

    const struct secret_wanted wanted = {slice_of(record->repository), BUILD_SECRET_CALLBACK, NULL};

    if (secret_newest(builds, &wanted, &secret, err) < 0)
        return -1;
    if (secret == NULL)
        return 0;
    callback_sign(slice_of(secret), buffer_slice(&letter->body), signature);
    explicit_bzero(secret, strlen(secret));
    buffer_print(&header, "X-S2I-Signature-256: %s", signature);
    s2i_list_add(&letter->headers, buffer_slice(&header));
    return 0;
}

int callback_write(struct builds *builds, const struct build_record *record, const char *url,
                   const struct s2i_options *configured, struct letter *out, struct error *err)
{
    OWNED(s2i_image_drop) struct s2i_image image = {.name = NULL};

    image_of(builds, record, &image);
    OWNED(memory_drop) char *body = callback_body(record, image.config);
    buffer_append_text(&out->url, url);
    buffer_append_text(&out->body, body);
    if (configured->callback_url == NULL || strcmp(configured->callback_url, url) != 0)
        return 0;
    return sign(builds, record, out, err);
}
