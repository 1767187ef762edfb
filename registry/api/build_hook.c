/* build_hook.c - webhooks: a delivery comes, its signature is checked, its push is built.
 * Touches  storage: secrets of webhooks.
 * Never    reads a payload whose signature does not hold; compares a secret in another time than
 *          any other; keeps a secret.
 *
 * POST /api/v1/hooks/<hook>/github and so on: the id is opaque, the secret is in no URL. A hook
 * without a secret takes nothing. Spec: s2i 14.1 to 14.7, 14.10 */
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "registry/api/build.h"
#include "registry/core/log.h"

enum { BODY_MAX = 25 << 20, CODE_SIZE = 32, DELIVERY_MAX = 200, EVENT_MAX = 100 };
/* Bytes of all bodies that are not whole yet: nobody has shown a secret before they are. */
enum { BODIES_MAX = 128 << 20, RETRY_AFTER_S = 10 };

struct hook {
    enum hook_sender sender;
    struct build_config config;
    struct buffer body;
    atomic_uint *bodies; /* services->hook_bytes */
    unsigned held;       /* of it */
};

static void hook_drop(struct hook **owned)
{
    struct hook *hook = *owned;

    if (hook == NULL)
        return;
    if (hook->bodies != NULL)
        atomic_fetch_sub(hook->bodies, hook->held);
    build_config_drop(&hook->config);
    buffer_drop(&hook->body);
    free(hook);
}

/* --- the head --- */

/* The route's last word. */
static enum hook_sender sender_of(const struct request *request)
{
    struct slice pattern = slice_of(request->route->pattern);
    enum hook_sender sender = HOOK_GITHUB;

    while (sender < HOOK_GENERIC && !slice_ends(pattern, hook_sender_name(sender)))
        sender++;
    return sender;
}

/* The first of these headers that there is. */
static struct slice header_of(const struct request *request, const char *const *names)
{
    struct slice value = SLICE_NONE;

    for (; value.at == NULL && *names != NULL; names++)
        value = request_header(request, *names);
    return value;
}

static bool is_type(const struct request *request, const char *const *types)
{
    struct slice type, rest;

    slice_split(request_header(request, "content-type"), ';', &type, &rest);
    while (*types != NULL && !slice_equal_ignore_case(slice_trim(type), *types))
        types++;
    return *types != NULL;
}

static bool is_form(const struct request *request)
{
    static const char *const types[] = {"application/x-www-form-urlencoded", NULL};

    return is_type(request, types);
}

/* Spec: s2i 14.7 */
static bool is_yaml(const struct request *request)
{
    static const char *const types[] = {"application/yaml", "application/x-yaml", "text/yaml",
                                        NULL};

    return is_type(request, types);
}

static int type_check(const struct request *request, enum hook_sender sender, struct error *err)
{
    static const char *const json[] = {"application/json", NULL};
    bool empty = request->content_length == 0 && !request->chunked;
    bool forms = sender == HOOK_GITHUB || sender == HOOK_GITEA, any = sender == HOOK_GENERIC;

    if (is_type(request, json) || (forms && is_form(request)) ||
        (any && (empty || is_yaml(request))))
        return 0;
    return error_set(err, ERROR_BAD_REQUEST, "a delivery of %s is application/json%s",
                     hook_sender_name(sender),
                     forms ? " or a form"
                     : any ? " or application/yaml"
                           : "");
}

/* Whoever stands between could read another of the two than we do. */
static int headers_check(const struct request *request, struct error *err)
{
    static const char *const once[] = {
        "content-type",        "authorization",       "idempotency-key",  "x-hub-signature",
        "x-hub-signature-256", "x-s2i-signature-256", "x-gitlab-token",   "x-gitea-signature",
        "x-forgejo-signature", "x-gogs-signature",    "x-github-event",   "x-gitlab-event",
        "x-gitea-event",       "x-forgejo-event",     "x-gogs-event",     "x-event-key",
        "x-github-delivery",   "x-gitlab-event-uuid", "x-gitea-delivery", "x-forgejo-delivery",
        "x-gogs-delivery",     "x-request-uuid",
    };

    for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++) {
        unsigned count = 0;
        for (size_t k = 0; k < request->header_count; k++)
            count += slice_equal_text(request->headers[k].name, once[i]) ? 1 : 0;
        if (count > 1)
            return error_set(err, ERROR_BAD_REQUEST, "the header %s is there twice", once[i]);
    }
    return 0;
}

static int too_large(struct error *err)
{
    error_set(err, ERROR_SIZE_INVALID, "the payload is larger than %d bytes", BODY_MAX);
    return error_set_status(err, 413);
}

static int hook_open(struct request *request, struct reply *reply, void **stream, struct error *err)
{
    OWNED(hook_drop) struct hook *hook = memory_new(sizeof(*hook));

    (void)reply;
    assert_worker_thread();
    hook->sender = sender_of(request);
    hook->bodies = request->services->hook_bytes;
    if (build_config_by_hook(request->services->storage, request->reference, &hook->config, err) <
        0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return answer_missing(err);
    }
    if (headers_check(request, err) < 0 || type_check(request, hook->sender, err) < 0)
        return -1;
    if (request->content_length > BODY_MAX)
        return too_large(err);
    *stream = TAKE(hook);
    return 1;
}

