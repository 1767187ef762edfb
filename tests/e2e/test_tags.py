"""test_tags.py - end-8: lists of tags, page by page (section 12)."""
import re
import threading
import urllib.parse

import pytest

from support import content
from support.content import compact, digest, image, push_blob, push_image, push_manifest, put_manifest

VECTOR = ["A", "B", "a", "a.b", "a_b", "b"]


def tag_all(client, name, tags):
    """Many tags by lists of a hundred; the manifest's digest."""
    push_blob(client, name, b"{}")
    data = compact(image())
    for at in range(0, len(tags), 100):
        query = "&".join(f"tag={tag}" for tag in tags[at:at + 100])
        assert put_manifest(client, name, f"{digest(data)}?{query}", data).status == 201
    return digest(data)


def page(client, name, query=""):
    response = client.get(f"/v2/{name}/tags/list{query}")
    assert response.status == 200
    assert response["Content-Type"].split(";")[0] == "application/json"
    document = response.json()
    assert set(document) == {"name", "tags"} and document["name"] == name
    return document["tags"], response.get("Link")


def next_path(link):
    return re.fullmatch(r'<([^>]+)>; ?rel="?next"?', link)[1]


def walk(client, name, query):
    """All pages from here: a list of lists."""
    pages, path = [], f"/v2/{name}/tags/list{query}"
    while path:
        response = client.get(path)
        assert response.status == 200
        pages.append(response.json()["tags"])
        path = next_path(response["Link"]) if "Link" in response else None
    return pages


@pytest.fixture
def six(client, name):
    tag_all(client, name, ["b", "a_b", "A", "a.b", "B", "a"])
    return name


@pytest.mark.spec("TAG-01", "TAG-02", "TAG-05")
def test_vector_of_the_list(client, six):
    assert page(client, six) == (VECTOR, None)
    tags, link = page(client, six, "?n=2")
    assert tags == ["A", "B"]
    path = urllib.parse.urlsplit(next_path(link))
    assert path.path == f"/v2/{six}/tags/list"
    assert urllib.parse.parse_qs(path.query) == {"n": ["2"], "last": ["B"]}
    assert page(client, six, "?n=2&last=a_b") == (["b"], None)
    assert page(client, six, "?last=aa") == (["b"], None)
    assert page(client, six, "?n=0") == ([], None)


