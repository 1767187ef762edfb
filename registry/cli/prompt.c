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
        if (used + 1 >= capacity || c == 0)
            return -1;
        out[used++] = c;
    }
    if (used > 0 && out[used - 1] == '\r')
        used--;
    out[used] = 0;
    return got < 0 || (got == 0 && used == 0) ? -1 : 0;
}

static int from_file(const struct cli_call *call, const char *file, const char *what, char *out)
{
    bool input = strcmp(file, "-") == 0;
    int fd = input ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", file, strerror(errno));
    int status = read_line(fd, out, PROMPT_SECRET_MAX + 1);
    if (!input)
        close(fd);
    if (status < 0)
        return cli_fail(call, CLI_FAILED, "the first line of %s is no %s: empty, or too long",
                        input ? "standard input" : file, what);
    return CLI_DONE;
}

enum {
    KEY_INTERRUPT = 3,
    KEY_END = 4,
    KEY_BACKSPACE = 8,
    KEY_KILL = 21,
    KEY_QUIT = 28,
    KEY_DELETE = 127,
};

/* The size without the last character of UTF-8. */
static size_t erase_character(const char *text, size_t size)
{
    while (size > 0 && ((unsigned char)text[--size] & 0xc0) == 0x80)
        ;
    return size;
}

/* Keys until Enter; -1 when interrupted, at the end of the input, or with too many. */
static int read_keys(int terminal, char *out)
{
    size_t size = 0;
    char key = 0;

    while (size <= PROMPT_SECRET_MAX && read(terminal, &key, 1) == 1) {
        out[size] = 0;
        if (key == '\n' || key == '\r')
            return 0;
        if (key == 0 || key == KEY_INTERRUPT || key == KEY_QUIT || key == KEY_END)
            return -1;
        if (key == KEY_BACKSPACE || key == KEY_DELETE)
            size = erase_character(out, size);
        else if (key == KEY_KILL)
            size = 0;
        else
            out[size++] = key;
    }
    out[0] = 0;
    return -1;
}

/* Nothing is shown. Keys that would end or stop the process are read as keys, so the terminal gets
 * its echo back. */
static int ask(const char *question, char *out)
{
    const int terminal = STDIN_FILENO;
    struct termios before, silent;

    if (tcgetattr(terminal, &before) < 0)
        return -1;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
    silent.c_cc[VMIN] = 1;
    silent.c_cc[VTIME] = 0;
    tcsetattr(terminal, TCSAFLUSH, &silent); /* before the question: what answers it is kept */
    fprintf(stderr, "%s: ", question);
    int status = read_keys(terminal, out);
    tcsetattr(terminal, TCSAFLUSH, &before);
    fputc('\n', stderr);
    return status;
}

bool prompt_possible(void)
{
    return isatty(STDIN_FILENO) != 0;
}

int prompt_password(const struct cli_call *call, const char *option, const char *question,
                    bool twice, char out[PROMPT_SECRET_MAX + 1])
{
    OWNED(prompt_wipe) char again[PROMPT_SECRET_MAX + 1] = "";
    const char *file = cli_value(call, option);

    if (file != NULL)
        return from_file(call, file, question, out);
    if (!prompt_possible())
        return cli_usage(call, "there is no terminal to ask for the %s on: give %s", question,
                         option);
    int status = ask(question, out);
    if (status == 0 && twice)
        status = ask("once more", again);
    if (status < 0)
        return cli_fail(call, CLI_FAILED, "no password was given");
    if (twice && strcmp(out, again) != 0)
        return cli_fail(call, CLI_FAILED, "the two differ");
    return CLI_DONE;
}

enum { GENERATED_CHARACTERS = 24, GENERATED_GROUP = 4 };

void prompt_generate(char out[PROMPT_SECRET_MAX + 1])
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    uint8_t random[GENERATED_CHARACTERS];
    char *at = out;

    random_bytes(random, sizeof(random));
    for (size_t i = 0; i < GENERATED_CHARACTERS; i++) {
        if (i > 0 && i % GENERATED_GROUP == 0)
            *at++ = '-';
        *at++ = letters[random[i] % (sizeof(letters) - 1)]; /* 32: each byte picks one evenly */
    }
    *at = 0;
    explicit_bzero(random, sizeof(random));
}

bool prompt_agreed(const struct cli_call *call, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer question = BUFFER_NONE;
    char answer[16] = "";
    va_list list;

    if (cli_flag(call, "--yes"))
        return true;
    if (!prompt_possible()) {
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
