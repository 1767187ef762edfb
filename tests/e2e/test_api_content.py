"""test_api_content.py - what repositories hold, by the management API: tags that move, go and come back, protection,
pins, history, and repositories that are deleted."""
import concurrent.futures
import itertools
import time

import pytest

from support import api, content, people
from support.content import compact, descriptor, digest, image, index, push_blob, put_manifest

numbers = itertools.count(1)


@pytest.fixture
def name():
    return f"content-{next(numbers)}/app"


@pytest.fixture
def v2(managed):
    client = managed.caller("root")
    yield client
    client.close()


def push(client, name, tag, text):
    """An image of one layer; its digest."""
    for blob in (b"{}", text.encode()):
        push_blob(client, name, blob)
    return content.push_manifest(client, name, tag, image(b"{}", [text.encode()]))


def here(client, name, reference):
    return client.get(f"/v2/{name}/manifests/{reference}").status == 200


def later(days=1):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + days * 86400))


# --- tags ---


def test_tags_in_detail(root, v2, name):
    one = push(v2, name, "v1", "one")
    push(v2, name, "v2", "two")
    push(v2, name, "latest", "two")
    tags = root.items(f"/repos/{name}/-/tags?limit=2")
    assert [tag["name"] for tag in tags] == ["latest", "v1", "v2"]
    assert tags[1]["digest"] == one and not tags[1]["immutable"] and tags[1]["pins"] == 0
    assert tags[1]["size"] == len(compact(image(b"{}", [b"one"]))) + 2 + 3
    assert [tag["name"] for tag in root.items(f"/repos/{name}/-/tags?q=V")] == ["v1", "v2"]
    shown = root.get(f"/repos/{name}/-/tags/v1")
    assert shown.json() == tags[1] and shown["ETag"] == f'"{one}"'
    assert root.get(f"/repos/{name}/-/tags/v1", ("If-None-Match", shown["ETag"])).status == 304
    assert root.get(f"/repos/{name}/-/tags/none").status == 404
    assert root.get(f"/repos/{name}/-/tags/a%20b").status == 404
    assert root.get("/repos/no/such/-/tags").status == 404


def test_a_tag_is_set(root, v2, name):
    one, two = push(v2, name, "v1", "one"), push(v2, name, "v2", "two")
    path = f"/repos/{name}/-/tags/stable"
    assert root.put(path, {"digest": one}).status == 201
    assert v2.get(f"/v2/{name}/manifests/stable")["Docker-Content-Digest"] == one
    assert root.put(path, {"digest": two}, ("If-None-Match", "*")).status == 412
    assert root.put(path, {"digest": two}, ("If-Match", f'"{two}"')).status == 412
    assert root.put(path, {"digest": two}, ("If-Match", f'"{one}"')).status == 200
    assert v2.get(f"/v2/{name}/manifests/stable")["Docker-Content-Digest"] == two
    assert root.put(path, {"digest": digest(b"never")}).status == 404
    assert root.put(path, {"digest": "sha256:12"}).status == 422
    assert root.put(f"/repos/{name}/-/tags/.no", {"digest": one}).status == 404


def test_history_tells_who_when_and_why(root, call, v2, name):
    one, two = push(v2, name, "v1", "one"), push(v2, name, "v1", "two")
    root.put(f"/repos/{name}/-/tags/v1", {"digest": one})
    root.delete(f"/repos/{name}/-/tags/v1")
    root.post(f"/repos/{name}/-/tags/v1:restore")
    assert v2.delete(f"/v2/{name}/manifests/{one}").status == 202
    moves = root.items(f"/repos/{name}/-/history?limit=2")
    told = [(move["cause"], move["from"], move["to"]) for move in moves]
    assert told == [("manifest_delete", one, None), ("restore", None, one), ("delete", one, None), ("set", two, one),
                    ("push", one, two), ("push", None, one)]
    assert {move["actor"] for move in moves} == {"root"} and {move["tag"] for move in moves} == {"v1"}
    assert moves == sorted(moves, key=lambda move: -move["id"])
    root.patch(f"/repos/{name}", {"visibility": "public"})
    for who, seen in (("bob", {None}), (None, {None}), ("aud", {"root"})):  # names are not for everybody
        assert {move["actor"] for move in call(who).items(f"/repos/{name}/-/history")} == seen
    push(v2, name, "other", "three")
    assert root.items(f"/repos/{name}/-/history?tag=v1") == moves
    assert len(root.items(f"/repos/{name}/-/history")) == 7


