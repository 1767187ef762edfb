"""test_api_builds.py - builds over the management API: started, followed, cancelled, begun again; configurations.

Touches  servers with a builder; archives made here.
Never    a git push: test_first_build.py. Spec: s2i 11, 12, 13.40 to 13.46, 15.9.
"""
import gzip
import io
import json
import re
import tarfile
import zipfile

import pytest

from support import api, building, people, process
from support.events import Stream

FILES = {"index.html": "<h1>hello</h1>\n", "docs/about.txt": "about\n"}
SLOW = "#!/bin/sh\necho begun\nwhile [ ! -e /tmp/src/go ]; do sleep 0.05; done\n"
FAILING = "#!/bin/sh\necho no luck; exit 7\n"
BUILDER = {"builder": "builders/test"}


def packed(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in sorted(files.items()):
            item = tarfile.TarInfo(name)
            item.size, item.mtime = len(text.encode()), building.WHEN
            item.mode = 0o755 if name.startswith(".s2i/bin/") else 0o644
            archive.addfile(item, io.BytesIO(text.encode()))
    return stream.getvalue()


def zipped(files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


class Caller(api.Api):
    def send(self, name, files=FILES, query="", options=BUILDER, data=None, kind="application/x-tar"):
        """POSTs an archive."""
        path = f"/repos/{name}/-/builds?options={json.dumps(options, separators=(',', ':'))}{query}"
        path = re.sub(r'[{}" ]', lambda found: f"%{ord(found[0]):02X}", path)
        return self.call("POST", path, raw=packed(files) if data is None else data, headers=[("Content-Type", kind)])

    def build(self, name, files=FILES, **more):
        """An archive that is built: what the build was in the end."""
        response = self.send(name, files, query="&wait=true", **more)
        assert response.status == 201, response
        return response.json()

    def state(self, id):
        return self.get(f"/builds/{id}").json()["state"]

    def until(self, id, *states):
        process.wait_for(lambda: self.state(id) in states, 30, f"build {id} to be {states}")
        return self.get(f"/builds/{id}").json()


@pytest.fixture
def call(server):
    one = Caller(server.target)
    yield one
    one.close()


# --- from an archive to an image ---


@pytest.mark.parametrize("form", ["tar", "gzip", "zip"])
def test_an_archive_is_built(server, call, name, form):
    """s2i 4.1, 13.46, 12.3."""
    data, kind = {"tar": (packed(FILES), "application/x-tar"),
                  "gzip": (gzip.compress(packed(FILES)), "application/gzip"),
                  "zip": (zipped(FILES), "application/zip")}[form]
    build = call.build(name, data=data, kind=kind, options={**BUILDER, "tags": ["v1", "v2"]})
    assert build["state"] == "Complete" and build["source"] == "archive", build
    assert build["result_digest"] == building.manifest(server, name, "v1")[0] == building.manifest(server, name, "v2")[0]
    assert {stage["stage"] if "stage" in stage else stage["name"] for stage in build["stages"]} >= {"PullImages", "PushImage"}
    assert building.layer_entries(server, name, "v1")["opt/app-root/src/index.html"][1] == b"<h1>hello</h1>\n"


def test_what_is_known_of_a_build(call, name):
    """s2i 13.40, 13.46: the same in the list and alone."""
    build = call.build(name, options={**BUILDER, "env": ["A=B"], "tags": ["x"]})
    alone = call.get(f"/builds/{build['id']}").json()
    listed = call.items(f"/repos/{name}/-/builds")[0]
    assert {key: value for key, value in alone.items() if key not in ("ahead", "log_tail", "options", "messages")} == listed == build
    assert alone["options"]["env"] == ["A=B"] and alone["log_tail"] is None and alone["trigger"] == "api" and alone["repository"] == name
    assert alone["created_at"] <= alone["started_at"] <= alone["finished_at"]
    assert alone["log_size"] == len(call.get(f"/builds/{build['id']}/log").body)


def test_a_failure_says_its_reason(call, name):
    """s2i 12.1, 6.5."""
    build = call.build(name, {**FILES, ".s2i/bin/assemble": FAILING})
    assert (build["state"], build["reason"], build["exit_code"]) == ("Failed", "AssembleFailed", 7)
    assert build["result_digest"] is None and build["layer_size"] is None
    assert b"no luck" in call.get(f"/builds/{build['id']}/log").body
    assert "no luck" in call.get(f"/builds/{build['id']}").json()["log_tail"]


def test_a_tag_that_may_not_move_fails_the_build(call, name, server):
    """s2i 7.10: protected while it is built; all tags stay, its log says why."""
    first, gate = call.build(name), building.Gate()
    id = call.send(name, {".s2i/bin/assemble": f"#!/bin/sh\n{gate.wait}\nexit 0\n"},
                   options={**BUILDER, "tags": ["another", "latest"]}).json()["id"]
    gate.reached()
    assert call.patch(f"/repos/{name}/-/tags/latest", {"immutable": True}).status == 200
    gate.open()
    build = call.until(id, "Failed", "Complete")
    assert build["reason"] == "PushImageToRegistryFailed" and "latest" in build["message"], build
    assert "latest is immutable" in call.get(f"/builds/{id}/log").body.decode()
    assert building.manifest(server, name)[0] == first["result_digest"]
    assert call.get(f"/repos/{name}/-/tags/another").status == 404


def test_lists_are_filtered(call, name):
    good = call.build(name)
    bad = call.build(name, {".s2i/bin/assemble": FAILING})

    def ids(query):
        return [item["id"] for item in call.items(f"/repos/{name}/-/builds{query}")]
    assert ids("") == [bad["id"], good["id"]] and ids("?limit=1") == ids("")
    assert ids("?state=Failed") == [bad["id"]] and ids("?state=Complete") == [good["id"]]
    assert ids("?trigger=api") == ids("") and ids("?trigger=push") == [] and ids("?commit=" + "0" * 40) == []
    assert call.get(f"/repos/{name}/-/builds?state=none").status == 422
    assert {good["id"], bad["id"]} <= {item["id"] for item in call.items("/builds")}


def test_states_of_a_build_are_told_in_their_order(server, call, name):
    """s2i 13.48: and the image it pushed, before its end."""
    with Stream(server.target, f"/events?repository={name}") as stream:
        stream.greeted()
        good = call.build(name)
        got = stream.until(lambda event, data: event == "build" and data["state"] == "Complete")
        bad = call.build(name, {".s2i/bin/assemble": FAILING})
        more = stream.until(lambda event, data: event == "build" and data["state"] == "Failed")
    told = [data for event, data in got if event == "build"]
    states = list(dict.fromkeys(data["state"] for data in told))
    assert states[-3:] == ["Pending", "Running", "Complete"] and states[:-3] in ([], ["New"])
    assert {data["build"] for data in told} == {good["id"]} and told[-1]["trigger"] == "api"
    stages = [data["stage"] for data in told if data["state"] == "Running"]
    assert stages[0] is None and len(set(stages)) > 1
    assert told[-1]["result_digest"] == good["result_digest"]
    pushed = [data for event, data in got if event == "push" and data["what"] == "tag"]
    assert pushed and {data["digest"] for data in pushed} == {good["result_digest"]}
    last = more[-1][1]
    assert (last["build"], last["reason"], last["result_digest"]) == (bad["id"], "AssembleFailed", None)
    assert not [data for event, data in more if event == "push" and data["what"] == "tag"]


# --- logs ---


def test_ranges_of_a_log(call, name):
    """s2i 13.45."""
    id = call.build(name)["id"]
    whole = call.get(f"/builds/{id}/log")
    assert whole.status == 200 and whole["Accept-Ranges"] == "bytes" and b"assembling" in whole.body
    part = call.get(f"/builds/{id}/log", ("Range", "bytes=5-14"))
    assert part.status == 206 and part.body == whole.body[5:15]
    assert part["Content-Range"] == f"bytes 5-14/{len(whole.body)}"
    assert call.get(f"/builds/{id}/log", ("Range", "bytes=-7")).body == whole.body[-7:]
    assert call.get(f"/builds/{id}/log", ("Range", f"bytes={len(whole.body)}-")).status == 416
    assert call.get(f"/builds/{id}/log?offset=5").body == whole.body[5:]
    assert call.get(f"/builds/{id}/log?follow=true").body == whole.body
    assert call.get(f"/builds/{id}/log?offset=x").status == 422
    timed = call.get(f"/builds/{id}/log?timestamps=true").body.decode().splitlines()
    plain = whole.body.decode().splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z [A-Z] ?", "", line) for line in timed] == plain


def events(body):
    """[(id, data)] of server-sent events."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = [line.partition(":")[::2] for line in block.splitlines() if not line.startswith(":")]
        fields = {name: value.removeprefix(" ") for name, value in lines}
        if "data" in fields and "event" not in fields:
            found.append((int(fields["id"]), fields["data"]))
    return found


def test_a_log_as_events(call, name):
    """s2i 13.45: ids are byte offsets, and go on after Last-Event-ID."""
    id = call.build(name)["id"]
    whole = call.get(f"/builds/{id}/log").body.decode()
    response = call.get(f"/builds/{id}/log", ("Accept", "text/event-stream"))
    assert response["Content-Type"].startswith("text/event-stream") and response["X-Accel-Buffering"] == "no"
    found = events(response.body)
    assert [data for _, data in found] == whole.splitlines()
    assert found[-1][0] == len(whole.encode()) and b"\n\nevent: end\n" in response.body
    rest = call.get(f"/builds/{id}/log", ("Accept", "text/event-stream"), ("Last-Event-ID", str(found[1][0])))
    assert events(rest.body) == found[2:]


def test_a_log_is_followed_while_it_grows(server, call, name):
    """s2i 13.45: bytes come before the build ends, and end with it."""
    id = call.send(name, {".s2i/bin/assemble": SLOW}).json()["id"]
    call.until(id, "Running")
    client = server.client()
    process.wait_for(lambda: b"begun" in call.get(f"/builds/{id}/log").body, 20, "a first line")
    assert call.state(id) == "Running"
    assert call.post(f"/builds/{id}:cancel").status == 200
    assert b"begun" in client.get(f"/api/v1/builds/{id}/log?follow=true").body
    client.close()


# --- its end, and another try ---


def test_a_build_is_cancelled(call, name):
    """s2i 13.44: at once, again without harm, and who did it is known."""
    id = call.send(name, {".s2i/bin/assemble": SLOW}).json()["id"]
    process.wait_for(lambda: b"begun" in call.get(f"/builds/{id}/log").body, 20, "it to run")
    assert call.post(f"/builds/{id}:cancel").status == 200
    build = call.until(id, "Cancelled")
    assert build["reason"] == "CancelledBuild" and build["finished_at"] is not None
    assert call.post(f"/builds/{id}:cancel").status == 409
    assert call.get(f"/repos/{name}/-/tags").status == 404


def test_a_build_that_waits_is_cancelled(call, name):
    """s2i 13.42, 13.43."""
    first = call.send(name, {".s2i/bin/assemble": SLOW}).json()["id"]
    process.wait_for(lambda: call.state(first) == "Running", 20, "the first to run")
    second, third = (call.send(name).json()["id"] for _ in range(2))
    assert call.get(f"/builds/{third}").json()["ahead"] == 1
    assert call.post(f"/builds/{second}:cancel").json()["state"] == "Cancelled"
    assert call.get(f"/builds/{third}").json()["ahead"] == 0
    assert call.post(f"/builds/{first}:cancel").status == 200
    assert call.until(third, "Complete")["ahead"] is None


def test_a_build_is_begun_again(call, name):
    """s2i 13.46."""
    first = call.build(name, {**FILES, ".s2i/bin/assemble": FAILING})
    response = call.post(f"/builds/{first['id']}:retry")
    assert response.status == 201 and response["Location"] == f"/api/v1/builds/{response.json()['id']}"
    again = call.until(response.json()["id"], "Failed")
    assert (again["retry_of"], again["trigger"], again["reason"]) == (first["id"], "retry", "AssembleFailed")


# --- what is refused ---


def test_what_cannot_be_asked_for(call, name):
    path = f"/repos/{name}/-/builds"
    for body in ({"sauce": "url"}, {"source": "moon"}, {"options": []}, {"options": {"colour": "red"}}, {"commit": "main"},
                 {"options": {"url": "https://u:secret@host/x"}}, {"options": {"run_policy": "Parallel"}}, {},
                 {"source": "url", "options": {"url": "http://host/x"}}, {"source": "url", "options": {"url": "https://host:1/x"}},
                 {"source": "url", "options": {"url": "no URL"}}):
        assert call.post(path, body).status == 422, body
    for kind in ("text/plain", "application/octet-stream", "multipart/form-data; boundary=x"):  # CSRF comes first
        assert call.call("POST", path, raw=b"x", headers=[("Content-Type", kind)]).status in (403, 415)
    assert call.call("POST", path, raw=b"{", headers=[("Content-Type", "application/json")]).status == 400
    assert call.post(path + "?wait=perhaps", {}).status == 422
    assert call.send(name, options={**BUILDER, "secret_env": ["A=B"]}).status == 422
    assert call.items(path) == []


def form(*parts, boundary="a-boundary"):
    """A body of multipart/form-data. parts: (name, bytes)."""
    body = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n'
                    "Content-Type: application/octet-stream\r\n\r\n".encode() + data + b"\r\n" for name, data in parts)
    return body + f"--{boundary}--\r\n".encode()


def test_a_request_and_an_archive_in_one_form(guarded, call):
    """s2i 13.46: as curl -F sends them, in any order; secrets may stand in it, unlike in an URL. A page of others can
    send a form too: without credentials of its own it is refused."""
    who, path = Caller(guarded.target, guarded.accounts.user("former")), "/repos/form/app/-/builds"
    guarded.accounts.grant("former", "form/*", people.MAINTAIN)
    request = json.dumps({"options": {**BUILDER, "tags": ["formed"], "secret_env": ["WORD=abc123xyz"]}}).encode()
    kind = [("Content-Type", 'multipart/form-data; charset=utf-8; boundary="a-boundary"')]
    assert call.call("POST", path, raw=form(("request", request)), headers=kind).status == 403
    contents, files = set(), {**FILES, "large": "line\r\n--a-boundar\r\n" * 50000}
    for parts in ([("request", request), ("archive", packed(files))], [("archive", packed(files)), ("request", request)]):
        answer = who.call("POST", f"{path}?wait=true", raw=form(*parts), headers=kind)
        assert answer.status == 201, answer
        build = answer.json()
        assert (build["source"], build["tags"], build["reason"]) == ("archive", ["formed"], "PullBuilderImageFailed")
        assert build["facts"]["source"]["files"] == len(files)
        contents.add(build["facts"]["source"]["content"])
    assert len(contents) == 1
    alone = json.dumps({"source": "none", "options": BUILDER}).encode()
    assert who.call("POST", path, raw=form(("request", alone)), headers=kind).json()["source"] == "none"
    count = len(who.items(path))
    wrong = [form(("request", request), ("request", request)), form(("archive", b"x"), ("archive", b"x")),
             form(("other", b"x")), form(("request", request))[:-6], b"no form at all", form(("request", b"{"))]
    for body in wrong:
        assert who.call("POST", path, raw=body, headers=kind).status in (400, 422), body[:60]
    both = json.dumps({"source": "url", "options": BUILDER}).encode()
    assert who.call("POST", path, raw=form(("request", both), ("archive", packed(FILES))), headers=kind).status == 422
    large = form(("request", b'{"commit": "' + b"x" * 70000 + b'"}'), ("archive", b"x"))
    assert who.call("POST", path, raw=large, headers=kind).status == 413
    assert who.call("POST", path, raw=form(("request", request)), headers=[("Content-Type", "multipart/form-data")]).status == 400
    assert len(who.items(path)) == count
    who.close()


def test_an_archive_that_is_too_large(make_server):
    server = make_server({"builds.sources.max_size": "1MiB"})
    call = Caller(server.target)
    assert call.send("team/app", data=bytes((1 << 20) + 1)).status == 413
    pieces = [bytes(1 << 19)] * 3  # of no declared size
    response = call.client.request("POST", "/api/v1/repos/team/app/-/builds", pieces, [("Content-Type", "application/x-tar")],
                                   chunked=True)
    assert response.status == 413
    assert call.items("/repos/team/app/-/builds") == []
    call.close()


def test_builds_that_are_none(call):
    for path in ("/builds/999999", "/builds/x", "/builds/0", "/builds/999999/log"):
        assert call.get(path).status == 404
    for verb in ("cancel", "retry"):
        assert call.post(f"/builds/999999:{verb}").status == 404


# --- what would be done ---


def test_a_plan_builds_nothing(call, name):
    """s2i 15.9."""
    response = call.send(name, query="&plan=true")
    assert response.status == 200 and "error" not in response.json(), response
    assert "builders/test" in response.body.decode()
    assert call.items(f"/repos/{name}/-/builds") == []
    missing = call.send(name, query="&plan=true", options={"builder": "builders/none"})
    assert missing.json()["error"]["reason"] == "PullBuilderImageFailed"


# --- configurations ---


def test_a_configuration_is_kept(call, name):
    """s2i 13.46, 11."""
    path = f"/repos/{name}/-/build-config"
    assert call.get(path).status == 404 and call.patch(path, {}).status == 404
    made = call.put(path, {"options": {"builder": "builders/test", "env": ["A=1"]}}, ("If-None-Match", "*"))
    assert made.status == 201 and made["ETag"] == '"1"'
    config = call.get(path)
    assert config.json() == made.json() and re.fullmatch("[0-9a-f]{32}", config.json()["hook"])
    assert call.get(path, ("If-None-Match", config["ETag"])).status == 304
    changed = call.patch(path, {"options": {"env": None, "memory": 1 << 26}}, ("If-Match", config["ETag"]))
    assert changed.json()["options"] == {"builder": "builders/test", "memory": 1 << 26}
    assert call.patch(path, {"paused": True}, ("If-Match", config["ETag"])).status == 412
    assert call.put(path, {"options": {}}, ("If-None-Match", "*")).status == 412
    assert call.patch(path, {"paused": True}).json()["paused"] is True
    replaced = call.put(path, {"options": {"ref": "main"}}).json()
    assert replaced["options"] == {"ref": "main"} and replaced["paused"] is False
    assert replaced["hook"] == config.json()["hook"] and replaced["version"] == 4
    assert name in [item["repository"] for item in call.items("/build-configs")]
    assert call.delete(path, ("If-Match", config["ETag"])).status == 412
    assert call.delete(path).status == 204 and call.get(path).status == 404
    for bad in ({}, {"options": {"memory": 1}}, {"options": {"colour": "red"}}, {"options": {}, "more": 1}):
        assert call.put(path, bad).status == 422, bad


def test_a_secret_variable_is_never_shown(call, server, name):
    """s2i 5.4: *** stands for it, and keeps it when it is sent back."""
    path, secret = f"/repos/{name}/-/build-config", "hunter2hunter2"
    made = call.put(path, {"options": {**BUILDER, "secret_env": [f"PASSWORD={secret}"]}})
    assert made.json()["options"]["secret_env"] == ["PASSWORD=***"]
    assert call.put(path, {"options": made.json()["options"]}).status == 200
    assert call.patch(path, {"options": {"ref": "main"}}).json()["options"]["secret_env"] == ["PASSWORD=***"]
    assert call.put(path, {"options": {"secret_env": ["OTHER=***"]}}).status == 422
    show = '#!/bin/sh\necho "it is $PASSWORD, of ${#PASSWORD} bytes"\n'
    build = call.build(name, {".s2i/bin/assemble": show}, options={})
    assert build["state"] == "Complete", build["message"]
    assert b"it is ***, of 14 bytes" in call.get(f"/builds/{build['id']}/log").body
    assert call.get(f"/builds/{build['id']}").json()["options"]["secret_env"] == ["PASSWORD=***"]
    for place in (path, "/build-configs", f"/builds/{build['id']}", f"/builds/{build['id']}/log", "/audit"):
        assert secret not in call.get(place).body.decode(), place
    assert secret not in server.log.read_text()


def test_secrets_have_names_only(call, name):
    """s2i 14.1, 16.12, 10.21."""
    path = f"/repos/{name}/-/build-config"
    assert call.put(f"{path}/secrets/hook/a", {"value": "x" * 16}).status == 404
    assert call.put(path, {"options": {}}).status == 201
    assert call.put(f"{path}/secrets/status/one", {"value": "token"}).status == 409  # of which forge?
    assert call.patch(path, {"options": {"status_kind": "gitea", "status_url": "https://git.example/api/v1"}}).status == 200
    good = {"hook": {"value": "x" * 16}, "file": {"value": "line\n"},
            "callback": {"value": "y" * 16}, "status": {"value": "token"},
            "source": {"value": "ana:pass", "url": "https://git.example/team/", "kind": "password"}}
    for kind, body in good.items():
        assert call.put(f"{path}/secrets/{kind}/one", body).status == 204
    listed = call.get(f"{path}/secrets").json()
    assert {kind: [item["name"] for item in items] for kind, items in listed.items()} == {
        kind: ["one"] for kind in ("hook", "source", "file", "callback", "status")}
    bad = {"hook": [{}, {"value": ""}, {"value": "x" * 15}, {"value": 7}], "file": [{}, {"value": ""}],
           "callback": [{"value": "x" * 15}], "status": [{"value": ""}, {"value": "a b"}],
           "source": [{"value": "x"}, {**good["source"], "kind": "magic"}, {**good["source"], "value": "nopassword"},
                      {**good["source"], "url": "https://a@b/"}]}
    for kind, bodies in bad.items():
        for body in bodies:
            assert call.put(f"{path}/secrets/{kind}/two", body).status == 422, (kind, body)
    for odd in (".x", "-x", "a%20b", "x" * 65):
        assert call.put(f"{path}/secrets/hook/{odd}", good["hook"]).status == 422, odd
    assert call.delete(f"{path}/secrets/file/one").status == 204
    assert call.delete(f"{path}/secrets/file/one").status == 404


# --- who may what ---


def test_who_sees_a_build(guarded):
    """Who may pull reads it and its log; who may push also sees who asked, and cancels."""
    who = {}
    for label, rights in (("ana", people.WRITE), ("ben", people.READ), ("cleo", 0)):
        who[label] = Caller(guarded.target, guarded.accounts.user(label))
        if rights:
            guarded.accounts.grant(label, "priv/*", rights)
    made = who["ana"].send("priv/app", options={"builder": "builders/none"})
    assert made.status == 201, made
    id = made.json()["id"]
    process.wait_for(lambda: who["ana"].state(id) == "Failed", 20, "it to fail")
    assert who["ben"].send("priv/app").status == 403 and who["cleo"].send("priv/app").status == 404
    seen = who["ben"].get(f"/builds/{id}").json()
    assert seen["actor"] is None and "options" not in seen and "messages" not in seen
    assert [who["ana"].get(f"/builds/{id}").json()[key] for key in ("actor", "messages")] == ["ana", []]
    assert who["ben"].get(f"/builds/{id}/log").status == 200
    assert who["cleo"].get(f"/builds/{id}").status == who["cleo"].get(f"/builds/{id}/log").status == 404
    assert [item["id"] for item in who["ben"].items("/builds")] == [id] and who["cleo"].items("/builds") == []
    assert who["ben"].post(f"/builds/{id}:retry").status == 403
    assert who["cleo"].post(f"/builds/{id}:retry").status == 404
    nobody = Caller(guarded.target)
    assert nobody.get(f"/builds/{id}/log").status == nobody.get("/builds").status == 401
    for one in (*who.values(), nobody):
        one.close()


# --- other sources ---


def test_without_a_source_the_scripts_are_run(server, call, name):
    """s2i 4.1: none at all."""
    response = call.post(f"/repos/{name}/-/builds?wait=true", {"source": "none", "options": {**BUILDER, "tags": ["x"]}})
    build = response.json()
    assert (build["state"], build["source"]) == ("Complete", "none"), build["message"]
    assert "opt/app-root/src/assembled" in building.layer_entries(server, name, "x")


def test_what_was_pushed_is_built_again(server, call, source, name):
    """s2i 4.1, 13.21: by its commit, or by its branch."""
    app = source(FILES)
    app.push(server, name, "-o", "builder=builders/test")
    digest = building.manifest(server, name)[0]
    for body in ({"commit": app.head()}, {"options": {"ref": "main"}}, {}):
        body = {"source": "push", **body, "options": {**BUILDER, **body.get("options", {})}}
        build = call.post(f"/repos/{name}/-/builds?wait=true", body).json()
        assert build["state"] == "Complete", (body, build["message"])
        assert (build["commit"], build["result_digest"]) == (app.head(), digest), body
