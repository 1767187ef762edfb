"""test_rebuild.py - a build in other words: as a Dockerfile; read back from the labels of its image.

Touches  servers with a builder; pushes, the API, the command line.
Never    runs a Dockerfile. Spec: s2i 10.3, 10.5
"""
import subprocess

from support import api, building, process, relay

FILES = {"index.html": "hello\n", ".s2i/environment": "GREETING=a \"b\" $c\n", ".s2i/bin/run": "#!/bin/sh\nexit 0\n"}


def test_a_dockerfile(server, source, name, client):
    """Nothing is built, and what is said is what a build would do."""
    source(FILES).push(server, name, "-o", "builder=builders/test")
    builds = client.get(f"/api/v1/repos/{name}/-/builds").body
    call = api.Api(server.target)
    wish = {"source": "push", "options": {"builder": "builders/test", "ref": "main", "secret_env": ["TOKEN=hunter2hunter2"]}}
    answer = call.post(f"/repos/{name}/-/builds?dockerfile=true", wish)
    assert answer.status == 200, answer
    lines = answer.json()["dockerfile"].splitlines()
    digest = building.manifest(server, "builders/test")[0]
    assert [line for line in lines if line.startswith("FROM ")] == [f"FROM builders/test@{digest}"]
    assert 'ENV GREETING="a \\"b\\" \\$c"' in lines
    run = next(line for line in lines if line.startswith("RUN "))
    assert "--mount=type=secret,id=TOKEN,env=TOKEN" in run and "/usr/libexec/s2i/assemble" in run
    assert lines[-1] == 'CMD ["/tmp/scripts/run"]' and "hunter2" not in answer.body.decode()
    refused = call.post(f"/repos/{name}/-/builds?dockerfile=true",
                        {**wish, "options": {**wish["options"], "runtime_image": "builders/test"}})
    assert refused.json()["error"]["reason"] == "DockerFileCreationFailed", refused
    call.close()
    assert client.get(f"/api/v1/repos/{name}/-/builds").body == builds
    (folder := source(None).folder).joinpath("page").write_text("x")
    done = subprocess.run([process.binary(), "build", "dockerfile", name, "--source", str(folder), "--builder",
                           "builders/test", "--config", "/dev/null", "--set", f"storage.root={server.root}"],
                          text=True, timeout=60, capture_output=True, env=process.clean_environment())
    assert done.returncode == 0 and f"FROM builders/test@{digest}\n" in done.stdout, done.stderr


def test_from_the_labels_of_an_image(make_server, source, name):
    """Builder, URL, ref and folder stand there; what it was not built from by URL says what is missing."""
    road = relay.Relay(None)  # its port is known before the server's, which must know from where it may fetch
    server = make_server({"builds.sources.schemes": "http,https", "builds.sources.allow": "127.0.0.1",
                          "builds.sources.ports": road.port})
    road.target = server.port
    building.builder(server)
    app = source({"in/a": "1\n", "in/.s2i/environment": "A=b\n", "out": "2\n"})
    app.push(server, f"{name}-src", "-o", "builder=builders/test")
    call = api.Api(server.target)
    url = f"http://127.0.0.1:{road.port}/git/{name}-src.git"
    options = {"url": url, "ref": "main", "context_dir": "in", "builder": "builders/test", "tags": ["v1"]}
    first = call.post(f"/repos/{name}/-/builds?wait=true", {"options": options}).json()
    assert first["state"] == "Complete", first
    again = call.post(f"/repos/{name}/-/builds?wait=true", {"rebuild": "v1", "options": {"rebuild": True}}).json()
    assert again["state"] == "Complete" and again["tags"] == ["v1"], again
    assert (again["url"], again["ref"], again["commit"]) == (url, "main", app.head())
    assert again["result_digest"] == first["result_digest"]
    app.commit({"in/a": "3\n"})
    app.push(server, f"{name}-src", "-o", "builder=builders/test")
    assert call.post(f"/repos/{name}/-/builds?wait=true", {"rebuild": "v1"}).json()["commit"] == app.head()
    pushed = call.post(f"/repos/{name}-src/-/builds", {"rebuild": "latest"})
    assert pushed.status == 422 and "source-location not found in image" in pushed.body.decode()
    for tag in ("absent", "a b", ""):
        assert call.post(f"/repos/{name}/-/builds", {"rebuild": tag}).status == 422, tag
    call.close()
    road.close()
