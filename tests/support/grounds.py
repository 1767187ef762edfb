"""grounds.py - images that say what they stand on, pushed without building anything; and their rebases.

Touches  a registry under test.
Never    another registry.
"""
import gzip
import io
import itertools
import tarfile

from support import api, building, content, wire

ALLOWED = {"s2i.rebasable": "true"}
counter = itertools.count(1)


def tar(files):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, text in files.items():
            item = building.entry(name)
            item.size = len(text)
            archive.addfile(item, io.BytesIO(text.encode()))
    return stream.getvalue()


class Ground:
    """A base of its own, images that stand on it, and somebody who pushes them."""

    def __init__(self, server, who=None):
        self.server, self.base = server, f"builders/base{next(counter)}"
        self.call = api.Api(server.target, who)
        self.headers = self.call.credentials()

    def push(self, repository, tag, layers, config, annotations=None):
        """layers: (descriptor or plain tar, diff id)."""
        client = wire.Client(self.server.target)

        def blob(data, kind):
            digest = content.digest(data)
            answer = client.post(f"/v2/{repository}/blobs/uploads/?digest={digest}", body=data,
                                 headers=[("Content-Type", "application/octet-stream"), *self.headers])
            assert answer.status == 201, answer
            return {"mediaType": kind, "digest": digest, "size": len(data)}
        document = {"architecture": "amd64", "os": "linux", "config": config,
                    "rootfs": {"type": "layers", "diff_ids": [content.digest(plain) for plain in layers]}}
        manifest = {"schemaVersion": 2, "mediaType": content.IMAGE,
                    "config": blob(content.compact(document), content.CONFIG),
                    "layers": [blob(gzip.compress(plain, 1, mtime=0), content.LAYER_GZIP) for plain in layers],
                    **({"annotations": annotations} if annotations else {})}
        body = content.compact(manifest)
        answer = client.put(f"/v2/{repository}/manifests/{tag}", body=body,
                            headers=[("Content-Type", content.IMAGE), *self.headers])
        assert answer.status == 201, answer
        client.close()
        return content.digest(body)

    def renew(self, files, labels=None, whole=False):
        """Another version of the base under its tag 3."""
        files = {"etc/name": f"{self.base}\n", **files}  # equal bases would be one
        self.layer = building.base_tar({}, files) if whole else tar(files)
        self.digest = self.push(self.base, "3", [self.layer], {"Labels": ALLOWED if labels is None else labels,
                                                               "Env": ["PATH=/bin"]})
        return self.digest

    def image(self, repository, tag, files=None, name=None):
        return self.push(repository, tag, [self.layer, tar(files or {"app": f"{repository}\n"})],
                         {"Labels": ALLOWED, "Env": ["PATH=/bin"], "Cmd": ["/bin/cat", "/app"]},
                         {"org.opencontainers.image.base.name": name or f"{self.base}:3",
                          "org.opencontainers.image.base.digest": self.digest})

    def rebase(self, query="", status=200, **body):
        response = self.call.post(f"/rebases{query}", {"base": f"{self.base}:3", **body})
        assert response.status == status, response
        return response.json()

    def undo(self, id, query="", status=200):
        response = self.call.post(f"/rebases/{id}:undo{query}")
        assert response.status == status, response
        return response.json()

    def stands(self, repository, tag):
        return self.call.get(f"/repos/{repository}/-/tags/{tag}").json()["digest"]

    def stand(self, *names):
        return {name: self.stands(*name.split(":")) for name in names}


def outcomes(answer):
    return {f"{item['repository']}:{item['tag']}": item["outcome"] for item in answer["items"]}
