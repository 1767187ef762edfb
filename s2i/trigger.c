/* trigger.c - a builder that has a new digest starts builds.
 * Touches  rows of builds and configurations, tags (reads).
 * Never    remembers anything: what was built last is compared with what the builder is now, so a
 *          restart, or a tag that moves twice, changes nothing.
 *
 * Of each configuration that wants it, the newest build of every ref is looked at; it is built
 * again, commit and all, when it is complete and stands on another digest. A build that failed on
 * the new one says so in its row, and is not tried again. Spec: s2i 13.51. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "s2i/queue.h"

enum {
    STARTS_MAX = 10, /* a look; the next one goes on */
    PAGE = 100,
    ROWS_MAX = 50, /* newest builds of a repository that are looked at */
};
#define REST_US (INT64_C(300) * US_PER_S) /* from one build of a ref to the next */

struct look {
    struct builds *builds;
    struct actor actor; /* who set the configuration that is looked at: in his name, within his
                           token's reach */
    unsigned started;
};

/* Whether the builder of this build is another image by now. */
static bool builder_moved(const struct look *look, const struct build_record *record)
    ON(worker_thread)
{
    OWNED(s2i_image_drop) struct s2i_image image = {.name = NULL};
    char digest[DIGEST_TEXT_MAX];
    struct error err = {0};
    bool found = false;

    if (record->builder[0] == 0 || record->builder_digest[0] == 0 ||
        image_resolve(look->builds, &look->actor, slice_of(record->builder), &image, &found, &err) <
            0 ||
        !found)
        return false;
    return strcmp(digest_text(&image.digest, digest), record->builder_digest) != 0;
}

static bool is_due(const struct look *look, const struct build_record *record) ON(worker_thread)
{
    return record->state == BUILD_COMPLETE && record->source != BUILD_FROM_ARCHIVE &&
           record->created_at < clock_now_us() - REST_US && builder_moved(look, record);
}

static void start(struct look *look, const struct build_record *record) ON(worker_thread)
{
    const struct audit_event event = {.actor = look->actor.name,
                                      .actor_id = look->actor.account,
                                      .action = SLICE("build.trigger"),
                                      .outcome = SLICE("done")};
    struct error err = {0};
    int64_t id = 0;

    look->started++;
    if (builds_again(look->builds, record, SLICE("image"), &look->actor, look->actor.name, &event,
                     &id, &err) < 0)
        log_event(LOG_WARNING, "build.untriggered", F_TEXT("repository", record->repository),
                  F_TEXT("reason", err.message));
    else
        log_event(LOG_INFO, "build.triggered", F_I64("id", id),
                  F_TEXT("repository", record->repository), F_TEXT("builder", record->builder));
}

static bool ref_seen(const struct build_page *page, size_t before)
{
    for (size_t i = 0; i < before; i++)
        if (!build_verifies(&page->items[i]) &&
            strcmp(page->items[i].ref, page->items[before].ref) == 0)
            return true;
    return false;
}

static void look_at(struct look *look, const struct build_config *config) ON(worker_thread)
{
    const struct build_filter filter = {
        .repository = slice_of(config->repository), .state = -1, .limit = ROWS_MAX};
    OWNED(build_page_drop) struct build_page page = {.items = NULL};
    struct error err = {0};

    look->actor = (struct actor){
        .account = config->account, .name = SLICE("image-trigger"), .reach = config->reach};
    if (build_list(look->builds->storage, &filter, &page, &err) < 0)
        return;
    for (size_t i = 0; i < page.count && look->started < STARTS_MAX; i++)
        if (!build_verifies(&page.items[i]) && !ref_seen(&page, i) && is_due(look, &page.items[i]))
            start(look, &page.items[i]);
}

/* Most configurations do not: their text tells it without being read. */
static bool wants(const struct build_config *config)
{
    json_t *said;

    if (config->paused || strstr(config->spec, "image_trigger") == NULL)
        return false;
    said = json_loads(config->spec, 0, NULL);
    bool yes = json_is_true(json_object_get(said, "image_trigger"));
    json_decref(said);
    return yes;
}

void trigger_images(struct builds *builds)
{
    struct look look = {.builds = builds};
    OWNED(memory_drop) char *last = memory_text(SLICE(""));
    bool more = true;

    while (more && look.started < STARTS_MAX) {
        OWNED(build_config_page_drop) struct build_config_page page = {.items = NULL};
        struct error err = {0};
        if (build_config_list(builds->storage, slice_of(last), NULL, PAGE, &page, &err) < 0)
            return;
        for (size_t i = 0; i < page.count; i++)
            if (wants(&page.items[i]))
                look_at(&look, &page.items[i]);
        more = page.more && page.count > 0;
        if (more) {
            free(last);
            last = memory_text(slice_of(page.items[page.count - 1].repository));
        }
    }
}
