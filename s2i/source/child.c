/* child.c - `slipway source`: reads what a stranger sent, under confinement; see source.h.
 * Touches  standard input (its orders), standard output (its answer), descriptors it was given.
 * Never    the network, a name of a file but the repositories'; memory of the server.
 *
 * The answer is one JSON object: {"facts", "warnings"}, {"gitlinks"}, or {"error"}. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/record.h"
#include "s2i/source/reading.h"
#include "s2i/source/source.h"
#include "s2i/source/text.h"

enum { ORDERS_MAX = 16 * 1024 * 1024, WARNINGS_MAX = 100 };

void reading_warn(struct reading *reading, struct slice path, const char *what)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (reading->warnings.count == WARNINGS_MAX)
        return;
    source_text_clean(path, SOURCE_NAME_MAX, &text);
    buffer_print(&text, " %s", what);
    s2i_list_add(&reading->warnings, buffer_slice(&text));
}

void reading_gitlink_add(struct reading *reading, struct slice path, struct slice parent,
                         const char *url, const uint8_t id[ENTRY_ID_SIZE])
{
    char hex[2 * ENTRY_ID_SIZE + 1] = "";

    hex_encode(id, ENTRY_ID_SIZE, hex);
    reading->gitlinks = memory_resize(reading->gitlinks,
                                      (reading->gitlink_count + 1) * sizeof(reading->gitlinks[0]));
    reading->gitlinks[reading->gitlink_count++] =
        (struct reading_gitlink){memory_text(path), memory_text(parent), memory_text(slice_of(url)),
                                 memory_text(slice_of(hex))};
}

static void reading_drop(struct reading *reading)
{
    for (size_t i = 0; i < reading->gitlink_count; i++) {
        free(reading->gitlinks[i].path);
        free(reading->gitlinks[i].parent);
        free(reading->gitlinks[i].url);
        free(reading->gitlinks[i].commit);
    }
    free(reading->gitlinks);
    source_entries_drop(&reading->entries);
    source_exclude_drop(&reading->exclude);
    s2i_source_facts_drop(&reading->facts);
    s2i_list_drop(&reading->warnings);
}

/* --- the answer --- */

static void set_text(json_t *object, const char *name, const char *text)
{
    json_object_set_new(object, name, s2i_json_text(slice_of(text)));
}

static json_t *answer_gitlinks(const struct reading *reading)
{
    json_t *array = json_array();

    for (size_t i = 0; i < reading->gitlink_count; i++) {
        json_t *object = json_object();
        set_text(object, "path", reading->gitlinks[i].path);
        set_text(object, "parent", reading->gitlinks[i].parent);
        set_text(object, "url", reading->gitlinks[i].url);
        set_text(object, "commit", reading->gitlinks[i].commit);
        json_array_append_new(array, object);
    }
    return json_pack("{s:o}", "gitlinks", array);
}

static json_t *answer_facts(const struct reading *reading)
{
    json_t *warnings = json_array();

    for (size_t i = 0; i < reading->warnings.count; i++)
        json_array_append_new(warnings, s2i_json_text(slice_of(reading->warnings.items[i])));
    return json_pack("{s:o,s:o}", "facts", s2i_source_facts_write(&reading->facts), "warnings",
                     warnings);
}

static json_t *answer_error(const struct reading *reading, const struct error *err)
{
    json_t *object = json_object();

    set_text(object, "reason", err->code == ERROR_INVALID ? reading->reason : "");
    set_text(object, "message", err->message);
    set_text(object, "cause", err->cause);
    json_object_set_new(object, "full", json_boolean(err->code == ERROR_STORAGE_FULL));
    return json_pack("{s:o}", "error", object);
}

static int answer(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    int outcome = text == NULL ? -1 : fd_write(STDOUT_FILENO, slice_of(text));

    free(text);
    json_decref(object);
    return outcome < 0 ? 1 : 0;
}

/* --- the orders --- */

static int read_orders(struct reading_orders *orders, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    json_t *object;

    if (fd_read(STDIN_FILENO, ORDERS_MAX, &text) < 0 ||
        (object = json_loadb(text.at, text.size, 0, NULL)) == NULL)
        return error_set(err, ERROR_INTERNAL, "the orders of the source reader cannot be read");
    int outcome = reading_orders_read(orders, object, err);
    json_decref(object);
    return outcome;
}

/* Programs that this one starts do not get them. */
static void keep_to_ourselves(const struct reading_orders *orders)
{
    const int all[] = {orders->archive_fd, orders->spool_fd, orders->tar_fd};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i] > STDERR_FILENO)
            fcntl(all[i], F_SETFD, FD_CLOEXEC);
}

static int read_source(struct reading *reading, struct error *err)
{
    const struct reading_orders *orders = reading->orders;

    reading->entries.count_max = orders->files_max;
    reading->entries.bytes_max = orders->bytes_max;
    reading->entries.blob_max = orders->blob_max;
    if (source_exclude_open(&reading->exclude, slice_of(orders->exclude), err) < 0)
        return -1;
    return orders->archive ? reading_archive(reading, err) : reading_tree(reading, err);
}

int source_child(void)
{
    OWNED(reading_orders_drop) struct reading_orders orders = {.archive = false};
    OWNED(reading_drop) struct reading reading = {.orders = &orders, .reason = "InvalidSource"};
    struct error err = {0};

    signal(SIGPIPE, SIG_DFL);
    if (read_orders(&orders, &err) < 0)
        return answer(answer_error(&reading, &err));
    keep_to_ourselves(&orders);
    if (read_source(&reading, &err) < 0)
        return answer(answer_error(&reading, &err));
    return answer(reading.gitlink_count > 0 ? answer_gitlinks(&reading) : answer_facts(&reading));
}
