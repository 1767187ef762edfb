/* fetch.c - see fetch.h.
 * Touches  the network by its child; a folder of its own.
 * Never    leaves credentials in it.
 *
 * One commit is asked for (--depth 1). A server that gives only what it advertises refuses a commit
 * by its id: then the branch that was named, or all of them, is fetched with its history, and the
 * commit is looked for in it. */
#include "s2i/source/fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "s2i/source/credentials.h"
#include "s2i/source/resolve.h"
#include "s2i/source/text.h"

enum {
    SAID_MAX = 32 * 1024,
    MESSAGE_MAX = 150,
    WORDS_MAX = 24,
    STALLED_S = 60, /* less than a byte a second for so long */
};

#define MEMORY_MAX (UINT64_C(2) << 30)

/* One fetch with what it needs while it runs. */
struct job {
    const struct fetch *fetch;
    struct resolved resolved;
    struct credentials credentials;
    char *repository;
    struct s2i_list environment;
    int secret; /* descriptor of user and password; -1 */
    unsigned settings;
};

static void job_drop(struct job *job)
{
    source_credentials_drop(&job->credentials);
    s2i_list_drop(&job->environment);
    free(job->repository);
    fd_drop(&job->secret);
}

char *source_fetch_path(const char *folder)
{
    return folder_path(folder, "repository");
}

/* --- files of the job --- */

static int cannot_prepare(struct error *err)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a fetch cannot be prepared");
}

static int put_file(const char *folder, const char *name, struct slice text, struct error *err)
{
    OWNED(memory_drop) char *path = folder_path(folder, name);
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    return fd < 0 || fd_write(fd, text) < 0 ? cannot_prepare(err) : 0;
}

static int put_folder(const char *folder, const char *name, struct error *err)
{
    OWNED(memory_drop) char *path = folder_path(folder, name);

    return mkdir(path, 0700) < 0 ? cannot_prepare(err) : 0;
}

/* What `git init --bare` would make, less what nobody reads. */
static int put_repository(struct job *job, struct error *err)
{
    static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n";

    job->repository = source_fetch_path(job->fetch->folder);
    if (mkdir(job->repository, 0700) < 0)
        return cannot_prepare(err);
    if (put_folder(job->repository, "objects", err) < 0 ||
        put_folder(job->repository, "refs", err) < 0 ||
        put_file(job->repository, "HEAD", SLICE("ref: refs/heads/none\n"), err) < 0)
        return -1;
    return put_file(job->repository, "config", slice_of(config), err);
}

/* --- how git is told --- */

static void add_variable(struct job *job, const char *format, ...) PRINTF_LIKE(2, 3);
static void add_variable(struct job *job, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    s2i_list_add(&job->environment, buffer_slice(&text));
}

static void add_setting(struct job *job, const char *key, const char *value)
{
    add_variable(job, "GIT_CONFIG_KEY_%u=%s", job->settings, key);
    add_variable(job, "GIT_CONFIG_VALUE_%u=%s", job->settings, value);
    job->settings++;
}

static void add_fixed(struct job *job)
{
    static const char *const variables[] = {
        "PATH=/usr/bin:/bin",          "LC_ALL=C",
        "HOME=/nonexistent",           "GIT_CONFIG_NOSYSTEM=1",
        "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0",
        "GIT_PROTOCOL_FROM_USER=0",
    };
    static const char *const settings[][2] = {
        {"protocol.version", "2"},
        {"http.followRedirects", "false"},
        {"http.lowSpeedLimit", "1"},
        {"http.proxy", ""},
        {"http.sslVerify", "true"},
        {"credential.helper", ""},
        {"core.hooksPath", "/dev/null"},
        {"core.fsync", "none"},
        {"gc.auto", "0"},
        {"maintenance.auto", "false"},
        {"pack.threads", "1"},
        {"fetch.unpackLimit", "1"},
        {"fetch.recurseSubmodules", "false"},
        {"fetch.fsckObjects", "true"},
        /* Found in old histories, and harmless here. */
        {"fetch.fsck.zeroPaddedFilemode", "ignore"},
        {"fetch.fsck.missingSpaceBeforeDate", "ignore"},
        {"fetch.fsck.badTimezone", "ignore"},
        {"fetch.fsck.missingEmail", "ignore"},
        {"fetch.fsck.badFilemode", "ignore"},
    };

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        s2i_list_add(&job->environment, slice_of(variables[i]));
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        add_setting(job, settings[i][0], settings[i][1]);
}

static int add_http(struct job *job, struct error *err)
{
    const struct source_url *url = job->fetch->url;
    OWNED(buffer_drop) struct buffer pin = BUFFER_NONE;
    OWNED(memory_drop) char *ca = folder_path(job->fetch->folder, "ca.pem");
    OWNED(memory_drop) char *askpass = folder_path(job->fetch->folder, "askpass");
    char seconds[16];

    snprintf(seconds, sizeof(seconds), "%d", STALLED_S);
    add_setting(job, "http.lowSpeedTime", seconds);
    if (!url->is_number) {
        source_resolve_pin(url->host, url->port, &job->resolved, &pin);
        buffer_append(&pin, "", 1);
        add_setting(job, "http.curloptResolve", pin.at);
    }
    if (job->credentials.ca != NULL) {
        add_setting(job, "http.sslCAInfo", ca);
        if (put_file(job->fetch->folder, "ca.pem", slice_of(job->credentials.ca), err) < 0)
            return -1;
    }
    if (job->credentials.password == NULL)
        return 0;
    if (source_credentials_file(&job->credentials, &job->secret, err) < 0)
        return -1;
    add_variable(job, "GIT_ASKPASS=%s", askpass);
    add_variable(job, SOURCE_ASKPASS_VARIABLE "=%d", job->secret);
    return symlink(confine_self(), askpass) < 0 ? cannot_prepare(err) : 0;
}

