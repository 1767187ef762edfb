"""test_faults.py - the nth write, sync or allocation fails; the disk is full; memory runs out.

Touches  one server at a time, a scratch folder, a small tmpfs where mounting is allowed.
Never    lets a fault pass unnoticed: each loop ends at the first n the operation did not reach.

What must hold: a clean answer (the expected one, or 500, 503, 507); nothing acknowledged lost; the
server goes on; the same wish, asked anew, succeeds. An upload whose sync failed is gone.
"""
import errno
import math
import os
import random
import signal
import subprocess

import pytest

from crash import checks, control, rig, workload
from support import content, process

CLEAN = (500, 503, 507)
PATIENCE = 60  # seconds until the server has gone on
NAME = "w0/one"
ANY_CHANGE = control.CREATE | control.WRITE | control.ANY_SYNC | control.TRUNCATE | \
    control.ALLOCATE | control.MKDIR
BLOB, WAL = "root/blobs/??/*", "root/meta.db-wal"
SPACE = (errno.ENOSPC, errno.EDQUOT)


class Careful(workload.Worker):
    """Looks at what is in doubt only when told to: as long as a fault lasts, looking may fail."""

    def __init__(self, *more):
        super().__init__(*more)
        self.unsettled = set()
        self.statuses = []
        self.sessions_may_end = False  # their syncs fail: upload (4)

    def attempt(self, changes, *request, refused=(), **more):
        ends = self.sessions_may_end and any(key[0] == "session" for key in changes)
        answer = super().attempt(changes, *request, refused=(404,) if ends else refused, **more)
        if answer is None and ends:
            self.unsettled.update(changes)
        return answer

    def resume(self, name):
        if self.sessions_may_end:
            self.unsettled.update(("session", name, path) for path in self.sure("session", name))
            self.settle()
        super().resume(name)

    def look(self, keys):
        self.unsettled.update(keys)

    def count(self, what):
        super().count(what)
        self.statuses.append(int(what.split()[1]))

    def settle(self):
        for key in self.unsettled:
            super().look([key])
        self.unsettled = set()

    def certain(self, change):
        """The same wish again and again until the server goes on; it must within its patience."""
        end = workload.time.monotonic() + PATIENCE
        while workload.time.monotonic() < end:
            self.statuses = []
            change(self, NAME)
            self.settle()
            if not [status for status in self.statuses if status >= 500]:
                return
            workload.time.sleep(0.05)
        raise AssertionError(f"{change.__name__} does not succeed again: {self.statuses}")


class Bench:
    """A server, one client with a little of everything."""

    def __init__(self, folder, seed, settings=None):
        self.rig = rig.Rig(folder, settings=settings, workers=1)
        self.control, self.server = self.rig.control, self.rig.server
        self.seed = seed
        self.rig.start()
        self.client = Careful(0, self.server.target, self.control, seed)
        self.rig.workers = [self.client]
        self.fill()

    def fill(self):
        for change in (Careful.push_put, Careful.push_post, Careful.put_manifest,
                       Careful.put_manifest, Careful.push_put):
            self.client.certain(change)
        self.client.open_session(NAME, random.Random(self.seed).randbytes(5000))

    def check(self, what, sessions=True):
        """Everything acknowledged is there, nothing else came of it."""
        wrong = self.rig.join() + checks.online([self.client], self.server.target,
                                                same_boot=sessions)
        assert not wrong, (what, wrong, self.server.tail()[-2000:])
        assert self.server.running(), (what, self.server.tail())

    def look(self, what):
        """As check, of what is in doubt first; False: the server died meanwhile."""
        try:
            self.client.settle()
            reader = self.client.again(self.server.target, 0)
            wrong = self.rig.join() + checks.compare(reader, math.inf, True, None)
            reader.hang_up()
        except workload.Dead:
            assert self.server.wait_dead(60), (what, self.server.tail()[-2000:])
            return False
        assert not wrong, (what, wrong, self.server.tail()[-2000:])
        return True

    def restart(self):
        self.client.hang_up()
        self.server.start()
        self.client.target = self.server.target

    def fail(self, change, what):
        """One change under an armed rule; what the client saw."""
        self.client.statuses = []
        try:
            change(self.client, NAME)
        except workload.Dead:
            pass
        bad = [status for status in self.client.statuses if status >= 500 and status not in CLEAN]
        assert not bad, (what, self.client.statuses)

    def close(self):
        self.rig.close()


@pytest.fixture
def bench(scratch, seed):
    value = Bench(scratch / "bench", seed)
    yield value
    value.close()


CHANGES = [Careful.push_put, Careful.push_post, Careful.push_chunks, Careful.put_manifest,
           Careful.mount, Careful.delete_tag, Careful.delete_manifest, Careful.delete_blob,
           Careful.cancel, Careful.wrong_digest]
