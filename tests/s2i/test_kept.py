"""test_kept.py - what a failed build wrote is looked at: by whom, as whom, with what, and how long it stays.

Touches  builders of the module's own and of a server; terminals made here.
Never    another builder's folder. Spec: s2i 11 (keep_failed)
"""
import os
import pathlib
import pty
import select
import shutil
import subprocess
import tempfile
import time

import pytest

from support import building, process, remains, workshop
from support.workshop import IMAGE, done, failed
from test_api_builds import Caller

HOUR = {"keep_failed_ms": 3600 * 1000}
FULL = workshop.builder_image(files={"opt/app-root/src/gone": "of the image"})
FAIL = """#!/bin/sh
echo half > /opt/app-root/src/half; rm -f gone; mkdir -p deep/er; chmod 700 deep
echo "$TOKEN" | wc -c; cat .npmrc; exit 7
"""


def make_shop(kind):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o755)
    if kind == "user":
        (folder / "builder").mkdir()
        shutil.chown(folder / "builder", workshop.USER, workshop.USER)
    return folder, workshop.Workshop(folder / "builder", *(["--scratch", kind] if kind != "user" else []),
                                     user=workshop.USER if kind == "user" else None)


@pytest.fixture(scope="module", params=["disk", "memory", "user"])
def any_shop(request):
    folder, made = make_shop(request.param)
    made.kind = request.param
    yield made
    made.finish()
    shutil.rmtree(folder)


@pytest.fixture
def disk_shop():
    folder, made = make_shop("disk")
    yield made
    made.finish()
    shutil.rmtree(folder)


def broken(shop, options=None, script=FAIL, **more):
    return shop.build(FULL, {".s2i/bin/assemble": script}, options={
        **HOUR, "secret_env": ["TOKEN=hunter2hunter2"], "inject": ["npmrc:.npmrc"], **(options or {})},
        secrets=["npmrc=very secret words\n"], **more)


def shell(shop, build, *words, text="", timeout=90):
    return subprocess.run([process.binary(), "builder", "shell", "--folder", str(shop.folder), str(build), *words],
                          input=text, text=True, capture_output=True, timeout=timeout, check=False)


def kept(shop):
    return sorted(path.name for path in (shop.folder / "kept").iterdir())


def test_it_is_as_assemble_left_it(any_shop):
    """Its files, whiteouts too; its user, folder and variables; no network; nothing of a secret."""
    outcome = failed(broken(any_shop), "AssembleFailed")
    assert b"15\n" in outcome.out and b"very secret" in outcome.out, "the build had its secrets"
    assert abs(outcome.result["kept_until"] - time.time() - 3600) < 60
    assert f"slipway builder shell {any_shop.builds}" in outcome.text
    said = shell(any_shop, any_shop.builds, text="id -u; pwd; cat half; ls -d gone; ls -ld deep; env; cat .npmrc; "
                 "touch new; grep -c : /proc/net/dev; exit 3\n")
    assert said.returncode == 3, said
    lines = said.stdout.splitlines()
    assert lines[:3] == ["1001" if any_shop.kind != "user" else "0", "/opt/app-root/src", "half"], said
    assert "gone: No such file" in said.stderr and "drwx------" in said.stdout and "FROM_BUILDER=yes" in lines
    assert "hunter2" not in said.stdout and "very secret" not in said.stdout and "TOKEN" not in said.stdout
    assert lines[-1] == "1", "only lo"
    again = shell(any_shop, any_shop.builds, "/bin/cat", "/opt/app-root/src/half")
    assert again.stdout == "half\n" and again.returncode == 0, again


def test_at_a_terminal(disk_shop):
    """A pty: the shell has it, keys reach it, and it ends with it."""
    broken(disk_shop)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(process.binary(), [process.binary(), "builder", "shell", "--folder", str(disk_shop.folder), "1"])
    said = b""

    def until(text):
        nonlocal said
        end = time.monotonic() + 60
        while text not in said:
            assert time.monotonic() < end and select.select([terminal], [], [], 60)[0], said
            said += os.read(terminal, 4096)
    until(b"$ ")
    os.write(terminal, b"test -t 0 && test -t 1 && echo is-a-$((1+1))-terminal\n")
    until(b"is-a-2-terminal")
    os.write(terminal, b"sh -c 'echo up-$((1+1)); exec sleep 1000'\n")
    until(b"up-2")  # it has the terminal now
    os.write(terminal, b"\x03")
    os.write(terminal, b"echo still-$((1+2)); exit 5\n")
    until(b"still-3")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.close(terminal)


