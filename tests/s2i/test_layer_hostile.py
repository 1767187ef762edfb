"""test_layer_hostile.py - archives that want out, never end, or say what is not so.

Touches  a temporary folder of the run.
Never    a registry or a builder.

Spec: s2i 8.3, 18.5, 18.7, 19, 20.8; B4 of the facts
"""
import gzip
import io
import os
import stat
import subprocess
import tarfile

import pytest

from support import layering, overlaid
from support.layering import entry, folder, link, xattr

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="not root: its tests did not run")
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


@pytest.fixture
def place(tmp_path):
    """Folders "in", where layers go, and "out", which must not change."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").write_text("untouched")
    before = overlaid.look(tmp_path / "out")
    yield tmp_path
    assert overlaid.look(tmp_path / "out") == before
    assert sorted(os.listdir(tmp_path)) == ["blob", "in", "out"]


def unpack(place, tar, *words, media_type=GZIP, pack=gzip.compress, level="plain", diff_id=None):
    (place / "blob").write_bytes(pack(tar))
    return layering.probe("unpack", place / "blob", media_type, diff_id or layering.sha256(tar), place / "in", *words,
                          level=level)


def refused(place, entries, *words, **more):
    with pytest.raises(layering.Refused) as caught:
        unpack(place, entries if isinstance(entries, bytes) else layering.archive(entries), *words, **more)
    return str(caught.value)


def char(path):
    file = os.lstat(path)
    return stat.S_ISCHR(file.st_mode) and file.st_rdev == 0


def opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


# --- ways out ---

@pytest.mark.parametrize("entries, said", [
    ([entry("../out/file", data=b"bad")], "'..'"),
    ([entry("a/../../out/file", data=b"bad")], "'..'"),
    ([link("h", "../out/file", tarfile.LNKTYPE)], "its target is not valid"),
    ([link("h", "a/../../out/file", tarfile.LNKTYPE)], "its target is not valid"),
    ([link("h", "/etc/passwd", tarfile.LNKTYPE)], "its target is no file of the archive"),
    ([link("d", "../out"), link("h", "d/file", tarfile.LNKTYPE)], "its target is no file of the archive"),
    ([link("a", "b"), link("b", "a"), entry("a/x")], "the way to it is no folder"),
    ([entry("f"), entry("f/x")], "the way to it is no folder"),
    ([link("dangling", "nowhere"), entry("dangling/x")], "the way to it is no folder"),
    ([link("h", "h", tarfile.LNKTYPE)], "a link to itself"),
    ([folder("d/"), link("h", "d", tarfile.LNKTYPE)], "no file of the archive"),
    ([entry(".wh.x"), link("h", "x", tarfile.LNKTYPE)], "no file of the archive"),
    ([folder("d/"), entry("d/x"), entry("d")], "it replaces a folder of the same archive"),
    ([entry(".wh.")], "marks nothing"), ([entry(".wh..")], "marks nothing"), ([entry("a/.wh...")], "marks nothing"),
    ([entry(".wh.d/x")], "below a mark"),
    ([entry("/".join(["d"] * 600))], "nested too deep"), ([entry("n" * 256)], "name is too long"),
    ([entry(".")], "can only be a folder"),
    ([entry("x", uid=70000)], "its owner is out of range"),
])
def test_refused(place, entries, said):
    """Spec: s2i 19.2, 19.3, 18.5"""
    assert said in refused(place, entries)


def test_ways_out_that_stay_inside(place):
    """Absolute names and links count from the folder; what stands outside is not what is meant. Spec: s2i 19.2, 19.3"""
    outside = str(place / "out")
    unpack(place, layering.archive([
        entry("/abs", data=b"1"), folder("usr/"), folder("usr/bin/"), link("bin", "usr/bin"), entry("bin/x", data=b"2"),
        folder(outside.strip("/") + "/"), link("a", outside), entry("a/file", data=b"3"),
        link("up", "../../../../../usr"), entry("up/y", data=b"4"), link("hard", "/usr/bin/x", tarfile.LNKTYPE),
        link("s", outside + "/file"), entry("s", data=b"5"), link("through", "bin/x", tarfile.LNKTYPE)]))
    top = place / "in"
    assert (top / "abs").read_text() == "1" and (top / "usr/bin/x").read_text() == "2" and (top / "bin").is_symlink()
    assert (top / outside.strip("/") / "file").read_text() == "3" and (top / "usr/y").read_text() == "4"
    assert (top / "s").read_text() == "5" and not (top / "s").is_symlink()
    assert os.stat(top / "hard").st_ino == os.stat(top / "usr/bin/x").st_ino == os.stat(top / "through").st_ino


def test_a_link_to_a_link_is_not_followed(place):
    unpack(place, layering.archive([link("s", str(place / "out/file")), link("h", "s", tarfile.LNKTYPE),
                                    entry("h", data=b"bad")]))
    assert (place / "in/s").is_symlink() and (place / "in/h").read_text() == "bad"


# --- what is kept, and what not ---

def test_types_replaced(place):
    """The last entry of a name counts. Spec: s2i 18.6, 19.3"""
    unpack(place, layering.archive([
        entry("a", data=b"1"), folder("a/"), entry("a/x"), folder("b/"), entry("b", data=b"2"), entry("c", data=b"old"),
        entry("c", data=b"new"), link("d", "c"), entry("d", data=b"3"), folder("e/", mode=0o700), folder("e/", mode=0o711),
        link("f", "e"), folder("f/"), entry("g/h"), folder("g/", mode=0o500, mtime=5)]))
    top = place / "in"
    assert (top / "a/x").is_file() and (top / "b").read_text() == "2" and (top / "c").read_text() == "new"
    assert (top / "d").read_text() == "3" and stat.S_IMODE(os.stat(top / "e").st_mode) == 0o711
    assert not (top / "f").is_symlink() and (top / "f").is_dir()
    assert stat.S_IMODE(os.stat(top / "g").st_mode) == 0o500 and os.stat(top / "g").st_mtime == 5


def test_devices_are_left_out(place):
    """Spec: s2i 19.4"""
    told = unpack(place, layering.archive([
        entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3), entry("disk", tarfile.BLKTYPE, devmajor=8),
        entry("zero", tarfile.CHRTYPE), entry("fifo", tarfile.FIFOTYPE, mode=0o620), entry("suid", mode=0o6755)]))
    assert told["notes"] == [f"device '{name}' is left out" for name in ("null", "disk", "zero")]
    assert sorted(os.listdir(place / "in")) == ["fifo", "suid"]
    assert stat.S_IMODE(os.stat(place / "in/suid").st_mode) == 0o6755
    assert stat.S_IMODE(os.stat(place / "in/fifo").st_mode) == 0o620


def test_marks_of_overlay_are_dropped(place):
    """Spec: s2i 17.6, 18.7"""
    dropped = {**xattr("trusted.overlay.redirect", b"/x"), **xattr("trusted.overlay.opaque", b"y"),
               **xattr("user.overlay.opaque", b"y"), **xattr("user.overlay.slipway.owner", b"0:0"),
               **xattr("security.selinux", b"label"), **xattr("trusted.x", b"1")}
    unpack(place, layering.archive([folder("d/", pax_headers={**dropped, **xattr("user.kept", b"1")}),
                                    entry("f", pax_headers=dropped)]))
    assert os.listxattr(place / "in/d") == ["user.kept"] and os.listxattr(place / "in/f") == []


def test_closed_folders(place):
    """Modes come last. Spec: s2i 19.6"""
    tar = layering.archive([folder("./", mode=0o555, mtime=7), folder("d/", mode=0), folder("d/e/", mode=0o100),
                            entry("d/e/f", data=b"x", mode=0), folder("later/"), entry("d/g")])
    os.chown(place / "in", 65534, 65534)
    os.chmod(place, 0o711)
    for above in (place.parent, place.parent.parent):
        os.chmod(above, 0o711)
    (place / "blob").touch()
    unpack(place, tar, level="single")
    assert stat.S_IMODE(os.stat(place / "in/d").st_mode) == 0 and (place / "in/d/e/f").read_text() == "x"
    assert stat.S_IMODE(os.stat(place / "in").st_mode) == 0o555
    assert os.stat(place / "in/d").st_mtime == 900_000_000 and os.stat(place / "in").st_mtime == 7


def test_a_default_list_is_not_inherited(place):
    """A folder's default access list comes after the files in it."""
    acl = bytes.fromhex("02000000" "01000700ffffffff" "0200040007000000" "04000500ffffffff" "10000700ffffffff"
                        "20000500ffffffff")
    unpack(place, layering.archive([folder("d/", pax_headers=xattr("system.posix_acl_default", acl)), entry("d/f"),
                                    folder("d/e/")]), f"base={layering.BASE}")
    found = os.getxattr(place / "in/d", "system.posix_acl_default")
    assert found == acl.replace(b"\x02\0\x04\0\x07\0\0\0", b"\x02\0\x04\0" + (layering.BASE + 7).to_bytes(4, "little"))
    assert os.listxattr(place / "in/d/f") == os.listxattr(place / "in/d/e") == []


