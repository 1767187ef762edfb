"""test_orders.py - clients against the collector and each other, in forced orders.

Touches  as stage.py.
Never    leaves an order to chance: one transaction is held at its commit while the other begins.

Each row of the first table of metadata-and-gc section 7 is a test here, and restores beside it.
"""

import pytest

from crash import control
from crash.stage import BYTES, api
from support import content, wire


# --- leases ---

@pytest.mark.spec("CONC-04")
def test_head_then_collection_then_manifest(on):
    """HEAD 200, GC, manifest PUT: the lease is good for half of gc.grace."""
    at = on()
    blob = at.push("a/b")
    at.jump(0.9)
    assert at.status("blobs", "a/b", blob) == 200
    at.jump(0.45)
    at.collected()
    assert at.put("a/b", "v1", at.image(blob))(at.client).status == 201
    at.whole("a/b", "v1")


@pytest.mark.spec("CONC-04")
def test_memory_answers_only_while_the_lease_lasts(on):
    """The second HEAD comes from memory; the third must have renewed the lease."""
    at = on()
    blob = at.push("a/b")
    for hours in (0.1, 0.3, 0.25):
        at.jump(hours)
        assert at.client.head(f"/v2/a/b/blobs/{blob}").status == 200
    at.jump(0.45)
    at.collected()
    assert at.put("a/b", "v1", at.image(blob))(at.client).status == 201


@pytest.mark.spec("CONC-04")
def test_after_the_lease_the_client_pushes_again(on):
    at = on()
    blob = at.push("a/b")
    at.jump(1.01)
    at.collected()
    assert at.count("blobs") == 0
    refused = at.put("a/b", "v1", at.image(blob))(at.client)
    assert refused.status == 400 and refused.code == "MANIFEST_BLOB_UNKNOWN"
    at.push("a/b", at.contents[blob])
    assert at.put("a/b", "v1", at.image(blob))(at.client).status == 201
    at.nothing_left()


def test_head_of_a_manifest_is_a_lease_too(on):
    at = on(gc_untagged="1m")
    child, _ = at.push_image("a/b", None)
    for hours in (0.1, 0.3, 0.25, 0.3):
        at.jump(hours)
        assert at.client.head(f"/v2/a/b/manifests/{child}").status == 200
    at.jump(0.45)
    at.collected()
    index = content.compact(content.index([content.descriptor(at.contents[child], content.IMAGE)]))
    assert at.put("a/b", "v1", index, content.INDEX)(at.client).status == 201
    at.whole("a/b", "v1")


def test_a_renewal_behind_the_collector_finds_nothing(on):
    """HEAD's UPDATE meets G1's lock."""
    at = on()
    blob = at.push("a/b")
    answer = at.collected_first(1.01, lambda client: client.head(f"/v2/a/b/blobs/{blob}"))
    assert answer.status == 404 and at.count("blobs") == 0


def test_a_renewal_before_the_collector_holds(on):
    at = on()
    blob = at.push("a/b")
    at.jump(0.6)
    answer = at.collected_second(0.41, lambda client: client.head(f"/v2/a/b/blobs/{blob}"))
    assert answer.status == 200
    assert at.put("a/b", "v1", at.image(blob))(at.client).status == 201


# --- manifests ---

def test_a_manifest_before_the_collector_holds_its_blobs(on):
    """P6 holds KEY SHARE, GC arrives."""
    at = on()
    blob = at.push("a/b")
    assert at.collected_second(1.01, at.put("a/b", "v1", at.image(blob))).status == 201
    at.whole("a/b", "v1")


def test_a_manifest_behind_the_collector_is_refused(on):
    """GC holds the link, P6 arrives."""
    at = on()
    blob = at.push("a/b")
    answer = at.collected_first(1.01, at.put("a/b", "v1", at.image(blob)))
    assert answer.status == 400 and at.count("manifests") == 0


