"""test_identity.py - accounts, tokens, grants and signing keys across kills, power cuts and faults.

Touches  one server at a time, a scratch folder.
Never    takes a refusal for a deletion: what is gone is asked for with its own secret.

What was acknowledged is there; what was deleted, changed or disabled never works again; a change
and its event are there together; a token that was issued verifies. CONC-02, TOK-49, TOK-55;
accounts (1), keys (3).
"""
import random
import shutil
import time

import pytest

from crash import checks, control, identity, rig, trace
from crash.test_powercut import Images, explain, run_cuts
from support import process

KILLS = 10 if process.sanitized() else 40
CUTS = 10 if process.sanitized() else 50
ROUNDS_A_ROOT, RECORDINGS, STEPS = 10, 2, 90

WAL, KEY = "root/meta.db-wal", "root/keys/*"
POINTS = {
    "inside a commit": (control.WRITE, control.KILL_MID, WAL, 100),
    "before a commit's sync": (control.ANY_SYNC, control.KILL_BEFORE, WAL, 30),
    "after a commit's sync": (control.ANY_SYNC, control.KILL_AFTER, WAL, 30),
    "inside a key": (control.WRITE, control.KILL_MID, KEY, 1),
    "before a key has its name": (control.RENAME, control.KILL_BEFORE, KEY, 1),
    "after a key has its name": (control.RENAME, control.KILL_AFTER, KEY, 1),
}
PATIENCE, FIRST = 1.5, 30  # seconds for a point to be reached; the first time


class Run:
    """Rounds of start, look, work, die."""

    def __init__(self, folder, seed):
        self.folder, self.random = folder, random.Random(seed)
        self.rig, self.kills, self.reached, self.counts = None, 0, set(), {}

    def round(self, point):
        """A root's keys are made once: for their points it must be new."""
        if self.kills % ROUNDS_A_ROOT == 0 or (point and POINTS[point][2] == KEY):
            self.finish()
            self.rig = identity.made(self.folder / f"root{self.kills}", self.random.randrange(10**6))
        self.start_and_look()
        if point:
            calls, action, pattern, most = POINTS[point]
            self.rig.control.rule(0, calls, action, pattern, first=self.random.randint(1, most))
        self.rig.work()
        if point and self.rig.server.wait_dead(PATIENCE if point in self.reached else FIRST):
            self.reached.add(point)
        elif not point:
            time.sleep(self.random.uniform(0.05, 0.3))
        self.rig.kill()
        self.kills += 1
        wrong = self.rig.join() + self.rig.check_disk()
        assert not wrong, self.report(point, wrong)

    def start_and_look(self):
        self.rig.control.disarm()
        self.rig.start()
        wrong = checks.online(self.rig.workers, self.rig.server.target, choose=identity.few_passwords)
        assert not wrong, self.report("after a restart", wrong)

    def finish(self):
        if self.rig is None:
            return
        self.start_and_look()
        assert self.rig.server.stop() == 0
        found = identity.held(self.rig.server.root)
        wrong = [text for worker in self.rig.workers
                 for text in identity.compare_held(worker.history, found, float("inf"))]
        assert not wrong, self.report("the end", wrong)
        for what, count in self.rig.counts().items():
            self.counts[what] = self.counts.get(what, 0) + count
        self.rig.close()
        self.rig = None

    def report(self, point, wrong):
        lines = "\n".join(wrong[:20])
        return f"kill {self.kills}, {point}:\n{lines}\n{self.rig.server.tail()[-1500:]}"


