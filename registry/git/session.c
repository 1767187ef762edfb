/* session.c - one push, from what the hook tells to the end of git: whose turn it is, what is said.
 * Touches  the channel to the hooks, the session.
 * Never    two threads at a time: a step thread has it while it is busy.
 *
 *   ASKED --turn--> JUDGED --each build--> REPORTED --transactions--> OVER
 *
 * Pushes into one repository take turns from the first hook to git's end, so that what was judged
 * is what moves. Spec: s2i 13.a */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "registry/config.h"
#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/git/git_internal.h"

enum { LINE_MAX = 4096, WAITS_MAX_MS = 20000 };

/* --- memory --- */

static char *address_of(const struct git *git, const struct request *request)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (git->options.config->server_public_url[0] != 0)
        buffer_append_text(&text, git->options.config->server_public_url);
    else if (request->host.size > 0)
        buffer_print(&text, "%s://%.*s", request->tls ? "https" : "http", SLICE_ARG(request->host));
    return memory_text(buffer_slice(&text));
}

struct session *session_new(struct git *git, const struct request *request, struct place *place)
{
    struct session *session = memory_new(sizeof(*session));

    session->git = git;
    session->place = place;
    session->repository = memory_text(request->name);
    session->path = repository_path(git, request->name);
    session->caller = identity_hold(request->caller);
    memcpy(session->remote, request->remote, sizeof(session->remote));
    memcpy(session->request_id, request->id, sizeof(session->request_id));
    session->address = address_of(git, request);
    session->called = memory_text(request->host);
    session->channel = -1;
    session->message_last = &session->messages;
    return session;
}

static void message_free(struct hook_message *message)
{
    if (message == NULL)
        return;
    buffer_drop(&message->text);
    free(message);
}

static void messages_free(struct hook_message *message)
{
    while (message != NULL) {
        struct hook_message *next = message->next;
        message_free(message);
        message = next;
    }
}

void session_drop(struct session **owned)
{
    struct session *session = *owned;

    *owned = NULL;
    if (session == NULL)
        return;
    for (size_t i = 0; session->refs != NULL && i < session->push.count; i++)
        s2i_list_drop(&session->refs[i].tags);
    messages_free(session->messages);
    message_free(session->arriving);
    push_request_drop(&session->push);
    push_wishes_drop(&session->wishes);
    s2i_options_drop(&session->options);
    identity_drop(&session->caller);
    free(session->refs);
    free(session->address);
    free(session->called);
    free(session->repository);
    free(session->path);
    free(session);
}

/* --- events: with git->lock --- */

void session_post(struct session *session, enum session_event event)
{
    struct git *git = session->git;

    session->events |= (unsigned)event;
    if (session->queued || session->busy || session->over || session->events == 0)
        return;
    session->queued = true;
    session->next = NULL;
    if (git->ready == NULL)
        git->ready_last = &git->ready;
    *git->ready_last = session;
    git->ready_last = &session->next;
    pthread_cond_signal(&git->work);
}

static void message_whole(struct session *session)
{
    struct hook_message *message = TAKE(session->arriving);

    if (message->kind == HOOK_PUSH)
        session->service->deadline_ms = 0; /* it is here: builds take what time they take */
    *session->message_last = message;
    session->message_last = &message->next;
    session->message_count++;
    session_post(session, EVENT_MESSAGE);
}

/* A piece of a message. -1: it makes no sense. */
static int piece_take(struct session *session, const struct wire_packet *packet, struct error *err)
{
    struct hook_message *message = session->arriving;

    if (session->message_count >= MESSAGES_MAX)
        return error_set(err, ERROR_BAD_REQUEST, "a hook says more than it is asked");
    if (message == NULL) {
        message = session->arriving = memory_new(sizeof(*message));
        message->kind = (enum hook_kind)packet->kind;
    }
    if (message->kind != (enum hook_kind)packet->kind)
        return error_set(err, ERROR_BAD_REQUEST, "a hook mixes its messages");
    return wire_gather(&message->text, packet, err);
}

