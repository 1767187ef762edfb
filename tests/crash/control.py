"""control.py - the file through which a test drives the preloaded library (interpose.h).

Touches  the control file it made, mapped into both processes.
Never    the server's files.
"""
import functools
import mmap
import os
import pathlib
import struct
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]

# enum call
OPEN, CREATE, WRITE, SYNC, DATASYNC, TRUNCATE, ALLOCATE, UNLINK, MKDIR, RMDIR, RENAME, LINK, XATTR, \
    READ, MALLOC, SYNC_END = (1 << bit for bit in range(16))
ANY_SYNC = SYNC | DATASYNC
# enum action
KILL_BEFORE, KILL_MID, KILL_AFTER, FAIL, SHORT, SKIP, DELAY, HOLD = range(1, 9)

HEAD = struct.Struct("<Q40sIIq")
RULE = struct.Struct("<IIIIiIII100s")
RULES = 8
# One load or store each: byte by byte, which "<" means, a number that others change is read half old.
NUMBER, LARGE, SIGNED = struct.Struct("@I"), struct.Struct("@Q"), struct.Struct("@q")


@functools.cache
def library():
    """Built by the Makefile; made here for whoever runs pytest by hand."""
    path = pathlib.Path(os.environ.get("SLIPWAY_BUILD", TOP / "build/release")) / "interpose.so"
    if "SLIPWAY_BUILD" not in os.environ:
        subprocess.run(["make", "-s", "-C", TOP, path.relative_to(TOP)], check=True)
    return path


class Control:
    """Rules, counter, boot id. One for each storage root; it outlives the server's processes."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(bytes(HEAD.size + RULES * RULE.size))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def environment(self, root, trace=None):
        """What the server needs in its environment. root: the folder that is watched."""
        more = {"LD_PRELOAD": str(library()), "CRASH_CONTROL": str(self.path),
                "CRASH_ROOT": str(root)}
        return {**more, "CRASH_TRACE": str(trace)} if trace else more

    @property
    def sequence(self):
        return LARGE.unpack_from(self.map, 0)[0]

    def boot(self, boot_id):
        """What the server reads as boot id from now on; "" is the machine's own."""
        self.map[8:48] = boot_id.encode().ljust(40, b"\0")

    @property
    def misuse(self):
        return NUMBER.unpack_from(self.map, 52)[0]

    def rule(self, number, calls, action, pattern="", first=1, times=1, error=0):
        """Arms rule `number`: from the first-th matching call on, for so many calls (0: for all).
        pattern: fnmatch of the path below the watched folder; empty matches all."""
        at = HEAD.size + number * RULE.size
        NUMBER.pack_into(self.map, at, 0)
        self.map[at + 4:at + RULE.size] = RULE.pack(0, action, first, times, error, 0, 0, 0,
                                                    pattern.encode())[4:]
        NUMBER.pack_into(self.map, at, calls)

    def disarm(self, number=None):
        for one in range(RULES) if number is None else [number]:
            NUMBER.pack_into(self.map, HEAD.size + one * RULE.size, 0)

    def hits(self, number=0):
        """Matching calls since the rule was armed."""
        return NUMBER.unpack_from(self.map, HEAD.size + number * RULE.size + 20)[0]

    def held(self, number=0):
        """Threads that stand before a call, by a rule HOLD, until it is disarmed."""
        return NUMBER.unpack_from(self.map, HEAD.size + number * RULE.size + 24)[0]

    def struck(self, number=0):
        """Times it has killed, failed or skipped a call, or is about to; once it is disarmed nobody begins."""
        return NUMBER.unpack_from(self.map, HEAD.size + number * RULE.size + 28)[0]

    def ahead(self, seconds):
        """The server's time of day runs so far ahead of the machine's from now on."""
        SIGNED.pack_into(self.map, 56, int(seconds * 1000000))

    def close(self):
        self.map.close()
