"""test_api_quotas.py - quotas: made and changed by the management API, refused on the wire with their numbers."""
import itertools
import threading

import pytest

from support.content import digest, fresh, push_blob, start_upload, with_digest

numbers = itertools.count(1)


@pytest.fixture
def prefix():
    return f"quotas-{next(numbers)}"


@pytest.fixture
def client(managed):
    value = managed.caller("root")
    yield value
    value.close()


def limit(root, prefix, size):
    made = root.post("/quotas", {"kind": "repositories", "subject": prefix + "/*", "bytes": size})
    assert made.status == 201
    return made


def test_a_quota_from_birth_to_end(root, prefix):
    made = limit(root, prefix, 1000)
    where = made["Location"]
    assert root.get(where).json() == made.json() and made.json()["used"] == 0
    assert made.json() in root.items("/quotas?limit=1")
    assert limit_again(root, prefix).status == 409
    changed = root.patch(where, {"bytes": 2000}, ("If-Match", made["ETag"]))
    assert changed.status == 200 and changed.json()["bytes"] == 2000
    assert root.patch(where, {"bytes": 1}, ("If-Match", made["ETag"])).status == 412
    assert root.delete(where + "?dry_run=true").json()["deletes"] == {"quotas": 1}
    assert root.delete(where).status == 204
    assert root.get(where).status == 404


def limit_again(root, prefix):
    return root.post("/quotas", {"kind": "repositories", "subject": prefix + "/*", "bytes": 5})


@pytest.mark.parametrize("body, field", [
    ({"kind": "planet", "subject": "a", "bytes": 1}, "kind"),
    ({"kind": "repositories", "subject": "A", "bytes": 1}, "subject"),
    ({"kind": "account", "subject": "no-such", "bytes": 1}, "subject"),
    ({"kind": "account", "subject": "team/*", "bytes": 1}, "subject"),
    ({"kind": "repositories", "subject": "a", "bytes": -1}, "bytes"),
    ({"kind": "repositories", "subject": "a", "bytes": "much"}, "bytes"),
    ({"kind": "repositories", "subject": "a"}, "bytes"),
])
def test_quotas_that_are_refused(root, body, field):
    refused = root.post("/quotas", body)
    assert refused.status == 422 and list(refused.json()["fields"]) == [field]


@pytest.mark.spec("LIM-04")
@pytest.mark.parametrize("how", ["post", "put", "patch", "chunked"])
def test_what_does_not_fit_is_refused_by_its_quota(root, client, prefix, how):
    limit(root, prefix, 100 << 10)
    name = prefix + "/app"
    push_blob(client, name, fresh(60 << 10))
    data = fresh(50 << 10)
    if how == "post":
        refused = client.post(f"/v2/{name}/blobs/uploads/?digest={digest(data)}", data)
    elif how == "patch":
        refused = client.patch(start_upload(client, name), data)
    else:
        refused = client.put(with_digest(start_upload(client, name), digest(data)), data, chunked=how == "chunked")
    assert (refused.status, refused.code) == (403, "DENIED")
    told = refused.json()["errors"][0]["message"]
    assert "limit 100 KiB, used 60 KiB" in told and prefix + "/*" in told
    assert client.head(f"/v2/{name}/blobs/{digest(data)}").status == 404
    push_blob(client, name, fresh(40 << 10))
    used = root.get(f"/repos/{name}/-/usage").json()
    assert used["bytes"] == 100 << 10 and [quota["used"] for quota in used["quotas"]] == [100 << 10]


@pytest.mark.spec("LIM-04")
def test_an_account_pays_for_what_it_brought(root, managed, client, prefix):
    root.post("/users", {"name": prefix, "password": "a good password"})
    root.post("/grants", {"account": prefix, "pattern": prefix + "/*", "level": "write"})
    assert root.post("/quotas", {"kind": "account", "subject": prefix, "bytes": 10 << 10}).status == 201
    shared = fresh(8 << 10)
    push_blob(client, prefix + "/app", shared)
    caller = managed.caller((prefix, "a good password"))
    push_blob(caller, prefix + "/app", shared)  # it was there: the first one paid
    push_blob(caller, prefix + "/app", fresh(8 << 10))
    data = fresh(8 << 10)
    refused = caller.post(f"/v2/{prefix}/app/blobs/uploads/?digest={digest(data)}", data)
    assert (refused.status, refused.code) == (403, "DENIED")
    push_blob(client, prefix + "/app", data)  # not his: room enough
    caller.close()


def test_uploads_at_the_same_time_do_not_pass_the_limit(root, managed, prefix):
    limit(root, prefix, 20 << 10)
    results = []

    def push():
        caller = managed.caller("root")
        data = fresh(1 << 10)
        answer = caller.post(f"/v2/{prefix}/app/blobs/uploads/?digest={digest(data)}", data)
        results.append(answer.status)
        caller.close()

    threads = [threading.Thread(target=push) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [201] * 20 + [403] * 20
    assert root.get(f"/repos/{prefix}/app/-/usage").json()["bytes"] == 20 << 10


def test_usage_of_the_registry(root, client, prefix):
    push_blob(client, prefix + "/app", fresh(100))
    usage = root.get("/usage").json()
    push_blob(client, prefix + "/web", fresh(50))
    assert [(row["name"], row["bytes"]) for row in root.items(f"/usage/repos?limit=1&q={prefix}/")] == \
        [(prefix + "/app", 100), (prefix + "/web", 50)]
    assert usage["linked_bytes"] >= usage["bytes"] > 0 and usage["disk_size"] > usage["disk_free"] > 0
