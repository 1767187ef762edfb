"""plan.py - who is who on the servers of the identity tests, and what may be pulled there.

Touches  people.People before the server starts, the running server as its administrator.
Never    changes afterwards: tests that change accounts take a server of their own.
"""
from support import people
from support.content import compact, digest, image, push_blob, put_manifest

LAYER = b"a layer that everybody may know"
MANIFEST = compact(image(b"{}", [LAYER]))
TAG = "v1"
TYPE = "application/vnd.oci.image.manifest.v1+json"


def accounts(to):
    """ana writes and max maintains below team/, eve reads one repository, bob has nothing; drop and
    build are robots; aud is an auditor, opa an operator; old is disabled, gone has expired."""
    for name in ("ana", "max", "eve", "bob"):
        to.user(name)
    to.grant("ana", "team/*", people.WRITE)
    to.grant("max", "team/*", people.MAINTAIN)
    to.grant("eve", "team/app", people.READ)
    to.user("aud", people.AUDITOR)
    to.user("opa", people.OPERATOR)
    to.user("old", disabled=1)
    to.user("gone", expires_at=people.now_us() - 1)
    for name in ("old", "gone"):
        to.grant(name, "*", people.WRITE)
    secrets = {"build": to.robot("build")[1], "drop": to.robot("drop")[1]}
    to.grant("build", "ci/*", people.WRITE)
    to.grant("drop", "team/*", people.PUSH)
    secrets["ana"] = to.token("ana")
    secrets["narrow"] = to.token("ana", "repository:team/*:pull")
    secrets["ended"] = to.token("ana", expires_at=people.now_us() - 1)
    secrets["off"] = to.token("ana", disabled=1)
    to.public("public/tool")
    to.secrets = secrets


def content(server, names=("team/app", "team/lib", "ci/base", "public/tool", "secret/one")):
    """The same image in every repository."""
    client = server.caller("root")
    for name in names:
        for blob in (b"{}", LAYER):
            push_blob(client, name, blob)
        assert put_manifest(client, name, TAG, MANIFEST).status == 201
    client.close()
    return digest(MANIFEST)
