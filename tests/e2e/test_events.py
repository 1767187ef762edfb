"""test_events.py - what happens, live (s2i 13.48): who is told what, where one goes on, and that nobody is held up by it."""
import base64
import contextlib
import json
import sqlite3
import time

import pytest

from support import api, content, people, process
from support.content import digest, push_image
from support.crowd import beside, quick
from support.engines import verify_flags
from support.events import Ended, Stream

DAY = 86400 * 1000000


def basic(name, secret=None):
    pair = f"{name}:{secret or people.password_of(name)}".encode()
    return [("Authorization", "Basic " + base64.b64encode(pair).decode())]


def bearer(token):
    return [("Authorization", f"Bearer {token}")]


@contextlib.contextmanager
def told(server, path="/events", headers=(), target=None, **more):
    """A stream that is at its place."""
    with Stream(target or server.target, path, headers, **more) as stream:
        assert stream.response.status == 200, stream.response.body
        yield stream.greeted()


@contextlib.contextmanager
def calling(server, who=None):
    caller = api.Api(server.target, who)
    try:
        yield caller
    finally:
        caller.close()


def is_tag(tag):
    return lambda name, data: name in ("push", "delete") and data["tag"] == tag


# --- what is told ---


def test_a_push_of_skopeo_is_told(tools, server, layouts, name):
    """By http and https; the digest is the one that can be pulled."""
    with told(server, f"/events?repository={name}") as stream:
        tools.skopeo("copy", *verify_flags(server, "dest-"), f"oci:{layouts.busybox}:latest",
                     f"docker://{server.host}/{name}:1.0")
        event, data = stream.next()
    with contextlib.closing(server.client()) as client:
        manifest = client.get(f"/v2/{name}/manifests/1.0")
    assert (event, data["what"], data["repository"], data["tag"], data["cause"]) == ("push", "tag", name, "1.0", "push")
    assert data["digest"] == digest(manifest.body) and data["media_type"] == manifest["Content-Type"]
    layers = json.loads(manifest.body)
    assert data["size"] == len(manifest.body) + layers["config"]["size"] + sum(x["size"] for x in layers["layers"])
    assert data["from"] is None and data["actor"] is None and data["id"] == stream.last


def test_what_the_api_does_is_told(plain, name):
    with contextlib.closing(plain.client()) as client, calling(plain) as caller:
        first = push_image(client, name, "1.0")
        second = push_image(client, name, "2.0")
        assert first != second
        with told(plain, f"/events?repository={name}") as stream:
            old = digest(client.get(f"/v2/{name}/manifests/1.0").body)
            new = digest(client.get(f"/v2/{name}/manifests/2.0").body)
            assert caller.put(f"/repos/{name}/-/tags/1.0", {"digest": new}).status in (200, 201, 204)
            event, data = stream.next()
            assert (event, data["tag"], data["digest"], data["from"], data["cause"]) == ("push", "1.0", new, old, "set")
            assert caller.delete(f"/repos/{name}/-/tags/1.0").status == 204
            event, data = stream.next()
            assert (event, data["what"], data["tag"], data["digest"]) == ("delete", "tag", "1.0", new)
            assert client.delete(f"/v2/{name}/manifests/{new}").status == 202
            assert [(event, data["what"], data["tag"], data["cause"]) for event, data in (stream.next(), stream.next())] \
                == [("delete", "tag", "2.0", "manifest_delete"), ("delete", "manifest", None, "manifest_delete")]
            assert caller.delete(f"/repos/{name}").status == 204
            event, data = stream.next()
            assert (event, data["what"], data["repository"]) == ("delete", "repository", name)


def test_what_is_refused_is_not_told(plain, name):
    with contextlib.closing(plain.client()) as client:
        with told(plain, f"/events?repository={name}") as stream:
            body = content.compact({"schemaVersion": 2, "mediaType": content.IMAGE, "layers": [],
                                    "config": {"mediaType": content.CONFIG, "digest": "sha256:" + "0" * 64, "size": 2}})
            assert content.put_manifest(client, name, "1.0", body).status == 400
            assert client.delete(f"/v2/{name}/manifests/1.0").status == 404
            assert stream.silent()


