/* password.c - password hashes: yescrypt written, bcrypt of password files read.
 * Touches  libcrypt.
 * Never    stores, logs or compares a password outside of the hash.
 *
 * The cost: one yescrypt at YESCRYPT_COST fills 32 MiB and takes 34 ms on a current server core
 * (cost 5: 17 ms, cost 7: 68 ms); a bcrypt of cost 10 takes 48 ms, of cost 5 (what htpasswd -B
 * writes unless told otherwise) 1.6 ms.
 *
 * Equal work: every verification does one yescrypt, the account's or one for show, and where a
 * password file with bcrypt hashes is in use, bcrypt worth the highest cost in it. An entry of cost
 * c in a file whose highest is m is filled up by one hash of each cost c ... m - 1, for
 * 2^c + (2^c + ... + 2^(m-1)) = 2^m. */
#include "auth/password.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include "auth/secret.h"

enum { YESCRYPT_COST = 6, SALT_SIZE = 16 };

_Static_assert((int)PASSWORD_SIZE_MAX == CRYPT_MAX_PASSPHRASE_SIZE - 1, "what libcrypt takes");
_Static_assert((int)PASSWORD_HASH_MAX >= CRYPT_OUTPUT_SIZE, "what libcrypt gives");

static const char YESCRYPT[] = "$y$";
static const char BCRYPT[] = "$2b$";

/* What libcrypt works with: 32 KiB, full of traces of the password. */
struct work {
    char phrase[PASSWORD_SIZE_MAX + 1];
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data data;
};

static struct work *work_new(void)
{
    return memory_new(sizeof(struct work));
}

static void work_drop(struct work **owned)
{
    if (*owned == NULL)
        return;
    secret_wipe(*owned, sizeof(**owned));
    free(*owned);
}

/* NULL: libcrypt has no memory, or does not know the setting. */
static const char *work_hash(struct work *work, const char *setting)
{
    return crypt_rn(work->phrase, setting, &work->data, sizeof(work->data));
}

/* The same work as for a stored hash; the result is of no use. */
static void work_for_show(struct work *work, const char *prefix, unsigned long cost)
{
    static const char salt[SALT_SIZE] = {0};

    if (crypt_gensalt_rn(prefix, cost, salt, sizeof(salt), work->setting, sizeof(work->setting)))
        (void)work_hash(work, work->setting);
}

int password_hash(struct slice password, char out[PASSWORD_HASH_MAX], struct error *err)
{
    OWNED(work_drop) struct work *work = work_new();
    char salt[SALT_SIZE];

    if (password.size < PASSWORD_SIZE_MIN || password.size > PASSWORD_SIZE_MAX)
        return error_set_field(err, "password", "password must have %d to %d bytes",
                               PASSWORD_SIZE_MIN, PASSWORD_SIZE_MAX);
    if (!slice_to_text(password, work->phrase, sizeof(work->phrase)))
        return error_set_field(err, "password", "password has a NUL in it");
    random_bytes(salt, sizeof(salt));
    if (!crypt_gensalt_rn(YESCRYPT, YESCRYPT_COST, salt, sizeof(salt), work->setting,
                          sizeof(work->setting)))
        return error_set(err, ERROR_INTERNAL, "password cannot be hashed");
    const char *hash = work_hash(work, work->setting);
    if (hash == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "password cannot be hashed: no memory");
    memcpy(out, hash, strlen(hash) + 1);
    return 0;
}

/* [./0-9A-Za-z]: the digits of every hash that is read. */
static bool all_digits64(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        char c = s.at[i];
        if (!(c >= '.' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z'))
            return false;
    }
    return s.size > 0;
}

unsigned password_bcrypt_cost(struct slice hash)
{
    const char *at = hash.at;

    if (hash.size != 60 || at[0] != '$' || at[1] != '2' || at[3] != '$' || at[6] != '$')
        return 0;
    if (at[2] != 'a' && at[2] != 'b' && at[2] != 'y')
        return 0;
    if (at[4] < '0' || at[4] > '3' || at[5] < '0' || at[5] > '9')
        return 0;
    unsigned cost = (unsigned)(at[4] - '0') * 10 + (unsigned)(at[5] - '0');
    if (cost < BCRYPT_COST_MIN || cost > 31 || !all_digits64(slice_from(hash, 7)))
        return 0;
    return cost;
}

/* "$y$j", memory of 1 to 64 MiB as this program wrote it or will, "$", salt, "$", 43 digits. */
static bool yescrypt_readable(struct slice hash)
{
    struct slice salt, digest;

    if (!slice_starts(hash, "$y$j") || hash.size < 7 || hash.at[6] != '$')
        return false;
    if (hash.at[4] < '7' || hash.at[4] > 'B' || (hash.at[5] != '5' && hash.at[5] != 'T'))
        return false;
    if (!slice_split(slice_from(hash, 7), '$', &salt, &digest))
        return false;
    return salt.size <= 86 && all_digits64(salt) && digest.size == 43 && all_digits64(digest);
}

bool password_hash_readable(struct slice hash)
{
    unsigned cost = password_bcrypt_cost(hash);

    return cost > 0 ? cost <= BCRYPT_COST_MAX : yescrypt_readable(hash);
}

static bool work_matches(struct work *work, const char *hash)
{
    const char *made = work_hash(work, hash);

    return made != NULL && secret_equal(slice_of(made), slice_of(hash));
}

bool password_verify(struct slice password, const char *hash, unsigned bcrypt_cost)
{
    OWNED(work_drop) struct work *work = work_new();
    bool readable = hash != NULL && password_hash_readable(slice_of(hash));
    unsigned own = readable ? password_bcrypt_cost(slice_of(hash)) : 0;

    /* What no hash can be of is tried all the same, as the empty password, for the time it takes.
     */
    if (!slice_to_text(password, work->phrase, sizeof(work->phrase)))
        own = 0, readable = false;
    bool matches = readable && work_matches(work, hash);
    if (!readable || own > 0)
        work_for_show(work, YESCRYPT, YESCRYPT_COST);
    if (own == 0 && bcrypt_cost > 0)
        work_for_show(work, BCRYPT, bcrypt_cost);
    for (unsigned cost = own; own > 0 && cost < bcrypt_cost; cost++)
        work_for_show(work, BCRYPT, cost);
    return matches;
}
