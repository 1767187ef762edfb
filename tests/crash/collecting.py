"""collecting.py - rounds of kills of a server that collects, under clients that count on promises.

Touches  one server at a time, a scratch folder, one process of its own for each session.
Never    counts a kill after which not everything was looked at.

A session makes roots one after the other. Each has its own windows: leases, undo, delay of bytes,
life of uploads, all fractions of a second. At the end of a root everything is deleted, every window
passes, and nothing may be left.
"""
import collections
import contextlib
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import traceback

from crash import control, ground, keeper, promises, rig, workload
from support import content, process, wire

ROUNDS_A_ROOT = 25
KEEPERS = 4
LEAKS = "what is left"
PATIENCE, FIRST = 0.6, 20  # seconds for a point to be reached; the first time
PLENTY = 12  # blobs pushed and promises held a kill, on the average: more than test_collect.py asks for
LEAK_PATIENCE = 60  # seconds for everything to be collected after its windows
BLOB, FOLDER, WAL, DATABASE = "root/blobs/??/*", "root/blobs/??", "root/meta.db-wal", "root/meta.db"
POINTS = {
    "before bytes go": (control.UNLINK, control.KILL_BEFORE, BLOB, 12),
    "bytes gone": (control.UNLINK, control.KILL_AFTER, BLOB, 12),
    "bytes gone for good, their row not": (control.ANY_SYNC, control.KILL_AFTER, FOLDER, 60),
    "inside a commit": (control.WRITE, control.KILL_MID, WAL, 200),
    "before a commit's sync": (control.ANY_SYNC, control.KILL_BEFORE, WAL, 80),
    "after a commit's sync": (control.ANY_SYNC, control.KILL_AFTER, WAL, 80),
    "inside a checkpoint": (control.WRITE, control.KILL_MID, DATABASE, 20),
    "during an upload": (control.WRITE, control.KILL_MID, BLOB, 40),
    "bytes written, no row yet": (control.ANY_SYNC, control.KILL_AFTER, BLOB, 40),
}
STALLS = [(control.UNLINK, BLOB, 6), (control.ANY_SYNC, FOLDER, 40), (control.ANY_SYNC, WAL, 80)]


class Windows:
    """How long things last on one root, in milliseconds."""

    def __init__(self, die):
        self.grace = die.choice((100, 160, 240))
        self.undo = die.choice((0, 240, 400))
        self.late = die.choice((0, 0, 40))
        self.ttl = die.choice((120, 300))
        self.untagged = 60

    def settings(self):
        return {"gc.grace": f"{self.grace}ms", "gc.undo": f"{self.undo}ms",
                "gc.late": f"{self.late}ms", "gc.untagged": f"{self.untagged}ms",
                "gc.interval": "20ms", "storage.upload_ttl": f"{self.ttl}ms",
                "gc.schedule": ""}

    def ledger(self):
        return promises.Ledger(self.grace / 1000, self.undo / 1000, self.ttl / 1000)

    def all(self):
        """Seconds after which none holds any more."""
        return (self.grace + self.undo + self.late + self.ttl + self.untagged) / 1000

    def __str__(self):
        return f"grace {self.grace} undo {self.undo} late {self.late} ttl {self.ttl} " \
               f"untagged {self.untagged} ms"


class Runner(threading.Thread):
    """Starts collection runs, as an operator or cron would."""

    def __init__(self, target, seed):
        super().__init__(daemon=True)
        self.client, self.random = wire.Client(target, 20), random.Random(seed)
        self.stopping, self.runs, self.wrong = threading.Event(), 0, []

    def run(self):
        try:
            while not self.stopping.wait(self.random.uniform(0, 0.06)):
                answer = run_collection(self.client, dry=self.random.random() < 0.2)
                self.runs += answer.status in (201, 202)
                if answer.status not in (201, 202, 409):
                    self.wrong.append(f"POST gc/runs: {answer!r}")
        except workload.BROKEN:
            pass
        finally:
            self.client.close()


def run_collection(client, dry=False):
    return client.post("/api/v1/gc/runs", content.compact({"dry_run": dry}),
                       headers=[("Content-Type", "application/json")])


