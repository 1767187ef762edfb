/* url.c - the grammar of sources' URLs; see url.h.
 * Touches  memory.
 * Never    guesses: what is not understood is refused. */
#include "s2i/source/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/source/address.h"

enum { URL_MAX = 2048, HOST_MAX = 253, REF_MAX = 255, COMMIT_DIGITS = 40 };

static const struct {
    const char *name;
    uint16_t port;
} schemes[] = {{"https", 443}, {"http", 80}, {"ssh", 22}, {"git", 9418}};

enum { SCHEMES = sizeof(schemes) / sizeof(schemes[0]) };

static int invalid(struct error *err, const char *what)
{
    return error_set_field(err, "url", "%s", what);
}

void source_url_drop(struct source_url *url)
{
    free(url->scheme);
    free(url->user);
    free(url->host);
    free(url->path);
    free(url->ref);
    *url = (struct source_url){.scheme = NULL};
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool all_in(struct slice text, const char *more)
{
    for (size_t i = 0; i < text.size; i++)
        if (!is_alnum(text.at[i]) && (text.at[i] == '\0' || strchr(more, text.at[i]) == NULL))
            return false;
    return true;
}

static char *lower_text(struct slice text)
{
    char *copy = memory_text(text);

    for (char *at = copy; *at != '\0'; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at - 'A' + 'a');
    return copy;
}

/* "2130706433", "0x7f.1" and "127.1" are addresses to some resolvers: the last label tells. */
static bool ends_in_a_number(struct slice host)
{
    const char *dot = memrchr(host.at, '.', host.size);
    struct slice last = dot == NULL ? host : slice_from(host, (size_t)(dot + 1 - host.at));
    size_t digits = 0;

    while (digits < last.size && last.at[digits] >= '0' && last.at[digits] <= '9')
        digits++;
    return digits == last.size || (digits == 1 && last.at[0] == '0' && (last.at[1] | 0x20) == 'x');
}

static bool is_name(struct slice host)
{
    if (host.size == 0 || host.size > HOST_MAX || !all_in(host, "-._") || host.at[0] == '-' ||
        host.at[0] == '.' || host.at[host.size - 1] == '.' ||
        memmem(host.at, host.size, "..", 2) != NULL)
        return false;
    return !ends_in_a_number(host);
}

static int read_host(struct slice text, struct source_url *out, struct error *err)
{
    struct sockaddr_storage number;
    struct slice host = text;

    if (text.size > 2 && text.at[0] == '[' && text.at[text.size - 1] == ']')
        host = (struct slice){text.at + 1, text.size - 2};
    out->is_number = source_address_parse(host, &number);
    if (out->is_number ? (number.ss_family == AF_INET6) != (host.at != text.at) : !is_name(text))
        return invalid(err, "the URL has no valid host name or address");
    out->host = lower_text(host);
    return 0;
}

static int read_port(struct slice text, struct source_url *out, struct error *err)
{
    uint64_t port;

    if (!slice_to_u64(text, &port) || port == 0 || port > UINT16_MAX)
        return invalid(err, "the URL has no valid port");
    out->port = (uint16_t)port;
    return 0;
}

/* "[user@]host[:port]" */
static int read_authority(struct slice text, struct source_url *out, struct error *err)
{
    struct slice user = SLICE(""), host = text, tail;
    size_t end;

    if (slice_split(text, '@', &user, &tail))
        host = tail;
    else
        user = SLICE("");
    if (memchr(user.at, ':', user.size) != NULL)
        return invalid(err, "the URL must not hold a password: give it as a secret");
    if (!all_in(user, "-._+~") || (user.size > 0 && user.at[0] == '-'))
        return invalid(err, "the URL has no valid user name");
    out->user = memory_text(user);
    for (end = host.size; end > 0 && host.at[end - 1] != ':' && host.at[end - 1] != ']'; end--)
        ;
    if (end > 0 && host.at[end - 1] == ':') {
        if (read_port(slice_from(host, end), out, err) < 0)
            return -1;
        host.size = end - 1;
    }
    return read_host(host, out, err);
}

/* least: a path of "https://host/" is none. */
static int read_path(struct slice path, size_t least, struct source_url *out, struct error *err)
{
    if (path.size < least || !all_in(path, "/-._~+%@:,=!$&'()*;") || path.at[0] == '-')
        return invalid(err, "the URL has no valid path");
    out->path = memory_text(path);
    return 0;
}

static int read_scheme(struct slice text, struct source_url *out, struct error *err)
{
    OWNED(memory_drop) char *name = lower_text(text);

    for (size_t i = 0; i < SCHEMES; i++)
        if (strcmp(name, schemes[i].name) == 0) {
            out->scheme = TAKE(name);
            out->port = schemes[i].port;
            return 0;
        }
    return invalid(err, "a source is fetched by https, http, ssh or git");
}

static int read_standard(struct slice scheme, struct slice rest, struct source_url *out,
                         struct error *err)
{
    const char *slash = memchr(rest.at, '/', rest.size);
    struct slice path = slash == NULL ? SLICE("") : slice_from(rest, (size_t)(slash - rest.at));

    rest.size -= path.size;
    if (read_scheme(scheme, out, err) < 0 || read_authority(rest, out, err) < 0)
        return -1;
    return read_path(path, 2, out, err);
}

/* "user@host:path" */
static int read_by_colon(struct slice text, struct source_url *out, struct error *err)
{
    struct slice place, path, user, host;

    if (!slice_split(text, ':', &place, &path) || memchr(place.at, '/', place.size) != NULL ||
        !slice_split(place, '@', &user, &host))
        return invalid(err, "the source must be an URL, or user@host:path");
    out->by_colon = true;
    out->scheme = memory_text(SLICE("ssh"));
    out->port = 22;
    if (read_authority(place, out, err) < 0)
        return -1;
    return read_path(path, 1, out, err);
}

/* "helper::address" would start a program of that name. */
static bool names_helper(struct slice text)
{
    const char *colons = memmem(text.at, text.size, "::", 2);
    struct slice before = {text.at, colons == NULL ? 0 : (size_t)(colons - text.at)};

    return before.size > 0 && all_in(before, "+.-_");
}

static int read_all(struct slice text, struct source_url *out, struct error *err)
{
    const char *mark = memmem(text.at, text.size, "://", 3);

    if (names_helper(text))
        return invalid(err, "remote helpers are not allowed");
    if (mark == NULL)
        return read_by_colon(text, out, err);
    return read_standard((struct slice){text.at, (size_t)(mark - text.at)},
                         slice_from(text, (size_t)(mark + 3 - text.at)), out, err);
}

int source_url_read(struct slice text, struct source_url *out, struct error *err)
{
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
    struct slice place, ref;

    if (text.size == 0 || text.size > URL_MAX)
        return invalid(err, "the URL is empty or too long");
    if (!slice_split(text, '#', &place, &ref))
        ref = SLICE("");
    if (ref.size > 0 && !source_ref_valid(ref))
        return invalid(err, "what follows # is no name of a branch, tag or commit");
    url.ref = memory_text(ref);
    if (read_all(place, &url, err) < 0)
        return -1;
    *out = url;
    url = (struct source_url){.scheme = NULL};
    return 0;
}

static bool has_text(const struct s2i_list *list, const char *text)
{
    for (size_t i = 0; list != NULL && i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

int source_url_permitted(const struct source_url *url, const struct source_rules *rules,
                         struct error *err)
{
    char port[8];

    snprintf(port, sizeof(port), "%u", url->port);
    if (!has_text(rules->schemes, url->scheme))
        return error_set_field(
            err, "url", "sources are not fetched by %s here (builds.sources.schemes)", url->scheme);
    if (!has_text(rules->ports, port))
        return error_set_field(
            err, "url", "sources are not fetched from port %s here (builds.sources.ports)", port);
    return 0;
}

int source_url_check(struct slice text, const struct source_rules *rules, struct error *err)
{
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};

    if (source_url_read(text, &url, err) < 0)
        return -1;
    return source_url_permitted(&url, rules, err);
}

static void print_host(const struct source_url *url, struct buffer *out)
{
    bool brackets = strchr(url->host, ':') != NULL;

    buffer_print(out, "%s%s%s", brackets ? "[" : "", url->host, brackets ? "]" : "");
}

static bool is_own_port(const struct source_url *url)
{
    for (size_t i = 0; i < SCHEMES; i++)
        if (strcmp(url->scheme, schemes[i].name) == 0)
            return url->port == schemes[i].port;
    return false;
}

void source_url_print(const struct source_url *url, struct buffer *out)
{
    bool named = url->user[0] != '\0' && strcmp(url->scheme, "ssh") == 0;

    if (!url->by_colon)
        buffer_print(out, "%s://", url->scheme);
    buffer_print(out, "%s%s", named ? url->user : "", named ? "@" : "");
    print_host(url, out);
    if (!is_own_port(url))
        buffer_print(out, ":%u", url->port);
    buffer_print(out, "%s%s", url->by_colon ? ":" : "", url->path);
}

/* The prefix as an URL, with a path of its own so that it is one; *path: the one it was given. */
static bool read_prefix(struct slice prefix, struct source_url *out, struct slice *path)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const char *mark = memmem(prefix.at, prefix.size, "://", 3), *slash = NULL;
    struct error ignored = {0};

    if (mark != NULL) {
        struct slice rest = slice_from(prefix, (size_t)(mark + 3 - prefix.at));
        slash = memchr(rest.at, '/', rest.size);
    }
    *path = slash == NULL ? SLICE("") : slice_from(prefix, (size_t)(slash - prefix.at));
    buffer_append(&text, prefix.at, prefix.size - path->size);
    buffer_append_text(&text, "/any");
    return mark != NULL && source_url_read(buffer_slice(&text), out, &ignored) == 0;
}

bool source_url_begins(const struct source_url *url, struct slice prefix)
{
    OWNED(source_url_drop) struct source_url wanted = {.scheme = NULL};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice start, path;

    if (!read_prefix(prefix, &wanted, &start) || strcmp(wanted.scheme, url->scheme) != 0 ||
        strcmp(wanted.host, url->host) != 0 || wanted.port != url->port)
        return false;
    buffer_print(&text, "%s%s", url->by_colon ? "/" : "", url->path);
    path = buffer_slice(&text);
    if (start.size == 0)
        return true;
    if (path.size < start.size || memcmp(path.at, start.at, start.size) != 0)
        return false;
    return path.size == start.size || start.at[start.size - 1] == '/' ||
           path.at[start.size] == '/' || slice_equal(slice_from(path, start.size), SLICE(".git"));
}

/* One component less; false when there is none. */
static bool go_up(struct slice *path)
{
    while (path->size > 0 && path->at[path->size - 1] == '/')
        path->size--;
    if (path->size == 0)
        return false;
    while (path->size > 0 && path->at[path->size - 1] != '/')
        path->size--;
    return true;
}

int source_url_join(const struct source_url *parent, struct slice relative, struct buffer *out,
                    struct error *err)
{
    struct slice path = slice_of(parent->path);
    struct source_url joined = *parent;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (!slice_starts(relative, "./") && !slice_starts(relative, "../")) {
        buffer_append_slice(out, relative);
        return 0;
    }
    while (path.size > 0 && path.at[path.size - 1] == '/')
        path.size--;
    for (;;) {
        if (slice_starts(relative, "./"))
            relative = slice_from(relative, 2);
        else if (!slice_starts(relative, "../"))
            break;
        else if (!go_up(&path))
            return invalid(err, "a submodule's URL leads above its server");
        else
            relative = slice_from(relative, 3);
    }
    buffer_append_slice(&text, path);
    if (text.size > 0 && text.at[text.size - 1] != '/')
        buffer_append_text(&text, "/");
    buffer_append_slice(&text, relative);
    buffer_append(&text, "", 1);
    joined.path = text.at;
    source_url_print(&joined, out);
    return 0;
}

/* Each component, and the whole, as git check-ref-format has it. */
static bool is_ref_part(struct slice part)
{
    return part.size > 0 && part.at[0] != '.' && !slice_ends(part, ".lock") &&
           part.at[part.size - 1] != '.';
}

bool source_ref_valid(struct slice ref)
{
    struct slice rest = ref, part;

    if (ref.size == 0 || ref.size > REF_MAX || ref.at[0] == '-' || ref.at[0] == '+' ||
        memmem(ref.at, ref.size, "..", 2) != NULL || memmem(ref.at, ref.size, "@{", 2) != NULL ||
        slice_equal(ref, SLICE("@")))
        return false;
    for (size_t i = 0; i < ref.size; i++)
        if ((unsigned char)ref.at[i] <= ' ' || ref.at[i] == 0x7f ||
            strchr("~^:?*[\\", ref.at[i]) != NULL)
            return false;
    while (rest.at != NULL) {
        slice_split(rest, '/', &part, &rest);
        if (!is_ref_part(part))
            return false;
    }
    return true;
}

bool source_is_commit(struct slice text)
{
    if (text.size != COMMIT_DIGITS)
        return false;
    for (size_t i = 0; i < text.size; i++)
        if (hex_value(text.at[i]) < 0)
            return false;
    return true;
}
