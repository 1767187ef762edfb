"""test_life.py - from start to end of the serving process: probes, signals, drain, the service manager."""
import socket
import time

from conftest import HUP, INT, TERM, wait_for


def begin_upload(server):
    """A connection in the middle of a body that the server waits for: (socket, what is missing)."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(b"PUT /v2/a/manifests/t HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.sendall(b"{}")
    return connection, b"  "


def test_probes_answer_while_serving(serve):
    server = serve()
    assert server.get("/livez") == (200, "ok\n")
    assert server.get("/startupz") == (200, "ok\n")
    assert server.get("/readyz") == (200, "ready\n")


def test_not_ready_when_space_is_low(serve):
    server = serve("storage.min_free=8000000TiB")
    assert server.get("/livez")[0] == 200
    assert server.get("/readyz")[0] == 503


def test_term_and_int_end_with_zero(serve):
    for number in (TERM, INT):
        server = serve()
        server.signal(number)
        assert server.wait() == 0
        assert "msg=server.stopped" in server.text()


def test_a_hangup_does_not_end_it(serve):
    server = serve()
    server.signal(HUP)
    wait_for(lambda: "msg=auth.reloaded" in server.text(), what="a line about the signal")
    assert server.get("/livez") == (200, "ok\n")


def test_shutdown_delay_serves_but_is_not_ready(serve):
    server = serve("server.shutdown_delay=1h")
    server.signal(TERM)
    wait_for(lambda: server.get("/readyz") == (503, "shutting down\n"), what="not ready")
    assert server.get("/v2/")[0] == 200
    assert server.get("/livez")[0] == 200
    server.signal(TERM)
    assert server.wait() == 0


def test_shutdown_delay_passes(serve):
    server = serve("server.shutdown_delay=1s")
    started = time.monotonic()
    server.signal(TERM)
    assert server.wait() == 0
    assert time.monotonic() - started > 0.8 and "msg=server.stopped" in server.text()


def test_drain_lets_a_request_finish(serve):
    server = serve()
    connection, rest = begin_upload(server)
    server.signal(TERM)
    wait_for(lambda: server.get("/livez", 1)[0] == 0, what="refusing new connections")
    connection.sendall(rest)
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"onnection: close" in answer
    connection.close()
    assert server.wait() == 0


def test_drain_ends_at_its_timeout(serve):
    server = serve("server.drain_timeout=1s")
    connection, _ = begin_upload(server)
    started = time.monotonic()
    server.signal(TERM)
    assert server.wait() == 0
    assert 0.8 < time.monotonic() - started < 50  # without the setting it is a minute
    connection.close()


def test_second_signal_ends_at_once(serve):
    server = serve("server.shutdown_delay=1h")
    server.signal(TERM)
    wait_for(lambda: "msg=server.stopping" in server.text(), what="server.stopping")
    server.signal(TERM)
    assert server.wait() == 0
    assert "msg=server.stopped" not in server.text()


def test_one_process_owns_a_root(serve, slipway):
    server = serve()
    root = server.log.parent / "root"
    said = slipway("serve", "--config", "/dev/null", "--set", f"storage.root={root}", "--set", "server.listen=127.0.0.1:0",
                   "--set", "auth.mode=none")
    assert said.returncode == 1
    assert "msg=server.failed" in said.stderr
    assert server.get("/readyz")[0] == 200


def test_address_in_use_is_told(serve, slipway, tmp_path):
    server = serve()
    address = server.url.removeprefix("http://")
    said = slipway("serve", "--config", "/dev/null", "--set", f"storage.root={tmp_path}/other", "--set",
                   f"server.listen={address}")
    assert said.returncode == 1
    assert "msg=server.failed" in said.stderr and address in said.stderr


def test_service_manager_is_told(serve, tmp_path):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(60)
        server = serve(environment={"NOTIFY_SOCKET": path})
        assert manager.recv(100) == b"READY=1"
        server.signal(TERM)
        assert manager.recv(100) == b"STOPPING=1"
        assert server.wait() == 0


def test_the_admin_socket_stands_in_the_root(serve):
    server = serve()
    path = server.log.parent / "root/admin.sock"
    assert path.is_socket()
    wait_for(lambda: f"address=unix:{path} scheme=admin" in server.text(), what="its line in the log")
    server.signal(TERM)
    assert server.wait() == 0
    assert not path.exists()


def test_the_admin_socket_stands_where_it_is_told(serve, tmp_path):
    server = serve(f"server.admin_socket={tmp_path}/other.sock")
    assert (tmp_path / "other.sock").is_socket() and not (server.log.parent / "root/admin.sock").exists()
    server = serve("server.admin_socket=off")
    assert "scheme=admin" not in server.text() and not (server.log.parent / "root/admin.sock").exists()


def test_an_admin_socket_with_a_long_path_is_refused(slipway, tmp_path):
    for setting in (f"storage.root=/tmp/{'x' * 100}", f"server.admin_socket=/tmp/{'y' * 110}"):
        said = slipway("serve", "-t", "--config", "/dev/null", "--set", setting)
        assert said.returncode == 1
        assert "server.admin_socket: the path /tmp/" in said.stderr and "longer than 107 bytes" in said.stderr
    said = slipway("serve", "-t", "--config", "/dev/null", "--set", "server.admin_socket=relative")
    assert said.returncode == 1 and "must be a path from the root" in said.stderr


def test_descriptor_limit_is_raised(serve):
    server = serve()
    line = next(line for line in open(f"/proc/{server.child.pid}/limits") if line.startswith("Max open files"))
    soft, hard = line.split()[3:5]
    assert soft == hard


def test_json_log(serve, slipway):
    import json
    said = slipway("serve", "--config", "/dev/null", "--set", "storage.root=/dev/null/x", "--set", "log.format=json",
                   "--set", "server.listen=127.0.0.1:0")
    lines = [json.loads(line) for line in said.stderr.splitlines()]
    assert [line["msg"] for line in lines] == ["server.starting", "server.failed"]
    assert said.returncode == 1