def test_retention_is_told_and_so_is_its_job(make_server, name):
    server = make_server()
    rules = [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
              "action": {"type": "expire"}}]
    with contextlib.closing(server.client()) as client, calling(server) as caller:
        for tag in ("one", "two", "three"):
            push_image(client, name, tag)
        assert caller.post("/policies", {"pattern": name, "mode": "enforce", "rules": rules}).status == 201
        with contextlib.closing(sqlite3.connect(server.root / "meta.db", timeout=10)) as rows, rows:
            rows.execute(f"UPDATE manifests SET created_at = created_at - {30 * DAY}, touched_at = touched_at - {30 * DAY}")
        with told(server) as stream:
            started = caller.post("/jobs", {"kind": "policy", "spec": {}})
            assert started.status == 202, started
            got = stream.until(lambda event, data: event == "job" and data["state"] == "done")
    gone = {data["tag"] for event, data in got if event == "delete" and data["what"] == "tag"}
    assert gone == {"one", "two"}, got
    assert {data["cause"] for event, data in got if event == "delete"} == {"retention"}
    states = [data["state"] for event, data in got if event == "job"]
    assert states[0] == "running" and states[-1] == "done" and len(set(states)) == 2
    assert [data["id"] for _, data in got] == sorted((data["id"] for _, data in got), key=lambda x: int(x.split("-")[1]))


def test_a_job_until_its_end(make_server, name):
    server = make_server()
    with contextlib.closing(server.client()) as client, calling(server) as caller:
        content.push_blob(client, name, content.fresh(1 << 20))
        started = caller.post("/jobs", {"kind": "check", "spec": {"deep": True, "rate": 1}})
        job = started.json()["id"]
        with told(server, f"/jobs/{job}/events") as stream:
            event, data = stream.next()
            assert event == "job" and data["job"] == job and data["state"] == "running"
            stream.until(lambda event, data: data["phase"] != "")
            assert caller.post(f"/jobs/{job}:cancel").status == 200
            got, clean = stream.ends()
        assert clean and got[-1] == ("end", None) and got[-2][1]["state"] == "cancelled"
        with Stream(server.target, f"/jobs/{job}/events") as stream:  # it has ended: the same, at once
            got, clean = stream.ends()
        assert clean and [event for event, _ in got] == ["job", "end"]
        assert caller.get("/jobs/999999").status == 404
        with Stream(server.target, "/jobs/999999/events") as stream:
            assert stream.response.status == 404


# --- who is told ---


@pytest.fixture
def registry(folder, name):
    """One of its own that asks who is there."""
    def accounts(to):
        to.user("ana"), to.user("eve"), to.user("bob"), to.user("opa", people.OPERATOR)
        to.grant("ana", "team/*", people.WRITE)
        to.grant("eve", "team/app", people.READ)
        to.tokens = {"eve": to.token("eve", "api repository:team/*:pull"), "ana": to.token("ana")}
        to.public("open/tool")

    server = people.Registry(folder / name.replace("/", "-"), {"events.followers_each": "250"}, people=accounts)
    server.start()
    yield server
    server.finish()


def push(server, repository, tag="1.0", who="root"):
    with contextlib.closing(server.caller(who)) as caller:
        push_image(caller, repository, tag)


def test_each_sees_his_part(registry):
    with told(registry, headers=basic("ana")) as ana, told(registry, headers=basic("eve")) as eve, \
            told(registry, headers=basic("bob")) as bob, told(registry, headers=basic("opa")) as opa, \
            told(registry, target=registry.admin) as local:
        push(registry, "secret/one", "s")
        push(registry, "team/lib", "l", who="ana")
        push(registry, "team/app", "a", who="ana")
        push(registry, "open/tool", "t")
        with calling(registry, people.ROOT) as root:
            assert root.post("/gc/runs", {}).status == 202
        everything = local.until(lambda event, data: event == "job" and data["state"] == "done")
        assert [data["tag"] for event, data in everything if event == "push"] == ["s", "l", "a", "t"]
        seen = {who: stream.until(is_tag("t")) for who, stream in (("ana", ana), ("eve", eve), ("bob", bob))}
        assert [data["tag"] for _, data in seen["ana"]] == ["l", "a", "t"]
        assert [data["tag"] for _, data in seen["eve"]] == ["a", "t"]
        assert [data["tag"] for _, data in seen["bob"]] == ["t"]
        assert seen["ana"][0][1]["actor"] == "ana"  # who works there is told who else does
        assert {data["actor"] for _, data in seen["eve"]} == {None}
        for stream in (ana, eve, bob):
            assert stream.silent(0.1)  # no jobs
        jobs = opa.until(lambda event, data: event == "job" and data["state"] == "done")
        assert {event for event, _ in jobs} == {"push", "job"}
    with Stream(registry.target, "/events?kind=job", basic("bob")) as stream:
        assert stream.response.status == 403
    with Stream(registry.target) as stream:
        assert stream.response.status == 401


