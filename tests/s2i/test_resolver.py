"""test_resolver.py - names of strangers' hosts: what name servers say, slowly or not at all, holds nobody up.

Spec: s2i 16.10."""
import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from support import api, building, gitserver, nameserver, process, workshop

PROBE = pathlib.Path(os.environ.get("SLIPWAY_BUILD", process.TOP / "build/release")) / "tests/support/source_probe"
PROMPT = nameserver.TIMEOUT / 2  # seconds, where the resolver would take six times as long


@pytest.fixture
def names(tmp_path):
    one = nameserver.NameServer(tmp_path, {"here.test": "127.0.0.1", "private.test": "10.1.2.3",
                                           "broken.test": nameserver.FAILURE, "empty.test": nameserver.NOTHING,
                                           **dict.fromkeys(("silent.test", "silent2.test", "mute.test"))})
    yield one
    one.close()


@pytest.fixture
def ask(names, tmp_path):
    """ask(url): the probe's answer; of a fetch, or with post of a small request."""
    def call(url, stop_after=None, **orders):
        asked = {"url": url, "schemes": ["http", "https"], "ports": [url.split(":")[2].split("/")[0]], "allow": ["127.0.0.0/8"],
                 "scratch": str(tmp_path), "tar": str(tmp_path / "tar"), **orders}
        before = names.asked.count("silent.test")
        child = subprocess.Popen(names.words(PROBE), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        child.stdin.write(json.dumps(asked).encode())
        child.stdin.flush()
        if stop_after is not None:
            process.wait_for(lambda: names.asked.count("silent.test") > before, 30, "the question")
            child.stdin.write(b"\n")
            child.stdin.flush()
        answer = json.loads(child.stdout.read())
        child.stdin.close()
        assert child.wait(30) == 0
        gone("silent.test")
        return answer
    return call


def asking(host):
    """Children that still ask."""
    found = []
    for one in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [one] if f"\0resolve\0{host}".encode() in one.read_bytes() else []
        except OSError:
            pass
    return found


def gone(host):
    """Nobody asks any more: a child that was killed takes a moment to go."""
    process.wait_for(lambda: not asking(host), 10, "the end of whoever asks")


def test_what_name_servers_say(ask, tmp_path):
    remote = gitserver.GitServer(tmp_path / "remote")
    try:
        commit = remote.repository("app", {"one": "1"})
        answer = ask(remote.url("app", "here.test"))
        assert answer.get("facts", answer).get("commit") == commit, answer
    finally:
        remote.close()
    for host, words in (("private.test", "a private address"), ("none.test", "has no address"), ("empty.test", "has no address"),
                        ("broken.test", "no name server answers")):
        answer = ask(f"http://{host}:8080/app.git")
        assert answer["reason"] == "FetchSourceFailed" and words in answer["message"] and host in answer["message"], answer
        assert answer["code"] == "invalid", answer
    assert ask("http://none.test:8080/", post="{}")["code"] == "invalid"
    assert ask("http://broken.test:8080/", post="{}")["code"] == "unavailable", "another time may do"


def test_a_name_server_that_says_nothing(ask):
    for orders in ({}, {"post": "{}"}):
        begun = time.monotonic()
        answer = ask("http://silent.test:8080/app.git", timeout_ms=300, **orders)
        assert "no name server answers" in answer["message"] and "silent.test" in answer["message"], answer
        answer = ask("http://silent.test:8080/app.git", stop_after=0, **orders)
        assert answer["code"] == "unavailable" and "stopped" in answer["message"], answer
        assert time.monotonic() - begun < PROMPT


@pytest.fixture
def server(names):
    """A server that asks it."""
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        os.chmod(folder, 0o755)
        one = process.Server(folder, {"builds.enabled": "true"})
        words = one.arguments
        one.arguments = lambda: names.words(*words())
        yield one.start()
        one.finish()


def test_nobody_waits_for_it(server, names):
    """Neither who cancels a build, nor who stops the server while sources and callbacks wait for addresses."""
    process.wait_for(lambda: "builder.connected" in server.log.read_text(), 60, "a builder")
    building.builder(server)
    client = api.Api(server.target)

    def begin(url, **options):
        answer = client.post("/repos/app/-/builds", {"source": "url", "options": {"url": url, "builder": "builders/test", **options}})
        assert answer.status == 201, answer
        return answer.json()["id"]

    def asked(host):
        process.wait_for(lambda: host in names.asked, 30, f"a question for {host}")

    first = begin("https://silent.test/a.git")
    asked("silent.test")
    begun = time.monotonic()
    assert client.post(f"/builds/{first}:cancel").status == 200
    process.wait_for(lambda: client.get(f"/builds/{first}").json()["state"] == "Cancelled", 30, "its end")
    assert time.monotonic() - begun < PROMPT
    begin("https://private.test/a.git", callback_url="https://mute.test/told")
    asked("mute.test")
    begin("https://silent2.test/a.git")
    asked("silent2.test")
    client.close()
    begun = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begun < 6  # a receiver of callbacks has ten
    gone("")


@pytest.fixture
def shop(names):
    """A builder that asks it."""
    with tempfile.TemporaryDirectory(prefix="sw-") as folder:
        made = workshop.Workshop(pathlib.Path(folder) / "builder", names=names)
        yield made
        made.finish()


def test_a_build_ends_while_its_proxy_asks(shop, names):
    """s2i 16.9: the container is gone, and its questions with it."""
    gate = building.Gate()
    ask = workshop.ask_proxy(workshop.connect("silent.test:443"))
    script = f"#!/bin/sh\n{ask} >/dev/null 2>&1 &\n{gate.wait} || true\n"
    image = workshop.Image([building.base_tar({"assemble": script, "run": building.RUN}, {})])
    build = shop.begin(image, {"index.html": "x"}, options={"network": "proxy", "allow": ["silent.test:443"]})
    process.wait_for(lambda: "silent.test" in names.asked, 60, "the proxy's question")
    begun = time.monotonic()
    gate.open()
    outcome = build.end()
    assert outcome.result.get("reason", "") == "", outcome.text
    assert time.monotonic() - begun < PROMPT


def test_a_builder_asks_for_scripts(shop):
    """s2i 2.7: by the same child, from within a build's worker."""
    options = {"scripts_url": "https://private.test/scripts"}
    image = workshop.Image([building.base_tar({"run": building.RUN}, {})])
    outcome = shop.build(image, {"index.html": "x"}, options=options, scripts_by_http=True, script_schemes=["https"],
                         script_ports=["443"])
    assert "a private address" in json.dumps(outcome.result) + outcome.text, (outcome.result, outcome.text)
