/* test_source.c - sources become one tar: repositories made by git, archives made by libarchive,
 * and both as somebody would make them who wants to do harm. */
#include "s2i/source/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "tests/support/unit.h"

enum { TEXT_MAX = 1 << 20, MIB = 1 << 20 };

/* A folder with the bare repository "repo" in it. */
struct place {
    char path[64], repository[80], scratch[80];
};

/* Runs a script there; what it prints, without the last line end, the caller's. */
static char *run(const struct place *place, const char *script)
{
    static const char head[] =
        "cd %s && export GIT_CONFIG_NOSYSTEM=1 HOME=/nonexistent GIT_DIR=$PWD/repo TZ=UTC "
        "GIT_AUTHOR_NAME=Ann GIT_AUTHOR_EMAIL=ann@example.org GIT_COMMITTER_NAME=Cy "
        "GIT_COMMITTER_EMAIL=cy@example.org GIT_AUTHOR_DATE='1112911993 -0700' "
        "GIT_COMMITTER_DATE='1600000000 +0200' && set -e && %s";
    OWNED(buffer_drop) struct buffer command = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;

    buffer_print(&command, head, place->path, script);
    buffer_append(&command, "", 1);
    FILE *pipe = popen(command.at, "re");
    assert_non_null(pipe);
    assert_int_equal(fd_read(fileno(pipe), TEXT_MAX, &said), 0);
    if (pclose(pipe) != 0)
        fail_msg("%s", script);
    while (said.size > 0 && said.at[said.size - 1] == '\n')
        said.size--;
    return memory_text(buffer_slice(&said));
}

static void run_only(const struct place *place, const char *script)
{
    free(run(place, script));
}

static int set_up(void **state)
{
    struct place *place = memory_new(sizeof(*place));

    snprintf(place->path, sizeof(place->path), "/tmp/slipway-source-XXXXXX");
    assert_non_null(mkdtemp(place->path));
    snprintf(place->repository, sizeof(place->repository), "%s/repo", place->path);
    snprintf(place->scratch, sizeof(place->scratch), "%s/scratch", place->path);
    assert_int_equal(mkdir(place->scratch, 0700), 0);
    run_only(place, "git init -q --bare repo");
    *state = place;
    return 0;
}

static int tear_down(void **state)
{
    run_only(*state, "cd / && rm -rf $(dirname $GIT_DIR)");
    free(*state);
    return 0;
}

/* --- reading --- */

struct found {
    struct s2i_source_facts facts;
    struct error err;
    const char *reason;
    int fd, outcome;
};

static void found_drop(struct found *found)
{
    s2i_source_facts_drop(&found->facts);
    fd_drop(&found->fd);
}

static struct source_wish wish_for(const struct place *place)
{
    return (struct source_wish){.archive = -1,
                                .repository_folder = place->repository,
                                .files_max = 10000,
                                .bytes_max = 64 * MIB,
                                .blob_max = 32 * MIB,
                                .timeout_ms = 120000,
                                .scratch = place->scratch,
                                .cancel = -1};
}

static struct found open_wish(const struct source_wish *wish)
{
    static const struct source_rules rules = {.bytes_max = 64 * MIB};
    struct found found = {.fd = -1};

    found.outcome = source_open(wish, &rules, &found.fd, &found.facts, &found.reason, &found.err);
    return found;
}

static struct found open_commit(const struct place *place, const char *commit)
{
    struct source_wish wish = wish_for(place);

    wish.kind = BUILD_FROM_PUSH;
    wish.commit = slice_of(commit);
    wish.ref = SLICE("refs/heads/main");
    return open_wish(&wish);
}

static struct found open_archive(const struct place *place, const char *name)
{
    struct source_wish wish = wish_for(place);
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", place->path, name);
    wish.kind = BUILD_FROM_ARCHIVE;
    OWNED(fd_drop) int fd = wish.archive = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return open_wish(&wish);
}

