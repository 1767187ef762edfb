"""test_builder_modes.py - what a builder does beside the plain build: plans, usage, networks, artifacts of the last
build, runtime images, slices, hooks.

Touches  a builder of the module's own, sockets on loopback.
Never    a registry.
"""
import json
import pathlib
import shutil
import tarfile
import tempfile

import pytest

from support import building, listener, workshop
from support.workshop import APP, IMAGE, ask_proxy, assemble, connect, done, failed


# --- looks only ---

def test_a_plan_runs_nothing(shop):
    """s2i 15.9."""
    outcome = done(shop.build(IMAGE, {**APP, ".s2iignore": "*.html\n", ".s2i/bin/run": "#!/bin/sh\n",
                                      ".s2i/environment": "A=b\n"}, mode="plan"))
    assert outcome.out == b"" and not outcome.blobs and [s["name"] for s in outcome.stages if "ms" in s] == ["PullImages"]
    result = outcome.result
    assert result["files_in"] == 3 and result["files_ignored"] == 1 and result["env"] == ["A=b"]
    found = {script["name"]: script.get("from") for script in result["scripts"]}
    assert found == {"assemble": "image:///usr/libexec/s2i", "run": "source", "save-artifacts": None, "usage": None}


def test_usage(shop):
    """s2i 10.4."""
    image = workshop.builder_image(scripts={"usage": "#!/bin/sh\necho how to; echo aside >&2\n"})
    outcome = done(shop.build(image, None, mode="usage"))
    assert outcome.result["output"] == "how to\n" and outcome.errors == b"aside\n"
    failed(shop.build(IMAGE, None, mode="usage"), "InstallScriptsFailed")


# --- artifacts of the last build (8) ---

SAVE = "#!/bin/sh\necho saving >&2\ncd /opt/app-root/src; tar cf - cache\n"
LAST = {"opt/app-root/src/cache/a": "kept\n"}
LOOK = "cat /tmp/artifacts/cache/a; ls -ln /tmp/artifacts\n"


def incremental(shop, save, previous=None, script=LOOK, **more):
    image = workshop.builder_image(scripts={"save-artifacts": save})
    previous = previous or workshop.builder_image(files=LAST, scripts={"save-artifacts": save})
    return shop.build(image, {".s2i/bin/assemble": "#!/bin/sh\n" + script}, options={"incremental": True},
                      images={"previous": previous} if previous != "none" else None, **more)


def test_artifacts_are_there_again(shop):
    """s2i 8.1 to 8.3."""
    outcome = done(incremental(shop, SAVE))
    assert outcome.out.startswith(b"kept\n") and outcome.errors.startswith(b"saving\n")
    assert b"1001     0" in outcome.out
    assert "RetrieveArtifacts" in [stage["name"] for stage in outcome.stages]


@pytest.mark.parametrize("save, why, limits", [
    ("#!/bin/sh\nexit 3\n", "non-zero (3)", {}), ("#!/bin/sh\necho no archive\n", "Clean build", {}),
    ("#!/bin/sh\nexec sleep 60\n", "said nothing", {"silence_ms": 4000})])  # it is the limit of assemble's start, too
def test_without_artifacts_it_is_a_clean_build(shop, save, why, limits):
    """s2i 8.4."""
    outcome = done(incremental(shop, save, script="ls /tmp/artifacts || echo clean\n", limits=limits))
    assert "Clean build will be performed because of error saving previous build artifacts" in outcome.text
    assert why in outcome.text and b"clean\n" in outcome.out
    assert not [name for name in outcome.entries() if name.startswith("tmp/artifacts")]


def test_no_previous_image_is_a_clean_build(shop):
    """s2i 8.1."""
    outcome = done(incremental(shop, SAVE, previous="none", script="true\n"))
    assert "Clean build will be performed" in outcome.text and not outcome.result.get("warnings")


