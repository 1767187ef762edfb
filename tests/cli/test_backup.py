"""test_backup.py - backups of a server at work, and of a root at rest; restores; commands killed midway.

Touches  temporary folders; servers and commands it started itself, ended by pid.
Never    waits for a wall clock: rates make work long enough to be met in the middle.
"""
import json
import random
import signal
import subprocess
import threading
import time
import urllib.parse

import pytest
from conftest import PROGRAM, TERM, Server, clean_environment, wait_for

from support import content, wire

FAILED, USAGE, NOT_FOUND, CONFLICT = 1, 2, 4, 5
GRACE = 1  # seconds


def client_of(server):
    return wire.Client(wire.Target("127.0.0.1", urllib.parse.urlsplit(server.url).port, None), 30)


class Place:
    """A root, a folder of backups and one to restore into."""

    def __init__(self, folder, slipway):
        self.root, self.backup, self.restored = folder / "0" / "root", folder / "backup", folder / "1" / "root"
        self.slipway = slipway

    def settings(self, root):
        return ["--config", "/dev/null", "--set", f"storage.root={root}", "--set", "storage.min_free=0",
                "--set", "server.listen=127.0.0.1:0", "--set", "auth.mode=none"]

    def create(self, *words):
        return self.slipway("backup", "create", str(self.backup), "--json", *words, *self.settings(self.root))

    def verify(self, *words):
        return self.slipway("backup", "verify", str(self.backup), *words, "--json")

    def restore(self, *words, root=None):
        return self.slipway("restore", str(self.backup), *words, "--json", *self.settings(root or self.restored))

    def check(self, root):
        return self.slipway("check", "--deep", *self.settings(root))

    def names(self):
        said = self.slipway("backup", "ls", str(self.backup), "--json")
        assert said.returncode == 0, said.stderr
        return [item["snapshot"] for item in json.loads(said.stdout)["items"] if item["complete"]]

    def start(self, *words, root=None):
        """The command as a process, to be killed."""
        return subprocess.Popen([PROGRAM, *words, *self.settings(root or self.root)], env=clean_environment(),
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def files(self, root):
        """Names of whole blob files, with what tells one file from another."""
        found = {}
        for path in root.glob("blobs/??/*"):
            try:
                told = path.stat()
            except FileNotFoundError:  # collected meanwhile
                continue
            if not path.name.startswith("."):
                found[path.name] = (told.st_ino, told.st_mtime_ns, told.st_size)
        return found


@pytest.fixture
def place(tmp_path, slipway):
    return Place(tmp_path, slipway)


def ok(said):
    assert said.returncode == 0, said.stderr
    return json.loads(said.stdout)


@pytest.fixture
def again(tmp_path):
    """again(number): a server on the root of the server with that number."""
    servers = []

    def start(number=0):
        servers.append(Server(tmp_path / str(number)))
        return servers[-1]
    yield start
    for server in servers:
        server.end()


@pytest.fixture
def filled(place, serve):
    """A root at rest with some images: their references."""
    server = serve()
    client, pushed = client_of(server), {}
    for number in range(6):
        pushed[f"v{number}"] = content.push_image(client, "team/app", f"v{number}", [content.fresh(100000 + number)])[0]
    content.push_manifest(client, "team/app", "both", content.index(
        [{"mediaType": content.IMAGE, "size": 1, "digest": value} for value in list(pushed.values())[:2]]), content.INDEX)
    content.push_blob(client, "team/app", b"{}")
    content.push_manifest(client, "team/app", "signature", content.artifact(pushed["v0"]))
    client.close()
    server.signal(TERM)
    assert server.wait() == 0
    return [*pushed, "both", "signature"]


def assert_serves(serve, references):
    """The server that `serve` starts next is on the restored root."""
    server = serve()
    client = client_of(server)
    for reference in references:
        content.verify(client, "team/app", reference)
    client.close()
    server.signal(TERM)
    assert server.wait() == 0


# --- a server at work ---

class Traffic:
    """Pushes and deletes until it is told to end. Images: tag -> when acknowledged, when its delete was asked for.
    Those of the first thread stay, so that some are there for all of a backup however fast others are deleted."""

    def __init__(self, server):
        self.server, self.ending, self.lock = server, threading.Event(), threading.Lock()
        self.pushed, self.deleted, self.failures = {}, {}, []
        self.threads = [threading.Thread(target=self.guard, args=(work, number))
                        for number, work in enumerate((self.push, self.push, self.delete))]
        for thread in self.threads:
            thread.start()

    def guard(self, work, number):
        client = client_of(self.server)
        try:
            while not self.ending.is_set():
                work(client, random.Random(number), number)
        except Exception as failure:  # pylint: disable=broad-except
            self.failures.append(failure)
        finally:
            client.close()

    def push(self, client, _, number):
        tag = f"t{number}-{len(self.pushed)}-{time.monotonic_ns()}"
        began = time.monotonic()
        try:
            content.push_image(client, "team/app", tag, [content.fresh(20000), content.fresh(100)])
        except AssertionError:
            if time.monotonic() < began + GRACE / 2:
                raise
            return  # its blobs were left alone for too long
        with self.lock:
            self.pushed[tag] = time.monotonic()
        time.sleep(0.01)

    def delete(self, client, _, __):
        with self.lock:
            waiting = [tag for tag in self.pushed if tag not in self.deleted and not tag.startswith("t0-")]
        if len(waiting) < 6:
            time.sleep(0.02)
            return
        tag = random.choice(waiting)
        value = client.head(f"/v2/team/app/manifests/{tag}")["Docker-Content-Digest"]
        with self.lock:
            self.deleted[tag] = time.monotonic()
        assert client.delete(f"/v2/team/app/manifests/{value}").status == 202
        time.sleep(0.02)

    def kept(self):
        with self.lock:
            return [tag for tag in self.pushed if tag.startswith("t0-")]

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.failures, self.failures


def test_backup_of_a_server_at_work_restores_to_what_was_acknowledged(place, serve):
    """(3): pushes, deletes and the collector go on beside it; what it names is not removed under its hands."""
    server = serve(f"gc.grace={GRACE}s", "gc.undo=0s", "gc.late=0s", "gc.interval=10ms")
    traffic = Traffic(server)
    wait_for(lambda: traffic.failures or (len(traffic.kept()) > 20 and len(traffic.deleted) > 20), what="traffic")
    size = sum(file[2] for file in place.files(place.root).values())
    began = time.monotonic()
    report = ok(place.create("--rate", str(max(size // 2, 1))))
    ended = time.monotonic()
    traffic.end()
    assert report["damaged"] == 0 and report["copied"] == report["blobs"] > 40
    whole = [tag for tag, at in traffic.pushed.items()
             if at < began and traffic.deleted.get(tag, ended) >= ended]
    midway = [tag for tag, at in traffic.deleted.items() if began < at < ended]
    assert whole and midway
    copied = place.files(place.backup)
    wait_for(lambda: set(copied) - set(place.files(place.root)), what="a collected blob that the backup has")
    server.signal(TERM)
    assert server.wait() == 0
    ok(place.verify())
    ok(place.restore())
    said = place.check(place.restored)
    assert said.returncode == 0, said.stdout + said.stderr
    assert_serves(serve, whole)


def test_further_backup_copies_only_what_is_new(place, again, filled):
    """By a command on a root at rest, then by the server: one and the same."""
    first = ok(place.create())
    assert first["copied"] == first["blobs"] and first["copied_bytes"] == first["bytes"]
    before = place.files(place.backup)
    server = again()
    assert ok(place.create())["copied"] == 0
    assert place.files(place.backup) == before
    client = client_of(server)
    content.push_blob(client, "team/app", b"one more")
    client.close()
    third = ok(place.create())
    assert third["copied"] == 1 and third["copied_bytes"] == 8 and third["blobs"] == first["blobs"] + 1
    after = place.files(place.backup)
    assert {name: after[name] for name in before} == before
    assert len(place.names()) == 3


def test_links_take_no_room(place, filled):
    ok(place.create("--link"))
    assert place.files(place.backup) == place.files(place.root)
    ok(place.restore("--link"))
    assert place.files(place.restored) == place.files(place.root)


# --- killed in the middle ---

def unfinished(place):
    """Something is being copied that has no name yet."""
    return list(place.backup.glob("blobs/??/.*"))


def forget_copies(place):
    for path in place.backup.glob("blobs/??/*"):
        path.unlink()


@pytest.mark.parametrize("moment", ["metadata", "bytes"])
def test_killed_backup_leaves_whole_snapshots_and_the_next_one_works(place, filled, moment):
    ok(place.create())
    first = place.names()
    if moment == "bytes":
        forget_copies(place)
    child = place.start("backup", "create", str(place.backup), "--rate", "200KiB" if moment == "bytes" else "1KiB")
    wait_for(lambda: unfinished(place) if moment == "bytes" else list(place.backup.glob("snapshots/.new-*/meta.db")),
             what="the backup")
    child.kill()
    child.wait()
    assert place.names() == first
    assert ok(place.create())["damaged"] == 0
    assert len(place.names()) == 2 and not list(place.backup.glob("snapshots/.*"))
    for name in place.names():
        ok(place.verify(name))


def test_server_killed_during_a_backup_says_so_afterwards(place, again, filled):
    ok(place.create())
    forget_copies(place)
    server = again()
    child = place.start("backup", "create", str(place.backup), "--rate", "200KiB")
    wait_for(lambda: unfinished(place), what="the backup")
    busy = place.create()
    assert busy.returncode == CONFLICT, busy.stderr
    server.signal(signal.SIGKILL)
    server.wait()
    assert child.wait(60) != 0
    server = again()
    ok(place.create())
    ok(place.verify())
    said = place.slipway("api", "GET", "/jobs", *place.settings(place.root))
    assert [(job["kind"], job["state"]) for job in json.loads(said.stdout)["items"]][:3] == [
        ("backup", "done"), ("backup", "interrupted"), ("backup", "done")]


def test_cancelled_backup_is_none(place, again, filled):
    again()
    child = place.start("backup", "create", str(place.backup), "--rate", "200KiB")
    wait_for(lambda: unfinished(place), what="the backup")
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == FAILED
    wait_for(lambda: not list(place.backup.glob("snapshots/.*")), what="the end")
    assert place.names() == []


def test_restore_cut_off_anywhere_goes_on(place, serve, filled):
    ok(place.create())
    moments = (lambda: (place.restored / "restoring").exists(),
               lambda: len(list(place.restored.glob("blobs/??/.*"))) > 1,
               lambda: (place.restored / "meta.db.new").exists())
    for moment, rate in zip(moments, ("1KiB", "150KiB", "300KiB")):
        child = place.start("restore", str(place.backup), "--rate", rate, root=place.restored)
        wait_for(moment, what="a part")
        child.kill()
        child.wait()
    said = place.slipway("serve", *place.settings(place.restored))
    assert said.returncode == FAILED and "cut off" in said.stderr
    assert ok(place.restore())["damaged"] == 0
    assert len(place.files(place.restored)) == len(place.files(place.backup))
    assert not [*place.restored.glob("blobs/??/.*"), *place.restored.glob("*.new"), *place.restored.glob("restoring*")]
    said = place.check(place.restored)
    assert said.returncode == 0, said.stdout + said.stderr
    assert_serves(serve, filled)


# --- what is wrong is told ---

def test_verify_names_what_is_damaged(place, filled):
    ok(place.create())
    files = sorted(place.backup.glob("blobs/??/*"), key=lambda path: path.stat().st_size)
    data = bytearray(files[-1].read_bytes())
    changed = content.digest(bytes(data))
    data[7] ^= 1
    files[-1].write_bytes(data)
    missing = content.digest(files[-2].read_bytes())
    files[-2].unlink()
    said = place.verify()
    assert said.returncode == FAILED
    assert f"{changed} is changed\n" in said.stderr and f"{missing} is missing\n" in said.stderr
    assert json.loads(said.stdout)["damaged"] == 2
    said = place.restore()
    assert said.returncode == FAILED and json.loads(said.stdout)["damaged"] == 2


def test_backup_tells_of_damage_in_the_root(place, filled):
    victim = max(place.root.glob("blobs/??/*"), key=lambda path: path.stat().st_size)
    value = content.digest(victim.read_bytes())
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    said = place.create()
    assert said.returncode == FAILED
    assert f"{value} is changed\n" in said.stderr
    assert json.loads(said.stdout)["damaged"] == 1


def test_exit_statuses(place, filled, tmp_path):
    """The words people and scripts go by."""
    slipway = place.slipway
    assert place.verify().returncode == NOT_FOUND
    assert slipway("backup", "ls", str(tmp_path)).returncode == NOT_FOUND
    assert slipway("restore", str(tmp_path / "none"), *place.settings(place.restored)).returncode == NOT_FOUND
    assert place.create("--rate", "fast").returncode == USAGE
    ok(place.create())
    assert place.verify("20200101T000000.000Z").returncode == NOT_FOUND
    said = place.restore(root=place.root)
    assert said.returncode == CONFLICT and "not empty" in said.stderr
    assert slipway("backup", "rm", str(place.backup), place.names()[0]).returncode == USAGE
    assert slipway("backup", "prune", str(place.backup), "--yes").returncode == USAGE
    assert slipway("backup", "create", str(place.backup), *place.settings(tmp_path / "no-root")).returncode == NOT_FOUND
    assert not (tmp_path / "no-root").exists()


def test_list_remove_and_prune(place, filled):
    for _ in range(4):
        ok(place.create())
    names = place.names()
    assert names == sorted(names) and len(names) == 4
    said = place.slipway("backup", "ls", str(place.backup))
    assert said.stdout.split("\n")[0].split() == ["SNAPSHOT", "COMPLETE", "BLOBS", "BYTES", "NEW", "MANIFESTS", "DAMAGED"]
    removed = ok(place.slipway("backup", "rm", str(place.backup), names[1], "--yes", "--json"))
    assert removed == {"snapshots": 1, "blobs": 0, "bytes": 0}
    removed = ok(place.slipway("backup", "prune", str(place.backup), "--keep", "1", "--yes", "--json"))
    assert removed["snapshots"] == 2
    assert place.names() == names[3:]
    ok(place.verify())


def test_dry_run_of_a_restore_makes_nothing(place, filled):
    ok(place.create())
    said = ok(place.restore("--dry-run"))
    assert said["damaged"] == 0 and said["copied"] == 0
    assert not place.restored.exists()


def test_open_uploads_are_not_restored(place, again, serve, filled):
    server = again()
    client = client_of(server)
    location = content.start_upload(client, "team/app")
    assert client.patch(location, b"half").status == 202
    ok(place.create())
    client.close()
    server.signal(TERM)
    assert server.wait() == 0
    ok(place.restore())
    assert len(place.files(place.restored)) == len(place.files(place.backup)) == len(place.files(place.root)) - 1
    client = client_of(serve())
    assert client.get(location).status == 404
    for reference in filled:
        content.verify(client, "team/app", reference)
    client.close()


def test_backups_are_started_from_this_machine_only(place, again, filled):
    server = again()
    client = client_of(server)
    asked = client.post("/api/v1/jobs", json.dumps({"kind": "backup", "spec": {"directory": str(place.backup)}}).encode(),
                        headers=[("Content-Type", "application/json")])
    assert asked.status == 403, asked
    client.close()
    assert not place.backup.exists()