@pytest.mark.spec("CONC-02", "TOK-49")
def test_what_an_administrator_was_told_survives_kills(scratch, seed, say, request):
    kills = request.config.getoption("--kills") or KILLS
    run, points = Run(scratch, seed), list(POINTS)
    try:
        while run.kills < kills:
            run.round(points[run.kills // 2 % len(points)] if run.kills % 2 else None)
        run.finish()
    finally:
        if run.rig and run.rig.server.running():
            run.rig.server.kill()
    say(f"{run.kills} kills of administrators; answers: {rig.told(run.counts)}; "
        f"reached: {', '.join(sorted(run.reached))}")
    missed = set(points) - run.reached
    assert not missed or kills < 4 * len(points), f"never reached: {missed}"


# --- power cuts ---

class Recording:
    """Administrators worked for a while, from `slipway init` on; the server was killed in the
    middle and ended in order."""

    def __init__(self, folder, seed, steps=STEPS, rules=()):
        die = random.Random(seed)
        self.rig = identity.made(folder, seed, trace=True, rules=rules)
        self.rig.start()
        self.rig.control.rule(0, *die.choice((
            (control.ANY_SYNC, control.KILL_AFTER, WAL, die.randint(2, 37)),
            (control.RENAME, control.KILL_AFTER, KEY, 1))))
        self.work(steps)
        self.rig.kill()
        self.rig.control.disarm(0)
        self.rig.start()
        wrong = checks.online(self.rig.workers, self.rig.server.target, choose=identity.few_passwords)
        assert not wrong, wrong
        self.work(steps)
        self.hits = self.rig.control.hits(1)
        assert self.rig.server.stop() == 0
        self.records = trace.read(self.rig.trace)
        self.counts = self.rig.counts()

    def work(self, steps):
        self.rig.work(limit=steps)
        for worker in self.rig.workers:
            worker.join(120)
        wrong = self.rig.join()
        assert not wrong, wrong

    @property
    def workers(self):
        return self.rig.workers

    def cuts(self, die, count):
        acked = sorted({operation.acked for worker in self.workers
                        for operation in worker.history.operations if operation.acked})
        chosen = die.sample(acked, min(len(acked), count // 2))
        last = self.records[-1].sequence
        return sorted(chosen + [die.randint(1, last) for _ in range(count - len(chosen))])


class Identities(Images):
    """The real server on each image: all secrets and keys at its door, the rest in its database."""

    def __init__(self, recording, folder):
        super().__init__(recording, folder)
        self.server = rig.Server(folder / "server", self.control, identity.SETTINGS)

    def check(self, cut, die, number):
        try:
            self.server.start()
        except AssertionError as error:
            return [f"the server does not start: {error}"]

        def at_the_door(keys):
            dear = [key for key in keys if key[0] == "password"]
            return [key for key in keys if key[0] in ("secret", "jwt", "kid")] + \
                die.sample(dear, min(len(dear), 1))

        workers = self.recording.workers if self.has_root(cut) else []
        wrong = checks.online(workers, self.server.target, cut, choose=at_the_door)
        self.server.kill()
        found, _ = checks.Offline().check(self.server.root)
        held = identity.held(self.server.root)
        return wrong + found + [text for worker in self.recording.workers
                                for text in identity.compare_held(worker.history, held, cut)]

    def has_root(self, cut):
        """Before init was acknowledged there may be no administrator, and nobody to ask."""
        return cut >= self.recording.workers[0].history.operations[0].issued


@pytest.mark.spec("CONC-02", "TOK-49")
def test_what_an_administrator_was_told_survives_power_cuts(scratch, seed, say, request):
    total = request.config.getoption("--cuts") or CUTS
    die, done, answers = random.Random(seed), 0, {}
    for number in range(max(RECORDINGS, total // 200)):
        folder = scratch / f"recording{number}"
        recording = Recording(folder, die.randrange(10**6))
        cuts = recording.cuts(die, total // RECORDINGS)
        found, images = run_cuts(recording, folder, cuts, die, trace.fates, Identities)
        assert found is None, explain(found, images)
        done += len(cuts)
        for what, count in recording.counts.items():
            answers[what] = answers.get(what, 0) + count
        recording.rig.close()
        shutil.rmtree(folder)
    say(f"{done} power cuts of administrators; answers: {rig.told(answers)}")
