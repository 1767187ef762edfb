"""test_hostile.py - scripts that fork, fill, flood, sleep and reach out: the limit that ended them is named, and nobody
outside notices.

Acceptance 20.8 of the list, the scripts' part. Limits are small here so that they are met soon.
"""
import os
import pathlib
import shutil
import subprocess
import time

import pytest

from conftest import able
from support import building, layering, process, workshop

LIMITS = {"builds.memory": "64MiB", "builds.processes": "40", "builds.disk": "16MiB",
          "builds.log_max": "1MiB"}
HASTY = {"builds.timeout": "4s", "builds.silence": "3s"}  # for those that meet them: others may take their time


class Unprivileged(process.Server):
    """Runs as nobody: its builder makes containers with one id (level b)."""

    def __init__(self, folder, settings):
        super().__init__(folder, settings)
        shutil.chown(self.folder, workshop.USER, workshop.USER)

    def arguments(self):
        who = str(workshop.USER)
        return ["setpriv", f"--reuid={who}", f"--regid={who}", "--clear-groups", *super().arguments()]


LEVELS = ["root", pytest.param("user", marks=pytest.mark.long)]


def registry(folder, level, settings):
    """One whose builds run at this level, with an image."""
    if level == "user":
        layering.need_level("single")
        layering.need_one_thread()
    kind = Unprivileged if level == "user" else process.Server
    server = kind(folder, {"builds.enabled": "true", **settings})
    server.start()
    able(server)
    assert f"level={level}" in server.log.read_text()
    server.level = level
    building.builder(server)
    return server


@pytest.fixture(scope="module", params=LEVELS)
def small(folder, request):
    """A registry whose builds may do little."""
    server = registry(folder / f"small-{request.param}", request.param, LIMITS)
    yield server
    server.finish()


@pytest.fixture(scope="module", params=LEVELS)
def hasty(folder, request):
    """A registry whose builds have little time."""
    server = registry(folder / f"hasty-{request.param}", request.param, HASTY)
    yield server
    server.finish()


def push(server, source, name, script):
    """What the push of a source with this assemble says, and whether it was accepted."""
    app = source({"index.html": "x", ".s2i/bin/assemble": "#!/bin/sh\n" + script})
    done = app.push(server, name, "-o", "builder=builders/test", check=False)
    return done.stderr, done.returncode == 0


@pytest.fixture
def attempt(small, source, name):
    return lambda script: push(small, source, name, script)


@pytest.mark.parametrize("script", ["while :; do echo x; sleep 1; done", "sleep 600",
                                    "trap '' TERM INT HUP; while :; do echo x; sleep 1; done"])
def test_time_that_is_over_ends_the_build(hasty, source, name, script):
    """s2i 16.6."""
    said, accepted = push(hasty, source, name, script)
    assert not accepted and "BuildTimeout" in said


@pytest.mark.parametrize("script, reason", [
    ("dd if=/dev/zero of=/opt/app-root/src/big bs=1M count=64", "DiskLimit"),
    ("exit 3", "AssembleFailed"),
    ("sh -c 'kill -9 $$'", "AssembleFailed"),
])
def test_a_limit_ends_the_build_and_is_named(attempt, script, reason):
    """s2i 6.5, 16.6, 16.7."""
    said, accepted = attempt(script)
    assert not accepted and reason in said


def test_memory_that_is_too_much(attempt, small):
    """s2i 6.5, 16.6. Without control groups each process has the limit, and is told so itself."""
    said, accepted = attempt("x=0123456789abcdef; while :; do x=$x$x; done")
    assert not accepted and ("OutOfMemoryKilled" in said or small.level == "user" and "out of memory" in said), said


def test_a_fork_bomb(attempt):
    """s2i 16.6: it meets its limit, and the machine does not notice."""
    said, accepted = attempt("bomb() { bomb | bomb & }; bomb; sleep 1; exit 1")
    assert not accepted
    assert len(os.listdir("/proc")) < 5000


def test_a_flood_of_output_is_cut(attempt, small, name):
    """s2i 13.45: said once; the build goes on."""
    said, accepted = attempt("yes 'so much to say' | head -c 8000000\ncp -R /tmp/src/. /opt/app-root/src/")
    assert accepted and said.count("so much to say") < 200_000
    assert building.manifest(small, name)


def test_daemons_do_not_outlive_the_build(attempt):
    """s2i 6.6."""
    mark = f"{time.time_ns()}"
    said, accepted = attempt(f"(trap '' HUP TERM; exec sleep 7{mark[-6:]}) >/dev/null 2>&1 &\n"
                             "cp -R /tmp/src/. /opt/app-root/src/")
    assert accepted, said
    assert subprocess.run(["pgrep", "-f", f"sleep 7{mark[-6:]}"], capture_output=True).stdout == b""


@pytest.mark.parametrize("script", [
    "mount -t tmpfs none /mnt", "mount -o bind / /mnt", "cat /proc/1/environ > /dev/null && exec cat /etc/shadow",
    "echo 1 > /proc/sys/kernel/panic", "echo b > /proc/sysrq-trigger", "mknod /tmp/disk b 8 0", "nc -w 1 127.0.0.1 22",
    "wget -q -T 2 http://198.51.100.1/", "ls /sys/kernel", "hostname evil"])
def test_what_is_not_for_builds_is_refused(attempt, script):
    """s2i 16.5, 16.9."""
    said, accepted = attempt(f"if {script}; then echo BROKEN OUT; fi\nexit 9")
    assert not accepted and "BROKEN OUT" not in said and "AssembleFailed" in said


def test_nothing_outside_is_touched(attempt, folder):
    """s2i 16.3: host files are neither seen nor written, also by links."""
    secret = folder / "outside"
    secret.write_text("mine")
    said, accepted = attempt(f"ln -s {secret} /opt/app-root/src/link; echo theirs > {secret}; cat {secret} || true\n"
                             f"ln -s / /opt/app-root/src/all\n")
    assert secret.read_text() == "mine" and "mine" not in said
    assert not pathlib.Path(f"{secret}.s2i").exists()


def test_names_that_no_layer_can_hold(attempt):
    """s2i 17.12."""
    said, accepted = attempt("touch /opt/app-root/src/.wh.x")
    assert not accepted and ".wh.x" in said


def test_colours_stay_other_escapes_go(attempt, small, name):
    """s2i 13.13."""
    said, accepted = attempt("printf '\\033[31mred\\033[0m \\033]0;title\\007 \\033[2Jx\\n'; exit 1")
    assert "\x1b[31mred" in said and "\x1b]0" not in said and "\x1b[2J" not in said
