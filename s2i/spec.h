/* spec.h - what the server tells a builder about one build, and what it gets back.
 * Touches  memory only: structs and their JSON.
 * Never    I/O.
 *
 * Everything is resolved: images are digests with their configs and layers, the source is one tar
 * (s2i/source/source.h), options are settled. A builder needs nothing else but the layers' bytes.
 */
#ifndef SLIPWAY_S2I_SPEC_H
#define SLIPWAY_S2I_SPEC_H

#include "registry/core/digest.h"
#include "s2i/options.h"

/* How s2i/layer/ compresses, as far as bytes depend on it: part of the input key. Spec: 17.9 */
#define S2I_PACKING "gzip: zlib, level 5, blocks of 256 KiB; zstd: level 3, checksum"

struct s2i_layer {
    struct digest digest, diff_id;
    uint64_t size; /* bytes, as stored */
    char *media_type;
};

/* An image of this registry for one platform. */
struct s2i_image {
    char *name; /* as it was asked for: "builders/python:latest"; NULL: no such image */
    char *repository;
    struct digest digest; /* of the image manifest */
    char *media_type;     /* of the manifest */
    char *config;         /* the config's JSON text */
    struct s2i_layer *layers;
    size_t layer_count;
};
void s2i_image_drop(struct s2i_image *image);

/* Where the source is from. Texts are "" when unknown; control characters are escaped; url has no
 * user information (7.5). */
struct s2i_source_facts {
    char *url, *ref, *commit, *author, *author_date, *subject, *context_dir;
    char *tree;            /* id of the context folder's tree; "" for archives */
    char *conf;            /* .s2i/s2i.conf as JSON text, or "" */
    struct digest content; /* sha256 of the source tar: the same tree and time, the same digest */
    int64_t time;          /* seconds since 1970: the commit's; newest file of an archive */
    uint64_t files, bytes, lfs_pointers, submodules_empty;
    struct s2i_list detected; /* patterns of the detect table that match, in its order */
};
void s2i_source_facts_drop(struct s2i_source_facts *facts);
json_t *s2i_source_facts_write(const struct s2i_source_facts *facts); /* the caller's */
/* INVALID; out is empty then, as with the readers below. */
int s2i_source_facts_read(struct s2i_source_facts *out, const json_t *object,
                          struct error *err) MUST_CHECK;

enum s2i_mode {
    S2I_BUILD,
    S2I_PLAN,  /* look-ups only, nothing runs; 15.9 */
    S2I_USAGE, /* runs the builder's usage; 10.4 */
};

struct s2i_limits {
    uint64_t timeout_ms, silence_ms; /* 16.6 */
    uint64_t memory, disk, log;      /* bytes */
    uint64_t processes, cpu_percent; /* of one core; 0: no limit */
    uint64_t files_max;              /* in the source, and in each layer */
    uint64_t layer_bytes_max;        /* unpacked bytes of one layer; 19.5 */
};

struct s2i_spec {
    int64_t build;
    enum s2i_mode mode;
    struct s2i_image builder, previous, runtime; /* name NULL: none */
    struct s2i_image *inputs; /* of options.copy_from, each once; without their configs */
    size_t input_count;
    struct s2i_source_facts source;
    struct s2i_options options;
    struct s2i_limits limits;
    char *target;            /* "repository:tag", for names and messages */
    int64_t first_build;     /* into its repository: whoever has the name next has another */
    char *proxy_environment; /* "HTTP_PROXY=..." lines of the server's, 5.8; "" */
    struct s2i_list secrets; /* "<name>=<value>": of options.inject */
    bool scripts_by_http;    /* 2.8; then from these only, as sources (16.10): */
    struct s2i_list script_schemes, script_ports, script_hosts;
    bool fresh; /* caches are empty, and are not kept: 8.7, 15.2 */
};
void s2i_spec_drop(struct s2i_spec *spec);
/* The image that an item of copy_from calls so; NULL: it is not there. */
const struct s2i_image *s2i_spec_input(const struct s2i_spec *spec, struct slice name);
json_t *s2i_spec_write(const struct s2i_spec *spec); /* the caller's */
int s2i_spec_read(struct s2i_spec *out, const json_t *object, struct error *err) MUST_CHECK;

/* Where a script was found: for plans, logs and the run command. */
struct s2i_script {
    char *name; /* "assemble" */
    char *from; /* "image:///usr/libexec/s2i", "source", an URL; NULL: not found */
    char *path; /* in the container */
};

/* A layer as the builder made it, in the order of the result. */
struct s2i_made_layer {
    struct s2i_layer layer;
    char *name; /* of the slice; "" for the rest */
};

struct s2i_result {
    bool done;              /* the image can be published (or the plan is whole) */
    char *reason, *message; /* when it is not: 12.1 */
    int exit_code;          /* of the script that failed; -1: none */
    int64_t kept_until;     /* seconds since 1970: what it wrote stays so long; 0: it does not */
    struct s2i_script *scripts;
    size_t script_count;
    char *run;              /* Cmd of the result */
    struct s2i_list env;    /* to store, in order: the environment file's, then options.env (5.3) */
    struct s2i_list labels; /* of image_metadata.json (6.7) */
    struct s2i_made_layer *layers;
    size_t layer_count;
    char *assemble_user; /* as it was resolved, "uid:gid" */
    uint64_t files_in, files_ignored;
    struct s2i_list packages; /* "kind[/vendor] name version" of the merged tree: "deb/debian bash
                                 5.2"; for the SBOM (15.5) */
    struct s2i_list warnings;
    char *output; /* of usage */
};
void s2i_result_drop(struct s2i_result *result);
json_t *s2i_result_write(const struct s2i_result *result);
int s2i_result_read(struct s2i_result *out, const json_t *object, struct error *err) MUST_CHECK;

#endif
