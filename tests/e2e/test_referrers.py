"""test_referrers.py - end-12: what refers to a manifest (section 11)."""
import re

import pytest

from support import content
from support.content import artifact, compact, digest, image, index, push_blob, push_image, push_manifest

KINDS = ("application/vnd.a", "application/vnd.b+json")


def referrers(client, name, subject, query=""):
    response = client.get(f"/v2/{name}/referrers/{subject}{query}")
    assert response.status == 200
    assert response["Content-Type"] == content.INDEX
    document = response.json()
    assert {key: document[key] for key in ("schemaVersion", "mediaType")} == \
        {"schemaVersion": 2, "mediaType": content.INDEX}
    assert isinstance(document["manifests"], list)
    return document["manifests"], response


def digests(entries):
    return [entry["digest"] for entry in entries]


@pytest.fixture
def ready(client, name):
    push_blob(client, name, b"{}")
    return name


@pytest.mark.spec("REF-01", "REF-02", "CLI-04", "CLI-05")
def test_empty_lists(client, name):
    assert referrers(client, name, content.ZERO)[0] == []
    push_blob(client, name, b"{}")
    assert referrers(client, name, content.ZERO)[0] == []
    value, _, _ = push_image(client, name)
    entries, response = referrers(client, name, value)
    assert entries == []
    assert set(response.json()) == {"schemaVersion", "mediaType", "manifests"}
    assert referrers(client, name, "sha512:" + "0" * 128)[0] == []


@pytest.mark.spec("REF-02", "ROUTE-05")
@pytest.mark.parametrize("bad", ["sha256:zz", "nonsense", "sha256:" + "A" * 64])
def test_malformed_digest(client, ready, bad):
    response = client.get(f"/v2/{ready}/referrers/{bad}")
    assert (response.status, response.code) == (400, "DIGEST_INVALID")


@pytest.mark.spec("REF-03", "REF-07", "REF-04")
def test_before_and_after_the_subject_tagged_or_not(client, ready):
    subject_data = compact(image(annotations={"the": "subject"}))
    subject = digest(subject_data)
    before = push_manifest(client, ready, "early", artifact(subject))
    assert digests(referrers(client, ready, subject)[0]) == [before]
    push_manifest(client, ready, "subject", subject_data)
    late = compact(artifact(subject, annotations={"n": "2"}))
    push_manifest(client, ready, digest(late), late)
    whole = compact(index(subject={"mediaType": content.IMAGE, "digest": subject, "size": 1},
                          artifactType="application/vnd.whole"))
    push_manifest(client, ready, digest(whole), whole, content.INDEX)
    assert digests(referrers(client, ready, subject)[0]) == [before, digest(late), digest(whole)]
    # another repository has its own
    push_blob(client, f"{ready}-b", b"{}")
    push_manifest(client, f"{ready}-b", "x", artifact(subject, annotations={"n": "3"}))
    assert digests(referrers(client, ready, subject)[0]) == [before, digest(late), digest(whole)]
    assert len(referrers(client, f"{ready}-b", subject)[0]) == 1


@pytest.mark.spec("REF-03")
def test_the_digest_is_compared_as_text(client, ready):
    """One content under two algorithms is two subjects."""
    data = compact(image())
    for value in (digest(data), digest(data, "sha512")):
        push_manifest(client, ready, value, data)
    one = push_manifest(client, ready, "one", artifact(digest(data)))
    two = push_manifest(client, ready, "two", artifact(digest(data, "sha512")))
    assert digests(referrers(client, ready, digest(data))[0]) == [one]
    assert digests(referrers(client, ready, digest(data, "sha512"))[0]) == [two]


@pytest.mark.spec("REF-04")
def test_descriptors(client, ready):
    """artifactType: the manifest's, else the config's media type, else (index) omitted."""
    subject = {"mediaType": content.IMAGE, "digest": content.ZERO, "size": 7, "annotations": {"not": "mine"}}
    bodies = [
        (artifact(content.ZERO, KINDS[0], annotations={"a": "b", "c": "\u00e9\n\""}), content.IMAGE, KINDS[0]),
        (image(b"{}", config_type="application/vnd.config", subject=subject), content.IMAGE,
         "application/vnd.config"),
        (image(b"{}", config_type=content.EMPTY, subject=subject), content.IMAGE, content.EMPTY),
        (image(b"{}", subject=subject, media_type=content.DOCKER_IMAGE), content.DOCKER_IMAGE, content.CONFIG),
        (index(subject=subject, artifactType="application/vnd.index", annotations={}), content.INDEX,
         "application/vnd.index"),
        (index([{**content.descriptor(b"{}", "x/y"), "platform": {"os": "x"}}], subject=subject),
         content.INDEX, None)]
    expected = []
    for number, (body, kind, artifact_type) in enumerate(bodies):
        data = compact(body)
        value = push_manifest(client, ready, f"t{number}", data, kind)
        entry = {"mediaType": kind, "digest": value, "size": len(data)}
        if artifact_type:
            entry["artifactType"] = artifact_type
        if body.get("annotations"):
            entry["annotations"] = body["annotations"]
        expected.append(entry)
    got, _ = referrers(client, ready, content.ZERO)
    for entry in got:
        if entry.get("annotations") == {}:
            del entry["annotations"]
    assert got == expected


@pytest.fixture
def three(client, ready):
    """Two of the first kind, one of the second: digests in order of push."""
    values = [push_manifest(client, ready, f"t{number}", artifact(content.ZERO, kind, annotations={"n": str(number)}))
              for number, kind in enumerate((KINDS[0], KINDS[1], KINDS[0]))]
    return ready, values


