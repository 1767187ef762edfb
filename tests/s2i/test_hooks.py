"""test_hooks.py - webhooks: who is believed, what a delivery starts, and what it does not.

Touches  a server with a builder; the builds that are started fail, for their source is nowhere.
Never    a sender outside of this machine. Spec: s2i 14.
"""
import contextlib
import hashlib
import hmac
import itertools
import pathlib
import select
import threading
import time
import urllib.parse

import pytest

from support import api, process, wire

SAMPLES = pathlib.Path(__file__).parent / "hooks"
SECRET, OTHER = "a secret of sixteen bytes", "another one, also long enough"
JSON = ("Content-Type", "application/json")
deliveries = itertools.count(1)


def sample(name):
    return (SAMPLES / f"{name}.json").read_bytes()


def code(secret, body):
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(sender, body, secret=SECRET, event=None, delivery=None):
    """The headers of a delivery, as this sender sends them."""
    delivery = delivery or f"delivery-{next(deliveries)}"
    return {
        "github": [("X-GitHub-Event", event or "push"), ("X-GitHub-Delivery", delivery),
                   ("X-Hub-Signature", "sha1=" + "0" * 40), ("X-Hub-Signature-256", "sha256=" + code(secret, body))],
        "gitlab": [("X-Gitlab-Event", event or "Push Hook"), ("X-Gitlab-Event-UUID", delivery),
                   ("X-Gitlab-Token", secret)],
        "gitea": [("X-GitHub-Event", "push"), ("X-Gitea-Event", event or "push"), ("X-Gitea-Delivery", delivery),
                  ("X-Gitea-Signature", code(secret, body))],
        "bitbucket": [("X-Event-Key", event or "repo:push"), ("X-Request-UUID", delivery),
                      ("X-Hub-Signature", "sha256=" + code(secret, body))],
        "generic": [("Idempotency-Key", delivery), ("Authorization", f"Bearer {secret}")],
    }[sender]


class Hook:
    """A repository whose configuration names a source, with one secret."""

    def __init__(self, server, name, **options):
        self.api, self.name, self.config = api.Api(server.target), name, f"/repos/{name}/-/build-config"
        self.set(url="https://127.0.0.1/app.git", builder="builders/test", **options)
        self.secret("one", SECRET)

    def set(self, paused=False, **options):
        response = self.api.put(self.config, {"options": options, "paused": paused})
        assert response.status in (200, 201), response
        self.id = response.json()["hook"]

    def secret(self, name, value):
        assert self.api.put(f"{self.config}/secrets/hook/{name}", {"value": value}).status == 204

    def deliver(self, sender, body, headers, kind=JSON):
        return self.api.call("POST", f"/hooks/{self.id}/{sender}", raw=body, headers=[*headers, kind] if kind else headers)

    def builds(self):
        return self.api.items(f"/repos/{self.name}/-/builds")

    def verdicts(self):
        return [item["verdict"] for item in self.api.items(f"{self.config}/deliveries")]


@pytest.fixture
def hook(server, name):
    made = []

    def make(**options):
        made.append(Hook(server, name, **options))
        return made[-1]
    yield make
    for one in made:
        one.api.close()


PUSHES = [
    ("github", "github-push", None, "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"),
    ("gitlab", "gitlab-push", None, "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"),
    ("gitea", "gitea-push", None, "bffeb74224043ba2feb48d137756c8a9331c449a"),
    ("bitbucket", "bitbucket-push", None, "709d658dc5b6d6afcd46049c2f332ee3f515a67d"),
    ("bitbucket", "bitbucket-server", "repo:refs_changed", "178864a7d521b6f5e720b386b2c2b0ef8563e0dc"),
    ("generic", "generic", None, "c3ab8ff13720e8ad9047dd39466b3c8974e592c2"),
]


