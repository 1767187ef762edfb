"""fill.py - fills a root with many small blobs without pushing them: rows in one transaction, then files.

Touches  a root that no server has open, made by one before.
Never    syncs: the caller does, before anything is measured.

An image is a config and nine layers of 16 bytes. Live ones have a tag. Dead ones were deleted so long
ago that nothing holds them: their manifests wait in the collector's queue, the first half from the
start, the second once `second_half_due` says so. The collector is paused: only runs collect.
"""

import hashlib
import json
import os
import sqlite3

LAYERS = 9
PARTS = LAYERS + 1
IMAGES_A_REPOSITORY = 100
FAR = 1 << 52  # microseconds: not in our time
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def content_of(number):
    return b"%016d" % number


def digest_of(number):
    return hashlib.sha256(content_of(number)).digest()


def locator_of(number):
    return hashlib.sha256(b"locator %d" % number).hexdigest()[:32]


def name_of(repository):
    return f"bench/r{repository}"


def descriptor(number, media_type):
    return {"mediaType": media_type, "size": 16, "digest": "sha256:" + digest_of(number).hex()}


def payload_of(image):
    first = image * PARTS
    return json.dumps({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(first, CONFIG),
        "layers": [descriptor(first + layer, LAYER) for layer in range(1, PARTS)],
    }, separators=(",", ":")).encode()  # fmt: skip


class Content:
    """What a filled root holds; image and blob numbers count live ones first."""

    def __init__(self, live_blobs, dead_blobs):
        self.live, self.dead = max(live_blobs // PARTS, 1), max(dead_blobs // PARTS, 2)
        self.images = self.live + self.dead
        self.repositories = (self.live + IMAGES_A_REPOSITORY - 1) // IMAGES_A_REPOSITORY
        self.live_blobs, self.dead_blobs = self.live * PARTS, self.dead * PARTS

    def repository_of(self, image):
        """Dead ones lie among the living."""
        return image // IMAGES_A_REPOSITORY if image < self.live else image % self.repositories

    def is_second_half(self, image):
        return image >= self.live + self.dead // 2

    def blob_paths(self, step):
        """Paths of live blobs, every step-th."""
        for number in range(0, self.live_blobs, step):
            name = name_of(self.repository_of(number // PARTS))
            yield f"/v2/{name}/blobs/sha256:{digest_of(number).hex()}"

    def manifest_paths(self, step):
        for image in range(0, self.live, step):
            yield f"/v2/{name_of(self.repository_of(image))}/manifests/t{image}"


def fill(root, content):
    database = sqlite3.connect(f"{root}/meta.db", isolation_level=None)
    database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA foreign_keys = OFF; BEGIN")
    add_rows(database, content)
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    add_files(root, range(content.images * PARTS))


def add_rows(database, content):
    """Everything was touched in 1970."""
    images = range(content.images)
    many = database.executemany
    many("INSERT INTO repositories(id, name, created_at, first_manifest_at) VALUES (?, ?, 1, 1)",
         ((number + 1, name_of(number)) for number in range(content.repositories)))
    many("INSERT INTO blobs(id, digest, size, locator, created_at) VALUES (?, ?, 16, ?, 1)",
         ((number + 1, b"\x01" + digest_of(number), locator_of(number)) for number in range(content.images * PARTS)))
    many("INSERT INTO repository_blobs(repo_id, blob_id, touched_at) VALUES (?, ?, 1)",
         ((content.repository_of(image) + 1, image * PARTS + part + 1) for image in images for part in range(PARTS)))
    many("INSERT INTO manifests(id, repo_id, digest, media_type, size, total_size, created_at, touched_at,"
         "  deleted_at, payload) VALUES (?, ?, ?, ?, ?, ?, 1, 1, ?, ?)",
         (manifest_row(content, image) for image in images))
    many("INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id) VALUES (?, ?, ?)",
         ((content.repository_of(image) + 1, image + 1, image * PARTS + part + 1)
          for image in images for part in range(PARTS)))
    many("INSERT INTO tags(repo_id, name, manifest_id, updated_at) VALUES (?, ?, ?, 1)",
         ((content.repository_of(image) + 1, f"t{image}", image + 1) for image in range(content.live)))
    many("INSERT INTO gc_queue(kind, repo_id, ref_id, due) VALUES (1, ?, ?, ?)",
         ((content.repository_of(image) + 1, image + 1, FAR if content.is_second_half(image) else 1)
          for image in range(content.live, content.images)))
    database.execute("INSERT OR REPLACE INTO server_state(name, value) VALUES ('gc.paused', '1')")


def manifest_row(content, image):
    payload = payload_of(image)
    return (image + 1, content.repository_of(image) + 1, b"\x01" + hashlib.sha256(payload).digest(), MANIFEST,
            len(payload), len(payload) + PARTS * 16, None if image < content.live else 1, payload)


def add_files(root, numbers):
    shelves = []
    for shelf in range(256):
        os.makedirs(f"{root}/blobs/{shelf:02x}", mode=0o750, exist_ok=True)
        shelves.append(os.open(f"{root}/blobs/{shelf:02x}", os.O_RDONLY | os.O_DIRECTORY))
    for number in numbers:
        locator = locator_of(number)
        file = os.open(locator, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640, dir_fd=shelves[int(locator[:2], 16)])
        os.write(file, content_of(number))
        os.close(file)
    for shelf in shelves:
        os.close(shelf)


def second_half_due(root):
    database = sqlite3.connect(f"{root}/meta.db", isolation_level=None)
    database.execute(f"UPDATE gc_queue SET due = 1 WHERE due = {FAR}")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def count_files(root):
    return sum(len(os.listdir(f"{root}/blobs/{shelf}")) for shelf in os.listdir(f"{root}/blobs"))
