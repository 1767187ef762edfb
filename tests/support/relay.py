"""relay.py - a slow road: a TCP relay to a port of this machine that limits how fast bytes pass, or holds bodies up.

Touches  sockets on 127.0.0.1, threads.
Never    looks at what it carries, save for where a request begins; keeps a connection whose other half is gone.
"""
import socket
import threading
import time

from support import listener

PIECE = 65536


class Relay:
    """Listens on a free port until closed. carried: bytes taken towards the server so far; nothing more is while
    `flows` is cleared. body_delay: seconds that a piece waits which begins no request; early: how often the answer came
    before it went on, less than `patience` seconds after the request's head."""

    def __init__(self, port, bytes_per_second=float("inf"), body_delay=0, patience=0):
        self.target, self.rate, self.carried = port, bytes_per_second, 0
        self.body_delay, self.patience, self.early = body_delay, patience, 0
        self.flows = threading.Event()
        self.flows.set()
        self.listener = listener.Listener(self.join_ends)
        self.port, self.close = self.listener.port, self.listener.close

    def join_ends(self, near):
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        answers = []
        threading.Thread(target=self.carry, args=(near, far, self.forth(answers)), daemon=True).start()
        threading.Thread(target=self.carry, args=(far, near, lambda _: answers.append(True)), daemon=True).start()

    def forth(self, answers):
        """What happens to pieces towards the server; answers: grows with what comes from it."""
        head, before = 0, 0

        def pass_on(data):
            nonlocal head, before
            self.carried += len(data)
            time.sleep(len(data) / self.rate)
            self.flows.wait()
            if b" HTTP/1.1\r\n" in data:
                head, before = time.monotonic(), len(answers)
                return
            time.sleep(self.body_delay)
            self.early += len(answers) > before and time.monotonic() - head < self.patience
        return pass_on

    def carry(self, source, sink, piece_came):
        try:
            while data := source.recv(PIECE):
                piece_came(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
