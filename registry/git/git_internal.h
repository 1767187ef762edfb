/* git_internal.h - shared by the files of git/: serve.c (requests), start.c and service.c (a
 * request's children), room.c (threads), command.c (what git is told), session.c, judge.c, plan.c,
 * building.c and moving.c (a push), settle.c (pushes that were cut off), repository.c (folders and
 * refs), care.c (what is not needed any more), hook.c (the other side of a push). Touches  nothing.
 * Never    included from outside git/.
 *
 * One thread, the room's, waits for everything: children, hooks, times. What may block on storage
 * is done by a few step threads, a session at a time. git->lock is held for moments only, and never
 * while storage is asked. */
#ifndef SLIPWAY_GIT_INTERNAL_H
#define SLIPWAY_GIT_INTERNAL_H

#include <dirent.h>
#include <pthread.h>

#include "auth/auth.h"
#include "registry/git/git.h"
#include "registry/git/push.h"
#include "registry/git/refs.h"
#include "s2i/s2i.h"
#include "s2i/wire.h"

enum {
    STEP_THREADS = 4,
    PRESENT_MAX = 10000, /* refs of a repository that others are compared with */
    NETWORK_SIZE = 8,
    MESSAGES_MAX = 64, /* of a hook that wait to be looked at: git asks one thing at a time */
    REASON_MAX = 96,   /* of a refused ref, and the end. Spec: 13.7 */
    ERRORS_MAX = 400,  /* bytes of what a child complains that are kept for the log */
};

/* --- between the server and the hooks of one push: kinds of packets (wire.h) --- */

enum hook_kind {
    HOOK_PUSH = 'p',    /* what receive-pack told proc-receive: a text in pieces */
    HOOK_ASK = 'q',     /* back: a line "commit OID" or "within OLD NEW" for each question; text */
    HOOK_KNOWN = 'k',   /* a line for each: the commit or "-"; "yes" or "no". Text */
    HOOK_SAY = 's',     /* back: a piece for the pusher */
    HOOK_FOLLOW = 'l',  /* back: a descriptor whose bytes are for the pusher, to its end */
    HOOK_REPORT = 'r',  /* back: what to answer receive-pack; text; the hook ends */
    HOOK_MOVE = 'm',    /* the state of a reference transaction, a newline, its lines; text */
    HOOK_VERDICT = 'v', /* back, for "prepared": empty, or why it must not be */
};
#define HOOK_DESCRIPTOR "SLIPWAY_HOOK"

/* --- repositories (repository.c) --- */

/* Sound for a folder: no component ends in ".git". */
bool repository_name_sane(struct slice name);
/* "<repositories>/<name>.git"; freed by the caller. */
char *repository_path(const struct git *git, struct slice name);
bool repository_exists(const char *path);
/* Which one stands there: another number after it was deleted and made anew. 0: none. */
uint64_t repository_number(const char *path);
/* Makes it with all folders above, unless it is there. */
int repository_make(const char *path, struct error *err) MUST_CHECK;
/* A folder of it by its path in there, no symbolic link on the way; NULL: there is none. */
DIR *repository_folder(const char *path, const char *name);
/* A file of it, whole or not at all. */
int repository_write(const char *path, const char *name, struct slice bytes,
                     struct error *err) MUST_CHECK;
/* What a ref holds; false: there is none. */
bool repository_ref(const char *path, const char *ref, char out[GIT_OID_SIZE + 1]);
struct held_ref {
    const char *ref; /* which nothing can be objected to */
    int state;       /* 1; 0: there is none; -1: it cannot be read */
    char oid[GIT_OID_SIZE + 1];
};
/* Fills the states of many at once. */
void repository_refs_find(const char *path, struct held_ref *refs, size_t count);
/* 1: it holds this object, or is not there when that is none; 0; -1: it cannot be read. */
int held_ref_is(const struct held_ref *held, const char *oid);
/* That they moved survives a power cut: git syncs a ref's file, and not the folders it stands in.
 */
