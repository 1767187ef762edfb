/* failure.c - how a failure looks, to registry clients, at the token endpoint, in the API.
 * Touches  a reply.
 * Never    shows a cause: that is for the log. */
#include "registry/http/message.h"

const char *reply_status_text(int status)
{
    const struct {
        int status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {507, "Insufficient Storage"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Other";
}

static void head(struct reply *reply, const struct error *err, const char *type)
{
    reply->status = err->status;
    reply_header(reply, "Content-Type", "%s", type);
    if ((err->status == 503 || err->status == 429) && !reply_has_header(reply, "Retry-After"))
        reply_header(reply, "Retry-After", "%u", err->retry_after_s == 0 ? 1 : err->retry_after_s);
}

/* "errors":[...], without braces. */
static void errors_append(struct buffer *text, const struct error *err, struct slice detail)
{
    buffer_append_text(text, "\"errors\":[{\"code\":");
    buffer_append_json(text, slice_of(error_code_name(err->code)));
    buffer_append_text(text, ",\"message\":");
    buffer_append_json(text, slice_of(err->message));
    if (detail.size > 0) {
        buffer_append_text(text, ",\"detail\":");
        buffer_append_slice(text, detail);
    }
    buffer_append_text(text, "}]");
}

void reply_error(struct reply *reply, const struct error *err, struct slice detail)
{
    struct buffer text = BUFFER_NONE;

    head(reply, err, "application/json");
    buffer_append_text(&text, "{");
    errors_append(&text, err, detail);
    buffer_append_text(&text, "}\n");
    reply_text(reply, &text);
}

void reply_error_text(struct reply *reply, const struct error *err)
{
    struct buffer text = BUFFER_NONE;

    head(reply, err, "text/plain; charset=utf-8");
    buffer_print(&text, "%s\n", err->message);
    reply_text(reply, &text);
}

/* The words of RFC 6749, and one more for what is our fault. */
static const char *oauth_word(const struct error *err)
{
    if (err->status == 401)
        return "invalid_grant";
    if (err->status == 429 || err->status == 503)
        return "temporarily_unavailable";
    if (err->status >= 500)
        return "server_error";
    return err->code == ERROR_UNSUPPORTED && err->status == 400 ? "unsupported_grant_type"
                                                                : "invalid_request";
}

void reply_error_oauth(struct reply *reply, const struct error *err)
{
    struct buffer text = BUFFER_NONE;

    head(reply, err, "application/json");
    buffer_append_text(&text, "{\"error\":");
    buffer_append_json(&text, slice_of(oauth_word(err)));
    buffer_append_text(&text, ",\"error_description\":");
    buffer_append_json(&text, slice_of(err->message));
    buffer_append_text(&text, ",");
    errors_append(&text, err, SLICE_NONE);
    buffer_append_text(&text, "}\n");
    reply_text(reply, &text);
}

void reply_problem(struct reply *reply, const struct error *err, const char *request_id)
{
    struct buffer text = BUFFER_NONE;

    head(reply, err, "application/problem+json");
    buffer_append_text(&text, "{\"type\":\"about:blank\",\"title\":");
    buffer_append_json(&text, slice_of(reply_status_text(err->status)));
    buffer_print(&text, ",\"status\":%d,\"code\":", err->status);
    buffer_append_json(&text, slice_of(error_code_problem(err->code)));
    buffer_append_text(&text, ",\"detail\":");
    buffer_append_json(&text, slice_of(err->message));
    if (err->field != NULL) {
        buffer_append_text(&text, ",\"fields\":{");
        buffer_append_json(&text, slice_of(err->field));
        buffer_append_text(&text, ":");
        buffer_append_json(&text, slice_of(err->message));
        buffer_append_text(&text, "}");
    }
    buffer_append_text(&text, ",\"request_id\":");
    buffer_append_json(&text, slice_of(request_id));
    buffer_append_text(&text, "}\n");
    reply_text(reply, &text);
}
