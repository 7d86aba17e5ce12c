//! The loop over `smoltcp`, as on a chip: nodes in `Fixed` memory, a network stack in fixed
//! buffers, no allocator in either, and no clock except the time that the program passes in. Three chips
//! on one wire: the second announces a peer to the first, where the third finds it.
//!
//! ```text
//! cargo run --no-default-features --example loop_smoltcp
//! ```

mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node,
};
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata, SendError};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// Limits for a node that answers queries. For one that only sends them, `Fixed` without parameters is
/// enough.
const LIMITS: Limits = Limits::CLIENT.swarms(16).peers_v4(64).sources(16).replies(4);
type Memory = dht_proto::fixed!(LIMITS);

/// All memory of a chip. In firmware this is a static in `.bss`.
struct Buffers<'a> {
    sockets: [SocketStorage<'a>; 1],
    node: Memory,
    metadata: [[PacketMetadata; 4]; 2],
    payload: [[u8; 4 * MAX_DATAGRAM]; 2],
}

const EMPTY: Buffers<'_> = Buffers {
    sockets: [SocketStorage::EMPTY],
    node: Memory::new(),
    metadata: [[PacketMetadata::EMPTY; 4]; 2],
    payload: [[0; 4 * MAX_DATAGRAM]; 2],
};

struct Chip<'a> {
    node: Node<&'a mut Memory>,
    interface: Interface,
    sockets: SocketSet<'a>,
    udp: SocketHandle,
}

impl<'a> Chip<'a> {
    fn new(index: u8, buffers: &'a mut Buffers<'a>, port: &mut wire::Port) -> Self {
        let config = Config::DEFAULT.address_policy(AddressPolicy::Any).ipv6(false);
        // A real node needs a random seed.
        let node = Node::with_storage(config, &mut buffers.node, [index; 32], Instant::ZERO);
        let stack = iface::Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(stack, port, smoltcp::time::Instant::ZERO);
        let own = IpCidr::new(IpAddress::v4(10, 0, 0, index), 24);
        interface.update_ip_addrs(|all| all.push(own).expect("it is the first"));
        let ([meta_in, meta_out], [arrived, to_send]) = (&mut buffers.metadata, &mut buffers.payload);
        let arrived = PacketBuffer::new(&mut meta_in[..], &mut arrived[..]);
        let mut socket = udp::Socket::new(arrived, PacketBuffer::new(&mut meta_out[..], &mut to_send[..]));
        socket.bind(6881).expect("it is not bound yet");
        let mut sockets = SocketSet::new(&mut buffers.sockets[..]);
        Self { node, interface, udp: sockets.add(socket), sockets }
    }

    /// Runs one iteration of the loop, which does everything that is due except reading events.
    fn turn(&mut self, now: Instant, port: &mut wire::Port) {
        let stack_now = smoltcp::time::Instant::from_micros(now.as_micros() as i64);
        self.interface.poll(stack_now, port, &mut self.sockets);
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        while let Ok((datagram, from)) = socket.recv() {
            let from = SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port);
            self.node.handle_datagram(now, from, datagram);
        }
        self.node.handle_timeout(now); // early calls are harmless
        let mut buf = [0; MAX_DATAGRAM];
        // What does not fit into the socket waits in the node until the next iteration.
        while socket.can_send()
            && let Some(transmit) = self.node.poll_transmit(now, &mut buf)
            && let SocketAddr::V4(destination) = transmit.destination
        {
            // `BufferFull` is a loss like any other; without a route there will be no answer.
            if socket.send_slice(&buf[..transmit.size], destination) == Err(SendError::Unaddressable) {
                self.node.handle_unreachable(now, transmit.destination);
            }
        }
        self.interface.poll(stack_now, port, &mut self.sockets);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let infohash = InfoHash::from_bytes([7; 20]);
    let mut ports = [(); 3].map(|()| wire::Port::default());
    let [a, b, c] = &mut [EMPTY; 3];
    let mut chips =
        [Chip::new(1, a, &mut ports[0]), Chip::new(2, b, &mut ports[1]), Chip::new(3, c, &mut ports[2])];
    let (mut now, known) = (Instant::ZERO, (Ipv4Addr::new(10, 0, 0, 1), 6881).into());
    chips[1..].iter_mut().try_for_each(|chip| chip.node.add_bootstrap(now, known, BootstrapKind::Node))?;
    chips[1].node.announce(now, infohash, Announce::port(6881))?;
    while now - Instant::ZERO < Duration::from_secs(10) {
        for index in 0..3 {
            chips[index].turn(now, &mut ports[index]);
            while let Some(event) = chips[index].node.poll_event() {
                if let Event::Acknowledged { node, .. } = event {
                    println!("{node} stores that we have the torrent");
                    chips[2].node.get_peers(now, infohash)?;
                } else if let Event::Peer { peer, .. } = event {
                    println!("{peer} has the torrent, found after {:?}", now - Instant::ZERO);
                    return Ok(());
                }
            }
        }
        // Here a chip would sleep, no longer than until `Interface::poll_at`; in this program time jumps.
        let deadline = chips.iter().filter_map(|chip| chip.node.poll_timeout()).min();
        let arrival = now + Duration::from_millis(1);
        now = if wire::carry(&mut ports) { arrival } else { deadline.unwrap_or(arrival).max(arrival) };
    }
    Err("nobody was found in time".into())
}
