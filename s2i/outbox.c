/* outbox.c - who is told of builds, and when: rows of build_messages become requests.
 * Touches  build_messages, rows of builds, the network by way of source_http; threads of its own.
 * Never    changes how a build ended; waits for one receiver before it tells another.
 *
 * (1) A row is due until its receiver answered or it was tried TRIES times. A try that the end of
 *     the server may have cut short does not count, be it the last, so that it loses none; one that
 *     was answered does, whatever the answer. A receiver may be told twice when that comes between
 *     its answer and us.
 *     What came of the last try stands in it as long as there is its build.
 * (2) One message at a time goes to a destination, and EACH of a repository. One thread waits for
 *     what is due; more are started while others are at work, up to THREADS.
 * (3) What is told is how its build stands when it is told: the newest state alone.
 *
 * Spec: s2i 11.1, 13.48, 16.10. */
#include "s2i/outbox.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/core/start.h"
#include "s2i/source/source.h"

enum {
    THREADS = 8,
    EACH = 2,
    TRIES = 3,
    AGAIN_MS = 2000,   /* before the second try; */
    AGAIN_FACTOR = 15, /* so much longer before the next */
    TIMEOUT_MS = 10 * 1000,
    ANSWER_MAX = 64 * 1024,
    FAILED_MS = 3000,    /* after a failure of the database */
    LOOK_MS = 60 * 1000, /* at the latest: clocks are set */
    WAITING_MAX = 10000, /* messages; older ones are given up */
};

struct outbox {
    struct builds *builds;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    pthread_t threads[THREADS];
    const struct build_message *at_work[THREADS]; /* by thread; NULL: none */
    unsigned thread_count, idle;
    bool look, looking;
    uint64_t due_ms; /* monotonic; when to look again */
    atomic_bool closing;
    int stop; /* eventfd: readable from then on, for whoever waits for a receiver */
};

struct sender {
    struct outbox *outbox;
    unsigned number;
};

/* --- saying it --- */

static int post(struct outbox *outbox, const struct letter *letter, int *status, struct error *err)
{
    struct builds_rules rules;
    OWNED(memory_drop) char *url = memory_text(buffer_slice(&letter->url));
    OWNED(buffer_drop) struct buffer answer = BUFFER_NONE;
    const struct source_request request = {
        .url = url,
        .body = buffer_slice(&letter->body),
        .content_type = SLICE("application/json"),
        .headers = &letter->headers,
        .size_max = ANSWER_MAX,
        .timeout_ms = TIMEOUT_MS,
        .cancel = &outbox->stop,
    };

    builds_rules_fill(&rules, outbox->builds->config, ANSWER_MAX);
    return source_http(&request, &rules.rules, &answer, status, err);
}

static const char *event_of(const struct build_message *message)
{
    return message->kind == BUILD_CALLBACK ? "build.callback" : "build.status";
}

/* Whether it may go better later. Of a callback only what never came, as 11.1 has it; a forge also
 * asks for patience. */
static bool is_passing(const struct build_message *message, int status, const struct error *err)
{
    if (err->code != ERROR_NONE)
        return error_code_status(err->code) >= 500;
    return message->kind == BUILD_STATUS && (status >= 500 || status == 429);
}

bool outbox_judge(const struct build_message *message, const struct outbox_try *tried,
                  struct build_message_try *out)
{
    const struct error *failed = tried->failed;
    int64_t wait_ms = message->tries == 0 ? AGAIN_MS : (int64_t)AGAIN_MS * AGAIN_FACTOR;

    *out = (struct build_message_try){.outcome = BUILD_MESSAGE_GIVEN_UP, .answer = tried->answer};
    if (failed->code != ERROR_NONE && tried->closing)
        return false;
    if (failed->code == ERROR_NONE && tried->answer < 300) {
        out->outcome = tried->any ? BUILD_MESSAGE_DELIVERED : BUILD_MESSAGE_NEEDLESS;
        return true;
    }
    out->problem = slice_of(failed->message);
    if (message->tries + 1 < TRIES && is_passing(message, tried->answer, failed)) {
        out->outcome = BUILD_MESSAGE_WAITING;
        out->again_at = tried->now + wait_ms * 1000;
    }
    return true;
}

