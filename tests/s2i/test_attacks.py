"""test_attacks.py - what was tried against builds and once worked: files that are larger than they look, a worker that was
taken over and speaks to its server as it likes.

Touches  a server of the test's own, and a builder that is this test.
"""
import array
import contextlib
import json
import os
import pathlib
import shutil
import socket
import tempfile
import threading
import time

import pytest

from support import api, building, gitserver, images, people, process, wire, workshop
from conftest import able
from support.tokens import basic
from support.workshop import assemble, failed


def test_a_file_of_holes(shop):
    """s2i 16.7, 17.8: a disk's limit does not count what is not on it; it was packed for hours."""
    script = "dd if=/dev/zero of=holes bs=1 count=0 seek=2000000000000\n"
    outcome = failed(assemble(shop, script), "DiskLimit")
    assert "larger than" in outcome.result["message"] and outcome.seconds < 40


@pytest.mark.parametrize("blanks", [0, 1])
def test_a_failure_that_is_cut_within_a_character(server, name, blanks):
    """s2i 15.9: the answer to a plan is JSON of it, and was none at all: the server died."""
    caller = api.Api(server.target)
    host = "x" * blanks + "\u00e9" * 120 + ":80"
    planned = caller.post(f"/repos/{name}/-/builds?plan=true",
                          {"source": "none", "options": {"builder": "builders/test", "allow": [host]}})
    caller.close()
    assert planned.status == 200 and "\u00e9" * 90 in planned.json()["error"]["message"], planned.body


class Taken:
    """A builder whose workers say what the test says."""

    def __init__(self, folder):
        path = str(folder / "builder.sock")
        self.server = process.Server(folder / "server", {"builds.enabled": "true", "builds.builder": "external",
                                                         "builds.socket": path})
        self.server.start()
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.connect(path)
        workshop.send(self.control, "h", json.dumps({"version": 1, "level": "root", "slots": 4}).encode())
        process.wait_for(lambda: "builder.connected" in self.server.log.read_text(), 10, "the builder")
        building.builder(self.server)

    def api(self, method, path, body=None):
        client = self.server.client()
        answer = client.request(method, f"/api/v1/{path}", body=json.dumps(body or {}).encode() if method == "POST" else None,
                                headers=[("Content-Type", "application/json")])
        client.close()
        return answer.json()

    def begin(self, repository):
        """A build's number, and its channel once the spec has come."""
        build = self.api("POST", f"repos/{repository}/-/builds",
                         {"source": "none", "options": {"builder": "builders/test"}})["id"]
        beside = self.control.recvmsg(1024, 64)[1]
        channel = socket.socket(fileno=array.array("i", beside[0][2])[0])
        while True:
            data, beside, *_ = channel.recvmsg(workshop.PIECE + 1, 64)
            for one in beside:
                for fd in array.array("i", one[2]):
                    os.close(fd)
            if data == b"s":
                return build, channel

    def end_of(self, build):
        state = lambda: self.api("GET", f"builds/{build}")  # noqa: E731
        process.wait_for(lambda: state()["state"] not in ("New", "Pending", "Running"), 30, "the build's end")
        return state()


@pytest.fixture(scope="module")
def taken():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    made = Taken(folder)
    yield made
    made.control.close()
    made.server.finish()
    shutil.rmtree(folder)


def test_a_worker_that_tells_stages_without_end(taken, name):
    """s2i 12.3: they are kept in memory and in the row."""
    build, channel = taken.begin(name)
    for number in range(1000):
        workshop.send(channel, "t", json.dumps({"name": f"stage {number}"}).encode())
    channel.close()
    told = taken.end_of(build)
    assert told["state"] == "Error" and 2 < len(told["stages"]) <= 64


