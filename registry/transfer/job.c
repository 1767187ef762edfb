/* job.c - imports and exports as kinds of jobs: what a spec asks for, what is told of the result.
 * Touches  the job's spec and result.
 * Never    a path of its own making: those of the spec are absolute. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/transfer/transfer.h"
#include "registry/transfer/transfer_internal.h"

enum { PROBLEMS_MAX = 1000 }; /* listed; the others are counted */

/* --- what is told --- */

void transfer_count(struct transfer *transfer, const char *counter, uint64_t amount)
{
    json_t *value = json_object_get(transfer->result, counter);
    json_int_t before = value == NULL ? 0 : json_integer_value(value);

    if (amount == 0)
        return;
    json_object_set_new(transfer->result, counter, json_integer(before + (json_int_t)amount));
    progress_add(transfer->progress, counter, amount);
}

void transfer_problem(struct transfer *transfer, struct slice repository, const char *place,
                      const char *format, ...)
{
    OWNED(buffer_drop) struct buffer message = BUFFER_NONE;
    json_t *problems = json_object_get(transfer->result, "problems");
    va_list list;

    va_start(list, format);
    buffer_print_list(&message, format, list);
    va_end(list);
    transfer_count(transfer, "problem_count", 1);
    if (json_array_size(problems) >= PROBLEMS_MAX)
        return;
    /* names of folders may be no UTF-8: these texts are left out */
    json_t *problem = json_object();
    json_object_set_new(problem, "repository", json_stringn(repository.at, repository.size));
    json_object_set_new(problem, "place", json_string(place));
    json_object_set_new(problem, "problem", json_string(message.at));
    json_array_append_new(problems, problem);
}

void transfer_problem_digest(struct transfer *transfer, struct slice repository,
                             const struct digest *digest, const char *message)
{
    char text[DIGEST_TEXT_MAX];

    transfer_problem(transfer, repository, digest_text(digest, text), "%s", message);
}

bool transfer_stopped(const struct transfer *transfer)
{
    return progress_cancelled(transfer->progress);
}

/* --- specs --- */

static struct slice text_of(const json_t *spec, const char *member)
{
    const json_t *value = json_object_get(spec, member);

    return json_is_string(value)
               ? (struct slice){json_string_value(value), json_string_length(value)}
               : SLICE_NONE;
}

static const char *const modes[] = {[ADOPT_AUTO] = "auto",
                                    [ADOPT_LINK] = "link",
                                    [ADOPT_REFLINK] = "reflink",
                                    [ADOPT_COPY] = "copy"};

static int read_mode(const json_t *spec, enum adopt_mode *out, struct error *err)
{
    struct slice text = text_of(spec, "mode");

    *out = ADOPT_AUTO;
    if (json_object_get(spec, "mode") == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (slice_equal_text(text, modes[i])) {
            *out = (enum adopt_mode)i;
            return 0;
        }
    return error_set_field(err, "mode", "mode is none of auto, link, reflink and copy");
}

/* A text of the spec that goes to the kernel as a path. */
static int check_path(const json_t *spec, const char *member, struct error *err)
{
    struct slice path = text_of(spec, member);

    if (path.size == 0 || path.at[0] != '/' || memchr(path.at, 0, path.size) != NULL)
        return error_set_field(err, member, "%s is not an absolute path", member);
    return 0;
}

/* Members that are texts where they are there. */
static int check_texts(const json_t *spec, const char *const *members, struct error *err)
{
    for (; *members != NULL; members++)
        if (json_object_get(spec, *members) != NULL && text_of(spec, *members).size == 0)
            return error_set_field(err, *members, "%s is no text, or empty", *members);
    return 0;
}

/* Where images come from: what its spec must have, and how it runs. */
struct origin {
    const char *name;
    int (*check)(const json_t *spec, struct error *err);
    int (*run)(struct transfer *transfer, const json_t *spec, struct error *err);
};

static int check_distribution(const json_t *spec, struct error *err)
{
    static const char *const texts[] = {"repository", NULL};

    return check_texts(spec, texts, err) < 0 ? -1 : check_path(spec, "path", err);
}

static int run_distribution(struct transfer *transfer, const json_t *spec, struct error *err)
{
    assert_worker_thread();
    return import_distribution(transfer, text_of(spec, "path").at, text_of(spec, "repository"),
                               err);
}

static int check_oci_layout(const json_t *spec, struct error *err)
{
    if (check_path(spec, "path", err) < 0)
        return -1;
    if (!oci_name_valid(text_of(spec, "repository")))
        return error_set_field(err, "repository", "repository is no name of a repository");
    if (json_object_get(spec, "tag") != NULL && !oci_tag_valid(text_of(spec, "tag")))
        return error_set_field(err, "tag", "tag is no name of a tag");
    return 0;
}

static int run_oci_layout(struct transfer *transfer, const json_t *spec, struct error *err)
{
    assert_worker_thread();
    return import_oci_layout(transfer, text_of(spec, "path").at, text_of(spec, "repository"),
                             text_of(spec, "tag"), err);
}

static int check_remote(const json_t *spec, struct error *err)
{
    static const char *const texts[] = {"tags", "user", "password_file", "ca_file", NULL};
    static const char *const paths[] = {"password_file", "ca_file"};
    const json_t *repositories = json_object_get(spec, "repositories");
    size_t i;
    json_t *value;

    if (text_of(spec, "url").size == 0)
        return error_set_field(err, "url", "url is missing");
    if (check_texts(spec, texts, err) < 0)
        return -1;
    for (i = 0; i < 2; i++)
        if (json_object_get(spec, paths[i]) != NULL && check_path(spec, paths[i], err) < 0)
            return -1;
    if (repositories != NULL && !json_is_array(repositories))
        return error_set_field(err, "repositories", "repositories is no list");
    json_array_foreach(repositories, i, value)
        if (!json_is_string(value) || json_string_length(value) == 0)
            return error_set_field(err, "repositories", "repositories[%zu] is no text", i);
    return 0;
}

static int run_remote(struct transfer *transfer, const json_t *spec, struct error *err)
{
    const json_t *repositories = json_object_get(spec, "repositories");
    OWNED(memory_drop)
    struct slice *names = memory_new((json_array_size(repositories) + 1) * sizeof(*names));
    const struct import_remote what = {
        .url = text_of(spec, "url").at,
        .repositories = names,
        .repository_count = json_array_size(repositories),
        .tags = text_of(spec, "tags"),
        .user = text_of(spec, "user").at,
        .password_file = text_of(spec, "password_file").at,
        .ca_file = text_of(spec, "ca_file").at,
        .plain_http = json_is_true(json_object_get(spec, "plain_http")),
    };

    assert_worker_thread();
    for (size_t i = 0; i < what.repository_count; i++)
        names[i] = slice_of(json_string_value(json_array_get(repositories, i)));
    return import_remote(transfer, &what, err);
}

static const struct origin origins[] = {
    {"distribution", check_distribution, run_distribution},
    {"oci-layout", check_oci_layout, run_oci_layout},
    {"remote", check_remote, run_remote},
};

static const struct origin *origin_of(const json_t *spec)
{
    for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++)
        if (slice_equal_text(text_of(spec, "from"), origins[i].name))
            return &origins[i];
    return NULL;
}

