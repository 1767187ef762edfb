"""conftest.py - what tests of builds share: a registry with a builder, builder images, sources.

Touches  a temporary folder of the run, child processes ended by pid.
Never    the machine's own images or repositories.
"""
import itertools
import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support import api, building, people, process, wire, workshop  # noqa: E402

names = itertools.count(1)
# Shells let what they start in the background ignore it, and so would the clients that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """What waits long is left out unless it is asked for."""
    if os.environ.get("SLIPWAY_LONG"):
        return
    left = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def able(server):
    """Waits until its builder is there: that of its last start."""
    def ready():
        text = server.log.read_text()
        return text.rfind("builder.connected") > text.rfind("builder.started")
    process.wait_for(ready, 20, "a builder")
    return server


@pytest.fixture(scope="session")
def server(folder):
    """Everybody may do everything; the image builders/test is there."""
    server = process.Server(folder / "builds", {"builds.enabled": "true"})
    server.start()
    able(server)
    building.builder(server)
    yield server
    server.finish()


@pytest.fixture
def call(server):
    """Its API, as nobody in particular."""
    one = api.Api(server.target)
    yield one
    one.close()


@pytest.fixture(scope="session")
def guarded(folder):
    """Asks who is there; tests add whom they need by guarded.accounts."""
    server = people.Registry(folder / "guarded", {"builds.enabled": "true"})
    server.start()
    able(server)
    yield server
    server.finish()


@pytest.fixture
def make_server(tmp_path):
    """make_server({"key": "value"}): a server of the test's own, with a builder."""
    made = []

    def make(settings=None, start=True):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
        folder.chmod(0o755)
        one = process.Server(folder, {"builds.enabled": "true", **(settings or {})})
        made.append((one, folder))
        if start:
            one.start()
            able(one)
        return one
    yield make
    for one, folder in made:
        one.finish()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def shop():
    """A builder without a server, that the test speaks to itself."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    made = workshop.Workshop(folder / "builder")
    yield made
    made.finish()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def user_shop():
    """A builder without any privilege."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    made = workshop.unprivileged(folder)
    yield made
    made.finish()
    shutil.rmtree(folder)


@pytest.fixture
def name():
    """A repository of the test's own."""
    return f"team/app{next(names)}"


@pytest.fixture
def source(tmp_path):
    """source({"name": "text"}): a git repository with one commit on main."""
    return lambda files=None, label="source": building.Source(tmp_path / f"{label}{next(names)}", files)


@pytest.fixture
def client(server):
    one = wire.Client(server.target)
    yield one
    one.close()
