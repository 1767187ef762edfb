#!/bin/sh
# run.sh PROGRAM - what `make run` does after building: prints how to push, then serves with ./var as its folder.
set -eu
listen=${SLIPWAY_SERVER_LISTEN:-127.0.0.1:5000}
mkdir -p var
cat <<TEXT

Slipway serves on $listen, everything is kept in ./var, Ctrl-C ends it. In another terminal:

    docker pull debian:12 && docker tag debian:12 $listen/debian:12 && docker push $listen/debian:12
    podman pull docker.io/library/debian:12 && podman push --tls-verify=false docker.io/library/debian:12 $listen/debian:12
    skopeo copy --dest-tls-verify=false docker://docker.io/library/debian:12 docker://$listen/debian:12
    curl http://$listen/v2/_catalog

TEXT
exec "$1" serve --config conf/slipway.yml --set storage.root=./var --set "server.listen=$listen"