FAULTS = [("write", control.WRITE, errno.EIO), ("write", control.WRITE, errno.ENOSPC),
          ("write", control.WRITE, errno.EDQUOT), ("write", control.WRITE, errno.EINTR),
          ("sync", control.ANY_SYNC, errno.EIO), ("sync", control.ANY_SYNC, errno.ENOSPC),
          ("make", control.CREATE | control.MKDIR, errno.ENOSPC),
          ("make", control.CREATE | control.MKDIR, errno.EMFILE),
          ("open", control.OPEN, errno.EIO), ("cut", control.TRUNCATE, errno.EIO)]


def sessions_after(calls):
    return checks.SYNCS_FAILED if calls & control.ANY_SYNC else True


@pytest.mark.parametrize("name, calls, error", FAULTS,
                         ids=[f"{name}-{errno.errorcode[error]}" for name, _, error in FAULTS])
@pytest.mark.spec("CONC-02")
def test_every_nth_call_fails(bench, say, name, calls, error):
    faults = 0
    bench.client.sessions_may_end = calls & control.ANY_SYNC != 0
    for change in CHANGES:
        for n in range(1, 200):
            bench.control.rule(0, calls, control.FAIL, first=n, error=error)
            what = f"{change.__name__}, {name} number {n} fails with {errno.errorcode[error]}"
            bench.fail(change, what)
            bench.control.disarm()
            reached = bench.control.hits() >= n
            bench.client.settle()
            bench.check(what, sessions_after(calls))
            bench.client.certain(Careful.push_put)
            bench.client.certain(Careful.put_manifest)
            faults += reached
            if not reached:
                break
        else:
            raise AssertionError(f"{change.__name__} needs more than 200 calls")
    bench.rig.kill()
    assert not bench.rig.check_disk()
    say(f"{faults} faults of {name} with {errno.errorcode[error]}")
    assert faults or calls in (control.OPEN, control.TRUNCATE)


@pytest.mark.parametrize("pattern", [BLOB, WAL])
def test_short_writes_are_completed(bench, pattern):
    for n in range(1, 6):
        bench.control.rule(0, control.WRITE, control.SHORT, pattern, first=n)
        bench.fail(Careful.push_put, f"short write {n}")
        bench.control.disarm()
        bench.client.settle()
        bench.check(f"short write {n} of {pattern}")


