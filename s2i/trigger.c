/* trigger.c - a builder that has a new digest starts builds, or rebases.
 * Touches  rows of builds and configurations, tags; images, by way of rebase.c.
 * Never    remembers anything: what images stand on is compared with what the builder is now, so a
 *          restart, or a tag that moves twice, changes nothing.
 *
 * (1) Of each configuration that wants it, the newest build of every ref is looked at; when it is
 *     complete and its image stands on another digest it is built again, commit and all. A build
 *     that failed on the new one says so in its row, and is not tried again.
 * (2) Or its image is put on the new builder with all tags that it has, without building; where
 *     that cannot be, it is built.
 * (3) From one to the next of a ref builds.trigger.rest passes at least, however often its builder
 *     moves.
 * (4) What would come back to itself, over configurations that want it too, starts nothing.
 * (5) It is built in the name of who set the configuration, but who asked for the build that is
 * begun again must still be allowed to pull what he named: else a build that did without an image
 *     would come again with it.
 * Spec: s2i 13.51, 2.10. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "s2i/queue.h"
#include "storage/content.h"
#include "storage/rebases.h"

enum {
    STARTS_MAX = 10, /* a look; the next one goes on */
    PAGE = 100,
    ROWS_MAX = 50,   /* newest builds of a repository that are looked at */
    CHAIN_MAX = 100, /* builders of builders; a longer one counts as one that comes back */
};

enum trigger { TRIGGER_NONE, TRIGGER_BUILD, TRIGGER_REBASE };

struct look {
    struct builds *builds;
    struct actor actor; /* who set the configuration that is looked at: in his name, within his
                           token's reach */
    unsigned started;
    int64_t rested; /* what is newer rests: (3) */
    bool (*stopped)(void *arg);
    void *arg;
};

static bool goes_on(const struct look *look)
{
    return look->started < STARTS_MAX && (look->stopped == NULL || !look->stopped(look->arg));
}

/* Most configurations do not: their text tells it without being read. */
static enum trigger wanted(const struct build_config *config)
{
    enum trigger trigger = TRIGGER_NONE;

    if (config->paused || strstr(config->spec, "image_trigger") == NULL)
        return TRIGGER_NONE;
    json_t *said = json_loads(config->spec, 0, NULL);
    const json_t *value = json_object_get(said, "image_trigger");
    const char *word = json_string_value(value);
    if (json_is_true(value) || (word != NULL && strcmp(word, "build") == 0))
        trigger = TRIGGER_BUILD;
    else if (word != NULL && strcmp(word, "rebase") == 0)
        trigger = TRIGGER_REBASE;
    json_decref(said);
    return trigger;
}

/* --- chains of builders: (4) --- */

/* The repository of the builder that the newest build into this one asked for; NULL: none. The
 * caller's. */
static char *builder_of(struct builds *builds, const char *repository) ON(worker_thread)
{
    const struct build_filter filter = {
        .repository = slice_of(repository), .state = -1, .limit = 1};
    OWNED(build_page_drop) struct build_page page = {.items = NULL};
    struct slice name, tag, digest;
    struct error err = {0};

    if (build_list(builds->storage, &filter, &page, &err) < 0 || page.count == 0 ||
        !s2i_reference_parse(slice_of(page.items[0].builder), &name, &tag, &digest))
        return NULL;
    return memory_text(name);
}

/* Whether what moves there is moved by what it moves. */
static bool is_driven(struct builds *builds, const char *repository) ON(worker_thread)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    struct error err = {0};

    return build_config_find(builds->storage, slice_of(repository), &config, &err) == 0 &&
           wanted(&config) != TRIGGER_NONE;
}

static bool is_known(const struct s2i_list *seen, const char *name)
{
    for (size_t i = 0; i < seen->count; i++)
        if (strcmp(seen->items[i], name) == 0)
            return true;
    return false;
}

/* A ring that the chain runs into is not this one's: it starts nothing by itself. */
static bool comes_back(struct builds *builds, const struct build_record *record) ON(worker_thread)
{
    OWNED(s2i_list_drop) struct s2i_list seen = {.items = NULL};
    struct slice name, tag, digest;

    if (!s2i_reference_parse(slice_of(record->builder), &name, &tag, &digest))
        return true;
    s2i_list_add(&seen, name);
    while (seen.count < CHAIN_MAX) {
        const char *at = seen.items[seen.count - 1];
        if (strcmp(at, record->repository) == 0)
            return true;
        OWNED(memory_drop) char *next = is_driven(builds, at) ? builder_of(builds, at) : NULL;
        if (next == NULL || is_known(&seen, next))
            return false;
        s2i_list_add(&seen, slice_of(next));
    }
    return true;
}