@pytest.mark.parametrize("sender, file, event, commit", PUSHES, ids=[case[1] for case in PUSHES])
def test_a_push_is_built_at_its_commit(hook, sender, file, event, commit):
    """s2i 14.2 to 14.8, 14.10: answered before it is built; the URL is the configuration's."""
    one, body = hook(), sample(file)
    response = one.deliver(sender, body, signed(sender, body, event=event))
    assert response.status == 202, response
    build, = one.builds()
    assert build["id"] == response.json()["build"]
    assert (build["commit"], build["trigger"], build["source"]) == (commit, "webhook", "url")
    assert build["url"] == "https://127.0.0.1/app.git" and build["actor"] == f"webhook/{sender}"
    verdict, = one.verdicts()
    assert verdict.startswith(f"build {build['id']} was started")


def test_who_is_not_believed_starts_nothing(hook):
    """s2i 14.1: whatever is wrong with what is shown, and whatever sender it says it is."""
    one, body = hook(), sample("github-push")
    good = code(SECRET, body)
    wrong = [
        ("github", []),
        ("github", [("X-Hub-Signature-256", "sha256=" + code(OTHER, body))]),
        ("github", [("X-Hub-Signature-256", "sha256=" + code(SECRET, body + b" "))]),
        ("github", [("X-Hub-Signature-256", good)]),
        ("github", [("X-Hub-Signature-256", "sha256=")]),
        ("github", [("X-Hub-Signature-256", "sha256=" + good[:-1])]),
        ("github", [("X-Hub-Signature-256", "sha256=" + good.upper())]),
        ("github", [("X-Hub-Signature", "sha1=" + hmac.new(SECRET.encode(), body, "sha1").hexdigest())]),
        ("github", [("X-Hub-Signature", "sha256=" + good)]),
        ("github", [("X-Gitlab-Token", SECRET), ("Authorization", f"Bearer {SECRET}")]),
        ("gitlab", [("X-Gitlab-Token", SECRET[:-1])]),
        ("gitlab", [("X-Gitlab-Token", SECRET + "x")]),
        ("gitlab", [("X-Gitlab-Token", "")]),
        ("gitea", [("X-Gitea-Signature", "sha256=" + good)]),
        ("bitbucket", [("X-Hub-Signature", good)]),
        ("generic", [("Authorization", f"Basic {SECRET}")]),
        ("generic", [("Authorization", "Bearer")]),
        ("generic", [("X-S2I-Signature-256", "sha256=" + code(OTHER, body))]),
    ]
    for sender, headers in wrong:
        events = [("X-GitHub-Event", "push"), ("X-Gitlab-Event", "Push Hook"), ("X-Gitea-Event", "push"),
                  ("X-Event-Key", "repo:push")]
        response = one.deliver(sender, body, [*headers, *events])
        assert response.status == 403, (sender, headers, response)
    assert one.builds() == [] and one.verdicts() == []


