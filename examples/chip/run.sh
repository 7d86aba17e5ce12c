#!/usr/bin/env bash
# Builds the node on a chip and runs it in QEMU, among nodes of the host: it must find the peer that one of them
# announced, and one of them must find it. Needs root on Linux, for a network namespace of its own and a tap device
# in it; all that it makes there is gone when it ends. The tool `dht` is taken from DHT_BIN, or built.
set -euo pipefail

# The most that a read-only client may take of the flash, in KiB.
client_limit=110

# The addresses in `src/main.rs`.
chip=10.9.0.2
gateway=10.9.0.1
wanted=$(printf 'aa%.0s' {1..20})
own=$(printf 'bb%.0s' {1..20})

skip() {
    echo "skipped: $*"
    exit 0
}

fail() {
    echo "failed: $*" >&2
    exit 1
}

# The nodes of the host.
pids=()

end() {
    [ ${#pids[@]} = 0 ] || kill "${pids[@]}" || true
    wait
}

# The second half, in the namespace, where nothing of the host's network can be reached.
inside() {
    local program=$1 dht=$2 seen=$3
    trap end EXIT

    ip link set lo up
    ip tuntap add dev chip0 mode tap
    ip addr add "$gateway/24" dev chip0
    ip link set chip0 up
    # A node in each of five networks, and one more to announce and one to ask.
    for network in 1 2 3 4 5 6 7; do
        ip addr add "10.20.$network.1/32" dev lo
    done
    local options=(--allow-private --no-default-bootstrap --bootstrap 10.20.1.1:6881)
    for network in 1 2 3 4 5; do
        "$dht" node --bind "10.20.$network.1:6881" "${options[@]}" >"$seen/node$network" 2>&1 &
        pids+=($!)
    done
    "$dht" announce "$wanted" --port 7777 --keep --bind 10.20.6.1:6881 "${options[@]}" >"$seen/announced" 2>&1 &
    pids+=($!)
    for _ in {1..300}; do
        grep -q 'announced to' "$seen/announced" && break
        sleep 0.1
    done
    grep 'announced to' "$seen/announced" || fail "the nodes of the host do not find each other"

    timeout 30 qemu-system-arm -machine lm3s6965evb -nographic -monitor none -serial none \
        -semihosting-config enable=on,target=native -nic tap,ifname=chip0,script=no,downscript=no \
        -kernel "$program" </dev/null | tee "$seen/chip" || fail "the chip has not ended well"
    grep -qx 'found 10.20.6.1:7777' "$seen/chip" || fail "the chip has not found the peer"
    "$dht" get-peers "$own" --bind 10.20.7.1:6881 --timeout 20 "${options[@]}" | tee "$seen/peers" || true
    grep -qx "$chip:6881" "$seen/peers" || fail "the host does not find the chip"
    echo "the chip found a peer of the host, and the host found the chip"
}

if [ "${1-}" = --inside ]; then
    shift
    inside "$@"
    exit
fi

dht=${DHT_BIN:+$(realpath "$DHT_BIN")}
target=${CARGO_TARGET_DIR:+$(realpath -m "$CARGO_TARGET_DIR")}
cd "$(dirname "$0")"
[ "$(uname -s)" = Linux ] || skip "this is not Linux"
[ "$(id -u)" = 0 ] || skip "a network namespace and a tap device need root"
target=${target:-$(realpath -m ../../target)}
programs=$target/chip/thumbv7m-none-eabi/release

missing=()
command -v qemu-system-arm >/dev/null || missing+=(qemu-system-arm)
command -v ip >/dev/null || missing+=(iproute2)
command -v size >/dev/null || missing+=(binutils)
if [ ${#missing[@]} -gt 0 ]; then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
        >/dev/null || skip "apt-get does not bring ${missing[*]}"
fi
rustup target add thumbv7m-none-eabi || skip "rustup does not bring the target thumbv7m-none-eabi"
unshare --net ip tuntap add dev chip0 mode tap || skip "no tap device may be made in a network namespace here"

RUSTFLAGS="-D warnings" CARGO_TARGET_DIR=$target/chip cargo build --release --target thumbv7m-none-eabi
# The flash holds `text` and `data`, the RAM `data`, `bss` and 10 KiB of stack (`memory.x`).
size "$programs/client" "$programs/dht-proto-chip"
if nm --demangle "$programs/client" | grep -E 'server::reply|store::peers::eviction|republisher::Republisher|sha1_smol'; then
    fail "a client is linked with what it never does"
fi
client=$(size "$programs/client" | awk 'NR == 2 { print $1 + $2 }')
[ "$client" -le $((client_limit * 1024)) ] || fail "a client takes $client bytes of flash"

if [ -z "$dht" ]; then
    cargo build --release --manifest-path ../../Cargo.toml --target-dir "$target" --features cli
    dht=$target/release/dht
fi
seen=$(mktemp -d)
trap 'rm -r "$seen"' EXIT
if ! unshare --net "$PWD/run.sh" --inside "$programs/dht-proto-chip" "$dht" "$seen"; then
    tail -n 20 "$seen"/* >&2
    exit 1
fi
