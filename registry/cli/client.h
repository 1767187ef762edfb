/* client.h - a command's talk with a server: over this machine's admin socket, or over https.
 * Touches  one connection at a time, the token file, standard error.
 * Never    prints a secret; follows a redirect; sends credentials in the clear to another machine.
 *
 * Functions that return an int return an exit status; when it is not CLI_DONE they said why. */
#ifndef SLIPWAY_CLI_CLIENT_H
#define SLIPWAY_CLI_CLIENT_H

#include "registry/cli/cli.h"
#include "registry/core/json.h"

/* --url, --token-file, --user, --password-file, --ca-file, --timeout, --json */
extern const struct cli_option cli_remote[];

struct client;

/* Where to, by the options: --url, else the admin socket that the settings name. */
int client_open(struct client **out, const struct cli_call *call) MUST_CHECK;
/* The next answers may take a day, unless --timeout says otherwise. */
void client_wait_long(struct client *client);
void client_close(struct client **client); /* for OWNED; accepts NULL */
/* While quiet an answer that does not come is not told: who asks again and again tells it once. */
void client_quiet(struct client *client, bool quiet);
/* The password it signs in with, borrowed; "" without --user. */
const char *client_password(const struct client *client);

/* One request below /api/v1. path: "/users/ana?limit=5", percent-encoded by the caller; body:
 * borrowed, NULL for none. *answer (may be NULL) becomes the caller's; a JSON null when there is no
 * body. An answer that is not 2xx is a failure, told on standard error. */
int client_send(struct client *client, const char *method, const char *path, const json_t *body,
                json_t **answer) MUST_CHECK;
/* All pages of a list, as one object with items and total. *answer is the caller's. */
int client_list(struct client *client, const char *path, json_t **answer) MUST_CHECK;
/* A POST whose body is so many bytes of a file, from where it stands; it may take as long as bytes
 * go. *answer as above. */
int client_upload(struct client *client, const char *path, const char *type, int fd, uint64_t size,
                  json_t **answer) MUST_CHECK;
/* A reply that goes on: its bytes as they come, for as long as it does. *broken: the connection
 * ended before the reply did, which is no failure and is not told: ask again for what is missing.
 */
int client_follow(struct client *client, const char *path,
                  void (*take)(void *arg, struct slice bytes), void *arg, bool *broken) MUST_CHECK;
/* Any method and body, whatever is answered is printed: for `api`. */
int client_raw(struct client *client, const char *method, const char *path,
               struct slice body) MUST_CHECK;

#endif
