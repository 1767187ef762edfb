"""test_restart.py - the server or its builder dies at each step of a build: no half state, the queue goes on, nothing is left.

Acceptance 20.10. Steps are met by scripts that tell where they are; deaths are SIGKILL.
"""
import os
import signal
import threading
import time

import pytest

from support import building, process, remains

QUICK = "#!/bin/sh\ncp -R /tmp/src/. /opt/app-root/src/\n"
SLOW = "#!/bin/sh\necho at work\n{}\ncp -R /tmp/src/. /opt/app-root/src/\n"


def push_aside(app, server, name, *words):
    done = {}

    def push():
        done["result"] = app.push(server, name, "-o", "builder=builders/test", *words, check=False)
    thread = threading.Thread(target=push)
    thread.start()
    return thread, done


def at_work(server):
    logs = server.root / "builds/logs"
    process.wait_for(lambda: any("at work" in path.read_text(errors="replace") for path in logs.glob("*.log")), 60, "assemble runs")


def tags(server, name):
    client = server.client()
    answer = client.get(f"/v2/{name}/tags/list")
    client.close()
    return answer.json()["tags"] if answer.status == 200 else []


def test_the_server_dies_in_the_middle(make_server, source, name):
    """s2i 13.41, 16.14: the push fails, the build is an error, no tag, nothing of it is left; the next push works."""
    server = make_server()
    building.builder(server)
    app = source({"index.html": "x", ".s2i/bin/assemble": SLOW.format("sleep 1000")})
    thread, done = push_aside(app, server, name)
    at_work(server)
    below = [pid for pid, _ in remains.children(server.pid)]
    server.kill()
    thread.join(60)
    assert done["result"].returncode != 0
    remains.wait_gone(below)
    before = server.log.stat().st_size
    server.start()
    process.wait_for(lambda: b"builder.connected" in server.log.read_bytes()[before:], 60, "a builder")
    client = server.client()
    build = client.get(f"/api/v1/repos/{name}/-/builds").json()["items"][0]
    assert build["state"] == "Error" and tags(server, name) == []
    remains.wait_none(server)
    app.commit({".s2i/bin/assemble": QUICK})
    app.push(server, name, "-o", "builder=builders/test")
    assert "main" in tags(server, name)


def test_the_builder_dies_in_the_middle(make_server, source, name):
    """The push is rejected, the registry runs on, another builder comes and builds."""
    server = make_server()
    building.builder(server)
    app = source({"index.html": "x", ".s2i/bin/assemble": SLOW.format("sleep 1000")})
    thread, done = push_aside(app, server, name)
    at_work(server)
    os.kill(remains.builder_of(server), signal.SIGKILL)
    thread.join(60)
    assert done["result"].returncode == 1 and "builder" in done["result"].stderr
    app.commit({".s2i/bin/assemble": QUICK})
    process.wait_for(lambda: app.push(server, name, "-o", "builder=builders/test", check=False).returncode == 0, 60,
                     "a build by the next builder", 0.5)
    remains.wait_none(server)


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3])
def test_a_death_at_any_moment(make_server, source, name, moment):
    """A small build takes some 0.2 s: whenever the server dies, ref and tag agree afterwards, and a push works."""
    server = make_server()
    building.builder(server)
    app = source({"index.html": "x"})
    thread, done = push_aside(app, server, name)
    time.sleep(moment)
    server.kill()
    thread.join(60)
    before = server.log.stat().st_size
    server.start()
    process.wait_for(lambda: b"builder.connected" in server.log.read_bytes()[before:], 60, "a builder")
    refs = building.git(app.folder, "ls-remote", f"http://127.0.0.1:{server.port}/git/{name}.git", check=False).stdout
    if "refs/heads/main" in refs:
        assert "main" in tags(server, name)
    remains.wait_none(server)
    app.commit({"index.html": "y"})
    app.push(server, name, "-o", "builder=builders/test")
    assert building.layer_entries(server, name)["opt/app-root/src/index.html"][1] == b"y"


def test_the_builder_of_a_waiting_build_stays(make_server, source, name):
    """s2i 2.10 and (2) of s2i.h: the digest of when it was asked for is built, though the tag moved and went meanwhile."""
    server = make_server({"builds.concurrency": "1"})
    first = building.builder(server)
    gate = building.Gate()
    slow = source({"index.html": "x", ".s2i/bin/assemble": SLOW.format(gate.wait)})
    quick = source({"index.html": "y"})
    one, _ = push_aside(slow, server, name)
    at_work(server)
    two, done = push_aside(quick, server, f"{name}-waits")
    client = server.client()
    process.wait_for(lambda: client.get(f"/api/v1/repos/{name}-waits/-/builds").json().get("items"), 60, "the build waits")
    building.builder(server, assemble="#!/bin/sh\nexit 1\n")
    pins = client.get("/api/v1/repos/builders/test/-/pins").json()["items"]
    assert any(pin["name"].startswith("build-") for pin in pins)
    gate.open()
    one.join()
    two.join()
    assert done["result"].returncode == 0, done["result"].stderr
    assert building.manifest(server, f"{name}-waits")[1]["annotations"]["org.opencontainers.image.base.digest"] == first
    process.wait_for(lambda: not client.get("/api/v1/repos/builders/test/-/pins").json()["items"], 30, "nothing is pinned any more")
    client.close()
