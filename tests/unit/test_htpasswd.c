/* test_htpasswd.c - password files: lines, whole files, and what is read again when. */
#include "auth/htpasswd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/folder.h"
#include "tests/support/unit.h"

/* Written by htpasswd -nbB: "correct horse". */
#define HASH "$2y$05$/YCBS42G3T66QXvjWrqiEOoaMB3f.BWWvOCRS80adBcooeebgix8q"
#define REST "$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
#define NAME64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define NAME255                                                                                    \
    NAME64 NAME64 NAME64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

struct world {
    char folder[FOLDER_MAX];
    char path[FOLDER_MAX + 20];
};

static void world_open(struct world *world)
{
    folder_new(world->folder);
    (void)snprintf(world->path, sizeof(world->path), "%s/htpasswd", world->folder);
}

static void file_write(const struct world *world, struct slice text)
{
    FILE *file = fopen(world->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(text.at, 1, text.size, file), text.size);
    assert_int_equal(fclose(file), 0);
}

static bool found(struct htpasswd *file, const char *name)
{
    char hash[PASSWORD_HASH_MAX];

    return htpasswd_find(file, slice_of(name), hash) && password_hash_readable(slice_of(hash));
}

static void open_ok(struct htpasswd **file, const struct world *world)
{
    struct error err = {0};

    if (htpasswd_open(file, world->path, &err) < 0)
        fail_msg("%s", err.message);
}

static bool reload(struct htpasswd *file, bool force)
{
    struct error err = {0};
    bool changed;

    assert_int_equal(htpasswd_reload(file, force, &changed, &err), 0);
    return changed;
}

/* --- lines --- */

