"""test_holds.py - what holds what against the collector, and what sets it free again.

Touches  as stage.py.
Never    waits: windows end by the clock that the test sets.

Untagged manifests go after their lease here, so that only what is held stays.
"""
import contextlib
import re
import time
import urllib.parse

import pytest

from crash import control
from crash.stage import BYTES, LEASE, api
from support import content


@pytest.fixture
def at(on):
    return on(gc_untagged="1m")


def age(at, leases=3.5):
    """All windows pass, one after the other, as far as nothing holds."""
    for _ in range(3):
        at.jump(leases / 3)
        at.collected()


def index_of(at, *children, **more):
    return content.compact(content.index(
        [content.descriptor(at.contents[one], content.IMAGE) for one in children], **more))


def push_index(at, name, tag, *children, **more):
    data = index_of(at, *children, **more)
    digest = content.push_manifest(at.client, name, tag, data, content.INDEX)
    at.contents[digest] = data
    return digest


def push_note(at, name, subject):
    """A referrer without a tag."""
    data = content.compact(content.artifact(subject, annotations={"n": content.fresh().hex()}))
    content.push_subject_free(at.client, name)
    return content.push_manifest(at.client, name, content.digest(data), data)


# --- indexes ---

def test_children_stay_as_long_as_any_index_and_then_follow(at):
    child, _ = at.push_image("a/b", None)
    one, two = push_index(at, "a/b", "one", child), push_index(at, "a/b", "two", child, annotations={
        "n": "2"})
    age(at)
    assert at.client.delete(f"/v2/a/b/manifests/{one}").status == 202
    age(at)
    at.whole("a/b", "two")
    assert at.client.delete(f"/v2/a/b/manifests/{two}").status == 202
    age(at, 1.5)
    assert api("POST", "repos/a/b/-/tags/two:restore")(at.client).status == 200
    age(at)
    at.whole("a/b", "two")
    assert at.client.delete(f"/v2/a/b/manifests/{two}").status == 202
    age(at, 4.5)
    assert at.status("manifests", "a/b", child) == 404 and at.count("blobs") == 0
    at.nothing_left()


@pytest.mark.parametrize("untagged", ["0s", "1m"])
def test_a_child_that_was_pushed_again_stands_for_itself(on, untagged):
    """Its task says that it follows its index; the push takes that back."""
    at = on(gc_untagged=untagged, gc_undo="0s")
    child, blob = at.push_image("a/b", None)
    index = push_index(at, "a/b", "v1", child)
    age(at)
    assert at.client.delete(f"/v2/a/b/manifests/{index}").status == 202
    at.push("a/b", at.contents[blob])
    assert at.put("a/b", child, at.contents[child])(at.client).status in (201, 400)
    assert at.put("a/b", "mine", at.contents[child])(at.client).status == 201
    age(at)
    at.whole("a/b", "mine")
    assert at.client.delete("/v2/a/b/manifests/mine").status == 202
    age(at)
    assert at.status("manifests", "a/b", child) == (200 if untagged == "0s" else 404)
    at.nothing_left()


@pytest.mark.parametrize("undo", ["0s", "40m"])
def test_a_child_that_comes_back_is_held_again(on, undo):
    at = on(gc_untagged="1m", gc_undo=undo)
    child, blob = at.push_image("a/b", None)
    push_index(at, "a/b", "v1", child)
    assert at.client.delete(f"/v2/a/b/manifests/{child}").status == 202
    age(at)
    at.push("a/b", at.contents[blob])
    assert at.put("a/b", child, at.contents[child])(at.client).status == 201
    age(at)
    at.whole("a/b", "v1")
    at.nothing_left()


# --- referrers ---

def test_referrers_stay_with_their_subject_and_follow_it(at):
    subject, _ = at.push_image("a/b")
    note = push_note(at, "a/b", subject)
    about_note = push_note(at, "a/b", note)
    age(at)
    at.whole("a/b", note)
    at.whole("a/b", about_note)
    assert at.client.delete(f"/v2/a/b/manifests/{subject}").status == 202
    age(at, 1.5)
    assert api("POST", "repos/a/b/-/tags/latest:restore")(at.client).status == 200
    age(at)
    at.whole("a/b", about_note)
    listed = at.client.get(f"/v2/a/b/referrers/{subject}").json()["manifests"]
    assert [one["digest"] for one in listed] == [note]
    assert at.client.delete(f"/v2/a/b/manifests/{subject}").status == 202
    age(at, 7)
    assert at.count("manifests") == at.count("blobs") == 0
    at.nothing_left()


