/* accounts.h - accounts, tokens, sessions, grants, settings of repositories, the audit.
 * Touches  the database.
 * Never    decides who may do what, hashes a password, sees a secret: only its SHA-256.
 *
 * Every function blocks and runs on a worker, unless it says otherwise. Names, patterns and texts
 * are validated by the caller. Times are microseconds since 1970; 0 stands for "never" or "none".
 *
 * (1) What changes something writes its audit event in the same transaction.
 * (2) accounts_generation grows after every commit that may change what somebody may do, before the
 *     change is acknowledged: what was decided under the same generation still holds.
 * (3) There is always an enabled administrator, once there was one. */
#ifndef SLIPWAY_STORAGE_ACCOUNTS_H
#define SLIPWAY_STORAGE_ACCOUNTS_H

#include <stdbool.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

struct storage;

/* (2); any thread, from memory. */
uint64_t accounts_generation(const struct storage *store);

/* --- who does it, for histories and quotas --- */

/* Borrowed. */
struct actor {
    int64_t account;    /* 0: none */
    struct slice name;  /* as the audit calls it; SLICE_NONE: nobody was asked */
    struct slice owner; /* of upload sessions (TOK-55); SLICE_NONE: nobody */
    const char *reach;  /* scopes that his token is narrowed to; NULL: it is not */
};

/* --- audit --- */

struct audit_event {
    struct slice actor;   /* name of the account, "" anonymous, "local" for the admin socket */
    int64_t actor_id;     /* 0: none */
    struct slice action;  /* "user.create", "login.refused" */
    struct slice target;  /* "user/ana", "repository/team/app" */
    struct slice outcome; /* "done", "refused" */
    struct slice remote;
    struct slice request_id;
    struct slice detail; /* JSON object text, "" for none; never a secret */
};

struct audit_record {
    int64_t id, at, actor_id;
    uint64_t repeats;
    char *actor, *action, *target, *outcome, *remote, *request_id, *detail;
};
struct audit_page {
    struct audit_record *items;
    size_t count;
    bool more;
};
void audit_page_drop(struct audit_page *page);

struct audit_query {
    int64_t before_id; /* cursor: older than this; 0: from the newest */
    int64_t after_id;  /* only newer than this, for following; 0: no bound */
    int64_t since, until;
    struct slice actor, action, target; /* SLICE_NONE: any; action and target also as "prefix*" */
    size_t limit;
};
/* Newest first. */
int audit_list(struct storage *store, const struct audit_query *query, struct audit_page *out,
               struct error *err) MUST_CHECK ON(worker_thread);
/* For what was done outside of the database: all in one transaction, durable. */
int audit_put(struct storage *store, const struct audit_event *events, size_t count,
              struct error *err) MUST_CHECK ON(worker_thread);
/* Kept in memory (bounded) and written within seconds; equal events of one minute become one row
 * with repeats. For refusals, which a stranger can cause. Any thread, never blocks on the disk. */
