"""building.py - what tests of builds share: builder images, sources, pushes, and looks at what was built.

Touches  a registry under test, folders it is given; runs git, skopeo and umoci.
Never    another registry.
"""
import gzip
import io
import itertools
import os
import pathlib
import signal
import subprocess
import tarfile
import time

from support import content, process, wire

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "cat", "cp", "mv", "rm", "mkdir", "ls", "ln", "chmod", "chown", "sleep", "touch", "env", "id", "sed",
           "grep", "find", "tar", "head", "dd", "true", "false", "echo", "printf", "mount", "mkfifo", "date", "wc",
           "hostname", "ps", "kill", "seq", "test", "httpd", "stat", "pwd", "sort", "tr", "yes", "wget", "nc")
SCRIPTS = "/usr/libexec/s2i"
ASSEMBLE = """#!/bin/sh
set -e
echo "---> assembling"
cp -R /tmp/src/. /opt/app-root/src/
echo "done" > /opt/app-root/src/assembled
"""
RUN = """#!/bin/sh
exec httpd -f -p "${LISTEN:-127.0.0.1:8080}" -h /opt/app-root/src
"""
WHEN = 1700000000  # the time of everything that has one


def entry(name, kind=tarfile.REGTYPE, mode=0o644, link="", owner=0):
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname, made.mtime, made.uid, made.gid = kind, mode, link, WHEN, owner, 0
    return made


def base_tar(scripts, files, app_owner=1001):
    """A root of busybox: applets as links, passwd, /tmp, the application's folder, scripts, further files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        def add(name, data, mode=0o644):
            data = data.encode() if isinstance(data, str) else data
            item = entry(name, mode=mode)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
        for folder in ("bin", "etc", "usr", "usr/libexec", "usr/libexec/s2i", "opt", "opt/app-root", "home", "var"):
            archive.addfile(entry(folder, tarfile.DIRTYPE, 0o755))
        archive.addfile(entry("tmp", tarfile.DIRTYPE, 0o1777))
        archive.addfile(entry("opt/app-root/src", tarfile.DIRTYPE, 0o775, owner=app_owner))
        add("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1001:0:app:/opt/app-root/src:/bin/sh\n")
        add("etc/group", "root:x:0:\napp:x:1001:\nextra:x:2000:app\n")
        add("bin/busybox", pathlib.Path(BUSYBOX).read_bytes(), 0o755)
        for applet in APPLETS:
            archive.addfile(entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777, "busybox"))
        for name, text in scripts.items():
            add(f"usr/libexec/s2i/{name}", text, 0o755)
        for name, data in files.items():
            add(name, data)
    return stream.getvalue()


def push_image(server, repository, tag, layers, config):
    """layers: plain tars. The manifest's digest."""
    client = wire.Client(server.target)
    descriptors, diff_ids = [], []
    for plain in layers:
        packed = gzip.compress(plain, 6, mtime=0)
        diff_ids.append(content.digest(plain))
        descriptors.append(put_blob(client, repository, packed, content.LAYER_GZIP))
    document = {"architecture": "amd64", "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created_by": "tests"} for _ in layers]}
    manifest = {"schemaVersion": 2, "mediaType": content.IMAGE,
                "config": put_blob(client, repository, content.compact(document), content.CONFIG),
                "layers": descriptors}
    body = content.compact(manifest)
    answer = client.put(f"/v2/{repository}/manifests/{tag}", body=body,
                        headers=[("Content-Type", content.IMAGE)])
    assert answer.status == 201, answer
    client.close()
    return content.digest(body)


def put_blob(client, repository, data, media_type):
    digest = content.digest(data)
    answer = client.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", body=data,
                         headers=[("Content-Type", "application/octet-stream")])
    assert answer.status == 201, answer
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def builder(server, name="builders/test", tag="latest", assemble=ASSEMBLE, run=RUN, scripts=None, labels=None, files=None,
            config=None):
    """Pushes a builder image made of busybox. scripts: beside or instead of assemble and run (None: absent)."""
    scripts = {"assemble": assemble, "run": run, **(scripts or {})}
    scripts = {name: text for name, text in scripts.items() if text is not None}
    given = {"io.openshift.s2i.scripts-url": f"image://{SCRIPTS}", "io.k8s.display-name": "test builder",
             **(labels or {})}
    settings = {"User": "1001", "Env": ["PATH=/bin:/usr/bin", "FROM_BUILDER=yes"], "WorkingDir": "/opt/app-root/src",
                "Labels": {name: value for name, value in given.items() if value is not None}, **(config or {})}
    return push_image(server, name, tag, [base_tar(scripts, files or {})], settings)


