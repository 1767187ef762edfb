"""stepping.py - a build with every stage there is, stopped at a step of it: by a script that waits, by an effect of the
server that is held (tests/crash), by a system call of the worker (stepper.c).

Touches  a registry of its own, below one folder; child processes ended by pid.
Never    waits for a time to pass: each stop is seen.
"""
import contextlib
import hashlib
import io
import json
import os
import pathlib
import signal
import subprocess
import tarfile

from crash import control, rig
from support import api, building, gitserver, process, remains

STEPPER = pathlib.Path(os.environ.get("SLIPWAY_BUILD", process.TOP / "build/release")) / "tests/support/stepper"
BLOB, WAL = "root/blobs/??/*", "root/meta.db-wal"
EFFECTS = (control.CREATE | control.WRITE | control.ANY_SYNC | control.TRUNCATE | control.UNLINK | control.RENAME | control.LINK |
           control.MKDIR | control.RMDIR)
WAIT = """#!/bin/sh
set -e
if [ "$STOP" = {name} ] || [ -e /stop-{name} ]; then echo "at {name}" >&2; sleep 100; fi
"""
SCRIPTS = {"assemble": WAIT.format(name="assemble") + "cp -R /tmp/src/. /opt/app-root/src/\n",
           "save-artifacts": WAIT.format(name="save-artifacts") + "cd /opt; tar cf - app-root\n",
           "assemble-runtime": WAIT.format(name="assemble-runtime") + "cp -R app/. .\n"
           "dd if=/dev/urandom of=big bs=64k count=48 2>/dev/null\n"}  # more than a channel takes unread
HOOK = ["/bin/sh", "-c", 'if [ "$STOP" = post-commit ]; then echo "at post-commit"; sleep 100; fi']


