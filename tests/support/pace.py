"""pace.py - what only a client shows that goes on in time, on a machine that may stand still meanwhile.

Touches  the clocks.
Never    passes over the failure of a client that was not late.
"""
import time

from support import wire

ATTEMPTS = 10


class Pace:
    """longest: the seconds between two steps, at most, by whichever clock went on while the machine did not."""

    def __init__(self):
        self.longest, self.before = 0, self.clocks()

    @staticmethod
    def clocks():
        return time.monotonic(), time.time()

    def step(self, seconds=0):
        """The next, so many seconds later."""
        time.sleep(seconds)
        now = self.clocks()
        self.longest = max(self.longest, *(one - other for one, other in zip(now, self.before)))
        self.before = now


def in_time(limit, attempt):
    """attempt(pace), which is made anew when it fails and stood still for `limit` seconds between two steps."""
    for left in reversed(range(ATTEMPTS)):
        pace = Pace()
        try:
            return attempt(pace)
        except (AssertionError, OSError, wire.Broken):
            pace.step()
            if left == 0 or pace.longest < limit:
                raise
