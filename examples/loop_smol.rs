//! The loop over `async-io`, the reactor of `smol`: a future that races the socket against the
//! node's deadline. It needs no executor and can be dropped at any `await`.
//!
//! Three nodes on loopback: the second announces a peer to the first, where the third finds it.
//!
//! ```text
//! cargo run --example loop_smol
//! ```

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;
use std::time::Duration;

use async_io::{Async, Timer};
use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node,
};
use futures_lite::future;

static START: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
const PATIENCE: Duration = Duration::from_secs(10);

fn now() -> Instant {
    Instant::ZERO + START.elapsed()
}

struct Host {
    node: Node,
    socket: Async<UdpSocket>,
}

impl Host {
    /// Creates a node that bootstraps from `known`, or waits for queries.
    fn new(known: Option<SocketAddr>) -> Result<Self, Box<dyn Error>> {
        // For many nodes on loopback; a node of the real DHT keeps the defaults.
        let config = Config::default().address_policy(AddressPolicy::Any).source_limits(false).ipv6(false);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut node = Node::new(config, &Limits::default(), seed, now());
        if let Some(known) = known {
            node.add_bootstrap(now(), known, BootstrapKind::Node)?;
        }
        Ok(Self { node, socket: Async::<UdpSocket>::bind((Ipv4Addr::LOCALHOST, 0))? })
    }

    /// Runs the loop up to the next event. Dropping the future loses one datagram at most, which UDP
    /// may do as well.
    async fn next_event(&mut self) -> io::Result<Event> {
        let Self { node, socket } = self;
        let mut buf = vec![0; 65_535]; // on the heap, or it would be part of the future
        let mut streak = 0; // datagrams in a row
        loop {
            while let Some(transmit) = node.poll_transmit(now(), &mut buf[..MAX_DATAGRAM]) {
                // Waits while the socket is full; other datagrams wait in the node.
                if socket.send_to(&buf[..transmit.size], transmit.destination).await.is_err() {
                    node.handle_unsent(now(), transmit.destination); // sent again later
                }
            }
            if let Some(event) = node.poll_event() {
                return Ok(event);
            }
            let due = node.poll_timeout().map_or_else(Timer::never, |at| Timer::after(at - now()));
            let due = async {
                due.await;
                None
            };
            let received = async { Some(socket.recv_from(&mut buf).await) };
            streak = match future::or(received, due).await {
                Some(Ok((len, from))) => {
                    node.handle_datagram(now(), from, &buf[..len]);
                    streak + 1
                }
                Some(Err(error)) if error.kind() == ErrorKind::ConnectionReset => 0, // of an earlier datagram
                Some(Err(error)) => return Err(error),
                None => 0,
            };
            // Arrived datagrams come first, or waiting answers would count as missing; but a stream of
            // datagrams must not delay timers. Early calls are harmless.
            if streak % 64 == 0 {
                node.handle_timeout(now());
            }
        }
    }
}

async fn story(known: SocketAddr) -> Result<(), Box<dyn Error>> {
    let infohash = InfoHash::from_bytes([7; 20]);
    let mut announcer = Host::new(Some(known))?;
    announcer.node.announce(now(), infohash, Announce::port(6881))?;
    loop {
        if let Event::Acknowledged { node, .. } = announcer.next_event().await? {
            println!("{node} stores that we have the torrent");
            break;
        }
    }
    let mut seeker = Host::new(Some(known))?;
    seeker.node.get_peers(now(), infohash)?;
    loop {
        if let Event::Peer { peer, .. } = seeker.next_event().await? {
            println!("{peer} has the torrent, found after {:.1?}", START.elapsed());
            return Ok(());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut first = Host::new(None)?;
    let known = first.socket.get_ref().local_addr()?;
    let answer = async {
        loop {
            first.next_event().await?;
        }
    };
    let watchdog = async {
        Timer::after(PATIENCE).await;
        Err("nobody was found in time".into())
    };
    async_io::block_on(future::or(story(known), future::or(answer, watchdog)))
}
