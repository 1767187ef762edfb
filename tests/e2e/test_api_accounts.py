"""test_api_accounts.py - users and robots by the management API; api.py holds each answer against openapi.json."""
import itertools

import pytest

from support import people

numbers = itertools.count(1)
PASSWORD = "a good: password"


@pytest.fixture
def fresh():
    return f"fresh-{next(numbers)}"


def make_user(root, name, **more):
    response = root.post("/users", {"name": name, "password": PASSWORD, **more})
    assert response.status == 201, response
    return response


# --- users ---

def test_a_user_from_birth_to_end(root, call, fresh):
    made = make_user(root, fresh, description="of the team", role="auditor", expires_at="2100-01-01T00:00:00+01:00")
    assert made["Location"] == f"/api/v1/users/{fresh}" and made["ETag"] == '"1"'
    user = made.json()
    assert user["has_password"] and user["role"] == "auditor" and user["expires_at"] == "2099-12-31T23:00:00Z"
    assert "a good" not in made.body.decode() and "$" not in made.body.decode()
    assert root.get(made["Location"]).json() == user
    assert call((fresh, PASSWORD)).get("/me").status == 200
    changed = root.patch(made["Location"], {"description": "left", "role": "user", "expires_at": None})
    assert changed.status == 200 and changed["ETag"] == f'"{changed.json()["version"]}"' != '"1"'
    assert changed.json()["description"] == "left" and changed.json()["expires_at"] is None
    assert root.delete(made["Location"]).status == 204
    assert root.get(made["Location"]).status == 404
    assert root.delete(made["Location"]).status == 404
    assert call((fresh, PASSWORD)).get("/me").status == 401


def test_a_user_without_a_password_cannot_sign_in(root, call, fresh):
    made = root.post("/users", {"name": fresh})
    assert made.status == 201 and not made.json()["has_password"]
    assert call((fresh, "")).get("/me").status == 401
    assert root.patch(made["Location"], {"password": PASSWORD}).json()["has_password"]
    assert call((fresh, PASSWORD)).get("/me").status == 200


def test_disabling_ends_what_a_user_had(root, call, fresh):
    make_user(root, fresh)
    browser = call()
    browser.sign_in(fresh, PASSWORD)
    token = browser.post("/me/tokens", {"label": "t", "scopes": "api"}, ("Sec-Fetch-Site", "same-origin")).json()
    assert call(token["secret"]).get("/me").status == 200
    assert root.post(f"/users/{fresh}:disable").json()["disabled"]
    assert browser.get("/me").status == 401
    assert call(token["secret"]).get("/me").status == 401
    assert call((fresh, PASSWORD)).get("/me").status == 401
    assert not root.post(f"/users/{fresh}:enable").json()["disabled"]
    assert browser.get("/me").status == 401  # the session is gone for good
    assert call(token["secret"]).get("/me").status == 200


def test_names_are_one_space_and_have_a_grammar(root, fresh):
    make_user(root, fresh)
    assert root.post("/users", {"name": fresh}).status == 409
    assert root.post("/robots", {"name": fresh}).status == 409
    assert root.get(f"/robots/{fresh}").status == 404
    for name in ("", "A", "local", "a/b", "a" * 65, "-a", "a_", "ä", "a b", "a:disable"):
        refused = root.post("/users", {"name": name})
        assert refused.status == 422 and list(refused.json()["fields"]) == ["name"], name
    for path in ("/users/Nobody", "/users/x:y", "/users/nobody"):
        assert root.get(path).status == 404


@pytest.mark.parametrize("body, field", [
    ({"password": "short"}, "password"),
    ({"role": "king"}, "role"),
    ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at"),
    ({"expires_at": "tomorrow"}, "expires_at"),
    ({"description": "x" * 1001}, "description"),
    ({"description": "\x1b[31m"}, "description"),
])
def test_values_that_are_refused(root, fresh, body, field):
    refused = root.post("/users", {"name": fresh, **body})
    assert refused.status == 422 and list(refused.json()["fields"]) == [field]
    assert root.get(f"/users/{fresh}").status == 404
    make_user(root, fresh)
    refused = root.patch(f"/users/{fresh}", body)
    assert refused.status == 422 and list(refused.json()["fields"]) == [field]
    assert root.get(f"/users/{fresh}").json()["version"] == 1


