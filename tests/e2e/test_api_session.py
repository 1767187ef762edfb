"""test_api_session.py - signing in with a browser, the caller's own account, the first administrator."""
import itertools

import pytest

from support import api, people

numbers = itertools.count(1)
SAME = ("Sec-Fetch-Site", "same-origin")
NEW = "another good password"


@pytest.fixture
def user(root):
    name = f"browser-{next(numbers)}"
    assert root.post("/users", {"name": name, "password": people.password_of(name)}).status == 201
    return name


def browser_of(call, name):
    browser = call()
    browser.sign_in(name, people.password_of(name))
    return browser


def test_a_browser_signs_in_and_out(call, user):
    browser = call()
    answer = browser.sign_in(user, people.password_of(user))
    cookie = answer["Set-Cookie"]
    assert cookie.startswith("slipway=") and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert "Secure" not in cookie and "Path=/" in cookie
    who = browser.get("/session").json()
    assert who["name"] == user and who["kind"] == "user" and who["can"] == [] and who["session"] and who["password_at"]
    kept = browser.cookie
    gone = browser.delete("/session", SAME)
    assert gone.status == 204 and browser.cookie is None
    browser.cookie = kept
    assert browser.get("/session").status == 401


def test_over_tls_the_cookie_is_bound_to_the_host(make_registry, authority):
    server = make_registry(tls=authority)
    browser = api.Api(server.target)
    cookie = browser.sign_in(*people.ROOT)["Set-Cookie"]
    assert cookie.startswith("__Host-slipway=") and "Secure" in cookie
    assert browser.get("/session").json()["can"] == ["accounts", "audit", "system"]
    browser.close()


def test_wrong_passwords_and_tokens_do_not_sign_in(call, managed, user):
    nobody = call()
    token = call((user, people.password_of(user))).post("/me/tokens", {"label": "x"}).json()["secret"]
    for name, secret in ((user, "wrong"), ("no-such-user", "wrong"), (user, token), (user, ""), ("", "x"),
                         ("build", managed.accounts.secrets["build"]), ("old", people.password_of("old"))):
        answer = nobody.post("/session", {"username": name, "password": secret})
        assert answer.status == 401 and "Set-Cookie" not in answer, name
        assert answer.json()["code"] == "unauthenticated"


def test_signing_in_again_ends_the_session_before(call, user):
    browser = browser_of(call, user)
    first = browser.cookie
    assert browser.post("/session", {"username": user, "password": people.password_of(user)}, SAME).status == 204
    assert browser.cookie != first
    assert browser.get("/session").status == 200
    browser.cookie = first
    assert browser.get("/session").status == 401


@pytest.mark.parametrize("headers, status", [
    ([], 403), ([("Sec-Fetch-Site", "cross-site")], 403), ([("Sec-Fetch-Site", "same-site")], 403),
    ([("Origin", "https://evil.example")], 403), ([SAME], 200),
    ([SAME, ("Content-Type", "text/plain")], 403),
])
def test_a_cookie_alone_changes_nothing(call, user, headers, status):
    browser = browser_of(call, user)
    answer = browser.patch("/me", {"description": "changed"}, *headers)
    assert answer.status == status
    if status == 403:
        assert answer.json()["code"] == "csrf"
        assert browser.get("/me").json()["description"] == ""


def test_forms_do_not_sign_in(call, user):
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        body = b'{"username":"%s","password":"x"}' % user.encode()
        answer = call().call("POST", "/session", raw=body, headers=[("Content-Type", kind)])
        assert answer.status in (400, 403) and "Set-Cookie" not in answer


def test_the_cookie_counts_for_the_api_only(call, managed, user):
    browser = browser_of(call, user)
    client = managed.client()
    assert client.get("/v2/", headers=[("Cookie", browser.cookie)]).status == 401
    client.close()


def test_sessions_are_listed_and_ended(call, root, user):
    one, two = browser_of(call, user), browser_of(call, user)
    listed = one.get("/me/sessions").json()["items"]
    assert [entry["current"] for entry in listed] == [True, False] and {entry["account"] for entry in listed} == {user}
    other = listed[1]["id"]
    assert one.delete(f"/me/sessions/{other}?dry_run=true", SAME).json()["deletes"] == {"sessions": 1}
    assert two.get("/me").status == 200
    assert call("ana").delete(f"/me/sessions/{other}").status == 404
    assert call("ana").delete(f"/me/sessions/{other}?dry_run=true").status == 404
    assert one.delete(f"/me/sessions/{other}", SAME).status == 204
    assert two.get("/me").status == 401
    assert one.delete(f"/me/sessions/{other}", SAME).status == 404
    three = browser_of(call, user)
    assert root.delete(f"/users/{user}/sessions?dry_run=true").json()["deletes"] == {"sessions": 2}
    assert len(root.get(f"/users/{user}/sessions").json()["items"]) == 2
    assert root.delete(f"/users/{user}/sessions").status == 204
    assert one.get("/me").status == three.get("/me").status == 401
    four = browser_of(call, user)
    number = four.get("/session").json()["session"]
    assert number in [entry["id"] for entry in root.items("/sessions?limit=1")]
    assert root.delete(f"/sessions/{number}").status == 204
    assert four.get("/me").status == 401


# --- one's own account ---

