"""identity.py - rows about asking who is there: what it costs, and what log-ins do to the others.

Touches  the servers it starts (servers.py) and the load program.
Never    a peer: every line compares Slipway with itself, open or idle.

Accounts are made through the management API; tokens come from the token endpoint. The price of a
token is what a request takes on a server that wants one, against the same on an open server: both
run side by side and take turns.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from rows import MIB, REPOSITORY, Line, Series, push_image, wait_busy
from servers import Slipway, SlipwayAsking, SlipwayPublic, basic

BASE = f"/v2/{REPOSITORY}"
SCOPE = f"repository:{REPOSITORY}:pull"
CLIENTS = 200  # of the storm
LOGIN = f"/token?client_id=docker&offline_token=true&service=slipway&scope={SCOPE}"  # as docker login asks
WRONG_US = 100_000  # who guesses is told to wait, and answers as fast as the load asks


# --- what a token costs ---


def measure(bench, series, name, server, script, path, **more):
    """Adds the microseconds a request took of the wall, and of the server's CPU."""
    seen = bench.load(
        server, script, clients=64, warmup=0.3, seconds=bench.seconds(1), path=path, **more
    )
    whole_s = seen["elapsed_s"] + 0.3
    series.add(name, 1e6 / seen["rate"])
    series.add(name + " cpu", 1e6 * seen["server_cpu_s"] / (seen["rate"] * whole_s))
    series.add(name + " busy", seen["client_cpu_s"] / whole_s)


def price(work, series, name, target):
    """Time of a request; or, where the load itself had no time left, the server's CPU time."""
    cpu = [statistics.median(series[which + " cpu"]) for which in (name, "open")]
    note = "server CPU a request: {:.2f} us, open {:.2f} us".format(*cpu)
    unit, of = "us", ""
    if max(statistics.median(series[which + " busy"]) for which in (name, "open")) >= 0.9:
        unit, of = "cpu-us", " cpu"
        wall = [statistics.median(series[which]) for which in (name, "open")]
        note = "the load ran out of CPU; by the wall {:.2f} us, open {:.2f} us".format(*wall)
    return Line(work, "open server", unit, "<=", target, series[name + of], series["open" + of], note=note)


def identity(bench):
    """A pull by somebody who is known, against the same on a server that asks nobody."""
    layer = os.urandom(64 * 1024)
    lines = []
    with bench.start(Slipway) as open_server, bench.start(SlipwayAsking) as asking:
        _, digest, layer_digest = push_image(open_server, layer)
        push_image(asking, layer)
        bearer = {"authorization": asking.token(SCOPE)}
        password = {"authorization": basic(*asking.admin)}
        by_digest, blob = f"{BASE}/manifests/{digest}", f"{BASE}/blobs/{layer_digest}"
        for work, script, path, more, ways in (
            ("manifest GET by tag, {}", "get", f"{BASE}/manifests/latest", {}, {"token": bearer}),
            ("manifest GET by digest, {}", "get", by_digest, {}, {"token": bearer, "password": password}),
            ("blob HEAD, {}", "head", blob, {}, {"token": bearer}),
            ("manifest GET, {}, new connections", "get", by_digest, {"fresh": 1}, {"token": bearer}),
        ):
            series = Series()
            turns = [("open", open_server, {})] + [(name, asking, given) for name, given in ways.items()]
            for _, order in bench.turns(*turns):
                for name, server, given in order:
                    measure(bench, series, name, server, script, path, **more, **given)
            lines += [price(work.format(name), series, name, None if more else 1.15) for name in ways]
    return lines


# --- how fast tokens are given and looked at ---


def distinct_tokens(server, count):
    """A file of tokens that nobody showed yet."""
    file = tempfile.NamedTemporaryFile("w", dir=server.root, suffix=".tokens")
    for _ in range(count):
        file.write(server.token(SCOPE) + "\n")
    file.flush()
    return file


def tokens(bench):
    """Requests per second to the token endpoint and with what memory does not know yet."""
    series = Series()
    count = 500 if bench.quick else 2000
    with bench.start(SlipwayPublic) as server:
        _, digest, _ = push_image(server, os.urandom(1024))
        personal = server.api("me/tokens", label="bench")["secret"]
        ask, pull = f"/token?scope={SCOPE}", f"{BASE}/manifests/{digest}"
        options = {"clients": 16, "warmup": 0.3, "seconds": bench.seconds(1)}
        for _ in range(bench.repetitions):
            series.add("anonymous", bench.load(server, "get", path=ask, **options)["rate"])
            given = {"authorization": basic(server.admin[0], personal)}
            series.add("personal", bench.load(server, "get", path=ask, **options, **given)["rate"])
            series.add("refused", bench.load(server, "get", path=pull, status=401, **options)["rate"])
            with distinct_tokens(server, count) as file:
                seen = bench.load(
                    server, "get", path=pull, clients=16, count=count, authorizations=file.name
                )
            series.add("first", seen["rate"])
    return [
        Line("tokens given to nobody", "-", "1/s", ">=", None, series["anonymous"]),
        Line("tokens for a personal token", "-", "1/s", ">=", None, series["personal"]),
        Line("refusals with a challenge", "-", "1/s", ">=", None, series["refused"]),
        Line("tokens seen for the first time", "-", "1/s", ">=", None, series["first"]),
    ]