@pytest.mark.parametrize("untagged", ["0s", "1m"])
def test_referrers_follow_even_where_untagged_manifests_stay(on, untagged):
    at = on(gc_untagged=untagged)
    subject, _ = at.push_image("a/b")
    note = push_note(at, "a/b", subject)
    assert at.client.delete(f"/v2/a/b/manifests/{subject}").status == 202
    age(at, 6)
    assert at.status("manifests", "a/b", note) == 404
    at.nothing_left()


# --- one manifest, two meanings ---

@pytest.mark.parametrize("collector_first", [True, False])
def test_a_manifest_under_another_type_keeps_what_it_names(at, collector_first):
    """All references are taken back and made anew, which queues what they hold."""
    child, blob = at.push_image("a/b", None)
    value = content.index([content.descriptor(at.contents[child], content.IMAGE)], media_type=None)
    data = content.compact({key: item for key, item in value.items() if item is not None})
    assert at.put("a/b", "v1", data, content.INDEX)(at.client).status == 201
    order = at.collected_first if collector_first else at.collected_second
    assert order(1.01, at.put("a/b", "v1", data, content.DOCKER_LIST)).status == 201
    age(at)
    at.whole("a/b", "v1")
    told = at.client.head("/v2/a/b/manifests/v1")
    assert told["Content-Type"] == content.DOCKER_LIST and at.status("blobs", "a/b", blob) == 200
    at.nothing_left()


# --- what is missing, and comes ---

def test_what_was_missing_is_held_when_it_comes(on):
    at = on(gc_untagged="1m", manifests_accept_missing="true")
    data, config = content.fresh(), content.fresh()
    at.contents[content.digest(data)] = data
    at.push("a/b", config)
    image = content.compact(content.image(config, [data]))
    child = content.digest(image)
    at.contents[child] = image
    push_index(at, "a/b", "v1", child)
    assert at.put("a/b", child, image)(at.client).status == 201
    age(at)
    at.push("a/b", data)
    age(at)
    at.whole("a/b", "v1")
    at.nothing_left()
    assert at.count("missing_refs") == 0


def test_a_blob_deleted_under_a_manifest_goes_with_it(at):
    """Its row stays as the key of the manifest's rows; restored with the manifest it is whole."""
    digest, blob = at.push_image("a/b")
    assert at.client.delete(f"/v2/a/b/blobs/{blob}").status == 202
    age(at)
    assert at.status("blobs", "a/b", blob) == 404 and at.count("blobs") == 1
    assert at.client.delete(f"/v2/a/b/manifests/{digest}").status == 202
    assert api("POST", "repos/a/b/-/tags/latest:restore")(at.client).status == 200
    age(at)
    at.whole("a/b", "latest")
    assert at.client.delete(f"/v2/a/b/blobs/{blob}").status == 202
    assert at.client.delete(f"/v2/a/b/manifests/{digest}").status == 202
    age(at, 6)
    assert at.count("blobs") == 0
    at.nothing_left()


# --- repositories ---

def test_a_blob_stays_for_the_other_repository(at):
    _, blob = at.push_image("a/b")
    assert at.mount("c/d", "a/b", blob)(at.client).status == 201
    assert at.put("c/d", "v1", at.image(blob))(at.client).status == 201
    assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
    assert at.mount("e/f", "a/b", blob)(at.client).status == 202
    age(at)
    at.whole("c/d", "v1")
    assert at.count("blobs") == 1
    at.nothing_left()


def test_a_name_is_free_at_once_and_both_repositories_come_back(at):
    """What was pushed under the name meanwhile is another repository."""
    old, _ = at.push_image("a/b")
    path = at.start_upload("a/b")
    assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
    assert at.client.get(path).status == 404
    new, _ = at.push_image("a/b")
    assert api("POST", "repos/a/b:restore")(at.client).status == 409
    age(at, 0.9)
    assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
    assert api("POST", "repos/a/b:restore")(at.client).status == 200
    assert at.client.head("/v2/a/b/manifests/latest")["Docker-Content-Digest"] == new
    assert at.status("manifests", "a/b", old) == 404
    age(at)
    at.whole("a/b", "latest")
    assert at.count("manifests") == 1
    at.nothing_left()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8])
def test_dies_while_a_repository_is_removed(at, step):
    """In batches: what is left is removed by the next process."""
    for number in range(4):
        child, _ = at.push_image("a/b", f"t{number}")
        push_index(at, "a/b", f"i{number}", child)
        push_note(at, "a/b", child)
    at.start_upload("a/b")
    assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
    at.settle()
    at.control.rule(0, control.WRITE, control.KILL_MID, "root/meta.db-wal", step)
    at.jump(2.01)
    at.restart()
    age(at)
    at.nothing_left()
    assert at.count("repositories") == 0


