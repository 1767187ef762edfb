"""test_determinism.py - the same commit and builder give the same image: acceptance 20.5."""
import json
import subprocess
import tarfile

from support import building, process

FILES = {"index.html": "hello\n", "a/b/c.txt": "deep\n", "\u00fc.txt": "umlaut\n", ".s2i/environment": "A=b\n"}
BUSY = building.ASSEMBLE + """
cd /opt/app-root/src
for i in 3 1 2; do echo $i > made-$i; done
ln made-1 hard; ln -s made-2 soft; mkdir -p empty; chmod 0700 empty
rm /etc/group; rm -r /home; mkdir /home; echo x > /home/new
"""


def layers(manifest):
    return [layer["digest"] for layer in manifest["layers"]]


def test_twice_in_other_surroundings(make_server, source, name):
    """s2i 15.2, 17: other clocks, host names, locales, umasks, folders, times of day."""
    digests = []
    app = source(FILES)
    for around in ({}, {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "tr_TR.UTF-8"}):
        server = make_server({}, start=False)
        words = server.arguments
        if around:
            server.arguments = lambda words=words, around=around: [
                "env", *(f"{key}={value}" for key, value in around.items()), "sh", "-c", 'umask 077; exec "$@"', "-", *words()]
        server.start()
        process.wait_for(lambda s=server: "builder.connected" in s.log.read_text(), 20, "a builder")
        building.builder(server, assemble=BUSY, labels={"io.openshift.s2i.assemble-user": "0"})
        app.push(server, name, "-o", "builder=builders/test")
        digests.append(building.manifest(server, name)[0])
    assert digests[0] == digests[1]


def test_rebuilt_on_demand_gives_the_same(server, source, name, client):
    """s2i 13.27, 15.2: -o rebuild builds again."""
    app = source(FILES)
    app.push(server, name, "-o", "builder=builders/test")
    first = building.manifest(server, name)[0]
    building.git(app.folder, "branch", "other")
    again = app.push(server, name, "-o", "builder=builders/test", "-o", "rebuild", "-o", "tag=other", ref="other")
    assert "assembling" in again.stderr
    one, two = building.manifest(server, name, "main"), building.manifest(server, name, "other")
    assert layers(one[1]) == layers(two[1]) and one[0] == first


def test_the_same_commit_to_another_branch_is_not_built_again(server, source, name):
    """s2i 13.27, 15.3."""
    app = source(FILES)
    app.push(server, name, "-o", "builder=builders/test")
    building.git(app.folder, "branch", "other")
    again = app.push(server, name, "-o", "builder=builders/test", "-o", "tag=other", ref="other")
    assert "assembling" not in again.stderr and "Nothing to build" in again.stderr
    assert building.manifest(server, name, "other")[0] == building.manifest(server, name, "main")[0]


def test_push_url_and_archive_give_the_same_layer(make_server, source, name, tmp_path):
    """s2i 4.1, 20.5."""
    place = process.reserved()
    port = place.getsockname()[1]
    server = make_server({"builds.sources.schemes": "http,https", "builds.sources.allow": "127.0.0.1",
                          "builds.sources.ports": port, "server.listen": f"127.0.0.1:{port}"})
    building.builder(server)
    app = source(FILES)
    app.push(server, f"{name}-push", "-o", "builder=builders/test")
    url = f"http://127.0.0.1:{server.port}/git/{name}-push.git"
    client = server.client()
    made = client.post(f"/api/v1/repos/{name}-url/-/builds?wait=true", body=json.dumps(
        {"source": "url", "options": {"url": url, "ref": "main", "builder": "builders/test"}}).encode(), headers=[("Content-Type", "application/json")])
    assert made.json()["state"] == "Complete", made.json()["message"]
    archive = tmp_path / "source.tar"
    subprocess.run(["git", "archive", "-o", archive, "HEAD"], cwd=app.folder, check=True)
    with tarfile.open(archive) as names:
        assert "index.html" in names.getnames()
    sent = client.post(f"/api/v1/repos/{name}-archive/-/builds?wait=true&options=%7B%22builder%22:%22builders/test%22%7D", body=archive.read_bytes(),
                       headers=[("Content-Type", "application/x-tar")])
    assert sent.json()["state"] == "Complete", sent.json()["message"]
    found = [layers(building.manifest(server, f"{name}-{kind}", tag)[1])[-1]
             for kind, tag in (("push", "latest"), ("url", "main"), ("archive", "latest"))]
    assert found[0] == found[1] == found[2]
    place.close()
