"""test_routing.py - names, tags, digests, routes (sections 2 and 3), row by row."""
import pytest

from support import content
from support.content import fresh, push_blob, push_image, put_manifest, start_upload

GOOD_NAMES = ["a", "0", "a__b", "a--b", "a---b", "a.b", "a-b", "a_b", "a/b", "a0/b1/c2", "a.b/c__d/e-f",
              "x" * 255, "a/" + "b" * 253, "/".join(["a"] * 128)]
BAD_NAMES = ["a___b", "a..b", "a._b", "a_.b", "a-.b", "-a", "a-", "a_", ".a", "a.", "A", "aB", "_a",
             "a/", "a//b", "a/-b", "a/B", "%C3%A9", "a%20b", "a:b", "a@b", "a+b", "x" * 256]


@pytest.mark.spec("NAME-01", "NAME-11", "NAME-10", "UPL-02")
@pytest.mark.parametrize("good", GOOD_NAMES, ids=lambda value: value[:20] + str(len(value)))
def test_good_names_push_and_pull(client, good):
    _, data, layers = push_image(client, good)
    assert client.get(f"/v2/{good}/manifests/latest").body == data
    assert client.get(f"/v2/{good}/blobs/{content.digest(layers[0])}").body == layers[0]
    assert client.get(f"/v2/{good}/tags/list").json() == {"name": good, "tags": ["latest"]}


@pytest.mark.spec("NAME-01", "NAME-11", "NAME-10", "ROUTE-03")
@pytest.mark.parametrize("bad", BAD_NAMES, ids=lambda value: value[:20] + str(len(value)))
def test_bad_names_are_404_to_readers_and_400_to_writers(client, bad):
    zero = content.ZERO
    for path in ("manifests/latest", f"manifests/{zero}", f"blobs/{zero}", "tags/list",
                 f"referrers/{zero}"):
        response = client.get(f"/v2/{bad}/{path}")
        assert (response.status, response.code) == (404, "NAME_INVALID"), path
    for method, path in (("POST", "blobs/uploads/"), ("PUT", "manifests/t"),
                         ("DELETE", "manifests/t"), ("DELETE", f"blobs/{zero}")):
        response = client.request(method, f"/v2/{bad}/{path}", b"{}")
        assert (response.status, response.code) == (400, "NAME_INVALID"), (method, path)


@pytest.mark.spec("ROUTE-01", "NAME-14", "NAME-09")
@pytest.mark.parametrize("odd", ["blobs", "a/manifests", "a/blobs/uploads", "tags/list/x", "v2/v2",
                                 "uploads", "referrers", "a/tags/list", "manifests/manifests",
                                 "blobs/uploads", "list", "a/referrers/b", "a/blobs", "tags/list"])
def test_route_words_are_legal_in_names(client, odd):
    _, data, layers = push_image(client, odd)
    assert client.get(f"/v2/{odd}/manifests/latest").body == data
    assert client.get(f"/v2/{odd}/blobs/{content.digest(layers[0])}").body == layers[0]
    assert client.get(f"/v2/{odd}/tags/list").json() == {"name": odd, "tags": ["latest"]}
    assert client.get(f"/v2/{odd}/referrers/{content.ZERO}").status == 200
    where = start_upload(client, odd)
    assert where.startswith(f"/v2/{odd}/blobs/uploads/")
    assert client.get(where).status == 204
    assert client.delete(where).status == 204
    assert client.delete(f"/v2/{odd}/manifests/latest").status == 202


@pytest.mark.spec("ROUTE-02")
def test_checks_come_in_order(client):
    # method before name
    response = client.delete("/v2/BAD/tags/list")
    assert response.status == 405
    # name before digest
    response = client.get("/v2/BAD/blobs/sha256:zz")
    assert (response.status, response.code) == (404, "NAME_INVALID")
    # digest before existence
    response = client.get("/v2/never/pushed/blobs/sha256:zz")
    assert (response.status, response.code) == (400, "DIGEST_INVALID")
    # tag before body
    response = put_manifest(client, "never/pushed", ".bad", b"nonsense")
    assert (response.status, response.code) == (400, "MANIFEST_INVALID")


