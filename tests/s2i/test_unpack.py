"""test_unpack.py - an image of odd files, built by pushing, is unpacked by four strangers: each has entry by entry what the build saw.

Touches  a registry of its own folder; containerd, podman and runc with folders of the run.
Never    the machine's engines.

Acceptance 20.6. The tree is listed by one script, at the end of assemble and again in what they unpacked; attributes, which
no shell lists, are read from outside. Spec: s2i 17, 18; s2i-facts B1
"""
import json
import pathlib
import subprocess
import tarfile

import pytest

from support import building, engines, layering, overlaid
from support.layering import entry, folder, link, xattr

APPLETS = (*building.APPLETS, "xargs", "sha256sum", "readlink", "rmdir", "truncate")
LIST = """#!/bin/sh
cd /
find . -xdev \\( -path ./proc -o -path ./dev -o -path ./sys -o -path ./listing -o -path ./tmp/src -o -path ./tmp/scripts \\) -prune -o \\
    -exec stat -c '%n|%F|%a|%u|%g' {} + | sort
find . -xdev \\( -path ./proc -o -path ./dev -o -path ./sys -o -path ./listing -o -path ./tmp/src \\) -prune -o \\
    -type f -exec stat -c '%n|%s|%h|%Y' {} + | sort
find . -xdev \\( -path ./proc -o -path ./dev -o -path ./sys -o -path ./listing -o -path ./tmp/src \\) -prune -o \\
    -type f -print0 | sort -z | xargs -0 sha256sum
find . -xdev \\( -path ./proc -o -path ./dev -o -path ./sys \\) -prune -o -type l -exec stat -c '%N' {} + | sort
"""
LONG = "/".join(letter * 80 for letter in "abc") + "/" + "d" * 120
ODD = "na\u00efve-\u65e5\u672c\u8a9e"
CHANGES = f"""#!/bin/sh
set -e
cd /odd
rm gone; chmod 600 mode; echo more >> mine; chown 1001:77 owned
rm -r folder-to-file; echo now > folder-to-file
rm file-to-folder; mkdir file-to-folder; echo in > file-to-folder/inside
rm -r again; mkdir -p again/sub; echo new > again/sub/file
mv whole-folder moved-folder
rm emptied/only
ln mine hard; ln mine /odd-hard; echo 2 >> linked/one
rm link; ln -s /elsewhere link; ln -s ../odd/mine ./up; ln -s nowhere "dangling {ODD}"
mkfifo -m 640 pipe
echo set > setuid; chmod 6755 setuid; mkdir sticky; chmod 1777 sticky; mkdir closed; chmod 0 closed
mkdir -p '{LONG}'; echo long > '{LONG}/{"e" * 200}'
echo odd > '{ODD}'; echo spaces > ' two  words '; echo star > '*'; printf x > "$(printf 'not-utf8-\\377\\376')"
truncate -s 3M sparse; echo end >> sparse
mv capable carried; mv noted taken
echo back > back; rm below/one; echo x > top-new
sh /list > /listing
"""


def lower_layers():
    first = [folder("./", mode=0o755), folder("odd/", mode=0o755)]  # podman: 0555 unless a layer says something
    first += [entry(f"odd/{name}", data=name.encode()) for name in ("gone", "mode", "mine", "owned", "file-to-folder", "back")]
    first += [folder("odd/folder-to-file/"), entry("odd/folder-to-file/x"), folder("odd/again/"), folder("odd/again/sub/"),
              entry("odd/again/old"), entry("odd/again/sub/old"), folder("odd/whole-folder/"), folder("odd/whole-folder/deep/"),
              entry("odd/whole-folder/deep/file", data=b"moved"), folder("odd/emptied/"), entry("odd/emptied/only"),
              folder("odd/linked/"), entry("odd/linked/one", data=b"1"), link("odd/linked/two", "odd/linked/one", tarfile.LNKTYPE),
              link("odd/link", "mine"), folder("odd/below/"), entry("odd/below/one"), entry("odd/below/two"),
              folder("odd/hidden/"), entry("odd/hidden/inside"), folder("odd/untouched/", mode=0o1711, uid=7, gid=8),
              entry("odd/capable", data=b"elf", mode=0o755, pax_headers=xattr("security.capability", overlaid.CAPS)),
              entry("odd/ping", data=b"elf", mode=0o755, pax_headers=xattr("security.capability", overlaid.CAPS)),
              entry("odd/noted", data=b"n", pax_headers=xattr("user.note", b"a value")), entry("list", data=LIST.encode(), mode=0o755)]
    first += [link(f"bin/{applet}", "busybox") for applet in APPLETS if applet not in building.APPLETS]
    second = [folder("odd/hidden/"), entry("odd/hidden/.wh..wh..opq"), entry("odd/hidden/new", data=b"n"), entry("odd/.wh.back"),
              folder("odd/below/", mode=0o700), entry("odd/below/.wh.two")]
    return [building.base_tar({"assemble": CHANGES, "run": building.RUN}, {}), layering.archive(first), layering.archive(second)]


