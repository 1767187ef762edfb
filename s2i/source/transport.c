/* transport.c - see transport.h.
 * Touches  files of the fetch's folder, which goes with the fetch.
 * Never    puts a secret into words or variables: passwords go over a descriptor, keys into files.
 */
#include "s2i/source/transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "s2i/source/source.h"

enum { STALLED_S = 60 }; /* less than a byte a second for so long */

void fetch_job_drop(struct fetch_job *job)
{
    source_credentials_drop(&job->credentials);
    s2i_list_drop(&job->environment);
    free(job->repository);
    fd_drop(&job->secret);
}

/* --- files of the fetch --- */

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
static int put_repository(struct fetch_job *job, struct error *err)
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

static void add_variable(struct fetch_job *job, const char *format, ...) PRINTF_LIKE(2, 3);
static void add_variable(struct fetch_job *job, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    s2i_list_add(&job->environment, buffer_slice(&text));
}

static void add_setting(struct fetch_job *job, const char *key, const char *value)
{
    add_variable(job, "GIT_CONFIG_KEY_%u=%s", job->settings, key);
    add_variable(job, "GIT_CONFIG_VALUE_%u=%s", job->settings, value);
    job->settings++;
}

static void add_fixed(struct fetch_job *job)
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

static int add_http(struct fetch_job *job, struct error *err)
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

static int put_secret_file(struct fetch_job *job, const char *name, const char *text,
                           const char *option, struct buffer *config, struct error *err)
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
static int add_ssh(struct fetch_job *job, struct error *err)
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
static int add_transport(struct fetch_job *job, struct buffer *url, struct error *err)
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

int fetch_job_prepare(struct fetch_job *job, struct buffer *url, struct error *err)
{
    return put_repository(job, err) < 0 ? -1 : add_transport(job, url, err);
}
