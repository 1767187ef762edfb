/* news.h - what commits changed, told to one listener: tags, manifests, repositories, builds, jobs.
 * Touches  nothing by itself.
 * Never    told before it is durable, as far as its work is; of what was undone; reads the JSON it
 *          carries.
 *
 * Whatever caused a change, it is told from the transaction that makes it: pushes, the management
 * API, builds, rules of retention, the collector, imports, repairs. Spec: s2i 13.48. */
#ifndef SLIPWAY_STORAGE_NEWS_H
#define SLIPWAY_STORAGE_NEWS_H

#include "registry/core/bytes.h"
#include "registry/core/digest.h"

enum news_kind { NEWS_PUSH, NEWS_DELETE, NEWS_BUILD, NEWS_JOB };
enum { NEWS_KINDS = NEWS_JOB + 1 };

enum { NEWS_COLLECTED = -1 }; /* nothing referred to it */
/* What came or went. */
enum news_object { NEWS_TAG, NEWS_MANIFEST, NEWS_REPOSITORY };

/* Texts are "" where there is none. What is below a comment is for that kind alone. */
struct news {
    enum news_kind kind;
    int64_t at; /* us since 1970 */
    struct slice repository;
    struct slice actor; /* name of the account; "": the server itself, or nobody */
    /* NEWS_PUSH, NEWS_DELETE; digest and from are not set where there is none */
    enum news_object object;
    int cause; /* enum tag_cause, or NEWS_COLLECTED */
    struct slice tag, media_type;
    struct digest digest, from; /* from: what the tag stood for before */
    uint64_t size;              /* bytes, with all that it names; NEWS_PUSH */
    /* NEWS_BUILD, NEWS_JOB */
    int64_t id;
    int state;                    /* enum build_state, enum job_state */
    struct slice name;            /* what began the build; the kind of job */
    struct slice reason, message; /* of its end */
    struct slice ref, commit;     /* NEWS_BUILD */
    struct slice tags, result;    /* NEWS_BUILD: a JSON array; the image's digest */
    struct slice phase;           /* NEWS_JOB */
    struct slice detail;          /* JSON: a build's stages, a job's progress; "" when too long */
};
/* With texts of its own, as every one that is told. */
struct news *news_copy(const struct news *news);
void news_drop(struct news *news);         /* accepts NULL */
size_t news_size(const struct news *news); /* bytes of memory */

/* The row as it is, as news of now; the texts are the row's. */
struct job_record;
struct news news_of_job(const struct job_record *job);

#endif