static void is_good(const struct found *found)
{
    if (found->outcome < 0)
        fail_msg("%s: %s (%s)", found->reason, found->err.message, found->err.cause);
}

static void is_refused(const struct found *found, const char *reason, const char *message)
{
    assert_int_equal(found->outcome, -1);
    assert_int_equal(found->fd, -1);
    assert_int_equal(found->err.code, ERROR_INVALID);
    assert_string_equal(found->reason, reason);
    if (strstr(found->err.message, message) == NULL)
        fail_msg("%s", found->err.message);
}

/* What tar says of it: type, mode, owner, size, time, name. */
static char *listing(const struct place *place, struct found *found)
{
    char script[256];

    snprintf(script, sizeof(script),
             "tar --numeric-owner --full-time -tvf - </proc/%d/fd/%d | tr -s ' '", (int)getpid(),
             found->fd);
    return run(place, script);
}

static const char basic[] =
    "mkdir w && cd w && export GIT_WORK_TREE=$PWD && mkdir -p src/deep .s2i app-x && "
    "echo hello >src/main.c && printf '#!/bin/sh\\n' >run && chmod 755 run && "
    "ln -s /etc/passwd src/link && : >src/deep/empty && echo b >app-x/b && echo a >src.txt && "
    "printf 'builder: builders/c\\n' >.s2i/s2i.conf && "
    "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:00\\nsize 1\\n' >large.bin && "
    "umask 077 && chmod 600 app-x/b && git add -A && git commit -qm 'first line\n\nmore' && "
    "git rev-parse HEAD";

/* Git's modes become ours, whatever the umask was. Spec: s2i 4.8 */
static void test_source_of_a_commit(void **state)
{
    static const char expected[] = "drwxr-xr-x 0/0 0 2020-09-13 12:26:40 .s2i/\n"
                                   "-rw-r--r-- 0/0 20 2020-09-13 12:26:40 .s2i/s2i.conf\n"
                                   "drwxr-xr-x 0/0 0 2020-09-13 12:26:40 app-x/\n"
                                   "-rw-r--r-- 0/0 2 2020-09-13 12:26:40 app-x/b\n"
                                   "-rw-r--r-- 0/0 64 2020-09-13 12:26:40 large.bin\n"
                                   "-rwxr-xr-x 0/0 10 2020-09-13 12:26:40 run\n"
                                   "drwxr-xr-x 0/0 0 2020-09-13 12:26:40 src/\n"
                                   "-rw-r--r-- 0/0 2 2020-09-13 12:26:40 src.txt\n"
                                   "drwxr-xr-x 0/0 0 2020-09-13 12:26:40 src/deep/\n"
                                   "-rw-r--r-- 0/0 0 2020-09-13 12:26:40 src/deep/empty\n"
                                   "lrwxrwxrwx 0/0 0 2020-09-13 12:26:40 src/link -> /etc/passwd\n"
                                   "-rw-r--r-- 0/0 6 2020-09-13 12:26:40 src/main.c";
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    OWNED(found_drop) struct found found = open_commit(place, commit);
    OWNED(memory_drop) char *tree = run(place, "git rev-parse HEAD^{tree}");

    is_good(&found);
    OWNED(memory_drop) char *list = listing(place, &found);
    assert_string_equal(list, expected);
    assert_string_equal(found.facts.commit, commit);
    assert_string_equal(found.facts.tree, tree);
    assert_string_equal(found.facts.ref, "refs/heads/main");
    assert_string_equal(found.facts.author, "Ann <ann@example.org>");
    assert_string_equal(found.facts.author_date, "Thu Apr 7 15:13:13 2005 -0700");
    assert_string_equal(found.facts.subject, "first line");
    assert_string_equal(found.facts.conf, "{\"builder\":\"builders/c\"}");
    assert_int_equal(found.facts.time, 1600000000);
    assert_int_equal(found.facts.files, 8);
    assert_int_equal(found.facts.bytes, 20 + 2 + 64 + 10 + 2 + 6);
    assert_int_equal(found.facts.lfs_pointers, 1);
    assert_int_equal(write(found.fd, "x", 1), -1); /* sealed */

    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
    struct digest digest;
    assert_int_equal(fd_read(found.fd, TEXT_MAX, &tar), 0);
    digest_of(DIGEST_SHA256, buffer_slice(&tar), &digest);
    assert_true(digest_equal(&digest, &found.facts.content));
}

