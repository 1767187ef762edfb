/* remote_url.c - reads and resolves URLs with libcurl; see remote_url.h.
 * Touches  memory.
 * Never    the network. */
#include "registry/transfer/remote_url.h"

#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "registry/core/bytes.h"

static void url_drop(CURLU **url)
{
    curl_url_cleanup(*url);
}

static void text_drop(char **text)
{
    curl_free(*text);
}

/* "scheme://host:port" of a URL; NULL when it is none. */
static char *origin_of(CURLU *url)
{
    OWNED(text_drop) char *scheme = NULL;
    OWNED(text_drop) char *host = NULL;
    OWNED(text_drop) char *port = NULL;
    OWNED(buffer_drop) struct buffer origin = BUFFER_NONE;

    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
        (strcasecmp(scheme, "https") != 0 && strcasecmp(scheme, "http") != 0))
        return NULL;
    buffer_print(&origin, "%s://%s:%s", scheme, host, port);
    for (size_t i = 0; i < origin.size; i++)
        if (origin.at[i] >= 'A' && origin.at[i] <= 'Z')
            origin.at[i] = (char)(origin.at[i] - 'A' + 'a');
    return TAKE(origin.at);
}

/* By its number: what a name stands for, others decide. */
static bool is_near(const char *origin)
{
    const char *host = strstr(origin, "://") + 3;

    if (strncmp(host, "127.", 4) == 0)
        return host[strspn(host, "0123456789.")] == ':';
    return strncmp(host, "[::1]:", 6) == 0 || strncmp(host, "localhost:", 10) == 0;
}

static bool is_secure(const char *origin)
{
    return slice_starts(slice_of(origin), "https:");
}

static int invalid(struct error *err, const char *what)
{
    return error_set_field(err, "url", "%s", what);
}

int remote_url_read(const char *text, bool plain_http, char **out, struct error *err)
{
    OWNED(url_drop) CURLU *url = curl_url();
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    OWNED(text_drop) char *path = NULL;
    OWNED(text_drop) char *user = NULL;
    OWNED(memory_drop) char *origin = NULL;

    if (strstr(text, "://") == NULL)
        buffer_append_text(&whole, plain_http ? "http://" : "https://");
    buffer_print(&whole, "%s", text);
    if (url == NULL || curl_url_set(url, CURLUPART_URL, whole.at, 0) != CURLUE_OK ||
        (origin = origin_of(url)) == NULL)
        return invalid(err, "the address of the registry is no URL of https or http");
    if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
        return invalid(err, "the URL must not hold a user");
    if (curl_url_get(url, CURLUPART_PATH, &path, 0) == CURLUE_OK && strcmp(path, "/") != 0)
        return invalid(err, "the URL must end after host and port");
    if (!is_secure(origin) && !plain_http && !is_near(origin))
        return invalid(err, "http must be asked for: plain_http");
    *out = TAKE(origin);
    return 0;
}

int remote_url_resolve(const char *base, const char *target, char **out, char **origin,
                       struct error *err)
{
    OWNED(url_drop) CURLU *url = curl_url();
    OWNED(text_drop) char *text = NULL;
    OWNED(memory_drop) char *found = NULL;

    if (url == NULL || curl_url_set(url, CURLUPART_URL, base, 0) != CURLUE_OK ||
        curl_url_set(url, CURLUPART_URL, target, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_URL, &text, 0) != CURLUE_OK || (found = origin_of(url)) == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "the registry leads to what is no URL");
    if (is_secure(base) && !is_secure(found))
        return error_set(err, ERROR_UNAVAILABLE, "the registry leads from https to http");
    *out = memory_text(slice_of(text));
    *origin = TAKE(found);
    return 0;
}
