"""workshop.py - a real `slipway builder` without a server: tests speak the server's side (s2i/wire.h).

Touches  child processes ended by pid, a temporary folder.
Never    a registry.
"""
import array
import contextlib
import gzip
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tarfile
import threading
import time

from support import building, content, layering, process

PIECE = 64 * 1024
LIMITS = {"timeout_ms": 60000, "silence_ms": 60000, "memory": 256 << 20, "disk": 256 << 20, "log": 64 << 20,
          "processes": 200, "cpu_percent": 0, "files_max": 10000, "layer_bytes_max": 1 << 30}
USER = 65534  # of the unprivileged builder


def send(connection, kind, payload=b"", fd=None):
    beside = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    connection.sendmsg([kind.encode() + payload], beside)


def receive(connection):
    """(kind, payload), None at the end."""
    try:
        data = connection.recv(PIECE + 1)
    except ConnectionResetError:
        return None
    return (chr(data[0]), data[1:]) if data else None


def memory_file(data):
    fd = os.memfd_create("source")
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def source_tar(files):
    """files: path -> text, or (text, mode), or a symbolic link as ("->", target). As s2i/source/source.h says."""
    stream = io.BytesIO()
    names = {str(parent) for name in files for parent in pathlib.PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(names | set(files), key=str.encode):
            given = files.get(name)
            if given is None:
                archive.addfile(building.entry(name, tarfile.DIRTYPE, 0o755))
                continue
            if isinstance(given, tuple) and given[0] == "->":
                archive.addfile(building.entry(name, tarfile.SYMTYPE, 0o777, given[1]))
                continue
            text, mode = given if isinstance(given, tuple) else (given, 0o755 if "/bin/" in name else 0o644)
            data = text.encode() if isinstance(text, str) else text
            item = building.entry(name, mode=mode)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return stream.getvalue()


class Image:
    """An image as a server describes it; its layers are at hand."""

    def __init__(self, plain_layers, config=None, name="builders/test:latest"):
        self.blobs = [gzip.compress(plain, 1, mtime=0) for plain in plain_layers]
        settings = {"User": "1001", "Env": ["PATH=/bin:/usr/bin", "FROM_BUILDER=yes"], "WorkingDir": "/opt/app-root/src",
                    "Labels": {"io.openshift.s2i.scripts-url": f"image://{building.SCRIPTS}"}, **(config or {})}
        diff_ids = [content.digest(plain) for plain in plain_layers]
        self.document = {
            "name": name, "repository": name.split(":")[0], "digest": content.digest(json.dumps(diff_ids).encode()),
            "media_type": content.IMAGE,
            "config": json.dumps({"architecture": "amd64", "os": "linux", "config": settings,
                                  "rootfs": {"type": "layers", "diff_ids": diff_ids}}),
            "layers": [{"digest": content.digest(blob), "diff_id": diff_id, "size": len(blob),
                        "media_type": content.LAYER_GZIP} for blob, diff_id in zip(self.blobs, diff_ids)]}


def builder_image(assemble=building.ASSEMBLE, run=building.RUN, scripts=None, files=None, config=None, app_owner=1001,
                  more=()):
    scripts = {"assemble": assemble, "run": run, **(scripts or {})}
    scripts = {name: text for name, text in scripts.items() if text is not None}
    return Image([building.base_tar(scripts, files or {}, app_owner), *more], config)


class Outcome:
    def __init__(self):
        self.log, self.out, self.errors, self.steps = b"", b"", b"", b""
        self.stages, self.blobs, self.ends = [], [], []
        self.result = None
        self.seconds = 0.0

    @property
    def text(self):
        return self.log.decode(errors="replace")

    def entries(self, layer=-1):
        """name -> (TarInfo, bytes)"""
        found = {}
        with tarfile.open(fileobj=io.BytesIO(self.plain(layer))) as archive:
            for item in archive:
                assert item.name not in found, f"{item.name} stands twice in the layer"
                found[item.name] = (item, archive.extractfile(item).read() if item.isreg() else b"")
        return found

    def plain(self, layer=-1):
        return gzip.decompress(self.blobs[layer])

    @property
    def diff_id(self):
        return self.result["layers"][-1]["diff_id"]


class Build:
    """One build: its channel, and a thread that plays the server."""

    def __init__(self, channel, images, caches=None):
        self.channel, self.images = channel, images
        self.outcome = Outcome()
        self.said = threading.Condition()
        self.wants = []
        self.thread = threading.Thread(target=self.converse, daemon=True)

    def begin(self, spec, source):
        text = json.dumps(spec).encode()
        for at in range(0, len(text), PIECE):
            send(self.channel, "s", text[at:at + PIECE])
        fd = None if source is None else memory_file(source)
        send(self.channel, "s", b"", fd)
        if fd is not None:
            os.close(fd)
        self.begun = time.monotonic()
        self.thread.start()

    def converse(self):
        blob, result = b"", b""
        while (packet := receive(self.channel)) is not None:
            kind, payload = packet
            with self.said:
                if kind == "l":
                    self.outcome.log += payload[1:]
                    name = ("steps", "out", "errors")[payload[0]]
                    setattr(self.outcome, name, getattr(self.outcome, name) + payload[1:])
                elif kind == "t":
                    self.outcome.stages.append(json.loads(payload))
                elif kind == "d":
                    blob += payload
                elif kind == "e":
                    self.outcome.ends.append(json.loads(payload))
                    self.outcome.blobs.append(blob)
                    blob = b""
                elif kind == "r":
                    result += payload
                    if not payload:
                        self.outcome.result = json.loads(result)
                elif kind == "w":
                    self.give(json.loads(payload))
                self.said.notify_all()
        self.outcome.seconds = time.monotonic() - self.begun
        with self.said:
            self.said.notify_all()

    def give(self, wish):
        self.wants.append(wish)
        fd = memory_file(self.images[wish["image"]].blobs[wish["layer"]])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            send(self.channel, "f", b"", fd)
        os.close(fd)

    def wait_for(self, text, timeout=60):
        """Until the log has it."""
        with self.said:
            assert self.said.wait_for(lambda: text.encode() in self.outcome.log, timeout), self.outcome.text

    def cancel(self, reason="CancelledBuild"):
        send(self.channel, "c", reason.encode())

    def end(self, timeout=300):
        self.thread.join(timeout)
        assert not self.thread.is_alive(), self.outcome.text
        self.channel.close()
        return self.outcome


class Workshop:
    """A builder that was started by a server: by its connection."""

    def __init__(self, folder, *options, user=None, names=None):
        """names: a nameserver.NameServer that it asks."""
        if user:
            layering.need_one_thread()
        self.folder = pathlib.Path(folder)
        self.ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [process.binary(), "builder", "--connection", str(theirs.fileno()), "--folder", str(self.folder),
                 *options]
        words = names.words(*words) if names else words
        self.log = self.folder.with_suffix(".log")
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=log,
                                          stdout=log, user=user, group=user, extra_groups=[] if user else None)
        theirs.close()
        self.ours.settimeout(90)
        kind, payload = receive(self.ours)
        assert kind == "h"
        self.ours.settimeout(None)
        self.hello = json.loads(payload)
        self.builds = 0

    def begin(self, image, files=None, options=None, limits=None, mode="build", images=None, inputs=(), **more):
        self.builds += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        send(self.ours, "b", json.dumps({"build": self.builds}).encode(), theirs.fileno())
        theirs.close()
        source = None if files is None else source_tar(files)
        images = {"builder": image, **(images or {})}
        spec = {"build": self.builds, "mode": mode, "target": "team/app:latest", "options": options or {},
                "limits": {**LIMITS, **(limits or {})},
                "source": {"time": building.WHEN, "files": len(files or {}), "url": "", "ref": "main"},
                **{name: one.document for name, one in images.items()}, **more}
        if inputs:  # of copy_from
            spec["inputs"] = [one.document for one in inputs]
        build = Build(ours, {**images, **{f"input/{i}": one for i, one in enumerate(inputs)}})
        build.begin(spec, source)
        return build

    def build(self, image, files=None, **more):
        return self.begin(image, files, **more).end()

    def finish(self):
        """Ends it as its server does; it must end well."""
        self.ours.close()
        try:
            assert self.child.wait(60) == 0, self.log.read_text()
            assert not process.REPORT.search(self.log.read_text()), self.log.read_text()
        finally:
            self.kill()

    def kill(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()


def unprivileged(folder):
    """A workshop whose builder may do nothing special; the folder is its parent."""
    folder.chmod(0o755)
    (folder / "builder").mkdir()
    shutil.chown(folder / "builder", USER, USER)
    made = Workshop(folder / "builder", user=USER)
    assert made.hello["level"] == "user", made.hello
    return made


# --- what most builds are like, and how they end ---

APP = {"index.html": "<h1>hello</h1>\n"}
IMAGE = builder_image()


def assemble(shop, script, files=None, **more):
    """Builds with this script as assemble."""
    return shop.build(IMAGE, {**(files or {}), ".s2i/bin/assemble": "#!/bin/sh\n" + script}, **more)


def done(outcome):
    assert outcome.result.get("done"), (outcome.result, outcome.text)
    return outcome


def failed(outcome, reason):
    assert not outcome.result.get("done") and outcome.result["reason"] == reason, (outcome.result, outcome.text)
    assert outcome.result.get("layers") in (None, []) and not outcome.blobs
    return outcome


# --- the proxy of a build, in its scripts ---

def connect(target, more=""):
    """The request, and what comes behind it, as printf is told."""
    return f"CONNECT {target} HTTP/1.1\\r\\n\\r\\n{more}"


def ask_proxy(request):
    """The command that prints what the proxy says."""
    return f"printf '{request}' | nc 127.0.0.1 3128"
