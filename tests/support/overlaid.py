"""overlaid.py - a real overlay, changed by real calls, and what the tree looks like then.

Touches  folders it is given; a mount namespace (and a user namespace) of its own, gone with the child.
Never    mounts in the caller's namespace.

As a module: run(). As a program: the child, with its orders as JSON on standard input.
"""
import ctypes
import hashlib
import json
import os
import pathlib
import socket
import stat
import struct
import subprocess
import sys

EPOCH = 1_000_000_000
CAPS = bytes.fromhex("0100000200200000000000000000000000000000")  # cap_net_raw+ep, version 2
CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
KEPT = ("user.", "security.capability", "system.posix_acl_")
libc = ctypes.CDLL(None, use_errno=True)


# --- what a tree looks like ---

def xattrs(path):
    out = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(KEPT) and not name.startswith("user.overlay."):
            out[name] = os.getxattr(path, name, follow_symlinks=False).hex()
    return out


def look(top, shift=0):
    """Path to what lstat and the content say; hard links as the first of their names."""
    tree, first = {}, {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            file = os.lstat(path)
            entry = {"type": stat.S_IFMT(file.st_mode), "uid": file.st_uid - shift, "gid": file.st_gid - shift}
            if not stat.S_ISLNK(file.st_mode):
                entry["mode"] = stat.S_IMODE(file.st_mode)
            if stat.S_ISSOCK(file.st_mode):
                continue
            if stat.S_ISLNK(file.st_mode):
                entry["to"] = os.readlink(path).decode("latin-1")
            if stat.S_ISREG(file.st_mode):
                entry["size"] = file.st_size
                entry["sha256"] = hashlib.sha256(pathlib.Path(os.fsdecode(path)).read_bytes()).hexdigest()
                entry["mtime"] = min(int(file.st_mtime), EPOCH)
            if stat.S_ISREG(file.st_mode) or stat.S_ISDIR(file.st_mode):
                entry["xattrs"] = xattrs(path)
            shown = os.path.relpath(path, os.fsencode(top)).decode("latin-1")
            if file.st_nlink > 1 and not stat.S_ISDIR(file.st_mode):
                first.setdefault(file.st_ino, []).append(shown)
            tree[shown] = entry
    for names in first.values():
        for name in names if len(names) > 1 else []:  # other names may have been left below
            tree[name]["names"] = sorted(names)
    return tree


# --- changes; each runs with the merged tree as its current folder ---

def write(path, text="x", mode=None):
    with open(path, "w") as file:
        file.write(text)
    if mode is not None:
        os.chmod(path, mode)


def append(path, text="more"):
    with open(path, "a") as file:
        file.write(text)


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            remove(f"{path}/{name}")
        os.rmdir(path)
    else:
        os.unlink(path)


def everything():
    """The list of s2i-facts B1, but owners: they are not to be had at level (b)."""
    write("etc/new")
    os.unlink("etc/gone")
    os.chmod("etc/mode", 0o600)
    append("app/mine")
    os.makedirs("app/fresh/deep")
    write("app/fresh/deep/file", "fresh")
    remove("folder-to-file")
    write("folder-to-file")
    remove("file-to-folder")
    os.mkdir("file-to-folder")
    write("file-to-folder/inside")
    remove("again")
    os.makedirs("again/sub")
    write("again/sub/kept-name", "other")
    write("again/new")
    os.mkdir("renamed-from-copy")
    for name in sorted(os.listdir("to-rename")):
        os.rename(f"to-rename/{name}", f"renamed-from-copy/{name}")
    os.rmdir("to-rename")
    os.unlink("emptied/only")
    os.link("etc/new", "etc/new-too")
    os.link("etc/new", "a-third")
    append("hard/one")
    os.unlink("link")
    os.symlink("elsewhere", "link")
    os.unlink("two-layers/upper")
    write("two-layers/back", "back again")
    os.mkfifo("pipe", 0o640)
    with open("sparse", "wb") as file:
        file.truncate(10 << 20)
    write("capable", "elf", 0o755)
    os.setxattr("capable", "security.capability", CAPS)
    write("noted")
    os.setxattr("noted", "user.note", b"a\0value\xff")
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 6, 0xffffffff), (2, 4, 0), (4, 4, 0xffffffff), (0x10, 6, 0xffffffff), (0x20, 0, 0xffffffff)))
    write("listed")
    os.setxattr("listed", "system.posix_acl_access", acl)
    write("n\u00e4me-\u65e5\u672c")
    with open(b"not-utf8-\xff\xfe", "w") as file:
        file.write("y")
    long = "/".join(letter * 60 for letter in "abcd")
    os.makedirs(long)
    write(f"{long}/{'e' * 20}")
    write("a.b")
    os.mkdir("a")
    write("a/x")
    write("a0")
    write("setuid", "s", 0o4755)
    os.mkdir("closed", 0o000)
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")


def owners():
    os.chown("etc/mode", 1001, 0)
    os.lchown("link", 5, 6)
    os.mkdir("theirs")
    os.chown("theirs", 1001, 1001)
    write("theirs/big-id")
    os.chown("theirs/big-id", 60000, 65535)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in (
        (1, 6, 0xffffffff), (2, 4, 77), (4, 4, 0xffffffff), (8, 1, 78), (0x10, 6, 0xffffffff), (0x20, 0, 0xffffffff)))
    write("listed-ids")
    os.setxattr("listed-ids", "system.posix_acl_access", acl)
    os.mkdir("inherits")
    os.setxattr("inherits", "system.posix_acl_default", acl)
    write("inherits/child")


def nothing():
    pass


def script():
    exec(compile(ORDERS["script"], "script", "exec"), globals())  # noqa: S102


# --- the child ---

def checked(status, what):
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount_overlay():
    words = ["userxattr"] if ORDERS["level"] == "single" else ["redirect_dir=off"]
    words += ["metacopy=off,index=off", f"lowerdir={':'.join(ORDERS['lowers'])}",
              f"upperdir={ORDERS['upper']}", f"workdir={ORDERS['work']}"]
    checked(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "private")
    checked(libc.mount(b"overlay", ORDERS["merged"].encode(), b"overlay", 0, ",".join(words).encode()), "overlay")


def become(base):
    """Root of a user namespace whose ids start at base: the parent writes the maps."""
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        checked(libc.unshare(CLONE_NEWUSER), "user namespace")
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        return
    os.read(ready[0], 1)
    for kind in ("uid_map", "gid_map"):
        pathlib.Path(f"/proc/{child}/{kind}").write_text(f"0 {base} 65536")
    os.write(go[1], b"x")
    os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def child():
    os.umask(int(ORDERS.get("umask", "022"), 8))
    checked(libc.unshare(CLONE_NEWNS), "mount namespace")
    mount_overlay()
    os.chdir(ORDERS["merged"])
    if ORDERS["level"] == "shifted":
        become(ORDERS["base"])
    globals()[ORDERS["changes"]]()
    json.dump(look("."), sys.stdout)
    sys.stdout.flush()


def run(orders):
    """The tree as it looks in the overlay after the changes; None when none can be mounted. Level (b) runs as an
    ordinary user."""
    words = [sys.executable, __file__]
    if orders["level"] == "single":
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-r", *words]
    done = subprocess.run(words, input=json.dumps(orders), capture_output=True, text=True, timeout=180, check=False)
    if "overlay: Operation not permitted" in done.stderr or "mount namespace: Operation not permitted" in done.stderr:
        return None
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


if __name__ == "__main__":
    ORDERS = json.load(sys.stdin)
    child()
