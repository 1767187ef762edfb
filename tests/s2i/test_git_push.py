"""test_git_push.py - pushes and their builds: verdicts, tags, options, and clients that go.

Touches  the registry of conftest.py, and servers of its own; runs git.
Never    looks into a build's container: that is the builder's tests'.
"""
import json
import os
import re
import signal
import subprocess

import pytest

from support import building, process, remains

FAILS = {".s2i/bin/assemble": "#!/bin/sh\necho no luck; exit 7\n"}
BUILDER = ("-o", "builder=builders/test")


def url(server, name):
    return f"http://{server.host}/git/{name}.git"


def push(app, server, name, *refs, words=(), check=True):
    return building.git(app.folder, "push", *BUILDER, *words, url(server, name), *(refs or ("main",)), check=check)


def begin(app, server, name, *words):
    """A push that goes on: with processes of its own, as a terminal's."""
    return subprocess.Popen(["git", "push", *BUILDER, *words, url(server, name), "main"], cwd=app.folder, text=True,
                            env=building.environment(), start_new_session=True, stderr=subprocess.PIPE)


def refs(server, name):
    listed = building.git("/", "ls-remote", url(server, name), check=False).stdout
    return {line.split("\t")[1]: line.split("\t")[0] for line in listed.splitlines()}


def tags(server, name):
    """tag -> digest"""
    client = server.client()
    answer = client.get(f"/v2/{name}/tags/list")
    found = (answer.json()["tags"] or []) if answer.status == 200 else []
    digests = {tag: building.manifest(server, name, tag)[0] for tag in found}
    client.close()
    return digests


def builds(server, name):
    """Newest first."""
    client = server.client()
    answer = client.get(f"/api/v1/repos/{name}/-/builds")
    client.close()
    return answer.json()["items"] if answer.status == 200 else []


def configure(server, name, **fields):
    client = server.client()
    answer = client.put(f"/api/v1/repos/{name}/-/build-config", body=json.dumps({"options": fields}).encode(),
                        headers=[("Content-Type", "application/json")])
    assert answer.status in (200, 201), answer.body
    client.close()


def sleeper(stop="sleep 60"):
    return {".s2i/bin/assemble": f"#!/bin/sh\necho begun\n{stop}\n"}


def said_begun(one):
    """Reads what the push says, until assemble has begun."""
    text = ""
    for line in one.stderr:
        text += line
        if "begun" in line:
            return text
    raise AssertionError(text)


def leave(one):
    """Ctrl-C"""
    os.killpg(one.pid, signal.SIGINT)
    one.wait(60)
    one.stderr.close()


def test_tags_follow_the_refs(server, source, name):
    """s2i 13.21: the default branch, a version, another branch, a tag that was asked for."""
    app = source({"a": "1"})
    said = push(app, server, name).stderr
    digest = building.manifest(server, "builders/test")[0][:19]
    lines = [line[8:].rstrip() for line in said.splitlines() if line.startswith("remote: ")]
    assert re.fullmatch(rf"build \d+: main to {name}:latest, builders/test@{digest}", lines[0])
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", lines[-2].strip())
    commit = f"git-{app.head()[:12]}"
    first = tags(server, name)
    assert set(first) == {"latest", "main", commit} and len(set(first.values())) == 1
    building.git(app.folder, "tag", "-a", "v1.2", "-m", "one")
    push(app, server, name, "v1.2")
    assert tags(server, name)["v1.2"]
    said = push(app, server, name, "main:topic").stderr
    assert "topic: accepted, not built; push to main, or with -o tag=NAME" in said
    assert "topic" not in tags(server, name) and "refs/heads/topic" in refs(server, name)
    push(app, server, name, "main:other", words=("-o", "tag=asked"))
    assert "asked" in tags(server, name) and "other" not in tags(server, name)


def test_an_image_loses_its_tags_to_the_next_one(server, source, name):
    """s2i 7.11, 8.6: all tags of a push stand for one digest, which is told; the image before keeps its commit's only."""
    app = source({"a": "1"})
    push(app, server, name)
    first, old = app.head(), tags(server, name)["latest"]
    app.commit({"a": "2"})
    said = push(app, server, name).stderr
    now = tags(server, name)
    assert now["latest"] == now["main"] == now[f"git-{app.head()[:12]}"] != old and now["latest"] in said
    assert [tag for tag, digest in now.items() if digest == old] == [f"git-{first[:12]}"]


