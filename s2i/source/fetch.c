/* fetch.c - see fetch.h.
 * Touches  the network by its child; a folder of its own.
 * Never    leaves credentials in it.
 *
 * One commit is asked for (--depth 1). A server that gives only what it advertises refuses a commit
 * by its id: then the branch that was named, or all of them, is fetched with its history, and the
 * commit is looked for in it. */
#include "s2i/source/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/folder.h"
#include "s2i/source/text.h"
#include "s2i/source/transport.h"

enum {
    SAID_MAX = 32 * 1024,
    MESSAGE_MAX = 150,
    WORDS_MAX = 24,
};

#define MEMORY_MAX (UINT64_C(2) << 30)

char *source_fetch_path(const char *folder)
{
    return folder_path(folder, "repository");
}

/* --- running it --- */

/* The first line that tells a failure: later ones are its consequences. */
static struct slice first_line(struct slice said)
{
    static const char *const others[] = {"remote: ", "warning: ", "hint: ", "From "};
    struct slice line;

    while (said.size > 0) {
        bool other = false;
        slice_split(said, '\n', &line, &said);
        for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
            other |= slice_starts(line, others[i]);
        if (line.size > 0 && !other)
            return slice_starts(line, "fatal: ")   ? slice_from(line, sizeof("fatal: ") - 1)
                   : slice_starts(line, "error: ") ? slice_from(line, sizeof("error: ") - 1)
                                                   : line;
    }
    return SLICE("no reason was given");
}

static bool says(const struct buffer *said, const char *text)
{
    return said->size > 0 && memmem(said->at, said->size, text, strlen(text)) != NULL;
}

/* A commit that is there perhaps, but not given by its id. */
static bool wants_a_name(const struct buffer *said)
{
    return says(said, "unadvertised object") || says(said, "not our ref") ||
           says(said, "couldn't find remote ref");
}

static int explain(const struct fetch *fetch, int status, const struct buffer *said,
                   struct error *err)
{
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;
    struct slice line = first_line(buffer_slice(said));

    /* The writer of the pack is ended by its limit, and says nothing itself. */
    if (slice_equal(line, SLICE("fetch-pack: invalid index-pack output")))
        return error_set(err, ERROR_INVALID, "the source is larger than %llu bytes",
                         (unsigned long long)fetch->rules->bytes_max);
    if (says(said, "couldn't find remote ref"))
        return error_set(err, ERROR_INVALID, "the source has no branch, tag or commit %.100s",
                         fetch->ref == NULL ? "at its HEAD" : fetch->ref);
    if (says(said, "terminal prompts disabled") || says(said, "Authentication failed"))
        return error_set(err, ERROR_INVALID,
                         "the source wants credentials%s: slipway build secret set REPOSITORY "
                         "source NAME --for URL keeps them",
                         says(said, "Authentication failed") ? " other than those kept" : "");
    source_text_clean(line, MESSAGE_MAX, &shown);
    error_set(err, ERROR_INVALID, "git: %.*s", SLICE_ARG(buffer_slice(&shown)));
    return error_set_cause(err, "git fetch ended with status %d", status);
}

/* Each line of what git said; the log escapes what must not be in it. */
static void tell(const struct fetch *fetch, const struct buffer *said)
{
    if (fetch->log != NULL && said->size > 0)
        build_log_write(fetch->log, LOG_ERR, buffer_slice(said));
    if (fetch->log != NULL && said->size > 0 && said->at[said->size - 1] != '\n')
        build_log_write(fetch->log, LOG_ERR, SLICE("\n"));
}

/* 1: done; 0: not, and what it said; -1. */
static int run_git(struct fetch_job *job, const char *const *words, struct buffer *said,
                   int *status, struct error *err)
{
    const struct fetch *fetch = job->fetch;
    const char **environment = memory_new((job->environment.count + 1) * sizeof(char *));
    const char *const writable[] = {job->repository, NULL};
    const char *const readable[] = {fetch->folder, NULL};
    struct confinement with = {.words = words,
                               .environment = environment,
                               .folder = job->repository,
                               .writable = writable,
                               .readable = readable,
                               .network = true,
                               .port = fetch->url->port,
                               .input = -1,
                               .output = -1,
                               .kept = &job->secret,
                               .kept_count = job->secret >= 0,
                               .memory = MEMORY_MAX,
                               .file_size = fetch->rules->bytes_max};

    memcpy(environment, job->environment.items, job->environment.count * sizeof(char *));
    said->size = 0;
    int outcome = source_run(&with, true, SAID_MAX, fetch->patience, said, status, err);
    free(environment);
    return outcome < 0 ? -1 : *status == 0;
}

static int fetch_once(struct fetch_job *job, const char *url, const char *const *refspecs,
                      bool shallow, struct buffer *said, int *status, struct error *err)
{
    const char *words[WORDS_MAX] = {
        confine_program("git"), "--git-dir", job->repository, "fetch", "--quiet", "--no-tags",
        "--no-write-fetch-head"};
    size_t count = 7;

    if (words[0] == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "the program git is not installed");
    if (shallow) {
        words[count++] = "--depth";
        words[count++] = "1";
    }
    words[count++] = "--";
    words[count++] = url;
    while (*refspecs != NULL)
        words[count++] = *refspecs++;
    return run_git(job, words, said, status, err);
}

/* The named branch with its history, or all of them. */
static int fetch_history(struct fetch_job *job, const char *url, struct buffer *said, int *status,
                         struct error *err)
{
    static const char *const all[] = {"+refs/heads/*:refs/s2i/heads/*",
                                      "+refs/tags/*:refs/s2i/tags/*", NULL};
    const char *const ref = job->fetch->ref;
    OWNED(buffer_drop) struct buffer one = BUFFER_NONE;

    if (ref == NULL)
        return fetch_once(job, url, all, false, said, status, err);
    buffer_print(&one, "+%s:" FETCHED_REF, ref);
    buffer_append(&one, "", 1);
    return fetch_once(job, url, (const char *[]){one.at, NULL}, false, said, status, err);
}

static int fetch_with(struct fetch_job *job, const char *url, struct error *err)
{
    const struct fetch *fetch = job->fetch;
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer wanted = BUFFER_NONE;
    const char *name = fetch->ref == NULL ? "HEAD" : fetch->ref;
    int status;

    buffer_print(&wanted, "+%s:" FETCHED_REF, fetch->commit == NULL ? name : fetch->commit);
    buffer_append(&wanted, "", 1);
    int outcome =
        fetch_once(job, url, (const char *[]){wanted.at, NULL}, true, &said, &status, err);
    if (outcome == 0 && fetch->commit != NULL && wants_a_name(&said))
        outcome = fetch_history(job, url, &said, &status, err);
    if (outcome == 0) {
        tell(fetch, &said);
        return explain(fetch, status, &said, err);
    }
    return outcome < 0 ? -1 : 0;
}

int source_fetch(const struct fetch *fetch, struct error *err)
{
    OWNED(fetch_job_drop) struct fetch_job job = {.fetch = fetch, .secret = -1};
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE;

    if (source_url_permitted(fetch->url, fetch->rules, err) < 0 ||
        source_resolve_host(fetch->url->host, fetch->url->port, fetch->rules->allowed_hosts,
                            fetch->patience, &job.resolved, err) < 0)
        return -1;
    source_credentials_choose(fetch->credentials, fetch->url, &job.credentials);
    if (fetch_job_prepare(&job, &url, err) < 0)
        return -1;
    buffer_append(&url, "", 1);
    return fetch_with(&job, url.at, err);
}
