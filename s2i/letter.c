/* letter.c - what is said of a build to whom: of which build, with whose secret.
 * Touches  rows of builds and configurations, the secrets of a repository.
 * Never    sends anything; shows a secret to a place that it was not given for.
 *
 * Spec: s2i 11.1, 13.48, 16.12. */
#include <stdlib.h>
#include <string.h>

#include "s2i/outbox.h"

enum { NEWER_MAX = 20 }; /* builds of the same commit that are looked at */

void letter_drop(struct letter *letter)
{
    buffer_drop(&letter->url);
    buffer_drop(&letter->body);
    s2i_list_wipe(&letter->headers);
}

struct slice letter_destination(const char *url)
{
    const char *mark = strstr(url, "://");
    size_t start = mark == NULL ? 0 : (size_t)(mark + 3 - url);

    return (struct slice){url, start + strcspn(url + start, "/?#")};
}

/* What is to be shown at a place; NULL: this is for another. */
static const char *value_for(const struct build_secret *secret, const char *place)
{
    size_t size = place == NULL ? 0 : strlen(place);

    if (place == NULL)
        return secret->value;
    return strncmp(secret->value, place, size) == 0 && secret->value[size] == '\t'
               ? secret->value + size + 1
               : NULL;
}

int secret_newest(struct builds *builds, const struct secret_wanted *wanted, char **out,
                  struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(build_secrets_drop) struct build_secrets secrets = {.items = NULL};
    const char *newest = NULL;
    int64_t created_at = 0;

    *out = NULL;
    if (build_config_find(builds->storage, wanted->repository, &config, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    if (build_secret_list(builds->storage, config.id, wanted->kind, true, &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++) {
        const char *value = value_for(&secrets.items[i], wanted->place);
        if (value == NULL || (newest != NULL && secrets.items[i].created_at <= created_at))
            continue;
        newest = value;
        created_at = secrets.items[i].created_at;
    }
    if (newest != NULL)
        *out = memory_text(slice_of(newest));
    return 0;
}

/* --- what one says --- */

/* What is told of. */
struct subject {
    const struct build_message *message;
    struct build_record record;
    struct s2i_options configured; /* of its repository, now */
};

static void subject_drop(struct subject *subject)
{
    build_record_drop(&subject->record);
    s2i_options_drop(&subject->configured);
}

static int callback_of(struct builds *builds, const struct subject *subject, struct letter *out,
                       bool *any, struct error *err) ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    bool held;

    if (build_spec_read(subject->record.spec, &options, &held, err) < 0)
        return -1;
    *any = options.callback_url != NULL && options.callback_url[0] != 0;
    return *any ? callback_write(builds, &subject->record, options.callback_url,
                                 &subject->configured, out, err)
                : 0;
}

/* A later build of the same commit says how it stands by now. */
static int is_newest(struct builds *builds, const struct build_record *record, bool *out,
                     struct error *err) ON(worker_thread)
{
    const struct build_filter filter = {.repository = slice_of(record->repository),
                                        .commit = slice_of(record->commit),
                                        .state = -1,
                                        .limit = NEWER_MAX};
    OWNED(build_page_drop) struct build_page page = {.items = NULL};

    *out = true;
    if (build_list(builds->storage, &filter, &page, err) < 0)
        return -1;
    for (size_t i = 0; i < page.count; i++)
        if (page.items[i].id > record->id && page.items[i].source == BUILD_FROM_URL &&
            !build_verifies(&page.items[i]))
            *out = false;
    return 0;
}

/* Statuses are told of the source alone that the configuration names: whoever asks for a build may
 * name another. */
static bool of_configured(const struct build_record *record, const struct s2i_options *configured)
{
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE;

    if (configured->status_kind == NULL || configured->url == NULL)
        return false;
    s2i_url_clean(slice_of(configured->url), &url);
    return slice_equal_text(buffer_slice(&url), record->url);
}

/* The one that was given for the API that the configuration names now: whoever may change where
 * statuses go may not have a token sent to a place of his. Spec: s2i 16.12. */
static int status_token(struct builds *builds, const struct build_record *record,
                        const struct s2i_options *configured, char **out, struct error *err)
    ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer api = BUFFER_NONE;

    if (builds_status_api(configured, &api, err) < 0)
        return -1;
    buffer_append(&api, "", 1);
    const struct secret_wanted wanted = {slice_of(record->repository), BUILD_SECRET_STATUS, api.at};
    return secret_newest(builds, &wanted, out, err);
}

static int status_of(struct builds *builds, const struct subject *subject, struct letter *out,
                     bool *any, struct error *err) ON(worker_thread)
{
    const struct build_record *record = &subject->record;
    const struct s2i_options *configured = &subject->configured;
    OWNED(memory_drop) char *token = NULL;

    *any = record->commit[0] != 0 && of_configured(record, configured);
    if (!*any || is_newest(builds, record, any, err) < 0 || !*any)
        return err->code == ERROR_NONE ? 0 : -1;
    if (status_token(builds, record, configured, &token, err) < 0)
        return -1;
    const struct status_about about = {.configured = configured,
                                       .record = record,
                                       .repository = subject->message->called,
                                       .state = record->state,
                                       .public_url = builds->config->server_public_url,
                                       .token = token};
    int status = status_write(&about, out, err);
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    return status;
}

int letter_write(struct builds *builds, const struct build_message *message, struct letter *out,
                 bool *any, struct error *err)
{
    OWNED(subject_drop) struct subject subject = {.message = message};

    *any = false;
    if (build_find(builds->storage, message->build, &subject.record, err) < 0 ||
        builds_options_of(builds, slice_of(subject.record.repository), &subject.configured, err) <
            0)
        return -1;
    return (message->kind == BUILD_CALLBACK ? callback_of : status_of)(builds, &subject, out, any,
                                                                       err);
}
