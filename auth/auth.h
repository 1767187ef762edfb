/* auth.h - who may do what: what a request presents and what it wants become an identity that may,
 * or a refusal with the challenge to answer with. The one place where that is decided.
 * Touches  storage/accounts.h, key and password files, its own memory.
 * Never    HTTP messages, storage's inside; a secret in a log or an error.
 *
 * (1) Default deny: an action that no rule allows is refused.
 * (2) Nothing refused tells whether a repository, an account or a session exists.
 * (3) What the loop answers from memory was decided under the accounts_generation of now.
 * (4) A signature is checked before anything of the payload is used.
 * (5) A password is hashed on login threads only, few at once, and costs the same for a name that
 *     does not exist.
 *
 * Spec: token-auth TOK-01 to TOK-74, AUTHZ-01 to AUTHZ-03. */
#ifndef SLIPWAY_AUTH_H
#define SLIPWAY_AUTH_H

#include <stdbool.h>

#include "registry/core/bytes.h"
#include "registry/core/dsse.h"
#include "registry/core/error.h"
#include "storage/accounts.h"

struct auth;
struct storage;

/* --- what a route asks for --- */

enum action {
    ACTION_NONE,  /* probes, key set: anybody, credentials are not looked at */
    ACTION_TOKEN, /* the token endpoint: anybody; credentials that are given must be right */
    /* the distribution API: Bearer (JWT) or Basic; refused with a challenge */
    ACTION_BASE,    /* end-1: any valid identity */
    ACTION_CATALOG, /* any valid identity; what it sees is filtered */
    ACTION_PULL,
    ACTION_PUSH,
    ACTION_DELETE,
    /* git over HTTP: Basic only, and asked for by Basic (s2i 13.9) */
    ACTION_GIT_PULL, /* RIGHT_PULL on <name>: clone, fetch */
    ACTION_GIT_PUSH, /* RIGHT_PUSH on <name> */
    /* webhooks: nobody signs in; the delivery carries a signature that its handler checks */
    ACTION_HOOK,
    /* the management API: personal token, Basic, session cookie, admin socket; problem+json */
    ACTION_API_PUBLIC,    /* anybody, signed in or not: signing in, the API's description */
    ACTION_API_SIGNED_IN, /* any account */
    ACTION_API_READ,      /* pull on <name>; else as if it were not there: 404 */
    ACTION_API_MANAGE,    /* RIGHT_ADMIN on <name>; 404 who may not pull, 403 who may */
    ACTION_API_PUSH,      /* RIGHT_PUSH on <name>: tags are set and moved; hidden as above */
    ACTION_API_DELETE,    /* RIGHT_DELETE on <name>: tags go and come back */
    ACTION_API_ACCOUNTS,  /* administrators: users, robots, everybody's tokens and sessions */
    ACTION_API_AUDIT,     /* administrators and auditors */
    ACTION_API_SYSTEM,    /* administrators and operators */
    ACTION_COUNT
};
static inline bool action_is_api(enum action action)
{
    return action >= ACTION_API_PUBLIC;
}

/* Only Basic counts there, and it is what refusals ask for. */
static inline bool action_is_basic(enum action action)
{
    return action == ACTION_TOKEN || action == ACTION_GIT_PULL || action == ACTION_GIT_PUSH;
}

/* --- identities --- */

enum identity_kind {
    IDENTITY_ANONYMOUS,
    IDENTITY_ACCOUNT, /* a user or robot of ours */
    IDENTITY_FOREIGN, /* the subject of a trusted issuer's token: may what the token says */
    IDENTITY_LOCAL,   /* the admin socket: an administrator */
    IDENTITY_OPEN,    /* auth.mode none: everybody, an administrator */
};

enum credential {
    CREDENTIAL_NONE,
    CREDENTIAL_PASSWORD, /* Basic with the account's password */
    CREDENTIAL_TOKEN,    /* a personal token, as Basic password or Bearer */
    CREDENTIAL_JWT,
    CREDENTIAL_COOKIE,
    CREDENTIAL_SOCKET,
};

/* Immutable and counted; more of it is auth's own. */
struct identity {
    enum identity_kind kind;
    enum credential credential;
    enum account_kind account_kind;
    enum account_role role;
    int64_t account; /* ids of storage; 0: none */
    int64_t token;   /* the personal token that was shown, also to get a JWT */
    int64_t session;
    int64_t password_at; /* us: when this caller gave the password; 0: did not */
    const char *name;    /* of the account or subject; "" for anonymous, "local" for the socket */
};
const struct identity *identity_hold(const struct identity *identity); /* NULL is NULL */
void identity_drop(const struct identity **identity);                  /* for OWNED */

