/* builder_internal.h - shared by the files of s2i/builder/.
 * Touches  nothing.
 * Never    included from outside s2i/builder/.
 *
 * A worker is the first process of a pid namespace, with a mount namespace of its own: when it
 * ends, all its containers and mounts are gone, whatever it was doing. Below /tmp it mounts a
 * tmpfs, its desk:
 *
 *   /tmp/f       the builder's folder: layers/ caches/ templates/
 *   /tmp/l/N     links to layers, short for the options of overlay
 *   /tmp/s       what builds write: upper and work folders
 *   /tmp/m       the lowest layer: mount points that containers need, so that they are nobody's
 *                change (s2i-facts A6)
 *   /tmp/b       the bundle: config.json, rootfs
 *   /tmp/r       the runtime's own state
 *   /tmp/x       small files mounted into containers: secrets, hosts
 *
 * (1) Nothing of a build is on the disk but what layers/ and caches/ keep for the next one.
 * (2) Files of containers are opened by tree_* only, when no process of theirs lives (16.13). */
#ifndef SLIPWAY_S2I_BUILDER_INTERNAL_H
#define SLIPWAY_S2I_BUILDER_INTERNAL_H

#include <sys/types.h>

#include "registry/core/fd.h"
#include "s2i/builder/builder.h"
#include "s2i/contract/contract.h"
#include "s2i/layer/layer.h"
#include "s2i/log.h"
#include "s2i/wire.h"

enum { IDS = 65536, LAYERS_MAX = 500, WORKER_CHANNEL = 3 };

#define DESK "/tmp"
#define WORKER_SETUP "SLIPWAY_WORKER" /* in a worker's environment */

struct work;

/* --- control groups (cgroup.c) --- */

struct cgroup_means {
    bool v2, memory, swap, pids, cpu;
    char root[256]; /* of v2: the folder our groups are in */
};
/* Once a builder: it may move us to another group. */
void cgroup_probe(struct cgroup_means *out);
/* For config.json: relative to our own (v1), or absolute (v2). */
void cgroup_path(const struct cgroup_means *means, const char *name, char *out, size_t capacity);
/* Before a container of that name is begun. */
void cgroup_make(const struct cgroup_means *means, const char *name);
struct cgroup_events {
    uint64_t memory_kills, process_refusals;
};
void cgroup_events(const struct cgroup_means *means, const char *name, struct cgroup_events *out);
/* Kills what is in them, removes every group whose name starts so. */
void cgroup_sweep(const struct cgroup_means *means, const char *prefix);

/* --- what a builder tells its workers (setup.c) --- */

struct worker_setup {
    char *folder, *runtime, *scratch, *cgroup; /* cgroup: its name, below our own */
    bool root;                                 /* level "root" */
    bool keeps; /* the runtime can leave a container's groups behind, to be read */
    unsigned id_base;
    unsigned long long cache_max;
    struct cgroup_means groups;
};
char *worker_setup_write(const struct worker_setup *setup); /* freed by the caller */
int worker_setup_read(struct worker_setup *out, const char *text, struct error *err) MUST_CHECK;
void worker_setup_drop(struct worker_setup *setup);

/* --- the machine (machine.c) --- */

#if defined(__x86_64__)
#define MACHINE_PLATFORM "linux/amd64"
#elif defined(__aarch64__)
#define MACHINE_PLATFORM "linux/arm64"
#else
#define MACHINE_PLATFORM "linux/other"
#endif

/* Finds runtime and level, both into setup as well; setup->folder exists. */
void machine_probe(struct worker_setup *setup, const char *runtime, struct builder_level *out);
/* A user namespace with our one id as root's, for good. */
int machine_enter_user(struct error *err) MUST_CHECK;
/* As fork; the child is the first of a pid namespace, has mounts of its own, and ends with us. */
pid_t machine_fork(void);

/* --- files of a container's tree (tree.c); paths never lead out of root (16.13) --- */

/* As open: -1 with errno. */
int tree_open(int root, const char *path, int flags, mode_t mode);
bool tree_has(int root, const char *path); /* a regular file, maybe behind links */
/* 1: read; 0: there is none; -1 with errno: it cannot be read, EFBIG when it is longer. */
int tree_read(int root, const char *path, size_t limit, struct buffer *out) MUST_CHECK;
struct tree_owner {
    uid_t uid;
    gid_t gid; /* on this disk */
};
/* A folder, made with its parents where it is missing; those get the owner and 0755. -1 with errno.
 */
