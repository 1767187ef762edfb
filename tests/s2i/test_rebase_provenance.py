"""test_rebase_provenance.py - what stands beside an image that was put on a newer base.

Touches  servers under test; pushes of images made here, the API, the command line; a server's database when it is dead.
Never    builds anything. Spec: s2i 7.12, 15.1, 15.5, 15.10
"""
import json
import subprocess

import pytest

from crash.control import CREATE, HOLD
from support import people, process, remains, stepping
from support.grounds import Ground, counter, outcomes
from support.provenance import ENVELOPE, SPDX, referrers, texts, verify


@pytest.fixture
def ground(server):
    one = Ground(server)
    one.renew({"etc/base": "1\n"})
    yield one
    one.call.close()


def moved(ground, *names):
    """Each is put on a newer base; what they stand for by now."""
    old = ground.digest
    ground.renew({"etc/base": f"newer than {old}\n"})
    assert set(outcomes(ground.rebase()).values()) == {"rebased"}
    return old, ground.stand(*names)


def sha256(digest):
    return {"sha256": digest.split(":")[1]}


def test_signed(ground, name):
    before = ground.image(f"{name}/a", "v1")
    old, stand = moved(ground, f"{name}/a:v1")
    after = stand[f"{name}/a:v1"]
    (text,) = texts(ground.server, f"{name}/a", after, ENVELOPE)
    statement = verify(json.loads(text), ground.call.get("/keys").json()["keys"])
    assert statement["subject"] == [{"name": f"{name}/a", "digest": sha256(after)}]
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, run = (statement["predicate"][part] for part in ("buildDefinition", "runDetails"))
    assert definition["buildType"] == "urn:slipway:s2i-rebase:v1"
    assert definition["externalParameters"] == {"target": f"{name}/a", "base": f"{ground.base}:3"}
    assert {one["name"]: (one["uri"], one["digest"]) for one in definition["resolvedDependencies"]} == {
        "previous": (f"oci:{name}/a", sha256(before)), "previousBase": (f"oci:{ground.base}", sha256(old)),
        "base": (f"oci:{ground.base}:3", sha256(ground.digest))}
    assert run["metadata"]["startedOn"] <= run["metadata"]["finishedOn"]
    assert referrers(ground.server, f"{name}/a", before, ENVELOPE) == [], "what was not made here has one"


def test_who_asked(guarded, name):
    who = guarded.accounts.user(f"rebaser{next(counter)}")
    for pattern in (f"{name}/*", "builders/*"):
        guarded.accounts.grant(who[0], pattern, people.WRITE)
    ground = Ground(guarded, who)
    ground.renew({"etc/base": "1\n"})
    ground.image(f"{name}/a", "v1")
    _, stand = moved(ground, f"{name}/a:v1")
    path = f"/repos/{name}/a/-/manifests/{stand[f'{name}/a:v1']}/provenance"
    (item,) = process.wait_for(lambda: ground.call.get(path).json()["items"], 20, "its provenance")
    statement = verify(item["envelope"], ground.call.get("/keys").json()["keys"])
    assert statement["predicate"]["buildDefinition"]["internalParameters"] == {"requestedBy": who[0]}
    ground.call.close()


def test_its_parts(ground, name):
    """s2i 15.5: its own files with their sums, the base it stands on now, and no word of packages."""
    ground.image(f"{name}/a", "v1", {"app": "mine\n", "docs/text": "t\n"})
    _, stand = moved(ground, f"{name}/a:v1")
    (text,) = texts(ground.server, f"{name}/a", stand[f"{name}/a:v1"], SPDX)
    document = json.loads(text)
    assert {file["fileName"] for file in document["files"]} == {"./app", "./docs/text"}
    packages = {one["SPDXID"]: one for one in document["packages"]}
    assert packages["SPDXRef-Base"]["versionInfo"] == ground.digest
    assert packages["SPDXRef-Image"]["versionInfo"] == stand[f"{name}/a:v1"]
    assert "packages were not looked for" in packages["SPDXRef-Image"]["comment"]
    assert set(packages) == {"SPDXRef-Base", "SPDXRef-Image", "SPDXRef-Layer-1"}


def test_by_the_command_line(ground, name):
    def run(*words):
        return subprocess.run([process.binary(), "build", "provenance", *words, "--config", "/dev/null", "--set",
                               f"storage.root={ground.server.root}"], text=True, timeout=60, capture_output=True,
                              env=process.clean_environment())
    ground.image(f"{name}/a", "v1")
    assert run(f"{name}/a:v1", "--verify").returncode == 1
    _, stand = moved(ground, f"{name}/a:v1")
    texts(ground.server, f"{name}/a", stand[f"{name}/a:v1"], ENVELOPE)
    assert run(f"{name}/a:v1", "--verify").stdout == f"{stand[f'{name}/a:v1']}: provenance verified\n"
    shown = run(f"{name}/a:v1").stdout
    assert f"oci:{ground.base}:3" in shown and ground.digest.split(":")[1] in shown, shown


def test_a_dry_run_and_an_undo(ground, name):
    """A dry run writes none; what is taken back loses none, and the image before is as it was."""
    before = ground.image(f"{name}/a", "v1")
    ground.renew({"etc/base": "2\n"})
    (would,) = ground.rebase("?dry_run=true")["items"]
    done = ground.rebase()
    assert outcomes(ground.undo(done["id"])) == {f"{name}/a:v1": "restored"}
    texts(ground.server, f"{name}/a", would["after"], SPDX)
    assert len(texts(ground.server, f"{name}/a", would["after"], ENVELOPE)) == 1
    assert ground.stands(f"{name}/a", "v1") == before
    assert referrers(ground.server, f"{name}/a", before, ENVELOPE) == []
    assert ground.rebase()["items"][0]["after"] == would["after"]
    process.wait_for(lambda: len(referrers(ground.server, f"{name}/a", would["after"], ENVELOPE)) == 2, 20, "that of the second")
    keys = ground.call.get("/keys").json()["keys"]
    assert all(verify(json.loads(text), keys) for text in texts(ground.server, f"{name}/a", would["after"], ENVELOPE))
    assert len(texts(ground.server, f"{name}/a", would["after"], SPDX)) == 1, "the same list twice"


def waiting(server):
    return remains.rows(server, "SELECT count(*) FROM build_attestations")[0][0]


def test_killed_when_it_is_told(make_server):
    """What was to be published when the server died is published by the next one."""
    server = make_server(start=False)
    control = stepping.holdable(server)
    server.start()
    ground = Ground(server)
    ground.renew({"etc/base": "1\n"})
    names = [f"team/app{number}:v1" for number in range(24)]
    for each in names:
        ground.image(*each.split(":"))
    ground.renew({"etc/base": "2\n"})
    control.rule(0, CREATE, HOLD, stepping.BLOB, first=len(names) + 1)  # behind the images' configs
    done = ground.rebase()
    process.wait_for(control.held, 60, "what is published first")
    server.kill()
    control.disarm()
    assert waiting(server) == len(names)
    server.start()
    keys = ground.call.get("/keys").json()["keys"]
    for item in done["items"]:
        (text,) = texts(server, item["repository"], item["after"], ENVELOPE)[:1]
        assert verify(json.loads(text), keys)["subject"][0]["digest"] == sha256(item["after"])
    process.wait_for(lambda: waiting(server) == 0, 60, "the last of them")
    assert all(referrers(server, item["repository"], item["after"], SPDX) for item in done["items"])
    ground.call.close()
