"""test_base.py - end-1, and what holds for every answer of the API (section 1 of the list)."""
import json
import re

import pytest

from support import content
from support.content import fresh, push_blob, push_image, put_manifest, start_upload, with_digest


@pytest.mark.spec("PING-01", "CLI-04")
def test_base_answers_an_empty_object(client):
    response = client.get("/v2/")
    assert response.status == 200
    assert response.body == b"{}"
    assert response["Content-Length"] == "2"
    assert response["Content-Type"].split(";")[0] == "application/json"


@pytest.mark.spec("PING-01", "HTTP-07")
def test_base_head_is_get_without_a_body(client):
    get, head = client.get("/v2/"), client.head("/v2/")
    assert (head.status, head.body) == (200, b"")
    assert head["Content-Length"] == "2" and head["Content-Type"] == get["Content-Type"]


@pytest.mark.spec("HTTP-14")
def test_base_without_slash_is_served_or_redirected(client):
    response = client.get("/v2")
    assert response.status in (200, 301)
    assert response.status == 200 or response["Location"] == "/v2/"


@pytest.mark.spec("HTTP-15", "HTTP-25", "HTTP-23")
@pytest.mark.parametrize("path, status", [
    ("/v2/", 200), ("/v2/none/tags/list", 404), ("/v2/no/such/route", 404),
    ("/v2/x/blobs/sha256:zz", 400), ("/v2/_nothing", 404)])
def test_every_answer_carries_version_request_id_and_nosniff(client, path, status):
    seen = set()
    for _ in range(3):
        response = client.get(path, headers=[("Docker-Distribution-API-Version", "nonsense")])
        assert response.status == status
        assert response["Docker-Distribution-API-Version"] == "registry/2.0"
        assert response["X-Content-Type-Options"] == "nosniff"
        seen.add(response["X-Request-Id"])
    assert len(seen) == 3


@pytest.mark.spec("HTTP-25")
def test_request_id_stands_in_the_log(make_server):
    server = make_server()
    client = server.client()
    request_id = client.get("/v2/none/tags/list")["X-Request-Id"]
    client.close()
    server.stop()
    lines = [line for line in server.log.read_text().splitlines() if request_id in line]
    assert any("404" in line for line in lines), server.tail()


@pytest.mark.spec("HTTP-01")
def test_header_names_are_caseless_and_unknown_things_ignored(client, name):
    value = push_blob(client, name, b"0123456789" + fresh())
    path = f"/v2/{name}/blobs/{value}?what=ever&x"
    plain = client.get(path, headers=[("X-What", "ever"), ("RANGE", "bytes=0-3")])
    assert (plain.status, plain.body) == (206, b"0123")
    assert client.get(path, headers=[("rAnGe", "bytes=4-5")]).body == b"45"


@pytest.mark.spec("HTTP-01", "HTTP-07")
def test_head_equals_get_for_everything_stored(client, name):
    value, _, layers = push_image(client, name)
    paths = [f"/v2/{name}/manifests/latest", f"/v2/{name}/manifests/{value}",
             f"/v2/{name}/blobs/{content.digest(layers[0])}", f"/v2/{name}/tags/list",
             f"/v2/{name}/referrers/{value}", "/v2/_catalog?n=5"]
    for path in paths:
        get, head = client.get(path), client.head(path)
        assert head.status == get.status == 200, path
        assert head.body == b""
        for header in ("Content-Length", "Content-Type", "Docker-Content-Digest", "ETag",
                       "Cache-Control", "Accept-Ranges"):
            assert head.get(header) == get.get(header), (path, header)
        assert int(head["Content-Length"]) == len(get.body)


@pytest.mark.spec("HTTP-07", "ERR-01")
@pytest.mark.parametrize("path", ["manifests/none", f"blobs/{content.ZERO}"])
def test_head_of_absent_things_has_no_body(client, name, path):
    response = client.head(f"/v2/{name}/{path}")
    assert response.status == 404
    assert response.body == b""
    assert client.get("/v2/").status == 200  # nothing left over on the connection


