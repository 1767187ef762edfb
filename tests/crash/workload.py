"""workload.py - clients that push, retag, mount, resume, cancel and delete until the server dies.

Touches  the server over HTTP, its own history.
Never    two clients on one key: each has its own repositories; bytes they may share.

An unexpected answer is a finding, kept in `surprises`. An answer of 5xx leaves the operation in
doubt, as a broken connection does; with the server alive the client then looks what became of it.
"""
import json
import random
import threading
import time

from crash import history
from support import content, wire

PATIENCE = 60  # seconds
BROKEN = (wire.Broken, ConnectionError, TimeoutError)
SHARED = [bytes([number]) * (300 + 700 * number) for number in range(1, 7)]


class Dead(Exception):
    """The connection broke: the server is gone, or is taken to be."""


class Worker(threading.Thread):
    """One client. Run again after a restart with another thread by `again`."""

    def __init__(self, number, target, control, seed, before=None):
        super().__init__(daemon=True)
        self.number, self.target, self.control = number, target, control
        self.random = random.Random(seed)
        self.names = [f"w{number}/one", f"w{number}/two"]
        self.history = before.history if before else history.History()
        self.contents = before.contents if before else {}    # digest -> bytes
        self.types = before.types if before else {}          # digest -> media type
        self.sessions = before.sessions if before else {}    # path -> (repository, planned bytes)
        self.counts = before.counts if before else {}
        self.surprises, self.stopping, self.connection = [], threading.Event(), None
        self.limit = None

    def again(self, target, seed):
        return type(self)(self.number, target, self.control, seed, self)

    def run(self):
        try:
            steps = 0
            while not self.stopping.is_set() and (self.limit is None or steps < self.limit):
                self.step()
                steps += 1
        except Dead:
            pass
        except Exception as error:  # pylint: disable=broad-except
            self.surprises.append(f"client {self.number}: {type(error).__name__}: {error}")
        finally:
            self.hang_up()

    # --- talking ---

    def hang_up(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, headers=()):
        try:
            if self.connection is None:
                self.connection = wire.Connection(self.target, 20)
            answer = self.connection.request(method, path, body, headers)
        except BROKEN as error:
            self.hang_up()
            raise Dead() from error
        if "close" in (answer.get("Connection") or "").lower():
            self.hang_up()
        return answer

    def attempt(self, changes, expected, method, path, body=None, headers=(), refused=()):
        """One request that changes something. Returns the answer, None when it did not succeed."""
        operation = self.history.begin(changes, self.control.sequence)
        answer = self.ask(method, path, body, headers)
        if answer.status == expected:
            operation.acked = self.control.sequence
            self.count(f"{method} {expected}")
            return answer
        self.count(f"{method} {answer.status}")
        if answer.status in refused:
            self.history.withdraw(operation)
        elif answer.status >= 500:
            self.look(changes)
        else:
            self.surprises.append(f"{method} {path}: {answer!r} instead of {expected}")
            self.look(changes)
        return None

    def look(self, keys):
        """Settles keys in doubt by reading them."""
        for key in keys:
            value = self.see(key)
            self.history.settle(key, value, self.control.sequence)

    def read(self, path):
        """A GET that waits while the server recovers from a failed write (503)."""
        end = time.monotonic() + PATIENCE
        answer = self.ask("GET", path)
        while answer.status == 503 and time.monotonic() < end:
            time.sleep(0.02)
            answer = self.ask("GET", path)
        return answer

    def see(self, key):
        kind, name, what = key
        if kind == "session":
            answer = self.read(what)
            assert answer.status in (204, 404), f"GET {what}: {answer!r}"
            return offset_of(answer) if answer.status == 204 else None
        path = f"/v2/{name}/blobs/{what}" if kind == "blob" else f"/v2/{name}/manifests/{what}"
        answer = self.read(path)
        if answer.status == 404:
            return None
        assert answer.status == 200, f"GET {path}: {answer!r}"
        value = answer["Docker-Content-Digest"] if kind == "tag" else what
        assert content.digest(answer.body) == value, f"GET {path}: wrong bytes"
        return value if kind == "tag" else True

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # --- choosing ---

    def step(self):
        steps, weights = zip(*self.STEPS)
        self.random.choices(steps, weights)[0](self, self.random.choice(self.names))

    def sure(self, kind, name):
        """What is certainly there: third parts of keys."""
        return [key[2] for key in list(self.history.keys)
                if key[0] == kind and key[1] == name and self.history.sure(key) is not None]

    def some_bytes(self):
        die = self.random.random()
        if die < 0.2:
            data = self.random.choice(SHARED)
        elif die < 0.9:
            data = self.random.randbytes(self.random.randrange(16, 6000))
        else:
            data = self.random.randbytes(self.random.randrange(60000, 200000))
        self.contents[content.digest(data)] = data
        return data

    # --- steps ---

    def push_put(self, name):
        """POST, then everything in the PUT."""
        data = self.some_bytes()
        path = self.open_session(name, data)
        if path:
            self.finish(path, 0)

    def push_post(self, name):
        data = self.some_bytes()
        key = ("blob", name, content.digest(data))
        self.attempt({key: True}, 201, "POST", f"/v2/{name}/blobs/uploads/?digest={key[2]}", data)

    def open_session(self, name, data):
        answer = self.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
        self.count(f"POST {answer.status}")
        if answer.status >= 500:
            return None
        assert answer.status == 202, f"POST uploads: {answer!r}"
        path = answer["Location"]
        self.sessions[path] = (name, data)
        self.history.settle(("session", name, path), 0, self.control.sequence)
        return path

    def patch(self, path, offset, end):
        name, data = self.sessions[path]
        headers = [("Content-Range", f"{offset}-{end - 1}")] if self.random.random() < 0.5 else []
        answer = self.attempt({("session", name, path): end}, 202, "PATCH", path, data[offset:end],
                              headers)
        if answer is not None and offset_of(answer) != end:
            self.surprises.append(f"PATCH {path}: {answer!r} instead of offset {end}")
        return answer

    def finish(self, path, offset):
        name, data = self.sessions[path]
        digest = content.digest(data)
        return self.attempt({("session", name, path): None, ("blob", name, digest): True}, 201,
                            "PUT", content.with_digest(path, digest), data[offset:])

    def push_chunks(self, name):
        """Chunks; sometimes left half-way for `resume`."""
        data = self.some_bytes()
        path, offset = self.open_session(name, data), 0
        while path and offset < len(data):
            end = min(len(data), offset + self.random.randrange(8, len(data) // 2 + 9))
            if self.patch(path, offset, end) is None or self.random.random() < 0.3:
                return
            offset = end
        if path:
            self.finish(path, offset)

    def resume(self, name):
        paths = self.sure("session", name)
        if not paths:
            return
        path = self.random.choice(paths)
        offset = self.see(("session", name, path))
        told = self.history.sure(("session", name, path))
        if offset != told:
            self.surprises.append(f"GET {path}: offset {offset}, told {told}")
            return
        size = len(self.sessions[path][1])
        if self.random.random() < 0.3 and offset < size:
            self.patch(path, offset, min(size, offset + 8))
        else:
            self.finish(path, offset)

    def cancel(self, name):
        paths = self.sure("session", name)
        if paths:
            path = self.random.choice(paths)
            self.attempt({("session", name, path): None}, 204, "DELETE", path)

    def wrong_digest(self, name):
        data = self.some_bytes()
        path = self.open_session(name, data)
        if path:
            self.attempt({("session", name, path): None}, 400, "PUT",
                         content.with_digest(path, content.ZERO), data)

    def mount(self, name):
        source = self.names[1 - self.names.index(name)]
        digests = self.sure("blob", source)
        if digests:
            key = ("blob", name, self.random.choice(digests))
            self.attempt({key: True}, 201, "POST",
                         f"/v2/{name}/blobs/uploads/?mount={key[2]}&from={source}", b"")

    def put_manifest(self, name):
        blobs = self.sure("blob", name)
        if not blobs:
            return
        used = [self.contents[one] for one in self.random.sample(blobs, min(len(blobs), 3))]
        data = content.compact(content.image(used[0], used[1:],
                                             annotations={"n": str(self.random.random())}))
        self.put(name, data, content.IMAGE)

    def put_index(self, name):
        children = [one for one in self.sure("manifest", name)
                    if self.types[one] == content.IMAGE][:3]
        data = content.compact(content.index(
            [content.descriptor(self.contents[one], content.IMAGE) for one in children],
            annotations={"n": str(self.random.random())}))
        self.put(name, data, content.INDEX)

    def put(self, name, data, media_type):
        digest = content.digest(data)
        self.contents[digest], self.types[digest] = data, media_type
        tags = self.random.sample(["a", "b", "c", "d", "e"], self.random.choice((0, 1, 1, 2)))
        by_tag = len(tags) == 1
        query = "" if by_tag else "".join(f"{'&' if n else '?'}tag={tag}"
                                          for n, tag in enumerate(tags))
        changes = {("tag", name, tag): digest for tag in tags}
        changes[("manifest", name, digest)] = True
        self.attempt(changes, 201, "PUT",
                     f"/v2/{name}/manifests/{tags[0] if by_tag else digest}{query}", data,
                     [("Content-Type", media_type)])

    def retag(self, name):
        digests = self.sure("manifest", name)
        if not digests:
            return
        digest, tag = self.random.choice(digests), self.random.choice("abcde")
        if self.types[digest] == content.IMAGE and not self.complete(name, digest):
            return
        if self.types[digest] == content.INDEX:
            return
        self.attempt({("tag", name, tag): digest, ("manifest", name, digest): True}, 201, "PUT",
                     f"/v2/{name}/manifests/{tag}", self.contents[digest],
                     [("Content-Type", self.types[digest])])

    def complete(self, name, digest):
        return all(self.history.sure(("blob", name, one)) for one in self.references(digest))

    def references(self, digest):
        value = json.loads(self.contents[digest])
        return [one["digest"] for one in [value["config"], *value["layers"]]]

    def delete_tag(self, name):
        tags = self.sure("tag", name)
        if tags:
            tag = self.random.choice(tags)
            self.attempt({("tag", name, tag): None}, 202, "DELETE", f"/v2/{name}/manifests/{tag}")

    def delete_manifest(self, name):
        """By digest: its tags go with it (DEL-02)."""
        digests = self.sure("manifest", name)
        if not digests:
            return
        digest = self.random.choice(digests)
        changes = {("manifest", name, digest): None}
        for key in list(self.history.keys):
            if key[0] == "tag" and key[1] == name and digest in self.history.possible(key):
                changes[key] = None
        self.attempt(changes, 202, "DELETE", f"/v2/{name}/manifests/{digest}")

    def delete_blob(self, name):
        digests = self.sure("blob", name)
        if digests:
            key = ("blob", name, self.random.choice(digests))
            self.attempt({key: None}, 202, "DELETE", f"/v2/{name}/blobs/{key[2]}")

    STEPS = [(push_put, 6), (push_post, 4), (push_chunks, 6), (resume, 3), (cancel, 1),
             (wrong_digest, 0.5), (mount, 1.5), (put_manifest, 6), (put_index, 1), (retag, 3),
             (delete_tag, 1.5), (delete_manifest, 1.5), (delete_blob, 1)]


def offset_of(answer):
    """Bytes received, from `Range: 0-<last>`. 0-0 is no byte or one (UPL-12): 0 is said here."""
    last = int(answer["Range"].split("-")[1])
    return last + 1 if last else 0
