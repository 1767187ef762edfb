"""test_apps.py - the builder images of tests/builders and the applications of tests/apps, as a first user meets them.

Only static takes no time; SLIPWAY_ALL_BUILDERS=1 makes and tries the others as well.
"""
import contextlib
import json
import os
import subprocess

import pytest

from support import api, building, process, wire

MAKE = process.TOP / "tests/builders/make.py"
APPS = process.TOP / "tests/apps"
SRC = "opt/app-root/src"
LEFT = {"static": ("style.css",), "python": ("app.py", "__pycache__/"), "node": ("server.js",), "c": ("app",)}
STAND_IN = {"static", "c"}
TRIED = list(LEFT) if os.environ.get("SLIPWAY_ALL_BUILDERS") else ["static"]


def made(builder, *where):
    done = subprocess.run([MAKE, builder, *where], text=True, stdout=subprocess.PIPE, timeout=300, check=True)
    return done.stdout.split()[1]


@pytest.fixture(scope="module", params=TRIED)
def builder(request, server):
    """Its name; the image is there."""
    made(request.param, "--registry", f"http://127.0.0.1:{server.port}")
    return request.param


def test_an_application_finds_its_builder(server, builder, source, name):
    """s2i 2.1, 3.1, 15.7."""
    files = {path.name: path.read_text() for path in (APPS / builder).iterdir()}
    app = source(files)
    said = app.push(server, name).stderr
    assert f"says: builders/{builder}" in said and "[new branch]" in said
    entries = building.layer_entries(server, name)
    for wanted in LEFT[builder]:
        assert f"{SRC}/{wanted}".rstrip("/") in {entry.rstrip("/") for entry in entries}, wanted
    config = building.manifest(server, name)[2]["config"]
    assert config["Cmd"] == ["/usr/libexec/s2i/run"] and config["User"] == "1001"
    assert config["Labels"]["io.k8s.display-name"] == name


def test_a_newer_builder_stands_in_for_an_older(server, builder, source, name):
    """s2i 15.1: where it says so, its images are rebased."""
    image = f"builders/{builder}"
    source({path.name: path.read_text() for path in (APPS / builder).iterdir()}).push(server, name)
    _, document, config = building.manifest(server, image)
    config["config"]["Env"].append("NEWER=yes")
    with contextlib.closing(wire.Client(server.target)) as client:
        document["config"] = building.put_blob(client, image, json.dumps(config).encode(), document["config"]["mediaType"])
        assert client.put(f"/v2/{image}/manifests/newer", headers=[("Content-Type", document["mediaType"])],
                          body=json.dumps(document).encode()).status == 201
    with contextlib.closing(api.Api(server.target)) as call:
        item, = call.post(f"/repos/{name}/-/tags:rebase", {"tag": "latest", "base": f"{image}:newer"}).json()["items"]
    assert item["outcome"] == ("rebased" if builder in STAND_IN else "refused"), item
    env = building.manifest(server, name)[2]["config"]["Env"]
    assert ("NEWER=yes" in env) == (builder in STAND_IN)


def test_a_builder_is_made_the_same_every_time(server, builder, tmp_path):
    first = building.manifest(server, f"builders/{builder}")[0]
    assert made(builder, "--layout", str(tmp_path)) == first
