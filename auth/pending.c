/* pending.c - what the open mode answers where tokens and accounts will. */
#include <string.h>

#include "auth/auth.h"

static int absent(struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "auth.mode is none");
}
int auth_reload(struct auth *auth, bool force, struct error *err)
{
    (void)auth, (void)force, (void)err;
    return 0;
}
void auth_challenge(const struct auth *auth, const struct auth_request *request,
                    const struct auth_answer *answer, struct buffer *header, struct buffer *detail)
{
    (void)auth, (void)request, (void)answer, (void)header, (void)detail;
}
bool auth_may_pattern(struct auth *auth, const struct identity *identity, struct slice pattern,
                      unsigned rights)
{
    (void)auth, (void)identity, (void)pattern, (void)rights;
    return true;
}
unsigned auth_rights(struct auth *auth, const struct identity *identity, struct slice repository)
{
    (void)auth, (void)identity, (void)repository;
    return LEVEL_ADMIN;
}
bool auth_mentions(const struct identity *identity, struct slice repository)
{
    (void)identity, (void)repository;
    return true;
}
void auth_list_filter(struct auth *auth, const struct identity *identity,
                      struct repository_filter *out)
{
    (void)auth, (void)identity;
    *out = (struct repository_filter){.all = true};
}
void auth_upload_owner(const struct identity *identity, char out[UPLOAD_OWNER_MAX + 1])
{
    (void)identity;
    out[0] = 0;
}
int auth_require_fresh(const struct auth *auth, const struct identity *identity, struct error *err)
{
    (void)auth, (void)identity, (void)err;
    return 0;
}
int auth_login(struct auth *auth, const struct auth_login *login, const struct identity **out,
               struct error *err)
{
    (void)auth, (void)login, (void)out;
    return absent(err);
}
void token_given_drop(struct token_given *given)
{
    buffer_drop(&given->token);
    buffer_drop(&given->scope);
    buffer_drop(&given->refresh);
}
int auth_token_issue(struct auth *auth, const struct identity *identity,
                     const struct token_wish *wish, struct token_given *out, struct error *err)
{
    (void)auth, (void)identity, (void)wish, (void)out;
    return absent(err);
}
int auth_token_refresh(struct auth *auth, const struct auth_login *login,
                       const struct token_wish *wish, struct token_given *out, struct error *err)
{
    (void)auth, (void)login, (void)wish, (void)out;
    return absent(err);
}
void auth_key_set(const struct auth *auth, struct buffer *out, char etag[17])
{
    (void)auth;
    buffer_append_text(out, "{\"keys\":[]}");
    memcpy(etag, "0000000000000000", 17);
}
int auth_key_rotate(struct auth *auth, struct error *err)
{
    (void)auth;
    return absent(err);
}
int auth_session_open(struct auth *auth, const struct identity *identity, struct slice remote,
                      struct slice agent, struct slice request_id, bool secure,
                      struct buffer *set_cookie, struct error *err)
{
    (void)auth, (void)identity, (void)remote, (void)agent, (void)request_id, (void)secure;
    (void)set_cookie;
    return absent(err);
}
void auth_session_cookie_clear(bool secure, struct buffer *set_cookie)
{
    (void)secure, (void)set_cookie;
}
void auth_secret_new(struct auth_secret *out)
{
    memset(out, 0, sizeof(*out));
}
int auth_password_hash(struct auth *auth, struct slice name, struct slice password,
                       char out[AUTH_PASSWORD_HASH_MAX], struct error *err)
{
    (void)auth, (void)name, (void)password, (void)out;
    return absent(err);
}
bool auth_account_name_valid(struct slice name)
{
    (void)name;
    return false;
}
int auth_token_scopes_check(struct slice scopes, struct buffer *out, struct error *err)
{
    (void)scopes, (void)out;
    return absent(err);
}
bool auth_token_scopes_within(const struct identity *identity, struct slice scopes)
{
    (void)identity, (void)scopes;
    return false;
}
void auth_setup_token(const struct auth *auth, char *out)
{
    (void)auth;
    out[0] = 0;
}
int auth_setup(struct auth *auth, struct slice setup_token, struct slice name,
               struct slice password, const struct auth_login *from, struct error *err)
{
    (void)auth, (void)setup_token, (void)name, (void)password, (void)from;
    return absent(err);
}
bool auth_pull_admit(struct auth *auth, const struct identity *identity, struct slice remote,
                     const uint8_t *network, bool count, struct pull_quota *out)
{
    (void)auth, (void)identity, (void)remote, (void)network, (void)count;
    *out = (struct pull_quota){0};
    return true;
}
