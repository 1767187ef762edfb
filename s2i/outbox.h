/* outbox.h - what others are told of builds: shared by outbox.c (who is told when), letter.c (which
 * build, whose secret), callback.c and status.c (the words, pure but for look-ups).
 * Touches  nothing by itself.
 * Never    included from outside s2i/ and its tests. */
#ifndef SLIPWAY_S2I_OUTBOX_H
#define SLIPWAY_S2I_OUTBOX_H

#include "s2i/s2i_internal.h"

/* A POST of JSON. */
struct letter {
    struct buffer url, body;
    struct s2i_list headers; /* "Name: value"; a secret may be in them */
};
void letter_drop(struct letter *letter); /* wipes */

/* "https://host:port" of an URL: to each of these goes one letter at a time. */
struct slice letter_destination(const char *url);

/* The value of the repository's newest secret of a kind, the caller's to wipe; NULL: it has none.
 * place: what those that count begin with, and a tab, which are left out; NULL: all do. */
struct secret_wanted {
    struct slice repository;
    enum build_secret_kind kind;
    const char *place;
};
int secret_newest(struct builds *builds, const struct secret_wanted *wanted, char **out,
                  struct error *err) MUST_CHECK ON(worker_thread);

/* What a message is to say; *any is false when there is nothing to tell any more. */
int letter_write(struct builds *builds, const struct build_message *message, struct letter *out,
                 bool *any, struct error *err) MUST_CHECK ON(worker_thread);

/* --- callback.c: how a build ended, to the URL it was given (11.1) --- */

/* "sha256=" and the HMAC of the body in hex. */
enum { CALLBACK_SIGNATURE_MAX = 80 };
void callback_sign(struct slice secret, struct slice body, char out[CALLBACK_SIGNATURE_MAX]);
/* JSON; image_config: of the result, or NULL. The caller's. */
char *callback_body(const struct build_record *record, const char *image_config);
/* Signed with the newest callback secret of the repository when it is the configuration that names
 * the URL: whoever asks for a build may name another, but gets no signature of ours there. */
int callback_write(struct builds *builds, const struct build_record *record, const char *url,
                   const struct s2i_options *configured, struct letter *out,
                   struct error *err) MUST_CHECK ON(worker_thread);

/* --- status.c: how a build stands, as a status of its commit (13.48) --- */

struct status_about {
    const struct s2i_options *configured; /* its status_kind is one of the forges, url is there */
    const struct build_record *record;
    const char *repository; /* what it is called, also while it is deleted */
    enum build_state state;
    const char *public_url; /* of this server; "" when it has none */
    const char *token;      /* NULL: none */
};
/* INVALID  the source's URL names no repository of such a forge, the commit is none */
int status_write(const struct status_about *about, struct letter *out,
                 struct error *err) MUST_CHECK;

/* --- outbox.c --- */

struct outbox_try {
    bool any;                   /* there was something to tell */
    int answer;                 /* its status; 0: none came */
    const struct error *failed; /* code NONE: an answer came, or there was nothing to tell */
    bool closing;               /* the server ends */
    int64_t now;                /* us since 1970 */
};
/* What is to stand in the row; borrows failed. False: the try does not count, outbox (1). Pure. */
bool outbox_judge(const struct build_message *message, const struct outbox_try *tried,
                  struct build_message_try *out);

/* Tells what the table build_messages holds. Close accepts NULL. */
int outbox_open(struct outbox **out, struct builds *builds, struct error *err) MUST_CHECK;
void outbox_close(struct outbox *outbox);
/* There may be something to tell; accepts NULL. */
void outbox_look(struct outbox *outbox);

#endif
