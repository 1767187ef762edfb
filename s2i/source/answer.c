/* answer.c - the child `slipway source` gets its orders, and what it answers is believed as far as
 * its form goes.
 * Touches  a confined child.
 * Never    shows what it says as it came. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/json.h"
#include "s2i/source/opening.h"
#include "s2i/source/text.h"

enum {
    ANSWER_MAX = 16 * 1024 * 1024,
    ROUNDS_MAX = 8, /* submodules in each other */
};

#define CHILD_MEMORY (UINT64_C(2) << 30)
#define HEADERS_SIZE 8192 /* of one entry of the tar, with a pax header */

const char *opening_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

static uint64_t added(uint64_t a, uint64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static int input_of(const json_t *object, struct error *err)
{
    OWNED(fd_drop) int fd = memfd_create("orders", MFD_CLOEXEC);
    char *text = json_dumps(object, JSON_COMPACT);
    bool written =
        fd >= 0 && text != NULL && fd_write(fd, slice_of(text)) == 0 && lseek(fd, 0, SEEK_SET) == 0;

    free(text);
    if (!written)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source reader has no orders");
    return fd_take(&fd);
}

static int ended_badly(int status, struct error *err)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        error_set(err, ERROR_INVALID, "the source is larger than a source may be");
    else if (WIFSIGNALED(status))
        error_set(err, ERROR_INVALID, "the source takes more time or memory than a source may");
    else
        error_set(err, ERROR_INTERNAL, "the source reader has no answer");
    return error_set_cause(err, "the source reader ended with status %d", status);
}

static int run_child(struct opening *opening, json_t **answer, struct error *err)
{
    const struct reading_orders *orders = &opening->orders;
    const char *const words[] = {confine_self(), "source", NULL};
    const char *const environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", NULL};
    const char *const readable[] = {opening->folder != NULL ? opening->folder : orders->repository,
                                    opening->folder != NULL ? orders->repository : NULL, NULL};
    const int kept[] = {orders->tar_fd, orders->spool_fd, orders->archive_fd};
    OWNED(json_drop) json_t *object = reading_orders_write(orders);
    OWNED(fd_drop) int input = input_of(object, err);
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    int status;

    struct confinement with = {
        .words = words,
        .environment = environment,
        .readable = readable,
        .input = input,
        .errors = -1,
        .kept = kept,
        .kept_count = orders->archive ? 3 : 1,
        .memory = CHILD_MEMORY,
        .cpu_s = opening->wish->timeout_ms / 1000 + 1,
        .file_size = added(orders->bytes_max, added(orders->files_max, 1) < INT64_MAX / HEADERS_SIZE
                                                  ? (orders->files_max + 2) * HEADERS_SIZE
                                                  : INT64_MAX / 2)};
    if (input < 0 ||
        source_run(&with, false, ANSWER_MAX, &opening->patience, &said, &status, err) < 0)
        return -1;
    *answer = status != 0 ? NULL : json_of_others(buffer_slice(&said), 0);
    return *answer == NULL ? ended_badly(status, err) : 0;
}

static const char *known_reason(const char *text)
{
    return strcmp(text, REASON_CONTEXT) == 0 ? REASON_CONTEXT
           : strcmp(text, REASON_FETCH) == 0 ? REASON_FETCH
                                             : REASON_SOURCE;
}

/* What the child says is shown as it is: cleaned here as well. */
static int fail_as_told(struct opening *opening, const json_t *told, struct error *err)
{
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;
    const char *reason = opening_member(told, "reason");

    source_text_clean(slice_of(opening_member(told, "message")), sizeof(err->message), &shown);
    opening->reason = known_reason(reason);
    enum error_code code = json_is_true(json_object_get(told, "full")) ? ERROR_STORAGE_FULL
                           : reason[0] == '\0'                         ? ERROR_UNAVAILABLE
                                                                       : ERROR_INVALID;
    error_set(err, code, "%.*s", SLICE_ARG(buffer_slice(&shown)));
    return error_set_cause(err, "%.190s", opening_member(told, "cause"));
}

static void warn(const struct opening *opening, const json_t *warnings)
{
    const json_t *text;
    size_t i;

    json_array_foreach(warnings, i, text) {
        if (opening->wish->log != NULL && json_is_string(text))
            build_log_print(opening->wish->log, "warning: %s", json_string_value(text));
    }
}

/* 1: the tar is written; 0: *gitlinks must be fetched first. */
static int read_once(struct opening *opening, struct s2i_source_facts *facts, json_t **answer,
                     struct error *err)
{
    const json_t *told;

    opening->reason = REASON_SOURCE;
    if (run_child(opening, answer, err) < 0)
        return -1;
    if ((told = json_object_get(*answer, "error")) != NULL)
        return fail_as_told(opening, told, err);
    if (json_object_get(*answer, "gitlinks") != NULL)
        return 0;
    if (s2i_source_facts_read(facts, json_object_get(*answer, "facts"), err) < 0)
        return -1;
    warn(opening, json_object_get(*answer, "warnings"));
    return 1;
}

int opening_read(struct opening *opening, struct s2i_source_facts *facts, struct error *err)
{
    struct module_urls urls = {NULL, 0};
    int outcome = 0;

    for (int round = 0; outcome == 0; round++) {
        OWNED(json_drop) json_t *answer = NULL;
        if (round == ROUNDS_MAX) {
            outcome = error_set(err, ERROR_INVALID, "submodules are nested too deep");
        } else if ((outcome = read_once(opening, facts, &answer, err)) == 0) {
            opening->reason = REASON_FETCH;
            outcome =
                opening_fetch_modules(opening, &urls, json_object_get(answer, "gitlinks"), err);
        }
    }
    module_urls_drop(&urls);
    return outcome < 0 ? -1 : 0;
}