def test_a_hook_without_a_secret_takes_nothing(hook):
    one, body = hook(), sample("github-push")
    assert one.api.delete(f"{one.config}/secrets/hook/one").status == 204
    for secret in (SECRET, ""):
        assert one.deliver("github", body, signed("github", body, secret)).status == 403
    assert one.deliver("gitlab", body, [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", "")]).status == 403


def test_secrets_are_changed_one_after_the_other(hook):
    """s2i 14.1: rotation."""
    one, body = hook(), sample("github-push")
    one.secret("two", OTHER)
    assert one.deliver("github", body, signed("github", body)).status == 202
    body += b" "  # no push is sent twice
    assert one.deliver("github", body, signed("github", body, OTHER)).status == 202
    assert one.api.delete(f"{one.config}/secrets/hook/one").status == 204
    body += b" "
    assert one.deliver("github", body, signed("github", body)).status == 403
    assert one.deliver("github", body, signed("github", body, OTHER)).status == 202


def test_the_same_delivery_again_starts_nothing(hook):
    """s2i 14.10."""
    one, body = hook(), sample("github-push")
    first = one.deliver("github", body, signed("github", body, delivery="same"))
    again = one.deliver("github", body, signed("github", body, delivery="same"))
    assert (first.status, again.status) == (202, 200)
    assert first.json()["build"] == again.json()["build"] and len(one.builds()) == 1
    body += b" "
    other = one.deliver("github", body, signed("github", body, delivery="another"))
    assert other.status == 202 and len(one.builds()) == 2


@pytest.mark.parametrize("sender, file, event", [case[:3] for case in PUSHES], ids=[case[1] for case in PUSHES])
def test_the_same_delivery_many_times_at_once(hook, server, sender, file, event):
    """s2i 14.10: however many connections bring it at the same moment, one build."""
    one, body = hook(), sample(file)
    headers = [*signed(sender, body, event=event), JSON]
    gate, answers = threading.Barrier(8), []

    def send():
        caller = api.Api(server.target)
        gate.wait(60)
        answers.append(caller.call("POST", f"/hooks/{one.id}/{sender}", raw=body, headers=headers))
        caller.close()
    senders = [threading.Thread(target=send) for _ in range(8)]
    for thread in senders:
        thread.start()
    for thread in senders:
        thread.join(120)
    build, = one.builds()
    assert sorted(answer.status for answer in answers) == [200] * 7 + [202]
    assert {answer.json()["build"] for answer in answers} == {build["id"]}
    assert len(one.verdicts()) == 1


@pytest.mark.parametrize("sender, file", [("github", "github-push"), ("gitea", "gitea-push")])
def test_a_signed_body_under_another_id_is_a_replay(hook, sender, file):
    """s2i 14.2, 14.10: no sender signs the id: who saw a signed body could send it again under a new one."""
    one, body = hook(), sample(file)
    first = one.deliver(sender, body, signed(sender, body, delivery="first"))
    for delivery in ("second", "third", "first"):
        again = one.deliver(sender, body, signed(sender, body, delivery=delivery))
        assert again.status == 200 and again.json()["build"] == first.json()["build"]
    assert len(one.builds()) == 1


@pytest.mark.parametrize("sender, file, event", [case[:3] for case in PUSHES], ids=[case[1] for case in PUSHES])
def test_another_body_under_the_same_id(hook, sender, file, event):
    """s2i 14.10: signed or not, it starts nothing."""
    one, body = hook(), sample(file)
    first = one.deliver(sender, body, signed(sender, body, event=event, delivery="same"))
    other = body + b" "
    again = one.deliver(sender, other, signed(sender, other, event=event, delivery="same"))
    assert (first.status, again.status) == (202, 200) and again.json()["build"] == first.json()["build"]
    if sender not in ("gitlab", "generic"):  # these show the secret itself
        assert one.deliver(sender, other, signed(sender, body, event=event, delivery="new")).status == 403
    assert len(one.builds()) == 1


def test_a_header_that_is_there_twice(hook):
    """Which of two counts is nobody's to guess."""
    one, body = hook(), sample("github-push")
    right, wrong = ("X-Hub-Signature-256", "sha256=" + code(SECRET, body)), ("X-Hub-Signature-256", "sha256=" + "0" * 64)
    named = [("X-GitHub-Event", "push"), ("X-GitHub-Delivery", "d1")]
    for headers in ([right, wrong, *named], [wrong, right, *named], [right, right, *named]):
        assert one.deliver("github", body, headers).status in (400, 403), headers
    for doubled in (("X-GitHub-Delivery", "d2"), ("X-GitHub-Event", "ping")):
        assert one.deliver("github", body, [right, *named, doubled]).status == 400, doubled
    token = [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", OTHER), ("X-Gitlab-Token", SECRET)]
    assert one.deliver("gitlab", sample("gitlab-push"), token).status in (400, 403)
    assert one.builds() == []


DEEP = [b"[" * 100000, b'{"a":' * 100000, b'{"ref":' + b"[" * 3000 + b"]" * 3000 + b"}", b"[" * 3000 + b"]" * 3000,
        b'{"ref": "refs/heads/main", "after": ' + b"9" * 100000 + b"}", b'{"ref": "' + b"x" * (1 << 20) + b'", "after": "0"}',
        b'{"push": {"changes": [' + b"{}," * 100000 + b"{}]}}", b"\xff\xfe", b'"text"', b"null", b"{}", b'{"ref": 1}']


@pytest.mark.parametrize("sender", ["github", "gitlab", "gitea", "bitbucket"])
def test_payloads_that_are_none(hook, sender):
    """s2i 14.10: deep, huge, of other types; the server goes on."""
    one = hook()
    for body in DEEP:
        response = one.deliver(sender, body, signed(sender, body))
        assert response.status == 400, (body[:40], response)
    assert one.builds() == []


def test_refusals_tell_nothing(hook):
    """Whoever only knows, or guesses, an URL learns neither whose it is nor how it is built."""
    one, body = hook(), sample("github-push")
    refused = one.deliver("github", body, signed("github", body, OTHER))
    missing = one.api.call("POST", f"/hooks/{'0' * 32}/github", raw=body, headers=[*signed("github", body), JSON])
    assert (refused.status, missing.status) == (403, 404)
    for answer in (refused, missing):
        text = answer.body.decode() + str(answer.headers)
        for word in (one.name, "app.git", "builders/test", SECRET, OTHER, "one", "main"):
            assert word not in text.replace(one.id, ""), (word, text)
    for kind in ("text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", ""):
        wrong = one.deliver("github", body, signed("github", body), ("Content-Type", kind))
        assert wrong.status == 400 and one.name not in wrong.body.decode(), kind


def test_what_started_nothing_may_come_again(hook):
    """A delivery that found the configuration paused is sent anew by hand: the sender keeps its id."""
    one, body = hook(), sample("github-push")
    assert one.api.patch(one.config, {"paused": True}).status == 200
    first = one.deliver("github", body, signed("github", body, delivery="same"))
    assert first.status == 200 and "paused" in first.json()["message"]
    assert one.api.patch(one.config, {"paused": False}).status == 200
    assert one.deliver("github", body, signed("github", body, delivery="same")).status == 202


SKIPPED = [
    ("github", "github-deleted", None, {}, "deleted"),
    ("gitlab", "gitlab-deleted", None, {}, "deleted"),
    ("github", "github-push", None, {"ref": "next"},
     'skipping build. Branch reference from "refs/heads/main" does not match configuration'),
    ("github", "github-tag", None, {}, 'Branch reference from "refs/tags/v1.2" does not match'),
    ("gitlab", "gitlab-tag", "Tag Push Hook", {}, 'Branch reference from "refs/tags/v1.0.0" does not match'),
]


@pytest.mark.parametrize("sender, file, event, options, said", SKIPPED, ids=[f"{c[1]}-{c[3]}" for c in SKIPPED])
def test_what_is_not_built_is_said(hook, sender, file, event, options, said):
    """s2i 14.8, 14.9."""
    one, body = hook(**options), sample(file)
    response = one.deliver(sender, body, signed(sender, body, event=event))
    assert response.status == 200 and said in response.json()["message"] and response.json()["build"] is None
    assert one.builds() == [] and [said in verdict for verdict in one.verdicts()] == [True]


def test_the_configured_ref_may_be_whole(hook):
    one, body = hook(ref="refs/heads/main"), sample("github-push")
    assert one.deliver("github", body, signed("github", body)).status == 202


def test_other_events(hook):
    """s2i 14.2: ping is answered, what is no push is ignored; both only when they are signed."""
    one, body = hook(), b'{"zen": "Keep it logically awesome."}'
    assert one.deliver("github", body, signed("github", body, event="ping")).status == 200
    assert one.deliver("github", body, signed("github", body, event="issues")).status == 202
    assert one.deliver("github", body, signed("github", body, OTHER, event="ping")).status == 403
    assert one.deliver("bitbucket", body, signed("bitbucket", body, event="diagnostics:ping")).status == 200
    assert one.builds() == []


def test_a_form_is_signed_as_it_came(hook):
    """s2i 14.2: GitHub's default; the signature covers the raw bytes."""
    one = hook()
    body = ("payload=" + urllib.parse.quote_plus(sample("github-push").decode())).encode()
    form = ("Content-Type", "application/x-www-form-urlencoded")
    assert one.deliver("github", body, signed("github", body), form).status == 202
    assert one.deliver("github", body, signed("github", sample("github-push")), form).status == 403
    empty = b"other=1"
    assert one.deliver("github", empty, signed("github", empty), form).status == 400
    assert one.deliver("gitlab", body, signed("gitlab", body), form).status == 400


def test_what_is_no_payload(hook):
    """s2i 14.10: 400; and what is too large is refused by its head."""
    one = hook()
    for body in (b"", b"{", b"[]", b"null", b'{"ref": "refs/heads/main"}', b"\xff\xfe"):
        assert one.deliver("github", body, signed("github", body)).status == 400, body
    body = sample("github-push")
    assert one.deliver("github", body, signed("github", body), ("Content-Type", "text/plain")).status == 400
    path = f"/api/v1/hooks/{one.id}/github"
    assert one.api.client.request("POST", path, body, signed("github", body)).status == 400  # of no type
    assert one.builds() == []


def test_too_large(server, hook):
    one = hook()
    connection = wire.Connection(server.target)
    connection.send(f"POST /api/v1/hooks/{one.id}/github HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {(25 << 20) + 1}\r\nExpect: 100-continue\r\n\r\n".encode())
    assert connection.response("POST").status == 413
    connection.close()


def test_the_generic_hook(hook):
    """s2i 14.7: everything is optional, env only where it is allowed; by Bearer or signed."""
    one = hook(env=["STAGE=live", "KEPT=yes"])
    bodies = [(b"", None), (b"{}", JSON), (b'{"git": {"ref": "main"}}', JSON)]
    for body, kind in bodies:
        assert one.deliver("generic", body, signed("generic", body), kind).status == 202, body
    body = sample("generic")
    headers = [("X-S2I-Signature-256", "sha256=" + code(SECRET, body))]
    left_out = one.deliver("generic", body, headers)
    assert left_out.status == 202 and "env is not allowed" in left_out.json()["message"]
    env = one.api.get(f"/builds/{left_out.json()['build']}").json()["options"]["env"]
    assert env == ["STAGE=live", "KEPT=yes"]
    assert one.api.patch(one.config, {"options": {"allow_webhook_env": True}}).status == 200
    taken = one.deliver("generic", body, headers).json()
    env = one.api.get(f"/builds/{taken['build']}").json()["options"]["env"]
    assert env == ["STAGE=test", "KEPT=yes", "EMPTY="]
    assert one.builds()[0]["url"] == "https://127.0.0.1/app.git"


YAML = """\
git:
  uri: https://elsewhere.invalid/app.git
  ref: main
  commit: c3ab8ff13720e8ad9047dd39466b3c8974e592c2
env:
  - {name: STAGE, value: "test"}
  - name: COUNT
    value: 7
"""


@pytest.mark.parametrize("kind", ["application/yaml", "text/yaml; charset=utf-8", "application/x-yaml"])
def test_the_generic_hook_takes_yaml(hook, kind):
    """s2i 14.7: the same as JSON; words are texts, whatever they look like."""
    one, body = hook(allow_webhook_env=True), YAML.encode()
    headers = [("X-S2I-Signature-256", "sha256=" + code(SECRET, body))]
    answer = one.deliver("generic", body, headers, ("Content-Type", kind))
    assert answer.status == 202, answer
    build = one.api.get(f"/builds/{answer.json()['build']}").json()
    assert build["commit"] == "c3ab8ff13720e8ad9047dd39466b3c8974e592c2"
    assert build["url"] == "https://127.0.0.1/app.git" and build["options"]["env"] == ["STAGE=test", "COUNT=7"]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))
ODD_YAML = [BOMB, "[" * 100000, "{a: " * 100000, "- " * 5000 + "x", "git: &x {ref: main}", "x: *y", "git: !!python/object:os.system {}",
            "git: {ref: main, ref: next}", "--- {}\n--- {}", "main", "- git", "? {a: b}\n: c", 'git: {ref: "a\\0b"}',
            "git: {ref: main", "%YAML 9.9\n--- {}",
            "".join(f"%TAG !{i}! x\n" for i in range(100)) + "---\ngit: {ref: main}", "\ufeff%TAG !a! x\n---\ngit: {}",
            "\u2028%TAG !a! x\n---\ngit: {}", "x: [" + "y, " * 20000 + "]", "git: {ref: [main]}"]


def test_yaml_that_is_refused(hook):
    """s2i 14.7: nothing that grows, nothing that is guessed; at once."""
    one, began = hook(), time.monotonic()
    for text in ODD_YAML:
        body = text.encode()
        answer = one.deliver("generic", body, signed("generic", body), ("Content-Type", "application/yaml"))
        assert answer.status == 400, text[:60]
    assert one.builds() == [] and time.monotonic() - began < 30
    body = "git: {ref: main}".encode("utf-16")
    assert one.deliver("generic", body, signed("generic", body), ("Content-Type", "application/yaml")).status == 400
    body = sample("github-push")
    assert one.deliver("github", body, signed("github", body), ("Content-Type", "application/yaml")).status == 400


def test_bodies_that_nobody_signed_are_bounded(hook, server):
    """s2i 14.1: who knows where a webhook is, and no secret, does not fill the memory; nor keep others out for long."""
    one, body, open_ones = hook(), sample("generic"), []
    for _ in range(7):  # one after the other: five fit
        connection = wire.Connection(server.target)
        open_ones.append(connection)
        connection.send_head("POST", f"/api/v1/hooks/{one.id}/generic", [("Content-Type", "application/json"),
                                                                        ("Content-Length", 25 << 20)])
        with contextlib.suppress(OSError):  # refused
            connection.send(bytes(24 << 20))
    refused = process.wait_for(lambda: [taken for taken in open_ones if select.select([taken.socket], [], [], 0)[0]], 20, "a no")
    assert refused[0].response("POST").status == 503 and len(refused) <= 3
    for connection in open_ones:
        connection.close()
    at, headers = f"/api/v1/hooks/{one.id}/generic", [*signed("generic", body), JSON]
    process.wait_for(lambda: one.api.client.request("POST", at, body, headers, server_error=True).status < 300, 20, "the next")


def test_a_hook_that_is_none(hook, server):
    one, body = hook(), sample("github-push")
    for id in ("0" * 32, "x", one.id[:-1], one.id.upper() if one.id.upper() != one.id else "A"):
        assert one.api.call("POST", f"/hooks/{id}/github", raw=body, headers=[*signed("github", body), JSON]).status == 404
    assert one.api.call("POST", f"/hooks/{one.id}/svn", raw=body, headers=[JSON]).status == 404
    assert one.api.delete(one.config).status == 204
    assert one.deliver("github", body, signed("github", body)).status == 404


def test_the_test_button(hook):
    """s2i 14.11."""
    one = hook()
    response = one.api.post(f"{one.config}/deliveries:test")
    assert response.status == 202 and one.builds()[0]["id"] == response.json()["build"]
    listed, = one.api.items(f"{one.config}/deliveries")
    assert listed["sender"] == "test" and listed["build"] == response.json()["build"]


def test_secrets_are_nowhere(hook, server):
    """s2i 14.1, 16.12: neither in answers nor in the log."""
    one, body = hook(), sample("gitlab-push")
    one.deliver("gitlab", body, signed("gitlab", body))
    one.deliver("gitlab", body, signed("gitlab", body, OTHER))
    answers = [one.api.get(path).body for path in (one.config, f"{one.config}/secrets", f"{one.config}/deliveries",
                                                   f"/repos/{one.name}/-/builds", "/audit", "/build-configs")]
    for text in (*answers, server.log.read_bytes()):
        assert SECRET.encode() not in text and OTHER.encode() not in text
