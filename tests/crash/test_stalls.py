"""test_stalls.py - the server dies, or one of its threads stands still, at each step of the protocol.

Touches  as stage.py.
Never    leaves to chance where: a rule of the preloaded library kills or holds there.

Each row of the second table of metadata-and-gc section 7 is a test here.
"""
import errno
import signal

import pytest

from crash import control, workload
from crash.stage import BYTES, COMMIT, api
from support import content, process, wire

FOLDER, LOG = "root/blobs/??", "root/meta.db-wal"


def dying(at, calls, action, pattern, request, first=1):
    """The request that does not see its answer; afterwards the server runs again."""
    at.control.rule(0, calls, action, pattern, first)
    with pytest.raises(workload.BROKEN + (wire.Broken,)):
        answer = request(at.server.client())
        raise AssertionError(f"answered: {answer!r}")
    at.restart()


@pytest.mark.parametrize("calls, action, pattern", [
    (control.CREATE, control.KILL_BEFORE, BYTES), (control.CREATE, control.KILL_AFTER, BYTES),
    (control.WRITE, control.KILL_MID, BYTES), (control.ANY_SYNC, control.KILL_AFTER, BYTES),
    (control.ANY_SYNC, control.KILL_AFTER, FOLDER), (control.WRITE, control.KILL_BEFORE, LOG)],
    ids=["no file", "empty file", "half a file", "bytes synced", "name synced", "no row"])
def test_dies_before_an_upload_is_a_blob(on, calls, action, pattern):
    """After P1, during data, after the bytes are durable, before P3 commits: G5, then the sweep."""
    at = on()
    data = content.fresh(300)
    path = at.start_upload("a/b")
    at.settle()
    dying(at, calls, action, pattern, at.finish(path, data))
    assert at.count("uploads") == 1 and at.count("blobs") == 0
    at.jump(1.01)
    at.collected()
    assert at.count("uploads") == 0 and at.files() == []
    assert at.finish(path, data)(at.client).status == 404


def test_the_answer_to_a_finished_upload_is_lost(on):
    """P3 has committed: asked again it is 201, and there once."""
    at = on()
    data = content.fresh()
    path = at.start_upload("a/b")
    at.settle()
    dying(at, control.ANY_SYNC, control.KILL_AFTER, LOG, at.finish(path, data))
    assert at.finish(path, data)(at.client).status == 201
    assert at.client.get(f"/v2/a/b/blobs/{content.digest(data)}").body == data
    assert len(at.files()) == 1 == at.count("blobs")


