"""test_limits.py - each limit comes from a setting and has its answer (section 15)."""
import hashlib
import os
import subprocess
import time

import pytest

from support import content, process, wire
from support.content import compact, digest, fresh, image, push_blob, push_image, put_manifest, start_upload, \
    with_digest
from support.crowd import beside


@pytest.mark.spec("LIM-01", "MPUT-02")
def test_manifest_limit_is_a_setting(make_server, name):
    server = make_server({"server.limits.manifest": "8MiB"})
    client = server.client()
    push_blob(client, name, b"{}")
    big = compact(image(annotations={"fill": "x" * (6 << 20)}))
    assert put_manifest(client, name, "t", big).status == 201
    assert client.get(f"/v2/{name}/manifests/t").body == big
    response = put_manifest(client, name, "u", big + b" " * (3 << 20))
    assert (response.status, response.code) == (413, "SIZE_INVALID")
    client.close()


@pytest.mark.spec("LIM-01")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_blob_limit(make_server, name, chunked):
    server = make_server({"server.limits.blob": "1MiB"})
    client = server.client()
    limit = 1 << 20
    data = fresh(limit)
    push_blob(client, name, data)
    more = data + b"x"
    for response in (
            client.put(with_digest(start_upload(client, name), digest(more)), more, chunked=chunked),
            client.patch(start_upload(client, name), more, chunked=chunked),
            client.post(f"/v2/{name}/blobs/uploads/?digest={digest(more)}", more, chunked=chunked)):
        assert (response.status, response.code) == (413, "SIZE_INVALID")
    where = start_upload(client, name)
    assert client.patch(where, data[:limit // 2], chunked=chunked).status == 202
    assert client.patch(where, more[limit // 2:], chunked=chunked).status == 413
    assert client.head(f"/v2/{name}/blobs/{digest(more)}").status == 404
    assert client.get(f"/v2/{name}/blobs/{digest(data)}").body == data
    client.close()


@pytest.mark.spec("LIM-01")
def test_header_and_url_size(server):
    with server.connect() as connection:
        response = connection.request("GET", "/v2/", headers=[("X-Fill", "x" * 100000)])
        assert response.status == 431
    with server.connect() as connection:
        response = connection.request("GET", "/v2/" + "a" * 100000)
        assert response.status == 414


@pytest.mark.spec("LIM-01", "LIM-06", "HTTP-20")
def test_rate_limit(make_server):
    server = make_server({"server.limits.requests": "20"})
    client = server.client()
    answers = [client.get("/v2/") for _ in range(200)]
    refused = [response for response in answers if response.status != 200]
    assert refused and len(refused) < 200
    for response in refused:
        assert (response.status, response.code) == (429, "TOOMANYREQUESTS")
        assert int(response["Retry-After"]) >= 1
    time.sleep(int(refused[-1]["Retry-After"]) + 0.5)
    assert client.get("/v2/").status == 200
    client.close()


@pytest.mark.spec("LIM-01", "HTTP-20")
def test_connection_limit(make_server):
    server = make_server({"server.limits.connections": "10"})
    held = [server.connect() for _ in range(10)]
    for connection in held:
        assert connection.request("GET", "/v2/").status == 200
    with server.connect() as late:
        response = late.request("GET", "/v2/")
        assert response.status == 503 and int(response["Retry-After"]) >= 1
    for connection in held:
        assert connection.request("GET", "/v2/").status == 200
        connection.close()
    process.wait_for(lambda: answers(server), 20, "a place is free again")


def answers(server):
    with server.connect() as connection:
        return connection.request("GET", "/v2/").status == 200


@pytest.mark.spec("LIM-01", "HTTP-20")
def test_upload_limit(make_server, name):
    server = make_server({"server.limits.uploads": "2"})
    client = server.client()
    places, size, sent = [start_upload(client, name) for _ in range(3)], 100000, []
    held = [server.connect() for _ in range(2)]
    for connection, where in zip(held, places):
        connection.send_head("PATCH", where, [("Content-Length", size)])

    def move(stop, _):  # who stands still would give way
        while not stop.is_set():
            for connection in held:
                connection.send(b"x")
            sent.append(1)
            stop.wait(0.1)

    with beside(1, move):
        process.wait_for(lambda: all(client.get(where)["Range"] != "0-0" for where in places[:2]), 20, "both run")
        response = client.request("PATCH", places[2], b"x" * 100000, server_error=True)
    assert response.status == 503 and response.code == "UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1
    for connection in held:
        connection.send(b"x" * (size - len(sent)))
        assert connection.response("PATCH").status == 202
        connection.close()
    assert client.patch(places[2], b"x" * 100000).status == 202
    client.close()


@pytest.mark.spec("LIM-02", "HTTP-21")
def test_memory_does_not_grow_with_the_blob(make_server, name):
    """Up and down again, whole and chunked: 256 MiB through a few MiB of memory."""
    server = make_server()
    client = server.client()
    block = fresh(1 << 20)
    push_blob(client, name, block)
    before, size = server.memory(), 256
    where = start_upload(client, name)
    assert client.patch(where, (block for _ in range(size)), chunked=True).status == 202
    whole = hashlib.sha256()
    for _ in range(size):
        whole.update(block)
    value = f"sha256:{whole.hexdigest()}"
    assert client.put(with_digest(where, value)).status == 201
    with server.connect() as connection:
        connection.send_head("GET", f"/v2/{name}/blobs/{value}")
        assert connection.read_head()["Content-Length"] == str(size << 20)
        for _ in range(size):
            assert connection.read_exactly(1 << 20) == block
    if not process.sanitized():
        assert server.memory() - before < 16 << 20
    client.close()


@pytest.mark.spec("LIM-03")
def test_lengths_have_64_bits(server, client, name):
    """A body announced as 10 TiB is begun; ranges of 5 GiB are judged right."""
    where = start_upload(client, name)
    with server.connect() as connection:
        connection.send_head("PATCH", where, [("Content-Length", 10 << 40),
                                              ("Content-Range", f"0-{(10 << 40) - 1}")])
        connection.send(b"x" * 1000)
        process.wait_for(lambda: client.get(where)["Range"] == "0-999", 20, "begun")
    span = f"{5 << 30}-{(5 << 30) + 9}"
    response = client.patch(where, b"x" * 10, headers=[("Content-Range", span)])
    assert response.status == 416
    value = push_blob(client, name, b"0123456789")
    for first in (1 << 32, 1 << 33, (1 << 32) + 5):
        response = client.get(f"/v2/{name}/blobs/{value}", headers=[("Range", f"bytes={first}-{first}")])
        assert response.status == 416
    response = client.get(f"/v2/{name}/blobs/{value}", headers=[("Range", f"bytes=5-{1 << 40}")])
    assert response.body == b"56789"


@pytest.fixture
def small_disk(folder):
    """A file system of 48 MiB."""
    where = folder / "small"
    where.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", str(where)], check=False)
    if done.returncode != 0:
        pytest.skip("a file system cannot be mounted here: the full disk was not tried")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)
    where.rmdir()


@pytest.mark.spec("ERR-06", "LIM-01")
def test_full_disk(make_server, name, small_disk):
    """507, nothing lost, and serving goes on when space returns."""
    root = small_disk / "root"
    server = make_server({"storage.root": root})
    server.root = root
    client = server.client()
    _, data, layers = push_image(client, name)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(30 << 20))
    where = start_upload(client, name)
    big = fresh(40 << 20)
    response = client.request("PATCH", where, big, server_error=True)
    assert response.status == 507
    assert response.json()["errors"][0]["message"]
    assert client.get(f"/v2/{name}/manifests/latest").body == data
    assert client.get(f"/v2/{name}/blobs/{digest(layers[0])}").body == layers[0]
    freed = client.request("DELETE", where, server_error=True)  # where not even a row can be written it stays
    assert freed.status in (204, 507)
    ballast.unlink()
    again = fresh(8 << 20)
    process.wait_for(lambda: pushed(client, name, again), 40, "pushing works again", 0.3)
    assert client.get(f"/v2/{name}/blobs/{digest(again)}").body == again
    client.close()
    server.stop()


def pushed(client, name, data):
    start = client.request("POST", f"/v2/{name}/blobs/uploads/", b"", server_error=True)
    if start.status != 202:
        return False
    where = with_digest(start["Location"], digest(data))
    return client.request("PUT", where, data, server_error=True).status == 201


@pytest.mark.spec("CONC-03")
@pytest.mark.parametrize("damage", ["shorter", "gone", "longer"])
def test_damaged_blobs_are_404_until_pushed_again(make_server, name, damage):
    server = make_server()
    client = server.client()
    data = fresh(12345)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    client.close()
    server.stop()
    [file] = [path for path, size in server.blob_files() if size == len(data)]
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-1] if damage == "shorter" else data + b"x")
    server.start()
    response = client.get(path)
    assert (response.status, response.code) == (404, "BLOB_UNKNOWN")
    assert client.head(path).status == 404
    push_blob(client, name, data)
    assert client.get(path).body == data
    client.close()


