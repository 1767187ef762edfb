/* image.c - manifests of a repository: lists, one with its family, deleting and bringing back.
 * Touches  storage: content.h.
 * Never    a manifest's bytes: the distribution API serves them. */
#include <stdio.h>
#include <string.h>

#include "registry/api/api_internal.h"
#include "storage/content.h"

enum { REFERRERS_PAGE = 256 * 1024 }; /* bytes of descriptors */

/* The digest in the path. NOT_FOUND  it is none. */
static int digest_at(const struct request *request, struct digest *out, struct error *err)
{
    struct error unread = {0};

    return digest_parse(request->reference, out, &unread) == 0 ? 0 : answer_missing(err);
}

/* ?name=true */
static int flag_read(const struct request *request, const char *name, bool *out, struct error *err)
{
    struct slice value = request_parameter(request, name);

    *out = slice_equal_text(value, "true");
    if (value.at != NULL && !*out && !slice_equal_text(value, "false"))
        return error_set_field(err, name, "%s must be true or false", name);
    return 0;
}

/* --- looking --- */

/* Without the closing brace. */
static void manifest_write(struct buffer *out, const struct content_manifest *manifest)
{
    write_open(out, NULL, '{');
    api_digest_write(out, "digest", &manifest->digest);
    write_text(out, "media_type", slice_of(manifest->media_type));
    write_text_or_null(out, "artifact_type", manifest->artifact_type);
    api_digest_write(out, "subject", &manifest->subject);
    write_i64(out, "size", (int64_t)manifest->size);
    write_i64(out, "total_size", (int64_t)manifest->total_size);
    write_time(out, "pushed_at", manifest->pushed_at);
    write_time(out, "pulled_at", manifest->pulled_at);
    write_time(out, "deleted_at", manifest->deleted_at);
    write_time(out, "until", manifest->until);
    write_open(out, "counts", '{');
    write_i64(out, "tags", (int64_t)manifest->tags);
    write_i64(out, "parents", (int64_t)manifest->parents);
    write_i64(out, "children", (int64_t)manifest->children);
    write_i64(out, "referrers", (int64_t)manifest->referrers);
    write_i64(out, "pins", (int64_t)manifest->pins);
    write_close(out, '}');
}

static void family_write(struct buffer *out, const struct content_family *family)
{
    write_open(out, "tags", '[');
    for (size_t i = 0; i < family->tags.count; i++)
        write_text(out, NULL, slice_of(family->tags.names[i]));
    write_close(out, ']');
    write_open(out, "parents", '[');
    for (size_t i = 0; i < family->parent_count; i++)
        api_digest_write(out, NULL, &family->parents[i]);
    write_close(out, ']');
    write_open(out, "children", '[');
    for (size_t i = 0; i < family->child_count; i++) {
        write_open(out, NULL, '{');
        api_digest_write(out, "digest", &family->children[i].digest);
        write_text_or_null(out, "platform", family->children[i].platform);
        write_flag(out, "here", family->children[i].here);
        write_close(out, '}');
    }
    write_close(out, ']');
}

int api_manifests_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_manifest_page_drop) struct content_manifest_page page = {0};
    enum content_manifests which = MANIFESTS_HERE;
    struct buffer body = BUFFER_NONE;
    bool untagged, deleted;
    struct list_query query;

    assert_worker_thread();
    if (flag_read(request, "untagged", &untagged, err) < 0 ||
        flag_read(request, "deleted", &deleted, err) < 0)
        return -1;
    if (untagged && deleted)
        return error_set_field(err, "untagged", "untagged and deleted exclude each other");
    if (untagged || deleted)
        which = deleted ? MANIFESTS_DELETED : MANIFESTS_UNTAGGED;
    if (list_query_by_id(request, &query, err) < 0 ||
        content_manifest_list(request->services->storage, request->name, which, query.after_id,
                              query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++) {
        manifest_write(&body, &page.items[i]);
        write_close(&body, '}');
    }
    list_answer_id(request, reply, &body, page.more ? page.next : 0, -1);
    return 0;
}

static int answer_manifest(const struct request *request, struct reply *reply,
                           const struct digest *digest, struct error *err) ON(worker_thread)
{
    OWNED(content_manifest_drop) struct content_manifest manifest = {0};
    OWNED(content_family_drop) struct content_family family = {0};
    struct buffer body = BUFFER_NONE;

    if (content_manifest_find(request->services->storage, request->name, digest, &manifest, &family,
                              err) < 0)
        return -1;
    manifest_write(&body, &manifest);
    family_write(&body, &family);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_manifest_get(struct request *request, struct reply *reply, struct error *err)
{
    struct digest digest;

    assert_worker_thread();
    return digest_at(request, &digest, err) < 0 ? -1
                                                : answer_manifest(request, reply, &digest, err);
}

int api_referrers_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(referrers_drop) struct referrers referrers = {0};
    struct slice type = request_parameter(request, "artifact_type");
    struct buffer body = BUFFER_NONE;
    struct list_query query;
    struct digest digest;

    assert_worker_thread();
    if (digest_at(request, &digest, err) < 0 || list_query_by_id(request, &query, err) < 0 ||
        storage_referrer_list(request->services->storage, request->name, &digest, type,
                              (uint64_t)query.after_id, REFERRERS_PAGE, &referrers, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < referrers.count; i++) {
        const struct referrer *item = &referrers.items[i];
        write_open(&body, NULL, '{');
        api_digest_write(&body, "digest", &item->digest);
        write_text(&body, "media_type", slice_of(item->media_type));
        write_text_or_null(&body, "artifact_type", item->artifact_type);
        write_i64(&body, "size", (int64_t)item->size);
        write_raw(&body, "annotations",
                  item->annotations == NULL ? SLICE("null") : slice_of(item->annotations));
        write_close(&body, '}');
    }
    list_answer_id(request, reply, &body, (int64_t)referrers.next, -1);
    return 0;
}

/* --- going and coming back --- */

int api_manifest_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};
    struct buffer body = BUFFER_NONE;
    struct digest digest;
    struct actor actor;
    uint64_t tags;
    bool dry_run;

    assert_worker_thread();
    if (digest_at(request, &digest, err) < 0 || answer_dry_run(request, &dry_run, err) < 0)
        return -1;
    event_new(&event, request, "manifest.delete", "repository", request->name);
    api_digest_write(&event.detail, "digest", &digest);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.dry_run = dry_run;
    if (content_manifest_delete(request->services->storage, request->name, &digest, &change, &tags,
                                err) < 0)
        return -1;
    if (!dry_run) {
        answer_done(reply);
        return 0;
    }
    write_open(&body, NULL, '{');
    write_flag(&body, "dry_run", true);
    write_open(&body, "deletes", '{');
    write_i64(&body, "manifests", 1);
    write_i64(&body, "tags", (int64_t)tags);
    write_close(&body, '}');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_manifest_restore(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};
    struct digest digest;
    struct actor actor;
    bool tags;

    assert_worker_thread();
    if (digest_at(request, &digest, err) < 0 || flag_read(request, "tags", &tags, err) < 0)
        return -1;
    event_new(&event, request, "manifest.restore", "repository", request->name);
    api_digest_write(&event.detail, "digest", &digest);
    write_flag(&event.detail, "tags", tags);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_manifest_restore(request->services->storage, request->name, &digest, tags, &change,
                                 err) < 0)
        return -1;
    return answer_manifest(request, reply, &digest, err);
}
