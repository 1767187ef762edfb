"""conftest.py - what the tests of the commands share: the program, and servers with an end.

Touches  a temporary folder; processes it started itself, ended by pid.
Never    a fixed port.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests"))

from support.process import clean_environment, wait_for  # noqa: E402

PROGRAM = os.environ.get("SLIPWAY_BIN", str(TOP / "build/release/slipway"))


@pytest.fixture
def slipway():
    """slipway("config", "show", ...): the finished process, with its texts."""
    def run(*words, **environment):
        return subprocess.run([PROGRAM, *words], env=clean_environment(**environment), timeout=60, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return run


class Server:
    def __init__(self, folder, settings=(), environment=None, config="/dev/null"):
        self.log = folder / "log"
        words = [PROGRAM, "serve", "--config", str(config), "--set", "server.listen=127.0.0.1:0",
                 "--set", f"storage.root={folder}/root", "--set", "storage.min_free=0",
                 "--set", "auth.mode=none", "--set", "builds.enabled=false"]
        for setting in settings:
            words += ["--set", setting]
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(words, env=clean_environment(**environment or {}), stderr=log,
                                          stdin=subprocess.DEVNULL)
        match = wait_for(self.listening, what="server.listening")
        self.url = f"http://{match.group(1)}"

    def text(self):
        return self.log.read_text(errors="replace")

    def listening(self):
        assert self.child.poll() is None, self.text()
        return re.search(r'msg=server\.listening address="?([0-9.]+:\d+)(?=\D)', self.text())

    def get(self, path, seconds=10):
        """Status and body; status 0 when nothing answers."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=seconds) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as reply:
            return reply.code, reply.read().decode()
        except OSError:
            return 0, ""

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=90):
        return self.child.wait(seconds)

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


@pytest.fixture
def serve(tmp_path):
    """serve("key=value", ..., environment={}, config=FILE): a server that listens; killed after the test."""
    servers = []

    def start(*settings, environment=None, config="/dev/null"):
        folder = tmp_path / str(len(servers))
        folder.mkdir(exist_ok=True)
        servers.append(Server(folder, settings, environment, config))
        return servers[-1]
    yield start
    for server in servers:
        server.end()


def heeds(child, number):
    """Whether this signal would be waited for or caught by now: until then it ends a process that has just begun."""
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    kept = [int(re.search(rf"^{name}:\s*([0-9a-f]+)$", status, re.M)[1], 16) for name in ("SigBlk", "SigCgt")]
    return (kept[0] | kept[1]) >> (number - 1) & 1


HUP, INT, TERM = signal.SIGHUP, signal.SIGINT, signal.SIGTERM


@pytest.fixture(scope="session")
def old(tmp_path_factory):
    """A docker-registry with images, filled once: what a test changes, it changes in a copy."""
    from support import images, moving
    if moving.MISSING:
        pytest.skip(f"needs {', '.join(moving.MISSING)}")
    folder = tmp_path_factory.mktemp("old")
    old = moving.Old(folder)
    old.subject, old.referrer = moving.fill(old, images.Shelf(folder / "shelf"))
    old.held = moving.held(old.client())
    yield old
    old.end()


@pytest.fixture
def new(tmp_path):
    """A root of ours without a server."""
    from support import moving
    return moving.New(tmp_path / "new")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "0" / "root"  # of the first server that `serve` starts


@pytest.fixture
def words(root):
    return ["--config", "/dev/null", "--set", f"storage.root={root}"]