@pytest.mark.spec("DEL-01")
def test_a_deleted_tag_comes_back(root, v2, name):
    one = push(v2, name, "v1", "one")
    path = f"/repos/{name}/-/tags/v1"
    assert root.delete(path + "?dry_run=true").json()["deletes"] == {"tags": 1} and here(v2, name, "v1")
    assert root.delete(path).status == 204
    assert not here(v2, name, "v1") and here(v2, name, one)
    gone, = root.items(f"/repos/{name}/-/tags?deleted=true")
    assert gone["name"] == "v1" and gone["digest"] == one and gone["until"] > gone["deleted_at"]
    assert root.post(path + ":restore", {"digest": digest(b"another")}).status == 404
    assert root.post(path + ":restore", {"digest": one}).json()["digest"] == one
    assert here(v2, name, "v1") and root.items(f"/repos/{name}/-/tags?deleted=true") == []
    assert root.post(path + ":restore").status == 409
    assert root.delete(f"/repos/{name}/-/tags/none").status == 404
    actions = [record["action"] for record in root.items(f"/audit?target=repository/{name}")]
    assert actions == ["tag.restore", "tag.delete"]


def test_restoring_onto_a_tag_that_exists(root, v2, name):
    one = push(v2, name, "v1", "one")
    path = f"/repos/{name}/-/tags/v1"
    root.delete(path)
    two = push(v2, name, "v1", "two")
    assert root.post(path + ":restore").status == 409
    root.patch(path, {"immutable": True})
    refused = root.post(path + ":restore", {"force": True})
    assert refused.status == 403 and refused.json()["code"] == "protected"
    assert v2.get(f"/v2/{name}/manifests/v1")["Docker-Content-Digest"] == two
    root.patch(path, {"immutable": False})
    assert root.post(path + ":restore", {"force": True}).json()["digest"] == one


def test_a_tag_comes_back_with_its_marks(root, v2, name):
    push(v2, name, "v1", "one")
    path = f"/repos/{name}/-/tags/v1"
    root.patch(path, {"immutable": True})
    root.delete(path)
    assert root.post(path + ":restore").json()["own"] == {"immutable": True, "protected": False}


def test_many_tags_go_at_once_or_none(root, v2, name):
    for tag in ("a1", "a2", "a3", "b1"):
        push(v2, name, tag, "one")
    path = f"/repos/{name}/-/tags:delete"
    assert root.post(path, {"filter": "a*"}).status == 422
    assert root.post(path, {"filter": "a*", "tags": ["b1"], "expect": 1}).status == 422
    assert root.post(path, {"tags": ["a b"], "expect": 1}).status == 422
    assert root.post(path, {"filter": "a*", "expect": 2}).status == 409
    assert root.post(path, {"tags": ["a1", "none"], "expect": 2}).status == 409
    assert root.post(path + "?dry_run=true", {"filter": "a?"}).json()["deletes"] == {"tags": 3}
    root.patch(f"/repos/{name}/-/tags/a2", {"protected": True})
    assert root.post(path, {"filter": "a*", "expect": 3}).json()["code"] == "protected"
    assert len(root.items(f"/repos/{name}/-/tags")) == 4
    root.patch(f"/repos/{name}/-/tags/a2", {"protected": False})
    assert root.post(path, {"tags": ["a1", "a1"], "expect": 1}).json() == {"deleted": 1}
    assert root.post(path, {"filter": "a*", "expect": 2}).json() == {"deleted": 2}
    assert [tag["name"] for tag in root.items(f"/repos/{name}/-/tags")] == ["b1"]
    assert not here(v2, name, "a3") and here(v2, name, "b1")
    assert len(root.items(f"/repos/{name}/-/tags?deleted=true&limit=2")) == 3