GOOD_TAGS = ["a", "_", "0", "A", "latest", "_a.b-c_D", "x" * 128, "v1.0.0_build", "a..b", "a--", "1.2.3-"]
BAD_TAGS = [".bad", "-bad", "x" * 129, "a+b", "a%20b", "%C3%A9", "a@b", "a~b"]


@pytest.mark.spec("NAME-02")
def test_good_tags_push_and_pull_and_keep_their_case(client, name):
    _, data, _ = push_image(client, name, "seed")
    for tag in GOOD_TAGS:
        response = put_manifest(client, name, tag, data)
        assert response.status == 201, tag
        assert client.get(f"/v2/{name}/manifests/{tag}").body == data
    assert client.get(f"/v2/{name}/manifests/LATEST").status == 404
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == sorted([*GOOD_TAGS, "seed"])


@pytest.mark.spec("NAME-02", "ROUTE-04")
@pytest.mark.parametrize("bad", BAD_TAGS, ids=lambda value: value[:12])
def test_bad_tags(client, name, bad):
    _, data, _ = push_image(client, name)
    path = f"/v2/{name}/manifests/{bad}"
    for method in ("GET", "DELETE"):
        response = client.request(method, path)
        assert (response.status, response.code) == (404, "MANIFEST_UNKNOWN")
    assert client.head(path).status == 404
    response = put_manifest(client, name, bad, data)
    assert (response.status, response.code) == (400, "MANIFEST_INVALID")
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["latest"]


@pytest.mark.spec("HTTP-11", "NAME-02")
@pytest.mark.parametrize("bad", ["a%2Fb", "a%00b", "a%0ab"])
def test_coded_slashes_and_control_characters_are_in_no_tag(client, name, bad):
    _, data, _ = push_image(client, name)
    for method in ("GET", "HEAD", "DELETE"):
        assert client.request(method, f"/v2/{name}/manifests/{bad}").status in (400, 404)
    assert put_manifest(client, name, bad, data).status in (400, 404)
    assert client.get(f"/v2/{name}/tags/list").json()["tags"] == ["latest"]


HEX64, HEX128 = "0123456789abcdef" * 4, "0123456789abcdef" * 8
BAD_DIGESTS = ["sha256:xyz", "sha256:", "sha256:" + "a" * 63, "sha256:" + "a" * 65,
               "sha256:" + "A" * 64, "sha256:" + "g" * 64, "SHA256:" + "a" * 64,
               "sha512:" + "a" * 64, "sha512:" + "A" * 128, "sha512:" + "a" * 127,
               ":" + "a" * 64, "sha256:" + "a" * 64 + ":x", "sha256%3Azz"]


@pytest.mark.spec("NAME-03", "NAME-04", "NAME-05", "NAME-12", "NAME-15", "ROUTE-05")
@pytest.mark.parametrize("bad", BAD_DIGESTS, ids=lambda value: value[:20])
def test_malformed_digests(client, name, bad):
    push_image(client, name)
    for method, path in (("GET", "manifests"), ("PUT", "manifests"), ("GET", "blobs"),
                         ("DELETE", "blobs"), ("GET", "referrers")):
        response = client.request(method, f"/v2/{name}/{path}/{bad}",
                                  content.compact(content.image()) if method == "PUT" else None,
                                  [("Content-Type", content.IMAGE)] if method == "PUT" else ())
        assert (response.status, response.code) == (400, "DIGEST_INVALID"), (method, path)
    assert client.head(f"/v2/{name}/blobs/{bad}").status == 400
    assert client.head(f"/v2/{name}/manifests/{bad}").status in (400, 404)


@pytest.mark.spec("NAME-04", "NAME-05", "NAME-12")
@pytest.mark.parametrize("good", ["sha256:" + HEX64, "sha512:" + HEX128], ids=["sha256", "sha512"])
def test_wellformed_unknown_digests(client, name, good):
    push_image(client, name)
    assert client.get(f"/v2/{name}/manifests/{good}").code == "MANIFEST_UNKNOWN"
    assert client.get(f"/v2/{name}/blobs/{good}").code == "BLOB_UNKNOWN"
    assert client.get(f"/v2/{name}/referrers/{good}").status == 200