/* s2i 20, 5: from a push and from archives of all kinds, however they are ordered. */
static void test_source_is_the_same_from_everywhere(void **state)
{
    static const char *const archives[] = {"a.tar", "a.tar.gz", "a.zip", "b.tar", "c.tar"};
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    OWNED(found_drop) struct found pushed = open_commit(place, commit);

    is_good(&pushed);
    run_only(place, "git archive -o a.tar HEAD && git archive -o a.tar.gz HEAD && "
                    "git archive -o a.zip HEAD && cd w && git config core.bare false && "
                    "find . -exec touch -h -d @1600000000 {} + && "
                    "tar -cf ../b.tar . && tar --format=v7 --owner=7 --group=7 -cf ../c.tar "
                    "$(ls -A | sort -r)");
    for (size_t i = 0; i < LENGTH(archives); i++) {
        OWNED(found_drop) struct found found = open_archive(place, archives[i]);
        is_good(&found);
        assert_int_equal(found.facts.time, 1600000000);
        if (!digest_equal(&found.facts.content, &pushed.facts.content)) {
            OWNED(memory_drop) char *list = listing(place, &found);
            fail_msg("%s:\n%s", archives[i], list);
        }
        assert_string_equal(found.facts.conf, pushed.facts.conf);
        assert_string_equal(found.facts.commit, "");
    }
}

static void test_source_reads_large_blobs_in_pieces(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop)
    char *commit =
        run(place, "head -c 5000001 /dev/urandom >big && export GIT_WORK_TREE=$PWD && git add big "
                   "&& git commit -qm big && git -c core.bigFileThreshold=100m gc -q && "
                   "git rev-parse HEAD");
    OWNED(found_drop) struct found found = open_commit(place, commit);
    char script[160];

    is_good(&found);
    snprintf(script, sizeof(script), "tar -xOf - big </proc/%d/fd/%d | cmp - big", (int)getpid(),
             found.fd);
    run_only(place, script);

    struct source_wish wish = wish_for(place);
    wish.kind = BUILD_FROM_PUSH;
    wish.commit = slice_of(commit);
    wish.blob_max = 5000000;
    OWNED(found_drop) struct found large = open_wish(&wish);
    is_refused(&large, "InvalidSource", "big is larger");
    wish.blob_max = 32 * MIB;
    wish.bytes_max = 5000000;
    OWNED(found_drop) struct found all = open_wish(&wish);
    is_refused(&all, "InvalidSource", "more than 5000000 bytes");
}

static void test_source_context_dir(void **state)
{
    static const struct {
        const char *context, *reason; /* NULL: read */
        uint64_t files;
    } cases[] = {
        {"", NULL, 8},
        {"./", NULL, 8},
        {"src", NULL, 4 - 1},
        {"src/deep/", NULL, 1},
        {"none", "InvalidContextDirectory", 0},
        {"run", "InvalidContextDirectory", 0},
        {"src/link", "InvalidContextDirectory", 0},
        {"src/link/x", "InvalidContextDirectory", 0},
        {"..", "InvalidContextDirectory", 0},
        {"src/../..", "InvalidContextDirectory", 0},
        {"/src", "InvalidContextDirectory", 0},
    };
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    char path[128];

    run_only(place, "git archive -o a.tar HEAD");
    snprintf(path, sizeof(path), "%s/a.tar", place->path);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct source_wish wish = wish_for(place);
        wish.kind = BUILD_FROM_PUSH;
        wish.commit = slice_of(commit);
        wish.context_dir = slice_of(cases[i].context);
        OWNED(found_drop) struct found pushed = open_wish(&wish);
        wish.kind = BUILD_FROM_ARCHIVE;
        OWNED(fd_drop) int archive = open(path, O_RDONLY | O_CLOEXEC);
        wish.archive = archive;
        OWNED(found_drop) struct found sent = open_wish(&wish);
        if (cases[i].reason != NULL) {
            is_refused(&pushed, cases[i].reason, "");
            is_refused(&sent, cases[i].reason, "");
            continue;
        }
        is_good(&pushed);
        is_good(&sent);
        assert_int_equal(pushed.facts.files, cases[i].files);
        assert_true(digest_equal(&pushed.facts.content, &sent.facts.content));
    }
}

