"""test_cli_builds.py - slipway build: folders become images, logs are followed, ends are exit statuses.

Touches  a server with a builder, by its admin socket; folders made here.
Never    another server. Spec: s2i 12.2, 13.43 to 13.46, 15.9.
"""
import json
import signal
import subprocess

import pytest

from support import building, process

FAILED, USAGE, NOT_FOUND, CONFLICT = 1, 2, 4, 5
FILES = {"index.html": "<h1>hello</h1>\n", "docs/about.txt": "about\n", ".git/config": "never sent\n"}
SLOW = "#!/bin/sh\necho begun\nwhile [ ! -e /tmp/src/go ]; do sleep 0.05; done\n"


def followed(words):
    return subprocess.Popen(words, env=process.clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


@pytest.fixture
def folder_of(tmp_path):
    """folder_of({"name": "text"}): a folder with these files; scripts can be run."""
    def make(files=None):
        top = tmp_path / "app"
        for name, text in (files or FILES).items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if ".s2i/bin" in name else 0o644)
        return top
    return make


@pytest.fixture
def where(server):
    return ["--config", "/dev/null", "--set", f"storage.root={server.root}"]


@pytest.fixture
def run(where):
    def command(*words, text=None, check=True, **environment):
        done = subprocess.run([process.binary(), "build", *map(str, words), *where], timeout=300, text=True,
                              env=process.clean_environment(**environment), capture_output=True, check=False,
                              **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}))
        assert not check or done.returncode == 0, done.stderr
        return done
    return command


def test_a_folder_becomes_an_image(run, folder_of, name, server):
    """Its log is standard output, its end the exit status; .git stays at home."""
    top = folder_of()
    (top / "link").symlink_to("docs/about.txt")
    done = run("run", name, "--source", top, "--builder", "builders/test", "--env", "A=B", "--tag", "v1")
    assert "---> assembling" in done.stdout and f"built {name}@sha256:" in done.stderr
    entries = building.layer_entries(server, name, "v1")
    assert entries["opt/app-root/src/link"][0].linkname == "docs/about.txt"
    assert not any(".git" in path for path in entries)
    assert "A=B" in building.manifest(server, name, "v1")[2]["config"]["Env"]


def test_an_archive_is_sent_as_it_is(run, folder_of, name, server, tmp_path):
    top, archive = folder_of(), tmp_path / "app.tar.gz"
    subprocess.run(["tar", "-czf", archive, "-C", top, "."], check=True)
    end = json.loads(run("run", name, "--archive", archive, "-b", "builders/test", "--json").stdout)
    assert end["state"] == "Complete" and end["tags"] == ["latest"]
    assert building.manifest(server, name)[0] == end["result_digest"]


ENDS = [("#!/bin/sh\necho no luck\nexit 7\n", {}, FAILED, "AssembleFailed"),
        (None, {"--option": "context_dir=nothing"}, 14, "InvalidContextDirectory"),
        (None, {"--builder": "builders/none"}, FAILED, "PullBuilderImageFailed")]


@pytest.mark.parametrize("script, options, status, reason", ENDS, ids=[case[3] for case in ENDS])
def test_how_it_ended_is_the_exit_status(run, folder_of, name, script, options, status, reason):
    """s2i 12.2."""
    top = folder_of({**FILES, ".s2i/bin/assemble": script} if script else FILES)
    words = [word for pair in {"--builder": "builders/test", **options}.items() for word in pair]
    done = run("run", name, "--source", top, *words, check=False)
    assert done.returncode == status and reason in done.stderr, done.stderr


def test_builds_are_listed_shown_and_tried_again(run, folder_of, name):
    top = folder_of({**FILES, ".s2i/bin/assemble": "#!/bin/sh\necho one; echo two; exit 3\n"})
    id = run("run", name, "--source", top, "-b", "builders/test", "--detach").stdout.strip()
    assert run("logs", id, "-f").stdout.splitlines().count("one") == 1
    assert run("logs", id).stdout == run("logs", id, "-f").stdout
    assert " O one" in run("logs", id, "--timestamps").stdout
    assert "AssembleFailed" in run("show", id).stdout and name in run("ls").stdout
    assert run("ls", name, "--state", "Failed").stdout.splitlines()[1].split()[:2] == [id, name]
    assert len(run("ls", name, "--state", "Complete").stdout.splitlines()) == 1
    assert run("retry", id, check=False).returncode == FAILED
    assert [item["retry_of"] for item in json.loads(run("ls", name, "--json").stdout)["items"]] == [int(id), None]
    for verb in ("show", "cancel", "retry"):
        assert run(verb, "999999", check=False).returncode == NOT_FOUND
    assert run("cancel", id, check=False).returncode == CONFLICT
    assert run("logs", "x", check=False).returncode == USAGE


