/* contract.h - the contract with builder images, as s2i's users know it.
 * Touches  memory; of a tree only what struct contract_tree gives.
 * Never    runs anything, writes a file.
 *
 * Spec: s2i 2 to 7, 9, 10, 12.4. Used by a builder (look-ups, environment, ignore rules, users) and
 * by the server (config and manifest of the result). */
#ifndef SLIPWAY_S2I_CONTRACT_H
#define SLIPWAY_S2I_CONTRACT_H

#include "s2i/spec.h"

/* --- an image's config --- */

struct image_config {
    json_t *document; /* owned */
    struct s2i_list env;
    char *user, *working_dir, *architecture, *os, *variant; /* "" when absent */
    const json_t *labels;                                   /* borrowed; may be NULL */
    bool onbuild;
};
int image_config_read(struct image_config *out, struct slice text, struct error *err) MUST_CHECK;
void image_config_drop(struct image_config *config);
const char *image_label(const struct image_config *config, const char *name); /* NULL: none */
const char *image_env(const struct image_config *config, const char *name);

/* 2.1; *deprecated names the old form that was used, or NULL. NULL: none. */
const char *contract_scripts_url(const struct image_config *image, const char **deprecated);
/* 2.2 */
const char *contract_destination(const struct s2i_options *options,
                                 const struct image_config *image);
/* 2.3 */
const char *contract_assemble_user(const struct s2i_options *options,
                                   const struct image_config *image);
/* 9.6: of the runtime image */
const char *contract_runtime_user(const struct s2i_options *options,
                                  const struct image_config *image);

/* --- scripts (3) --- */

/* Questions about files; both folders are read without following links out of them. */
struct contract_tree {
    bool (*in_image)(void *arg, const char *path);  /* an absolute path of the merged image */
    bool (*in_source)(void *arg, const char *path); /* relative to the source root */
    /* Fetches <url>/<script>; 0 found and kept for later, 1 not found, -1. NULL: not allowed (2.8)
     */
    int (*fetch)(void *arg, const char *url, const char *script, struct error *err);
    void *arg;
};
struct contract_scripts {
    struct s2i_script *items; /* assemble, run, save-artifacts, usage (or assemble-runtime, run) */
    size_t count;
    struct s2i_list notes; /* deprecations, warnings: for the log */
};
void contract_scripts_drop(struct contract_scripts *scripts);
/* runtime: the scripts of a runtime image (9.5). *reason: "InstallScriptsFailed",
 * "FetchScriptsFailed", constants. out is to be dropped, its notes to be told, also after INVALID
 */
int contract_scripts_find(const struct s2i_options *options, const struct image_config *image,
                          const struct contract_tree *tree, bool runtime,
                          struct contract_scripts *out, const char **reason,
                          struct error *err) MUST_CHECK;

/* --- .s2iignore (4.20 to 4.25) and the environment (5) --- */

struct ignore;
/* Malformed rules are noted and select nothing. */
struct ignore *ignore_parse(struct slice text, struct s2i_list *notes);
void ignore_drop(struct ignore **ignore);
/* Whether this path of the source (without a leading slash) goes, given that no folder above it
 * went. ignore NULL: nothing goes. */
bool ignore_selects(const struct ignore *ignore, struct slice path);

/* "NAME=VALUE" lines of .s2i/environment; notes: what was skipped. */
void environment_parse(struct slice text, struct s2i_list *out, struct s2i_list *notes);
/* What is stored: the file's, then the options' (5.2, 5.3). */
void environment_stored(const struct s2i_list *file, const struct s2i_options *options,
                        struct s2i_list *out);
/* Sets a variable: replaces in place, else appends (5.3). */
void environment_set(struct s2i_list *environment, struct slice assignment);
/* Everything assemble sees (5.3 to 5.8); home: of passwd, or NULL. stored: what goes into the
 * image; NULL for save-artifacts, which sees nothing of the options. */
void environment_of_build(const struct s2i_spec *spec, const struct image_config *image,
                          const struct s2i_list *stored, const char *home, struct s2i_list *out);

/* --- users (6.3, 12.4) --- */

struct container_user {
    uint32_t uid, gid;
    uint32_t groups[64];
    size_t group_count;
    char *home; /* NULL: no passwd entry */
};
void container_user_drop(struct container_user *user);
/* passwd, group: contents of the image's files, SLICE_NONE when there is none. A number is that id,
 * whatever the files call by it; "" is 0:0. INVALID */
int container_user_find(const char *wanted, struct slice passwd, struct slice group,
                        struct container_user *out, struct error *err) MUST_CHECK;
/* allowed_uids: NULL or "": every user. Texts of AssembleUserForbidden (12.4). DENIED */
int container_user_allowed(const char *allowed_uids, const char *wanted, bool from_label,
                           const char *image, struct error *err) MUST_CHECK;

/* --- what assemble says about the image (6.7), runtime artifacts (9.2, 9.3) --- */

/* Labels as "NAME=VALUE". INVALID  says where */
int image_metadata_read(struct slice text, struct s2i_list *labels, struct error *err) MUST_CHECK;
struct artifact_mapping {
    char *source, *destination;
};
int artifact_mapping_parse(struct slice text, struct artifact_mapping *out,
                           struct error *err) MUST_CHECK;
void artifact_mapping_drop(struct artifact_mapping *mapping);
struct artifact_mappings {
    struct artifact_mapping *items;
    size_t count;
};
/* Those of the options, else of the runtime image's label; several in a text by ';' (9.2). INVALID,
 * also when there is none */
int artifact_mappings_find(const struct s2i_options *options, const struct image_config *runtime,
                           struct artifact_mappings *out, struct error *err) MUST_CHECK;
void artifact_mappings_drop(struct artifact_mappings *mappings);

/* --- the result (7): pure, the same inputs give the same bytes --- */

struct contract_result {
    struct buffer config, manifest; /* JSON texts */
    struct digest config_digest, manifest_digest;
};
void contract_result_drop(struct contract_result *result);
/* spec->runtime, when there is one, is the base; else spec->builder. tags: the image's, for
 * .version (7.7). label_max: bytes (7.6). A Docker base gives a Docker image, unless the options
 * ask for OCI's types or a layer has a type that Docker has not; no type of the other kind is mixed
 * in (7.9). INVALID */
int contract_result_make(const struct s2i_spec *spec, const struct s2i_result *result,
                         const struct s2i_list *tags, uint64_t label_max,
                         struct contract_result *out, struct error *err) MUST_CHECK;

/* Grows when the same inputs give other bytes: by this folder or by the maker of layers (17.9). */
#define CONTRACT_VERSION "1"
/* SHA-256 over all that decides the result (15.3), 64 hex digits and an end. A build whose scripts
 * are fetched has a key that no other build has. */
void contract_input_key(const struct s2i_spec *spec, char out[65]);

#endif
