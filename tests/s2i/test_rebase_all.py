"""test_rebase_all.py - all images that stand on a base get a newer one, over repositories, in one transaction; and back.

Touches  servers under test; pushes of images made here, the API, the command line.
Never    builds anything: images are what anybody may push who names his base. Spec: s2i 15.1
"""
import gzip
import json
import subprocess
import threading

import pytest

from crash.control import HOLD, OPEN
from support import api, building, content, engines, people, process, stepping, wire
from support.grounds import Ground, counter, outcomes


@pytest.fixture
def ground(server):
    one = Ground(server)
    one.renew({"etc/base": "1\n", "etc/same": "s\n"})
    yield one
    one.call.close()


def test_all_images_and_back(ground, name):
    """s2i 15.1: several repositories in one transaction; dry run writes nothing; undo restores exactly."""
    tags = [f"{name}/a:v1", f"{name}/a:v2", f"{name}/b:v1", f"{name}/c:v1"]
    for tag in tags[:3]:
        ground.image(*tag.split(":"))
    ground.image(f"{name}/c", "v1", {"etc/base": "mine\n"})  # a file of the base
    ground.image(f"{name}/d", "v1", name="builders/other:3")
    before = ground.stand(*tags)
    assert ground.rebase()["items"] == [], "they stand on it already"
    newer = ground.renew({"etc/base": "2\n", "etc/same": "s\n"})
    would = ground.rebase("?dry_run=true")
    assert outcomes(would) == {**dict.fromkeys(tags[:3], "rebased"), tags[3]: "refused"}
    assert would["id"] is None and ground.stand(*tags) == before
    assert not ground.call.items("/rebases") or ground.call.items("/rebases")[0]["base"] != f"{ground.base}:3"
    done = ground.rebase()
    assert [{**item} for item in done["items"]] == would["items"], "a dry run said something else"
    assert [item["conflicts"] for item in done["items"] if item["outcome"] == "refused"] == [["etc/base"]]
    after = {f"{item['repository']}:{item['tag']}": item["after"] for item in done["items"] if item["after"]}
    assert ground.stand(*tags) == {**before, **after} and set(after) == set(tags[:3])
    _, manifest, _ = building.manifest(ground.server, f"{name}/b", "v1")
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == newer
    assert outcomes(ground.rebase()) == {tags[3]: "refused"}, "those that moved stand on it now"
    move = ground.call.items(f"/repos/{name}/a/-/history")[0]
    assert (move["cause"], move["to"]) == ("rebase", after[tags[0]])
    events = ground.call.items("/audit?action=image.rebase")
    assert [event["target"] for event in events if event["target"] == f"rebase/{done['id']}"], events
    listed = ground.call.items("/rebases")[0]
    assert (listed["id"], listed["tags"], listed["base"]) == (done["id"], 3, f"{ground.base}:3")
    ground.image(f"{name}/b", "v1", {"app": "pushed since\n"})
    since = ground.stands(f"{name}/b", "v1")
    assert outcomes(ground.undo(done["id"], "?dry_run=true"))[tags[0]] == "restored"
    assert ground.stands(f"{name}/a", "v1") == after[tags[0]]
    undone = ground.undo(done["id"])
    assert outcomes(undone) == {tags[0]: "restored", tags[1]: "restored", tags[2]: "moved"}
    assert ground.stand(*tags) == {**before, tags[2]: since}
    assert outcomes(ground.call.get(f"/rebases/{done['id']}").json())[tags[0]] == "restored"
    assert ground.undo(done["id"])["items"][0]["undone_at"] == undone["items"][0]["undone_at"], "twice is once"


def test_an_immutable_tag_stays(ground, name):
    ground.image(f"{name}/a", "fixed")
    ground.image(f"{name}/a", "free")
    before = ground.stand(f"{name}/a:fixed")
    assert ground.call.patch(f"/repos/{name}/a/-/tags/fixed", {"immutable": True}).status == 200
    ground.renew({"etc/base": "2\n"})
    done = ground.rebase()
    assert outcomes(done) == {f"{name}/a:fixed": "refused", f"{name}/a:free": "rebased"}
    assert ground.stand(f"{name}/a:fixed") == before
    assert ground.call.patch(f"/repos/{name}/a/-/tags/free", {"immutable": True}).status == 200
    assert outcomes(ground.undo(done["id"])) == {f"{name}/a:free": "refused"}