static void test_source_exclude_and_detect(void **state)
{
    char *table[] = {
        (char *)(uintptr_t) "package.json=builders/node", (char *)(uintptr_t) "src/*.c=builders/c",
        (char *)(uintptr_t) "run=builders/sh", (char *)(uintptr_t) "main.c=builders/no"};
    const struct s2i_list detect = {table, LENGTH(table)};
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    struct source_wish wish = wish_for(place);

    wish.kind = BUILD_FROM_PUSH;
    wish.commit = slice_of(commit);
    wish.detect = &detect;
    OWNED(found_drop) struct found all = open_wish(&wish);
    is_good(&all);
    assert_int_equal(all.facts.detected.count, 2);
    assert_string_equal(all.facts.detected.items[0], "src/*.c");
    assert_string_equal(all.facts.detected.items[1], "run");
    wish.exclude = SLICE("^src$|\\.bin$");
    OWNED(found_drop) struct found less = open_wish(&wish);
    is_good(&less);
    assert_int_equal(less.facts.files, 4);
    assert_int_equal(less.facts.detected.count, 1);
    wish.exclude = SLICE("(");
    OWNED(found_drop) struct found bad = open_wish(&wish);
    is_refused(&bad, "InvalidSource", "exclude");
}

static void test_source_texts_cannot_harm(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop)
    char *commit =
        run(place, "tree=$(git mktree </dev/null) && GIT_AUTHOR_NAME=$(printf 'E\\033[31mve') "
                   "git commit-tree -m \"$(printf 'red \\033]0;x\\007 \\302\\233')\" $tree");
    OWNED(found_drop) struct found found = open_commit(place, commit);

    is_good(&found);
    assert_string_equal(found.facts.author, "E\\x1b[31mve <ann@example.org>");
    assert_string_equal(found.facts.subject, "red \\x1b]0;x\\x07 \\xc2\\x9b");
    assert_int_equal(found.facts.files, 0);
}

/* --- hostile repositories --- */

/* A commit of a tree of these bytes; %O stands for the blob's or tree's id in binary. */
static char *commit_raw(const struct place *place, const char *mode, const char *name,
                        size_t name_size, const char *id)
{
    OWNED(buffer_drop) struct buffer tree = BUFFER_NONE;
    uint8_t raw[20];
    char path[96];

    assert_true(hex_decode(slice_of(id), raw, sizeof(raw)));
    buffer_print(&tree, "%s ", mode);
    buffer_append(&tree, name, name_size);
    buffer_append(&tree, "", 1);
    buffer_append(&tree, raw, sizeof(raw));
    snprintf(path, sizeof(path), "%s/raw", place->path);
    FILE *file = fopen(path, "we");
    assert_int_equal(fwrite(tree.at, 1, tree.size, file), tree.size);
    fclose(file);
    return run(place, "git commit-tree -m x $(git hash-object -t tree --literally -w raw)");
}

