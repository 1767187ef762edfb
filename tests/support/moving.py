"""moving.py - what the tests of import and export share: docker-registry, roots of ours, what they hold.

Touches  temporary folders; docker-registry and slipway, ended by pid.
Never    the network beyond loopback.
"""
import json
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess

from support import content, wire
from support.process import clean_environment, reserved, wait_for

TOP = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SLIPWAY_BIN", str(TOP / "build/release/slipway"))
MISSING = [name for name in ("docker-registry", "skopeo", "htpasswd") if not shutil.which(name)]


# --- the registry to move out of ---

class Peer(wire.Client):
    """It need not answer as we do."""

    def request(self, method, path, body=None, headers=(), chunked=False, host=None, server_error=False):
        path = path.removeprefix(f"http://127.0.0.1:{self.target.port}")
        return self.exchange(method, path, body, headers, chunked, host)


class Old:
    """docker-registry: its folder stays when it ends."""

    def __init__(self, folder, settings=""):
        self.folder, self.root = folder, folder / "store"
        self.place = reserved()
        self.port = self.place.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {self.root}}}\n"
            f"http: {{addr: '{self.address}'}}\n{settings}")
        with open(folder / "log", "wb") as log:
            self.child = subprocess.Popen(["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=clean_environment())
        try:
            wait_for(self.answers, what="docker-registry")
        except BaseException:
            self.end()
            raise

    def answers(self):
        try:
            return self.client().get("/v2/").status in (200, 401)
        except OSError:
            return False

    def client(self):
        return Peer(wire.Target("127.0.0.1", self.port, None), 30)

    def end(self):
        self.child.terminate()
        self.child.wait(60)
        self.place.close()


def skopeo(*words):
    done = subprocess.run(["skopeo", *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def push(old, layout, name, *more):
    skopeo("copy", "--all", "--dest-tls-verify=false", *more, f"oci:{layout}:latest",
           f"docker://{old.address}/{name}")


def fill(old, shelf):
    """Images by skopeo; an artifact by its subject's tag; a deleted tag; a tag that moved."""
    push(old, shelf.busybox, "app:1")
    push(old, shelf.hollow, "app:2")
    push(old, shelf.busybox, "app:moved")
    push(old, shelf.hollow, "app:moved")
    push(old, shelf.layers60, "team/deep/er/image:v1")
    push(old, shelf.multi, "team/deep:all")
    push(old, shelf.hollow, "app:gone")
    push(old, shelf.busybox, "app:docker", "--format", "v2s2")
    client = old.client()
    subject = client.get("/v2/app/manifests/1", headers=accept())["Docker-Content-Digest"]
    content.push_blob(client, "app", b"{}")
    referrer = content.push_manifest(client, "app", subject.replace(":", "-") + ".sig", content.artifact(subject))
    content.push_manifest(client, "app", subject.replace(":", "-"),
                          content.index([{"mediaType": content.IMAGE, "digest": referrer, "size": len(
                              content.compact(content.artifact(subject)))}]), content.INDEX)
    shutil.rmtree(old.root / "docker/registry/v2/repositories/app/_manifests/tags/gone")
    return subject, referrer


def accept():
    return [("Accept", ", ".join(content.ALL_TYPES))]


# --- what a registry has ---

def tags_of(client, name):
    reply = client.get(f"/v2/{name}/tags/list")
    return reply.json().get("tags") or [] if reply.status == 200 else []


def read(client, prefix, reference, found):
    """Everything below a reference, into found: (name, digest) -> bytes."""
    reply = client.get(f"/v2/{prefix}/manifests/{reference}", headers=accept())
    assert reply.status == 200, (prefix, reference, reply)
    value = content.digest(reply.body)
    if (prefix, value) in found:
        return value
    found[prefix, value] = reply.body
    document = json.loads(reply.body)
    for child in document.get("manifests") or ():
        read(client, prefix, child["digest"], found)
    for item in [document["config"], *document["layers"]] if "config" in document else []:
        blob = client.get(f"/v2/{prefix}/blobs/{item['digest']}")
        assert blob.status == 200, (prefix, item, blob)
        assert content.digest(blob.body) == item["digest"]
        found[prefix, item["digest"]] = blob.body
    return value


def held(client, match=""):
    """({name: {tag: digest}}, {(name, digest): bytes})"""
    tags, found = {}, {}
    for name in client.get("/v2/_catalog").json()["repositories"]:
        if match in name:
            tags[name] = {tag: read(client, name, tag, found) for tag in tags_of(client, name)}
    return tags, found


# --- the new one ---

class New:
    """A root that a server is started on only to look at it."""

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "root"
        self.settings = ["--config", "/dev/null", "--set", f"storage.root={self.root}", "--set", "storage.min_free=0",
                         "--set", "auth.mode=none", "--set", "server.listen=127.0.0.1:0"]
        folder.mkdir(exist_ok=True)
        self.password = self.run("init", "--generate-password").stdout.strip()

    def words(self, *words):
        count = 2 if words[0] in ("import", "export", "job") else 1
        return [PROGRAM, *words[:count], *self.settings, *map(str, words[count:])]

    def run(self, *words, status=0):
        done = subprocess.run(self.words(*words), env=clean_environment(), timeout=60, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert status in (None, done.returncode), f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def job(self, *words, status=0):
        return json.loads(self.run(*words, "--json", status=status).stdout)

    def imported(self, old, *words, status=0):
        return self.job("import", "distribution", old, *words, status=status)

    def serve(self):
        return Serving(self)

    def start(self, *words):
        """The process, to be killed."""
        return subprocess.Popen(self.words(*words), env=clean_environment(), stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def rows(self, sql, *values):
        with sqlite3.connect(self.root / "meta.db") as database:
            return database.execute(sql, values).fetchall()

    def content(self):
        """Every row but those of jobs and of what the server remembers of itself."""
        with sqlite3.connect(self.root / "meta.db") as database:
            return [line for line in database.iterdump()
                    if not line.startswith(('INSERT INTO "jobs"', 'INSERT INTO "server_state"', 'INSERT INTO "audit',
                                            'INSERT INTO "sqlite_sequence"'))]

    def files(self):
        """Locators of all files of blobs."""
        return {path.name for path in (self.root / "blobs").glob("*/*")}

    def check_locators(self):
        """Every file has a row, and every blob its file."""
        blobs = {row[0] for row in self.rows("SELECT locator FROM blobs")}
        known = {row[0] for row in self.rows("SELECT locator FROM uploads UNION SELECT locator FROM trash")} | blobs
        assert blobs <= self.files() <= known

    def held(self):
        with self.serve() as client:
            return held(client)


class Serving:
    def __init__(self, new):
        self.new = new

    def __enter__(self):
        log = self.new.folder / "log"
        with open(log, "wb") as file:
            self.child = subprocess.Popen([PROGRAM, "serve", *self.new.settings], env=clean_environment(),
                                          stdin=subprocess.DEVNULL, stderr=file)
        def listening():
            assert self.child.poll() is None, log.read_text()
            return re.search(r'server\.listening address="?127.0.0.1:(\d+)(?=\D)', log.read_text())
        self.port = int(wait_for(listening, what="slipway")[1])
        return wire.Client(wire.Target("127.0.0.1", self.port, None), 30)

    def __exit__(self, *_):
        self.child.terminate()
        assert self.child.wait(90) == 0
