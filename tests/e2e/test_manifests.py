"""test_manifests.py - end-3, end-7: manifests and indexes going in and out (sections 7 and 10)."""
import json

import pytest

from support import content
from support.content import (artifact, compact, digest, fresh, image, index, push_blob, push_image,
                             push_manifest, put_manifest)


@pytest.fixture
def ready(client, name):
    """A repository that has the blob {}."""
    push_blob(client, name, b"{}")
    return name


def refuse(response, code="MANIFEST_INVALID", status=400):
    assert (response.status, response.code) == (status, code), response


# --- reading ---

@pytest.mark.spec("MGET-01", "MPUT-01", "HDR-01", "HDR-03")
def test_manifest_is_served_as_pushed(client, ready):
    """Odd spacing, escapes, key order and an unknown key survive to the byte."""
    data = (b'{ "config" : {"size":2,"digest":"%s","mediaType":"a\\/b"},\n\t"x-unknown":[1e2,"\\u00e9"],\r\n'
            b'"schemaVersion":2 ,"layers":[ ] }\n' % content.SHA256_BRACES.encode())
    value = push_manifest(client, ready, "t", data)
    assert value == digest(data)
    for reference in ("t", value):
        response = client.get(f"/v2/{ready}/manifests/{reference}")
        assert (response.status, response.body) == (200, data)
        assert response["Content-Length"] == str(len(data))
        assert response["Docker-Content-Digest"] == value
        assert response["ETag"] == f'"{value}"'
        head = client.head(f"/v2/{ready}/manifests/{reference}")
        assert head["Content-Length"] == str(len(data))
        assert head["Docker-Content-Digest"] == value


@pytest.mark.spec("MGET-02", "MPUT-04", "CLI-05")
@pytest.mark.parametrize("stored", content.ALL_TYPES)
@pytest.mark.parametrize("sent", ["{}", "{}; charset=utf-8", "{} ;x=y", "UPPER"])
def test_content_type_without_parameters(client, ready, stored, sent):
    kind = stored.upper() if sent == "UPPER" else sent.format(stored)
    body = index(media_type=stored) if "list" in stored or "index" in stored else \
        image(media_type=stored)
    response = put_manifest(client, ready, "t", body, kind)
    assert response.status == 201
    assert client.get(f"/v2/{ready}/manifests/t")["Content-Type"] == stored
    assert client.head(f"/v2/{ready}/manifests/t")["Content-Type"] == stored


@pytest.mark.spec("MGET-03")
@pytest.mark.parametrize("accept", [None, "*/*", "application/json", content.DOCKER_IMAGE, "nonsense", "",
                                    "application/vnd.docker.distribution.manifest.v1+prettyjws",
                                    "text/html;q=0.5, */*;q=0"])
def test_accept_never_hides_a_manifest(client, ready, accept):
    child = push_manifest(client, ready, "child", image())
    data = compact(index([{"mediaType": content.IMAGE, "digest": child, "size": len(compact(image())),
                           "platform": {"architecture": "amd64", "os": "linux"}}]))
    push_manifest(client, ready, "t", data, content.INDEX)
    response = client.get(f"/v2/{ready}/manifests/t", headers=[("Accept", accept)] if accept is not None else [])
    assert (response.status, response.body) == (200, data)
    assert response["Content-Type"] == content.INDEX


@pytest.mark.spec("MGET-04", "HDR-02", "MPUT-20", "MPUT-26")
def test_manifest_under_both_algorithms(client, ready):
    data = compact(image())
    by_256, by_512 = digest(data), digest(data, "sha512")
    assert client.get(f"/v2/{ready}/manifests/{by_512}").status == 404
    for value in (by_256, by_512):
        response = put_manifest(client, ready, value, data)
        assert response.status == 201
        assert response["Docker-Content-Digest"] == value
        assert response["Location"] == f"/v2/{ready}/manifests/{value}"
    for value in (by_256, by_512):
        response = client.get(f"/v2/{ready}/manifests/{value}")
        assert response.body == data and response["Docker-Content-Digest"] == value
    unknown = client.get(f"/v2/{ready}/manifests/{content.ZERO}")
    refuse(unknown, "MANIFEST_UNKNOWN", 404)


