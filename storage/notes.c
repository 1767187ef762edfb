/* notes.c - events that a stranger can cause, written to the audit in the background.
 *
 * A note stays in memory for its minute, written or not, so that a repeat finds it: what is new of
 * it since it was written is added to its row. A flush marks what it writes; a note that is marked,
 * or has something to be written, is never freed. */
#include "storage/notes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "storage/storage_internal.h"

enum {
    TEXT_MAX = 256,    /* bytes of each text but the detail */
    DETAIL_MAX = 1024, /* longer: left out, for half of a JSON text is none */
    FLUSH_BATCH = 64,  /* a write in the background is short */
    DETAIL = 5,
    TEXTS = 7, /* of an event; the last is the request, which does not make it another */
};

static const int64_t MINUTE_US = 60ll * 1000000;

struct note {
    uint64_t hash;
    int64_t at, actor_id;
    int64_t row;      /* 0: not written yet */
    uint64_t pending; /* how often since it was written */
    uint64_t writing; /* the same, in a flush under way */
    size_t ends[TEXTS];
    char texts[]; /* immutable, as are hash, at, actor_id and ends */
};

struct notes {
    struct meta *meta;
    uint64_t flush_ms;
    uint64_t seed;
    pthread_t thread;
    pthread_mutex_t flushing; /* one flush at a time; taken before the lock */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct note *items[NOTES_MAX];
    size_t count;
    bool waiting; /* something is pending, or was dropped */
    uint64_t dropped;
    bool closing;
};

/* --- one note --- */

/* What strangers send becomes text that every database takes. */
static void append_clean(struct buffer *out, struct slice text, size_t max)
{
    size_t end = out->size + max;

    while (text.size > 0) {
        size_t size = utf8_size(text);
        bool clean = size > 1 || (size == 1 && (unsigned char)text.at[0] >= ' ');
        size = size == 0 ? 1 : size;
        if (out->size + size > end)
            return;
        buffer_append(out, clean ? text.at : "?", clean ? size : 1);
        text = slice_from(text, size);
    }
}

static struct note *note_new(const struct notes *notes, const struct audit_event *event)
{
    OWNED(buffer_drop) struct buffer all = BUFFER_NONE;
    struct slice detail = event->detail.size > DETAIL_MAX ? SLICE_NONE : event->detail;
    const struct slice texts[TEXTS] = {event->actor,     event->action, event->target,
                                       event->outcome,   event->remote, detail,
                                       event->request_id};
    size_t ends[TEXTS];

    for (size_t i = 0; i < TEXTS; i++) {
        append_clean(&all, texts[i], i == DETAIL ? DETAIL_MAX : TEXT_MAX);
        ends[i] = all.size;
    }
    struct note *note = memory_new(sizeof(*note) + all.size);
    memcpy(note->ends, ends, sizeof(ends));
    if (all.size > 0)
        memcpy(note->texts, all.at, all.size);
    note->at = clock_now_us();
    note->actor_id = event->actor_id;
    note->hash = bytes_hash(notes->seed, note->texts, ends[TEXTS - 2]);
    return note;
}

static struct slice note_text(const struct note *note, size_t place)
{
    size_t start = place == 0 ? 0 : note->ends[place - 1];

    return (struct slice){note->texts + start, note->ends[place] - start};
}

static struct audit_event note_event(const struct note *note)
{
    return (struct audit_event){.actor = note_text(note, 0),
                                .actor_id = note->actor_id,
                                .action = note_text(note, 1),
                                .target = note_text(note, 2),
                                .outcome = note_text(note, 3),
                                .remote = note_text(note, 4),
                                .detail = note_text(note, 5),
                                .request_id = note_text(note, 6)};
}

/* Its minute has not passed; a clock that was set back ends it too. */
static bool is_fresh(const struct note *note, int64_t now)
{
    return note->at <= now && now - note->at < MINUTE_US;
}

static bool is_repeat(const struct note *note, const struct note *fresh)
{
    return note->hash == fresh->hash && note->actor_id == fresh->actor_id &&
           memcmp(note->ends, fresh->ends, (TEXTS - 1) * sizeof(note->ends[0])) == 0 &&
           memcmp(note->texts, fresh->texts, note->ends[TEXTS - 2]) == 0 &&
           is_fresh(note, fresh->at);
}

/* --- adding --- */

/* Under the lock: those whose minute has passed and that are written. */
static void forget_old(struct notes *notes, int64_t now)
{
    size_t kept = 0;

    for (size_t i = 0; i < notes->count; i++) {
        struct note *note = notes->items[i];
        if (note->pending > 0 || note->writing > 0 || is_fresh(note, now))
            notes->items[kept++] = note;
        else
            free(note);
    }
    notes->count = kept;
}

static struct note *find_repeat(struct notes *notes, const struct note *fresh)
{
    for (size_t i = 0; i < notes->count; i++)
        if (is_repeat(notes->items[i], fresh))
            return notes->items[i];
    return NULL;
}

void notes_add(struct notes *notes, const struct audit_event *event)
{
    OWNED(memory_drop) struct note *fresh = note_new(notes, event);

    pthread_mutex_lock(&notes->lock);
    struct note *note = find_repeat(notes, fresh);
    if (note == NULL && notes->count == NOTES_MAX)
        forget_old(notes, fresh->at);
    if (note == NULL && notes->count < NOTES_MAX)
        note = notes->items[notes->count++] = TAKE(fresh);
    if (note != NULL)
        note->pending++;
    else
        notes->dropped++;
    if (!notes->waiting)
        pthread_cond_signal(&notes->changed);
    notes->waiting = true;
    pthread_mutex_unlock(&notes->lock);
}

