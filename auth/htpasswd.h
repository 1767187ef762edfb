/* htpasswd.h - a password file: name:bcrypt a line.
 * Touches  the file.
 * Never    writes it; takes other hashes than bcrypt (TOK-61).
 *
 * Any thread; what is read again replaces the old content whole. At most 10,000 entries in 1 MiB.
 */
#ifndef SLIPWAY_AUTH_HTPASSWD_H
#define SLIPWAY_AUTH_HTPASSWD_H

#include "auth/password.h"

struct htpasswd;

/* UNAVAILABLE  cannot be read. INVALID  a line number and what is wrong with it */
int htpasswd_open(struct htpasswd **out, const char *path, struct error *err) MUST_CHECK;
void htpasswd_close(struct htpasswd *file); /* accepts NULL */
/* Reads it again when device, inode, size or times changed, or force. *changed when the content is
 * new. On failure the old content stays. */
int htpasswd_reload(struct htpasswd *file, bool force, bool *changed, struct error *err);
/* True with the hash when the name is there. */
bool htpasswd_find(struct htpasswd *file, struct slice name, char out[PASSWORD_HASH_MAX]);

/* The highest cost of a hash in it, for password_verify; 0: it is empty. */
unsigned htpasswd_cost(struct htpasswd *file);

/* Pure: one line. 1 an entry, 0 blank or a comment, -1 malformed with a sentence. */
int htpasswd_line_parse(struct slice line, struct slice *name, struct slice *hash,
                        struct error *err);

#endif