@pytest.mark.spec("HTTP-02")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 70000])
def test_bodies_come_with_length_or_chunked(client, name, chunked, size):
    data = fresh(size)
    value = content.digest(data)
    # PATCH
    where = start_upload(client, name)
    response = client.patch(where, data, chunked=chunked)
    assert response.status == 202
    assert response["Range"] == f"0-{max(size - 1, 0)}"
    assert client.put(with_digest(where, value)).status == 201
    # PUT
    assert client.put(with_digest(start_upload(client, name), value), data,
                      chunked=chunked).status == 201
    # POST with the digest
    assert client.post(f"/v2/{name}/blobs/uploads/?digest={value}", data,
                       chunked=chunked).status == 201
    assert client.get(f"/v2/{name}/blobs/{value}").body == data
    # manifest
    body = content.compact(content.image(data))
    response = put_manifest(client, name, "t", body, chunked=chunked)
    assert response.status == 201
    assert client.get(f"/v2/{name}/manifests/t").body == body


@pytest.mark.spec("HTTP-03", "CLI-04")
@pytest.mark.parametrize("body, headers, chunked", [
    (b"", (), False), (None, (), False), (b"", (), True),
    (b"", (("Content-Type", "application/json"),), False)],
    ids=["zero", "no-length", "empty-chunked", "json-type"])
def test_post_without_body_in_every_spelling(client, name, body, headers, chunked):
    response = client.post(f"/v2/{name}/blobs/uploads/", body, headers=headers, chunked=chunked)
    assert response.status == 202
    assert response["Content-Length"] == "0"
    assert response["Range"] == "0-0"


@pytest.mark.spec("HTTP-14", "CLI-04")
def test_post_without_the_final_slash_is_served(client, name):
    response = client.post(f"/v2/{name}/blobs/uploads")
    assert response.status == 202
    data = fresh()
    value = content.digest(data)
    assert client.put(with_digest(response["Location"], value), data).status == 201
    assert client.post(f"/v2/{name}/blobs/uploads?digest={value}", data).status == 201


@pytest.mark.spec("HTTP-04")
def test_expect_continue_invites_the_body(server, name):
    client, data = server.client(), fresh(1000)
    where = start_upload(client, name)
    with server.connect() as connection:
        connection.send_head("PATCH", where, [("Content-Length", len(data)),
                                              ("Expect", "100-continue")])
        assert connection.read_head().status == 100
        connection.send(data)
        response = connection.response("PATCH")
    assert response.status == 202 and response["Range"] == "0-999"


@pytest.mark.spec("HTTP-04")
@pytest.mark.parametrize("method, path, length, status", [
    ("PATCH", "/v2/{}/blobs/uploads/3f0f5a3e-0000-4000-8000-000000000000", 1000, 404),
    ("PUT", "/v2/{}/manifests/t", 5 << 20, 413),
    ("PATCH", "/v2/BAD/blobs/uploads/x", 1000, 400),
    ("POST", "/v2/{}/tags/list", 1000, 405)])
def test_expect_continue_is_refused_by_the_head_alone(server, name, method, path, length, status):
    """No body byte is ever sent: an invitation, or silence, would leave the client waiting."""
    with server.connect() as connection:
        connection.send_head(method, path.format(name),
                             [("Content-Length", length), ("Expect", "100-continue"),
                              ("Content-Type", content.IMAGE)])
        response = connection.read_head()
    assert response.status == status


@pytest.mark.spec("HTTP-05")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_answer_arrives_though_the_body_is_refused(server, chunked):
    """50 MB towards a session that does not exist: the 404 must be readable."""
    client = server.client()
    path = "/v2/some/name/blobs/uploads/3f0f5a3e-0000-4000-8000-000000000000"
    piece = bytes(1 << 20)
    headers = [] if chunked else [("Content-Length", 50 << 20)]
    response = client.request("PATCH", path, (piece for _ in range(50)), headers, chunked)
    assert response.status == 404
    assert response.code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.spec("HTTP-05", "MPUT-02")
