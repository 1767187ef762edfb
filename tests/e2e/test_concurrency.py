"""test_concurrency.py - many at once: no mixture, no loss, no lie (section 17)."""
import concurrent.futures
import contextlib
import threading
import time

import pytest

from support import content, process, wire
from support.content import compact, digest, fresh, image, push_blob, put_manifest, start_upload, with_digest


def together(count, action):
    """action(number) on so many threads, begun at the same moment; their results in order."""
    gate = threading.Barrier(count)

    def one(number):
        gate.wait()
        return action(number)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.spec("CONC-01", "MPUT-24", "CACHE-04")
def test_one_tag_pushed_by_eight(server, client, name):
    """Every answer is 201, and at each moment tag, digest, type and bytes belong together."""
    push_blob(client, name, b"{}")
    versions = {}
    for number in range(8):
        kind = (content.IMAGE, content.DOCKER_IMAGE)[number % 2]
        for turn in range(12):
            data = compact(image(media_type=kind, annotations={"n": f"{number}.{turn}"}))
            versions[digest(data)] = (data, kind)
    by_writer = list(versions.items())
    put_manifest(client, name, "t", by_writer[0][1][0], by_writer[0][1][1])
    done, seen = threading.Event(), []

    def read():
        reader = server.client()
        while not done.is_set():
            response = reader.get(f"/v2/{name}/manifests/t")
            seen.append((response.status, response["Docker-Content-Digest"], response["Content-Type"],
                         response["ETag"], response.body))
        reader.close()

    reader = threading.Thread(target=read)
    reader.start()

    def write(number):
        writer = server.client()
        statuses = [put_manifest(writer, name, "t", data, kind).status
                    for _, (data, kind) in by_writer[number * 12:number * 12 + 12]]
        writer.close()
        return statuses

    results = together(8, write)
    done.set()
    reader.join()
    assert {status for statuses in results for status in statuses} == {201}
    seen.append((200, client.head(f"/v2/{name}/manifests/t")["Docker-Content-Digest"], None, None, None))
    for status, value, kind, etag, body in seen[:-1]:
        assert status == 200
        assert (body, kind) == versions[value] and etag == f'"{value}"'
    last = client.get(f"/v2/{name}/manifests/t")
    assert last["Docker-Content-Digest"] == seen[-1][1]
    assert last["Docker-Content-Digest"] in [by_writer[number * 12 + 11][0] for number in range(8)]
    for value, (data, _) in versions.items():
        assert client.get(f"/v2/{name}/manifests/{value}").body == data


@pytest.mark.spec("UPL-24", "CONC-01")
def test_one_blob_pushed_by_eight(server, client, name):
    data = fresh(2 << 20)
    value = digest(data)

    def push(number):
        writer = server.client()
        where = start_upload(writer, name)
        if number % 2:
            writer.patch(where, data[:1 << 20])
            response = writer.put(with_digest(where, value), data[1 << 20:])
        else:
            response = writer.put(with_digest(where, value), data)
        statuses = response.status, writer.get(f"/v2/{name}/blobs/{value}").body == data
        writer.close()
        return statuses

    assert together(8, push) == [(201, True)] * 8
    assert client.get(f"/v2/{name}/blobs/{value}").body == data


def session_digest(server, size):
    """The bytes of a session lie in one file of its size below the root."""
    [file] = [path for path, found in server.blob_files() if found == size]
    return digest(file.read_bytes())


@pytest.mark.spec("UPL-15")
@pytest.mark.parametrize("turn", range(3))
def test_two_bodies_never_interleave(server, client, name, turn):
    """Two writers of distinct bytes at once: the session holds runs of one letter, never a mixture."""
    where = start_upload(client, name)
    bodies = {b"a": b"a" * (3000000 + turn), b"b": b"b" * (2000000 + turn)}  # files of earlier turns go later

    def write(number):
        letter = (b"a", b"b")[number]
        writer = server.client()
        pieces = (bodies[letter][at:at + 50000] for at in range(0, len(bodies[letter]), 50000))
        status = writer.patch(where, pieces, chunked=True).status
        writer.close()
        return letter, status

    answers = together(2, write)
    assert {status for _, status in answers} <= {202, 416} and 202 in [status for _, status in answers]
    size = int(client.get(where)["Range"].split("-")[1]) + 1
    kept = [letter for letter, status in answers if status == 202]
    if len(kept) == 2:
        assert size == 5000000 + 2 * turn
        shapes = [bodies[b"a"] + bodies[b"b"], bodies[b"b"] + bodies[b"a"]]
    else:  # the loser's prefix, if any, then the winner whole; or the winner whole alone
        winner, loser = kept[0], {b"a": b"b", b"b": b"a"}[kept[0]]
        rest = size - len(bodies[winner])
        assert rest >= 0
        shapes = [loser * rest + bodies[winner], bodies[winner] + loser * rest]
    assert session_digest(server, size) in {digest(shape) for shape in shapes}
    assert client.delete(where).status == 204


