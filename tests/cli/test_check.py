"""test_check.py - check and scrub as people run them: what they print, how they end, what heals; a check beside pushes,
deletions and collection; repairs that are killed.

Touches  a temporary folder; servers and commands it started itself, ended by pid.
Never    waits for a wall clock: the load lasts as many checks as are wanted.
"""
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.parse

import pytest
from conftest import PROGRAM, TERM, clean_environment, wait_for

from support import content, wire

CLEAN, REPAIRED, LEFT = 0, 1, 4
GRACE = 0.3  # seconds
TURNS = int(os.environ.get("CHECK_TURNS", "12"))  # checks beside a load


def client_of(server):
    return wire.Client(wire.Target("127.0.0.1", urllib.parse.urlsplit(server.url).port, None), 30)


class Place:
    """A root, and the commands on it: jobs of its server while one runs."""

    def __init__(self, folder, slipway):
        self.root, self.slipway = folder / "0" / "root", slipway

    def words(self, *words):
        return [*words, "--config", "/dev/null", "--set", f"storage.root={self.root}", "--set", "storage.min_free=0",
                "--set", "server.listen=127.0.0.1:0", "--set", "auth.mode=none"]

    def run(self, *words):
        return self.slipway(*self.words(*words))

    def check(self, *words):
        """The exit status, and the findings but for information."""
        said = self.run("check", "--json", *words)
        assert said.returncode in (CLEAN, REPAIRED, LEFT), said.stderr
        result = json.loads(said.stdout)
        assert result["complete"]
        return said.returncode, [item for item in result["findings"] if item["severity"] != "info"]

    def blob(self, size):
        """The one file of that size."""
        found = [path for path in self.root.glob("blobs/??/*") if path.stat().st_size == size]
        assert len(found) == 1
        return found[0]

    def quarantine(self):
        folder = self.root / "quarantine"
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.fixture
def place(tmp_path, slipway):
    return Place(tmp_path, slipway)


def flip(path, offset=100):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0x10]))


def end(server):
    server.signal(TERM)
    assert server.wait() == 0


# --- one damage, from flip to heal ---

def test_a_flipped_bit_answers_404_until_it_is_pushed_again(serve, place):
    server = serve()
    client = client_of(server)
    layer = content.fresh(4321)
    value, _, _ = content.push_image(client, "team/app", "v1", [layer])
    path = f"/v2/team/app/blobs/{content.digest(layer)}"
    assert client.get(path).body == layer
    assert place.check("--deep") == (CLEAN, [])
    flip(place.blob(4321))
    assert place.check() == (CLEAN, [])  # the size is right
    status, found = place.check("--deep")
    assert status == LEFT and [item["kind"] for item in found] == ["blob-altered"]
    assert found[0]["digest"] == content.digest(layer) and found[0]["repository"] == "team/app"
    assert client.get(path).status == 200  # it was only looked at

    status, found = place.check("--deep", "--repair")
    assert status == REPAIRED and [item["repaired"] for item in found] == [True]
    assert [len(data) for data in place.quarantine().values()] == [4321]
    assert client.get(path).status == 404 and client.head(path).status == 404
    assert client.get(f"/v2/team/app/manifests/{value}").status == 200
    status, found = place.check("--deep")
    assert status == CLEAN and [item["kind"] for item in found] == ["blob-awaited"]

    content.push_blob(client, "team/app", layer)
    content.verify(client, "team/app", "v1")
    assert place.check("--deep") == (CLEAN, [])
    assert [len(data) for data in place.quarantine().values()] == [4321]  # nothing is deleted
    end(server)


def test_lines_for_people_and_a_resting_root(serve, place):
    server = serve()
    content.push_image(client_of(server), "team/app", "v1", [content.fresh(4321)])
    end(server)
    said = place.run("check")
    assert (said.returncode, said.stdout) == (CLEAN, "")
    assert "2 blobs, 1 manifests, 1 tags checked: 0 found, 0 repaired, 0 errors left" in said.stderr
    place.blob(4321).unlink()
    said = place.run("check")
    lines = said.stdout.splitlines()
    assert said.returncode == LEFT and len(lines) == 1 and "--repair" in said.stderr
    assert lines[0].startswith("error  blob-missing  no  team/app") and lines[0].endswith("the file is missing")
    assert place.run("check", "--repo", "team/other").returncode == CLEAN
    assert place.run("check", "--repo", "team/*", "--rate", "1GiB", "--deep").returncode == LEFT
    assert place.run("check", "--rate", "fast").returncode == 2


def test_a_spec_it_does_not_know_is_refused(serve, place):
    server = serve()
    client = client_of(server)
    for spec, field in (({"depe": True}, "spec"), ({"deep": 1}, "deep"), ({"rate": -1}, "rate"),
                        ({"repository": ""}, "repository"), ({"repository": "a" * 256}, "repository")):
        response = client.post("/api/v1/jobs", content.compact({"kind": "check", "spec": spec}),
                               headers=[("Content-Type", "application/json")])
        assert response.status == 422 and field in response.body.decode(), response
    end(server)


# --- the scrub ---

