/* remote.c - images of another registry come in over HTTP: catalogue, tags, manifests, referrers,
 * blobs.
 * Touches  the other registry by way of remote_http.h; storage, as a push does.
 * Never    believes a digest: bytes are hashed as they come; writes to the other registry.
 *
 * (1) What is here is not fetched again: tags are compared by HEAD, manifests and blobs by digest.
 * (2) What refers to an image comes with it: by the API of referrers, else by its tag. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/glob.h"
#include "registry/core/json.h"
#include "registry/core/oci.h"
#include "registry/transfer/challenge.h"
#include "registry/transfer/names.h"
#include "registry/transfer/remote.h"

enum {
    PAGE_SIZE = 500,
    PAGE_BYTES_MAX = 8 << 20,
    PAGES_MAX = 10000, /* of one list: a registry whose pages never end */
    NAMES_MAX = 1000000,
};

static void set_scope(struct pull *pull, struct slice repository)
{
    OWNED(buffer_drop) struct buffer scope = BUFFER_NONE;

    buffer_print(&scope, "repository:%.*s:pull", SLICE_ARG(repository));
    bool fits = slice_to_text(buffer_slice(&scope), pull->scope, sizeof(pull->scope));
    assert(fits);
    (void)fits;
}

/* --- lists --- */

static int page_read(const struct remote_answer *answer, const char *member, struct names *out,
                     struct error *err)
{
    OWNED(json_drop)
    json_t *root = json_of_others(buffer_slice(&answer->body), 0);
    const json_t *list = json_object_get(root, member);
    size_t i;
    json_t *value;

    if (!json_is_object(root) || (list != NULL && !json_is_array(list) && !json_is_null(list)))
        return error_set(err, ERROR_UNAVAILABLE, "the registry answers with no list of %s", member);
    json_array_foreach(list, i, value)
        if (json_is_string(value))
            names_add(out, json_string_value(value));
    return 0;
}

/* All pages of a list. */
static int list_read(struct pull *pull, const char *first, const char *scope, const char *member,
                     struct names *out, struct error *err)
{
    OWNED(memory_drop) char *path = memory_text(slice_of(first));

    for (int page = 0; path != NULL && page < PAGES_MAX; page++) {
        OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
        const struct remote_request request = {
            .path = path, .scope = scope, .body_max = PAGE_BYTES_MAX};
        if (remote_get(pull->http, &request, &answer, err) < 0)
            return -1;
        if (answer.status != 200)
            return pull_unexpected(&answer, err);
        if (page_read(&answer, member, out, err) < 0)
            return -1;
        if (out->count > NAMES_MAX)
            return error_set(err, ERROR_UNAVAILABLE, "the registry lists too many %s", member);
        struct slice next = link_next(slice_of(answer.link));
        free(path);
        path = next.size == 0 ? NULL : memory_text(next);
    }
    return 0;
}

/* --- tags --- */

/* Where a tag stands; by its bytes when the registry does not say. MANIFEST_UNKNOWN */
static int tag_digest(struct pull *pull, struct slice repository, const char *tag,
                      struct digest *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct error ignored = {0};

    pull_path(&path, repository, "manifests", tag);
    for (int head = 1; head >= 0; head--) {
        OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
        const struct remote_request request = {
            .path = path.at,
            .scope = pull->scope,
            .accept = PULL_ACCEPT,
            .head = head == 1,
            .body_max = pull->transfer->config->server_limits_manifest,
        };
        if (remote_get(pull->http, &request, &answer, err) < 0)
            return -1;
        if (answer.status != 200)
            return pull_unexpected(&answer, err);
        if (head == 0) {
            digest_of(DIGEST_SHA256, buffer_slice(&answer.body), out);
            return 0;
        }
        if (answer.digest != NULL && digest_parse(slice_of(answer.digest), out, &ignored) == 0)
            return 0;
    }
    return error_set(err, ERROR_INTERNAL, "internal error");
}

/* --- referrers (2) --- */

/* Manifests of an index, whatever its subject is. False: there is none; *status is 0 when there was
 * no answer at all. */
static bool index_read(struct pull *pull, const char *path, struct digest_list *out, char **next,
                       long *status)
{
    OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
    OWNED(document_drop) struct document document = {0};
    const struct config *config = pull->transfer->config;
    const struct remote_request request = {
        .path = path,
        .scope = pull->scope,
        .accept = OCI_TYPE_INDEX,
        .body_max = config->server_limits_manifest,
    };
    struct error ignored = {0};

    *status = 0;
    if (remote_get(pull->http, &request, &answer, &ignored) < 0)
        return false;
    *status = answer.status;
    if (answer.status != 200 ||
        document_parse(buffer_slice(&answer.body), slice_of(answer.content_type),
                       config->server_limits_descriptors, &document, &ignored) < 0)
        return false;
    for (size_t i = 0; i < document.child_count; i++)
        digest_list_add(out, &document.children[i].digest);
    struct slice link = link_next(slice_of(answer.link));
    *next = link.size == 0 ? NULL : memory_text(link);
    return true;
}

