"""wire.py - HTTP/1.1 over a socket with exact control over every byte sent.

Touches  sockets.
Never    hides what the server did: no redirects followed, no header added that was not asked for
         (save Host), no retry but the one a stale kept connection needs.

Client checks on every answer what the distribution API promises for all of them (check_always), so
each protocol test proves those sentences again on its own route.
"""
import collections
import collections.abc
import json
import re
import socket
import ssl
import struct

API_CODES = {
    "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID",
    "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}
SERVER_CODES = {"UNKNOWN", "UNAVAILABLE"}
PIECE = 256 * 1024

Target = collections.namedtuple("Target", "host port context")  # port None: host is the path of a UNIX socket


class Broken(Exception):
    """The connection ended where an answer, or the rest of one, was due."""

    def __init__(self, text, received=b""):
        super().__init__(text)
        self.received = received


class Response:
    """A status, headers as sent (a list of pairs), a body."""

    def __init__(self, status, reason, headers, body=b""):
        self.status, self.reason, self.headers, self.body = status, reason, headers, body

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def __getitem__(self, name):
        """The value of a header that must be there exactly once."""
        values = self.all(name)
        assert len(values) == 1, f"{name}: expected one, got {values} in {self!r}"
        return values[0]

    def __contains__(self, name):
        return bool(self.all(name))

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    def json(self):
        return json.loads(self.body)

    @property
    def codes(self):
        return [entry["code"] for entry in self.json()["errors"]]

    @property
    def code(self):
        return self.codes[0]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:400]!r}>"


class Connection:
    """One connection. Bytes read ahead stay for the next answer."""

    def __init__(self, target, timeout=30, receive_buffer=None, source=None):
        """source: the address to come from."""
        local = target.port is None
        raw = socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM)
        if source:
            raw.bind((source, 0))
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(timeout)
        raw.connect(target.host if local else (target.host, target.port))
        if not local:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw = raw
        self.socket = target.context.wrap_socket(raw, server_hostname=target.host) \
            if target.context else raw
        self.target = target
        self.buffer = b""
        self.answers = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def leave(self):
        """Ends with FIN for certain: closing with unread bytes (TLS tickets) would send RST."""
        plain = socket.socket(fileno=self.socket.detach())
        plain.settimeout(5)
        plain.shutdown(socket.SHUT_WR)
        try:
            while plain.recv(65536):
                pass
        except OSError:
            pass
        plain.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_head(self, method, path, headers=(), host=None):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.authority()}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def authority(self):
        return "localhost" if self.target.port is None else f"{self.target.host}:{self.target.port}"

    def send_chunk(self, data):
        self.send(b"%x\r\n%s\r\n" % (len(data), data) if data else b"0\r\n\r\n")

    def fill(self):
        try:
            data = self.socket.recv(65536)
        except ssl.SSLEOFError:
            data = b""
        if not data:
            raise Broken("closed by the server", self.buffer)
        self.buffer += data

    def closed_by_peer(self, timeout=5):
        """True when the server closes without sending anything more."""
        self.socket.settimeout(timeout)
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except (ConnectionResetError, ssl.SSLEOFError):
            return True
        except (socket.timeout, ssl.SSLWantReadError):
            return False

    def read_line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def read_exactly(self, count):
        pieces, have = [self.buffer[:count]], min(count, len(self.buffer))
        self.buffer = self.buffer[count:]
        while have < count:
            try:
                data = self.socket.recv(min(1 << 20, count - have))
            except ssl.SSLEOFError:
                data = b""
            if not data:
                raise Broken(f"{have} of {count} bytes of the body", b"".join(pieces))
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)

    def read_head(self):
        status_line = self.read_line()
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) ?(.*)", status_line)
        assert match, f"bad status line {status_line!r}"
        headers = []
        while True:
            line = self.read_line()
            if not line:
                break
            name, _, value = line.partition(":")
            headers.append((name, value.strip(" \t")))
        return Response(int(match[1]), match[2], headers)

    def read_body(self, response, method):
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return b""
        if "chunked" in (response.get("Transfer-Encoding") or ""):
            return self.read_chunks()
        if "Content-Length" in response:
            return self.read_exactly(int(response["Content-Length"]))
        pieces = [self.buffer]
        self.buffer = b""
        while True:
            data = self.socket.recv(65536)
            if not data:
                return b"".join(pieces)
            pieces.append(data)

    def read_chunks(self):
        pieces = []
        while True:
            size = int(self.read_line().split(";")[0], 16)
            pieces.append(self.read_exactly(size))
            assert self.read_line() == ""
            if size == 0:
                return b"".join(pieces)

    def response(self, method="GET"):
        """The next final answer; interim ones are kept in .interim."""
        self.interim = []
        while True:
            response = self.read_head()
            if response.status != 100:
                break
            self.interim.append(response)
        response.body = self.read_body(response, method)
        self.answers += 1
        return response

    def request(self, method, path, body=None, headers=(), chunked=False, host=None):
        """body: bytes, or an iterable of bytes when chunked or Content-Length is among headers.
        None sends no framing at all."""
        headers = list(headers)
        names = {name.lower() for name, _ in headers}
        if chunked:
            headers.append(("Transfer-Encoding", "chunked"))
        elif body is not None and "content-length" not in names:
            headers.append(("Content-Length", len(body)))
        try:
            self.send_head(method, path, headers, host)
            self.send_body(body, chunked)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # refused in mid-body: the answer must still be readable (HTTP-05)
        return self.response(method)

    def send_body(self, body, chunked):
        if body is None:
            return
        if isinstance(body, (bytes, bytearray, memoryview)):
            view = memoryview(body)
            body = (view[at:at + PIECE] for at in range(0, len(view), PIECE))
        for piece in body:
            if chunked:
                self.send_chunk(bytes(piece))
            else:
                self.send(piece)
        if chunked:
            self.send_chunk(b"")


