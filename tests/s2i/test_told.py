"""test_told.py - who is told of builds: callbacks, statuses of commits at the three forges; builds that waited too long.

Touches  servers with a builder, receivers and a Git server of loopback.
Never    a forge of the world: what it documents is what its receiver here holds requests against.
"""
import hashlib
import hmac
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import jsonschema
import pytest

from conftest import able
from support import api, building, gitserver, process
from support.receiver import Receiver

HOOK_SECRET, CALLBACK_SECRET, TOKEN = "a secret of sixteen bytes", "this one signs callbacks", "tok-3n"
PATIENCE = 10  # seconds that a receiver has for its answer
GATE = building.Gate()
SLOW = f"#!/bin/sh\n{GATE.wait}\ncp -R /tmp/src/. /opt/app-root/src/\n"


@pytest.fixture(scope="module")
def receivers():
    made = [Receiver(), Receiver()]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def remote():
    folder = tempfile.mkdtemp(prefix="sw-")
    one = gitserver.GitServer(folder)
    yield one
    one.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def teller(receivers, remote):
    """A server that may ask all of them."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o755)
    ports = ",".join(str(one.port) for one in (*receivers, remote))
    server = process.Server(folder, {"builds.enabled": "true", "builds.sources.schemes": "http",
                                     "builds.sources.allow": "127.0.0.1", "builds.sources.ports": ports,
                                     "server.public_url": "https://registry.example"})
    server.start()
    able(server)
    building.builder(server)
    building.builder(server, "builders/slow", assemble=SLOW)
    yield server
    server.finish()
    shutil.rmtree(folder)


class Told:
    """A repository with a configuration, whose builds end without a builder: its source is nowhere."""

    def __init__(self, server, name, **options):
        self.api, self.name, self.server = api.Api(server.target), name, server
        self.config = f"/repos/{name}/-/build-config"
        made = self.api.put(self.config, {"options": {"builder": "builders/test", **options}})
        assert made.status == 201, made
        self.hook = made.json()["hook"]

    def secret(self, kind, name, value):
        assert self.api.put(f"{self.config}/secrets/{kind}/{name}", {"value": value}).status == 204

    def start(self, source="none", commit=None, **options):
        body = {"source": source, "options": options}
        answer = self.api.post(f"/repos/{self.name}/-/builds", {**body, **({"commit": commit} if commit else {})})
        assert answer.status == 201, answer
        return answer.json()["id"]

    def end(self, id):
        process.wait_for(lambda: self.api.get(f"/builds/{id}").json()["finished_at"], 60, "its end")
        return self.api.get(f"/builds/{id}").json()


@pytest.fixture
def told(teller, receivers, name):
    made = []

    def make(**options):
        made.append(Told(teller, name, **options))
        return made[-1]
    yield make
    for one in made:
        one.api.close()
    for one in receivers:
        one.statuses, one.said = [], []


def came(receiver, path, count=1):
    process.wait_for(lambda: len(receiver.of(path)) >= count, 60, f"{count} requests for {path}")
    return receiver.of(path)


# --- callbacks (11.1) ---

def test_a_callback_is_signed_with_a_secret_of_its_own(told, receivers):
    """s2i 11.1: the newest callback secret, only where the configuration names the URL; never what webhooks show."""
    where = receivers[0]
    one = told(callback_url=where.url("/configured"))
    one.secret("hook", "h", HOOK_SECRET)
    first = one.end(one.start())
    headers, said = came(where, "/configured")[0]
    assert "x-s2i-signature-256" not in headers  # it has no secret yet
    assert said["success"] is True and said["build"] == first["id"] and said["digest"] == first["result_digest"]
    assert said["labels"]["io.openshift.s2i.build.image"]
    one.secret("callback", "old", "another that is older")
    one.secret("callback", "new", CALLBACK_SECRET)
    one.start()
    headers, _ = came(where, "/configured", 2)[1]
    body = [body for path, _, body in where.said if path == "/configured"][1]
    for secret, right in ((CALLBACK_SECRET, True), (HOOK_SECRET, False)):
        code = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        assert (headers["x-s2i-signature-256"] == code) == right
    one.start(callback_url=where.url("/mine"))
    headers, _ = came(where, "/mine")[0]
    assert "x-s2i-signature-256" not in headers  # whoever asks for a build gets no signature for it


def test_a_receiver_that_hangs_holds_up_no_other(told, receivers):
    """s2i 11.1: of one repository, too."""
    stuck, other = receivers
    stuck.hang = threading.Event()
    one, since = told(), time.monotonic()
    for id in [one.start(callback_url=stuck.url("/stuck")) for _ in range(4)]:
        one.end(id)
    came(stuck, "/stuck")
    began = time.monotonic()
    one.start(callback_url=other.url("/other"))
    came(other, "/other")
    now = time.monotonic()
    assert now - began < 2.5 * PATIENCE  # all that wait for the other one would take four times PATIENCE
    assert len(stuck.of("/stuck")) <= 1 + (now - since) // PATIENCE  # one at a time goes to each
    stuck.hang.set()
    stuck.hang = None
    came(stuck, "/stuck", 4)


def test_a_callback_survives_the_server(make_server, name):
    """s2i 11.1: the row of its end and what is to be told are one transaction; tried again, then forgotten."""
    where = Receiver()
    server = make_server({"builds.sources.schemes": "http", "builds.sources.allow": "127.0.0.1",
                          "builds.sources.ports": str(where.port)})
    building.builder(server)
    where.close()
    one = Told(server, name)
    id = one.start(callback_url=where.url("/late"))
    one.end(id)
    server.kill()
    where.open()
    server.start()
    _, said = came(where, "/late")[0]
    assert said["build"] == id and said["success"] is True
    assert settled(one, id, "callback")["state"] == "Delivered"
    server.restart()  # it was told: once is enough
    one.api.close()
    one.api = api.Api(server.target)
    able(server)
    one.start(callback_url=where.url("/next"))
    came(where, "/next")
    assert len(where.of("/late")) == 1
    one.api.close()
    where.close()


def test_what_is_answered_is_not_sent_again(told, receivers):
    """s2i 11.1: 300 and above is a line of the log, never a failure of the build."""
    where = receivers[0]
    where.statuses = [500, 302]
    one = told(callback_url=where.url("/refused"))
    assert one.end(one.start())["state"] == "Complete"
    assert one.end(one.start())["state"] == "Complete"
    came(where, "/refused", 2)
    assert one.end(one.start())["state"] == "Complete"
    came(where, "/refused", 3)
    assert [said["build"] for _, said in where.of("/refused")] == sorted({said["build"] for _, said in where.of("/refused")})
    assert "build.callback" in one.server.log.read_text()


def stand(one, id):
    return {message["kind"]: message for message in one.api.get(f"/builds/{id}").json()["messages"]}


def settled(one, id, kind):
    process.wait_for(lambda: stand(one, id)[kind]["state"] != "Waiting", 60, f"the {kind} to be settled")
    return stand(one, id)[kind]


def test_what_could_not_be_told_is_shown(told, receivers, remote):
    """s2i 11.1, 13.48: the last answer, or why none came, and when it is tried again; hosts, and no more of URLs."""
    where, commit = receivers[0], remote.repository("team/shown", {"a": "1"})
    host = where.url().removeprefix("http://")
    one = told()
    where.statuses = [500]
    id = one.start(callback_url=where.url("/private?token=hush"))
    one.end(id)
    lost = settled(one, id, "callback")
    assert {key: lost[key] for key in ("host", "of", "state", "tries", "status", "problem", "next_at")} == {
        "host": host, "of": "Complete", "state": "GivenUp", "tries": 1, "status": 500, "problem": None, "next_at": None}
    assert "hush" not in str(lost) and "private" not in str(lost)
    for words, shown in (((), "GivenUp"), (("--json",), '"state": "GivenUp"')):
        text = subprocess.run([process.binary(), "build", "show", str(id), *words, "--config", "/dev/null",
                               "--set", f"storage.root={one.server.root}"], env=process.clean_environment(), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True).stdout
        assert shown in text and host in text, text
    there = one.start(callback_url=where.url("/taken"))
    one.end(there)
    assert settled(one, there, "callback")["status"] == 204 and stand(one, there)["callback"]["state"] == "Delivered"
    nobody = one.start(callback_url="http://127.0.0.1:1/")  # a port that builds may not ask
    one.end(nobody)
    refused = settled(one, nobody, "callback")
    assert (refused["host"], refused["state"], refused["status"]) == ("127.0.0.1:1", "GivenUp", None) and refused["problem"]
    forge = {"url": remote.url("team/shown"), "status_kind": "gitea", "status_url": where.url("/api/v1")}
    assert one.api.patch(one.config, {"options": forge}).status == 200
    where.statuses = [503] * 9
    waits = one.start("url", commit=commit)
    one.end(waits)
    process.wait_for(lambda: stand(one, waits)["status"]["tries"] > 0, 60, "the first try")
    again = stand(one, waits)["status"]
    assert (again["of"], again["state"], again["status"], again["host"]) == ("Complete", "Waiting", 503, host)
    assert again["tried_at"] < again["next_at"]
    where.statuses = []
    process.wait_for(lambda: stand(one, waits)["status"]["state"] == "Delivered", 60, "another try")


# --- statuses of commits (13.48) ---

def schema(states, label, **more):
    return {"type": "object", "additionalProperties": False, "required": ["state", label],
            "properties": {"state": {"enum": states}, label: {"type": "string", "maxLength": 255},
                           "target_url": {"type": "string", "format": "uri"},
                           "description": {"type": "string", "maxLength": 140}, **more}}


# As each documents its request: where, who, what; and which states a build goes through.
FORGES = {
    "github": ("/api/v3", "/api/v3/repos/team/{app}/statuses/{sha}", ("authorization", f"Bearer {TOKEN}"),
               schema(["error", "failure", "pending", "success"], "context"), ["pending", "pending", "success"], "failure"),
    "gitea": ("/api/v1", "/api/v1/repos/team/{app}/statuses/{sha}", ("authorization", f"token {TOKEN}"),
              schema(["pending", "success", "error", "failure", "warning"], "context"),
              ["pending", "pending", "success"], "failure"),
    "gitlab": ("/api/v4", "/api/v4/projects/team%2F{app}/statuses/{sha}", ("private-token", TOKEN),
               schema(["pending", "running", "success", "failed", "canceled", "skipped"], "name", ref={"type": "string"}),
               ["pending", "running", "success"], "failed"),
}


@pytest.mark.parametrize("kind", ["github", "gitlab", pytest.param("gitea", marks=pytest.mark.long)])  # more of it below
def test_a_commit_gets_a_status(told, receivers, remote, kind):
    """s2i 13.48: waiting, running, how it ended; at the address, with the token and in the words of each forge."""
    base, path, (header, value), words, states, failed = FORGES[kind]
    where, app = receivers[0], f"app-{kind}"
    first, second = remote.repository(f"team/{app}", {"a": "1"}), remote.commit(f"team/{app}", {"a": "2"})
    one = told(url=remote.url(f"team/{app}"), builder="builders/slow", status_kind=kind, status_url=where.url(base) + "/")
    one.secret("status", "forge", TOKEN)
    one.start("url", commit=first)
    id = one.start("url", commit=second, ref="refs/heads/main")  # waits for the first
    for count in (1, 2):  # what is told is how it stands by then: nothing goes on before it is
        came(where, path.format(app=app, sha=second), count)
        GATE.open()
    said = came(where, path.format(app=app, sha=second), 3)
    assert [document["state"] for _, document in said] == states
    for headers, document in said:
        jsonschema.validate(document, words)
        assert headers[header] == value and headers["content-type"] == "application/json"
        assert document["target_url"] == f"https://registry.example/api/v1/builds/{id}"
        assert document.get("context", document.get("name")) == f"slipway/{one.name}"
        assert document.get("ref", "main") == "main"
    assert said[2][1]["description"] == one.end(id)["result_digest"]
    third = remote.commit(f"team/{app}", {".s2i/bin/assemble": "exit 3\n"})
    one.start("url")  # its commit is known once it is fetched
    process.wait_for(lambda: [document["state"] for _, document in where.of(path.format(app=app, sha=third))][-1:] == [failed],
                     60, "the failure")
    assert TOKEN not in one.server.log.read_text()


def test_the_token_goes_nowhere_else(told, receivers, remote):
    """s2i 13.48, 16.12: who asks for a build may name another source, but no other place gets the token."""
    mine, evil = receivers
    commit = remote.repository("team/mine", {"a": "1"})
    remote.repository("team/other", {"a": "2"})  # else its commit may be the same
    one = told(url=remote.url("team/mine"), status_kind="gitea", status_url=mine.url("/api/v1"))
    one.secret("status", "forge", TOKEN)
    one.end(one.start("url", url=remote.url("team/other")))
    refused = one.api.post(f"/repos/{one.name}/-/builds", {"source": "url", "options": {"status_url": evil.url()}})
    assert refused.status == 422
    for value in ("a\r\nX-Evil: yes", "two words", "\u00e9", ""):
        assert one.api.put(f"{one.config}/secrets/status/forge", {"value": value}).status == 422
    one.end(one.start("url", commit=commit))
    process.wait_for(lambda: [said["state"] for _, said in mine.of(f"/api/v1/repos/team/mine/statuses/{commit}")][-1:] ==
                     ["success"], 60, "its status")
    ours = {path for path, _, body in mine.said if f"slipway/{one.name}" in body.decode()}  # others may still be told of theirs
    assert ours == {f"/api/v1/repos/team/mine/statuses/{commit}"} and evil.said == []


def test_a_token_stays_with_the_forge_it_was_given_for(told, receivers, remote):
    """s2i 16.12: whoever changes where statuses go cannot read the token, and does not get it sent."""
    mine, evil = receivers
    commit = remote.repository("team/kept", {"a": "1"})
    statuses = f"repos/team/kept/statuses/{commit}"
    one = told(url=remote.url("team/kept"))
    nowhere = one.api.put(f"{one.config}/secrets/status/forge", {"value": TOKEN})
    assert nowhere.status == 409, nowhere  # else the first who says where has it

    def ended(where, **options):
        assert one.api.patch(one.config, {"options": options}).status == 200
        one.end(one.start("url", commit=commit))
        process.wait_for(lambda: [said["state"] for _, said in where.of(f"/{statuses}")][-1:] == ["success"], 60, "its status")
        heads = [head for head, _ in where.of(f"/{statuses}")]
        where.said.clear()
        return heads
    ended(mine, status_kind="gitea", status_url=mine.url())
    one.secret("status", "forge", TOKEN)
    assert all(TOKEN not in str(head) for head in ended(evil, status_url=evil.url()))
    assert all(TOKEN not in str(head) for head in ended(evil, status_kind="github"))
    assert all(head["authorization"] == f"token {TOKEN}" for head in ended(mine, status_kind="gitea", status_url=mine.url()))
    one.secret("status", "other", "another-token")
    assert one.api.patch(one.config, {"options": {"status_url": mine.url("/deeper")}}).status == 200
    one.secret("status", "deeper", "deeper-one")
    assert all(head["authorization"] == "token another-token" for head in ended(mine, status_url=mine.url()))


def test_a_forge_that_asks_for_patience(told, receivers, remote):
    """Server errors are tried again, refusals are not."""
    where = receivers[0]
    commit = remote.repository("team/patience", {"a": "1"})
    path = f"/api/v1/repos/team/patience/statuses/{commit}"
    one = told(url=remote.url("team/patience"), status_kind="gitea", status_url=where.url("/api/v1"))
    where.statuses = [403] * 3
    one.end(one.start("url", commit=commit))
    process.wait_for(lambda: [said["state"] for _, said in where.of(path)][-1:] == ["success"], 60, "its status")
    refused = len(where.of(path))
    where.statuses = [503] * 4
    one.end(one.start("url", commit=commit, rebuild=True))
    process.wait_for(lambda: len(where.of(path)) > refused and not where.statuses or
                     [said["state"] for _, said in where.of(path)][-2:] == ["success"] * 2, 60, "another try")


# --- waiting (13.49) ---

def test_a_build_that_waits_too_long(told):
    """s2i 13.49: from its creation; with a reason of its own; what runs is another limit's."""
    one = told(builder="builders/slow")
    first = one.start(rebuild=True)  # until the gate opens; they come one after the other
    late = one.start(queue_timeout_ms=1000)
    ended = one.end(late)
    assert (ended["state"], ended["reason"], ended["started_at"]) == ("Cancelled", "QueueTimeout", None)
    assert one.api.get(f"/builds/{first}").json()["state"] == "Running"
    GATE.open()
    assert one.end(first)["state"] == "Complete"
