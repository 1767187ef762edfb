/* test_queue_keeper.c - what of builds is kept, and for how long: rows, files, archives. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/support/queue.h"

static void test_queue_keeper_prunes_rows_with_their_files(void **state)
{
    struct stage *stage = *state;
    char name[32];

    queue_begin(stage, 1);
    for (int i = 0; i < 4; i++) {
        int64_t id = add(stage, "a");
        snprintf(name, sizeof(name), "%lld", (long long)id);
        make_file(stage->builds.archives, name);
        AWAIT(stage, stage->ends[id] == 1);
    }
    keeper_prune(&stage->builds);
    for (int i = 1; i <= 4; i++) {
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(has_file(stage->builds.archives, name), i > 2);
        snprintf(name, sizeof(name), "%d.log", i);
        assert_int_equal(has_file(stage->builds.log_folder, name), i > 2);
    }
    assert_int_equal(number(stage->fixture, "SELECT count(*) FROM builds"), 2);
}

/* Spec: s2i 16.14. */
static void test_queue_keeper_sweeps_what_has_no_row(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const char *const archives[] = {"1", "1.new", "2", "2.new", "3", "77", "77.new", "note"};
    const bool kept[] = {true, false, true, false, true, false, false, true};

    add(stage, "a"); /* complete */
    add(stage, "b"); /* failed */
    add(stage, "c"); /* waits */
    script(fixture, "UPDATE builds SET state = 3 WHERE id = 1");
    script(fixture, "UPDATE builds SET state = 4 WHERE id = 2");
    for (size_t i = 0; i < LENGTH(archives); i++)
        make_file(stage->builds.archives, archives[i]);
    make_file(stage->builds.log_folder, "2.log");
    make_file(stage->builds.log_folder, "77.log");
    keeper_sweep_archives(&stage->builds);
    keeper_sweep_logs(&stage->builds);
    for (size_t i = 0; i < LENGTH(archives); i++)
        if (has_file(stage->builds.archives, archives[i]) != kept[i])
            fail_msg("%s", archives[i]);
    assert_true(has_file(stage->builds.log_folder, "2.log"));
    assert_false(has_file(stage->builds.log_folder, "77.log"));
}

static void pin_named(struct fixture *fixture, const char *name, const struct digest *digest,
                      const char *actor)
{
    const struct manifest_reference reference = {.digest = *digest};
    const struct actor who = {.name = slice_of(actor)};
    const struct content_change change = {.actor = actor == NULL ? NULL : &who};
    bool created;

    OK(content_pin_put(fixture->store, REPOSITORY, slice_of(name), &reference,
                       clock_now_us() + INT64_C(3600) * US_PER_S, &change, &created,
                       &fixture->err));
}

/* s2i (2), (4): what a process that died held for its builds. Names that people chose are theirs.
 */
static void test_queue_keeper_lets_go_of_what_ended_builds_held(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const struct digest digest = digest_text_of("{}");
    struct s2i_image image = {.name = (char *)(uintptr_t) "team/app",
                              .repository = (char *)(uintptr_t) "team/app",
                              .digest = digest};
    int64_t until = clock_now_us() + INT64_C(3600) * US_PER_S;
    char hex[DIGEST_TEXT_MAX], name[64];

    push_text(fixture, "{}", "v1");
    add(stage, "a"); /* complete */
    add(stage, "b"); /* waits */
    script(fixture, "UPDATE builds SET state = 3 WHERE id = 1");
    for (int64_t id = 1; id <= 2; id++)
        OK(image_pin(&stage->builds, &image, id, until, &fixture->err));
    OK(image_pin(&stage->builds, &image, 77, until, &fixture->err));
    hex_encode(digest.bytes, digest.size, hex);
    snprintf(name, sizeof(name), "build-78-%.16s", hex);
    pin_named(fixture, name, &digest, "ana");
    pin_named(fixture, "build-1-0123456789abcdef", &digest, NULL);
    pin_named(fixture, "build-1", &digest, NULL);
    pin_named(fixture, "build", &digest, NULL);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 7);
    images_sweep_pins(&stage->builds);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 5);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins WHERE name LIKE 'build-2-%'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins WHERE name LIKE 'build-78-%'"), 1);
}

/* Of who asked for a build, and held its builder when it had ended already. */
static void test_queue_what_is_held_too_late_is_let_go_of(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct s2i_image image = {.name = (char *)(uintptr_t) "team/app",
                              .repository = (char *)(uintptr_t) "team/app",
                              .digest = digest_text_of("{}")};
    char text[DIGEST_TEXT_MAX];
    OWNED(buffer_drop) struct buffer sql = BUFFER_NONE;

    push_text(fixture, "{}", "v1");
    add(stage, "a");
    buffer_print(&sql, "UPDATE builds SET builder = 'team/app', builder_digest = '%s'",
                 digest_text(&image.digest, text));
    script(fixture, sql.at);
    OK(image_pin(&stage->builds, &image, 1, clock_now_us() + INT64_C(3600) * US_PER_S,
                 &fixture->err));
    image_unpin_late(&stage->builds, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 1);
    script(fixture, "UPDATE builds SET state = 3");
    image_unpin_late(&stage->builds, 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM pins"), 0);
}

static void put_archive(struct stage *stage, int64_t id, size_t size)
{
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, id);
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

/* The oldest go, but not those that are waited for; what a retry shares counts once. */
static void test_queue_archives_take_no_more_than_they_may(void **state)
{
    struct stage *stage = *state;
    const bool kept[] = {false, false, true, false, false, true};
    OWNED(memory_drop) char *first = builds_archive_path(&stage->builds, 4);
    OWNED(memory_drop) char *second = builds_archive_path(&stage->builds, 5);
    char name[32];

    for (int64_t id = 1; id <= 6; id++) {
        add(stage, "a");
        if (id != 5)
            put_archive(stage, id, 100);
    }
    assert_int_equal(link(first, second), 0);
    script(stage->fixture, "UPDATE builds SET state = 3 WHERE id <> 3");
    stage->config.builds_keep_archives = 500;
    builds_archives_trim(&stage->builds);
    assert_true(has_file(stage->builds.archives, "1"));
    stage->config.builds_keep_archives = 320;
    builds_archives_trim(&stage->builds);
    assert_false(has_file(stage->builds.archives, "2"));
    assert_true(has_file(stage->builds.archives, "4"));
    stage->config.builds_keep_archives = 250;
    builds_archives_trim(&stage->builds);
    for (int i = 1; i <= 6; i++) {
        snprintf(name, sizeof(name), "%d", i);
        if (has_file(stage->builds.archives, name) != kept[i - 1])
            fail_msg("%s", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(test_queue_keeper_prunes_rows_with_their_files),
        QUEUE_TEST(test_queue_keeper_sweeps_what_has_no_row),
        QUEUE_TEST(test_queue_keeper_lets_go_of_what_ended_builds_held),
        QUEUE_TEST(test_queue_what_is_held_too_late_is_let_go_of),
        QUEUE_TEST(test_queue_archives_take_no_more_than_they_may),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
