"""test_api_jobs.py - long work by the management API: jobs, runs of the collector, its schedule and its pause."""
import contextlib
import sqlite3
import time

import pytest

from support import api
from support.content import fresh, push_blob, push_image
from support.process import wait_for

# A job that goes on until it is told to stop: a byte of what is pushed below is read in a second.
ENDLESS = {"kind": "check", "spec": {"deep": True, "rate": 1}}
QUIET = {"gc.grace": "1s", "gc.undo": "0s", "gc.late": "0s", "gc.interval": "1h"}


@contextlib.contextmanager
def calling(server, target=None):
    caller = api.Api(target or server.target)
    try:
        yield caller
    finally:
        caller.close()


@pytest.fixture
def busy(make_server, name):
    """A server with enough to check for a while."""
    server = make_server()
    client = server.client()
    push_blob(client, name, fresh(1 << 20))
    client.close()
    return server


def started(caller, body, path="/jobs"):
    response = caller.post(path, body)
    assert response.status == 202, response
    assert caller.get(response["Location"]).json()["id"] == response.json()["id"]
    return response["Location"]


def ended(caller, location):
    return wait_for(lambda: (job := caller.get(location).json())["state"] not in ("waiting", "running") and job,
                    what=f"the end of {location}")


def test_a_job_runs_is_cancelled_and_remembered(busy):
    with calling(busy) as caller:
        location = started(caller, ENDLESS)
        job = wait_for(lambda: (job := caller.get(location).json())["phase"] and job, what="a phase")
        assert job["state"] == "running" and job["spec"] == ENDLESS["spec"]
        assert job["result"] is None and job["error"] is None and job["finished_at"] is None
        refused = caller.post("/jobs", ENDLESS)
        assert refused.status == 409 and f"job {job['id']} is running" in refused.json()["detail"]
        run = ended(caller, started(caller, {}, "/gc/runs"))  # of another kind
        assert run["state"] == "done" and run["kind"] == "gc"
        assert caller.post(location + ":cancel").json()["id"] == job["id"]
        job = ended(caller, location)
        assert job["state"] == "cancelled" and job["result"] and job["finished_at"] >= job["started_at"]
        assert caller.post(location + ":cancel").status == 409
        assert [item["id"] for item in caller.items("/jobs?limit=1")] == [run["id"], job["id"]]
        assert [item["id"] for item in caller.items("/jobs?kind=check")] == [job["id"]]
        assert [item["id"] for item in caller.items("/gc/runs")] == [run["id"]]
        assert caller.get(f"/gc/runs/{run['id']}").status == 200
        assert caller.get(f"/gc/runs/{job['id']}").status == 404
        for path in ("/jobs/0", "/jobs/999", "/jobs/x", "/gc/runs/999"):
            assert caller.get(path).status == 404
        assert caller.post("/jobs/999:cancel").status == 404


def test_what_is_asked_is_checked(busy):
    with calling(busy) as caller:
        for body, field in (({}, "kind"), ({"kind": "nothing"}, "kind"), ({"kind": "gc", "spec": 1}, "spec"),
                            ({"kind": "gc", "spec": {"dry_run": 1}}, "dry_run"),
                            ({"kind": "gc", "spec": {"x": 1}}, "spec"), ({"kind": 5}, "kind")):
            refused = caller.post("/jobs", body)
            assert refused.status == 422 and list(refused.json()["fields"]) == [field], body
        assert caller.post("/gc/runs", {"dry_run": "yes"}).status == 422
        assert caller.get("/jobs?cursor=x").status == 422
        assert caller.items("/jobs") == []


def test_kinds_that_name_folders_need_the_admin_socket(busy, tmp_path):
    body = {"kind": "import", "spec": {"path": str(tmp_path)}}
    with calling(busy) as caller, calling(busy, busy.admin) as local:
        assert caller.post("/jobs", body).status == 403
        assert local.post("/jobs", body).status in (202, 422)  # of that kind, or nothing to import


def test_a_killed_server_leaves_an_interrupted_job(busy):
    with calling(busy) as caller:
        location = started(caller, ENDLESS)
        wait_for(lambda: caller.get(location).json()["phase"], what="a phase")
    busy.kill()
    busy.start()
    with calling(busy) as caller:
        job = caller.get(location).json()
        assert job["state"] == "interrupted" and job["finished_at"]
        again = started(caller, ENDLESS)  # its place is free
    busy.restart()  # a clean end does not wait for the job's own
    with calling(busy) as caller:
        assert caller.get(again).json()["state"] == "interrupted"
        assert ended(caller, started(caller, {}, "/gc/runs"))["state"] == "done"


def test_jobs_are_audited(busy):
    with calling(busy, busy.admin) as caller:
        location = started(caller, ENDLESS)
        target = "job/" + location.rpartition("/")[2]
        caller.post(location + ":cancel")
        ended(caller, location)

        def told():
            records = caller.items(f"/audit?target={target}")
            return len(records) == 3 and records
        records = wait_for(told, what="three events")  # cancelling is noted within seconds
        assert {(record["action"], record["outcome"], record["actor"]) for record in records} == {
            ("job.start", "done", "local"), ("job.cancel", "done", "local"), ("job.end", "cancelled", "local")}


