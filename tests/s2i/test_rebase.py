"""test_rebase.py - images get a newer base without building.

Touches  the server under test; pushes, the API, the command line.
Never    another repository's tags. Spec: s2i 15.1
"""
import io
import subprocess
import tarfile

import pytest

from support import building, process

FILES = {"index.html": "hello\n", ".s2i/environment": "A=b\n"}
ALLOWED = {"s2i.rebasable": "true"}
ROOT = {"io.openshift.s2i.assemble-user": "0"}
APPENDS = building.ASSEMBLE + "echo app:x:9: >> /etc/group\n"


@pytest.fixture
def base(server, name):
    """base(labels, files, ...): pushes another version of the builder image; its digest."""
    image = f"builders/{name.replace('/', '-')}"

    def push(labels=None, files=None, **more):
        return building.builder(server, image, labels=ALLOWED if labels is None else labels, files=files, **more)
    push.image = image
    return push


def rebase(call, name, query="", **body):
    response = call.post(f"/repos/{name}/-/tags:rebase{query}", body)
    assert response.status == 200, response
    return {item["tag"]: item for item in response.json()["items"]}


def test_all_tags_of_a_repository(server, source, name, call, base):
    """One layer stays, those below are the new base's; what it runs, and what the build said, stays too."""
    base()
    source(FILES).push(server, name, "-o", f"builder={base.image}")
    before, old, _ = building.manifest(server, name)
    assert {item["outcome"] for item in rebase(call, name).values()} == {"current"}
    newer = base(files={"etc/fixed": "fixed\n"}, config={"Env": ["PATH=/bin:/usr/bin", "NEW=yes"]})
    builds, tags = call.items(f"/repos/{name}/-/builds"), call.items(f"/repos/{name}/-/tags")
    would = rebase(call, name, "?dry_run=true")
    assert {item["outcome"] for item in would.values()} == {"rebased"} and len(would) == len(tags) >= 2
    assert call.items(f"/repos/{name}/-/tags") == tags, "a dry run changed something"
    assert rebase(call, name) == would
    after, manifest, config = building.manifest(server, name)
    assert after == would["latest"]["after"] != before == would["latest"]["before"]
    assert {tag["digest"] for tag in call.items(f"/repos/{name}/-/tags")} == {after}
    assert manifest["layers"][-1] == old["layers"][-1] and manifest["layers"][0] != old["layers"][0]
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == newer
    assert {"A=b", "NEW=yes"} <= set(config["config"]["Env"]) and "FROM_BUILDER=yes" not in config["config"]["Env"]
    assert config["config"]["Cmd"] == ["/usr/libexec/s2i/run"]
    assert "etc/fixed" in building.layer_entries(server, name, layer=0)
    assert call.items(f"/repos/{name}/-/builds") == builds, "something was built"
    # and back
    move = next(item for item in call.items(f"/repos/{name}/-/history") if item["tag"] == "latest")
    assert (move["from"], move["to"]) == (before, after)
    assert call.put(f"/repos/{name}/-/tags/latest", {"digest": before}).status == 200
    assert building.manifest(server, name)[0] == before


def test_what_is_refused(server, source, name, call, base):
    """Files that were copied up from what the base has otherwise now, named; a base that does not allow it; a base that
    is gone. Nothing moves."""
    base({**ALLOWED, **ROOT}, assemble=APPENDS)
    source(FILES).push(server, name, "-o", f"builder={base.image}")
    before = building.manifest(server, name)[0]
    base({**ALLOWED, **ROOT}, {"etc/group": "root:x:0:\nother:x:7:\n"}, assemble=APPENDS)
    item = rebase(call, name, tag="latest")["latest"]
    assert (item["outcome"], item["conflicts"]) == ("refused", ["etc/group"]), item
    done = subprocess.run([process.binary(), "build", "rebase", f"{name}:latest", "--config", "/dev/null", "--set",
                           f"storage.root={server.root}"], text=True, timeout=60, capture_output=True,
                          env=process.clean_environment())
    assert done.returncode == 1 and f"{name}:latest: etc/group\n" in done.stdout, done.stderr
    base(ROOT, {"etc/more": "more\n"}, assemble=APPENDS)
    item = rebase(call, name, tag="latest")["latest"]
    assert item["outcome"] == "refused" and "s2i.rebasable" in item["message"]
    response = call.post(f"/repos/{name}/-/tags:rebase", {"tag": "latest", "base": "builders/none"})
    assert response.status == 409 and "builders/none" in response.json()["detail"], response
    assert building.manifest(server, name)[0] == before
    for body in ({"tag": "a b"}, {"base": "::"}, {"more": 1}):
        assert call.post(f"/repos/{name}/-/tags:rebase", body).status == 422, body
    assert call.post(f"/repos/{name}/-/tags:rebase", {"tag": "absent"}).status == 404
    assert rebase(call, base.image) == {}, "an image without a base has none to be moved from"


def test_a_base_of_names_without_end(server, source, name, call, base):
    """A small layer of names that are long and alike: the server kept all of them in memory."""
    base()
    source(FILES).push(server, name, "-o", f"builder={base.image}")
    long, stream = "/".join(["n" * 200] * 19), io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number in range(18000):
            archive.addfile(building.entry(f"{long}/{number}", tarfile.LNKTYPE, link=f"{long}/to"))
    scripts = {"assemble": building.ASSEMBLE, "run": building.RUN}
    building.push_image(server, base.image, "latest", [building.base_tar(scripts, {}), stream.getvalue()],
                        {"Labels": {**ALLOWED, "io.openshift.s2i.scripts-url": f"image://{building.SCRIPTS}"}})
    item = rebase(call, name, "?dry_run=true", tag="latest")["latest"]
    assert item["outcome"] == "refused" and "names of the files" in item["message"], item


def test_a_tag_that_is_immutable_stays(server, source, name, call, base):
    base()
    source(FILES).push(server, name, "-o", f"builder={base.image}")
    before = building.manifest(server, name)[0]
    base(files={"etc/fixed": "fixed\n"})
    assert call.patch(f"/repos/{name}/-/tags/latest", {"immutable": True}).status == 200
    items = rebase(call, name)
    assert items["latest"]["outcome"] == "refused" and items["latest"]["message"]
    assert items["main"]["outcome"] == "rebased" and building.manifest(server, name)[0] == before
