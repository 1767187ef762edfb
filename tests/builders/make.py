#!/usr/bin/python3
"""make.py - makes builder images, for s2i, of files of this machine's own Debian packages.

usage: make.py NAME... --registry URL [--user USER] [--password PASSWORD]    pushes builders/NAME:latest
       make.py NAME... --layout FOLDER                                      writes an OCI image layout

NAME is static, python, node or c; see RECIPES for the packages each needs. Without --password the environment's
SLIPWAY_PASSWORD counts. The same packages make the same image: names are sorted, times fixed.

Touches  files of installed packages, to read them; the registry or folder it is given.
Never    the network but that registry; packages, which others install.
"""
import argparse
import base64
import gzip
import hashlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
BUSYBOX = "/bin/busybox"
WHEN = 946684800  # the time of everything
USER = 1001
HOME = "/opt/app-root/src"
SCRIPTS = "/usr/libexec/s2i"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
INDEX = "application/vnd.oci.image.index.v1+json"

# What an image does not need of its packages; busybox takes the place of those that are essential.
LEAN = r"/usr/share/(doc|doc-base|man|info|locale|lintian|bug|applications|pixmaps|menu)/|/__pycache__/"
NEVER = {"debconf", "dpkg", "perl-base", "ca-certificates", "openssl", "media-types", "mailcap", "tzdata"}

# stands_in: a newer one takes the place of the one an application was built with. What is installed for Python or Node.js
# may work with that version alone.
RECIPES = {
    "static": {
        "about": "Static files by busybox httpd", "packages": (), "tags": "builder,static,html", "stands_in": True},
    "python": {
        "about": "Python 3 programs", "packages": ("python3",), "optional": ("python3-pip",), "tags": "builder,python",
        "lean": r"/usr/lib/python3[.0-9]*/(test|idlelib|lib2to3|turtledemo)/",
        "links": {"usr/bin/python": "python3"}},
    "node": {
        "about": "Node.js programs", "packages": ("nodejs",), "optional": ("npm",), "tags": "builder,nodejs",
        "without": {"python3"}, "lean": r"/usr/include/"},
    "c": {
        "about": "C programs by gcc and make", "packages": ("gcc", "make", "libc6-dev"), "tags": "builder,c,gcc",
        "lean": r"/lto1$|/lto-dump|/usr/lib/gcc/.*/plugin/", "links": {"usr/bin/cc": "gcc"}, "stands_in": True},
}


# --- packages ---

def installed():
    """Name -> (essential, names it depends on, alternatives as tuples); provided names as well."""
    form = "${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\t${db:Status-Status}\n"
    said = subprocess.run(["dpkg-query", "-W", "-f", form], check=True, text=True, stdout=subprocess.PIPE).stdout
    packages, provided = {}, {}
    for line in said.splitlines():
        name, essential, depends, provides, status = line.split("\t")
        if status != "installed":
            continue
        wanted = [tuple(re.split(r"[ (:]", word.strip())[0] for word in group.split("|"))
                  for group in depends.split(",") if group.strip()]
        packages[name] = (essential == "yes", wanted)
        for word in provides.split(","):
            provided.setdefault(re.split(r"[ (:]", word.strip())[0], name)
    return {**{name: packages[maker] for name, maker in provided.items() if name}, **packages}, provided


def closure(recipe):
    """The recipe's packages and what they depend on, sorted."""
    packages, provided = installed()
    waiting = [name for name in recipe["packages"] if name in packages]
    missing = [name for name in recipe["packages"] if name not in packages]
    if missing:
        sys.exit(f"make.py: these packages are missing: {' '.join(missing)}")
    waiting += [name for name in recipe.get("optional", ()) if name in packages]
    taken = set()
    while waiting:
        name = waiting.pop()
        name = name if name not in provided or name in taken else provided.get(name, name)
        essential, wanted = packages[name]
        if name in taken or essential or name in NEVER | recipe.get("without", set()):
            continue
        taken.add(name)
        waiting += [next(word for word in group if word in packages) for group in wanted
                    if any(word in packages for word in group)]
    return sorted(taken)