@pytest.mark.spec("MPUT-26", "HDR-02", "MPUT-25")
def test_tag_put_with_sha512_resolves_to_sha512(client, ready):
    data = compact(image())
    value = digest(data, "sha512")
    response = put_manifest(client, ready, f"{value}?tag=long", data)
    assert response.status == 201 and response["Docker-Content-Digest"] == value
    for method in ("GET", "HEAD"):
        assert client.request(method, f"/v2/{ready}/manifests/long")["Docker-Content-Digest"] == value
    assert put_manifest(client, ready, "short", data)["Docker-Content-Digest"] == digest(data)
    assert client.get(f"/v2/{ready}/manifests/short")["Docker-Content-Digest"] == digest(data)
    assert client.get(f"/v2/{ready}/manifests/long")["Docker-Content-Digest"] == value


@pytest.mark.spec("MGET-05")
def test_manifest_of_another_repository_is_unknown(client, ready):
    value = push_manifest(client, ready, "t", image())
    push_blob(client, f"{ready}-other", b"{}")
    for reference in ("t", value):
        assert client.get(f"/v2/{ready}/manifests/{reference}").status == 200  # memory has it now
        refuse(client.get(f"/v2/{ready}-other/manifests/{reference}"), "MANIFEST_UNKNOWN", 404)
        assert client.head(f"/v2/{ready}-other/manifests/{reference}").status == 404


@pytest.mark.spec("MGET-07", "CLI-06", "CLI-03")
def test_probing_tags_are_404_without_side_effects(client, name):
    value = "sha256-" + "a" * 64
    for suffix in ("", ".sig", ".att", ".sbom"):
        refuse(client.get(f"/v2/{name}/manifests/{value}{suffix}"), "MANIFEST_UNKNOWN", 404)
        assert client.head(f"/v2/{name}/manifests/{value}{suffix}").status == 404
    assert client.get(f"/v2/{name}/tags/list").status == 404
    assert name not in client.get("/v2/_catalog?n=1000").json()["repositories"]


@pytest.mark.spec("MGET-08", "MPUT-11")
def test_children_are_ordinary_manifests(client, ready):
    one, two = compact(image(annotations={"n": "1"})), compact(image(annotations={"n": "2"}))
    for data in (one, two):
        assert put_manifest(client, ready, digest(data), data).status == 201
    top = compact(index([content.descriptor(one, content.IMAGE), content.descriptor(two, content.IMAGE)]))
    push_manifest(client, ready, "t", top, content.INDEX)
    assert client.get(f"/v2/{ready}/manifests/t").body == top
    assert client.get(f"/v2/{ready}/manifests/{digest(one)}").body == one
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == ["t"]


# --- writing ---

@pytest.mark.spec("MPUT-21", "CLI-01", "CLI-05")
def test_put_answers(client, ready):
    data = compact(image())
    for reference in ("t", digest(data)):
        response = put_manifest(client, ready, reference, data)
        assert response.status == 201
        assert response["Location"] == f"/v2/{ready}/manifests/{digest(data)}"
        assert response["Docker-Content-Digest"] == digest(data)
        assert response["Content-Length"] == "0" and response.body == b""
        assert "OCI-Subject" not in response
        assert client.get(response["Location"]).body == data


def of_size(size):
    body = compact(image(annotations={"fill": ""}))
    return compact(image(annotations={"fill": "x" * (size - len(body))}))


@pytest.mark.spec("MPUT-02", "LIM-01")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_manifest_limit_is_four_mebibytes_exactly(client, ready, chunked):
    data = of_size(4 << 20)
    assert len(data) == 4194304
    assert put_manifest(client, ready, "t", data, chunked=chunked).status == 201
    assert client.get(f"/v2/{ready}/manifests/t").body == data
    for size in ((4 << 20) + 1, 6 << 20):
        refuse(put_manifest(client, ready, "big", of_size(size), chunked=chunked), "SIZE_INVALID", 413)
    assert client.head(f"/v2/{ready}/manifests/big").status == 404


