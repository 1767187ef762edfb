"""test_git_protocol.py - clone, fetch and push by the git at hand, without builds: pushes say so.

Touches  a server of its own; runs git.
Never    another server.
"""
import gzip
import json
import os
import subprocess
import threading

import pytest

from support import building, freezing, people, process, remains, wire


@pytest.fixture(scope="module")
def server(folder):
    """Builds are on, but no builder comes."""
    one = process.Server(folder / "sources", {"builds.enabled": "true", "builds.builder": "external",
                                              "builds.socket": folder / "nobody.sock"})
    one.start()
    yield one
    one.finish()


def url(server, name, user=None):
    at = f"{user[0]}:{user[1]}@" if user else ""
    return f"http://{at}{server.host}/git/{name}.git"


def push(app, server, name, *refs, words=(), check=True, **more):
    """Nothing is built of it."""
    return building.git(app.folder, *more.pop("settings", ()), "push", "-o", "no-build", *words, url(server, name),
                        *(refs or ("main",)), check=check, **more)


def refs(server, name):
    """ref -> id, as a client sees them."""
    listed = building.git("/", "ls-remote", url(server, name), check=False).stdout
    return {line.split("\t")[1]: line.split("\t")[0] for line in listed.splitlines()}


def bare(server, name):
    return server.root / "builds" / "repos" / f"{name}.git"


def packet(text):
    return b"%04x" % (len(text) + 4) + text


def objects(server, name):
    """How many objects there are, in whatever form."""
    counted = building.git(bare(server, name), "count-objects", "-v").stdout
    numbers = dict(line.split(": ") for line in counted.splitlines())
    return int(numbers["count"]) + int(numbers["in-pack"])


@pytest.mark.parametrize("version", (0, 1, 2))
def test_push_and_clone_in_every_protocol(server, source, name, tmp_path, version):
    """s2i 13.1 to 13.7, 13.14: what was pushed is cloned; the client says which protocol."""
    app = source({"a": "1", "dir/b": "2"})
    settings = ("-c", f"protocol.version={version}")
    said = push(app, server, name, settings=settings).stderr
    assert "[new branch]" in said and "main: not built, as asked" in said
    app.commit({"a": "3"})
    push(app, server, name, settings=settings)
    building.git(tmp_path, *settings, "clone", "-q", url(server, name), "copy")
    assert (tmp_path / "copy/a").read_text() == "3"
    assert building.git(tmp_path / "copy", "rev-parse", "HEAD").stdout.strip() == app.head()
    app.commit({"a": "4"})
    push(app, server, name, settings=settings)
    building.git(tmp_path / "copy", *settings, "pull", "-q")
    assert (tmp_path / "copy/a").read_text() == "4"


def test_large_push_in_chunks(server, source, name, tmp_path):
    """s2i 13.4: the probe of four bytes, then a body of unknown length."""
    data = os.urandom(3_000_000)
    app = source({"big": data})
    push(app, server, name, settings=("-c", "http.postBuffer=65536"))
    building.git(tmp_path, "clone", "-q", url(server, name), "copy")
    assert (tmp_path / "copy/big").read_bytes() == data


def test_the_short_address(server, source, name):
    """s2i 13.20: the same repository without /git; not where the first part is one of ours."""
    app = source({"a": "1"})
    short = f"http://{server.host}/{name}.git"
    building.git(app.folder, "push", "-q", "-o", "no-build", short, "main")
    assert refs(server, name)["refs/heads/main"] == app.head()
    for first in ("v2", "api", "token", "livez", "ui"):
        done = building.git(app.folder, "push", f"http://{server.host}/{first}/x.git", "main", check=False)
        assert done.returncode != 0 and "not found" in done.stderr


def test_a_name_that_nobody_can_have(server, client_of, source):
    """A repository may not lie inside another one's folder."""
    client = client_of(server)
    for name in ("a.git/b", "a/b.git", "A", "a//b", "..", "a/.git/b"):
        answer = client.get(f"/git/{name}.git/info/refs?service=git-receive-pack")
        assert answer.status in (400, 404), name
        assert not bare(server, name).exists()


@pytest.fixture
def client_of():
    made = []

    def make(server):
        made.append(server.client())
        return made[-1]
    yield make
    for client in made:
        client.close()


