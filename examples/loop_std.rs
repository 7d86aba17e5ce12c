//! The loop over a blocking `std::net::UdpSocket`, whose read timeout is the node's deadline.
//!
//! Three nodes on loopback: the second announces a peer to the first, which has a thread of its
//! own, and there the third finds it.
//!
//! ```text
//! cargo run --example loop_std
//! ```

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node,
};

/// The origin of the instants that the nodes see: any monotonic clock will do.
static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
const END: Instant = Instant::from_micros(10_000_000);

fn now() -> Instant {
    Instant::ZERO + START.elapsed()
}

struct Host {
    node: Node,
    socket: UdpSocket,
}

impl Host {
    /// Creates a node that bootstraps from `known`, or waits for queries.
    fn new(known: Option<SocketAddr>) -> Result<Self, Box<dyn Error>> {
        // Isolates the nodes from the internet, and lets many share an IP address. A node of the real DHT keeps
        // the defaults. The other family would need its own socket.
        let config = Config::default().address_policy(AddressPolicy::Any).source_limits(false).ipv6(false);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut node = Node::new(config, &Limits::default(), seed, now());
        if let Some(known) = known {
            node.add_bootstrap(now(), known, BootstrapKind::Node)?;
        }
        Ok(Self { node, socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))? })
    }

    /// Runs the loop until the event that the caller waits for.
    fn run_until(&mut self, is_last: impl Fn(Event) -> bool) -> io::Result<()> {
        let Self { node, socket } = self;
        let mut buf = [0; 65_535]; // as large as datagrams get: one that is cut short is lost
        let mut streak = 0; // datagrams in a row
        while now() < END {
            while let Some(transmit) = node.poll_transmit(now(), &mut buf[..MAX_DATAGRAM]) {
                // No network or a firewall is no reason to stop: the node sends the datagram again.
                if socket.send_to(&buf[..transmit.size], transmit.destination).is_err() {
                    node.handle_unsent(now(), transmit.destination);
                }
            }
            while let Some(event) = node.poll_event() {
                if is_last(event) {
                    return Ok(());
                }
            }
            // Only now, because sending sets deadlines. A read timeout of zero is an error.
            let wait = node.poll_timeout().map_or(END, |at| at.min(END)) - now();
            socket.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
            streak = match socket.recv_from(&mut buf) {
                Ok((len, from)) => {
                    node.handle_datagram(now(), from, &buf[..len]);
                    streak + 1
                }
                Err(error) if is_passing(error.kind()) => 0,
                Err(error) => return Err(error),
            };
            // Arrived datagrams come first, or waiting answers would count as missing; but a stream of
            // datagrams must not delay timers. Early calls are harmless.
            if streak % 64 == 0 {
                node.handle_timeout(now());
            }
        }
        Err(io::Error::other("nobody was found in time"))
    }
}

/// Whether an error is harmless: a timeout (with two names), a signal, or the error of Windows if an earlier
/// datagram was refused.
fn is_passing(error: ErrorKind) -> bool {
    use ErrorKind::{ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(error, WouldBlock | TimedOut | Interrupted | ConnectionReset)
}

fn main() -> Result<(), Box<dyn Error>> {
    let infohash = InfoHash::from_bytes([7; 20]);
    let mut first = Host::new(None)?;
    let known = first.socket.local_addr()?;
    thread::spawn(move || first.run_until(|_| false)); // ends with the program

    let mut announcer = Host::new(Some(known))?;
    announcer.node.announce(now(), infohash, Announce::port(6881))?;
    announcer.run_until(|event| match event {
        Event::Acknowledged { node, .. } => {
            println!("{node} stores that we have the torrent");
            true
        }
        _ => false,
    })?;

    let mut seeker = Host::new(Some(known))?;
    seeker.node.get_peers(now(), infohash)?;
    seeker.run_until(|event| match event {
        Event::Peer { peer, .. } => {
            println!("{peer} has the torrent, found after {:.1?}", START.elapsed());
            true
        }
        _ => false,
    })?;
    Ok(())
}