GOOD_BODY = compact(image())
BAD_BODIES = {
    "empty": b"", "nothing": b"   ", "word": b"hello", "array": b"[]", "string": b'"x"', "null": b"null",
    "cut": GOOD_BODY[:-1], "more": GOOD_BODY + b"x", "two": GOOD_BODY + GOOD_BODY,
    "utf8": GOOD_BODY.replace(b"image.config", b"image.\xff\xfe"),
    "surrogate": GOOD_BODY[:-1] + b',"x":"\xed\xa0\x80"}',
    "overlong": GOOD_BODY[:-1] + b',"x":"\xc0\xaf"}',
    "deep": GOOD_BODY[:-1] + b',"x":' + b"[" * 100 + b"]" * 100 + b"}",
    "duplicate": GOOD_BODY[:-1] + b',"config":null}',
    "duplicate-version": GOOD_BODY[:-1] + b',"schemaVersion":2}',
    "duplicate-in-descriptor": GOOD_BODY.replace(b'"size":2', b'"size":2,"size":3'),
    "comment": b"/* */" + GOOD_BODY, "trailing-comma": GOOD_BODY[:-1] + b",}", "single": b"{'a':1}",
    "bom": b"\xef\xbb\xbf" + GOOD_BODY,
}


@pytest.mark.spec("MPUT-03")
@pytest.mark.parametrize("case", BAD_BODIES)
def test_bodies_that_are_not_one_sound_object(client, ready, case):
    refuse(put_manifest(client, ready, "t", BAD_BODIES[case]))
    assert client.get(f"/v2/{ready}/manifests/t").status == 404


@pytest.mark.spec("MPUT-01", "MPUT-03", "MPUT-09")
def test_sound_nesting_and_whitespace_pass(client, ready):
    deep = GOOD_BODY[:-1] + b',"x":' + b"[" * 63 + b"]" * 63 + b"}"
    assert put_manifest(client, ready, "t", deep).status == 201
    spaced = b" \r\n\t" + GOOD_BODY + b"\n "
    assert put_manifest(client, ready, "t", spaced).status == 201
    assert client.get(f"/v2/{ready}/manifests/t").body == spaced


@pytest.mark.spec("MPUT-05")
@pytest.mark.parametrize("sent, inside", [
    (content.IMAGE, content.DOCKER_IMAGE), (content.DOCKER_IMAGE, content.IMAGE),
    (content.IMAGE, content.INDEX), (content.INDEX, content.IMAGE), (content.IMAGE, "x/y"), (content.IMAGE, 5),
    (content.IMAGE, content.IMAGE[:-5]), (content.IMAGE[:-5], content.IMAGE)])
def test_media_type_in_the_body_must_agree(client, ready, sent, inside):
    body = image()
    body["mediaType"] = inside
    refuse(put_manifest(client, ready, "t", body, sent))


@pytest.mark.spec("MPUT-06", "CLI-03")
@pytest.mark.parametrize("sent", [None, "application/json", "application/octet-stream", "text/plain"])
@pytest.mark.parametrize("body, kind", [
    (image(), content.IMAGE), (image(media_type=content.DOCKER_IMAGE), content.DOCKER_IMAGE),
    (index(), content.INDEX), (image(media_type=None), content.IMAGE),
    ({"schemaVersion": 2, "manifests": []}, content.INDEX),
    ({"schemaVersion": 2, "mediaType": content.DOCKER_LIST, "manifests": []}, content.DOCKER_LIST)],
    ids=range(6))
def test_missing_or_generic_content_type(client, ready, sent, body, kind):
    assert put_manifest(client, ready, "t", body, sent).status == 201
    assert client.get(f"/v2/{ready}/manifests/t")["Content-Type"] == kind


@pytest.mark.spec("MPUT-06")
@pytest.mark.parametrize("sent", [None, "application/json"])
def test_undecidable_type(client, ready, sent):
    refuse(put_manifest(client, ready, "t", {"schemaVersion": 2}, sent))
    refuse(put_manifest(client, ready, "t", {"schemaVersion": 2, "mediaType": "x/y", "config": {}}, sent))


@pytest.mark.spec("MPUT-07", "CLI-05")
def test_media_type_in_the_body_is_optional(client, ready):
    assert put_manifest(client, ready, "t", image(media_type=None)).status == 201
    assert client.get(f"/v2/{ready}/manifests/t")["Content-Type"] == content.IMAGE
    assert put_manifest(client, ready, "i", {"schemaVersion": 2, "manifests": []}, content.INDEX).status == 201
    assert client.get(f"/v2/{ready}/manifests/i")["Content-Type"] == content.INDEX


