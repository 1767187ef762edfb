/* auth_internal.h - what the files of auth/ share behind auth.h: the object, callers, decisions.
 * Touches  see each file.
 * Never    included outside of auth/ and its tests.
 *
 * An identity that is handed out is the first member of a struct caller: what it may, and how long
 * that holds. A caller is immutable once built; identity.c alone builds them. */
#ifndef SLIPWAY_AUTH_INTERNAL_H
#define SLIPWAY_AUTH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "auth/auth.h"
#include "auth/authorization.h"
#include "auth/guard.h"
#include "auth/htpasswd.h"
#include "auth/keys.h"
#include "auth/quota.h"
#include "auth/scope.h"
#include "auth/secret.h"
#include "registry/core/clock.h"

enum {
    PASSWORD_FRESH_S = 15 * 60,
    REMEMBER_S = 5 * 60,          /* how long a password that was right is not hashed again */
    SESSION_TOUCH_S = 60,         /* how exactly a session's last use is known */
    UPLOAD_GRACE_S = 12 * 3600,   /* TOK-55 */
    REFRESH_REUSE_S = 60,         /* a client that lost the answer may ask once more */
    TOKEN_PAYLOAD_MAX = 5800,     /* so that the JWT stays below 8 KiB (TOK-23) */
    SCOPES_ANSWERED_MAX = 150,    /* more never fit */
    PROOF_SIZE = SECRET_HASH_SIZE /* hash of the password hash that was right */
};

/* --- callers --- */

/* Rights below a pattern, by a grant or by the scope of a token. */
struct rule {
    struct slice pattern;
    unsigned rights;
};
/* What a JWT names, and what of it stands. */
struct access {
    struct slice name;
    unsigned rights; /* 0: named, but denied */
};

struct caller {
    struct identity identity; /* first */
    _Atomic uint32_t holders;
    bool lasting;        /* not counted: lives as long as auth */
    bool bearer;         /* the scheme of the header */
    bool public_pull;    /* may pull what is public */
    bool narrowed, api;  /* by a personal token's scopes: to rules, and whether the API is open */
    bool catalog_named;  /* a JWT's scope "registry:catalog" ... */
    bool catalog_all;    /* ... and "*" of it stands */
    bool list_public;    /* for lists: public repositories too */
    uint64_t generation; /* it was built under */
    int64_t good_until;  /* us since 1970 */
    struct slice header; /* the Authorization it stands for; empty: not to be compared */
    uint8_t key[SECRET_HASH_SIZE]; /* where it is remembered */
    uint8_t proof[PROOF_SIZE];
    struct rule *grants, *scopes; /* scopes: of a narrowed token */
    size_t grant_count, scope_count;
    const char *reach;     /* the scopes' text; NULL: not narrowed */
    struct access *access; /* of a JWT, by name, each once */
    size_t access_count;
    const char *issuer;     /* IDENTITY_FOREIGN */
    struct slice *patterns; /* for lists */
    size_t pattern_count;
    char *text; /* what all the slices lie in */
    size_t text_size, text_used;
};

static inline const struct caller *caller_of(const struct identity *identity)
{
    return (const struct caller *)identity;
}
void caller_drop(const struct caller **caller); /* for OWNED */
const struct caller *caller_hold(const struct caller *caller);
size_t caller_cost(const struct caller *caller); /* bytes of memory */

/* What a caller is made of. */
struct caller_origin {
    int64_t account;
    enum credential credential;
    bool bearer;
    const struct token *token;       /* the personal token, or NULL */
    const struct jwt_claims *claims; /* CREDENTIAL_JWT */
    const struct login_session *session;
    int64_t password_at;
    const uint8_t *proof;
    struct slice header;
    uint64_t generation; /* read before anything of storage was */
    int64_t good_until;
};
/* UNAUTHORIZED  the account is gone, disabled, expired, no longer in the password file, or of
 * another name than the JWT says */
