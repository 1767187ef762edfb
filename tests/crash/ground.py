"""ground.py - what collection must have left behind, seen in the database.

Touches  databases and files of a root by reading.
Never    asks the server. Everything wrong is a sentence in the list returned.
"""
import contextlib
import os
import pathlib
import sqlite3

from crash import checks
from support import content

# What every quota must have counted: blobs of repositories by their links, deleted ones too.
COUNTED = ("SELECT q.id, l.blob_id, count(*) AS links FROM quotas q JOIN repositories r"
           " ON q.subject = '*' OR coalesce(r.deleted_name, r.name) GLOB q.subject"
           " JOIN repository_blobs l ON l.repo_id = r.id WHERE q.kind = 1 GROUP BY q.id, l.blob_id")
# Each finds rows that must not be.
WRONG = {
    "links that a quota did not count":
        f"SELECT * FROM ({COUNTED}) EXCEPT SELECT quota_id, blob_id, links FROM quota_blobs",
    "links that a quota counts and that are gone":
        f"SELECT quota_id, blob_id, links FROM quota_blobs EXCEPT SELECT * FROM ({COUNTED})",
    "bytes that a quota did not count, or counts for nothing":
        "SELECT q.id, (SELECT coalesce(sum(bytes), 0) FROM quota_usage WHERE quota_id = q.id) AS used,"
        " (SELECT coalesce(sum(b.size), 0) FROM quota_blobs c JOIN blobs b ON b.id = c.blob_id"
        "   WHERE c.quota_id = q.id) AS held FROM quotas q WHERE used <> held",
    "a tag of a manifest that is deleted":
        "SELECT t.name FROM tags t JOIN manifests m ON m.id = t.manifest_id"
        " WHERE m.deleted_at IS NOT NULL",
    "a link that nothing refers to and nobody will look at":
        "SELECT l.repo_id, l.blob_id FROM repository_blobs l"
        " WHERE NOT EXISTS (SELECT 1 FROM manifest_blobs u"
        "                    WHERE u.repo_id = l.repo_id AND u.blob_id = l.blob_id)"
        "   AND NOT EXISTS (SELECT 1 FROM gc_queue q"
        "                    WHERE q.kind = 2 AND q.repo_id = l.repo_id AND q.ref_id = l.blob_id)"
        "   AND NOT EXISTS (SELECT 1 FROM repositories r"
        "                    WHERE r.id = l.repo_id AND r.deleted_at IS NOT NULL)",
    "a blob without links that nobody will look at":
        "SELECT b.id FROM blobs b"
        " WHERE NOT EXISTS (SELECT 1 FROM repository_blobs l WHERE l.blob_id = b.id)"
        "   AND NOT EXISTS (SELECT 1 FROM gc_queue q WHERE q.kind = 3 AND q.ref_id = b.id)",
    "a deleted manifest that nobody will look at":
        "SELECT m.id FROM manifests m JOIN repositories r ON r.id = m.repo_id"
        " WHERE m.deleted_at IS NOT NULL AND r.deleted_at IS NULL"
        "   AND NOT EXISTS (SELECT 1 FROM gc_queue q WHERE q.kind = 1 AND q.ref_id = m.id)",
    "a job that failed": "SELECT kind, error FROM jobs WHERE state = 3",
    "a deleted repository that nobody will look at":
        "SELECT r.id FROM repositories r"
        " WHERE r.deleted_at IS NOT NULL"
        "   AND NOT EXISTS (SELECT 1 FROM gc_queue q WHERE q.kind = 4 AND q.repo_id = r.id)",
}
# Of these no row may be left once everything is deleted and every window is over.
EMPTY = ["blobs", "repository_blobs", "quota_blobs", "manifests", "manifest_blobs", "manifest_refs",
         "missing_refs", "tags", "deleted_tags", "uploads", "trash", "gc_queue"]


@contextlib.contextmanager
def opened(root, copy=None):
    """copy: a folder for a copy, where opening in place would recover the database."""
    path = checks.copied(pathlib.Path(root), copy) if copy else pathlib.Path(root) / "meta.db"
    database = sqlite3.connect(path)
    try:
        yield database
    finally:
        database.close()


def ready(root, copy=None):
    """Whether there is a database, with a schema."""
    if not (pathlib.Path(root) / "meta.db").exists():
        return False
    with opened(root, copy) as database:
        return database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'jobs'").fetchone()


def rows(root, copy=None):
    """What is wrong in the rows, and manifests whose bytes are not those of their digests."""
    wrong = []
    with opened(root, copy) as database:
        for what, query in WRONG.items():
            found = database.execute(query).fetchall()
            wrong += [f"{what}: {found[:5]}"] if found else []
        for digest, payload in database.execute("SELECT digest, payload FROM manifests"):
            text = checks.text_of(digest)
            if content.digest(payload, text.split(":")[0]) != text:
                wrong.append(f"manifest {text} has other bytes")
    return wrong


def leftovers(root):
    """What is left where nothing may be."""
    with opened(root) as database:
        counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                  for table in EMPTY}
    left = [f"{count} rows in {table}" for table, count in counts.items() if count]
    files = [name for folder in os.scandir(pathlib.Path(root) / "blobs") if folder.is_dir()
             for name in os.listdir(folder.path)]
    return left + ([f"{len(files)} files"] if files else [])


PRESENT = {
    "blob": "SELECT r.name, b.digest FROM repository_blobs l JOIN repositories r ON r.id = l.repo_id"
            " JOIN blobs b ON b.id = l.blob_id WHERE l.deleted_at IS NULL AND b.damaged = 0",
    "manifest": "SELECT r.name, m.digest FROM manifests m JOIN repositories r ON r.id = m.repo_id"
                " WHERE m.deleted_at IS NULL",
}


def present(root, copy):
    """Keys of promises.py that any client can see."""
    with opened(root, copy) as database:
        return {(kind, name, checks.text_of(digest)) for kind, query in PRESENT.items()
                for name, digest in database.execute(query)}


def tags(root, copy):
    """(repository, tag) -> digest, of repositories that are there."""
    with opened(root, copy) as database:
        return {(name, tag): checks.text_of(digest) for name, tag, digest in database.execute(
            "SELECT r.name, t.name, m.digest FROM tags t"
            "  JOIN repositories r ON r.id = t.repo_id JOIN manifests m ON m.id = t.manifest_id"
            " WHERE r.deleted_at IS NULL")}
