"""test_api_policies.py - rules of retention by the management API: who sets them, what they would do and why, and
runs that do just that. Time passes in the database: rows of images become older, nobody waits."""
import concurrent.futures
import itertools
import json
import threading

import pytest

from support import content, process
from support.content import INDEX, compact, digest, push_image, push_manifest

numbers = itertools.count(1)
DAY = 86400 * 1000000


def rule(priority, action="expire", **selection):
    return {"rulePriority": priority, "selection": selection, "action": {"type": action}}


def many(number, **more):
    return {"countType": "imageCountMoreThan", "countNumber": number, **more}


def since(what, number, **more):
    return {"countType": f"sinceImage{what}", "countUnit": "days", "countNumber": number, **more}


OLD = [rule(1, tagStatus="any", **since("Pulled", 7))]
KEEP = [rule(1, "keep", tagPatternList=["v*"])]
# As it stands in ECR's documentation, and as its consoles write it.
ECR = """{
    "rules": [
        {
            "rulePriority": 1,
            "description": "Expire images older than 14 days",
            "selection": {
                "tagStatus": "tagged",
                "tagPatternList": ["prod*"],
                "countType": "sinceImagePushed",
                "countUnit": "days",
                "countNumber": 14
            },
            "action": {
                "type": "expire"
            }
        }
    ]
}"""


@pytest.fixture
def prefix(root):
    """A prefix below which eve reads and max manages."""
    name = f"policies-{next(numbers)}"
    for account, level in (("eve", "read"), ("max", "admin")):
        assert root.post("/grants", {"account": account, "pattern": name + "/*", "level": level}).status == 201
    return name


@pytest.fixture
def push(managed):
    caller = managed.caller("root")
    yield caller
    caller.close()


def age(server, repository, days, *tags):
    """Images with these tags (none: all) were pushed, and touched, so many days earlier."""
    with server.accounts.rows() as rows:
        where = "repo_id = (SELECT id FROM repositories WHERE name = ?)"
        if tags:
            marks = ", ".join("?" * len(tags))
            where += f" AND id IN (SELECT manifest_id FROM tags WHERE name IN ({marks}) AND tags.repo_id = repo_id)"
        done = rows.execute(f"UPDATE manifests SET created_at = created_at - {days * DAY}, "
                            f"touched_at = touched_at - {days * DAY} WHERE {where}", [repository, *tags])
        assert done.rowcount > 0


def run_policies(root, **spec):
    """The result of a run that has ended."""
    started = root.post("/jobs", {"kind": "policy", "spec": spec})
    assert started.status == 202, started
    path = started["Location"]
    process.wait_for(lambda: root.get(path).json()["finished_at"], what="the end of the job")
    job = root.get(path).json()
    assert job["state"] == "done", job
    return job["result"]


def preview(caller, name, rules=None, query=""):
    answer = caller.post(f"/repos/{name}/-/policy:preview{query}", {} if rules is None else {"rules": rules})
    assert answer.status == 200, answer
    return answer.json()


def verdicts(answer):
    """Tags (or the digest) > verdict."""
    return {",".join(item["tags"]) or item["digest"]: item["verdict"] for item in answer["items"]}


# --- rows ---


def test_a_policy_from_birth_to_end(root, prefix):
    made = root.post("/policies", {"pattern": f"{prefix}/*", "mode": "report", "rules": OLD})
    assert made.status == 201
    path, policy = made["Location"], made.json()
    assert (policy["pattern"], policy["mode"], policy["version"]) == (f"{prefix}/*", "report", 1)
    assert policy["rules"] == OLD
    assert root.get(path).json() == policy
    assert root.get(path, ("If-None-Match", made["ETag"])).status == 304
    assert [found["id"] for found in root.items(f"/policies?pattern={prefix}/*")] == [policy["id"]]
    assert root.items(f"/policies?pattern={prefix}") == []
    assert policy["id"] in [found["id"] for found in root.items("/policies?limit=1")]
    assert root.post("/policies", {"pattern": f"{prefix}/*", "mode": "off", "rules": KEEP}).status == 409

    changed = root.patch(path, {"mode": "enforce"}, ("If-Match", made["ETag"]))
    assert changed.status == 200 and changed.json()["mode"] == "enforce" and changed.json()["rules"] == OLD
    assert root.patch(path, {"mode": "off"}, ("If-Match", made["ETag"])).status == 412
    assert root.put(path, {"mode": "off", "rules": KEEP}, ("If-Match", made["ETag"])).status == 412
    put = root.put(path, {"mode": "off", "rules": KEEP}, ("If-Match", changed["ETag"]))
    assert put.status == 200 and put.json()["mode"] == "off" and put.json()["version"] == 3
    assert put.json()["rules"][0]["selection"] == {"tagStatus": "tagged", "tagPatternList": ["v*"]}
    assert root.put(path, {"mode": "off"}).status == 422
    assert root.delete(path + "?dry_run=true").json() == {"dry_run": True, "deletes": {"policies": 1}}
    assert root.delete(path, ("If-Match", made["ETag"])).status == 412
    assert root.delete(path, ("If-Match", put["ETag"])).status == 204
    assert root.get(path).status == 404 and root.delete(path).status == 404
    told = [event["action"] for event in root.items(f"/audit?target=policy/{prefix}/*")]
    assert told == ["policy.delete", "policy.update", "policy.update", "policy.create"]


