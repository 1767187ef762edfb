"""test_clients_skopeo.py - skopeo and umoci: every format, whole indexes, lists, deletes."""
import json
import os
import shutil

import pytest

from support import content
from support.content import artifact, digest, push_blob, push_image, push_manifest
from support.engines import verify_flags


def reference(server, name, tag="latest"):
    return f"docker://{server.host}/{name}:{tag}"


def oci(path, tag="latest"):
    return f"oci:{path}:{tag}"


def blobs(path):
    return {item.name for item in (path / "blobs/sha256").iterdir()}


def push(tools, server, layout, name, *words):
    return tools.skopeo("copy", *words, *verify_flags(server, "dest-"), oci(layout), reference(server, name))


def pull(tools, server, name, path, *words):
    tools.skopeo("copy", *words, *verify_flags(server, "src-"), reference(server, name), oci(path))


def same(one, other, kind=None):
    """Everything the pulled layout names is what was pushed, to the byte."""
    names = blobs(other)
    assert names and names <= blobs(one)
    for name in names:
        data = (other / "blobs/sha256" / name).read_bytes()
        assert digest(data) == f"sha256:{name}"
    tops = [json.loads((path / "index.json").read_text())["manifests"][0]["digest"] for path in (one, other)]
    assert tops[0] == tops[1]


@pytest.mark.spec("CLI-03", "MPUT-01", "MGET-01")
@pytest.mark.parametrize("kind", ["busybox", "layers60", "hollow"])
def test_oci_round_trip(tools, server, layouts, folder, client, name, kind):
    layout, back = getattr(layouts, kind), folder / name.replace("/", "-")
    push(tools, server, layout, name)
    assert content.verify(client, name, "latest") >= 3
    pull(tools, server, name, back)
    same(layout, back)
    assert blobs(back) == blobs(layout)
    # a second push finds everything there and changes nothing
    before = client.get(f"/v2/{name}/manifests/latest").body
    push(tools, server, layout, name)
    assert client.get(f"/v2/{name}/manifests/latest").body == before
    shutil.rmtree(back)


@pytest.mark.spec("CLI-03", "MPUT-11", "MGET-08")
def test_whole_index(tools, server, layouts, folder, client, name):
    layout, back = layouts.multi, folder / name.replace("/", "-")
    push(tools, server, layout, name, "--all")
    top = client.get(f"/v2/{name}/manifests/latest")
    assert top["Content-Type"] == content.INDEX and len(top.json()["manifests"]) == 4
    assert content.verify(client, name, "latest") == 1 + 4 * 3
    pull(tools, server, name, back, "--all")
    assert blobs(back) == blobs(layout)
    same(layout, back)
    shutil.rmtree(back)
    # one platform alone
    tools.skopeo("copy", "--override-arch", "arm64", *verify_flags(server, "src-"), reference(server, name),
                 oci(back))
    assert len(blobs(back)) == 3
    raw = tools.skopeo("inspect", "--raw", *verify_flags(server), reference(server, name))
    assert digest(raw.encode()) == top["Docker-Content-Digest"]
    shutil.rmtree(back)


@pytest.mark.spec("CLI-03", "LIM-02", "BLOB-01", "HTTP-21")
def test_one_gibibyte_layer(tools, plain, layouts, folder, name):
    layout, back = layouts.giant, folder / name.replace("/", "-")
    push(tools, plain, layout, name)
    pull(tools, plain, name, back)
    assert blobs(back) == blobs(layout)
    [big] = [item for item in (back / "blobs/sha256").iterdir() if item.stat().st_size > 1 << 30]
    assert os.stat(layout / "blobs/sha256" / big.name).st_size == big.stat().st_size
    shutil.rmtree(back)


@pytest.mark.spec("CLI-03", "LIM-02")
def test_large_layer_over_tls(tools, tls, layouts, folder, name):
    layout, back = layouts.large, folder / name.replace("/", "-")
    push(tools, tls, layout, name)
    pull(tools, tls, name, back)
    same(layout, back)
    shutil.rmtree(back)


@pytest.mark.spec("CLI-03", "MPUT-06")
def test_docker_and_dir_formats(tools, server, layouts, folder, client, name):
    """OCI layout to docker schema 2, to a folder, and back to another repository by preserved digest."""
    path = folder / (name.replace("/", "-") + "-dir")
    push(tools, server, layouts.busybox, name, "--format", "v2s2")
    top = client.get(f"/v2/{name}/manifests/latest")
    assert top["Content-Type"] == content.DOCKER_IMAGE
    tools.skopeo("copy", *verify_flags(server, "src-"), reference(server, name), f"dir:{path}")
    assert (path / "manifest.json").read_bytes() == top.body
    tools.skopeo("copy", "--preserve-digests", *verify_flags(server, "dest-"), f"dir:{path}",
                 reference(server, f"{name}-b"))
    assert client.get(f"/v2/{name}-b/manifests/latest")["Docker-Content-Digest"] == top["Docker-Content-Digest"]
    assert content.verify(client, f"{name}-b", "latest") == content.verify(client, name, "latest")
    # registry to registry
    tools.skopeo("copy", "--all", *verify_flags(server, "src-", "dest-"), reference(server, name),
                 reference(server, f"{name}-c"))
    assert client.get(f"/v2/{name}-c/manifests/latest").body == top.body
    shutil.rmtree(path)


