"""test_push_steps.py - the server is killed at each named step of a push: afterwards refs and tags agree, nothing is half there.

Acceptance 20.10; s2i 7.10, 13.11, 13.a. Steps of the builder are test_restart.py's.
"""
import random
import socket
import subprocess
import time

import pytest

from support import building, freezing, process, remains

BUILDER = ("-o", "builder=builders/test")
GATE = """#!/bin/sh
echo begun
while [ -e /tmp/src/slow ]; do sleep 0.1; done
cp -R /tmp/src/. /opt/app-root/src/
"""


@pytest.fixture(scope="module")
def server(folder):
    one = process.Server(folder / "steps", {"builds.enabled": "true", "builds.concurrency": "1"})
    one.start()
    connected(one, 0)
    building.builder(one, assemble=GATE)
    yield one
    one.finish()


def connected(server, before):
    process.wait_for(lambda: b"builder.connected" in server.log.read_bytes()[before:], 60, "a builder")


def begin(app, server, name, *refs):
    return subprocess.Popen(["git", "push", *BUILDER, f"http://{server.host}/git/{name}.git", *(refs or ("main",))],
                            cwd=app.folder, env=building.environment(), start_new_session=True, text=True,
                            stderr=subprocess.PIPE)


def refs(server, name):
    listed = building.git("/", "ls-remote", f"http://{server.host}/git/{name}.git", check=False).stdout
    return {line.split("\t")[1]: line.split("\t")[0] for line in listed.splitlines()}


def builds(server, name):
    client = server.client()
    answer = client.get(f"/api/v1/repos/{name}/-/builds")
    client.close()
    return answer.json()["items"] if answer.status == 200 else []


def revision(server, name, tag):
    """The commit that the tag's image was built of."""
    return building.manifest(server, name, tag)[1]["annotations"]["org.opencontainers.image.revision"]


def moves_kept(server):
    """Rows of build_moves, by a look that changes nothing."""
    return remains.rows(server, "SELECT count(*) FROM build_moves")[0][0]


def half_push(server, name, old, new):
    """The commands, and a pack that does not go on."""
    line = f"{old} {new} refs/heads/main\0report-status side-band-64k".encode()
    body = b"%04x" % (len(line) + 4) + line + b"0000PACK\0\0\0\2\0\0\0\3"
    head = (f"POST /git/{name}.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body) + 100}\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\n\r\n").encode()
    made = socket.create_connection(("127.0.0.1", server.port))
    made.sendall(head + body)
    return made


class Step:
    """Goes on until the step, and kills the server there."""

    def __init__(self, server, app, name, before):
        self.server, self.app, self.name, self.before = server, app, name, before

    def advertised(self):
        client = self.server.client()
        assert client.get(f"/git/{self.name}.git/info/refs?service=git-receive-pack").status == 200
        client.close()
        self.server.kill()

    def half_received(self):
        connection = half_push(self.server, self.name, self.before, self.app.head())
        path = self.server.root / "builds/repos" / f"{self.name}.git"
        process.wait_for(lambda: list(path.glob("objects/tmp_objdir*")), 30, "objects that come in")
        self.server.kill()
        connection.close()

    def at(self, hook, when, state=""):
        step = freezing.Frozen(self.server, self.name, hook, when, state)
        push = begin(self.app, self.server, self.name)
        step.reached()
        self.server.kill()
        step.go()
        self.ended(push)

    def ended(self, push):
        push.wait(60)
        push.stderr.close()

    def in_quarantine(self):
        self.at("pre-receive", "before")

    def commands_received(self):
        self.at("proc-receive", "before")

    def published_with_held_tags(self):
        self.at("proc-receive", "after")

    def refs_locked(self):
        self.at("reference-transaction", "before", "prepared")

    def tags_moved(self):
        self.at("reference-transaction", "after", "prepared")

    def ref_moved(self):
        self.at("reference-transaction", "before", "committed")

    def told_of_it(self):
        self.at("reference-transaction", "after", "committed")

    def running(self):
        self.app.commit({"slow": "1"})
        push = begin(self.app, self.server, self.name)
        assert any("begun" in line for line in push.stderr)
        self.server.kill()
        self.ended(push)
        self.app.commit({"slow": None})

    def queued(self, same=False):
        """Behind a build of another repository, or behind another push to this one."""
        other = self.name if same else f"{self.name}-other"
        self.app.commit({"slow": "1"})
        first = begin(self.app, self.server, other, "main:main", "main:side") if same else \
            begin(self.app, self.server, other)
        assert any("begun" in line for line in first.stderr)
        self.app.commit({"slow": None})
        push = begin(self.app, self.server, self.name)
        assert any(("another push" if same else "build") in line for line in push.stderr)
        self.server.kill()
        self.ended(first)
        self.ended(push)

    def waiting_for_its_turn(self):
        self.queued(same=True)

    def report_sent(self):
        """And what the server does behind it is done."""
        push = begin(self.app, self.server, self.name)
        assert push.wait(60) == 0, push.stderr.read()
        process.wait_for(lambda: moves_kept(self.server) == 0, 30, "the end of the push")
        self.server.kill()
        push.stderr.close()