/* --- opening --- */

enum auth_mode { AUTH_MODE_NONE, AUTH_MODE_TOKEN };

struct auth_rate {
    uint64_t count; /* 0: no limit */
    uint64_t per_ms;
};

/* Texts are copied; "" where there is none. */
struct auth_options {
    enum auth_mode mode;
    bool challenge_basic;   /* TOK-03: which of the two challenges */
    bool anonymous_pull;    /* of public repositories */
    const char *public_url; /* "https://host"; "": from the request */
    const char *realm;      /* of another token server; "": our own /token */
    const char *service;    /* the audience */
    const char *issuer;
    uint64_t token_ttl_s, refresh_ttl_s;
    const char *key_folder;     /* signing keys of our own */
    const char *key_file;       /* PEM; then key_folder is not used */
    uint64_t key_rotation_s;    /* 0: never by itself */
    const char *seal_folder;    /* keys that sign provenance; "": there are none */
    const char *trusted_keys;   /* JWK set file of other issuers */
    const char *const *issuers; /* whose tokens count beside ours */
    size_t issuer_count;
    const char *htpasswd_file;
    struct auth_rate account_rate, address_rate; /* failed log-ins */
    struct auth_rate pulls_anonymous, pulls_account;
    uint64_t session_idle_s, session_max_s;
    struct storage *storage; /* borrowed; NULL in mode none only */
};

/* UNAVAILABLE  a key, key set or password file cannot be used; the message says which */
int auth_open(struct auth **out, const struct auth_options *options, struct error *err) MUST_CHECK;
void auth_close(struct auth *auth); /* accepts NULL */
/* Reads keys, key sets and the password file again; what cannot be read leaves the old one in
 * place. force: also when nothing seems changed. Rotates keys that are due. Blocks; any thread but
 * a loop. Returns -1 with the first failure. */
int auth_reload(struct auth *auth, bool force, struct error *err);

/* --- requests --- */

struct auth_request {
    enum action action;
    struct slice authorization; /* the header; SLICE_NONE: absent */
    struct slice repository;    /* validated; or SLICE_NONE */
    struct slice upload;        /* id of the upload session in the path (TOK-55); or SLICE_NONE */
    struct slice mount_from;    /* POST mount: the source; or SLICE_NONE */
    bool head;                  /* HEAD of a blob or manifest: push is enough (AUTHZ-02) */
    /* what this connection was granted for last, or NULL: memory for (3) */
    const struct identity *known;
    /* where it came from: guessing budgets, the realm */
    struct slice remote;     /* address in text */
    const uint8_t *network;  /* 8 bytes: IPv4 address, or the /64 of IPv6 */
    struct slice host;       /* as the client calls us; validated, or SLICE_NONE */
    bool tls;                /* as the client sees it */
    bool local;              /* came by the admin socket, from somebody who may use it */
    struct slice request_id; /* for the audit */
    /* management API only */
    struct slice cookie;     /* the Cookie header */
    struct slice fetch_site; /* Sec-Fetch-Site */
    struct slice origin;
    bool changes; /* not GET or HEAD */
    bool json;    /* Content-Type is one that no form of a page has, or there is no body */
};

struct auth_answer {
    const struct identity *identity; /* granted: to be dropped by the caller; else NULL */
    const struct identity *refused;  /* known, but may not do this: for the log; dropped likewise */
    bool may_push;                   /* on the repository: positive answers are leases (P4) */
    const char *fault;               /* refused: "invalid_token", "insufficient_scope" or NULL */
};

enum auth_peeked {
    AUTH_REFUSED = -1,
    AUTH_ASK = 0, /* not known here: ask auth_authorise on a worker */
    AUTH_GRANTED = 1,
    AUTH_ASK_SLOWLY = 2, /* the same, and a password will be hashed: on a login thread */
};
/* From memory only, any thread. */
enum auth_peeked auth_peek(struct auth *auth, const struct auth_request *request,
                           struct auth_answer *answer, struct error *err) MUST_CHECK;
