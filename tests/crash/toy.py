"""toy.py - a store of the server's shape in a few lines, on which the harness proves itself.

Touches  the folder given as argument.
Never    part of the product.

Run with the library preloaded. Each line on standard output acknowledges one blob: its name. The
row is written first, the file in place, then file, folder and row are synced, as storage does.
"""
import hashlib
import os
import sqlite3
import sys


def sync_folder(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)


def main(root, count):
    os.mkdir(root)
    os.mkdir(f"{root}/blobs")
    sync_folder(os.path.dirname(root))
    sync_folder(root)
    database = sqlite3.connect(f"{root}/meta.db", isolation_level=None)
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                           "PRAGMA wal_autocheckpoint=40; CREATE TABLE blobs(name TEXT, digest TEXT)")
    for number in range(count):
        data = os.urandom(500 + number * 37 % 3000)
        name = hashlib.sha256(data).hexdigest()
        folder = f"{root}/blobs/{name[:1]}"
        if not os.path.isdir(folder):
            os.mkdir(folder)
            sync_folder(f"{root}/blobs")
        fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, data[:200])
        os.pwrite(fd, data[200:], 200)
        os.fdatasync(fd)
        os.close(fd)
        sync_folder(folder)
        database.execute("INSERT INTO blobs VALUES (?, ?)", (f"b{number}", name))
        print(name, flush=True)
        sys.stdin.readline()  # the driver has stamped it


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