@pytest.mark.parametrize("kind, said, reason", [
    ("w", {"image": "previous", "layer": 0}, "there is no such layer"),
    ("w", {"image": "runtime", "layer": 0}, "there is no such layer"),
    ("w", {"image": "builder", "layer": 1}, "there is no such layer"),
    ("w", {"image": "builder", "layer": -1}, "there is no such layer"),
    ("w", {"cache": "x"}, "there is no such layer"),
    ("w", {"image": "input/0", "layer": 0}, "there is no such layer"),
    ("w", {"image": "input/18446744073709551616", "layer": 0}, "there is no such layer"),
    ("w", {"image": "builder/0", "layer": 0}, "there is no such layer"),
    ("w", ["builder"], "there is no such layer"),
])
def test_a_worker_that_wants_what_is_not_its_builds(taken, name, kind, said, reason):
    _, channel = taken.begin(name)
    workshop.send(channel, kind, json.dumps(said).encode())
    data, beside, *_ = channel.recvmsg(workshop.PIECE, 64)
    assert data == b"f" + reason.encode() and not beside
    channel.close()


@pytest.mark.parametrize("packets, said", [
    ([("d", b"x" * 1000), ("e", b'{"digest": "sha256:' + b"0" * 64 + b'"}')], "does not match"),
    ([("r", b"[" * workshop.PIECE)] * 3 + [("r", b"")], "must be an object"),
    ([("r", b" " * workshop.PIECE)] * 257, "too long"),
    ([("?", b"")], "unknown"),
    ([("r", json.dumps({"done": False, "exit_code": 1, "reason": "\u00e9" * 70, "message": "\u00e9" * 200,
                        "scripts": [], "layers": []}).encode()), ("r", b"")], "\u00e9?"),
])
def test_a_worker_that_lies(taken, name, packets, said):
    build, channel = taken.begin(name)
    try:
        for kind, payload in packets:
            workshop.send(channel, kind, payload)
    except (BrokenPipeError, ConnectionResetError):
        pass
    told = taken.end_of(build)
    channel.close()
    assert told["state"] in ("Failed", "Error") and said in told["message"]


def test_a_worker_that_floods_hears_of_the_cancel(taken, name):
    """s2i 13.44: a flood hid the wake-up for as long as it lasted; and descriptors that come along are closed."""
    build, channel = taken.begin(name)
    fds = pathlib.Path(f"/proc/{taken.server.child.pid}/fd")
    before, heard, stop = len(list(fds.iterdir())), [], threading.Event()

    def flood():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                workshop.send(channel, "l", b"\x01" + b"noise\n" * 10, 0)
    floods = [threading.Thread(target=flood) for _ in range(3)]
    for one in floods:
        one.start()
    time.sleep(0.3)
    taken.api("POST", f"builds/{build}:cancel")
    channel.settimeout(20)
    heard = channel.recv(100)
    during = len(list(fds.iterdir()))
    stop.set()
    for one in floods:
        one.join()
    channel.close()
    assert heard == b"cCancelledBuild" and during < before + 20, (heard, before, during)
    assert taken.end_of(build)["state"] == "Cancelled"


def test_a_builder_that_greets_again_is_none(taken):
    """One hello a connection: each is a line of the server's log."""
    second = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    second.connect(taken.control.getpeername())
    second.settimeout(30)
    for _ in range(2):
        workshop.send(second, "h", json.dumps({"level": "", "problem": "\x1b[31mred", "slots": -1}).encode())
    assert second.recv(10) == b""
    second.close()
    process.wait_for(lambda: "the builder said nonsense" in taken.server.log.read_text(), 10, "its end")
    assert "\x1b" not in taken.server.log.read_text()
    assert taken.api("GET", "system/builds")["builders"] == 1


@pytest.mark.long
def test_a_worker_that_asks_and_never_listens(taken, name):
    """The session hung in a send, beyond every time limit."""
    build, channel = taken.begin(name)
    channel.settimeout(2)
    with pytest.raises(TimeoutError):
        while True:
            workshop.send(channel, "w", b'{"image": "builder", "layer": 0}')
    taken.api("POST", f"builds/{build}:cancel")
    assert taken.end_of(build)["state"] in ("Error", "Cancelled")
    channel.close()