@pytest.mark.parametrize("way", ["set", "put"])
def test_a_tag_behind_the_collector_is_refused(on, way):
    """Tag moved or set while the manifest is reviewed."""
    at = on(gc_untagged="1m")
    digest, _ = at.push_image("a/b", None)
    request = api("PUT", "repos/a/b/-/tags/v1", {"digest": digest}) if way == "set" else \
        at.put("a/b", "v1", at.contents[digest])
    answer = at.collected_first(1.01, request)
    assert answer.status == (404 if way == "set" else 400), answer
    assert at.count("manifests") == 0 and at.status("manifests", "a/b", "v1") == 404


@pytest.mark.parametrize("way", ["set", "put"])
def test_a_tag_before_the_collector_holds(on, way):
    at = on(gc_untagged="1m")
    digest, _ = at.push_image("a/b", None)
    request = api("PUT", "repos/a/b/-/tags/v1", {"digest": digest}) if way == "set" else \
        at.put("a/b", "v1", at.contents[digest])
    assert at.collected_second(1.01, request).status in (200, 201)
    at.whole("a/b", "v1")


@pytest.mark.parametrize("collector_first", [True, False])
def test_an_index_while_its_child_is_reviewed(on, collector_first):
    at = on(gc_untagged="1m")
    child, _ = at.push_image("a/b", None)
    index = content.compact(content.index([content.descriptor(at.contents[child], content.IMAGE)]))
    put = at.put("a/b", "v1", index, content.INDEX)
    if collector_first:
        assert at.collected_first(1.01, put).status == 400
        assert at.count("manifests") == 0
    else:
        assert at.collected_second(1.01, put).status == 201
        at.whole("a/b", "v1")


@pytest.mark.parametrize("collector_first", [True, False])
def test_a_referrer_while_its_subject_is_collected(on, collector_first):
    """It may dangle; its own task reviews it later."""
    at = on(gc_untagged="1m")
    subject, _ = at.push_image("a/b", None)
    at.jump(0.8)
    note = content.compact(content.artifact(subject))
    content.push_subject_free(at.client, "a/b")
    put = at.put("a/b", content.digest(note), note)
    order = at.collected_first if collector_first else at.collected_second
    assert order(0.3, put).status == 201
    assert at.status("manifests", "a/b", subject) == 404
    at.jump(1.5)
    at.collected()
    assert at.status("manifests", "a/b", content.digest(note)) == 404
    at.nothing_left()


@pytest.mark.parametrize("collector_first", [True, False])
def test_a_manifest_deleted_while_its_link_is_reviewed(on, collector_first):
    """The review ends its task, then the deleter makes another: nothing is left for ever."""
    at = on(gc_undo="0s")
    digest, blob = at.push_image("a/b")
    order = at.collected_first if collector_first else at.collected_second
    answer = order(1.01, lambda client: client.delete(f"/v2/a/b/manifests/{digest}"))
    assert answer.status == 202
    at.jump(1.01)
    at.collected()
    assert at.status("blobs", "a/b", blob) == 404 and at.count("blobs") == 0
    at.nothing_left()


@pytest.mark.parametrize("put_first", [True, False])
@pytest.mark.parametrize("undo", ["0s", "2h"])
def test_the_same_manifest_put_and_deleted(on, put_first, undo):
    at = on(gc_undo=undo)
    digest, _ = at.push_image("a/b", "old")
    put = at.put("a/b", "v1", at.contents[digest])

    def delete(client):
        return client.delete(f"/v2/a/b/manifests/{digest}")
    at.settle()
    one, two = at.order(put, delete) if put_first else at.order(delete, put)
    assert (one.status, two.status) == ((201, 202) if put_first else (202, 201))
    at.jump(1.01)
    at.collected()
    if put_first:
        assert at.status("manifests", "a/b", "v1") == 404
    else:
        at.whole("a/b", "v1")
    assert at.status("manifests", "a/b", "old") == 404


# --- uploads and mounts ---

