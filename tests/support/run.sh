#!/bin/sh
# run.sh PROGRAM - what `make run` does after building: makes the administrator the first time, prints how to sign in
# and push, then serves with ./var as its folder.
set -eu
program=$1
listen=${SLIPWAY_SERVER_LISTEN:-127.0.0.1:5000}
settings="--config conf/slipway.yml --set storage.root=./var --set server.listen=$listen"
said=$(mktemp)
trap 'rm -f "$said"' EXIT

status=0
# shellcheck disable=SC2086 # several words on purpose
password=$("$program" init --admin admin --generate-password $settings 2>"$said") || status=$?
case $status in
0) # it has no character that a shell would read
    docker="echo $password | docker login $listen -u admin --password-stdin"
    about="The administrator is admin, with the password $password (shown only now: keep it)."
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

A robot for a machine that builds (prints its token, which is its password):

    $program robot create ci --grant debian=pull,push --set storage.root=./var

TEXT
rm -f "$said"
# shellcheck disable=SC2086
exec "$program" serve $settings
