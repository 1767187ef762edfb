"""test_collect.py - the collector beside clients: what is reachable stays, the rest goes while the server serves."""
import concurrent.futures
import contextlib
import time

import pytest

from support import api, content
from support.content import (artifact, compact, descriptor, digest, fresh, image, index, push_blob, push_image,
                             push_manifest, put_manifest)
from support.process import wait_for

GRACE = 2  # seconds
SOON = {"gc.undo": "0s", "gc.late": "0s", "gc.interval": "20ms", "gc.grace": f"{GRACE}s"}


@contextlib.contextmanager
def resting(server):
    """The collector rests: what is pushed meanwhile is whole before it looks, however slow that is."""
    with contextlib.closing(api.Api(server.target)) as caller:
        assert caller.put("/gc", {"paused": True}).json()["paused"] is True
        yield
        assert caller.put("/gc", {"paused": False}).json()["paused"] is False


def stored(server):
    """Bytes of the files."""
    return sum(size for _, size in server.blob_files())


@pytest.mark.spec("CONC-04")
def test_collection_keeps_what_is_reachable(make_server, name):
    """Tagged and by reference: children that are manifests and blobs, configs, layers, referrers of referrers."""
    server = make_server({**SOON, "gc.untagged": "1ms"})
    client = server.client()
    with resting(server):
        push_image(client, name, "tagged")
        child, data, _ = push_image(client, name, None)
        lone = fresh()
        push_blob(client, name, lone)
        children = [descriptor(data, content.IMAGE), descriptor(lone)]
        whole = push_manifest(client, name, "index", index(children), content.INDEX)
        push_blob(client, name, b"{}")
        signature = push_manifest(client, name, digest(about := compact(artifact(whole))), about)
        second = push_manifest(client, name, digest(more := compact(artifact(signature))), more)
        # and what nothing leads to: a blob, an image without a tag with its blobs, a referrer of it
        layers = [fresh(100000) for _ in range(3)]
        push_blob(client, name, layers[0])
        untagged, _, _ = push_image(client, name, None, layers[1:2])
        push_blob(client, name, layers[2])
        about = {"mediaType": content.IMAGE, "digest": untagged, "size": 1}
        dangling = push_manifest(client, name, digest(last := compact(image(layers=layers[2:], subject=about))), last)

    # not by asking: each answer would be a lease
    wait_for(lambda: stored(server) < 100000, 60, "the dead blobs' files are gone")
    for layer in layers:
        assert client.get(f"/v2/{name}/blobs/{digest(layer)}").status == 404
    assert client.get(f"/v2/{name}/manifests/{dangling}").status == 404
    assert client.get(f"/v2/{name}/manifests/{untagged}").status == 404
    assert content.verify(client, name, "tagged") == 3
    assert client.get(f"/v2/{name}/manifests/{child}").status == 200
    assert content.verify(client, name, child) == 3
    assert client.get(f"/v2/{name}/blobs/{digest(lone)}").body == lone
    assert client.get(f"/v2/{name}/manifests/{whole}").status == 200
    assert content.verify(client, name, signature) == 3
    assert content.verify(client, name, second) == 3
    client.close()


def one_life(server, name, number, shared, until):
    """Pushes images over layers that others share, pulls each, deletes it. Every answer is the expected one, also when
    this thread was stopped for so long that what it was told of its layers is not promised any more."""
    client, turns = server.client(), 0
    while time.monotonic() < until or turns < 6:
        began = time.monotonic()
        layers = [fresh(5000), shared[turns % len(shared)]]
        for layer in layers:
            if client.head(f"/v2/{name}/blobs/{digest(layer)}").status != 200:
                push_blob(client, name, layer)
        config = compact({"turn": f"{number}.{turns}"})
        push_blob(client, name, config)
        response = put_manifest(client, name, f"w{number}", image(config, layers))
        if response.status == 400 and time.monotonic() - began > GRACE:
            continue
        assert response.status == 201, response
        assert content.verify(client, name, f"w{number}") == 4
        value = response["Docker-Content-Digest"]
        assert client.delete(f"/v2/{name}/manifests/{value}").status == 202
        assert client.get(f"/v2/{name}/manifests/w{number}").status == 404
        turns += 1
    client.close()
    return turns


@pytest.mark.spec("CONC-07", "CONC-05")
def test_collection_beside_pushes_and_pulls(make_server, name):
    """Nobody is refused and nothing that was promised is missing, while images of a moment ago are collected."""
    server = make_server(SOON)
    client = server.client()
    with resting(server):
        keep, _, _ = push_image(client, name, "keep")
    shared = [fresh(20000) for _ in range(5)]
    until = time.monotonic() + 4
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        turns = sum(pool.map(lambda number: one_life(server, name, number, shared, until), range(4)))
    assert turns > 20
    assert content.verify(client, name, "keep") == 3
    # all but one image go, without a restart or a mode: bytes too
    wait_for(lambda: stored(server) < 1000, 60, "the deleted images' files are gone")
    assert content.verify(client, name, keep) == 3
    client.close()
