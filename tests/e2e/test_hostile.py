"""test_hostile.py - clients that mean harm: what they do may cost themselves, never the others.

Each attack runs beside an honest client, whose answers must keep coming: it waits for a small part
of what the attackers wait for one another, however slow the machine is.
"""
import contextlib
import os
import subprocess
import sys
import time

import pytest

from support import process
from support.content import (IMAGE, artifact, compact, fresh, push_blob, push_image, push_subject_free, put_manifest,
                             start_upload)
from support.crowd import beside, middle
from support.pace import in_time


def median_wait(client, name, rounds=15):
    """Seconds that a list and a fresh upload take together: both need a worker."""
    waits = []
    for _ in range(rounds):
        begin = time.monotonic()
        assert client.get(f"/v2/{name}/tags/list").status == 200
        start_upload(client, name)
        waits.append(time.monotonic() - begin)
    return middle(waits)


@pytest.mark.spec("UPL-15")
def test_a_crowd_on_one_session_holds_no_workers(make_server, name):
    """More writers than workers ask for a session that a trickling one keeps."""
    server = make_server()
    client = server.client()
    push_image(client, name)

    def attempt(pace):
        where, crowded = start_upload(client, name), []

        def trickle(stop, _):
            with server.connect() as living:
                living.send_head("PATCH", where, [("Content-Length", 1000000)])
                while not stop.wait(0.1):
                    living.send(b"x")
                    pace.step()

        def crowd(stop, _):
            while not stop.is_set():
                begin = time.monotonic()
                with server.connect(timeout=120) as one:
                    one.send_head("PATCH", where, [("Content-Length", 3)])
                    one.send(b"abc")
                    assert one.response("PATCH").status == 416
                crowded.append(time.monotonic() - begin)

        with beside(1, trickle):
            process.wait_for(lambda: client.get(where)["Range"] != "0-0", 20, "the first writer's bytes")
            with beside(80, crowd):
                time.sleep(0.5)
                honest = median_wait(client, name)
        assert honest < middle(crowded) / 4
    in_time(1, attempt)
    client.close()


@contextlib.contextmanager
def stalled_bodies(server, count, method, path, size, sent, source="127.0.0.1"):
    """Bodies of a size of which only so much is sent. path: a function of their number."""
    held = []
    with contextlib.ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(server.connect(source=source))
            connection.send_head(method, path(number), [("Content-Length", size)])
            connection.send(b"x" * sent)
            held.append(connection)
        yield held


@pytest.mark.spec("HTTP-20", "LIM-01")
def test_one_address_with_all_uploads_locks_nobody_out(make_server, name):
    """Another address gets its place at once; of the stalled uploads one is told 408 and keeps its bytes."""
    server = make_server({"server.limits.uploads": "8"})
    client = server.client()
    places = [start_upload(client, name) for _ in range(8)]
    data = fresh(200000)
    with stalled_bodies(server, 8, "PATCH", lambda n: places[n], 100000, 50000, "127.0.0.9"):
        for where in places:
            process.wait_for(lambda place=where: client.get(place)["Range"] == "0-49999", 20, "bytes")
        for _ in range(3):
            push_blob(client, name, data)
        assert all(client.get(where)["Range"] == "0-49999" for where in places)
    client.close()


@pytest.mark.spec("HTTP-20", "LIM-01")
def test_stalled_uploads_give_way_to_their_own_address(make_server, name):
    """Behind a proxy all have one address: then who stood still for some seconds gives way."""
    def attempt(pace):
        server = make_server({"server.limits.uploads": "4"})
        with contextlib.closing(server.client()) as client:
            stand_still(server, client, pace)

    def stand_still(server, client, pace):
        places = [start_upload(client, name) for _ in range(4)]
        with stalled_bodies(server, 4, "PATCH", lambda n: places[n], 100000, 50000) as held:
            def move(stop, _):
                while not stop.wait(0.1):
                    for connection in held:
                        connection.send(b"x")
                    pace.step()

            with beside(1, move):
                for where in places:
                    process.wait_for(lambda place=where: int(client.get(place)["Range"][2:]) >= 50000, 20, "bytes")
                where = start_upload(client, name)
                early = client.request("PATCH", where, fresh(200000), server_error=True)
            assert early.status == 503 and early.code == "UNAVAILABLE"
            time.sleep(5.5)
            push_blob(client, name, fresh(200000))
    in_time(2.5, attempt)


@pytest.mark.spec("LIM-02")
def test_stalled_manifests_hold_no_more_memory_than_uploads(make_server, name):
    server = make_server({"server.limits.uploads": "24"})
    client = server.client()
    push_image(client, name)
    before = server.memory()
    with contextlib.ExitStack() as stack:
        for number in range(60):
            connection = stack.enter_context(server.connect())
            connection.send_head("PUT", f"/v2/{name}/manifests/t{number}", [("Content-Length", 4 << 20)])
            with contextlib.suppress(ConnectionError):
                connection.send(b" " * ((4 << 20) - 1))
        time.sleep(1)
        if not process.sanitized():
            assert server.memory() - before < 24 * (3 << 19) + (16 << 20)
        assert client.get(f"/v2/{name}/manifests/latest").status == 200
    client.close()