def test_a_script_of_the_source_is_put_into_the_previous_image(shop):
    """s2i 8.5."""
    outcome = done(shop.build(IMAGE, {".s2i/bin/assemble": "#!/bin/sh\n" + LOOK, ".s2i/bin/save-artifacts": SAVE},
                              options={"incremental": True}, images={"previous": workshop.builder_image(files=LAST)}))
    assert outcome.out.startswith(b"kept\n")


# --- runtime images (9) ---

def runtime_image(**more):
    return workshop.builder_image(assemble=None, scripts={"assemble-runtime": "#!/bin/sh\necho runtime; id -u; find . -type f | sort\n"},
                                  config={"User": "0", "WorkingDir": "/srv"}, files={"runtime": "yes"}, **more)


BUILD = "#!/bin/sh\nset -e\nmkdir -p /opt/app-root/src/out/deep\ncd /opt/app-root/src/out\necho binary > tool; chmod 700 tool\n" \
        "echo text > deep/data; ln -s /etc/passwd deep/link; mkfifo deep/pipe\n"


def test_artifacts_go_to_the_runtime_image(shop):
    """s2i 9.1, 9.4, 9.5, 9.6."""
    outcome = done(shop.build(IMAGE, {".s2i/bin/assemble": BUILD, ".s2i/bin/run": "#!/bin/sh\n"},
                              options={"runtime_image": "builders/runtime:latest",
                                       "runtime_artifact": ["/opt/app-root/src/out:app"]},
                              images={"runtime": runtime_image()}))
    assert b"runtime\n0\n./app/deep/data\n./app/tool\n" in outcome.out, outcome.text
    entries = outcome.entries()
    assert entries["srv/app/tool"][0].mode == 0o755 and entries["srv/app/deep/data"][0].mode == 0o644
    assert entries["srv/app/deep/link"][0].linkname == "/etc/passwd" and "srv/app/deep/pipe" not in entries
    assert outcome.result["run"] == "/srv/scripts/run" and "srv/scripts/run" in entries
    assert not [name for name in entries if name.startswith("opt")]


def test_the_runtime_images_labels_say_what_to_copy_and_as_whom(shop):
    """s2i 2.4, 9.2, 9.6."""
    image = runtime_image()
    config = json.loads(image.document["config"])
    config["config"]["Labels"] |= {"io.openshift.s2i.assemble-input-files": "/opt/app-root/src/out/tool:bin;/opt/app-root/src/out/deep",
                                   "io.openshift.s2i.assemble-runtime-user": "1001"}
    config["config"]["WorkingDir"] = "/tmp"
    image.document["config"] = json.dumps(config)
    outcome = done(shop.build(IMAGE, {".s2i/bin/assemble": BUILD, ".s2i/bin/run": "#!/bin/sh\n"},
                              options={"runtime_image": "builders/runtime:latest"}, images={"runtime": image}))
    assert b"runtime\n1001\n./bin/tool\n./data\n" in outcome.out, outcome.text


def test_caches_of_a_build_for_a_runtime_image(shop):
    """s2i 9.7: what upstream refuses for lack of a place; the second build finds what the first one left."""
    def build():
        return done(shop.build(IMAGE, {".s2i/bin/assemble": BUILD + COUNT, ".s2i/bin/run": "#!/bin/sh\n",
                                       ".s2i/cache": "/var/cache/app\n"},
                               options={"runtime_image": "builders/runtime:latest", "incremental": True,
                                        "runtime_artifact": ["/opt/app-root/src/out:app"]},
                               images={"runtime": runtime_image()},
                               source={"time": building.WHEN, "files": 1, "ref": "for-runtime"}))
    assert build().out.startswith(b"1\n") and build().out.startswith(b"2\n")