@pytest.fixture(scope="module")
def built(server, folder):
    config = {"User": "0", "Env": ["PATH=/bin:/usr/bin"], "WorkingDir": "/",
              "Labels": {"io.openshift.s2i.scripts-url": f"image://{building.SCRIPTS}"}}
    building.push_image(server, "builders/odd", "latest", lower_layers(), config)
    building.Source(folder / "odd-source", {"index.html": "x"}).push(server, "team/odd", "-o", "builder=builders/odd")
    return f"127.0.0.1:{server.port}/team/odd:latest"


def lines(text):
    """Times not after the commit's; the number of names of a file only where it was given several here: an overlay counts
    those of lower layers too."""
    out = []
    for line in text.decode("latin-1").splitlines():
        parts = line.split("|")
        if len(parts) == 4:
            line = "|".join([*parts[:2], parts[2] if parts[0] in ("./odd/mine", "./odd/hard", "./odd-hard") else "",
                             str(min(int(parts[3]), building.WHEN))])
        out.append(line)
    return sorted(out)


def listed_in(root):
    return subprocess.run(["/usr/sbin/chroot", str(root), "/bin/sh", "/list"], capture_output=True, check=True,
                          env={"PATH": "/bin"}).stdout


def compare(root, said=None):
    """What the build listed stands in the image itself."""
    expected = lines((root / "listing").read_bytes())
    assert len(expected) > 150 and any(ODD.encode().decode("latin-1") in line for line in expected)
    found = lines(said if said is not None else listed_in(root))
    assert [line for line in found if line not in expected] == [] == [line for line in expected if line not in found]
    tree = overlaid.look(root)
    for name in ("odd/carried", "odd/ping"):
        assert tree[name]["xattrs"] == {"security.capability": overlaid.CAPS.hex()}, (name, tree[name])
    assert tree["odd/taken"]["xattrs"] == {"user.note": b"a value".hex()}
    assert tree["odd/mine"]["names"] == sorted(["odd/mine", "odd/hard", "odd-hard"])
    assert (tree["odd/untouched"]["uid"], tree["odd/untouched"]["gid"], tree["odd/untouched"]["mode"]) == (7, 8, 0o1711)
    return tree


@pytest.fixture(scope="module")
def by_umoci(built, folder):
    layout, bundle = folder / "odd-layout", folder / "odd-bundle"
    engines.run(engines.need("skopeo"), "copy", "-q", "--src-tls-verify=false", f"docker://{built}", f"oci:{layout}:it")
    engines.run(engines.need("umoci"), "unpack", "--image", f"{layout}:it", bundle)
    return bundle


def test_umoci(by_umoci):
    compare(by_umoci / "rootfs")


def test_skopeo_and_runc(by_umoci):
    """The same script in a container of the copied image."""
    words = json.loads((by_umoci / "config.json").read_text())
    words["process"].update(terminal=False, args=["/bin/sh", "/list"], cwd="/")
    words["root"]["readonly"] = True
    words["mounts"] = [mount for mount in words["mounts"] if mount["destination"] in ("/proc", "/dev")]
    words["linux"] = {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]}
    words["process"].pop("rlimits", None)
    (by_umoci / "config.json").write_text(json.dumps(words))
    for place in ("proc", "dev"):  # runc makes none in a tree that is only read
        (by_umoci / "rootfs" / place).mkdir(exist_ok=True)
    name = f"slipway-test-{by_umoci.parent.name}"
    done = subprocess.run([engines.need("runc"), "--root", by_umoci.parent / "runc", "run", "--bundle", by_umoci, name],
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    compare(by_umoci / "rootfs", done.stdout)


def test_containerd(built, folder):
    """ctr images pull, ctr images mount."""
    engine = engines.Containerd(folder / "c")
    engine.start()
    mounted = pathlib.Path(folder / "odd-ctr")
    mounted.mkdir()
    try:
        engine("images", "pull", "--plain-http", "--snapshotter", "native", built)
        engine("images", "mount", "--snapshotter", "native", built, mounted)
        compare(mounted)
    finally:
        subprocess.run(["umount", mounted], check=False, capture_output=True)
        engine.stop()


def test_podman(built, folder):
    podman = [engines.need("podman"), "--root", folder / "odd-p", "--runroot", folder / "odd-r", "--storage-driver", "vfs"]
    image = engines.run(*podman, "pull", "--quiet", "--tls-verify=false", built).strip()
    compare(pathlib.Path(engines.run(*podman, "image", "mount", image).strip()))
    engines.run(*podman, "image", "umount", image)
