/* apart.c - reads what strangers packed in a child that sees one folder and can do little else.
 * Touches  a child process; what its job does in the folder.
 * Never    a network, another folder, another process: chroot, few capabilities, no_new_privs, the
 *          filter of confined children, and no descriptor of the worker's but those of the job: one
 *          of another folder would lead out of the chroot. Spec: s2i 19.1
 *
 * What the child has to say comes back through a pipe, as JSON. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "s2i/builder/builder_internal.h"
#include "s2i/confine_rules.h"

enum { ANSWER_MAX = 1 << 20, PIECE = 4096, LOOK_MS = 200 };

struct job {
    int (*run)(const struct job *job, struct s2i_list *notes, struct error *err);
    int fd, folder;
    const struct layer_ids *ids;
    const struct s2i_layer *layer;     /* to unpack, and: */
    const struct layer_limits *limits; /* or */
    const struct tar_wish *wish;       /* to untar */
};

/* --- the child --- */

/* What files of an archive need: owners, modes, capabilities, whiteouts, marks of overlay. */
static bool drop_capabilities(void)
{
    static const unsigned kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER,   CAP_FSETID,
                                    CAP_MKNOD, CAP_SETFCAP,      CAP_SYS_ADMIN};
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};

    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        data[kept[i] / 32].effective |= 1U << kept[i] % 32;
    for (size_t i = 0; i < 2; i++)
        data[i].permitted = data[i].effective;
    return syscall(SYS_capset, &header, data) == 0;
}

static bool confine(int folder)
{
    struct sock_filter filter[CONFINE_FILTER_MAX];
    const struct sock_fprog program = {(unsigned short)confine_filter(false, filter), filter};

    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && fchdir(folder) == 0 && chroot(".") == 0 &&
           drop_capabilities() && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* A job's failure, and its notes. */
static void answer(int out, const struct error *err, const struct s2i_list *notes)
{
    json_t *object = json_object(), *list = json_array();

    for (size_t i = 0; i < notes->count; i++)
        json_array_append_new(list, s2i_json_text(slice_of(notes->items[i])));
    json_object_set_new(object, "notes", list);
    json_object_set_new(object, "code", json_integer((int)err->code));
    json_object_set_new(object, "message", s2i_json_text(slice_of(err->message)));
    json_object_set_new(object, "cause", s2i_json_text(slice_of(err->cause)));
    OWNED(memory_drop) char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (text != NULL && fd_write(out, slice_of(text)) < 0)
        _exit(1);
}

static int compare_int(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static bool close_others(const struct job *job, int out)
{
    int kept[] = {STDERR_FILENO, job->fd, job->folder, out};
    const size_t count = sizeof(kept) / sizeof(kept[0]);

    qsort(kept, count, sizeof(kept[0]), compare_int);
    for (size_t i = 0; i + 1 < count; i++)
        if (kept[i] + 1 < kept[i + 1] &&
            close_range((unsigned)kept[i] + 1, (unsigned)kept[i + 1] - 1, 0) < 0)
            return false;
    return close_range((unsigned)kept[count - 1] + 1, ~0U, 0) == 0;
}

static void be_child(const struct job *job, int out)
{
    struct s2i_list notes = {0};
    struct error err = {0};

    if (!close_others(job, out) || !confine(job->folder))
        error_set_errno(&err, ERROR_UNAVAILABLE, errno, "a reader of archives cannot be confined");
    else if (job->run(job, &notes, &err) < 0 && err.code == ERROR_NONE)
        error_set(&err, ERROR_INTERNAL, "an archive cannot be read");
    answer(out, &err, &notes);
    _exit(0);
}

/* --- the parent --- */

/* Reads until the child is done, and ends it when the build is over; err says so then. */
static int listen_to(struct work *work, pid_t pid, int from, struct buffer *out, struct error *err)
{
    struct pollfd both[2] = {{.fd = from, .events = POLLIN},
                             {.fd = work->channel, .events = POLLIN}};
    char piece[PIECE];

    while (out->size < ANSWER_MAX) {
        both[1].fd = work->gone ? -1 : work->channel;
        int ready = poll(both, 2, LOOK_MS);
        if (ready < 0 && errno != EINTR)
            return -1;
        if (ready < 0)
            continue;
        if (both[1].revents != 0)
            work_listen(work);
        if (err->code == ERROR_NONE && work_over(work, err) < 0)
            kill(pid, SIGKILL);
        if (both[0].revents == 0)
            continue;
        ssize_t got = read(from, piece, sizeof(piece));
        if (got == 0)
            return 0;
        if (got < 0 && errno != EINTR)
            return -1;
        buffer_append(out, piece, got > 0 ? (size_t)got : 0);
    }
    return -1;
}

/* Its words are a stranger's, should an archive have got the better of it. */
static int read_answer(struct slice text, struct s2i_list *notes, struct error *err)
{
    json_t *object = json_loadb(text.at == NULL ? "" : text.at, text.size, 0, NULL);
    json_int_t code = json_integer_value(json_object_get(object, "code"));
    const char *message = json_string_value(json_object_get(object, "message"));
    const char *cause = json_string_value(json_object_get(object, "cause"));
    bool known = object != NULL && code >= ERROR_NONE && code < ERROR_CODE_COUNT;
    json_t *note;
    size_t i;

    json_array_foreach(json_object_get(object, "notes"), i, note)
        if (json_is_string(note))
            s2i_list_add(notes, slice_of(json_string_value(note)));
    if (!known)
        error_set(err, ERROR_INVALID, "the reader of an archive ended early");
    else if (code != ERROR_NONE) {
        error_set(err, (enum error_code)code, "%s", message == NULL ? "" : message);
        error_set_cause(err, "%s", cause == NULL ? "" : cause);
    }
    json_decref(object);
    return known && code == ERROR_NONE ? 0 : -1;
}

static int run_apart(struct work *work, const struct job *job, struct s2i_list *notes,
                     struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop) int from = -1;
    int both[2];

    if (pipe2(both, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no pipe for a reader");
    from = both[0];
    pid_t pid = fork();
    if (pid == 0)
        be_child(job, both[1]);
    close(both[1]);
    if (pid < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no process for a reader");
    int heard = listen_to(work, pid, from, &text, err);
    if (heard < 0)
        kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (err->code != ERROR_NONE)
        return -1;
    return read_answer(heard < 0 ? SLICE("") : buffer_slice(&text), notes, err);
}

static int unpack(const struct job *job, struct s2i_list *notes, struct error *err)
{
    return layer_unpack(job->fd, job->layer, job->folder, job->ids, job->limits, notes, err);
}

int apart_unpack(struct work *work, int fd, const struct s2i_layer *layer, int folder,
                 const struct layer_limits *limits, struct s2i_list *notes, struct error *err)
{
    const struct job job = {.run = unpack,
                            .fd = fd,
                            .folder = folder,
                            .ids = &work->ids,
                            .layer = layer,
                            .limits = limits};

    return run_apart(work, &job, notes, err);
}

static int untar(const struct job *job, struct s2i_list *notes, struct error *err)
{
    return layer_untar(job->fd, job->folder, job->ids, job->wish, notes, err);
}

int apart_untar(struct work *work, int fd, int folder, const struct tar_wish *wish,
                struct s2i_list *notes, struct error *err)
{
    const struct job job = {
        .run = untar, .fd = fd, .folder = folder, .ids = &work->ids, .wish = wish};

    return run_apart(work, &job, notes, err);
}
