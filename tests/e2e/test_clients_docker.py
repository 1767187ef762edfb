"""test_clients_docker.py - Docker Engine: push, pull, tags, inspect; and a restart in mid-push."""
import json
import time

import pytest

from support import content, process, relay
from support.engines import verify_flags


@pytest.fixture
def filled(docker, tools, server, layouts, name):
    """put(kind): a layout of ours in the registry, its reference."""
    def put(kind):
        reference = f"{server.host}/{name}-{kind}"
        tools.skopeo("copy", "--all", *verify_flags(server, "dest-"), f"oci:{getattr(layouts, kind)}:latest",
                     f"docker://{reference}:latest")
        return reference
    return put


def identity_of(docker, reference):
    return json.loads(docker("image", "inspect", reference))[0]["Id"]


@pytest.mark.spec("CLI-01", "UPL-11", "MPUT-21", "HDR-01", "BLOB-03")
@pytest.mark.parametrize("kind", ["busybox", "hollow", "layers60"])
def test_pull_tag_push_pull(docker, server, client, filled, name, kind):
    source = filled(kind)
    docker("pull", source)
    identity = identity_of(docker, source)
    pulled = client.head(f"/v2/{name}-{kind}/manifests/latest")["Docker-Content-Digest"]
    assert pulled in docker("image", "inspect", source)
    target = f"{server.host}/{name}-pushed"
    docker("tag", source, f"{target}:one")
    said = docker("push", f"{target}:one")
    value = client.head(f"/v2/{name}-pushed/manifests/one")["Docker-Content-Digest"]
    assert f"digest: {value}" in said
    assert content.verify(client, f"{name}-pushed", "one") >= 3
    docker("rmi", "--force", identity)
    docker("pull", f"{target}:one")
    assert identity_of(docker, f"{target}:one") == identity
    docker("rmi", "--force", identity)
    docker("pull", f"{target}@{value}")
    docker("rmi", "--force", identity)


@pytest.mark.spec("CLI-01", "TAG-01")
def test_many_tags_at_once(docker, server, client, filled, name):
    source, target = filled("busybox"), f"{server.host}/{name}"
    docker("pull", source)
    for number in range(5):
        docker("tag", source, f"{target}:t{number}")
    docker("push", "--all-tags", target)
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == [f"t{number}" for number in range(5)]
    docker("rmi", "--force", identity_of(docker, source))
    docker("pull", "--all-tags", target)
    assert docker("images", "-q", target).split().count(docker("images", "-q", f"{target}:t0").strip()) == 5
    docker("rmi", "--force", identity_of(docker, f"{target}:t0"))


@pytest.mark.spec("CLI-01", "UPL-31")
def test_cross_repository_mount(docker, server, client, filled, name):
    source, target = filled("busybox"), f"{server.host}/{name}-mounted"
    docker("pull", source)
    docker("push", source)
    docker("tag", source, target)
    said = docker("push", target)
    assert "Mounted from" in said or "Layer already exists" in said
    assert content.verify(client, f"{name}-mounted", "latest") >= 3
    docker("rmi", "--force", identity_of(docker, source))


@pytest.mark.spec("CLI-01", "MPUT-11", "MGET-03")
def test_index_and_inspect(docker, plain, tools, layouts, name):
    """The engine picks its platform of an index; the program inspects manifests itself."""
    reference = f"{plain.host}/{name}"
    tools.skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{layouts.multi}:latest",
                 f"docker://{reference}:latest")
    for platform, architecture in (("linux/amd64", "amd64"), ("linux/arm64", "arm64")):
        docker("pull", "--platform", platform, reference)
        seen = json.loads(docker("image", "inspect", reference))[0]
        assert seen["Architecture"] == architecture
    docker("rmi", "--force", reference)


