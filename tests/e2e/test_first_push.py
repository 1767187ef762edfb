"""test_first_push.py - what `make run` prints and the README shows works as pasted.

The programs run are the real ones. Only the hub is not: each is found first as a script that takes
debian:12 from a layout of ours instead of docker.io, and keeps to the storage of this run.
"""
import os
import re
import signal
import socket
import subprocess

import pytest

from support import content, engines, process, wire

SCRIPTS = {
    "docker": '#!/bin/sh\n[ "$1" = pull ] && exit 0\nexec {docker} "$@"\n',
    "podman": '#!/bin/sh\n[ "$1" = pull ] && exit 0\nexec {podman} {storage} "$@"\n',
    "skopeo": '#!/bin/sh\nset -- $(echo "$@" | sed s,docker://docker.io/library/debian:12,oci:{layout}:latest,)\n'
              'exec {skopeo} "$@"\n',
}


def printed(text):
    """The commands of a text: what is indented by four blanks."""
    return [line.strip() for line in text.splitlines() if re.match(r"    [a-z]", line)]


@pytest.fixture(scope="module")
def running(folder):
    """`make run` after the build, on a free port: (address, what it printed)."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    here = folder / "run"
    here.mkdir()
    (here / "conf").symlink_to(process.TOP / "conf")
    said = here / "said"
    with open(said, "wb") as out:
        child = subprocess.Popen([str(process.TOP / "tests/support/run.sh"), process.binary()], cwd=here, stdout=out,
                                 stderr=out, env={**os.environ, "SLIPWAY_SERVER_LISTEN": address})
    process.wait_for(lambda: "server.listening" in said.read_text() or child.poll() is not None, 60, "it serves")
    yield address, said.read_text()
    child.send_signal(signal.SIGTERM)
    assert child.wait(70) == 0


@pytest.fixture
def shell(folder, docker, tools, layouts):
    """shell(command): as pasted into a terminal."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    storage = " ".join(map(str, tools.storage))
    for name, text in SCRIPTS.items():
        script = programs / name
        script.write_text(text.format(storage=storage, layout=layouts.busybox,
                                      **{program: engines.need(program) for program in SCRIPTS}))
        script.chmod(0o755)
    archive = folder / "debian.tar"
    tools.skopeo("copy", f"oci:{layouts.busybox}:latest", f"docker-archive:{archive}:debian:12")
    docker("load", "-i", archive)
    tools.skopeo("copy", f"oci:{layouts.busybox}:latest",
                 f"containers-storage:[overlay@{tools.storage[1]}+{tools.storage[3]}]docker.io/library/debian:12")

    def run(command):
        return engines.run("sh", "-c", command, env={
            **tools.env, "DOCKER_HOST": f"unix://{docker.socket}",
            "PATH": f"{programs}:/usr/bin:/usr/sbin:/bin"})
    return run


@pytest.mark.spec("CLI-01", "CLI-03")
def test_printed_commands_work_as_pasted(running, shell):
    address, said = running
    commands = printed(said)
    assert len(commands) >= 4 and any(command.startswith("docker") for command in commands)
    client = wire.Client(wire.Target("127.0.0.1", int(address.rsplit(":", 1)[1]), None))
    for command in commands:
        output = shell(command)
        if " push " in command or " copy " in command:
            assert content.verify(client, "debian", "12") >= 3, command
            for tag in client.get("/v2/debian/tags/list").json()["tags"]:
                assert client.delete(f"/v2/debian/manifests/{tag}").status == 202
        else:
            assert "debian" in output, command
    client.close()


def test_the_readme_shows_the_same_first_push(running):
    address, said = running
    shown = printed((process.TOP / "README.md").read_text())
    pasted = " && ".join(command for command in shown if command.startswith("docker "))
    assert pasted.replace("127.0.0.1:5000", address) in printed(said)
