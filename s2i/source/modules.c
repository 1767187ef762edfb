/* modules.c - submodules of a source: where each is from, and bringing it here; see opening.h.
 * Touches  the network, by fetch.c.
 * Never    takes a path or an URL of .gitmodules for more than a text.
 *
 * Spec: s2i 4.5. */
#include <stdlib.h>
#include <string.h>

#include "s2i/source/opening.h"

void module_urls_drop(struct module_urls *urls)
{
    for (size_t i = 0; i < urls->count; i++) {
        free(urls->items[i].path);
        source_url_drop(&urls->items[i].url);
    }
    free(urls->items);
}

static const struct source_url *url_of(const struct opening *opening,
                                       const struct module_urls *urls, const char *parent)
{
    for (size_t i = 0; i < urls->count; i++)
        if (strcmp(urls->items[i].path, parent) == 0)
            return &urls->items[i].url;
    return parent[0] == '\0' && opening->url.scheme != NULL ? &opening->url : NULL;
}

static int module_url(const struct opening *opening, const struct module_urls *urls,
                      const char *parent, const char *text, struct source_url *out,
                      struct error *err)
{
    const struct source_url *base = url_of(opening, urls, parent);
    OWNED(buffer_drop) struct buffer joined = BUFFER_NONE;

    if (base == NULL && text[0] == '.')
        return error_set(err, ERROR_INVALID, "its URL is relative to one that is not known");
    if (base == NULL)
        buffer_append_text(&joined, text);
    else if (source_url_join(base, slice_of(text), &joined, err) < 0)
        return -1;
    return source_url_read(buffer_slice(&joined), out, err);
}

static int fetch_module(struct opening *opening, struct module_urls *urls, const json_t *gitlink,
                        char **repository, struct error *err)
{
    struct source_url url = {.scheme = NULL};

    if (!source_is_commit(slice_of(opening_member(gitlink, "commit"))))
        return error_set(err, ERROR_INTERNAL, "the source reader names no commit");
    if (module_url(opening, urls, opening_member(gitlink, "parent"), opening_member(gitlink, "url"),
                   &url, err) < 0)
        return -1;
    urls->items = memory_resize(urls->items, (urls->count + 1) * sizeof(urls->items[0]));
    urls->items[urls->count++] =
        (struct module_url){memory_text(slice_of(opening_member(gitlink, "path"))), url};
    struct fetch fetch = {.url = &urls->items[urls->count - 1].url,
                          .commit = opening_member(gitlink, "commit")};
    return opening_fetch(opening, &fetch, repository, err);
}

int opening_fetch_modules(struct opening *opening, struct module_urls *urls, const json_t *gitlinks,
                          struct error *err)
{
    bool needed = opening->orders.modules_mode == MODULES_NEEDED;
    const json_t *gitlink;
    size_t i;

    json_array_foreach(gitlinks, i, gitlink) {
        OWNED(memory_drop) char *repository = NULL;
        struct error why = {0};
        if (opening->orders.module_count + 1 >= READING_REPOSITORIES_MAX)
            return error_set(err, ERROR_INVALID, "the source has more than %d submodules",
                             READING_REPOSITORIES_MAX - 1);
        if (fetch_module(opening, urls, gitlink, &repository, &why) < 0) {
            if (needed || why.code != ERROR_INVALID) {
                error_set(err, why.code, "submodule %.60s: %.120s", opening_member(gitlink, "path"),
                          why.message);
                return error_set_cause(err, "%.190s", why.cause);
            }
            if (opening->wish->log != NULL)
                build_log_print(opening->wish->log, "submodule %.200s: %s",
                                opening_member(gitlink, "path"), why.message);
        }
        reading_orders_add_module(&opening->orders, opening_member(gitlink, "path"), repository);
    }
    return 0;
}