@pytest.mark.spec("MPUT-08")
@pytest.mark.parametrize("version", [1, 3, 0, -2, "2", None, 2.5, True, [2], "absent"])
def test_schema_version_must_be_2(client, ready, version):
    for body, kind in ((image(), content.IMAGE), (index(), content.INDEX)):
        body["schemaVersion"] = version
        if version == "absent":
            del body["schemaVersion"]
        refuse(put_manifest(client, ready, "t", body, kind))


@pytest.mark.spec("MPUT-09")
@pytest.mark.parametrize("kind, extra", [
    (content.IMAGE, {"manifests": []}), (content.DOCKER_IMAGE, {"manifests": []}),
    (content.INDEX, {"config": {}}), (content.INDEX, {"layers": []}), (content.DOCKER_LIST, {"layers": []}),
    (content.DOCKER_LIST, {"config": content.descriptor(b"{}")}), (content.IMAGE, {"manifests": None})])
def test_type_confusion(client, ready, kind, extra):
    body = index(media_type=kind) if kind in (content.INDEX, content.DOCKER_LIST) else image(media_type=kind)
    refuse(put_manifest(client, ready, "t", {**body, **extra}, kind))


@pytest.mark.spec("MPUT-09", "MPUT-12", "MPUT-01")
def test_unknown_keys_are_fine_at_any_depth(client, ready):
    body = image(x_new={"config": 1, "manifests": 2}, annotations={"a": "b"})
    body["config"]["x"] = {"layers": []}
    body["config"]["data"] = "e30="
    assert put_manifest(client, ready, "t", body).status == 201
    body = index([{**content.descriptor(b"{}", "x/y"), "platform": {"new": {}}}], x_new=[])
    assert put_manifest(client, ready, "i", body, content.INDEX).status == 201


@pytest.mark.spec("MPUT-10")
@pytest.mark.parametrize("kind", [content.IMAGE, content.DOCKER_IMAGE])
def test_config_is_required_and_layers_may_be_empty(client, ready, kind):
    body = image(media_type=kind)
    for layers in ([], None, "absent"):
        value = {**body, "layers": layers}
        if layers == "absent":
            del value["layers"]
        assert put_manifest(client, ready, "t", value, kind).status == 201, layers
    for config in (None, "absent", {}, [], "x"):
        value = {**body, "config": config}
        if config == "absent":
            del value["config"]
        refuse(put_manifest(client, ready, "t", value, kind))
    refuse(put_manifest(client, ready, "t", {**body, "layers": {}}, kind))
    refuse(put_manifest(client, ready, "t", {**body, "layers": [None]}, kind))


@pytest.mark.spec("MPUT-11")
@pytest.mark.parametrize("kind", [content.INDEX, content.DOCKER_LIST])
def test_index_children_of_every_sort(client, ready, kind):
    for manifests in ([], None, "absent"):
        value = {**index(media_type=kind), "manifests": manifests}
        if manifests == "absent":
            del value["manifests"]
        assert put_manifest(client, ready, "t", value, kind).status == 201, manifests
    data = compact(image())
    push_manifest(client, ready, "child", data)
    child = content.descriptor(data, content.IMAGE)
    nested = compact(index([child]))
    push_manifest(client, ready, "nested", nested, content.INDEX)
    same = {"architecture": "amd64", "os": "linux"}
    children = [child, {**child, "platform": same}, {**child, "platform": same},
                {**child, "platform": {"architecture": "unknown", "os": "unknown"}},
                {**child, "platform": {"architecture": "z80", "os": "cp/m", "variant": "x"}},
                content.descriptor(nested, content.INDEX)]
    body = compact(index(children, media_type=kind))
    push_manifest(client, ready, "t", body, kind)
    assert client.get(f"/v2/{ready}/manifests/t").body == body
    refuse(put_manifest(client, ready, "t", {**index(media_type=kind), "manifests": {}}, kind))


