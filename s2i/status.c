/* status.c - the words of a commit's status, as GitHub, GitLab and Gitea (Forgejo) take them.
 * Touches  memory only (pure).
 * Never    sends them: outbox.c does.
 *
 *   GitHub, Gitea  POST <api>/repos/<owner>/<name>/statuses/<commit>
 *                  {"state", "target_url", "description", "context"}
 *   GitLab         POST <api>/projects/<path with %2F>/statuses/<commit>
 *                  {"state", "target_url", "description", "name", "ref"}
 *
 * A forge shows the last status of each context; ours is one for each repository here, so that two
 * that build the same source do not overwrite each other's. Spec: s2i 13.48. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/outbox.h"
#include "s2i/source/url.h"

enum { DESCRIPTION_MAX = 140 }; /* GitHub's; others take more */

struct forge {
    const char *name;
    const char *api;                         /* below the host, when nothing else is said */
    const char *header;                      /* before the token */
    const char *states[BUILD_CANCELLED + 1]; /* by enum build_state */
    bool whole_path;                         /* a project is one word, else owner and name */
    const char *label;                       /* how a status is called */
};
static const struct forge forges[] = {
    {"github",
     "/api/v3",
     "Authorization: Bearer ",
     {"pending", "pending", "pending", "success", "failure", "error", "error"},
     false,
     "context"},
    {"gitea",
     "/api/v1",
     "Authorization: token ",
     {"pending", "pending", "pending", "success", "failure", "error", "error"},
     false,
     "context"},
    {"gitlab",
     "/api/v4",
     "PRIVATE-TOKEN: ",
     {"pending", "pending", "running", "success", "failed", "failed", "canceled"},
     true,
     "name"},
};

static const struct forge *forge_of(const struct s2i_options *options)
{
    for (size_t i = 0; i < sizeof(forges) / sizeof(forges[0]); i++)
        if (slice_equal_text(slice_of(options->status_kind), forges[i].name))
            return &forges[i];
    return NULL;
}

static int unknown(struct error *err)
{
    return error_set_field(err, "status_url",
                           "the source's URL does not tell where statuses of its commits go");
}

/* --- where to --- */

static void host_print(const struct source_url *url, struct buffer *out)
{
    bool http = strcmp(url->scheme, "http") == 0,
         of_web = http || strcmp(url->scheme, "https") == 0;
    bool six = strchr(url->host, ':') != NULL;

    buffer_print(out, "%s://%s%s%s", http ? "http" : "https", six ? "[" : "", url->host,
                 six ? "]" : "");
    if (of_web && url->port != (http ? 80 : 443))
        buffer_print(out, ":%u", url->port);
}

int builds_status_api(const struct s2i_options *configured, struct buffer *out, struct error *err)
{
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
    const struct forge *forge = forge_of(configured);
    struct slice said = slice_of(configured->status_url);

    if (forge == NULL)
        return unknown(err);
    while (said.size > 0 && said.at[said.size - 1] == '/')
        said.size--;
    if (said.size > 0) {
        buffer_append_slice(out, said);
        return 0;
    }
    if (configured->url == NULL || source_url_read(slice_of(configured->url), &url, err) < 0)
        return unknown(err);
    if (strcmp(forge->name, "github") == 0 && strcmp(url.host, "github.com") == 0) {
        buffer_append_text(out, "https://api.github.com");
        return 0;
    }
    host_print(&url, out);
    buffer_append_text(out, forge->api);
    return 0;
}

static void word_print(struct slice word, struct buffer *out)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    for (size_t i = 0; i < word.size; i++)
        if (strchr(plain, word.at[i]) != NULL)
            buffer_append(out, word.at + i, 1);
        else
            buffer_print(out, "%%%02X", (unsigned char)word.at[i]);
}

/* "/team/app.git/" is team/app. */
static struct slice path_trim(struct slice path)
{
    while (path.size > 0 && path.at[0] == '/')
        path = slice_from(path, 1);
    while (path.size > 0 && path.at[path.size - 1] == '/')
        path.size--;
    if (slice_ends(path, ".git"))
        path.size -= 4;
    return path;
}

