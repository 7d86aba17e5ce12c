#!/bin/sh
# Runs the `dht` tool and the tokio adapter against libtorrent, Transmission and the `mainline` crate.
#
#   DHT_BIN          the tool under test        (default: target/release/dht)
#   INTEROP_VENV     where libtorrent goes      (default: target/interop-venv)
#   INTEROP_TARGET   where the nodes in `peer` are built (default: target/interop)
#   INTEROP_SECONDS  the longest the run lasts  (default: 330)
#
# Arguments are passed on: names, or parts of names, of the checks to run.
# Everything happens on 127.0.0.1, on ::1 and in a network namespace of its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
DHT_BIN=${DHT_BIN:-$root/target/release/dht}
venv=${INTEROP_VENV:-$root/target/interop-venv}

if [ ! -x "$DHT_BIN" ]; then
    echo "FAIL no executable at $DHT_BIN: build it first, or set DHT_BIN"
    echo "0 passed, 1 failed, 0 skipped"
    exit 1
fi
# The checks change directory, so the path must not depend on it.
DHT_BIN=$(cd "$(dirname "$DHT_BIN")" && pwd)/$(basename "$DHT_BIN")
export DHT_BIN

install_packages() {
    missing=
    command -v transmission-daemon >/dev/null || missing="$missing transmission-daemon"
    command -v ip >/dev/null || missing="$missing iproute2"
    command -v unshare >/dev/null || missing="$missing util-linux"
    python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3 python3-venv"
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "# not installed:$missing"
        return 0
    fi
    # RUNLEVEL=1 keeps the packages' services from being started.
    # shellcheck disable=SC2086
    { timeout 120 apt-get update -qq &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 180 \
            apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 ||
        echo "# could not install:$missing"
}

install_libtorrent() {
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return 1
    "$venv/bin/python" -c 'import libtorrent' 2>/dev/null ||
        timeout 180 "$venv/bin/python" -m pip install --quiet \
            --disable-pip-version-check 'libtorrent>=2.0,<3'
}

# Our node in a tokio task and one of the `mainline` crate.
build_peer() {
    peer_target=${INTEROP_TARGET:-$root/target/interop}
    timeout 300 cargo build --quiet --manifest-path "$here/peer/Cargo.toml" --target-dir "$peer_target" &&
        INTEROP_PEER=$peer_target/debug/dht-proto-interop-peer && export INTEROP_PEER
}

install_packages
build_peer || echo "# could not build the nodes of tokio and mainline"
python=python3
if install_libtorrent; then
    python=$venv/bin/python
else
    echo "# could not install libtorrent in $venv"
fi

exec timeout --kill-after=20 "${INTEROP_SECONDS:-330}" "$python" -u -B "$here/interop.py" "$@"
