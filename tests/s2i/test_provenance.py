"""test_provenance.py - what stands beside an image: signed provenance, its keys, the list of its parts.

Touches  the server under test; pushes, the API, referrers; verifies with OpenSSL of Python, not with ours.
Never    the server's private keys. Spec: s2i 7.12, 15.5, 15.10
"""
import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import re
import shutil
import sqlite3
import subprocess
import threading
import time

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from support import building, content, process, remains, wire
from support.provenance import ENVELOPE, SPDX, STATEMENT, referrers, signed_bytes, texts, verify

def built(server, source, name, files=None, *options, **more):
    source(files or {"index.html": "hello\n"}).push(server, name, "-o", "builder=builders/test", *options, **more)
    return building.manifest(server, name)[0]


def test_signed(server, source, name, call):
    digest = built(server, source, name)
    (text,) = texts(server, name, digest, ENVELOPE)
    keys = call.get("/keys").json()["keys"]
    envelope = json.loads(text)
    statement = verify(envelope, keys)
    assert envelope["payloadType"] == STATEMENT
    assert statement["subject"] == [{"name": name, "digest": {"sha256": digest.split(":")[1]}}]
    (item,) = referrers(server, name, digest, ENVELOPE)
    assert item["annotations"]["predicateType"] == statement["predicateType"] == "https://slsa.dev/provenance/v1"


def changed(text, at):
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1:]


def test_one_changed_byte(server, source, name, call):
    """Of the payload, of its type, of the signature; and a key of another id."""
    digest = built(server, source, name)
    (text,) = texts(server, name, digest, ENVELOPE)
    keys = call.get("/keys").json()["keys"]
    for change in (lambda e: e.update(payload=changed(e["payload"], 100)),
                   lambda e: e.update(payloadType=STATEMENT + " "),
                   lambda e: e["signatures"][0].update(sig=changed(e["signatures"][0]["sig"], 20))):
        envelope = json.loads(text)
        change(envelope)
        with pytest.raises(InvalidSignature):
            verify(envelope, keys)


def rotate(call, server):
    """The new key signs at once. Names of keys count in seconds."""
    folder = server.root / "provenance-keys"
    newest = max(path.stat().st_mtime for path in folder.iterdir())
    process.wait_for(lambda: time.time() >= newest + 1.1, 5, "another second")
    assert call.post("/system/keys:rotate?of=provenance").status == 204


def test_images_outlive_keys(server, source, name, call):
    """s2i 15.10: what an old key signed still verifies, when its private part is gone."""
    digest = built(server, source, name)
    (before,) = texts(server, name, digest, ENVELOPE)
    rotate(call, server)
    later = built(server, source, name + "/later", {"index.html": "later\n"})
    (after,) = texts(server, name + "/later", later, ENVELOPE)
    keys = call.get("/keys").json()["keys"]
    ids = [json.loads(text)["signatures"][0]["keyid"] for text in (before, after)]
    assert ids[0] != ids[1] and keys[0]["kid"] == ids[1], "the newest is not the first"
    assert verify(json.loads(before), keys) and verify(json.loads(after), keys)
    tokens = call.client.get("/.well-known/jwks.json")
    assert not any(id in tokens.body.decode() for id in ids), "a key of tokens signs provenance"


def test_keys_are_one_of_a_kind(server, call):
    assert call.post("/system/keys:rotate?of=everything").status == 422


# --- slipway build provenance ---

