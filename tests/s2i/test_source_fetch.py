"""test_source_fetch.py - sources by URL: what is fetched, and what a strange server cannot make us do."""
import io
import json
import os
import pathlib
import socket
import subprocess
import tarfile
import threading
import time

import pytest

from support import certificate, gitserver, process

PROBE = pathlib.Path(os.environ.get("SLIPWAY_BUILD", process.TOP / "build/release")) / "tests/support/source_probe"
SECRET = "s3cr3t-Passw0rd"


@pytest.fixture
def remote(tmp_path):
    one = gitserver.GitServer(tmp_path / "remote")
    yield one
    one.close()


@pytest.fixture
def fetch(tmp_path):
    """fetch(url, ref=...): the probe's answer."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(url, **orders):
        port = (url.split("/") + [""] * 3)[2].rpartition(":")[2]
        asked = {"url": url, "schemes": ["http", "https", "git"], "ports": [port, "443"],
                 "allow": ["127.0.0.0/8"], "scratch": str(scratch), "tar": str(tmp_path / "tar"), **orders}
        child = subprocess.Popen([PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                 env=process.clean_environment())
        call.child = child
        child.stdin.write(json.dumps(asked).encode())
        child.stdin.flush()
        if "stop_after" in orders:
            threading.Timer(orders["stop_after"], lambda: (child.stdin.write(b"\n"), child.stdin.flush())).start()
        answer = json.loads(child.stdout.read())
        child.stdin.close()
        assert child.wait(30) == 0
        assert os.listdir(scratch) == []
        return answer
    return call


def names(tmp_path):
    with tarfile.open(tmp_path / "tar") as tar:
        return tar.getnames()


def refused(answer, reason, *words):
    assert answer.get("reason") == reason, answer
    assert all(word in answer["message"] for word in words), answer
    assert SECRET not in json.dumps(answer)


def test_branch_tag_commit_and_pull_request(remote, fetch, tmp_path):
    """s2i 4.3: HEAD by default; names short and whole; ids."""
    first = remote.repository("app", {"one": "1"})
    second = remote.commit("app", {"two": "2"})
    gitserver.git(remote.folder / "app.git", "tag", "-a", "-m", "t", "v1", first)
    gitserver.git(remote.folder / "app.git", "update-ref", "refs/pull/7/head", first)
    url = remote.url("app")
    for ref, commit in (("", second), ("main", second), ("refs/heads/main", second), ("v1", first),
                        ("refs/tags/v1", first), ("refs/pull/7/head", first), (first, first), (second, second)):
        facts = fetch(url, ref=ref)["facts"]
        assert facts["commit"] == commit, ref
        assert facts.get("ref", "") == ref
        assert facts["url"] == url
    assert fetch(url + "#v1")["facts"]["commit"] == first
    assert fetch(url + "#v1", ref="main")["facts"]["commit"] == second
    assert fetch(url, ref="main", commit=first)["facts"]["commit"] == first
    assert names(tmp_path) == ["one"]


def test_server_that_gives_no_commit_by_its_id(remote, fetch):
    """s2i 4.3: protocol 0 gives what is advertised; the history of the branch has the commit."""
    first = remote.repository("app", {"one": "1"})
    remote.commit("app", {"two": "2"})
    side = remote.commit("app", {"three": "3"}, branch="side")
    remote.commit("app", {"four": "4"}, branch="side")
    remote.old = True
    assert fetch(remote.url("app"), ref="main", commit=first)["facts"]["commit"] == first
    assert fetch(remote.url("app"), commit=side)["facts"]["commit"] == side
    refused(fetch(remote.url("app"), ref="main", commit=side), "FetchSourceFailed", "no commit", side)


def test_what_is_not_there(remote, fetch):
    remote.repository("app", {"one": "1"})
    refused(fetch(remote.url("app"), ref="none"), "FetchSourceFailed", "no branch, tag or commit none")
    refused(fetch(remote.url("none")), "FetchSourceFailed")
    refused(fetch(remote.url("app"), ref="0" * 39 + "1"), "FetchSourceFailed")
    refused(fetch(remote.url("app"), context_dir="none"), "InvalidContextDirectory")
    refused(fetch(remote.url("app"), context_dir="../x"), "InvalidContextDirectory")


def test_the_same_bytes_as_a_push(remote, fetch, tmp_path):
    """s2i 20, 5"""
    remote.repository("app", {"b/c": "1", "a": "2"})
    first = fetch(remote.url("app"))["facts"]["content"]
    bare = remote.folder / "app.git"
    gitserver.git(bare, "gc", "-q")
    assert fetch(remote.url("app"))["facts"]["content"] == first
    assert names(tmp_path) == ["a", "b", "b/c"]


@pytest.mark.parametrize("url,words", [
    ("https://127.0.0.1/a", "a loopback address"), ("https://[::1]/a", "a loopback address"),
    ("https://169.254.169.254/latest", "a link-local address"), ("https://10.0.0.1/a", "a private address"),
    ("https://localhost/a", "a loopback address"), ("https://2130706433/a", "no valid host"),
    ("https://[::ffff:127.0.0.1]/a", "a loopback address"), ("file:///etc", "https, http, ssh or git"),
    ("ext::sh -c id", "not allowed"), ("https://example.org:22/a", "port 22"),
    ("ssh://git@example.org/a", "by ssh"), ("/etc", "must be an URL")])
def test_addresses_and_schemes(fetch, url, words):
    """s2i 4.2, 16.10"""
    refused(fetch(url, ports=["443"], schemes=["https"], allow=[]), "FetchSourceFailed", words)


def test_redirects_are_refused(remote, fetch, tmp_path):
    """s2i 16.10: not even to the same machine."""
    remote.repository("app", {"one": "1"})
    other = gitserver.GitServer(tmp_path / "other")
    try:
        other.repository("app", {"stolen": "1"})
        remote.redirect = f"http://127.0.0.1:{other.port}"
        refused(fetch(remote.url("app")), "FetchSourceFailed", "302")
        assert other.asked == []
    finally:
        other.close()


def test_password_and_token(remote, fetch):
    """s2i 16.12: sent when asked for, to the URLs it is for, and seen nowhere."""
    commit = remote.repository("app", {"one": "1"})
    remote.user = ("ann", SECRET)
    url, place = remote.url("app"), f"http://127.0.0.1:{remote.port}"
    refused(fetch(url), "FetchSourceFailed")
    refused(fetch(url, credentials=[f"n\t{place}/other\tpassword\tann:{SECRET}"]), "FetchSourceFailed")
    refused(fetch(url, credentials=[f"n\t{place}\tpassword\tann:wrong{SECRET}"]), "FetchSourceFailed")
    good = [f"n\t{place}\tpassword\tann:nothing", f"n\t{place}/app\tpassword\tann:{SECRET}"]
    assert fetch(url, credentials=good)["facts"]["commit"] == commit
    remote.user = ("x-access-token", SECRET)
    remote.asked.clear()
    assert fetch(url, credentials=[f"n\t{place}\ttoken\t{SECRET}"])["facts"]["commit"] == commit
    assert remote.asked[0][1] is None and remote.asked[-1][1] is not None


def test_credentials_are_in_no_process_list(remote, fetch):
    """s2i 16.12: neither argv nor environment of any child has them."""
    remote.repository("app", {"one": "1"})
    remote.user, remote.stall = ("ann", SECRET), threading.Event()
    seen = []

    def look():
        process.wait_for(lambda: remote.asked, 30, "a request")
        for one in pathlib.Path("/proc").iterdir():
            if one.name.isdigit():
                for part in ("cmdline", "environ"):
                    try:
                        data = (one / part).read_bytes()
                    except OSError:
                        continue
                    seen.append((one.name, part, SECRET.encode() in data, b"GIT_CONFIG_COUNT" in data))
        remote.stall.set()
    watcher = threading.Thread(target=look)
    watcher.start()
    place = f"http://127.0.0.1:{remote.port}"
    fetch(remote.url("app"), credentials=[f"n\t{place}\tpassword\tann:{SECRET}"])
    watcher.join()
    assert any(settings for _, _, _, settings in seen)  # it looked at git while it ran
    assert not any(secret for _, _, secret, _ in seen)


def test_https_needs_a_known_authority(tmp_path, fetch):
    authority = certificate.Authority(tmp_path / "tls")
    remote = gitserver.GitServer(tmp_path / "remote", authority)
    try:
        commit = remote.repository("app", {"one": "1"})
        place = f"https://localhost:{remote.port}"
        refused(fetch(remote.url("app", "localhost")), "FetchSourceFailed", "certificate")
        answer = fetch(remote.url("app", "localhost"), credentials=[f"n\t{place}\tca\t{authority.ca.read_text()}"])
        assert answer["facts"]["commit"] == commit
    finally:
        remote.close()


def test_names_and_numbers(tmp_path, fetch):
    """A name is pinned to its address; a number is its own, of either version."""
    for address, host in (("127.0.0.1", "localhost"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        remote = gitserver.GitServer(tmp_path / f"remote-{host}", address=address)
        try:
            commit = remote.repository("app", {"one": "1"})
            answer = fetch(remote.url("app", host), allow=["127.0.0.0/8", "::1"])
            assert answer.get("facts", answer).get("commit") == commit, (host, answer)
            assert fetch(remote.url("app", host) + "/HEAD", post="", allow=["127.0.0.0/8", "::1"])["status"] == 200
        finally:
            remote.close()


def test_time_out_and_cancel(remote, fetch):
    """s2i 16.10: a server that says nothing; git's helpers end too."""
    remote.repository("app", {"one": "1"})
    remote.stall = threading.Event()
    begun = time.monotonic()
    refused(fetch(remote.url("app"), timeout_ms=300), "FetchSourceFailed", "longer than")
    answer = fetch(remote.url("app"), stop_after=0.3)
    assert answer["code"] == "unavailable" and "stopped" in answer["message"]
    assert time.monotonic() - begun < 40  # it would say nothing for a minute
    process.wait_for(lambda: not children_of("git-remote-http", str(remote.port)), 30, "git's end")


