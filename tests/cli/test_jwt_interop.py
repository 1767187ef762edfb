"""test_jwt_interop.py - our tokens under Debian's python3-jwt, and its tokens under ours (TOK-38, TOK-45).

Touches  a temporary folder; the program jwt_probe.
Never    a stored key: each is made here.
"""
import base64
import hashlib
import json
import os
import pathlib
import subprocess

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

TOP = pathlib.Path(__file__).resolve().parents[2]
NOW = 1_700_000_000
SECRET = os.urandom(32)


def probe_path():
    path = pathlib.Path(os.environ.get("SLIPWAY_BUILD", TOP / "build/release")) / "tests/support/jwt_probe"
    if "SLIPWAY_BUILD" not in os.environ:
        subprocess.run(["make", "-s", str(path.relative_to(TOP))], cwd=TOP, check=True)
    return path


@pytest.fixture(scope="module")
def probe():
    path = probe_path()

    def run(*words, lines=()):
        done = subprocess.run([path, *map(str, words)], input="".join(f"{line}\n" for line in lines), text=True,
                              capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
    return run


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def public_jwk(key):
    """The members of RFC 7638, in its order."""
    if key is SECRET:
        return {"k": encode(key), "kty": "oct"}
    public = key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        point, size = public.public_numbers(), public.curve.key_size // 8
        return {"crv": f"P-{size * 8}", "kty": "EC", "x": number(point.x, size), "y": number(point.y, size)}
    if isinstance(public, rsa.RSAPublicKey):
        return {"e": number(public.public_numbers().e), "kty": "RSA", "n": number(public.public_numbers().n)}
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return {"crv": "Ed25519", "kty": "OKP", "x": encode(raw)}


def thumbprint(jwk):
    return encode(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())


RSA = rsa.generate_private_key(65537, 2048)
KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "RS256": RSA,
    "PS256": RSA,  # one key without alg serves both
    "HS256": SECRET,
}


def kid_of(algorithm):
    return "secret" if algorithm == "HS256" else thumbprint(public_jwk(KEYS[algorithm]))


@pytest.fixture(scope="module")
def key_set(tmp_path_factory):
    """All public keys; they are called by their thumbprints, the secret by its kid."""
    jwks = [public_jwk(KEYS[name]) for name in ("ES256", "ES384", "EdDSA", "RS256")]
    path = tmp_path_factory.mktemp("keys") / "set.json"
    path.write_text(json.dumps({"keys": [*jwks, {**public_jwk(SECRET), "kid": "secret"}]}))
    return path


def claims(**more):
    return {"iss": "issuer", "aud": "service", "exp": NOW + 900, "sub": "ann", **more}


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize("audience", ["service", ["service"], ["another", "service"]])
def test_theirs_verify_here(probe, key_set, algorithm, audience):
    access = [{"type": "repository", "name": "team/app", "actions": ["pull", "push"]}]
    token = jwt.encode(claims(aud=audience, access=access), KEYS[algorithm], algorithm,
                       headers={"kid": kid_of(algorithm)})
    answer, late, other = probe("verify", key_set, "service", "issuer", NOW, lines=[token, token[:-1], token + "="])
    assert json.loads(answer) == {"sub": "ann", "expired": False, "access": [["team/app", "pull,push"]]}
    assert late.startswith("refused: ") and other.startswith("refused: ")


def test_many_of_theirs_verify_here(probe, key_set):
    """Also r and s that begin with zeros."""
    tokens = [jwt.encode(claims(jti=str(n)), KEYS[name], name, headers={"kid": kid_of(name)})
              for name in ("ES256", "ES384") for n in range(600)]
    answers = probe("verify", key_set, "service", "issuer", NOW, lines=tokens)
    assert len(answers) == len(tokens) and all(json.loads(answer)["sub"] == "ann" for answer in answers)


def test_claims_of_theirs_are_checked_here(probe, key_set):
    def token(algorithm="ES256", key=None, kid=None, **more):
        return jwt.encode(claims(**more), key or KEYS[algorithm], algorithm,
                          headers={"kid": kid or kid_of(algorithm)})
    cases = {
        token(aud="another"): "aud",
        token(aud=[]): "aud",
        token(iss="stranger"): "iss",
        token(nbf=NOW + 61): "not valid yet",
        token(kid="unknown"): "not known",
        token(key=ec.generate_private_key(ec.SECP256R1())): "signature is wrong",
        token("HS256", key=b"another secret of more than 32 bytes"): "signature is wrong",
        token("HS512", key=SECRET, kid="secret"): "alg is not supported",
        token("RS256", kid=kid_of("ES256")): "alg is not the key's",
        jwt.encode(claims(), None, "none", headers={"kid": kid_of("ES256")}): "alg is not supported",
    }
    answers = probe("verify", key_set, "service", "issuer", NOW, lines=cases)
    for answer, words in zip(answers, cases.values(), strict=True):
        assert answer.startswith("refused: ") and words in answer
    expired, = probe("verify", key_set, "service", "issuer", NOW, lines=[token(exp=NOW - 61)])
    assert json.loads(expired)["expired"]


def test_salt_is_as_long_as_the_hash(probe, key_set):
    """RFC 7518 section 3.5: other lengths are other algorithms."""
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "PS256", "kid": kid_of("PS256")}, claims()))

    def signed(salt):
        how = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=salt)
        return f"{text}.{encode(RSA.sign(text.encode(), how, hashes.SHA256()))}"
    answers = probe("verify", key_set, "service", "issuer", NOW, lines=map(signed, (32, 20, padding.PSS.MAX_LENGTH)))
    assert [answer.startswith("refused: ") for answer in answers] == [False, True, True]


@pytest.fixture(params=[serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL],
                ids=["pkcs8", "sec1"])
def pem(request, tmp_path):
    path = tmp_path / "key.pem"
    path.write_bytes(KEYS["ES256"].private_bytes(serialization.Encoding.PEM, request.param,
                                                 serialization.NoEncryption()))
    return path


def test_ours_verify_there(probe, pem):
    published, = probe("set", pem)
    jwk = json.loads(published)["keys"][0]
    members = public_jwk(KEYS["ES256"])
    assert jwk == {**members, "kid": thumbprint(members), "use": "sig", "alg": "ES256"}
    found = jwt.PyJWKSet.from_json(published).keys[0]
    wanted = [claims(jti=str(n), exp=4_000_000_000) for n in range(600)]
    tokens = probe("sign", pem, lines=map(json.dumps, wanted))
    for token, said in zip(tokens, wanted, strict=True):
        assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "ES256", "kid": found.key_id}
        assert jwt.decode(token, found.key, algorithms=["ES256"], audience="service", issuer="issuer") == said
