/* build_start.c - builds are asked for: of a URL, of what was pushed, of an archive that comes with
 * the request; or only what they would do.
 * Touches  the queue, by way of s2i/s2i.h; a nameless file beside the repositories for archives.
 * Never    reads an archive: confined children do.
 *
 *   application/json  {"source": "url"|"push"|"none", "commit", "options": {}} over what is stored;
 *                     "rebuild": a tag, whose image's labels come between the two
 *   application/x-tar, application/gzip, application/zip   the source; options in ?options=
 *   multipart/form-data  both: a part "request", the JSON, and a part "archive"
 *
 * ?wait=true answers when it has ended; ?plan=true with what would be done, ?usage=true with what
 * the builder says of itself, ?dockerfile=true with the same build as a Dockerfile: nothing is
 * recorded then. Spec: s2i 4.1, 10.3 to 10.5, 13.46, 15.9 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/api/build.h"
#include "registry/api/form_parts.h"
#include "registry/config.h"
#include "registry/core/fd.h"

enum { FORM_REST_MAX = 64 * 1024 }; /* boundaries and heads of parts */

enum start_form { START_JSON, START_ARCHIVE, START_PARTS };

struct start {
    enum start_form form; /* START_PARTS: what its parts make of it, in the end */
    struct buffer json;
    int archive;
    uint64_t size, size_max; /* bytes of the archive, or of the JSON alone */
    const struct services *services;
    struct form_parts parts;                   /* START_PARTS */
    bool has_request, has_archive, is_archive; /* of its parts; the one that comes */
    bool wait, plan, usage, dockerfile;
};

static void start_drop(struct start **owned)
{
    struct start *start = *owned;

    if (start == NULL)
        return;
    if (start->archive >= 0)
        close(start->archive);
    if (start->json.at != NULL)
        explicit_bzero(start->json.at, start->json.size); /* secret_env */
    buffer_drop(&start->json);
    form_parts_drop(&start->parts);
    free(start);
}

/* --- the head --- */

static const char *const archives[] = {
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/zip",
};

static int form_read(const struct request *request, enum start_form *out, struct error *err)
{
    struct slice type, rest;

    slice_split(request_header(request, "content-type"), ';', &type, &rest);
    type = slice_trim(type);
    *out = START_JSON;
    if (slice_equal_ignore_case(type, "application/json") ||
        (request->content_length == 0 && !request->chunked))
        return 0;
    *out = START_PARTS;
    if (slice_equal_ignore_case(type, "multipart/form-data"))
        return 0;
    *out = START_ARCHIVE;
    for (size_t i = 0; i < sizeof(archives) / sizeof(archives[0]); i++)
        if (slice_equal_ignore_case(type, archives[i]))
            return 0;
    error_set(err, ERROR_BAD_REQUEST,
              "the body is application/json, application/x-tar, application/gzip, "
              "application/zip or multipart/form-data");
    return error_set_status(err, 415);
}

static int too_large(const struct start *start, struct error *err)
{
    bool archive = start->form != START_JSON;

    error_set(err, ERROR_SIZE_INVALID, "the %s is larger than %llu bytes%s",
              archive ? "archive" : "body", (unsigned long long)start->size_max,
              archive ? " (builds.sources.max_size)" : "");
    return error_set_status(err, 413);
}