void repository_refs_sync(const char *path, char *const *refs, size_t count);
/* Names of all branches and tags, at most `limit`. False: not all could be read. */
bool repository_refs(const char *path, size_t limit, struct s2i_list *out);
/* Whether there is anything that a client would see, or may be: where it cannot be read. */
bool repository_has_refs(const char *path);
/* The ref that HEAD names, "refs/heads/main". */
bool repository_head(const char *path, char out[PUSH_REF_SIZE_MAX]);
int repository_head_put(const char *path, const char *ref, struct error *err) MUST_CHECK;
/* Makes refs/builds/<id>, which no client sees: the commit stays while its build needs it. */
int repository_pin(const char *path, int64_t build, const char *commit,
                   struct error *err) MUST_CHECK;
/* Removes it, when it has no ref and no build needs it. */
void repository_remove_empty(const char *path);
/* Removes what interrupted children left: locks, folders of objects that came in. Only while no
 * push is under way there. */
void repository_sweep(const char *path);

/* --- git as a child (command.c) --- */

enum { ENVIRONMENT_MAX = 128, CHILD_CPU_S = 3600 };

struct environment {
    char *items[ENVIRONMENT_MAX]; /* ends in NULL */
    size_t count, settings;
};
void environment_drop(struct environment *environment);
void environment_add(struct environment *environment, const char *format, ...) PRINTF_LIKE(2, 3);
/* "2.39" of git version is at least this, which knows settings by the environment and the hooks we
 * need. */
enum { GIT_MAJOR = 2, GIT_MINOR = 31 };
bool command_is_new(const struct git *git);
/* All settings; hooks: the folder of hooks. */
void environment_fill(const struct git *git, const char *hooks, struct environment *environment);

/* --- places: which repositories are in use (care.c) --- */

struct session;
struct place {
    struct place *next;
    char *name;
    unsigned pushes;               /* under way: no care is taken meanwhile */
    unsigned looks;                /* who reads it: it does not go meanwhile */
    struct session *turn;          /* whose refs are being judged and moved */
    struct session *first, **last; /* that wait for it, in order */
    bool caring, yields;           /* care is being taken; it is to stop for a push */
    bool used, dirty;    /* since care was taken; and objects are there that nobody needs */
    bool swept, lingers; /* it has no ref any more, and goes after the last look */
    int carer;           /* descriptor of the child of care; -1: none */
    uint64_t clean_size; /* bytes after care was taken; 0: not known */
};
/* A push begins: care in it ends first. Blocks for moments. */
struct place *place_enter(struct git *git, struct slice name) ON(worker_thread);
/* dirty: it left objects that nobody needs. */
void place_leave(struct git *git, struct place *place, bool dirty);
/* The folder that somebody who reads is shown: what is at path, or nothing at all (git->nothing)
 * where no ref is, which looks the same. *looked: path stays until it is given back; NULL: there is
 * nothing to give back. Keeps no care away. */
const char *place_look(struct git *git, struct slice name, const char *path, struct place **looked)
    ON(worker_thread);
void place_looked(struct git *git, struct place *place); /* with git->lock */

struct care;
int care_open(struct git *git, struct error *err) MUST_CHECK;
void care_close(struct git *git);

/* --- services: a request's children (start.c, service.c) --- */

enum service_kind { SERVICE_ADVERTISE, SERVICE_FETCH, SERVICE_PUSH };

enum watch_kind { WATCH_WAKE, WATCH_CHILD, WATCH_ERRORS, WATCH_HOOK, WATCH_DRAIN };
struct watch {
    enum watch_kind kind;
    int fd; /* -1: none */
    struct service *service;
    pid_t pid; /* WATCH_CHILD; 0: none, or reaped */
};