@pytest.mark.parametrize("body, field", [
    ({"mode": "report", "rules": OLD}, "pattern"),
    ({"pattern": "A", "mode": "report", "rules": OLD}, "pattern"),
    ({"pattern": "a/*b", "mode": "report", "rules": OLD}, "pattern"),
    ({"pattern": "a", "rules": OLD}, "mode"),
    ({"pattern": "a", "mode": "delete", "rules": OLD}, "mode"),
    ({"pattern": "a", "mode": "report"}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": []}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": {}}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": [7]}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": OLD + OLD}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": [rule(1, tagStatus="tagged", **many(1))]}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": [{**rule(1, tagStatus="any", **many(1)),
                                                   "action": {"type": "transition"}}]}, "rules"),
    ({"pattern": "a", "mode": "report", "rules": OLD, "enabled": True}, None),
])
def test_policies_that_are_refused(root, body, field):
    refused = root.post("/policies", body)
    assert refused.status == 422, refused
    assert field is None or list(refused.json()["fields"]) == [field]


def test_the_rule_at_fault_is_named(root):
    rules = [rule(4, tagStatus="any", **many(2)), rule(3, tagStatus="tagged", tagPatternList=["a*b*c*d*e*"], **many(1))]
    refused = root.post("/policies", {"pattern": "a", "mode": "report", "rules": rules})
    assert "rule 3: " in refused.json()["detail"] and "4 wildcards" in refused.json()["detail"]


def test_rules_of_ecr_are_taken_as_they_are(root, prefix, push):
    push_image(push, prefix + "/app")
    path = f"/repos/{prefix}/app/-/policy"
    answer = root.put(path, {"mode": "report", **json.loads(ECR)})
    assert answer.status == 201 and answer.json()["rules"] == json.loads(ECR)["rules"]
    assert preview(root, prefix + "/app", json.loads(ECR)["rules"])["deciding"] == prefix + "/app"


def test_policies_have_a_limit_of_size(root):
    rules = [rule(i, tagStatus="tagged", tagPatternList=[f"{i}-{'x' * 100}{k}" for k in range(10)], **many(1))
             for i in range(1, 60)]
    answer = root.post("/policies", {"pattern": "too-long", "mode": "off", "rules": rules})
    assert answer.status in (413, 422), answer


# --- of a repository ---


def test_a_repository_has_its_own(root, call, prefix, push):
    name, max_ = prefix + "/app", call("max")
    push_image(push, name)
    path = f"/repos/{name}/-/policy"
    assert max_.get(path).json() == {"own": None, "deciding": None, "policies": []}
    assert max_.delete(path).status == 404
    made = max_.put(path, {"mode": "report", "rules": OLD})
    assert made.status == 201 and made.json()["pattern"] == name
    assert max_.get(path).json()["own"] == made.json()
    again = max_.put(path, {"mode": "enforce", "rules": OLD}, ("If-Match", made["ETag"]))
    assert again.status == 200 and again.json()["version"] == 2
    assert max_.put(path, {"mode": "off", "rules": OLD}, ("If-Match", made["ETag"])).status == 412
    wide = root.post("/policies", {"pattern": f"{prefix}/*", "mode": "report", "rules": KEEP})
    seen = max_.get(path).json()
    assert seen["deciding"] == name
    assert [policy["pattern"] for policy in seen["policies"]] == [name, f"{prefix}/*"]
    assert max_.delete(path, ("If-Match", made["ETag"])).status == 412
    assert max_.delete(path).status == 204
    assert max_.get(path).json()["deciding"] is None
    assert root.delete(wide["Location"]).status == 204
    for who, status in (("eve", 403), ("bob", 404)):
        for method, body in (("GET", None), ("PUT", {"mode": "off", "rules": OLD}), ("DELETE", None)):
            assert call(who).call(method, path, body).status == status
        assert call(who).post(path + ":preview", {}).status == status
    assert max_.post("/policies", {"pattern": name, "mode": "off", "rules": OLD}).status == 403
    assert root.get(f"/repos/{prefix}/none/-/policy").status == 404
    assert root.put(f"/repos/{prefix}/none/-/policy", {"mode": "off", "rules": OLD}).status == 404
    assert root.post(f"/repos/{prefix}/none/-/policy:preview", {}).status == 404


