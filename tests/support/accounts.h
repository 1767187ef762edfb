/* accounts.h - short ways to make accounts and what hangs on them, and to see what a call told. */
#ifndef SLIPWAY_TESTS_SUPPORT_ACCOUNTS_H
#define SLIPWAY_TESTS_SUPPORT_ACCOUNTS_H

#include "storage/accounts.h"
#include "tests/support/store.h"

/* The call succeeds, and what was decided before counts no longer. */
#define GROWS(call)                                                                                \
    do {                                                                                           \
        uint64_t before_ = accounts_generation(fixture->store);                                    \
        OK(call);                                                                                  \
        assert_true(accounts_generation(fixture->store) > before_);                                \
    } while (0)
/* The call succeeds, and what was decided before still counts. */
#define STAYS(call)                                                                                \
    do {                                                                                           \
        uint64_t before_ = accounts_generation(fixture->store);                                    \
        OK(call);                                                                                  \
        assert_int_equal(accounts_generation(fixture->store), before_);                            \
    } while (0)
/* The call fails, and changes neither decisions nor the audit. */
#define REFUSES(call, expected)                                                                    \
    do {                                                                                           \
        uint64_t before_ = accounts_generation(fixture->store);                                    \
        int64_t events_ = number(fixture, "SELECT count(*) FROM audit");                           \
        FAILS(call, expected);                                                                     \
        assert_int_equal(accounts_generation(fixture->store), before_);                            \
        assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), events_);                  \
    } while (0)

static const struct audit_event an_event = {.actor = {"root", 4},
                                            .actor_id = 7,
                                            .action = {"test.done", 9},
                                            .target = {"user/ana", 8},
                                            .outcome = {"done", 4},
                                            .remote = {"192.0.2.1", 9},
                                            .request_id = {"r-1", 3},
                                            .detail = {"{\"a\":1}", 7}};

static inline int64_t account_new(struct fixture *fixture, const char *name, enum account_kind kind,
                                  enum account_role role)
{
    OWNED(memory_drop) char *text = memory_text(slice_of(name));
    OWNED(memory_drop) char *hash = memory_text(SLICE("$y$hash"));
    struct account account = {.name = text,
                              .kind = kind,
                              .role = role,
                              .password_hash = kind == ACCOUNT_USER ? hash : NULL};

    OK(account_create(fixture->store, &account, false, &an_event, &fixture->err));
    return account.id;
}

static inline int64_t user_new(struct fixture *fixture, const char *name)
{
    return account_new(fixture, name, ACCOUNT_USER, ACCOUNT_ROLE_USER);
}

static inline int64_t admin_new(struct fixture *fixture, const char *name)
{
    return account_new(fixture, name, ACCOUNT_USER, ACCOUNT_ROLE_ADMIN);
}

static inline int64_t grant_new(struct fixture *fixture, const char *account, const char *pattern,
                                unsigned rights)
{
    OWNED(grant_drop) struct grant grant = {.id = 0};
    bool created = false;

    OK(grant_put(fixture->store, slice_of(account), slice_of(pattern), rights, 0, &an_event, &grant,
                 &created, &fixture->err));
    return grant.id;
}

/* A hash of a secret nobody has, the same for the same number. */
static inline const uint8_t *hash_new(uint8_t *out, int which)
{
    memset(out, 0, SECRET_HASH_SIZE);
    memcpy(out, &which, sizeof(which));
    return out;
}

static inline int token_new_try(struct fixture *fixture, int64_t account, enum token_kind kind,
                                int which, int64_t expires_at, int64_t *id)
{
    static const uint8_t family[TOKEN_FAMILY_SIZE] = {1, 2, 3};
    uint8_t hash[SECRET_HASH_SIZE];
    OWNED(token_drop) struct token out = {.id = 0};
    const struct token_new token = {.account_id = account,
                                    .kind = kind,
                                    .secret_hash = hash_new(hash, which),
                                    .family = kind == TOKEN_REFRESH ? family : NULL,
                                    .hint = SLICE("slipway_pat_Ab...yz"),
                                    .label = SLICE("laptop"),
                                    .scopes = SLICE("api"),
                                    .service = SLICE("registry"),
                                    .expires_at = expires_at};

    fixture->err = (struct error){0};
    int result = token_create(fixture->store, &token, &an_event, &out, &fixture->err);
    *id = out.id;
    return result;
}

static inline int64_t token_make(struct fixture *fixture, int64_t account, enum token_kind kind,
                                 int which)
{
    int64_t id = 0;

    OK(token_new_try(fixture, account, kind, which, 0, &id));
    return id;
}

static inline int64_t session_make(struct fixture *fixture, int64_t account, int which)
{
    uint8_t hash[SECRET_HASH_SIZE];
    int64_t id = 0;

    OK(login_session_create(fixture->store, account, hash_new(hash, which), SLICE("192.0.2.9"),
                            SLICE("a browser"), &an_event, &id, &fixture->err));
    return id;
}

#endif
