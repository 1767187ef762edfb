"""test_token_expiry.py - tokens that end in the middle of a push (token-auth section 9).

Tokens of the past are made with the server's own key: nobody waits for a quarter of an hour.
"""
import contextlib
import time

import pytest

from support import plan, tokens
from support.content import digest, fresh, with_digest
from support.pace import in_time
from support.process import wait_for

APP = "repository:team/app:"
UPLOADS = "/v2/team/app/blobs/uploads/"
HOUR = 3600


@pytest.fixture(scope="module")
def forge(guarded):
    return tokens.Forge(guarded)


@pytest.fixture(scope="module")
def pushing(guarded):
    """Of ana, good now."""
    return guarded.token("ana", APP + "pull,push")


def signed(token):
    return [tokens.bearer(token)]


def started(client, token, path=UPLOADS):
    response = client.post(path, headers=signed(token))
    assert response.status == 202
    return response["Location"]


def aged(forge, token, seconds, **more):
    """The same, expired so many seconds ago."""
    end = int(time.time()) - seconds
    return forge.like(token, exp=end, iat=end - 900, nbf=end - 900, **more)


def age_session(server, where, seconds):
    """As if it had been opened so long ago."""
    with server.accounts.rows() as rows:
        moved = rows.execute("UPDATE uploads SET started_at = started_at - ? WHERE id = ?",
                             [seconds * 1000000, where.rsplit("/", 1)[1]])
        assert moved.rowcount == 1


