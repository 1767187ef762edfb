"""test_waiting_rights.py - who waits for the end of a build is told what he may see then, not what he might when it began.

Touches  a server that asks who is there, a builder; pushes, the API.
Never    a grant of another test. Spec: s2i 12.3, 13.46
"""
import contextlib
import os
import signal
import threading

from support import api, building, people, process
from support.grounds import Ground, counter
from test_api_builds import Caller


class Waiting:
    """A request that is answered when its build has ended."""

    def __init__(self, target, who, name, files, options):
        self.answer, self.failure = None, None
        self.arguments = (target, who, name, files, options)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        target, who, name, files, options = self.arguments
        try:
            with contextlib.closing(Caller(target, who)) as call:
                self.answer = call.send(name, files, query="&wait=true", options=options)
        except Exception as failure:  # told where it is asked for
            self.failure = failure

    def json(self):
        self.thread.join(120)
        assert not self.thread.is_alive(), "no answer"
        assert self.failure is None, self.failure
        assert self.answer.status == 201, self.answer
        return self.answer.json()


def grant(root, who, pattern, level):
    answer = root.post("/grants", {"account": who[0], "pattern": pattern, "level": level})
    assert answer.status == 201, answer
    return answer["Location"]


def test_rights_that_end_while_one_waits(guarded, name):
    """Three who wait: one loses his grant, one his token, one may read only from then on, one stays as he is."""
    root = api.Api(guarded.target, people.ROOT)
    number = next(counter)
    lost, reads, stays = (guarded.accounts.user(f"{label}{number}") for label in ("lost", "reads", "stays"))
    gate, waiting, grants = building.Gate(), {}, {}
    ground = Ground(guarded, people.ROOT)
    scripts = {"assemble": building.ASSEMBLE, "run": building.RUN}
    ground.push(f"{name}/builder", "latest", [building.base_tar(scripts, {})],
                {"User": "1001", "Env": ["PATH=/bin"], "Labels": {
                    "io.openshift.s2i.scripts-url": f"image://{building.SCRIPTS}"}})
    token = guarded.accounts.token(stays[0])
    callers = {"lost": lost, "reads": reads, "stays": stays, "token": (stays[0], token)}
    for label, who in callers.items():
        grants[label] = grant(root, who, f"{name}/{label}/*", "write")
    for who in (lost, reads, stays):
        grant(root, who, f"{name}/builder", "read")
    slow = {".s2i/bin/assemble": f"#!/bin/sh\n{gate.wait}\nexit 0\n"}
    for label, who in callers.items():
        waiting[label] = Waiting(guarded.target, who, f"{name}/{label}/app", slow, {"builder": f"{name}/builder"})
    process.wait_for(lambda: all(root.items(f"/repos/{name}/{label}/app/-/builds") for label in callers), 60, "all builds")
    assert root.delete(grants["lost"]).status == 204
    assert root.patch(grants["reads"], {"level": "read"}).status == 200
    (shown,) = [row["id"] for row in root.items(f"/users/{stays[0]}/tokens")]
    assert root.delete(f"/tokens/{shown}").status == 204
    while any(one.thread.is_alive() for one in waiting.values()):
        for pid in gate.waiting():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for one in waiting.values():
            one.thread.join(0.05)
    got = {label: one.json() for label, one in waiting.items()}
    assert got["stays"]["state"] == "Complete" and got["stays"]["actor"] == stays[0], got["stays"]
    assert got["reads"]["repository"] == f"{name}/reads/app" and got["reads"]["actor"] is None, got["reads"]
    assert list(got["lost"]) == ["error"] and got["lost"]["error"]["reason"] == "not_found", got["lost"]
    assert list(got["token"]) == ["error"] and got["token"]["error"]["reason"] == "unauthenticated", got["token"]
    root.close()
    ground.call.close()
