"""test_clients_login.py - real clients sign in: passwords, tokens, both challenges, http and https."""
import contextlib
import json
import os
import signal
import subprocess

import pytest

from support import api, people, process, tokens
from support.clients import KINDS, cast, ok, refused
from support.people import password_of

every_client = pytest.mark.parametrize("kind", list(KINDS))
WRONG = "unauthorized|invalid username/password|wrong name or password|authorization failed"


@pytest.fixture
def team(name):
    """A repository where ana writes."""
    return f"team/{name}"


def has(server, name, tag="latest"):
    """Whether the image is there, as the administrator sees it."""
    with contextlib.closing(server.caller("root")) as client:
        status = client.head(f"/v2/{name}/manifests/{tag}").status
    assert status in (200, 404)
    return status == 200


def sign_in(client, user, secret):
    """What keeps no credentials shows them at the first push or pull."""
    result = client.login(user, secret)
    if result:
        ok(result)


def sign_in_refused(client, user, secret, team):
    """Neither stored nor of any use."""
    result = client.login(user, secret)
    if result:
        refused(result, WRONG)
    refused(client.push(team), client.NO_RIGHT)
    client.logout()


# --- the account's password, its personal tokens ---


@pytest.mark.spec("TOK-57", "TOK-01", "TOK-12", "TOK-60", "PING-02", "PING-03")
@pytest.mark.parametrize("scheme", ["http", "https"])
@every_client
def test_password(client_of, doors, team, scheme, kind):
    """Log in, push, pull; after logging out nothing of it is left."""
    server = doors[scheme]
    client = client_of(kind, server)
    refused(client.push(team), client.NO_RIGHT)
    sign_in_refused(client, "ana", "wrong", team)
    sign_in_refused(client, "nobody", password_of("ana"), team)
    sign_in(client, "ana", password_of("ana"))
    ok(client.push(team))
    assert has(server, team)
    ok(client.pull(team))
    client.logout()
    refused(client.pull(team), client.NO_RIGHT)
    refused(client.push(f"{team}-b"), client.NO_RIGHT)
    assert not has(server, f"{team}-b")


@pytest.mark.spec("TOK-65", "TOK-57")
@every_client
def test_personal_token(client_of, door, team, kind):
    """It is as good as the password; a narrow one is as good as it says."""
    client, secrets = client_of(kind, door), door.accounts.secrets
    sign_in_refused(client, "ana", secrets["ana"][:-1], team)
    sign_in_refused(client, "max", secrets["ana"], team)
    sign_in(client, "ana", secrets["ana"])
    ok(client.push(team))
    client.logout()
    sign_in(client, "ana", secrets["look"])
    ok(client.pull(team))
    refused(client.push(f"{team}-b"), client.NO_RIGHT)
    assert not has(door, f"{team}-b")


# --- identity tokens: a refresh token in place of the password ---


@contextlib.contextmanager
def managed(server):
    """The management API, as the administrator."""
    with contextlib.closing(api.Api(server.target, people.ROOT)) as manager:
        yield manager


@pytest.mark.spec("TOK-22", "TOK-27", "TOK-28", "TOK-29", "TOK-59")
def test_identity_token(client_of, make_registry, team):
    """docker keeps a refresh token in place of the password; others take it from docker's file, or
    by name; a changed password ends it for all."""
    server = make_registry(people_of=cast)
    docker, skopeo, ctr = (client_of(kind, server) for kind in ("docker", "skopeo", "ctr"))
    ok(docker.login("ana", password_of("ana")))
    token = docker.stored()["identitytoken"]
    assert token.startswith("slipway_")
    assert password_of("ana") not in docker.credentials.read_text()
    skopeo.read(docker.credentials)
    ctr.login_by_refresh_token(token)
    everybody = {"docker": docker, "skopeo": skopeo, "ctr": ctr}
    for kind, client in everybody.items():
        for turn in range(2):  # the token is not used up
            ok(client.push(f"{team}-{kind}", f"t{turn}"))
        ok(client.pull(f"{team}-{kind}", "t0"))
        assert has(server, f"{team}-{kind}", "t1")
    with managed(server) as manager:
        assert manager.patch("/users/ana", {"password": "another word"}).status == 200
    for kind, client in everybody.items():
        refused(client.pull(f"{team}-{kind}", "t0"))
        refused(client.push(f"{team}-{kind}", "late"))
        assert not has(server, f"{team}-{kind}", "late")
    ok(docker.login("ana", "another word"))
    ok(docker.pull(f"{team}-docker", "t0"))


# --- credential helpers, and the names that cloud helpers give ---

HELPER = """#!/bin/sh
echo "$1" >> "$0.log"
[ "$1" = get ] || exit 1
read -r url
printf '{"ServerURL":"%%s","Username":"%s","Secret":"%s"}' "$url"
"""
FIXED_NAMES = ["AWS", "oauth2accesstoken", "_json_key", "_json_key_base64", "gitlab-ci-token",
               "00000000-0000-0000-0000-000000000000"]


