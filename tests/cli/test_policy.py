"""test_policy.py - the commands on rules of retention, at the admin socket of a running server and without one."""
import json
import sqlite3
import subprocess

import pytest

from conftest import PROGRAM, clean_environment
from support import content, wire

NOT_FOUND, USAGE, FAILED = 4, 2, 1
DAY = 86400 * 1000000
RULES = {"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "sinceImagePushed",
                                                     "countUnit": "days", "countNumber": 7},
                    "action": {"type": "expire"}}]}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "0" / "root"  # of the first server that `serve` starts


@pytest.fixture
def run(root):
    def command(*words, stdin=None):
        words = [PROGRAM, *map(str, words), "--config", "/dev/null", "--set", f"storage.root={root}"]
        return subprocess.run(words, env=clean_environment(), timeout=60, check=False, capture_output=True, text=True,
                              **({"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}))
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
def server(serve, root):
    """Two images, one of which is old."""
    server = serve()
    host, port = server.url.removeprefix("http://").split(":")
    client = wire.Client(wire.Target(host, int(port), None))
    for tag in ("old", "new"):
        content.push_image(client, "team/app", tag)
    client.close()
    with sqlite3.connect(root / "meta.db", timeout=10) as rows:
        rows.execute(f"UPDATE manifests SET created_at = created_at - {20 * DAY}, touched_at = touched_at - {20 * DAY}"
                     " WHERE id IN (SELECT manifest_id FROM tags WHERE name = 'old')")
    return server


def test_policies_are_set_shown_and_deleted(server, run, well, tmp_path):
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES))
    well("policy", "set", "team/*", file)
    assert [row["mode"] for row in well("policy", "ls", "--json")["items"]] == ["report"]
    well("policy", "set", "team/*", "--mode", "enforce")
    shown = run("policy", "show", "team/*")
    assert json.loads(shown.stdout) == RULES and shown.stderr == "team/*: enforce\n"
    assert well("policy", "show", "team/*", "--json")["version"] == 2
    assert "team/*" in well("policy", "ls")
    well("policy", "set", "team/*", "-", stdin=json.dumps(RULES["rules"]))  # the mode stays
    assert well("policy", "show", "team/*", "--json")["mode"] == "enforce"
    assert run("policy", "rm", "team/*").returncode == USAGE
    well("policy", "rm", "team/*", "--yes")
    for words in (["show", "team/*"], ["rm", "team/*", "--yes"]):
        assert run("policy", *words).returncode == NOT_FOUND


def test_what_cannot_be_set(server, run, tmp_path):
    file = tmp_path / "rules.json"
    for text, word in (("{", "line 1"), ("{}", "no list of rules"), ("[]", "1 to 100"), ("[7]", "place 1")):
        file.write_text(text)
        done = run("policy", "set", "team/*", file)
        assert done.returncode in (FAILED, USAGE) and word in done.stderr, done
    assert run("policy", "set", "team/*").returncode == USAGE
    assert run("policy", "set", "team/*", tmp_path / "none").returncode == FAILED
    file.write_text(json.dumps(RULES))
    assert run("policy", "set", "team/*", file, "--mode", "sometimes").returncode in (FAILED, USAGE)


def test_preview_and_run(server, run, well, tmp_path):
    tried = run("policy", "preview", "team/app", "--file", "-", stdin=json.dumps(RULES))
    lines = tried.stdout.splitlines()
    assert lines[0].split()[:2] == ["DIGEST", "TAGS"] and len(lines) == 2
    assert " old " in lines[1] and "expires" in lines[1] and "longer ago than 7 days" in lines[1]
    assert "1 of 2 manifests expire, tags 1, following 0; freed then: blobs 2" in tried.stderr
    assert len(run("policy", "preview", "team/app", "--all", "--file", "-",
                   stdin=json.dumps(RULES)).stdout.splitlines()) == 3
    assert "no rule expires anything here" in run("policy", "preview", "team/app").stderr
    assert run("policy", "preview", "none").returncode == NOT_FOUND
    well("policy", "set", "team/app", "-", "--mode", "enforce", stdin=json.dumps(RULES))
    assert well("policy", "run", "--dry-run", "--json")["would_expire"] == 1
    assert well("policy", "run", "other/*", "--json")["expired"] == 0
    assert well("policy", "preview", "team/app", "--json")["expires"] == 1
    assert "expired" in well("policy", "run")
    assert well("policy", "preview", "team/app", "--json")["expires"] == 0
    assert server.get("/v2/team/app/tags/list")[1].count("old") == 0


def test_a_run_without_a_server(server, run, well):
    well("policy", "set", "*", "-", "--mode", "enforce", stdin=json.dumps(RULES))
    server.signal(15)
    assert server.wait() == 0
    assert well("policy", "run", "--json")["expired"] == 1
    assert well("policy", "run", "--json")["expired"] == 0