def package_files(recipe):
    """Path in the image -> path here. Folders that are links in a merged /usr are not named."""
    lean = re.compile("|".join(filter(None, (LEAN, recipe.get("lean")))))
    names = closure(recipe)
    if not names:
        return {}
    said = subprocess.run(["dpkg-query", "-L", *names], check=True, text=True, stdout=subprocess.PIPE).stdout
    files = {}
    for path in said.splitlines():
        if not path.startswith("/") or lean.search(path) or not os.path.lexists(path):
            continue
        if os.path.isdir(path):
            continue
        folder, name = os.path.split(path)
        files[os.path.join(os.path.realpath(folder), name).lstrip("/")] = path
    return files


# --- layers ---

class Layer:
    """A tar being collected; later names win."""

    def __init__(self):
        self.entries = {}

    def _put(self, name, data=b"", **fields):
        item = tarfile.TarInfo(name)
        item.mtime, item.size = WHEN, len(data)
        for field, value in fields.items():
            setattr(item, field, value)
        self.entries[name] = (item, data)
        parent = os.path.dirname(name)
        if parent and parent not in self.entries:
            self.folder(parent)

    def folder(self, name, mode=0o755, owner=0):
        self._put(name, type=tarfile.DIRTYPE, mode=mode, uid=owner)

    def file(self, name, data, mode=0o644):
        self._put(name, data, mode=mode)

    def link(self, name, target):
        self._put(name, type=tarfile.SYMTYPE, linkname=target, mode=0o777)

    def copy(self, name, path):
        if os.path.islink(path):
            self.link(name, os.readlink(path))
        elif os.path.isfile(path):
            self.file(name, pathlib.Path(path).read_bytes(), os.stat(path).st_mode & 0o755)

    def tar(self):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for _, (item, data) in sorted(self.entries.items()):
                archive.addfile(item, io.BytesIO(data))
        return stream.getvalue()


