/* meta_news.c - news of a transaction: gathered in it, handed to the listener after it.
 * Touches  reads repositories, manifests, tags, builds.
 * Never    writes; waits. */
#include "storage/meta_news.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "storage/job.h"
#include "storage/meta_builds.h"

enum { DETAIL_MAX = 16 * 1024 }; /* more is left out */

/* --- one allocation: the link, the news, its texts --- */

struct item {
    struct db_news link; /* first */
    struct news news;
    char texts[];
};

void news_drop(struct news *news)
{
    if (news != NULL)
        free((char *)news - offsetof(struct item, news));
}

enum { TEXTS = 14 };

static void texts_of(struct news *news, struct slice *out[TEXTS])
{
    struct slice *const all[TEXTS] = {&news->repository, &news->actor,  &news->tag,
                                      &news->media_type, &news->name,   &news->reason,
                                      &news->message,    &news->ref,    &news->commit,
                                      &news->tags,       &news->result, &news->phase,
                                      &news->detail,     NULL};

    memcpy(out, all, sizeof(all));
}

size_t news_size(const struct news *news)
{
    struct news measured = *news;
    struct slice *texts[TEXTS];
    size_t size = sizeof(struct item) + 1;

    texts_of(&measured, texts);
    for (size_t i = 0; texts[i] != NULL; i++)
        size += texts[i]->size;
    return size;
}

static struct item *item_of(const struct news *news)
{
    struct slice *texts[TEXTS];
    struct item *item = memory_new(news_size(news));
    char *at = item->texts;

    item->news = *news;
    texts_of(&item->news, texts);
    for (size_t i = 0; texts[i] != NULL; i++) {
        if (texts[i]->size > 0)
            memcpy(at, texts[i]->at, texts[i]->size);
        texts[i]->at = at;
        at += texts[i]->size;
    }
    return item;
}

struct news *news_copy(const struct news *news)
{
    return &item_of(news)->news;
}

static void tell(struct db_tx *tx, const struct news *news)
{
    db_tell(tx, &item_of(news)->link);
}

static struct slice name_of(const struct actor *actor)
{
    return actor == NULL ? SLICE_NONE : actor->name;
}

static struct slice bounded(const char *text)
{
    struct slice whole = slice_of(text);

    return whole.size > DETAIL_MAX ? SLICE_NONE : whole;
}

/* --- what came --- */

static const char SQL_ARRIVED[] = "SELECT coalesce(r.deleted_name, r.name), m.digest,"
                                  "       m.media_type, m.total_size"
                                  "  FROM manifests m"
                                  "  JOIN repositories r ON r.id = m.repo_id"
                                  " WHERE m.id = $1";

int meta_news_arrival(struct db_tx *tx, const struct meta_arrival *arrival, struct error *err)
{
    if (!db_hears(tx))
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ARRIVED);
    struct news news = {.kind = NEWS_PUSH,
                        .at = clock_now_us(),
                        .actor = name_of(arrival->actor),
                        .object = arrival->tag.at == NULL ? NEWS_MANIFEST : NEWS_TAG,
                        .cause = arrival->cause,
                        .tag = arrival->tag};

    db_bind_i64(&query, arrival->manifest);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    if (meta_digest(&query, 1, &news.digest, err) < 0)
        return -1;
    if (arrival->from != NULL)
        news.from = *arrival->from;
    news.repository = db_column_slice(&query, 0);
    news.media_type = db_column_slice(&query, 2);
    news.size = (uint64_t)db_column_i64(&query, 3);
    tell(tx, &news);
    return 0;
}

/* --- what went --- */

static const char SQL_NAME[] = "SELECT coalesce(deleted_name, name)"
                               "  FROM repositories"
                               " WHERE id = $1";
static const char SQL_TAGS[] = "SELECT name"
                               "  FROM tags"
                               " WHERE repo_id = $1 AND manifest_id = $2";

static void tell_departure(struct db_tx *tx, const struct meta_departure *departure,
                           struct slice repository, struct slice tag)
{
    struct news news = {.kind = NEWS_DELETE,
                        .at = clock_now_us(),
                        .repository = repository,
                        .actor = name_of(departure->actor),
                        .object = tag.at == NULL ? NEWS_MANIFEST : NEWS_TAG,
                        .cause = departure->cause,
                        .tag = tag};

    if (departure->digest != NULL)
        news.digest = *departure->digest;
    tell(tx, &news);
}

