/* test_git_room.c - requests with children whose start fails at each call that may: nothing is
 * left, nothing is freed that the room's thread may still be told of, and the next one starts. Care
 * comes to its turn whoever reads, and takes nothing away that is being read. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/config.h"
#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/git/git_internal.h"
#include "registry/services.h"
#include "tests/support/store.h"

/* --- the nth descriptor that is to be watched is refused, as when the kernel has no memory --- */

static pthread_t patient; /* the thread whose calls are counted */
static int fails_at, calls;
static const char *going; /* a folder that is deleted in this moment; NULL */

/* In the place of the library's. What was watched before has time to happen meanwhile. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    __typeof__(&epoll_ctl) real;

    *(void **)&real = dlsym(RTLD_NEXT, "epoll_ctl");
    if (operation == EPOLL_CTL_ADD && fails_at > 0 && pthread_equal(pthread_self(), patient) &&
        ++calls == fails_at) {
        usleep(30000);
        if (going != NULL)
            folder_erase(AT_FDCWD, going);
        errno = ENOMEM;
        return -1;
    }
    return real(epoll, operation, fd, event);
}

static _Thread_local struct buffer *synced; /* last names of what this thread syncs; NULL */

/* In the place of the library's. */
int fsync(int fd)
{
    __typeof__(&fsync) real;

    *(void **)&real = dlsym(RTLD_NEXT, "fsync");
    if (synced != NULL) {
        OWNED(memory_drop) char *link = memory_print("/proc/self/fd/%d", fd);
        char name[PATH_MAX] = "";
        assert_true(readlink(link, name, sizeof(name) - 1) > 0);
        buffer_print(synced, "%s ", strrchr(name, '/') + 1);
    }
    return real(fd);
}

struct room {
    struct fixture *store;
    struct config config;
    struct git *git;
    struct session *session;
};

static int room_set_up(void **state)
{
    struct room *room = memory_new(sizeof(*room));
    struct error err = {0};
    void *store = NULL;

    mallopt(M_PERTURB, 0x5a); /* what is freed is not what it was */
    fixture_set_up(&store);
    room->store = store;
    room->config.storage_root = room->store->root;
    room->config.builds_enabled = true;
    room->config.builds_sources_max_size = 1 << 20;
    room->config.builds_repository_max = 1 << 20;
    room->config.builds_git_requests = 8;
    room->config.builds_git_fetches = 4;
    room->config.builds_git_timeout = 3600000;
    room->config.builds_git_memory = 1 << 30;
    const struct git_options options = {.storage = room->store->store, .config = &room->config};
    assert_int_equal(git_open(&room->git, &options, &err), 0);
    assert_non_null(room->git);
    patient = pthread_self();
    *state = room;
    return 0;
}

static int room_tear_down(void **state)
{
    struct room *room = *state;
    void *store = room->store;

    fails_at = 0;
    git_close(room->git);
    fixture_tear_down(&store);
    free(room);
    return 0;
}

static uint8_t from; /* the network that asks */

/* A push of which nothing came yet; nobody asks for what was not begun. */
static int start(struct room *room, enum service_kind kind, bool gzip, struct reply *reply)
{
    const struct service_wish wish = {
        .kind = kind, .push = true, .name = REPOSITORY, .path = room->git->nothing, .gzip = gzip};
    const struct request request = {.name = REPOSITORY, .network = {127, 0, 0, from}};
    struct error err = {0};
    int input = -1;

    room->session = kind == SERVICE_PUSH ? memory_new(sizeof(*room->session)) : NULL;
    if (room->session != NULL)
        room->session->message_last = &room->session->messages;
    int outcome = service_start(room->git, &wish, &request, room->session, reply,
                                kind == SERVICE_ADVERTISE ? NULL : &input, &err);
    assert_true(outcome == 0 || err.code == ERROR_UNAVAILABLE || err.code == ERROR_TOOMANYREQUESTS);
    if (input >= 0)
        close(input);
    return outcome;
}

static bool is_empty(struct git *git)
{
    pthread_mutex_lock(&git->lock);
    bool empty = git->service_count == 0 && git->services == NULL && git->fetch_count == 0;
    pthread_mutex_unlock(&git->lock);
    return empty;
}

static void wait_until_empty(struct git *git)
{
    for (int i = 0; i < 12000 && !is_empty(git); i++)
        usleep(5000);
    assert_true(is_empty(git));
}

