"""test_token_revoked.py - what was granted is taken back: at once, whatever tokens are out, on connections that stay open."""
import datetime
import itertools
import subprocess

import jwt
import pytest

from support import plan, process, tokens
from support.content import digest, fresh, push_blob, put_manifest

numbers = itertools.count(1)
PASSWORD = "a good password"


@pytest.fixture
def person(root):
    """A user who may write below a prefix of its own; the name of both."""
    name = f"revoked-{next(numbers)}"
    assert root.post("/users", {"name": name, "password": PASSWORD}).status == 201
    grant(root, name, level="write")
    return name


def grant(root, name, **what):
    made = root.post("/grants", {"account": name, "pattern": f"{name}/*", **what})
    assert made.status in (200, 201), made
    return f"/grants/{made.json()['id']}"


class Holder:
    """Somebody with everything a login gives, each shown on a connection that remembers it."""

    def __init__(self, server, name, password=PASSWORD):
        self.server, self.name, pair = server, name, (name, password)
        self.path, self.scope = f"/v2/{name}/app/blobs/uploads/", f"repository:{name}/app:pull,push"
        with_refresh = tokens.get(server.client(), [self.scope], *pair, offline_token="true").json()
        self.refresh = with_refresh["refresh_token"]
        self.shown = {"bearer": tokens.bearer(with_refresh["token"]), "basic": tokens.basic(*pair)}
        self.clients = {kind: server.client() for kind in self.shown}

    def statuses(self):
        return {kind: client.post(self.path, headers=[self.shown[kind]]).status for kind, client in self.clients.items()}

    def refreshed(self):
        return tokens.post(self.server.client(), {"grant_type": "refresh_token", "refresh_token": self.refresh,
                                                  "scope": self.scope})


@pytest.mark.spec("TOK-28", "AUTHZ-03", "TOK-70")
@pytest.mark.parametrize("how", ["deleted", "disabled", "expired"])
def test_an_account_ends(managed, root, person, how):
    holder = Holder(managed, person)
    assert holder.statuses() == {"bearer": 202, "basic": 202} and holder.refreshed().status == 200
    if how == "deleted":
        assert root.delete(f"/users/{person}").status == 204
    elif how == "disabled":
        assert root.post(f"/users/{person}:disable").status in (200, 204)
    else:
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=5)
        assert root.patch(f"/users/{person}", {"expires_at": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}).status == 200
        process.wait_for(lambda: 202 not in holder.statuses().values(), 40,"the account's end")
    assert holder.statuses() == {"bearer": 401, "basic": 401}
    response = holder.clients["bearer"].get("/v2/", headers=[holder.shown["bearer"]])
    assert tokens.parse_challenge(response)["error"] == "invalid_token"
    assert holder.refreshed().status == 401
    assert tokens.get(managed.client(), [], person, PASSWORD).status == 401


@pytest.mark.spec("TOK-28", "TOK-70")
def test_a_name_that_is_used_again_is_somebody_else(managed, root, person):
    """With the old one's tokens nobody is the new one."""
    holder = Holder(managed, person)
    assert root.delete(f"/users/{person}").status == 204
    assert root.post("/users", {"name": person, "password": "another password"}).status == 201
    grant(root, person, level="admin")
    assert holder.statuses() == {"bearer": 401, "basic": 401} and holder.refreshed().status == 401
    assert Holder(managed, person, "another password").statuses() == {"bearer": 202, "basic": 202}


@pytest.mark.spec("AUTHZ-03", "TOK-34")
def test_a_grant_that_is_narrowed_or_widened_counts_at_once(managed, root, person):
    holder = Holder(managed, person)
    assert holder.statuses() == {"bearer": 202, "basic": 202}
    for level, statuses in (("read", (401, 403)), ("write", (202, 202)), (None, (401, 403)), ("maintain", (202, 202))):
        where = grant(root, person, level=level or "read")
        if level is None:
            assert root.delete(where).status == 204
        assert tuple(holder.statuses().values()) == statuses, level
    token = holder.clients["bearer"].delete(f"/v2/{person}/app/manifests/x", headers=[holder.shown["bearer"]])
    assert token.status == 401  # wider rights do not widen a token that is out


@pytest.mark.spec("TOK-28")
def test_a_new_password_ends_refresh_tokens(managed, root, person):
    holder = Holder(managed, person)
    assert root.patch(f"/users/{person}", {"password": "a newer password"}).status == 200
    assert holder.refreshed().status == 401
    assert holder.statuses() == {"bearer": 202, "basic": 401}  # an access token ends by its expiry
    assert Holder(managed, person, "a newer password").refreshed().status == 200


