"""test_contract.py - the contract with builder images: scripts, environment, ignore rules, labels, configuration.

Acceptance 20.1 to 20.4 of the list, each by a real push to a real registry and a look at the image.
"""
import io
import json
import subprocess
import tarfile

import pytest

from support import building

PAGE = {"index.html": "hello\n"}
TELL = "#!/bin/sh\necho 'by the source: {}'\ncp -R /tmp/src/. /opt/app-root/src/\n"


def built(server, name):
    """Config of the image, and the entries of its own layer."""
    return building.manifest(server, name)[2]["config"], building.layer_entries(server, name)


@pytest.fixture
def push(server, source, name):
    """push(files, builder={...}, "-o", ...): the push's text; fails when the build does."""
    def run(files, *options, builder=None, check=True):
        image = "builders/test"
        if builder is not None:
            image = f"builders/{name.replace('/', '-')}"
            building.builder(server, image, **builder)
        app = source(files)
        done = app.push(server, name, "-o", f"builder={image}", *options, check=check)
        return done.stderr
    return run


# --- 20.1: scripts ---

@pytest.mark.parametrize("script", ["assemble", "run"])
def test_scripts_of_the_source_win(push, server, name, script):
    """s2i 3.2, 3.3: each by itself, moved out of the source, 0755."""
    text = TELL.format("assemble") if script == "assemble" else building.RUN
    said = push({**PAGE, f".s2i/bin/{script}": text})
    config, entries = built(server, name)
    assert ("by the source" in said) == (script == "assemble")
    assert config["Cmd"] == ["/tmp/scripts/run" if script == "run" else "/usr/libexec/s2i/run"]
    placed = entries[f"tmp/scripts/{script}"][0]
    assert placed.mode == 0o755 and f"tmp/src/.s2i/bin/{script}" not in entries


def test_the_old_folder_of_scripts_counts_and_is_told(push, server, name):
    """s2i 3.2."""
    said = push({**PAGE, ".sti/bin/assemble": TELL.format("old")})
    assert "DEPRECATED" in said and "by the source: old" in said


@pytest.mark.parametrize("missing", ["assemble", "run"])
def test_a_required_script_that_is_missing_fails_early(push, missing):
    """s2i 2.9, 3.5: before anything runs."""
    said = push(PAGE, builder={missing: None}, check=False)
    assert "InstallScriptsFailed" in said and missing in said and "assembling" not in said


def test_optional_scripts_may_be_missing(push):
    """s2i 3.1."""
    assert "new branch" in push(PAGE, builder={"scripts": {}})


@pytest.mark.parametrize("labels, env", [
    ({"io.openshift.s2i.scripts-url": None, "io.s2i.scripts-url": "image:///usr/libexec/s2i"}, []),
    ({"io.openshift.s2i.scripts-url": None}, ["STI_SCRIPTS_URL=image:///usr/libexec/s2i"])])
def test_old_forms_of_the_scripts_url(push, labels, env):
    """s2i 2.1."""
    said = push(PAGE, builder={"labels": labels, "config": {"Env": ["PATH=/bin", *env]}})
    assert "deprecated" in said


def test_a_source_may_wrap_the_builders_scripts(push, server, name):
    """s2i 3.8."""
    push({**PAGE, ".s2i/bin/assemble": "#!/bin/sh\n/usr/libexec/s2i/assemble && echo wrapped > /opt/app-root/src/w\n"})
    assert built(server, name)[1]["opt/app-root/src/w"][1] == b"wrapped\n"


def test_the_destination_is_the_images(push, server, name):
    """s2i 2.2, 4.13."""
    assemble = "#!/bin/sh\ncp -R /opt/in/src/. /opt/app-root/src/\n"
    push(PAGE, builder={"assemble": assemble, "labels": {"io.openshift.s2i.destination": "/opt/in"}})
    assert "opt/in/src/index.html" in built(server, name)[1]


def test_the_assemble_user_is_the_labels(push, server, name):
    """s2i 2.3, 7.2: and the image keeps its own."""
    assemble = building.ASSEMBLE + "id -u > /opt/app-root/src/who\n"
    push(PAGE, builder={"assemble": assemble, "labels": {"io.openshift.s2i.assemble-user": "0"}})
    config, entries = built(server, name)
    assert entries["opt/app-root/src/who"][1] == b"0\n" and config["User"] == "1001"