@pytest.mark.spec("MPUT-12")
def test_unknown_types_everywhere(client, ready):
    body = image(b"{}", [b"{}"], config_type="application/x-any", layer_type="chemical/x-pdb",
                 artifactType="application/vnd.nobody.knows")
    assert put_manifest(client, ready, "t", body).status == 201
    # an empty config without artifactType is tolerated
    body = image(b"{}", [b"{}"], config_type=content.EMPTY, layer_type=content.EMPTY)
    assert put_manifest(client, ready, "e", body).status == 201
    body = index([content.descriptor(b"{}", "x/y")], artifactType="a/b")
    assert put_manifest(client, ready, "i", body, content.INDEX).status == 201


BAD_DESCRIPTORS = [
    {"size": -1}, {"size": "2"}, {"size": 2.5}, {"size": None}, {"size": 1 << 63}, {"size": 1e30},
    {"digest": None}, {"digest": 5}, {"digest": "sha256:zz"}, {"digest": "nonsense"},
    {"digest": "sha256:" + "A" * 64}, {"digest": "sha256:" + "a" * 63}, {"digest": "sha512:" + "a" * 64},
    {"digest": ""}, {"mediaType": None}, {"mediaType": 5}, {"mediaType": ""}, {"mediaType": "x"},
    {"digest": "absent"}, {"size": "absent"}, {"mediaType": "absent"}]


@pytest.mark.spec("MPUT-13", "NAME-03", "NAME-04")
@pytest.mark.parametrize("change", BAD_DESCRIPTORS, ids=range(len(BAD_DESCRIPTORS)))
def test_malformed_descriptors(client, ready, change):
    good = content.descriptor(b"{}", "x/y")
    bad = {key: value for key, value in {**good, **change}.items() if value != "absent"}
    refuse(put_manifest(client, ready, "t", {**image(), "config": bad}))
    refuse(put_manifest(client, ready, "t", {**image(), "layers": [good, bad]}))
    refuse(put_manifest(client, ready, "t", index([bad]), content.INDEX))
    refuse(put_manifest(client, ready, "t", {**image(), "subject": bad}))
    assert client.get(f"/v2/{ready}/manifests/t").status == 404


@pytest.mark.spec("MPUT-13", "MPUT-19", "LIM-03")
def test_size_of_63_bits_is_legal(client, ready):
    body = image()
    body["subject"] = {"mediaType": "x/y", "digest": content.ZERO, "size": (1 << 63) - 1}
    assert put_manifest(client, ready, "t", body).status == 201
    body["layers"] = [{**content.descriptor(b"{}"), "size": 5 << 40}]
    assert put_manifest(client, ready, "t", body).status == 201


@pytest.mark.spec("MPUT-14", "MPUT-23")
def test_missing_blobs_are_each_named(client, ready):
    config, one, two = fresh(), fresh(), fresh()
    push_blob(client, ready, one)
    push_blob(client, f"{ready}-other", two)  # elsewhere does not count
    response = put_manifest(client, ready, "t", image(config, [one, two]))
    refuse(response, "MANIFEST_BLOB_UNKNOWN")
    named = {entry["detail"]["digest"] for entry in response.json()["errors"]}
    assert named == {digest(config), digest(two)}
    assert set(response.codes) == {"MANIFEST_BLOB_UNKNOWN"}
    assert client.get(f"/v2/{ready}/manifests/t").status == 404
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == []


FOREIGN = ["application/vnd.oci.image.layer.nondistributable.v1.tar",
           "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
           "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
           "application/vnd.docker.image.rootfs.foreign.diff.tar",
           "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"]


