/* seccomp.c - the calls a container may not make, in the form of the OCI runtime specification.
 * Touches  memory only.
 * Never    the only wall: namespaces, capabilities and no_new_privs stand beside it.
 *
 * Spec: s2i 16.5. Names that a kernel does not know are left out by the runtime; calls of another
 * architecture than the machine's end the process, as no architecture is named. */
#include <errno.h>
#include <sched.h>
#include <sys/socket.h>

#include "s2i/builder/builder_internal.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *const refused[] = {
    /* the tree of files */
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_tree_attr",
    "quotactl",
    "quotactl_fd",
    "swapon",
    "swapoff",
    "open_by_handle_at",
    "name_to_handle_at",
    "fanotify_init",
    "lookup_dcookie",
    /* namespaces */
    "unshare",
    "setns",
    /* keys, programs in the kernel, other processes */
    "add_key",
    "request_key",
    "keyctl",
    "bpf",
    "perf_event_open",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "pidfd_getfd",
    "kcmp",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "move_pages",
    "migrate_pages",
    "set_mempolicy_home_node",
    /* the machine */
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "reboot",
    "acct",
    "syslog",
    "settimeofday",
    "clock_settime",
    "clock_settime64",
    "clock_adjtime",
    "clock_adjtime64",
    "adjtimex",
    "stime",
    "iopl",
    "ioperm",
    "nfsservctl",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "vhangup",
    "vm86",
    "vm86old",
};

static const unsigned long namespaces[] = {
    CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
    CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET, 0x80 /* time */,
};

static void add_names(json_t *calls)
{
    json_t *names = json_array();

    for (size_t i = 0; i < LENGTH(refused); i++)
        json_array_append_new(names, json_string(refused[i]));
    json_array_append_new(calls, json_pack("{s:o, s:s, s:i}", "names", names, "action",
                                           "SCMP_ACT_ERRNO", "errnoRet", EPERM));
}

/* clone3 hides its flags in memory: without it the C library takes clone. */
static void add_clone(json_t *calls)
{
    json_array_append_new(calls, json_pack("{s:[s], s:s, s:i}", "names", "clone3", "action",
                                           "SCMP_ACT_ERRNO", "errnoRet", ENOSYS));
    for (size_t i = 0; i < LENGTH(namespaces); i++)
        json_array_append_new(
            calls, json_pack("{s:[s], s:s, s:i, s:[{s:i, s:I, s:I, s:s}]}", "names", "clone",
                             "action", "SCMP_ACT_ERRNO", "errnoRet", EPERM, "args", "index", 0,
                             "value", (json_int_t)namespaces[i], "valueTwo",
                             (json_int_t)namespaces[i], "op", "SCMP_CMP_MASKED_EQ"));
}

static void add_family(json_t *calls, const char *op, json_int_t value, int masked)
{
    json_array_append_new(
        calls, json_pack("{s:[s, s], s:s, s:i, s:[{s:i, s:I, s:I, s:s}]}", "names", "socket",
                         "socketpair", "action", "SCMP_ACT_ERRNO", "errnoRet", EAFNOSUPPORT, "args",
                         "index", 0, "value", value, "valueTwo", (json_int_t)masked, "op", op));
}

static bool is_used(int family)
{
    return family == AF_UNIX || family == AF_INET || family == AF_INET6 || family == AF_NETLINK;
}

/* A network namespace holds back what it knows of: vsock leads past it, to the hypervisor. And a
 * family that is not there yet is loaded into the kernel for whoever asks for it. */
static void add_families(json_t *calls)
{
    for (int family = 0; family < AF_NETLINK; family++)
        if (!is_used(family)) /* the kernel looks at 32 bits of 64 */
            add_family(calls, "SCMP_CMP_MASKED_EQ", UINT32_MAX, family);
    add_family(calls, "SCMP_CMP_GT", AF_NETLINK, 0);
}

json_t *seccomp_profile(void)
{
    json_t *calls = json_array();

    add_names(calls);
    add_clone(calls);
    add_families(calls);
    return json_pack("{s:s, s:o}", "defaultAction", "SCMP_ACT_ALLOW", "syscalls", calls);
}