def test_capabilities_count_for_the_shifted_root_only(place):
    """Spec: s2i 17.6"""
    unpack(place, layering.archive([entry("f", mode=0o755, pax_headers=xattr("security.capability", overlaid.CAPS))]),
           f"base={layering.BASE}")
    value = os.getxattr(place / "in/f", "security.capability")
    assert len(value) == 24 and value[3] == 3 and int.from_bytes(value[20:], "little") == layering.BASE
    assert os.stat(place / "in/f").st_uid == layering.BASE


# --- whiteouts ---

@pytest.mark.parametrize("order", ["mark first", "mark last"])
def test_whiteouts_never_hide_their_own_layer(place, order):
    """Spec: s2i 18.5"""
    marks = [entry(".wh.gone"), entry(".wh.file"), entry(".wh.folder"), entry("all/.wh..wh..opq"), entry(".wh.implied"),
             entry(".wh..wh.plnk"), entry(".wh..wh.aufs/x"), entry("deep/down/.wh.x")]
    own = [entry("file", data=b"own"), folder("folder/"), entry("folder/f"), folder("all/"), entry("all/g"), entry("implied/h")]
    unpack(place, layering.archive(marks + own if order == "mark first" else own + marks))
    top = place / "in"
    assert char(top / "gone") and char(top / "deep/down/x") and (top / "file").read_text() == "own"
    assert opaque(top / "folder") and opaque(top / "all") and opaque(top / "implied") and not opaque(top)
    assert (top / "folder/f").is_file() and (top / "implied/h").is_file()
    assert not any(name.startswith(".wh.") for _, folders, files in os.walk(top) for name in folders + files)