/* Everything is under git->lock once it is in the list. */
struct service {
    struct git *git;
    struct service *next, *previous;
    enum service_kind kind;
    char *name; /* of the repository */
    char request_id[REQUEST_ID_MAX + 1];
    int64_t account; /* whose it is; 0: whoever comes from the network */
    uint8_t network[NETWORK_SIZE];
    struct watch children[2]; /* git; gzip */
    struct watch complaints, hook, drain;
    char errors[ERRORS_MAX];
    size_t errors_size;
    uint64_t deadline_ms, kill_ms; /* 0: none */
    int status;                    /* git's, as of waitpid */
    int tail;                      /* into the reply, so that it ends after git did; -1: closed */
    _Atomic bool failed;           /* git did: its reply is not whole */
    bool replied, gone;            /* the reply has ended; because the client went */
    bool ending;                   /* was told to end */
    bool heard_out;                /* no hook will say anything more */
    struct session *session;       /* SERVICE_PUSH */
    struct place *looked;          /* as place_look has it; may be NULL */
};

struct service_wish {
    enum service_kind kind;
    bool push;         /* SERVICE_ADVERTISE: of receive-pack */
    struct slice name; /* of the repository */
    const char *path;  /* its folder */
    bool gzip;
    struct place *looked; /* consumed; may be NULL */
};
/* Starts the children and answers with what git writes; *input is what it reads, NULL for
 * SERVICE_ADVERTISE. session: consumed on success.
 * TOOMANYREQUESTS, UNAVAILABLE */
