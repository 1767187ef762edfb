"""test_hostile.py - clients that mean harm: what they do may cost themselves, never the others.

Each attack runs beside an honest client, whose answers must keep coming: the limits are far above
what an idle server needs, far below what a starved one takes.
"""
import contextlib
import socket
import threading
import time

import pytest

from support import process
from support.content import push_image, start_upload

SOON = 0.75 if not process.sanitized() else 3  # seconds; machines that run tests are busy


@contextlib.contextmanager
def attackers(count, attack):
    """Runs attack(stop, number) in so many threads until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=attack, args=(stop, number)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def median_wait(client, name, rounds=15):
    """Seconds that a list and a fresh upload take together: both need a worker."""
    waits = []
    for _ in range(rounds):
        begin = time.monotonic()
        assert client.get(f"/v2/{name}/tags/list").status == 200
        start_upload(client, name)
        waits.append(time.monotonic() - begin)
    return sorted(waits)[len(waits) // 2]


@pytest.mark.spec("UPL-15")
def test_a_crowd_on_one_session_holds_no_workers(make_server, name):
    """More writers than workers ask for a session that a trickling one keeps."""
    server = make_server()
    client = server.client()
    push_image(client, name)
    where = start_upload(client, name)

    def trickle(stop, _):
        with server.connect() as living:
            living.send_head("PATCH", where, [("Content-Length", 1000000)])
            while not stop.wait(0.1):
                living.send(b"x")

    def crowd(stop, _):
        while not stop.is_set():
            with server.connect() as one, contextlib.suppress(socket.timeout):
                one.send_head("PATCH", where, [("Content-Length", 3)])
                one.send(b"abc")
                assert one.response("PATCH").status == 416

    with attackers(1, trickle):
        process.wait_for(lambda: client.get(where)["Range"] != "0-0", 10, "the first writer's bytes")
        with attackers(80, crowd):
            time.sleep(0.5)
            assert median_wait(client, name) < SOON
    client.close()
