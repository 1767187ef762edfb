"""test_token_get.py - GET /token: what is asked, what is granted, how it is answered (token-auth sections 2, 3, 5)."""
import datetime
import itertools
import json
import re
import time

import jwt
import pytest

from support import plan, tokens
from support.people import ROOT, password_of

APP, LIB, SECRET = "repository:team/app:", "repository:team/lib:", "repository:secret/one:"


@pytest.fixture
def ask(guarded, stranger):
    """ask(who, scope, ..., parameter=value): what the token allows."""
    def run(who, *scopes, **parameters):
        pair = (None, "") if who is None else who if isinstance(who, tuple) else guarded.pair(who)
        response = tokens.get(stranger, scopes, *pair, **parameters)
        assert response.status == 200, response
        return tokens.access(response.json()["token"])
    return run


def entry(name, *actions):
    return {("repository", name): set(actions)}


# --- the answer ---


@pytest.mark.spec("TOK-19", "TOK-21", "TOK-23", "TOK-54")
def test_answer(guarded, stranger):
    before = time.time()
    response = tokens.get(stranger, [APP + "pull,push"], *guarded.pair("ana"))
    answer = response.json()
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert answer["token"] == answer["access_token"]
    assert answer["expires_in"] == 900
    issued = datetime.datetime.strptime(answer["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
    assert before - 31 <= issued.timestamp() <= time.time()
    assert "refresh_token" not in answer
    assert len(answer["token"]) < 8192


@pytest.mark.spec("TOK-21", "TOK-54")
def test_life_is_a_setting(make_registry):
    server = make_registry({"auth.token.ttl": "2h"})
    client = server.client()
    answer = tokens.get(client, [], *server.pair("ana")).json()
    claims = tokens.payload(answer["token"])
    assert answer["expires_in"] == 7200 and 7200 <= claims["exp"] - claims["iat"] <= 7230


@pytest.mark.spec("TOK-56", "TOK-40")
def test_claims(guarded):
    before = time.time()
    one, other = (tokens.payload(guarded.token("ana", APP + "pull")) for _ in range(2))
    after = time.time()
    assert (one["iss"], one["sub"], one["aud"]) == ("slipway", "ana", "slipway")
    assert one["nbf"] == one["iat"] and before - 31 <= one["iat"] <= after
    assert before + 890 <= one["exp"] <= after + 905
    assert one["jti"] != other["jti"] and len(one["jti"]) >= 16
    assert one["access"] == [tokens.repository("team/app", "pull")]
    assert tokens.payload(guarded.token(None))["sub"] == ""


@pytest.mark.spec("TOK-45", "TOK-49")
def test_our_tokens_verify_with_the_keys_we_publish(guarded, stranger):
    response = stranger.get("/.well-known/jwks.json")
    assert response.status == 200 and "max-age=" in response["Cache-Control"]
    keys = response.json()["keys"]
    token = guarded.token("ana", APP + "pull")
    header = jwt.get_unverified_header(token)
    key, = [key for key in keys if key["kid"] == header["kid"]]
    assert "d" not in key and key["kid"] == tokens.thumbprint(key)
    claims = jwt.decode(token, jwt.PyJWK(key).key, algorithms=[key["alg"]], audience="slipway", issuer="slipway")
    assert claims["sub"] == "ana" and (header["alg"], header["typ"]) == ("ES256", "JWT")
    again = stranger.get("/.well-known/jwks.json", headers=[("If-None-Match", response["ETag"])])
    assert (again.status, again["ETag"]) == (304, response["ETag"])
    for method in ("POST", "PUT", "DELETE"):
        refused = stranger.request(method, "/.well-known/jwks.json")
        assert refused.status == 405 and refused["Allow"] == "GET, HEAD"


# --- the request ---


@pytest.mark.spec("TOK-10")
def test_service(guarded, stranger):
    """One is served: whatever is asked for, the token is for that one (TOK-70)."""
    for query in ("service=slipway", "", "service=", "service=elsewhere"):
        response = stranger.get(f"/token?{query}", headers=[tokens.basic(*guarded.pair("ana"))])
        assert response.status == 200
        assert tokens.payload(response.json()["token"])["aud"] == "slipway"


@pytest.mark.spec("TOK-11", "TOK-32")
def test_scopes_are_joined_however_they_are_spread(guarded, stranger):
    wanted = {**entry("team/app", "pull", "push"), **entry("team/lib", "pull")}
    for query in ("scope=repository:team/app:pull,push&scope=repository:team/lib:pull",
                  "scope=repository:team/app:pull,push%20repository:team/lib:pull",
                  "scope=repository:team/app:pull,push+repository:team/lib:pull",
                  "scope=repository%3Ateam%2Fapp%3Apush%2Cpull+repository:team/lib:pull",
                  "scope=repository:team/lib:pull&scope=repository:team/app:push+repository:team/app:pull,pull",
                  "scope=repository:team/app:pull&scope=&scope=repository:team/app:pull,push++repository:team/lib:pull"):
        response = stranger.get(f"/token?service=slipway&{query}", headers=[tokens.basic(*guarded.pair("ana"))])
        assert tokens.access(response.json()["token"]) == wanted, query


@pytest.mark.spec("TOK-12", "TOK-16")
def test_login_probe(guarded, stranger):
    response = tokens.get(stranger, [], *guarded.pair("ana"), account="ana", client_id="docker")
    assert response.status == 200 and tokens.access(response.json()["token"]) == {}
    for pair in (("ana", "wrong"), ("nobody", "wrong"), ("", "wrong"), ("ana", ""), guarded.pair("old"), guarded.pair("gone")):
        response = tokens.get(stranger, [], *pair)
        assert response.status == 401, pair
        assert re.fullmatch('Basic realm="[^"]+"', response["WWW-Authenticate"])
        assert response["Cache-Control"] == "no-store"
        body = response.json()
        assert body["errors"][0]["code"] == "UNAUTHORIZED" and body["error"] and body["error_description"]


@pytest.mark.spec("TOK-13")
def test_account_must_be_who_signs_in(guarded, stranger):
    pair = guarded.pair("ana")
    assert tokens.get(stranger, [], *pair, account="ana").status == 200
    for name in ("bob", "nobody", "ANA", "ana "):
        assert tokens.get(stranger, [], *pair, account=name).status == 401
    response = tokens.get(stranger, [APP + "pull"], account="ana")  # without credentials it gives nothing
    assert response.status == 200
    assert tokens.access(response.json()["token"]) == entry("team/app")
    assert tokens.payload(response.json()["token"])["sub"] == ""


@pytest.mark.spec("TOK-14")
def test_client_is_free_text(guarded, stranger):
    for value in ("docker", "containerd-client", "x" * 2000, "\u00e9 \x07", ""):
        assert tokens.get(stranger, [], *guarded.pair("ana"), client_id=value).status == 200


@pytest.mark.parametrize("query", ["service=slipway&service=slipway", "account=ana&account=ana", "client_id=a&client_id=b",
                                   "offline_token=true&offline_token=false"])
def test_what_is_said_twice_is_not_guessed(guarded, stranger, query):
    response = stranger.get(f"/token?{query}", headers=[tokens.basic(*guarded.pair("ana"))])
    assert response.status == 400 and response.json()["error"] == "invalid_request"


@pytest.mark.spec("TOK-19", "TOK-25")
def test_methods(guarded, stranger):
    for method in ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = stranger.request(method, "/token", headers=[tokens.basic(*guarded.pair("ana"))])
        assert response.status == 405 and response["Allow"] == "GET, POST"
        assert response["Cache-Control"] == "no-store"


@pytest.mark.spec("TOK-25", "TOK-08")
def test_open_registry_has_no_token_endpoint(plain):
    client = plain.client()
    assert client.get("/v2/").status == 200
    assert client.get("/token?service=slipway").status == 404
    assert tokens.post(client, {"grant_type": "password", "username": "a", "password": "b"}).status == 404
    assert client.get("/.well-known/jwks.json").status == 404


# --- what is granted ---


@pytest.mark.spec("TOK-15", "TOK-62")
def test_strangers_get_what_is_public(guarded, ask):
    """And who pushes there must sign in: with Bearer both work beside each other."""
    assert ask(None) == {}
    assert ask(None, "repository:public/tool:pull,push") == entry("public/tool", "pull")
    assert ask(None, APP + "pull") == entry("team/app")
    nobody = guarded.caller()
    assert nobody.get(f"/v2/public/tool/manifests/{plan.TAG}").status == 200
    assert nobody.get(f"/v2/team/app/manifests/{plan.TAG}").status == 401
    assert nobody.post("/v2/public/tool/blobs/uploads/").status == 401
    assert guarded.caller("root").post("/v2/public/tool/blobs/uploads/").status == 202


@pytest.mark.spec("TOK-15")
def test_strangers_get_nothing_by_default(make_registry):
    server = make_registry()
    plan.content(server, ["public/tool"])
    nobody = server.caller()
    assert nobody.get("/v2/").status == 200  # an empty token is a token
    assert nobody.get("/v2/public/tool/tags/list").status == 401
    assert tokens.access(server.token(None, "repository:public/tool:pull")) == entry("public/tool")
    assert server.caller("bob").get("/v2/public/tool/tags/list").status == 200


@pytest.mark.spec("TOK-16", "TOK-18", "TOK-34")
def test_less_than_asked_is_no_error(ask):
    assert ask("ana", APP + "pull,push,delete") == entry("team/app", "pull", "push")
    assert ask("max", APP + "pull,push,delete") == entry("team/app", "pull", "push", "delete")
    assert ask("eve", APP + "pull,push", LIB + "pull") == {**entry("team/app", "pull"), **entry("team/lib")}
    assert ask("bob", SECRET + "pull,push,delete,*") == entry("secret/one")
    assert ask("ana", "repository:never/was:pull") == entry("never/was")
    assert ask("ana", "repository:team/never/was:push") == entry("team/never/was", "push")


@pytest.mark.spec("TOK-34")
def test_push_implies_nothing_in_the_token(ask):
    assert ask("ana", APP + "push") == entry("team/app", "push")
    assert ask("root", APP + "delete") == entry("team/app", "delete")


@pytest.mark.spec("TOK-17", "TOK-30", "TOK-31", "TOK-72")
@pytest.mark.parametrize("scope,wanted", [
    ("repository:a/b:pull", entry("a/b", "pull")),
    ("repository:a/b:push,pull", entry("a/b", "pull", "push")),
    ("repository(plugin):a:pull", entry("a", "pull")),
    ("repository:a:", entry("a")),
    ("repository:a", {}),
    ("repository:a:fly", entry("a")),
    ("repository:a:pull,fly", entry("a", "pull")),
    ("repository:a:pull repository:b:pull", {**entry("a", "pull"), **entry("b", "pull")}),
    ("registry:catalog:*", {("registry", "catalog"): {"*"}}),
    ("registry:other:*", {}),
    ("x:y:z", {}), ("", {}), (":", {}), ("::", {}), ("repository::pull", {}),
    ("repository:*:pull", {}), ("repository:a/*:pull", {}), ("repository:a/../b:pull", {}), ("repository:A:pull", {}),
    ("repository:a//b:pull", {}), ("repository:/a:pull", {}), ("repository:a/:pull", {}), ("repository:..:pull", {}),
    ("repository:a b:pull", {}), ("repository:\u00e9:pull", {}),
    ("Repository:a:pull", {}), ("repository:a:PULL", entry("a")),
])
def test_grammar(ask, scope, wanted):
    """What cannot be understood is dropped, silently; the rest is granted."""
    granted = {key: actions for key, actions in ask("root", scope).items() if actions or key in wanted}
    assert granted == wanted
    assert ask("root", scope, APP + "pull")["repository", "team/app"] == {"pull"}


@pytest.mark.spec("TOK-30")
def test_names_may_hold_a_colon(ask):
    granted = ask("root", "repository:host:5000/a:pull", APP + "pull")
    assert granted == {**entry("host:5000/a", "pull"), **entry("team/app", "pull")}
    assert ask("ana", "repository:host:5000/a:pull") == entry("host:5000/a")


@pytest.mark.spec("TOK-33")
def test_star_asks_for_all_there_is(guarded, ask):
    assert ask("ana", APP + "*") == entry("team/app", "pull", "push")
    assert ask("eve", APP + "*") == entry("team/app", "pull")
    assert ask("root", APP + "*") == entry("team/app", "pull", "push", "delete", "*")
    assert ask("bob", SECRET + "*") == entry("secret/one")
    assert ask("root", "registry:catalog:*") == {("registry", "catalog"): {"*"}}
    assert not ask("ana", "registry:catalog:*").get(("registry", "catalog"))
    token = guarded.token("root", "repository:team/star:*")
    client = guarded.client()
    headers = [tokens.bearer(token)]
    for method, path, status in (("POST", "/v2/team/star/blobs/uploads/", 202), ("GET", "/v2/team/star/tags/list", 404),
                                 ("DELETE", "/v2/team/star/manifests/none", 404)):
        assert client.request(method, path, headers=headers).status in (status, 200)


@pytest.mark.spec("TOK-23", "TOK-42")
def test_many_scopes_stay_a_header(guarded, ask, stranger):
    scopes = [f"repository:team/a-long-name-of-a-repository-{number}:pull,push" for number in range(120)]
    granted = ask("ana", " ".join(scopes))
    assert 20 <= len(granted) <= 120
    token = guarded.token("ana", " ".join(scopes))
    assert len(token) < 8192
    assert stranger.get("/v2/", headers=[tokens.bearer(token)]).status == 200


# --- credentials ---


@pytest.mark.spec("TOK-58")
def test_empty_name_and_password_are_nobody(guarded, stranger):
    response = tokens.get(stranger, ["repository:public/tool:pull"], "", "")
    assert response.status == 200
    assert tokens.payload(response.json()["token"])["sub"] == ""
    response = stranger.get("/v2/", headers=[tokens.basic("", "")])
    assert response.status == 401 and tokens.parse_challenge(response)["realm"]


@pytest.mark.spec("TOK-60")
def test_names_end_at_the_first_colon(make_registry):
    """ROOT's password has a colon; this one has many, and is no ASCII."""
    from support import people
    password = ":\u00fc: \u65e5\u672c:"

    def fill(to):
        to.user("zoe")
        with to.rows() as rows:
            rows.execute("UPDATE accounts SET password_hash = ? WHERE name = 'zoe'", [people.hash_password(password)])
    server = make_registry(people_of=fill)
    assert ":" in ROOT[1]
    for pair in (ROOT, ("zoe", password)):
        assert tokens.payload(server.token(pair))["sub"] == pair[0]
    assert tokens.get(server.client(), [], "zoe", password[1:]).status == 401


@pytest.mark.spec("TOK-64", "TOK-65")
def test_personal_tokens_and_robots(guarded, ask, stranger):
    secrets = guarded.accounts.secrets
    assert re.fullmatch("slipway_pat_[0-9A-Za-z]{46}", secrets["ana"])
    assert ask(("ana", secrets["ana"]), APP + "pull,push,delete") == entry("team/app", "pull", "push")
    assert ask(("ana", secrets["narrow"]), APP + "pull,push") == entry("team/app", "pull")
    assert ask(("build", secrets["build"]), "repository:ci/base:pull,push", APP + "pull") == {
        **entry("ci/base", "pull", "push"), **entry("team/app")}
    assert tokens.payload(guarded.token(("build", secrets["build"])))["sub"] == "build"
    changed = secrets["ana"][:-1] + ("a" if secrets["ana"][-1] != "a" else "b")
    for pair in (("ana", secrets["ended"]), ("ana", secrets["off"]), ("ana", changed), ("ana", secrets["ana"][:-1]),
                 ("build", "build"), ("build", "")):
        assert tokens.get(stranger, [], *pair).status == 401
    headers = [tokens.basic("ana", secrets["narrow"])]  # and without a token request
    assert stranger.get("/v2/team/app/tags/list", headers=headers).status == 200
    assert stranger.post("/v2/team/app/blobs/uploads/", headers=headers).status == 403


@pytest.mark.spec("TOK-64")
def test_names_that_clouds_give(guarded, stranger):
    """A personal token goes with them, for it tells whose it is; a password does not."""
    secret = guarded.accounts.secrets["ana"]
    for name in ("AWS", "oauth2accesstoken", "x-access-token", "_json_key", "_json_key_base64", "gitlab-ci-token",
                 "00000000-0000-0000-0000-000000000000", "<token>", ""):
        response = tokens.get(stranger, [APP + "pull"], name, secret, account=name)
        assert response.status == 200, name
        assert tokens.payload(response.json()["token"])["sub"] == "ana"
        assert stranger.get("/v2/", headers=[tokens.basic(name, secret)]).status == 200
        assert tokens.get(stranger, [], name, password_of("ana")).status == 401
    for name in ("bob", "max", "aws", "somebody"):
        assert tokens.get(stranger, [], name, secret).status == 401


@pytest.mark.spec("TOK-70")
def test_a_token_is_no_password(guarded, stranger):
    token = guarded.token("ana", APP + "pull")
    assert tokens.get(stranger, [], "ana", token).status == 401
    assert stranger.get("/token?service=slipway", headers=[tokens.bearer(token)]).status == 401
    for secret in ("ana", "build", "narrow"):
        text = guarded.accounts.secrets[secret]
        assert stranger.get("/v2/", headers=[tokens.bearer(text)]).status == 401


@pytest.mark.spec("TOK-57")
def test_docker_login(guarded, stranger):
    """The four steps, then what docker does when it pulls."""
    challenge = tokens.parse_challenge(stranger.get("/v2/"))
    assert challenge["realm"].endswith("/token")
    response = tokens.get(stranger, [], *guarded.pair("ana"), account="ana", client_id="docker", offline_token="true")
    assert response.status == 200 and response.json()["refresh_token"]
    assert stranger.get("/v2/", headers=[tokens.bearer(response.json()["token"])]).status == 200
    assert tokens.get(stranger, [], "ana", "wrong", account="ana", client_id="docker", offline_token="true").status == 401
    answer = tokens.post(stranger, {"grant_type": "refresh_token", "service": challenge["service"], "client_id": "docker",
                                    "refresh_token": response.json()["refresh_token"], "scope": APP + "pull"}).json()
    assert stranger.get("/v2/team/app/tags/list", headers=[tokens.bearer(answer["access_token"])]).status == 200


# --- guessing, and what is told to the log ---


@pytest.mark.spec("TOK-20")
def test_guessing_is_slowed_down_and_doubles_are_allowed_for(make_registry):
    server = make_registry({"auth.login_rate.account": "10/1h", "auth.login_rate.address": "40/1h"})
    client = server.client()
    statuses = []
    for number in range(5):  # containerd and helm: POST, then GET, with the same wrong password
        statuses.append(tokens.post(client, {"grant_type": "password", "username": "ana", "password": "wrong"}).status)
        statuses.append(tokens.get(client, [], "ana", "wrong").status)
    assert statuses == [401] * 10
    for ask in (lambda: tokens.get(client, [], "ana", "wrong"),  # one budget for all ways in
                lambda: client.get("/v2/", headers=[tokens.basic("ana", "wrong")])):
        response = paused(ask)
        assert 1 <= int(response["Retry-After"]) <= 60
        assert response.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert any(paused(ask) and tokens.get(client, [], *server.pair("ana")).status == 429 for _ in range(3))
    assert tokens.get(client, [], *server.pair("bob")).status == 200
    names = (f"user{number}" for number in itertools.count())
    paused(lambda: tokens.get(client, [], next(names), "wrong"), 60)  # each name has its own budget, the address has one
    assert tokens.get(client, [], *server.pair("bob")).status in (200, 429)


def paused(ask, most=20):
    """What is answered in a pause, without a look at the password; a machine that is busy may sleep through some."""
    for _ in range(most):
        response = ask()
        if response.status == 429:
            return response
        assert response.status == 401, response
    raise AssertionError(f"{most} guesses, and no pause")


@pytest.mark.spec("TOK-68", "TOK-69")
def test_secrets_are_neither_logged_nor_stored(make_registry):
    server = make_registry({"log.level": "debug"})
    client = server.client()
    given = tokens.get(client, [APP + "pull"], *server.pair("ana"), offline_token="true", client_id="query-seen").json()
    tokens.post(client, {"grant_type": "password", "username": "ana", "password": "form-seen", "client_id": "form-field-seen"})
    tokens.post(client, {"grant_type": "refresh_token", "refresh_token": "slipway_ref_form-seen"})
    client.get("/v2/team/app/tags/list", headers=[tokens.bearer(given["token"])])
    client.get("/v2/team/app/tags/list", headers=[tokens.basic("ana", "header-seen")])
    assert server.stop() == 0
    text = server.log.read_text()
    assert "route=token" in text and "user=ana" in text
    secrets = [given["token"], given["refresh_token"], server.pair("ana")[1], server.accounts.secrets["ana"]]
    for secret in [*secrets, *given["token"].split("."), "form-seen", "header-seen", "query-seen", "form-field-seen",
                   tokens.basic(*server.pair("ana"))[1].split()[1]]:
        assert secret not in text
    for path in server.root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert not any(secret.encode() in data for secret in secrets), path


def test_bodies_of_answers_are_json_for_every_refusal(stranger):
    for response in (stranger.get("/token?scope=%zz"), stranger.get("/token?" + "a&" * 200), tokens.post(stranger, b"\x00"),
                     stranger.post("/token", b"x" * 20000)):
        assert 400 <= response.status < 500
        assert set(json.loads(response.body)) >= {"errors"}
