"""test_content.py - the commands on tags, images, pins, protection, and on repositories that go and come back."""
import json
import subprocess

import pytest

from conftest import PROGRAM, clean_environment
from support import content, wire

FORBIDDEN, NOT_FOUND, CONFLICT, USAGE = 3, 4, 5, 2
NAME = "team/app"


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def run(server, tmp_path):
    """run("tag", "ls", ...): the finished command, at the admin socket; nobody is there to be asked."""
    def command(*words):
        where = ["--config", "/dev/null", "--set", f"storage.root={tmp_path}/0/root"]
        return subprocess.run([PROGRAM, *words, *where], env=clean_environment(), timeout=60, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return command


@pytest.fixture
def well(run):
    def command(*words):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout
    return command


@pytest.fixture
def image(server):
    """Pushes a small image as TAG; its digest."""
    host, port = server.url.removeprefix("http://").split(":")
    client = wire.Client(wire.Target(host, int(port), None))
    yield lambda tag, text: content.push_image(client, NAME, tag, [text.encode()])[0]
    client.close()


def test_tags_are_set_deleted_and_brought_back(run, well, image):
    one, two = image("v1", "one"), image("v2", "two")
    assert [line.split()[:2] for line in well("tag", "ls", NAME).splitlines()[1:]] == [["v1", one], ["v2", two]]
    assert one in well("tag", "show", NAME, "v1")
    titles, row = well("tag", "ls", NAME).splitlines()[:2]
    assert row[titles.index("UPDATED"):].startswith("20"), "columns stand below their titles"
    well("tag", "set", NAME, "stable", one)
    assert run("tag", "set", NAME, "stable", "sha256:12").returncode == 1  # the server refuses it
    refused = run("tag", "rm", NAME, "v1")
    assert refused.returncode == USAGE and "--yes" in refused.stderr
    assert well("tag", "rm", NAME, "--filter", "v*", "--dry-run") == "2\n"
    assert well("tag", "rm", NAME, "--filter", "v*", "--yes", "--json") == {"deleted": 2}
    assert run("tag", "rm", NAME, "--filter", "v*", "--yes").returncode == NOT_FOUND
    assert run("tag", "rm", NAME, "--yes").returncode == USAGE
    assert run("tag", "rm", NAME, "v1", "--filter", "v*", "--yes").returncode == USAGE
    assert [tag["name"] for tag in well("tag", "ls", NAME, "--deleted", "--json")["items"]] == ["v1", "v2"]
    well("tag", "restore", NAME, "v1")
    assert run("tag", "restore", NAME, "v1").returncode == CONFLICT
    assert run("tag", "restore", NAME, "v2", "--digest", one).returncode == NOT_FOUND
    well("tag", "rm", NAME, "v1", "stable", "--yes")
    causes = [move["cause"] for move in well("tag", "history", NAME, "v1", "--json")["items"]]
    assert causes == ["delete", "restore", "delete", "push"]
    assert len(well("tag", "history", NAME).splitlines()) == 1 + 8


def test_protection(run, well, image):
    one = image("v1", "one")
    assert run("tag", "protect", NAME, "v1").returncode == USAGE
    assert run("tag", "protect", NAME, "v1", "--immutable", "maybe").returncode == USAGE
    well("tag", "protect", NAME, "v1", "--immutable", "yes", "--protected", "yes")
    for words in (("tag", "rm", NAME, "v1"), ("image", "rm", NAME, one), ("repo", "rm", NAME)):
        refused = run(*words, "--yes")
        assert refused.returncode == FORBIDDEN and "protected" in refused.stderr
    well("tag", "protect", NAME, "v1", "--immutable", "no", "--protected", "no")
    assert run("protection", "add", "team/*", "v*").returncode == USAGE
    well("protection", "add", "team/*", "v*", "--protected")
    assert run("protection", "add", "team/*", "v*", "--immutable").returncode == CONFLICT
    rule, = well("protection", "ls", "--json")["items"]
    assert rule["protected"] and not rule["immutable"]
    assert run("tag", "rm", NAME, "v1", "--yes").returncode == FORBIDDEN
    assert run("protection", "rm", str(rule["id"])).returncode == USAGE
    well("protection", "rm", str(rule["id"]), "--yes")
    well("tag", "rm", NAME, "v1", "--yes")


def test_images_and_pins(run, well, image):
    one = image("v1", "one")
    assert one in well("image", "ls", NAME) and "v1" in well("image", "show", NAME, one)
    for verb in ("show", "rm", "restore"):  # a tag is not what is meant
        said = run("image", verb, NAME, "v1")
        assert said.returncode == USAGE and "slipway tag show" in said.stderr
    assert run("pin", "add", NAME, "shop", "v1").returncode == USAGE
    assert run("pin", "add", NAME, "shop", "v1", "--until", "never").returncode == USAGE
    well("pin", "add", NAME, "shop", "v1", "--until", "30d")
    assert one in well("pin", "ls", NAME)
    assert "shop" in run("image", "rm", NAME, one, "--yes").stderr
    assert run("pin", "rm", NAME, "shop").returncode == USAGE
    well("pin", "rm", NAME, "shop", "--yes")
    assert run("image", "rm", NAME, one).returncode == USAGE
    well("image", "rm", NAME, one, "--yes")
    assert well("image", "ls", NAME, "--json")["items"] == []
    assert one in well("image", "ls", NAME, "--deleted")
    well("image", "restore", NAME, one, "--tags")
    assert one in well("tag", "ls", NAME)
    well("tag", "rm", NAME, "v1", "--yes")
    assert one in well("image", "ls", NAME, "--untagged")


def test_repositories_go_and_come_back(run, well, image):
    image("v1", "one")
    assert "tags" in well("repo", "rm", NAME, "--dry-run")
    assert run("repo", "rm", NAME).returncode == USAGE
    well("repo", "rm", NAME, "--yes")
    assert run("repo", "show", NAME).returncode == NOT_FOUND
    gone, = well("repo", "ls", "--deleted", "--json")["items"]
    assert run("repo", "restore", NAME, "--id", "x").returncode == USAGE
    assert run("repo", "restore", NAME, "--id", str(gone["id"] + 1)).returncode == NOT_FOUND
    well("repo", "restore", NAME, "--id", str(gone["id"]))
    assert run("repo", "restore", NAME).returncode == CONFLICT
    assert NAME in well("repo", "ls")
