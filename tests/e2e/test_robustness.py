"""test_robustness.py - clients that vanish, stall, crowd; a server told to end (http and https)."""
import concurrent.futures
import contextlib
import signal
import socket
import time

import pytest

from support import process, wire
from support.content import digest, fresh, push_blob, push_image, start_upload, with_digest
from support.crowd import beside, middle
from support.pace import in_time


@pytest.fixture(params=["http", "https"])
def secured(request):
    """None, or the authority for a TLS listener."""
    return request.getfixturevalue("authority") if request.param == "https" else None


def offset(client, where):
    return int(client.get(where)["Range"].split("-")[1]) + 1


@pytest.mark.spec("UPL-14", "LIM-02")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_hundred_uploads_dropped_in_mid_body(make_server, secured, name, chunked):
    """Half by FIN, half by RST: what was received is kept, descriptors return, memory is flat."""
    server = make_server(tls=secured)
    client = server.client(timeout=30)
    push_image(client, name)
    data = fresh(300000)
    places = [start_upload(client, name) for _ in range(100)]
    drop(server, places[:10], data, chunked, client)  # pools and buffers reach their size
    descriptors, memory = server.descriptors(), server.memory()
    for at in range(10, 100, 10):  # as many at a time: what each holds meanwhile is no growth
        drop(server, places[at:at + 10], data, chunked, client)
    process.wait_for(lambda: server.descriptors() <= descriptors, 20, "descriptors return")
    if not process.sanitized():
        assert server.memory() - memory < 12 << 20
    for where in places[::9]:
        response = client.patch(where, data[200000:], headers=[("Content-Range", "200000-299999")])
        assert response.status == 202
        assert client.put(with_digest(where, digest(data))).status == 201
    client.close()


def drop(server, places, data, chunked, client):
    """Sends 200,000 bytes to each, waits until the server has them, and leaves."""
    held = []
    for where in places:
        connection = server.connect()
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(data))
        connection.send_head("PATCH", where, [framing])
        if chunked:
            connection.send(b"%x\r\n" % len(data))
        connection.send(data[:200000])
        held.append(connection)
    for where in places:
        process.wait_for(lambda place=where: offset(client, place) == 200000, 40, f"bytes kept in {where}")
    for number, connection in enumerate(held):
        connection.reset() if number % 2 else connection.leave()
    for where in places:
        assert offset(client, where) == 200000


@pytest.mark.spec("UPL-14")
def test_bytes_sent_just_before_leaving_are_kept(make_server, secured, name):
    """FIN directly behind the bytes: all that was sent is kept, no pause in between."""
    server = make_server(tls=secured)
    client = server.client()
    data = fresh(600001)  # two pieces and a part: that one is not with a worker yet
    places = [start_upload(client, name) for _ in range(20)]
    for where in places:
        connection = server.connect()
        connection.send_head("PATCH", where, [("Content-Length", 1 << 20)])
        connection.send(data)
        connection.leave()
    for where in places:
        process.wait_for(lambda place=where: offset(client, place) == len(data), 40, "all bytes kept")
    client.close()


def rests(server, most, seconds=1.5):
    """Whether there is a time in which it needs so little CPU: what spins has none."""
    used = []
    while len(used) < 10 and min(used, default=seconds) > most:
        before = server.cpu_seconds()
        time.sleep(seconds)
        used.append(server.cpu_seconds() - before)
    assert min(used) <= most, f"{used} s of CPU in {seconds} s each"


@pytest.mark.spec("HTTP-21")
def test_a_thousand_idle_connections_cost_no_cpu(make_server, secured):
    server = make_server({"server.limits.idle_timeout": "10m"}, tls=secured)
    count = 1000 if not secured else 300
    held = []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        held = list(pool.map(lambda _: server.connect(), range(count)))
    for connection in held[::50]:
        assert connection.request("GET", "/v2/").status == 200
    rests(server, 0.025 if not process.sanitized() else 0.15)
    for connection in held[::50]:
        assert connection.request("GET", "/v2/").status == 200
    for connection in held:
        connection.close()
    process.wait_for(lambda: server.descriptors() < 200, 20, "descriptors return")


@pytest.mark.spec("HTTP-21", "UPL-14")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_stalled_body_is_cut_and_its_prefix_kept(make_server, secured, name, chunked):
    server = make_server({"server.limits.body_idle_timeout": "2s"}, tls=secured)
    client = server.client()
    where, data = start_upload(client, name), fresh(100000)
    with server.connect(timeout=20) as connection:
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(data))
        connection.send_head("PATCH", where, [framing])
        begin = time.monotonic()
        connection.send((b"%x\r\n" % len(data) if chunked else b"") + data[:70000])
        response = connection.response("PATCH")
        waited = time.monotonic() - begin
        assert response.status == 408
        assert waited > 1.5
        assert connection.closed_by_peer()
    assert offset(client, where) == 70000
    assert client.patch(where, data[70000:]).status == 202
    assert client.put(with_digest(where, digest(data))).status == 201
    client.close()


