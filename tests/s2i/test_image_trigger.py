"""test_image_trigger.py - a builder that moves starts builds or rebases of those who asked for it.

Touches  servers of its own that look every second; pushes of builder images.
Never    waits without need: what must not happen is asked once something that happens later has happened.
Spec: s2i 13.51
"""
import datetime
import itertools

import pytest

from support import api, building, process

FILES = {"index.html": "hello\n"}
ALLOWED = {"s2i.rebasable": "true"}
BASE_DIGEST = "org.opencontainers.image.base.digest"


@pytest.fixture
def make(make_server):
    """make(rest): a server that looks all the time."""
    calls = []

    def start(rest="0s"):
        server = make_server({"builds.trigger.interval": "1s", "builds.trigger.rest": rest})
        calls.append(api.Api(server.target))
        return server, calls[-1]
    yield start
    for call in calls:
        call.close()


def configure(call, name, paused=False, **options):
    answer = call.put(f"/repos/{name}/-/build-config", {"options": options, "paused": paused})
    assert answer.status in (200, 201), answer


def builds(call, name):
    return call.items(f"/repos/{name}/-/builds")


def by_image(call, name, state="Complete"):
    return [build for build in builds(call, name) if build["trigger"] == "image" and build["state"] == state]


def base_of(server, name, tag="latest"):
    return building.manifest(server, name, tag)[1]["annotations"][BASE_DIGEST]


def test_builds_rebases_and_nothing(make, source):
    """Of one builder: one is built again, one gets its layers without a build, one that it cannot carry is built, a
    paused one and one that did not ask stay. Its own builder starts nothing."""
    server, call = make()
    building.builder(server, "builders/it", labels=ALLOWED)
    building.builder(server, "team/self", labels=ALLOWED)
    modes = {"team/built": {"image_trigger": True}, "team/rebased": {"image_trigger": "rebase"},
             "team/other": {}, "team/paused": {"image_trigger": "build"}, "team/refused": {"image_trigger": "rebase"}}
    appends = {**FILES, ".s2i/bin/assemble": building.ASSEMBLE + "cd /opt/app-root/src; rm -f taken; echo more > taken\n"}
    for name, options in modes.items():
        source(appends if name == "team/refused" else FILES).push(server, name, "-o", "builder=builders/it")
        configure(call, name, **options)
    source(FILES).push(server, "team/self", "-o", "builder=team/self")
    configure(call, "team/self", image_trigger=True)
    configure(call, "team/paused", paused=True, image_trigger="build")
    before = {name: building.manifest(server, name)[0] for name in (*modes, "team/self")}
    old = base_of(server, "team/built")
    newer = building.builder(server, "builders/it", labels=ALLOWED, files={"etc/fixed": "yes\n",
                                                                           "opt/app-root/src/taken": "base\n"})
    process.wait_for(lambda: by_image(call, "team/built") and by_image(call, "team/refused"), 40, "two builds")
    process.wait_for(lambda: base_of(server, "team/rebased") == newer, 20, "a rebase")
    for name in ("team/built", "team/rebased", "team/refused"):
        assert base_of(server, name) == newer != old
        assert "etc/fixed" in building.layer_entries(server, name, layer=0)
    assert len(builds(call, "team/rebased")) == 1, "it was built"
    assert len(by_image(call, "team/built")) == 1
    after = building.manifest(server, "team/rebased")[1]
    tags = {tag["digest"] for tag in call.items("/repos/team/rebased/-/tags")}
    assert len(tags) == 1 and after["layers"][0] != after["layers"][-1], "all tags of the image"
    rebase = next(item for item in call.items("/rebases") if item["base"] == "builders/it")
    assert rebase["actor"] == "image-trigger"
    assert call.get(f"/rebases/{rebase['id']}").json()["items"][0]["repository"] == "team/rebased"
    for name in ("team/other", "team/paused", "team/self"):
        assert building.manifest(server, name)[0] == before[name] and len(builds(call, name)) == 1, name


def test_two_that_start_each_other(make, source):
    """Each is the other's builder: neither starts anything; what only stands on one of them does follow."""
    server, call = make()
    labels = {**ALLOWED, "io.openshift.s2i.assemble-user": "1001"}
    for name in ("ring/a", "ring/b"):
        building.builder(server, name, labels=labels)
    for name, builder in (("ring/a", "ring/b"), ("ring/b", "ring/a"), ("team/follower", "ring/a")):
        # first: what is pushed without it drives nothing, and is no part of a ring
        configure(call, name, image_trigger="rebase" if name == "team/follower" else "build")
        source({f"{name.replace('/', '-')}.txt": "a file\n"}).push(server, name, "-o", f"builder={builder}")
    process.wait_for(lambda: base_of(server, "team/follower") == building.manifest(server, "ring/a")[0], 20, "it to stand there")
    newer = building.builder(server, "ring/a", labels=labels, files={"etc/fixed": "yes\n"})
    process.wait_for(lambda: base_of(server, "team/follower") == newer, 40, "the follower")
    assert not by_image(call, "ring/a") and not by_image(call, "ring/b")
    assert len(builds(call, "ring/b")) == 1


def test_many_pushes_of_a_builder_are_few_builds(make, source):
    """builds.trigger.rest lies between two builds of a ref."""
    server, call = make(rest="2s")
    building.builder(server, "builders/it")
    source(FILES).push(server, "team/app", "-o", "builder=builders/it")
    configure(call, "team/app", image_trigger=True)
    for number in range(12):
        newest = building.builder(server, "builders/it", files={"etc/number": f"{number}\n"})
    process.wait_for(lambda: base_of(server, "team/app") == newest, 40, "the newest builder")
    created = sorted(datetime.datetime.fromisoformat(build["created_at"]) for build in builds(call, "team/app"))
    assert 2 <= len(created) < 12 and all((later - one).total_seconds() >= 2 for one, later in itertools.pairwise(created)), created
