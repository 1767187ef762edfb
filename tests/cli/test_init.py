"""test_init.py - the first administrator: made by init, by every way to give a password, or by a setup token."""
import base64
import os
import pty
import re
import select
import signal
import stat
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import PROGRAM, TERM, clean_environment, wait_for

GENERATED = re.compile(r"[a-km-np-z2-9]{4}(-[a-km-np-z2-9]{4}){5}\n")
CONFLICT = 5


@pytest.fixture
def root(tmp_path):
    return tmp_path / "0" / "root"  # of the first server that `serve` starts


@pytest.fixture
def init(root):
    """init(option, ..., stdin=text): the finished command."""
    def run(*words, stdin=None):
        root.parent.mkdir(exist_ok=True)
        return subprocess.run([PROGRAM, "init", "--config", "/dev/null", "--set", f"storage.root={root}", *words],
                              env=clean_environment(), timeout=60, check=False, input=stdin, capture_output=True, text=True,
                              **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))
    return run


def status_of(server, name, password):
    """What /v2/ answers to these credentials."""
    secret = base64.b64encode(f"{name}:{password}".encode()).decode()
    request = urllib.request.Request(server.url + "/v2/", headers={"Authorization": f"Basic {secret}"} if name else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as reply:
        return reply.code


def test_generated_password_is_printed_once_and_works(init, serve, root):
    said = init("--generate-password", "--admin", "ana")
    assert said.returncode == 0, said.stderr
    assert GENERATED.fullmatch(said.stdout), said.stdout
    password = said.stdout.strip()
    assert password not in said.stderr
    assert "docker login 127.0.0.1:5000 -u ana" in said.stderr and "slipway serve" in said.stderr
    server = serve("auth.mode=token")
    assert status_of(server, "ana", password) == 200
    assert status_of(server, "ana", password + "x") == 401
    assert status_of(server, None, None) == 401
    assert password not in server.text() and "setup_token" not in server.text()
    server.signal(TERM)
    assert server.wait() == 0
    for path in root.rglob("*"):
        assert not path.is_file() or password.encode() not in path.read_bytes(), path


def test_passwords_generated_are_not_the_same(init, tmp_path):
    first = init("--generate-password").stdout
    assert init("--generate-password", "--set", f"storage.root={tmp_path}/other").stdout != first


def test_keys_are_made_for_their_owner_only(init, root):
    assert init("--generate-password").returncode == 0
    keys = [path for path in (root / "keys").rglob("*") if path.is_file()]
    assert keys
    for path in [*keys, root / "keys"]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("text", ["correct horse", "correct horse\n", "correct horse\r\n"])
def test_password_from_standard_input(init, serve, text):
    assert init("--password-file", "-", stdin=text).returncode == 0
    assert status_of(serve("auth.mode=token"), "admin", "correct horse") == 200


def test_password_from_a_file(init, serve, tmp_path):
    file = tmp_path / "password"
    file.write_text("pass:word, with a colon\n")
    said = init("--password-file", str(file))
    assert (said.returncode, said.stdout) == (0, "")
    assert status_of(serve("auth.mode=token"), "admin", "pass:word, with a colon") == 200


@pytest.mark.parametrize("words, stdin, status, sentence", [
    ([], None, 2, "--password-file or --generate-password"),
    (["--password-file", "/x", "--generate-password"], None, 2, "exclude each other"),
    (["--password-file", "/nonexistent"], None, 1, "cannot be read"),
    (["--password-file", "-"], "", 1, "the first line of standard input is no password"),
    (["--password-file", "-"], "short", 1, "8"),
    (["--password-file", "-"], "long eno\0ugh\n", 1, "the first line of standard input is no password"),
    (["--password-file", "-"], "x" * 2000, 1, "the first line of standard input is no password"),
    (["--admin", "../x", "--generate-password"], None, 2, "cannot be the name"),
    (["--admin", "", "--generate-password"], None, 2, "cannot be the name"),
    (["--password", "secret12"], None, 2, "--password is not understood"),
    (["--set", "log.level=loud", "--generate-password"], None, 1, "log.level"),
])
def test_what_cannot_be_a_beginning_is_refused(init, words, stdin, status, sentence):
    said = init(*words, stdin=stdin)
    assert said.returncode == status and sentence in said.stderr, said.stderr
    assert said.stdout == ""
    assert init("--generate-password").returncode == 0, "it can be tried again"


def test_a_second_time_changes_nothing(init, serve):
    password = init("--generate-password").stdout.strip()
    said = init("--admin", "eve", "--password-file", "-", stdin="eve's own password")
    assert (said.returncode, said.stdout) == (CONFLICT, "") and "already" in said.stderr
    assert init("--password-file", "/nonexistent").returncode == CONFLICT, "no password is asked for in vain"
    server = serve("auth.mode=token")
    assert status_of(server, "admin", password) == 200
    assert status_of(server, "eve", "eve's own password") == 401


def test_a_running_server_is_left_alone(init, serve, root):
    server = serve("auth.mode=token")
    said = init("--generate-password")
    assert (said.returncode, said.stdout) == (1, "")
    assert "another process owns" in said.stderr and "setup token" in said.stderr
    assert server.get("/livez") == (200, "ok\n")


def on_a_terminal(words, answers):
    """Runs the program on a terminal and types each answer after a question: (status, all it printed)."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(words[0], words, clean_environment())
    said, asked = b"", 0
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                said += os.read(terminal, 4096)
            except OSError:  # the other end is closed
                break
        if asked < len(answers) and said.count(b": ") > asked and said.endswith(b": "):
            os.write(terminal, answers[asked])
            asked += 1
    else:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.close(terminal)
    return status, said.decode()


TYPED = [
    ([b"quietly by hand\r", b"quietly by hand\r"], 0, "quietly by hand"),
    ([b"quietly by hant\x7fd\r", b"wrong\x15quietly by hand\r"], 0, "quietly by hand"),
    ([b"caf\xc3\xa9\x7f\xc3\xa9 au lait\r", b"caf\xc3\xa9 au lait\r"], 0, "caf\u00e9 au lait"),
    ([b"quietly by hand\r", b"quietly by foot\r"], 1, None),
    ([b"quietly by\x03"], 1, None),
    ([b"\x04"], 1, None),
]


@pytest.mark.parametrize("answers, status, password", TYPED)
def test_password_typed_on_a_terminal_is_not_shown(serve, root, answers, status, password):
    root.parent.mkdir()
    got, said = on_a_terminal([PROGRAM, "init", "--config", "/dev/null", "--set", f"storage.root={root}"], answers)
    assert got == status, said
    assert "password of admin: " in said
    assert "quietly" not in said and "caf" not in said
    if password:
        server = serve("auth.mode=token")
        assert status_of(server, "admin", password) == 200


def test_setup_token_is_told_once_and_only_without_an_administrator(serve):
    server = serve("auth.mode=token")
    told = wait_for(lambda: re.findall(r"msg=auth\.setup setup_token=(slipway_set_\w+) ", server.text()), what="the token")
    assert len(told) == 1
    line = next(line for line in server.text().splitlines() if "msg=auth.setup" in line)
    assert "level=warning" in line and "slipway init" in line and "/api/v1/setup" in line


def test_mode_none_needs_no_setup(serve):
    assert "msg=auth.setup" not in serve().text()
