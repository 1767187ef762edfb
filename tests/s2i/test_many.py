"""test_many.py - many pushes at once: fair, none lost, each log whole, memory flat. Acceptance 20.11."""
import threading

from support import building, process

PUSHES = 40


def push_all(server, sources, prefix):
    results = {}

    def push(number):
        results[number] = sources[number].push(server, f"{prefix}{number}", "-o", "builder=builders/test", check=False, timeout=300)
    threads = [threading.Thread(target=push, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_many_pushes_at_once(make_server, source):
    """s2i 13.42, 13.45."""
    server = make_server({"builds.concurrency": "4", "log.access": "false"})
    building.builder(server)
    sources = [source({"index.html": f"{number}\n"}) for number in range(PUSHES)]
    push_all(server, sources[:4], "warm/app")
    before = server.memory()
    results = push_all(server, sources, "many/app")
    failed = [result.stderr for result in results.values() if result.returncode != 0]
    assert not failed, failed[0]
    for number, result in results.items():
        assert result.stderr.count("---> assembling") == 1 and f"many/app{number}" in result.stderr
        entries = building.layer_entries(server, f"many/app{number}")
        assert entries["opt/app-root/src/index.html"][1] == f"{number}\n".encode()
    if not process.sanitized():
        process.wait_for(lambda: server.memory() < before + (24 << 20), 20, f"memory near {before} bytes again")


def test_one_repository_builds_in_order(make_server, source, name):
    """s2i 13.42: Serial is the default; a repository with many builds, that wait, does not hold up another one."""
    server = make_server({"builds.concurrency": "2"})
    building.builder(server)
    gate = building.Gate()
    app = source({"index.html": "0\n", ".s2i/bin/assemble": f"#!/bin/sh\n{gate.wait}\ncp -R /tmp/src/. /opt/app-root/src/\n"})
    for number in range(6):
        building.git(app.folder, "branch", f"b{number}")
        app.commit({"index.html": f"{number}\n"})
        building.git(app.folder, "branch", "-f", f"b{number}")
    refs = [f"b{number}" for number in range(6)]
    results = {}

    def push(ref):
        results[ref] = app.push(server, name, "-o", "builder=builders/test", "-o", f"tag={ref}", ref=ref, check=False)
    threads = [threading.Thread(target=push, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    gate.reached()
    other = source({"index.html": "other\n"})
    other.push(server, f"{name}-other", "-o", "builder=builders/test")  # while none of them can end
    for left in range(len(refs), 0, -1):
        assert sum(thread.is_alive() for thread in threads) >= left
        assert len(gate.reached()) == 1, "one at a time"
        gate.open()
    for thread in threads:
        thread.join()
    failed = [result.stderr for result in results.values() if result.returncode != 0]
    assert not failed, failed
    for number, ref in enumerate(refs):
        assert building.layer_entries(server, name, ref)["opt/app-root/src/index.html"][1] == f"{number}\n".encode()
