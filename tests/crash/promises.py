"""promises.py - what the clients of one root were promised while a collector works against them.

Touches  nothing but its own memory; any thread.
Never    believes more than an answer said: a promise counts from the moment its request was sent,
         and a request to delete counts until the moment it was answered.

A key is ("blob", repository, digest) or ("manifest", repository, digest).
(1) A lease: who was told that a thing is there finds it there for half of gc.grace.
(2) What a reference holds stays: it was there once, and nobody has asked for its end since.
"""
import collections
import math
import threading
import time


Said = collections.namedtuple("Said", "sent came lease")


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
        self.said = {}                      # key -> the last answers that it is there
        self.endings, self.withdrawn = {}, {}
        self.contents, self.pools = {}, {}  # digest -> bytes; repository -> digests of blobs
        self.pushed = set()                 # digests of blobs, once acknowledged
        self.grants = []                    # (key, sent, came, number of the last effect by then)

    # --- what was said ---

    def prove(self, key, sent, lease=False):
        """It was there at some moment after this one, and before now."""
        with self.lock:
            self.said.setdefault(key, collections.deque(maxlen=16)).append(
                Said(sent, time.monotonic(), lease))

    def grant(self, key, sent, sequence=0):
        """A positive answer to somebody who may push."""
        self.prove(key, sent, True)
        with self.lock:
            if sequence:
                self.grants.append((key, sent, time.monotonic(), sequence))
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

    def died(self):
        """The server is dead: what it had not done by now it never does."""
        with self.lock:
            for endings in self.endings.values():
                for ending in endings:
                    ending.end = min(ending.end, time.monotonic())

    # --- what may be expected ---

    def last_said(self, key, asked, lease):
        """When the last of the answers was asked for that had come before `asked`; None: there is
        none. One that came later may be about a later push."""
        return max((one.sent for one in self.said.get(key, ())
                    if one.came <= asked and (one.lease or not lease)), default=None)

    def ended_since(self, key, moment):
        return any(ending.end >= moment for ending in self.endings.get(key, ()))

    def disturbed_since(self, key, moment):
        """Also by what was taken back afterwards."""
        return self.ended_since(key, moment) or \
            any(ending.end >= moment for ending in self.withdrawn.get(key, ()))

    def leased(self, key, asked, came):
        """(1), for a request and its answer."""
        with self.lock:
            sent = self.last_said(key, asked, True)
            return sent is not None and came < sent + self.half \
                and not self.disturbed_since(key, sent)

    def stays(self, key, asked):
        """(2), for a key that is known to be referenced all the time."""
        with self.lock:
            sent = self.last_said(key, asked, False)
            return sent is not None and not self.ended_since(key, sent)

    def leases(self, kind, repository):
        """Keys of this kind whose leases still run."""
        now = time.monotonic()
        with self.lock:
            keys = [key for key in self.said if key[:2] == (kind, repository)]
        return [key for key in keys if self.leased(key, now, now)]

    def keys(self, repository):
        with self.lock:
            return [key for key in self.said if key[1] == repository]

    def blobs(self, repository):
        """Digests somebody had in this repository lately."""
        with self.lock:
            return list(self.pools.get(repository, {}))[-40:]