@pytest.mark.parametrize("artifact", ["relative:x", "/a:/absolute", "/a:../out", None])
def test_mappings_that_are_refused(shop, artifact):
    """s2i 9.2, 9.3."""
    options = {"runtime_image": "builders/runtime:latest"}
    if artifact:
        options["runtime_artifact"] = [artifact]
    outcome = shop.build(IMAGE, {".s2i/bin/assemble": BUILD}, options=options, images={"runtime": runtime_image()})
    failed(outcome, "InvalidArtifactsMapping")


# --- slices, hooks ---

def test_slices_become_layers(shop):
    """s2i 15.6: in their order, the rest last, empty ones left out."""
    outcome = done(shop.build(IMAGE, {**APP, ".s2i/slices": "# by rate of change\npages=tmp/src/*.html\nnothing=nowhere\n"}))
    assert [layer["name"] for layer in outcome.result["layers"]] == ["pages", ""]
    assert [end["name"] for end in outcome.ends] == ["pages", ""]
    assert "tmp/src/index.html" in outcome.entries(0) and "tmp/src/index.html" not in outcome.entries(1)
    assert "opt/app-root/src/index.html" in outcome.entries(1)


def test_an_image_that_nothing_changed_has_a_layer(shop):
    """s2i 7.1."""
    assert len(done(assemble(shop, "true\n")).blobs) == 1


def test_the_hook_sees_the_new_image(shop):
    """s2i 13.50: and what it changes is thrown away."""
    command = ["/bin/sh", "-c", "cat /opt/app-root/src/assembled; id -u; echo $GREETING; echo x > /tmp/later; rm -r /tmp/src"]
    outcome = done(shop.build(IMAGE, {**APP, ".s2i/environment": "GREETING=hello\n"}, options={"post_commit": command}))
    assert outcome.out.endswith(b"done\n1001\nhello\n")
    assert outcome.diff_id == shop.build(IMAGE, {**APP, ".s2i/environment": "GREETING=hello\n"}).diff_id
    assert [stage["name"] for stage in outcome.stages][-1] == "PostCommit"


def test_a_hook_that_fails(shop):
    outcome = shop.build(IMAGE, APP, options={"post_commit": ["/bin/false"]})
    assert outcome.result["reason"] == "PostCommitHookFailed" and outcome.result["exit_code"] == 1


def test_packages_are_told(shop):
    """s2i 15.5."""
    status = "Package: base\nStatus: install ok installed\nVersion: 1.2\n\nPackage: gone\nStatus: deinstall ok config-files\n" \
             "Version: 3\n\nPackage: last\nStatus: install ok installed\nVersion: 2:1-1\n"
    image = workshop.builder_image(files={"var/lib/dpkg/status": status, "lib/apk/db/installed": "P:musl\nV:1.2-r3\n\n"})
    assert done(shop.build(image, APP)).result["packages"] == ["deb base 1.2", "deb last 2:1-1", "apk musl 1.2-r3"]


# --- caches ---

COUNT = "cd /var/cache/app; echo run >> runs; wc -l < runs; ls -ln runs; touch new$(cat runs | wc -l) || exit 2; printf '#!/bin/sh\\necho tool\\n' > tool; " \
        "chmod 755 tool; ./tool; cd /; [ -e /var/cache/app/fail ] && exit 1; exit 0\n"


def cached(shop, ref="main", image=IMAGE, script=COUNT, **options):
    return shop.build(image, {".s2i/bin/assemble": "#!/bin/sh\n" + script, ".s2i/cache": "# paths\n/var/cache/app\n"},
                      options=options, source={"time": building.WHEN, "files": 1, "ref": ref})