/* What it holds is given back at once, not at the request's end: others that come meanwhile would
 * be refused as well. */
static int too_many(struct hook *hook, struct error *err)
{
    atomic_fetch_sub(hook->bodies, hook->held);
    hook->held = 0;
    buffer_drop(&hook->body);
    err->retry_after_s = RETRY_AFTER_S;
    return error_set(err, ERROR_UNAVAILABLE, "too many deliveries come at a time: try again");
}

static int hook_write(void *stream, struct slice bytes, struct error *err)
{
    struct hook *hook = stream;

    assert_worker_thread();
    if (hook->body.size + bytes.size > BODY_MAX)
        return too_large(err);
    hook->held += (unsigned)bytes.size;
    if (atomic_fetch_add(hook->bodies, (unsigned)bytes.size) + bytes.size > BODIES_MAX)
        return too_many(hook, err);
    buffer_append_slice(&hook->body, bytes);
    return 0;
}

/* --- who sent it --- */

/* What a sender shows: an HMAC of the body, or the secret itself. */
struct shown {
    struct slice code;   /* 64 hexadecimal digits; SLICE_NONE */
    struct slice secret; /* SLICE_NONE */
};

/* "sha256=<hex>" */
static struct slice prefixed(struct slice header)
{
    return slice_starts(header, "sha256=") ? slice_from(header, 7) : SLICE_NONE;
}

static struct shown shown_by(const struct request *request, enum hook_sender sender)
{
    static const char *const gitea[] = {"x-gitea-signature", "x-forgejo-signature",
                                        "x-gogs-signature", NULL};
    struct shown shown = {SLICE_NONE, SLICE_NONE};
    struct slice scheme, credentials;

    switch (sender) {
    case HOOK_GITHUB:
        shown.code = prefixed(request_header(request, "x-hub-signature-256"));
        break;
    case HOOK_GITLAB:
        shown.secret = request_header(request, "x-gitlab-token");
        break;
    case HOOK_GITEA:
        shown.code = header_of(request, gitea);
        break;
    case HOOK_BITBUCKET:
        shown.code = prefixed(request_header(request, "x-hub-signature"));
        break;
    case HOOK_GENERIC:
    case HOOK_SENDERS:
        shown.code = prefixed(request_header(request, "x-s2i-signature-256"));
        slice_split(request->authorization, ' ', &scheme, &credentials);
        if (slice_equal_ignore_case(scheme, "bearer"))
            shown.secret = slice_trim(credentials);
        break;
    }
    return shown;
}

/* By a key of this comparison alone: neither length nor content of a secret shows in its time. */
static bool same_secret(struct slice a, struct slice b)
{
    uint8_t key[CODE_SIZE], of_a[CODE_SIZE], of_b[CODE_SIZE];
    unsigned size;

    random_bytes(key, sizeof(key));
    return HMAC(EVP_sha256(), key, sizeof(key), (const uint8_t *)a.at, a.size, of_a, &size) !=
               NULL &&
           HMAC(EVP_sha256(), key, sizeof(key), (const uint8_t *)b.at, b.size, of_b, &size) !=
               NULL &&
           CRYPTO_memcmp(of_a, of_b, CODE_SIZE) == 0;
}

static bool signed_by(const struct shown *shown, struct slice body, struct slice secret)
{
    uint8_t code[CODE_SIZE], given[CODE_SIZE];
    unsigned size;

    if (shown->secret.size > 0 && same_secret(shown->secret, secret))
        return true;
    return hex_decode(shown->code, given, CODE_SIZE) &&
           HMAC(EVP_sha256(), secret.at, (int)secret.size, (const uint8_t *)body.at, body.size,
                code, &size) != NULL &&
           CRYPTO_memcmp(code, given, CODE_SIZE) == 0;
}