@pytest.fixture
def run(server):
    def command(*words, status=0):
        done = subprocess.run([process.binary(), "build", "provenance", *map(str, words), "--config", "/dev/null",
                               "--set", f"storage.root={server.root}"], env=process.clean_environment(), timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == status, f"{done.returncode}: {done.stdout} {done.stderr}"
        return done
    return command


def attach(server, name, subject, envelope):
    """As whoever may push can: an envelope beside an image."""
    client = wire.Client(server.target)
    text = json.dumps(envelope).encode()
    manifest = {"schemaVersion": 2, "mediaType": content.IMAGE, "artifactType": ENVELOPE,
                "config": building.put_blob(client, name, b"{}", "application/vnd.oci.empty.v1+json"),
                "layers": [building.put_blob(client, name, text, ENVELOPE)],
                "subject": {"mediaType": content.IMAGE, "digest": subject, "size": 1}}
    body = content.compact(manifest)
    answer = client.put(f"/v2/{name}/manifests/{content.digest(body)}", body=body, headers=[("Content-Type", content.IMAGE)])
    assert answer.status == 201, answer
    client.close()


def test_people_see_who_built_what(run, server, source, name, tmp_path):
    digest = built(server, source, name)
    texts(server, name, digest, ENVELOPE)
    seen = run(name).stdout
    for wanted in (digest, "urn:slipway:builder", "builders/test", "push", name):
        assert wanted in seen, seen
    assert run(f"{name}@{digest}", "--verify").stdout == f"{digest}: provenance verified\n"
    answer = json.loads(run(f"{name}:latest", "--json").stdout)
    assert answer["verified"] and answer["items"][0]["statement"]["subject"][0]["digest"]["sha256"] in digest
    run(f"{name}:none-such", "--verify", status=4)
    client = wire.Client(server.target)
    keys = tmp_path / "keys.json"
    keys.write_bytes(client.get("/api/v1/keys").body)
    run(name, "--verify", "--keys", keys)
    keys.write_text('{"keys": []}')
    assert "no key that is known" in run(name, "--verify", "--keys", keys, status=1).stderr
    keys.write_text("[]")
    run(name, "--verify", "--keys", keys, status=1)
    client.close()


def test_what_strangers_attach_does_not_count(run, server, source, name, call):
    """An image that was pushed, with the right envelope of another one, with a key of the attacker's, with words."""
    digest = built(server, source, name)
    (text,) = texts(server, name, digest, ENVELOPE)
    ours = json.loads(text)
    other = building.builder(server, name + "/pushed")
    run(name + "/pushed", "--verify", status=1)
    attach(server, name + "/pushed", other, ours)
    assert "about another image" in run(name + "/pushed", "--verify", status=1).stderr
    statement = verify(ours, call.get("/keys").json()["keys"])
    statement["subject"][0]["digest"]["sha256"] = other.split(":")[1]
    forged = {**ours, "payload": base64.b64encode(json.dumps(statement).encode()).decode()}
    attach(server, name + "/pushed", other, forged)
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(signed_bytes(forged), ec.ECDSA(hashes.SHA256()))
    attach(server, name + "/pushed", other, {**forged, "signatures": [
        {"keyid": ours["signatures"][0]["keyid"], "sig": base64.b64encode(signature).decode()}]})
    attach(server, name + "/pushed", other, {"payload": 1, "payloadType": "x"})
    attach(server, name + "/pushed", other, ["words"])
    done = run(name + "/pushed", "--json", status=1)
    answer = json.loads(done.stdout)
    assert not answer["verified"] and len(answer["items"]) == 3, "what is no envelope is shown as one"
    assert all(item["problem"] for item in answer["items"])
    attach(server, name, digest, forged)
    assert "does not count" in run(name, "--verify").stderr, "a stranger's envelope takes ours its worth"


def test_a_server_that_names_no_image(server, source, name, tmp_path):
    """With a file of keys nothing else is believed: right provenance of some image is none of an image without a digest."""
    (text,) = texts(server, name, built(server, source, name), ENVELOPE)
    with_keys = wire.Client(server.target)
    keys = tmp_path / "keys.json"
    keys.write_bytes(with_keys.get("/api/v1/keys").body)
    with_keys.close()
    token = tmp_path / "token"
    token.write_text("slipway_pat_any\n")
    token.chmod(0o600)

    class Liar(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            items = {"items": [{"digest": "sha256:1", "envelope": json.loads(text)}]}
            body = json.dumps(items if "provenance" in self.path else {"digest": "md5:"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as liar:
        threading.Thread(target=liar.serve_forever, args=(0.02,), daemon=True).start()
        done = subprocess.run([process.binary(), "build", "provenance", name, "--verify", "--keys", str(keys), "--config",
                               "/dev/null", "--url", f"http://127.0.0.1:{liar.server_address[1]}", "--token-file", str(token)],
                              env=process.clean_environment(), timeout=60, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, check=False)
        liar.shutdown()
    assert done.returncode == 1 and "about another image" in done.stderr, done


def as_documented(name):
    """The lines of OPERATING.md that need no slipway, for this repository."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "OPERATING.md").read_text()
    begin = text.index("    curl -s $url/api/v1/repos/team/app/-/manifests/$d/provenance")
    lines = text[begin:text.index("\n\n", begin)].replace("team/app", name).splitlines()
    return "set -e\n" + "\n".join(line.split("         must be")[0].strip() for line in lines)


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is missing")
def test_with_curl_jq_and_openssl_alone(server, source, name, tmp_path):
    digest = built(server, source, name)
    texts(server, name, digest, ENVELOPE)
    done = subprocess.run(["bash", "-c", as_documented(name)], cwd=tmp_path, timeout=30, check=True, capture_output=True, text=True,
                          env=process.clean_environment(url=f"http://127.0.0.1:{server.port}", d=digest))
    assert done.stdout.split("\n")[:2] == ["Verified OK", digest.split(":")[1]], done


# --- nothing secret ---

SECRETS = {"env": "hush-runtime", "build_env": "hush-building", "secret_env": "hush-secret"}


def test_no_value_of_a_variable(server, name, call):
    options = {"builder": "builders/test", **{list: [f"NAME_OF_{list.upper()}={value}"] for list, value in SECRETS.items()},
               "labels": ["team=shop"]}
    answer = call.post(f"/repos/{name}/-/builds", {"source": "none", "options": options})
    assert answer.status == 201, answer
    id = answer.json()["id"]
    process.wait_for(lambda: call.get(f"/builds/{id}").json()["state"] == "Complete", 30, "the build")
    digest = building.manifest(server, name)[0]
    (envelope,), (parts,) = texts(server, name, digest, ENVELOPE), texts(server, name, digest, SPDX)
    statement = base64.b64decode(json.loads(envelope)["payload"]).decode()
    for list, value in SECRETS.items():
        assert value not in statement and value not in parts.decode(), list
        assert f"NAME_OF_{list.upper()}" in statement, f"{list}: not even its name"
    assert "team=shop" in statement


def test_no_word_of_a_commit(server, source, name):
    app = source({"index.html": "hello\n"})
    app.commit({}, "password hush-message of hush-author")
    app.push(server, name, "-o", "builder=builders/test")
    digest = building.manifest(server, name)[0]
    (envelope,), (parts,) = texts(server, name, digest, ENVELOPE), texts(server, name, digest, SPDX)
    assert b"hush" not in base64.b64decode(json.loads(envelope)["payload"]) and b"hush" not in parts


# --- the list of parts ---

ID = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")


def is_spdx(document):
    """What SPDX 2.3 asks of a document, of its packages and files (6 to 8, 11)."""
    assert document["spdxVersion"] == "SPDX-2.3" and document["dataLicense"] == "CC0-1.0"
    assert document["SPDXID"] == "SPDXRef-DOCUMENT" and document["name"]
    assert re.fullmatch(r"[a-z][a-z0-9+.-]*:[^#\s]+", document["documentNamespace"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["creationInfo"]["created"])
    assert all(re.match(r"(Tool|Person|Organization): ", one) for one in document["creationInfo"]["creators"])
    elements = document["packages"] + document["files"]
    ids = [element["SPDXID"] for element in elements]
    assert len(set(ids)) == len(ids) and all(ID.fullmatch(id) for id in ids)
    for package in document["packages"]:
        assert package["name"] and package["downloadLocation"]
        assert ("packageVerificationCode" in package) == package["filesAnalyzed"]
    for file in document["files"]:
        sums = {one["algorithm"]: one["checksumValue"] for one in file["checksums"]}
        assert file["fileName"].startswith("./") and re.fullmatch("[0-9a-f]{40}", sums["SHA1"])
        assert re.fullmatch("[0-9a-f]{64}", sums["SHA256"])
    relations = [(one["spdxElementId"], one["relationshipType"], one["relatedSpdxElement"]) for one in document["relationships"]]
    assert all({start, end} <= {"SPDXRef-DOCUMENT", *ids} for start, _, end in relations)
    assert ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image") in relations
    within = {}
    for start, kind, end in relations:
        if kind == "CONTAINS":
            within.setdefault(start, set()).add(end)
    files = {file["SPDXID"]: file for file in document["files"]}
    for package in document["packages"]:
        own = [files[id] for id in within.get(package["SPDXID"], ()) if id in files]
        assert bool(own) == package["filesAnalyzed"], "a package without analysed files has some, or the other way round"
        if own:
            sums = sorted(one["checksumValue"] for file in own for one in file["checksums"] if one["algorithm"] == "SHA1")
            assert package["packageVerificationCode"]["packageVerificationCodeValue"] == hashlib.sha1("".join(sums).encode()).hexdigest()
    assert set(files) == set().union(*within.values()) & set(files), "a file is in no package"


def test_files_of_our_layer(server, source, name):
    """s2i 15.5: each file with its sums, as the layer has it."""
    digest = built(server, source, name, {"index.html": "hello\n", "docs/one two.txt": "text\n", "empty": "", 'q"uo\\te': "q"})
    (text,) = texts(server, name, digest, SPDX)
    document = json.loads(text)
    is_spdx(document)
    assert text == json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    layer = building.layer_entries(server, name)
    wanted = {f"./{path}": data for path, (item, data) in layer.items() if item.isreg() and "/.wh." not in f"/{path}"}
    assert {file["fileName"] for file in document["files"]} == set(wanted) and "./opt/app-root/src/q\"uo\\te" in wanted
    for file in document["files"]:
        sums = {one["algorithm"]: one["checksumValue"] for one in file["checksums"]}
        data = wanted[file["fileName"]]
        assert sums == {"SHA1": hashlib.sha1(data).hexdigest(), "SHA256": hashlib.sha256(data).hexdigest()}
    (layer,) = [package for package in document["packages"] if package["SPDXID"] == "SPDXRef-Layer-1"]
    assert layer["versionInfo"] == building.manifest(server, name)[1]["layers"][-1]["digest"]


def test_names_that_are_not_utf8_and_layers_apart(server, source, name):
    script = ("printf x > \"/opt/app-root/src/caf$(printf '\\351')\"; mkdir -p /opt/app-root/src/deps; echo d > /opt/app-root/src/deps/d\n"
              "ln /opt/app-root/src/deps/d /opt/app-root/src/hard; ln -s d /opt/app-root/src/deps/soft\n")
    building.builder(server, "builders/odd", assemble=building.ASSEMBLE + script, labels={"s2i.slices": "deps=opt/app-root/src/deps"})
    source({"index.html": "hello\n"}).push(server, name, "-o", "builder=builders/odd")
    digest = building.manifest(server, name)[0]
    (text,) = texts(server, name, digest, SPDX)
    document = json.loads(text)
    is_spdx(document)
    (odd,) = [file for file in document["files"] if "caf" in file["fileName"]]
    assert odd["fileName"] == "./opt/app-root/src/caf%E9" and "not UTF-8" in odd["comment"]
    assert not any("soft" in file["fileName"] for file in document["files"])


# --- deaths ---

def settled(server):
    """Whoever sees that something is published may be quicker than its row goes."""
    process.wait_for(lambda: remains.rows(server, "SELECT count(*) FROM build_attestations") == [(0,)], 30, "all is published")


def test_a_death_before_it_is_published(make_server, source, name):
    """What was to be published when the server died is published by the next one; twice is once."""
    server = make_server()
    building.builder(server)
    digest = built(server, source, name)
    (envelope,), (parts,) = texts(server, name, digest, ENVELOPE), texts(server, name, digest, SPDX)
    settled(server)
    client = wire.Client(server.target)
    for kind in (ENVELOPE, SPDX):
        for item in referrers(server, name, digest, kind):
            assert client.delete(f"/v2/{name}/manifests/{item['digest']}").status == 202
    client.close()
    server.kill()
    payload = base64.b64decode(json.loads(envelope)["payload"]).decode()
    bare = {key: value for key, value in json.loads(parts).items() if key != "files"}
    with contextlib.closing(sqlite3.connect(server.root / "meta.db")) as database:
        (id,) = database.execute("SELECT id FROM builds").fetchone()
        document = {"image": {"media_type": content.IMAGE, "digest": digest, "size": 1}, "seconds": building.WHEN, "log": False,
                    "statement": payload, "envelope": envelope.decode(), "sbom": json.dumps(bare), "layers": []}
        database.execute("INSERT INTO build_attestations(build_id, document, due_at) VALUES (?, ?, 0)", (id, json.dumps(document)))
        database.commit()
    server.start()
    assert texts(server, name, digest, ENVELOPE) == [envelope]
    assert texts(server, name, digest, SPDX)


def test_killed_when_the_push_is_told(make_server, source):
    """Whenever it dies: an image whose tag stands gets its provenance."""
    server = make_server()
    building.builder(server)
    for i in range(3):
        digest = built(server, source, f"team/killed{i}", {"index.html": f"{i}\n"})
        server.kill()
        server.start()
        assert len(texts(server, f"team/killed{i}", digest, ENVELOPE)) == 1
        process.wait_for(lambda: referrers(server, f"team/killed{i}", digest, SPDX), 20, "its parts")


def attestations(server, *rows):
    """Puts rows of what is to be published where no server runs; what there is then."""
    with contextlib.closing(sqlite3.connect(server.root / "meta.db")) as database, database:
        database.executemany("INSERT INTO build_attestations(build_id, document, due_at) VALUES (?, ?, 0)", rows)
        return database.execute("SELECT build_id, tries, due_at FROM build_attestations ORDER BY build_id").fetchall()


def test_what_fails_is_tried_again_and_nonsense_is_not(make_server, source):
    server = make_server()
    building.builder(server)
    images = [built(server, source, f"team/app{i}", {"index.html": f"{i}\n"}) for i in range(2)]
    for i, image in enumerate(images):
        texts(server, f"team/app{i}", image, SPDX)
    settled(server)
    assert server.stop() == 0
    (server.root / "builds/logs/2.log").rename(server.folder / "away")
    document = {"image": {"media_type": content.IMAGE, "digest": images[1], "size": 1}, "seconds": 0, "log": True}
    assert len(attestations(server, (1, "nonsense"), (2, json.dumps(document)))) == 2
    before = time.time()
    server.start()
    process.wait_for(lambda: re.search(r"build\.attest\.again.*id=2", server.log.read_text()), 30, "the second to fail")
    process.wait_for(lambda: re.search(r"build\.unattested.*id=1", server.log.read_text()), 30, "the first to be given up")
    process.wait_for(lambda: [(build, tries > 0) for build, tries, _ in attestations(server)] == [(2, True)], 30, "one row")
    _, tries, due_at = attestations(server)[0]
    assert before + 4 < due_at / 1e6 < time.time() + 5 * 4 ** (tries - 1) + 1, "not five seconds later, then four times as many"
    server.kill()
    (server.folder / "away").rename(server.root / "builds/logs/2.log")
    with contextlib.closing(sqlite3.connect(server.root / "meta.db")) as database, database:
        database.execute("UPDATE build_attestations SET due_at = 0")
    server.start()
    process.wait_for(lambda: referrers(server, "team/app1", images[1], "application/vnd.slipway.build-log.v1"), 10, "its log")


@pytest.mark.long
def test_more_files_than_a_list_holds(server, source, name):
    """The document says that they are not in it; the server's memory does not grow by them."""
    script = "mkdir /opt/app-root/src/many; i=0; while [ $i -lt 101000 ]; do : > /opt/app-root/src/many/$i; i=$((i+1)); done\n"
    building.builder(server, "builders/many", assemble=building.ASSEMBLE + script)
    source({"index.html": "hello\n"}).push(server, name, "-o", "builder=builders/many", timeout=300)
    digest = building.manifest(server, name)[0]
    (text,) = texts(server, name, digest, SPDX)
    document = json.loads(text)
    is_spdx(document)
    (layer,) = [package for package in document["packages"] if package["SPDXID"] == "SPDXRef-Layer-1"]
    assert document["files"] == [] and "more than 100000" in layer["comment"]
