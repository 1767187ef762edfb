"""test_source_hostile.py - sources that mean harm: archives that lead out, swell or lie, trees with a million entries. Each is
refused with its reason (or kept as harmless text), in bounded time and memory, and no file of the server's changes.

Acceptance 20.8. What takes longer than a moment runs with SLIPWAY_LONG=1. Spec: s2i 4.8 to 4.11, 19.5, 19.7
"""
import contextlib
import gzip
import io
import os
import pathlib
import re
import stat
import struct
import tarfile
import threading
import time
import zipfile
import zlib

import pytest

from support import building, gitserver, process, remains
from test_api_builds import Caller

MIB = 1 << 20
LIMIT = 64 * MIB  # of one source here
ENTRIES = 200_000  # the setting's default
PATIENCE = 50     # seconds for anything refused, on a slow machine; most take a second
GROWTH = 64 * MIB if not process.sanitized() else 4096 * MIB
CHILD = 400 * MIB if not process.sanitized() else 1 << 60


@pytest.fixture(scope="module")
def small(folder):
    from conftest import able
    one = gitserver.GitServer(folder / "hostile-remote")
    server = process.Server(folder / "hostile", {
        "builds.enabled": "true", "builds.sources.max_size": f"{LIMIT}", "builds.sources.schemes": "http,https",
        "builds.sources.allow": "127.0.0.1", "builds.sources.ports": str(one.port)})
    server.remote = one
    server.start()
    able(server)
    building.builder(server)
    building.Source(folder / "hostile-first", {"index.html": "x"}).push(server, "team/first", "-o", "builder=builders/test")
    process.wait_for(lambda: list((server.root / "provenance-keys").glob("*.pem")), 30, "the key that the first build is signed by")
    yield server
    server.finish()
    one.close()


class Watch(threading.Thread):
    """The largest memory that any child of the server ever had while it was looked."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, {}, threading.Event()

    def run(self):
        while not self.over.is_set():
            for pid, words in remains.children(self.pid):
                try:
                    text = pathlib.Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                peak = re.search(r"VmHWM:\s+(\d+) kB", text)
                name = " ".join(words.split()[:2])
                if peak and " builder" not in name:
                    self.most[name] = max(self.most.get(name, 0), int(peak[1]) * 1024)
            time.sleep(0.02)


def files_of(server):
    """Everything of the server's that a source must not change: no log, no row, no blob, no archive that waits."""
    found = {}
    for at, folders, files in os.walk(server.folder):
        for path in (pathlib.Path(at) / name for name in folders + files):
            shown = str(path.relative_to(server.folder))
            if not re.match(r"root/(meta\.db|blobs|builder|builds/(logs|archives|repos))|stderr", shown):
                with contextlib.suppress(FileNotFoundError):  # of a build before: it goes
                    about = path.lstat()
                    found[shown] = (about.st_mode, None if stat.S_ISDIR(about.st_mode) else (about.st_size, about.st_mtime_ns))
    return found


def quiet(server):
    """When the scratch folders of builds that ended are gone, which is behind their ends."""
    process.wait_for(lambda: not list((server.root / "builds/scratch").glob("*")), 30, "the end of scratch folders")
    return files_of(server)


class Attempt:
    def __init__(self, server, name):
        self.server, self.name = server, name

    def __call__(self, begin):
        """begin() gives the build as it ended."""
        before, memory = quiet(self.server), self.server.peak_memory()
        watch = Watch(self.server.pid)
        watch.start()
        started = time.monotonic()
        try:
            build = begin()
        finally:
            watch.over.set()
            watch.join()
        seconds = time.monotonic() - started
        assert quiet(self.server) == before
        assert self.server.peak_memory() - memory < GROWTH, "the server grew"
        assert max([0, *watch.most.values()]) < CHILD, watch.most
        assert seconds < PATIENCE * (5 if process.sanitized() else 1), f"{seconds} s"
        return build

    def archive(self, data, **options):
        call = Caller(self.server.target)

        def begin():
            answer = call.send(self.name, query="&wait=true", data=data, options={"builder": "builders/test", **options})
            assert answer.status == 201, answer
            return answer.json()
        build = self(begin)
        call.close()
        return build


@pytest.fixture
def attempt(small, name):
    return Attempt(small, name)


# --- makers ---

