/* serve.c - the routes of git's smart HTTP.
 * Touches  requests and replies; starts services.
 * Never    reads what git says.
 *
 * Each is there twice: /git/<name>.git/..., and shorter /<name>.git/..., which route_find does not
 * take when the first component is one of ours. Spec: s2i 13.1 to 13.6, 13.9, 13.14, 13.20 */
#include <string.h>

#include "registry/config.h"
#include "registry/git/git_internal.h"
#include "registry/services.h"

/* --- what all of them check --- */

static int git_of(const struct request *request, struct git **out, struct error *err)
{
    *out = request->services->git;
    if (*out == NULL)
        return error_set(err, ERROR_ROUTE_UNKNOWN,
                         "this server keeps no sources: builds.enabled is false");
    if (!repository_name_sane(request->name))
        return error_set(err, ERROR_NOT_FOUND,
                         "a name with a part that ends in .git cannot have sources");
    return 0;
}

static int content_check(const struct request *request, const char *service, struct error *err)
{
    OWNED(buffer_drop) struct buffer wanted = BUFFER_NONE;

    buffer_print(&wanted, "application/x-%s-request", service);
    if (slice_equal(request_header(request, "content-type"), buffer_slice(&wanted)))
        return 0;
    error_set(err, ERROR_BAD_REQUEST, "Content-Type must be %s", wanted.at);
    return error_set_status(err, 415);
}

/* Spec: 13.4 */
static int gzip_check(const struct git *git, const struct request *request, bool *out,
                      struct error *err)
{
    struct slice coding = request_header(request, "content-encoding");

    *out = slice_equal_text(coding, "gzip") || slice_equal_text(coding, "x-gzip");
    if (coding.size == 0 || slice_equal_text(coding, "identity") || (*out && git->gzip != NULL))
        return 0;
    error_set(err, ERROR_BAD_REQUEST, "the content coding is not known here");
    return error_set_status(err, 415);
}

static void reply_headers(struct reply *reply, const char *service, const char *kind)
{
    reply_header(reply, "Content-Type", "application/x-%s-%s", service, kind);
    reply_header(reply, "Cache-Control", "no-cache");
}

/* Who may read a name is told that it has no sources; nobody else gets here. */
static int unknown(const struct request *request, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "%.*s has no sources here: nothing was pushed",
                     SLICE_ARG(request->name));
}

/* --- reading --- */

/* wish->path is shown, or what looks like it. One that is deleted meanwhile was never there. */
static int look_start(struct git *git, struct service_wish *wish, const struct request *request,
                      struct reply *reply, int *input, struct error *err) ON(worker_thread)
{
    const char *path = wish->path;

    wish->name = request->name;
    wish->path = place_look(git, request->name, path, &wish->looked);
    bool shown = wish->path == path;
    if (service_start(git, wish, request, NULL, reply, input, err) == 0)
        return 0;
    if (!shown || repository_exists(path))
        return -1;
    error_clear(err);
    if (!wish->push)
        return unknown(request, err);
    wish->path = git->nothing;
    wish->looked = NULL;
    return service_start(git, wish, request, NULL, reply, input, err);
}

static int fetch_refs(struct request *request, struct reply *reply, struct error *err)
{
    struct git *git;

    assert_worker_thread();
    if (git_of(request, &git, err) < 0)
        return -1;
    OWNED(memory_drop) char *path = repository_path(git, request->name);
    if (!repository_exists(path))
        return unknown(request, err);
    struct service_wish wish = {.kind = SERVICE_ADVERTISE, .path = path};
    reply_headers(reply, "git-upload-pack", "advertisement");
    return look_start(git, &wish, request, reply, NULL, err);
}

static int fetch_open(struct request *request, struct reply *reply, int *input, struct error *err)
{
    struct git *git;
    bool gzip;

    assert_worker_thread();
    if (git_of(request, &git, err) < 0 || content_check(request, "git-upload-pack", err) < 0 ||
        gzip_check(git, request, &gzip, err) < 0)
        return -1;
    OWNED(memory_drop) char *path = repository_path(git, request->name);
    if (!repository_exists(path))
        return unknown(request, err);
    struct service_wish wish = {.kind = SERVICE_FETCH, .path = path, .gzip = gzip};
    reply_headers(reply, "git-upload-pack", "result");
    return look_start(git, &wish, request, reply, input, err) < 0 ? -1 : 1;
}

/* --- pushing --- */

/* Whether a push may make it. Spec: 13.20 */
static int creation_check(const struct git *git, const struct request *request, struct error *err)
    ON(worker_thread)
{
    OWNED(repository_drop) struct repository repository = {0};

    if (git->options.config->builds_create_on_push)
        return 0;
    return repository_find(git->options.storage, request->name, &repository, err);
}

