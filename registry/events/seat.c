/* seat.c - how many follow: of all, and of each account.
 * Touches  memory.
 * Never    waits. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "registry/events/events_internal.h"

enum { COME_AGAIN_S = 10 };

static bool is_owner(const struct owner *owner, const struct identity *who)
{
    return owner->kind == who->kind && owner->account == who->account &&
           strcmp(owner->name, who->name) == 0;
}

/* Under the lock. */
static struct owner *owner_of(struct events *events, const struct identity *who)
{
    struct owner *owner = events->owners;

    while (owner != NULL && !is_owner(owner, who))
        owner = owner->next;
    if (owner != NULL)
        return owner;
    owner = memory_new(sizeof(*owner));
    *owner = (struct owner){.next = events->owners,
                            .kind = who->kind,
                            .account = who->account,
                            .name = memory_text(slice_of(who->name))};
    events->owners = owner;
    return owner;
}

/* Under the lock. */
static void owner_forget(struct events *events, struct owner *owner)
{
    struct owner **link = &events->owners;

    if (owner->followers > 0)
        return;
    while (*link != owner)
        link = &(*link)->next;
    *link = owner->next;
    free(owner->name);
    free(owner);
}

static int refuse(struct error *err, uint64_t limit, const char *whose)
{
    error_set(err, ERROR_TOOMANYREQUESTS,
              "%" PRIu64 " streams of events are open already, as many as %s", limit, whose);
    err->retry_after_s = COME_AGAIN_S;
    return -1;
}

int seat_take(struct events *events, const struct identity *who, struct owner **out,
              struct error *err)
{
    const struct events_options *limits = &events->options;
    int status = 0;

    pthread_mutex_lock(&events->lock);
    struct owner *owner = owner_of(events, who);
    if (events->count >= limits->followers_max)
        status = refuse(err, limits->followers_max, "this server allows");
    else if (owner->followers >= limits->followers_each)
        status = refuse(err, limits->followers_each, "one account may have");
    if (status == 0) {
        owner->followers++;
        events->count++;
        atomic_store(&events->watched, true);
        *out = owner;
    } else {
        owner_forget(events, owner);
    }
    pthread_mutex_unlock(&events->lock);
    return status;
}

void seat_give_back(struct events *events, struct owner *owner)
{
    pthread_mutex_lock(&events->lock);
    owner->followers--;
    events->count--;
    atomic_store(&events->watched, events->count > 0);
    owner_forget(events, owner);
    pthread_mutex_unlock(&events->lock);
}
