/* test_build_threads.c - a machine that is out of threads: the room of builds does not open, says
 * so, and leaves nothing; the next try finds all as it was.
 */
#include "s2i/s2i.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "registry/config.h"
#include "storage/storage.h"
#include "tests/support/store.h"

enum { MORE_THAN_THERE_ARE = 64, PATIENCE_MS = 60000 };

/* How many may still be started; below 0: all. */
static atomic_int left = -1;

/* In the place of the library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    if (left == 0)
        return EAGAIN;
    if (left > 0)
        left--;
    return real(thread, attributes, run, arg);
}

static size_t count_in(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* Descriptors, but those of the database: it opens another connection when two read at a time. */
static size_t count_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    const struct dirent *entry;
    size_t count = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        char target[FOLDER_MAX + 32] = "";
        if (readlinkat(dirfd(folder), entry->d_name, target, sizeof(target) - 1) < 0 ||
            strstr(target, "/meta.db") == NULL)
            count++;
    }
    closedir(folder);
    return count;
}

/* Who was joined stands in the kernel's list for a moment more. */
static void assert_threads(size_t count)
{
    for (int i = 0; i < PATIENCE_MS && count_in("/proc/self/task") != count; i++)
        usleep(1000);
    assert_int_equal(count_in("/proc/self/task"), count);
}

static void test_build_threads_that_do_not_start_are_an_error(void **state)
{
    struct fixture *fixture = *state;
    const struct config config = {.storage_root = fixture->root,
                                  .builds_http_proxy = (char[]){""},
                                  .builds_keep_complete = 9,
                                  .builds_keep_failed = 9,
                                  .builds_keep_for = UINT64_MAX};
    const struct builds_options options = {.storage = fixture->store, .config = &config};
    size_t threads = count_in("/proc/self/task"), files = count_files();
    struct builds *builds = NULL;
    int started = 0, status = -1;

    for (; status < 0 && started < MORE_THAN_THERE_ARE; started++) {
        fixture->err = (struct error){0};
        left = started;
        status = builds_open(&builds, &options, &fixture->err);
        left = -1;
        if (status == 0)
            break;
        assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE);
        assert_string_equal(fixture->err.message, "a thread cannot be started");
        assert_threads(threads);
        assert_int_equal(count_files(), files);
    }
    assert_int_equal(status, 0);
    assert_true(started >= 4); /* logs, waiters, what is told others, the keeper */
    builds_close(builds);
    assert_threads(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_build_threads_that_do_not_start_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
