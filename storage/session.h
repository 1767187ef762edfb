/* session.h - the upload sessions a process has in memory: who writes, where it stands, its hash.
 * Touches  memory; through the sweep's calls also bytes under the session's locator and its row.
 * Never    answers a client: upload.c does.
 *
 * A session comes into memory with its first claim and leaves it some seconds after the last, when
 * it is synced and its row tells the same. */
#ifndef SLIPWAY_STORAGE_SESSION_H
#define SLIPWAY_STORAGE_SESSION_H

#include <pthread.h>

#include "registry/core/oci.h"
#include "storage/meta.h"
#include "storage/storage_internal.h"

enum {
    SESSION_BUCKETS = 1024,
    SESSION_IDLE_MAX = 256,             /* sessions between two claims that may keep a descriptor */
    SESSION_CHECKPOINT_SIZE = 64 << 20, /* this much unsynced: synced and recorded though in use */
};

enum session_state {
    SESSION_LIVE,
    SESSION_LEFT,    /* no longer in memory; its row, if there is one, decides */
    SESSION_GONE,    /* its row is gone; what became of its bytes the database knows */
    SESSION_TRASHED, /* its locator is in trash for certain: cancelled, expired, mismatched */
    SESSION_LOST,    /* the same, because a sync failed */
};

/* Members are guarded by the table's lock. Those marked (owner) belong to the thread inside a call
 * while `busy`; it writes them without the lock. */
struct session {
    struct session *next; /* in its bucket */
    struct upload_table *table;
    unsigned references; /* the table's while LIVE, one a claim and a sync */
    enum session_state state;

    char id[OCI_UPLOAD_ID_SIZE + 1];   /* immutable */
    char locator[LOCATOR_SIZE + 1];    /* immutable once loaded */
    enum digest_algorithm algorithm;   /* immutable once loaded */
    char repository[OCI_NAME_MAX + 1]; /* immutable */
    const struct upload *owner;        /* who may write; NULL: idle */
    bool loading;                      /* the first owner still reads its row */
    bool busy;                         /* the owner is inside a call */
    bool closing;                      /* a finish has begun: no new sync */
    bool syncing;                      /* a sync is under way on the writer */
    bool failed;                       /* it failed: whoever is busy ends the session */
    unsigned waiting;                  /* threads that wait for a change */
    uint64_t moved_ms;                 /* monotonic; the last claim or call that moved something */
    uint64_t idle_since_ms;            /* monotonic */
    int64_t expires_at;                /* as its row says */

    struct blob_writer *writer; /* (owner) NULL: nothing was appended since it was loaded */
    uint64_t offset;            /* bytes received; written under the lock */
    struct hasher hasher;       /* (owner) stands at offset */
    uint64_t start;             /* offset where the claim began, or was given back */
    struct hasher start_hasher;
    uint64_t synced;         /* as its row says */
    int64_t account;         /* immutable once loaded */
    struct quota_hold *hold; /* (owner) what it has reserved; NULL: nothing yet */
};

struct upload_table {
    struct storage *store; /* immutable */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a sync ended, a session ended */
    struct session *buckets[SESSION_BUCKETS];
    size_t idle; /* sessions without an owner */
};

/* With the table's lock held. */
struct session *session_find(struct upload_table *table, struct slice repository, struct slice id);
struct session *session_insert(struct upload_table *table, struct slice repository,
                               struct slice id);
/* Takes it out of memory; the first state stays. Wakes who waits. */
void session_end(struct session *session, enum session_state state);
void session_wake(struct session *session);
/* Waits for a change until the deadline (monotonic); false when it passed. */
bool session_wait(struct session *session, uint64_t deadline_ms);

/* Without the lock. The last reference closes the descriptor. */
void session_release(struct session *session) ON(worker_thread);
/* Settles one idle session when there are too many: whoever makes them pays for it. */
void session_trim(struct upload_table *table) ON(worker_thread);
/* After a sync failed: nothing since the last good one can be trusted, so those bytes are cut off
 * and the row goes to trash. The caller is busy, and is no longer afterwards. */
void session_lose(struct session *session) ON(worker_thread);

#endif