@pytest.mark.parametrize("user, why", [("nobody-here", "nobody-here"), ("1001:nogroup", "nogroup")])
def test_an_unknown_user_is_an_error(push, user, why):
    """s2i 6.3."""
    said = push(PAGE, builder={"config": {"User": user}}, check=False)
    assert "rejected" in said and why in said


def test_onbuild_is_refused(push):
    """s2i 10.2."""
    said = push(PAGE, builder={"config": {"OnBuild": ["COPY . /src"]}}, check=False)
    assert "OnBuildForbidden" in said


STATIC = r"""#include <fcntl.h>
#include <unistd.h>
int main(void)
{
    int fd = open("made", O_WRONLY | O_CREAT, 0644);
    return fd < 0 || write(fd, "by no shell", 11) != 11;
}
"""


def test_a_builder_without_a_shell_and_tar(server, source, name, tmp_path):
    """s2i 2.6, 10.1: nothing of the image is run but the script, which may be a program."""
    subprocess.run(["gcc", "-x", "c", "-static", "-Os", "-s", "-o", tmp_path / "assemble", "-"], input=STATIC, text=True, check=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(building.entry("s2i", tarfile.DIRTYPE, 0o755))
        archive.addfile(building.entry("work", tarfile.DIRTYPE, 0o777))
        for script in ("assemble", "run"):
            program = (tmp_path / "assemble").read_bytes()
            item = building.entry(f"s2i/{script}", mode=0o755)
            item.size = len(program)
            archive.addfile(item, io.BytesIO(program))
    building.push_image(server, "builders/bare", "latest", [stream.getvalue()],
                        {"User": "1001", "WorkingDir": "/work", "Labels": {"io.openshift.s2i.scripts-url": "image:///s2i"}})
    source(PAGE).push(server, name, "-o", "builder=builders/bare")
    config, entries = built(server, name)
    assert entries["work/made"][1] == b"by no shell" and entries["tmp/src/index.html"][1]
    assert config["Cmd"] == ["/s2i/run"]


# --- 20.2: ignore rules, as a whole; the table of rules is in tests/unit/test_ignore.c ---

def test_ignored_files_are_not_there(push, server, name):
    """s2i 4.20 to 4.25."""
    files = {**PAGE, "notes/a.txt": "a", "notes/keep.txt": "k", "tmp/x": "x", "deep/temp/y": "y", ".s2iignore":
             "# comment\nnotes/*\n!notes/keep.txt\ntmp\n*/temp\n.s2i/environment\n", ".s2i/environment": "A=b\n",
             ".s2i/bin/assemble": building.ASSEMBLE}
    push(files)
    config, entries = built(server, name)
    there = {path for path in entries if path.startswith("opt/app-root/src/")}
    assert "opt/app-root/src/notes/keep.txt" in there and "opt/app-root/src/index.html" in there
    assert not {path for path in there if "notes/a" in path or "/tmp" in path or "/temp" in path}
    assert not any(value.startswith("A=") for value in config["Env"])


def test_another_programs_ignore_file_is_none_of_ours(push, server, name):
    """s2i 4.26: .dockerignore hides nothing; the log says how many files go in, and how many do not."""
    said = push({**PAGE, ".dockerignore": "*\n"})
    assert "opt/app-root/src/index.html" in built(server, name)[1]
    assert "Source: 2 files " in said


def test_the_log_counts_what_is_ignored(push):
    """s2i 4.26."""
    assert "Source: 2 files, 1 left out by .s2iignore" in push({**PAGE, "notes": "x", ".s2iignore": "notes\n"})


# --- 20.3: environment ---

def test_environment_is_present_and_stored(push, server, name):
    """s2i 5.1, 5.3, 5.5, 5.7: the source's over the builder's, in place."""
    assemble = "#!/bin/sh\nenv | sort\ncp -R /tmp/src/. /opt/app-root/src/\n"
    said = push({**PAGE, ".s2i/environment": " FROM_BUILDER = no \nNEW=a=b\n# C=d\nnothing\n=x\n"},
                builder={"assemble": assemble})
    env = built(server, name)[0]["Env"]
    assert env[:2] == ["PATH=/bin:/usr/bin", "FROM_BUILDER=no"] and "NEW=a=b" in env
    assert "FROM_BUILDER=no" in said and f"SOURCE_DATE_EPOCH={building.WHEN}" in said and "CI=true" in said
    assert "HOME=/opt/app-root/src" in said
    stored = {value.split("=")[0] for value in env}
    assert not stored & {"SOURCE_DATE_EPOCH", "CI", "S2I_BUILD_ID", "HOME", "OPENSHIFT_BUILD_NAME", "C", ""}


def test_the_script_runs_as_the_contract_says(push, server, name):
    """s2i 6.1, 6.2, 6.4, 6.8: no entrypoint, the working directory, an empty input, a fixed host name, no network."""
    assemble = ("#!/bin/sh\npwd > /opt/app-root/src/pwd\nhostname > /opt/app-root/src/host\ncat > /opt/app-root/src/in\n"
                "ls /sys > /opt/app-root/src/sys 2>/dev/null\ncat /proc/net/dev | grep -c : > /opt/app-root/src/net\n")
    push(PAGE, builder={"assemble": assemble, "config": {"Entrypoint": ["/bin/false"]}})
    config, entries = built(server, name)
    found = {path.rsplit("/", 1)[1]: data for path, (_, data) in entries.items() if path.startswith("opt/app-root/src/")}
    assert found["pwd"] == b"/opt/app-root/src\n" and found["host"] == b"s2i\n" and found["in"] == b""
    assert found["sys"] == b"" and found["net"] == b"1\n"
    assert config["Entrypoint"] == ["/bin/false"]


# --- 20.4: labels and configuration ---

def test_labels_and_configuration(push, server, name):
    """s2i 2.5, 6.7, 7.2 to 7.8."""
    metadata = json.dumps({"labels": [{"from.assemble": "yes"}, {"io.k8s.description": "of assemble"}]})
    assemble = building.ASSEMBLE + f"mkdir -p /tmp/.s2i; echo '{metadata}' > /tmp/.s2i/image_metadata.json\n"
    push(PAGE, builder={"assemble": assemble, "labels": {"kept": "from the builder", "io.openshift.tags": "web",
                                                        "io.openshift.expose-services": "8080:http"},
                        "config": {"ExposedPorts": {"8080/tcp": {}}, "StopSignal": "SIGINT", "Volumes": {"/data": {}}}})
    digest, manifest, document = building.manifest(server, name)
    config = document["config"]
    labels = config["Labels"]
    assert labels["kept"] == "from the builder" and labels["from.assemble"] == "yes"
    assert labels["io.openshift.tags"] == "web" and labels["io.openshift.expose-services"] == "8080:http"
    assert labels["io.k8s.description"] == "of assemble"
    assert labels["io.openshift.s2i.build.commit.author"] == "Ana Example <ana@example.org>"
    assert labels["io.openshift.s2i.build.commit.message"] == "a change"
    assert labels["io.openshift.s2i.build.commit.ref"] == "main"
    assert labels["io.openshift.s2i.build.image"].startswith("builders/")
    assert config["ExposedPorts"] == {"8080/tcp": {}} and config["StopSignal"] == "SIGINT"
    assert config["Volumes"] == {"/data": {}} and document["architecture"] == "amd64"
    annotations = manifest["annotations"]
    assert annotations["org.opencontainers.image.created"] == document["created"] == "2023-11-14T22:13:20Z"
    assert annotations["org.opencontainers.image.base.digest"].startswith("sha256:")
    history = [entry for entry in document["history"] if not entry.get("empty_layer")]
    assert len(history) == len(manifest["layers"]) == len(document["rootfs"]["diff_ids"])
    assert "s2i assemble" in history[-1]["created_by"]
    assert "tmp/.s2i/image_metadata.json" not in building.layer_entries(server, name)


def test_malformed_metadata_fails_the_build(push):
    """s2i 6.7."""
    assemble = building.ASSEMBLE + "mkdir -p /tmp/.s2i; echo '{\"labels\":[{\"a\":1}]}' > /tmp/.s2i/image_metadata.json\n"
    said = push(PAGE, builder={"assemble": assemble}, check=False)
    assert "rejected" in said and "image_metadata.json" in said


def test_what_the_source_says_fills_what_nobody_said(server, source, name, client):
    """s2i 11: of the variables name by name, of all else as a whole."""
    options = {"builder": "builders/test", "env": ["SAID=by the configuration"]}
    assert client.put(f"/api/v1/repos/{name}/-/build-config", body=json.dumps({"options": options}).encode(),
                      headers=[("Content-Type", "application/json")]).status == 201
    conf = "builder: builders/none\nenv: SAID=by the source\nenv: ALSO=by the source\n"
    source({**PAGE, ".s2i/s2i.conf": conf}).push(server, name)
    config, _ = built(server, name)
    assert "SAID=by the configuration" in config["Env"] and "ALSO=by the source" in config["Env"]
