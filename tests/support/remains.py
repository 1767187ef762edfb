"""remains.py - what a build that died may not leave: processes, mounts, loop devices, control groups, folders, files.

Touches  /proc, /sys/fs/cgroup and a server's folders, by reading.
Never    removes anything.
"""
import os
import pathlib
import sqlite3
import subprocess

from support import process


def children(pid):
    """Processes below, deepest last: (pid, words)."""
    found = []
    for line in subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines():
        child, parent, words = line.split(None, 2)
        if int(parent) == pid:
            found.append((int(child), words))
            found += children(int(child))
    return found


def builder_of(server):
    return next((pid for pid, words in children(server.pid) if " builder " in words and "worker" not in words), None)


def worker_of(server):
    """The process of the one build under way, or None."""
    return next((pid for pid, words in children(server.pid) if "builder-worker" in words), None)


def gits(server):
    """Process ids of git right below the server."""
    listed = subprocess.run(["ps", "--ppid", str(server.pid), "-o", "pid=,comm="], capture_output=True, text=True)
    return {int(line.split()[0]) for line in listed.stdout.splitlines() if line.split()[1].startswith("git")}


def lives(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_gone(pids, seconds=60):
    process.wait_for(lambda: not [pid for pid in pids if lives(pid)], seconds, f"{pids} end")


def mounts(server):
    return [line for line in pathlib.Path("/proc/self/mounts").read_text().splitlines() if str(server.folder) in line]


def loops(server):
    listed = subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout.splitlines()
    return [line for line in listed if str(server.folder) in line]


def groups(server):
    """Control groups are named after the builder's folder."""
    about = (server.root / "builder").stat()
    prefix, found = f"slipway-{about.st_dev:x}-{about.st_ino:x}-", []
    for folder, folders, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{folder}/{name}" for name in folders if name.startswith(prefix)]
    return found


def rows(server, statement):
    database = sqlite3.connect(f"file:{server.root / 'meta.db'}?mode=ro", uri=True, timeout=20)
    try:
        return database.execute(statement).fetchall()
    finally:
        database.close()


def unfinished(server):
    """Files that only a build under way has."""
    found = list((server.root / "builds/scratch").glob("*"))
    for folder in ("layers", "layers-user", "templates", "caches"):
        found += [path for path in (server.root / "builder" / folder).glob("*")
                  if "." in path.name and path.suffix != ".lock"]  # locks go with their layers
    known = {str(row[0]) for row in rows(server, "SELECT id FROM builds")}
    found += [path for path in (server.root / "builds/archives").glob("*") if path.name not in known]
    found += [path for path in (server.root / "builds/logs").glob("*") if path.name.split(".")[0] not in known]
    return found


def pins(server):
    """What builds hold for as long as they run or wait (s2i.h (2))."""
    return [row[0] for row in rows(server, "SELECT name FROM pins WHERE name LIKE 'build-%'")]


def uploads(server):
    """What was on its way into an image: clients of these tests finish theirs."""
    return [f"upload {row[0]}" for row in rows(server, "SELECT id FROM uploads")]


def of(server):
    """Sentences; none while no build runs."""
    workers = [words for _, words in children(server.pid) if "builder-worker" in words] if server.running() else []
    return [str(one) for one in [*workers, *mounts(server), *loops(server), *groups(server), *unfinished(server), *pins(server),
                                 *uploads(server)]]


def wait_none(server, seconds=60):
    """A worker tidies up after it said how its build ended."""
    try:
        process.wait_for(lambda: not of(server), seconds, "nothing is left")
    except AssertionError:
        raise AssertionError(f"left: {of(server)}") from None
