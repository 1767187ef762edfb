/* verb.h - what commands on the server's things have in common: one request, one answer shown.
 * Touches  the server by way of client.h, standard output.
 * Never    knows a noun. */
#ifndef SLIPWAY_CLI_VERB_H
#define SLIPWAY_CLI_VERB_H

#include "registry/cli/client.h"
#include "registry/cli/prompt.h"
#include "registry/cli/show.h"

/* Appends text percent-encoded; its slashes stay when it is a repository's name. */
void verb_path_word(struct buffer *path, const char *word, bool keep_slashes);
/* "?name=value" or "&name=value"; nothing when value is NULL. */
void verb_path_parameter(struct buffer *path, const char *name, const char *value);

/* "/repos/NAME/-" and part, of the command's first word; of two words: and a slash and the second.
 */
void verb_content_path(const struct cli_call *call, struct buffer *path, const char *part,
                       size_t words);

/* Each opens a client, and returns an exit status; path as in client.h, not terminated. */
int verb_list(const struct cli_call *call, struct buffer *path, const struct show_column *columns);
int verb_show(const struct cli_call *call, struct buffer *path, const struct show_column *columns);
/* body (NULL: none) is consumed. `done` is told on standard error when it worked and there is no
 * --json; `columns` (NULL: none) show the answer. */
int verb_send(const struct cli_call *call, const char *method, struct buffer *path, json_t *body,
              const char *done, const struct show_column *columns);
/* The same; the answer has a new secret: it goes to standard output alone. */
int verb_send_secret(const struct cli_call *call, const char *method, struct buffer *path,
                     json_t *body);

/* The number that a word has to be, of a "build". CLI_USAGE with a line */
int verb_number(const struct cli_call *call, const char *word, const char *thing, uint64_t *out);

/* Things of one kind, each known by its name or number. */
struct verb_things {
    const char *path;                            /* "/users" */
    bool keep_slashes;                           /* names of repositories have them */
    const struct show_column *columns, *details; /* of the list, of one */
    const char *numbered;                        /* "job": known by numbers; NULL: by names */
};
/* "/users/NAME", of the command's first word. */
void verb_things_path(const struct cli_call *call, const struct verb_things *things,
                      struct buffer *path);
/* --search narrows it. */
int verb_things_list(const struct cli_call *call, const struct verb_things *things);
int verb_things_show(const struct cli_call *call, const struct verb_things *things);
/* A body that is empty changes nothing: CLI_USAGE. Consumed. */
int verb_things_change(const struct cli_call *call, const struct verb_things *things, json_t *body,
                       const char *done);
/* action: ":disable" */
int verb_things_post(const struct cli_call *call, const struct verb_things *things,
                     const char *action, const char *done);
int verb_things_delete(const struct cli_call *call, const struct verb_things *things);

/* A file of at most a megabyte; "-": standard input. CLI_FAILED with a line */
int verb_read_file(const struct cli_call *call, const char *file, struct buffer *out);
/* Sets the text member when the option was given. */
void verb_set_text(const struct cli_call *call, json_t *body, const char *option,
                   const char *member);
/* The option's "90d", "12h", "never", or a time of RFC 3339. CLI_USAGE when it is none. */
int verb_set_expiry(const struct cli_call *call, json_t *body, const char *option,
                    const char *member);
/* --overlap: "1h", to seconds. */
int verb_set_overlap(const struct cli_call *call, json_t *body);
/* "pull,push" to an array, or one of the levels to "level". */
void verb_set_rights(json_t *body, const char *text);

/* Rows for tables of options. */
#define VERB_SEARCH                                                                                \
    {                                                                                              \
        "--search", "TEXT", "only those whose name has it", 0                                      \
    }
#define VERB_EXPIRES                                                                               \
    {                                                                                              \
        "--expires", "WHEN", "when the account ends: 90d, 12h, never, 2027-01-31T00:00:00Z", 0     \
    }
#define VERB_OVERLAP                                                                               \
    {                                                                                              \
        "--overlap", "TIME", "how long the old one goes on: 1h, 7d; without it not at all", 0      \
    }
#define VERB_DESCRIPTION                                                                           \
    {                                                                                              \
        "--description", "TEXT", "what it is for", 0                                               \
    }

#endif
