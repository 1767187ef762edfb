/* run.c - one timed run: clients that repeat operations on one thread until time or work is out.
 * Touches  the clients' sockets, one epoll instance.
 * Never    a second thread: the servers measured here need the other core.
 *
 * Sockets are watched edge-triggered and registered once; an answer leads to the next request at
 * once, so a request costs the load one receive and one send. */
#include "tests/bench/run.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, TICK_MS = 1 };

struct actor {
    struct client client;
    struct operation operation;
    uint64_t begun_ns;
    uint64_t due_ns; /* begins its next operation then; 0 when one is under way */
    uint64_t random;
    bool done;
};

struct stage {
    struct run *run;
    struct actor *actors;
    int poll;
    unsigned live;
    uint64_t next; /* index of the next operation */
    uint64_t begun;
    uint64_t started_ns; /* end of the warm-up */
    uint64_t stop_ns;    /* UINT64_MAX without a time limit */
    bool ticks;          /* someone waits for a time, not for a socket */
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int watch(struct stage *stage, struct actor *actor)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = actor};

    if (client_connect(&actor->client) < 0)
        return -1;
    return epoll_ctl(stage->poll, EPOLL_CTL_ADD, actor->client.fd, &event);
}

static void note(struct run *run, const struct actor *actor, const char *what)
{
    if (run->errors++ == 0)
        snprintf(run->problem, sizeof run->problem, "%s: status %d instead of %d for %.80s", what,
                 actor->client.status, actor->operation.expected, actor->operation.head);
}

static void finish(struct stage *stage, struct actor *actor)
{
    actor->done = true;
    stage->live--;
}

/* Chooses the actor's next operation; false when there is none left to do. */
static bool choose(struct stage *stage, struct actor *actor, uint64_t now)
{
    struct run *run = stage->run;
    struct operation *operation = &actor->operation;

    if (now >= stage->stop_ns || (run->count > 0 && stage->begun >= run->count))
        return false;
    stage->begun++;
    operation->step = 0;
    operation->script = run->script;
    actor->random = actor->random * 6364136223846793005U + 1442695040888963407U;
    if ((actor->random >> 33) % 100 < run->pulls_percent) {
        operation->script = SCRIPT_PULL;
        operation->index = (actor->random >> 40) % run->first;
    } else {
        operation->index = stage->next++;
    }
    actor->begun_ns = now;
    actor->due_ns = 0;
    return true;
}

static void count(struct stage *stage, struct actor *actor, uint64_t now)
{
    struct run *run = stage->run;
    bool pull = actor->operation.script == SCRIPT_PULL;

    if (actor->begun_ns < stage->started_ns)
        return;
    run->operations++;
    samples_add(pull ? &run->pulls : &run->latency, now - actor->begun_ns);
}

/* Sends the actor's next request, going on to new operations as they end. */
static void advance(struct stage *stage, struct actor *actor, uint64_t now)
{
    while (!work_next(stage->run->work, &actor->operation, &actor->client)) {
        count(stage, actor, now);
        if (stage->run->interval_ns > 0) {
            actor->due_ns = actor->begun_ns + stage->run->interval_ns;
            return;
        }
        if (!choose(stage, actor, now)) {
            finish(stage, actor);
            return;
        }
    }
    if (client_start(&actor->client, now) == CLIENT_BROKEN) {
        note(stage->run, actor, "connection broke while sending");
        finish(stage, actor);
    }
}

/* Takes a reply: checks it, reconnects if the server said close, goes on. */
static void answer(struct stage *stage, struct actor *actor, uint64_t now)
{
    struct client *client = &actor->client;
    bool early = client->sent < client->head_length + client->body_length;
    int expected = actor->operation.expected;

    if (client->status >= 400)
        stage->run->refused++;
    if ((client->status != expected && expected != 0) || early) {
        note(stage->run, actor, early ? "answered before the body was sent" : "refused");
        finish(stage, actor);
        return;
    }
    if (client->closing) {
        client_close(client);
        if (watch(stage, actor) < 0) {
            note(stage->run, actor, "cannot connect again");
            finish(stage, actor);
            return;
        }
    }
    advance(stage, actor, now);
}

static void proceed(struct stage *stage, struct actor *actor)
{
    uint64_t now = now_ns();

    if (actor->done || actor->due_ns > 0)
        return;

    enum client_outcome outcome = client_continue(&actor->client, now);

    if (outcome == CLIENT_ANSWER) {
        answer(stage, actor, now_ns());
    } else if (outcome == CLIENT_BROKEN) {
        note(stage->run, actor, "connection broke");
        finish(stage, actor);
    }
}

/* Wakes whoever waits for a time. */
static void tick(struct stage *stage)
{
    uint64_t now = now_ns();

    for (unsigned i = 0; i < stage->run->clients; i++) {
        struct actor *actor = &stage->actors[i];

        if (actor->done)
            continue;
        if (actor->due_ns == 0) {
            if (actor->client.paused)
                proceed(stage, actor);
        } else if (now >= stage->stop_ns) {
            finish(stage, actor);
        } else if (now >= actor->due_ns) {
            if (choose(stage, actor, now))
                advance(stage, actor, now);
            else
                finish(stage, actor);
        }
    }
}

static void loop(struct stage *stage)
{
    struct epoll_event events[EVENTS];

    while (stage->live > 0) {
        int ready = epoll_wait(stage->poll, events, EVENTS, stage->ticks ? TICK_MS : 1000);

        for (int i = 0; i < ready; i++)
            proceed(stage, events[i].data.ptr);
        if (stage->ticks)
            tick(stage);
    }
}

static int open_all(struct stage *stage)
{
    for (unsigned i = 0; i < stage->run->clients; i++) {
        struct actor *actor = &stage->actors[i];

        actor->client.fd = -1;
        actor->client.address = stage->run->address;
        actor->random = stage->run->work->seed + (uint64_t)i * 7919U;
        if (watch(stage, actor) < 0)
            return -1;
        stage->live++;
    }
    return 0;
}

static void begin_all(struct stage *stage)
{
    struct run *run = stage->run;
    uint64_t now = now_ns();

    stage->started_ns = now + (uint64_t)(run->warmup_s * 1e9);
    stage->stop_ns = UINT64_MAX;
    if (run->seconds > 0)
        stage->stop_ns = stage->started_ns + (uint64_t)(run->seconds * 1e9);
    for (unsigned i = 0; i < run->clients; i++) {
        struct actor *actor = &stage->actors[i];

        if (run->interval_ns > 0)
            actor->due_ns = now + 1 + run->interval_ns * i / run->clients;
        else if (choose(stage, actor, now))
            advance(stage, actor, now);
        else
            finish(stage, actor);
    }
}

int run_all(struct run *run)
{
    struct stage stage = {.run = run, .next = run->first};
    int status = -1;

    stage.actors = calloc(run->clients, sizeof *stage.actors);
    stage.poll = epoll_create1(EPOLL_CLOEXEC);
    stage.ticks = run->interval_ns > 0 || run->work->pace_bytes_s > 0;
    assert(stage.actors != NULL && stage.poll >= 0);
    if (open_all(&stage) == 0) {
        begin_all(&stage);
        loop(&stage);
        run->elapsed_s = (double)(now_ns() - stage.started_ns) / 1e9;
        status = 0;
    }
    for (unsigned i = 0; i < run->clients; i++)
        client_close(&stage.actors[i].client);
    free(stage.actors);
    close(stage.poll);
    return status;
}
