"""test_token_verify.py - which tokens count: ours, those of trusted issuers, and no others (token-auth sections 6, 7, 13).

Every attack starts from a token that is good, so that what is refused is refused for the one thing changed in it.
"""
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from support import plan, tokens
from support.pace import in_time
from support.process import wait_for

PATH = "/v2/team/app/tags/list"
SCOPE = "repository:team/app:pull"
ALGORITHMS = ["ES256", "ES384", "EdDSA", "RS256", "PS256"]


@pytest.fixture(scope="module")
def good(guarded):
    return guarded.token("ana", SCOPE)


@pytest.fixture(scope="module")
def forge(guarded):
    return tokens.Forge(guarded)


def show(client, token, path=PATH):
    return client.get(path, headers=[tokens.bearer(token)])


def accepted(client, token, path=PATH):
    response = show(client, token, path)
    assert response.status == 200, response


def refused(client, token, what=None):
    for path in (PATH, "/v2/"):
        response = show(client, token, path)
        assert response.status == 401 and response.code == "UNAUTHORIZED", (what, response)
        assert tokens.parse_challenge(response)["error"] == "invalid_token", (what, response)


# --- ours ---


@pytest.mark.spec("TOK-37", "TOK-40")
def test_the_forge_makes_what_the_server_makes(stranger, good, forge):
    """Else nothing below would prove anything."""
    accepted(stranger, good)
    accepted(stranger, forge.like(good))
    accepted(stranger, forge.like(good, jti="another"))


@pytest.mark.spec("TOK-37")
def test_shape(stranger, good):
    head, body, signature = good.split(".")
    for token in (head, f"{head}.{body}", f"{head}.{body}.", f".{body}.{signature}", f"{head}..{signature}", "..", ".", "a.b.c",
                  f"{good}.", f"{good}.{signature}", f".{good}", f"{head}.{body}.{signature}.{head}.{body}",
                  f"{head}=.{body}.{signature}", f"{head}.{body}=.{signature}", f"{good}=", f"{good}==",
                  good.replace("_", "/").replace("-", "+") if set(good) & set("-_") else "x.y.z",
                  f"{head}.{body}.{signature}A", good[:-1], good[1:], f"{head} .{body}.{signature}",
                  f"{head}.{body}\u00e9.{signature}".encode().decode("latin-1")):
        refused(stranger, token, token[:40])


@pytest.mark.spec("TOK-37", "TOK-41")
def test_truncated_anywhere(stranger, good):
    for at in [*range(1, len(good), 37), len(good) - 2, len(good) - 1]:
        refused(stranger, good[:at], at)


@pytest.mark.spec("TOK-41")
def test_a_flipped_bit_anywhere(stranger, good):
    """In the bytes of each part; of the signature every byte."""
    parts = [tokens.decode(part) for part in good.split(".")]
    for number, part in enumerate(parts):
        for at in range(0, len(part), 1 if number == 2 else 11):
            changed = list(parts)
            changed[number] = part[:at] + bytes([part[at] ^ 1 << at % 8]) + part[at + 1:]
            refused(stranger, ".".join(tokens.encode(piece) for piece in changed), (number, at))