def tar(*entries, form=tarfile.PAX_FORMAT):
    """entries: (name, type, data or link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as out:
        for name, kind, data in entries:
            item = tarfile.TarInfo(name)
            item.type, item.mode, item.mtime = kind, 0o644, building.WHEN
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                item.linkname, data = data, b""
            if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
                item.devmajor, item.devminor = 8, 0
            item.size = len(data)
            out.addfile(item, io.BytesIO(data))
    return stream.getvalue()


FILE, LINK, HARD, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
GOOD = ("index.html", FILE, b"fine")


def head(name, size, kind=b"0", patch=()):
    """A header of 512 bytes; patch: (offset, bytes)."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    block[156:157] = kind
    for offset, data in patch:
        block[offset:offset + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def sparse(real):
    """An old GNU sparse file: 512 bytes at the end of a hole."""
    octal = lambda value: b"%011o\0" % value if value < 8**11 else b"\x80" + value.to_bytes(11, "big")  # noqa: E731
    return head("holes", 512, b"S", [(386, octal(real - 512) + octal(512)), (483, octal(real))]) + b"x" * 512 + bytes(1024)


def zeros_packed(size):
    """Members of gzip, one after the other."""
    piece = gzip.compress(bytes(64 * MIB), 9)
    return piece * (size // (64 * MIB))


def zipped(*entries, method=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as out:
        for name, data, *mode in entries:
            item = zipfile.ZipInfo(name, (2023, 1, 1, 0, 0, 0))
            item.external_attr = (mode[0] if mode else 0o100644) << 16
            item.create_system = 3
            item.compress_type = method
            out.writestr(item, data)
    return stream.getvalue()


def local(name, data, size, flags=0, method=8, extra=b""):
    return struct.pack("<IHHHHHIIIHH", 0x04034b50, 45, flags, method, 0, 0x5000, zlib.crc32(data) if size < 1 << 31 else 0, len(data),
                       size & 0xffffffff, len(name), len(extra)) + name + extra + data


def central(name, packed, size, offset, flags=0, method=8, extra=b""):
    return struct.pack("<IHHHHHHIIIHHHHHII", 0x02014b50, 0x31e, 45, flags, method, 0, 0x5000, 0, packed, size & 0xffffffff, len(name),
                       len(extra), 0, 0, 0, 0o100644 << 16, offset) + name + extra


def end(count, size, offset):
    return struct.pack("<IHHHHIIH", 0x06054b50, 0, 0, count & 0xffff, count & 0xffff, size, offset, 0)


def deflated(data):
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    return one.compress(data) + one.flush()


def overlapping(count=2000):
    """Every entry's content is the same bytes of the file."""
    kernel = deflated(bytes(8 * MIB))
    first = local(b"f", kernel, 8 * MIB)
    directory = b"".join(central(b"f%d" % number, len(kernel), 8 * MIB, 0) for number in range(count))
    return first + directory + end(count, len(directory), len(first))


def zip64_lies():
    extra = struct.pack("<HHQQ", 1, 16, 1 << 60, 1 << 60)
    body = local(b"f", b"x" * 10, 0xffffffff, extra=extra)
    directory = central(b"f", 0xffffffff, 0xffffffff, 0, extra=extra)
    return body + directory + end(1, len(directory), len(body))


def encrypted():
    data = bytearray(zipped(("secret", b"text")))
    data[6] |= 1
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)


def many_headers(count, form="index%07d"):
    """So many empty files; written as bytes, since tarfile takes a minute for a million."""
    block = bytearray(head(form % 0, 0))
    digits = len(form % 0) - 7
    base = sum(block[:148]) + sum(block[156:]) + 8 * 32 - sum(block[digits:digits + 7])
    out = bytearray()
    for number in range(count):
        text = b"%07d" % number
        block[digits:digits + 7] = text
        block[148:156] = b"%06o\0 " % (base + sum(text))
        out += block
    return gzip.compress(bytes(out) + bytes(1024), 1)


def many_zipped(count):
    pieces, directory, at = [], [], 0
    for number in range(count):
        name = b"index%07d" % number
        pieces.append(local(name, b"", 0, method=0))
        directory.append(central(name, 0, 0, at, method=0))
        at += len(pieces[-1])
    body, listed = b"".join(pieces), b"".join(directory)
    eocd64 = struct.pack("<IQHHIIQQQQ", 0x06064b50, 44, 45, 45, 0, 0, count, count, len(listed), len(body))
    locator = struct.pack("<IIQI", 0x07064b50, 0, len(body) + len(listed), 1)
    return body + listed + eocd64 + locator + end(0xffff, len(listed), len(body))


BOMB = 20 << 30
REFUSED = {
    "an absolute name": lambda: tar(GOOD, ("/tmp/evil", FILE, b"x")),
    "a name that climbs": lambda: tar(GOOD, ("../evil", FILE, b"x")),
    "a name that climbs inside": lambda: tar(GOOD, ("a/../../evil", FILE, b"x")),
    "a name with .git in capitals": lambda: tar(GOOD, (".GIT/config", FILE, b"x")),
    "a file through a link": lambda: tar(("out", LINK, "/tmp"), ("out/evil", FILE, b"x")),
    "a file through a link to a folder of ours": lambda: tar(("a", FOLDER, b""), ("out", LINK, "a"), ("out/evil", FILE, b"x")),
    "a hard link out": lambda: tar(GOOD, ("out", HARD, "/etc/passwd")),
    "a hard link that climbs": lambda: tar(GOOD, ("out", HARD, "../../etc/passwd")),
    "a disk": lambda: tar(GOOD, ("disk", tarfile.BLKTYPE, b"")),
    "a terminal": lambda: tar(GOOD, ("tty", tarfile.CHRTYPE, b"")),
    "a pipe": lambda: tar(GOOD, ("pipe", tarfile.FIFOTYPE, b"")),
    "a file below a file": lambda: tar(GOOD, ("index.html/x", FILE, b"x")),
    "a name of 4097 bytes": lambda: tar(GOOD, ("/".join(["d" * 200] * 21)[:4097], FILE, b"x")),
    "a part of 256 bytes": lambda: tar(GOOD, ("d" * 256, FILE, b"x")),
    "a sparse file of 8 TiB": lambda: sparse(8 << 40),
    "a size that is negative": lambda: head("big", (1 << 88) - 1) + bytes(1024),
    "gzip: one swollen file": lambda: gzip.compress(head("big", LIMIT + 1)) + zeros_packed(LIMIT + 64 * MIB),
    "gzip: swollen and left out": lambda: gzip.compress(head(".git/big", BOMB)) + zeros_packed(BOMB),
    "gzip: swollen and outside of the context": lambda: gzip.compress(head("other/big", BOMB)) + zeros_packed(BOMB),
    "gzip: cut off": lambda: gzip.compress(tar(GOOD, ("more", FILE, os.urandom(5000))))[:-3000],
    "tar: cut off": lambda: tar(GOOD, ("more", FILE, bytes(5000)))[:2000],
    "no archive at all": lambda: os.urandom(5000),
    "zip: an absolute name": lambda: zipped(("/tmp/evil", b"x")),
    "zip: a name that climbs": lambda: zipped(("a/../../evil", b"x")),
    "zip: a file through a link": lambda: zipped(("out", b"/tmp", 0o120777), ("out/evil", b"x")),
    "zip: a name of 4097 bytes": lambda: zipped(("/".join(["d" * 200] * 21)[:4097], b"x")),
    "zip: swollen": lambda: zipped(("big", bytes(LIMIT + MIB))),
    "zip: entries over each other": overlapping,
    "zip: sizes of 2^60": zip64_lies,
    "zip: encrypted": encrypted,
    "zip: cut off": lambda: zipped(("one", os.urandom(20000)), ("two", os.urandom(20000)))[:25000],
}
LONG = ("gzip: swollen and outside of the context", "a file through a link to a folder of ours", "zip: swollen")


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.long if kind in LONG else ()) for kind in REFUSED])
def test_an_archive_is_refused(attempt, small, kind):
    """Spec: s2i 19.5, 19.7"""
    build = attempt.archive(REFUSED[kind](), **({"context_dir": "here"} if "context" in kind else {}))
    assert (build["state"], build["reason"]) == ("Failed", "InvalidSource"), build
    assert build["message"] and "/work" not in build["message"] and str(small.folder) not in build["message"]
    assert not pathlib.Path("/tmp/evil").exists() and not (small.folder / "evil").exists()