def test_me(call, managed):
    ana = call("ana")
    me = ana.get("/me")
    assert me.json()["name"] == "ana" and ana.get("/me", ("If-None-Match", me["ETag"])).status == 304
    assert ana.patch("/me", {"description": "Ana"}, ("If-Match", '"999"')).status == 412
    assert ana.patch("/me", {"description": "Ana"}, ("If-Match", me["ETag"])).json()["description"] == "Ana"
    for body in ({"role": "admin"}, {"disabled": False}, {"name": "x"}, {"password": NEW}):
        assert ana.patch("/me", body).status == 422
    robot = call(managed.accounts.secrets["build"])
    assert robot.get("/me").json()["kind"] == "robot"


def test_a_new_password_ends_the_other_sessions(call, user):
    here, there = browser_of(call, user), browser_of(call, user)
    wrong = here.put("/me/password", {"current": "wrong", "new": NEW}, SAME)
    assert wrong.status == 422 and list(wrong.json()["fields"]) == ["current"]
    weak = here.put("/me/password", {"current": people.password_of(user), "new": "short"}, SAME)
    assert weak.status == 422 and list(weak.json()["fields"]) == ["new"]
    assert there.get("/me").status == 200
    assert here.put("/me/password", {"current": people.password_of(user), "new": NEW}, SAME).status == 204
    assert here.get("/me").status == 200 and there.get("/me").status == 401
    assert call((user, people.password_of(user))).get("/me").status == 401
    assert call((user, NEW)).get("/me").status == 200


# --- the first administrator ---

def test_the_first_administrator(make_server):
    server = make_server({"auth.mode": "token"})
    nobody = api.Api(server.target)
    assert nobody.get("/setup").json() == {"needed": True}
    token = next(word for word in server.log.read_text().replace('"', " ").replace("=", " ").split()
                 if word.startswith("slipway_set_"))
    first = {"username": "first", "password": NEW}
    assert nobody.post("/setup", {**first, "token": "slipway_set_" + "a" * 46}).status == 401
    assert nobody.post("/setup", {**first, "username": "No", "token": token}).status == 422
    assert nobody.get("/setup").json() == {"needed": True}
    made = nobody.post("/setup", {**first, "token": token})
    assert made.status == 201 and made.json()["role"] == "admin" and made["Location"] == "/api/v1/users/first"
    assert nobody.get("/setup").json() == {"needed": False}
    assert nobody.post("/setup", {**first, "username": "second", "token": token}).status in (401, 409)
    admin = api.Api(server.target, ("first", NEW))
    assert admin.get("/session").json()["role"] == "admin"
    assert [user["name"] for user in admin.items("/users")] == ["first"]
    nobody.close()
    admin.close()


# --- what wants the password again ---

def test_grave_changes_want_a_fresh_password(make_registry):
    """A browser left open for longer than a quarter of an hour."""
    server = make_registry()
    browser = api.Api(server.target)
    browser.sign_in(*people.ROOT)
    server.stop()
    with server.accounts.rows() as connection:
        connection.execute("UPDATE sessions SET password_at = password_at - 16 * 60 * 1000000")
    server.start()
    browser.close()
    browser.client = server.client()
    grave = [("DELETE", "/users/bob", None), ("POST", "/users", {"name": "second", "role": "admin"}),
             ("PATCH", "/users/bob", {"role": "admin"}), ("PATCH", "/users/bob", {"password": NEW}),
             ("POST", "/grants", {"account": "bob", "pattern": "*", "level": "admin"}),
             ("POST", "/robots", {"name": "r", "grants": [{"pattern": "*", "level": "admin"}]})]
    light = [("POST", "/users", {"name": "third"}), ("PATCH", "/users/bob", {"description": "x"}),
             ("POST", "/grants", {"account": "bob", "pattern": "*", "level": "maintain"}),
             ("DELETE", "/users/bob?dry_run=true", None)]
    for method, path, body in grave:
        refused = browser.call(method, path, body, [SAME])
        assert refused.status == 403 and refused.json()["code"] == "password_stale", path
    for method, path, body in light:
        assert browser.call(method, path, body, [SAME]).status in (200, 201), path
    browser.call("POST", "/session", dict(zip(("username", "password"), people.ROOT)), [SAME])
    for method, path, body in reversed(grave):
        assert browser.call(method, path, body, [SAME]).status in (200, 201, 204), path
    browser.close()


def test_where_nobody_is_asked_nobody_signs_in(plain):
    """auth.mode none: no sessions, no tokens, no keys; the rest works for everybody."""
    anyone = api.Api(plain.target)
    assert anyone.get("/session").json()["kind"] == "open"
    assert anyone.get("/setup").json() == {"needed": False}
    for method, path, body in (("POST", "/session", {"username": "a", "password": "b"}),
                               ("POST", "/setup", {"token": "x", "username": "a", "password": NEW}),
                               ("POST", "/system/keys:rotate", None)):
        assert anyone.call(method, path, body).status == 405, path
    assert anyone.delete("/session").status == 204
    for path in ("/me", "/me/tokens", "/me/sessions"):
        assert anyone.get(path).status == 404
    assert anyone.delete("/me/sessions/1").status == 404
    assert anyone.post("/me/tokens", {"label": "x"}).status == 404
    assert anyone.put("/me/password", {"current": "x", "new": NEW}).status == 404
    assert anyone.post("/users", {"name": "open-user", "password": NEW}).status == 201
    assert anyone.delete("/users/open-user").status == 204
    anyone.close()