/* A name that nothing was pushed to shows what an empty repository does. */
static int push_refs(struct request *request, struct reply *reply, struct error *err)
{
    struct git *git;

    assert_worker_thread();
    if (git_of(request, &git, err) < 0)
        return -1;
    OWNED(memory_drop) char *path = repository_path(git, request->name);
    if (!repository_exists(path) && creation_check(git, request, err) < 0)
        return -1;
    struct service_wish wish = {.kind = SERVICE_ADVERTISE, .push = true, .path = path};
    reply_headers(reply, "git-receive-pack", "advertisement");
    return look_start(git, &wish, request, reply, NULL, err);
}

static int push_start(struct git *git, struct request *request, const char *path, bool gzip,
                      struct reply *reply, int *input, struct error *err) ON(worker_thread)
{
    struct place *place = place_enter(git, request->name);
    OWNED(session_drop) struct session *session = session_new(git, request, place);
    const struct service_wish wish = {
        .kind = SERVICE_PUSH, .name = request->name, .path = path, .gzip = gzip};

    int made = repository_make(path, err);
    session->number = repository_number(path);
    if (made < 0 || service_start(git, &wish, request, session, reply, input, err) < 0) {
        place_leave(git, place, !repository_has_refs(path)); /* it goes again */
        return -1;
    }
    session = NULL; /* the service has it */
    return 1;
}

static int push_open(struct request *request, struct reply *reply, int *input, struct error *err)
{
    struct git *git;
    bool gzip;

    assert_worker_thread();
    if (git_of(request, &git, err) < 0 || content_check(request, "git-receive-pack", err) < 0 ||
        gzip_check(git, request, &gzip, err) < 0)
        return -1;
    uint64_t limit = git->options.config->builds_sources_max_size;
    if (request->content_length > limit) {
        error_set(err, ERROR_SIZE_INVALID, "a push may have %llu bytes", (unsigned long long)limit);
        return error_set_status(err, 413);
    }
    OWNED(memory_drop) char *path = repository_path(git, request->name);
    if (!repository_exists(path) && creation_check(git, request, err) < 0)
        return -1;
    reply_headers(reply, "git-receive-pack", "result");
    return push_start(git, request, path, gzip, reply, input, err);
}

/* --- what is not served --- */

static int refuse_dumb(struct request *request, struct reply *reply, struct error *err)
{
    (void)reply;
    if (request_parameter(request, "service").at != NULL)
        error_set(err, ERROR_BAD_REQUEST, "only git-upload-pack and git-receive-pack are served");
    else
        error_set(err, ERROR_BAD_REQUEST,
                  "git's dumb protocol is not served: use git 1.6.6 or newer");
    return -1;
}

/* --- the table --- */

#define ROUTES_BELOW(start)                                                                        \
    {.pattern = start "<name>.git/info/refs?service=git-upload-pack",                              \
     .endpoint = "git.fetch.refs",                                                                 \
     .methods = METHOD_GET,                                                                        \
     .action = ACTION_GIT_PULL,                                                                    \
     .handle = fetch_refs},                                                                        \
        {.pattern = start "<name>.git/info/refs?service=git-receive-pack",                         \
         .endpoint = "git.push.refs",                                                              \
         .methods = METHOD_GET,                                                                    \
         .action = ACTION_GIT_PUSH,                                                                \
         .handle = push_refs},                                                                     \
        {.pattern = start "<name>.git/info/refs",                                                  \
         .endpoint = "git.dumb",                                                                   \
         .methods = METHOD_GET,                                                                    \
         .action = ACTION_GIT_PULL,                                                                \
         .handle = refuse_dumb},                                                                   \
        {.pattern = start "<name>.git/git-upload-pack",                                            \
         .endpoint = "git.fetch",                                                                  \
         .methods = METHOD_POST,                                                                   \
         .action = ACTION_GIT_PULL,                                                                \
         .body = BODY_PIPE,                                                                        \
         .open_pipe = fetch_open},                                                                 \
    {                                                                                              \
        .pattern = start "<name>.git/git-receive-pack", .endpoint = "git.push",                    \
        .methods = METHOD_POST, .action = ACTION_GIT_PUSH, .body = BODY_PIPE,                      \
        .open_pipe = push_open                                                                     \
    }

static const struct route routes[] = {
    ROUTES_BELOW("/git/"),
    ROUTES_BELOW("/"),
};

const struct route_table git_routes = {routes, sizeof(routes) / sizeof(routes[0])};