def test_a_log_is_followed_and_a_signal_ends_the_command_alone(run, where, folder_of, name):
    """s2i 13.44, 13.45."""
    top = folder_of({**FILES, ".s2i/bin/assemble": SLOW})
    words = [process.binary(), "build", "run", name, "--source", str(top), "-b", "builders/test", *where]
    child = followed(words)
    id = child.stderr.readline().split()[1].rstrip(";")
    line = child.stdout.readline()
    while "begun" not in line:
        assert line, "the log ended"
        line = child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT
    assert json.loads(run("show", id, "--json").stdout)["state"] == "Running"
    run("cancel", id)
    assert "begun" in run("logs", id, "--follow").stdout
    assert json.loads(run("show", id, "--json").stdout)["reason"] == "CancelledBuild"


def test_what_would_be_done(run, folder_of, name):
    """s2i 15.7, 15.9."""
    top = folder_of()
    plan = json.loads(run("plan", name, "--source", top, "-b", "builders/test").stdout)
    assert plan["builder"] and run("detect", name, "--source", top, "-b", "builders/test").stdout == "builders/test\n"
    usage = run("usage", name, "-b", "builders/test", check=False)  # 10.4: of the builder, without a source
    assert usage.returncode == FAILED and "InstallScriptsFailed" in usage.stderr
    refused = run("plan", name, "--source", top, "-b", "builders/none", check=False)
    assert refused.returncode == FAILED and "PullBuilderImageFailed" in refused.stderr
    assert len(run("ls", name).stdout.splitlines()) == 1


def test_what_is_not_understood(run, folder_of, name):
    top = folder_of()
    for words in (["--source", top, "--git", "https://x.invalid/y"], ["--option", "x"], ["--option", "memory=much"],
                  ["--secret-env", "NOT_THERE"], ["--source", top, "--secret-env", "HOME"]):
        assert run("run", name, *words, check=False).returncode == USAGE, words
    assert run("run", name, check=False).returncode == FAILED  # nothing to build
    assert run("run", name, "--source", "/nonexistent", check=False).returncode == FAILED


def test_configurations(run, name):
    """Options are set one by one; a secret never comes back, nor stands on a command line."""
    config = ["config", "set", name]
    assert run(*config, check=False).returncode == USAGE
    run(*config, "--git", "https://127.0.0.1/x.git", "--option", "branches=main=latest", "--option", "memory=67108864",
        "--option", "incremental=true", "--secret-env", "PASSWORD", PASSWORD="hunter2hunter2")
    run(*config, "--builder", "builders/test", "--option", "memory=")
    assert json.loads(run("config", "show", name).stdout) == {
        "url": "https://127.0.0.1/x.git", "builder": "builders/test", "incremental": True,
        "branches": ["main=latest"], "secret_env": ["PASSWORD=***"]}
    assert name in run("config", "ls").stdout
    run("config", "pause", name)
    assert json.loads(run("config", "show", name, "--json").stdout)["paused"] is True
    run("config", "resume", name)
    assert run("config", "rm", name, check=False).returncode == USAGE
    run("config", "rm", name, "--yes")
    assert run("config", "show", name, check=False).returncode == NOT_FOUND


