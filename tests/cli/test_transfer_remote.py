"""test_transfer_remote.py - import of other registries over HTTP: docker-registry, Slipway, and one that is hostile.

Touches  temporary folders; docker-registry and slipway, ended by pid; listeners on loopback.
Never    the network beyond loopback.
"""
import base64
import http.server
import json
import shutil
import subprocess
import threading
import time

import pytest

from support import content
from support.moving import New, Old
from support.process import wait_for


@pytest.fixture(scope="module")
def guarded(old, tmp_path_factory):
    """The same content behind a password."""
    folder = tmp_path_factory.mktemp("guarded")
    hashed = subprocess.run(["htpasswd", "-nbB", "ana", "a password"], capture_output=True, text=True, check=True)
    (folder / "htpasswd").write_text(hashed.stdout)
    (folder / "password").write_text("a password\n")
    shutil.copytree(old.root, folder / "store")
    registry = Old(folder, f"auth: {{htpasswd: {{realm: old, path: {folder}/htpasswd}}}}\n")
    yield registry
    registry.end()


def test_another_registry_is_copied(old, new):
    tried = new.job("import", "remote", old.address, "--plain-http", "--dry-run")
    assert tried["problems"] == [] and not new.rows("SELECT 1 FROM repositories")
    done = new.job("import", "remote", old.address, "--plain-http")
    assert done["problems"] == [] and tried["tags"] == done["tags"]
    assert new.held() == old.held
    again = new.job("import", "remote", f"http://{old.address}", "--repo", "app", "--tags", "1")
    assert not {"manifests", "blobs_copied", "bytes", "tags"} & set(again) and again["tags_present"] >= 1


def test_another_registry_behind_a_password(guarded, old, new):
    words = "import", "remote", guarded.address, "--plain-http", "--repo", "app", "--tags", "1"
    refused = new.run(*words, status=1)
    assert "does not allow it" in refused.stdout + refused.stderr
    done = new.job(*words, "--source-user", "ana", "--source-password-file", guarded.folder / "password")
    assert done["problems"] == []
    tags, found = new.held()
    assert tags == {"app": {tag: value for tag, value in old.held[0]["app"].items()
                            if tag == "1" or tag.startswith("sha256-")}}
    assert ("app", old.referrer) in found


def test_another_slipway_with_tokens(old, new, tmp_path):
    """The dance of tokens, and referrers by their API."""
    source = New(tmp_path / "source")
    source.imported(old.root)
    password = tmp_path / "password"
    password.write_text(source.password)
    source.settings[source.settings.index("auth.mode=none")] = "auth.mode=token"
    with source.serve() as client:
        address = f"127.0.0.1:{client.target.port}"
        words = "import", "remote", address, "--plain-http", "--repo", "app", "--tags", "1"
        assert "does not allow it" in new.run(*words, status=1).stdout
        done = new.job(*words, "--source-user", "admin", "--source-password-file", password)
    assert done["problems"] == []
    with new.serve() as client:
        listed = client.get(f"/v2/app/referrers/{old.subject}").json()["manifests"]
        assert [entry["digest"] for entry in listed] == [old.referrer]


# --- one that does what it may ---

CONFIG, LAYER = b"{}", content.fresh(300000)
MANIFEST = content.compact(content.image(CONFIG, [LAYER]))
BEARER = "a.token-of+its=own"