@pytest.mark.parametrize("collector_first", [True, False])
def test_an_upload_meets_a_blob_that_goes(on, collector_first):
    """P3's upsert comes before or after the row goes; either way its bytes are there."""
    at = on()
    data = content.fresh()
    blob = at.push("a/b", data)
    at.jump(0.9)
    path = at.start_upload("c/d")
    order = at.collected_first if collector_first else at.collected_second
    assert order(0.15, at.finish(path, data)).status == 201
    assert at.status("blobs", "a/b", blob) == 404
    assert at.client.get(f"/v2/c/d/blobs/{blob}").body == data
    at.contents[blob] = data
    assert at.put("c/d", "v1", at.image(blob))(at.client).status == 201
    at.nothing_left()


def test_two_uploads_of_one_blob(on):
    """One row; the loser's bytes are trash; both links stand."""
    at = on()
    data = content.fresh()
    paths = [at.start_upload("a/b"), at.start_upload("c/d")]
    at.settle()
    answers = at.order(*(at.finish(path, data) for path in paths))
    assert [answer.status for answer in answers] == [201, 201]
    at.collected()
    assert len(at.files()) == 1 == at.count("blobs")
    for name in ("a/b", "c/d"):
        assert at.client.get(f"/v2/{name}/blobs/{content.digest(data)}").body == data


@pytest.mark.parametrize("collector_first", [True, False])
def test_a_mount_while_the_source_goes(on, collector_first):
    at = on()
    blob = at.push("a/b")
    at.jump(0.9)
    mount = at.mount("c/d", "a/b", blob)
    if collector_first:
        assert at.collected_first(0.15, mount).status == 202
        assert at.count("blobs") == 0
    else:
        assert at.collected_second(0.15, mount).status == 201
        assert at.status("blobs", "a/b", blob) == 404
        assert at.put("c/d", "v1", at.image(blob))(at.client).status == 201
        at.whole("c/d", "v1")


@pytest.mark.parametrize("delete_first", [True, False])
def test_a_mount_while_the_source_is_deleted(on, delete_first):
    at = on(gc_undo="0s")
    blob = at.push("a/b")

    def delete(client):
        return client.delete(f"/v2/a/b/blobs/{blob}")
    at.settle()
    mount = at.mount("c/d", "a/b", blob)
    one, two = at.order(delete, mount) if delete_first else at.order(mount, delete)
    assert (one.status, two.status) == ((202, 202) if delete_first else (201, 202))
    at.collected()
    assert at.status("blobs", "c/d", blob) == (404 if delete_first else 200)


@pytest.mark.parametrize("expiry_first", [True, False])
@pytest.mark.spec("UPL-29")
def test_a_finish_against_the_expiry_of_its_session(on, expiry_first):
    """Fact A: a locator has one owner."""
    at = on(storage_upload_ttl="10m")
    data = content.fresh()
    path = at.start_upload("a/b")
    order = at.collected_first if expiry_first else at.collected_second
    answer = order(0.51, at.finish(path, data))
    assert answer.status == (404 if expiry_first else 201), answer
    found = at.client.get(f"/v2/a/b/blobs/{content.digest(data)}")
    assert found.status == 404 if expiry_first else found.body == data
    assert len(at.files()) == (0 if expiry_first else 1)
    at.nothing_left()


# --- readers ---

def test_a_pull_in_progress_ends_whole(on):
    at = on(gc_undo="0s")
    data = content.fresh(4 << 20)
    blob = at.push("a/b", data)
    with wire.Connection(at.server.target, receive_buffer=4096) as reader:
        reader.send_head("GET", f"/v2/a/b/blobs/{blob}")
        reader.fill()
        assert at.client.delete(f"/v2/a/b/blobs/{blob}").status == 202
        at.collected()
        assert at.files() == []
        answer = reader.response("GET")
    assert answer.status == 200 and answer.body == data


@pytest.mark.parametrize("pushed_again", [True, False])
def test_a_pull_whose_bytes_go_before_they_are_opened(on, pushed_again):
    """Asked again the database knows: gone, or under another name."""
    at = on(gc_undo="0s")
    data = content.fresh()
    blob = at.push("a/b", data)
    at.settle()
    reading = (control.OPEN, BYTES)
    with at.held(reading, lambda: at.later(
            lambda client: client.get(f"/v2/a/b/blobs/{blob}"))) as answer:
        assert at.client.delete(f"/v2/a/b/blobs/{blob}").status == 202
        at.collected()
        assert at.files() == []
        if pushed_again:
            at.push("a/b", data)
    answer = answer.result(60)
    assert answer.status == (200 if pushed_again else 404)
    if pushed_again:
        assert answer.body == data and at.status("blobs", "a/b", blob) == 200


