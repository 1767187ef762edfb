"""test_first_push.py - what `make run` prints and the README shows works as pasted.

The programs run are the real ones. Only the hub is not: each is found first as a script that takes
debian:12 from a layout of ours instead of docker.io, and keeps to the storage of this run.
"""
import base64
import random
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
    return [line.strip() for line in text.splitlines() if re.match(r"    [a-z/]", line)]


class Run:
    """`make run` after the build, on a free port, in a folder of its own. It must be told the port before it has it:
    on an address of loopback that nobody else uses it stays free until then."""

    def __init__(self, here):
        self.host = "127." + ".".join(str(random.SystemRandom().randint(2, 254)) for _ in range(3))
        with socket.create_server((self.host, 0)) as free:
            self.address = f"{self.host}:{free.getsockname()[1]}"
        here.mkdir()
        for folder in ("conf", "tests"):
            (here / folder).symlink_to(process.TOP / folder)
        self.here, self.said, self.child = here, "", None

    def start(self):
        said = self.here / "said"
        with open(said, "wb") as out:
            self.child = subprocess.Popen([str(process.TOP / "tests/support/run.sh"), process.binary()], cwd=self.here,
                                          stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                          env=process.clean_environment(SLIPWAY_SERVER_LISTEN=self.address))
        process.wait_for(lambda: "server.listening" in said.read_text() or self.child.poll() is not None, 120, "it serves")
        self.said = said.read_text()
        return self

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(70) == 0

    @property
    def password(self):
        return re.search(r"with the password (\S+) ", self.said)[1]


class Signed(wire.Client):
    """Every request with the administrator's password."""

    def __init__(self, run):
        super().__init__(wire.Target(run.host, int(run.address.rsplit(":", 1)[1]), None))
        secret = base64.b64encode(f"admin:{run.password}".encode()).decode()
        self.headers = [("Authorization", f"Basic {secret}")]

    def exchange(self, method, path, body, headers, *more):
        return super().exchange(method, path, body, [*headers, *self.headers], *more)


@pytest.fixture(scope="module")
def running(folder):
    run = Run(folder / "run").start()
    yield run
    run.stop()


@pytest.fixture(scope="module")
def shell(running, folder, docker, tools, layouts):
    """shell(command): as pasted into a terminal, in the folder of `make run`."""
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
        return engines.run("sh", "-c", command, cwd=running.here, env={
            **tools.env, "DOCKER_CONFIG": str(folder / "signed"), "DOCKER_HOST": f"unix://{docker.socket}",
            "PATH": f"{programs}:/usr/bin:/usr/sbin:/bin"})
    return run


def as_pasted(command, running):
    """Save that nothing of /tmp is used, no port of this machine, and the smallest builder is made once more."""
    return command.replace("/tmp/hello", str(running.here / "hello")).replace("make.py python", "make.py static") \
        .replace(" -p 8080:8080 ", " --network none ") \
        .replace(f"{running.address}/hello", f"{running.address}/hello cat index.html") + " 2>&1"


@pytest.mark.spec("CLI-01", "CLI-03", "TOK-57")
def test_printed_commands_work_as_pasted(running, shell):
    commands = printed(running.said)
    assert len(commands) >= 6 and any(command.startswith("docker") for command in commands)
    client, built = Signed(running), False
    for command in commands:
        output = shell(as_pasted(command, running))
        if command.startswith("git "):
            built |= " push " in command and "-----> hello:latest" in output
        elif "/hello" in command:
            assert built and "Hello from a push" in output
        elif "make.py" in command:
            assert "builders/static:latest sha256:" in output
        elif " push " in command or " copy " in command:
            assert content.verify(client, "debian", "12") >= 3, command
            for tag in client.get("/v2/debian/tags/list").json()["tags"]:
                assert client.delete(f"/v2/debian/manifests/{tag}").status == 202
        elif " login " in command:
            assert "Login Succeeded" in output, command
        elif " robot " in command:
            assert "slipway_pat_" in output, command
        else:
            assert "debian" in output, command
    client.close()


def test_the_readme_shows_the_same_first_push(running):
    shown = printed((process.TOP / "README.md").read_text())
    pasted = " && ".join(command for command in shown if re.match("docker (pull|tag|push) ", command))
    assert pasted.replace("127.0.0.1:5000", running.address) in printed(running.said)
    assert "docker login 127.0.0.1:5000 -u admin" in shown
    assert f"docker login {running.address} -u admin" in running.said


def test_the_password_is_printed_once(running, folder):
    run = Run(folder / "again").start()
    password = run.password
    assert password != running.password and run.said.count(password) > 1
    run.stop()
    run.start()
    assert password not in run.said and f"    docker login {run.address} -u admin\n" in run.said
    run.stop()
    assert not [path for path in (run.here / "var").rglob("*") if path.is_file() and password.encode() in path.read_bytes()]


def test_the_readmes_git_push_works_as_pasted(running, shell, folder):
    """The commands of "Push source, get an image", up to the image that runs; git's question is answered by a program."""
    text = (process.TOP / "README.md").read_text()
    section = text[text.index("## Push source, get an image"):text.index("## Who may do what")]
    commands = [line for line in printed(section) if re.match("git |docker ", line)]
    assert [re.search(r" (init|commit|push|run) ", line)[1] for line in commands] == ["init", "commit", "push", "run"]
    answer = folder / "answer"
    answer.write_text(f"#!/bin/sh\necho {running.password}\n")
    answer.chmod(0o755)
    pasted = "\n".join(commands).replace("127.0.0.1:5000", running.address).replace(" -p 8080:8080 ", " --network none ")
    pasted = pasted.replace("/tmp/page", str(folder / "page"))
    shell(f"echo {running.password} | docker login {running.address} -u admin --password-stdin 2>&1")
    output = shell(f"set -e; export GIT_ASKPASS={answer}\nmkdir readme; ln -s ../tests readme/tests; cd readme\n{pasted} cat index.html 2>&1")
    assert "Hello from a push" in output
