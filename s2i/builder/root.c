/* root.c - the root file system of a container: layers of an image below, what a build changes
 * above.
 * Touches  mounts below /tmp, in the worker's own namespace.
 * Never    writes into a layer.
 *
 * Options of overlay are written out, names are short (16.8). The lowest layer has the mount points
 * that containers need (builder_internal.h). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s2i/builder/builder_internal.h"

enum { OPTIONS_MAX = 4095, PATH_SIZE = 160, USERS_MAX = 1 << 20 };

static int broken(struct error *err)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a container's files cannot be mounted");
}

static int own_folder(const struct work *work, const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return -1;
    return chown(path, work->ids.base, work->ids.base);
}

/* /tmp/l/<name>/<N> */
static int link_layers(const struct work *work, const struct root *root, struct error *err)
{
    char path[PATH_SIZE], target[PATH_SIZE + LAYER_NAME_MAX], folder[LAYER_NAME_MAX];

    snprintf(path, sizeof(path), DESK "/l/%s", root->name);
    if (mkdir(path, 0700) < 0)
        return broken(err);
    for (size_t i = 0; i < root->stack.count; i++) {
        layer_folder_name(&root->stack.keys[i], folder);
        snprintf(path, sizeof(path), DESK "/l/%s/%zu", root->name, i);
        snprintf(target, sizeof(target), DESK "/f/%s/%s",
                 work->setup.root ? "layers" : "layers-user", folder);
        if (symlink(target, path) < 0)
            return broken(err);
    }
    return 0;
}

/* Folders of a user take no "off". */
static const char *fixed_options(const struct work *work)
{
    return work->setup.root ? "redirect_dir=off,metacopy=off,index=off,xino=off"
                            : "redirect_dir=nofollow,userxattr,metacopy=off,index=off,xino=off";
}

static void print_options(const struct work *work, const struct root *root, const char *below,
                          struct buffer *out)
{
    buffer_append_text(out, "lowerdir=");
    if (below != NULL)
        buffer_print(out, "../../s/%s/u:", below);
    for (size_t i = 0; i < root->stack.count; i++)
        buffer_print(out, "%zu:", i);
    buffer_print(out, "../../m,upperdir=../../s/%s/u,workdir=../../s/%s/w,%s", root->name,
                 root->name, fixed_options(work));
}

/* Two folders at least, overlay asks for: an empty one is the lowest. */
static void print_view(const struct work *work, const struct root *root, struct buffer *out)
{
    buffer_append_text(out, "lowerdir=");
    for (size_t i = 0; i < root->stack.count; i++)
        buffer_print(out, "%zu:", i);
    buffer_print(out, "e,%s", fixed_options(work));
}

static int mount_overlay(struct root *root, const struct buffer *options, struct error *err)
{
    char folder[PATH_SIZE];

    if (options->size > OPTIONS_MAX)
        return error_set(err, ERROR_INVALID, "an image of %zu layers is too many for overlay",
                         root->stack.count);
    snprintf(folder, sizeof(folder), DESK "/l/%s", root->name);
    snprintf(root->path, sizeof(root->path), DESK "/b/%s", root->name);
    if (mkdir(root->path, 0755) < 0 || chdir(folder) < 0)
        return broken(err);
    int mounted = mount("overlay", root->path, "overlay", MS_NODEV, options->at);
    int number = errno;
    if (chdir("/") < 0)
        return broken(err);
    errno = number;
    return mounted < 0 ? broken(err) : 0;
}

static int open_both(struct root *root, struct error *err)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), DESK "/s/%s/u", root->name);
    root->upper = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    root->root = open(root->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return root->upper < 0 || root->root < 0 ? broken(err) : 0;
}

static int mount_root(struct work *work, struct root *root, const char *below, struct error *err)
{
    OWNED(buffer_drop) struct buffer options = BUFFER_NONE;
    char path[PATH_SIZE];

    snprintf(root->name, sizeof(root->name), "%u", ++work->roots);
    snprintf(root->below, sizeof(root->below), "%s", below == NULL ? "" : below);
    snprintf(path, sizeof(path), DESK "/s/%s", root->name);
    if (mkdir(path, 0700) < 0)
        return broken(err);
    snprintf(path, sizeof(path), DESK "/s/%s/w", root->name);
    if (mkdir(path, 0700) < 0)
        return broken(err);
    snprintf(path, sizeof(path), DESK "/s/%s/u", root->name);
    if (own_folder(work, path) < 0)
        return broken(err);
    if (link_layers(work, root, err) < 0)
        return -1;
    print_options(work, root, below, &options);
    if (mount_overlay(root, &options, err) < 0)
        return -1;
    return open_both(root, err);
}

int root_open(struct work *work, const char *kind, const struct s2i_image *image, struct root *out,
              struct error *err)
{
    if (image_config_read(&out->config, slice_of(image->config), err) < 0 ||
        layers_take(work, kind, image, &out->stack, err) < 0)
        return -1;
    return mount_root(work, out, NULL, err);
}