/* Without a name: it is gone with the descriptor, whatever happens. */
static int archive_open(struct start *start, struct error *err)
{
    start->archive =
        open(builds_repositories(start->services->builds), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (start->archive < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "the archive cannot be stored");
    return 0;
}

static int start_open(struct request *request, struct reply *reply, void **stream,
                      struct error *err)
{
    OWNED(start_drop) struct start *start = memory_new(sizeof(*start));

    (void)reply;
    assert_worker_thread();
    start->archive = -1;
    if (api_builds_needed(request, err) < 0 || form_read(request, &start->form, err) < 0 ||
        answer_flag(request, "wait", &start->wait, err) < 0 ||
        answer_flag(request, "plan", &start->plan, err) < 0 ||
        answer_flag(request, "usage", &start->usage, err) < 0 ||
        answer_flag(request, "dockerfile", &start->dockerfile, err) < 0)
        return -1;
    start->size_max = start->form == START_JSON
                          ? JSON_BODY_MAX
                          : request->services->config->builds_sources_max_size;
    start->services = request->services;
    if (request->content_length >
        start->size_max + (start->form == START_PARTS ? JSON_BODY_MAX + FORM_REST_MAX : 0))
        return too_large(start, err);
    if ((start->form == START_ARCHIVE && archive_open(start, err) < 0) ||
        (start->form == START_PARTS &&
         form_parts_open(&start->parts, request_header(request, "content-type"), err) < 0))
        return -1;
    *stream = TAKE(start);
    return 1;
}

/* --- the body --- */

static int archive_write(struct start *start, struct slice bytes, struct error *err)
{
    start->size += bytes.size;
    if (start->size > start->size_max)
        return too_large(start, err);
    if (fd_write(start->archive, bytes) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "the archive cannot be stored");
    return 0;
}

static int json_write(struct start *start, struct slice bytes, struct error *err)
{
    if (start->json.size + bytes.size > JSON_BODY_MAX) {
        error_set(err, ERROR_SIZE_INVALID, "the request is larger than %d bytes", JSON_BODY_MAX);
        return error_set_status(err, 413);
    }
    buffer_append_slice(&start->json, bytes);
    return 0;
}

static int part_begin(void *arg, struct slice name, struct error *err)
{
    struct start *start = arg;
    bool *has;

    start->is_archive = slice_equal_text(name, "archive");
    has = start->is_archive ? &start->has_archive : &start->has_request;
    if (*has || !(start->is_archive || slice_equal_text(name, "request")))
        return error_set(err, ERROR_BAD_REQUEST,
                         "the parts of the form are one request and one archive");
    *has = true;
    return start->is_archive ? archive_open(start, err) : 0;
}

static int part_write(void *arg, struct slice bytes, struct error *err)
{
    struct start *start = arg;

    return (start->is_archive ? archive_write : json_write)(start, bytes, err);
}

static int start_write(void *stream, struct slice bytes, struct error *err)
{
    struct start *start = stream;
    const struct form_parts_taker taker = {part_begin, part_write, start};

    assert_worker_thread();
    if (start->form == START_PARTS)
        return form_parts_write(&start->parts, bytes, &taker, err);
    return (start->form == START_JSON ? json_write : archive_write)(start, bytes, err);
}

/* What came in parts is a request for what it holds. */
static int parts_end(struct start *start, struct error *err)
{
    if (start->form != START_PARTS)
        return 0;
    start->form = start->has_archive ? START_ARCHIVE : START_JSON;
    return form_parts_end(&start->parts, err);
}

/* --- what was asked for --- */

enum { START_SOURCE, START_COMMIT, START_OPTIONS, START_REBUILD, START_COUNT };
static const struct json_member members[] = {
    [START_SOURCE] = {"source", JSON_TEXT, .least = 1, .most = WORD_MAX},
    [START_COMMIT] = {"commit", JSON_TEXT, .least = 40, .most = 64},
    [START_OPTIONS] = {.name = "options", .kind = JSON_GROUP},
    [START_REBUILD] = {"rebuild", JSON_TEXT, .least = 1, .most = 128},
};

static int source_read(const struct start *start, const struct json_value *value,
                       enum build_source *out, struct error *err)
{
    static const enum build_source kinds[] = {BUILD_FROM_URL, BUILD_FROM_PUSH, BUILD_FROM_NOTHING};

    *out = BUILD_FROM_ARCHIVE;
    if (start->form == START_ARCHIVE && !value->given)
        return 0;
    if (start->form == START_ARCHIVE)
        return error_set_field(err, "source", "the source is the archive");
    for (size_t i = 0; value->given && i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (slice_equal_text(value->text, build_source_name(kinds[i]))) {
            *out = kinds[i];
            return 0;
        }
    if (value->given)
        return error_set_field(err, "source", "source must be url, push or none");
    *out = BUILD_FROM_URL;
    return 0;
}

/* A request without a source of its own stands on the configured URL. */
static bool source_missing(enum build_source source, const struct s2i_options *options)
{
    return source == BUILD_FROM_URL && options->url == NULL;
}

static int source_check(enum build_source source, const struct s2i_options *options,
                        struct error *err)
{
    if (source_missing(source, options))
        return error_set_field(err, "source",
                               "there is nothing to build: name a url (--git), configure one, "
                               "send an archive (--source, --archive), or push");
    return 0;
}

static bool commit_valid(struct slice commit)
{
    uint8_t bytes[32];

    return hex_decode(commit, bytes, commit.size / 2) && (commit.size == 40 || commit.size == 64);
}

/* Everything but the tags, settled. Borrows from all that it is given. *configured: the ref that
 * the repository is about, freed by the caller; NULL: none is said. */
static int request_read(const struct request *request, const struct start *start,
                        const struct json_value *values, struct s2i_options *options,
                        char **configured, struct build_request *out, struct error *err)
    ON(worker_thread)
{
    struct slice commit = values[START_COMMIT].text;
    const struct actor who = auth_actor(request->caller);
    const struct s2i_hosts hosts =
        s2i_hosts_of(request->services->config->server_public_url, request->host);

    if (builds_options_of(request->services->builds, request->name, options, err) < 0)
        return -1;
    const char *named = options->ref != NULL ? options->ref : options->default_branch;
    *configured = named == NULL ? NULL : memory_text(slice_of(named));
    if ((values[START_REBUILD].given &&
         builds_rebuild_options(request->services->builds, &who, request->name,
                                values[START_REBUILD].text, &hosts, options, err) < 0) ||
        (values[START_OPTIONS].given && s2i_options_hear(options, values[START_OPTIONS].object,
                                                         S2I_FROM_REQUEST, &hosts, err) < 0) ||
        source_read(start, &values[START_SOURCE], &out->source, err) < 0)
        return -1;
    if (start->usage && options->builder != NULL && source_missing(out->source, options))
        out->source = BUILD_FROM_NOTHING; /* a builder tells of itself without one */
    if (source_check(out->source, options, err) < 0)
        return -1;
    if (commit.at != NULL && !commit_valid(commit))
        return error_set_field(err, "commit", "commit must be the whole id of a commit");
    out->repository = request->name;
    out->trigger = SLICE("api");
    out->actor_name = slice_of(request->caller->name);
    out->options = options;
    out->url = out->source == BUILD_FROM_URL ? slice_of(options->url) : SLICE_NONE;
    out->ref = slice_of(options->ref);
    out->commit = commit;
    out->archive = start->archive;
    return 0;
}

/* {"error": ...} of a plan comes in the body: its status is sent before it is known. */
static int answer_plan(const struct request *request, const struct start *start,
                       const struct build_request *wanted, struct reply *reply, struct error *err)
    ON(worker_thread)
{
    enum build_question question = start->usage        ? BUILD_USAGE
                                   : start->dockerfile ? BUILD_DOCKERFILE
                                                       : BUILD_PLAN;
    int fd;

    if (builds_plan(request->services->builds, wanted, question, &fd, err) < 0)
        return -1;
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("application/json"));
    reply_live(reply, fd, NULL, NULL);
    return 0;
}

static int submit(const struct request *request, const struct start *start,
                  struct build_request *wanted, struct reply *reply, struct error *err)
    ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};
    int64_t id;

    event_new(&event, request, "build.start", "repository", request->name);
    write_text(&event.detail, "source", slice_of(build_source_name(wanted->source)));
    wanted->event = event_done(&event);
    if (builds_submit(request->services->builds, wanted, &id, err) < 0)
        return -1;
    return start->wait ? api_build_answer_end(request, reply, id, err)
                       : api_build_answer(request, reply, id, err);
}