@pytest.mark.spec("TOK-37")
def test_stray_bits_of_the_encoding(stranger, good):
    """The last character of a signature of 64 bytes holds four bits that say nothing: one spelling counts."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1])
    assert last % 16 == 0
    for stray in range(1, 16):
        refused(stranger, good[:-1] + alphabet[last + stray])


@pytest.mark.spec("TOK-37", "TOK-38")
def test_algorithm_none(stranger, good):
    _, body, signature = good.split(".")
    kid = jwt.get_unverified_header(good)["kid"]
    for name in ("none", "None", "NONE", "nOnE", ""):
        for more in ({}, {"kid": kid}):
            head = tokens.encode(json.dumps({"typ": "JWT", "alg": name, **more}).encode())
            for end in ("", signature, "AA"):
                refused(stranger, f"{head}.{body}.{end}", (name, end))


@pytest.mark.spec("TOK-38")
def test_public_key_as_a_secret(stranger, good, forge):
    """The key that everybody may read, in every spelling, as the key of an HMAC."""
    kid = jwt.get_unverified_header(good)["kid"]
    numbers = forge.key.public_key().public_numbers()
    published = stranger.get("/.well-known/jwks.json").body
    der = forge.key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    point = forge.key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    for secret in (forge.public, forge.public.strip(), der, point, published, published.strip(), kid.encode(), b"",
                   numbers.x.to_bytes(32, "big")):
        for name in ("HS256", "HS384", "HS512"):
            token = tokens.hmac_token(secret, {"typ": "JWT", "alg": name, "kid": kid}, tokens.payload(good))
            refused(stranger, token, name)


@pytest.mark.spec("TOK-38")
def test_the_algorithm_belongs_to_the_key(stranger, good, forge):
    for name in ("ES384", "ES512", "ES256K", "EdDSA", "RS256", "PS256", "es256", "ES256 ", "HS256", None, 256, ["ES256"], {}):
        refused(stranger, forge.like(good, header={"alg": name}), name)


@pytest.mark.spec("TOK-38")
def test_signature_is_r_and_s_of_fixed_length(stranger, good, forge):
    head, body, signature = good.split(".")
    raw = tokens.decode(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    der = encode_dss_signature(r, s)
    assert decode_dss_signature(der) == (r, s)
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    both = [(0, 0), (r, 0), (0, s), (1, 1), (order, s), (r, order), (r + order, s) if r + order < 1 << 256 else (0, 1)]
    wrong = [der, raw[:63], raw + b"\0", b"\0" + raw, raw[32:] + raw[:32], b"\0" * 64, b"\xff" * 64, raw + raw,
             *(a.to_bytes(32, "big") + b.to_bytes(32, "big") for a, b in both)]
    for value in wrong:
        refused(stranger, f"{head}.{body}.{tokens.encode(value)}", value)


@pytest.mark.spec("TOK-37")
@pytest.mark.parametrize("header", [b"", b"{}", b"[]", b"null", b"\"x\"", b"{\"alg\":\"ES256\"", b"{\"alg\":\"ES256\"}x", b"\xff\xfe",
                                    b"{\"alg\":\"ES256\",\"alg\":\"none\"}", b"[" * 5000, b"{\"a\":" * 200 + b"1" + b"}" * 200])
def test_headers_that_are_none(stranger, good, forge, header):
    """Signed rightly: it is the header alone that is wrong."""
    signed = f"{tokens.encode(header)}.{good.split('.')[1]}"
    refused(stranger, f"{signed}.{tokens.encode(forge.signature(signed.encode()))}")


@pytest.mark.spec("TOK-37")
def test_members_twice_in_the_header(stranger, good, forge):
    whole = json.dumps(jwt.get_unverified_header(good))[:-1]
    for more, counts in (('}', True), (',"kid":"x"}', False), (',"alg":"ES256"}', False), (',"x":1,"x":2}', False)):
        signed = f"{tokens.encode((whole + more).encode())}.{good.split('.')[1]}"
        token = f"{signed}.{tokens.encode(forge.signature(signed.encode()))}"
        accepted(stranger, token) if counts else refused(stranger, token, more)


@pytest.mark.spec("TOK-37")
def test_extensions_that_must_be_understood(stranger, good, forge):
    for value in (["exp"], ["b64"], [], "exp", {}):
        refused(stranger, forge.like(good, header={"crit": value, "b64": True}), value)


@pytest.mark.spec("TOK-37")
@pytest.mark.parametrize("claims", [b"", b"{}", b"[]", b"null", b"1", b"{\"exp\":99999999999", b"\xff", b"{\"exp\":1e400}", b"[" * 5000])
def test_claims_that_are_none(stranger, good, forge, claims):
    signed = f"{good.split('.')[0]}.{tokens.encode(claims)}"
    refused(stranger, f"{signed}.{tokens.encode(forge.signature(signed.encode()))}")


@pytest.mark.spec("TOK-37", "TOK-39", "TOK-70")
def test_claims_that_do_not_hold(stranger, good, forge):
    now = int(time.time())
    wrong = [{"exp": None}, {"exp": now - 61}, {"exp": 0}, {"exp": -1}, {"exp": "soon"}, {"exp": str(now + 900)}, {"exp": True},
             {"exp": [now + 900]}, {"nbf": now + 180}, {"nbf": "now"}, {"nbf": now + 10**9}, {"aud": "another"}, {"aud": []},
             {"aud": ["another"]}, {"aud": ""}, {"aud": "slipwa"}, {"aud": "slipway2"}, {"aud": 1}, {"aud": None}, {"aud": {}},
             {"iss": "another"}, {"iss": None}, {"iss": ""}, {"iss": ["slipway"]}, {"iss": "SLIPWAY"}, {"exp": now - 90 * 86400}]
    for change in wrong:
        refused(stranger, forge.like(good, **change), change)
    refused(stranger, forge.like(good, aud=["another", 1, None]))


@pytest.mark.spec("TOK-39", "TOK-40")
def test_claims_that_hold(stranger, good, forge):
    """A clock may be a minute off, in both directions; a token's audience may be several."""
    for name, seconds in (("exp", -50), ("nbf", 50), ("exp", 900.5), ("nbf", -0.5), ("exp", 86400 * 365)):
        accepted(stranger, forge.like(good, **{name: int(time.time()) + seconds}))
    for change in ({"aud": ["slipway"]}, {"aud": ["another", "slipway"]}, {"jti": None}, {"nbf": None}, {"iat": None},
                   {"unknown": {"deep": [1, {}]}}):
        accepted(stranger, forge.like(good, **change))


