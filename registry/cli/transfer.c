/* transfer.c - import and export: moving in from other registries, and out.
 * Touches  the server by way of work.h, or the root folder.
 * Never    reads what is to be imported: the job does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/cli/work.h"
#include "registry/transfer/transfer.h"

static const struct show_column import_columns[] = {
    {"repositories", "repositories"},
    {"manifests", "manifests"},
    {"manifests that were here", "manifests_present"},
    {"tags", "tags"},
    {"tags that were here", "tags_present"},
    {"blobs to bring", "blobs_to_bring"},
    {"blobs copied", "blobs_copied"},
    {"blobs cloned", "blobs_cloned"},
    {"blobs linked", "blobs_linked"},
    {"blobs of other repositories", "blobs_mounted"},
    {"blobs that were here", "blobs_present"},
    {"bytes", SHOW_SIZE "bytes"},
    {"problems", "problem_count"},
    {0},
};

/* --- specs --- */

static bool set_path(const struct cli_call *call, json_t *spec, const char *member,
                     const char *path)
{
    OWNED(memory_drop) char *full = work_path(call, path);

    return full != NULL && json_object_set_new(spec, member, json_string(full)) == 0;
}

static void set_option(const struct cli_call *call, json_t *spec, const char *option,
                       const char *member)
{
    const char *value = cli_value(call, option);

    if (value != NULL)
        json_object_set_new(spec, member, json_string(value));
}

static void set_flag(const struct cli_call *call, json_t *spec, const char *option,
                     const char *member)
{
    if (cli_flag(call, option))
        json_object_set_new(spec, member, json_true());
}

static int set_mode(const struct cli_call *call, json_t *spec)
{
    static const char *const flags[][2] = {
        {"--link", "link"}, {"--reflink", "reflink"}, {"--copy", "copy"}};
    const char *mode = NULL;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (!cli_flag(call, flags[i][0]))
            continue;
        if (mode != NULL)
            return cli_usage(call, "--link, --reflink and --copy exclude each other");
        mode = flags[i][1];
    }
    if (mode != NULL)
        json_object_set_new(spec, "mode", json_string(mode));
    return CLI_DONE;
}

/* --- what came of it --- */

static void show_problems(const json_t *result)
{
    size_t i;
    json_t *problem;

    json_array_foreach(json_object_get(result, "problems"), i, problem) {
        static const struct show_column columns[] = {
            {"", "repository"}, {"", "place"}, {"", "problem"}, {0}};
        show_line(problem, columns);
    }
}

/* A line each for counters that are not zero, then the problems; with --json the result as it is.
 */
static int show_result(const struct cli_call *call, const json_t *result,
                       const struct show_column *columns)
{
    struct show_column shown[32];
    size_t count = 0;

    if (cli_flag(call, "--json"))
        return show_json(result);
    for (; columns->title != NULL && count + 1 < sizeof(shown) / sizeof(shown[0]); columns++)
        if (json_object_get(result, show_member(columns)) != NULL)
            shown[count++] = *columns;
    shown[count] = (struct show_column){0};
    show_one(call, result, shown);
    show_problems(result);
    return CLI_DONE;
}

/* Consumes spec. What could not be brought makes it fail, after all the rest was. */
static int run(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
               const struct show_column *columns)
{
    OWNED(json_drop) json_t *result = NULL;
    int status = work_run(call, kind, spec, &result);

    if (!json_is_object(result))
        return status;
    show_result(call, result, columns);
    if (status == CLI_DONE && json_integer_value(json_object_get(result, "problem_count")) > 0)
        return CLI_FAILED;
    return status;
}

/* --- import --- */

static int import_distribution(const struct cli_call *call)
{
    OWNED(json_drop) json_t *spec = json_object();
    int status = set_mode(call, spec);

    if (status != CLI_DONE)
        return status;
    if (!set_path(call, spec, "path", call->words[0]))
        return CLI_FAILED;
    json_object_set_new(spec, "from", json_string("distribution"));
    set_option(call, spec, "--repo", "repository");
    set_flag(call, spec, "--no-verify", "trusting");
    set_flag(call, spec, "--dry-run", "dry_run");
    set_flag(call, spec, "--overwrite", "overwrite");
    return run(call, &transfer_import, TAKE(spec), import_columns);
}

/* "NAME" or "NAME:TAG". */
static int set_image(const struct cli_call *call, json_t *spec, const char *text)
{
    struct slice name, tag;
    bool tagged = slice_split(slice_of(text), ':', &name, &tag);

    if (tagged && tag.size == 0)
        return cli_usage(call, "%s has no tag after its colon", text);
    json_object_set_new(spec, "repository", json_stringn(name.at, name.size));
    if (tagged)
        json_object_set_new(spec, "tag", json_stringn(tag.at, tag.size));
    return CLI_DONE;
}

static int import_oci_layout(const struct cli_call *call)
{
    OWNED(json_drop) json_t *spec = json_object();
    int status = set_mode(call, spec);

    if (status == CLI_DONE)
        status = set_image(call, spec, call->words[1]);
    if (status != CLI_DONE)
        return status;
    if (!set_path(call, spec, "path", call->words[0]))
        return CLI_FAILED;
    json_object_set_new(spec, "from", json_string("oci-layout"));
    set_flag(call, spec, "--dry-run", "dry_run");
    set_flag(call, spec, "--overwrite", "overwrite");
    return run(call, &transfer_import, TAKE(spec), import_columns);
}

