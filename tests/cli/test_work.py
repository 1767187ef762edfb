"""test_work.py - gc, job, and what long work has in common: by a running server, or in the root folder itself; progress
on terminals only; signals that cancel."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from conftest import PROGRAM, clean_environment, heeds, wait_for

from support import content, wire

FAILED, USAGE, NOT_FOUND, CONFLICT, UNREACHABLE = 1, 2, 4, 5, 6
ENDLESS = ["check", "--deep", "--rate", "1"]  # reads a byte a second


@pytest.fixture
def run(slipway, words):
    return lambda *given: slipway(*given, *words)


@pytest.fixture
def server(serve):
    return serve()


def push(server, size=1 << 20):
    client = wire.Client(wire.Target("127.0.0.1", int(server.url.rpartition(":")[2]), None))
    content.push_blob(client, "team/app", content.fresh(size))
    client.close()


def filled(server):
    """A root that nobody serves any more."""
    push(server)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def jobs(run):
    return json.loads(run("job", "ls", "--json").stdout)["items"]


# --- where it is done ---

def test_gc_run_by_the_server(server, run):
    done = run("gc", "run")
    assert done.returncode == 0 and "blobs removed         0\n" in done.stdout and done.stderr == ""
    report = json.loads(run("gc", "run", "--json", "--dry-run").stdout)
    assert report["dry_run"] is True and report["removed"]["blobs"] == 0
    assert [(job["kind"], job["actor"]) for job in jobs(run)] == [("gc", "local")] * 2
    wait_for(lambda: server.text().count("msg=job.ended") == 2, what="two lines in the log")


def test_gc_run_without_a_server(serve, server, run):
    filled(server)
    done = run("gc", "run", "--json")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert json.loads(done.stdout)["reviewed"] == 0
    serve()  # another root: nothing to do with it
    assert run("gc", "ls").returncode == UNREACHABLE


def test_work_alone_is_recorded(serve, server, run, tmp_path):
    filled(server)
    assert run("gc", "run").returncode == 0
    again = serve(f"storage.root={tmp_path}/0/root")
    assert [job["state"] for job in jobs(run)] == ["done"]
    again.signal(signal.SIGTERM)
    assert again.wait() == 0


def test_a_root_that_is_not_there_is_not_made(run, root):
    done = run("gc", "run")
    assert done.returncode == NOT_FOUND and "; slipway init makes one" in done.stderr
    assert not root.exists()


def test_a_root_whose_server_has_another_socket(server, run):
    done = run("gc", "run", "--set", "server.admin_socket=off")
    assert done.returncode == UNREACHABLE and "another process owns" in done.stderr and "--url" in done.stderr


def test_settings_in_error_are_told_once(run):
    done = run("gc", "run", "--set", "gc.schedule=61 * * * *")
    assert done.returncode == FAILED and done.stderr.count("gc.schedule") == 1


# --- stopping, waiting ---

def begun(words, *more, stderr=subprocess.PIPE):
    return subprocess.Popen([PROGRAM, *ENDLESS, *words, *more], env=clean_environment(), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=stderr, text=True)


def test_a_signal_cancels_the_job_of_the_server(server, run, words):
    push(server)
    child = begun(words)
    job = wait_for(lambda: jobs(run), what="the job")[0]
    refused = run(*ENDLESS)
    assert refused.returncode == CONFLICT and f"job {job['id']} is running" in refused.stderr
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == FAILED and f"job {job['id']} was cancelled" in told
    assert jobs(run)[0]["state"] == "cancelled"


def test_a_signal_before_the_job_is_known_cancels_it(server, run, words):
    push(server)
    os.kill(server.child.pid, signal.SIGSTOP)  # the job is asked for, and nobody answers yet
    try:
        child = begun(words)
        wait_for(lambda: heeds(child, signal.SIGINT), what="its beginning")
        child.send_signal(signal.SIGINT)
        wait_for(lambda: not heeds(child, signal.SIGINT), what="the signal to be taken")
    finally:
        os.kill(server.child.pid, signal.SIGCONT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == FAILED and "was cancelled" in told
    assert jobs(run)[0]["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_work_without_a_server(server, run, words, number):
    filled(server)
    child = begun(words)
    wait_for(lambda: heeds(child, number), what="its beginning")
    child.send_signal(number)
    _, told = child.communicate(timeout=60)
    assert child.returncode == FAILED and "it was cancelled" in told
    assert run("gc", "run").returncode == 0  # the root is nobody's again


def test_a_second_signal_ends_at_once(server, words, run):
    push(server)
    child = begun(words)
    wait_for(lambda: jobs(run), what="the job")
    os.kill(server.child.pid, signal.SIGSTOP)  # nobody answers
    try:
        child.send_signal(signal.SIGINT)
        wait_for(lambda: not heeds(child, signal.SIGINT), what="the first signal to be taken")
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        assert child.returncode == -signal.SIGINT
    finally:
        os.kill(server.child.pid, signal.SIGCONT)


def test_the_end_of_the_server_is_told(server, run, words):
    push(server)
    child = begun(words)
    wait_for(lambda: jobs(run), what="the job")
    server.child.kill()
    server.wait()
    child.communicate(timeout=60)
    assert child.returncode == UNREACHABLE


def test_job_wait_show_and_cancel(server, run, words):
    push(server)
    child = begun(words)
    number = str(wait_for(lambda: jobs(run), what="the job")[0]["id"])
    waiting = subprocess.Popen([PROGRAM, "job", "wait", number, *words], env=clean_environment(),
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert "state     running\n" in run("job", "show", number).stdout
    assert run("job", "wait", "x").returncode == USAGE and run("job", "wait", "999").returncode == NOT_FOUND
    assert run("gc", "cancel").returncode == NOT_FOUND
    assert run("job", "cancel", number).returncode == 0
    assert "was cancelled" in waiting.communicate(timeout=60)[1] and waiting.returncode == FAILED
    child.communicate(timeout=60)
    assert run("job", "cancel", number).returncode == CONFLICT
    run("gc", "run")
    assert run("job", "wait", "2").returncode == 0 and run("gc", "show", "2").returncode == 0
    assert json.loads(run("job", "wait", "2", "--json").stdout)["reviewed"] == 0
    other = run("gc", "show", number)
    assert other.returncode == NOT_FOUND and "not of the kind gc" in other.stderr
    assert run("check").returncode == 0
    assert re.search(r"^so far .*\bblobs_checked=\d", run("job", "show", "3").stdout, re.M)


def test_a_signal_ends_waiting_not_the_job(server, run, words):
    push(server)
    child = begun(words)
    number = str(wait_for(lambda: jobs(run), what="the job")[0]["id"])
    waiting = subprocess.Popen([PROGRAM, "job", "wait", number, *words], env=clean_environment(),
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: heeds(waiting, signal.SIGINT), what="its beginning")
    waiting.send_signal(signal.SIGINT)
    assert f"job {number} goes on" in waiting.communicate(timeout=60)[1]
    assert jobs(run)[0]["state"] == "running"
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=60)


# --- progress ---

def read_until(master, wanted, seconds=60):
    got, end = b"", time.monotonic() + seconds
    while wanted not in got and time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            got += os.read(master, 4096)
    return got


@pytest.mark.parametrize("alone", [False, True])
def test_progress_is_for_terminals(server, words, alone):
    filled(server) if alone else push(server)
    master, slave = pty.openpty()
    child = begun(words, "--json", stderr=slave)
    os.close(slave)
    shown = read_until(master, b"blobs")
    child.send_signal(signal.SIGINT)
    shown += read_until(master, b"cancelled")
    child.communicate(timeout=60)
    assert b"\r\x1b[K" in shown and b"blobs" in shown and b"cancelled" in shown, shown
    os.close(master)


# --- the schedule ---

def test_gc_schedule_pause_and_status(server, run):
    assert "schedule             30 3 * * *\n" in run("gc", "schedule").stdout
    changed = run("gc", "schedule", "0 4 * * mon", "--time-zone", "Asia/Tokyo")
    assert changed.returncode == 0 and "0 4 * * mon" in changed.stdout and "Asia/Tokyo" in changed.stdout
    assert json.loads(run("gc", "schedule", "--json").stdout)["from_settings"] is False
    wrong = run("gc", "schedule", "every night")
    assert wrong.returncode == FAILED and "five fields" in wrong.stderr
    assert run("gc", "schedule", "0", "4", "*", "*", "*").returncode == USAGE  # it is one word
    assert run("gc", "pause").stderr == "paused\n" and "paused                yes\n" in run("gc", "status").stdout
    assert run("gc", "resume").returncode == 0 and json.loads(run("gc", "status", "--json").stdout)["paused"] is False
    assert "next run             -\n" in run("gc", "schedule", "off").stdout
    run("gc", "schedule", "0 4 * * mon", "--time-zone", "Asia/Tokyo")
    assert json.loads(run("gc", "schedule", "", "--json").stdout)["from_settings"] is True
