/* callback.c - how a build ended is posted to the URL it was given.
 * Touches  the network by way of source_http; a thread of its own.
 * Never    changes how the build ended; waits for anybody but the receiver.
 *
 * Ends wait in memory: the end of the server ends them. Spec: s2i 11.1, 16.10. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/core/start.h"
#include "s2i/callback.h"
#include "s2i/queue.h"
#include "s2i/source/source.h"

enum {
    TRIES = 3,
    AGAIN_MS = 1000,
    TIMEOUT_MS = 10 * 1000,
    ANSWER_MAX = 64 * 1024,
    WAITING_MAX = 1000,
    SHA256_SIZE = 32,
};

struct callbacks {
    struct builds *builds;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    int stop;                 /* readable from then on: closing, for whoever waits for a receiver */
    int64_t ids[WAITING_MAX]; /* a ring */
    size_t first, count;
    bool closing;
};

/* --- what is said --- */

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

/* The image of the build, when it has one. */
static int image_of(struct builds *builds, const struct build_record *record,
                    struct s2i_image *image, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    bool found = false;

    if (record->state != BUILD_COMPLETE)
        return 0;
    buffer_print(&name, "%s@%s", record->repository, record->result_digest);
    const struct actor who = {.account = record->account};
    return image_resolve(builds, &who, buffer_slice(&name), image, &found, err);
}

/* With the newest secret of its repository's webhooks, "" when there is none. */
static void sign(struct builds *builds, const struct build_record *record, struct slice body,
                 char out[CALLBACK_SIGNATURE_MAX]) ON(worker_thread)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(build_secrets_drop) struct build_secrets secrets = {.items = NULL};
    const struct build_secret *newest = NULL;
    struct error err = {0};

    out[0] = 0;
    if (build_config_find(builds->storage, slice_of(record->repository), &config, &err) < 0 ||
        build_secret_list(builds->storage, config.id, BUILD_SECRET_HOOK, true, &secrets, &err) < 0)
        return;
    for (size_t i = 0; i < secrets.count; i++)
        if (newest == NULL || secrets.items[i].created_at > newest->created_at)
            newest = &secrets.items[i];
    if (newest != NULL)
        callback_sign(slice_of(newest->value), body, out);
}

/* --- saying it --- */

/* False when callbacks close. */
static bool pause_ms(struct callbacks *callbacks, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&callbacks->lock);
    while (!callbacks->closing && waited == 0)
        waited = pthread_cond_timedwait(&callbacks->wake, &callbacks->lock, &until);
    bool open = !callbacks->closing;
    pthread_mutex_unlock(&callbacks->lock);
    return open;
}

static int post(struct callbacks *callbacks, const struct source_request *request, int *status,
                struct error *err)
{
    const struct config *config = callbacks->builds->config;
    const struct s2i_list schemes = {config->builds_sources_schemes.items,
                                     config->builds_sources_schemes.count},
                          ports = {config->builds_sources_ports.items,
                                   config->builds_sources_ports.count},
                          hosts = {config->builds_sources_allow.items,
                                   config->builds_sources_allow.count};
    const struct source_rules rules = {&schemes, &ports, &hosts, ANSWER_MAX};

    for (int i = 1;; i++) {
        OWNED(buffer_drop) struct buffer answer = BUFFER_NONE;
        error_clear(err);
        if (source_http(request, &rules, &answer, status, err) == 0)
            return 0;
        if (i == TRIES || err->code == ERROR_INVALID || /* the URL itself is refused */
            !pause_ms(callbacks, AGAIN_MS * (unsigned)i))
            return -1;
    }
}