static void check(struct room *room, enum service_kind kind, bool gzip, int watched)
{
    for (fails_at = 1; fails_at <= watched; fails_at++) {
        struct reply reply;
        reply_init(&reply);
        calls = 0;
        assert_int_equal(start(room, kind, gzip, &reply), -1);
        wait_until_empty(room->git);
        if (room->session != NULL) {
            assert_null(room->session->service); /* it stayed ours, and nothing happened to it */
            assert_true(room->session->events == 0 && !room->session->queued);
        }
        free(room->session);
        reply_drop(&reply);
    }
    fails_at = 0;
}

static void test_room_a_start_that_fails_leaves_nothing(void **state)
{
    struct room *room = *state;

    check(room, SERVICE_ADVERTISE, false, 2);
    check(room, SERVICE_FETCH, false, 2);
    check(room, SERVICE_FETCH, true, 3);
    check(room, SERVICE_PUSH, false, 3);
    check(room, SERVICE_PUSH, true, 4);
}

static void test_room_the_next_one_starts(void **state)
{
    struct room *room = *state;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct reply reply;

    check(room, SERVICE_ADVERTISE, false, 1);
    reply_init(&reply);
    assert_int_equal(start(room, SERVICE_ADVERTISE, false, &reply), 0);
    assert_int_equal(fd_read(reply.fd, 1 << 16, &text), 0);
    assert_true(slice_starts(buffer_slice(&text), "001f# service=git-receive-pack\n"));
    assert_false(is_empty(room->git)); /* until the reply has ended */
    reply_drop(&reply);
    wait_until_empty(room->git);
}

/* How many more one address gets; they are begun, and stay. */
static size_t takes(struct room *room, uint8_t network, enum service_kind kind,
                    struct reply *replies)
{
    size_t count = 0;

    from = network;
    while (count < 8) {
        reply_init(&replies[count]);
        if (start(room, kind, false, &replies[count]) < 0)
            return count;
        count++;
    }
    return count;
}

static void give_back(struct room *room, struct reply *replies, size_t count)
{
    while (count > 0)
        reply_drop(&replies[--count]);
    wait_until_empty(room->git);
    from = 0;
}

/* Of eight places one gets four, the next two, and there is always one for somebody new; of the
 * four for clones the same. */
static void test_room_nobody_gets_more_than_are_free(void **state)
{
    static const struct {
        uint8_t network;
        enum service_kind kind;
        size_t wanted;
    } rows[] = {
        {1, SERVICE_ADVERTISE, 4}, {2, SERVICE_ADVERTISE, 2}, {3, SERVICE_ADVERTISE, 1},
        {4, SERVICE_ADVERTISE, 1}, {5, SERVICE_ADVERTISE, 0}, {0, SERVICE_ADVERTISE, 0},
        {1, SERVICE_FETCH, 2},     {2, SERVICE_FETCH, 1},     {3, SERVICE_FETCH, 1},
        {1, SERVICE_ADVERTISE, 1},
    };
    struct room *room = *state;
    struct reply replies[32];
    size_t count = 0, taken[LENGTH(rows)] = {0};

    for (size_t i = 0; i < LENGTH(rows); i++) {
        if (rows[i].network == 0) {
            give_back(room, replies, count);
            count = 0;
            continue;
        }
        taken[i] = takes(room, rows[i].network, rows[i].kind, replies + count);
        count += taken[i];
    }
    give_back(room, replies, count);
    for (size_t i = 0; i < LENGTH(rows); i++)
        assert_int_equal(taken[i], rows[i].wanted);
}

/* --- care, and those who read --- */

struct bare {
    struct git *git;
    char *path, *left; /* a file that care sweeps */
};

static void bare_open(struct bare *bare, struct git *git)
{
    struct error err = {0};

    bare->git = git;
    bare->path = repository_path(git, REPOSITORY);
    bare->left = folder_path(bare->path, "objects/tmp_left");
    assert_int_equal(repository_make(bare->path, &err), 0);
}

static void bare_drop(struct bare *bare)
{
    free(bare->path);
    free(bare->left);
}

static void bare_run(const struct bare *bare, const char *words)
{
    OWNED(memory_drop)
    char *line = memory_print("cd %s && GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a "
                              "GIT_COMMITTER_EMAIL=a %s",
                              bare->path, words);

    assert_int_equal(system(line), 0); /* NOLINT(cert-env33-c): words of this file */
}

static void bare_commit(const struct bare *bare)
{
    bare_run(bare, "git update-ref refs/heads/main "
                   "$(git commit-tree -m x $(git hash-object -t tree -w /dev/null))");
}

static const char *look(const struct bare *bare, struct place **looked)
{
    return place_look(bare->git, REPOSITORY, bare->path, looked);
}

static void looked_back(const struct bare *bare, struct place *place)
{
    pthread_mutex_lock(&bare->git->lock);
    place_looked(bare->git, place);
    pthread_mutex_unlock(&bare->git->lock);
}