@pytest.mark.spec("CLI-03", "TAG-05", "DEL-08", "DEL-02", "ROUTE-06")
def test_inspect_list_and_delete(tools, server, client, name):
    value, _, _ = push_image(client, name, "a")
    for tag in ("b", "c"):
        push_image(client, name, tag)
    flags = verify_flags(server)
    seen = json.loads(tools.skopeo("inspect", *flags, reference(server, name, "a")))
    assert seen["Digest"] == value and seen["RepoTags"] == ["a", "b", "c"]
    config = json.loads(tools.skopeo("inspect", "--config", *flags, reference(server, name, "a")))
    assert config["architecture"] == "amd64"
    listed = json.loads(tools.skopeo("list-tags", *flags, f"docker://{server.host}/{name}"))
    assert listed["Tags"] == ["a", "b", "c"]
    tools.skopeo("delete", *flags, reference(server, name, "a"))
    assert client.get(f"/v2/{name}/manifests/{value}").status == 404
    listed = json.loads(tools.skopeo("list-tags", *flags, f"docker://{server.host}/{name}"))
    assert listed["Tags"] == ["b", "c"]
    missing = tools.skopeo("inspect", *flags, reference(server, name, "a"), check=False)
    assert missing.returncode != 0 and "manifest unknown" in missing.stderr


@pytest.mark.spec("CLI-03", "TAG-01")
def test_sync(tools, server, client, folder, name):
    for tag in ("one", "two"):
        push_image(client, name, tag)
    path = folder / (name.replace("/", "-") + "-sync")
    tools.skopeo("sync", "--scoped", "--src", "docker", "--dest", "dir", *verify_flags(server, "src-"),
                 f"{server.host}/{name}", path)
    assert len(list(path.rglob("manifest.json"))) == 2
    tools.skopeo("sync", "--src", "docker", "--dest", "docker", *verify_flags(server, "src-", "dest-"),
                 f"{server.host}/{name}", f"{server.host}/{name}-copy")
    last = name.rsplit("/", 1)[1]
    for tag in ("one", "two"):
        assert client.get(f"/v2/{name}-copy/{last}/manifests/{tag}").body == \
            client.get(f"/v2/{name}/manifests/{tag}").body
    shutil.rmtree(path)


@pytest.mark.spec("CLI-05", "REF-03", "MPUT-12")
def test_artifacts_with_subject(tools, server, client, folder, name):
    """skopeo copies an image from a repository where artifacts refer to it, and the artifacts stay listed."""
    value, _, _ = push_image(client, name)
    push_blob(client, name, b"{}")
    about = push_manifest(client, name, "about", artifact(value))
    back = folder / name.replace("/", "-")
    tools.skopeo("copy", *verify_flags(server, "src-"), reference(server, name), f"dir:{back}")
    assert digest((back / "manifest.json").read_bytes()) == value
    raw = tools.skopeo("inspect", "--raw", *verify_flags(server), reference(server, name, "about"))
    assert digest(raw.encode()) == about
    entries = client.get(f"/v2/{name}/referrers/{value}").json()["manifests"]
    assert [entry["digest"] for entry in entries] == [about]
    shutil.rmtree(back)


@pytest.mark.spec("CLI-03", "MPUT-01")
def test_umoci_layout(tools, server, folder, client, name):
    """An image made, extended and tagged by umoci, through the registry and unpacked again."""
    layout, back = folder / (name.replace("/", "-") + "-u"), folder / (name.replace("/", "-") + "-b")
    source = folder / (name.replace("/", "-") + "-s")
    source.write_bytes(os.urandom(5000))
    tools.umoci("init", "--layout", layout)
    tools.umoci("new", "--image", f"{layout}:latest")
    tools.umoci("insert", "--rootless", "--image", f"{layout}:latest", source, "/data/file")
    tools.umoci("config", "--image", f"{layout}:latest", "--config.cmd", "/data/file")
    push(tools, server, layout, name)
    assert content.verify(client, name, "latest") == 3
    pull(tools, server, name, back)
    bundle = folder / (name.replace("/", "-") + "-r")
    tools.umoci("unpack", "--rootless", "--image", f"{back}:latest", bundle)
    assert (bundle / "rootfs/data/file").read_bytes() == source.read_bytes()
    for path in (layout, back, bundle):
        shutil.rmtree(path)
