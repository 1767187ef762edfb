"""tokens.py - bearer tokens, as clients get them and as somebody would forge them.

Touches  a server's token endpoint; the key files below its root; keys made here, kept in memory.
Never    a key that is stored: every run makes its own.
"""
import base64
import hashlib
import hmac
import json
import pathlib
import re
import time
import urllib.parse
import uuid

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from support import wire

SERVICE = ISSUER = "slipway"  # auth.token.service and auth.token.issuer by default

# --- challenges and headers ---


def parse_challenge(response):
    """The parameters of the one Bearer challenge, which stands in one line (TOK-01, TOK-03)."""
    value = response["WWW-Authenticate"]
    assert re.fullmatch(r'Bearer [a-z_]+="[^"]*"(, ?[a-z_]+="[^"]*")*', value), value
    pairs = re.findall(r'([a-z_]+)="([^"]*)"', value)
    assert len(dict(pairs)) == len(pairs), value
    return dict(pairs)


def scopes_of(challenge):
    """What the challenge asks for, as a set of (resource, set of actions) in its order."""
    return challenge.get("scope", "").split()


def basic(name, password):
    return "Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def bearer(token):
    return "Authorization", f"Bearer {token}"


# --- asking ---


def get(client, scopes=(), user=None, password="", headers=(), **parameters):
    """GET /token, as most clients ask."""
    query = [("service", SERVICE)] + [("scope", scope) for scope in scopes] + list(parameters.items())
    headers = list(headers) + ([basic(user, password)] if user is not None else [])
    return client.get("/token?" + urllib.parse.urlencode(query), headers=headers)


def post(client, fields, content_type="application/x-www-form-urlencoded", headers=()):
    """POST /token; fields: a dictionary, pairs, or bytes as they are."""
    body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields).encode()
    headers = list(headers) + ([("Content-Type", content_type)] if content_type else [])
    return client.post("/token", body, headers=headers)


def fetch(client, scopes=(), user=None, password="", **parameters):
    """The token itself."""
    response = get(client, scopes, user, password, **parameters)
    assert response.status == 200, response
    return response.json()["token"]


def payload(token):
    """The claims, unverified."""
    return jwt.decode(token, options={"verify_signature": False})


def access(token):
    """{(type, name): set of actions} of the claims."""
    return {(entry["type"], entry["name"]): set(entry["actions"]) for entry in payload(token)["access"]}


class Caller(wire.Client):
    """A client that signs in as clients do: it asks, reads the challenge, fetches a token with its
    credentials, and asks again. Tokens are kept by scope."""

    def __init__(self, server, user=None, password="", timeout=60):
        super().__init__(server.target, timeout)
        self.user, self.password, self.tokens, self.scope = user, password, {}, None
        self.service = server.client(timeout)

    def close(self):
        super().close()
        self.service.close()

    def request(self, method, path, body=None, headers=(), **more):
        if any(name.lower() == "authorization" for name, _ in headers):
            return super().request(method, path, body, headers, **more)
        response = super().request(method, path, body, self.signed(headers), **more)
        if response.status != 401 or "WWW-Authenticate" not in response:
            return response
        self.scope = parse_challenge(response).get("scope", "")
        self.tokens[self.scope] = fetch(self.service, self.scope.split(), self.user, self.password)
        return super().request(method, path, body, self.signed(headers), **more)

    def signed(self, headers):
        token = self.tokens.get(self.scope)
        return list(headers) + ([bearer(token)] if token else [])


# --- forging ---


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def join(header, claims, signature):
    """A token from its three contents."""
    pieces = [header, claims]
    pieces = [piece if isinstance(piece, bytes) else json.dumps(piece).encode() for piece in pieces]
    return ".".join(encode(piece) for piece in pieces + [signature])


class Forge:
    """Makes tokens with the server's own key, as only the server should be able to."""

    def __init__(self, server):
        files = sorted(pathlib.Path(server.root, "keys").glob("*.pem"))
        assert len(files) == 1, files
        self.key = serialization.load_pem_private_key(files[0].read_bytes(), None)
        self.public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def like(self, token, header=None, **changes):
        """The same token with other claims and a right signature; a change to None leaves out."""
        claims = {key: value for key, value in {**payload(token), **changes}.items() if value is not None}
        return self.sign(claims, {**jwt.get_unverified_header(token), **(header or {})})

    def sign(self, claims, header):
        header = {key: value for key, value in header.items() if value is not None}
        signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
        return f"{signed}.{encode(self.signature(signed.encode()))}"

    def signature(self, data):
        return jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(data, self.key)


def hmac_token(secret, header, claims):
    signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    return f"{signed}.{encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


class Issuer:
    """Another token server, whose keys the registry trusts by auth.token.trusted_keys_file."""

    KINDS = {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "PS256": lambda: rsa.generate_private_key(65537, 2048),
    }

    def __init__(self, name="https://tokens.example", algorithms=tuple(KINDS)):
        self.name = name
        self.keys = {algorithm: self.KINDS[algorithm]() for algorithm in algorithms}
        self.ids = {algorithm: thumbprint(self.jwk(algorithm)) for algorithm in algorithms}

    def jwk(self, algorithm):
        return public_jwk(self.keys[algorithm])

    def write(self, path, own_ids=()):
        """The key set as a file; own_ids: which keys carry a kid that is no thumbprint."""
        for algorithm in own_ids:
            self.ids[algorithm] = f"key-of-{algorithm}"
        keys = [{**self.jwk(algorithm), "alg": algorithm, "use": "sig", "kid": self.ids[algorithm]}
                for algorithm in self.keys]
        path.write_text(json.dumps({"keys": keys}))
        return path

    def claims(self, access=(), **changes):
        now = int(time.time())
        claims = {"iss": self.name, "sub": "guest", "aud": SERVICE, "iat": now, "nbf": now,
                  "exp": now + 300, "jti": str(uuid.uuid4()), "access": list(access), **changes}
        return {key: value for key, value in claims.items() if value is not None}

    def token(self, algorithm="ES256", access=(), header=None, **changes):
        header = {"kid": self.ids[algorithm], **(header or {})}
        return jwt.encode(self.claims(access, **changes), self.keys[algorithm], algorithm=algorithm, headers=header)


def number(value, size=None):
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def public_jwk(key):
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}
    numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
    return {"kty": "EC", "crv": f"P-{key.key_size}", "x": number(numbers.x, size), "y": number(numbers.y, size)}


def thumbprint(jwk):
    """RFC 7638."""
    members = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
    text = json.dumps({name: jwk[name] for name in members[jwk["kty"]]}, separators=(",", ":"))
    return encode(hashlib.sha256(text.encode()).digest())


def repository(name, *actions):
    return {"type": "repository", "name": name, "actions": list(actions)}
