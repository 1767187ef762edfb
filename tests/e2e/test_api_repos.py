"""test_api_repos.py - repositories by the management API: settings, visibility, who sees them."""
import itertools

import pytest

numbers = itertools.count(1)


@pytest.fixture
def prefix(root):
    """A prefix below which eve reads, ana writes, and max manages."""
    name = f"repos-{next(numbers)}"
    for account, level in (("eve", "read"), ("ana", "write"), ("max", "admin")):
        assert root.post("/grants", {"account": account, "pattern": name + "/*", "level": level}).status == 201
    return name


def make(caller, name, **more):
    return caller.post("/repos", {"name": name, **more})


def test_a_repository_and_its_settings(root, call, prefix):
    max_ = call("max")
    made = make(max_, prefix + "/a", description="tools", visibility="private")
    assert made.status == 201 and made["Location"] == f"/api/v1/repos/{prefix}/a"
    repo = made.json()
    assert repo["can"] == ["pull", "push", "delete", "admin"] and repo["tags"] == 0
    assert max_.get(made["Location"]).json() == repo
    assert max_.get(made["Location"], ("If-None-Match", made["ETag"])).status == 304
    changed = max_.patch(made["Location"], {"visibility": "public"}, ("If-Match", made["ETag"]))
    assert changed.status == 200 and changed.json()["visibility"] == "public"
    assert changed.json()["description"] == "tools"
    assert max_.patch(made["Location"], {"description": ""}, ("If-Match", made["ETag"])).status == 412
    assert make(max_, prefix + "/a").status == 409
    for body, field in (({"visibility": "open"}, "visibility"), ({"description": 1}, "description")):
        refused = max_.patch(made["Location"], body)
        assert refused.status == 422 and list(refused.json()["fields"]) == [field]


def test_rights_are_told_and_held(root, call, prefix):
    path = make(root, prefix + "/a")["Location"]
    assert call("eve").get(path).json()["can"] == ["pull"]
    assert call("ana").get(path).json()["can"] == ["pull", "push"]
    for who in ("eve", "ana"):
        assert call(who).patch(path, {"visibility": "public"}).status == 403
    assert call("opa").get(path).status == 404
    assert call("bob").get(path).status == 404
    assert call("bob").patch(path, {"visibility": "public"}).status == 404
    assert call().get(path).status in (401, 404)
    assert call("bob").get(f"/repos/{prefix}/none").status == 404
    assert root.get(f"/repos/{prefix}/none").status == 404


def test_who_may_make_one(call, prefix):
    assert make(call("eve"), prefix + "/e").status == 403
    assert make(call("bob"), prefix + "/b").status == 403
    ana = call("ana")
    assert make(ana, prefix + "/x").json()["can"] == ["pull", "push"]
    assert make(ana, prefix + "/y", visibility="public").status == 403
    assert make(ana, prefix + "/y", description="mine").status == 403
    for name in ("A", "a//b", "a/", "/a", "", "x/-/y"):
        assert make(call("root"), name).status == 422


def test_the_public_is_seen_by_everybody(root, call, managed, prefix):
    path = make(root, prefix + "/open", visibility="public")["Location"]
    hidden = make(root, prefix + "/closed")["Location"]
    for who in ("bob", None):
        assert call(who).get(path).json()["can"] == ["pull"]
        names = [repo["name"] for repo in call(who).items(f"/repos?q={prefix}")]
        assert names == [prefix + "/open"]
        assert call(who).get(hidden).status in (401, 404)
    assert call().patch(path, {"visibility": "private"}).status == 401
    assert call("bob").patch(path, {"visibility": "private"}).status == 403
    root.patch(path, {"visibility": "private"})
    assert call("bob").get(path).status == 404
    assert call("bob").items(f"/repos?q={prefix}") == []


def test_strangers_see_no_list_where_they_cannot_pull(make_registry):
    from support import api
    server = make_registry({"auth.anonymous": "none"})
    stranger = api.Api(server.target)
    assert stranger.get("/repos").status == 401
    assert stranger.get("/repos/public/tool").status in (401, 404)
    stranger.close()


def test_lists_show_what_one_may_pull(root, call, prefix):
    for letter in "abcd":
        make(root, f"{prefix}/{letter}")
    make(root, prefix + "x/z")
    names = [f"{prefix}/{letter}" for letter in "abcd"]
    assert [repo["name"] for repo in call("eve").items(f"/repos?limit=1&q={prefix}")] == names
    assert [repo["name"] for repo in root.items(f"/repos?limit=2&q={prefix}")] == [*names, prefix + "x/z"]
    assert call("opa").items(f"/repos?q={prefix}") == []
    assert [repo["name"] for repo in call("eve").items(f"/repos?q={prefix}/c")] == [prefix + "/c"]


def test_what_was_pushed_is_there(managed, root, prefix):
    from support.content import compact, image, push_blob, put_manifest
    client = managed.caller("root")
    push_blob(client, prefix + "/pushed", b"{}")
    assert put_manifest(client, prefix + "/pushed", "v1", compact(image())).status == 201
    client.close()
    repo = root.get(f"/repos/{prefix}/pushed").json()
    assert repo["tags"] == 1 and repo["visibility"] == "private"


@pytest.mark.parametrize("path, status", [
    ("/repos/UP", 404), ("/repos/a//b", 404), ("/repos/", 404), ("/repos/a%2Fb", 404), ("/repos/a/-/tags", 404),
])
def test_paths_that_name_none(root, path, status):
    assert root.get(path).status == status
