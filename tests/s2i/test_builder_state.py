"""test_builder_state.py - whether images can be built here is told, by the API and the command; where they cannot, builds are
refused with the reason, and nothing is made of them. Spec: s2i 16.3, 16.4.
"""
import json
import pathlib
import subprocess

import pytest

from support import api, process


def state(server):
    return api.Api(server.target).get("/system/builds").json()


def refused(server):
    """A build is asked for, from nothing."""
    body = json.dumps({"source": "none", "options": {"builder": "builders/test"}}).encode()
    response = server.client().request("POST", "/api/v1/repos/team/app/-/builds", body,
                                       [("Content-Type", "application/json")], server_error=True)
    assert api.Api(server.target).get("/builds").json()["items"] == []
    return response


def test_a_builder_that_is_there(server):
    told = state(server)
    assert told["enabled"] and told["able"] and told["problem"] is None
    lsm = pathlib.Path("/sys/kernel/security/lsm")
    if lsm.exists() and "landlock" in lsm.read_text():
        assert told["weakness"] is None
    else:
        assert told["weakness"] is None or "Landlock" in told["weakness"]
    assert told["builders"] == 1 and told["level"] in ("root", "user") and told["slots"] >= 1
    done = subprocess.run([process.binary(), "build", "status", "--set", f"storage.root={server.root}"],
                          capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "can build" in done.stdout and "slots" in done.stdout


@pytest.mark.parametrize("settings,enabled,word", [
    ({"builds.enabled": "false"}, False, "builds.enabled"),
    ({"builds.builder": "external"}, True, "ExecutorUnavailable"),
])
def test_no_builder_no_build(make_server, settings, enabled, word):
    """s2i 16.4: the registry runs on."""
    server = make_server(settings, start=False)
    server.start()
    told = state(server)
    assert told["enabled"] is enabled and not told["able"] and told["problem"]
    response = refused(server)
    assert response.status == 503 and word in response.body.decode(), response
    assert server.client().get("/v2/").status == 200