def test_manifest_over_the_limit_is_refused_politely(client, name):
    response = put_manifest(client, name, "t", b" " * (50 << 20))
    assert response.status == 413 and response.code == "SIZE_INVALID"


@pytest.mark.spec("HTTP-06")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_bodies_of_get_head_and_delete_are_read_and_ignored(server, name, chunked):
    client = server.client()
    value, data, _ = push_image(client, name)
    with server.connect() as connection:
        for method in ("GET", "HEAD"):
            response = connection.request(method, f"/v2/{name}/manifests/latest", b"x" * 5000,
                                          chunked=chunked)
            assert response.status == 200
            assert response.body == (data if method == "GET" else b"")
        response = connection.request("DELETE", f"/v2/{name}/manifests/{value}", b"GET / HTTP/1.1",
                                      chunked=chunked)
        assert response.status == 202
        assert connection.request("GET", "/v2/").status == 200  # the same connection, in step


@pytest.mark.spec("HTTP-08", "CLI-02")
def test_accept_encoding_never_encodes(client, name):
    value, data, layers = push_image(client, name, layers=[b"a" * 10000 + fresh()])
    asked = [("Accept-Encoding", "zstd, gzip, deflate")]
    blob = client.get(f"/v2/{name}/blobs/{content.digest(layers[0])}", headers=asked)
    assert blob.body == layers[0] and "Content-Encoding" not in blob
    manifest = client.get(f"/v2/{name}/manifests/{value}", headers=asked)
    assert manifest.body == data and "Content-Encoding" not in manifest


@pytest.mark.spec("HTTP-09", "MGET-03", "CLI-01")
def test_accept_in_many_lines_in_one_or_not_at_all(client, name):
    _, data, _ = push_image(client, name)
    several = [("Accept", kind) for kind in content.ALL_TYPES]
    for headers in ([], several, [("Accept", ", ".join(content.ALL_TYPES))],
                    [("Accept", "application/json"), ("Accept", content.IMAGE)]):
        response = client.get(f"/v2/{name}/manifests/latest", headers=headers)
        assert (response.status, response.body) == (200, data)
        assert response["Content-Type"] == content.IMAGE


@pytest.mark.spec("HTTP-10")
def test_percent_coding_is_undone_once(client, name):
    data = fresh()
    value = push_blob(client, f"{name}/source", data)
    quoted = value.replace(":", "%3A")
    assert client.get(f"/v2/{name}/source/blobs/{quoted}").body == data
    assert client.get(f"/v2/{name}/source/blobs/{value.replace(':', '%3a')}").body == data
    source = f"{name}/source".replace("/", "%2F")
    for number, query in enumerate((f"mount={value}&from={name}/source",
                                    f"mount={quoted}&from={source}")):
        response = client.post(f"/v2/{name}/target{number}/blobs/uploads/?{query}")
        assert response.status == 201, query
    where = start_upload(client, name)
    assert client.put(f"{where}?digest={quoted}", data).status == 201
    last = f"{value[:-1]}%{ord(value[-1]):02x}"
    assert client.get(f"/v2/{name}/source/blobs/{last}").body == data
    # twice coded stays coded once: not a digest
    assert client.get(f"/v2/{name}/source/blobs/{value.replace(':', '%253A')}").status == 400
    # letters may be coded
    assert client.get(f"/v2/{name}/source/%62lobs/{value}").status in (200, 404)


@pytest.mark.spec("HTTP-11")
@pytest.mark.parametrize("path, statuses", [
    ("/v2/a%2Fb/tags/list", (404,)), ("/v2//a/tags/list", (404,)), ("/v2/a//tags/list", (404,)),
    ("/v2/a/../b/tags/list", (404,)), ("/v2/./a/tags/list", (404,)), ("/v2/a%00/tags/list", (400, 404)),
    ("/v2/a%0d%0a/tags/list", (400, 404)), ("/v2/a/manifests/x%00y", (400, 404)),
    ("/v2/%2e%2e/tags/list", (404,)), ("/v2/a/tags/list%zz", (400, 404)), ("/v2/a%/tags/list", (400, 404))])