def test_pages(ground, name):
    for number in range(5):
        ground.image(f"{name}/p{number % 2}", f"v{number}", {"app": f"{number % 3}\n"})
    ground.renew({"etc/base": "2\n"})
    seen, after = {}, {}
    for _ in range(9):
        page = ground.rebase(limit=2, **after)
        assert len(page["items"]) <= 2
        seen.update(outcomes(page))
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert seen == {f"{name}/p{number % 2}:v{number}": "rebased" for number in range(5)}


def test_by_digest_and_onto(ground, name):
    """Whatever they call it; and another base than the one of that name."""
    old = ground.digest
    ground.image(f"{name}/a", "v1", name="registry.example/elsewhere:1")
    ground.renew({"etc/base": "2\n"})
    assert outcomes(ground.rebase()) == {}
    assert "onto" in str(ground.rebase(base=f"{ground.base}@{old}", status=422))
    done = ground.rebase(base=f"{ground.base}@{old}", onto=f"{ground.base}:3")
    assert outcomes(done) == {f"{name}/a:v1": "rebased"}
    for body in ({"base": "::"}, {"onto": "a b"}, {"tag": "v1"}, {"after": "x"}, {"limit": 0}, {"limit": 1001}):
        ground.rebase(status=422, **body)
    assert ground.rebase(base="builders/none:1", status=409)["detail"].startswith("the new base builders/none:1")
    ground.undo(99999999, status=404)


def test_what_one_may_not_push_to_is_not_named(guarded, name):
    """Two owners, one base: each moves his own, sees his own, takes back his own."""
    grounds = {}
    for label in ("ana", "ben"):
        who = guarded.accounts.user(f"{label}{next(counter)}")
        guarded.accounts.grant(who[0], f"{name}/{label}/*", people.WRITE)
        guarded.accounts.grant(who[0], "builders/*", people.WRITE)
        grounds[label] = Ground(guarded, who)
        if label == "ben":
            guarded.accounts.grant(who[0], f"{name}/both/*", people.WRITE)
            guarded.accounts.grant(next(iter(grounds.values())).call.who[0], f"{name}/both/*", people.WRITE)
            grounds["ben"].base = grounds["ana"].base
    ana, ben = grounds["ana"], grounds["ben"]
    ana.renew({"etc/base": "1\n"})
    ben.renew({"etc/base": "1\n"})
    for one, label in ((ana, "ana"), (ben, "ben")):
        one.image(f"{name}/{label}/app", "v1")
    ana.image(f"{name}/both/app", "v1")
    ana.renew({"etc/base": "2\n"})
    before = ben.stands(f"{name}/ben/app", "v1")
    done = ana.rebase()
    assert outcomes(done) == {f"{name}/ana/app:v1": "rebased", f"{name}/both/app:v1": "rebased"}
    assert ben.stands(f"{name}/ben/app", "v1") == before
    assert [item["repository"] for item in ben.call.get(f"/rebases/{done['id']}").json()["items"]] == [f"{name}/both/app"]
    assert outcomes(ben.undo(done["id"])) == {f"{name}/both/app:v1": "restored"}
    assert ana.stands(f"{name}/ana/app", "v1") == done["items"][0]["after"]
    mine = ben.rebase()
    assert outcomes(mine) == {f"{name}/ben/app:v1": "rebased", f"{name}/both/app:v1": "rebased"}
    who = guarded.accounts.user(f"cleo{next(counter)}")
    guarded.accounts.grant(who[0], f"{name}/*", people.READ)
    cleo = api.Api(guarded.target, who)
    assert cleo.get(f"/rebases/{done['id']}").status == 404 and cleo.items("/rebases") == []
    assert cleo.post(f"/rebases/{done['id']}:undo").status == 404
    assert cleo.post("/rebases", {"base": f"{ana.base}:3"}).status == 409, "she may not pull the base"
    for one in (ana.call, ben.call, cleo):
        one.close()


@pytest.fixture
def held(folder):
    """A server that asks who is there, and its control: it can be held at what it does."""
    server = people.Registry(folder / "held", {"builds.enabled": "true"})
    control = stepping.holdable(server)
    server.start()
    yield server, control
    control.disarm()
    server.finish()
    control.close()


