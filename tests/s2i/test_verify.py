"""test_verify.py - a build is made again beside itself: on what, and what it leaves alone.

Touches  the server under test; pushes, the API.
Never    the command line: test_cli_builds.py. Spec: s2i 15.2
"""
import io
import tarfile

from support import building, process

FILES = {"index.html": "hello\n", ".s2i/environment": "A=b\n"}
ODD = building.ASSEMBLE + "head -c 8 /dev/urandom > /opt/app-root/src/odd\n"


def ended(call, response):
    assert response.status == 201, response
    id = response.json()["id"]
    process.wait_for(lambda: call.get(f"/builds/{id}").json()["finished_at"] is not None, 30, f"build {id}")
    return call.get(f"/builds/{id}").json()


def first(call, name):
    return call.items(f"/repos/{name}/-/builds")[-1]


def test_on_the_builder_of_then(server, source, name, call):
    """Its tag has moved; the image it was is what counts."""
    building.builder(server, "builders/moves")
    source(FILES).push(server, name, "-o", "builder=builders/moves")
    before = first(call, name)
    building.builder(server, "builders/moves", files={"etc/more": "more\n"})
    again = ended(call, call.post(f"/builds/{before['id']}:verify"))
    assert (again["state"], again["trigger"], again["retry_of"]) == ("Complete", "verify", before["id"]), again
    assert again["builder_digest"] == before["builder_digest"]
    assert again["result_digest"] == before["result_digest"] == building.manifest(server, name)[0]
    assert "assembling" in call.get(f"/builds/{again['id']}/log").body.decode(), "it was not built at all"


def test_of_an_archive(server, name, call):
    """It is kept as long as its build."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(building.entry("index.html"), io.BytesIO())
    path = f"/repos/{name}/-/builds?options=%7B%22builder%22%3A%22builders/test%22%7D"
    before = ended(call, call.call("POST", path, raw=stream.getvalue(), headers=[("Content-Type", "application/x-tar")]))
    again = ended(call, call.post(f"/builds/{before['id']}:verify"))
    assert (again["state"], again["result_digest"]) == ("Complete", before["result_digest"]), again
    (server.root / f"builds/archives/{before['id']}").unlink()
    answer = call.post(f"/builds/{before['id']}:verify")
    assert answer.status == 409 and "is not kept any more" in answer.json()["detail"]


def test_without_its_caches(server, source, name, call):
    """s2i 8.7: what a cache brought into an image is seen; and the cache goes on as it was."""
    assemble = building.ASSEMBLE + "echo run >> /var/cache/app/runs; wc -l < /var/cache/app/runs > /opt/app-root/src/runs\n"
    building.builder(server, "builders/caching", assemble=assemble, labels={"s2i.cache-dirs": "/var/cache/app"})
    app, builds = source(FILES), []
    for _ in range(2):
        app.commit({})
        app.push(server, name, "-o", "builder=builders/caching")
        builds.append(call.items(f"/repos/{name}/-/builds")[0])
        assert not any(path.startswith("var/cache/app/") for path in building.layer_entries(server, name))
    assert building.layer_entries(server, name)["opt/app-root/src/runs"][1] == b"2\n", "the second build saw no cache"
    first, second = (ended(call, call.post(f"/builds/{build['id']}:verify")) for build in builds)
    assert first["result_digest"] == builds[0]["result_digest"] and second["result_digest"] != builds[1]["result_digest"]
    app.commit({})
    app.push(server, name, "-o", "builder=builders/caching")
    assert building.layer_entries(server, name)["opt/app-root/src/runs"][1] == b"3\n"


def test_nothing_stands_on_a_verification(server, source, name, call):
    """Not the tags, not the next push of the same; and to repeat one is to verify its first again."""
    building.builder(server, "builders/odd", assemble=ODD)
    source(FILES).push(server, name, "-o", "builder=builders/odd")
    before, tags = first(call, name), call.items(f"/repos/{name}/-/tags")
    again = ended(call, call.post(f"/builds/{before['id']}:verify"))
    assert again["result_digest"] != before["result_digest"] and call.items(f"/repos/{name}/-/tags") == tags
    for verb in ("verify", "retry"):
        more = ended(call, call.post(f"/builds/{again['id']}:{verb}"))
        assert (more["trigger"], more["retry_of"]) == ("verify", before["id"])
    assert call.items(f"/repos/{name}/-/tags") == tags
    reused = ended(call, call.post(f"/builds/{before['id']}:retry"))
    assert reused["facts"]["reused"] == before["id"] and reused["result_digest"] == before["result_digest"]
