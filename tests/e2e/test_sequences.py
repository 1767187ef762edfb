"""test_sequences.py - section 18: what each client sends, replayed byte for byte over raw requests.

Helm, oras, crane and cosign may not be installed; their sequences are proven here and never skipped.
"""
import re

import pytest

from support import content
from support.content import artifact, compact, digest, fresh, image, index, with_digest

GGCR = [("User-Agent", "go-containerregistry/v0.19.1"), ("Accept-Encoding", "gzip")]
DOCKER = [("User-Agent", "docker/20.10.24 go/go1.19.8 UpstreamClient(Docker-Client/20.10.24)"),
          ("Accept-Encoding", "gzip"), ("Connection", "close")]
DOCKER_ACCEPT = [("Accept", kind) for kind in (
    content.DOCKER_LIST, "application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json",
    content.INDEX, content.IMAGE, content.DOCKER_IMAGE)]
CONTAINERD_ACCEPT = [("Accept", f"{content.DOCKER_IMAGE}, {content.DOCKER_LIST}, {content.IMAGE}, "
                                f"{content.INDEX}, */*")]


@pytest.mark.spec("CLI-01", "UPL-07", "UPL-11", "MPUT-21", "HDR-03")
def test_docker_engine(client, name):
    """HEAD, POST with mount candidates, PATCH chunked, PUT, HEAD; manifest by tag; pull."""
    layer, config = fresh(300000), compact({"architecture": "amd64", "os": "linux", "x": fresh().hex()})
    value = digest(layer)
    assert client.head(f"/v2/{name}/blobs/{value}", headers=DOCKER).status == 404
    start = client.post(f"/v2/{name}/blobs/uploads/?from=library%2Fnone&mount={value.replace(':', '%3A')}",
                        headers=DOCKER)
    assert start.status == 202
    where = start["Location"]
    sent = client.patch(where, (layer[at:at + 32768] for at in range(0, len(layer), 32768)),
                        headers=DOCKER, chunked=True)
    assert sent.status == 202
    first, last = re.fullmatch(r"(\d+)-(\d+)", sent["Range"]).groups()
    size = int(last) - int(first) + 1  # docker writes this into the manifest
    assert size == len(layer)
    assert client.put(with_digest(sent["Location"], value.replace(":", "%3A")), headers=DOCKER).status == 201
    assert client.head(f"/v2/{name}/blobs/{value}", headers=DOCKER)["Content-Length"] == str(size)
    start = client.post(f"/v2/{name}/blobs/uploads/", headers=DOCKER)
    sent = client.patch(start["Location"], [config], headers=DOCKER, chunked=True)
    assert client.put(with_digest(sent["Location"], digest(config)), headers=DOCKER).status == 201
    body = compact({**image(config, [layer], content.DOCKER_IMAGE, "application/vnd.docker.container.image.v1+json",
                            "application/vnd.docker.image.rootfs.diff.tar.gzip")})
    put = client.put(f"/v2/{name}/manifests/latest", body,
                     headers=[("Content-Type", content.DOCKER_IMAGE), *DOCKER])
    assert put.status == 201 and put["Docker-Content-Digest"] == digest(body)
    # pull
    assert client.get("/v2/", headers=DOCKER).status == 200
    head = client.head(f"/v2/{name}/manifests/latest", headers=DOCKER_ACCEPT + DOCKER)
    assert head["Content-Type"] == content.DOCKER_IMAGE and head["Content-Length"] == str(len(body))
    manifest = client.get(f"/v2/{name}/manifests/{head['Docker-Content-Digest']}", headers=DOCKER_ACCEPT + DOCKER)
    assert manifest.body == body
    begin = client.get(f"/v2/{name}/blobs/{value}", headers=[("Range", "bytes=0-99999")])
    rest = client.get(f"/v2/{name}/blobs/{value}", headers=[("Range", "bytes=100000-"), *DOCKER])
    assert rest.status == 206 and rest["Content-Range"] == f"bytes 100000-{size - 1}/{size}"
    assert begin.body + rest.body == layer
    assert client.get(f"/v2/{name}/blobs/{digest(config)}", headers=DOCKER).body == config