@pytest.mark.spec("HTTP-21")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_trickling_body_is_not_cut(make_server, secured, name, chunked):
    """Longer than the idle time-out in all, never idle for long."""
    server = make_server({"server.limits.body_idle_timeout": "3s"}, tls=secured)
    client = server.client()
    data = fresh(16)

    def attempt(pace):
        where = start_upload(client, name)
        with server.connect(timeout=20) as connection:
            framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", len(data))
            connection.send_head("PATCH", where, [framing])
            for at in range(16):
                piece = data[at:at + 1]
                connection.send_chunk(piece) if chunked else connection.send(piece)
                pace.step(0.25)
            if chunked:
                connection.send_chunk(b"")
            assert connection.response("PATCH").status == 202
        return where
    assert client.put(with_digest(in_time(1.5, attempt), digest(data))).status == 201
    client.close()


@pytest.mark.spec("HTTP-21")
def test_slow_reader_is_not_cut_but_a_stalled_one_is(make_server, secured, name):
    server = make_server({"server.limits.write_idle_timeout": "3s"}, tls=secured)
    client = server.client()
    data = fresh(12 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, data)}"
    descriptors = server.descriptors()

    def attempt(pace):
        with server.connect(receive_buffer=32768) as slow:
            slow.send_head("GET", path)
            slow.read_head()
            for at in range(0, 2 << 20, 256 << 10):
                assert slow.read_exactly(256 << 10) == data[at:at + (256 << 10)]
                pace.step(0.5)  # 4 s in all
            assert slow.read_exactly((12 << 20) - (2 << 20)) == data[2 << 20:]
    in_time(1.5, attempt)
    with server.connect(receive_buffer=32768, timeout=30) as stalled:
        stalled.send_head("GET", path)
        stalled.read_head()
        process.wait_for(lambda: server.descriptors() <= descriptors, 30, "the stalled reader is cut")
        with pytest.raises((wire.Broken, ConnectionError, OSError)):
            stalled.read_exactly(len(data))
    client.close()


@pytest.mark.spec("HTTP-21")
def test_slow_head_and_idle_connection_are_cut(make_server, secured):
    server = make_server({"server.limits.header_timeout": "2s", "server.limits.idle_timeout": "2s"}, tls=secured)
    with server.connect() as slow:
        slow.send(b"GET /v2/ HT")
        with server.connect() as idle:
            begin = time.monotonic()
            assert idle.request("GET", "/v2/").status == 200
            assert idle.closed_by_peer(20)
            assert time.monotonic() - begin > 1
        assert slow.response().status == 408
        assert slow.closed_by_peer()


def plain_connect(server):
    """A TCP connection without a word: TLS could not be spoken when descriptors are out."""
    one = socket.create_connection(("127.0.0.1", server.port), 10)
    return one


def test_running_out_of_descriptors_does_not_spin(make_server, secured, name):
    server = make_server(tls=secured, files=160)
    client = server.client()
    value, data, _ = push_image(client, name)
    client.close()
    held = []
    for _ in range(300):
        held.append(plain_connect(server))
    rests(server, 0.15)
    assert server.running()
    for connection in held:
        connection.close()
    process.wait_for(lambda: serves(server, name, value, data), 40, "serving again", 0.2)
    client = server.client()
    push_image(client, name, "after")
    client.close()


def serves(server, name, value, data):
    try:
        with server.connect(timeout=10) as connection:
            response = connection.request("GET", f"/v2/{name}/manifests/{value}")
            return response.status == 200 and response.body == data
    except (OSError, wire.Broken):
        return False


# --- ends and restarts ---

@pytest.mark.spec("UPL-04")
def test_sigterm_drains_an_upload_in_flight(make_server, secured, name):
    """Idle connections close, new ones are refused, the upload ends with 201 and Connection: close."""
    server = make_server(tls=secured)
    client, data = server.client(), fresh(200000)
    where = start_upload(client, name)
    idle = server.connect()
    assert idle.request("GET", "/v2/").status == 200
    with server.connect() as busy:
        busy.send_head("PUT", with_digest(where, digest(data)), [("Content-Length", len(data))])
        busy.send(data[:100000])
        process.wait_for(lambda: offset(client, where) == 100000, 20, "half the body")
        client.close()
        server.signal(signal.SIGTERM)
        assert idle.closed_by_peer(20)
        process.wait_for(lambda: refused(server), 20, "new connections are refused")
        time.sleep(1)
        assert server.running()
        busy.send(data[100000:])
        response = busy.response("PUT")
        assert response.status == 201
        assert response["Connection"].lower() == "close"
        assert busy.closed_by_peer()
    assert server.wait() == 0
    server.start()
    client = server.client()
    assert client.get(f"/v2/{name}/blobs/{digest(data)}").body == data
    client.close()


def refused(server):
    try:
        socket.create_connection(("127.0.0.1", server.port), 2).close()
        return False
    except OSError:
        return True


