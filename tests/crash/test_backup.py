"""test_backup.py - backups and restores cut off at any effect: killed, without power, refused by the disk.

Touches  one process at a time, a scratch folder.
Never    a snapshot that has its name and is not whole, or a root that serves and is not.

Asked again, every command ends well. backup (1), (2), (5).
"""
import errno
import random
import shutil
import subprocess

import pytest

from crash import control, rig, trace
from support import content, process

ANY = control.CREATE | control.WRITE | control.ANY_SYNC | control.TRUNCATE | control.ALLOCATE | \
    control.UNLINK | control.MKDIR | control.RENAME | control.LINK | control.RMDIR
KILLS = 2 if process.sanitized() else 4
IMAGES = 2 if process.sanitized() else 6
TAGS = ("one", "two", "three")


class Place:
    """A rig whose root holds some images; beside it a folder of backups and one to restore into."""

    def __init__(self, folder, traced=False):
        self.rig = rig.Rig(folder, {"auth.mode": "none"}, trace=traced, workers=0)
        self.rig.start()
        client = self.rig.server.client()
        for tag in TAGS:
            content.push_image(client, "team/app", tag, [content.fresh(3000), content.fresh(10)])
        client.close()
        assert self.rig.server.stop() == 0

    @property
    def control(self):
        return self.rig.control

    def close(self):
        self.control.close()


def words(server, *command):
    """A command under the preloaded library; names below the watched folder."""
    given = [f"{name}={value}" for name, value in server.environment.items()]
    return ["/usr/bin/env", *given, process.binary(), *command]


def run(server, *command, root="root"):
    return subprocess.run([*words(server, *command), "--config", "/dev/null", "--set",
                           f"storage.root={server.watched / root}", "--set", "storage.min_free=0"],
                          capture_output=True, text=True, cwd=server.watched, check=False, timeout=60,
                          env=process.clean_environment())


def create(server):
    return run(server, "backup", "create", "backup")


def restore(server):
    return run(server, "restore", "backup", root="restored")


def verify(server, name):
    return subprocess.run(words(server, "backup", "verify", "backup", name), capture_output=True, text=True,
                          cwd=server.watched, check=False, timeout=60, env=process.clean_environment())


def snapshots(server):
    return sorted(path.name for path in server.watched.glob("backup/snapshots/2*"))


def assert_whole(server, least=0):
    """Each snapshot that has its name is whole; the next backup is made and leaves nothing half."""
    assert len(snapshots(server)) >= least
    for name in snapshots(server):
        said = verify(server, name)
        assert said.returncode == 0, said.stderr
    said = create(server)
    assert said.returncode == 0, said.stderr
    said = verify(server, snapshots(server)[-1])
    assert said.returncode == 0, said.stderr
    assert not list(server.watched.glob("backup/snapshots/.*"))


def assert_restores(server):
    """Whatever was begun: it goes on, and then everything is there."""
    said = restore(server)
    assert said.returncode == 0, said.stderr
    assert_serves(server)


def assert_serves(server):
    said = run(server, "check", "--deep", root="restored")
    assert said.returncode == 0, said.stdout + said.stderr


def steps(die, last, count):
    return sorted({1, 2, last, *die.sample(range(1, last + 1), min(last, count))})


def effects(place, command):
    """How many there are when nothing comes between."""
    place.control.rule(0, ANY, control.FAIL, first=10**6)
    said = command(place.rig.server)
    assert said.returncode == 0, said.stderr
    count = place.control.hits()
    place.control.disarm()
    return count


def forget(server, name):
    shutil.rmtree(server.watched / name, ignore_errors=True)


# --- killed ---

@pytest.mark.parametrize("action", [control.KILL_AFTER, control.KILL_MID], ids=["after", "inside"])
def test_backup_killed_at_any_effect(scratch, seed, say, action):
    place, die, killed = Place(scratch / "one"), random.Random(seed), 0
    server = place.rig.server
    for number in steps(die, effects(place, create), KILLS):
        forget(server, "backup")
        place.control.rule(0, ANY, action, first=number)
        killed += create(server).returncode != 0
        place.control.disarm()
        assert_whole(server)
    place.close()
    say(f"backups killed {killed} times")
    assert killed > KILLS // 2