BEFORE = ("advertised", "half_received", "in_quarantine", "commands_received", "waiting_for_its_turn", "queued",
          "running", "published_with_held_tags", "refs_locked", "tags_moved")
AFTER = ("ref_moved", "told_of_it", "report_sent")


def agree(server, name, commit):
    """Ref and tags are of this commit."""
    assert refs(server, name).get("refs/heads/main") == commit
    for tag in ("latest", "main"):
        assert revision(server, name, tag) == commit


@pytest.mark.parametrize("step", BEFORE + AFTER)
def test_a_death_at_this_step(server, source, name, step):
    """A push over an earlier one: it happened, or it did not; in either case the same push works again."""
    app = source({"index.html": "1"})
    first = app.head()
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    agree(server, name, first)
    app.commit({"index.html": "2"})
    getattr(Step(server, app, name, first), step)()
    before = server.log.stat().st_size
    server.start()
    agree(server, name, first if step in BEFORE else app.head())  # from the first request on
    assert moves_kept(server) == 0
    process.wait_for(lambda: not freezing.tidy(server, name), 30, "nothing private is left")
    assert all(build["state"] not in ("New", "Pending", "Running") for build in builds(server, name))
    assert ("git.settled" in server.log.read_text()[before:]) == (step in ("tags_moved", "ref_moved", "told_of_it"))
    connected(server, before)
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    agree(server, name, app.head())
    building.git(server.root / "builds/repos" / f"{name}.git", "fsck", "--strict")


def test_the_first_push_dies_with_its_tags_moved(server, source, name):
    """There were no tags: there are none afterwards; the repository of sources has no ref."""
    app = source({"index.html": "1"})
    step = freezing.Frozen(server, name, "reference-transaction", "after", "prepared")
    push = begin(app, server, name)
    step.reached()
    client = server.client()
    assert "main" in client.get(f"/v2/{name}/tags/list").json()["tags"]
    client.close()
    server.kill()
    step.go()
    push.wait(60)
    push.stderr.close()
    before = server.log.stat().st_size
    server.start()
    client = server.client()
    assert not client.get(f"/v2/{name}/tags/list").json()["tags"] and not refs(server, name)
    client.close()
    connected(server, before)
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    agree(server, name, app.head())


def protect(server, name, tag):
    client = server.client()
    answer = client.patch(f"/api/v1/repos/{name}/-/tags/{tag}", body=b'{"immutable": true}',
                          headers=[("Content-Type", "application/json")])
    assert answer.status == 200, answer.body
    client.close()


@pytest.mark.parametrize("hook,when,state", [("proc-receive", "before", ""), ("reference-transaction", "before", "prepared")])
def test_a_tag_that_is_protected_meanwhile(server, source, name, hook, when, state):
    """Before the refs are locked git can say so for each ref; afterwards it says why, and ends. No tag moves, no ref."""
    app = source({"index.html": "1"})
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    first = app.head()
    app.commit({"index.html": "2"})
    step = freezing.Frozen(server, name, hook, when, state)
    push = begin(app, server, name)
    step.reached()
    protect(server, name, "latest")
    step.go()
    assert push.wait(60) == 1
    said = push.stderr.read()
    push.stderr.close()
    assert ("latest may not move)" if hook == "proc-receive" else "latest is immutable") in said
    agree(server, name, first)


def test_a_tag_that_is_protected_while_it_is_built(server, source, name):
    """s2i 13.7: what was free when the push was judged is looked at again before git is told."""
    app = source({"index.html": "1"})
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    first = app.head()
    gate = building.Gate()
    app.commit({"index.html": "2", ".s2i/bin/assemble": f"#!/bin/sh\n{gate.wait}; cp -R /tmp/src/. /opt/app-root/src/\n"})
    push = begin(app, server, name)
    process.wait_for(lambda: builds(server, name)[0]["state"] == "Running", 60, "the build")
    protect(server, name, "latest")
    gate.open()
    assert push.wait(60) == 1
    said = push.stderr.read()
    push.stderr.close()
    assert "latest may not move)" in said
    agree(server, name, first)


@pytest.mark.long
def test_deaths_at_any_moment_of_a_push(server, source, name):
    """The same, two hundred times, wherever it happens to be: ref and tags are of one and the same commit."""
    app = source({"index.html": "0"})
    building.git(app.folder, "push", *BUILDER, f"http://{server.host}/git/{name}.git", "main")
    stands, chance = app.head(), random.Random(7)
    for i in range(200):
        app.commit({"index.html": str(i)})
        push = begin(app, server, name)
        time.sleep(chance.uniform(0, 0.4))
        server.kill()
        push.wait(60)
        told = push.returncode == 0
        push.stderr.close()
        before = server.log.stat().st_size
        server.start()
        now = refs(server, name)["refs/heads/main"]
        assert now in (stands, app.head()) and (now == app.head() or not told)
        agree(server, name, now)
        stands = now
        connected(server, before)