int meta_news_departure(struct db_tx *tx, const struct meta_departure *departure, struct error *err)
{
    if (!db_hears(tx))
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NAME);
    db_bind_i64(&query, departure->repository);
    int row = db_step(&query, err);
    if (row == 1)
        tell_departure(tx, departure, db_column_slice(&query, 0), departure->tag);
    return row < 0 ? -1 : 0;
}

int meta_news_tags_departure(struct db_tx *tx, int64_t manifest,
                             const struct meta_departure *departure, struct error *err)
{
    if (!db_hears(tx))
        return 0;
    OWNED(db_query_end) struct db_query name = db_query(tx, SQL_NAME);
    OWNED(db_query_end) struct db_query tags = db_query(tx, SQL_TAGS);
    db_bind_i64(&name, departure->repository);
    db_bind_i64(&tags, departure->repository);
    db_bind_i64(&tags, manifest);
    int row = db_step(&name, err);
    while (row == 1 && (row = db_step(&tags, err)) == 1)
        tell_departure(tx, departure, db_column_slice(&name, 0), db_column_slice(&tags, 0));
    return row < 0 ? -1 : 0;
}

static const char SQL_COLLECTED[] = "SELECT r.name"
                                    "  FROM manifests m"
                                    "  JOIN repositories r ON r.id = m.repo_id"
                                    " WHERE m.id = $1 AND m.deleted_at IS NULL"
                                    "   AND r.deleted_at IS NULL";

int meta_news_collected(struct db_tx *tx, int64_t manifest, const struct digest *digest,
                        struct error *err)
{
    if (!db_hears(tx))
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COLLECTED);
    const struct meta_departure departure = {.digest = digest, .cause = NEWS_COLLECTED};

    db_bind_i64(&query, manifest);
    int row = db_step(&query, err);
    if (row == 1)
        tell_departure(tx, &departure, db_column_slice(&query, 0), SLICE_NONE);
    return row < 0 ? -1 : 0;
}

void meta_news_repository(struct db_tx *tx, struct slice name, const struct actor *actor,
                          enum tag_cause cause)
{
    const struct news news = {.kind = cause == TAG_RESTORED ? NEWS_PUSH : NEWS_DELETE,
                              .at = clock_now_us(),
                              .repository = name,
                              .actor = name_of(actor),
                              .object = NEWS_REPOSITORY,
                              .cause = cause};

    if (db_hears(tx))
        tell(tx, &news);
}

/* --- what goes on --- */

int meta_news_build(struct db_tx *tx, int64_t id, struct error *err)
{
    OWNED(build_record_drop) struct build_record build = {.id = 0};

    if (!db_hears(tx))
        return 0;
    if (meta_build_read(tx, id, &build, err) < 0)
        return -1;
    const struct news news = {.kind = NEWS_BUILD,
                              .at = clock_now_us(),
                              .repository = slice_of(build.repository),
                              .actor = slice_of(build.actor),
                              .id = id,
                              .state = build.state,
                              .name = slice_of(build.trigger),
                              .reason = slice_of(build.reason),
                              .message = bounded(build.message),
                              .ref = slice_of(build.ref),
                              .commit = slice_of(build.commit),
                              .tags = bounded(build.tags),
                              .result = slice_of(build.result_digest),
                              .detail = bounded(build.stages)};
    tell(tx, &news);
    return 0;
}

struct news news_of_job(const struct job_record *job)
{
    return (struct news){.kind = NEWS_JOB,
                         .at = clock_now_us(),
                         .actor = slice_of(job->actor),
                         .id = job->id,
                         .state = job->state,
                         .name = slice_of(job->kind),
                         .message = bounded(job->error),
                         .phase = slice_of(job->phase),
                         .detail = bounded(job->progress)};
}

void meta_news_job(struct db_tx *tx, const struct job_record *job)
{
    if (!db_hears(tx))
        return;
    const struct news news = news_of_job(job);
    tell(tx, &news);
}

/* --- to the listener --- */

void meta_news_told(void *arg, struct db_bulletin *bulletin)
{
    const struct storage *store = arg;
    struct db_news *next;

    for (struct db_news *link = bulletin->first; link != NULL; link = next) {
        next = link->next;
        store->options.told(store->options.told_arg, &((struct item *)link)->news, 0);
    }
    if (bulletin->lost > 0)
        store->options.told(store->options.told_arg, NULL, bulletin->lost);
    *bulletin = (struct db_bulletin){.first = NULL};
}