/* s2i 4.10, 20.8: git itself would refuse them on a checkout; libgit2 hands them out. */
static void test_source_refuses_names(void **state)
{
    static const struct {
        const char *mode, *name;
    } cases[] = {
        {"100644", ".."},   {"40000", ".."},      {"100644", "."},
        {"40000", ".git"},  {"100644", ".GIT"},   {"100644", "git~1"},
        {"100644", "a/b"},  {"40000", "../../x"}, {"100644", ".g\xe2\x80\x8cit"},
        {"120000", ".git"}, {"160000", ".git"},   {"100644", "/etc/x"},
    };
    const struct place *place = *state;
    OWNED(memory_drop) char *blob = run(place, "echo x | git hash-object -w --stdin");
    OWNED(memory_drop) char *tree = run(place, "git mktree </dev/null");
    char longest[300];

    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(memory_drop)
        char *commit = commit_raw(place, cases[i].mode, cases[i].name, strlen(cases[i].name),
                                  cases[i].mode[0] == '4' ? tree : blob);
        OWNED(found_drop) struct found found = open_commit(place, commit);
        is_refused(&found, "InvalidSource", "is a name that a source must not have");
    }
    memset(longest, 'x', sizeof(longest));
    OWNED(memory_drop) char *commit = commit_raw(place, "100644", longest, 256, blob);
    OWNED(found_drop) struct found found = open_commit(place, commit);
    is_refused(&found, "InvalidSource", "is a name that");
}

static void test_source_refuses_doubles(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop)
    char *commit = run(place, "blob=$(echo x | git hash-object -w --stdin) && "
                              "tree=$(printf '100644 blob %s\\ta\\n' $blob | git mktree) && "
                              "git cat-file tree $tree >raw && git cat-file tree $tree >>raw && "
                              "git commit-tree -m x $(git hash-object -t tree --literally -w raw)");
    OWNED(found_drop) struct found found = open_commit(place, commit);

    is_refused(&found, "InvalidSource", "twice");
}

/* Six trees that hold a million files and more, and one that is nested deeper than any path.
 * Spec: s2i 4.11 */
static void test_source_meets_its_limits_while_it_walks(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop)
    char *bomb =
        run(place, "id=$(echo x | git hash-object -w --stdin) kind='100644 blob' && "
                   "for level in 1 2 3 4 5 6; do id=$(for i in 0 1 2 3 4 5 6 7 8 9; do "
                   "printf \"$kind $id\\t$i\\n\"; done | git mktree); kind='040000 tree'; done && "
                   "git commit-tree -m x $id");
    OWNED(found_drop) struct found many = open_commit(place, bomb);
    is_refused(&many, "InvalidSource", "more than 10000 files and folders");

    OWNED(memory_drop)
    char *deep = run(
        place, "{ printf 'commit refs/heads/deep\\ncommitter x <x> 0 +0000\\ndata 0\\nM 100644 "
               "inline '; for i in $(seq 300); do printf 'd/'; done; printf 'f\\ndata 0\\n'; } | "
               "git fast-import --quiet && git rev-parse refs/heads/deep");
    OWNED(found_drop) struct found nested = open_commit(place, deep);
    is_refused(&nested, "InvalidSource", "");
}

/* The commit of a tree that shows 10^levels files, by one tree for each level. */
static char *commit_of_many(const struct place *place, const char *blob, const char *levels)
{
    OWNED(memory_drop)
    char *words = memory_print(
        "id=%s kind='100644 blob' && for level in %s; do id=$(for i in 0 1 2 3 4 5 6 7 8 9; do "
        "printf \"$kind $id\\t$i\\n\"; done | git mktree --missing); kind='040000 tree'; done && "
        "git commit-tree -m x $id",
        blob, levels);

    return run(place, words);
}