def test_a_layer_that_hides_all(place):
    assert unpack(place, layering.archive([entry(".wh..wh..opq"), entry("f")]))["hides_all"] is True


# --- limits ---

def test_limits(place):
    """Spec: s2i 19.5"""
    many = layering.archive([entry(f"f{number}") for number in range(11)])
    assert "more than 10 entries" in refused(place, many, "entries_max=10")
    assert len(os.listdir(place / "in")) == 10
    deep = layering.archive([entry("/".join([str(number)] * 9)) for number in range(9)])
    assert "more than 10 entries" in refused(place, deep, "entries_max=10")
    big = layering.archive([entry("big", data=bytes(1 << 20))])
    assert "unpacks to more than 1000000 bytes" in refused(place, big, "bytes_max=1000000")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs(place, kind):
    """200 MiB of zeros: seen long before its end. Spec: s2i 19.5"""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as members:
        info = tarfile.TarInfo("bomb")
        info.size = 200 << 20
        members.addfile(info, io.BytesIO(bytes(info.size)))

    def pack(data):
        return subprocess.run([kind, "-1", "-c"], input=data, capture_output=True, check=True).stdout
    said = refused(place, tar.getvalue(), "ratio_max=100", pack=pack, media_type=f"x.tar+{kind}")
    assert "more than 100 times its size" in said
    assert os.stat(place / "in/bomb").st_size < 100 << 20


def test_damage(place):
    """Spec: s2i 19.5"""
    tar = layering.archive([entry("f", data=os.urandom(5000))])
    assert "other bytes than its diff id" in refused(place, tar, diff_id="sha256:" + "0" * 64)
    packed = gzip.compress(tar)
    for pack, said in ((lambda _: packed[:-9], "ends too early"), (lambda _: packed[:2000], "ends too early"),
                       (lambda _: packed + b"garbage", "no valid gzip"), (lambda data: data, "no valid gzip"),
                       (lambda _: packed[:100] + bytes([packed[100] ^ 255]) + packed[101:], "")):
        assert said in refused(place, tar, pack=pack)


