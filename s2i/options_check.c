/* options_check.c - grammars of options' texts.
 * Touches  memory only.
 * Never    quotes a value in an error: it may be a secret in the wrong place. */
#include "s2i/options_check.h"

#include <string.h>

#include "registry/core/digest.h"
#include "registry/core/oci.h"

static bool has_control(struct slice s, const char *but)
{
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c == 0 || c == 0x7f || (c < 0x20 && strchr(but, c) == NULL))
            return true;
    }
    return false;
}

static bool is_word(struct slice s)
{
    return s.size > 0 && s.at[0] != '-' && !has_control(s, "") && memchr(s.at, ' ', s.size) == NULL;
}

int check_plain(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    return has_control(value, "") ? error_set_field(err, field, "must not hold control characters")
                                  : 0;
}

int check_lines(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    return has_control(value, "\t\r\n")
               ? error_set_field(err, field, "must not hold control characters")
               : 0;
}

int check_word(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    return is_word(value) ? 0 : error_set_field(err, field, "must be a word without blanks");
}

int check_choice(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice word, rest = slice_of(told);

    while (rest.size > 0) {
        slice_split(rest, '|', &word, &rest);
        if (slice_equal(word, value))
            return 0;
    }
    return error_set_field(err, field, "must be one of %s", told);
}

/* --- paths --- */

bool s2i_path_climbs(struct slice path)
{
    struct slice part;

    while (path.size > 0) {
        slice_split(path, '/', &part, &path);
        if (slice_equal(part, SLICE("..")))
            return true;
    }
    return false;
}

int check_inside(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    if (has_control(value, "") || slice_starts(value, "/") || s2i_path_climbs(value))
        return error_set_field(err, field, "must be a relative path without '..'");
    return 0;
}

static bool is_absolute(struct slice path)
{
    return slice_starts(path, "/") && !has_control(path, "") && !s2i_path_climbs(path);
}

int check_path(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    return is_absolute(value)
               ? 0
               : error_set_field(err, field, "must be an absolute path without '..'");
}

int check_folder(const char *field, const char *told, struct slice value, struct error *err)
{
    bool root = true;

    (void)told;
    for (size_t i = 0; i < value.size; i++)
        root = root && (value.at[i] == '/' || value.at[i] == '.');
    return is_absolute(value) && !root
               ? 0
               : error_set_field(err, field, "must be an absolute path without '..', not '/'");
}

/* --- images --- */

bool s2i_reference_parse(struct slice text, struct slice *repository, struct slice *tag,
                         struct slice *digest)
{
    struct digest parsed;
    struct slice name;

    if (slice_split(text, '@', &name, digest) &&
        digest_parse(*digest, &parsed, &(struct error){0}) < 0)
        return false;
    if (slice_split(name, ':', repository, tag) && !oci_tag_valid(*tag))
        return false;
    return oci_name_valid(*repository);
}

int check_reference(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice repository, tag, digest;

    (void)told;
    if (s2i_reference_parse(value, &repository, &tag, &digest))
        return 0;
    return error_set_field(err, field, "must be repository[:tag][@digest] of this registry");
}

int check_tag(const char *field, const char *told, struct slice value, struct error *err)
{
    (void)told;
    return oci_tag_valid(value) ? 0 : error_set_field(err, field, "must hold valid tags");
}

/* --- URLs --- */

/* Splits "scheme://user@host/path" or "user@host:path": what stands before the user, the user, what
 * stands after its '@'. user is SLICE_NONE when there is none. */
static void split_user(struct slice url, struct slice *before, struct slice *user,
                       struct slice *after)
{
    const char *scheme = url.size < 3 ? NULL : memmem(url.at, url.size, "://", 3);
    size_t start = scheme == NULL ? 0 : (size_t)(scheme - url.at) + 3, end = start;

    while (end < url.size && strchr("/?#\\", url.at[end]) == NULL)
        end++;
    const char *at = end == start ? NULL : memrchr(url.at + start, '@', end - start);
    *before = (struct slice){url.at, start};
    *user = at == NULL ? SLICE_NONE : (struct slice){url.at + start, (size_t)(at - url.at) - start};
    *after = at == NULL ? slice_from(url, start) : slice_from(url, (size_t)(at - url.at) + 1);
}

void s2i_url_clean(struct slice url, struct buffer *out)
{
    struct slice before, user, after;

    split_user(url, &before, &user, &after);
    buffer_append_slice(out, before);
    buffer_append_slice(out, after);
}

int check_url(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice before, user, after;

    (void)told;
    if (!is_word(value))
        return error_set_field(err, field, "must be an URL without blanks");
    split_user(value, &before, &user, &after);
    if (user.at == NULL)
        return 0;
    /* A name alone is needed for ssh; for http it is a token. */
    if (memchr(user.at, ':', user.size) != NULL || slice_starts(value, "http"))
        return error_set_field(err, field,
                               "must not hold credentials: give them as a secret of the "
                               "build configuration");
    return 0;
}

static bool is_http(struct slice url)
{
    return slice_starts(url, "http://") || slice_starts(url, "https://");
}

int check_http_url(const char *field, const char *told, struct slice value, struct error *err)
{
    if (!is_http(value))
        return error_set_field(err, field, "must be an URL of http or https");
    return check_url(field, told, value, err);
}