def test_preview_tells_why_and_changes_nothing(managed, root, prefix, push):
    name = prefix + "/app"
    for tag in ("v1", "dev-1", "dev-2", "dev-3", "other", "pinned"):
        push_image(push, name, tag)
    rules = [rule(1, tagStatus="tagged", tagPrefixList=["dev-"], **many(1)),
             rule(2, tagStatus="any", **since("Pushed", 10)), rule(9, "keep", tagPatternList=["v*"])]
    fresh = preview(root, name, rules)
    assert fresh["expires"] == 0 and {item["verdict"] for item in fresh["items"]} == {"stays"}
    reasons = {",".join(item["tags"]): item["reason"] for item in fresh["items"]}
    assert "gc.grace" in reasons["dev-1"] and "keeps these tags" in reasons["v1"]

    age(managed, name, 20, "v1", "dev-1", "dev-2", "dev-3", "other")
    answer = preview(root, name, rules)
    assert verdicts(answer) == {"v1": "stays", "dev-1": "expires", "dev-2": "expires", "dev-3": "stays",
                                "other": "expires", "pinned": "stays"}
    assert (answer["expires"], answer["tags"], answer["manifests"], answer["mode"]) == (3, 3, 6, "report")
    decided = {",".join(item["tags"]): item["priority"] for item in answer["items"]}
    assert decided == {"v1": 9, "dev-1": 1, "dev-2": 1, "dev-3": 1, "other": 2, "pinned": 2}
    assert answer["blobs"] == 6 and answer["bytes"] > 3 * 64
    going = preview(root, name, rules, "?going=true")
    assert set(verdicts(going)) == {"dev-1", "dev-2", "other"}
    first = preview(root, name, rules, "?limit=4")
    rest = preview(root, name, rules, f"?limit=4&cursor={first['next']}")
    assert first["items"] + rest["items"] == answer["items"] and rest["next"] is None
    assert root.post(f"/repos/{name}/-/policy:preview?going=some", {}).status == 422
    assert root.post(f"/repos/{name}/-/policy:preview", {"rules": [1]}).status == 422
    assert preview(root, name)["deciding"] is None
    assert sorted(push.get(f"/v2/{name}/tags/list").json()["tags"]) == \
        ["dev-1", "dev-2", "dev-3", "other", "pinned", "v1"]


def test_what_belongs_together_goes_together(managed, root, prefix, push):
    name = prefix + "/app"
    content.push_subject_free(push, name)
    children = [push_image(push, name, None) for _ in range(2)]
    listed = [content.descriptor(data, content.IMAGE) for _, data, _ in children]
    index = push_manifest(push, name, "1.0", content.index(listed), INDEX)
    sbom = push_manifest(push, name, digest(data := compact(content.artifact(children[0][0]))), data)
    signature = push_image(push, name, index.replace(":", "-") + ".sig")[0]
    keeper = push_image(push, name, "2.0")[0]
    age(managed, name, 30)
    rules = [rule(1, tagStatus="any", **many(1))]
    answer = preview(root, name, rules)
    found = {item["digest"]: item["verdict"] for item in answer["items"]}
    assert found == {index: "expires", signature: "expires", children[0][0]: "follows", children[1][0]: "follows",
                     sbom: "follows", keeper: "stays"}
    assert root.put(f"/repos/{name}/-/policy", {"mode": "enforce", "rules": rules}).status == 201
    result = run_policies(root, pattern=name)
    assert (result["expired"], result["follows"], result["bytes"]) == (2, 3, answer["bytes"])
    for reference, status in (("1.0", 404), (index, 404), (signature, 404), (children[0][0], 200), (keeper, 200)):
        assert push.get(f"/v2/{name}/manifests/{reference}").status == status


# --- runs ---