/* Spec: TOK-61. */
static void test_htpasswd_line_parse(void **state)
{
    static const struct {
        const char *line;
        int outcome;
        const char *name, *message;
    } cases[] = {
        {"me:" HASH, 1, "me", ""},
        {"Me.Too@example:$2a$04" REST, 1, "Me.Too@example", ""},
        {"a b:$2b$14" REST, 1, "a b", ""},
        {"j\xc3\xbc:" HASH, 1, "j\xc3\xbc", ""},
        {"\xc2\xa1:" HASH, 1, "\xc2\xa1", ""},
        {NAME255 ":" HASH, 1, NAME255, ""},
        {"", 0, "", ""},
        {" \t ", 0, "", ""},
        {"# me:secret", 0, "", ""},
        {"  # \x01", 0, "", ""},
        {"me", -1, "", "expected name:hash"},
        {":" HASH, -1, "", "name is empty"},
        {NAME255 "x:" HASH, -1, "", "longer than 255 bytes"},
        {"me:", -1, "", "htpasswd -B"},
        {"me:secret", -1, "", "htpasswd -B"},
        {"me:$apr1$lqmbs6q9$BfFwCyfSkNYYd.DHVTz3Y0", -1, "", "htpasswd -B"},
        {"me:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", -1, "", "htpasswd -B"},
        {"me:$6$salt$hash", -1, "", "htpasswd -B"},
        {"me:" HASH ":more", -1, "", "htpasswd -B"},
        {"me:" HASH " ", -1, "", "htpasswd -B"},
        {"me: " HASH, -1, "", "htpasswd -B"},
        {"me:$2y$15" REST, -1, "", "bcrypt cost 15 exceeds the limit of 14"},
        {"me:$2y$03" REST, -1, "", "htpasswd -B"},
        {"me:" HASH "\r", -1, "", "control character"},
        {"m\x7f:" HASH, -1, "", "control character"},
        {"m\te:" HASH, -1, "", "control character"},
        {"m\xc2\x85:" HASH, -1, "", "control character"},
        {"m\xff:" HASH, -1, "", "not UTF-8"},
        {"\xef\xbb\xbfme:" HASH, -1, "", "not UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct slice name = SLICE_NONE, hash = SLICE_NONE;
        struct error err = {0};
        int outcome = htpasswd_line_parse(slice_of(cases[i].line), &name, &hash, &err);
        if (outcome != cases[i].outcome)
            fail_msg("%s: %d %s", cases[i].line, outcome, err.message);
        if (outcome > 0)
            assert_true(slice_equal_text(name, cases[i].name) && hash.size == 60);
        if (strstr(err.message, cases[i].message) == NULL)
            fail_msg("%s: %s", cases[i].line, err.message);
    }
}

/* --- files --- */

/* Spec: TOK-61. */
static void test_htpasswd_finds_by_name(void **state)
{
    struct world world;
    struct htpasswd *file;
    char hash[PASSWORD_HASH_MAX];

    (void)state;
    world_open(&world);
    file_write(&world, SLICE("zoe:" HASH "\n# old\n\nada:$2y$11" REST "\nme:" HASH));
    open_ok(&file, &world);
    assert_true(htpasswd_find(file, SLICE("me"), hash));
    assert_string_equal(hash, HASH);
    assert_true(password_verify(SLICE("correct horse"), hash, htpasswd_cost(file)));
    assert_true(found(file, "ada") && found(file, "zoe"));
    assert_false(found(file, "m") || found(file, "me2") || found(file, "Me") || found(file, ""));
    assert_int_equal(htpasswd_cost(file), 11);
    htpasswd_close(file);
    htpasswd_close(NULL);
    folder_remove(world.folder);
}

static void test_htpasswd_open_names_the_line(void **state)
{
    static const struct {
        struct slice text;
        const char *message;
    } cases[] = {
        {SLICE("me:" HASH "\n\nyou:plain\n"), "password file, line 3: hash is not bcrypt"},
        {SLICE("b:" HASH "\na:" HASH "\n#\nb:$2y$11" REST),
         "password file, line 4: name stands in line 1 already"},
        {SLICE("me:" HASH "\nx\0y:" HASH "\n"), "password file, line 2: has a control"},
        {SLICE("me:" HASH "\r\n"), "password file, line 1: has a control"},
        {SLICE("me:" HASH "\nyou"), "password file, line 2: expected name:hash"},
    };
    struct world world;

    (void)state;
    world_open(&world);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct htpasswd *file = NULL;
        struct error err = {0};
        file_write(&world, cases[i].text);
        assert_int_equal(htpasswd_open(&file, world.path, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_memory_equal(err.message, cases[i].message, strlen(cases[i].message));
        assert_null(strstr(err.message, HASH));
    }
    folder_remove(world.folder);
}

static void test_htpasswd_open_refuses_what_is_no_file(void **state)
{
    struct world world;
    struct htpasswd *file = NULL;
    struct error missing = {0}, folder = {0}, pipe_end = {0};

    (void)state;
    world_open(&world);
    assert_int_equal(htpasswd_open(&file, world.path, &missing), -1);
    assert_int_equal(missing.code, ERROR_UNAVAILABLE);
    assert_string_equal(missing.cause, "No such file or directory");
    assert_int_equal(htpasswd_open(&file, world.folder, &folder), -1);
    assert_int_equal(folder.code, ERROR_UNAVAILABLE);
    assert_int_equal(mkfifo(world.path, 0600), 0);
    assert_int_equal(htpasswd_open(&file, world.path, &pipe_end), -1);
    assert_int_equal(pipe_end.code, ERROR_UNAVAILABLE);
    folder_remove(world.folder);
}

/* `count` names. */
static void names_write(const struct world *world, unsigned count)
{
    struct buffer text = BUFFER_NONE;

    for (unsigned i = 0; i < count; i++)
        buffer_print(&text, "n%u:%s\n", i * 7919 % count, HASH);
    file_write(world, buffer_slice(&text));
    buffer_drop(&text);
}

static void test_htpasswd_open_keeps_to_its_limits(void **state)
{
    struct world world;
    struct htpasswd *file = NULL;
    struct error names = {0}, size = {0};
    struct buffer text = BUFFER_NONE;

    (void)state;
    world_open(&world);
    names_write(&world, 10000);
    open_ok(&file, &world);
    assert_true(found(file, "n0") && found(file, "n9999") && !found(file, "n10000"));
    htpasswd_close(file);
    names_write(&world, 10001);
    assert_int_equal(htpasswd_open(&file, world.path, &names), -1);
    assert_string_equal(names.message, "password file, line 10001: more than 10000 names");
    for (int i = 0; i < 1024 * 1024; i++)
        buffer_append(&text, "#", 1);
    file_write(&world, buffer_slice(&text));
    open_ok(&file, &world);
    assert_int_equal(htpasswd_cost(file), 0);
    htpasswd_close(file);
    buffer_append(&text, "#", 1);
    file_write(&world, buffer_slice(&text));
    assert_int_equal(htpasswd_open(&file, world.path, &size), -1);
    assert_string_equal(size.message, "password file is larger than 1 MiB");
    buffer_drop(&text);
    folder_remove(world.folder);
}

/* --- reading again --- */

static void test_htpasswd_reload_replaces_the_content_whole(void **state)
{
    struct world world;
    struct htpasswd *file;

    (void)state;
    world_open(&world);
    file_write(&world, SLICE("a:" HASH "\nb:$2y$11" REST "\n"));
    open_ok(&file, &world);
    assert_false(reload(file, false));
    assert_false(reload(file, true));
    file_write(&world, SLICE("c:" HASH "\n"));
    assert_true(reload(file, false));
    assert_true(found(file, "c") && !found(file, "a"));
    assert_int_equal(htpasswd_cost(file), 5);
    assert_false(reload(file, false));
    htpasswd_close(file);
    folder_remove(world.folder);
}

static void test_htpasswd_reload_keeps_the_old_when_the_new_is_bad(void **state)
{
    struct world world;
    struct htpasswd *file;
    struct error bad = {0}, missing = {0};
    bool changed = true;

    (void)state;
    world_open(&world);
    file_write(&world, SLICE("a:" HASH "\n"));
    open_ok(&file, &world);
    file_write(&world, SLICE("b:" HASH "\nc\n"));
    assert_int_equal(htpasswd_reload(file, false, &changed, &bad), -1);
    assert_int_equal(bad.code, ERROR_INVALID);
    assert_false(changed);
    assert_true(found(file, "a") && !found(file, "b"));
    assert_int_equal(unlink(world.path), 0);
    assert_int_equal(htpasswd_reload(file, false, &changed, &missing), -1);
    assert_int_equal(missing.code, ERROR_UNAVAILABLE);
    assert_true(found(file, "a"));
    file_write(&world, SLICE("b:" HASH "\n"));
    assert_true(reload(file, false));
    assert_true(found(file, "b"));
    htpasswd_close(file);
    folder_remove(world.folder);
}

/* Of the same size, with the old time put back: as restored by tar, or too soon for the clock. */
static void rewrite_alike(const struct world *world, struct slice text)
{
    struct stat before;
    int fd = open(world->path, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &before) == 0);
    assert_int_equal(before.st_size, text.size);
    assert_int_equal(write(fd, text.at, text.size), text.size);
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    assert_int_equal(futimens(fd, times), 0);
    assert_int_equal(close(fd), 0);
}

static void test_htpasswd_reload_notices_what_size_and_time_do_not_tell(void **state)
{
    static const struct timespec settling = {3, 100 * 1000 * 1000};
    struct world world;
    struct htpasswd *file;

    (void)state;
    world_open(&world);
    file_write(&world, SLICE("a:" HASH "\n"));
    open_ok(&file, &world);
    rewrite_alike(&world, SLICE("b:" HASH "\n"));
    assert_true(reload(file, false));
    assert_true(found(file, "b"));
    nanosleep(&settling, NULL);
    assert_false(reload(file, false)); /* from here on, its times tell */
    assert_false(reload(file, false));
    rewrite_alike(&world, SLICE("c:" HASH "\n"));
    assert_true(reload(file, false));
    assert_true(found(file, "c"));
    htpasswd_close(file);
    folder_remove(world.folder);
}

/* As Kubernetes swaps a secret: the name leads to another file. */
static void test_htpasswd_reload_follows_a_swapped_link(void **state)
{
    struct world world;
    struct htpasswd *file;
    char first[FOLDER_MAX + 20], second[FOLDER_MAX + 20];

    (void)state;
    world_open(&world);
    (void)snprintf(first, sizeof(first), "%s/first", world.folder);
    (void)snprintf(second, sizeof(second), "%s/second", world.folder);
    file_write(&world, SLICE("a:" HASH "\n"));
    assert_int_equal(rename(world.path, first), 0);
    file_write(&world, SLICE("b:" HASH "\n"));
    assert_int_equal(rename(world.path, second), 0);
    assert_int_equal(symlink("first", world.path), 0);
    open_ok(&file, &world);
    assert_true(found(file, "a"));
    assert_int_equal(unlink(world.path), 0);
    assert_int_equal(symlink("second", world.path), 0);
    assert_true(reload(file, false));
    assert_true(found(file, "b"));
    htpasswd_close(file);
    folder_remove(world.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_htpasswd_line_parse),
        cmocka_unit_test(test_htpasswd_finds_by_name),
        cmocka_unit_test(test_htpasswd_open_names_the_line),
        cmocka_unit_test(test_htpasswd_open_refuses_what_is_no_file),
        cmocka_unit_test(test_htpasswd_open_keeps_to_its_limits),
        cmocka_unit_test(test_htpasswd_reload_replaces_the_content_whole),
        cmocka_unit_test(test_htpasswd_reload_keeps_the_old_when_the_new_is_bad),
        cmocka_unit_test(test_htpasswd_reload_notices_what_size_and_time_do_not_tell),
        cmocka_unit_test(test_htpasswd_reload_follows_a_swapped_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
