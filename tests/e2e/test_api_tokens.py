"""test_api_tokens.py - personal tokens by the management API: made, shown once, narrowed, rotated, ended."""
import calendar
import re
import time

import pytest

DAY = 86400


def make(caller, **more):
    response = caller.post("/me/tokens", {"label": "test", **more})
    assert response.status == 201, response
    return response


def stamp(text):
    return calendar.timegm(time.strptime(re.sub(r"\.\d+", "", text), "%Y-%m-%dT%H:%M:%SZ"))


def test_a_token_is_shown_once(call):
    ana = call("ana")
    made = make(ana, scopes="api")
    token = made.json()
    secret = token.pop("secret")
    assert made["Location"] == f"/api/v1/me/tokens/{token['id']}"
    assert abs(stamp(token["expires_at"]) - time.time() - 90 * DAY) < 120
    assert token["hint"].startswith(secret[:14]) and token["hint"].endswith(secret[-4:])
    own = ana.get(made["Location"]).json()
    assert own == token
    for path in ("/me/tokens", made["Location"], "/audit"):
        caller = call("root") if path == "/audit" else ana
        assert secret not in caller.get(path).body.decode()
    assert call(secret).get("/me").json()["name"] == "ana"
    assert call(("ana", secret)).get("/me").json()["name"] == "ana"


def test_its_use_is_told(call):
    secret = make(call("ana"), scopes="api").json()["secret"]
    used = call(secret)
    assert used.get("/me").status == 200
    last = [token for token in used.get("/me/tokens").json()["items"] if secret.startswith(token["hint"][:16])]
    assert last[0]["last_used_from"] == "127.0.0.1" and last[0]["last_used_at"]


def test_it_ends_when_deleted(call):
    ana = call("ana")
    made = make(ana, scopes="api")
    user = call(made.json()["secret"])
    assert user.get("/me").status == 200
    assert ana.delete(made["Location"] + "?dry_run=true").json()["deletes"] == {"tokens": 1}
    assert ana.delete(made["Location"], ("If-Match", '"9"')).status == 412
    assert user.get("/me").status == 200
    assert ana.delete(made["Location"]).status == 204
    assert user.get("/me").status == 401
    assert ana.get(made["Location"]).status == 404


def test_tokens_of_others_are_not_there(call, root):
    mine = make(call("ana"))
    max_ = call("max")
    number = mine.json()["id"]
    assert max_.get(mine["Location"]).status == 404
    assert max_.delete(mine["Location"]).status == 404
    assert max_.post(f"/me/tokens/{number}:rotate").status == 404
    for path in (f"/tokens/{number}", f"/tokens/{number}:rotate"):
        assert max_.call("GET" if path.endswith(str(number)) else "POST", path).status == 403
    assert root.get(f"/tokens/{number}").json()["account"] == "ana"
    for path in ("/me/tokens/0", "/me/tokens/x", "/me/tokens/99999999999999999999", "/me/tokens/-1"):
        assert max_.get(path).status == 404


def test_an_administrator_does_not_become_somebody_else(call, root):
    number = make(call("ana")).json()["id"]
    assert root.post(f"/tokens/{number}:rotate").status == 403
    assert root.post(f"/tokens/{number}:disable").json()["disabled"]
    assert root.delete(f"/tokens/{number}").status == 204


def test_disabling_and_enabling(call, root):
    token = make(call("ana"), scopes="api").json()
    assert root.post(f"/tokens/{token['id']}:disable").status == 200
    assert call(token["secret"]).get("/me").status == 401
    assert call("ana").post(f"/me/tokens/{token['id']}:rotate").status == 409
    assert root.post(f"/tokens/{token['id']}:enable").status == 200
    assert call(token["secret"]).get("/me").status == 200


def test_a_successor_takes_over(call):
    ana = call("ana")
    old = make(ana, scopes="repository:team/*:pull api", label="laptop").json()
    new = ana.post(f"/me/tokens/{old['id']}:rotate", {"overlap_s": 1000})
    assert new.status == 201
    assert {key: new.json()[key] for key in ("label", "scopes", "account")} == {
        key: old[key] for key in ("label", "scopes", "account")}
    assert abs(stamp(new.json()["expires_at"]) - stamp(old["expires_at"])) < 120
    for secret in (old["secret"], new.json()["secret"]):
        assert call(secret).get("/me").status == 200
    past = ana.get(f"/me/tokens/{old['id']}").json()
    assert past["rotated_at"] and stamp(past["expires_at"]) - time.time() < 1001
    last = ana.post(f"/me/tokens/{new.json()['id']}:rotate", {"overlap_s": 0})
    assert call(new.json()["secret"]).get("/me").status == 401
    assert call(last.json()["secret"]).get("/me").status == 200
    for overlap in (-1, 30 * DAY + 1, 1.5, "1"):
        refused = ana.post(f"/me/tokens/{last.json()['id']}:rotate", {"overlap_s": overlap})
        assert refused.status == 422 and list(refused.json()["fields"]) == ["overlap_s"]


def test_no_token_makes_a_wider_one(call):
    narrow = call(make(call("ana"), scopes="repository:team/*:pull api").json()["secret"])
    wide = make(call("ana"), scopes="repository:team/*:pull,push api").json()
    for scopes in ("", "repository:*:pull", "repository:team/*:pull,push", "repository:other:pull api"):
        assert narrow.post("/me/tokens", {"label": "w", "scopes": scopes}).status == 403, scopes
    assert narrow.post("/me/tokens", {"label": "w"}).status == 403
    assert narrow.post(f"/me/tokens/{wide['id']}:rotate").status == 403
    for scopes in ("repository:team/*:pull", "repository:team/app:pull", "api"):
        assert narrow.post("/me/tokens", {"label": "n", "scopes": scopes}).status == 201, scopes


@pytest.mark.parametrize("scopes", ["x", "repository:a", "repository:A:pull", "repository:a:fly", "repository:a*:pull",
                                    "registry:catalog:*", "api:x"])
def test_scopes_have_a_grammar(call, scopes):
    refused = call("ana").post("/me/tokens", {"label": "x", "scopes": scopes})
    assert refused.status == 422 and list(refused.json()["fields"]) == ["scopes"]


def test_expiry_lies_ahead(call):
    ana = call("ana")
    assert make(ana, expires_at=None).json()["expires_at"] is None
    refused = ana.post("/me/tokens", {"label": "x", "expires_at": "2020-01-01T00:00:00Z"})
    assert refused.status == 422 and list(refused.json()["fields"]) == ["expires_at"]
    assert ana.post("/me/tokens", {}).json()["fields"] == {"label": "label is missing"}


def test_lists_of_tokens(call, root):
    assert root.post("/users", {"name": "lister", "password": "a good password"}).status == 201
    owner = call(("lister", "a good password"))  # of the plan's people some tokens have ended, and go meanwhile
    numbers = [make(owner).json()["id"] for _ in range(3)]
    make(call("ana"))
    assert [token["id"] for token in owner.items("/me/tokens?limit=2")] == numbers == sorted(numbers)
    assert {token["account"] for token in owner.items("/me/tokens")} == {"lister"}
    assert [token["id"] for token in root.items("/users/lister/tokens?limit=2")] == numbers
    everybody = root.items("/tokens?limit=5")
    assert {"ana", "build"} <= {token["account"] for token in everybody}
