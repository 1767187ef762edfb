/* source_probe.c - fetches one source as the server would, for tests with servers of their own.
 * Touches  standard input and output; the tar that is named.
 * Never    a registry.
 *
 *   source_probe   reads {"url", "ref", "commit", "context_dir", "ignore_submodules",
 * "credentials", "schemes", "ports", "allow", "bytes_max", "timeout_ms", "scratch", "tar"}, writes
 *                  {"facts"} or {"reason", "message", "cause"}; with "post" it asks the URL by
 *                  source_http instead, and writes {"status", "body"}. A line on standard input
 *                  after that stops it. */
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/source/source.h"

enum { LINE_SIZE = 1 << 20 };

static struct slice text(const json_t *object, const char *name)
{
    return slice_of(json_string_value(json_object_get(object, name)));
}

static uint64_t number(const json_t *object, const char *name, uint64_t otherwise)
{
    const json_t *value = json_object_get(object, name);

    return value == NULL ? otherwise : (uint64_t)json_integer_value(value);
}

static void list(const json_t *object, const char *name, struct s2i_list *out)
{
    const json_t *item;
    size_t i;

    json_array_foreach(json_object_get(object, name), i, item) {
        s2i_list_add(out, slice_of(json_string_value(item)));
    }
}

static json_t *failure(const char *reason, const struct error *err)
{
    return json_pack("{s:s,s:s,s:s,s:s}", "reason", reason, "message", err->message, "cause",
                     err->cause, "code", error_code_problem(err->code));
}

static void keep_tar(const char *path, int fd)
{
    OWNED(fd_drop) int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct stat about;

    if (to < 0 || fstat(fd, &about) < 0 || sendfile(to, fd, NULL, (size_t)about.st_size) < 0)
        perror(path);
}

static json_t *fetch(const json_t *orders, const struct source_rules *rules)
{
    struct s2i_list credentials = {0};
    struct s2i_source_facts facts = {0};
    struct error err = {0};
    const char *reason = "";
    OWNED(fd_drop) int fd = -1;

    list(orders, "credentials", &credentials);
    const struct source_wish wish = {
        .kind = BUILD_FROM_URL,
        .url = text(orders, "url"),
        .ref = text(orders, "ref"),
        .commit = text(orders, "commit"),
        .context_dir = text(orders, "context_dir"),
        .ignore_submodules = json_is_true(json_object_get(orders, "ignore_submodules")),
        .credentials = &credentials,
        .files_max = 10000,
        .bytes_max = number(orders, "bytes_max", 64 << 20),
        .blob_max = 32 << 20,
        .timeout_ms = number(orders, "timeout_ms", 30000),
        .scratch = json_string_value(json_object_get(orders, "scratch")),
        .archive = -1,
        .cancel = STDIN_FILENO,
    };
    int outcome = source_open(&wish, rules, &fd, &facts, &reason, &err);
    s2i_list_wipe(&credentials);
    if (outcome < 0)
        return failure(reason, &err);
    if (text(orders, "tar").at != NULL)
        keep_tar(text(orders, "tar").at, fd);
    json_t *answer = json_pack("{s:o}", "facts", s2i_source_facts_write(&facts));
    s2i_source_facts_drop(&facts);
    return answer;
}

static json_t *ask(const json_t *orders, const struct source_rules *rules)
{
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    const int cancel = STDIN_FILENO;
    OWNED(s2i_list_drop) struct s2i_list headers = {0};
    struct source_request request = {.url = text(orders, "url").at,
                                     .body = text(orders, "post"),
                                     .content_type = SLICE("application/json"),
                                     .headers = &headers,
                                     .size_max = number(orders, "bytes_max", 1 << 20),
                                     .timeout_ms = number(orders, "timeout_ms", 30000),
                                     .cancel = &cancel};
    struct error err = {0};
    int status = 0;

    if (request.body.size == 0)
        request.body = SLICE_NONE;
    if (text(orders, "header").at != NULL)
        s2i_list_add(&headers, text(orders, "header"));
    if (source_http(&request, rules, &body, &status, &err) < 0)
        return failure("", &err);
    return json_pack("{s:i,s:s%}", "status", status, "body", body.at == NULL ? "" : body.at,
                     body.size);
}

static int run(void)
{
    static char line[LINE_SIZE];
    struct s2i_list schemes = {0}, ports = {0}, allow = {0};
    const struct source_rules rules = {&schemes, &ports, &allow, 0};
    struct source_rules limited = rules;

    ssize_t size = read(STDIN_FILENO, line, sizeof(line));
    json_t *orders = size <= 0 ? NULL : json_loadb(line, (size_t)size, 0, NULL);
    if (orders == NULL)
        return 2;
    list(orders, "schemes", &schemes);
    list(orders, "ports", &ports);
    list(orders, "allow", &allow);
    limited.bytes_max = number(orders, "bytes_max", 64 << 20);
    json_t *answer =
        json_object_get(orders, "post") != NULL ? ask(orders, &limited) : fetch(orders, &limited);
    char *written = json_dumps(answer, 0);
    puts(written);
    free(written);
    json_decref(answer);
    json_decref(orders);
    s2i_list_drop(&schemes);
    s2i_list_drop(&ports);
    s2i_list_drop(&allow);
    return 0;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');

    if (strcmp(slash == NULL ? argv[0] : slash + 1, "askpass") == 0)
        return source_askpass(argv[1]);
    if (argc == 3 && strcmp(argv[1], "resolve") == 0)
        return source_resolve_child(argv[2]);
    return argc == 2 && strcmp(argv[1], "source") == 0 ? source_child() : run();
}