@pytest.fixture
def helper(folder, name, monkeypatch):
    """helper(user, secret): a credential helper of that answer, called "given"; the log of its calls."""
    place = folder / name.replace("/", "-")
    place.mkdir()
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")

    def write(user, secret):
        program = place / "docker-credential-given"
        program.write_text(HELPER % (user, secret))
        program.chmod(0o755)
        return place / "docker-credential-given.log"
    return write


@pytest.mark.spec("TOK-64", "TOK-65")
@pytest.mark.parametrize("kind", ["docker", "podman", "skopeo", "buildah"])
def test_credential_helper(client_of, door, helper, team, kind):
    client, secrets = client_of(kind, door), door.accounts.secrets
    client.credentials.write_text(json.dumps({"credHelpers": {door.host: "given"}}))
    log = helper("ana", secrets["ana"])
    ok(client.push(team))
    assert "get" in log.read_text().split()
    ok(client.pull(team))
    helper("ana", secrets["ana"][:-1] + "x")
    refused(client.pull(team), client.NO_RIGHT + "|" + WRONG)


@pytest.mark.spec("TOK-64")
@pytest.mark.parametrize("user", FIXED_NAMES)
def test_fixed_names(client_of, door, team, user):
    """Helpers of clouds deliver a name that nobody chose: a personal token tells itself whose it is."""
    secret = door.accounts.secrets["ana"]
    docker, ctr = client_of("docker", door), client_of("ctr", door)
    ok(docker.login(user, secret))
    ok(docker.push(team))
    refused(docker.push("other/place"), docker.NO_RIGHT)
    ctr.login(user, secret)
    ok(ctr.push(f"{team}-ctr"))
    refused(docker.login(user, password_of("ana")), WRONG)
    refused(docker.login(user, secret[:-1]), WRONG)


@pytest.mark.spec("TOK-64", "TOK-59")
@pytest.mark.parametrize("user", ["<token>", "00000000-0000-0000-0000-000000000000"])
def test_refresh_token_by_helper(client_of, door, helper, team, user):
    """"<token>" makes clients take the secret for an identity token; an all-zero number is how
    another cloud delivers one, as a password."""
    with contextlib.closing(door.client()) as asker:
        given = tokens.get(asker, user="ana", password=password_of("ana"), offline_token="true").json()
    helper(user, given["refresh_token"])
    for kind in ("docker", "skopeo"):
        client = client_of(kind, door)
        client.credentials.write_text(json.dumps({"credHelpers": {door.host: "given"}}))
        ok(client.push(f"{team}-{kind}"))
        ok(client.pull(f"{team}-{kind}"))


# --- Basic only ---


@pytest.fixture(scope="module")
def basic(folder):
    server = people.Registry(folder / "door-basic", {"auth.challenge": "basic"}, people=cast)
    server.start()
    yield server
    server.finish()


@pytest.mark.spec("TOK-61", "TOK-03", "TOK-57")
@every_client
def test_basic_challenge(client_of, basic, team, kind):
    client = client_of(kind, basic)
    sign_in_refused(client, "ana", "wrong", team)
    sign_in(client, "ana", password_of("ana"))
    ok(client.push(team))
    assert has_basic(basic, team)
    ok(client.pull(team))
    client.logout()
    refused(client.pull(team))
    sign_in(client, "eve", password_of("eve"))
    ok(client.pull(team))
    refused(client.push(team, "by-eve"), "denied|forbidden")
    assert not has_basic(basic, team, "by-eve")


def has_basic(server, name, tag="latest"):
    with contextlib.closing(server.client()) as client:
        return client.head(f"/v2/{name}/manifests/{tag}", headers=[tokens.basic(*people.ROOT)]).status == 200


# --- users of a password file ---


def write_passwords(path, **users):
    """As administrators do: with the program."""
    words = ["htpasswd", "-B", "-C", "5", "-i"]
    for number, (user, password) in enumerate(users.items()):
        subprocess.run(words + (["-c"] if number == 0 else []) + [path, user], input=password, text=True,
                       check=True, capture_output=True)


@pytest.mark.spec("TOK-61", "TOK-57")
@pytest.mark.parametrize("kind", ["docker", "skopeo"])
def test_password_file(client_of, make_registry, folder, team, kind):
    """Its users sign in, get rights by grants, and follow the file."""
    path = folder / f"{team.replace('/', '-')}-htpasswd"
    write_passwords(path, zoe="first: word", kim="her own word")
    server = make_registry({"auth.htpasswd_file": path}, people_of=cast)
    client = client_of(kind, server)
    refused(client.login("zoe", "wrong"), WRONG)
    ok(client.login("zoe", "first: word"))
    refused(client.push(team), client.NO_RIGHT)
    with managed(server) as manager:
        grant = {"account": "zoe", "pattern": "team/*", "actions": ["pull", "push"]}
        assert manager.post("/grants", grant).status == 201
    ok(client.push(team))
    ok(client.pull(team))
    refused(client.login("ana", "first: word"), WRONG)
    write_passwords(path, zoe="second word")
    server.signal(signal.SIGHUP)
    process.wait_for(lambda: client.login("zoe", "second word").returncode == 0, 60, "the file is read again")
    ok(client.push(team, "later"))
    refused(client.login("zoe", "first: word"), WRONG)
    refused(client.login("kim", "her own word"), WRONG)
