"""collect.py - rows about collection: what a run touches, what it does to pulls, and docker-registry's way.

Touches  the servers it starts (servers.py), roots that fill.py filled, the load program.
Never    lets the collector work by itself: it is paused, and each run is asked for.

`--live` and `--dead` say how many blobs; a tenth of the live ones beside as many dead shows what a
run costs by what lives.
"""

import json
import os
import resource
import subprocess
import tempfile
import time

import fill
from rows import MIB, REPOSITORY, Line, Series
from servers import Registry, Slipway

SETTINGS = {"auth.mode": "none", "gc.late": "0s", "gc.schedule": "", "scrub.rate": "0",
            "gc.interval": "1h"}  # the run removes all files itself, and counts them


class Filled(Slipway):
    """Slipway on a root that is not empty; started again on demand, and how long that took."""

    name = "filled"
    settings = SETTINGS

    def __init__(self, base, content):
        self.content, self.start_s = content, 0.0
        super().__init__(base)

    @property
    def store(self):
        return f"{self.root}/store"

    def command(self):
        if not os.path.exists(self.store):
            with Slipway(self.root) as empty:  # makes the schema; its root goes with it
                empty.process.terminate()
                empty.process.wait(10)
                os.rename(f"{empty.root}/store", self.store)
            fill.fill(self.store, self.content)
            os.sync()
        self.began = time.monotonic()
        return super().command()

    def wait_ready(self):
        """Connections are refused until it listens, so asking often costs it nothing."""
        while self.process.poll() is None and time.monotonic() < self.began + 60:
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    self.start_s = time.monotonic() - self.began
                    return
            except OSError:
                time.sleep(0.002)
        super().wait_ready()

    def start_again(self, between=None):
        self.process.terminate()
        self.process.wait(30)
        if between is not None:
            between(self.store)
        os.sync()
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        self.wait_ready()

    def calls(self):
        """Read and write calls so far: pages of the database, mostly."""
        with open(f"/proc/{self.process.pid}/io") as file:
            seen = dict(line.split(": ") for line in file.read().splitlines())
        return int(seen["syscr"]) + int(seen["syscw"])


def run_words(server):
    words = server.command()
    return [words[0], "gc", "run", "--json", *words[2:]]


def report_of(done, output):
    if done != 0:
        raise RuntimeError(f"gc run ended with {done}: {output[-300:]}")
    return json.loads(output)


def run(server):
    done = subprocess.run(run_words(server), capture_output=True, text=True)
    return report_of(done.returncode, done.stdout + done.stderr)


# --- what a run touches ---


def touched(server, series, name):
    """The first half of the dead goes, with nobody else there."""
    dead = server.content.dead // 2 * fill.PARTS
    files, calls = fill.count_files(server.store), server.calls()
    report = run(server)
    series.add(name + " calls", (server.calls() - calls) / dead)
    series.add(name + " reviews", report["reviewed"] / dead)
    series.add(name + " files", (files - fill.count_files(server.store)) / dead)
    series.add(name + " s", report["duration_ms"] / 1000)
    if report["removed"]["blobs"] != dead or report["trash"]["files"] != dead:
        raise RuntimeError(f"{dead} blobs were dead, the run says {report}")