@pytest.mark.parametrize("calls", [control.WRITE, control.ANY_SYNC, ANY_CHANGE],
                         ids=["write", "sync", "all"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_faults_that_stay_until_they_end(bench, calls, error):
    """From the nth call on everything fails; then the disk is well again."""
    bench.client.sessions_may_end = calls & control.ANY_SYNC != 0
    for n in (1, 2, 3, 5, 8, 13):
        bench.control.rule(0, calls, control.FAIL, first=n, times=0, error=error)
        for change in CHANGES[:6]:
            bench.fail(change, f"from {n} on")
            if bench.client.unsettled:
                break
        bench.control.disarm()
        bench.client.settle()
        bench.client.certain(Careful.push_put)
        bench.check(f"after faults from {n} on", sessions_after(calls))
    bench.rig.kill()
    assert not bench.rig.check_disk()


@pytest.mark.spec("CONC-02")
def test_an_upload_whose_sync_failed_is_gone(bench):
    client = bench.client
    data = os.urandom(3000)
    client.contents[content.digest(data)] = data
    path = client.open_session(NAME, data)
    bench.control.rule(0, control.ANY_SYNC, control.FAIL, BLOB, error=errno.EIO)
    answer = client.ask("PUT", content.with_digest(path, content.digest(data)), data)
    assert answer.status in CLEAN and bench.control.hits() == 1, answer
    again = client.ask("PUT", content.with_digest(path, content.digest(data)), data)
    assert again.status == 404, again
    assert client.see(("session", NAME, path)) is None
    assert client.see(("blob", NAME, content.digest(data))) is None
    client.history.settle(("session", NAME, path), None, client.control.sequence)
    fresh = client.open_session(NAME, data)
    assert client.finish(fresh, 0) is not None
    bench.check("a new upload after a failed sync")


@pytest.mark.parametrize("pattern", [BLOB, ""], ids=["blobs", "everything"])
def test_full_disk_pretended(bench, pattern):
    """507; what is there is served; when space returns the session goes on where it stood."""
    client, data = bench.client, os.urandom(150000)
    path = client.open_session(NAME, data)
    assert client.patch(path, 0, 50000) is not None
    bench.control.rule(0, control.WRITE | control.CREATE | control.MKDIR | control.ALLOCATE,
                       control.FAIL, pattern, times=0, error=errno.ENOSPC)
    answer = client.ask("PATCH", path, data[50000:])
    assert answer.status == 507, answer
    assert client.see(("session", NAME, path)) == 50000
    bench.check("reads on a full disk")
    digest = content.digest(b"small")
    assert client.ask("POST", f"/v2/{NAME}/blobs/uploads/?digest={digest}", b"small").status == 507
    if not pattern:
        manifest = content.compact(content.image())
        answer = client.ask("PUT", f"/v2/{NAME}/manifests/full", manifest,
                            [("Content-Type", content.INDEX)])
        assert answer.status in (400, 507), answer
        assert client.ask("POST", f"/v2/{NAME}/blobs/uploads/", b"").status == 507
    bench.control.disarm()
    client.contents[content.digest(data)] = data
    assert client.finish(path, 50000) is not None
    for change in (Careful.push_put, Careful.put_manifest):
        client.certain(change)
    bench.check("after the space came back")


def mounted(folder, size):
    folder.mkdir(parents=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder],
                          stderr=subprocess.DEVNULL)
    return done.returncode == 0


def test_full_disk_real(scratch, seed):
    watched = scratch / "bench/watched"
    if not mounted(watched, "4m"):
        pytest.skip("mounting a tmpfs is not allowed here; test_full_disk_pretended did it")
    try:
        fill_a_disk(scratch, seed, watched)
    finally:
        subprocess.run(["umount", "-l", watched], check=True)


def fill_a_disk(scratch, seed, watched):
    bench = Bench(scratch / "bench", seed, {"storage.min_free": "0"})
    client, refused, pushed = bench.client, 0, 0
    while refused < 20:
        client.statuses = []
        client.push_chunks(NAME) if pushed % 2 else client.push_put(NAME)
        pushed += 1
        bad = [status for status in client.statuses if status >= 500]
        assert all(status == 507 for status in bad), (client.statuses, bench.server.tail()[-800:])
        refused += bool(bad)
        client.settle()
    bench.check("reads on a full disk")
    subprocess.run(["mount", "-o", "remount,size=64m", watched], check=True)
    for change in (Careful.push_put, Careful.push_chunks, Careful.put_manifest):
        client.certain(change)
    assert not checks.finish_sessions([client], bench.server.target)
    bench.rig.kill()
    assert not bench.rig.check_disk()
    bench.close()


@pytest.mark.skipif(process.sanitized(), reason="a sanitizer hands out the memory itself")
@pytest.mark.spec("CONC-02")
def test_memory_runs_out(bench, seed, say):
    """Small allocations abort by design: then it is a crash like any other."""
    die, deaths, refusals = random.Random(seed), 0, 0
    for n in range(40):
        bench.control.rule(0, control.MALLOC, control.FAIL, first=die.choice((1, 3, 10, 30, 100))
                           * die.randint(1, 10), error=errno.ENOMEM)
        bench.fail(die.choice(CHANGES), f"allocation, round {n}")
        bench.control.disarm()
        refusals += any(status >= 500 for status in bench.client.statuses)
        if bench.look(f"allocation failed, round {n}"):  # whom it kills it kills now, or in a later round
            continue
        assert bench.server.child.returncode in (-signal.SIGABRT, 1), bench.server.tail()
        deaths += 1
        assert not bench.rig.check_disk()
        bench.restart()
        assert bench.look(f"after the death of round {n}")
    say(f"memory ran out: {deaths} ends, {refusals} refusals")
    assert deaths + refusals


STARTS = [("open", control.OPEN | control.CREATE), ("write", control.WRITE),
          ("sync", control.ANY_SYNC), ("make", control.MKDIR), ("read", control.READ),
          ("cut", control.TRUNCATE)]


@pytest.mark.parametrize("calls", [calls for _, calls in STARTS], ids=[name for name, _ in STARTS])
@pytest.mark.parametrize("fresh", [True, False], ids=["new-root", "old-root"])
def test_start_fails_cleanly(scratch, seed, fresh, calls):
    """Every nth call of the start fails: it says so and ends, or starts all the same."""
    if fresh:
        bench = rig.Rig(scratch / "fresh", workers=0)
    else:
        bench = Bench(scratch / "old", seed)
        bench.server.kill()
        bench = bench.rig
    for n in range(1, 400):
        bench.control.rule(0, calls, control.FAIL, first=n, error=errno.EIO)
        try:
            bench.start()
        except AssertionError:
            status = bench.server.child.returncode
            assert status is not None and status > 0, (n, status, bench.server.tail()[-1500:])
        bench.control.disarm()
        reached = bench.control.hits() >= n
        if bench.server.running():
            bench.server.kill()
        if not reached:
            break
    bench.start()
    wrong = checks.online(bench.workers, bench.server.target)
    assert not wrong, wrong
    bench.kill()
    assert not bench.check_disk()
    bench.close()