static void wait_gone(const char *path)
{
    for (int i = 0; i < 12000 && access(path, F_OK) == 0; i++)
        usleep(5000);
    assert_int_equal(access(path, F_OK), -1);
}

/* A push that was refused: care follows, all of it. */
static void be_refused(const struct bare *bare)
{
    struct place *place = place_enter(bare->git, REPOSITORY);
    bool caring = true;

    if (repository_exists(bare->path))
        assert_int_equal(close(creat(bare->left, 0600)), 0);
    place_leave(bare->git, place, true);
    wait_gone(bare->left);
    for (int i = 0; i < 12000 && caring; i++) {
        usleep(1000);
        pthread_mutex_lock(&bare->git->lock);
        caring =
            bare->git->places != NULL && (bare->git->places->caring || bare->git->places->dirty);
        pthread_mutex_unlock(&bare->git->lock);
    }
    assert_false(caring);
}

static void test_room_who_reads_keeps_no_care_away(void **state)
{
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    struct place *looked, *again;

    bare_open(&bare, room->git);
    bare_commit(&bare);
    assert_string_equal(look(&bare, &looked), bare.path);
    assert_non_null(looked);
    be_refused(&bare);
    assert_true(repository_exists(bare.path));
    assert_string_equal(look(&bare, &again), bare.path);
    looked_back(&bare, looked);
    looked_back(&bare, again);
    assert_true(repository_exists(bare.path));
}

/* Who reads where no ref is holds nothing. */
static void test_room_a_repository_without_a_ref_goes_at_once(void **state)
{
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    struct place *looked;

    bare_open(&bare, room->git);
    assert_string_equal(look(&bare, &looked), room->git->nothing);
    assert_null(looked);
    be_refused(&bare);
    wait_gone(bare.path);
    assert_string_equal(look(&bare, &looked), room->git->nothing);
    assert_null(looked);
}

static void test_room_what_is_read_goes_after_the_last_look(void **state)
{
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    struct place *first, *second, *third;

    bare_open(&bare, room->git);
    bare_commit(&bare);
    look(&bare, &first);
    look(&bare, &second);
    bare_run(&bare, "git update-ref -d refs/heads/main");
    be_refused(&bare);
    assert_true(repository_exists(bare.path));
    assert_string_equal(look(&bare, &third), room->git->nothing);
    assert_null(third);
    looked_back(&bare, first);
    be_refused(&bare);
    assert_true(repository_exists(bare.path));
    looked_back(&bare, second);
    wait_gone(bare.path);
}

/* Between the look at it and the start of git: the answer is that of a repository nobody made, to
 * who pushes that of an empty one. */
static void test_room_a_repository_that_is_deleted_meanwhile(void **state)
{
    struct room *room = *state;
    const struct services services = {.storage = room->store->store, .git = room->git};
    static const struct {
        const char *endpoint;
        int outcome;
    } rows[] = {{"git.fetch.refs", -1}, {"git.push.refs", 0}};

    for (size_t i = 0; i < LENGTH(rows); i++) {
        OWNED(bare_drop) struct bare bare = {.git = NULL};
        struct request request = {.name = REPOSITORY, .services = &services};
        struct reply reply;
        struct error err = {0};

        bare_open(&bare, room->git);
        bare_commit(&bare);
        reply_init(&reply);
        going = bare.path;
        fails_at = 1;
        calls = 0;
        assert_string_equal(git_routes.routes[i].endpoint, rows[i].endpoint);
        int outcome = git_routes.routes[i].handle(&request, &reply, &err);
        fails_at = 0;
        going = NULL;
        reply_drop(&reply);
        assert_int_equal(outcome, rows[i].outcome);
        assert_true(outcome == 0 || err.code == ERROR_NOT_FOUND);
        wait_until_empty(room->git);
    }
}

/* --- what cannot be read is not gone --- */

static void keeps_all(const struct bare *bare)
{
    assert_true(repository_has_refs(bare->path));
    repository_remove_empty(bare->path);
    assert_true(repository_exists(bare->path));
}

static int ref_is(const struct bare *bare, const char *ref, const char *oid)
{
    struct held_ref held = {.ref = ref};

    repository_refs_find(bare->path, &held, 1);
    return held_ref_is(&held, oid);
}

