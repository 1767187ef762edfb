"""test_kill.py - SIGKILL at random times and at every named point, while clients work.

Touches  one server at a time, a scratch folder.
Never    counts a kill after which not everything was looked at.

upload (1), upload (2), meta (1) to (3): what was acknowledged is there; sessions stand at least
where the client was told; no row without bytes, no bytes without a row. CONC-02, UPL-04.
"""
import collections
import math
import random
import time

import pytest

from crash import checks, control, rig
from support import process

KILLS = 40 if process.sanitized() else 200
ROUNDS_A_ROOT = 15

BLOB, FOLDER, WAL, DATABASE = "root/blobs/??/*", "root/blobs/??", "root/meta.db-wal", "root/meta.db"
POINTS = {
    "after P1, before the file": (control.CREATE, control.KILL_BEFORE, BLOB, 20),
    "after P1, the file still empty": (control.CREATE, control.KILL_AFTER, BLOB, 20),
    "a new folder for files": (control.MKDIR, control.KILL_AFTER, FOLDER, 20),
    "during data": (control.WRITE, control.KILL_MID, BLOB, 30),
    "before the file's sync": (control.ANY_SYNC, control.KILL_BEFORE, BLOB, 20),
    "after the file's sync": (control.ANY_SYNC, control.KILL_AFTER, BLOB, 20),
    "after the folder's sync": (control.ANY_SYNC, control.KILL_AFTER, FOLDER, 20),
    "inside a commit": (control.WRITE, control.KILL_MID, WAL, 200),
    "before a commit's sync": (control.ANY_SYNC, control.KILL_BEFORE, WAL, 40),
    "after a commit's sync": (control.ANY_SYNC, control.KILL_AFTER, WAL, 40),
    "inside a checkpoint": (control.WRITE, control.KILL_MID, DATABASE, 20),
    "before a checkpoint's sync": (control.ANY_SYNC, control.KILL_BEFORE, DATABASE, 1),
    "after a checkpoint's sync": (control.ANY_SYNC, control.KILL_AFTER, DATABASE, 1),
    "before a removal": (control.UNLINK, control.KILL_BEFORE, BLOB, 2),
    "after a removal": (control.UNLINK, control.KILL_AFTER, BLOB, 2),
}
START = {
    "start: the root's lock": (control.CREATE | control.OPEN, control.KILL_AFTER, "root/lock", 1),
    "start: the database made": (control.CREATE, control.KILL_AFTER, DATABASE, 1),
    "start: the first page": (control.WRITE, control.KILL_MID, DATABASE, 1),
    "start: inside the schema": (control.WRITE, control.KILL_MID, WAL, 60),
    "start: the schema's sync": (control.ANY_SYNC, control.KILL_BEFORE, WAL, 2),
    "start: the folder of blobs": (control.MKDIR, control.KILL_AFTER, "root/blobs", 1),
}
PATIENCE, FIRST = 1.5, 30  # seconds for a point to be reached; the first time


class Run:
    """Rounds of start, look, work, die."""

    def __init__(self, folder, seed):
        self.folder, self.random = folder, random.Random(seed)
        self.rig, self.age, self.roots = None, 0, 0
        self.reached = collections.Counter()
        self.kills, self.counts = 0, collections.Counter()

    def round(self, point):
        """point: a name above, or None for a random time."""
        if self.rig is None or self.age >= ROUNDS_A_ROOT or point in START:
            self.renew()
        self.age += 1
        if point in START:
            self.die_at_start(point)
        else:
            self.work_and_die(point)
        self.kills += 1
        wrong = self.rig.join() + self.rig.check_disk()
        assert not wrong, self.report(point, wrong)

    def renew(self):
        self.finish()
        self.roots += 1
        self.rig = rig.Rig(self.folder / f"root{self.roots}", seed=self.random.randrange(10**6))
        self.age = 0

    def finish(self):
        """The last look at a root: everything again, and the sessions to their end."""
        if self.rig is None:
            return
        self.start_and_look()
        wrong = checks.finish_sessions(self.rig.workers, self.rig.server.target)
        assert not wrong, self.report("the end", wrong)
        self.counts.update(self.rig.counts())
        assert self.rig.server.stop() == 0
        wrong = self.rig.check_disk()
        assert not wrong, self.report("the end, stopped", wrong)
        self.rig.close()
        self.rig = None

    def start_and_look(self):
        self.rig.control.disarm()
        self.rig.start()
        wrong = checks.online(self.rig.workers, self.rig.server.target)
        assert not wrong, self.report("after a restart", wrong)

    def die_at_start(self, point):
        calls, action, pattern, most = START[point]
        self.rig.control.rule(0, calls, action, pattern, first=self.random.randint(1, most))
        self.rig.server.spawn()
        self.await_death(point)
        self.rig.kill()

    def await_death(self, point):
        self.reached[point] += self.rig.server.wait_dead(PATIENCE if self.reached[point] else FIRST)

    def work_and_die(self, point):
        if self.random.random() < 0.1:  # once more during the start itself
            self.rig.server.spawn()
            time.sleep(self.random.uniform(0.005, 0.08))
            self.rig.kill()
            self.kills += 1
        self.start_and_look()
        if point:
            calls, action, pattern, most = POINTS[point]
            first = int(math.exp(self.random.uniform(0, math.log(most + 0.9))))
            self.rig.control.rule(0, calls, action, pattern, first=first)
        self.rig.work()
        if point:
            self.await_death(point)
        else:
            time.sleep(self.random.uniform(0.01, 0.25))
        self.rig.kill()

    def report(self, point, wrong):
        lines = "\n".join(wrong[:20])
        return f"kill {self.kills}, {point}, below {self.rig.folder}:\n{lines}\n" \
               f"{self.rig.server.tail()[-1500:]}"


@pytest.mark.spec("CONC-02", "UPL-04", "UPL-22", "MPUT-23")
def test_nothing_acknowledged_is_lost_by_kills(scratch, seed, say, request):
    kills = request.config.getoption("--kills") or KILLS
    run = Run(scratch, seed)
    points = [*POINTS, *START]
    try:
        while run.kills < kills:
            # each point in turn, between two kills at random times
            run.round(points[(run.kills // 2) % len(points)] if run.kills % 2 else None)
        run.finish()
    finally:
        if run.rig:
            run.rig.server.child and run.rig.kill()
    say(f"{run.kills} kills, {run.roots} roots; answers: {rig.told(run.counts)}")
    say(f"points reached: {rig.told(run.reached)}")
    missed = [point for point in points if not run.reached[point]]
    assert not missed or kills < 4 * len(points), f"never reached: {missed}"

