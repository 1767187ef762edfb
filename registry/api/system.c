/* system.c - what concerns the server itself: signing keys, the description of this API.
 * Touches  auth: a fresh signing key.
 * Never    shows a key. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/core/digest.h"

/* The description is part of the program: the file as it stands, and a zero byte. */
extern const char api_description[];
__asm__(".section .rodata\n"
        ".global api_description\n"
        "api_description:\n"
        ".incbin \"registry/api/openapi.json\"\n"
        ".byte 0\n"
        ".previous\n");

int api_description_get(struct request *request, struct reply *reply, struct error *err)
{
    struct slice text = slice_of(api_description);
    struct digest digest;
    char etag[DIGEST_TEXT_MAX];

    (void)err;
    assert_worker_thread();
    digest_of(DIGEST_SHA256, text, &digest);
    digest_text(&digest, etag);
    reply_header(reply, "ETag", "\"%s\"", etag);
    if (answer_not_modified(request, slice_of(etag))) {
        reply->status = 304;
        return 0;
    }
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("application/json"));
    reply_bytes(reply, text, NULL, NULL);
    return 0;
}

int api_keys_rotate(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};
    struct slice of = request_parameter(request, "of");
    bool provenance = slice_equal_text(of, "provenance");

    assert_worker_thread();
    if (of.at != NULL && !provenance && !slice_equal_text(of, "tokens"))
        return error_set_field(err, "of", "of must be tokens or provenance");
    if (auth_key_rotate(request->services->auth,
                        provenance ? AUTH_KEYS_PROVENANCE : AUTH_KEYS_TOKENS, err) < 0)
        return -1;
    event_new(&event, request, "keys.rotate", "system",
              provenance ? SLICE("provenance keys") : SLICE("keys"));
    audit_note(request->services->storage, event_done(&event));
    answer_done(reply);
    return 0;
}
