"""test_powercut.py - the power fails: what was not synced is lost, torn or reordered.

Touches  one server at a time, scratch folders with images of disks.
Never    trusts the page cache: that is what test_kill.py has.

A workload is recorded; for many points of the record the disk is built as the cut leaves it
(trace.py), the real server is started on it with another boot id, and every acknowledgement given
before the cut is looked at. CONC-02, UPL-04, UPL-22.
"""
import errno
import filecmp
import os
import random
import shutil

import pytest

from crash import checks, control, rig, trace
from support import content, process, wire

CUTS = 40 if process.sanitized() else 300
RECORDINGS = 4
FAILED_SYNCS = 1 if process.sanitized() else 3
LOOKED_AT = 60  # keys of each client read from each server; the database is checked for all


class Recording:
    """Clients worked for a while, were killed and restarted in the middle, and the server ended."""

    def __init__(self, folder, seed, steps=60, rules=(), kill=True, late_rules=(),
                 forgiving=False, **more):
        """rules: what control.rule takes, from the start; late_rules: after the kill.
        forgiving: clients meet faults, look what became of their requests, and may lose
        sessions. more: of the rig."""
        self.folder, self.forgiving, self.killed_at = folder, forgiving, 0
        self.rig = rig.Rig(folder, trace=True, seed=seed, **more)
        die = random.Random(seed)
        self.arm(rules)
        self.rig.start()
        if kill:
            self.work_until_killed(die)
        self.arm(late_rules)
        self.work(steps)
        self.hits = self.rig.control.hits(1)
        self.status = self.rig.server.stop()
        self.records = trace.read(self.rig.trace)
        self.counts = self.rig.counts()

    def arm(self, rules):
        for number, rule in enumerate(rules):
            self.rig.control.rule(number + 1, *rule)

    def work_until_killed(self, die):
        """The page cache outlives the first process; the second has to sync what that one left."""
        self.rig.control.rule(0, control.WRITE, control.KILL_AFTER, "root/blobs/??/*",
                              first=die.randint(20, 60))
        self.rig.work()
        assert self.rig.server.wait_dead(60), "the rule did not kill the server"
        wrong = self.rig.join()
        self.rig.kill()
        self.killed_at = self.rig.control.sequence
        self.rig.control.disarm(0)
        self.rig.start()
        wrong += checks.online(self.rig.workers, self.rig.server.target)
        assert not wrong, wrong

    def work(self, steps):
        self.rig.work(limit=steps)
        for worker in self.rig.workers:
            worker.join(120)
        wrong = self.rig.join()
        assert self.forgiving or not wrong, wrong

    @property
    def workers(self):
        return self.rig.workers

    def acknowledgements(self):
        return sorted({operation.acked for worker in self.workers
                       for operation in worker.history.operations if operation.acked})

    def cuts(self, die, count):
        """Half right after an acknowledgement, where nothing later can help; half anywhere."""
        acked = self.acknowledgements()
        chosen = die.sample(acked, min(len(acked), count // 2))
        last = self.records[-1].sequence
        return sorted(chosen + [die.randint(1, last) for _ in range(count - len(chosen))])


class Images:
    """Disks after cuts of one recording, in the order of the cuts."""

    def __init__(self, recording, folder):
        self.recording, self.folder = recording, folder
        self.disk, self.at = trace.Disk(), 0
        self.server = rig.Server(folder / "server", recording.rig.control)
        self.control = recording.rig.control
        self.orphans, self.removed = 0, set()

    def build(self, cut, fate):
        records = self.recording.records
        while self.at < len(records) and records[self.at].sequence <= cut:
            self.disk.feed(records[self.at])
            if records[self.at].call == control.UNLINK:
                self.removed.add(os.path.basename(records[self.at].path))
            self.at += 1
        shutil.rmtree(self.server.watched, ignore_errors=True)
        self.disk.build(self.server.watched, fate)

    def check(self, cut, die, number):
        """Starts the real server on the image. Returns what is wrong."""
        self.control.boot(rig.BOOTS.format(1000 + number))
        try:
            self.server.start()
        except AssertionError as error:
            return [f"the server does not start: {error}"]
        target = self.server.target

        def some(keys):
            return keys if len(keys) <= LOOKED_AT else die.sample(keys, LOOKED_AT)

        workers, finished = self.recording.workers, set()
        wrong = checks.online(workers, target, cut, same_boot=False, choose=some)
        wrong += checks.finish_sessions(workers, target, lambda paths: some(paths)[:10],
                                        finished)
        self.server.kill()
        found, orphans = checks.Offline().check(self.server.root)
        self.orphans += len(orphans)
        found += [f"{name} was removed, came back and has no row"
                  for name in orphans & self.removed]
        return wrong + found + self.offline(cut, finished)

    def offline(self, cut, finished):
        """All keys of all clients, in the database as the server left it."""
        held = checks.held(self.server.root)
        return [text for worker in self.recording.workers
                for text in checks.compare_held(worker.history, held, cut, finished)]


def run_cuts(recording, folder, cuts, die, fate_of, kind=Images):
    """The first cut that loses something: (cut, fate, what); None when none does."""
    images = kind(recording, folder)
    for number, cut in enumerate(cuts):
        fate = fate_of(die)
        images.build(cut, fate)
        wrong = images.check(cut, die, number)
        if wrong:
            return (cut, type(fate).__name__, wrong), images
    return None, images


@pytest.mark.spec("CONC-02", "UPL-04", "UPL-22", "MPUT-23")
def test_nothing_acknowledged_is_lost_by_power_cuts(scratch, seed, say, request):
    total = request.config.getoption("--cuts") or CUTS
    die, orphans, done, answers = random.Random(seed), 0, 0, {}
    recordings = max(RECORDINGS, total // 500)
    for number in range(recordings):
        folder = scratch / f"recording{number}"
        recording = Recording(folder, die.randrange(10**6), kill=number % 2 == 1)
        assert recording.status == 0
        cuts = recording.cuts(die, total // recordings)
        found, images = run_cuts(recording, folder, cuts, die, trace.fates)
        assert found is None, explain(found, images)
        orphans, done = orphans + images.orphans, done + len(cuts)
        for what, count in recording.counts.items():
            answers[what] = answers.get(what, 0) + count
        recording.rig.close()
        shutil.rmtree(folder)
    say(f"{done} power cuts in {recordings} recordings; files without a row: {orphans}; "
        f"answers: {rig.told(answers)}")


@pytest.mark.parametrize("pattern, first, rest", [
    ("root/blobs/??/*", 5, 60), ("root/blobs/??", 5, 60), ("root/meta.db-wal", 1, 25),
    ("root/meta.db", 1, 60)], ids=["file", "folder", "log", "database"])
@pytest.mark.spec("CONC-02")
def test_a_failed_sync_is_never_trusted(scratch, seed, say, pattern, first, rest):
    """One sync fails, the next ones succeed: what the first should have covered is not on the disk,
    and nothing may be acknowledged that needs it. The first syncs of a log that has just begun are
    the worst to lose: what it says of a page then stands nowhere else."""
    die, lost = random.Random(seed), 0
    for number in range(60):  # a checkpoint may not come in time
        folder = scratch / f"failed{number}"
        rule = (control.ANY_SYNC, control.FAIL, pattern, die.randint(first, first + 2), 1, errno.EIO)
        recording = Recording(folder, die.randrange(10**6), rest, forgiving=True,
                              late_rules=[rule])
        failed = next((record.sequence for record in recording.records
                       if record.call & control.ANY_SYNC and record.flags & trace.FAILED), None)
        if failed is not None:
            lost += 1
            cuts = sorted([failed + die.randrange(40) for _ in range(30)] +
                          [cut for cut in recording.cuts(die, 60) if cut > failed][:20])
            found, images = run_cuts(recording, folder, cuts, die,
                                     lambda dice: dice.choice((trace.Mixed(dice), trace.Lost())))
            assert found is None, explain(found, images)
        recording.rig.close()
        if lost == FAILED_SYNCS or (lost and number > 3 * FAILED_SYNCS):
            break
    assert lost, f"no sync of {pattern} failed"
    say(f"{lost} syncs of {pattern} failed")


@pytest.mark.spec("CONC-02", "UPL-04")
def test_a_folder_left_unsynced_by_a_killed_process_is_synced_by_the_next(scratch):
    """The upload goes on in a folder that was made just before the kill: its name is nowhere yet."""
    one = rig.Rig(scratch / "one", trace=True)
    one.control.rule(0, control.MKDIR, control.KILL_AFTER, "root/blobs/??")
    one.start()
    where = content.start_upload(one.server.client(), "a/b")
    with pytest.raises((wire.Broken, OSError)):
        one.server.client().patch(where, b"x" * 1000)
    assert one.server.wait_dead(60), "the rule did not kill the server"
    one.kill()
    one.control.disarm(0)
    one.start()
    data = b"y" * 1000
    put = one.server.client().put(content.with_digest(where, content.digest(data)), data)
    assert put.status == 201, put
    cut = one.control.sequence
    one.kill()
    disk = trace.Disk()
    for record in trace.read(one.trace):
        if record.sequence <= cut:
            disk.feed(record)
    after = rig.Server(scratch / "after", one.control)
    after.watched.rmdir()
    disk.build(after.watched, trace.Lost())
    one.boot(2)
    after.start()
    assert after.client().get(f"/v2/a/b/blobs/{content.digest(data)}").body == data
    after.kill()
    one.control.close()


def explain(found, images):
    cut, fate, wrong = found
    lines = "\n".join(wrong[:20])
    return f"cut at {cut}, unsynced: {fate}, image {images.server.root}:\n{lines}"


def test_the_record_is_complete(scratch, seed):
    """Everything kept is, byte for byte, what the server left."""
    recording = Recording(scratch / "one", seed, steps=30)
    disk = trace.Disk()
    for record in recording.records:
        disk.feed(record)
    disk.build(scratch / "image", trace.Kept())
    compare_folders(recording.rig.server.watched, scratch / "image")
    recording.rig.close()


def compare_folders(one, other):
    names = [sorted(name for name in os.listdir(path) if not name.endswith("-shm"))
             for path in (one, other)]
    assert names[0] == names[1], (one, names)
    for name in names[0]:
        if (one / name).is_dir():
            compare_folders(one / name, other / name)
        else:
            assert filecmp.cmp(one / name, other / name, shallow=False), one / name
