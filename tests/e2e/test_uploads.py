"""test_uploads.py - end-4, end-5, end-6, end-11, end-13, end-14: blobs coming in (section 9)."""
import contextlib
import re
import sqlite3
import time

import pytest

from support import content
from support.content import fresh, push_blob, push_image, put_manifest, start_upload, with_digest

NOWHERE = "3f0f5a3e-0000-4000-8000-000000000000"


def chunk(client, where, data, span=None, **more):
    headers = [("Content-Range", span)] if span else []
    return client.patch(where, data, headers=headers, **more)


def finish(client, where, value, data=b"", span=None):
    headers = [("Content-Range", span)] if span else []
    return client.put(with_digest(where, value), data, headers=headers)


def expect(response, status, code=None):
    assert response.status == status, response
    if code:
        assert response.code == code, response


@pytest.mark.spec("UPL-01", "UPL-05", "UPL-12", "CLI-03")
def test_start(client, name):
    response = client.post(f"/v2/{name}/blobs/uploads/")
    assert response.status == 202
    identity = response["Docker-Upload-UUID"]
    assert response["Location"] == f"/v2/{name}/blobs/uploads/{identity}"
    assert response["Range"] == "0-0"
    assert response["Content-Length"] == "0"
    assert "OCI-Chunk-Min-Length" not in response


@pytest.mark.spec("UPL-08", "UPL-11", "UPL-12", "UPL-13", "UPL-18", "UPL-19", "UPL-26", "NAME-07")
def test_upload_walk(client, name):
    """The list's own vector: ten bytes in chunks of four, with every wrong turn."""
    data = b"0123456789"
    where = start_upload(client, name)
    steps = [(chunk, data[0:4], "0-3", 202, "0-3"), (chunk, data[0:4], "0-3", 416, "0-3"),
             (chunk, data[5:9], "5-8", 416, "0-3"), (None, None, None, 204, "0-3"),
             (chunk, data[4:8], "4-7", 202, "0-7")]
    for action, piece, span, status, stands in steps:
        response = action(client, where, piece, span) if action else client.get(where)
        assert (response.status, response["Range"]) == (status, stands)
        assert response["Location"] == where
        assert response["Docker-Upload-UUID"] == where.rsplit("/", 1)[1]
    value = content.digest(data)
    response = finish(client, where, value, data[9:], "9-9")
    assert (response.status, response["Range"]) == (416, "0-7")
    assert response["Location"] == where
    response = finish(client, where, value, data[8:], "8-9")
    assert response.status == 201
    assert client.get(f"/v2/{name}/blobs/{value}").body == data


@pytest.mark.spec("UPL-07", "UPL-11", "CLI-01")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_patch_appends_without_content_range(client, name, chunked):
    pieces = [fresh(1000), fresh(1), fresh(70000)]
    where, offset = start_upload(client, name), 0
    for piece in pieces:
        response = chunk(client, where, piece, chunked=chunked)
        offset += len(piece)
        assert response.status == 202
        assert response["Range"] == f"0-{offset - 1}"
        assert response["Content-Length"] == "0"
        assert response["Location"] == where
    data = b"".join(pieces)
    assert finish(client, where, content.digest(data)).status == 201
    assert client.get(f"/v2/{name}/blobs/{content.digest(data)}").body == data


@pytest.mark.spec("UPL-08", "NAME-07")
@pytest.mark.parametrize("span, size", [("5-9", 5), ("0-3", 4), ("1-4", 4), ("3-6", 4), ("1000-1003", 4)])
def test_patch_out_of_order_is_416_and_changes_nothing(client, name, span, size):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcd", "0-3"), 202)
    response = chunk(client, where, b"x" * size, span)
    expect(response, 416, "BLOB_UPLOAD_INVALID")
    assert response["Range"] == "0-3" and response["Location"] == where
    assert response["Docker-Upload-UUID"] == where.rsplit("/", 1)[1]
    expect(chunk(client, where, b"efgh", "4-7"), 202)
    expect(finish(client, where, content.digest(b"abcdefgh")), 201)


