"""layering.py - layers for tests: archives, the layer_probe, OCI layouts of several layers.

Touches  folders it is given; child processes.
Never    a registry.
"""
import functools
import gzip
import hashlib
import io
import json
import os
import pathlib
import subprocess
import tarfile

import pytest

from support import overlaid, process

BASE = 100_000  # the first id of shifted layers
LEVELS = {"plain": [], "shifted": [f"base={BASE}"], "single": ["single=1"]}


def probe_path():
    return pathlib.Path(os.environ.get("SLIPWAY_BUILD", process.TOP / "build/release")) / "tests/support/layer_probe"


class Refused(Exception):
    """What the probe said."""


def probe(*words, level="plain", **more):
    """What it knows afterwards. Level "single" runs as an ordinary user who is root of his namespace."""
    command = [str(word) for word in (probe_path(), *words, *LEVELS[level])]
    need_level(level)
    if level == "single":
        command = [*AS_USER, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=more.pop("timeout", 180), check=False, **more)
    if done.returncode != 0:
        raise Refused(done.stderr.strip() or f"status {done.returncode}")
    return json.loads(done.stdout)


AS_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-r"]


@functools.cache
def why_not(level):
    """What keeps this machine from the level; None: nothing."""
    if level != "single":
        return None
    done = subprocess.run([*AS_USER, "true"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"users have no namespaces here, level (b) was not tested: {done.stderr}"


def need_level(level):
    if why_not(level):
        pytest.skip(why_not(level))


def need_one_thread():
    """Who enters a user namespace may have one thread only, and the thread sanitizer brings one of its own."""
    if any("libtsan" in path for path in process.runtime()):
        pytest.skip("under the thread sanitizer no builder is without privileges: level (b) was not tested")


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entry(name, kind=tarfile.REGTYPE, data=b"", **fields):
    """One member with its content; fields as TarInfo's."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime = kind, len(data), 900_000_000
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(entries, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def folder(name, **fields):
    return entry(name, tarfile.DIRTYPE, **fields)


def link(name, to, kind=tarfile.SYMTYPE, **fields):
    return entry(name, kind, linkname=to, **fields)


def xattr(name, value):
    return {f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")}


class Stack:
    """Layers as archives, unpacked by us for one level; an overlay over them; the layer we make of it."""

    def __init__(self, top, level, archives):
        self.top, self.level, self.archives = pathlib.Path(top), level, archives
        self.top.mkdir(parents=True)
        self.lowers = []
        for number, data in enumerate(archives):
            self.unpack(number, data)
        for name in ("upper", "work", "merged"):
            self.made(name)

    def made(self, name):
        path = self.top / name
        path.mkdir()
        os.chmod(path, 0o755)
        if self.level == "single":
            os.chown(path, 65534, 65534)
        if self.level == "shifted":
            os.chown(path, BASE, BASE)
        return path

    def unpack(self, number, data):
        blob = self.top / f"{number}.tar.gz"
        blob.write_bytes(gzip.compress(data, 1))
        lower = self.made(f"lower{number}")
        told = probe("unpack", blob, "application/vnd.oci.image.layer.v1.tar+gzip", sha256(data), lower,
                     level=self.level)
        assert told["notes"] == [], told
        self.lowers.insert(0, lower)

    def change(self, changes, **more):
        """The merged tree after it."""
        tree = overlaid.run({"level": self.level, "base": BASE, "changes": changes,
                             "lowers": [str(lower) for lower in self.lowers],
                             **{name: str(self.top / name) for name in ("upper", "work", "merged")}, **more})
        if tree is None:
            pytest.skip("no overlay can be mounted here: what it would show was not tested")
        return tree

    def make(self, *words, name="made"):
        """What the probe tells, and the layer's tar."""
        blob = self.made(name) / "blob"
        told = probe("make", self.top / "upper", blob, *(f"lower={lower}" for lower in self.lowers),
                     f"epoch={overlaid.EPOCH}", *words, level=self.level)
        data = blob.read_bytes()
        assert told["digest"] == sha256(data) and told["size"] == len(data)
        if told["media_type"].endswith("gzip"):
            tar = gzip.decompress(data)
        else:
            tar = subprocess.run(["zstd", "-dc"], input=data, capture_output=True, check=True).stdout
        assert told["diff_id"] == sha256(tar)
        return told, tar


def names(tar):
    """As they stand in the archive, folders with their slash."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as members:
        return [member.name + ("/" if member.isdir() else "") for member in members]


def layout(path, tars):
    """An OCI layout with one image, "it", of these layers."""
    path = pathlib.Path(path)
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, media_type):
        (blobs / sha256(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": sha256(data), "size": len(data)}
    layers = [put(gzip.compress(tar, 1, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip") for tar in tars]
    config = put(json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                             "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}}).encode(),
                 "application/vnd.oci.image.config.v1+json")
    manifest = put(json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                               "config": config, "layers": layers}).encode(),
                   "application/vnd.oci.image.manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "it"}
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [manifest]}))
    return path
