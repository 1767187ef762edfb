"""test_first_build.py - a push becomes an image: the whole way, once, with what users see of it."""
import json

from support import building

FILES = {"index.html": "<h1>hello</h1>\n", "docs/about.txt": "about\n",
         ".s2i/environment": "GREETING=hello\n# a comment\n"}


def test_push_builds_an_image(server, source, name, client):
    """s2i 7.1, 7.2, 7.4, 13.21, 13.26."""
    app = source(FILES)
    said = app.push(server, name, "-o", "builder=builders/test").stderr
    assert "---> assembling" in said and "[new branch]" in said
    digest, manifest, config = building.manifest(server, name)
    for tag in ("main", f"git-{app.head()[:12]}"):
        assert building.manifest(server, name, tag)[0] == digest
    assert len(manifest["layers"]) == 2
    assert config["config"]["Cmd"] == ["/usr/libexec/s2i/run"]
    assert config["config"]["User"] == "1001"
    assert "GREETING=hello" in config["config"]["Env"] and "FROM_BUILDER=yes" in config["config"]["Env"]
    assert config["config"]["Labels"]["io.openshift.s2i.build.commit.id"] == app.head()
    entries = building.layer_entries(server, name)
    assert entries["opt/app-root/src/index.html"][1] == b"<h1>hello</h1>\n"
    assert entries["opt/app-root/src/assembled"][0].uid == 1001


def test_a_failing_build_rejects_the_push(server, source, name, client):
    """s2i 13.7, 13.23, 6.5: the ref does not move, no tag is there, and the reason is told."""
    app = source({**FILES, ".s2i/bin/assemble": "#!/bin/sh\necho no luck; exit 7\n"})
    done = app.push(server, name, "-o", "builder=builders/test", check=False)
    assert done.returncode == 1
    assert "no luck" in done.stderr and "AssembleFailed" in done.stderr
    assert client.get(f"/v2/{name}/tags/list").status == 404
    listed = building.git(app.folder, "ls-remote", f"http://127.0.0.1:{server.port}/git/{name}.git", check=False)
    assert "refs/heads" not in listed.stdout


def test_what_was_built_is_told_by_the_api(server, source, name, client):
    """s2i 13.40, 12.3."""
    app = source(FILES)
    app.push(server, name, "-o", "builder=builders/test")
    listed = client.get(f"/api/v1/repos/{name}/-/builds").json()
    build = listed["items"][0]
    assert build["state"] == "Complete" and build["commit"] == app.head()
    assert build["result_digest"] == building.manifest(server, name)[0]
    text = client.get(f"/api/v1/builds/{build['id']}/log").body.decode()
    assert "---> assembling" in text
    assert json.dumps(build["stages"]).count("duration_ms") >= 3