@pytest.mark.spec("LIM-02")
def test_readers_who_do_not_read_hold_bounded_memory(make_server, name):
    """A hundred and fifty stalled readers of large manifests that the cache cannot keep."""
    server = make_server({"storage.cache": "0"})
    client = server.client()
    push_subject_free(client, name)
    for number in range(3):
        body = artifact(annotations={"x": "x" * (4 * 1024 * 1024 - 2000), "n": str(number)})
        put_manifest(client, name, f"large{number}", body)
    idle = server.memory()
    with contextlib.ExitStack() as stack:
        for number in range(150):
            one = stack.enter_context(server.connect(receive_buffer=4096))
            one.send_head("GET", f"/v2/{name}/manifests/large{number % 3}")
        for _ in range(10):
            assert client.get(f"/v2/{name}/tags/list").status == 200
        time.sleep(2)
        if not process.sanitized():
            assert server.memory() - idle < 320 << 20
        assert client.get(f"/v2/{name}/manifests/large0").status == 200
    if not process.sanitized():
        process.wait_for(lambda: server.memory() - idle < 32 << 20, 20, "memory goes back")
    client.close()


def heavy_manifest():
    """Ten thousand layers that need not be here: accepted, and dear to store."""
    layer = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layers = [{"mediaType": layer, "digest": "sha256:" + os.urandom(32).hex(), "size": 1, "urls": ["http://x/"]}
              for _ in range(9999)]
    return compact({**artifact(), "layers": layers})


@pytest.mark.spec("LIM-02")
def test_heavy_pushes_delay_their_own_address(make_server, name):
    """More pushers of the largest manifests than workers: they wait in line, the honest client in another."""
    server = make_server()
    client = server.client()
    push_image(client, name)
    push_subject_free(client, name)
    body, heavy = heavy_manifest(), []

    def pusher(stop, number):
        for turn in range(100):
            if stop.is_set():
                return
            fresh_body = body[:-1] + b',"annotations":{"n":"%d-%d"}}' % (number, turn)
            begin = time.monotonic()
            with server.connect(timeout=300, source="127.0.0.9") as one:
                one.send_head("PUT", f"/v2/{name}/manifests/heavy{number}",
                              [("Content-Type", IMAGE), ("Content-Length", len(fresh_body))])
                one.send(fresh_body)
                status = one.response("PUT").status
                assert status in (201, 503)
            if status == 201:
                heavy.append(time.monotonic() - begin)

    with beside(40, pusher):
        time.sleep(1)
        honest = median_wait(client, name, 9)
    assert honest < middle(heavy) / 4
    client.close()


FLOOD = """
import socket, sys
port, request = int(sys.argv[1]), sys.stdin.buffer.read()
crowd = []
for _ in range(50):
    one = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.9", 0))
    one.setblocking(False)
    crowd.append(one)
while True:
    for one in crowd:
        try:
            one.send(request)
        except OSError:
            pass
        try:
            while one.recv(1 << 20):
                pass
        except OSError:
            pass
"""


@contextlib.contextmanager
def flood(server, request):
    """Fifty connections that send a request over and over without waiting for its answers."""
    child = subprocess.Popen([sys.executable, "-c", FLOOD, str(server.port)], stdin=subprocess.PIPE)
    child.stdin.write(request)
    child.stdin.close()
    try:
        time.sleep(1)
        assert child.poll() is None
        yield
    finally:
        child.kill()
        child.wait()


@pytest.mark.spec("HTTP-01")
def test_pipelined_requests_wait_for_the_others_turns(make_server, name):
    """Each request of the flood costs hundreds of system calls; one connection may not do them in a row."""
    server = make_server({"log.access": "false"})
    client = server.client()
    push_image(client, name)
    value = push_blob(client, name, fresh(1 << 20))
    ranges = ",".join(f"{at}-{at}" for at in range(0, 1 << 20, 4100))
    head = f"GET /v2/{name}/blobs/{value} HTTP/1.1\r\nHost: x\r\nRange: bytes={ranges}\r\n\r\n"

    def wait(path, status, *headers):
        begin = time.monotonic()
        assert client.get(path, headers=headers).status == status
        return time.monotonic() - begin

    with flood(server, head.encode() * 10):
        light = middle([wait(f"/v2/{name}/manifests/latest", 200) for _ in range(9)])
        heavy = middle([wait(f"/v2/{name}/blobs/{value}", 206, ("Range", f"bytes={ranges}")) for _ in range(3)])
    assert light < heavy / 4
    client.close()
