"""promises.py - what the clients of one root were promised while a collector works against them.

Touches  nothing but its own memory; any thread.
Never    believes more than an answer said: a promise counts from the moment its request was sent,
         and a request to delete counts until the moment it was answered.

A key is ("blob", repository, digest) or ("manifest", repository, digest).
(1) A lease: who was told that a thing is there finds it there for half of gc.grace.
(2) What a reference holds stays: it was there once, and nobody has asked for its end since.
"""
import math
import threading
import time


class Ending:
    """Somebody asks to delete some keys. May happen at any time until it is answered."""

    def __init__(self, keys):
        self.keys, self.sent, self.end = list(keys), time.monotonic(), math.inf

    def answered(self):
        self.end = time.monotonic()


class Ledger:
    def __init__(self, grace, undo, ttl):
        self.half, self.undo, self.ttl = grace / 2, undo, ttl  # seconds
        self.lock = threading.Lock()
        self.granted, self.seen, self.endings, self.withdrawn = {}, {}, {}, {}
        self.contents, self.pools = {}, {}  # digest -> bytes; repository -> digests of blobs
        self.pushed = set()                 # digests of blobs, once acknowledged
        self.grants = []                    # (key, sent, came, number of the last effect by then)

    # --- what was said ---

    def prove(self, key, sent):
        """It was there at some moment after this one."""
        with self.lock:
            self.seen[key] = max(sent, self.seen.get(key, 0))

    def grant(self, key, sent, sequence=0):
        """A positive answer to somebody who may push."""
        self.prove(key, sent)
        with self.lock:
            if sequence:
                self.grants.append((key, sent, time.monotonic(), sequence))
            self.granted[key] = max(sent, self.granted.get(key, 0))
            if key[0] == "blob":
                self.pushed.add(key[2])
                self.pools.setdefault(key[1], {})[key[2]] = None

    def begin_end(self, keys):
        ending = Ending(keys)
        with self.lock:
            for key in ending.keys:
                self.endings.setdefault(key, []).append(ending)
        return ending

    def withdraw(self, ending):
        """It was taken back. Leases are not counted on across it."""
        with self.lock:
            for key in ending.keys:
                self.endings[key].remove(ending)
                self.withdrawn.setdefault(key, []).append(ending)
                self.granted.pop(key, None)

    def died(self):
        """The server is dead: what it had not done by now it never does."""
        with self.lock:
            for endings in self.endings.values():
                for ending in endings:
                    ending.end = min(ending.end, time.monotonic())

    # --- what may be expected ---

    def ended_since(self, key, moment):
        return any(ending.end >= moment for ending in self.endings.get(key, ()))

    def disturbed_since(self, key, moment):
        """Also by what was taken back afterwards."""
        return self.ended_since(key, moment) or \
            any(ending.end >= moment for ending in self.withdrawn.get(key, ()))

    def leased(self, key, at):
        """(1), for an answer that came at this moment."""
        with self.lock:
            sent = self.granted.get(key)
            return sent is not None and at < sent + self.half and not self.ended_since(key, sent)

    def stays(self, key):
        """(2), for a key that is known to be referenced all the time."""
        with self.lock:
            return key in self.seen and not self.ended_since(key, self.seen[key])

    def leases(self, kind, repository):
        """Keys of this kind whose leases still run."""
        now = time.monotonic()
        with self.lock:
            keys = [key for key, sent in self.granted.items()
                    if key[:2] == (kind, repository) and now < sent + self.half]
        return [key for key in keys if self.leased(key, now)]

    def blobs(self, repository):
        """Digests somebody had in this repository lately."""
        with self.lock:
            return list(self.pools.get(repository, {}))[-40:]
