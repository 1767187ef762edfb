"""trace.py - reads a trace of the preloaded library and builds the disk a power cut leaves.

Touches  folders of images it is given.
Never    guesses in favour of the server: what no completed sync covers may be lost.

The model of a disk, stricter than any one file system:
- A sync of a file makes the bytes and the size durable that were issued before it began, once it
  has ended; not the file's name.
- A sync of a folder does the same for the names in it; not for what they name, nor for the folder's
  own name in its parent.
- Whatever else was issued before the cut is there or not, each by itself, and a write may be torn
  at sectors of 512 bytes. Changes of one name keep their order.
- What a failed sync of a file should have covered is lost: only sizes remain. Later syncs do not
  bring it back; writing it again does.
"""
import collections
import os
import struct

from crash import control

RECORD = struct.Struct("<QQQIIIIHHI")
SECTOR = 512
FAILED = 1

Record = collections.namedtuple(
    "Record", "sequence offset reference handle call flags path path_to data")


def read(path):
    """All records, in order. A torn last one (the process was killed) is left out."""
    with open(path, "rb") as file:
        raw = file.read()
    records, at = [], 0
    while at + RECORD.size <= len(raw):
        sequence, offset, reference, handle, call, flags, length, one, two, _ = \
            RECORD.unpack_from(raw, at)
        end = at + RECORD.size + one + two + length
        if end > len(raw):
            break
        name = at + RECORD.size
        records.append(Record(sequence, offset, reference, handle, call, flags,
                              raw[name:name + one].decode(), raw[name + one:name + one + two].decode(),
                              raw[name + one + two:end]))
        at = end
    return records


class Node:
    """A file or a folder: what is durable, and what was issued since, in order."""

    def __init__(self, is_folder):
        self.is_folder = is_folder
        self.durable = {} if is_folder else bytearray()
        self.live = {}     # folders: the names as programs see them
        self.pending = []  # (sequence, change)

    def issue(self, sequence, change):
        self.pending.append((sequence, change))

    def synced(self, begin):
        for sequence, change in self.pending:
            if sequence < begin:
                change.apply(self.durable)
        self.pending = [entry for entry in self.pending if entry[0] >= begin]

    def lost(self):
        """A sync failed: the kernel takes the pages for clean, and they never reached the disk.
        Names are not pages: a journal keeps them, or the file system stops altogether."""
        if self.is_folder:
            return
        self.pending = [(sequence, change.without_bytes()) for sequence, change in self.pending]


class Write:
    def __init__(self, offset, data):
        self.offset, self.data = offset, data

    def apply(self, content, sectors=None, data=True):
        """sectors: which sectors of the write arrived (None: all). data False: only the size."""
        end = self.offset + len(self.data)
        if len(content) < end:
            content.extend(bytes(end - len(content)))
        if not data:
            return
        if sectors is None:
            content[self.offset:end] = self.data
            return
        for number, at in enumerate(range(0, len(self.data), SECTOR)):
            if sectors[number]:
                piece = self.data[at:at + SECTOR]
                content[self.offset + at:self.offset + at + len(piece)] = piece

    def without_bytes(self):
        return Resize(self.offset + len(self.data), grow_only=True)

    def sectors(self):
        return (len(self.data) + SECTOR - 1) // SECTOR


class Resize:
    def __init__(self, size, grow_only=False):
        self.size, self.grow_only = size, grow_only

    def apply(self, content, sectors=None, data=True):
        if len(content) < self.size:
            content.extend(bytes(self.size - len(content)))
        elif not self.grow_only:
            del content[self.size:]

    def without_bytes(self):
        return self


class Zero:
    """A punched hole or a zeroed range."""

    def __init__(self, offset, length):
        self.offset, self.length = offset, length

    def apply(self, content, sectors=None, data=True):
        end = min(len(content), self.offset + self.length)
        if data and end > self.offset:
            content[self.offset:end] = bytes(end - self.offset)

    def without_bytes(self):
        return Zero(0, 0)


class Names:
    """Names set (to a node) or removed (None), together."""

    def __init__(self, **changes):
        self.changes = changes

    def apply(self, entries):
        for name, node in self.changes.items():
            if node is None:
                entries.pop(name, None)
            else:
                entries[name] = node


