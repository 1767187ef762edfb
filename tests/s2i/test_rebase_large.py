"""test_rebase_large.py - an image that would get more layers than one may have stays where it is; the others move.

Touches  a server under test; pushes of images made here, the API.
Never    builds anything. Spec: s2i 15.1
"""
from support import building, content, wire
from support.grounds import Ground, outcomes, tar

LAYERS = 990  # with its config nearly as many descriptors as an image of a build may have


def with_layers(server, name, tag, count):
    """The image again with its own layer so often that it has as many."""
    _, manifest, config = building.manifest(server, name, tag)
    more = count - len(manifest["layers"])
    manifest["layers"] += manifest["layers"][-1:] * more
    config["rootfs"]["diff_ids"] += config["rootfs"]["diff_ids"][-1:] * more
    body = content.compact(config)
    client = wire.Client(server.target)
    digest = content.digest(body)
    answer = client.post(f"/v2/{name}/blobs/uploads/?digest={digest}", body=body,
                         headers=[("Content-Type", "application/octet-stream")])
    assert answer.status == 201, answer
    manifest["config"].update(digest=digest, size=len(body))
    answer = client.put(f"/v2/{name}/manifests/{tag}", body=content.compact(manifest),
                        headers=[("Content-Type", content.IMAGE)])
    assert answer.status == 201, answer
    client.close()


def test_too_many_layers(server, name):
    """s2i 15.1: refused with the reason, in one answer with those that move."""
    ground = Ground(server)
    ground.renew({"etc/base": "1\n"})
    ground.image(f"{name}/large", "v1")
    ground.image(f"{name}/small", "v1")
    with_layers(server, f"{name}/large", "v1", LAYERS)
    before = ground.stand(f"{name}/large:v1")
    layers = [tar({f"etc/base{number}": "2\n"}) for number in range(20)]
    newer = ground.push(ground.base, "3", layers, {"Labels": {"s2i.rebasable": "true"}, "Env": ["PATH=/bin"]})
    for query in ("?dry_run=true", ""):
        done = ground.rebase(query)
        assert outcomes(done) == {f"{name}/large:v1": "refused", f"{name}/small:v1": "rebased"}, done
        (why,) = [item["message"] for item in done["items"] if item["outcome"] == "refused"]
        assert "1000" in why, why
    assert ground.stand(f"{name}/large:v1") == before
    annotations = building.manifest(server, f"{name}/small", "v1")[1]["annotations"]
    assert annotations["org.opencontainers.image.base.digest"] == newer
    ground.call.close()
