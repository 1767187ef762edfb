"""test_caching.py - validators, conditions, and memory that never lies (section 14)."""
import pytest

from support.content import compact, digest, fresh, image, push_blob, push_image, push_manifest, put_manifest


@pytest.mark.spec("CACHE-01")
def test_headers(client, name):
    value, _, layers = push_image(client, name)
    for path, named in ((f"blobs/{digest(layers[0])}", digest(layers[0])), (f"manifests/{value}", value)):
        for method in ("GET", "HEAD"):
            response = client.request(method, f"/v2/{name}/{path}")
            assert response["ETag"] == f'"{named}"'
            assert "max-age=31536000" in response["Cache-Control"]
    for path in ("manifests/latest", "tags/list", f"referrers/{value}"):
        response = client.get(f"/v2/{name}/{path}")
        assert "no-cache" in response["Cache-Control"] and "max-age=3" not in response["Cache-Control"]
    assert client.get(f"/v2/{name}/manifests/latest")["ETag"] == f'"{value}"'


@pytest.mark.spec("CACHE-02", "HTTP-07")
@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', "{}", "*", '"x", "{}"', '"x",W/"{}" ,"y"'])
def test_if_none_match(client, name, form):
    value, _, layers = push_image(client, name)
    blob = digest(layers[0])
    for path, named in ((f"blobs/{blob}", blob), (f"manifests/{value}", value), ("manifests/latest", value)):
        for method in ("GET", "HEAD"):
            response = client.request(method, f"/v2/{name}/{path}",
                                      headers=[("If-None-Match", form.format(named))])
            assert (response.status, response.body) == (304, b""), path
            assert response["ETag"] == f'"{named}"'
            assert response["Docker-Content-Digest"] == named


@pytest.mark.spec("CACHE-02")
@pytest.mark.parametrize("form", ['"sha256:other"', '"x", "y"', ""])
def test_if_none_match_that_does_not(client, name, form):
    value, data, _ = push_image(client, name)
    response = client.get(f"/v2/{name}/manifests/{value}", headers=[("If-None-Match", form)])
    assert (response.status, response.body) == (200, data)
    missing = client.get(f"/v2/{name}/manifests/none", headers=[("If-None-Match", "*")])
    assert missing.status == 404


@pytest.mark.spec("CACHE-03")
def test_put_if_match(client, name):
    push_blob(client, name, b"{}")
    one, two, three = (compact(image(annotations={"n": str(n)})) for n in range(3))

    def put(data, header, value):
        return put_manifest(client, name, "t", data, headers=[(header, value)]).status

    assert put(one, "If-Match", f'"{digest(two)}"') == 412  # no tag yet
    assert client.get(f"/v2/{name}/manifests/t").status == 404
    assert put(one, "If-None-Match", "*") == 201
    assert put(two, "If-None-Match", "*") == 412
    assert put(two, "If-Match", f'"{digest(three)}"') == 412
    assert client.get(f"/v2/{name}/manifests/t").body == one
    assert put(two, "If-Match", f'"{digest(one)}"') == 201
    assert client.get(f"/v2/{name}/manifests/t").body == two
    assert put(three, "If-Match", f'"{digest(one)}"') == 412
    assert client.get(f"/v2/{name}/manifests/{digest(three)}").status == 404


@pytest.mark.spec("CACHE-04", "UPL-22", "MPUT-23")
def test_a_tag_is_never_remembered_across_a_push(server, client, name):
    """Push, read on a connection kept warm; delete, read again; two hundred times."""
    push_blob(client, name, b"{}")
    reader = server.client()
    for number in range(200):
        data = compact(image(annotations={"n": str(number)}))
        assert put_manifest(client, name, "t", data).status == 201
        assert reader.get(f"/v2/{name}/manifests/t").body == data
        assert reader.head(f"/v2/{name}/manifests/t")["Docker-Content-Digest"] == digest(data)
        if number % 10 == 0:
            assert client.delete(f"/v2/{name}/manifests/t").status == 202
            assert reader.get(f"/v2/{name}/manifests/t").status == 404
            assert reader.get(f"/v2/{name}/manifests/{digest(data)}").body == data


@pytest.mark.spec("CACHE-04", "DEL-03")
def test_presence_is_never_remembered_across_a_change(server, client, name):
    reader, data = server.client(), fresh()
    path = f"/v2/{name}/blobs/{digest(data)}"
    for _ in range(30):
        assert reader.head(path).status == 404
        push_blob(client, name, data)
        assert reader.head(path).status == reader.head(path).status == 200
        assert reader.get(path).body == data
        assert client.delete(path).status == 202


@pytest.mark.spec("CACHE-04")
def test_reads_are_right_when_the_memory_is_too_small(make_server, name):
    """A cache of 64 KiB under a hundred manifests: evictions everywhere."""
    server = make_server({"storage.cache": "64KiB"})
    client = server.client()
    push_blob(client, name, b"{}")
    bodies = {f"t{n}": compact(image(annotations={"n": str(n), "fill": "x" * 3000})) for n in range(100)}
    for tag, data in bodies.items():
        push_manifest(client, name, tag, data)
    for _ in range(2):
        for tag, data in bodies.items():
            assert client.get(f"/v2/{name}/manifests/{tag}").body == data
            assert client.get(f"/v2/{name}/manifests/{digest(data)}").body == data
    client.close()