# --- tags that come back ---

def test_a_tag_that_is_forced_back_lets_the_other_go(at):
    one, _ = at.push_image("a/b")
    assert at.client.delete("/v2/a/b/manifests/latest").status == 202
    two, _ = at.push_image("a/b")
    restore = {"digest": one}
    assert api("POST", "repos/a/b/-/tags/latest:restore", restore)(at.client).status == 409
    forced = api("POST", "repos/a/b/-/tags/latest:restore", {**restore, "force": True})(at.client)
    assert forced.status == 200, forced
    age(at)
    assert at.client.head("/v2/a/b/manifests/latest")["Docker-Content-Digest"] == one
    at.whole("a/b", "latest")
    assert at.status("manifests", "a/b", two) == 404
    at.nothing_left()


# --- bytes ---

def test_bytes_wait_for_gc_late(on):
    at = on(gc_late="10m", gc_undo="0s")
    blob = at.push("a/b")
    assert at.client.delete(f"/v2/a/b/blobs/{blob}").status == 202
    at.settle()
    assert at.count("trash") == 1 and len(at.files()) == 1
    at.server.kill()
    at.start()
    at.jump(0.45)
    at.settle()
    assert len(at.files()) == 1
    at.jump(0.1)
    at.collected()
    assert at.files() == [] and at.count("trash") == 0


def test_a_blob_whose_file_is_gone_is_healed_and_held(at):
    """Found damaged by a reader; the push that heals it does not wait for the collector."""
    digest, blob = at.push_image("a/b")
    (file,) = (at.server.root / "blobs").glob("*/*")
    file.unlink()
    assert at.status("blobs", "a/b", blob) == 404
    assert at.client.delete("/v2/a/b/manifests/latest").status == 202
    restore = api("POST", "repos/a/b/-/tags/latest:restore", {"digest": digest})
    assert restore(at.client).status == 409
    with at.held((control.UNLINK, BYTES), lambda: at.push("a/b", at.contents[blob])):  # its old name is trash at once
        assert restore(at.client).status == 200
        at.whole("a/b", "latest")
    age(at)
    at.whole("a/b", "latest")
    at.nothing_left()


# --- readers ---

def read(at, name, path):
    """The status for somebody without an account, whose token is as young as the clock wants."""
    with contextlib.closing(at.server.client()) as client:
        challenge = client.head(path)["WWW-Authenticate"]
        service = urllib.parse.quote(re.search('service="([^"]*)"', challenge)[1])
        token = client.get(f"/token?service={service}&scope=repository:{name}:pull").json()["token"]
        told = [client.head(path, headers=[("Authorization", f"Bearer {token}")]).status
                for _ in range(2)]  # the second one, of a token that is known, may be from memory
        assert told[0] == told[1]
        return told[0]


def test_readers_hold_nothing_and_see_it_go(on):
    """Who may not push gets no lease; memory forgets for him what the collector takes."""
    at = on(guarded=True, gc_untagged="1m")
    made = api("POST", "repos", {"name": "a/b", "visibility": "public"})(at.client)
    assert made.status == 201, made
    digest, blob = at.push_image("a/b")
    paths = [f"/v2/a/b/manifests/{digest}", f"/v2/a/b/blobs/{blob}"]
    assert at.client.delete("/v2/a/b/manifests/latest").status == 202
    assert read(at, "a/b", "/v2/a/b/manifests/latest") == 404
    for _ in range(2):
        assert [read(at, "a/b", path) for path in paths] == [200, 200]
        at.jump(1.02)
    at.collected()
    assert [read(at, "a/b", path) for path in paths] == [404, 404]
    assert at.count("blobs") == 0


# --- pins ---

def until(at, leases):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at.now() / 1e6 + leases * LEASE))


def test_a_pin_holds_until_its_time(at):
    """An untagged manifest in use stays with all that hangs on it, and is free afterwards."""
    child, _ = at.push_image("a/b", None)
    index = push_index(at, "a/b", "v1", child)

    def pin(leases):
        return api("PUT", "repos/a/b/-/pins/production", {"reference": index,
                                                          "until": until(at, leases)})
    assert pin(6)(at.client).status == 201
    assert at.client.delete("/v2/a/b/manifests/v1").status == 202
    refused = at.client.delete(f"/v2/a/b/manifests/{index}")
    assert refused.status in (403, 409), refused
    age(at, 5.5)
    at.whole("a/b", index)
    assert at.collected_second(0.8, pin(3)).status in (200, 201)
    at.whole("a/b", index)
    age(at, 6)
    assert pin(3)(at.client).status == 404
    assert at.count("manifests") == at.count("blobs") == 0
    at.nothing_left()
