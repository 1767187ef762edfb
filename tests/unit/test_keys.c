/* test_keys.c - the ring of signing keys: who signs when, what is kept, files that are not ours. */
#include "auth/keys.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "auth/key_folder.h"
#include "registry/core/base64.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

enum { LEAD = 600, KEEP = 3600, ROTATION = 86400 };

struct rig {
    char top[FOLDER_MAX], folder[FOLDER_MAX + 8];
    struct key_ring_options options;
    struct key_ring *ring;
    int64_t now;
};

static int setup(void **state)
{
    struct rig *rig = memory_new(sizeof(*rig));

    folder_new(rig->top);
    snprintf(rig->folder, sizeof(rig->folder), "%s/keys", rig->top);
    rig->options = (struct key_ring_options){
        .folder = rig->folder, .file = "", .lead_s = LEAD, .keep_s = KEEP, .rotation_s = ROTATION};
    rig->now = time(NULL);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *rig = *state;

    key_ring_close(rig->ring);
    folder_remove(rig->top);
    free(rig);
    return 0;
}

static void open_ring(struct rig *rig)
{
    struct error err = {0};

    key_ring_close(rig->ring);
    rig->ring = NULL;
    if (key_ring_open(&rig->ring, &rig->options, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
}

static bool advance(struct rig *rig, int64_t now_s)
{
    struct error err = {0};
    bool changed;

    if (key_ring_advance(rig->ring, now_s, &changed, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    return changed;
}

static size_t files(const struct rig *rig)
{
    DIR *entries = opendir(rig->folder);
    size_t count = 0;

    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

static size_t published(const struct rig *rig)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
    struct error err = {0};

    key_ring_set(rig->ring, &set);
    assert_int_equal(jwt_keys_parse(buffer_slice(&set), &keys, &err), 0);
    return keys.count;
}

/* A token, and its head: as long as one key signs, all heads are the same. */
static void sign(const struct rig *rig, struct buffer *token, char head[160])
{
    token->size = 0;
    key_ring_sign(rig->ring, SLICE("{\"iss\":\"i\",\"aud\":\"a\",\"exp\":9000000000}"), token);
    struct slice first, rest;
    assert_true(slice_split(buffer_slice(token), '.', &first, &rest));
    assert_true(slice_to_text(first, head, 160));
}

static bool verifies(const struct rig *rig, const struct buffer *token)
{
    static const char *const issuers[] = {"i"};
    struct jwt_checks checks = {
        .audience = SLICE("a"), .issuers = issuers, .issuer_count = 1, .now_s = 1000};
    struct jwt_claims claims;
    struct error err = {0};
    bool right = key_ring_verify(rig->ring, buffer_slice(token), checks, &claims, &err) == 0;

    assert_int_equal(right, key_ring_knows(rig->ring, buffer_slice(token)));
    if (right)
        jwt_claims_drop(&claims);
    return right;
}

/* A key whose name says another time. */
static void add_key(const struct rig *rig, int64_t created_s)
{
    struct key_file file = {0};
    struct error err = {0};

    assert_int_equal(key_folder_create(rig->folder, created_s, &file, &err), 0);
    key_file_drop(&file);
}

/* --- times --- */

static void test_first_key_signs_at_once(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct rig *rig = *state;
    struct stat status;
    char head[160], again[160];

    open_ring(rig);
    assert_int_equal(files(rig), 1);
    assert_int_equal(published(rig), 1);
    sign(rig, &token, head);
    assert_true(verifies(rig, &token));
    assert_int_equal(stat(rig->folder, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0700);
    open_ring(rig); /* the same key after a restart */
    assert_int_equal(files(rig), 1);
    assert_true(verifies(rig, &token));
    sign(rig, &token, again);
    assert_string_equal(head, again);
}

/* TOK-49, keys (1), keys (2): published, signing, verifying, gone. */
static void test_rotation_overlaps(void **state)
{
    OWNED(buffer_drop) struct buffer old = BUFFER_NONE, new = BUFFER_NONE, last = BUFFER_NONE;
    struct rig *rig = *state;
    struct error err = {0};
    char first[160], head[160];

    open_ring(rig);
    sign(rig, &old, first);
    int64_t start = rig->now + 1000;
    assert_int_equal(key_ring_rotate(rig->ring, start, &err), 0);
    assert_int_equal(key_ring_rotate(rig->ring, start + LEAD - 1, &err), -1); /* one at a time */
    assert_int_equal(err.code, ERROR_CONFLICT);
    error_clear(&err);
    assert_int_equal(published(rig), 2);
    assert_false(advance(rig, start + LEAD - 1));
    sign(rig, &old, head);
    assert_string_equal(head, first);
    assert_false(advance(rig, start + LEAD));
    sign(rig, &new, head);
    assert_string_not_equal(head, first);
    assert_true(verifies(rig, &old) && verifies(rig, &new));
    assert_false(advance(rig, start + LEAD + KEEP - 1 - 1));
    assert_true(verifies(rig, &old));
    assert_true(advance(rig, start + LEAD + KEEP));
    assert_false(verifies(rig, &old));
    assert_true(verifies(rig, &new));
    assert_int_equal(files(rig), 1);
    sign(rig, &last, first);
    assert_string_equal(head, first);
}

/* A process that slept through the change signed with the old key until it woke: that is kept. */
static void test_late_signatures_are_kept(void **state)
{
    OWNED(buffer_drop) struct buffer old = BUFFER_NONE;
    struct rig *rig = *state;
    struct error err = {0};
    char head[160];

    open_ring(rig);
    int64_t start = rig->now + 10;
    assert_int_equal(key_ring_rotate(rig->ring, start, &err), 0);
    sign(rig, &old, head);
    advance(rig, start + LEAD + KEEP + 100);
    assert_true(verifies(rig, &old));
    advance(rig, start + LEAD + 2 * KEEP + 99);
    assert_true(verifies(rig, &old));
    advance(rig, start + LEAD + 2 * KEEP + 100);
    assert_false(verifies(rig, &old));
}

static void test_successor_is_made_when_due(void **state)
{
    struct rig *rig = *state;

    open_ring(rig);
    assert_false(advance(rig, rig->now + ROTATION - 2));
    assert_true(advance(rig, rig->now + ROTATION + 2));
    assert_int_equal(published(rig), 2);
    assert_false(advance(rig, rig->now + ROTATION + 3)); /* one is enough */
    assert_int_equal(published(rig), 2);
    rig->options.rotation_s = 0;
    open_ring(rig);
    assert_false(advance(rig, rig->now + ROTATION + 4));
}

/* The order of files, not of starting, decides. */
static void test_restart_comes_to_the_same(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct rig *rig = *state;
    char before[160], after[160];

    open_ring(rig);
    add_key(rig, rig->now - 10 * LEAD);
    add_key(rig, rig->now - 2 * LEAD);
    add_key(rig, rig->now - LEAD / 2); /* published only */
    assert_true(advance(rig, rig->now));
    assert_int_equal(published(rig), 4);
    sign(rig, &token, before);
    open_ring(rig);
    assert_int_equal(published(rig), 4);
    sign(rig, &token, after);
    assert_string_equal(before, after);
}

static void test_clock_goes_back(void **state)
{
    OWNED(buffer_drop) struct buffer old = BUFFER_NONE, token = BUFFER_NONE;
    struct rig *rig = *state;
    struct error err = {0};
    char head[160], other[160];

    open_ring(rig);
    sign(rig, &old, head);
    for (int64_t back = 1; back < 1000 * ROTATION; back *= 10) {
        advance(rig, rig->now - back);
        sign(rig, &token, other);
        assert_true(verifies(rig, &old) && verifies(rig, &token));
    }
    /* made under a clock that was years ahead: it signs until a new one was published long enough
     */
    key_ring_close(rig->ring);
    rig->ring = NULL;
    folder_remove(rig->folder);
    struct key_file file = {0};
    assert_int_equal(mkdir(rig->folder, 0700), 0);
    assert_int_equal(key_folder_create(rig->folder, rig->now + 1000 * ROTATION, &file, &err), 0);
    open_ring(rig);
    assert_int_equal(published(rig), 2); /* the successor does not wait for years */
    sign(rig, &token, head);
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    assert_true(base64_decode(BASE64_URL, slice_of(head), &header));
    buffer_append(&header, "", 1);
    assert_non_null(strstr(header.at, jwt_key_id(file.key)));
    advance(rig, rig->now + LEAD + 5);
    sign(rig, &old, other);
    assert_string_not_equal(head, other);
    assert_true(verifies(rig, &token));
    key_file_drop(&file);
}

/* --- the folder --- */

static void test_keys_come_and_go_by_hand(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct rig *rig = *state;
    struct error err = {0};
    char head[160], path[2 * FOLDER_MAX];
    OWNED(key_names_drop) struct key_names names = {NULL, 0};

    open_ring(rig);
    sign(rig, &token, head);
    assert_int_equal(key_folder_list(rig->folder, &names, &err), 0);
    assert_int_equal(names.count, 1);
    snprintf(path, sizeof(path), "%s/%s", rig->folder, names.items[0]);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(unlink(path), 0); /* it was stolen: a fresh one at once */
    assert_true(advance(rig, rig->now + 1));
    assert_int_equal(published(rig), 1);
    assert_false(verifies(rig, &token));
    add_key(rig, rig->now - 5 * LEAD);
    assert_true(advance(rig, rig->now + 1));
    assert_int_equal(published(rig), 2);
}

static void write_file(const struct rig *rig, const char *name, const char *text, mode_t mode)
{
    char path[2 * FOLDER_MAX];

    snprintf(path, sizeof(path), "%s/%s", rig->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void remove_file(const struct rig *rig, const char *name)
{
    char path[2 * FOLDER_MAX];

    snprintf(path, sizeof(path), "%s/%s", rig->folder, name);
    assert_int_equal(remove(path), 0);
}

#define THUMB "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"

/* Each is an error that names it; the keys that are there go on. */
static void test_foreign_files_are_named(void **state)
{
    static const struct {
        const char *name, *text;
        mode_t mode;
        const char *words;
    } cases[] = {
        {"README", "", 0600, "README is none of"},
        {"20240101T000000Z-short.pem", "", 0600, "none of"},
        {"20240230T000000Z-" THUMB ".pem", "", 0600, "none of"},
        {"20240101T000060Z-" THUMB ".pem", "", 0600, "none of"},
        {"2024010aT000000Z-" THUMB ".pem", "", 0600, "none of"},
        {"20240101t000000Z-" THUMB ".pem", "", 0600, "none of"},
        {"19691231T235959Z-" THUMB ".pem", "", 0600, "none of"},
        {"20240101T000000Z-" THUMB ".PEM", "", 0600, "none of"},
        {"20240101T000000Z-" THUMB ".pem", "", 0600, "not an unencrypted private key"},
        {"20240101T000000Z-" THUMB ".pem", "-----BEGIN PRIVATE KEY-----\n", 0600, "not an unencr"},
        {"20240101T000000Z-" THUMB ".pem", "", 0640, "must be 0600"},
        {"20240101T000000Z-" THUMB ".pem", "", 0604, "must be 0600"},
    };
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct rig *rig = *state;
    struct key_ring *other = NULL;
    char head[160];
    bool changed;

    open_ring(rig);
    sign(rig, &token, head);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error err = {0}, again = {0};
        write_file(rig, cases[i].name, cases[i].text, cases[i].mode);
        assert_int_equal(key_ring_open(&other, &rig->options, &err), -1);
        assert_int_equal(err.code, ERROR_UNAVAILABLE);
        if (strstr(err.message, cases[i].words) == NULL ||
            strstr(err.message, cases[i].name) == NULL)
            fail_msg("%s: %s", cases[i].name, err.message);
        assert_null(strstr(err.message, rig->top));
        assert_int_equal(key_ring_advance(rig->ring, rig->now, &changed, &again), -1);
        assert_false(changed);
        assert_true(verifies(rig, &token));
        remove_file(rig, cases[i].name);
        assert_false(advance(rig, rig->now));
    }
}

/* The name belongs to another key: a copy must not come back as a younger one. */
static void test_name_is_the_keys(void **state)
{
    struct rig *rig = *state;
    struct key_ring *other = NULL;
    struct error err = {0};
    OWNED(key_names_drop) struct key_names names = {NULL, 0};
    char from[2 * FOLDER_MAX], to[2 * FOLDER_MAX];

    open_ring(rig);
    assert_int_equal(key_folder_list(rig->folder, &names, &err), 0);
    snprintf(from, sizeof(from), "%s/%s", rig->folder, names.items[0]);
    snprintf(to, sizeof(to), "%s/20240101T000000Z-" THUMB ".pem", rig->folder);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(key_ring_open(&other, &rig->options, &err), -1);
    assert_non_null(strstr(err.message, "another key than its name says"));
    assert_int_equal(unlink(to), 0);
    assert_int_equal(symlink("/dev/zero", to), 0);
    error_clear(&err);
    assert_int_equal(key_ring_open(&other, &rig->options, &err), -1);
    assert_non_null(strstr(err.message, "cannot be opened"));
    assert_int_equal(unlink(to), 0);
    assert_int_equal(mkfifo(to, 0600), 0);
    error_clear(&err);
    assert_int_equal(key_ring_open(&other, &rig->options, &err), -1);
    assert_non_null(strstr(err.message, "is not a file"));
}

static void test_half_written_is_removed(void **state)
{
    struct rig *rig = *state;
    struct stat status;
    char path[2 * FOLDER_MAX];

    open_ring(rig);
    write_file(rig, ".20240101T000000Z-" THUMB ".pem.new", "-----BEGIN", 0600);
    advance(rig, rig->now);
    open_ring(rig);
    snprintf(path, sizeof(path), "%s/.20240101T000000Z-" THUMB ".pem.new", rig->folder);
    assert_int_equal(stat(path, &status), -1);
    assert_int_equal(files(rig), 1);
}

static void test_folder_that_cannot_be(void **state)
{
    struct rig *rig = *state;
    struct error err = {0};
    char path[2 * FOLDER_MAX];

    snprintf(path, sizeof(path), "%s/absent/keys", rig->top);
    rig->options.folder = path;
    assert_int_equal(key_ring_open(&rig->ring, &rig->options, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    rig->options.folder = rig->folder;
    open_ring(rig);
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char head[160];
    bool changed;
    sign(rig, &token, head);
    snprintf(path, sizeof(path), "%s.away", rig->folder);
    assert_int_equal(rename(rig->folder, path), 0); /* unmounted: the keys in memory go on */
    error_clear(&err);
    assert_int_equal(key_ring_advance(rig->ring, rig->now + 2 * ROTATION, &changed, &err), -1);
    assert_true(verifies(rig, &token));
    assert_int_equal(key_ring_rotate(rig->ring, rig->now, &err), -1);
    sign(rig, &token, head);
}

/* --- the file of the settings --- */

static void test_one_file(void **state)
{
    OWNED(buffer_drop) struct buffer pem = BUFFER_NONE, old = BUFFER_NONE, token = BUFFER_NONE;
    OWNED(jwt_key_drop) struct jwt_key *first = jwt_key_new(), *second = jwt_key_new();
    struct rig *rig = *state;
    struct error err = {0};
    char path[2 * FOLDER_MAX], head[160], other[160];
    bool changed;

    assert_int_equal(mkdir(rig->folder, 0700), 0);
    snprintf(path, sizeof(path), "%s/ours.pem", rig->folder);
    rig->options.file = path;
    assert_int_equal(key_ring_open(&rig->ring, &rig->options, &err), -1);
    assert_non_null(strstr(err.message, "ours.pem cannot be opened"));
    jwt_key_write_pem(first, &pem);
    buffer_append(&pem, "", 1);
    write_file(rig, "ours.pem", pem.at, 0644);
    open_ring(rig);
    sign(rig, &old, head);
    assert_false(advance(rig, rig->now + 100 * ROTATION)); /* no rotation */
    error_clear(&err);
    assert_int_equal(key_ring_rotate(rig->ring, rig->now, &err), -1);
    assert_int_equal(err.code, ERROR_CONFLICT);
    write_file(rig, "ours.pem", "nonsense", 0600);
    error_clear(&err);
    assert_int_equal(key_ring_advance(rig->ring, rig->now + 200 * ROTATION, &changed, &err), -1);
    assert_true(verifies(rig, &old));
    pem.size = 0;
    jwt_key_write_pem(second, &pem);
    buffer_append(&pem, "", 1);
    write_file(rig, "ours.pem", pem.at, 0600);
    int64_t replaced = rig->now + 100 * ROTATION + 1;
    assert_true(advance(rig, replaced));
    sign(rig, &token, other);
    assert_string_not_equal(head, other);
    assert_true(verifies(rig, &old) && verifies(rig, &token));
    assert_false(advance(rig, replaced + KEEP - 2));
    assert_true(advance(rig, replaced + KEEP));
    assert_false(verifies(rig, &old));
    assert_true(verifies(rig, &token));
}

/* --- threads --- */

struct crowd {
    const struct rig *rig;
    atomic_bool over;
    atomic_uint turns[3];
};

struct user {
    struct crowd *crowd;
    size_t number;
    pthread_t thread;
};

static void *use(void *argument)
{
    const struct user *user = argument;
    struct crowd *crowd = user->crowd;
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE, set = BUFFER_NONE;
    char head[160];

    while (!atomic_load(&crowd->over)) {
        sign(crowd->rig, &token, head);
        if (!verifies(crowd->rig, &token))
            abort();
        set.size = 0;
        key_ring_set(crowd->rig->ring, &set);
        atomic_fetch_add(&crowd->turns[user->number], 1);
    }
    return NULL;
}

/* What signs is kept for KEEP: no token of the crowd shall be that slow. */
static void await_turns(struct crowd *crowd)
{
    for (size_t i = 0; i < LENGTH(crowd->turns); i++)
        for (unsigned before = crowd->turns[i]; crowd->turns[i] == before;)
            sched_yield();
}

static void test_threads_rotate_and_sign(void **state)
{
    struct rig *rig = *state;
    struct crowd crowd = {.rig = rig};
    struct user users[LENGTH(crowd.turns)];
    struct error err = {0};

    open_ring(rig);
    for (size_t i = 0; i < LENGTH(users); i++) {
        users[i] = (struct user){.crowd = &crowd, .number = i};
        assert_int_equal(pthread_create(&users[i].thread, NULL, use, &users[i]), 0);
    }
    for (int64_t i = 0; i < 20; i++) {
        assert_int_equal(key_ring_rotate(rig->ring, rig->now + i * LEAD, &err), 0);
        advance(rig, rig->now + i * LEAD + 1);
        await_turns(&crowd);
    }
    atomic_store(&crowd.over, true);
    for (size_t i = 0; i < LENGTH(users); i++)
        pthread_join(users[i].thread, NULL);
    assert_true(published(rig) < 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_first_key_signs_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rotation_overlaps, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_signatures_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(test_successor_is_made_when_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart_comes_to_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clock_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys_come_and_go_by_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_files_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(test_name_is_the_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_half_written_is_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_that_cannot_be, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads_rotate_and_sign, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
