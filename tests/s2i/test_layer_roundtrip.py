"""test_layer_roundtrip.py - layers made of real overlays, unpacked by others, are what the build saw.

Touches  a temporary folder of the run; mount and user namespaces of children.
Never    a registry or a builder.

Spec: s2i 15.6, 16.3, 17, 18, 20.5, 20.6
"""
import io
import os
import pathlib
import shutil
import subprocess
import tarfile

import pytest

from support import engines, layering, overlaid
from support.layering import entry, folder, link, xattr

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: no overlay can be mounted, its tests did not run")


def base():
    """Two layers with what the changes touch; the second takes some of the first away."""
    first = [
        folder("./", mode=0o755), folder("etc/"), entry("etc/gone", data=b"gone"), entry("etc/mode", data=b"mode"),
        folder("app/", uid=1001, gid=0, mode=0o775), entry("app/mine", data=b"mine", uid=1001),
        folder("folder-to-file/"), entry("folder-to-file/x"), entry("file-to-folder", data=b"f"),
        folder("again/"), folder("again/sub/"), entry("again/sub/old"), entry("again/sub/kept-name"), entry("again/g"),
        folder("to-rename/", mode=0o700), entry("to-rename/r", data=b"r"), link("to-rename/l", "../etc"),
        folder("emptied/"), entry("emptied/only"), folder("hard/"), entry("hard/one", data=b"1"),
        link("hard/two", "hard/one", tarfile.LNKTYPE), link("link", "etc"), folder("two-layers/"),
        entry("two-layers/lower"), entry("two-layers/back"), folder("hidden/"), entry("hidden/inside"),
        folder("usr/"), folder("usr/bin/"), link("bin", "usr/bin"), entry("bin/sh", data=b"sh", mode=0o4755),
        entry("ping", mode=0o755, pax_headers=xattr("security.capability", overlaid.CAPS)),
        folder("untouched/", mode=0o1777, uid=7, gid=8),
    ]
    second = [
        folder("two-layers/", mode=0o711), entry("two-layers/upper"), entry("two-layers/.wh.lower"),
        entry("two-layers/.wh.back"), folder("hidden/"), entry("hidden/.wh..wh..opq"), entry("hidden/new", data=b"n"),
    ]
    return [layering.archive(first), layering.archive(second)]


@pytest.fixture
def stack():
    top = engines.scratch()
    top.chmod(0o755)

    def make(level="plain", archives=None, name=None):
        return layering.Stack(top / (name or level), level, archives or base())
    yield make
    shutil.rmtree(top, ignore_errors=True)


def by_umoci(top, tars):
    """What it makes of the layers."""
    engines.run(engines.need("umoci"), "unpack", "--image", f"{layering.layout(top / 'layout', tars)}:it",
                top / "bundle")
    return overlaid.look(top / "bundle/rootfs")


def by_podman(top, tars):
    podman = [engines.need("podman"), "--root", top / "pod", "--runroot", top / "pod-run", "--storage-driver", "vfs"]
    image = engines.run(*podman, "pull", "--quiet", f"oci:{layering.layout(top / 'pod-layout', tars)}:it").strip()
    tree = overlaid.look(engines.run(*podman, "image", "mount", image).strip())
    engines.run(*podman, "image", "umount", image)
    return tree


def differences(one, other):
    return {name: (one.get(name), other.get(name)) for name in {*one, *other} if one.get(name) != other.get(name)}


@pytest.mark.parametrize("level", ["plain", "shifted"])
def test_others_see_what_the_build_saw(stack, level):
    """Spec: s2i 17.2, 17.4, 17.7, 18.6; 20.6, and B1 of the facts."""
    ours = stack(level)
    ours.change("everything")
    merged = ours.change("owners")
    told, tar = ours.make()
    assert told["notes"] == ["socket 'socket' is left out of the layer"]
    assert differences(merged, by_umoci(ours.top, [*ours.archives, tar])) == {}
    if level == "plain":
        assert differences(merged, by_podman(ours.top, [*ours.archives, tar])) == {}
        listed = subprocess.run(["tar", "-tf", "-"], input=tar, capture_output=True, check=True)
        assert len(listed.stdout.splitlines()) == told["entries"] and listed.stderr.count(b"\n") == 1, listed.stderr


