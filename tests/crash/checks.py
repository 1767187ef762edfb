"""checks.py - after a restart: is everything true that clients were told?

Touches  the restarted server by reading (and by finishing sessions, when asked to); copies of its
         database; the files below blobs/ by reading.
Never    repairs. Everything wrong is a sentence in the list returned.
"""
import hashlib
import math
import os
import pathlib
import shutil
import sqlite3

from crash import workload
from support import content

ALGORITHMS = {32: "sha256", 64: "sha512"}


SYNCS_FAILED = "syncs failed"  # an upload whose sync failed ends: upload (4)

# --- what readers see ---

def online(workers, target, cut=math.inf, same_boot=True, choose=None):
    """Reads every key the clients used before the cut. choose(keys) may take a sample of them.
    same_boot False: sessions may be gone or stand earlier; SYNCS_FAILED: they may be gone.
    With no cut what was seen settles what was in doubt."""
    wrong = []
    for worker in workers:
        reader = worker.again(target, 0)
        try:
            wrong += [f"client {worker.number}: {text}"
                      for text in compare(reader, cut, same_boot, choose)]
        except workload.Dead as dead:
            wrong.append(f"client {worker.number}: no answer after the restart: {dead.__cause__!r}")
        reader.hang_up()
    return wrong


def compare(reader, cut, same_boot, choose):
    keys = [key for key, entries in reader.history.keys.items()
            if entries and entries[0][0].issued < cut]
    seen, wrong = {}, []
    for key in choose(keys) if choose else keys:
        try:
            seen[key] = reader.see(key)
        except AssertionError as error:
            wrong.append(f"{key}: {error}")
            continue
        wrong += judge(reader, key, seen[key], cut, same_boot)
    for operation in reader.history.doubtful(cut):
        if reader.history.torn(operation, seen, cut):
            wrong.append(f"half applied: {operation.changes}, seen "
                         f"{ {key: seen.get(key) for key in operation.changes} }")
    if cut is math.inf:
        for key, value in seen.items():
            if len(reader.history.possible(key)) > 1:
                reader.history.settle(key, value, reader.control.sequence)
    return wrong


def judge(reader, key, value, cut, same_boot):
    possible = reader.history.possible(key, cut)
    if key[0] != "session":
        return [] if value in possible else [f"{key} is {value}, may be {possible}"]
    if value is None:
        return [] if None in possible or same_boot is not True else [f"{key} is gone, told {possible}"]
    if possible == {None}:
        return [f"{key} is at {value}, told it is over"]
    told = [offset for offset in possible if offset is not None]
    doubt = any(key in operation.changes for operation in reader.history.doubtful(cut))
    most = len(reader.sessions[key[2]][1]) if doubt else max(told)
    least = min(told) if same_boot else 0
    if value == 0 and least <= 1:
        return []
    return [] if least <= value <= most else [f"{key} is at {value}, told {least} to {most}"]


def finish_sessions(workers, target, choose=None, finished=None):
    """Goes on with each open session where the server says it stands: the blob must come out.
    finished: gets the keys of the blobs made."""
    wrong, finished = [], set() if finished is None else finished
    for worker in workers:
        reader = worker.again(target, 0)
        try:
            paths = list(reader.sessions)
            for path in choose(paths) if choose else paths:
                wrong += finish_session(reader, path, finished)
        except workload.Dead:
            wrong.append(f"client {worker.number}: died while its sessions were finished")
        reader.hang_up()
    return wrong


def finish_session(reader, path, finished):
    name, data = reader.sessions[path]
    offset = reader.see(("session", name, path))
    if offset is None:
        return []
    digest = content.digest(data)
    finished.add(("blob", name, digest))
    where = content.with_digest(path, digest)
    answer = reader.ask("PUT", where, data[offset:], [("Content-Range",
                        f"{offset}-{len(data) - 1}")] if offset < len(data) else [])
    if answer.status == 416 and offset == 0:  # 0-0 is said of one byte as well (UPL-12)
        answer = reader.ask("PUT", where, data[1:], [("Content-Range", f"1-{len(data) - 1}")])
    if answer.status != 201:
        return [f"session {path} at {offset} of {len(data)} cannot be finished: {answer!r}"]
    if reader.see(("blob", name, digest)) is not True:
        return [f"session {path}: finished, but the blob is not there"]
    return []


# --- what is on the disk ---