def test_a_run_does_what_the_preview_said(managed, root, prefix, push):
    name, other = prefix + "/app", prefix + "/lib"
    for tag in ("a", "b", "c"):
        push_image(push, name, tag)
        push_image(push, other, tag)
    for repository in (name, other):
        age(managed, repository, 20, "a", "b")
    own = root.put(f"/repos/{name}/-/policy", {"mode": "enforce", "rules": OLD})
    wide = root.post("/policies", {"pattern": f"{prefix}/*", "mode": "report", "rules": OLD})
    said = preview(root, name)
    assert {tags for tags, verdict in verdicts(said).items() if verdict == "expires"} == {"a", "b"}

    dry = run_policies(root, pattern=f"{prefix}/*", dry_run=True)
    assert (dry["expired"], dry["would_expire"], dry["repositories"]) == (0, 4, 2)
    assert len(push.get(f"/v2/{name}/tags/list").json()["tags"]) == 3
    result = run_policies(root, pattern=f"{prefix}/*")
    assert (result["expired"], result["would_expire"], result["skipped"]) == (2, 2, 0)
    by_pattern = {row["pattern"]: row for row in result["policies"]}
    assert by_pattern[name]["expired"] == 2 and by_pattern[f"{prefix}/*"]["would_expire"] == 2
    assert push.get(f"/v2/{name}/tags/list").json()["tags"] == ["c"]
    assert len(push.get(f"/v2/{other}/tags/list").json()["tags"]) == 3
    assert push.get(f"/v2/{name}/manifests/a").status == 404
    assert run_policies(root, pattern=f"{prefix}/*")["expired"] == 0
    told = root.items(f"/audit?action=policy.enforce&target=repository/{name}")
    assert [event["actor"] for event in told] == [f"policy/{name}"]
    with managed.accounts.rows() as rows:
        history = rows.execute("SELECT h.name, cause, actor FROM tag_history h JOIN repositories r ON r.id = h.repo_id"
                               " WHERE r.name = ? AND new_digest IS NULL ORDER BY h.name", [name]).fetchall()
    assert history == [("a", 4, f"policy/{name}"), ("b", 4, f"policy/{name}")]
    for path in (own["Location"], wide["Location"]):
        assert root.delete(path).status == 204


@pytest.mark.parametrize("spec", [{"pattern": "A"}, {"pattern": 1}, {"dry_run": 1}, {"all": True}])
def test_runs_that_are_refused(root, spec):
    assert root.post("/jobs", {"kind": "policy", "spec": spec}).status == 422


def test_pulls_of_scanners_are_no_use(make_registry):
    server = make_registry({"retention.exclude_callers": "scan-*,b?b"},
                           people_of=lambda to: [to.user(name, 1) for name in ("ana", "bob", "scan-1")])
    caller, root = server.caller("root"), server.caller("ana")
    for tag in ("used", "scanned", "looked-at"):
        push_image(caller, "team/app", tag)
    for who, tag in (("ana", "used"), ("scan-1", "scanned"), ("bob", "looked-at")):
        puller = server.caller(who)
        assert puller.get(f"/v2/team/app/manifests/{tag}").status == 200
        puller.close()
    caller.close(), root.close()
    server.stop()  # writes what was counted
    with server.accounts.rows() as rows:
        pulled = rows.execute("SELECT t.name FROM manifests m JOIN tags t ON t.manifest_id = m.id"
                              " WHERE m.pulled_at IS NOT NULL").fetchall()
        kinds = rows.execute("SELECT reference, kind FROM pull_counts ORDER BY reference").fetchall()
    assert pulled == [("used",)]
    assert kinds == [("looked-at", 3), ("scanned", 3), ("used", 1)]


def test_a_crowd_of_previews_is_told_to_come_again(managed, root, call, push, prefix):
    name = f"{prefix}/crowd"
    push_image(push, name, "v1")
    with managed.accounts.rows() as rows:
        rows.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)"
                     " INSERT INTO manifests(repo_id, digest, media_type, size, total_size, created_at, touched_at,"
                     " payload) SELECT repo_id, CAST(x'01' || randomblob(32) AS BLOB), media_type, size, total_size,"
                     " created_at, touched_at, payload FROM manifests, n WHERE repo_id = (SELECT id FROM repositories WHERE name = ?)", [name])
    callers = [call("root") for _ in range(12)]
    assert {caller.get("/me").status for caller in callers} == {200}  # no password stands in their way any more
    gate = threading.Barrier(len(callers))

    def ask(caller):
        gate.wait()
        return caller.post(f"/repos/{name}/-/policy:preview?limit=1", {})

    def crowd():
        with concurrent.futures.ThreadPoolExecutor(len(callers)) as pool:
            answers = list(pool.map(ask, callers))
        assert {answer.status for answer in answers} in ({200, 429}, {200})
        return [answer for answer in answers if answer.status == 429]

    # three must be there at one moment; a machine that runs them one after the other is asked again
    refused = process.wait_for(crowd, 60, "a refusal")
    assert all(answer["Retry-After"] == "1" for answer in refused)
    assert preview(root, name, OLD)["manifests"] == 30001
