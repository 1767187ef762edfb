"""rows.py - the works of the table: each runs its servers in turns and says what it owes.

Touches  the servers it starts (servers.py) and the load program.
Never    prints the table or decides what a miss means: bench.py does.

A row is a function that takes the Bench and returns Lines. Within a row every repetition runs all
servers one after the other, every second repetition in the opposite order, so that a slow minute of
the machine hits all of them.
"""

import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

from servers import Nginx, Registry, Slipway

MIB = 1 << 20
GIB = 1 << 30
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REPOSITORY = "bench/load"


@dataclass
class Line:
    """One line of the table: ours against theirs, or against a plain number."""

    work: str
    against: str
    unit: str
    sense: str  # ">=": ours / theirs at least the target; "<=": at most
    target: float | None  # None: told, not owed
    ours: list
    theirs: list = field(default_factory=list)
    mode: str = ""
    note: str = ""

    def value(self):
        ours = statistics.median(self.ours)
        return ours / statistics.median(self.theirs) if self.theirs else ours

    def passed(self):
        value = self.value()
        if self.target is None:
            return True
        return value >= self.target if self.sense == ">=" else value <= self.target


class Series(dict):
    """Values by name, one for each repetition."""

    def add(self, name, value):
        self.setdefault(name, []).append(value)


class Bench:
    """What rows share: options, and the ways to put a load on a server."""

    def __init__(self, options):
        self.quick = options.quick
        self.root = options.root
        self.repetitions = options.repetitions or (2 if options.quick else 5)
        self.live = options.live or (20_000 if options.quick else 100_000)
        self.dead = options.dead or 10_000
        self.program = os.path.abspath(options.load)
        self.seed = int(time.time()) << 20

    def fresh_seed(self):
        self.seed += 1
        return self.seed

    def start(self, kind):
        return kind(self.root)

    def arguments(self, server, script, options):
        words = [self.program, script, "--address", server.address]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def load(self, server, script, nice=0, **options):
        """Runs the load to its end; returns what it saw and what the server spent."""
        before = server.cpu_s()
        done = subprocess.run(
            self.arguments(server, script, options),
            capture_output=True,
            text=True,
            preexec_fn=lambda: renice(nice),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{server.name}: {done.stderr.strip()}")
        seen = json.loads(done.stdout)
        seen["server_cpu_s"] = server.cpu_s() - before
        seen["rate"] = seen["operations"] / seen["elapsed_s"]
        return seen

    def load_aside(self, server, script, nice=0, stdout=subprocess.DEVNULL, **options):
        """Starts a load and returns its process; the caller waits for it or ends it."""
        return subprocess.Popen(
            self.arguments(server, script, options),
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: renice(nice),
        )

    def turns(self, *items):
        """Each repetition once, with the items in alternating order."""
        for repetition in range(self.repetitions):
            yield repetition, items if repetition % 2 == 0 else items[::-1]

    def seconds(self, full, quick=1):
        return quick if self.quick else full


def renice(nice):
    try:
        os.nice(nice)
    except PermissionError:
        pass


def push_blob(server, content):
    """Pushes bytes as a blob of the repository; returns the digest."""
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    status, headers, _ = server.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/")
    location = headers["Location"]
    location += ("&" if "?" in location else "?") + "digest=" + digest
    if location.startswith("http"):
        location = "/" + location.split("/", 3)[3]
    kind = {"Content-Type": "application/octet-stream"}
    status, _, reply = server.request("PUT", location, content, kind)
    if status != 201:
        raise RuntimeError(f"{server.name}: blob refused: {status} {reply[:200]}")
    return digest


def push_image(server, layer):
    """Pushes a small image tagged `latest`; returns manifest, its digest and the layer's."""
    config_digest, layer_digest = push_blob(server, b"{}"), push_blob(server, layer)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config_digest,
                "size": 2,
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": layer_digest,
                    "size": len(layer),
                }
            ],
        }
    ).encode()
    status, _, reply = server.request(
        "PUT", f"/v2/{REPOSITORY}/manifests/latest", manifest, {"Content-Type": MANIFEST}
    )
    if status != 201:
        raise RuntimeError(f"{server.name}: manifest refused: {status} {reply[:200]}")
    return manifest, "sha256:" + hashlib.sha256(manifest).hexdigest(), layer_digest