@pytest.mark.spec("CLI-01", "MPUT-16", "HTTP-06")
def test_manifest_list_by_the_program(docker, plain, filled, request, name):
    if request.getfixturevalue("server") is not plain:
        return  # the program speaks http to 127.0.0.0/8 whatever it is told
    source, client = filled("busybox"), plain.client()
    docker("pull", source)
    target = f"{plain.host}/{name}"
    docker("tag", source, f"{target}:amd64")
    docker("push", f"{target}:amd64")
    experimental = {"DOCKER_CLI_EXPERIMENTAL": "enabled"}
    docker("manifest", "create", "--insecure", f"{target}:list", f"{target}:amd64", env=experimental)
    docker("manifest", "push", "--insecure", f"{target}:list", env=experimental)
    top = client.get(f"/v2/{name}/manifests/list")
    assert top["Content-Type"] in (content.DOCKER_LIST, content.INDEX)
    assert content.verify(client, name, "list") >= 4
    docker("rmi", "--force", identity_of(docker, source))
    client.close()


@pytest.mark.spec("CLI-01", "MPUT-14")
def test_build_and_push(docker, server, client, folder, name):
    context = folder / name.replace("/", "-")
    context.mkdir()
    (context / "data").write_bytes(content.fresh(100000))
    (context / "Dockerfile").write_text("FROM scratch\nCOPY data /data\nCMD [\"/data\"]\n")
    reference = f"{server.host}/{name}"
    docker("build", "-t", reference, context)
    docker("push", reference)
    manifest = client.get(f"/v2/{name}/manifests/latest")
    assert manifest["Content-Type"] == content.DOCKER_IMAGE
    assert content.verify(client, name, "latest") == 3
    identity = identity_of(docker, reference)
    docker("rmi", "--force", identity)
    docker("pull", reference)
    assert identity_of(docker, reference) == identity
    docker("rmi", "--force", identity)


@pytest.mark.spec("CLI-01", "LIM-02", "HTTP-21")
def test_one_gibibyte_layer(docker, plain, tools, layouts, name):
    """Pulled, and pushed to a registry that does not have it: docker packs the layer itself."""
    client, reference = plain.client(), f"{plain.host}/{name}"
    tools.skopeo("copy", "--dest-tls-verify=false", f"oci:{layouts.giant}:latest", f"docker://{reference}:latest")
    docker("pull", reference)
    docker("tag", reference, f"{reference}-b")
    docker("push", f"{reference}-b")
    layers = [client.get(f"/v2/{name}{suffix}/manifests/latest").json()["layers"] for suffix in ("", "-b")]
    assert [layer["digest"] for layer in layers[1]] == [layer["digest"] for layer in layers[0]]
    blob = client.head(f"/v2/{name}-b/blobs/{layers[1][0]['digest']}")
    assert int(blob["Content-Length"]) == layers[0][0]["size"] > 1 << 30
    docker("rmi", "--force", identity_of(docker, reference))
    client.close()


@pytest.mark.spec("CLI-01", "UPL-04", "ERR-05")
def test_push_longer_than_the_drain_survives_a_restart(docker, make_server, layouts, tools, name):
    """The server is told to end while a push runs that takes longer than drain_timeout; it starts
    again, and docker's own retry finishes. The road between both is slow, and closed until the
    server has ended: however slow that is, the push is longer."""
    server = make_server({"server.drain_timeout": "1s", "server.limits.body_idle_timeout": "10m"})
    road = relay.Relay(server.port, bytes_per_second=16 << 20)
    source, target = f"{server.host}/{name}-seed", f"127.0.0.1:{road.port}/{name}"
    tools.skopeo("copy", "--dest-tls-verify=false", f"oci:{layouts.large}:latest", f"docker://{source}:latest")
    docker("pull", source)
    docker("tag", source, target)
    before = road.carried
    pusher = docker.begin("push", target)
    process.wait_for(lambda: road.carried - before > 20 << 20, 120, "the push is under way")
    assert pusher.poll() is None, "the push has ended: nothing is tried"
    road.flows.clear()
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin > 0.9
    road.flows.set()
    server.start()
    said = pusher.communicate(timeout=240)[0]
    assert pusher.returncode == 0, said
    client = server.client()
    assert content.verify(client, name, "latest") == 3
    client.close()
    road.close()
    docker("rmi", "--force", identity_of(docker, target))
