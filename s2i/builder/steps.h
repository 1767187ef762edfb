/* steps.h - shared by the files that take a build from its image to its layer: steps.c (the order),
 * place.c (files of the source), look.c (scripts, users, environment), commit.c (layers),
 * previous.c (artifacts of the last build), extended.c (runtime images), inputs.c (files of other
 * images).
 * Touches  nothing.
 * Never    included from outside s2i/builder/. */
#ifndef SLIPWAY_S2I_BUILDER_STEPS_H
#define SLIPWAY_S2I_BUILDER_STEPS_H

#include "s2i/builder/builder_internal.h"

/* One image on its way to a result. */
struct assembly {
    struct root root;
    const struct s2i_image *image;
    char destination[1024]; /* absolute */
    int src;                /* <destination>/src; -1 */
    struct ignore *ignore;
    struct contract_scripts scripts;
    struct fetched {
        char *name;
        struct buffer text;
    } fetched[8]; /* scripts by URL, and those of the source for a runtime image */
    size_t fetched_count;
    struct container_user user; /* who assembles */
    char *user_wanted;          /* as it was asked for */
    struct tree_owner owner;    /* of what we place, on this disk */
    struct s2i_list stored;     /* what goes into the image's Env (5.3) */
    struct s2i_list environment;
    struct s2i_list left_out; /* of the layer, without a leading '/' */
    struct s2i_list secrets;  /* exact bytes, for 10.22 */
    struct s2i_list targets;  /* of mounts */
    bool gets_caches;         /* the next container that runs does */
    struct s2i_list caches;   /* their paths, as they were given */
    struct buffer slices;     /* .s2i/slices */
    struct brought {
        ino_t *slots;
        size_t count, capacity; /* a power of two, at most half full */
    } brought;                  /* what was there before a script ran */
};
#define ASSEMBLY_NONE ((struct assembly){.root = ROOT_NONE, .src = -1})
void assembly_drop(struct assembly *assembly);

/* --- look.c --- */

/* Scripts; runtime: those of a runtime image. */
int look_scripts(struct work *work, struct assembly *assembly, bool runtime,
                 struct error *err) MUST_CHECK;
/* Sets user, owner, destination. */
int look_user(struct work *work, struct assembly *assembly, const char *wanted,
              struct error *err) MUST_CHECK;
int look_destination(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
int look_environment(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
/* NULL: not found */
const struct s2i_script *look_script(const struct assembly *assembly, const char *name);
int fetched_script(const struct assembly *assembly, const char *name, struct buffer *out);

/* --- place.c --- */

int place_source(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
/* A runtime image's scripts are kept for later, before .s2iignore counts. */
void place_keep(struct work *work, struct assembly *assembly);
int place_scripts(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
int place_ignore(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
/* A file of the source; out stays empty when there is none. */
int place_read(struct work *work, const struct assembly *assembly, const char *path,
               struct buffer *out, struct error *err) MUST_CHECK;

/* --- copy.c --- */

struct copying {
    struct work *work;
    struct tree_owner owner; /* of what is made */
    uint64_t files, files_max;
    int64_t latest; /* later times become this one */
    bool follow;    /* a source that is a link stands for what it leads to */
    struct error *err;
};
/* A folder's content goes into the destination, a file into it under its name. -1 with errno, or
 * with the error set when the build is over. */
int copy_path(struct copying *copying, int from_root, const char *source, int to_root,
              const char *destination) MUST_CHECK;

/* --- brought.c --- */

void brought_drop(struct brought *brought);
void brought_read(const struct work *work, struct assembly *assembly);
layer_brought brought_has; /* arg: struct brought */

/* --- inputs.c (13.52) --- */

int inputs_place(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;

/* --- give.c: what is mounted into a container --- */

int give_secrets(struct work *work, struct assembly *assembly, struct run *run,
                 struct error *err) MUST_CHECK;
/* One more mount; NULL: no room. target is borrowed. */
struct mount_file *run_mount(struct run *run, const char *target);
/* Whether containers get hosts and resolv.conf. */
bool give_network_files(const struct work *work);
/* hosts, resolv.conf, the proxy; *proxy is closed by the caller, after the run. */
int give_network(struct work *work, struct assembly *assembly, struct run *run,
                 struct proxy **proxy, struct error *err) MUST_CHECK;

/* --- caches.c (8.7) --- */

int give_caches(struct work *work, struct assembly *assembly, struct run *run,
                struct error *err) MUST_CHECK;
/* After assemble went well; what cannot be kept is a warning. -1: the build is over. */
int save_caches(struct work *work, const struct assembly *assembly, struct error *err) MUST_CHECK;
void caches_evict(const struct work *work);

/* --- commit.c --- */

int commit_metadata(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
int commit_layers(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
int commit_hook(struct work *work, struct assembly *assembly, struct error *err) MUST_CHECK;
/* Packages of the tree, and what the application in the folder locks, for the SBOM (15.5); what
 * cannot be read is left out (packages.c). */
void packages_read(int root, const char *folder, struct s2i_list *out);

/* --- steps.c --- */

/* Scripts, run, user and environment, into the result. */
void tell_result(struct work *work, struct assembly *assembly);
/* Runs a script of the assembly with its environment and user. */
int step_run(struct work *work, struct assembly *assembly, const char *const *words,
             const char *reason, int output, struct error *err) MUST_CHECK;
int steps_build(struct work *work, struct error *err) MUST_CHECK;

/* --- previous.c, extended.c --- */

/* Never fails: without artifacts the build is a clean one (8.4). */
void previous_artifacts(struct work *work, struct assembly *assembly);
int extended_build(struct work *work, struct assembly *builder, struct error *err) MUST_CHECK;

#endif