class Host:
    """A listener whose paths are functions of a request; it notes what credentials came."""

    def __init__(self):
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                try:
                    self.respond()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # who asked has gone

            def respond(self):
                host.seen.append((self.command, self.path, self.headers.get("Authorization"),
                                  self.headers.get("Range")))
                status, headers, body = host.answer(self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)
                if int(headers.get("Content-Length", len(body))) != len(body) and self.command == "GET":
                    self.close_connection = True

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.seen = []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def end(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hosts():
    """The registry, its token service, and where its blobs are."""
    hosts = [Host(), Host(), Host()]
    yield hosts
    for host in hosts:
        host.end()


class Registry:
    """Asks for a token, is busy once, sends blobs elsewhere, where the first answer breaks off."""

    def __init__(self, hosts, layer=LAYER):
        self.registry, self.tokens, self.store = hosts
        self.registry.answer, self.tokens.answer, self.store.answer = self.front, self.token, self.blob
        self.layer, self.busy, self.breaks = layer, 1, 1

    def front(self, request):
        if request.headers.get("Authorization") != f"Bearer {BEARER}":
            return 401, {"WWW-Authenticate": f'Bearer realm="{self.tokens.url}/token?x=1",service="a \\"b\\""'}, b"no"
        if request.path.startswith("/v2/app/tags/list"):
            more = "last=one" not in request.path
            return 200, {"Link": '</v2/app/tags/list?n=1&last=one>; rel="next"'} if more else {}, json.dumps(
                {"name": "app", "tags": ["one"] if more else ["two"]}).encode()
        if request.path in ("/v2/app/manifests/one", "/v2/app/manifests/two",
                            f"/v2/app/manifests/{content.digest(MANIFEST)}"):
            if self.busy:
                self.busy -= 1
                return 429, {"Retry-After": "1"}, b""
            return 200, {"Content-Type": content.IMAGE}, MANIFEST  # and no Docker-Content-Digest
        if request.path.startswith("/v2/app/blobs/"):
            return 307, {"Location": f"{self.store.url}/{request.path.split('/')[-1]}"}, b""
        return 404, {}, b"{}"

    def token(self, request):
        return 200, {}, json.dumps({"token": BEARER}).encode()

    def blob(self, request):
        data = CONFIG if request.path == f"/{content.digest(CONFIG)}" else self.layer
        if request.headers.get("Authorization"):
            return 401, {"WWW-Authenticate": f'Bearer realm="{self.store.url}/steal"'}, b""
        if data is CONFIG:
            return 200, {}, data
        if request.headers.get("Range"):
            start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            return 206, {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}, data[start:]
        if self.breaks:
            self.breaks -= 1
            return 200, {"Content-Length": str(len(data))}, data[:100000]
        return 200, {}, data


def test_credentials_stay_where_they_were_asked_for(hosts, new, tmp_path):
    registry = Registry(hosts)
    (tmp_path / "password").write_text("it is secret\nnot this\n")
    started = time.monotonic()
    done = new.job("import", "remote", registry.registry.url, "--repo", "app", "--source-user", "ana",
                   "--source-password-file", tmp_path / "password")
    assert done["problems"] == [] and done["tags"] == 2 and done["manifests"] == 1
    assert time.monotonic() - started >= 1, "Retry-After was not obeyed"
    basic = "Basic " + base64.b64encode(b"ana:it is secret").decode()
    assert {seen[2] for seen in registry.registry.seen} == {None, f"Bearer {BEARER}"}
    assert {seen[2] for seen in registry.tokens.seen} == {basic}
    assert registry.tokens.seen[0][1].startswith("/token?x=1&service=a%20%22b%22&scope=repository%3Aapp%3Apull")
    assert len(registry.tokens.seen) == 1, "the token is used again"
    assert {seen[2] for seen in registry.store.seen} == {None}
    assert [seen[3] for seen in registry.store.seen if seen[3]] == ["bytes=100000-"]
    with new.serve() as client:
        assert content.verify(client, "app", "two") == 3


def test_what_is_here_is_not_fetched_again(hosts, new):
    registry = Registry(hosts)
    registry.busy = registry.breaks = 0
    words = "import", "remote", registry.registry.url, "--repo", "app"
    new.job(*words)
    asked = len(registry.registry.seen)
    assert new.job(*words)["manifests_present"] == 1
    again = [path for _, path, _, _ in registry.registry.seen[asked:]]
    assert again and not [path for path in again if "sha256:" in path and "/referrers/" not in path]


def test_referrers_that_cannot_be_listed_are_told(hosts, new):
    registry = Registry(hosts)
    registry.busy = registry.breaks = 0
    torn = 200, {"Content-Type": content.INDEX}, b'{"schemaVersion": 2'
    registry.registry.answer = lambda request: torn if "/referrers/" in request.path else registry.front(request)
    done = new.job("import", "remote", registry.registry.url, "--repo", "app", status=1)
    told, = done["problems"]
    assert told["place"] == content.digest(MANIFEST) and "refers" in told["problem"] and done["tags"] == 2


def test_wrong_bytes_are_refused(hosts, new):
    registry = Registry(hosts, layer=LAYER[:-1] + b"x")
    registry.busy = registry.breaks = 0
    done = new.job("import", "remote", registry.registry.url, "--repo", "app", status=1)
    assert content.digest(LAYER) in {problem["place"] for problem in done["problems"]}
    assert not new.rows("SELECT 1 FROM manifests")
    assert new.rows("SELECT count(*) FROM blobs") == [(1,)]  # the config alone


def test_a_blob_that_does_not_end_is_left(hosts, new):
    registry = Registry(hosts, layer=LAYER + b"x" * 3000000)
    registry.busy = registry.breaks = 0
    done = new.job("import", "remote", registry.registry.url, "--repo", "app", status=1)
    told, = [problem for problem in done["problems"] if problem["place"] == content.digest(LAYER)]
    assert "more bytes" in told["problem"] and not new.rows("SELECT 1 FROM uploads")


def test_a_redirect_cannot_ask_for_credentials(hosts, new, tmp_path):
    registry = Registry(hosts)
    (tmp_path / "password").write_text("it is secret")
    registry.busy = registry.breaks = 0
    registry.store.answer = lambda request: (401, {"WWW-Authenticate": f'Bearer realm="{registry.store.url}/steal"'},
                                             b"") if request.path != "/steal" else (200, {}, b'{"token":"x"}')
    done = new.job("import", "remote", registry.registry.url, "--repo", "app", "--source-user", "ana",
                   "--source-password-file", tmp_path / "password", status=1)
    assert done["problem_count"] > 0
    assert not [seen for seen in registry.store.seen if seen[1] == "/steal" or seen[2]]


class Stalled(Registry):
    """Says how large the layer is, and then nothing until it is let go."""

    def __init__(self, hosts):
        super().__init__(hosts)
        self.busy = self.breaks = 0
        self.asked, self.go = threading.Event(), threading.Event()
        plain = self.store.answer

        def blob(request):
            if request.path == f"/{content.digest(LAYER)}":
                self.asked.set()
                self.go.wait(200)
            return plain(request)
        self.store.answer = blob


def jobs(new):
    return json.loads(new.run("job", "ls", "--json").stdout)["items"]


def test_a_job_of_a_killed_server_goes_on(hosts, new):
    registry = Stalled(hosts)
    serving = new.serve()
    serving.__enter__()
    command = new.start("import", "remote", registry.registry.url, "--repo", "app")
    assert registry.asked.wait(60)
    serving.child.kill()
    serving.child.wait()
    assert command.wait(60) != 0
    new.check_locators()
    registry.go.set()
    with new.serve() as client:
        wait_for(lambda: [job["state"] for job in jobs(new) if job["kind"] == "import"][0] == "done", what="the job")
        assert content.verify(client, "app", "one") == 3


def test_a_cancelled_import_ends_soon(hosts, new):
    registry = Stalled(hosts)
    with new.serve():
        command = new.start("import", "remote", registry.registry.url, "--repo", "app")
        assert registry.asked.wait(60)
        job = jobs(new)[0]
        new.run("job", "cancel", str(job["id"]))
        wait_for(lambda: jobs(new)[0]["state"] == "cancelled", what="the end")
        registry.go.set()
        assert command.wait(60) != 0
    assert not new.rows("SELECT 1 FROM uploads") and not new.rows("SELECT 1 FROM manifests")


@pytest.mark.parametrize("url", ["http://registry.invalid", "https://ana:secret@registry.invalid",
                                 "https://registry.invalid/v2/", "ftp://registry.invalid", "https://"])
def test_addresses_that_are_refused(new, url):
    refused = new.run("import", "remote", url, "--repo", "app", status=2)
    assert refused.stderr and "secret" not in refused.stderr