# --- manifests ---


@pytest.fixture
def family(v2, name):
    """An index of two images, a signature of it, and one of an image: tag "multi"."""
    children = [image(b"{}", [text]) for text in (b"left", b"right")]
    for blob in (b"{}", b"left", b"right"):
        push_blob(v2, name, blob)
    digests = [content.push_manifest(v2, name, digest(compact(child)), child) for child in children]
    top = index([descriptor(compact(child), content.IMAGE) for child in children])
    digests.append(content.push_manifest(v2, name, "multi", top, content.INDEX))
    for subject in (digests[2], digests[0]):
        signature = content.artifact(subject)
        digests.append(content.push_manifest(v2, name, digest(compact(signature)), signature))
    return digests


def test_a_manifest_in_detail(root, v2, name, family):
    left, right, top, signature, inner = family
    shown = root.get(f"/repos/{name}/-/manifests/{top}").json()
    assert shown["tags"] == ["multi"] and shown["parents"] == []
    assert sorted(child["digest"] for child in shown["children"]) == sorted([left, right])
    assert all(child["here"] for child in shown["children"])
    assert shown["counts"] == {"tags": 1, "parents": 0, "children": 2, "referrers": 1, "pins": 0}
    assert root.get(f"/repos/{name}/-/manifests/{left}").json()["parents"] == [top]
    assert [item["digest"] for item in root.items(f"/repos/{name}/-/manifests/{top}/referrers")] == [signature]
    listed = [item["digest"] for item in root.items(f"/repos/{name}/-/manifests?limit=2")]
    assert listed == [inner, signature, top, right, left]
    assert root.items(f"/repos/{name}/-/manifests?untagged=true") == []
    root.delete(f"/repos/{name}/-/tags/multi")
    assert [item["digest"] for item in root.items(f"/repos/{name}/-/manifests?untagged=true&limit=1")] == [top]
    assert root.get(f"/repos/{name}/-/manifests/{digest(b'never')}").status == 404
    assert root.get(f"/repos/{name}/-/manifests/latest").status == 404
    assert root.get(f"/repos/{name}/-/manifests?untagged=true&deleted=true").status == 422


@pytest.mark.spec("DEL-02", "DEL-06")
def test_an_index_comes_back_with_all_that_hangs_on_it(root, v2, name, family):
    left, right, top, signature, inner = family
    path = f"/repos/{name}/-/manifests/"
    assert root.delete(path + top + "?dry_run=true").json()["deletes"] == {"manifests": 1, "tags": 1}
    for gone in (top, left, signature, inner):
        assert root.delete(path + gone).status == 204 and not here(v2, name, gone)
    assert v2.delete(f"/v2/{name}/blobs/{digest(b'left')}").status == 202
    assert here(v2, name, right) and not here(v2, name, "multi")
    assert {item["digest"] for item in root.items(f"/repos/{name}/-/manifests?deleted=true&limit=3")} == \
        {top, left, signature, inner}
    assert root.post(path + right + ":restore").status == 409
    back = root.post(path + top + ":restore?tags=true").json()
    assert back["deleted_at"] is None and back["tags"] == ["multi"] and back["counts"]["referrers"] == 1
    assert content.verify(v2, name, "multi") >= 5
    assert here(v2, name, signature) and here(v2, name, inner)
    assert root.items(f"/repos/{name}/-/manifests?deleted=true") == []


def test_referrers_that_went_before_stay_away(root, v2, name, family):
    _, _, top, signature, _ = family
    root.delete(f"/repos/{name}/-/manifests/{signature}")
    root.delete(f"/repos/{name}/-/manifests/{top}")
    root.post(f"/repos/{name}/-/manifests/{top}:restore")
    assert here(v2, name, top) and not here(v2, name, signature) and not here(v2, name, "multi")