def children_of(*words):
    found = []
    for one in pathlib.Path("/proc").iterdir():
        try:
            line = (one / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if one.name.isdigit() and all(word in line for word in words):
            found.append(line)
    return found


def test_too_large(remote, fetch):
    remote.repository("app", {"one": os.urandom(200000).hex()})
    refused(fetch(remote.url("app"), bytes_max=100000), "FetchSourceFailed", "larger than 100000 bytes")
    refused(fetch(remote.url("app"), bytes_max=300000), "InvalidSource", "more than 300000 bytes")


def test_hostile_tree(remote, fetch):
    """What git's own check lets through meets ours; what it refuses is refused."""
    remote.repository("app", {"one": "1"})
    bare = remote.folder / "app.git"
    blob = gitserver.git(bare, "hash-object", "-w", "--stdin", text="x")
    for name in ("..", ".git"):
        tree = gitserver.git(bare, "mktree", text=f"100644 blob {blob}\t{name}\n")
        gitserver.git(bare, "update-ref", "refs/heads/main", gitserver.git(bare, "commit-tree", "-m", "x", tree))
        assert fetch(remote.url("app"))["reason"] in ("FetchSourceFailed", "InvalidSource")


def test_submodules(remote, fetch, tmp_path):
    """s2i 4.5: recursively, relative URLs, at the recorded commits."""
    inner = remote.repository("inner", {"deep": "1"})
    remote.commit("inner", {"deep": "newer"})
    lib = remote.repository("lib", {".gitmodules": '[submodule "i"]\npath = in/ner\nurl = ../inner.git\n',
                                    "in/ner": (inner,), "l": "1"})
    app = remote.repository("app", {".gitmodules": '[submodule "x"]\npath = lib\nurl = ../lib.git\n',
                                    "lib": (lib,), "a": "1"})
    facts = fetch(remote.url("app"))["facts"]
    assert facts["commit"] == app
    assert names(tmp_path) == [".gitmodules", "a", "lib", "lib/.gitmodules", "lib/in", "lib/in/ner",
                               "lib/in/ner/deep", "lib/l"]
    with tarfile.open(tmp_path / "tar") as tar:
        assert tar.extractfile("lib/in/ner/deep").read() == b"1"
    facts = fetch(remote.url("app"), ignore_submodules=True)["facts"]
    assert facts["submodules_empty"] == 1
    assert names(tmp_path) == [".gitmodules", "a", "lib"]


def test_submodules_that_cannot_be_had(remote, fetch):
    app = remote.repository("app", {"a": "1"})
    remote.commit("app", {"lib": (app,)})
    refused(fetch(remote.url("app")), "InvalidSource", "lib is a submodule that .gitmodules does not name")
    for url, words in (("https://169.254.169.254/x", "a link-local address"), ("file:///etc", "https, http"),
                       ("../../../../x", "above its server"), ("../none.git", "submodule lib")):
        remote.commit("app", {".gitmodules": f'[submodule "x"]\npath = lib\nurl = {url}\n'})
        refused(fetch(remote.url("app")), "FetchSourceFailed", words)


def test_submodule_of_itself(remote, fetch):
    """A repository that holds itself, and again: ends at a count."""
    app = remote.repository("app", {"a": "1"})
    text = {".gitmodules": '[submodule "x"]\npath = lib\nurl = ../app.git\n'}
    for _ in range(10):
        app = remote.commit("app", {**text, "lib": (app,)})
    refused(fetch(remote.url("app")), "FetchSourceFailed", "nested too deep")


def test_over_the_git_protocol(tmp_path, fetch):
    """It knows no pinned address, so it is given the checked one."""
    remote = gitserver.GitServer(tmp_path / "remote")
    remote.close()
    commit = remote.repository("app", {"one": "1"})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with listener.accept()[0] as one:
                subprocess.run(["git", "daemon", "--inetd", "--export-all", f"--base-path={remote.folder}", str(remote.folder)],
                               env=gitserver.ENVIRONMENT, stdin=one, stdout=one, stderr=subprocess.DEVNULL, check=False)
        threading.Thread(target=serve, daemon=True).start()
        assert fetch(f"git://localhost:{listener.getsockname()[1]}/app.git")["facts"]["commit"] == commit


def test_over_ssh(tmp_path, fetch):
    """s2i 16.11, 16.12: by a key, from a host whose key is known, and from no other."""
    paramiko = pytest.importorskip("paramiko", reason="python3-paramiko is not installed")
    from support import sshserver
    key = paramiko.ECDSAKey.generate()
    remote = gitserver.GitServer(tmp_path / "remote")
    remote.close()
    commit = remote.repository("app", {"one": "1"})
    server = sshserver.SshServer(remote.folder, key)
    text = io.StringIO()
    key.write_private_key(text)
    try:
        place, url = f"ssh://127.0.0.1:{server.port}", f"ssh://git@127.0.0.1:{server.port}/app.git"
        opens = f"n\t{place}\tssh-key\t{text.getvalue()}"
        known = f"n\t{place}\tknown-hosts\t{server.known_hosts()}"
        other = f"n\t{place}\tknown-hosts\t{server.known_hosts(paramiko.ECDSAKey.generate())}"
        answer = fetch(url, schemes=["ssh"], credentials=[opens, known])
        assert answer.get("facts", answer).get("commit") == commit, answer
        assert answer["facts"]["url"] == f"ssh://127.0.0.1:{server.port}/app.git"
        asked = len(server.commands)
        refused(fetch(url, schemes=["ssh"], credentials=[opens]), "FetchSourceFailed", "known-hosts")
        refused(fetch(url, schemes=["ssh"], credentials=[opens, other]), "FetchSourceFailed")
        refused(fetch(url, schemes=["ssh"], credentials=[known]), "FetchSourceFailed", "Permission denied")
        assert len(server.commands) == asked
    finally:
        server.close()


def test_the_program_is_its_own_askpass(tmp_path):
    """By the name git calls it; without a descriptor it says nothing."""
    (tmp_path / "askpass").symlink_to(process.binary())
    with open(tmp_path / "secret", "w+b") as file:
        file.write(b"ann\n" + SECRET.encode())
        file.flush()
        for prompt, said in (("Username for 'https://x': ", "ann\n"), ("Password for 'https://ann@x': ", SECRET + "\n")):
            done = subprocess.run([tmp_path / "askpass", prompt], pass_fds=[file.fileno()], capture_output=True,
                                  text=True, env={"SLIPWAY_ASKPASS_DESCRIPTOR": str(file.fileno())}, check=True)
            assert done.stdout == said
    done = subprocess.run([tmp_path / "askpass", "Password: "], capture_output=True, env={}, check=False)
    assert done.returncode != 0 and done.stdout == b""


def test_small_requests(remote, fetch):
    """s2i 11.1, 2.7: the same filter; no redirect is followed; sizes are limited."""
    url = f"http://127.0.0.1:{remote.port}"
    answer = fetch(f"{url}/none.git/HEAD?x=1", post='{"success":true}', header="X-S2I-Signature-256: sha256=00")
    assert answer["status"] == 400
    assert remote.bodies[-1] == b'{"success":true}'
    assert remote.headers[-1]["X-S2I-Signature-256"] == "sha256=00"
    assert remote.headers[-1]["Content-Type"] == "application/json"
    remote.repository("app", {"one": "1"})
    answer = fetch(f"{url}/app.git/HEAD", post="")
    assert answer.get("body") == "ref: refs/heads/main\n", answer
    refused(fetch(f"{url}/app.git/HEAD", post="", bytes_max=3), "", "larger than 3 bytes")
    refused(fetch(f"{url}/app.git/HEAD", post="", allow=[]), "", "a loopback address")
    refused(fetch(f"{url}/app.git/HEAD", post="", ports=["443"]), "", "port")
    remote.redirect = "http://127.0.0.1:1"
    assert fetch(f"{url}/app.git/HEAD", post="")["status"] == 302
    remote.redirect, remote.stall = None, threading.Event()
    refused(fetch(f"{url}/app.git/HEAD", post="", timeout_ms=200), "", "cannot be asked")
