"""test_copy_from.py - files of other images go beside the source: which, whose, how far, and what is remembered of it.

Touches  a builder of the module's own, the servers under test.
Never    another registry. Spec: s2i 13.52
"""
import io
import tarfile

import pytest

from support import building, process, workshop
from support.workshop import APP, IMAGE, done, failed
from test_api_builds import Caller

LIST = "#!/bin/sh\ncd /tmp/src; find . | sort; find . -type f -exec stat -c '%n %a %u:%g %Y' {} + | sort\n"


def layer(*entries):
    """(name, kind or data, mode, link, owner, time) as far as they are given."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data, *more in entries:
            mode, link, owner, when = [*more, *[0o644, "", 0, building.WHEN - 1000][len(more):]]
            kind = data if isinstance(data, bytes) and len(data) == 1 else tarfile.REGTYPE
            item = building.entry(name, kind, mode, link, owner)
            item.mtime = when
            body = b"" if kind != tarfile.REGTYPE else data.encode()
            item.size = len(body)
            archive.addfile(item, io.BytesIO(body))
    return stream.getvalue()


FOLDER, LINK, FIFO, DEVICE = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE
TOOLS = workshop.Image([
    layer(("opt", FOLDER, 0o700), ("opt/lib", FOLDER, 0o711), ("opt/lib/a.jar", "old"), ("opt/lib/gone", "gone"),
          ("opt/lib/deep", FOLDER, 0o755), ("opt/lib/deep/b", "b\n", 0o4750, "", 7), ("etc", FOLDER, 0o755),
          ("etc/secret", "of the image\n", 0o600)),
    layer(("opt", FOLDER, 0o755), ("opt/lib", FOLDER, 0o755), ("opt/lib/a.jar", "new", 0o600, "", 1001, building.WHEN + 99999),
          ("opt/lib/.wh.gone", ""), ("opt/lib/out", LINK, 0o777, "/etc/passwd"), ("opt/lib/up", LINK, 0o777, "../../../../etc"),
          ("opt/lib/pipe", FIFO), ("opt/lib/null", DEVICE, 0o666), ("current.jar", LINK, 0o777, "/opt/lib/a.jar"),
          ("escape", LINK, 0o777, "../../../../etc/secret"), ("dir", LINK, 0o777, "/opt/lib/deep"))], name="base/tools:1")


def copy(shop, *items, files=None, script=LIST, inputs=(TOOLS,), **more):
    return shop.build(IMAGE, {**(APP if files is None else files), ".s2i/bin/assemble": script},
                      options={"copy_from": [f"base/tools:1={item}" for item in items], **more.pop("options", {})},
                      inputs=inputs, **more)


@pytest.mark.parametrize("level", ["shop", "user_shop"])
def test_folders_files_and_links(level, request):
    """Over two layers; 4.8, 4.12: modes and owners as the source's; times no later than the source's; whiteouts count."""
    shop = request.getfixturevalue(level)
    owner = "1001:0" if level == "shop" else "0:0"
    outcome = done(copy(shop, "/opt/lib:vendor", "/current.jar:", "/dir:more/deep", "/escape:e"))
    said = outcome.out.decode()
    assert "./vendor/gone" not in said and "pipe" not in said and "null" not in said
    for line in (f"./vendor/a.jar 644 {owner} {building.WHEN}", f"./current.jar 644 {owner} {building.WHEN}",
                 f"./vendor/deep/b 755 {owner} {building.WHEN - 1000}", f"./more/deep/b 755 {owner} {building.WHEN - 1000}",
                 f"./e/escape 644 {owner} {building.WHEN - 1000}"):
        assert line in said.splitlines(), said
    entries = outcome.entries()
    assert entries["tmp/src/vendor/a.jar"][1] == b"new" and entries["tmp/src/e/escape"][1] == b"of the image\n"
    assert (entries["tmp/src/vendor/out"][0].linkname, entries["tmp/src/vendor/up"][0].linkname) == ("/etc/passwd", "../../../../etc")
    assert {entries[f"tmp/src/{name}"][0].mtime for name in ("vendor", "more", "more/deep", "e")} == {building.WHEN}
    assert (entries["tmp/src/more/deep"][0].uid, entries["tmp/src/more/deep"][0].gid) == (1001, 0)
    assert "FetchImageContent" in [stage["name"] for stage in outcome.stages if "ms" in stage]


def test_the_same_bytes_each_time(shop):
    first, second = (copy(shop, "/opt/lib:vendor", "/:all") for _ in range(2))
    assert done(first).diff_id == done(second).diff_id
    names = set(first.entries())
    assert "tmp/src/all/opt/lib/a.jar" in names and "tmp/src/all/proc" not in names, "mount points of ours are no part of it"


@pytest.mark.parametrize("target", ["../../../etc", "/etc", "/tmp/scripts"])
def test_links_of_the_source_lead_nowhere_else(shop, target):
    """A folder that the source has as a link: within the source, or not at all."""
    outcome = copy(shop, "/opt/lib/deep:out", files={"out": ("->", target), "etc/mine": "m\n"},
                   script="#!/bin/sh\nls -R /tmp/src /etc; test ! -e /etc/b && test ! -e /tmp/scripts/b\n")
    assert "/etc/b" not in outcome.text
    if outcome.result.get("done"):
        assert "tmp/src/etc/b" in outcome.entries() and target != "/tmp/scripts"
    else:
        failed(outcome, "FetchImageContentFailed")


def test_what_the_source_has_of_that_name(shop):
    """A file goes in place of a file and of a link, never of a folder, and nothing is written through a link."""
    outcome = done(copy(shop, "/opt/lib:", files={"a.jar": "mine", "out": "mine", "up": ("->", "/etc")}))
    assert outcome.entries()["tmp/src/a.jar"][1] == b"new" and outcome.entries()["tmp/src/up"][0].linkname == "../../../../etc"
    refused = copy(shop, "/opt/lib/a.jar:", files={"a.jar/inside": "x\n"})
    assert "Failed to extract image content: /opt/lib/a.jar of base/tools:1: Is a directory" in \
        failed(refused, "FetchImageContentFailed").result["message"]


@pytest.mark.parametrize("path, why", [("/opt/none", "base/tools:1 has no /opt/none"), ("/opt/lib/a.jar/x", "has no"),
                                       ("/opt/lib/pipe", "neither a file nor a folder"), ("/opt/lib/gone", "has no"),
                                       ("/opt/lib/up/passwd", "has no")])
@pytest.mark.parametrize("mode", ["build", "plan"])
def test_what_is_not_there(shop, path, why, mode):
    if mode == "plan" and path.endswith("pipe"):
        return
    outcome = failed(copy(shop, f"{path}:x", mode=mode), "FetchImageContentFailed")
    assert why in outcome.result["message"] and not outcome.out


def test_an_image_that_was_not_given(shop):
    failed(copy(shop, "/opt/lib", inputs=[]), "FetchImageContentFailed")


def test_more_than_the_disk_holds(shop):
    big = workshop.Image([layer(*((f"big/{i}", "x" * (4 << 20)) for i in range(8)))], name="base/tools:1")
    outcome = copy(shop, "/big:vendor", inputs=[big], limits={"disk": 16 << 20})
    failed(outcome, "DiskLimit")
    failed(copy(shop, "/big:vendor", inputs=[big], limits={"files_max": 9}, files={}, options={"copy_from": [
        "base/tools:1=/big:a", "base/tools:1=/big:b"]}), "FetchImageContentFailed")


def test_scripts_and_ignore_rules_are_the_sources_own(shop):
    """Nothing that is copied counts as a script; .s2iignore does not reach it."""
    evil = workshop.Image([layer(("s", FOLDER, 0o755), ("s/.s2i", FOLDER, 0o755), ("s/.s2i/bin", FOLDER, 0o755),
                                 ("s/.s2i/bin/assemble", "#!/bin/sh\necho evil\n", 0o755), ("s/a.txt", "a"))], name="base/tools:1")
    outcome = done(copy(shop, "/s", files={"b.txt": "b", ".s2iignore": "*.txt\n"}, inputs=[evil]))
    names = set(outcome.entries())
    assert "evil" not in outcome.text and "tmp/src/a.txt" in names and "tmp/src/b.txt" not in names


# --- with a server ---

@pytest.fixture
def tools(server):
    """push(text): base/tools:1 with this file; its digest."""
    def push(text, where=server):
        return building.push_image(where, "base/tools", "1", [layer(("opt", FOLDER, 0o755), ("opt/tool", text, 0o755))], {})
    return push


def configure(call, name, **options):
    assert call.put(f"/repos/{name}/-/build-config", {"options": {"builder": "builders/test", **options}}).status in (200, 201)


def test_a_push_gets_them(server, source, name, call, tools):
    """The digest is that of the day it was asked, in the facts and the provenance; another image, another build."""
    digest = tools("one\n")
    configure(call, name, copy_from=["base/tools:1=/opt/tool:bin"])
    app = source({"index.html": "x\n"})
    app.push(server, name)
    build = call.items(f"/repos/{name}/-/builds")[0]
    assert build["facts"]["images"]["inputs"] == {"base/tools:1": digest}
    assert building.layer_entries(server, name)["opt/app-root/src/bin/tool"][1] == b"one\n"
    tools("one\n")
    building.git(app.folder, "branch", "same")
    assert "Nothing to build" in app.push(server, name, "-o", "tag=same", ref="same").stderr
    tools("two\n")
    building.git(app.folder, "branch", "other")
    assert "Nothing to build" not in app.push(server, name, "-o", "tag=other", ref="other").stderr
    assert building.layer_entries(server, name, "other")["opt/app-root/src/bin/tool"][1] == b"two\n"
    again = call.post(f"/builds/{build['id']}:verify").json()["id"]
    process.wait_for(lambda: call.get(f"/builds/{again}").json()["finished_at"], 30, "verified")
    assert call.get(f"/builds/{again}").json()["result_digest"] == build["result_digest"], "verified with the files of today"


def test_the_source_itself_may_not_ask(server, source, name, tools):
    tools("one\n")
    app = source({"index.html": "x\n", ".s2i/s2i.conf": "copy_from: base/tools:1=/opt/tool\n"})
    assert "InvalidSource" in app.push(server, name, "-o", "builder=builders/test", check=False).stderr


def test_a_plan_and_a_dockerfile_show_them(server, name, tools):
    digest, call = tools("one\n"), Caller(server.target)
    options = {"builder": "builders/test", "copy_from": ["base/tools:1=/opt/tool:bin", "base/tools:1=/opt"]}
    plan = call.send(name, query="&plan=true", options=options).json()
    assert plan["copy_from"] == [{"image": "base/tools:1", "digest": digest, "source": "/opt/tool", "destination": "bin"},
                                 {"image": "base/tools:1", "digest": digest, "source": "/opt", "destination": ""}], plan
    lines = call.send(name, query="&dockerfile=true", options=options).json()["dockerfile"].splitlines()
    assert f"COPY --from=base/tools:1@{digest} --chown=1001:0 /opt/tool /tmp/src/bin/" in lines, lines
    assert f"COPY --from=base/tools:1@{digest} --chown=1001:0 /opt /tmp/src/" in lines, lines
    missing = call.send(name, query="&plan=true", options={**options, "copy_from": ["base/none=/opt"]}).json()
    assert missing["error"]["reason"] == "FetchImageContentFailed" and "base/none" in missing["error"]["message"]
    for bad in ("base/tools=opt", "base/tools=/a/../b", "base/tools=/a:/b", "base/tools=/a:../b", "=/a", "base/tools"):
        assert call.send(name, options={**options, "copy_from": [bad]}).status == 422, bad
    call.close()



def test_the_digest_of_when_it_was_asked_for(server, name, tools):
    """s2i 2.10: the tag moves while the build waits, and what it had named stays pinned for it."""
    digest, call = tools("then\n"), Caller(server.target)
    slow = call.send(name, {".s2i/bin/assemble": "#!/bin/sh\necho begun\nsleep 60\n"}).json()["id"]
    process.wait_for(lambda: b"begun" in call.get(f"/builds/{slow}/log").body, 20, "a build under way")
    waiting = call.send(name, options={"builder": "builders/test", "copy_from": ["base/tools:1=/opt/tool"]}).json()["id"]
    assert tools("now\n") != digest
    call.post(f"/builds/{slow}:cancel")
    build = call.until(waiting, "Complete", "Failed")
    assert build["facts"]["images"]["inputs"] == {"base/tools:1": digest}, build
    assert building.layer_entries(server, name)["opt/app-root/src/tool"][1] == b"then\n"
    call.close()