@pytest.mark.parametrize("action", [control.KILL_AFTER, control.KILL_MID], ids=["after", "inside"])
def test_restore_killed_at_any_effect(scratch, seed, say, action):
    place, die, killed = Place(scratch / "one"), random.Random(seed), 0
    server = place.rig.server
    assert create(server).returncode == 0
    for number in steps(die, effects(place, restore), KILLS):
        forget(server, "restored")
        place.control.rule(0, ANY, action, first=number)
        done = restore(server).returncode == 0
        place.control.disarm()
        killed += not done
        if (server.watched / "restored" / "restoring").exists():
            assert run(server, "check", root="restored").returncode != 0, "a half root was opened"
            assert_restores(server)
        elif done or (server.watched / "restored" / "meta.db").exists():
            assert_serves(server)  # it was killed after the end
        else:
            assert_restores(server)
    place.close()
    say(f"restores killed {killed} times")
    assert killed > KILLS // 2


# --- without power ---

def image(records, cut, fate, target):
    """The disk after a cut of the record, below target."""
    disk = trace.Disk()
    for record in records:
        if record.sequence <= cut:
            disk.feed(record)
    shutil.rmtree(target, ignore_errors=True)
    disk.build(target, fate)


def test_backup_without_power_at_any_effect(scratch, seed, say):
    """What was acknowledged is there after a cut; what was not is whole, or not there."""
    place, die = Place(scratch / "one", traced=True), random.Random(seed)
    acknowledged = [place.control.sequence]
    for _ in range(2):
        said = create(place.rig.server)
        assert said.returncode == 0, said.stderr
        acknowledged.append(place.control.sequence)
    records = trace.read(place.rig.trace)
    after = rig.Server(scratch / "after", place.control, {"auth.mode": "none"})
    begin, end = acknowledged[0], acknowledged[-1]
    cuts = sorted({begin + step for step in steps(die, end - begin, IMAGES)} | set(acknowledged[1:]))
    for cut in cuts:
        fate = trace.Lost() if cut in acknowledged else trace.fates(die)
        image(records, cut, fate, after.watched)
        assert_whole(after, least=sum(cut >= told for told in acknowledged[1:]))
    place.close()
    say(f"{len(cuts)} power cuts of backups")


def test_restore_without_power_at_any_effect(scratch, seed, say):
    place, die = Place(scratch / "one", traced=True), random.Random(seed)
    assert create(place.rig.server).returncode == 0
    begin = place.control.sequence
    said = restore(place.rig.server)
    assert said.returncode == 0, said.stderr
    end = place.control.sequence
    records = trace.read(place.rig.trace)
    after = rig.Server(scratch / "after", place.control, {"auth.mode": "none"})
    cuts = [begin + step for step in steps(die, end - begin, IMAGES)]
    for cut in cuts:
        image(records, cut, trace.Lost() if cut == end else trace.fates(die), after.watched)
        restored = after.watched / "restored"
        if cut == end:
            assert not (restored / "restoring").exists(), "the end was told before it was durable"
        if cut == end or (restored / "meta.db").exists() and not (restored / "restoring").exists():
            assert_serves(after)
        else:
            assert_restores(after)
    place.close()
    say(f"{len(cuts)} power cuts of restores")


# --- refused by the disk ---

@pytest.mark.parametrize("where", ["backup/blobs/*/*", "backup/snapshots/*/*"], ids=["blobs", "snapshot"])
@pytest.mark.parametrize("what", ["sync", "write"])
def test_backup_whose_disk_refuses(scratch, say, what, where):
    """A sync or a write fails, the first or the last: no snapshot, and the next one is whole."""
    place = Place(scratch / "one")
    server = place.rig.server
    calls, error = (control.ANY_SYNC, errno.EIO) if what == "sync" else (control.WRITE, errno.ENOSPC)
    place.control.rule(0, calls, control.FAIL, where, first=10**6)
    assert create(server).returncode == 0
    last = place.control.hits()
    assert last > 1
    for number in (1, last):
        forget(server, "backup")
        place.control.rule(0, calls, control.FAIL, where, first=number, error=error)
        said = create(server)
        place.control.disarm()
        assert said.returncode != 0, "a failure was not noticed"
        assert not snapshots(server)
    assert_whole(server)
    place.close()
    say(f"{what} below {where}: 2 of {last} failed")