@pytest.mark.spec("TOK-39", "TOK-43", "TOK-53")
def test_a_token_that_is_remembered_ends_all_the_same(guarded, good, forge):
    client, other = guarded.client(), guarded.client()

    def attempt(_):
        token = forge.like(good, exp=int(time.time()) - 55)
        assert show(client, token).status == 200
        return token
    token = in_time(2, attempt)
    wait_for(lambda: show(client, token).status != 200, 40, "the token's end", 0.2)
    refused(client, token)
    refused(other, token)


@pytest.mark.spec("TOK-43")
def test_a_token_is_good_many_times(guarded, good):
    for _ in range(3):
        client = guarded.client()
        for _ in range(50):
            accepted(client, good)
        client.close()


@pytest.mark.spec("TOK-37", "TOK-40")
def test_access(stranger, good, forge):
    """Unknown types, members and actions are passed over, entries of one name are joined; no access is no right."""
    pull = tokens.repository("team/app", "pull")
    for access in ([pull], [tokens.repository("team/app"), pull], [{**pull, "class": "plugin", "parameters": {"pull_limit": "1"}}],
                   [{"type": "planet", "name": "team/app", "actions": ["pull"]}, pull], [tokens.repository("team/app", "fly", "pull")],
                   [tokens.repository("team/app", "*")]):
        accepted(stranger, forge.like(good, access=access))
    for access in (None, [], [tokens.repository("team/lib", "pull")], [tokens.repository("team/app", "push2")],
                   [{**pull, "type": "registry"}], [tokens.repository("*", "pull")], [tokens.repository("team/*", "pull")],
                   [tokens.repository("team/ap", "pull")], [tokens.repository("TEAM/APP", "pull")]):
        token = forge.like(good, access=access)
        assert show(stranger, token, "/v2/").status == 200, access
        response = show(stranger, token)
        assert response.status == 401 and tokens.parse_challenge(response)["error"] == "insufficient_scope", access
    signed = good.split(".")[0] + "." + tokens.encode(json.dumps({**tokens.payload(good), "access": None}).encode())
    assert show(stranger, f"{signed}.{tokens.encode(forge.signature(signed.encode()))}", "/v2/").status == 200


@pytest.mark.spec("TOK-37")
@pytest.mark.parametrize("access", ["pull", 1, {}, [1], ["repository:team/app:pull"], [[]], [{"type": "repository", "name": "team/app"}],
                                    [{"type": 1, "name": "team/app", "actions": ["pull"]}],
                                    [{"type": "repository", "name": ["team/app"], "actions": ["pull"]}],
                                    [{"type": "repository", "name": "team/app", "actions": "pull"}]])
def test_access_that_is_malformed_gives_nothing(stranger, good, forge, access):
    assert show(stranger, forge.like(good, access=access)).status == 401


@pytest.mark.spec("TOK-42")
def test_caps(guarded, stranger, good, forge):
    """Refused as invalid_token, where HTTP's own limit on headers does not speak first."""
    refused(stranger, forge.like(good, padding="x" * 13000))
    refused(stranger, forge.like(good, access=[tokens.repository("a", "pull") for _ in range(300)], padding="x" * 4000))
    deep = json.loads("[" * 40 + "]" * 40)
    refused(stranger, forge.like(good, deep=deep))
    response = show(stranger, forge.like(good, padding="x" * 60000))
    assert response.status in (401, 431)
    accepted(guarded.client(), good)