class Client:
    """Requests on one kept connection, renewed when the server closes it."""

    def __init__(self, target, timeout=60):
        self.target, self.timeout, self.connection = target, timeout, None

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def connect(self):
        return Connection(self.target, self.timeout)

    def request(self, method, path, body=None, headers=(), chunked=False, host=None,
                server_error=False):
        """server_error: a 5xx is what the test expects."""
        response = self.exchange(method, path, body, headers, chunked, host)
        check_always(method, path, response, server_error)
        return response

    def exchange(self, method, path, body, headers, chunked, host):
        if isinstance(body, collections.abc.Iterator):
            self.close()  # what is made as it is sent cannot be sent again
        fresh = self.connection is None
        if fresh:
            self.connection = self.connect()
        try:
            response = self.connection.request(method, path, body, headers, chunked, host)
        except (Broken, ConnectionError) as error:
            self.close()
            if fresh or getattr(error, "received", b""):
                raise
            return self.exchange(method, path, body, headers, chunked, host)
        except BaseException:
            self.close()
            raise
        if "close" in (response.get("Connection") or "").lower():
            self.close()
        return response

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def head(self, path, **more):
        return self.request("HEAD", path, **more)

    def delete(self, path, **more):
        return self.request("DELETE", path, **more)

    def post(self, path, body=b"", **more):
        return self.request("POST", path, body, **more)

    def patch(self, path, body=b"", **more):
        return self.request("PATCH", path, body, **more)

    def put(self, path, body=b"", **more):
        return self.request("PUT", path, body, **more)


def check_always(method, path, response, server_error=False):
    """What holds for every answer: HTTP-07, HTTP-08, HTTP-15, HTTP-16, HTTP-19, HTTP-23, HTTP-25,
    ERR-01, ERR-02, WARN-01."""
    where = f"{method} {path} -> {response!r}"
    assert server_error or response.status < 500, where
    assert "Content-Encoding" not in response, where
    if not path.startswith("/v2"):
        return
    assert response.get("Docker-Distribution-API-Version") == "registry/2.0", where
    assert response.get("X-Content-Type-Options") == "nosniff", where
    assert response.get("X-Request-Id"), where
    for location in response.all("Location"):
        assert re.match(r"/(?!/)|https?://", location), where
    for link in response.all("Link"):
        assert re.fullmatch(r'</v2/[^<>"\s]*>; ?rel="?next"?', link), where
    for warning in response.all("Warning"):
        assert re.fullmatch(r'299 - "([\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"', warning), where
    if response.status >= 400 and method != "HEAD" and response.status not in (412, 416):
        check_error(response, where)
    elif response.status in (412, 416) and response.body and method != "HEAD":
        check_error(response, where)
    assert method != "HEAD" or response.status in (204, 304) or "Content-Length" in response, where


def check_error(response, where):
    assert response["Content-Type"].split(";")[0] == "application/json", where
    entries = response.json()["errors"]
    assert entries and all(isinstance(entry, dict) for entry in entries), where
    known = API_CODES if response.status < 500 else API_CODES | SERVER_CODES
    for entry in entries:
        assert set(entry) <= {"code", "message", "detail"}, where
        assert entry["code"] in known, where
        text = entry.get("message", "")
        assert not re.search(r"SELECT|INSERT|/tmp/|/var/|\.c:\d|sqlite", text), where


def trusting(ca):
    """A context that trusts this CA alone."""
    context = ssl.create_default_context(cafile=str(ca))
    return context