def test_tags_that_exist_again_are_left(root, v2, name):
    one = push(v2, name, "v1", "one")
    push(v2, name, "v2", "one")
    push(v2, name, "early", "one")
    root.delete(f"/repos/{name}/-/tags/early")
    v2.delete(f"/v2/{name}/manifests/{one}")
    two = push(v2, name, "v1", "two")
    assert root.post(f"/repos/{name}/-/manifests/{one}:restore?tags=true").json()["tags"] == ["v2"]
    assert v2.get(f"/v2/{name}/manifests/v1")["Docker-Content-Digest"] == two
    assert {tag["name"] for tag in root.items(f"/repos/{name}/-/tags?deleted=true")} == {"early", "v1"}


def test_a_deleted_manifest_comes_back_with_its_tag(root, v2, name):
    one = push(v2, name, "v1", "one")
    v2.delete(f"/v2/{name}/manifests/{one}")
    assert root.put(f"/repos/{name}/-/tags/other", {"digest": one}).status == 404
    assert root.post(f"/repos/{name}/-/tags/v1:restore").json()["digest"] == one
    assert content.verify(v2, name, "v1") == 3


def test_what_is_damaged_does_not_come_back(root, v2, managed, name):
    one = push(v2, name, "v1", "to be damaged by " + name)
    layer = ("to be damaged by " + name).encode()
    root.delete(f"/repos/{name}/-/tags/v1")
    files = [path for path, size in managed.blob_files() if size == len(layer) and path.read_bytes() == layer]
    files[0].write_bytes(b"shorter")
    assert v2.get(f"/v2/{name}/blobs/{digest(layer)}").status == 404
    refused = root.post(f"/repos/{name}/-/tags/v1:restore")
    assert refused.status == 409 and digest(layer) in refused.json()["detail"]
    assert not here(v2, name, "v1")
    push_blob(v2, name, layer)
    assert root.post(f"/repos/{name}/-/tags/v1:restore").json()["digest"] == one


def test_undo_ends(make_registry):
    server = make_registry({"gc.undo": "300ms", "gc.grace": "1h"})
    root, client = api.Api(server.target, people.ROOT), server.caller("root")
    one = push(client, "a/tag", "v1", "one")
    two = push(client, "a/manifest", "v1", "two")
    push(client, "a/repo", "v1", "three")
    root.delete("/repos/a/tag/-/tags/v1")
    root.delete(f"/repos/a/manifest/-/manifests/{two}")
    root.delete("/repos/a/repo")
    time.sleep(0.4)
    assert root.items("/repos?deleted=true") == root.items("/repos/a/tag/-/tags?deleted=true") == []
    assert root.items("/repos/a/manifest/-/manifests?deleted=true") == []
    assert root.post("/repos/a/tag/-/tags/v1:restore").status == 404
    assert root.post(f"/repos/a/manifest/-/manifests/{two}:restore").status == 404
    assert root.post("/repos/a/repo:restore").status == 404
    assert root.put("/repos/a/tag/-/tags/v1", {"digest": one}).status == 201


# --- protection ---


@pytest.mark.spec("CONC-04")
def test_one_of_many_pushes_makes_an_immutable_tag(root, managed, v2, name):
    root.post("/protected", {"pattern": name, "tags": "v*", "immutable": True})
    texts = [f"racer {i}" for i in range(8)]
    push_blob(v2, name, b"{}")
    for text in texts:
        push_blob(v2, name, text.encode())

    def race(text):
        client = managed.caller("root")
        try:
            return put_manifest(client, name, "v1", compact(image(b"{}", [text.encode()])))
        finally:
            client.close()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, texts))
    assert sorted(answer.status for answer in answers) == [201] + [403] * 7
    winner = next(text for text, answer in zip(texts, answers) if answer.status == 201)
    for answer in answers:
        assert answer.status == 201 or (answer.code == "DENIED" and "v1 is immutable" in answer.body.decode())
    assert v2.get(f"/v2/{name}/manifests/v1")["Docker-Content-Digest"] == digest(compact(image(b"{}", [winner.encode()])))
    assert put_manifest(v2, name, "v1", compact(image(b"{}", [winner.encode()]))).status == 201
    assert len(root.items(f"/repos/{name}/-/history")) == 1