def test_paths_are_never_normalised(client, path, statuses):
    push_image(client, "a/b")
    push_image(client, "a")
    push_image(client, "b")
    assert client.get(path).status in statuses


@pytest.mark.spec("HTTP-13")
@pytest.mark.parametrize("method, path, allowed", [
    ("POST", "/v2/", "GET"), ("DELETE", "/v2/x/tags/list", "GET"),
    ("PUT", f"/v2/x/blobs/{content.ZERO}", "GET"), ("POST", "/v2/x/manifests/t", "PUT"),
    ("PATCH", "/v2/x/manifests/t", "DELETE"), ("DELETE", "/v2/_catalog", "GET"),
    ("PUT", "/v2/x/blobs/uploads/", "POST"), ("PUT", f"/v2/x/referrers/{content.ZERO}", "GET"),
    ("POST", "/v2/x/blobs/uploads/3f0f5a3e-0000-4000-8000-000000000000", "PATCH")])
def test_wrong_method_is_405_with_allow(client, method, path, allowed):
    response = client.request(method, path, b"")
    assert (response.status, response.code) == (405, "UNSUPPORTED")
    methods = [word.strip() for word in response["Allow"].split(",")]
    assert allowed in methods and method not in methods


@pytest.mark.spec("HTTP-13")
@pytest.mark.parametrize("path", ["/v2/x", "/v2/x/y/z", "/v2/x/blobs", "/v2/x/tags", "/v2/x/tags/",
                                  "/v2/x/tags/list/", "/v2/manifests/latest", "/v2/_catalog/",
                                  "/v2/_none", "/v3/", "/nothing"])
def test_unknown_route_is_404(client, path):
    assert client.get(path).status == 404


@pytest.mark.spec("HTTP-16", "HTTP-17", "CLI-04")
def test_location_is_a_path_whatever_host_the_client_claims(client, name):
    for headers in ([], [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Proto", "ftp"),
                         ("Forwarded", "host=evil.example;proto=ftp")]):
        response = client.post(f"/v2/{name}/blobs/uploads/", headers=headers, host="other.example")
        assert response["Location"].startswith(f"/v2/{name}/blobs/uploads/")
        data = fresh()
        value = content.digest(data)
        done = client.put(with_digest(response["Location"], value), data, headers=headers)
        assert done["Location"] == f"/v2/{name}/blobs/{value}"


@pytest.mark.spec("HTTP-18", "UPL-13")
def test_upload_location_has_no_query_string(client, name):
    where = start_upload(client, name)
    assert "?" not in where and "#" not in where
    response = client.patch(where, b"abc")
    assert "?" not in response["Location"]


MALFORMED = [
    ("GET", "/v2/x/manifests/sha256:xyz", None, ()),
    ("GET", "/v2/x/manifests/sha256:", None, ()),
    ("GET", "/v2/x/manifests/:", None, ()),
    ("GET", "/v2/x/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", None, ()),
    ("PUT", "/v2/x/manifests/sha256:xyz", b"{}", ()),
    ("GET", "/v2/x/blobs/", None, ()),
    ("GET", "/v2/x/blobs/sha256:" + "g" * 64, None, ()),
    ("DELETE", "/v2/x/blobs/sha256", None, ()),
    ("GET", "/v2/x/tags/list?n=", None, ()),
    ("GET", "/v2/x/tags/list?n=1e5", None, ()),
    ("GET", "/v2/x/tags/list?n=99999999999999999999999999", None, ()),
    ("GET", "/v2/x/tags/list?last=%ff%fe", None, ()),
    ("GET", "/v2/_catalog?n=-1", None, ()),
    ("GET", "/v2/x/referrers/", None, ()),
    ("GET", "/v2/x/referrers/sha256", None, ()),
    ("POST", "/v2/x/blobs/uploads/?mount=zzz&from=y", b"", ()),
    ("POST", "/v2/x/blobs/uploads/?digest=%ff", b"", ()),
    ("POST", "/v2/x/blobs/uploads/?digest-algorithm=%00", b"", ()),
    ("GET", "/v2/x/blobs/uploads/%00", None, ()),
    ("GET", "/v2/x/blobs/uploads/../../../etc/passwd", None, ()),
    ("PATCH", "/v2/x/blobs/uploads/nonsense", b"x", (("Content-Range", "bytes 0-4/10"),)),
    ("PUT", "/v2/x/blobs/uploads/nonsense?digest=", b"x", ()),
    ("PUT", "/v2/x/manifests/t", b"\xff\xfe", ()),
    ("PUT", "/v2/x/manifests/t", b"[" * 100000, ()),
    ("PUT", "/v2/x/manifests/t?tag=", b"{}", ()),
]