def archive(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            item = building.entry(name)
            item.size = len(text.encode())
            tar.addfile(item, io.BytesIO(text.encode()))
    return stream.getvalue()


def referrers(server, name):
    """Manifests of the repository that stand beside another."""
    return remains.rows(server, "SELECT m.id FROM manifests m JOIN repositories r ON r.id = m.repo_id WHERE m.subject IS NOT NULL"
                                f" AND r.name = '{name}'")


def locator(server, digest):
    """The name of the blob's file."""
    (row,) = remains.rows(server, f"SELECT locator FROM blobs WHERE hex(digest) LIKE '%{digest.split(':')[1].upper()}'")
    return row[0]


class Registry(rig.Server):
    """Everybody may do everything. Its effects can be held, and it can be killed at each."""

    def __init__(self, folder, **settings):
        self.control = control.Control(pathlib.Path(folder) / "control")
        super().__init__(folder, self.control, {"builds.enabled": "true", "builds.sources.schemes": "http,https",
                                                "builds.sources.allow": "127.0.0.1", **settings})
        self.remote = gitserver.GitServer(self.folder / "remote")
        self.settings["builds.sources.ports"] = str(self.remote.port)
        self.remote.repository("app", {"index.html": "hello\n"})
        self.number = 0

    def begin(self):
        before = self.log.stat().st_size if self.log.exists() else 0
        self.start()
        process.wait_for(lambda: b"builder.connected" in self.log.read_bytes()[before:], 60, "a builder")
        return self

    def kill(self):
        """Also when a rule has done it."""
        if self.running():
            super().kill()
        assert self.child.returncode == -signal.SIGKILL, f"ended by itself: {self.tail()}"

    def images(self):
        """Three of the same kind, with layers of their own: nothing is unpacked already."""
        self.number += 1
        for name, marks in (("builder", {}), ("stuck", {"stop-save-artifacts": "x"}), ("runtime", {}), ("previous", {})):
            building.builder(self, f"builders/{name}", assemble=SCRIPTS["assemble"], scripts=SCRIPTS,
                             files={**marks, "unique": f"{name} {self.number} {os.urandom(4).hex()}"})

    def caller(self):
        return api.Api(self.target)

    def ask(self, name, stop="", previous="builders/previous", **options):
        """Begins the build with all stages; its id."""
        wish = {"url": self.remote.url("app"), "ref": "main", "builder": "builders/builder", "incremental": True,
                "incremental_from": previous, "runtime_image": "builders/runtime",
                "runtime_artifact": ["/opt/app-root/src:app"], "post_commit": HOOK, "env": [f"STOP={stop}"], "tags": ["latest", "same"],
                "rebuild": True, **options}
        call = self.caller()
        answer = call.call("POST", f"/repos/{name}/-/builds", {"source": "url", "options": wish})
        call.close()
        assert answer.status == 201, answer
        return answer.json()["id"]

    def record(self, build):
        call = self.caller()
        answer = call.get(f"/builds/{build}")
        call.close()
        assert answer.status == 200, answer
        return answer.json()

    def ended(self, build, seconds=60):
        process.wait_for(lambda: self.record(build)["finished_at"] is not None, seconds, f"the end of build {build}", 0.05)
        return self.record(build)

    def settled(self):
        """What goes on behind the ends of builds is over: else the next rule or blow would meet that."""
        process.wait_for(lambda: remains.rows(self, "SELECT count(*) FROM build_attestations") == [(0,)], 30, "all is published")
        remains.wait_none(self)

    def state(self, build):
        """From the rows, also while nobody answers: (state, name of the last stage)."""
        state, stages = remains.rows(self, f"SELECT state, stages FROM builds WHERE id = {build}")[0]
        listed = json.loads(stages)
        return state, listed[-1]["name"] if listed else None

    def wait_text(self, build, text):
        path = self.root / f"builds/logs/{build}.log"

        def said():
            record = self.record(build)
            log = path.read_text(errors="replace") if path.exists() else ""
            assert text in log or record["finished_at"] is None, f"{record}\n{log}\n{self.tail()}"
            return text in log
        process.wait_for(said, 60, f"{text} in the log of {build}")

    def able(self):
        call = self.caller()
        answer = call.get("/system/builds").json()
        call.close()
        return answer["able"]

    def tags(self, name):
        """tag -> digest; every tag's image must be whole."""
        with contextlib.closing(self.client()) as client:
            answer = client.get(f"/v2/{name}/tags/list")
            listed = answer.json()["tags"] if answer.status == 200 else []
            return {tag: self.whole(client, name, tag) for tag in listed or []}

    def whole(self, client, name, tag):
        digest, document, _ = building.manifest(self, name, tag)
        for blob in [document["config"], *document["layers"]]:
            data = client.get(f"/v2/{name}/blobs/{blob['digest']}").body
            assert len(data) == blob["size"] and f"sha256:{hashlib.sha256(data).hexdigest()}" == blob["digest"]
        return digest

    def checked(self):
        """What the program's own check says while no server runs."""
        words = [process.binary(), "check", "--deep", "--set", f"storage.root={self.root}"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=self.folder, env=process.clean_environment())
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-1000:]

    def hold(self, calls, pattern, first=1):
        self.control.rule(0, calls, control.HOLD, pattern, first=first)

    def wait_held(self):
        process.wait_for(lambda: self.control.held() > 0, 60, "the server stands at the effect", 0.005)

    # --- deaths ---

    def strike(self, victim, pid=None):
        """Kills it, lets go what was held, and waits until all that was below is gone."""
        below = [one for one, _ in remains.children(self.pid)]
        if victim == "server":
            self.kill()
        else:
            pid = pid or {"builder": remains.builder_of, "worker": remains.worker_of}[victim](self)
            assert pid is not None, f"there is no {victim}"
            os.kill(pid, signal.SIGKILL)
            below = [one for one in below if one == pid or victim == "worker" and one in dict(remains.children(pid))]
        self.control.disarm()
        return below

    def after(self, name, build, victim, below, before):
        """The promises: no half state, the queue goes on, nothing is left. Returns the record."""
        if victim == "server":
            remains.wait_gone(below)
            self.checked()
            self.begin()
        record = self.ended(build)
        assert record["state"] in ("Complete", "Error", "Failed"), record
        tags = self.tags(name)
        assert len(set(tags.values())) <= 1, f"tags of one build differ: {tags}"
        if record["state"] == "Complete":
            assert set(tags.values()) == {record["result_digest"]} and set(tags) == {"latest", "same"}
        else:
            assert record["reason"] and record["message"], record
            assert tags == before, f"tags were {before} and are {tags}"
        remains.wait_none(self)
        process.wait_for(self.able, 60, "a builder is there again")
        again = self.ended(self.ask(name))
        assert again["state"] == "Complete" and self.tags(name)["latest"] == again["result_digest"], again
        remains.wait_none(self)
        return record

    def close(self):
        if self.running():
            self.stop()
        self.control.close()
        self.remote.close()
        self.check_log()


def holdable(server):
    """The control by which a test holds effects of a server that is not started yet; patterns are as BLOB is."""
    made, words = control.Control(server.folder / "control"), server.arguments
    given = made.environment(server.folder)
    given["LD_PRELOAD"] = ":".join([*process.runtime(), given["LD_PRELOAD"]])
    server.arguments = lambda: ["/usr/bin/env", *(f"{name}={value}" for name, value in given.items()), *words()]
    return made


class Stepper:
    """The worker of the next build stands before its n-th system call, or made fewer (count)."""

    def __init__(self, builder, number):
        self.child = subprocess.Popen([STEPPER, str(builder), str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        assert self.child.stdout.readline().startswith("ready")
        self.pid = self.call = self.count = None

    def wait(self):
        word, one, two = self.child.stdout.readline().split()
        if word == "stopped":
            self.pid, self.call = int(one), int(two)
        else:
            self.count = int(one)
        return word == "stopped"

    def let_go(self):
        self.child.stdin.close()
        self.child.wait(30)