static int check_import(const json_t *spec, struct error *err)
{
    const struct origin *origin = origin_of(spec);
    enum adopt_mode mode;

    if (origin == NULL)
        return error_set_field(err, "from", "from is nothing that can be imported");
    return read_mode(spec, &mode, err) < 0 ? -1 : origin->check(spec, err);
}

/* --- the runs --- */

static int begin(struct transfer *transfer, struct job *job, struct error *err)
{
    const json_t *spec = job_spec(job);

    *transfer = (struct transfer){
        .storage = job_storage(job),
        .config = job_config(job),
        .progress = job_progress(job),
        .actor = {.name = SLICE("local")},
        .trusting = json_is_true(json_object_get(spec, "trusting")),
        .dry_run = json_is_true(json_object_get(spec, "dry_run")),
        .overwrite = json_is_true(json_object_get(spec, "overwrite")),
        .result = job_result(job),
    };
    json_object_set_new(transfer->result, "problem_count", json_integer(0));
    json_object_set_new(transfer->result, "problems", json_array());
    return read_mode(spec, &transfer->mode, err);
}

static int run_import(struct job *job, struct error *err)
{
    const struct origin *origin = origin_of(job_spec(job));
    struct transfer transfer;

    assert(origin != NULL); /* it was checked */
    if (begin(&transfer, job, err) < 0)
        return -1;
    return origin->run(&transfer, job_spec(job), err);
}

const struct job_kind transfer_import = {
    .name = "import", .run = run_import, .check = check_import, .local = true, .resumes = true};

/* --- export --- */

static int read_images(const json_t *spec, struct image_name *out, struct error *err)
{
    const json_t *images = json_object_get(spec, "images");
    struct error why = {0};
    size_t i;
    json_t *value;

    json_array_foreach(images, i, value) {
        struct slice text = {json_string_value(value), json_string_length(value)};
        if (!json_is_string(value))
            return error_set_field(err, "images", "images[%zu] is no text", i);
        if (image_name_parse(text, &out[i], &why) < 0)
            return error_set_field(err, "images", "images[%zu]: %s", i, why.message);
    }
    return 0;
}

static struct image_name *images_new(const json_t *spec)
{
    return memory_new((json_array_size(json_object_get(spec, "images")) + 1) *
                      sizeof(struct image_name));
}

static int check_export(const json_t *spec, struct error *err)
{
    OWNED(memory_drop) struct image_name *images = images_new(spec);
    enum adopt_mode mode;

    if (json_array_size(json_object_get(spec, "images")) == 0)
        return error_set_field(err, "images", "images is no list, or empty");
    if (check_path(spec, "path", err) < 0 || read_mode(spec, &mode, err) < 0)
        return -1;
    return read_images(spec, images, err);
}

static int run_export(struct job *job, struct error *err)
{
    const json_t *spec = job_spec(job);
    OWNED(memory_drop) struct image_name *images = images_new(spec);
    struct transfer transfer;

    assert_worker_thread();
    if (begin(&transfer, job, err) < 0 || read_images(spec, images, err) < 0)
        return -1;
    return export_oci_layout(&transfer, text_of(spec, "path").at, images,
                             json_array_size(json_object_get(spec, "images")),
                             json_is_true(json_object_get(spec, "referrers")), err);
}

const struct job_kind transfer_export = {
    .name = "export", .run = run_export, .check = check_export, .local = true, .resumes = true};
