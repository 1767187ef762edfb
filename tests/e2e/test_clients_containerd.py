"""test_clients_containerd.py - containerd through ctr: push and pull over http and https."""
import pytest

from support import content
from support.engines import verify_flags


@pytest.fixture
def words(server, folder, authority):
    """What ctr needs to speak to the server."""
    if not server.tls:
        return ["--plain-http"]
    hosts = folder / "hosts" / server.host
    hosts.mkdir(parents=True, exist_ok=True)
    (hosts / "hosts.toml").write_text(
        f'server = "https://{server.host}"\n[host."https://{server.host}"]\nca = "{authority.ca}"\n')
    return ["--hosts-dir", str(folder / "hosts")]


def put(tools, server, layout, name):
    tools.skopeo("copy", "--all", *verify_flags(server, "dest-"), f"oci:{layout}:latest",
                 f"docker://{server.host}/{name}:latest")


@pytest.mark.spec("CLI-02", "MGET-01", "HTTP-08", "UPL-17")
@pytest.mark.parametrize("kind, objects", [("busybox", 4), ("layers60", 62), ("hollow", 4)])
def test_pull_and_push_elsewhere(containerd, tools, server, client, layouts, words, name, kind, objects):
    put(tools, server, getattr(layouts, kind), name)
    source, target = f"{server.host}/{name}:latest", f"{server.host}/{name}-b:latest"
    containerd("images", "pull", "--snapshotter", "native", *words, source)
    listed = containerd("images", "ls", f"name=={source}")
    value = client.head(f"/v2/{name}/manifests/latest")["Docker-Content-Digest"]
    assert value in listed
    containerd("images", "tag", source, target)
    containerd("images", "push", *words, target)
    assert client.get(f"/v2/{name}-b/manifests/latest")["Docker-Content-Digest"] == value
    assert content.verify(client, f"{name}-b", "latest") == objects
    containerd("images", "rm", "--sync", source, target)
    containerd("images", "pull", "--snapshotter", "native", *words, target)
    assert value in containerd("images", "ls", f"name=={target}")
    containerd("images", "rm", "--sync", target)


@pytest.mark.spec("CLI-02", "MPUT-11", "CONC-06")
def test_all_platforms(containerd, tools, server, client, layouts, words, name):
    put(tools, server, layouts.multi, name)
    source, target = f"{server.host}/{name}:latest", f"{server.host}/{name}-b:latest"
    containerd("content", "fetch", "--all-platforms", *words, source)
    containerd("images", "tag", source, target)
    containerd("images", "push", *words, target)
    assert client.get(f"/v2/{name}-b/manifests/latest").body == client.get(f"/v2/{name}/manifests/latest").body
    assert content.verify(client, f"{name}-b", "latest") == 13
    containerd("images", "rm", "--sync", source, target)


@pytest.mark.spec("CLI-02", "LIM-02")
def test_large_layer(containerd, tools, server, client, layouts, words, name):
    put(tools, server, layouts.large, name)
    source, target = f"{server.host}/{name}:latest", f"{server.host}/{name}-b:latest"
    containerd("content", "fetch", *words, source)
    containerd("images", "tag", source, target)
    containerd("images", "push", *words, target)
    assert content.verify(client, f"{name}-b", "latest") == 3
    containerd("images", "rm", "--sync", source, target)