/* Any of the hook's secrets counts, so that they can be changed one after the other. */
static int sender_check(const struct request *request, const struct hook *hook, struct error *err)
    ON(worker_thread)
{
    OWNED(build_secrets_drop) struct build_secrets secrets = {.items = NULL};
    const struct shown shown = shown_by(request, hook->sender);
    bool known = false;

    if (build_secret_list(request->services->storage, hook->config.id, BUILD_SECRET_HOOK, true,
                          &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++)
        known |= signed_by(&shown, buffer_slice(&hook->body), slice_of(secrets.items[i].value));
    if (known)
        return 0;
    log_event(LOG_WARNING, "hook.refused", F_TEXT("repository", hook->config.repository),
              F_TEXT("sender", hook_sender_name(hook->sender)), F_TEXT("remote", request->remote),
              F_U64("secrets", secrets.count));
    return error_set(err, ERROR_DENIED, "the delivery is not signed with a secret of this webhook");
}

/* --- what it says --- */

static struct slice event_of(const struct request *request, enum hook_sender sender)
{
    static const char *const names[HOOK_SENDERS][4] = {
        [HOOK_GITHUB] = {"x-github-event"},
        [HOOK_GITLAB] = {"x-gitlab-event"},
        [HOOK_GITEA] = {"x-gitea-event", "x-forgejo-event", "x-gogs-event"},
        [HOOK_BITBUCKET] = {"x-event-key"},
        [HOOK_GENERIC] = {NULL},
    };
    struct slice event = header_of(request, names[sender]);

    return event.at == NULL || event.size > EVENT_MAX ? SLICE("") : event;
}

/* A sender that names none has one of its own for each: nothing is a replay then. */
static int delivery_of(const struct request *request, enum hook_sender sender, struct slice *out,
                       struct error *err)
{
    static const char *const names[HOOK_SENDERS][4] = {
        [HOOK_GITHUB] = {"x-github-delivery"},
        [HOOK_GITLAB] = {"idempotency-key", "x-gitlab-event-uuid"},
        [HOOK_GITEA] = {"x-gitea-delivery", "x-forgejo-delivery", "x-gogs-delivery"},
        [HOOK_BITBUCKET] = {"x-request-uuid", "x-request-id"},
        [HOOK_GENERIC] = {"idempotency-key"},
    };

    *out = header_of(request, names[sender]);
    if (out->size == 0)
        *out = slice_of(request->id);
    if (out->size > DELIVERY_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "the id of the delivery is too long");
    return 0;
}

/* A signature covers the body, but not the headers, where the id stands. Bodies of these senders
 * have the time of the push in them: the same body under another id is a replay. */
static void content_of(const struct hook *hook, char out[2 * CODE_SIZE], struct slice *content)
{
    uint8_t code[CODE_SIZE];
    unsigned size;

    *content = SLICE_NONE;
    if ((hook->sender != HOOK_GITHUB && hook->sender != HOOK_GITEA) ||
        EVP_Digest(hook->body.at, hook->body.size, code, &size, EVP_sha256(), NULL) != 1)
        return;
    hex_encode(code, CODE_SIZE, out);
    *content = (struct slice){out, (size_t)(2 * CODE_SIZE)};
}

/* The payload of a form lies in its field. */
static int payload_parse(const struct request *request, const struct hook *hook,
                         struct hook_push *out, struct error *err)
{
    OWNED(form_drop) struct form form = {.count = 0};
    struct request with = *request;
    struct slice payload = SLICE_NONE;

    if (is_yaml(request))
        return hook_parse_yaml(buffer_slice(&hook->body), out, err);
    if (!is_form(request))
        return hook_parse(hook->sender, buffer_slice(&hook->body), out, err);
    with.body = buffer_slice(&hook->body);
    if (form_parse(&with, &form, err) < 0)
        return -1;
    for (size_t i = 0; i < form.count; i++)
        if (slice_equal_text(form.fields[i].name, "payload"))
            payload = form.fields[i].value;
    if (payload.at == NULL)
        return error_set(err, ERROR_BAD_REQUEST, "the form has no payload");
    return hook_parse(hook->sender, payload, out, err);
}

static int receive(const struct request *request, const struct hook *hook, struct reply *reply,
                   struct error *err) ON(worker_thread)
{
    OWNED(hook_push_drop) struct hook_push push = {.count = 0};
    struct hook_delivery delivery = {.sender = slice_of(hook_sender_name(hook->sender)),
                                     .event = event_of(request, hook->sender),
                                     .push = &push};
    enum hook_kind kind = hook_event(hook->sender, delivery.event);
    char content[2 * CODE_SIZE];

    if (sender_check(request, hook, err) < 0 ||
        delivery_of(request, hook->sender, &delivery.id, err) < 0 ||
        api_builds_needed(request, err) < 0)
        return -1;
    if (kind == HOOK_PING) {
        api_hook_answer(reply, 200, SLICE("this webhook works"), 0);
        return 0;
    }
    if (kind == HOOK_OTHER) {
        api_hook_answer(reply, 202, SLICE("ignored: only pushes are built"), 0);
        return 0;
    }
    if (payload_parse(request, hook, &push, err) < 0)
        return -1;
    content_of(hook, content, &delivery.content);
    return api_hook_deliver(request, &hook->config, &delivery, reply, err);
}

static int hook_finish(void *stream, enum body_outcome outcome, struct request *request,
                       struct reply *reply, struct error *err)
{
    OWNED(hook_drop) struct hook *hook = stream;

    assert_worker_thread();
    if (outcome == BODY_BROKEN)
        return error_set(err, ERROR_BAD_REQUEST, "the body broke off");
    return outcome == BODY_REFUSED ? -1 : receive(request, hook, reply, err);
}

const struct body_stream api_hook_post = {hook_open, hook_write, hook_finish};