@pytest.mark.parametrize("mark", ["immutable", "protected", "pin"])
def test_what_is_held_keeps_its_media_type(root, v2, name, mark):
    bare = {key: value for key, value in image(b"{}", [b"one"]).items() if key != "mediaType"}
    for blob in (b"{}", b"one"):
        push_blob(v2, name, blob)
    held = content.push_manifest(v2, name, "v1", bare)
    assert put_manifest(v2, name, held, bare, content.DOCKER_IMAGE).status == 201
    assert put_manifest(v2, name, held, bare).status == 201
    if mark == "pin":
        root.put(f"/repos/{name}/-/pins/deploy", {"reference": "v1", "until": later()})
    else:
        root.patch(f"/repos/{name}/-/tags/v1", {mark: True})
    assert put_manifest(v2, name, held, bare, content.DOCKER_IMAGE).status == 403
    assert put_manifest(v2, name, "v2", bare, content.DOCKER_IMAGE).status == 403
    assert v2.get(f"/v2/{name}/manifests/v1")["Content-Type"] == content.IMAGE
    assert put_manifest(v2, name, "v2", bare).status == 201


def test_protected_tags_and_what_they_hold_stay(root, v2, name, family):
    left, _, top, signature, _ = family
    rule = root.post("/protected", {"pattern": name.split("/")[0] + "/*", "tags": "mul*", "protected": True})
    assert root.get(f"/repos/{name}/-/tags/multi").json()["protected"]
    assert not root.get(f"/repos/{name}/-/tags/multi").json()["own"]["protected"]
    for path in (f"manifests/{top}", f"manifests/{left}", "manifests/multi", f"blobs/{digest(b'left')}"):
        refused = v2.delete(f"/v2/{name}/{path}")
        assert refused.status == 403 and refused.code == "DENIED" and "multi is protected" in refused.body.decode()
    assert root.delete(f"/repos/{name}/-/tags/multi").json()["code"] == "protected"
    assert root.delete(f"/repos/{name}?dry_run=true").json()["code"] == "protected"
    assert root.delete(f"/repos/{name}").json()["code"] == "protected"
    assert v2.delete(f"/v2/{name}/manifests/{signature}").status == 202
    other = push(v2, name, "multi", "moved")  # it may move
    assert root.delete(rule["Location"]).status == 204
    assert root.delete(f"/repos/{name}/-/manifests/{other}").status == 204


def test_rules_are_made_by_who_manages_the_pattern(root, call, v2, name):
    prefix = name.split("/")[0]
    root.post("/users", {"name": prefix, "password": "a good password"})
    root.post("/grants", {"account": prefix, "pattern": prefix + "/*", "level": "admin"})
    max_ = call((prefix, "a good password"))
    body = {"pattern": prefix + "/*", "tags": "v?", "immutable": True}
    made = max_.post("/protected", body)
    assert made.status == 201 and made.json()["protected"] is False and made.json()["immutable"] is True
    assert max_.post("/protected", body).status == 409
    assert max_.post("/protected", {"pattern": "*", "immutable": True}).status == 403
    assert max_.post("/protected", {"pattern": prefix + "/*"}).status == 422
    assert max_.post("/protected", {"pattern": prefix + "*", "immutable": True}).status == 422
    assert max_.get(made["Location"], ("If-None-Match", made["ETag"])).status == 304
    for who in ("eve", "opa"):
        assert call(who).get(made["Location"]).status == 404
        assert made.json() not in call(who).items("/protected")
    assert call("aud").get(made["Location"]).status == 200
    assert call("aud").delete(made["Location"]).status == 403
    changed = max_.patch(made["Location"], {"protected": True}, ("If-Match", made["ETag"]))
    assert changed.json()["protected"] and changed.json()["immutable"]
    assert max_.patch(made["Location"], {"protected": False}, ("If-Match", made["ETag"])).status == 412
    assert max_.patch(made["Location"], {"immutable": False, "protected": False}).status == 422
    assert changed.json() in max_.items("/protected")
    assert max_.delete(made["Location"] + "?dry_run=true").json()["deletes"] == {"rules": 1}
    assert max_.delete(made["Location"], ("If-Match", made["ETag"])).status == 412
    assert max_.delete(made["Location"]).status == 204
    assert max_.get(made["Location"]).status == 404


