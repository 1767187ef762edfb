"""test_delete.py - end-9, end-10: what goes, what stays, what comes back (section 13)."""
import json

import pytest

from support import content
from support.content import compact, digest, fresh, image, index, push_blob, push_image, push_manifest, put_manifest


def gone(response, code):
    assert (response.status, response.code) == (404, code), response


@pytest.mark.spec("DEL-01", "DEL-04", "DEL-08")
def test_delete_a_tag(client, name):
    value, data, _ = push_image(client, name, "one")
    assert put_manifest(client, name, "two", data).status == 201
    assert client.get(f"/v2/{name}/manifests/one").body == data  # memory has it now
    response = client.delete(f"/v2/{name}/manifests/one")
    assert (response.status, response.body) == (202, b"")
    gone(client.get(f"/v2/{name}/manifests/one"), "MANIFEST_UNKNOWN")
    assert client.head(f"/v2/{name}/manifests/one").status == 404
    assert client.get(f"/v2/{name}/manifests/two").body == data
    assert client.get(f"/v2/{name}/manifests/{value}").body == data
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["two"]
    gone(client.delete(f"/v2/{name}/manifests/one"), "MANIFEST_UNKNOWN")
    gone(client.delete(f"/v2/{name}/manifests/never"), "MANIFEST_UNKNOWN")


@pytest.mark.spec("DEL-02", "DEL-04", "DEL-08", "CLI-03")
def test_delete_a_manifest_takes_its_tags(client, name):
    value, data, _ = push_image(client, name, "one")
    put_manifest(client, name, "two", data)
    other, _, _ = push_image(client, name, "other")
    # podman's way: GET, then DELETE by the digest answered
    asked = client.get(f"/v2/{name}/manifests/one")["Docker-Content-Digest"]
    response = client.delete(f"/v2/{name}/manifests/{asked}")
    assert (response.status, response.body) == (202, b"")
    for reference in (value, "one", "two"):
        gone(client.get(f"/v2/{name}/manifests/{reference}"), "MANIFEST_UNKNOWN")
        assert client.head(f"/v2/{name}/manifests/{reference}").status == 404
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["other"]
    assert client.get(f"/v2/{name}/manifests/{other}").status == 200
    gone(client.delete(f"/v2/{name}/manifests/{value}"), "MANIFEST_UNKNOWN")
    gone(client.delete(f"/v2/{name}/manifests/{content.ZERO}"), "MANIFEST_UNKNOWN")


@pytest.mark.spec("DEL-03", "DEL-04", "DEL-08", "DEL-09")
def test_delete_a_blob(client, name):
    data = fresh()
    value = push_blob(client, f"{name}/a", data)
    push_blob(client, f"{name}/b", data)
    response = client.delete(f"/v2/{name}/a/blobs/{value}")
    assert (response.status, response.body) == (202, b"")
    gone(client.get(f"/v2/{name}/a/blobs/{value}"), "BLOB_UNKNOWN")
    assert client.head(f"/v2/{name}/a/blobs/{value}").status == 404
    assert client.get(f"/v2/{name}/b/blobs/{value}").body == data
    gone(client.delete(f"/v2/{name}/a/blobs/{value}"), "BLOB_UNKNOWN")
    gone(client.delete(f"/v2/{name}/a/blobs/{content.ZERO}"), "BLOB_UNKNOWN")


@pytest.mark.spec("DEL-07")
def test_pushing_again_after_deletion(client, name):
    value, data, layers = push_image(client, name)
    for _ in range(3):
        for path in (f"manifests/{value}", f"blobs/{digest(layers[0])}"):
            assert client.delete(f"/v2/{name}/{path}").status == 202
            assert client.get(f"/v2/{name}/{path}").status == 404
        assert put_manifest(client, name, "latest", data).status == 400  # its layer is missing
        push_blob(client, name, layers[0])
        assert put_manifest(client, name, "latest", data).status == 201
        assert client.get(f"/v2/{name}/manifests/latest").body == data
        assert client.get(f"/v2/{name}/manifests/{value}").body == data
        assert client.get(f"/v2/{name}/blobs/{digest(layers[0])}").body == layers[0]


