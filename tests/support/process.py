"""process.py - the server under test as a child process: start, restart, kill, end, count.

Touches  child processes started here, files below a temporary folder, /proc of those processes.
Never    a process it did not start; a name instead of a pid.

SLIPWAY_BIN names the binary (default build/release/slipway), so that sanitizer builds run the same
tests. At the end every server must have exited with 0 and without a sanitizer's report.
"""
import functools
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import time

from support import wire

TOP = pathlib.Path(__file__).resolve().parents[2]
REPORT = re.compile(r"(ERROR|WARNING): (Address|Thread|Leak|Memory)Sanitizer|runtime error:|"
                    r"Assertion .* failed")
LISTENING = re.compile(r'server\.listening.*?\baddress="?(?:https?://)?([0-9.]+):(\d+).*\n')


def binary():
    return os.environ.get("SLIPWAY_BIN", str(TOP / "build/release/slipway"))


def clean_environment(**more):
    """Ours without what chooses the program under test: it would take that for settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLIPWAY_", "REGISTRY_", "NOTIFY_"))}
    return {**kept, **more}


@functools.cache
def sanitized():
    """Sanitizer builds are slower and larger: figures of time and memory do not hold for them."""
    with open(binary(), "rb") as file:
        return re.search(rb"__(asan|tsan|ubsan)_", file.read()) is not None


@functools.cache
def runtime():
    """The sanitizer's library of the server, none or one: it must come before all others."""
    linked = subprocess.run(["ldd", binary()], capture_output=True, text=True).stdout
    return re.findall(r"=> (\S*/lib[at]san\.so\S*)", linked)


SLOWER = 3  # than the machine whose seconds the tests name; who waits for what comes loses nothing by it


def wait_for(question, seconds=60, what="condition", pause=0.02):
    """Polls until question() is true and returns its value; fails after so many seconds, of a slow machine."""
    seconds *= SLOWER
    end = time.monotonic() + seconds
    while True:
        value = question()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(pause)


def reserved():
    """A port that nobody gets by chance: held, and free for who asks for it and shares addresses (SO_REUSEADDR)."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", 0))
    return place


class Server:
    """One storage root and the process that serves it. Restarting keeps root and port."""

    def __init__(self, folder, settings=None, tls=None):
        """tls: a support.certificate.Authority; then the one listener speaks https."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.root = self.folder / "root"
        self.log = self.folder / "stderr.log"
        self.settings = dict(settings or {})
        self.tls, self.child, self.port = tls, None, 0
        self.unexpected = []  # exit statuses that no test has asked for

    # --- life ---

    def arguments(self):
        scheme = "https://" if self.tls else ""
        settings = {
            "server.listen": f"{scheme}127.0.0.1:{self.port}",
            "storage.root": self.root,
            "auth.mode": "none",
            "log.format": "logfmt",
            "builds.enabled": "false",  # a builder of its own for those that build: support/building.py
            "gc.schedule": "",  # no job by itself, should the run be under way at half past three
        }
        if self.tls:
            settings["server.tls.certificate"] = self.tls.certificate
            settings["server.tls.key"] = self.tls.key
        settings.update(self.settings)
        words = [binary(), "serve"]
        for key, value in settings.items():
            words += ["--set", f"{key}={value}"]
        return words

    def start(self, files=None):
        """files: the limit of descriptors of the process."""
        before = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.arguments(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env=clean_environment(), start_new_session=True,
                preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)))
                if files else None)
        match = wait_for(lambda: self.listening(before), 60, f"listening, see {self.log}")
        self.port = int(match[2])
        return self

    def listening(self, offset):
        status = self.child.poll()
        text = self.log.read_bytes()[offset:].decode(errors="replace")
        assert status is None, f"the server ended with {status}:\n{text[-4000:]}"
        return LISTENING.search(text)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self, timeout=70):
        """SIGTERM, then the exit status."""
        if self.running():
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout=70, expected=0):
        status = self.child.wait(timeout)
        if status != expected:
            self.unexpected.append(status)
        return status

    def kill(self):
        """SIGKILL: what a crash leaves."""
        self.signal(signal.SIGKILL)
        self.wait(expected=-signal.SIGKILL)

    def restart(self):
        assert self.stop() == 0
        return self.start()

    def finish(self):
        """The end of the test: the server must have behaved to its last moment."""
        if self.running():
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
                raise AssertionError(f"SIGTERM did not end the server: {self.tail()}")
        self.check_log()
        assert not self.unexpected, f"exit status {self.unexpected}: {self.tail()}"

    def check_log(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        report = REPORT.search(text)
        assert not report, f"sanitizer or assertion: {text[report.start():][:8000]}"

    def tail(self):
        return self.log.read_text(errors="replace")[-4000:]

    # --- talking to it ---

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    @property
    def target(self):
        context = wire.trusting(self.tls.ca) if self.tls else None
        return wire.Target("127.0.0.1", self.port, context)

    @property
    def admin(self):
        """The admin socket."""
        return wire.Target(str(self.root / "admin.sock"), None, None)

    def client(self, timeout=60):
        return wire.Client(self.target, timeout)

    def connect(self, timeout=30, **more):
        return wire.Connection(self.target, timeout, **more)

    # --- looking at it ---

    def blob_files(self):
        """Paths and sizes of the files below blobs, without what goes while we look."""
        for folder, _, names in os.walk(self.root / "blobs"):
            for name in names:
                path = pathlib.Path(folder, name)
                try:
                    size = path.stat().st_size
                except FileNotFoundError:
                    continue
                yield path, size

    def descriptors(self):
        """Open descriptors, save those of the database: its pool of readers grows to its size."""
        count = 0
        for entry in os.scandir(f"/proc/{self.pid}/fd"):
            try:
                count += "/meta.db" not in os.readlink(entry.path)
            except FileNotFoundError:
                pass  # closed meanwhile
        return count

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Bytes resident that no file backs: page cache mapped from the database is not ours."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", text)[1]) * 1024

    def peak_memory(self):
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024
