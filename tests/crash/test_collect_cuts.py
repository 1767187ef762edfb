"""test_collect_cuts.py - the power fails while the server collects, deletes and restores.

Touches  as test_powercut.py.
Never    trusts the clock of an image: rows are looked at before a server starts on it.

No tag loses anything below it; what was deleted stays so; a lease holds at the moment it was given; no
row has lost its bytes, for rows are gone for good before their bytes; no file comes back without one.
"""
import bisect
import random
import shutil

import pytest

from crash import checks, collecting, control, ground, keeper, rig, trace
from crash.test_powercut import Images, Recording, explain, run_cuts
from support import process

CUTS = 30 if process.sanitized() else 120
RECORDINGS, MORE = 2, 8  # and as many more as it takes for enough to happen
STARTED = 5  # every so many images a server is started on


class Collecting(Recording):
    """Keepers work, two bursts with a kill between, and rest long enough for all to be collected."""

    def __init__(self, folder, seed, **more):
        windows = collecting.Windows(random.Random(seed))
        self.ledger = ledger = windows.ledger()
        super().__init__(folder, seed, steps=25, settings=windows.settings(), workers=4,
                         client=lambda *args: Careful(*args, ledger=ledger), **more)

    def cuts(self, die, count):
        """A third right after removals that are there for good, where no row may come back."""
        removals = [record.sequence for before, record in zip(self.records, self.records[1:])
                    if record.call == control.SYNC_END and before.call == control.SYNC
                    and record.path.startswith("root/blobs/") and self.removed_before(record)]
        chosen = die.sample(removals, min(len(removals), count // 3))
        return sorted(chosen + super().cuts(die, count - len(chosen)))

    def removed_before(self, record):
        at = bisect.bisect_left([one.sequence for one in self.records], record.reference)
        return any(one.call == control.UNLINK for one in self.records[max(0, at - 3):at])


class Careful(keeper.Keeper):
    """Deletes no single blobs: then all that hangs on a tag is certain at any moment."""

    STEPS = [step for step in keeper.Keeper.STEPS if step[0] is not keeper.Keeper.delete_blob]


class Rows(Images):
    """Looks at the rows of an image, and now and then starts a server on it."""

    def check(self, cut, die, number):
        wrong = self.look(cut)
        if not wrong and number % STARTED == 0:
            wrong = self.start(cut, number)
        return wrong

    def look(self, cut):
        root, copy = self.server.root, self.folder / "copy"
        wrong, orphans = checks.Offline().check(root, copy) if root.exists() else ([], set())
        self.orphans += len(orphans)
        wrong += [f"{name} was removed, came back and has no row"
                  for name in orphans & self.removed_since_kill(cut)]
        held, present = {}, set()
        if not wrong and ground.ready(root, copy):
            wrong += ground.rows(root, copy)
            held, present = ground.tags(root, copy), ground.present(root, copy)
        return wrong or [*self.compare(held, cut), *self.whole(held, present),
                         *self.leases(present, cut)]

    def removed_since_kill(self, cut):
        """A removal that the kill kept from its sync is found missing, not synced, by the next
        process: the sweep for files without a row finds such a file, after another boot."""
        records = self.recording.records
        return {record.path.rpartition("/")[2] for record in records
                if record.call == control.UNLINK
                and self.recording.killed_at < record.sequence <= cut}

    def compare(self, held, cut):
        wrong = []
        for worker in self.recording.workers:
            for key in worker.history.keys:
                value, possible = held.get(key[1:]), worker.history.possible(key, cut)
                if value not in possible:
                    wrong.append(f"{key} is {value}, may be {possible}")
        return wrong

    def whole(self, held, present):
        """All that hangs on a tag."""
        parts = {}
        for worker in self.recording.workers:
            parts.update(worker.parts)
        wanted, found = [("manifest", name, digest) for (name, _), digest in held.items()], set()
        while wanted:
            key = wanted.pop()
            if key not in found:
                found.add(key)
                wanted += parts.get(key[2], ())
        return [f"{key} hangs on a tag and is not there" for key in found - present]

    def leases(self, present, cut):
        """Those given before the cut that had not ended when the next answer came."""
        ledger = self.recording.ledger
        after = [came for _, _, came, sequence in ledger.grants if sequence >= cut]
        if not after:
            return []
        now = min(after)
        return [f"{key} is not there within its lease" for key, sent, _, sequence in ledger.grants
                if sequence <= cut and now < sent + ledger.half
                and not ledger.disturbed_since(key, sent) and key not in present]

    def start(self, cut, number):
        """What the server makes of it, its collector included."""
        self.control.boot(rig.BOOTS.format(1000 + number))
        try:
            self.server.start()
        except AssertionError as error:
            return [f"the server does not start: {error}"]
        wrong = []
        for worker in self.recording.workers:
            reader = worker.again(self.server.target, 0)
            for key in list(reader.history.keys):
                value, possible = reader.see(key), worker.history.possible(key, cut)
                if value not in possible:
                    wrong.append(f"{key} is {value} for a reader, may be {possible}")
            reader.hang_up()
        self.server.kill()
        return wrong + checks.Offline().check(self.server.root)[0] + (
            ground.rows(self.server.root) if ground.ready(self.server.root) else [])


@pytest.mark.spec("CONC-02", "CONC-04")
def test_power_cuts_while_the_server_collects(scratch, seed, say, request):
    total = request.config.getoption("--cuts") or CUTS
    die, done, removals, grants = random.Random(seed), 0, 0, 0
    recordings = max(RECORDINGS, total // 500)
    for number in range(recordings + MORE):
        if number >= recordings and removals > 50 and grants > 200:
            break
        recording = Collecting(scratch / f"recording{number}", die.randrange(10**6),
                               kill=number % 2 == 1)
        assert recording.status == 0
        cuts = recording.cuts(die, total // recordings)
        found, images = run_cuts(recording, recording.folder, cuts, die, trace.fates, Rows)
        assert found is None, explain(found, images)
        done, removals = done + len(cuts), removals + len(images.removed)
        grants += len(recording.ledger.grants)
        recording.rig.close()
        shutil.rmtree(recording.folder)
    say(f"{done} power cuts under collection, {removals} files removed, {grants} leases given")
    assert removals > 50 and grants > 200