@pytest.mark.spec("UPL-04", "CONC-02")
@pytest.mark.parametrize("way", ["second-signal", "drain-timeout"])
def test_draining_has_an_end(make_server, name, way):
    """A client that never finishes: the second signal, or drain_timeout, ends at once and its bytes stay."""
    server = make_server({"server.drain_timeout": "60s" if way == "second-signal" else "2s"})
    client = server.client()
    where = start_upload(client, name)
    busy = server.connect()
    busy.send_head("PATCH", where, [("Content-Length", 100)])
    busy.send(b"x" * 50)
    process.wait_for(lambda: offset(client, where) == 50, 20, "half the body")
    client.close()
    begin = time.monotonic()
    server.signal(signal.SIGTERM)
    if way == "second-signal":
        time.sleep(1)
        assert server.running()
        server.signal(signal.SIGTERM)
    assert server.wait() == 0
    took = time.monotonic() - begin
    assert took < 30 if way == "second-signal" else 1.5 < took < 30
    busy.close()
    server.start()
    assert offset(client, where) == 50
    assert client.patch(where, b"x" * 50).status == 202
    assert client.put(with_digest(where, digest(b"x" * 100))).status == 201
    client.close()


@pytest.mark.spec("UPL-04", "UPL-14")
def test_streaming_upload_resumes_after_sigkill(make_server, name):
    """Killed in mid-body: the session stands at an offset whose bytes are right, or is gone."""
    server = make_server()
    client, data = server.client(), fresh(8 << 20)
    for cut in (100, 70000, 1 << 20, 5 << 20):
        where = start_upload(client, name)
        assert client.patch(where, data[:1000]).status == 202
        connection = server.connect()
        connection.send_head("PATCH", where, [("Content-Length", len(data) - 1000)])
        connection.send(data[1000:cut + 1000])
        process.wait_for(lambda place=where, size=cut + 1000: offset(client, place) == size, 40, "received")
        client.close()
        server.kill()
        connection.close()
        server.start()
        response = client.get(where)
        assert response.status == 204  # 1,000 bytes were acknowledged: it may not be gone
        stands = int(response["Range"].split("-")[1]) + 1
        assert 1000 <= stands <= cut + 1000
        assert client.patch(where, data[stands:], headers=[("Content-Range", f"{stands}-{len(data) - 1}")]).status == 202
        assert client.put(with_digest(where, digest(data))).status == 201
        assert client.get(f"/v2/{name}/blobs/{digest(data)}").body == data
        assert client.delete(f"/v2/{name}/blobs/{digest(data)}").status == 202
    client.close()


def test_one_process_owns_a_root(make_server):
    first = make_server()
    second = process.Server(first.folder, {"storage.root": first.root})
    second.log = first.folder / "second.log"
    with pytest.raises(AssertionError, match="the server ended"):
        second.start()
    assert second.child.returncode not in (0, -signal.SIGSEGV, -signal.SIGABRT)
    with first.connect() as connection:
        assert connection.request("GET", "/v2/").status == 200


@pytest.mark.spec("HTTP-20")
@pytest.mark.parametrize("probe", ["/livez", "/readyz", "/startupz"])
def test_probes(client, probe):
    response = client.get(probe)
    assert response.status == 200
    assert client.head(probe).status == 200


def test_not_ready_while_draining(make_server, name):
    """During shutdown_delay the server still serves, and says it will not for long; the next signal ends it."""
    server = make_server({"server.shutdown_delay": "60s"})
    client = server.client()
    assert client.get("/readyz").status == 200
    server.signal(signal.SIGTERM)
    process.wait_for(lambda: client.request("GET", "/readyz", server_error=True).status == 503, 20, "not ready")
    assert client.get("/livez").status == 200
    push_image(client, name)
    client.close()
    assert server.running()
    server.signal(signal.SIGTERM)
    assert server.wait(30) == 0


def test_the_shutdown_delay_has_an_end(make_server):
    server = make_server({"server.shutdown_delay": "1s"})
    begin = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - begin > 0.9


@pytest.mark.spec("BLOB-08")
def test_small_answers_while_big_ones_move(make_server, secured, name):
    """Four uploads and four downloads run; a manifest is read a hundred times meanwhile."""
    server = make_server(tls=secured)
    client = server.client()
    value, data, _ = push_image(client, name)
    big = fresh(32 << 20)
    path = f"/v2/{name}/blobs/{push_blob(client, name, big)}"
    long, short = [], []

    def load(stop, number):
        with contextlib.closing(server.client()) as one:
            while not stop.is_set():
                begin = time.monotonic()
                if number % 2:
                    assert one.get(path).body == big
                else:
                    assert one.patch(start_upload(one, name), big).status == 202
                long.append(time.monotonic() - begin)

    with beside(4, load):
        for _ in range(100):
            begin = time.monotonic()
            assert client.get(f"/v2/{name}/manifests/{value}").body == data
            short.append(time.monotonic() - begin)
    assert middle(short) < middle(long) / 4
    client.close()
