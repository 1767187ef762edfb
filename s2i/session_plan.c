/* session_plan.c - what a build would do, what a builder's usage says, the build as a Dockerfile.
 * Touches  what session.c touches, without publishing.
 * Never    makes a row, moves a tag. Spec: s2i 10.3, 10.4, 15.9. */
#include "s2i/session.h"

#include <string.h>

#include "s2i/contract/dockerfile.h"

static json_t *names_of(const struct s2i_list *assignments)
{
    json_t *names = json_array();

    for (size_t i = 0; i < assignments->count; i++) {
        struct slice name, value;
        slice_split(slice_of(assignments->items[i]), '=', &name, &value);
        json_array_append_new(names, json_stringn(name.at, name.size));
    }
    return names;
}

/* Which files would come out of which images (13.52). */
static json_t *copies_of(const struct s2i_spec *spec)
{
    const struct s2i_list *items = &spec->options.copy_from;
    struct slice name, source, destination;
    char digest[DIGEST_TEXT_MAX];
    json_t *copies = json_array();

    for (size_t i = 0; i < items->count; i++) {
        if (!s2i_copy_parse(slice_of(items->items[i]), &name, &source, &destination))
            continue;
        const struct s2i_image *image = s2i_spec_input(spec, name);
        json_array_append_new(
            copies, json_pack("{s:o, s:s, s:o, s:o}", "image", s2i_json_text(name), "digest",
                              image == NULL ? "" : digest_text(&image->digest, digest), "source",
                              s2i_json_text(source), "destination", s2i_json_text(destination)));
    }
    return copies;
}

static json_t *plan_answer(struct session *session)
{
    char digest[DIGEST_TEXT_MAX];
    json_t *answer =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:O}", "builder", session->spec.builder.name,
                  "builder_digest", digest_text(&session->spec.builder.digest, digest), "env",
                  names_of(&session->result.env), "labels", names_of(&session->spec.options.labels),
                  "tags", json_loads(session->task->record.tags, 0, NULL), "facts", session->facts);

    if (session->spec.options.copy_from.count > 0)
        json_object_set_new(answer, "copy_from", copies_of(&session->spec));
    return answer;
}

/* "registry.example:5000" of "https://registry.example:5000". */
static const char *host_of(const char *url)
{
    const char *slashes = strstr(url, "://");

    return slashes == NULL ? url : slashes + 3;
}

static json_t *dockerfile_answer(struct session *session)
{
    const struct dockerfile about = {.spec = &session->spec,
                                     .plan = &session->result,
                                     .registry =
                                         host_of(session->task->builds->config->server_public_url)};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};

    if (dockerfile_make(&about, &text, &err) < 0)
        return json_pack("{s:{s:s, s:s}}", "error", "reason", "DockerFileCreationFailed", "message",
                         err.message);
    return json_pack("{s:o}", "dockerfile", s2i_json_text(buffer_slice(&text)));
}

void session_plan(struct build_task *task, enum build_question question, struct buffer *out)
{
    struct build_outcome outcome;
    struct session session;
    json_t *answer;

    session_start(&session, task, &outcome, question == BUILD_USAGE ? S2I_USAGE : S2I_PLAN);
    if (session_steps(&session) < 0)
        answer = json_pack("{s:{s:s, s:s}}", "error", "reason", outcome.reason, "message",
                           outcome.message);
    else if (question == BUILD_DOCKERFILE)
        answer = dockerfile_answer(&session);
    else if (question == BUILD_USAGE)
        answer =
            json_pack("{s:s}", "usage", session.result.output == NULL ? "" : session.result.output);
    else
        answer = plan_answer(&session);
    session_text_keep(out, answer);
    session_finish(&session);
    build_outcome_drop(&outcome);
}
