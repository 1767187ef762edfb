/* json.h - the JSON body of a request, read by a table of the members a handler knows.
 * Touches  memory only.
 * Never    guesses: a member that is unknown, there twice, of another type or out of bounds is
 *          refused. Keeps nothing after json_body_drop: texts may be passwords.
 *
 * jansson reads the JSON: UTF-8, no NUL in texts, integers of 64 bits, no member twice. */
#ifndef SLIPWAY_API_JSON_H
#define SLIPWAY_API_JSON_H

#include "registry/http/message.h"

enum { JSON_BODY_MAX = 64 * 1024 };

enum json_kind {
    JSON_TEXT,   /* no control characters save tab and line feed */
    JSON_SECRET, /* any text */
    JSON_FLAG,
    JSON_NUMBER, /* an integer */
    JSON_TIME,   /* RFC 3339 */
    JSON_LIST,   /* its items are read with json_next */
    JSON_GROUP,  /* an object, whatever it holds: somebody else judges it */
};

struct json_member {
    const char *name;
    enum json_kind kind;
    bool required;
    bool nullable;
    int64_t least, most; /* bytes of a text, value of a number, items of a list */
};

/* A table and its size. */
#define JSON_MEMBERS(table) (table), sizeof(table) / sizeof((table)[0])

/* What json_next goes through. */
struct json_list {
    const void *array;
    size_t next;
};

struct json_value {
    bool given; /* the member is there */
    bool null;  /* and is null */
    bool flag;
    int64_t number; /* also a time: microseconds since 1970 */
    struct slice text;
    struct json_list list;
    const void *object; /* json_t */
};

/* Holds the texts: values live as long. Zero-initialised is empty. */
struct json_body {
    void *document;
};
void json_body_drop(struct json_body *body); /* wipes */

/* Reads the body of the request as one object; an empty body is an empty object. values has an
 * element for each member, in their order.
 * BAD_REQUEST  another media type, or not JSON;  INVALID  with the member at fault */
int json_read(struct json_body *body, const struct request *request,
              const struct json_member *members, size_t count, struct json_value *values,
              struct error *err) MUST_CHECK;
/* The same for bytes without a request. */
int json_read_text(struct json_body *body, struct slice text, const struct json_member *members,
                   size_t count, struct json_value *values, struct error *err) MUST_CHECK;

/* The next item of a list; false at its end. */
bool json_next(struct json_list *list, const void **item);
/* An item that is an object; faults name `field`, the list's member. */
int json_read_item(const void *item, const char *field, const struct json_member *members,
                   size_t count, struct json_value *values, struct error *err) MUST_CHECK;
/* An item that is a text. */
int json_read_word(const void *item, const char *field, struct slice *out,
                   struct error *err) MUST_CHECK;

#endif
