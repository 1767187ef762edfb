"""nameserver.py - a name server of a test, and programs that ask it instead of the machine's."""
import os
import pathlib
import random
import shlex
import socket
import subprocess
import threading

import pytest

A, NOTHING, FAILURE, NO_NAME = 1, 0, 2, 3
TIMEOUT = 30  # seconds, of each question: whoever waits for it is seen on a slow machine, too


class NameServer:
    """answers: name > an address, a number of an error, or None: never an answer. asked: what it was asked for."""

    def __init__(self, folder, answers):
        self.answers, self.asked = answers, []
        self.conf = pathlib.Path(folder) / "resolv.conf"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        address = f"127.{random.randint(2, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        try:
            self.socket.bind((address, 53))
            subprocess.run(["unshare", "-m", "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as problem:
            self.socket.close()
            pytest.skip(f"no name server can stand here: {problem}")
        self.conf.write_text(f"nameserver {address}\noptions timeout:{TIMEOUT} attempts:3\n")
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def close(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()

    def words(self, *words):
        """The command, with this as its only name server; it keeps its process id."""
        target = os.path.realpath("/etc/resolv.conf")
        return ["unshare", "-m", "sh", "-c",
                f"mount --bind {shlex.quote(str(self.conf))} {shlex.quote(target)} && exec \"$@\"", "sh", *map(str, words)]

    def serve(self):
        while True:
            query, peer = self.socket.recvfrom(4096)
            if not query:
                return
            answer = self.answer(query)
            if answer:
                self.socket.sendto(answer, peer)

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, kind, question = ".".join(labels), int.from_bytes(query[at + 1:at + 3], "big"), query[12:at + 5]
        self.asked.append(name)
        found = self.answers.get(name, NO_NAME)
        if found is None:
            return b""
        code, record = (found, b"") if isinstance(found, int) else (NOTHING, b"")
        if isinstance(found, str) and kind == A:
            record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04" + socket.inet_aton(found)
        return query[:2] + bytes([0x81, 0x80 | code, 0, 1, 0, 1 if record else 0, 0, 0, 0, 0]) + question + record