def test_a_quiet_build_keeps_the_connection_alive(server, source, name):
    """s2i 13.8: after five seconds without a word comes a packet without one."""
    app = source({"a": "1", ".s2i/bin/assemble": "#!/bin/sh\nsleep 8\n"})
    trace = building.git(app.folder, "push", *BUILDER, url(server, name), "main", GIT_TRACE_PACKET="1").stderr
    assert re.search(r"sideband< \\1$", trace, re.M), trace


def test_the_first_line_is_short(server, source, name):
    """s2i 13.26: under 80 columns with what git writes before it, however long names are."""
    long = f"{name}-{'long-' * 20}end"
    said = push(source({"a": "1"}), server, long, f"main:{'b' * 60}", words=("-o", f"tag={'t' * 90}",)).stderr
    line = next(line for line in said.splitlines() if line.startswith("remote: build ")).rstrip()
    assert len(line) < 80 and "@sha256:" in line and "ttt" in line and "bbb" in line


def test_long_sentences_go_on_in_the_next_line(server, source, name):
    """s2i 13.26: under 80 columns, indented below their heading; the log has the same lines."""
    folder = source({"a": "1"}).folder
    done = building.git(folder, "push", "-o", "builder=builders/none", url(server, name), "main", check=False)
    said = [line.rstrip()[len("remote: "):] for line in done.stderr.splitlines() if line.startswith("remote: ")]
    told = said[said.index("-----> PullBuilderImageFailed") + 1:-1]
    assert max(map(len, said)) < 80 - len("remote: ") and len(told) == 2, said
    assert told[0].startswith("       there is no image builders/none here,") and re.match(" {7}[a-z]", told[1]), told


def test_a_table_of_branches(server, source, name):
    """s2i 13.21, 13.22: which are built, as what; two that mean one tag are refused, both named."""
    configure(server, name, branches=["release/*=r-*,stable", "x/*=*", "refs/tags/t*=*"])
    app = source({"a": "1"})
    push(app, server, name, "main:release/1", "main:x/a.b")
    assert {"r-1", "stable", "a.b"} <= set(tags(server, name))
    done = push(app, server, name, "main:x/c/d", "main:x/c-d", "main:x/e", check=False)
    assert done.returncode == 1
    assert done.stderr.count("c-d would be x/c/d and x/c-d") == 2
    assert "refs/heads/x/e" in refs(server, name) and "refs/heads/x/c-d" not in refs(server, name)
    assert "c-d" not in tags(server, name) and "e" in tags(server, name)
    done = push(app, server, name, "main:x/a-b", "main:x/a/b", check=False)
    assert "a-b would be" in done.stderr


def test_a_branch_that_means_the_tag_of_one_that_is_there(server, source, name):
    """s2i 13.21"""
    configure(server, name, branches=["*=*"])
    app = source({"a": "1"})
    push(app, server, name, "main:a/b")
    done = push(app, server, name, "main:a-b", check=False)
    assert done.returncode == 1 and "a-b would be a-b and a/b" in done.stderr
    push(app, server, name, ":a/b", "main:a-b")  # the other goes in the same push
    assert "refs/heads/a-b" in refs(server, name)


def test_a_failing_build_moves_nothing(server, source, name):
    """s2i 7.10, 13.7, 13.23, 13.24: the reason names the build; of several refs each has its verdict."""
    app = source({"a": "1"})
    push(app, server, name)
    before = tags(server, name)
    good = app.head()
    app.commit(FAILS)
    building.git(app.folder, "tag", "v2")
    done = push(app, server, name, "main", "v2", f"{good}:refs/heads/extra", check=False)
    assert done.returncode == 1 and "no luck" in done.stderr
    reasons = re.findall(r"\[remote rejected\] (\S+) -> \S+ \((build \d+ failed: AssembleFailed)\)", done.stderr)
    assert [ref for ref, _ in reasons] == ["main", "v2"]
    said = [line.rstrip() for line in done.stderr.splitlines() if line.startswith("remote: ")]
    assert said.count("remote: -----> AssembleFailed") == 2  # once each, 13.26: within 80 columns
    assert done.stderr.count("Assemble script failed") == 2 and max(map(len, said)) <= len("remote: ") + 80
    assert any(re.fullmatch(r"remote: -----> Build \d+ failed: main stays as it was", line) for line in said)
    assert refs(server, name) == {"HEAD": good, "refs/heads/main": good, "refs/heads/extra": good}
    assert tags(server, name) == before
    done = push(app, server, name, "main", f"{good}:refs/tags/v3", words=("--atomic",), check=False)
    assert done.returncode == 1 and "refs/tags/v3" not in refs(server, name) and tags(server, name) == before