class Offline:
    """Looks at a root no server writes to. Bytes found right once are not hashed again."""

    def __init__(self):
        self.hashed = set()

    def check(self, root, folder=None):
        """folder: where a copy of the database goes; None opens it in place (SQLite recovers it).
        Returns (sentences, names of files without a row)."""
        root = pathlib.Path(root)
        path = root / "meta.db"
        if not path.exists():
            return ([f"{root} has blobs and no database"]
                    if any((root / "blobs").glob("*/*")) else []), set()
        if folder is not None:
            path = copied(root, pathlib.Path(folder))
        database = sqlite3.connect(path)
        try:
            return self.look(database, root)
        except sqlite3.Error as error:
            return [f"database: {error}"], set()
        finally:
            database.close()

    def look(self, database, root):
        if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'blobs'").fetchone():
            return [], set()  # it never came to the first migration
        wrong = [f"integrity: {row[0]}" for row in database.execute("PRAGMA integrity_check")
                 if row[0] != "ok"]
        wrong += [f"foreign key: {row}" for row in database.execute("PRAGMA foreign_key_check")]
        owners = {}
        for table in ("uploads", "blobs", "trash"):
            for (locator,) in database.execute(f"SELECT locator FROM {table}"):
                owners.setdefault(locator, []).append(table)
        wrong += [f"{locator} is in {tables}" for locator, tables in owners.items()
                  if len(tables) > 1]
        for locator, size, digest in database.execute(
                "SELECT locator, size, digest FROM blobs WHERE damaged = 0"):
            wrong += self.look_at_file(root, locator, size, bytes(digest))
        files = {name for folder in os.scandir(root / "blobs") if folder.is_dir()
                 for name in os.listdir(folder.path)} if (root / "blobs").is_dir() else set()
        return wrong, files - set(owners)

    def look_at_file(self, root, locator, size, digest):
        if (locator, digest) in self.hashed:
            path = root / "blobs" / locator[:2] / locator
            return [] if path.exists() else [f"blobs has {locator} and its file is gone"]
        try:
            data = (root / "blobs" / locator[:2] / locator).read_bytes()
        except FileNotFoundError:
            return [f"blobs has {locator} without its file"]
        if len(data) != size:
            return [f"{locator} has {len(data)} bytes, its row says {size}"]
        raw = digest[1:]
        if hashlib.new(ALGORITHMS[len(raw)], data).digest() != raw:
            return [f"{locator}: its {size} bytes do not hash to its digest"]
        self.hashed.add((locator, digest))
        return []


def copied(root, folder):
    """The database as it lies there: opening it in place would recover it before the server can."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("meta.db", "meta.db-wal"):
        if (root / name).exists():
            shutil.copyfile(root / name, folder / name)
    return folder / "meta.db"


# --- what the database says of the clients' keys ---

HELD = {
    "blob": "SELECT r.name, b.digest FROM repository_blobs l JOIN repositories r ON r.id = l.repo_id"
            " JOIN blobs b ON b.id = l.blob_id WHERE l.deleted_at IS NULL AND b.damaged = 0",
    "manifest": "SELECT r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repo_id"
                " WHERE m.deleted_at IS NULL",
    "tag": "SELECT r.name, t.name, m.digest FROM tags t JOIN repositories r ON r.id = t.repo_id"
           " JOIN manifests m ON m.id = t.manifest_id",
}


def held(root):
    """Key -> value of all blobs, manifests and tags; the bytes are checked by Offline."""
    found, path = {}, pathlib.Path(root) / "meta.db"
    if not path.exists():
        return found
    database = sqlite3.connect(path)
    if database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tags'").fetchone():
        for name, digest in database.execute(HELD["blob"]):
            found["blob", name, text_of(digest)] = True
        for name, digest in database.execute(HELD["manifest"]):
            found["manifest", name, text_of(digest)] = True
        for name, tag, digest in database.execute(HELD["tag"]):
            found["tag", name, tag] = text_of(digest)
    database.close()
    return found


def text_of(digest):
    return f"{ALGORITHMS[len(digest) - 1]}:{digest[1:].hex()}"


def compare_held(history, found, cut, besides=()):
    """besides: keys that the look itself has changed."""
    wrong = []
    for key in history.keys:
        if key[0] != "session" and key not in besides:
            possible = history.possible(key, cut)
            if found.get(key) not in possible:
                wrong.append(f"{key} is {found.get(key)} in the database, may be {possible}")
    return wrong