/* In quotes of ssh's configuration, or of a shell's word: a path of ours, which has none itself. */
static int quoted(struct buffer *out, char quote, const char *path, struct error *err)
{
    if (strpbrk(path, "\"'\n\\%") != NULL)
        return error_set(err, ERROR_UNAVAILABLE, "the builds' folder has a name ssh cannot use");
    buffer_print(out, "%c%s%c", quote, path, quote);
    return 0;
}

static int put_secret_file(struct job *job, const char *name, const char *text, const char *option,
                           struct buffer *config, struct error *err)
{
    OWNED(memory_drop) char *path = folder_path(job->fetch->folder, name);
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    buffer_reserve(&line, strlen(text) + 1);
    buffer_print(&line, "%s%s", text, slice_ends(slice_of(text), "\n") ? "" : "\n");
    int outcome = put_file(job->fetch->folder, name, buffer_slice(&line), err);
    explicit_bzero(line.at, line.size);
    if (outcome < 0)
        return -1;
    buffer_print(config, "%s ", option);
    outcome = quoted(config, '"', path, err);
    buffer_append_text(config, "\n");
    return outcome;
}

/* Host keys must be known: there is nobody to ask (16.11). */
static int add_ssh(struct job *job, struct error *err)
{
    const struct source_url *url = job->fetch->url;
    OWNED(memory_drop) char *path = folder_path(job->fetch->folder, "ssh_config");
    OWNED(buffer_drop) struct buffer config = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer command = BUFFER_NONE;

    if (confine_program("ssh") == NULL)
        return error_set(err, ERROR_INVALID,
                         "sources by ssh need the program ssh, which is not "
                         "installed");
    if (job->credentials.known_hosts == NULL)
        return error_set(err, ERROR_INVALID,
                         "no host key of %.80s is known: a credential of the kind known-hosts "
                         "tells it",
                         url->host);
    buffer_append_text(&config, "BatchMode yes\nStrictHostKeyChecking yes\nIdentityAgent none\n"
                                "IdentitiesOnly yes\nGlobalKnownHostsFile /dev/null\n"
                                "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
                                "UpdateHostKeys no\nServerAliveInterval 15\nHostName ");
    source_resolve_first(&job->resolved, &config);
    buffer_print(&config, url->port == 22 ? "\nHostKeyAlias %s\n" : "\nHostKeyAlias [%s]:%u\n",
                 url->host, url->port);
    if (put_secret_file(job, "known_hosts", job->credentials.known_hosts, "UserKnownHostsFile",
                        &config, err) < 0 ||
        (job->credentials.key != NULL &&
         put_secret_file(job, "key", job->credentials.key, "IdentityFile", &config, err) < 0) ||
        put_file(job->fetch->folder, "ssh_config", buffer_slice(&config), err) < 0)
        return -1;
    buffer_print(&command, "%s -F ", confine_program("ssh"));
    if (quoted(&command, '\'', path, err) < 0)
        return -1;
    add_variable(job, "GIT_SSH_COMMAND=%.*s", SLICE_ARG(buffer_slice(&command)));
    add_variable(job, "GIT_SSH_VARIANT=ssh");
    return 0;
}

/* What git is given as the URL. Its own protocol knows no pin: it gets the address, and the name as
 * the host it asks for. */
static int add_transport(struct job *job, struct buffer *url, struct error *err)
{
    struct source_url shown = *job->fetch->url;
    OWNED(buffer_drop) struct buffer address = BUFFER_NONE;

    add_fixed(job);
    add_variable(job, "GIT_ALLOW_PROTOCOL=%s", shown.scheme);
    if (strcmp(shown.scheme, "git") == 0) {
        source_resolve_first(&job->resolved, &address);
        buffer_append(&address, "", 1);
        add_variable(job, "GIT_OVERRIDE_VIRTUAL_HOST=%s:%u", shown.host, shown.port);
        shown.host = address.at;
    }
    source_url_print(&shown, url);
    int outcome = strcmp(shown.scheme, "ssh") == 0   ? add_ssh(job, err)
                  : strcmp(shown.scheme, "git") == 0 ? 0
                                                     : add_http(job, err);
    add_variable(job, "GIT_CONFIG_COUNT=%u", job->settings);
    return outcome;
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
static int run_git(struct job *job, const char *const *words, struct buffer *said, int *status,
                   struct error *err)
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

static int fetch_once(struct job *job, const char *url, const char *const *refspecs, bool shallow,
                      struct buffer *said, int *status, struct error *err)
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
static int fetch_history(struct job *job, const char *url, struct buffer *said, int *status,
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

static int fetch_with(struct job *job, const char *url, struct error *err)
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
    OWNED(job_drop) struct job job = {.fetch = fetch, .secret = -1};
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE;

    if (source_url_permitted(fetch->url, fetch->rules, err) < 0 ||
        source_resolve_host(fetch->url->host, fetch->url->port, fetch->rules->allowed_hosts,
                            fetch->patience, &job.resolved, err) < 0)
        return -1;
    source_credentials_choose(fetch->credentials, fetch->url, &job.credentials);
    if (put_repository(&job, err) < 0 || add_transport(&job, &url, err) < 0)
        return -1;
    buffer_append(&url, "", 1);
    return fetch_with(&job, url.at, err);
}