class Session:
    """Rounds of start, work, die, look."""

    def __init__(self, folder, seed, found):
        """found: set as soon as any session has seen something wrong."""
        self.folder, self.random, self.over = folder, random.Random(seed), found
        self.rig = self.ledger = self.windows = None
        self.kills = self.age = self.roots = self.pauses = self.runs = self.collected = 0
        self.heard = 0  # bytes of the log
        self.reached, self.tallies = collections.Counter(), collections.Counter()
        self.wrong, self.violations, self.leaks = [], 0, 0

    def go(self, kills, end):
        """Until so many kills, or this moment, or something is wrong."""
        points = [*POINTS]
        try:
            while self.kills < kills and time.monotonic() < end and not self.over.is_set():
                if self.rig is None or self.age >= ROUNDS_A_ROOT:
                    self.renew()
                if not self.wrong:
                    self.round(points[(self.kills // 2) % len(points)] if self.kills % 2 else None)
            if not self.over.is_set():
                self.finish()
        finally:
            if self.rig and self.rig.server.running():
                self.rig.server.kill()

    def renew(self):
        self.finish()
        if self.wrong:
            return
        self.roots, self.age, self.heard = self.roots + 1, 0, 0
        windows = self.windows = Windows(self.random)
        ledger = self.ledger = windows.ledger()
        self.rig = rig.Rig(self.folder / f"root{self.roots}", windows.settings(), workers=KEEPERS,
                           seed=self.random.randrange(10**6),
                           client=lambda *args: keeper.Keeper(*args, ledger=ledger))

    def round(self, point):
        self.age += 1
        self.rig.control.disarm()
        self.rig.server.settings["gc.untagged"] = self.random.choice(("0s", "60ms", "60ms"))
        self.rig.start()
        if self.age == 1:
            self.count_all()
        self.arm(point)
        self.rig.work()
        runner = Runner(self.rig.server.target, self.random.random())
        runner.start()
        self.live(point)
        self.rig.kill()
        self.kills += 1
        self.ledger.died()
        runner.join(30)
        self.runs += runner.runs
        self.found(point, [*self.rig.join(), *runner.wrong, *self.look()])

    def count_all(self):
        """Quotas so large that they refuse nothing count every link."""
        with contextlib.closing(self.rig.server.client()) as client:
            for subject in ("*", "shared/*"):
                made = client.post("/api/v1/quotas", content.compact(
                    {"kind": "repositories", "subject": subject, "bytes": 10**12}),
                    headers=[("Content-Type", "application/json")])
                assert made.status == 201, made

    def arm(self, point):
        if point:
            calls, action, pattern, most = POINTS[point]
            first = int(math.exp(self.random.uniform(0, math.log(most + 0.9))))
            self.rig.control.rule(0, calls, action, pattern, first=first)
        if self.random.random() < 0.3:  # one thread stands still for longer than a lease
            calls, pattern, most = self.random.choice(STALLS)
            self.rig.control.rule(1, calls, control.DELAY, pattern, self.random.randint(1, most),
                                  error=self.windows.grace)

    def live(self, point):
        """Until a point kills the server, or for a while; sometimes all of it stands still."""
        if self.random.random() < 0.08:
            time.sleep(self.random.uniform(0.01, 0.1))
            self.pauses += 1
            self.rig.server.signal(signal.SIGSTOP)
            time.sleep(self.windows.grace * self.random.choice((0.6, 1.2)) / 1000)
            self.rig.server.signal(signal.SIGCONT)
        if point:
            self.reached[point] += self.rig.server.wait_dead(PATIENCE if self.reached[point] else FIRST)
        else:
            time.sleep(self.random.choice((0.02, 0.1, 0.1, 0.3)))
            self.catch_up()

    def catch_up(self):
        """Lives are longer where the machine is slow: what a run must show is work, not time."""
        end = time.monotonic() + FIRST
        while self.behind() and self.rig.server.running() and time.monotonic() < end:
            time.sleep(0.01)

    def behind(self):
        pushed = self.collected + len(self.ledger.pushed)
        held = sum(each.get("promises held against answers", 0)
                   for each in [self.tallies, *(worker.tallies for worker in self.rig.workers)])
        return min(pushed, held) < PLENTY * (self.kills + 1)

    def look(self):
        """At the disk as the kill left it."""
        wrong = self.rig.check_disk() + self.complaints()
        if not ground.ready(self.rig.server.root, self.rig.folder / "copy"):
            return wrong
        wrong += ground.rows(self.rig.server.root, self.rig.folder / "copy")
        held = ground.tags(self.rig.server.root, self.rig.folder / "copy")
        for worker in self.rig.workers:
            for key in worker.history.keys:
                value, possible = held.get(key[1:]), worker.history.possible(key)
                if value not in possible:
                    wrong.append(f"{key} is {value} in the database, may be {possible}")
        return wrong

    def complaints(self):
        """What the server had to say since the last look, save that a kill cut a run off."""
        with open(self.rig.server.log, "rb") as log:
            log.seek(self.heard)
            text = log.read().decode(errors="replace")
            self.heard = log.tell()
        return [line for line in text.split("\n") if re.search("level=(warning|error)", line)
                and "msg=job.interrupted" not in line]

    def found(self, point, wrong):
        if wrong:
            self.over.set()
            self.leaks += len(wrong) if point == LEAKS else 0
            self.violations += len(wrong) if point != LEAKS else 0
            self.wrong += [f"kill {self.kills}, {point}, {self.windows}, {self.rig.folder}:",
                           *wrong[:15], self.rig.server.tail()[-800:]]

    # --- the end of a root ---

    def finish(self):
        if self.rig is None or self.wrong:
            return
        self.rig.control.disarm()
        self.found("the check", self.checked())
        self.rig.start()
        for worker in self.rig.workers:
            last = worker.again(self.rig.server.target, 0)
            last.settle()
            last.verify_all()
            self.found("the end", last.surprises)
            last.hang_up()
        if not self.wrong:
            self.found(LEAKS, self.empty())
        for worker in self.rig.workers:
            self.tallies.update(worker.tallies)
        self.rig.close()
        if not self.wrong:
            shutil.rmtree(self.rig.folder)
        self.rig = None

    def checked(self):
        """What the program's own check says of a root as the last kill left it."""
        words = [process.binary(), "check", "--deep", "--set", f"storage.root={self.rig.server.root}"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.rig.folder,
                              env=process.clean_environment())
        return [done.stdout[-1500:] + done.stderr[-500:]] if done.returncode != 0 else []

    def repositories(self):
        """Everything goes with them."""
        return [f"/api/v1/repos/{name}"
                for name in sorted({name for worker in self.rig.workers for name in worker.names})]

    def manifests(self):
        """Nothing refers to the rest any more."""
        return [f"/v2/{name}/manifests/{digest}"
                for worker in self.rig.workers for name, digest in worker.asked]

    def empty(self):
        """Deletes everything, waits, collects: what is left."""
        client = self.rig.server.client()
        for path in self.random.choice((self.repositories, self.manifests))():
            answer = client.delete(path)
            if answer.status not in (200, 202, 204, 404):
                return [f"DELETE {path}: {answer!r}"]
        time.sleep(self.windows.all())
        end, left = time.monotonic() + LEAK_PATIENCE, ["not looked"]
        while left and time.monotonic() < end:
            run_collection(client)
            time.sleep(0.05)
            left = ground.leftovers(self.rig.server.root)
        client.close()
        if left:
            return left
        self.collected += len(self.ledger.pushed)  # all of them were there once
        if self.rig.server.stop() != 0:
            return ["the server did not end with 0"]
        return self.complaints()


def work(folder, seed, kills, end, binary, found, results):
    """One session in a process of its own."""
    if binary:
        os.environ["SLIPWAY_BIN"] = str(binary)
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(folder, seed, found)
    try:
        session.go(kills, end)
    except BaseException:  # pylint: disable=broad-except
        session.over.set()
        session.wrong.append(traceback.format_exc())
    results.put((session.kills, session.collected, session.roots, session.runs, session.pauses,
                 session.violations, session.leaks, dict(session.reached), dict(session.tallies),
                 session.wrong))


Outcome = collections.namedtuple("Outcome", "kills collected roots runs pauses violations leaks "
                                            "reached tallies wrong")
NUMBERS = 7  # of its fields, to begin with


def sessions(folder, seed, kills, count=4, binary=None, hours=0):
    """So many sessions side by side; their sum. binary: another program than usual. hours: how
    long at most; 0: until all kills are done."""
    end = time.monotonic() + hours * 3600 if hours else math.inf
    forking = multiprocessing.get_context("fork")
    results, found = forking.Queue(), forking.Event()
    children = [forking.Process(target=work, args=(folder / f"session{number}", seed + number,
                                                   math.ceil(kills / count), end, binary, found,
                                                   results))
                for number in range(count)]
    for child in children:
        child.start()
    ended = [Outcome(*results.get()) for _ in children]
    for child in children:
        child.join()
    total = Outcome(*(sum(values) for values in list(zip(*ended))[:NUMBERS]),
                    collections.Counter(), collections.Counter(), [])
    for one in ended:
        total.reached.update(one.reached)
        total.tallies.update(one.tallies)
        total.wrong.extend(one.wrong)
    return total
