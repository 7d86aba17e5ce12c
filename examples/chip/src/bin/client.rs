//! A read-only client without a network stack: what the node itself takes of a chip. `run.sh` prints its size;
//! it is not meant to be run.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use core::hint::black_box;
use core::net::SocketAddr;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use dht_proto::{Announce, BootstrapKind, Config, Fixed, InfoHash, Instant, MAX_DATAGRAM, Node};

#[entry]
fn main() -> ! {
    static mut MEMORY: Fixed = Fixed::new();

    let mut config = Config::default();
    (config.ipv6, config.read_only) = (false, true);
    let mut node = Node::with_storage(config, MEMORY, black_box([7; 32]), Instant::ZERO);
    let mut buf = [0; MAX_DATAGRAM];
    loop {
        // What a real one gets from its clock and from the network, the compiler knows as little about.
        let now = Instant::from_micros(black_box(0));
        let from: SocketAddr = black_box(([192, 0, 2, 1], 6881).into());
        let infohash = InfoHash::from_bytes(black_box([7; 20]));
        black_box(node.add_bootstrap(now, from, BootstrapKind::Node).is_ok());
        black_box(node.get_peers(now, infohash).is_ok());
        black_box(node.announce(now, infohash, Announce::port(6881)).is_ok());
        node.handle_datagram(now, from, black_box(&buf));
        node.handle_timeout(now);
        while let Some(transmit) = node.poll_transmit(now, &mut buf) {
            let _ = black_box((transmit, &buf));
        }
        while let Some(event) = node.poll_event() {
            black_box(event);
        }
        black_box(node.poll_timeout());
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