@pytest.mark.spec("CLI-02", "HTTP-08", "HTTP-16", "UPL-33", "NS-01", "MGET-06")
def test_containerd(client, name):
    """HEAD, POST with an unescaped mount, one PUT; children before the index; pull with ns=."""
    layer, config = fresh(100000), compact({"architecture": "amd64", "os": "linux", "x": fresh().hex()})
    for data in (layer, config):
        assert client.head(f"/v2/{name}/blobs/{digest(data)}", headers=CONTAINERD_ACCEPT).status == 404
        start = client.post(f"/v2/{name}/blobs/uploads/?mount={digest(data)}&from=other/place")
        assert start.status == 202 and start["Location"].startswith("/")
        done = client.put(with_digest(start["Location"], digest(data).replace(":", "%3A")), data,
                          headers=[("Content-Type", "application/octet-stream")])
        assert done.status == 201 and done["Docker-Content-Digest"] == digest(data)
    child = compact(image(config, [layer]))
    top = compact(index([{**content.descriptor(child, content.IMAGE),
                          "platform": {"architecture": "amd64", "os": "linux"}}]))
    for reference, data, kind in ((digest(child), child, content.IMAGE), ("latest", top, content.INDEX)):
        assert client.head(f"/v2/{name}/manifests/{reference}", headers=CONTAINERD_ACCEPT).status == 404
        done = client.put(f"/v2/{name}/manifests/{reference}", data, headers=[("Content-Type", kind)])
        assert done.status == 201 and done["Docker-Content-Digest"] == digest(data)
    head = client.head(f"/v2/{name}/manifests/latest?ns=registry.example", headers=CONTAINERD_ACCEPT)
    assert (head["Docker-Content-Digest"], head["Content-Length"]) == (digest(top), str(len(top)))
    assert head["Content-Type"] == content.INDEX
    encoded = [("Accept-Encoding", "zstd, gzip, deflate")]
    for value, data in ((digest(top), top), (digest(child), child)):
        got = client.get(f"/v2/{name}/manifests/{value}?ns=registry.example", headers=encoded + CONTAINERD_ACCEPT)
        assert got.body == data
    got = client.get(f"/v2/{name}/blobs/{digest(layer)}?ns=registry.example", headers=encoded)
    assert got.body == layer
    # given a blob's digest it tries manifests first, then blobs
    assert client.head(f"/v2/{name}/manifests/{digest(layer)}", headers=CONTAINERD_ACCEPT).status == 404
    assert client.head(f"/v2/{name}/blobs/{digest(layer)}", headers=CONTAINERD_ACCEPT).status == 200


@pytest.mark.spec("CLI-03", "UPL-28", "UPL-37", "BLOB-06", "ROUTE-06", "MGET-07", "DEL-08")
def test_containers_image(client, name):
    """podman, buildah, skopeo: mount tried and cancelled, PATCH, PUT, untyped manifest, signatures."""
    layer, config = fresh(50000), compact({"architecture": "amd64", "os": "linux", "x": fresh().hex()})
    for data in (layer, config):
        assert client.head(f"/v2/{name}/blobs/{digest(data)}").status == 404
        start = client.post(f"/v2/{name}/blobs/uploads/?from=other%2Fplace&mount={digest(data)}")
        assert start.status == 202
        assert client.delete(start["Location"]).status == 204
        start = client.post(f"/v2/{name}/blobs/uploads/")
        assert start.status == 202
        sent = client.patch(start["Location"], [data], chunked=True,
                            headers=[("Content-Type", "application/octet-stream")])
        assert sent.status == 202
        assert client.put(with_digest(sent["Location"], digest(data))).status == 201
    body = compact(image(config, [layer]))
    assert client.put(f"/v2/{name}/manifests/latest", body).status == 201  # Content-Type absent
    got = client.get(f"/v2/{name}/manifests/latest", headers=[("Accept", kind) for kind in content.ALL_TYPES])
    assert got["Content-Type"] == content.IMAGE and got.body == body
    signature = client.get(f"/v2/{name}/manifests/{digest(body).replace(':', '-')}.sig")
    assert (signature.status, signature.code) == (404, "MANIFEST_UNKNOWN")
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["latest"]
    partial = client.get(f"/v2/{name}/blobs/{digest(layer)}", headers=[("Range", "bytes=0-9,100-109,500-509")])
    assert partial.status == 206 and partial["Content-Type"].startswith("multipart/byteranges")
    assert client.delete(f"/v2/{name}/manifests/{got['Docker-Content-Digest']}").status == 202