/* Whether the try counts; its problem is in err. */
static bool tell(struct outbox *outbox, const struct build_message *message,
                 struct build_message_try *out, struct error *err) ON(worker_thread)
{
    OWNED(letter_drop) struct letter letter = {.headers = {.items = NULL}};
    struct outbox_try tried = {.failed = err};

    if (letter_write(outbox->builds, message, &letter, &tried.any, err) == 0 && tried.any)
        (void)post(outbox, &letter, &tried.answer, err); /* err says it */
    tried.closing = atomic_load(&outbox->closing);
    tried.now = clock_now_us();
    if (!outbox_judge(message, &tried, out))
        return false;
    if (out->outcome == BUILD_MESSAGE_WAITING || out->outcome == BUILD_MESSAGE_GIVEN_UP)
        log_event(LOG_WARNING, event_of(message), F_I64("id", message->build),
                  F_U64("tries", message->tries + 1), F_I64("status", out->answer),
                  F_TEXT("reason", err->message), F_TEXT("cause", err->cause));
    return true;
}

/* False when the outbox closes. */
static bool pause_ms(const struct outbox *outbox, int ms)
{
    struct pollfd stop = {.fd = outbox->stop, .events = POLLIN};

    return poll(&stop, 1, ms) == 0;
}

/* What came of it that cannot be written (the disk is full) is tried again until it is: else the
 * receiver would be told over and over. Its destination waits as long. */