@pytest.mark.spec("MPUT-15")
@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("urls", [None, ["https://example.org/x"]], ids=["bare", "urls"])
def test_nondistributable_layers_may_be_missing(client, ready, kind, urls):
    data = fresh()
    layer = content.descriptor(data, kind)
    if urls:
        layer["urls"] = urls
    body = {**image(), "layers": [layer]}
    assert put_manifest(client, ready, "t", body).status == 201
    push_blob(client, ready, data)
    assert put_manifest(client, ready, "t", body).status == 201
    assert client.get(f"/v2/{ready}/blobs/{digest(data)}").body == data
    # the type excuses layers, not configs
    refuse(put_manifest(client, ready, "u", {**image(), "config": content.descriptor(fresh(), kind)}),
           "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.spec("MPUT-16", "CLI-07")
def test_index_of_blobs_as_buildkit_caches_write(client, ready):
    layers = [fresh(), fresh()]
    cache = compact({"layers": [{"blob": digest(layer)} for layer in layers]})
    for data in (*layers, cache):
        push_blob(client, ready, data)
    body = index([content.descriptor(layer, content.LAYER_GZIP) for layer in layers] +
                 [content.descriptor(cache, "application/vnd.buildkit.cacheconfig.v0")])
    assert put_manifest(client, ready, "cache", body, content.INDEX).status == 201


@pytest.mark.spec("MPUT-16")
def test_missing_children_are_each_named(client, ready):
    here, gone = compact(image()), fresh()
    push_manifest(client, ready, "here", here)
    response = put_manifest(client, ready, "t", index([content.descriptor(here, content.IMAGE),
                                                       content.descriptor(gone, content.IMAGE)]), content.INDEX)
    refuse(response, "MANIFEST_BLOB_UNKNOWN")
    assert [entry["detail"]["digest"] for entry in response.json()["errors"]] == [digest(gone)]


@pytest.mark.spec("MPUT-17")
def test_sparse_manifests_by_setting(make_server, name):
    server = make_server({"manifests.accept_missing": "true"})
    client = server.client()
    config, layer = fresh(), fresh()
    body = compact(image(config, [layer]))
    assert put_manifest(client, name, "t", body).status == 201
    assert put_manifest(client, name, "i", index([content.descriptor(fresh(), content.IMAGE)]),
                        content.INDEX).status == 201
    assert client.get(f"/v2/{name}/manifests/t").body == body
    assert client.get(f"/v2/{name}/blobs/{digest(layer)}").status == 404
    push_blob(client, name, layer)
    assert client.get(f"/v2/{name}/blobs/{digest(layer)}").body == layer
    client.close()
    server.restart()
    assert client.get(f"/v2/{name}/manifests/t").body == body
    client.close()


@pytest.mark.spec("NAME-03", "MPUT-18", "MPUT-22")
def test_subject_of_an_unknown_algorithm(client, ready):
    value = "a+b.c-d_e:C=d_e-"
    body = {**image(), "subject": {**content.descriptor(b"x", content.IMAGE), "digest": value}}
    response = put_manifest(client, ready, "t", body)
    assert (response.status, response["OCI-Subject"]) == (201, value)
    listed = client.get(f"/v2/{ready}/referrers/{value}").json()["manifests"]
    assert [entry["digest"] for entry in listed] == [response["Docker-Content-Digest"]]


@pytest.mark.spec("MPUT-18", "MPUT-22")
def test_subject_may_point_to_nothing(client, ready):
    assert put_manifest(client, ready, "t", artifact(content.ZERO))["OCI-Subject"] == content.ZERO
    response = put_manifest(client, ready, "n", {**image(), "subject": None})
    assert response.status == 201 and "OCI-Subject" not in response
    for subject in ({}, [], "x", 5, content.ZERO, {"digest": content.ZERO}, True):
        refuse(put_manifest(client, ready, "m", {**image(), "subject": subject}))
    assert client.get(f"/v2/{ready}/manifests/m").status == 404


@pytest.mark.spec("MPUT-22", "CLI-04")
def test_oci_subject_on_images_and_indexes_each_time(client, ready):
    subject = {"mediaType": content.IMAGE, "digest": content.ZERO, "size": 1}
    for _ in range(2):
        response = put_manifest(client, ready, "a", artifact(content.ZERO))
        assert response.status == 201 and response["OCI-Subject"] == content.ZERO
        response = put_manifest(client, ready, "i", index(subject=subject), content.INDEX)
        assert response.status == 201 and response["OCI-Subject"] == content.ZERO
    odd = {"mediaType": "a/b", "digest": "a+b:C=d_e", "size": 0}
    assert put_manifest(client, ready, "o", {**image(), "subject": odd})["OCI-Subject"] == "a+b:C=d_e"


@pytest.mark.spec("MPUT-20")
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_path_digest_must_match(client, ready, algorithm):
    data = compact(image())
    for wrong in (digest(data + b" ", algorithm), digest(b"", algorithm)):
        refuse(put_manifest(client, ready, wrong, data), "DIGEST_INVALID")
        assert client.get(f"/v2/{ready}/manifests/{wrong}").status == 404
    assert client.get(f"/v2/{ready}/manifests/{digest(data)}").status == 404


@pytest.mark.spec("MPUT-23")
@pytest.mark.parametrize("body", [
    image(b"{}", [b"not here"], subject={"mediaType": "a/b", "digest": content.ZERO, "size": 1}),
    {**artifact(content.ZERO), "schemaVersion": 1}])
def test_a_refused_manifest_leaves_nothing(client, ready, body):
    old = push_manifest(client, ready, "t", image())
    data = compact(body)
    assert put_manifest(client, ready, "t", data).status == 400
    assert put_manifest(client, ready, f"{digest(data)}?tag=u&tag=t", data).status == 400
    assert client.get(f"/v2/{ready}/manifests/t")["Docker-Content-Digest"] == old
    assert client.get(f"/v2/{ready}/manifests/{digest(data)}").status == 404
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == ["t"]
    assert client.get(f"/v2/{ready}/referrers/{content.ZERO}").json()["manifests"] == []


@pytest.mark.spec("MPUT-24")
def test_tags_move_and_the_old_manifest_stays(client, ready):
    one, two = compact(image(annotations={"n": "1"})), compact(image(annotations={"n": "2"}))
    for data in (one, two, two, one, two):
        assert put_manifest(client, ready, "t", data).status == 201
        assert client.get(f"/v2/{ready}/manifests/t").body == data
        assert client.head(f"/v2/{ready}/manifests/t")["Docker-Content-Digest"] == digest(data)
    assert client.get(f"/v2/{ready}/manifests/{digest(one)}").body == one


@pytest.mark.spec("MPUT-25")
def test_many_tags_in_one_put(client, ready):
    data = compact(image())
    tags = [f"t{number:03}" for number in range(100)]
    query = "&".join(f"tag={tag}" for tag in tags)
    response = put_manifest(client, ready, f"{digest(data)}?{query}", data)
    assert response.status == 201
    accepted = [tag.strip() for line in response.all("OCI-Tag") for tag in line.split(",")]
    assert accepted == tags
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == tags
    for tag in (tags[0], tags[50], tags[99]):
        assert client.get(f"/v2/{ready}/manifests/{tag}").body == data


@pytest.mark.spec("MPUT-25")
def test_tag_lists_that_are_refused(client, ready):
    data = compact(image())
    query = "&".join(f"tag=u{number}" for number in range(101))
    assert put_manifest(client, ready, f"{digest(data)}?{query}", data).status == 414
    for query in ("tag=good&tag=.bad", "tag=good&tag=", "tag=good&tag=" + "x" * 129, "tag=a%2Fb&tag=good"):
        response = put_manifest(client, ready, f"{digest(data)}?{query}", data)
        assert response.status == 400, query
    assert client.get(f"/v2/{ready}/manifests/{digest(data)}").status == 404
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == []
    response = put_manifest(client, ready, "only?tag=x&tag=y", data)  # by tag: parameters are ignored
    assert response.status == 201
    assert client.get(f"/v2/{ready}/tags/list").json()["tags"] == ["only"]


@pytest.mark.spec("MPUT-28")
def test_last_push_decides_the_type(client, ready):
    data = compact({"schemaVersion": 2, "config": content.descriptor(b"{}", "x/y"), "layers": []})
    for kind in (content.IMAGE, content.DOCKER_IMAGE, content.IMAGE, content.DOCKER_IMAGE):
        assert put_manifest(client, ready, "t", data, kind).status == 201
        for reference in ("t", "u", digest(data)):  # u: a tag that the later pushes do not name
            if (kind, reference) == (content.IMAGE, "u"):
                put_manifest(client, ready, "u", data, kind)
            assert client.get(f"/v2/{ready}/manifests/{reference}")["Content-Type"] == kind
    push_blob(client, f"{ready}-b", b"{}")
    assert put_manifest(client, f"{ready}-b", "t", data, content.IMAGE).status == 201
    assert client.get(f"/v2/{ready}/manifests/t")["Content-Type"] == content.DOCKER_IMAGE
    assert client.get(f"/v2/{ready}-b/manifests/t")["Content-Type"] == content.IMAGE


@pytest.mark.spec("MPUT-29")
def test_number_of_descriptors_is_limited(client, ready):
    """10,000 descriptors pass; far more are refused, and quickly."""
    one = content.descriptor(b"{}", "x/y")
    assert put_manifest(client, ready, "t", {**image(), "layers": [one] * 9999}).status == 201
    refuse(put_manifest(client, ready, "u", {**image(), "layers": [one] * 10000}))
    refuse(put_manifest(client, ready, "u", {**image(), "layers": [one] * 20000}))
    assert client.get(f"/v2/{ready}/manifests/u").status == 404


@pytest.mark.spec("MPUT-05", "MPUT-09")
@pytest.mark.parametrize("kind", [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.artifact.manifest.v1+json", "text/html", "application/vnd.unknown+json",
    "nonsense"])
def test_types_that_are_not_accepted(client, ready, kind):
    body = image(media_type=None)
    refuse(put_manifest(client, ready, "t", body, kind))
    refuse(put_manifest(client, ready, "t", {**body, "mediaType": kind}, kind))


@pytest.mark.spec("HDR-02", "MPUT-01")
def test_vectors_of_the_list(client, ready):
    """Section 23, byte for byte."""
    data = (b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
            b'"artifactType":"application/vnd.example.sbom.v1","config":{"mediaType":'
            b'"application/vnd.oci.empty.v1+json","digest":"%(e)s","size":2},"layers":[{"mediaType":'
            b'"application/vnd.oci.empty.v1+json","digest":"%(e)s","size":2}],"subject":{"mediaType":'
            b'"application/vnd.oci.image.manifest.v1+json","digest":"%(z)s","size":1},'
            b'"annotations":{"org.example.k":"v"}}'
            % {b"e": content.SHA256_BRACES.encode(), b"z": content.ZERO.encode()})
    by_256 = "sha256:731383d8a7487e6bac8db646c15288e129b97cd88cb6e056b66b04fb20086932"
    by_512 = ("sha512:e5f5582908f8dfa38e2fd971e1ce612364495d610774147201d4a56c63ed45cb"
              "8a6a466eeab5ad2f204580b164bcc43c908ef12d3acba2a5abbbece47fc9a49d")
    assert len(data) == 626
    response = put_manifest(client, ready, "v", data)
    assert response.status == 201 and response["OCI-Subject"] == content.ZERO
    assert response["Docker-Content-Digest"] == by_256
    assert put_manifest(client, ready, by_512, data).status == 201
    listed = client.get(f"/v2/{ready}/referrers/{content.ZERO}").json()["manifests"]
    found = [entry for entry in listed if entry["digest"] == by_256]
    assert found == [{"mediaType": content.IMAGE, "digest": by_256, "size": 626,
                      "artifactType": "application/vnd.example.sbom.v1",
                      "annotations": {"org.example.k": "v"}}]


@pytest.mark.spec("UPL-19", "UPL-21")
@pytest.mark.parametrize("data, value", [
    (b"", content.SHA256_NOTHING), (b"", content.SHA512_NOTHING), (b"{}", content.SHA256_BRACES),
    (b"{}", "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9"
            "a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd"),
    (b"hello world", "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")], ids=range(5))
def test_digest_vectors(client, name, data, value):
    assert client.post(f"/v2/{name}/blobs/uploads/?digest={value}", data).status == 201
    assert client.get(f"/v2/{name}/blobs/{value}").body == data


@pytest.mark.spec("MPUT-01", "CONC-02")
def test_everything_again_after_a_restart(make_server, name):
    """What memory answered before, disk answers now, to the byte."""
    server = make_server()
    client = server.client()
    value, data, layers = push_image(client, name)
    before = client.get(f"/v2/{name}/manifests/latest")
    client.close()
    server.restart()
    after = client.get(f"/v2/{name}/manifests/latest")
    same = ("Content-Type", "Docker-Content-Digest", "ETag", "Content-Length")
    assert after.body == before.body == data
    assert [after[key] for key in same] == [before[key] for key in same]
    assert client.get(f"/v2/{name}/manifests/{value}").body == data
    assert client.get(f"/v2/{name}/blobs/{digest(layers[0])}").body == layers[0]
    assert json.loads(data)["layers"][0]["digest"] == digest(layers[0])
    client.close()
