/* confine_rules.c - the ruleset and the filter; see confine_rules.h.
 * Touches  folders and files, by descriptors that only name them.
 * Never    relies on headers newer than the oldest kernel we build on. */
#include "s2i/confine_rules.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/core/fd.h"

/* --- seccomp --- */

#if defined(__x86_64__)
#define FILTER_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define FILTER_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define FILTER_ARCH AUDIT_ARCH_RISCV64
#else
#define FILTER_ARCH 0 /* no process has it: nothing runs confined until its calls are looked at */
#endif

enum { X32_BIT = 0x40000000 };

static const int refused_calls[] = {
    /* other processes */
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_kcmp,
    SYS_setsid,
    SYS_setpgid,
    438 /* pidfd_getfd */,
    440 /* process_madvise */,
    448 /* process_mrelease */,
    /* mounts and namespaces */
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_unshare,
    SYS_setns,
    428 /* open_tree */,
    429 /* move_mount */,
    430 /* fsopen */,
    431 /* fsconfig */,
    432 /* fsmount */,
    433 /* fspick */,
    442 /* mount_setattr */,
    SYS_open_by_handle_at,
    SYS_name_to_handle_at,
    /* the kernel's own machinery */
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    425 /* io_uring_setup */,
    426 /* io_uring_enter */,
    427 /* io_uring_register */,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_syslog,
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
    /* the machine's */
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    443 /* quotactl_fd */,
    SYS_settimeofday,
    SYS_clock_settime,
    SYS_clock_adjtime,
    SYS_adjtimex,
    SYS_sethostname,
    SYS_setdomainname,
    SYS_personality,
    SYS_vhangup,
#if defined(__x86_64__)
    SYS_iopl,
    SYS_ioperm,
    SYS_modify_ldt,
    SYS_uselib,
    SYS_ustat,
    SYS_sysfs,
#endif
};

enum {
    REFUSED_CALLS = sizeof(refused_calls) / sizeof(refused_calls[0]),
    CALL_CLONE3 = 435,
    NAMESPACES = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                 CLONE_NEWPID | CLONE_NEWNET | 0x80 /* CLONE_NEWTIME */,
};

struct program {
    struct sock_filter *at;
    size_t count;
};

static void put(struct program *program, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
    assert(program->count < CONFINE_FILTER_MAX);
    program->at[program->count++] = (struct sock_filter){code, yes, no, k};
}

