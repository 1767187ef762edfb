"""test_clients_podman.py - podman and buildah, over http and https."""
import json
import shutil

import pytest

from support import content
from support.content import push_image
from support.engines import verify_flags


def image_of(server, name, tag="latest"):
    return f"{server.host}/{name}:{tag}"


@pytest.fixture
def filled(tools, server, layouts, client, name):
    """The busybox image in the registry: (reference, digest)."""
    tools.skopeo("copy", *verify_flags(server, "dest-"), f"oci:{layouts.busybox}:latest",
                 f"docker://{image_of(server, name)}")
    return image_of(server, name), client.head(f"/v2/{name}/manifests/latest")["Docker-Content-Digest"]


@pytest.mark.spec("CLI-03", "MGET-01", "BLOB-01")
def test_podman_pull_tag_push_pull(tools, server, client, name, filled):
    source, value = filled
    flags = verify_flags(server)
    identity = tools.podman("pull", *flags, source).split()[-1]
    assert value in tools.podman("image", "inspect", source)
    for tag in ("one", "two"):
        tools.podman("tag", source, image_of(server, f"{name}-b", tag))
        tools.podman("push", *flags, image_of(server, f"{name}-b", tag))
        assert content.verify(client, f"{name}-b", tag) == 4
    # same layers: the diff ids are the image's own
    config = client.get(f"/v2/{name}-b/manifests/one").json()["config"]["digest"]
    assert config == f"sha256:{identity}"
    tools.podman("rmi", "--force", identity)
    assert tools.podman("pull", *flags, image_of(server, f"{name}-b", "two")).split()[-1] == identity
    assert sorted(client.get(f"/v2/{name}-b/tags/list").json()["tags"]) == ["one", "two"]
    # by digest
    tools.podman("rmi", "--force", identity)
    pinned = client.head(f"/v2/{name}-b/manifests/one")["Docker-Content-Digest"]
    tools.podman("pull", *flags, f"{server.host}/{name}-b@{pinned}")
    tools.podman("rmi", "--force", identity)


@pytest.mark.spec("CLI-03", "CAT-01", "TAG-11")
def test_podman_search(tools, server, client, name):
    for tag in ("a", "b"):
        push_image(client, name, tag)
    flags = verify_flags(server)
    found = tools.podman("search", *flags, "--limit", "1000", f"{server.host}/{name}")
    assert f"{server.host}/{name}" in found
    tags = tools.podman("search", *flags, "--list-tags", f"{server.host}/{name}")
    assert [line.split()[-1] for line in tags.splitlines()[1:]] == ["a", "b"]
    missing = tools.podman("pull", *flags, f"{server.host}/{name}:none", check=False)
    assert missing.returncode != 0 and "manifest unknown" in missing.stderr


@pytest.mark.spec("CLI-03", "MPUT-11")
def test_podman_manifest_list(tools, server, client, name, filled):
    """A list made of a remote image, pushed with its children, and pulled."""
    source, value = filled
    flags, local = verify_flags(server), f"localhost/list-{name.replace('/', '-')}"
    tools.podman("manifest", "create", local)
    tools.podman("manifest", "add", *flags, "--arch", "amd64", local, f"docker://{source}")
    tools.podman("manifest", "push", "--all", *flags, local, f"docker://{image_of(server, name, 'list')}")
    tools.podman("manifest", "rm", local)
    listed = client.get(f"/v2/{name}/manifests/list").json()["manifests"]
    assert [entry["digest"] for entry in listed] == [value]
    assert content.verify(client, name, "list") == 5
    identity = tools.podman("pull", *flags, image_of(server, name, "list")).split()[-1]
    tools.podman("rmi", "--force", identity)


@pytest.mark.spec("CLI-03", "MPUT-14")
def test_buildah_bud_from_scratch_and_push(tools, server, client, folder, name):
    context = folder / name.replace("/", "-")
    context.mkdir()
    (context / "data").write_bytes(content.fresh(5000))
    (context / "Containerfile").write_text("FROM scratch\nCOPY data /data\nLABEL a=b\nCMD [\"/data\"]\n")
    flags, local = verify_flags(server), f"localhost/{context.name}"
    tools.buildah("bud", "--isolation", "chroot", "-t", local, context)
    for kind in ("oci", "v2s2"):
        tools.buildah("push", *flags, "--format", kind, local, f"docker://{image_of(server, name, kind)}")
        assert content.verify(client, name, kind) >= 3
    assert client.get(f"/v2/{name}/manifests/oci")["Content-Type"] == content.IMAGE
    assert client.get(f"/v2/{name}/manifests/v2s2")["Content-Type"] == content.DOCKER_IMAGE
    tools.buildah("rmi", "--force", local)
    tools.buildah("pull", *flags, f"docker://{image_of(server, name, 'oci')}")
    working = tools.buildah("from", *flags, image_of(server, name, "oci")).strip()
    point = tools.buildah("mount", working).strip()
    with open(f"{point}/data", "rb") as file:
        assert file.read() == (context / "data").read_bytes()
    tools.buildah("umount", working)
    tools.buildah("rm", working)
    tools.buildah("rmi", "--force", image_of(server, name, "oci"))
    shutil.rmtree(context)


@pytest.mark.spec("CLI-03", "BLOB-08")
def test_podman_sixty_layers(tools, plain, layouts, name):
    """Layers are asked for in parallel."""
    client = plain.client()
    reference = image_of(plain, name)
    tools.skopeo("copy", "--dest-tls-verify=false", f"oci:{layouts.layers60}:latest", f"docker://{reference}")
    identity = tools.podman("pull", "--tls-verify=false", reference).split()[-1]
    inspected = json.loads(tools.podman("image", "inspect", identity))
    assert len(inspected[0]["RootFS"]["Layers"]) == 60
    tools.podman("push", "--tls-verify=false", reference, f"docker://{image_of(plain, name + '-b')}")
    assert content.verify(client, f"{name}-b", "latest") == 62
    tools.podman("rmi", "--force", identity)
    client.close()
