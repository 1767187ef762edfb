/* outbox.c - who is told of builds, and when: rows of build_messages become requests.
 * Touches  build_messages, rows of builds, the network by way of source_http; threads of its own.
 * Never    changes how a build ended; waits for one receiver before it tells another.
 *
 * (1) A row is due until its receiver answered or it was tried TRIES times, so that the end of the
 *     server loses none; a receiver may be told twice when that comes between its answer and us.
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
    NEWER_MAX = 20,      /* builds of the same commit that are looked at */
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

/* --- letters --- */

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

/* *any is false when there is nothing to tell. */
static int write_letter(struct builds *builds, const struct build_message *message,
                        struct letter *out, bool *any, struct error *err) ON(worker_thread)
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

/* What came of it; its problem is in err. */
static void tell(struct outbox *outbox, const struct build_message *message,
                 struct build_message_try *out, struct error *err) ON(worker_thread)
{
    OWNED(letter_drop) struct letter letter = {.headers = {.items = NULL}};
    bool any = false;

    *out = (struct build_message_try){.outcome = BUILD_MESSAGE_GIVEN_UP};
    if (write_letter(outbox->builds, message, &letter, &any, err) == 0 &&
        (!any || post(outbox, &letter, &out->answer, err) == 0) && out->answer < 300) {
        out->outcome = any ? BUILD_MESSAGE_DELIVERED : BUILD_MESSAGE_NEEDLESS;
        return;
    }
    if (!atomic_load(&outbox->closing))
        log_event(LOG_WARNING, event_of(message), F_I64("id", message->build),
                  F_U64("tries", message->tries + 1), F_I64("status", out->answer),
                  F_TEXT("reason", err->message), F_TEXT("cause", err->cause));
    out->problem = slice_of(err->message);
    if (message->tries + 1 >= TRIES || !is_passing(message, out->answer, err))
        return;
    int64_t pause_ms = message->tries == 0 ? AGAIN_MS : (int64_t)AGAIN_MS * AGAIN_FACTOR;
    out->again_at = clock_now_us() + pause_ms * 1000;
    out->outcome = BUILD_MESSAGE_WAITING;
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

    tell(outbox, message, &came, &told);
    if (atomic_load(&outbox->closing) &&
        (came.outcome == BUILD_MESSAGE_WAITING || told.code != ERROR_NONE))
        return; /* (1): no try that counts, be it the last */
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