def test_async_pushes(server, source, name):
    """s2i 13.23: the ref moves at once, the tags when the build is done; also by the configuration."""
    app = source({"a": "1"})
    said = push(app, server, name, words=("-o", "async")).stderr
    number = builds(server, name)[0]["id"]
    assert f"remote: http://{server.host}/api/v1/builds/{number}" in said  # as the client calls the server
    number = re.search(r"build (\d+) goes on without this push", said)[1]
    assert f"/api/v1/builds/{number}" in said and refs(server, name)["refs/heads/main"] == app.head()
    process.wait_for(lambda: "latest" in tags(server, name), 20, "the build")
    configure(server, name, push_mode="accept")
    app.commit(FAILS)
    push(app, server, name)
    assert refs(server, name)["refs/heads/main"] == app.head()
    process.wait_for(lambda: builds(server, name)[0]["state"] == "Failed", 20, "its failure")
    assert push(app, server, name, "main:main2", words=("-o", "wait", "-o", "tag=x"), check=False).returncode == 1


def test_what_options_may(server, source, name):
    """s2i 13.23: env only where it is allowed; nothing is built of what is refused."""
    app = source({"a": "1"})
    done = push(app, server, name, words=("-o", "env=A=B"), check=False)
    assert done.returncode == 1 and "env is not allowed here" in done.stderr
    assert not refs(server, name) and not builds(server, name)
    configure(server, name, allow_push_env=True)
    push(app, server, name, words=("-o", "env=A=B"))
    assert "A=B" in building.manifest(server, name)[2]["config"]["Env"]
    first = tags(server, name)["latest"]
    said = push(app, server, name, "main:again", words=("-o", "env=A=B", "-o", "tag=again")).stderr
    assert "Nothing to build" in said and tags(server, name)["again"] == first
    said = push(app, server, name, "main:anew", words=("-o", "env=A=B", "-o", "tag=anew", "-o", "rebuild")).stderr
    assert "---> assembling" in said


def test_protected_branches_and_tags(server, source, name):
    """s2i 13.12: no force, no deletion; going on is fine. A tag of the registry that may not move is told."""
    configure(server, name, protected_branches=["main"])
    app = source({"a": "1"})
    push(app, server, name)
    first = app.head()
    app.commit({"a": "2"})
    push(app, server, name)
    done = push(app, server, name, f"{first}:main", words=("-f",), check=False)
    assert "(protected: it may not be forced)" in done.stderr
    assert "(protected: it may not be deleted)" in push(app, server, name, ":main", check=False).stderr
    assert refs(server, name)["refs/heads/main"] == app.head()
    push(app, server, name, f"{first}:refs/heads/free", words=("-o", "no-build"))
    push(app, server, name, ":free")
    client = server.client()
    marked = client.patch(f"/api/v1/repos/{name}/-/tags/latest", body=b'{"immutable": true}',
                          headers=[("Content-Type", "application/json")])
    assert marked.status == 200, marked.body
    client.close()
    app.commit({"a": "3"})
    count = len(builds(server, name))
    assert "(the image tag latest may not move)" in push(app, server, name, check=False).stderr
    assert len(builds(server, name)) == count


def test_deleting_a_ref_leaves_the_image(server, source, name):
    """s2i 13.12"""
    app = source({"a": "1"})
    push(app, server, name, "main", "main:other")
    before = tags(server, name)
    push(app, server, name, ":main")
    assert tags(server, name) == before and "refs/heads/main" not in refs(server, name)


def test_a_client_that_leaves_cancels(server, source, name):
    """s2i 13.25: Ctrl-C while assemble runs: long before it would end the build is cancelled, and no ref is there."""
    app = source(sleeper("sleep 600"))
    one = begin(app, server, name)
    said_begun(one)
    leave(one)
    process.wait_for(lambda: builds(server, name)[0]["state"] == "Cancelled", 15, "the cancelled build")
    assert "the pusher left" in json.dumps(builds(server, name)[0])
    assert not refs(server, name) and not tags(server, name)


