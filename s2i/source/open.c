/* open.c - from a wish to one tar: the server's side of reading sources; see source.h.
 * Touches  confined children, a folder of its own below the scratch folder, a nameless file.
 * Never    believes the child more than its answer's form: the facts are texts and numbers, the tar
 *          is read by nobody here. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "s2i/layer/layer.h"
#include "s2i/source/opening.h"
#include "s2i/source/text.h"

static void opening_drop(struct opening *opening)
{
    if (opening->folder != NULL)
        folder_erase(AT_FDCWD, opening->folder);
    free(opening->folder);
    source_url_drop(&opening->url);
    fd_drop(&opening->orders.spool_fd);
    reading_orders_drop(&opening->orders);
    fd_drop(&opening->tar);
}

/* --- files without a name --- */

static int nameless(const char *folder, struct error *err)
{
    int fd = folder == NULL ? -1 : open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        fd = memfd_create("source", MFD_CLOEXEC);
    if (fd >= 0 && fd <= STDERR_FILENO) {
        int low = fd;
        fd = fcntl(low, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(low);
    }
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be written down");
    return fd;
}

/* The same file, to be read only, from its start. */
static int sealed(int fd, struct error *err)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int out = open(path, O_RDONLY | O_CLOEXEC);
    if (out < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be read back");
    return out;
}

/* --- fetching --- */

static int make_folder(struct opening *opening, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (opening->folder != NULL)
        return 0;
    buffer_print(&path, "%s/source-XXXXXX", opening->wish->scratch);
    buffer_append(&path, "", 1);
    if (mkdtemp(path.at) == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a fetch cannot be prepared");
    opening->folder = TAKE(path.at);
    return 0;
}

int opening_fetch(struct opening *opening, struct fetch *fetch, char **repository,
                  struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (make_folder(opening, err) < 0)
        return -1;
    buffer_print(&path, "%s/%u", opening->folder, opening->fetches++);
    buffer_append(&path, "", 1);
    if (mkdir(path.at, 0700) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a fetch cannot be prepared");
    fetch->folder = path.at;
    fetch->credentials = opening->wish->credentials;
    fetch->rules = opening->rules;
    fetch->patience = &opening->patience;
    fetch->log = opening->wish->log;
    if (source_fetch(fetch, err) < 0)
        return -1;
    *repository = source_fetch_path(path.at);
    return 0;
}

static char *text_or_none(struct slice text)
{
    return text.size == 0 ? NULL : memory_text(text);
}

/* The commit and the name that are wanted: the wish's own, else the URL's. Spec: 4.2, 4.3 */
static int fetch_url(struct opening *opening, struct error *err)
{
    const struct source_wish *wish = opening->wish;
    struct slice ref = wish->ref.size > 0 ? wish->ref : slice_of(opening->url.ref);
    bool by_id = wish->commit.size == 0 && source_is_commit(ref);
    OWNED(memory_drop) char *commit = text_or_none(by_id ? ref : wish->commit);
    OWNED(memory_drop) char *name = text_or_none(by_id ? SLICE("") : ref);
    struct fetch fetch = {.url = &opening->url, .commit = commit, .ref = name};

    if (name != NULL && !source_ref_valid(slice_of(name)))
        return error_set(err, ERROR_INVALID, "the ref is no name of a branch, tag or commit");
    if (commit != NULL && !source_is_commit(slice_of(commit)))
        return error_set(err, ERROR_INVALID, "the commit is no id of 40 hex digits");
    if (opening_fetch(opening, &fetch, &opening->orders.repository, err) < 0)
        return -1;
    if (commit != NULL)
        opening->orders.commit = TAKE(commit);
    else
        opening->orders.ref = memory_text(SLICE(FETCHED_REF));
    return 0;
}

/* --- the wish --- */

static void fill_orders(struct opening *opening)
{
    const struct source_wish *wish = opening->wish;
    struct reading_orders *orders = &opening->orders;

    orders->archive = wish->kind == BUILD_FROM_ARCHIVE;
    orders->archive_fd = wish->archive;
    orders->tar_fd = opening->tar;
    orders->exclude = wish->exclude.at == NULL ? NULL : memory_text(wish->exclude);
    orders->files_max = wish->files_max < INT64_MAX ? wish->files_max : INT64_MAX;
    orders->bytes_max = wish->bytes_max < INT64_MAX ? wish->bytes_max : INT64_MAX;
    orders->blob_max = wish->blob_max < INT64_MAX ? wish->blob_max : INT64_MAX;
    orders->modules_mode = wish->ignore_submodules        ? MODULES_IGNORED
                           : wish->kind == BUILD_FROM_URL ? MODULES_NEEDED
                           : wish->scratch == NULL        ? MODULES_IGNORED
                                                          : MODULES_WANTED;
    for (size_t i = 0; wish->detect != NULL && i < wish->detect->count; i++)
        s2i_list_add(&orders->detect, slice_of(wish->detect->items[i]));
}

/* A ref of our own repository, whole: never an expression (16.11). None is its HEAD. */
static int own_ref(struct slice ref, char **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;

    if (ref.size == 0)
        ref = SLICE("HEAD");
    else if (!source_ref_valid(ref))
        return error_set(err, ERROR_INVALID, "the ref is no name of a branch, tag or commit");
    else if (!slice_starts(ref, "refs/"))
        buffer_append_text(&whole, "refs/heads/");
    buffer_append_slice(&whole, ref);
    *out = memory_text(buffer_slice(&whole));
    return 0;
}

static int prepare_push(struct opening *opening, struct error *err)
{
    const struct source_wish *wish = opening->wish;
    struct slice commit =
        wish->commit.size == 0 && source_is_commit(wish->ref) ? wish->ref : wish->commit;

    opening->orders.repository = memory_text(slice_of(wish->repository_folder));
    if (commit.size == 0)
        return own_ref(wish->ref, &opening->orders.ref, err);
    if (!source_is_commit(commit))
        return error_set(err, ERROR_INVALID, "the commit is no id of 40 hex digits");
    opening->orders.commit = memory_text(commit);
    return 0;
}

static int prepare(struct opening *opening, struct error *err)
{
    const struct source_wish *wish = opening->wish;

    switch (wish->kind) {
    case BUILD_FROM_PUSH:
        return prepare_push(opening, err);
    case BUILD_FROM_URL:
        opening->reason = REASON_FETCH;
        if (source_url_read(wish->url, &opening->url, err) < 0)
            return -1;
        return fetch_url(opening, err);
    default:
        opening->orders.spool_fd = nameless(wish->scratch, err);
        return opening->orders.spool_fd < 0 ? -1 : 0;
    }
}

/* 4.4: what leaves the root is refused before anything is read. */
static int read_context(struct opening *opening, struct error *err)
{
    OWNED(buffer_drop) struct buffer clean = BUFFER_NONE;

    opening->reason = REASON_CONTEXT;
    if (!source_folder_clean(opening->wish->context_dir, &clean))
        return error_set(err, ERROR_INVALID, "context_dir must be a folder within the source");
    opening->orders.context_dir = memory_text(buffer_slice(&clean));
    opening->reason = REASON_SOURCE;
    return 0;
}

static int write_nothing(struct opening *opening, struct s2i_source_facts *facts, struct error *err)
{
    OWNED(buffer_drop) struct buffer end = BUFFER_NONE;

    tar_write_end(&end);
    digest_of(DIGEST_SHA256, buffer_slice(&end), &facts->content);
    if (fd_write(opening->tar, buffer_slice(&end)) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be written down");
    return 0;
}

static int open_kind(struct opening *opening, struct s2i_source_facts *facts, struct error *err)
{
    if (opening->wish->kind == BUILD_FROM_NOTHING)
        return write_nothing(opening, facts, err);
    if (prepare(opening, err) < 0)
        return -1;
    fill_orders(opening);
    return opening_read(opening, facts, err);
}

static void put_text(char **field, struct slice text)
{
    OWNED(buffer_drop) struct buffer clean = BUFFER_NONE;

    source_text_clean(text, SOURCE_PATH_MAX / 4, &clean);
    free(*field);
    *field = memory_text(buffer_slice(&clean));
}

static void put_empty(char **field)
{
    if (*field == NULL)
        *field = memory_text(SLICE(""));
}

/* What the server knows better than the child. */
static void complete(const struct opening *opening, struct s2i_source_facts *facts)
{
    const struct source_wish *wish = opening->wish;
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE;
    struct slice place, ref = SLICE("");

    slice_split(wish->url, '#', &place, &ref);
    s2i_url_clean(place, &url);
    put_text(&facts->url, buffer_slice(&url));
    put_text(&facts->ref, wish->ref.size > 0 ? wish->ref : ref);
    put_text(&facts->context_dir, slice_of(opening->orders.context_dir));
    put_empty(&facts->commit);
    put_empty(&facts->author);
    put_empty(&facts->author_date);
    put_empty(&facts->subject);
    put_empty(&facts->tree);
    put_empty(&facts->conf);
}

int source_open(const struct source_wish *wish, const struct source_rules *rules, int *fd,
                struct s2i_source_facts *facts, const char **reason, struct error *err)
{
    OWNED(opening_drop)
    struct opening opening = {
        .wish = wish,
        .rules = rules,
        .patience = {source_now_ms() + (int64_t)wish->timeout_ms, wish->cancel},
        .orders = {.archive_fd = -1, .spool_fd = -1},
        .tar = -1,
        .reason = REASON_SOURCE};

    *facts = (struct s2i_source_facts){.url = NULL};
    int outcome = read_context(&opening, err);
    if (outcome == 0)
        outcome = opening.tar = nameless(wish->scratch, err);
    if (outcome >= 0)
        outcome = open_kind(&opening, facts, err);
    if (outcome >= 0)
        outcome = *fd = sealed(opening.tar, err);
    *reason = opening.reason;
    if (outcome >= 0)
        complete(&opening, facts);
    else
        s2i_source_facts_drop(facts);
    return outcome < 0 ? -1 : 0;
}
