"""test_challenge.py - what a refusal asks for (token-auth sections 1 and 8)."""
import re

import pytest

from support import plan, tokens
from support.content import ZERO

ID = "3f0f5a3e-0000-4000-8000-000000000000"
PULL, BOTH, DELETE = "repository:{0}:pull", "repository:{0}:pull,push", "repository:{0}:delete"
NEEDS = [
    ("GET", "/v2/{0}/manifests/v1", PULL), ("HEAD", "/v2/{0}/manifests/v1", PULL),
    ("GET", "/v2/{0}/manifests/" + ZERO, PULL),
    ("GET", "/v2/{0}/blobs/" + ZERO, PULL), ("HEAD", "/v2/{0}/blobs/" + ZERO, PULL),
    ("GET", "/v2/{0}/tags/list", PULL), ("GET", "/v2/{0}/referrers/" + ZERO, PULL),
    ("POST", "/v2/{0}/blobs/uploads/", BOTH), ("PATCH", "/v2/{0}/blobs/uploads/" + ID, BOTH),
    ("PUT", "/v2/{0}/blobs/uploads/" + ID, BOTH), ("GET", "/v2/{0}/blobs/uploads/" + ID, BOTH),
    ("DELETE", "/v2/{0}/blobs/uploads/" + ID, BOTH),
    ("POST", "/v2/{0}/blobs/uploads/?digest=" + ZERO, BOTH),
    ("POST", "/v2/{0}/blobs/uploads/?mount=" + ZERO, BOTH),
    ("POST", "/v2/{0}/blobs/uploads/?mount=" + ZERO + "&from=team/lib", BOTH + " repository:team/lib:pull"),
    ("PUT", "/v2/{0}/manifests/v1", BOTH),
    ("DELETE", "/v2/{0}/manifests/v1", DELETE), ("DELETE", "/v2/{0}/manifests/" + ZERO, DELETE),
    ("DELETE", "/v2/{0}/blobs/" + ZERO, DELETE),
    ("GET", "/v2/_catalog", "registry:catalog:*"),
]


@pytest.mark.spec("TOK-01", "TOK-02", "TOK-03", "TOK-07", "TOK-35", "TOK-36", "REF-11", "AUTHZ-01")
@pytest.mark.parametrize("method,path,scope", NEEDS, ids=[f"{method} {path.format('N')[:50]}" for method, path, _ in NEEDS])
def test_every_request_asks_for_what_it_needs(guarded, stranger, method, path, scope):
    response = stranger.request(method, path.format("team/app"))
    assert response.status == 401
    challenge = tokens.parse_challenge(response)
    assert challenge == {"realm": f"http://{guarded.host}/token", "service": "slipway",
                         "scope": scope.format("team/app")}
    assert re.match(r'Bearer realm="[^"]*",service="[^"]*",scope="', response["WWW-Authenticate"])
    if method == "HEAD":
        return
    assert response.codes == ["UNAUTHORIZED"]
    wanted = [(*part.split(":")[:2], action) for part in challenge["scope"].split()
              for action in part.split(":")[2].split(",")]
    assert response.json()["errors"][0]["detail"] == [
        {"Type": kind, "Class": "", "Name": name, "Action": action} for kind, name, action in wanted]


@pytest.mark.spec("PING-02", "PING-04", "TOK-01", "TOK-08")
@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_base_asks_without_a_scope_even_where_strangers_may_pull(stranger, path):
    for method in ("GET", "HEAD"):
        response = stranger.request(method, path)
        assert response.status == 401
        assert set(tokens.parse_challenge(response)) == {"realm", "service"}


@pytest.mark.spec("PING-03", "TOK-12")
def test_base_takes_a_token_without_any_right(guarded, stranger):
    token = guarded.token("bob")
    assert tokens.payload(token)["access"] == []
    for header in (tokens.bearer(token), tokens.basic(*guarded.pair("bob")), tokens.bearer(guarded.token(None))):
        assert stranger.get("/v2/", headers=[header]).status == 200
        assert stranger.head("/v2/", headers=[header]).status == 200
    for header in (tokens.bearer("no.such.token"), tokens.basic("bob", "wrong"), tokens.basic("nobody", "wrong")):
        assert stranger.get("/v2/", headers=[header]).status == 401


@pytest.mark.spec("TOK-09", "AUTHZ-01")
@pytest.mark.parametrize("method,path,scope", NEEDS[:-1])
def test_what_is_hidden_looks_like_what_is_not_there(guarded, stranger, method, path, scope):
    """To a stranger, and to somebody whose token covers nothing of it."""
    for headers in ([], [tokens.bearer(guarded.token("bob", "repository:secret/one:pull,push,delete"))],
                    [tokens.basic(*guarded.pair("bob"))]):
        seen = []
        for name in ("secret/one", "secret/two"):
            response = stranger.request(method, path.format(name), headers=headers)
            kept = [pair for pair in response.headers if pair[0] not in ("Date", "X-Request-Id")]
            seen.append((response.status, str(kept).replace(name, "N"), response.body.replace(name.encode(), b"N")))
        assert seen[0] == seen[1]
        assert seen[0][0] == (403 if headers and headers[0][1].startswith("Basic") else 401)