def test_the_advertisement(server, source, name, client_of):
    """s2i 13.1, 13.3: its type, its first packets, what it promises; the same for an empty repository."""
    client = client_of(server)
    answer = client.get(f"/git/{name}.git/info/refs?service=git-receive-pack",
                        headers=[("Git-Protocol", "version=2")])
    assert answer.status == 200
    assert answer["content-type"] == "application/x-git-receive-pack-advertisement"
    assert answer["cache-control"] == "no-cache"
    assert answer.body.startswith(b"001f# service=git-receive-pack\n0000")
    first = answer.body[35:]
    assert first[4:44] == b"0" * 40 and first[44:61] == b" capabilities^{}\0"
    for word in (b"report-status", b"side-band-64k", b"delete-refs", b"quiet", b"atomic", b"ofs-delta",
                 b"push-options", b"object-format=sha1"):
        assert word in first
    assert not bare(server, name).exists()  # asking makes nothing
    push(source({"a": "1"}), server, name)
    answer = client.get(f"/git/{name}.git/info/refs?service=git-upload-pack", headers=[("Git-Protocol", "version=2")])
    assert answer.body.startswith(b"000eversion 2\n")
    assert client.get("/git/none/such.git/info/refs?service=git-upload-pack").status == 404
    dumb = client.get(f"/git/{name}.git/info/refs")
    assert dumb.status == 400 and b"dumb" in dumb.body
    assert client.get(f"/git/{name}.git/HEAD").status == 404
    assert client.get(f"/git/{name}.git/git-upload-pack").status == 405


def test_bodies_of_another_kind(server, name, client_of, source):
    """s2i 13.4: the probe is answered; another type is not taken; gzip is."""
    client = client_of(server)
    kind = ("Content-Type", "application/x-git-receive-pack-request")
    probe = client.post(f"/git/{name}.git/git-receive-pack", body=b"0000", headers=[kind])
    assert (probe.status, probe.body) == (200, b"")
    assert probe["content-type"] == "application/x-git-receive-pack-result"
    assert client.post(f"/git/{name}.git/git-receive-pack", body=b"0000").status == 415
    assert client.post(f"/git/{name}.git/git-receive-pack", body=b"0000",
                       headers=[kind, ("Content-Encoding", "br")]).status == 415
    app = source({"a": "1"})
    push(app, server, name)
    want = packet(b"want " + app.head().encode() + b" no-progress\n") + b"0000" + packet(b"done\n")
    kind = ("Content-Type", "application/x-git-upload-pack-request")
    plain = client.post(f"/git/{name}.git/git-upload-pack", body=want, headers=[kind])
    packed = client.post(f"/git/{name}.git/git-upload-pack", body=gzip.compress(want),
                         headers=[kind, ("Content-Encoding", "gzip")])
    assert plain.status == 200 and b"PACK" in plain.body and packed.body == plain.body
    broken = client.post(f"/git/{name}.git/git-upload-pack", body=gzip.compress(want)[:-9],
                         headers=[kind, ("Content-Encoding", "gzip")])
    assert b"PACK" not in broken.body or broken.status == 200  # whatever it is, it ends


def test_several_refs_are_judged_one_by_one(server, source, name):
    """s2i 13.12, 13.24: only branches and tags; the others move, unless the push is atomic."""
    app = source({"a": "1"})
    done = push(app, server, name, "main", "main:refs/notes/x", "main:refs/heads/b", check=False)
    assert done.returncode == 1
    assert "(only branches and tags can be pushed)" in done.stderr
    assert set(refs(server, name)) == {"HEAD", "refs/heads/main", "refs/heads/b"}
    done = push(app, server, name, "main:c", "main:refs/notes/x", words=("--atomic",), check=False)
    assert done.returncode == 1 and "atomic" in done.stderr
    assert "refs/heads/c" not in refs(server, name)


def test_each_ref_of_a_large_push_stands_in_the_audit(server, source, name):
    """More than are kept in memory of what is refused."""
    done = push(source({"a": "1"}), server, name, *[f"main:b{number}" for number in range(530)], words=("--atomic",))
    assert done.stderr.count("[new branch]") == 530
    noted = "SELECT count(*) FROM audit WHERE action = 'git.push' AND outcome = 'done' AND target = "
    process.wait_for(lambda: remains.rows(server, f"{noted}'repository/{name}'")[0][0] >= 530, 10, "all are written down")
    assert remains.rows(server, f"{noted}'repository/{name}'") == [(530,)]
    assert remains.rows(server, "SELECT count(*) FROM audit WHERE action = 'audit.dropped'") == [(0,)]


