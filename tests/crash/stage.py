"""stage.py - a server whose threads stop where the test wants, and whose clock the test sets.

Touches  one server below a scratch folder, its database by reading.
Never    waits for a lease or a window to end: it moves the clock.

The database's one writer makes all transactions serial. So an interleaving is an order of them, and
it is forced: the first one is held before its commit is written; meanwhile the second one reads what
it reads before, and queues; then the first is let go.
"""
import concurrent.futures
import contextlib
import sqlite3
import time

from crash import control, ground, identity, rig
from support import content, process, wire

LEASE = 20 * 60  # seconds; all durations below are in leases
SETTINGS = {"gc.grace": "20m", "gc.undo": "40m", "gc.late": "0s", "gc.interval": "10ms",
            "storage.upload_ttl": "20m", "gc.schedule": "", "scrub.rate": "0"}
COMMIT = (control.WRITE, "root/meta.db-wal")
BYTES = "root/blobs/??/*"
APART = 0.01  # between two requests, so that their windows end one after the other
QUEUED = 0.08  # seconds for a request to come as far as it can


class Administrator(wire.Client):
    def request(self, method, path, body=None, headers=(), **more):
        return super().request(method, path, body, [*headers, identity.basic(*identity.ROOT)], **more)


class Stage:
    def __init__(self, folder, guarded=False, **settings):
        """guarded: the client is the administrator, and others may read public repositories."""
        settings = {**SETTINGS, **(identity.SETTINGS | {"auth.anonymous": "pull"} if guarded else {}),
                    **{name.replace("_", ".", 1): value for name, value in settings.items()}}
        self.rig = rig.Rig(folder, settings, workers=0)
        self.control, self.server = self.rig.control, self.rig.server
        self.kind = Administrator if guarded else wire.Client
        if guarded:
            assert identity.init(self.server).returncode == 0
        self.threads = concurrent.futures.ThreadPoolExecutor(8)
        self.passed = 0
        self.contents = {}
        self.start()

    def start(self):
        self.control.disarm()
        self.rig.start()
        self.client = self.kind(self.server.target)

    def restart(self):
        """After a rule has killed it."""
        assert self.server.wait_dead(60), "no rule killed the server"
        self.start()

    def close(self):
        self.control.disarm()
        self.threads.shutdown()
        self.client.close()
        assert self.server.stop() == 0
        wrong = self.rig.check_disk() + ground.rows(self.server.root)
        self.rig.close()
        assert not wrong, wrong

    # --- time and order ---

    def jump(self, leases):
        self.passed += leases
        self.control.ahead(self.passed * LEASE)

    def now(self):
        """The server's, in microseconds."""
        return int((time.time() + self.passed * LEASE) * 1e6)

    def jump_before(self, leases):
        """To the moment before the last thing that is due after so long: the others are done by
        themselves, so that the next transaction is about that one."""
        dues = [due for _, due in self.tasks() if due <= self.now() + leases * LEASE * 1e6]
        if dues:
            self.jump((max(dues) - self.now()) / 1e6 / LEASE - APART / 2)
            self.settle()

    @contextlib.contextmanager
    def held(self, what, first):
        """Holds the first call of this kind, which `first` brings about, until the block ends."""
        calls, pattern = what
        self.control.rule(0, calls, control.HOLD, pattern)
        try:
            answer = first()
            process.wait_for(lambda: self.control.held(), 60, "somebody to hold", 0.001)
            yield answer
            time.sleep(QUEUED)
        finally:
            self.control.disarm(0)
            process.wait_for(lambda: not self.control.held(), 60, "who was held to go on", 0.001)

    def order(self, first, second):
        """Both begin before either has ended, and the first one commits first. Their answers."""
        with self.held(COMMIT, lambda: self.later(first)) as one:
            two = self.later(second)
        return one.result(60), two.result(20)

    def collected_first(self, leases, second):
        """The collector has decided after so long, and `second` begins before it commits."""
        self.settle()
        end = self.passed + leases
        self.jump_before(leases)
        with self.held(COMMIT, lambda: self.jump(end - self.passed)):
            answer = self.later(second)
        answer = answer.result(60)
        self.collected()
        return answer

    def collected_second(self, leases, first):
        """The collector begins after so long, which passes before `first` has committed."""
        self.settle()
        with self.held(COMMIT, lambda: self.later(first)) as answer:
            self.jump(leases)
        answer = answer.result(60)
        self.collected()
        return answer

    def later(self, request):
        """On a connection of its own."""
        def run():
            with contextlib.closing(self.kind(self.server.target)) as client:
                return request(client)
        return self.threads.submit(run)

    def settle(self):
        """Nothing is due and nothing is being written."""
        self.collected()
        time.sleep(0.03)

    # --- what the database says ---

    def query(self, statement):
        database = sqlite3.connect(f"file:{self.server.root}/meta.db?mode=ro", uri=True)
        with contextlib.closing(database):
            return database.execute(statement).fetchall()

    def tasks(self):
        """What ends by the clock: what it is, and when."""
        return self.query("SELECT 'review', due FROM gc_queue"
                          " UNION ALL SELECT 'trash', not_before FROM trash"
                          " UNION ALL SELECT 'upload', expires_at FROM uploads"
                          " UNION ALL SELECT 'finished upload', forget_at FROM finished_uploads")

    def collected(self):
        """Everything that is due has been done."""
        process.wait_for(lambda: all(due > self.now() for _, due in self.tasks()), 60,
                         "the collector to be done", 0.005)

    def count(self, table):
        return self.query(f"SELECT count(*) FROM {table}")[0][0]

    def files(self):
        return [path.name for path in (self.server.root / "blobs").glob("*/*")]

    def nothing_left(self):
        """Every window passes after everything was deleted."""
        for name, in self.query("SELECT name FROM repositories WHERE deleted_at IS NULL"):
            answer = self.client.delete(f"/api/v1/repos/{name}")
            assert answer.status in (200, 202, 204), answer
        for _ in range(4):  # what goes sets free what goes later
            self.jump(4)
            self.collected()
        left = ground.leftovers(self.server.root)
        assert not left, left

    # --- what clients do ---

    def start_upload(self, name):
        return content.start_upload(self.client, name)

    def push(self, name, data=None):
        data = content.fresh() if data is None else data
        digest = content.push_blob(self.client, name, data)
        self.contents[digest] = data
        self.jump(APART)
        return digest

    def image(self, *digests, **more):
        return content.compact(content.image(self.contents[digests[0]],
                                             [self.contents[one] for one in digests[1:]], **more))

    def push_image(self, name, tag="latest", **more):
        """(digest of the manifest, digest of its blob)"""
        blob = self.push(name)
        data = self.image(blob, **more)
        digest = content.push_manifest(self.client, name, tag or content.digest(data), data)
        self.contents[digest] = data
        self.jump(APART)
        return digest, blob

    def put(self, name, reference, data, media_type=content.IMAGE):
        return lambda client: content.put_manifest(client, name, reference, data, media_type)

    def finish(self, path, data, offset=0):
        """With what follows on so many bytes."""
        return lambda client: client.put(content.with_digest(path, content.digest(data)),
                                         data[offset:])

    def mount(self, name, source, digest):
        return lambda client: client.post(f"/v2/{name}/blobs/uploads/?mount={digest}&from={source}")

    def status(self, kind, name, reference):
        """Of somebody who reads: a GET."""
        return self.client.get(f"/v2/{name}/{kind}/{reference}").status

    def whole(self, name, reference):
        """Everything below it, byte for byte."""
        return content.verify(self.client, name, reference)


def api(method, path, value=None):
    """A request of the management API."""
    def run(client):
        body = content.compact({} if value is None else value)
        return client.request(method, f"/api/v1/{path}", body,
                              headers=[("Content-Type", "application/json")])
    return run
