"""test_scripts_by_url.py - scripts that are fetched from a real server, each by itself and each missing; what such a server
may not do; and secrets that no log shows.

Acceptance 20.1, and the secrets of 20.3. Spec: s2i 2.7, 2.8, 3.2, 3.3, 3.5, 3.6, 5.4, 16.10
"""
import http.server
import json
import threading

import pytest

from support import building, process
from test_api_builds import Caller

SAY = "#!/bin/sh\necho 'this is {0} of {1}'\n"
ASSEMBLE = SAY.format("assemble", "the URL") + "cp -R /tmp/src/. /opt/app-root/src/\n"
SCRIPTS = {"assemble": ASSEMBLE, "run": "#!/bin/sh\nexec true\n", "usage": SAY.format("usage", "the URL"),
           "save-artifacts": "#!/bin/sh\necho 'saved by the URL' >&2\ncd /opt; tar cf - app-root\n",
           "assemble-runtime": SAY.format("assemble-runtime", "the URL")}


class Scripts:
    """http://127.0.0.1:port/<folder>/<script>: what files says: text, (status, headers, text), or a function of the handler."""

    def __init__(self):
        outer = self
        self.files, self.asked = {}, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                found = outer.files.get(self.path, (404, {}, "none"))
                if callable(found):
                    found(self)
                    return
                status, headers, text = found if isinstance(found, tuple) else (200, {}, found)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, folder="s2i"):
        return f"http://127.0.0.1:{self.port}/{folder}"

    def give(self, *names, folder="s2i"):
        self.files = {f"/{folder}/{name}": SCRIPTS[name] for name in names}

    def paths(self):
        return [path for path, _ in self.asked]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def remote():
    one = Scripts()
    yield one
    one.close()


@pytest.fixture(scope="module")
def fetching(folder, remote):
    """A registry that may fetch scripts, also from here."""
    from conftest import able
    server = process.Server(folder / "fetching", {
        "builds.enabled": "true", "builds.scripts_by_http": "true", "builds.sources.schemes": "http,https",
        "builds.sources.ports": f"443,{remote.port}", "builds.sources.allow": "127.0.0.1"})
    server.start()
    able(server)
    building.builder(server)
    building.builder(server, "builders/bare", assemble=None, run=None, labels={"io.openshift.s2i.scripts-url": None})
    yield server
    server.finish()


@pytest.fixture
def call(fetching, remote):
    remote.files, remote.asked = {}, []
    one = Caller(fetching.target)
    yield one
    one.close()


def log_of(call, build):
    return call.get(f"/builds/{build['id']}/log").body.decode()


def test_all_scripts_from_a_url(fetching, remote, call, name):
    """s2i 2.7, 3.3: they are put where fetched scripts go, and run."""
    remote.give("assemble", "run")
    build = call.build(name, options={"builder": "builders/bare", "scripts_url": remote.url()})
    assert build["state"] == "Complete", build
    assert "this is assemble of the URL" in log_of(call, build)
    assert building.manifest(fetching, name)[2]["config"]["Cmd"] == ["/tmp/scripts/run"]
    entries = building.layer_entries(fetching, name)
    assert entries["tmp/scripts/run"][1].decode() == SCRIPTS["run"] and entries["tmp/scripts/run"][0].mode == 0o755
    assert {"/s2i/assemble", "/s2i/run"} <= set(remote.paths())
    assert not any("Authorization" in headers or "Cookie" in headers for _, headers in remote.asked)


@pytest.mark.parametrize("given", ["assemble", "run", "save-artifacts"])
def test_each_script_by_itself(fetching, remote, call, name, given):
    """s2i 3.2: one from the URL, the others from the builder; 201 counts as found."""
    remote.give(given)
    remote.files[f"/s2i/{given}"] = (201, {}, SCRIPTS[given])
    build = call.build(name, options={"builder": "builders/test", "scripts_url": remote.url(), "incremental": True,
                                      "incremental_from": "builders/test"})
    assert build["state"] == "Complete", build
    said = log_of(call, build)
    assert ("this is assemble of the URL" in said) == (given == "assemble")
    assert ("saved by the URL" in said) == (given == "save-artifacts")
    command = building.manifest(fetching, name)[2]["config"]["Cmd"]
    assert command == ["/tmp/scripts/run" if given == "run" else f"{building.SCRIPTS}/run"]
    assert build["facts"]["scripts"][given] == remote.url()


def test_usage_from_a_url(remote, call, name):
    remote.give("assemble", "run", "usage")
    answer = call.call("POST", f"/repos/{name}/-/builds?usage=true", {"source": "none", "options": {
        "builder": "builders/bare", "scripts_url": remote.url()}})
    if answer.status == 422:
        pytest.fail(answer.body.decode())
    assert "this is usage of the URL" in answer.body.decode()


def test_assemble_runtime_from_a_url(remote, call, name):
    """s2i 9.5"""
    remote.give(*SCRIPTS)
    build = call.build(name, options={"builder": "builders/bare", "scripts_url": remote.url(), "runtime_image": "builders/bare",
                                      "runtime_artifact": ["/opt/app-root/src:app"]})
    assert build["state"] == "Complete", build
    assert "this is assemble-runtime of the URL" in log_of(call, build)


def test_a_script_of_the_source_comes_after_the_options(remote, call, name):
    remote.give("assemble", "run")
    files = {"index.html": "x", ".s2i/bin/assemble": SAY.format("assemble", "the source")}
    build = call.build(name, files, options={"builder": "builders/test", "scripts_url": remote.url()})
    assert "of the URL" in log_of(call, build) and "of the source" not in log_of(call, build)