@pytest.fixture(scope="module")
def remote():
    folder = tempfile.mkdtemp(prefix="sw-")
    one = gitserver.GitServer(folder)
    yield one
    one.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def narrow(remote):
    """A registry with a private, a public and a shared builder image; ana may all, her tokens do not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o755)
    tokens = {}

    def fill(who):
        who.user("ana")
        for pattern in ("team/*", "private/*", "public/*", "shared/*"):
            who.grant("ana", pattern, people.WRITE)
        who.public("public/image")
        tokens["one"] = who.token("ana", "repository:team/*:pull,push api")
        tokens["two"] = who.token("ana", "repository:team/*:pull,push repository:shared/*:pull api")
        tokens["blind"] = who.token("ana", "repository:team/*:push api")
        who.grant("ana", "hooks/*", people.MAINTAIN | people.MANAGE)
        tokens["manage one"] = who.token("ana", "repository:hooks/*:* api")
        tokens["manage two"] = who.token("ana", "repository:hooks/*:* repository:shared/*:pull api")
    made = people.Registry(folder / "server", {
        "builds.enabled": "true", "auth.mode": "none", "auth.anonymous": "pull", "builds.sources.schemes": "http",
        "builds.sources.allow": "127.0.0.1", "builds.sources.ports": str(remote.port)}, people=fill)
    made.start()
    for name in ("private/image", "public/image", "shared/image"):
        building.builder(made, name)
    made.finish()
    made.settings["auth.mode"], made.tokens = "token", tokens
    made.start()
    able(made)
    yield made
    made.finish()
    shutil.rmtree(folder)


@pytest.mark.parametrize("token, image, may", [
    ("one", "private/image", False), ("one", "shared/image", False), ("one", "public/image", True),
    ("two", "private/image", False), ("two", "shared/image", True),
])
def test_a_token_that_is_narrowed(narrow, source, token, image, may):
    """s2i 2.10, 13.52: a build may pull what the token that began it may, not all that its account may."""
    app = source({"index.html": image, ".s2i/s2i.conf": f"builder: {image}\n"})
    repository = f"team/{token}-{image.replace('/', '-')}"
    pushed = app.push(narrow, repository, check=False, user=("ana", narrow.tokens[token]))
    assert (pushed.returncode == 0) == may, pushed.stderr
    assert ("there is no image" in pushed.stderr) != may
    client = narrow.client()

    def plan(**options):
        return client.post(f"/api/v1/repos/{repository}/-/builds?plan=true",
                           body=json.dumps({"source": "none", "options": options}).encode(),
                           headers=[("Content-Type", "application/json"), basic("ana", narrow.tokens[token])]).json()
    planned, copied = plan(builder=image), plan(builder="public/image", copy_from=[f"{image}=/etc"])
    client.close()
    assert ("error" not in planned) == may, planned
    assert ("error" not in copied) == may, copied
    assert may or copied["error"]["reason"] == "FetchImageContentFailed", copied


@pytest.mark.parametrize("token, may", [("manage one", False), ("manage two", True)])
def test_a_webhook_reaches_no_further_than_who_configured_it(narrow, remote, token, may):
    """s2i 14.1: what a delivery starts has the rights of the token that set the configuration, not its account's."""
    repository, secret = f"hooks/{token.replace(' ', '-')}", "a secret of sixteen bytes"
    remote.repository(token.split()[1], {"index.html": "x"})
    caller, sender = api.Api(narrow.target, ("ana", narrow.tokens[token])), api.Api(narrow.target, secret)
    made = caller.put(f"/repos/{repository}/-/build-config",
                      {"options": {"url": remote.url(token.split()[1]), "builder": "shared/image"}})
    assert made.status == 201, made
    assert caller.put(f"/repos/{repository}/-/build-config/secrets/hook/one", {"value": secret}).status == 204
    started = sender.call("POST", f"/hooks/{made.json()['hook']}/generic", raw=b"")
    assert started.status == 202, started
    at = f"/builds/{started.json()['build']}"
    process.wait_for(lambda: caller.get(at).json()["finished_at"], 30, "its end")
    ended = caller.get(at).json()
    caller.close()
    sender.close()
    assert (ended["state"] == "Complete") == may, ended
    assert ("there is no image" in (ended["message"] or "")) != may


