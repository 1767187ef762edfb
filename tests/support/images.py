"""images.py - OCI layouts on disk, written by Python: small, many-layered, huge, empty, indexes.

Touches  files below the folder given.
Never    the network, root's rights: layers are written, not unpacked.
"""
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import tarfile
import zlib

from support import content

BUSYBOX = "/bin/busybox"
PLATFORMS = (("amd64", None), ("arm64", "v8"), ("arm", "v7"), ("ppc64le", None))
MIB = 1 << 20


class Layout:
    """One OCI image layout."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "blobs/sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.entries = []

    def blob(self, data, media_type):
        value = content.digest(data)
        (self.path / "blobs/sha256" / value[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": value, "size": len(data)}

    def json(self, value, media_type):
        return self.blob(content.compact(value), media_type)

    def tag(self, name, descriptor):
        annotations = {"org.opencontainers.image.ref.name": name}
        self.entries.append({**descriptor, "annotations": annotations})
        (self.path / "index.json").write_text(json.dumps(
            {"schemaVersion": 2, "mediaType": content.INDEX, "manifests": self.entries}))
        return descriptor

    def image(self, layers, architecture="amd64", variant=None, **settings):
        """layers: (descriptor, diff id) pairs. The manifest's descriptor."""
        config = {"architecture": architecture, "os": "linux", "config": settings,
                  "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in layers]},
                  "history": [{"created_by": "test"} for _ in layers]}
        if variant:
            config["variant"] = variant
        return self.json({"schemaVersion": 2, "mediaType": content.IMAGE,
                          "config": self.json(config, content.CONFIG),
                          "layers": [layer for layer, _ in layers]}, content.IMAGE)

    def layer(self, files):
        """files: path -> bytes or a host file's path. (descriptor, diff id)."""
        data = tar(files)
        return (self.blob(gzip.compress(data, 1, mtime=0), content.LAYER_GZIP),
                content.digest(data))

    def big_layer(self, size):
        """One incompressible file of so many bytes in a gzip stream of stored blocks, hashed while
        written."""
        temporary = self.path / "incoming"
        inner, outer, packer = hashlib.sha256(), hashlib.sha256(), zlib.compressobj(0, wbits=31)
        with open(temporary, "wb") as file:
            for piece in big_tar(size):
                inner.update(piece)
                packed = packer.compress(piece)
                outer.update(packed)
                file.write(packed)
            packed = packer.flush()
            outer.update(packed)
            file.write(packed)
        temporary.rename(self.path / "blobs/sha256" / outer.hexdigest())
        written = (self.path / "blobs/sha256" / outer.hexdigest()).stat().st_size
        return ({"mediaType": content.LAYER_GZIP, "digest": f"sha256:{outer.hexdigest()}",
                 "size": written}, f"sha256:{inner.hexdigest()}")


def tar(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for path, data in files.items():
            data = data if isinstance(data, bytes) else pathlib.Path(data).read_bytes()
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def big_tar(size):
    block = os.urandom(8 * MIB)  # longer than any window of gzip: repeating it does not compress
    entry = tarfile.TarInfo("data")
    entry.size = size
    yield entry.tobuf(format=tarfile.GNU_FORMAT)
    for at in range(0, size, len(block)):
        yield block[:min(len(block), size - at)]
    yield bytes(-size % 512 + 1024)


class Shelf:
    """Layouts by name, each written once a run. Every image holds bytes of this run alone, so no
    client finds one in a cache of an earlier run."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.made = {}

    def __getattr__(self, kind):
        if kind.startswith("_"):
            raise AttributeError(kind)
        if kind not in self.made:
            layout = Layout(self.path / kind)
            globals()[f"write_{kind}"](layout)
            self.made[kind] = layout
        return self.made[kind].path

    def drop(self, kind):
        shutil.rmtree(self.made.pop(kind).path)


def unique():
    return {"etc/unique": os.urandom(32)}


def write_busybox(layout):
    layers = [layout.layer({"bin/busybox": BUSYBOX, "bin/sh": BUSYBOX}), layout.layer(unique())]
    layout.tag("latest", layout.image(layers, Cmd=["/bin/busybox", "true"]))


def write_layers60(layout):
    layers = [layout.layer({f"layer/{number}": os.urandom(2048)}) for number in range(60)]
    layout.tag("latest", layout.image(layers))


def write_giant(layout):
    layout.tag("latest", layout.image([layout.big_layer(1024 * MIB)]))


def write_large(layout):
    layout.tag("latest", layout.image([layout.big_layer(128 * MIB)]))


def write_hollow(layout):
    """A layer without any entry: 1024 zero bytes of tar."""
    layout.tag("latest", layout.image([layout.layer({}), layout.layer(unique())]))


def write_multi(layout):
    """An index of four platforms."""
    children = []
    for architecture, variant in PLATFORMS:
        child = layout.image([layout.layer({"arch": architecture.encode() + os.urandom(8)})],
                             architecture, variant)
        platform = {"architecture": architecture, "os": "linux"}
        if variant:
            platform["variant"] = variant
        children.append({**child, "platform": platform})
    layout.tag("latest", layout.json(content.index(children), content.INDEX))