void audit_note(struct storage *store, const struct audit_event *event);
/* Removes what is older; bounded work a call, *more when there may be more. */
int audit_expire(struct storage *store, int64_t before, bool *more, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- accounts --- */

enum account_kind { ACCOUNT_USER = 1, ACCOUNT_ROBOT = 2 };
enum account_role {
    ACCOUNT_ROLE_USER = 0,
    ACCOUNT_ROLE_ADMIN = 1,
    ACCOUNT_ROLE_OPERATOR = 2,
    ACCOUNT_ROLE_AUDITOR = 3,
};

struct account {
    int64_t id;
    char *name;
    enum account_kind kind;
    enum account_role role;
    char *description;
    char *password_hash; /* NULL: none */
    int64_t password_at;
    bool external; /* its password stands in the password file */
    bool disabled;
    int64_t created_at, expires_at, last_login_at;
    int64_t version;
};
void account_drop(struct account *account);

/* NOT_FOUND */
int account_find(struct storage *store, struct slice name, struct account *out,
                 struct error *err) MUST_CHECK ON(worker_thread);
int account_find_id(struct storage *store, int64_t id, struct account *out,
                    struct error *err) MUST_CHECK ON(worker_thread);
/* id, password_at, created_at and version of `account` are set. CONFLICT  the name is taken.
 * first_admin: only while no account with role admin exists, else CONFLICT. */
int account_create(struct storage *store, struct account *account, bool first_admin,
                   const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);

/* What to change; absent members stay. */
struct account_change {
    const enum account_role *role;
    const struct slice *description;
    const struct slice *password_hash; /* ends sessions but keep_session, and refresh tokens */
    const bool *disabled;              /* true: ends sessions and refresh tokens */
    const int64_t *expires_at;
    int64_t keep_session; /* id; 0: none */
    int64_t if_version;   /* 0: whatever it is */
};
/* NOT_FOUND, PRECONDITION (version), CONFLICT (3) */
int account_update(struct storage *store, enum account_kind kind, struct slice name,
                   const struct account_change *change, const struct audit_event *event,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* Its tokens, sessions and grants go too. NOT_FOUND, PRECONDITION, CONFLICT (3) */
int account_delete(struct storage *store, enum account_kind kind, struct slice name,
                   int64_t if_version, const struct audit_event *event,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* For a user of the password file who signs in for the first time: creates the account when there
 * is none. CONFLICT  the name belongs to a robot or to a user with a password of its own */
int account_ensure_external(struct storage *store, struct slice name, struct account *out,
                            struct error *err) MUST_CHECK ON(worker_thread);
/* May be lost; at most one write a minute and account. */
int account_touch(struct storage *store, int64_t id, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Some account with role admin exists. */
int account_admin_exists(struct storage *store, bool *exists, struct error *err) MUST_CHECK
    ON(worker_thread);

struct account_page {
    struct account *items;
    size_t count;
    uint64_t total; /* of the whole query */
    bool more;
};
void account_page_drop(struct account_page *page);
/* By name, after `after`; search: a part of the name, SLICE_NONE for all. */
int account_list(struct storage *store, enum account_kind kind, struct slice after,
                 struct slice search, size_t limit, struct account_page *out,
                 struct error *err) MUST_CHECK ON(worker_thread);

/* --- grants --- */

/* What may be done with a repository. */
enum right {
    RIGHT_PULL = 1,
    RIGHT_PUSH = 2,
    RIGHT_DELETE = 4, /* tags, manifests, blobs; rules and protection */
    RIGHT_ADMIN = 8,  /* settings, visibility, grants below its pattern */
};
/* The levels people know: each covers the one before. */
enum {
    LEVEL_READ = RIGHT_PULL,
    LEVEL_WRITE = RIGHT_PULL | RIGHT_PUSH,
    LEVEL_MAINTAIN = LEVEL_WRITE | RIGHT_DELETE,
    LEVEL_ADMIN = LEVEL_MAINTAIN | RIGHT_ADMIN,
};

struct grant {
    int64_t id, account_id, created_at, version;
    enum account_kind kind; /* of the account */
    char *account;
    char *pattern;
    unsigned rights;
};
struct grant_page {
    struct grant *items;
    size_t count;
    uint64_t total;
    bool more;
};
void grant_drop(struct grant *grant);
void grant_page_drop(struct grant_page *page);

struct grant_query {
    struct slice account; /* SLICE_NONE: of all */
    struct slice covers;  /* a repository: grants that reach it; SLICE_NONE: all */
    struct slice within;  /* a pattern: grants not wider than it; SLICE_NONE: all */
    int64_t after_id;
    size_t limit;
};
int grant_list(struct storage *store, const struct grant_query *query, struct grant_page *out,
               struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND */
int grant_find(struct storage *store, int64_t id, struct grant *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Sets what the account may do below the pattern; one row for each pair. *created tells which.
 * if_version 0: whatever is there. NOT_FOUND  no such account; PRECONDITION
 * CONFLICT  it has GRANTS_MAX already: all of them are read whenever it is judged */
enum { GRANTS_MAX = 200 };
int grant_put(struct storage *store, struct slice account, struct slice pattern, unsigned rights,
              int64_t if_version, const struct audit_event *event, struct grant *out, bool *created,
              struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND, PRECONDITION */
int grant_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);

/* Pattern of a grant against a repository's name (pure). */
bool pattern_covers(struct slice pattern, struct slice repository);
/* Whether everything that `inner` covers is covered by `outer` (pure). */
bool pattern_within(struct slice inner, struct slice outer);
bool pattern_valid(
    struct slice pattern); /* "*", a repository's name, or one and a final slash-star */

/* The account and all its grants, in one snapshot. NOT_FOUND */
struct account_rights {
    struct account account;
    struct grant *grants;
    size_t grant_count;
};
void account_rights_drop(struct account_rights *rights);
int account_rights_load(struct storage *store, int64_t account, struct account_rights *out,
                        struct error *err) MUST_CHECK ON(worker_thread);

/* --- tokens --- */

enum token_kind { TOKEN_PERSONAL = 1, TOKEN_REFRESH = 2 };
enum { SECRET_HASH_SIZE = 32, TOKEN_FAMILY_SIZE = 16 };

struct token {
    int64_t id, account_id;
    enum token_kind kind;
    char *account; /* its name */
    char *hint;    /* its first and last characters, to be recognised by */
    char *label;
    char *scopes; /* "" for all, else "repository:PATTERN:pull,push api", see auth/auth.h */
    char *service;
    int64_t created_at, expires_at, rotated_at, last_used_at;
    char *last_used_from; /* NULL: never used */
    bool disabled;
    int64_t version;
};
struct token_page {
    struct token *items;
    size_t count;
    uint64_t total;
    bool more;
};
void token_drop(struct token *token);
void token_page_drop(struct token_page *page);

struct token_new {
    int64_t account_id;
    enum token_kind kind;
    const uint8_t *secret_hash; /* SECRET_HASH_SIZE */
    const uint8_t *family;      /* TOKEN_FAMILY_SIZE, refresh only; else NULL */
    struct slice hint, label, scopes, service;
    int64_t expires_at;
};
/* NOT_FOUND  no such account.
 * CONFLICT  it has TOKENS_MAX live ones of this kind; for refresh the oldest goes instead.
 * event may be NULL for refresh tokens. */
enum { TOKENS_MAX = 200 };
int token_create(struct storage *store, const struct token_new *token,
                 const struct audit_event *event, struct token *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* By the hash of its secret, whatever its state. NOT_FOUND */
int token_find(struct storage *store, const uint8_t *secret_hash, struct token *out,
               struct error *err) MUST_CHECK ON(worker_thread);
int token_find_id(struct storage *store, int64_t id, struct token *out,
                  struct error *err) MUST_CHECK ON(worker_thread);
/* account 0: of all. By id, after `after_id`. */
int token_list(struct storage *store, int64_t account, enum token_kind kind, int64_t after_id,
               size_t limit, struct token_page *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* NOT_FOUND, PRECONDITION */
int token_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);
int token_set_disabled(struct storage *store, int64_t id, bool disabled, int64_t if_version,
                       const struct audit_event *event, struct error *err) MUST_CHECK
    ON(worker_thread);
/* A robot with its grants and its first token: all of it, with all events, or nothing. Sets of
 * robot->account what account_create sets; token->account_id is not looked at. Of one pattern the
 * last rights stand. CONFLICT  the name is taken */
struct robot_grant {
    struct slice pattern;
    unsigned rights;
    const struct audit_event *event;
};
struct robot_new {
    struct account *account;
    const struct audit_event *event;
    const struct robot_grant *grants;
    size_t grant_count;
    const struct token_new *token;
    const struct audit_event *token_event;
};
int robot_create(struct storage *store, const struct robot_new *robot, struct token *out,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* A successor with another secret and the same label, scopes and account; the old one ends at
 * old_expires_at (overlap), if not sooner. NOT_FOUND, PRECONDITION, CONFLICT (it has ended, is
 * disabled or has a successor) */
int token_rotate(struct storage *store, int64_t id, const struct token_new *successor,
                 int64_t old_expires_at, int64_t if_version, const struct audit_event *event,
                 struct token *out, struct error *err) MUST_CHECK ON(worker_thread);
/* A refresh token gives out its successor (same family). When it did so before and reuse_after has
 * passed since, it was stolen from somebody: the whole family goes and *reused is set. NOT_FOUND */
int token_refresh_rotate(struct storage *store, int64_t id, const struct token_new *successor,
                         int64_t reuse_after_us, bool *reused, const struct audit_event *event,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* Whether it was rotated longer ago than reuse_after; then the family goes, as above. */
int token_refresh_use(struct storage *store, int64_t id, int64_t reuse_after_us, bool *reused,
                      const struct audit_event *event, struct error *err) MUST_CHECK
    ON(worker_thread);
/* May be lost; at most one write a minute and token. */
int token_touch(struct storage *store, int64_t id, struct slice remote,
                struct error *err) MUST_CHECK ON(worker_thread);
/* Removes expired tokens and sessions; bounded work a call. For the sweep. */
int token_expire(struct storage *store, int64_t sessions_used_before,
                 int64_t sessions_created_before, bool *more, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- sessions of browsers --- */

struct login_session {
    int64_t id, account_id, created_at, used_at, password_at;
    char *account, *remote, *agent;
};
struct login_page {
    struct login_session *items;
    size_t count;
    uint64_t total;
    bool more;
};
void login_session_drop(struct login_session *session);
void login_page_drop(struct login_page *page);

enum { SESSIONS_MAX = 100 }; /* of one account; the oldest goes */
/* NOT_FOUND  no such account */
int login_session_create(struct storage *store, int64_t account, const uint8_t *secret_hash,
                         struct slice remote, struct slice agent, const struct audit_event *event,
                         int64_t *id, struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND; how old it may be is the caller's to judge. */
int login_session_find(struct storage *store, const uint8_t *secret_hash, struct login_session *out,
                       struct error *err) MUST_CHECK ON(worker_thread);
int login_session_find_id(struct storage *store, int64_t id, struct login_session *out,
                          struct error *err) MUST_CHECK ON(worker_thread);
/* May be lost; at most one write a minute and session. */
int login_session_touch(struct storage *store, int64_t id, struct error *err) MUST_CHECK
    ON(worker_thread);
/* account 0: of all. */
int login_session_list(struct storage *store, int64_t account, int64_t after_id, size_t limit,
                       struct login_page *out, struct error *err) MUST_CHECK ON(worker_thread);
/* account 0: whosever it is. NOT_FOUND */
int login_session_delete(struct storage *store, int64_t id, int64_t account,
                         const struct audit_event *event, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- repositories: settings, and who sees them --- */

struct repository {
    int64_t id, created_at, version;
    char *name;
    char *description;
    bool public; /* read by anybody signed in, and by everybody where auth.anonymous is pull */
    uint64_t tags;
};
struct repository_page {
    struct repository *items;
    size_t count;
    bool more;
};
void repository_drop(struct repository *repository);
void repository_page_drop(struct repository_page *page);

/* Which repositories a list may show: all; or those a pattern covers, and the public ones. */
struct repository_filter {
    bool all;
    bool public;
    const struct slice *patterns;
    size_t pattern_count;
};
/* NOT_FOUND */
int repository_find(struct storage *store, struct slice name, struct repository *out,
                    struct error *err) MUST_CHECK ON(worker_thread);
/* *public is false when there is no such repository. */
int repository_is_public(struct storage *store, struct slice name, bool *public,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* An empty repository, for its settings; seen in this list, not in the catalogue. CONFLICT */
int repository_create(struct storage *store, struct slice name, bool public,
                      struct slice description, const struct audit_event *event,
                      struct error *err) MUST_CHECK ON(worker_thread);
struct repository_change {
    const bool *public;
    const struct slice *description;
    int64_t if_version;
};
/* NOT_FOUND, PRECONDITION */
int repository_update(struct storage *store, struct slice name,
                      const struct repository_change *change, const struct audit_event *event,
                      struct error *err) MUST_CHECK ON(worker_thread);
/* By name, after `after`; search: a part of the name, SLICE_NONE for all. Its cost follows what it
 * shows and how many patterns there are, not how many repositories. */
int repository_settings_list(struct storage *store, struct slice after, struct slice search,
                             const struct repository_filter *filter, size_t limit,
                             struct repository_page *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- upload sessions --- */

enum { UPLOAD_OWNER_MAX = 200 };
struct upload_owner {
    char owner[UPLOAD_OWNER_MAX + 1]; /* as given to storage_upload_start; "" for nobody */
    int64_t started_at;
};
/* BLOB_UPLOAD_UNKNOWN. Spec: TOK-55. */
int upload_owner_find(struct storage *store, struct slice repository, struct slice id,
                      struct upload_owner *out, struct error *err) MUST_CHECK ON(worker_thread);

#endif
