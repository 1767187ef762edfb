"""test_authorisation.py - who may do what on the distribution API (section 16; token-auth sections 8, 13 and 15)."""
import time

import jwt
import pytest

from support import plan, tokens
from support.content import digest, fresh, push_blob, put_manifest

ABSENT = "sha256:" + "0" * 64
BLOB = digest(plan.LAYER)
ID = "3f0f5a3e-0000-4000-8000-000000000000"


def signed(token):
    return [tokens.bearer(token)]


def catalog(client):
    names, path = [], "/v2/_catalog?n=2"
    while path:
        response = client.get(path)
        assert response.status == 200, response
        names += response.json()["repositories"]
        path = response["Link"].split(">")[0][1:] if "Link" in response else None
    return names


# --- what everybody sees ---


@pytest.mark.spec("CAT-02", "AUTHZ-01")
def test_the_catalogue_shows_what_its_reader_may_pull(guarded, stranger):
    everything = ["ci/base", "public/tool", "secret/one", "team/app", "team/lib"]
    secrets = guarded.accounts.secrets
    wanted = {"root": everything, "aud": everything, "ana": ["public/tool", "team/app", "team/lib"],
              "max": ["public/tool", "team/app", "team/lib"], "eve": ["public/tool", "team/app"], "bob": ["public/tool"],
              "opa": ["public/tool"], None: ["public/tool"], ("build", secrets["build"]): ["ci/base", "public/tool"],
              ("drop", secrets["drop"]): ["public/tool"], ("ana", secrets["narrow"]): ["team/app", "team/lib"]}
    other = {"root": "", "aud": "", ("build", secrets["build"]): "ci/"}  # what other tests may have pushed
    for who, names in wanted.items():
        found = catalog(guarded.caller(who))
        assert [name for name in found if name in everything] == names, who
        assert all(name.startswith(other.get(who, "team/")) for name in found if name not in everything), who
    response = stranger.get("/v2/_catalog", headers=signed(guarded.token("root", "repository:team/app:pull")))
    assert response.status == 401  # the token does not ask for it
    assert tokens.parse_challenge(response)["error"] == "insufficient_scope"
    answer = stranger.get("/v2/_catalog", headers=[tokens.basic(*guarded.pair("bob"))])
    assert answer.json()["repositories"] == ["public/tool"]


@pytest.mark.spec("REF-11", "AUTHZ-01")
def test_lists_are_refused_rather_than_empty(guarded, stranger):
    for path in (f"/v2/secret/one/referrers/{guarded.manifest}", f"/v2/secret/none/referrers/{guarded.manifest}",
                 "/v2/secret/one/tags/list", "/v2/secret/none/tags/list"):
        for headers, status in (([], 401), (signed(guarded.token("bob", "repository:secret/one:pull")), 401),
                                ([tokens.basic(*guarded.pair("bob"))], 403)):
            assert stranger.get(path, headers=headers).status == status
    assert guarded.caller("aud").get("/v2/secret/one/tags/list").status == 200
    assert guarded.caller("aud").post("/v2/secret/one/blobs/uploads/").status == 401
    assert guarded.caller("opa").get("/v2/secret/one/tags/list").status == 401


@pytest.mark.spec("AUTHZ-02")
def test_push_alone_may_look_before_it_sends(guarded, stranger):
    """HEAD of blob and manifest, which clients ask for first; nothing that would show content."""
    token = guarded.token(("drop", guarded.accounts.secrets["drop"]), "repository:team/app:pull,push")
    assert tokens.access(token) == {("repository", "team/app"): {"push"}}
    manifest = f"/v2/team/app/manifests/{plan.TAG}"
    for headers in (signed(token), [tokens.basic("drop", guarded.accounts.secrets["drop"])]):
        assert stranger.head(f"/v2/team/app/blobs/{BLOB}", headers=headers).status == 200
        assert stranger.head(f"/v2/team/app/blobs/{ABSENT}", headers=headers).status == 404
        assert stranger.head(manifest, headers=headers).status == 200
        for path in (f"/v2/team/app/blobs/{BLOB}", manifest, "/v2/team/app/tags/list", f"/v2/team/app/referrers/{guarded.manifest}"):
            assert stranger.get(path, headers=headers).status in (401, 403), path
        assert stranger.head("/v2/team/app/tags/list", headers=headers).status in (401, 403, 200)
    client = guarded.caller(("drop", guarded.accounts.secrets["drop"]))
    for blob in (b"{}", plan.LAYER):
        push_blob(client, "team/drop", blob)
    assert put_manifest(client, "team/drop", "t", plan.MANIFEST).status == 201
    assert client.get("/v2/team/drop/manifests/t").status == 401
    assert client.delete("/v2/team/drop/manifests/t").status == 401