def test_scrub_reads_again_and_tells(serve, place):
    server = serve("scrub.rate=100MiB")
    client = client_of(server)
    layer = content.fresh(4321)
    content.push_image(client, "team/app", "v1", [layer])

    def status():
        return json.loads(place.run("scrub", "status", "--json").stdout)
    wait_for(lambda: status()["finished_at"])
    flip(place.blob(4321))
    assert place.run("scrub", "run").returncode == 0
    wait_for(lambda: status()["state"] == "idle" and status()["found"])
    now = status()
    assert (now["damaged"], now["found"], now["blobs"], now["bytes_per_second"]) == (1, 1, 2, 0)
    assert now["bytes"] >= 2 * 4321  # what seems wrong is read twice
    wait_for(lambda: "msg=scrub.found kind=blob-altered" in server.text() and content.digest(layer) in server.text())
    assert client.head(f"/v2/team/app/blobs/{content.digest(layer)}").status == 404
    content.push_blob(client, "team/app", layer)
    assert status()["damaged"] == 0
    end(server)


def test_scrub_that_is_off_says_so(serve, place):
    server = serve("scrub.rate=0")
    assert json.loads(place.run("scrub", "status", "--json").stdout)["state"] == "off"
    said = place.run("scrub", "run")
    assert said.returncode == 5 and "scrub.rate is 0" in said.stderr
    end(server)


# --- beside others' work ---

class Load:
    """Threads that push, mount, delete, cancel and leave sessions open, until they are told to end."""

    def __init__(self, server):
        self.server, self.ending, self.failed, self.pushed = server, threading.Event(), [], 0
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(3)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        try:
            choice = random.Random(number)
            client = client_of(self.server)
            while not self.ending.is_set():
                self.leased(client, choice, f"load/{choice.randrange(3)}")
        except Exception as why:  # the test tells of it
            self.failed.append(why)

    def leased(self, client, choice, name):
        """A step that took longer than what it was told of holds may have been refused."""
        began = time.monotonic()
        try:
            self.step(client, choice, name)
            self.pushed += 1
        except AssertionError:
            if time.monotonic() < began + GRACE / 2:
                raise

    def step(self, client, choice, name):
        shared = [b"shared %d" % choice.randrange(4)]
        value, data, layers = content.push_image(client, name, f"t{choice.randrange(4)}",
                                                 shared + [content.fresh(choice.randrange(1, 3000))])
        child = content.descriptor(data, content.IMAGE)
        content.push_manifest(client, name, f"i{choice.randrange(3)}", content.index([child]), content.INDEX)
        content.push_manifest(client, name, f"s{choice.randrange(3)}",
                              content.index([child], annotations={"n": str(choice.random())}), content.INDEX)
        client.post(f"/v2/load/3/blobs/uploads/?mount={content.digest(layers[0])}&from={name}")
        session = content.start_upload(client, name)
        client.patch(session, content.fresh(500), headers=[("Content-Type", "application/octet-stream")])
        if choice.random() < 0.5:
            client.delete(session)
        for path in (f"manifests/{value}", f"manifests/t{choice.randrange(4)}", f"manifests/i{choice.randrange(3)}",
                     f"blobs/{content.digest(layers[1])}"):
            if choice.random() < 0.4:
                client.delete(f"/v2/{name}/{path}")

    def end(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.failed, self.failed[0]


def test_no_finding_while_others_push_delete_and_collect(serve, place):
    server = serve(f"gc.grace={int(GRACE * 1000)}ms", "gc.undo=100ms", "gc.late=20ms", "gc.interval=20ms", "gc.untagged=200ms",
                   "storage.upload_ttl=1s")
    load = Load(server)
    try:
        wait_for(lambda: load.pushed > 20 or load.failed)
        for turn in range(TURNS):
            words = ("--deep",) if turn % 2 else ()
            assert place.check(*words, *(("--repair",) if turn % 4 > 1 else ())) == (CLEAN, [])
        wait_for(lambda: load.pushed > 100 or load.failed)  # more than their tags can hold
    finally:
        load.end()
    wait_for(lambda: len(list(place.root.glob("blobs/??/*"))) < load.pushed)  # each pushed two of its own
    assert place.check("--deep") == (CLEAN, [])
    assert place.quarantine() == {}
    end(server)


# --- repairs that are cut off ---

def test_a_killed_repair_loses_nothing_and_is_ended_by_the_next(serve, place):
    server = serve()
    client = client_of(server)
    layers = [content.fresh(2000 + number) for number in range(40)]
    content.push_image(client, "team/app", "v1", layers)
    end(server)
    wrong = {}
    for number in range(40):
        path = place.blob(2000 + number)
        if number % 4 == 0:
            os.truncate(path, 1000)
        else:
            flip(path)
        wrong[path.name] = path.read_bytes()
    for number in range(40):
        name = f"{number:02x}{os.urandom(15).hex()}"
        path = place.root / "blobs" / name[:2] / name
        path.parent.mkdir(exist_ok=True)
        wrong[name] = content.fresh(10)
        path.write_bytes(wrong[name])

    kills = 0
    for attempt in range(200):
        words = place.words("check", "--deep", "--repair", "--rate", "400KiB")
        child = subprocess.Popen([PROGRAM, *words], env=clean_environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child.wait(random.Random(attempt).uniform(0.01, 0.06) + attempt * 0.005)
            break
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
        kept = {path.name: path.read_bytes() for path in place.root.glob("blobs/??/*")} | place.quarantine()
        assert wrong.items() <= kept.items()
    assert kills > 2
    status, found = place.check("--deep")
    assert status == CLEAN and {item["kind"] for item in found} == {"blob-awaited"} and len(found) == 40
    assert wrong.items() <= place.quarantine().items() and len(place.quarantine()) == len(wrong)