@pytest.mark.spec("TAG-03", "TAG-05", "CLI-03")
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 1000])
def test_pages_cover_everything_once(client, six, n):
    pages = walk(client, six, f"?n={n}")
    assert [tag for tags in pages for tag in tags] == VECTOR
    assert all(len(tags) == n for tags in pages[:-1])
    assert len(pages) == max(1, -(-6 // n)), "no Link on a full last page"


@pytest.mark.spec("TAG-04")
@pytest.mark.parametrize("last, expected", [
    ("", VECTOR), ("A", VECTOR[1:]), ("AA", VECTOR[1:]), ("a", VECTOR[3:]), ("a-", VECTOR[3:]), ("b", []),
    ("zzz", []), ("0", VECTOR), ("a.b", VECTOR[4:]), ("x" * 200, []), ("%01", VECTOR), ("%7e", [])])
def test_last_is_strictly_after(client, six, last, expected):
    assert page(client, six, f"?last={last}") == (expected, None)
    assert page(client, six, f"?n=100&last={last}") == (expected, None)


@pytest.mark.spec("TAG-07")
@pytest.mark.parametrize("n", ["-1", "x", "1.5", "0x10", "1e3", "+", "--1", "5x", "%20"])
def test_n_that_is_no_number(client, six, n):
    response = client.get(f"/v2/{six}/tags/list?n={n}")
    assert (response.status, response.code) == (400, "UNSUPPORTED")


@pytest.mark.spec("TAG-07", "TAG-06")
@pytest.mark.parametrize("n", ["100000", "9223372036854775808", "99999999999999999999999999"])
def test_huge_n_is_clamped(client, six, n):
    assert page(client, six, f"?n={n}") == (VECTOR, None)


@pytest.mark.spec("TAG-08", "TAG-01")
def test_unknown_and_empty_repositories(client, name):
    response = client.get(f"/v2/{name}/tags/list")
    assert (response.status, response.code) == (404, "NAME_UNKNOWN")
    push_blob(client, name, b"{}")
    assert page(client, name) == ([], None)  # only blobs
    value = push_manifest(client, name, "t", image())
    assert page(client, name) == (["t"], None)
    assert client.delete(f"/v2/{name}/manifests/{value}").status == 202
    assert page(client, name) == ([], None)  # all deleted


@pytest.mark.spec("TAG-09", "REF-10")
def test_fallback_tags_are_listed(client, name):
    push_blob(client, name, b"{}")
    for tag in ("sha256-" + "a" * 64, "sha512-" + "a" * 64, "a-b-C-d_e", "sha256-" + "b" * 64 + ".sig"):
        push_manifest(client, name, tag, {"schemaVersion": 2, "manifests": []}, content.INDEX)
    assert page(client, name)[0] == ["a-b-C-d_e", "sha256-" + "a" * 64, "sha256-" + "b" * 64 + ".sig",
                                     "sha512-" + "a" * 64]


@pytest.mark.spec("TAG-06", "TAG-05", "TAG-03", "TAG-11")
def test_default_pages_and_clamping(plain, name):
    client = plain.client()
    tags = [f"t{number:05}" for number in range(10150)]
    tag_all(client, name, tags)
    got, link = page(client, name)
    assert got == tags[:10000] and "last=t09999" in link
    got, link = page(client, name, "?n=5000")
    assert got == tags[:1000] and "last=t00999" in link
    assert [tag for part in walk(client, name, "?n=999") for tag in part] == tags
    valid = re.compile("[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
    assert all(valid.fullmatch(tag) for tag in got)


@pytest.mark.spec("TAG-10", "TAG-02")
def test_pages_are_stable_under_change(plain, name):
    """While others come and go, no tag present throughout is skipped or doubled."""
    client, other = plain.client(), plain.client()
    lasting = [f"m{number:04}" for number in range(0, 2000, 2)]
    tag_all(client, name, lasting)
    data, stop = compact(image()), threading.Event()

    def disturb():
        number = 1
        while not stop.is_set():
            tag = f"m{number % 2000:04}"
            put_manifest(other, name, tag, data)
            other.delete(f"/v2/{name}/manifests/{tag}")
            number += 74

    worker = threading.Thread(target=disturb)
    worker.start()
    try:
        for n in (7, 50, 333):
            seen = [tag for tags in walk(client, name, f"?n={n}") for tag in tags]
            assert seen == sorted(set(seen))
            assert [tag for tag in seen if int(tag[1:]) % 2 == 0] == lasting
    finally:
        stop.set()
        worker.join()


@pytest.mark.spec("TAG-05", "TAG-10", "TAG-06")
def test_a_hundred_thousand_tags(plain, name):
    """Inserted through the API; every page is as quick at the end as at the beginning."""
    client = plain.client()
    tags = [f"v{number:06}" for number in range(100000)]
    tag_all(client, name, tags)
    pages = walk(client, name, "?n=1000")
    assert len(pages) == 100
    assert [tag for part in pages for tag in part] == tags
    got, link = page(client, name, "?n=10&last=v099985")
    assert got == tags[99986:99996] and link
    assert page(client, name, "?n=10&last=v099989") == (tags[99990:], None)


@pytest.mark.spec("TAG-01", "CLI-03")
def test_repositories_keep_their_own_tags(client, name):
    push_image(client, f"{name}/a", "one")
    push_image(client, f"{name}/b", "two")
    push_image(client, name, "three")
    assert [page(client, one)[0] for one in (f"{name}/a", f"{name}/b", name)] == [["one"], ["two"], ["three"]]
