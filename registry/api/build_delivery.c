/* build_delivery.c - deliveries of webhooks: what each comes to, and the list of the last ones.
 * Touches  storage: deliveries; the queue, by way of s2i/s2i.h.
 * Never    believes a delivery: build_hook.c did, or the caller manages the repository.
 *
 * (1) A delivery is noted in the transaction that makes its build; seen again, or twice at once, it
 *     starts no other. One that started none may: senders deliver again what failed.
 * (2) The URL is the configuration's, the commit the event's. Spec: s2i 14.3, 14.8 to 14.11 */
#include <inttypes.h>
#include <string.h>

#include "registry/api/build.h"

enum { DELIVERIES_SHOWN = 100, VERDICT_MAX = 400 };

/* --- what it comes to --- */

void api_hook_answer(struct reply *reply, int status, struct slice message, int64_t build)
{
    struct buffer body = BUFFER_NONE;

    write_open(&body, NULL, '{');
    write_text(&body, "message", message);
    if (build != 0)
        write_i64(&body, "build", build);
    else
        write_null(&body, "build");
    write_close(&body, '}');
    answer_json(reply, &body);
    reply->status = status;
}

/* What keeps this push from being built; NULL, with the change to build: nothing. */
static const char *obstacle(const struct build_config *config, const struct s2i_options *options,
                            const struct hook_push *push, const struct hook_change **change,
                            char out[VERDICT_MAX])
{
    struct slice wanted = slice_of(options->ref != NULL ? options->ref : options->default_branch);

    if (config->paused)
        return "skipping build. The configuration is paused";
    if (options->url == NULL)
        return "skipping build. The configuration names no url";
    *change = hook_choose(push, wanted);
    if (*change == NULL) {
        snprintf(out, VERDICT_MAX,
                 "skipping build. Branch reference from \"%.*s\" does not match configuration",
                 HOOK_REF_MAX, push->count == 0 ? "" : push->changes[0].ref);
        return out;
    }
    return (*change)->deleted ? "skipping build. The branch was deleted" : NULL;
}

/* Variables of the delivery over those of the configuration, where it allows that (14.7). */
static int env_merge(struct s2i_options *options, const json_t *env, struct error *err)
{
    OWNED(json_drop) json_t *object = NULL;

    if (env == NULL || !options->allow_webhook_env)
        return 0;
    object = json_object();
    json_object_set(object, "env", (json_t *)(uintptr_t)env);
    return s2i_options_read(options, object, S2I_FROM_REQUEST, err);
}

/* CONFLICT  another of the same id, that came at the same time, started *id. */
static int submit(const struct request *request, const struct build_config *config,
                  const struct build_delivery_new *delivery, const struct s2i_options *options,
                  const struct hook_change *change, int64_t *id, struct error *err)
    ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    OWNED(build_tags_drop) struct build_tags tags = {.slices = NULL};
    struct actor actor = {.account = config->account, .reach = config->reach};
    struct slice ref = slice_of(change->ref != NULL ? change->ref : options->ref);

    buffer_append_text(&name, "webhook/");
    buffer_append_slice(&name, delivery->sender);
    actor.name = buffer_slice(&name);
    event_new(&event, request, "build.start", "repository", slice_of(config->repository));
    event.audit.actor = actor.name;
    write_text(&event.detail, "delivery", delivery->id);
    api_build_tags(options, ref.at, ref, slice_of(change->commit), &tags);
    const struct build_request wanted = {
        .repository = slice_of(config->repository),
        .source = BUILD_FROM_URL,
        .trigger = SLICE("webhook"),
        .actor = &actor,
        .actor_name = actor.name,
        .options = options,
        .url = slice_of(options->url),
        .ref = ref,
        .commit = slice_of(change->commit),
        .tags = tags.slices,
        .tag_count = tags.texts.count,
        .archive = -1,
        .delivery = delivery,
        .event = event_done(&event),
    };
    return builds_submit(request->services->builds, &wanted, id, err);
}