@pytest.mark.parametrize("media_type, pack", [
    (GZIP, lambda tar: gzip.compress(tar[:700]) + gzip.compress(tar[700:])),
    ("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip.compress),
    ("application/vnd.oci.image.layer.v1.tar", bytes),
    ("application/vnd.oci.image.layer.v1.tar+zstd", lambda tar: b"".join(
        subprocess.run(["zstd", "-c"], input=part, capture_output=True, check=True).stdout for part in (tar[:700], tar[700:]))),
])
def test_packings(place, media_type, pack):
    """Of several members and frames too."""
    data = os.urandom(3000)
    unpack(place, layering.archive([entry("f", data=data)]), media_type=media_type, pack=pack)
    assert (place / "in/f").read_bytes() == data


@pytest.mark.parametrize("words", [["--format=v7"], ["--format=ustar"], ["--format=gnu"], ["--format=posix"],
                                   ["--format=oldgnu"], ["--format=posix", "--sparse"]])
def test_what_gnu_tar_writes(place, words):
    source = place / "out"
    tar = subprocess.run(["tar", "-C", source, *words, "-cf", "-", "."], capture_output=True, check=True).stdout
    unpack(place, tar)
    assert overlaid.look(place / "in").keys() == overlaid.look(source).keys()


# --- sources and artifacts ---

def untar(place, entries, *words, **more):
    (place / "blob").write_bytes(layering.archive(entries))
    return layering.probe("untar", place / "blob", place / "in", *words, **more)


ODD = [
    entry("../out/file"), link("l", "../out"), link("m", "/etc"), entry("null", tarfile.CHRTYPE), entry("p", tarfile.FIFOTYPE),
    link("h", "../out/file", tarfile.LNKTYPE), entry("there", data=b"new"),
]


def test_artifacts_leave_out_what_is_odd(place):
    """Spec: s2i 8.3"""
    (place / "in/there").write_text("old")
    told = untar(place, [folder("./"), *ODD, link("inside", "d/../d/x"), folder("d/"), entry("d/x", mode=0o6755, uid=5),
                         entry("inside/y"), link("kept", "d/x", tarfile.LNKTYPE)], "uid=1001", "gid=7")
    assert len(told["notes"]) == len(ODD) + 1, told
    assert sorted(os.listdir(place / "in")) == ["d", "inside", "kept", "there"]
    assert (place / "in/there").read_text() == "old" and os.listdir(place / "in/d") == ["x"]
    file = os.stat(place / "in/d/x")
    assert (file.st_uid, file.st_gid, stat.S_IMODE(file.st_mode), file.st_mtime) == (1001, 7, 0o755, 900_000_000)


@pytest.mark.parametrize("odd", ODD[:1] + ODD[3:], ids=lambda odd: odd[0].name)
def test_sources_fail_for_what_is_odd(place, odd):
    """Spec: s2i 19.7"""
    (place / "in/there").write_text("old")
    with pytest.raises(layering.Refused, match="archive entry"):
        untar(place, [odd], "strict=1")


def test_sources_keep_links_as_text(place):
    """Spec: s2i 4.9, 19.7"""
    untar(place, [link("l", "../out"), link("m", "/etc")], "strict=1")
    assert os.readlink(place / "in/l") == "../out"
    for link_or_file in ("l/file", "inside/file"):
        with pytest.raises(layering.Refused, match="the way to it is no folder"):
            untar(place, [folder("d/"), link("inside", "d"), entry(link_or_file)], "strict=1")
        (place / "in/inside").unlink()
    assert os.listdir(place / "in/d") == []


def test_a_quiet_stream_ends(place):
    """Spec: s2i 8.3"""
    (place / "blob").touch()
    with subprocess.Popen([layering.probe_path(), "untar", "-", place / "in", "quiet_ms=50"], stdin=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:
        assert child.wait(60) == 1
        assert "timeout waiting for tar stream" in child.stderr.read()
