/* tags.c - lists of names: the tags of a repository, and the catalogue of repositories.
 * Touches  storage: reads names.
 * Never    changes anything. */
#include "auth/auth.h"
#include "registry/config.h"
#include "registry/services.h"
#include "registry/v2/paging.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"

enum {
    TAGS_UNCOUNTED = 10, /* pages' worth of tags without n (TAG-06) */
    CATALOG_DEFAULT = 100,
    CATALOG_MAX = 1000,
};

/* The rest of both answers. Consumes body. A limit of 0 leads nowhere (TAG-03). */
static void answer(struct reply *reply, struct buffer *body, struct slice path,
                   const struct paging *paging, const struct page *page)
{
    reply->status = 200;
    render_json_head(reply);
    reply_header_slice(reply, "Cache-Control", SLICE("no-cache"));
    if (page->more && page->count > 0)
        paging_link(reply, path, paging, slice_of(page->names[page->count - 1]));
    reply_text(reply, body);
}

/* Spec: end-8a, end-8b; TAG-01 to TAG-10. */
int v2_tags_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    size_t limit = (size_t)services->config->server_limits_tags_page;
    OWNED(page_drop) struct page page = {0};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;
    struct paging paging;

    assert_worker_thread();
    if (paging_parse(request, limit * TAGS_UNCOUNTED, limit, &paging, err) < 0 ||
        storage_tag_list(services->storage, request->name, paging.last, paging.limit, &page, err) <
            0)
        return -1;
    buffer_print(&path, "/v2/%.*s/tags/list", SLICE_ARG(request->name));
    buffer_append_text(&body, "{\"name\":");
    buffer_append_json(&body, request->name);
    buffer_append_text(&body, ",\"tags\":");
    render_names(&body, &page);
    buffer_append_text(&body, "}");
    answer(reply, &body, buffer_slice(&path), &paging, &page);
    return 0;
}

/* What the caller may pull. Spec: CAT-01 to CAT-03. */
int v2_catalog_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(page_drop) struct page page = {0};
    struct buffer body = BUFFER_NONE;
    struct repository_filter readable;
    struct paging paging;

    assert_worker_thread();
    auth_list_filter(request->services->auth, request->caller, &readable);
    if (paging_parse(request, CATALOG_DEFAULT, CATALOG_MAX, &paging, err) < 0 ||
        storage_repository_list(request->services->storage, paging.last, &readable, paging.limit,
                                &page, err) < 0)
        return -1;
    buffer_append_text(&body, "{\"repositories\":");
    render_names(&body, &page);
    buffer_append_text(&body, "}");
    answer(reply, &body, SLICE("/v2/_catalog"), &paging, &page);
    return 0;
}