@pytest.mark.parametrize("name_of, data", [
    ("links", lambda: tar(GOOD, ("out", LINK, "/etc/passwd"), ("up", LINK, "../../../etc/passwd"), ("self", LINK, "self"))),
    ("twice", lambda: tar(("index.html", FILE, b"first"), GOOD)),
    ("zip twice", lambda: zipped(("index.html", b"first"), ("index.html", b"fine"))),
    ("sparse", lambda: sparse(MIB)[:-1024] + tar(GOOD)),
    ("zip link", lambda: zipped(("index.html", b"fine"), ("out", b"/etc/passwd", 0o120777)))])
def test_an_archive_is_harmless(attempt, small, name, name_of, data):
    """Links stay text; of two with one name the later one counts; holes are zeros."""
    build = attempt.archive(data())
    assert build["state"] == "Complete", build
    entries = building.layer_entries(small, name)
    place = "opt/app-root/src/"
    assert entries[place + "index.html"][1] == b"fine"
    if "link" in name_of:
        assert entries[place + "out"][0].linkname == "/etc/passwd"
    if name_of == "sparse":
        assert entries[place + "holes"][1] == bytes(MIB - 512) + b"x" * 512


def test_too_many_entries(attempt):
    """A quarter of a million empty files, in a megabyte or two."""
    build = attempt.archive(many_headers(ENTRIES + 1000))
    assert build["reason"] == "InvalidSource" and "more than 200000 files" in build["message"], build