int root_open_view(struct work *work, const char *kind, const struct s2i_image *image,
                   struct root *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer options = BUFFER_NONE;
    char path[PATH_SIZE];

    if (layers_take(work, kind, image, &out->stack, err) < 0)
        return -1;
    snprintf(out->name, sizeof(out->name), "%u", ++work->roots);
    if (link_layers(work, out, err) < 0)
        return -1;
    snprintf(path, sizeof(path), DESK "/l/%s/e", out->name);
    if (mkdir(path, 0755) < 0)
        return broken(err);
    print_view(work, out, &options);
    if (mount_overlay(out, &options, err) < 0)
        return -1;
    out->root = open(out->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return out->root < 0 ? broken(err) : 0;
}

static int keys_of(const struct s2i_list *layers, struct stack *out, struct error *err)
{
    out->layers = memory_new((layers->count + 1) * sizeof(int));
    out->locks = memory_new((layers->count + 1) * sizeof(int));
    out->keys = memory_new((layers->count + 1) * sizeof(struct digest));
    for (size_t i = 0; i < layers->count; i++) {
        OWNED(memory_drop) char *text = memory_text(slice_of(layers->items[i]));
        text[strcspn(text, "-")] = ':';
        if (digest_parse(slice_of(text), &out->keys[i], err) < 0)
            return -1;
        out->layers[i] = out->locks[i] = -1;
        out->count++;
    }
    return 0;
}

int root_open_again(struct work *work, const struct s2i_list *uppers, const struct s2i_list *layers,
                    struct root *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer options = BUFFER_NONE;

    if (uppers->count == 0 || keys_of(layers, &out->stack, err) < 0)
        return error_set(err, ERROR_INTERNAL, "what is kept cannot be read");
    snprintf(out->name, sizeof(out->name), "%.15s", uppers->items[0]);
    if (uppers->count > 1)
        snprintf(out->below, sizeof(out->below), "%.15s", uppers->items[1]);
    if (link_layers(work, out, err) < 0)
        return -1;
    print_options(work, out, uppers->count > 1 ? out->below : NULL, &options);
    return mount_overlay(out, &options, err) < 0 ? -1 : open_both(out, err);
}

static void unmount(struct root *root)
{
    fd_drop(&root->root);
    fd_drop(&root->upper);
    if (root->path[0] != 0)
        umount2(root->path, MNT_DETACH);
    root->path[0] = 0;
}

int root_open_over(struct work *work, struct root *below, struct root *out, struct error *err)
{
    struct error ignored = {0};

    unmount(below);
    out->stack = below->stack;
    below->stack = (struct stack){0};
    if (image_config_read(&out->config, SLICE("{}"), &ignored) < 0)
        error_clear(&ignored);
    return mount_root(work, out, below->name, err);
}

void root_drop(struct root *root)
{
    unmount(root);
    stack_drop(&root->stack);
    image_config_drop(&root->config);
}

/* --- where a path leads --- */

bool root_mounted_over(const char *path)
{
    static const char *const folders[] = {"proc", "dev", "sys"};
    size_t size = strcspn(path, "/");

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (strlen(folders[i]) == size && strncmp(path, folders[i], size) == 0)
            return true;
    return false;
}

bool root_real_path(const struct root *root, const char *folder, char *out, size_t capacity)
{
    char link[PATH_SIZE], real[PATH_MAX];
    size_t above = strlen(root->path);
    OWNED(fd_drop) int fd = tree_open(root->root, folder, O_PATH | O_DIRECTORY, 0);

    if (fd < 0)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, real, sizeof(real) - 1);
    if (size < (ssize_t)above || strncmp(real, root->path, above) != 0)
        return false;
    real[size] = 0;
    const char *below = real + above + (real[above] == '/');
    return !root_mounted_over(below) && snprintf(out, capacity, "%s", below) < (int)capacity;
}

/* --- its users --- */

static int read_users(const struct root *root, const char *path, struct buffer *out,
                      struct error *err)
{
    if (tree_read(root->root, path, USERS_MAX, out) < 0)
        return error_set_errno(err, ERROR_INVALID, errno, "%s of the image cannot be read", path);
    return 0;
}

int root_user(const struct root *root, const char *wanted, struct container_user *out,
              struct error *err)
{
    OWNED(buffer_drop) struct buffer passwd = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer group = BUFFER_NONE;

    if (read_users(root, "/etc/passwd", &passwd, err) < 0 ||
        read_users(root, "/etc/group", &group, err) < 0 ||
        container_user_find(wanted, buffer_slice(&passwd), buffer_slice(&group), out, err) < 0)
        return -1;
    if (out->uid >= IDS || out->gid >= IDS)
        return error_set(err, ERROR_INVALID, "user %s is beyond the %d ids of a build", wanted,
                         IDS);
    return 0;
}