/* *build is 0 when there is nothing to build: verdict says why. */
static int judge(const struct request *request, const struct build_config *config,
                 const struct hook_push *push, struct build_delivery_new *delivery,
                 char verdict[VERDICT_MAX], int64_t *build, struct error *err) ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {0};
    const struct hook_change *change = NULL;
    char text[VERDICT_MAX];

    if (builds_options_of(request->services->builds, slice_of(config->repository), &options, err) <
        0)
        return -1;
    const char *why = obstacle(config, &options, push, &change, text);
    if (why != NULL) {
        snprintf(verdict, VERDICT_MAX, "%s", why);
        return 0;
    }
    if (push->env != NULL && !options.allow_webhook_env)
        delivery->note = SLICE("; env is not allowed here and was left out");
    if (env_merge(&options, push->env, err) < 0 ||
        submit(request, config, delivery, &options, change, build, err) < 0)
        return -1;
    snprintf(verdict, VERDICT_MAX, "build %" PRId64 " was started%.*s", *build,
             SLICE_ARG(delivery->note));
    return 0;
}

static int answer_seen(struct reply *reply, int64_t build)
{
    api_hook_answer(reply, 200, SLICE("this delivery was seen before"), build);
    return 0;
}

/* (1) */
static int deliver(const struct request *request, const struct build_config *config,
                   const struct hook_push *push, struct build_delivery_new *delivery,
                   struct reply *reply, struct error *err) ON(worker_thread)
{
    struct storage *store = request->services->storage;
    char verdict[VERDICT_MAX] = "";
    struct error ignored = {0};
    int64_t build = 0;

    if (build_delivery_find(store, delivery, &build, err) < 0)
        return -1;
    if (build != 0)
        return answer_seen(reply, build);
    int outcome = judge(request, config, push, delivery, verdict, &build, err);
    if (outcome < 0 && err->code == ERROR_CONFLICT && build != 0) {
        error_clear(err);
        return answer_seen(reply, build);
    }
    if (outcome < 0) {
        if (build_delivery_put(store, delivery, slice_of(err->message), &ignored) < 0)
            error_clear(&ignored); /* what failed first is answered */
        return -1;
    }
    if (build == 0 && build_delivery_put(store, delivery, slice_of(verdict), err) < 0)
        return -1;
    api_hook_answer(reply, build != 0 ? 202 : 200, slice_of(verdict), build);
    return 0;
}

int api_hook_deliver(const struct request *request, const struct build_config *config,
                     const struct hook_delivery *delivery, struct reply *reply, struct error *err)
{
    struct build_delivery_new seen = {.config = config->id,
                                      .sender = delivery->sender,
                                      .id = delivery->id,
                                      .event = delivery->event,
                                      .content = delivery->content};

    return deliver(request, config, delivery->push, &seen, reply, err);
}

/* --- for people --- */

int api_build_deliveries_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(build_deliveries_drop) struct build_deliveries deliveries = {.items = NULL};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (api_build_config_at(request, &config, err) < 0 ||
        build_delivery_list(request->services->storage, config.id, DELIVERIES_SHOWN, &deliveries,
                            err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < deliveries.count; i++) {
        const struct build_delivery *item = &deliveries.items[i];
        write_open(&body, NULL, '{');
        write_text(&body, "sender", slice_of(item->sender));
        write_text(&body, "delivery", slice_of(item->delivery));
        write_text(&body, "event", slice_of(item->event));
        write_text(&body, "verdict", slice_of(item->verdict));
        if (item->build != 0)
            write_i64(&body, "build", item->build);
        else
            write_null(&body, "build");
        write_time(&body, "created_at", item->created_at);
        write_close(&body, '}');
    }
    list_answer(request, reply, &body, SLICE_NONE, -1);
    return 0;
}

/* As a generic delivery with nothing in it: of the configured ref, as it is now. */
int api_build_deliveries_test(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(hook_push_drop) struct hook_push push = {.count = 0};

    assert_worker_thread();
    if (api_builds_needed(request, err) < 0 || api_build_config_at(request, &config, err) < 0 ||
        hook_parse(HOOK_GENERIC, SLICE_NONE, &push, err) < 0)
        return -1;
    const struct hook_delivery delivery = {.sender = SLICE("test"),
                                           .id = slice_of(request->id),
                                           .event = SLICE("test"),
                                           .push = &push};
    return api_hook_deliver(request, &config, &delivery, reply, err);
}