def test_secrets_and_hooks(run, name, tmp_path):
    run("config", "set", name, "--git", "https://127.0.0.1/x.git", "-b", "builders/test")
    run("secret", "set", name, "hook", "main", text="a secret of sixteen bytes\n")
    (tmp_path / "key").write_text("ana:pass\n")
    run("secret", "set", name, "source", "git", "--file", tmp_path / "key", "--for", "https://127.0.0.1/", "--kind",
        "password")
    assert run("secret", "ls", name).stdout == "hook main\nsource git\n"
    assert run("secret", "set", name, "moon", "x", text="y", check=False).returncode == USAGE
    assert run("secret", "set", name, "hook", "x", text="short", check=False).returncode == FAILED
    assert "--for" in run("secret", "set", name, "source", "x", "--kind", "token", text="y", check=False).stderr
    run("secret", "rm", name, "source", "git")
    assert run("secret", "rm", name, "source", "git", check=False).returncode == NOT_FOUND
    github, *_ = run("hook", "show", name).stdout.splitlines()
    assert github.startswith("/api/v1/hooks/") and github.endswith("/github")
    assert "was started" in run("hook", "test", name).stdout
    assert "was started" in run("hook", "ls", name).stdout


def test_a_file_that_only_the_script_reads(run, folder_of, name):
    """s2i 10.20, 10.21: kept by the server, there for the script, in no log, in no layer."""
    text = "//registry/:_authToken=open-sesame\nalways-auth=true\n"
    look = "#!/bin/sh\nset -e\nwc -l </opt/app-root/src/.npmrc\ncat /opt/app-root/src/.npmrc\n"
    run("config", "set", name, "-b", "builders/test", "-o", "inject=npmrc:/opt/app-root/src/.npmrc")
    missing = run("run", name, "--source", folder_of({".s2i/bin/assemble": look}), check=False)
    assert "slipway build secret set keeps one" in " ".join(missing.stdout.split())
    run("secret", "set", name, "file", "npmrc", text=text)
    said = run("run", name, "--source", folder_of({".s2i/bin/assemble": look})).stdout
    assert "***" in said and "sesame" not in said and "authToken" not in said
    leak = {".s2i/bin/assemble": look + "cp /opt/app-root/src/.npmrc /opt/app-root/src/kept\n"}
    refused = run("run", name, "--source", folder_of(leak), check=False)
    assert refused.returncode == FAILED and "SecretInLayer" in refused.stdout and "sesame" not in refused.stdout


SAME = "#!/bin/sh\ncp -R /tmp/src/. /opt/app-root/src/\n"
OTHER = SAME + ("cat /proc/sys/kernel/random/uuid > /opt/app-root/src/random\n"
                "touch /opt/app-root/src/$(cat /proc/sys/kernel/random/uuid)\n")


def test_whether_the_same_comes_out_again(run, source, name, server):
    """s2i 15.2: differing paths are named, and no tag moves."""
    app = source({"index.html": "one", ".s2i/bin/assemble": SAME})
    app.push(server, name, "-o", "builder=builders/test")
    first = json.loads(run("ls", name, "--json").stdout)["items"][0]["id"]
    assert run("verify", first).stdout == ""
    app.commit({".s2i/bin/assemble": OTHER})
    app.push(server, name, "-o", "builder=builders/test")
    end = json.loads(run("ls", name, "--json").stdout)["items"][0]
    differs = run("verify", end["id"], check=False)
    lines = differs.stdout.splitlines()
    assert differs.returncode == FAILED and "opt/app-root/src/random: content" in lines, differs
    whats = [line.split(": ")[1] for line in lines if line.count("-") == 5]
    assert sorted(whats) == ["only in the first", "only in the second"], lines
    assert building.manifest(server, name)[0] == end["result_digest"]
    assert run("verify", 999999, check=False).returncode == NOT_FOUND


def test_a_log_goes_on_where_the_connection_broke(make_server, folder_of):
    """s2i 13.45: a server that is restarted loses no line of the log, and shows none twice."""
    server = make_server()
    building.builder(server)
    where = ["--config", "/dev/null", "--set", f"storage.root={server.root}"]
    top = folder_of({**FILES, ".s2i/bin/assemble": SLOW})
    words = [process.binary(), "build", "run", "team/app", "--source", str(top), "-b", "builders/test", *where]
    child = followed(words)
    shown = []
    while "begun" not in "".join(shown):
        shown.append(child.stdout.readline())
        assert shown[-1], "the log ended"
    server.restart()
    rest, said = child.communicate(timeout=120)
    assert child.returncode == FAILED and "no answer" not in said, said
    client = server.client()
    assert "".join(shown) + rest == client.get("/api/v1/builds/1/log").body.decode()
    client.close()