def test_tags_deletion_and_force(server, source, name):
    """s2i 13.12: annotated and light tags, deleting, forcing."""
    app = source({"a": "1"})
    building.git(app.folder, "tag", "-a", "v1", "-m", "one")
    building.git(app.folder, "tag", "light")
    push(app, server, name, "main", "v1", "light", "main:gone")
    listed = refs(server, name)
    assert listed["refs/tags/v1^{}"] == app.head() == listed["refs/tags/light"]
    push(app, server, name, ":gone", ":light")
    assert set(refs(server, name)) == {"HEAD", "refs/heads/main", "refs/tags/v1", "refs/tags/v1^{}"}
    building.git(app.folder, "commit", "-q", "--amend", "-m", "another")
    assert push(app, server, name, check=False).returncode == 1
    push(app, server, name, words=("-f",))
    assert refs(server, name)["refs/heads/main"] == app.head()


def test_a_tag_of_no_commit_is_kept(server, source, name):
    """A tag may name anything; a branch may not."""
    app = source({"a": "1"})
    blob = building.git(app.folder, "rev-parse", "HEAD:a").stdout.strip()
    push(app, server, name, f"{blob}:refs/tags/blob")
    done = push(app, server, name, f"{blob}:refs/heads/blob", check=False)
    assert done.returncode == 1 and "must name a commit" in done.stderr


def test_shallow_both_ways(server, source, name, tmp_path):
    """s2i 13.12: a push from a shallow clone is taken when its tip is whole."""
    app = source({"a": "1"})
    for text in "234":
        app.commit({"a": text})
    push(app, server, name)
    building.git(tmp_path, "clone", "-q", "--depth", "1", url(server, name), "copy")
    copy = tmp_path / "copy"
    assert building.git(copy, "rev-list", "--count", "HEAD").stdout.strip() == "1"
    (copy / "a").write_text("5")
    building.git(copy, "commit", "-qam", "five")
    building.git(copy, "push", "-q", "-o", "no-build", url(server, f"{name}-other"), "main")
    building.git(copy, "push", "-q", "-o", "no-build", url(server, name), "main")
    building.git(tmp_path, "clone", "-q", url(server, f"{name}-other"), "again")
    assert (tmp_path / "again/a").read_text() == "5"
    building.git(copy, "fetch", "-q", "--unshallow")
    assert building.git(copy, "rev-list", "--count", "HEAD").stdout.strip() == "5"


def test_thin_and_empty_packs(server, source, name):
    """s2i 13.10: deltas against what is here; a push that brings no object."""
    lines = "".join(f"line {i}\n" for i in range(5000))
    app = source({"a": lines})
    push(app, server, name)
    app.commit({"a": lines.replace("line 77\n", "changed\n")})
    push(app, server, name, words=("--thin",))
    push(app, server, name, "main:second")  # every object is here
    assert refs(server, name)["refs/heads/second"] == app.head()
    building.git(bare(server, name), "fsck", "--strict")


def test_the_first_branch_is_what_a_clone_checks_out(server, source, name, tmp_path):
    """From the moment it is there: a clone may begin before the push has its answer."""
    app = source({"a": "1"})
    step = freezing.Frozen(server, name, "reference-transaction", "before", "committed")
    pushing = subprocess.Popen(["git", "push", "-q", "-o", "no-build", url(server, name), "main:trunk"], cwd=app.folder,
                               env=building.environment())
    step.reached()
    building.git(tmp_path, "clone", "-q", url(server, name), "copy")
    step.go()
    assert pushing.wait(60) == 0
    assert building.git(tmp_path / "copy", "branch", "--show-current").stdout.strip() == "trunk"


def test_options_are_known_or_refused(server, source, name):
    """s2i 13.23"""
    app = source({"a": "1"})
    done = building.git(app.folder, "push", "-o", "asinc", url(server, name), "main", check=False)
    assert done.returncode == 1 and "(there is no push option asinc)" in done.stderr
    said = [line.rstrip() for line in done.stderr.splitlines() if line.startswith("remote: ")]
    assert "env=NAME=VALUE" in "".join(said) and max(map(len, said)) < 80, said  # 13.26
    assert not refs(server, name)


