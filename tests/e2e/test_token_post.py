"""test_token_post.py - POST /token, the OAuth way (token-auth section 4)."""
import re

import pytest

from support import tokens

APP, LIB = "repository:team/app:", "repository:team/lib:"


def password(guarded, name="ana", **more):
    user, secret = guarded.pair(name)
    return {"grant_type": "password", "username": user, "password": secret, "service": "slipway", "client_id": "test", **more}


@pytest.mark.spec("TOK-24", "TOK-19", "TOK-21")
def test_answer(guarded, stranger):
    response = tokens.post(stranger, password(guarded, scope=APP + "pull,push,delete"))
    assert response.status == 200
    answer = response.json()
    assert response["Content-Type"] == "application/json" and response["Cache-Control"] == "no-store"
    assert answer["access_token"] == answer["token"]
    assert (answer["expires_in"], answer["token_type"]) == (900, "Bearer")
    assert answer["scope"] == APP + "pull,push"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["issued_at"])
    assert "refresh_token" not in answer
    assert tokens.access(answer["token"]) == {("repository", "team/app"): {"pull", "push"}}
    assert tokens.payload(answer["token"])["sub"] == "ana"


@pytest.mark.spec("TOK-24", "TOK-11")
def test_scopes_in_one_field_or_in_many(guarded, stranger):
    """Blanks between them, or as podman sends them."""
    wanted = {("repository", "team/app"): {"pull", "push"}, ("repository", "team/lib"): {"pull"}}
    one = tokens.post(stranger, password(guarded, scope=f"{APP}pull,push {LIB}pull"))
    many = tokens.post(stranger, [*password(guarded).items(), ("scope", LIB + "pull"), ("scope", APP + "push"),
                                  ("scope", APP + "pull")])
    none = tokens.post(stranger, password(guarded))
    assert tokens.access(one.json()["token"]) == tokens.access(many.json()["token"]) == wanted
    assert tokens.access(none.json()["token"]) == {}


@pytest.mark.spec("TOK-24")
@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=utf-8",
                                          "application/x-www-form-urlencoded;charset=UTF-8",
                                          "APPLICATION/x-www-form-urlencoded"])
def test_media_types(guarded, stranger, content_type):
    assert tokens.post(stranger, password(guarded), content_type).status == 200


@pytest.mark.spec("TOK-24", "TOK-14")
def test_what_may_be_missing(guarded, stranger):
    for name in ("client_id", "service"):
        fields = password(guarded)
        del fields[name]
        assert tokens.post(stranger, fields).status == 200


def malformed(guarded):
    whole = password(guarded)
    pairs = list(whole.items())
    yield "no grant_type", {**whole, "grant_type": ""}, "unsupported_grant_type"
    for kind in ("authorization_code", "client_credentials", "Password", "urn:ietf:params:oauth:grant-type:jwt-bearer"):
        yield kind, {**whole, "grant_type": kind}, "unsupported_grant_type"
    for name in ("grant_type", "username", "password"):
        yield f"without {name}", [pair for pair in pairs if pair[0] != name], "invalid_request"
        yield f"{name} twice", [*pairs, (name, whole[name])], "invalid_request"
    yield "service twice", [*pairs, ("service", "slipway")], "invalid_request"
    yield "no refresh_token", {"grant_type": "refresh_token"}, "invalid_request"
    yield "nothing", b"", "invalid_request"
    yield "bad escape", b"grant_type=password&username=ana&password=%zz", "invalid_request"
    yield "a NUL", b"grant_type=password&username=ana%00&password=x", "invalid_request"
    yield "JSON", b'{"grant_type":"password"}', "invalid_request"
    yield "too many", b"a=b&" * 200 + b"grant_type=password", "invalid_request"


@pytest.mark.spec("TOK-26")
def test_malformed_requests(guarded, stranger):
    for what, fields, word in malformed(guarded):
        response = tokens.post(stranger, fields)
        assert response.status == 400, what
        body = response.json()
        assert body["error"] == word and body["error_description"], what
        assert body["errors"][0]["code"] and body["errors"][0]["message"], what
        assert response["Cache-Control"] == "no-store"


@pytest.mark.spec("TOK-26")
@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "multipart/form-data; boundary=x",
                                          "application/x-www-form-urlencoded; charset=utf-16"])
def test_other_media_types(guarded, stranger, content_type):
    response = tokens.post(stranger, password(guarded), content_type)
    assert response.status == 400 and response.json()["error"] == "invalid_request"


@pytest.mark.spec("TOK-26")
def test_wrong_credentials(guarded, stranger):
    for name, secret in (("ana", "wrong"), ("nobody", "wrong"), ("", ""), ("ana", ""), guarded.pair("old"), guarded.pair("gone"),
                         ("ana", "x" * 4000), ("ana' OR 1=1 --", "x"), ("\u00e9", "\u00e9")):
        response = tokens.post(stranger, {"grant_type": "password", "username": name, "password": secret})
        assert response.status == 401, (name, secret)
        body = response.json()
        assert body["error"] == "invalid_grant" and body["errors"][0]["code"] == "UNAUTHORIZED"
        assert response["WWW-Authenticate"].startswith("Basic ")
    response = tokens.post(stranger, {"grant_type": "refresh_token", "refresh_token": "slipway_ref_" + "0" * 46})
    assert response.status == 401 and response.json()["error"] == "invalid_grant"


@pytest.mark.spec("TOK-16", "TOK-17")
def test_less_than_asked_and_nonsense_are_no_error(guarded, stranger):
    answer = tokens.post(stranger, password(guarded, "bob", scope=f"{APP}pull x:y:z nonsense")).json()
    assert answer["scope"] == ""
    assert tokens.access(answer["token"]) == {("repository", "team/app"): set()}


@pytest.mark.spec("TOK-65")
def test_personal_tokens_are_passwords_here_too(guarded, stranger):
    secrets = guarded.accounts.secrets
    fields = {"grant_type": "password", "username": "ana", "password": secrets["narrow"], "scope": APP + "pull,push"}
    answer = tokens.post(stranger, fields).json()
    assert answer["scope"] == APP + "pull"
    assert tokens.post(stranger, {**fields, "password": secrets["ended"]}).status == 401


@pytest.mark.spec("TOK-68")
def test_large_bodies_are_refused(guarded, stranger):
    fields = password(guarded, scope="x" * 15000)
    assert tokens.post(stranger, fields).status == 200
    response = tokens.post(stranger, password(guarded, scope="x" * 17000))
    assert response.status == 413 and response.json()["error"] == "invalid_request"
    response = stranger.post("/token", (b"x" * 4096 for _ in range(8)), chunked=True,
                             headers=[("Content-Type", "application/x-www-form-urlencoded")])
    assert response.status == 413


def test_a_body_may_come_in_pieces(guarded):
    import urllib.parse
    body = urllib.parse.urlencode(password(guarded)).encode()
    with guarded.connect() as connection:
        response = connection.request("POST", "/token", (body[at:at + 7] for at in range(0, len(body), 7)), chunked=True,
                                      headers=[("Content-Type", "application/x-www-form-urlencoded")])
        assert response.status == 200