/* A refusal is the answer of those who do not know the API; what else is no list may be a loss. */
static void referrers_read(struct pull *pull, struct slice repository, const char *subject,
                           struct digest_list *out)
{
    OWNED(buffer_drop) struct buffer first = BUFFER_NONE;
    long status = 0;

    pull_path(&first, repository, "referrers", subject);
    OWNED(memory_drop) char *path = TAKE(first.at);
    for (int page = 0; path != NULL && page < PAGES_MAX; page++) {
        char *next = NULL;
        bool listed = index_read(pull, path, out, &next, &status);
        if (!listed && status >= 400)
            pull->no_referrers = true;
        else if (!listed && !transfer_stopped(pull->transfer))
            transfer_problem(pull->transfer, repository, subject,
                             "what refers to it cannot be listed");
        free(path);
        path = next;
    }
}

/* "sha256-<digits>": the tag of those who know no API of referrers. */
static void referrers_by_tag(struct pull *pull, struct slice repository, char *subject,
                             const struct names *tags, struct digest_list *out)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(memory_drop) char *next = NULL;
    long status;

    *strchr(subject, ':') = '-';
    if (!names_has(tags, subject))
        return;
    pull_path(&path, repository, "manifests", subject);
    if (!index_read(pull, path.at, out, &next, &status))
        return;
}

/* Of all that came in, and of what comes in by that. */
static int referrers_import(struct pull *pull, struct intake *intake, const struct names *tags,
                            struct error *err) ON(worker_thread)
{
    for (size_t i = 0; i < intake->came.count && !transfer_stopped(pull->transfer); i++) {
        OWNED(digest_list_drop) struct digest_list found = {.items = NULL};
        char subject[DIGEST_TEXT_MAX];
        digest_text(&intake->came.items[i], subject);
        if (!pull->no_referrers)
            referrers_read(pull, intake->repository, subject, &found);
        if (pull->no_referrers)
            referrers_by_tag(pull, intake->repository, subject, tags, &found);
        if (intake_manifests(intake, found.items, found.count, err) < 0)
            return -1;
    }
    return 0;
}

/* --- a repository --- */

/* Tags that are to come in. Freed with wishes_drop. */
struct wishes {
    struct digest_list digests;
    struct adopt_tag *tags;
    struct adopt_past *pasts;
    size_t count;
};

static void wishes_drop(struct wishes *wishes)
{
    digest_list_drop(&wishes->digests);
    free(wishes->tags);
    free(wishes->pasts);
}

/* The manifest a tag is about by its name, as signatures are: "sha256-<digits>.sig". */
static bool about(const char *tag, struct digest *out)
{
    OWNED(memory_drop) char *text = memory_text(slice_of(tag));
    char *dash = strchr(text, '-'), *dot = strchr(text, '.');
    struct error ignored = {0};

    if (dash == NULL)
        return false;
    *dash = ':';
    if (dot != NULL)
        *dot = 0;
    return digest_parse(slice_of(text), out, &ignored) == 0;
}

static bool tag_wanted(const struct pull *pull, const struct intake *intake, const char *tag,
                       bool companions)
{
    struct digest subject;
    bool by_glob = pull->what->tags.size == 0 || glob_matches(pull->what->tags, slice_of(tag));

    if (!companions)
        return by_glob;
    return !by_glob && about(tag, &subject) && digest_set_has(&intake->done, &subject);
}

static int wish_for(struct pull *pull, const struct intake *intake, const struct names *tags,
                    bool companions, struct wishes *out, struct error *err)
{
    out->tags = memory_new((tags->count + 1) * sizeof(*out->tags));
    out->pasts = memory_new((tags->count + 1) * sizeof(*out->pasts));
    for (size_t i = 0; i < tags->count && !transfer_stopped(pull->transfer); i++) {
        const char *tag = tags->items[i];
        struct adopt_past *past = &out->pasts[out->count];
        struct error why = {0};
        if (!oci_tag_valid(slice_of(tag)) || !tag_wanted(pull, intake, tag, companions))
            continue;
        if (tag_digest(pull, intake->repository, tag, &past->digest, &why) < 0) {
            if (why.code == ERROR_INTERNAL) {
                *err = why;
                return -1;
            }
            transfer_problem(pull->transfer, intake->repository, tag, "%s", why.message);
            continue;
        }
        digest_list_add(&out->digests, &past->digest);
        out->tags[out->count++] =
            (struct adopt_tag){.name = slice_of(tag), .past = past, .past_count = 1};
    }
    return 0;
}

