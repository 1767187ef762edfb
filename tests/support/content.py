"""content.py - digests, manifests and the request sequences most tests are made of.

Touches  a wire.Client it is given.
Never    asserts more than the status a step needs; what a test proves stands in the test.
"""
import hashlib
import json
import os

IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ALL_TYPES = (IMAGE, INDEX, DOCKER_IMAGE, DOCKER_LIST)

SHA256_NOTHING = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
SHA512_NOTHING = ("sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
                  "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e")
SHA256_BRACES = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
ZERO = "sha256:" + "0" * 64


def digest(data, algorithm="sha256"):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def fresh(size=64):
    """Bytes no other test pushes."""
    return os.urandom(size)


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def descriptor(data, media_type=LAYER, **more):
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def image(config=b"{}", layers=(), media_type=IMAGE, config_type=CONFIG, layer_type=LAYER, **more):
    value = {"schemaVersion": 2, "mediaType": media_type,
             "config": descriptor(config, config_type),
             "layers": [descriptor(layer, layer_type) for layer in layers], **more}
    return {key: item for key, item in value.items() if item is not None}


def index(children=(), media_type=INDEX, **more):
    """children: descriptors."""
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": list(children), **more}


def start_upload(client, name, query=""):
    """The session's path."""
    response = client.post(f"/v2/{name}/blobs/uploads/{query}")
    assert response.status == 202, response
    return response["Location"]


def with_digest(location, value):
    return f"{location}{'&' if '?' in location else '?'}digest={value}"


def push_blob(client, name, data, algorithm="sha256"):
    """POST and one PUT; the digest."""
    value = digest(data, algorithm)
    response = client.put(with_digest(start_upload(client, name), value), data,
                          headers=[("Content-Type", "application/octet-stream")])
    assert response.status == 201, response
    return value


def put_manifest(client, name, reference, body, media_type=IMAGE, **more):
    """body: bytes, or a value written compactly. media_type None sends no Content-Type."""
    data = body if isinstance(body, bytes) else compact(body)
    headers = list(more.pop("headers", ()))
    if media_type:
        headers.append(("Content-Type", media_type))
    return client.put(f"/v2/{name}/manifests/{reference}", data, headers=headers, **more)


def push_manifest(client, name, reference, body, media_type=IMAGE):
    """The digest."""
    data = body if isinstance(body, bytes) else compact(body)
    response = put_manifest(client, name, reference, data, media_type)
    assert response.status == 201, response
    return response["Docker-Content-Digest"]


def push_image(client, name, reference="latest", layers=None, **more):
    """Blobs and manifest: (digest, manifest bytes, layers)."""
    layers = [fresh()] if layers is None else layers
    config = compact({"architecture": "amd64", "os": "linux", "unique": os.urandom(8).hex(),
                      "rootfs": {"type": "layers", "diff_ids": [digest(x) for x in layers]}})
    for data in {*layers, config}:
        push_blob(client, name, data)
    data = compact(image(config, layers, **more))
    value = push_manifest(client, name, reference if reference else digest(data), data,
                          more.get("media_type", IMAGE))
    return value, data, layers


def push_subject_free(client, name):
    """A repository that holds only the blob {}."""
    return push_blob(client, name, b"{}")


def artifact(subject=None, artifact_type="application/vnd.example.sbom.v1", **more):
    """An image manifest about a subject: config and layer are {}."""
    value = {"schemaVersion": 2, "mediaType": IMAGE, "artifactType": artifact_type,
             "config": descriptor(b"{}", EMPTY), "layers": [descriptor(b"{}", EMPTY)], **more}
    if subject:
        value["subject"] = {"mediaType": IMAGE, "digest": subject, "size": 1}
    return {key: item for key, item in value.items() if item is not None}


def verify(client, name, reference):
    """Pulls everything below a reference and checks every byte; the number of objects read."""
    response = client.get(f"/v2/{name}/manifests/{reference}")
    assert response.status == 200, response
    value = response["Docker-Content-Digest"]
    assert digest(response.body, value.split(":")[0]) == value
    document, count = response.json(), 1
    for child in document.get("manifests") or ():
        count += verify(client, name, child["digest"])
    parts = [document["config"], *(document.get("layers") or ())] if "config" in document else []
    for item in parts:
        blob = client.get(f"/v2/{name}/blobs/{item['digest']}")
        assert blob.status == 200 and len(blob.body) == item["size"], blob
        assert digest(blob.body) == item["digest"]
        count += 1
    return count