# --- pins ---


def test_a_pin_keeps_what_is_in_use(root, v2, name, family):
    left, _, top, _, _ = family
    path = f"/repos/{name}/-/pins/shop"
    made = root.put(path, {"reference": "multi", "until": later()})
    assert made.status == 201 and made.json()["digest"] == top and made.json()["actor"] == "root"
    assert root.items(f"/repos/{name}/-/pins") == [made.json()] == [root.get(path).json()]
    assert root.get(f"/repos/{name}/-/tags/multi").json()["pins"] == 1
    for gone in (top, left):
        refused = v2.delete(f"/v2/{name}/manifests/{gone}")
        assert refused.status == 403 and "pinned by shop" in refused.body.decode()
    assert v2.delete(f"/v2/{name}/blobs/{digest(b'right')}").status == 403
    assert root.delete(f"/repos/{name}").json()["code"] == "protected"
    assert v2.delete(f"/v2/{name}/manifests/multi").status == 202  # the tag may go
    assert root.put(path, {"reference": left, "until": later(2)}).status == 200
    assert v2.delete(f"/v2/{name}/manifests/{top}").status == 202
    assert v2.delete(f"/v2/{name}/manifests/{left}").status == 403
    assert root.delete(path + "?dry_run=true").json()["deletes"] == {"pins": 1}
    assert root.delete(path).status == 204 and root.delete(path).status == 404
    assert v2.delete(f"/v2/{name}/manifests/{left}").status == 202


def test_a_pin_is_its_makers(root, call, v2, name, family):
    """Who may push pins; what another has pinned stays pinned for him. Who manages the repository decides for all."""
    prefix, path = name.split("/")[0], f"/repos/{name}/-/pins/shop"
    for who, level in ((prefix + "a", "write"), (prefix + "b", "maintain"), (prefix + "c", "admin")):
        root.post("/users", {"name": who, "password": "a good password"})
        root.post("/grants", {"account": who, "pattern": name, "level": level})
    maker, other, manager = (call((prefix + letter, "a good password")) for letter in "abc")
    assert maker.put(path, {"reference": "multi", "until": later()}).status == 201
    assert other.put(path, {"reference": "multi", "until": later(1)}).status == 403
    assert other.delete(path).status == 403
    assert maker.put(path, {"reference": "multi", "until": later(2)}).status == 200
    assert maker.delete(path).status == 204
    assert maker.put(path, {"reference": "multi", "until": later()}).status == 201
    assert manager.delete(path).status == 204


def test_pins_have_bounds(root, v2, name):
    push(v2, name, "v1", "one")
    path = f"/repos/{name}/-/pins/"
    for until in (later(-1), later(401), "tomorrow", None):
        assert root.put(path + "a", {"reference": "v1", "until": until}).status == 422
    assert root.put(path + "a", {"reference": "none", "until": later()}).status == 404
    assert root.put(path + "a", {"reference": digest(b"never"), "until": later()}).status == 404
    assert root.put(path + "a", {"reference": "not a tag", "until": later()}).status == 422
    assert root.put(path + "a%2Fb", {"reference": "v1", "until": later()}).status == 404
    for pin in "cab":
        root.put(path + pin, {"reference": "v1", "until": later(399)})
    assert [pin["name"] for pin in root.items(path[:-1] + "?limit=2")] == ["a", "b", "c"]


def test_a_pin_ends_by_itself(root, v2, managed, name):
    """Time passes in the database: however slow this test is, the pin holds first."""
    one = push(v2, name, "v1", "one")
    assert root.put(f"/repos/{name}/-/pins/short", {"reference": one, "until": later()}).status == 201
    assert v2.delete(f"/v2/{name}/manifests/{one}").status == 403
    with managed.accounts.rows() as rows:
        done = rows.execute("UPDATE pins SET until = ? WHERE name = 'short'", [people.now_us() - 1])
        assert done.rowcount == 1
    assert root.get(f"/repos/{name}/-/pins/short").status == 404
    assert root.items(f"/repos/{name}/-/pins") == []
    assert v2.delete(f"/v2/{name}/manifests/{one}").status == 202


