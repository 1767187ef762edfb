"""HTTP strictness over raw sockets, plain and TLS.

Each row is the bytes a client sends and the statuses that must come back, in order. A row whose
framing is in doubt ends in exactly one error and a closed connection: the request hidden behind it
(`SMUGGLED`) must never be answered. Rows marked `open` prove that the connection is still usable
by sending one more request on it.
"""

import select
import socket
import ssl
import time

import pytest

from support.pace import in_time

HOST = b"Host: slipway.test\r\n"
PING = b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = b"GET /v2/smuggled/tags/list HTTP/1.1\r\n" + HOST + b"\r\n"


def get(target=b"/v2/", version=b"HTTP/1.1", headers=HOST):
    return b"GET " + target + b" " + version + b"\r\n" + headers + b"\r\n"


def post(framing, body=b""):
    """Starts an upload session: a route that accepts an empty body in every framing."""
    return b"POST /v2/strict/blobs/uploads/ HTTP/1.1\r\n" + HOST + framing + b"\r\n" + body


def patch(framing, body=b""):
    """A streamed body; SESSION is replaced by the path of a fresh session."""
    return b"PATCH SESSION HTTP/1.1\r\n" + HOST + framing + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"


def chunked(body):
    return patch(CHUNKED, body)


# name, bytes, statuses, connection afterwards
ROWS = [
    # request line
    ("plain request", PING, [200], "open"),
    ("http/1.0 without host", get(version=b"HTTP/1.0", headers=b""), [200], "closed"),
    ("http/1.0 keep-alive", get(version=b"HTTP/1.0", headers=b"Connection: keep-alive\r\n"), [200], "open"),
    ("http/1.2", get(version=b"HTTP/1.2"), [400], "closed"),
    ("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400], "closed"),
    ("lower-case version", get(version=b"http/1.1"), [400], "closed"),
    ("empty method", b" /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("method that is no token", b"G@T( /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("method of 40 characters", b"G" * 40 + b" /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("unknown method", b"BREW /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", [405], "open"),
    ("no version", b"GET /v2/\r\n\r\n", [400], "closed"),
    ("two blanks in the request line", b"GET  /v2/ HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("tab in the request line", b"GET\t/v2/\tHTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("blank after the version", b"GET /v2/ HTTP/1.1 \r\n" + HOST + b"\r\n", [400], "closed"),
    ("target without slash", get(b"v2/"), [400], "closed"),
    ("fragment in the target", get(b"/v2/#top"), [400], "closed"),
    ("zero byte in the target", get(b"/v2/\0"), [400], "closed"),
    ("control character in the target", get(b"/v2/\x01"), [400], "closed"),
    ("byte 0x80 in the target", get(b"/v2/\x80"), [400], "closed"),
    ("absolute form", get(b"http://slipway.test/v2/"), [200], "open"),
    ("absolute form, other host than Host", get(b"http://other.test:5000/v2/"), [200], "open"),
    ("absolute form without path", get(b"http://slipway.test"), [404], "open"),
    ("absolute form without authority", get(b"http:///v2/"), [400], "closed"),
    ("asterisk form", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("authority form", b"CONNECT slipway.test:80 HTTP/1.1\r\n" + HOST + b"\r\n", [400], "closed"),
    ("malformed escape", get(b"/v2/%zz/tags/list"), [400], None),
    ("escaped zero byte", get(b"/v2/a%00b/tags/list"), [400], None),
    ("dot segments", get(b"/v2/../v2/"), [404], "open"),
    ("double slash", get(b"//v2/"), [404], "open"),
    ("escaped slash in a name", get(b"/v2/a%2Fb/tags/list"), [404], "open"),
    # header fields
    ("bare LF everywhere", b"GET /v2/ HTTP/1.1\nHost: slipway.test\n\n", [400], "closed"),
    ("bare LF after a field", b"GET /v2/ HTTP/1.1\r\nHost: slipway.test\nA: b\r\n\r\n", [400], "closed"),
    ("bare LF at the end of the head", b"GET /v2/ HTTP/1.1\r\n" + HOST + b"\n", [400], "closed"),
    ("obs-fold with a blank", get(headers=HOST + b"A: b\r\n c\r\n"), [400], "closed"),
    ("obs-fold with a tab", get(headers=HOST + b"A: b\r\n\tc\r\n"), [400], "closed"),
    ("fold before the first field", b"GET /v2/ HTTP/1.1\r\n " + HOST + b"\r\n", [400], "closed"),
    ("blank before the colon", get(headers=b"Host : slipway.test\r\n"), [400], "closed"),
    ("field without colon", get(headers=HOST + b"nonsense\r\n"), [400], "closed"),
    ("empty field name", get(headers=HOST + b": x\r\n"), [400], "closed"),
    ("zero byte in a value", get(headers=HOST + b"A: b\0c\r\n"), [400], "closed"),
    ("CR in a value", get(headers=HOST + b"A: b\rc\r\n"), [400], "closed"),
    ("control character in a name", get(headers=HOST + b"A\x01: b\r\n"), [400], "closed"),
    ("no host", get(headers=b""), [400], "closed"),
    ("two hosts", get(headers=HOST + HOST), [400], "closed"),
    ("host with a blank", get(headers=b"Host: a b\r\n"), [400], "closed"),
    ("host with a slash", get(headers=b"Host: a/b\r\n"), [400], "closed"),
    ("two authorizations", get(headers=HOST + b"Authorization: Basic Og==\r\n" * 2), [400], "closed"),
    ("host with user information", get(headers=b"Host: user@slipway.test\r\n"), [400], "closed"),
    # framing
    ("length and chunked", post(b"Content-Length: 5\r\n" + CHUNKED, b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("chunked and length", post(CHUNKED + b"Content-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("same length twice", post(b"Content-Length: 0\r\nContent-Length: 0\r\n", SMUGGLED), [400], "closed"),
    ("two lengths", post(b"Content-Length: 0\r\nContent-Length: 9\r\n", SMUGGLED), [400], "closed"),
    ("list of lengths", post(b"Content-Length: 0, 0\r\n", SMUGGLED), [400], "closed"),
    ("length with plus", post(b"Content-Length: +0\r\n", SMUGGLED), [400], "closed"),
    ("negative length", post(b"Content-Length: -1\r\n", SMUGGLED), [400], "closed"),
    ("hexadecimal length", post(b"Content-Length: 0x0\r\n", SMUGGLED), [400], "closed"),
    ("length with exponent", post(b"Content-Length: 1e1\r\n", SMUGGLED), [400], "closed"),
    ("empty length", post(b"Content-Length: \r\n", SMUGGLED), [400], "closed"),
    ("length of 20 digits", post(b"Content-Length: 18446744073709551616\r\n", SMUGGLED), [400], "closed"),
    ("length with an inner blank", post(b"Content-Length: 0 0\r\n", SMUGGLED), [400], "closed"),
    ("blanks around a length", post(b"Content-Length:   0  \r\n"), [202], "open"),
    ("transfer-encoding identity", post(b"Transfer-Encoding: identity\r\n", SMUGGLED), [400], "closed"),
    ("chunked twice in one field", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("chunked in two fields", post(CHUNKED + CHUNKED, b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("transfer-encoding xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("chunked with a parameter", post(b"Transfer-Encoding: chunked;q=1\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("chunked behind a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("chunked in http/1.0", b"POST /v2/strict/blobs/uploads/ HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED, [400], "closed"),
    ("blank before transfer-encoding's colon", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("Chunked in capitals", post(b"Transfer-Encoding: CHUNKED\r\n", b"0\r\n\r\n"), [202], "open"),
    # chunks
    ("chunks", chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), [202], "open"),
    ("no chunks", chunked(b"0\r\n\r\n"), [202], "open"),
    ("chunk extension", chunked(b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n'), [202], "open"),
    ("capital hexadecimal size", chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), [202], "open"),
    ("leading zeros", chunked(b"0005\r\nhello\r\n000\r\n\r\n"), [202], "open"),
    ("trailer", chunked(b"5\r\nhello\r\n0\r\nX-Check: yes\r\n\r\n"), [202], "open"),
    ("size followed by a blank", chunked(b"5 \r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("size behind a blank", chunked(b" 5\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("size ended by bare LF", chunked(b"5\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("data ended by bare LF", chunked(b"5\r\nhello\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("data not ended", chunked(b"5\r\nhello0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("CR CR LF after data", chunked(b"5\r\nhello\r\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("last chunk ended by bare LF", chunked(b"5\r\nhello\r\n0\n\n" + SMUGGLED), [400], "closed"),
    ("trailer ended by bare LF", chunked(b"0\r\nX: y\n\r\n" + SMUGGLED), [400], "closed"),
    ("empty size", chunked(b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("size that is no number", chunked(b"xyz\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("size with 0x", chunked(b"0x5\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("negative size", chunked(b"-5\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("size of 17 digits", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("endless extension", chunked(b"5;" + b"a" * 100000 + b"\r\nhello\r\n0\r\n\r\n" + SMUGGLED), [400], "closed"),
    ("endless trailer", chunked(b"0\r\n" + b"X: y\r\n" * 20000 + b"\r\n" + SMUGGLED), [400], "closed"),
    # pipelining
    ("two requests at once", PING + PING, [200, 200], "open"),
    ("twenty requests at once", PING * 20, [200] * 20, "open"),
    ("body, then a request", patch(b"Content-Length: 5\r\n", b"hello") + PING, [202, 200], "open"),
    ("chunks, then a request", chunked(b"5\r\nhello\r\n0\r\n\r\n") + PING, [202, 200], "open"),
    ("a body on GET is skipped", get(headers=HOST + b"Content-Length: 5\r\n") + b"hello" + PING, [200, 200], "open"),
    ("a chunked body on GET is skipped", get(headers=HOST + CHUNKED) + b"5\r\nhello\r\n0\r\n\r\n" + PING, [200, 200], "open"),
    ("nothing after an error", b"GET /v2/ HTTP/9.9\r\n" + HOST + b"\r\n" + PING, [400], "closed"),
    ("nothing after Connection: close", get(headers=HOST + b"Connection: close\r\n") + PING, [200], "closed"),
    ("close in a list of options", get(headers=HOST + b"Connection: x, Close\r\n") + PING, [200], "closed"),
    # 100-continue
    ("expectation, body already here", patch(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"), [202], "open"),
    ("unknown expectation is ignored", patch(b"Expect: tea\r\nContent-Length: 5\r\n", b"hello"), [202], "open"),
    # sizes
    ("target over the limit", get(b"/v2/" + b"a" * 70000), [414], "closed"),
    ("field over the limit", get(headers=HOST + b"A: " + b"b" * 70000 + b"\r\n"), [431], "closed"),
    ("field name over the limit", get(headers=HOST + b"A" * 70000 + b": b\r\n"), [431], "closed"),
    ("a thousand fields", get(headers=HOST + b"A: b\r\n" * 1000), [431], "closed"),
]


def send(connection, data):
    """The server may answer and stop reading before it has everything: the answer counts."""
    try:
        connection.send(data)
    except OSError:
        pass


def session(server):
    with server.connect() as connection:
        response = connection.request("POST", "/v2/strict/blobs/uploads/")
        assert response.status == 202
        return response["Location"].encode()


@pytest.mark.spec("HTTP-01", "HTTP-02", "HTTP-03", "HTTP-06", "HTTP-10", "HTTP-11", "HTTP-15",
                  "HTTP-19", "LIM-01", "TOK-71")
@pytest.mark.parametrize("data, statuses, after", [row[1:] for row in ROWS],
                         ids=[row[0].replace(" ", "-") for row in ROWS])
def test_strictness(server, data, statuses, after):
    if b"SESSION" in data:
        data = data.replace(b"SESSION", session(server))
    with server.connect() as connection:
        send(connection, data)
        for expected in statuses:
            response = connection.response()
            assert response.status == expected
        if after == "closed":
            assert response["Connection"].lower() == "close"
            assert connection.closed_by_peer()
        elif after == "open":
            send(connection, PING)
            assert connection.response().status == 200


@pytest.mark.spec("HTTP-06")
@pytest.mark.parametrize("framing, body", [
    (b"Content-Length: 30\r\n", b"GET /v2/smuggled HTTP/1.1\r\n\r\nx"),
    (b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n")], ids=["length", "chunked"])
def test_a_body_that_nobody_wanted_may_come_after_the_answer(server, framing, body):
    with server.connect() as connection:
        connection.send(get(headers=HOST + framing))
        assert connection.response().status == 200
        connection.send(body + PING)
        assert connection.response().body == b"{}"


@pytest.mark.spec("HTTP-04")
def test_continue_comes_before_the_body(server):
    with server.connect() as connection:
        connection.send(b"PATCH " + session(server) + b" HTTP/1.1\r\n" + HOST
                        + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert connection.read_head().status == 100
        connection.send(b"hello")
        assert connection.response().status == 202


UNKNOWN = b"/v2/strict/blobs/uploads/00000000-0000-4000-8000-000000000000"


@pytest.mark.spec("HTTP-04")
def test_a_refused_request_is_not_invited_to_send(server):
    with server.connect() as connection:
        connection.send(b"PATCH " + UNKNOWN + b" HTTP/1.1\r\n" + HOST
                        + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert connection.read_head().status == 404


@pytest.mark.spec("HTTP-05")
def test_the_refusal_of_a_large_body_can_be_read(server):
    with server.connect() as connection:
        connection.send(b"PATCH " + UNKNOWN + b" HTTP/1.1\r\n" + HOST
                        + b"Content-Length: 52428800\r\n\r\n")
        for _ in range(50):
            send(connection, b"x" * (1 << 20))
        assert connection.response().status == 404


@pytest.mark.spec("HTTP-05")
def test_a_refusal_ends_without_a_reset(server):
    """A reset can overtake the answer on its way: what still comes is read, then the line is closed."""
    with server.connect() as connection:
        connection.send(b"PATCH " + UNKNOWN + b" HTTP/1.1\r\n" + HOST
                        + b"Content-Length: 52428800\r\n\r\n")
        connection.send(b"x" * (1 << 20))
        assert connection.response().status == 404
        connection.send(b"x" * 1000)
        assert connection.socket.recv(1) == b""


HELD_MAX = 256 * 1024  # of a body's rest: what is longer, or of unknown length, is not waited for
HELD_S = 1  # and for so long


def refused_patch(framing, version=b"HTTP/1.1"):
    return b"PATCH " + UNKNOWN + b" " + version + b"\r\n" + HOST + framing + b"\r\n"


def length(size):
    return b"Content-Length: %d\r\n" % size


def silent(connection, seconds, since=None):
    """Nothing comes for so long. since: when a time began that held an answer back; where this machine
    took that long it tells nothing."""
    quiet = not select.select([connection.socket], [], [], seconds)[0]
    return quiet or (since is not None and time.monotonic() - since >= HELD_S)


def at_once(attempt):
    """attempt(): the seconds of one that is answered without waiting for HELD_S. Where a server waits every
    attempt takes as long; where this machine is busy some do."""
    return any(attempt() < HELD_S * 0.9 for _ in range(5))


@pytest.mark.spec("HTTP-05")
@pytest.mark.parametrize("framing, version, body, kept", [
    (b"", b"HTTP/1.1", b"x" * 300, True),
    (b"", b"HTTP/1.1", b"x" * HELD_MAX, True),
    (b"Connection: close\r\n", b"HTTP/1.1", b"x" * 300, False),
    (b"", b"HTTP/1.0", b"x" * 300, False),
    (b"Connection: keep-alive\r\n", b"HTTP/1.0", b"x" * 300, True),
], ids=["small", "largest", "close", "old", "old-keep-alive"])
def test_a_refusal_lets_a_small_body_come_first(server, framing, version, body, kept):
    """Go's transport closes the body of a request whose answer overtakes it, and some programs tell
    of that and not of the answer. The next request stands right behind the body."""
    def attempt():
        start = time.monotonic()
        with server.connect() as connection:
            connection.send(refused_patch(length(len(body)) + framing, version))
            assert silent(connection, 0.2, start)
            connection.send(body[:100])
            assert silent(connection, 0.1, start)
            connection.send(body[100:] + (PING if kept else b""))
            assert connection.response().status == 404
            took = time.monotonic() - start
            if kept:
                assert connection.response().status == 200
            else:
                assert connection.closed_by_peer()
            return took

    assert at_once(attempt)


@pytest.mark.spec("HTTP-05")
@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "trickling"])
def test_a_refusal_does_not_wait_for_long(server, trickles):
    """It leaves after a second, whatever came meanwhile; the connection still knows where it stands."""
    sent, start = 0, time.monotonic()
    with server.connect() as connection:
        connection.send(refused_patch(length(300)))
        while silent(connection, 0.1) and time.monotonic() - start < 10:
            if trickles:
                connection.send(b"x")
                sent += 1
        assert connection.response().status == 404
        assert 0.7 < time.monotonic() - start < 10
        connection.send(b"x" * (300 - sent) + PING)
        assert connection.response().status == 200


@pytest.mark.spec("HTTP-05", "HTTP-21")
def test_a_body_that_never_comes_ends_the_connection(hasty):
    with hasty.connect() as connection:
        connection.send(refused_patch(length(300)) + b"x" * 299)
        assert connection.response().status == 404
        assert connection.socket.recv(1) == b""


@pytest.mark.spec("HTTP-04", "HTTP-05")
@pytest.mark.parametrize("head", [
    refused_patch(length(HELD_MAX + 1)), refused_patch(CHUNKED),
    refused_patch(length(300) + b"Expect: 100-continue\r\n"), get(headers=HOST + length(300)),
    refused_patch(length(300)) + b"x" * 300,
], ids=["large", "chunked", "expect", "no-refusal", "here-already"])
def test_other_answers_do_not_wait(server, head):
    def attempt():
        with server.connect() as connection:
            start = time.monotonic()
            connection.send(head)
            assert connection.response().status in (200, 404)
            return time.monotonic() - start

    assert at_once(attempt)


@pytest.mark.spec("HTTP-05")
def test_who_ends_its_side_is_answered_at_once(plain):
    def attempt():
        start = time.monotonic()
        with plain.connect() as connection:
            connection.send(refused_patch(length(300)) + b"x")
            assert silent(connection, 0.2, start)
            connection.socket.shutdown(socket.SHUT_WR)
            response = connection.response()
            took = time.monotonic() - start
            assert response.status == 404
            assert response["Connection"] == "close" or took >= HELD_S
            assert connection.closed_by_peer(timeout=20)
            return took

    assert at_once(attempt)


@pytest.mark.spec("HTTP-05")
def test_clients_that_leave_while_a_refusal_waits(server):
    for way in ("close", "reset", "leave") * 10:
        connection = server.connect()
        connection.send(refused_patch(length(300)) + b"x")
        getattr(connection, way)()
    with server.connect() as connection:
        assert connection.request("GET", "/v2/").status == 200


@pytest.mark.spec("HTTP-01")
def test_a_head_split_at_every_byte(server):
    data = b"GET /v2/ HTTP/1.1\r\nHost: slipway.test\r\nAccept: */*\r\n\r\n"
    with server.connect() as connection:
        for byte in range(len(data)):
            connection.send(data[byte:byte + 1])
        assert connection.response().status == 200


@pytest.mark.spec("HTTP-02")
def test_chunks_split_at_every_byte(server):
    body = b"5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n"
    with server.connect() as connection:
        connection.send(b"PATCH " + session(server) + b" HTTP/1.1\r\n" + HOST + CHUNKED + b"\r\n")
        for byte in range(len(body)):
            connection.send(body[byte:byte + 1])
        response = connection.response()
        assert (response.status, response["Range"]) == (202, "0-5")


@pytest.fixture(params=["http", "https"])
def hasty(request, make_server):
    """A server whose patience is two seconds."""
    return make_server({"server.limits.header_timeout": "2s", "server.limits.idle_timeout": "2s",
                        "server.limits.body_idle_timeout": "2s"},
                       tls=request.getfixturevalue("authority") if request.param == "https" else None)


@pytest.mark.spec("HTTP-21")
def test_a_slow_head_is_cut(hasty):
    with hasty.connect() as connection:
        start = time.monotonic()
        connection.send(b"GET /v2/ HTTP/1.1\r\nHost: ")
        for _ in range(40):  # a byte now and then does not help: the time is that of the whole head
            send(connection, b"a")
            if select.select([connection.socket], [], [], 0.3)[0]:
                break
        else:
            pytest.fail("twelve seconds for one head")
        assert connection.response().status == 408
        assert connection.closed_by_peer()
        assert time.monotonic() - start > 1


@pytest.mark.spec("HTTP-21")
def test_the_time_of_a_head_is_its_own(make_server):
    """Not that of an idle connection, which may be long."""
    server = make_server({"server.limits.header_timeout": "1s", "server.limits.idle_timeout": "30s"})
    with server.connect() as connection:
        start = time.monotonic()
        connection.send(b"GET /v2/ HTTP/1.1\r\nHost: ")
        assert connection.response().status == 408
        assert time.monotonic() - start < 20


@pytest.mark.spec("HTTP-21", "UPL-14")
def test_a_stalled_body_is_cut_and_what_came_is_kept(hasty):
    path = session(hasty)
    with hasty.connect() as connection:
        connection.send(b"PATCH " + path + b" HTTP/1.1\r\n" + HOST
                        + b"Content-Length: 100\r\n\r\nhello")
        assert connection.response().status == 408
        assert connection.closed_by_peer()
    with hasty.connect() as connection:
        response = connection.request("GET", path.decode())
        assert (response.status, response["Range"]) == (204, "0-4")


@pytest.mark.spec("HTTP-21")
def test_a_trickling_body_is_not_cut(hasty):
    def attempt(pace):
        path = session(hasty)
        with hasty.connect() as connection:
            connection.send(b"PATCH " + path + b" HTTP/1.1\r\n" + HOST
                            + b"Content-Length: 8\r\n\r\n")
            for _ in range(8):
                connection.send(b"x")
                pace.step(0.3)
            assert connection.response().status == 202
    in_time(1, attempt)


@pytest.mark.spec("HTTP-21")
def test_an_idle_connection_is_closed(hasty):
    with hasty.connect() as connection:
        assert connection.request("GET", "/v2/").status == 200
        assert connection.closed_by_peer(timeout=20)


@pytest.mark.spec("HTTP-21")
def test_a_connection_that_says_nothing_is_closed(hasty):
    with hasty.connect() as connection:
        assert connection.closed_by_peer(timeout=20)


def speaks(server, version):
    """Does the server answer a client that knows TLS up to this version?"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(server.tls.ca)
    context.maximum_version = version
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain, \
                context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(PING)
            return connection.recv(12) == b"HTTP/1.1 200"
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("oldest, served", [("1.2", True), ("1.3", False)])
def test_oldest_tls_version(make_server, authority, oldest, served):
    server = make_server({"server.tls.min_version": oldest}, tls=authority)
    assert speaks(server, ssl.TLSVersion.TLSv1_3)
    assert speaks(server, ssl.TLSVersion.TLSv1_2) == served