@pytest.mark.spec("AUTHZ-01", "TOK-50", "TOK-65")
def test_a_robot_stays_below_its_prefix(guarded):
    robot = guarded.caller(("build", guarded.accounts.secrets["build"]))
    for blob in (b"{}", plan.LAYER):
        push_blob(robot, "ci/new", blob)
    assert put_manifest(robot, "ci/new", "t", plan.MANIFEST).status == 201
    for name in ("ci", "cix/a", "team/app", "c/i", "ci2"):
        assert robot.post(f"/v2/{name}/blobs/uploads/").status == 401, name
        assert robot.get(f"/v2/{name}/tags/list").status == 401, name
    assert robot.delete("/v2/ci/new/manifests/t").status == 401
    assert guarded.caller("root").delete("/v2/ci/new/manifests/t").status == 202


@pytest.mark.spec("TOK-34", "TOK-35", "TOK-36")
def test_each_action_needs_itself(guarded, stranger):
    """Cancelling an upload is pushing; deleting is neither."""
    tokens_of = {action: guarded.token("root", f"repository:team/each:{action}") for action in ("pull", "push", "delete", "pull,push")}
    where = stranger.post("/v2/team/each/blobs/uploads/", headers=signed(tokens_of["push"]))["Location"]
    for action in ("pull", "delete"):
        assert stranger.delete(where, headers=signed(tokens_of[action])).status == 401
    assert stranger.delete(where, headers=signed(tokens_of["push"])).status == 204
    for blob in (b"{}", plan.LAYER):
        push_blob(guarded.caller("root"), "team/each", blob)
    assert put_manifest(guarded.caller("root"), "team/each", "t", plan.MANIFEST).status == 201
    response = stranger.delete("/v2/team/each/manifests/t", headers=signed(tokens_of["pull,push"]))
    assert response.status == 401  # old clients come with this, and come back with the scope of the challenge
    token = guarded.token("root", tokens.parse_challenge(response)["scope"])
    assert stranger.get("/v2/team/each/manifests/t", headers=signed(token)).status == 401
    assert stranger.delete("/v2/team/each/manifests/t", headers=signed(token)).status == 202


# --- mounts ---


def mount(client, headers, source=None, target="team/target", blob=BLOB):
    query = f"mount={blob}" + (f"&from={source}" if source is not None else "")
    return client.post(f"/v2/{target}/blobs/uploads/?{query}", headers=headers)


@pytest.mark.spec("TOK-51", "UPL-33", "TOK-02")
def test_mount_needs_both_ends(guarded, stranger):
    target, pull = "repository:team/target:pull,push", ":pull"
    def token(who, *scopes):
        return signed(guarded.token(who, target, *scopes))
    assert mount(stranger, token("ana", "repository:team/app" + pull), "team/app").status == 201
    root = token("root", "repository:secret/one" + pull)
    assert mount(stranger, root, "secret/one").status == 201
    assert mount(stranger, token("ana", "repository:secret/one" + pull), "secret/one").status == 202  # named, without pull
    assert mount(stranger, token("ana", "repository:none/such" + pull), "none/such").status == 202
    response = mount(stranger, token("ana"), "team/app")  # not named
    assert response.status == 401
    challenge = tokens.parse_challenge(response)
    assert challenge["scope"] == "repository:team/target:pull,push repository:team/app:pull"
    assert challenge["error"] == "insufficient_scope"
    assert mount(stranger, signed(guarded.token("ana", challenge["scope"])), "team/app").status == 201
    for name in ("secret/one", "none/such"):  # and nothing tells whether it exists
        refused = mount(stranger, token("ana"), name)
        assert refused.status == 401 and name in tokens.parse_challenge(refused)["scope"]
    assert mount(stranger, signed(guarded.token("ana", "repository:team/app:pull")), "team/app").status == 401
    assert mount(stranger, token("ana"), "team/target").status in (201, 202)  # the target itself is named