/* Its words, the last `most` of them, with this between them. False: too few, or odd ones. */
static bool words_print(struct slice path, const char *between, size_t most, struct buffer *out)
{
    struct slice words[32];
    size_t count = 0;

    while (path.size > 0) {
        if (count == sizeof(words) / sizeof(words[0]))
            return false;
        slice_split(path, '/', &words[count], &path);
        if (words[count].size == 0 || slice_equal_text(words[count], ".") ||
            slice_equal_text(words[count], ".."))
            return false;
        count++;
    }
    for (size_t i = count > most ? count - most : 0; i < count; i++) {
        word_print(words[i], out);
        buffer_append_text(out, i + 1 < count ? between : "");
    }
    return count >= 2;
}

static bool is_commit(const char *text)
{
    size_t size = strspn(text, "0123456789abcdef");

    return text[size] == 0 && (size == 40 || size == 64);
}

static int url_write(const struct status_about *about, const struct forge *forge,
                     struct buffer *out, struct error *err)
{
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
    const char *commit = about->record->commit;

    if (builds_status_api(about->configured, out, err) < 0 ||
        source_url_read(slice_of(about->configured->url), &url, err) < 0)
        return -1;
    buffer_append_text(out, forge->whole_path ? "/projects/" : "/repos/");
    if (!words_print(path_trim(slice_of(url.path)), forge->whole_path ? "%2F" : "/",
                     forge->whole_path ? SIZE_MAX : 2, out))
        return unknown(err);
    if (!is_commit(commit))
        return error_set(err, ERROR_INVALID, "what was built is no commit");
    buffer_print(out, "/statuses/%s", commit);
    return 0;
}

/* --- what is said --- */

static void describe(const struct status_about *about, char out[DESCRIPTION_MAX + 1])
{
    const struct build_record *record = about->record;

    if (about->state <= BUILD_PENDING)
        snprintf(out, DESCRIPTION_MAX + 1, "waits to be built");
    else if (about->state == BUILD_RUNNING)
        snprintf(out, DESCRIPTION_MAX + 1, "is being built");
    else if (about->state == BUILD_COMPLETE)
        snprintf(out, DESCRIPTION_MAX + 1, "%.120s", record->result_digest);
    else
        snprintf(out, DESCRIPTION_MAX + 1, "%s: %s", build_state_name(about->state),
                 record->reason);
}

/* The branch or tag, for forges that ask whose pipeline it is. */
static void ref_set(json_t *body, struct slice ref)
{
    if (slice_starts(ref, "refs/heads/"))
        ref = slice_from(ref, sizeof("refs/heads/") - 1);
    else if (slice_starts(ref, "refs/tags/"))
        ref = slice_from(ref, sizeof("refs/tags/") - 1);
    else if (slice_starts(ref, "refs/"))
        return;
    if (ref.size > 0)
        json_object_set_new(body, "ref", s2i_json_text(ref));
}

static void body_write(const struct status_about *about, const struct forge *forge,
                       struct buffer *out)
{
    json_t *body = json_pack("{s:s}", "state", forge->states[about->state]);
    OWNED(buffer_drop) struct buffer label = BUFFER_NONE, page = BUFFER_NONE;
    char description[DESCRIPTION_MAX + 1];

    describe(about, description);
    buffer_print(&label, "slipway/%s", about->repository);
    json_object_set_new(body, forge->label, s2i_json_text(buffer_slice(&label)));
    json_object_set_new(body, "description", s2i_json_text(slice_of(description)));
    if (about->public_url[0] != 0) {
        buffer_print(&page, "%s/api/v1/builds/%lld", about->public_url,
                     (long long)about->record->id);
        json_object_set_new(body, "target_url", s2i_json_text(buffer_slice(&page)));
    }
    if (forge->whole_path)
        ref_set(body, slice_of(about->record->ref));
    char *text = json_dumps(body, JSON_COMPACT);
    buffer_append_text(out, text);
    free(text);
    json_decref(body);
}

static void headers_write(const struct status_about *about, const struct forge *forge,
                          struct s2i_list *out)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    s2i_list_add(out, SLICE("Accept: application/json"));
    if (about->token == NULL)
        return;
    buffer_reserve(&line, strlen(forge->header) + strlen(about->token) + 1);
    buffer_append_text(&line, forge->header);
    buffer_append_text(&line, about->token);
    s2i_list_add(out, buffer_slice(&line));
    explicit_bzero(line.at, line.size);
}

int status_write(const struct status_about *about, struct letter *out, struct error *err)
{
    const struct forge *forge = forge_of(about->configured);

    if (forge == NULL || about->configured->url == NULL)
        return unknown(err);
    if (url_write(about, forge, &out->url, err) < 0)
        return -1;
    body_write(about, forge, &out->body);
    headers_write(about, forge, &out->headers);
    return 0;
}
