/* hook.c - git's hooks proc-receive and reference-transaction, as processes: they hand on what git
 * asks, and what the server answers.
 * Touches  standard streams, the descriptor to the server, folders of refs (synced); children of
 * git for two questions. Never    decides anything; runs in the server. Spec: s2i 13.a */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/git/git_internal.h"
#include "registry/git/packet.h"

enum { FAILED = 1, TEXT_MAX = 16 * 1024 * 1024, PIECE = 16 * 1024 };

static int complain(const char *text)
{
    fprintf(stderr, "%s\n", text);
    return FAILED;
}

static int channel_find(void)
{
    const char *text = getenv(HOOK_DESCRIPTOR);
    uint64_t fd;

    return text != NULL && slice_to_u64(slice_of(text), &fd) && fd > 2 && fd < 1024 ? (int)fd : -1;
}

static bool send_text(int channel, enum hook_kind kind, struct slice text)
{
    struct error err = {0};

    return wire_send_text(channel, (enum wire_kind)kind, text, -1, &err) == 0;
}

/* --- questions --- */

/* Runs git with these words; input and output may be -1. The status, -1: it did not run. */
static int run_git(const char *const *words, int input, int output)
{
    posix_spawn_file_actions_t files;
    int status = -1;
    pid_t pid;

    posix_spawn_file_actions_init(&files);
    if (input >= 0)
        posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
    if (output >= 0)
        posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, "git", &files, NULL, (char *const *)(uintptr_t)words, environ) == 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    posix_spawn_file_actions_destroy(&files);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The commit that an object is or names, by peeling. */
static void answer_commit(struct slice oid, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE, found = BUFFER_NONE;
    int both[2];

    buffer_print(&name, "%.*s^{commit}", SLICE_ARG(oid));
    const char *const words[] = {"git", "rev-parse", "--quiet", "--verify", name.at, NULL};
    if (pipe2(both, O_CLOEXEC) < 0) {
        buffer_append_text(out, "-\n");
        return;
    }
    int status = run_git(words, -1, both[1]); /* 41 bytes: they fit into the pipe */
    close(both[1]);
    bool read = fd_read(both[0], PIECE, &found) == 0;
    close(both[0]);
    if (status == 0 && read && found.size == GIT_OID_SIZE + 1)
        buffer_append_slice(out, buffer_slice(&found));
    else
        buffer_append_text(out, "-\n");
}

static void answer_within(struct slice old, struct slice new, struct buffer *out)
{
    char first[GIT_OID_SIZE + 1], second[GIT_OID_SIZE + 1];
    const char *const words[] = {"git", "merge-base", "--is-ancestor", first, second, NULL};
    bool fits = slice_to_text(old, first, sizeof(first)) &&
                slice_to_text(new, second, sizeof(second)) && run_git(words, -1, -1) == 0;

    buffer_append_text(out, fits ? "yes\n" : "no\n");
}

static void answer_all(struct slice asked, struct buffer *out)
{
    struct slice line, word, rest, second;

    while (asked.size > 0) {
        slice_split(asked, '\n', &line, &asked);
        slice_split(line, ' ', &word, &rest);
        if (slice_equal_text(word, "commit")) {
            answer_commit(rest, out);
        } else {
            slice_split(rest, ' ', &rest, &second);
            answer_within(rest, second, out);
        }
    }
}

/* --- proc-receive --- */

/* What both sides know. Git waits for it before it goes on. */
static bool answer_version(struct slice push)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE, reply = BUFFER_NONE;
    bool options, atomic;

    push_capabilities(push, &options, &atomic);
    buffer_append_text(&line, "version=1");
    buffer_append(&line, "", 1);
    buffer_print(&line, "%s%s", options ? "push-options " : "", atomic ? "atomic" : "");
    packet_append(&reply, buffer_slice(&line));
    packet_append_flush(&reply);
    return fd_write(STDOUT_FILENO, buffer_slice(&reply)) == 0;
}

static bool read_push(struct buffer *out)
{
    bool options, atomic, answered = false;
    int complete = 0;

    while (complete == 0) {
        buffer_reserve(out, PIECE);
        ssize_t got = read(STDIN_FILENO, out->at + out->size, PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || out->size > TEXT_MAX)
            return false;
        out->size += (size_t)got;
        if (!answered && push_capabilities(buffer_slice(out), &options, &atomic) != 0) {
            if (!answer_version(buffer_slice(out)))
                return false;
            answered = true;
        }
        complete = push_request_complete(buffer_slice(out));
    }
    return complete > 0;
}

