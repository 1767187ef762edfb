"""test_images.py - what was built is an image for everybody: unpacked by umoci, pulled by podman and docker, and run.

Acceptance: the layer equals the tree the build saw; the docker engine starts the image and its process answers.
"""
import urllib.request

import pytest

from support import building, engines, process

FILES = {"index.html": "hello from a build\n", "sub/page.html": "page\n"}
TREE = building.ASSEMBLE + """
cd /opt/app-root/src
find / -xdev \\( -path /proc -o -path /dev -o -path /sys \\) -prune -o -print0 2>/dev/null | sort -z | tr '\\0' '\\n' > /tmp/list
ln assembled hard; ln -s assembled soft; mkfifo pipe; chmod 4711 assembled
rm -r /home; mkdir /home; echo new > /home/file; """


@pytest.fixture(scope="module")
def built(server, folder):
    """The repository of an image that was built."""
    building.builder(server, "builders/tree", assemble=TREE, files={"home/old": "old"},
                     labels={"io.openshift.s2i.assemble-user": "0"})
    app = building.Source(folder / "images-source", FILES)
    app.push(server, "team/images", "-o", "builder=builders/tree")
    return "team/images"


@pytest.fixture(scope="module")
def unpacked(server, built, folder):
    """The merged tree, by skopeo and umoci."""
    layout, bundle = folder / "images-layout", folder / "images-bundle"
    engines.run(engines.need("skopeo"), "copy", "-q", "--src-tls-verify=false",
                f"docker://127.0.0.1:{server.port}/{built}:latest", f"oci:{layout}:it")
    engines.run(engines.need("umoci"), "unpack", "--image", f"{layout}:it", bundle)
    return bundle / "rootfs"


def test_umoci_sees_what_the_build_saw(unpacked):
    """s2i 17, 18, 20.6."""
    place = unpacked / "opt/app-root/src"
    assert (place / "index.html").read_text() == FILES["index.html"]
    assert (place / "hard").stat().st_ino == (place / "assembled").stat().st_ino
    assert (place / "soft").is_symlink() and (place / "pipe").is_fifo()
    assert (place / "assembled").stat().st_mode & 0o7777 == 0o4711
    assert not (unpacked / "home/old").exists() and (unpacked / "home/file").read_text() == "new\n"
    listed = (unpacked / "tmp/list").read_text().splitlines()
    missing = [path for path in listed if not (unpacked / path.lstrip("/")).is_symlink()
               and not (unpacked / path.lstrip("/")).exists() and not path.startswith(("/home/", "/dev", "/proc", "/sys"))]
    assert not missing, missing[:10]


def test_nothing_of_ours_is_left_in_the_layer(server, built):
    """s2i 17.12, 6.8, A6: no mount points, no files we made."""
    names = set(building.layer_entries(server, built))
    assert not {name for name in names if name.split("/")[0] in ("dev", "proc", "sys", "run")}
    assert not names & {"etc/hosts", "etc/resolv.conf", "etc/hostname"}


def test_podman_runs_it(server, built, folder):
    store = ["--root", folder / "p", "--runroot", folder / "r", "--storage-driver", "vfs"]
    said = engines.run(engines.need("podman"), *store, "--cgroup-manager=cgroupfs", "--runtime=runc", "run", "--rm",
                       "--tls-verify=false", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
                       "--entrypoint", "/bin/cat", f"127.0.0.1:{server.port}/{built}:latest",
                       "/opt/app-root/src/index.html")
    assert said == FILES["index.html"]


@pytest.fixture(scope="module")
def docker(folder):
    engine = engines.Docker(folder / "d")
    engine.start()
    yield engine
    engine.stop()


def test_the_docker_engine_starts_it_and_it_answers(server, built, docker):
    """The image's own run script, with the image's own user."""
    place = process.reserved()
    port = place.getsockname()[1]
    image = f"127.0.0.1:{server.port}/{built}:latest"
    container = docker("run", "-d", "--network", "host", "-e", f"LISTEN=127.0.0.1:{port}", image).strip()

    def answer():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.html", timeout=5) as reply:
                return reply.read().decode()
        except OSError:
            return None
    assert process.wait_for(answer, 20, "the image answers", 0.1) == FILES["index.html"]
    docker("rm", "-f", container)
    place.close()