@pytest.mark.long
@pytest.mark.parametrize("data", [lambda: many_headers(10**6), lambda: many_zipped(600_000), lambda: many_headers(10**6, ".git/%07d")],
                         ids=["tar", "zip", "left out"])
def test_a_million_entries(attempt, data):
    build = attempt.archive(data())
    assert build["reason"] == "InvalidSource" or build["state"] == "Complete", build


def tree_of_many(folder, wide=1000, deep=2):
    """A bare repository whose one commit shows wide^deep files: the same tree again and again. The commit's id."""
    gitserver.git(folder, "init", "-q", "--bare", "-b", "main", "it.git")
    bare = folder / "it.git"
    blob = gitserver.git(bare, "hash-object", "-w", "--stdin", text="x")
    text = "".join(f"100644 blob {blob}\tf{number:05}\n" for number in range(wide))
    tree = gitserver.git(bare, "mktree", text=text)
    for _ in range(deep - 1):
        tree = gitserver.git(bare, "mktree", text="".join(f"040000 tree {tree}\td{number:05}\n" for number in range(wide)))
    commit = gitserver.git(bare, "commit-tree", "-m", "many", tree)
    gitserver.git(bare, "update-ref", "refs/heads/main", commit)
    return bare


@pytest.mark.parametrize("way, wide, deep", [
    pytest.param("push", 1000, 2, marks=pytest.mark.long), ("push", 10, 12), ("url", 1000, 2), ("url", 10, 12)],
    ids=["push: a million", "push: 10^12", "url: a million", "url: 10^12"])
def test_a_tree_of_many(attempt, small, name, tmp_path, way, wide, deep):
    """Spec: s2i 4.11; a few objects, and more entries than anybody has memory for."""
    bare = tree_of_many(small.remote.folder if way == "url" and not (small.remote.folder / "it.git").exists() else tmp_path, wide, deep)
    if way == "url" and bare.parent == tmp_path:
        target = small.remote.folder / f"it{wide}.git"
        bare.rename(target)
        bare = target
    call = Caller(small.target)

    def by_push():
        done = building.git(bare, "push", f"http://127.0.0.1:{small.port}/git/{name}.git", "main", "-o", "builder=builders/test",
                            check=False)
        assert done.returncode != 0 and "InvalidSource" in done.stderr, done.stderr
        return call.items(f"/repos/{name}/-/builds")[0]

    def by_url():
        answer = call.call("POST", f"/repos/{name}/-/builds?wait=true", {"source": "url", "options": {
            "url": small.remote.url(bare.stem), "ref": "main", "builder": "builders/test"}})
        assert answer.status == 201, answer
        return answer.json()
    build = attempt(by_push if way == "push" else by_url)
    assert (build["state"], build["reason"]) == ("Failed", "InvalidSource") and "more than 200000 files" in build["message"], build
    call.close()