CHANGES = {
    "mount": lambda at, digest, blob: at.mount("c/d", "a/b", blob),
    "manifest": lambda at, digest, blob: at.put("a/b", "v2", at.image(blob)),
    "tag set": lambda at, digest, blob: api("PUT", "repos/a/b/-/tags/v2", {"digest": digest}),
    "tag deleted": lambda at, digest, blob: lambda client: client.delete(
        "/v2/a/b/manifests/latest"),
    "manifest deleted": lambda at, digest, blob: lambda client: client.delete(
        f"/v2/a/b/manifests/{digest}"),
    "blob deleted": lambda at, digest, blob: lambda client: client.delete(
        f"/v2/a/b/blobs/{blob}"),
    "repository deleted": lambda at, digest, blob: api("DELETE", "repos/a/b"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_outcome_of_a_commit_is_unknown(on, what):
    """Asked again it is done, or was: the same request twice does no harm."""
    at = on()
    digest, blob = at.push_image("a/b")
    at.settle()
    request = CHANGES[what](at, digest, blob)
    dying(at, control.ANY_SYNC, control.KILL_AFTER, LOG, request)
    answer = request(at.client)
    assert answer.status in (200, 201, 202, 204, 404), answer
    again = request(at.client)
    assert again.status in ((200, 201) if answer.status in (200, 201) else (404,)), again
    at.jump(1.5)
    at.collected()
    if what in ("mount", "manifest", "tag set"):
        at.whole("a/b", "latest")
    at.nothing_left()


@pytest.mark.parametrize("what", ["tag", "repository"])
def test_a_restore_whose_answer_is_lost_is_whole(on, what):
    at = on(gc_untagged="1m")
    digest, _ = at.push_image("a/b")
    if what == "tag":
        assert at.client.delete("/v2/a/b/manifests/latest").status == 202
        restore = api("POST", "repos/a/b/-/tags/latest:restore", {"digest": digest})
    else:
        assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
        restore = api("POST", "repos/a/b:restore")
    at.settle()
    dying(at, control.ANY_SYNC, control.KILL_AFTER, LOG, restore)
    for _ in range(4):
        at.jump(1.5)
        at.collected()
    at.whole("a/b", "latest")


# --- the sweep ---

def wasted(at):
    """A blob whose row goes as soon as the clock moves."""
    data = content.fresh()
    blob = at.push("a/b", data)
    at.settle()
    return blob, data


@pytest.mark.parametrize("calls, action, pattern, files", [
    (control.UNLINK, control.KILL_BEFORE, BYTES, 1), (control.UNLINK, control.KILL_AFTER, BYTES, 0),
    (control.ANY_SYNC, control.KILL_AFTER, FOLDER, 0)], ids=["file there", "gone", "gone for good"])
def test_dies_between_rows_and_bytes(on, calls, action, pattern, files):
    """After G3 commits, before the bytes go; and after, before the trash row goes."""
    at = on()
    wasted(at)
    at.control.rule(0, calls, action, pattern)
    at.jump(1.01)
    assert at.server.wait_dead(60)
    assert len(at.files()) == files
    at.control.disarm()
    assert not at.rig.check_disk()
    at.start()
    at.collected()
    assert at.files() == [] and at.count("trash") == 0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_dies_in_the_transaction_that_collects(on, steps):
    """All of it or nothing; nothing is forgotten."""
    at = on()
    wasted(at)
    at.control.rule(0, control.WRITE, control.KILL_MID, LOG, steps)
    at.jump(1.01)
    assert at.server.wait_dead(60)
    at.control.disarm()
    assert not at.rig.check_disk()
    at.start()
    at.collected()
    assert at.files() == [] and at.count("blobs") == at.count("trash") == 0


def test_stands_still_between_reading_the_trash_and_removing(on):
    """Fact B: names are never used again, so a late removal harms nothing."""
    at = on()
    blob, data = wasted(at)
    with at.held((control.UNLINK, BYTES), lambda: at.jump(1.01)):
        assert at.status("blobs", "a/b", blob) == 404
        at.push("a/b", data)
        assert at.put("a/b", "v1", at.image(blob))(at.client).status == 201
        at.whole("a/b", "v1")
    at.collected()
    at.whole("a/b", "v1")
    assert len(at.files()) == 1


def test_a_removal_that_fails_is_tried_again(on):
    at = on()
    wasted(at)
    at.control.rule(0, control.UNLINK, control.FAIL, BYTES, times=2, error=errno.EIO)
    at.jump(1.01)
    at.collected()
    at.jump(2)
    at.collected()
    assert at.files() == [] and at.count("trash") == 0


@pytest.mark.parametrize("calls, error", [(control.ANY_SYNC, errno.EIO),
                                          (control.WRITE, errno.ENOSPC)])
def test_the_commit_of_the_collector_fails(on, calls, error):
    """What was forgotten in memory and what the recovery brings back are one."""
    at = on()
    blob, _ = wasted(at)
    digest, _ = at.push_image("a/b")
    at.control.rule(0, calls, control.FAIL, LOG, error=error)
    at.jump(1.01)
    process.wait_for(lambda: at.control.hits(), 60, "the collector to commit", 0.005)
    at.collected()
    assert at.status("blobs", "a/b", blob) == 404 and len(at.files()) == 1
    at.whole("a/b", digest)
    at.nothing_left()


# --- uploads ---

@pytest.mark.parametrize("remembered", [True, False])
def test_stands_still_for_an_hour_during_an_upload(on, remembered):
    """The whole process: what it wrote to a moment ago it goes on with, else it claims nothing."""
    at = on()
    data = content.fresh()
    path = at.start_upload("a/b")
    assert at.client.patch(path, data[:20]).status == 202
    at.settle()
    if not remembered:
        at.server.kill()
        at.start()
    at.server.signal(signal.SIGSTOP)
    at.jump(2)
    at.server.signal(signal.SIGCONT)
    at.collected()
    finished = at.finish(path, data, 20)(at.client)
    assert finished.status == (201 if remembered else 404), finished
    assert len(at.files()) == at.count("blobs") == (1 if remembered else 0)


def test_a_writer_stands_still_until_its_session_is_gone(on):
    """It writes to a file without a name; nothing of it is left."""
    at = on()
    data = content.fresh(1000)
    path = at.start_upload("a/b")
    assert at.client.patch(path, data[:100]).status == 202
    at.settle()
    with at.held((control.WRITE, BYTES), lambda: at.later(at.finish(path, data, 100))) as answer:
        assert at.client.delete(path).status == 204
        at.collected()
    assert answer.result(60).status in (404, 416)
    assert at.status("blobs", "a/b", content.digest(data)) == 404
    at.settle()
    assert at.files() == []


# --- damage ---

@pytest.mark.parametrize("collector_first", [True, False])
def test_a_damaged_blob_is_healed_while_its_old_bytes_go(on, collector_first):
    """P3 swaps the locators; the old one is trash."""
    at = on()
    digest, blob = at.push_image("a/b")
    (file,) = (at.server.root / "blobs").glob("*/*")
    file.write_bytes(b"short")
    assert at.status("blobs", "a/b", blob) == 404
    at.push("c/d")  # something for the collector to do
    at.jump(0.9)
    path = at.start_upload("a/b")
    order = at.collected_first if collector_first else at.collected_second
    assert order(0.15, at.finish(path, at.contents[blob])).status == 201
    at.jump(1.01)
    at.collected()
    at.whole("a/b", digest)
    assert len(at.files()) == 1
    at.nothing_left()


@pytest.mark.parametrize("point", [
    (control.WRITE, control.KILL_MID), (control.ANY_SYNC, control.KILL_AFTER)])
def test_dies_while_a_damaged_blob_is_healed(on, point):
    at = on()
    digest, blob = at.push_image("a/b")
    (file,) = (at.server.root / "blobs").glob("*/*")
    file.write_bytes(b"short")
    assert at.status("blobs", "a/b", blob) == 404
    path = at.start_upload("a/b")
    at.settle()
    dying(at, *point, COMMIT[1], at.finish(path, at.contents[blob]))
    at.push("a/b", at.contents[blob])
    at.whole("a/b", digest)
    at.jump(1.01)
    at.collected()
    at.whole("a/b", digest)
    assert len(at.files()) == 1