void session_arrived(struct session *session)
{
    struct service *service = session->service;
    struct git *git = session->git;
    struct wire_packet packet = {.fd = -1};
    struct error err = {0};
    int got = wire_receive(service->hook.fd, git->piece, WIRE_PIECE_MAX + 1, &packet, &err);

    if (got <= 0) {
        service->heard_out = true; /* a step thread may still be sending: it stays open */
        room_unwatch(git, &service->hook);
        return;
    }
    fd_drop(&packet.fd);
    int whole = piece_take(session, &packet, &err);
    if (whole > 0)
        message_whole(session);
    else if (whole < 0)
        service_end(service);
}

/* --- steps --- */

static void message_step(struct session *session, const struct hook_message *message)
    ON(worker_thread)
{
    struct slice text = buffer_slice(&message->text);

    switch (message->kind) {
    case HOOK_PUSH:
        judge_begin(session, text);
        break;
    case HOOK_KNOWN:
        judge_known(session, text);
        break;
    case HOOK_MOVE:
        moving_told(session, text);
        break;
    case HOOK_ASK:
    case HOOK_SAY:
    case HOOK_FOLLOW:
    case HOOK_REPORT:
    case HOOK_VERDICT:
        break; /* ours to say */
    }
}

void session_step(struct session *session, unsigned events, struct hook_message *messages)
{
    for (struct hook_message *message = messages; message != NULL; message = message->next)
        message_step(session, message);
    messages_free(messages);
    if ((events & EVENT_TURN) != 0)
        judge_turn(session);
    if ((events & EVENT_BUILT) != 0)
        building_ended(session);
    if ((events & EVENT_LOOK) != 0)
        building_look(session);
    if ((events & EVENT_GONE) != 0)
        building_gone(session);
    if ((events & EVENT_OVER) != 0)
        moving_over(session);
}

/* --- saying --- */

static void leave(struct session *session)
{
    struct git *git = session->git;

    session->left = true;
    pthread_mutex_lock(&git->lock);
    service_end(session->service);
    pthread_mutex_unlock(&git->lock);
    room_wake(git);
}

/* Whoever does not read holds a step thread, which others need, once and not for long. */
void session_send(struct session *session, enum hook_kind kind, struct slice text, int fd,
                  bool pieces)
{
    struct pollfd room = {.fd = session->channel, .events = POLLOUT};
    struct error err = {0};

    if (session->left)
        return;
    bool full = poll(&room, 1, 0) == 0;
    uint64_t since_ms = clock_monotonic_ms();
    int outcome = pieces ? wire_send_text(session->channel, (enum wire_kind)kind, text, fd, &err)
                         : wire_send(session->channel, (enum wire_kind)kind, text, fd, &err);
    if (full)
        session->waited_ms += clock_monotonic_ms() - since_ms;
    if (outcome < 0 || session->waited_ms > WAITS_MAX_MS)
        leave(session);
}

/* Names in it are whatever a client sent: control characters are shown, not obeyed (13.13). */
static void make_harmless(struct buffer *text)
{
    for (size_t i = 0; i < text->size; i++) {
        unsigned char c = (unsigned char)text->at[i];
        if (c < ' ' || c == 0x7f)
            text->at[i] = '?';
    }
}

void session_say(struct session *session, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, lines = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    if (text.size > LINE_MAX)
        text.size = LINE_MAX;
    make_harmless(&text);
    buffer_append_wrapped(&lines, buffer_slice(&text), SAID_INDENT, SAID_COLUMNS);
    buffer_append_text(&lines, "\n");
    session_send(session, HOOK_SAY, buffer_slice(&lines), -1, false);
}

bool session_repository_stands(const struct session *session)
{
    return repository_number(session->path) == session->number;
}

/* What is too long for git's one line ends before a colon: what went wrong, without what to do. */
static struct slice shortened(struct slice text)
{
    size_t size = REASON_MAX - 1;

    if (text.size <= size)
        return text;
    for (size_t i = 1; i < size; i++)
        if (text.at[i] == ':' && text.at[i + 1] == ' ')
            return (struct slice){text.at, i};
    return (struct slice){text.at, size};
}

void ref_refuse(struct pushed_ref *ref, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    make_harmless(&text);
    text.size = shortened(buffer_slice(&text)).size;
    ref->state = REF_REFUSED;
    memcpy(ref->reason, text.at, text.size);
    ref->reason[text.size] = 0;
}

struct actor session_actor(const struct session *session)
{
    return auth_actor(session->caller);
}
