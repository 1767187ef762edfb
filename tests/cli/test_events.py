"""test_events.py - slipway events: a line an event, filters, what was missed, a server that goes and comes back."""
import json
import signal
import subprocess
import threading

import pytest
from conftest import PROGRAM, clean_environment, wait_for

from support import content, wire

USAGE, UNREACHABLE = 2, 6


def push(server, tag, name="team/app"):
    client = wire.Client(wire.Target("127.0.0.1", int(server.url.rpartition(":")[2]), None))
    content.push_image(client, name, tag)
    client.close()


class Following:
    """The command while it runs, and the lines it has printed."""

    def __init__(self, words):
        self.child = subprocess.Popen([PROGRAM, "events", *words], env=clean_environment(), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.errors = [], []
        self.readers = [threading.Thread(target=self.read, args=pair) for pair in
                        ((self.child.stdout, self.lines), (self.child.stderr, self.errors))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.append(line)

    def seen(self, text):
        return wait_for(lambda: any(text in line for line in self.lines), what=text)

    def end(self):
        self.child.kill()
        self.child.wait()
        for reader in self.readers:
            reader.join()
        self.child.stdout.close(), self.child.stderr.close()


@pytest.fixture
def follow(words):
    made = []

    def start(*more):
        made.append(Following([*more, *words]))
        return made[-1]

    yield start
    for one in made:
        one.end()


def test_a_line_an_event(serve, follow, slipway, words):
    server = serve()
    push(server, "before")
    following, quiet = follow("--recent"), follow("--recent", "--kind", "delete,job", "--repository", "team/*")
    following.seen("before")
    push(server, "v1.0")
    following.seen("v1.0")
    line = next(line for line in following.lines if "v1.0" in line).split()
    assert line[1:4] == ["push", "team/app", "v1.0"] and line[4].startswith("sha256:") and line[5:] == ["push", "-"]
    assert slipway("tag", "rm", "team/app", "v1.0", "--yes", *words).returncode == 0
    quiet.seen("delete")
    assert len(quiet.lines) == 1 and not quiet.errors
    following.child.terminate()
    assert following.child.wait(60) != 0


def test_once_as_json(serve, slipway, words):
    server = serve()
    for tag in ("1.0", "2.0"):
        push(server, tag)
    push(server, "3.0", "other")
    said = slipway("events", "--recent", "--once", "--json", "--repository", "team/app", *words)
    assert said.returncode == 0, said.stderr
    events = [json.loads(line) for line in said.stdout.splitlines()]
    assert [(event["event"], event["tag"]) for event in events] == [("push", "1.0"), ("push", "2.0")]
    assert slipway("events", "--once", *words).stdout == ""
    said = slipway("events", "--kind", "pull", *words)
    assert said.returncode == USAGE or "kind is one of" in said.stderr
    assert said.returncode not in (0, UNREACHABLE)


def test_a_server_that_comes_back(serve, follow, root, tmp_path):
    server = serve()
    following = follow("--json")
    wait_for(lambda: (push(server, "one") or any('"one"' in line for line in following.lines)), what="an event")
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    again = serve(f"storage.root={root}")
    wait_for(lambda: (push(again, "two") or any('"two"' in line for line in following.lines)), what="an event")
    assert any('"event":"gap"' in line for line in following.lines)  # of another start
    wait_for(lambda: "some events were missed\n" in following.errors, what="a word about it")
    assert following.child.poll() is None


def test_no_server(slipway, words):
    said = slipway("events", *words)
    assert said.returncode == UNREACHABLE and "does not answer" in said.stderr