int check_scripts_url(const char *field, const char *told, struct slice value, struct error *err)
{
    if (slice_starts(value, "image://") && is_absolute(slice_from(value, 8)))
        return 0;
    if (is_http(value))
        return check_url(field, told, value, err);
    return error_set_field(err, field, "must be image:///folder, or an URL of http or https");
}

/* --- lists of ids --- */

static bool range_parse(struct slice range, uint64_t uid, bool *holds)
{
    struct slice low, high;
    uint64_t from = 0, to = UINT32_MAX;
    bool open = slice_split(range, '-', &low, &high);

    if (low.size == 0 && high.size == 0)
        return false;
    if (low.size > 0 && !slice_to_u64(low, &from))
        return false;
    if (high.size > 0 && !slice_to_u64(high, &to))
        return false;
    if (!open)
        to = from;
    *holds = *holds || (uid >= from && uid <= to);
    return from <= to;
}

bool s2i_uids_parse(struct slice list, uint64_t uid, bool *holds)
{
    struct slice range;
    bool more = true;

    *holds = false;
    while (more) {
        more = slice_split(list, ',', &range, &list);
        if (!range_parse(slice_trim(range), uid, holds)) {
            *holds = false;
            return false;
        }
    }
    return true;
}

int check_uids(const char *field, const char *told, struct slice value, struct error *err)
{
    bool holds;

    (void)told;
    return s2i_uids_parse(value, 0, &holds)
               ? 0
               : error_set_field(err, field, "must be a list of n, n-m, n-, -m");
}

/* --- pairs --- */

static int check_assignment(const char *field, struct slice value, struct slice *name,
                            struct error *err)
{
    struct slice rest;

    if (slice_split(value, '=', name, &rest) && is_word(*name))
        return 0;
    return error_set_field(err, field, "must hold NAME=VALUE");
}

int check_variable(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice name;

    (void)told;
    return check_assignment(field, value, &name, err);
}

int check_label(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice name;

    if (check_assignment(field, value, &name, err) < 0)
        return -1;
    return check_lines(field, told, value, err);
}

int check_injection(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice name, path;

    (void)told;
    if (slice_split(value, ':', &name, &path) && is_word(name) && path.size > 0 &&
        !has_control(path, "") && !s2i_path_climbs(path))
        return 0;
    return error_set_field(err, field, "must be <secret>:<path>, the path without '..'");
}

bool s2i_copy_parse(struct slice text, struct slice *image, struct slice *source,
                    struct slice *destination)
{
    struct slice paths, repository, tag, digest;

    if (!slice_split(text, '=', image, &paths))
        return false;
    slice_split(paths, ':', source, destination);
    return s2i_reference_parse(*image, &repository, &tag, &digest) && is_absolute(*source) &&
           !has_control(*destination, "") && !slice_starts(*destination, "/") &&
           !s2i_path_climbs(*destination);
}

int check_copy(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice image, source, destination;

    (void)told;
    if (s2i_copy_parse(value, &image, &source, &destination))
        return 0;
    return error_set_field(err, field,
                           "must be image=/path[:folder], the folder below the source, both "
                           "without '..'");
}

int check_slice(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice name, pattern;

    (void)told;
    if (slice_split(value, '=', &name, &pattern) && oci_tag_valid(name) && pattern.size > 0 &&
        !has_control(pattern, ""))
        return 0;
    return error_set_field(err, field, "must be name=pattern");
}

int check_detect(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice pattern, builder;

    if (!slice_split(value, '=', &pattern, &builder) || pattern.size == 0 ||
        has_control(pattern, ""))
        return error_set_field(err, field, "must be pattern=builder");
    return check_reference(field, told, builder, err);
}

int check_branch(const char *field, const char *told, struct slice value, struct error *err)
{
    struct slice pattern, tags, tag;

    (void)told;
    if (!slice_split(value, '=', &pattern, &tags) || !is_word(pattern) || tags.size == 0)
        return error_set_field(err, field, "must be pattern=tag{,tag}");
    if (slice_equal(tags, SLICE("-"))) /* not built */
        return 0;
    while (tags.size > 0) {
        slice_split(tags, ',', &tag, &tags);
        /* "*" is what the pattern's star stood for */
        for (size_t i = 0; i < tag.size; i++)
            if (tag.at[i] != '*' && !oci_tag_valid((struct slice){tag.at + i, 1}) &&
                (i == 0 || strchr(".-", tag.at[i]) == NULL))
                return error_set_field(err, field, "must name valid tags");
        if (tag.size == 0 || tag.size > OCI_TAG_MAX)
            return error_set_field(err, field, "must name valid tags");
    }
    return 0;
}

int check_host_port(const char *field, const char *told, struct slice value, struct error *err)
{
    const char *colon = value.size == 0 ? NULL : memrchr(value.at, ':', value.size);
    struct slice port =
        colon == NULL ? SLICE_NONE : slice_from(value, (size_t)(colon - value.at) + 1);
    uint64_t number;

    (void)told;
    if (is_word(value) && colon != value.at &&
        (slice_equal(port, SLICE("*")) ||
         (slice_to_u64(port, &number) && number > 0 && number < 65536)))
        return 0;
    return error_set_field(err, field, "must be host:port");
}
