"""relay.py - a slow road: a TCP relay to a port of this machine that limits how fast bytes pass, or holds bodies up.

Touches  sockets on 127.0.0.1, threads.
Never    looks at what it carries, save for where a request begins; keeps a connection whose other half is gone.
"""
import socket
import threading
import time

PIECE = 65536


class Relay:
    """Listens on a free port until closed. carried: bytes taken towards the server so far.
    body_delay: seconds that a piece waits which begins no request."""

    def __init__(self, port, bytes_per_second=float("inf"), body_delay=0):
        self.target, self.rate, self.carried = port, bytes_per_second, 0
        self.body_delay = body_delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self.carry, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(far, near, False), daemon=True).start()

    def carry(self, source, sink, forth):
        try:
            while data := source.recv(PIECE):
                if forth:
                    self.carried += len(data)
                    time.sleep(len(data) / self.rate + (0 if b" HTTP/1.1\r\n" in data else self.body_delay))
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