# --- storms ---


def add_users(server):
    """Accounts that log in; returns their names and passwords."""
    people = [(f"user-{i:03}", f"a password of number {i:03}") for i in range(CLIENTS)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda who: server.api("users", name=who[0], password=who[1]), people))
    return people


def spellings(scheme):
    """The scheme is read in any case, but a header is remembered as it came."""
    for bits in range(1 << len(scheme)):
        yield "".join(c.upper() if bits >> i & 1 else c.lower() for i, c in enumerate(scheme))


def credentials_file(server, people):
    """Each line is a log-in that has not been seen, so that its password must be hashed."""
    file = tempfile.NamedTemporaryFile("w", dir=server.root, suffix=".logins")
    for scheme in spellings("basic"):
        for who in people:
            file.write(scheme + basic(*who)[len("basic") :] + "\n")
    file.flush()
    return file


def probe(bench, server, series, name, given, works):
    """The p99 of each work, 4,000 requests a second."""
    for work, path in works.items():
        seen = bench.load(
            server, "get", nice=-15, path=path, clients=8, interval_us=2000, warmup=0.3,
            seconds=bench.seconds(1), **given,
        )  # fmt: skip
        series.add(f"{work} {name}", seen["latency"]["p99_us"] / 1e3)


def storm_once(bench, server, series, name, given, works, logins, **more):
    """Probes while everybody logs in; returns how many log-ins were answered."""
    began = time.monotonic()
    aside = bench.load_aside(
        server, "get", nice=10, stdout=subprocess.PIPE, path=LOGIN, clients=CLIENTS,
        seconds=len(works) * (bench.seconds(1) + 0.5) + 0.5, authorizations=logins.name, status=0,
        **more,
    )  # fmt: skip
    try:
        wait_busy(server)
        probe(bench, server, series, name, given, works)
        seen = json.loads(aside.communicate(timeout=60)[0])
    finally:
        aside.kill()
        aside.wait()
    series.add(name + " rate", (seen["operations"] - seen["refused"]) / (time.monotonic() - began))
    series.add(name + " refused", seen["refused"] / (time.monotonic() - began))
    return seen["operations"] + CLIENTS


def storm(bench):
    """p99 of pulls while 200 clients log in, with right and with wrong passwords."""
    series = Series()
    with bench.start(SlipwayAsking) as server:
        _, digest, layer = push_image(server, os.urandom(1024))
        people = add_users(server)
        given = {"authorization": server.token(SCOPE)}
        works = {"manifest": f"{BASE}/manifests/{digest}", "blob": f"{BASE}/blobs/{layer}"}
        done = 0
        with credentials_file(server, people) as right, \
                credentials_file(server, [(name, "not it") for name, _ in people]) as wrong:  # fmt: skip
            for _ in range(min(bench.repetitions, 3)):
                probe(bench, server, series, "idle", given, works)
                done += storm_once(bench, server, series, "right", given, works, right, first=done)
                storm_once(bench, server, series, "wrong", given, works, wrong, interval_us=WRONG_US)
        peak = server.memory_peak_bytes() / MIB
    lines = []
    for name in ("right", "wrong"):
        note = "{:.0f} log-ins a second; {:.0f} refused".format(
            statistics.median(series[name + " rate"]), statistics.median(series[name + " refused"])
        )
        for work, title in (("manifest", "small GET"), ("blob", "blob GET")):
            lines.append(
                Line(f"{title} p99, {CLIENTS} {name} log-ins", "idle", "ms", "<=", 5,
                     series[f"{work} {name}"], series[f"{work} idle"], note=note)
            )  # fmt: skip
    lines.append(Line(f"memory, {CLIENTS} log-ins, peak", "-", "MiB", "<=", None, [peak]))
    return lines


def resident(bench):
    """Resident memory of an idle server that asks, after a few requests."""
    values = []
    for _ in range(min(bench.repetitions, 3)):
        with bench.start(SlipwayAsking) as server:
            push_image(server, os.urandom(MIB))
            server.token(SCOPE)
            time.sleep(0.5)
            values.append(server.memory_bytes() / MIB)
    return [Line("memory, idle, asking who is there", "-", "MiB", "<=", 32, values)]


ROWS = {row.__name__: row for row in (identity, tokens, storm, resident)}