def test_hostile_trees_and_packs(server, source, name):
    """s2i 4.10, 13.10: what git's own checks refuse."""
    app = source({"a": "1"})
    tree = building.git(app.folder, "rev-parse", "HEAD^{tree}").stdout.strip()
    blob = building.git(app.folder, "rev-parse", "HEAD:a").stdout.strip()
    for entry in (b"100644 ..\0", b"40000 .git\0", b"100644 a/b\0"):
        child = bytes.fromhex(tree if entry.startswith(b"4") else blob)
        made = subprocess.run(["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"], input=entry + child,
                              cwd=app.folder, env=building.environment(), capture_output=True, check=True)
        commit = building.git(app.folder, "commit-tree", "-m", "bad", made.stdout.decode().strip()).stdout.strip()
        done = push(app, server, name, f"{commit}:refs/heads/bad", check=False)
        assert done.returncode == 1
    assert not refs(server, name)


def test_a_rejected_push_leaves_no_objects(server, source, name):
    """s2i 13.11, 13.16: what no ref needs goes, when no push is under way."""
    app = source({"a": "1"})
    push(app, server, name)
    before = objects(server, name)
    app.commit({"b": "2", "c": "3"})
    assert push(app, server, name, "main:refs/notes/x", check=False).returncode == 1
    push(app, server, f"{name}-none", "main:refs/notes/x", check=False)
    process.wait_for(lambda: not bare(server, f"{name}-none").exists(), 10, "a repository without a ref goes")
    process.wait_for(lambda: objects(server, name) == before, 10, "objects of a rejected push go")
    push(app, server, name)
    assert objects(server, name) > before


def test_a_rejected_push_is_tried_again_at_once(server, source, name):
    """A repository without a ref goes, whoever asks meanwhile; he is told of it as of one that is not there."""
    app = source({"a": "1"})
    ended, told = threading.Event(), {"git-receive-pack": set(), "git-upload-pack": set()}

    def ask(service):
        client = server.client()
        while not ended.is_set():
            try:
                told[service].add(client.request("GET", f"/git/{name}.git/info/refs?service={service}", server_error=True).status)
            except wire.Broken as broken:
                told[service].add(str(broken))
        client.close()
    asking = [threading.Thread(target=ask, args=(service,)) for service in told for _ in range(2)]
    for one in asking:
        one.start()
    try:
        codes = [push(app, server, name, "main:refs/notes/x", check=False).returncode for _ in range(8)]
        process.wait_for(lambda: not bare(server, name).exists(), 30, "it goes while others ask")
    finally:
        ended.set()
        for one in asking:
            one.join()
    assert codes == [1] * 8 and told["git-receive-pack"] == {200} and told["git-upload-pack"] <= {200, 404}, (codes, told)


def test_names_that_lie_within_another(server, source, name):
    """A ref is a file or a folder: said before anything is built, and to each; not of one that goes."""
    app = source({"a": "1"})
    push(app, server, name, "main:one", "main:two/x")
    done = push(app, server, name, "main:one/more", "main:two", "main:three", check=False)
    assert done.returncode == 1
    assert "(it cannot be beside refs/heads/one)" in done.stderr and "(it cannot be beside refs/heads/two/x)" in done.stderr
    assert "refs/heads/three" in refs(server, name)
    assert "beside refs/heads/four" in push(app, server, name, "main:four", "main:four/x", check=False).stderr
    push(app, server, name, ":one")
    push(app, server, name, "main:one/more")


def test_a_body_that_stays_away(folder, source, name):
    """s2i 13.25: who stops sending, or drips, holds nothing for long, and is not waited for by the next push."""
    server = process.Server(folder / "silent", {"builds.enabled": "true", "builds.builder": "external",
                                                "server.limits.body_idle_timeout": "2s"})
    server.start()
    app = source({"a": "1"})
    line = packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/main\0report-status side-band-64k")
    head = (f"POST /git/{name}.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\n\r\n").encode()
    silent, dripping = server.connect(), server.connect()
    for connection in (silent, dripping):
        connection.send(head + line)
    process.wait_for(lambda: len(remains.gits(server)) == 2, 10, "git, twice")
    push(app, server, name)  # meanwhile

    def gone():
        try:
            dripping.send(b"x")
        except OSError:
            pass
        return not remains.gits(server)
    process.wait_for(gone, 20, "the end of both", 0.1)
    silent.close()
    dripping.close()
    assert set(refs(server, name)) == {"HEAD", "refs/heads/main"}
    server.finish()


