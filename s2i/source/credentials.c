/* credentials.c - see credentials.h.
 * Touches  memory, a nameless file.
 * Never    argv, environment, URLs, logs, errors. */
#include "s2i/source/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "registry/core/fd.h"

static const char user_default[] = "x-access-token";

/* "NAME\tPREFIX\tKIND\tVALUE" */
struct credential {
    struct slice prefix, kind, value;
};

static bool credential_read(const char *text, struct credential *out)
{
    struct slice name, rest;

    return slice_split(slice_of(text), '\t', &name, &rest) &&
           slice_split(rest, '\t', &out->prefix, &rest) &&
           slice_split(rest, '\t', &out->kind, &out->value);
}

/* The value of the kind whose prefix fits best. */
static struct slice best(const struct s2i_list *list, const struct source_url *url,
                         const char *kind, size_t *length)
{
    struct slice found = SLICE_NONE;

    *length = 0;
    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct credential one;
        if (!credential_read(list->items[i], &one) || !slice_equal_text(one.kind, kind) ||
            !source_url_begins(url, one.prefix) || (found.at != NULL && one.prefix.size <= *length))
            continue;
        found = one.value;
        *length = one.prefix.size;
    }
    return found;
}

static char *text_or_none(struct slice text)
{
    return text.at == NULL ? NULL : memory_text(text);
}

void source_credentials_choose(const struct s2i_list *list, const struct source_url *url,
                               struct credentials *out)
{
    size_t password_length, token_length, length;
    struct slice password = best(list, url, "password", &password_length);
    struct slice token = best(list, url, "token", &token_length), user, rest;

    *out = (struct credentials){.user = NULL};
    if (password.at != NULL && (token.at == NULL || password_length >= token_length)) {
        slice_split(password, ':', &user, &rest);
        out->user = memory_text(user);
        out->password = memory_text(rest.at == NULL ? SLICE("") : rest);
    } else if (token.at != NULL) {
        out->user = memory_text(slice_of(url->user[0] == '\0' ? user_default : url->user));
        out->password = memory_text(token);
    }
    out->key = text_or_none(best(list, url, "ssh-key", &length));
    out->known_hosts = text_or_none(best(list, url, "known-hosts", &length));
    out->ca = text_or_none(best(list, url, "ca", &length));
}

static void wipe(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

void source_credentials_drop(struct credentials *credentials)
{
    wipe(&credentials->user);
    wipe(&credentials->password);
    wipe(&credentials->key);
    wipe(&credentials->known_hosts);
    wipe(&credentials->ca);
}

int source_credentials_file(const struct credentials *credentials, int *out, struct error *err)
{
    OWNED(fd_drop) int fd = memfd_create("credentials", MFD_CLOEXEC);

    if (fd < 0 || fd_write(fd, slice_of(credentials->user)) < 0 || fd_write(fd, SLICE("\n")) < 0 ||
        fd_write(fd, slice_of(credentials->password)) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "credentials of a source cannot be handed over");
    *out = fd_take(&fd);
    return 0;
}

/* The child's side. Reads from the file's start whoever read before: all share one position. */
int source_askpass(const char *prompt)
{
    const char *number = getenv(SOURCE_ASKPASS_VARIABLE);
    char text[16 * 1024];
    struct slice user, password;

    if (number == NULL || prompt == NULL)
        return 1;
    ssize_t size = pread((int)strtol(number, NULL, 10), text, sizeof(text), 0);
    if (size < 0 || !slice_split((struct slice){text, (size_t)size}, '\n', &user, &password))
        return 1;
    struct slice answer = slice_starts(slice_of(prompt), "Username") ? user : password;
    int outcome = fd_write(STDOUT_FILENO, answer) == 0 && fd_write(STDOUT_FILENO, SLICE("\n")) == 0;
    explicit_bzero(text, sizeof(text));
    return outcome ? 0 : 1;
}
