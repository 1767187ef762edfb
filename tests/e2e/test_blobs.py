"""test_blobs.py - end-2: reading blobs, whole and in ranges (section 8)."""
import concurrent.futures
import email
import re

import pytest

from support import content
from support.content import fresh, push_blob

TEXT = b"0123456789abcdefghij"


@pytest.fixture
def blob(client, name):
    """A blob that begins with TEXT and ends with END: (path, bytes)."""
    data = TEXT + fresh(480)
    return f"/v2/{name}/blobs/{push_blob(client, name, data)}", data


@pytest.mark.spec("BLOB-01", "HDR-01", "HDR-03")
@pytest.mark.parametrize("size", [0, 1, 4095, 300000])
def test_blob_is_served_as_pushed(client, name, size):
    data = fresh(size)
    value = push_blob(client, name, data)
    response = client.get(f"/v2/{name}/blobs/{value}")
    assert (response.status, response.body) == (200, data)
    assert response["Content-Length"] == str(size)
    assert response["Docker-Content-Digest"] == value
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Accept-Ranges"] == "bytes"


@pytest.mark.spec("BLOB-03", "HDR-01", "HDR-03", "CLI-02")
def test_blob_head(client, blob):
    path, data = blob
    response = client.head(path)
    assert response.status == 200
    assert response["Content-Length"] == str(len(data))
    assert response["Docker-Content-Digest"] == path.rsplit("/", 1)[1]
    assert client.head(path[:-1] + ("0" if path[-1] != "0" else "1")).status == 404


@pytest.mark.spec("BLOB-02", "UPL-25")
def test_blob_of_another_repository_is_unknown(client, name, blob):
    value = blob[0].rsplit("/", 1)[1]
    response = client.get(f"/v2/{name}-other/blobs/{value}")
    assert (response.status, response.code) == (404, "BLOB_UNKNOWN")
    push_blob(client, f"{name}-other", fresh())
    response = client.get(f"/v2/{name}-other/blobs/{value}")
    assert (response.status, response.code) == (404, "BLOB_UNKNOWN")
    assert client.head(f"/v2/{name}-other/blobs/{value}").status == 404


@pytest.mark.spec("HDR-02", "UPL-21", "NAME-15")
def test_blob_is_named_by_the_algorithm_of_the_request(client, name):
    data = fresh()
    by_512 = push_blob(client, name, data, "sha512")
    response = client.get(f"/v2/{name}/blobs/{by_512}")
    assert response.body == data and response["Docker-Content-Digest"] == by_512
    assert client.head(f"/v2/{name}/blobs/{by_512}")["Docker-Content-Digest"] == by_512
    by_256 = push_blob(client, name, data)
    assert client.get(f"/v2/{name}/blobs/{by_256}")["Docker-Content-Digest"] == by_256
    assert client.get(f"/v2/{name}/blobs/{by_512}")["Docker-Content-Digest"] == by_512


@pytest.mark.spec("BLOB-04", "BLOB-05")
@pytest.mark.parametrize("asked, first, last", [
    ("bytes=0-0", 0, 0), ("bytes=0-9", 0, 9), ("bytes=10-19", 10, 19), ("bytes=0-499", 0, 499),
    ("bytes=5-", 5, 499), ("bytes=0-", 0, 499), ("bytes=499-", 499, 499), ("bytes=499-499", 499, 499),
    ("bytes=490-500", 490, 499), ("bytes=490-9999", 490, 499), ("bytes=0-18446744073709551615", 0, 499),
    ("bytes=-1", 499, 499), ("bytes=-20", 480, 499), ("bytes=-500", 0, 499), ("bytes=-501", 0, 499),
    ("bytes=-99999999999999999999", 0, 499), ("bytes= 1-2", 1, 2), ("BYTES=1-2", 1, 2)])
def test_single_range(client, blob, asked, first, last):
    path, data = blob
    response = client.get(path, headers=[("Range", asked)])
    assert response.status == 206
    assert response["Content-Range"] == f"bytes {first}-{last}/500"
    assert response["Content-Length"] == str(last - first + 1)
    assert response["Content-Type"] == "application/octet-stream"
    assert response.body == data[first:last + 1]