@pytest.mark.parametrize("kind", ["root", "user"])
def test_a_cache_lives_from_build_to_build(kind):
    """s2i 8.7, 15.4: a branch begins with the default branch's; failed builds change none; it is never in the layer."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o755)
    (folder / "builder").mkdir()
    if kind == "user":
        shutil.chown(folder / "builder", workshop.USER, workshop.USER)
    shop = workshop.Workshop(folder / "builder", user=workshop.USER if kind == "user" else None)
    first = done(cached(shop))
    assert first.out.startswith(b"1\n") and first.out.endswith(b"tool\n")
    assert not [name for name in first.entries() if "cache/app" in name]
    second = done(cached(shop))
    assert second.out.startswith(b"2\n") and first.diff_id == second.diff_id
    assert (b" 1001 " if kind == "root" else b" 0 ") in second.out
    assert done(cached(shop, "branch")).out.startswith(b"3\n")         # begins with main's
    assert done(cached(shop, "branch")).out.startswith(b"4\n")         # goes on with its own
    assert done(cached(shop)).out.startswith(b"3\n")                   # which is not main's
    failed(cached(shop, script="echo lost >> /var/cache/app/runs; exit 1\n"), "AssembleFailed")
    assert done(cached(shop)).out.startswith(b"4\n")                   # a failed build changes none
    files = list((folder / "builder/caches").iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"broken")
    outcome = done(cached(shop))
    assert outcome.out.startswith(b"1\n") and "cannot be used" in outcome.text
    shop.finish()
    shutil.rmtree(folder)


def test_caches_that_are_refused(shop):
    for path in ("/proc/x", "/", "/a/../.."):
        assert shop.build(IMAGE, {**APP, ".s2i/cache": path + "\n"}).result["reason"] == "GenericS2IBuildFailed", path


# --- networks (16.9) ---

class Echo(listener.Listener):
    """Answers whoever connects, once."""

    def __init__(self):
        self.heard = []
        super().__init__(self.answer)

    def answer(self, connection):
        with connection:
            self.heard.append(connection.recv(100))
            connection.sendall(b"answer\n")


@pytest.fixture
def echo():
    one = Echo()
    yield one
    one.close()


def through_proxy(target):
    return ask_proxy(connect(target, "question")) + "; exit 0\n"


def test_no_network(shop, echo):
    """s2i 6.8, 16.9."""
    outcome = done(assemble(shop, f"nc 127.0.0.1 {echo.port} </dev/null || echo none; ls /etc/hosts; exit 0\n"))
    assert b"none" in outcome.out and echo.heard == [] and b"/etc/hosts\n" not in outcome.out


def test_the_proxy_lets_through_what_is_listed(shop, echo):
    """s2i 16.9, 16.10: a private address only when it is named."""
    outcome = done(assemble(shop, "echo $HTTPS_PROXY; cat /etc/hosts\n" + through_proxy(f"127.0.0.1:{echo.port}"),
                            options={"network": "proxy", "allow": [f"127.0.0.1:{echo.port}"]}))
    assert b"http://127.0.0.1:3128\n127.0.0.1 localhost s2i\n" in outcome.out
    assert b"200 Connection established" in outcome.out and b"answer\n" in outcome.out, outcome.text
    assert echo.heard == [b"question"]
    assert f"proxy: 127.0.0.1:{echo.port}: 1 connections, 7 bytes in, 8 out" in outcome.text
    assert not [name for name in outcome.entries() if name.startswith("etc")]


@pytest.mark.parametrize("target, allow, status", [
    ("127.0.0.1:{port}", [], b"403"),                  # not on the list
    ("127.0.0.1:{port}", ["*:*"], b"403"),             # on it, but private, and not by its own name
    ("localhost:{port}", ["local*:{port}"], b"403"),   # the address that a name has counts
    ("[::ffff:127.0.0.1]:{port}", ["*:*"], b"403"),
    ("nowhere.invalid:443", ["*:443"], b"502"),
    ("a:b:c", ["*:*"], b"400")])
def test_the_proxy_refuses(shop, echo, target, allow, status):
    outcome = done(assemble(shop, through_proxy(target.format(port=echo.port)), options={
        "network": "proxy", "allow": [pattern.format(port=echo.port) for pattern in allow]}))
    assert outcome.out.startswith(b"HTTP/1.1 " + status), outcome.text
    assert echo.heard == []


def test_the_proxy_serves_connect_only(shop):
    outcome = done(assemble(shop, ask_proxy("GET http://example.org/ HTTP/1.1\\r\\n\\r\\n") + "; exit 0\n",
                            options={"network": "proxy", "allow": ["*:*"]}))
    assert outcome.out.startswith(b"HTTP/1.1 405")


def test_the_proxy_is_the_only_way(shop, echo):
    outcome = done(assemble(shop, f"nc 127.0.0.1 {echo.port} </dev/null || echo none; exit 0\n",
                            options={"network": "proxy", "allow": ["*:*"]}))
    assert b"none" in outcome.out and echo.heard == []


def test_the_machines_network(shop, echo):
    outcome = done(assemble(shop, f"echo q | nc 127.0.0.1 {echo.port}; cat /etc/hosts\n", options={"network": "host"}))
    assert b"answer\n" in outcome.out and pathlib.Path("/etc/hosts").read_bytes() in outcome.out
    assert not [name for name in outcome.entries() if name.startswith("etc")]


# --- images that are odd ---

def test_an_image_without_proc_gets_none(shop):
    """s2i-facts A6: mount points are nobody's change."""
    assert not {"proc", "dev", "sys", "etc"} & set(done(shop.build(IMAGE, APP)).entries())