def write_paths(content):
    """Some thousand pulls that follow each other at random, as far as memory goes."""
    file = tempfile.NamedTemporaryFile("w", suffix=".paths")
    step = max(content.live_blobs // 20011, 1) | 1
    blobs, manifests = content.blob_paths(step), content.manifest_paths(max(content.live // 5003, 1) | 1)
    for number, path in enumerate(blobs):
        file.write(path + "\n")
        if number % 4 == 0 and (manifest := next(manifests, None)) is not None:
            file.write(manifest + "\n")
    file.flush()
    return file


def probe(bench, server, paths, seconds):
    seen = bench.load(
        server, "get", nice=-15, paths=paths, clients=8, interval_us=2000, warmup=0.2, seconds=seconds
    )
    return seen["latency"]["p99_us"] / 1e3


def pulls(bench, server, series):
    """p99 of 4,000 pulls a second, alone and while the second half of the dead goes."""
    with write_paths(server.content) as paths:
        probe(bench, server, paths.name, 1)
        for _ in range(bench.repetitions):
            series.add("idle", probe(bench, server, paths.name, bench.seconds(2)))
        aside = subprocess.Popen(run_words(server), stdout=subprocess.PIPE, text=True)
        while aside.poll() is None:
            found = probe(bench, server, paths.name, 0.3)
            if aside.poll() is None:  # it ran all the time
                series.add("running", found)
        report = report_of(aside.returncode, aside.communicate()[0])
    series.add("beside s", report["duration_ms"] / 1000)
    if "running" not in series:
        raise RuntimeError(f"the run was over in {report['duration_ms']} ms: give more --dead")


def collect(bench):
    """Rows, files and calls of a run; start-up and pulls beside many blobs."""
    series = Series()
    small = fill.Content(bench.live // 10, bench.dead)
    large = fill.Content(bench.live, bench.dead)
    with Filled(bench.root, small) as server:
        touched(server, series, "small")
    with Filled(bench.root, large) as server:
        series.add("start", server.start_s)
        idle = server.memory_bytes()
        touched(server, series, "large")
        if run(server)["reviewed"] != 0:
            raise RuntimeError("a run with nothing due reviewed something")
        server.start_again(fill.second_half_due)
        series.add("start", server.start_s)
        pulls(bench, server, series)
        peak = server.memory_peak_bytes()
    tenth, beside = "a tenth lives", f"{large.live_blobs:,} live, {large.dead_blobs:,} dead blobs"
    took = "{:.1f} s alone, {:.1f} s beside pulls, for half of the dead each".format(
        series["large s"][0], series["beside s"][0]
    )
    memory = f"memory {idle / MIB:.0f} MiB after the start, {peak / MIB:.0f} MiB at most"
    return [
        Line("collection: reviews a dead blob", tenth, "", "<=", 1.01, series["large reviews"],
             series["small reviews"], note=beside),
        Line("collection: files gone a dead blob", tenth, "", "<=", 1, series["large files"],
             series["small files"], note=took),
        Line("collection: calls a dead blob", tenth, "", "<=", 2, series["large calls"],
             series["small calls"], note="reads and writes, of database pages mostly"),
        Line("start beside all of these", "-", "s", "<=", 1, series["start"], note=memory),
        Line("pulls p99 while it runs", "idle", "ms", "<=", 2, series["running"], series["idle"],
             note="4,000 a second, of different blobs and tags"),
    ]  # fmt: skip


# --- docker-registry's way ---


class SlipwayDeleting(Slipway):
    settings = {**SETTINGS, "gc.grace": "1s", "gc.undo": "0s"}


class RegistryDeleting(Registry):
    def command(self):
        words = super().command()
        with open(words[-1]) as file:
            text = file.read()
        with open(words[-1], "w") as file:
            file.write(text.replace("storage:\n", "storage:\n  delete: {enabled: true}\n"))
        return words


def count_blobs(server):
    """Files below the folder of blobs."""
    below = "store/docker/registry/v2/blobs" if isinstance(server, Registry) else "store/blobs"
    return sum(len(files) for _, _, files in os.walk(f"{server.root}/{below}"))


def push_and_delete(bench, server, images, dead):
    """So many images of one layer, and then so many manifests deleted, evenly spread."""
    bench.load(server, "image", clients=4, count=images, items=images, size=4096, seed=1)
    for number in range(dead):
        path = f"/v2/{REPOSITORY}/manifests/"
        tag = f"t-{number * (images // dead)}"
        _, headers, _ = server.request("HEAD", path + tag, headers={"Accept": fill.MANIFEST})
        status, _, reply = server.request("DELETE", path + headers["Docker-Content-Digest"])
        if status != 202:
            raise RuntimeError(f"{server.name}: delete refused: {status} {reply[:200]}")


def timed(words, server=None):
    """Wall and CPU seconds of a command, with what it made the server do."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, began = server.cpu_s() if server else 0, time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True)
    wall = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"{words[1]}: {done.stderr[-300:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - spent.ru_utime - spent.ru_stime
    return wall, cpu + (server.cpu_s() - before if server else 0)


def collect_ours(bench, images, dead):
    with bench.start(SlipwayDeleting) as server:
        words = server.command()
        timed([words[0], "gc", "pause", *words[2:]])
        push_and_delete(bench, server, images, dead)
        time.sleep(1.1)  # the lease
        before = count_blobs(server)
        spent = timed(run_words(server), server)
        return *spent, before - count_blobs(server)


def collect_theirs(bench, images, dead):
    with bench.start(RegistryDeleting) as server:
        push_and_delete(bench, server, images, dead)
        before = count_blobs(server)
        server.process.terminate()  # it must not take pushes meanwhile
        server.process.wait(10)
        spent = timed(["docker-registry", "garbage-collect", f"{server.root}/config.yml"])
        return *spent, before - count_blobs(server)


def garbage(bench):
    """The same images pushed to both, the same deleted; then each collects."""
    series, gone = Series(), Series()
    images, dead = (300, 30) if bench.quick else (2000, 200)
    ways = (("ours", collect_ours), ("theirs", collect_theirs))
    for _, order in bench.turns(*ways) if bench.quick else list(bench.turns(*ways))[:3]:
        for name, way in order:
            wall, cpu, files = way(bench, images, dead)
            series.add(name, wall)
            series.add(name + " cpu", cpu)
            gone.add(name, files)
    if min(gone["ours"]) < dead:
        raise RuntimeError(f"{dead} images are dead, {gone['ours']} blobs went")
    note = f"{images} images, {dead} deleted; it must take no pushes meanwhile, slipway serves"
    return [
        Line("collection, wall", "garbage-collect", "s", "<=", 1, series["ours"], series["theirs"], note=note),
        Line("collection, CPU", "garbage-collect", "s", "<=", 1, series["ours cpu"], series["theirs cpu"]),
    ]


ROWS = {row.__name__: row for row in (collect, garbage)}
