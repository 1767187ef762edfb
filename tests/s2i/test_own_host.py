"""test_own_host.py - names of images with this registry's own host are those without, wherever one is given.

Touches  servers under test; pushes, the API.
Never    another registry. Spec: s2i 2.10, 15.1
"""
import pytest

from support import api, building, content, process, wire
from support.grounds import Ground, outcomes

FILES = {"index.html": "hello\n"}
ALLOWED = {"s2i.rebasable": "true"}
PUBLIC = "registry.example:8443"
BASE_NAME = "org.opencontainers.image.base.name"


@pytest.fixture
def public(make_server):
    """A server that is told what it is called, and its API."""
    server = make_server({"server.public_url": f"https://{PUBLIC}", "builds.trigger.interval": "1s",
                          "builds.trigger.rest": "0s"})
    call = api.Api(server.target)
    yield server, call
    call.close()


def image_of(name):
    return f"builders/{name.replace('/', '-')}"


def test_a_push_by_the_host_it_came_by(server, source, name, call):
    """The build stands on the image without a host, and so do those that are asked for later."""
    image = image_of(name)
    building.builder(server, image)
    source(FILES).push(server, name, "-o", f"builder=127.0.0.1:{server.port}/{image}:latest")
    (build,) = call.items(f"/repos/{name}/-/builds")
    assert (build["state"], build["builder"]) == ("Complete", f"{image}:latest"), build
    assert building.manifest(server, name)[1]["annotations"][BASE_NAME] == f"{image}:latest"


def test_a_foreign_host_is_refused(server, source, name, call):
    """With a port it is no repository of ours; without, none that is here."""
    pushed = source(FILES).push(server, name, "-o", f"builder=other.example:{server.port}/builders/x", check=False)
    assert pushed.returncode != 0 and "of this registry" in pushed.stderr, pushed.stderr
    pushed = source(FILES).push(server, name, "-o", "builder=other.example/builders/x", check=False)
    assert pushed.returncode != 0 and "there is no image other.example/builders/x here" in pushed.stderr, pushed.stderr


def test_all_options_that_name_images(server, name, call):
    """Stored, and shown, without the host."""
    here = f"127.0.0.1:{server.port}"
    given = {"builder": f"{here}/b/one:1", "runtime_image": f"{here}/b/two", "incremental_from": f"{here}/{name}:old",
             "copy_from": [f"{here}/b/three=/x:y", "b/four=/z"], "detect": [f"go.mod={here}/b/go"]}
    stored = {"builder": "b/one:1", "runtime_image": "b/two", "incremental_from": f"{name}:old",
              "copy_from": ["b/three=/x:y", "b/four=/z"], "detect": ["go.mod=b/go"]}
    answer = call.put(f"/repos/{name}/-/build-config", {"options": given})
    assert answer.status == 201, answer
    answer = call.get(f"/repos/{name}/-/build-config").json()
    assert {key: answer["options"][key] for key in stored} == stored
    refused = call.patch(f"/repos/{name}/-/build-config", {"options": {"builder": "other.example:5000/b"}})
    assert refused.status == 422 and b"of this registry" in refused.body, refused


def test_the_public_host_in_a_source(public, source):
    """A source cannot know by which host a push comes: the public one counts there, as everywhere."""
    server, call = public
    building.builder(server, "builders/it")
    source({**FILES, ".s2i/s2i.conf": f"builder: {PUBLIC}/builders/it\n"}).push(server, "team/told")
    source(FILES).push(server, "team/pushed", "-o", f"builder={PUBLIC}/builders/it")
    source(FILES).push(server, "team/called", "-o", f"builder=127.0.0.1:{server.port}/builders/it")
    for name in ("team/told", "team/pushed", "team/called"):
        assert building.manifest(server, name)[1]["annotations"][BASE_NAME] == "builders/it", name


def test_bases_that_were_named_with_it(public):
    """s2i 15.1: whoever built them; asked for by either name, moved by one, called as we call it from then on."""
    server, call = public
    ground = Ground(server)
    ground.renew({"etc/base": "1\n"})
    ground.image("team/short", "v1")
    ground.image("team/long", "v1", name=f"{PUBLIC}/{ground.base}:3")
    ground.image("team/other", "v1", name=f"other.example:8443/{ground.base}:3")
    ground.renew({"etc/base": "2\n"})
    both = {"team/short:v1": "rebased", "team/long:v1": "rebased"}
    for host in (PUBLIC, f"127.0.0.1:{server.port}"):
        would = call.post("/rebases?dry_run=true", {"base": f"{host}/{ground.base}:3"})
        assert would.status == 200 and outcomes(would.json()) == both, would
    one = call.post("/repos/team/long/-/tags:rebase?dry_run=true", {}).json()
    assert [item["outcome"] for item in one["items"]] == ["rebased"], one
    assert outcomes(ground.rebase()) == both
    annotations = building.manifest(server, "team/long", "v1")[1]["annotations"]
    assert annotations[BASE_NAME] == f"{ground.base}:3", annotations
    ground.call.close()


def test_a_base_with_it_follows_its_builder(public, source):
    """s2i 13.51: what somebody pushed over a build of here, from the same builder, is rebased, not built."""
    server, call = public
    building.builder(server, "builders/it", labels=ALLOWED)
    source(FILES).push(server, "team/app", "-o", "builder=builders/it")
    _, manifest, _ = building.manifest(server, "team/app")
    manifest["annotations"][BASE_NAME] = f"{PUBLIC}/builders/it"
    client = wire.Client(server.target)
    put = client.put("/v2/team/app/manifests/latest", body=content.compact(manifest),
                     headers=[("Content-Type", manifest["mediaType"])])
    client.close()
    assert put.status == 201, put
    newer = building.builder(server, "builders/it", labels=ALLOWED, files={"etc/fixed": "yes\n"})
    assert call.put("/repos/team/app/-/build-config", {"options": {"image_trigger": "rebase"}}).status == 201

    def annotations():
        return building.manifest(server, "team/app")[1]["annotations"]
    process.wait_for(lambda: annotations()["org.opencontainers.image.base.digest"] == newer, 40, "its base moves")
    assert len(call.items("/repos/team/app/-/builds")) == 1, "it was built"
