"""test_catalog.py - the catalogue (section 13)."""
import re

import pytest

from support.content import compact, digest, image, push_blob, push_image, put_manifest, start_upload


def walk(client, query):
    names, path = [], f"/v2/_catalog{query}"
    while path:
        response = client.get(path)
        assert response.status == 200
        assert set(response.json()) == {"repositories"}
        names.append(response.json()["repositories"])
        path = re.match("<([^>]+)>", response["Link"])[1] if "Link" in response else None
    return names


@pytest.fixture
def own(make_server):
    server = make_server()
    client = server.client()
    yield client
    client.close()


@pytest.mark.spec("CAT-01", "CAT-05")
def test_order_pages_and_links(own):
    assert walk(own, "") == [[]]
    wanted = ["a", "a-b", "a.b", "a/b", "a0", "b/c/d", "z"]
    for name in reversed(wanted):
        push_image(own, name)
    assert wanted == sorted(wanted)
    assert walk(own, "") == [wanted]
    for n in range(1, 9):
        pages = walk(own, f"?n={n}")
        assert [name for page in pages for name in page] == wanted
        assert len(pages) == -(-len(wanted) // n)
    assert walk(own, "?n=0") == [[]]
    assert walk(own, "?last=a.b") == [wanted[3:]]
    assert walk(own, "?last=a.a") == [wanted[2:]]
    assert walk(own, "?n=100&last=zz") == [[]]
    for n in ("x", "-1", ""):
        response = own.get(f"/v2/_catalog?n={n}")
        assert response.status == 400 if n else response.status in (200, 400)


@pytest.mark.spec("CAT-01")
def test_default_page_and_clamping(own):
    data = compact(image())
    names = [f"r{number:04}" for number in range(1010)]
    push_blob(own, "r0000", b"{}")
    for name in names:
        own.post(f"/v2/{name}/blobs/uploads/?mount={digest(b'{}')}&from=r0000")
        assert put_manifest(own, name, "t", data).status == 201
    response = own.get("/v2/_catalog")
    assert response.json()["repositories"] == names[:100] and "Link" in response
    response = own.get("/v2/_catalog?n=5000")
    assert response.json()["repositories"] == names[:1000] and "Link" in response
    assert sum(walk(own, "?n=5000"), []) == names


@pytest.mark.spec("CAT-03")
def test_a_repository_appears_with_its_first_manifest(own):
    start_upload(own, "only/session")
    push_blob(own, "only/blob", b"{}")
    assert walk(own, "") == [[]]
    push_blob(own, "real", b"{}")
    data = compact(image())
    assert put_manifest(own, "real", digest(data), data).status == 201  # no tag needed
    assert walk(own, "") == [["real"]]
    assert own.delete(f"/v2/real/manifests/{digest(data)}").status == 202
    assert walk(own, "") == [["real"]]  # it had one
