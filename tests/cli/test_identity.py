"""test_identity.py - the commands on accounts, tokens, grants, repositories and the audit: at the admin
socket of a running server, and over https as somebody."""
import base64
import fcntl
import http.server
import json
import os
import pty
import re
import select
import subprocess
import termios
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import PROGRAM, clean_environment, wait_for
from support import certificate

SECRET = re.compile(r"slipway_pat_[0-9A-Za-z]{46}\n")
PASSWORD = "correct horse battery"
FORBIDDEN, NOT_FOUND, CONFLICT, UNREACHABLE, USAGE = 3, 4, 5, 6, 2


@pytest.fixture
def root(tmp_path):
    return tmp_path / "0" / "root"  # of the first server that `serve` starts


@pytest.fixture
def run(root):
    """run("user", "ls", ..., stdin=text): the finished command, at the admin socket unless --url says otherwise."""
    def command(*words, stdin=None):
        where = [] if "--url" in words else ["--config", "/dev/null", "--set", f"storage.root={root}"]
        return subprocess.run([PROGRAM, *map(str, words), *where], env=clean_environment(), timeout=60, check=False,
                              input=stdin, capture_output=True, text=True,
                              **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    return command


@pytest.fixture
def well(run):
    """The same for commands that must succeed: what they print, or their JSON."""
    def command(*words, stdin=None):
        done = run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "--json" in words else done.stdout
    return command


@pytest.fixture
def server(serve, run, root):
    root.parent.mkdir()
    done = run("init", "--admin", "ana", "--password-file", "-", stdin=PASSWORD)
    assert done.returncode == 0, done.stderr
    return serve("auth.mode=token")


def answer(server, path, name=None, password=None):
    """Status of a GET with Basic credentials."""
    headers = {}
    if name:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()
    try:
        with urllib.request.urlopen(urllib.request.Request(server.url + path, headers=headers), timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as reply:
        return reply.code


def rows(text):
    """A printed table: a list of dictionaries by title."""
    lines = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def test_a_user_from_making_to_deleting(server, run, well):
    well("user", "create", "bob", "--new-password-file", "-", "--description", "builds things", stdin="bob's password\n")
    assert [row["NAME"] for row in rows(well("user", "ls"))] == ["ana", "bob"]
    assert [row["NAME"] for row in rows(well("user", "ls", "--search", "bo"))] == ["bob"]
    assert well("user", "show", "bob", "--json")["description"] == "builds things"
    assert answer(server, "/v2/", "bob", "bob's password") == 200
    well("user", "password", "bob", "--new-password-file", "-", stdin="another password\n")
    assert answer(server, "/v2/", "bob", "bob's password") == 401
    assert answer(server, "/v2/", "bob", "another password") == 200
    well("user", "set", "bob", "--role", "auditor")
    assert well("user", "show", "bob", "--json")["role"] == "auditor"
    well("user", "disable", "bob")
    assert answer(server, "/v2/", "bob", "another password") == 401
    well("user", "enable", "bob")
    assert answer(server, "/v2/", "bob", "another password") == 200
    well("user", "rm", "bob", "--yes")
    assert answer(server, "/v2/", "bob", "another password") == 401
    assert run("user", "show", "bob").returncode == NOT_FOUND


def test_people_change_their_own_password(server, run, well):
    well("user", "create", "bob", "--new-password-file", "-", stdin="bob's password\n")
    words = ["user", "password", "--url", server.url, "--user", "bob", "--password-file", "-", "--new-password-file", "-"]
    wrong = run(*words, stdin="a wrong one\nanother password\n")
    assert wrong.returncode == FORBIDDEN and answer(server, "/v2/", "bob", "bob's password") == 200
    well(*words, stdin="bob's password\nanother password\n")
    assert answer(server, "/v2/", "bob", "another password") == 200
    well(*words, "bob", stdin="another password\na third password\n")  # the name says the same
    assert answer(server, "/v2/", "bob", "a third password") == 200
    other = run(*words, "ana", stdin="a third password\nof bob from now on\n")
    assert other.returncode == FORBIDDEN and answer(server, "/v2/", "ana", PASSWORD) == 200
    nobody = run("user", "password", "--new-password-file", "-", stdin="whose password\n")
    assert nobody.returncode == USAGE and "--user" in nobody.stderr


def test_the_log_names_who_was_refused(server, run, well):
    well("user", "create", "bob", "--new-password-file", "-", stdin="bob's password\n")
    words = ["user", "ls", "--url", server.url, "--user", "bob", "--password-file", "-"]
    assert run(*words, stdin="bob's password\n").returncode == FORBIDDEN
    assert run(*words, stdin="a wrong password\n").returncode == FORBIDDEN
    def lines():
        return [line for line in server.text().splitlines() if "path=\"/api/v1/users?" in line]
    allowed, wrong = wait_for(lambda: len(lines()) == 2 and lines(), what="two lines")
    assert "status=403" in allowed and " user=bob " in allowed
    assert "status=401" in wrong and "user=" not in wrong.replace("user_agent=", "")


def test_a_missing_terminal_names_the_option(server, run):
    assert "--new-password-file" in run("user", "create", "bob").stderr
    assert " --password-file" in run("user", "ls", "--url", server.url, "--user", "ana").stderr
    both = run("user", "create", "bob", "--no-password", "--new-password-file", "-", stdin="bob's password\n")
    assert both.returncode == USAGE and "exclude" in both.stderr


def test_quotas_and_usage(server, run, well):
    made = well("quota", "create", "team/*", "10MiB", "--json")
    assert made["bytes"] == 10 << 20 and made["kind"] == "repositories"
    well("quota", "create", "ana", "1GiB", "--account")
    assert [(row["SUBJECT"], row["BYTES"], row["USED"]) for row in rows(well("quota", "ls"))] == \
        [("team/*", "10MiB", "0"), ("ana", "1GiB", "0")]
    assert well("quota", "set", made["id"], "0", "--json")["bytes"] == 0
    assert run("quota", "create", "team/*", "1MiB").returncode == CONFLICT
    assert run("quota", "create", "team/x", "much").returncode == USAGE
    well("quota", "rm", made["id"], "--yes")
    assert run("quota", "set", made["id"], "1MiB").returncode == NOT_FOUND
    assert well("usage", "--json")["blobs"] == 0
    assert run("usage", "no/such").returncode == NOT_FOUND


def test_a_robot_says_when_its_token_ends(server, run, well):
    def ends(*words):
        done = run("robot", "create", *words)
        assert done.returncode == 0 and SECRET.fullmatch(done.stdout), done.stderr
        token, = well("token", "ls", "--of-robot", words[0], "--json")["items"]
        assert (token["expires_at"] or "for ever")[:19] in done.stderr
        return token["expires_at"]
    assert ends("ci", "--token-expires", "never") is None
    assert ends("ci2", "--token-expires", "2030-01-01T00:00:00Z").startswith("2030-01-01T00:00:00")
    assert ends("ci3", "--expires", "never") is not None
    assert run("robot", "create", "ci4", "--token-expires", "soon").returncode == USAGE


def test_a_password_is_asked_for_without_echo(server, run, root):
    master, slave = pty.openpty()
    child = subprocess.Popen([PROGRAM, "user", "create", "eve", "--config", "/dev/null", "--set", f"storage.root={root}"],
                             env=clean_environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
    os.close(slave)
    seen, deadline = b"", time.monotonic() + 20
    typed = 0
    while child.poll() is None and time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            try:
                seen += os.read(master, 1000)
            except OSError:
                break
        asked = seen.count(b"new password: ") + seen.count(b"once more: ")
        if asked > typed:
            typed = asked
            os.write(master, b"typed by hand\n")
    assert child.wait(10) == 0, seen
    os.close(master)
    assert typed == 2 and b"typed by hand" not in seen
    assert answer(server, "/v2/", "eve", "typed by hand") == 200


def test_a_robot_has_its_prefix_and_a_token_shown_once(server, run, well):
    done = run("robot", "create", "ci", "--grant", "team/ci/*=pull,push", "--expires", "30d")
    assert done.returncode == 0 and SECRET.fullmatch(done.stdout), done.stdout + done.stderr
    token = done.stdout.strip()
    assert token not in done.stderr and token not in server.text()
    assert answer(server, "/v2/team/ci/app/tags/list", "ci", token) == 404
    assert answer(server, "/v2/team/app/tags/list", "ci", token) == 403
    assert [(row["PATTERN"], row["ACTIONS"]) for row in rows(well("grant", "ls", "--account", "ci"))] == [
        ("team/ci/*", "pull,push")]
    assert token not in well("robot", "show", "ci") and token not in well("token", "ls", "--of-robot", "ci")
    successor = run("robot", "rotate", "ci").stdout.strip()
    assert answer(server, "/v2/", "ci", successor) == 200
    assert answer(server, "/v2/", "ci", token) == 401
    second = well("token", "create", "deploy", "--robot", "ci", "--expires", "1h").strip()
    assert answer(server, "/v2/", "ci", second) == 200
    ids = {row["LABEL"]: row["ID"] for row in rows(well("token", "ls", "--of-robot", "ci"))}
    well("token", "rm", ids["deploy"], "--yes", "--all")
    assert answer(server, "/v2/", "ci", second) == 401
    well("robot", "disable", "ci")
    assert answer(server, "/v2/", "ci", successor) == 401
    well("robot", "rm", "ci", "--yes")
    assert rows(well("grant", "ls")) == []


def test_grants_come_and_go(server, run, well):
    well("user", "create", "bob", "--new-password-file", "-", stdin="bob's password\n")
    assert answer(server, "/v2/team/app/tags/list", "bob", "bob's password") == 403
    well("grant", "create", "bob", "team/*", "read")
    assert answer(server, "/v2/team/app/tags/list", "bob", "bob's password") == 404
    assert rows(well("grant", "ls", "--repository", "other/app")) == []
    grant = rows(well("grant", "ls", "--repository", "team/app"))[0]
    assert (grant["ACCOUNT"], grant["LEVEL"]) == ("bob", "read")
    well("grant", "rm", grant["ID"], "--yes")
    assert answer(server, "/v2/team/app/tags/list", "bob", "bob's password") == 403
    done = run("grant", "create", "bob", "team/*", "everything")
    assert done.returncode == 1 and "actions" in done.stderr
    done = run("grant", "create", "nobody", "team/*", "read")
    assert done.returncode == 1 and "no such account" in done.stderr


def test_repositories_are_shown_and_opened(server, run, well):
    well("repo", "create", "team/app", "--description", "the app")
    assert run("repo", "create", "team/app").returncode == CONFLICT
    assert rows(well("repo", "ls"))[0]["VISIBILITY"] == "private"
    well("repo", "set", "team/app", "--visibility", "public")
    assert well("repo", "show", "team/app", "--json")["visibility"] == "public"
    assert run("repo", "set", "team/app").returncode == USAGE
    assert run("repo", "show", "team/none").returncode == NOT_FOUND


def test_what_was_done_and_refused_is_in_the_audit(server, well):
    well("user", "create", "bob", "--no-password")
    assert answer(server, "/v2/", "ana", "wrong") == 401
    events = wait_for(lambda: [event for event in well("audit", "ls", "--json")["items"]
                               if event["action"] == "login.refused"], what="login.refused") and \
        well("audit", "ls", "--json")["items"]
    by_action = {event["action"]: event for event in events}
    assert by_action["user.create"]["target"] in ("user/bob", "user/ana")
    assert by_action["login.refused"]["target"] == "user/ana" and by_action["login.refused"]["remote"] == "127.0.0.1"
    assert {row["ACTION"] for row in rows(well("audit", "ls", "--action", "user.*"))} == {"user.create"}
    assert len(well("audit", "tail", "--action", "user.create").splitlines()) == 2


def test_the_audit_is_followed_as_it_grows(server, well, root):
    child = subprocess.Popen([PROGRAM, "audit", "tail", "-f", "--json", "--config", "/dev/null",
                              "--set", f"storage.root={root}"], env=clean_environment(), stdout=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, text=True)
    try:
        assert json.loads(child.stdout.readline())["target"] == "user/ana"
        well("user", "create", "bob", "--no-password")
        event = json.loads(child.stdout.readline())
        assert (event["action"], event["target"], event["actor"]) == ("user.create", "user/bob", "local")
    finally:
        child.kill()
        child.wait()


def test_deleting_asks_and_is_refused_where_nobody_can_answer(server, run, well):
    well("user", "create", "bob", "--no-password")
    done = run("user", "rm", "bob")
    assert done.returncode == USAGE and "--yes" in done.stderr
    assert well("user", "show", "bob")


def test_the_last_administrator_stays(server, run):
    for words in (["rm", "ana", "--yes"], ["disable", "ana"], ["set", "ana", "--role", "user"]):
        assert run("user", *words).returncode == CONFLICT, words


def test_long_lists_come_whole(server, well):
    for number in range(3):
        well("user", "create", f"user{number}", "--no-password")
    assert well("user", "ls", "--json")["total"] == 4
    assert len(well("api", "GET", "/users?limit=2") and json.loads(well("api", "GET", "/users?limit=2"))["items"]) == 2


def test_raw_requests(server, run, well):
    made = json.loads(well("api", "POST", "/users", "--data", "-", stdin='{"name": "raw"}'))
    assert made["name"] == "raw"
    refused = run("api", "GET", "/users/none")
    assert refused.returncode == NOT_FOUND and json.loads(refused.stdout)["code"] == "not_found"
    assert run("api", "get", "/users").returncode == USAGE
    assert run("api", "GET", "users").returncode == USAGE


def test_over_https_as_somebody(serve, run, root, tmp_path):
    authority = certificate.Authority(tmp_path / "ca")
    root.parent.mkdir()
    assert run("init", "--admin", "ana", "--password-file", "-", stdin=PASSWORD).returncode == 0
    server = serve("auth.mode=token", f"server.tls.certificate={authority.certificate}", f"server.tls.key={authority.key}")
    url = server.url.replace("http://", "https://")
    known = ["--url", url, "--ca-file", authority.ca]
    token = tmp_path / "token"
    made = run("token", "create", "laptop", *known, "--user", "ana", "--password-file", "-", stdin=PASSWORD)
    assert SECRET.fullmatch(made.stdout), made.stderr
    token.write_text(made.stdout)
    mine = [*known, "--token-file", token]
    assert rows(run("user", "ls", *mine).stdout)[0]["NAME"] == "ana"
    assert rows(run("token", "ls", *mine).stdout)[0]["LABEL"] == "laptop"
    assert run("user", "ls", "--url", url, "--token-file", token).returncode == UNREACHABLE  # nobody vouches for it
    assert run("user", "ls", *known, "--user", "ana", "--password-file", "-", stdin="wrong").returncode == FORBIDDEN
    identity = rows(run("token", "ls", *mine).stdout)[0]["ID"]
    assert run("token", "rm", identity, "--yes", *mine).returncode == 0
    assert run("user", "ls", *mine).returncode == FORBIDDEN


def test_where_no_secret_goes(run, tmp_path):
    token = tmp_path / "token"
    token.write_text("slipway_pat_x\n")
    for url in ("http://192.0.2.1", "http://127.0.0.1.example.org", "http://localhost.example.org", "ftp://127.0.0.1"):
        done = run("user", "ls", "--url", url, "--token-file", token)
        assert done.returncode == USAGE and "https://" in done.stderr, url
    assert run("user", "ls", "--url", "https://127.0.0.1:1").returncode == USAGE  # as nobody
    assert run("user", "ls", "--url", "http://127.0.0.1:1", "--token-file", token).returncode == UNREACHABLE


def test_no_server(run, root):
    done = run("user", "ls")
    assert done.returncode == UNREACHABLE and f"{root}/admin.sock: No such file or directory; does" in done.stderr
    off = run("user", "ls", "--set", "server.admin_socket=off")
    assert off.returncode == UNREACHABLE and "--url" in off.stderr


class Hostile(http.server.BaseHTTPRequestHandler):
    """Says what no honest server says."""

    def do_GET(self):
        body = json.dumps({"items": [{"name": "\x1b]0;owned\x07\u009b31m", "description": "two\nlines"}], "next": None})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words):
        pass


def test_what_a_server_says_does_not_steer_the_terminal(run, tmp_path):
    token = tmp_path / "token"
    token.write_text("slipway_pat_x\n")
    with http.server.HTTPServer(("127.0.0.1", 0), Hostile) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        done = run("user", "ls", "--url", f"http://127.0.0.1:{server.server_port}", "--token-file", token)
    assert done.returncode == 0
    assert not any(character in done.stdout for character in "\x1b\x07\u009b"), done.stdout
    assert len(done.stdout.splitlines()) == 2
