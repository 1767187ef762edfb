"""provenance.py - what stands beside an image, as its referrers; and whether a signature is right.

Touches  a registry under test; verifies with OpenSSL of Python, not with ours.
Never    the server's private keys.
"""
import base64
import json

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support import process, wire

ENVELOPE, STATEMENT, SPDX = "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json", "application/spdx+json"


def referrers(server, name, subject, kind):
    client = wire.Client(server.target)
    answer = client.get(f"/v2/{name}/referrers/{subject}?artifactType={kind}")
    client.close()
    return answer.json()["manifests"]


def texts(server, name, subject, kind):
    """The layers of all referrers of this type, once there is one."""
    found = process.wait_for(lambda: referrers(server, name, subject, kind), 20, f"{kind} of {subject}")
    client = wire.Client(server.target)
    out = []
    for item in found:
        manifest = client.get(f"/v2/{name}/manifests/{item['digest']}").json()
        assert manifest["subject"]["digest"] == subject and manifest["artifactType"] == kind
        (layer,) = manifest["layers"]
        assert layer["mediaType"] == kind
        out.append(client.get(f"/v2/{name}/blobs/{layer['digest']}").body)
    client.close()
    return out


def signed_bytes(envelope):
    """PAE of DSSE, as its specification has it."""
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def verify(envelope, keys):
    (signature,) = envelope["signatures"]
    (key,) = [key for key in keys if key["kid"] == signature["keyid"]]
    numbers = [int.from_bytes(base64.urlsafe_b64decode(key[part] + "="), "big") for part in "xy"]
    public = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
    assert numbers == [getattr(serialization.load_pem_public_key(key["pem"].encode()).public_numbers(), part) for part in "xy"]
    public.verify(base64.b64decode(signature["sig"]), signed_bytes(envelope), ec.ECDSA(hashes.SHA256()))
    return json.loads(base64.b64decode(envelope["payload"]))
