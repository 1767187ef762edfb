/* key_folder.h - signing keys as files: <created, UTC>-<thumbprint>.pem.
 * Touches  the PEM files of one folder, or one file that is named.
 * Never    decides which key signs: keys.c does.
 *
 * Errors are UNAVAILABLE and name the file. Spec: TOK-49; keys (3). */
#ifndef SLIPWAY_AUTH_KEY_FOLDER_H
#define SLIPWAY_AUTH_KEY_FOLDER_H

#include "auth/jwt_internal.h"

enum { KEY_NAME_SIZE = 64 }; /* "20240131T235959Z-", 43 of the thumbprint, ".pem" */

struct key_file {
    char name[KEY_NAME_SIZE + 1];
    int64_t created_s; /* seconds since 1970 */
    struct jwt_key *key;
};
void key_file_drop(struct key_file *file);
/* The older first; of the same second, by name. */
int key_file_compare(const struct key_file *a, const struct key_file *b);
/* One file that is named; its name and time of creation stay unset. */
int key_file_read(const char *path, struct key_file *out, struct error *err) MUST_CHECK;

struct key_names {
    char **items;
    size_t count;
};
void key_names_drop(struct key_names *names);

/* Makes the folder, mode 0700, when there is none. Removes what a crash left half-written. */
int key_folder_make(const char *folder, struct error *err) MUST_CHECK;
/* The names of all keys. A file that is no key of ours is an error, and the others are listed all
 * the same; names->items is NULL when the folder cannot be read. */
int key_folder_list(const char *folder, struct key_names *out, struct error *err) MUST_CHECK;
/* What can be said of the folder without reading a key (and without OpenSSL): a file that is none
 * of ours, that others can reach, that is no PEM from its beginning to its end; no key, and no
 * place for one. count: of keys; NULL: who cares. */
int key_folder_check(const char *folder, size_t *count, struct error *err) MUST_CHECK;
/* What is read is durable on return, name and bytes. */
int key_folder_read(const char *folder, const char *name, struct key_file *out,
                    struct error *err) MUST_CHECK;
/* A fresh key; on return it is durable. */
int key_folder_create(const char *folder, int64_t now_s, struct key_file *out,
                      struct error *err) MUST_CHECK;
int key_folder_remove(const char *folder, const char *name, struct error *err) MUST_CHECK;

#endif