def test_there_is_always_an_administrator(root):
    for path, body in (("/users/root", {"role": "user"}), ("/users/root", {"disabled": True})):
        assert root.patch(path, body).status == 409
    assert root.post("/users/root:disable").status == 409
    assert root.delete("/users/root").status == 409
    assert root.get("/session").json()["role"] == "admin"


# --- conditions ---

def test_conditions_hold_for_changes(root, fresh):
    path = make_user(root, fresh)["Location"]
    assert root.patch(path, {"description": "one"}, ("If-Match", '"1"')).status == 200
    for method, body, target in (("PATCH", {"description": "two"}, path), ("DELETE", None, path),
                                 ("POST", None, path + ":disable")):
        stale = root.call(method, target, body, [("If-Match", '"1"')])
        assert stale.status == 412 and stale.json()["code"] == "precondition_failed"
    user = root.get(path).json()
    assert user["description"] == "one" and not user["disabled"]
    assert root.get(path, ("If-None-Match", f'"{user["version"]}"')).status == 304
    assert root.get(path, ("If-None-Match", '"1"')).status == 200
    assert root.patch(path, {}, ("If-Match", "*")).status == 200
    assert root.call("HEAD", path)["ETag"]


def test_dry_run_changes_nothing(root, fresh):
    path = make_user(root, fresh)["Location"]
    root.post("/grants", {"account": fresh, "pattern": fresh + "/*", "level": "write"})
    answer = root.delete(path + "?dry_run=true")
    assert answer.status == 200
    assert answer.json()["deletes"] == {"accounts": 1, "tokens": 0, "sessions": 0, "grants": 1}
    assert root.get(path).status == 200
    assert root.delete(path + "?dry_run=yes").status == 422
    assert root.get(path).status == 200
    assert root.delete(path + "?dry_run=false").status == 204


# --- lists ---

def test_lists_come_in_pages(root):
    names = [f"on-pages-{letter}" for letter in "abcde"]
    for name in names:
        root.post("/users", {"name": name})
    page = root.get("/users?q=on-pages-&limit=2").json()
    assert [user["name"] for user in page["items"]] == names[:2] and page["total"] == 5
    assert [user["name"] for user in root.items("/users?q=on-pages-&limit=2")] == names
    assert root.get("/users?q=on-pages-&limit=5").json()["next"] is None
    assert root.get("/users?q=no-such-name").json() == {"items": [], "next": None, "total": 0}
    every = [user["name"] for user in root.items("/users?limit=3")]
    assert every == sorted(every) and {"root", "ana", *names} <= set(every) and "build" not in every
    for bad in ("limit=0", "limit=x", "limit=-1", "cursor=zz", "cursor=0", "cursor=", "cursor=00", "q=" + "x" * 256):
        assert root.get("/users?" + bad).status == 422, bad
    assert len(root.get("/users?limit=100000").json()["items"]) == len(every)


def test_a_search_is_no_pattern(root):
    for word in ("%25", "_", "*", "'"):
        assert root.get(f"/users?q=ro{word}t").json()["items"] == []


# --- robots ---

def test_a_robot_comes_with_grants_and_a_token(root, call, managed, fresh):
    grants = [{"pattern": "ci-team/*", "actions": ["push", "pull"]}, {"pattern": "lib", "level": "read"}]
    made = root.post("/robots", {"name": fresh, "description": "builds", "grants": grants})
    assert made.status == 201
    robot = made.json()
    secret = robot["token"].pop("secret")
    assert root.get(made["Location"]).json() == {key: robot[key] for key in robot if key != "token"}
    assert [token["id"] for token in root.get(f"/robots/{fresh}/tokens").json()["items"]] == [robot["token"]["id"]]
    assert secret not in root.get(f"/robots/{fresh}/tokens").body.decode()
    found = root.get(f"/grants?account={fresh}").json()["items"]
    assert [(grant["pattern"], grant["actions"], grant["level"]) for grant in found] == [
        ("ci-team/*", ["pull", "push"], "write"), ("lib", ["pull"], "read")]
    assert call((fresh, secret)).get("/session").json()["kind"] == "robot"
    client = managed.caller((fresh, secret))
    assert client.post("/v2/ci-team/app/blobs/uploads/").status == 202
    assert client.post("/v2/other/app/blobs/uploads/").status in (401, 403)
    client.close()


