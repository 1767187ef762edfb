/* prompt.c - secrets and yes or no from people. */
#include "registry/cli/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

const struct cli_option cli_yes[] = {
    {"--yes", NULL, "does it without asking", 'y'},
    {0},
};

void prompt_wipe(char (*secret)[PROMPT_SECRET_MAX + 1])
{
    explicit_bzero(*secret, sizeof(*secret));
}

/* Up to the end of the line; -1 when there is none, or it is too long. */
static int read_line(int fd, char *out, size_t capacity)
{
    size_t used = 0;
    char c = 0;
    ssize_t got;

    while ((got = read(fd, &c, 1)) == 1 && c != '\n') {
        if (used + 1 >= capacity)
            return -1;
        out[used++] = c;
    }
    if (used > 0 && out[used - 1] == '\r')
        used--;
    out[used] = 0;
    return got < 0 || (got == 0 && used == 0) ? -1 : 0;
}

static int from_file(const struct cli_call *call, const char *file, char *out)
{
    bool input = strcmp(file, "-") == 0;
    int fd = input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", file, strerror(errno));
    int status = read_line(fd, out, PROMPT_SECRET_MAX + 1);
    if (!input)
        close(fd);
    if (status < 0)
        return cli_fail(call, CLI_FAILED, "%s has no password in its first line, or a longer one",
                        input ? "standard input" : file);
    return CLI_DONE;
}

/* Asks with the echo off, which comes back whatever happens but a signal that ends us. */
static int ask(int terminal, const char *question, char *out)
{
    struct termios before, silent;
    bool changed = tcgetattr(terminal, &before) == 0;

    if (changed) {
        silent = before;
        silent.c_lflag &= ~(tcflag_t)ECHO;
        changed = tcsetattr(terminal, TCSAFLUSH, &silent) == 0;
    }
    dprintf(terminal, "%s: ", question);
    int status = read_line(terminal, out, PROMPT_SECRET_MAX + 1);
    if (changed)
        tcsetattr(terminal, TCSAFLUSH, &before);
    dprintf(terminal, "\n");
    return status;
}

int prompt_password(const struct cli_call *call, const char *file, const char *question, bool twice,
                    char out[PROMPT_SECRET_MAX + 1])
{
    OWNED(prompt_wipe) char again[PROMPT_SECRET_MAX + 1] = "";

    if (file != NULL)
        return from_file(call, file, out);
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    if (terminal < 0)
        return cli_usage(call, "there is no terminal to ask on: give --password-file");
    int status = ask(terminal, question, out);
    if (status == 0 && twice)
        status = ask(terminal, "once more", again);
    close(terminal);
    if (status < 0)
        return cli_fail(call, CLI_FAILED, "no password was given");
    if (twice && strcmp(out, again) != 0)
        return cli_fail(call, CLI_FAILED, "the two differ");
    return CLI_DONE;
}

bool prompt_agreed(const struct cli_call *call, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer question = BUFFER_NONE;
    char answer[16] = "";
    va_list list;

    if (cli_flag(call, "--yes"))
        return true;
    if (!isatty(STDIN_FILENO)) {
        cli_fail(call, CLI_USAGE, "nobody is there to be asked: give --yes if it is meant");
        return false;
    }
    va_start(list, format);
    buffer_print_list(&question, format, list);
    va_end(list);
    fprintf(stderr, "%.*s [y/N] ", SLICE_ARG(buffer_slice(&question)));
    return read_line(STDIN_FILENO, answer, sizeof(answer)) == 0 &&
           (strcmp(answer, "y") == 0 || strcmp(answer, "yes") == 0);
}
