"""conftest.py - what the crash tests share: a fast scratch folder, how much to do, what was done.

Touches  a temporary folder, in memory where the machine has one.
Never    leaves a server behind: each rig ends its own child by pid.
"""
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

SAID = []


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=int(os.environ.get("CRASH_KILLS", 0)),
                     help="kills by SIGKILL (default: enough for make test)")
    parser.addoption("--hours", type=float, default=0,
                     help="of kills under collectors, instead of a number of them")
    parser.addoption("--cuts", type=int, default=int(os.environ.get("CRASH_CUTS", 0)),
                     help="power cuts (default: enough for make test)")
    parser.addoption("--seed", type=int, default=int(os.environ.get("CRASH_SEED", 0)),
                     help="of everything random; 0 chooses one and prints it")


@pytest.fixture
def scratch():
    """Syncs cost nothing here; the interposer knows what they mean."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = pathlib.Path(tempfile.mkdtemp(prefix="slipway-crash-", dir=where))
    yield path
    if os.environ.get("CRASH_KEEP"):
        SAID.append(f"kept {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def on(scratch):
    """Makes a stage; everything on it must be in order at the end."""
    from crash import stage  # pylint: disable=import-outside-toplevel
    stages = []

    def make(**settings):
        stages.append(stage.Stage(scratch / f"stage{len(stages)}", **settings))
        return stages[-1]
    yield make
    for one in stages:
        one.close()


@pytest.fixture
def say():
    """Lines for the end of the run: counts that show the test did something."""
    return SAID.append


@pytest.fixture
def seed(request):
    value = request.config.getoption("--seed") or int.from_bytes(os.urandom(3), "big")
    SAID.append(f"{request.node.name}: --seed {value}")
    return value


def pytest_terminal_summary(terminalreporter):
    for line in SAID:
        terminalreporter.write_line(line)
