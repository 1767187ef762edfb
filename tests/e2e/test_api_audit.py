"""test_api_audit.py - the audit: every change of the management API is told, without secrets; and keys, and the
description."""
import json

from support import api
from support.process import wait_for

JSONL = ("Accept", "application/jsonl")


def newest(root, query=""):
    return root.get("/audit?limit=1" + query).json()["items"][0]


def test_changes_are_told(root):
    root.post("/users", {"name": "audited", "password": "a secret password"})
    steps = [
        ("user.create", "user/audited", {"role": "user"}),
        ("user.update", "user/audited", {"description": {"old": "", "new": "x"}, "password": True}),
        ("grant.put", "user/audited", {"pattern": "audited/*", "actions": ["pull"]}),
        ("repository.create", "repository/audited/app", {"visibility": "public"}),
        ("repository.update", "repository/audited/app", {"visibility": {"old": "public", "new": "private"}}),
        ("user.disable", "user/audited", None),
        ("user.delete", "user/audited", None),
    ]
    root.patch("/users/audited", {"description": "x", "password": "another secret password"})
    root.post("/grants", {"account": "audited", "pattern": "audited/*", "level": "read"})
    root.post("/repos", {"name": "audited/app", "visibility": "public"})
    root.patch("/repos/audited/app", {"visibility": "private"})
    root.post("/users/audited:disable")
    last = root.delete("/users/audited")
    found = root.items("/audit?target=user/audited") + root.items("/audit?target=repository/audited/*")
    found.sort(key=lambda record: record["id"])
    assert [(record["action"], record["target"], record["detail"]) for record in found] == steps
    assert {(record["actor"], record["outcome"], record["remote"]) for record in found} == {
        ("root", "done", "127.0.0.1")}
    assert found[-1]["request_id"] == last["X-Request-Id"]


def test_what_fails_is_not_told_as_done(root):
    before = newest(root)["id"]
    root.post("/users", {"name": "ana"})
    root.delete("/users/no-such")
    root.delete("/users/ana?dry_run=true")
    root.delete("/users/ana", ("If-Match", '"999"'))
    found = root.items(f"/audit?after={before}&actor=root")  # the server may do something itself meanwhile
    assert [record for record in found if record["outcome"] == "done"] == []


def test_secrets_are_in_none(root):
    made = root.post("/robots", {"name": "secretive"}).json()
    root.post("/robots/secretive:rotate")
    text = root.get("/audit?limit=1000").body.decode()
    assert made["token"]["secret"] not in text and "password\": \"" not in text
    assert [record["action"] for record in root.items("/audit?action=token.*&limit=2")][:2] == ["token.rotate",
                                                                                             "token.create"]


def test_refused_log_ins_are_told(root, call):
    call().post("/session", {"username": "ana", "password": "wrong"})
    wait_for(lambda: any(record["outcome"] == "refused" for record in root.items("/audit?action=login.*")), 60,
             "a refusal in the audit")


def test_pages_and_filters(root):
    for number in range(3):
        root.post("/users", {"name": f"paged-audit-{number}"})
    every = [record["id"] for record in root.items("/audit?limit=2&action=user.create")]
    assert every == sorted(every, reverse=True) and len(every) >= 3
    first = newest(root, "&action=user.create")
    assert first["target"] == "user/paged-audit-2"
    assert root.items(f"/audit?after={first['id']}&action=user.create") == []
    assert root.items(f"/audit?since={first['at']}&action=user.create")[-1]["id"] == first["id"]
    assert first["id"] not in [record["id"] for record in root.items(f"/audit?until={first['at']}&limit=1000")]
    assert root.items("/audit?actor=nobody-ever") == []
    for bad in ("since=yesterday", "until=1", "after=x", "cursor=61", "format=xml", "limit=0"):
        assert root.get("/audit?" + bad).status == 422, bad


def test_an_export_of_lines(root):
    for number in range(3):
        root.post("/users", {"name": f"exported-{number}"})
    path = "/audit?limit=2&action=user.create"  # refused log-ins of a moment ago are told meanwhile
    for answer in (root.get(path, JSONL), root.get(path + "&format=jsonl")):
        assert answer["Content-Type"] == "application/jsonl" and "Link" in answer
        assert [json.loads(line)["id"] for line in answer.body.splitlines()] == [
            record["id"] for record in root.get(path).json()["items"]]


def test_who_may_read_it(call):
    assert call("aud").get("/audit").status == 200
    for who in ("ana", "max", "opa"):
        assert call(who).get("/audit").status == 403
    assert call().get("/audit").status == 401


# --- the server itself ---

def test_a_fresh_signing_key(make_registry):
    server = make_registry()
    client, root = server.client(), api.Api(server.target, server.pair("root"))
    keys = lambda: {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}
    before = keys()
    assert root.post("/system/keys:rotate").status == 204
    assert before < keys()
    operator = api.Api(server.target, server.pair("opa"))
    assert operator.post("/system/keys:rotate").status == 409  # allowed, but one waits to sign already
    plain = api.Api(server.target, server.pair("ana"))
    assert plain.post("/system/keys:rotate").status == 403
    for one in (client, root, operator, plain):
        one.close()


def test_the_description_is_served(call):
    nobody = call()
    answer = nobody.get("/openapi.json")
    assert answer.json() == api.description()
    assert nobody.get("/openapi.json", ("If-None-Match", answer["ETag"])).status == 304


# --- bodies ---

def test_bodies_are_read_strictly(root):
    for raw, status in ((b"{", 400), (b"[]", 400), (b'{"name":"a","name":"b"}', 422), (b'{"nome":"a"}', 422),
                        (b'{"name":"a"}x', 400), (b'{"name":"\xff"}', 400), (b'{"name":null}', 422)):
        assert root.call("POST", "/users", raw=raw).status == status, raw
    assert root.call("POST", "/users", raw=b'{"name":"x"}', headers=[("Content-Type", "text/plain")]).status == 400
    large = b'{"name":"' + b"a" * 65536 + b'"}'
    assert root.call("POST", "/users", raw=large).status == 413
    unknown = root.post("/users", {"name": "x", "admin": True})
    assert unknown.status == 422 and '"admin"' in unknown.json()["detail"]


def test_other_methods_and_paths(root):
    answer = root.delete("/users")
    assert answer.status == 405 and answer["Allow"] == "GET, HEAD, POST"
    assert root.get("/no-such").status == 404
    assert root.get("/users/ana/no-such").status == 404
