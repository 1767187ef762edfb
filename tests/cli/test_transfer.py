"""test_transfer.py - import and export, against Debian's docker-registry, filled by real pushes.

Touches  temporary folders; docker-registry and slipway, ended by pid.
Never    the network beyond loopback.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from conftest import PROGRAM, clean_environment, wait_for

from support import content, images, wire

pytestmark = pytest.mark.skipif(not shutil.which("docker-registry") or not shutil.which("skopeo"),
                                reason="needs docker-registry and skopeo")


# --- the registry to move out of ---

class Peer(wire.Client):
    """It need not answer as we do."""

    def request(self, method, path, body=None, headers=(), chunked=False, host=None, server_error=False):
        path = path.removeprefix(f"http://127.0.0.1:{self.target.port}")
        return self.exchange(method, path, body, headers, chunked, host)


class Old:
    """docker-registry: its folder stays when it ends."""

    def __init__(self, folder, settings="", environment=None):
        self.folder, self.root = folder, folder / "store"
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage:\n  delete: {{enabled: true}}\n  filesystem: {{rootdirectory: {self.root}}}\n"
            f"http: {{addr: '{self.address}'}}\n{settings}")
        with open(folder / "log", "wb") as log:
            self.child = subprocess.Popen(["docker-registry", "serve", str(config)], stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, env=clean_environment(**environment or {}))
        wait_for(self.answers, what="docker-registry")

    def answers(self):
        try:
            return self.client().get("/v2/").status in (200, 401)
        except OSError:
            return False

    def client(self):
        return Peer(wire.Target("127.0.0.1", self.port, None), 30)

    def end(self):
        self.child.terminate()
        self.child.wait(20)


def free_port():
    import socket
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Filled once; what tests change they change in a copy."""
    folder = tmp_path_factory.mktemp("old")
    old = Old(folder)
    old.subject, old.referrer = fill(old, images.Shelf(folder / "shelf"))
    old.held = held(old.client(), "")
    yield old
    old.end()


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
        self.run("init", "--generate-password")

    def words(self, *words):
        count = 2 if words[0] in ("import", "export", "tag") else 1
        return [PROGRAM, *words[:count], *self.settings, *map(str, words[count:])]

    def run(self, *words, status=0):
        done = subprocess.run(self.words(*words), env=clean_environment(), timeout=60, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == status, f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def job(self, *words, status=0):
        return json.loads(self.run(*words, "--json", status=status).stdout)

    def imported(self, old, *words, status=0):
        return self.job("import", "distribution", old, *words, status=status)

    def serve(self):
        return Serving(self)

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
            import re
            return re.search(r'server\.listening address="?127.0.0.1:(\d+)', log.read_text())
        self.port = int(wait_for(listening, what="slipway")[1])
        return wire.Client(wire.Target("127.0.0.1", self.port, None), 30)

    def __exit__(self, *_):
        self.child.terminate()
        assert self.child.wait(30) == 0


@pytest.fixture
def new(tmp_path):
    return New(tmp_path / "new")


@pytest.mark.parametrize("mode", ["auto", "--link", "--copy"])
def test_every_image_pulls_byte_for_byte(old, new, mode):
    done = new.imported(old.root, *([] if mode == "auto" else [mode]))
    assert done["problems"] == []
    assert done["repositories"] == 3
    assert new.held() == old.held


# --- layouts ---

def test_a_layout_comes_in_and_goes_out_unchanged(new, tmp_path, old):
    shelf = images.Shelf(tmp_path / "shelf")
    assert new.job("import", "oci-layout", shelf.multi, "team/multi")["tags"] == 1
    assert new.job("import", "oci-layout", shelf.busybox, "app:named", "--copy")["manifests"] == 1
    new.imported(old.root, "--repo", "app")
    out = tmp_path / "out"
    done = new.job("export", "oci-layout", out, "team/multi", "app:named", f"app@{old.subject}", "--referrers")
    assert done["problems"] == []
    listed = json.loads((out / "index.json").read_text())["manifests"]
    names = {entry.get("annotations", {}).get("org.opencontainers.image.ref.name") for entry in listed}
    assert names == {"team/multi:latest", "app:named", None}
    assert {entry["digest"] for entry in listed} >= {old.subject, old.referrer}
    for path in (out / "blobs/sha256").iterdir():
        assert content.digest(path.read_bytes()) == f"sha256:{path.name}"
    for name, layout in (("team/multi:latest", shelf.multi), ("app:named", shelf.busybox)):
        assert skopeo("inspect", "--raw", f"oci:{out}:{name}") == skopeo("inspect", "--raw", f"oci:{layout}:latest")
    skopeo("copy", "--all", f"oci:{out}:team/multi:latest", f"oci:{tmp_path}/again:latest")
    other = New(tmp_path / "other")
    assert other.job("import", "oci-layout", out, "all")["problems"] == []
    tags, found = other.held()
    assert tags["all"] == {"latest": index_digest(shelf.multi), "named": index_digest(shelf.busybox)}
    assert ("all", index_digest(shelf.multi)) in found


def index_digest(layout):
    return json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]


# --- over HTTP ---

@pytest.fixture(scope="module")
def guarded(old, tmp_path_factory):
    """The same content behind a password."""
    folder = tmp_path_factory.mktemp("guarded")
    hashed = subprocess.run(["htpasswd", "-nbB", "ana", "a password"], capture_output=True, text=True, check=True)
    (folder / "htpasswd").write_text(hashed.stdout)
    (folder / "password").write_text("a password\n")
    shutil.copytree(old.root, folder / "store")
    registry = Old(folder, f"auth: {{htpasswd: {{realm: old, path: {folder}/htpasswd}}}}\n")
    yield registry
    registry.end()


def test_another_registry_is_copied(old, new):
    done = new.job("import", "remote", old.address, "--plain-http")
    assert done["problems"] == []
    tags, found = new.held()
    assert (tags, found) == old.held
    again = new.job("import", "remote", f"http://{old.address}", "--repo", "app", "--tags", "1")
    assert "manifests" not in again and "blobs_copied" not in again and again["tags_present"] >= 1


def test_another_registry_behind_a_password(guarded, old, new):
    words = "import", "remote", guarded.address, "--plain-http", "--repo", "app", "--tags", "1"
    refused = new.run(*words, status=1)
    assert "does not allow it" in refused.stdout + refused.stderr
    done = new.job(*words, "--source-user", "ana", "--source-password-file", guarded.folder / "password")
    assert done["problems"] == []
    tags, found = new.held()
    assert tags == {"app": {tag: value for tag, value in old.held[0]["app"].items()
                            if tag == "1" or tag.startswith("sha256-")}}
    assert ("app", old.referrer) in found