def test_a_ref_that_moved_meanwhile(server, source, name, client_of):
    """s2i 13.11: old must match; it is said before anything is built."""
    app = source({"a": "1"})
    push(app, server, name)
    old = app.head()
    app.commit({"a": "2"})
    push(app, server, name)
    pack = building.git(app.folder, "rev-parse", "HEAD").stdout.strip()
    line = f"{old} {old} refs/heads/main\0report-status".encode()  # it stands at another commit now
    empty = subprocess.run(["git", "pack-objects", "--stdout", "-q"], input=b"", cwd=app.folder, capture_output=True,
                           env=building.environment(), check=True).stdout
    answer = client_of(server).post(f"/git/{name}.git/git-receive-pack", body=packet(line) + b"0000" + empty,
                                    headers=[("Content-Type", "application/x-git-receive-pack-request")])
    assert b"ng refs/heads/main fetch first" in answer.body
    assert refs(server, name)["refs/heads/main"] == pack


def test_pushes_at_once_into_one_repository(server, source, name):
    """s2i 13.a: they take turns; each branch is there in the end, and the repository is sound."""
    app = source({"a": "1"})
    pushes = [subprocess.Popen(["git", "push", "-q", "-o", "no-build", url(server, name), f"main:b{i}"],
                               cwd=app.folder, env=building.environment(), stderr=subprocess.PIPE) for i in range(12)]
    for one in pushes:
        assert one.wait(300) == 0, one.stderr.read()
        one.stderr.close()
    assert {f"refs/heads/b{i}" for i in range(12)} <= set(refs(server, name))
    building.git(bare(server, name), "fsck", "--strict")


def test_a_push_without_a_place_leaves_nothing(folder, source, name, client_of):
    """s2i 13.11: it was refused before git began; the repository that was made for it goes."""
    server = process.Server(folder / "narrow", {"builds.enabled": "true", "builds.builder": "external", "builds.git.requests": "2",
                                                "builds.git.fetches": "2"})
    server.start()
    kind = ("Content-Type", "application/x-git-receive-pack-request")
    silent = server.connect()
    silent.send(f"POST /git/{name}.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
                f"{kind[0]}: {kind[1]}\r\n\r\n".encode())
    process.wait_for(lambda: len(remains.gits(server)) == 1, 30, "git")
    answer = client_of(server).request("POST", f"/git/{name}-none.git/git-receive-pack", body=b"0000", headers=[kind],
                                       server_error=True)
    assert answer.status == 429
    process.wait_for(lambda: not bare(server, f"{name}-none").exists(), 30, "nothing was pushed")
    silent.close()
    server.finish()


def test_a_client_that_goes_while_it_sends(server, source, name):
    """s2i 13.25: nothing is left, no process and no folder of objects."""
    connection = server.connect()
    head = (f"POST /git/{name}.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\n\r\n").encode()
    line = packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/main\0report-status side-band-64k")
    body = line + b"0000PACK\0\0\0\2\0\0\0\3"
    connection.send(head + b"%x\r\n" % len(body) + body + b"\r\n")
    process.wait_for(lambda: list((bare(server, name) / "objects").glob("tmp_objdir*")) or remains.gits(server), 10, "git")
    connection.close()
    process.wait_for(lambda: not remains.gits(server), 10, "git's end")
    process.wait_for(lambda: not list((bare(server, name) / "objects").glob("tmp_objdir*")), 10, "what came in goes")
    assert not refs(server, name)


def test_a_crash_leaves_only_private_folders(folder, source, name):
    """s2i 13.11: what a killed server leaves is gone after its start; git does not outlive it."""
    server = process.Server(folder / "crash", {"builds.enabled": "true", "builds.builder": "external"})
    server.start()
    app = source({"a": "1"})
    push(app, server, name, "main", "main:tmp_x", "main:new-x", "main:a.new")  # names that locks and the like have
    connection = server.connect()
    head = (f"POST /git/{name}.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\n\r\n").encode()
    line = packet(b"0" * 40 + b" " + b"1" * 40 + b" refs/heads/x\0report-status side-band-64k")
    body = line + b"0000PACK\0\0\0\2\0\0\0\3"
    connection.send(head + b"%x\r\n" % len(body) + body + b"\r\n")
    found = lambda: list((bare(server, name) / "objects").glob("tmp_objdir*"))  # noqa: E731
    process.wait_for(found, 10, "a folder of what comes in")
    server.kill()
    connection.close()
    (bare(server, name) / "refs/heads/main.lock").write_text("")
    server.start()
    process.wait_for(lambda: not found() and not (bare(server, name) / "refs/heads/main.lock").exists(), 10, "swept")
    assert {"refs/heads/tmp_x", "refs/heads/new-x", "refs/heads/a.new"} <= set(refs(server, name))
    app.commit({"a": "2"})
    push(app, server, name)
    assert refs(server, name)["refs/heads/main"] == app.head()
    server.finish()


