/* browser.c - what protects people who sign in with a browser: whose page sent a change, and the
 * cookie.
 * Touches  memory only.
 * Never    concerns clients that are no browsers.
 *
 * (1) With a cookie, a change counts only when the browser says that our own page sent it. (2)
 * Where nobody is asked, where anybody may sign in, and with Basic, which a browser that was asked
 * for it once adds by itself to whatever any page sends, it does not count when the browser says
 * that another page did. (3) Unless credentials came with it, it is JSON, which a foreign form
 * cannot send. */
#include "auth/auth_internal.h"

static bool origin_is_ours(const struct auth *auth, const struct auth_request *request)
{
    OWNED(buffer_drop) struct buffer own = BUFFER_NONE;
    struct auth_request as_called = *request;

    auth_origin(auth, &as_called, &own);
    if (slice_equal(request->origin, buffer_slice(&own)))
        return true;
    own.size = 0;
    if (request->host.at == NULL)
        return false;
    buffer_append_text(&own, request->tls ? "https://" : "http://");
    buffer_append_slice(&own, request->host);
    return slice_equal(request->origin, buffer_slice(&own));
}

/* No browser: both are absent. */
static bool sent_by_us(const struct auth *auth, const struct auth_request *request, bool unsaid)
{
    if (request->fetch_site.at != NULL)
        return slice_equal_text(request->fetch_site, "same-origin");
    return request->origin.at == NULL ? unsaid : origin_is_ours(auth, request);
}

static bool is_basic(const struct caller *caller)
{
    return !caller->bearer && (caller->identity.credential == CREDENTIAL_PASSWORD ||
                               caller->identity.credential == CREDENTIAL_TOKEN);
}

/* A name that somebody else may let point at us is no address of ours: a page of his would be "same
 * origin" then. Where nobody is asked that would be enough. */
static bool host_is_ours(const struct auth *auth, struct slice host)
{
    struct slice scheme, address, name, port;

    if (slice_split(slice_of(auth->public_url), '/', &scheme, &address) &&
        slice_equal(slice_from(address, 1), host))
        return true;
    if (host.at == NULL || slice_starts(host, "["))
        return host.at != NULL;
    slice_split(host, ':', &name, &port);
    if (slice_equal_ignore_case(name, "localhost"))
        return true;
    for (size_t i = 0; i < name.size; i++)
        if (name.at[i] != '.' && (name.at[i] < '0' || name.at[i] > '9'))
            return false;
    return name.size > 0;
}

static bool rebound(const struct auth *auth, const struct auth_request *request,
                    const struct caller *caller)
{
    bool browser = request->fetch_site.at != NULL || request->origin.at != NULL;

    return browser && caller->identity.kind == IDENTITY_OPEN && !host_is_ours(auth, request->host);
}

int browser_check(const struct auth *auth, const struct auth_request *request,
                  const struct caller *caller, struct error *err)
{
    bool cookie = caller->identity.credential == CREDENTIAL_COOKIE;
    bool unasked = caller->identity.credential == CREDENTIAL_NONE; /* open, or not signed in */
    bool basic = is_basic(caller);

    if (!action_is_api(request->action) || !request->changes || (!cookie && !unasked && !basic))
        return 0;
    if (!sent_by_us(auth, request, !cookie) || rebound(auth, request, caller))
        return error_set(err, ERROR_CSRF, "another page sent this");
    if (!request->json && !basic)
        return error_set(err, ERROR_CSRF, "changes are sent as application/json");
    return 0;
}

/* --- the cookie --- */

static const char COOKIE_SECURE[] = "__Host-slipway";
static const char COOKIE_PLAIN[] = "slipway";

struct slice session_cookie(const struct auth_request *request)
{
    return cookie_find(request->cookie, request->tls ? COOKIE_SECURE : COOKIE_PLAIN);
}

void session_cookie_print(bool secure, const char *value, uint64_t age_s, struct buffer *out)
{
    buffer_print(out, "%s=%s; Path=/; Max-Age=%llu; %sHttpOnly; SameSite=Strict",
                 secure ? COOKIE_SECURE : COOKIE_PLAIN, value, (unsigned long long)age_s,
                 secure ? "Secure; " : "");
}

void auth_session_cookie_clear(bool secure, struct buffer *set_cookie)
{
    session_cookie_print(secure, "", 0, set_cookie);
}
