"""test_api_grants.py - grants by the management API: set, narrowed, delegated, hidden."""
import itertools

import pytest

numbers = itertools.count(1)


@pytest.fixture
def prefix():
    return f"grants-{next(numbers)}"


@pytest.fixture
def lead(root, call, prefix):
    """Manages everything below the prefix, and nothing else."""
    root.post("/users", {"name": prefix, "password": "a good password"})
    assert give(root, prefix, prefix + "/*", level="admin").status == 201
    return call((prefix, "a good password"))


def give(caller, account, pattern, **what):
    return caller.post("/grants", {"account": account, "pattern": pattern, **what})


def test_a_grant_from_birth_to_end(root, managed, prefix):
    path = f"/v2/{prefix}/app/blobs/uploads/"
    client = managed.caller("bob")
    assert client.post(path).status in (401, 403)
    made = give(root, "bob", prefix + "/*", level="write")
    assert made.status == 201 and made["Location"] == f"/api/v1/grants/{made.json()['id']}"
    assert client.post(path).status == 202
    assert root.get(made["Location"]).json() == made.json()
    assert root.get(made["Location"], ("If-None-Match", made["ETag"])).status == 304
    changed = root.patch(made["Location"], {"level": "read"}, ("If-Match", made["ETag"]))
    assert changed.status == 200 and changed.json()["actions"] == ["pull"]
    assert client.post(path).status in (401, 403)
    assert root.patch(made["Location"], {"level": "write"}, ("If-Match", made["ETag"])).status == 412
    again = give(root, "bob", prefix + "/*", actions=["pull", "push"])
    assert again.status == 200 and again.json()["id"] == made.json()["id"] and again.json()["level"] == "write"
    assert root.delete(made["Location"] + "?dry_run=true").json()["deletes"] == {"grants": 1}
    assert root.delete(made["Location"], ("If-Match", made["ETag"])).status == 412
    assert root.delete(made["Location"]).status == 204
    assert root.get(made["Location"]).status == 404
    assert client.post(path).status in (401, 403)
    client.close()


@pytest.mark.parametrize("body, field", [
    ({"pattern": "a"}, "account"),
    ({"account": "bob"}, "pattern"),
    ({"account": "no-such", "pattern": "a", "level": "read"}, "account"),
    ({"account": "No Name", "pattern": "a", "level": "read"}, "account"),
    ({"account": "bob", "pattern": "A", "level": "read"}, "pattern"),
    ({"account": "bob", "pattern": "a*", "level": "read"}, "pattern"),
    ({"account": "bob", "pattern": "*/a", "level": "read"}, "pattern"),
    ({"account": "bob", "pattern": "a", "level": "king"}, "level"),
    ({"account": "bob", "pattern": "a"}, "level"),
    ({"account": "bob", "pattern": "a", "level": "read", "actions": ["pull"]}, "level"),
    ({"account": "bob", "pattern": "a", "actions": ["push"]}, "actions"),  # of no level: for robots only
    ({"account": "bob", "pattern": "a", "actions": ["fly"]}, "actions"),
    ({"account": "bob", "pattern": "a", "actions": "pull"}, "actions"),
])
def test_grants_that_are_refused(root, body, field):
    refused = root.post("/grants", body)
    assert refused.status == 422 and list(refused.json()["fields"]) == [field]


def test_a_robot_may_have_any_mix(root, prefix):
    made = give(root, "build", prefix, actions=["delete", "push"])
    assert made.status == 201 and made.json()["actions"] == ["push", "delete"] and made.json()["level"] is None


def test_lists_are_narrowed_by_what_is_asked(root, prefix):
    for account, pattern in (("ana", f"{prefix}/*"), ("bob", f"{prefix}/a"), ("build", f"{prefix}/b/*")):
        give(root, account, pattern, level="read")
    patterns = lambda query: [grant["pattern"] for grant in root.items("/grants?limit=2&" + query)]
    assert patterns(f"within={prefix}/*") == [f"{prefix}/*", f"{prefix}/a", f"{prefix}/b/*"]
    assert patterns(f"within={prefix}/*&account=bob") == [f"{prefix}/a"]
    assert [found for found in patterns(f"repository={prefix}/b/c") if prefix in found] == [f"{prefix}/*",
                                                                                            f"{prefix}/b/*"]
    assert patterns("account=no-such") == []
    assert root.get("/grants?within=A").status == 422
    total = root.get("/grants?limit=1").json()["total"]
    assert total == len(root.items("/grants?limit=3"))


def test_a_delegate_deals_with_what_he_manages(root, lead, call, prefix):
    above = give(root, "bob", "*", level="read").json()
    beside = give(root, "bob", prefix + "x", level="read").json()
    mine = give(lead, "bob", f"{prefix}/app", level="maintain")
    assert mine.status == 201
    assert give(lead, "build", f"{prefix}/*", actions=["push"]).status == 201
    seen = [grant["pattern"] for grant in lead.items("/grants?limit=1")]
    assert sorted(seen) == [f"{prefix}/*", f"{prefix}/*", f"{prefix}/app"]
    assert [grant["account"] for grant in lead.items(f"/grants?repository={prefix}/app&account=bob")] == ["bob"]
    for hidden in (above, beside):
        path = f"/grants/{hidden['id']}"
        for method, body in (("GET", None), ("PATCH", {"level": "admin"}), ("DELETE", None)):
            assert lead.call(method, path, body).status == 404
    for pattern in ("*", prefix, prefix + "x", "team/*"):
        assert give(lead, prefix, pattern, level="read").status == 403
        assert give(lead, "no-such-name", pattern, level="read").status == 403  # nothing is told of names
    assert lead.patch(mine["Location"], {"level": "read"}).status == 200
    assert lead.delete(mine["Location"]).status == 204
    root.delete(f"/grants/{above['id']}")


def test_others_see_none_and_change_none(root, call, prefix):
    number = give(root, "bob", prefix, level="read").json()["id"]
    root.post("/users", {"name": prefix, "password": "a good password"})
    assert give(root, prefix, prefix + "/*", level="maintain").status == 201
    for name, who in (("ana", "ana"), ("bob", "bob"), ("opa", "opa"), (prefix, (prefix, "a good password"))):
        caller = call(who)
        assert caller.items("/grants") == []
        assert caller.get(f"/grants/{number}").status == 404
        assert caller.delete(f"/grants/{number}").status == 404
        assert give(caller, name, "*", level="admin").status == 403
    auditor = call("aud")
    assert auditor.get(f"/grants/{number}").status == 200 and auditor.items("/grants")
    assert auditor.delete(f"/grants/{number}").status == 403
    assert call().get("/grants").status == 401