/* No file is looked at: they are not there. What is left out does not count. */
static void test_source_is_counted_before_it_is_walked(void **state)
{
    const struct place *place = *state;
    static const char nowhere[] = "0123456789012345678901234567890123456789";
    OWNED(memory_drop) char *blob = run(place, "echo x | git hash-object -w --stdin");
    OWNED(memory_drop) char *bomb = commit_of_many(place, nowhere, "1 2 3 4 5 6 7 8 9 10 11 12");
    OWNED(memory_drop) char *absent = commit_of_many(place, nowhere, "1 2 3");
    OWNED(memory_drop) char *shared = commit_of_many(place, blob, "1 2 3 4");
    OWNED(found_drop) struct found many = open_commit(place, bomb);
    OWNED(found_drop) struct found unread = open_commit(place, absent);
    OWNED(found_drop) struct found whole = open_commit(place, shared);
    struct source_wish wish = wish_for(place);

    is_refused(&many, "InvalidSource", "more than 10000 files and folders");
    is_refused(&unread, "InvalidSource", "a file of the repository cannot be read");
    is_refused(&whole, "InvalidSource", "more than 10000 files and folders");
    wish.kind = BUILD_FROM_PUSH;
    wish.commit = slice_of(shared);
    wish.exclude = SLICE("^[1-9]");
    OWNED(found_drop) struct found part = open_wish(&wish);
    is_good(&part);
    assert_int_equal(part.facts.files, 1000);
    wish.exclude = SLICE_NONE;
    wish.files_max = 11110;
    OWNED(found_drop) struct found all = open_wish(&wish);
    is_good(&all);
    assert_int_equal(all.facts.files, 10000);
}

static void test_source_refuses_what_is_no_commit(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop) char *blob = run(place, "echo x | git hash-object -w --stdin");
    OWNED(found_drop) struct found of_blob = open_commit(place, blob);
    OWNED(found_drop)
    struct found missing = open_commit(place, "0123456789012345678901234567890123456789");
    OWNED(found_drop) struct found text = open_commit(place, "main");
    OWNED(found_drop) struct found option = open_commit(place, "--help");

    is_refused(&of_blob, "FetchSourceFailed", "has no commit");
    is_refused(&missing, "FetchSourceFailed", "has no commit");
    is_refused(&text, "InvalidSource", "40 hex digits");
    is_refused(&option, "InvalidSource", "40 hex digits");
}

/* s2i 4.5: of a pushed commit a folder stays empty. */
static void test_source_gitlinks_of_a_push(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop)
    char *commit =
        run(place, "id=0123456789012345678901234567890123456789 && "
                   "blob=$(printf '[submodule \"l\"]\\n path = lib\\n url = ../lib\\n' | "
                   "git hash-object -w --stdin) && git commit-tree -m x $(printf '100644 blob "
                   "%s\\t.gitmodules\\n160000 commit %s\\tlib\\n160000 commit %s\\tunnamed\\n' "
                   "$blob $id $id | git mktree --missing)");
    OWNED(found_drop) struct found found = open_commit(place, commit);
    OWNED(memory_drop) char *list = NULL;

    is_good(&found);
    assert_int_equal(found.facts.submodules_empty, 2);
    list = listing(place, &found);
    assert_non_null(strstr(list, " lib/\n"));
    assert_non_null(strstr(list, " unnamed/"));
}

/* --- hostile archives --- */

struct piece {
    const char *path, *link, *content;
    char type; /* as in tar: '0', '1', '2', '3', '5', '6' */
};

static void write_archive(const struct place *place, const struct piece *pieces, size_t count)
{
    struct archive *archive = archive_write_new();
    char path[96];

    snprintf(path, sizeof(path), "%s/hostile.tar", place->path);
    archive_write_set_format_pax_restricted(archive);
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    for (size_t i = 0; i < count; i++) {
        static const unsigned types[] = {['0'] = AE_IFREG, ['1'] = AE_IFREG, ['2'] = AE_IFLNK,
                                         ['3'] = AE_IFCHR, ['5'] = AE_IFDIR, ['6'] = AE_IFIFO};
        struct archive_entry *entry = archive_entry_new();
        size_t size = pieces[i].content == NULL ? 0 : strlen(pieces[i].content);
        archive_entry_set_pathname(entry, pieces[i].path);
        archive_entry_set_filetype(entry, types[(unsigned char)pieces[i].type]);
        archive_entry_set_perm(entry, 0644);
        archive_entry_set_size(entry, (int64_t)size);
        if (pieces[i].type == '1')
            archive_entry_set_hardlink(entry, pieces[i].link);
        if (pieces[i].type == '2')
            archive_entry_set_symlink(entry, pieces[i].link);
        assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
        if (size > 0)
            assert_int_equal(archive_write_data(archive, pieces[i].content, size), size);
        archive_entry_free(entry);
    }
    assert_int_equal(archive_write_free(archive), ARCHIVE_OK);
}