@pytest.mark.spec("CLI-04", "HTTP-03", "UPL-35", "MPUT-22", "REF-02", "PING-01")
def test_crane(client, name):
    """go-containerregistry: ping, HEAD, POST with mount, from, origin and a JSON type, PATCH, PUT."""
    assert client.get("/v2/", headers=GGCR).status == 200
    layer, config = fresh(50000), compact({"architecture": "amd64", "os": "linux", "x": fresh().hex()})
    for data in (layer, config):
        assert client.head(f"/v2/{name}/blobs/{digest(data)}", headers=GGCR).status == 404
        query = f"from=base%2Fimage&mount={digest(data).replace(':', '%3A')}&origin=registry.example"
        start = client.post(f"/v2/{name}/blobs/uploads/?{query}",
                            headers=GGCR + [("Content-Type", "application/json")])
        assert start.status == 202 and start["Location"].startswith(f"/v2/{name}/")
        sent = client.patch(start["Location"], data, headers=GGCR)
        assert sent.status == 202
        assert client.put(with_digest(sent["Location"], digest(data).replace(":", "%3A")), headers=GGCR).status == 201
    body = compact(image(config, [layer]))
    value = digest(body)
    assert client.head(f"/v2/{name}/manifests/latest", headers=GGCR).status == 404
    assert client.put(f"/v2/{name}/manifests/latest", body,
                      headers=GGCR + [("Content-Type", content.IMAGE)]).status == 201
    head = client.head(f"/v2/{name}/manifests/latest", headers=GGCR)
    assert (head["Content-Type"], head["Content-Length"], head["Docker-Content-Digest"]) == \
        (content.IMAGE, str(len(body)), value)
    # attach: a manifest with a subject, then OCI-Subject and the referrers
    content.push_blob(client, name, b"{}")
    about = compact(artifact(value))
    put = client.put(f"/v2/{name}/manifests/{digest(about)}", about, headers=GGCR + [("Content-Type", content.IMAGE)])
    assert put.status == 201 and put["OCI-Subject"] == value
    listed = client.get(f"/v2/{name}/referrers/{value}", headers=GGCR)
    assert [entry["digest"] for entry in listed.json()["manifests"]] == [digest(about)]


@pytest.mark.spec("CLI-05", "REF-01", "REF-02", "REF-05", "UPL-17", "UPL-19")
def test_oras(client, name):
    """POST, PUT with body; referrers probed with zeroes; attach; discover with a filter."""
    probe = client.get(f"/v2/{name}/referrers/{content.ZERO}")
    assert probe.status == 200 and probe["Content-Type"] == content.INDEX
    files = [fresh(), fresh()]
    for data in (b"{}", *files):
        start = client.post(f"/v2/{name}/blobs/uploads/")
        assert start.status == 202
        done = client.put(with_digest(start["Location"], digest(data).replace(":", "%3A")), data,
                          headers=[("Content-Type", "application/octet-stream")])
        assert done.status == 201
    body = compact({**artifact(artifact_type="application/vnd.acme.rocket.config"),
                    "layers": [{**content.descriptor(data, "text/plain"),
                                "annotations": {"org.opencontainers.image.title": f"{number}.txt"}}
                               for number, data in enumerate(files)]})
    done = client.put(f"/v2/{name}/manifests/{digest(body)}", body, headers=[("Content-Type", content.IMAGE)])
    assert done.status == 201
    assert client.put(f"/v2/{name}/manifests/v1", body, headers=[("Content-Type", content.IMAGE)]).status == 201
    head = client.head(f"/v2/{name}/manifests/v1", headers=[("Accept", ", ".join(content.ALL_TYPES))])
    assert head["Docker-Content-Digest"] == digest(body)
    assert head["Content-Type"] == content.IMAGE and head["Content-Length"] == str(len(body))
    for kind in ("application/vnd.sig", "application/vnd.sbom+json"):
        about = compact(artifact(digest(body), kind))
        done = client.put(f"/v2/{name}/manifests/{digest(about)}", about, headers=[("Content-Type", content.IMAGE)])
        assert done.status == 201 and done["OCI-Subject"] == digest(body)
    found = client.get(f"/v2/{name}/referrers/{digest(body)}?artifactType=application%2Fvnd.sbom%2Bjson")
    assert found["OCI-Filters-Applied"] == "artifactType"
    assert [entry["artifactType"] for entry in found.json()["manifests"]] == ["application/vnd.sbom+json"]
    data = client.get(f"/v2/{name}/blobs/{digest(files[0])}")
    assert data["Accept-Ranges"] == "bytes" and data.body == files[0]