@pytest.mark.spec("UPL-08")
def test_first_chunk_must_start_at_zero(client, name):
    where = start_upload(client, name)
    response = chunk(client, where, b"abcd", "1-4")
    expect(response, 416, "BLOB_UPLOAD_INVALID")
    assert response["Range"] == "0-0"
    expect(chunk(client, where, b"abcd", "0-3"), 202)


@pytest.mark.spec("UPL-09")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("span", ["4-6", "4-8", "4-4"])
def test_length_that_disagrees_with_the_range(client, name, span, chunked):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcd", "0-3"), 202)
    expect(chunk(client, where, b"efgh", span, chunked=chunked), 400, "SIZE_INVALID")
    assert client.get(where)["Range"] == "0-3"
    expect(chunk(client, where, b"efgh", "4-7", chunked=chunked), 202)
    expect(finish(client, where, content.digest(b"abcdefgh")), 201)


@pytest.mark.spec("UPL-10")
@pytest.mark.parametrize("span", ["bytes 4-7/*", "bytes 4-7/8", "bytes=4-7"])
def test_liberal_content_range(client, name, span):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcd", "0-3"), 202)
    response = chunk(client, where, b"efgh", span)
    assert (response.status, response["Range"]) == (202, "0-7")


@pytest.mark.spec("UPL-12")
def test_offset_zero_is_written_as_one_byte_would_be(client, name):
    where = start_upload(client, name)
    assert client.get(where)["Range"] == "0-0"
    assert chunk(client, where, b"")["Range"] == "0-0"
    assert chunk(client, where, b"x")["Range"] == "0-0"
    assert chunk(client, where, b"y")["Range"] == "0-1"


@pytest.mark.spec("UPL-14")
def test_prefix_of_a_lost_connection_is_kept(server, client, name):
    data = fresh(100000)
    where = start_upload(client, name)
    connection = server.connect()
    connection.send_head("PATCH", where, [("Content-Length", len(data))])
    connection.send(data[:60000])
    connection.leave()
    offset = wait_for_offset(client, where, 60000)
    response = chunk(client, where, data[offset:], f"{offset}-{len(data) - 1}")
    expect(response, 202)
    expect(finish(client, where, content.digest(data)), 201)
    assert client.get(f"/v2/{name}/blobs/{content.digest(data)}").body == data