int service_start(struct git *git, const struct service_wish *wish, const struct request *request,
                  struct session *session, struct reply *reply, int *input,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* With git->lock: */
void service_uncount(struct service *service);
void service_free(struct service *service); /* its descriptors are closed */
/* and on the room's thread: */
void service_ready(struct service *service, struct watch *watch);
/* Times, clients that went. True when it is over and was freed. *due_ms: when to look again. */
bool service_look(struct service *service, uint64_t now_ms, uint64_t *due_ms);
void service_end(struct service *service); /* asks its children to end; then they are killed */

/* --- the room (room.c) --- */

struct git {
    struct git_options options;
    char *folder, *repositories, *hooks, *nothing; /* nothing: an empty repository */
    const char *program, *gzip;
    pthread_mutex_t lock;
    int epoll;
    struct watch wake;
    char *piece; /* WIRE_PIECE_MAX + 1 bytes, of the room's thread */
    pthread_t thread, steppers[STEP_THREADS];
    size_t stepper_count;
    bool has_thread, closing, steps_over;
    struct service *services;
    size_t service_count, fetch_count;
    struct session *ready, **ready_last; /* for step threads */
    pthread_cond_t work, place_changed;
    struct place *places;
    struct care *care;
};
void room_wake(struct git *git);
int room_watch(struct git *git, struct watch *watch, struct error *err) MUST_CHECK;
void room_unwatch(struct git *git, const struct watch *watch); /* stays open */
void room_forget(struct git *git, struct watch *watch);        /* closes it */

/* --- pushes (session.c) --- */

enum session_event {
    EVENT_MESSAGE = 1,
    EVENT_TURN = 2,  /* the repository's refs are ours */
    EVENT_LOOK = 4,  /* it is time to look for the build's log */
    EVENT_BUILT = 8, /* the build has ended */
    EVENT_GONE = 16, /* the client went */
    EVENT_OVER = 32, /* git has ended */
};

/* What becomes of one ref. */
enum ref_state { REF_ASKED, REF_ACCEPTED, REF_REFUSED };
struct pushed_ref {
    const struct push_command *command;
    enum ref_state state;
    bool build; /* before it is accepted */
    bool moved; /* git has told that the transaction is through */
    bool tags_moved;
    int64_t id;                    /* of its build; 0: none */
    bool held;                     /* its build's tags wait for the ref */
    char commit[GIT_OID_SIZE + 1]; /* peeled; "" is none */
    struct s2i_list tags;
    char reason[REASON_MAX];
};

struct hook_message {
    struct hook_message *next;
    enum hook_kind kind;
    struct buffer text;
};

struct waiter; /* of a build's end */

struct session {
    struct git *git;
    struct service *service;      /* under git->lock; NULL before it has begun */
    struct session *next;         /* in git->ready */
    struct session *waiting_next; /* in place->first */
    struct place *place;
    char *repository, *path;
    uint64_t number;               /* of the repository as this push found it */
    const struct identity *caller; /* held */
    char remote[64], request_id[REQUEST_ID_MAX + 1];
    char *address; /* of this server, as the pusher calls it: "https://host" */
    char *called;  /* the host his request names; "": none */
    int channel;   /* to the hooks; the service closes it */
    /* under git->lock */
    char refusal[200]; /* of a transaction: git ends without a word */
    unsigned events;
    bool queued, busy, over, gone;
    uint64_t look_ms; /* 0: never */
    struct hook_message *messages, **message_last;
    unsigned message_count; /* in messages */
    struct hook_message *arriving;
    struct waiter *waiter;
    struct { /* of the build that has ended */
        enum build_state state;
        bool ran; /* its log says why */
        char reason[64], message[300];
    } built;
    /* of the step thread that has it */
    struct push_request push;
    struct push_wishes wishes;
    struct s2i_options options;
    struct pushed_ref *refs;
    size_t at; /* the ref that is being built */
    char default_ref[PUSH_REF_SIZE_MAX], head[PUSH_REF_SIZE_MAX];
    bool asked, following, reported, paused;
    bool left;          /* the hook does not listen any more, or too slowly */
    uint64_t waited_ms; /* for it to listen */
    bool deserted;      /* the pusher went */
    bool called_off;    /* and git is about to end: nothing begins any more */
    uint64_t look_pause_ms;
    uint64_t ahead; /* as it was told last; UINT64_MAX: not yet */
};

struct session *session_new(struct git *git, const struct request *request, struct place *place);
void session_drop(struct session **session);
/* With git->lock. */
void session_post(struct session *session, enum session_event event);
void session_arrived(struct session *session); /* the channel can be read */
/* On a step thread. */
void session_step(struct session *session, unsigned events, struct hook_message *messages)
    ON(worker_thread);

void session_say(struct session *session, const char *format, ...) PRINTF_LIKE(2, 3);
/* Where nobody listens, or too slowly, session->left: nothing more is said, and git is ended. */
void session_send(struct session *session, enum hook_kind kind, struct slice text, int fd,
                  bool pieces);
/* Whether git still writes into what stands under the name: it may be deleted during a push. */
bool session_repository_stands(const struct session *session);
void ref_refuse(struct pushed_ref *ref, const char *format, ...) PRINTF_LIKE(2, 3);
struct actor session_actor(const struct session *session);

/* judge.c: what is asked of whom, before anything is built. */
void judge_begin(struct session *session, struct slice text) ON(worker_thread);
void judge_turn(struct session *session) ON(worker_thread);
void judge_known(struct session *session, struct slice text) ON(worker_thread);

/* plan.c: what is built, and as what. */
void plan_builds(struct session *session) ON(worker_thread);
/* The builds have ended: what may not move any more is refused before refs are locked, when git can
 * say so for each ref. */
void plan_again(struct session *session) ON(worker_thread);

/* building.c: one ref after another. */
void building_next(struct session *session) ON(worker_thread);
void building_look(struct session *session) ON(worker_thread);
void building_ended(struct session *session) ON(worker_thread);
void building_gone(struct session *session) ON(worker_thread); /* the pusher went */

void building_cancel(struct session *session, const char *reason) ON(worker_thread);

/* settle.c: before anything is served. */
int settle_left(struct git *git, struct error *err) MUST_CHECK ON(worker_thread);

/* moving.c: the refs move, and the tags with them. */
void moving_told(struct session *session, struct slice text) ON(worker_thread);
void moving_over(struct session *session) ON(worker_thread);

#endif