/* --- what an image stands on --- */

/* What the builder of the build is now; false: it is not here. */
static bool builder_now(const struct look *look, const struct build_record *record,
                        char digest[DIGEST_TEXT_MAX]) ON(worker_thread)
{
    OWNED(s2i_image_drop) struct s2i_image image = {.name = NULL};
    struct error err = {0};
    bool found = false;

    if (record->builder[0] == 0 || record->builder_digest[0] == 0 ||
        image_resolve(look->builds, &look->actor, slice_of(record->builder), &image, &found, &err) <
            0 ||
        !found)
        return false;
    digest_text(&image.digest, digest);
    return true;
}

/* The first tag of the build that is there, and its image. */
static bool tag_now(const struct look *look, const struct build_record *record,
                    struct rebase_candidate *out) ON(worker_thread)
{
    OWNED(s2i_list_drop) struct s2i_list tags = {.items = NULL};
    struct error err = {0};

    if (publish_tag_list(record, &tags, &err) < 0)
        return false;
    for (size_t i = 0; i < tags.count; i++) {
        err = (struct error){0};
        if (rebase_candidate_find(look->builds->storage, slice_of(record->repository),
                                  slice_of(tags.items[i]), out, &err) == 0)
            return true;
    }
    return false;
}

static bool moved_lately(const struct look *look, const struct rebase_candidate *tag)
    ON(worker_thread)
{
    OWNED(content_tag_drop) struct content_tag found = {.name = NULL};
    struct error err = {0};

    return content_tag_find(look->builds->storage, slice_of(tag->repository), slice_of(tag->tag),
                            &found, &err) < 0 ||
           found.updated_at > look->rested;
}

/* --- starting --- */

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

static void tell(const struct build_record *record, const struct build_rebased *rebased)
{
    log_event(LOG_INFO, "build.rebased", F_I64("id", rebased->id),
              F_TEXT("repository", record->repository), F_TEXT("builder", record->builder));
}

/* All tags of the image move onto its builder. True when it cannot be: then it is built. */
static bool rebase(struct look *look, const struct build_record *record,
                   const struct rebase_candidate *tag) ON(worker_thread)
{
    const struct audit_event event = {.actor = look->actor.name,
                                      .actor_id = look->actor.account,
                                      .action = SLICE("image.rebase"),
                                      .outcome = SLICE("done")};
    OWNED(build_rebased_drop) struct build_rebased rebased = {.items = NULL};
    char digest[DIGEST_TEXT_MAX];
    struct error err = {0};
    bool refused = false;

    digest_text(&tag->digest, digest);
    const struct build_rebase wish = {.repository = slice_of(record->repository),
                                      .base = slice_of(record->builder),
                                      .digest = slice_of(digest),
                                      .limit = BUILD_REBASE_MAX,
                                      .actor = &look->actor,
                                      .event = &event,
                                      .stopped = look->stopped,
                                      .arg = look->arg};
    look->started++;
    if (builds_rebase(look->builds, &wish, &rebased, &err) < 0) {
        log_event(LOG_WARNING, "build.unrebased", F_TEXT("repository", record->repository),
                  F_TEXT("reason", err.message));
        return false;
    }
    for (size_t i = 0; i < rebased.count; i++)
        refused = refused || rebased.items[i].outcome == REBASE_REFUSED;
    if (!refused)
        tell(record, &rebased);
    return refused;
}

/* --- who asked: (5) --- */

static bool may_name(const struct look *look, const struct actor *who, struct slice image)
    ON(worker_thread)
{
    struct slice name, tag, digest;

    if (image.size == 0)
        return true;
    return s2i_reference_parse(image, &name, &tag, &digest) &&
           look->builds->may_pull(look->builds->arg, who, name);
}

static bool may_copy(const struct look *look, const struct actor *who, const char *wish)
    ON(worker_thread)
{
    struct slice name, source, destination;

    return s2i_copy_parse(slice_of(wish), &name, &source, &destination) &&
           may_name(look, who, name);
}

