"""test_clients_rights.py - what real clients may: grants, robots, public repositories, mounts between them."""
import contextlib
import json

import pytest

from support import people, relay
from support.clients import KINDS, ok, refused
from support.content import verify
from support.people import password_of

every_client = pytest.mark.parametrize("kind", list(KINDS))


@pytest.fixture
def team(name):
    return f"team/{name}"


@pytest.fixture
def as_(client_of, door):
    """as_(kind, who): a client of that person; who: a name, a pair of name and secret, or None."""
    def make(kind, who=None):
        client = client_of(kind, door)
        if who:
            result = client.login(*(who if isinstance(who, tuple) else door.pair(who)))
            assert result is None or ok(result)
        return client
    return make


@pytest.fixture
def root(door):
    with contextlib.closing(door.caller("root")) as client:
        yield client


def is_there(root, name, tag="latest"):
    status = root.head(f"/v2/{name}/manifests/{tag}").status
    assert status in (200, 404)
    return status == 200


@pytest.fixture
def filled(as_):
    """filled(repository): an image there, pushed by the administrator."""
    pusher = as_("skopeo", "root")

    def fill(name):
        ok(pusher.push(name))
        return name
    return fill


# --- levels ---


@pytest.mark.spec("AUTHZ-01", "TOK-16", "TOK-50")
@every_client
def test_read_and_write(as_, root, filled, team, kind):
    """Who reads pulls and does not push; who writes does both; who has nothing sees nothing."""
    filled(team)
    reader, writer, nobody = as_(kind, "eve"), as_(kind, "ana"), as_(kind, "bob")
    ok(reader.pull(team))
    said = refused(reader.push(team, "by-eve"), reader.NO_RIGHT)
    if kind == "docker":
        assert "denied" in said.stderr  # and not that something broke, or a retry without end
    assert not is_there(root, team, "by-eve")
    ok(writer.pull(team))
    ok(writer.push(team, "by-ana"))
    assert verify(root, team, "by-ana") == 3
    refused(nobody.pull(team), nobody.NO_RIGHT)
    refused(nobody.push(team, "by-bob"), nobody.NO_RIGHT)
    refused(writer.push("other/place"), writer.NO_RIGHT)
    assert not is_there(root, team, "by-bob") and not is_there(root, "other/place")


@pytest.mark.spec("HTTP-05", "TOK-16")
def test_containerd_hears_why_a_late_manifest_was_refused(client_of, door, filled, team):
    """The manifest comes a moment after its head. Answered in between, containerd tells of its own
    pipe at every second try, and not of our answer; else only when it is itself late to see that
    all was sent."""
    filled(team)
    with contextlib.closing(relay.Relay(door.port, body_delay=0.1, patience=0.9)) as road:
        reader = client_of("ctr", door, host=f"127.0.0.1:{road.port}")
        reader.login(*door.pair("eve"))
        ok(reader.pull(team))
        said = [refused(reader.push(team, f"late-{attempt}"), reader.NO_RIGHT).stderr for attempt in range(8)]
        assert sum("insufficient_scope" in words for words in said) > 4, said
        assert road.early == 0


@pytest.mark.spec("TOK-33", "TOK-35", "DEL-02")
def test_deletes(as_, root, filled, team):
    """skopeo asks for "*" and comes back with what the challenge names."""
    filled(team)
    for who in ("eve", "ana", "bob"):
        client = as_("skopeo", who)
        refused(client.delete(team), client.NO_RIGHT)
        assert is_there(root, team)
    ok(as_("skopeo", "max").delete(team))
    assert not is_there(root, team)


@pytest.mark.spec("AUTHZ-01", "TAG-05")
def test_inspect_list_search(as_, tools, filled, team):
    """What is looked at and what is found are the caller's own."""
    filled(team), filled("secret/kept")
    for who in ("eve", "max", "root"):
        client = as_("skopeo", who)
        assert json.loads(ok(client.inspect(team)).stdout)["RepoTags"] == ["latest"]
        assert json.loads(ok(client.tags(team)).stdout)["Tags"] == ["latest"]
    for who in ("bob", None):
        client = as_("skopeo", who)
        refused(client.inspect(team), client.NO_RIGHT)
        refused(client.tags(team), client.NO_RIGHT)
    for who, seen in (("eve", {team}), ("root", {team, "secret/kept"}), ("bob", set())):
        client = as_("podman", who)
        found = set()
        for word in (team, "secret/kept"):
            said = client("search", *client.words, "--limit", "1000", f"{client.host}/{word}")
            found |= {name for name in (team, "secret/kept") if f"{client.host}/{name}" in said.stdout}
        assert found == seen