static int tags_import(struct pull *pull, struct intake *intake, const struct names *tags,
                       bool companions, struct error *err) ON(worker_thread)
{
    OWNED(wishes_drop) struct wishes wishes = {.tags = NULL};

    if (wish_for(pull, intake, tags, companions, &wishes, err) < 0 ||
        intake_manifests(intake, wishes.digests.items, wishes.digests.count, err) < 0 ||
        intake_tags(intake, wishes.tags, wishes.count, err) < 0)
        return -1;
    return 0;
}

static int repository_import(struct pull *pull, struct slice name, struct error *err)
    ON(worker_thread)
{
    OWNED(intake_drop)
    struct intake intake = {
        .transfer = pull->transfer, .source = &pull->source, .repository = name};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(names_drop) struct names tags = {.items = NULL};
    struct error why = {0};

    if (!oci_name_valid(name)) {
        OWNED(memory_drop) char *text = memory_text(name);
        transfer_problem(pull->transfer, SLICE(""), text, "it cannot be the name of a repository");
        return 0;
    }
    set_scope(pull, name);
    buffer_print(&path, "/v2/%.*s/tags/list?n=%d", SLICE_ARG(name), PAGE_SIZE);
    if (list_read(pull, path.at, pull->scope, "tags", &tags, &why) < 0) {
        transfer_problem(pull->transfer, name, "", "%s", why.message);
        return 0;
    }
    names_sort(&tags);
    if (tags_import(pull, &intake, &tags, false, err) < 0 ||
        referrers_import(pull, &intake, &tags, err) < 0 ||
        tags_import(pull, &intake, &tags, true, err) < 0)
        return -1;
    transfer_count(pull->transfer, "repositories", 1);
    return 0;
}

/* --- the registry --- */

static bool is_pattern(struct slice text)
{
    return memchr(text.at, '*', text.size) != NULL || memchr(text.at, '?', text.size) != NULL;
}

static bool covers(const struct import_remote *what, struct slice name)
{
    for (size_t i = 0; i < what->repository_count; i++)
        if (glob_matches(what->repositories[i], name))
            return true;
    return what->repository_count == 0;
}

/* Names stand for themselves; patterns, and nothing, need the catalogue. */
static int repositories_list(struct pull *pull, struct names *out, struct error *err)
{
    const struct import_remote *what = pull->what;
    OWNED(names_drop) struct names all = {.items = NULL};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    bool patterns = what->repository_count == 0;

    for (size_t i = 0; i < what->repository_count; i++)
        patterns = patterns || is_pattern(what->repositories[i]);
    if (!patterns) {
        for (size_t i = 0; i < what->repository_count; i++) {
            OWNED(memory_drop) char *name = memory_text(what->repositories[i]);
            names_add(out, name);
        }
        return 0;
    }
    buffer_print(&path, "/v2/_catalog?n=%d", PAGE_SIZE);
    if (list_read(pull, path.at, "registry:catalog:*", "repositories", &all, err) < 0)
        return error_set_cause(err, "without its catalogue, repositories must be named one by one");
    for (size_t i = 0; i < all.count; i++)
        if (covers(what, slice_of(all.items[i])))
            names_add(out, all.items[i]);
    return 0;
}

int import_remote(struct transfer *transfer, const struct import_remote *what, struct error *err)
{
    OWNED(remote_close) struct remote *http = NULL;
    OWNED(names_drop) struct names repositories = {.items = NULL};
    const struct remote_options options = {.url = what->url,
                                           .user = what->user,
                                           .password_file = what->password_file,
                                           .ca_file = what->ca_file,
                                           .plain_http = what->plain_http,
                                           .progress = transfer->progress};
    struct pull pull = {.transfer = transfer, .what = what};

    progress_phase(transfer->progress, "import");
    if (remote_open(&http, &options, err) < 0)
        return -1;
    pull.http = http;
    pull_source(&pull);
    if (repositories_list(&pull, &repositories, err) < 0)
        return -1;
    for (size_t i = 0; i < repositories.count && !transfer_stopped(transfer); i++)
        if (repository_import(&pull, slice_of(repositories.items[i]), err) < 0)
            return -1;
    return 0;
}
