"""test_identity_faults.py - the nth write or sync fails while accounts are managed; a full disk.

Touches  one server at a time, a scratch folder.
Never    lets a fault pass unnoticed: each loop ends at the first n the change did not reach.

A clean answer (the expected one, or 500, 503, 507); a change with its event or neither; the server
goes on, and people sign in meanwhile.
"""
import errno
import random
import time

import pytest

from crash import checks, control, identity, test_faults
from crash.identity import Administrator
from support import process

NAME = "a0"
WAL = "root/meta.db-wal"
CHANGES = [Administrator.make_robot, Administrator.rotate_token, Administrator.put_grant,
           Administrator.switch, Administrator.delete_grant, Administrator.show,
           Administrator.rotate_keys, Administrator.delete_account]
LOOKED_AT = 20  # keys that are not in doubt, after each fault
FAULTS = [("write", control.WRITE, errno.EIO), ("write", control.WRITE, errno.ENOSPC),
          ("sync", control.ANY_SYNC, errno.EIO), ("make", control.CREATE, errno.ENOSPC),
          ("name", control.RENAME, errno.EIO)]


class Careful(test_faults.Careful, Administrator):
    """Looks at what is in doubt only when told to."""


class Bench:
    def __init__(self, folder, seed):
        self.rig = identity.made(folder, seed, workers=0)
        self.control, self.server = self.rig.control, self.rig.server
        self.die = random.Random(seed)
        self.rig.start()
        self.client = Careful(0, self.server.target, self.control, seed)
        self.rig.workers = [self.client]
        for change in (Administrator.make_robot, Administrator.make_robot, Administrator.make_user):
            self.certain(change)

    def certain(self, change):
        """Until it succeeds; the server must go on within its patience."""
        end = time.monotonic() + test_faults.PATIENCE
        while time.monotonic() < end:
            if self.attempt(change) and not [one for one in self.client.statuses if one >= 500]:
                return
            time.sleep(0.05)
        raise AssertionError(f"{change.__name__} does not succeed again: {self.client.statuses}")

    def attempt(self, change):
        """Whether it found something to do."""
        self.client.statuses = []
        change(self.client, NAME)
        bad = [one for one in self.client.statuses if one >= 500 and one not in test_faults.CLEAN]
        assert not bad, (change.__name__, bad)
        return bool(self.client.statuses)

    def choose(self, keys):
        """All that is in doubt, so that halves are seen; some of the rest."""
        doubtful = [key for key in keys if len(self.client.history.possible(key)) > 1]
        rest = identity.few_passwords([key for key in keys if key not in doubtful], 1)
        return doubtful + self.die.sample(rest, min(len(rest), LOOKED_AT))

    def check(self, what):
        wrong = self.rig.join() + checks.online([self.client], self.server.target,
                                                choose=self.choose)
        self.client.unsettled = set()
        assert not wrong, (what, wrong, self.server.tail()[-2000:])
        assert self.server.running(), (what, self.server.tail())


@pytest.fixture
def bench(scratch, seed):
    value = Bench(scratch / "bench", seed)
    yield value
    value.rig.close()


@pytest.mark.parametrize("name, calls, error", FAULTS,
                         ids=[f"{name}-{errno.errorcode[error]}" for name, _, error in FAULTS])
@pytest.mark.spec("CONC-02")
def test_every_nth_call_fails(bench, say, name, calls, error):
    faults = 0
    for change in CHANGES:
        for n in range(1, 100):
            bench.control.rule(0, calls, control.FAIL, first=n, error=error)
            bench.attempt(change)
            bench.control.disarm()
            reached = bench.control.hits() >= n
            bench.check(f"{change.__name__}, {name} number {n} fails with {errno.errorcode[error]}")
            faults += reached
            while bench.client.absent(NAME, "r") is None:
                bench.certain(Administrator.delete_account)
            bench.certain(Administrator.make_robot)
            if not reached:
                break
        else:
            raise AssertionError(f"{change.__name__} needs more than 100 calls")
    bench.rig.kill()
    assert not bench.rig.check_disk()
    found = identity.held(bench.server.root)
    wrong = identity.compare_held(bench.client.history, found, float("inf"))
    assert not wrong, wrong
    say(f"{faults} faults of {name} with {errno.errorcode[error]} among accounts")
    assert faults


@pytest.mark.spec("CONC-02")
def test_a_full_disk(bench):
    """507, and nothing of it is there; people sign in all the same."""
    token = bench.client.some("secret")
    bench.control.rule(0, control.WRITE | control.CREATE | control.ALLOCATE, control.FAIL, times=0,
                       error=errno.ENOSPC)
    for change in (Administrator.make_robot, Administrator.put_grant, Administrator.show,
                   Administrator.rotate_keys):
        bench.attempt(change)
        assert bench.client.statuses[0] in (503, 507), (change.__name__, bench.client.statuses)
    assert bench.client.opens(token[1], token[2])
    assert bench.client.opens(*identity.ROOT)
    bench.attempt(Administrator.fetch_jwt)
    assert bench.client.statuses == [200]
    bench.control.disarm()
    bench.check("after the space came back")
    for change in CHANGES[:3]:
        bench.certain(change)
    bench.check("and on")


def test_refusals_reach_the_audit_late(bench):
    """They are written in the background: what fails there is tried again."""
    bench.control.rule(0, control.WRITE | control.ANY_SYNC, control.FAIL, WAL, times=0,
                       error=errno.EIO)
    assert bench.client.opens("nobody-at-all", "guess") is None
    process.wait_for(lambda: "audit.delayed" in bench.server.tail(), what="a failed flush")
    bench.control.disarm()

    def refusals():
        return [event for event in bench.client.pages("audit") if event["action"] == "login.refused"]
    process.wait_for(refusals, what="the refusal in the audit")
    assert [event["repeats"] for event in refusals()] == [1]