@pytest.mark.spec("NAME-13")
@pytest.mark.parametrize("algorithm", ["blake3", "sha384", "md5", "sha3-256", "x+y.z_w-v"])
def test_unsupported_algorithms_are_client_errors(client, name, algorithm):
    value = f"{algorithm}:{'a' * 64}"
    push_image(client, name)
    for path in ("manifests", "blobs"):
        assert client.get(f"/v2/{name}/{path}/{value}").status in (400, 404)
    response = put_manifest(client, name, value, content.image())
    assert (response.status, response.code) == (400, "DIGEST_INVALID")
    where = start_upload(client, name)
    response = client.put(f"{where}?digest={value.replace('+', '%2B')}", b"data")
    assert (response.status, response.code) == (400, "DIGEST_INVALID")
    assert client.get(where).status == 204  # the session stays
    response = client.post(f"/v2/{name}/blobs/uploads/?digest={value.replace('+', '%2B')}", b"data")
    assert (response.status, response.code) == (400, "DIGEST_INVALID")


@pytest.mark.spec("NAME-06", "MPUT-13")
@pytest.mark.parametrize("kind, status", [
    ("a/b", 201), ("A0!#$&^_.+-/0", 201), (f"{'x' * 127}/{'y' * 127}", 201), ("application/vnd.x+json", 201),
    ("", 400), ("a", 400), ("a/", 400), ("/b", 400), ("a/b; charset=utf-8", 400), ("a b/c", 400),
    ("a/b/c", 400), (".a/b", 400), ("a/+b", 400), (f"{'x' * 128}/y", 400), (f"y/{'x' * 128}", 400), ("é/b", 400)],
    ids=range(16))
def test_media_types_of_descriptors(client, name, kind, status):
    push_blob(client, name, b"{}")
    response = put_manifest(client, name, "t", content.image(config_type=kind))
    assert response.status == status
    if status == 400:
        assert response.code == "MANIFEST_INVALID"


@pytest.mark.spec("NAME-08", "UPL-03")
def test_upload_ids_are_random(client, name):
    ids = {start_upload(client, name).rsplit("/", 1)[1] for _ in range(50)}
    assert len(ids) == 50
    for value in ids:
        assert len(value) == 36 and value == value.lower() and set(value) <= set("0123456789abcdef-")
    columns = list(zip(*(value.replace("-", "") for value in ids)))
    varying = sum(1 for column in columns if len(set(column)) > 4)
    assert varying >= 30, "122 random bits are 30 hex digits and a half"


@pytest.mark.spec("ROUTE-06")
def test_a_repository_that_does_not_exist(client, name):
    zero = content.ZERO
    expected = [("GET", f"blobs/{zero}", 404, "BLOB_UNKNOWN"),
                ("GET", "manifests/latest", 404, "MANIFEST_UNKNOWN"),
                ("GET", f"manifests/{zero}", 404, "MANIFEST_UNKNOWN"),
                ("GET", "tags/list", 404, "NAME_UNKNOWN"),
                ("DELETE", "manifests/latest", 404, "MANIFEST_UNKNOWN"),
                ("DELETE", f"manifests/{zero}", 404, "MANIFEST_UNKNOWN"),
                ("DELETE", f"blobs/{zero}", 404, "BLOB_UNKNOWN")]
    for method, path, status, code in expected:
        response = client.request(method, f"/v2/{name}/{path}")
        assert (response.status, response.code) == (status, code), path
    response = client.get(f"/v2/{name}/referrers/{zero}")
    assert response.status == 200 and response.json()["manifests"] == []
    assert client.head(f"/v2/{name}/blobs/{zero}").status == 404
    # asking made nothing
    assert client.get(f"/v2/{name}/tags/list").status == 404


@pytest.mark.spec("UPL-02")
def test_pushing_makes_repositories(client, name):
    push_blob(client, f"{name}/deep/er", fresh())
    assert client.get(f"/v2/{name}/deep/er/tags/list").json()["tags"] == []
