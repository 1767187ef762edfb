"""test_builds.py - the power fails while archives are sent and built: what was told of a build holds, and it goes on or is over.

Touches  one server at a time with a builder, scratch folders with images of disks.
Never    a git push: its objects are written by git itself, which the trace does not see.

(1), (3) of s2i/s2i.h: who was told that a build waits finds it and its source again; who was told that it is complete finds
its image, all of its tags and every byte. Acceptance 20.10. Kills at each effect: tests/s2i/test_steps.py
"""
import hashlib
import io
import json
import pathlib
import random
import shutil
import tarfile
import tempfile

import pytest

from crash import control, checks, rig, trace
from support import building, process

CUTS, BUILDS = (8, 3) if process.sanitized() else (10, 4)
SETTINGS = {"builds.enabled": "true", "builds.concurrency": "1"}
QUERY = "options=%7B%22builder%22:%22builders/test%22,%22tags%22:%5B%22a%22,%22b%22%5D%7D"
TAGS = {"a", "b"}
ENDED = ("Complete", "Failed", "Error", "Cancelled")


def archive(text):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as out:
        item = building.entry("index.html")
        item.size = len(text)
        out.addfile(item, io.BytesIO(text))
    return stream.getvalue()


class Told:
    """One build: its repository, and what its asker was told at which effect."""

    def __init__(self, number):
        self.repository, self.text = f"team/app{number}", b"page %d\n" % number
        self.issued = self.waits = self.ends = None  # sequence numbers
        self.id = self.digest = None


class Recording:
    def __init__(self, folder, seed):
        self.folder, self.die = folder, random.Random(seed)
        folder.mkdir()
        self.control = control.Control(folder / "control")
        self.control.boot(rig.BOOTS.format(1))
        self.builders = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))  # not of the disk that fails
        self.builders.chmod(0o755)
        self.server = self.at(folder / "one", folder / "trace")
        self.server.start()
        connected(self.server)
        building.builder(self.server)
        self.builds = [Told(number) for number in range(BUILDS)]
        self.work()
        assert self.server.stop() == 0
        self.records = trace.read(folder / "trace")

    def at(self, folder, trace_file=None):
        return rig.Server(folder, self.control, {**SETTINGS, "builds.folder": str(self.builders / "builder")}, trace_file)

    def work(self):
        """All are sent, one is built at a time: the others wait."""
        client = self.server.client()
        for build in self.builds:
            build.issued = self.control.sequence
            answer = client.post(f"/api/v1/repos/{build.repository}/-/builds?{QUERY}", archive(build.text),
                                 headers=[("Content-Type", "application/x-tar")])
            assert answer.status == 201, answer
            build.waits, build.id = self.control.sequence, answer.json()["id"]
        for build in self.builds:
            record = process.wait_for(lambda: ended(client, build.id), 120, f"the end of {build.id}", 0.01)
            build.ends, build.digest = self.control.sequence, record["result_digest"]
            assert record["state"] == "Complete", record
        client.close()

    def cuts(self, count):
        chosen = [at for build in self.builds for at in (build.waits, build.ends)]
        first, last = self.builds[0].issued, self.records[-1].sequence
        chosen = self.die.sample(chosen, min(len(chosen), count // 2))
        return sorted(chosen + [self.die.randint(first, last) for _ in range(count - len(chosen))])

    def close(self):
        self.server.check_log()
        misuse = self.control.misuse
        self.control.close()
        shutil.rmtree(self.builders, ignore_errors=True)
        assert misuse == 0, "bytes reached a file in a way the harness cannot see"


def connected(server, before=0):
    process.wait_for(lambda: b"builder.connected" in server.log.read_bytes()[before:], 60, "a builder")


def ended(client, build):
    answer = client.get(f"/api/v1/builds/{build}")
    if answer.status == 404:
        return {"state": "gone"}
    record = answer.json()
    return record if record["state"] in ENDED else None


def image(client, build):
    """tag -> digest; wrong when a byte of one is missing or the page is another."""
    answer = client.get(f"/v2/{build.repository}/tags/list")
    found, wrong = {}, []
    for tag in (answer.json()["tags"] or []) if answer.status == 200 else []:
        answer = client.get(f"/v2/{build.repository}/manifests/{tag}", headers=[("Accept", "*/*")])
        if answer.status != 200:
            wrong.append(f"{build.repository}:{tag}: {answer!r}")
            continue
        found[tag] = answer["docker-content-digest"]
        document = json.loads(answer.body)
        for blob in [document["config"], *document["layers"]]:
            data = client.get(f"/v2/{build.repository}/blobs/{blob['digest']}").body
            if f"sha256:{hashlib.sha256(data).hexdigest()}" != blob["digest"]:
                wrong.append(f"{build.repository}:{tag}: {blob['digest']} has {len(data)} other bytes")
    return found, wrong


def judge(client, build, cut):
    """What is wrong with it on the disk of this cut."""
    record = process.wait_for(lambda: ended(client, build.id), 120, f"the end of {build.id}", 0.02)
    tags, wrong = image(client, build)
    if cut >= build.waits and record["state"] == "gone":
        wrong.append(f"{build.repository}: told at {build.waits} that it waits, and it is gone")
    if cut >= build.ends and record["state"] != "Complete":
        wrong.append(f"{build.repository}: told at {build.ends} that it is complete, and it is {record['state']}")
    if len(set(tags.values())) > 1 or set(tags) not in (set(), TAGS):
        wrong.append(f"{build.repository}: tags {tags}")
    if record["state"] == "Complete" and set(tags.values()) != {record["result_digest"]}:
        wrong.append(f"{build.repository}: complete as {record['result_digest']}, tags {tags}")
    if record["state"] == "Complete" and record["result_digest"] != build.digest:
        wrong.append(f"{build.repository}: the same source became {record['result_digest']}, it was {build.digest}")
    if record["state"] in ("Failed", "Cancelled") or (record["state"] == "Error" and record["reason"] != "ServerRestarted"):
        wrong.append(f"{build.repository}: {record}")
    return wrong


def check(recording, cut, number):
    server = recording.at(recording.folder / f"image{number}")
    shutil.rmtree(server.watched)
    disk = trace.Disk()
    for record in recording.records:
        if record.sequence <= cut:
            disk.feed(record)
    told = any(cut in (build.waits, build.ends) for build in recording.builds)
    fate = trace.Lost() if told else trace.fates(recording.die)  # right after a word nothing else can help
    disk.build(server.watched, fate)
    recording.control.boot(rig.BOOTS.format(1000 + number))
    server.start()
    connected(server)
    client = server.client()
    wrong = [text for build in recording.builds if build.issued < cut for text in judge(client, build, cut)]
    client.close()
    assert server.stop() == 0
    found, _ = checks.Offline().check(server.root)
    states = [build.ends <= cut for build in recording.builds]
    assert not wrong and not found, f"cut at {cut}, unsynced: {type(fate).__name__}, {states}:\n" + "\n".join(wrong + found) + server.tail()
    shutil.rmtree(server.folder)


@pytest.mark.spec("CONC-02", "MPUT-23")
def test_what_was_told_of_builds_survives_power_cuts(scratch, seed, say, request):
    total = request.config.getoption("--cuts") or CUTS
    recording = Recording(scratch / "recording", seed)
    try:
        for number, cut in enumerate(recording.cuts(total)):
            check(recording, cut, number)
    finally:
        recording.close()
    say(f"{total} power cuts of {BUILDS} builds, {len(recording.records)} effects")