@pytest.mark.spec("TOK-65", "AUTHZ-01")
@every_client
def test_robot(as_, door, root, filled, name, kind):
    """It pushes and pulls within its prefix, and is refused outside it, also where names begin alike."""
    robot, inside = as_(kind, ("build", door.accounts.secrets["build"])), f"team/ci/{name}"
    ok(robot.push(inside))
    ok(robot.pull(inside))
    assert verify(root, inside, "latest") == 3
    for outside in (f"team/cinema/{name}", f"team/{name}", "ci/x"):
        refused(robot.push(outside), robot.NO_RIGHT)
        assert not is_there(root, outside)
    refused(robot.pull(filled(f"team/{name}-of-others")), robot.NO_RIGHT)


# --- anonymous ---


@pytest.mark.spec("TOK-15", "TOK-08", "TOK-62", "TOK-09")
@every_client
def test_anonymous(as_, root, filled, team, kind):
    """Public repositories without signing in; nothing is pushed; private ones look like none at all."""
    filled("public/app"), filled(team)
    client = as_(kind)
    ok(client.pull("public/app"))
    refused(client.push("public/app", "late"), client.NO_RIGHT)
    assert not is_there(root, "public/app", "late")
    private, absent = refused(client.pull(team)), refused(client.pull(f"{team}-none"))
    assert message(private, team) == message(absent, f"{team}-none")
    if kind == "docker":
        assert f"pull access denied for {client.host}/{team}, repository does not exist or may require " \
            "'docker login'" in private.stderr
    result = client.login("ana", "wrong")  # signing in means something all the same
    if result:
        refused(result, "unauthorized|invalid username/password")
    result = client.login("bob", password_of("bob"))
    assert result is None or ok(result)
    ok(client.pull("public/app"))
    refused(client.push("public/app", "late"), client.NO_RIGHT)
    refused(client.pull(team), client.NO_RIGHT)


def message(result, name):
    """The last line, which is what the user reads; times and the name left out."""
    line = result.stderr.strip().splitlines()[-1]
    return line.split("level=")[-1].replace(name, "NAME")


# --- layers from one repository in another ---


@pytest.mark.spec("UPL-31", "UPL-34", "TOK-02")
@pytest.mark.parametrize("source, who, mounted", [("secret", "root", True), ("team", "ana", True),
                                                  ("secret", "ana", False)])
def test_docker_mounts_what_it_may_read(as_, root, filled, name, source, who, mounted):
    """docker knows where it saw a layer, and asks for it from there: it is mounted for who reads
    there, and sent again by who does not."""
    docker, target = as_("docker", "root"), f"team/{name}"
    ok(docker.pull(filled(f"{source}/{name}-base")))
    ok(docker.login(*(people.ROOT if who == "root" else (who, password_of(who)))))
    said = ok(docker.push(target)).stdout
    assert ("Mounted from" in said) == mounted, said
    assert verify(root, target, "latest") == 3


@pytest.mark.spec("UPL-31", "UPL-34")
@pytest.mark.parametrize("kind", ["podman", "skopeo", "ctr"])
def test_others_push_what_they_pulled_elsewhere(as_, door, root, filled, team, kind):
    """The same for clients that do not tell whether they mounted."""
    source = filled("secret/base")
    client = as_(kind, "root")
    ok(client.pull(source))
    for who in ("ana", "root"):
        client.login(*door.pair(who))
        ok(client.push(f"{team}-{who}"))
        assert verify(root, f"{team}-{who}", "latest") == 3
    layers = root.get(f"/v2/{source}/manifests/latest").json()["layers"]
    with contextlib.closing(door.caller("bob")) as bob:
        assert bob.head(f"/v2/{source}/blobs/{layers[0]['digest']}").status == 401


@pytest.mark.spec("UPL-34")
def test_a_layer_of_others_is_not_given_away(door, root, as_, filled, team):
    """Knowing a digest is not having its bytes, whatever repository is named as its source."""
    source = filled("secret/base")
    value = root.get(f"/v2/{source}/manifests/latest").json()["layers"][0]["digest"]
    with contextlib.closing(door.caller("ana")) as ana:
        for query in (f"mount={value}&from={source}", f"mount={value}", f"mount={value}&from=team/none"):
            assert ana.post(f"/v2/{team}/blobs/uploads/?{query}").status == 202, query
        assert ana.head(f"/v2/{team}/blobs/{value}").status == 404
