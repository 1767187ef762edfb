"""receiver.py - whoever is told of builds: an HTTP server that keeps what came, and can misbehave.

Touches  a port of loopback.
Never    answers more than a status.
"""
import http.server
import json
import threading

from support import process


class Receiver:
    """At http://127.0.0.1:port. said: (path, headers in lower case, body) of each request.

    statuses: what the next requests are answered with, then 204. hang: an event that answers wait for.
    The port stays ours while it is closed: `close` and `open` again play a receiver that is down."""

    def __init__(self):
        self.said, self.statuses, self.hang, self.server = [], [], None, None
        self.lock = threading.Lock()
        self.place = process.reserved()  # nobody else gets the port meanwhile
        self.port = self.place.getsockname()[1]
        self.open()

    def open(self):
        kind = type("Server", (http.server.ThreadingHTTPServer,), {"allow_reuse_address": True, "daemon_threads": True})
        self.server = kind(("127.0.0.1", self.port), self.handler())
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        if self.hang is not None:
            self.hang.set()
        self.server.shutdown()
        self.server.server_close()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, path):
        """(headers, document) of the requests for a path, in the order they came."""
        with self.lock:
            return [(headers, json.loads(body)) for at, headers, body in self.said if at == path]

    def handler(outer):  # pylint: disable=no-self-argument
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.said.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                    status = outer.statuses.pop(0) if outer.statuses else 204
                hang = outer.hang
                if hang is not None:
                    hang.wait(60)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
        return Handler