@pytest.mark.spec("CONC-03", "BLOB-09")
@pytest.mark.parametrize("way", ["http", "https"])
def test_a_blob_that_shrinks_while_it_is_sent(make_server, authority, name, way):
    """The body breaks off, and what memory knew of the blob is forgotten: HEAD asks no file."""
    server = make_server(tls=authority if way == "https" else None)
    client = server.client()
    data = fresh(24 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    assert client.head(path).status == 200
    with server.connect(receive_buffer=65536) as reader:
        reader.send_head("GET", path)
        assert reader.read_head().status == 200
        reader.read_exactly(1000)
        [file] = [path for path, size in server.blob_files() if size == len(data)]
        os.truncate(file, 1000)
        with pytest.raises((wire.Broken, ConnectionResetError)):
            reader.read_exactly(len(data))
    process.wait_for(lambda: client.head(path).status == 404, what="the blob to be unknown")
    client.close()


@pytest.mark.spec("ERR-05", "HTTP-20")
def test_refusals_are_none_that_clients_repeat_for_ever(client, name):
    """Plain client errors never use a status or code that clients retry on."""
    push_blob(client, name, b"{}")
    retried = {"TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE", "BLOB_UPLOAD_INVALID"}
    for response in (put_manifest(client, name, "t", b"x"), client.get(f"/v2/{name}/blobs/sha256:x"),
                     client.put(with_digest(start_upload(client, name), "x"), b"x"),
                     client.get(f"/v2/{name}/manifests/none"),
                     put_manifest(client, name, "t", image(b"none")),
                     client.put(with_digest(start_upload(client, name), content.ZERO), b"x")):
        assert response.status not in (408, 429) and response.status < 500
        assert not retried & set(response.codes)