static void tell_and_settle(struct outbox *outbox, const struct build_message *message)
    ON(worker_thread)
{
    struct error told = {0}, err = {0};
    struct build_message_try came;

    if (!tell(outbox, message, &came, &told))
        return;
    while (build_message_settle(outbox->builds->storage, message, &came, &err) < 0) {
        log_event(LOG_WARNING, event_of(message), F_I64("id", message->build),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
        error_clear(&err);
        if (!pause_ms(outbox, FAILED_MS))
            return;
    }
}

/* --- whose turn it is --- */

/* (2) */
static bool busy(void *arg, struct slice destination, struct slice repository)
{
    struct outbox *outbox = arg;
    unsigned of_repository = 0;
    bool told = false;

    pthread_mutex_lock(&outbox->lock);
    for (unsigned i = 0; i < outbox->thread_count; i++) {
        const struct build_message *message = outbox->at_work[i];
        if (message == NULL)
            continue;
        told |= slice_equal_text(destination, message->destination);
        of_repository += slice_equal_text(repository, message->repository) ? 1 : 0;
    }
    pthread_mutex_unlock(&outbox->lock);
    return told || of_repository >= EACH;
}

static void trim(struct outbox *outbox, uint64_t waiting) ON(worker_thread)
{
    struct error err = {0};
    uint64_t count = 0;

    if (waiting > WAITING_MAX &&
        build_message_trim(outbox->builds->storage, WAITING_MAX, &count, &err) == 0 && count > 0)
        log_event(LOG_WARNING, "build.messages", F_U64("given_up", count),
                  F_TEXT("reason", "too many wait to be told"));
}

/* message->id 0: there is none. When to look again, in ms from now. */
static uint64_t take(struct outbox *outbox, struct build_message *message) ON(worker_thread)
{
    const struct build_message_query query = {clock_now_us(), busy, outbox};
    struct build_message_queue queue = {.waiting = 0};
    struct error err = {0};

    if (build_message_next(outbox->builds->storage, &query, message, &queue, &err) < 0) {
        log_event(LOG_ERROR, "build.messages", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
        return FAILED_MS;
    }
    trim(outbox, queue.waiting);
    if (queue.next_due == 0 || queue.next_due > query.now + INT64_C(1000) * LOOK_MS)
        return LOOK_MS;
    return (uint64_t)(queue.next_due - query.now) / 1000 + 1;
}

/* --- threads --- */

static void *work(void *arg);

/* Under lock. Where none can be started those that are there go on. */
static int thread_add(struct outbox *outbox, struct error *err)
{
    struct sender *sender = memory_new(sizeof(*sender));

    *sender = (struct sender){outbox, outbox->thread_count};
    if (thread_start(&outbox->threads[outbox->thread_count], work, sender, err) < 0) {
        free(sender);
        return -1;
    }
    outbox->thread_count++;
    return 0;
}

/* Under lock. False: the outbox closes. */
static bool wait_for_turn(struct outbox *outbox)
{
    bool open;

    outbox->idle++;
    while ((open = !atomic_load(&outbox->closing)) &&
           (outbox->looking || (!outbox->look && clock_monotonic_ms() < outbox->due_ms))) {
        uint64_t now = clock_monotonic_ms();
        const struct timespec until =
            clock_monotonic_after(outbox->due_ms > now ? outbox->due_ms - now : 1);
        if (outbox->looking)
            pthread_cond_wait(&outbox->wake, &outbox->lock);
        else
            pthread_cond_timedwait(&outbox->wake, &outbox->lock, &until);
    }
    outbox->idle--;
    return open;
}

/* Under lock, which is let go meanwhile. */
static void one_turn(struct outbox *outbox, unsigned number) ON(worker_thread)
{
    OWNED(build_message_drop) struct build_message message = {.id = 0};
    struct error ignored = {0};

    outbox->looking = true;
    outbox->look = false;
    pthread_mutex_unlock(&outbox->lock);
    uint64_t pause_ms = take(outbox, &message);
    pthread_mutex_lock(&outbox->lock);
    outbox->looking = false;
    outbox->due_ms = clock_monotonic_ms() + pause_ms;
    if (message.id != 0) {
        outbox->at_work[number] = &message;
        outbox->look = true; /* there may be another */
        if (outbox->idle == 0 && outbox->thread_count < THREADS && !atomic_load(&outbox->closing) &&
            thread_add(outbox, &ignored) < 0)
            error_clear(&ignored);
    }
    pthread_cond_signal(&outbox->wake);
    if (message.id == 0)
        return;
    pthread_mutex_unlock(&outbox->lock);
    tell_and_settle(outbox, &message);
    pthread_mutex_lock(&outbox->lock);
    outbox->at_work[number] = NULL;
    outbox->look = true; /* what it held back */
}

static void *work(void *arg)
{
    struct sender *sender = arg;
    struct outbox *outbox = sender->outbox;
    unsigned number = sender->number;

    free(sender);
    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-tell");
    pthread_mutex_lock(&outbox->lock);
    while (wait_for_turn(outbox))
        one_turn(outbox, number);
    pthread_cond_signal(&outbox->wake);
    pthread_mutex_unlock(&outbox->lock);
    return NULL;
}

void outbox_look(struct outbox *outbox)
{
    if (outbox == NULL)
        return;
    pthread_mutex_lock(&outbox->lock);
    outbox->look = true;
    pthread_cond_signal(&outbox->wake);
    pthread_mutex_unlock(&outbox->lock);
}

/* --- open and close --- */

int outbox_open(struct outbox **out, struct builds *builds, struct error *err)
{
    struct outbox *outbox = memory_new(sizeof(*outbox));

    outbox->builds = builds;
    outbox->look = true; /* what an earlier process left */
    outbox->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&outbox->lock, NULL);
    clock_condition_init(&outbox->wake);
    pthread_mutex_lock(&outbox->lock);
    int status = outbox->stop < 0
                     ? error_set_errno(err, ERROR_UNAVAILABLE, errno, "builds cannot be told of")
                     : thread_add(outbox, err);
    pthread_mutex_unlock(&outbox->lock);
    if (status < 0) {
        outbox_close(outbox);
        return -1;
    }
    *out = outbox;
    return 0;
}

void outbox_close(struct outbox *outbox)
{
    const uint64_t one = 1;

    if (outbox == NULL)
        return;
    pthread_mutex_lock(&outbox->lock);
    atomic_store(&outbox->closing, true); /* no thread is added from now on */
    pthread_cond_broadcast(&outbox->wake);
    unsigned count = outbox->thread_count;
    pthread_mutex_unlock(&outbox->lock);
    if (outbox->stop >= 0 && write(outbox->stop, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* it is readable already */
    for (unsigned i = 0; i < count; i++)
        pthread_join(outbox->threads[i], NULL);
    fd_drop(&outbox->stop);
    pthread_cond_destroy(&outbox->wake);
    pthread_mutex_destroy(&outbox->lock);
    free(outbox);
}