/* May block.
 * UNAUTHORIZED  answer with auth_challenge;  DENIED, CSRF, PASSWORD_STALE 403;  NOT_FOUND (2);
 * TOOMANYREQUESTS  err->retry_after_s is set */
int auth_authorise(struct auth *auth, const struct auth_request *request,
                   struct auth_answer *answer, struct error *err) MUST_CHECK ON(worker_thread);

/* The value of WWW-Authenticate for a refusal with 401, and the JSON of `detail` in its body (""
 * for none). Any thread. Spec: TOK-01 to TOK-07. */
void auth_challenge(const struct auth *auth, const struct auth_request *request,
                    const struct auth_answer *answer, struct buffer *header, struct buffer *detail);

/* For what goes on for hours: whether the credential that was shown still stands, and with which
 * rights. From memory while nothing changed; else *identity is dropped, and another one takes its
 * place.
 * UNAUTHORIZED  the session or token has ended, the password was changed, the account is gone */
int auth_renew(struct auth *auth, const struct identity **identity, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- further questions of handlers about who asks --- */

/* What needs no repository: as auth_authorise would decide for this identity. */
bool auth_allows(const struct identity *identity, enum action action);

/* All of these rights (bits) on the repository. SLICE_NONE: on every repository there is. */
bool auth_may(struct auth *auth, const struct identity *identity, struct slice repository,
              unsigned rights) ON(worker_thread);
/* The same of an account that does not ask right now: work that goes on in its name (builds). 0: of
 * the administrator of this machine, or of nobody in mode none. reach: the scopes of the token it
 * was begun with, as in struct actor; what anybody may, such a token may, too. */
bool auth_account_may(struct auth *auth, int64_t account, const char *reach,
                      struct slice repository, unsigned rights) ON(worker_thread);
/* All of these rights on everything the pattern covers. */
bool auth_may_pattern(struct auth *auth, const struct identity *identity, struct slice pattern,
                      unsigned rights) ON(worker_thread);
/* The rights as bits, if it is public or not: for who asks the same of many. */
unsigned auth_rights_when(const struct identity *identity, struct slice repository, bool public);
/* The rights as bits, for `can` of the API's answers. */
unsigned auth_rights(struct auth *auth, const struct identity *identity, struct slice repository)
    ON(worker_thread);
/* What lists may show; patterns are borrowed from the identity. Spec: CAT-02. */
void auth_list_filter(struct auth *auth, const struct identity *identity,
                      struct repository_filter *out);
/* Who he is for histories and quotas; its owner is not set. Borrows from the identity. */
struct actor auth_actor(const struct identity *identity);
/* The owner of upload sessions this caller opens, "" for nobody. Spec: TOK-55. */
void auth_upload_owner(const struct identity *identity, char out[UPLOAD_OWNER_MAX + 1]);
/* PASSWORD_STALE  a browser's session whose password was given longer than 15 minutes ago. */
int auth_require_fresh(const struct auth *auth, const struct identity *identity,
                       struct error *err) MUST_CHECK;

/* --- log-in and tokens --- */

struct auth_login {
    struct slice name, password; /* password: the account's, a personal or a refresh token */
    struct slice remote;
    const uint8_t *network;
    struct slice request_id;
    bool password_only; /* sessions: no tokens */
};
/* False for tokens, by their form: auth_login then may run on any worker. */
bool auth_login_hashes(const struct auth_login *login);
/* On a login thread: hashes. UNAUTHORIZED, TOOMANYREQUESTS (retry_after_s). Spec: TOK-58 to TOK-60,
 * TOK-20. */
int auth_login(struct auth *auth, const struct auth_login *login, const struct identity **out,
               struct error *err) MUST_CHECK ON(worker_thread);

struct token_wish {
    struct slice scope;  /* resource scopes with blanks between them; all parameters joined */
    struct slice client; /* client_id: the label of a refresh token */
    bool offline;        /* a refresh token too */
};
struct token_given {
    struct buffer token;   /* the JWT */
    struct buffer scope;   /* what was granted */
    struct buffer refresh; /* empty: none */
    int64_t issued_at;     /* seconds since 1970 */
    uint64_t expires_in;   /* seconds */
};
void token_given_drop(struct token_given *given);
/* For our service, the only one there is. Spec: TOK-10 to TOK-24. */
int auth_token_issue(struct auth *auth, const struct identity *identity,
                     const struct token_wish *wish, struct token_given *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* Who a refresh token stands for; rotated when wish->offline (then out->refresh is its successor),
 * and a token for the wish. A rotated one that is used again after a minute ends its family.
 * UNAUTHORIZED, TOOMANYREQUESTS. Spec: TOK-24, TOK-27 to TOK-29. */
int auth_token_refresh(struct auth *auth, const struct auth_login *login,
                       const struct token_wish *wish, struct token_given *out,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* Whether `account` is who the credentials of this Authorization header name or belong to; true
 * when there is no such wish, or nobody it could contradict. Spec: TOK-13. */
bool auth_account_fits(const struct identity *identity, struct slice authorization,
                       struct slice account);
/* The JWK set of our public keys, as JSON; *etag (17 bytes) changes with it. Nothing in mode none.
 * Any thread. */
void auth_key_set(const struct auth *auth, struct buffer *out, char etag[17]);
enum auth_keys { AUTH_KEYS_TOKENS, AUTH_KEYS_PROVENANCE };
/* A fresh signing key is published; one of tokens signs once every verifier had time to see it, one
 * of provenance at once. */
int auth_key_rotate(struct auth *auth, enum auth_keys which, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- provenance of builds, in every mode --- */

/* With a key that signs nothing else, and rotates as those of tokens do; the first one is made when
 * it is needed. The caller keeps the public key before anybody sees the signature: a key that was
 * rotated away is forgotten here. Blocks; any thread but a loop.
 * UNAVAILABLE  there is none, or its file cannot be used. Spec: s2i 15.10 */
int auth_sign(const struct auth *auth, struct slice bytes, struct dsse_signature *out,
              struct error *err) MUST_CHECK;
/* key: a JWK of P-256, which key_id is the thumbprint of. Pure. */
bool auth_signature_right(struct slice key, struct slice key_id, struct slice bytes,
                          struct slice signature);

/* Cookie of a browser's session. `secure`: by TLS. */
int auth_session_open(struct auth *auth, const struct identity *identity, struct slice remote,
                      struct slice agent, struct slice request_id, bool secure,
                      struct buffer *set_cookie, struct error *err) MUST_CHECK ON(worker_thread);
void auth_session_cookie_clear(bool secure, struct buffer *set_cookie);

/* --- secrets for the management API --- */

enum { AUTH_SECRET_MAX = 64, AUTH_PASSWORD_HASH_MAX = 384 };
/* A personal token: text to show once, its hash and the hint to store. */
struct auth_secret {
    char text[AUTH_SECRET_MAX];
    uint8_t hash[SECRET_HASH_SIZE];
    char hint[32];
};
void auth_secret_new(struct auth_secret *out);
/* The hash to store. INVALID  shorter than 8 or longer than 511 bytes, or it is the name. On a
 * login thread. */
int auth_password_hash(struct auth *auth, struct slice name, struct slice password,
                       char out[AUTH_PASSWORD_HASH_MAX], struct error *err) MUST_CHECK
    ON(worker_thread);
/* Names of accounts: like a repository's component, 1 to 64 bytes, and not "local". */
bool auth_account_name_valid(struct slice name);
/* "repository:PATTERN:pull,push" and "api", blanks between them; canonical form into out.
 * INVALID  with a sentence */
int auth_token_scopes_check(struct slice scopes, struct buffer *out, struct error *err) MUST_CHECK;
/* No wider than what the caller's own credential may. */
bool auth_token_scopes_within(const struct identity *identity, struct slice scopes);

/* Until there is an administrator: a one-time secret that lets the first one be made. ""
 * afterwards, and in mode none. out: AUTH_SECRET_MAX. */
void auth_setup_token(const struct auth *auth, char *out);
/* UNAUTHORIZED, CONFLICT (there is one), TOOMANYREQUESTS */
int auth_setup(struct auth *auth, struct slice setup_token, struct slice name,
               struct slice password, const struct auth_login *from, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- pull rate (TOK-66) --- */

struct pull_quota {
    bool limited;
    uint64_t limit, remaining, window_s;
    uint64_t retry_after_s; /* when remaining is 0 */
    char source[80];        /* address or account */
};
/* Counts one pull when `count`; false when it is one too many. Any thread, memory only. */
bool auth_pull_admit(struct auth *auth, const struct identity *identity, struct slice remote,
                     const uint8_t *network, bool count, struct pull_quota *out);

#endif