def test_rights_are_those_of_the_moment(registry):
    with calling(registry, people.ROOT) as root, told(registry, headers=basic("eve")) as eve:
        push(registry, "team/lib", "before")
        push(registry, "team/app", "first")
        assert [data["tag"] for _, data in eve.until(is_tag("first"))] == ["first"]  # so "before" was judged
        made = root.post("/grants", {"account": "eve", "pattern": "team/lib", "level": "read"})
        assert made.status == 201
        push(registry, "team/lib", "granted")
        assert [data["tag"] for _, data in eve.until(is_tag("granted"))] == ["granted"]
        assert root.delete(made["Location"]).status == 204
        push(registry, "team/lib", "after")
        push(registry, "open/tool", "open")
        assert [data["tag"] for _, data in eve.until(is_tag("open"))] == ["open"]
        assert root.patch("/repos/open/tool", {"visibility": "private"}).status == 200
        push(registry, "open/tool", "closed")
        push(registry, "team/app", "last")
        assert [data["tag"] for _, data in eve.until(is_tag("last"))] == ["last"]


def test_a_token_that_is_revoked_ends_its_stream(registry):
    token = registry.accounts.tokens["eve"]
    with calling(registry, people.ROOT) as root, told(registry, headers=bearer(token)) as stream, \
            told(registry, headers=bearer(registry.accounts.tokens["ana"])) as other:
        push(registry, "team/app", "one")
        stream.until(is_tag("one"))
        mine = [row["id"] for row in root.items("/users/eve/tokens")]
        assert len(mine) == 1 and root.delete(f"/tokens/{mine[0]}").status == 204
        push(registry, "team/app", "two")
        got, _ = stream.ends(30)
        assert got == []
        assert [data["tag"] for _, data in other.until(is_tag("two"))] == ["one", "two"]
    with Stream(registry.target, headers=bearer(token)) as stream:
        assert stream.response.status == 401


@pytest.mark.parametrize("how", ["session", "password", "account"])
def test_what_was_shown_ends_and_so_does_the_stream(registry, how):
    """Nothing happens meanwhile: it is noticed all the same."""
    with calling(registry, people.ROOT) as root, calling(registry) as eve:
        eve.sign_in("eve", people.password_of("eve"))
        headers = [("Cookie", eve.cookie)] if how == "session" else basic("eve")
        with told(registry, headers=headers) as stream:
            if how == "session":
                assert eve.delete("/session", ("Sec-Fetch-Site", "same-origin")).status == 204
            elif how == "password":
                assert root.patch("/users/eve", {"password": "another one entirely"}).status == 200
            else:
                assert root.post("/users/eve:disable").status == 200
            assert stream.ends(30)[0] == []


# --- where one goes on ---


def test_comes_again_where_it_was(make_server, name):
    server = make_server()
    with contextlib.closing(server.client()) as client:
        with told(server) as stream:
            push_image(client, name, "one")
            stream.until(is_tag("one"))
            last = stream.last
        push_image(client, name, "two")
        push_image(client, name, "three")
        for path, headers in (("/events", [("Last-Event-ID", last)]), (f"/events?last_event_id={last}", []),
                              ("/events?last_event_id=0123456789abcdef-1", [("Last-Event-ID", last)])):
            with told(server, path, headers) as stream:
                assert [data["tag"] for _, data in stream.until(is_tag("three"))] == ["two", "three"]
        with told(server, "/events?recent=true&once=true") as stream:
            got, clean = stream.ends()
            assert clean and [data["tag"] for _, data in got] == ["one", "two", "three"]
        for wrong in ("x", "1", last + "x", "0123456789abcdef-" + "9" * 30, "%0d%0aevent:%20push", "-1"):
            with Stream(server.target, f"/events?last_event_id={wrong}") as stream:
                assert stream.response.status == 422 and b"no id of an event" in stream.response.body
        server.restart()
        with told(server, headers=[("Last-Event-ID", last)]) as stream:
            assert stream.next()[0] == "gap"