def test_who_may(folder, source, name):
    """s2i 13.9, 13.14: Basic is asked for; who may pull clones, who may push pushes; nothing tells what exists."""
    server = people.Registry(folder / "asks", {"builds.enabled": "true", "builds.builder": "external"},
                             people=lambda who: [who.user(one) for one in ("reader", "writer", "other")])
    server.initialise()
    server.accounts.grant("reader", "team/*", people.READ)
    server.accounts.grant("writer", "team/*", people.WRITE)
    server.start()
    client = wire.Client(server.target)
    app = source({"a": "1"})
    for service in ("git-receive-pack", "git-upload-pack"):
        for path in (name, "no/such"):
            asked = client.get(f"/git/{path}.git/info/refs?service={service}")
            assert asked.status == 401 and asked["www-authenticate"].startswith("Basic realm=")
    reader, writer, other = [(who, people.password_of(who).replace(" ", "%20").replace(":", "%3A"))
                             for who in ("reader", "writer", "other")]
    push_as = lambda who: building.git(app.folder, "push", "-o", "no-build",  # noqa: E731
                                       url(server, name, who), "main", check=False)
    list_as = lambda who, path=name: building.git("/", "ls-remote", url(server, path, who), check=False)  # noqa: E731
    for who in (reader, other):
        refused = push_as(who)
        assert refused.returncode == 128 and "403" in refused.stderr
    assert f"remote: you lack the right push on {name}" in push_as(reader).stderr
    assert not bare(server, name).exists()
    assert "not found" in list_as(reader).stderr
    assert push_as(writer).returncode == 0
    assert list_as(reader).stdout.endswith("refs/heads/main\n")
    admin = wire.Client(server.admin)
    noted = process.wait_for(lambda: [event for event in admin.get("/api/v1/audit").json()["items"]
                                      if event["action"] == "git.push"], 10, "the audit")
    assert [(one["actor"], one["outcome"], one["target"]) for one in noted] == \
        [("writer", "done", f"repository/{name}")]
    admin.close()
    assert list_as(other).stderr == list_as(other, "no/such").stderr.replace("no/such", name)
    client.close()
    server.finish()


def test_no_name_is_made_where_that_is_off(folder, source, name):
    """s2i 13.20"""
    server = process.Server(folder / "fixed", {"builds.enabled": "true", "builds.builder": "external",
                                               "builds.create_on_push": "false"})
    server.start()
    app = source({"a": "1"})
    assert "not found" in push(app, server, name, check=False).stderr
    client = server.client()
    assert client.post("/api/v1/repos", body=json.dumps({"name": name}).encode(),
                       headers=[("Content-Type", "application/json")]).status == 201
    push(app, server, name)
    client.close()
    server.finish()


def test_a_repository_that_grows_is_cut(folder, source, name, tmp_path):
    """s2i 13.15: above builds.repository_max only the newest commits are kept; pushing goes on."""
    server = process.Server(folder / "small", {"builds.enabled": "true", "builds.builder": "external",
                                               "builds.repository_max": "1MiB",
                                               "builds.sources.max_size": "1MiB"})
    server.start()
    app = source({"a": os.urandom(700_000)})
    push(app, server, name)
    app.commit({"a": os.urandom(700_000)})
    push(app, server, name)
    process.wait_for(lambda: (bare(server, name) / "shallow").exists(), 20, "the cut")
    app.commit({"b": "1"})
    push(app, server, name)
    large = source({"a": os.urandom(1_200_000)}, "large")  # above builds.sources.max_size
    done = push(large, server, f"{name}-large", check=False, settings=("-c", "http.postBuffer=65536"))
    assert done.returncode == 1 and "exceeds maximum allowed size" in done.stderr
    building.git(tmp_path, "clone", "-q", url(server, name), "copy")
    assert (tmp_path / "copy/a").read_bytes() == (app.folder / "a").read_bytes()
    server.finish()