@pytest.mark.spec("UPL-15", "UPL-08")
def test_second_writer_takes_over_a_dead_one(server, client, name):
    """The first connection stalls after half; the newer one waits briefly and wins."""
    data = fresh(200000)
    where = start_upload(client, name)
    with server.connect(timeout=60) as stalled:
        stalled.send_head("PATCH", where, [("Content-Length", len(data))])
        stalled.send(data[:100000])
        process.wait_for(lambda: client.get(where)["Range"] == "0-99999", 30, "the first half")
        response = client.patch(where, data[100000:], headers=[("Content-Range", "100000-199999")])
        assert response.status == 202 and response["Range"] == "0-199999"
        try:
            stalled.send(b"z" * 100000)  # the loser may not write any more
            late = stalled.response("PATCH")
        except (wire.Broken, OSError):
            late = None  # cut off instead
        assert late is None or (late.status, late.code) == (416, "BLOB_UPLOAD_INVALID")
    assert client.get(where)["Range"] == "0-199999"
    assert client.put(with_digest(where, digest(data))).status == 201
    assert client.get(f"/v2/{name}/blobs/{digest(data)}").body == data


class Living:
    """Writes to a session, a little at a time, until end(). pause: the longest, in seconds."""

    def __init__(self, server, where):
        self.connection, self.stop, self.size, self.pause = server.connect(timeout=60), threading.Event(), 0, 0
        self.connection.send_head("PATCH", where, [("Transfer-Encoding", "chunked")])
        self.thread = threading.Thread(target=self.trickle, daemon=True)
        self.thread.start()

    def trickle(self):
        before = time.monotonic()
        with contextlib.suppress(OSError):  # cut off: end() tells
            while not self.stop.is_set():
                self.connection.send_chunk(b"a" * 1000)
                self.size += 1000
                now = time.monotonic()
                before, self.pause = now, max(self.pause, now - before)
                self.stop.wait(0.02)

    def end(self):
        """The status of its answer; None: it was cut off."""
        self.stop.set()
        self.thread.join()
        with self.connection, contextlib.suppress(OSError, wire.Broken):
            self.connection.send_chunk(b"")
            return self.connection.response("PATCH").status


@pytest.mark.spec("UPL-15")
def test_second_writer_yields_to_a_living_one(server, client, name):
    """The first connection keeps making progress: the newer one gets 416 with the current Range."""
    for _ in range(5):
        where = start_upload(client, name)
        living = Living(server, where)
        process.wait_for(lambda: client.get(where)["Range"] != "0-0", 20, "progress")
        begin = time.monotonic()
        second = client.patch(where, b"b" * 1000)
        took = time.monotonic() - begin
        status = living.end()
        if second.status == 416 or max(living.pause, took) < 1:
            break  # else the machine stopped one of them for so long that it did not look alive
    assert status == 202
    assert second.status == 416 and second.code == "BLOB_UPLOAD_INVALID"
    assert second["Range"] != "0-0" and second["Location"] == where
    data = b"a" * living.size
    assert client.put(with_digest(where, digest(data))).status == 201


@pytest.mark.spec("CACHE-04", "CONC-01")
def test_read_after_write_under_parallel_retagging(server, client, name):
    """Eight writers, each with a tag of its own, read what they wrote while the others write."""
    push_blob(client, name, b"{}")

    def work(number):
        one, wrong = server.client(), 0
        for turn in range(40):
            data = compact(image(annotations={"n": f"{number}.{turn}"}))
            assert put_manifest(one, name, f"own{number}", data).status == 201
            wrong += one.get(f"/v2/{name}/manifests/own{number}").body != data
            wrong += one.head(f"/v2/{name}/manifests/own{number}")["Docker-Content-Digest"] != digest(data)
            wrong += one.get(f"/v2/{name}/manifests/{digest(data)}").body != data
        one.close()
        return wrong

    assert together(8, work) == [0] * 8
    assert len(client.get(f"/v2/{name}/tags/list").json()["tags"]) == 8


@pytest.mark.spec("DEL-07", "MPUT-23", "MPUT-14", "CONC-05")
def test_pushes_and_deletes_interleave(server, client, name):
    """Each pair pushes and deletes the same image again and again: every answer is one that some order
    of the requests explains, and what is finally pushed is whole."""
    layer, config = fresh(1000), fresh(100)
    body = compact(image(config, [layer]))

    def push(one):
        for data in (layer, config):
            push_blob(one, name, data)
        response = put_manifest(one, name, "t", body)
        return response.status, response.status == 201 or response.code

    def work(number):
        one, results = server.client(), set()
        for _ in range(15):
            if number % 2:
                results.add(push(one))
            else:
                results.add((one.delete(f"/v2/{name}/manifests/{digest(body)}").status, "manifest"))
                results.add((one.delete(f"/v2/{name}/blobs/{digest(layer)}").status, "blob"))
        one.close()
        return results

    results = set().union(*together(6, work))
    assert results <= {(201, True), (400, "MANIFEST_BLOB_UNKNOWN"), (202, "manifest"), (404, "manifest"),
                       (202, "blob"), (404, "blob")}
    assert push(client) == (201, True)
    assert content.verify(client, name, "t") == 3


@pytest.mark.spec("BLOB-08", "UPL-22", "HTTP-21")
def test_a_busy_registry(server, name):
    """Sixteen clients push whole images and pull each other's; everything read is right."""
    pushed, lock = [], threading.Lock()

    def work(number):
        one = server.client()
        for turn in range(8):
            content.push_image(one, f"{name}/{number % 4}", f"t{number}-{turn}", layers=[fresh(20000), fresh(10)])
            with lock:
                pushed.append((f"{name}/{number % 4}", f"t{number}-{turn}"))
                other = pushed[(number * 7 + turn * 3) % len(pushed)]
            assert content.verify(one, *other) == 4
        one.close()

    together(16, work)
    assert len(pushed) == 128
