#!/bin/bash
# deps.sh [run] [test] - installs what building and running, or testing, needs; quick when all is there.
# Only Debian's packages, through apt-get. Where it cannot, it prints the one command to type and fails.
set -eu

run="gcc make pkgconf libc6-dev libh2o-evloop-dev libssl-dev libjansson-dev libsqlite3-dev libyaml-dev
    libcrypt-dev libcurl4-openssl-dev libgit2-dev libarchive-dev zlib1g-dev libzstd-dev tzdata
    git runc e2fsprogs busybox-static python3"
test="clang libclang-rt-dev clang-format clang-tidy cppcheck pyflakes3 libcmocka-dev python3-pytest openssl curl
    docker.io podman buildah crun skopeo containerd umoci docker-registry nginx wrk nodejs
    python3-jwt python3-cryptography python3-jsonschema python3-paramiko openssh-client apache2-utils procps util-linux mount jq zstd"

wanted=""
for set in "${@:-run}"; do
    case $set in
    run) wanted="$wanted $run" ;;
    test) wanted="$wanted $test" ;;
    *) echo "usage: deps.sh [run] [test]" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null; then
    echo "deps: not a Debian system, nothing is installed; needed:" $wanted >&2
    exit 0
fi
installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package} ' $wanted 2>/dev/null || true)"
missing=""
for package in $wanted; do
    case $installed in *" installed $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root="sudo"
else
    echo "deps: these packages are missing; as root, type:" >&2
    echo "    apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi

# Some of the packages are servers: they are installed for the tests to start, not to run by themselves.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
    trap '$as_root rm -f $policy' EXIT
fi
install() { $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; }
echo "deps: installing$missing"
install || { $as_root apt-get update -q && install; }
for service in docker docker-registry nginx podman; do
    case $missing in *" $service"*) $as_root systemctl disable $service >/dev/null 2>&1 || true ;; esac
done