@pytest.mark.spec("TOK-06", "TOK-50", "AUTHZ-01")
def test_refused_tokens_say_what_is_wrong_with_them(guarded, stranger):
    narrow = guarded.token("eve", "repository:team/app:pull")
    cases = [("garbage", "/v2/", "invalid_token"), ("a.b.c", "/v2/team/app/tags/list", "invalid_token"),
             (narrow, "/v2/team/lib/tags/list", "insufficient_scope"),
             (guarded.token(None), "/v2/team/app/tags/list", "insufficient_scope")]
    for token, path, fault in cases:
        response = stranger.get(path, headers=[tokens.bearer(token)])
        assert response.status == 401 and response.code == "UNAUTHORIZED"
        assert tokens.parse_challenge(response)["error"] == fault
    response = stranger.put("/v2/team/app/manifests/x", b"{}", headers=[tokens.bearer(narrow)])
    assert response.status == 401
    assert tokens.parse_challenge(response) == {"realm": f"http://{guarded.host}/token", "service": "slipway",
                                                "scope": "repository:team/app:pull,push", "error": "insufficient_scope"}


@pytest.mark.spec("TOK-04", "TOK-05")
def test_realm_is_where_the_client_already_is(guarded, stranger, make_registry, authority):
    def realm_of(response):
        challenge = tokens.parse_challenge(response)
        assert not re.search("basic|bearer", " ".join(challenge.values()), re.IGNORECASE)
        return challenge["realm"]
    assert realm_of(stranger.get("/v2/")) == f"http://{guarded.host}/token"
    assert realm_of(stranger.get("/v2/", host="registry.example:8080")) == "http://registry.example:8080/token"
    secure = make_registry(tls=authority)
    assert realm_of(secure.client().get("/v2/")) == f"https://{secure.host}/token"
    named = make_registry({"server.public_url": "https://registry.example"})
    assert realm_of(named.client().get("/v2/", host="else.example")) == "https://registry.example/token"
    other = make_registry({"auth.token.realm": "https://tokens.example/auth"})
    assert realm_of(other.client().get("/v2/")) == "https://tokens.example/auth"


@pytest.mark.spec("TOK-03", "TOK-61", "AUTHZ-01")
def test_basic_alone_challenges_with_basic_alone(make_registry):
    server = make_registry({"auth.challenge": "basic"})
    plan.content(server_for_basic(server))
    client = server.client()
    for path in ("/v2/", "/v2/team/app/tags/list", "/v2/_catalog"):
        for headers in ([], [tokens.basic("ana", "wrong")], [tokens.basic("nobody", "wrong")], [tokens.bearer("x")]):
            response = client.get(path, headers=headers)
            assert response.status == 401
            assert re.fullmatch('Basic realm="[^"]+"', response["WWW-Authenticate"])
    ana = [tokens.basic(*server.pair("ana"))]
    assert client.get("/v2/", headers=ana).status == 200
    assert client.get("/v2/team/app/tags/list", headers=ana).status == 200
    for name in ("secret/one", "secret/two"):
        response = client.get(f"/v2/{name}/tags/list", headers=ana)
        assert (response.status, response.code) == (403, "DENIED")


class server_for_basic:
    """Pushes with Basic on every request."""

    def __init__(self, server):
        self.server = server

    def caller(self, name):
        client = self.server.client()
        request, header = client.request, tokens.basic(*self.server.pair(name))
        client.request = lambda method, path, body=None, headers=(), **more: request(
            method, path, body, [*headers, header], **more)
        return client


@pytest.mark.spec("TOK-71")
def test_authorization_stands_once_and_in_any_case(guarded, stranger):
    good = tokens.bearer(guarded.token("ana", "repository:team/app:pull"))
    path = "/v2/team/app/tags/list"
    assert stranger.get(path, headers=[good]).status == 200
    for scheme in ("bearer", "BEARER", "bEaReR"):
        assert stranger.get(path, headers=[("authorization", good[1].replace("Bearer", scheme))]).status == 200
    basic = tokens.basic(*guarded.pair("ana"))
    for scheme in ("basic", "BASIC"):
        assert stranger.get(path, headers=[("AUTHORIZATION", basic[1].replace("Basic", scheme))]).status == 200
    for pair in ([good, good], [good, basic], [basic, ("Authorization", "")], [("Authorization", ""), good]):
        assert stranger.get(path, headers=pair).status == 400
        assert stranger.get("/v2/", headers=pair).status == 400


@pytest.mark.spec("TOK-71")
@pytest.mark.parametrize("value", ["Digest username=x", "Negotiate abc", "Bearer", "Bearer ", "Basic", "Basic !", "Basic YQ==",
                                   "Basic YW5hOng", "x", "", "Bearer a b", "Token abc", "AWS4-HMAC-SHA256 x"])
def test_other_schemes_get_our_challenge(guarded, stranger, value):
    for path in ("/v2/", "/v2/team/app/tags/list"):
        response = stranger.get(path, headers=[("Authorization", value)])
        assert response.status == 401
        assert tokens.parse_challenge(response)["realm"] == f"http://{guarded.host}/token"


@pytest.mark.spec("TOK-52", "HTTP-05")
def test_refused_upload_can_read_its_answer(guarded, stranger):
    """Much more than sockets hold, with the refusal sent at the head."""
    token = guarded.token("eve", "repository:team/app:pull,push")
    for headers in ([], [tokens.bearer(token)], [tokens.bearer("x.y.z")]):
        for chunked in (False, True):
            for method, path in (("PATCH", f"/v2/team/app/blobs/uploads/{ID}"), ("PUT", "/v2/team/app/manifests/x"),
                                 ("POST", f"/v2/team/app/blobs/uploads/?digest={ZERO}")):
                body = (b"x" * 65536 for _ in range(256)) if chunked else b"x" * (16 << 20)
                with guarded.connect() as connection:
                    response = connection.request(method, path, body, headers, chunked)
                assert response.status == 401
                assert tokens.parse_challenge(response)["scope"] == "repository:team/app:pull,push"