static bool asker_may(const struct look *look, const struct build_record *record) ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    OWNED(memory_drop) char *reach = NULL;
    const struct actor who = build_asker(record, &reach);
    struct error err = {0};
    bool held;

    if (build_spec_read(record->spec, &options, &held, &err) < 0 ||
        !may_name(look, &who, slice_of(record->builder)) ||
        !may_name(look, &who, slice_of(options.builder)) ||
        !may_name(look, &who, slice_of(options.runtime_image)) ||
        !may_name(look, &who, slice_of(options.incremental_from)))
        return false;
    for (size_t i = 0; i < options.copy_from.count; i++)
        if (!may_copy(look, &who, options.copy_from.items[i]))
            return false;
    return true;
}

/* "app" is "app:latest"; who built it may have said which registry it is of. */
static bool stands_on_builder(const struct look *look, const struct rebase_candidate *tag,
                              const struct build_record *record)
{
    const struct s2i_hosts hosts = builds_hosts(look->builds);
    struct slice base = s2i_name_own(slice_of(tag->base_name), &hosts);
    struct slice rest = slice_from(base, strlen(record->builder));

    return slice_starts(base, record->builder) &&
           (rest.size == 0 || slice_equal(rest, SLICE(":latest")));
}

/* Whether the build is to be built again; a rebase is done here. */
static bool is_due(struct look *look, const struct build_record *record, enum trigger trigger)
    ON(worker_thread)
{
    OWNED(rebase_candidate_drop) struct rebase_candidate tag = {.tag = NULL};
    char digest[DIGEST_TEXT_MAX];

    if (record->state != BUILD_COMPLETE || record->created_at > look->rested ||
        !builder_now(look, record, digest))
        return false;
    bool here = tag_now(look, record, &tag);
    if ((here && strcmp(tag.base_digest, digest) == 0) || comes_back(look->builds, record) ||
        !asker_may(look, record))
        return false;
    if (trigger == TRIGGER_REBASE && here && stands_on_builder(look, &tag, record) &&
        (tag.immutable || moved_lately(look, &tag) || !rebase(look, record, &tag)))
        return false;
    return record->source != BUILD_FROM_ARCHIVE && strcmp(record->builder_digest, digest) != 0;
}

/* --- looking --- */

static bool ref_seen(const struct build_page *page, size_t before)
{
    for (size_t i = 0; i < before; i++)
        if (!build_verifies(&page->items[i]) &&
            strcmp(page->items[i].ref, page->items[before].ref) == 0)
            return true;
    return false;
}

static void look_at(struct look *look, const struct build_config *config, enum trigger trigger)
    ON(worker_thread)
{
    const struct build_filter filter = {
        .repository = slice_of(config->repository), .state = -1, .limit = ROWS_MAX};
    OWNED(build_page_drop) struct build_page page = {.items = NULL};
    struct error err = {0};

    look->actor = (struct actor){
        .account = config->account, .name = SLICE("image-trigger"), .reach = config->reach};
    if (build_list(look->builds->storage, &filter, &page, &err) < 0)
        return;
    for (size_t i = 0; i < page.count && goes_on(look); i++)
        if (!build_verifies(&page.items[i]) && !ref_seen(&page, i) &&
            is_due(look, &page.items[i], trigger))
            start(look, &page.items[i]);
}

void trigger_images(struct builds *builds, bool (*stopped)(void *arg), void *arg)
{
    struct look look = {.builds = builds,
                        .rested =
                            clock_now_us() - (int64_t)builds->config->builds_trigger_rest * 1000,
                        .stopped = stopped,
                        .arg = arg};
    OWNED(memory_drop) char *last = memory_text(SLICE(""));
    bool more = true;

    while (more && goes_on(&look)) {
        OWNED(build_config_page_drop) struct build_config_page page = {.items = NULL};
        struct error err = {0};
        if (build_config_list(builds->storage, slice_of(last), NULL, PAGE, &page, &err) < 0)
            return;
        for (size_t i = 0; i < page.count; i++)
            if (wanted(&page.items[i]) != TRIGGER_NONE)
                look_at(&look, &page.items[i], wanted(&page.items[i]));
        more = page.more && page.count > 0;
        if (more) {
            free(last);
            last = memory_text(slice_of(page.items[page.count - 1].repository));
        }
    }
}