def base_layer():
    """The same for all builders: busybox and its names, users, folders of the application."""
    if not os.path.exists(BUSYBOX):
        sys.exit("make.py: the package busybox-static is missing")
    layer = Layer()
    for folder in ("bin", "sbin", "lib", "lib64"):
        layer.folder(f"usr/{folder}")
        layer.link(folder, f"usr/{folder}")
    for folder in ("dev", "etc", "opt/app-root", "proc", "run", "sys", "usr/libexec", "var"):
        layer.folder(folder)
    for folder in ("tmp", "var/tmp"):
        layer.folder(folder, 0o1777)
    layer.folder("root", 0o700)
    layer.folder(HOME[1:], 0o775, USER)
    layer.file("etc/passwd", f"root:x:0:0:root:/root:/bin/sh\ndefault:x:{USER}:0:application:{HOME}:/bin/sh\n".encode())
    layer.file("etc/group", b"root:x:0:\n")
    layer.file("usr/bin/busybox", pathlib.Path(BUSYBOX).read_bytes(), 0o755)
    for applet in subprocess.run([BUSYBOX, "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout.split():
        if applet != "busybox":
            layer.link(f"usr/bin/{applet}", "busybox")
    return layer


def package_layer(recipe):
    layer = Layer()
    for name, path in package_files(recipe).items():
        layer.copy(name, path)
    for name, target in recipe.get("links", {}).items():
        layer.link(name, target)
    return layer


def script_layer(name):
    layer = Layer()
    for path in sorted((HERE / name).iterdir()):
        layer.file(f"{SCRIPTS[1:]}/{path.name}", path.read_bytes(), 0o755)
    return layer


# --- the image ---

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def config_of(name, recipe, diff_ids):
    created = "2000-01-01T00:00:00Z"
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, text=True,
                                  stdout=subprocess.PIPE).stdout.strip()
    labels = {
        "io.openshift.s2i.scripts-url": f"image://{SCRIPTS}", "io.openshift.s2i.destination": "/tmp",
        "io.k8s.display-name": f"{name} builder", "io.k8s.description": recipe["about"],
        "io.openshift.tags": recipe["tags"], "io.openshift.expose-services": "8080:http"}
    if recipe.get("stands_in"):
        labels["s2i.rebasable"] = "true"
    return {
        "architecture": {"armhf": "arm", "i386": "386", "ppc64el": "ppc64le"}.get(architecture, architecture),
        "os": "linux", "created": created,
        "config": {"User": str(USER), "WorkingDir": HOME, "Cmd": [f"{SCRIPTS}/usage"], "ExposedPorts": {"8080/tcp": {}},
                   "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", f"HOME={HOME}"], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": f"tests/builders/make.py {name}"} for _ in diff_ids]}


class Image:
    """Blobs by digest, and the manifest over them."""

    def __init__(self, name):
        recipe, self.blobs, descriptors, diff_ids = RECIPES[name], {}, [], []
        for layer in (base_layer(), package_layer(recipe), script_layer(name)):
            if layer.entries:
                plain = layer.tar()
                diff_ids.append(digest(plain))
                descriptors.append(self.blob(gzip.compress(plain, 2, mtime=0), LAYER))
        config = self.blob(compact(config_of(name, recipe, diff_ids)), CONFIG)
        self.manifest = compact({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors})
        self.size = sum(len(blob) for blob in self.blobs.values())

    def blob(self, data, media_type):
        self.blobs[digest(data)] = data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


class Registry:
    def __init__(self, url, user, password):
        self.url, self.headers = url.rstrip("/"), {}
        if user:
            secret = base64.b64encode(f"{user}:{password}".encode()).decode()
            self.headers["Authorization"] = f"Basic {secret}"

    def ask(self, method, path, body=None, media_type="application/octet-stream"):
        url = path if "://" in path else self.url + path
        headers = {**self.headers, "Content-Type": media_type}
        try:
            return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))
        except urllib.error.HTTPError as failure:
            if method == "HEAD" and failure.code == 404:
                return None
            sys.exit(f"make.py: {method} {url}: {failure.code} {failure.read(300).decode(errors='replace')}")
        except urllib.error.URLError as failure:
            sys.exit(f"make.py: {method} {url}: {failure.reason}")

    def push(self, name, image):
        for value, data in image.blobs.items():
            if self.ask("HEAD", f"/v2/{name}/blobs/{value}") is None:
                place = self.ask("POST", f"/v2/{name}/blobs/uploads/", b"").headers["Location"]
                self.ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={value}", data)
        self.ask("PUT", f"/v2/{name}/manifests/latest", image.manifest, MANIFEST)


class Layout:
    def __init__(self, folder):
        self.folder, self.manifests = pathlib.Path(folder), []
        (self.folder / "blobs/sha256").mkdir(parents=True, exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def push(self, name, image):
        for value, data in {**image.blobs, digest(image.manifest): image.manifest}.items():
            (self.folder / "blobs/sha256" / value[7:]).write_bytes(data)
        self.manifests.append({"mediaType": MANIFEST, "digest": digest(image.manifest), "size": len(image.manifest),
                               "annotations": {"org.opencontainers.image.ref.name": "latest"}})
        (self.folder / "index.json").write_bytes(
            compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests}))


def main():
    parser = argparse.ArgumentParser(description="makes builder images of this machine's Debian packages")
    parser.add_argument("names", nargs="+", choices=sorted(RECIPES), metavar="NAME", help=", ".join(sorted(RECIPES)))
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--registry", metavar="URL", help="pushes there: http://127.0.0.1:5000")
    place.add_argument("--layout", metavar="FOLDER", help="writes an OCI image layout, of one image")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default=os.environ.get("SLIPWAY_PASSWORD", ""))
    options = parser.parse_args()
    if options.layout and len(options.names) > 1:
        parser.error("a layout is for one image")
    target = Layout(options.layout) if options.layout else Registry(options.registry, options.user, options.password)
    for name in options.names:
        image = Image(name)
        target.push(f"builders/{name}", image)
        print(f"builders/{name}:latest {digest(image.manifest)} {image.size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