def test_a_token_that_may_not_pull_reads_no_labels(narrow, source):
    """s2i 10.5, 2.10: options that built an image come out of it for those alone who may pull it, by that token."""
    source({"index.html": "x"}).push(narrow, "team/labels", "-o", "builder=public/image", user=("ana", narrow.tokens["one"]))
    for token, said in (("blind", "whose image you may pull"), ("one", "source-location not found in image")):
        caller = api.Api(narrow.target, ("ana", narrow.tokens[token]))
        answer = caller.post("/repos/team/labels/-/builds?plan=true", {"source": "push", "rebuild": "latest"})
        caller.close()
        assert answer.status == 422 and said in answer.json()["detail"], answer


def test_a_right_that_is_taken_back(narrow):
    """s2i 2.10: who may not push there any more gets no tag moved by builds that he began while he might: neither by one
    that runs, nor by one that waits."""
    narrow.accounts.user("eve")
    for pattern, rights in (("team/eves", people.WRITE), ("public/*", people.READ)):
        narrow.accounts.grant("eve", pattern, rights)
    admin, eve = api.Api(narrow.target, people.ROOT), api.Api(narrow.target, ("eve", people.password_of("eve")))

    def start(*words):
        answer = eve.post("/repos/team/eves/-/builds", {"source": "none", "options": {
            "builder": "public/image", "post_commit": words}})
        assert answer.status == 201, answer
        return f"/builds/{answer.json()['id']}"
    gate = building.Gate()
    builds = [start("sh", "-c", f"{gate.wait}; true"), start("true")]
    gate.reached()
    assert admin.post("/users/eve:disable").status == 200
    gate.open()
    for at in builds:
        process.wait_for(lambda at=at: admin.get(at).json()["finished_at"], 30, "its end")
        ended = admin.get(at).json()
        assert (ended["state"], ended["reason"]) == ("Failed", "PushImageToRegistryFailed"), ended
    assert admin.get("/repos/team/eves/-/tags/latest").status == 404
    eve.close()
    admin.close()


def test_layers_meet_their_limit_together(make_server, source, name):
    """s2i 19.5: an image of many layers, each allowed by itself, does not fill the machine's disk."""
    server = make_server({"builds.disk": "16MiB"})
    zeros = bytes(30 << 20)
    layers = [building.base_tar({"assemble": building.ASSEMBLE, "run": building.RUN}, {})]
    layers += [images.tar({f"zeros{number}": zeros}) for number in range(3)]
    building.push_image(server, "builders/big", "latest", layers,
                        {"User": "1001", "Labels": {"io.openshift.s2i.scripts-url": f"image://{building.SCRIPTS}"}})
    done = source({"index.html": "x"}).push(server, name, "-o", "builder=builders/big", check=False)
    assert done.returncode == 1 and "unpacks to more than" in done.stderr


def test_a_config_of_too_many_values(server, name):
    """4 MiB of them were 300 MiB of the server, for each build of the image."""
    building.push_image(server, "builders/crowded", "latest", [building.base_tar({}, {})],
                        {"Labels": {}, "X": [{}] * 250_000})
    client = wire.Client(server.target)
    answer = client.post(f"/api/v1/repos/{name}/-/builds?wait=true", headers=[("Content-Type", "application/json")],
                         body=json.dumps({"source": "none", "options": {"builder": "builders/crowded"}}).encode())
    client.close()
    assert answer.json()["state"] == "Failed" and "250000 values" in answer.json()["message"], answer.body