def test_one_at_a_time(disk_shop):
    """Who looks keeps others out, and it from being evicted."""
    broken(disk_shop)
    first = subprocess.Popen([process.binary(), "builder", "shell", "--folder", str(disk_shop.folder), "1"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    first.stdin.write("echo in\n")
    first.stdin.flush()
    assert first.stdout.readline() == "in\n"
    second = shell(disk_shop, 1)
    assert second.returncode == 5 and "somebody looks at build 1 already" in second.stderr, second
    os.utime(disk_shop.folder / "kept" / "1" / "lock", (1, 1))  # its time is over
    done(disk_shop.build(IMAGE, {"a": "a"}))
    assert kept(disk_shop) == ["1"]
    first.communicate("exit\n", timeout=60)
    done(disk_shop.build(IMAGE, {"a": "a"}))
    process.wait_for(lambda: kept(disk_shop) == [], 10, "its end")
    assert shell(disk_shop, 1).returncode == 4


def test_what_is_not_kept(disk_shop):
    """A build that goes well, one that nobody asked to keep, one that was cancelled."""
    done(broken(disk_shop, script="#!/bin/sh\n"))
    outcome = failed(broken(disk_shop, {"keep_failed_ms": 0}), "AssembleFailed")
    assert not outcome.result.get("kept_until")
    build = disk_shop.begin(IMAGE, {".s2i/bin/assemble": "#!/bin/sh\necho go; sleep 30\n"}, options=HOUR)
    build.wait_for("go")
    build.cancel()
    failed(build.end(), "CancelledBuild")
    assert kept(disk_shop) == []


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_hook_that_fails(kind):
    """Both what assemble wrote and what the hook did are there."""
    folder, shop = make_shop(kind)
    outcome = shop.build(IMAGE, {".s2i/bin/assemble": "#!/bin/sh\necho one > one; echo two > two\n"}, options={
        **HOUR, "post_commit": ["/bin/sh", "-c", "rm one; echo three > three; exit 1"]})
    assert outcome.result["reason"] == "PostCommitHookFailed" and outcome.result["kept_until"]
    assert shell(shop, 1, "/bin/ls").stdout.split() == ["three", "two"]
    shop.finish()
    shutil.rmtree(folder)


def test_after_its_time_and_a_start(disk_shop):
    """Its time ends it without another build; halves of the dead go at the next start; so many, and no more."""
    assert broken(disk_shop, {"keep_failed_ms": 1000}).result["kept_until"]
    process.wait_for(lambda: kept(disk_shop) == [], 10, "its end")
    for _ in range(18):
        broken(disk_shop)
    assert len(kept(disk_shop)) == 16 and "2" not in kept(disk_shop) and "19" in kept(disk_shop)
    disk_shop.kill()
    (disk_shop.folder / "kept/77.new").mkdir()
    (disk_shop.folder / "templates/ext4-16.1f").touch()
    again = workshop.Workshop(disk_shop.folder)
    assert not (disk_shop.folder / "templates/ext4-16.1f").exists() and (disk_shop.folder / "templates/ext4-256").exists()
    assert "77.new" not in kept(disk_shop) and len(kept(disk_shop)) == 16
    assert shell(disk_shop, 19, "/bin/cat", "half").stdout == "half\n"
    again.finish()
    disk_shop.finish = disk_shop.ours.close


def test_its_layers_stay(tmp_path):
    """They are not evicted below it, though the builder may keep none."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    shop = workshop.Workshop(folder / "builder", "--cache-max", str(16 << 20))
    broken(shop)
    layers = {path.name for path in (shop.folder / "layers").iterdir()}
    big = workshop.builder_image(files={f"big{i}": os.urandom(1 << 20).hex() for i in range(10)})
    done(shop.build(big, {"a": "a"}))
    process.wait_for(lambda: not remains.children(shop.child.pid), 20, "its worker, which evicts behind its result")
    assert layers <= {path.name for path in (shop.folder / "layers").iterdir()}
    assert shell(shop, 1, "/bin/cat", "half").stdout == "half\n"
    shop.finish()
    shutil.rmtree(folder)


def test_with_a_server(make_server, name):
    """The setting is the ceiling; `build show` says until when."""
    server = make_server({"builds.keep_failed_layer": "10m"})
    building.builder(server)
    call = Caller(server.target)
    build = call.build(name, {".s2i/bin/assemble": "#!/bin/sh\necho half > half; exit 1\n"},
                       options={"builder": "builders/test", "keep_failed_ms": 24 * 3600 * 1000})
    assert build["state"] == "Failed", build
    shown = subprocess.run([process.binary(), "build", "show", str(build["id"]), "--config", "/dev/null",
                            "--set", f"storage.root={server.root}"], text=True, capture_output=True, timeout=60, check=True)
    until = build["facts"]["kept_until"]
    assert any(line.split()[:2] == ["kept", "until"] and until in line for line in shown.stdout.splitlines()), shown.stdout
    finished = build["finished_at"]
    assert until[:13] <= time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + 605)) and until > finished
    said = subprocess.run([process.binary(), "builder", "shell", "--folder", f"{server.root}/builder", str(build["id"]),
                           "/bin/cat", "half"], text=True, capture_output=True, timeout=90, check=False)
    assert said.stdout == "half\n", said
    call.close()