static void post_end(struct callbacks *callbacks, const struct build_record *record,
                     const char *url) ON(worker_thread)
{
    struct builds *builds = callbacks->builds;
    OWNED(s2i_image_drop) struct s2i_image image = {.name = NULL};
    char signature[CALLBACK_SIGNATURE_MAX];
    struct error err = {0};
    int status = 0;

    if (image_of(builds, record, &image, &err) < 0)
        error_clear(&err); /* then without labels */
    OWNED(memory_drop) char *body = callback_body(record, image.config);
    sign(builds, record, slice_of(body), signature);
    const struct source_request request = {
        .url = url,
        .body = slice_of(body),
        .content_type = SLICE("application/json"),
        .signature = signature[0] == 0 ? SLICE_NONE : slice_of(signature),
        .size_max = ANSWER_MAX,
        .timeout_ms = TIMEOUT_MS,
        .cancel = &callbacks->stop,
    };
    if (post(callbacks, &request, &status, &err) < 0)
        log_event(LOG_WARNING, "build.callback", F_I64("id", record->id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
    else if (status >= 300)
        log_event(LOG_WARNING, "build.callback", F_I64("id", record->id), F_I64("status", status));
}

static void call(struct callbacks *callbacks, int64_t id) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    struct error err = {0};
    bool held;

    if (build_find(callbacks->builds->storage, id, &record, &err) < 0 ||
        build_spec_read(record.spec, &options, &held, &err) < 0)
        return;
    if (options.callback_url != NULL && options.callback_url[0] != 0)
        post_end(callbacks, &record, options.callback_url);
}

/* --- the thread --- */

void callbacks_add(struct callbacks *callbacks, int64_t id)
{
    pthread_mutex_lock(&callbacks->lock);
    bool full = callbacks->count == WAITING_MAX;
    if (!full) {
        callbacks->ids[(callbacks->first + callbacks->count) % WAITING_MAX] = id;
        callbacks->count++;
        pthread_cond_signal(&callbacks->wake);
    }
    pthread_mutex_unlock(&callbacks->lock);
    if (full)
        log_event(LOG_WARNING, "build.callback", F_I64("id", id),
                  F_TEXT("reason", "too many callbacks wait"));
}

static void *work(void *arg)
{
    struct callbacks *callbacks = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-callback");
    pthread_mutex_lock(&callbacks->lock);
    while (!callbacks->closing) {
        if (callbacks->count == 0) {
            pthread_cond_wait(&callbacks->wake, &callbacks->lock);
            continue;
        }
        int64_t id = callbacks->ids[callbacks->first];
        callbacks->first = (callbacks->first + 1) % WAITING_MAX;
        callbacks->count--;
        pthread_mutex_unlock(&callbacks->lock);
        call(callbacks, id);
        pthread_mutex_lock(&callbacks->lock);
    }
    pthread_mutex_unlock(&callbacks->lock);
    return NULL;
}

static void callbacks_free(struct callbacks *callbacks)
{
    fd_drop(&callbacks->stop);
    pthread_cond_destroy(&callbacks->wake);
    pthread_mutex_destroy(&callbacks->lock);
    free(callbacks);
}

int callbacks_open(struct callbacks **out, struct builds *builds, struct error *err)
{
    struct callbacks *callbacks = memory_new(sizeof(*callbacks));

    callbacks->builds = builds;
    pthread_mutex_init(&callbacks->lock, NULL);
    clock_condition_init(&callbacks->wake);
    callbacks->stop = eventfd(0, EFD_CLOEXEC);
    if (callbacks->stop < 0) {
        callbacks_free(callbacks);
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "callbacks cannot be begun");
    }
    if (thread_start(&callbacks->thread, work, callbacks, err) < 0) {
        callbacks_free(callbacks);
        return -1;
    }
    *out = callbacks;
    return 0;
}

void callbacks_close(struct callbacks *callbacks)
{
    if (callbacks == NULL)
        return;
    pthread_mutex_lock(&callbacks->lock);
    callbacks->closing = true;
    pthread_cond_signal(&callbacks->wake);
    pthread_mutex_unlock(&callbacks->lock);
    if (eventfd_write(callbacks->stop, 1) < 0)
        abort(); /* it is at zero */
    pthread_join(callbacks->thread, NULL);
    callbacks_free(callbacks);
}