/* Targets of requests are logged: a secret does not belong there. */
static int options_of_query(const struct request *request, json_t **out, struct json_value *value,
                            struct error *err)
{
    struct slice text = request_parameter(request, "options");

    if (text.at == NULL)
        return 0;
    *out = json_loadb(text.at, text.size, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(*out))
        return error_set_field(err, "options", "options must be a JSON object");
    if (json_object_get(*out, "secret_env") != NULL)
        return error_set_field(err, "options", "secret_env must not stand in an URL");
    *value = (struct json_value){.given = true, .object = *out};
    return 0;
}

static int begin(const struct request *request, const struct start *start, struct reply *reply,
                 struct error *err) ON(worker_thread)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(json_drop) json_t *of_query = NULL;
    OWNED(s2i_options_drop) struct s2i_options options = {0};
    struct actor actor = auth_actor(request->caller);
    struct build_request wanted = {.actor = &actor};
    OWNED(build_tags_drop) struct build_tags tags = {.slices = NULL};
    OWNED(memory_drop) char *configured = NULL;
    struct json_value values[START_COUNT];

    if (json_read_text(&body, buffer_slice(&start->json), JSON_MEMBERS(members), values, err) < 0)
        return -1;
    if (options_of_query(request, &of_query, &values[START_OPTIONS], err) < 0 ||
        request_read(request, start, values, &options, &configured, &wanted, err) < 0)
        return -1;
    bool of_git = wanted.source == BUILD_FROM_URL || wanted.source == BUILD_FROM_PUSH;
    api_build_tags(&options, configured, of_git ? wanted.ref : SLICE_NONE, wanted.commit, &tags);
    wanted.tags = tags.slices;
    wanted.tag_count = tags.texts.count;
    return start->plan || start->usage || start->dockerfile
               ? answer_plan(request, start, &wanted, reply, err)
               : submit(request, start, &wanted, reply, err);
}

static int start_finish(void *stream, enum body_outcome outcome, struct request *request,
                        struct reply *reply, struct error *err)
{
    OWNED(start_drop) struct start *start = stream;

    assert_worker_thread();
    if (outcome == BODY_BROKEN)
        return error_set(err, ERROR_BAD_REQUEST, "the body broke off");
    if (outcome == BODY_REFUSED || parts_end(start, err) < 0)
        return -1;
    return begin(request, start, reply, err);
}

const struct body_stream api_build_post = {start_open, start_write, start_finish};