@pytest.mark.spec("REF-05", "HTTP-12")
@pytest.mark.parametrize("asked, wanted", [
    (KINDS[0], [0, 2]), (KINDS[1], [1]), (KINDS[1].replace("+", "%2B"), [1]), ("application%2Fvnd.a", [0, 2]),
    ("application/vnd", []), ("application/vnd.A", []), ("none", [])])
def test_filter(client, three, asked, wanted):
    name, values = three
    entries, response = referrers(client, name, content.ZERO, f"?artifactType={asked}")
    assert digests(entries) == [values[at] for at in wanted]
    assert response["OCI-Filters-Applied"] == "artifactType"


@pytest.mark.spec("REF-05")
def test_no_filter(client, three):
    name, values = three
    for query in ("", "?artifactType=", "?other=x"):
        entries, response = referrers(client, name, content.ZERO, query)
        assert digests(entries) == values
        assert "OCI-Filters-Applied" not in response


@pytest.mark.spec("REF-07", "CLI-06")
def test_oldest_first_and_repeats_do_not_move(client, three):
    name, values = three
    push_manifest(client, name, "t0", artifact(content.ZERO, KINDS[0], annotations={"n": "0"}))
    push_manifest(client, name, "again", artifact(content.ZERO, KINDS[1], annotations={"n": "1"}))
    assert digests(referrers(client, name, content.ZERO)[0]) == values


@pytest.mark.spec("REF-08", "DEL-02")
def test_deleting_a_referrer_and_a_subject(client, ready):
    subject, _, _ = push_image(client, ready)
    one = push_manifest(client, ready, "one", artifact(subject))
    two = push_manifest(client, ready, "two", artifact(subject, annotations={"n": "2"}))
    assert client.delete(f"/v2/{ready}/manifests/two").status == 202  # a tag: the referrer stays
    assert digests(referrers(client, ready, subject)[0]) == [one, two]
    assert client.delete(f"/v2/{ready}/manifests/{one}").status == 202
    assert digests(referrers(client, ready, subject)[0]) == [two]
    assert client.delete(f"/v2/{ready}/manifests/{subject}").status == 202
    assert digests(referrers(client, ready, subject)[0]) == [two]
    assert client.get(f"/v2/{ready}/manifests/{two}").status == 200


@pytest.mark.spec("REF-06", "REF-04")
def test_long_lists_are_split_by_size(client, ready):
    """Twelve referrers of 700 KB each: pages stay below 4 MiB, differ, and cover all once."""
    values = []
    for number in range(12):
        kind = KINDS[number % 2]
        body = artifact(content.ZERO, kind, annotations={"n": str(number), "fill": "x" * 700000})
        values.append(push_manifest(client, ready, f"t{number:02}", body))
    for query, wanted in (("", values), (f"?artifactType={KINDS[1]}", values[1::2])):
        path, seen, pages = f"/v2/{ready}/referrers/{content.ZERO}{query}", [], 0
        while path:
            response = client.get(path)
            assert response.status == 200 and len(response.body) < 4 << 20
            assert ("OCI-Filters-Applied" in response) == bool(query)
            seen += digests(response.json()["manifests"])
            pages += 1
            path = re.match("<([^>]+)>", response["Link"])[1] if "Link" in response else None
            assert not path or not query or "artifactType=" in path
        assert seen == wanted
        assert pages > 1


@pytest.mark.spec("REF-06")
def test_small_lists_are_not_split(client, ready):
    """Clients that do not follow the Link must see a few hundred entries at once."""
    values = []
    for number in range(300):
        data = compact(artifact(content.ZERO, annotations={"n": str(number)}))
        values.append(push_manifest(client, ready, digest(data), data))
    entries, response = referrers(client, ready, content.ZERO)
    assert digests(entries) == values and "Link" not in response


@pytest.mark.spec("REF-09", "REF-10")
def test_fallback_tags_stay_ordinary(client, ready):
    """What an old client lists under the fallback tag appears by its own subject."""
    subject = "sha256:" + "a" * 64
    one = compact(artifact(subject))
    push_manifest(client, ready, digest(one), one)
    listed = {**content.descriptor(one, content.IMAGE), "artifactType": "application/vnd.example.sbom.v1"}
    fallback = compact(index([listed]))
    push_manifest(client, ready, "sha256-" + "a" * 64, fallback, content.INDEX)
    assert client.get(f"/v2/{ready}/manifests/sha256-{'a' * 64}").body == fallback
    assert digests(referrers(client, ready, subject)[0]) == [digest(one)]
    # the server writes none itself
    push_manifest(client, ready, "two", artifact("sha256:" + "b" * 64))
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == ["sha256-" + "a" * 64, "two"]


@pytest.mark.spec("REF-13", "CACHE-01")
def test_etag_of_the_list(client, ready):
    path = f"/v2/{ready}/referrers/{content.ZERO}"
    empty = client.get(path)
    assert "no-cache" in empty["Cache-Control"]
    push_manifest(client, ready, "one", artifact(content.ZERO))
    one = client.get(path)
    assert one["ETag"] != empty["ETag"] and re.fullmatch('"[^"]+"', one["ETag"])
    assert client.get(path)["ETag"] == one["ETag"]


@pytest.mark.spec("REF-03", "MPUT-23")
def test_referrers_survive_a_restart(make_server, name):
    server = make_server()
    client = server.client()
    push_blob(client, name, b"{}")
    values = [push_manifest(client, name, f"t{n}", artifact(content.ZERO, annotations={"n": str(n)})) for n in range(5)]
    client.close()
    server.kill()
    server.start()
    assert digests(referrers(client, name, content.ZERO)[0]) == values
    client.close()
