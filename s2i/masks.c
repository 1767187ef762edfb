/* masks.c - which texts of a build stand in no log.
 * Touches  the repository's stored secrets.
 * Never    keeps one longer than its caller does: the list is wiped.
 *
 * Spec: s2i 5.4, 5.8, 16.12. */
#include <string.h>

#include "s2i/queue.h"

enum { MASK_MIN = 4 }; /* shorter ones would blacken half of every log */

static void add(struct s2i_list *out, struct slice text)
{
    if (text.size >= MASK_MIN)
        s2i_list_add(out, text);
}

/* Logs are judged line by line, so a file of several lines is as many texts. */
static void add_lines(struct s2i_list *out, struct slice text)
{
    struct slice line;

    while (text.at != NULL) {
        slice_split(text, '\n', &line, &text);
        if (slice_ends(line, "\r"))
            line.size--;
        add(out, line);
    }
}

/* "NAME\tPREFIX\tKIND\tVALUE"; the value may be "user:password". */
static void add_credential(struct s2i_list *out, struct slice text)
{
    struct slice field, user, password;

    for (int i = 0; i < 3; i++)
        if (!slice_split(text, '\t', &field, &text))
            return;
    add_lines(out, text);
    if (slice_split(text, ':', &user, &password))
        add(out, password);
}

static void add_assigned(struct s2i_list *out, const struct s2i_list *assignments)
{
    struct slice name, value;

    for (size_t i = 0; i < assignments->count; i++)
        if (slice_split(slice_of(assignments->items[i]), '=', &name, &value))
            add_lines(out, value);
}

/* "http://user:password@host". */
static void add_proxy(struct s2i_list *out, struct slice url)
{
    struct slice rest, host, user, password;
    const char *scheme = url.size == 0 ? NULL : strstr(url.at, "://");

    if (scheme == NULL || !slice_split(slice_of(scheme + 3), '@', &rest, &host))
        return;
    if (slice_split(rest, ':', &user, &password))
        add(out, password);
}

static int add_stored(struct storage *storage, int64_t config, enum build_secret_kind kind,
                      void (*take)(struct s2i_list *out, struct slice text), struct s2i_list *out,
                      struct error *err) ON(worker_thread)
{
    OWNED(build_secrets_drop) struct build_secrets secrets = {.items = NULL};

    if (build_secret_list(storage, config, kind, true, &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++)
        take(out, slice_of(secrets.items[i].value));
    return 0;
}

int masks_read(const struct build_task *task, struct s2i_list *out, struct error *err)
{
    struct storage *storage = task->builds->storage;
    OWNED(build_config_drop) struct build_config config = {.id = 0};

    add_assigned(out, &task->options.secret_env);
    add_proxy(out, slice_of(task->builds->config->builds_http_proxy));
    if (build_config_find(storage, slice_of(task->record.repository), &config, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return 0;
    }
    if (add_stored(storage, config.id, BUILD_SECRET_FILE, add_lines, out, err) < 0)
        return -1;
    return add_stored(storage, config.id, BUILD_SECRET_SOURCE, add_credential, out, err);
}
