/* show.c - what of an event one follower gets, if anything.
 * Touches  auth; storage, for whether a repository is public.
 * Never    keeps a decision longer than rights stand still. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/glob.h"
#include "registry/events/events_internal.h"
#include "storage/job.h"

static const char *const names[NEWS_KINDS] = {"push", "delete", "build", "job"};

/* --- ids: "start-number" --- */

void event_id_print(const struct events *events, uint64_t number, char out[START_SIZE + 24])
{
    snprintf(out, START_SIZE + 24, "%s-%" PRIu64, events->start, number);
}

static bool is_start(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return text.size == START_SIZE;
}

int event_id_read(struct events *events, struct slice id, uint64_t *place, bool *missed,
                  struct error *err)
{
    struct slice start, number;
    uint64_t last = ring_last(&events->ring);

    *missed = false;
    if (!slice_split(id, '-', &start, &number) || !is_start(start) || !slice_to_u64(number, place))
        return error_set_field(err, "last_event_id", "that is no id of an event");
    if (slice_equal_text(start, events->start) && *place <= last)
        return 0;
    *missed = true;
    *place = last;
    return 0;
}

/* --- who sees what --- */

static bool is_public(struct events *events, struct slice repository) ON(worker_thread)
{
    struct visibility *last = &events->visibility;
    struct storage *storage = events->options.storage;
    uint64_t generation = storage == NULL ? 0 : accounts_generation(storage);
    struct error ignored = {0};

    if (storage == NULL)
        return false;
    if (last->known && last->generation == generation &&
        slice_equal(buffer_slice(&last->name), repository))
        return last->public;
    last->known = false;
    if (repository_is_public(storage, repository, &last->public, &ignored) < 0)
        return false; /* what is not known is not allowed */
    last->name.size = 0;
    buffer_append_slice(&last->name, repository);
    last->generation = generation;
    last->known = true;
    return last->public;
}

static unsigned rights_of(struct events *events, const struct identity *who,
                          struct slice repository) ON(worker_thread)
{
    unsigned private = auth_rights_when(who, repository, false);
    unsigned public = auth_rights_when(who, repository, true);

    if (private == public)
        return private;
    return is_public(events, repository) ? public : private;
}

/* A build is seen by who may push there, too; jobs by who looks after the server. */
static bool sees(struct events *events, const struct follower *follower, const struct news *news,
                 bool *people) ON(worker_thread)
{
    if (news->kind == NEWS_JOB) {
        *people = true;
        return auth_allows(follower->who, ACTION_API_SYSTEM);
    }
    unsigned rights = rights_of(events, follower->who, news->repository);
    unsigned needed = news->kind == NEWS_BUILD ? RIGHT_PULL | RIGHT_PUSH : RIGHT_PULL;
    *people = (rights & RIGHT_PUSH) != 0 || follower->who->role == ACCOUNT_ROLE_AUDITOR;
    return (rights & needed) != 0;
}

/* Jobs have no repository: who names one wants none of them. */
static bool asked_for(const struct follower *follower, const struct news *news)
{
    if (follower->job != 0)
        return news->kind == NEWS_JOB && news->id == follower->job;
    if ((follower->kinds & 1u << news->kind) == 0)
        return false;
    return follower->repository == NULL ||
           (news->kind != NEWS_JOB &&
            glob_matches(slice_of(follower->repository), news->repository));
}

/* --- as it is sent --- */

void gap_show(const struct events *events, struct follower *follower)
{
    char id[START_SIZE + 24];

    event_id_print(events, follower->place, id);
    buffer_print(&follower->feed.piece, "id: %s\nevent: gap\ndata: {\"id\":\"%s\"}\n\n", id, id);
    if (follower->job != 0) /* its end may be what was missed: he comes again and is told */
        follower->over = true;
}

/* The id says how far he was looked after: what was not for him is no gap when he comes again. */
void comment_show(const struct events *events, struct follower *follower)
{
    char id[START_SIZE + 24];

    event_id_print(events, follower->place, id);
    buffer_print(&follower->feed.piece, ":\nid: %s\n\n", id);
}

void event_show(struct events *events, struct follower *follower, const struct ring_entry *entry)
{
    const struct news *news = entry->news;
    struct buffer *out = &follower->feed.piece;
    char id[START_SIZE + 24];
    bool people = false;

    if (news == NULL) {
        gap_show(events, follower);
        return;
    }
    if (!asked_for(follower, news) || !sees(events, follower, news, &people))
        return;
    event_id_print(events, entry->number, id);
    buffer_print(out, "id: %s\nevent: %s\ndata: ", id, names[news->kind]);
    events->options.write(out, id, news, people);
    buffer_append(out, "\n\n", 2);
    if (follower->job == 0 || news->state <= JOB_RUNNING)
        return;
    buffer_append_text(out, "event: end\ndata:\n\n");
    follower->over = true;
}