def against_nginx(work, series):
    """Requests/s; or, where the load itself had no time left, requests per CPU second spent."""
    each = [1e6 / statistics.median(series[name + " each"]) for name in ("slipway", "nginx", "registry")]
    note = "server CPU a request: {:.2f} us, nginx {:.2f} us, registry {:.0f} us".format(*each)
    if statistics.median(series["slipway busy"]) < 0.9:
        return Line(work, "nginx", "1/s", ">=", 1.2, series["slipway"], series["nginx"], note=note)
    note += "; the load ran out of CPU, so these are compared"
    return Line(
        work, "nginx", "1/cpu-s", ">=", 1.2, series["slipway each"], series["nginx each"], note=note
    )


def requests(bench):
    """Small requests answered from memory: manifest by tag, by digest, presence of a blob."""
    layer = os.urandom(64 * 1024)
    lines = []
    with bench.start(Slipway) as slipway, bench.start(Registry) as registry, bench.start(Nginx) as nginx:
        manifest, digest, layer_digest = push_image(slipway, layer)
        push_image(registry, layer)
        manifest_file, layer_file = nginx.put("manifest", manifest), nginx.put("layer", layer)
        base = f"/v2/{REPOSITORY}"
        for work, script, path, file in (
            ("manifest GET by tag", "get", f"{base}/manifests/latest", manifest_file),
            ("manifest GET by digest", "get", f"{base}/manifests/{digest}", manifest_file),
            ("blob HEAD", "head", f"{base}/blobs/{layer_digest}", layer_file),
        ):
            series = Series()
            for _, servers in bench.turns(slipway, registry, nginx):
                for server in servers:
                    seen = bench.load(
                        server, script, clients=64, warmup=0.3, seconds=bench.seconds(2),
                        path=file if server is nginx else path,
                    )  # fmt: skip
                    series.add(server.name, seen["rate"])
                    whole_s = seen["elapsed_s"] + 0.3
                    series.add(server.name + " each", seen["rate"] * whole_s / seen["server_cpu_s"])
                    series.add(server.name + " busy", seen["client_cpu_s"] / whole_s)
            lines.append(Line(work, "registry", "1/s", ">=", 40, series["slipway"], series["registry"]))
            lines.append(against_nginx(work, series))
    return lines