int caller_of_account(struct auth *auth, const struct caller_origin *origin, struct caller **out,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* JWTs without an account of ours: anonymous ones of ours, and foreign ones. */
int caller_of_claims(struct auth *auth, const struct caller_origin *origin, bool foreign,
                     struct caller **out, struct error *err) MUST_CHECK ON(worker_thread);
const struct caller *caller_lasting(enum identity_kind kind, bool public_pull);

/* As the owner of upload sessions: "account:7", "foreign:ISSUER SUBJECT", "" for nobody. */
void caller_owner(const struct caller *caller, char out[UPLOAD_OWNER_MAX + 1]);

/* --- rights (pure) --- */

/* What the caller may do with the repository, if it is public or not. */
unsigned rights_on(const struct caller *caller, struct slice repository, bool public);
/* What it may on everything the pattern covers. */
unsigned rights_below(const struct caller *caller, struct slice pattern);
/* What its role and grants give, before its credential narrows them. */
unsigned rights_of_account(const struct caller *caller, struct slice repository, bool public);
const struct access *rights_access(const struct caller *caller, struct slice repository);
bool rights_see_all(const struct caller *caller); /* the role reads every repository */

enum verdict {
    VERDICT_REFUSED, /* no rule allows it: the credential does not count here */
    VERDICT_NOBODY,  /* nobody is signed in */
    VERDICT_LACKING, /* known, but may not */
    VERDICT_HIDDEN,  /* and may not know that it is there */
    VERDICT_UNNAMED, /* the JWT does not name the source of the mount (TOK-51) */
    VERDICT_GRANTED,
};
/* rights: of the caller on the repository. anonymous: who shows nothing may pull what is public. */
enum verdict rights_verdict(const struct caller *caller, const struct auth_request *request,
                            unsigned rights, bool anonymous);
/* The right on the repository that the action needs: "push"; NULL: another one, or none. */
const char *rights_name(enum action action);

/* --- scopes of personal tokens (pure) --- */

struct narrowing {
    struct rule *rules; /* patterns borrowed from the text */
    size_t count;
    bool api;
};
/* "repository:PATTERN:pull,push" and "api". INVALID  with a sentence */
int narrowing_parse(struct slice text, struct narrowing *out, struct error *err) MUST_CHECK;

/* --- memory of callers --- */

struct remember;
struct remember *remember_open(void);
void remember_close(struct remember *remember); /* accepts NULL */
/* Held; whatever its generation, unless good_until has passed. NULL: not here. */
const struct caller *remember_find(struct remember *remember, const uint8_t key[SECRET_HASH_SIZE],
                                   int64_t now_us);
void remember_put(struct remember *remember, const struct caller *caller);
/* `what` keeps headers and cookies apart. */
void remember_key(const struct remember *remember, char what, struct slice secret,
                  uint8_t out[SECRET_HASH_SIZE]);

/* --- keys of other issuers --- */

struct trusted;
/* path "": there are none. */
int trusted_open(struct trusted **out, const char *path, struct error *err) MUST_CHECK;
void trusted_close(struct trusted *trusted); /* accepts NULL */
int trusted_reload(struct trusted *trusted, bool force, bool *changed, struct error *err);
/* An unknown key id has the file looked at again, at most every ten seconds (TOK-44). */
int trusted_verify(struct trusted *trusted, struct slice token, struct jwt_checks checks,
                   struct jwt_claims *out, struct error *err) MUST_CHECK;

/* --- the object --- */

/* Immutable once it is open, but for the atomics; what it points to names its own locks. */
struct auth {
    enum auth_mode mode;
    bool challenge_basic, anonymous_pull;
    char *public_url, *realm, *service, *issuer;
    char **issuers;
    size_t issuer_count;
    uint64_t token_ttl_s, refresh_ttl_s, session_idle_s, session_max_s;
    struct auth_rate pulls_anonymous, pulls_account;
    struct storage *storage; /* borrowed */
    struct key_ring *keys;   /* of tokens */
    struct seals *seals;     /* keys of provenance; NULL: there are none */
    struct trusted *trusted;
    struct htpasswd *htpasswd; /* NULL: there is none */
    struct guard *guard;
    struct quota *quota;
    struct remember *remember;
    char setup[SECRET_TEXT_SIZE + 1];
    _Atomic uint64_t epoch;  /* grows when keys or the password file changed */
    _Atomic bool setup_open; /* there is no administrator: only ever goes from true to false */
};

/* auth (3): what was decided under the same number still holds. */
static inline uint64_t auth_generation(const struct auth *auth)
{
    uint64_t epoch = atomic_load_explicit(&auth->epoch, memory_order_acquire);

    return epoch + (auth->storage == NULL ? 0 : accounts_generation(auth->storage));
}
static inline bool caller_current(const struct auth *auth, const struct caller *caller)
{
    return caller->lasting ||
           (caller->generation == auth_generation(auth) && caller->good_until > clock_now_us());
}

/* --- from a credential to a caller --- */

/* From memory. AUTH_GRANTED: *out is held. Refused: err and answer->fault are set. */
enum auth_peeked credentials_peek(struct auth *auth, const struct auth_request *request,
                                  const struct caller **out, struct auth_answer *answer,
                                  struct error *err) MUST_CHECK;
int credentials_check(struct auth *auth, const struct auth_request *request,
                      const struct caller **out, struct auth_answer *answer,
                      struct error *err) MUST_CHECK ON(worker_thread);
int bearer_check(struct auth *auth, const struct auth_request *request, struct slice token,
                 const struct caller **out, struct auth_answer *answer,
                 struct error *err) MUST_CHECK ON(worker_thread);
enum login_kind { /* what may be given as a password; bits */
                  LOGIN_PASSWORD = 1,
                  LOGIN_PERSONAL = 2,
                  LOGIN_REFRESH = 4,
};
struct login_attempt {
    struct slice name, secret;
    unsigned kinds;
    bool unnamed; /* the secret stands alone: Bearer, grant_type=refresh_token */
    bool bearer;
    struct slice header; /* to be remembered by; or SLICE_NONE */
    struct slice remote, request_id;
    const uint8_t *network;
};
/* Whether login_check hashes this secret as a password: then it is for a login thread (auth (5)).
 */
bool login_hashes(unsigned kinds, struct slice secret);
/* UNAUTHORIZED, TOOMANYREQUESTS; refusals are noted in the audit. */
int login_check(struct auth *auth, const struct login_attempt *attempt, const struct caller **out,
                struct error *err) MUST_CHECK ON(worker_thread);
/* A password that was right lately: whether it still is, without hashing it. */
int login_renew(struct auth *auth, const struct login_attempt *attempt, const struct caller *old,
                const struct caller **out, struct error *err) MUST_CHECK ON(worker_thread);
/* The same for a refresh token; *token is what was found (dropped by the caller). */
int refresh_check(struct auth *auth, const struct login_attempt *attempt, struct token *token,
                  const struct caller **out, struct error *err) MUST_CHECK ON(worker_thread);
/* The token of this secret, whatever its state. */
int login_token_find(struct auth *auth, const struct login_attempt *attempt, struct token *out,
                     struct error *err) MUST_CHECK ON(worker_thread);
bool token_stands(const struct token *token, enum token_kind kind);
/* Whether who shows the token may go by that name: its account's, or one that says nothing because
 * the token itself tells whose it is. Spec: TOK-59, TOK-64. */
bool login_name_fits(const struct login_attempt *attempt, const struct token *token);
/* Notes a refusal and makes every one the same; an error of storage stays what it is. */
int login_refused(struct auth *auth, const struct login_attempt *attempt, struct error *err);
/* TOOMANYREQUESTS when guessing must pause. */
int login_admit(struct auth *auth, const struct login_attempt *attempt, struct slice guarded,
                struct error *err) MUST_CHECK;

int session_check(struct auth *auth, struct slice secret, const struct caller **out,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* The same for one whose session began earlier; its use is not noted. */
int session_renew(struct auth *auth, const struct caller *old, struct caller **out,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* The session's cookie; SLICE_NONE when there is none. */
struct slice session_cookie(const struct auth_request *request);
/* CSRF */
int browser_check(const struct auth *auth, const struct auth_request *request,
                  const struct caller *caller, struct error *err) MUST_CHECK;
void session_cookie_print(bool secure, const char *value, uint64_t age_s, struct buffer *out);
int refresh_give(struct auth *auth, const struct caller *caller, struct slice client,
                 struct buffer *out, struct error *err) MUST_CHECK ON(worker_thread);

/* Keys of provenance: seal.c. Each signs from its creation, and is gone when another one signs: its
 * public part is kept by whoever asked for the signature. They are read, or the first one is made,
 * when somebody needs them: a server that signs nothing keeps OpenSSL out of its memory. What can
 * be told about their files without it is told by seals_open and seals_advance until then.
 * *out is NULL for no folder: NULL or "". */
int seals_open(struct seals **out, const char *folder, uint64_t rotation_s,
               struct error *err) MUST_CHECK;
void seals_close(struct seals *seals); /* accepts NULL */
int seals_advance(struct seals *seals, int64_t now_s, struct error *err) MUST_CHECK;
int seals_rotate(struct seals *seals, int64_t now_s, struct error *err) MUST_CHECK;

int auth_off(struct error *err); /* mode none has no tokens and sessions */
/* At most `most` bytes; what is not printable ASCII becomes '?'. */
void text_append_printable(struct buffer *out, struct slice text, size_t most);
/* "https://host", of public_url or as the client calls us. */
void auth_origin(const struct auth *auth, const struct auth_request *request, struct buffer *out);

#endif