@pytest.mark.spec("BLOB-04")
@pytest.mark.parametrize("asked", ["bytes=-0", "bytes=500-", "bytes=500-600", "bytes=99999-",
                                   "bytes=9-0", "bytes=400-399", "bytes=9223372036854775807-"])
def test_range_that_cannot_be_satisfied(client, blob, asked):
    path, _ = blob
    response = client.get(path, headers=[("Range", asked)])
    assert response.status == 416
    assert response["Content-Range"] == "bytes */500"


@pytest.mark.spec("BLOB-04")
@pytest.mark.parametrize("asked", ["items=0-5", "bytes", "bytes=", "bytes=a-b", "bytes=--5", "bytes=1-2-3",
                                   "bytes=-", "0-5", "bytes 0-5", "bytes=0x1-2", "bytes=+1-2", "bytes=1.0-2"])
def test_range_not_understood_is_ignored(client, blob, asked):
    path, data = blob
    response = client.get(path, headers=[("Range", asked)])
    assert (response.status, response.body) == (200, data)


@pytest.mark.spec("BLOB-04")
@pytest.mark.parametrize("asked", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=5-6", "bytes=0-0,1-1"])
def test_any_range_of_the_empty_blob_is_200(client, name, asked):
    value = push_blob(client, name, b"")
    assert value == content.SHA256_NOTHING
    response = client.get(f"/v2/{name}/blobs/{value}", headers=[("Range", asked)])
    assert (response.status, response.body) == (200, b"")


@pytest.mark.spec("BLOB-04")
def test_range_on_head_is_as_without(client, blob):
    path, data = blob
    for asked in ("bytes=0-9", "bytes=9999-"):
        response = client.head(path, headers=[("Range", asked)])
        assert response.status == 200
        assert response["Content-Length"] == str(len(data))
        assert "Content-Range" not in response


def parts(response):
    """(Content-Range, bytes) of a multipart/byteranges answer."""
    head = f"Content-Type: {response['Content-Type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.body)
    assert message.is_multipart()
    found = []
    boundary = message.get_boundary().encode()
    for piece in response.body.split(b"--" + boundary)[1:-1]:
        header, _, rest = piece.partition(b"\r\n\r\n")
        span = re.search(rb"content-range: *(bytes [0-9]+-[0-9]+/[0-9]+)", header, re.I)
        found.append((span[1].decode(), rest[:-2]))
    assert response.body.rstrip().endswith(b"--" + boundary + b"--")
    return found


@pytest.mark.spec("BLOB-06", "BLOB-04", "CLI-03")
def test_several_ranges_are_multipart(client, blob):
    path, data = blob
    response = client.get(path, headers=[("Range", "bytes=0-4, 100-109,-3")])
    assert response.status == 206
    assert response["Content-Type"].startswith("multipart/byteranges; boundary=")
    assert int(response["Content-Length"]) == len(response.body)
    assert "Content-Range" not in response
    assert parts(response) == [("bytes 0-4/500", data[:5]), ("bytes 100-109/500", data[100:110]),
                               ("bytes 497-499/500", data[497:])]


@pytest.mark.spec("BLOB-06", "BLOB-05")
@pytest.mark.parametrize("asked, spans", [
    ("bytes=0-4,5-9", [(0, 9)]), ("bytes=0-9,5-20", [(0, 20)]), ("bytes=5-9,0-4", [(0, 9)]),
    ("bytes=0-0,0-0,0-0", [(0, 0)]), ("bytes=0-1,400-401,2-3", [(0, 3), (400, 401)]),
    ("bytes=0-1,9999-", [(0, 1)]), ("bytes=3-5,700-800,4-9", [(3, 9)])])
def test_ranges_that_touch_are_joined(client, blob, asked, spans):
    path, data = blob
    response = client.get(path, headers=[("Range", asked)])
    assert response.status == 206
    if len(spans) == 1:  # never multipart for one range
        first, last = spans[0]
        assert response["Content-Range"] == f"bytes {first}-{last}/500"
        assert response.body == data[first:last + 1]
    else:
        assert sorted(parts(response)) == sorted(
            (f"bytes {first}-{last}/500", data[first:last + 1]) for first, last in spans)


@pytest.mark.spec("BLOB-04", "BLOB-06")
def test_several_ranges_never_stop_podman(client, blob):
    path, data = blob
    response = client.get(path, headers=[("Range", "bytes=900-901,800-")])
    assert (response.status, response.body) == (200, data)
    many = ",".join(f"{2 * at}-{2 * at}" for at in range(240))
    response = client.get(path, headers=[("Range", f"bytes={many}")])
    assert response.status == 206
    assert len(parts(response)) == 240
    too_many = ",".join(["0-0", "2-2"] * 1000)
    response = client.get(path, headers=[("Range", f"bytes={too_many}")])
    assert response.status in (200, 206, 400)
    assert response.status != 200 or response.body == data


@pytest.mark.spec("BLOB-07")
def test_if_range(client, blob):
    path, data = blob
    etag = client.head(path)["ETag"]
    asked = ("Range", "bytes=0-4")
    assert client.get(path, headers=[asked, ("If-Range", etag)]).body == data[:5]
    for other in ('"sha256:other"', f"W/{etag}", "Wed, 21 Oct 2015 07:28:00 GMT"):
        response = client.get(path, headers=[asked, ("If-Range", other)])
        assert (response.status, response.body) == (200, data), other


@pytest.mark.spec("BLOB-05", "CLI-01")
def test_docker_resumes_a_broken_pull(server, client, name):
    data = fresh(3 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    with server.connect() as connection:
        connection.send_head("GET", path)
        head = connection.read_head()
        assert head.status == 200
        have = connection.read_exactly(1 << 20)
    response = client.get(path, headers=[("Range", f"bytes={len(have)}-")])
    assert response.status == 206
    assert response["Content-Range"] == f"bytes {len(have)}-{len(data) - 1}/{len(data)}"
    assert have + response.body == data


@pytest.mark.spec("BLOB-08", "CLI-02")
def test_parallel_ranges_of_one_blob(server, client, name):
    size, step = 8 << 20, 512 << 10
    data = fresh(size)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"

    def part(first):
        one = server.client()
        response = one.get(path, headers=[("Range", f"bytes={first}-{first + step - 1}")])
        one.close()
        return response.status, response.body

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(part, range(0, size, step)))
    assert {status for status, _ in answers} == {206}
    assert b"".join(body for _, body in answers) == data


@pytest.mark.spec("BLOB-08")
def test_a_stalled_reader_holds_up_nobody(server, client, name):
    """One reader stops in the middle; ten others read the same blob meanwhile."""
    data = fresh(16 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    with server.connect(receive_buffer=65536) as stalled:
        stalled.send_head("GET", path)
        assert stalled.read_head().status == 200
        for _ in range(10):
            assert client.get(path, headers=[("Range", "bytes=1000-1999")]).body == data[1000:2000]
        assert client.get(path).body == data
        assert stalled.read_exactly(len(data)) == data


@pytest.mark.spec("BLOB-09", "DEL-03")
def test_a_blob_deleted_while_it_is_sent(server, client, name):
    data = fresh(24 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    with server.connect(receive_buffer=65536) as reader:
        reader.send_head("GET", path)
        head = reader.read_head()
        assert head["Content-Length"] == str(len(data))
        begin = reader.read_exactly(100000)
        assert client.delete(path).status == 202
        assert client.get(path).status == 404
        # completes, or breaks (read_exactly raises): never other bytes
        assert begin + reader.read_exactly(len(data) - len(begin)) == data


@pytest.mark.spec("MGET-06")
def test_layers_and_configs_are_not_manifests(client, name):
    _, _, layers = content.push_image(client, name)
    response = client.get(f"/v2/{name}/manifests/{content.digest(layers[0])}")
    assert (response.status, response.code) == (404, "MANIFEST_UNKNOWN")
    assert client.head(f"/v2/{name}/manifests/{content.digest(layers[0])}").status == 404