@pytest.mark.spec("TOK-44")
def test_unknown_keys(stranger, good, forge):
    for kid in ("", "x", None, 1, "../../etc/passwd", "' OR 1=1", jwt.get_unverified_header(good)["kid"].lower(), "\u0000", "a" * 5000):
        refused(stranger, forge.like(good, header={"kid": kid}), kid)


@pytest.mark.spec("TOK-48")
def test_a_key_that_comes_along_is_not_trusted(stranger, good, forge):
    """Nor is one fetched: the address names a port where somebody would notice."""
    import socket
    own = ec.generate_private_key(ec.SECP256R1())
    jwk, claims = tokens.public_jwk(own), tokens.payload(good)
    kid = jwt.get_unverified_header(good)["kid"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        where = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        for header in ({"jwk": jwk}, {"jwk": jwk, "kid": tokens.thumbprint(jwk)}, {"jwk": jwk, "kid": kid},
                       {"jwk": {**jwk, "kid": kid}}, {"jku": where, "kid": tokens.thumbprint(jwk)}, {"jku": where, "kid": kid},
                       {"x5u": where}, {"x5c": ["MIIB"], "kid": kid}):
            header = {"typ": "JWT", "alg": "ES256", **header}
            refused(stranger, jwt.encode(claims, own, algorithm="ES256", headers=header), header)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.spec("TOK-48")
def test_another_private_key_under_our_id(stranger, good):
    header = {"kid": jwt.get_unverified_header(good)["kid"]}
    for algorithm, key in (("ES256", ec.generate_private_key(ec.SECP256R1())), ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
                           ("RS256", rsa.generate_private_key(65537, 2048)), ("ES384", ec.generate_private_key(ec.SECP384R1()))):
        refused(stranger, jwt.encode(tokens.payload(good), key, algorithm=algorithm, headers=header), algorithm)


@pytest.mark.spec("TOK-70")
def test_accounts_in_a_token_are_those_of_now(guarded, stranger, good, forge):
    """Even signed rightly: an account that is not there, is off or has ended gets nothing; rights are met with today's."""
    ids = guarded.accounts.ids
    for account in (0, -1, 999999, ids["old"], ids["gone"]):
        refused(stranger, forge.like(good, slipway={"account": account, "token": 0}), account)
    wide = [tokens.repository("team/app", "pull", "push", "delete", "*"), tokens.repository("secret/one", "pull")]
    token = forge.like(good, access=wide, slipway={"account": ids["eve"], "token": 0}, sub="eve")
    accepted(stranger, token)
    assert stranger.post("/v2/team/app/blobs/uploads/", headers=[tokens.bearer(token)]).status == 401
    assert show(stranger, token, "/v2/secret/one/tags/list").status == 401
    for number in (999999, -1):
        refused(stranger, forge.like(good, slipway={"account": ids["ana"], "token": number}), number)


# --- others' ---


@pytest.fixture(scope="module")
def issuer():
    return tokens.Issuer()


@pytest.fixture(scope="module")
def trusting(folder, issuer):
    """A server that trusts another one's keys, some of them under names of their own."""
    from support import people
    settings = {"auth.token.trusted_keys_file": issuer.write(folder / "trusted.json", own_ids=("EdDSA", "PS256")),
                "auth.token.trusted_issuers": issuer.name}
    server = people.Registry(folder / "trusting", settings, people=plan.accounts)
    server.start()
    plan.content(server, ["team/app", "team/lib"])
    yield server
    server.finish()


@pytest.fixture
def trusted(trusting):
    client = trusting.client()
    yield client
    client.close()


PULL = [tokens.repository("team/app", "pull")]


@pytest.mark.spec("TOK-38", "TOK-44", "TOK-45", "TOK-49")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trusted_issuers(trusted, issuer, algorithm):
    for audience in ("slipway", ["slipway"], ["another", "slipway"]):
        token = issuer.token(algorithm, PULL, aud=audience)
        accepted(trusted, token)
        assert show(trusted, token, "/v2/team/lib/tags/list").status == 401
        assert trusted.post("/v2/team/app/blobs/uploads/", headers=[tokens.bearer(token)]).status == 401
    token = issuer.token(algorithm, [tokens.repository("far/away", "pull", "push")])
    assert trusted.post("/v2/far/away/blobs/uploads/", headers=[tokens.bearer(token)]).status == 202


@pytest.mark.spec("TOK-38", "TOK-41")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_changed_tokens_of_trusted_issuers(trusted, issuer, algorithm):
    good = issuer.token(algorithm, PULL)
    parts = [tokens.decode(part) for part in good.split(".")]
    for number, part in enumerate(parts):
        for at in (0, len(part) // 2, len(part) - 1):
            changed = list(parts)
            changed[number] = part[:at] + bytes([part[at] ^ 4]) + part[at + 1:]
            refused(trusted, ".".join(tokens.encode(piece) for piece in changed), (number, at))
    for other in ALGORITHMS:
        if other != algorithm:
            refused(trusted, issuer.token(algorithm, PULL, header={"kid": issuer.ids[other]}), other)
            head = {**jwt.get_unverified_header(good), "alg": other}
            refused(trusted, ".".join([tokens.encode(json.dumps(head).encode()), *good.split(".")[1:]]), other)
    refused(trusted, f"{good}=")
    now = int(time.time())
    for change in ({"iss": "https://else.example"}, {"iss": None}, {"aud": "another"}, {"exp": now - 61}, {"exp": None},
                   {"nbf": now + 180}):
        refused(trusted, issuer.token(algorithm, PULL, **change), change)


@pytest.mark.spec("TOK-38")
def test_hmac_with_keys_of_trusted_issuers(trusted, issuer, folder):
    file = (folder / "trusted.json").read_bytes()
    for algorithm in ALGORITHMS:
        public = issuer.keys[algorithm].public_key()
        pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        header = {"typ": "JWT", "alg": "HS256", "kid": issuer.ids[algorithm]}
        for secret in (pem, pem.strip(), file, json.dumps(issuer.jwk(algorithm)).encode()):
            refused(trusted, tokens.hmac_token(secret, header, issuer.claims(PULL)))


@pytest.mark.spec("TOK-44", "TOK-70")
def test_issuers_do_not_speak_for_each_other(trusting, trusted, issuer):
    """Nor for our accounts: what another one says of them is a name."""
    refused(trusted, issuer.token("ES256", PULL, iss="slipway"))
    ours = tokens.payload(trusting.token("root", SCOPE))
    refused(trusted, issuer.token("ES256", PULL, iss="slipway", slipway=ours["slipway"], sub="root"))
    forge = tokens.Forge(trusting)
    refused(trusted, forge.like(trusting.token("ana", SCOPE), iss=issuer.name))
    token = issuer.token("ES256", [], sub="root", slipway=ours["slipway"])
    assert show(trusted, token, "/v2/").status == 200
    assert show(trusted, token).status == 401
    assert show(trusted, token, "/v2/_catalog").status == 401
    stranger = tokens.Issuer(issuer.name)  # keys nobody trusts
    refused(trusted, stranger.token("ES256", PULL))
    refused(trusted, stranger.token("ES256", PULL, header={"kid": issuer.ids["ES256"]}))


@pytest.mark.spec("TOK-44", "TOK-49")
def test_keys_are_read_again(folder, make_registry):
    """An issuer changes its key: the file has both for a while, then the new one alone."""
    import signal
    old, new = tokens.Issuer(algorithms=("ES256",)), tokens.Issuer(algorithms=("ES256",))
    path = folder / "rotating.json"
    keys = [{**one.jwk("ES256"), "kid": one.ids["ES256"]} for one in (old, new)]
    path.write_text(json.dumps({"keys": keys[:1]}))
    server = make_registry({"auth.token.trusted_keys_file": path, "auth.token.trusted_issuers": old.name})
    plan.content(server, ["team/app"])
    client = server.client()
    accepted(client, old.token("ES256", PULL))
    refused(client, new.token("ES256", PULL))
    path.write_text(json.dumps({"keys": keys}))
    server.signal(signal.SIGHUP)
    wait_for(lambda: show(client, new.token("ES256", PULL)).status == 200, what="the new key")
    accepted(client, old.token("ES256", PULL))
    path.write_text(json.dumps({"keys": keys[1:]}))
    server.signal(signal.SIGHUP)
    wait_for(lambda: show(client, old.token("ES256", PULL)).status == 401, what="the old key's end")
    accepted(client, new.token("ES256", PULL))
    path.write_text("no keys")
    server.signal(signal.SIGHUP)
    time.sleep(0.3)
    accepted(client, new.token("ES256", PULL))  # what cannot be read leaves what was


@pytest.mark.spec("TOK-49", "TOK-45")
def test_our_keys_outlive_a_restart(make_registry):
    server = make_registry()
    plan.content(server, ["team/app"])
    token = server.token("ana", SCOPE)
    server.restart()
    accepted(server.client(), token)
