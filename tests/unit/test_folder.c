/* test_folder.c - folders are listed and removed, and nothing beside them. */
#include "registry/core/folder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/bytes.h"
#include "registry/core/fd.h"
#include "tests/support/unit.h"

enum { DEEP = 1000, DESCRIPTORS = 100 };

static char place[] = "/tmp/test_folder.XXXXXX";
static int root = -1;

/* Some file systems tell no types. */
static bool types_hidden;

/* In the place of the library's. */
struct dirent *readdir(DIR *folder)
{
    __typeof__(&readdir) real;

    *(void **)&real = dlsym(RTLD_NEXT, "readdir");
    struct dirent *entry = real(folder);
    if (entry != NULL && types_hidden)
        entry->d_type = DT_UNKNOWN;
    return entry;
}

static void put(int at, const char *name)
{
    OWNED(fd_drop) int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
}

static bool has(int at, const char *name)
{
    return faccessat(at, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int begin(void **state)
{
    (void)state;
    if (mkdtemp(place) == NULL)
        return -1;
    root = open(place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root < 0 || mkdirat(root, "kept", 0700) < 0 ? -1 : 0;
}

static int end(void **state)
{
    (void)state;
    return folder_empty(place) < 0 || rmdir(place) < 0 ? -1 : 0;
}

static void test_folder_next(void **state)
{
    OWNED(folder_drop) DIR *folder = NULL;
    const struct dirent *entry;
    size_t count = 0;

    (void)state;
    assert_int_equal(mkdirat(root, "list", 0700), 0);
    assert_int_equal(symlinkat("list", root, "list-link"), 0);
    folder = folder_open(root, "list");
    assert_non_null(folder);
    put(dirfd(folder), "a");
    put(dirfd(folder), ".b");
    while ((entry = folder_next(folder)) != NULL) {
        assert_true(strcmp(entry->d_name, "a") == 0 || strcmp(entry->d_name, ".b") == 0);
        count++;
    }
    assert_int_equal(errno, 0);
    assert_int_equal(count, 2);
    assert_null(folder_next(NULL));
    assert_null(folder_open(root, "list-link"));
    assert_null(folder_open(root, "absent"));
    assert_int_equal(errno, ENOENT);
    folder_drop(&folder);
    assert_null(folder);
    assert_int_equal(folder_erase(root, "list"), 0);
    assert_int_equal(folder_erase(root, "list-link"), 0);
}

static void test_folder_erase_follows_nothing(void **state)
{
    OWNED(fd_drop) int gone = -1;
    OWNED(fd_drop) int kept = openat(root, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    (void)state;
    put(kept, "file");
    assert_int_equal(mkdirat(root, "gone", 0700), 0);
    gone = openat(root, "gone", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(symlinkat("../kept", gone, "link"), 0);
    assert_int_equal(mkdirat(gone, "below", 0700), 0);
    put(gone, "below/file");
    assert_int_equal(folder_erase(root, "gone"), 0);
    assert_false(has(root, "gone"));
    assert_true(has(kept, "file"));
    assert_int_equal(folder_erase(root, "gone"), 0);
    assert_int_equal(symlinkat("kept", root, "gone"), 0);
    assert_int_equal(folder_erase(root, "gone"), 0);
    assert_true(has(kept, "file"));
    assert_int_equal(folder_erase(root, "kept/file"), 0);
    assert_false(has(kept, "file"));
}

/* Two folders in each: deeper than descriptors and paths reach. */
static void nest(const char *name)
{
    OWNED(fd_drop) int at = fcntl(root, F_DUPFD_CLOEXEC, 0);

    for (int i = 0; i < DEEP; i++) {
        assert_int_equal(mkdirat(at, name, 0700), 0);
        assert_int_equal(mkdirat(at, "deep-0", 0700) < 0 && errno != EEXIST, 0);
        int next = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(at);
        at = next;
        put(at, "deep-1");
    }
}

static void test_folder_erase_however_deep(void **state)
{
    struct rlimit before, few;

    (void)state;
    nest("nested");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = (struct rlimit){DESCRIPTORS, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    int outcome = folder_erase(root, "nested");
    setrlimit(RLIMIT_NOFILE, &before);
    assert_int_equal(outcome, 0);
    assert_false(has(root, "nested"));
}

static void test_folder_empty(void **state)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    (void)state;
    buffer_print(&path, "%s/emptied", place);
    assert_int_equal(mkdir(path.at, 0700), 0);
    assert_int_equal(mkdirat(root, "emptied/below", 0700), 0);
    put(root, "emptied/below/file");
    assert_int_equal(folder_empty(path.at), 0);
    assert_true(has(root, "emptied"));
    assert_int_equal(rmdir(path.at), 0);
    assert_int_equal(folder_empty(path.at), -1);
}

static unsigned char type_of(DIR *folder, const char *name)
{
    const struct dirent *entry;

    rewinddir(folder);
    while ((entry = folder_next(folder)) != NULL)
        if (strcmp(entry->d_name, name) == 0)
            return entry->d_type;
    fail_msg("%s is not there", name);
    return DT_UNKNOWN;
}

static void test_folder_next_knows_types(void **state)
{
    OWNED(folder_drop) DIR *folder = NULL;

    (void)state;
    assert_int_equal(mkdirat(root, "types", 0700), 0);
    folder = folder_open(root, "types");
    assert_non_null(folder);
    put(dirfd(folder), "file");
    assert_int_equal(mkdirat(dirfd(folder), "folder", 0700), 0);
    assert_int_equal(symlinkat("folder", dirfd(folder), "link"), 0);
    for (int hidden = 0; hidden < 2; hidden++) {
        types_hidden = hidden == 1;
        assert_int_equal(type_of(folder, "file"), DT_REG);
        assert_int_equal(type_of(folder, "folder"), DT_DIR);
        assert_int_equal(type_of(folder, "link"), DT_LNK);
    }
    types_hidden = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_next),
        cmocka_unit_test(test_folder_next_knows_types),
        cmocka_unit_test(test_folder_erase_follows_nothing),
        cmocka_unit_test(test_folder_erase_however_deep),
        cmocka_unit_test(test_folder_empty),
    };

    return cmocka_run_group_tests(tests, begin, end);
}
