"""test_steps.py - the server, its builder or the worker dies at each named step of a build: no half state, the queue goes
on, nothing of it is left.

Acceptance 20.10. Where a build stands is seen, not guessed: tests/support/stepping.py says how. A sample runs always, all of
it with SLIPWAY_LONG=1. Spec: s2i 12.3, 13.41, 16.14; (1), (3) and (4) of s2i/s2i.h
"""
import os
import pathlib
import shutil
import signal
import tempfile
import threading

import pytest

from crash import control
from support import building, process, remains, stepping, wire

BLOB, WAL = stepping.BLOB, stepping.WAL


@pytest.fixture(scope="module")
def registry():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o755)
    one = stepping.Registry(folder)
    one.begin()
    yield one
    one.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def begun_anew(registry, request):
    """After a failure, so that what it left is not the next one's."""
    failed = request.session.testsfailed
    yield
    registry.control.disarm()
    if registry.remote.stall is not None:
        registry.remote.stall.set()
        registry.remote.stall = None
    if request.session.testsfailed != failed:
        registry.kill()
        registry.begin()


# --- where it stops: each returns the build's id when it stands there ---

def claimed(registry, name):
    """Its row says RUNNING, and nothing more is written."""
    registry.hold(control.CREATE, "root/builds/logs/*")
    build = registry.ask(name)
    registry.wait_held()
    return build


def fetching(registry, name):
    registry.remote.stall = threading.Event()
    build = registry.ask(name)
    process.wait_for(lambda: registry.remote.asked, 60, "the source is fetched")
    return build


def spec_sent(registry, name):
    """The builder stands still: its worker has not begun."""
    os.kill(remains.builder_of(registry), signal.SIGSTOP)
    build = registry.ask(name)
    registry.wait_text(build, "-----> Builder")
    return build


def pulling(image):
    """The worker waits for the bytes of that image's layer."""
    def stop(registry, name):
        _, document, _ = building.manifest(registry, f"builders/{image}")
        locator = stepping.locator(registry, document["layers"][0]["digest"])
        registry.hold(control.OPEN, f"root/blobs/??/{locator}")
        build = registry.ask(name)
        registry.wait_held()
        return build
    return stop


def script(which):
    def stop(registry, name):
        build = registry.ask(name, which, **({"previous": "builders/stuck"} if which == "save-artifacts" else {}))
        registry.wait_text(build, f"at {which}")
        return build
    return stop


def effect(calls, pattern, first=1):
    def stop(registry, name):
        registry.hold(calls, pattern, first)
        build = registry.ask(name)
        registry.wait_held()
        return build
    return stop


ALL, NO_WORKER, SERVER = ("server", "builder", "worker"), ("server", "builder"), ("server",)
# name: (how to stop there, the last stage its row tells then (None: the server is held, and may not have told), who can die)
STEPS = {
    "claimed": (claimed, {None}, NO_WORKER),
    "FetchGitSource": (fetching, {"FetchInputs"}, NO_WORKER),
    "the spec is sent": (spec_sent, {"PullImages"}, NO_WORKER),
    "PullBuilderImage": (pulling("builder"), None, ALL),
    "PullPreviousImage": (pulling("previous"), None, ALL),
    "PullRuntimeImage": (pulling("runtime"), None, ALL),
    "RetrieveArtifacts": (script("save-artifacts"), {"RetrieveArtifacts"}, ALL),
    "Assemble": (script("assemble"), {"Assemble"}, ALL),
    "assemble-runtime": (script("assemble-runtime"), {"Assemble"}, ALL),
    "CommitContainer: a layer begins": (effect(control.CREATE, BLOB), None, ALL),
    "CommitContainer: a layer is half there": (effect(control.WRITE, BLOB), None, ALL),
    "CommitContainer: a layer is whole": (effect(control.ANY_SYNC, BLOB), None, NO_WORKER),
    "PostCommit": (script("post-commit"), {"PostCommit"}, ALL),
    "PushImage: the config": (effect(control.CREATE, BLOB, 2), None, NO_WORKER),
    "PushImage: the config is whole": (effect(control.ANY_SYNC, BLOB, 2), None, NO_WORKER),
    "attestations: the provenance": (effect(control.CREATE, BLOB, 3), None, NO_WORKER),
    "attestations: its config": (effect(control.CREATE, BLOB, 4), None, SERVER),
    "attestations: the parts": (effect(control.CREATE, BLOB, 5), None, SERVER),
}
SAMPLE = [("claimed", "server"), ("the spec is sent", "builder"), ("PullRuntimeImage", "worker"),
          ("CommitContainer: a layer is half there", "server"), ("PostCommit", "builder")]


def cases():
    for step, (_, _, victims) in STEPS.items():
        for victim in victims:
            yield pytest.param(step, victim, marks=() if (step, victim) in SAMPLE else pytest.mark.long)