@pytest.mark.spec("TOK-65")
def test_a_personal_token_ends_with_all_that_came_of_it(managed, root, person, call):
    caller = call((person, PASSWORD))
    made = caller.post("/me/tokens", {"label": "ci", "scopes": f"repository:{person}/*:pull,push"}).json()
    holder = Holder.__new__(Holder)
    holder.path, pair = f"/v2/{person}/app/blobs/uploads/", (person, made["secret"])
    holder.shown = {"bearer": tokens.bearer(managed.token(pair, f"repository:{person}/app:pull,push")), "basic": tokens.basic(*pair)}
    holder.clients = {kind: managed.client() for kind in holder.shown}
    assert holder.statuses() == {"bearer": 202, "basic": 202}
    assert caller.delete(f"/me/tokens/{made['id']}").status == 204
    assert holder.statuses() == {"bearer": 401, "basic": 401}
    assert tokens.get(managed.client(), [], *pair).status == 401
    assert Holder(managed, person).statuses() == {"bearer": 202, "basic": 202}


@pytest.mark.spec("TOK-15", "CAT-02")
def test_a_repository_that_turns_private(managed, root, person):
    client, name = managed.caller(person and (person, PASSWORD)), f"{person}/app"
    for blob in (b"{}", plan.LAYER):
        push_blob(client, name, blob)
    assert put_manifest(client, name, "t", plan.MANIFEST).status == 201
    nobody, path = managed.client(), f"/v2/{name}/manifests/t"
    headers = [tokens.bearer(managed.token(None, f"repository:{name}:pull"))]
    assert nobody.get(path, headers=headers).status == 401
    assert root.patch(f"/repos/{name}", {"visibility": "public"}).status == 200
    headers = [tokens.bearer(managed.token(None, f"repository:{name}:pull"))]
    for _ in range(3):
        assert nobody.get(path, headers=headers).status == 200
    assert name in managed.caller("bob").get("/v2/_catalog?n=1000").json()["repositories"]
    assert root.patch(f"/repos/{name}", {"visibility": "private"}).status == 200
    assert nobody.get(path, headers=headers).status == 401
    assert nobody.get(f"/v2/{name}/blobs/{digest(plan.LAYER)}", headers=headers).status == 401
    assert name not in managed.caller("bob").get("/v2/_catalog?n=1000").json()["repositories"]
    assert client.get(path).status == 200


@pytest.mark.spec("TOK-55")
def test_a_session_outlives_no_grant(managed, root, person):
    holder, data = Holder(managed, person), fresh()
    where = holder.clients["bearer"].post(holder.path, headers=[holder.shown["bearer"]])["Location"]
    grant(root, person, level="read")
    response = holder.clients["bearer"].patch(where, data, headers=[holder.shown["bearer"]])
    assert response.status == 401 and tokens.parse_challenge(response)["error"] == "insufficient_scope"
    grant(root, person, level="write")
    assert holder.clients["bearer"].patch(where, data, headers=[holder.shown["bearer"]]).status == 202


@pytest.mark.spec("TOK-49")
def test_a_new_key_is_published_before_it_signs(managed, root, person):
    client = managed.client()
    holder, before = Holder(managed, person), client.get("/.well-known/jwks.json")
    assert root.post("/system/keys:rotate").status in (200, 202, 204)
    after = client.get("/.well-known/jwks.json")
    old = [key["kid"] for key in before.json()["keys"]]
    new = [key["kid"] for key in after.json()["keys"]]
    assert set(old) < set(new) and before["ETag"] != after["ETag"]
    assert holder.statuses() == {"bearer": 202, "basic": 202}
    token = managed.token((person, PASSWORD))
    assert jwt.get_unverified_header(token)["kid"] in old  # verifiers had no time to see the other
    assert client.get("/v2/", headers=[tokens.bearer(token)]).status == 200


# --- passwords on the wire ---


@pytest.mark.spec("TOK-63", "TOK-74")
@pytest.mark.parametrize("settings,accepted", [
    (["server.listen=0.0.0.0:5000"], False),
    (["server.listen=[::]:5000"], False),
    (["server.listen=192.0.2.1:5000", "auth.challenge=basic"], False),
    (["server.listen=0.0.0.0:5000", "server.insecure_http=true"], True),
    (["server.listen=127.0.0.1:5000"], True),
    (["server.listen=[::1]:5000"], True),
])
def test_passwords_and_tokens_do_not_travel_in_the_clear(folder, settings, accepted):
    """Off loopback plain HTTP must be asked for; else the server does not start."""
    words = [word for setting in ["auth.mode=token", f"storage.root={folder / 'unused'}", *settings] for word in ("--set", setting)]
    said = subprocess.run([process.binary(), "serve", "--check", "--config", "/dev/null", *words], capture_output=True, text=True,
                          env=process.clean_environment(), timeout=60, check=False)
    assert (said.returncode == 0) == accepted, said.stderr
    assert accepted or "plain HTTP" in said.stderr