static void test_source_refuses_archives(void **state)
{
    static const struct {
        struct piece pieces[2];
        const char *message; /* NULL: taken */
    } cases[] = {
        {{{"a", NULL, "x", '0'}}, NULL},
        {{{"../a", NULL, "x", '0'}}, "must not have"},
        {{{"a/../../b", NULL, "x", '0'}}, "must not have"},
        {{{"/etc/a", NULL, "x", '0'}}, "must not have"},
        {{{"./../a", NULL, "x", '0'}}, "must not have"},
        {{{".GIT/config", NULL, "x", '0'}}, "must not have"},
        {{{"git~1/config", NULL, "x", '0'}}, "must not have"},
        {{{".git/hooks/x", NULL, "x", '0'}}, NULL}, /* left out: 4.7 */
        {{{"a", NULL, NULL, '3'}}, "neither file, folder nor"},
        {{{"a", NULL, NULL, '6'}}, "neither file, folder nor"},
        {{{"a", "/etc/passwd", NULL, '1'}}, "hard link"},
        {{{"a", "../b", NULL, '1'}}, "hard link"},
        {{{"a", "a", NULL, '1'}}, "hard link"},
        {{{"a", "/etc", NULL, '2'}, {"a/b", NULL, "x", '0'}}, "is a file, and a folder"},
        {{{"a", NULL, "x", '0'}, {"a/b", NULL, "x", '0'}}, "is a file, and a folder"},
        {{{"a", "../../../etc/passwd", NULL, '2'}}, NULL}, /* a text */
        {{{"a", NULL, "x", '0'}, {"a", NULL, "longer", '0'}}, NULL},
        {{{"a", NULL, "x", '0'}, {"b", "a", NULL, '1'}}, NULL},
    };
    const struct place *place = *state;

    for (size_t i = 0; i < LENGTH(cases); i++) {
        write_archive(place, cases[i].pieces, cases[i].pieces[1].path == NULL ? 1 : 2);
        OWNED(found_drop) struct found found = open_archive(place, "hostile.tar");
        if (cases[i].message == NULL)
            is_good(&found);
        else
            is_refused(&found, "InvalidSource", cases[i].message);
    }
}

static void test_source_hard_links_are_files(void **state)
{
    static const struct piece pieces[] = {{"dir/first", NULL, "content", '0'},
                                          {"second", "dir/first", NULL, '1'}};
    const struct place *place = *state;

    write_archive(place, pieces, 2);
    OWNED(found_drop) struct found found = open_archive(place, "hostile.tar");
    is_good(&found);
    assert_int_equal(found.facts.files, 2);
    assert_int_equal(found.facts.bytes, 14);
    OWNED(memory_drop) char *list = listing(place, &found);
    assert_non_null(strstr(list, "-rw-r--r-- 0/0 7 1970-01-01 00:00:00 second"));
}

/* As many as a folder of installed packages has: each is found at once. */
static void test_source_many_hard_links(void **state)
{
    enum { LINKS = 9000 };
    static struct piece pieces[LINKS + 1];
    static char names[LINKS][16];
    const struct place *place = *state;

    pieces[0] = (struct piece){"first", NULL, "content", '0'};
    for (size_t i = 0; i < LINKS; i++) {
        snprintf(names[i], sizeof(names[i]), "l%zu", i);
        pieces[i + 1] = (struct piece){names[i], i == 0 ? "first" : names[i - 1], NULL, '1'};
    }
    write_archive(place, pieces, LENGTH(pieces));
    OWNED(found_drop) struct found found = open_archive(place, "hostile.tar");
    is_good(&found);
    assert_int_equal(found.facts.files, LINKS + 1);
    assert_int_equal(found.facts.bytes, 7 * (LINKS + 1));
}

