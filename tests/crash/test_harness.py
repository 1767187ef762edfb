"""test_harness.py - the harness itself: what it records is what happened, and it sees lost syncs.

Touches  a temporary folder, one child process at a time.
Never    the server: toy.py stands in for it, so a red test here is the harness's own fault.
"""
import errno
import filecmp
import hashlib
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from crash import control, trace

BLOBS = 60


class Toy:
    def __init__(self, folder):
        self.folder = folder
        self.watched = folder / "watched"
        self.watched.mkdir()
        self.control = control.Control(folder / "control")
        self.acknowledged = []  # (number, name)

    def run(self, count=BLOBS):
        environment = {**os.environ, **self.control.environment(self.watched, self.folder / "trace")}
        child = subprocess.Popen(
            [sys.executable, pathlib.Path(__file__).with_name("toy.py"), self.watched / "root",
             str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment, text=True)
        with child:
            for line in child.stdout:
                self.acknowledged.append((self.control.sequence, line.strip()))
                child.stdin.write("\n")
                child.stdin.flush()
            self.error = child.stderr.read()
            child.stdin.close()
        return child.returncode

    def violations(self, fate, step=1):
        """Cuts right after each acknowledgement; what of the acknowledged is not there."""
        disk, records, found = trace.Disk(), iter(trace.read(self.folder / "trace")), []
        image, record = self.folder / "image", next(records)
        for number, (cut, _) in enumerate(self.acknowledged):
            while record is not None and record.sequence <= cut:
                disk.feed(record)
                record = next(records, None)
            if number % step == 0:
                disk.build(image, fate)
                found += missing(image / "root", [name for _, name in
                                                  self.acknowledged[:number + 1]])
                shutil.rmtree(image)
        return found


def missing(root, names):
    found = []
    try:
        database = sqlite3.connect(f"file:{root}/meta.db?mode=rw", uri=True)
        rows = {row[0] for row in database.execute("SELECT digest FROM blobs")}
    except sqlite3.Error as error:
        return [f"database: {error}"]
    for name in names:
        path = root / "blobs" / name[:1] / name
        if name not in rows:
            found.append(f"row {name}")
        elif not path.exists():
            found.append(f"file {name}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != name:
            found.append(f"bytes {name}")
    return found


@pytest.fixture
def toy(scratch):
    value = Toy(scratch)
    yield value
    value.control.close()


FATES = [trace.Lost, trace.Kept, trace.Hollow, trace.Nameless,
         lambda: trace.Mixed(random.Random(7))]


def test_everything_kept_is_what_is_on_the_disk(toy):
    assert toy.run() == 0, toy.error
    assert len(toy.acknowledged) == BLOBS and toy.control.misuse == 0
    disk = trace.Disk()
    for record in trace.read(toy.folder / "trace"):
        disk.feed(record)
    disk.build(toy.folder / "image", trace.Kept())
    compared = filecmp.dircmp(toy.watched / "root", toy.folder / "image/root")
    assert not compared.left_only and not compared.right_only and not compared.diff_files
    for name in os.listdir(toy.watched / "root/blobs"):
        below = filecmp.dircmp(toy.watched / "root/blobs" / name, toy.folder / "image/root/blobs" / name)
        assert below.same_files and not below.left_only + below.right_only + below.diff_files


def test_a_store_that_syncs_loses_nothing(toy):
    assert toy.run() == 0, toy.error
    for fate in FATES:
        assert toy.violations(fate()) == []


@pytest.mark.parametrize("what, calls, pattern", [
    ("the file", control.ANY_SYNC, "root/blobs/?/*"),
    ("the file's folder", control.ANY_SYNC, "root/blobs/?"),
    ("the folder of folders", control.ANY_SYNC, "root/blobs"),
    ("the root", control.ANY_SYNC, "root"),
    ("the root's parent", control.ANY_SYNC, "."),
    ("the write-ahead log", control.ANY_SYNC, "root/meta.db-wal"),
    ("the database", control.ANY_SYNC, "root/meta.db"),
])
def test_each_missing_sync_is_seen(toy, what, calls, pattern):
    toy.control.rule(0, calls, control.SKIP, pattern, times=0)
    assert toy.run() == 0, toy.error
    assert toy.control.hits() > 0, f"{what} is never synced"
    assert toy.violations(trace.Lost(), step=3), f"without the sync of {what} nothing was lost"


def test_a_failed_sync_is_not_healed_by_the_next(toy):
    toy.control.rule(0, control.DATASYNC, control.FAIL, "root/blobs/?/*", first=5, error=errno.EIO)
    assert toy.run() != 0 and len(toy.acknowledged) == 4
    disk = trace.Disk()
    for record in trace.read(toy.folder / "trace"):
        disk.feed(record)
    files = [node for child in disk.find("root/blobs").live.values()
             for node in child.live.values()]
    for node in files:
        node.synced(1 << 62)
    broken = [node for node in files if not any(node.durable)]
    assert len(files) == 5 and len(broken) == 1 and len(broken[0].durable) == 500 + 4 * 37


@pytest.mark.parametrize("action", [control.KILL_BEFORE, control.KILL_MID, control.KILL_AFTER])
def test_dies_at_the_nth_call(toy, action):
    toy.control.rule(0, control.WRITE, action, "root/blobs/?/*", first=10)
    assert toy.run() == -signal.SIGKILL
    assert len(toy.acknowledged) == 4  # two writes a blob; the tenth is the fifth's second
    sizes = sorted(path.stat().st_size for path in (toy.watched / "root/blobs").glob("*/*"))
    length = 500 + 4 * 37
    left = {control.KILL_BEFORE: 200, control.KILL_MID: 200 + (length - 200) // 2,
            control.KILL_AFTER: length}[action]
    assert len(sizes) == 5 and left in sizes


def test_fails_short_and_from_then_on(toy):
    toy.control.rule(0, control.WRITE, control.FAIL, "root/meta.db-wal", first=20, times=0,
                     error=errno.ENOSPC)
    assert toy.run() == 1 and "full" in toy.error
    toy.control.disarm()


def test_another_boot(scratch):
    mine = control.Control(scratch / "control")
    mine.boot("00000000-0000-0000-0000-00000000002a")
    words = ["cat", "/proc/sys/kernel/random/boot_id"]
    told = subprocess.run(words, env={**os.environ, **mine.environment(scratch)}, check=True,
                          capture_output=True, text=True).stdout
    assert told == "00000000-0000-0000-0000-00000000002a\n"


def test_memory_runs_out(scratch):
    mine = control.Control(scratch / "control")
    mine.rule(0, control.MALLOC, control.FAIL, first=200, times=0)
    done = subprocess.run([sys.executable, "-c", "x = [bytearray(1000) for _ in range(10**4)]"],
                          env={**os.environ, **mine.environment(scratch)}, capture_output=True)
    assert done.returncode != 0 and mine.hits() >= 200
