"""servers.py - starts Slipway and its peers on loopback, and reads what they cost.

Touches  one temporary folder and one process (with its children) a server.
Never    another process: a server is ended by its own pid; nothing outlives close().
"""

import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.process import reserved  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def children_of(pid):
    """The pid and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += [int(child) for child in file.read().split()]
        except FileNotFoundError:
            pass
    return found


def basic(name, password):
    """The value of Authorization."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class Server:
    """A running server with an empty store. Subclasses say how it is started."""

    name = ""
    durability = ""

    def __init__(self, base):
        self.root = tempfile.mkdtemp(prefix=f"bench-{self.name}-", dir=base)
        self.place = reserved()
        self.port = self.place.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.log = open(os.path.join(self.root, "log"), "wb")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("REGISTRY_", "SLIPWAY_"))}
        try:
            self.process = subprocess.Popen(
                self.command(), env=clean, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
            )
        except OSError:
            self.remove()
            raise
        try:
            self.wait_ready()
        except Exception:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self):
        raise NotImplementedError

    def wait_ready(self):
        deadline = time.monotonic() + 15
        while True:
            try:
                status = self.request("GET", "/v2/")[0]
                if status < 500:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log.name, errors="replace") as file:
                    raise RuntimeError(f"{self.name} did not start: {file.read()[-800:]}")
            time.sleep(0.02)

    def memory_peak_bytes(self):
        """The most of it so far, of the process alone."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.remove()

    def remove(self):
        self.place.close()
        self.log.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def request(self, method, path, body=None, headers=None):
        """One request; returns status, headers and body."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def cpu_s(self):
        """User and system time of the process, its threads, its children and the dead among them."""
        total = 0
        for pid in children_of(self.process.pid):
            with open(f"/proc/{pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            total += sum(int(ticks) for ticks in fields[11:15])
        return total / TICKS

    def memory_bytes(self):
        """Resident memory of the process and its children, shared libraries included."""
        total = 0
        for pid in children_of(self.process.pid):
            with open(f"/proc/{pid}/smaps_rollup") as file:
                for line in file:
                    if line.startswith("Rss:"):
                        total += int(line.split()[1]) * 1024
        return total


class Slipway(Server):
    """Slipway with nobody asked, as the peers are."""

    name = "slipway"
    settings = {"auth.mode": "none"}
    durability = "durable: file, folder and database synced before the answer"
    binary = "build/release/slipway"

    def command(self):
        return [
            os.path.abspath(self.binary), "serve",
            "--set", f"server.listen={self.address}",
            "--set", f"storage.root={self.root}/store",
            "--set", "log.access=false",
            *(word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")),
        ]  # fmt: skip


class SlipwayAsking(Slipway):
    """Slipway as it is by default: it asks who is there. Requests of request() are an administrator's."""

    name = "asking"
    settings = {"auth.mode": "token"}
    admin = ("admin", "a password of the bench")

    def command(self):
        done = subprocess.run(
            [
                os.path.abspath(self.binary), "init", "--admin", self.admin[0], "--password-file", "-",
                "--set", f"storage.root={self.root}/store",
            ],
            input=self.admin[1] + "\n", capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise OSError(f"slipway init failed: {done.stderr.strip()}")
        return super().command()

    def request(self, method, path, body=None, headers=None):
        given = {"Authorization": basic(*self.admin), **(headers or {})}
        return super().request(method, path, body, given)

    def api(self, path, **body):
        """One POST on the management API; returns its answer."""
        kind = {"Content-Type": "application/json"}
        status, _, reply = self.request("POST", "/api/v1/" + path, json.dumps(body), kind)
        if status not in (200, 201, 204):
            raise RuntimeError(f"POST {path}: {status} {reply[:200]}")
        return json.loads(reply or b"{}")

    def token(self, scope):
        """The value of Authorization with a fresh JWT of the administrator."""
        status, _, reply = self.request("GET", "/token?scope=" + scope)
        if status != 200:
            raise RuntimeError(f"no token: {status} {reply[:200]}")
        return "Bearer " + json.loads(reply)["token"]


class SlipwayPublic(SlipwayAsking):
    """The same, where anybody may pull what is public."""

    settings = {"auth.mode": "token", "auth.anonymous": "pull"}


class Registry(Server):
    """Debian's docker-registry at its best: descriptors cached in memory, no access log."""

    name = "registry"
    durability = "files synced, folders never"

    def command(self):
        path = os.path.join(self.root, "config.yml")
        with open(path, "w") as file:
            file.write(
                "version: 0.1\n"
                "log: {level: error, accesslog: {disabled: true}}\n"
                "storage:\n"
                "  cache: {blobdescriptor: inmemory}\n"
                f"  filesystem: {{rootdirectory: {self.root}/store, maxthreads: 100}}\n"
                f"http: {{addr: '{self.address}'}}\n"
            )
        return ["docker-registry", "serve", path]


class Nginx(Server):
    """nginx as a file server at its best: sendfile, open files cached, no access log."""

    name = "nginx"
    durability = "only serves files"
    workers = 1

    def command(self):
        os.makedirs(os.path.join(self.root, "files", "v2"))
        os.chmod(self.root, 0o755)
        self.put("v2/index.html", b"{}")
        path = os.path.join(self.root, "nginx.conf")
        temporary = "".join(
            f"  {kind}_temp_path {self.root}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;\n" if os.geteuid() == 0 else ""
        with open(path, "w") as file:
            file.write(
                f"{user}daemon off;\nworker_processes {self.workers};\n"
                f"pid {self.root}/pid;\nerror_log {self.root}/error.log;\n"
                "events { worker_connections 1024; }\n"
                "http {\n"
                "  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; etag on;\n"
                "  keepalive_requests 1000000000; keepalive_timeout 300s;\n"
                "  open_file_cache max=100; open_file_cache_valid 300s;\n"
                "  default_type application/octet-stream;\n"
                f"{temporary}"
                f"  server {{ listen {self.address}; root {self.root}/files; }}\n"
                "}\n"
            )
        return ["nginx", "-p", self.root, "-e", f"{self.root}/error.log", "-c", path]

    def put(self, name, content):
        """Makes a file to serve; `content` is bytes, or pieces of them."""
        with open(os.path.join(self.root, "files", name), "wb") as file:
            for piece in [content] if isinstance(content, bytes) else content:
                file.write(piece)
        return "/" + name