def test_all_levels_make_the_same_layer(stack):
    """Spec: s2i 16.3, 20.5"""
    made = {}
    for level in layering.LEVELS:
        ours = stack(level)
        ours.change("everything")
        made[level] = ours.make()[0]
    assert made["plain"]["entries"] > 40
    assert made["plain"]["diff_id"] == made["shifted"]["diff_id"] == made["single"]["diff_id"]
    assert made["plain"]["digest"] == made["single"]["digest"]


def test_what_must_not_matter_does_not(stack):
    """The umask of the builder, locale, time zone, the file system, the order of inodes, times. Spec: s2i 15.2, 20.5"""
    plain, other = stack("plain", name="one"), stack("plain", name="two")
    plain.change("everything")
    other.change("everything")
    expected = plain.make()[0]["digest"]
    shm = pathlib.Path(f"/dev/shm/slipway-layer-{os.getpid()}")
    try:
        subprocess.run(["cp", "-a", other.top / "upper", shm], check=True)
        for path in shm.rglob("*"):
            if path.lstat().st_mtime > overlaid.EPOCH:
                os.utime(path, (2_000_000_000, 2_000_000_000), follow_symlinks=False)
        words = [layering.probe_path(), "make", shm, other.top / "blob",
                 *(f"lower={lower}" for lower in other.lowers), f"epoch={overlaid.EPOCH}"]
        subprocess.run(["sh", "-c", 'umask 077; exec "$@"', "sh", *map(str, words)], check=True, stdout=subprocess.DEVNULL,
                       env={"LC_ALL": "de_DE.UTF-8", "TZ": "Pacific/Auckland"})
        assert layering.sha256((other.top / "blob").read_bytes()) == expected
    finally:
        shutil.rmtree(shm, ignore_errors=True)


def test_entries_are_sorted_and_whiteouts_come_first(stack):
    """Spec: s2i 17.1, 18.1 to 18.4"""
    ours = stack()
    ours.change("everything")
    _, tar = ours.make()
    found = layering.names(tar)
    assert len(set(found)) == len(found)
    assert [name for name in found if name.startswith("a") and len(name) < 5] == ["a.b", "a/", "a/x", "a0", "app/"]
    gone = [name for name in found if "/.wh." in "/" + name]
    assert sorted(gone) == [".wh.to-rename", "again/.wh.g", "again/sub/.wh.old", "emptied/.wh.only", "etc/.wh.gone",
                            "two-layers/.wh.upper"]
    assert found[0] == ".wh.to-rename"
    assert found.index("again/.wh.g") < found.index("again/new") < found.index("again/sub/")
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        for member in members:
            assert member.uname == member.gname == "" and member.mtime <= overlaid.EPOCH
            assert not any(key.startswith(("LIBARCHIVE", "SCHILY.xattr.trusted", "SCHILY.xattr.user.overlay"))
                           for key in member.pax_headers)
            if "/.wh." in "/" + member.name:
                assert (member.mode, member.uid, member.size, member.mtime) == (0, 0, 0, overlaid.EPOCH)


def test_nothing_changed_gives_no_entry(stack):
    ours = stack()
    ours.change("nothing")
    told, tar = ours.make()
    assert told["entries"] == 0 and tar == bytes(1024)


def test_whiteouts_that_nobody_needs_are_dropped(stack):
    """A file made and removed again, under a name that the second layer removed. Spec: s2i 18.4"""
    ours = stack()
    ours.change("script", script="write('two-layers/back'); os.unlink('two-layers/back')")
    assert layering.names(ours.make()[1]) == ["two-layers/"]


def test_mount_points_leave_no_trace(stack):
    """Spec: s2i 17.12; A6 of the facts"""
    ours = stack()
    ours.change("script", script="write('etc/hosts'); os.makedirs('cache/a'); write('cache/a/b'); append('app/mine')")
    assert layering.names(ours.make("left_out=etc/hosts", "left_out=cache")[1]) == ["app/", "app/mine"]
    ours.change("script", script="os.chmod('etc', 0o700)")
    assert layering.names(ours.make("left_out=etc/hosts", "left_out=cache", name="again")[1]) == \
        ["app/", "app/mine", "etc/"]


