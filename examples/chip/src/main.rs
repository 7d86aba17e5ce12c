//! A DHT node on a chip with 64 KiB of RAM: `smoltcp`, no allocator, no operating system.
//!
//! It joins the DHT, looks up who has one torrent, and announces that it has another. `run.sh` beside this
//! file runs it in QEMU, among nodes of the host.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

mod clock;
mod ethernet;
mod registers;

use core::net::{Ipv4Addr, SocketAddr};
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, Fixed, InfoHash, Instant, LookupId, MAX_DATAGRAM,
    Node, StartError,
};
use smoltcp::iface::{self, Interface, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata, SendError};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use clock::Clock;
use ethernet::Ethernet;

const MAC: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x02]);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PORT: u16 = 6881;

/// A node that is known beforehand.
const KNOWN: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(10, 20, 1, 1)), 6881);

/// Nobody may be able to predict it. This chip has no source of randomness; one that has fills it from there.
const SEED: [u8; 32] = [7; 32];

/// The torrent of a node of the host, and that of this one.
const WANTED: InfoHash = InfoHash::from_bytes([0xaa; 20]);
const OWN: InfoHash = InfoHash::from_bytes([0xbb; 20]);

/// What a socket is made of. A client sends queries, which are short; their responses are longer.
struct Slots<'a> {
    sockets: [SocketStorage<'a>; 1],
    arrived: [PacketMetadata; 8],
    to_send: [PacketMetadata; 8],
}

type Payload = ([u8; 2 * MAX_DATAGRAM], [u8; 1024]);

struct Chip<'a> {
    node: Node<&'a mut Fixed>,
    ethernet: &'a mut Ethernet,
    interface: Interface,
    sockets: SocketSet<'a>,
    udp: SocketHandle,
}

impl<'a> Chip<'a> {
    // Out of line, like the methods below, so that what each takes of the stack is free afterwards.
    #[inline(never)]
    fn new(
        memory: &'a mut Fixed,
        slots: &'a mut Slots<'a>,
        (arrived, to_send): &'a mut Payload,
        ethernet: &'a mut Ethernet,
    ) -> Self {
        let mut config = Config::default();
        // A client that answers nobody, in a network without public addresses.
        (config.ipv6, config.read_only, config.address_policy) = (false, true, AddressPolicy::Any);
        let node = Node::with_storage(config, memory, SEED, Instant::ZERO);
        ethernet.start(MAC);
        let stack = iface::Config::new(HardwareAddress::Ethernet(MAC));
        let mut interface = Interface::new(stack, ethernet, smoltcp::time::Instant::ZERO);
        interface
            .update_ip_addrs(|all| all.push(IpCidr::new(IpAddress::Ipv4(ADDRESS), 24)).expect("the first"));
        interface.routes_mut().add_default_ipv4_route(GATEWAY).expect("the first");
        let arrived = PacketBuffer::new(&mut slots.arrived[..], &mut arrived[..]);
        let to_send = PacketBuffer::new(&mut slots.to_send[..], &mut to_send[..]);
        let mut socket = udp::Socket::new(arrived, to_send);
        socket.bind(PORT).expect("it is not bound yet");
        let mut sockets = SocketSet::new(&mut slots.sockets[..]);
        Self { node, ethernet, interface, udp: sockets.add(socket), sockets }
    }

    /// Does all that there is to do now, except reading events.
    #[inline(never)]
    fn turn(&mut self, now: Instant) {
        let stack_now = smoltcp::time::Instant::from_micros(now.as_micros() as i64);
        self.interface.poll(stack_now, self.ethernet, &mut self.sockets);
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        while let Ok((datagram, from)) = socket.recv() {
            let from = SocketAddr::new(from.endpoint.addr.into(), from.endpoint.port);
            self.node.handle_datagram(now, from, datagram);
        }
        self.node.handle_timeout(now); // early calls are harmless
        self.send(now);
        self.interface.poll(stack_now, self.ethernet, &mut self.sockets);
    }

    #[inline(never)]
    fn send(&mut self, now: Instant) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.udp);
        let mut buf = [0; MAX_DATAGRAM];
        // What the socket has no room for waits in the node, as state, until the next turn.
        while socket.can_send()
            && let Some(transmit) = self.node.poll_transmit(now, &mut buf)
            && let SocketAddr::V4(destination) = transmit.destination
        {
            // `BufferFull` is a loss like any other; where there is no route, nobody will answer.
            if socket.send_slice(&buf[..transmit.size], destination) == Err(SendError::Unaddressable) {
                self.node.handle_unreachable(now, transmit.destination);
            }
        }
    }
}

/// What the node has to do: to join, then to find a peer, then to announce itself.
#[derive(Default)]
struct Progress {
    has_joined: bool,
    has_found: bool,
    announced: u32,
    lookup: Option<LookupId>,
}

impl Progress {
    /// Starts the next lookup.
    fn begin(&mut self, node: &mut Node<&mut Fixed>, now: Instant) -> Result<(), StartError> {
        if self.has_joined && self.lookup.is_none() {
            let announce = Announce::port(PORT);
            let lookup =
                if self.has_found { node.announce(now, OWN, announce) } else { node.get_peers(now, WANTED) };
            self.lookup = match lookup {
                // The memory of a client is enough for one lookup at a time, and maintenance needs some too.
                Err(StartError::Full { .. }) => None,
                lookup => Some(lookup?),
            };
        }
        Ok(())
    }

    #[inline(never)]
    fn read_events(&mut self, node: &mut Node<&mut Fixed>, now: Instant) {
        while let Some(event) = node.poll_event() {
            match event {
                Event::Ready { .. } => {
                    hprintln!("joined after {} ms", now.as_micros() / 1000);
                    self.has_joined = true;
                }
                Event::Peer { peer, .. } => {
                    hprintln!("found {}", peer);
                    self.has_found = true;
                }
                Event::LookupDone { report, .. } => {
                    self.announced = report.acknowledged;
                    self.lookup = None;
                }
                _ => {}
            }
        }
    }
}

/// Runs the node until it has found the peer and announced itself.
fn run(chip: &mut Chip<'_>, clock: &mut Clock) -> Result<(), StartError> {
    chip.node.add_bootstrap(Instant::ZERO, KNOWN, BootstrapKind::Node)?;
    let mut progress = Progress::default();
    while progress.announced == 0 {
        let now = Instant::from_micros(clock.micros());
        chip.turn(now);
        progress.begin(&mut chip.node, now)?;
        progress.read_events(&mut chip.node, now);
        cortex_m::asm::wfi(); // until the next millisecond
    }
    hprintln!("announced to {} nodes", progress.announced);
    Ok(())
}

#[entry]
fn main() -> ! {
    static mut MEMORY: Fixed = Fixed::new();
    static mut ETHERNET: Ethernet = Ethernet::new();
    static mut PAYLOAD: Payload = ([0; 2 * MAX_DATAGRAM], [0; 1024]);
    static mut SLOTS: Slots<'static> = Slots {
        sockets: [SocketStorage::EMPTY],
        arrived: [PacketMetadata::EMPTY; 8],
        to_send: [PacketMetadata::EMPTY; 8],
    };

    let mut chip = Chip::new(MEMORY, SLOTS, PAYLOAD, ETHERNET);
    let peripherals = cortex_m::Peripherals::take().expect("they were not taken before");
    let outcome = run(&mut chip, &mut Clock::start(peripherals.SYST));
    if let Err(error) = &outcome {
        hprintln!("failed: {}", error);
    }
    debug::exit(if outcome.is_ok() { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        cortex_m::asm::wfi();
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