/* Loose, packed, none, and one in whose place a folder is. */
static void test_room_many_refs_are_found_at_once(void **state)
{
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    struct held_ref held[] = {{.ref = "refs/tags/packed"},   {.ref = "refs/heads/main"},
                              {.ref = "refs/heads/none"},    {.ref = "refs/heads/b/packed"},
                              {.ref = "refs/heads/b"},       {.ref = "refs/heads/main/below"},
                              {.ref = "refs/heads/a/packed"}};
    static const int states[] = {1, 1, 0, 1, 0, 0, 1};

    bare_open(&bare, room->git);
    bare_commit(&bare);
    bare_run(&bare, "git tag packed main && git branch b/packed main && git branch a/packed main "
                    "&& git pack-refs --all && git update-ref -d refs/heads/main && git branch "
                    "b/loose packed && git update-ref refs/heads/main packed");
    repository_refs_find(bare.path, held, LENGTH(held));
    for (size_t i = 0; i < LENGTH(held); i++) {
        assert_int_equal(held[i].state, states[i]);
        assert_true(held[i].state == 0 || strcmp(held[i].oid, held[0].oid) == 0);
        assert_int_equal(held_ref_is(&held[i], held[0].oid), states[i]);
    }
}

static void test_room_folders_of_many_refs_are_synced_once(void **state)
{
    static char texts[][32] = {"refs/heads/a",    "refs/heads/b", "refs/heads/deep/c",
                               "refs/heads/main", "HEAD",         "refs/tags/gone/t"};
    char *refs[LENGTH(texts)];
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    OWNED(buffer_drop) struct buffer names = BUFFER_NONE;

    bare_open(&bare, room->git);
    bare_commit(&bare);
    bare_run(&bare, "git update-ref refs/heads/deep/c main");
    OWNED(memory_drop)
    char *all = memory_print("heads refs deep heads refs heads refs tags refs %s ",
                             strrchr(bare.path, '/') + 1);
    for (size_t i = 0; i < LENGTH(texts); i++)
        refs[i] = texts[i];
    synced = &names;
    repository_refs_sync(bare.path, refs, LENGTH(refs));
    synced = NULL;
    buffer_append(&names, "", 1);
    assert_string_equal(names.at, all);
}

static void test_room_what_cannot_be_read_is_not_removed(void **state)
{
    static const char ref[] = "refs/heads/main";
    struct room *room = *state;
    OWNED(bare_drop) struct bare bare = {.git = NULL};
    char id[GIT_OID_SIZE + 1], none[GIT_OID_SIZE + 1];
    struct rlimit limit, few;

    bare_open(&bare, room->git);
    bare_commit(&bare);
    memset(none, '0', GIT_OID_SIZE);
    none[GIT_OID_SIZE] = 0;
    assert_true(repository_ref(bare.path, ref, id));
    assert_int_equal(ref_is(&bare, ref, id), 1);
    assert_int_equal(ref_is(&bare, ref, none), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    few = (struct rlimit){3, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0); /* no descriptor is to be had */
    int is = ref_is(&bare, ref, none);
    bool has = repository_has_refs(bare.path);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(is, -1);
    assert_true(has);
    keeps_all(&bare);
    bare_run(&bare,
             "git pack-refs --all && truncate -s 65M packed-refs"); /* too large to be read */
    keeps_all(&bare);
}

/* --- a hook that does not read --- */

static void test_room_who_does_not_listen_is_waited_for_once(void **state)
{
    struct room *room = *state;
    struct service service = {.git = room->git};
    struct session session = {.git = room->git, .service = &service};
    const struct timeval patience = {.tv_usec = 1000};
    char byte;
    int both[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, both), 0);
    assert_int_equal(setsockopt(both[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
    session.channel = both[0];
    for (int i = 0; i < 100000 && !session.left; i++)
        session_say(&session, "nobody reads this");
    assert_true(session.left);
    assert_true(service.ending);
    while (recv(both[1], &byte, 1, MSG_DONTWAIT) > 0)
        ;
    session_say(&session, "nor is this said");
    assert_int_equal(recv(both[1], &byte, 1, MSG_DONTWAIT), -1);
    close(both[0]);
    close(both[1]);
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, room_set_up, room_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_room_a_start_that_fails_leaves_nothing),
        ROOM_TEST(test_room_the_next_one_starts),
        ROOM_TEST(test_room_nobody_gets_more_than_are_free),
        ROOM_TEST(test_room_a_repository_that_is_deleted_meanwhile),
        ROOM_TEST(test_room_who_reads_keeps_no_care_away),
        ROOM_TEST(test_room_a_repository_without_a_ref_goes_at_once),
        ROOM_TEST(test_room_what_is_read_goes_after_the_last_look),
        ROOM_TEST(test_room_many_refs_are_found_at_once),
        ROOM_TEST(test_room_folders_of_many_refs_are_synced_once),
        ROOM_TEST(test_room_what_cannot_be_read_is_not_removed),
        ROOM_TEST(test_room_who_does_not_listen_is_waited_for_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
