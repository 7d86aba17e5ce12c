#!/bin/sh
# Builds and runs a node without an allocator and without the standard library, and checks that
# its memory takes no room in the image. For x86_64 Linux; needs `nm`.
set -eu
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-../../target}/no_alloc

program=$target/x86_64-unknown-linux-gnu/release/dht-proto-no-alloc

check() {
    RUSTFLAGS="-C link-arg=-nostartfiles -C link-arg=-nostdlib -C link-arg=-static -C relocation-model=static" \
        CARGO_TARGET_DIR=$target cargo build --quiet --release --target x86_64-unknown-linux-gnu "$@"
    if nm "$program" | grep -E '__rust_alloc|__rust_dealloc|malloc|_Unwind'; then
        echo "the program allocates or unwinds" >&2
        exit 1
    fi
    # b: a symbol in .bss.
    if ! nm --print-size "$program" | grep -E ' [bB] .*MEMORY'; then
        echo "the memory of the node does not lie in .bss" >&2
        exit 1
    fi
    "$program"
    size "$program"
}

check
check --features everything
