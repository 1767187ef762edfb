/* answer.h - what the nouns of the management API share: answers, conditions, lists, audit events.
 * Touches  the reply it is given.
 * Never    storage; it decides nothing.
 *
 * A resource's ETag is its version. Lists: ?limit=&cursor=&q= > {"items":[],"next":...,"total":n}
 * and a Link to what follows. */
#ifndef SLIPWAY_API_ANSWER_H
#define SLIPWAY_API_ANSWER_H

#include "registry/api/write.h"
#include "registry/http/message.h"
#include "storage/accounts.h"

/* --- one resource --- */

/* 200 with the body, which is consumed; 304 when GET or HEAD asks for another version only. */
void answer_item(const struct request *request, struct reply *reply, int64_t version,
                 struct buffer *body);
/* True when an If-None-Match of the request names the tag. */
bool answer_not_modified(const struct request *request, struct slice etag_unquoted);
/* 200 without a version. Consumes body. */
void answer_json(struct reply *reply, struct buffer *body);
/* 201 at location. Consumes body. version 0: no ETag. */
void answer_created(struct reply *reply, struct slice location, int64_t version,
                    struct buffer *body);
void answer_done(struct reply *reply); /* 204 */

/* If-Match against the version as it is: *if_version for storage, 0 when there is no condition.
 * PRECONDITION */
int answer_condition(const struct request *request, int64_t version, int64_t *if_version,
                     struct error *err) MUST_CHECK;
/* A parameter that is true or false; absent is false. name is a constant. INVALID  another word */
int answer_flag(const struct request *request, const char *name, bool *out,
                struct error *err) MUST_CHECK;
/* ?dry_run=true. INVALID */
int answer_dry_run(const struct request *request, bool *dry_run, struct error *err) MUST_CHECK;
/* 200: so many of these would go. */
void answer_would_delete(struct reply *reply, const char *what, int64_t count);
/* The number in the path. NOT_FOUND  it is none. */
int answer_id(const struct request *request, int64_t *id, struct error *err) MUST_CHECK;
int answer_missing(struct error *err); /* NOT_FOUND, the same sentence for all that is not shown */

/* --- lists --- */

enum { LIST_KEY_MAX = 255, LIST_PLACE_MAX = LIST_KEY_MAX + 24 };
enum { LIST_LIMIT = 50, LIST_LIMIT_MAX = 1000 };
struct list_query {
    struct slice after; /* the key where the page before ended; SLICE_NONE */
    int64_t after_id;   /* the same where keys are numbers; 0 */
    struct slice search;
    size_t limit;
    char key[LIST_PLACE_MAX + 1];
};
/* INVALID  limit or cursor */
int list_query_by_name(const struct request *request, struct list_query *out,
                       struct error *err) MUST_CHECK;
int list_query_by_id(const struct request *request, struct list_query *out,
                     struct error *err) MUST_CHECK;

/* Where names are not alone a key is a number and a name; none is 0 and SLICE_NONE. INVALID */
void list_place_print(struct buffer *out, int64_t id, const char *name);
int list_place_read(const struct list_query *query, int64_t *id, struct slice *name,
                    struct error *err) MUST_CHECK;

void list_open(struct buffer *body); /* then the items */
/* The end of the list and the reply. Consumes body. next: the key of the last item when more
 * follows, else SLICE_NONE; total < 0: not known. */
void list_answer(const struct request *request, struct reply *reply, struct buffer *body,
                 struct slice next, int64_t total);
void list_answer_id(const struct request *request, struct reply *reply, struct buffer *body,
                    int64_t next_id, int64_t total);
/* Only the Link, for lists of another form. */
void list_link(const struct request *request, struct reply *reply, struct slice next);

/* --- audit --- */

/* What is told of a change; freed with event_drop. `detail` is written with write.h between
 * event_new and event_done, without the braces. */
struct event {
    struct audit_event audit; /* given to storage */
    struct buffer target, detail;
};
void event_new(struct event *event, const struct request *request, const char *action,
               const char *kind, struct slice target);
/* "user" and 7: user/7 */
void event_new_id(struct event *event, const struct request *request, const char *action,
                  const char *kind, int64_t id);
const struct audit_event *event_done(struct event *event);
void event_drop(struct event *event);
/* {"old":...,"new":...} when they differ. */
void event_changed(struct event *event, const char *name, struct slice old, struct slice now);

#endif