int tree_folder(int root, const char *path, const struct tree_owner *owner) MUST_CHECK;
/* A new file in a folder, in place of what had the name. -1 with errno. */
int tree_write(int folder, const char *name, struct slice content, mode_t mode,
               const struct tree_owner *owner) MUST_CHECK;
/* "/a/b/" and "a//b" become "a/b"; false when a component is "..", or it is too long. */
bool tree_path_clean(const char *path, char *out, size_t capacity) MUST_CHECK;
uint64_t tree_bytes(int folder); /* as stored, of all below it */

/* --- archives of strangers (apart.c) --- */

/* layer_unpack in a child that sees nothing but the folder, and has nothing open but it and fd. Its
 * error and notes come back. */
int apart_unpack(struct work *work, int fd, const struct s2i_layer *layer, int folder,
                 const struct layer_limits *limits, struct s2i_list *notes,
                 struct error *err) MUST_CHECK;
/* The same for layer_untar; what wish->take changes in memory is lost. */
int apart_untar(struct work *work, int fd, int folder, const struct tar_wish *wish,
                struct s2i_list *notes, struct error *err) MUST_CHECK;

/* --- one build --- */

/* Layers of an image, unpacked, held while it lives (layers.c). */
struct stack {
    int *layers; /* topmost first: folders */
    int *locks;
    size_t count;
    struct digest *keys; /* which they are, in the builder's folder */
};
void stack_drop(struct stack *stack);
/* kind: as WIRE_WANT calls the image. */
int layers_take(struct work *work, const char *kind, const struct s2i_image *image,
                struct stack *out, struct error *err) MUST_CHECK;
/* "sha256-...": the name of an unpacked layer. */
enum { LAYER_NAME_MAX = DIGEST_TEXT_MAX };
void layer_folder_name(const struct digest *key, char out[LAYER_NAME_MAX]);
/* The folder of layers; the caller's. */
int layers_open(const struct work *work, struct error *err) MUST_CHECK;
/* Removes what was not used longest, above cache_max. */
void layers_evict(int layers, unsigned long long cache_max);
/* Halves that dead workers unpacked. all: no other worker lives, and who held their locks may still
 * be dying. */
void layers_sweep(int layers, bool all);

/* A mounted root file system (root.c). */
struct root {
    struct stack stack;
    struct image_config config;
    char name[16];   /* of its folders below /tmp/s, /tmp/l, /tmp/b */
    char below[16];  /* of the root whose changes it stands on, or "" */
    int root, upper; /* descriptors */
    char path[64];   /* where it is mounted */
};
#define ROOT_NONE ((struct root){.root = -1, .upper = -1})
int root_open(struct work *work, const char *kind, const struct s2i_image *image, struct root *out,
              struct error *err) MUST_CHECK;
void root_drop(struct root *root); /* unmounts */
/* An image's files and nothing else, for reading; out has no upper folder. */
int root_open_view(struct work *work, const char *kind, const struct s2i_image *image,
                   struct root *out, struct error *err) MUST_CHECK;
/* What a failed build wrote, mounted again: names of folders of /tmp/s, topmost first, the first of
 * which can be written to, and of layers. */
int root_open_again(struct work *work, const struct s2i_list *uppers, const struct s2i_list *layers,
                    struct root *out, struct error *err) MUST_CHECK;
/* One over the changes of another, which is closed and gives its layers (13.50). Its config is
 * empty.
 */
int root_open_over(struct work *work, struct root *below, struct root *out,
                   struct error *err) MUST_CHECK;
/* Whether something else stands there when the container runs; path without the leading '/'. */
bool root_mounted_over(const char *path);
/* Where a folder of the container really is, without its links and the leading '/'; false when
 * there is none, or its place is mounted over. */
bool root_real_path(const struct root *root, const char *folder, char *out, size_t capacity);
int root_user(const struct root *root, const char *wanted, struct container_user *out,
              struct error *err) MUST_CHECK;

/* Where builds write (scratch.c): mounts /tmp/s with the size. */
int scratch_open(struct work *work, struct error *err) MUST_CHECK;
bool scratch_full(void);
/* Unmounts it; -1: it is in use. */
int scratch_close(void) MUST_CHECK;
/* The image file of a disk, mounted again. */
int scratch_mount(int image, struct error *err) MUST_CHECK;