class Disk:
    """The traced folder at one point of the trace. Records are fed in order."""

    def __init__(self, before=None):
        """before: a copy of what lay there, durable, when the trace began."""
        self.root = Node(True)
        self.handles = {}
        if before:
            self.lay(self.root, str(before))

    def lay(self, folder, path):
        for entry in os.scandir(path):
            node = Node(entry.is_dir())
            if node.is_folder:
                self.lay(node, entry.path)
            else:
                with open(entry.path, "rb") as file:
                    node.durable = bytearray(file.read())
            folder.durable[entry.name] = folder.live[entry.name] = node

    # --- following the trace ---

    def find(self, path):
        node = self.root
        for part in [] if path == "." else path.split("/"):
            node = node.live[part]
        return node

    def rename(self, sequence, path, node):
        """Sets or removes a name."""
        folder, _, name = path.rpartition("/")
        parent = self.find(folder or ".")
        if node is None:
            parent.live.pop(name, None)
        else:
            parent.live[name] = node
        parent.issue(sequence, Names(**{name: node}))

    def feed(self, record):
        call = record.call
        node = self.handles.get(record.handle) if record.handle else None
        if call in (control.OPEN, control.CREATE):
            self.open(record)
        elif call == control.WRITE:
            node.issue(record.sequence, Write(record.offset, record.data))
        elif call == control.SYNC_END:
            node.synced(record.reference)
        elif call in (control.SYNC, control.DATASYNC):
            if record.flags & FAILED:
                node.lost()
        elif call == control.TRUNCATE:
            (node or self.find(record.path)).issue(record.sequence, Resize(record.reference))
        elif call == control.ALLOCATE:
            self.allocate(node, record)
        elif call in (control.UNLINK, control.RMDIR):
            self.rename(record.sequence, record.path, None)
        elif call == control.MKDIR:
            self.rename(record.sequence, record.path, Node(True))
        elif call == control.LINK:
            self.rename(record.sequence, record.path_to, node or self.find(record.path))
        elif call == control.RENAME:
            self.move(record)
        else:
            raise AssertionError(f"a record of unknown kind: {record}")

    def open(self, record):
        if record.flags & os.O_TMPFILE == os.O_TMPFILE:
            self.handles[record.handle] = Node(False)
            return
        if record.call == control.CREATE:
            self.rename(record.sequence, record.path, Node(False))
        node = self.find(record.path)
        self.handles[record.handle] = node
        if record.flags & os.O_TRUNC:
            node.issue(record.sequence, Resize(0))

    @staticmethod
    def allocate(node, record):
        keep_size, punch, zero = record.flags & 1, record.flags & 2, record.flags & 16
        if punch or zero:
            node.issue(record.sequence, Zero(record.offset, record.reference))
        if not keep_size:
            node.issue(record.sequence, Resize(record.offset + record.reference, grow_only=True))

    def move(self, record):
        old, _, old_name = record.path.rpartition("/")
        if old_name not in self.find(old or ".").live:
            return  # a symbolic link: none says anything that was acknowledged
        node = self.find(record.path)
        new, _, new_name = record.path_to.rpartition("/")
        parent = self.find(old or ".")
        if parent is self.find(new or "."):
            parent.live.pop(old_name)
            parent.live[new_name] = node
            parent.issue(record.sequence, Names(**{old_name: None, new_name: node}))
            return
        self.rename(record.sequence, record.path_to, node)
        self.rename(record.sequence, record.path, None)

    # --- building images ---

    def build(self, target, fate):
        """Writes what the power cut leaves below `target`, for its owner alone, as the server makes
        its files. fate: one of the classes below."""
        mask = os.umask(0o077)
        try:
            self.build_folder(self.root, str(target), fate)
        finally:
            os.umask(mask)

    def build_folder(self, node, path, fate):
        os.mkdir(path)
        entries = dict(node.durable)
        fate.names(node.pending, entries)
        for name, child in entries.items():
            where = f"{path}/{name}"
            if child.is_folder:
                self.build_folder(child, where, fate)
                continue
            content = child.durable
            if child.pending:
                content = bytearray(content)
                fate.bytes(child.pending, content)
            with open(where, "wb") as file:
                file.write(content)


class Lost:
    """Nothing unsynced arrived."""

    def names(self, pending, entries):
        pass

    def bytes(self, pending, content):
        pass


class Kept:
    """Everything arrived: what a plain kill leaves."""

    def names(self, pending, entries):
        for _, change in pending:
            change.apply(entries)

    def bytes(self, pending, content):
        for _, change in pending:
            change.apply(content)


class Hollow(Kept):
    """Names and sizes arrived, bytes did not: a journal of metadata only."""

    def bytes(self, pending, content):
        for _, change in pending:
            change.apply(content, data=False)


class Nameless(Kept):
    """Bytes arrived, names did not."""

    def names(self, pending, entries):
        pass


class Mixed:
    """Each change by itself, as a seeded die says."""

    def __init__(self, random):
        self.random = random

    def names(self, pending, entries):
        blocked, chance = set(), self.random.choice((0.0, 0.5, 0.9, 1.0))
        for _, change in pending:
            names = set(change.changes)
            if names & blocked or self.random.random() >= chance:
                blocked |= names
            else:
                change.apply(entries)

    def bytes(self, pending, content):
        chance, tear = self.random.choice((0.0, 0.5, 0.9, 1.0)), self.random.choice((0, 0.3))
        for _, change in pending:
            if self.random.random() >= chance:
                if self.random.random() < 0.5:
                    change.apply(content, data=False)
            elif isinstance(change, Write) and self.random.random() < tear:
                change.apply(content, [self.random.random() < 0.5 for _ in range(change.sectors())])
            else:
                change.apply(content)


def fates(random):
    """One fate, the extremes more often than a die would choose them."""
    return random.choice((Lost(), Lost(), Kept(), Hollow(), Nameless(), Mixed(random),
                          Mixed(random), Mixed(random)))
