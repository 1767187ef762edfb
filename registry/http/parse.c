/* parse.c - the strict head of a request, its query, and the chunk decoder.
 * Touches  the bytes it is given.
 * Never    allocates, reads, waits (pure).
 *
 * libh2o's parser splits the head into lines; it is lenient about line ends, folding and blanks,
 * so everything it accepts is judged again here. */
#include "registry/http/parse.h"

#include <string.h>

/* Exported by libh2o, declared in no installed header. Its header struct is two pointer-and-size
 * pairs, as ours is. */
extern int phr_parse_request(const char *bytes, size_t size, const char **method,
                             size_t *method_size, const char **target, size_t *target_size,
                             int *minor_version, struct header *headers, size_t *header_count,
                             size_t previous);
_Static_assert(sizeof(struct header) == 4 * sizeof(void *) &&
                   offsetof(struct header, value) == 2 * sizeof(void *) &&
                   offsetof(struct slice, size) == sizeof(void *),
               "struct header must look like the parser's");

enum { METHOD_SIZE_MAX = 32, LENGTH_DIGITS_MAX = 18 };

/* Token characters: what they are in lower case; 0 for the others. RFC 9110 section 5.6.2. */
static const char token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*',
    ['+'] = '+', ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`',   ['|'] = '|',
    ['~'] = '~', ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4',   ['5'] = '5',
    ['6'] = '6', ['7'] = '7', ['8'] = '8', ['9'] = '9', ['a'] = 'a', ['b'] = 'b',   ['c'] = 'c',
    ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',   ['j'] = 'j',
    ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p',   ['q'] = 'q',
    ['r'] = 'r', ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w',   ['x'] = 'x',
    ['y'] = 'y', ['z'] = 'z', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd',   ['E'] = 'e',
    ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k',   ['L'] = 'l',
    ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',   ['S'] = 's',
    ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y',   ['Z'] = 'z',
};

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        if (token_lower[(unsigned char)s.at[i]] == 0)
            return false;
    }
    return s.size > 0;
}

static enum head_outcome malformed(struct head *head, const char *complaint)
{
    head->complaint = complaint;
    return HEAD_MALFORMED;
}

/* --- the request line --- */

enum method method_parse(struct slice text)
{
    static const struct {
        struct slice text;
        enum method method;
    } methods[] = {
        {SLICE("GET"), METHOD_GET},     {SLICE("HEAD"), METHOD_HEAD},
        {SLICE("POST"), METHOD_POST},   {SLICE("PUT"), METHOD_PUT},
        {SLICE("PATCH"), METHOD_PATCH}, {SLICE("DELETE"), METHOD_DELETE},
    };

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (slice_equal(text, methods[i].text))
            return methods[i].method;
    }
    return METHOD_OTHER;
}

static bool authority_valid(struct slice authority)
{
    for (size_t i = 0; i < authority.size; i++) {
        unsigned char c = (unsigned char)authority.at[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == 0 || strchr("-._~%!$&'()*+,;=:[]", c) == NULL))
            return false;
    }
    return true;
}

static bool starts_ignore_case(struct slice s, const char *prefix)
{
    size_t size = strlen(prefix);

    return s.size >= size && slice_equal_ignore_case((struct slice){s.at, size}, prefix);
}

/* Path and query of the target; an absolute one brings its authority. */
static bool target_split(struct head *head)
{
    struct slice rest = head->target;

    for (size_t i = 0; i < rest.size; i++) {
        unsigned char c = (unsigned char)rest.at[i];
        if (c < 0x21 || c > 0x7e || c == '#')
            return false;
    }
    if (rest.size > 0 && rest.at[0] != '/') {
        size_t scheme = starts_ignore_case(rest, "http://")    ? strlen("http://")
                        : starts_ignore_case(rest, "https://") ? strlen("https://")
                                                               : 0;
        if (scheme == 0)
            return false;
        rest = slice_from(rest, scheme);
        size_t end = 0;
        while (end < rest.size && rest.at[end] != '/' && rest.at[end] != '?')
            end++;
        head->authority = (struct slice){rest.at, end};
        if (end == 0 || !authority_valid(head->authority))
            return false;
        rest = slice_from(rest, end);
        if (rest.size == 0) {
            head->path = SLICE("/");
            return true;
        }
        if (rest.at[0] == '?') {
            head->path = SLICE("/");
            head->query = slice_from(rest, 1);
            return true;
        }
    }
    slice_split(rest, '?', &head->path, &head->query);
    return rest.size > 0;
}

/* --- header lines --- */

struct seen { /* fields that decide the framing, and how often they stood there */
    int host, length, coding;
    bool close, keep_alive, expects_continue;
};

static void connection_options(struct slice value, struct seen *seen)
{
    struct slice option;

    for (bool more = true; more;) {
        more = slice_split(value, ',', &option, &value);
        option = slice_trim(option);
        seen->close |= slice_equal_ignore_case(option, "close");
        seen->keep_alive |= slice_equal_ignore_case(option, "keep-alive");
    }
}

static const char *field_judge(const struct header *header, struct head *head, struct seen *seen)
{
    struct slice name = header->name, value = header->value;

    if (slice_equal(name, SLICE("host"))) {
        if (seen->host++ > 0 || !authority_valid(value))
            return "Host is given twice or is malformed";
        if (head->authority.at == NULL)
            head->authority = value;
    } else if (slice_equal(name, SLICE("content-length"))) {
        if (seen->length++ > 0 || value.size > LENGTH_DIGITS_MAX ||
            !slice_to_u64(value, &head->content_length))
            return "Content-Length is given twice or is not a number";
    } else if (slice_equal(name, SLICE("transfer-encoding"))) {
        if (seen->coding++ > 0 || head->old || !slice_equal_ignore_case(value, "chunked"))
            return "Transfer-Encoding is not exactly chunked";
        head->chunked = true;
    } else if (slice_equal(name, SLICE("connection"))) {
        connection_options(value, seen);
    } else if (slice_equal(name, SLICE("authorization"))) {
        if (head->authorization.at != NULL)
            return "Authorization is given twice"; /* TOK-71 */
        head->authorization = value;
    } else if (slice_equal(name, SLICE("expect"))) {
        seen->expects_continue |= slice_equal_ignore_case(value, "100-continue");
    }
    return NULL;
}

/* Lower-cases the name where it stands (the caller's bytes, which we may change). */
static bool name_lower(char *bytes, const struct header *header)
{
    if (header->name.at == NULL || header->name.size == 0) /* a folded line */
        return false;
    char *at = bytes + (header->name.at - bytes);
    for (size_t i = 0; i < header->name.size; i++) {
        char lower = token_lower[(unsigned char)at[i]];
        if (lower == 0)
            return false;
        at[i] = lower;
    }
    return true;
}

static bool lines_end_in_crlf(const char *bytes, size_t size)
{
    const char *end = bytes + size, *at = bytes;

    while ((at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        if (at == bytes || at[-1] != '\r')
            return false;
        at++;
    }
    return true;
}

/* "METHOD target HTTP/1.x": one blank each; nothing before but at most one empty line. */
static bool request_line_strict(const char *bytes, const struct head *head)
{
    const char *method = head->method.at, *target = head->target.at;

    if (method != bytes && (method != bytes + 2 || memcmp(bytes, "\r\n", 2) != 0))
        return false;
    return head->method.size <= METHOD_SIZE_MAX && is_token(head->method) &&
           target == method + head->method.size + 1 &&
           memcmp(target + head->target.size, " HTTP/1.", 8) == 0;
}

static enum head_outcome head_judge(char *bytes, struct head *head, struct header *headers)
{
    struct seen seen = {0};

    if (!lines_end_in_crlf(bytes, head->size))
        return malformed(head, "a line does not end in CR LF");
    if (!request_line_strict(bytes, head))
        return malformed(head, "the request line is malformed");
    if (!target_split(head))
        return malformed(head, "the request target is malformed");
    for (size_t i = 0; i < head->header_count; i++) {
        if (!name_lower(bytes, &headers[i]))
            return malformed(head, "a header line is folded or its name is malformed");
        headers[i].value = slice_trim(headers[i].value);
        const char *complaint = field_judge(&headers[i], head, &seen);
        if (complaint != NULL)
            return malformed(head, complaint);
    }
    if (seen.host == 0 && !head->old)
        return malformed(head, "Host is missing");
    if (seen.length > 0 && seen.coding > 0)
        return malformed(head, "Content-Length and Transfer-Encoding exclude each other");
    head->persistent = head->old ? seen.keep_alive && !seen.close : !seen.close;
    head->expects_continue =
        seen.expects_continue && !head->old && (head->chunked || head->content_length > 0);
    return HEAD_COMPLETE;
}

enum head_outcome head_parse(char *bytes, size_t size, size_t previous, struct head *out,
                             struct header *headers)
{
    int minor = 0;

    *out = (struct head){.header_count = HEAD_HEADERS_MAX};
    int used = phr_parse_request(bytes, size, &out->method.at, &out->method.size, &out->target.at,
                                 &out->target.size, &minor, headers, &out->header_count, previous);
    if (used == -2)
        return HEAD_PARTIAL;
    if (used < 0 && out->header_count == HEAD_HEADERS_MAX)
        return HEAD_TOO_MANY;
    if (used < 0 || minor < 0 || minor > 1)
        return malformed(out, "the request head is malformed");
    out->size = (size_t)used;
    out->old = minor == 0;
    return head_judge(bytes, out, headers);
}

/* --- the query --- */

bool query_parse(struct slice query, char *storage, struct parameter *out, size_t *count)
{
    struct slice pair, name, value;
    size_t size;

    *count = 0;
    for (bool more = query.size > 0; more;) {
        more = slice_split(query, '&', &pair, &query);
        if (pair.size == 0)
            continue;
        if (*count == HEAD_PARAMETERS_MAX)
            return false;
        slice_split(pair, '=', &name, &value);
        if (!percent_decode(name, storage, &size, true, false))
            return false;
        out[*count].name = (struct slice){storage, size};
        storage += size;
        if (!percent_decode(value, storage, &size, true, false))
            return false;
        out[(*count)++].value = (struct slice){storage, size};
        storage += size;
    }
    return true;
}

/* --- chunks --- */

enum chunk_state {
    AT_SIZE,      /* hex digits */
    AT_EXTENSION, /* after ';' */
    AT_SIZE_LF,   /* the line feed of the size line */
    AT_DATA,      /* left bytes */
    AT_DATA_CR,   /* after the data */
    AT_DATA_LF,   /**/
    AT_TRAILER,   /* first byte of a line after the last chunk */
    AT_FIELD,     /* inside a trailer line */
    AT_FIELD_LF,  /**/
    AT_END_LF,    /* the very last byte */
    AT_END,
    AT_MALFORMED,
};

enum {
    CHUNK_DIGITS_MAX = 15,      /* hex digits of a size: below 2^60 */
    CHUNK_OVERHEAD_MAX = 16384, /* bytes of extensions and trailers */
};

static bool is_text(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

static enum chunk_state size_next(struct chunk_decoder *decoder, char c)
{
    int value = hex_value(c);

    if (value >= 0) {
        if (decoder->digits == CHUNK_DIGITS_MAX)
            return AT_MALFORMED;
        decoder->digits++;
        decoder->left = decoder->left << 4 | (uint64_t)value;
        return AT_SIZE;
    }
    if (decoder->digits == 0)
        return AT_MALFORMED;
    return c == ';' ? AT_EXTENSION : c == '\r' ? AT_SIZE_LF : AT_MALFORMED;
}

/* A byte of free text: an extension or a trailer line. */
static enum chunk_state text_next(struct chunk_decoder *decoder, char c, enum chunk_state same,
                                  enum chunk_state at_end)
{
    if (c == '\r')
        return at_end;
    return is_text(c) && ++decoder->overhead <= CHUNK_OVERHEAD_MAX ? same : AT_MALFORMED;
}

/* One byte that is not data. */
static enum chunk_state chunk_next(struct chunk_decoder *decoder, char c)
{
    switch ((enum chunk_state)decoder->state) {
    case AT_SIZE:
        return size_next(decoder, c);
    case AT_EXTENSION:
        return text_next(decoder, c, AT_EXTENSION, AT_SIZE_LF);
    case AT_SIZE_LF:
        return c != '\n' ? AT_MALFORMED : decoder->left > 0 ? AT_DATA : AT_TRAILER;
    case AT_DATA_CR:
        return c == '\r' ? AT_DATA_LF : AT_MALFORMED;
    case AT_DATA_LF:
        decoder->digits = 0;
        return c == '\n' ? AT_SIZE : AT_MALFORMED;
    case AT_TRAILER:
        if (c == '\r')
            return AT_END_LF;
        return token_lower[(unsigned char)c] == 0 ? AT_MALFORMED
                                                  : text_next(decoder, c, AT_FIELD, AT_FIELD_LF);
    case AT_FIELD:
        return text_next(decoder, c, AT_FIELD, AT_FIELD_LF);
    case AT_FIELD_LF:
        return c == '\n' ? AT_TRAILER : AT_MALFORMED;
    case AT_END_LF:
        return c == '\n' ? AT_END : AT_MALFORMED;
    case AT_DATA:
    case AT_END:
    case AT_MALFORMED:
        break;
    }
    return AT_MALFORMED;
}

enum chunk_outcome chunk_decode(struct chunk_decoder *decoder, struct slice in, size_t *consumed,
                                char *out, size_t room, size_t *produced)
{
    size_t used = 0, made = 0;

    while (used < in.size && decoder->state < AT_END) {
        if (decoder->state != AT_DATA) {
            decoder->state = (uint8_t)chunk_next(decoder, in.at[used++]);
            continue;
        }
        size_t piece = in.size - used < room - made ? in.size - used : room - made;
        if (piece > decoder->left)
            piece = (size_t)decoder->left;
        if (piece == 0)
            break; /* no room */
        memmove(out + made, in.at + used, piece);
        used += piece;
        made += piece;
        decoder->left -= piece;
        if (decoder->left == 0)
            decoder->state = AT_DATA_CR;
    }
    *consumed = used;
    *produced = made;
    if (decoder->state == AT_MALFORMED)
        return CHUNK_MALFORMED;
    return decoder->state == AT_END ? CHUNK_END : CHUNK_MORE;
}