def test_the_label_of_an_image_may_be_a_url(fetching, remote, call, name):
    """s2i 2.1, 2.7: with the source's own before it."""
    building.builder(fetching, "builders/by-url", assemble=None, run=None,
                     labels={"io.openshift.s2i.scripts-url": remote.url("label")})
    remote.give("assemble", "run", folder="label")
    build = call.build(name, options={"builder": "builders/by-url"})
    assert build["state"] == "Complete" and "of the URL" in log_of(call, build), build


@pytest.mark.parametrize("missing", ["assemble", "run"])
def test_a_required_script_that_is_missing(remote, call, name, missing):
    """s2i 3.5"""
    remote.give(*{"assemble", "run"} - {missing})
    build = call.build(name, options={"builder": "builders/bare", "scripts_url": remote.url()})
    assert build["reason"] == "InstallScriptsFailed" and f"failed to install [{missing}]" in build["message"], build


def test_nothing_at_the_url(remote, call, name):
    """s2i 3.6: though the builder has scripts of its own."""
    build = call.build(name, options={"builder": "builders/test", "scripts_url": remote.url("nothing")})
    assert build["reason"] == "FetchScriptsFailed" and "could not download any scripts from URL" in build["message"], build


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(4000):
            handler.wfile.write(b"#" * 65536)
    except OSError:
        pass


@pytest.mark.parametrize("answer", [
    pytest.param(lambda port: (302, {"Location": f"http://127.0.0.1:{port}/other/assemble"}, ""), id="redirect"),
    pytest.param(lambda port: (301, {"Location": "http://169.254.169.254/latest/meta-data"}, ""), id="redirect to metadata"),
    pytest.param(lambda port: endless, id="endless"),
    pytest.param(lambda port: (500, {}, "broken"), id="broken")])
def test_what_the_server_may_not_do(remote, call, name, answer):
    """s2i 2.8, 16.10: redirects are not followed, an answer without end is cut."""
    remote.give("assemble", "run", folder="other")
    remote.files["/s2i/assemble"] = answer(remote.port)
    build = call.build(name, options={"builder": "builders/test", "scripts_url": remote.url()})
    assert build["state"] == "Failed" and build["reason"] == "FetchScriptsFailed", build
    assert "/other/assemble" not in remote.paths()


@pytest.mark.parametrize("url, said", [
    ("http://127.0.0.1:{other}/s2i", "port"), ("http://127.0.0.2:{port}/s2i", "loopback"), ("http://[::1]:{port}/s2i", "loopback"),
    ("https://169.254.169.254/s2i", "link-local"), ("https://10.0.0.1/s2i", "private"), ("http://localhost:{port}/s2i", None)])
def test_addresses_that_are_refused(remote, call, name, url, said):
    remote.give("assemble", "run")
    build = call.build(name, options={"builder": "builders/test", "scripts_url": url.format(port=remote.port, other=remote.port + 1)})
    if said is None:  # a name is as good as its address
        return
    assert build["reason"] == "FetchScriptsFailed" and said in build["message"], build
    assert remote.asked == []


def test_not_unless_it_is_allowed(server, remote, name):
    """s2i 2.8: off by default."""
    remote.give("assemble", "run")
    remote.asked.clear()
    call = Caller(server.target)
    build = call.build(name, options={"builder": "builders/test", "scripts_url": remote.url()})
    assert build["reason"] == "FetchScriptsFailed" and "fetches no scripts" in log_of(call, build) and remote.asked == [], build
    call.close()


# --- secrets in logs ---

def test_no_log_shows_a_secret(fetching, remote, call, name):
    """s2i 5.4, 16.12: not in lines, parts of lines, errors, or after an escape; neither here nor in the server's own log."""
    secret, file_secret = "tr\u00e9s-s3cret/with+odd=chars", "line one of it\nline two of it"
    put = call.put(f"/repos/{name}/-/build-config", {"options": {"builder": "builders/test", "secret_env": [f"TOKEN={secret}"],
                                                                 "inject": ["npmrc:/opt/app-root/src"]}})
    assert put.status in (200, 201), put
    assert call.put(f"/repos/{name}/-/build-config/secrets/file/npmrc", {"value": file_secret}).status in (200, 201, 204)
    script = ('#!/bin/sh\necho "plain $TOKEN"; echo "twice $TOKEN$TOKEN"; echo "on stderr $TOKEN" >&2; printf "part "; printf "%s" "$TOKEN"; echo\n'
              'printf "%s" "${TOKEN%????????}"; sleep 0.3; printf "%s\\n" "${TOKEN#"${TOKEN%????????}"}"\n'
              'env | sort; set -x; : "$TOKEN"; set +x; cat /opt/app-root/src/npmrc; printf "\\033[31m%s\\033[0m\\n" "$TOKEN"\n'
              'cat "/nowhere/$TOKEN"; exit 3\n')
    build = call.build(name, {"index.html": "x", ".s2i/bin/assemble": script}, options={})
    assert build["reason"] == "AssembleFailed", build
    texts = [log_of(call, build), call.get(f"/builds/{build['id']}/log?timestamps=true").body.decode(), json.dumps(build),
             fetching.log.read_text(), (fetching.root / f"builds/logs/{build['id']}.log").read_text()]
    assert texts[0].count("***") >= 8, texts[0]
    for text in texts:
        assert secret not in text and "line one of it" not in text and "line two of it" not in text