struct mount_file {
    char source[64];    /* on the desk */
    const char *target; /* in the container; borrowed */
    bool writable;
};
/* What is run in a container (bundle.c, run.c). */
struct run {
    struct root *root;
    const char *const *words; /* ends in NULL */
    const struct s2i_list *environment;
    const char *folder; /* working directory */
    struct container_user user;
    struct mount_file mounts[80]; /* on the desk, into the container */
    size_t mount_count;
    bool host_network;
    bool terminal;         /* of who looks (shell.c) */
    int network_namespace; /* to join; -1: a new one, with nothing but lo */
    int output;            /* a file that gets what it writes to stdout (8.2, 10.4); -1: the log */
    const char *reason;    /* when it fails: "AssembleFailed" */
    const char *name;      /* of the image, for messages */
};
/* Writes config.json. */
int bundle_write(const struct work *work, const struct run *run, struct error *err) MUST_CHECK;
json_t *seccomp_profile(void);
/* Starts the runtime on the bundle, with these as its 0, 1, 2 (-1: nothing to read). -1 with errno.
 */
int run_spawn(const struct work *work, const int fds[3], pid_t *pid) MUST_CHECK;
/* Runs it to its end: 0 when it exited with 0. Else -1 with work->reason. No process of it lives
 * afterwards (6.6). */
int run_container(struct work *work, const struct run *run, struct error *err) MUST_CHECK;

/* The filtering proxy (proxy.c). */
struct proxy;
int proxy_open(struct work *work, struct proxy **out, int *network_namespace,
               struct error *err) MUST_CHECK;
void proxy_close(struct proxy *proxy); /* logs hosts and bytes; accepts NULL */

struct work {
    int channel;
    struct worker_setup setup;
    struct s2i_spec spec;
    struct s2i_result result;
    struct layer_ids ids;
    int folder; /* the builder's */
    int source; /* a tar; -1 */
    int disk;   /* the image of where it writes; -1: that is in memory, or nobody will keep it */
    bool noted; /* what ran last, for who looks after a failure (kept.c) */
    const char *reason;
    char cancel[64];      /* the reason, once it was cancelled */
    bool gone;            /* the server is: nobody wants the result */
    bool probing;         /* nobody ever wanted one */
    uint64_t layer_bytes; /* of the images, unpacked, so far */
    uint64_t started_ms, stage_ms, looked_ms;
    const char *stage;
    unsigned roots, containers, files; /* how many there were: for names */
    char cgroup[80];                   /* of the last one */
};

/* --- worker.c --- */

/* Lays out the desk, for a setup that is filled in. */
int work_begin(struct work *work, struct error *err) MUST_CHECK;

/* Failing with a reason of 12.1; the message is "<12.1's text> <details>". Returns -1. */
int work_fail(struct work *work, const char *reason, struct error *err, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* err stays, the reason is set when none is. Returns -1. */
int work_because(struct work *work, const char *reason);

/* --- channel.c --- */

void work_log(struct work *work, enum log_stream stream, struct slice bytes);
void work_step(struct work *work, const char *format, ...) PRINTF_LIKE(2, 3);   /* "-----> " */
void work_detail(struct work *work, const char *format, ...) PRINTF_LIKE(2, 3); /* "       " */
void work_warn(struct work *work, const char *format, ...) PRINTF_LIKE(2, 3);   /* and recorded */
void work_notes(struct work *work, const struct s2i_list *notes);               /* as warnings */
void work_stage(struct work *work, const char *name); /* NULL: the last one ends */
int work_receive_spec(struct work *work, struct error *err) MUST_CHECK;
/* *fd: what was wanted. The request is consumed. */
int work_want(struct work *work, json_t *request, int *fd, struct error *err) MUST_CHECK;
/* A packet is there: notes a cancel, or that the server is gone. */
void work_listen(struct work *work);
/* 0 until the build is cancelled, its time is over or the server is gone; then -1 with the reason.
 * arg: the work. Looks ten times a second at most, however often it is asked. */
layer_go_on work_go_on;
/* The same, as it was last seen. */
int work_over(struct work *work, struct error *err) MUST_CHECK;
layer_sink work_blob; /* arg: the work */
int work_blob_end(struct work *work, const char *kind, const struct s2i_layer *layer,
                  const char *name, struct error *err) MUST_CHECK;
int work_send_result(struct work *work, struct error *err) MUST_CHECK;

#endif