def wait_for_offset(client, where, offset, seconds=20):
    """A closed connection is noticed a moment later."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        response = client.get(where)
        assert response.status == 204
        stands = int(response["Range"].split("-")[1]) + 1
        if stands == offset:
            return stands
        time.sleep(0.02)
    raise AssertionError(f"offset {stands}, not {offset}")


@pytest.mark.spec("UPL-16")
@pytest.mark.parametrize("kind", ["application/json", "text/html", "nonsense", "multipart/form-data"])
def test_content_type_of_upload_bodies_is_ignored(client, name, kind):
    data, header = fresh(), [("Content-Type", kind)]
    where = start_upload(client, name)
    expect(client.patch(where, data, headers=header), 202)
    expect(client.put(with_digest(where, content.digest(data)), headers=header), 201)
    response = client.get(f"/v2/{name}/blobs/{content.digest(data)}")
    assert response["Content-Type"] == "application/octet-stream"


@pytest.mark.spec("UPL-17", "UPL-19", "CLI-05")
@pytest.mark.parametrize("shape", ["all-by-patch", "whole-in-put", "last-in-put", "last-in-put-ranged",
                                   "whole-in-put-ranged"])
def test_shapes_of_the_closing_put(client, name, shape):
    data = fresh(1000)
    value, where = content.digest(data), start_upload(client, name)
    if shape == "all-by-patch":
        expect(chunk(client, where, data), 202)
        response = finish(client, where, value)
    elif shape == "whole-in-put":
        response = finish(client, where, value, data)
    elif shape == "whole-in-put-ranged":
        response = finish(client, where, value, data, "0-999")
    else:
        expect(chunk(client, where, data[:600]), 202)
        response = finish(client, where, value, data[600:],
                          "600-999" if shape.endswith("ranged") else None)
    assert response.status == 201
    assert response["Location"] == f"/v2/{name}/blobs/{value}"
    assert response["Docker-Content-Digest"] == value
    assert response["Content-Length"] == "0"
    assert client.get(response["Location"]).body == data


@pytest.mark.spec("UPL-18")
def test_last_chunk_out_of_order(client, name):
    data = fresh(8)
    value, where = content.digest(data), start_upload(client, name)
    expect(chunk(client, where, data[:4]), 202)
    for span in ("0-3", "5-8", "3-6"):
        response = finish(client, where, value, data[4:], span)
        expect(response, 416, "BLOB_UPLOAD_INVALID")
        assert response["Range"] == "0-3" and response["Location"] == where
    expect(finish(client, where, value, data[4:], "4-8"), 400, "SIZE_INVALID")
    assert client.get(where)["Range"] == "0-3"
    expect(finish(client, where, value, data[4:], "4-7"), 201)


BAD = ["", "?digest=", "?digest=sha256:zz", "?digest=nonsense", "?digest=md5:" + "a" * 32,
       "?digest=blake3:" + "a" * 64, "?digest=sha256:" + "A" * 64, "?digest=%ff"]


@pytest.mark.spec("UPL-20")
@pytest.mark.parametrize("query", BAD, ids=range(len(BAD)))
def test_put_without_a_usable_digest_keeps_the_session(client, name, query):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcd"), 202)
    expect(client.put(where + query), 400, "DIGEST_INVALID")
    assert client.get(where)["Range"] == "0-3"
    expect(finish(client, where, content.digest(b"abcd")), 201)


@pytest.mark.spec("UPL-20")
@pytest.mark.parametrize("by_patch", [True, False], ids=["patch", "put"])
def test_content_that_does_not_match_ends_the_session(client, name, by_patch):
    data, other = fresh(), content.digest(fresh())
    where = start_upload(client, name)
    if by_patch:
        expect(chunk(client, where, data), 202)
    expect(finish(client, where, other, b"" if by_patch else data), 400, "DIGEST_INVALID")
    for response in (client.get(where), chunk(client, where, b"x"), client.delete(where)):
        expect(response, 404, "BLOB_UPLOAD_UNKNOWN")
    assert client.head(f"/v2/{name}/blobs/{other}").status == 404
    assert client.head(f"/v2/{name}/blobs/{content.digest(data)}").status == 404


@pytest.mark.spec("UPL-06", "UPL-21", "HDR-02")
@pytest.mark.parametrize("opened", ["", "?digest-algorithm=sha256", "?digest-algorithm=sha512"])
@pytest.mark.parametrize("closed", ["sha256", "sha512"])
def test_either_algorithm_at_either_end(client, name, opened, closed):
    data = fresh(100000)
    value = content.digest(data, closed)
    where = start_upload(client, name, opened)
    expect(chunk(client, where, data[:50000]), 202)
    response = finish(client, where, value, data[50000:])
    assert response.status == 201 and response["Docker-Content-Digest"] == value
    assert response["Location"] == f"/v2/{name}/blobs/{value}"
    assert client.get(response["Location"]).body == data
    # and a mismatch is seen in either
    where = start_upload(client, name, opened)
    expect(finish(client, where, value, data + b"x"), 400, "DIGEST_INVALID")


@pytest.mark.spec("UPL-06")
@pytest.mark.parametrize("algorithm", ["md5", "blake3", "SHA256", "sha384", "x"])
def test_unknown_digest_algorithm(client, name, algorithm):
    response = client.post(f"/v2/{name}/blobs/uploads/?digest-algorithm={algorithm}")
    expect(response, 400, "DIGEST_INVALID")


@pytest.mark.spec("UPL-22")
def test_read_after_write(server, client, name):
    """On another connection, at once, thirty times."""
    other = server.client()
    for _ in range(30):
        data = fresh()
        value = push_blob(client, name, data)
        assert other.head(f"/v2/{name}/blobs/{value}").status == 200
        assert other.get(f"/v2/{name}/blobs/{value}").body == data
        push_blob(client, name, b"{}")
        response = put_manifest(other, name, "t", content.image(layers=[data]))
        assert response.status == 201


@pytest.mark.spec("UPL-23")
def test_repeating_the_last_put_is_201_again(client, name):
    data = fresh()
    value, where = content.digest(data), start_upload(client, name)
    expect(chunk(client, where, data), 202)
    for _ in range(3):
        response = finish(client, where, value)
        assert response.status == 201 and response["Docker-Content-Digest"] == value
    expect(finish(client, where, content.digest(b"other")), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.spec("UPL-24")
def test_pushing_what_is_there(client, name):
    data = fresh()
    for _ in range(3):
        push_blob(client, name, data)
    response = client.post(f"/v2/{name}/blobs/uploads/?digest={content.digest(data)}", data)
    assert response.status == 201
    assert client.get(f"/v2/{name}/blobs/{content.digest(data)}").body == data


@pytest.mark.spec("UPL-25")
def test_knowing_a_digest_is_no_licence(client, name):
    data = fresh()
    value = push_blob(client, f"{name}-a", data)
    where = start_upload(client, f"{name}-b")
    expect(finish(client, where, value, b""), 400, "DIGEST_INVALID")
    assert client.head(f"/v2/{name}-b/blobs/{value}").status == 404
    expect(client.post(f"/v2/{name}-b/blobs/uploads/?digest={value}", b"other"), 400, "DIGEST_INVALID")
    assert client.head(f"/v2/{name}-b/blobs/{value}").status == 404


@pytest.mark.spec("UPL-26")
def test_status_of_a_session(client, name):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcdef"), 202)
    for method, query in (("GET", ""), ("GET", "?digest=sha256:x"), ("HEAD", ""), ("GET", "?a=b&c")):
        response = client.request(method, where + query)
        assert (response.status, response.body) == (204, b"")
        assert response["Range"] == "0-5"
        assert response["Location"] == where
        assert response["Docker-Upload-UUID"] == where.rsplit("/", 1)[1]


@pytest.mark.spec("UPL-27", "UPL-28")
def test_cancel(client, name):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcdef"), 202)
    response = client.delete(where)
    assert (response.status, response.body) == (204, b"")
    expect(client.get(where), 404, "BLOB_UPLOAD_UNKNOWN")
    expect(chunk(client, where, b"x"), 404, "BLOB_UPLOAD_UNKNOWN")
    expect(finish(client, where, content.digest(b"abcdef")), 404, "BLOB_UPLOAD_UNKNOWN")
    expect(client.delete(where), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.spec("UPL-03", "UPL-27")
@pytest.mark.parametrize("method", ["PATCH", "PUT", "GET", "HEAD", "DELETE"])
def test_unknown_session_and_another_repositorys(client, name, method):
    where = start_upload(client, name)
    expect(chunk(client, where, b"abcdef"), 202)
    stranger = where.replace(f"/v2/{name}/", f"/v2/{name}-other/")
    push_blob(client, f"{name}-other", fresh())
    value = content.digest(b"abcdef")
    for path in (f"/v2/{name}/blobs/uploads/{NOWHERE}", f"/v2/{name}/blobs/uploads/nonsense", stranger):
        target = with_digest(path, value) if method == "PUT" else path
        response = client.request(method, target, b"" if method in ("PATCH", "PUT") else None)
        assert response.status == 404
        assert method == "HEAD" or response.code == "BLOB_UPLOAD_UNKNOWN"
    assert client.get(where)["Range"] == "0-5"
    expect(finish(client, where, value), 201)


@pytest.mark.spec("UPL-30")
def test_single_post(client, name):
    data = fresh(5000)
    for algorithm in ("sha256", "sha512"):
        value = content.digest(data, algorithm)
        response = client.post(f"/v2/{name}/blobs/uploads/?digest={value}", data)
        assert response.status == 201
        assert response["Location"] == f"/v2/{name}/blobs/{value}"
        assert response["Docker-Content-Digest"] == value
        assert response["Content-Length"] == "0"
        assert client.get(response["Location"]).body == data


@pytest.mark.spec("UPL-30")
def test_single_post_that_does_not_match_stores_nothing(client, name):
    data, value = fresh(), content.digest(fresh())
    expect(client.post(f"/v2/{name}/blobs/uploads/?digest={value}", data), 400, "DIGEST_INVALID")
    for one in (value, content.digest(data)):
        assert client.head(f"/v2/{name}/blobs/{one}").status == 404


@pytest.mark.spec("UPL-30", "HTTP-02")
@pytest.mark.parametrize("value", [content.SHA256_NOTHING, content.SHA512_NOTHING], ids=["256", "512"])
def test_the_empty_blob(client, name, value):
    expect(client.post(f"/v2/{name}/blobs/uploads/?digest={value}"), 201)
    assert client.get(f"/v2/{name}/blobs/{value}").body == b""
    where = start_upload(client, f"{name}-2")
    expect(finish(client, where, value), 201)
    assert client.head(f"/v2/{name}-2/blobs/{value}")["Content-Length"] == "0"


# --- mount ---

@pytest.mark.spec("UPL-31", "UPL-35", "UPL-24", "CLI-01", "CLI-02")
@pytest.mark.parametrize("extra", ["", "&origin=elsewhere", "&digest=sha256:zz"])
def test_mount(client, name, extra):
    data = fresh()
    value = push_blob(client, f"{name}/source", data)
    for _ in range(2):
        response = client.post(f"/v2/{name}/target/blobs/uploads/?mount={value}&from={name}/source{extra}")
        assert response.status == 201
        assert response["Location"] == f"/v2/{name}/target/blobs/{value}"
        assert response["Docker-Content-Digest"] == value
        assert "Docker-Upload-UUID" not in response
        assert client.get(response["Location"]).body == data


@pytest.mark.spec("UPL-32", "UPL-33", "UPL-37")
@pytest.mark.parametrize("query", [
    f"mount={content.ZERO}&from=no/such/repository", f"mount={content.ZERO}&from=BAD",
    f"mount={content.ZERO}&from=", f"mount={content.ZERO}&from=a//b", f"mount={content.ZERO}"])
def test_mount_that_cannot_be_is_a_session(client, name, query):
    response = client.post(f"/v2/{name}/blobs/uploads/?{query}")
    assert response.status == 202
    assert response["Range"] == "0-0"
    where = response["Location"]
    assert client.get(where).status == 204
    assert client.delete(where).status == 204  # what containers/image does with it


@pytest.mark.spec("UPL-32", "BLOB-02")
def test_mount_from_a_repository_that_lacks_the_blob(client, name):
    value = push_blob(client, f"{name}/one", fresh())
    push_blob(client, f"{name}/two", fresh())
    response = client.post(f"/v2/{name}/target/blobs/uploads/?mount={value}&from={name}/two")
    assert response.status == 202
    assert client.head(f"/v2/{name}/target/blobs/{value}").status == 404


@pytest.mark.spec("UPL-32")
@pytest.mark.parametrize("value", ["sha256:zz", "nonsense", "sha256:" + "A" * 64, "md5:" + "a" * 32])
def test_mount_of_a_malformed_digest(client, name, value):
    response = client.post(f"/v2/{name}/blobs/uploads/?mount={value}&from=a/b")
    expect(response, 400, "DIGEST_INVALID")


@pytest.mark.spec("UPL-34")
def test_mount_without_source_finds_the_blob(client, name):
    """With authentication off every repository may be read by all."""
    value = push_blob(client, f"{name}/source", fresh())
    response = client.post(f"/v2/{name}/target/blobs/uploads/?mount={value}")
    assert response.status in (201, 202)
    assert response.status == 202 or client.head(f"/v2/{name}/target/blobs/{value}").status == 200


@pytest.mark.spec("UPL-36", "DEL-09")
def test_mounted_blobs_are_independent(client, name):
    data = fresh()
    value = push_blob(client, f"{name}/source", data)
    expect(client.post(f"/v2/{name}/target/blobs/uploads/?mount={value}&from={name}/source"), 201)
    expect(client.delete(f"/v2/{name}/source/blobs/{value}"), 202)
    assert client.get(f"/v2/{name}/source/blobs/{value}").status == 404
    assert client.get(f"/v2/{name}/target/blobs/{value}").body == data


# --- restarts ---

@pytest.mark.spec("UPL-04", "CONC-02")
@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
def test_sessions_survive_the_process(make_server, name, end):
    """Sessions by both algorithms, at offsets inside and outside a hash block, through two ends."""
    server = make_server()
    client = server.client()
    data = fresh(3 << 20)
    sessions = []
    for number, size in enumerate((0, 1, 63, 64, 65, 1 << 20, (1 << 20) + 7)):
        where = start_upload(client, name, "?digest-algorithm=sha512" if number % 2 else "")
        if size:
            expect(chunk(client, where, data[:size]), 202)
        sessions.append((where, size))
    for _ in range(2):
        client.close()
        server.restart() if end == "SIGTERM" else (server.kill(), server.start())
        for where, size in sessions:
            response = client.get(where)
            assert (response.status, response["Range"]) == (204, f"0-{max(size - 1, 0)}"), where
    for where, size in sessions:
        value = content.digest(data, "sha256")
        expect(chunk(client, where, data[size:], f"{size}-{len(data) - 1}"), 202)
        expect(finish(client, where, value), 201)
        assert client.get(f"/v2/{name}/blobs/{value}").body == data


@pytest.mark.spec("UPL-22", "CONC-02", "UPL-23")
def test_what_was_acknowledged_outlives_sigkill(make_server, name):
    server = make_server()
    client = server.client()
    pushed = []
    for number in range(20):
        value, data, layers = push_image(client, name, f"t{number}")
        pushed.append((number, value, data, layers[0]))
    client.delete(f"/v2/{name}/manifests/t0")
    where = start_upload(client, name)
    last = fresh()
    expect(finish(client, where, content.digest(last), last), 201)
    client.close()
    server.kill()
    server.start()
    assert client.get(f"/v2/{name}/manifests/t0").status == 404
    for number, value, data, layer in pushed:
        assert client.get(f"/v2/{name}/manifests/{value}").body == data
        assert client.get(f"/v2/{name}/blobs/{content.digest(layer)}").body == layer
        if number:
            assert client.get(f"/v2/{name}/manifests/t{number}").body == data
    assert client.get(f"/v2/{name}/blobs/{content.digest(last)}").body == last
    client.close()


@pytest.mark.spec("UPL-29")
def test_idle_sessions_expire_and_free_their_space(make_server, name):
    server = make_server({"storage.upload_ttl": "20m"})
    client = server.client()
    where = start_upload(client, name)
    expect(chunk(client, where, fresh(1 << 20)), 202)
    before = stored(server)
    assert before >= 1 << 20
    client.close()
    server.stop()
    with contextlib.closing(sqlite3.connect(server.root / "meta.db")) as rows, rows:  # as if it were 20 minutes later
        until, = rows.execute("SELECT expires_at FROM uploads").fetchone()
        assert 10 * 60 < until / 1e6 - time.time() <= 20 * 60
        rows.execute("UPDATE uploads SET expires_at = expires_at - 1200000000")
    server.start()  # what is overdue then is looked at first
    end = time.monotonic() + 60
    while client.get(where).status != 404 or stored(server) >= 1 << 20:
        assert time.monotonic() < end, "the session or its bytes are still there"
        time.sleep(0.2)
    client.close()


def stored(server):
    return sum(size for _, size in server.blob_files())


@pytest.mark.spec("UPL-24")
def test_one_copy_of_a_blob(make_server, name):
    """Pushed to three repositories and twice to one: the bytes lie once on disk."""
    server = make_server({"gc.undo": "0s", "gc.late": "0s"})
    client = server.client()
    data = fresh(1 << 20)
    for where in ("a", "b", "c", "a"):
        push_blob(client, f"{name}/{where}", data)
    end = time.monotonic() + 30
    while stored(server) > len(data):
        assert time.monotonic() < end, f"{stored(server)} bytes stored"
        client.close()
        time.sleep(0.3)
        server.restart()
    for where in ("a", "b", "c"):
        assert client.get(f"/v2/{name}/{where}/blobs/{content.digest(data)}").body == data
    client.close()


@pytest.mark.spec("UPL-11")
def test_range_is_cumulative_across_a_big_streamed_body(client, name):
    """Docker computes a layer's size from this header."""
    size = 5 * (1 << 20) + 3
    data = fresh(size)
    where = start_upload(client, name)
    pieces = (data[at:at + 100000] for at in range(0, size, 100000))
    response = client.patch(where, pieces, chunked=True)
    assert response.status == 202
    first, last = re.fullmatch(r"(\d+)-(\d+)", response["Range"]).groups()
    assert int(last) - int(first) + 1 == size
    expect(finish(client, where, content.digest(data)), 201)
    assert client.get(f"/v2/{name}/blobs/{content.digest(data)}").body == data
