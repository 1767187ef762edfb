"""test_transfer.py - import of folders and export, against Debian's docker-registry, filled by real pushes.

Touches  temporary folders; docker-registry and slipway, ended by pid.
Never    the network beyond loopback.
"""
import json
import os
import shutil
import time

import pytest

from support import content, images
from support.moving import New, held, skopeo

V2 = "docker/registry/v2"


def copy_of(old, folder):
    shutil.copytree(old.root, folder / "source")
    return folder / "source"


def blob_file(root, digest):
    return root / V2 / "blobs/sha256" / digest[7:9] / digest[7:] / "data"


def tree(root):
    """What a folder holds and when it was written, by name."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino)
            for path in sorted(root.rglob("*")) if path.is_file()}


def places(done):
    return {(problem["repository"], problem["place"]) for problem in done["problems"]}


def layers_of(old, name, tag):
    tags, found = old.held
    return [layer["digest"] for layer in json.loads(found[name, tags[name][tag]])["layers"]]


@pytest.mark.parametrize("mode", ["auto", "link", "copy"])
def test_every_image_pulls_byte_for_byte(old, new, tmp_path, mode):
    source = copy_of(old, tmp_path)
    before = tree(source)
    done = new.imported(source, *([] if mode == "auto" else [f"--{mode}"]))
    assert done["problems"] == []
    assert done["repositories"] == 3
    assert done["bytes"] == sum(file.stat().st_size for file in (new.root / "blobs").glob("*/*"))
    assert new.held() == old.held
    assert tree(source) == before
    shared = {path.stat().st_nlink for path in source.rglob("data")}
    assert shared == ({1, 2} if "blobs_linked" in done else {1})
    assert mode == "auto" or done[{"link": "blobs_linked", "copy": "blobs_copied"}[mode]] > 0
    new.check_locators()


def test_a_clone_is_made_or_refused(old, new):
    """Where the file system knows no clones, that is said of each blob, and nothing is half there."""
    done = new.imported(old.root, "--reflink", status=None)
    if "blobs_cloned" in done:
        assert done["problems"] == [] and new.held() == old.held
    else:
        assert any("cannot be cloned" in problem["problem"] for problem in done["problems"])
        assert new.files() == set() or not new.rows("SELECT 1 FROM blobs")
    new.check_locators()


def test_a_second_import_changes_nothing(old, new):
    new.imported(old.root)
    before = new.content()
    done = new.imported(old.root)
    assert new.content() == before
    assert not {"manifests", "tags", "blobs_copied", "blobs_cloned", "blobs_linked", "bytes"} & set(done)
    assert done["tags_present"] == sum(map(len, old.held[0].values()))


def test_a_dry_run_counts_and_changes_nothing(old, new):
    before, files = new.content(), new.files()
    tried = new.imported(old.root, "--dry-run")
    assert new.content() == before and new.files() == files
    done = new.imported(old.root)
    assert {name: tried[name] for name in ("repositories", "manifests", "tags", "problem_count")} == {
        name: done[name] for name in ("repositories", "manifests", "tags", "problem_count")}
    new_blobs = sum(done.get(f"blobs_{how}", 0) for how in ("copied", "cloned", "linked"))
    assert tried["blobs_to_bring"] >= new_blobs > 0  # it does not count what two repositories share once


def test_old_digests_become_history(old, new):
    new.imported(old.root)
    folder = old.root / V2 / "repositories/app/_manifests/tags/moved"
    first, last = old.held[0]["app"]["1"], old.held[0]["app"]["moved"]
    written = [int((folder / f"index/sha256/{first[7:]}/link").stat().st_mtime * 1e6),
               int((folder / "current/link").stat().st_mtime * 1e6)]
    rows = new.rows("SELECT h.old_digest, h.new_digest, h.at, h.cause, h.actor FROM tag_history h"
                    " JOIN repositories r ON r.id = h.repo_id WHERE r.name = 'app' AND h.name = 'moved' ORDER BY h.id")
    keys = [None, *(b"\x01" + bytes.fromhex(digest[7:]) for digest in (first, last))]
    assert [row[:2] for row in rows] == [(keys[0], keys[1]), (keys[1], keys[2])]
    assert all(abs(row[2] - at) < 10 for row, at in zip(rows, written))
    assert [row[3:] for row in rows] == [(6, "local")] * 2
    (pushed,), = new.rows("SELECT m.created_at FROM manifests m JOIN repositories r ON r.id = m.repo_id"
                          " WHERE r.name = 'app' AND m.digest = ?", keys[1])
    link = old.root / V2 / f"repositories/app/_manifests/revisions/sha256/{first[7:]}/link"
    assert abs(pushed - link.stat().st_mtime * 1e6) < 10


def test_killed_imports_go_on(old, tmp_path):
    """Killed later and later; one that came to its end before is followed by one into a new root."""
    new, killed, moment = New(tmp_path / "0"), 0, 0.02
    for number in range(1, 100):
        child = new.start("import", "distribution", old.root, "--link" if number % 2 else "--copy")
        time.sleep(moment)
        child.kill()
        ended = child.wait() == 0
        new.check_locators()
        killed += not ended
        if killed == 10:
            break
        new, moment = (New(tmp_path / str(number)), 0.02) if ended else (new, moment * 1.5)
    assert killed == 10
    assert new.imported(old.root)["problems"] == []
    assert new.held() == old.held
    new.check_locators()


def test_damaged_and_missing_blobs_are_told_and_left_out(old, new, tmp_path):
    source = copy_of(old, tmp_path)
    damaged, missing = layers_of(old, "app", "1")[-1], layers_of(old, "team/deep/er/image", "v1")[30]
    data = bytearray(blob_file(source, damaged).read_bytes())
    data[len(data) // 2] ^= 1
    blob_file(source, damaged).write_bytes(data)
    blob_file(source, missing).unlink()
    done = new.imported(source, status=1)
    app, image = old.held[0]["app"], old.held[0]["team/deep/er/image"]["v1"]
    assert places(done) >= {("app", damaged), ("app", app["1"]), ("app", "1"),
                            ("team/deep/er/image", missing), ("team/deep/er/image", image)}
    tags, _ = new.held()
    assert "team/deep/er/image" not in tags and "1" not in tags["app"]
    assert tags["app"]["2"] == app["2"] and tags["team/deep"] == old.held[0]["team/deep"]
    assert new.rows("SELECT count(*) FROM uploads") == [(0,)]
    assert blob_file(source, damaged).read_bytes() == data
    tried = new.imported(source, "--dry-run", status=1)
    assert ("team/deep/er/image", image) in places(tried)
    assert new.imported(old.root)["problems"] == []
    assert new.held() == old.held


@pytest.mark.parametrize("trusting", [[], ["--no-verify"]])
def test_a_changed_manifest_is_refused(old, new, tmp_path, trusting):
    """Manifests are read anyway, so they are always hashed."""
    source = copy_of(old, tmp_path)
    value = old.held[0]["app"]["docker"]
    with open(blob_file(source, value), "ab") as file:
        file.write(b" ")
    done = new.imported(source, "--repo", "app", *trusting, status=1)
    assert places(done) == {("app", value), ("app", "docker")}
    assert not new.rows("SELECT 1 FROM manifests WHERE digest = ?", b"\x01" + bytes.fromhex(value[7:]))


def test_what_is_no_image_is_told_and_passed_over(old, new, tmp_path):
    source = copy_of(old, tmp_path)
    schema1 = content.compact({"schemaVersion": 1, "name": "app", "tag": "one", "fsLayers": []})
    value = content.digest(schema1)
    file = blob_file(source, value)
    link = source / V2 / f"repositories/app/_manifests/revisions/sha256/{value[7:]}/link"
    broken = source / V2 / "repositories/app/_manifests/tags/broken/current/link"
    upper = source / V2 / "repositories/Upper/_manifests/revisions"
    for path, data in ((file, schema1), (link, value.encode()), (broken, b"sha256:../../../etc/passwd")):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    upper.mkdir(parents=True)
    done = new.imported(source, status=1)
    assert done["problem_count"] == 3
    assert {("app", value), ("Upper", "")} < places(done)
    assert new.held() == old.held


def test_what_was_changed_here_since_is_left_alone(old, new):
    new.imported(old.root)
    with new.serve() as client:
        pushed = content.push_image(client, "app", "1")[0]
        assert client.delete("/v2/app/manifests/2").status == 202
        done = new.imported(old.root, "--repo", "app", status=1)  # as a job of the server
        assert places(done) == {("app", "1"), ("app", "2")}
        tags = held(client)[0]["app"]
        assert tags["1"] == pushed and "2" not in tags
        assert new.imported(old.root, "--repo", "app", "--overwrite")["tags"] == 2
        assert held(client) == old.held


def test_an_import_needs_a_folder_of_a_registry(new, tmp_path):
    assert "docker/registry/v2" in new.run("import", "distribution", tmp_path, status=1).stderr
    assert new.run("import", "oci-layout", tmp_path, "app", status=1).stderr
    assert new.run("import", "distribution", tmp_path, "--link", "--copy", status=2).stderr
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("")
    assert "no image layout" in new.run("export", "oci-layout", tmp_path / "full", "app:1", status=1).stderr
    assert os.listdir(tmp_path / "full") == ["file"]


# --- layouts ---

def test_a_layout_comes_in_and_goes_out_unchanged(new, tmp_path, old):
    shelf = images.Shelf(tmp_path / "shelf")
    assert new.job("import", "oci-layout", shelf.multi, "team/multi")["tags"] == 1
    assert new.job("import", "oci-layout", shelf.busybox, "app:named", "--copy")["manifests"] == 1
    new.imported(old.root, "--repo", "app")
    out = tmp_path / "out"
    done = new.job("export", "oci-layout", out, "team/multi", "app:named", f"app@{old.subject}", "--referrers")
    assert done["problems"] == []
    listed = json.loads((out / "index.json").read_text())["manifests"]
    names = {entry.get("annotations", {}).get("org.opencontainers.image.ref.name") for entry in listed}
    assert names == {"team/multi:latest", "app:named", None}
    assert {entry["digest"] for entry in listed} >= {old.subject, old.referrer}
    for path in (out / "blobs/sha256").iterdir():
        assert content.digest(path.read_bytes()) == f"sha256:{path.name}"
    for name, layout in (("team/multi:latest", shelf.multi), ("app:named", shelf.busybox)):
        assert skopeo("inspect", "--raw", f"oci:{out}:{name}") == skopeo("inspect", "--raw", f"oci:{layout}:latest")
    skopeo("copy", "--all", f"oci:{out}:team/multi:latest", f"oci:{tmp_path}/again:latest")
    other = New(tmp_path / "other")
    assert other.job("import", "oci-layout", out, "all")["problems"] == []
    tags, found = other.held()
    assert tags["all"] == {"latest": index_digest(shelf.multi), "named": index_digest(shelf.busybox)}
    assert ("all", index_digest(shelf.multi)) in found


def index_digest(layout):
    return json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]


@pytest.mark.parametrize("mode", ["auto", "copy", "link"])
def test_an_export_goes_on_where_it_was(new, tmp_path, mode):
    """What is whole is not written again; what is not, is."""
    shelf = images.Shelf(tmp_path / "shelf")
    new.job("import", "oci-layout", shelf.multi, "app")
    out, words = tmp_path / "out", [] if mode == "auto" else [f"--{mode}"]
    first = new.job("export", "oci-layout", out, "app", *words)
    assert first["problems"] == []
    files = sorted((out / "blobs/sha256").iterdir())
    assert [path.name for path in files] == sorted(path.name for path in (shelf.multi / "blobs/sha256").iterdir())
    inodes = {path: path.stat().st_ino for path in files}
    torn = next(path for path in files if path.stat().st_size > 100 and b"schemaVersion" not in path.read_bytes())
    data = torn.read_bytes()
    torn.unlink()
    torn.write_bytes(data[:50])
    (torn.parent / f"{torn.name}.part").write_bytes(b"what a cut left")
    again = new.job("export", "oci-layout", out, "app:latest", *words)
    assert again["problems"] == [] and again["blobs_present"] == sum(
        first.get(f"blobs_{how}", 0) for how in ("copied", "cloned", "linked")) - 1
    assert torn.read_bytes() == data and sorted((out / "blobs/sha256").iterdir()) == files
    assert {path for path in files if path.stat().st_ino != inodes[path]} <= {torn}
    assert len(json.loads((out / "index.json").read_text())["manifests"]) == 1