def test_a_client_that_leaves_may_be_let_go(server, source, name, tmp_path):
    """s2i 13.25: with on_disconnect continue the push ends as if its client were there."""
    configure(server, name, on_disconnect="continue")
    app = source(sleeper("sleep 1; cp -R /tmp/src/. /opt/app-root/src/; yes | head -20000"))
    one = begin(app, server, name)
    said_begun(one)
    leave(one)
    process.wait_for(lambda: refs(server, name).get("refs/heads/main") == app.head(), 20, "the ref")
    build = builds(server, name)[0]
    assert build["state"] == "Complete" and build["left_by"] == build["actor"] and build["ended_by"] is None
    assert {"latest", "main"} <= set(tags(server, name))


def test_a_client_that_leaves_the_queue(server, source, name):
    """s2i 13.25, 13.43: a build that waits is shown to wait; it leaves the queue with its pusher."""
    app, other = source(sleeper("sleep 600")), source({"b": "1"})
    first = begin(app, server, name)
    said_begun(first)
    before = remains.gits(server)
    second = subprocess.Popen(["git", "push", *BUILDER, url(server, name), "main:second"], cwd=other.folder, text=True,
                              env=building.environment(), start_new_session=True, stderr=subprocess.PIPE)
    assert f"waiting for another push to {name}" in second.stderr.readline()
    leave(second)
    process.wait_for(lambda: not remains.gits(server) - before, 20, "its git ends: the server saw that it left")
    leave(first)
    process.wait_for(lambda: all(one["state"] == "Cancelled" for one in builds(server, name)), 15, "the end")
    assert len(builds(server, name)) == 1 and not refs(server, name)
    push(other, server, name)  # nobody holds the repository any more


def test_a_build_that_waits_is_told(server, source, name):
    """s2i 13.43: the queue of a repository is seen by its next pusher."""
    configure(server, name, push_mode="accept")
    app = source(sleeper("sleep 600"))
    push(app, server, name)
    process.wait_for(lambda: builds(server, name)[0]["state"] == "Running", 20, "the first build")
    app.commit({".s2i/bin/assemble": None})
    one = begin(app, server, name, "-o", "wait")
    assert "build" in one.stderr.readline()
    assert "it is the next" in one.stderr.readline()
    other = begin(app, server, name, "-o", "wait")
    assert f"waiting for another push to {name}" in other.stderr.readline()
    leave(other)
    client = server.client()
    for build in builds(server, name):
        if build["state"] == "Running":
            assert client.post(f"/api/v1/builds/{build['id']}:cancel").status in (200, 202, 204)
    client.close()
    assert one.wait(90) == 0, one.stderr.read()
    one.stderr.close()


def test_a_push_when_the_server_ends(make_server, source, name):
    """s2i 13.a, 13.41: git ends with the server; no ref, no tag, no lock is left; pushing again works."""
    server = make_server({"server.drain_timeout": "100ms"})
    building.builder(server)
    app = source(sleeper("sleep 600"))
    for end in (server.stop, server.kill):
        one = begin(app, server, name)
        said_begun(one)
        end()
        one.wait(60)
        one.stderr.close()
        before = server.log.stat().st_size
        server.start()
        assert not refs(server, name) and not tags(server, name)
        process.wait_for(lambda: b"builder.connected" in server.log.read_bytes()[before:], 20, "a builder")
    client = server.client()
    first = client.get("/api/v1/builds/1").json()
    assert "the server was stopped" in first["message"] or first["reason"] == "ServerRestarted", first
    client.close()
    app.commit({".s2i/bin/assemble": None})
    push(app, server, name)
    assert refs(server, name)["refs/heads/main"] == app.head()


def test_pushes_of_others_at_once(server, source, name):
    """s2i 13.42: pushes to other repositories wait for none of each other's."""
    apps = [source({"a": str(i)}) for i in range(6)]
    started = [begin(app, server, f"{name}-{i}") for i, app in enumerate(apps)]
    for i, one in enumerate(started):
        assert one.wait(300) == 0, one.stderr.read()
        one.stderr.close()
        assert "latest" in tags(server, f"{name}-{i}")


@pytest.mark.parametrize("branch", [b"-x", b"b\xff\xc3"])
def test_a_first_branch_that_is_refused_for_its_name(server, source, name, branch):
    """s2i 13.12, 13.22: it was looked for as what a clone would check out, and the server ended."""
    app = source({"index.html": "x"})
    done = subprocess.run([b"git", b"push", url(server, name).encode(), b"main:refs/heads/" + branch], cwd=app.folder,
                          env=building.environment(), capture_output=True, timeout=60)
    assert done.returncode == 1 and b"this is no name for a branch or tag" in done.stderr, done.stderr
    assert push(app, server, name).returncode == 0
