#!/bin/sh
# run.sh PROGRAM - what `make run` does after building: makes the administrator and brings in a builder image the first
# time, prints how to sign in, push images and push sources, then serves with ./var as its folder.
set -eu
program=$1
listen=${SLIPWAY_SERVER_LISTEN:-127.0.0.1:5000}
settings="--config conf/slipway.yml --set storage.root=./var --set server.listen=$listen"
scratch=$(mktemp -d)
said=$scratch/said
trap 'rm -rf "$scratch"' EXIT

# The smallest builder image, of busybox: no network, less than a second.
seed() {
    # shellcheck disable=SC2086 # several words on purpose
    python3 tests/builders/make.py static --layout "$scratch/static" >"$said" 2>&1 &&
        "$program" import oci-layout "$scratch/static" builders/static:latest $settings >"$said" 2>&1
}

status=0
# shellcheck disable=SC2086 # several words on purpose
password=$("$program" init --admin admin --generate-password $settings 2>"$said") || status=$?
case $status in
0) # it has no character that a shell or a URL would read
    docker="echo $password | docker login $listen -u admin --password-stdin"
    about="The administrator is admin, with the password $password (shown only now: keep it)."
    seed || { echo "builders/static is not there, pushes of sources have no builder:" && cat "$said"; } >&2
    ;;
5) # there is one already
    password=PASSWORD
    docker="docker login $listen -u admin"
    about="The administrator admin has the PASSWORD of the first run; for a new one, while this runs:
$program user password admin --set storage.root=./var"
    ;;
*)
    cat "$said" >&2
    exit "$status"
    ;;
esac

cat <<TEXT

Slipway serves on $listen, everything is kept in ./var, Ctrl-C ends it. $about
In another terminal, in this folder:

    $docker
    docker pull debian:12 && docker tag debian:12 $listen/debian:12 && docker push $listen/debian:12

    podman pull docker.io/library/debian:12 && podman push --tls-verify=false --creds admin:$password docker.io/library/debian:12 $listen/debian:12
    skopeo copy --dest-tls-verify=false --dest-creds admin:$password docker://docker.io/library/debian:12 docker://$listen/debian:12
    curl -u admin:$password http://$listen/v2/_catalog

A push of sources becomes an image, here by builders/static, which serves files. A program in Python, Node.js or C
needs its builder first, made of this machine's packages (tests/apps has one of each to try):

    git init -q -b main /tmp/hello && cp tests/apps/static/* /tmp/hello && git -C /tmp/hello add .
    git -C /tmp/hello -c user.name=me -c user.email=me@localhost commit -q -m hello
    git -C /tmp/hello push http://admin:$password@$listen/git/hello.git main
    docker run --rm -p 8080:8080 $listen/hello

    python3 tests/builders/make.py python --registry http://$listen --user admin --password $password

A robot for a machine that builds (prints its token, which is its password):

    $program robot create ci --grant debian=pull,push --set storage.root=./var

TEXT
rm -rf "$scratch"
# shellcheck disable=SC2086
exec "$program" serve $settings