@pytest.mark.spec("CLI-05", "MPUT-07", "MPUT-12", "NAME-02")
def test_helm(client, name):
    """A chart with provenance: its own types, no mediaType field, a plus that became an underscore."""
    config = compact({"name": "chart", "version": "1.0.0+build", "x": fresh().hex()})
    chart, provenance = fresh(5000), fresh(500)
    parts = [(config, "application/vnd.cncf.helm.config.v1+json"),
             (chart, "application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
             (provenance, "application/vnd.cncf.helm.chart.provenance.v1.prov")]
    for data, _ in parts:
        assert client.head(f"/v2/{name}/blobs/{digest(data)}").status == 404
        start = client.post(f"/v2/{name}/blobs/uploads/")
        assert client.put(with_digest(start["Location"], digest(data)), data).status == 201
    body = compact({"schemaVersion": 2, "config": content.descriptor(*parts[0]),
                    "layers": [content.descriptor(*part) for part in parts[1:]],
                    "annotations": {"org.opencontainers.image.title": "chart"}})
    done = client.put(f"/v2/{name}/manifests/1.0.0_build", body, headers=[("Content-Type", content.IMAGE)])
    assert done.status == 201
    head = client.head(f"/v2/{name}/manifests/1.0.0_build")
    assert head["Content-Type"] == content.IMAGE and head["Docker-Content-Digest"] == digest(body)
    assert client.get(f"/v2/{name}/manifests/{digest(body)}").body == body
    for data, _ in parts:
        assert client.get(f"/v2/{name}/blobs/{digest(data)}").body == data
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["1.0.0_build"]


@pytest.mark.spec("CLI-06", "MGET-07", "REF-07", "ROUTE-06")
def test_cosign(client, name):
    """Signature tags with many annotations a layer, and bundles as referrers, the last one counts."""
    value, _, _ = content.push_image(client, name)
    for suffix in ("sig", "att", "sbom"):
        tag = f"{value.replace(':', '-')}.{suffix}"
        missing = client.get(f"/v2/{name}/manifests/{tag}", headers=GGCR)
        assert (missing.status, missing.code) == (404, "MANIFEST_UNKNOWN")
        config, payload = compact({"architecture": "", "x": fresh().hex()}), fresh(400)
        for data in (config, payload):
            content.push_blob(client, name, data)
        annotations = {f"dev.cosignproject.cosign/{number}": "x" * 500 for number in range(40)}
        layer = {**content.descriptor(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
                 "annotations": annotations}
        body = compact({**image(config), "layers": [layer]})
        assert content.put_manifest(client, name, tag, body).status == 201
        got = client.get(f"/v2/{name}/manifests/{tag}", headers=GGCR)
        assert got.body == body and got.json()["layers"][0]["annotations"] == annotations
    content.push_blob(client, name, b"{}")
    bundles = [content.push_manifest(client, name, digest(body), body) for body in (
        compact(artifact(value, "application/vnd.dev.sigstore.bundle.v0.3+json", annotations={"n": str(number)}))
        for number in range(3))]
    listed = client.get(f"/v2/{name}/referrers/{value}").json()["manifests"]
    assert [entry["digest"] for entry in listed] == bundles
    assert listed[-1]["digest"] == bundles[-1]


@pytest.mark.spec("CLI-07", "MPUT-16", "MPUT-11")
def test_buildkit(client, name):
    """An image index with an attestation, and a cache index over blobs."""
    layer, config = fresh(), compact({"architecture": "amd64", "os": "linux", "x": fresh().hex()})
    statement, empty = compact({"_type": "https://in-toto.io/Statement/v0.1", "x": fresh().hex()}), compact(
        {"architecture": "unknown", "os": "unknown", "x": fresh().hex()})
    for data in (layer, config, statement, empty):
        content.push_blob(client, name, data)
    main = compact(image(config, [layer]))
    attestation = compact(image(empty, [statement], layer_type="application/vnd.in-toto+json"))
    for data in (main, attestation):
        assert content.put_manifest(client, name, digest(data), data).status == 201
    top = compact(index([
        {**content.descriptor(main, content.IMAGE), "platform": {"architecture": "amd64", "os": "linux"}},
        {**content.descriptor(attestation, content.IMAGE),
         "annotations": {"vnd.docker.reference.digest": digest(main),
                         "vnd.docker.reference.type": "attestation-manifest"},
         "platform": {"architecture": "unknown", "os": "unknown"}}]))
    assert content.put_manifest(client, name, "latest", top, content.INDEX).status == 201
    cache_config = compact({"layers": [{"blob": digest(layer), "parent": -1}], "records": [], "x": fresh().hex()})
    content.push_blob(client, name, cache_config)
    cache = compact(index([content.descriptor(layer, content.LAYER_GZIP),
                           content.descriptor(cache_config, "application/vnd.buildkit.cacheconfig.v0")]))
    assert content.put_manifest(client, name, "cache", cache, content.INDEX).status == 201
    assert client.get(f"/v2/{name}/manifests/cache").body == cache
    assert content.verify(client, name, "latest") == 7