def test_wishes_that_cannot_be(plain):
    for query in ("kind=pull", "kind=", "kind=push,,job", "repository=", "repository=" + "x" * 300, "once=yes"):
        with Stream(plain.target, "/events?" + query) as stream:
            assert stream.response.status == 422, query
    with contextlib.closing(plain.client()) as client:
        head = client.head("/api/v1/events")
        assert head.status == 200 and head["Content-Type"] == "text/event-stream"


# --- what it costs ---


def test_two_hundred_follow_and_nobody_waits(registry):
    """One thread for all; each gets everything; who leaves is forgotten."""
    threads, descriptors = registry.threads(), registry.descriptors()
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(told(registry, headers=bearer(registry.accounts.tokens["ana"])))
                   for _ in range(200)]
        assert registry.threads() == threads
        with contextlib.closing(registry.caller("ana")) as caller:
            for number in range(10):
                push_image(caller, "team/app", f"t{number}")
        for stream in streams:
            assert [data["tag"] for _, data in stream.until(is_tag("t9"))] == [f"t{n}" for n in range(10)]
        more = [opened.enter_context(Stream(registry.target, headers=basic("eve"))) for _ in range(57)]
        assert [stream.response.status for stream in more[:56]] == [200] * 56
        assert more[56].response.status == 429 and int(more[56].response["Retry-After"]) > 0
        assert b"as many as this server allows" in more[56].response.body
    process.wait_for(lambda: registry.descriptors() <= descriptors + 8, what="streams that are forgotten")


def test_one_account_does_not_take_all_seats(make_server):
    server = make_server({"events.followers_each": "2"})
    with told(server), told(server), Stream(server.target) as third:
        assert third.response.status == 429 and b"as many as one account may have" in third.response.body
        with told(server, target=server.admin):
            pass


def test_who_does_not_read_costs_no_memory(make_server, name):
    """What he misses is told, and nobody waits for him."""
    server = make_server({"server.limits.write_idle_timeout": "1h"})
    with contextlib.closing(server.client()) as client:
        push_image(client, name, "0")
        body = client.get(f"/v2/{name}/manifests/0").body

        def put_many(count):
            took = []
            for number in range(count):
                started = time.monotonic()
                assert content.put_manifest(client, name, f"t{number % 50}", body).status == 201
                took.append(time.monotonic() - started)
            return quick(took)

        alone = put_many(300)
        with contextlib.ExitStack() as opened:
            for _ in range(20):
                opened.enter_context(Stream(server.target, receive_buffer=4096))
            with told(server) as reader:
                before = server.memory()
                followed = put_many(1500)
                assert process.sanitized() or server.memory() - before < 12 << 20  # of the ring, mostly
                got = reader.until(lambda event, data: event == "push" and data["tag"] == "t49")
                assert got
        assert followed < alone * 4 + 0.003, (followed, alone)


def test_the_end_of_the_server_ends_streams_at_once(make_server):
    server = make_server({"server.drain_timeout": "60s"})
    with told(server) as one, told(server) as other:
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 30
        for stream in (one, other):
            with pytest.raises(Ended):
                stream.next()


def test_followers_come_and_go_while_much_happens(make_server, name):
    """Nothing is lost to who stays."""
    server = make_server()

    def churn(stop, _):
        while not stop.is_set():
            with Stream(server.target) as other:
                assert other.response.status in (200, 429)  # who left may not be forgotten yet
                if other.response.status == 200:
                    other.greeted()

    with contextlib.closing(server.client()) as client, told(server) as stream:
        with beside(3, churn):
            for number in range(40):
                push_image(client, name, f"t{number}", layers=[b"x"])
        assert [data["tag"] for _, data in stream.until(is_tag("t39"))] == [f"t{number}" for number in range(40)]
