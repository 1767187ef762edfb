"""events.py - streams of server-sent events, read as a browser reads them.

Touches  one connection each.
Never    waits longer than it was told.
"""
import json
import socket
import time

from support import wire


class Ended(Exception):
    """The stream is over; clean: the reply came to its end."""

    def __init__(self, clean):
        super().__init__("ended" if clean else "broken off")
        self.clean = clean


class Stream:
    """GET of a stream. Events are (name, data), data as it is or read from JSON; last is the id that was seen last."""

    def __init__(self, target, path="/events", headers=(), timeout=20, **more):
        self.connection = wire.Connection(target, timeout, **more)
        self.connection.send_head("GET", "/api/v1" + path, headers)
        self.response = self.connection.read_head()
        self.text, self.last, self.comments, self.timeout = b"", None, 0, timeout
        if self.response.status != 200:
            self.response.body = self.connection.read_body(self.response, "GET")
            return
        assert self.response["Content-Type"] == "text/event-stream", self.response
        assert self.response["X-Accel-Buffering"] == "no"
        self.whole = self.connection.read_body(self.response, "GET") if "Content-Length" in self.response else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.connection.close()

    def greeted(self):
        """The place in the stream is told before anything happens."""
        while self.last is None:
            self.block()
        return self

    def piece(self):
        """Whole where the end is known already, else in chunks."""
        if "Content-Length" in self.response:
            if self.whole is None:
                raise Ended(clean=True)
            self.text, self.whole = self.text + self.whole, None
            return
        try:
            size = int(self.connection.read_line(), 16)
            data = self.connection.read_exactly(size)
            assert self.connection.read_line() == ""
        except socket.timeout:
            raise
        except (wire.Broken, ConnectionError):
            raise Ended(clean=False) from None
        if size == 0:
            raise Ended(clean=True)
        self.text += data

    def block(self):
        """The fields of the next block."""
        while b"\n\n" not in self.text:
            self.piece()
        block, self.text = self.text.split(b"\n\n", 1)
        fields = {}
        for line in block.decode().split("\n"):
            field, _, value = line.partition(":")
            assert field in ("", "id", "event", "data", "retry"), block
            assert field not in fields, block
            fields[field] = value.removeprefix(" ")
        self.comments += "" in fields
        self.last = fields.get("id", self.last)
        return fields

    def next(self):
        while True:
            fields = self.block()
            if "event" in fields:
                data = fields["data"]
                return fields["event"], json.loads(data) if data else None

    def until(self, wanted, seconds=20):
        """All events up to one that `wanted` says yes to."""
        got, end = [], time.monotonic() + seconds
        while not got or not wanted(*got[-1]):
            assert time.monotonic() < end, got[-5:]
            got.append(self.next())
        return got

    def ends(self, seconds=10):
        """What came before the end, and whether that was clean."""
        got = []
        self.connection.socket.settimeout(seconds)
        try:
            while True:
                got.append(self.next())
        except Ended as end:
            return got, end.clean

    def silent(self, seconds=0.3):
        """Nothing but comments comes for so long."""
        self.connection.socket.settimeout(seconds)
        try:
            name, data = self.next()
        except socket.timeout:
            return True
        finally:
            self.connection.socket.settimeout(self.timeout)
        raise AssertionError(f"{name}: {data}")