@pytest.mark.parametrize("grants", [
    [{"pattern": "a/*"}], [{"pattern": "a/*", "level": "king"}], [{"pattern": "a*", "level": "read"}],
    [{"pattern": "a", "level": "read", "actions": ["pull"]}], [{"pattern": "a", "actions": ["fly"]}],
    [{"pattern": "a", "actions": []}], [{"level": "read"}], ["a"], [{"pattern": "a", "level": "read", "x": 1}],
    [{"pattern": "a", "level": "read"}] * 101,
])
def test_a_robot_with_a_wrong_grant_is_not_made(root, fresh, grants):
    refused = root.post("/robots", {"name": fresh, "grants": grants})
    assert refused.status == 422 and list(refused.json()["fields"]) == ["grants"]
    assert root.get(f"/robots/{fresh}").status == 404


def test_a_robot_gets_a_fresh_secret(root, call, fresh):
    old = root.post("/robots", {"name": fresh, "token_expires_at": None}).json()["token"]
    assert old["expires_at"] is None
    made = root.post(f"/robots/{fresh}:rotate", {"overlap_s": 3600})
    assert made.status == 201 and made.json()["id"] != old["id"] and made.json()["label"] == old["label"]
    assert made.json()["expires_at"] is None
    for secret in (old["secret"], made.json()["secret"]):
        assert call(secret).get("/me").status == 200
    last = root.post(f"/robots/{fresh}:rotate")
    assert call(made.json()["secret"]).get("/me").status == 401
    assert call(last.json()["secret"]).get("/me").status == 200
    root.post(f"/robots/{fresh}/tokens", {"label": "second"})
    refused = root.post(f"/robots/{fresh}:rotate")
    assert refused.status == 409 and "2 tokens" in refused.json()["detail"]


def test_robots_do_not_sign_in_nor_make_tokens(root, call, fresh):
    secret = root.post("/robots", {"name": fresh}).json()["token"]["secret"]
    assert call().post("/session", {"username": fresh, "password": secret}).status == 401
    robot = call(secret)
    assert robot.post("/me/tokens", {"label": "brother"}).status == 403
    assert robot.put("/me/password", {"current": secret, "new": PASSWORD}).status == 409
    assert [token["label"] for token in robot.get("/me/tokens").json()["items"]] == ["first"]
    own = robot.get("/me/tokens").json()["items"][0]["id"]
    assert robot.post(f"/me/tokens/{own}:rotate").status == 201  # renewing itself is what CI jobs do


# --- who may ---

PATHS = ["/users", "/robots", "/tokens", "/sessions", "/users/ana", "/users/ana/tokens", "/users/ana/sessions",
         "/robots/build", "/robots/build/tokens"]


@pytest.mark.parametrize("who", ["ana", "max", "opa", "bob"])
def test_accounts_are_for_administrators(call, who):
    caller = call(who)
    for path in PATHS:
        assert caller.get(path).status == 403, path
    for path in ("/users", "/robots"):
        assert caller.post(path, {"name": "intruder"}).status == 403
    assert caller.patch("/users/" + who, {"role": "admin"}).status == 403
    assert caller.delete("/users/ana").status == 403
    assert caller.post("/users/ana:disable").status == 403


def test_nobody_and_those_who_ended_are_refused(call, managed):
    for who in (None, "old", "gone", ("ana", "wrong"), "slipway_pat_" + "a" * 46,
                managed.accounts.secrets["ended"], managed.accounts.secrets["off"]):
        for path in PATHS + ["/me", "/session", "/grants", "/audit"]:
            assert call(who).get(path).status == 401, (who, path)


def test_an_auditor_changes_nothing(call):
    auditor = call("aud")
    assert auditor.post("/users", {"name": "intruder"}).status == 403
    assert auditor.delete("/robots/build").status == 403
    assert auditor.post("/grants", {"account": "aud", "pattern": "*", "level": "admin"}).status == 403
    assert auditor.post("/system/keys:rotate").status == 403


def test_a_narrow_token_is_no_key_to_the_api(call, managed):
    assert call(managed.accounts.secrets["narrow"]).get("/me").status in (401, 403)
    assert people.ROOT[1] not in managed.log.read_text()
