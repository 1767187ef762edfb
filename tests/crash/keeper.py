"""keeper.py - clients that count on what they were promised, while collectors work against them.

Touches  the server over HTTP; the ledger all clients of a root share.
Never    accuses by a clock: a promise is only held against an answer that came before it ended.

All keepers work in the same repositories on the same blobs. Tags and manifests are each keeper's
own, so it knows them for certain; blobs anybody may delete, and the ledger knows. Repositories that
are deleted whole are one keeper's alone.
"""
import collections
import time

from crash import workload
from support import content

SHARED = ["shared/one", "shared/two"]
TAGS = "abcd"
ARTIFACT = "application/vnd.example.note"
# What was deleted: the manifest, when that was asked for, its referrers, tags that went with it.
Gone = collections.namedtuple("Gone", "digest deleted notes tags")


class Keeper(workload.Worker):
    """One client. Tags are keys of its history; blobs and manifests keys of the ledger."""

    def __init__(self, number, target, control, seed, before=None, ledger=None):
        super().__init__(number, target, control, seed, before)
        self.ledger = before.ledger if before else ledger
        self.own = f"own{number}/repository"
        self.parts = before.parts if before else {}          # digest of a manifest -> its keys below
        self.asked = before.asked if before else set()       # (repository, digest) of manifests
        self.notes = before.notes if before else {}          # (repository, digest) -> its referrers
        self.gone = before.gone if before else {}            # what may be restored
        self.proofs = before.proofs if before else {}        # operation -> keys it proves, when sent
        self.tallies = before.tallies if before else {}
        self.names = [*SHARED, self.own]

    def run(self):
        try:
            self.settle()
            self.use_leases()
        except workload.Dead:
            return
        except Exception as error:  # pylint: disable=broad-except
            self.surprises.append(f"client {self.number}: {type(error).__name__}: {error}")
            return
        super().run()

    # --- talking ---

    def timed(self, method, path, body=None, headers=()):
        """The answer, when it was asked, when it came."""
        sent = time.monotonic()
        answer = self.ask(method, path, body, headers)
        came = time.monotonic()
        self.count(f"{method} {answer.status}")
        if answer.status >= 500:
            self.surprises.append(f"{method} {path}: {answer!r}")
        return answer, sent, came

    def change(self, changes, proves, method, path, body=None, headers=(), good=(201,), refused=()):
        """A request that moves tags. proves: keys that are there if it is accepted."""
        operation = self.history.begin(changes, self.control.sequence)
        operation.sent = time.monotonic()
        self.proofs[operation] = proves
        answer, sent, came = self.timed(method, path, body, headers)
        if answer.status in good:
            operation.acked = self.control.sequence
            for key in self.proofs.pop(operation):
                self.ledger.prove(key, sent)
        elif answer.status in refused:
            self.history.withdraw(operation)
        else:
            self.surprises.append(f"{method} {path}: {answer!r} instead of {good}")
            self.look(changes)
        return answer, sent, came

    def grant(self, key, sent):
        self.ledger.grant(key, sent, self.control.sequence)

    def judge(self, promised, kept, text):
        """Holds a promise, if it was one, against what came of it."""
        if promised:
            self.tally("promises held against answers")
            if not kept:
                self.surprises.append(f"client {self.number}: {text}")

    def tally(self, what):
        self.tallies[what] = self.tallies.get(what, 0) + 1

    # --- after a restart ---

    def settle(self):
        """What became of the request that the kill cut off."""
        for key in [key for key in self.history.keys if len(self.history.possible(key)) > 1]:
            possible, value = self.history.possible(key), self.see(key)
            if value not in possible:
                self.surprises.append(f"{key} is {value}, may be {possible}")
            for operation in [one for one, wanted in self.history.keys[key] if wanted == value]:
                if operation.acked is None and self.alone(key, operation, value):
                    for proved in self.proofs.get(operation, ()):
                        self.ledger.prove(proved, operation.sent)
            self.history.settle(key, value, self.control.sequence)
        self.proofs.clear()

    def alone(self, key, operation, value):
        """No other request may have given the key this value."""
        others = [wanted for one, wanted in self.history.keys[key] if one is not operation]
        return value is not None and value not in others

    def use_leases(self):
        """Promises outlive the process that made them."""
        for name in SHARED:
            leases = self.ledger.leases("blob", name)
            if leases:
                self.put_image(name, [key[2] for key in leases[-3:]])

    # --- pieces ---

    def fresh(self):
        data = self.random.randbytes(self.random.randrange(16, 400))
        if self.random.random() < 0.25:
            data = self.random.choice(workload.SHARED)
        self.ledger.contents[content.digest(data)] = data
        return data

    def push(self, name, data):
        digest = content.digest(data)
        path = f"/v2/{name}/blobs/uploads/?digest={digest}"
        answer, sent, came = self.timed("POST", path, data)
        if answer.status == 201:
            self.grant(("blob", name, digest), sent)
        elif answer.status != 404 or came < sent + self.ledger.ttl:  # else its session ended
            self.surprises.append(f"POST {path}: {answer!r}")
        return digest

    def head(self, kind, name, digest):
        """Renews the lease; True when it is there."""
        key = (kind, name, digest)
        answer, sent, came = self.timed("HEAD", f"/v2/{name}/{kind}s/{digest}")
        self.judge(self.ledger.leased(key, sent, came), answer.status == 200,
                   f"HEAD {key}: {answer.status} within its lease")
        if answer.status == 200:
            self.grant(key, sent)
        return answer.status == 200

    def pause(self, most=0.9):
        """Some time, within a lease or beyond it."""
        time.sleep(self.random.uniform(0, most * self.ledger.half))

    def known(self, name):
        """Blobs that somebody pushed here, the newer the likelier."""
        return self.ledger.blobs(name) if name != self.own else \
            [key[2] for key in self.ledger.leases("blob", name)]

    def put(self, name, value, media_type, below, tag=None):
        """below: keys the manifest names. True when it was accepted."""
        data = content.compact(value)
        digest = content.digest(data)
        self.ledger.contents[digest], self.types[digest] = data, media_type
        self.parts[digest] = below
        self.asked.add((name, digest))
        key = ("manifest", name, digest)
        changes = {("tag", name, tag): digest} if tag else {}
        if tag:
            self.leave(name, tag)
        answer, sent, came = self.change(
            changes, [key, *below], "PUT", f"/v2/{name}/manifests/{tag or digest}", data,
            [("Content-Type", media_type)], refused=(400, 404))
        self.judge(all(self.ledger.leased(one, sent, came) for one in below), answer.status == 201,
                   f"{name}: a manifest was refused within its leases: {answer!r}")
        if answer.status != 201:
            return None
        self.grant(key, sent)
        return digest

    def leave(self, name, tag):
        """The tag may leave its manifest: what hung on that one is not certain any more."""
        for digest in self.history.possible(("tag", name, tag)):
            self.notes.pop((name, digest), None)
        self.gone.pop((name, tag), None)

    def put_image(self, name, digests, tag=None):
        tag = tag or self.tag()
        contents = [self.ledger.contents[one] for one in digests]
        value = content.image(contents[0], contents[1:],
                              annotations={"n": f"{self.number} {self.random.random()}"})
        return self.put(name, value, content.IMAGE,
                        [("blob", name, one) for one in dict.fromkeys(digests)], tag)

    def tag(self):
        return f"{self.random.choice(TAGS)}{self.number}"

    def tagged(self, name):
        """(tag, digest) of what is certain."""
        found = [(key[2], self.history.sure(key)) for key in list(self.history.keys)
                 if key[1] == name]
        return [(tag, digest) for tag, digest in found if digest]

    # --- steps: references ---

    def push_image(self, name):
        """Blobs, some time, a manifest: within the lease it must be accepted."""
        digests = [self.push(name, self.fresh()) for _ in range(self.random.randint(1, 3))]
        self.pause()
        self.put_image(name, digests)

    def waste(self, name):
        """Blobs that nothing will refer to."""
        for _ in range(self.random.randint(3, 9)):
            self.push(name, self.fresh())

    def reuse(self, name):
        """What others pushed: there or not; and once it was there, it stays for a while."""
        blobs = self.known(name)
        found = [one for one in self.random.sample(blobs, min(len(blobs), 3))
                 if self.head("blob", name, one)]
        self.pause(1.1)
        if found:
            self.put_image(name, found)

    def linger(self, name):
        """A blob that is asked for again and again stays for all that time."""
        digest, pauses = self.push(name, self.fresh()), self.random.choice((0.3, 0.8))
        for _ in range(int(3 / pauses)):
            time.sleep(pauses * self.ledger.half)
            if not self.head("blob", name, digest):
                return
        self.pause()
        self.put_image(name, [digest])

    def linger_manifest(self, name):
        """The same of a manifest without a tag; then an index names it."""
        digest, pauses = self.push_loose(name), self.random.choice((0.3, 0.8))
        for _ in range(int(3 / pauses) if digest else 0):
            time.sleep(pauses * self.ledger.half)
            if not self.head("manifest", name, digest):
                return
        self.pause()
        if digest:
            self.put_index(name, [digest])

    def push_loose(self, name, **more):
        """A manifest without a tag; its digest."""
        digest = self.push(name, self.fresh())
        value = content.image(self.ledger.contents[digest],
                              annotations={"n": str(self.random.random())}, **more)
        return self.put(name, value, content.IMAGE, [("blob", name, digest)])

    def put_index(self, name, children):
        value = content.index([content.descriptor(self.ledger.contents[one], self.types[one])
                               for one in children],
                              annotations={"n": f"{self.number} {self.random.random()}"})
        return self.put(name, value, content.INDEX, [("manifest", name, one) for one in children],
                        self.tag())

    def push_index(self, name):
        children = [self.push_loose(name) for _ in range(self.random.randint(1, 2))]
        self.pause()
        if all(children):
            self.put_index(name, children)

    def push_note(self, name):
        """A referrer: it stays while its subject does."""
        subjects = self.tagged(name)
        if not subjects:
            return
        _, subject = self.random.choice(subjects)
        note = self.push_loose(name, config_type=ARTIFACT, subject=content.descriptor(
            self.ledger.contents[subject], self.types[subject]))
        if note:
            self.notes.setdefault((name, subject), []).append(note)

    def retag(self, name):
        """The same manifest under another tag."""
        subjects = self.tagged(name)
        if not subjects:
            return
        _, digest = self.random.choice(subjects)
        tag = self.tag()
        key = ("manifest", name, digest)
        if self.history.sure(("tag", name, tag)) != digest:
            self.leave(name, tag)
        answer, sent, _ = self.change(
            {("tag", name, tag): digest}, [key, *self.parts[digest]], "PUT",
            f"/v2/{name}/manifests/{tag}", self.ledger.contents[digest],
            [("Content-Type", self.types[digest])], refused=(400,))
        self.judge(all(self.ledger.stays(one, sent) for one in self.parts[digest]), answer.status == 201,
                   f"{name}:{tag} could not be put again: {answer!r}")
        if answer.status == 201:
            self.grant(key, sent)

    def set_tag(self, name):
        """The same by the management API: of a manifest that a tag holds, or a lease."""
        leases = [key[2] for key in self.ledger.leases("manifest", name) if key[2] in self.parts]
        digests = [digest for _, digest in self.tagged(name)] + leases
        if not digests:
            return
        digest, tag = self.random.choice(digests), self.tag()
        held = digest in dict(self.tagged(name)).values()
        key = ("manifest", name, digest)
        if self.history.sure(("tag", name, tag)) != digest:
            self.leave(name, tag)
        answer, sent, came = self.change(
            {("tag", name, tag): digest}, [key], "PUT", f"/api/v1/repos/{name}/-/tags/{tag}",
            content.compact({"digest": digest}), [("Content-Type", "application/json")],
            good=(200, 201), refused=(404,))
        self.judge(self.ledger.stays(key, sent) if held else self.ledger.leased(key, sent, came),
                   answer.status != 404, f"{name}:{tag} could not be set to {digest}: {answer!r}")

    def mount(self, name):
        source = self.random.choice([one for one in SHARED if one != name])
        blobs = self.known(source)
        if not blobs:
            return
        digest = self.random.choice(blobs)
        if self.random.random() < 0.5 and not self.head("blob", source, digest):
            return
        self.pause()
        path = f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}"
        answer, sent, came = self.timed("POST", path, b"")
        self.judge(self.ledger.leased(("blob", source, digest), sent, came), answer.status == 201,
                   f"{source}: {digest} could not be mounted within its lease")
        if answer.status == 201:
            self.grant(("blob", name, digest), sent)
            self.pause()
            self.put_image(name, [digest])
        elif answer.status != 202:
            self.surprises.append(f"POST {path}: {answer!r}")

    def slow_upload(self, name):
        """Pauses that the session may not outlive: it is finished whole or unknown."""
        data = self.fresh()
        digest = content.digest(data)
        start, begun, _ = self.timed("POST", f"/v2/{name}/blobs/uploads/", b"")
        if start.status != 202:
            self.surprises.append(f"POST uploads: {start!r}")
            return
        path, offset = start["Location"], 0
        if self.random.random() < 0.5:
            self.pause(2)
            answer, _, _ = self.timed("PATCH", path, data[:8], [("Content-Range", "0-7")])
            offset = 8 if answer.status == 202 else 0
        self.pause(2)
        answer, sent, came = self.timed("PUT", content.with_digest(path, digest), data[offset:])
        self.judge(came < begun + self.ledger.ttl, answer.status == 201,
                   f"a session ended before its time: {answer!r}")
        if answer.status == 201:
            self.grant(("blob", name, digest), sent)
            self.pause()
            self.put_image(name, [digest])
        elif answer.status != 404:
            self.surprises.append(f"PUT {path}: {answer!r}")

    # --- steps: ends, and taking them back ---

    def delete_blob(self, name):
        blobs = self.known(name)
        if not blobs:
            return
        digest = self.random.choice(blobs)
        ending = self.ledger.begin_end([("blob", name, digest)])
        answer, _, _ = self.timed("DELETE", f"/v2/{name}/blobs/{digest}")
        ending.answered()
        if answer.status not in (202, 404):
            self.surprises.append(f"DELETE {digest}: {answer!r}")

    def delete_tag(self, name):
        tags = self.tagged(name)
        if not tags:
            return
        tag, digest = self.random.choice(tags)
        notes = self.notes.get((name, digest))
        self.leave(name, tag)
        answer, sent, _ = self.change({("tag", name, tag): None}, (), "DELETE",
                                      f"/v2/{name}/manifests/{tag}", good=(202,))
        if answer.status == 202:
            self.gone[name, tag] = Gone(digest, sent, notes, ())
            self.regret(name)

    def regret(self, name):
        if self.random.random() < 0.4:
            self.restore(name)

    def delete_manifest(self, name):
        """By digest: its tags go with it, and what hangs on it follows some time later."""
        tags = self.tagged(name)
        if not tags:
            return
        _, digest = self.random.choice(tags)
        tags = [tag for tag, one in tags if one == digest]
        notes = self.notes.get((name, digest))
        for tag in tags:
            self.leave(name, tag)
        ending = self.ledger.begin_end([("manifest", name, digest)])
        answer, sent, _ = self.change({("tag", name, tag): None for tag in tags}, (), "DELETE",
                                      f"/v2/{name}/manifests/{digest}", good=(202,))
        ending.answered()
        if answer.status == 202:
            self.gone.update({(name, tag): Gone(digest, sent, notes, tags) for tag in tags})
            self.regret(name)

    def restore(self, name):
        """Within the window it must come back, with all that it held."""
        found = [key for key in self.gone if key[0] == name]
        if found:
            if self.random.random() < 0.5:
                self.pause()
            key = found[-1] if self.random.random() < 0.7 else self.random.choice(found)
            gone = self.gone[key]
            whole = gone.tags and all(self.gone.get((name, tag)) == gone for tag in gone.tags)
            (self.restore_manifest if whole and self.random.random() < 0.5 else
             self.restore_tag)(*key)

    def restore_tag(self, name, tag):
        """The manifest comes back with it, if that was deleted as well."""
        gone = self.gone.pop((name, tag))
        self.restored(gone, name, [tag], f"tags/{tag}:restore",
                      content.compact({"digest": gone.digest}))

    def restore_manifest(self, name, tag):
        """All its tags come back with it."""
        gone = self.gone[name, tag]
        for one in gone.tags:
            del self.gone[name, one]
        self.restored(gone, name, gone.tags, f"manifests/{gone.digest}:restore?tags=true", b"")

    def restored(self, gone, name, tags, path, body):
        digest = gone.digest
        answer, sent, came = self.change(
            {("tag", name, tag): digest for tag in tags}, [("manifest", name, digest)], "POST",
            f"/api/v1/repos/{name}/-/{path}", body, [("Content-Type", "application/json")],
            good=(200,), refused=(404, 409))
        intime = came < gone.deleted + self.ledger.undo
        self.judge(intime and all(self.undamaged(part, sent) for part in self.parts[digest]),
                   answer.status == 200, f"{name}:{tags} not restored in time: {answer!r}")
        if answer.status == 200:
            self.tally("tags restored" if "tags/" in path else "manifests restored")
            self.notes.setdefault((name, digest), []).extend(
                gone.notes if gone.notes and intime else ())

    def undamaged(self, key, asked):
        """Nobody has asked for the end of it, or of anything below."""
        return self.ledger.stays(key, asked) and (
            key[0] == "blob" or all(self.undamaged(part, asked) for part in self.parts[key[2]]))

    def delete_repository(self, _):
        """All of it, and perhaps back again."""
        name = self.own
        tags = {key: None for key in list(self.history.keys) if key[1] == name}
        before = dict(self.tagged(name))
        notes = {key: self.notes.pop(key) for key in list(self.notes) if key[0] == name}
        for key in [key for key in self.gone if key[0] == name]:
            del self.gone[key]
        ending = self.ledger.begin_end(self.ledger.keys(name))
        answer, sent, _ = self.change(tags, (), "DELETE", f"/api/v1/repos/{name}",
                                      good=(200, 202, 204), refused=(404,))
        ending.answered()
        self.judge(bool(before), answer.status != 404, f"{name} is unknown and has tags: {before}")
        if answer.status == 404:
            return
        self.pause(1.5)
        if self.random.random() < 0.5:
            self.restore_repository(name, ending, sent, before, notes)

    def restore_repository(self, name, ending, deleted, before, notes):
        answer, _, came = self.change(
            {("tag", name, tag): digest for tag, digest in before.items()}, (), "POST",
            f"/api/v1/repos/{name}:restore", b"{}", [("Content-Type", "application/json")],
            good=(200,), refused=(404, 409, 410))
        intime = came < deleted + self.ledger.undo
        self.judge(intime, answer.status == 200,
                   f"{name} could not be restored in time: {answer!r}")
        if answer.status == 200:
            self.tally("repositories restored")
            self.ledger.withdraw(ending)
            self.notes.update(notes if intime else {})

    # --- looking ---

    def verify(self, name):
        """One tag and everything below it, byte for byte; and one that is gone."""
        tags = self.tagged(name)
        if tags:
            self.verify_tag(name, *self.random.choice(tags))
        absent = [key for key in list(self.history.keys)
                  if key[1] == name and self.history.possible(key) == {None}]
        if absent:
            key = self.random.choice(absent)
            answer, _, _ = self.timed("GET", f"/v2/{name}/manifests/{key[2]}")
            self.judge(True, answer.status == 404, f"{key} was deleted and answers {answer!r}")

    def verify_tag(self, name, tag, digest):
        answer, _, _ = self.timed("GET", f"/v2/{name}/manifests/{tag}")
        told = answer.get("Docker-Content-Digest") if answer.status == 200 else answer.status
        self.judge(True, told == digest, f"{name}:{tag} is {told}, told {digest}")
        self.verify_manifest(name, digest)

    def verify_manifest(self, name, digest):
        key = ("manifest", name, digest)
        answer, sent, _ = self.timed("GET", f"/v2/{name}/manifests/{digest}")
        if not self.verify_bytes(key, answer, sent):
            return
        for part in self.parts[digest]:
            if part[0] == "manifest":
                self.verify_manifest(name, part[2])
            else:
                self.verify_blob(part)
        for note in self.notes.get((name, digest), ()):
            self.verify_manifest(name, note)

    def verify_blob(self, key):
        answer, sent, _ = self.timed("GET", f"/v2/{key[1]}/blobs/{key[2]}")
        self.verify_bytes(key, answer, sent)

    def verify_bytes(self, key, answer, sent):
        """Of what a tag holds. True when it is there."""
        self.judge(self.ledger.stays(key, sent), answer.status == 200,
                   f"{key} is held and answers {answer.status}")
        if answer.status == 200:
            self.judge(True, answer.body == self.ledger.contents[key[2]], f"{key}: other bytes")
            self.grant(key, sent)
        return answer.status == 200

    def verify_all(self):
        for name in self.names:
            for tag, digest in self.tagged(name):
                self.verify_tag(name, tag, digest)

    # What is done, and how often.
    STEPS = [(push_image, 6), (waste, 11), (reuse, 5), (linger, 3), (linger_manifest, 3),
             (push_index, 3), (push_note, 2), (retag, 3), (set_tag, 3), (mount, 3), (slow_upload, 2),
             (delete_blob, 3), (delete_tag, 5), (delete_manifest, 4), (restore, 12),
             (delete_repository, 2.5), (verify, 6)]