@pytest.mark.spec("HTTP-19", "ERR-02", "ERR-03", "ERR-05")
@pytest.mark.parametrize("method, path, body, headers", MALFORMED,
                         ids=[f"{case[0]}-{number}" for number, case in enumerate(MALFORMED)])
def test_malformed_input_is_a_client_error(client, method, path, body, headers):
    """check_always fails on any 5xx, on unknown codes and on messages that tell too much."""
    response = client.request(method, path, body, headers)
    assert 400 <= response.status < 500
    # none of the codes that make clients repeat the request
    if method != "HEAD":
        assert response.status not in (408, 429)


@pytest.mark.spec("HTTP-19", "UPL-10", "NAME-07")
@pytest.mark.parametrize("value", ["nonsense", "5", "-", "1-", "-1", "4-0", "a-b", "0-0x9", "0--1",
                                   "9223372036854775808-9223372036854775809", "0-9223372036854775808",
                                   "99999999999999999999-99999999999999999999", "0-4, 5-6", "bytes",
                                   "bytes 0-4/", "0 - 4"])
def test_malformed_content_range_is_400(client, name, value):
    where = start_upload(client, name)
    assert client.patch(where, b"01234", headers=[("Content-Range", "0-4")]).status == 202
    response = client.patch(where, b"56789", headers=[("Content-Range", value)])
    assert (response.status, response.code) == (400, "BLOB_UPLOAD_INVALID")
    assert client.get(where)["Range"] == "0-4"
    assert client.patch(where, b"56789", headers=[("Content-Range", "5-9")]).status == 202


@pytest.mark.spec("ERR-01", "ERR-02", "ERR-04")
def test_error_bodies_have_the_shape_of_the_list(client, name):
    response = client.get(f"/v2/{name}/tags/list")
    assert response.status == 404
    document = json.loads(response.body)
    assert list(document) == ["errors"] and len(document["errors"]) == 1
    assert document["errors"][0]["code"] == "NAME_UNKNOWN"
    assert isinstance(document["errors"][0]["message"], str)
    assert re.match(r"application/json(; ?charset=utf-8)?$", response["Content-Type"])
    assert int(response["Content-Length"]) == len(response.body)


@pytest.mark.spec("NS-01")
def test_namespace_parameter_is_accepted_on_pulls(client, name):
    value, data, layers = push_image(client, name)
    manifest = client.get(f"/v2/{name}/manifests/latest?ns=docker.io")
    assert (manifest.status, manifest.body) == (200, data)
    assert "OCI-Namespace" not in manifest
    assert client.head(f"/v2/{name}/manifests/{value}?ns=docker.io").status == 200
    blob = client.get(f"/v2/{name}/blobs/{content.digest(layers[0])}?ns=docker.io")
    assert blob.body == layers[0]
    assert client.get(f"/v2/{name}/tags/list?ns=docker.io").status == 200


@pytest.mark.spec("HTTP-16", "CAT-05")
def test_extensions_live_under_reserved_words(client):
    """No repository can be called like an extension: names do not begin with an underscore."""
    for first in ("_catalog", "_oci", "_docker", "_slipway"):
        response = client.post(f"/v2/{first}/blobs/uploads/")
        assert response.status in (400, 404)