static void put_load(struct program *program, size_t offset)
{
    put(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void put_return(struct program *program, uint32_t action)
{
    put(program, BPF_RET | BPF_K, action, 0, 0);
}

static void put_refuse(struct program *program, int number)
{
    put_return(program, SECCOMP_RET_ERRNO | (uint32_t)number);
}

/* When the call is `call`, `more` instructions follow for it; else they are jumped over. */
static void put_case(struct program *program, int call, uint8_t more)
{
    put(program, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, more);
}

/* Arguments are looked at by their lower half, which is all that these calls look at. */
static size_t argument(size_t index)
{
    return offsetof(struct seccomp_data, args) + index * sizeof(uint64_t);
}

static void put_sockets(struct program *program, bool network)
{
    if (!network) {
        put_case(program, SYS_socket, 1);
        put_refuse(program, EAFNOSUPPORT);
        return;
    }
    put_case(program, SYS_socket, 5);
    put_load(program, argument(0));
    put(program, BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0);
    put(program, BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1);
    put_return(program, SECCOMP_RET_ALLOW);
    put_refuse(program, EAFNOSUPPORT);
}

size_t confine_filter(bool network, struct sock_filter out[CONFINE_FILTER_MAX])
{
    struct program program = {out, 0};

    put_load(&program, offsetof(struct seccomp_data, arch));
    put(&program, BPF_JMP | BPF_JEQ | BPF_K, FILTER_ARCH, 1, 0);
    put_return(&program, SECCOMP_RET_KILL_PROCESS);
    put_load(&program, offsetof(struct seccomp_data, nr));
#if defined(__x86_64__)
    put(&program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    put_return(&program, SECCOMP_RET_KILL_PROCESS);
#endif
    for (size_t i = 0; i < REFUSED_CALLS; i++) {
        put_case(&program, refused_calls[i], 1);
        put_refuse(&program, EPERM);
    }
    /* Its flags cannot be seen, so the C library is told to use clone. */
    put_case(&program, CALL_CLONE3, 1);
    put_refuse(&program, ENOSYS);
    put_sockets(&program, network);
    put_case(&program, SYS_clone, 3);
    put_load(&program, argument(0));
    put(&program, BPF_JMP | BPF_JSET | BPF_K, NAMESPACES, 0, 1);
    put_refuse(&program, EPERM);
    put_return(&program, SECCOMP_RET_ALLOW);
    return program.count;
}

/* --- Landlock --- */

enum {
    CALL_CREATE_RULESET = 444,
    CALL_ADD_RULE = 445,
    CREATE_RULESET_VERSION = 1,
    RULE_PATH_BENEATH = 1,
    RULE_NET_PORT = 2,
    VERSION_REFER = 2, /* without it no file moves between folders: git could not work */
    VERSION_TRUNCATE = 3,
    VERSION_NET = 4,
    VERSION_IOCTL = 5,
    VERSION_SCOPE = 6,
};

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_UP_TO_REFER = (1 << 14) - 1,
    FS_TRUNCATE = 1 << 14,
    FS_IOCTL = 1 << 15,
    FS_OF_FILES = FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL,
    FS_READ = FS_EXECUTE | FS_READ_FILE | FS_READ_DIR,
    NET_BIND = 1 << 0,
    NET_CONNECT = 1 << 1,
    SCOPE_ALL = 3, /* abstract UNIX sockets, signals: to nobody outside */
};

struct ruleset_attr {
    uint64_t handled_access_fs, handled_access_net, scoped;
};

struct path_attr {
    uint64_t allowed_access;
    int32_t parent_fd;
} __attribute__((packed));

struct port_attr {
    uint64_t allowed_access, port;
};

static const char *const system_paths[] = {
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/bin",
    "/sbin",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/proc/self/exe", /* this program, whatever its name is now */
    NULL,
};

static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
                                      NULL};

int confine_landlock_version(void)
{
    long version = syscall(CALL_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);

    return version >= VERSION_REFER ? (int)version : 0;
}

static int allow_path(int ruleset, const char *path, uint64_t access, struct error *err)
{
    OWNED(fd_drop) int fd = open(path, O_PATH | O_CLOEXEC);
    struct path_attr rule = {.allowed_access = access, .parent_fd = fd};
    struct stat about;

    if (fd < 0 || fstat(fd, &about) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "a folder of a confined program cannot be opened");
    if (!S_ISDIR(about.st_mode))
        rule.allowed_access &= FS_OF_FILES;
    if (syscall(CALL_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a program cannot be confined");
    return 0;
}

static int allow_paths(int ruleset, const char *const *paths, uint64_t access, bool optional,
                       struct error *err)
{
    for (; paths != NULL && *paths != NULL; paths++)
        if ((!optional || faccessat(AT_FDCWD, *paths, F_OK, 0) == 0) &&
            allow_path(ruleset, *paths, access, err) < 0)
            return -1;
    return 0;
}

static int allow_port(int ruleset, uint16_t port, struct error *err)
{
    struct port_attr rule = {.allowed_access = NET_CONNECT, .port = port};

    if (syscall(CALL_ADD_RULE, ruleset, RULE_NET_PORT, &rule, 0) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a program cannot be confined");
    return 0;
}

/* What the ruleset governs: what the kernel's version knows. */
static struct ruleset_attr handled(int version, const struct confinement *with)
{
    struct ruleset_attr attr = {.handled_access_fs = FS_UP_TO_REFER};

    if (version >= VERSION_TRUNCATE)
        attr.handled_access_fs |= FS_TRUNCATE;
    if (version >= VERSION_IOCTL)
        attr.handled_access_fs |= FS_IOCTL;
    if (version >= VERSION_NET)
        attr.handled_access_net = NET_BIND | (with->network && with->port == 0 ? 0 : NET_CONNECT);
    if (version >= VERSION_SCOPE)
        attr.scoped = SCOPE_ALL;
    return attr;
}

int confine_landlock(const struct confinement *with, int *ruleset, struct error *err)
{
    int version = confine_landlock_version();
    struct ruleset_attr attr = handled(version, with);
    OWNED(fd_drop) int fd = -1;

    *ruleset = -1;
    if (version == 0)
        return 0;
    fd = (int)syscall(CALL_CREATE_RULESET, &attr, sizeof(attr), 0);
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a program cannot be confined");
    if (allow_paths(fd, system_paths, FS_READ, true, err) < 0 ||
        allow_paths(fd, devices,
                    (FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE) & attr.handled_access_fs, true,
                    err) < 0 ||
        allow_paths(fd, with->readable, FS_READ, true, err) < 0 ||
        allow_paths(fd, with->writable, attr.handled_access_fs, false, err) < 0)
        return -1;
    if (with->network && with->port != 0 && version >= VERSION_NET &&
        allow_port(fd, with->port, err) < 0)
        return -1;
    *ruleset = fd_take(&fd);
    return 0;
}
