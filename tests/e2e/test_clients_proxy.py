"""test_clients_proxy.py - real clients through nginx, which ends TLS: where the realm points, and that it works."""
import contextlib
import shutil

import pytest

from support import front, tokens, wire
from support.clients import KINDS, cast, ok, refused
from support.content import verify
from support.people import password_of

TRUST = {"server.trusted_proxies": "127.0.0.1"}


@pytest.fixture
def make_front(folder, name, authority):
    """make_front(server): nginx before it."""
    made = []

    def make(server):
        made.append(front.Nginx(folder / f"{name.replace('/', '-')}-{len(made)}", server, authority))
        return made[-1]
    yield make
    for nginx in made:
        nginx.stop()
        shutil.rmtree(nginx.folder)


def realm(host, authority):
    """What the challenge says to somebody who comes by https."""
    address, port = host.rsplit(":", 1)
    target = wire.Target(address, int(port), wire.trusting(authority.ca))
    with contextlib.closing(wire.Client(target)) as client:
        return tokens.parse_challenge(client.get("/v2/"))["realm"]


@pytest.mark.spec("TOK-04", "HTTP-03", "CLI-01", "CLI-02", "CLI-03")
@pytest.mark.parametrize("kind", list(KINDS))
def test_through_a_trusted_proxy(client_of, make_registry, make_front, authority, name, kind):
    """The realm is https and on the name that the client asked, so all of it works by TLS alone:
    skopeo, podman and buildah refuse anything else here."""
    server = make_registry(TRUST, people_of=cast)
    nginx = make_front(server)
    assert realm(nginx.host, authority) == f"https://{nginx.host}/token"
    client = client_of(kind, server, host=nginx.host, tls=True)
    result = client.login("ana", "wrong")
    assert result is None or refused(result)
    refused(client.push(f"team/{name}"), client.NO_RIGHT)
    result = client.login("ana", password_of("ana"))
    assert result is None or ok(result)
    ok(client.push(f"team/{name}"))
    with contextlib.closing(server.caller("root")) as root:
        assert verify(root, f"team/{name}", "latest") == 3
    ok(client.pull(f"team/{name}"))


@pytest.mark.spec("TOK-04")
def test_two_names_of_one_registry(client_of, make_registry, make_front, authority, name):
    """Each name is a registry of its own to clients: its realm stands on it, and credentials for
    one are not sent to the other."""
    server = make_registry(TRUST, people_of=cast)
    nginx = make_front(server)
    names = [nginx.host, f"localhost:{nginx.port}"]
    clients = [client_of("skopeo", server, host=host, tls=True) for host in names]
    for client, host in zip(clients, names):
        assert realm(host, authority) == f"https://{host}/token"
        client.read(clients[0].credentials)
        refused(client.push(f"team/{name}"), client.NO_RIGHT)
        ok(client.login("ana", password_of("ana")))
        ok(client.push(f"team/{name}"))


@pytest.mark.spec("TOK-04")
def test_who_is_not_trusted_is_not_believed(make_registry, make_front, authority):
    """Without the setting nobody can make the realm https, or point it elsewhere."""
    server = make_registry(people_of=cast)
    nginx = make_front(server)
    assert realm(nginx.host, authority) == f"http://{nginx.host}/token"
    with contextlib.closing(server.client()) as client:
        lies = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "evil.example")]
        assert tokens.parse_challenge(client.get("/v2/", headers=lies))["realm"] == f"http://{server.host}/token"


@pytest.mark.spec("TOK-04")
def test_public_url(client_of, make_registry, make_front, authority, name):
    """It decides, whatever name was asked and whoever is trusted: clients that came by another way
    go there for their token."""
    server = make_registry(people_of=cast)
    nginx = make_front(server)
    server.settings["server.public_url"] = f"https://{nginx.host}"
    server.restart()
    assert realm(f"localhost:{nginx.port}", authority) == f"https://{nginx.host}/token"
    for host in (nginx.host, f"localhost:{nginx.port}"):
        client = client_of("skopeo", server, host=host, tls=True)
        ok(client.login("ana", password_of("ana")))
        ok(client.push(f"team/{name}"))
    docker = client_of("docker", server, host=nginx.host, tls=True)
    ok(docker.login("ana", password_of("ana")))
    ok(docker.push(f"team/{name}-docker"))
    ok(docker.pull(f"team/{name}-docker"))