def test_an_image_that_hides_the_one_below(shop):
    """s2i 18.2: an opaque top."""
    stream = building.io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(building.entry(".wh..wh..opq"))
    base = building.base_tar({"assemble": building.ASSEMBLE, "run": building.RUN}, {})
    image = workshop.Image([building.base_tar({}, {"hidden": "x"}), stream.getvalue(), base])
    outcome = done(assemble_with(shop, image, "ls /hidden 2>/dev/null || echo hidden\n"))
    assert b"hidden\n" == outcome.out


def assemble_with(shop, image, script, **more):
    return shop.build(image, {".s2i/bin/assemble": "#!/bin/sh\n" + script}, **more)


def test_a_layer_twice(shop):
    base = building.base_tar({"assemble": building.ASSEMBLE, "run": building.RUN}, {})
    done(shop.build(workshop.Image([base, building.base_tar({}, {"more": "x"}), base]), APP))


def test_many_layers(shop):
    """s2i-facts A7."""
    import io
    layers = [building.base_tar({"assemble": building.ASSEMBLE, "run": building.RUN}, {})]
    for number in range(130):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.addfile(building.entry(f"layer{number}", tarfile.DIRTYPE, 0o755))
        layers.append(stream.getvalue())
    outcome = done(assemble_with(shop, workshop.Image(layers), "ls / | grep -c layer\n",
                                 limits={"timeout_ms": 280000}))  # each is synced once
    assert outcome.out == b"130\n"


def test_a_layer_that_is_not_what_it_says(shop):
    """s2i 19.5."""
    image = workshop.builder_image(files={"x": "1"})
    image.document["layers"][0]["diff_id"] = "sha256:" + "0" * 64
    before = folders_of(shop)
    failed(shop.build(image, APP), "PullBuilderImageFailed")
    assert folders_of(shop) == before


def folders_of(shop):
    return {path.name for path in (shop.folder / "layers").iterdir() if path.is_dir()}


def test_a_layer_that_says_it_is_anothers(shop):
    """s2i 16.8, 19.5: who names a diff id has not shown that he has what it is of."""
    base = building.base_tar({"assemble": building.ASSEMBLE, "run": building.RUN}, {})
    theirs = workshop.Image([base, building.base_tar({}, {"secret": "of somebody else"})])
    done(assemble_with(shop, theirs, "cat /secret\n"))
    ours = workshop.Image([base, building.base_tar({}, {"plain": "x"})])
    ours.document["layers"][1]["diff_id"] = theirs.document["layers"][1]["diff_id"]
    failed(assemble_with(shop, ours, "cat /secret\n"), "PullBuilderImageFailed")