@pytest.mark.parametrize("step, victim", cases())
def test_a_death_at_a_named_step(registry, name, step, victim):
    stop, stages, _ = STEPS[step]
    registry.images()
    first = registry.ended(registry.ask(name)) if step.startswith(("Push", "Commit")) else None
    before = registry.tags(name)
    assert first is None or first["state"] == "Complete", first
    registry.images()
    registry.settled()
    del registry.remote.asked[:]
    build = stop(registry, name)
    if stages is not None:  # the row is written four times a second at most
        process.wait_for(lambda: registry.state(build)[1] in stages, 30, f"{build} tells one of {stages}")
    below = registry.strike(victim)
    if registry.remote.stall is not None:
        registry.remote.stall.set()
        registry.remote.stall = None
    record = registry.after(name, build, victim, below, before)
    if step.startswith("attestations"):
        assert record["state"] == "Complete"


# --- between the steps: every effect of the server, every system call of the worker ---

def pushed(registry, name, told):
    """An archive is sent; told gets the answer, if one comes."""
    def send():
        client = registry.client()
        try:
            told.append(client.post(f"/api/v1/repos/{name}/-/builds?options=%7B%22builder%22:%22builders/builder%22,%22tags%22:"
                                    "%5B%22latest%22,%22same%22%5D%7D", stepping.archive({"index.html": name}),
                                    headers=[("Content-Type", "application/x-tar")]))
        except (wire.Broken, OSError):
            pass
    thread = threading.Thread(target=send)
    thread.start()
    return thread


def rows_of(registry, name):
    return remains.rows(registry, f"SELECT id, state FROM builds WHERE repository = '{name}'")


def die_at(registry, name, number, action):
    """Kills the server at its number-th effect from the archive on. Whether it came to that."""
    told = []
    registry.settled()
    registry.control.rule(0, stepping.EFFECTS, action, "", first=number)
    thread = pushed(registry, name, told)

    def over():
        rows = rows_of(registry, name) if registry.running() else []
        return not registry.running() or rows and rows[0][1] == 3 and len(stepping.referrers(registry, name)) == 2
    process.wait_for(over, 60, "death or the end", 0.01)
    thread.join(60)
    registry.control.disarm()
    if not registry.wait_dead(60 if registry.control.hits() >= number else 0.2):
        return False
    registry.kill()
    return told


def look_after(registry, name, told, stepping_on):
    """s2i.h (1) to (4), as the rows and a new process have it."""
    registry.checked()
    before = rows_of(registry, name)
    assert len(before) <= 1 and (before or not told), f"{stepping_on}: told {told}, rows {before}"
    registry.begin()
    for build, state in before:
        record = registry.ended(build)
        assert state != 1 or record["state"] == "Complete", f"{stepping_on}: it waited, and {record}"
        assert state == 1 or record["state"] in ("Error", "Complete"), f"{stepping_on}: {record}"
        tags = registry.tags(name)
        moved = {"latest": record["result_digest"], "same": record["result_digest"]}
        assert tags == (moved if record["state"] == "Complete" else {}), f"{stepping_on}: {tags}, {record}"
    remains.wait_none(registry)


ACTIONS = {"before": control.KILL_BEFORE, "within": control.KILL_MID, "after": control.KILL_AFTER}


@pytest.mark.parametrize("action", [pytest.param("after"), pytest.param("before", marks=pytest.mark.long),
                                    pytest.param("within", marks=pytest.mark.long)])
def test_the_server_dies_at_each_effect(registry, name, action):
    """Acceptance 20.10; a sample in the middle of it, all with SLIPWAY_LONG=1."""
    registry.images()
    registry.ended(registry.ask(f"{name}/warm"))
    numbers = range(1, 2000) if os.environ.get("SLIPWAY_LONG") else (2, 9, 24, 40)
    for number in numbers:
        told = die_at(registry, f"{name}/n{number}", number, ACTIONS[action])
        if told is False:
            break
        look_after(registry, f"{name}/n{number}", told, f"{action} effect {number}")
    else:
        number += 1
    assert number > 30, f"only {number} effects: nothing was cut"
    assert registry.ended(registry.ask(f"{name}/warm"))["state"] == "Complete"


VICTIMS = ("worker", "builder", "server")


@pytest.mark.parametrize("start", [pytest.param(0), *[pytest.param(one, marks=pytest.mark.long) for one in range(1, 8)]])
def test_a_death_at_each_system_call_of_the_worker(registry, name, start):
    """Acceptance 20.10, 16.14: the calls between the named steps; every 40th, beginning elsewhere each time."""
    number, turn, seen = 100 + 5 * start, 0, set()
    while True:
        registry.images()
        stepper = stepping.Stepper(remains.builder_of(registry), number)
        build = registry.ask(f"{name}/n{number}")
        if not stepper.wait():
            break
        seen.add(registry.state(build)[1])
        victim = VICTIMS[(turn + start) % 3]
        below = registry.strike(victim, stepper.pid if victim == "worker" else None)
        stepper.let_go()
        registry.after(f"{name}/n{number}", build, victim, below, {})
        turn += 1
        number += 40 if os.environ.get("SLIPWAY_LONG") else 1200
    assert stepper.count > 500 and turn >= 2, f"{stepper.count} calls, {turn} deaths"
    assert registry.ended(build)["state"] == "Complete"