# --- repositories ---

@pytest.mark.parametrize("push_first", [True, False])
def test_a_repository_deleted_while_pushed_to(on, push_first):
    at = on()
    blob = at.push("a/b")
    put = at.put("a/b", "v1", at.image(blob))
    delete = api("DELETE", "repos/a/b")
    at.settle()
    one, two = at.order(put, delete) if push_first else at.order(delete, put)
    if push_first:
        assert one.status == 201 and two.status in (200, 202, 204)
        assert at.status("manifests", "a/b", "v1") == 404
        assert api("POST", "repos/a/b:restore")(at.client).status == 200
        at.whole("a/b", "v1")
    else:
        assert one.status in (200, 202, 204) and two.status == 400
    at.nothing_left()


def test_an_upload_into_a_repository_that_goes(on):
    at = on()
    data = content.fresh()
    at.push_image("a/b")
    path = at.start_upload("a/b")
    at.settle()
    one, two = at.order(api("DELETE", "repos/a/b"), at.finish(path, data))
    assert one.status in (200, 202, 204) and two.status == 404
    at.nothing_left()


# --- restores ---

def deleted(at, what):
    """Deletes an image in one of three ways; the request that takes it back."""
    digest, _ = at.push_image("a/b")
    if what == "tag":
        assert at.client.delete("/v2/a/b/manifests/latest").status == 202
        return api("POST", "repos/a/b/-/tags/latest:restore", {"digest": digest})
    if what == "manifest":
        assert at.client.delete(f"/v2/a/b/manifests/{digest}").status == 202
        return api("POST", "repos/a/b/-/tags/latest:restore", {"digest": digest})
    assert api("DELETE", "repos/a/b")(at.client).status in (200, 202, 204)
    return api("POST", "repos/a/b:restore")


@pytest.mark.parametrize("what", ["tag", "manifest", "repository"])
def test_a_restore_before_the_collector_is_whole(on, what):
    """Restore against sweep."""
    at = on(gc_untagged="1m")
    restore = deleted(at, what)
    at.jump(1.9)
    assert at.collected_second(0.2, restore).status == 200
    at.jump(3)
    at.collected()
    at.whole("a/b", "latest")
    at.nothing_left()


@pytest.mark.parametrize("what", ["tag", "manifest", "repository"])
def test_a_restore_behind_the_collector_is_refused(on, what):
    at = on(gc_untagged="1m")
    restore = deleted(at, what)
    at.jump(1.9)
    answer = at.collected_first(0.2, restore)
    assert answer.status in (404, 409), answer
    at.jump(1)
    at.collected()
    assert at.status("manifests", "a/b", "latest") == 404
    assert at.count("blobs") == 0 and at.files() == []
    at.nothing_left()


def test_a_restore_keeps_what_a_later_review_would_take(on):
    """The task made by the deletion is still in the queue when its time comes."""
    at = on(gc_untagged="1m")
    restore = deleted(at, "manifest")
    at.jump(1)
    assert restore(at.client).status == 200
    for _ in range(4):
        at.jump(1.5)
        at.collected()
    at.whole("a/b", "latest")


# --- the clock ---

def test_the_clock_jumps_ahead(on):
    """Leases and sessions end early: pushes are refused, nothing that has a tag is harmed."""
    at = on()
    at.push_image("a/b")
    blob, path = at.push("a/b"), at.start_upload("a/b")
    at.jump(10 * 365 * 24 * 3)
    at.collected()
    assert at.put("a/b", "v1", at.image(blob))(at.client).status == 400
    assert at.finish(path, b"x")(at.client).status == 404
    at.whole("a/b", "latest")
    at.nothing_left()
