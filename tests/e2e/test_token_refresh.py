"""test_token_refresh.py - refresh tokens: who gets one, what it is good for, when it ends (token-auth section 4)."""
import re

import pytest

from support import people, plan, tokens

APP = "repository:team/app:"


def given(client, server, name="ana", **more):
    answer = tokens.get(client, [], *server.pair(name), offline_token="true", **more).json()
    return answer["refresh_token"]


def use(client, secret, **more):
    return tokens.post(client, {"grant_type": "refresh_token", "refresh_token": secret, "service": "slipway",
                                "client_id": "test", **more})


@pytest.mark.spec("TOK-22", "TOK-27")
def test_only_who_signs_in_and_asks_gets_one(guarded, stranger):
    pair = guarded.pair("ana")
    first, second = given(stranger, guarded), given(stranger, guarded)
    assert first != second
    assert re.fullmatch("slipway_ref_[0-9A-Za-z]{46}", first)  # 40 random characters of 62: 238 bits
    for value in ("false", "1", ""):
        assert "refresh_token" not in tokens.get(stranger, [], *pair, offline_token=value).json()
    assert "refresh_token" not in tokens.get(stranger, [], offline_token="true").json()  # nobody
    fields = {"grant_type": "password", "username": pair[0], "password": pair[1]}
    assert tokens.post(stranger, {**fields, "access_type": "offline"}).json()["refresh_token"]
    assert "refresh_token" not in tokens.post(stranger, {**fields, "access_type": "online"}).json()
    robot = tokens.get(stranger, [], "build", guarded.accounts.secrets["build"], offline_token="true").json()
    assert "refresh_token" not in robot  # a token that can be taken back stays the only secret


@pytest.mark.spec("TOK-24", "TOK-27", "TOK-29")
def test_used_again_and_again(guarded, stranger):
    """Docker keeps the first one for good."""
    secret = given(stranger, guarded)
    for number in range(5):
        response = use(stranger, secret, scope=APP + "pull,push,delete")
        assert response.status == 200
        answer = response.json()
        assert "refresh_token" not in answer
        assert answer["scope"] == APP + "pull,push" and answer["access_token"]
        assert tokens.payload(answer["token"])["sub"] == "ana"
    assert stranger.get("/v2/", headers=[tokens.bearer(answer["access_token"])]).status == 200


@pytest.mark.spec("TOK-24", "TOK-29")
def test_rotated_when_asked(guarded, stranger):
    secret = given(stranger, guarded)
    successor = use(stranger, secret, access_type="offline").json()["refresh_token"]
    assert successor != secret
    assert use(stranger, successor, scope=APP + "pull").status == 200
    assert use(stranger, secret).status == 200  # two requests at once, or an answer that was lost


@pytest.mark.spec("TOK-27", "TOK-70")
def test_it_is_no_access_token_and_no_password_elsewhere(guarded, stranger):
    secret = given(stranger, guarded)
    assert stranger.get("/v2/", headers=[tokens.bearer(secret)]).status == 401
    assert stranger.get("/v2/", headers=[tokens.basic("ana", secret)]).status == 401
    assert stranger.get("/v2/team/app/tags/list", headers=[tokens.basic("<token>", secret)]).status == 401
    access = guarded.token("ana", APP + "pull")
    assert use(stranger, access).status == 401
    assert use(stranger, guarded.accounts.secrets["ana"]).status == 401
    assert use(stranger, guarded.pair("ana")[1]).status == 401
    for wrong in ("", "x", secret[:-1], secret + "x", secret[:-1] + "!", secret.upper(), secret + "\n"):
        assert use(stranger, wrong).status == 401


@pytest.mark.spec("TOK-59")
def test_it_is_a_password_of_get(guarded, stranger):
    """Podman and containerd hold an identity token and no name."""
    secret = given(stranger, guarded)
    for name in ("<token>", "", "ana"):
        response = tokens.get(stranger, [APP + "pull"], name, secret)
        assert response.status == 200
        assert tokens.payload(response.json()["token"])["sub"] == "ana"
    assert tokens.get(stranger, [], "bob", secret).status == 401
    assert tokens.get(stranger, [], "<token>", secret, account="<token>").status == 200


@pytest.mark.spec("TOK-27")
def test_it_is_bound_to_its_service_and_life(make_registry):
    server = make_registry()
    client = server.client()
    kept, ended = given(client, server), given(client, server)
    assert server.stop() == 0
    with server.accounts.rows() as rows:
        lives = dict(rows.execute("SELECT id, expires_at - created_at FROM tokens WHERE kind = 2"))
        assert all(80 * 86400e6 < life <= 90 * 86400e6 for life in lives.values())
        rows.execute("UPDATE tokens SET expires_at = ? WHERE id = ?", [people.now_us(), max(lives)])
        stored = rows.execute("SELECT * FROM tokens WHERE kind = 2").fetchall()
    assert not any(secret[12:] in str(row) for row in stored for secret in (kept, ended))
    server.start()
    client = server.client()
    assert use(client, kept).status == 200 and use(client, ended).status == 401
    assert server.stop() == 0
    server.settings["auth.token.service"] = "another"
    server.start()
    assert use(server.client(), kept, service="another").status == 401


@pytest.mark.spec("TOK-24", "TOK-27")
def test_stolen_one_ends_its_whole_family(make_registry):
    """A rotated one that comes back after its minute was in two hands."""
    server = make_registry()
    client = server.client()
    first = given(client, server)
    second = use(client, first, access_type="offline").json()["refresh_token"]
    other = given(client, server)
    third = use(client, second, access_type="offline").json()["refresh_token"]
    assert server.stop() == 0
    with server.accounts.rows() as rows:
        rows.execute("UPDATE tokens SET rotated_at = rotated_at - 61000000 WHERE rotated_at IS NOT NULL")
    server.start()
    client = server.client()
    assert use(client, third).status == 200
    assert use(client, first).status == 401
    for secret in (first, second, third):
        assert use(client, secret).status == 401
    assert use(client, other).status == 200
    assert server.stop() == 0
    with server.accounts.rows() as rows:
        events = rows.execute("SELECT actor, outcome FROM audit WHERE action = 'token.reused'").fetchall()
    assert ("ana", "refused") in events
    server.start()
    assert use(server.client(), third).status == 401  # it was durable


@pytest.mark.spec("TOK-28")
@pytest.mark.parametrize("change", ["UPDATE accounts SET disabled = 1 WHERE name = 'ana'",
                                    "UPDATE accounts SET expires_at = 1 WHERE name = 'ana'",
                                    "DELETE FROM accounts WHERE name = 'ana'"])
def test_it_ends_with_its_account(make_registry, change):
    server = make_registry()
    client = server.client()
    secret, other = given(client, server), given(client, server, "bob")
    assert server.stop() == 0
    with server.accounts.rows() as rows:
        rows.execute(change)
    server.start()
    client = server.client()
    assert use(client, secret).status == 401 and use(client, other).status == 200
    assert tokens.get(client, [], "<token>", secret).status == 401


@pytest.mark.spec("TOK-59", "TOK-27")
def test_content_comes_by_refresh_token_alone(make_registry):
    """The whole way of a client that stored nothing else."""
    server = make_registry()
    plan.content(server, ["team/app"])
    client = server.client()
    secret = given(client, server)
    challenge = tokens.parse_challenge(client.get(f"/v2/team/app/manifests/{plan.TAG}"))
    token = use(client, secret, scope=challenge["scope"]).json()["access_token"]
    assert client.get(f"/v2/team/app/manifests/{plan.TAG}", headers=[tokens.bearer(token)]).body == plan.MANIFEST