# --- the collector ---

def test_a_dry_run_changes_nothing_and_tells_what_a_run_does(make_server, name):
    server = make_server(QUIET)
    client = server.client()
    with calling(server) as caller:
        assert caller.put("/gc", {"paused": True}).json()["paused"] is True
        dead = push_blob(client, name, fresh(100000))
        push_image(client, name, "kept")
        due = wait_for(lambda: (gc := caller.get("/gc").json())["candidates"]["due"] == gc["candidates"]["waiting"] and gc,
                       what="all leases to end")
        assert due["candidates"]["due"] > 0 and due["candidates"]["oldest_due_at"]
        time.sleep(0.2)  # paused: nobody else takes them
        dry = ended(caller, started(caller, {"dry_run": True}, "/gc/runs"))
        assert dry["result"]["dry_run"] is True and dry["spec"] == {"dry_run": True}
        assert dry["result"]["removed"]["blobs"] == 1 and dry["result"]["bytes_freed"] == 100000
        after = caller.get("/gc").json()
        assert after["candidates"]["waiting"] == due["candidates"]["waiting"] and after["totals"] == due["totals"]
        wet = ended(caller, started(caller, {}, "/gc/runs"))  # runs run while it is paused
        assert wet["result"]["removed"]["blobs"] == 1 and wet["result"]["bytes_freed"] == 100000
        assert wet["result"]["trash"] == {"files": 1, "bytes": 100000}
        assert client.get(f"/v2/{name}/blobs/{dead}").status == 404
        assert client.get(f"/v2/{name}/manifests/kept").status == 200
        state = caller.get("/gc").json()
        assert state["last_run"]["id"] == wet["id"] and state["totals"]["removed"]["blobs"] == 1
        assert state["trash"] == {"files": 0, "due": 0, "oldest_due_at": None}
    client.close()


def test_the_schedule_is_shown_and_changed(make_server):
    hour = (time.gmtime().tm_hour + 12) % 24  # not while this runs
    server = make_server({"gc.schedule": f"30 {hour} * * *", "gc.time_zone": "UTC", "gc.jitter": "0s"})
    with calling(server) as caller:
        before = caller.get("/gc").json()
        assert (before["schedule"], before["time_zone"], before["from_settings"]) == (f"30 {hour} * * *", "UTC", True)
        assert before["next_run_at"].endswith(f"T{hour:02}:30:00Z") and before["last_run"] is None
        now = caller.put("/gc", {"schedule": "15 4 1 1 *", "time_zone": "Asia/Kathmandu"}).json()
        assert now["next_run_at"].endswith("-12-31T22:30:00Z") and now["from_settings"] is False
        for body, field in (({"schedule": "61 * * * *"}, "schedule"), ({"time_zone": "Nowhere"}, "time_zone"),
                            ({"schedule": "0 0 30 2 *"}, "schedule"), ({"paused": 1}, "paused")):
            refused = caller.put("/gc", body)
            assert refused.status == 422 and list(refused.json()["fields"]) == [field]
        assert caller.get("/gc").json() == now
    server.restart()
    with calling(server) as caller:
        kept = caller.get("/gc").json()
        assert (kept["schedule"], kept["time_zone"]) == ("15 4 1 1 *", "Asia/Kathmandu")
        assert caller.put("/gc", {"schedule": "off"}).json()["next_run_at"] is None
        assert caller.put("/gc", {"schedule": None, "time_zone": ""}).json()["from_settings"] is True
        assert caller.get("/gc").json()["next_run_at"] == before["next_run_at"]

        def told():
            return [record["detail"] for record in caller.items("/audit?action=gc.update")]
        changes = wait_for(lambda: len(told()) == 3 and told(), what="three events")
        assert {"schedule": {"old": f"30 {hour} * * *", "new": "15 4 1 1 *"},
                "time_zone": {"old": "UTC", "new": "Asia/Kathmandu"}} in changes


def test_a_missed_time_is_made_up_for_at_the_start(make_server):
    server = make_server({"gc.schedule": "* * * * *", "gc.jitter": "0s"})
    server.stop()
    # as if it had last looked two hours ago
    with contextlib.closing(sqlite3.connect(server.root / "meta.db")) as rows, rows:
        changed = rows.execute("UPDATE server_state SET value = value - 7200000000 WHERE name = 'gc_settled_at'")
        assert changed.rowcount == 1
        before = rows.execute("SELECT count(*) FROM jobs").fetchone()[0]
    server.start()
    with calling(server) as caller:
        wait_for(lambda: len(caller.items("/gc/runs")) > before, what="the run")
        run = caller.items("/gc/runs")[0]
        assert run["actor"] is None and ended(caller, f"/jobs/{run['id']}")["state"] == "done"