static void set_repositories(const struct cli_call *call, json_t *spec)
{
    OWNED(memory_drop) const char **names = NULL;
    size_t count = cli_values(call, "--repo", &names);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(names[i]));
    json_object_set_new(spec, "repositories", list);
}

static bool set_file(const struct cli_call *call, json_t *spec, const char *option,
                     const char *member)
{
    const char *path = cli_value(call, option);

    return path == NULL || set_path(call, spec, member, path);
}

static int import_remote(const struct cli_call *call)
{
    OWNED(json_drop) json_t *spec = json_object();

    json_object_set_new(spec, "from", json_string("remote"));
    json_object_set_new(spec, "url", json_string(call->words[0]));
    set_repositories(call, spec);
    set_option(call, spec, "--tags", "tags");
    set_option(call, spec, "--source-user", "user");
    set_flag(call, spec, "--plain-http", "plain_http");
    set_flag(call, spec, "--dry-run", "dry_run");
    set_flag(call, spec, "--overwrite", "overwrite");
    if (!set_file(call, spec, "--source-password-file", "password_file") ||
        !set_file(call, spec, "--source-ca-file", "ca_file"))
        return CLI_FAILED;
    return run(call, &transfer_import, TAKE(spec), import_columns);
}

/* --- export --- */

static const struct show_column export_columns[] = {
    {"manifests", "manifests"},
    {"blobs copied", "blobs_copied"},
    {"blobs cloned", "blobs_cloned"},
    {"blobs linked", "blobs_linked"},
    {"blobs that were there", "blobs_present"},
    {"bytes", SHOW_SIZE "bytes"},
    {"problems", "problem_count"},
    {0},
};

static int export_oci_layout(const struct cli_call *call)
{
    OWNED(json_drop) json_t *spec = json_object();
    json_t *images = json_array();
    int status = set_mode(call, spec);

    json_object_set_new(spec, "images", images);
    if (status != CLI_DONE)
        return status;
    for (size_t i = 1; i < call->word_count; i++)
        json_array_append_new(images, json_string(call->words[i]));
    if (!set_path(call, spec, "path", call->words[0]))
        return CLI_FAILED;
    set_flag(call, spec, "--referrers", "referrers");
    return run(call, &transfer_export, TAKE(spec), export_columns);
}

#define OPTION_DRY_RUN                                                                             \
    {                                                                                              \
        "--dry-run", NULL, "counts and looks for problems, changes nothing", 0                     \
    }
#define OPTION_OVERWRITE                                                                           \
    {                                                                                              \
        "--overwrite", NULL, "moves tags as well that were changed here since", 0                  \
    }
#define OPTION_MODES                                                                               \
    {"--link", NULL, "shares the files: who changes the one changes the other", 0},                \
        {"--reflink", NULL, "clones the files, where the file system can", 0},                     \
    {                                                                                              \
        "--copy", NULL, "copies; without any of these: clones, or else copies", 0                  \
    }

static const struct cli_option distribution_options[] = {
    {"--repo", "GLOB", "only repositories like this: team/*", 0},
    OPTION_MODES,
    {"--no-verify", NULL, "believes the names of the files instead of hashing them", 0},
    OPTION_OVERWRITE,
    OPTION_DRY_RUN,
    {0},
};

static const struct cli_option layout_options[] = {
    OPTION_MODES,
    OPTION_OVERWRITE,
    OPTION_DRY_RUN,
    {0},
};

static const struct cli_option remote_options[] = {
    {"--repo", "GLOB...", "only repositories like this; without a catalogue, each by its name", 0},
    {"--tags", "GLOB", "only tags like this: v1.*", 0},
    {"--source-user", "NAME", "who pulls there", 0},
    {"--source-password-file", "FILE", "that one's password or token is the first line of FILE", 0},
    {"--source-ca-file", "FILE", "whom to trust there", 0},
    {"--plain-http", NULL, "speaks http, also with a password", 0},
    OPTION_OVERWRITE,
    OPTION_DRY_RUN,
    {0},
};

static const struct cli_option export_options[] = {
    {"--referrers", NULL, "signatures and all else that refers to the images as well", 0},
    OPTION_MODES,
    {0},
};

const struct cli_command cli_transfer_commands[] = {
    {"import distribution",
     "FOLDER",
     "brings in the folder of a docker-registry, 2.x or 3.x",
     import_distribution,
     {distribution_options, cli_remote, cli_settings}},
    {"import oci-layout",
     "FOLDER NAME[:TAG]",
     "brings in the images of an OCI image layout; without TAG under their own tags",
     import_oci_layout,
     {layout_options, cli_remote, cli_settings}},
    {"import remote",
     "URL",
     "copies from another registry: images, tags, what refers to them",
     import_remote,
     {remote_options, cli_remote, cli_settings}},
    {"export oci-layout",
     "FOLDER IMAGE...",
     "writes images as an OCI image layout: NAME:TAG, NAME@DIGEST, NAME for all tags",
     export_oci_layout,
     {export_options, cli_remote, cli_settings}},
    {0},
};