# --- repositories ---


def test_a_repository_goes_and_comes_back(root, v2, name):
    one = push(v2, name, "v1", "one")
    v2.get(f"/v2/{name}/manifests/v1")  # so that memory has it
    upload = v2.post(f"/v2/{name}/blobs/uploads/")["Location"]
    assert v2.request("PATCH", upload, b"half").status == 202
    fresh = v2.post(f"/v2/{name}/blobs/uploads/")["Location"]
    counted = root.delete(f"/repos/{name}?dry_run=true").json()["deletes"]
    assert counted["tags"] == counted["manifests"] == 1 and counted["bytes"] > 5
    root.patch(f"/repos/{name}", {"description": "tools"})
    assert root.delete(f"/repos/{name}", ("If-Match", '"1"')).status == 412
    assert root.delete(f"/repos/{name}").status == 204
    assert not here(v2, name, "v1") and not here(v2, name, one)
    assert v2.get(f"/v2/{name}/tags/list").status == 404
    for location in (upload, fresh):
        for method, body in (("GET", None), ("PATCH", b"more"), ("DELETE", None)):
            assert v2.request(method, location, body).code == "BLOB_UPLOAD_UNKNOWN"
    assert name not in v2.get("/v2/_catalog?n=10000").json()["repositories"]
    assert root.get(f"/repos/{name}").status == 404 and root.items(f"/repos?q={name}") == []
    assert not [repo for repo in root.items("/repos") if "~" in repo["name"]]
    gone, = (repo for repo in root.items("/repos?deleted=true") if repo["name"] == name)
    assert gone["tags"] == 1
    back = root.post(f"/repos/{name}:restore")
    assert back.status == 200 and back.json()["tags"] == 1 and back.json()["description"] == "tools"
    assert content.verify(v2, name, "v1") == 3
    assert name in v2.get("/v2/_catalog?n=10000").json()["repositories"]
    assert root.post(f"/repos/{name}:restore").status == 409
    assert root.post("/repos/no/such:restore").status == 404
    actions = [record["action"] for record in root.items(f"/audit?target=repository/{name}")]
    assert actions == ["repository.restore", "repository.delete", "repository.update"]


def test_a_name_is_free_at_once(root, v2, name):
    first = push(v2, name, "v1", "one")
    root.delete(f"/repos/{name}")
    second = push(v2, name, "v2", "two")
    assert root.post(f"/repos/{name}:restore").status == 409
    root.delete(f"/repos/{name}")
    deleted = [repo["id"] for repo in root.items("/repos?deleted=true&limit=1") if repo["name"] == name]
    assert len(deleted) == 2
    assert root.post(f"/repos/{name}:restore", {"id": max(deleted) + 1000}).status == 404
    assert root.post(f"/repos/{name}:restore", {"id": min(deleted)}).status == 200
    assert here(v2, name, first) and not here(v2, name, second)
    root.delete(f"/repos/{name}")
    root.post(f"/repos/{name}:restore")
    assert here(v2, name, first)  # what was deleted last


def test_a_public_repository_is_hidden_when_it_is_deleted(root, call, v2, name):
    push(v2, name, "v1", "one")
    root.patch(f"/repos/{name}", {"visibility": "public"})
    assert call("bob").get(f"/repos/{name}").status == 200
    root.delete(f"/repos/{name}")
    assert call("bob").items(f"/repos?q={name}") == []
    assert call("bob").get(f"/repos/{name}").status == 404
    push(v2, name, "v1", "secret")
    assert call("bob").get(f"/repos/{name}/-/tags").status == 404
    assert call("bob").items("/repos?deleted=true") == []


def test_deleted_repositories_are_no_source_of_mounts(root, v2, name):
    push(v2, name, "v1", "to mount from " + name)
    blob = digest(("to mount from " + name).encode())
    root.delete(f"/repos/{name}")
    for query in (f"?mount={blob}&from={name}", f"?mount={blob}"):
        answer = v2.post(f"/v2/{name}-other/blobs/uploads/{query}")
        assert answer.status == 202, answer
        v2.delete(answer["Location"])
