"""test_deleted_repository.py - a repository is deleted: its builds, configuration and sources go with it, so that whoever has
the name next sees nothing of them; and come back with it.
"""
import contextlib
import sqlite3
import subprocess
import threading

from support import api, building, freezing, process


def cloned(server, name, folder):
    return building.git(folder, "ls-remote", f"http://127.0.0.1:{server.port}/git/{name}.git", check=False).stdout


def test_the_next_of_its_name_inherits_nothing(server, source, name, tmp_path):
    root, path = api.Api(server.target), f"/repos/{name}"
    app = source({"index.html": "secret plans\n"})
    app.push(server, name, "-o", "builder=builders/test")
    assert app.head() in cloned(server, name, tmp_path)
    assert root.put(f"{path}/-/build-config", {"options": {"builder": "builders/test"}}).status == 201
    build = root.get(f"{path}/-/builds").json()["items"][0]["id"]

    assert root.delete(path).status == 204
    assert app.head() not in cloned(server, name, tmp_path)
    building.builder(server, name=name)
    assert app.head() not in cloned(server, name, tmp_path)
    assert root.get(f"{path}/-/builds").json()["items"] == []
    assert root.get(f"{path}/-/build-config").status == 404

    deleted = next(item for item in root.get("/repos?deleted=true").json()["items"] if item["name"] == name)
    assert root.delete(path).status == 204
    assert root.post(f"{path}:restore", {"id": deleted["id"]}).status == 200
    assert app.head() in cloned(server, name, tmp_path)
    assert [item["id"] for item in root.get(f"{path}/-/builds").json()["items"]] == [build]
    assert root.get(f"{path}/-/build-config").json()["options"]["builder"] == "builders/test"
    other = source({"index.html": "another\n"})
    other.push(server, name, "-o", "builder=builders/test", "--force", ref="main:second")
    assert cloned(server, name, tmp_path).count("refs/heads/") == 2


def test_the_next_of_its_name_inherits_no_cache(server, source, name):
    """s2i 8.7: what one team's builds downloaded is not the next team's."""
    assemble = building.ASSEMBLE + "echo run >> /var/cache/app/runs; cp /var/cache/app/runs /opt/app-root/src\n"
    building.builder(server, "builders/hoarding", assemble=assemble, labels={"s2i.cache-dirs": "/var/cache/app"})
    root, app = api.Api(server.target), source({"index.html": "x"})

    def runs():
        app.commit({})
        app.push(server, name, "-o", "builder=builders/hoarding", "--force")
        return building.layer_entries(server, name)["opt/app-root/src/runs"][1].count(b"run")
    assert (runs(), runs()) == (1, 2)
    assert root.delete(f"/repos/{name}").status == 204
    assert (runs(), runs()) == (1, 2), "the next repository of that name read the cache of the one before"
    root.close()


def test_one_that_is_deleted_during_a_push(server, source, name, tmp_path):
    """s2i 13.7, 13.11: the pusher is told; nothing of the push is in the next repository of that name."""
    root, app = api.Api(server.target), source({"index.html": "secret plans\n"})
    app.push(server, name, "-o", "builder=builders/test")
    app.commit({"index.html": "more\n"})
    step = freezing.Frozen(server, name, "proc-receive", "before")
    push = subprocess.Popen(["git", "push", "-o", "no-build", f"http://127.0.0.1:{server.port}/git/{name}.git", "main"],
                            cwd=app.folder, env=building.environment(), text=True, stderr=subprocess.PIPE)
    step.reached()
    assert root.delete(f"/repos/{name}").status == 204
    step.go()
    push.wait(60)
    assert push.returncode == 1 and "(the repository was deleted meanwhile)" in push.stderr.read()
    push.stderr.close()
    assert app.head() not in cloned(server, name, tmp_path)
    assert app.push(server, name, "-o", "builder=builders/test").returncode == 0


def test_a_death_before_it_is_deleted(make_server, source, tmp_path):
    """s2i 13.7: sources go aside before their repository does, and back when it stayed: never is it the other way round."""
    server, name = make_server(), "team/app"
    building.builder(server)
    app = source({"index.html": "secret plans\n"})
    app.push(server, name, "-o", "builder=builders/test")
    live, deleted = server.root / f"builds/repos/{name}.git", server.root / "builds/deleted"

    def delete():
        with contextlib.suppress(Exception):
            api.Api(server.target).delete(f"/repos/{name}")
    thread = threading.Thread(target=delete)
    with contextlib.closing(sqlite3.connect(server.root / "meta.db", 60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # the row cannot go
        thread.start()
        process.wait_for(lambda: any(deleted.iterdir()) and not live.exists(), 10, "its sources to be aside")
        server.kill()
    thread.join()
    server.start()
    assert not any(deleted.iterdir()) and app.head() in cloned(server, name, tmp_path)
    assert api.Api(server.target).delete(f"/repos/{name}").status == 204
    server.kill()
    server.start()
    assert [path.suffix for path in deleted.iterdir()] == [".git"], "those of a deleted one came back"
    building.builder(server, name=name)
    assert app.head() not in cloned(server, name, tmp_path)


def test_one_that_may_not_be_deleted_keeps_its_sources(server, source, name, tmp_path):
    root, app = api.Api(server.target), source({"index.html": "hello\n"})
    app.push(server, name, "-o", "builder=builders/test")
    assert root.patch(f"/repos/{name}/-/tags/latest", {"protected": True}).status == 200
    assert root.delete(f"/repos/{name}").status == 403
    assert app.head() in cloned(server, name, tmp_path)