void audit_note(struct storage *store, const struct audit_event *event)
{
    notes_add(store->notes, event);
}

/* --- flushing --- */

struct batch {
    struct note *notes[FLUSH_BATCH];
    struct meta_note rows[FLUSH_BATCH + 1]; /* one more for those dropped */
    size_t count;
    uint64_t dropped;
};

static void batch_take(struct notes *notes, struct batch *batch)
{
    pthread_mutex_lock(&notes->lock);
    batch->count = 0;
    batch->dropped = notes->dropped;
    notes->dropped = 0;
    notes->waiting = false;
    for (size_t i = 0; i < notes->count; i++) {
        struct note *note = notes->items[i];
        if (note->pending == 0)
            continue;
        if (batch->count == FLUSH_BATCH) {
            notes->waiting = true;
            break;
        }
        note->writing = note->pending;
        note->pending = 0;
        batch->notes[batch->count] = note;
        batch->rows[batch->count++] =
            (struct meta_note){note_event(note), note->at, note->writing, note->row};
    }
    pthread_mutex_unlock(&notes->lock);
}

static void batch_give_back(struct notes *notes, struct batch *batch, bool written)
{
    pthread_mutex_lock(&notes->lock);
    for (size_t i = 0; i < batch->count; i++) {
        struct note *note = batch->notes[i];
        if (written)
            note->row = batch->rows[i].row;
        else
            note->pending += note->writing;
        note->writing = 0;
    }
    if (!written) {
        notes->dropped += batch->dropped;
        notes->waiting = true;
    }
    forget_old(notes, clock_now_us());
    pthread_mutex_unlock(&notes->lock);
}

static int batch_write(struct notes *notes, struct batch *batch, struct error *err)
{
    size_t count = batch->count;

    if (batch->dropped > 0) {
        const struct audit_event event = {.action = SLICE("audit.dropped"),
                                          .outcome = SLICE("done")};
        batch->rows[count++] = (struct meta_note){event, clock_now_us(), batch->dropped, 0};
        log_event(LOG_WARNING, "audit.dropped", F_U64("events", batch->dropped));
    }
    return count == 0 ? 0 : meta_audit_notes(notes->meta, batch->rows, count, err);
}

int notes_flush(struct notes *notes, struct error *err)
{
    OWNED(memory_drop) struct batch *batch = memory_new(sizeof(*batch));
    int result = 0;

    pthread_mutex_lock(&notes->flushing);
    do {
        batch_take(notes, batch);
        result = batch_write(notes, batch, err);
        batch_give_back(notes, batch, result == 0);
    } while (result == 0 && batch->count == FLUSH_BATCH);
    pthread_mutex_unlock(&notes->flushing);
    return result;
}

static void flush_or_log(struct notes *notes, const char *what)
{
    struct error err = {0};

    if (notes_flush(notes, &err) < 0)
        log_event(LOG_WARNING, what, F_TEXT("error", err.message), F_TEXT("cause", err.cause));
}

/* --- the thread --- */

/* Until something waits, and then for as long as others may join it; false at the end. */
static bool flush_wait(struct notes *notes)
{
    int waited = 0;

    pthread_mutex_lock(&notes->lock);
    while (!notes->closing && !notes->waiting)
        pthread_cond_wait(&notes->changed, &notes->lock);
    struct timespec until = clock_monotonic_after(notes->flush_ms);
    while (!notes->closing && waited == 0)
        waited = pthread_cond_timedwait(&notes->changed, &notes->lock, &until);
    bool go_on = !notes->closing;
    pthread_mutex_unlock(&notes->lock);
    return go_on;
}

static void *flush_main(void *arg)
{
    thread_role_current = ROLE_WORKER;
    pthread_setname_np(pthread_self(), "audit");
    while (flush_wait(arg))
        flush_or_log(arg, "audit.delayed");
    return NULL;
}

struct notes *notes_open(struct meta *meta, uint64_t flush_ms)
{
    struct notes *notes = memory_new(sizeof(*notes));

    notes->meta = meta;
    notes->flush_ms = flush_ms;
    random_bytes(&notes->seed, sizeof(notes->seed));
    pthread_mutex_init(&notes->flushing, NULL);
    pthread_mutex_init(&notes->lock, NULL);
    clock_condition_init(&notes->changed);
    if (pthread_create(&notes->thread, NULL, flush_main, notes) != 0)
        abort();
    return notes;
}

void notes_close(struct notes *notes)
{
    if (notes == NULL)
        return;
    pthread_mutex_lock(&notes->lock);
    notes->closing = true;
    pthread_cond_signal(&notes->changed);
    pthread_mutex_unlock(&notes->lock);
    pthread_join(notes->thread, NULL);
    flush_or_log(notes, "audit.lost");
    for (size_t i = 0; i < notes->count; i++)
        free(notes->items[i]);
    pthread_cond_destroy(&notes->changed);
    pthread_mutex_destroy(&notes->lock);
    pthread_mutex_destroy(&notes->flushing);
    free(notes);
}