@pytest.mark.spec("TOK-53", "AUTHZ-03")
def test_a_long_body_outlives_its_token(guarded, forge, pushing):
    """Judged when the head came; PATCH, PUT of a blob and PUT of a manifest end well."""
    client = guarded.client()
    data = fresh(90000)
    patched, put = started(client, pushing), started(client, pushing)
    short = forge.like(pushing, exp=int(time.time()) - 52, jti="short")
    with contextlib.ExitStack() as opened:
        under_way = []
        for method, path, body, kind, status in (("PATCH", patched, data, "x/y", 202),
                                                 ("PUT", with_digest(put, digest(data)), data, "x/y", 201),
                                                 ("PUT", "/v2/team/app/manifests/late", plan.MANIFEST, plan.TYPE, 201)):
            connection = opened.enter_context(guarded.connect(timeout=60))
            connection.send_head(method, path, [*signed(short), ("Content-Length", len(body)), ("Content-Type", kind)])
            connection.send(body[:len(body) // 2])
            under_way.append((connection, body[len(body) // 2:], status))
        wait_for(lambda: client.get("/v2/", headers=signed(short)).status == 401, 40, "the token's end")
        for connection, rest, status in under_way:
            connection.send(rest)
            assert connection.response().status == status


@pytest.mark.spec("TOK-55")
def test_any_good_token_goes_on_with_a_session(guarded, stranger, pushing):
    """A session belongs to repository and permission: other tokens of the same account, other accounts with push."""
    data = fresh()
    where = started(stranger, pushing)
    for who in ("ana", "max", "root"):
        token = guarded.token(who, APP + "push")
        assert stranger.get(where, headers=signed(token)).status == 204
    assert stranger.patch(where, data[:10], headers=signed(guarded.token("max", APP + "push"))).status == 202
    assert stranger.patch(where, data[10:], headers=[tokens.basic(*guarded.pair("ana"))]).status == 202
    assert stranger.put(with_digest(where, digest(data)), headers=signed(guarded.token("ana", APP + "push"))).status == 201


@pytest.mark.spec("TOK-55")
def test_a_location_grants_nothing(guarded, stranger, pushing):
    where = started(stranger, pushing)
    narrow = guarded.token("ana", APP + "pull")
    elsewhere = guarded.token("ana", "repository:team/lib:pull,push")
    for headers in ([], signed(guarded.token("eve", APP + "pull,push")), signed(guarded.token(None, APP + "push")), signed(narrow),
                    signed(elsewhere), signed("x.y.z")):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            path = with_digest(where, digest(b"x")) if method == "PUT" else where
            response = stranger.request(method, path, b"x" if method in ("PATCH", "PUT") else None, headers=headers)
            assert response.status == 401
            assert tokens.parse_challenge(response)["scope"] == APP + "pull,push"
    for pair in (guarded.pair("eve"), guarded.pair("bob")):
        assert stranger.get(where, headers=[tokens.basic(*pair)]).status == 403
    response = stranger.get(where, headers=signed(pushing))
    assert (response.status, response["Range"]) == (204, "0-0")


@pytest.mark.spec("TOK-55")
def test_its_creator_ends_a_session_with_a_token_that_ended(guarded, stranger, forge, pushing):
    data = fresh()
    where = started(stranger, pushing)
    age_session(guarded, where, 2 * HOUR)
    old = aged(forge, pushing, HOUR)
    assert stranger.get(where, headers=signed(old)).status == 204
    assert stranger.patch(where, data, headers=signed(old)).status == 202
    assert stranger.put(with_digest(where, digest(data)), headers=signed(old)).status == 201
    other = started(stranger, pushing)
    age_session(guarded, other, 2 * HOUR)
    assert stranger.delete(other, headers=signed(old)).status == 204


@pytest.mark.spec("TOK-55")
def test_a_token_that_ended_does_nothing_else(guarded, stranger, forge, pushing):
    where = started(stranger, pushing)
    age_session(guarded, where, 2 * HOUR)
    old = aged(forge, pushing, HOUR)
    for method, path in (("POST", UPLOADS), ("GET", "/v2/"), ("GET", f"/v2/team/app/manifests/{plan.TAG}"), ("GET", "/v2/_catalog"),
                         ("HEAD", f"/v2/team/app/blobs/{digest(plan.LAYER)}"), ("PUT", "/v2/team/app/manifests/new"),
                         ("GET", "/v2/team/lib/blobs/uploads/" + where.rsplit("/", 1)[1]),
                         ("GET", UPLOADS + "3f0f5a3e-0000-4000-8000-000000000000"), ("GET", UPLOADS + "x")):
        response = stranger.request(method, path, b"{}" if method == "PUT" else None, headers=signed(old))
        assert response.status == 401, (method, path)
        assert tokens.parse_challenge(response)["error"] == "invalid_token"
    assert stranger.get(where, headers=signed(old)).status == 204


@pytest.mark.spec("TOK-55")
def test_a_token_that_ended_is_good_for_nobody_else(guarded, stranger, forge, pushing):
    """Every row is wrong in one thing."""
    ids = guarded.accounts.ids
    where = started(stranger, pushing)
    age_session(guarded, where, 20 * HOUR)
    good = aged(forge, pushing, HOUR)
    assert stranger.get(where, headers=signed(good)).status == 204
    head, body, signature = good.split(".")
    others = {
        "another account, that may push": aged(forge, guarded.token("max", APP + "push"), HOUR),
        "nobody": aged(forge, guarded.token(None, APP + "push"), HOUR),
        "no push in it": aged(forge, guarded.token("ana", APP + "pull"), HOUR),
        "another repository": aged(forge, guarded.token("ana", "repository:team/lib:pull,push"), HOUR),
        "ended before the session began": aged(forge, pushing, 21 * HOUR),
        "ended too long ago": aged(forge, pushing, 12 * HOUR + 120),
        "another audience": aged(forge, pushing, HOUR, aud="another"),
        "an account that is off": aged(forge, pushing, HOUR, slipway={"account": ids["old"], "token": 0}),
        "an account that is gone": aged(forge, pushing, HOUR, slipway={"account": 999999, "token": 0}),
        "another signature": f"{head}.{body}.{signature[:-4]}AAAA",
    }
    for what, token in others.items():
        for method in ("GET", "PATCH", "DELETE"):
            response = stranger.request(method, where, b"x" if method == "PATCH" else None, headers=signed(token))
            assert response.status == 401, (what, method)
            assert tokens.parse_challenge(response)["error"] == "invalid_token", what
    response = stranger.get(where, headers=signed(good))
    assert (response.status, response["Range"]) == (204, "0-0")


@pytest.mark.spec("TOK-55", "AUTHZ-03")
@pytest.mark.parametrize("change", ["DELETE FROM grants WHERE account_id = (SELECT id FROM accounts WHERE name = 'ana')",
                                    "UPDATE grants SET actions = 1 WHERE account_id = (SELECT id FROM accounts WHERE name = 'ana')",
                                    "UPDATE accounts SET disabled = 1 WHERE name = 'ana'",
                                    "DELETE FROM accounts WHERE name = 'ana'"])
def test_account_and_grant_must_still_stand(make_registry, change):
    server = make_registry()
    client = server.client()
    token = server.token("ana", APP + "pull,push")
    forge = tokens.Forge(server)
    where = started(client, token)
    old = aged(forge, token, 300)
    age_session(server, where, HOUR)
    assert client.get(where, headers=signed(old)).status == 204
    assert server.stop() == 0
    with server.accounts.rows() as rows:
        rows.execute(change)
    server.start()
    client = server.client()
    for shown in (old, token):
        assert client.get(where, headers=signed(shown)).status == 401
        assert client.patch(where, b"x", headers=signed(shown)).status == 401
    assert client.get(where, headers=signed(server.token("max", APP + "push"))).status == 204


@pytest.mark.spec("TOK-55")
def test_sessions_of_personal_tokens_and_of_foreign_subjects(make_registry, folder):
    issuer = tokens.Issuer("https://sessions.example", ("ES256",))
    server = make_registry({"auth.token.trusted_keys_file": issuer.write(folder / "sessions.json"),
                            "auth.token.trusted_issuers": issuer.name})
    client, forge = server.client(), tokens.Forge(server)
    by_token = server.token(("build", server.accounts.secrets["build"]), "repository:ci/base:pull,push")
    where = started(client, by_token, "/v2/ci/base/blobs/uploads/")
    age_session(server, where, HOUR)
    assert client.patch(where, b"x", headers=signed(aged(forge, by_token, 300))).status == 202
    access = [tokens.repository("team/app", "pull", "push")]
    where = started(client, issuer.token("ES256", access, sub="guest"))
    age_session(server, where, HOUR)
    end = int(time.time()) - 300
    assert client.patch(where, b"x", headers=signed(issuer.token("ES256", access, sub="other", exp=end))).status == 401
    assert client.patch(where, b"x", headers=signed(issuer.token("ES256", access, sub="guest", exp=end))).status == 202


@pytest.mark.spec("TOK-54", "TOK-55")
def test_a_push_whose_token_ends_between_two_chunks(guarded, stranger, forge, pushing):
    """Docker's way: one token for everything, and no answer to a 401."""
    data = fresh(300000)

    def attempt(_):
        short = forge.like(pushing, exp=int(time.time()) - 54)
        where = started(stranger, short)
        return short, stranger.patch(where, data[:100000], headers=signed(short))["Location"]
    short, where = in_time(2, attempt)
    wait_for(lambda: stranger.get("/v2/", headers=signed(short)).status == 401, 40, "the token's end")
    where = stranger.patch(where, data[100000:200000], headers=signed(short))["Location"]
    assert stranger.put(with_digest(where, digest(data)), data[200000:], headers=signed(short)).status == 201
    assert stranger.get(f"/v2/team/app/blobs/{digest(data)}", headers=signed(pushing)).body == data