# --- scripts that wait ---

class Gate:
    """A place in a script that waits until the test opens it, however long each of the two takes.

    `wait` is the command; open() ends its process, seen from outside of the container."""

    numbers = itertools.count(1)

    def __init__(self):
        self.seconds = f"{100000 + os.getpid() % 100000}.{time.time_ns() % 10**9:09}{next(self.numbers)}"
        self.wait = f"sleep {self.seconds}"

    def waiting(self):
        """Process ids."""
        found, words = [], b"sleep\0" + self.seconds.encode() + b"\0"
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() == words:
                    found.append(int(pid))
            except OSError:
                pass  # it ended meanwhile
        return found

    def reached(self):
        return process.wait_for(self.waiting, 30, "the script comes to its gate")

    def open(self):
        waiting = self.reached()
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
        process.wait_for(lambda: not set(waiting) & set(self.waiting()), 20, "the gate is left")


# --- sources ---

def environment(**more):
    """For git: nothing of this machine's, and the same author and time for every commit."""
    when = f"{WHEN} +0000"
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8", "GIT_AUTHOR_NAME": "Ana Example",
            "GIT_AUTHOR_EMAIL": "ana@example.org", "GIT_COMMITTER_NAME": "Ana Example",
            "GIT_COMMITTER_EMAIL": "ana@example.org", "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when, **more}


def git(folder, *words, check=True, timeout=300, **more):
    done = subprocess.run(["git", *words], cwd=folder, env=environment(**more), timeout=timeout, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert not check or done.returncode == 0, f"git {' '.join(words)}: {done.stderr}"
    return done


class Source:
    """A git repository with one branch, main."""

    def __init__(self, folder, files=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        git(self.folder, "init", "-q", "-b", "main")
        if files is not None:
            self.commit(files)

    def commit(self, files, message="a change"):
        """files: name -> text, bytes, or None to remove. The commit's id."""
        for name, data in files.items():
            path = self.folder / name
            if data is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode() if isinstance(data, str) else data)
            if name.startswith(".s2i/bin/"):
                path.chmod(0o755)
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", message)
        return self.head()

    def head(self):
        return git(self.folder, "rev-parse", "HEAD").stdout.strip()

    def push(self, server, repository, *words, ref="main", check=True, user=None, **more):
        """git push. Words that begin with - come before the remote."""
        at = f"{user[0]}:{user[1]}@" if user else ""
        return git(self.folder, "push", *words, f"http://{at}127.0.0.1:{server.port}/git/{repository}.git", ref,
                   check=check, **more)


# --- results ---

def manifest(server, repository, reference="latest"):
    """(digest, manifest, config) of an image."""
    client = wire.Client(server.target)
    answer = client.get(f"/v2/{repository}/manifests/{reference}",
                        headers=[("Accept", f"{content.IMAGE}, {content.INDEX}")])
    assert answer.status == 200, answer
    document = answer.json()
    config = client.get(f"/v2/{repository}/blobs/{document['config']['digest']}").json()
    client.close()
    return answer["docker-content-digest"], document, config


def layer_entries(server, repository, reference="latest", layer=-1):
    """name -> (TarInfo, bytes) of a layer of the image."""
    _, document, _ = manifest(server, repository, reference)
    client = wire.Client(server.target)
    packed = client.get(f"/v2/{repository}/blobs/{document['layers'][layer]['digest']}").body
    client.close()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as archive:
        for item in archive:
            assert item.name not in found, f"{item.name} stands twice in the layer"
            found[item.name] = (item, archive.extractfile(item).read() if item.isreg() else b"")
    return found
