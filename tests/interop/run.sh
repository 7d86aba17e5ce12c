#!/bin/sh
# Runs the `dht` tool and the adapters against other implementations.
#
#   tests/interop/run.sh            libtorrent, Transmission and the `mainline` crate, then a swarm of these with
#                                   aria2, librqbit, bittorrent-dht and ours; about 4 minutes
#   tests/interop/run.sh --swarm    that swarm with rtorrent, qBittorrent, Deluge and btdht as well, all that
#                                   they can do, and our table checked again a minute later; about 5 minutes
#
#   DHT_BIN          the tool under test        (default: target/release/dht)
#   INTEROP_VENV     where libtorrent goes, and btdht (default: target/interop-venv)
#   INTEROP_NPM      where bittorrent-dht goes  (default: target/interop-npm)
#   INTEROP_TARGET   where the nodes in `peer` are built (default: target/interop)
#   INTEROP_SECONDS  the longest the run lasts  (default: 450, with --swarm 900)
#
# Further arguments are passed on: names, or parts of names, of the checks to run.
# What cannot be installed is skipped, with a line that says so, and so are its checks.
# Everything happens on 127.0.0.1, on ::1 and in network namespaces of its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
DHT_BIN=${DHT_BIN:-$root/target/release/dht}
venv=${INTEROP_VENV:-$root/target/interop-venv}
INTEROP_NPM=${INTEROP_NPM:-$root/target/interop-npm}
whole_swarm=
[ "${1:-}" != --swarm ] || whole_swarm=1

if [ ! -x "$DHT_BIN" ]; then
    echo "FAIL no executable at $DHT_BIN: build it first, or set DHT_BIN"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
# The checks change directory, so the path must not depend on it.
DHT_BIN=$(cd "$(dirname "$DHT_BIN")" && pwd)/$(basename "$DHT_BIN")
export DHT_BIN

# Adds the package of a missing command to the list of packages to install.
need() {
    command -v "$1" >/dev/null || missing="$missing ${2:-$1}"
}

install_packages() {
    missing=
    need transmission-daemon
    need aria2c aria2
    need ip iproute2
    need unshare util-linux
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3 python3-venv"
    if [ "$whole_swarm" ]; then
        need rtorrent
        need qbittorrent-nox
        need deluged
        need deluge-console
        need node nodejs
        need npm
        need cc gcc
        has_python_headers || missing="$missing python3-dev libc6-dev"
    fi
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "# not installed:$missing"
        return 0
    fi
    # RUNLEVEL=1 keeps the packages' services from being started.
    # shellcheck disable=SC2086
    { timeout 120 apt-get update -qq &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 300 \
            apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 ||
        echo "# could not install:$missing"
}

has_python_headers() {
    python3 -c 'import os, sysconfig as s, sys
sys.exit(not os.path.exists(os.path.join(s.get_path("include"), "Python.h")))'
}

install_libtorrent() {
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
    "$venv/bin/python" -c 'import libtorrent' 2>/dev/null ||
        timeout 180 "$venv/bin/python" -m pip install --quiet \
            --disable-pip-version-check 'libtorrent>=2.0,<3'
}

# The C code in the package is for Python before 3.11: Cython generates it again, which takes about a minute.
install_btdht() {
    [ -x "$venv/bin/python" ] || return 1
    "$venv/bin/python" -c 'import btdht' 2>/dev/null || {
        pip="timeout 400 $venv/bin/python -m pip install --quiet --disable-pip-version-check"
        $pip 'Cython<3' setuptools wheel && $pip --no-build-isolation btdht
    } >/dev/null 2>&1 || return 1
    export INTEROP_BTDHT="$venv/bin/python"
}

install_bittorrent_dht() {
    export INTEROP_NPM
    [ -d "$INTEROP_NPM/node_modules/bittorrent-dht" ] ||
        timeout 120 npm install --silent --no-audit --no-fund --prefix "$INTEROP_NPM" \
            bittorrent-dht@11 >/dev/null 2>&1
}

# Our node in a tokio task, and those of the crates `mainline` and `librqbit-dht`.
build_peer() {
    # Absolute, as some checks change directory.
    peer_target=$(realpath -m "${INTEROP_TARGET:-$root/target/interop}")
    timeout 400 cargo build --quiet --manifest-path "$here/peer/Cargo.toml" --target-dir "$peer_target" &&
        INTEROP_PEER=$peer_target/debug/dht-proto-interop-peer && export INTEROP_PEER
}

install_packages
build_peer || echo "# could not build the nodes of tokio, mainline and librqbit"
install_bittorrent_dht || echo "# could not install bittorrent-dht in $INTEROP_NPM"
python=python3
if install_libtorrent; then
    python=$venv/bin/python
else
    echo "# could not install libtorrent in $venv"
fi
seconds=450
if [ "$whole_swarm" ]; then
    install_btdht || echo "# could not install btdht in $venv"
    seconds=900
fi

exec timeout --kill-after=20 "${INTEROP_SECONDS:-$seconds}" "$python" -u -B "$here/interop.py" "$@"
