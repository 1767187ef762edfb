"""test_broken.py - protocols that are known to be wrong: the harness must notice each of them.

Touches  a folder for each: the changed sources and the program made of them.
Never    the tree, nor the program that is installed: what is broken exists in its folder alone.
"""
import os
import pathlib
import random
import re
import subprocess
import sys

import pytest

from crash import collecting, control, trace
from crash.test_collect_cuts import Collecting, Rows
from crash.test_powercut import run_cuts
from support import process

KILLS, RECORDINGS, CUTS = 2400, 20, 120  # at most, until it is noticed
TOP = control.TOP
pytestmark = pytest.mark.skipif(process.sanitized(), reason="is built for release alone")


class Broken:
    def __init__(self, block):
        lines = block.splitlines()
        self.name = re.fullmatch(r"\[(.+)\]", lines[0])[1]
        self.changes, self.tests = [], []
        for line in lines[1:]:
            sign, text = f"{line[0]} ", line[2:]
            if sign == "- ":
                self.changes[-1][1] = text.strip()
            elif sign == "+ ":
                self.changes[-1][2].append(text)
            elif sign == "? ":
                self.tests.append(text)
            else:
                self.changes.append([line, None, []])

    def build(self, folder):
        """The program; sources that stand in the folder come before those of the tree."""
        for file, old, new in self.changes:
            copy = folder / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            lines = (copy if copy.exists() else TOP / file).read_text().split("\n")
            places = [n for n, line in enumerate(lines) if line.strip() == old]
            assert len(places) == 1, f"{self.name}: the line stands {len(places)} times: {old}"
            lines[places[0]:places[0] + 1] = new
            copy.write_text("\n".join(lines))
        build = pathlib.Path(process.binary()).parent
        done = subprocess.run(["make", "-s", "-C", TOP, f"BUILD={os.path.relpath(build, TOP)}",
                               "CI=", f"BROKEN={folder}", f"{folder}/slipway"],  # a patch may leave a name unused
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return folder / "slipway"


def read_list():
    text = (TOP / "tests/crash/broken.txt").read_text()
    text = "\n".join(line for line in text.split("\n") if not line.startswith("# "))
    return [Broken(block) for block in re.split(r"\n\s*\n", text.strip())]


@pytest.mark.parametrize("broken", read_list(), ids=lambda broken: broken.name)
@pytest.mark.spec("CONC-02", "CONC-04")
def test_a_broken_protocol_is_noticed(scratch, seed, say, broken, monkeypatch):
    binary = broken.build(scratch / "broken")
    if broken.tests == ["power cuts"]:
        monkeypatch.setenv("SLIPWAY_BIN", str(binary))
        say(f"{broken.name}: {cut_off(scratch, seed)}")
        return
    if broken.tests:
        status, text = ordered(broken.tests, binary)
        assert status == 1, f"not noticed: {broken.name}\n{text}"
        return
    outcome = collecting.sessions(scratch, seed, KILLS, binary=binary)
    assert outcome.wrong, f"{outcome.kills} kills did not notice: {broken.name}"
    say(f"{broken.name}: noticed after {outcome.kills} kills: {outcome.wrong[1][:150]}")


def cut_off(scratch, seed):
    """What the first power cut that is noticed has lost."""
    die = random.Random(seed)
    for number in range(RECORDINGS):
        recording = Collecting(scratch / f"recording{number}", die.randrange(10**6), kill=False)
        found, _ = run_cuts(recording, recording.folder, recording.cuts(die, CUTS), die,
                            lambda _: trace.Lost(), Rows)
        recording.rig.close()
        if found:
            return f"noticed at cut {found[0]} of recording {number}: {found[2][0][:150]}"
    raise AssertionError(f"{RECORDINGS} recordings with {CUTS} cuts each lost nothing")


def ordered(tests, binary):
    """Exit status of the tests named, and what they said."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-x", "-q", *tests], capture_output=True,
                          text=True, cwd=TOP / "tests/crash",
                          env={**os.environ, "SLIPWAY_BIN": str(binary),
                               "SLIPWAY_BUILD": str(control.library().parent)})
    return done.returncode, done.stdout[-2000:]