static void copy_to_pusher(int fd)
{
    char bytes[PIECE];
    ssize_t got;

    while ((got = read(fd, bytes, sizeof(bytes))) > 0 || (got < 0 && errno == EINTR))
        if (got > 0 && fd_write(STDERR_FILENO, (struct slice){bytes, (size_t)got}) < 0)
            break;
    close(fd);
}

/* What the server says. 1: goes on, 0: the report was written, -1. */
static int obey(int channel, const struct wire_packet *packet, struct buffer *text)
{
    OWNED(buffer_drop) struct buffer answers = BUFFER_NONE;
    struct error err = {0};
    enum hook_kind kind = (enum hook_kind)packet->kind;

    if (kind == HOOK_SAY)
        return fd_write(STDERR_FILENO, packet->payload) < 0 ? -1 : 1;
    if (kind == HOOK_FOLLOW) {
        if (packet->fd >= 0)
            copy_to_pusher(packet->fd);
        return 1;
    }
    int whole = wire_gather(text, packet, &err);
    if (whole <= 0)
        return whole < 0 ? -1 : 1;
    if (kind == HOOK_REPORT)
        return fd_write(STDOUT_FILENO, buffer_slice(text)) < 0 ? -1 : 0;
    answer_all(buffer_slice(text), &answers);
    text->size = 0;
    return send_text(channel, HOOK_KNOWN, buffer_slice(&answers)) ? 1 : -1;
}

static int proc_receive(int channel)
{
    OWNED(memory_drop) char *piece = memory_new(WIRE_PIECE_MAX + 1);
    OWNED(buffer_drop) struct buffer push = BUFFER_NONE, text = BUFFER_NONE;
    struct wire_packet packet;
    struct error err = {0};
    int more = 1;

    if (!read_push(&push))
        return complain("git told the server's hook nothing that makes sense");
    if (!send_text(channel, HOOK_PUSH, buffer_slice(&push)))
        return complain("the server is gone");
    while (more > 0) {
        if (wire_receive(channel, piece, WIRE_PIECE_MAX + 1, &packet, &err) <= 0)
            return complain("the server is gone");
        more = obey(channel, &packet, &text);
    }
    return more < 0 ? FAILED : 0;
}

/* --- reference-transaction --- */

/* Before anybody is told that they moved. text: "<old> <new> <ref>" lines. */
static void sync_refs(struct slice text)
{
    OWNED(s2i_list_drop) struct s2i_list refs = {.items = NULL};
    struct slice line, rest;

    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        if (slice_split(line, ' ', &rest, &line) && slice_split(line, ' ', &rest, &line))
            s2i_list_add(&refs, line);
    }
    repository_refs_sync(".", refs.items, refs.count);
}

static int reference_transaction(int channel, const char *state)
{
    OWNED(memory_drop) char *piece = memory_new(WIRE_PIECE_MAX + 1);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct wire_packet packet;
    struct error err = {0};

    buffer_print(&text, "%s\n", state);
    if (fd_read(STDIN_FILENO, TEXT_MAX, &text) < 0)
        return complain("git told the server's hook nothing that makes sense");
    if (strcmp(state, "committed") == 0)
        sync_refs(slice_from(buffer_slice(&text), strlen(state) + 1));
    if (!send_text(channel, HOOK_MOVE, buffer_slice(&text)))
        return complain("the server is gone");
    if (strcmp(state, "prepared") != 0)
        return 0;
    if (wire_receive(channel, piece, WIRE_PIECE_MAX + 1, &packet, &err) <= 0)
        return complain("the server is gone");
    if (packet.kind == (enum wire_kind)HOOK_VERDICT && packet.payload.size == 0)
        return 0;
    fprintf(stderr, "%.*s\n", SLICE_ARG(packet.payload));
    return FAILED;
}

int git_proc_receive(const char *const *words)
{
    int channel = channel_find();

    (void)words;
    return channel < 0 ? complain("this is a hook of slipway's, for git") : proc_receive(channel);
}

int git_reference_transaction(const char *const *words)
{
    int channel = channel_find();

    if (channel < 0 || words[1] == NULL)
        return complain("this is a hook of slipway's, for git");
    return reference_transaction(channel, words[1]);
}