def pull(bench):
    """1 GiB from the page cache, thrown away by the load."""
    series = Series()
    size, count = (256 * MIB, 2) if bench.quick else (GIB, 4)
    block = os.urandom(MIB)
    with bench.start(Slipway) as slipway, bench.start(Nginx) as nginx:
        content = block * (size // MIB)
        paths = {
            slipway: f"/v2/{REPOSITORY}/blobs/{push_blob(slipway, content)}",
            nginx: nginx.put("blob", content),
        }
        del content
        for server, path in paths.items():
            bench.load(server, "get", path=path, count=1)
        for _, servers in bench.turns(slipway, nginx):
            for server in servers:
                seen = bench.load(server, "get", path=paths[server], count=count)
                gib = count * size / GIB
                series.add(server.name, seen["server_cpu_s"] / gib)
                series.add(server.name + " wall", seen["elapsed_s"] / gib)
    wall = " against ".join(f"{statistics.median(series[n + ' wall']):.2f} s" for n in ("slipway", "nginx"))
    return [
        Line("pull 1 GiB, server CPU", "nginx sendfile", "cpu-s/GiB", "<=", 1.0, series["slipway"],
             series["nginx"], note="wall " + wall)
    ]  # fmt: skip


def openssl_cpu_s(path):
    """User and system time of `openssl dgst -sha256` of the file."""
    process = subprocess.Popen(["openssl", "dgst", "-sha256", path], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status != 0:
        raise RuntimeError("openssl dgst failed")
    return usage.ru_utime + usage.ru_stime


def push(bench):
    """One blob of 1 GiB, by POST, PATCH, PUT; a fresh store and warmed memory each time."""
    series = Series()
    size = 256 * MIB if bench.quick else GIB
    with tempfile.NamedTemporaryFile(dir=bench.root) as file:
        block = os.urandom(MIB)
        for _ in range(size // MIB):
            file.write(block)
        file.flush()
        openssl_cpu_s(file.name)
        for _, kinds in bench.turns(Slipway, Registry):
            for kind in kinds:
                with bench.start(kind) as server:
                    os.sync()
                    seen = bench.load(
                        server, "patch", count=1, size=size, seed=bench.fresh_seed(),
                        touch=2 * size + GIB,
                    )  # fmt: skip
                    series.add(kind.name + " wall", seen["elapsed_s"] * GIB / size)
                    series.add(kind.name + " cpu", seen["server_cpu_s"] * GIB / size)
            series.add("openssl", openssl_cpu_s(file.name) * GIB / size)
    mode = Slipway.durability
    return [
        Line("push 1 GiB, wall", "registry", "s", "<=", 0.45, series["slipway wall"], series["registry wall"], mode),
        Line("push 1 GiB, server CPU", "registry", "cpu-s", "<=", 0.4, series["slipway cpu"], series["registry cpu"], mode),
        Line("push 1 GiB, server CPU", "openssl dgst", "cpu-s", "<=", 2.0, series["slipway cpu"], series["openssl"], mode),
    ]  # fmt: skip


def small(bench):
    """64 blobs of 1 MiB by 8 clients, in pieces (POST, PATCH, PUT) and at once (POST, PUT)."""
    series = Series()
    with bench.start(Slipway) as slipway, bench.start(Registry) as registry:
        for _, servers in bench.turns(slipway, registry):
            for script in ("patch", "put"):
                for server in servers:
                    seen = bench.load(
                        server, script, clients=8, count=64, items=64, size=MIB,
                        seed=bench.fresh_seed(), touch=GIB // 4,
                    )  # fmt: skip
                    series.add(f"{server.name} {script}", seen["rate"])
    return [
        Line(f"64 x 1 MiB by 8 clients, {name}", "registry", "1/s", ">=", 2,
             series["slipway " + script], series["registry " + script], Slipway.durability)
        for script, name in (("patch", "PATCH"), ("put", "PUT"))
    ]  # fmt: skip


def tags(bench):
    """Tags put by 8 clients into one repository, each naming a manifest of its own."""
    series = Series()
    with bench.start(Slipway) as slipway, bench.start(Registry) as registry:
        for repetition, servers in bench.turns(slipway, registry):
            for server in servers:
                seen = bench.load(
                    server, "tag", clients=8, seconds=bench.seconds(2), size=100,
                    seed=bench.fresh_seed(), tag=f"r{repetition}",
                )  # fmt: skip
                series.add(server.name, seen["rate"])
    return [
        Line("tag PUTs by 8 clients, one repository", "registry", "1/s", ">=", 5, series["slipway"],
             series["registry"], Slipway.durability)
    ]  # fmt: skip


def page(bench):
    """A page of 100 tags: in a repository of 100, and first and middle of one of 100,000."""
    series = Series()
    many = 10_000 if bench.quick else 100_000
    with bench.start(Slipway) as slipway:
        for name, count in (("bench/few", 100), ("bench/many", many)):
            bench.load(
                slipway, "tag", clients=64, count=count, size=100, repository=name, same_manifest=1,
                seed=bench.fresh_seed(),
            )  # fmt: skip
        pages = {
            "few": "/v2/bench/few/tags/list?n=100",
            "first": "/v2/bench/many/tags/list?n=100",
            "middle": f"/v2/bench/many/tags/list?n=100&last=t-{many // 2}",
        }
        for _, names in bench.turns(*pages):
            for name in names:
                seen = bench.load(
                    slipway, "get", path=pages[name], warmup=0.2, seconds=bench.seconds(1, 0.5)
                )
                series.add(name, 1e3 / seen["rate"])
    return [
        Line(f"page of 100 tags, {name} of {many}", "the same of 100", "ms", "<=", 1.5, series[name], series["few"])
        for name in ("first", "middle")
    ]  # fmt: skip


def mixed(bench):
    """16 clients; a quarter of the operations push an image of 64 KiB, the others pull one."""
    series = Series()
    with bench.start(Slipway) as slipway, bench.start(Registry) as registry:
        for repetition, servers in bench.turns(slipway, registry):
            for server in servers:
                seen = bench.load(
                    server, "image", clients=16, seconds=bench.seconds(4, 2), size=64 * 1024,
                    items=8000, prepare=32, pulls=75, seed=bench.fresh_seed(), tag=f"m{repetition}",
                )  # fmt: skip
                series.add(server.name, seen["rate"])
                series.add(server.name + " p99", seen["pulls"]["p99_us"] / 1e3)
    mode = Slipway.durability
    return [
        Line("16 clients push and pull", "registry", "1/s", ">=", 5, series["slipway"], series["registry"], mode),
        Line("16 clients push and pull, pull p99", "registry", "ms", "<=", 0.2, series["slipway p99"], series["registry p99"], mode),
    ]  # fmt: skip


def memory_peak(bench, server, **options):
    """The most memory seen while 100 clients upload."""
    load = bench.load_aside(
        server, "patch", clients=100, count=100, items=100, seed=bench.fresh_seed(), **options
    )
    peak = 0
    while load.poll() is None:
        peak = max(peak, server.memory_bytes())
        time.sleep(0.02)
    if load.returncode != 0:
        raise RuntimeError(f"{server.name}: uploads failed while memory was watched")
    return peak


def memory(bench):
    """Resident memory: idle after a few requests, and for each of 100 uploads in flight."""
    series = Series()
    slow = {"size": 4 * MIB, "pace": MIB if bench.quick else MIB // 2}
    for _ in range(min(bench.repetitions, 3)):
        for name, options in (("slow", slow), ("fast", {"size": 8 * MIB})):
            with bench.start(Slipway) as server:
                push_image(server, os.urandom(MIB))
                time.sleep(0.5)
                idle = server.memory_bytes()
                peak = memory_peak(bench, server, **options)
                series.add("idle", idle / MIB)
                series.add(name, (peak - idle) / MIB / 100)
    return [
        Line("memory, idle", "-", "MiB", "<=", 32, series["idle"]),
        Line("memory per upload, 100 slow ones", "-", "MiB", "<=", 1.5, series["slow"]),
        Line("memory per upload, 100 at full speed", "-", "MiB", "<=", 1.5, series["fast"]),
    ]


def latency(bench):
    """p99 of small GETs, 4,000 a second, alone and while 4 uploads run as fast as they can.

    The probe goes first and the uploading clients last: clients elsewhere take no core from a server.
    """
    series = Series()
    options = {"clients": 8, "interval_us": 2000, "warmup": 0.3, "seconds": bench.seconds(2)}
    with bench.start(Slipway) as server:
        push_image(server, os.urandom(MIB))
        path = f"/v2/{REPOSITORY}/manifests/latest"
        for _ in range(bench.repetitions):
            seen = bench.load(server, "get", nice=-15, path=path, **options)
            series.add("idle", seen["latency"]["p99_us"] / 1e3)
            aside = bench.load_aside(
                server, "patch", nice=10, clients=4, seconds=60, items=12, size=256 * MIB,
                seed=bench.fresh_seed(),
            )  # fmt: skip
            try:
                wait_busy(server)
                seen = bench.load(server, "get", nice=-15, path=path, **options)
                if aside.poll() is not None:
                    raise RuntimeError("the uploads ended before the small requests did")
            finally:
                aside.kill()
                aside.wait()
            series.add("busy", seen["latency"]["p99_us"] / 1e3)
    return [
        Line("small GET p99 while 4 uploads run", "idle", "ms", "<=", 5, series["busy"], series["idle"])
    ]  # fmt: skip


def wait_busy(server):
    """Returns once the server has begun to work hard: the load has computed its digests."""
    start, deadline = server.cpu_s(), time.monotonic() + 60
    while server.cpu_s() - start < 0.3:
        if time.monotonic() > deadline:
            raise RuntimeError("the uploads never began")
        time.sleep(0.02)


ROWS = {
    row.__name__: row for row in (requests, pull, push, small, tags, page, mixed, memory, latency)
}