def test_clamping_and_compression(stack):
    """Spec: s2i 17.3, 17.9"""
    ours = stack()
    ours.change("script", script="os.chmod('etc/mode', 0o600); write('new')")
    told, tar = ours.make()
    zstd, same = ours.make("compression=zstd", name="zstd")
    _, all_clamped = ours.make("clamp_all=1", name="clamped")
    assert told["diff_id"] == zstd["diff_id"] and tar == same and zstd["media_type"].endswith("tar+zstd")
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        assert members.getmember("etc/mode").mtime == 900_000_000
        assert members.getmember("new").mtime == overlaid.EPOCH
    with tarfile.open(fileobj=io.BytesIO(all_clamped)) as members:
        assert {member.mtime for member in members} == {overlaid.EPOCH}
    head = (ours.top / "made/blob").read_bytes()[:10]
    assert head[:2] == b"\x1f\x8b" and head[4:8] == bytes(4) and head[3] == 0 and head[9] == 255


def test_slices_stack_to_the_same_tree(stack):
    """Spec: s2i 15.6"""
    ours = stack()
    merged = ours.change("everything")
    slices = ["slice=app=app/*", "slice=text=*e*"]
    tars = [ours.make(*slices, f"slice_number={number}", name=f"slice{number}")[1] for number in range(3)]
    assert layering.names(tars[0]) == ["app/", "app/fresh/", "app/fresh/deep/", "app/fresh/deep/file", "app/mine"]
    assert [name for name in layering.names(tars[2]) if name.startswith("app/")] == ["app/"]
    found = by_umoci(ours.top, [*ours.archives, *tars])
    for tree in (merged, found):  # links between slices become files
        for value in tree.values():
            value.pop("names", None)
    assert differences(merged, found) == {}


@pytest.mark.parametrize("change, words, said", [
    ("write('app/.wh.odd')", [], "app/.wh.odd' has no place in a layer"),
    ("os.makedirs('.wh.x/y')", [], "'.wh.x' has no place"),
    ("write('app/env', 'k=' + 'x' * 300000 + 'top-secret-1')", ["secret=top-secret-1"],
     "'app/env' holds a secret of the build (SecretInLayer)"),
    ("write('a-top-secret-1')", ["secret=top-secret-1"], "SecretInLayer"),
    ("os.symlink('top-secret-1', 's')", ["secret=top-secret-1"], "SecretInLayer"),
    ("write('f'); os.setxattr('f', 'user.x', b'top-secret-1')", ["secret=top-secret-1"], "SecretInLayer"),
    ("write('f'); os.setxattr('f', 'user.a=b', b'v')", [], "'f' has an attribute with '=' in its name"),
])
def test_what_has_no_place_in_a_layer(stack, change, words, said):
    """Spec: s2i 10.22, 17.12"""
    ours = stack()
    ours.change("script", script=change)
    with pytest.raises(layering.Refused, match="") as refused:
        ours.make(*words)
    assert said in str(refused.value)


def test_owners_at_level_b(stack):
    """Files of the base keep their owners in the layer; new ones belong to the assemble user. Spec: s2i 16.3"""
    ours = stack("single")
    ours.change("script", script="append('app/mine'); write('app/new'); os.chmod('untouched', 0o777); "
                                 "append('hard/one'); os.unlink('ping'); write('ping'); "
                                 "remove('again'); os.mkdir('again'); os.mkdir('again/sub')")
    _, tar = ours.make("uid=1001", "gid=5")
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        assert {member.name: (member.uid, member.gid) for member in members} == {
            "app": (1001, 0), "app/mine": (1001, 0), "app/new": (1001, 5), "untouched": (7, 8), "hard": (0, 0),
            "hard/one": (0, 0), "ping": (1001, 5), "again": (1001, 5), "again/.wh.g": (0, 0), "again/sub": (1001, 5),
            "again/sub/.wh.kept-name": (0, 0), "again/sub/.wh.old": (0, 0)}