static void test_source_refuses_broken_archives(void **state)
{
    const struct place *place = *state;

    run_only(place, "head -c 100000 /dev/urandom >x && cp x garbage && tar -czf whole.tgz x && "
                    "head -c 50000 whole.tgz >cut.tgz && : >nothing && tar -cf t.tar x && "
                    "head -c 50000 t.tar >cut.tar && "
                    "head -c 40000000 /dev/zero >z && tar -czf bomb.tgz z && rm z");
    OWNED(found_drop) struct found garbage = open_archive(place, "garbage");
    OWNED(found_drop) struct found cut = open_archive(place, "cut.tgz");
    OWNED(found_drop) struct found cut_tar = open_archive(place, "cut.tar");
    OWNED(found_drop) struct found nothing = open_archive(place, "nothing");
    OWNED(found_drop) struct found bomb = open_archive(place, "bomb.tgz");

    is_refused(&garbage, "InvalidSource", "archive");
    is_refused(&cut, "InvalidSource", "archive");
    is_refused(&cut_tar, "InvalidSource", "archive");
    is_refused(&nothing, "InvalidSource", "archive");
    is_refused(&bomb, "InvalidSource", "z is larger than");
}

/* --- the server's side --- */

static void test_source_stops_when_it_is_told(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    struct source_wish wish = wish_for(place);
    OWNED(fd_drop) int wake = eventfd(1, EFD_CLOEXEC);

    wish.cancel = wake;
    wish.kind = BUILD_FROM_PUSH;
    wish.commit = slice_of(commit);
    OWNED(found_drop) struct found stopped = open_wish(&wish);
    assert_int_equal(stopped.outcome, -1);
    assert_int_equal(stopped.err.code, ERROR_UNAVAILABLE);
}

static void test_source_of_nothing(void **state)
{
    struct source_wish wish = wish_for(*state);
    struct stat about;

    wish.kind = BUILD_FROM_NOTHING;
    OWNED(found_drop) struct found found = open_wish(&wish);
    is_good(&found);
    assert_int_equal(fstat(found.fd, &about), 0);
    assert_int_equal(about.st_size, 1024);
    assert_true(digest_is_set(&found.facts.content));
    assert_string_equal(found.facts.url, "");
}

static void test_source_leaves_nothing_behind(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop) char *commit = run(place, basic);
    OWNED(found_drop) struct found found = open_commit(place, commit);
    OWNED(memory_drop) char *left = run(place, "ls -A scratch");

    is_good(&found);
    assert_string_equal(left, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_source_of_a_commit),
        TEST(test_source_is_the_same_from_everywhere),
        TEST(test_source_reads_large_blobs_in_pieces),
        TEST(test_source_context_dir),
        TEST(test_source_exclude_and_detect),
        TEST(test_source_texts_cannot_harm),
        TEST(test_source_refuses_names),
        TEST(test_source_refuses_doubles),
        TEST(test_source_meets_its_limits_while_it_walks),
        TEST(test_source_is_counted_before_it_is_walked),
        TEST(test_source_refuses_what_is_no_commit),
        TEST(test_source_gitlinks_of_a_push),
        TEST(test_source_refuses_archives),
        TEST(test_source_hard_links_are_files),
        TEST(test_source_many_hard_links),
        TEST(test_source_refuses_broken_archives),
        TEST(test_source_stops_when_it_is_told),
        TEST(test_source_of_nothing),
        TEST(test_source_leaves_nothing_behind),
    };

    if (argc == 2 && strcmp(argv[1], "source") == 0)
        return source_child();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