@pytest.mark.spec("DEL-09", "MGET-05")
def test_deleting_here_leaves_the_same_manifest_there(client, name):
    value, data, layers = push_image(client, f"{name}/a")
    for layer in (*layers, client.get(f"/v2/{name}/a/blobs/{_config(data)}").body):
        push_blob(client, f"{name}/b", layer)
    assert put_manifest(client, f"{name}/b", "latest", data).status == 201
    assert client.delete(f"/v2/{name}/a/manifests/{value}").status == 202
    assert client.get(f"/v2/{name}/b/manifests/latest").body == data
    assert content.verify(client, f"{name}/b", "latest") == 3


def _config(data):
    return json.loads(data)["config"]["digest"]


@pytest.mark.spec("DEL-06")
def test_referenced_content_may_go_by_default(client, name):
    _, _, layers = push_image(client, name)
    assert client.delete(f"/v2/{name}/blobs/{digest(layers[0])}").status == 202
    push_blob(client, name, b"{}")
    child = compact(image())
    push_manifest(client, name, "child", child)
    push_manifest(client, name, "top", index([content.descriptor(child, content.IMAGE)]), content.INDEX)
    assert client.delete(f"/v2/{name}/manifests/{digest(child)}").status == 202
    assert client.get(f"/v2/{name}/manifests/top").status == 200


@pytest.mark.spec("DEL-06")
def test_referenced_blobs_can_be_protected(make_server, name):
    server = make_server({"delete.protect_referenced": "true"})
    client = server.client()
    value, _, layers = push_image(client, name)
    loose = push_blob(client, name, fresh())
    path = f"/v2/{name}/blobs/{digest(layers[0])}"
    response = client.delete(path)
    assert (response.status, response.code) == (405, "UNSUPPORTED")
    assert client.get(path).body == layers[0]
    assert client.delete(f"/v2/{name}/blobs/{loose}").status == 202
    assert client.delete(f"/v2/{name}/manifests/{value}").status == 202
    assert client.delete(path).status == 202
    client.close()


@pytest.mark.spec("DEL-05")
@pytest.mark.parametrize("off", ["tags", "manifests", "blobs"])
def test_deletion_can_be_switched_off(make_server, name, off):
    server = make_server({f"delete.{off}": "false"})
    client = server.client()
    value, data, layers = push_image(client, name)
    paths = {"tags": f"/v2/{name}/manifests/latest", "blobs": f"/v2/{name}/blobs/{digest(layers[0])}",
             "manifests": f"/v2/{name}/manifests/{value}"}
    response = client.delete(paths.pop(off))
    assert (response.status, response.code) == (405, "UNSUPPORTED")
    assert client.get(f"/v2/{name}/manifests/latest").body == data
    assert client.get(f"/v2/{name}/blobs/{digest(layers[0])}").body == layers[0]
    for path in paths.values():
        assert client.delete(path).status == 202
    client.close()


@pytest.mark.spec("DEL-05")
def test_deletion_switched_off_for_all_alike(make_server, name):
    server = make_server({f"delete.{kind}": "false" for kind in ("tags", "manifests", "blobs")})
    client = server.client()
    value, _, layers = push_image(client, name)
    for path in ("manifests/latest", f"manifests/{value}", f"blobs/{digest(layers[0])}"):
        response = client.delete(f"/v2/{name}/{path}")
        assert (response.status, response.code) == (405, "UNSUPPORTED")
        assert client.get(f"/v2/{name}/{path}").status == 200
    where = content.start_upload(client, name)
    assert client.delete(where).status == 204  # cancelling is not deleting (UPL-28)
    client.close()