@pytest.mark.spec("UPL-33", "TOK-51")
def test_mount_with_a_password_is_never_forbidden_for_its_source(guarded, stranger):
    ana = [tokens.basic(*guarded.pair("ana"))]
    assert mount(stranger, ana, "team/app", "team/basic").status == 201
    for source in ("secret/one", "none/such", "ci/base", "X//y", ""):
        assert mount(stranger, ana, source, "team/basic2", digest(b"{}")).status == 202
    assert mount(stranger, ana, "public/tool", "team/basic3").status == 201
    assert mount(stranger, ana, "team/app", "ci/base").status == 403


@pytest.mark.spec("TOK-73", "UPL-34")
def test_mount_without_a_source_looks_where_its_caller_may(guarded, stranger):
    root, data = guarded.caller("root"), fresh()
    hidden = push_blob(root, "secret/only", data)
    for who, status in (("ana", 202), ("root", 201)):
        headers = signed(guarded.token(who, "repository:team/found:pull,push"))
        assert mount(stranger, headers, None, "team/found", hidden).status == 202  # the token names another repository
        assert mount(stranger, [tokens.basic(*guarded.pair(who))], None, "team/found", hidden).status == status, who
        root.delete(f"/v2/team/found/blobs/{hidden}")
    seen = push_blob(root, "team/seen", fresh())
    assert mount(stranger, [tokens.basic(*guarded.pair("ana"))], None, "team/found", seen).status == 201
    wide = signed(guarded.token("ana", "repository:team/found:pull,push", "repository:team/seen:pull"))
    other = push_blob(root, "team/seen", fresh())
    assert mount(stranger, wide, None, "team/found", other).status == 201
    narrow = signed(guarded.token("ana", "repository:team/found:pull,push"))
    third = push_blob(root, "team/seen", fresh())
    assert mount(stranger, narrow, None, "team/found", third).status == 202
    shown = push_blob(root, "public/tool", fresh())
    assert mount(stranger, [tokens.basic(*guarded.pair("ana"))], None, "team/found", shown).status == 201
    assert mount(stranger, [tokens.basic("drop", guarded.accounts.secrets["drop"])], None, "team/x", seen).status == 202


# --- pull rate ---


@pytest.mark.spec("TOK-66", "LIM-05")
def test_pulls_are_counted(make_registry):
    server = make_registry({"auth.pull_rate.anonymous": "3/1h", "auth.anonymous": "pull"})
    plan.content(server, ["public/tool"])
    path, nobody = f"/v2/public/tool/manifests/{plan.TAG}", server.caller()
    left = []
    for method in ("HEAD", "GET", "HEAD", "GET", "GET"):
        response = nobody.request(method, path)
        assert response.status == 200
        assert response["ratelimit-limit"] == "3;w=3600" and response["docker-ratelimit-source"] == "127.0.0.1"
        left.append(response["ratelimit-remaining"])
    assert left == ["3;w=3600", "2;w=3600", "2;w=3600", "1;w=3600", "0;w=3600"]
    for again in range(2):
        response = nobody.get(path)
        assert (response.status, response.code) == (429, "TOOMANYREQUESTS")
        assert 1 <= int(response["Retry-After"]) <= 3600 and "3 pulls" in response.json()["errors"][0]["message"]
        assert response["ratelimit-remaining"] == "0;w=3600"
    assert nobody.head(path).status == 200
    assert nobody.get(f"/v2/public/tool/blobs/{BLOB}").status == 200
    response = server.caller("bob").get(path)  # accounts have no limit here, and no such headers
    assert response.status == 200 and "ratelimit-limit" not in response


# --- caches and browsers ---


