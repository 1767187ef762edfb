"""build.py - rows about builds: a push that becomes an image, beside buildah building and pushing the same.

Touches  the servers it starts (servers.py), git repositories and buildah's storage below a temporary folder.
Never    the machine's own images or repositories.

The builder is busybox with a script that copies; the application is three small files. What is
timed is what people wait for: `git push` from its start to its end, when the tag has moved.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from rows import MIB, Line, Series
from servers import Slipway

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import building, process, wire  # noqa: E402

BUILDER = "builders/bench"
PUSHES = 100


class Building(Slipway):
    """Slipway with a builder, and an image for it."""

    name = "building"
    settings = {"auth.mode": "none", "builds.enabled": "true", "builds.concurrency": "4", "builds.keep_complete": "1000"}

    def __enter__(self):
        self.target = wire.Target("127.0.0.1", self.port, None)
        process.wait_for(lambda: b"builder.connected" in pathlib.Path(self.log.name).read_bytes(), 20, "a builder")
        building.builder(self, BUILDER)
        return self


class Application:
    """A git repository that is pushed again and again, each time with a change."""

    def __init__(self, folder):
        self.source = building.Source(folder, {"index.html": "hello\n", "docs/about.txt": "about\n", "style.css": "p{}\n"})
        self.changes = 0

    def change(self):
        self.changes += 1
        self.source.commit({"index.html": f"hello {self.changes}\n"})

    def push(self, server, repository, ref="main"):
        """Seconds."""
        began = time.monotonic()
        tag = () if ref == "main" else ("-o", f"tag={ref}")
        self.source.push(server, repository, "-q", "-o", f"builder={BUILDER}", *tag, ref=ref)
        return time.monotonic() - began


class Buildah:
    """The same by buildah: FROM the builder, COPY, RUN its script, push. Isolation chroot is its fastest here."""

    def __init__(self, server, folder):
        self.folder, self.server = pathlib.Path(folder), server
        (self.folder / "policy.json").write_text('{"default":[{"type":"insecureAcceptAnything"}]}')
        self.options = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]

    def run(self, *words, cwd=None):
        done = subprocess.run(["buildah", *self.options, *words], capture_output=True, text=True, cwd=cwd or self.folder,
                              timeout=120, env={**os.environ, "HOME": str(self.folder), "BUILDAH_ISOLATION": "chroot"})
        if done.returncode != 0:
            raise RuntimeError(f"buildah {words[0]}: {done.stderr[-400:]}")

    def build(self, application, repository):
        address = self.server.address
        context = application.source.folder
        dockerfile = self.folder / "Dockerfile"
        dockerfile.write_text(f"FROM {address}/{BUILDER}:latest\nCOPY --chown=1001:0 . /tmp/src\n"
                              f"RUN {building.SCRIPTS}/assemble\nCMD {building.SCRIPTS}/run\n")
        common = ["--tls-verify=false", "--signature-policy", str(self.folder / "policy.json")]
        began = time.monotonic()
        self.run("bud", *common, "-q", "--pull=false", "-f", str(dockerfile),
                 "-t", f"{address}/{repository}:latest", str(context))
        self.run("push", "-q", *common, f"{address}/{repository}:latest")
        return time.monotonic() - began


def side_by_side(bench, server, folder, series):
    application = Application(pathlib.Path(folder) / "app")
    buildah = Buildah(server, folder)
    ways = (("push", lambda: application.push(server, "bench/app")),
            ("buildah", lambda: buildah.build(application, "bench/buildah")))
    for way in ways:  # layers unpacked, images pulled
        application.change()
        way[1]()
    for _, order in bench.turns(*ways):
        for name, way in order:
            application.change()
            series.add(name, way())
    for number in range(bench.repetitions):
        building.git(application.source.folder, "branch", "-f", f"again{number}")
        series.add("again", application.push(server, "bench/app", ref=f"again{number}"))


def push_many(server, folder, count):
    """So many applications pushed at once, each into a repository of its own. Wall seconds."""
    applications = [Application(pathlib.Path(folder) / f"many{number}") for number in range(count)]
    failures = []

    def push(number):
        try:
            applications[number].push(server, f"bench/many{number}")
        except Exception as failure:  # told below
            failures.append(failure)
    threads = [threading.Thread(target=push, args=(number,)) for number in range(count)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.monotonic() - began
    if failures:
        raise RuntimeError(f"{len(failures)} of {count} pushes failed: {failures[0]}")
    return wall


def memory_of(pid):
    """Resident bytes of one process."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))


def build(bench):
    """A push beside buildah, the same commit again, many pushes at once."""
    series = Series()
    count = 20 if bench.quick else PUSHES
    with bench.start(Building) as server, tempfile.TemporaryDirectory(dir=bench.root) as folder:
        side_by_side(bench, server, folder, series)
        before = memory_of(server.process.pid)
        series.add("many", push_many(server, folder, count))
        peak, after = server.memory_peak_bytes(), memory_of(server.process.pid)
    memory = f"memory {before / MIB:.0f} MiB before, {after / MIB:.0f} after, at most {peak / MIB:.0f}"
    return [
        Line("git push of a small app to tag moved", "buildah", "s", "<=", 0.5, series["push"], series["buildah"],
             note="bud with isolation chroot, its fastest here, and push of the same"),
        Line("the same commit to another branch", "-", "s", "<=", 0.3, series["again"]),
        Line(f"{count} pushes at once, 4 at a time: s a push", "-", "s", "<=", None,
             [series["many"][0] / count], note=memory),
    ]  # fmt: skip


BURN = "#!/bin/sh\necho burning\nfor i in 1 2 3 4; do (while :; do :; done) & done\nsleep 30\n"


def beside(bench):
    """p99 of small GETs, 4,000 a second, alone and while a build keeps four processes busy."""
    series = Series()
    options = {"clients": 8, "interval_us": 2000, "warmup": 0.3, "seconds": bench.seconds(2)}
    path = f"/v2/{BUILDER}/manifests/latest"
    with bench.start(Building) as server, tempfile.TemporaryDirectory(dir=bench.root) as folder:
        source = building.Source(pathlib.Path(folder) / "app", {"x": "x", ".s2i/bin/assemble": BURN})
        for number in range(bench.repetitions):
            seen = bench.load(server, "get", nice=-15, path=path, **options)
            series.add("idle", seen["latency"]["p99_us"] / 1e3)
            source.commit({"x": f"{number}"})
            aside = threading.Thread(target=source.push, args=(server, "bench/burn", "-o", f"builder={BUILDER}"),
                                     kwargs={"check": False})
            aside.start()
            wait_burning(server, number + 1)
            seen = bench.load(server, "get", nice=-15, path=path, **options)
            series.add("busy", seen["latency"]["p99_us"] / 1e3)
            server.request("POST", f"/api/v1/builds/{number + 1}:cancel")
            aside.join()
    return [
        Line("small GET p99 while a build burns CPU", "idle", "ms", "<=", 5, series["busy"], series["idle"])
    ]  # fmt: skip


def wait_burning(server, build):
    log = pathlib.Path(server.root) / "store/builds/logs" / f"{build}.log"
    process.wait_for(lambda: log.exists() and b"burning" in log.read_bytes(), 30, "the build runs")


ROWS = {"build": build, "beside": beside}