def test_rights_that_are_taken_back_meanwhile(held, name):
    """He asked in time, but when all layers are read he may not push there any more."""
    server, control = held
    who = server.accounts.user("dora")
    for pattern in (f"{name}/*", "builders/*"):
        server.accounts.grant(who[0], pattern, people.WRITE)
    dora, root = Ground(server, who), api.Api(server.target, people.ROOT)
    dora.renew({"etc/base": "1\n"})
    dora.image(f"{name}/app", "v1")
    dora.renew({"etc/base": "2\n"})
    before = dora.stands(f"{name}/app", "v1")
    layer = stepping.locator(server, content.digest(gzip.compress(dora.layer, 1, mtime=0)))
    control.rule(0, OPEN, HOLD, f"root/blobs/??/{layer}")
    connection, body = wire.Connection(server.target), json.dumps({"base": f"{dora.base}:3"}).encode()
    connection.send_head("POST", "/api/v1/rebases", [*dora.headers, ("Content-Type", "application/json"),
                                                     ("Content-Length", len(body))])
    connection.send(body)
    process.wait_for(control.held, 60, "a layer that is to be read")
    assert root.post(f"/users/{who[0]}:disable").status == 200
    control.disarm()
    answer = json.loads(connection.response("POST").body)
    assert all(outcome == "refused" for outcome in outcomes(answer).values()), answer
    assert root.get(f"/repos/{name}/app/-/tags/v1").json()["digest"] == before
    for one in (connection, dora.call, root):
        one.close()


def test_by_the_command_line(ground, name):
    def run(*words):
        done = subprocess.run([process.binary(), "build", *words, "--config", "/dev/null", "--set",
                               f"storage.root={ground.server.root}"], text=True, timeout=60, capture_output=True,
                              env=process.clean_environment())
        return done
    ground.image(f"{name}/a", "v1")
    before = ground.stands(f"{name}/a", "v1")
    ground.renew({"etc/base": "2\n"})
    assert run("rebase", "--base", f"{ground.base}:3").returncode == 2, "a forgotten word moves nothing"
    assert run("rebase", "--all", "--base", f"{ground.base}:3", "--dry-run").returncode == 0
    assert ground.stands(f"{name}/a", "v1") == before
    done = run("rebase", "--all", "--base", f"{ground.base}:3")
    assert done.returncode == 0 and "rebased" in done.stdout, done
    id = done.stderr.split("--undo")[1].strip()
    assert ground.stands(f"{name}/a", "v1") != before
    assert f"{ground.base}:3" in run("rebases").stdout
    done = run("rebase", "--undo", id)
    assert done.returncode == 0 and "restored" in done.stdout and ground.stands(f"{name}/a", "v1") == before, done


def test_the_result_runs(ground, name, tmp_path):
    """Unpacked by umoci: its own files above those of the new base."""
    ground.renew({"etc/base": "1\n"}, whole=True)
    ground.image(f"{name}/a", "v1", {"app": "mine\n"})
    ground.renew({"etc/base": "2\n"}, whole=True)
    assert outcomes(ground.rebase()) == {f"{name}/a:v1": "rebased"}
    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    engines.run(engines.need("skopeo"), "copy", "--src-tls-verify=false",
                f"docker://127.0.0.1:{ground.server.port}/{name}/a:v1", f"oci:{layout}:it")
    engines.run(engines.need("umoci"), "unpack", "--image", f"{layout}:it", bundle)
    said = subprocess.run(["chroot", str(bundle / "rootfs"), "/bin/cat", "/app", "/etc/base"], text=True, timeout=20,
                          capture_output=True)
    assert said.stdout == "mine\n2\n", said.stderr


def test_tags_that_are_pushed_meanwhile(ground, name):
    """Whoever pushes while it goes on wins; what moved was never another's."""
    for number in range(12):
        ground.image(f"{name}/m{number}", "v1")
    ground.renew({"etc/base": "2\n"})
    pushed, stop = {}, threading.Event()

    def push():
        other = Ground(ground.server)
        other.base, other.layer, other.digest = ground.base, ground.layer, ground.digest
        while len(pushed) < 12 or not stop.is_set():
            for number in range(12):
                pushed[number] = other.image(f"{name}/m{number}", "v1", {"app": f"{next(counter)}\n"})
        other.call.close()
    thread = threading.Thread(target=push)
    thread.start()
    answers = [ground.rebase() for _ in range(4)]
    stop.set()
    thread.join()
    assert {outcome for answer in answers for outcome in outcomes(answer).values()} <= {"rebased", "moved"}
    for number in range(12):
        assert ground.stands(f"{name}/m{number}", "v1") == pushed[number]