@pytest.mark.spec("CACHE-01")
def test_content_is_for_the_caches_of_its_reader_alone(guarded, stranger):
    headers = signed(guarded.token("ana", "repository:team/app:pull"))
    for path in (f"/v2/team/app/blobs/{BLOB}", f"/v2/team/app/manifests/{guarded.manifest}"):
        response = stranger.get(path, headers=headers)
        assert response["Cache-Control"] == "private, max-age=31536000"
        assert response["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert response["X-Content-Type-Options"] == "nosniff"
        again = stranger.get(path, headers=[*headers, ("If-None-Match", response["ETag"])])
        assert again.status == 304 and again["Cache-Control"] == "private, max-age=31536000"
    assert stranger.get(f"/v2/team/app/blobs/{BLOB}", headers=headers)["Content-Disposition"] == "attachment"
    assert stranger.get(f"/v2/team/app/manifests/{plan.TAG}", headers=headers)["Cache-Control"] == "no-cache"
    assert stranger.get("/v2/team/app/tags/list")["Cache-Control"] == "no-cache"


# --- the matrix of section 15 ---

CREDENTIALS = ("none", "basic right", "basic wrong", "basic empty", "bearer right", "expired", "not yet", "audience", "issuer",
               "unknown kid", "alg none", "hs256", "payload changed", "truncated", "two headers")
REQUESTS = {
    "base": ("GET", "/v2/", None, 200),
    "manifest": ("GET", f"/v2/team/app/manifests/{plan.TAG}", "repository:team/app:pull", 200),
    "blob": ("HEAD", f"/v2/team/app/blobs/{BLOB}", "repository:team/app:pull", 200),
    "post": ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push", 202),
    "patch": ("PATCH", f"/v2/team/app/blobs/uploads/{ID}", "repository:team/app:pull,push", 404),
    "put manifest": ("PUT", "/v2/team/app/manifests/matrix", "repository:team/app:pull,push", 201),
    "mount": ("POST", f"/v2/team/app/blobs/uploads/?mount={BLOB}&from=team/lib",
              "repository:team/app:pull,push repository:team/lib:pull", 201),
    "delete": ("DELETE", f"/v2/team/app/manifests/{ABSENT}", "repository:team/app:delete", 404),
    "catalogue": ("GET", "/v2/_catalog", "registry:catalog:*", 200),
    "referrers": ("GET", f"/v2/team/app/referrers/{ABSENT}", "repository:team/app:pull", 200),
}


def headers_of(credential, server, forge, scope):
    """max's, as good as they can be for this scope but for the one thing the row names."""
    name, secret = server.pair("max")
    good = server.token("max", scope or "")
    now, kid = int(time.time()), jwt.get_unverified_header(good)["kid"]
    head, body, signature = good.split(".")
    changed = forge.like(good, sub="root").split(".")[1]
    return {
        "none": [],
        "basic right": [tokens.basic(name, secret)],
        "basic wrong": [tokens.basic(name, secret + "x")],
        "basic empty": [tokens.basic("", "")],
        "bearer right": signed(good),
        "expired": signed(forge.like(good, exp=now - 90)),
        "not yet": signed(forge.like(good, nbf=now + 900)),
        "audience": signed(forge.like(good, aud="another")),
        "issuer": signed(forge.like(good, iss="another")),
        "unknown kid": signed(forge.like(good, header={"kid": "another"})),
        "alg none": signed(tokens.join({"typ": "JWT", "alg": "none", "kid": kid}, tokens.decode(body), b"")),
        "hs256": signed(tokens.hmac_token(forge.public, {"typ": "JWT", "alg": "HS256", "kid": kid}, tokens.payload(good))),
        "payload changed": signed(f"{head}.{changed}.{signature}"),
        "truncated": signed(good[:-10]),
        "two headers": signed(good) + [tokens.basic(name, secret)],
    }[credential]


@pytest.mark.spec("AUTHZ-01", "TOK-06", "TOK-50", "TOK-71")
@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_matrix(guarded, stranger, credential, request_name):
    method, path, scope, status = REQUESTS[request_name]
    headers = headers_of(credential, guarded, tokens.Forge(guarded), scope)
    body = plan.MANIFEST if method == "PUT" else b"" if method in ("POST", "PATCH") else None
    if method == "PUT":
        headers = [*headers, ("Content-Type", plan.TYPE)]
    response = stranger.request(method, path, body, headers=headers)
    if credential in ("basic right", "bearer right"):
        assert response.status == status
        assert "WWW-Authenticate" not in response
        return
    assert response.status == (400 if credential == "two headers" else 401)
    if credential == "two headers":
        return
    challenge = tokens.parse_challenge(response)
    assert challenge.get("scope") == scope
    presented = credential not in ("none", "basic right", "basic wrong", "basic empty")
    assert challenge.get("error") == ("invalid_token" if presented else None)
    assert method == "HEAD" or response.codes == ["UNAUTHORIZED"]
